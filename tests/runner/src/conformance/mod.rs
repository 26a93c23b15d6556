//! The conformance suite: the same kernel on xen-lite and on upstream Xen, compared row by row.
//!
//! # How it works
//! A kernel of `tests/conformance` prints lines `ROW area.check = value` and at last `RESULT: done`. A [`Boot`] names such a kernel,
//! how the machine and the domain look, and a prefix that its rows get here, so that a row's name is unique in the suite.
//! [`rows::collect`] reads the rows of a transcript and adds `PREFIX.end`, which tells how the domain ended. [`rows::compare`]
//! finds the differences.
//!
//! A difference fails unless `docs/abi-differences.md` lists it with both values ([`listed`]); an entry there that was not needed
//! fails too, so the page never claims more than is true. When all boots ran, [`coverage`] holds `docs/abi-coverage.md`
//! against what was called.

pub mod boots;
pub mod coverage;
pub mod listed;
pub mod rows;

use crate::artifacts::Artifacts;
use crate::case::Hypervisor;
use crate::console::{Console, Missed};
use crate::qemu::{Boot as Start, Machine, Module};
use crate::suite::{Options, Tally};
use anyhow::{Context, Result};
use boots::{Boot, Domain};
use coverage::Seen;
use listed::Listed;
use rows::{Difference, Rows};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Where differences are listed, seen from the workspace.
pub const PAGE: &str = "docs/abi-differences.md";

/// Folder of the kernels in the image folder.
pub const FOLDER: &str = "conformance";

/// Dom0's initrd with these kernels as guests.
pub const ARCHIVE: &str = "conformance.cpio";

/// What every boot gives to both hypervisors.
const OPTIONS: &str = "console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all noreboot";

/// The last line of a kernel that came to its end.
const DONE: &str = "RESULT: done";

/// Seconds that a boot may take.
const LIMIT: u64 = 120;

/// The boots that `options` select, by a part of their name.
pub fn select(options: &Options) -> Vec<Boot> {
    let mut boots = boots::all();
    boots.retain(|boot| {
        let name = boot.name();
        options.filters.is_empty() || options.filters.iter().any(|filter| name.contains(filter.as_str()))
    });
    boots
}

/// Carries out the selected boots and prints a line for each, and each difference that is not listed.
///
/// # Errors
/// If the page of differences cannot be read, or the folder of the logs cannot be made.
pub fn run(root: &Path, files: &Artifacts, options: &Options) -> Result<Tally> {
    let boots = select(options);
    if boots.is_empty() {
        return Ok(Tally::default());
    }
    std::fs::create_dir_all(files.logs()).with_context(|| format!("creating {}", files.logs().display()))?;
    let page = root.join(PAGE);
    let text = std::fs::read_to_string(&page).with_context(|| format!("reading {}", page.display()))?;
    let listed = Listed::parse(&text).with_context(|| format!("in {}", page.display()))?;
    let next = AtomicUsize::new(0);
    let tally = Mutex::new(Tally::default());
    let seen = Mutex::new(Seen::default());
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                while let Some(boot) = boots.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let started = Instant::now();
                    let outcome = both(boot, files, options.slow, &seen);
                    let mut tally = tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    report(boot, outcome, &listed, started, &mut tally);
                }
            });
        }
    });
    let mut tally = tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let prefixes: Vec<String> = boots.iter().map(Boot::prefix).collect();
    for row in listed.unneeded(&prefixes) {
        tally.failed += 1;
        println!("FAILED {PAGE}: `{row}` does not differ as listed");
    }
    if boots.len() == boots::all().len() {
        let seen = seen.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        tally.failed += gaps(root, &seen)?;
    }
    Ok(tally)
}

/// Prints what the page of what is supported claims and no row showed; tells how much that is.
fn gaps(root: &Path, seen: &Seen) -> Result<usize> {
    let page = root.join(coverage::PAGE);
    let text = std::fs::read_to_string(&page).with_context(|| format!("reading {}", page.display()))?;
    let gaps = coverage::gaps(&text, seen);
    for gap in &gaps {
        println!("FAILED {}: {gap}", coverage::PAGE);
    }
    Ok(gaps.len())
}

/// The rows of both hypervisors; notes what was called on xen-lite.
fn both(boot: &Boot, files: &Artifacts, slow: u32, seen: &Mutex<Seen>) -> Result<(Rows, Rows)> {
    let upstream = one(boot, Hypervisor::Upstream, files, slow).context("on upstream")?;
    let xen_lite = one(boot, Hypervisor::XenLite, files, slow).context("on xen-lite")?;
    seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).add(&xen_lite.transcript);
    Ok((upstream.rows, xen_lite.rows))
}

/// What a boot printed.
struct Printed {
    rows: Rows,
    transcript: String,
}

fn one(boot: &Boot, hypervisor: Hypervisor, files: &Artifacts, slow: u32) -> Result<Printed> {
    let log = files.log(&format!("{}@{}", boot.name(), hypervisor.name()));
    let mut console = Console::start(&machine(boot, hypervisor, files), &log)?;
    let until = Instant::now() + Duration::from_secs(LIMIT * u64::from(slow));
    let (wanted, ends) = match boot.domain {
        Domain::First => (DONE, rows::ENDS),
        Domain::Guest => ("SCRIPT ", &[][..]),
    };
    let markers: Vec<&str> = ends.iter().map(|(marker, _)| *marker).collect();
    let end = match console.wait_for(wanted, 0, until, &markers) {
        Ok(_) => "done",
        Err(Missed::Forbidden(marker)) => {
            ends.iter().find(|(text, _)| *text == marker).map_or("?", |(_, end)| end)
        }
        Err(Missed::MachineEnded) => "the machine ended",
        Err(Missed::TimeOver) => "nothing more came",
    };
    // The rest of the line.
    console.wait_for_end(Instant::now() + Duration::from_millis(200))?;
    let transcript = console.transcript();
    Ok(Printed { rows: rows::collect(&transcript, &boot.prefix(), end)?, transcript })
}

fn machine(boot: &Boot, hypervisor: Hypervisor, files: &Artifacts) -> Machine {
    let path = match hypervisor {
        Hypervisor::XenLite => files.xen_lite(),
        Hypervisor::Upstream => files.upstream_xen.clone(),
    };
    let modules = match boot.domain {
        Domain::First => {
            vec![Module { path: files.file(&format!("{FOLDER}/{}", boot.kernel)), args: boot.arguments() }]
        }
        Domain::Guest => vec![
            Module { path: files.file("dom0"), args: format!("script=\"{}\"", boot.script()) },
            Module { path: files.file(ARCHIVE), args: String::new() },
        ],
    };
    let options = format!("{OPTIONS} {}", boot.options());
    let start = Start::Multiboot { hypervisor: path, options, modules };
    Machine { cpu: boot.cpu.to_string(), memory_mb: 512, cpus: boot.cpus, boot: start }
}

fn report(boot: &Boot, outcome: Result<(Rows, Rows)>, listed: &Listed, started: Instant, tally: &mut Tally) {
    let seconds = started.elapsed().as_secs_f32();
    let name = boot.name();
    let (upstream, xen_lite) = match outcome {
        Ok(rows) => rows,
        Err(error) => {
            tally.failed += 1;
            return println!("ERROR  {name} ({seconds:.1} s): {error:#}");
        }
    };
    let differences = rows::compare(&upstream, &xen_lite);
    let all = differences.len();
    let unlisted: Vec<Difference> = differences.into_iter().filter(|one| !listed.covers(one)).collect();
    let count = upstream.len();
    if unlisted.is_empty() {
        tally.passed += 1;
        return println!("ok     {name} ({seconds:.1} s): {count} rows, {all} differences, all listed");
    }
    tally.failed += 1;
    println!("FAILED {name} ({seconds:.1} s): {count} rows, {} differences not listed", unlisted.len());
    for difference in unlisted {
        println!("| {}", difference.row);
        println!("|   upstream {}", difference.upstream);
        println!("|   xen-lite {}", difference.xen_lite);
    }
}
