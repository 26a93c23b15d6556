//! What a domain's vCPUs may have of the CPUs: weight and cap.
//!
//! The *weight* is relative: under contention, a vCPU of weight 512 gets twice the time of one of weight 256. The *cap* is
//! absolute: per cent of one CPU that all vCPUs of the domain together get at most, even when nobody else wants the CPUs; 0 is
//! no cap (`xl sched-credit`).
//!
//! # Caps
//! Time goes in periods of [`PERIOD`], the same for all domains. A capped domain has a budget, which gets the cap's part of a
//! period at the beginning of each; what is left over from earlier periods is lost, what was taken too much is missing. A vCPU
//! whose domain has used up its budget is *parked*: it waits, not in its CPU's queue but beside it, until the next period.
//! Several vCPUs of the domain that run at the same time each get a part of what is left, so that little is taken too much.

use crate::sync::atomic::{AtomicU32, Ordering};

use crate::sync::Mutex;

/// How often budgets are filled, in nanoseconds.
pub const PERIOD: u64 = 30_000_000;
/// Weight of a domain unless the toolstack says otherwise.
pub const DEFAULT_WEIGHT: u32 = 256;

/// Shortest stretch of a budget that a vCPU is given at a time, in nanoseconds.
const STRETCH: u64 = 500_000;

/// The share of a domain. All its vCPUs refer to the same one.
#[derive(Debug)]
pub struct Share {
    weight: AtomicU32,
    cap: AtomicU32,
    pub(super) vcpus: AtomicU32,
    budget: Mutex<Budget>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Budget {
    /// The period up to which it was filled.
    period: u64,
    /// Nanoseconds; negative when too much was taken.
    left: i64,
}

impl Default for Share {
    fn default() -> Self {
        Share {
            weight: AtomicU32::new(DEFAULT_WEIGHT),
            cap: AtomicU32::new(0),
            vcpus: AtomicU32::new(0),
            budget: Mutex::default(),
        }
    }
}

/// When the period after `now` begins.
pub(super) fn next_period(now: u64) -> u64 {
    (now / PERIOD + 1).saturating_mul(PERIOD)
}

impl Share {
    /// The weight, at least 1.
    #[inline(always)]
    pub fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed).max(1)
    }

    /// The cap in per cent of one CPU; 0 is none.
    #[inline(always)]
    pub fn cap(&self) -> u32 {
        self.cap.load(Ordering::Relaxed)
    }

    pub(super) fn set_weight(&self, weight: u32) {
        self.weight.store(weight, Ordering::Relaxed);
    }

    /// Sets the cap. The new one counts from the next period on, except that there is something left of this one.
    pub(super) fn set_cap(&self, cap: u32) {
        let mut budget = self.budget.lock();
        self.cap.store(cap, Ordering::Relaxed);
        budget.left = self.quota();
    }

    pub(super) fn add_vcpus(&self, more: usize) {
        self.vcpus.fetch_add(more as u32, Ordering::Relaxed);
    }

    pub(super) fn remove_vcpus(&self, fewer: usize) {
        self.vcpus.fetch_sub(fewer as u32, Ordering::Relaxed);
    }

    /// Nanoseconds of each period.
    fn quota(&self) -> i64 {
        // At most 2^32 · 3 · 10^7 / 100.
        (u64::from(self.cap()) * PERIOD / 100) as i64
    }

    /// Accounts for time that a vCPU ran up to `now`.
    pub(super) fn spend(&self, ran: u64, now: u64) {
        if self.cap() != 0 {
            let mut budget = self.budget.lock();
            budget.left = budget.left.saturating_sub_unsigned(ran);
            self.fill(&mut budget, now);
        }
    }

    fn fill(&self, budget: &mut Budget, now: u64) {
        let (period, quota) = (now / PERIOD, self.quota());
        let passed = period.saturating_sub(budget.period);
        if passed != 0 {
            let more = quota.saturating_mul(i64::try_from(passed).unwrap_or(i64::MAX));
            budget.left = budget.left.saturating_add(more).min(quota);
            budget.period = period;
        }
    }

    /// Nanoseconds that a vCPU may run from `now` on before it must ask again; `None` without a cap, 0: it must wait for the next
    /// period.
    #[inline]
    pub(super) fn allowance(&self, now: u64) -> Option<u64> {
        if self.cap() == 0 { None } else { Some(self.stretch(now)) }
    }

    #[cold]
    fn stretch(&self, now: u64) -> u64 {
        let mut budget = self.budget.lock();
        self.fill(&mut budget, now);
        let left = u64::try_from(budget.left).unwrap_or(0);
        let part = left / u64::from(self.vcpus.load(Ordering::Relaxed).max(1));
        part.max(STRETCH).min(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_the_caps_part_of_each_period_and_saves_nothing_up() {
        let share = Share::default();
        assert_eq!(share.allowance(5), None);
        share.set_cap(50);
        assert_eq!(share.allowance(0), Some(PERIOD / 2));
        share.spend(PERIOD / 2, PERIOD / 2);
        assert_eq!(share.allowance(PERIOD / 2), Some(0));
        assert_eq!(share.allowance(PERIOD), Some(PERIOD / 2));
        assert_eq!(share.allowance(100 * PERIOD), Some(PERIOD / 2));
    }

    #[test]
    fn what_was_taken_too_much_is_missing_later() {
        let share = Share::default();
        share.set_cap(10);
        share.spend(PERIOD / 5, PERIOD / 5);
        assert_eq!(share.allowance(PERIOD), Some(0));
        assert_eq!(share.allowance(2 * PERIOD), Some(PERIOD / 10));
    }

    #[test]
    fn several_vcpus_get_a_part_each() {
        let share = Share::default();
        share.add_vcpus(4);
        share.set_cap(200);
        assert_eq!(share.allowance(0), Some(PERIOD / 2));
        share.spend(2 * PERIOD - 100, PERIOD - 1);
        assert_eq!(share.allowance(PERIOD - 1), Some(100));
    }

    #[test]
    fn extreme_values_do_no_harm() {
        let share = Share::default();
        share.set_cap(u32::MAX);
        share.spend(u64::MAX, u64::MAX);
        assert!(share.allowance(u64::MAX).is_some());
        assert_eq!(next_period(0), PERIOD);
        assert_eq!(next_period(PERIOD), 2 * PERIOD);
    }
}
