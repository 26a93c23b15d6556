//! Page tables: single entries, batches, pinning, base pointers, flushes.

use super::{
    arena::{Block, remap, root, second_root, slot},
    machine::{address, call, peek, poke},
    meter::{Row, cold, failed, hot},
};
use core::cell::Cell;
use domu_sdk::{
    abi::xen::{
        DOMID_SELF, FLAT_KERNEL_SS64, MMUEXT_CLEAR_PAGE, MMUEXT_COPY_PAGE, MMUEXT_INVLPG_LOCAL,
        MMUEXT_NEW_BASEPTR, MMUEXT_NEW_USER_BASEPTR, MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L4_TABLE,
        MMUEXT_TLB_FLUSH_ALL, MMUEXT_TLB_FLUSH_LOCAL, MMUEXT_UNPIN_TABLE, MmuUpdate, MmuextOp,
        MulticallEntry, UVMF_INVLPG, UVMF_NONE, UVMF_TLB_FLUSH,
        hypercall::{
            FPU_TASKSWITCH, MMU_UPDATE, MMUEXT_OP, MULTICALL, SET_SEGMENT_BASE, STACK_SWITCH,
            UPDATE_VA_MAPPING,
        },
    },
    memory::layout::pte,
};

const BATCH: u64 = 64;
const CALLS: u64 = 32;
/// Tables of level 1 under the tree that is pinned; each maps 512 pages.
const LEAVES: u64 = 4;

fn nothing(_: u64) {}

fn update(requests: u64, count: u64) -> i64 {
    call(MMU_UPDATE, [requests, count, 0, DOMID_SELF.into(), 0])
}

fn extended(operations: u64, count: u64) -> i64 {
    call(MMUEXT_OP, [operations, count, 0, DOMID_SELF.into(), 0])
}

fn operation(cmd: u32, arg1: u64) -> MmuextOp {
    let mut operation = MmuextOp { cmd, ..Default::default() };
    operation.set_mfn(arg1);
    operation
}

/// Entries of existing tables.
pub fn entries() {
    let windows = Block::take(BATCH as usize);
    let frames = Block::take(2 * BATCH as usize);
    let window = windows.base;
    let entry = |i: u64| frames.entry(i & 1, pte::READ_WRITE);
    poke(frames.page(0), 0xa0);
    poke(frames.page(1), 0xa1);
    let seen = |i: u64| i64::from(peek(window) != 0xa0 + (i & 1));
    let remap_one = |flush| move |i| call(UPDATE_VA_MAPPING, [window, entry(i), flush, 0, 0]);
    hot("update_va_mapping, no flush").measure(nothing, remap_one(UVMF_NONE));
    hot("update_va_mapping, invlpg").measure(nothing, remap_one(UVMF_INVLPG));
    if seen(super::machine::SAMPLES as u64 - 1) != 0 {
        failed("update_va_mapping changed the mapping", 0);
    }
    hot("update_va_mapping, tlb flush").measure(nothing, remap_one(UVMF_TLB_FLUSH));
    if seen(super::machine::SAMPLES as u64 - 1) != 0 {
        failed("update_va_mapping changed the mapping", 0);
    }

    let (place, machine) = slot(window);
    let mut one = [MmuUpdate { ptr: machine, val: 0 }];
    let at = address(&mut one);
    hot("mmu_update, 1 entry").measure(|i| poke(at + 8, entry(i)), |_| update(at, 1));
    let mut many = [MmuUpdate::default(); BATCH as usize];
    let at = address(&mut many);
    let fill = |i: u64, flags: u64| {
        for k in 0..BATCH {
            poke(at + 16 * k, slot(windows.page(k)).1);
            poke(at + 16 * k + 8, if flags == 0 { 0 } else { frames.entry(k + (i & 1) * BATCH, flags) });
        }
    };
    hot("mmu_update, 64 remaps, each")
        .each(BATCH)
        .measure(|i| fill(i, pte::READ_WRITE), |_| update(at, BATCH));
    hot("mmu_update, 64 new maps, each").each(BATCH).measure(
        |i| {
            fill(i, 0);
            let _ = update(at, BATCH);
            fill(i, pte::READ_WRITE);
        },
        |_| update(at, BATCH),
    );
    let mut machphys = [MmuUpdate { ptr: frames.mfn(0) << 12 | 1, val: frames.pfn(0) }];
    let at = address(&mut machphys);
    cold("mmu_update machphys").measure(nothing, |_| update(at, 1));

    let mut calls = [MulticallEntry { op: UPDATE_VA_MAPPING, ..Default::default() }; CALLS as usize];
    let at = address(&mut calls);
    hot("multicall of 32 update_va_mapping, each").each(CALLS).measure(
        |i| {
            for k in 0..CALLS {
                let call = at + k * size_of::<MulticallEntry>() as u64;
                poke(call + 16, windows.page(k));
                poke(call + 24, frames.entry(k + (i & 1) * BATCH, pte::READ_WRITE));
                poke(call + 32, UVMF_NONE);
            }
        },
        |_| call(MULTICALL, [at, CALLS, 0, 0, 0]),
    );
    if (0..CALLS).any(|k| peek(at + k * size_of::<MulticallEntry>() as u64 + 8) != 0) {
        failed("a call of the multicall", 0);
    }
    cold("store to a page table").measure(nothing, |i| {
        poke(place, entry(i));
        0
    });
    // The hypervisor may set "accessed", "dirty" and bits of its own.
    if peek(place) & pte::FRAME_MASK != entry(super::machine::SAMPLES as u64 - 1) & pte::FRAME_MASK {
        failed("store to a page table took effect", 0);
    }
}

/// Flushes, and pages that the hypervisor fills.
pub fn flushes() {
    let pages = Block::take(2);
    let row = |row: Row, cmd, first: u64, second: u64| {
        let mut operation = [operation(cmd, first)];
        operation[0].set_src_mfn(second);
        let at = address(&mut operation);
        row.measure(nothing, |_| extended(at, 1));
    };
    row(cold("tlb flush local"), MMUEXT_TLB_FLUSH_LOCAL, 0, 0);
    row(cold("tlb flush all"), MMUEXT_TLB_FLUSH_ALL, 0, 0);
    row(cold("invlpg local"), MMUEXT_INVLPG_LOCAL, pages.base, 0);
    poke(pages.page(0) + 8, 1);
    poke(pages.page(1) + 8, 2);
    row(cold("clear_page"), MMUEXT_CLEAR_PAGE, pages.mfn(0), 0);
    if peek(pages.page(0) + 8) != 0 {
        failed("clear_page cleared", 0);
    }
    row(cold("copy_page"), MMUEXT_COPY_PAGE, pages.mfn(0), pages.mfn(1));
    if peek(pages.page(0) + 8) != 2 {
        failed("copy_page copied", 0);
    }
}

/// Pins a table, and unpins it.
fn pin(rows: [Row; 2], command: u32, table: u64) {
    let mut operations = [operation(command, table), operation(MMUEXT_UNPIN_TABLE, table)];
    let pin = address(&mut operations);
    let unpin = pin + size_of::<MmuextOp>() as u64;
    let pinned = Cell::new(false);
    let make = |want: bool| {
        if pinned.replace(want) != want {
            let _ = extended(if want { pin } else { unpin }, 1);
        }
    };
    rows[0].measure(
        |_| make(false),
        |_| {
            pinned.set(true);
            extended(pin, 1)
        },
    );
    rows[1].measure(
        |_| make(true),
        |_| {
            pinned.set(false);
            extended(unpin, 1)
        },
    );
}

/// Whole tables that become valid, and stop being so.
pub fn pins() {
    let pages = Block::take((LEAVES * 512) as usize);
    let leaf = |table: Block, first: u64| {
        for index in 0..512 {
            table.set(index, pages.entry(first + index, pte::READ_WRITE));
        }
        table.seal(0);
    };
    let single = Block::take(1);
    leaf(single, 0);
    pin([hot("pin an L1 of 512"), hot("unpin an L1 of 512")], MMUEXT_PIN_L1_TABLE, single.mfn(0));

    let upper: [Block; 3] = core::array::from_fn(|_| Block::take(1));
    for index in 0..LEAVES {
        let table = Block::take(1);
        leaf(table, 512 * index);
        upper[0].set(index, table.entry(0, pte::TABLE));
    }
    upper[1].set(0, upper[0].entry(0, pte::TABLE));
    upper[2].set(0, upper[1].entry(0, pte::TABLE));
    for table in upper {
        table.seal(0);
    }
    pin(
        [hot("pin an L4 tree of 2048 pages"), hot("unpin an L4 tree of 2048 pages")],
        MMUEXT_PIN_L4_TABLE,
        upper[2].mfn(0),
    );
}

/// Switches between two address spaces. Returns the one for user mode, which is set.
pub fn roots(kernel_stack: u64) {
    let roots = [root(), second_root()];
    let mut operations = [operation(MMUEXT_NEW_BASEPTR, 0), operation(MMUEXT_NEW_USER_BASEPTR, 0)];
    let at = address(&mut operations);
    let second = at + size_of::<MmuextOp>() as u64;
    // 8 is the offset of the first argument.
    let set = |operation: u64, frame: u64| poke(operation + 8, frame);
    // From the first root to the second and back, an even number of times in all.
    let to = |i: u64| roots[((i + 1) & 1) as usize];
    hot("new_baseptr").measure(|i| set(at, to(i)), |_| extended(at, 1));
    set(at, roots[0]);
    let back = extended(at, 1);
    hot("new_user_baseptr").measure(|i| set(second, to(i)), |_| extended(second, 1));

    let entry = |op: u64, arguments: [u64; 3]| {
        let mut entry = MulticallEntry { op, ..Default::default() };
        entry.args[..3].copy_from_slice(&arguments);
        entry
    };
    let mut calls = [
        entry(MMUEXT_OP, [at, 2, 0]),
        entry(STACK_SWITCH, [FLAT_KERNEL_SS64.into(), kernel_stack, 0]),
        entry(FPU_TASKSWITCH, [0; 3]),
        entry(SET_SEGMENT_BASE, [0; 3]),
    ];
    calls[0].args[3] = DOMID_SELF.into();
    let list = address(&mut calls);
    let count = calls.len() as u64;
    hot("context-switch multicall").measure(
        |i| {
            set(at, to(i));
            set(second, to(i));
        },
        |_| call(MULTICALL, [list, count, 0, 0, 0]),
    );
    if (0..count).any(|k| peek(list + k * size_of::<MulticallEntry>() as u64 + 8) != 0) {
        failed("a call of the multicall", 0);
    }
    set(at, roots[0]);
    set(second, roots[1]);
    let last = extended(at, 2);
    if back != 0 || last != 0 {
        failed("back to the first root", back.min(last));
    }
}

/// Memory given back and taken again.
pub fn reservation() {
    use domu_sdk::abi::{
        GuestPtr,
        memory::{MemoryReservation, XENMEM_DECREASE_RESERVATION, XENMEM_POPULATE_PHYSMAP},
        xen::hypercall::MEMORY_OP,
    };
    for (count, rows) in [
        (1, [cold("decrease_reservation, 1 page"), cold("populate_physmap, 1 page")]),
        (32, [cold("decrease_reservation, 32 pages, each"), cold("populate_physmap, 32 pages, each")]),
    ] {
        let pages = Block::take(count as usize);
        let mut list: [u64; 32] = core::array::from_fn(|i| pages.mfn((i as u64).min(count - 1)));
        let list_at = address(&mut list);
        for index in 0..count {
            let _ = remap(pages.page(index), 0);
        }
        let mut reservation = MemoryReservation {
            extent_start: GuestPtr::new(list_at),
            nr_extents: count,
            domid: DOMID_SELF,
            ..Default::default()
        };
        let at = address(&mut reservation);
        let there = Cell::new(true);
        let memory = |operation: u32| call(MEMORY_OP, [operation.into(), at, 0, 0, 0]) - count as i64;
        let give = || {
            there.set(false);
            memory(XENMEM_DECREASE_RESERVATION)
        };
        let name = || {
            for index in 0..count {
                poke(list_at + 8 * index, pages.pfn(index));
            }
        };
        let take = || {
            there.set(true);
            memory(XENMEM_POPULATE_PHYSMAP)
        };
        rows[0].each(count).measure(
            |_| {
                if !there.get() {
                    name();
                    let _ = take();
                }
            },
            |_| give(),
        );
        rows[1].each(count).measure(
            |_| {
                if there.get() {
                    let _ = give();
                }
                name();
            },
            |_| take(),
        );
    }
}
