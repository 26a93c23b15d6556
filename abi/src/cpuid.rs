//! `arch-x86/cpuid.h`: the CPUID leaves of the hypervisor, from 0x40000000 (or the next multiple of 0x100).
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

/// The lowest MSR of Xen; `XEN_CPUID_LEAF(2)` names it. Writing a frame address there fills that frame as hypercall page.
pub const XEN_HYPERCALL_MSR: u32 = 0x4000_0000;

pub const XEN_CPUID_FIRST_LEAF: u32 = 0x40000000;
/// "XenV".
pub const XEN_CPUID_SIGNATURE_EBX: u32 = 0x566e6558;
/// "MMXe".
pub const XEN_CPUID_SIGNATURE_ECX: u32 = 0x65584d4d;
/// "nVMM".
pub const XEN_CPUID_SIGNATURE_EDX: u32 = 0x4d4d566e;
pub const XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD: u32 = 1 << 0;
/// Virtualized APIC registers.
pub const XEN_HVM_CPUID_APIC_ACCESS_VIRT: u32 = 1 << 0;
/// Virtualized x2APIC accesses.
pub const XEN_HVM_CPUID_X2APIC_VIRT: u32 = 1 << 1;
/// Memory mapped from other domains has valid IOMMU entries.
pub const XEN_HVM_CPUID_IOMMU_MAPPINGS: u32 = 1 << 2;
/// Vcpu id is present in EBX.
pub const XEN_HVM_CPUID_VCPU_ID_PRESENT: u32 = 1 << 3;
/// Domid is present in ECX.
pub const XEN_HVM_CPUID_DOMID_PRESENT: u32 = 1 << 4;
/// With interrupt format set to 0 (non-remappable) bits 55:49 from the IO-APIC RTE and bits 11:5 from the
/// MSI address can be used to store high bits for the Destination ID. This expands the Destination ID field
/// from 8 to 15 bits, allowing to target APIC IDs up 32768.
pub const XEN_HVM_CPUID_EXT_DEST_ID: u32 = 1 << 5;
/// Per-vCPU event channel upcalls work correctly with physical IRQs bound to event channels.
pub const XEN_HVM_CPUID_UPCALL_VECTOR: u32 = 1 << 6;
/// Max. address width in bits taking memory hotplug into account.
pub const XEN_CPUID_MACHINE_ADDRESS_WIDTH_MASK: u32 = 0xff;
pub const XEN_CPUID_MAX_NUM_LEAVES: u32 = 5;
