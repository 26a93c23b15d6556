//! Rows: read from a transcript, and compared.

use anyhow::{Result, bail};
use std::collections::BTreeMap;

/// Rows by name.
pub type Rows = BTreeMap<String, String>;

/// What stands for the value of a row that is not there.
pub const ABSENT: &str = "absent";

/// What a hypervisor prints when the first domain ends, and the value of the row `end` for it: upstream's text, xen-lite's.
pub const ENDS: &[(&str, &str)] = &[
    ("Hardware Dom0 crashed", "crash"),
    ("shut down (crash", "crash"),
    ("Hardware Dom0 halted", "power off"),
    ("shut down (power off", "power off"),
    ("Hardware Dom0 shutdown: watchdog", "watchdog"),
    ("shut down (watchdog", "watchdog"),
    ("Hardware Dom0 shutdown (unknown", "unknown"),
    ("shut down (unknown", "unknown"),
    ("Hardware Dom0 shutdown: rebooting", "reboot"),
    ("shut down (reboot", "reboot"),
    ("did unsupported soft reset", "soft reset"),
    ("Panic on CPU", "panic of the hypervisor"),
];

/// What the messages of both hypervisors begin with.
const MESSAGE: &str = "(XEN) ";

/// A row with two values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its name.
    pub row: String,
    /// Upstream's value.
    pub upstream: String,
    /// xen-lite's value.
    pub xen_lite: String,
}

/// The rows of a transcript, with the prefix of their boot, and how the domain ended.
///
/// # Errors
/// If a name comes twice: then one value would hide the other.
pub fn collect(transcript: &str, prefix: &str, end: &str) -> Result<Rows> {
    let mut rows = Rows::new();
    for line in mended_lines(transcript) {
        let Some((_, row)) = line.split_once("ROW ") else { continue };
        let Some((name, value)) = row.split_once(" = ") else { continue };
        let name = with_prefix(prefix, name);
        if rows.insert(name.clone(), value.trim_end().to_string()).is_some() {
            bail!("row `{name}` comes twice");
        }
    }
    rows.insert(format!("{prefix}.end"), end.to_string());
    Ok(rows)
}

/// The lines of a transcript; one that a hypervisor's own message broke in two is whole again.
///
/// A domain's line reaches the serial line in several writes when Dom0 passes it on, and a hypervisor reports, say, a crash
/// whenever it comes: `ROW a.b = 0(XEN) d1v0 Unhandled…`, more lines with `(XEN)`, and then the rest, `x40`.
fn mended_lines(transcript: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut broken = String::new();
    for line in transcript.lines() {
        match line.find(MESSAGE) {
            Some(at) => {
                broken.push_str(&line[..at]);
                lines.push(line[at..].to_string());
            }
            None => lines.push(std::mem::take(&mut broken) + line),
        }
    }
    lines.push(broken);
    lines
}

/// Replaces the area at the start of a row's name by the prefix of the boot.
fn with_prefix(prefix: &str, name: &str) -> String {
    match name.split_once('.') {
        Some((_, check)) => format!("{prefix}.{check}"),
        None => format!("{prefix}.{name}"),
    }
}

/// The rows that differ, or are on one side only.
pub fn compare(upstream: &Rows, xen_lite: &Rows) -> Vec<Difference> {
    let value = |rows: &Rows, name: &str| rows.get(name).map_or(ABSENT, String::as_str).to_string();
    let mut names: Vec<&String> = upstream.keys().chain(xen_lite.keys()).collect();
    names.sort();
    names.dedup();
    let all = names.into_iter().map(|row| Difference {
        row: row.clone(),
        upstream: value(upstream, row),
        xen_lite: value(xen_lite, row),
    });
    all.filter(|one| one.upstream != one.xen_lite).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPSTREAM: &str = "(XEN) hello\nROW cpu.a = 1\nROW cpu.b = -EINVAL\nRESULT: done\n";

    #[test]
    fn rows_are_found_among_other_lines() {
        let rows = collect(UPSTREAM, "cpu", "done").unwrap();
        assert_eq!(rows.len(), 3);
        assert_eq!((rows["cpu.b"].as_str(), rows["cpu.end"].as_str()), ("-EINVAL", "done"));
        assert!(collect("ROW a.b = 1\nROW a.b = 1\n", "a", "done").is_err());
    }

    #[test]
    fn a_row_that_a_message_broke_in_two_is_whole_again() {
        let transcript =
            "ROW a.b = 0(XEN) d1v0 Unhandled\n(XEN)  L4[0x1ff]\nx40\nROW a.c(XEN) again\n = 1\nROW a.d = 2";
        let rows = collect(transcript, "a", "done").unwrap();
        assert_eq!((rows["a.b"].as_str(), rows["a.c"].as_str(), rows["a.d"].as_str()), ("0x40", "1", "2"));
        assert_eq!(rows.len(), 4);
    }

    #[test]
    fn a_missing_row_is_a_difference() {
        let upstream = collect(UPSTREAM, "cpu", "done").unwrap();
        let xen_lite = collect("ROW cpu.a = 1\n", "cpu", "crash").unwrap();
        let differences = compare(&upstream, &xen_lite);
        assert_eq!(differences.len(), 2);
        assert_eq!(differences[0].xen_lite, ABSENT);
        assert_eq!(differences[1].row, "cpu.end");
        assert!(compare(&upstream, &upstream).is_empty());
    }
}
