//! Where a disk's bytes are.
//!
//! A [`Storage`] is an array of sectors of 512 bytes. It is shared by the devices that show it ([`Shared`]): one that may write, or many that
//! read. What was flushed is as durable as the storage is: memory lasts as long as this domain, a machine's disk longer.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;

/// Bytes per sector, whatever the device below has.
pub const SECTOR: u64 = 512;
/// Bytes of memory that are allocated at a time.
pub const CHUNK: usize = 64 << 10;
/// Memory that is left to the rest of this domain.
const MARGIN: usize = 4 << 20;

/// An access failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Beyond the end.
    Range,
    /// It cannot be written.
    ReadOnly,
    /// No memory for what is to be written.
    NoMemory,
    /// The device below failed, or the image is damaged.
    Device,
}

/// Result of an access.
pub type Result<T = ()> = core::result::Result<T, Fault>;

/// An array of sectors.
pub trait Storage: core::fmt::Debug {
    /// How many sectors.
    fn sectors(&self) -> u64;
    /// Bytes that the device below writes at once.
    fn physical(&self) -> u32 {
        SECTOR as u32
    }
    /// Whether it can be written.
    fn is_writable(&self) -> bool {
        true
    }
    /// Whether discarding does something.
    fn discards(&self) -> bool {
        false
    }
    /// Reads whole sectors.
    fn read(&mut self, sector: u64, into: &mut [u8]) -> Result;
    /// Writes whole sectors.
    fn write(&mut self, sector: u64, from: &[u8]) -> Result;
    /// Returns when everything written before is durable.
    fn flush(&mut self) -> Result;
    /// The sectors' contents are no longer needed; what is read from them later is undefined, but not another disk's.
    fn discard(&mut self, _sector: u64, _count: u64) -> Result {
        Ok(())
    }
}

/// A storage and the devices that show it.
pub type Shared<'a> = Rc<RefCell<Box<dyn Storage + 'a>>>;

/// Makes a storage that can be shared.
pub fn share<'a>(storage: impl Storage + 'a) -> Shared<'a> {
    Rc::new(RefCell::new(Box::new(storage)))
}

/// The bytes of an access, if it lies in a storage of `sectors`.
pub fn range(sectors: u64, sector: u64, len: usize) -> Result<core::ops::Range<u64>> {
    let start = sector.checked_mul(SECTOR).ok_or(Fault::Range)?;
    let end = start.checked_add(len as u64).ok_or(Fault::Range)?;
    if end <= sectors.saturating_mul(SECTOR) { Ok(start..end) } else { Err(Fault::Range) }
}

/// Zeroed memory; `None` if afterwards too little would be left for the rest of this domain.
pub fn memory(bytes: usize) -> Option<Vec<u8>> {
    let mut margin = Vec::<u8>::new();
    let mut chunk = Vec::new();
    chunk.try_reserve_exact(bytes).ok()?;
    margin.try_reserve_exact(MARGIN).ok()?;
    chunk.resize(bytes, 0);
    Some(chunk)
}

/// Parts of a byte range, one for each chunk: the chunk's number, the place in it, the place in the whole range.
pub fn chunks(
    range: core::ops::Range<u64>,
) -> impl Iterator<Item = (usize, core::ops::Range<usize>, core::ops::Range<usize>)> {
    let chunk = CHUNK as u64;
    let mut at = range.start;
    core::iter::from_fn(move || {
        if at >= range.end {
            return None;
        }
        let from = (at % chunk) as usize;
        let len = (CHUNK - from).min((range.end - at) as usize);
        let done = (at - range.start) as usize;
        let part = ((at / chunk) as usize, from..from + len, done..done + len);
        at += len as u64;
        Some(part)
    })
}

/// This domain's memory, all of it allocated at once.
pub struct Ram {
    sectors: u64,
    chunks: Vec<Vec<u8>>,
}

impl core::fmt::Debug for Ram {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Ram({} sectors)", self.sectors)
    }
}

impl Ram {
    /// A disk of zeros.
    pub fn new(bytes: u64) -> core::result::Result<Self, String> {
        let wanted = bytes.div_ceil(CHUNK as u64) as usize;
        let mut chunks = Vec::new();
        for _ in 0..wanted {
            let chunk = memory(CHUNK).ok_or_else(|| {
                let mib = bytes.div_ceil(1 << 20);
                alloc::format!("a disk of {mib} MiB does not fit into memory")
            })?;
            chunks.push(chunk);
        }
        Ok(Self { sectors: bytes / SECTOR, chunks })
    }
}

impl Storage for Ram {
    fn sectors(&self) -> u64 {
        self.sectors
    }
    fn discards(&self) -> bool {
        true
    }
    fn read(&mut self, sector: u64, into: &mut [u8]) -> Result {
        for (chunk, part, place) in chunks(range(self.sectors, sector, into.len())?) {
            into[place].copy_from_slice(&self.chunks[chunk][part]);
        }
        Ok(())
    }
    fn write(&mut self, sector: u64, from: &[u8]) -> Result {
        for (chunk, part, place) in chunks(range(self.sectors, sector, from.len())?) {
            self.chunks[chunk][part].copy_from_slice(&from[place]);
        }
        Ok(())
    }
    fn flush(&mut self) -> Result {
        Ok(())
    }
    fn discard(&mut self, sector: u64, count: u64) -> Result {
        let bytes = usize::try_from(count).ok().and_then(|n| n.checked_mul(SECTOR as usize));
        for (chunk, part, _) in chunks(range(self.sectors, sector, bytes.ok_or(Fault::Range)?)?) {
            self.chunks[chunk][part].fill(0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn memory_keeps_what_was_written() {
        let mut ram = Ram::new(200 << 10).unwrap();
        let bytes: Vec<u8> = (0..70_144u32).map(|i| i as u8).collect();
        ram.write(100, &bytes).unwrap();
        let mut out = vec![1; bytes.len() + 1024];
        ram.read(99, &mut out).unwrap();
        assert_eq!(&out[512..512 + bytes.len()], &bytes[..]);
        assert!(out[..512].iter().all(|b| *b == 0));
        ram.discard(100, 10).unwrap();
        ram.read(100, &mut out[..6144]).unwrap();
        assert!(out[..5120].iter().all(|b| *b == 0));
        assert_eq!(out[5120..6144], bytes[5120..6144]);
    }

    #[test]
    fn nothing_beyond_the_end() {
        let mut ram = Ram::new(1024).unwrap();
        assert_eq!(ram.write(1, &[0; 1024]), Err(Fault::Range));
        assert_eq!(ram.read(u64::MAX / 512 + 1, &mut [0; 512]), Err(Fault::Range));
        assert_eq!(ram.discard(0, u64::MAX), Err(Fault::Range));
        assert_eq!(ram.discard(2, 0), Ok(()));
    }
}
