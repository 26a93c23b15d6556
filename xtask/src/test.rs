//! All tests: the quick gate, then everything that needs a machine.

use crate::cli::TestArgs;
use crate::kernel::{self, Domain};
use crate::paths::Paths;
use crate::provide::{packages, upstream};
use crate::{build, check, fixtures, new_guest, provide, say};
use anyhow::Result;
use kernel_image::layout::Role;
use runner::bochs;
use runner::case::{Case, Hypervisor, Loader};
use runner::conformance;
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
        for boot in conformance::select(&options) {
            println!("{}", boot.name());
        }
        for name in new_guest::test::select(&options) {
            println!("{name}");
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
    if args.filters.is_empty() {
        tally.add(check::upstream_kernels(paths)?);
        tally.add(refusals(paths));
    }
    say::step("integration tests");
    tally.add(suite::run(&cases, &paths.artifacts(), &options)?);
    tally.add(conformance::run(&paths.root, &paths.artifacts(), &options)?);
    tally.add(bochs::run(&paths.artifacts(), &options)?);
    tally.add(new_guest::test::run(paths, &options)?);
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(if tally.failed == 0 && tally.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What `run --guest` says of broken kernels.
fn refusals(paths: &Paths) -> Tally {
    say::step("refusals of xtask");
    let domain = Domain { role: Role::DomU, memory_mb: build::ADDED_GUEST_MEMORY, initrd_bytes: 0 };
    let mut tally = Tally::default();
    for (name, reason) in runner::cases::REFUSED {
        let file = paths.image.join("broken").join(name);
        match kernel::read_checked(&file, &domain).map_err(|error| format!("{error:#}")) {
            Err(text) if text.contains(reason) && !text.contains('\n') => {
                tally.passed += 1;
                println!("ok     xtask-refuses-{name}");
            }
            other => {
                tally.failed += 1;
                println!(
                    "FAILED xtask-refuses-{name}: wanted `{reason}`, got {:?}",
                    other.map(|bytes| bytes.len())
                );
            }
        }
    }
    tally
}

/// Builds what the selected runs boot.
fn prepare(paths: &Paths, cases: &[Case], options: &Options) -> Result<()> {
    let runs = suite::select(cases, options);
    let conforming = conformance::select(options);
    let software = upstream::provide(paths)?;
    fixtures::foreign(paths, &software)?;
    if bochs::is_asked_for(options) || runs.iter().any(|(case, _)| case.needs_guests()) {
        build::dom0(paths)?;
        let names = build::guests(paths)?;
        build::initrd(paths, &[])?;
        fixtures::own(paths, &names)?;
        fixtures::examples(paths)?;
        fixtures::hostile(paths)?;
        fixtures::net(paths, &software)?;
        fixtures::block(paths)?;
        fixtures::saved(paths)?;
        fixtures::toolstack(paths)?;
        fixtures::tour(paths)?;
        fixtures::several_cpus(paths)?;
        fixtures::broken(paths, &software)?;
    }
    if !conforming.is_empty() {
        build::dom0(paths)?;
        let names = build::conformance(paths)?;
        fixtures::conformance(paths, &names)?;
    }
    let xen_lite = runs.iter().any(|(_, hypervisor)| *hypervisor == Hypervisor::XenLite);
    if !conforming.is_empty() || xen_lite || bochs::is_asked_for(options) {
        build::hypervisor(paths)?;
        build::audited_hypervisor(paths)?;
    }
    if runs.iter().any(|(case, _)| matches!(case.loader, Loader::Grub(_))) {
        fixtures::disks(paths)?;
    }
    Ok(())
}
