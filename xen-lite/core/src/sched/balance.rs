//! Sharing several CPUs.
//!
//! Virtual times of all queues are on one scale, and every CPU runs what is *least of all*, within bounds: before it chooses, it
//! compares its own first with the first of every other queue ([`Hints::front`]), and takes that one over if it is behind by
//! [`Scheduler::margin`]; an idle CPU takes whatever waits. That is how three vCPUs share two CPUs evenly, and how weights hold across
//! CPUs. CPUs that have no reason to choose, because they are idle or run a vCPU without end of slice, are told now
//! and then that somebody waits elsewhere ([`Scheduler::nudge`]).
//!
//! # The horizon
//! Some vCPUs cannot be given what their weight says: they may only run on one CPU that all want, or they have a whole CPU and
//! that is less than their part. Their virtual time falls behind ever more. If it counted later, they would shut out the others for as
//! long. So each CPU publishes a *horizon*: [`REACH`] slices before the virtual time of what it runs. Whatever waits
//! elsewhere behind it could not be taken over, or it would have been; and what runs elsewhere needs nothing. Hence a
//! queue whose first is behind another CPU's horizon is moved forward as a whole ([`Scheduler::catch_up`]): those in it keep
//! their distances.
//!
//! # Locks
//! A CPU that holds its own queue's lock only *tries* another's: two CPUs may want each other's.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use super::policy::{scaled, virtual_time};
use super::{Hints, Queue, Scheduler};
use crate::addr::CpuId;
use crate::domain::Vcpu;

/// How often a CPU tells busy ones that vCPUs wait here, in nanoseconds.
const INTERVAL: u64 = 1_000_000;
/// How far behind a running vCPU the horizon is, in slices of that vCPU.
const REACH: u64 = 8;
/// How many of those that wait are asked where they may run, before others are told of them.
const ASKED: usize = 8;

impl Scheduler {
    /// Whether vCPUs move between queues.
    fn balances(&self) -> bool {
        self.queues.len() > 1 && !self.policy.is_exclusive()
    }

    /// How far behind, in virtual time, one elsewhere must be to be taken over.
    fn margin(&self) -> u64 {
        self.params.slice() / 2
    }

    fn others(&self, cpu: CpuId) -> impl Iterator<Item = (usize, &Hints)> {
        self.hints.iter().enumerate().filter(move |(other, _)| *other != cpu.index())
    }

    /// Lets the other CPUs know who is first here.
    pub(super) fn publish(&self, queue: &Queue) {
        let front = queue.waiting.front().map_or(u64::MAX, |vcpu| virtual_time(vcpu));
        self.hints[queue.cpu.index()].front.store(front, Ordering::Relaxed);
    }

    /// Lets the other CPUs know how far the vCPU that runs here has come.
    pub(super) fn publish_horizon(&self, cpu: CpuId, current: &Vcpu, time: u64) {
        if self.balances() {
            let reach = scaled(current, REACH.saturating_mul(self.params.slice()));
            self.hints[cpu.index()].horizon.fetch_max(time.saturating_sub(reach), Ordering::Relaxed);
        }
    }

    /// Moves a queue forward that is behind the horizon of another CPU.
    pub(super) fn catch_up(&self, queue: &mut Queue) {
        if !self.balances() {
            return;
        }
        let horizon =
            self.others(queue.cpu).map(|(_, hints)| hints.horizon.load(Ordering::Relaxed)).max().unwrap_or(0);
        let mut all = queue.waiting.front().into_iter().chain(&queue.current);
        let least =
            all.next().map(|first| all.map(|vcpu| virtual_time(vcpu)).fold(virtual_time(first), u64::min));
        queue.floor = queue.floor.max(horizon);
        let Some(behind) = least.and_then(|least| horizon.checked_sub(least)).filter(|behind| *behind != 0)
        else {
            return;
        };
        for vcpu in queue.waiting.iter().chain(&queue.current) {
            vcpu.sched.virtual_time.fetch_add(behind, Ordering::Relaxed);
        }
        self.publish(queue);
    }

    /// The virtual time of the first vCPU that waits at another CPU; `u64::MAX` is none.
    fn least_elsewhere(&self, cpu: CpuId) -> u64 {
        self.others(cpu).map(|(_, hints)| hints.front.load(Ordering::Relaxed)).min().unwrap_or(u64::MAX)
    }

    /// Whether somebody waits elsewhere at all.
    pub(super) fn someone_waits_elsewhere(&self, cpu: CpuId) -> bool {
        self.balances() && self.least_elsewhere(cpu) != u64::MAX
    }

    /// Whether somebody waits elsewhere who is to run before one with this virtual time.
    pub(super) fn someone_is_behind(&self, cpu: CpuId, time: u64) -> bool {
        self.balances() && self.least_elsewhere(cpu).saturating_add(self.margin()) < time
    }

    /// Takes a vCPU over that is to run before all that wait here; with nobody waiting here, any.
    pub(super) fn pull(&self, queue: &Queue, now: u64) -> Option<Arc<Vcpu>> {
        let limit =
            queue.waiting.front().map_or(u64::MAX, |vcpu| virtual_time(vcpu).saturating_sub(self.margin()));
        self.pull_below(queue, limit, now)
    }

    /// Takes a vCPU over that is behind one with this virtual time.
    pub(super) fn pull_behind(&self, queue: &Queue, time: u64, now: u64) -> Option<Arc<Vcpu>> {
        if self.someone_is_behind(queue.cpu, time) {
            self.pull_below(queue, time.saturating_sub(self.margin()), now)
        } else {
            None
        }
    }

    fn pull_below(&self, queue: &Queue, limit: u64, now: u64) -> Option<Arc<Vcpu>> {
        if !self.balances() {
            return None;
        }
        // Those that prefer this CPU first; others only by a CPU that would be idle.
        let take = |only_preferred| {
            let candidates = || {
                let all = self.others(queue.cpu);
                all.map(|(other, hints)| (hints.front.load(Ordering::Relaxed), other))
                    .filter(|(front, _)| *front < limit)
            };
            // The best queue first; if it has none for this CPU, the others in their order.
            let best = candidates().min();
            best.into_iter()
                .chain(candidates())
                .find_map(|(_, other)| self.take_from(queue, other, limit, only_preferred, now))
        };
        take(true).or_else(|| if limit == u64::MAX { take(false) } else { None })
    }

    /// Takes the first vCPU out of another queue that is below the limit and may run here.
    fn take_from(
        &self,
        queue: &Queue,
        other: usize,
        limit: u64,
        only_preferred: bool,
        now: u64,
    ) -> Option<Arc<Vcpu>> {
        let here = 1 << queue.cpu.raw();
        let delay = self.params.migration_delay();
        let mut theirs = self.queues[other].try_lock()?;
        let place = theirs.waiting.iter().take_while(|vcpu| virtual_time(vcpu) < limit).position(|vcpu| {
            let (sched, hot) = (&vcpu.sched, || vcpu.sched.runstate.lock().since.saturating_add(delay));
            self.usable(sched.allowed()) & here != 0
                && (!only_preferred || self.usable(sched.affinity().1) & here != 0)
                && (delay == 0 || hot() <= now)
        })?;
        let vcpu = theirs.waiting.remove(place)?;
        self.publish(&theirs);
        vcpu.sched.cpu.store(queue.cpu.raw(), Ordering::Relaxed);
        Some(vcpu)
    }

    /// The virtual time at which a CPU chose what it runs.
    pub(super) fn chosen(&self, cpu: CpuId) -> u64 {
        self.hints[cpu.index()].chosen.load(Ordering::Relaxed)
    }

    /// Which CPUs are to look here because vCPUs wait: idle ones; and now and then those that run without end of slice, and those that
    /// would have chosen otherwise.
    pub(super) fn nudge(&self, queue: &mut Queue, now: u64) -> u64 {
        if queue.waiting.is_empty() || !self.balances() {
            return 0;
        }
        let idle = self.idle.load(Ordering::Relaxed);
        let tells_busy = now >= queue.nudged.saturating_add(INTERVAL);
        let looks = |(other, hints): &(usize, &Hints)| {
            let here = 1 << other;
            let mut waiting = queue.waiting.iter().take(ASKED);
            let Some(first) = waiting.find(|vcpu| self.usable(vcpu.sched.allowed()) & here != 0) else {
                return false;
            };
            let endless = hints.slice_end.load(Ordering::Relaxed) == u64::MAX;
            let better = virtual_time(first).saturating_add(self.margin());
            idle & here != 0 || tells_busy && (endless || hints.chosen.load(Ordering::Relaxed) > better)
        };
        let told = self.others(queue.cpu).filter(looks).fold(0, |set, (other, _)| set | 1 << other);
        if told & !idle != 0 {
            queue.nudged = now;
        }
        self.idle.fetch_and(!(told & idle), Ordering::Relaxed);
        told
    }
}
