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

/// The checks: name, arguments of `cargo run`, program, status, and what must be said.
const RUNS: &[(&str, &[&str], Option<&str>, i32, &[&str])] = &[
    ("template@xen-lite", &[], None, 0, &[SAYS]),
    ("template@upstream", &["--", "--upstream"], None, 0, &[SAYS]),
    (
        "template-panic@xen-lite",
        &["--", "--memory", "32"],
        Some(PANICS),
        101,
        &["8192 pages are not enough", "back trace:", "fail_here", "addr2line -fipCe", "first-guest crashed"],
    ),
    (
        "template-panic@upstream",
        &["--", "--memory", "32", "--upstream"],
        Some(PANICS),
        101,
        &["8192 pages are not enough", "back trace:", "fail_here", "addr2line -fipCe", "first-guest crashed"],
    ),
];

/// The names that `options` select.
pub fn select(options: &Options) -> Vec<&'static str> {
    let wanted = |name: &str| {
        options.filters.is_empty() || options.filters.iter().any(|filter| name.contains(filter.as_str()))
    };
    RUNS.iter().map(|run| run.0).filter(|name| wanted(name)).collect()
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
    for (name, arguments, program, status, texts) in RUNS.iter().filter(|run| names.contains(&run.0)) {
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        }
        match attempt(paths, &folder, arguments, *program, *status, texts) {
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
    Ok(tally)
}

fn attempt(
    paths: &Paths,
    folder: &Path,
    arguments: &[&str],
    program: Option<&str>,
    status: i32,
    texts: &[&str],
) -> Result<()> {
    new_guest(paths, NAME, folder)?;
    if let Some(program) = program {
        build::write(&folder.join("src/main.rs"), program.as_bytes())?;
    }
    let kept = paths.target.join("template/kept");
    say::run(cargo(folder).args(["build", "--target-dir"]).arg(&kept))?;
    let kernel: PathBuf = kept.join(BARE_METAL).join("debug").join(NAME);
    ensure!(kernel.is_file(), "cargo build made no {}", kernel.display());
    let mut run = cargo(folder);
    run.args(["run", "--target-dir"]).arg(&kept).args(arguments).stdin(Stdio::null());
    let output = run.output().with_context(|| format!("starting `{}`", say::line(&run)))?;
    let said = [&output.stdout[..], &output.stderr[..]]
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat();
    ensure!(
        output.status.code() == Some(status),
        "cargo run ended with {}, not with {status}; it said:\n{said}",
        output.status
    );
    for text in texts {
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
