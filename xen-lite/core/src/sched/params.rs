//! What can be tuned: the slice and the rate limit (`sched_credit_tslice_ms=`, `sched_ratelimit_us=`, `xl sched-credit -s`).

use crate::sync::atomic::{AtomicU64, Ordering};

use abi::sysctl::{
    SysctlCreditSchedule, XEN_SYSCTL_CSCHED_MGR_DLY_MAX_US, XEN_SYSCTL_CSCHED_TSLICE_MAX,
    XEN_SYSCTL_CSCHED_TSLICE_MIN, XEN_SYSCTL_SCHED_RATELIMIT_MAX, XEN_SYSCTL_SCHED_RATELIMIT_MIN,
};

use crate::fail::Errno;

/// How long a vCPU runs while others wait, in nanoseconds, unless it is set otherwise.
pub const SLICE: u64 = 30_000_000;
/// How long a vCPU runs at least before another takes its CPU, in nanoseconds, unless it is set otherwise.
pub const RATE_LIMIT: u64 = 1_000_000;

const NS_PER_MS: u64 = 1_000_000;
const NS_PER_US: u64 = 1_000;

/// The parameters; they may change while CPUs schedule.
#[derive(Debug)]
pub struct Params {
    slice: AtomicU64,
    rate_limit: AtomicU64,
    migration_delay: AtomicU64,
}

impl Default for Params {
    fn default() -> Self {
        Params {
            slice: AtomicU64::new(SLICE),
            rate_limit: AtomicU64::new(RATE_LIMIT),
            migration_delay: AtomicU64::new(0),
        }
    }
}

impl Params {
    /// How long a vCPU runs while others wait, in nanoseconds.
    pub fn slice(&self) -> u64 {
        self.slice.load(Ordering::Relaxed)
    }

    /// How long a vCPU runs at least before another takes its CPU, in nanoseconds; 0 is no limit.
    pub fn rate_limit(&self) -> u64 {
        self.rate_limit.load(Ordering::Relaxed)
    }

    /// How long a vCPU that ran stays with its CPU's queue, in nanoseconds: its data may still be in that CPU's cache.
    pub fn migration_delay(&self) -> u64 {
        self.migration_delay.load(Ordering::Relaxed)
    }

    /// As sysctl.h has them.
    pub fn get(&self) -> SysctlCreditSchedule {
        SysctlCreditSchedule {
            tslice_ms: (self.slice() / NS_PER_MS) as u32,
            ratelimit_us: (self.rate_limit() / NS_PER_US) as u32,
            vcpu_migr_delay_us: (self.migration_delay() / NS_PER_US) as u32,
        }
    }

    /// Sets all.
    ///
    /// # Errors
    /// `EINVAL` when one is outside the range that sysctl.h names, or the rate limit is above the slice.
    pub fn set(&self, new: &SysctlCreditSchedule) -> Result<(), Errno> {
        let slices = XEN_SYSCTL_CSCHED_TSLICE_MIN..=XEN_SYSCTL_CSCHED_TSLICE_MAX;
        let rates = XEN_SYSCTL_SCHED_RATELIMIT_MIN..=XEN_SYSCTL_SCHED_RATELIMIT_MAX;
        let (slice, rate) = (u64::from(new.tslice_ms) * NS_PER_MS, u64::from(new.ratelimit_us) * NS_PER_US);
        let rate_is_good = new.ratelimit_us == 0 || rates.contains(&new.ratelimit_us);
        if !slices.contains(&new.tslice_ms)
            || !rate_is_good
            || rate > slice
            || new.vcpu_migr_delay_us > XEN_SYSCTL_CSCHED_MGR_DLY_MAX_US
        {
            return Err(Errno::EINVAL);
        }
        self.slice.store(slice, Ordering::Relaxed);
        self.rate_limit.store(rate, Ordering::Relaxed);
        self.migration_delay.store(u64::from(new.vcpu_migr_delay_us) * NS_PER_US, Ordering::Relaxed);
        Ok(())
    }

    /// Takes what the command line says; the names of options whose value cannot be, which stay as they are.
    pub fn from_command_line(
        slice_ms: Option<u32>,
        rate_us: Option<u32>,
    ) -> (Params, &'static [&'static str]) {
        let params = Params::default();
        let standard = params.get();
        let slice = SysctlCreditSchedule {
            tslice_ms: slice_ms.unwrap_or(standard.tslice_ms),
            ratelimit_us: 0,
            ..standard
        };
        let slice_is_bad = params.set(&slice).is_err();
        let mut wanted = params.get();
        wanted.ratelimit_us = rate_us.unwrap_or(standard.ratelimit_us);
        let rate_is_bad = params.set(&wanted).is_err();
        if rate_is_bad {
            // What holds otherwise, as far as the slice allows.
            params.rate_limit.store(RATE_LIMIT.min(params.slice()), Ordering::Relaxed);
        }
        let bad: &[&str] = match (slice_is_bad, rate_is_bad) {
            (false, false) => &[],
            (true, false) => &["sched_credit_tslice_ms"],
            (false, true) => &["sched_ratelimit_us"],
            (true, true) => &["sched_credit_tslice_ms", "sched_ratelimit_us"],
        };
        (params, bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(tslice_ms: u32, ratelimit_us: u32, vcpu_migr_delay_us: u32) -> SysctlCreditSchedule {
        SysctlCreditSchedule { tslice_ms, ratelimit_us, vcpu_migr_delay_us }
    }

    #[test]
    fn limits_are_those_of_the_header() {
        let params = Params::default();
        for good in [(30, 1000, 0), (1, 1000, 0), (1000, 500_000, 100_000), (5, 0, 1), (1, 100, 0)] {
            assert_eq!(params.set(&schedule(good.0, good.1, good.2)), Ok(()), "{good:?}");
            let now = params.get();
            assert_eq!((now.tslice_ms, now.ratelimit_us, now.vcpu_migr_delay_us), good);
        }
        for bad in [(0, 0, 0), (1001, 0, 0), (30, 99, 0), (1000, 500_001, 0), (1, 1001, 0), (30, 0, 100_001)]
        {
            assert_eq!(params.set(&schedule(bad.0, bad.1, bad.2)), Err(Errno::EINVAL), "{bad:?}");
        }
        assert_eq!(params.get().tslice_ms, 1, "a refusal changes nothing");
    }

    #[test]
    fn the_command_line_is_judged_option_by_option() {
        let of = |slice, rate| {
            let (params, bad) = Params::from_command_line(slice, rate);
            (params.get().tslice_ms, params.get().ratelimit_us, bad.len())
        };
        assert_eq!(of(None, None), (30, 1000, 0));
        assert_eq!(of(Some(5), Some(0)), (5, 0, 0));
        assert_eq!(of(Some(0), Some(200)), (30, 200, 1));
        assert_eq!(of(Some(2), Some(50)), (2, 1000, 1));
        assert_eq!(of(Some(1 << 30), Some(u32::MAX)), (30, 1000, 2));
    }
}
