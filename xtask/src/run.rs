//! Boots the result in QEMU, with this terminal as the serial console.

use crate::cli::RunArgs;
use crate::kernel::Domain;
use crate::paths::Paths;
use crate::provide::{packages, upstream};
use crate::{build, kernel, provide, say};
use anyhow::{Context, Result};
use kernel_image::layout::Role;
use runner::qemu::{Boot, Machine, Module, PROGRAM};
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

/// Options of every run. Dom0 does not get all memory, or there would be none for DomUs.
const COMMON_OPTIONS: &str = "console=com1 com1=115200,8n1";
/// Memory of the Rust Dom0, and of a kernel given with `--kernel`.
const DOM0_MEMORY: &str = "dom0_mem=128M";
const FOREIGN_DOM0_MEMORY: &str = "dom0_mem=512M";

/// Lines with which Dom0 tells how a script ended.
const SCRIPT_OK: &str = "SCRIPT ok";
const SCRIPT_FAILED: &str = "SCRIPT failed";

/// Builds, boots, and returns the status for the shell: 0 after a power-off.
///
/// # Errors
/// If something cannot be built, or QEMU cannot be started.
pub fn run(paths: &Paths, args: &RunArgs) -> Result<ExitCode> {
    packages::provide(packages::FOR_RUN)?;
    let machine = machine(paths, args)?;
    let mut command = Command::new(PROGRAM);
    command.args(machine.arguments()?);
    if args.gdb {
        command.args(["-s", "-S"]);
        explain_gdb(paths, args);
    }
    if args.script.is_some() {
        return run_script(&mut command);
    }
    command.args(["-serial", "mon:stdio"]);
    explain_terminal();
    let status = command.status().with_context(|| format!("starting {PROGRAM}"))?;
    Ok(explain_end(status))
}

/// Builds what is to be booted and describes the machine.
fn machine(paths: &Paths, args: &RunArgs) -> Result<Machine> {
    let modules = match &args.kernel {
        Some(kernel) => {
            check_first_kernel(args, kernel)?;
            provide::rust_target()?;
            if !args.upstream {
                build::hypervisor(paths)?;
            }
            let mut modules =
                vec![Module { path: kernel.clone(), args: args.append.clone().unwrap_or_default() }];
            modules.extend(args.initrd.iter().map(|path| Module { path: path.clone(), args: String::new() }));
            modules
        }
        None => {
            build::everything(paths, &args.build)?;
            let initrd = Module { path: paths.image.join("initrd"), args: String::new() };
            vec![Module { path: paths.image.join("dom0"), args: dom0_arguments(paths, args)? }, initrd]
        }
    };
    let memory = if args.kernel.is_some() { FOREIGN_DOM0_MEMORY } else { DOM0_MEMORY };
    let mut options = format!("{COMMON_OPTIONS} {memory}");
    let hypervisor = if args.upstream {
        upstream::provide_xen(paths)?;
        paths.upstream_xen()
    } else {
        options.push_str(" qemu-exit");
        paths.image.join("xen-lite")
    };
    if let Some(more) = &args.options {
        options = format!("{options} {more}");
    }
    let boot = Boot::Multiboot { hypervisor, options, modules };
    Ok(Machine { cpu: args.cpu.clone(), memory_mb: args.memory, cpus: args.smp, boot })
}

/// Looks at the kernel that is to be Dom0.
fn check_first_kernel(args: &RunArgs, path: &Path) -> Result<()> {
    let initrd_bytes = match &args.initrd {
        Some(initrd) => std::fs::metadata(initrd).with_context(|| initrd.display().to_string())?.len(),
        None => 0,
    };
    // The size of the domain is the hypervisor's business (`--options`); no kernel fits more than the machine.
    let domain = Domain { role: Role::Dom0, memory_mb: args.memory, initrd_bytes };
    kernel::read_checked(path, &domain).map(|_| ())
}

/// A script says itself what it starts; a person finds the samples running.
fn dom0_arguments(paths: &Paths, args: &RunArgs) -> Result<String> {
    let mut words = vec![match &args.script {
        Some(script) => format!("script=\"{}\"", ending_in_poweroff(script)),
        None => format!("autostart={}", build::sample_names(paths)?.join(",")),
    }];
    words.extend(args.append.clone());
    Ok(words.join(" "))
}

/// A script without a terminal must end the machine, or the run would never end.
fn ending_in_poweroff(script: &str) -> String {
    let script = script.trim().trim_end_matches(';').trim_end();
    let last = script.rsplit(';').next().unwrap_or_default().trim();
    if last == "poweroff" { script.to_string() } else { format!("{script}; poweroff") }
}

/// Runs without a terminal; the status says whether the script succeeded.
fn run_script(command: &mut Command) -> Result<ExitCode> {
    command.args(["-chardev", "stdio,id=con,signal=off", "-serial", "chardev:con", "-monitor", "none"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    say::step("starting the machine");
    let mut child = command.spawn().with_context(|| format!("starting {PROGRAM}"))?;
    let output = child.stdout.take().context("QEMU's output is not connected")?;
    let mut outcome = None;
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let text = String::from_utf8_lossy(&line);
        println!("{}", text.trim_end_matches('\r'));
        std::io::stdout().flush()?;
        if text.contains(SCRIPT_OK) {
            outcome.get_or_insert(true);
        } else if text.contains(SCRIPT_FAILED) {
            outcome = Some(false);
        }
    }
    let status = child.wait()?;
    if outcome != Some(true) {
        say::step(if outcome.is_none() { "the script did not end" } else { "the script failed" });
        return Ok(ExitCode::FAILURE);
    }
    Ok(explain_end(status))
}

fn explain_terminal() {
    say::step("starting the machine; this terminal is its serial console");
    if std::io::stdin().is_terminal() {
        say::note(
            "`help` shows the commands of Dom0's shell, `poweroff` ends it; Ctrl-] leaves a guest's console",
        );
        say::note("Ctrl-C goes to the guest; to end the machine by force: Ctrl-A, then X");
    }
}

fn explain_gdb(paths: &Paths, args: &RunArgs) {
    say::step("waiting for a debugger; in another terminal:");
    let symbols = if args.upstream { paths.upstream_xen() } else { paths.image.join("xen-lite.syms") };
    say::note(&format!("gdb {} -ex 'target remote localhost:1234'", paths.shown(&symbols)));
    say::note("then `hbreak FUNCTION` (hardware breakpoints work before paging is on) and `continue`");
}

fn explain_end(status: ExitStatus) -> ExitCode {
    match status.code() {
        Some(0) => ExitCode::SUCCESS,
        Some(code) if code & 1 == 1 && code > 1 => {
            say::step(&format!(
                "the hypervisor crashed and ended QEMU with status {code}; its last lines say why"
            ));
            ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
        }
        code => {
            say::step(&format!("QEMU failed ({status})"));
            ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_ends_in_poweroff() {
        assert_eq!(ending_in_poweroff("list"), "list; poweroff");
        assert_eq!(ending_in_poweroff("list; poweroff;"), "list; poweroff");
    }
}
