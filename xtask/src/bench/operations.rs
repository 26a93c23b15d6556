//! The bench guest's run, and what it prints: `BENCH hot 250 null hypercall`.

use super::{Subject, last_lines, run};
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;

/// Memory of the guest, as an option of the hypervisor.
const GUEST_MEMORY: &str = "dom0_mem=256M";

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What it is.
    pub name: String,
    /// Whether kernels do it all the time.
    pub hot: bool,
    /// Instructions of guest and hypervisor together.
    pub count: u64,
}

/// What one hypervisor took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// In the order of the guest.
    pub operations: Vec<Operation>,
    /// Pages that nobody has.
    pub free_pages: u64,
    /// Pages of the guest.
    pub own_pages: u64,
}

/// Runs the guest.
///
/// # Errors
/// If it does not come to its end, or an operation did not do its work.
pub fn measure(subject: &Subject, guest: &Path) -> Result<Figures> {
    parse(&run(subject, guest, GUEST_MEMORY, &[])?)
}

fn parse(text: &str) -> Result<Figures> {
    let mut figures = Figures::default();
    let mut ended = false;
    for line in text.lines() {
        // A line may follow characters that the guest printed one by one.
        let Some((_, rest)) = line.split_once("BENCH ") else { continue };
        let rest = rest.trim_end();
        if rest == "end" {
            ended = true;
            continue;
        }
        let (kind, rest) =
            rest.split_once(' ').with_context(|| format!("a line of the guest is `{line}`"))?;
        let (number, name) =
            rest.split_once(' ').with_context(|| format!("a line of the guest is `{line}`"))?;
        let number = || number.parse().with_context(|| format!("no number in `{line}`"));
        match kind {
            "hot" | "cold" => {
                let operation = Operation { name: name.to_string(), hot: kind == "hot", count: number()? };
                figures.operations.push(operation);
            }
            "pages" => {
                figures.free_pages = number()?;
                figures.own_pages = name.parse().with_context(|| format!("no number in `{line}`"))?;
            }
            _ => bail!("an operation failed: {rest}"),
        }
    }
    ensure!(ended, "the guest did not come to its end; {}", last_lines(text.as_bytes()));
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_guest_are_understood() {
        let figures =
            parse("boot\nBENCH hot 250 a b\r\n..BENCH cold 3 c\nBENCH pages 5 6\nBENCH end\n").unwrap();
        assert_eq!(figures.operations[0], Operation { name: "a b".into(), hot: true, count: 250 });
        assert_eq!(figures.operations[1], Operation { name: "c".into(), hot: false, count: 3 });
        assert_eq!((figures.free_pages, figures.own_pages), (5, 6));
    }

    #[test]
    fn a_failed_operation_fails_the_bench() {
        assert!(parse("BENCH failed 129 grant map\nBENCH end\n").is_err());
        assert!(parse("BENCH hot 250 a\n").is_err());
    }
}
