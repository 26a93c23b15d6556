//! Exercises the template as a person would: an empty folder, `cargo build`, `cargo run`.
//!
//! What cargo downloads and compiles is kept between runs in a folder beside; the crate itself is made anew each time.

use super::new_guest;
use crate::build;
use crate::paths::{BARE_METAL, Paths};
use crate::say;
use anyhow::{Context, Result, ensure};
use runner::suite::{Options, Tally};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The crate's name.
const NAME: &str = "first-guest";
/// What its program says.
const SAYS: &str = "hello from first-guest, which has ";
/// A program that panics, in place of the template's.
const PANICS: &str = "#![no_std]\n#![no_main]\n#![forbid(unsafe_code)]\n\n\
    #[inline(never)]\nfn fail_here(number: u64) {\n    assert!(number > 1 << 60, \"{number} pages are not enough\");\n}\n\n\
    #[domu_sdk::main]\nfn main() {\n    fail_here(domu_sdk::start::info().nr_pages);\n}\n";

/// What a program that panics must make `cargo run` say.
const TRACE: &[&str] =
    &["8192 pages are not enough", "back trace:", "fail_here", "addr2line -fipCe", "first-guest crashed"];

/// A check.
struct Run {
    name: &'static str,
    /// Of `cargo run`, after `--`.
    arguments: &'static [&'static str],
    /// In place of the template's.
    program: Option<&'static str>,
    status: i32,
    /// What must be said.
    says: &'static [&'static str],
}

const GREETS: Run =
    Run { name: "template@xen-lite", arguments: &[], program: None, status: 0, says: &[SAYS] };
const FAILS: Run = Run {
    name: "template-panic@xen-lite",
    arguments: &["--memory", "32"],
    program: Some(PANICS),
    status: 101,
    says: TRACE,
};

const RUNS: &[Run] = &[
    GREETS,
    Run { name: "template@upstream", arguments: &["--upstream"], ..GREETS },
    FAILS,
    Run { name: "template-panic@upstream", arguments: &["--memory", "32", "--upstream"], ..FAILS },
];

/// The names that `options` select.
pub fn select(options: &Options) -> Vec<&'static str> {
    let wanted = |name: &str| {
        options.filters.is_empty() || options.filters.iter().any(|filter| name.contains(filter.as_str()))
    };
    RUNS.iter().map(|run| run.name).filter(|name| wanted(name)).collect()
}

/// Carries out the selected checks.
///
/// # Errors
/// If the folder cannot be made.
pub fn run(paths: &Paths, options: &Options) -> Result<Tally> {
    let names = select(options);
    let mut tally = Tally::default();
    if names.is_empty() {
        return Ok(tally);
    }
    say::step("a guest made from the template");
    let folder = paths.target.join("template").join(NAME);
    for run in RUNS.iter().filter(|run| names.contains(&run.name)) {
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        }
        match attempt(paths, &folder, run) {
            Ok(()) => {
                tally.passed += 1;
                println!("ok     {}", run.name);
            }
            Err(error) => {
                tally.failed += 1;
                println!("FAILED {}: {error:#}", run.name);
            }
        }
    }
    Ok(tally)
}

fn attempt(paths: &Paths, folder: &Path, check: &Run) -> Result<()> {
    new_guest(paths, NAME, folder)?;
    if let Some(program) = check.program {
        build::write(&folder.join("src/main.rs"), program.as_bytes())?;
    }
    let kept = paths.target.join("template/kept");
    say::run(cargo(folder).args(["build", "--target-dir"]).arg(&kept))?;
    let kernel: PathBuf = kept.join(BARE_METAL).join("debug").join(NAME);
    ensure!(kernel.is_file(), "cargo build made no {}", kernel.display());
    let mut run = cargo(folder);
    run.args(["run", "--target-dir"]).arg(&kept).arg("--").args(check.arguments).stdin(Stdio::null());
    let output = run.output().with_context(|| format!("starting `{}`", say::line(&run)))?;
    let said = [&output.stdout[..], &output.stderr[..]]
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat();
    ensure!(
        output.status.code() == Some(check.status),
        "cargo run ended with {}, not with {}; it said:\n{said}",
        output.status,
        check.status
    );
    for text in check.says {
        ensure!(said.contains(text), "cargo run did not say `{text}`, but:\n{said}");
    }
    Ok(())
}

/// Cargo as a person in that folder has it: without what this cargo told its own child.
fn cargo(folder: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(folder).env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    command
}
