//! The same images on Bochs, an emulator of another make: the one here with SMAP that works, with x2APIC, and with processors
//! that fault where the manual says.
//!
//! It needs `bochs`, `bochs-term`, `bochsbios`, `vgabios` and `grub-mkrescue`, and is slower than QEMU; so these runs are carried
//! out only when asked for: `cargo xtask test bochs`. Bochs tells nothing by its exit status; what counts is what the serial
//! port said, which it writes to a file.

use crate::artifacts::Artifacts;
use crate::suite::{Options, Tally};
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The program that emulates; `bochs` only starts it.
const PROGRAM: &str = "bochs";
/// What a name must hold to be asked for.
const PREFIX: &str = "bochs-";
/// Seconds that a run may take.
const LIMIT: u64 = 180;

/// A run.
struct Run {
    name: &'static str,
    /// Bochs' name for the processor, and how many.
    model: &'static str,
    cpus: u32,
    /// Options of the hypervisor.
    options: &'static str,
    /// The first domain, its arguments, and its initrd.
    kernel: &'static str,
    args: &'static str,
    initrd: Option<&'static str>,
    /// What must be said, in this order.
    wanted: &'static [&'static str],
    /// What must not.
    forbidden: &'static str,
}

/// One of Intel's, as it comes from its makers: SMAP, SMEP, XSAVE, SYSENTER.
const INTEL: &str = "corei7_skylake_x";

const SELF: Run = Run {
    name: "bochs-selftest",
    model: INTEL,
    cpus: 1,
    options: "dom0_mem=64M",
    kernel: "guests/selftest",
    args: "",
    initrd: None,
    wanted: &["SMAP", "RESULT: pass"],
    forbidden: "RESULT: fail",
};

const RUNS: &[Run] = &[
    SELF,
    Run { name: "bochs-advisories", kernel: "guests/advisories", ..SELF },
    Run {
        name: "bochs-selftest-x2apic",
        cpus: 4,
        options: "dom0_mem=64M dom0_max_vcpus=4 x2apic=1",
        wanted: &["x2APIC\n", "RESULT: pass"],
        ..SELF
    },
    Run {
        name: "bochs-selftest-no-smap",
        options: "dom0_mem=64M smap=0 smep=0",
        wanted: &["RESULT: pass"],
        ..SELF
    },
    Run { name: "bochs-selftest-ryzen", model: "ryzen", wanted: &["RESULT: pass"], ..SELF },
    Run { name: "bochs-selftest-old", model: "core2_penryn_t9600", wanted: &["RESULT: pass"], ..SELF },
    Run {
        name: "bochs-guests",
        cpus: 2,
        options: "dom0_mem=128M",
        kernel: "dom0",
        args: "script=\"create hello; wait hello Rust 60; poweroff\"",
        initrd: Some("initrd"),
        wanted: &["SMAP", "SCRIPT ok"],
        forbidden: "SCRIPT failed",
        ..SELF
    },
];

/// Whether the filters ask for one of these runs, and which.
fn selected(options: &Options) -> Vec<&'static Run> {
    let asked = |run: &&Run| {
        let filters = options.filters.iter().filter(|filter| filter.contains("bochs"));
        filters.into_iter().any(|filter| run.name.contains(filter.as_str()))
    };
    RUNS.iter().filter(asked).collect()
}

/// Whether any of these runs is asked for; then guests and Dom0 must be built.
pub fn is_asked_for(options: &Options) -> bool {
    !selected(options).is_empty()
}

/// Carries out the runs that the filters name, one after the other, and prints a line for each.
///
/// # Errors
/// If a program is missing or a file cannot be written.
pub fn run(files: &Artifacts, options: &Options) -> Result<Tally> {
    let mut tally = Tally::default();
    for run in selected(options) {
        let started = Instant::now();
        let outcome = one(run, files, options.slow).with_context(|| format!("running {}", run.name))?;
        let seconds = started.elapsed().as_secs_f32();
        match outcome {
            None => {
                tally.passed += 1;
                println!("ok     {} ({seconds:.1} s)", run.name);
            }
            Some(reason) => {
                tally.failed += 1;
                println!("FAILED {} ({seconds:.1} s): {reason}", run.name);
            }
        }
    }
    Ok(tally)
}

/// `Ok(None)` if all that was wanted was said.
fn one(run: &Run, files: &Artifacts, slow: u32) -> Result<Option<String>> {
    ensure!(run.name.starts_with(PREFIX), "`{}` does not say that it runs on Bochs", run.name);
    let folder = files.logs().join(run.name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    disk(run, files, &folder)?;
    std::fs::write(folder.join("bochsrc"), machine(run))?;
    std::fs::write(folder.join("rc"), "c\n")?;
    let serial = folder.join("serial.txt");
    // Its debugger wants a terminal, which `script` gives it.
    let mut command = Command::new("setpriv");
    command.args([
        "--pdeathsig",
        "KILL",
        "--",
        "script",
        "-qfc",
        &format!("exec {PROGRAM} -q -f bochsrc -rc rc"),
        "/dev/null",
    ]);
    command.env("TERM", "xterm").current_dir(&folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child =
        Ended(command.spawn().context("starting Bochs (packages bochs, bochs-term, bochsbios, vgabios)")?);
    let until = Instant::now() + Duration::from_secs(LIMIT * u64::from(slow));
    loop {
        let text = std::fs::read(&serial).map(|bytes| String::from_utf8_lossy(&bytes).replace('\r', ""));
        let said = text.unwrap_or_default();
        if said.contains(run.forbidden) {
            return Ok(Some(format!("`{}` came; see {}", run.forbidden, serial.display())));
        }
        let missing = first_missing(&said, run.wanted);
        let Some(missing) = missing else { return Ok(None) };
        if child.0.try_wait()?.is_some() || Instant::now() >= until {
            return Ok(Some(format!("`{}` did not come; see {}", missing.escape_debug(), serial.display())));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The first of the texts that is not there behind those before it.
fn first_missing<'t>(said: &str, wanted: &[&'t str]) -> Option<&'t str> {
    let mut rest = said;
    for text in wanted {
        match rest.find(text) {
            Some(at) => rest = &rest[at + text.len()..],
            None => return Some(text),
        }
    }
    None
}

/// A child that does not outlive the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A CD with GRUB, the hypervisor and its modules.
fn disk(run: &Run, files: &Artifacts, folder: &Path) -> Result<()> {
    let tree = folder.join("tree");
    let grub = tree.join("boot/grub");
    std::fs::create_dir_all(&grub).with_context(|| format!("creating {}", grub.display()))?;
    let copy = |from: &Path, name: &str| {
        std::fs::copy(from, tree.join("boot").join(name))
            .with_context(|| format!("copying {}", from.display()))
    };
    copy(&files.xen_lite(), "xen-lite")?;
    copy(&files.file(run.kernel), "kernel")?;
    let mut menu = format!(
        "set timeout=0\nmenuentry test {{\n multiboot2 /boot/xen-lite console=com1 com1=115200,8n1 noreboot {}\n \
         module2 /boot/kernel {}\n",
        run.options, run.args
    );
    if let Some(initrd) = run.initrd {
        copy(&files.file(initrd), "initrd")?;
        menu.push_str(" module2 /boot/initrd\n");
    }
    menu.push_str(" boot\n}\n");
    std::fs::write(grub.join("grub.cfg"), menu)?;
    let mut command = Command::new("grub-mkrescue");
    command.args(["-d", "/usr/lib/grub/i386-pc", "-o"]).arg(folder.join("disk.iso")).arg(&tree);
    let output = command.output().context("starting grub-mkrescue")?;
    ensure!(output.status.success(), "grub-mkrescue: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The machine, in Bochs' language. The clock counts instructions, so that a run is the same every time.
fn machine(run: &Run) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "cpu: model={}, count={}, ips=50000000, reset_on_triple_fault=0, ignore_bad_msrs=0\n\
         memory: guest=512, host=512\n\
         romimage: file=/usr/share/bochs/BIOS-bochs-latest\n\
         vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest\n\
         ata0-master: type=cdrom, path=disk.iso, status=inserted\n\
         boot: cdrom\n\
         com1: enabled=1, mode=file, dev=serial.txt\n\
         clock: sync=none, time0=1790000000\n\
         display_library: term\n\
         log: bochs.log\n\
         panic: action=fatal\n\
         error: action=ignore\n\
         debug: action=ignore",
        run.model, run.cpus
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(filters: &[&str]) -> Options {
        Options { filters: filters.iter().map(|filter| (*filter).to_string()).collect(), jobs: 1, slow: 1 }
    }

    #[test]
    fn runs_are_carried_out_only_when_asked_for() {
        assert!(!is_asked_for(&options(&[])));
        assert!(!is_asked_for(&options(&["selftest"])));
        assert_eq!(selected(&options(&["bochs"])).len(), RUNS.len());
        assert_eq!(selected(&options(&["bochs-guests"])).len(), 1);
    }

    #[test]
    fn texts_must_come_in_order() {
        assert_eq!(first_missing("a b c", &["a", "c"]), None);
        assert_eq!(first_missing("a b c", &["c", "a"]), Some("a"));
    }
}
