//! The quick gate: format, clippy, layering, host tests. It needs no emulator and takes minutes.

mod layering;
mod sizes;

use crate::paths::{BARE_METAL, Paths};
use crate::provide::packages;
use crate::{provide, say};
use anyhow::{Context, Result};
use runner::suite::Tally;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::thread;

/// Crates that are whole programs of the host, tested with all their targets.
const HOST_CRATES: &[&str] = &[
    "xen-lite-abi",
    "kernel-image",
    "backend",
    "xen-lite-core",
    "domu-sdk-macros",
    "fuzz-grammar",
    "fuzz",
    "runner",
    "xtask",
];
/// Crates for the bare machine whose library runs on the host too.
const HOST_LIBRARIES: &[&str] = &["domu-sdk", "dom0", "examples"];
/// Crates that are built for the bare machine.
const BARE_CRATES: &[&str] = &[
    "xen-lite",
    "dom0",
    "domu-sdk",
    "examples",
    "test-guests",
    "user-programs",
    "conformance",
    "advisories",
];

/// Runs the gate; the last line is `N passed, N failed`.
///
/// # Errors
/// If a tool cannot be started.
pub fn check(paths: &Paths) -> Result<ExitCode> {
    let tally = all(paths)?;
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the gate and counts: each of format, clippy and layering is one, and so is each host test.
///
/// # Errors
/// If something cannot be provided or a tool cannot be started.
pub fn all(paths: &Paths) -> Result<Tally> {
    packages::provide(packages::FOR_CHECK)?;
    provide::rust_target()?;
    let mut tally = Tally::default();
    say::step("layering");
    gate(&mut tally, "layering", layering::check(paths));
    sizes::report(paths)?;
    say::step("format");
    gate(&mut tally, "format", say::run(paths.cargo().args(["fmt", "--all", "--check"])));
    say::step("clippy, and beside it the host tests");
    let (lints, tests) = thread::scope(|scope| {
        let lints = scope.spawn(|| lint_all(paths));
        let tests = host_tests_of_all(paths);
        (lints.join(), tests)
    });
    tally.add(lints.map_err(|_panic| anyhow::anyhow!("the thread that runs clippy panicked"))?);
    tally.add(tests?);
    Ok(tally)
}

/// Counts a gate, and says how it went.
fn gate(tally: &mut Tally, name: &str, result: Result<()>) {
    match result {
        Ok(()) => {
            tally.passed += 1;
            println!("ok     {name}");
        }
        Err(error) => {
            tally.failed += 1;
            println!("FAILED {name}: {error:#}");
        }
    }
}

/// Runs clippy over everything, in a target folder of its own: cargo lets only one at a time use a folder, and the tests are
/// built meanwhile.
fn lint_all(paths: &Paths) -> Tally {
    let mut tally = Tally::default();
    let lint = |packages, more: &[&str]| {
        say::run(clippy(paths, packages, more).env("CARGO_TARGET_DIR", paths.target.join("clippy")))
    };
    gate(&mut tally, "clippy, host crates", lint(HOST_CRATES, &["--all-targets"]));
    gate(&mut tally, "clippy, libraries of guests", lint(HOST_LIBRARIES, &["--lib", "--tests"]));
    let bare_metal = lint(BARE_CRATES, &["--lib", "--bins", "--target", BARE_METAL]);
    gate(&mut tally, "clippy, bare metal", bare_metal);
    tally
}

fn host_tests_of_all(paths: &Paths) -> Result<Tally> {
    let mut tally = host_tests(&mut cargo_for(paths, "test", HOST_CRATES, &["--no-fail-fast"]))?;
    tally.add(host_tests(&mut cargo_for(paths, "test", HOST_LIBRARIES, &["--lib", "--no-fail-fast"]))?);
    // The code in the SDK's documentation and in the guide.
    tally.add(host_tests(&mut cargo_for(
        paths,
        "test",
        &["domu-sdk"],
        &["--doc", "--features", "backend,net", "--no-fail-fast"],
    ))?);
    Ok(tally)
}

/// Looks at the kernels that Debian ships, which must be there.
///
/// # Errors
/// If cargo cannot be started.
pub fn upstream_kernels(paths: &Paths) -> Result<Tally> {
    say::step("kernels of others");
    let more = ["--features", "upstream-kernels", "--test", "upstream", "--no-fail-fast"];
    let mut command = cargo_for(paths, "test", &["kernel-image"], &more);
    host_tests(command.env("XEN_LITE_UPSTREAM_ROOT", paths.upstream_root()))
}

fn cargo_for(paths: &Paths, verb: &str, packages: &[&str], more: &[&str]) -> Command {
    let mut command = paths.cargo();
    command.arg(verb).arg("--quiet");
    for package in packages {
        command.args(["--package", package]);
    }
    command.args(more);
    command
}

fn clippy(paths: &Paths, packages: &[&str], more: &[&str]) -> Command {
    let mut command = cargo_for(paths, "clippy", packages, more);
    command.args(["--", "-D", "warnings"]);
    command
}

/// Runs `cargo test`, shows what it says, and adds up its results.
fn host_tests(command: &mut Command) -> Result<Tally> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("starting cargo")?;
    let output = child.stdout.take().context("cargo's output is not connected")?;
    let mut tally = Tally::default();
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        tally.add(result_of(&line).unwrap_or_default());
    }
    let ended_well = child.wait()?.success();
    if !ended_well && tally.failed == 0 {
        // It did not come to the tests: something does not compile.
        tally.failed = 1;
        println!("FAILED `{}`", say::line(command));
    }
    Ok(tally)
}

/// Reads the counts of a line such as `test result: ok. 3 passed; 1 failed; 0 ignored; …`.
fn result_of(line: &str) -> Option<Tally> {
    let mut words = line.strip_prefix("test result: ")?.split_whitespace().skip(1);
    let passed = words.next()?.parse().ok()?;
    let failed = words.nth(1)?.parse().ok()?;
    Some(Tally { passed, failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_cargo_test_are_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(result_of(line), Some(Tally { passed: 12, failed: 3 }));
        assert_eq!(result_of("running 3 tests"), None);
    }
}
