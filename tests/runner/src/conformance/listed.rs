//! The differences that are known, with their reasons: the tables of `docs/abi-differences.md`.
//!
//! A line `` | `row` | `upstream` | `xen-lite` | why | `` lists one difference. In the name, `*` stands for any text; the value `*`
//! stands for any value. An entry about an area is about the area's boots on several processors, on other models, and with
//! unguarded entries too. All other lines are for people.

use super::rows::Difference;
use anyhow::{Result, ensure};
use std::sync::atomic::{AtomicBool, Ordering};

/// The entries of the page.
#[derive(Debug, Default)]
pub struct Listed {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    row: String,
    upstream: String,
    xen_lite: String,
    needed: AtomicBool,
}

impl Listed {
    /// Reads the page.
    ///
    /// # Errors
    /// If an entry has no reason, or is there twice.
    pub fn parse(page: &str) -> Result<Self> {
        let mut entries: Vec<Entry> = Vec::new();
        for line in page.lines() {
            let Some(cells) = line.trim().strip_prefix("| `") else { continue };
            let cells: Vec<&str> = cells.trim_end_matches('|').split(" | ").map(str::trim).collect();
            ensure!(cells.len() >= 4 && !cells[3].is_empty(), "`{line}` is not row, two values and a reason");
            let text = |index: usize| cells[index].trim_matches('`').to_string();
            let entry =
                Entry { row: text(0), upstream: text(1), xen_lite: text(2), needed: AtomicBool::new(false) };
            ensure!(entries.iter().all(|one| one.row != entry.row), "`{}` is listed twice", entry.row);
            entries.push(entry);
        }
        Ok(Self { entries })
    }

    /// Whether a difference is listed with its values; remembers that the entry was needed.
    pub fn covers(&self, difference: &Difference) -> bool {
        let fits = |entry: &&Entry| {
            names(&entry.row, &difference.row)
                && matches(&entry.upstream, &difference.upstream)
                && matches(&entry.xen_lite, &difference.xen_lite)
        };
        let found = self.entries.iter().find(fits);
        if let Some(entry) = found {
            entry.needed.store(true, Ordering::Relaxed);
        }
        found.is_some()
    }

    /// Entries about rows with one of these prefixes that nothing needed.
    pub fn unneeded(&self, prefixes: &[String]) -> Vec<&str> {
        let ran = |row: &str| {
            let area = row.split_once('.').map(|(prefix, _)| prefix);
            prefixes.iter().any(|prefix| area.is_some_and(|area| area == prefix))
        };
        let unneeded = self.entries.iter().filter(|entry| !entry.needed.load(Ordering::Relaxed));
        unneeded.map(|entry| entry.row.as_str()).filter(|row| ran(row)).collect()
    }
}

/// Whether the pattern names a row: as it is, or without the number or the model of processors in its prefix, or what says that
/// entries were not guarded.
fn names(pattern: &str, row: &str) -> bool {
    let Some((prefix, check)) = row.split_once('.') else { return matches(pattern, row) };
    if let Some(guarded) = prefix.strip_suffix("-unguarded") {
        return matches(pattern, row) || names(pattern, &format!("{guarded}.{check}"));
    }
    let plain = prefix.split_once("-smp").or_else(|| prefix.split_once('@'));
    let single = plain.map(|(area, _)| format!("{area}.{check}"));
    matches(pattern, row) || single.is_some_and(|row| matches(pattern, &row))
}

/// Whether `text` is the pattern, in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(start) else { return false };
    (0..=text.len()).filter(|&at| text.is_char_boundary(at)).any(|at| matches(rest, &text[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Differences\n\n| row | upstream | xen-lite | why |\n|---|---|---|---|\n\
                        | `cpu.a` | `0` | `-EINVAL` | because |\n| `cpu.leaf.*` | `*` | `0` | hidden |\n";

    fn difference(row: &str, upstream: &str, xen_lite: &str) -> Difference {
        Difference { row: row.into(), upstream: upstream.into(), xen_lite: xen_lite.into() }
    }

    #[test]
    fn an_entry_covers_its_values_only() {
        let listed = Listed::parse(PAGE).unwrap();
        assert!(listed.covers(&difference("cpu.a", "0", "-EINVAL")));
        assert!(!listed.covers(&difference("cpu.a", "0", "-EPERM")));
        assert!(listed.covers(&difference("cpu.leaf.7", "0x12", "0")));
        assert!(!listed.covers(&difference("cpu.leaf", "0x12", "0")));
    }

    #[test]
    fn an_entry_that_is_not_needed_is_told_if_its_rows_ran() {
        let listed = Listed::parse(PAGE).unwrap();
        assert!(listed.covers(&difference("cpu.a", "0", "-EINVAL")));
        assert_eq!(listed.unneeded(&["cpu".into()]), ["cpu.leaf.*"]);
        assert!(listed.unneeded(&["mmu".into()]).is_empty());
    }

    #[test]
    fn an_entry_covers_boots_on_several_processors() {
        let listed = Listed::parse(PAGE).unwrap();
        assert!(listed.covers(&difference("cpu-smp4.a", "0", "-EINVAL")));
        assert!(!listed.covers(&difference("cpu-domu.a", "0", "-EINVAL")));
        assert!(!listed.covers(&difference("cpu-domu-smp4.a", "0", "-EINVAL")));
    }

    #[test]
    fn an_entry_needs_a_reason() {
        assert!(Listed::parse("| `a.b` | `1` | `2` | |\n").is_err());
        assert!(Listed::parse("| `a.b` | `1` | `2` | x |\n| `a.b` | `1` | `2` | x |\n").is_err());
    }
}
