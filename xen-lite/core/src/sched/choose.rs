//! The choice: what a CPU runs next, and until when.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use super::vcpu::NOWHERE;
use super::{Queue, RATE_LIMIT, Scheduler, State, is_runnable, resting};
use crate::Hypervisor;
use crate::addr::CpuId;
use crate::domain::Vcpu;
use crate::platform::Platform;

/// What a CPU does next.
#[derive(Debug)]
pub struct Decision {
    /// The vCPU to run; none is idle.
    pub next: Option<Arc<Vcpu>>,
    /// When the CPU must call [`crate::time::tick`] at the latest, in nanoseconds since boot; `u64::MAX` is never. The hardware timer
    /// has been programmed for it already.
    pub deadline: u64,
}

/// What becomes of the vCPU that ran.
enum Back {
    /// It runs on.
    Stays,
    /// It does not; it is queued if it is runnable.
    Leaves,
    /// It is runnable, but not on this CPU any more.
    Evicted,
}

impl Scheduler {
    /// Chooses what the calling CPU runs next. The image calls it on [`Todo::RESCHEDULE`], when kicked, and when idle ends, and
    /// then switches.
    pub fn schedule<P: Platform>(&self, hv: &Hypervisor<P>, cpu: CpuId, now: u64) -> Decision {
        let mut guard = self.queues[cpu.index()].lock();
        let queue = &mut *guard;
        let mut evicted = None;
        if let Some(previous) = queue.current.take() {
            match self.put_back(queue, &previous, cpu, now) {
                Back::Stays => {
                    end_poll(&previous);
                    queue.current = Some(previous.clone());
                    self.set_slice(queue, cpu, now);
                    let kicked = self.give_away(queue, cpu, now);
                    drop(guard);
                    if kicked.kick != 0 {
                        hv.platform.kick(&kicked);
                    }
                    return Decision { next: Some(previous), deadline: self.timers.program(hv, cpu) };
                }
                Back::Leaves => {}
                Back::Evicted => evicted = Some(previous),
            }
        }
        let next = queue.waiting.pop_front().or_else(|| self.steal(cpu));
        if let Some(next) = &next {
            end_poll(next);
            next.sched.queued.store(false, Ordering::Relaxed);
            next.sched.running_on.store(cpu.raw(), Ordering::SeqCst);
            next.sched.runstate.lock().enter(State::Running, now);
            queue.floor = queue.floor.max(next.sched.virtual_time.load(Ordering::Relaxed));
            self.idle.fetch_and(!(1 << cpu.raw()), Ordering::Relaxed);
        } else {
            self.idle.fetch_or(1 << cpu.raw(), Ordering::Relaxed);
        }
        queue.started = now;
        queue.charged = now;
        queue.current = next.clone();
        self.set_slice(queue, cpu, now);
        let mut effects = self.give_away(queue, cpu, now);
        drop(guard);
        if let Some(vcpu) = evicted {
            effects = effects.and(self.wake(hv, &vcpu));
        }
        if effects.kick != 0 {
            hv.platform.kick(&effects);
        }
        Decision { next, deadline: self.timers.program(hv, cpu) }
    }

    /// Accounts for the vCPU that ran, and queues it if it can go on here.
    fn put_back(&self, queue: &mut Queue, previous: &Arc<Vcpu>, cpu: CpuId, now: u64) -> Back {
        let sched = &previous.sched;
        self.policy.charge(previous, now.saturating_sub(queue.charged));
        queue.charged = queue.charged.max(now);
        let yielded = sched.yielded.swap(false, Ordering::Relaxed);
        if !is_runnable(previous) {
            sched.running_on.store(NOWHERE, Ordering::SeqCst);
            sched.runstate.lock().enter(resting(previous), now);
            return Back::Leaves;
        }
        if self.usable(sched.allowed()) & 1 << cpu.raw() == 0 {
            sched.running_on.store(NOWHERE, Ordering::SeqCst);
            sched.runstate.lock().enter(State::Runnable, now);
            return Back::Evicted;
        }
        let Some(first) = queue.waiting.front() else { return Back::Stays };
        let ran = now.saturating_sub(queue.started);
        if yielded {
            let theirs = first.sched.virtual_time.load(Ordering::Relaxed);
            sched.virtual_time.fetch_max(theirs, Ordering::Relaxed);
        } else if ran < RATE_LIMIT || (ran < self.policy.slice() && !self.policy.preempts(first, previous)) {
            return Back::Stays;
        }
        sched.running_on.store(NOWHERE, Ordering::SeqCst);
        sched.runstate.lock().enter(State::Runnable, now);
        self.enqueue(queue, previous.clone());
        Back::Leaves
    }

    /// Settles when the slice of `current` ends: never while nobody waits.
    fn set_slice(&self, queue: &Queue, cpu: CpuId, now: u64) {
        let end = match (&queue.current, queue.waiting.front()) {
            (Some(current), Some(first)) => {
                let rate = queue.started.saturating_add(RATE_LIMIT);
                if now < rate && self.policy.preempts(first, current) {
                    rate
                } else {
                    queue.started.saturating_add(self.policy.slice()).max(now)
                }
            }
            _ => u64::MAX,
        };
        self.slice_end[cpu.index()].store(end, Ordering::Relaxed);
    }
}

/// A vCPU that polled goes on.
#[inline(always)]
fn end_poll(vcpu: &Vcpu) {
    if vcpu.sched.poll() != 0
        && let Some(domain) = vcpu.domain.upgrade()
    {
        crate::event::poll_ended(&domain, vcpu);
    }
}
