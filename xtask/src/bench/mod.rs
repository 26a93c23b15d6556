//! Figures of xen-lite beside those of upstream Xen.
//!
//! With `-icount shift=0,sleep=off` QEMU's time-stamp counter counts executed instructions, so runs repeat exactly. The
//! boot is measured between two readings: where the loader jumps to (`jump.S`, a multiboot kernel in the place of the
//! hypervisor) and Dom0's first instruction (`first.S`, the smallest PV kernel). Firmware and loader do the same in both,
//! so the difference is the hypervisor's own.

use crate::paths::Paths;
use crate::provide::{packages, upstream};
use crate::{build, provide, say};
use anyhow::{Context, Result, ensure};
use runner::qemu::{Boot, Machine, Module, PROGRAM};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

const FIRST_SOURCE: &str = include_str!("first.S");
const FIRST_LAYOUT: &str = include_str!("first.ld");
const JUMP_SOURCE: &str = include_str!("jump.S");

/// A CPU that both hypervisors know well, and a clock that starts at the same time in every run.
const CPU: &str = "Skylake-Client,-smap";
const DETERMINISTIC: [&str; 4] = ["-icount", "shift=0,sleep=off", "-rtc", "base=2026-01-01,clock=vm"];
const MEMORY_MB: u32 = 512;

/// What upstream needs at its best, in instructions; it takes up to four times that when it waits for its clock.
const UPSTREAM_BEST: u64 = 230_000_000;
/// Share of that which xen-lite may take at most.
const BOOT_SHARE: u64 = 4;
/// Size limit of the image, in bytes.
const IMAGE_LIMIT: u64 = 1 << 20;

/// Measures and prints; the status is 0 if xen-lite keeps its limits.
///
/// # Errors
/// If something cannot be built or does not boot.
pub fn bench(paths: &Paths) -> Result<ExitCode> {
    packages::provide(packages::FOR_RUN)?;
    packages::provide(&[packages::GCC])?;
    provide::rust_target()?;
    upstream::provide_xen(paths)?;
    build::hypervisor(paths)?;
    let layout = paths.image.join("bench/first.ld");
    build::write(&layout, FIRST_LAYOUT.as_bytes())?;
    let layout = format!("-Wl,-T,{}", layout.display());
    let first = assemble(paths, "first", FIRST_SOURCE, &["-m64", &layout])?;
    let jump = assemble(paths, "jump", JUMP_SOURCE, &["-m32", "-Wl,-m,elf_i386,-Ttext=0x100000"])?;
    say::step("counting instructions from the loader's jump to Dom0's first instruction");
    let start = reading(&boot(&jump, &first), "JUMP 0x")?;
    let options = "console=com1 com1=115200,8n1 dom0_mem=64M";
    let count = |hypervisor: &Path| -> Result<u64> {
        let machine = boot_with(hypervisor, &first, options);
        Ok(reading(&machine, "FIRST 0x")?.saturating_sub(start))
    };
    let theirs = count(&paths.upstream_xen())?;
    let ours = count(&paths.image.join("xen-lite"))?;
    let size = std::fs::metadata(paths.image.join("xen-lite"))?.len();
    println!(
        "boot, instructions: xen-lite {ours}, upstream {theirs}, ratio {:.3}",
        ours as f64 / theirs as f64
    );
    println!("  (upstream may wait for the clock's next second; at its best it takes {UPSTREAM_BEST})");
    println!("image, bytes: xen-lite {size}, upstream {}", std::fs::metadata(paths.upstream_xen())?.len());
    let limit = UPSTREAM_BEST / BOOT_SHARE;
    let kept = ours <= limit && size <= IMAGE_LIMIT;
    println!(
        "limits: boot {limit} instructions, image {IMAGE_LIMIT} bytes: {}",
        if kept { "kept" } else { "NOT kept" }
    );
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn boot(hypervisor: &Path, kernel: &Path) -> Machine {
    boot_with(hypervisor, kernel, "")
}

fn boot_with(hypervisor: &Path, kernel: &Path, options: &str) -> Machine {
    let modules = vec![Module { path: kernel.to_path_buf(), args: String::new() }];
    let boot =
        Boot::Multiboot { hypervisor: hypervisor.to_path_buf(), options: options.to_string(), modules };
    Machine { cpu: CPU.into(), memory_mb: MEMORY_MB, cpus: 1, boot }
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

/// Runs a machine to its end, at most a minute, and reads the number after `mark`.
fn reading(machine: &Machine, mark: &str) -> Result<u64> {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "60", PROGRAM]).args(machine.arguments()?).args(DETERMINISTIC);
    command.args(["-chardev", "stdio,id=con,signal=off", "-serial", "chardev:con", "-monitor", "none"]);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {PROGRAM}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let digits = text.split(mark).nth(1).and_then(|rest| rest.get(..16));
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(10)..].join("\n");
    ensure!(digits.is_some(), "`{mark}` did not come; the last lines were:\n{last}");
    u64::from_str_radix(digits.unwrap_or_default(), 16).with_context(|| format!("after `{mark}`"))
}
