//! Who runs first: the part of scheduling that is a matter of taste.
//!
//! A policy sees vCPUs only through their weights and their *virtual time*: nanoseconds they ran, scaled by weight. All else
//! (locks, states, migration, slices, caps) is the scheduler's.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::fmt::Debug;
use core::sync::atomic::Ordering;

use super::share::DEFAULT_WEIGHT;
use crate::domain::Vcpu;

/// How far ahead of a running vCPU one that wakes must be to take its CPU, in nanoseconds of virtual time.
const PREEMPT_MARGIN: u64 = 500_000;

/// A scheduling policy. All methods are called with a run queue locked.
pub trait Policy: Debug + Send + Sync {
    /// Name, as on the command line (`sched=`).
    fn name(&self) -> &'static str;
    /// `XEN_SCHEDULER_*` of domctl.h: what toolstacks take it for.
    fn id(&self) -> u32;
    /// Whether each vCPU has a CPU to itself ([`super::seats`]).
    fn is_exclusive(&self) -> bool;
    /// Accounts for `ran` nanoseconds.
    fn charge(&self, vcpu: &Vcpu, ran: u64);
    /// Where in the queue a vCPU goes.
    fn place(&self, waiting: &VecDeque<Arc<Vcpu>>, vcpu: &Vcpu) -> usize;
    /// Whether a vCPU that waits takes the CPU from the one that runs before its slice ends.
    fn preempts(&self, waiting: &Vcpu, running: &Vcpu) -> bool;
}

/// Shares by weight: the vCPU with the least virtual time runs. One that slept starts at the virtual time of its queue, so
/// sleeping saves up nothing, yet it goes ahead of those that used up their slices.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credit;

impl Policy for Credit {
    fn name(&self) -> &'static str {
        "credit"
    }
    fn id(&self) -> u32 {
        abi::domctl::XEN_SCHEDULER_CREDIT
    }
    fn is_exclusive(&self) -> bool {
        false
    }
    fn charge(&self, vcpu: &Vcpu, ran: u64) {
        vcpu.sched.virtual_time.fetch_add(scaled(vcpu, ran), Ordering::Relaxed);
    }
    fn place(&self, waiting: &VecDeque<Arc<Vcpu>>, vcpu: &Vcpu) -> usize {
        let mine = virtual_time(vcpu);
        waiting.iter().rposition(|other| virtual_time(other) <= mine).map_or(0, |last| last + 1)
    }
    fn preempts(&self, waiting: &Vcpu, running: &Vcpu) -> bool {
        virtual_time(waiting).saturating_add(PREEMPT_MARGIN) < virtual_time(running)
    }
}

/// A CPU for each vCPU, for good: no account, no slices, nothing to choose. vCPUs for which no CPU is left wait until one gets free.
#[derive(Clone, Copy, Debug, Default)]
pub struct Null;

impl Policy for Null {
    fn name(&self) -> &'static str {
        "null"
    }
    fn id(&self) -> u32 {
        abi::domctl::XEN_SCHEDULER_NULL
    }
    fn is_exclusive(&self) -> bool {
        true
    }
    fn charge(&self, _: &Vcpu, _: u64) {}
    fn place(&self, waiting: &VecDeque<Arc<Vcpu>>, _: &Vcpu) -> usize {
        waiting.len()
    }
    fn preempts(&self, _: &Vcpu, _: &Vcpu) -> bool {
        false
    }
}

/// The virtual time of a vCPU.
pub(super) fn virtual_time(vcpu: &Vcpu) -> u64 {
    vcpu.sched.virtual_time.load(Ordering::Relaxed)
}

/// The virtual time that `ran` nanoseconds of a vCPU make.
pub(super) fn scaled(vcpu: &Vcpu, ran: u64) -> u64 {
    ran.saturating_mul(u64::from(DEFAULT_WEIGHT)) / u64::from(vcpu.sched.share.weight())
}
