//! How many instructions a boot takes.
//!
//! Two readings of the counter: where the loader jumps to (`jump.S`, a multiboot kernel in the place of the hypervisor)
//! and Dom0's first instruction (`first.S`, the smallest PV kernel). Firmware and loader do the same in both, so the
//! difference is the hypervisor's own.
//!
//! A hypervisor that reads the PC's clock may wait until its second turns: up to a thousand million instructions. Where in
//! a second the boot begins is the firmware's doing, so it is begun at several moments, and the least figure counts.

use super::{OPTIONS, Subject, both, last_lines, report::Pair, run};
use crate::paths::Paths;
use crate::{build, say};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

const FIRST_SOURCE: &str = include_str!("first.S");
const FIRST_LAYOUT: &str = include_str!("first.ld");
const JUMP_SOURCE: &str = include_str!("jump.S");

/// How long the firmware waits before it boots, in milliseconds.
const DELAYS: [u32; 4] = [600, 650, 700, 750];

/// Measures both.
///
/// # Errors
/// If a probe cannot be assembled, or does not report.
pub fn measure(paths: &Paths, ours: &Subject, theirs: &Subject) -> Result<Pair> {
    let layout = paths.image.join("bench/first.ld");
    build::write(&layout, FIRST_LAYOUT.as_bytes())?;
    let layout = format!("-Wl,-T,{}", layout.display());
    let first = assemble(paths, "first", FIRST_SOURCE, &["-m64", &layout])?;
    let jump = assemble(paths, "jump", JUMP_SOURCE, &["-m32", "-Wl,-m,elf_i386,-Ttext=0x100000"])?;
    let mut best: Option<Pair> = None;
    for delay in DELAYS {
        let pair = measure_at(delay, &jump, &first, ours, theirs)?;
        let least = |a: u64, b: Option<u64>| b.map_or(a, |b| b.min(a));
        let ours = least(pair.ours, best.map(|pair| pair.ours));
        best = Some(Pair::of(ours, least(pair.theirs, best.map(|pair| pair.theirs))));
    }
    best.context("no boot was measured")
}

/// Measures both with a firmware that waits `delay` milliseconds.
fn measure_at(delay: u32, jump: &Path, first: &Path, ours: &Subject, theirs: &Subject) -> Result<Pair> {
    let wait = ["-boot".to_string(), format!("menu=on,splash-time={delay}")];
    let probe = Subject { file: jump.to_path_buf(), options: OPTIONS.to_string() };
    let start = reading(&run(&probe, first, "", &wait)?, "JUMP 0x")?;
    let (a, b) = both(ours, theirs, |subject| {
        Ok(reading(&run(subject, first, "dom0_mem=64M", &wait)?, "FIRST 0x")?.saturating_sub(start))
    })?;
    Ok(Pair::of(a, b))
}

/// Assembles a probe with the C compiler's driver.
fn assemble(paths: &Paths, name: &str, source: &str, options: &[&str]) -> Result<PathBuf> {
    let file = paths.image.join("bench").join(name);
    let text = file.with_extension("S");
    build::write(&text, source.as_bytes())?;
    let mut command = Command::new("cc");
    command.args(["-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none"]).args(options);
    say::output(command.arg("-o").arg(&file).arg(&text))?;
    Ok(file)
}

/// The number of 16 hexadecimal digits after `mark`.
fn reading(text: &str, mark: &str) -> Result<u64> {
    let digits = text.split(mark).nth(1).and_then(|rest| rest.get(..16));
    let digits = digits.with_context(|| format!("`{mark}` did not come; {}", last_lines(text.as_bytes())))?;
    u64::from_str_radix(digits, 16).with_context(|| format!("after `{mark}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_found() {
        assert_eq!(reading("x\nFIRST 0x00000000000000ff\n", "FIRST 0x").unwrap(), 255);
        assert!(reading("x\n", "FIRST 0x").is_err());
    }
}
