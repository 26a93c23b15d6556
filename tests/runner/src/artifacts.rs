//! Where the files that the tests boot are found.
//!
//! A [`Case`](crate::case::Case) names files relative to one folder, the image folder that `cargo xtask build` fills.
//! Only upstream Xen lies elsewhere, with the rest of the unpacked Debian packages.

use std::path::{Path, PathBuf};

/// The hypervisor with its auditor, in the image folder.
pub const AUDITED: &str = "xen-lite-audit";

/// The folders and files that a run of the suite needs.
#[derive(Clone, Debug)]
pub struct Artifacts {
    /// Folder with `xen-lite`, `dom0`, `guests/`, the initrds and the ISOs.
    pub image: PathBuf,
    /// Upstream Xen as an ELF32 file that QEMU's `-kernel` takes.
    pub upstream_xen: PathBuf,
    /// Folder that receives one log per run.
    pub logs: PathBuf,
}

impl Artifacts {
    /// The path of a file that a case names.
    pub fn file(&self, name: &str) -> PathBuf {
        self.image.join(name)
    }

    /// The hypervisor image itself.
    pub fn xen_lite(&self) -> PathBuf {
        self.file("xen-lite")
    }

    /// The same with its auditor and all checks of a debug build.
    pub fn audited(&self) -> PathBuf {
        self.file(AUDITED)
    }

    /// The log of the run with this name.
    pub fn log(&self, run: &str) -> PathBuf {
        self.logs.join(format!("{run}.log"))
    }

    /// The folder of the logs.
    pub fn logs(&self) -> &Path {
        &self.logs
    }
}
