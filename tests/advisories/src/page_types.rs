//! Page types and counts: no short cut may skip a check, and what fails half-way is undone.

use crate::{Case, Outcome, hold, refused, step};
use conformance::space::{Frame, SELF, extended, foreign, pin, unpin, update, update_as};
use domu_sdk::memory::layout::pte;

/// The cases.
pub const CASES: &[Case] = &[
    ("xsa-148-large-page", large_page),
    ("xsa-182-writable-root", writable_root),
    ("xsa-167-mark-super", mark_super),
    ("xsa-109-foreign-tables", foreign_tables),
    ("xsa-113-machphys-references", machphys_references),
    ("xsa-45-failed-pin-is-undone", failed_pin),
    ("xsa-242-failed-pin-many-times", failed_pin_many_times),
    ("xsa-58-two-types", two_types),
    ("xsa-154-memory-type", memory_type),
    ("xsa-310-exchange-of-entries", exchange_of_entries),
];

const MAP: u64 = pte::PRESENT | pte::WRITABLE | pte::USER;
const LARGE: u64 = 1 << 7;

/// A table of each level, with an entry from each to the one below.
fn tree() -> Result<[Frame; 4], crate::Stop> {
    let tables: [Frame; 4] = core::array::from_fn(|_| Frame::table());
    for level in 1..=4 {
        step(pin(level, tables[level as usize - 1].mfn), "pinning a table")?;
    }
    for level in 2..=4_usize {
        step(update(tables[level - 1].slot(0), tables[level - 2].entry(MAP)), "hooking a table")?;
    }
    Ok(tables)
}

/// XSA-148: the bit for a large page in an L2 entry was not checked when an entry changed in "harmless" bits only. A large page
/// maps 2 MiB of anybody's memory, writable.
fn large_page() -> Outcome {
    let tables = tree()?;
    for level in 2..=4_usize {
        let (table, below) = (&tables[level - 1], &tables[level - 2]);
        refused(update(table.slot(0), below.entry(MAP | LARGE)), "an entry turned into a large page")?;
        refused(update(table.slot(1), below.entry(MAP | LARGE)), "a new large page")?;
        refused(update(table.slot(1), MAP | LARGE), "a large page over the start of memory")?;
        refused(
            update(table.slot(0) | 2, below.entry(MAP | LARGE)),
            "a large page, keeping the accessed bits",
        )?;
        hold(table.read(0) & LARGE == 0, "the bit is in the table")?;
    }
    Ok(())
}

/// XSA-182: a root's read-only entry for itself could be made writable by the short cut for harmless changes. Who can write to a root can
/// map anything.
fn writable_root() -> Outcome {
    let tables = tree()?;
    let root = &tables[3];
    step(update(root.slot(9), root.entry(pte::PRESENT | pte::USER)), "a root's read-only entry for itself")?;
    for extra in [0, pte::ACCESSED, pte::DIRTY, 1 << 9, 1 << 52, pte::NO_EXECUTE] {
        refused(update(root.slot(9), root.entry(MAP | extra)), "the entry turned writable")?;
        refused(
            update(root.slot(9) | 2, root.entry(MAP | extra)),
            "the entry turned writable, keeping bits",
        )?;
    }
    hold(root.read(9) & pte::WRITABLE == 0, "the entry is writable")
}

/// XSA-167: `MMUEXT_MARK_SUPER` counted large pages without a check of the frame number. There are no large pages.
fn mark_super() -> Outcome {
    for command in [19, 20] {
        for mfn in [Frame::new().mfn, 0, 1 << 40, u64::MAX] {
            refused(extended(command, mfn, 0), "a frame marked as a large page")?;
        }
    }
    Ok(())
}

/// XSA-109: page-table updates named a domain whose tables are not of this kind. Tables of a domain that does not exist, or of the
/// hypervisor, are nobody's to change.
fn foreign_tables() -> Outcome {
    let table = Frame::table();
    step(pin(1, table.mfn), "pinning a table")?;
    for owner in [0x1234, 0x7ff1, 0x7ff2, 0x7ff3, 0x7ff4, 0x7fff] {
        refused(update_as(table.slot(0), 0, SELF | (owner + 1) << 16), "a table of somebody else")?;
        refused(update_as(foreign() << 12, 0, SELF | (owner + 1) << 16), "a frame of somebody else")?;
    }
    refused(update(foreign() << 12, 0), "a frame of somebody else as table")
}

/// XSA-113: a refused machine-to-physical update kept its reference, so the frame could never be freed, and counts could overflow. After
/// many refused and many good ones, the frame still changes its kind.
fn machphys_references() -> Outcome {
    let frame = Frame::new();
    for _ in 0..5000 {
        step(update(frame.mfn << 12 | 1, frame.pfn), "an update")?;
        refused(update_as(frame.mfn << 12 | 1, frame.pfn, 0x7ff1), "an update of a frame that is not I/O")?;
        refused(update(foreign() << 12 | 1, frame.pfn), "an update for a frame of somebody else")?;
    }
    step(frame.read_only(), "making it read-only")?;
    hold(pin(1, frame.mfn).0 == 0, "the frame cannot become a table: references are left")?;
    hold(unpin(frame.mfn).0 == 0 && frame.writable().0 == 0, "the frame cannot be written again")
}

/// XSA-45, XSA-299: a tree whose check fails in the end kept the tables below validated. All are ordinary memory again.
fn failed_pin() -> Outcome {
    let tables: [Frame; 4] = core::array::from_fn(|_| Frame::new());
    let data = Frame::new();
    for level in 1..4_usize {
        tables[level].write(3, tables[level - 1].entry(MAP));
        tables[level].write(200, tables[level - 1].entry(MAP));
    }
    (0..512).for_each(|index| tables[0].write(index, data.entry(MAP)));
    // The last entry of the root is what fails.
    tables[3].write(511, foreign() << 12 | MAP);
    for table in &tables {
        step(table.read_only(), "making a table read-only")?;
    }
    refused(pin(4, tables[3].mfn), "a root with an entry for somebody else's frame")?;
    for table in &tables {
        hold(table.writable().0 == 0, "a table of the failed tree is still a table")?;
    }
    hold(pin(1, data.mfn).0 < 0, "the data page, mapped writable here, became a table")
}

/// XSA-242, XSA-248: each failed attempt left a reference behind, until the count overflowed. 4000 attempts later, the frames are as they were.
fn failed_pin_many_times() -> Outcome {
    let (table, below) = (Frame::new(), Frame::table());
    table.write(0, below.entry(MAP));
    table.write(1, below.entry(MAP | LARGE));
    step(table.read_only(), "making the table read-only")?;
    for _ in 0..4000 {
        refused(pin(2, table.mfn), "a table with a large page")?;
    }
    hold(below.writable().0 == 0, "the table below is held by the failed attempts")?;
    hold(table.writable().0 == 0, "the table is held by the failed attempts")
}

/// XSA-58, XSA-287: a frame must never have two kinds at a time, in whatever order they are asked for.
fn two_types() -> Outcome {
    let (frame, table) = (Frame::new(), Frame::table());
    step(pin(1, table.mfn), "pinning a table")?;
    for level in 1..=4 {
        refused(pin(level, frame.mfn), "a frame that is mapped writable became a table")?;
    }
    step(frame.read_only(), "making it read-only")?;
    for level in 1..=4 {
        step(pin(level, frame.mfn), "pinning")?;
        refused(frame.writable(), "a table mapped writable")?;
        refused(update(table.slot(7), frame.entry(MAP)), "a table mapped writable elsewhere")?;
        for other in (1..=4).filter(|other| *other != level) {
            refused(pin(other, frame.mfn), "a table of two levels")?;
        }
        step(unpin(frame.mfn), "unpinning")?;
    }
    Ok(())
}

/// XSA-154, XSA-402: mappings of one frame with different memory types let a guest write around the hypervisor's checks. A domain
/// without hardware has no choice of memory types.
fn memory_type() -> Outcome {
    if domu_sdk::start::is_privileged() {
        return Err(crate::Stop::Skip("domains with hardware choose memory types"));
    }
    let frame = Frame::new();
    let table = Frame::table();
    step(pin(1, table.mfn), "pinning a table")?;
    for bits in [8, 0x10, 0x18, 0x80, 0x98] {
        refused(update(table.slot(0), frame.entry(MAP | bits)), "a memory type of its own")?;
        step(update(table.slot(1), frame.entry(MAP)), "an ordinary entry")?;
        refused(update(table.slot(1), frame.entry(MAP | bits)), "an entry that changes its memory type")?;
    }
    Ok(())
}

/// XSA-310: an entry that is exchanged must drop the reference of what was there, not of what was expected. A compare-and-exchange that
/// fails changes nothing.
fn exchange_of_entries() -> Outcome {
    let (first, second, table) = (Frame::new(), Frame::new(), Frame::table());
    step(pin(1, table.mfn), "pinning a table")?;
    step(update(table.slot(0), first.entry(MAP)), "an entry")?;
    for _ in 0..2000 {
        let trap = conformance::trapped!("lock cmpxchg [rdi], rsi"; in("rdi") table.va, in("rsi") second.entry(MAP), inout("rax") second.entry(MAP) => _);
        hold(
            trap.0.is_none() || table.read(0) >> 12 & 0xff_ffff_ffff == first.mfn,
            "a failed exchange changed the entry",
        )?;
    }
    step(update(table.slot(0), 0), "emptying the entry")?;
    for frame in [&first, &second] {
        step(frame.read_only(), "making it read-only")?;
        hold(pin(1, frame.mfn).0 == 0, "references are left")?;
        step(unpin(frame.mfn), "unpinning")?;
    }
    Ok(())
}
