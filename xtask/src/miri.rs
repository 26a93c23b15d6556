//! Miri on the tests of the core: undefined behaviour in what it is built on, data races, and weak orders of memory accesses.
//!
//! The core forbids unsafe code, so what Miri can find is in the crates below it and in the use of atomics. It interprets, some
//! thousand times slower than the machine: tests do less of the same under it (the core's module `effort` decides how much), and audits
//! after each step are left to other runs. All tests run: those of modules, those in `tests/`, and the examples in the documentation.

use crate::paths::Paths;
use crate::say;
use anyhow::{Context, Result};
use std::process::{Command, ExitCode};

/// The toolchain that has Miri.
const TOOLCHAIN: &str = "nightly";
/// For all tests: no isolation, as tests read the environment. Memory may be left at the end: domains that are connected own each other
/// until one of them is destroyed, and many tests end before that; that nothing is lost by domains that are destroyed is for
/// the auditor to see. Weak orders cost most of the time, and matter to few tests.
const ALL: &str = "-Zmiri-disable-isolation -Zmiri-ignore-leaks -Zmiri-disable-weak-memory-emulation";
/// For tests with several threads: weak orders, and other schedules with each seed.
const THREADS: &str = "-Zmiri-disable-isolation -Zmiri-ignore-leaks -Zmiri-many-seeds=0..8";
/// Those tests.
const THREADED: &[&str] = &["two_cpus_at_once", "races_leave_both_ends", "races_of_mapping"];
/// Where they are; other tests have one thread at a time.
const MODULES: &[&str] = &["--lib"];

/// Runs the tests of the core under Miri; the output is that of the tests.
///
/// # Errors
/// If Miri cannot be provided or started.
pub fn miri(paths: &Paths, filters: &[String]) -> Result<ExitCode> {
    say::step("providing Miri");
    let components = ["component", "add", "miri", "rust-src", "--toolchain", TOOLCHAIN];
    let install = ["toolchain", "install", TOOLCHAIN, "--profile", "minimal", "--component", "miri,rust-src"];
    let there = Command::new("rustup").args(components).status().context("starting rustup")?;
    if !there.success() {
        say::run(Command::new("rustup").args(install))?;
    }
    say::step("tests of the core under Miri");
    let mut good = run(paths, ALL, &[], filters)?;
    if filters.is_empty() {
        say::step("tests with several threads, with weak orders and several seeds");
        good &= run(paths, THREADS, MODULES, &THREADED.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run(paths: &Paths, flags: &str, targets: &[&str], filters: &[String]) -> Result<bool> {
    let mut command = Command::new("rustup");
    command.current_dir(&paths.root).env("MIRIFLAGS", flags);
    // What the cargo that runs this set for itself concerns another toolchain.
    ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER"].iter().for_each(|name| {
        command.env_remove(name);
    });
    command.args(["run", TOOLCHAIN, "cargo", "miri", "test", "--no-fail-fast", "--package", "xen-lite-core"]);
    command.args(targets).args(["--", "--test-threads=1"]).args(filters);
    Ok(command.status().with_context(|| format!("starting `{}`", say::line(&command)))?.success())
}
