//! `new-guest`: a crate for a guest kernel, in a folder of its own.
//!
//! The crate is outside of this workspace and refers to it by path: to the SDK as its dependency, and to `cargo xtask run-guest`
//! ([`run`]) as what `cargo run` calls. Its files are those of `domu-sdk/template`, with three names filled in:
//!
//! | in the template | becomes |
//! |---|---|
//! | `@NAME@` | the crate's name |
//! | `@SDK@` | the SDK's folder |
//! | `@ROOT@` | this checkout |
//!
//! The lock file is this checkout's, so that a guest is built with the versions that are tested here; cargo drops what a guest
//! does not use.

pub mod run;
pub mod test;

use crate::build;
use crate::paths::Paths;
use crate::say;
use anyhow::{Context, Result, ensure};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The files: where they go, and the template's text.
const FILES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../../../domu-sdk/template/Cargo.toml.in")),
    ("src/main.rs", include_str!("../../../domu-sdk/template/main.rs.in")),
    (".cargo/config.toml", include_str!("../../../domu-sdk/template/config.toml.in")),
    (RUNNER, include_str!("../../../domu-sdk/template/run.in")),
    ("rust-toolchain.toml", include_str!("../../../domu-sdk/template/rust-toolchain.toml.in")),
    (".gitignore", include_str!("../../../domu-sdk/template/gitignore.in")),
];

/// The one file that is executable.
const RUNNER: &str = ".cargo/run";

/// Makes the crate `name` in `folder`, which is made, too, unless it exists and is empty.
///
/// # Errors
/// If the name cannot be a crate's, the folder holds something, or the file system refuses.
pub fn new_guest(paths: &Paths, name: &str, folder: &Path) -> Result<()> {
    check_name(name)?;
    ensure!(is_empty(folder)?, "`{}` is not empty; name a new folder", folder.display());
    for (file, text) in FILES {
        let target = folder.join(file);
        build::write(&target, filled_in(text, name, &paths.root).as_bytes())?;
        if *file == RUNNER {
            std::fs::set_permissions(&target, Permissions::from_mode(0o755))
                .with_context(|| format!("making {} executable", target.display()))?;
        }
    }
    build::copy(&paths.root.join("Cargo.lock"), &folder.join("Cargo.lock"))?;
    say::step(&format!("`{name}` is in {}; there, type", folder.display()));
    say::note("cargo run        boots it behind xen-lite and Dom0; its console is this terminal's");
    say::note("cargo build      makes the kernel, an ELF file that runs on upstream Xen as well");
    Ok(())
}

fn filled_in(text: &str, name: &str, root: &Path) -> String {
    let sdk = root.join("domu-sdk");
    text.replace("@NAME@", name)
        .replace("@SDK@", &sdk.display().to_string())
        .replace("@ROOT@", &root.display().to_string())
}

fn check_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    ensure!(
        name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(good),
        "`{name}` cannot be a guest's name: use small letters, digits, `-` and `_`, and begin with a letter"
    );
    Ok(())
}

fn is_empty(folder: &Path) -> Result<bool> {
    if !folder.exists() {
        return Ok(true);
    }
    let mut entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    Ok(entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_blank_is_filled_in() {
        for (file, text) in FILES {
            let text = filled_in(text, "my-guest", Path::new("/checkout"));
            // The script's "$@" is none.
            assert!(!text.replace("$@", "").contains('@'), "{file}: {text}");
        }
        let manifest = filled_in(FILES[0].1, "my-guest", Path::new("/checkout"));
        assert!(manifest.contains("name = \"my-guest\""));
        assert!(manifest.contains("path = \"/checkout/domu-sdk\""));
    }

    #[test]
    fn names_that_cargo_or_dom0_would_refuse_are_refused_here() {
        assert!(check_name("my-guest2").is_ok());
        for name in ["", "2nd", "-x", "My", "a b", "../a", "a\"b"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn the_guide_shows_the_program_that_the_tests_run() {
        let guide = include_str!("../../../docs/guide/first-guest.md");
        assert!(guide.contains(&filled_in(FILES[1].1, "first-guest", Path::new("/"))));
    }

    #[test]
    fn the_first_guest_is_ten_lines_without_unsafe_code() {
        let text = FILES[1].1;
        assert!(text.lines().filter(|line| !line.trim().is_empty()).count() <= 10, "{text}");
        assert!(text.contains("#![forbid(unsafe_code)]"));
    }
}
