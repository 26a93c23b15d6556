//! `features.h`: numbers of feature bits, as in `XENVER_get_features` and in the kernel's ELF notes.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

/// If set, the guest does not need to write-protect its pagetables, and can update them via direct writes.
pub const XENFEAT_WRITABLE_PAGE_TABLES: u32 = 0;
/// If set, the guest does not need to write-protect its segment descriptor tables, and can update them via
/// direct writes.
pub const XENFEAT_WRITABLE_DESCRIPTOR_TABLES: u32 = 1;
/// If set, translation between the guest's 'pseudo-physical' address space and the host's machine address
/// space are handled by the hypervisor. In this mode the guest does not need to perform phys-to/from-machine
/// translations when performing page table operations.
pub const XENFEAT_AUTO_TRANSLATED_PHYSMAP: u32 = 2;
/// If set, the guest is running in supervisor mode (e.g., x86 ring 0).
pub const XENFEAT_SUPERVISOR_MODE_KERNEL: u32 = 3;
/// If set, the guest does not need to allocate x86 PAE page directories below 4GB. This flag is usually
/// implied by auto_translated_physmap.
pub const XENFEAT_PAE_PGDIR_ABOVE_4GB: u32 = 4;
/// x86: Does this Xen host support the MMU_PT_UPDATE_PRESERVE_AD hypercall?
pub const XENFEAT_MMU_PT_UPDATE_PRESERVE_AD: u32 = 5;
/// x86: Does this Xen host support the MMU_{CLEAR,COPY}_PAGE hypercall?
pub const XENFEAT_HIGHMEM_ASSIST: u32 = 6;
/// If set, GNTTABOP_map_grant_ref honors flags to be placed into guest kernel available pte bits.
pub const XENFEAT_GNTTAB_MAP_AVAIL_BITS: u32 = 7;
/// x86: Does this Xen host support the HVM callback vector type?
pub const XENFEAT_HVM_CALLBACK_VECTOR: u32 = 8;
/// x86: pvclock algorithm is safe to use on HVM.
pub const XENFEAT_HVM_SAFE_PVCLOCK: u32 = 9;
/// x86: pirq can be used by HVM guests.
pub const XENFEAT_HVM_PIRQS: u32 = 10;
/// Operation as Dom0 is supported.
pub const XENFEAT_DOM0: u32 = 11;
/// Guest can use XENMEMF_vnode to specify virtual node for memory op.
pub const XENFEAT_MEMORY_OP_VNODE_SUPPORTED: u32 = 13;
/// Arm: Hypervisor supports ARM SMC calling convention.
pub const XENFEAT_ARM_SMCCC_SUPPORTED: u32 = 14;
/// x86/PVH: If set, ACPI RSDP can be placed at any address. Otherwise RSDP must be located in lower 1MB, as
/// required by ACPI Specification for IA-PC systems. This feature flag is only consulted if
/// XEN_ELFNOTE_GUEST_OS contains the "linux" string.
pub const XENFEAT_LINUX_RSDP_UNRESTRICTED: u32 = 15;
/// A direct-mapped (or 1:1 mapped) domain is a domain for which its local pages have gfn == mfn. If a domain
/// is direct-mapped, XENFEAT_direct_mapped is set; otherwise XENFEAT_not_direct_mapped is set.
pub const XENFEAT_NOT_DIRECT_MAPPED: u32 = 16;
pub const XENFEAT_DIRECT_MAPPED: u32 = 17;
pub const XENFEAT_NR_SUBMAPS: u32 = 1;
