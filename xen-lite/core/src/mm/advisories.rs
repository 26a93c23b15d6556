//! Past security bugs of the same kind of code, each as the attempt and its verdict (the numbers are Xen Security Advisories).

use alloc::vec::Vec;

use super::testing::{DATA, Space, space, space_of};
use crate::addr::{DomId, Mfn};
use crate::effects::Done;
use crate::effort::effort;
use crate::fail::{Errno, Fail};
use crate::frame::audit::{Extra, audit};
use crate::frame::pte::{self, PRESENT, USER, WRITABLE};
use crate::frame::{self, Kind, Stop, types};
use crate::hypercall::memory::memory_op;
use crate::hypercall::mm::ext::mmuext_op;
use crate::hypercall::mm::mmu_update;
use crate::platform::{Flush, Platform};

const SELF: u64 = DomId::SELF.raw() as u64;
const EINVAL: Result<(), Fail> = Err(Fail::Errno(Errno::EINVAL));
const EBUSY: Result<(), Fail> = Err(Fail::Errno(Errno::EBUSY));

fn update(space: &Space, table: Mfn, index: usize, entry: u64) -> Result<(), Fail> {
    let list = space.put(0, &[table.raw() << 12 | (index as u64) << 3, entry]);
    let mut args = [list, 1, 0, SELF, 0, 0];
    let result = space.call(|hv, caller| mmu_update(hv, caller, &mut args)).map(drop);
    space.audit();
    result
}

fn ext(space: &Space, cmd: u32, arg1: u64, arg2: u64) -> Result<Done, Fail> {
    let list = space.put(0, &[u64::from(cmd), arg1, arg2]);
    let mut args = [list, 1, 0, SELF, 0, 0];
    space.call(|hv, caller| mmuext_op(hv, caller, &mut args))
}

fn memory(space: &Space, command: u64, words: &[u64]) -> Result<Done, Fail> {
    let at = space.put(0, words);
    space.call(|hv, caller| memory_op(hv, caller, &mut [command, at, 0, 0, 0, 0]))
}

fn to(mfn: Mfn, flags: u64) -> u64 {
    mfn.raw() << 12 | flags
}

/// 148: a large page in an L2 entry, at once or by changing an entry that is there.
#[test]
fn xsa_148_large_pages_are_refused_at_every_level() {
    let space = space();
    for (table, below) in [(space.l2, space.l1), (space.l3, space.l2), (space.root, space.l3)] {
        for flags in [PRESENT | WRITABLE | USER | pte::PAT_OR_PSE, PRESENT | pte::PAT_OR_PSE] {
            assert_eq!(update(&space, table, 0, to(below, flags)), EINVAL);
            assert_eq!(update(&space, table, 1, to(space.data(3), flags)), EINVAL);
        }
    }
}

/// 182: a read-only entry of a table for itself turns writable by the fast path.
#[test]
fn xsa_182_linear_tables_stay_read_only() {
    let space = space();
    for table in [space.root, space.l3, space.l2] {
        assert_eq!(update(&space, table, 7, to(table, PRESENT | USER)), Ok(()));
        assert_eq!(update(&space, table, 7, to(table, PRESENT | USER | WRITABLE)), EINVAL);
        assert_eq!(update(&space, table, 7, to(table, PRESENT)), Ok(()), "harmless bits may change");
        assert_eq!(update(&space, table, 7, 0), Ok(()));
    }
}

/// 185, 240: tables of the same level linked to each other.
#[test]
fn xsa_240_tables_do_not_nest_beyond_themselves() {
    let space = space();
    let other = space.spare(0);
    space.hv.platform.clear(other);
    assert!(ext(&space, 3, other.raw(), 0).is_ok(), "pin as a second root");
    assert_eq!(update(&space, space.root, 7, to(other, PRESENT | USER)), EINVAL);
    assert_eq!(update(&space, other, 7, to(space.root, PRESENT | USER)), EINVAL);
}

/// 45, 299: a writable mapping of a table, in every way and on every level.
#[test]
fn tables_and_descriptors_are_never_writable() {
    let space = space();
    let writable = PRESENT | WRITABLE | USER;
    for table in [space.root, space.l3, space.l2, space.l1] {
        assert_eq!(update(&space, space.l1, 40, to(table, writable)).map(drop), EBUSY);
        assert_eq!(ext(&space, 16, table.raw(), 0).map(drop), EINVAL, "clear");
        assert_eq!(ext(&space, 17, table.raw(), space.data(1).raw()).map(drop), EINVAL, "copy over");
        assert_eq!(super::fill_page(&space.hv, space.domain.id, table, &[1]), Err(Errno::EINVAL));
    }
    let descriptors = space.spare(0);
    space.hv.platform.clear(descriptors);
    assert!(super::get_descriptor_page(&space.hv, space.domain.id, descriptors));
    let list = space.put(0, &[space.l1.raw() << 12 | 40 << 3, to(descriptors, writable)]);
    let result = space.call(|hv, caller| mmu_update(hv, caller, &mut [list, 1, 0, SELF, 0, 0]));
    assert_eq!(result.map(drop), EBUSY);
    let findings = audit(&space.hv, &[Extra::Typed(descriptors)]);
    assert!(findings.is_empty(), "{findings:?}");
    super::put_descriptor_page(&space.hv, descriptors);
    space.audit();
}

/// The hypervisor's slots of a root, and its memory.
#[test]
fn the_hypervisor_is_out_of_reach() {
    let space = space_of(true);
    for slot in pte::HYPERVISOR_SLOTS {
        assert_eq!(update(&space, space.root, slot, 0), EINVAL);
        assert_eq!(update(&space, space.root, slot, to(space.l3, PRESENT)), EINVAL);
    }
    assert_eq!(update(&space, space.l1, 40, to(Mfn::new(0), PRESENT)), EBUSY);
    assert_eq!(
        update(&space, space.l1, 40, to(space.foreign, PRESENT)),
        EBUSY,
        "not without naming its domain"
    );
    let free = frame::alloc(&space.hv, 0, DomId::XEN).unwrap();
    frame::free(&space.hv, free, 0);
    assert_eq!(update(&space, space.l1, 40, to(free, PRESENT)), EBUSY);
}

/// Foreign frames are for control domains, and only when they name the domain.
#[test]
fn foreign_frames_need_the_right_and_the_name() {
    for (privileged, verdict) in [(true, Ok(())), (false, Err(Fail::Errno(Errno::EPERM)))] {
        let space = space_of(privileged);
        let list = space.put(0, &[space.l1.raw() << 12 | 40 << 3, to(space.foreign, PRESENT | WRITABLE)]);
        let call = |domid: u64| {
            space.call(|hv, caller| mmu_update(hv, caller, &mut [list, 1, 0, domid, 0, 0])).map(drop)
        };
        assert_eq!(call(2), verdict);
        space.audit();
        assert_eq!(call(1), Err(Fail::Errno(Errno::ESRCH)), "oneself by number");
        assert_eq!(call(99), Err(Fail::Errno(Errno::ESRCH)));
        // The foreign domain ends: its frame stays until the mapping goes.
        space.other.advance(crate::domain::Life::Dying);
        assert!(super::relinquish(&space.hv, &space.other).is_ok());
        let left = space.other.memory.total.load(core::sync::atomic::Ordering::Relaxed);
        assert_eq!(left, u32::from(privileged));
        assert_eq!(update(&space, space.l1, 40, 0), Ok(()));
        assert_eq!(space.other.memory.total.load(core::sync::atomic::Ordering::Relaxed), 0);
    }
}

/// 154, 402: memory types and I/O are for domains with hardware.
#[test]
fn xsa_154_memory_types_and_io_need_hardware() {
    let io = Mfn::new(4000);
    for (privileged, types, mapping) in
        [(true, Ok(()), Ok(())), (false, EINVAL, Err(Fail::Errno(Errno::EPERM)))]
    {
        let space = space_of(privileged);
        assert_eq!(update(&space, space.l1, 40, to(space.data(1), PRESENT | pte::PCD)), types);
        assert_eq!(update(&space, space.l1, 41, to(io, PRESENT | WRITABLE)), mapping);
        space.hv.frames.deny_io(io..Mfn::new(4001));
        assert_eq!(update(&space, space.l1, 42, to(io, PRESENT)), Err(Fail::Errno(Errno::EPERM)));
        let beyond = Mfn::new(1 << 28);
        assert_eq!(update(&space, space.l1, 43, to(beyond, PRESENT)), Err(Fail::Errno(Errno::EPERM)));
    }
}

/// 286, 401 and others: a frame that could be written is flushed before it is a table, or another domain's.
#[test]
fn stale_translations_are_flushed_before_a_frame_changes() {
    let space = space();
    let page = space.data(5);
    let flushes = || core::mem::take(&mut *space.hv.platform.flushes.lock().unwrap());
    assert_eq!(update(&space, space.l1, 5, to(page, PRESENT)), Ok(()));
    space.hv.platform.clear(page);
    flushes();
    assert!(ext(&space, 0, page.raw(), 0).is_ok());
    assert_eq!(flushes(), [(Flush::Global, 1)], "writable to L1");
    assert!(ext(&space, 4, page.raw(), 0).is_ok());
    assert!(ext(&space, 0, page.raw(), 0).is_ok());
    assert_eq!(flushes(), [], "the same kind again");
    assert!(ext(&space, 4, page.raw(), 0).is_ok());
    assert_eq!(update(&space, space.l1, 5, to(page, PRESENT | WRITABLE)), Ok(()));
    assert_eq!(flushes(), [(Flush::Global, 1)], "L1 to writable: the CPU may have cached the way through it");
    // Given up while mapped read-only elsewhere, then unmapped, then another's.
    assert_eq!(update(&space, space.l1, 5, 0), Ok(()));
    let spare = space.spare(1);
    assert_eq!(memory(&space, 1, &[40, 1, 0, SELF, 0, spare.raw()]), Ok(Done::value(1)));
    flushes();
    while super::give_frames(&space.hv, &space.other, 0).is_some() {}
    assert!(!flushes().is_empty(), "freed to another owner");
}

/// 29, 212: lists that are not where they claim to be.
#[test]
fn xsa_212_lists_are_checked_as_a_whole() {
    let space = space();
    let hole = 0xffff_8000_0000_1000;
    let exchange = |start: u64, count: u64, done: u64| {
        let list = [start, count, 0, SELF, start, count, 0, SELF, done];
        memory(&space, 11, &list).map(drop)
    };
    let efault = Err(Fail::Errno(Errno::EFAULT));
    assert_eq!(exchange(hole, 1, 0), efault);
    assert_eq!(exchange(u64::MAX - 7, 2, 0), efault);
    assert!(exchange(0x1000, u64::MAX / 8, 0).is_err(), "a list larger than the address space");
    assert_eq!(exchange(0x1000, 1, 2), EINVAL, "more done than there is");
    assert_eq!(memory(&space, 6, &[hole, 1, 0, SELF]), Ok(Done::value(0)), "nothing done");
    assert_eq!(memory(&space, 1, &[0x1000, 1 << 40, 0, SELF]), Ok(Done::value(0)));
    let mut args = [hole, 1, 0, SELF, 0, 0];
    assert_eq!(space.call(|hv, caller| mmu_update(hv, caller, &mut args)).map(drop), efault);
    let mut args = [0x1000, u64::from(u32::MAX >> 1), 0, SELF, 0, 0];
    assert_ne!(space.call(|hv, caller| mmu_update(hv, caller, &mut args)).map(drop), Ok(()));
    space.audit();
}

/// 158, 231: orders that are too large.
#[test]
fn xsa_158_orders_are_bounded() {
    let space = space();
    for order in [10, 19, 31, 32, 63, u64::from(u32::MAX)] {
        for command in [0, 1, 6] {
            let result = memory(&space, command, &[40, 1, order, SELF, 0, space.data(3).raw()]);
            assert_eq!(result, Ok(Done::value(0)), "command {command}, order {order}");
        }
        let list = [72, 1, order, SELF, 72, 1, order, SELF, 0];
        assert_eq!(memory(&space, 11, &list).map(drop), Err(Fail::Errno(Errno::EPERM)));
    }
    space.audit();
}

/// 252: giving a frame up does not take its pin off, and the frame stays a table.
#[test]
fn unpinning_is_never_implicit() {
    let space = space();
    let page = space.spare(0);
    space.hv.platform.clear(page);
    assert!(ext(&space, 0, page.raw(), 0).is_ok());
    assert_eq!(memory(&space, 1, &[40, 1, 0, SELF, 0, page.raw()]), Ok(Done::value(1)));
    assert_eq!(space.hv.frames.owner(page), frame::Owner::Domain(space.domain.id));
    assert!(space.hv.frames.is_kind(page, Kind::L1));
    assert!(ext(&space, 4, page.raw(), 0).is_ok());
    assert_eq!(space.hv.frames.owner(page), frame::Owner::None);
    assert_eq!(ext(&space, 4, page.raw(), 0).map(drop), EINVAL);
    space.audit();
}

/// The words of a frame that are looked at; the third is one.
fn words() -> impl Iterator<Item = usize> {
    (0..512).step_by(effort(1, 3))
}

/// 100, 216: what a domain left is not what the next one finds.
#[test]
fn xsa_100_frames_are_cleared_between_owners() {
    let space = space();
    let secret = space.spare(0);
    space.hv.platform.store(secret, 3, 0xdead);
    assert_eq!(memory(&space, 1, &[40, 1, 0, SELF, 0, secret.raw()]), Ok(Done::value(1)));
    space.other.memory.max.store(1000, core::sync::atomic::Ordering::Relaxed);
    let taken: Vec<Mfn> = core::iter::from_fn(|| super::give_frames(&space.hv, &space.other, 0)).collect();
    assert!(taken.contains(&secret));
    assert!(taken.iter().all(|mfn| words().all(|word| space.hv.platform.load(*mfn, word) == 0)));
}

/// 100, 216: a number is given to another domain; what the first of that number gave back while it lived is not the second one's.
#[test]
fn a_number_used_again_shows_nothing() {
    let hv = crate::world::machine(64);
    let (first, frames) = crate::world::domain(&hv, 5, false, 8);
    hv.platform.store(frames[0], 3, 0xdead);
    assert_eq!(super::reserve::decrease(&hv, &first, frames[0]), Ok(()));
    first.advance(crate::domain::Life::Dying);
    while super::relinquish(&hv, &first).is_err() {}
    first.advance(crate::domain::Life::Dead);
    let _ = crate::control::lifecycle::reap(&hv, &first);
    assert!(hv.domains.get(first.id).is_none());
    let (_, frames) = crate::world::domain(&hv, 5, false, 40);
    assert!(frames.iter().all(|mfn| words().all(|word| hv.platform.load(*mfn, word) == 0)));
}

/// 279, 292: the last mapping of a dead domain's frame was another's, which may write to it until it is flushed. Whoever gets the
/// frame finds it empty all the same.
#[test]
fn a_frame_is_cleared_after_the_flush() {
    let space = space_of(true);
    let list = space.put(0, &[space.l1.raw() << 12 | 40 << 3, to(space.foreign, PRESENT | WRITABLE)]);
    let mapped = space.call(|hv, caller| mmu_update(hv, caller, &mut [list, 1, 0, 2, 0, 0])).map(drop);
    assert_eq!(mapped, Ok(()));
    space.other.advance(crate::domain::Life::Dying);
    assert!(super::relinquish(&space.hv, &space.other).is_ok());
    assert_eq!(update(&space, space.l1, 40, 0), Ok(()));
    assert_eq!(space.hv.frames.owner(space.foreign), frame::Owner::None);
    // A store through the translation that the CPU still has.
    space.hv.platform.store(space.foreign, 9, 0xbad);
    let all = core::iter::from_fn(|| frame::alloc(&space.hv, 0, DomId::new(7)));
    let found = all.filter(|mfn| *mfn == space.foreign).map(|mfn| space.hv.platform.load(mfn, 9));
    assert_eq!(found.collect::<Vec<u64>>(), [0]);
}

/// The base pointer that is loaded already: guests take this for a flush.
#[test]
fn the_same_root_again_flushes() {
    let space = space();
    space.hv.platform.flushes.lock().unwrap().clear();
    assert!(ext(&space, 5, space.root.raw(), 0).is_ok());
    assert_eq!(*space.hv.platform.flushes.lock().unwrap(), [(Flush::Global, 1)]);
}

/// 158 and its like: however the memory is cut up, a request with a narrow limit finds what there is below it, and nothing else.
#[test]
fn narrow_requests_find_what_is_below() {
    let hv = crate::world::machine(200);
    let below = |limit: u64| {
        let found = frame::alloc_below(&hv, 0, DomId::XEN, limit).map(Mfn::raw);
        assert!(audit(&hv, &[]).is_empty());
        found
    };
    assert!(below(32).is_some_and(|mfn| (16..32).contains(&mfn)), "the highest first");
    assert!(below(u64::MAX).is_some_and(|mfn| mfn >= 128));
    assert_eq!((below(2), below(2), below(1), below(0)), (Some(1), None, None, None));
    let all: Vec<Mfn> = core::iter::from_fn(|| frame::alloc(&hv, 0, DomId::XEN)).collect();
    // Every second one: no two are adjacent.
    all.iter().filter(|mfn| mfn.raw() % 2 == 0).for_each(|mfn| frame::free(&hv, *mfn, 0));
    assert_eq!(frame::alloc(&hv, 1, DomId::XEN), None);
    assert!(below(64).is_some_and(|mfn| (32..64).contains(&mfn)));
    assert!((0..effort(20, 2)).filter_map(|_| below(8)).all(|mfn| mfn < 8));
    all.iter().filter(|mfn| mfn.raw() % 2 == 1).for_each(|mfn| frame::free(&hv, *mfn, 0));
    assert!(frame::alloc(&hv, 5, DomId::XEN).is_some(), "they are joined again");
    assert!(audit(&hv, &[]).is_empty());
}

/// A domain that begins to die while it is given frames, or while its tables are pinned for it, keeps none of it.
#[test]
fn the_dying_are_given_nothing() {
    let space = space_of(true);
    let total = || space.other.memory.total.load(core::sync::atomic::Ordering::Relaxed);
    let before = total();
    let mfn = frame::alloc_for(&space.hv, &space.other, 2, u64::MAX).unwrap();
    assert!(!frame::take_back_if_dying(&space.hv, &space.other, mfn, 2));
    space.other.advance(crate::domain::Life::Dying);
    // Found by the search for its frames already, or not: the same.
    frame::drop_allocation(&space.hv, Mfn::new(mfn.raw() + 1));
    assert!(frame::take_back_if_dying(&space.hv, &space.other, mfn, 2));
    assert_eq!(total(), before);
    space.hv.platform.clear(space.foreign);
    let list = space.put(0, &[0, space.foreign.raw(), 0]);
    let result = space.call(|hv, caller| mmuext_op(hv, caller, &mut [list, 1, 0, 2, 0, 0])).map(drop);
    assert_eq!((result, space.hv.frames.is_pinned(space.foreign)), (Ok(()), false));
    space.audit();
}

/// 242, 299, 310: a check that is interrupted at each step in turn, and continued, given up, or undone by another use.
#[test]
fn every_interruption_resumes_or_undoes() {
    let end = effort(40, 2);
    for at in 1..end {
        for ending in 0..3 {
            let space = space();
            let (root, l3) = (space.spare(0), space.spare(1));
            let low: Vec<Mfn> = (2..8).map(|n| space.spare(n)).collect();
            for mfn in [root, l3].iter().chain(&low) {
                space.hv.platform.clear(*mfn);
            }
            (0..4).for_each(|n| space.hv.platform.store(root, n, to(l3, PRESENT)));
            let link = |n: usize| space.hv.platform.store(l3, n * 9, to(low[n], PRESENT));
            (0..low.len()).for_each(link);
            // The last one is bad: what was checked before it is to be undone, interrupted too.
            if ending == 2 {
                space.hv.platform.store(l3, 511, to(space.data(4), PRESENT | WRITABLE));
            }
            space.hv.platform.interrupt_every(at);
            let mut turns = 0;
            let result = loop {
                let result = types::pin(&space.hv, root, space.domain.id, Kind::L4);
                space.audit();
                turns += 1;
                if result != Err(Stop::Again) || ending == 1 || turns > 1000 {
                    break result;
                }
            };
            space.hv.platform.interrupt_every(at);
            match ending {
                0 => assert_eq!(result, Ok(())),
                2 => assert_eq!(result, Err(Stop::Errno(Errno::EINVAL))),
                // Given up: the frame is asked for as something else.
                _ if result == Err(Stop::Again) => {
                    let want = || frame::get_page_type(&space.hv, root, space.domain.id, Kind::Writable);
                    while want() == Err(Stop::Again) {
                        space.audit();
                    }
                    frame::put_page_type(&space.hv, root);
                }
                _ => {}
            }
            space.audit();
            if ending != 0 && result != Ok(()) {
                let untouched = |mfn: &Mfn| space.hv.frames.describe(*mfn).2 == 0;
                assert!(low.iter().chain([&root, &l3]).all(untouched), "all undone");
            }
        }
    }
}

/// A tree whose lowest table maps one of those above it writable, while all of them are being checked.
#[test]
fn a_table_below_does_not_wait_for_those_above() {
    let space = space();
    let tables: Vec<Mfn> = (0..4).map(|n| space.spare(n)).collect();
    for above in &tables {
        tables.iter().for_each(|mfn| space.hv.platform.clear(*mfn));
        (0..3).for_each(|n| space.hv.platform.store(tables[n], 0, to(tables[n + 1], PRESENT)));
        space.hv.platform.store(tables[3], 9, to(*above, PRESENT | WRITABLE));
        let result = types::pin(&space.hv, tables[0], space.domain.id, Kind::L4);
        assert_eq!(result, Err(Stop::Errno(Errno::EBUSY)));
        space.audit();
    }
}

/// The way a guest's space is built by hand, in one go, and what its pages are then.
#[test]
fn a_tree_is_validated_and_adjusted() {
    let space = space();
    assert_eq!(space.entry(0x3000), to(space.data(3), PRESENT | WRITABLE | USER | pte::GUEST_KERNEL));
    assert_eq!(space.entry(space.va_of_l1()), to(space.l1, PRESENT | USER | pte::GUEST_KERNEL));
    assert_eq!(space.hv.platform.load(space.root, 256), crate::world::HYPERVISOR_ENTRY);
    let kinds = [space.root, space.l3, space.l2, space.l1].map(|mfn| space.hv.frames.describe(mfn).1);
    assert_eq!(kinds, [Kind::L4, Kind::L3, Kind::L2, Kind::L1]);
    assert_eq!(space.hv.frames.describe(space.data(DATA - 1)).1, Kind::Writable);
    space.audit();
}
