//! Waking and stopping: vCPUs into queues and out of them.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use super::policy::virtual_time;
use super::{Hold, Queue, Scheduler, State, is_runnable, resting};
use crate::Hypervisor;
use crate::addr::CpuId;
use crate::domain::Vcpu;
use crate::effects::{Effects, Todo};
use crate::platform::Platform;
use crate::trap::info::upcall_pending;

impl Scheduler {
    /// Makes sure that a vCPU that became runnable runs soon. Does nothing when it is not runnable, queued, or running.
    pub fn wake<P: Platform>(&self, hv: &Hypervisor<P>, vcpu: &Arc<Vcpu>) -> Effects {
        if !is_runnable(vcpu) {
            self.settle_state(hv, vcpu);
            return Effects::NONE;
        }
        if self.policy.is_exclusive() {
            return self.wake_seated(hv, vcpu);
        }
        self.rehome(vcpu);
        self.enter_queue(hv, vcpu)
    }

    /// The same where each vCPU has a CPU to itself.
    #[cold]
    fn wake_seated<P: Platform>(&self, hv: &Hypervisor<P>, vcpu: &Arc<Vcpu>) -> Effects {
        let mut effects = Effects::NONE;
        if self.sits_wrongly(vcpu)
            && vcpu.sched.running_on().is_none()
            && !vcpu.sched.queued.load(Ordering::Relaxed)
            && let Some(next) = self.leave_seat(vcpu)
        {
            effects = self.enter_queue(hv, &next);
        }
        if self.has_seat(vcpu) {
            return effects.and(self.enter_queue(hv, vcpu));
        }
        let mut account = vcpu.sched.runstate.lock();
        if account.state != State::Runnable {
            account.enter(State::Runnable, hv.platform.now());
        }
        effects
    }

    /// Queues a runnable vCPU in its CPU's queue. Whether it still is runnable must be asked under the lock: who set a hold
    /// meanwhile has found it in no queue, and will not look again. The same holds for where it may run.
    fn enter_queue<P: Platform>(&self, hv: &Hypervisor<P>, vcpu: &Arc<Vcpu>) -> Effects {
        let sched = &vcpu.sched;
        let mut queue = loop {
            let queue = self.queue_of(vcpu);
            if sched.queued.load(Ordering::Relaxed) || sched.running_on().is_some() || !is_runnable(vcpu) {
                return Effects::NONE;
            }
            if self.policy.is_exclusive() || self.may_run_on(vcpu, queue.cpu) {
                break queue;
            }
            drop(queue);
            self.rehome(vcpu);
        };
        let now = hv.platform.now();
        sched.runstate.lock().enter(State::Runnable, now);
        self.charge_current(&mut queue, now);
        self.catch_up(&mut queue);
        sched.virtual_time.fetch_max(queue.floor, Ordering::Relaxed);
        let preempts = queue.current.as_ref().is_none_or(|current| self.policy.preempts(vcpu, current));
        self.enqueue(&mut queue, vcpu.clone());
        if preempts { reschedule(hv, queue.cpu) } else { self.bound_slice(hv, &queue) }
    }

    /// Charges the vCPU that runs up to now. Who wakes is at most a slice ahead of the first of those who run or wait here.
    pub(super) fn charge_current(&self, queue: &mut Queue, now: u64) {
        let Some(current) = &queue.current else { return };
        let ran = now.saturating_sub(queue.charged);
        if ran == 0 {
            return;
        }
        queue.charged = now;
        queue.busy += ran;
        self.policy.charge(current, ran);
        current.sched.share.spend(ran, now);
        let time = virtual_time(current);
        let least = queue.waiting.front().map_or(time, |first| virtual_time(first).min(time));
        queue.floor = queue.floor.max(least.saturating_sub(self.params.slice()));
        self.publish_horizon(queue.cpu, current, time);
    }

    /// A vCPU that does not wait any more, and is held back otherwise, is offline.
    fn settle_state<P: Platform>(&self, hv: &Hypervisor<P>, vcpu: &Vcpu) {
        let mut account = vcpu.sched.runstate.lock();
        if account.state == State::Blocked && resting(vcpu) == State::Offline {
            account.enter(State::Offline, hv.platform.now());
        }
    }

    /// A vCPU waits now: one that runs alone, without end of slice, must get one.
    fn bound_slice<P: Platform>(&self, hv: &Hypervisor<P>, queue: &Queue) -> Effects {
        let end = queue.started.saturating_add(self.params.slice());
        let slice_end = &self.hints[queue.cpu.index()].slice_end;
        if slice_end.load(Ordering::Relaxed) <= end {
            return Effects::NONE;
        }
        slice_end.store(end, Ordering::Relaxed);
        if queue.cpu == hv.platform.cpu() {
            self.timers.program(hv, queue.cpu);
            Effects::NONE
        } else {
            reschedule(hv, queue.cpu)
        }
    }

    pub(super) fn enqueue(&self, queue: &mut Queue, vcpu: Arc<Vcpu>) {
        vcpu.sched.queued.store(true, Ordering::Relaxed);
        let place = self.policy.place(&queue.waiting, &vcpu);
        queue.waiting.insert(place.min(queue.waiting.len()), vcpu);
        self.publish(queue);
    }

    /// Moves a vCPU that is neither queued nor running to the queue of an idle CPU, if its own is busy or forbidden.
    fn rehome(&self, vcpu: &Arc<Vcpu>) {
        if self.queues.len() == 1 {
            return;
        }
        let queue = self.queue_of(vcpu);
        if vcpu.sched.queued.load(Ordering::Relaxed) || vcpu.sched.running_on().is_some() {
            return;
        }
        let (allowed, soft) = (self.usable(vcpu.sched.allowed()), vcpu.sched.affinity().1);
        let idle = self.idle.load(Ordering::Relaxed) & allowed;
        let home = 1 << queue.cpu.raw();
        let is_free = queue.current.is_none() && queue.waiting.is_empty();
        if allowed & home & soft != 0 && is_free {
            return;
        }
        let stay = if is_free { allowed & home } else { 0 };
        let elsewhere = if allowed & home == 0 { allowed } else { 0 };
        // Best first: an idle CPU that it prefers; its own, if that is free; another idle one; any that is allowed.
        let sets = [idle & soft, stay, idle, elsewhere & soft, elsewhere];
        if let Some(set) = sets.into_iter().find(|set| *set != 0) {
            let cpu = set.trailing_zeros();
            vcpu.sched.cpu.store(cpu, Ordering::Relaxed);
            // The next one that wakes looks elsewhere. The CPU says so itself if it stays idle.
            self.idle.fetch_and(!(1 << cpu), Ordering::Relaxed);
        }
    }

    /// Whether the vCPU's affinity lets it run on a CPU.
    fn may_run_on(&self, vcpu: &Vcpu, cpu: CpuId) -> bool {
        self.usable(vcpu.sched.allowed()) & 1 << cpu.raw() != 0
    }

    /// The CPUs of a set that exist; all when none does.
    pub(crate) fn usable(&self, set: u64) -> u64 {
        let all = u64::MAX >> (64 - self.cpus());
        if set & all != 0 { set & all } else { all }
    }

    /// An event arrived for a vCPU: ends its wait if it waits, and makes another CPU that runs it look.
    #[inline(always)]
    pub fn notify<P: Platform>(&self, hv: &Hypervisor<P>, vcpu: &Arc<Vcpu>) -> Effects {
        if vcpu.sched.holds().contains(Hold::BLOCKED) {
            return self.unblock(hv, vcpu);
        }
        match vcpu.sched.running_on() {
            Some(cpu) if cpu != hv.platform.cpu() => Effects { todo: Todo::empty(), kick: 1 << cpu.raw() },
            _ => Effects::NONE,
        }
    }

    /// Ends the wait of a vCPU for an event, if it waits.
    #[cold]
    pub fn unblock<P: Platform>(&self, hv: &Hypervisor<P>, vcpu: &Arc<Vcpu>) -> Effects {
        if vcpu.sched.release(Hold::BLOCKED).contains(Hold::BLOCKED) {
            self.wake(hv, vcpu)
        } else {
            Effects::NONE
        }
    }

    /// The calling vCPU waits for an event. The caller has unmasked its upcalls; if one is pending already, it does not wait.
    pub fn block<P: Platform>(&self, hv: &Hypervisor<P>, vcpu: &Arc<Vcpu>) -> Effects {
        vcpu.sched.hold(Hold::BLOCKED);
        if upcall_pending(hv, vcpu) {
            vcpu.sched.release(Hold::BLOCKED);
            return Effects::NONE;
        }
        Effects::todo(Todo::RESCHEDULE)
    }

    /// Sets [`Hold::BLOCKED`] without the check of [`Scheduler::block`]: the caller checks its own condition afterwards.
    pub(crate) fn start_wait(&self, vcpu: &Vcpu) {
        vcpu.sched.hold(Hold::BLOCKED);
    }

    /// Takes back [`Scheduler::start_wait`].
    pub(crate) fn cancel_wait(&self, vcpu: &Vcpu) {
        vcpu.sched.release(Hold::BLOCKED);
    }

    /// The calling vCPU lets others go first, if there are any.
    pub fn yield_now(&self, vcpu: &Vcpu) -> Effects {
        vcpu.sched.yielded.store(true, Ordering::Relaxed);
        Effects::todo(Todo::RESCHEDULE)
    }

    /// Brings a vCPU up; `false` when it was up already.
    pub fn up<P: Platform>(&self, hv: &Hypervisor<P>, vcpu: &Arc<Vcpu>) -> (bool, Effects) {
        let was_down = vcpu.sched.release(Hold::DOWN).contains(Hold::DOWN);
        (was_down, self.wake(hv, vcpu))
    }

    /// Takes a vCPU down.
    pub fn down<P: Platform>(&self, hv: &Hypervisor<P>, vcpu: &Arc<Vcpu>) -> Effects {
        vcpu.sched.hold(Hold::DOWN);
        self.stop(hv, vcpu)
    }

    /// A hold was set on a vCPU: takes it out of its queue, or makes its CPU choose again.
    pub(crate) fn stop<P: Platform>(&self, hv: &Hypervisor<P>, vcpu: &Arc<Vcpu>) -> Effects {
        let mut queue = self.queue_of(vcpu);
        if vcpu.sched.running_on().is_some() {
            return reschedule(hv, queue.cpu);
        }
        if vcpu.sched.queued.swap(false, Ordering::Relaxed) {
            queue.remove(vcpu);
            self.publish(&queue);
        }
        vcpu.sched.runstate.lock().enter(resting(vcpu), hv.platform.now());
        drop(queue);
        self.give_seat_up(hv, vcpu)
    }

    /// A vCPU stopped. If it went down for good, or sits where it must not, another may have its seat.
    pub(super) fn give_seat_up<P: Platform>(&self, hv: &Hypervisor<P>, vcpu: &Arc<Vcpu>) -> Effects {
        if !self.policy.is_exclusive() || vcpu.sched.is_up() && !self.sits_wrongly(vcpu) {
            return Effects::NONE;
        }
        self.leave_seat(vcpu).map_or(Effects::NONE, |next| self.wake(hv, &next))
    }
}

/// Makes a CPU choose again.
fn reschedule<P: Platform>(hv: &Hypervisor<P>, cpu: CpuId) -> Effects {
    if cpu == hv.platform.cpu() {
        Effects::todo(Todo::RESCHEDULE)
    } else {
        Effects { todo: Todo::empty(), kick: 1 << cpu.raw() }
    }
}
