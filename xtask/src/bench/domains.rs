//! What a domain costs when Dom0 makes it: instructions from the command to the guest's first line, and memory beyond the domain's own.
//!
//! Dom0's script starts two hundred guests of one configuration, on a machine of 2 GiB. Some of them are started alone, with a stopwatch
//! before and after: as time passes with instructions only, it counts those of Dom0, of the hypervisor, of the new guest, and of those
//! that are there already. The last may cost little more than the first.

use super::report::Pair;
use super::scaling::{self, Series};
use super::{Subject, both, io, last_lines, run_modules};
use crate::initrd::Archive;
use crate::paths::Paths;
use crate::{build, say};
use anyhow::{Context, Result, ensure};
use runner::qemu::Module;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The guests that are started alone, by number.
const MEASURED: [u64; 4] = [1, 67, 134, 200];
/// Memory of the smallest guest, in MiB.
const GUEST_MIB: u64 = 4;
/// The machine's memory and CPU, which take the place of what the other measurements have.
const MACHINE: [&str; 4] = ["-m", "2048", io::CPU[0], io::CPU[1]];
const OPTIONS: &str = "dom0_mem=128M";
/// Most instructions from the command to the guest's first line.
const CREATE_LIMIT: u64 = 10_000_000;
/// Most bytes of hypervisor and Dom0 for a domain.
const MEMORY_LIMIT: u64 = 200 << 10;
/// How much more the last one may cost than the first.
const GROWTH_LIMIT: f64 = 1.25;
const PAGE: u64 = 4096;

/// What one run says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Figures {
    /// Instructions, for each guest that was started alone.
    created: Vec<u64>,
    /// Free frames of the machine, and frames that Dom0 uses, without guests and with all.
    free: Vec<u64>,
    used: Vec<u64>,
}

/// Measures both, prints, and writes `domains.json` and `domains.svg`; whether the limits are kept.
///
/// # Errors
/// If the script does not come to its end.
pub fn bench(paths: &Paths, ours: &Subject, theirs: &Subject) -> Result<bool> {
    say::step("counting instructions of two hundred domains; some minutes");
    let (dom0, initrd) = (paths.image.join("dom0"), archive(paths)?);
    let (a, b) = both(ours, theirs, |subject| measure(subject, &dom0, &initrd))?;
    let all = series(&a, &b);
    let misses = misses(&all);
    print!("{}", text(&all, &misses));
    let folder = paths.target.join("bench");
    build::write(&folder.join("domains.json"), scaling::json(&all).as_bytes())?;
    build::write(&folder.join("domains.svg"), scaling::draw(&all).as_bytes())?;
    say::note(&format!("{} and domains.svg", paths.shown(&folder.join("domains.json"))));
    Ok(misses.is_empty())
}

fn archive(paths: &Paths) -> Result<PathBuf> {
    let mut archive = Archive::default();
    archive.folder("guests")?;
    archive.file_from("guests/hello", 0o755, &paths.image.join("guests/hello"))?;
    let config = format!("name = \"g\"\nkernel = \"guests/hello\"\nmemory = {GUEST_MIB}\n");
    archive.file("guests/g.cfg", 0o644, config.as_bytes())?;
    archive.file("script", 0o644, script().as_bytes())?;
    let file = paths.image.join("bench/domains.cpio");
    build::write(&file, &archive.finish()?)?;
    Ok(file)
}

/// The first guest is not counted: Dom0 and hypervisor take memory by pieces, and keep it.
fn script() -> String {
    let mut text = "create g\nwait g 'hello from'\ndestroy g\nsleep 2\nfree\n".to_string();
    let mut there = 0;
    for number in MEASURED {
        if number - there > 1 {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "create --count {} g\nsleep 2", number - there - 1);
        }
        let _ = writeln!(text, "stopwatch\ncreate --count 1 g\nwait g-{number} 'hello from'\nstopwatch");
        there = number;
    }
    text + "sleep 2\nfree\npoweroff\n"
}

fn measure(subject: &Subject, dom0: &Path, initrd: &Path) -> Result<Figures> {
    let module = |path: &Path, args: &str| Module { path: path.to_path_buf(), args: args.to_string() };
    let modules = vec![module(dom0, "script=@script"), module(initrd, "")];
    let text = run_modules(subject, modules, OPTIONS, &MACHINE.map(String::from))?;
    parse(&text).with_context(|| last_lines(text.as_bytes()))
}

fn parse(text: &str) -> Result<Figures> {
    ensure!(text.contains("SCRIPT ok"), "the script did not come to its end");
    let mut figures = Figures::default();
    let mut times = Vec::new();
    for line in text.lines() {
        let number = |after: &str| -> Option<u64> {
            line.trim_end().strip_prefix(after)?.split(' ').next()?.parse().ok()
        };
        times.extend(number("stopwatch: "));
        figures.free.extend(number("free: "));
        figures.used.extend(number("Dom0 uses "));
    }
    // Every second one says how long a creation took, the others what was between.
    figures.created = times.into_iter().skip(1).step_by(2).collect();
    let complete = (figures.created.len(), figures.free.len(), figures.used.len()) == (MEASURED.len(), 2, 2);
    ensure!(complete, "figures are missing: {figures:?}");
    Ok(figures)
}

impl Figures {
    /// Bytes of the machine for each domain, less its own memory.
    fn by_hypervisor(&self) -> u64 {
        (self.free[0].saturating_sub(self.free[1]) * PAGE / count()).saturating_sub(GUEST_MIB << 20)
    }

    fn by_dom0(&self) -> u64 {
        self.used[1].saturating_sub(self.used[0]) * PAGE / count()
    }
}

fn count() -> u64 {
    MEASURED[MEASURED.len() - 1]
}

fn series(ours: &Figures, theirs: &Figures) -> Vec<Series> {
    let created = MEASURED.iter().zip(ours.created.iter().zip(&theirs.created));
    let points = created.map(|(number, (a, b))| (*number, Pair::of(*a, *b))).collect();
    let once = |name: &str, a, b| Series { name: name.into(), points: vec![(count(), Pair::of(a, b))] };
    vec![
        Series { name: "create to the first line, instructions".into(), points },
        once("a domain in the hypervisor, bytes", ours.by_hypervisor(), theirs.by_hypervisor()),
        once("a domain in Dom0, bytes", ours.by_dom0(), theirs.by_dom0()),
    ]
}

/// What is above its limit on xen-lite, in words.
fn misses(all: &[Series]) -> Vec<String> {
    let mut misses = Vec::new();
    let values = |index: usize| all[index].points.iter().map(|(_, pair)| pair.ours);
    let (first, most) = (values(0).next().unwrap_or(0), values(0).max().unwrap_or(0));
    if most > CREATE_LIMIT {
        misses.push(format!("a creation takes {most} instructions, the limit is {CREATE_LIMIT}"));
    }
    if most as f64 > first as f64 * GROWTH_LIMIT {
        misses.push(format!("creating grows from {first} to {most}, the limit is {GROWTH_LIMIT}"));
    }
    let memory: u64 = values(1).chain(values(2)).sum();
    if memory > MEMORY_LIMIT {
        misses.push(format!("a domain takes {memory} bytes, the limit is {MEMORY_LIMIT}"));
    }
    misses
}

fn text(all: &[Series], misses: &[String]) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "\n  {:<42}{:>6}{:>12}{:>12}{:>8}", "domain", "", "xen-lite", "upstream", "ratio");
    for series in all {
        for (number, pair) in &series.points {
            let Pair { ours, theirs } = *pair;
            let _ =
                writeln!(out, "  {:<42}{number:>6}{ours:>12}{theirs:>12}{:>8.3}", series.name, pair.ratio());
        }
    }
    let _ = writeln!(out, "\nlimits of domains: {}", if misses.is_empty() { "all kept" } else { "NOT kept" });
    for miss in misses {
        let _ = writeln!(out, "  {miss}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(created: [u64; 4], free: u64, used: u64) -> Figures {
        Figures { created: created.to_vec(), free: vec![400_000, free], used: vec![1000, used] }
    }

    #[test]
    fn a_run_is_read() {
        let text = "> free\nfree: 400000 frames (1 MiB)\nDom0 uses 1000 of its 2 frames\nstopwatch: 9 ns\nstopwatch: 1 ns\r\n\
            stopwatch: 9 ns\nstopwatch: 2 ns\nstopwatch: 9 ns\nstopwatch: 3 ns\nstopwatch: 9 ns\nstopwatch: 4 ns\n\
            free: 190000 frames (1 MiB)\nDom0 uses 2000 of its 2 frames\nSCRIPT ok\n";
        assert_eq!(parse(text).unwrap(), figures([1, 2, 3, 4], 190_000, 2000));
        assert!(parse("SCRIPT ok").is_err());
        assert!(parse(&text.replace("SCRIPT ok", "")).is_err());
    }

    #[test]
    fn limits_can_be_missed() {
        let good = figures([1_000_000, 1_010_000, 1_020_000, 1_000_000], 194_000, 3000);
        let all = series(&good, &good);
        assert_eq!((all[1].points[0].1.ours, all[2].points[0].1.ours), (24_576, 40_960));
        assert!(misses(&all).is_empty());
        let grown = figures([9_000_000, 9_000_000, 9_000_000, 12_000_000], 100_000, 1000);
        assert_eq!(misses(&series(&grown, &good)).len(), 3);
    }

    #[test]
    fn every_guest_is_started_once() {
        let text = script();
        let counts = text.lines().filter_map(|line| line.strip_prefix("create --count ")?.split(' ').next());
        assert_eq!(counts.map(|n| n.parse::<u64>().unwrap()).sum::<u64>(), count());
        assert!(text.contains("wait g-200 'hello from'"));
    }
}
