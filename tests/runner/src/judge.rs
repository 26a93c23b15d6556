//! Carries out one run and gives its verdict.

use crate::artifacts::Artifacts;
use crate::case::{Case, END_LIMIT, End, Hypervisor, Loader, Step};
use crate::console::{Console, Missed};
use crate::disk;
use crate::http;
use crate::qemu::{Boot, Machine, Module};
use anyhow::Result;
use std::path::Path;
use std::time::{Duration, Instant};

/// What a run showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything came as the case says.
    Passed,
    /// The system under test did something else; the text says what.
    Failed(String),
    /// The test could not be carried out; the text says why.
    Error(String),
}

/// Options that every run gives to xen-lite.
const XEN_LITE_OPTIONS: &str = "console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all qemu-exit";
/// Options that every run gives to upstream.
const UPSTREAM_OPTIONS: &str = "console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all";

/// Texts that are a failure in every test.
const ALWAYS_FORBIDDEN: &[&str] = &["Panic on CPU", "panicked at", "SCRIPT failed", "AUDIT mismatch"];

/// How long a machine may go on after its test has failed, for the sake of its log.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Carries out `case` on `hypervisor`. `slow` multiplies every time limit.
pub fn run(case: &Case, hypervisor: Hypervisor, files: &Artifacts, slow: u32) -> Verdict {
    match all(case, hypervisor, files, slow) {
        Ok(None) => Verdict::Passed,
        Ok(Some(failure)) => Verdict::Failed(failure),
        Err(error) => Verdict::Error(format!("{error:#}")),
    }
}

/// Boots the case, and what is to be booted after it.
fn all(case: &Case, hypervisor: Hypervisor, files: &Artifacts, slow: u32) -> Result<Option<String>> {
    let disks = files.log(&case.run_name(hypervisor));
    disk::make(&case.disks, &disks)?;
    let count = case.disks.len();
    let mut next = Some(case);
    while let Some(now) = next {
        let drives = disk::drives(count, &disks);
        if let Some(failure) = attempt(now, hypervisor, files, slow, drives)? {
            let place = if now.name == case.name { String::new() } else { format!("{}: ", now.name) };
            return Ok(Some(format!("{place}{failure}")));
        }
        next = now.then.as_deref();
    }
    Ok(None)
}

/// The machine that `case` asks for.
///
/// # Errors
/// If a file is missing.
fn machine(case: &Case, hypervisor: Hypervisor, files: &Artifacts) -> Result<Machine> {
    let boot = match &case.loader {
        Loader::Grub(image) => Boot::Cdrom(existing(&files.file(image))?),
        Loader::Qemu => {
            let (path, common) = match hypervisor {
                Hypervisor::XenLite if is_audited(case) => (files.audited(), XEN_LITE_OPTIONS),
                Hypervisor::XenLite => (files.xen_lite(), XEN_LITE_OPTIONS),
                Hypervisor::Upstream => (files.upstream_xen.clone(), UPSTREAM_OPTIONS),
            };
            let mut modules = Vec::new();
            if !case.kernel.is_empty() {
                modules.push(Module { path: existing(&files.file(&case.kernel))?, args: case.args.clone() });
            }
            if let Some(initrd) = &case.initrd {
                modules.push(Module { path: existing(&files.file(initrd))?, args: String::new() });
            }
            let options = format!("{common} {}", case.options).trim_end().to_string();
            Boot::Multiboot { hypervisor: existing(&path)?, options, modules }
        }
    };
    Ok(Machine { cpu: case.cpu.clone(), memory_mb: case.memory_mb, cpus: case.cpus, boot })
}

/// QEMU's arguments for a clock that counts instructions.
fn counting(shift: u8) -> Vec<String> {
    vec!["-icount".into(), format!("shift={shift},sleep=off")]
}

fn existing(path: &Path) -> Result<std::path::PathBuf> {
    anyhow::ensure!(path.exists(), "{} is missing", path.display());
    Ok(path.to_path_buf())
}

/// `Ok(None)` if the run is as it should be, `Ok(Some(why))` if the system failed.
fn attempt(
    case: &Case,
    hypervisor: Hypervisor,
    files: &Artifacts,
    slow: u32,
    drives: Vec<String>,
) -> Result<Option<String>> {
    let log = files.log(&case.run_name(hypervisor));
    let mut more = case.counted.map_or(vec![], counting);
    let port = http::free_port()?;
    if case.has_card() {
        more.extend(http::card(port));
    }
    more.extend(drives);
    let mut console = Console::start_with(&machine(case, hypervisor, files)?, &more, &log)?;
    let seconds = |n: u64| Duration::from_secs(n * u64::from(slow));
    let last = Instant::now() + seconds(case.limit);
    let mut forbidden = ALWAYS_FORBIDDEN.to_vec();
    forbidden.extend(case.forbidden.iter().map(String::as_str));
    forbidden.retain(|bad| !case.allowed.iter().any(|allowed| allowed == bad));

    let (mut from, mut stalled) = (0, Vec::new());
    for step in &case.steps {
        match step {
            Step::Type(text) => console.type_text(text)?,
            Step::Stall(count) => stalled.extend(http::stall(port, *count)?),
            Step::Fetch(request, body, limit) => {
                let until = last.min(Instant::now() + seconds(*limit));
                if let Some(why) = http::fetch(port, request, body, until)? {
                    console.wait_for_end(Instant::now() + LAST_WORDS)?;
                    return Ok(Some(why));
                }
            }
            Step::Expect(text, limit) => {
                let until = last.min(Instant::now() + seconds(*limit));
                match console.wait_for(text, from, until, &forbidden) {
                    Ok(after) => from = after,
                    Err(missed) => {
                        // What a failing system says next is often the reason.
                        console.wait_for_end(Instant::now() + LAST_WORDS)?;
                        return Ok(Some(explain(text, &missed, *limit)));
                    }
                }
            }
        }
    }
    let ended = judge_end(&case.end, &mut console, seconds(END_LIMIT), last)?;
    let transcript = console.transcript();
    let audited = hypervisor == Hypervisor::XenLite && is_audited(case) && is_orderly(case);
    Ok(ended
        .or_else(|| said_forbidden(&transcript, &forbidden))
        .or_else(|| if audited { unaudited(&transcript) } else { None }))
}

/// Whether the case boots the hypervisor with its auditor. GRUB's images hold the one that people boot. Several CPUs whose
/// instructions are counted run in turn on QEMU, and an interrupt from one to the other ends the other's turn before it began: one that
/// waits for the other and asks again and again, as the slower build does for long, may wait for ever.
fn is_audited(case: &Case) -> bool {
    case.loader == Loader::Qemu && (case.counted.is_none() || case.cpus == 1)
}

/// Whether the machine ends by itself, and not by a panic: then the auditor has the last word.
fn is_orderly(case: &Case) -> bool {
    case.end != End::StaysOn && !case.allowed.iter().any(|text| text == "Panic on CPU")
}

/// What the auditor says when all is well, and when it says so.
const CLEAN: [&str; 2] = ["audit: ", " frames, clean (the machine stops)"];

fn unaudited(transcript: &str) -> Option<String> {
    let said = transcript.lines().any(|line| CLEAN.iter().all(|part| line.contains(part)));
    (!said).then(|| "the auditor did not say at the end that all frames are clean".to_string())
}

fn explain(text: &str, missed: &Missed, limit: u64) -> String {
    match missed {
        Missed::TimeOver => format!("`{text}` did not come within {limit} s"),
        Missed::MachineEnded => format!("the machine ended before `{text}` came"),
        Missed::Forbidden(bad) => format!("`{bad}` came while waiting for `{text}`"),
    }
}

fn judge_end(end: &End, console: &mut Console, limit: Duration, last: Instant) -> Result<Option<String>> {
    let wanted = match end {
        End::StaysOn => return Ok(None),
        End::PowerOff => 0,
        End::Status(status) => *status,
    };
    let until = last.min(Instant::now() + limit);
    Ok(match console.wait_for_end(until)? {
        None => Some("the machine did not end after the last step".to_string()),
        Some(status) if status.code() == Some(wanted) => None,
        Some(status) => Some(format!("QEMU ended with {status}, not with exit status {wanted}")),
    })
}

fn said_forbidden(transcript: &str, forbidden: &[&str]) -> Option<String> {
    let bad = forbidden.iter().find(|bad| transcript.contains(**bad))?;
    Some(format!("`{bad}` came, which must not come"))
}
