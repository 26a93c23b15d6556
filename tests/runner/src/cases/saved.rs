//! Guests that are saved on a disk of the machine, and restored after it was off.

use super::block::Guest;
use crate::case::Case;

/// Dom0's archive.
pub const ARCHIVE: &str = "saved.cpio";

/// Kernels in the archive.
pub const KERNELS: &[&str] = &["saved", "echo"];

/// Guests in the archive.
pub const GUESTS: &[Guest] = &[
    Guest {
        name: "counting",
        kernel: "saved",
        memory: 16,
        arguments: "ip=10.0.0.2/24 peer=10.0.0.1",
        more: "vcpus = 2\ndisk = [ 'phy:/dev/vdb,xvda,w' ]\nvif = [ '' ]",
    },
    Guest { name: "echo", kernel: "echo", memory: 32, arguments: "ip=10.0.0.1/24", more: "vif = [ '' ]" },
];

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![booted("save", SAVE).disk(64).disk(2).disk(1).then(booted("restore", RESTORE))]
}

fn booted(name: &str, script: &str) -> Case {
    Case::new(name, "dom0")
        .options("dom0_mem=192M")
        .initrd(ARCHIVE)
        .script(script)
        .forbid("RESULT: fail")
        .expect("SCRIPT ok", 240)
        .limit(240)
}

/// A guest in the midst of its work; and what must not work. A save that fails lets it run on.
const SAVE: &str = "images; create echo; wait echo 'on port 7' 30; create counting; \
    expect-error 'no disk has images yet' save counting a; wait counting 'count 200.' 60; \
    expect-error 'is a disk of domain' save counting vdb:a; \
    expect-error 'the disk is full' save counting vdc:a; wait counting 'goes on: Cancelled' 20; \
    wait counting 'count 400.' 60; save counting vda:a; save echo b; images; expect-gone counting 5; poweroff";

/// The same disks after the machine was off.
const RESTORE: &str = "images; expect-error 'no image c; there are: a, b' restore c; restore a; restore b; \
    expect-error 'is running already' restore a; wait counting 'RESULT: pass' 120; expect-gone counting 20; \
    log counting; forget a; forget b; images; poweroff";
