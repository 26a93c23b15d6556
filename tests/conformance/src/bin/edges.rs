//! Area `edges`: what memory calls leave behind when they fail half-way: numbers of requests done, results that cannot be written back, lists
//! that end at nothing, counts and flags from one extreme to the other.
#![no_std]
#![no_main]

extern crate alloc;

use conformance::cliff::{Cliff, look, place};
use conformance::space::{self, Answer, Entry, Frame, SELF, at, call, foreign, own_id, request, root};
use conformance::{bad, put};
use domu_sdk::abi::GuestPtr;
use domu_sdk::abi::grant_table::*;
use domu_sdk::abi::memory::{MachphysMapping, MemoryDomain, MemoryExchange, MemoryReservation};
use domu_sdk::abi::xen::MmuUpdate;
use domu_sdk::abi::xen::hypercall::{GRANT_TABLE_OP, MEMORY_OP, MMU_UPDATE, MMUEXT_OP, UPDATE_VA_MAPPING};
use domu_sdk::memory;

const MAP: u64 = 7;
const DONE: u32 = 0x5555;

/// Calls with a list, tells the answer and what became of the number of requests done.
fn listed(number: u64, list: u64, count: u64, done: u32) -> alloc::string::String {
    let mut told = done;
    let answer = call(number, [list, count, at(&mut told), SELF, 0]);
    alloc::format!("{answer} done {:#x}", conformance::fresh(&told))
}

fn updates() {
    let (table, page) = (Frame::table(), Frame::new());
    put!("mmu.pin", "{}", space::pin(1, table.mfn));
    let good = |index| MmuUpdate { ptr: table.slot(index), val: page.entry(MAP) };
    let plain = Frame::new();
    for (name, bad) in [
        ("command", MmuUpdate { ptr: table.slot(9) | 5, val: 0 }),
        ("foreign-table", MmuUpdate { ptr: foreign() << 12, val: 0 }),
        ("foreign-page", MmuUpdate { ptr: table.slot(9), val: foreign() << 12 | MAP }),
        ("no-frame", MmuUpdate { ptr: table.slot(9), val: 0x000f_ffff_ffff_f007 }),
        ("table-writable", MmuUpdate { ptr: table.slot(9), val: table.entry(MAP) }),
        ("large", MmuUpdate { ptr: (root() << 12) + 8, val: page.entry(0x87) }),
        ("reserved-slot", MmuUpdate { ptr: (root() << 12) + 8 * 256, val: 0 }),
        ("machphys", MmuUpdate { ptr: foreign() << 12 | 1, val: 0 }),
        ("none", MmuUpdate { ptr: plain.slot(3), val: 4 }),
    ] {
        let list = [good(1), good(2), bad, good(3)];
        put!(format_args!("mmu.third.{name}"), "{}", listed(MMU_UPDATE, space::of(&list), 4, DONE));
        put!(format_args!("mmu.third.{name}.after"), "{} {}", Entry(table.read(2)), Entry(table.read(3)));
        for index in [1, 2, 3] {
            space::update(table.slot(index), 0);
        }
    }
    let list = [good(1), good(2), good(3)];
    let start = space::of(&list);
    for (name, count, done) in [
        ("zero", 0, DONE),
        ("continued", 3 | 1 << 31, 10),
        ("continued-much", 2 | 1 << 31, u32::MAX),
        ("continued-none", 1 << 31, 10),
        ("high-half", 2 | 1 << 32, DONE),
        ("high-half-only", 1 << 32, DONE),
    ] {
        put!(format_args!("mmu.count.{name}"), "{}", listed(MMU_UPDATE, start, count, done));
    }
    for (name, address) in bad::ALL {
        put!(format_args!("mmu.none-at.{name}"), "{}", listed(MMU_UPDATE, address, 0, DONE));
        put!(format_args!("mmu.continued-none-at.{name}"), "{}", listed(MMU_UPDATE, address, 1 << 31, DONE));
        put!(format_args!("mmu.done-at.{name}"), "{}", call(MMU_UPDATE, [start, 2, address, SELF, 0]));
        put!(format_args!("mmu.done-at.{name}.after"), "{}", Entry(table.read(2)));
        put!(
            format_args!("mmu.continued-done-at.{name}"),
            "{}",
            call(MMU_UPDATE, [start, 2 | 1 << 31, address, SELF, 0])
        );
        space::update(table.slot(2), 0);
    }
    let cliff = Cliff::new();
    let edge = cliff.before(32);
    place(edge, [good(1), good(2)]);
    for count in [2, 3, 0x7fff_ffff, 0xffff_ffff] {
        put!(format_args!("mmu.cliff.{count:x}"), "{}", listed(MMU_UPDATE, edge, count, DONE));
    }
    place(cliff.before(35), [good(1), good(2)]);
    put!("mmu.unaligned", "{}", listed(MMU_UPDATE, cliff.before(35), 2, DONE));
    place(cliff.before(24), good(1));
    put!("mmu.crossing", "{}", listed(MMU_UPDATE, cliff.before(24), 2, DONE));
    put!("mmu.done-crossing", "{}", call(MMU_UPDATE, [start, 2, cliff.before(2), SELF, 0]));
    cliff.freeze();
    put!("mmu.done-read-only", "{}", call(MMU_UPDATE, [start, 2, cliff.before(8), SELF, 0]));
    cliff.thaw();
    put!("mmu.unpin", "{}", space::unpin(table.mfn));
}

fn extended() {
    let page = Frame::new();
    let good = request(16, page.mfn, 0);
    for (name, bad) in [
        ("command", request(77, 0, 0)),
        ("pin-writable", request(0, page.mfn, 0)),
        ("unpin", request(4, page.mfn, 0)),
        ("foreign", request(16, foreign(), 0)),
        ("base", request(5, page.mfn, 0)),
        ("cache", request(18, 0, 0)),
        ("mask", request(8, 0, bad::HOLE)),
    ] {
        let list = [good, good, bad, good];
        put!(format_args!("ext.third.{name}"), "{}", listed(MMUEXT_OP, space::of(&list), 4, DONE));
        put!(format_args!("ext.only.{name}"), "{}", listed(MMUEXT_OP, space::of(&bad), 1, DONE));
    }
    let list = [good, good, good];
    let start = space::of(&list);
    for (name, count, done) in [
        ("zero", 0, DONE),
        ("continued", 3 | 1 << 31, 10),
        ("continued-much", 2 | 1 << 31, u32::MAX),
        ("continued-none", 1 << 31, 10),
        ("high-half", 2 | 1 << 32, DONE),
        ("high-half-only", 1 << 32, DONE),
    ] {
        put!(format_args!("ext.count.{name}"), "{}", listed(MMUEXT_OP, start, count, done));
    }
    for (name, address) in bad::ALL {
        put!(format_args!("ext.none-at.{name}"), "{}", listed(MMUEXT_OP, address, 0, DONE));
        put!(format_args!("ext.done-at.{name}"), "{}", call(MMUEXT_OP, [start, 2, address, SELF, 0]));
    }
    let flush = request(6, 0, 0);
    let cliff = Cliff::new();
    for (name, one) in [("clear", good), ("flush", flush), ("base", request(5, root(), 0))] {
        place(cliff.before(48), [one, one]);
        for count in [1, 2, 3, 0x7fff_ffff] {
            put!(
                format_args!("ext.cliff.{name}.{count:x}"),
                "{}",
                listed(MMUEXT_OP, cliff.before(48), count, DONE)
            );
        }
        place(cliff.before(53), [one, one]);
        put!(format_args!("ext.unaligned.{name}"), "{}", listed(MMUEXT_OP, cliff.before(53), 2, DONE));
        for (what, address) in bad::ALL {
            put!(format_args!("ext.{name}.at.{what}"), "{}", listed(MMUEXT_OP, address, 1, DONE));
        }
    }
}

fn memory_op(command: u64, argument: u64) -> Answer {
    call(MEMORY_OP, [command, argument, 0, 0, 0])
}

fn size() -> i64 {
    memory_op(3, at(&mut MemoryDomain { domid: SELF as u16 })).0
}

fn extents(list: u64, count: u64, order: u32) -> MemoryReservation {
    MemoryReservation {
        extent_start: GuestPtr::new(list),
        nr_extents: count,
        extent_order: order,
        domid: SELF as u16,
        ..Default::default()
    }
}

/// The answer, and by how much the domain grew.
fn grows(command: u64, argument: u64) -> alloc::string::String {
    let before = size();
    let answer = memory_op(command, argument);
    alloc::format!("{answer} grew {}", size() - before)
}

fn hole() -> Frame {
    let frame = Frame::new();
    frame.unmap();
    frame
}

fn reservations() {
    // Room below the limit.
    let mut room: [u64; 24] = core::array::from_fn(|_| hole().mfn);
    put!("memory.room", "{}", grows(1, at(&mut extents(at(&mut room), 24, 0))));
    let cliff = Cliff::new();
    let numbers = |count: u64| cliff.before(8 * count);
    for (name, command) in [("increase", 0), ("populate", 6)] {
        for order in [0, 1] {
            place(numbers(2), [0x9000_u64, 0x9010]);
            let answer = grows(command, at(&mut extents(numbers(2), 4, order)));
            put!(format_args!("memory.{name}.cliff.{order}"), "{answer}");
            let mut got: [u64; 2] = look(numbers(2));
            put!(
                format_args!("memory.{name}.cliff.{order}.back"),
                "{}",
                grows(1, at(&mut extents(at(&mut got), 2, order)))
            );
        }
        place(numbers(2), [0x9000_u64, 0x9010]);
        cliff.freeze();
        put!(
            format_args!("memory.{name}.read-only"),
            "{}",
            grows(command, at(&mut extents(numbers(2), 2, 0)))
        );
        cliff.thaw();
        put!(format_args!("memory.{name}.unaligned"), "{}", {
            place(cliff.before(19), [0x9000_u64, 0x9010]);
            grows(command, at(&mut extents(cliff.before(19), 2, 0)))
        });
        let mut got: [u64; 2] = look(cliff.before(19));
        put!(
            format_args!("memory.{name}.unaligned.back"),
            "{}",
            grows(1, at(&mut extents(at(&mut got), 2, 0)))
        );
        put!(
            format_args!("memory.{name}.crossing"),
            "{}",
            grows(command, at(&mut extents(cliff.before(4), 1, 0)))
        );
        for start in [1, 2, 3] {
            let mut list = [0x9000_u64, 0x9001, 0x9002];
            let answer = grows(command | start << 6, at(&mut extents(at(&mut list), 3, 0)));
            let kept = [0x9000, 0x9001, 0x9002].iter().zip(&list).take_while(|(a, b)| a == b).count();
            put!(format_args!("memory.{name}.from{start}"), "{answer} kept {kept}");
            let from = kept as u64;
            put!(
                format_args!("memory.{name}.from{start}.back"),
                "{}",
                grows(1 | from << 6, at(&mut extents(at(&mut list), 3, 0)))
            );
        }
    }
    let (a, b) = (hole(), hole());
    place(numbers(2), [a.mfn, b.mfn]);
    put!("memory.decrease.cliff", "{}", grows(1, at(&mut extents(numbers(2), 4, 0))));
    let c = hole();
    put!("memory.decrease.same-twice", "{}", grows(1, at(&mut extents(at(&mut [c.mfn, c.mfn]), 2, 0))));
    for (name, address) in bad::ALL {
        for command in [0, 1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 14, 24, 28] {
            put!(format_args!("memory.at.{name}.{command}"), "{}", memory_op(command, address));
        }
    }
    // The structure itself.
    let mut list = [0x9000_u64];
    for size in [32, 24, 16, 8] {
        cliff.bridge();
        place(cliff.before(size), extents(at(&mut list), 0, 0));
        put!(format_args!("memory.struct.bridge.{size}"), "{}", grows(6, cliff.before(size)));
        cliff.thaw();
        put!(format_args!("memory.struct.cliff.{size}"), "{}", grows(6, cliff.before(size)));
    }
    place(cliff.before(16), SELF as u16);
    put!("memory.current.cliff", "{}", memory_op(3, cliff.before(16)).0 > 0);
    place(cliff.before(2), SELF as u16);
    put!("memory.current.last", "{}", memory_op(3, cliff.before(2)).0 > 0);
    put!("memory.current.crossing", "{}", memory_op(3, cliff.before(1)));
    cliff.freeze();
    for command in [5, 9, 10, 12] {
        put!(format_args!("memory.struct.read-only.{command}"), "{}", memory_op(command, cliff.before(64)));
    }
    cliff.thaw();
    put!(
        "memory.mapping.crossing",
        "{}",
        memory_op(12, cliff.before(size_of::<MachphysMapping>() as u64 - 8))
    );
}

fn swap(old: u64, new: u64, count: u64, orders: (u32, u32)) -> MemoryExchange {
    let news = (count << orders.0) >> orders.1;
    MemoryExchange { in_: extents(old, count, orders.0), out: extents(new, news, orders.1), nr_exchanged: 0 }
}

fn exchanged(what: &str, at_: u64) {
    let answer = grows(11, at_);
    put!(format_args!("exchange.{what}"), "{answer} done {}", look::<MemoryExchange>(at_).nr_exchanged);
}

fn m2p(mfn: u64) -> u64 {
    memory::probe(domu_sdk::abi::xen::MACH2PHYS_VIRT_START + mfn * 8).unwrap_or(0)
}

/// As kernels make a region that is contiguous in the machine, and break it up again.
fn regions() {
    for order in [1, 2, 3] {
        let count = 1_u64 << order;
        let holes: alloc::vec::Vec<Frame> = (0..count).map(|_| hole()).collect();
        let mut old: alloc::vec::Vec<u64> = holes.iter().map(|frame| frame.mfn).collect();
        let mut new = [holes[0].pfn];
        let mut request = swap(at(&mut old[..]), at(&mut new), count, (0, order));
        request.out.mem_flags = 32;
        exchanged(&alloc::format!("region{order}"), at(&mut request));
        let first = new[0];
        let numbered = (0..count).all(|page| m2p(first + page) == holes[0].pfn + page);
        put!(
            format_args!("exchange.region{order}.is"),
            "aligned {} numbered {numbered}",
            first.is_multiple_of(count)
        );
        let cleared = old.iter().filter(|mfn| m2p(**mfn) == u64::MAX).count() as u64 == count;
        put!(
            format_args!("exchange.region{order}.old-numbers-gone"),
            "{}",
            cleared || old.iter().any(|mfn| (first..first + count).contains(mfn))
        );
        put!(
            format_args!("exchange.region{order}.map"),
            "{}",
            call(UPDATE_VA_MAPPING, [holes[0].va, (first + count - 1) << 12 | MAP, 2, 0, 0])
        );
        put!(
            format_args!("exchange.region{order}.mapped"),
            "{}",
            grows(11, at(&mut swap(at(&mut [first]), at(&mut old[..]), 1, (order, 0))))
        );
        put!(format_args!("exchange.region{order}.unmap"), "{}", holes[0].unmap());
        let mut pfns: alloc::vec::Vec<u64> = holes.iter().map(|frame| frame.pfn).collect();
        exchanged(
            &alloc::format!("region{order}.back"),
            at(&mut swap(at(&mut [first]), at(&mut pfns[..]), 1, (order, 0))),
        );
        put!(
            format_args!("exchange.region{order}.back.numbered"),
            "{}",
            pfns.iter().zip(&holes).all(|(mfn, frame)| m2p(*mfn) == frame.pfn)
        );
    }
}

fn exchanges() {
    regions();
    let cliff = Cliff::new();
    let holes: [Frame; 4] = core::array::from_fn(|_| hole());
    let mut old = [holes[0].mfn, holes[1].mfn];
    let pfns = [holes[0].pfn, holes[1].pfn];
    let numbers = cliff.before(16);
    // Lists that end too early: nothing or a part is exchanged.
    place(cliff.before(8), holes[2].pfn);
    let mut two = [holes[2].mfn, holes[3].mfn];
    let mut request = swap(at(&mut two), cliff.before(8), 2, (0, 0));
    exchanged("out-cliff", at(&mut request));
    place(cliff.before(8), holes[1].mfn);
    exchanged("in-cliff", at(&mut swap(cliff.before(8), at(&mut [holes[1].pfn, holes[1].pfn]), 2, (0, 0))));
    place(numbers, pfns);
    cliff.freeze();
    exchanged("out-read-only", at(&mut swap(at(&mut [holes[0].mfn]), numbers, 1, (0, 0))));
    cliff.thaw();
    // The request itself cannot be written back.
    let room = size_of::<MemoryExchange>() as u64;
    let mut kept = pfns;
    place(cliff.before(room), swap(at(&mut old), at(&mut kept), 2, (0, 0)));
    cliff.freeze();
    exchanged("request-read-only", cliff.before(room));
    cliff.thaw();
    put!("exchange.request-read-only.new", "{}", kept != pfns);
    for done in [1, 2, 3] {
        let mut list = [holes[3].pfn, holes[3].pfn];
        let mut theirs = [foreign(), foreign()];
        let mut request = swap(at(&mut theirs), at(&mut list), 2, (0, 0));
        request.nr_exchanged = done;
        exchanged(&alloc::format!("foreign.from{done}"), at(&mut request));
    }
    let mut list = [0_u64; 4];
    for (what, old_flags, new_flags) in [
        ("in-bits", 12, 0),
        ("in-node", 6 << 8, 0),
        ("out-node", 0, 6 << 8 | 1 << 17),
        ("out-rest", 0, 0xfff8_0000),
    ] {
        let mut theirs = [foreign()];
        let mut request = swap(at(&mut theirs), at(&mut list), 1, (0, 0));
        (request.in_.mem_flags, request.out.mem_flags) = (old_flags, new_flags);
        exchanged(&alloc::format!("flags.{what}"), at(&mut request));
    }
    for (what, ins, outs, orders) in [
        ("none-of-order9", 0, 0, (9, 9)),
        ("none-of-order10", 0, 0, (10, 10)),
        ("none-and-some", 0, 1, (0, 0)),
        ("odd", 3, 1, (0, 1)),
        ("half", 1, 1, (0, 1)),
        ("wrap", 1 << 63, 0, (1, 0)),
        ("wrap-both", 1 << 63, 1 << 63, (1, 1)),
        ("two-wrap", (1 << 63) + 1, 2, (1, 0)),
    ] {
        let mut theirs = [foreign(), 0, 0, 0];
        let mut request = swap(at(&mut theirs), at(&mut list), ins, (orders.0, orders.0));
        (request.out.nr_extents, request.out.extent_order) = (outs, orders.1);
        exchanged(&alloc::format!("sizes.{what}"), at(&mut request));
    }
}

fn grant_op(command: u32, list: u64, count: u64) -> Answer {
    call(GRANT_TABLE_OP, [command.into(), list, count, 0, 0])
}

fn map_request(address: u64, flags: u32, reference: u32) -> GnttabMapGrantRef {
    GnttabMapGrantRef {
        host_addr: address,
        flags,
        ref_: reference,
        dom: own_id() as u16,
        status: 77,
        ..Default::default()
    }
}

fn unmap_request(address: u64, handle: u32) -> GnttabUnmapGrantRef {
    GnttabUnmapGrantRef { host_addr: address, handle, status: 77, ..Default::default() }
}

fn grant_table() -> Frame {
    let mut frames = [0_u64];
    let mut setup = [GnttabSetupTable {
        dom: SELF as u16,
        nr_frames: 1,
        frame_list: GuestPtr::new(at(&mut frames)),
        ..Default::default()
    }];
    put!("grant.setup", "{}", grant_op(GNTTABOP_SETUP_TABLE, at(&mut setup), 1));
    let window = Frame::new();
    put!("grant.window", "{}", call(UPDATE_VA_MAPPING, [window.va, frames[0] << 12 | MAP, 2, 0, 0]));
    window
}

fn permit(table: &Frame, number: u64, flags: u16, mfn: u64) {
    table.write(number, u64::from(flags) | own_id() << 16 | mfn << 32);
}

/// One grant, mapped as often as it can be.
fn many_mappings(table: &Frame) {
    let page = Frame::new();
    permit(table, 40, GTF_PERMIT_ACCESS, page.mfn);
    for (name, flags) in [
        ("host", GNTMAP_HOST_MAP),
        ("host-read", GNTMAP_HOST_MAP | GNTMAP_READONLY),
        ("device", GNTMAP_DEVICE_MAP),
        ("both", GNTMAP_HOST_MAP | GNTMAP_DEVICE_MAP),
    ] {
        let entries = Frame::table();
        space::pin(1, entries.mfn);
        let mut handles = alloc::vec::Vec::new();
        let mut status = 0;
        while handles.len() < 512 {
            let slot = entries.slot(handles.len() as u64);
            let mut one = [map_request(slot, flags | GNTMAP_CONTAINS_PTE, 40)];
            grant_op(GNTTABOP_MAP_GRANT_REF, at(&mut one), 1);
            status = one[0].status;
            if status != 0 {
                break;
            }
            handles.push((slot, one[0].handle, one[0].dev_bus_addr));
        }
        put!(
            format_args!("grant.many.{name}"),
            "{} then {status} flags {:#x}",
            handles.len(),
            table.read(40) as u16
        );
        let undone = handles.iter().filter(|(slot, handle, bus)| {
            let mut one = [unmap_request(if flags & GNTMAP_HOST_MAP != 0 { *slot } else { 0 }, *handle)];
            one[0].dev_bus_addr = if flags & GNTMAP_DEVICE_MAP != 0 { *bus } else { 0 };
            grant_op(GNTTABOP_UNMAP_GRANT_REF, at(&mut one), 1);
            one[0].status == 0
        });
        put!(format_args!("grant.many.{name}.undone-all"), "{}", undone.count() == handles.len());
        put!(format_args!("grant.many.{name}.flags"), "{:#x}", table.read(40) as u16);
        space::unpin(entries.mfn);
    }
}

fn grant_lists(table: &Frame) {
    let (page, places) = (Frame::new(), [hole(), hole(), hole()]);
    permit(table, 41, GTF_PERMIT_ACCESS, page.mfn);
    let cliff = Cliff::new();
    let size = size_of::<GnttabMapGrantRef>() as u64;
    let flags = GNTMAP_HOST_MAP;
    let mut list = [
        map_request(places[0].va, flags, 41),
        map_request(places[1].va, flags, 999),
        map_request(places[2].va, flags, 41),
    ];
    put!(
        "grant.list.second-bad",
        "{} {:?}",
        grant_op(GNTTABOP_MAP_GRANT_REF, at(&mut list), 3),
        list.map(|one| one.status)
    );
    let size_out = size_of::<GnttabUnmapGrantRef>() as u64;
    let mut undo = [
        unmap_request(places[0].va, list[0].handle),
        unmap_request(places[1].va, 12345),
        unmap_request(places[2].va, list[2].handle),
    ];
    place(cliff.before(2 * size_out), [undo[0], undo[1]]);
    put!("grant.list.unmap-cliff", "{}", grant_op(GNTTABOP_UNMAP_GRANT_REF, cliff.before(2 * size_out), 3));
    put!(
        "grant.list.unmap-cliff.status",
        "{:?}",
        look::<[GnttabUnmapGrantRef; 2]>(cliff.before(2 * size_out)).map(|one| one.status)
    );
    put!(
        "grant.list.unmap-again",
        "{} {:?}",
        grant_op(GNTTABOP_UNMAP_GRANT_REF, at(&mut undo), 3),
        undo.map(|one| one.status)
    );
    place(cliff.before(size), map_request(places[0].va, flags, 41));
    put!("grant.list.map-cliff", "{}", grant_op(GNTTABOP_MAP_GRANT_REF, cliff.before(size), 2));
    let done: GnttabMapGrantRef = look(cliff.before(size));
    put!("grant.list.map-cliff.status", "{}", done.status);
    let mut undo = [unmap_request(places[0].va, done.handle)];
    put!(
        "grant.list.map-cliff.undo",
        "{} {}",
        grant_op(GNTTABOP_UNMAP_GRANT_REF, at(&mut undo), 1),
        undo[0].status
    );
    // The outcome cannot be told.
    place(cliff.before(size), map_request(places[1].va, flags, 41));
    cliff.freeze();
    put!("grant.list.map-read-only", "{}", grant_op(GNTTABOP_MAP_GRANT_REF, cliff.before(size), 1));
    let mapped = memory::page_table_entry(places[1].va).unwrap_or(0);
    put!("grant.list.map-read-only.entry", "{} grant {:#x}", Entry(mapped), table.read(41) as u16);
    cliff.thaw();
    let mut one = [map_request(places[2].va, flags, 41)];
    grant_op(GNTTABOP_MAP_GRANT_REF, at(&mut one), 1);
    place(cliff.before(size_out), unmap_request(places[2].va, one[0].handle));
    cliff.freeze();
    put!("grant.list.unmap-read-only", "{}", grant_op(GNTTABOP_UNMAP_GRANT_REF, cliff.before(size_out), 1));
    put!(
        "grant.list.unmap-read-only.entry",
        "{}",
        Entry(memory::page_table_entry(places[2].va).unwrap_or(0))
    );
    cliff.thaw();
    for command in [0_u32, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13] {
        for (name, list, count) in [
            ("none-at-hole", bad::HOLE, 0),
            ("none-at-null", 0, 0),
            ("negative", 0, 0x8000_0000),
            ("minus-one", 0, 0xffff_ffff),
            ("high-half", 0, 1 << 32),
            ("one-at-hole", bad::HOLE, 1),
            ("one-at-unmapped", bad::UNMAPPED, 1),
            ("many-at-last", bad::LAST, 2),
        ] {
            put!(format_args!("grant.count.{command}.{name}"), "{}", grant_op(command, list, count));
        }
        put!(format_args!("grant.high-bits.{command}"), "{}", grant_op(command | 1 << 12, 0, 0));
        put!(format_args!("grant.top-bit.{command}"), "{}", grant_op(command | 1 << 31, 0, 0));
    }
}

fn copy_of(source: (bool, u64, u16), dest: (bool, u64, u16), len: u16) -> GnttabCopy {
    let own = own_id() as u16;
    let mut copy = GnttabCopy { len, status: 77, ..Default::default() };
    if source.0 {
        copy.source.set_ref(source.1 as u32);
        (copy.source.domid, copy.flags) = (own, GNTCOPY_SOURCE_GREF);
    } else {
        copy.source.set_gmfn(source.1);
        copy.source.domid = SELF as u16;
    }
    if dest.0 {
        copy.dest.set_ref(dest.1 as u32);
        copy.dest.domid = own;
        copy.flags |= GNTCOPY_DEST_GREF;
    } else {
        copy.dest.set_gmfn(dest.1);
        copy.dest.domid = SELF as u16;
    }
    (copy.source.offset, copy.dest.offset) = (source.2, dest.2);
    copy
}

fn copies(table: &Frame) {
    let (page, other, read_only, entries, unmapped) =
        (Frame::new(), Frame::new(), Frame::table(), Frame::table(), hole());
    space::pin(1, entries.mfn);
    permit(table, 42, GTF_PERMIT_ACCESS, page.mfn);
    permit(table, 43, GTF_PERMIT_ACCESS | GTF_READONLY, page.mfn);
    permit(table, 44, GTF_PERMIT_ACCESS, entries.mfn);
    permit(table, 45, GTF_PERMIT_ACCESS, foreign());
    permit(table, 46, GTF_ACCEPT_TRANSFER, page.mfn);
    permit(table, 47, GTF_PERMIT_ACCESS | 0x80, page.mfn);
    permit(table, 48, GTF_PERMIT_ACCESS | 0x100, page.mfn);
    permit(table, 49, GTF_PERMIT_ACCESS | 0x400, page.mfn);
    let shared = domu_sdk::start::info().shared_info >> 12;
    for (name, source, dest, len) in [
        ("plain", (false, page.mfn, 0), (false, other.mfn, 0), 64),
        ("nothing", (false, page.mfn, 0), (false, other.mfn, 0), 0),
        ("nothing-at-end", (false, page.mfn, 4096), (false, other.mfn, 4096), 0),
        ("nothing-beyond", (false, page.mfn, 4097), (false, other.mfn, 0), 0),
        ("whole", (false, page.mfn, 0), (false, other.mfn, 0), 4096),
        ("one-too-many", (false, page.mfn, 1), (false, other.mfn, 0), 4096),
        ("too-long", (false, page.mfn, 0), (false, other.mfn, 0), 4097),
        ("longest", (false, page.mfn, 0), (false, other.mfn, 0), 0xffff),
        ("far", (false, page.mfn, 0xffff), (false, other.mfn, 0xffff), 0xffff),
        ("onto-itself", (false, page.mfn, 0), (false, page.mfn, 8), 64),
        ("from-read-only", (false, read_only.mfn, 0), (false, other.mfn, 0), 8),
        ("to-read-only", (false, page.mfn, 0), (false, read_only.mfn, 0), 8),
        ("to-unmapped", (false, page.mfn, 0), (false, unmapped.mfn, 0), 8),
        ("from-table", (false, entries.mfn, 0), (false, other.mfn, 0), 8),
        ("to-table", (false, page.mfn, 0), (false, entries.mfn, 0), 8),
        ("to-table-nothing", (false, page.mfn, 0), (false, entries.mfn, 0), 0),
        ("from-shared", (false, shared, 0), (false, other.mfn, 0), 8),
        ("to-shared", (false, page.mfn, 0), (false, shared, 4000), 8),
        ("from-foreign", (false, foreign(), 0), (false, other.mfn, 0), 8),
        ("to-foreign", (false, page.mfn, 0), (false, foreign(), 0), 8),
        ("from-beyond", (false, 1 << 40, 0), (false, other.mfn, 0), 8),
        ("to-vga", (false, page.mfn, 0), (false, 0xb8, 0), 8),
        ("from-vga", (false, 0xb8, 0), (false, other.mfn, 0), 8),
        ("grant", (true, 42, 0), (false, other.mfn, 0), 8),
        ("both-grants", (true, 42, 0), (true, 42, 8), 8),
        ("from-read-only-grant", (true, 43, 0), (false, other.mfn, 0), 8),
        ("to-read-only-grant", (false, other.mfn, 0), (true, 43, 0), 8),
        ("to-table-grant", (false, other.mfn, 0), (true, 44, 0), 8),
        ("from-table-grant", (true, 44, 0), (false, other.mfn, 0), 8),
        ("from-foreign-grant", (true, 45, 0), (false, other.mfn, 0), 8),
        ("from-transfer", (true, 46, 0), (false, other.mfn, 0), 8),
        ("from-0x80", (true, 47, 0), (false, other.mfn, 0), 8),
        ("from-0x100", (true, 48, 0), (false, other.mfn, 0), 8),
        ("from-0x400", (true, 49, 0), (false, other.mfn, 0), 8),
        ("from-nothing", (true, 50, 0), (false, other.mfn, 0), 8),
        ("from-beyond-table", (true, 1 << 20, 0), (false, other.mfn, 0), 8),
        ("grant-too-long", (true, 42, 4090), (false, other.mfn, 0), 8),
        ("bad-grant-too-long", (true, 50, 4090), (false, other.mfn, 0), 8),
        ("same-read-only-both", (true, 43, 0), (true, 43, 8), 8),
    ] {
        page.write(0, 0x1111);
        other.write(0, 0);
        let mut list = [copy_of(source, dest, len)];
        let answer = grant_op(GNTTABOP_COPY, at(&mut list), 1);
        put!(format_args!("copy.{name}"), "{answer} {} moved {:#x}", list[0].status, other.read(0));
        let marks: alloc::vec::Vec<u64> = (42..50).map(|number| table.read(number) & 0x18).collect();
        put!(format_args!("copy.{name}.marks"), "{marks:?}");
    }
    for (name, source, dest, flags) in [
        ("number-own", own_id() as u16, SELF as u16, 0_u16),
        ("to-number-own", SELF as u16, own_id() as u16, 0),
        ("number-none", 0x1234, SELF as u16, 0),
        ("to-none", SELF as u16, 0x1234, 0),
        ("io", 0x7ff1, SELF as u16, 0),
        ("xen", 0x7ff2, SELF as u16, 0),
        ("grant-self", SELF as u16, SELF as u16, GNTCOPY_SOURCE_GREF),
        ("grant-none", 0x1234, SELF as u16, GNTCOPY_SOURCE_GREF),
        ("grant-io", 0x7ff1, SELF as u16, GNTCOPY_SOURCE_GREF),
        ("more-flags", SELF as u16, SELF as u16, 0xfffc),
    ] {
        let mut list = [copy_of(
            (flags & 1 != 0, if flags & 1 != 0 { 42 } else { page.mfn }, 0),
            (false, other.mfn, 0),
            8,
        )];
        (list[0].source.domid, list[0].dest.domid, list[0].flags) = (source, dest, flags);
        let answer = grant_op(GNTTABOP_COPY, at(&mut list), 1);
        put!(format_args!("copy.domain.{name}"), "{answer} {}", list[0].status);
    }
    let good = copy_of((false, page.mfn, 0), (false, other.mfn, 0), 8);
    let bad = copy_of((true, 50, 0), (false, other.mfn, 0), 8);
    let mut list = [good, bad, good];
    put!("copy.list", "{} {:?}", grant_op(GNTTABOP_COPY, at(&mut list), 3), list.map(|one| one.status));
    let cliff = Cliff::new();
    let size = 2 * size_of::<GnttabCopy>() as u64;
    place(cliff.before(size), [good, bad]);
    put!("copy.cliff", "{}", grant_op(GNTTABOP_COPY, cliff.before(size), 3));
    put!("copy.cliff.status", "{:?}", look::<[GnttabCopy; 2]>(cliff.before(size)).map(|one| one.status));
    cliff.freeze();
    put!("copy.read-only", "{}", grant_op(GNTTABOP_COPY, cliff.before(size), 2));
    cliff.thaw();
    space::unpin(entries.mfn);
}

fn setups() {
    for (name, domain, count, list) in [
        ("zero", SELF as u16, 0_u32, 0_u64),
        ("zero-hole", SELF as u16, 0, bad::HOLE),
        ("one-null", SELF as u16, 1, 0),
        ("one-hole", SELF as u16, 1, bad::HOLE),
        ("one-unmapped", SELF as u16, 1, bad::UNMAPPED),
        ("three-hole", SELF as u16, 3, bad::HOLE),
        ("limit-hole", SELF as u16, 64, bad::HOLE),
        ("beyond-hole", SELF as u16, 65, bad::HOLE),
        ("none-domain", 0x1234, 1, bad::HOLE),
        ("io-domain", 0x7ff1, 1, bad::HOLE),
        ("own-number", own_id() as u16, 1, bad::HOLE),
    ] {
        let mut setup = [GnttabSetupTable {
            dom: domain,
            nr_frames: count,
            status: 77,
            frame_list: GuestPtr::new(list),
            ..Default::default()
        }];
        let answer = grant_op(GNTTABOP_SETUP_TABLE, at(&mut setup), 1);
        put!(format_args!("setup.{name}"), "{answer} {}", setup[0].status);
        let mut query = [GnttabQuerySize { dom: SELF as u16, status: 77, ..Default::default() }];
        let answer = grant_op(GNTTABOP_QUERY_SIZE, at(&mut query), 1);
        put!(format_args!("setup.{name}.size"), "{answer} {} {}", query[0].status, query[0].nr_frames);
    }
    let cliff = Cliff::new();
    let mut setup = [GnttabSetupTable {
        dom: SELF as u16,
        nr_frames: 3,
        status: 77,
        frame_list: GuestPtr::new(cliff.before(16)),
        ..Default::default()
    }];
    put!("setup.cliff", "{} {}", grant_op(GNTTABOP_SETUP_TABLE, at(&mut setup), 1), setup[0].status);
    let told: [u64; 2] = look(cliff.before(16));
    put!("setup.cliff.told", "{} {}", told[0] != 0, told[1] != 0);
}

#[domu_sdk::main]
fn main() {
    conformance::area("edges");
    updates();
    extended();
    reservations();
    exchanges();
    let table = grant_table();
    many_mappings(&table);
    grant_lists(&table);
    copies(&table);
    setups();
    conformance::done();
}
