//! `sysctl.h`: everything a toolstack asks of the whole machine.
//!
//! The argument is a [`Sysctl`] with a union of 128 bytes, as for `domctl`. The version must be
//! [`XEN_SYSCTL_INTERFACE_VERSION`].
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

use crate::domctl::DomctlGetdomaininfo;
use crate::physdev::PhysdevPciDevice;
use crate::xen::{CpuidLeaf, DomainHandle, Domid, MsrEntry, XenctlBitmap};
use crate::{GuestPtr, Union};

pub const XEN_SYSCTL_INTERFACE_VERSION: u32 = 0x00000015;

structs! {
    /// `struct xen_sysctl_readconsole`: Argument of `XEN_SYSCTL_readconsole`.
    pub struct SysctlReadconsole {
        /// IN: Non-zero -> clear after reading.
        clear: u8,
        /// IN: Non-zero -> start index specified by `index` field.
        incremental: u8,
        pad0: u8,
        pad1: u8,
        /// IN: Start index for consuming from ring buffer (if `incremental`); OUT: End index after consuming
        /// from ring buffer.
        index: u32,
        /// IN: Virtual address to write console data.
        buffer: GuestPtr<u8>,
        /// IN: Size of buffer; OUT: Bytes written to buffer.
        count: u32,
        _pad0: [u8; 4],
    }

    /// `struct xen_sysctl_tbuf_op`: Argument of `XEN_SYSCTL_tbuf_op`.
    pub struct SysctlTbufOp {
        cmd: u32,
        _pad0: [u8; 4],
        cpu_mask: XenctlBitmap,
        evt_mask: u32,
        _pad1: [u8; 4],
        buffer_mfn: u64,
        /// Also an IN variable!
        size: u32,
        _pad2: [u8; 4],
    }
}

pub const XEN_SYSCTL_TBUFOP_GET_INFO: u32 = 0;
pub const XEN_SYSCTL_TBUFOP_SET_CPU_MASK: u32 = 1;
pub const XEN_SYSCTL_TBUFOP_SET_EVT_MASK: u32 = 2;
pub const XEN_SYSCTL_TBUFOP_SET_SIZE: u32 = 3;
pub const XEN_SYSCTL_TBUFOP_ENABLE: u32 = 4;
pub const XEN_SYSCTL_TBUFOP_DISABLE: u32 = 5;
pub const XEN_SYSCTL_PHYSCAP_HVM: u32 = 1 << 0;
pub const XEN_SYSCTL_PHYSCAP_PV: u32 = 1 << 1;
pub const XEN_SYSCTL_PHYSCAP_DIRECTIO: u32 = 1 << 2;
pub const XEN_SYSCTL_PHYSCAP_HAP: u32 = 1 << 3;
pub const XEN_SYSCTL_PHYSCAP_SHADOW: u32 = 1 << 4;
pub const XEN_SYSCTL_PHYSCAP_IOMMU_HAP_PT_SHARE: u32 = 1 << 5;
pub const XEN_SYSCTL_PHYSCAP_VMTRACE: u32 = 1 << 6;
/// The platform supports vPMU.
pub const XEN_SYSCTL_PHYSCAP_VPMU: u32 = 1 << 7;
/// Xen supports the Grant v1 and/or v2 ABIs.
pub const XEN_SYSCTL_PHYSCAP_GNTTAB_V1: u32 = 1 << 8;
pub const XEN_SYSCTL_PHYSCAP_GNTTAB_V2: u32 = 1 << 9;
/// Max XEN_SYSCTL_PHYSCAP_* constant. Used for ABI checking.
pub const XEN_SYSCTL_PHYSCAP_MAX: u32 = XEN_SYSCTL_PHYSCAP_GNTTAB_V2;

structs! {
    /// `struct xen_sysctl_physinfo`.
    pub struct SysctlPhysinfo {
        threads_per_core: u32,
        cores_per_socket: u32,
        /// # CPUs currently online.
        nr_cpus: u32,
        /// Largest possible CPU ID on this host.
        max_cpu_id: u32,
        /// # nodes currently online.
        nr_nodes: u32,
        /// Largest possible node ID on this host.
        max_node_id: u32,
        cpu_khz: u32,
        /// Takes `XEN_SYSCTL_PHYSCAP_*` values.
        capabilities: u32,
        /// Takes `XEN_SYSCTL_PHYSCAP_*` values.
        arch_capabilities: u32,
        pad: u32,
        total_pages: u64,
        free_pages: u64,
        scrub_pages: u64,
        outstanding_pages: u64,
        /// Largest possible MFN on this host.
        max_mfn: u64,
        hw_cap: [u32; 8],
    }

    /// `struct xen_sysctl_sched_id`: Argument of `XEN_SYSCTL_sched_id`.
    pub struct SysctlSchedId {
        sched_id: u32,
    }
}

/// Reset all counters to zero.
pub const XEN_SYSCTL_PERFCOP_RESET: u32 = 1;
/// Get perfctr information.
pub const XEN_SYSCTL_PERFCOP_QUERY: u32 = 2;

structs! {
    /// `struct xen_sysctl_perfc_desc`.
    pub struct SysctlPerfcDesc {
        /// Name of perf counter.
        name: [u8; 80],
        /// Number of values for this counter.
        nr_vals: u32,
    }

    /// `struct xen_sysctl_perfc_op`.
    pub struct SysctlPerfcOp {
        /// Takes `XEN_SYSCTL_PERFCOP_*` values.
        cmd: u32,
        /// Number of counters description.
        nr_counters: u32,
        /// Number of values.
        nr_vals: u32,
        _pad0: [u8; 4],
        /// Counter information (or NULL).
        desc: GuestPtr<SysctlPerfcDesc>,
        /// Counter values (or NULL).
        val: GuestPtr<u32>,
    }

    /// `struct xen_sysctl_getdomaininfolist`: Argument of `XEN_SYSCTL_getdomaininfolist`.
    pub struct SysctlGetdomaininfolist {
        first_domain: Domid,
        _pad0: [u8; 2],
        max_domains: u32,
        buffer: GuestPtr<DomctlGetdomaininfo>,
        num_domains: u32,
        _pad1: [u8; 4],
    }

    /// `struct xen_sysctl_debug_keys`: Argument of `XEN_SYSCTL_debug_keys`.
    pub struct SysctlDebugKeys {
        keys: GuestPtr<u8>,
        nr_keys: u32,
        _pad0: [u8; 4],
    }

    /// `struct xen_sysctl_cpuinfo`: Argument of `XEN_SYSCTL_getcpuinfo`.
    pub struct SysctlCpuinfo {
        idletime: u64,
    }

    /// `struct xen_sysctl_getcpuinfo`.
    pub struct SysctlGetcpuinfo {
        max_cpus: u32,
        _pad0: [u8; 4],
        info: GuestPtr<SysctlCpuinfo>,
        nr_cpus: u32,
        _pad1: [u8; 4],
    }

    /// `struct xen_sysctl_availheap`: Argument of `XEN_SYSCTL_availheap`.
    pub struct SysctlAvailheap {
        /// Smallest address width (zero if don't care).
        min_bitwidth: u32,
        /// Largest address width (zero if don't care).
        max_bitwidth: u32,
        /// NUMA node of interest (-1 for all nodes).
        node: i32,
        _pad0: [u8; 4],
        /// Bytes available in the specified region.
        avail_bytes: u64,
    }

    /// `struct pm_px_val`: Argument of `XEN_SYSCTL_get_pmstat`.
    pub struct PmPxVal {
        /// Px core frequency.
        freq: u64,
        /// Px residency time.
        residency: u64,
        /// Px transition count.
        count: u64,
    }

    /// `struct pm_px_stat`.
    pub struct PmPxStat {
        /// Total Px states.
        total: u8,
        /// Usable Px states.
        usable: u8,
        /// Last Px state.
        last: u8,
        /// Current Px state.
        cur: u8,
        _pad0: [u8; 4],
        /// Px transition table.
        trans_pt: GuestPtr<u64>,
        pt: GuestPtr<PmPxVal>,
    }

    /// `struct pm_cx_stat`.
    pub struct PmCxStat {
        /// Entry nr in triggers & residencies, including C0.
        nr: u32,
        /// Last Cx state.
        last: u32,
        /// Idle time from boot.
        idle_time: u64,
        /// Cx trigger counts.
        triggers: GuestPtr<u64>,
        /// Cx residencies.
        residencies: GuestPtr<u64>,
        /// Entry nr in `pc[]`.
        nr_pc: u32,
        /// Entry nr in `cc[]`.
        nr_cc: u32,
        /// These two arrays may (and generally will) have unused slots; slots not having a corresponding
        /// hardware register will not be written by the hypervisor. It is therefore up to the caller to put a
        /// suitable sentinel into all slots before invoking the function.
        pc: GuestPtr<u64>,
        cc: GuestPtr<u64>,
    }

    /// `struct xen_sysctl_get_pmstat`.
    pub struct SysctlGetPmstat {
        type_: u32,
        cpuid: u32,
        u: Union<u64, 7>,
    }
}

union_accessors! {
    SysctlGetPmstat.u {
        as_getpx, set_getpx: PmPxStat,
        as_getcx, set_getcx: PmCxStat,
    }
}

pub const PMSTAT_CATEGORY_MASK: u32 = 0xf0;
pub const PMSTAT_PX: u32 = 0x10;
pub const PMSTAT_CX: u32 = 0x20;
pub const PMSTAT_GET_MAX_PX: u32 = PMSTAT_PX | 0x1;
pub const PMSTAT_GET_PXSTAT: u32 = PMSTAT_PX | 0x2;
pub const PMSTAT_RESET_PXSTAT: u32 = PMSTAT_PX | 0x3;
pub const PMSTAT_GET_MAX_CX: u32 = PMSTAT_CX | 0x1;
pub const PMSTAT_GET_CXSTAT: u32 = PMSTAT_CX | 0x2;
pub const PMSTAT_RESET_CXSTAT: u32 = PMSTAT_CX | 0x3;

structs! {
    /// `struct xen_sysctl_cpu_hotplug`: Argument of `XEN_SYSCTL_cpu_hotplug`.
    pub struct SysctlCpuHotplug {
        /// Physical cpu.
        cpu: u32,
        /// Hotplug opcode.
        op: u32,
    }
}

/// Single CPU enable/disable.
pub const XEN_SYSCTL_CPU_HOTPLUG_ONLINE: u32 = 0;
pub const XEN_SYSCTL_CPU_HOTPLUG_OFFLINE: u32 = 1;
/// SMT enable/disable.
pub const XEN_SYSCTL_CPU_HOTPLUG_SMT_ENABLE: u32 = 2;
pub const XEN_SYSCTL_CPU_HOTPLUG_SMT_DISABLE: u32 = 3;

structs! {
    /// `struct xen_userspace`: Argument of `XEN_SYSCTL_pm_op`.
    pub struct Userspace {
        scaling_setspeed: u32,
    }

    /// `struct xen_ondemand`.
    pub struct Ondemand {
        sampling_rate_max: u32,
        sampling_rate_min: u32,
        sampling_rate: u32,
        up_threshold: u32,
    }
}

/// Cpufreq para name of this structure named same as sysfs file name of native linux.
pub const CPUFREQ_NAME_LEN: u32 = 16;

structs! {
    /// `struct xen_get_cpufreq_para`.
    pub struct GetCpufreqPara {
        cpu_num: u32,
        freq_num: u32,
        gov_num: u32,
        _pad0: [u8; 4],
        affected_cpus: GuestPtr<u32>,
        scaling_available_frequencies: GuestPtr<u32>,
        scaling_available_governors: GuestPtr<u8>,
        scaling_driver: [u8; 16],
        cpuinfo_cur_freq: u32,
        cpuinfo_max_freq: u32,
        cpuinfo_min_freq: u32,
        scaling_cur_freq: u32,
        scaling_governor: [u8; 16],
        scaling_max_freq: u32,
        scaling_min_freq: u32,
        /// For specific governor.
        u: Union<u32, 4>,
        turbo_enabled: i32,
        _pad1: [u8; 4],
    }
}

union_accessors! {
    GetCpufreqPara.u {
        as_userspace, set_userspace: Userspace,
        as_ondemand, set_ondemand: Ondemand,
    }
}

structs! {
    /// `struct xen_set_cpufreq_gov`.
    pub struct SetCpufreqGov {
        scaling_governor: [u8; 16],
    }

    /// `struct xen_set_cpufreq_para`.
    pub struct SetCpufreqPara {
        ctrl_type: u32,
        ctrl_value: u32,
    }
}

pub const SCALING_MAX_FREQ: u32 = 1;
pub const SCALING_MIN_FREQ: u32 = 2;
pub const SCALING_SETSPEED: u32 = 3;
pub const SAMPLING_RATE: u32 = 4;
pub const UP_THRESHOLD: u32 = 5;

structs! {
    /// `struct xen_sysctl_pm_op`.
    pub struct SysctlPmOp {
        cmd: u32,
        cpuid: u32,
        u: Union<u64, 15>,
    }
}

union_accessors! {
    SysctlPmOp.u {
        as_get_para, set_get_para: GetCpufreqPara,
        as_set_gov, set_set_gov: SetCpufreqGov,
        as_set_para, set_set_para: SetCpufreqPara,
        as_get_avgfreq, set_get_avgfreq: u64,
        as_set_sched_opt_smt, set_set_sched_opt_smt: u32,
        as_get_max_cstate, set_get_max_cstate: u32,
        as_set_max_cstate, set_set_max_cstate: u32,
    }
}

pub const PM_PARA_CATEGORY_MASK: u32 = 0xf0;
pub const CPUFREQ_PARA: u32 = 0x10;
/// Cpufreq command type.
pub const GET_CPUFREQ_PARA: u32 = CPUFREQ_PARA | 0x01;
pub const SET_CPUFREQ_GOV: u32 = CPUFREQ_PARA | 0x02;
pub const SET_CPUFREQ_PARA: u32 = CPUFREQ_PARA | 0x03;
pub const GET_CPUFREQ_AVGFREQ: u32 = CPUFREQ_PARA | 0x04;
/// set/reset scheduler power saving option.
pub const XEN_SYSCTL_PM_OP_SET_SCHED_OPT_SMT: u32 = 0x21;
/// Cpuidle max C-state and max C-sub-state access command: Set cpuid to 0 for max C-state. Set cpuid to 1
/// for max C-sub-state.
pub const XEN_SYSCTL_PM_OP_GET_MAX_CSTATE: u32 = 0x22;
pub const XEN_SYSCTL_PM_OP_SET_MAX_CSTATE: u32 = 0x23;
/// Set scheduler migration cost value.
pub const XEN_SYSCTL_PM_OP_SET_VCPU_MIGRATION_DELAY: u32 = 0x24;
pub const XEN_SYSCTL_PM_OP_GET_VCPU_MIGRATION_DELAY: u32 = 0x25;
/// enable/disable turbo mode when in dbs governor.
pub const XEN_SYSCTL_PM_OP_ENABLE_TURBO: u32 = 0x26;
pub const XEN_SYSCTL_PM_OP_DISABLE_TURBO: u32 = 0x27;
pub const XEN_SYSCTL_CX_UNLIMITED: u32 = 0xffffffff;

structs! {
    /// `struct xen_sysctl_page_offline_op`: Argument of `XEN_SYSCTL_page_offline_op`.
    pub struct SysctlPageOfflineOp {
        cmd: u32,
        start: u32,
        end: u32,
        _pad0: [u8; 4],
        /// Bit 0~15: result flags bit 16~31: owner.
        status: GuestPtr<u32>,
    }
}

/// IN: range of page to be offlined.
pub const SYSCTL_PAGE_OFFLINE: u32 = 1;
pub const SYSCTL_PAGE_ONLINE: u32 = 2;
pub const SYSCTL_QUERY_PAGE_OFFLINE: u32 = 3;
pub const PG_OFFLINE_STATUS_MASK: u32 = 0xff;
/// The result is invalid, i.e. HV does not handle it.
pub const PG_OFFLINE_INVALID: u32 = 0x1;
pub const PG_OFFLINE_OFFLINED: u32 = 0x1 << 1;
pub const PG_OFFLINE_PENDING: u32 = 0x1 << 2;
pub const PG_OFFLINE_FAILED: u32 = 0x1 << 3;
pub const PG_OFFLINE_AGAIN: u32 = 0x1 << 4;
pub const PG_ONLINE_FAILED: u32 = PG_OFFLINE_FAILED;
pub const PG_ONLINE_ONLINED: u32 = PG_OFFLINE_OFFLINED;
pub const PG_OFFLINE_STATUS_OFFLINED: u32 = 0x1 << 1;
pub const PG_OFFLINE_STATUS_ONLINE: u32 = 0x1 << 2;
pub const PG_OFFLINE_STATUS_OFFLINE_PENDING: u32 = 0x1 << 3;
pub const PG_OFFLINE_STATUS_BROKEN: u32 = 0x1 << 4;
pub const PG_OFFLINE_MISC_MASK: u32 = 0xff << 4;
/// Valid when PG_OFFLINE_FAILED or PG_OFFLINE_PENDING.
pub const PG_OFFLINE_XENPAGE: u32 = 0x1 << 8;
pub const PG_OFFLINE_DOM0PAGE: u32 = 0x1 << 9;
pub const PG_OFFLINE_ANONYMOUS: u32 = 0x1 << 10;
pub const PG_OFFLINE_NOT_CONV_RAM: u32 = 0x1 << 11;
pub const PG_OFFLINE_OWNED: u32 = 0x1 << 12;
pub const PG_OFFLINE_BROKEN: u32 = 0x1 << 13;
pub const PG_ONLINE_BROKEN: u32 = PG_OFFLINE_BROKEN;
pub const PG_OFFLINE_OWNER_SHIFT: u32 = 16;
/// Reset all profile data to zero.
pub const XEN_SYSCTL_LOCKPROF_RESET: u32 = 1;
/// Get lock profile information.
pub const XEN_SYSCTL_LOCKPROF_QUERY: u32 = 2;
/// Global lock, idx meaningless.
pub const LOCKPROF_TYPE_GLOBAL: u32 = 0;
/// per-domain lock, idx is domid.
pub const LOCKPROF_TYPE_PERDOM: u32 = 1;
/// Number of types.
pub const LOCKPROF_TYPE_N: u32 = 2;

structs! {
    /// `struct xen_sysctl_lockprof_data`.
    pub struct SysctlLockprofData {
        /// Lock name (may include up to 2 %d specifiers).
        name: [u8; 40],
        /// LOCKPROF_TYPE_???
        type_: i32,
        /// Index (e.g. domain id).
        idx: i32,
        /// # of locking succeeded.
        lock_cnt: u64,
        /// # of wait for lock.
        block_cnt: u64,
        /// Nsecs lock held.
        lock_time: u64,
        /// Nsecs waited for lock.
        block_time: u64,
    }

    /// `struct xen_sysctl_lockprof_op`.
    pub struct SysctlLockprofOp {
        /// Takes `XEN_SYSCTL_LOCKPROF_*` values.
        cmd: u32,
        /// Size of output buffer.
        max_elem: u32,
        /// OUT variables (query only).
        nr_elem: u32,
        _pad0: [u8; 4],
        /// Nsecs of profile measurement.
        time: u64,
        /// Profile information (or NULL).
        data: GuestPtr<SysctlLockprofData>,
    }
}

pub const XEN_INVALID_CORE_ID: u32 = 0xffffffff;
pub const XEN_INVALID_SOCKET_ID: u32 = 0xffffffff;
pub const XEN_INVALID_NODE_ID: u32 = 0xffffffff;

structs! {
    /// `struct xen_sysctl_cputopo`.
    pub struct SysctlCputopo {
        core: u32,
        socket: u32,
        node: u32,
    }

    /// `struct xen_sysctl_cputopoinfo`: IN: – a NULL `cputopo` handle is a request for maximun `num_cpus`. –
    /// otherwise it's the number of entries in `cputopo`.
    pub struct SysctlCputopoinfo {
        num_cpus: u32,
        _pad0: [u8; 4],
        cputopo: GuestPtr<SysctlCputopo>,
    }
}

pub const XEN_INVALID_MEM_SZ: u32 = 0xffffffff;
pub const XEN_INVALID_NODE_DIST: u32 = 0xffffffff;

structs! {
    /// `struct xen_sysctl_meminfo`.
    pub struct SysctlMeminfo {
        memsize: u64,
        memfree: u64,
    }

    /// `struct xen_sysctl_numainfo`.
    pub struct SysctlNumainfo {
        num_nodes: u32,
        _pad0: [u8; 4],
        meminfo: GuestPtr<SysctlMeminfo>,
        /// Distance between nodes `i` and `j` is stored in index 'i*N plus j', where N is the number of nodes
        /// that will be returned in `num_nodes` (i.e. not `num_nodes` provided by the caller).
        distance: GuestPtr<u32>,
    }
}

pub const XEN_SYSCTL_CPUPOOL_OP_CREATE: u32 = 1;
pub const XEN_SYSCTL_CPUPOOL_OP_DESTROY: u32 = 2;
pub const XEN_SYSCTL_CPUPOOL_OP_INFO: u32 = 3;
pub const XEN_SYSCTL_CPUPOOL_OP_ADDCPU: u32 = 4;
pub const XEN_SYSCTL_CPUPOOL_OP_RMCPU: u32 = 5;
pub const XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN: u32 = 6;
pub const XEN_SYSCTL_CPUPOOL_OP_FREEINFO: u32 = 7;
pub const XEN_SYSCTL_CPUPOOL_PAR_ANY: u32 = 0xffffffff;

structs! {
    /// `struct xen_sysctl_cpupool_op`.
    pub struct SysctlCpupoolOp {
        op: u32,
        /// IN: CDIARM OUT: CI.
        cpupool_id: u32,
        /// IN: C OUT: I.
        sched_id: u32,
        /// IN: M.
        domid: u32,
        /// IN: AR.
        cpu: u32,
        /// OUT: I.
        n_dom: u32,
        /// OUT: IF.
        cpumap: XenctlBitmap,
    }
}

pub const ARINC653_MAX_DOMAINS_PER_SCHEDULE: u32 = 64;

structs! {
    /// Member `sched_entries` of [`SysctlArinc653Schedule`]: The sched_entries array holds the actual schedule
    /// entries.
    pub struct SysctlArinc653ScheduleSchedEntries {
        /// `dom_handle` must match a domain's UUID.
        dom_handle: DomainHandle,
        /// If a domain has multiple VCPUs, vcpu_id specifies which one this schedule entry applies to. It
        /// should be set to 0 if there is only one VCPU for the domain.
        vcpu_id: u32,
        _pad0: [u8; 4],
        /// Runtime specifies the amount of time that should be allocated to this VCPU per major frame. It is
        /// specified in nanoseconds.
        runtime: u64,
    }

    /// `struct xen_sysctl_arinc653_schedule`: This structure is used to pass a new ARINC653 schedule from a
    /// privileged domain (ie dom0) to Xen.
    pub struct SysctlArinc653Schedule {
        /// `major_frame` holds the time for the new schedule's major frame in nanoseconds.
        major_frame: u64,
        /// `num_sched_entries` holds how many of the entries in the `sched_entries[]` array are valid.
        num_sched_entries: u8,
        _pad0: [u8; 7],
        /// The sched_entries array holds the actual schedule entries.
        sched_entries: [SysctlArinc653ScheduleSchedEntries; 64],
    }
}

/// Valid range for context switch rate limit (in microseconds). Applicable to Credit and Credit2 schedulers.
pub const XEN_SYSCTL_SCHED_RATELIMIT_MAX: u32 = 500000;
pub const XEN_SYSCTL_SCHED_RATELIMIT_MIN: u32 = 100;

structs! {
    /// `struct xen_sysctl_credit_schedule`.
    pub struct SysctlCreditSchedule {
        tslice_ms: u32,
        ratelimit_us: u32,
        vcpu_migr_delay_us: u32,
    }
}

/// Length of timeslice in milliseconds.
pub const XEN_SYSCTL_CSCHED_TSLICE_MAX: u32 = 1000;
pub const XEN_SYSCTL_CSCHED_TSLICE_MIN: u32 = 1;
/// How long we consider a vCPU to be cache-hot on the CPU where it has run (max 100ms, in microseconds).
pub const XEN_SYSCTL_CSCHED_MGR_DLY_MAX_US: u32 = 100 * 1000;

structs! {
    /// `struct xen_sysctl_credit2_schedule`.
    pub struct SysctlCredit2Schedule {
        ratelimit_us: u32,
    }
}

/// Set or get info?
pub const XEN_SYSCTL_SCHEDOP_PUTINFO: u32 = 0;
pub const XEN_SYSCTL_SCHEDOP_GETINFO: u32 = 1;

structs! {
    /// `struct xen_sysctl_sched_arinc653`.
    pub struct SysctlSchedArinc653 {
        schedule: GuestPtr<SysctlArinc653Schedule>,
    }

    /// `struct xen_sysctl_scheduler_op`.
    pub struct SysctlSchedulerOp {
        /// Cpupool whose scheduler is to be targetted.
        cpupool_id: u32,
        /// XEN_SCHEDULER_* (domctl.h).
        sched_id: u32,
        /// Takes `XEN_SYSCTL_SCHEDOP_*` values.
        cmd: u32,
        _pad0: [u8; 4],
        u: Union<u64, 2>,
    }
}

union_accessors! {
    SysctlSchedulerOp.u {
        as_sched_arinc653, set_sched_arinc653: SysctlSchedArinc653,
        as_sched_credit, set_sched_credit: SysctlCreditSchedule,
        as_sched_credit2, set_sched_credit2: SysctlCredit2Schedule,
    }
}

/// XCOV.
pub const XEN_GCOV_FORMAT_MAGIC: u32 = 0x58434f56;
/// Get total size of output data.
pub const XEN_SYSCTL_COVERAGE_GET_SIZE: u32 = 0;
/// Read output data.
pub const XEN_SYSCTL_COVERAGE_READ: u32 = 1;
/// Reset all counters.
pub const XEN_SYSCTL_COVERAGE_RESET: u32 = 2;

structs! {
    /// `struct xen_sysctl_coverage_op`.
    pub struct SysctlCoverageOp {
        cmd: u32,
        /// IN/OUT: size of the buffer.
        size: u32,
        buffer: GuestPtr<u8>,
    }
}

pub const XEN_SYSCTL_PSR_CMT_GET_TOTAL_RMID: u32 = 0;
pub const XEN_SYSCTL_PSR_CMT_GET_L3_UPSCALING_FACTOR: u32 = 1;
/// The L3 cache size is returned in KB unit.
pub const XEN_SYSCTL_PSR_CMT_GET_L3_CACHE_SIZE: u32 = 2;
pub const XEN_SYSCTL_PSR_CMT_ENABLED: u32 = 3;
pub const XEN_SYSCTL_PSR_CMT_GET_L3_EVENT_MASK: u32 = 4;

structs! {
    /// Member `u.l3_cache` of [`SysctlPsrCmtOp`].
    pub struct SysctlPsrCmtOpL3Cache {
        cpu: u32,
        rsvd: u32,
    }

    /// `struct xen_sysctl_psr_cmt_op`.
    pub struct SysctlPsrCmtOp {
        /// IN: XEN_SYSCTL_PSR_CMT_.
        cmd: u32,
        /// Padding variable, may be extended for future use.
        flags: u32,
        u: Union<u64, 1>,
    }
}

union_accessors! {
    SysctlPsrCmtOp.u {
        as_data, set_data: u64,
        as_l3_cache, set_l3_cache: SysctlPsrCmtOpL3Cache,
    }
}

pub const XEN_INVALID_DEV: u32 = XEN_INVALID_NODE_ID - 1;

structs! {
    /// `struct xen_sysctl_pcitopoinfo`.
    pub struct SysctlPcitopoinfo {
        /// IN: Number of elements in `devs` and `nodes` arrays. OUT: Number of processed elements of those
        /// arrays.
        num_devs: u32,
        _pad0: [u8; 4],
        /// IN: list of devices for which node IDs are requested.
        devs: GuestPtr<PhysdevPciDevice>,
        /// OUT: node identifier for each device. If information for a particular device is not available then
        /// corresponding entry will be set to XEN_INVALID_NODE_ID. If device is not known to the hypervisor
        /// then XEN_INVALID_DEV will be provided.
        nodes: GuestPtr<u32>,
    }
}

pub const XEN_SYSCTL_PSR_GET_L3_INFO: u32 = 0;
pub const XEN_SYSCTL_PSR_GET_L2_INFO: u32 = 1;
pub const XEN_SYSCTL_PSR_GET_MBA_INFO: u32 = 2;

structs! {
    /// Member `u.cat_info` of [`SysctlPsrAlloc`].
    pub struct SysctlPsrAllocCatInfo {
        /// OUT: CBM length.
        cbm_len: u32,
        /// OUT: Maximum COS.
        cos_max: u32,
        /// OUT: CAT flags.
        flags: u32,
    }

    /// Member `u.mba_info` of [`SysctlPsrAlloc`].
    pub struct SysctlPsrAllocMbaInfo {
        /// OUT: Maximum throttle.
        thrtl_max: u32,
        /// OUT: Maximum COS.
        cos_max: u32,
        /// OUT: MBA flags.
        flags: u32,
    }

    /// `struct xen_sysctl_psr_alloc`.
    pub struct SysctlPsrAlloc {
        /// IN: XEN_SYSCTL_PSR_.
        cmd: u32,
        target: u32,
        u: Union<u32, 3>,
    }
}

union_accessors! {
    SysctlPsrAlloc.u {
        as_cat_info, set_cat_info: SysctlPsrAllocCatInfo,
        as_mba_info, set_mba_info: SysctlPsrAllocMbaInfo,
    }
}

pub const XEN_SYSCTL_PSR_CAT_L3_CDP: u32 = 1 << 0;
pub const XEN_SYSCTL_PSR_MBA_LINEAR: u32 = 1 << 0;

structs! {
    /// `struct xen_sysctl_cpu_levelling_caps`: `XEN_SYSCTL_get_cpu_levelling_caps` (x86 specific).
    pub struct SysctlCpuLevellingCaps {
        caps: u32,
    }
}

/// CPUID faulting.
pub const XEN_SYSCTL_CPU_LEVELCAP_FAULTING: u32 = 1 << 0;
/// 0x00000001.ecx.
pub const XEN_SYSCTL_CPU_LEVELCAP_ECX: u32 = 1 << 1;
/// 0x00000001.edx.
pub const XEN_SYSCTL_CPU_LEVELCAP_EDX: u32 = 1 << 2;
/// 0x80000001.ecx.
pub const XEN_SYSCTL_CPU_LEVELCAP_EXTD_ECX: u32 = 1 << 3;
/// 0x80000001.edx.
pub const XEN_SYSCTL_CPU_LEVELCAP_EXTD_EDX: u32 = 1 << 4;
/// 0x0000000D:1.eax.
pub const XEN_SYSCTL_CPU_LEVELCAP_XSAVE_EAX: u32 = 1 << 5;
/// 0x00000006.ecx.
pub const XEN_SYSCTL_CPU_LEVELCAP_THERMAL_ECX: u32 = 1 << 6;
/// 0x00000007:0.eax.
pub const XEN_SYSCTL_CPU_LEVELCAP_L7S0_EAX: u32 = 1 << 7;
/// 0x00000007:0.ebx.
pub const XEN_SYSCTL_CPU_LEVELCAP_L7S0_EBX: u32 = 1 << 8;

structs! {
    /// `struct xen_sysctl_cpu_featureset`: `XEN_SYSCTL_get_cpu_featureset` (x86 specific).
    pub struct SysctlCpuFeatureset {
        /// IN: Which featureset to query?
        index: u32,
        /// IN/OUT: Number of entries in/written to `features`, or the maximum number of features if the guest
        /// handle is NULL.
        nr_features: u32,
        /// OUT:
        features: GuestPtr<u32>,
    }
}

pub const XEN_SYSCTL_CPU_FEATURESET_RAW: u32 = 0;
pub const XEN_SYSCTL_CPU_FEATURESET_HOST: u32 = 1;
pub const XEN_SYSCTL_CPU_FEATURESET_PV: u32 = 2;
pub const XEN_SYSCTL_CPU_FEATURESET_HVM: u32 = 3;
pub const XEN_SYSCTL_CPU_FEATURESET_PV_MAX: u32 = 4;
pub const XEN_SYSCTL_CPU_FEATURESET_HVM_MAX: u32 = 5;
pub const LIVEPATCH_PAYLOAD_VERSION: u32 = 2;
/// Structure describing an ELF payload. Uniquely identifies the payload. Should be human readable.
/// Recommended length is upto XEN_LIVEPATCH_NAME_SIZE. Includes the NUL terminator.
pub const XEN_LIVEPATCH_NAME_SIZE: u32 = 128;

structs! {
    /// `struct xen_livepatch_name`.
    pub struct LivepatchName {
        /// IN: pointer to name.
        name: GuestPtr<u8>,
        /// IN: size of name. May be upto XEN_LIVEPATCH_NAME_SIZE.
        size: u16,
        /// IN: MUST be zero.
        pad: [u16; 3],
    }
}

/// Upload a payload to the hypervisor. The payload is verified against basic checks and if there are any
/// issues the proper return code will be returned. The payload is not applied at this time – that is
/// controlled by XEN_SYSCTL_LIVEPATCH_ACTION.
pub const XEN_SYSCTL_LIVEPATCH_UPLOAD: u32 = 0;

structs! {
    /// `struct xen_sysctl_livepatch_upload`.
    pub struct SysctlLivepatchUpload {
        /// IN, name of the patch.
        name: LivepatchName,
        /// IN, size of the ELF file.
        size: u64,
        /// IN, the ELF file.
        payload: GuestPtr<u8>,
    }
}

/// Retrieve an status of an specific payload.
pub const XEN_SYSCTL_LIVEPATCH_GET: u32 = 1;

structs! {
    /// `struct xen_livepatch_status`.
    pub struct LivepatchStatus {
        /// OUT: LIVEPATCH_STATE_*.
        state: u32,
        /// OUT: 0 if no error, otherwise -XEN_EXX.
        rc: i32,
    }
}

pub const LIVEPATCH_STATE_CHECKED: u32 = 1;
pub const LIVEPATCH_STATE_APPLIED: u32 = 2;

structs! {
    /// `struct xen_sysctl_livepatch_get`.
    pub struct SysctlLivepatchGet {
        /// IN, name of the payload.
        name: LivepatchName,
        /// IN/OUT, state of it.
        status: LivepatchStatus,
    }
}

/// Retrieve an array of abbreviated status, names and metadata of payloads that are loaded in the
/// hypervisor.
pub const XEN_SYSCTL_LIVEPATCH_LIST: u32 = 2;

structs! {
    /// `struct xen_sysctl_livepatch_list`.
    pub struct SysctlLivepatchList {
        /// OUT: Hypervisor stamps value. If varies between calls, we are getting stale data.
        version: u32,
        /// IN: Index into hypervisor list.
        idx: u32,
        /// IN: How many status, name, and len should fill out. Can be zero to get amount of payloads and
        /// version. OUT: How many payloads left.
        nr: u32,
        /// IN: Must be zero.
        pad: u32,
        /// OUT: Total size of all transfer names.
        name_total_size: u32,
        /// OUT: Total size of all transfer metadata.
        metadata_total_size: u32,
        /// OUT. Must have enough space allocate for nr of them.
        status: GuestPtr<LivepatchStatus>,
        /// OUT: Array of names. Each member may have an arbitrary length up to XEN_LIVEPATCH_NAME_SIZE bytes.
        /// Must have nr of them.
        name: GuestPtr<u8>,
        /// OUT: Array of lengths of name's. Must have nr of them.
        len: GuestPtr<u32>,
        /// OUT: Array of metadata strings. Each member may have an arbitrary length. Must have nr of them.
        metadata: GuestPtr<u8>,
        /// OUT: Array of lengths of metadata's. Must have nr of them.
        metadata_len: GuestPtr<u32>,
    }
}

/// Perform an operation on the payload structure referenced by the `name` field. The operation request is
/// asynchronous and the status should be retrieved by using either XEN_SYSCTL_LIVEPATCH_GET or
/// XEN_SYSCTL_LIVEPATCH_LIST hypercall.
pub const XEN_SYSCTL_LIVEPATCH_ACTION: u32 = 3;

structs! {
    /// `struct xen_sysctl_livepatch_action`.
    pub struct SysctlLivepatchAction {
        /// IN, name of the patch.
        name: LivepatchName,
        /// IN: LIVEPATCH_ACTION_*.
        cmd: u32,
        /// IN: If zero then uses hypervisor default. Or upper bound of time (ns) for operation to take.
        timeout: u32,
        /// IN: action flags. Provide additional parameters for an action.
        flags: u32,
        /// IN: Always zero.
        pad: u32,
    }
}

pub const LIVEPATCH_ACTION_UNLOAD: u32 = 1;
pub const LIVEPATCH_ACTION_REVERT: u32 = 2;
pub const LIVEPATCH_ACTION_APPLY: u32 = 3;
pub const LIVEPATCH_ACTION_REPLACE: u32 = 4;
/// Override default inter-module buildid dependency chain enforcement. Check only if module is built for
/// given hypervisor by comparing buildid.
pub const LIVEPATCH_ACTION_APPLY_NODEPS: u32 = 1 << 0;

structs! {
    /// `struct xen_sysctl_livepatch_op`.
    pub struct SysctlLivepatchOp {
        /// IN: XEN_SYSCTL_LIVEPATCH_*.
        cmd: u32,
        /// IN: Always zero.
        pad: u32,
        u: Union<u64, 8>,
    }
}

union_accessors! {
    SysctlLivepatchOp.u {
        as_upload, set_upload: SysctlLivepatchUpload,
        as_list, set_list: SysctlLivepatchList,
        as_get, set_get: SysctlLivepatchGet,
        as_action, set_action: SysctlLivepatchAction,
    }
}

structs! {
    /// `struct xen_sysctl_cpu_policy`: `XEN_SYSCTL_get_cpu_policy` (x86 specific).
    pub struct SysctlCpuPolicy {
        /// IN: Which policy to query?
        index: u32,
        /// IN/OUT: Number of leaves in/written to `leaves`, or the max number if `leaves` is NULL.
        nr_leaves: u32,
        /// IN/OUT: Number of MSRs in/written to `msrs`, or the max number of if `msrs` is NULL.
        nr_msrs: u32,
        /// Must be zero.
        _rsvd: u32,
        leaves: GuestPtr<CpuidLeaf>,
        msrs: GuestPtr<MsrEntry>,
    }
}

pub const XEN_SYSCTL_CPU_POLICY_RAW: u32 = 0;
pub const XEN_SYSCTL_CPU_POLICY_HOST: u32 = 1;
pub const XEN_SYSCTL_CPU_POLICY_PV_MAX: u32 = 2;
pub const XEN_SYSCTL_CPU_POLICY_HVM_MAX: u32 = 3;
pub const XEN_SYSCTL_CPU_POLICY_PV_DEFAULT: u32 = 4;
pub const XEN_SYSCTL_CPU_POLICY_HVM_DEFAULT: u32 = 5;

structs! {
    /// `struct xen_sysctl`: What `HYPERVISOR_sysctl` takes: the command and its own argument in `u`.
    pub struct Sysctl {
        /// `XEN_SYSCTL_*`.
        cmd: u32,
        /// Must be `XEN_SYSCTL_INTERFACE_VERSION`.
        interface_version: u32,
        u: Union<u64, 16>,
    }
}

union_accessors! {
    Sysctl.u {
        as_readconsole, set_readconsole: SysctlReadconsole,
        as_tbuf_op, set_tbuf_op: SysctlTbufOp,
        as_physinfo, set_physinfo: SysctlPhysinfo,
        as_cputopoinfo, set_cputopoinfo: SysctlCputopoinfo,
        as_pcitopoinfo, set_pcitopoinfo: SysctlPcitopoinfo,
        as_numainfo, set_numainfo: SysctlNumainfo,
        as_sched_id, set_sched_id: SysctlSchedId,
        as_perfc_op, set_perfc_op: SysctlPerfcOp,
        as_getdomaininfolist, set_getdomaininfolist: SysctlGetdomaininfolist,
        as_debug_keys, set_debug_keys: SysctlDebugKeys,
        as_getcpuinfo, set_getcpuinfo: SysctlGetcpuinfo,
        as_availheap, set_availheap: SysctlAvailheap,
        as_get_pmstat, set_get_pmstat: SysctlGetPmstat,
        as_cpu_hotplug, set_cpu_hotplug: SysctlCpuHotplug,
        as_pm_op, set_pm_op: SysctlPmOp,
        as_page_offline, set_page_offline: SysctlPageOfflineOp,
        as_lockprof_op, set_lockprof_op: SysctlLockprofOp,
        as_cpupool_op, set_cpupool_op: SysctlCpupoolOp,
        as_scheduler_op, set_scheduler_op: SysctlSchedulerOp,
        as_coverage_op, set_coverage_op: SysctlCoverageOp,
        as_psr_cmt_op, set_psr_cmt_op: SysctlPsrCmtOp,
        as_psr_alloc, set_psr_alloc: SysctlPsrAlloc,
        as_cpu_levelling_caps, set_cpu_levelling_caps: SysctlCpuLevellingCaps,
        as_cpu_featureset, set_cpu_featureset: SysctlCpuFeatureset,
        as_livepatch, set_livepatch: SysctlLivepatchOp,
        as_cpu_policy, set_cpu_policy: SysctlCpuPolicy,
    }
}

// Commands.
pub const XEN_SYSCTL_READCONSOLE: u32 = 1;
pub const XEN_SYSCTL_TBUF_OP: u32 = 2;
pub const XEN_SYSCTL_PHYSINFO: u32 = 3;
pub const XEN_SYSCTL_SCHED_ID: u32 = 4;
pub const XEN_SYSCTL_PERFC_OP: u32 = 5;
pub const XEN_SYSCTL_GETDOMAININFOLIST: u32 = 6;
pub const XEN_SYSCTL_DEBUG_KEYS: u32 = 7;
pub const XEN_SYSCTL_GETCPUINFO: u32 = 8;
pub const XEN_SYSCTL_AVAILHEAP: u32 = 9;
pub const XEN_SYSCTL_GET_PMSTAT: u32 = 10;
pub const XEN_SYSCTL_CPU_HOTPLUG: u32 = 11;
pub const XEN_SYSCTL_PM_OP: u32 = 12;
pub const XEN_SYSCTL_PAGE_OFFLINE_OP: u32 = 14;
pub const XEN_SYSCTL_LOCKPROF_OP: u32 = 15;
pub const XEN_SYSCTL_CPUTOPOINFO: u32 = 16;
pub const XEN_SYSCTL_NUMAINFO: u32 = 17;
pub const XEN_SYSCTL_CPUPOOL_OP: u32 = 18;
pub const XEN_SYSCTL_SCHEDULER_OP: u32 = 19;
pub const XEN_SYSCTL_COVERAGE_OP: u32 = 20;
pub const XEN_SYSCTL_PSR_CMT_OP: u32 = 21;
pub const XEN_SYSCTL_PCITOPOINFO: u32 = 22;
pub const XEN_SYSCTL_PSR_ALLOC: u32 = 23;
pub const XEN_SYSCTL_GET_CPU_LEVELLING_CAPS: u32 = 25;
pub const XEN_SYSCTL_GET_CPU_FEATURESET: u32 = 26;
pub const XEN_SYSCTL_LIVEPATCH_OP: u32 = 27;
pub const XEN_SYSCTL_GET_CPU_POLICY: u32 = 29;
