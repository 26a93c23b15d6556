//! Grants: a mapping counts once, is undone as it was made, and nothing is left of what failed.

use crate::{Case, Outcome, hold, refused, step};
use conformance::Answer;
use conformance::space::{Frame, SELF, at, call, foreign, own_id, pin, unpin, update};
use domu_sdk::abi::GuestPtr;
use domu_sdk::abi::grant_table::*;
use domu_sdk::abi::xen::hypercall::{GRANT_TABLE_OP, UPDATE_VA_MAPPING};

/// The cases.
pub const CASES: &[Case] = &[
    ("xsa-224-device-and-host", device_and_host),
    ("xsa-224-writable-page-becomes-table", writable_page_becomes_table),
    ("xsa-227-misaligned-entry", misaligned_entry),
    ("xsa-234-other-entry", other_entry),
    ("xsa-255-change-of-version", change_of_version),
    ("xsa-134-swap", swap),
    ("xsa-236-failed-maps-leave-nothing", failed_maps),
    ("xsa-26-numbers-out-of-range", numbers_out_of_range),
    ("xsa-411-read-only-grant-written", read_only_grant),
    ("xsa-217-transfer", transfer),
    ("xsa-228-table-stays", table_stays),
    ("xsa-286-grant-seen-elsewhere", seen_elsewhere),
];

fn op<T>(command: u32, list: &mut [T]) -> Answer {
    call(GRANT_TABLE_OP, [command.into(), at(list), list.len() as u64, 0, 0])
}

/// This domain's table, mapped once.
fn table() -> Result<Frame, crate::Stop> {
    let mut frames = [0_u64];
    let mut setup = [GnttabSetupTable {
        dom: SELF as u16,
        nr_frames: 1,
        frame_list: GuestPtr::new(at(&mut frames)),
        ..Default::default()
    }];
    step(op(GNTTABOP_SETUP_TABLE, &mut setup), "setting the grant table up")?;
    let window = Frame::new();
    step(call(UPDATE_VA_MAPPING, [window.va, frames[0] << 12 | 7, 2, 0, 0]), "mapping the grant table")?;
    Ok(window)
}

fn grant(table: &Frame, number: u64, flags: u16, frame: u64) {
    table.write(number, u64::from(flags) | own_id() << 16 | frame << 32);
}

fn hole() -> Frame {
    let frame = Frame::new();
    frame.unmap();
    frame
}

fn map(address: u64, flags: u32, reference: u32) -> (i16, u32, u64) {
    let mut request = [GnttabMapGrantRef {
        host_addr: address,
        flags,
        ref_: reference,
        dom: own_id() as u16,
        status: 77,
        ..Default::default()
    }];
    op(GNTTABOP_MAP_GRANT_REF, &mut request);
    (request[0].status, request[0].handle, request[0].dev_bus_addr)
}

fn unmap(address: u64, bus: u64, handle: u32) -> i16 {
    let mut request = [GnttabUnmapGrantRef {
        host_addr: address,
        dev_bus_addr: bus,
        handle,
        status: 77,
        ..Default::default()
    }];
    op(GNTTABOP_UNMAP_GRANT_REF, &mut request);
    request[0].status
}

/// A frame to which nothing refers becomes a table and ordinary memory again.
fn is_free(frame: &Frame) -> Outcome {
    step(frame.read_only(), "making it read-only")?;
    hold(pin(1, frame.mfn).0 == 0, "references are left, the frame cannot become a table")?;
    hold(unpin(frame.mfn).0 == 0, "the table cannot be unpinned")?;
    hold(frame.writable().0 == 0, "too few references are left, the frame cannot be written")
}

/// XSA-224: a grant mapped for a device and for the CPU was unmapped in two steps, and counted wrongly.
fn device_and_host() -> Outcome {
    let (table, page, place) = (table()?, Frame::new(), hole());
    grant(&table, 20, GTF_PERMIT_ACCESS, page.mfn);
    for round in 0..40 {
        let read = if round % 2 == 0 { GNTMAP_READONLY } else { 0 };
        let (status, handle, bus) = map(place.va, GNTMAP_HOST_MAP | GNTMAP_DEVICE_MAP | read, 20);
        hold(status == 0, "a grant for device and CPU is refused")?;
        unmap(place.va, 0, handle);
        unmap(0, bus, handle);
        unmap(place.va, bus, handle);
        for _ in 0..3 {
            hold(unmap(place.va, bus, handle) != 0, "a mapping was undone twice")?;
        }
    }
    hold(table.read(20) as u16 & (GTF_READING | GTF_WRITING) == 0, "the grant is still marked as used")?;
    hold(
        place.va == 0 || domu_sdk::memory::page_table_entry(place.va).unwrap_or(0) & 1 == 0,
        "the mapping is still there",
    )?;
    is_free(&page)
}

/// XSA-224, XSA-295: a frame that is mapped writable through a grant must not become a table, whoever removed which mapping.
fn writable_page_becomes_table() -> Outcome {
    let (table, page, place, second) = (table()?, Frame::new(), hole(), hole());
    grant(&table, 21, GTF_PERMIT_ACCESS, page.mfn);
    let (status, handle, _) = map(place.va, GNTMAP_HOST_MAP, 21);
    hold(status == 0, "a grant is refused")?;
    step(page.read_only(), "making it read-only")?;
    refused(pin(1, page.mfn), "a frame that a grant maps writable became a table")?;
    let (status, read, _) = map(second.va, GNTMAP_HOST_MAP | GNTMAP_READONLY, 21);
    hold(status == 0, "a second mapping is refused")?;
    hold(unmap(second.va, 0, read) == 0, "the read-only mapping cannot be undone")?;
    refused(pin(1, page.mfn), "undoing a read-only mapping dropped the reference of the writable one")?;
    hold(unmap(place.va, 0, handle) == 0, "the mapping cannot be undone")?;
    page.writable();
    is_free(&page)
}

/// XSA-227: the address of an entry was not checked to be a multiple of its size. Half of a frame number in one entry and half in the next
/// maps anything.
fn misaligned_entry() -> Outcome {
    let (table, page, entries) = (table()?, Frame::new(), Frame::table());
    step(pin(1, entries.mfn), "pinning a table")?;
    grant(&table, 22, GTF_PERMIT_ACCESS, page.mfn);
    for offset in 1..8 {
        let (status, ..) = map(entries.slot(7) + offset, GNTMAP_HOST_MAP | GNTMAP_CONTAINS_PTE, 22);
        hold(status != 0, "an entry that is not at a multiple of its size")?;
    }
    let (status, ..) = map(entries.slot(511) + 4, GNTMAP_HOST_MAP | GNTMAP_CONTAINS_PTE, 22);
    hold(status != 0, "an entry over the end of its table")?;
    hold((0..512).all(|index| entries.read(index) == 0), "an entry was written")
}

/// XSA-234, XSA-288: undoing a mapping where another entry is by now removed that entry and counted for the grant.
fn other_entry() -> Outcome {
    let (table, page, other, place) = (table()?, Frame::new(), Frame::new(), hole());
    grant(&table, 23, GTF_PERMIT_ACCESS, page.mfn);
    let (status, handle, _) = map(place.va, GNTMAP_HOST_MAP, 23);
    hold(status == 0, "a grant is refused")?;
    for entry in [other.entry(7), other.entry(5), page.entry(5), 0] {
        step(call(UPDATE_VA_MAPPING, [place.va, entry, 2, 0, 0]), "changing the entry")?;
        hold(unmap(place.va, 0, handle) != 0, "a mapping was undone where another entry is")?;
        hold(unmap(other.va, 0, handle) != 0, "a mapping was undone at another address")?;
    }
    hold(unmap(place.va + 4096, 0, handle + 1000) != 0, "a handle that does not exist")?;
    is_free(&other)
}

/// XSA-226, XSA-255, XSA-379: changing the version of the table with mappings in use confused the two formats.
fn change_of_version() -> Outcome {
    let (table, page, place) = (table()?, Frame::new(), hole());
    grant(&table, 24, GTF_PERMIT_ACCESS, page.mfn);
    let (status, handle, _) = map(place.va, GNTMAP_HOST_MAP, 24);
    hold(status == 0, "a grant is refused")?;
    for version in [2, 0, 3, u32::MAX] {
        refused(
            op(GNTTABOP_SET_VERSION, &mut [GnttabSetVersion { version }]),
            "a change of version with a grant in use",
        )?;
    }
    page.write(0, 76);
    hold(place.read(0) == 76, "the mapping is not the page any more")?;
    hold(unmap(place.va, 0, handle) == 0, "the mapping cannot be undone")?;
    is_free(&page)
}

/// XSA-134: numbers to be swapped were not checked. A grant in use is not moved either.
fn swap() -> Outcome {
    let (table, page, place) = (table()?, Frame::new(), hole());
    grant(&table, 25, GTF_PERMIT_ACCESS, page.mfn);
    for (a, b) in [(25, 1 << 20), (1 << 20, 25), (u32::MAX, u32::MAX), (u32::MAX, 0), (0x7fff_ffff, 25)] {
        let mut request = [GnttabSwapGrantRef { ref_a: a, ref_b: b, status: 77, ..Default::default() }];
        op(GNTTABOP_SWAP_GRANT_REF, &mut request);
        hold(request[0].status != 0, "a swap with an entry beyond the table")?;
    }
    let (status, handle, _) = map(place.va, GNTMAP_HOST_MAP, 25);
    hold(status == 0, "a grant is refused")?;
    let mut request = [GnttabSwapGrantRef { ref_a: 25, ref_b: 26, status: 77, ..Default::default() }];
    op(GNTTABOP_SWAP_GRANT_REF, &mut request);
    hold(request[0].status != 0, "a grant in use was moved")?;
    hold(unmap(place.va, 0, handle) == 0, "the mapping cannot be undone")?;
    is_free(&page)
}

/// XSA-18, XSA-236: a mapping that failed late kept its handle, its mark in the grant, or its reference. After thousands of them nothing is left,
/// and there is still a handle to be had.
fn failed_maps() -> Outcome {
    let (table, page, place) = (table()?, Frame::new(), hole());
    grant(&table, 27, GTF_PERMIT_ACCESS, page.mfn);
    grant(&table, 28, GTF_PERMIT_ACCESS, foreign());
    for _ in 0..3000 {
        hold(map(0x1000, GNTMAP_HOST_MAP, 27).0 != 0, "a mapping where there is no table")?;
        hold(
            map(page.slot(0), GNTMAP_HOST_MAP | GNTMAP_CONTAINS_PTE, 27).0 != 0,
            "a mapping in a frame that is no table",
        )?;
        hold(map(place.va, GNTMAP_HOST_MAP, 28).0 != 0, "a grant of somebody else's frame")?;
    }
    hold(table.read(27) as u16 == GTF_PERMIT_ACCESS, "the grant is still marked as used")?;
    let (status, handle, _) = map(place.va, GNTMAP_HOST_MAP, 27);
    hold(status == 0, "handles are used up")?;
    hold(unmap(place.va, 0, handle) == 0, "the mapping cannot be undone")?;
    is_free(&page)
}

/// XSA-26, XSA-232: references and handles out of range, and domains that do not exist.
fn numbers_out_of_range() -> Outcome {
    let (_table, place) = (table()?, hole());
    for number in [512, 513, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        hold(map(place.va, GNTMAP_HOST_MAP, number).0 != 0, "a reference beyond the table")?;
        hold(unmap(place.va, 0, number) != 0, "a handle that does not exist")?;
        let mut copy = [GnttabCopy { len: 8, flags: GNTCOPY_SOURCE_GREF, status: 77, ..Default::default() }];
        copy[0].source.set_ref(number);
        copy[0].source.domid = SELF as u16;
        copy[0].dest.set_gmfn(place.mfn);
        copy[0].dest.domid = SELF as u16;
        op(GNTTABOP_COPY, &mut copy);
        hold(copy[0].status != 0, "a copy from a reference beyond the table")?;
    }
    Ok(())
}

/// XSA-411 and others: a grant for reading only must not be written, by mapping or copying, nor a frame that is not the granter's.
fn read_only_grant() -> Outcome {
    let (table, page, place, source) = (table()?, Frame::new(), hole(), Frame::new());
    page.write(0, 1);
    source.write(0, 2);
    grant(&table, 29, GTF_PERMIT_ACCESS | GTF_READONLY, page.mfn);
    hold(map(place.va, GNTMAP_HOST_MAP, 29).0 != 0, "a read-only grant mapped for writing")?;
    hold(map(place.va, GNTMAP_DEVICE_MAP, 29).0 != 0, "a read-only grant given to a device for writing")?;
    let mut copy = [GnttabCopy { len: 8, flags: GNTCOPY_DEST_GREF, status: 77, ..Default::default() }];
    copy[0].source.set_gmfn(source.mfn);
    copy[0].source.domid = SELF as u16;
    copy[0].dest.set_ref(29);
    copy[0].dest.domid = own_id() as u16;
    op(GNTTABOP_COPY, &mut copy);
    hold(copy[0].status != 0 && page.read(0) == 1, "a read-only grant was written by a copy")?;
    let (status, handle, _) = map(place.va, GNTMAP_HOST_MAP | GNTMAP_READONLY, 29);
    hold(status == 0, "a read-only grant is refused")?;
    let entry = domu_sdk::memory::page_table_entry(place.va).unwrap_or(0);
    hold(entry & 2 == 0, "a read-only grant is mapped writable")?;
    hold(unmap(place.va, 0, handle) == 0, "the mapping cannot be undone")
}

/// XSA-286, XSA-279 and others: the translation of a mapping that is undone was dropped for the address that the guest named, and the guest
/// had used the same page-table entry at another address. The granter is told that the frame is its own again, so there must be no way to
/// it, wherever the table hung.
fn seen_elsewhere() -> Outcome {
    let (table, page) = (table()?, Frame::new());
    let [low, middle, high]: [Frame; 3] = core::array::from_fn(|_| Frame::table());
    let window = 0xffff_a080_0000_0000_u64;
    for (level, tables) in [(1, &low), (2, &middle), (3, &high)] {
        step(pin(level, tables.mfn), "pinning a table")?;
    }
    for index in [0, 5] {
        step(update(middle.slot(index), low.entry(7)), "hooking the lowest table twice")?;
    }
    step(update(high.slot(0), middle.entry(7)), "hooking a table")?;
    let top = (conformance::space::root() << 12) + 8 * (window >> 39 & 511);
    step(update(top, high.entry(7)), "hooking the tables")?;
    grant(&table, 31, GTF_PERMIT_ACCESS, page.mfn);
    for (named, other) in [(window, window + (5 << 21)), (window + (5 << 21), window)] {
        let (status, handle, _) = map(named, GNTMAP_HOST_MAP, 31);
        hold(status == 0, "a grant is refused")?;
        for address in [named, other] {
            let trap = conformance::trapped!("mov [rdi], rsi"; in("rdi") address, in("rsi") 5_u64);
            hold(trap.0.is_none(), "the mapping cannot be written")?;
        }
        hold(unmap(named, 0, handle) == 0, "the mapping cannot be undone")?;
        for address in [named, other] {
            let trap = conformance::trapped!("mov [rdi], rsi"; in("rdi") address, in("rsi") 6_u64);
            hold(trap.0.is_some(), "the frame can be written after the mapping was undone")?;
        }
        hold(page.read(0) == 5, "the frame was written after the mapping was undone")?;
    }
    step(update(top, 0), "unhooking the tables")
}

/// XSA-217: a frame was transferred while the giver still had a translation for it. A frame that is mapped is not transferred.
fn transfer() -> Outcome {
    let page = Frame::new();
    let mut request = [GnttabTransfer {
        mfn: page.mfn,
        domid: own_id() as u16,
        ref_: 20,
        status: 77,
        ..Default::default()
    }];
    op(GNTTABOP_TRANSFER, &mut request);
    hold(request[0].status != 0, "a mapped frame was transferred")?;
    is_free(&page)
}

/// XSA-228, XSA-380: the table itself: growing beyond the limit, and giving its frames away.
fn table_stays() -> Outcome {
    let table = table()?;
    let frame = domu_sdk::memory::page_table_entry(table.va).unwrap_or(0) >> 12 & 0xff_ffff_ffff;
    grant(&table, 30, GTF_PERMIT_ACCESS, frame);
    refused(pin(1, frame), "a frame of the grant table became a page table")?;
    let entries = Frame::table();
    step(pin(1, entries.mfn), "pinning a table")?;
    refused(update(entries.slot(0), frame << 12 | 0x87), "a frame of the grant table mapped as large page")
        .or_else(|stop| if domu_sdk::start::is_privileged() { Ok(()) } else { Err(stop) })?;
    update(entries.slot(0), 0);
    let mut list = [0_u64; 1];
    for count in [65, 1000, u32::MAX] {
        let mut setup = [GnttabSetupTable {
            dom: SELF as u16,
            nr_frames: count,
            frame_list: GuestPtr::new(at(&mut list)),
            status: 77,
            ..Default::default()
        }];
        op(GNTTABOP_SETUP_TABLE, &mut setup);
        hold(setup[0].status != 0, "a table beyond its limit")?;
    }
    Ok(())
}
