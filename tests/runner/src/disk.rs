//! Disks of the machine: files of zeros beside the logs, new for each run.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Makes disks of so many MiB, all zero; their files are named after the run's log.
///
/// # Errors
/// If a file cannot be made.
pub fn make(sizes: &[u64], log: &Path) -> Result<()> {
    for (number, size) in sizes.iter().enumerate() {
        let path = file(log, number);
        let file =
            std::fs::File::create(&path).with_context(|| format!("creating the disk {}", path.display()))?;
        file.set_len(size << 20).with_context(|| format!("sizing the disk {}", path.display()))?;
    }
    Ok(())
}

fn file(log: &Path, number: usize) -> PathBuf {
    log.with_extension(format!("disk{number}"))
}

/// QEMU's arguments for so many virtio disks that were made before.
///
/// A flush ends with the host's kernel, not with its disk, which others keep busy: what is tested is that it was asked for in time, and the
/// file outlives the machine either way.
pub fn drives(count: usize, log: &Path) -> Vec<String> {
    let drive = |number: usize| {
        let file = file(log, number);
        let drive = format!("file={},if=none,format=raw,cache=unsafe,id=d{number}", file.display());
        ["-drive".into(), drive, "-device".into(), format!("virtio-blk-pci,drive=d{number}")]
    };
    (0..count).flat_map(drive).collect()
}
