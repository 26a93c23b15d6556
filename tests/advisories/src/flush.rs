//! Translations that the CPU still has after a mapping is gone.

use crate::{Case, Outcome, hold, refused, step};
use conformance::space::{Frame, call, extended, foreign, pin, update};
use conformance::trap::Outcome as Trap;
use conformance::trapped;
use domu_sdk::abi::memory::MemoryReservation;
use domu_sdk::abi::xen::hypercall::{MEMORY_OP, UPDATE_VA_MAPPING};
use domu_sdk::memory::layout::pte;

/// The cases.
pub const CASES: &[Case] = &[
    ("xsa-241-write-to-a-table", write_to_a_table),
    ("xsa-286-old-table", old_table),
    ("xsa-279-freed-frame", freed_frame),
    ("xsa-401-clear-a-table", clear_a_table),
];

fn write(address: u64, value: u64) -> Trap {
    trapped!("mov [rdi], rsi"; in("rdi") address, in("rsi") value)
}

/// XSA-241, XSA-401: a frame became a table while the CPU still had a writable translation for it. The guest makes one, uses it, removes it
/// without a flush, and has the frame validated: then the translation must be gone.
fn write_to_a_table() -> Outcome {
    let table = Frame::new();
    for _ in 0..64 {
        hold(write(table.va, 0).0.is_none(), "a page of one's own cannot be written")?;
        step(
            call(UPDATE_VA_MAPPING, [table.va, table.entry(pte::READ_ONLY), 0, 0, 0]),
            "removing the right to write",
        )?;
        step(pin(1, table.mfn), "pinning")?;
        write(table.va, foreign() << 12 | 7);
        hold(table.read(0) & 7 == 0, "a table was written through an old translation")?;
        step(extended(4, table.mfn, 0), "unpinning")?;
        step(table.writable(), "making it writable")?;
    }
    Ok(())
}

/// XSA-286: an entry of a higher table was removed, but the CPU went on to use the tables below, which by then were memory that the guest
/// can write. The guest writes an entry for somebody else's frame to such a table and looks.
fn old_table() -> Outcome {
    let tables: [Frame; 3] = core::array::from_fn(|_| Frame::table());
    let data = Frame::new();
    let window = 0xffff_a000_0000_0000_u64;
    let slot = (conformance::space::root() << 12) + 8 * (window >> 39 & 511);
    for level in 1..=3 {
        step(pin(level, tables[level as usize - 1].mfn), "pinning a table")?;
    }
    step(update(tables[0].slot(0), data.entry(7)), "an entry")?;
    step(update(tables[1].slot(0), tables[0].entry(7)), "an entry")?;
    step(update(tables[2].slot(0), tables[1].entry(7)), "an entry")?;
    step(update(slot, tables[2].entry(7)), "hooking the tables")?;
    hold(write(window, 5).0.is_none(), "the window cannot be written")?;
    // Now from the top, with no flush asked for.
    step(update(slot, 0), "unhooking the tables")?;
    for table in tables.iter().rev() {
        step(extended(4, table.mfn, 0), "unpinning a table")?;
        step(
            call(UPDATE_VA_MAPPING, [table.va, table.entry(pte::READ_WRITE), 0, 0, 0]),
            "making it writable",
        )?;
    }
    tables[0].write(0, foreign() << 12 | 0x67);
    tables[0].write(1, foreign() << 12 | 0x67);
    for page in [0, 1] {
        let trap = trapped!("mov rax, [rdi]"; in("rdi") window + page * 4096, out("rax") _);
        hold(trap.0.is_some(), "memory that is not mapped any more can be read")?;
    }
    Ok(())
}

/// XSA-279, XSA-292: a frame was given back while a translation for it lived on in the TLB. After the call the address must not be
/// writable, or the frame still be the guest's.
fn freed_frame() -> Outcome {
    let frame = Frame::new();
    hold(write(frame.va, 1).0.is_none(), "a page of one's own cannot be written")?;
    step(call(UPDATE_VA_MAPPING, [frame.va, 0, 0, 0, 0]), "removing the mapping, without a flush")?;
    let mut list = [frame.mfn];
    let mut request = MemoryReservation { nr_extents: 1, domid: 0x7ff0, ..Default::default() };
    request.extent_start = domu_sdk::abi::GuestPtr::new(conformance::space::at(&mut list));
    let answer = call(MEMORY_OP, [1, conformance::space::at(&mut request), 0, 0, 0]);
    hold(answer.0 == 1, "a frame of one's own cannot be given back")?;
    list = [frame.pfn];
    // Somebody may have it by now: the hypervisor flushes before that. The next allocation forces the matter.
    let answer = call(MEMORY_OP, [6, conformance::space::at(&mut request), 0, 0, 0]);
    hold(answer.0 == 1 && list[0] != 0, "no frame instead")?;
    hold(write(frame.va, 2).0.is_some(), "a frame that was given back can be written")?;
    refused(
        if list[0] == frame.mfn { conformance::Answer(-1) } else { frame.writable() },
        "a frame that was given back can be mapped",
    )
}

/// XSA-401: whole-page operations on a frame that is a table, or becomes one.
fn clear_a_table() -> Outcome {
    let (table, data) = (Frame::table(), Frame::new());
    step(pin(2, table.mfn), "pinning")?;
    refused(extended(16, table.mfn, 0), "a table cleared")?;
    refused(extended(17, table.mfn, data.mfn), "a table overwritten")?;
    step(extended(17, data.mfn, table.mfn), "a copy of a table")
}
