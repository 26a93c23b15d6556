//! Which vCPU runs where, and for how long.
//!
//! # States
//! A vCPU is *runnable* when nothing holds it back: no flag of [`Hold`] is set, it is not paused, its domain is neither paused
//! nor shut down. A runnable vCPU is *running* on one CPU or *queued* on one. The four run states that guests and toolstacks
//! see (`RUNSTATE_*` of vcpu.h) follow: running; runnable; blocked ([`Hold::BLOCKED`]); offline (everything else).
//!
//! # Locks
//! Each CPU has a run queue in a mutex of its own, which is a leaf: nothing else is locked under it, except a vCPU's own run
//! state account. A vCPU belongs to one CPU's queue ([`VcpuSched::cpu`]); that number changes only under that queue's lock and
//! only while the vCPU is neither queued nor running. Hence `running_on` and `queued` are stable under the lock.
//!
//! # No wake-up is lost
//! What holds a vCPU back is set and cleared with atomics *outside* the queue lock, and read under it. Whoever removes a
//! hold calls [`Scheduler::wake`] afterwards; whoever sets one makes the CPU call [`Scheduler::schedule`] afterwards. Both
//! take the queue lock, and the later of the two sees the flags as they are: a vCPU that was made runnable between "I block" and
//! the switch is found runnable by `schedule` and stays.
//!
//! Blocking for an event is a handshake between two words, each side writing one and then reading the other:
//!
//! | blocking vCPU | sender |
//! |---|---|
//! | 1. unmask upcalls | 1. set the upcall-pending byte |
//! | 2. set [`Hold::BLOCKED`] | 2. read the holds; if blocked, clear and wake |
//! | 3. read the upcall-pending byte; if set, clear `BLOCKED` | |
//!
//! All four accesses are sequentially consistent, so at least one side sees the other.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use spin::Mutex;

use crate::Hypervisor;
use crate::addr::CpuId;
use crate::domain::{Domain, Life, Vcpu};
use crate::effects::{Effects, Todo};
use crate::fail::Errno;
use crate::platform::Platform;
use crate::time::Timers;
use crate::trap::info::upcall_pending;

mod balance;
mod choose;
pub mod control;
mod policy;
mod runstate;
#[cfg(test)]
pub(crate) mod tests;
mod vcpu;

pub use choose::Decision;
pub use control::{crash_domain, shut_down};
pub use policy::{Credit, Null, Policy, RATE_LIMIT, SLICE};
pub use runstate::{Runstate, State};
pub use vcpu::{Hold, VcpuSched};

/// Whether nothing holds the vCPU back.
pub fn is_runnable(vcpu: &Vcpu) -> bool {
    if vcpu.sched.holds.load(Ordering::SeqCst) != 0 || vcpu.sched.pauses.load(Ordering::SeqCst) != 0 {
        return false;
    }
    let Some(domain) = vcpu.domain.upgrade() else { return false };
    domain.paused.load(Ordering::SeqCst) == 0 && domain.life() == Life::Alive
}

/// One CPU's vCPUs.
#[derive(Debug)]
pub struct Queue {
    /// Runnable and not running, in the order in which they run.
    waiting: VecDeque<Arc<Vcpu>>,
    current: Option<Arc<Vcpu>>,
    /// When `current` began to run without interruption.
    started: u64,
    /// Up to when `current` was charged.
    charged: u64,
    /// The least virtual time that a waking vCPU gets: nobody gains by sleeping.
    floor: u64,
    /// When it last looked for a CPU with less to do.
    balanced: u64,
}

/// All run queues.
#[derive(Debug)]
pub struct Scheduler {
    queues: Box<[Mutex<Queue>]>,
    /// CPUs without a vCPU (bit n is CPU n). A hint.
    idle: AtomicU64,
    /// When each CPU's current slice ends.
    slice_end: Box<[AtomicU64]>,
    policy: Box<dyn Policy>,
    /// vCPUs that were admitted and not dismissed: each queue has room for all of them.
    admitted: AtomicUsize,
    /// Timers of vCPUs, by CPU.
    pub timers: Timers,
}

impl Default for Scheduler {
    fn default() -> Self {
        Scheduler::new(1, Box::new(Credit))
    }
}

impl Scheduler {
    /// Queues for `cpus` CPUs (at most 64), all idle.
    pub fn new(cpus: u32, policy: Box<dyn Policy>) -> Scheduler {
        let cpus = cpus.clamp(1, 64);
        let queue = || Queue {
            waiting: VecDeque::new(),
            current: None,
            started: 0,
            charged: 0,
            floor: 0,
            balanced: 0,
        };
        Scheduler {
            queues: (0..cpus).map(|_| Mutex::new(queue())).collect::<Vec<_>>().into_boxed_slice(),
            idle: AtomicU64::new(u64::MAX >> (64 - cpus)),
            slice_end: (0..cpus).map(|_| AtomicU64::new(u64::MAX)).collect::<Vec<_>>().into_boxed_slice(),
            policy,
            admitted: AtomicUsize::new(0),
            timers: Timers::new(cpus),
        }
    }

    /// The policy's number in the public interface (`XEN_SCHEDULER_*`) and its name.
    pub fn policy(&self) -> (u32, &'static str) {
        (self.policy.id(), self.policy.name())
    }

    /// Number of CPUs.
    pub fn cpus(&self) -> u32 {
        self.queues.len() as u32
    }

    pub(crate) fn slice_end(&self, cpu: CpuId) -> u64 {
        self.slice_end.get(cpu.index()).map_or(u64::MAX, |end| end.load(Ordering::Relaxed))
    }

    /// Prepares for these vCPUs: room in the queues, so that waking never allocates, and a CPU each. Call it once, before
    /// the vCPUs are given to their domain.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn admit(&self, vcpus: &[Arc<Vcpu>], now: u64) -> Result<(), Errno> {
        let all = self.admitted.fetch_add(vcpus.len(), Ordering::Relaxed) + vcpus.len();
        self.make_room(all).inspect_err(|_| {
            self.admitted.fetch_sub(vcpus.len(), Ordering::Relaxed);
        })?;
        for vcpu in vcpus {
            vcpu.sched.cpu.store(vcpu.id.raw() % self.cpus(), Ordering::Relaxed);
            vcpu.sched.runstate.lock().enter(State::Offline, now);
        }
        Ok(())
    }

    /// Room for `all` vCPUs in each queue and timer list.
    fn make_room(&self, all: usize) -> Result<(), Errno> {
        for queue in &self.queues {
            let mut queue = queue.lock();
            let more = all.saturating_sub(queue.waiting.len());
            queue.waiting.try_reserve(more).map_err(|_| Errno::ENOMEM)?;
        }
        self.timers.make_room(all)
    }

    /// Forgets vCPUs that were admitted and will never run again.
    pub fn dismiss(&self, vcpus: &[Arc<Vcpu>]) {
        for vcpu in vcpus {
            vcpu.sched.hold(Hold::DOWN);
            let (_, mut queue) = self.queue_of(vcpu);
            vcpu.sched.queued.store(false, Ordering::Relaxed);
            queue.waiting.retain(|other| !Arc::ptr_eq(other, vcpu));
            drop(queue);
            self.timers.forget(vcpu);
        }
        self.admitted.fetch_sub(vcpus.len(), Ordering::Relaxed);
    }

    /// Locks the queue that the vCPU belongs to.
    fn queue_of(&self, vcpu: &Vcpu) -> (CpuId, spin::MutexGuard<'_, Queue>) {
        loop {
            let cpu = vcpu.sched.cpu();
            let queue = self.queues[cpu.index() % self.queues.len()].lock();
            if vcpu.sched.cpu() == cpu {
                return (cpu, queue);
            }
        }
    }

    /// Makes sure that a vCPU that became runnable runs soon. Does nothing when it is not runnable, queued, or running.
    pub fn wake<P: Platform>(&self, hv: &Hypervisor<P>, vcpu: &Arc<Vcpu>) -> Effects {
        if !is_runnable(vcpu) {
            self.settle_state(hv, vcpu);
            return Effects::NONE;
        }
        self.rehome(vcpu);
        let (cpu, mut queue) = self.queue_of(vcpu);
        let sched = &vcpu.sched;
        if sched.queued.load(Ordering::Relaxed) || sched.running_on().is_some() {
            return Effects::NONE;
        }
        let now = hv.platform.now();
        sched.runstate.lock().enter(State::Runnable, now);
        self.charge_current(&mut queue, now);
        sched.virtual_time.fetch_max(queue.floor, Ordering::Relaxed);
        let preempts = queue.current.as_ref().is_none_or(|current| self.policy.preempts(vcpu, current));
        self.enqueue(&mut queue, vcpu.clone());
        if preempts { reschedule(hv, cpu) } else { self.bound_slice(hv, cpu, &queue) }
    }

    /// Charges the vCPU that runs up to now. Who wakes is at most a slice ahead of it.
    fn charge_current(&self, queue: &mut Queue, now: u64) {
        let Some(current) = &queue.current else { return };
        self.policy.charge(current, now.saturating_sub(queue.charged));
        queue.charged = queue.charged.max(now);
        let lag = current.sched.virtual_time.load(Ordering::Relaxed).saturating_sub(self.policy.slice());
        queue.floor = queue.floor.max(lag);
    }

    /// A vCPU that does not wait any more, and is held back otherwise, is offline.
    fn settle_state<P: Platform>(&self, hv: &Hypervisor<P>, vcpu: &Vcpu) {
        let mut account = vcpu.sched.runstate.lock();
        if account.state == State::Blocked && resting(vcpu) == State::Offline {
            account.enter(State::Offline, hv.platform.now());
        }
    }

    /// A vCPU waits now: one that runs alone, without end of slice, must get one.
    fn bound_slice<P: Platform>(&self, hv: &Hypervisor<P>, cpu: CpuId, queue: &Queue) -> Effects {
        if self.slice_end(cpu) != u64::MAX {
            return Effects::NONE;
        }
        let end = queue.started.saturating_add(self.policy.slice());
        self.slice_end[cpu.index()].store(end, Ordering::Relaxed);
        if cpu == hv.platform.cpu() {
            self.timers.program(hv, cpu);
            Effects::NONE
        } else {
            reschedule(hv, cpu)
        }
    }

    fn enqueue(&self, queue: &mut Queue, vcpu: Arc<Vcpu>) {
        vcpu.sched.queued.store(true, Ordering::Relaxed);
        let place = self.policy.place(&queue.waiting, &vcpu);
        queue.waiting.insert(place.min(queue.waiting.len()), vcpu);
    }

    /// Moves a vCPU that is neither queued nor running to the queue of an idle CPU, if its own is busy or forbidden.
    fn rehome(&self, vcpu: &Arc<Vcpu>) {
        if self.queues.len() == 1 {
            return;
        }
        let (allowed, soft) = (self.usable(vcpu.sched.allowed()), vcpu.sched.affinity().1);
        let idle = self.idle.load(Ordering::Relaxed) & allowed;
        let (cpu, queue) = self.queue_of(vcpu);
        if vcpu.sched.queued.load(Ordering::Relaxed) || vcpu.sched.running_on().is_some() {
            return;
        }
        let home_allowed = allowed & 1 << cpu.raw() != 0;
        if home_allowed && queue.current.is_none() {
            return;
        }
        let pick =
            [idle & soft, idle, if home_allowed { 0 } else { allowed }].into_iter().find(|set| *set != 0);
        if let Some(set) = pick {
            let cpu = set.trailing_zeros();
            vcpu.sched.cpu.store(cpu, Ordering::Relaxed);
            // The next one that wakes looks elsewhere. The CPU says so itself if it stays idle.
            self.idle.fetch_and(!(1 << cpu), Ordering::Relaxed);
        }
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
        let (cpu, mut queue) = self.queue_of(vcpu);
        if vcpu.sched.running_on().is_some() {
            return reschedule(hv, cpu);
        }
        if vcpu.sched.queued.swap(false, Ordering::Relaxed) {
            queue.waiting.retain(|other| !Arc::ptr_eq(other, vcpu));
        }
        vcpu.sched.runstate.lock().enter(resting(vcpu), hv.platform.now());
        Effects::NONE
    }

    /// The vCPU that a CPU runs.
    pub fn current(&self, cpu: CpuId) -> Option<Arc<Vcpu>> {
        self.queues.get(cpu.index())?.lock().current.clone()
    }

    /// Nanoseconds that a vCPU has run.
    pub fn cpu_time(&self, vcpu: &Vcpu, now: u64) -> u64 {
        self.runstate(vcpu, now).times[State::Running as usize]
    }

    /// The run state account of a vCPU, up to `now`.
    pub fn runstate(&self, vcpu: &Vcpu, now: u64) -> Runstate {
        vcpu.sched.runstate.lock().up_to(now)
    }
}

/// The state of a vCPU that cannot run.
fn resting(vcpu: &Vcpu) -> State {
    if vcpu.sched.holds().contains(Hold::BLOCKED) { State::Blocked } else { State::Offline }
}

/// Makes a CPU choose again.
fn reschedule<P: Platform>(hv: &Hypervisor<P>, cpu: CpuId) -> Effects {
    if cpu == hv.platform.cpu() {
        Effects::todo(Todo::RESCHEDULE)
    } else {
        Effects { todo: Todo::empty(), kick: 1 << cpu.raw() }
    }
}

/// All vCPUs of a domain whose holds changed.
fn wake_all<P: Platform>(hv: &Hypervisor<P>, domain: &Domain) -> Effects {
    domain.vcpus().iter().fold(Effects::NONE, |effects, vcpu| effects.and(hv.sched.wake(hv, vcpu)))
}

fn stop_all<P: Platform>(hv: &Hypervisor<P>, domain: &Domain) -> Effects {
    domain.vcpus().iter().fold(Effects::NONE, |effects, vcpu| effects.and(hv.sched.stop(hv, vcpu)))
}
