//! L1 terminal fault: what an entry of a page table may hold that is not present.
//!
//! Affected CPUs, when a translation ends at an entry that is not present (or has reserved bits set), go on speculatively with
//! the address in the entry, and read it if it is in the L1 cache, whosever memory it is. PV guests write their own tables, so an
//! entry that is not present and holds the address of RAM reads the machine's memory.
//!
//! Upstream does not alter what a guest writes either: it moves the guest to shadow page tables, or, built without these, ends the
//! domain. There are no shadow tables here, so the domain is ended. Kernels that know of the weakness are not concerned: they
//! write zero, or invert the address bits, so that it names no RAM (Linux does since August 2018, Debian's too).

use crate::frame::pte::{self, PRESENT};

/// Whether an entry that a guest wants to write is harmless on a CPU that is affected, where RAM ends below `end`
/// (a machine address).
///
/// Present entries are checked by other rules. Zero is what an empty table holds: page 0 has no secrets, and its address
/// with no other bit set cannot be told from "nothing".
#[inline(always)]
#[must_use]
pub const fn is_safe(entry: u64, end: u64) -> bool {
    entry & PRESENT != 0 || entry == 0 || is_safe_absent(entry, end)
}

#[cold]
const fn is_safe_absent(entry: u64, end: u64) -> bool {
    // Software's own bits, with address 0: the same as zero.
    entry & pte::FRAME >= end || entry & (pte::FRAME | 1 << 7) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: u64 = 0x4000_0000;

    #[test]
    fn absent_entries_may_not_name_ram() {
        for harmless in
            [0, END, 0x000f_ffff_ffff_f000, !0 & !PRESENT, 0x200 | 1 << 60, 0x1234_5001, END | 0x80]
        {
            assert!(is_safe(harmless, END), "{harmless:#x}");
        }
        for harmful in [0x1000, 0x1234_5000, END - 0x1000, 0x3fff_f000 | 1 << 63, 0x80, 0x1000 | 1 << 58] {
            assert!(!is_safe(harmful, END), "{harmful:#x}");
        }
    }

    /// What Linux stores for a page that is not present: address bits inverted.
    #[test]
    fn inverted_addresses_are_safe() {
        for address in [0x1000u64, 0x3fff_f000, 0x1_0000_0000] {
            let inverted = !address & pte::FRAME | 0x100;
            assert!(is_safe(inverted, END), "{inverted:#x}");
        }
    }
}
