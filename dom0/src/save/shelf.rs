//! A shelf: a disk of the machine on which saved domains are kept by name.
//!
//! The first two blocks of 4096 bytes are copies of the directory; the newer one that is sound counts, and a change is written to the other
//! one. So a change is there, or it is not, wherever the machine stops. Images lie behind, each in one piece.
//!
//! | in a directory | bytes |
//! |---|---|
//! | magic, with the version | 16 |
//! | checksum (CRC-32) of the block with this field zero | 4 |
//! | number of images | 4 |
//! | generation: the higher one counts | 8 |
//! | zeros | 32 |
//! | up to 63 images: name (32, then zeros), first block (8), bytes (8), checksum of them (4), zeros (12) | 64 each |
//!
//! A disk whose first two blocks are zero is blank, and becomes a shelf when it is asked to ([`Shelf::open`]); any other disk without a sound
//! directory is refused.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::{Result, Sink, Source};
use crate::block::storage::{SECTOR, Shared};

const MAGIC: &[u8; 16] = b"xen-lite shelf 1";
const BLOCK: usize = 4096;
const SECTORS: u64 = BLOCK as u64 / SECTOR;
const ENTRY: usize = 64;
const NAME: usize = 32;
/// Images of a shelf at most.
pub const IMAGES_MAX: usize = BLOCK / ENTRY - 1;
/// Blocks of the directory.
const FIRST: u64 = 2;
/// Bytes that are read or written at a time.
const BUFFER: usize = 16 * BLOCK;

/// An image's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    first: u64,
    checksum: u32,
}

impl Entry {
    fn blocks(&self) -> core::ops::Range<u64> {
        self.first..self.first + self.bytes.div_ceil(BLOCK as u64)
    }
}

/// A disk with images.
#[derive(Debug)]
pub struct Shelf<'a> {
    storage: Shared<'a>,
    entries: Vec<Entry>,
    generation: u64,
    /// The copy that counts, 0 or 1.
    current: u64,
}

/// Whether a name can be an image's.
pub fn check_name(name: &str) -> Result {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > NAME || !name.chars().all(legal) {
        return Err(format!("{name:?} is no name for an image; use letters, digits and -_., at most {NAME}"));
    }
    Ok(())
}

impl<'a> Shelf<'a> {
    /// Reads the directory. A blank disk is an empty shelf if `blank` says so; nothing is written yet.
    pub fn open(storage: Shared<'a>, blank: bool) -> Result<Self> {
        let blocks = storage.borrow().sectors() / SECTORS;
        if blocks <= FIRST {
            return Err("the disk is too small for images".to_string());
        }
        let mut copies = [vec![0; BLOCK], vec![0; BLOCK]];
        for (number, copy) in (0..).zip(&mut copies) {
            let read = storage.borrow_mut().read(number * SECTORS, copy);
            read.map_err(|fault| format!("the directory cannot be read: {fault:?}"))?;
        }
        let is_zero = |copy: &Vec<u8>| copy.iter().all(|byte| *byte == 0);
        if copies.iter().all(is_zero) {
            if !blank {
                return Err("the disk is blank".to_string());
            }
            return Ok(Self { storage, entries: Vec::new(), generation: 0, current: 1 });
        }
        let sound = (0..).zip(&copies).filter_map(|(number, copy)| Some((number, decode(copy, blocks)?)));
        let newest = sound.max_by_key(|(_, (generation, _))| *generation);
        let Some((current, (generation, entries))) = newest else {
            return Err("the disk holds something else, or a damaged directory of images".to_string());
        };
        Ok(Self { storage, entries, generation, current })
    }

    /// The images.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// An image by name.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// Begins to write an image into the largest free piece. Nothing is lost if it is never finished.
    pub fn create(&self, name: &str) -> Result<Filling<'a>> {
        check_name(name)?;
        if self.find(name).is_some() {
            return Err(format!("there is an image {name} already; forget it first"));
        }
        if self.entries.len() >= IMAGES_MAX {
            return Err(format!("the shelf has {IMAGES_MAX} images, and no room for more"));
        }
        let piece = self.largest_free();
        if !self.storage.borrow().is_writable() {
            return Err("the disk can only be read".to_string());
        }
        Ok(Filling {
            storage: self.storage.clone(),
            name: name.to_string(),
            piece,
            bytes: 0,
            checksum: crc32fast::Hasher::new(),
            buffer: Vec::new(),
        })
    }

    fn largest_free(&self) -> core::ops::Range<u64> {
        let mut used: Vec<_> = self.entries.iter().map(Entry::blocks).collect();
        used.sort_unstable_by_key(|range| range.start);
        let end = self.storage.borrow().sectors() / SECTORS;
        used.push(end..end);
        let (mut at, mut best) = (FIRST, 0..0);
        for range in used {
            if range.start.saturating_sub(at) > best.end - best.start {
                best = at..range.start;
            }
            at = at.max(range.end);
        }
        best
    }

    /// Writes what is left of an image, and then the directory with it.
    pub fn finish(&mut self, mut filling: Filling<'a>) -> Result<u64> {
        filling.flush(true)?;
        let entry = Entry {
            name: filling.name,
            bytes: filling.bytes,
            first: filling.piece.start,
            checksum: filling.checksum.finalize(),
        };
        let bytes = entry.bytes;
        let mut entries = self.entries.clone();
        entries.push(entry);
        self.commit(entries)?;
        Ok(bytes)
    }

    /// Removes an image.
    pub fn forget(&mut self, name: &str) -> Result {
        let mut entries = self.entries.clone();
        entries.retain(|entry| entry.name != name);
        if entries.len() == self.entries.len() {
            return Err(self.missing(name));
        }
        self.commit(entries)
    }

    fn missing(&self, name: &str) -> String {
        let names: Vec<&str> = self.entries.iter().map(|entry| entry.name.as_str()).collect();
        match names.as_slice() {
            [] => format!("there is no image {name}; the shelf is empty"),
            _ => format!("there is no image {name}; there are: {}", names.join(", ")),
        }
    }

    /// Makes the images durable, and then a directory that has these.
    fn commit(&mut self, entries: Vec<Entry>) -> Result {
        let (generation, other) = (self.generation + 1, 1 - self.current);
        let block = encode(generation, &entries);
        let mut storage = self.storage.borrow_mut();
        let written = storage.flush().and_then(|()| storage.write(other * SECTORS, &block));
        let written = written.and_then(|()| storage.flush());
        written.map_err(|fault| format!("the directory cannot be written: {fault:?}"))?;
        drop(storage);
        (self.entries, self.generation, self.current) = (entries, generation, other);
        Ok(())
    }

    /// Reads an image from its beginning.
    pub fn read(&self, name: &str) -> Result<Reading<'a>> {
        let entry = self.find(name).ok_or_else(|| self.missing(name))?;
        Ok(Reading {
            storage: self.storage.clone(),
            next: entry.first,
            left: entry.bytes,
            expected: entry.checksum,
            checksum: crc32fast::Hasher::new(),
            buffer: Vec::new(),
            at: 0,
        })
    }
}

fn encode(generation: u64, entries: &[Entry]) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    block[..16].copy_from_slice(MAGIC);
    block[20..24].copy_from_slice(&(entries.len() as u32).to_le_bytes());
    block[24..32].copy_from_slice(&generation.to_le_bytes());
    for (place, entry) in block.chunks_exact_mut(ENTRY).skip(1).zip(entries) {
        place[..entry.name.len()].copy_from_slice(entry.name.as_bytes());
        place[NAME..NAME + 8].copy_from_slice(&entry.first.to_le_bytes());
        place[NAME + 8..NAME + 16].copy_from_slice(&entry.bytes.to_le_bytes());
        place[NAME + 16..NAME + 20].copy_from_slice(&entry.checksum.to_le_bytes());
    }
    let checksum = crc32fast::hash(&block);
    block[16..20].copy_from_slice(&checksum.to_le_bytes());
    block
}

/// A directory's generation and images, if it is sound: its checksum, names, and that no image lies over another or beyond the end.
fn decode(block: &[u8], blocks: u64) -> Option<(u64, Vec<Entry>)> {
    let word = |at: usize| block[at..at + 4].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let long = |at: usize| block[at..at + 8].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let mut copy = block.to_vec();
    copy[16..20].fill(0);
    if &block[..16] != MAGIC || crc32fast::hash(&copy) != word(16) {
        return None;
    }
    let count = word(20) as usize;
    if count > IMAGES_MAX {
        return None;
    }
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    for number in 1..=count {
        let at = number * ENTRY;
        let name = block[at..at + NAME].split(|byte| *byte == 0).next()?;
        let name = core::str::from_utf8(name).ok().filter(|name| check_name(name).is_ok())?;
        let entry = Entry {
            name: name.to_string(),
            first: long(at + NAME),
            bytes: long(at + NAME + 8),
            checksum: word(at + NAME + 16),
        };
        let end = entry.first.checked_add(entry.bytes.div_ceil(BLOCK as u64))?;
        let apart = |other: &Entry| other.blocks().end <= entry.first || end <= other.first;
        let fresh = entries.iter().all(|other| other.name != entry.name && apart(other));
        if entry.first < FIRST || end > blocks || !fresh {
            return None;
        }
        entries.push(entry);
    }
    Some((long(24), entries))
}

/// An image that is being written.
#[derive(Debug)]
pub struct Filling<'a> {
    storage: Shared<'a>,
    name: String,
    piece: core::ops::Range<u64>,
    bytes: u64,
    checksum: crc32fast::Hasher,
    /// What was not written yet, from a block's border on.
    buffer: Vec<u8>,
}

impl Filling<'_> {
    /// Writes whole blocks, or everything with zeros up to a block's border.
    fn flush(&mut self, all: bool) -> Result {
        let used = self.buffer.len();
        let len = if all { used.next_multiple_of(BLOCK) } else { used - used % BLOCK };
        self.buffer.resize(used.max(len), 0);
        let first = self.piece.start + (self.bytes - used as u64) / BLOCK as u64;
        let end = first + (len / BLOCK) as u64;
        if end > self.piece.end {
            let room = ((self.piece.end - self.piece.start) * BLOCK as u64) >> 20;
            return Err(format!("the disk is full: its largest free piece has {room} MiB"));
        }
        let mut storage = self.storage.borrow_mut();
        let written = storage.write(first * SECTORS, &self.buffer[..len]);
        written.map_err(|fault| format!("the disk cannot be written: {fault:?}"))?;
        self.buffer.drain(..len);
        Ok(())
    }
}

impl Sink for Filling<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result {
        self.checksum.update(bytes);
        self.bytes += bytes.len() as u64;
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER { self.flush(false) } else { Ok(()) }
    }
}

/// An image that is being read.
#[derive(Debug)]
pub struct Reading<'a> {
    storage: Shared<'a>,
    next: u64,
    left: u64,
    expected: u32,
    checksum: crc32fast::Hasher,
    buffer: Vec<u8>,
    at: usize,
}

impl Reading<'_> {
    fn refill(&mut self) -> Result {
        if self.left == 0 {
            return Err("the image ends in the midst of something".to_string());
        }
        let used = self.left.min(BUFFER as u64) as usize;
        self.buffer.resize(used.next_multiple_of(BLOCK), 0);
        let read = self.storage.borrow_mut().read(self.next * SECTORS, &mut self.buffer);
        read.map_err(|fault| format!("the disk cannot be read: {fault:?}"))?;
        self.next += (self.buffer.len() / BLOCK) as u64;
        self.buffer.truncate(used);
        self.checksum.update(&self.buffer);
        self.left -= used as u64;
        self.at = 0;
        Ok(())
    }

    /// After the last byte: whether the image is what was written.
    pub fn finish(mut self) -> Result {
        let mut behind = (self.buffer.len() - self.at) as u64;
        while self.left > 0 {
            self.refill()?;
            behind += self.buffer.len() as u64;
        }
        if self.checksum.finalize() != self.expected {
            return Err("the image is damaged: its checksum is wrong".to_string());
        }
        if behind > 0 {
            return Err(format!("{behind} bytes follow the image's end"));
        }
        Ok(())
    }
}

impl Source for Reading<'_> {
    fn take(&mut self, into: &mut [u8]) -> Result {
        let mut done = 0;
        while done < into.len() {
            if self.at == self.buffer.len() {
                self.refill()?;
            }
            let now = (into.len() - done).min(self.buffer.len() - self.at);
            into[done..done + now].copy_from_slice(&self.buffer[self.at..self.at + now]);
            (self.at, done) = (self.at + now, done + now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::storage::{Ram, share};

    fn disk() -> Shared<'static> {
        share(Ram::new(1 << 20).unwrap())
    }

    fn save(shelf: &mut Shelf<'static>, name: &str, contents: &[u8]) -> Result<u64> {
        let mut filling = shelf.create(name)?;
        for piece in contents.chunks(1000) {
            filling.put(piece)?;
        }
        shelf.finish(filling)
    }

    fn load(shelf: &Shelf<'static>, name: &str) -> Result<Vec<u8>> {
        let mut reading = shelf.read(name)?;
        let mut bytes = vec![0; shelf.find(name).unwrap().bytes as usize];
        for piece in bytes.chunks_mut(777) {
            reading.take(piece)?;
        }
        reading.finish()?;
        Ok(bytes)
    }

    #[test]
    fn images_come_back_and_go() {
        let disk = disk();
        assert_eq!(Shelf::open(disk.clone(), false).unwrap_err(), "the disk is blank");
        let mut shelf = Shelf::open(disk.clone(), true).unwrap();
        let (a, b) = (vec![1; 100_001], vec![2; 4096]);
        save(&mut shelf, "a", &a).unwrap();
        save(&mut shelf, "b", &b).unwrap();
        save(&mut shelf, "empty", &[]).unwrap();
        let mut shelf = Shelf::open(disk.clone(), false).unwrap();
        assert_eq!((load(&shelf, "a").unwrap(), load(&shelf, "b").unwrap()), (a.clone(), b));
        assert_eq!(load(&shelf, "empty").unwrap(), b"");
        shelf.forget("b").unwrap();
        let shelf = Shelf::open(disk, false).unwrap();
        assert_eq!(load(&shelf, "a").unwrap(), a);
        let missing = shelf.read("b").unwrap_err();
        assert_eq!(missing, "there is no image b; there are: a, empty");
    }

    #[test]
    fn a_full_disk_keeps_what_it_has() {
        let mut shelf = Shelf::open(disk(), true).unwrap();
        save(&mut shelf, "a", &[7; 500_000]).unwrap();
        assert!(save(&mut shelf, "b", &[8; 600_000]).unwrap_err().contains("largest free piece"));
        assert!(save(&mut shelf, "a", &[8; 6]).unwrap_err().contains("already"));
        assert_eq!(load(&shelf, "a").unwrap(), vec![7; 500_000]);
        shelf.forget("a").unwrap();
        save(&mut shelf, "b", &[8; 600_000]).unwrap();
    }

    #[test]
    fn a_damaged_directory_falls_back_to_the_other_one() {
        let disk = disk();
        let mut shelf = Shelf::open(disk.clone(), true).unwrap();
        save(&mut shelf, "a", b"1").unwrap();
        save(&mut shelf, "b", b"2").unwrap();
        let current = shelf.current;
        disk.borrow_mut().write(current * SECTORS, &[9; 512]).unwrap();
        let shelf = Shelf::open(disk.clone(), true).unwrap();
        assert_eq!(shelf.entries().len(), 1);
        disk.borrow_mut().write(shelf.current * SECTORS, &[9; 512]).unwrap();
        assert!(Shelf::open(disk, true).unwrap_err().contains("something else"));
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let disk = disk();
        let mut shelf = Shelf::open(disk.clone(), true).unwrap();
        save(&mut shelf, "a", &[3; 10_000]).unwrap();
        disk.borrow_mut().write(FIRST * SECTORS + 3, &[4; 512]).unwrap();
        assert!(load(&shelf, "a").unwrap_err().contains("checksum"));
    }

    proptest::proptest! {
        #[test]
        fn no_directory_panics(changes in proptest::collection::vec((0usize..BLOCK, 0u8..), 0..8), sign: bool) {
            let entry = |n: u64| Entry { name: format!("n{n}"), first: 2 + n, bytes: 4096, checksum: 0 };
            let mut block = encode(5, &[entry(0), entry(1)]);
            for (at, value) in changes {
                block[at] = value;
            }
            if sign {
                block[16..20].fill(0);
                let checksum = crc32fast::hash(&block);
                block[16..20].copy_from_slice(&checksum.to_le_bytes());
            }
            if let Some((_, entries)) = decode(&block, 256) {
                for entry in entries {
                    assert!(entry.blocks().start >= FIRST && entry.blocks().end <= 256);
                }
            }
        }
    }
}
