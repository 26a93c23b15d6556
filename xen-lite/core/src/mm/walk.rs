//! The CPU's way through a guest's page tables, in software.
//!
//! The entries read may change at any time; what is found is a hint that the caller secures by taking references.

use crate::addr::{GuestVirt, Mfn};
use crate::frame::pte::{self, HYPERVISOR_SLOTS, PRESENT};
use crate::hypervisor::Hypervisor;
use crate::platform::Platform;

/// The L1 table that maps `va` under `root`, and the index of the entry; `None` where a table is missing, and in the hypervisor's
/// range.
#[inline(always)]
pub fn l1_of<P: Platform>(hv: &Hypervisor<P>, root: Mfn, va: GuestVirt) -> Option<(Mfn, usize)> {
    if !va.is_canonical() || HYPERVISOR_SLOTS.contains(&va.table_index(4)) || root == Mfn::INVALID {
        return None;
    }
    let mut table = root;
    for level in [4u8, 3, 2] {
        let entry = hv.platform.load(table, va.table_index(level));
        if entry & PRESENT == 0 {
            return None;
        }
        table = pte::mfn(entry);
        // Entries of live tables name frames of the table; what a race shows us may be anything.
        if table.raw() >= hv.frames.len() {
            return None;
        }
    }
    Some((table, va.table_index(1)))
}

/// The L1 entry for `va` under `root`; 0 where there is none.
pub fn entry_of<P: Platform>(hv: &Hypervisor<P>, root: Mfn, va: GuestVirt) -> u64 {
    l1_of(hv, root, va).map_or(0, |(table, index)| hv.platform.load(table, index))
}
