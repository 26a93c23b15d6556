//! Programs that come with the operating system's packages.
//!
//! On Debian and its descendants, as root, what is missing is installed; elsewhere the one command to type is printed.

use crate::say;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// How to see that something is installed.
#[derive(Clone, Copy, Debug)]
pub enum Probe {
    /// A program on the search path.
    Program(&'static str),
    /// A file or folder.
    File(&'static str),
}

/// Something that a command needs.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// How to see that it is there.
    pub probe: Probe,
    /// What it is for.
    pub purpose: &'static str,
    /// Packages on Debian and Ubuntu.
    pub apt: &'static str,
    /// Packages on Fedora.
    pub dnf: &'static str,
    /// Packages on Arch.
    pub pacman: &'static str,
}

/// The emulator.
pub const QEMU: Need = Need {
    probe: Probe::Program("qemu-system-x86_64"),
    purpose: "the PC emulator that everything runs in",
    apt: "qemu-system-x86",
    dnf: "qemu-system-x86-core",
    pacman: "qemu-system-x86",
};

/// GRUB's CD maker.
pub const GRUB_MKRESCUE: Need = Need {
    probe: Probe::Program("grub-mkrescue"),
    purpose: "makes bootable CD images",
    apt: "grub-common",
    dnf: "grub2-tools-extra",
    pacman: "grub",
};

/// GRUB for BIOS machines.
pub const GRUB_PC: Need = Need {
    probe: Probe::File("/usr/lib/grub/i386-pc"),
    purpose: "the boot loader on CD images",
    apt: "grub-pc-bin",
    dnf: "grub2-pc-modules",
    pacman: "grub",
};

/// CD file systems.
pub const XORRISO: Need = Need {
    probe: Probe::Program("xorriso"),
    purpose: "writes CD file systems",
    apt: "xorriso",
    dnf: "xorriso",
    pacman: "libisoburn",
};

/// FAT images, which grub-mkrescue uses.
pub const MTOOLS: Need = Need {
    probe: Probe::Program("mformat"),
    purpose: "used by grub-mkrescue",
    apt: "mtools",
    dnf: "mtools",
    pacman: "mtools",
};

/// A shell for the Linux guest of the tests.
pub const BUSYBOX: Need = Need {
    probe: Probe::Program("busybox"),
    purpose: "userland of the Linux guest in the tests (a static build)",
    apt: "busybox-static",
    dnf: "busybox",
    pacman: "busybox",
};

/// Xen's public headers.
pub const LIBXEN_DEV: Need = Need {
    probe: Probe::File("/usr/include/xen/xen.h"),
    purpose: "Xen's public headers, which the ABI's types are compared with",
    apt: "libxen-dev",
    dnf: "xen-devel",
    pacman: "xen",
};

/// A C compiler.
pub const GCC: Need = Need {
    probe: Probe::Program("cc"),
    purpose: "links host programs and compiles the ABI comparison",
    apt: "gcc libc6-dev",
    dnf: "gcc",
    pacman: "gcc",
};

/// For `run`.
pub const FOR_RUN: &[Need] = &[QEMU];
/// For `iso`.
pub const FOR_ISO: &[Need] = &[GRUB_MKRESCUE, GRUB_PC, XORRISO, MTOOLS];
/// For `check`.
pub const FOR_CHECK: &[Need] = &[GCC, LIBXEN_DEV];
/// For `test`.
pub const FOR_TEST: &[Need] = &[QEMU, GRUB_MKRESCUE, GRUB_PC, XORRISO, MTOOLS, BUSYBOX, GCC, LIBXEN_DEV];

impl Need {
    /// Whether it is installed.
    pub fn is_there(&self) -> bool {
        match self.probe {
            Probe::Program(name) => find_program(name).is_some(),
            Probe::File(path) => Path::new(path).exists(),
        }
    }

    /// The name of what is looked for.
    pub fn name(&self) -> &'static str {
        match self.probe {
            Probe::Program(name) | Probe::File(name) => name,
        }
    }
}

/// Searches a program as a shell does, and where system tools lie.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Makes sure that all of `needs` are installed.
///
/// # Errors
/// If something is missing and cannot be installed from here; the text holds the command to type.
pub fn provide(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !need.is_there()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for need in &missing {
        say::step(&format!("missing: {} ({})", need.name(), need.purpose));
    }
    if find_program("apt-get").is_none() || !is_root() {
        bail!("please install what is missing, then try again:\n\n    {}\n", command_to_type(&missing));
    }
    apt_install(&packages_of(&missing, |need| need.apt))?;
    match missing.iter().find(|need| !need.is_there()) {
        None => Ok(()),
        Some(need) => bail!("{} is still missing after installing {}", need.name(), need.apt),
    }
}

/// The command that installs `missing` on this system, for a person to type.
pub fn command_to_type(missing: &[&Need]) -> String {
    let sudo = if is_root() { "" } else { "sudo " };
    let join = |of: fn(&Need) -> &'static str| packages_of(missing, of).join(" ");
    if find_program("apt-get").is_some() {
        format!(
            "{sudo}apt-get update && {sudo}apt-get install --no-install-recommends {}",
            join(|need| need.apt)
        )
    } else if find_program("dnf").is_some() {
        format!("{sudo}dnf install {}", join(|need| need.dnf))
    } else if find_program("pacman").is_some() {
        format!("{sudo}pacman -S {}", join(|need| need.pacman))
    } else {
        format!("the packages that Debian calls: {}", join(|need| need.apt))
    }
}

fn packages_of(needs: &[&Need], of: fn(&Need) -> &'static str) -> Vec<&'static str> {
    let mut names: Vec<&str> = Vec::new();
    for name in needs.iter().flat_map(|need| of(need).split(' ')) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Whether packages can be installed from here.
pub fn is_root() -> bool {
    say::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// Installs packages; the lists of packages are brought up to date only if it does not work without.
fn apt_install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    say::step(&format!("installing {list}"));
    let install = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
            .args(["-q", "-y", "-o", "Dpkg::Use-Pty=0", "install", "--no-install-recommends"])
            .args(packages);
        command
    };
    if say::output(&mut install()).is_ok() {
        return Ok(());
    }
    apt_update()?;
    say::step(&format!("installing {list} (with the new lists)"));
    // Package managers talk on standard output, which belongs to what is run later.
    say::run(install().stdout(std::io::stderr())).with_context(|| format!("installing {list}"))
}

/// Brings the lists of packages up to date.
///
/// # Errors
/// If apt cannot.
pub fn apt_update() -> Result<()> {
    say::step("updating the lists of packages (apt-get update)");
    say::run(Command::new("apt-get").args(["-q", "update"]).stdout(std::io::stderr()))
        .context("updating package lists")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_named_once() {
        assert_eq!(
            packages_of(&[&GRUB_PC, &GRUB_MKRESCUE, &GRUB_PC], |need| need.apt),
            ["grub-pc-bin", "grub-common"]
        );
        assert_eq!(packages_of(&[&GCC], |need| need.apt), ["gcc", "libc6-dev"]);
    }
}
