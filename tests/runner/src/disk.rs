//! Disks of the machine: files of zeros beside the logs, new for each run.

use anyhow::{Context, Result};
use std::path::Path;

/// QEMU's arguments for virtio disks of so many MiB; their files are named after the run's log.
///
/// # Errors
/// If a file cannot be made.
pub fn drives(sizes: &[u64], log: &Path) -> Result<Vec<String>> {
    let mut arguments = Vec::new();
    for (number, size) in sizes.iter().enumerate() {
        let path = log.with_extension(format!("disk{number}"));
        let file =
            std::fs::File::create(&path).with_context(|| format!("creating the disk {}", path.display()))?;
        file.set_len(size << 20).with_context(|| format!("sizing the disk {}", path.display()))?;
        let drive = format!("file={},if=none,format=raw,id=d{number}", path.display());
        arguments.extend([
            "-drive".into(),
            drive,
            "-device".into(),
            format!("virtio-blk-pci,drive=d{number}"),
        ]);
    }
    Ok(arguments)
}
