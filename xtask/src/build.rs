//! Compiles hypervisor, Dom0 and guests, and lays them out in the image folder:
//!
//! | file | what it is |
//! |---|---|
//! | `xen-lite` | the ELF32 that boot loaders take |
//! | `xen-lite-audit` | the same with an auditor and all checks of a debug build, which the integration tests boot |
//! | `xen-lite.syms` | the same as linked, an ELF64 with symbols, for a debugger |
//! | `dom0` | the control domain's kernel |
//! | `guests/NAME` | a sample or test guest |
//! | `user/NAME` | a program that a test guest runs in user mode |
//! | `conformance/NAME` | a kernel of the conformance suite |
//! | `initrd` | Dom0's initrd: `guests/NAME` and `guests/NAME.cfg` for each guest that `create` offers |

use crate::cli::BuildArgs;
use crate::initrd::Archive;
use crate::kernel::Domain;
use crate::paths::{BARE_METAL, Paths};
use crate::{image, kernel, provide, say, simd};
use anyhow::{Context, Result, ensure};
use cargo_metadata::{Message, TargetKind};
use kernel_image::layout::Role;
use std::collections::BTreeSet;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Memory of a guest that was added with `--guest`, in MiB: enough for a distribution's Linux kernel.
pub const ADDED_GUEST_MEMORY: u32 = 192;

/// Builds all that `run` boots.
///
/// # Errors
/// If something does not compile, or a file is missing.
pub fn everything(paths: &Paths, args: &BuildArgs) -> Result<()> {
    provide::rust_target()?;
    let domain = Domain { role: Role::DomU, memory_mb: ADDED_GUEST_MEMORY, initrd_bytes: 0 };
    let added = args.guest.iter().map(|path| Ok((guest_name(path)?, kernel::read_checked(path, &domain)?)));
    let added: Result<Vec<_>> = added.collect();
    let added = added?;
    hypervisor(paths)?;
    dom0(paths)?;
    guests(paths)?;
    initrd(paths, &added)
}

/// Builds the hypervisor's image.
///
/// # Errors
/// If it does not compile, holds vector instructions, or cannot be wrapped for boot loaders.
pub fn hypervisor(paths: &Paths) -> Result<()> {
    say::step("building the hypervisor");
    hypervisor_as(paths, "xen-lite", "release", &[])
}

/// Builds the hypervisor with an auditor and all checks, for tests.
///
/// # Errors
/// As [`hypervisor`].
pub fn audited_hypervisor(paths: &Paths) -> Result<()> {
    say::step("building the hypervisor with its auditor");
    hypervisor_as(paths, runner::artifacts::AUDITED, "fuzz", &["--features", "audit"])
}

fn hypervisor_as(paths: &Paths, name: &str, profile: &str, more: &[&str]) -> Result<()> {
    let built = compile_as(paths, "xen-lite", profile, &[&["--bin", "xen-lite"], more].concat())?;
    let (_, linked) = built.first().context("cargo built no hypervisor")?;
    let elf64 = std::fs::read(linked).with_context(|| format!("reading {}", linked.display()))?;
    let instructions = simd::check(&elf64)?;
    let elf32 = image::wrap(&elf64)?;
    write(&paths.image.join(name), &elf32)?;
    write(&paths.image.join(format!("{name}.syms")), &elf64)?;
    let shown = paths.shown(&paths.image.join(name));
    say::note(&format!(
        "{shown}: {} KiB, {instructions} instructions, none of SSE or x87",
        elf32.len() / 1024
    ));
    Ok(())
}

/// Builds the control domain's kernel.
///
/// # Errors
/// If it does not compile.
pub fn dom0(paths: &Paths) -> Result<()> {
    say::step("building Dom0");
    let built = compile(paths, "dom0", &["--bin", "dom0"])?;
    let (_, file) = built.first().context("cargo built no dom0")?;
    copy(file, &paths.image.join("dom0"))
}

/// Builds the sample and test guests; returns their names.
///
/// # Errors
/// If one does not compile.
pub fn guests(paths: &Paths) -> Result<Vec<String>> {
    say::step("building the guests");
    let mut names = Vec::new();
    for package in ["examples", "test-guests", "advisories"] {
        for (name, file) in compile(paths, package, &["--bins"])? {
            copy(&file, &paths.image.join("guests").join(&name))?;
            names.push(name);
        }
    }
    for (name, file) in compile(paths, "user-programs", &["--bins"])? {
        copy(&file, &paths.image.join("user").join(&name))?;
    }
    say::note(&names.join(", "));
    Ok(names)
}

/// Builds the kernels of the conformance suite; returns their names.
///
/// # Errors
/// If one does not compile.
pub fn conformance(paths: &Paths) -> Result<Vec<String>> {
    say::step("building the conformance kernels");
    let mut names = Vec::new();
    for (name, file) in compile(paths, "conformance", &["--bins"])? {
        copy(&file, &paths.image.join(runner::conformance::FOLDER).join(&name))?;
        names.push(name);
    }
    say::note(&names.join(", "));
    Ok(names)
}

/// Packs Dom0's initrd: the sample guests and those `added`, with their names, on the command line.
///
/// # Errors
/// If a sample was not built.
pub fn initrd(paths: &Paths, added: &[(String, Vec<u8>)]) -> Result<()> {
    let mut archive = Archive::default();
    archive.folder("guests")?;
    let mut kernels = BTreeSet::new();
    for config in sample_configs(paths)? {
        let text =
            std::fs::read_to_string(&config).with_context(|| format!("reading {}", config.display()))?;
        kernels.insert(
            kernel_of(&text).with_context(|| format!("{} names no kernel", config.display()))?.to_string(),
        );
        archive.file(&format!("guests/{}.cfg", stem(&config)), 0o644, text.as_bytes())?;
    }
    for kernel in kernels {
        archive.file_from(&kernel, 0o755, &paths.image.join(&kernel))?;
    }
    for (name, kernel) in added {
        archive.file(
            &format!("guests/{name}.cfg"),
            0o644,
            config(name, ADDED_GUEST_MEMORY, "").as_bytes(),
        )?;
        archive.file(&format!("guests/{name}"), 0o755, kernel)?;
    }
    write(&paths.image.join("initrd"), &archive.finish()?)
}

/// A guest's configuration in the notation of xl.cfg.
pub fn config(name: &str, memory_mb: u32, more: &str) -> String {
    format!("name = \"{name}\"\nkernel = \"guests/{name}\"\nmemory = {memory_mb}\nvcpus = 1\n{more}")
}

/// Names of the sample guests, which `run` starts.
///
/// # Errors
/// If their folder cannot be read.
pub fn sample_names(paths: &Paths) -> Result<Vec<String>> {
    Ok(sample_configs(paths)?.iter().map(|config| stem(config)).collect())
}

fn stem(config: &Path) -> String {
    config.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The file that a line such as `kernel = "guests/hello"` names.
fn kernel_of(config: &str) -> Option<&str> {
    let values = config.lines().filter_map(|line| line.split_once('='));
    let (_, value) = values.into_iter().find(|(key, _)| key.trim() == "kernel")?;
    Some(value.trim().trim_matches(['"', '\''])).filter(|file| !file.is_empty())
}

/// Configurations of the sample guests, sorted by name.
fn sample_configs(paths: &Paths) -> Result<Vec<PathBuf>> {
    let folder = paths.root.join("tests/guests/samples");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut configs: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    configs.retain(|path| path.extension().is_some_and(|extension| extension == "cfg"));
    configs.sort();
    Ok(configs)
}

/// The name under which Dom0 offers the kernel `path`.
///
/// # Errors
/// If a name cannot be made of it.
pub fn guest_name(path: &Path) -> Result<String> {
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name =
        [".bin", ".elf"].iter().fold(file.as_str(), |name, end| name.strip_suffix(end).unwrap_or(name));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    ensure!(!name.is_empty() && name.chars().all(plain), "`{}` cannot be a guest's name", path.display());
    Ok(name.to_string())
}

/// Compiles targets of `package` for the bare machine; returns the names and files of the executables.
fn compile(paths: &Paths, package: &str, targets: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    compile_as(paths, package, "release", targets)
}

fn compile_as(
    paths: &Paths,
    package: &str,
    profile: &str,
    targets: &[&str],
) -> Result<Vec<(String, PathBuf)>> {
    let mut command = paths.cargo();
    command.args(["build", "--profile", profile, "--target", BARE_METAL, "--package", package]).args(targets);
    command.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let mut child = command.spawn().context("starting cargo")?;
    let output = child.stdout.take().context("cargo's output is not connected")?;
    let mut built = Vec::new();
    for message in Message::parse_stream(BufReader::new(output)) {
        let Message::CompilerArtifact(artifact) = message? else { continue };
        let Some(file) = artifact.executable else { continue };
        if artifact.target.kind.contains(&TargetKind::Bin) {
            built.push((artifact.target.name, file.into_std_path_buf()));
        }
    }
    ensure!(child.wait()?.success(), "`{}` failed", say::line(&command));
    built.sort();
    Ok(built)
}

/// Writes a file, making its folder.
///
/// # Errors
/// If the file system refuses.
pub fn write(path: &Path, data: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    std::fs::write(path, data).with_context(|| format!("writing {}", path.display()))
}

/// Copies a file, making its folder.
///
/// # Errors
/// If the file system refuses.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let data = std::fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    write(to, &data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_of_a_configuration_is_found() {
        assert_eq!(kernel_of("name = \"a\"\nkernel = 'guests/b'\n"), Some("guests/b"));
        assert_eq!(kernel_of("name = 'a'"), None);
    }

    #[test]
    fn guest_names_come_from_file_names() {
        assert_eq!(guest_name(Path::new("/x/vmlinuz-6.1.0-56-amd64")).unwrap(), "vmlinuz-6.1.0-56-amd64");
        assert_eq!(guest_name(Path::new("grub-x86_64-xen.bin")).unwrap(), "grub-x86_64-xen");
        assert!(guest_name(Path::new("a b")).is_err());
        assert!(guest_name(Path::new("/")).is_err());
    }
}
