//! Tests of grants: a mapper with page tables, a granter, and a recount of all references after each.

use abi::grant_table::*;

use super::*;
use crate::addr::{DomId, GrantRef, PAGE_SIZE};
use crate::effort::effort;
use crate::fail::Fail;
use crate::frame::audit::audit;
use crate::frame::pte::{PRESENT, WRITABLE};
use crate::mm::give_frames;
use crate::mm::testing::{Space, show, space};
use crate::platform::Flush;
use crate::world::World;

const HOST: u32 = GNTMAP_HOST_MAP;
const READ: u32 = GNTMAP_HOST_MAP | GNTMAP_READONLY;
const PERMIT: u16 = GTF_PERMIT_ACCESS;

fn reference(number: u32) -> GrantRef {
    GrantRef::new(number)
}

/// Writes an entry of the granter's table.
fn grant(space: &Space, number: u32, frame: Mfn, flags: u16) {
    let table = super::frame(&space.hv, &space.other, number / 512).unwrap();
    let entry = u64::from(flags) | u64::from(space.domain.id.raw()) << 16 | frame.raw() << 32;
    space.hv.platform.store(table, number as usize % 512, entry);
}

/// Writes an entry of the granter's table for another domain.
fn grant_to(space: &Space, number: u32, to: DomId, frame: Mfn) {
    let table = space.other.grants.table.lock().frames()[0];
    let entry = u64::from(PERMIT) | u64::from(to.raw()) << 16 | frame.raw() << 32;
    space.hv.platform.store(table, number as usize, entry);
}

fn flags(space: &Space, number: u32) -> u16 {
    let table = super::frame(&space.hv, &space.other, number / 512).unwrap();
    space.hv.platform.load(table, number as usize % 512) as u16
}

fn map_at(space: &Space, number: u32, address: u64, flags: u32) -> Result<Mapped, Status> {
    let request = Request { address, flags, reference: reference(number) };
    map(&space.hv, &space.domain, space.root, &space.other, request).unwrap()
}

fn unmap_at(space: &Space, handle: u32, address: u64) -> Result<(), Status> {
    let unmapped = unmap(&space.hv, &space.domain, space.root, handle, address, 0)?;
    flush_unmapped(&space.hv, &space.domain, &[Some(unmapped)]);
    Ok(())
}

fn page(number: u64) -> u64 {
    number << 12
}

#[test]
fn a_mapping_comes_and_goes() {
    let space = space();
    grant(&space, 9, space.foreign, PERMIT);
    let mapped = map_at(&space, 9, page(3), HOST).unwrap();
    assert_eq!(mapped, Mapped { handle: 0, frame: space.foreign });
    let entry = space.entry(page(3));
    assert_eq!((entry >> 12 & 0xff_ffff, entry & 3), (space.foreign.raw(), PRESENT | WRITABLE));
    assert_eq!(flags(&space, 9), PERMIT | GTF_READING | GTF_WRITING);
    space.audit();
    // What was mapped there before has lost its reference: it can become a table.
    let freed = space.data(3);
    assert_eq!(space.hv.frames.describe(freed).2, 0);

    let before = space.hv.platform.flushes.lock().unwrap().len();
    unmap_at(&space, mapped.handle, page(3)).unwrap();
    let flushes = space.hv.platform.flushes.lock().unwrap();
    // Not only the address: the table may hang elsewhere, too.
    assert_eq!(flushes[before..], [(Flush::Global, 1)]);
    drop(flushes);
    assert_eq!(space.entry(page(3)), 0);
    assert_eq!(flags(&space, 9), PERMIT);
    assert_eq!(unmap_at(&space, mapped.handle, page(3)), Err(Status::BadHandle));
    space.audit();
}

#[test]
fn only_what_was_granted_is_mapped() {
    let space = space();
    let (good, other) = (space.foreign, space.other.id.raw());
    grant(&space, 1, good, PERMIT | GTF_READONLY);
    grant(&space, 2, good, GTF_ACCEPT_TRANSFER);
    grant(&space, 3, good, 0);
    grant(&space, 4, good, GTF_TRANSITIVE);
    grant(&space, 6, space.data(1), PERMIT);
    grant(&space, 7, Mfn::new(0xffff_ffff), PERMIT);
    grant(&space, 8, Mfn::new(0), PERMIT);
    grant(&space, 9, good, PERMIT);
    let table = super::frame(&space.hv, &space.other, 0).unwrap();
    space.hv.platform.store(table, 5, u64::from(PERMIT) | u64::from(other) << 16 | good.raw() << 32);
    for (number, how, status) in [
        (1, HOST, Status::GeneralError),
        (2, HOST, Status::GeneralError),
        (3, READ, Status::GeneralError),
        (4, READ, Status::GeneralError),
        (5, READ, Status::GeneralError),
        (6, READ, Status::BadPage),
        (7, READ, Status::BadPage),
        (8, READ, Status::BadPage),
        (9, 0, Status::BadGntref),
        (9, GNTMAP_READONLY, Status::BadGntref),
        (512, HOST, Status::BadGntref),
        (u32::MAX, HOST, Status::BadGntref),
    ] {
        assert_eq!(map_at(&space, number, page(3), how), Err(status), "reference {number}");
    }
    // What was refused left no mark, no pin and no handle.
    for number in 1..10 {
        assert_eq!(flags(&space, number) & (GTF_READING | GTF_WRITING), 0, "reference {number}");
    }
    assert_eq!(map_at(&space, 1, page(3), READ).unwrap().handle, 0);
    assert_eq!(flags(&space, 1), PERMIT | GTF_READONLY | GTF_READING);
    space.audit();
}

/// XSA-227, XSA-228: entries are named by aligned addresses of the mapper's own L1 tables, nothing else.
#[test]
fn only_entries_of_own_page_tables_are_written() {
    let space = space();
    grant(&space, 1, space.foreign, PERMIT);
    let entry = HOST | GNTMAP_CONTAINS_PTE;
    let at = |mfn: Mfn, offset: u64| (mfn.raw() << 12) + offset;
    for (address, how) in [
        (at(space.l1, 4), entry),
        (at(space.l1, 1), entry),
        (at(space.l2, 0), entry),
        (at(space.root, 8), entry),
        (at(space.data(2), 0), entry),
        (at(space.foreign, 0), entry),
        (u64::MAX, entry),
        (page(512), HOST),
        (0xffff_8000_0000_0000, HOST),
        (0x8000_0000_0000, HOST),
        (u64::MAX, HOST),
    ] {
        assert_eq!(map_at(&space, 1, address, how), Err(Status::GeneralError), "{address:#x}");
    }
    assert_eq!(flags(&space, 1), PERMIT);
    let mapped = map_at(&space, 1, at(space.l1, 24), entry | 5 << 16).unwrap();
    assert_eq!(space.entry(page(3)) >> 9 & 7, 5, "the bits that the guest chose");
    space.audit();
    assert_eq!(
        unmap_at(&space, mapped.handle, page(3)),
        Err(Status::GeneralError),
        "it was named by its entry"
    );
    unmap_at(&space, mapped.handle, at(space.l1, 24)).unwrap();
    assert_eq!(flags(&space, 1), PERMIT);
    space.audit();
}

/// XSA-224, XSA-234: an unmapping names the place of the mapping, with its frame and permission.
#[test]
fn an_unmapping_must_find_the_mapping() {
    let space = space();
    grant(&space, 1, space.foreign, PERMIT);
    grant(&space, 2, space.foreign, PERMIT);
    let writing = map_at(&space, 1, page(3), HOST).unwrap().handle;
    let reading = map_at(&space, 2, page(4), READ).unwrap().handle;
    assert_eq!(unmap_at(&space, writing, page(5)), Err(Status::GeneralError), "another frame");
    assert_eq!(unmap_at(&space, writing, page(4)), Err(Status::GeneralError), "a reading mapping");
    assert_eq!(unmap_at(&space, reading, page(3)), Err(Status::GeneralError), "a writing mapping");
    assert_eq!(unmap_at(&space, 77, page(3)), Err(Status::BadHandle));
    assert_eq!(unmap_at(&space, u32::MAX, page(3)), Err(Status::BadHandle));
    space.audit();
    unmap_at(&space, reading, page(4)).unwrap();
    unmap_at(&space, writing, page(3)).unwrap();
    space.audit();
}

/// XSA-236, XSA-295: pins are as many as mappings, and the marks go with the last.
#[test]
fn marks_go_with_the_last_user_of_their_sort() {
    let space = space();
    grant(&space, 1, space.foreign, PERMIT);
    let first = map_at(&space, 1, page(3), READ).unwrap().handle;
    assert_eq!(flags(&space, 1), PERMIT | GTF_READING);
    let second = map_at(&space, 1, page(4), HOST).unwrap().handle;
    let third = map_at(&space, 1, page(5), HOST).unwrap().handle;
    unmap_at(&space, second, page(4)).unwrap();
    assert_eq!(flags(&space, 1), PERMIT | GTF_READING | GTF_WRITING);
    unmap_at(&space, third, page(5)).unwrap();
    assert_eq!(flags(&space, 1), PERMIT | GTF_READING);
    // Once in use, what the granter writes over it does not count.
    grant(&space, 1, space.data(1), PERMIT | GTF_READING);
    let again = map_at(&space, 1, page(6), READ).unwrap();
    assert_eq!(again.frame, space.foreign);
    unmap_at(&space, again.handle, page(6)).unwrap();
    unmap_at(&space, first, page(3)).unwrap();
    assert_eq!(flags(&space, 1), PERMIT);
    space.audit();
}

#[test]
fn one_mapping_for_devices_and_cpu_goes_in_two_steps() {
    let space = space();
    grant(&space, 1, space.foreign, PERMIT);
    let handle = map_at(&space, 1, page(3), HOST | GNTMAP_DEVICE_MAP).unwrap().handle;
    assert_eq!(space.hv.frames.describe(space.foreign).2, 2, "one for the entry, one for devices");
    unmap_at(&space, handle, page(3)).unwrap();
    assert_eq!(flags(&space, 1), PERMIT | GTF_READING | GTF_WRITING);
    let wrong = unmap(&space.hv, &space.domain, space.root, handle, 0, 0x1000).unwrap_err();
    assert_eq!(wrong, Status::GeneralError);
    let address = space.foreign.raw() << 12;
    let rest = unmap(&space.hv, &space.domain, space.root, handle, 0, address).unwrap();
    flush_unmapped(&space.hv, &space.domain, &[Some(rest)]);
    assert_eq!(flags(&space, 1), PERMIT);
    assert_eq!(unmap_at(&space, handle, page(3)), Err(Status::BadHandle));
    space.audit();
}

/// A guest that overwrites the entry of a mapping loses the mapping, not the count of anything.
#[test]
fn an_overwritten_mapping_keeps_only_its_pin() {
    let space = space();
    grant(&space, 1, space.foreign, PERMIT);
    let handle = map_at(&space, 1, page(3), HOST).unwrap().handle;
    let by = crate::frame::entry::Mapper::own(&space.hv, space.domain.id);
    let none = crate::mm::update::update_l1(&space.hv, space.l1, 3, 0, crate::mm::update::How::Set, &by);
    assert_eq!(none, Ok(Ok(())));
    space.audit();
    assert_eq!(unmap_at(&space, handle, page(3)), Err(Status::GeneralError));
    assert_eq!(flags(&space, 1), PERMIT | GTF_READING | GTF_WRITING);
    let _ = release_all(&space.hv, &space.domain).unwrap();
    assert_eq!(flags(&space, 1), PERMIT);
    space.audit();
}

#[test]
fn an_entry_moves_to_where_a_mapping_was() {
    let space = space();
    grant(&space, 1, space.foreign, PERMIT);
    let handle = map_at(&space, 1, page(3), HOST).unwrap().handle;
    let moved = space.entry(page(7));
    let replace_with = |new| replace(&space.hv, &space.domain, space.root, handle, page(3), new);
    for wrong in [page(3), page(512), u64::MAX] {
        assert_eq!(replace_with(wrong).unwrap_err(), Status::GeneralError, "{wrong:#x}");
    }
    space.audit();
    let unmapped = replace_with(page(7)).unwrap();
    flush_unmapped(&space.hv, &space.domain, &[Some(unmapped)]);
    assert_eq!((space.entry(page(3)), space.entry(page(7))), (moved, 0));
    assert_eq!(flags(&space, 1), PERMIT);
    space.audit();
}

#[test]
fn handles_run_out_and_come_back() {
    let mut space = space();
    let limited = Arc::get_mut(&mut space.domain);
    assert!(limited.is_none(), "shared already, so its default limits hold");
    let mut track = maptrack::Maptrack::new(256);
    let mapping = || maptrack::Mapping {
        granter: space.other.clone(),
        reference: reference(0),
        frame: space.foreign,
        by_entry: false,
        host: true,
        device: false,
        readonly: true,
    };
    let handles: std::vec::Vec<_> = (0..256).map(|_| track.add(mapping()).unwrap()).collect();
    assert!(matches!(track.add(mapping()), Err((Status::NoSpace, _))));
    assert!(track.remove(handles[200]).is_some());
    assert!(track.remove(handles[200]).is_none());
    assert_eq!(track.add(mapping()).map_err(|(status, _)| status), Ok(200));
    let mut unique = handles;
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), 256);
}

#[test]
fn copies_stay_inside_their_pages_and_their_rights() {
    let space = space();
    let hv = &space.hv;
    grant(&space, 1, space.foreign, PERMIT | GTF_READONLY);
    grant(&space, 2, space.foreign, PERMIT);
    hv.platform.store_bytes(space.foreign, 4000, b"from the granter");
    let granted = |number| Place::Grant(&space.other, reference(number));
    let own = |n: usize| Place::Own(space.data(n));
    let run = |from, to, length| copy(hv, &space.domain, from, to, length).unwrap();
    assert_eq!(run((granted(1), 4000), (own(2), 10), 16), Ok(()));
    let mut read = [0; 16];
    hv.platform.load_bytes(space.data(2), 10, &mut read);
    assert_eq!(&read, b"from the granter");
    assert_eq!(run((own(2), 10), (granted(2), 0), 4), Ok(()));
    assert_eq!(run((own(2), 0), (granted(2), 0), PAGE_SIZE), Ok(()));
    for (from, to, length, status) in [
        ((own(2), 0), (granted(1), 0), 4, Status::GeneralError),
        ((granted(3), 0), (own(2), 0), 4, Status::GeneralError),
        ((granted(4096), 0), (own(2), 0), 4, Status::BadGntref),
        ((granted(1), 4090), (own(2), 0), 7, Status::BadCopyArg),
        ((granted(1), 0), (own(2), 4096), 1, Status::BadCopyArg),
        ((granted(1), 65535), (own(2), 0), 65535, Status::BadCopyArg),
        ((Place::Own(space.foreign), 0), (own(2), 0), 4, Status::BadPage),
        ((Place::Own(Mfn::INVALID), 0), (own(2), 0), 4, Status::BadPage),
        ((own(2), 0), (Place::Own(space.l1), 0), 4, Status::GeneralError),
        ((own(2), 0), (Place::Own(space.root), 0), 4, Status::GeneralError),
    ] {
        assert_eq!(run(from, to, length), Err(status), "{from:?} to {to:?}");
    }
    assert_eq!((flags(&space, 1), flags(&space, 2)), (PERMIT | GTF_READONLY, PERMIT));
    space.audit();
}

#[test]
fn entries_in_use_are_not_swapped() {
    let space = space();
    grant(&space, 1, space.foreign, PERMIT);
    grant(&space, 2, space.data(1), GTF_ACCEPT_TRANSFER);
    let swap = |a, b| super::swap(&space.hv, &space.other, reference(a), reference(b));
    assert_eq!(swap(1, 1000), Err(Status::BadGntref));
    swap(1, 2).unwrap();
    assert_eq!((flags(&space, 1), flags(&space, 2)), (GTF_ACCEPT_TRANSFER, PERMIT));
    let handle = map_at(&space, 2, page(3), READ).unwrap().handle;
    assert_eq!(swap(1, 2), Err(Status::Eagain));
    unmap_at(&space, handle, page(3)).unwrap();
    swap(2, 1).unwrap();
}

#[test]
fn a_table_grows_to_its_limit_and_its_frames_go_with_the_domain() {
    let space = space();
    assert_eq!(space.other.grants.size(), (1, DEFAULT_FRAMES));
    let free = space.hv.frames.free_frames();
    let mut seen = std::vec::Vec::new();
    frames(&space.hv, &space.other, 3, |index, mfn| {
        assert_eq!(index as usize, seen.len());
        seen.push(mfn);
        Ok(())
    })
    .unwrap();
    assert_eq!(space.other.grants.size().0, 3);
    assert_eq!(grow(&space.hv, &space.other, DEFAULT_FRAMES + 1), Err(Errno::EINVAL));
    assert_eq!(super::frame(&space.hv, &space.other, u32::MAX), Err(Errno::EINVAL));
    free_table(&space.hv, &space.other);
    assert_eq!(space.hv.frames.free_frames(), free);
    assert_eq!(grow(&space.hv, &space.other, 1), Err(Errno::EINVAL), "not of a dead domain");
}

/// XSA-230 and its like: the end of either side takes back everything exactly once.
#[test]
fn the_end_of_the_mapper_gives_everything_up_in_portions() {
    let space = space();
    for number in 0..200 {
        grant(&space, number, space.foreign, PERMIT);
        let how = if number % 2 == 0 { HOST } else { GNTMAP_DEVICE_MAP };
        map_at(&space, number, page(u64::from(number) % 8), how).unwrap();
    }
    space.hv.platform.interrupt_every(1);
    let mut rounds = 0;
    while let Err(fail) = release_all(&space.hv, &space.domain) {
        assert_eq!(fail, Fail::Again);
        rounds += 1;
        assert!(rounds < 20);
    }
    assert!(rounds > 1);
    assert!((0..200).all(|number| flags(&space, number) == PERMIT));
    space.audit();
    assert_eq!(map_at(&space, 1, page(3), HOST), Err(Status::NoSpace), "a dying domain maps nothing");
    let _ = release_all(&space.hv, &space.other).unwrap();
    assert_eq!(grow(&space.hv, &space.other, 2), Err(Errno::EINVAL), "a dying domain's table does not grow");
    // As long as its table lasts, its grants do, if the frames are still there.
    let fresh = Request { address: 0, flags: GNTMAP_DEVICE_MAP, reference: reference(1) };
    let (third, _) = crate::world::domain(&space.hv, 3, false, 1);
    let frame = give_frames(&space.hv, &space.other, 0).unwrap();
    grant_to(&space, 1, third.id, frame);
    let mapped = map(&space.hv, &third, Mfn::INVALID, &space.other, fresh).unwrap().unwrap();
    space.other.advance(crate::domain::Life::Dying);
    while crate::mm::relinquish(&space.hv, &space.other).is_err() {}
    assert_eq!(space.hv.frames.owner(frame), crate::frame::Owner::Domain(space.other.id));
    let device = frame.raw() << 12;
    let unmapped = unmap(&space.hv, &third, Mfn::INVALID, mapped.handle, 0, device).unwrap();
    flush_unmapped(&space.hv, &third, &[Some(unmapped)]);
    assert_eq!(space.hv.frames.owner(frame), crate::frame::Owner::None);
    let gone = map(&space.hv, &third, Mfn::INVALID, &space.other, fresh).unwrap();
    assert_eq!(gone, Err(Status::BadPage), "the frame is not the granter's any more");
    free_table(&space.hv, &space.other);
    let gone = map(&space.hv, &third, Mfn::INVALID, &space.other, fresh).unwrap();
    assert_eq!(gone, Err(Status::BadGntref), "there is no table any more");
}

#[test]
fn a_dead_granter_is_remembered_by_its_mapper() {
    let space = space();
    grant(&space, 1, space.foreign, PERMIT);
    let handle = map_at(&space, 1, page(3), HOST).unwrap().handle;
    free_table(&space.hv, &space.other);
    let _ = space.hv.domains.remove(&space.other);
    unmap_at(&space, handle, page(3)).unwrap();
    assert_eq!(space.entry(page(3)), 0);
}

/// Two CPUs map and unmap the same grants at the same places: counts and marks are right in the end.
#[test]
fn races_of_mapping_and_unmapping_count_right() {
    let space = space();
    for number in 0..4 {
        grant(&space, number, space.foreign, PERMIT);
    }
    let rounds = effort(5000, 50);
    std::thread::scope(|scope| {
        for cpu in 0..2 {
            let space = &space;
            scope.spawn(move || {
                World::be_cpu(0);
                let mut random = crate::sched::tests::Random(cpu + 1);
                for _ in 0..rounds {
                    let at = page(random.below(4));
                    let how =
                        [HOST, READ, GNTMAP_DEVICE_MAP, HOST | GNTMAP_DEVICE_MAP][random.below(4) as usize];
                    if random.below(2) == 0 {
                        let _ = map_at(space, random.below(4) as u32, at, how);
                    } else {
                        let handle = random.below(40) as u32;
                        let device = space.foreign.raw() << 12;
                        let (host, device) = [(at, 0), (0, device), (at, device)][random.below(3) as usize];
                        let (hv, domain) = (&space.hv, &space.domain);
                        let unmapped = unmap(hv, domain, space.root, handle, host, device).ok();
                        flush_unmapped(hv, domain, &[unmapped]);
                    }
                }
            });
        }
    });
    let _ = release_all(&space.hv, &space.domain).unwrap();
    assert!((0..4).all(|number| flags(&space, number) == PERMIT));
    let findings = audit(&space.hv, &[]);
    assert!(findings.is_empty(), "{}", show(&findings));
    let spare = give_frames(&space.hv, &space.domain, 0);
    assert!(spare.is_some());
}

/// The granter takes a grant back as a guest does: if the hypervisor has not marked it, by one compare-and-swap. In all
/// interleavings with a few preemptions, either it is taken back or it is mapped.
#[test]
fn a_grant_is_mapped_or_taken_back() {
    use crate::sync::explore::explore;
    use std::sync::atomic::{AtomicU32, Ordering};
    struct Scene(Space, AtomicU32, AtomicU32);
    let make = || {
        let space = space();
        grant(&space, 9, space.foreign, PERMIT);
        Scene(space, AtomicU32::new(0), AtomicU32::new(0))
    };
    let mapper = |scene: &Scene| {
        scene.1.store(u32::from(map_at(&scene.0, 9, page(3), HOST).is_ok()), Ordering::SeqCst);
    };
    let granter = |Scene(space, _, revoked): &Scene| {
        let table = super::frame(&space.hv, &space.other, 0).unwrap();
        for _ in 0..2 {
            let entry = space.hv.platform.load(table, 9);
            if entry as u16 & (GTF_READING | GTF_WRITING) == 0
                && space.hv.platform.compare_exchange(table, 9, entry, 0).is_ok()
            {
                revoked.store(1, Ordering::SeqCst);
                break;
            }
        }
    };
    let check = |Scene(space, mapped, revoked): &Scene| {
        let (mapped, revoked) = (mapped.load(Ordering::SeqCst), revoked.load(Ordering::SeqCst));
        assert_eq!(mapped + revoked, 1, "mapped {mapped}, taken back {revoked}");
        let wanted = if mapped == 1 { PERMIT | GTF_READING | GTF_WRITING } else { 0 };
        assert_eq!(flags(space, 9), wanted);
    };
    let runs = explore(2, make, &[&mapper, &granter], check);
    assert!(runs > effort(20, 0), "{runs}");

    // Two mappings of one grant come and go: the marks go with the last.
    let twice = |at: u64| {
        move |Scene(space, ..): &Scene| {
            if let Ok(mapped) = map_at(space, 9, page(at), HOST) {
                unmap_at(space, mapped.handle, page(at)).unwrap();
            }
        }
    };
    let (one, other) = (twice(3), twice(4));
    explore(1, make, &[&one, &other], |Scene(space, ..)| {
        assert_eq!(flags(space, 9), PERMIT);
        space.audit();
    });
}
