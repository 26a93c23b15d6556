//! What toolstacks and guests do to the scheduling of a domain: pause, shut down, affinity, shares.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use super::{Hold, Scheduler, stop_all, wake_all};
use crate::Hypervisor;
use crate::addr::DomId;
use crate::domain::{Domain, Life, Vcpu};
use crate::effects::{Effects, Todo};
use crate::fail::{Errno, Why};
use crate::platform::{Platform, Power};

/// Reasons of a shutdown, `SHUTDOWN_*` of sched.h.
mod reason {
    pub const POWEROFF: u32 = abi::sched::SHUTDOWN_POWEROFF;
    pub const REBOOT: u32 = abi::sched::SHUTDOWN_REBOOT;
    pub const CRASH: u32 = abi::sched::SHUTDOWN_CRASH;
}

/// How often [`Scheduler::await_stop`] looks: up to some 100 µs, many times what an interrupt takes to the other CPU.
const PATIENCE: u32 = 1000;

/// Stands for "no reason yet" in [`Domain::shutdown_reason`].
pub const NO_REASON: u32 = u32::MAX;

impl Scheduler {
    /// Pauses one vCPU; pauses count.
    ///
    /// Its CPU is asked to let go of it, which takes effect with the effects: see [`Scheduler::await_stop`].
    pub fn pause_vcpu<P: Platform>(&self, hv: &Hypervisor<P>, vcpu: &Arc<Vcpu>) -> Effects {
        vcpu.sched.pauses.fetch_add(1, Ordering::SeqCst);
        self.stop(hv, vcpu)
    }

    /// Takes one pause of a vCPU back.
    pub fn unpause_vcpu<P: Platform>(&self, hv: &Hypervisor<P>, vcpu: &Arc<Vcpu>) -> Effects {
        decrement(&vcpu.sched.pauses);
        self.wake(hv, vcpu)
    }

    /// Pauses a domain; pauses count.
    pub fn pause_domain<P: Platform>(&self, hv: &Hypervisor<P>, domain: &Domain) -> Effects {
        domain.paused.fetch_add(1, Ordering::SeqCst);
        stop_all(hv, domain)
    }

    /// Takes one pause of a domain back.
    pub fn unpause_domain<P: Platform>(&self, hv: &Hypervisor<P>, domain: &Domain) -> Effects {
        if decrement(&domain.paused) == 0 { wake_all(hv, domain) } else { Effects::NONE }
    }

    /// Whether no CPU runs the vCPU or still holds its registers. Stays true while it is paused.
    pub fn is_descheduled(&self, vcpu: &Vcpu) -> bool {
        vcpu.sched.running_on().is_none() && vcpu.state.try_lock().is_some()
    }

    /// Whether these vCPUs, of a domain that is paused for long or ends, have left all CPUs, so that their state may be looked at. If
    /// not, the effects kick the CPUs in question, and the caller tries again later ([`crate::fail::Fail::Again`]).
    pub fn has_stopped<P: Platform>(&self, hv: &Hypervisor<P>, vcpus: &[Arc<Vcpu>]) -> (bool, Effects) {
        let running = vcpus.iter().filter(|vcpu| !self.is_descheduled(vcpu));
        running.fold((true, Effects::NONE), |(_, effects), vcpu| (false, effects.and(self.stop(hv, vcpu))))
    }

    /// After a short pause of these vCPUs: waits until they have left all CPUs, so that their state may
    /// be looked at, and says whether they have. The CPUs that run them are interrupted; what else follows is in the effects.
    ///
    /// The pause must last while this waits: one that is taken back before the other CPU heard of it changes nothing there, and
    /// who tries in that way again and again may never succeed. A CPU that is interrupted lets go as soon as it is
    /// through with what it does, which is never long, unless it waits for the calling CPU in the same way. So the wait ends
    /// when an interrupt comes for the calling CPU, and in any case after [`PATIENCE`] looks; the caller comes again
    /// later then ([`crate::fail::Fail::Again`]). No lock is held but the state of the calling vCPU, which nobody else
    /// waits for.
    pub fn await_stop<P: Platform>(&self, hv: &Hypervisor<P>, vcpus: &[Arc<Vcpu>]) -> (bool, Effects) {
        let mut running = vcpus.iter().filter(|vcpu| !self.is_descheduled(vcpu)).peekable();
        if running.peek().is_none() {
            return (true, Effects::NONE);
        }
        let effects = running.fold(Effects::NONE, |effects, vcpu| effects.and(self.stop(hv, vcpu)));
        if effects.kick != 0 {
            hv.platform.kick(&effects);
        }
        let effects = Effects::todo(effects.todo);
        for _ in 0..PATIENCE {
            if vcpus.iter().all(|vcpu| self.is_descheduled(vcpu)) {
                return (true, effects);
            }
            if hv.platform.interrupt_pending() {
                break;
            }
            crate::sync::relax();
        }
        (false, effects)
    }

    /// Sets where a vCPU may and where it should run; `None` leaves as it is.
    ///
    /// # Errors
    /// `EINVAL` when the CPUs it may run on do not exist.
    pub fn set_affinity<P: Platform>(
        &self,
        hv: &Hypervisor<P>,
        vcpu: &Arc<Vcpu>,
        hard: Option<u64>,
        soft: Option<u64>,
    ) -> Result<Effects, Errno> {
        let all = u64::MAX >> (64 - self.cpus());
        if hard.is_some_and(|set| set & all == 0) {
            return Err(Errno::EINVAL);
        }
        if let Some(set) = soft {
            vcpu.sched.soft_affinity.store(set, Ordering::Relaxed);
        }
        let Some(set) = hard else { return Ok(Effects::NONE) };
        vcpu.sched.affinity.store(set, Ordering::Relaxed);
        Ok(self.place_again(hv, vcpu))
    }

    /// `SCHEDOP_pin_override`: keeps a vCPU on one CPU; `None` takes that back.
    ///
    /// # Errors
    /// `EINVAL` for a CPU that does not exist; `EBUSY` when it is pinned already, `ENOENT` when there is nothing to take back.
    pub fn pin<P: Platform>(
        &self,
        hv: &Hypervisor<P>,
        vcpu: &Arc<Vcpu>,
        cpu: Option<u32>,
    ) -> Result<Effects, Errno> {
        let pin = &vcpu.sched.pin;
        let new = match cpu {
            Some(cpu) if cpu >= self.cpus() => return Err(Errno::EINVAL),
            Some(cpu) => cpu as i32,
            None => -1,
        };
        let pinned = pin.load(Ordering::Relaxed) >= 0;
        match (pinned, cpu) {
            (true, Some(_)) => return Err(Errno::EBUSY),
            (false, None) => return Err(Errno::EINVAL),
            _ => pin.store(new, Ordering::Relaxed),
        }
        Ok(self.place_again(hv, vcpu))
    }

    /// A vCPU's allowed CPUs changed.
    fn place_again<P: Platform>(&self, hv: &Hypervisor<P>, vcpu: &Arc<Vcpu>) -> Effects {
        let effects = self.stop(hv, vcpu);
        effects.and(self.wake(hv, vcpu))
    }

    fn place_all_again<P: Platform>(&self, hv: &Hypervisor<P>, domain: &Domain) -> Effects {
        domain.vcpus().iter().fold(Effects::NONE, |effects, vcpu| effects.and(self.place_again(hv, vcpu)))
    }

    /// Weight of each of a domain's vCPUs, and cap of all together (per cent of one CPU, 0 is none).
    pub fn share(&self, domain: &Domain) -> (u32, u32) {
        (domain.share.weight(), domain.share.cap())
    }

    /// Sets weight and cap; `None` leaves as it is.
    ///
    /// # Errors
    /// `EINVAL` for weight 0 or above 65535.
    pub fn set_share<P: Platform>(
        &self,
        hv: &Hypervisor<P>,
        domain: &Domain,
        weight: Option<u32>,
        cap: Option<u32>,
    ) -> Result<Effects, Errno> {
        if weight.is_some_and(|weight| weight == 0 || weight > 0xffff) {
            return Err(Errno::EINVAL);
        }
        if let Some(weight) = weight {
            domain.share.set_weight(weight);
        }
        if let Some(cap) = cap {
            domain.share.set_cap(cap);
            // Those that run must ask again, and those that are parked may go on.
            return Ok(self.place_all_again(hv, domain));
        }
        Ok(Effects::NONE)
    }

    /// Brings a shut-down domain back to life (`XEN_DOMCTL_resumedomain`); nothing happens to one that is not shut down.
    pub fn resume<P: Platform>(&self, hv: &Hypervisor<P>, domain: &Domain) -> Effects {
        if !domain.resume() {
            return Effects::NONE;
        }
        domain.shutdown_reason.store(NO_REASON, Ordering::Release);
        wake_all(hv, domain)
    }
}

/// Decrements, but not below 0; returns the new value.
fn decrement(count: &crate::sync::atomic::AtomicU32) -> u32 {
    count
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| Some(n.saturating_sub(1)))
        .map_or(0, |before| before.saturating_sub(1))
}

/// Shuts a domain down: its vCPUs stop, the reason is kept for the toolstack, and the control domain gets `VIRQ_DOM_EXC`. When it is
/// the first domain, the machine stops instead.
///
/// A reason that was latched before (`SCHEDOP_shutdown_code`) wins over `reason`.
pub fn shut_down<P: Platform>(hv: &Hypervisor<P>, domain: &Arc<Domain>, reason: u32) -> Effects {
    let latched = &domain.shutdown_reason;
    let reason = match latched.compare_exchange(NO_REASON, reason, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => reason,
        Err(before) => before,
    };
    if domain.id == DomId::DOM0 {
        stop_machine(hv, reason);
    }
    if !domain.advance(Life::ShutDown) {
        return Effects::todo(Todo::RESCHEDULE);
    }
    let stopped = stop_all(hv, domain);
    stopped.and(crate::event::send_global_virq(hv, abi::xen::VIRQ_DOM_EXC))
}

/// Ends a domain that broke a rule, as if it had asked for it with `SHUTDOWN_crash`.
pub fn crash_domain<P: Platform>(hv: &Hypervisor<P>, domain: &Arc<Domain>, why: Why) -> Effects {
    if domain.life() == Life::Alive {
        log::error!("{} crashed: {why}", domain.id);
    }
    shut_down(hv, domain, reason::CRASH)
}

/// The first domain ended: so does the machine.
fn stop_machine<P: Platform>(hv: &Hypervisor<P>, reason: u32) -> ! {
    let how = match reason {
        reason::POWEROFF => Power::Off,
        reason::REBOOT => Power::Reboot,
        _ if hv.config.noreboot => Power::Halt,
        _ => Power::Reboot,
    };
    let name = match reason {
        reason::POWEROFF => "power off",
        reason::REBOOT => "reboot",
        reason::CRASH => "crash",
        abi::sched::SHUTDOWN_WATCHDOG => "watchdog",
        _ => "unknown",
    };
    let next = match how {
        Power::Off => "powering off",
        Power::Reboot => "rebooting",
        Power::Halt => "noreboot is set, halting",
    };
    log::warn!("Domain 0 shut down ({name}, reason {reason}): {next}");
    hv.platform.power(how)
}

/// Whether a vCPU waits for an event: what `getdomaininfo` calls blocked.
pub fn is_blocked(vcpu: &Vcpu) -> bool {
    vcpu.sched.holds().contains(Hold::BLOCKED)
}
