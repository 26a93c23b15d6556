//! What moving data takes: through a disk in Dom0's memory, and through a TCP connection between two guests.
//!
//! Dom0's script starts the example `throughput`, looks at its own number of hypercalls before and after each part, and prints what the guests
//! printed. As time passes with instructions only, a nanosecond of the guest's clock is an instruction of guests, Dom0 and hypervisor
//! together; where all of them wait for a timer, the time until then counts, too.

use super::report::{LIMIT, Pair};
use super::svg;
use super::{Subject, both, last_lines, run_modules};
use crate::initrd::Archive;
use crate::paths::Paths;
use crate::{build, say};
use anyhow::{Context, Result, ensure};
use runner::qemu::Module;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// MiB that each part moves.
const MIB: u64 = 16;
const OPTIONS: &str = "dom0_mem=128M";
/// The CPU, in the place of what the other measurements have: QEMU 7.2 applies SMAP wrongly where a kernel in ring 3 has its memory
/// read for it, so a Dom0 on upstream would end.
pub const CPU: [&str; 2] = ["-cpu", "Skylake-Client,-smap"];
/// The guests: name, command line, and the rest of the configuration.
const GUESTS: [(&str, &str, &str); 3] = [
    ("disk", "disk", "disk = [ 'ram:16M,xvda,w' ]"),
    ("sink", "sink ip=10.0.0.1/24", "vif = [ '' ]"),
    ("sender", "send=10.0.0.1 ip=10.0.0.2/24", "vif = [ '' ]"),
];
const SCRIPT: &str = "create disk; wait disk 'READY disk write' 60; info; send disk go; wait disk 'READY disk read' 300; info; \
    info; send disk go; wait disk 'MOVED disk read' 300; info; log disk; expect-gone disk 60; \
    create sink; wait sink 'on port 9' 60; create sender; wait sender 'READY network' 60; info; send sender go; \
    wait sender 'MOVED network' 300; info; log sender; wait sink 'sink: 1' 60; log sink; destroy sink; poweroff";

/// One part, on one hypervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Moved {
    name: String,
    bytes: u64,
    instructions: u64,
    /// Hypercalls of the guests and of Dom0.
    calls: u64,
}

impl Moved {
    fn bytes_per_million(&self) -> u64 {
        self.bytes * 1_000_000 / self.instructions.max(1)
    }

    fn calls_per_mib(&self) -> u64 {
        (self.calls << 20) / self.bytes.max(1)
    }
}

/// One part on both.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    name: String,
    bytes_per_million: Pair,
    calls_per_mib: Pair,
}

/// Measures both, prints, and writes `io.json` and `io.svg`; whether xen-lite moves at least as much as upstream with as many instructions.
///
/// # Errors
/// If a guest does not come to its end.
pub fn bench(paths: &Paths, ours: &Subject, theirs: &Subject) -> Result<bool> {
    say::step("counting instructions of I/O; about a minute");
    let (dom0, initrd) = (paths.image.join("dom0"), archive(paths)?);
    let (a, b) = both(ours, theirs, |subject| measure(subject, &dom0, &initrd))?;
    let rows = rows(&a, &b)?;
    print!("{}", text(&rows));
    let folder = paths.target.join("bench");
    build::write(&folder.join("io.json"), json(&rows).as_bytes())?;
    build::write(&folder.join("io.svg"), draw(&rows).as_bytes())?;
    say::note(&format!("{} and io.svg", paths.shown(&folder.join("io.json"))));
    Ok(misses(&rows).is_empty())
}

/// Dom0's initrd with the guests.
fn archive(paths: &Paths) -> Result<PathBuf> {
    let mut archive = Archive::default();
    archive.folder("guests")?;
    archive.file_from("guests/throughput", 0o755, &paths.image.join("guests/throughput"))?;
    for (name, arguments, more) in GUESTS {
        let config = format!(
            "name = \"{name}\"\nkernel = \"guests/throughput\"\nmemory = 32\nextra = \"{arguments} mib={MIB}\"\n{more}\n"
        );
        archive.file(&format!("guests/{name}.cfg"), 0o644, config.as_bytes())?;
    }
    let file = paths.image.join("bench/io.cpio");
    build::write(&file, &archive.finish()?)?;
    Ok(file)
}

fn measure(subject: &Subject, dom0: &Path, initrd: &Path) -> Result<Vec<Moved>> {
    let module = |path: &Path, args: String| Module { path: path.to_path_buf(), args };
    let modules = vec![module(dom0, format!("script=\"{SCRIPT}\"")), module(initrd, String::new())];
    let text = run_modules(subject, modules, OPTIONS, &CPU.map(String::from))?;
    parse(&text).with_context(|| last_lines(text.as_bytes()))
}

/// Dom0 prints its number of hypercalls before and after each part; the guest's own line follows later, and the sink's last.
fn parse(text: &str) -> Result<Vec<Moved>> {
    ensure!(text.contains("SCRIPT ok"), "the script did not come to its end");
    let number = |word: Option<&str>| word.and_then(|word| word.parse::<u64>().ok());
    let (mut dom0, mut parts, mut sink) = (Vec::new(), Vec::new(), 0);
    for line in text.lines() {
        let line = line.trim_end();
        if let Some(rest) = line.strip_prefix("hypercalls ") {
            dom0.push(number(rest.split_whitespace().next()).context("Dom0 tells no number of hypercalls")?);
        } else if let Some((_, rest)) = line.split_once("MOVED ") {
            parts.extend(part(rest));
        } else if let Some((_, rest)) = line.split_once(" bytes with ") {
            sink = number(rest.split(' ').next()).context("the sink tells no number of hypercalls")?;
        }
    }
    ensure!(parts.len() == 3 && dom0.len() == 6, "{} parts, {} figures of Dom0", parts.len(), dom0.len());
    for (part, calls) in parts.iter_mut().zip(dom0.chunks_exact(2)) {
        part.calls += calls[1].saturating_sub(calls[0]);
    }
    parts[2].calls += sink;
    Ok(parts)
}

/// `disk write 100 bytes in 200 ns with 3 hypercalls`.
fn part(line: &str) -> Option<Moved> {
    let (before, after) = line.split_once(" bytes in ")?;
    let (name, bytes) = before.rsplit_once(' ')?;
    let mut words = after.split(' ');
    let (instructions, calls) = (words.next()?.parse().ok()?, words.nth(2)?.parse().ok()?);
    Some(Moved { name: name.to_string(), bytes: bytes.parse().ok()?, instructions, calls })
}

fn rows(ours: &[Moved], theirs: &[Moved]) -> Result<Vec<Row>> {
    let both = ours.iter().zip(theirs);
    both.map(|(a, b)| {
        ensure!((&a.name, a.bytes) == (&b.name, b.bytes), "`{}` moved {} bytes on one only", a.name, a.bytes);
        Ok(Row {
            name: a.name.clone(),
            bytes_per_million: Pair::of(a.bytes_per_million(), b.bytes_per_million()),
            calls_per_mib: Pair::of(a.calls_per_mib(), b.calls_per_mib()),
        })
    })
    .collect()
}

/// What is worse than upstream, in words.
fn misses(rows: &[Row]) -> Vec<String> {
    let worse = rows.iter().filter(|row| row.bytes_per_million.ratio() < LIMIT);
    worse
        .map(|row| format!("{}: {:.3} of upstream's bytes", row.name, row.bytes_per_million.ratio()))
        .collect()
}

impl Row {
    fn figures(&self) -> [(&'static str, Pair); 2] {
        [
            ("bytes per million instructions", self.bytes_per_million),
            ("hypercalls per MiB, of guests and Dom0", self.calls_per_mib),
        ]
    }
}

fn text(rows: &[Row]) -> String {
    let mut out = format!("\n  {:<56}{:>10}{:>10}{:>8}\n", "moving data", "xen-lite", "upstream", "ratio");
    for row in rows {
        for (what, pair) in row.figures() {
            let name = format!("{}: {what}", row.name);
            let _ = writeln!(out, "  {name:<56}{:>10}{:>10}{:>8.3}", pair.ours, pair.theirs, pair.ratio());
        }
    }
    let misses = misses(rows);
    let _ = writeln!(out, "\nlimits of I/O: {}", if misses.is_empty() { "all kept" } else { "NOT kept" });
    for miss in misses {
        let _ = writeln!(out, "  {miss}");
    }
    out
}

fn json(rows: &[Row]) -> String {
    let line = |row: &Row| {
        let Row { name, bytes_per_million: bytes, calls_per_mib: calls } = row;
        format!(
            "    {{\"name\": {name:?}, \"bytes_per_million_instructions\": {{\"xen_lite\": {}, \"upstream\": {}}}, \
             \"hypercalls_per_mib\": {{\"xen_lite\": {}, \"upstream\": {}}}}}",
            bytes.ours, bytes.theirs, calls.ours, calls.theirs
        )
    };
    let lines: Vec<String> = rows.iter().map(line).collect();
    format!("{{\n  \"io\": [\n{}\n  ]\n}}\n", lines.join(",\n"))
}

const LEFT: usize = 400;

/// The chart: for each figure a pair of bars, on a scale of its own.
fn draw(rows: &[Row]) -> String {
    let mut out = svg::page(
        svg::TOP + 6 * svg::ROW * rows.len() + 24,
        "What moving data takes",
        "xen-lite above, upstream Xen 4.17 at its cheapest below; guests, Dom0 and hypervisor together.",
    );
    let mut y = svg::TOP;
    for row in rows {
        for (what, pair) in row.figures() {
            let label = format!("{}: {what}", row.name);
            y = svg::pair(&mut out, y, LEFT, &label, pair, pair.ours.max(pair.theirs)) + svg::ROW;
        }
    }
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "hypercalls    100 of Dom0\nhypercalls    110 of Dom0\r\nhypercalls    120 of Dom0\n\
        hypercalls    120 of Dom0\nx MOVED disk write 1048576 bytes in 2000000 ns with 5 hypercalls\n\
        MOVED disk read 1048576 bytes in 1000000 ns with 6 hypercalls\r\nhypercalls 200 of Dom0\nhypercalls 300 of Dom0\n\
        MOVED network 2097152 bytes in 4000000 ns with 7 hypercalls\nsink: 2097152 bytes with 13 hypercalls\nSCRIPT ok\n";

    #[test]
    fn parts_and_hypercalls_are_put_together() {
        let parts = parse(RUN).unwrap();
        let found: Vec<_> = parts.iter().map(|p| (p.bytes_per_million(), p.calls_per_mib())).collect();
        assert_eq!(found, [(524_288, 15), (1_048_576, 6), (524_288, 60)]);
        assert_eq!(parts[0].name, "disk write");
        assert!(parse(&RUN.replace("SCRIPT ok", "")).is_err());
        assert!(parse(&RUN.replace("MOVED network", "x")).is_err());
    }

    #[test]
    fn what_is_worse_is_told() {
        let (good, mut bad) = (parse(RUN).unwrap(), parse(RUN).unwrap());
        bad[1].instructions *= 2;
        let better = rows(&good, &bad).unwrap();
        assert!(misses(&better).is_empty() && text(&better).contains("all kept"));
        assert!(misses(&rows(&bad, &good).unwrap())[0].starts_with("disk read: 0.5"));
        assert_eq!(json(&better).matches("upstream").count(), 6);
        assert_eq!(draw(&better).matches("<rect").count(), 13);
    }
}
