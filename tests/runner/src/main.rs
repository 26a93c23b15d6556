//! Runs the integration tests on images that are built already.
//!
//! `cargo xtask test` builds everything and does the same; this program is for looking at one test again and again:
//! `cargo run -p runner -- target/image target/upstream/xen.elf [NAME…]`.
#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use runner::artifacts::Artifacts;
use runner::suite::{self, Options};
use std::process::ExitCode;

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: runner IMAGE-FOLDER UPSTREAM-XEN [NAME...]";
    let files = Artifacts {
        image: arguments.next().context(usage)?.into(),
        upstream_xen: arguments.next().context(usage)?.into(),
        logs: "target/test-logs".into(),
    };
    let options = Options { filters: arguments.collect(), jobs: 2, slow: 1 };
    let mut tally = suite::run(&runner::cases::all(), &files, &options)?;
    tally.add(runner::conformance::run(std::path::Path::new("."), &files, &options)?);
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
