//! How much a test does: all of it, or little of it where each step takes a thousand times longer.
//!
//! Under Miri (`cargo xtask miri`) a test makes the same steps as elsewhere, but fewer of them: fewer rounds, cases, ports,
//! seconds. This is the one place that decides; a test names both numbers. What cannot be done in small is ignored there by
//! attribute, so that the output says so.

use proptest::test_runner::Config;

/// `all` of it, or `few` under Miri.
pub(crate) const fn effort<T: Copy>(all: T, few: T) -> T {
    if cfg!(miri) { few } else { all }
}

/// So many cases of a property, or so few under Miri. Failures are printed, and no file keeps them.
pub(crate) fn cases(all: u32, few: u32) -> Config {
    Config { cases: effort(all, few), failure_persistence: None, ..Config::default() }
}
