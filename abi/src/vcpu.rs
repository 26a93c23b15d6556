//! `vcpu.h`: bring vCPUs up and down, their timers, and the memory in which the hypervisor tells about them.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

use crate::xen::VcpuTimeInfo;
use crate::{GuestPtr, Union};

/// Initialise a VCPU. Each VCPU can be initialised only once. A newly-initialised VCPU will not run until it
/// is brought up by VCPUOP_up.
pub const VCPUOP_INITIALISE: u32 = 0;
/// Bring up a VCPU. This makes the VCPU runnable. This operation will fail if the VCPU has not been
/// initialised (VCPUOP_initialise).
pub const VCPUOP_UP: u32 = 1;
/// Bring down a VCPU (i.e., make it non-runnable). There are a few caveats that callers should observe.
pub const VCPUOP_DOWN: u32 = 2;
/// Returns 1 if the given VCPU is up.
pub const VCPUOP_IS_UP: u32 = 3;
/// Return information about the state and running time of a VCPU.
pub const VCPUOP_GET_RUNSTATE_INFO: u32 = 4;

structs! {
    /// `struct vcpu_runstate_info`: What a vCPU does now and how long it did what, in ns.
    pub struct VcpuRunstateInfo {
        /// VCPU's current state (RUNSTATE_*).
        state: i32,
        _pad0: [u8; 4],
        /// When was current state entered (system time, ns)?
        state_entry_time: u64,
        /// Time spent in each RUNSTATE_* (ns). The sum of these times is guaranteed not to drift from system
        /// time.
        time: [u64; 4],
    }
}

/// Update indicator set in state_entry_time: When activated via VMASST_TYPE_runstate_update_flag, set during
/// updates in guest memory mapped copy of vcpu_runstate_info.
pub const XEN_RUNSTATE_UPDATE: u64 = 1 << 63;
/// VCPU is currently running on a physical CPU.
pub const RUNSTATE_RUNNING: u32 = 0;
/// VCPU is runnable, but not currently scheduled on any physical CPU.
pub const RUNSTATE_RUNNABLE: u32 = 1;
/// VCPU is blocked (a.k.a. idle). It is therefore not runnable.
pub const RUNSTATE_BLOCKED: u32 = 2;
/// VCPU is not runnable, but it is not blocked. This is a 'catch all' state for things like hotplug and
/// pauses by the system administrator (or for critical sections in the hypervisor). RUNSTATE_blocked
/// dominates this state (it is the preferred state).
pub const RUNSTATE_OFFLINE: u32 = 3;
/// Register a shared memory area from which the guest may obtain its own runstate information without
/// needing to execute a hypercall.
pub const VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA: u32 = 5;

structs! {
    /// `struct vcpu_register_runstate_memory_area`.
    pub struct VcpuRegisterRunstateMemoryArea {
        addr: Union<u64, 1>,
    }
}

union_accessors! {
    VcpuRegisterRunstateMemoryArea.addr {
        as_h, set_h: GuestPtr<VcpuRunstateInfo>,
        as_p, set_p: u64,
    }
}

/// Set or stop a VCPU's periodic timer. Every VCPU has one periodic timer which can be set via these
/// commands. Periods smaller than one millisecond may not be supported.
pub const VCPUOP_SET_PERIODIC_TIMER: u32 = 6;
pub const VCPUOP_STOP_PERIODIC_TIMER: u32 = 7;

structs! {
    /// `struct vcpu_set_periodic_timer`.
    pub struct VcpuSetPeriodicTimer {
        period_ns: u64,
    }
}

/// Set or stop a VCPU's single-shot timer. Every VCPU has one single-shot timer which can be set via these
/// commands.
pub const VCPUOP_SET_SINGLESHOT_TIMER: u32 = 8;
pub const VCPUOP_STOP_SINGLESHOT_TIMER: u32 = 9;

structs! {
    /// `struct vcpu_set_singleshot_timer`.
    pub struct VcpuSetSingleshotTimer {
        /// Absolute system time value in nanoseconds.
        timeout_abs_ns: u64,
        /// VCPU_SSHOTTMR_???
        flags: u32,
        _pad0: [u8; 4],
    }
}

pub const VCPU_SSHOTTMR_FUTURE: u32 = 1 << 0;
/// Register a memory location in the guest address space for the vcpu_info structure. This allows the guest
/// to place the vcpu_info structure in a convenient place, such as in a per-cpu data area. The pointer need
/// not be page aligned, but the structure must not cross a page boundary.
pub const VCPUOP_REGISTER_VCPU_INFO: u32 = 10;

structs! {
    /// `struct vcpu_register_vcpu_info`.
    pub struct VcpuRegisterVcpuInfo {
        /// Mfn of page to place vcpu_info.
        mfn: u64,
        /// Offset within page.
        offset: u32,
        /// Unused.
        rsvd: u32,
    }
}

/// Send an NMI to the specified VCPU.
pub const VCPUOP_SEND_NMI: u32 = 11;
/// Get the physical ID information for a pinned vcpu's underlying physical processor. The physical ID
/// information is architecture-specific. On x86: `id[31:0]`=apic_id, `id[63:32]`=acpi_id. This command
/// returns -EINVAL if it is not a valid operation for this VCPU.
pub const VCPUOP_GET_PHYSID: u32 = 12;

structs! {
    /// `struct vcpu_get_physid`.
    pub struct VcpuGetPhysid {
        phys_id: u64,
    }
}

/// Register a memory location to get a secondary copy of the vcpu time parameters. The master copy still
/// exists as part of the vcpu shared memory area, and this secondary copy is updated whenever the master
/// copy is updated (and using the same versioning scheme for synchronisation).
pub const VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA: u32 = 13;

structs! {
    /// `struct vcpu_register_time_memory_area`.
    pub struct VcpuRegisterTimeMemoryArea {
        addr: Union<u64, 1>,
    }
}

union_accessors! {
    VcpuRegisterTimeMemoryArea.addr {
        as_h, set_h: GuestPtr<VcpuTimeInfo>,
        as_p, set_p: u64,
    }
}
