//! Seats: each vCPU has a CPU to itself, for policies that want it so.
//!
//! A vCPU takes a seat when it becomes runnable for the first time and keeps it while it sleeps. It gives it up when it goes
//! down, when its domain goes, or when its affinity forbids it; the vCPU that has waited longest and may sit there takes it. Who finds
//! no seat stands in line, runnable, in nobody's run queue.
//!
//! The lock is taken with no run queue locked.

use crate::sync::atomic::Ordering;
use alloc::collections::VecDeque;
use alloc::sync::Arc;

use crate::sync::Mutex;

use super::Scheduler;
use super::vcpu::NOWHERE;
use crate::domain::Vcpu;
use crate::fail::Errno;

/// Who sits where. Empty while the policy is not exclusive.
#[derive(Debug, Default)]
pub(super) struct Seats(Mutex<Plan>);

#[derive(Debug, Default)]
struct Plan {
    /// CPUs that are taken (bit n is CPU n).
    taken: u64,
    line: VecDeque<Arc<Vcpu>>,
    /// The log says already that there are too few CPUs.
    told: bool,
}

impl Seats {
    /// Room for `all` vCPUs in the line.
    pub(super) fn make_room(&self, all: usize) -> Result<(), Errno> {
        let line = &mut self.0.lock().line;
        line.try_reserve(all.saturating_sub(line.len())).map_err(|_| Errno::ENOMEM)
    }
}

impl Scheduler {
    /// Whether the vCPU may be queued: it has a seat, or takes one now. Else it stands in line.
    pub(super) fn has_seat(&self, vcpu: &Arc<Vcpu>) -> bool {
        !self.policy.is_exclusive()
            || vcpu.sched.seat.load(Ordering::Acquire) != NOWHERE
            || self.take_seat(vcpu)
    }

    #[cold]
    fn take_seat(&self, vcpu: &Arc<Vcpu>) -> bool {
        let mut plan = self.seats.0.lock();
        if vcpu.sched.seat.load(Ordering::Acquire) != NOWHERE {
            return true;
        }
        let free = self.usable(vcpu.sched.allowed()) & !plan.taken;
        let soft = free & vcpu.sched.affinity().1;
        let Some(set) = [soft, free].into_iter().find(|set| *set != 0) else {
            if !plan.line.iter().any(|other| Arc::ptr_eq(other, vcpu)) {
                if !core::mem::replace(&mut plan.told, true) {
                    log::warn!(
                        "sched={}: no CPU is free for {}: it waits, as may more",
                        self.policy.name(),
                        Named(vcpu)
                    );
                }
                plan.line.push_back(vcpu.clone());
            }
            return false;
        };
        plan.line.retain(|other| !Arc::ptr_eq(other, vcpu));
        self.sit(&mut plan, vcpu, set.trailing_zeros());
        true
    }

    fn sit(&self, plan: &mut Plan, vcpu: &Vcpu, cpu: u32) {
        plan.taken |= 1 << cpu;
        vcpu.sched.cpu.store(cpu, Ordering::Release);
        vcpu.sched.seat.store(cpu, Ordering::Release);
    }

    /// Takes a vCPU that neither runs nor is queued out of its seat and out of the line. Who has the seat now is to be woken.
    pub(super) fn leave_seat(&self, vcpu: &Arc<Vcpu>) -> Option<Arc<Vcpu>> {
        if !self.policy.is_exclusive() {
            return None;
        }
        let mut plan = self.seats.0.lock();
        plan.line.retain(|other| !Arc::ptr_eq(other, vcpu));
        let seat = vcpu.sched.seat.swap(NOWHERE, Ordering::AcqRel);
        if seat == NOWHERE {
            return None;
        }
        plan.taken &= !(1 << seat);
        let fits = |other: &Arc<Vcpu>| self.usable(other.sched.allowed()) & 1 << seat != 0;
        let place = plan.line.iter().position(fits)?;
        let next = plan.line.remove(place)?;
        self.sit(&mut plan, &next, seat);
        Some(next)
    }

    /// Whether a vCPU sits where it must not.
    pub(super) fn sits_wrongly(&self, vcpu: &Vcpu) -> bool {
        let seat = vcpu.sched.seat.load(Ordering::Acquire);
        seat != NOWHERE && self.usable(vcpu.sched.allowed()) & 1 << seat == 0
    }
}

/// A vCPU, for people.
struct Named<'a>(&'a Vcpu);

impl core::fmt::Display for Named<'_> {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0.domain.upgrade() {
            Some(domain) => write!(out, "{}{}", domain.id, self.0.id),
            None => write!(out, "{}", self.0.id),
        }
    }
}
