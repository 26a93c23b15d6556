//! Long operations: they are interrupted and go on, and what a guest forges on the way gains it nothing.

use crate::{Case, Outcome, hold, refused, step};
use alloc::vec::Vec;
use conformance::space::{Frame, SELF, at, call, extended, foreign, of, pin, request, unpin};
use domu_sdk::abi::xen::hypercall::{MMU_UPDATE, MMUEXT_OP, SET_TIMER_OP};
use domu_sdk::abi::xen::{MmuUpdate, MmuextOp};
use domu_sdk::time::Instant;

/// The cases.
pub const CASES: &[Case] = &[
    ("xsa-45-long-list-of-updates", long_list_of_updates),
    ("xsa-264-long-list-of-operations", long_list_of_operations),
    ("xsa-290-interrupted-check", interrupted_check),
    ("xsa-290-forged-progress", forged_progress),
];

/// Has the timer expire at once, so that an interrupt waits during the next call.
fn soon() {
    let _ = Instant::now();
    call(SET_TIMER_OP, [1, 0, 0, 0, 0]);
}

/// XSA-45: a list of 64 Ki updates is carried out to its end, with interrupts in between, and the count is right.
fn long_list_of_updates() -> Outcome {
    let (table, data) = (Frame::table(), Frame::new());
    step(pin(1, table.mfn), "pinning a table")?;
    let list: Vec<MmuUpdate> = (0..0x1_0000_u64)
        .map(|n| MmuUpdate {
            ptr: table.slot(n % 512),
            val: if n / 512 % 2 == 0 { data.entry(7) } else { 0 },
        })
        .collect();
    let mut done = 0_u32;
    soon();
    step(call(MMU_UPDATE, [of(&list[..]), list.len() as u64, at(&mut done), SELF, 0]), "a long list")?;
    hold(done == 0x1_0000, "the count of a list that was interrupted is wrong")?;
    step(unpin(table.mfn), "unpinning")?;
    step(data.read_only(), "making it read-only")?;
    hold(pin(1, data.mfn).0 == 0, "references are left by the long list")
}

/// XSA-264: the same with operations that are dear each.
fn long_list_of_operations() -> Outcome {
    let table = Frame::table();
    let list: Vec<MmuextOp> =
        (0..4096).map(|n| request(if n % 2 == 0 { 0 } else { 4 }, table.mfn, 0)).collect();
    let mut done = 0_u32;
    soon();
    step(call(MMUEXT_OP, [of(&list[..]), list.len() as u64, at(&mut done), SELF, 0]), "a long list of pins")?;
    hold(done == 4096, "the count of a list that was interrupted is wrong")?;
    hold(table.writable().0 == 0, "references are left by the long list")
}

/// XSA-290, XSA-242: the check of a large tree is interrupted again and again; what is checked stays checked, and what fails in the end is undone
/// in whole.
fn interrupted_check() -> Outcome {
    const TABLES: usize = 200;
    let data = Frame::new();
    let (root, l3, l2) = (Frame::new(), Frame::new(), Frame::new());
    let tables: Vec<Frame> = (0..TABLES).map(|_| Frame::new()).collect();
    for (index, table) in tables.iter().enumerate() {
        (0..512).for_each(|slot| table.write(slot, data.entry(7)));
        l2.write(index as u64, table.entry(7));
        step(table.read_only(), "making a table read-only")?;
    }
    l3.write(0, l2.entry(7));
    root.write(0, l3.entry(7));
    for bad in [true, false, true] {
        l2.writable();
        l2.write(511, if bad { foreign() << 12 | 7 } else { 0 });
        for table in [&l2, &l3, &root] {
            step(table.read_only(), "making a table read-only")?;
        }
        soon();
        let answer = pin(4, root.mfn);
        hold((answer.0 < 0) == bad, "the check of a large tree went wrong")?;
        if !bad {
            hold(tables.iter().all(|table| table.writable().0 < 0), "a table of a pinned tree is writable")?;
            soon();
            step(unpin(root.mfn), "unpinning")?;
        }
        hold(root.writable().0 == 0 && l3.writable().0 == 0, "the tree's upper tables are still tables")?;
        for table in tables.iter().step_by(17) {
            hold(table.writable().0 == 0, "a table of the tree is still one")?;
            step(table.read_only(), "making it read-only again")?;
        }
    }
    Ok(())
}

/// A continued call says so in its count, where a guest can say it as well. It skips nothing by that.
fn forged_progress() -> Outcome {
    let (table, data) = (Frame::table(), Frame::new());
    step(pin(1, table.mfn), "pinning a table")?;
    let list = [MmuUpdate { ptr: table.slot(0), val: foreign() << 12 | 7 }; 4];
    for count in [0x8000_0001_u64, 0x8000_0004, 0xffff_ffff] {
        for before in [0_u32, 1, 4, u32::MAX] {
            let mut done = before;
            refused(
                call(MMU_UPDATE, [of(&list), count, at(&mut done), SELF, 0]),
                "an entry for somebody else's frame",
            )?;
            let pins = [request(0, data.mfn, 0)];
            refused(
                call(MMUEXT_OP, [of(&pins), count & 0x8000_0000 | 1, at(&mut done), SELF, 0]),
                "a writable frame became a table",
            )?;
        }
    }
    call(MMU_UPDATE, [0, 0x8000_0000, 0, SELF, 0]);
    call(MMUEXT_OP, [0, 0x8000_0000, 0, SELF, 0]);
    refused(extended(0, data.mfn, 0), "a writable frame became a table")?;
    hold(table.read(0) == 0, "the entry was written")
}
