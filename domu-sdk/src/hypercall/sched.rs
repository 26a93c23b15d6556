//! `sched_op`: give the CPU away, or end.

use super::{Result, input, op};
use crate::types::DomId;
use abi::{
    sched::{
        SCHEDOP_BLOCK, SCHEDOP_PIN_OVERRIDE, SCHEDOP_POLL, SCHEDOP_REMOTE_SHUTDOWN, SCHEDOP_SHUTDOWN,
        SCHEDOP_YIELD, SchedPinOverride, SchedPoll, SchedRemoteShutdown, SchedShutdown,
    },
    xen::hypercall::SCHED_OP,
};

/// Lets others run; returns when it is this vCPU's turn again.
pub fn yield_now() {
    let _ = op(SCHED_OP, SCHEDOP_YIELD, 0);
}

/// Unmasks events and sleeps until one is pending, as one step. Returns with events unmasked.
pub fn block() {
    let _ = op(SCHED_OP, SCHEDOP_BLOCK, 0);
}

/// Sleeps until one of the ports is pending or the system time `timeout` (ns, 0 = never) has come; also returns when any
/// other event becomes pending for this vCPU.
pub fn poll(ports: &[u32], timeout: u64) -> Result {
    let argument = SchedPoll {
        ports: abi::GuestPtr::new(input(ports)),
        nr_ports: ports.len() as u32,
        timeout,
        ..SchedPoll::default()
    };
    op(SCHED_OP, SCHEDOP_POLL, input(&argument)).map(|_| ())
}

/// Keeps this vCPU on one CPU whatever its affinity; `None` takes that back. For the first domain.
pub fn pin_override(cpu: Option<u32>) -> Result {
    let pcpu = cpu.map_or(-1, |cpu| i32::try_from(cpu).unwrap_or(i32::MAX));
    op(SCHED_OP, SCHEDOP_PIN_OVERRIDE, input(&SchedPinOverride { pcpu })).map(|_| ())
}

/// Ends this domain for one of `SHUTDOWN_*`. Returns only after a suspend, or if the hypervisor refuses.
pub fn shutdown(reason: u32) -> Result {
    let argument = SchedShutdown { reason };
    op(SCHED_OP, SCHEDOP_SHUTDOWN, input(&argument)).map(|_| ())
}

/// Ends another domain for one of `SHUTDOWN_*`.
pub fn remote_shutdown(domain: DomId, reason: u32) -> Result {
    let argument = SchedRemoteShutdown { domain_id: domain.0, reason, ..SchedRemoteShutdown::default() };
    op(SCHED_OP, SCHEDOP_REMOTE_SHUTDOWN, input(&argument)).map(|_| ())
}
