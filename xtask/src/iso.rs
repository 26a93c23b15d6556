//! Makes CD images that start xen-lite with GRUB.

use crate::cli::BuildArgs;
use crate::paths::Paths;
use crate::provide::packages;
use crate::{build, say};
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A line of GRUB's menu.
pub struct Entry {
    /// GRUB's loader: `multiboot2` or `multiboot`.
    pub loader: &'static str,
    /// Options for the hypervisor.
    pub options: String,
    /// Arguments for Dom0.
    pub args: String,
}

/// Options on the CD: a person looks at the serial line or, later, at the screen.
const OPTIONS: &str = "console=com1 com1=115200,8n1 dom0_mem=128M";

/// Builds everything and writes `xen-lite.iso`.
///
/// # Errors
/// If something cannot be built or a tool is missing.
pub fn make(paths: &Paths, args: &BuildArgs) -> Result<()> {
    packages::provide(packages::FOR_ISO)?;
    build::everything(paths, args)?;
    let args = format!("autostart={}", build::sample_names(paths)?.join(","));
    let entry = |loader| Entry { loader, options: OPTIONS.to_string(), args: args.clone() };
    let iso = paths.image.join("xen-lite.iso");
    say::step("writing the CD image");
    write(paths, &iso, &[entry("multiboot2"), entry("multiboot")], 3)?;
    say::note(&format!(
        "{}: try `{} -m 1024 -cdrom {0} -nographic`",
        paths.shown(&iso),
        runner::qemu::PROGRAM
    ));
    Ok(())
}

/// Writes a CD image with hypervisor, Dom0 and initrd; the first entry starts after `timeout` seconds.
///
/// # Errors
/// If a file is missing or grub-mkrescue fails.
pub fn write(paths: &Paths, iso: &Path, entries: &[Entry], timeout: u32) -> Result<()> {
    let tree: PathBuf = iso.with_extension("tree");
    if tree.exists() {
        std::fs::remove_dir_all(&tree).with_context(|| format!("clearing {}", tree.display()))?;
    }
    for file in ["xen-lite", "dom0", "initrd"] {
        build::copy(&paths.image.join(file), &tree.join("boot").join(file))?;
    }
    build::write(&tree.join("boot/grub/grub.cfg"), menu(entries, timeout).as_bytes())?;
    let mut command = Command::new("grub-mkrescue");
    // Only the BIOS loader, whatever else is installed.
    command.args(["-d", "/usr/lib/grub/i386-pc", "-o"]).arg(iso).arg(&tree);
    say::output(&mut command).map(|_| ())
}

fn menu(entries: &[Entry], timeout: u32) -> String {
    let mut text = format!(
        "serial --unit=0 --speed=115200\nterminal_input serial console\nterminal_output serial console\n\
         set default=0\nset timeout={timeout}\n"
    );
    for Entry { loader, options, args } in entries {
        let module = loader.replace("multiboot", "module");
        let lines = format!(
            "menuentry \"xen-lite ({loader})\" {{\n    {loader} /boot/xen-lite {options}\n    {module} /boot/dom0 {args}\n    \
             {module} /boot/initrd\n    boot\n}}\n"
        );
        // Writing to a string cannot fail.
        let _ = text.write_str(&lines);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loader_has_its_own_module_command() {
        let entry = |loader| Entry { loader, options: "a".into(), args: "b".into() };
        let menu = menu(&[entry("multiboot2"), entry("multiboot")], 0);
        assert!(menu.contains(
            "    multiboot2 /boot/xen-lite a\n    module2 /boot/dom0 b\n    module2 /boot/initrd\n"
        ));
        assert!(
            menu.contains(
                "    multiboot /boot/xen-lite a\n    module /boot/dom0 b\n    module /boot/initrd\n"
            )
        );
    }
}
