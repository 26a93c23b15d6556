//! Provides what a command needs on a fresh machine, and says what it does.
//!
//! Three sources: rustup for the bare-metal target, the system's packages for programs ([`packages`]), and Debian's
//! archive for software that is booted but never installed ([`upstream`]).

pub mod packages;
pub mod upstream;

use crate::paths::BARE_METAL;
use crate::say;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;

/// Makes sure that code for the bare machine can be compiled.
///
/// # Errors
/// If the target is missing and rustup cannot add it.
pub fn rust_target() -> Result<()> {
    if has_rust_target() {
        return Ok(());
    }
    say::step(&format!("adding the Rust target {BARE_METAL}"));
    say::run(Command::new("rustup").args(["target", "add", BARE_METAL])).with_context(|| {
        format!("the Rust target {BARE_METAL} is missing; install rustup (https://rustup.rs), or the target with your system's tools")
    })
}

/// Whether the standard library for the bare machine is installed.
pub fn has_rust_target() -> bool {
    let mut command = Command::new("rustc");
    command.args(["--print", "target-libdir", "--target", BARE_METAL]);
    say::output(&mut command).is_ok_and(|folder| Path::new(folder.trim()).is_dir())
}
