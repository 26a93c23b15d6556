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
//!
//! # What it costs
//! Waking, choosing and charging look at the runnable vCPUs of one CPU at most, and at one word of every other CPU. Nothing looks at
//! all domains or at vCPUs that sleep.

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::sync::Mutex;

use crate::Hypervisor;
use crate::addr::CpuId;
use crate::domain::{Domain, Life, Vcpu};
use crate::effects::Effects;
use crate::fail::Errno;
use crate::platform::Platform;
use crate::time::Timers;

mod balance;
mod choose;
pub mod control;
mod params;
mod policy;
mod runstate;
mod seats;
mod share;
#[cfg(test)]
mod simulation;
#[cfg(test)]
pub(crate) mod tests;
mod vcpu;
mod wake;

pub use choose::Decision;
pub use control::{crash_domain, shut_down};
pub use params::{Params, RATE_LIMIT, SLICE};
pub use policy::{Credit, Null, Policy};
pub use runstate::{Runstate, State};
pub use share::{DEFAULT_WEIGHT, PERIOD, Share};
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
    /// The CPU.
    cpu: CpuId,
    /// Runnable and not running, in the order in which they run.
    waiting: VecDeque<Arc<Vcpu>>,
    /// Runnable, but their domains have used up their caps ([`share`]).
    parked: VecDeque<Arc<Vcpu>>,
    /// When the parked ones may go on, in nanoseconds since boot.
    unpark_at: u64,
    current: Option<Arc<Vcpu>>,
    /// When the slice of `current` began.
    started: u64,
    /// Up to when `current` was charged.
    charged: u64,
    /// The least virtual time that a waking vCPU gets: nobody gains by sleeping.
    floor: u64,
    /// When it last told another CPU that vCPUs wait here.
    nudged: u64,
    /// Nanoseconds that vCPUs ran on this CPU.
    busy: u64,
}

impl Queue {
    fn new(cpu: u32) -> Queue {
        Queue {
            cpu: CpuId::new(cpu),
            waiting: VecDeque::new(),
            parked: VecDeque::new(),
            unpark_at: u64::MAX,
            current: None,
            started: 0,
            charged: 0,
            floor: 0,
            nudged: 0,
            busy: 0,
        }
    }

    /// Takes a vCPU out, wherever it waits.
    fn remove(&mut self, vcpu: &Arc<Vcpu>) {
        self.waiting.retain(|other| !Arc::ptr_eq(other, vcpu));
        self.parked.retain(|other| !Arc::ptr_eq(other, vcpu));
    }
}

/// What other CPUs may know of one without locking its queue. On cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Hints {
    /// When the current slice ends; `u64::MAX` is never.
    slice_end: AtomicU64,
    /// The virtual time of the first vCPU that waits; `u64::MAX` is none.
    front: AtomicU64,
    /// The virtual time at which the current vCPU was chosen; 0 is none.
    chosen: AtomicU64,
    /// See [`balance`].
    horizon: AtomicU64,
}

impl Default for Hints {
    fn default() -> Self {
        Hints {
            slice_end: AtomicU64::new(u64::MAX),
            front: AtomicU64::new(u64::MAX),
            chosen: AtomicU64::new(0),
            horizon: AtomicU64::new(0),
        }
    }
}

/// All run queues.
#[derive(Debug)]
pub struct Scheduler {
    queues: Box<[Mutex<Queue>]>,
    hints: Box<[Hints]>,
    /// CPUs without a vCPU (bit n is CPU n). A hint.
    idle: AtomicU64,
    policy: Box<dyn Policy>,
    seats: seats::Seats,
    /// Slice and rate limit.
    pub params: Params,
    /// vCPUs that were admitted and not dismissed: each queue has room for all of them.
    admitted: AtomicUsize,
    /// Timers of vCPUs, by CPU.
    pub timers: Timers,
}

impl Default for Scheduler {
    fn default() -> Self {
        Scheduler::new(1, Box::new(Credit), Params::default())
    }
}

impl Scheduler {
    /// Queues for `cpus` CPUs (at most 64), all idle.
    pub fn new(cpus: u32, policy: Box<dyn Policy>, params: Params) -> Scheduler {
        let cpus = cpus.clamp(1, 64);
        Scheduler {
            queues: (0..cpus).map(|cpu| Mutex::new(Queue::new(cpu))).collect::<Vec<_>>().into_boxed_slice(),
            hints: (0..cpus).map(|_| Hints::default()).collect::<Vec<_>>().into_boxed_slice(),
            idle: AtomicU64::new(u64::MAX >> (64 - cpus)),
            policy,
            seats: seats::Seats::default(),
            params,
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
        self.hints.get(cpu.index()).map_or(u64::MAX, |hints| hints.slice_end.load(Ordering::Relaxed))
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
        if let Some(first) = vcpus.first() {
            first.sched.share.add_vcpus(vcpus.len());
        }
        for vcpu in vcpus {
            vcpu.sched.cpu.store(vcpu.id.raw() % self.cpus(), Ordering::Relaxed);
            vcpu.sched.runstate.lock().enter(State::Offline, now);
        }
        Ok(())
    }

    /// Takes an admission back: these vCPUs of a domain with this share were never seen by anybody.
    pub fn withdraw(&self, share: &Share, vcpus: usize) {
        self.admitted.fetch_sub(vcpus, Ordering::Relaxed);
        share.remove_vcpus(vcpus);
    }

    /// Room for `all` vCPUs in each queue and timer list.
    fn make_room(&self, all: usize) -> Result<(), Errno> {
        for queue in &self.queues {
            let queue = &mut *queue.lock();
            for list in [&mut queue.waiting, &mut queue.parked] {
                list.try_reserve(all.saturating_sub(list.len())).map_err(|_| Errno::ENOMEM)?;
            }
        }
        if self.policy.is_exclusive() {
            self.seats.make_room(all)?;
        }
        self.timers.make_room(all)
    }

    /// Forgets vCPUs that were admitted and will never run again. What they leave behind may let others run.
    pub fn dismiss<P: Platform>(&self, hv: &Hypervisor<P>, vcpus: &[Arc<Vcpu>]) -> Effects {
        let mut effects = Effects::NONE;
        for vcpu in vcpus {
            vcpu.sched.hold(Hold::DOWN);
            let mut queue = self.queue_of(vcpu);
            vcpu.sched.queued.store(false, Ordering::Relaxed);
            queue.remove(vcpu);
            self.publish(&queue);
            drop(queue);
            self.timers.forget(vcpu);
            if let Some(next) = self.leave_seat(vcpu) {
                effects = effects.and(self.wake(hv, &next));
            }
        }
        self.admitted.fetch_sub(vcpus.len(), Ordering::Relaxed);
        effects
    }

    /// Locks the queue that the vCPU belongs to.
    fn queue_of(&self, vcpu: &Vcpu) -> crate::sync::MutexGuard<'_, Queue> {
        loop {
            let cpu = vcpu.sched.cpu();
            let queue = self.queues[cpu.index() % self.queues.len()].lock();
            if vcpu.sched.cpu() == cpu {
                return queue;
            }
        }
    }

    /// The vCPU that a CPU runs.
    pub fn current(&self, cpu: CpuId) -> Option<Arc<Vcpu>> {
        self.queues.get(cpu.index())?.lock().current.clone()
    }

    /// Nanoseconds that vCPUs have run on a CPU.
    pub fn busy_time(&self, cpu: CpuId, now: u64) -> u64 {
        let Some(queue) = self.queues.get(cpu.index()) else { return 0 };
        let queue = queue.lock();
        let open = if queue.current.is_some() { now.saturating_sub(queue.charged) } else { 0 };
        queue.busy + open
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

/// All vCPUs of a domain whose holds changed.
fn wake_all<P: Platform>(hv: &Hypervisor<P>, domain: &Domain) -> Effects {
    domain.vcpus().iter().fold(Effects::NONE, |effects, vcpu| effects.and(hv.sched.wake(hv, vcpu)))
}

fn stop_all<P: Platform>(hv: &Hypervisor<P>, domain: &Domain) -> Effects {
    domain.vcpus().iter().fold(Effects::NONE, |effects, vcpu| effects.and(hv.sched.stop(hv, vcpu)))
}
