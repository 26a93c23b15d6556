//! `hvm/params.h`: numbers of the parameters of an HVM domain.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

pub const HVM_PARAM_PAE_ENABLED: u32 = 4;
pub const HVM_PARAM_DM_DOMAIN: u32 = 13;
pub const HVM_PARAM_MEMORY_EVENT_CR0: u32 = 20;
pub const HVM_PARAM_MEMORY_EVENT_CR3: u32 = 21;
pub const HVM_PARAM_MEMORY_EVENT_CR4: u32 = 22;
pub const HVM_PARAM_MEMORY_EVENT_INT3: u32 = 23;
pub const HVM_PARAM_NESTEDHVM: u32 = 24;
pub const HVM_PARAM_MEMORY_EVENT_SINGLE_STEP: u32 = 25;
pub const HVM_PARAM_BUFIOREQ_EVTCHN: u32 = 26;
pub const HVM_PARAM_MEMORY_EVENT_MSR: u32 = 30;
pub const HVM_PARAM_CALLBACK_IRQ: u32 = 0;
pub const HVM_PARAM_CALLBACK_IRQ_TYPE_MASK: u64 = 0xff00000000000000;
pub const HVM_PARAM_CALLBACK_TYPE_GSI: u32 = 0;
pub const HVM_PARAM_CALLBACK_TYPE_PCI_INTX: u32 = 1;
pub const HVM_PARAM_CALLBACK_TYPE_VECTOR: u32 = 2;
/// These are not used by Xen. They are here for convenience of HVM-guest xenbus implementations.
pub const HVM_PARAM_STORE_PFN: u32 = 1;
pub const HVM_PARAM_STORE_EVTCHN: u32 = 2;
pub const HVM_PARAM_IOREQ_PFN: u32 = 5;
pub const HVM_PARAM_BUFIOREQ_PFN: u32 = 6;
/// Viridian enlightenments.
pub const HVM_PARAM_VIRIDIAN: u32 = 9;
pub const HVMPV_BASE_FREQ: u32 = 1 << 0;
pub const HVMPV_NO_FREQ: u32 = 1 << 1;
pub const HVMPV_TIME_REF_COUNT: u32 = 1 << 2;
pub const HVMPV_REFERENCE_TSC: u32 = 1 << 3;
pub const HVMPV_HCALL_REMOTE_TLB_FLUSH: u32 = 1 << 4;
pub const HVMPV_APIC_ASSIST: u32 = 1 << 5;
pub const HVMPV_CRASH_CTL: u32 = 1 << 6;
pub const HVMPV_SYNIC: u32 = 1 << 7;
pub const HVMPV_STIMER: u32 = 1 << 8;
pub const HVMPV_HCALL_IPI: u32 = 1 << 9;
pub const HVMPV_EX_PROCESSOR_MASKS: u32 = 1 << 10;
pub const HVMPV_NO_VP_LIMIT: u32 = 1 << 11;
pub const HVMPV_CPU_HOTPLUG: u32 = 1 << 12;
pub const HVMPV_FEATURE_MASK: u32 = HVMPV_BASE_FREQ
    | HVMPV_NO_FREQ
    | HVMPV_TIME_REF_COUNT
    | HVMPV_REFERENCE_TSC
    | HVMPV_HCALL_REMOTE_TLB_FLUSH
    | HVMPV_APIC_ASSIST
    | HVMPV_CRASH_CTL
    | HVMPV_SYNIC
    | HVMPV_STIMER
    | HVMPV_HCALL_IPI
    | HVMPV_EX_PROCESSOR_MASKS
    | HVMPV_NO_VP_LIMIT
    | HVMPV_CPU_HOTPLUG;
/// Set mode for virtual timers (currently x86 only): delay_for_missed_ticks (default): Do not advance a
/// vcpu's time beyond the correct delivery time for interrupts that have been missed due to preemption.
pub const HVM_PARAM_TIMER_MODE: u32 = 10;
pub const HVMPTM_DELAY_FOR_MISSED_TICKS: u32 = 0;
pub const HVMPTM_NO_DELAY_FOR_MISSED_TICKS: u32 = 1;
pub const HVMPTM_NO_MISSED_TICKS_PENDING: u32 = 2;
pub const HVMPTM_ONE_MISSED_TICK_PENDING: u32 = 3;
/// Boolean: Enable virtual HPET (high-precision event timer)? (x86-only).
pub const HVM_PARAM_HPET_ENABLED: u32 = 11;
/// Identity-map page directory used by Intel EPT when CR0.PG=0.
pub const HVM_PARAM_IDENT_PT: u32 = 12;
/// ACPI S state: currently support S0 and S3 on x86.
pub const HVM_PARAM_ACPI_S_STATE: u32 = 14;
/// TSS used on Intel when CR0.PE=0.
pub const HVM_PARAM_VM86_TSS: u32 = 15;
/// Boolean: Enable aligning all periodic vpts to reduce interrupts.
pub const HVM_PARAM_VPT_ALIGN: u32 = 16;
/// Console debug shared memory ring and event channel.
pub const HVM_PARAM_CONSOLE_PFN: u32 = 17;
pub const HVM_PARAM_CONSOLE_EVTCHN: u32 = 18;
/// Select location of ACPI PM1a and TMR control blocks.
pub const HVM_PARAM_ACPI_IOPORTS_LOCATION: u32 = 19;
/// Params for the mem event rings.
pub const HVM_PARAM_PAGING_RING_PFN: u32 = 27;
pub const HVM_PARAM_MONITOR_RING_PFN: u32 = 28;
pub const HVM_PARAM_SHARING_RING_PFN: u32 = 29;
/// SHUTDOWN_* action in case of a triple fault.
pub const HVM_PARAM_TRIPLE_FAULT_REASON: u32 = 31;
pub const HVM_PARAM_IOREQ_SERVER_PFN: u32 = 32;
pub const HVM_PARAM_NR_IOREQ_SERVER_PAGES: u32 = 33;
/// Location of the VM Generation ID in guest physical address space.
pub const HVM_PARAM_VM_GENERATION_ID_ADDR: u32 = 34;
/// Set mode for altp2m: disabled: don't activate altp2m (default) mixed: allow access to all altp2m ops for
/// both in-guest and external tools external: allow access to external privileged tools only limited: guest
/// only has limited access (ie. control VMFUNC and #VE).
pub const HVM_PARAM_ALTP2M: u32 = 35;
pub const XEN_ALTP2M_DISABLED: u32 = 0;
pub const XEN_ALTP2M_MIXED: u32 = 1;
pub const XEN_ALTP2M_EXTERNAL: u32 = 2;
pub const XEN_ALTP2M_LIMITED: u32 = 3;
/// Size of the x87 FPU FIP/FDP registers that the hypervisor needs to save/restore. This is a workaround for
/// a hardware limitation that does not allow the full FIP/FDP and FCS/FDS to be restored.
pub const HVM_PARAM_X87_FIP_WIDTH: u32 = 36;
/// TSS (and its size) used on Intel when CR0.PE=0. The address occupies the low 32 bits, while the size is
/// in the high 32 ones.
pub const HVM_PARAM_VM86_TSS_SIZED: u32 = 37;
/// Enable MCA capabilities.
pub const HVM_PARAM_MCA_CAP: u32 = 38;
pub const XEN_HVM_MCA_CAP_LMCE: u32 = 1 << 0;
pub const XEN_HVM_MCA_CAP_MASK: u32 = XEN_HVM_MCA_CAP_LMCE;
pub const HVM_NR_PARAMS: u32 = 39;
