//! `sched_op`, its older form, and `set_timer_op` (sched.h).

use abi::sched::*;
use core::sync::atomic::Ordering;

use super::coverage::{Sub, full};
use super::guest::{GuestHandle, read_one};
use super::{Args, Caller};
use crate::Hypervisor;
use crate::addr::{DomId, EvtchnPort};
use crate::domain::Life;
use crate::effects::{Done, Effects};
use crate::fail::{Errno, Fail};
use crate::platform::Platform;
use crate::time::{self, NEVER, WATCHDOGS};
use crate::trap::info;
use crate::{event, sched};

/// Sub-operations.
pub const SUBS: &[Sub] = &[
    full(SCHEDOP_YIELD, "SCHEDOP_yield"),
    full(SCHEDOP_BLOCK, "SCHEDOP_block"),
    full(SCHEDOP_SHUTDOWN, "SCHEDOP_shutdown"),
    full(SCHEDOP_POLL, "SCHEDOP_poll"),
    full(SCHEDOP_REMOTE_SHUTDOWN, "SCHEDOP_remote_shutdown"),
    full(SCHEDOP_SHUTDOWN_CODE, "SCHEDOP_shutdown_code"),
    full(SCHEDOP_WATCHDOG, "SCHEDOP_watchdog"),
    full(SCHEDOP_PIN_OVERRIDE, "SCHEDOP_pin_override"),
];

/// Ports that one poll may name.
const MAX_POLL: usize = 128;
/// A deadline this far ahead is taken for a guest's arithmetic gone wrong (about 13 days).
const FAR_AHEAD: u64 = 1 << 50;
/// What such a deadline becomes, in nanoseconds from now.
const INSTEAD: u64 = 100_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// `sched_op`: command, pointer to its structure.
#[inline]
pub fn sched_op<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    let at = args[1];
    let effects = match args[0] as u32 {
        SCHEDOP_YIELD => hv.sched.yield_now(caller.vcpu),
        SCHEDOP_BLOCK => block(hv, caller),
        SCHEDOP_SHUTDOWN => {
            let op: SchedShutdown = read_one(hv, at)?;
            sched::shut_down(hv, caller.domain, op.reason & 0xff)
        }
        SCHEDOP_POLL => poll(hv, caller, at)?,
        SCHEDOP_REMOTE_SHUTDOWN => remote_shutdown(hv, caller, at)?,
        SCHEDOP_SHUTDOWN_CODE => {
            let op: SchedShutdown = read_one(hv, at)?;
            if caller.domain.life() != Life::Alive {
                return Err(Errno::EINVAL.into());
            }
            caller.domain.shutdown_reason.store(op.reason & 0xff, Ordering::Release);
            Effects::NONE
        }
        SCHEDOP_WATCHDOG => {
            let op: SchedWatchdog = read_one(hv, at)?;
            return watchdog(hv, caller, op.id, op.timeout);
        }
        SCHEDOP_PIN_OVERRIDE => {
            if caller.domain.id != DomId::DOM0 {
                return Err(Errno::EPERM.into());
            }
            let op: SchedPinOverride = read_one(hv, at)?;
            hv.sched.pin(hv, caller.vcpu, u32::try_from(op.pcpu).ok())?
        }
        _ => return Err(Errno::ENOSYS.into()),
    };
    Ok(Done::with(effects))
}

/// `sched_op_compat`: command, and for a shutdown the reason.
pub fn sched_op_compat<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    let effects = match args[0] as u32 {
        SCHEDOP_YIELD => hv.sched.yield_now(caller.vcpu),
        SCHEDOP_BLOCK => block(hv, caller),
        SCHEDOP_SHUTDOWN => sched::shut_down(hv, caller.domain, args[1] as u32 & 0xff),
        _ => return Err(Errno::ENOSYS.into()),
    };
    Ok(Done::with(effects))
}

fn block<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>) -> Effects {
    info::set_masked(hv, caller.vcpu, false);
    hv.sched.block(hv, caller.vcpu)
}

fn poll<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, at: u64) -> Result<Effects, Fail> {
    let op: SchedPoll = read_one(hv, at)?;
    let count = op.nr_ports as usize;
    if count > MAX_POLL {
        return Err(Errno::EINVAL.into());
    }
    let list = GuestHandle::<u32>::new(op.ports.addr(), count as u64)?;
    let mut ports = [EvtchnPort::new(0); MAX_POLL];
    for (index, port) in ports[..count].iter_mut().enumerate() {
        *port = EvtchnPort::new(list.read(hv, index as u64)?);
        if port.raw() == 0 {
            return Err(Errno::EINVAL.into());
        }
    }
    let deadline = if op.timeout == 0 { NEVER } else { op.timeout };
    Ok(event::poll(hv, caller.domain, caller.vcpu, &ports[..count], deadline)?)
}

fn remote_shutdown<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, at: u64) -> Result<Effects, Fail> {
    let op: SchedRemoteShutdown = read_one(hv, at)?;
    let target = hv.domains.get(DomId::new(op.domain_id)).ok_or(Errno::ESRCH)?;
    if !caller.domain.privileged || target.id == caller.domain.id {
        return Err(Errno::EPERM.into());
    }
    Ok(sched::shut_down(hv, &target, op.reason & 0xff))
}

/// The watchdogs of a domain are numbered from 1. Each is held by the vCPU that set it last.
fn watchdog<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &Caller<'_>,
    id: u32,
    seconds: u32,
) -> Result<Done, Fail> {
    let holder = |index: usize| {
        caller.domain.vcpus().iter().find(|vcpu| vcpu.time.watchdog(index).load(Ordering::Relaxed) != NEVER)
    };
    let deadline = hv.platform.now().saturating_add(u64::from(seconds) * NS_PER_S);
    if id == 0 {
        if seconds == 0 {
            return Err(Errno::EINVAL.into());
        }
        let Some(index) = (0..WATCHDOGS).find(|index| holder(*index).is_none()) else {
            // Guests take the result for 32 bits, and that is what upstream gives them.
            return Ok(Done::value(i64::from(Errno::ENOSPC.as_ret() as u32)));
        };
        time::set_watchdog(hv, caller.vcpu, index, deadline);
        return Ok(Done::value(index as i64 + 1));
    }
    let index = id as usize - 1;
    let held = if index < WATCHDOGS { holder(index) } else { None };
    held.ok_or(Errno::EINVAL)?.time.watchdog(index).store(NEVER, Ordering::Relaxed);
    if seconds != 0 {
        time::set_watchdog(hv, caller.vcpu, index, deadline);
    }
    Ok(Done::OK)
}

/// `set_timer_op`: the single-shot timer in nanoseconds since boot; 0 stops it.
#[inline]
pub fn set_timer_op<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    let deadline = match args[0] {
        0 => NEVER,
        wanted => {
            let now = hv.platform.now();
            let is_far = wanted as i64 <= 0 || wanted.saturating_sub(now) >= FAR_AHEAD;
            if is_far { now.saturating_add(INSTEAD) } else { wanted }
        }
    };
    time::set_singleshot(hv, caller.vcpu, deadline);
    Ok(Done::OK)
}
