//! Tests of contexts: what goes in comes out, and what must not go in does not.

use super::*;
use crate::effort::effort;
use crate::mm::testing::{Space, space};
use crate::platform::Platform;
use crate::sched::tests::Random;
use crate::sync::explore::explore;
use crate::world::World;
use core::sync::atomic::AtomicU32;

/// A space whose vCPU has no context yet, with its root pinned so that it stays one.
fn blank() -> Space {
    let space = space();
    let vcpu = &space.domain.vcpus()[0];
    assert_eq!(crate::mm::pin_root(&space.hv, &space.domain, space.root), Ok(()));
    let _ = reset(&space.hv, &space.domain, vcpu).unwrap();
    space.audit();
    space
}

fn vcpu(space: &Space) -> &Arc<Vcpu> {
    &space.domain.vcpus()[0]
}

fn try_load(space: &Space, new: &VcpuGuestContext) -> Result<(), Fail> {
    load(&space.hv, &space.domain, vcpu(space), new).map(drop)
}

fn good(space: &Space) -> Box<VcpuGuestContext> {
    let mut new = Box::new(VcpuGuestContext::new_zeroed());
    new.flags = VGCF_IN_KERNEL;
    new.user_regs.rip = 0x1234;
    new.user_regs.rsi = 77;
    new.user_regs.cs = 0xe033;
    new.user_regs.ss = 0xe02b;
    new.user_regs.rflags = 0x202;
    new.ctrlreg[3] = space.root.raw() << 12;
    new.trap_ctxt[14].vector = 14;
    new.trap_ctxt[14].cs = 0xe033;
    new.trap_ctxt[14].address = 0x4444;
    new.trap_ctxt[14].flags = 4;
    new.event_callback_eip = 0x5555;
    new.syscall_callback_eip = 0xffff_ffff_8000_0000;
    new.kernel_sp = 0x8000;
    new.kernel_ss = 0xe02b;
    new.gs_base_kernel = 0x1000;
    new.gs_base_user = 0x2000;
    new.vm_assist = 1 << 2;
    new
}

/// Two CPUs give a vCPU its first context at the same time.
#[test]
fn one_of_two_first_contexts_is_taken() {
    let make = || (blank(), AtomicU32::new(0));
    let first = |(space, taken): &(Space, AtomicU32)| {
        let result = load_first(&space.hv, &space.domain, vcpu(space), &good(space));
        taken.fetch_add(u32::from(result.is_ok()), Ordering::SeqCst);
        assert!(matches!(result, Ok(_) | Err(Fail::Again | Fail::Errno(Errno::EEXIST))), "{result:?}");
    };
    let runs = explore(1, make, &[&first, &first], |(_, taken)| assert_eq!(taken.load(Ordering::SeqCst), 1));
    assert!(cfg!(miri) || runs > 10, "{runs}");
}

#[test]
fn what_is_loaded_is_saved() {
    let space = blank();
    let mut new = good(&space);
    new.gdt_frames[0] = space.spare(0).raw();
    new.gdt_ents = 16;
    new.flags |= VGCF_I387_VALID | VGCF_SYSCALL_DISABLES_EVENTS;
    new.fpu_ctxt.x[32] = 0xab;
    new.fpu_ctxt.x[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
    try_load(&space, &new).unwrap();
    assert_eq!(space.domain.vm_assist.load(Ordering::Relaxed), 1 << 2);
    let [out] = *save(&space.hv, &space.domain, vcpu(&space)).unwrap();
    assert_eq!((out.user_regs.rip, out.user_regs.rsi, out.user_regs.cs), (0x1234, 77, 0xe033));
    assert_eq!((out.trap_ctxt[14].address, out.trap_ctxt[14].flags), (0x4444, 4));
    assert_eq!((out.event_callback_eip, out.syscall_callback_eip), (0x5555, 0xffff_ffff_8000_0000));
    assert_eq!((out.ctrlreg[3], out.ctrlreg[1]), (space.root.raw() << 12, 0));
    assert_eq!((out.gs_base_kernel, out.gs_base_user), (0x1000, 0x2000));
    assert_eq!((out.gdt_frames[0], out.gdt_ents), (space.spare(0).raw(), 16));
    assert_eq!((out.kernel_sp, out.kernel_ss), (0x8000, 0xe02b));
    assert_eq!(out.fpu_ctxt.x[32], 0xab);
    assert_eq!(out.flags & new.flags, new.flags);
    assert_eq!(vcpu(&space).state.lock().fpu.blocks()[8].0[0], 3, "x87 and SSE are present");
    space.audit();
    // The same context goes in again, other tables do not.
    try_load(&space, &out).unwrap();
    let mut other = good(&space);
    other.ctrlreg[3] = space.spare(1).raw() << 12;
    assert_eq!(try_load(&space, &other), Err(Errno::EOPNOTSUPP.into()));
    space.audit();
    let _ = reset(&space.hv, &space.domain, vcpu(&space)).unwrap();
    assert_eq!(save(&space.hv, &space.domain, vcpu(&space)).unwrap_err(), Errno::ENODATA.into());
    space.audit();
}

#[test]
fn what_no_vcpu_may_have_is_refused_and_changes_nothing() {
    let space = blank();
    const BAD: u64 = 0x8000_0000_0000;
    type Spoil = fn(&mut VcpuGuestContext, &Space);
    let cases: [(&str, Spoil); 16] = [
        ("rip", |c, _| c.user_regs.rip = BAD),
        ("event callback", |c, _| c.event_callback_eip = BAD),
        ("failsafe callback", |c, _| c.failsafe_callback_eip = !BAD),
        ("syscall callback", |c, _| c.syscall_callback_eip = BAD),
        ("trap handler", |c, _| c.trap_ctxt[255].address = BAD),
        ("fs base", |c, _| c.fs_base = BAD),
        ("gs base", |c, _| c.gs_base_kernel = BAD),
        ("user gs base", |c, _| c.gs_base_user = BAD),
        ("long ldt", |c, _| c.ldt_ents = 8193),
        ("ldt in the hole", |c, _| (c.ldt_base, c.ldt_ents) = (0xffff_8000_0000_0000, 1)),
        ("long gdt", |c, _| c.gdt_ents = FIRST_RESERVED_GDT_ENTRY as u64 + 1),
        ("no root", |c, _| c.ctrlreg[3] = 0),
        ("foreign root", |c, s| c.ctrlreg[3] = s.foreign.raw() << 12),
        ("user mode without root", |c, _| c.flags = 0),
        ("foreign user root", |c, s| c.ctrlreg[1] = s.foreign.raw() << 12),
        ("foreign gdt", |c, s| (c.gdt_frames[0], c.gdt_ents) = (s.foreign.raw(), 1)),
    ];
    for (what, spoil) in cases {
        let mut new = good(&space);
        new.gdt_frames[0] = space.spare(0).raw();
        new.gdt_ents = 1;
        spoil(&mut new, &space);
        assert!(matches!(try_load(&space, &new), Err(Fail::Errno(_))), "{what}");
        assert_eq!(vcpu(&space).initialised.load(Ordering::Relaxed), 0, "{what}");
        space.audit();
    }
    try_load(&space, &good(&space)).unwrap();
    space.audit();
}

/// XSA-67, XSA-193, XSA-293 and their like: random contexts end up in ring 3, with interrupts on, and nothing reserved set.
#[test]
fn whatever_is_loaded_is_fit_to_run() {
    let space = blank();
    let mut random = Random(3);
    let mut loaded = 0;
    for _ in 0..effort(2000, 5) {
        let mut new = good(&space);
        new.user_regs.rflags = random.next();
        new.user_regs.cs = random.next() as u16;
        new.user_regs.ss = random.next() as u16;
        new.kernel_ss = random.next();
        new.ctrlreg[0] = random.next();
        new.ctrlreg[4] = random.next();
        new.debugreg = [0; 8].map(|_: u64| random.next() >> random.below(64));
        new.trap_ctxt[3].cs = random.next() as u16;
        new.trap_ctxt[3].address = 1;
        new.trap_ctxt[3].flags = random.next() as u8;
        new.flags = VGCF_IN_KERNEL | random.next() & (VGCF_I387_VALID | VGCF_FAILSAFE_DISABLES_EVENTS);
        new.fpu_ctxt.x.iter_mut().for_each(|byte| *byte = random.next() as u8);
        loaded += u32::from(try_load(&space, &new).is_ok());
        let state = vcpu(&space).state.lock();
        let regs = &state.regs;
        assert_eq!((regs.cs & 3, regs.ss & 3, state.kernel_ss & 3), (3, 3, 3));
        assert_eq!(regs.rflags & 0x202, 0x202);
        assert_eq!(regs.rflags & !0x3f_7fd7 & !FLAGS_SET, 0, "{:#x}", regs.rflags);
        assert_eq!(regs.rflags & 0x3000, 0, "IOPL");
        assert_eq!(regs.rflags & 0x2_0000, 0, "VM");
        assert_eq!(state.cr0 & !CR0_TS, CR0_BASE);
        assert_eq!(state.cr4 & !CR4_FREE, 0);
        assert!(state.debug[..4].iter().all(|address| range_ok(*address, 8)));
        assert_eq!(state.debug[7] & 1 << 13, 0, "general detect");
        assert_eq!((state.traps[3].cs & 3, state.traps[3].dpl & !3), (3, 0));
        let mxcsr = state.fpu.blocks()[0].0[24..28].try_into().map(u32::from_le_bytes).unwrap();
        assert_eq!(mxcsr & !0xffff, 0);
        assert!(state.fpu.blocks()[8].0[1..].iter().all(|byte| *byte == 0));
    }
    assert!(loaded > 0);
    let _: &World = &space.hv.platform;
    assert!(space.hv.platform.cpus() > 0);
    space.audit();
}
