//! The same operations with what both do by default about CPUs that leak.
//!
//! The limits of [`super::report`] are for both at their cheapest. On the CPU that is measured, both split page tables by default
//! (XPTI); this prints what that takes, for the operations on hot paths. There are no limits.

use super::report::{Row, pairs};
use super::{OPTIONS, Subject, both, operations};
use crate::say;
use anyhow::Result;
use std::fmt::Write;
use std::path::Path;

/// Measures and prints.
///
/// # Errors
/// If the guest does not do its work.
pub fn bench(ours: &Subject, theirs: &Subject, guest: &Path) -> Result<()> {
    say::step("counting instructions of operations with both hypervisors' defaults");
    let default = |subject: &Subject| Subject { options: OPTIONS.into(), ..subject.clone() };
    let figures = both(&default(ours), &default(theirs), |subject| operations::measure(subject, guest))?;
    print!("{}", text(&pairs(&figures.0, &figures.1)?));
    Ok(())
}

fn text(rows: &[Row]) -> String {
    let mut out = format!("\n{:<44}{:>10}{:>10}{:>7}\n", "by default", "xen-lite", "upstream", "ratio");
    let mut logarithms = 0.0;
    for row in rows {
        logarithms += row.pair.ratio().max(f64::MIN_POSITIVE).ln();
        if row.hot {
            let (ours, theirs) = (row.pair.ours, row.pair.theirs);
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{:<44}{ours:>10}{theirs:>10}{:>7.2}", row.name, row.pair.ratio());
        }
    }
    let mean = (logarithms / rows.len().max(1) as f64).exp();
    let _ = writeln!(out, "geometric mean of all operations: {mean:.2}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::Pair;

    #[test]
    fn hot_operations_are_shown_and_all_counted() {
        let row =
            |name: &str, hot, ours, theirs| Row { name: name.into(), hot, pair: Pair::of(ours, theirs) };
        let text = text(&[row("null", true, 50, 100), row("rare", false, 200, 100)]);
        assert!(text.contains("null") && text.contains("0.50"), "{text}");
        assert!(!text.contains("rare"), "{text}");
        assert!(text.ends_with("geometric mean of all operations: 1.00\n"), "{text}");
    }
}
