//! Disks: a guest's front end on the SDK, and Dom0's back end.
//!
//! The guests and their disks are [`GUESTS`], packed into [`ARCHIVE`] for Dom0.

use crate::case::Case;

/// A guest of the archive.
#[derive(Clone, Copy, Debug)]
pub struct Guest {
    /// Its name.
    pub name: &'static str,
    /// One of [`KERNELS`].
    pub kernel: &'static str,
    /// Memory in MiB.
    pub memory: u32,
    /// Its command line.
    pub arguments: &'static str,
    /// More lines of its configuration.
    pub more: &'static str,
}

/// Dom0's archive.
pub const ARCHIVE: &str = "block.cpio";

/// Kernels in the archive.
pub const KERNELS: &[&str] = &["block"];

/// Guests in the archive.
pub const GUESTS: &[Guest] = &[
    Guest { name: "block", kernel: "block", memory: 32, arguments: "", more: "disk = [ 'ram:64M,xvda,w' ]" },
    Guest {
        name: "small",
        kernel: "block",
        memory: 32,
        arguments: "passes=4 disk=xvdb",
        more: "disk = [ 'ram:300K,xvda,w', 'target=ram:4M,vdev=xvdb,access=rw' ]",
    },
    Guest {
        name: "long",
        kernel: "block",
        memory: 32,
        arguments: "passes=16",
        more: "disk = [ 'ram:64M,xvda,w' ]",
    },
    Guest {
        name: "wrong",
        kernel: "block",
        memory: 32,
        arguments: "",
        more: "disk = [ 'ram:64M,xvda,w',\n  'ram:1M,xvdb,maybe' ]",
    },
    Guest {
        name: "too-big",
        kernel: "block",
        memory: 32,
        arguments: "",
        more: "disk = [ 'ram:64G,xvda,w' ]",
    },
];

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![shown("block", BLOCK), shown("block-gib", LONG).limit(900)]
}

fn shown(name: &str, script: &str) -> Case {
    Case::new(name, "dom0")
        .options("dom0_mem=192M")
        .initrd(ARCHIVE)
        .script(script)
        .forbid("RESULT: fail")
        .expect("SCRIPT ok", 600)
        .limit(300)
}

/// A disk written and read, its store nodes, and that nothing is left of it.
const BLOCK: &str = "create small; wait small 'RESULT: pass' 120; expect-gone small 20; log small; \
    create block; wait block 'pass 0' 240; store /local/domain/0/backend; wait block 'RESULT: pass' 240; \
    expect-gone block 20; log block; \
    expect-error 'line 5, column 19' create wrong; expect-error dom0_mem create too-big; churn small 10; poweroff";

/// One GiB each way.
const LONG: &str = "create long; wait long 'RESULT: pass, 1073741824' 600; expect-gone long 20; log long; poweroff";
