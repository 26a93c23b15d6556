//! The page-table hypercalls through their shims: results, progress, continuation, flushes.

use abi::xen::{UVMF_ALL, UVMF_INVLPG, UVMF_TLB_FLUSH};
use alloc::vec::Vec;

use super::ext::mmuext_op;
use super::{mmu_update, update_va_mapping, update_va_mapping_otherdomain};
use crate::addr::{DomId, GuestVirt, Mfn};
use crate::effects::Done;
use crate::fail::{Errno, Fail};
use crate::frame::Kind;
use crate::frame::pte::{ACCESSED, DIRTY, GLOBAL, GUEST_KERNEL, PRESENT, USER, WRITABLE};
use crate::mm::testing::{Space, space, space_of};
use crate::platform::{Flush, Platform};

const SELF: u64 = DomId::SELF.raw() as u64;
const DONE_AT: u64 = 0xff8;

fn to(mfn: Mfn, flags: u64) -> u64 {
    mfn.raw() << 12 | flags
}

fn done(space: &Space) -> u64 {
    space.hv.platform.load(space.data(0), DONE_AT as usize / 8) & 0xffff_ffff
}

fn update(space: &Space, list: &[u64]) -> Result<Done, Fail> {
    let args = [space.put(0, list), list.len() as u64 / 2, DONE_AT, SELF, 0, 0];
    space.call(|hv, caller| mmu_update(hv, caller, &mut { args }))
}

fn va(space: &Space, va: u64, entry: u64, flags: u64) -> Result<Done, Fail> {
    space.call(|hv, caller| update_va_mapping(hv, caller, &mut [va, entry, flags, 0, 0, 0]))
}

fn at(table: Mfn, index: u64) -> u64 {
    table.raw() << 12 | index << 3
}

#[test]
fn the_first_failure_ends_the_list_and_is_reported() {
    let space = space();
    let good = to(space.data(1), PRESENT | USER);
    let list =
        [at(space.l1, 30), good, at(space.l1, 31), good, at(space.l1, 32), to(space.l1, PRESENT | WRITABLE)];
    assert_eq!(update(&space, &list), Err(Fail::Errno(Errno::EBUSY)));
    assert_eq!(done(&space), 2);
    assert_eq!(space.hv.platform.load(space.l1, 31), good | GLOBAL);
    assert_eq!(update(&space, &[at(space.l1, 30) | 5, good]), Err(Fail::Errno(Errno::ENOSYS)));
    assert_eq!(update(&space, &[at(space.foreign, 0), 1]), Err(Fail::Errno(Errno::EINVAL)));
    assert_eq!(update(&space, &[at(Mfn::new(1 << 30), 0), 1]), Err(Fail::Errno(Errno::EINVAL)));
    assert_eq!((update(&space, &[]), done(&space)), (Ok(Done::OK), 0));
    space.audit();
}

#[test]
fn kinds_of_update() {
    let space = space();
    let user = to(space.data(1), PRESENT | USER);
    assert_eq!(update(&space, &[at(space.l1, 30), user | ACCESSED | DIRTY]), Ok(Done::OK));
    assert_eq!(update(&space, &[at(space.l1, 30) | 2, user | WRITABLE]), Ok(Done::OK));
    let kept = user | WRITABLE | ACCESSED | DIRTY | GLOBAL;
    assert_eq!(space.hv.platform.load(space.l1, 30), kept, "accessed and dirty stay");
    assert_eq!(update(&space, &[at(space.data(3), 7), 0x1234]), Ok(Done::OK), "no table: plain memory");
    assert_eq!(space.hv.platform.load(space.data(3), 7), 0x1234);
    assert_eq!(update(&space, &[at(space.data(3), 0) | 1, 77]), Ok(Done::OK));
    assert_eq!(space.hv.platform.m2p(space.data(3)), 77);
    assert_eq!(update(&space, &[at(space.foreign, 0) | 1, 77]), Err(Fail::Errno(Errno::EINVAL)));
    space.audit();
}

#[test]
fn a_list_is_continued_where_it_was() {
    let space = space();
    let entry = |n: u64| [at(space.l1, 30 + n), to(space.data(1), PRESENT)];
    let list: Vec<u64> = (0..40).flat_map(entry).collect();
    let mut args = [space.put(0, &list), 40, DONE_AT, SELF, 0, 0];
    space.hv.platform.interrupt_every(1);
    let mut turns = 0;
    while space.call(|hv, caller| mmu_update(hv, caller, &mut args)) == Err(Fail::Again) {
        turns += 1;
        assert_eq!(args[0], list_address(done(&space)));
        assert_eq!(args[1], (40 - done(&space)) | 1 << 31);
        space.audit();
    }
    assert!(turns > 0);
    assert_eq!(done(&space), 40);
    space.audit();
}

fn list_address(done: u64) -> u64 {
    done * 16
}

#[test]
fn mappings_by_address_and_their_flushes() {
    let space = space();
    let flushes = || core::mem::take(&mut *space.hv.platform.flushes.lock().unwrap());
    let page = to(space.data(2), PRESENT);
    let cases = [
        (0, None),
        (UVMF_INVLPG, Some(Flush::Page(GuestVirt::new(0x4000)))),
        (UVMF_INVLPG | UVMF_ALL, Some(Flush::Page(GuestVirt::new(0x4000)))),
        (UVMF_TLB_FLUSH, Some(Flush::Global)),
        (UVMF_TLB_FLUSH | UVMF_ALL, Some(Flush::Global)),
        (UVMF_TLB_FLUSH | 0x1000, Some(Flush::Global)),
        (UVMF_INVLPG | 0x3000, None),
    ];
    space.hv.platform.store(space.data(1), 0, 1);
    flushes();
    for (flags, expected) in cases {
        assert_eq!(va(&space, 0x4000, page, flags), Ok(Done::OK), "{flags:#x}");
        assert_eq!(space.entry(0x4000), page | USER | GUEST_KERNEL);
        let expected: Vec<_> = expected.map(|what| (what, 1)).into_iter().collect();
        assert_eq!(flushes(), expected, "{flags:#x}");
    }
    let einval = Err(Fail::Errno(Errno::EINVAL));
    for bad in [1 << 30, 1 << 46, 0xffff_8000_0000_0000, 0xffff_8800_0000_0000, 1 << 47, u64::MAX] {
        assert_eq!(va(&space, bad, page, 0), einval, "{bad:#x}");
    }
    assert_eq!(
        va(&space, 0x4000, to(space.l1, PRESENT | WRITABLE), UVMF_TLB_FLUSH),
        Err(Fail::Errno(Errno::EBUSY))
    );
    assert_eq!(flushes(), [], "nothing changed, nothing flushed");
    space.audit();
}

#[test]
fn a_foreign_mapping_by_address() {
    let space = space_of(true);
    let call = |domid: u64| {
        let args = [0x4000, to(space.foreign, PRESENT | WRITABLE), 0, domid, 0, 0];
        space.call(|hv, caller| update_va_mapping_otherdomain(hv, caller, &mut { args }))
    };
    assert_eq!(call(2), Ok(Done::OK));
    assert_eq!(call(3), Err(Fail::Errno(Errno::ESRCH)));
    space.audit();
    assert_eq!(va(&space, 0x4000, 0, 0), Ok(Done::OK));
    space.audit();
}

fn ext(space: &Space, ops: &[[u64; 3]]) -> Result<Done, Fail> {
    let words: Vec<u64> = ops.iter().flatten().copied().collect();
    let args = [space.put(0, &words), ops.len() as u64, DONE_AT, SELF, 0, 0];
    space.call(|hv, caller| mmuext_op(hv, caller, &mut { args }))
}

#[test]
fn pins_count_once() {
    let space = space();
    let table = space.spare(0).raw();
    space.hv.platform.clear(space.spare(0));
    assert!(ext(&space, &[[0, table, 0]]).is_ok());
    assert_eq!(ext(&space, &[[0, table, 0]]), Err(Fail::Errno(Errno::EINVAL)), "pinned already");
    assert_eq!(ext(&space, &[[1, table, 0]]), Err(Fail::Errno(Errno::EINVAL)), "it is an L1");
    space.audit();
    assert!(ext(&space, &[[4, table, 0]]).is_ok());
    assert_eq!(ext(&space, &[[4, table, 0]]), Err(Fail::Errno(Errno::EINVAL)));
    assert_eq!(ext(&space, &[[3, space.foreign.raw(), 0]]), Err(Fail::Errno(Errno::EINVAL)));
    assert_eq!(
        (ext(&space, &[[0, table, 0], [4, table, 0], [99, 0, 0]]), done(&space)),
        (Err(Fail::Errno(Errno::ENOSYS)), 2)
    );
    space.audit();
}

#[test]
fn base_pointers_move_and_let_go() {
    let space = space();
    let root = space.spare(0);
    space.hv.platform.clear(root);
    space.hv.platform.store(root, 0, to(space.l3, PRESENT | WRITABLE | USER));
    assert!(ext(&space, &[[15, root.raw(), 0]]).is_ok());
    assert!(space.hv.frames.is_kind(root, Kind::L4));
    space.audit();
    space.hv.platform.flushes.lock().unwrap().clear();
    assert!(ext(&space, &[[5, root.raw(), 0]]).is_ok());
    assert!(
        space.hv.platform.flushes.lock().unwrap().contains(&(Flush::Global, 1)),
        "user mappings are global"
    );
    space.audit();
    assert_eq!(space.hv.frames.describe(space.root).2, 0, "the old root is ordinary memory");
    assert!(ext(&space, &[[15, 0, 0]]).is_ok(), "no user root");
    assert_eq!(space.hv.frames.describe(root).2, 1);
    assert_eq!(ext(&space, &[[5, space.l3.raw(), 0]]), Err(Fail::Errno(Errno::EINVAL)));
    space.audit();
}

#[test]
fn whole_pages() {
    let space = space();
    space.hv.platform.store(space.data(1), 5, 7);
    assert!(ext(&space, &[[17, space.data(2).raw(), space.data(1).raw()]]).is_ok());
    assert_eq!(space.hv.platform.load(space.data(2), 5), 7);
    assert!(ext(&space, &[[16, space.data(2).raw(), 0]]).is_ok());
    assert_eq!(space.hv.platform.load(space.data(2), 5), 0);
    assert_eq!(
        ext(&space, &[[17, space.data(2).raw(), space.foreign.raw()]]),
        Err(Fail::Errno(Errno::EINVAL))
    );
    assert_eq!(
        ext(&space, &[[12, 0, 0]]),
        Err(Fail::Errno(Errno::EACCES)),
        "caches are not an ordinary guest's"
    );
    assert_eq!(ext(&space, &[[19, 0, 0]]), Err(Fail::Errno(Errno::EOPNOTSUPP)));
    space.audit();
}
