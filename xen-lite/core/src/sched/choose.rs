//! The choice: what a CPU runs next, and until when.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use super::policy::virtual_time;
use super::share::next_period;
use super::vcpu::NOWHERE;
use super::{Queue, Scheduler, State, is_runnable, resting};
use crate::Hypervisor;
use crate::addr::CpuId;
use crate::domain::Vcpu;
use crate::effects::{Effects, Todo};
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
    /// It may not run on this CPU any more, or it went down.
    Gone,
}

impl Scheduler {
    /// Chooses what the calling CPU runs next. The image calls it on [`Todo::RESCHEDULE`], when kicked, and when idle ends, and
    /// then switches.
    pub fn schedule<P: Platform>(&self, hv: &Hypervisor<P>, cpu: CpuId, now: u64) -> Decision {
        let mut guard = self.queues[cpu.index()].lock();
        let queue = &mut *guard;
        self.charge_current(queue, now);
        self.unpark(queue, now);
        self.catch_up(queue);
        let mut gone = None;
        if let Some(previous) = queue.current.take() {
            match self.put_back(queue, &previous, now) {
                Back::Stays => {
                    end_poll(&previous);
                    queue.current = Some(previous);
                }
                Back::Leaves => {}
                Back::Gone => gone = Some(previous),
            }
        }
        if queue.current.is_none() {
            self.start(queue, now);
        }
        self.set_slice(queue, now);
        let next = queue.current.clone();
        let mut effects = Effects { todo: Todo::empty(), kick: self.nudge(queue, now) };
        drop(guard);
        if let Some(vcpu) = gone {
            effects = effects.and(self.give_seat_up(hv, &vcpu)).and(self.wake(hv, &vcpu));
        }
        if effects.kick != 0 {
            hv.platform.kick(&effects);
        }
        if effects.todo.contains(Todo::RESCHEDULE) {
            // Somebody was woken on this very CPU: who got the seat, or the vCPU that may not run here and has to.
            return self.schedule(hv, cpu, now);
        }
        Decision { next, deadline: self.timers.program(hv, cpu) }
    }

    /// Makes the best of those that wait the CPU's current vCPU.
    fn start(&self, queue: &mut Queue, now: u64) {
        let here = 1 << queue.cpu.raw();
        let next = self.pick(queue, now);
        if let Some(next) = &next {
            end_poll(next);
            next.sched.queued.store(false, Ordering::Relaxed);
            next.sched.running_on.store(queue.cpu.raw(), Ordering::SeqCst);
            next.sched.runstate.lock().enter(State::Running, now);
            queue.floor = queue.floor.max(virtual_time(next).saturating_sub(self.params.slice()));
            self.idle.fetch_and(!here, Ordering::Relaxed);
        } else {
            self.idle.fetch_or(here, Ordering::Relaxed);
        }
        let chosen = next.as_ref().map_or(0, |next| virtual_time(next));
        self.hints[queue.cpu.index()].chosen.store(chosen, Ordering::Relaxed);
        queue.started = now;
        queue.charged = now;
        queue.current = next;
    }

    /// The next vCPU that its domain's cap lets run; those that it does not are parked.
    fn pick(&self, queue: &mut Queue, now: u64) -> Option<Arc<Vcpu>> {
        loop {
            let next = match self.pull(queue, now) {
                Some(pulled) => pulled,
                None => {
                    let first = queue.waiting.pop_front()?;
                    self.publish(queue);
                    first
                }
            };
            if next.sched.share.allowance(now) != Some(0) {
                return Some(next);
            }
            park(queue, next, now);
        }
    }

    /// Queues parked vCPUs again whose domains have something left.
    fn unpark(&self, queue: &mut Queue, now: u64) {
        if now < queue.unpark_at {
            return;
        }
        for _ in 0..queue.parked.len() {
            let Some(vcpu) = queue.parked.pop_front() else { break };
            if vcpu.sched.share.allowance(now) == Some(0) {
                queue.parked.push_back(vcpu);
            } else {
                vcpu.sched.virtual_time.fetch_max(queue.floor, Ordering::Relaxed);
                self.enqueue(queue, vcpu);
            }
        }
        queue.unpark_at = if queue.parked.is_empty() { u64::MAX } else { next_period(now) };
    }

    /// Decides about the vCPU that ran, and queues it if it can go on later.
    fn put_back(&self, queue: &mut Queue, previous: &Arc<Vcpu>, now: u64) -> Back {
        let sched = &previous.sched;
        let yielded = sched.yielded.swap(false, Ordering::Relaxed);
        if !is_runnable(previous) {
            leave(previous, resting(previous), now);
            return if self.policy.is_exclusive() { Back::Gone } else { Back::Leaves };
        }
        if self.usable(sched.allowed()) & 1 << queue.cpu.raw() == 0 {
            leave(previous, State::Runnable, now);
            return Back::Gone;
        }
        if sched.share.allowance(now) == Some(0) {
            leave(previous, State::Runnable, now);
            park(queue, previous.clone(), now);
            return Back::Leaves;
        }
        let first = queue.waiting.front();
        if yielded && let Some(first) = first {
            sched.virtual_time.fetch_max(virtual_time(first), Ordering::Relaxed);
        } else if self.goes_on(queue, previous, now) {
            return Back::Stays;
        }
        leave(previous, State::Runnable, now);
        self.enqueue(queue, previous.clone());
        Back::Leaves
    }

    /// Whether the vCPU that ran keeps its CPU although others may wait. If its slice is over, another begins.
    fn goes_on(&self, queue: &mut Queue, previous: &Vcpu, now: u64) -> bool {
        let ran = now.saturating_sub(queue.started);
        if ran < self.params.rate_limit() {
            return true;
        }
        let is_over = ran >= self.params.slice();
        let chosen = self.chosen(queue.cpu);
        let first = queue.waiting.front();
        if first.is_some_and(|first| is_over || self.policy.preempts(first, previous)) {
            return false;
        }
        let time = if is_over { virtual_time(previous) } else { chosen };
        if let Some(pulled) = self.pull_behind(queue, time, now) {
            self.enqueue(queue, pulled);
            return false;
        }
        if is_over {
            queue.started = now;
            self.hints[queue.cpu.index()].chosen.store(virtual_time(previous), Ordering::Relaxed);
        }
        true
    }

    /// Settles when this CPU chooses again: never while nobody waits.
    fn set_slice(&self, queue: &Queue, now: u64) {
        let mut end = queue.unpark_at;
        if let Some(current) = &queue.current {
            let slice = queue.started.saturating_add(self.params.slice());
            let rate = queue.started.saturating_add(self.params.rate_limit());
            match queue.waiting.front() {
                Some(first) if now < rate && self.policy.preempts(first, current) => end = end.min(rate),
                Some(_) => end = end.min(slice.max(now)),
                None if now < rate && self.someone_is_behind(queue.cpu, self.chosen(queue.cpu)) => {
                    end = end.min(rate)
                }
                None if self.someone_waits_elsewhere(queue.cpu) => end = end.min(slice.max(now)),
                None => {}
            }
            if let Some(allowance) = current.sched.share.allowance(now) {
                end = end.min(now.saturating_add(allowance));
            }
        }
        self.hints[queue.cpu.index()].slice_end.store(end, Ordering::Relaxed);
    }
}

/// A vCPU does not run any more.
fn leave(vcpu: &Vcpu, state: State, now: u64) {
    vcpu.sched.running_on.store(NOWHERE, Ordering::SeqCst);
    vcpu.sched.runstate.lock().enter(state, now);
}

/// Puts a runnable vCPU aside until the next period.
fn park(queue: &mut Queue, vcpu: Arc<Vcpu>, now: u64) {
    vcpu.sched.queued.store(true, Ordering::Relaxed);
    queue.parked.push_back(vcpu);
    queue.unpark_at = queue.unpark_at.min(next_period(now));
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
