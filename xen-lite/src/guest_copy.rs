//! Copies from and to addresses that a guest gave, through its own page tables (`Platform::copy_in`, `copy_out`).
//!
//! The core has checked that the range is canonical and outside of the hypervisor's part. A page that is not there, or not
//! writable, makes the instruction fault; the fault handler finds it in the table of [`crate::fixup`], and the copy fails.
//! Small sizes that the compiler knows become single loads and stores.
//!
//! The beginning of a range is checked here once more. That is enough: all addresses below the hypervisor's part down to the
//! lower half are not canonical, so a copy that begins outside of it faults before it gets there.

use core::arch::asm;

use xen_lite_core::hypercall::guest::range_ok;
use xen_lite_core::platform::Fault;

use zerocopy::{FromBytes, IntoBytes};

use crate::cpu::smap;
use crate::fixup;

/// Moves words at fixed distances, each by a load and a store.
macro_rules! move_words {
    ($to:ident, $from:ident, $($offset:literal)*) => {
        asm!(
            $(
                concat!("2: mov {word}, [{from} + ", $offset, "]"),
                concat!("3: mov [{to} + ", $offset, "], {word}"),
                fixup!("2", "{fault}"),
                fixup!("3", "{fault}"),
            )*
            word = out(reg) _,
            from = in(reg) $from,
            to = in(reg) $to,
            fault = label { return Err(Fault) },
            options(nostack, preserves_flags)
        )
    };
}

/// Moves one operand of 1, 2 or 4 bytes.
macro_rules! move_one {
    ($to:ident, $from:ident, $word:literal, $class:ident) => {
        asm!(
            concat!("2: mov ", $word, ", [{from}]"),
            concat!("3: mov [{to}], ", $word),
            fixup!("2", "{fault}"),
            fixup!("3", "{fault}"),
            word = out($class) _,
            from = in(reg) $from,
            to = in(reg) $to,
            fault = label { return Err(Fault) },
            options(nostack, preserves_flags)
        )
    };
}

/// Moves up to 12 words; `false` when the size is another one. Sizes are constants at most places, and then so is the choice.
///
/// # Safety
/// S-03: one of the addresses is the hypervisor's own and valid, the other outside of the hypervisor's part.
#[inline(always)]
unsafe fn move_few(to: u64, from: u64, size: usize) -> Result<bool, Fault> {
    // SAFETY: S-03: as the caller promises; a fault lands in the label.
    unsafe {
        match size {
            1 => move_one!(to, from, "{word}", reg_byte),
            2 => move_one!(to, from, "{word:x}", reg),
            4 => move_one!(to, from, "{word:e}", reg),
            8 => move_words!(to, from, 0),
            16 => move_words!(to, from, 0 8),
            24 => move_words!(to, from, 0 8 16),
            32 => move_words!(to, from, 0 8 16 24),
            40 => move_words!(to, from, 0 8 16 24 32),
            48 => move_words!(to, from, 0 8 16 24 32 40),
            56 => move_words!(to, from, 0 8 16 24 32 40 48),
            64 => move_words!(to, from, 0 8 16 24 32 40 48 56),
            72 => move_words!(to, from, 0 8 16 24 32 40 48 56 64),
            80 => move_words!(to, from, 0 8 16 24 32 40 48 56 64 72),
            88 => move_words!(to, from, 0 8 16 24 32 40 48 56 64 72 80),
            96 => move_words!(to, from, 0 8 16 24 32 40 48 56 64 72 80 88),
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Moves any number of bytes.
///
/// # Safety
/// S-03: as [`move_few`].
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
/// S-03: as [`move_few`].
#[inline(always)]
unsafe fn transfer(to: u64, from: u64, size: usize) -> Result<(), Fault> {
    smap::open();
    // SAFETY: S-03: as the caller promises.
    let result = unsafe {
        move_few(to, from, size).and_then(|done| if done { Ok(()) } else { move_bytes(to, from, size) })
    };
    smap::close();
    result
}

/// Reads guest memory.
///
/// # Errors
/// Part of it cannot be read; `out` may have been changed.
#[inline(always)]
pub fn copy_in(from: u64, out: &mut [u8]) -> Result<(), Fault> {
    if !fixup::is_guest_address(from) {
        return Err(Fault);
    }
    // SAFETY: S-03: `out` is borrowed; the other side was checked.
    unsafe { transfer(out.as_mut_ptr() as u64, from, out.len()) }
}

/// Reads a value of guest memory.
///
/// # Errors
/// Part of it cannot be read.
#[inline(always)]
pub fn read_value<T: FromBytes + IntoBytes>(from: u64) -> Result<T, Fault> {
    let size = size_of::<T>();
    if size.is_multiple_of(8) && size <= 8 * MOST_WORDS {
        // By way of registers: what is used of them may well stay there.
        let words = load::<MOST_WORDS>(from, size / 8)?;
        return T::read_from_prefix(words.as_bytes()).map(|(value, _)| value).map_err(|_| Fault);
    }
    let mut value = T::new_zeroed();
    copy_in(from, value.as_mut_bytes())?;
    Ok(value)
}

/// Reads a value of guest memory at an address that has not been checked. Sizes up to [`MOST_WORDS`] words are checked at
/// their beginning only: so few bytes do not reach across the addresses that are not canonical.
///
/// # Errors
/// Part of it cannot be read.
#[inline(always)]
pub fn read_one<T: FromBytes + IntoBytes>(from: u64) -> Result<T, Fault> {
    let size = size_of::<T>();
    if size == 4 {
        let word = load_half(from)?;
        return T::read_from_prefix(word.as_bytes()).map(|(value, _)| value).map_err(|_| Fault);
    }
    if size.is_multiple_of(8) && size <= 8 * MOST_WORDS {
        return read_value(from);
    }
    if range_ok(from, size.max(1) as u64) { read_value(from) } else { Err(Fault) }
}

/// Reads 32 bits into a register.
#[inline(always)]
fn load_half(from: u64) -> Result<u32, Fault> {
    if !fixup::is_canonical_guest_address(from) {
        return Err(Fault);
    }
    let mut word: u32;
    let mut faulted = 0u32;
    smap::open();
    // SAFETY: S-03: the beginning was checked to be canonical, and 4 bytes do not reach across the addresses that are not; a
    // fault lands behind the load.
    unsafe {
        asm!(
            "2: mov {word:e}, [{from}]",
            "3:",
            ".pushsection .text.fixup, \"ax\", @progbits",
            "4: mov {faulted:e}, 1",
            "xor {word:e}, {word:e}",
            "jmp 3b",
            ".popsection",
            fixup!("2", "4b"),
            word = out(reg) word,
            faulted = inout(reg) faulted,
            from = in(reg) from,
            options(nostack, readonly)
        );
    }
    smap::close();
    if faulted == 0 { Ok(word) } else { Err(Fault) }
}

/// Writes guest memory at an address that has not been checked; few bytes are checked at their beginning only, as in [`read_one`].
///
/// # Errors
/// Part of it cannot be written; what comes before may have been.
#[inline(always)]
pub fn write_one(to: u64, bytes: &[u8]) -> Result<(), Fault> {
    let few = bytes.len() <= 8 * MOST_WORDS;
    if few && fixup::is_canonical_guest_address(to) || !few && range_ok(to, bytes.len() as u64) {
        // SAFETY: S-03: `bytes` is borrowed; the other side was checked.
        unsafe { transfer(to, bytes.as_ptr() as u64, bytes.len()) }
    } else {
        Err(Fault)
    }
}

/// Words that [`read_words`] and [`write_words`] move at most.
const MOST_WORDS: usize = 12;

/// Reads words.
///
/// # Errors
/// Part of them cannot be read.
#[inline(always)]
pub fn read_words<const N: usize>(from: u64) -> Result<[u64; N], Fault> {
    load(from, N)
}

/// Reads the first `count` of `N` words one by one, each straight into a register; whether any of them faulted is looked at
/// once. The others are 0.
#[inline(always)]
fn load<const N: usize>(from: u64, count: usize) -> Result<[u64; N], Fault> {
    if !fixup::is_canonical_guest_address(from) {
        return Err(Fault);
    }
    const { assert!(N <= MOST_WORDS) };
    let mut words = [0u64; N];
    let mut faulted = 0u64;
    macro_rules! load {
        ($($index:literal)*) => {$(
            if $index < N && $index < count {
                // SAFETY: S-03: the beginning was checked to be canonical, and so few words do not reach across the addresses
                // that are not; a fault lands behind the load, and the next load is tried.
                unsafe {
                    asm!(
                        concat!("2: mov {word}, [{from} + 8 * ", $index, "]"),
                        "3:",
                        ".pushsection .text.fixup, \"ax\", @progbits",
                        "4: mov {faulted:e}, 1",
                        "xor {word:e}, {word:e}",
                        "jmp 3b",
                        ".popsection",
                        fixup!("2", "4b"),
                        word = out(reg) words[$index],
                        faulted = inout(reg) faulted,
                        from = in(reg) from,
                        options(nostack, readonly)
                    );
                }
            }
        )*};
    }
    smap::open();
    load!(0 1 2 3 4 5 6 7 8 9 10 11);
    smap::close();
    if faulted == 0 { Ok(words) } else { Err(Fault) }
}

/// Writes words one by one, each straight from where it is.
///
/// # Errors
/// Part of them cannot be written; some may have been.
#[inline(always)]
pub fn write_words<const N: usize>(to: u64, words: [u64; N]) -> Result<(), Fault> {
    if !fixup::is_guest_address(to) {
        return Err(Fault);
    }
    smap::open();
    let result = store(to, words);
    smap::close();
    result
}

#[inline(always)]
fn store<const N: usize>(to: u64, words: [u64; N]) -> Result<(), Fault> {
    const { assert!(N <= MOST_WORDS) };
    macro_rules! store {
        ($($index:literal)*) => {$(
            if $index < N {
                // SAFETY: S-03: as in `read_words`; a fault lands in the label.
                unsafe {
                    asm!(
                        concat!("2: mov [{to} + 8 * ", $index, "], {word}"),
                        fixup!("2", "{fault}"),
                        to = in(reg) to,
                        word = in(reg) words[$index],
                        fault = label { return Err(Fault) },
                        options(nostack, preserves_flags)
                    );
                }
            }
        )*};
    }
    store!(0 1 2 3 4 5 6 7 8 9 10 11);
    Ok(())
}

/// Writes guest memory.
///
/// # Errors
/// Part of it cannot be written; what comes before may have been.
#[inline(always)]
pub fn copy_out(to: u64, bytes: &[u8]) -> Result<(), Fault> {
    if !fixup::is_guest_address(to) {
        return Err(Fault);
    }
    // SAFETY: S-03: `bytes` is borrowed; the other side was checked.
    unsafe { transfer(to, bytes.as_ptr() as u64, bytes.len()) }
}
