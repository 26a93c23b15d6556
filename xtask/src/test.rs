//! All tests: the quick gate, then everything that needs a machine.

use crate::cli::TestArgs;
use crate::paths::Paths;
use crate::provide::{packages, upstream};
use crate::{build, check, fixtures, provide, say};
use anyhow::Result;
use runner::case::{Case, Hypervisor, Loader};
use runner::suite::{self, Options, Tally};
use std::process::ExitCode;

/// Runs the tests that `args` select; the last line is `N passed, N failed`.
///
/// # Errors
/// If the tests cannot be prepared.
pub fn test(paths: &Paths, args: &TestArgs) -> Result<ExitCode> {
    let cases = runner::cases::all();
    let options = Options { filters: args.filters.clone(), jobs: args.jobs, slow: args.slow.max(1) };
    if args.list {
        for (case, hypervisor) in suite::select(&cases, &options) {
            println!("{}", case.run_name(hypervisor));
        }
        return Ok(ExitCode::SUCCESS);
    }
    packages::provide(packages::FOR_TEST)?;
    provide::rust_target()?;
    let mut tally = Tally::default();
    if args.filters.is_empty() {
        tally.add(check::all(paths)?);
    }
    prepare(paths, &cases, &options)?;
    say::step("integration tests");
    tally.add(suite::run(&cases, &paths.artifacts(), &options)?);
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(if tally.failed == 0 && tally.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds what the selected runs boot.
fn prepare(paths: &Paths, cases: &[Case], options: &Options) -> Result<()> {
    let runs = suite::select(cases, options);
    let software = upstream::provide(paths)?;
    fixtures::foreign(paths, &software)?;
    if runs.iter().any(|(case, _)| case.needs_guests()) {
        build::dom0(paths)?;
        build::guests(paths)?;
        build::initrd(paths, &[])?;
        fixtures::broken(paths, &software)?;
    }
    if runs.iter().any(|(_, hypervisor)| *hypervisor == Hypervisor::XenLite) {
        build::hypervisor(paths)?;
    }
    if runs.iter().any(|(case, _)| matches!(case.loader, Loader::Grub(_))) {
        fixtures::disks(paths)?;
    }
    Ok(())
}
