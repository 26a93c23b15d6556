//! Hypercall numbers, `__HYPERVISOR_*` of `xen.h`.
//!
//! A PV guest passes the number in RAX and arguments in RDI, RSI, RDX, R10, R8; the result comes back in RAX.
//! The entry of number `n` in the hypercall page is at `n * 32`. The hypervisor may clobber the argument
//! registers, RCX and R11.

/// Registers trap handlers.
pub const SET_TRAP_TABLE: u64 = 0;
/// Writes page-table entries and M2P entries.
pub const MMU_UPDATE: u64 = 1;
/// Installs the GDT.
pub const SET_GDT: u64 = 2;
/// Sets the kernel stack.
pub const STACK_SWITCH: u64 = 3;
/// Registers event and failsafe callbacks (older form).
pub const SET_CALLBACKS: u64 = 4;
/// Sets or clears CR0.TS.
pub const FPU_TASKSWITCH: u64 = 5;
/// `sched_op` before 3.1.1.
pub const SCHED_OP_COMPAT: u64 = 6;
/// Platform operations of the hardware domain.
pub const PLATFORM_OP: u64 = 7;
/// Writes a debug register.
pub const SET_DEBUGREG: u64 = 8;
/// Reads a debug register.
pub const GET_DEBUGREG: u64 = 9;
/// Writes one segment descriptor.
pub const UPDATE_DESCRIPTOR: u64 = 10;
/// Memory reservations and maps.
pub const MEMORY_OP: u64 = 12;
/// Several hypercalls in one.
pub const MULTICALL: u64 = 13;
/// Writes the L1 entry of a linear address.
pub const UPDATE_VA_MAPPING: u64 = 14;
/// Sets the one-shot timer (absolute, ns of system time).
pub const SET_TIMER_OP: u64 = 15;
/// `event_channel_op` before 3.2.2.
pub const EVENT_CHANNEL_OP_COMPAT: u64 = 16;
/// Version and features.
pub const XEN_VERSION: u64 = 17;
/// The emergency console.
pub const CONSOLE_IO: u64 = 18;
/// `physdev_op` before 3.2.2.
pub const PHYSDEV_OP_COMPAT: u64 = 19;
/// Grant tables.
pub const GRANT_TABLE_OP: u64 = 20;
/// Turns assists on and off.
pub const VM_ASSIST: u64 = 21;
/// As `UPDATE_VA_MAPPING`, for a frame of another domain.
pub const UPDATE_VA_MAPPING_OTHERDOMAIN: u64 = 22;
/// Returns from a trap or event handler.
pub const IRET: u64 = 23;
/// Operations on a vCPU.
pub const VCPU_OP: u64 = 24;
/// Writes FS and GS bases.
pub const SET_SEGMENT_BASE: u64 = 25;
/// Pins, base pointers, flushes.
pub const MMUEXT_OP: u64 = 26;
/// Security module.
pub const XSM_OP: u64 = 27;
/// NMI callback.
pub const NMI_OP: u64 = 28;
/// Yield, block, shut down, poll.
pub const SCHED_OP: u64 = 29;
/// Registers callbacks.
pub const CALLBACK_OP: u64 = 30;
/// Profiling.
pub const XENOPROF_OP: u64 = 31;
/// Event channels.
pub const EVENT_CHANNEL_OP: u64 = 32;
/// Interrupts and PCI of physical devices.
pub const PHYSDEV_OP: u64 = 33;
/// HVM parameters and operations.
pub const HVM_OP: u64 = 34;
/// Control of the whole system.
pub const SYSCTL: u64 = 35;
/// Control of domains.
pub const DOMCTL: u64 = 36;
/// Crash and reboot kernels.
pub const KEXEC_OP: u64 = 37;
/// Was transcendent memory.
pub const TMEM_OP: u64 = 38;
/// Argo messages.
pub const ARGO_OP: u64 = 39;
/// Performance counters.
pub const XENPMU_OP: u64 = 40;
/// Device model operations.
pub const DM_OP: u64 = 41;
/// The hypervisor file system.
pub const HYPFS_OP: u64 = 42;
/// Reserved for the architecture (0: machine checks).
pub const ARCH_0: u64 = 48;
/// Reserved for the architecture.
pub const ARCH_1: u64 = 49;
/// Reserved for the architecture.
pub const ARCH_2: u64 = 50;
/// Reserved for the architecture.
pub const ARCH_3: u64 = 51;
/// Reserved for the architecture.
pub const ARCH_4: u64 = 52;
/// Reserved for the architecture.
pub const ARCH_5: u64 = 53;
/// Reserved for the architecture.
pub const ARCH_6: u64 = 54;
/// Reserved for the architecture.
pub const ARCH_7: u64 = 55;

/// Distance of two entries of the hypercall page, in bytes.
pub const ENTRY_SIZE: usize = 32;
/// The number of entries in the hypercall page.
pub const PAGE_ENTRIES: u64 = 128;

/// The name of hypercall `number` in lower case, for logs.
pub const fn name(number: u64) -> Option<&'static str> {
    Some(match number {
        SET_TRAP_TABLE => "set_trap_table",
        MMU_UPDATE => "mmu_update",
        SET_GDT => "set_gdt",
        STACK_SWITCH => "stack_switch",
        SET_CALLBACKS => "set_callbacks",
        FPU_TASKSWITCH => "fpu_taskswitch",
        SCHED_OP_COMPAT => "sched_op_compat",
        PLATFORM_OP => "platform_op",
        SET_DEBUGREG => "set_debugreg",
        GET_DEBUGREG => "get_debugreg",
        UPDATE_DESCRIPTOR => "update_descriptor",
        MEMORY_OP => "memory_op",
        MULTICALL => "multicall",
        UPDATE_VA_MAPPING => "update_va_mapping",
        SET_TIMER_OP => "set_timer_op",
        EVENT_CHANNEL_OP_COMPAT => "event_channel_op_compat",
        XEN_VERSION => "xen_version",
        CONSOLE_IO => "console_io",
        PHYSDEV_OP_COMPAT => "physdev_op_compat",
        GRANT_TABLE_OP => "grant_table_op",
        VM_ASSIST => "vm_assist",
        UPDATE_VA_MAPPING_OTHERDOMAIN => "update_va_mapping_otherdomain",
        IRET => "iret",
        VCPU_OP => "vcpu_op",
        SET_SEGMENT_BASE => "set_segment_base",
        MMUEXT_OP => "mmuext_op",
        XSM_OP => "xsm_op",
        NMI_OP => "nmi_op",
        SCHED_OP => "sched_op",
        CALLBACK_OP => "callback_op",
        XENOPROF_OP => "xenoprof_op",
        EVENT_CHANNEL_OP => "event_channel_op",
        PHYSDEV_OP => "physdev_op",
        HVM_OP => "hvm_op",
        SYSCTL => "sysctl",
        DOMCTL => "domctl",
        KEXEC_OP => "kexec_op",
        TMEM_OP => "tmem_op",
        ARGO_OP => "argo_op",
        XENPMU_OP => "xenpmu_op",
        DM_OP => "dm_op",
        HYPFS_OP => "hypfs_op",
        ARCH_0 => "arch_0",
        ARCH_1 => "arch_1",
        ARCH_2 => "arch_2",
        ARCH_3 => "arch_3",
        ARCH_4 => "arch_4",
        ARCH_5 => "arch_5",
        ARCH_6 => "arch_6",
        ARCH_7 => "arch_7",
        _ => return None,
    })
}
