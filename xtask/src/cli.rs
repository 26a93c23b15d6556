//! The command line.

use crate::{bench, build, check, doctor, iso, miri, new_guest, paths::Paths, run, test};
use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Build, run and test xen-lite, a small Xen-compatible hypervisor.
///
/// Start with `cargo xtask run`: it installs what is missing, builds everything and ends in the shell of Dom0, inside
/// an emulated PC. Nothing on this machine is changed but packages that are installed, and the folder `target/`.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build everything and boot it in QEMU, with this terminal as the serial console
    Run(RunArgs),
    /// Build the hypervisor image, Dom0 and the guests into target/image
    Build(BuildArgs),
    /// All tests: `check`, then the integration tests in QEMU on xen-lite and on upstream Xen
    Test(TestArgs),
    /// The quick gate: format, clippy, host tests, layering (no emulator needed)
    Check,
    /// Run the core's tests under Miri, which takes half an hour; with names, only those
    ///
    /// All tests run once; then those with several threads again with weak memory orders, under eight schedules each
    /// (`-Zmiri-many-seeds=0..8`).
    Miri {
        /// Run only the tests whose path holds one of these texts
        #[arg(value_name = "NAME")]
        filters: Vec<String>,
    },
    /// Measure operations, boot, memory and size against upstream Xen, in executed instructions
    Bench,
    /// Make a bootable CD image, target/image/xen-lite.iso, for GRUB machines and emulators
    Iso(BuildArgs),
    /// Make a crate for a guest kernel in a new folder; `cargo run` in it boots it
    NewGuest {
        /// The crate's name: small letters, digits, `-` and `_`
        name: String,
        /// The folder, which is made
        dir: PathBuf,
    },
    /// Boot a guest kernel behind Dom0, show its console, and end with its status; what `cargo run` in a guest's folder calls
    RunGuest(RunGuestArgs),
    /// Say which tools are there, in which version, and what to do about those that are not
    Doctor,
}

/// What goes into Dom0's initrd.
#[derive(Args, Clone, Debug, Default)]
pub struct BuildArgs {
    /// Offer this PV kernel to Dom0's `create`, under its file name; may be given several times
    #[arg(long, value_name = "FILE")]
    pub guest: Vec<PathBuf>,
}

/// How to run.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    pub build: BuildArgs,
    /// Run these commands in Dom0's shell, separated by `;`, and end; needs no terminal
    #[arg(long, value_name = "COMMANDS", conflicts_with = "kernel")]
    pub script: Option<String>,
    /// Boot this PV kernel as Dom0 instead of the Rust one
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// The initrd of that kernel
    #[arg(long, value_name = "FILE", requires = "kernel")]
    pub initrd: Option<PathBuf>,
    /// Arguments for Dom0's kernel
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub append: Option<String>,
    /// Options for the hypervisor, in upstream's notation, such as "dom0_mem=256M loglvl=all"
    #[arg(long, value_name = "OPTIONS")]
    pub options: Option<String>,
    /// Wait for a debugger before the first instruction, and say how to attach one
    #[arg(long)]
    pub gdb: bool,
    /// Run the same on upstream Xen 4.17, to compare
    #[arg(long)]
    pub upstream: bool,
    /// Number of processors
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub smp: u32,
    /// Memory of the emulated PC
    #[arg(long, value_name = "MB", default_value_t = 1024)]
    pub memory: u32,
    /// CPU model, in QEMU's notation
    #[arg(long, value_name = "MODEL", default_value = runner::qemu::DEFAULT_CPU)]
    pub cpu: String,
}

/// How to run a single guest.
#[derive(Args, Clone, Debug)]
pub struct RunGuestArgs {
    /// The guest's kernel
    #[arg(value_name = "KERNEL")]
    pub kernel: PathBuf,
    /// The guest's memory
    #[arg(long, value_name = "MB", default_value_t = 64)]
    pub memory: u32,
    /// The guest's CPUs; the emulated PC gets as many
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub vcpus: u32,
    /// The guest's command line
    #[arg(long, value_name = "ARGS", default_value = "", allow_hyphen_values = true)]
    pub append: String,
    /// A file that the guest finds as its module (initial RAM disk)
    #[arg(long, value_name = "FILE")]
    pub module: Option<PathBuf>,
    /// Run on upstream Xen 4.17
    #[arg(long)]
    pub upstream: bool,
}

/// What to test.
#[derive(Args, Clone, Debug)]
pub struct TestArgs {
    /// Run only the integration tests whose name holds one of these texts, and no `check`
    #[arg(value_name = "NAME")]
    pub filters: Vec<String>,
    /// List the integration tests and end
    #[arg(long)]
    pub list: bool,
    /// Number of emulators at a time
    #[arg(long, short, value_name = "N", default_value_t = 2)]
    pub jobs: usize,
    /// Multiply every time limit by this, on a slow machine
    #[arg(long, value_name = "FACTOR", default_value_t = 1, env = "XTASK_SLOW")]
    pub slow: u32,
}

impl Cli {
    /// Does what the command line says.
    ///
    /// # Errors
    /// If it cannot be done; the text is for people.
    pub fn carry_out(self) -> Result<ExitCode> {
        let paths = Paths::find()?;
        match self.command {
            Command::Run(args) => run::run(&paths, &args),
            Command::Build(args) => build::everything(&paths, &args).map(|()| ExitCode::SUCCESS),
            Command::Test(args) => test::test(&paths, &args),
            Command::Miri { filters } => miri::miri(&paths, &filters),
            Command::Check => check::check(&paths),
            Command::Bench => bench::bench(&paths),
            Command::Iso(args) => iso::make(&paths, &args).map(|()| ExitCode::SUCCESS),
            Command::NewGuest { name, dir } => {
                new_guest::new_guest(&paths, &name, &dir).map(|()| ExitCode::SUCCESS)
            }
            Command::RunGuest(args) => new_guest::run::run_guest(&paths, &args),
            Command::Doctor => doctor::doctor(&paths),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_initrd_without_a_kernel_is_refused() {
        assert!(Cli::try_parse_from(["xtask", "run", "--initrd", "x"]).is_err());
    }
}
