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
        for harmless in [0, END, 0x000f_ffff_ffff_f000, !PRESENT, 0x200 | 1 << 60, 0x1234_5001, END | 0x80] {
            assert!(is_safe(harmless, END), "{harmless:#x}");
        }
        for harmful in [0x1000, 0x1234_5000, END - 0x1000, 0x3fff_f000 | 1 << 63, 0x80, 0x1000 | 1 << 58] {
            assert!(!is_safe(harmful, END), "{harmful:#x}");
        }
    }

    /// With the weakness, a domain without hardware gets no such entry into any table, by no way; the first domain may.
    #[test]
    fn tables_refuse_them() {
        use crate::addr::VcpuId;
        use crate::fail::{Errno, Fail};
        use crate::hypercall::mm::mmu_update;
        use crate::mm::testing::space_of;
        use crate::platform::Platform;
        for (privileged, affected, verdict) in
            [(false, true, Err(Fail::Errno(Errno::EINVAL))), (false, false, Ok(())), (true, true, Ok(()))]
        {
            let mut space = space_of(privileged);
            space.hv.config.speculation.l1tf_domu = affected;
            let write = |table: crate::addr::Mfn, value: u64| {
                let list = space.put(0, &[table.raw() << 12 | 40 << 3, value]);
                space.call(|hv, caller| mmu_update(hv, caller, &mut [list, 1, 0, 0x7ff0, 0, 0])).map(drop)
            };
            let ram = space.foreign.raw() << 12 | 0x80;
            for table in [space.l1, space.l2, space.l3, space.root] {
                assert_eq!(write(table, ram), verdict);
                assert_eq!(write(table, 0), Ok(()));
                assert_eq!(write(table, !ram & !PRESENT), Ok(()), "inverted");
                assert_eq!(write(table, 0), Ok(()));
            }
            // The same in tables that are yet to be validated.
            for kind in [crate::frame::Kind::L1, crate::frame::Kind::L2] {
                let table = space.spare(0);
                space.hv.platform.clear(table);
                space.hv.platform.store(table, 7, ram);
                let found = crate::frame::get_page_type(&space.hv, table, space.domain.id, kind);
                assert_eq!(found.is_ok(), verdict.is_ok(), "{kind:?}");
                if found.is_ok() {
                    crate::frame::put_page_type(&space.hv, table);
                }
            }
            assert!(space.domain.vcpu(VcpuId::new(0)).is_some());
            space.audit();
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
