//! `arch-x86/xen.h`: trap tables, vCPU contexts, the x86 parts of the shared page and of a domain's
//! configuration.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

use super::CpuUserRegs;

/// A number of GDT entries are reserved by Xen. These are not situated at the start of the GDT because some
/// stupid OSes export hard-coded selector values in their ABI. These hard-coded values are always near the
/// start of the GDT, so Xen places itself out of the way, at the far end of the GDT.
pub const FIRST_RESERVED_GDT_PAGE: usize = 14;
pub const FIRST_RESERVED_GDT_BYTE: usize = FIRST_RESERVED_GDT_PAGE * 4096;
pub const FIRST_RESERVED_GDT_ENTRY: usize = FIRST_RESERVED_GDT_BYTE / 8;
/// Maximum number of virtual CPUs in legacy multi-processor guests.
pub const XEN_LEGACY_MAX_VCPUS: usize = 32;

structs! {
    /// `struct trap_info`: Where a PV guest handles one vector; an entry with a zero address ends the table.
    pub struct TrapInfo {
        /// Exception vector.
        vector: u8,
        /// 0-3: privilege level; 4: clear event enable?
        flags: u8,
        /// Code selector.
        cs: u16,
        _pad0: [u8; 4],
        /// Code offset.
        address: u64,
    }

    /// Member `fpu_ctxt` of [`VcpuGuestContext`]: FPU registers come first so they can be aligned for
    /// FXSAVE/FXRSTOR.
    pub struct VcpuGuestContextFpuCtxt {
        x: [u8; 512],
    }

    /// `struct vcpu_guest_context`: The whole state of a PV vCPU, as the toolstack or `VCPUOP_initialise` sets it.
    pub struct VcpuGuestContext {
        /// FPU registers come first so they can be aligned for FXSAVE/FXRSTOR.
        fpu_ctxt: VcpuGuestContextFpuCtxt,
        /// VGCF_* flags.
        flags: u64,
        /// User-level CPU registers.
        user_regs: CpuUserRegs,
        /// Virtual IDT.
        trap_ctxt: [TrapInfo; 256],
        /// LDT (linear address, # ents).
        ldt_base: u64,
        /// LDT (linear address, # ents).
        ldt_ents: u64,
        /// GDT (machine frames, # ents).
        gdt_frames: [u64; 16],
        /// GDT (machine frames, # ents).
        gdt_ents: u64,
        /// Virtual TSS (only SS1/SP1).
        kernel_ss: u64,
        /// Virtual TSS (only SS1/SP1).
        kernel_sp: u64,
        /// CR0-CR7 (control registers).
        ctrlreg: [u64; 8],
        /// DB0-DB7 (debug registers).
        debugreg: [u64; 8],
        event_callback_eip: u64,
        failsafe_callback_eip: u64,
        syscall_callback_eip: u64,
        /// VMASST_TYPE_* bitmap.
        vm_assist: u64,
        /// Segment base addresses.
        fs_base: u64,
        gs_base_kernel: u64,
        gs_base_user: u64,
    }
}

pub const VGCF_I387_VALID: u64 = 1 << 0;
pub const VGCF_IN_KERNEL: u64 = 1 << 2;
pub const VGCF_FAILSAFE_DISABLES_EVENTS: u64 = 1 << 3;
pub const VGCF_SYSCALL_DISABLES_EVENTS: u64 = 1 << 4;
pub const VGCF_ONLINE: u64 = 1 << 5;

structs! {
    /// `struct arch_shared_info`: The x86 part of the shared page: where the guest keeps its P2M, and NMI reasons.
    pub struct ArchSharedInfo {
        /// Number of valid entries in the p2m table(s) anchored at pfn_to_mfn_frame_list_list and/or p2m_vaddr.
        max_pfn: u64,
        /// Frame containing list of mfns containing list of mfns containing p2m. A value of 0 indicates it has
        /// not yet been set up, ~0 indicates it has been set to invalid e.g. due to the p2m being too large for
        /// the 3-level p2m tree. In this case the linear mapper p2m list anchored at p2m_vaddr is to be used.
        pfn_to_mfn_frame_list_list: u64,
        nmi_reason: u64,
        /// Following three fields are valid if p2m_cr3 contains a value different from.
        p2m_cr3: u64,
        /// Virtual address of the p2m list.
        p2m_vaddr: u64,
        /// Generation count of p2m mapping.
        p2m_generation: u64,
    }

    /// `struct xen_arch_domainconfig`: The x86 part of a domain's configuration.
    pub struct ArchDomainconfig {
        emulation_flags: u32,
        misc_flags: u32,
    }
}

pub const XEN_X86_EMU_LAPIC: u32 = 1 << 0;
pub const XEN_X86_EMU_HPET: u32 = 1 << 1;
pub const XEN_X86_EMU_PM: u32 = 1 << 2;
pub const XEN_X86_EMU_RTC: u32 = 1 << 3;
pub const XEN_X86_EMU_IOAPIC: u32 = 1 << 4;
pub const XEN_X86_EMU_PIC: u32 = 1 << 5;
pub const XEN_X86_EMU_VGA: u32 = 1 << 6;
pub const XEN_X86_EMU_IOMMU: u32 = 1 << 7;
pub const XEN_X86_EMU_PIT: u32 = 1 << 8;
pub const XEN_X86_EMU_USE_PIRQ: u32 = 1 << 9;
pub const XEN_X86_EMU_VPCI: u32 = 1 << 10;
pub const XEN_X86_EMU_ALL: u32 = XEN_X86_EMU_LAPIC
    | XEN_X86_EMU_HPET
    | XEN_X86_EMU_PM
    | XEN_X86_EMU_RTC
    | XEN_X86_EMU_IOAPIC
    | XEN_X86_EMU_PIC
    | XEN_X86_EMU_VGA
    | XEN_X86_EMU_IOMMU
    | XEN_X86_EMU_PIT
    | XEN_X86_EMU_USE_PIRQ
    | XEN_X86_EMU_VPCI;
/// Select whether to use a relaxed behavior for accesses to MSRs not explicitly handled by Xen instead of
/// injecting a #GP to the guest. Note this option doesn't allow the guest to read or write to the underlying
/// MSR.
pub const XEN_X86_MSR_RELAXED: u32 = 1 << 0;
/// Max XEN_X86_* constant. Used for ABI checking.
pub const XEN_X86_MISC_FLAGS_MAX: u32 = XEN_X86_MSR_RELAXED;

structs! {
    /// `struct xen_cpuid_leaf`: One CPUID leaf of a policy.
    pub struct CpuidLeaf {
        leaf: u32,
        subleaf: u32,
        a: u32,
        b: u32,
        c: u32,
        d: u32,
    }
}

pub const XEN_CPUID_NO_SUBLEAF: u32 = 0xffffffff;

structs! {
    /// `struct xen_msr_entry`: One MSR of a policy or of a vCPU.
    pub struct MsrEntry {
        idx: u32,
        /// Reserved MBZ.
        flags: u32,
        val: u64,
    }
}

/// Debug console IO port, also called "port E9 hack". Each character written to this IO port will be printed
/// on the hypervisor console, subject to log level restrictions.
pub const XEN_HVM_DEBUGCONS_IOPORT: u16 = 0xe9;
