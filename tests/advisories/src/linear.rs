//! Tables that name tables of their own level.

use crate::{Case, Outcome, hold, refused, step};
use conformance::space::{Frame, pin, unpin, update};
use domu_sdk::memory::layout::pte;

/// The cases.
pub const CASES: &[Case] = &[
    ("xsa-240-chain", chain),
    ("xsa-240-circle", circle),
    ("xsa-243-self-and-unpin", self_and_unpin),
    ("xsa-185-wrong-level", wrong_level),
];

const READ: u64 = pte::PRESENT | pte::USER;

/// XSA-240: tables of one level linked in a chain made the hypervisor take them apart one within the other, until its stack was full. A
/// chain has one link at most.
fn chain() -> Outcome {
    for level in 2..=4 {
        let tables: [Frame; 8] = core::array::from_fn(|_| Frame::table());
        for table in &tables {
            step(pin(level, table.mfn), "pinning a table")?;
        }
        let mut links = 0;
        for pair in tables.windows(2) {
            links = if update(pair[0].slot(5), pair[1].entry(READ)).0 == 0 { links + 1 } else { 0 };
            hold(links < 2, "a chain of three tables of one level")?;
        }
        for table in &tables {
            update(table.slot(5), 0);
            step(unpin(table.mfn), "unpinning a table")?;
        }
    }
    Ok(())
}

/// XSA-240: two tables that name each other hold each other for ever, or are taken apart for ever.
fn circle() -> Outcome {
    for level in 2..=4 {
        let (one, other) = (Frame::table(), Frame::table());
        step(pin(level, one.mfn), "pinning a table")?;
        step(pin(level, other.mfn), "pinning a table")?;
        let there = update(one.slot(5), other.entry(READ)).0 == 0;
        let back = update(other.slot(5), one.entry(READ)).0 == 0;
        hold(!(there && back), "two tables of one level name each other")?;
        step(unpin(one.mfn), "unpinning a table")?;
        step(unpin(other.mfn), "unpinning a table")?;
    }
    Ok(())
}

/// XSA-243: a table with an entry for itself was taken apart wrongly. Afterwards it is ordinary memory, and can be a table of another level.
fn self_and_unpin() -> Outcome {
    for level in 2..=4 {
        let table = Frame::table();
        step(pin(level, table.mfn), "pinning a table")?;
        (3..40).try_for_each(|slot| {
            step(update(table.slot(slot), table.entry(READ)), "a read-only entry for itself")
        })?;
        step(unpin(table.mfn), "unpinning a table")?;
        hold(table.writable().0 == 0, "a table cannot be written after its last use")?;
        (0..512).for_each(|slot| table.write(slot, 0));
        step(table.read_only(), "making it read-only")?;
        hold(pin(1, table.mfn).0 == 0, "a table cannot get another level")?;
        step(unpin(table.mfn), "unpinning a table")?;
    }
    Ok(())
}

/// XSA-185: an entry that names a table of a level that is not the one below, or of its own level writable, gives write access to a table.
fn wrong_level() -> Outcome {
    let tables: [Frame; 4] = core::array::from_fn(|_| Frame::table());
    for level in 1..=4 {
        step(pin(level, tables[level as usize - 1].mfn), "pinning a table")?;
    }
    for level in 1..=4_usize {
        for other in (1..=4).filter(|other| *other != level - 1) {
            let what = tables[other - 1].entry(READ | pte::WRITABLE);
            refused(update(tables[level - 1].slot(3), what), "an entry for a table of the wrong level")?;
        }
    }
    Ok(())
}
