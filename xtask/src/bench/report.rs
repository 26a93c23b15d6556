//! Compares, and writes the comparison down.

use super::operations::Figures;
use anyhow::{Result, ensure};
use std::fmt::Write;

/// What xen-lite may take of what upstream takes: of any operation, of an operation of the hot paths, on the geometric
/// mean over all operations.
pub const LIMIT: f64 = 1.0;
/// See [`LIMIT`].
pub const HOT_LIMIT: f64 = 0.5;
const MEAN_LIMIT: f64 = 0.5;
/// The same for the memory that the hypervisor keeps.
const MEMORY_LIMIT: f64 = 0.5;
/// The same for a boot.
const BOOT_LIMIT: f64 = 0.25;
/// Size limit of the image, in bytes.
const IMAGE_LIMIT: u64 = 1 << 20;

/// A figure of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// xen-lite's.
    pub ours: u64,
    /// Upstream's.
    pub theirs: u64,
}

impl Pair {
    /// The two figures.
    pub const fn of(ours: u64, theirs: u64) -> Self {
        Self { ours, theirs }
    }

    /// Ours by theirs.
    pub fn ratio(self) -> f64 {
        self.ours as f64 / self.theirs.max(1) as f64
    }
}

/// An operation on both.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it is.
    pub name: String,
    /// Whether it is on a hot path.
    pub hot: bool,
    /// Instructions.
    pub pair: Pair,
}

/// All that was measured.
#[derive(Clone, Debug)]
pub struct Report {
    /// In the order of the guest.
    pub operations: Vec<Row>,
    /// Instructions of a boot.
    pub boot: Pair,
    /// Bytes of the file that is booted.
    pub image: Pair,
    /// Bytes of memory that the hypervisor keeps.
    pub memory: Pair,
}

/// Puts the figures of the two runs together.
///
/// # Errors
/// If the runs did not measure the same operations.
pub fn pairs(ours: &Figures, theirs: &Figures) -> Result<Vec<Row>> {
    ensure!(ours.operations.len() == theirs.operations.len(), "the two runs measured different operations");
    let both = ours.operations.iter().zip(&theirs.operations);
    both.map(|(a, b)| {
        ensure!(a.name == b.name, "`{}` was measured on one, `{}` on the other", a.name, b.name);
        Ok(Row { name: a.name.clone(), hot: a.hot, pair: Pair::of(a.count, b.count) })
    })
    .collect()
}

impl Report {
    /// Geometric mean of the ratios, of all operations or of the hot ones.
    pub fn mean(&self, only_hot: bool) -> f64 {
        let ratios: Vec<f64> = self
            .operations
            .iter()
            .filter(|row| row.hot || !only_hot)
            .map(|row| row.pair.ratio().ln())
            .collect();
        (ratios.iter().sum::<f64>() / ratios.len().max(1) as f64).exp()
    }

    /// What is above its limit, in words.
    pub fn misses(&self) -> Vec<String> {
        let mut misses = Vec::new();
        let mut check = |name: &str, value: f64, limit: f64| {
            if value > limit {
                misses.push(format!("{name}: {value:.3} of upstream, the limit is {limit}"));
            }
        };
        for row in &self.operations {
            check(&row.name, row.pair.ratio(), if row.hot { HOT_LIMIT } else { LIMIT });
        }
        check("geometric mean", self.mean(false), MEAN_LIMIT);
        check("boot", self.boot.ratio(), BOOT_LIMIT);
        check("memory kept", self.memory.ratio(), MEMORY_LIMIT);
        if self.image.ours > IMAGE_LIMIT {
            misses.push(format!("image: {} bytes, the limit is {IMAGE_LIMIT}", self.image.ours));
        }
        misses
    }

    /// The table for people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "instructions; * is a hot path\n");
        let _ = writeln!(out, "  {:<42}{:>10}{:>10}{:>8}", "operation", "xen-lite", "upstream", "ratio");
        for row in &self.operations {
            let star = if row.hot { '*' } else { ' ' };
            let Pair { ours, theirs } = row.pair;
            let _ = writeln!(out, "{star} {:<42}{ours:>10}{theirs:>10}{:>8.3}", row.name, row.pair.ratio());
        }
        let _ = writeln!(out, "\n  {:<62}{:>8.3}", "geometric mean, all", self.mean(false));
        let _ = writeln!(out, "  {:<62}{:>8.3}", "geometric mean, hot paths", self.mean(true));
        for (name, pair) in self.totals() {
            let _ = writeln!(out, "  {name:<40}{:>12}{:>10}{:>8.3}", pair.ours, pair.theirs, pair.ratio());
        }
        let misses = self.misses();
        let _ = writeln!(out, "\nlimits: {}", if misses.is_empty() { "all kept" } else { "NOT kept" });
        for miss in misses {
            let _ = writeln!(out, "  {miss}");
        }
        out
    }

    fn totals(&self) -> [(&'static str, Pair); 3] {
        [("boot, instructions", self.boot), ("image, bytes", self.image), ("memory kept, bytes", self.memory)]
    }

    /// The same for programs.
    pub fn json(&self) -> String {
        let pair = |pair: Pair| {
            format!(
                "\"xen_lite\": {}, \"upstream\": {}, \"ratio\": {:.4}",
                pair.ours,
                pair.theirs,
                pair.ratio()
            )
        };
        let mut out = String::from("{\n  \"operations\": [\n");
        for (i, row) in self.operations.iter().enumerate() {
            let comma = if i + 1 < self.operations.len() { "," } else { "" };
            // Names are plain words: Rust's notation of a string is JSON's.
            let _ = writeln!(
                out,
                "    {{\"name\": {:?}, \"hot\": {}, {}}}{comma}",
                row.name,
                row.hot,
                pair(row.pair)
            );
        }
        let _ = writeln!(out, "  ],");
        let _ = writeln!(out, "  \"geometric_mean\": {:.4},", self.mean(false));
        let _ = writeln!(out, "  \"geometric_mean_hot\": {:.4},", self.mean(true));
        let _ = writeln!(out, "  \"boot_instructions\": {{{}}},", pair(self.boot));
        let _ = writeln!(out, "  \"image_bytes\": {{{}}},", pair(self.image));
        let _ = writeln!(out, "  \"memory_kept_bytes\": {{{}}}\n}}", pair(self.memory));
        out
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn example() -> Report {
        let row =
            |name: &str, hot, ours, theirs| Row { name: name.into(), hot, pair: Pair::of(ours, theirs) };
        Report {
            operations: vec![row("a", true, 50, 200), row("b", false, 100, 100)],
            boot: Pair::of(1, 10),
            image: Pair::of(1, 10),
            memory: Pair::of(1, 10),
        }
    }

    #[test]
    fn the_mean_is_geometric() {
        assert!((example().mean(false) - 0.5).abs() < 1e-9);
        assert!((example().mean(true) - 0.25).abs() < 1e-9);
        assert!(example().misses().is_empty());
    }

    #[test]
    fn a_slow_operation_is_named() {
        let mut report = example();
        report.operations[1].pair.ours = 101;
        assert!(report.misses()[0].starts_with("b: 1.010"));
        report.operations[0].pair.ours = 101;
        assert!(report.misses()[0].starts_with("a: 0.505"));
    }

    #[test]
    fn different_runs_are_refused() {
        use crate::bench::operations::Operation;
        let one = |name: &str| Figures {
            operations: vec![Operation { name: name.into(), hot: true, count: 1 }],
            ..Default::default()
        };
        assert!(pairs(&one("a"), &one("b")).is_err());
        assert!(pairs(&one("a"), &Figures::default()).is_err());
        assert_eq!(pairs(&one("a"), &one("a")).unwrap().len(), 1);
    }
}
