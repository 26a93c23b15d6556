//! Software of others that the tests boot: upstream Xen, Debian's kernel, GRUB for Xen, GNU Mach.
//!
//! The packages come from Debian's archive through `apt-get download` and are unpacked into `target/upstream/root`,
//! never installed. They are Debian 12's, because the reference is Xen 4.17.

use super::packages::{apt_update, find_program, is_root};
use crate::paths::Paths;
use crate::say;
use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the reference hypervisor is called in Debian 12.
const XEN_PACKAGE: &str = "xen-hypervisor-4.17-amd64";
const XEN_FILE: &str = "boot/xen-4.17-amd64.gz";
/// The package that depends on the newest stock kernel.
const KERNEL_META_PACKAGE: &str = "linux-image-amd64";
const GRUB_PACKAGE: &str = "grub-xen-host";
const GRUB_FILE: &str = "usr/lib/grub-xen/grub-x86_64-xen.bin";
const MACH_PACKAGE: &str = "gnumach-image-1.8-xen-486";
const MACH_FILE: &str = "boot/gnumach-1.8-xen-486.gz";

/// Where the pieces are.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Debian's stock kernel as shipped, a compressed bzImage.
    pub vmlinuz: PathBuf,
    /// The module of that kernel that is a disk's front end.
    pub blkfront: PathBuf,
    /// The one that is a network interface's.
    pub netfront: PathBuf,
    /// GRUB built as a Xen guest.
    pub grub: PathBuf,
    /// GNU Mach built as a Xen guest, gzip-compressed.
    pub gnumach: PathBuf,
}

/// Makes sure that everything is unpacked.
///
/// # Errors
/// If a package cannot be had; on systems other than Debian 12 the text says which files to provide.
pub fn provide(paths: &Paths) -> Result<Upstream> {
    let root = paths.upstream_root();
    let mut packages = Vec::new();
    for (package, file) in [(XEN_PACKAGE, XEN_FILE), (GRUB_PACKAGE, GRUB_FILE), (MACH_PACKAGE, MACH_FILE)] {
        if !root.join(file).exists() {
            packages.push(package.to_string());
        }
    }
    if find_vmlinuz(&root).is_none() {
        packages.push(KERNEL_META_PACKAGE.to_string());
    }
    if !packages.is_empty() {
        fetch(paths, packages).with_context(|| where_to_put(paths))?;
    }
    if !paths.upstream_xen().exists() {
        unpack_gzip(&root.join(XEN_FILE), &paths.upstream_xen())?;
    }
    let vmlinuz = find_vmlinuz(&root).context("the kernel package holds no vmlinuz")?;
    let name = vmlinuz.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let version = name.strip_prefix("vmlinuz-").unwrap_or(&name);
    let driver = |name: &str| root.join(format!("lib/modules/{version}/kernel/drivers/{name}"));
    let (blkfront, netfront) = (driver("block/xen-blkfront.ko"), driver("net/xen-netfront.ko"));
    Ok(Upstream { vmlinuz, blkfront, netfront, grub: root.join(GRUB_FILE), gnumach: root.join(MACH_FILE) })
}

/// Makes sure that upstream Xen alone is unpacked.
///
/// # Errors
/// As [`provide`].
pub fn provide_xen(paths: &Paths) -> Result<()> {
    if paths.upstream_xen().exists() {
        return Ok(());
    }
    if !paths.upstream_root().join(XEN_FILE).exists() {
        fetch(paths, vec![XEN_PACKAGE.to_string()]).with_context(|| where_to_put(paths))?;
    }
    unpack_gzip(&paths.upstream_root().join(XEN_FILE), &paths.upstream_xen())
}

/// Stock kernels in the unpacked root; the cloud and real-time flavours are not what is wanted.
fn find_vmlinuz(root: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(root.join("boot")).ok()?;
    let mut found: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|p| is_stock(p)).collect();
    found.sort();
    found.pop()
}

fn is_stock(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.starts_with("vmlinuz-6.1.0-")
        && name.ends_with("-amd64")
        && !name.contains("cloud")
        && !name.contains("rt")
}

fn where_to_put(paths: &Paths) -> String {
    format!(
        "the tests boot software of Debian 12 (bookworm); where its packages cannot be downloaded with apt-get, unpack \
         {XEN_PACKAGE}, linux-image-6.1.0-*-amd64, {GRUB_PACKAGE} and {MACH_PACKAGE} from the Debian 12 archive into {} \
         (with `dpkg -x` or `ar x` and `tar`)",
        paths.shown(&paths.upstream_root())
    )
}

/// Downloads and unpacks packages.
fn fetch(paths: &Paths, packages: Vec<String>) -> Result<()> {
    ensure!(find_program("apt-get").is_some(), "this system has no apt-get");
    ensure!(find_program("dpkg").is_some(), "this system has no dpkg");
    let folder = paths.upstream.join("packages");
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let known = packages.iter().all(|package| is_known(package));
    if !known && is_root() {
        apt_update()?;
    }
    let mut names = Vec::new();
    for package in packages {
        names.push(if package == KERNEL_META_PACKAGE { kernel_package()? } else { package });
    }
    if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
        bail!("this system's package lists do not know {unknown}");
    }
    if download(&folder, &names).is_err() {
        ensure!(is_root(), "apt-get cannot download {}; try `sudo apt-get update`", names.join(" "));
        apt_update()?;
        download(&folder, &names)?;
    }
    unpack(paths, &folder, &names)
}

fn is_known(package: &str) -> bool {
    say::output(Command::new("apt-cache").args(["--no-all-versions", "show", package])).is_ok()
}

/// What `linux-image-amd64` stands for today.
fn kernel_package() -> Result<String> {
    let mut command = Command::new("apt-cache");
    let text = say::output(command.args(["depends", "--important", KERNEL_META_PACKAGE]))?;
    let names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let name = names
        .map(str::trim)
        .find(|name| name.starts_with("linux-image-6.1.0-") && !name.contains("unsigned"));
    name.map(str::to_string)
        .with_context(|| format!("{KERNEL_META_PACKAGE} of this system is not Debian 12's Linux 6.1"))
}

fn download(folder: &Path, names: &[String]) -> Result<()> {
    say::step(&format!(
        "downloading {} (about 75 MB in all, unpacked into target/, not installed)",
        names.join(", ")
    ));
    let mut command = Command::new("apt-get");
    // apt's own download user may not write here; root does it itself.
    command.args(["-q", "-o", "APT::Sandbox::User=root", "download"]).args(names).current_dir(folder);
    say::run(command.stdout(std::io::stderr()))
}

fn unpack(paths: &Paths, folder: &Path, names: &[String]) -> Result<()> {
    for name in names {
        let file = deb_of(folder, name).with_context(|| format!("{name} was not downloaded"))?;
        say::step(&format!("unpacking {name}"));
        say::run(Command::new("dpkg").arg("-x").arg(&file).arg(paths.upstream_root()))?;
    }
    Ok(())
}

fn deb_of(folder: &Path, package: &str) -> Option<PathBuf> {
    let prefix = format!("{package}_");
    let entries = std::fs::read_dir(folder).ok()?;
    entries.filter_map(|entry| Some(entry.ok()?.path())).find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with(&prefix) && name.ends_with(".deb")
    })
}

/// Writes the unpacked content of a gzip file.
///
/// # Errors
/// If the input is missing or damaged, or the output cannot be written.
pub fn unpack_gzip(from: &Path, to: &Path) -> Result<()> {
    let input = std::fs::File::open(from).with_context(|| format!("opening {}", from.display()))?;
    let partial = to.with_extension("partial");
    let mut output =
        std::fs::File::create(&partial).with_context(|| format!("creating {}", partial.display()))?;
    std::io::copy(&mut GzDecoder::new(input), &mut output)
        .with_context(|| format!("unpacking {}", from.display()))?;
    std::fs::rename(&partial, to).with_context(|| format!("creating {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stock_flavour_counts() {
        assert!(is_stock(Path::new("/boot/vmlinuz-6.1.0-56-amd64")));
        assert!(!is_stock(Path::new("/boot/vmlinuz-6.1.0-56-cloud-amd64")));
        assert!(!is_stock(Path::new("/boot/vmlinuz-6.1.0-56-rt-amd64")));
    }
}
