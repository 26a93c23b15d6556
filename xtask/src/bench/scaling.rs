//! What more domains and more vCPUs cost: a guest builds up to 128 domains and measures meanwhile.
//!
//! The guest prints `SCALE 16 250 NAME`: with 16 domains (or vCPUs, as the name says) it is 250. What does not depend on a number
//! stands under 1. The cost of a hypercall must not grow with the number of domains.

use super::report::{LIMIT, Pair};
use super::svg;
use super::{Subject, both, last_lines, run};
use crate::paths::Paths;
use crate::{build, say};
use anyhow::{Result, bail, ensure};
use std::fmt::Write;
use std::path::Path;

/// Memory of the guest, as an option of the hypervisor.
const GUEST_MEMORY: &str = "dom0_mem=128M";
/// How much more something may cost with the most domains than with one.
const GROWTH_LIMIT: f64 = 1.02;

/// One figure of one hypervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Figure {
    count: u64,
    value: u64,
    name: String,
}

/// Something, and its figures for each number of domains or vCPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// What it is.
    pub name: String,
    /// How many domains, and the figures.
    pub points: Vec<(u64, Pair)>,
}

/// Measures both, prints, and writes `scaling.json` and `scaling.svg`; whether the limits are kept.
///
/// # Errors
/// If the guest does not come to its end, or something failed in it.
pub fn bench(paths: &Paths, ours: &Subject, theirs: &Subject) -> Result<bool> {
    say::step("counting instructions with many domains; about a minute");
    let guest = paths.image.join("guests/scale");
    let (a, b) = both(ours, theirs, |subject| measure(subject, &guest))?;
    let all = series(&a, &b)?;
    print!("{}", text(&all));
    let folder = paths.target.join("bench");
    build::write(&folder.join("scaling.json"), json(&all).as_bytes())?;
    build::write(&folder.join("scaling.svg"), draw(&all).as_bytes())?;
    say::note(&format!("{} and scaling.svg", paths.shown(&folder.join("scaling.json"))));
    Ok(misses(&all).is_empty())
}

fn measure(subject: &Subject, guest: &Path) -> Result<Vec<Figure>> {
    parse(&run(subject, guest, GUEST_MEMORY, &[])?)
}

fn parse(text: &str) -> Result<Vec<Figure>> {
    let (mut figures, mut ended) = (Vec::new(), false);
    for line in text.lines() {
        let Some((_, rest)) = line.split_once("SCALE ") else { continue };
        let mut words = rest.trim_end().splitn(3, ' ');
        let mut next = || words.next().unwrap_or_default();
        let (first, second, name) = (next(), next(), next());
        if first == "end" {
            ended = true;
        } else if let (Ok(count), Ok(value), false) = (first.parse(), second.parse(), name.is_empty()) {
            figures.push(Figure { count, value, name: name.to_string() });
        } else {
            bail!("the guest says: {rest}");
        }
    }
    ensure!(ended, "the guest did not come to its end; {}", last_lines(text.as_bytes()));
    Ok(figures)
}

fn series(ours: &[Figure], theirs: &[Figure]) -> Result<Vec<Series>> {
    ensure!(ours.len() == theirs.len(), "the two runs measured different things");
    let mut all: Vec<Series> = Vec::new();
    for (a, b) in ours.iter().zip(theirs) {
        ensure!(
            (a.count, &a.name) == (b.count, &b.name),
            "`{}` was measured on one, `{}` on the other",
            a.name,
            b.name
        );
        let point = (a.count, Pair::of(a.value, b.value));
        match all.iter_mut().find(|series| series.name == a.name) {
            Some(series) => series.points.push(point),
            None => all.push(Series { name: a.name.clone(), points: vec![point] }),
        }
    }
    Ok(all)
}

impl Series {
    /// xen-lite's last figure by its first.
    fn growth(&self) -> Option<f64> {
        let (first, last) = (self.points.first()?, self.points.last()?);
        (self.points.len() > 1).then(|| last.1.ours as f64 / first.1.ours.max(1) as f64)
    }

    fn is_memory(&self) -> bool {
        self.name.contains("bytes")
    }
}

/// What is above its limit, in words.
fn misses(all: &[Series]) -> Vec<String> {
    let mut misses = Vec::new();
    for series in all {
        // Memory comes in blocks, so that it says something with many domains only.
        let judged = if series.is_memory() { series.points.len().saturating_sub(1) } else { 0 };
        for (count, pair) in &series.points[judged..] {
            if pair.ratio() > LIMIT {
                misses.push(format!(
                    "{} at {count}: {:.3} of upstream, the limit is {LIMIT}",
                    series.name,
                    pair.ratio()
                ));
            }
        }
        if let Some(growth) = series.growth().filter(|growth| *growth > GROWTH_LIMIT && !series.is_memory()) {
            misses.push(format!("{}: grows to {growth:.3}, the limit is {GROWTH_LIMIT}", series.name));
        }
    }
    misses
}

fn text(all: &[Series]) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "\n  {:<42}{:>6}{:>12}{:>12}{:>8}", "with", "", "xen-lite", "upstream", "ratio");
    for series in all {
        for (count, pair) in &series.points {
            let Pair { ours, theirs } = *pair;
            let _ =
                writeln!(out, "  {:<42}{count:>6}{ours:>12}{theirs:>12}{:>8.3}", series.name, pair.ratio());
        }
    }
    let misses = misses(all);
    let _ = writeln!(out, "\nlimits of scaling: {}", if misses.is_empty() { "all kept" } else { "NOT kept" });
    for miss in misses {
        let _ = writeln!(out, "  {miss}");
    }
    out
}

pub fn json(all: &[Series]) -> String {
    let rows: Vec<String> = all
        .iter()
        .flat_map(|series| series.points.iter().map(move |(count, pair)| (series, count, pair)))
        .map(|(series, count, pair)| {
            // Names are plain words: Rust's notation of a string is JSON's.
            format!(
                "    {{\"name\": {:?}, \"count\": {count}, \"xen_lite\": {}, \"upstream\": {}, \"ratio\": {:.4}}}",
                series.name,
                pair.ours,
                pair.theirs,
                pair.ratio()
            )
        })
        .collect();
    format!("{{\n  \"scaling\": [\n{}\n  ]\n}}\n", rows.join(",\n"))
}

const LEFT: usize = 320;

/// The chart: for each series a group of pairs of bars, as long as the figures, on a scale of its own.
pub fn draw(all: &[Series]) -> String {
    let rows: usize = all.iter().map(|series| 2 * series.points.len() + 1).sum();
    let mut out = svg::page(
        svg::TOP + svg::ROW * rows + 24,
        "What more domains and vCPUs cost",
        "Instructions or bytes; xen-lite above, upstream Xen 4.17 at its cheapest below. Shorter is better.",
    );
    let mut y = svg::TOP;
    for series in all {
        let most = series.points.iter().map(|(_, pair)| pair.ours.max(pair.theirs)).max().unwrap_or(1).max(1);
        for (index, (count, pair)) in series.points.iter().enumerate() {
            let name = if index == 0 { series.name.as_str() } else { "" };
            let label = if series.points.len() > 1 { format!("{name}  {count}") } else { name.to_string() };
            y = svg::pair(&mut out, y, LEFT, &label, *pair, most);
        }
        y += svg::ROW;
    }
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(last: u64) -> Vec<Series> {
        let ours =
            parse(&format!("SCALE 1 100 a b\r\nx SCALE 128 {last} a b\nSCALE 1 7 c, bytes\nSCALE end\n"));
        let theirs = parse("SCALE 1 200 a b\nSCALE 128 300 a b\nSCALE 1 9 c, bytes\nSCALE end\n");
        series(&ours.unwrap(), &theirs.unwrap()).unwrap()
    }

    #[test]
    fn figures_are_grouped_by_name() {
        let all = example(101);
        assert_eq!(all[0].points, [(1, Pair::of(100, 200)), (128, Pair::of(101, 300))]);
        assert_eq!(all[1].points, [(1, Pair::of(7, 9))]);
        assert!(misses(&all).is_empty() && text(&all).contains("all kept"));
        assert_eq!(json(&all).matches("\"name\"").count(), 3);
        assert_eq!(draw(&all).matches("<rect").count(), 7);
    }

    #[test]
    fn growth_and_failures_are_told() {
        assert!(misses(&example(103))[0].contains("grows"));
        assert!(misses(&example(301)).iter().any(|miss| miss.contains("of upstream")));
        assert!(parse("SCALE failed: x\nSCALE end\n").is_err());
        assert!(parse("SCALE 1 2 a\n").is_err());
        assert!(series(&parse("SCALE end").unwrap(), &parse("SCALE 1 2 a\nSCALE end").unwrap()).is_err());
    }
}
