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

/// A guest of 32 MiB.
pub const fn guest(
    name: &'static str,
    kernel: &'static str,
    arguments: &'static str,
    more: &'static str,
) -> Guest {
    Guest { name, kernel, memory: 32, arguments, more }
}

/// Dom0's archive.
pub const ARCHIVE: &str = "block.cpio";

/// Kernels in the archive.
pub const KERNELS: &[&str] = &["block", "block_hostile"];

/// Guests in the archive.
pub const GUESTS: &[Guest] = &[
    Guest { name: "block", kernel: "block", memory: 32, arguments: "", more: "disk = [ 'ram:64M,xvda,w' ]" },
    Guest {
        name: "small",
        kernel: "block",
        memory: 32,
        arguments: "passes=4 disk=xvdb",
        more: "disk = [ 'ram:300K,xvda,w', 'vdev=xvdb,access=rw,target=ram:4M' ]",
    },
    Guest {
        name: "long",
        kernel: "block",
        memory: 32,
        arguments: "passes=16",
        more: "disk = [ 'ram:64M,xvda,w' ]",
    },
    Guest {
        name: "keep",
        kernel: "block",
        memory: 32,
        arguments: "keep",
        more: "disk = [ 'ram:4M:records,xvda,w' ]",
    },
    Guest {
        name: "busy",
        kernel: "block",
        memory: 16,
        arguments: "passes=1000",
        more: "disk = [ 'ram:1M,xvda,w', 'ram:1M,xvdb,w' ]",
    },
    Guest {
        name: "machine",
        kernel: "block",
        memory: 32,
        arguments: "",
        more: "disk = [ 'phy:/dev/vda,xvda,w' ]",
    },
    Guest {
        name: "machine-keep",
        kernel: "block",
        memory: 32,
        arguments: "keep",
        more: "disk = [ 'virtio:vdb,xvda,w' ]",
    },
    Guest {
        name: "over",
        kernel: "block",
        memory: 32,
        arguments: "",
        more: "disk = [ 'overlay:phy:vda,xvda,w' ]",
    },
    Guest {
        name: "nowhere",
        kernel: "block",
        memory: 32,
        arguments: "",
        more: "disk = [ '/dev/vdz,raw,xvda,r' ]",
    },
    hostile("one", "seed=1"),
    hostile("two", "seed=2 lives=30"),
    hostile("three", "seed=3"),
    hostile("forever", "seed=4 lives=0"),
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

const fn hostile(name: &'static str, arguments: &'static str) -> Guest {
    let more = "disk = [ 'ram:2M,xvda,w' ]";
    Guest { name, kernel: "block_hostile", memory: 32, arguments, more }
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        shown("block", BLOCK),
        shown("block-gib", LONG).limit(900),
        shown("block-kept", KEPT),
        shown("block-virtio", MACHINE).disk(8).disk(1),
        shown("block-killed", KILLED).limit(900),
        linux(),
        shown("block-hostile", HOSTILE).forbid(" 0 connected").allow("is closed"),
    ]
}

/// Debian's front end, a module of its kernel, with a disk in memory and one that is a file.
fn linux() -> Case {
    let script = "create debian-disks; wait debian-disks 'LINUX DISKS same' 240; expect-gone debian-disks 60; \
                  log debian-disks; poweroff";
    Case::new("debian-disks", "dom0")
        .memory(1024)
        .options("dom0_mem=448M")
        .initrd("debian-disks.cpio")
        .script(script)
        .expect("SCRIPT ok", 300)
        .limit(360)
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
    expect-error 'line 5, column 16' create wrong; expect-error dom0_mem create too-big; churn small 10; poweroff";

/// What was flushed before a guest was destroyed is there in its next life.
const KEPT: &str = "create keep; wait keep 'flushed 40.' 60; destroy keep; create keep; wait keep 'found 40.' 60; \
    wait keep 'flushed 100.' 60; destroy keep; create keep; wait keep 'found 100.' 60; wait keep 'flushed 500.' 120; \
    destroy keep; create keep; wait keep 'found 500.' 60; wait keep 'RESULT: pass' 240; expect-gone keep 20; poweroff";

/// Guests that die in the midst of I/O, each at another moment; a good one is served as before, and nothing is missing in the end.
const KILLED: &str = "churn busy 500 250; create small; wait small 'RESULT: pass' 200; poweroff";

/// Disks of the machine: what was flushed survives, and who may share them.
const MACHINE: &str = "expect-error 'no phy:/dev/vdz; there are: phy:/dev/vda, phy:/dev/vdb' create nowhere; \
    create machine; expect-error 'only readers may share' create over; wait machine 'RESULT: pass' 240; \
    expect-gone machine 20; log machine; create over; wait over 'RESULT: pass' 240; expect-gone over 20; \
    create machine-keep; wait machine-keep 'flushed 40.' 60; destroy machine-keep; create machine-keep; \
    wait machine-keep 'found 40.' 60; wait machine-keep 'flushed 80.' 120; destroy machine-keep; create machine-keep; \
    wait machine-keep 'found 80.' 60; poweroff";

/// Hostile front ends beside a good one, which notices nothing; in the end every frame is back.
const HOSTILE: &str = "create one; create two; create small; wait small 'RESULT: pass' 200; expect-gone small 20; \
    wait one 'hostile: done' 200; wait two 'hostile: done' 200; expect-gone two 20; log one; log two; \
    create forever; create three; sleep 3; destroy forever; create small; wait small 'RESULT: pass' 200; \
    wait three 'hostile: done' 200; log three; expect-gone three 20; expect-gone small 20; churn forever 10; poweroff";

/// One GiB each way.
const LONG: &str =
    "create long; wait long 'RESULT: pass, 1073741824' 600; expect-gone long 20; log long; poweroff";
