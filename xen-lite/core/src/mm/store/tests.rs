//! Stores of a guest to its own tables, through the whole way.

use super::*;
use crate::addr::Mfn;
use crate::frame::pte::{ACCESSED, DIRTY, GLOBAL, GUEST_KERNEL, USER};
use crate::mm::testing::{Space, space};

const CODE: u64 = 0x2000;

/// A guest whose L1 table is mapped read-only at `space.va_of_l1()`, with this code at [`CODE`].
fn run(
    space: &Space,
    code: &[u8],
    index: u64,
    change: impl FnOnce(&mut Registers),
) -> (Option<Effects>, Registers) {
    let (hv, vcpu) = (&space.hv, space.domain.vcpu(crate::addr::VcpuId::new(0)).unwrap());
    hv.platform.store_bytes(space.data(2), 0, code);
    hv.platform.enter(Some(space.root));
    let mut state = vcpu.state.lock();
    state.regs = Registers { rip: CODE, ..Registers::default() };
    change(&mut state.regs);
    let mut caller = Caller::new(&space.domain, vcpu, &mut state);
    let effects = emulate_pt_write(hv, &mut caller, space.va_of_l1() + index * 8, 3);
    (effects, caller.state.regs)
}

fn entry(mfn: Mfn, flags: u64) -> u64 {
    mfn.raw() << 12 | flags
}

#[test]
fn a_store_is_validated_and_done() {
    let space = space();
    let page = space.data(5);
    let wish = entry(page, PRESENT | WRITABLE | USER);
    let (done, regs) = run(&space, &[0x48, 0x89, 0x37], 100, |regs| regs.rsi = wish);
    assert!(done.is_some());
    assert_eq!(regs.rip, CODE + 3);
    assert_eq!(space.hv.platform.load(space.l1, 100), wish | GLOBAL);
    space.audit();
    // The compare fails: nothing but RAX changes.
    let (done, regs) =
        run(&space, &[0xf0, 0x48, 0x0f, 0xb1, 0x17], 100, |regs| (regs.rax, regs.rdx) = (1, 0));
    assert!(done.is_some());
    assert_eq!(regs.rax, wish | GLOBAL);
    // One byte of it: the permission to write goes, and with it the typed reference.
    let (done, _) = run(&space, &[0xf0, 0x80, 0x27, 0xfd], 100, |_| {});
    assert!(done.is_some());
    assert_eq!(space.hv.platform.load(space.l1, 100), (wish | GLOBAL) & !WRITABLE);
    space.audit();
    let (done, regs) = run(&space, &[0x48, 0x87, 0x03], 100, |regs| regs.rax = 0);
    assert!(done.is_some());
    assert_eq!(regs.rax, (wish | GLOBAL) & !WRITABLE);
    space.audit();
}

#[test]
fn a_refused_store_is_the_guests_fault() {
    let space = space();
    for bad in [
        entry(space.l1, PRESENT | WRITABLE),
        entry(space.root, PRESENT | WRITABLE),
        entry(Mfn::new(0), PRESENT),
        entry(space.foreign, PRESENT),
    ] {
        let (done, regs) = run(&space, &[0x48, 0x89, 0x37], 100, |regs| regs.rsi = bad);
        assert_eq!((done, regs.rip), (None, CODE), "{bad:#x}");
        assert_eq!(space.hv.platform.load(space.l1, 100), 0);
    }
    let (done, _) = run(&space, &[0x0f, 0x0b], 100, |_| {});
    assert_eq!(done, None, "unknown instruction");
    space.audit();
}

#[test]
fn only_kernel_stores_to_l1_tables_count() {
    let space = space();
    let vcpu = space.domain.vcpu(crate::addr::VcpuId::new(0)).unwrap();
    space.hv.platform.enter(Some(space.root));
    let mut state = vcpu.state.lock();
    state.regs.rip = CODE;
    let mut caller = Caller::new(&space.domain, vcpu, &mut state);
    let asked = space.domain.vm_assist.swap(0, core::sync::atomic::Ordering::Relaxed);
    assert_eq!(emulate_pt_write(&space.hv, &mut caller, space.va_of_l1(), 3), None, "nobody asked for it");
    space.domain.vm_assist.store(asked, core::sync::atomic::Ordering::Relaxed);
    for (va, code) in
        [(space.va_of_l1(), 1), (space.va_of_l1(), 2), (CODE, 3), (0x7f00_0000_0000, 3), (1 << 47, 3)]
    {
        assert_eq!(emulate_pt_write(&space.hv, &mut caller, va, code), None, "{va:#x} {code}");
    }
    caller.state.mode = Mode::User;
    assert_eq!(emulate_pt_write(&space.hv, &mut caller, space.va_of_l1(), 3), None);
    let keep = ACCESSED | DIRTY | GUEST_KERNEL;
    assert_eq!(keep & PRESENT, 0);
}
