//! What an entry of a page table may contain, and what becomes of it.
//!
//! Guests of 64 bits run their kernel in ring 3 like their programs, so every mapping is a user mapping to the CPU. A guest
//! that leaves out `USER` means "kernel only": the bit is set anyway, and bit 52 (`GUEST_KERNEL`) remembers the wish. Kernel and
//! programs have different roots, and what is not `GUEST_KERNEL` is marked global, as both roots map it alike.

/// Present.
pub const PRESENT: u64 = 1 << 0;
/// Writable.
pub const WRITABLE: u64 = 1 << 1;
/// Reachable from ring 3.
pub const USER: u64 = 1 << 2;
/// Write-through.
pub const PWT: u64 = 1 << 3;
/// Cache disabled.
pub const PCD: u64 = 1 << 4;
/// Set by the CPU on use.
pub const ACCESSED: u64 = 1 << 5;
/// Set by the CPU on a write.
pub const DIRTY: u64 = 1 << 6;
/// In L1: memory type by the PAT. Above: maps a large page.
pub const PAT_OR_PSE: u64 = 1 << 7;
/// Survives a change of root.
pub const GLOBAL: u64 = 1 << 8;
/// Bits 9 to 11 and 52 to 62: ignored by the CPU.
pub const AVAILABLE: u64 = 0xe00 | 0x7ff << 52;
/// "Kernel only", as a guest meant it.
pub const GUEST_KERNEL: u64 = 1 << 52;
/// Not executable.
pub const NX: u64 = 1 << 63;
/// Bits of the frame number.
pub const FRAME: u64 = 0x000f_ffff_ffff_f000;

/// Bits that select a memory type; only guests with hardware may use them.
pub const CACHE: u64 = PWT | PCD | PAT_OR_PSE;
/// Bits that no entry above L1 may have: a large page, a memory type of the table itself, and what is reserved there.
pub const NOT_IN_TABLES: u64 = PWT | PCD | PAT_OR_PSE | GLOBAL;
/// Bits whose change neither gives nor takes access that is counted. An allow-list: everything else needs a full check.
pub const HARMLESS: u64 = NX | AVAILABLE | GLOBAL | DIRTY | ACCESSED | USER;

use crate::addr::Mfn;

/// The first and the last root entry that are the hypervisor's.
pub const HYPERVISOR_SLOTS: core::ops::RangeInclusive<usize> = 256..=271;

/// The frame that an entry names.
#[inline(always)]
pub const fn mfn(entry: u64) -> Mfn {
    Mfn::new((entry & FRAME) >> crate::addr::PAGE_SHIFT)
}

/// An L1 entry as it goes into the table.
#[inline(always)]
pub const fn adjust_l1(entry: u64) -> u64 {
    if entry & PRESENT == 0 {
        return entry;
    }
    let entry = if entry & USER == 0 { entry | USER | GUEST_KERNEL } else { entry };
    if entry & GUEST_KERNEL == 0 { entry | GLOBAL } else { entry }
}

/// An entry of a higher table as it goes into the table. Roots have all their entries accessed, as upstream's have.
#[inline(always)]
pub const fn adjust_table(entry: u64, level: u8) -> u64 {
    let always = if level == 4 { USER | ACCESSED } else { USER };
    if entry & PRESENT == 0 { entry } else { entry | always }
}

/// Whether `new` (adjusted) may replace `old` without counting anything: both present, and equal but for harmless bits.
#[inline(always)]
pub const fn is_harmless_change(old: u64, new: u64) -> bool {
    old & PRESENT != 0 && (old ^ new) & !HARMLESS == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effort::effort;

    /// XSA-148, XSA-182: whatever the two entries, a harmless change keeps everything that was checked.
    #[test]
    fn harmless_changes_keep_what_was_checked() {
        let checked = PRESENT | WRITABLE | CACHE | FRAME;
        let step = effort(1, 97);
        for low in (0..512u64).step_by(step) {
            for flip in 0..64 {
                let old = low | 0x1234_5000 | NX;
                let new = old ^ 1 << flip;
                if is_harmless_change(old, new) {
                    assert_eq!((old ^ new) & checked, 0, "{old:#x} to {new:#x}");
                }
            }
        }
        let bits = [
            PRESENT,
            WRITABLE,
            USER,
            PWT,
            PCD,
            ACCESSED,
            DIRTY,
            PAT_OR_PSE,
            GLOBAL,
            GUEST_KERNEL,
            NX,
            1 << 12,
        ];
        let entry = |set: u32| {
            bits.iter().enumerate().fold(0, |e, (n, bit)| if set >> n & 1 == 1 { e | bit } else { e })
        };
        let step = effort(1, 511);
        for old in (0..1 << bits.len()).step_by(step) {
            for new in (0..1 << bits.len()).step_by(step) {
                let (old, new) = (entry(old), entry(new));
                let same = old & PRESENT != 0 && old & checked == new & checked;
                assert_eq!(is_harmless_change(old, new), same, "{old:#x} to {new:#x}");
            }
        }
    }

    #[test]
    fn adjustment_is_idempotent_and_remembers_the_wish() {
        for low in 0..512u64 {
            for high in [0, GUEST_KERNEL, NX, NX | GUEST_KERNEL] {
                let entry = low | high | 0x7000;
                let once = adjust_l1(entry);
                assert_eq!(adjust_l1(once), once);
                if entry & PRESENT == 0 {
                    assert_eq!(once, entry);
                } else {
                    assert_ne!(once & USER, 0);
                    assert_eq!(once & GUEST_KERNEL != 0, entry & USER == 0 || entry & GUEST_KERNEL != 0);
                }
            }
        }
    }
}
