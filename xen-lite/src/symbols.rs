//! Names for addresses in a back trace.
//!
//! A table of symbols may follow the image in memory, put there by the build (`xtask build`):
//!
//! | bytes | what |
//! |---|---|
//! | 8 | "XLSYMS01" |
//! | 4 | number of symbols, n |
//! | 4 | size of the table in bytes |
//! | 8·n | per symbol, ascending: its address minus [`layout::IMAGE`], where its name begins in the table |
//! | rest | names, each ending in a zero byte |
//!
//! Without a table, addresses are printed as numbers.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::layout;

const MAGIC: u64 = u64::from_le_bytes(*b"XLSYMS01");

/// Machine address of the table; 0 when there is none.
static TABLE: AtomicU64 = AtomicU64::new(0);

/// Looks for a table at a machine address; remembers it and returns its size, 0 when there is none.
pub fn size_at(physical: u64) -> u64 {
    let at = layout::direct(physical) as *const u64;
    // SAFETY: S-10: the first GiB is in the boot page tables and in the direct map.
    let (magic, sizes) = unsafe { (at.read_unaligned(), at.add(1).read_unaligned()) };
    let size = sizes >> 32;
    if magic != MAGIC || size < 16 + (sizes & 0xffff_ffff) * 8 || size > 1 << 20 {
        return 0;
    }
    TABLE.store(physical, Ordering::Relaxed);
    size
}

fn table() -> Option<(&'static [u8], usize)> {
    let physical = TABLE.load(Ordering::Relaxed);
    if physical == 0 {
        return None;
    }
    let at = layout::direct(physical) as *const u32;
    // SAFETY: S-12: the table was checked and its memory is reserved; nobody writes it.
    unsafe {
        let (count, size) = (at.add(2).read_unaligned() as usize, at.add(3).read_unaligned() as usize);
        Some((core::slice::from_raw_parts(at.cast(), size), count))
    }
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize)
}

/// The image's text: [start, end).
pub fn text() -> (u64, u64) {
    unsafe extern "C" {
        static __text_start: u8;
        static __text_end: u8;
    }
    (&raw const __text_start as u64, &raw const __text_end as u64)
}

/// The function that an address lies in, and the offset in it.
fn find(address: u64) -> Option<(&'static str, u64)> {
    let (bytes, count) = table()?;
    let offset = usize::try_from(address.checked_sub(layout::IMAGE)?).ok()?;
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = (low + high) / 2;
        if number(bytes, 16 + middle * 8)? <= offset { low = middle + 1 } else { high = middle }
    }
    let entry = 16 + low.checked_sub(1)? * 8;
    let name = bytes.get(number(bytes, entry + 4)?..)?;
    let end = name.iter().position(|&byte| byte == 0)?;
    Some((core::str::from_utf8(&name[..end]).ok()?, (offset - number(bytes, entry)?) as u64))
}

/// An address that prints with its function's name.
pub struct Code(pub u64);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[<{:016x}>]", self.0)?;
        match find(self.0) {
            Some((name, offset)) => write!(f, " {name}+{offset:#x}"),
            None => Ok(()),
        }
    }
}
