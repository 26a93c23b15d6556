//! `domctl.h`: everything a toolstack does to one domain.
//!
//! The argument is a [`Domctl`]: command, interface version, domain, and a union of 128 bytes with one member
//! per command. The version must be [`XEN_DOMCTL_INTERFACE_VERSION`]; the hypervisor answers `EACCES`
//! otherwise.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

use crate::event_channel::EvtchnPort;
use crate::memory::Vmemrange;
use crate::xen::{
    ArchDomainconfig, CpuidLeaf, DomainHandle, Domid, MsrEntry, VcpuGuestContext, XenctlBitmap,
};
use crate::{GuestPtr, Union};

structs! {
    /// `struct xen_domctl_ext_vcpucontext`: callbacks of 32-bit entries and the machine-check banks of a vCPU.
    pub struct DomctlExtVcpucontext {
        /// The vCPU.
        vcpu: u32,
        /// Bytes of this structure that are meant; in for set, out for get.
        size: u32,
        /// Callback of SYSCALL from 32-bit mode.
        syscall32_callback_eip: u64,
        /// Callback of SYSENTER.
        sysenter_callback_eip: u64,
        /// Selector of the SYSCALL callback.
        syscall32_callback_cs: u16,
        /// Selector of the SYSENTER callback.
        sysenter_callback_cs: u16,
        /// Whether SYSCALL masks events.
        syscall32_disables_events: u8,
        /// Whether SYSENTER masks events.
        sysenter_disables_events: u8,
        _pad0: [u8; 2],
        /// `MCG_CAP`; the first word of `vmce`.
        mcg_cap: u64,
        /// `MC0_CTL2`.
        mci_ctl2_bank0: u64,
        /// `MC1_CTL2`.
        mci_ctl2_bank1: u64,
        /// `MCG_EXT_CTL`.
        mcg_ext_ctl: u64,
    }
}

pub const XEN_DOMCTL_INTERFACE_VERSION: u32 = 0x00000015;

structs! {
    /// `struct xen_domctl_createdomain`: Argument of `XEN_DOMCTL_createdomain`.
    pub struct DomctlCreatedomain {
        ssidref: u32,
        handle: DomainHandle,
        flags: u32,
        iommu_opts: u32,
        /// Various domain limits, which impact the quantity of resources (global mapping space, xenheap, etc) a
        /// guest may consume. For max_grant_frames and max_maptrack_frames, < 0 means "use the default maximum
        /// value in the hypervisor".
        max_vcpus: u32,
        max_evtchn_port: u32,
        max_grant_frames: i32,
        max_maptrack_frames: i32,
        grant_opts: u32,
        /// Per-vCPU buffer size in bytes. 0 to disable.
        vmtrace_size: u32,
        /// CPU pool to use; specify 0 or a specific existing pool.
        cpupool_id: u32,
        arch: ArchDomainconfig,
    }
}

pub const XEN_DOMCTL_CDF_HVM: u32 = 1 << 0;
pub const XEN_DOMCTL_CDF_HAP: u32 = 1 << 1;
pub const XEN_DOMCTL_CDF_S3_INTEGRITY: u32 = 1 << 2;
pub const XEN_DOMCTL_CDF_OOS_OFF: u32 = 1 << 3;
pub const XEN_DOMCTL_CDF_XS_DOMAIN: u32 = 1 << 4;
pub const XEN_DOMCTL_CDF_IOMMU: u32 = 1 << 5;
pub const XEN_DOMCTL_CDF_NESTED_VIRT: u32 = 1 << 6;
/// Should we expose the vPMU to the guest?
pub const XEN_DOMCTL_CDF_VPMU: u32 = 1 << 7;
/// Max XEN_DOMCTL_CDF_* constant. Used for ABI checking.
pub const XEN_DOMCTL_CDF_MAX: u32 = XEN_DOMCTL_CDF_VPMU;
pub const XEN_DOMCTL_IOMMU_NO_SHAREPT: u32 = 1 << 0;
/// Max XEN_DOMCTL_IOMMU_* constant. Used for ABI checking.
pub const XEN_DOMCTL_IOMMU_MAX: u32 = XEN_DOMCTL_IOMMU_NO_SHAREPT;
/// Grant version, use low 4 bits.
pub const XEN_DOMCTL_GRANT_VERSION_MASK: u32 = 0xf;

structs! {
    /// `struct xen_domctl_getdomaininfo`: Argument of `XEN_DOMCTL_getdomaininfo`.
    pub struct DomctlGetdomaininfo {
        /// Also echoed in domctl.domain.
        domain: Domid,
        pad1: u16,
        /// Takes `XEN_DOMINF_*` values.
        flags: u32,
        tot_pages: u64,
        max_pages: u64,
        outstanding_pages: u64,
        shr_pages: u64,
        paged_pages: u64,
        /// GMFN of shared_info struct.
        shared_info_frame: u64,
        cpu_time: u64,
        /// Number of VCPUs currently online.
        nr_online_vcpus: u32,
        /// Maximum VCPUID in use by this domain.
        max_vcpu_id: u32,
        ssidref: u32,
        handle: DomainHandle,
        cpupool: u32,
        /// Guest physical address space size.
        gpaddr_bits: u8,
        pad2: [u8; 7],
        arch_config: ArchDomainconfig,
    }
}

pub const XEN_DOMINF_DYING: u32 = 1 << 0;
pub const XEN_DOMINF_HVM_GUEST: u32 = 1 << 1;
pub const XEN_DOMINF_SHUTDOWN: u32 = 1 << 2;
pub const XEN_DOMINF_PAUSED: u32 = 1 << 3;
pub const XEN_DOMINF_BLOCKED: u32 = 1 << 4;
pub const XEN_DOMINF_RUNNING: u32 = 1 << 5;
pub const XEN_DOMINF_DEBUGGED: u32 = 1 << 6;
pub const XEN_DOMINF_XS_DOMAIN: u32 = 1 << 7;
pub const XEN_DOMINF_HAP: u32 = 1 << 8;
/// `XEN_DOMINF_shutdown` guest-supplied code.
pub const XEN_DOMINF_SHUTDOWNMASK: u32 = 255;
pub const XEN_DOMINF_SHUTDOWNSHIFT: u32 = 16;
/// Domain has no vcpus?
pub const XEN_INVALID_MAX_VCPU_ID: u32 = 0xffffffff;
pub const XEN_DOMCTL_PFINFO_LTAB_SHIFT: u32 = 28;
pub const XEN_DOMCTL_PFINFO_NOTAB: u32 = 0x0 << 28;
pub const XEN_DOMCTL_PFINFO_L1TAB: u32 = 0x1 << 28;
pub const XEN_DOMCTL_PFINFO_L2TAB: u32 = 0x2 << 28;
pub const XEN_DOMCTL_PFINFO_L3TAB: u32 = 0x3 << 28;
pub const XEN_DOMCTL_PFINFO_L4TAB: u32 = 0x4 << 28;
pub const XEN_DOMCTL_PFINFO_LTABTYPE_MASK: u32 = 0x7 << 28;
pub const XEN_DOMCTL_PFINFO_LPINTAB: u32 = 0x1 << 31;
/// Invalid page.
pub const XEN_DOMCTL_PFINFO_XTAB: u32 = 0xf << 28;
/// allocate-only page.
pub const XEN_DOMCTL_PFINFO_XALLOC: u32 = 0xe << 28;
/// Broken page.
pub const XEN_DOMCTL_PFINFO_BROKEN: u32 = 0xd << 28;
pub const XEN_DOMCTL_PFINFO_LTAB_MASK: u32 = 0xf << 28;

structs! {
    /// `struct xen_domctl_getpageframeinfo3`: Both value `num` and `array` may get modified by the hypercall to
    /// allow preemption.
    pub struct DomctlGetpageframeinfo3 {
        num: u64,
        array: GuestPtr<u64>,
    }
}

/// Disable shadow mode.
pub const XEN_DOMCTL_SHADOW_OP_OFF: u32 = 0;
/// Enable shadow mode (mode contains ORed XEN_DOMCTL_SHADOW_ENABLE_* flags).
pub const XEN_DOMCTL_SHADOW_OP_ENABLE: u32 = 32;
/// Return the bitmap and clean internal copy for next round.
pub const XEN_DOMCTL_SHADOW_OP_CLEAN: u32 = 11;
/// Return the bitmap but do not modify internal copy.
pub const XEN_DOMCTL_SHADOW_OP_PEEK: u32 = 12;
/// Memory allocation accessors. These APIs are broken and will be removed. Use
/// XEN_DOMCTL_{get,set}_paging_mempool_size instead.
pub const XEN_DOMCTL_SHADOW_OP_GET_ALLOCATION: u32 = 30;
pub const XEN_DOMCTL_SHADOW_OP_SET_ALLOCATION: u32 = 31;
/// Equiv. to ENABLE with no mode flags.
pub const XEN_DOMCTL_SHADOW_OP_ENABLE_TEST: u32 = 1;
/// Equiv. to ENABLE with mode flag ENABLE_LOG_DIRTY.
pub const XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY: u32 = 2;
/// Shadow pagetables are refcounted: guest does not use explicit mmu operations nor write-protect its
/// pagetables.
pub const XEN_DOMCTL_SHADOW_ENABLE_REFCOUNT: u32 = 1 << 1;
/// Log pages in a bitmap as they are dirtied. Used for live relocation to determine which pages must be
/// re-sent.
pub const XEN_DOMCTL_SHADOW_ENABLE_LOG_DIRTY: u32 = 1 << 2;
/// Automatically translate GPFNs into MFNs.
pub const XEN_DOMCTL_SHADOW_ENABLE_TRANSLATE: u32 = 1 << 3;
/// Xen does not steal virtual address space from the guest. Requires HVM support.
pub const XEN_DOMCTL_SHADOW_ENABLE_EXTERNAL: u32 = 1 << 4;
/// This is the final iteration: Requesting to include pages mapped writably by the hypervisor in the dirty
/// bitmap.
pub const XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL: u32 = 1 << 0;

structs! {
    /// `struct xen_domctl_shadow_op_stats`.
    pub struct DomctlShadowOpStats {
        fault_count: u32,
        dirty_count: u32,
    }

    /// `struct xen_domctl_shadow_op`.
    pub struct DomctlShadowOp {
        /// Takes `XEN_DOMCTL_SHADOW_OP_*` values.
        op: u32,
        /// `OP_PEAK` / OP_CLEAN: XEN_DOMCTL_SHADOW_LOGDIRTY_.
        mode: u32,
        /// `OP_GET_ALLOCATION` / OP_SET_ALLOCATION.
        mb: u32,
        _pad0: [u8; 4],
        /// `OP_PEEK` / OP_CLEAN.
        dirty_bitmap: GuestPtr<u8>,
        /// Size of buffer. Updated with actual size.
        pages: u64,
        stats: DomctlShadowOpStats,
    }

    /// `struct xen_domctl_max_mem`: Argument of `XEN_DOMCTL_max_mem`.
    pub struct DomctlMaxMem {
        max_memkb: u64,
    }

    /// `struct xen_domctl_vcpucontext`: Argument of `XEN_DOMCTL_getvcpucontext`.
    pub struct DomctlVcpucontext {
        vcpu: u32,
        _pad0: [u8; 4],
        ctxt: GuestPtr<VcpuGuestContext>,
    }

    /// `struct xen_domctl_getvcpuinfo`: Argument of `XEN_DOMCTL_getvcpuinfo`.
    pub struct DomctlGetvcpuinfo {
        vcpu: u32,
        /// Currently online (not hotplugged)?
        online: u8,
        /// Blocked waiting for an event?
        blocked: u8,
        /// Currently scheduled on its CPU?
        running: u8,
        _pad0: [u8; 1],
        /// Total cpu time consumed (ns).
        cpu_time: u64,
        /// Current mapping.
        cpu: u32,
        _pad1: [u8; 4],
    }

    /// `struct xen_domctl_nodeaffinity`: Argument of `XEN_DOMCTL_getnodeaffinity`.
    pub struct DomctlNodeaffinity {
        nodemap: XenctlBitmap,
    }

    /// `struct xen_domctl_vcpuaffinity`: Argument of `XEN_DOMCTL_getvcpuaffinity`.
    pub struct DomctlVcpuaffinity {
        vcpu: u32,
        flags: u32,
        cpumap_hard: XenctlBitmap,
        cpumap_soft: XenctlBitmap,
    }
}

pub const XEN_VCPUAFFINITY_HARD: u32 = 1 << 0;
pub const XEN_VCPUAFFINITY_SOFT: u32 = 1 << 1;
pub const XEN_VCPUAFFINITY_FORCE: u32 = 1 << 2;

structs! {
    /// `struct xen_domctl_max_vcpus`: XEN_DOMCTL_max_vcpus:
    pub struct DomctlMaxVcpus {
        /// Maximum number of vcpus.
        max: u32,
    }
}

pub const XEN_SCHEDULER_CREDIT: u32 = 5;
pub const XEN_SCHEDULER_CREDIT2: u32 = 6;
pub const XEN_SCHEDULER_ARINC653: u32 = 7;
pub const XEN_SCHEDULER_RTDS: u32 = 8;
pub const XEN_SCHEDULER_NULL: u32 = 9;

structs! {
    /// `struct xen_domctl_sched_credit`.
    pub struct DomctlSchedCredit {
        weight: u16,
        cap: u16,
    }

    /// `struct xen_domctl_sched_credit2`.
    pub struct DomctlSchedCredit2 {
        weight: u16,
        cap: u16,
    }

    /// `struct xen_domctl_sched_rtds`.
    pub struct DomctlSchedRtds {
        period: u32,
        budget: u32,
        flags: u32,
    }
}

pub const XEN_DOMCTL_SCHEDRT_EXTRA: u32 = 1 << 0;

structs! {
    /// `struct xen_domctl_schedparam_vcpu`.
    pub struct DomctlSchedparamVcpu {
        u: Union<u32, 3>,
        vcpuid: u32,
    }
}

union_accessors! {
    DomctlSchedparamVcpu.u {
        as_credit, set_credit: DomctlSchedCredit,
        as_credit2, set_credit2: DomctlSchedCredit2,
        as_rtds, set_rtds: DomctlSchedRtds,
    }
}

/// Set or get info? For schedulers supporting per-vcpu settings (e.g., RTDS): XEN_DOMCTL_SCHEDOP_putinfo
/// sets params for all vcpus; XEN_DOMCTL_SCHEDOP_getinfo gets default params;
/// XEN_DOMCTL_SCHEDOP_put(get)vcpuinfo sets (gets) params of vcpus;.
pub const XEN_DOMCTL_SCHEDOP_PUTINFO: u32 = 0;
pub const XEN_DOMCTL_SCHEDOP_GETINFO: u32 = 1;
pub const XEN_DOMCTL_SCHEDOP_PUTVCPUINFO: u32 = 2;
pub const XEN_DOMCTL_SCHEDOP_GETVCPUINFO: u32 = 3;

structs! {
    /// Member `u.v` of [`DomctlSchedulerOp`].
    pub struct DomctlSchedulerOpV {
        vcpus: GuestPtr<DomctlSchedparamVcpu>,
        /// IN: Number of elements in vcpus array. OUT: Number of processed elements of vcpus array.
        nr_vcpus: u32,
        padding: u32,
    }

    /// `struct xen_domctl_scheduler_op`.
    pub struct DomctlSchedulerOp {
        /// Takes `XEN_SCHEDULER_*` values.
        sched_id: u32,
        /// Takes `XEN_DOMCTL_SCHEDOP_*` values.
        cmd: u32,
        u: Union<u64, 2>,
    }
}

union_accessors! {
    DomctlSchedulerOp.u {
        as_credit, set_credit: DomctlSchedCredit,
        as_credit2, set_credit2: DomctlSchedCredit2,
        as_rtds, set_rtds: DomctlSchedRtds,
    }
}

structs! {
    /// `struct xen_domctl_setdomainhandle`: Argument of `XEN_DOMCTL_setdomainhandle`.
    pub struct DomctlSetdomainhandle {
        handle: DomainHandle,
    }

    /// `struct xen_domctl_setdebugging`: Argument of `XEN_DOMCTL_setdebugging`.
    pub struct DomctlSetdebugging {
        enable: u8,
    }

    /// `struct xen_domctl_irq_permission`: Argument of `XEN_DOMCTL_irq_permission`.
    pub struct DomctlIrqPermission {
        pirq: u32,
        /// Flag to specify enable/disable of IRQ access.
        allow_access: u8,
        pad: [u8; 3],
    }

    /// `struct xen_domctl_iomem_permission`: Argument of `XEN_DOMCTL_iomem_permission`.
    pub struct DomctlIomemPermission {
        /// First page (physical page number) in range.
        first_mfn: u64,
        /// Number of pages in range (>0).
        nr_mfns: u64,
        /// Allow (!0) or deny (0) access to range?
        allow_access: u8,
        _pad0: [u8; 7],
    }

    /// `struct xen_domctl_ioport_permission`: Argument of `XEN_DOMCTL_ioport_permission`.
    pub struct DomctlIoportPermission {
        /// First port int range.
        first_port: u32,
        /// Size of port range.
        nr_ports: u32,
        /// Allow or deny access to range?
        allow_access: u8,
        _pad0: [u8; 3],
    }

    /// `struct xen_domctl_hypercall_init`: Argument of `XEN_DOMCTL_hypercall_init`.
    pub struct DomctlHypercallInit {
        /// GMFN to be initialised.
        gmfn: u64,
    }

    /// `struct xen_domctl_settimeoffset`: Argument of `XEN_DOMCTL_settimeoffset`.
    pub struct DomctlSettimeoffset {
        /// Applied to domain wallclock time.
        time_offset_seconds: i64,
    }

    /// `struct xen_domctl_hvmcontext`: Argument of `XEN_DOMCTL_sethvmcontext`.
    pub struct DomctlHvmcontext {
        /// IN/OUT: size of buffer / bytes filled.
        size: u32,
        _pad0: [u8; 4],
        /// IN/OUT: data, or call gethvmcontext with NULL buffer to get size req'd.
        buffer: GuestPtr<u8>,
    }

    /// `struct xen_domctl_address_size`: Argument of `XEN_DOMCTL_get_address_size`.
    pub struct DomctlAddressSize {
        size: u32,
    }
}

pub const XEN_DOMCTL_SENDTRIGGER_NMI: u32 = 0;
pub const XEN_DOMCTL_SENDTRIGGER_RESET: u32 = 1;
pub const XEN_DOMCTL_SENDTRIGGER_INIT: u32 = 2;
pub const XEN_DOMCTL_SENDTRIGGER_POWER: u32 = 3;
pub const XEN_DOMCTL_SENDTRIGGER_SLEEP: u32 = 4;

structs! {
    /// `struct xen_domctl_sendtrigger`.
    pub struct DomctlSendtrigger {
        trigger: u32,
        vcpu: u32,
    }
}

/// (`XEN_DOMCTL_deassign_device`) The behavior of this DOMCTL differs between the different type of device:
/// – PCI device (XEN_DOMCTL_DEV_PCI) will be reassigned to DOM0 – DT device (XEN_DOMCTL_DEV_DT) will left
/// unassigned. DOM0 will have to call XEN_DOMCTL_assign_device in order to use the device.
pub const XEN_DOMCTL_DEV_PCI: u32 = 0;
pub const XEN_DOMCTL_DEV_DT: u32 = 1;

structs! {
    /// Member `u.pci` of [`DomctlAssignDevice`].
    pub struct DomctlAssignDevicePci {
        /// Machine PCI ID of assigned device.
        machine_sbdf: u32,
    }

    /// Member `u.dt` of [`DomctlAssignDevice`].
    pub struct DomctlAssignDeviceDt {
        /// Length of the path.
        size: u32,
        _pad0: [u8; 4],
        /// Path to the device tree node.
        path: GuestPtr<u8>,
    }

    /// `struct xen_domctl_assign_device`.
    pub struct DomctlAssignDevice {
        /// Takes `XEN_DOMCTL_DEV_*` values.
        dev: u32,
        flags: u32,
        u: Union<u64, 2>,
    }
}

union_accessors! {
    DomctlAssignDevice.u {
        as_pci, set_pci: DomctlAssignDevicePci,
        as_dt, set_dt: DomctlAssignDeviceDt,
    }
}

/// Assign only.
pub const XEN_DOMCTL_DEV_RDM_RELAXED: u32 = 1;

structs! {
    /// `struct xen_domctl_get_device_group`: Argument of `XEN_DOMCTL_get_device_group`.
    pub struct DomctlGetDeviceGroup {
        machine_sbdf: u32,
        max_sdevs: u32,
        num_sdevs: u32,
        _pad0: [u8; 4],
        sdev_array: GuestPtr<u32>,
    }
}

pub const PT_IRQ_TYPE_PCI: u32 = 0;
pub const PT_IRQ_TYPE_ISA: u32 = 1;
pub const PT_IRQ_TYPE_MSI: u32 = 2;
pub const PT_IRQ_TYPE_MSI_TRANSLATE: u32 = 3;
/// ARM: valid range 32-1019.
pub const PT_IRQ_TYPE_SPI: u32 = 4;

structs! {
    /// Member `u.isa` of [`DomctlBindPtIrq`].
    pub struct DomctlBindPtIrqIsa {
        isa_irq: u8,
    }

    /// Member `u.pci` of [`DomctlBindPtIrq`].
    pub struct DomctlBindPtIrqPci {
        bus: u8,
        device: u8,
        intx: u8,
    }

    /// Member `u.msi` of [`DomctlBindPtIrq`].
    pub struct DomctlBindPtIrqMsi {
        gvec: u8,
        _pad0: [u8; 3],
        gflags: u32,
        gtable: u64,
    }

    /// Member `u.spi` of [`DomctlBindPtIrq`].
    pub struct DomctlBindPtIrqSpi {
        spi: u16,
    }

    /// `struct xen_domctl_bind_pt_irq`.
    pub struct DomctlBindPtIrq {
        machine_irq: u32,
        /// Enum pt_irq_type.
        irq_type: u32,
        u: Union<u64, 2>,
    }
}

union_accessors! {
    DomctlBindPtIrq.u {
        as_isa, set_isa: DomctlBindPtIrqIsa,
        as_pci, set_pci: DomctlBindPtIrqPci,
        as_msi, set_msi: DomctlBindPtIrqMsi,
        as_spi, set_spi: DomctlBindPtIrqSpi,
    }
}

pub const XEN_DOMCTL_VMSI_X86_DEST_ID_MASK: u32 = 0x0000ff;
pub const XEN_DOMCTL_VMSI_X86_RH_MASK: u32 = 0x000100;
pub const XEN_DOMCTL_VMSI_X86_DM_MASK: u32 = 0x000200;
pub const XEN_DOMCTL_VMSI_X86_DELIV_MASK: u32 = 0x007000;
pub const XEN_DOMCTL_VMSI_X86_TRIG_MASK: u32 = 0x008000;
pub const XEN_DOMCTL_VMSI_X86_UNMASKED: u32 = 0x010000;
pub const DPCI_ADD_MAPPING: u32 = 1;
pub const DPCI_REMOVE_MAPPING: u32 = 0;

structs! {
    /// `struct xen_domctl_memory_mapping`.
    pub struct DomctlMemoryMapping {
        /// First page (hvm guest phys page) in range.
        first_gfn: u64,
        /// First page (machine page) in range.
        first_mfn: u64,
        /// Number of pages in range (>0).
        nr_mfns: u64,
        /// Add or remove mapping.
        add_mapping: u32,
        /// Padding for 64-bit aligned structure.
        padding: u32,
    }

    /// `struct xen_domctl_ioport_mapping`: Argument of `XEN_DOMCTL_ioport_mapping`.
    pub struct DomctlIoportMapping {
        /// First guest IO port.
        first_gport: u32,
        /// First machine IO port.
        first_mport: u32,
        /// Size of port range.
        nr_ports: u32,
        /// Add or remove mapping.
        add_mapping: u32,
    }
}

/// Caching types: these happen to be the same as x86 MTRR/PAT type codes.
pub const XEN_DOMCTL_MEM_CACHEATTR_UC: u32 = 0;
pub const XEN_DOMCTL_MEM_CACHEATTR_WC: u32 = 1;
pub const XEN_DOMCTL_MEM_CACHEATTR_WT: u32 = 4;
pub const XEN_DOMCTL_MEM_CACHEATTR_WP: u32 = 5;
pub const XEN_DOMCTL_MEM_CACHEATTR_WB: u32 = 6;
pub const XEN_DOMCTL_MEM_CACHEATTR_UCM: u32 = 7;
pub const XEN_DOMCTL_DELETE_MEM_CACHEATTR: u32 = 0xffffffff;

structs! {
    /// `struct xen_domctl_set_target`: Argument of `XEN_DOMCTL_set_target`.
    pub struct DomctlSetTarget {
        target: Domid,
    }
}

pub const XEN_CPUID_INPUT_UNUSED: u32 = 0xffffffff;

structs! {
    /// `struct xen_domctl_cpu_policy`: Takes `XEN_DOMCTL_*` values.
    pub struct DomctlCpuPolicy {
        /// IN/OUT: Number of leaves in/written to `leaves`.
        nr_leaves: u32,
        /// IN/OUT: Number of MSRs in/written to `msrs`.
        nr_msrs: u32,
        leaves: GuestPtr<CpuidLeaf>,
        msrs: GuestPtr<MsrEntry>,
        /// OUT, set_policy only. Written in some (but not all) error cases to identify the CPUID leaf/subleaf
        /// and/or MSR which auditing objects to.
        err_leaf: u32,
        /// OUT, set_policy only. Written in some (but not all) error cases to identify the CPUID leaf/subleaf
        /// and/or MSR which auditing objects to.
        err_subleaf: u32,
        /// OUT, set_policy only. Written in some (but not all) error cases to identify the CPUID leaf/subleaf
        /// and/or MSR which auditing objects to.
        err_msr: u32,
        _pad0: [u8; 4],
    }

    /// `struct xen_domctl_subscribe`: Argument of `XEN_DOMCTL_subscribe`.
    pub struct DomctlSubscribe {
        port: u32,
    }
}

pub const XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_OFF: u32 = 0;
pub const XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_ON: u32 = 1;

structs! {
    /// `struct xen_domctl_debug_op`.
    pub struct DomctlDebugOp {
        op: u32,
        vcpu: u32,
    }

    /// `struct xen_domctl_hvmcontext_partial`: Argument of `XEN_DOMCTL_gethvmcontext_partial`.
    pub struct DomctlHvmcontextPartial {
        /// IN: Type of record required.
        type_: u32,
        /// IN: Instance of that type.
        instance: u32,
        /// IN: size of buffer.
        bufsz: u64,
        /// OUT: buffer to write record into.
        buffer: GuestPtr<u8>,
    }

    /// `struct xen_domctl_tsc_info`: Argument of `XEN_DOMCTL_settscinfo`.
    pub struct DomctlTscInfo {
        tsc_mode: u32,
        gtsc_khz: u32,
        incarnation: u32,
        pad: u32,
        elapsed_nsec: u64,
    }

    /// `struct xen_domctl_gdbsx_memio`: `XEN_DOMCTL_gdbsx_guestmemio` guest mem io.
    pub struct DomctlGdbsxMemio {
        /// Optional: `init_mm.pgd[3]` value.
        pgd3val: u64,
        /// Guest virtual address.
        gva: u64,
        /// User buffer virtual address.
        uva: u64,
        /// Number of bytes to read/write.
        len: u32,
        /// 0 = read from guest. 1 = write to guest.
        gwr: u8,
        _pad0: [u8; 3],
        /// Bytes remaining to be copied.
        remain: u32,
        _pad1: [u8; 4],
    }

    /// `struct xen_domctl_gdbsx_pauseunp_vcpu`: Argument of `XEN_DOMCTL_gdbsx_unpausevcpu`.
    pub struct DomctlGdbsxPauseunpVcpu {
        /// pause/unpause a vcpu.
        vcpu: u32,
    }

    /// `struct xen_domctl_gdbsx_domstatus`: Argument of `XEN_DOMCTL_gdbsx_domstatus`.
    pub struct DomctlGdbsxDomstatus {
        /// Is the domain paused.
        paused: u8,
        _pad0: [u8; 3],
        /// Any vcpu in an event?
        vcpu_id: u32,
        /// If yes, what event?
        vcpu_ev: u32,
    }
}

/// There are currently three rings available for VM events: sharing, monitor and paging. This hypercall
/// allows one to control these rings (enable/disable), as well as to signal to the hypervisor to pull
/// responses (resume) from the given ring.
pub const XEN_VM_EVENT_ENABLE: u32 = 0;
pub const XEN_VM_EVENT_DISABLE: u32 = 1;
pub const XEN_VM_EVENT_RESUME: u32 = 2;
pub const XEN_VM_EVENT_GET_VERSION: u32 = 3;
/// Domain memory paging Page memory in and out. Domctl interface to set up and tear down the
/// pager<->hypervisor interface. Use XENMEM_paging_op* to perform per-page operations.
pub const XEN_DOMCTL_VM_EVENT_OP_PAGING: u32 = 1;
/// Monitor helper.
pub const XEN_DOMCTL_VM_EVENT_OP_MONITOR: u32 = 2;
/// Sharing ENOMEM helper.
pub const XEN_DOMCTL_VM_EVENT_OP_SHARING: u32 = 3;

structs! {
    /// Member `u.enable` of [`DomctlVmEventOp`].
    pub struct DomctlVmEventOpEnable {
        /// OUT: event channel for ring.
        port: u32,
    }

    /// `struct xen_domctl_vm_event_op`: Use for teardown/setup of helper<->hypervisor interface for paging, access
    /// and sharing.
    pub struct DomctlVmEventOp {
        /// Takes `XEN_VM_EVENT_*` values.
        op: u32,
        /// Takes `XEN_DOMCTL_VM_EVENT_OP_*` values.
        mode: u32,
        u: Union<u32, 1>,
    }
}

union_accessors! {
    DomctlVmEventOp.u {
        as_enable, set_enable: DomctlVmEventOpEnable,
        as_version, set_version: u32,
    }
}

/// XEN_DOMCTL_mem_sharing_op. The CONTROL sub-domctl is used for bringup/teardown.
pub const XEN_DOMCTL_MEM_SHARING_CONTROL: u32 = 0;

structs! {
    /// `struct xen_domctl_mem_sharing_op`.
    pub struct DomctlMemSharingOp {
        /// Takes `XEN_DOMCTL_MEM_SHARING_*` values.
        op: u8,
        u: Union<u8, 1>,
    }
}

union_accessors! {
    DomctlMemSharingOp.u {
        as_enable, set_enable: u8,
    }
}

structs! {
    /// `struct xen_domctl_audit_p2m`.
    pub struct DomctlAuditP2m {
        /// OUT error counts.
        orphans: u64,
        m2p_bad: u64,
        p2m_bad: u64,
    }

    /// `struct xen_domctl_set_virq_handler`.
    pub struct DomctlSetVirqHandler {
        virq: u32,
    }

    /// `struct xen_domctl_vcpuextstate`: Argument of `XEN_DOMCTL_getvcpuextstate`.
    pub struct DomctlVcpuextstate {
        /// IN: VCPU that this call applies to.
        vcpu: u32,
        _pad0: [u8; 4],
        /// SET: Ignored. GET: xfeature support mask of struct (IN/OUT) xfeature mask is served as
        /// identifications of the saving format so that compatible CPUs can have a check on format to decide
        /// whether it can restore.
        xfeature_mask: u64,
        /// SET: Size of struct (IN) GET: Size of struct (IN/OUT).
        size: u64,
        buffer: GuestPtr<u64>,
    }

    /// `struct xen_domctl_set_access_required` (`XEN_DOMCTL_set_access_required`): Sets whether a memory event
    /// listener must be present to handle page access events: if false, the page access will revert to full
    /// permissions if no one is listening;.
    pub struct DomctlSetAccessRequired {
        access_required: u8,
    }

    /// `struct xen_domctl_set_broken_page_p2m`.
    pub struct DomctlSetBrokenPageP2m {
        pfn: u64,
    }

    /// `struct xen_domctl_cacheflush`: ARM: Clean and invalidate caches associated with given region of guest
    /// memory.
    pub struct DomctlCacheflush {
        /// IN: page range to flush.
        start_pfn: u64,
        /// IN: page range to flush.
        nr_pfns: u64,
    }

    /// `struct xen_domctl_paging_mempool`: `XEN_DOMCTL_get_paging_mempool_size` /
    /// XEN_DOMCTL_set_paging_mempool_size.
    pub struct DomctlPagingMempool {
        /// Size in bytes.
        size: u64,
    }

    /// `struct xen_domctl_vcpu_msr`.
    pub struct DomctlVcpuMsr {
        index: u32,
        reserved: u32,
        value: u64,
    }

    /// `struct xen_domctl_vcpu_msrs`: `XEN_DOMCTL_set_vcpu_msrs` / XEN_DOMCTL_get_vcpu_msrs.
    pub struct DomctlVcpuMsrs {
        vcpu: u32,
        msr_count: u32,
        msrs: GuestPtr<DomctlVcpuMsr>,
    }

    /// `struct xen_domctl_vnuma` (`XEN_DOMCTL_setvnumainfo`): Specifies a virtual NUMA topology for the guest.
    pub struct DomctlVnuma {
        /// IN: number of vNUMA nodes to setup. Shall be greater than 0.
        nr_vnodes: u32,
        /// IN: number of memory ranges to setup.
        nr_vmemranges: u32,
        /// IN: number of vCPUs of the domain (used as size of the vcpu_to_vnode array declared below). Shall be
        /// equal to the domain's max_vcpus.
        nr_vcpus: u32,
        /// Must be zero.
        pad: u32,
        /// IN: array for specifying the distances of the vNUMA nodes between each others. Shall have
        /// nr_vnodes*nr_vnodes elements.
        vdistance: GuestPtr<u32>,
        /// IN: array for specifying to what vNUMA node each vCPU belongs. Shall have nr_vcpus elements.
        vcpu_to_vnode: GuestPtr<u32>,
        /// IN: array for specifying on what physical NUMA node each vNUMA node is placed. Shall have nr_vnodes
        /// elements.
        vnode_to_pnode: GuestPtr<u32>,
        /// IN: array for specifying the memory ranges. Shall have nr_vmemranges elements.
        vmemrange: GuestPtr<Vmemrange>,
    }

    /// `struct xen_domctl_psr_cmt_op`.
    pub struct DomctlPsrCmtOp {
        cmd: u32,
        data: u32,
    }
}

pub const XEN_DOMCTL_PSR_CMT_OP_DETACH: u32 = 0;
pub const XEN_DOMCTL_PSR_CMT_OP_ATTACH: u32 = 1;
pub const XEN_DOMCTL_PSR_CMT_OP_QUERY_RMID: u32 = 2;
/// Takes `XEN_DOMCTL_MONITOR_*` values.
pub const XEN_DOMCTL_MONITOR_OP_ENABLE: u32 = 0;
pub const XEN_DOMCTL_MONITOR_OP_DISABLE: u32 = 1;
pub const XEN_DOMCTL_MONITOR_OP_GET_CAPABILITIES: u32 = 2;
pub const XEN_DOMCTL_MONITOR_OP_EMULATE_EACH_REP: u32 = 3;
/// Control register feature can result in guest-crashes when the monitor subsystem is being turned off. User
/// has to take special precautions to ensure all vCPUs have resumed before it is safe to turn it off.
pub const XEN_DOMCTL_MONITOR_OP_CONTROL_REGISTERS: u32 = 4;
pub const XEN_DOMCTL_MONITOR_EVENT_WRITE_CTRLREG: u32 = 0;
pub const XEN_DOMCTL_MONITOR_EVENT_MOV_TO_MSR: u32 = 1;
pub const XEN_DOMCTL_MONITOR_EVENT_SINGLESTEP: u32 = 2;
pub const XEN_DOMCTL_MONITOR_EVENT_SOFTWARE_BREAKPOINT: u32 = 3;
pub const XEN_DOMCTL_MONITOR_EVENT_GUEST_REQUEST: u32 = 4;
pub const XEN_DOMCTL_MONITOR_EVENT_DEBUG_EXCEPTION: u32 = 5;
pub const XEN_DOMCTL_MONITOR_EVENT_CPUID: u32 = 6;
pub const XEN_DOMCTL_MONITOR_EVENT_PRIVILEGED_CALL: u32 = 7;
pub const XEN_DOMCTL_MONITOR_EVENT_INTERRUPT: u32 = 8;
pub const XEN_DOMCTL_MONITOR_EVENT_DESC_ACCESS: u32 = 9;
pub const XEN_DOMCTL_MONITOR_EVENT_EMUL_UNIMPLEMENTED: u32 = 10;
/// Enabled by default.
pub const XEN_DOMCTL_MONITOR_EVENT_INGUEST_PAGEFAULT: u32 = 11;
pub const XEN_DOMCTL_MONITOR_EVENT_VMEXIT: u32 = 12;

structs! {
    /// Member `u.mov_to_cr` of [`DomctlMonitorOp`].
    pub struct DomctlMonitorOpMovToCr {
        /// Which control register.
        index: u8,
        /// Pause vCPU until response.
        sync: u8,
        /// Send event only on a change of value.
        onchangeonly: u8,
        /// Allignment padding.
        pad1: u8,
        pad2: u32,
        /// Send event only if the changed bit in the control register is not masked.
        bitmask: u64,
    }

    /// Member `u.mov_to_msr` of [`DomctlMonitorOp`].
    pub struct DomctlMonitorOpMovToMsr {
        msr: u32,
        /// Send event only on a change of value.
        onchangeonly: u8,
        _pad0: [u8; 3],
    }

    /// Member `u.guest_request` of [`DomctlMonitorOp`].
    pub struct DomctlMonitorOpGuestRequest {
        /// Pause vCPU until response.
        sync: u8,
        allow_userspace: u8,
    }

    /// Member `u.debug_exception` of [`DomctlMonitorOp`].
    pub struct DomctlMonitorOpDebugException {
        /// Pause vCPU until response.
        sync: u8,
    }

    /// Member `u.vmexit` of [`DomctlMonitorOp`].
    pub struct DomctlMonitorOpVmexit {
        /// Send event and don't process vmexit.
        sync: u8,
    }

    /// `struct xen_domctl_monitor_op`.
    pub struct DomctlMonitorOp {
        /// Takes `XEN_DOMCTL_MONITOR_OP_*` values.
        op: u32,
        /// When used with ENABLE/DISABLE this has to be set to the requested XEN_DOMCTL_MONITOR_EVENT_* value.
        /// With GET_CAPABILITIES this field returns a bitmap of events supported by the platform, in the format
        /// (1 << XEN_DOMCTL_MONITOR_EVENT_*).
        event: u32,
        /// Further options when issuing XEN_DOMCTL_MONITOR_OP_ENABLE.
        u: Union<u64, 2>,
    }
}

union_accessors! {
    DomctlMonitorOp.u {
        as_mov_to_cr, set_mov_to_cr: DomctlMonitorOpMovToCr,
        as_mov_to_msr, set_mov_to_msr: DomctlMonitorOpMovToMsr,
        as_guest_request, set_guest_request: DomctlMonitorOpGuestRequest,
        as_debug_exception, set_debug_exception: DomctlMonitorOpDebugException,
        as_vmexit, set_vmexit: DomctlMonitorOpVmexit,
    }
}

structs! {
    /// `struct xen_domctl_psr_alloc`.
    pub struct DomctlPsrAlloc {
        /// IN: XEN_DOMCTL_PSR_.
        cmd: u32,
        target: u32,
        data: u64,
    }
}

pub const XEN_DOMCTL_PSR_SET_L3_CBM: u32 = 0;
pub const XEN_DOMCTL_PSR_GET_L3_CBM: u32 = 1;
pub const XEN_DOMCTL_PSR_SET_L3_CODE: u32 = 2;
pub const XEN_DOMCTL_PSR_SET_L3_DATA: u32 = 3;
pub const XEN_DOMCTL_PSR_GET_L3_CODE: u32 = 4;
pub const XEN_DOMCTL_PSR_GET_L3_DATA: u32 = 5;
pub const XEN_DOMCTL_PSR_SET_L2_CBM: u32 = 6;
pub const XEN_DOMCTL_PSR_GET_L2_CBM: u32 = 7;
pub const XEN_DOMCTL_PSR_SET_MBA_THRTL: u32 = 8;
pub const XEN_DOMCTL_PSR_GET_MBA_THRTL: u32 = 9;

structs! {
    /// `struct xen_domctl_vuart_op`: Argument of `XEN_DOMCTL_vuart_op`.
    pub struct DomctlVuartOp {
        /// Takes `XEN_DOMCTL_VUART_OP_*` values.
        cmd: u32,
        /// IN – type of vuart. Currently only vpl011 supported.
        type_: u32,
        /// IN – guest gfn to be used as a ring buffer.
        gfn: u64,
        /// IN – domid of domain running the backend console.
        console_domid: Domid,
        pad: [u8; 2],
        /// OUT – remote port of the event channel used for sending ring buffer events.
        evtchn: EvtchnPort,
    }
}

pub const XEN_DOMCTL_VUART_OP_INIT: u32 = 0;
pub const XEN_DOMCTL_VUART_TYPE_VPL011: u32 = 0;

structs! {
    /// `struct xen_domctl_vmtrace_op` (`XEN_DOMCTL_vmtrace_op`): Perform VM tracing operations.
    pub struct DomctlVmtraceOp {
        cmd: u32,
        vcpu: u32,
        /// IN – `cmd` specific data.
        key: u64,
        /// IN/OUT – `cmd` specific data.
        value: u64,
    }
}

/// General enable/disable of tracing.
pub const XEN_DOMCTL_VMTRACE_ENABLE: u32 = 1;
pub const XEN_DOMCTL_VMTRACE_DISABLE: u32 = 2;
pub const XEN_DOMCTL_VMTRACE_RESET_AND_ENABLE: u32 = 3;
/// Obtain the current output position within the buffer. Fills `value`.
pub const XEN_DOMCTL_VMTRACE_OUTPUT_POSITION: u32 = 4;
/// Get/Set platform specific configuration.
pub const XEN_DOMCTL_VMTRACE_GET_OPTION: u32 = 5;
pub const XEN_DOMCTL_VMTRACE_SET_OPTION: u32 = 6;

structs! {
    /// `struct xen_domctl`: What `HYPERVISOR_domctl` takes: the command, the domain it is about, and the command's
    /// own argument in `u`.
    pub struct Domctl {
        /// `XEN_DOMCTL_*`.
        cmd: u32,
        /// Must be `XEN_DOMCTL_INTERFACE_VERSION`.
        interface_version: u32,
        /// The domain it is about.
        domain: Domid,
        _pad: [u16; 3],
        u: Union<u64, 16>,
    }
}

union_accessors! {
    Domctl.u {
        as_createdomain, set_createdomain: DomctlCreatedomain,
        as_getdomaininfo, set_getdomaininfo: DomctlGetdomaininfo,
        as_getpageframeinfo3, set_getpageframeinfo3: DomctlGetpageframeinfo3,
        as_nodeaffinity, set_nodeaffinity: DomctlNodeaffinity,
        as_vcpuaffinity, set_vcpuaffinity: DomctlVcpuaffinity,
        as_shadow_op, set_shadow_op: DomctlShadowOp,
        as_max_mem, set_max_mem: DomctlMaxMem,
        as_vcpucontext, set_vcpucontext: DomctlVcpucontext,
        as_getvcpuinfo, set_getvcpuinfo: DomctlGetvcpuinfo,
        as_max_vcpus, set_max_vcpus: DomctlMaxVcpus,
        as_scheduler_op, set_scheduler_op: DomctlSchedulerOp,
        as_setdomainhandle, set_setdomainhandle: DomctlSetdomainhandle,
        as_setdebugging, set_setdebugging: DomctlSetdebugging,
        as_irq_permission, set_irq_permission: DomctlIrqPermission,
        as_iomem_permission, set_iomem_permission: DomctlIomemPermission,
        as_ioport_permission, set_ioport_permission: DomctlIoportPermission,
        as_hypercall_init, set_hypercall_init: DomctlHypercallInit,
        as_settimeoffset, set_settimeoffset: DomctlSettimeoffset,
        as_tsc_info, set_tsc_info: DomctlTscInfo,
        as_hvmcontext, set_hvmcontext: DomctlHvmcontext,
        as_hvmcontext_partial, set_hvmcontext_partial: DomctlHvmcontextPartial,
        as_address_size, set_address_size: DomctlAddressSize,
        as_sendtrigger, set_sendtrigger: DomctlSendtrigger,
        as_get_device_group, set_get_device_group: DomctlGetDeviceGroup,
        as_assign_device, set_assign_device: DomctlAssignDevice,
        as_bind_pt_irq, set_bind_pt_irq: DomctlBindPtIrq,
        as_memory_mapping, set_memory_mapping: DomctlMemoryMapping,
        as_ioport_mapping, set_ioport_mapping: DomctlIoportMapping,
        as_ext_vcpucontext, set_ext_vcpucontext: DomctlExtVcpucontext,
        as_set_target, set_set_target: DomctlSetTarget,
        as_subscribe, set_subscribe: DomctlSubscribe,
        as_debug_op, set_debug_op: DomctlDebugOp,
        as_vm_event_op, set_vm_event_op: DomctlVmEventOp,
        as_mem_sharing_op, set_mem_sharing_op: DomctlMemSharingOp,
        as_cpu_policy, set_cpu_policy: DomctlCpuPolicy,
        as_vcpuextstate, set_vcpuextstate: DomctlVcpuextstate,
        as_vcpu_msrs, set_vcpu_msrs: DomctlVcpuMsrs,
        as_access_required, set_access_required: DomctlSetAccessRequired,
        as_audit_p2m, set_audit_p2m: DomctlAuditP2m,
        as_set_virq_handler, set_set_virq_handler: DomctlSetVirqHandler,
        as_gdbsx_guest_memio, set_gdbsx_guest_memio: DomctlGdbsxMemio,
        as_set_broken_page_p2m, set_set_broken_page_p2m: DomctlSetBrokenPageP2m,
        as_cacheflush, set_cacheflush: DomctlCacheflush,
        as_gdbsx_pauseunp_vcpu, set_gdbsx_pauseunp_vcpu: DomctlGdbsxPauseunpVcpu,
        as_gdbsx_domstatus, set_gdbsx_domstatus: DomctlGdbsxDomstatus,
        as_vnuma, set_vnuma: DomctlVnuma,
        as_psr_cmt_op, set_psr_cmt_op: DomctlPsrCmtOp,
        as_monitor_op, set_monitor_op: DomctlMonitorOp,
        as_psr_alloc, set_psr_alloc: DomctlPsrAlloc,
        as_vuart_op, set_vuart_op: DomctlVuartOp,
        as_vmtrace_op, set_vmtrace_op: DomctlVmtraceOp,
        as_paging_mempool, set_paging_mempool: DomctlPagingMempool,
    }
}

// Commands. The member of `Domctl::u` has the same name unless its structure says otherwise.
pub const XEN_DOMCTL_CREATEDOMAIN: u32 = 1;
pub const XEN_DOMCTL_DESTROYDOMAIN: u32 = 2;
pub const XEN_DOMCTL_PAUSEDOMAIN: u32 = 3;
pub const XEN_DOMCTL_UNPAUSEDOMAIN: u32 = 4;
pub const XEN_DOMCTL_GETDOMAININFO: u32 = 5;
pub const XEN_DOMCTL_SETVCPUAFFINITY: u32 = 9;
pub const XEN_DOMCTL_SHADOW_OP: u32 = 10;
pub const XEN_DOMCTL_MAX_MEM: u32 = 11;
pub const XEN_DOMCTL_SETVCPUCONTEXT: u32 = 12;
pub const XEN_DOMCTL_GETVCPUCONTEXT: u32 = 13;
pub const XEN_DOMCTL_GETVCPUINFO: u32 = 14;
pub const XEN_DOMCTL_MAX_VCPUS: u32 = 15;
pub const XEN_DOMCTL_SCHEDULER_OP: u32 = 16;
pub const XEN_DOMCTL_SETDOMAINHANDLE: u32 = 17;
pub const XEN_DOMCTL_SETDEBUGGING: u32 = 18;
pub const XEN_DOMCTL_IRQ_PERMISSION: u32 = 19;
pub const XEN_DOMCTL_IOMEM_PERMISSION: u32 = 20;
pub const XEN_DOMCTL_IOPORT_PERMISSION: u32 = 21;
pub const XEN_DOMCTL_HYPERCALL_INIT: u32 = 22;
pub const XEN_DOMCTL_SETTIMEOFFSET: u32 = 24;
pub const XEN_DOMCTL_GETVCPUAFFINITY: u32 = 25;
/// Obsolete PPC only.
pub const XEN_DOMCTL_REAL_MODE_AREA: u32 = 26;
pub const XEN_DOMCTL_RESUMEDOMAIN: u32 = 27;
pub const XEN_DOMCTL_SENDTRIGGER: u32 = 28;
pub const XEN_DOMCTL_SUBSCRIBE: u32 = 29;
pub const XEN_DOMCTL_GETHVMCONTEXT: u32 = 33;
pub const XEN_DOMCTL_SETHVMCONTEXT: u32 = 34;
pub const XEN_DOMCTL_SET_ADDRESS_SIZE: u32 = 35;
pub const XEN_DOMCTL_GET_ADDRESS_SIZE: u32 = 36;
pub const XEN_DOMCTL_ASSIGN_DEVICE: u32 = 37;
pub const XEN_DOMCTL_BIND_PT_IRQ: u32 = 38;
pub const XEN_DOMCTL_MEMORY_MAPPING: u32 = 39;
pub const XEN_DOMCTL_IOPORT_MAPPING: u32 = 40;
pub const XEN_DOMCTL_SET_EXT_VCPUCONTEXT: u32 = 42;
pub const XEN_DOMCTL_GET_EXT_VCPUCONTEXT: u32 = 43;
/// Obsolete IA64 only.
pub const XEN_DOMCTL_SET_OPT_FEATURE: u32 = 44;
pub const XEN_DOMCTL_TEST_ASSIGN_DEVICE: u32 = 45;
pub const XEN_DOMCTL_SET_TARGET: u32 = 46;
pub const XEN_DOMCTL_DEASSIGN_DEVICE: u32 = 47;
pub const XEN_DOMCTL_UNBIND_PT_IRQ: u32 = 48;
pub const XEN_DOMCTL_GET_DEVICE_GROUP: u32 = 50;
pub const XEN_DOMCTL_DEBUG_OP: u32 = 54;
pub const XEN_DOMCTL_GETHVMCONTEXT_PARTIAL: u32 = 55;
pub const XEN_DOMCTL_VM_EVENT_OP: u32 = 56;
pub const XEN_DOMCTL_MEM_SHARING_OP: u32 = 57;
pub const XEN_DOMCTL_GETTSCINFO: u32 = 59;
pub const XEN_DOMCTL_SETTSCINFO: u32 = 60;
pub const XEN_DOMCTL_GETPAGEFRAMEINFO3: u32 = 61;
pub const XEN_DOMCTL_SETVCPUEXTSTATE: u32 = 62;
pub const XEN_DOMCTL_GETVCPUEXTSTATE: u32 = 63;
pub const XEN_DOMCTL_SET_ACCESS_REQUIRED: u32 = 64;
pub const XEN_DOMCTL_AUDIT_P2M: u32 = 65;
pub const XEN_DOMCTL_SET_VIRQ_HANDLER: u32 = 66;
pub const XEN_DOMCTL_SET_BROKEN_PAGE_P2M: u32 = 67;
pub const XEN_DOMCTL_SETNODEAFFINITY: u32 = 68;
pub const XEN_DOMCTL_GETNODEAFFINITY: u32 = 69;
pub const XEN_DOMCTL_CACHEFLUSH: u32 = 71;
pub const XEN_DOMCTL_GET_VCPU_MSRS: u32 = 72;
pub const XEN_DOMCTL_SET_VCPU_MSRS: u32 = 73;
pub const XEN_DOMCTL_SETVNUMAINFO: u32 = 74;
pub const XEN_DOMCTL_PSR_CMT_OP: u32 = 75;
pub const XEN_DOMCTL_MONITOR_OP: u32 = 77;
pub const XEN_DOMCTL_PSR_ALLOC: u32 = 78;
pub const XEN_DOMCTL_SOFT_RESET: u32 = 79;
pub const XEN_DOMCTL_VUART_OP: u32 = 81;
pub const XEN_DOMCTL_GET_CPU_POLICY: u32 = 82;
pub const XEN_DOMCTL_SET_CPU_POLICY: u32 = 83;
pub const XEN_DOMCTL_VMTRACE_OP: u32 = 84;
pub const XEN_DOMCTL_GET_PAGING_MEMPOOL_SIZE: u32 = 85;
pub const XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE: u32 = 86;
pub const XEN_DOMCTL_GDBSX_GUESTMEMIO: u32 = 1000;
pub const XEN_DOMCTL_GDBSX_PAUSEVCPU: u32 = 1001;
pub const XEN_DOMCTL_GDBSX_UNPAUSEVCPU: u32 = 1002;
pub const XEN_DOMCTL_GDBSX_DOMSTATUS: u32 = 1003;
