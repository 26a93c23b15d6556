//! The folders that the commands work in.

use anyhow::{Context, Result};
use runner::artifacts::Artifacts;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Target triple of everything that runs without an operating system below it.
pub const BARE_METAL: &str = "x86_64-unknown-none";

/// Environment variable that puts the unpacked Debian packages elsewhere than `target/upstream`.
const UPSTREAM_VARIABLE: &str = "XEN_LITE_UPSTREAM";

/// Where things are.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The workspace.
    pub root: PathBuf,
    /// Cargo's target folder.
    pub target: PathBuf,
    /// Unpacked Debian packages.
    pub upstream: PathBuf,
    /// What the build makes: `<target>/image`.
    pub image: PathBuf,
}

impl Paths {
    /// Asks cargo.
    ///
    /// # Errors
    /// If cargo cannot tell.
    pub fn find() -> Result<Self> {
        let metadata =
            cargo_metadata::MetadataCommand::new().no_deps().exec().context("reading the workspace")?;
        let root = metadata.workspace_root.into_std_path_buf();
        let target = metadata.target_directory.into_std_path_buf();
        let upstream =
            std::env::var_os(UPSTREAM_VARIABLE).map_or_else(|| root.join("target/upstream"), PathBuf::from);
        Ok(Self { image: target.join("image"), root, target, upstream })
    }

    /// A cargo of the same toolchain, in the workspace.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root);
        command
    }

    /// The unpacked root of the Debian packages.
    pub fn upstream_root(&self) -> PathBuf {
        self.upstream.join("root")
    }

    /// Upstream Xen as QEMU takes it.
    pub fn upstream_xen(&self) -> PathBuf {
        self.upstream.join("xen.elf")
    }

    /// The files for the test runner.
    pub fn artifacts(&self) -> Artifacts {
        Artifacts {
            image: self.image.clone(),
            upstream_xen: self.upstream_xen(),
            logs: self.target.join("test-logs"),
        }
    }

    /// `path` as seen from the workspace, for messages.
    pub fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}
