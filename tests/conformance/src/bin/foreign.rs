//! Area `foreign`: the first domain at work on another domain's memory, as its builder is: frames given, mapped, filled, made tables, granted, and taken back.
#![no_std]
#![no_main]

use conformance::put;
use conformance::space::{
    self, Answer, Entry, Frame, SELF, at, call, extended_as, foreign, of, own_id, update, update_as,
};
use domu_sdk::abi::GuestPtr;
use domu_sdk::abi::domctl::DomctlCreatedomain;
use domu_sdk::abi::memory::{MemAcquireResource, MemoryDomain, MemoryExchange, MemoryReservation};
use domu_sdk::abi::xen::hypercall::{MEMORY_OP, UPDATE_VA_MAPPING, UPDATE_VA_MAPPING_OTHERDOMAIN};
use domu_sdk::hypercall::domctl;
use domu_sdk::types::DomId;
use domu_sdk::{memory, start};

/// Frames that the other domain gets at first.
const FRAMES: usize = 16;

struct Other {
    id: u16,
    frames: [u64; FRAMES],
    home: Frame,
}

fn memory_op<T>(command: u64, argument: &mut T) -> Answer {
    call(MEMORY_OP, [command, at(argument), 0, 0, 0])
}

fn list(id: u16, extents: &mut [u64], order: u32) -> MemoryReservation {
    MemoryReservation {
        extent_start: GuestPtr::new(at(extents)),
        nr_extents: extents.len() as u64,
        extent_order: order,
        domid: id,
        ..Default::default()
    }
}

fn create() -> Option<Other> {
    let what = DomctlCreatedomain {
        max_vcpus: 1,
        max_evtchn_port: 1023,
        max_grant_frames: 8,
        max_maptrack_frames: 8,
        grant_opts: 1,
        ..Default::default()
    };
    let id = domctl::create(DomId(0), &what).ok()?.0;
    let mut frames: [u64; FRAMES] = core::array::from_fn(|n| n as u64);
    put!("populate.no-limit", "{}", memory_op(6, &mut list(id, &mut frames, 0)));
    put!("limit", "{:?}", domctl::set_max_memory(DomId(id), 4 * FRAMES as u64 + 16));
    let mut frames: [u64; FRAMES] = core::array::from_fn(|n| n as u64);
    put!("populate", "{}", memory_op(6, &mut list(id, &mut frames, 0)));
    Some(Other { id, frames, home: Frame::new() })
}

fn sizes(other: &Other) {
    for command in [3, 4, 14] {
        put!(format_args!("size.{command}"), "{}", memory_op(command, &mut MemoryDomain { domid: other.id }));
    }
    let mut more: [u64; 8] = core::array::from_fn(|n| 100 + n as u64);
    let answer = memory_op(6, &mut list(other.id, &mut more, 0));
    put!("populate.to-the-limit", "{answer}");
    put!("populate.beyond", "{}", memory_op(0, &mut list(other.id, &mut [0; 2], 0)));
    put!("decrease", "{}", memory_op(1, &mut list(other.id, &mut more[..answer.0.max(0) as usize], 0)));
    put!("decrease.own-frame", "{}", memory_op(1, &mut list(other.id, &mut [other.home.mfn], 0)));
    put!("decrease.as-own", "{}", memory_op(1, &mut list(SELF as u16, &mut [other.frames[0]], 0)));
    for (what, pages) in
        [("fewer", 4), ("some", 20), ("more-than-allowed", 1000), ("none", 0), ("same", FRAMES as u64)]
    {
        let mut claim = MemoryReservation { nr_extents: pages, domid: other.id, ..Default::default() };
        put!(format_args!("claim.{what}"), "{}", memory_op(24, &mut claim));
    }
    let mut none = MemoryReservation { domid: other.id, ..Default::default() };
    put!("claim.back", "{}", memory_op(24, &mut none));
    let (mut old, mut new) = ([other.frames[15]], [15]);
    let mut exchange = MemoryExchange {
        in_: list(other.id, &mut old, 0),
        out: list(other.id, &mut new, 0),
        nr_exchanged: 0,
    };
    put!("exchange", "{} {}", memory_op(11, &mut exchange), exchange.nr_exchanged);
    put!("exchange.size", "{}", memory_op(3, &mut MemoryDomain { domid: other.id }));
}

fn map(other: &Other, entry: u64, id: u64) -> (Answer, Entry) {
    let answer = call(UPDATE_VA_MAPPING_OTHERDOMAIN, [other.home.va, entry, 2, id, 0]);
    let after = Entry(memory::page_table_entry(other.home.va).unwrap_or(0));
    call(UPDATE_VA_MAPPING, [other.home.va, 0, 2, 0, 0]);
    (answer, after)
}

fn mappings(other: &Other) {
    let (theirs, id) = (other.frames[0], u64::from(other.id));
    let ours = Frame::new();
    for (what, mfn) in [("theirs", theirs), ("ours", ours.mfn), ("nobody's", foreign()), ("vga", 0xb8)] {
        for flags in [5, 7, 0] {
            for (whom, domain) in
                [("as-theirs", id), ("as-ours", SELF), ("as-io", 0x7ff1), ("as-xen", 0x7ff2)]
            {
                let (answer, after) = map(other, mfn << 12 | flags, domain);
                put!(format_args!("map.{what}.{flags}.{whom}"), "{answer} {after}");
            }
        }
    }
    let table = Frame::table();
    put!("table.pin", "{}", space::pin(1, table.mfn));
    put!("table.theirs", "{} {}", update_as(table.slot(1), theirs << 12 | 7, id), Entry(table.read(1)));
    put!("table.theirs.as-ours", "{}", update(table.slot(2), theirs << 12 | 7));
    put!("table.unpin", "{}", space::unpin(table.mfn));
    put!("table.pin-again", "{}", space::pin(1, table.mfn));
    table.writable();
    for (what, domain) in [("as-theirs", id), ("as-ours", SELF)] {
        put!(format_args!("machphys.{what}"), "{}", update_as(theirs << 12 | 1, 5, domain));
        put!(format_args!("machphys.ours.{what}"), "{}", update_as(ours.mfn << 12 | 1, ours.pfn, domain));
        put!(format_args!("clear.{what}"), "{}", extended_as(16, theirs, 0, domain));
        put!(format_args!("clear.ours.{what}"), "{}", extended_as(16, ours.mfn, 0, domain));
        put!(format_args!("copy.{what}"), "{}", extended_as(17, theirs, other.frames[1], domain));
        put!(format_args!("copy.ours.{what}"), "{}", extended_as(17, theirs, ours.mfn, domain));
    }
    for command in [5, 6, 7, 8, 10, 12, 13, 15, 18] {
        put!(format_args!("extended.{command}"), "{}", extended_as(command, theirs, of(&[1_u64]), id));
    }
}

/// Writes a word into a frame of the other domain.
fn fill(other: &Other, mfn: u64, index: u64, value: u64) -> Answer {
    let answer = call(UPDATE_VA_MAPPING_OTHERDOMAIN, [other.home.va, mfn << 12 | 7, 2, other.id.into(), 0]);
    if answer.0 == 0 {
        other.home.write(index, value);
        call(UPDATE_VA_MAPPING, [other.home.va, 0, 2, 0, 0]);
    }
    answer
}

fn tables(other: &Other) {
    let id = u64::from(other.id);
    let [l1, l2, l3, l4, data, spare] = [2, 3, 4, 5, 6, 7].map(|n| other.frames[n]);
    put!("tree.l1", "{}", fill(other, l1, 0, data << 12 | 7));
    put!("tree.l2", "{}", fill(other, l2, 0, l1 << 12 | 7));
    put!("tree.l3", "{}", fill(other, l3, 0, l2 << 12 | 7));
    put!("tree.l4", "{}", fill(other, l4, 0, l3 << 12 | 7));
    put!("tree.pin.as-ours", "{}", extended_as(3, l4, 0, SELF));
    put!("tree.pin", "{}", extended_as(3, l4, 0, id));
    put!("tree.pin.twice", "{}", extended_as(3, l4, 0, id));
    put!("tree.map-writable", "{}", fill(other, l1, 1, 0));
    let (answer, after) = map(other, l1 << 12 | 5, id);
    put!("tree.map-read-only", "{answer} {after}");
    let tables = (id + 1) << 16;
    for (what, entry, domains) in [
        ("own-frame", spare << 12 | 7, tables | id),
        ("own-frame.as-self", spare << 12 | 7, tables | SELF),
        ("our-frame", other.home.mfn << 12 | 7, tables | id),
        ("our-frame.as-self", other.home.mfn << 12 | 7, tables | SELF),
        ("its-table", l2 << 12 | 7, tables | id),
        ("empty", 0, tables | id),
        ("without-tables", spare << 12 | 7, id),
    ] {
        put!(format_args!("update.{what}"), "{}", update_as((l1 << 12) + 16, entry, domains));
        update_as((l1 << 12) + 16, 0, tables | id);
    }
    put!("update.io", "{}", update_as((l1 << 12) + 16, 0xb8007, tables | id));
    put!("update.l2", "{}", update_as((l2 << 12) + 16, l1 << 12 | 7, tables | id));
    put!("update.l2.as-self", "{}", update_as((l2 << 12) + 24, l1 << 12 | 7, tables | SELF));
    put!("tree.unpin.as-ours", "{}", extended_as(4, l4, 0, SELF));
    put!("tree.decrease", "{}", memory_op(1, &mut list(other.id, &mut [l4], 0)));
    put!("tree.unpin", "{}", extended_as(4, l4, 0, id));
    put!("tree.then-writable", "{}", fill(other, l1, 1, 0));
}

fn resources(other: &Other) {
    for kind in 0..5 {
        for (frame, count) in [(0, 1), (0, 0), (7, 1), (8, 1), (0, 8), (0, 9), (u64::from(u32::MAX), 1)] {
            let mut frames = [u64::MAX; 10];
            let mut request = MemAcquireResource {
                domid: other.id,
                type_: kind,
                nr_frames: count,
                frame,
                frame_list: GuestPtr::new(at(&mut frames)),
                ..Default::default()
            };
            let answer = memory_op(28, &mut request);
            let written = frames.iter().filter(|mfn| **mfn != u64::MAX).count();
            put!(
                format_args!("resource.{kind}.{frame:x}.{count}"),
                "{answer} {} written {written}",
                request.nr_frames
            );
            if answer.0 == 0 && count == 1 {
                let (answer, after) = map(other, frames[0] << 12 | 7, other.id.into());
                put!(format_args!("resource.{kind}.{frame:x}.map"), "{answer} {after}");
            }
        }
        let mut ask = MemAcquireResource { domid: other.id, type_: kind, ..Default::default() };
        put!(format_args!("resource.{kind}.size"), "{} {}", memory_op(28, &mut ask), ask.nr_frames);
    }
}

/// Mappings outlive a domain; what was mapped is free only afterwards.
fn end(other: &Other) {
    let id = u64::from(other.id);
    put!(
        "end.map",
        "{}",
        call(UPDATE_VA_MAPPING_OTHERDOMAIN, [other.home.va, other.frames[9] << 12 | 7, 2, id, 0])
    );
    other.home.write(0, 5);
    put!("end.destroy", "{:?}", domctl::destroy(DomId(other.id)));
    put!("end.value", "{}", other.home.read(0));
    put!(
        "end.map-again",
        "{}",
        call(UPDATE_VA_MAPPING_OTHERDOMAIN, [other.home.va, other.frames[10] << 12 | 7, 2, id, 0])
    );
    put!("end.populate", "{}", memory_op(6, &mut list(other.id, &mut [40], 0)));
    put!("end.unmap", "{}", call(UPDATE_VA_MAPPING, [other.home.va, 0, 2, 0, 0]));
    put!("end.size", "{}", memory_op(3, &mut MemoryDomain { domid: other.id }));
    put!("end.pin", "{}", extended_as(3, other.frames[5], 0, id));
}

#[domu_sdk::main]
fn main() {
    conformance::area("foreign");
    put!("privileged", "{} {}", start::is_privileged(), own_id() == 0);
    match create() {
        None => put!("create", "failed"),
        Some(other) => {
            other.home.unmap();
            sizes(&other);
            mappings(&other);
            tables(&other);
            resources(&other);
            end(&other);
        }
    }
    conformance::done();
}
