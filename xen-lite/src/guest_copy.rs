//! Copies from and to addresses that a guest gave, through its own page tables (`Platform::copy_in`, `copy_out`).
//!
//! The core has checked that the range is canonical and outside of the hypervisor's part. A page that is not there, or not
//! writable, makes the instruction fault; the fault handler finds it in the table of [`crate::fixup`], and the copy fails.
//! Small sizes that the compiler knows become single loads and stores.

use core::arch::asm;

use xen_lite_core::platform::Fault;

use crate::fixup;

/// Up to this size, and in multiples of 8, copies are unrolled.
const SMALL: usize = 256;

/// Moves 8 bytes.
///
/// # Safety
/// S-03: one of the addresses is the hypervisor's own and valid, the other outside of the hypervisor's part.
#[inline(always)]
unsafe fn move_word(to: u64, from: u64) -> Result<(), Fault> {
    // SAFETY: S-03: as the caller promises; a fault lands in the label.
    unsafe {
        asm!(
            "2: mov {word}, [{from}]",
            "3: mov [{to}], {word}",
            fixup!("2", "{fault}"),
            fixup!("3", "{fault}"),
            word = out(reg) _,
            from = in(reg) from,
            to = in(reg) to,
            fault = label { return Err(Fault) },
            options(nostack, preserves_flags)
        );
    }
    Ok(())
}

/// Moves any number of bytes.
///
/// # Safety
/// S-03: as [`move_word`].
unsafe fn move_bytes(to: u64, from: u64, size: usize) -> Result<(), Fault> {
    // SAFETY: S-03: as the caller promises; a fault lands in the label.
    unsafe {
        asm!(
            "2: rep movsq",
            "mov rcx, {rest}",
            "3: rep movsb",
            fixup!("2", "{fault}"),
            fixup!("3", "{fault}"),
            rest = in(reg) size & 7,
            inout("rdi") to => _,
            inout("rsi") from => _,
            inout("rcx") size >> 3 => _,
            fault = label { return Err(Fault) },
            options(nostack, preserves_flags)
        );
    }
    Ok(())
}

/// Moves bytes in the way that suits the size.
///
/// # Safety
/// S-03: as [`move_word`].
#[inline(always)]
unsafe fn transfer(to: u64, from: u64, size: usize) -> Result<(), Fault> {
    if size <= SMALL && size.is_multiple_of(8) {
        for offset in (0..size as u64).step_by(8) {
            // SAFETY: S-03: as the caller promises.
            unsafe { move_word(to + offset, from + offset)? };
        }
        return Ok(());
    }
    // SAFETY: S-03: as the caller promises.
    unsafe { move_bytes(to, from, size) }
}

/// Reads guest memory.
///
/// # Errors
/// Part of it cannot be read; `out` may have been changed.
#[inline(always)]
pub fn copy_in(from: u64, out: &mut [u8]) -> Result<(), Fault> {
    if !fixup::is_guest_address(from) || !fixup::is_guest_address(from.wrapping_add(out.len() as u64)) {
        return Err(Fault);
    }
    // SAFETY: S-03: `out` is borrowed; the other side was checked.
    unsafe { transfer(out.as_mut_ptr() as u64, from, out.len()) }
}

/// Writes guest memory.
///
/// # Errors
/// Part of it cannot be written; what comes before may have been.
#[inline(always)]
pub fn copy_out(to: u64, bytes: &[u8]) -> Result<(), Fault> {
    if !fixup::is_guest_address(to) || !fixup::is_guest_address(to.wrapping_add(bytes.len() as u64)) {
        return Err(Fault);
    }
    // SAFETY: S-03: `bytes` is borrowed; the other side was checked.
    unsafe { transfer(to, bytes.as_ptr() as u64, bytes.len()) }
}
