//! `sched.h`: yield, block, poll, shut down, watchdogs.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

use crate::GuestPtr;
use crate::event_channel::EvtchnPort;
use crate::xen::Domid;

/// Voluntarily yield the CPU.
pub const SCHEDOP_YIELD: u32 = 0;
/// Block execution of this VCPU until an event is received for processing. If called with event upcalls
/// masked, this operation will atomically reenable event delivery and check for pending events before
/// blocking the VCPU. This avoids a "wakeup waiting" race.
pub const SCHEDOP_BLOCK: u32 = 1;
/// Halt execution of this domain (all VCPUs) and notify the system controller.
pub const SCHEDOP_SHUTDOWN: u32 = 2;
/// Poll a set of event-channel ports. Return when one or more are pending. An optional timeout may be
/// specified.
pub const SCHEDOP_POLL: u32 = 3;
/// Declare a shutdown for another domain. The main use of this function is in interpreting shutdown requests
/// and reasons for fully-virtualized domains. A para-virtualized domain may use SCHEDOP_shutdown directly.
pub const SCHEDOP_REMOTE_SHUTDOWN: u32 = 4;
/// Latch a shutdown code, so that when the domain later shuts down it reports this code to the control
/// tools.
pub const SCHEDOP_SHUTDOWN_CODE: u32 = 5;
/// Setup, poke and destroy a domain watchdog timer. With id == 0, setup a domain watchdog timer to cause
/// domain shutdown after timeout, returns watchdog id. With id != 0 and timeout == 0, destroy domain
/// watchdog timer. With id != 0 and timeout != 0, poke watchdog timer and set new timeout.
pub const SCHEDOP_WATCHDOG: u32 = 6;
/// Override the current vcpu affinity by pinning it to one physical cpu or undo this override restoring the
/// previous affinity.
pub const SCHEDOP_PIN_OVERRIDE: u32 = 7;

structs! {
    /// `struct sched_shutdown`: Why the domain shuts down.
    pub struct SchedShutdown {
        /// Takes `SHUTDOWN_*` values.
        reason: u32,
    }

    /// `struct sched_poll`: Ports to wait for, and until when (absolute, ns of system time; 0: no limit).
    pub struct SchedPoll {
        ports: GuestPtr<EvtchnPort>,
        nr_ports: u32,
        _pad0: [u8; 4],
        timeout: u64,
    }

    /// `struct sched_remote_shutdown`.
    pub struct SchedRemoteShutdown {
        /// Remote domain ID.
        domain_id: Domid,
        _pad0: [u8; 2],
        /// Takes `SHUTDOWN_*` values.
        reason: u32,
    }

    /// `struct sched_watchdog`.
    pub struct SchedWatchdog {
        /// Watchdog ID.
        id: u32,
        /// Timeout.
        timeout: u32,
    }

    /// `struct sched_pin_override`.
    pub struct SchedPinOverride {
        pcpu: i32,
    }
}

/// Domain exited normally. Clean up and kill.
pub const SHUTDOWN_POWEROFF: u32 = 0;
/// Clean up, kill, and then restart.
pub const SHUTDOWN_REBOOT: u32 = 1;
/// Clean up, save suspend info, kill.
pub const SHUTDOWN_SUSPEND: u32 = 2;
/// Tell controller we've crashed.
pub const SHUTDOWN_CRASH: u32 = 3;
/// Restart because watchdog time expired.
pub const SHUTDOWN_WATCHDOG: u32 = 4;
/// Domain asked to perform 'soft reset' for it. The expected behavior is to reset internal Xen state for the
/// domain returning it to the point where it was created but leaving the domain's memory contents and vCPU
/// contexts intact.
pub const SHUTDOWN_SOFT_RESET: u32 = 5;
/// Maximum valid shutdown reason.
pub const SHUTDOWN_MAX: u32 = 5;
