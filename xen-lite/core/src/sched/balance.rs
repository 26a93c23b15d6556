//! Spreading vCPUs over CPUs.
//!
//! There are three occasions. A vCPU that wakes goes to an idle CPU if its own is busy (`rehome` in the parent module). A CPU that
//! runs out of work takes some from another's queue ([`Scheduler::steal`]). And a CPU on which vCPUs wait gives one away now and
//! then ([`Scheduler::give_away`]): to a CPU that has at least two fewer, or to one that has one fewer and whose vCPU is
//! ahead of the one that waits by more than a slice. The latter is how three vCPUs share two CPUs evenly.
//!
//! Virtual times are compared across queues only within bounds: one that moves is not set back behind the floor of its new
//! queue, nor is it more than a slice ahead of what runs there.
//!
//! A CPU that holds its own queue's lock only *tries* another's: two CPUs may want each other's.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use super::{Queue, Scheduler};
use crate::addr::CpuId;
use crate::domain::Vcpu;
use crate::effects::{Effects, Todo};

/// How often a CPU looks for one with less to do, in nanoseconds.
const INTERVAL: u64 = 10_000_000;

impl Queue {
    /// Number of vCPUs that run or want to.
    fn load(&self) -> usize {
        self.waiting.len() + usize::from(self.current.is_some())
    }
}

impl Scheduler {
    /// Work for an idle CPU from another's queue.
    pub(super) fn steal(&self, cpu: CpuId) -> Option<Arc<Vcpu>> {
        for (other, queue) in self.queues.iter().enumerate() {
            if other == cpu.index() {
                continue;
            }
            let Some(mut queue) = queue.try_lock() else { continue };
            let mine = |vcpu: &Arc<Vcpu>| self.may_run(vcpu, cpu.index());
            let Some(place) = queue.waiting.iter().position(mine) else { continue };
            let vcpu = queue.waiting.remove(place)?;
            vcpu.sched.cpu.store(cpu.raw(), Ordering::Relaxed);
            return Some(vcpu);
        }
        None
    }

    fn may_run(&self, vcpu: &Vcpu, cpu: usize) -> bool {
        self.usable(vcpu.sched.allowed()) & 1 << cpu != 0
    }

    /// Moves one waiting vCPU of the calling CPU's queue to a CPU that has less to do, if there is one. The effects kick it.
    pub(super) fn give_away(&self, queue: &mut Queue, cpu: CpuId, now: u64) -> Effects {
        if queue.waiting.is_empty() || self.queues.len() == 1 || now < queue.balanced.saturating_add(INTERVAL)
        {
            return Effects::NONE;
        }
        queue.balanced = now;
        for other in (0..self.queues.len()).filter(|&other| other != cpu.index()) {
            let Some(mut theirs) = self.queues[other].try_lock() else { continue };
            let Some(place) = self.surplus(queue, &theirs, other) else { continue };
            let Some(vcpu) = queue.waiting.remove(place) else { continue };
            vcpu.sched.cpu.store(other as u32, Ordering::Relaxed);
            self.adopt(&mut theirs, vcpu);
            return Effects { todo: Todo::empty(), kick: 1 << other };
        }
        Effects::NONE
    }

    /// The place of a vCPU that had better wait in another queue.
    fn surplus(&self, queue: &Queue, theirs: &Queue, other: usize) -> Option<usize> {
        let more = queue.load().saturating_sub(theirs.load());
        let behind = |vcpu: &Vcpu| {
            let time = vcpu.sched.virtual_time.load(Ordering::Relaxed);
            theirs.current.as_ref().is_some_and(|current| {
                current.sched.virtual_time.load(Ordering::Relaxed) > time.saturating_add(self.policy.slice())
            })
        };
        queue
            .waiting
            .iter()
            .position(|vcpu| self.may_run(vcpu, other) && (more >= 2 || more == 1 && behind(vcpu)))
    }

    /// Queues a vCPU that comes from another queue.
    fn adopt(&self, queue: &mut Queue, vcpu: Arc<Vcpu>) {
        let time = vcpu.sched.virtual_time.load(Ordering::Relaxed);
        let most = queue.current.as_ref().map_or(u64::MAX, |current| {
            current.sched.virtual_time.load(Ordering::Relaxed).saturating_add(self.policy.slice())
        });
        vcpu.sched.virtual_time.store(time.min(most).max(queue.floor), Ordering::Relaxed);
        self.enqueue(queue, vcpu);
    }
}
