//! `run-guest`: what `cargo run` in a guest's folder calls.
//!
//! The guest is started by Dom0, with its console attached, and the machine ends with it. Only what the guest says is shown, and
//! the status tells how it ended: 0 if it powered off, 101 if it crashed (the number of a Rust program that panics), 1 if it could
//! not be started. Addresses in a back trace get the names of their functions.

use crate::cli::RunGuestArgs;
use crate::initrd::Archive;
use crate::kernel::{self, Domain};
use crate::paths::Paths;
use crate::provide::{self, packages, upstream};
use crate::{build, say, symbols};
use anyhow::{Context, Result, ensure};
use kernel_image::layout::Role;
use runner::qemu::{Boot, DEFAULT_CPU, Machine, Module, PROGRAM};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Read, Write};
use std::process::{Command, ExitCode, Stdio};

/// Options of the hypervisor.
const OPTIONS: &str = "console=com1 com1=115200,8n1 dom0_mem=128M";
/// Memory of the machine that is not the guest's, in MiB: the hypervisor's and Dom0's.
const OTHER_MEMORY: u32 = 384;
/// The status of a Rust program that panics.
const CRASHED: u8 = 101;

/// Boots the guest and returns how it ended.
///
/// # Errors
/// If something cannot be built, or QEMU cannot be started.
pub fn run_guest(paths: &Paths, args: &RunGuestArgs) -> Result<ExitCode> {
    packages::provide(packages::FOR_RUN)?;
    provide::rust_target()?;
    let domain = Domain { role: Role::DomU, memory_mb: args.memory, initrd_bytes: 0 };
    let kernel = kernel::read_checked(&args.kernel, &domain)?;
    let name = build::guest_name(&args.kernel)?;
    let machine = machine(paths, args, &name, &kernel)?;
    let mut command = Command::new(PROGRAM);
    command.args(machine.arguments()?);
    command.args(["-chardev", "stdio,id=con,signal=off", "-serial", "chardev:con", "-monitor", "none"]);
    command.stdout(Stdio::piped());
    say::step(&format!("starting {name} on {}", if args.upstream { "upstream Xen" } else { "xen-lite" }));
    if std::io::stdin().is_terminal() {
        say::note("Ctrl-] ends it");
    }
    let mut child = command.spawn().with_context(|| format!("starting {PROGRAM}"))?;
    let output = child.stdout.take().context("QEMU's output is not connected")?;
    let end = show(output, &mut Screen::new(&name, symbols::functions(&kernel)?))?;
    let status = child.wait()?;
    Ok(tell(&end, &name, status, args))
}

fn machine(paths: &Paths, args: &RunGuestArgs, name: &str, kernel: &[u8]) -> Result<Machine> {
    let hypervisor = if args.upstream {
        upstream::provide_xen(paths)?;
        paths.upstream_xen()
    } else {
        build::hypervisor(paths)?;
        paths.image.join("xen-lite")
    };
    build::dom0(paths)?;
    let initrd = paths.image.join("run-guest.cpio");
    build::write(&initrd, &archive(args, name, kernel)?)?;
    let script = format!("script=\"create -c {name}; poweroff\"");
    let modules = vec![
        Module { path: paths.image.join("dom0"), args: script },
        Module { path: initrd, args: String::new() },
    ];
    let boot = Boot::Multiboot { hypervisor, options: OPTIONS.into(), modules };
    Ok(Machine { cpu: DEFAULT_CPU.into(), memory_mb: args.memory + OTHER_MEMORY, cpus: args.vcpus, boot })
}

/// Dom0's initrd: the kernel, its module if there is one, and the configuration.
fn archive(args: &RunGuestArgs, name: &str, kernel: &[u8]) -> Result<Vec<u8>> {
    ensure!(!args.append.contains(['"', '\n']), "the guest's command line cannot hold quotes or line feeds");
    let mut config = format!(
        "name = \"{name}\"\nkernel = \"guests/{name}\"\nmemory = {}\nvcpus = {}\nextra = \"{}\"\n\
         on_crash = \"destroy\"\non_reboot = \"destroy\"\n",
        args.memory, args.vcpus, args.append
    );
    let mut archive = Archive::default();
    archive.folder("guests")?;
    if let Some(module) = &args.module {
        config.push_str("ramdisk = \"guests/module\"\n");
        archive.file_from("guests/module", 0o644, module)?;
    }
    archive.file(&format!("guests/{name}.cfg"), 0o644, config.as_bytes())?;
    archive.file(&format!("guests/{name}"), 0o755, kernel)?;
    archive.finish()
}

/// How the guest ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct End {
    /// What Dom0 said of it, such as `powered off`.
    word: Option<String>,
    /// Why Dom0 could not start it.
    failure: Option<String>,
    /// Return addresses of the back trace.
    trace: Vec<u64>,
}

fn tell(end: &End, name: &str, status: std::process::ExitStatus, args: &RunGuestArgs) -> ExitCode {
    if let Some(failure) = &end.failure {
        say::step(&format!("{name} could not be started: {failure}"));
        return ExitCode::FAILURE;
    }
    if !end.trace.is_empty() {
        say::step("lines of the back trace:");
        let addresses: Vec<String> = end.trace.iter().map(|address| format!("{address:#x}")).collect();
        say::note(&format!("addr2line -fipCe {} {}", args.kernel.display(), addresses.join(" ")));
    }
    match end.word.as_deref() {
        Some("powered off" | "asked for a reboot") => ExitCode::SUCCESS,
        Some(word) => {
            say::step(&format!("{name} {word}"));
            ExitCode::from(CRASHED)
        }
        None if status.success() => {
            say::step(&format!("the machine was ended before {name} was"));
            ExitCode::SUCCESS
        }
        None => {
            say::step(&format!("the machine ended before {name} did ({status})"));
            ExitCode::FAILURE
        }
    }
}

fn show(mut output: impl Read, screen: &mut Screen) -> Result<End> {
    let mut buffer = [0; 4096];
    loop {
        let count = output.read(&mut buffer)?;
        if count == 0 {
            return Ok(std::mem::take(&mut screen.end));
        }
        let shown = screen.take(&buffer[..count]);
        std::io::stdout().write_all(&shown)?;
        std::io::stdout().flush()?;
    }
}

/// What is between the serial port and the terminal: lets through what the guest says, and understands what Dom0 says.
struct Screen {
    name: String,
    /// Functions of the kernel: address, and name.
    functions: BTreeMap<u64, String>,
    /// The guest's console is attached.
    attached: bool,
    /// Bytes of the line so far, and how many of them were let through.
    line: Vec<u8>,
    shown: usize,
    end: End,
}

impl Screen {
    fn new(name: &str, functions: BTreeMap<u64, String>) -> Self {
        let name = name.to_string();
        Self { name, functions, attached: false, line: Vec::new(), shown: 0, end: End::default() }
    }

    /// Takes what the serial port said, returns what is to be shown.
    fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for &byte in bytes {
            self.line.push(byte);
            if byte == b'\n' {
                self.whole_line(&mut out);
            }
        }
        // A prompt has no line feed; but what may become one of Dom0's lines is held back.
        let start = self.line.iter().position(|byte| *byte != b'\r').unwrap_or(self.line.len());
        let rest = &self.line[start..];
        if self.attached && !rest.is_empty() && !self.notices().iter().any(|n| prefixes(n.as_bytes(), rest)) {
            out.extend(&self.line[self.shown..]);
            self.shown = self.line.len();
        }
        out
    }

    fn notices(&self) -> [String; 3] {
        [
            format!("{} (domain ", self.name),
            format!("{} ended; back in", self.name),
            format!("left {}; it keeps", self.name),
        ]
    }

    fn whole_line(&mut self, out: &mut Vec<u8>) {
        let line = std::mem::take(&mut self.line);
        let shown = std::mem::take(&mut self.shown);
        let text = String::from_utf8_lossy(&line).trim_matches(['\r', '\n']).to_string();
        let [ended, back, left] = self.notices();
        if let Some(word) = text.strip_prefix(&ended).and_then(|rest| rest.split_once(") ")) {
            self.end.word = Some(word.1.split(';').next().unwrap_or_default().to_string());
        } else if text.starts_with(&back) || text.starts_with(&left) {
            self.attached = false;
        } else if text == format!("attached to {}; Ctrl-] leaves", self.name) {
            self.attached = true;
        } else if let Some(reason) = text.strip_prefix("SCRIPT failed: ") {
            self.end.failure = Some(reason.to_string());
        } else if self.attached {
            out.extend(&line[shown..]);
            self.name_function(&text, out);
        }
    }

    /// Adds its function's name to an address of a back trace, in a line of its own below.
    fn name_function(&mut self, text: &str, out: &mut Vec<u8>) {
        let address = text.strip_prefix("  0x").filter(|digits| digits.len() == 16);
        let Some(address) = address.and_then(|digits| u64::from_str_radix(digits, 16).ok()) else { return };
        self.end.trace.push(address);
        // A call that is a function's last instruction returns to the next function.
        if let Some((start, name)) = self.functions.range(..address).next_back() {
            out.extend(format!("      {name}+{:#x}\r\n", address - start).bytes());
        }
    }
}

/// Whether one of them begins with the other.
fn prefixes(a: &[u8], b: &[u8]) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen() -> Screen {
        Screen::new("g", BTreeMap::from([(0x1000, "my::function".to_string())]))
    }

    #[test]
    fn only_the_guest_is_shown() {
        let mut screen = screen();
        let mut seen = Vec::new();
        let said = b"(XEN) x\nattached to g; Ctrl-] leaves\r\nhello\r\n> \nprompt g (domain 1) powered off; see\n\
                     g (domain 1) powered off; log g shows\r\n\r\ng ended; back in Dom0's shell\r\nSCRIPT ok\n";
        // However it comes, in one piece or byte by byte.
        for byte in said.chunks(1) {
            seen.extend(screen.take(byte));
        }
        let text = String::from_utf8(seen).unwrap();
        assert_eq!(text, "hello\r\n> \nprompt g (domain 1) powered off; see\n\r\n");
        assert_eq!(screen.end.word.as_deref(), Some("powered off"));
        let mut whole = self::screen();
        assert_eq!(whole.take(said), text.as_bytes());
    }

    #[test]
    fn a_prompt_is_shown_at_once() {
        let mut screen = screen();
        screen.take(b"attached to g; Ctrl-] leaves\n");
        assert_eq!(screen.take(b"name: "), b"name: ");
        assert_eq!(screen.take(b"x\n"), b"x\n");
    }

    #[test]
    fn addresses_get_names() {
        let mut screen = screen();
        screen.take(b"attached to g; Ctrl-] leaves\n");
        let shown = String::from_utf8(screen.take(b"back trace:\n  0x0000000000001010\n")).unwrap();
        assert!(shown.ends_with("      my::function+0x10\r\n"), "{shown}");
        assert_eq!(screen.end.trace, [0x1010]);
    }

    #[test]
    fn failures_are_kept() {
        let mut screen = screen();
        screen.take(b"SCRIPT failed: 1, create -c g: no memory\n");
        assert_eq!(screen.end.failure.as_deref(), Some("1, create -c g: no memory"));
    }
}
