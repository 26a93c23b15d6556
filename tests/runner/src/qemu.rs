//! A QEMU machine as a value, and the command line that starts it.
//!
//! QEMU's own boot loader (`-kernel`) speaks multiboot 1 and takes modules as `-initrd "file args,file args"`; a comma
//! inside an argument is written twice. Multiboot 2 needs a boot loader, so such a machine starts from a CD image.

use anyhow::{Result, bail};
use std::ffi::OsString;
use std::path::PathBuf;

/// The program that emulates a PC.
pub const PROGRAM: &str = "qemu-system-x86_64";

/// I/O port of QEMU's `isa-debug-exit` device: writing `v` ends QEMU with status `v << 1 | 1`.
pub const EXIT_PORT: u16 = 0xf4;

/// The CPU model that most runs use: everything QEMU emulates but SMAP, which QEMU 7.2 applies wrongly to the stack
/// reads of IRET and far return at CPL 3.
pub const DEFAULT_CPU: &str = "max,-smap";

/// A boot module: a file and the arguments that the boot loader hands over with it.
#[derive(Clone, Debug)]
pub struct Module {
    /// The file.
    pub path: PathBuf,
    /// Its arguments, as the kernel will see them.
    pub args: String,
}

impl Module {
    /// The module in the notation of QEMU's `-initrd`.
    ///
    /// # Errors
    /// If the path holds a blank, which QEMU takes for the start of the arguments.
    fn notation(&self) -> Result<String> {
        let path = self.path.display().to_string();
        if path.contains(char::is_whitespace) {
            bail!("`{path}`: QEMU cannot load a module whose path holds a blank");
        }
        let text = if self.args.is_empty() { path } else { format!("{path} {}", self.args) };
        Ok(text.replace(',', ",,"))
    }
}

/// What a machine starts from.
#[derive(Clone, Debug)]
pub enum Boot {
    /// QEMU's multiboot 1 loader.
    Multiboot {
        /// The hypervisor, an ELF32 file.
        hypervisor: PathBuf,
        /// The hypervisor's command line.
        options: String,
        /// Dom0's kernel first, then its initrd.
        modules: Vec<Module>,
    },
    /// A CD image with a boot loader of its own.
    Cdrom(PathBuf),
}

/// A machine to start.
#[derive(Clone, Debug)]
pub struct Machine {
    /// QEMU's `-cpu`.
    pub cpu: String,
    /// Memory in MiB.
    pub memory_mb: u32,
    /// Number of processors.
    pub cpus: u32,
    /// What it starts from.
    pub boot: Boot,
}

impl Machine {
    /// The arguments that describe the machine; the caller adds those that attach its serial port.
    ///
    /// # Errors
    /// If a module's path cannot be written down for QEMU.
    pub fn arguments(&self) -> Result<Vec<OsString>> {
        let mut args: Vec<OsString> = Vec::new();
        let mut put = |name: &str, value: OsString| args.extend([name.into(), value]);
        put("-accel", "tcg".into());
        put("-cpu", self.cpu.clone().into());
        put("-smp", self.cpus.to_string().into());
        put("-m", self.memory_mb.to_string().into());
        put("-display", "none".into());
        put("-nic", "none".into());
        put("-device", format!("isa-debug-exit,iobase={EXIT_PORT:#x},iosize=0x04").into());
        match &self.boot {
            Boot::Multiboot { hypervisor, options, modules } => {
                put("-kernel", hypervisor.clone().into());
                put("-append", options.clone().into());
                if !modules.is_empty() {
                    let list: Result<Vec<String>> = modules.iter().map(Module::notation).collect();
                    put("-initrd", list?.join(",").into());
                }
            }
            Boot::Cdrom(image) => {
                put("-cdrom", image.clone().into());
                put("-boot", "d".into());
            }
        }
        args.push("-no-reboot".into());
        Ok(args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str, args: &str) -> Module {
        Module { path: path.into(), args: args.into() }
    }

    #[test]
    fn commas_in_module_arguments_are_doubled() {
        assert_eq!(module("dom0", "a=1,2").notation().unwrap(), "dom0 a=1,,2");
        assert_eq!(module("dom0", "").notation().unwrap(), "dom0");
    }

    #[test]
    fn a_blank_in_a_module_path_is_refused() {
        assert!(module("my kernel", "").notation().unwrap_err().to_string().contains("blank"));
    }

    #[test]
    fn modules_are_joined_in_order() {
        let boot = Boot::Multiboot {
            hypervisor: "xen-lite".into(),
            options: "console=com1".into(),
            modules: vec![module("dom0", "x"), module("initrd", "")],
        };
        let machine = Machine { cpu: DEFAULT_CPU.into(), memory_mb: 512, cpus: 1, boot };
        let args = machine.arguments().unwrap();
        let at = args.iter().position(|a| a == "-initrd").unwrap();
        assert_eq!(args[at + 1], "dom0 x,initrd");
    }
}
