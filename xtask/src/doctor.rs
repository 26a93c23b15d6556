//! Says what is there and what is missing, and changes nothing.

use crate::paths::{BARE_METAL, Paths};
use crate::provide::packages::{self, Need};
use crate::{provide, say};
use anyhow::Result;
use std::process::{Command, ExitCode};

/// Prints a line for each tool; the status is 0 if nothing is missing.
///
/// # Errors
/// Never in practice.
pub fn doctor(paths: &Paths) -> Result<ExitCode> {
    let mut missing: Vec<&Need> = Vec::new();
    let mut ill = false;
    line("rustc", &version("rustc", "--version"), "");
    line("cargo", &version("cargo", "--version"), "");
    let advice = format!("rustup target add {BARE_METAL}  (done by itself where rustup is)");
    ill |= line(BARE_METAL, &provide::has_rust_target().then(|| "installed".into()), &advice);
    for need in packages::FOR_TEST {
        let found = need.is_there().then(|| found_version(need));
        line(need.name(), &found, need.purpose);
        if found.is_none() {
            missing.push(need);
        }
    }
    let upstream = paths.upstream_root().join("boot").is_dir();
    let folder = paths.shown(&paths.upstream_root());
    let advice = "fetched by itself on Debian 12 by `cargo xtask test`";
    line("upstream Xen", &upstream.then(|| format!("unpacked in {folder}")), advice);
    println!();
    if missing.is_empty() && !ill {
        println!("Nothing is missing. `cargo xtask run` boots xen-lite, `cargo xtask test` tests it.");
        return Ok(ExitCode::SUCCESS);
    }
    if !missing.is_empty() {
        let who =
            if packages::is_root() { "The other commands install this by themselves" } else { "Please type" };
        println!("{who}:\n\n    {}", packages::command_to_type(&missing));
    }
    Ok(ExitCode::FAILURE)
}

/// Prints what was found, or what to do; returns whether it is missing.
fn line(what: &str, found: &Option<String>, advice: &str) -> bool {
    match found {
        Some(found) => println!("ok       {what:<22} {found}"),
        None => println!("missing  {what:<22} {advice}"),
    }
    found.is_none()
}

fn found_version(need: &Need) -> String {
    match need.probe {
        packages::Probe::Program("busybox") => version("busybox", "--help").unwrap_or_default(),
        packages::Probe::Program(program) => version(program, "--version").unwrap_or_default(),
        packages::Probe::File(_) => "installed".into(),
    }
}

/// The first line that a program says about itself.
fn version(program: &str, option: &str) -> Option<String> {
    let text = say::output(Command::new(program).arg(option)).ok()?;
    text.lines().next().map(str::to_string)
}
