//! Area `mmuext`: `mmuext_op`.
#![no_std]
#![no_main]

use conformance::put;
use conformance::space::{
    self, Frame, SELF, at, call, extended, extended_as, foreign, of, own_id, pin, request, root, unpin,
    update,
};
use domu_sdk::abi::xen::{MmuextOp, hypercall::MMUEXT_OP};
use domu_sdk::memory::layout::{pte, table_index};
use domu_sdk::start;

const PREEMPTED: u64 = 0x8000_0000;

/// Frames that an operation may be tried on.
struct Kinds {
    plain: Frame,
    clean: Frame,
    tables: [Frame; 4],
}

impl Kinds {
    fn new() -> Kinds {
        let kinds = Kinds {
            plain: Frame::new(),
            clean: Frame::table(),
            tables: core::array::from_fn(|_| Frame::table()),
        };
        for level in 1..=4 {
            pin(level, kinds.tables[level as usize - 1].mfn);
        }
        kinds
    }

    fn all(&self) -> [(&'static str, u64); 11] {
        [
            ("plain", self.plain.mfn),
            ("l1", self.tables[0].mfn),
            ("l2", self.tables[1].mfn),
            ("l3", self.tables[2].mfn),
            ("l4", self.tables[3].mfn),
            ("root", root()),
            ("foreign", foreign()),
            ("shared-info", start::info().shared_info >> 12),
            ("vga", 0xb8),
            ("beyond", 0xff_ffff_ffff),
            ("all-ones", u64::MAX),
        ]
    }
}

fn pins(kinds: &Kinds) {
    for level in 1..=4 {
        for (what, mfn) in kinds.all() {
            put!(format_args!("pin{level}.{what}"), "{}", pin(level, mfn));
        }
        let clean = &kinds.clean;
        put!(format_args!("pin{level}.clean"), "{}", pin(level, clean.mfn));
        put!(format_args!("pin{level}.twice"), "{}", pin(level, clean.mfn));
        for other in (1..=4).filter(|other| *other != level) {
            put!(format_args!("pin{level}.as{other}"), "{}", pin(other, clean.mfn));
        }
        put!(format_args!("pin{level}.writable"), "{}", clean.writable());
        put!(format_args!("pin{level}.unpin"), "{}", unpin(clean.mfn));
        put!(format_args!("pin{level}.unpin-twice"), "{}", unpin(clean.mfn));
        put!(format_args!("pin{level}.then-writable"), "{}", clean.writable());
        bad_contents(level, clean);
        clean.read_only();
    }
    for (what, mfn) in
        kinds.all().into_iter().filter(|(what, _)| !matches!(*what, "root" | "l1" | "l2" | "l3" | "l4"))
    {
        put!(format_args!("unpin.{what}"), "{}", unpin(mfn));
    }
    // The loader pinned the root.
    put!("unpin.root", "{}", unpin(root()));
    put!("unpin.root.twice", "{}", unpin(root()));
    put!("pin.root.again", "{}", pin(4, root()));
}

/// Contents that are not allowed, one entry each.
fn bad_contents(level: u64, frame: &Frame) {
    let below = if level == 1 { Frame::new() } else { Frame::table() };
    for (what, entry) in [
        ("foreign", foreign() << 12 | 7),
        ("beyond", 0xff_ffff_f000 << 12 | 7),
        ("pse", below.entry(0x87)),
        ("global", below.entry(0x107)),
        ("cache", below.entry(0x1f)),
        ("absent", below.entry(0x1fe)),
        ("reserved", below.entry(7) | 1 << 51),
        ("good", below.entry(7)),
        ("no-user", below.entry(3)),
        ("self-ro", frame.entry(5)),
        ("self-rw", frame.entry(7)),
    ] {
        frame.writable();
        frame.write(100, entry);
        frame.read_only();
        put!(
            format_args!("pin{level}.holding.{what}"),
            "{} {:#x}",
            pin(level, frame.mfn),
            frame.read(100) & space::FLAGS
        );
        put!(format_args!("pin{level}.holding.{what}.unpin"), "{}", unpin(frame.mfn));
    }
    frame.writable();
    frame.write(100, 0);
}

/// A root for the running domain: a copy of the one that is in use.
fn copy_of_root() -> Frame {
    let copy = Frame::new();
    let table = domu_sdk::memory::layout::IMAGE_BASE; // where the loader mapped it
    let from = start::info().pt_base;
    assert!(from >= table);
    for index in (0..256).chain(272..512) {
        copy.write(index, domu_sdk::memory::probe(from + 8 * index).unwrap_or(0));
    }
    copy.read_only();
    copy
}

fn roots(kinds: &Kinds) {
    for command in [5, 15] {
        for (what, mfn) in kinds.all().into_iter().filter(|(what, _)| command == 15 || !matches!(*what, "l4"))
        {
            put!(format_args!("base{command}.{what}"), "{}", extended(command, mfn, 0));
        }
        if command == 5 {
            put!("base5.zero", "{}", extended(5, 0, 0));
        }
        put!(format_args!("base{command}.root-again"), "{}", extended(command, root(), 0));
    }
    put!("base15.zero", "{}", extended(15, 0, 0));
    put!("base15.zero-again", "{}", extended(15, 0, 0));
    let copy = copy_of_root();
    put!("base5.copy", "{}", extended(5, copy.mfn, 0));
    put!("base5.copy.writable", "{}", copy.writable());
    put!("base5.copy.slot", "{}", update(copy.slot(table_index(0xffff_8000_0000_0000, 4) as u64), 0));
    put!("base5.back", "{}", extended(5, root(), 0));
    put!("base5.copy.then-writable", "{}", copy.writable());
    copy.read_only();
    put!("base15.copy", "{}", extended(15, copy.mfn, 0));
    put!("base15.copy.writable", "{}", copy.writable());
    put!("base15.copy.unpin", "{}", unpin(copy.mfn));
    put!("base15.none", "{}", extended(15, 0, 0));
    put!("base15.copy.then-writable", "{}", copy.writable());
}

fn flushes() {
    let mask = [1_u64; 8];
    let none = [0_u64; 8];
    let page = Frame::new();
    for command in [6, 7, 8, 9, 10, 11, 12, 18] {
        for (what, address) in [
            ("own", page.va),
            ("null", 0),
            ("hypervisor", 0xffff_8300_0000_0000),
            ("noncanonical", 0x8000_0000_0000),
            ("ones", u64::MAX),
        ] {
            put!(format_args!("flush{command}.{what}"), "{}", extended(command, address, of(&mask)));
        }
        for (what, bits) in [
            ("nobody", of(&none)),
            ("null", 0),
            ("unmapped", 0x1000),
            ("hypervisor", 0xffff_8300_0000_0000),
            ("noncanonical", 0x8000_0000_0000),
        ] {
            put!(format_args!("flush{command}.mask.{what}"), "{}", extended(command, page.va, bits));
        }
        for id in [own_id(), 0x1234, 0x7ff1, 0x7ff2] {
            let what = if id == own_id() { 0 } else { id };
            put!(
                format_args!("flush{command}.domain{what:x}"),
                "{}",
                extended_as(command, page.va, of(&mask), id)
            );
        }
    }
}

fn descriptors() {
    let page = Frame::new();
    for (what, base, entries) in [
        ("none", 0, 0),
        ("none-odd", 1, 0),
        ("none-hypervisor", 0xffff_8300_0000_0000, 0),
        ("one", page.va, 1),
        ("same", page.va, 1),
        ("page", page.va, 512),
        ("most", page.va, 8192),
        ("too-many", page.va, 8193),
        ("huge", page.va, 0xffff_ffff),
        ("misaligned", page.va + 8, 1),
        ("unmapped", 0x1000, 512),
        ("null", 0, 16),
        ("hypervisor", 0xffff_8300_0000_0000, 1),
        ("last-low", 0x7fff_ffff_f000, 512),
        ("into-hole", 0x7fff_ffff_f000, 513),
        ("noncanonical", 0x8000_0000_0000, 1),
        ("top", 0xffff_ffff_ffff_f000, 512),
        ("wraps", 0xffff_ffff_ffff_f000, 513),
    ] {
        put!(format_args!("ldt.{what}"), "{}", extended(13, base, entries));
    }
    put!("ldt.off", "{}", extended(13, 0, 0));
    put!("ldt.domain", "{}", extended_as(13, 0, 0, 0x1234));
}

fn pages(kinds: &Kinds) {
    let (to, from) = (Frame::new(), Frame::new());
    from.write(3, 0x1234);
    to.write(3, 1);
    for (what, mfn) in kinds.all() {
        put!(format_args!("clear.{what}"), "{}", extended(16, mfn, 0));
        put!(format_args!("copy.to.{what}"), "{}", extended(17, mfn, from.mfn));
        put!(format_args!("copy.from.{what}"), "{}", extended(17, to.mfn, mfn));
    }
    put!("copy", "{} {:#x}", extended(17, to.mfn, from.mfn), to.read(3));
    put!("copy.same", "{} {:#x}", extended(17, to.mfn, to.mfn), to.read(3));
    put!("clear", "{} {:#x}", extended(16, to.mfn, 0), to.read(3));
    to.read_only();
    put!("copy.read-only", "{} {:#x}", extended(17, to.mfn, from.mfn), to.read(3));
    put!("clear.read-only", "{} {:#x}", extended(16, to.mfn, 0), to.read(3));
    for id in [0x1234, 0x7ff1, 0x7ff2] {
        put!(format_args!("clear.domain{id:x}"), "{}", extended_as(16, to.mfn, 0, id));
        put!(format_args!("copy.domain{id:x}"), "{}", extended_as(17, to.mfn, from.mfn, id));
    }
}

fn commands(kinds: &Kinds) {
    for command in [14, 19, 20, 21, 22, 31, 100, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
        put!(format_args!("command{command:x}"), "{}", extended(command, kinds.plain.mfn, 0));
        put!(format_args!("command{command:x}.beyond"), "{}", extended(command, u64::MAX >> 8, 0));
    }
    for (what, id) in [
        ("own", own_id()),
        ("none", 0x1234),
        ("io", 0x7ff1),
        ("xen", 0x7ff2),
        ("cow", 0x7ff3),
        ("invalid", 0x7ff4),
        ("idle", 0x7fff),
    ] {
        for command in [0, 3, 4, 5, 15, 16, 19, 99] {
            put!(format_args!("domain.{what}.{command}"), "{}", extended_as(command, kinds.clean.mfn, 0, id));
            unpin(kinds.clean.mfn);
        }
    }
}

fn lists(kinds: &Kinds) {
    let (good, bad) = (request(6, 0, 0), request(0, kinds.plain.mfn, 0));
    let list: [MmuextOp; 4] = [good, good, bad, good];
    let run = |what: &str, list: u64, count: u64, id: u64| {
        let mut done = 0x5555_5555_5555_5555_u64;
        let answer = call(MMUEXT_OP, [list, count, at(&mut done), id, 0]);
        put!(format_args!("list.{what}"), "{answer} {done:#x}");
    };
    run("two", of(&list), 2, SELF);
    run("third-is-bad", of(&list), 4, SELF);
    run("first-is-bad", of(&list[2]), 2, SELF);
    run("empty", of(&list), 0, SELF);
    run("empty.null", 0, 0, SELF);
    run("empty.bad-domain", of(&list), 0, 0x1234);
    run("null", 0, 1, SELF);
    run("unmapped", 0x1000, 1, SELF);
    run("hypervisor", 0xffff_8300_0000_0000, 1, SELF);
    run("noncanonical", 0x8000_0000_0000, 1, SELF);
    run("huge", of(&list), 0x7fff_ffff, SELF);
    run("huge.upper-half", of(&list), 0x1_0000_0001, SELF);
    run("preempted", of(&list), PREEMPTED | 1, SELF);
    run("preempted.none", of(&list), PREEMPTED, SELF);
    run("preempted.null", 0, PREEMPTED, SELF);
    run("preempted.null.one", 0, PREEMPTED | 1, SELF);
    for (what, place) in [("null", 0), ("unmapped", 0x1000), ("hypervisor", 0xffff_8300_0000_0000)] {
        put!(format_args!("list.done.{what}"), "{}", call(MMUEXT_OP, [of(&list), 1, place, SELF, 0]));
        put!(
            format_args!("list.done.{what}.error"),
            "{}",
            call(MMUEXT_OP, [of(&list[2]), 1, place, SELF, 0])
        );
        put!(
            format_args!("list.done.{what}.preempted"),
            "{}",
            call(MMUEXT_OP, [of(&list), PREEMPTED | 1, place, SELF, 0])
        );
    }
}

/// Whether references of entries hold what they should: a tree that is pinned only at its root.
fn tree() {
    let frames: [Frame; 4] = core::array::from_fn(|_| Frame::new());
    let data = Frame::new();
    frames[0].write(0, data.entry(7));
    for level in 1..4 {
        frames[level].write(0, frames[level - 1].entry(7));
    }
    put!("tree.writable", "{}", pin(4, frames[3].mfn));
    frames.iter().for_each(|frame| {
        frame.read_only();
    });
    put!("tree.pin", "{}", pin(4, frames[3].mfn));
    for (level, frame) in frames.iter().enumerate() {
        put!(format_args!("tree.entry{}", level + 1), "{:#x}", frame.read(0) & space::FLAGS & !pte::ACCESSED);
        put!(format_args!("tree.writable{}", level + 1), "{}", frame.writable());
        put!(
            format_args!("tree.unpin{}", level + 1),
            "{}",
            if level < 3 { unpin(frame.mfn) } else { conformance::Answer(0) }
        );
        put!(
            format_args!("tree.pin{}", level + 1),
            "{}",
            if level < 3 { pin(level as u64 + 1, frame.mfn) } else { conformance::Answer(0) }
        );
    }
    put!("tree.unpin", "{}", unpin(frames[3].mfn));
    put!("tree.root-writable", "{}", frames[3].writable());
    for (level, frame) in frames.iter().enumerate().take(3) {
        put!(format_args!("tree.still{}", level + 1), "{}", frame.writable());
        put!(format_args!("tree.then-unpin{}", level + 1), "{}", unpin(frame.mfn));
    }
    for (level, frame) in frames.iter().enumerate() {
        put!(format_args!("tree.at-last{}", level + 1), "{}", frame.writable());
    }
}

#[domu_sdk::main]
fn main() {
    conformance::area("mmuext");
    let kinds = Kinds::new();
    pins(&kinds);
    roots(&kinds);
    flushes();
    descriptors();
    pages(&kinds);
    commands(&kinds);
    lists(&kinds);
    tree();
    conformance::done();
}
