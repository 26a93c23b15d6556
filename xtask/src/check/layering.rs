//! Dependencies point one way, and unsafe code stays where it is allowed.
//!
//! `abi` ← `xen-lite-core` ← `xen-lite`, and `abi` ← `domu-sdk` ← `dom0` and the test guests; tools depend on what they
//! inspect, and nothing depends on tools.

use crate::paths::Paths;
use anyhow::{Context, Result, ensure};
use cargo_metadata::{DependencyKind, MetadataCommand};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// For each crate of the workspace, the crates of the workspace that it may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("xen-lite-abi", &[]),
    ("kernel-image", &["xen-lite-abi"]),
    ("backend", &["xen-lite-abi"]),
    ("xen-lite-core", &["xen-lite-abi", "kernel-image"]),
    ("xen-lite", &["xen-lite-abi", "kernel-image", "xen-lite-core"]),
    ("domu-sdk-macros", &[]),
    ("domu-sdk", &["xen-lite-abi", "domu-sdk-macros", "backend"]),
    ("dom0", &["xen-lite-abi", "kernel-image", "backend", "domu-sdk"]),
    ("examples", &["domu-sdk"]),
    ("test-guests", &["xen-lite-abi", "domu-sdk", "fuzz-grammar"]),
    ("conformance", &["xen-lite-abi", "domu-sdk"]),
    ("advisories", &["xen-lite-abi", "domu-sdk", "conformance"]),
    ("user-programs", &[]),
    ("fuzz-grammar", &["xen-lite-abi"]),
    ("fuzz", &["xen-lite-abi", "kernel-image", "xen-lite-core", "dom0", "fuzz-grammar"]),
    ("runner", &[]),
    ("xtask", &["kernel-image", "runner", "xen-lite-abi"]),
];

/// Crate roots that must forbid unsafe code.
const FORBID_UNSAFE: &[&str] = &[
    "abi/src/lib.rs",
    "abi/kernel-image/src/lib.rs",
    "backend/src/lib.rs",
    "xen-lite/core/src/lib.rs",
    "domu-sdk/macros/src/lib.rs",
    "dom0/src/lib.rs",
    "examples/src/lib.rs",
    "tests/runner/src/lib.rs",
    "tests/runner/src/main.rs",
    "fuzz/src/lib.rs",
    "fuzz/src/main.rs",
    "fuzz/grammar/src/lib.rs",
    "xtask/src/main.rs",
];

/// The SDK's sources, and the one folder of them that may hold unsafe code.
const SDK: &str = "domu-sdk/src";
const SDK_UNSAFE: &str = "domu-sdk/src/arch";

/// Where each dependency has its line of reason.
const EXPLANATIONS: &str = "docs/dependencies.md";

/// Checks the workspace.
///
/// # Errors
/// If a rule is broken; the text names all breaches.
pub fn check(paths: &Paths) -> Result<()> {
    let mut breaches = dependencies()?;
    breaches.extend(unexplained(paths)?);
    for root in FORBID_UNSAFE {
        let text =
            std::fs::read_to_string(paths.root.join(root)).with_context(|| format!("reading {root}"))?;
        if !text.contains("#![forbid(unsafe_code)]") {
            breaches.push(format!("{root} does not forbid unsafe code"));
        }
    }
    for file in rust_files(&paths.root.join(SDK))? {
        if !file.starts_with(paths.root.join(SDK_UNSAFE)) {
            breaches.extend(
                unsafe_lines(&file)?.iter().map(|line| {
                    format!("{}:{line}: unsafe code outside of {SDK_UNSAFE}", paths.shown(&file))
                }),
            );
        }
    }
    ensure!(breaches.is_empty(), "{}", breaches.join("\n       "));
    Ok(())
}

fn dependencies() -> Result<Vec<String>> {
    let metadata = MetadataCommand::new().no_deps().exec().context("reading the workspace")?;
    let mut breaches = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let Some((_, allowed)) = ALLOWED.iter().find(|(crate_name, _)| *crate_name == name) else {
            breaches.push(format!(
                "the crate {name} has no row in the layering table (xtask/src/check/layering.rs)"
            ));
            continue;
        };
        let inner =
            package.dependencies.iter().filter(|d| d.path.is_some() && d.kind != DependencyKind::Development);
        for dependency in inner.filter(|d| !allowed.contains(&d.name.as_str())) {
            breaches.push(format!("{name} must not depend on {}", dependency.name));
        }
    }
    Ok(breaches)
}

/// Crates from elsewhere that have no line of reason.
fn unexplained(paths: &Paths) -> Result<Vec<String>> {
    let page = paths.root.join(EXPLANATIONS);
    let text = std::fs::read_to_string(&page).with_context(|| format!("reading {EXPLANATIONS}"))?;
    let metadata = MetadataCommand::new().no_deps().exec().context("reading the workspace")?;
    let packages = metadata.workspace_packages();
    let outer = packages.iter().flat_map(|package| &package.dependencies).filter(|d| d.path.is_none());
    let names: BTreeSet<&str> =
        outer.map(|d| d.name.as_str()).filter(|name| !text.contains(&format!("`{name}`"))).collect();
    Ok(names.iter().map(|name| format!("the dependency {name} has no line in {EXPLANATIONS}")).collect())
}

/// All Rust sources below a folder, sorted.
///
/// # Errors
/// If a folder cannot be read.
pub fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() && !hidden && !path.ends_with("target") {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn unsafe_lines(file: &Path) -> Result<Vec<usize>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| is_unsafe(line));
    Ok(lines.map(|(number, _)| number + 1).collect())
}

/// Whether a line opens unsafe code; attributes and comments do not.
fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe trait"]
        .iter()
        .any(|word| code.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_code_is_seen_and_talk_about_it_is_not() {
        assert!(is_unsafe("    let x = unsafe { read() };"));
        assert!(is_unsafe("unsafe impl Send for X {}"));
        assert!(!is_unsafe("// no unsafe { } here"));
        assert!(!is_unsafe("#![deny(unsafe_op_in_unsafe_fn)]"));
    }

    #[test]
    fn the_workspace_keeps_its_layers() {
        assert_eq!(dependencies().unwrap(), Vec::<String>::new());
    }
}
