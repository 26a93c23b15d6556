//! Area `mmu`: `mmu_update`.
//!
//! Tables of each level are pinned aside from the running tree, so that any entry can be tried. What an entry holds after the
//! call is part of the row: the hypervisor adjusts flags.
#![no_std]
#![no_main]

use conformance::put;
use conformance::space::{
    Answer, Entry, Frame, SELF, at, call, extended, foreign, of, own_id, pin, root, unpin, update, update_as,
};
use domu_sdk::abi::xen::{MmuUpdate, hypercall};
use domu_sdk::memory::layout::pte;
use domu_sdk::start;

const HUGE: u64 = 0x8000_0000;

struct Set {
    data: Frame,
    tables: [Frame; 4],
}

impl Set {
    fn new() -> Set {
        let set = Set { data: Frame::new(), tables: core::array::from_fn(|_| Frame::table()) };
        for level in 1..=4 {
            put!(format_args!("pin.l{level}"), "{}", pin(level, set.table(level).mfn));
        }
        set
    }

    fn table(&self, level: u64) -> &Frame {
        &self.tables[level as usize - 1]
    }

    /// What an entry of a table of `level` may name.
    fn below(&self, level: u64) -> &Frame {
        if level == 1 { &self.data } else { self.table(level - 1) }
    }

    /// Writes entry `index`, and says what came of it: answer and entry. The entry is empty afterwards.
    fn attempt(&self, level: u64, index: u64, entry: u64) -> (Answer, Entry) {
        let table = self.table(level);
        let answer = update(table.slot(index), entry);
        let after = Entry(table.read(index));
        update(table.slot(index), 0);
        (answer, after)
    }
}

fn each_bit(set: &Set) {
    for level in 1..=4 {
        let plain = set.below(level).entry(pte::PRESENT | pte::USER | pte::WRITABLE);
        for bit in (1..12).chain(30..64) {
            let (answer, after) = set.attempt(level, 5, plain ^ 1 << bit);
            put!(format_args!("l{level}.bit{bit}"), "{answer} {after}");
        }
        for bit in 1..64 {
            let (answer, after) = set.attempt(level, 5, (plain ^ 1 << bit) & !1);
            if !(12..=51).contains(&bit) {
                put!(format_args!("l{level}.absent.bit{bit}"), "{answer} {after}");
            } else {
                put!(format_args!("l{level}.absent.bit{bit}"), "{answer}");
            }
        }
        for flags in [
            0,
            pte::PRESENT,
            pte::PRESENT | pte::WRITABLE,
            pte::PRESENT | 0xe60 | 1 << 52,
            !pte::FRAME_MASK & !0x198,
        ] {
            let (answer, after) = set.attempt(level, 6, set.below(level).entry(flags));
            put!(format_args!("l{level}.flags.{flags:#x}"), "{answer} {after}");
        }
    }
}

/// An entry that is there, changed one bit at a time: the short cut for harmless changes.
fn each_change(set: &Set) {
    for level in 1..=4 {
        let table = set.table(level);
        for start in [pte::PRESENT | pte::USER | pte::WRITABLE, pte::PRESENT | pte::USER] {
            let plain = set.below(level).entry(start);
            for bit in (0..12).chain(40..64) {
                update(table.slot(9), plain);
                let answer = update(table.slot(9), plain ^ 1 << bit);
                put!(format_args!("l{level}.change{start}.bit{bit}"), "{answer} {}", Entry(table.read(9)));
                update(table.slot(9), 0);
            }
        }
        for other in 1..=4 {
            update(table.slot(9), set.below(level).entry(7));
            let answer = update(table.slot(9), set.table(other).entry(5));
            put!(format_args!("l{level}.change.to.l{other}"), "{answer} {}", Entry(table.read(9)));
            update(table.slot(9), 0);
        }
    }
}

fn accessed_and_dirty(set: &Set) {
    for level in 1..=4 {
        let table = set.table(level);
        for (old, new) in [(0x67, 7), (7, 0x67), (0x27, 0x47), (0x67, 5), (0x66, 7), (0x67, 6), (0x67, 0)] {
            update(table.slot(3), set.below(level).entry(old));
            let answer = update(table.slot(3) | 2, set.below(level).entry(new));
            put!(format_args!("l{level}.preserve.{old:#x}.{new:#x}"), "{answer} {}", Entry(table.read(3)));
            update(table.slot(3), 0);
        }
    }
}

/// What an entry may name: kinds of frames against levels.
fn kinds(set: &Set) {
    let plain = Frame::new();
    let unused = Frame::table();
    let foreign = foreign();
    for level in 1..=4 {
        let one = |what: &str, mfn: u64, flags: u64| {
            let (answer, after) = set.attempt(level, 7, mfn << 12 | flags);
            put!(format_args!("l{level}.to.{what}.{flags}"), "{answer} {after}");
        };
        for flags in [5, 7] {
            for other in 1..=4 {
                one(["", "l1", "l2", "l3", "l4"][other as usize], set.table(other).mfn, flags);
            }
            one("writable", plain.mfn, flags);
            one("foreign", foreign, flags);
            one("root", root(), flags);
            one("shared-info", start::info().shared_info >> 12, flags);
            one("beyond", 0xff_ffff_ffff, flags);
        }
    }
    // A frame that nobody uses becomes what the entry makes of it.
    for level in 2..=4 {
        let (answer, after) = set.attempt(level, 8, unused.entry(7));
        put!(format_args!("l{level}.to.unused"), "{answer} {after}");
        put!(format_args!("l{level}.to.unused.again-writable"), "{}", unused.writable());
        unused.read_only();
    }
    // With an entry in it that is not allowed, it does not.
    for level in 2..=4u64 {
        unused.writable();
        unused.write(511, if level == 2 { foreign << 12 | 7 } else { set.data.entry(7) });
        unused.read_only();
        let (answer, after) = set.attempt(level, 8, unused.entry(7));
        put!(format_args!("l{level}.to.invalid"), "{answer} {after}");
        put!(format_args!("l{level}.to.invalid.again-writable"), "{}", unused.writable());
        unused.write(511, 0);
        unused.read_only();
    }
}

/// Tables that name tables of their own level.
fn linear(set: &Set) {
    for level in 1..=4 {
        let table = set.table(level);
        let twin = Frame::table();
        put!(format_args!("linear.l{level}.pin"), "{}", pin(level, twin.mfn));
        for flags in [5, 7, 1, 0x25, 0x8000_0000_0000_0005] {
            let (answer, after) = set.attempt(level, 10, table.entry(flags));
            put!(format_args!("linear.l{level}.self.{flags:#x}"), "{answer} {after}");
            let (answer, after) = set.attempt(level, 10, twin.entry(flags));
            put!(format_args!("linear.l{level}.other.{flags:#x}"), "{answer} {after}");
        }
        update(table.slot(10), table.entry(5));
        put!(
            format_args!("linear.l{level}.self.turns-writable"),
            "{}",
            update(table.slot(10), table.entry(7))
        );
        put!(format_args!("linear.l{level}.unpin-with-self"), "{}", unpin(table.mfn));
        put!(format_args!("linear.l{level}.write-after"), "{}", table.writable());
        put!(format_args!("linear.l{level}.read-only-after"), "{}", table.read_only());
        put!(format_args!("linear.l{level}.pin-again"), "{}", pin(level, table.mfn));
        update(table.slot(10), 0);
        put!(format_args!("linear.l{level}.unpin"), "{}", unpin(twin.mfn));
        put!(format_args!("linear.l{level}.twin-writable"), "{}", twin.writable());
    }
}

fn hypervisor_slots(set: &Set) {
    for index in [255, 256, 257, 258, 260, 262, 270, 271, 272, 511] {
        let table = set.table(4);
        for (what, entry) in [("clear", 0), ("map", set.table(3).entry(7)), ("same", table.read(index))] {
            put!(format_args!("slot{index}.{what}"), "{}", update(table.slot(index), entry));
        }
        update(table.slot(index), 0);
    }
}

fn commands(set: &Set) {
    let l1 = set.table(1);
    for command in 0..8 {
        let value = if command == 1 { set.data.pfn } else { set.data.entry(7) };
        let place = if command == 1 { set.data.mfn << 12 } else { l1.slot(4) };
        let answer = update(place | command, value);
        put!(format_args!("command{command}"), "{answer} {}", Entry(l1.read(4)));
        update(l1.slot(4), 0);
    }
    for (what, mfn) in
        [("own", set.data.mfn), ("table", l1.mfn), ("foreign", foreign()), ("beyond", 0xff_ffff_ffff)]
    {
        let pfn = if what == "table" { l1.pfn } else { set.data.pfn };
        put!(format_args!("machphys.{what}"), "{}", update(mfn << 12 | 1, pfn));
        put!(format_args!("machphys.{what}.odd-offset"), "{}", update(mfn << 12 | 0x7f9, pfn));
    }
    put!("machphys.read-back", "{}", m2p(set.data.mfn) == set.data.pfn);
    update(set.data.mfn << 12 | 1, 0x1234_5678_9abc_def0);
    put!("machphys.any-value", "{:#x}", m2p(set.data.mfn));
    update(set.data.mfn << 12 | 1, set.data.pfn);
    // Requests for what is no table.
    let plain = Frame::new();
    for command in [0, 2, 3] {
        put!(
            format_args!("plain.command{command}"),
            "{} {:#x}",
            update(plain.slot(1) | command, 0x1111_2222),
            plain.read(1)
        );
        plain.write(1, 0);
    }
    plain.read_only();
    put!("plain.read-only", "{} {:#x}", update(plain.slot(2), 0xdead), plain.read(2));
    plain.unmap();
    put!("plain.unmapped", "{}", update(plain.slot(2), 0xbeef));
    plain.writable();
    put!("plain.unmapped.value", "{:#x}", plain.read(2));
    put!("plain.foreign", "{}", update(foreign() << 12, 0));
    put!("plain.shared-info", "{}", update(start::info().shared_info & !0xfff | 0xff8, 0));
    put!("plain.beyond", "{}", update(0xff_ffff_ffff << 12, 0));
    put!("plain.all-ones", "{}", update(!7, 0));
}

fn m2p(mfn: u64) -> u64 {
    domu_sdk::memory::probe(domu_sdk::abi::xen::MACH2PHYS_VIRT_START + mfn * 8).unwrap_or(0)
}

fn domains(set: &Set) {
    let l1 = set.table(1);
    for (what, id) in [
        ("own", own_id()),
        ("self", SELF),
        ("none", 0x1234),
        ("io", 0x7ff1),
        ("xen", 0x7ff2),
        ("cow", 0x7ff3),
        ("invalid", 0x7ff4),
        ("idle", 0x7fff),
        ("8000", 0x8000),
        ("ffff", 0xffff),
    ] {
        put!(format_args!("domain.{what}.map"), "{}", update_as(l1.slot(4), set.data.entry(7), id));
        update(l1.slot(4), 0);
        put!(format_args!("domain.{what}.clear"), "{}", update_as(l1.slot(4), 0, id));
        put!(format_args!("domain.{what}.l2"), "{}", update_as(set.table(2).slot(4), l1.entry(7), id));
        update(set.table(2).slot(4), 0);
        put!(
            format_args!("domain.{what}.machphys"),
            "{}",
            update_as(set.data.mfn << 12 | 1, set.data.pfn, id)
        );
        put!(format_args!("domain.{what}.none"), "{}", call(hypercall::MMU_UPDATE, [of(&0u64), 0, 0, id, 0]));
        put!(
            format_args!("tables.{what}"),
            "{}",
            update_as(l1.slot(4), set.data.entry(7), SELF | (id + 1) << 16)
        );
        update(l1.slot(4), 0);
    }
    put!("domain.high-bits", "{}", update_as(l1.slot(4), 0, SELF | 1 << 32));
    // I/O: only the first domain may.
    for (what, mfn) in [
        ("vga", 0xb8),
        ("apic", 0xfee00),
        ("ioapic", 0xfec00),
        ("pci-hole", 0xf0000),
        ("high", 0x8_0000_0000 >> 12 << 4),
    ] {
        for id in [SELF, 0x7ff1] {
            for flags in [5, 7, 0xf, 0x17, 0x1f, 0x87, 0x97] {
                let answer = update_as(l1.slot(4), mfn << 12 | flags, id);
                put!(format_args!("io.{what}.{id:x}.{flags:#x}"), "{answer} {}", Entry(l1.read(4)));
                update(l1.slot(4), 0);
            }
        }
    }
}

fn lists(set: &Set) {
    let l1 = set.table(1);
    let good = |index| MmuUpdate { ptr: l1.slot(index), val: set.data.entry(7) };
    let bad = MmuUpdate { ptr: l1.slot(20), val: foreign() << 12 | 7 };
    let list = [good(1), good(2), bad, good(3)];
    let run = |what: &str, list: u64, count: u64, id: u64| {
        let mut done = 0x5555_5555_5555_5555_u64;
        let answer = call(hypercall::MMU_UPDATE, [list, count, at(&mut done), id, 0]);
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
    run("read-only-m2p", 0xffff_8000_0000_0000, 0, SELF);
    run("noncanonical", 0x8000_0000_0000, 1, SELF);
    run("huge", of(&list), 0x7fff_ffff, SELF);
    run("huge.upper-half", of(&list), 0x1_0000_0001, SELF);
    run("preempted", of(&list), HUGE | 1, SELF);
    run("preempted.none", of(&list), HUGE, SELF);
    run("preempted.null", 0, HUGE, SELF);
    run("preempted.null.one", 0, HUGE | 1, SELF);
    put!("list.no-done", "{}", call(hypercall::MMU_UPDATE, [of(&list), 4, 0, SELF, 0]));
    for (what, place) in [("unmapped", 0x1000), ("hypervisor", 0xffff_8300_0000_0000), ("read-only", l1.va)] {
        put!(
            format_args!("list.done.{what}"),
            "{}",
            call(hypercall::MMU_UPDATE, [of(&list), 1, place, SELF, 0])
        );
        put!(
            format_args!("list.done.{what}.error"),
            "{}",
            call(hypercall::MMU_UPDATE, [of(&list[2]), 1, place, SELF, 0])
        );
        put!(
            format_args!("list.done.{what}.preempted"),
            "{}",
            call(hypercall::MMU_UPDATE, [of(&list), HUGE | 1, place, SELF, 0])
        );
    }
    put!(
        "list.entries",
        "{} {} {} {}",
        Entry(l1.read(1)),
        Entry(l1.read(2)),
        Entry(l1.read(3)),
        Entry(l1.read(20))
    );
    (1..4).for_each(|index| {
        update(l1.slot(index), 0);
    });
}

/// Pages of descriptors are not writable either.
fn descriptors(set: &Set) {
    let page = Frame::table();
    let frames = [page.mfn];
    put!("gdt.set", "{}", call(hypercall::SET_GDT, [of(&frames), 512, 0, 0, 0]));
    for level in 1..=2 {
        for flags in [5, 7] {
            let (answer, after) = set.attempt(level, 30, page.entry(flags));
            put!(format_args!("gdt.l{level}.{flags}"), "{answer} {after}");
        }
    }
    for (what, value) in [
        ("zero", 0),
        ("flat-3", 0x00cf_fa00_0000_ffff),
        ("flat-0", 0x00cf_9a00_0000_ffff),
        ("gate", 0x0000_ee00_0000_0000),
    ] {
        put!(format_args!("gdt.update.{what}"), "{} {:#x}", update(page.slot(3), value), page.read(3));
    }
    put!("gdt.pin", "{}", pin(1, page.mfn));
    put!("gdt.clear-page", "{}", extended(16, page.mfn, 0));
    put!("gdt.decrease-free", "{}", page.writable());
    put!("gdt.unset", "{}", call(hypercall::SET_GDT, [0, 0, 0, 0, 0]));
    put!("gdt.then-writable", "{}", page.writable());
}

#[domu_sdk::main]
fn main() {
    conformance::area("mmu");
    let set = Set::new();
    each_bit(&set);
    each_change(&set);
    accessed_and_dirty(&set);
    kinds(&set);
    linear(&set);
    hypervisor_slots(&set);
    commands(&set);
    domains(&set);
    lists(&set);
    descriptors(&set);
    for level in (1..=4).rev() {
        put!(format_args!("unpin.l{level}"), "{}", unpin(set.table(level).mfn));
        put!(format_args!("unpin.l{level}.writable"), "{}", set.table(level).writable());
    }
    conformance::done();
}
