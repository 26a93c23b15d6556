//! Figures of xen-lite beside those of upstream Xen.
//!
//! With `-icount shift=0,sleep=off` QEMU's time-stamp counter counts executed instructions, so runs repeat exactly, on
//! whatever machine. Six things are measured, each on both hypervisors in the same emulated PC:
//!
//! * *operations* ([`operations`]): a guest runs as the first domain and measures what a PV kernel does;
//! * *boot* ([`boot`]): from the loader's jump to Dom0's first instruction;
//! * *memory*: what the hypervisor keeps for itself, and the size of its file;
//! * *scaling* ([`scaling`]): what more domains and vCPUs cost;
//! * *I/O* ([`io`]): what moving data takes, Dom0 included;
//! * *domains* ([`domains`]): what Dom0 needs to create one, while there are up to two hundred.
//!
//! [`report`] compares and prints, [`chart`] draws. Nothing is compared with numbers of another day: upstream runs too.

mod boot;
mod chart;
mod defaults;
mod domains;
mod io;
mod operations;
mod report;
mod scaling;
mod svg;

use crate::paths::Paths;
use crate::provide::{packages, upstream};
use crate::{build, provide, say};
use anyhow::{Context, Result, ensure};
use operations::Figures;
use report::{Pair, Report};
use runner::qemu::{Boot, Machine, Module, PROGRAM};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// A CPU that both hypervisors know well.
const CPU: &str = "Skylake-Client";
/// A clock that starts at the same time in every run, and time that passes with instructions only.
const DETERMINISTIC: [&str; 4] = ["-icount", "shift=0,sleep=off", "-rtc", "base=2026-01-01,clock=vm"];
/// Memory of the emulated PC, in MiB.
const MEMORY_MB: u32 = 512;
const OPTIONS: &str = "console=com1 com1=115200,8n1";
/// Both at their cheapest: without what they do against speculation, and upstream with its simpler scheduler.
const LEAN: &str = "xpti=no spec-ctrl=no sched=credit";
/// How long a run may take, in seconds; it takes about half a minute.
const LIMIT: &str = "400";

/// A hypervisor to measure.
#[derive(Clone, Debug)]
struct Subject {
    file: PathBuf,
    options: String,
}

/// Measures and prints; the status is 0 if xen-lite keeps its limits.
///
/// # Errors
/// If something cannot be built, does not boot, or an operation does not do its work.
pub fn bench(paths: &Paths) -> Result<ExitCode> {
    packages::provide(packages::FOR_RUN)?;
    packages::provide(&[packages::GCC])?;
    provide::rust_target()?;
    upstream::provide_xen(paths)?;
    build::hypervisor(paths)?;
    build::dom0(paths)?;
    build::guests(paths)?;
    let ours = Subject { file: paths.image.join("xen-lite"), options: format!("{OPTIONS} {LEAN}") };
    let theirs = Subject { file: paths.upstream_xen(), options: format!("{OPTIONS} {LEAN}") };
    say::step("counting instructions of a boot");
    let boot = boot::measure(paths, &ours, &theirs)?;
    say::step("counting instructions of operations; about a minute");
    let guest = paths.image.join("guests/bench");
    let figures = both(&ours, &theirs, |subject| operations::measure(subject, &guest))?;
    let report = Report {
        operations: report::pairs(&figures.0, &figures.1)?,
        boot,
        image: Pair::of(size(&ours.file)?, size(&theirs.file)?),
        memory: Pair::of(kept(&figures.0), kept(&figures.1)),
    };
    print!("{}", report.text());
    let folder = paths.target.join("bench");
    build::write(&folder.join("bench.json"), report.json().as_bytes())?;
    build::write(&folder.join("bench.svg"), chart::draw(&report).as_bytes())?;
    say::note(&format!("{} and bench.svg", paths.shown(&folder.join("bench.json"))));
    defaults::bench(&ours, &theirs, &guest)?;
    let scales = scaling::bench(paths, &ours, &theirs)?;
    let moves = io::bench(paths, &ours, &theirs)?;
    let many = domains::bench(paths, &ours, &theirs)?;
    Ok(if report.misses().is_empty() && scales && moves && many {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn size(file: &Path) -> Result<u64> {
    Ok(std::fs::metadata(file).with_context(|| file.display().to_string())?.len())
}

/// Bytes of the machine that are neither free nor Dom0's.
fn kept(figures: &Figures) -> u64 {
    (u64::from(MEMORY_MB) << 20).saturating_sub((figures.free_pages + figures.own_pages) << 12)
}

/// Measures both at the same time, each on a CPU of the host: counts do not depend on it.
fn both<T: Send>(
    ours: &Subject,
    theirs: &Subject,
    measure: impl Fn(&Subject) -> Result<T> + Sync,
) -> Result<(T, T)> {
    std::thread::scope(|scope| {
        let other = scope.spawn(|| measure(theirs));
        let first = measure(ours).context("on xen-lite")?;
        let second = other.join().map_err(|_| anyhow::anyhow!("the measuring thread panicked"))?;
        Ok((first, second.context("on upstream Xen")?))
    })
}

/// Runs a kernel as the first domain, to its end; what came out of the serial port.
///
/// `more` are options for the hypervisor, `start` arguments for QEMU about how the PC starts.
fn run(subject: &Subject, kernel: &Path, more: &str, start: &[String]) -> Result<String> {
    run_modules(subject, vec![Module { path: kernel.to_path_buf(), args: String::new() }], more, start)
}

/// The same with these modules: a kernel, perhaps an initrd.
fn run_modules(subject: &Subject, modules: Vec<Module>, more: &str, start: &[String]) -> Result<String> {
    let options = format!("{} {more}", subject.options);
    let boot = Boot::Multiboot { hypervisor: subject.file.clone(), options, modules };
    let machine = Machine { cpu: CPU.into(), memory_mb: MEMORY_MB, cpus: 1, boot };
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=5", LIMIT, PROGRAM])
        .args(machine.arguments()?)
        .args(DETERMINISTIC)
        .args(start);
    command.args(["-chardev", "stdio,id=con,signal=off", "-serial", "chardev:con", "-monitor", "none"]);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {PROGRAM}"))?;
    ensure!(
        output.status.code() != Some(124),
        "it did not end in {LIMIT} seconds; {}",
        last_lines(&output.stdout)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn last_lines(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.lines().collect();
    format!("the last lines were:\n{}", lines[lines.len().saturating_sub(10)..].join("\n"))
}
