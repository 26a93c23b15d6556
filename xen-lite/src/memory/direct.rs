//! Access to frames through the direct map: single loads and stores by value, never references, because guests may write the
//! same memory at the same time.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::layout::direct;

/// A word of a frame as an atomic.
#[inline(always)]
pub fn word(physical: u64, index: usize) -> &'static AtomicU64 {
    // SAFETY: S-02: all RAM is in the direct map; a frame is 512 words; nobody makes plain references to frames.
    unsafe { &*(direct(physical) as *const AtomicU64).add(index & 511) }
}

/// The word that holds a machine address, as an atomic.
#[inline(always)]
pub fn word_at(physical: u64) -> &'static AtomicU64 {
    // SAFETY: S-02: all RAM is in the direct map; the address is rounded down to a word; nobody makes plain references to frames.
    unsafe { &*(direct(physical & !7) as *const AtomicU64) }
}

/// Sets a bit of the word at a machine address; returns whether it was set. One instruction, where `fetch_or` would need a loop.
#[inline(always)]
pub fn set_bit_at(physical: u64, bit: u32) -> bool {
    // SAFETY: S-02: as for `word_at`; with the offset below 64, the instruction stays in that word.
    unsafe {
        core::arch::asm!("lock bts qword ptr [{word}], {bit}", "jc {was_set}", word = in(reg) word_at(physical),
            bit = in(reg) u64::from(bit & 63), was_set = label { return true }, options(nostack));
    }
    false
}

/// Reads a word of a table.
pub fn read(physical: u64, index: usize) -> u64 {
    word(physical, index).load(Ordering::Relaxed)
}

/// Writes a word of a table.
pub fn write(physical: u64, index: usize, value: u64) {
    word(physical, index).store(value, Ordering::Relaxed);
}

/// Fills whole words with a byte.
pub fn fill(physical: u64, size: u64, byte: u8) {
    // SAFETY: S-02: the range is RAM in the direct map; `rep stosq` makes plain stores that race with nothing Rust knows of.
    unsafe {
        core::arch::asm!("rep stosq", inout("rdi") direct(physical) => _, inout("rcx") size / 8 => _,
            in("rax") u64::from(byte) * 0x0101_0101_0101_0101, options(nostack, preserves_flags));
    }
}

/// Copies bytes between machine addresses, or from and to the hypervisor's own memory.
///
/// # Safety
/// S-02: both ranges are mapped; the hypervisor's own one is borrowed accordingly.
#[inline(always)]
pub unsafe fn copy(to: *mut u8, from: *const u8, size: usize) {
    // SAFETY: S-02: as the caller promises. In assembly, because the other side may change meanwhile.
    unsafe {
        core::arch::asm!(
            "rep movsq",
            "mov rcx, {rest}",
            "rep movsb",
            rest = in(reg) size & 7,
            inout("rdi") to => _,
            inout("rsi") from => _,
            inout("rcx") size >> 3 => _,
            options(nostack, preserves_flags)
        );
    }
}

/// First word of the machine-to-physical table in the direct map, and its length.
static M2P: AtomicU64 = AtomicU64::new(0);
static M2P_FRAMES: AtomicU64 = AtomicU64::new(0);

/// Tells where the machine-to-physical table is.
pub fn set_m2p_base(physical: u64, frames: u64) {
    M2P.store(direct(physical), Ordering::Relaxed);
    M2P_FRAMES.store(frames, Ordering::Relaxed);
}

/// An entry of the machine-to-physical table; `None` past its end.
#[inline(always)]
pub fn m2p(frame: u64) -> Option<&'static AtomicU64> {
    if frame >= M2P_FRAMES.load(Ordering::Relaxed) {
        return None;
    }
    // SAFETY: S-12: the table has that many words, in the direct map, and is only accessed as atomics.
    Some(unsafe { &*(M2P.load(Ordering::Relaxed) as *const AtomicU64).add(frame as usize) })
}
