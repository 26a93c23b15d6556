//! Images in QEMU's copy-on-write format, versions 2 and 3, read.
//!
//! The disk is cut into clusters. A table of two levels says where each cluster is in the file: nowhere (zeros), as it is, or
//! compressed with deflate. Numbers are big-endian. Layout: QEMU's `docs/interop/qcow2.txt`.
//!
//! Not taken, with an error that says so: backing files, encryption, external data files, compression other than deflate, subclusters. What
//! the file claims is checked: a table or a cluster outside it is [`Fault::Device`], never a wrong read.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::storage::{Fault, Result, SECTOR, Shared, Storage, range};

const MAGIC: u32 = 0x5146_49fb;
/// Bits of a table entry that are an offset in the file.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
/// In version 3, the cluster reads as zeros.
const ZERO: u64 = 1;
/// The image was not closed in order; that concerns reference counts only.
const DIRTY: u64 = 1;
/// Bytes of the longest level-1 table that is taken: for 16 TiB with clusters of 64 KiB.
const L1_MAX: u32 = 256 << 10;

/// An image.
pub struct Qcow2<'a> {
    below: Shared<'a>,
    size: u64,
    cluster_bits: u32,
    version: u32,
    level1: Vec<u64>,
    /// The level-2 table used last, and where it is.
    level2: (u64, Vec<u8>),
    /// The compressed cluster used last, and its entry.
    unpacked: (u64, Vec<u8>),
}

impl core::fmt::Debug for Qcow2<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Qcow2({} bytes over {:?})", self.size, self.below)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    (0..4).fold(0, |n, i| n << 8 | u32::from(bytes.get(at + i).copied().unwrap_or(0)))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) << 32 | u64::from(u32_at(bytes, at + 4))
}

/// Reads bytes that need not be whole sectors.
fn bytes_at(below: &Shared<'_>, at: u64, len: usize) -> Result<Vec<u8>> {
    let lead = (at % SECTOR) as usize;
    let whole = (lead + len).next_multiple_of(SECTOR as usize);
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(whole).map_err(|_| Fault::NoMemory)?;
    bytes.resize(whole, 0);
    below.borrow_mut().read(at / SECTOR, &mut bytes).map_err(|_| Fault::Device)?;
    bytes.drain(..lead);
    bytes.truncate(len);
    Ok(bytes)
}

impl<'a> Qcow2<'a> {
    /// Opens an image; the error says what is wrong with it.
    pub fn open(below: Shared<'a>) -> core::result::Result<Self, String> {
        let damaged = |what: &str| format!("damaged qcow2 image: {what}");
        let header = bytes_at(&below, 0, 512).map_err(|_| damaged("shorter than a header"))?;
        let (magic, version) = (u32_at(&header, 0), u32_at(&header, 4));
        if magic != MAGIC {
            return Err(format!("not a qcow2 image: it begins with {magic:#010x}"));
        }
        if !(2..=3).contains(&version) {
            return Err(format!("qcow2 version {version}; 2 and 3 can be read"));
        }
        let incompatible = if version == 3 { u64_at(&header, 72) & !DIRTY } else { 0 };
        if incompatible != 0 {
            return Err(format!("qcow2 image with incompatible features {incompatible:#x}"));
        }
        if u64_at(&header, 8) != 0 {
            return Err("qcow2 image with a backing file; flatten it with qemu-img convert".into());
        }
        if u32_at(&header, 32) != 0 {
            return Err("encrypted qcow2 image".into());
        }
        let (cluster_bits, size) = (u32_at(&header, 20), u64_at(&header, 24));
        if !(9..=21).contains(&cluster_bits) {
            return Err(damaged(&format!("clusters of 2^{cluster_bits} bytes")));
        }
        let count = u32_at(&header, 36);
        let needed = size.div_ceil(1 << (2 * cluster_bits - 3));
        if count > L1_MAX / 8 || u64::from(count) < needed {
            return Err(damaged(&format!("a table of {count} entries for {size} bytes")));
        }
        let table = bytes_at(&below, u64_at(&header, 40), count as usize * 8);
        let table = table.map_err(|_| damaged("its first table lies outside"))?;
        let level1 = table.chunks_exact(8).map(|entry| u64_at(entry, 0)).collect();
        let nothing = || (u64::MAX, Vec::new());
        Ok(Self { below, size, cluster_bits, version, level1, level2: nothing(), unpacked: nothing() })
    }

    fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// The level-2 entry of the cluster at an offset of the disk; 0 if there is none.
    fn entry(&mut self, at: u64) -> Result<u64> {
        let number = at >> self.cluster_bits;
        let per_table = self.cluster() / 8;
        let table = self.level1.get((number / per_table) as usize).ok_or(Fault::Device)? & OFFSET;
        if table == 0 {
            return Ok(0);
        }
        if self.level2.0 != table {
            self.level2 = (table, bytes_at(&self.below, table, self.cluster() as usize)?);
        }
        Ok(u64_at(&self.level2.1, (number % per_table) as usize * 8))
    }

    /// Reads bytes of one cluster.
    fn within(&mut self, at: u64, into: &mut [u8]) -> Result {
        let entry = self.entry(at)?;
        let inside = at % self.cluster();
        if entry & COMPRESSED != 0 {
            self.unpack(entry)?;
            let from = inside as usize;
            let bytes = self.unpacked.1.get(from..from + into.len()).ok_or(Fault::Device)?;
            into.copy_from_slice(bytes);
            return Ok(());
        }
        let offset = entry & OFFSET;
        if offset == 0 || (self.version == 3 && entry & ZERO != 0) {
            into.fill(0);
            return Ok(());
        }
        let sector = (offset + inside) / SECTOR;
        self.below.borrow_mut().read(sector, into).map_err(|_| Fault::Device)
    }

    fn unpack(&mut self, entry: u64) -> Result {
        if self.unpacked.0 == entry {
            return Ok(());
        }
        let split = 62 - (self.cluster_bits - 8);
        let offset = entry & ((1 << split) - 1);
        let sectors = (entry >> split & ((1 << (self.cluster_bits - 8)) - 1)) + 1;
        let end = offset / SECTOR * SECTOR + sectors * SECTOR;
        // The last sector may be cut off by the end of the file.
        let end = end.min(self.below.borrow().sectors() * SECTOR);
        let packed = bytes_at(&self.below, offset, end.checked_sub(offset).ok_or(Fault::Device)? as usize)?;
        let mut out = Vec::new();
        out.try_reserve_exact(self.cluster() as usize).map_err(|_| Fault::NoMemory)?;
        out.resize(self.cluster() as usize, 0);
        miniz_oxide::inflate::decompress_slice_iter_to_slice(
            &mut out,
            core::iter::once(packed.as_slice()),
            false,
            false,
        )
        .map_err(|_| Fault::Device)
        .and_then(|count| if count == out.len() { Ok(()) } else { Err(Fault::Device) })?;
        self.unpacked = (entry, out);
        Ok(())
    }
}

impl Storage for Qcow2<'_> {
    fn sectors(&self) -> u64 {
        self.size / SECTOR
    }
    fn is_writable(&self) -> bool {
        false
    }
    fn read(&mut self, sector: u64, into: &mut [u8]) -> Result {
        let mut at = range(self.sectors(), sector, into.len())?.start;
        let mut rest = into;
        while !rest.is_empty() {
            let here = (self.cluster() - at % self.cluster()).min(rest.len() as u64) as usize;
            let (part, after) = rest.split_at_mut(here);
            self.within(at, part)?;
            rest = after;
            at += here as u64;
        }
        Ok(())
    }
    fn write(&mut self, _: u64, _: &[u8]) -> Result {
        Err(Fault::ReadOnly)
    }
    fn flush(&mut self) -> Result {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::overlay::File;
    use super::super::storage::share;
    use super::*;
    use alloc::vec;

    const CLUSTER: usize = 4096;

    /// An image of five clusters: zeros (no entry), as it is, compressed, zeros (flag), beyond the file.
    fn image() -> (Vec<u8>, Vec<u8>) {
        let mut file = vec![0u8; 6 * CLUSTER];
        let mut disk = vec![0u8; 5 * CLUSTER];
        let put32 = |file: &mut [u8], at: usize, n: u32| file[at..at + 4].copy_from_slice(&n.to_be_bytes());
        let put64 = |file: &mut [u8], at: usize, n: u64| file[at..at + 8].copy_from_slice(&n.to_be_bytes());
        put32(&mut file, 0, MAGIC);
        put32(&mut file, 4, 3);
        put32(&mut file, 20, 12);
        put64(&mut file, 24, disk.len() as u64);
        put32(&mut file, 36, 1);
        put64(&mut file, 40, CLUSTER as u64);
        put64(&mut file, CLUSTER, (2 * CLUSTER as u64) | (1 << 63));
        let plain: Vec<u8> = (0..CLUSTER).map(|i| ((i * 31) >> 3) as u8).collect();
        file[3 * CLUSTER..4 * CLUSTER].copy_from_slice(&plain);
        disk[CLUSTER..2 * CLUSTER].copy_from_slice(&plain);
        let text: Vec<u8> =
            b"a cluster of text, again and again; ".iter().copied().cycle().take(CLUSTER).collect();
        disk[2 * CLUSTER..3 * CLUSTER].copy_from_slice(&text);
        let packed = miniz_oxide::deflate::compress_to_vec(&text, 6);
        // Not at the start of a sector.
        let at = 4 * CLUSTER + 100;
        file[at..at + packed.len()].copy_from_slice(&packed);
        let sectors = (100 + packed.len()).div_ceil(512) as u64 - 1;
        let entries = [
            0,
            (3 * CLUSTER as u64) | (1 << 63),
            COMPRESSED | sectors << (62 - 4) | at as u64,
            (5 * CLUSTER as u64) | ZERO,
            99 * CLUSTER as u64,
        ];
        for (i, entry) in entries.into_iter().enumerate() {
            put64(&mut file, 2 * CLUSTER + 8 * i, entry);
        }
        file[5 * CLUSTER..].fill(0xee);
        (file, disk)
    }

    #[test]
    fn clusters_of_every_kind() {
        let (file, disk) = image();
        let mut image = Qcow2::open(share(File::new(&file))).unwrap();
        assert_eq!(image.sectors(), 40);
        let mut out = vec![1; 4 * CLUSTER];
        image.read(0, &mut out).unwrap();
        assert!(out == disk[..4 * CLUSTER]);
        image.read(7, &mut out[..2 * CLUSTER]).unwrap();
        assert!(out[..2 * CLUSTER] == disk[7 * 512..][..2 * CLUSTER]);
        assert_eq!(image.read(32, &mut out[..512]), Err(Fault::Device));
        assert_eq!(image.read(40, &mut out[..512]), Err(Fault::Range));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let error = |change: &dyn Fn(&mut Vec<u8>)| {
            let (mut file, _) = image();
            change(&mut file);
            Qcow2::open(share(File::new(&file))).unwrap_err()
        };
        assert!(error(&|file| file[0] = 0).contains("not a qcow2"));
        assert!(error(&|file| file[7] = 4).contains("version 4"));
        assert!(error(&|file| file[15] = 8).contains("backing file"));
        assert!(error(&|file| file[35] = 1).contains("encrypted"));
        assert!(error(&|file| file[79] = 4).contains("0x4"));
        assert!(error(&|file| file[23] = 40).contains("2^40"));
        assert!(error(&|file| file[24] = 1).contains("1 entries"));
        assert!(error(&|file| file[40] = 1).contains("first table"));
    }

    proptest::proptest! {
        #[test]
        fn no_image_panics(changes in proptest::collection::vec((0usize..3 * CLUSTER, proptest::num::u8::ANY), 1..8)) {
            let (mut file, _) = image();
            for (at, byte) in changes {
                // Mostly where the numbers are.
                let at = if at < 2 * CLUSTER { at % 80 } else { at % 48 + 2 * CLUSTER };
                file[at] = byte;
            }
            if let Ok(mut image) = Qcow2::open(share(File::new(&file))) {
                let mut out = vec![0; 8 * 512];
                for sector in 0..40 {
                    let _ = image.read(sector, &mut out);
                }
            }
        }
    }
}
