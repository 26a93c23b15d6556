//! `mmu_update` and `mmuext_op` on behalf of another domain, as its builder needs them.
//!
//! This domain's own tables are the business of [`crate::memory`]: frames of its own are refused with `EINVAL` here.

use super::{Result, input};
use crate::{
    arch,
    types::{DomId, Mfn, Pfn},
};
use abi::{
    errno::Errno,
    xen::{
        MMU_MACHPHYS_UPDATE, MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L2_TABLE, MMUEXT_PIN_L3_TABLE,
        MMUEXT_PIN_L4_TABLE, MMUEXT_UNPIN_TABLE, MmuUpdate, MmuextOp,
        hypercall::{MMU_UPDATE, MMUEXT_OP},
    },
};
use alloc::vec::Vec;

/// Has a page table of another domain validated and pinned; `level` 1 to 4.
pub fn pin(domain: DomId, level: u32, table: Mfn) -> Result {
    let command = match level {
        1 => MMUEXT_PIN_L1_TABLE,
        2 => MMUEXT_PIN_L2_TABLE,
        3 => MMUEXT_PIN_L3_TABLE,
        4 => MMUEXT_PIN_L4_TABLE,
        _ => return Err(Errno::EINVAL),
    };
    extended(domain, command, table)
}

/// Undoes a pin.
pub fn unpin(domain: DomId, table: Mfn) -> Result {
    extended(domain, MMUEXT_UNPIN_TABLE, table)
}

fn extended(domain: DomId, command: u32, table: Mfn) -> Result {
    foreign_only(table)?;
    let mut argument = MmuextOp { cmd: command, ..MmuextOp::default() };
    argument.set_mfn(table.0);
    arch::call(MMUEXT_OP, [input(&argument), 1, 0, u64::from(domain.0), 0]).map(|_| ())
}

/// Writes the machine-to-physical table for frames of another domain: which number each has there.
pub fn set_machphys(domain: DomId, frames: &[(Mfn, Pfn)]) -> Result {
    for (mfn, _) in frames {
        foreign_only(*mfn)?;
    }
    let requests: Vec<MmuUpdate> = frames
        .iter()
        .map(|(mfn, pfn)| MmuUpdate { ptr: mfn.0 << 12 | MMU_MACHPHYS_UPDATE, val: pfn.0 })
        .collect();
    let count = requests.len() as u64;
    arch::call(MMU_UPDATE, [input(&requests[..]), count, 0, u64::from(domain.0), 0]).map(|_| ())
}

fn foreign_only(frame: Mfn) -> Result {
    if arch::machine_to_pfn(frame.0).is_some() { Err(Errno::EINVAL) } else { Ok(()) }
}
