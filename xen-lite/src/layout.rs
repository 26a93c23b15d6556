//! Where things are in the virtual address space.
//!
//! The public interface gives the hypervisor the addresses 0xffff800000000000 to 0xffff87ffffffffff, the entries 256 to 271
//! of the top-level table, in every address space. Inside:
//!
//! | from | entry | what |
//! |---|---|---|
//! | 0xffff800000000000 | 256 | machine-to-physical table, read-only for guests (fixed by the public interface) |
//! | 0xffff820000000000 | 260 | per CPU, 2 MiB apart: 16 pages of GDT, 16 pages of LDT, a page with what entries need |
//! | 0xffff820040000000 | 260 | per CPU, 2 MiB apart: stacks |
//! | 0xffff828000000000 | 261 | registers of devices, uncached |
//! | 0xffff82d040000000 | 261 | the image, at this address plus its physical one |
//! | 0xffff830000000000 | 262–271 | direct map of all RAM (up to 5 TiB) |
//!
//! With XPTI ([`crate::memory::split`]) guests run on roots that have of all this: the machine-to-physical table, the running
//! CPU's own 2 MiB from 0xffff820000000000, and of the image the pages of guarded entry code and the IDT.

/// First byte that no guest can map.
pub const HYPERVISOR_START: u64 = 0xffff_8000_0000_0000;
/// First byte after what no guest can map.
pub const HYPERVISOR_END: u64 = 0xffff_8800_0000_0000;
/// First and last entry of a top-level table that the hypervisor fills.
pub const HYPERVISOR_SLOTS: core::ops::RangeInclusive<usize> = 256..=271;
/// Machine-to-physical table.
pub const M2P: u64 = HYPERVISOR_START;
/// Descriptor-table windows.
pub const DESCRIPTORS: u64 = 0xffff_8200_0000_0000;
/// Distance of one CPU's descriptor-table window to the next.
pub const DESCRIPTORS_STRIDE: u64 = 2 << 20;
/// Stacks, as far from each other as the windows.
pub const STACKS: u64 = DESCRIPTORS + (1 << 30);
/// Device registers.
pub const MMIO: u64 = 0xffff_8280_0000_0000;
/// What is added to a physical address of the image.
pub const IMAGE: u64 = 0xffff_82d0_4000_0000;
/// Direct map.
pub const DIRECT: u64 = 0xffff_8300_0000_0000;
/// Bytes that the direct map can hold.
pub const DIRECT_SIZE: u64 = 10 << 39;

/// Most CPUs that the hypervisor drives; sets of CPUs are 64-bit masks.
pub const MAX_CPUS: usize = 64;

/// The direct map's address of a physical address.
#[inline(always)]
pub const fn direct(physical: u64) -> u64 {
    DIRECT + physical
}
