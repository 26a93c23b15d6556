//! Looks at a guest kernel before anything is started with it, so that a wrong file costs no boot.
//!
//! The verdict is that of the crate `kernel-image`, which hypervisor and Dom0 use too: one line that names the reason.

use anyhow::{Context, Result, anyhow};
use kernel_image::layout::{Request, Role, plan};
use kernel_image::{Image, ImageError, unpack};
use std::path::Path;

/// No kernel unpacks to more than this many bytes.
const UNPACKED_LIMIT: usize = 512 << 20;

/// Pages of 4 KiB in a MiB.
const PAGES_PER_MB: u64 = 256;

/// The domain that a kernel is meant for.
#[derive(Clone, Copy, Debug)]
pub struct Domain {
    /// Whether it is the first one.
    pub role: Role,
    /// Its memory in MiB.
    pub memory_mb: u32,
    /// Size of its initrd in bytes.
    pub initrd_bytes: u64,
}

/// Reads a kernel and checks that it can run in `domain`.
///
/// # Errors
/// If the file cannot be read or is no kernel for Xen; one line that names the file and the reason.
pub fn read_checked(path: &Path, domain: &Domain) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    check(&bytes, domain).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    Ok(bytes)
}

fn check(bytes: &[u8], domain: &Domain) -> Result<(), ImageError> {
    let elf = unpack(bytes, UNPACKED_LIMIT)?;
    let image = Image::parse(&elf)?;
    if domain.role == Role::Dom0 {
        image.check_features(u32::MAX, true)?;
    }
    let nr_pages = u64::from(domain.memory_mb) * PAGES_PER_MB;
    plan(&image, &Request { role: domain.role, nr_pages, initrd_bytes: domain.initrd_bytes })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMU: Domain = Domain { role: Role::DomU, memory_mb: 64, initrd_bytes: 0 };

    #[test]
    fn what_is_no_kernel_is_refused_in_one_line() {
        for bytes in [&b""[..], b"#!/bin/sh\nexit 0\n", b"\x7fELF", &[0; 4096]] {
            let text = check(bytes, &DOMU).unwrap_err().to_string();
            assert!(!text.is_empty() && !text.contains('\n'), "{text}");
        }
    }

    #[test]
    fn a_host_program_is_not_a_kernel_for_xen() {
        let program = std::env::current_exe().unwrap();
        let error = read_checked(&program, &DOMU).unwrap_err().to_string();
        assert!(error.starts_with(&program.display().to_string()) && error.contains("Xen"), "{error}");
    }
}
