//! Area `grant`: `grant_table_op` with version 1 of the table. The domain grants to itself, so both sides are seen.
#![no_std]
#![no_main]

extern crate alloc;

use conformance::space::{self, Answer, Entry, Frame, SELF, at, call, foreign, own_id, root, update};
use conformance::{bad, put};
use domu_sdk::abi::GuestPtr;
use domu_sdk::abi::grant_table::*;
use domu_sdk::abi::xen::hypercall::{GRANT_TABLE_OP, UPDATE_VA_MAPPING};
use domu_sdk::memory;
use domu_sdk::start;

/// This domain, where `DOMID_SELF` will do; a grant is found by the domain's own number only.
const OWN: u16 = SELF as u16;

fn op<T>(command: u32, list: &mut [T]) -> Answer {
    call(GRANT_TABLE_OP, [command.into(), at(list), list.len() as u64, 0, 0])
}

/// The first frame of the table, mapped in place of a frame of ours.
struct Table {
    window: Frame,
}

impl Table {
    fn new() -> Table {
        let mut frames = [0_u64];
        let mut request = [GnttabSetupTable {
            dom: OWN,
            nr_frames: 1,
            frame_list: GuestPtr::new(at(&mut frames)),
            ..Default::default()
        }];
        put!("setup", "{} {}", op(GNTTABOP_SETUP_TABLE, &mut request), request[0].status);
        let window = Frame::new();
        put!("setup.map", "{}", call(UPDATE_VA_MAPPING, [window.va, frames[0] << 12 | 7, 2, 0, 0]));
        Table { window }
    }

    /// Writes entry `number`.
    fn set(&self, number: u64, flags: u16, domain: u16, frame: u64) {
        self.window.write(number, u64::from(flags) | u64::from(domain) << 16 | frame << 32);
    }

    fn flags(&self, number: u64) -> u16 {
        self.window.read(number) as u16
    }
}

/// A page of the direct map that is not mapped, for grants to be mapped at.
fn hole() -> Frame {
    let frame = Frame::new();
    frame.unmap();
    frame
}

fn entry_at(va: u64) -> Entry {
    Entry(memory::page_table_entry(va).unwrap_or(0))
}

fn map_request(va: u64, flags: u32, reference: u32, domain: u16) -> GnttabMapGrantRef {
    GnttabMapGrantRef {
        host_addr: va,
        flags,
        ref_: reference,
        dom: domain,
        status: 77,
        handle: 0x7777_7777,
        ..Default::default()
    }
}

fn unmap(va: u64, handle: u32) -> (Answer, i16) {
    let mut request = [GnttabUnmapGrantRef { host_addr: va, handle, status: 77, ..Default::default() }];
    (op(GNTTABOP_UNMAP_GRANT_REF, &mut request), request[0].status)
}

/// Maps, prints status, entry of the page table and of the grant table, and unmaps.
fn try_map(table: &Table, name: &str, place: u64, flags: u32, reference: u32, domain: u16) {
    let mut request = [map_request(place, flags, reference, domain)];
    let answer = op(GNTTABOP_MAP_GRANT_REF, &mut request);
    let status = request[0].status;
    let in_use = if reference < 512 { table.flags(reference.into()) } else { 0 };
    let mapped = if place == 0 || flags & GNTMAP_CONTAINS_PTE != 0 || flags & GNTMAP_HOST_MAP == 0 {
        Entry(0)
    } else {
        entry_at(place)
    };
    put!(
        format_args!("map.{name}"),
        "{answer} {status} entry {mapped} grant {in_use:#x} bus {}",
        request[0].dev_bus_addr != 0
    );
    if status == 0 {
        let (bus, handle) = (request[0].dev_bus_addr, request[0].handle);
        let host = if flags & GNTMAP_HOST_MAP != 0 { place } else { 0 };
        let device = if flags & GNTMAP_DEVICE_MAP != 0 { bus } else { 0 };
        let mut request = [GnttabUnmapGrantRef {
            host_addr: host,
            dev_bus_addr: device,
            handle,
            status: 77,
            ..Default::default()
        }];
        let answer = op(GNTTABOP_UNMAP_GRANT_REF, &mut request);
        put!(
            format_args!("map.{name}.unmap"),
            "{answer} {} grant {:#x}",
            request[0].status,
            if reference < 512 { table.flags(reference.into()) } else { 0 }
        );
    }
}

fn maps(table: &Table) {
    let me = own_id() as u16;
    let (page, place) = (Frame::new(), hole());
    table.set(20, GTF_PERMIT_ACCESS, me, page.mfn);
    table.set(21, GTF_PERMIT_ACCESS | GTF_READONLY, me, page.mfn);
    for flags in (0..64).chain([0x80, 0x100, 0x8000]) {
        // As an address of an entry, a virtual address is out of range.
        try_map(table, &alloc::format!("flags{flags:x}"), place.va, flags, 20, me);
        try_map(table, &alloc::format!("flags{flags:x}.read-only-grant"), place.va, flags, 21, me);
    }
    for bits in [1, 2, 4, 0x8000, 0x7fff] {
        try_map(table, &alloc::format!("avail{bits:x}"), place.va, GNTMAP_HOST_MAP | bits << 16, 20, me);
    }
    for (name, flags, domain, frame) in [
        ("invalid", 0, me, page.mfn),
        ("transfer", GTF_ACCEPT_TRANSFER, me, page.mfn),
        ("transitive", GTF_TRANSITIVE, me, page.mfn),
        ("other-domain", GTF_PERMIT_ACCESS, 0x1234, page.mfn),
        ("self-domain", GTF_PERMIT_ACCESS, OWN, page.mfn),
        ("foreign", GTF_PERMIT_ACCESS, me, foreign()),
        ("beyond", GTF_PERMIT_ACCESS, me, 0xffff_ffff),
        ("table", GTF_PERMIT_ACCESS, me, root()),
        ("shared-info", GTF_PERMIT_ACCESS, me, start::info().shared_info >> 12),
        ("vga", GTF_PERMIT_ACCESS, me, 0xb8),
        ("sub-page", GTF_PERMIT_ACCESS | GTF_SUB_PAGE, me, page.mfn),
        ("cache", GTF_PERMIT_ACCESS | GTF_PWT | GTF_PCD, me, page.mfn),
        ("marked-in-use", GTF_PERMIT_ACCESS | GTF_READING | GTF_WRITING, me, page.mfn),
        ("high-flags", GTF_PERMIT_ACCESS | 0xfe00, me, page.mfn),
    ] {
        table.set(22, flags, domain, frame);
        try_map(table, &alloc::format!("grant.{name}"), place.va, GNTMAP_HOST_MAP, 22, me);
        table.set(22, flags, domain, frame);
        try_map(
            table,
            &alloc::format!("grant.{name}.read-only"),
            place.va,
            GNTMAP_HOST_MAP | GNTMAP_READONLY,
            22,
            me,
        );
        table.set(22, 0, 0, 0);
    }
    for reference in [0, 1, 7, 511, 512, 513, 0x7fff, 0x1_0000, 0x7fff_ffff, u32::MAX] {
        try_map(table, &alloc::format!("ref{reference:x}"), place.va, GNTMAP_HOST_MAP, reference, me);
    }
    for (name, domain) in [
        ("self", OWN),
        ("none", 0x1234),
        ("io", 0x7ff1),
        ("xen", 0x7ff2),
        ("cow", 0x7ff3),
        ("invalid", 0x7ff4),
        ("idle", 0x7fff),
        ("ffff", 0xffff),
    ] {
        try_map(table, &alloc::format!("domain.{name}"), place.va, GNTMAP_HOST_MAP, 20, domain);
    }
    for (name, va) in [
        ("null", 0),
        ("no-table", 0x1000),
        ("odd", place.va + 1),
        ("inside", place.va + 0x800),
        ("hypervisor", 0xffff_8300_0000_0000),
        ("m2p", 0xffff_8000_0000_0000),
        ("noncanonical", 0x8000_0000_0000),
        ("top", 0xffff_ffff_ffff_f000),
    ] {
        try_map(table, &alloc::format!("at.{name}"), va, GNTMAP_HOST_MAP, 20, me);
    }
    // Over a mapping that is there.
    let other = Frame::new();
    try_map(table, "over", other.va, GNTMAP_HOST_MAP, 20, me);
    other.writable();
    // By the place of the entry.
    let l1 = Frame::table();
    put!("pte.pin", "{}", space::pin(1, l1.mfn));
    let flags = GNTMAP_HOST_MAP | GNTMAP_CONTAINS_PTE;
    for (name, address) in [
        ("good", l1.slot(5)),
        ("odd", l1.slot(5) + 4),
        ("no-table", page.slot(5)),
        ("foreign", foreign() << 12),
        ("beyond", 1 << 51),
        ("last", l1.slot(511)),
    ] {
        try_map(table, &alloc::format!("pte.{name}"), address, flags, 20, me);
        try_map(table, &alloc::format!("pte.{name}.read-only"), address, flags | GNTMAP_READONLY, 20, me);
    }
    put!("pte.unpin", "{}", space::unpin(l1.mfn));
}

/// What the references of a mapping protect.
fn held(table: &Table) {
    let me = own_id() as u16;
    let (page, place, second) = (Frame::new(), hole(), hole());
    table.set(30, GTF_PERMIT_ACCESS, me, page.mfn);
    let mut requests = [
        map_request(place.va, GNTMAP_HOST_MAP, 30, me),
        map_request(second.va, GNTMAP_HOST_MAP | GNTMAP_READONLY, 30, me),
    ];
    put!(
        "held.map",
        "{} {} {}",
        op(GNTTABOP_MAP_GRANT_REF, &mut requests),
        requests[0].status,
        requests[1].status
    );
    let [first, read] = [requests[0].handle, requests[1].handle];
    put!("held.handles-differ", "{}", first != read);
    page.write(1, 5);
    put!("held.value", "{} {}", place.read(1), second.read(1));
    put!("held.grant", "{:#x}", table.flags(30));
    put!("held.read-only-page", "{}", page.read_only());
    put!("held.pin", "{}", space::pin(1, page.mfn));
    page.writable();
    put!("unmap.wrong-address", "{:?}", Row(unmap(second.va, first)));
    put!("unmap.no-address", "{:?}", Row(unmap(0, first)));
    put!("unmap.wrong-handle", "{:?}", Row(unmap(place.va, read)));
    for handle in [u32::MAX, 0x7fff_ffff, 0x1000, first + 100] {
        put!(
            format_args!("unmap.handle{}", if handle == first + 100 { 100 } else { handle }),
            "{:?}",
            Row(unmap(place.va, handle))
        );
    }
    let mut bus = [GnttabUnmapGrantRef {
        host_addr: place.va,
        dev_bus_addr: page.mfn << 12,
        handle: first,
        status: 77,
        ..Default::default()
    }];
    put!("unmap.bus-not-mapped", "{} {}", op(GNTTABOP_UNMAP_GRANT_REF, &mut bus), bus[0].status);
    put!("unmap", "{:?} {:#x}", Row(unmap(place.va, first)), table.flags(30));
    put!("unmap.twice", "{:?}", Row(unmap(place.va, first)));
    // The entry was changed behind the grant's back.
    put!("unmap.changed.clear", "{}", call(UPDATE_VA_MAPPING, [second.va, 0, 2, 0, 0]));
    put!("unmap.changed.by-hypercall", "{:?} {:#x}", Row(unmap(second.va, read)), table.flags(30));
    put!("unmap.changed.again", "{:?} {:#x}", Row(unmap(0, read)), table.flags(30));
    // Remapped to another frame.
    let (other, third) = (Frame::new(), hole());
    let mut requests = [map_request(third.va, GNTMAP_HOST_MAP, 30, me)];
    op(GNTTABOP_MAP_GRANT_REF, &mut requests);
    put!("unmap.other-frame.change", "{}", call(UPDATE_VA_MAPPING, [third.va, other.entry(7), 2, 0, 0]));
    put!(
        "unmap.other-frame",
        "{:?} {} {:#x}",
        Row(unmap(third.va, requests[0].handle)),
        entry_at(third.va),
        table.flags(30)
    );
    put!("unmap.other-frame.no-address", "{:?} {:#x}", Row(unmap(0, requests[0].handle)), table.flags(30));
    third.unmap();
    // A read-only entry instead.
    let mut requests = [map_request(third.va, GNTMAP_HOST_MAP, 30, me)];
    op(GNTTABOP_MAP_GRANT_REF, &mut requests);
    put!("unmap.read-only.change", "{}", call(UPDATE_VA_MAPPING, [third.va, page.entry(5), 2, 0, 0]));
    put!("unmap.read-only", "{:?} {:#x}", Row(unmap(third.va, requests[0].handle)), table.flags(30));
    third.unmap();
    // A grant in use is ended by its owner.
    table.set(31, GTF_PERMIT_ACCESS, me, page.mfn);
    let mut requests = [map_request(third.va, GNTMAP_HOST_MAP, 31, me)];
    op(GNTTABOP_MAP_GRANT_REF, &mut requests);
    table.set(31, 0, 0, 0);
    put!(
        "ended.map-again",
        "{:?}",
        Row({
            let mut again = [map_request(second.va, GNTMAP_HOST_MAP, 31, me)];
            (op(GNTTABOP_MAP_GRANT_REF, &mut again), again[0].status)
        })
    );
    table.set(31, GTF_PERMIT_ACCESS, me, other.mfn);
    put!(
        "ended.other-frame",
        "{:?}",
        Row({
            let mut again = [map_request(second.va, GNTMAP_HOST_MAP, 31, me)];
            (op(GNTTABOP_MAP_GRANT_REF, &mut again), again[0].status)
        })
    );
    put!(
        "ended.is-the-old-frame",
        "{}",
        memory::page_table_entry(second.va).unwrap_or(0) >> 12 & 0xffff_ffff == page.mfn
    );
    put!("ended.unmap", "{:?} {:#x}", Row(unmap(third.va, requests[0].handle)), table.flags(31));
}

struct Row((Answer, i16));

impl core::fmt::Debug for Row {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} {}", self.0.0, self.0.1)
    }
}

fn replace(table: &Table) {
    let me = own_id() as u16;
    let (page, place, source, other) = (Frame::new(), hole(), Frame::new(), Frame::new());
    table.set(40, GTF_PERMIT_ACCESS, me, page.mfn);
    let mut mapping = [map_request(place.va, GNTMAP_HOST_MAP, 40, me)];
    put!("replace.map", "{} {}", op(GNTTABOP_MAP_GRANT_REF, &mut mapping), mapping[0].status);
    let run = |name: &str, host: u64, new: u64, handle: u32| {
        let mut request = [GnttabUnmapAndReplace {
            host_addr: host,
            new_addr: new,
            handle,
            status: 77,
            ..Default::default()
        }];
        let answer = op(GNTTABOP_UNMAP_AND_REPLACE, &mut request);
        put!(
            format_args!("replace.{name}"),
            "{answer} {} grant {:#x} host {} new {}",
            request[0].status,
            table.flags(40),
            entry_at(place.va),
            entry_at(source.va)
        );
    };
    let handle = mapping[0].handle;
    run("bad-handle", place.va, source.va, handle + 200);
    run("wrong-host", source.va, other.va, handle);
    run("unmapped-source", place.va, 0x1000, handle);
    run("hypervisor-source", place.va, 0xffff_8300_0000_0000, handle);
    run("odd-source", place.va, source.va + 8, handle);
    run("good", place.va, source.va, handle);
    run("again", place.va, source.va, handle);
    place.unmap();
    let mut mapping = [map_request(place.va, GNTMAP_HOST_MAP, 40, me)];
    op(GNTTABOP_MAP_GRANT_REF, &mut mapping);
    run("with-nothing", place.va, 0, mapping[0].handle);
}

fn copies(table: &Table) {
    let me = own_id() as u16;
    let (from, to) = (Frame::new(), Frame::new());
    let read_only = Frame::table();
    table.set(50, GTF_PERMIT_ACCESS, me, from.mfn);
    table.set(51, GTF_PERMIT_ACCESS | GTF_READONLY, me, to.mfn);
    table.set(52, GTF_PERMIT_ACCESS, me, to.mfn);
    table.set(53, GTF_PERMIT_ACCESS, 0x1234, to.mfn);
    table.set(54, GTF_PERMIT_ACCESS, me, foreign());
    table.set(55, GTF_PERMIT_ACCESS, me, root());
    table.set(56, 0, me, to.mfn);
    for word in 0..512 {
        from.write(word, word);
    }
    let run = |name: &str, source: (u64, u16, u16), dest: (u64, u16, u16), len: u16, flags: u16| {
        let mut copy = [GnttabCopy { len, flags, status: 77, ..Default::default() }];
        copy[0].source.set_gmfn(source.0);
        copy[0].source.domid = source.1;
        copy[0].source.offset = source.2;
        copy[0].dest.set_gmfn(dest.0);
        copy[0].dest.domid = dest.1;
        copy[0].dest.offset = dest.2;
        let answer = op(GNTTABOP_COPY, &mut copy);
        let sum = (0..512).fold(0_u64, |sum, word| sum.wrapping_mul(31).wrapping_add(to.read(word)));
        put!(
            format_args!("copy.{name}"),
            "{answer} {} {sum:#x} grants {:#x} {:#x}",
            copy[0].status,
            table.flags(50),
            table.flags(52)
        );
        (0..512).for_each(|word| to.write(word, 0));
    };
    let both = GNTCOPY_SOURCE_GREF | GNTCOPY_DEST_GREF;
    run("refs", (50, OWN, 0), (52, OWN, 0), 4096, both);
    run("refs.own-number", (50, me, 0), (52, me, 0), 4096, both);
    run("frames", (from.mfn, OWN, 0), (to.mfn, OWN, 0), 4096, 0);
    run("frames.own-number", (from.mfn, me, 0), (to.mfn, me, 0), 4096, 0);
    run("frame-to-ref", (from.mfn, OWN, 8), (52, OWN, 16), 64, GNTCOPY_DEST_GREF);
    run("ref-to-frame", (50, OWN, 8), (to.mfn, OWN, 16), 64, GNTCOPY_SOURCE_GREF);
    run("nothing", (50, OWN, 0), (52, OWN, 0), 0, both);
    run("odd", (50, OWN, 3), (52, OWN, 5), 77, both);
    run("to-the-end", (50, OWN, 4000), (52, OWN, 4000), 96, both);
    run("over-the-end.source", (50, OWN, 4000), (52, OWN, 0), 97, both);
    run("over-the-end.dest", (50, OWN, 0), (52, OWN, 4000), 97, both);
    run("at-the-end", (50, OWN, 4096), (52, OWN, 4096), 0, both);
    run("beyond-the-end", (50, OWN, 4097), (52, OWN, 0), 0, both);
    run("offset-ffff", (50, OWN, 0xffff), (52, OWN, 0), 1, both);
    run("len-4097", (50, OWN, 0), (52, OWN, 0), 4097, both);
    run("len-ffff", (50, OWN, 0), (52, OWN, 0), 0xffff, both);
    run("overlap", (52, OWN, 0), (52, OWN, 8), 64, both);
    run("to-read-only", (50, OWN, 0), (51, OWN, 0), 64, both);
    run("from-read-only", (51, OWN, 0), (52, OWN, 0), 64, both);
    run("to-others-grant", (50, OWN, 0), (53, OWN, 0), 64, both);
    run("to-invalid", (50, OWN, 0), (56, OWN, 0), 64, both);
    run("to-foreign", (50, OWN, 0), (54, OWN, 0), 64, both);
    run("from-foreign", (54, OWN, 0), (52, OWN, 0), 64, both);
    run("to-table", (50, OWN, 0), (55, OWN, 0), 64, both);
    run("from-table.size", (55, OWN, 0), (52, OWN, 0), 0, both);
    run("to-table-frame", (50, OWN, 0), (root(), OWN, 0), 64, GNTCOPY_SOURCE_GREF);
    run("to-foreign-frame", (50, OWN, 0), (foreign(), OWN, 0), 64, GNTCOPY_SOURCE_GREF);
    run("from-foreign-frame", (foreign(), OWN, 0), (52, OWN, 0), 64, GNTCOPY_DEST_GREF);
    run("from-vga", (0xb8, OWN, 0), (52, OWN, 0), 64, GNTCOPY_DEST_GREF);
    run("from-beyond", (1 << 45, OWN, 0), (52, OWN, 0), 64, GNTCOPY_DEST_GREF);
    run("to-read-only-page", (50, OWN, 0), (read_only.mfn, OWN, 0), 64, GNTCOPY_SOURCE_GREF);
    run("ref-beyond", (600, OWN, 0), (52, OWN, 0), 64, both);
    run("ref-ffffffff", (0xffff_ffff, OWN, 0), (52, OWN, 0), 64, both);
    for flags in [4, 8, 0x8000, 0xffff] {
        run(&alloc::format!("flags{flags:x}"), (50, OWN, 0), (52, OWN, 0), 64, flags | both);
    }
    for domain in [0x1234, 0x7ff1, 0x7ff2, 0x7ff4, 0x7fff, 0xffff] {
        run(&alloc::format!("source{domain:x}"), (50, domain, 0), (52, OWN, 0), 64, both);
        run(&alloc::format!("dest{domain:x}"), (50, OWN, 0), (52, domain, 0), 64, both);
        run(
            &alloc::format!("source-frame{domain:x}"),
            (from.mfn, domain, 0),
            (52, OWN, 0),
            64,
            GNTCOPY_DEST_GREF,
        );
    }
    // One bad copy does not keep the others from being made.
    let mut list = [GnttabCopy { len: 8, flags: both, status: 77, ..Default::default() }; 3];
    for (index, copy) in list.iter_mut().enumerate() {
        copy.source.set_ref(50);
        copy.source.domid = OWN;
        copy.source.offset = 8;
        copy.dest.set_ref(if index == 1 { 56 } else { 52 });
        copy.dest.domid = OWN;
        copy.dest.offset = 16 * index as u16;
    }
    put!(
        "copy.list",
        "{} {} {} {} {} {}",
        op(GNTTABOP_COPY, &mut list),
        list[0].status,
        list[1].status,
        list[2].status,
        to.read(0),
        to.read(4)
    );
}

fn sizes() {
    for (name, domain) in [
        ("self", OWN),
        ("own", own_id() as u16),
        ("none", 0x1234),
        ("io", 0x7ff1),
        ("xen", 0x7ff2),
        ("idle", 0x7fff),
        ("ffff", 0xffff),
    ] {
        let mut query = [GnttabQuerySize { dom: domain, status: 77, ..Default::default() }];
        put!(
            format_args!("query.{name}"),
            "{} {} {} {}",
            op(GNTTABOP_QUERY_SIZE, &mut query),
            query[0].status,
            query[0].nr_frames,
            query[0].max_nr_frames
        );
        let mut version = [GnttabGetVersion { dom: domain, version: 77, ..Default::default() }];
        put!(
            format_args!("version.{name}"),
            "{} {}",
            op(GNTTABOP_GET_VERSION, &mut version),
            version[0].version
        );
        for frames in [0, 1, 2, 65, 1000, u32::MAX] {
            let mut list = [u64::MAX; 66];
            let mut setup = [GnttabSetupTable {
                dom: domain,
                nr_frames: frames,
                status: 77,
                frame_list: GuestPtr::new(at(&mut list)),
                ..Default::default()
            }];
            let answer = op(GNTTABOP_SETUP_TABLE, &mut setup);
            put!(
                format_args!("setup.{name}.{frames:x}"),
                "{answer} {} written {}",
                setup[0].status,
                list.iter().filter(|word| **word != u64::MAX).count()
            );
            let mut status = [GnttabGetStatusFrames {
                dom: domain,
                nr_frames: frames,
                status: 77,
                frame_list: GuestPtr::new(at(&mut list)),
            }];
            put!(
                format_args!("status-frames.{name}.{frames:x}"),
                "{} {}",
                op(GNTTABOP_GET_STATUS_FRAMES, &mut status),
                status[0].status
            );
        }
        let mut dump = [GnttabDumpTable { dom: domain, status: 77 }];
        put!(format_args!("dump.{name}"), "{} {}", op(GNTTABOP_DUMP_TABLE, &mut dump), dump[0].status);
        let page = Frame::new();
        let mut transfer =
            [GnttabTransfer { mfn: page.mfn, domid: domain, ref_: 60, status: 77, ..Default::default() }];
        put!(
            format_args!("transfer.mapped.{name}"),
            "{} {}",
            op(GNTTABOP_TRANSFER, &mut transfer),
            transfer[0].status
        );
        transfer[0].mfn = foreign();
        put!(
            format_args!("transfer.foreign.{name}"),
            "{} {}",
            op(GNTTABOP_TRANSFER, &mut transfer),
            transfer[0].status
        );
        transfer[0].mfn = 1 << 45;
        put!(
            format_args!("transfer.beyond.{name}"),
            "{} {}",
            op(GNTTABOP_TRANSFER, &mut transfer),
            transfer[0].status
        );
        if domain != OWN && domain != own_id() as u16 {
            page.unmap();
            transfer[0].mfn = page.mfn;
            put!(
                format_args!("transfer.unmapped.{name}"),
                "{} {}",
                op(GNTTABOP_TRANSFER, &mut transfer),
                transfer[0].status
            );
            put!(format_args!("transfer.unmapped.{name}.still-ours"), "{}", page.writable());
        }
    }
    for (name, address) in bad::ALL {
        let mut setup = [GnttabSetupTable {
            dom: OWN,
            nr_frames: 1,
            status: 77,
            frame_list: GuestPtr::new(address),
            ..Default::default()
        }];
        put!(
            format_args!("setup.list.{name}"),
            "{} {}",
            op(GNTTABOP_SETUP_TABLE, &mut setup),
            setup[0].status
        );
    }
    let mut two = [GnttabSetupTable { dom: OWN, nr_frames: 0, status: 77, ..Default::default() }; 2];
    put!("setup.two", "{} {} {}", op(GNTTABOP_SETUP_TABLE, &mut two), two[0].status, two[1].status);
    let mut two = [GnttabQuerySize { dom: OWN, status: 77, ..Default::default() }; 2];
    put!("query.two", "{} {} {}", op(GNTTABOP_QUERY_SIZE, &mut two), two[0].status, two[1].status);
    for version in [0, 1, 2, 3, u32::MAX] {
        let mut request = [GnttabSetVersion { version }];
        put!(
            format_args!("set-version.{version:x}"),
            "{} {}",
            op(GNTTABOP_SET_VERSION, &mut request),
            request[0].version
        );
        let mut back = [GnttabSetVersion { version: 1 }];
        op(GNTTABOP_SET_VERSION, &mut back);
    }
    let mut two = [GnttabSetVersion { version: 1 }; 2];
    put!("set-version.two", "{}", op(GNTTABOP_SET_VERSION, &mut two));
}

fn swaps(table: &Table) {
    let me = own_id() as u16;
    let run = |name: &str, a: u32, b: u32| {
        let mut request = [GnttabSwapGrantRef { ref_a: a, ref_b: b, status: 77, ..Default::default() }];
        let answer = op(GNTTABOP_SWAP_GRANT_REF, &mut request);
        put!(
            format_args!("swap.{name}"),
            "{answer} {} {:#x} {:#x}",
            request[0].status,
            table.window.read(70),
            table.window.read(71)
        );
    };
    table.set(70, GTF_PERMIT_ACCESS, 0x1234, 7);
    table.set(71, 0, 0x55, 8);
    run("two", 70, 71);
    run("same", 70, 70);
    run("beyond-a", 600, 71);
    run("beyond-b", 70, u32::MAX);
    run("reserved", 0, 1);
    let (page, place) = (Frame::new(), hole());
    table.set(72, GTF_PERMIT_ACCESS, me, page.mfn);
    let mut mapping = [map_request(place.va, GNTMAP_HOST_MAP, 72, me)];
    put!("swap.map", "{} {}", op(GNTTABOP_MAP_GRANT_REF, &mut mapping), mapping[0].status);
    run("in-use-a", 72, 71);
    run("in-use-b", 70, 72);
    put!("swap.unmap", "{:?}", Row(unmap(place.va, mapping[0].handle)));
}

fn caches(table: &Table) {
    let me = own_id() as u16;
    let page = Frame::new();
    table.set(80, GTF_PERMIT_ACCESS, me, page.mfn);
    let run = |name: &str, address: u64, offset: u16, length: u16, operation: u32| {
        let mut request = [GnttabCacheFlush { offset, length, op: operation, ..Default::default() }];
        request[0].set_dev_bus_addr(address);
        put!(format_args!("cache.{name}"), "{}", op(GNTTABOP_CACHE_FLUSH, &mut request));
    };
    let source = GNTTAB_CACHE_SOURCE_GREF;
    for operation in [0, 1, 2, 3, 4, 5, 8, 0x4000_0000] {
        run(&alloc::format!("op{operation:x}.own-frame"), page.mfn << 12, 0, 64, operation);
        run(&alloc::format!("op{operation:x}.own-ref"), 80, 0, 64, operation | source);
    }
    run("nothing", page.mfn << 12, 0, 0, 1);
    run("nothing.null", 0, 0, 0, 0);
    run("offset", page.mfn << 12, 4096, 1, 1);
    run("over-the-end", page.mfn << 12, 4000, 97, 1);
    run("length", page.mfn << 12, 0, 4097, 1);
    run("foreign", foreign() << 12, 0, 64, 1);
    run("beyond", 1 << 57, 0, 64, 1);
    run("odd", (page.mfn << 12) + 5, 0, 64, 1);
    run("ref-beyond", 600, 0, 64, 1 | source);
}

fn calls() {
    let mut nothing = [0_u64; 32];
    for command in [13, 14, 63, 255, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        put!(format_args!("command{command:x}"), "{}", op(command, &mut nothing));
        put!(
            format_args!("command{command:x}.none"),
            "{}",
            call(GRANT_TABLE_OP, [command.into(), 0, 0, 0, 0])
        );
    }
    for command in 0..13 {
        for (name, address) in bad::ALL {
            put!(
                format_args!("bad.{command}.{name}"),
                "{}",
                call(GRANT_TABLE_OP, [command, address, 1, 0, 0])
            );
            put!(
                format_args!("bad.{command}.{name}.none"),
                "{}",
                call(GRANT_TABLE_OP, [command, address, 0, 0, 0])
            );
        }
        put!(
            format_args!("count.{command}.huge"),
            "{}",
            call(GRANT_TABLE_OP, [command, 0x1000, 0x7fff_ffff, 0, 0])
        );
        put!(
            format_args!("count.{command}.negative"),
            "{}",
            call(GRANT_TABLE_OP, [command, 0x1000, 0x8000_0000, 0, 0])
        );
        put!(
            format_args!("count.{command}.ones"),
            "{}",
            call(GRANT_TABLE_OP, [command, 0x1000, u64::MAX, 0, 0])
        );
    }
    update(0, 0);
}

#[domu_sdk::main]
fn main() {
    conformance::area("grant");
    let table = Table::new();
    maps(&table);
    held(&table);
    replace(&table);
    copies(&table);
    swaps(&table);
    caches(&table);
    sizes();
    calls();
    conformance::done();
}
