//! Keys and values on a disk: a write-ahead log. What was acknowledged is there after a power cut at any moment.
//!
//! # Layout
//! The disk is two halves. The first sector of a half is its header, with a generation; the half with the higher generation counts. After
//! the header come records, each beginning at a sector:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | checksum of the rest of the record, continued from the record before it |
//! | 2 | length of the key |
//! | 2 | length of the value, or [`REMOVED`] |
//! | … | key, value, zeros up to the sector's end |
//!
//! # Why nothing is lost
//! [`Journal::set`] returns after its record was flushed, so a power cut finds all acknowledged records whole. At the start records are read
//! until one's checksum is wrong: that one was being written, and nobody was told that it is there. Its place is written next. Since each checksum
//! continues the one before, a record of an earlier life that happens to follow is not taken for one of this life.
//!
//! When a half is full, the pairs that still count are written into the other one, flushed, and then its header with the next generation
//! is written, which is one sector, and so there or not. Until then the old half counts.

use alloc::{collections::BTreeMap, vec, vec::Vec};

/// Bytes of a sector.
pub const SECTOR: usize = 512;
/// Longest key.
pub const KEY_MAX: usize = 255;
/// Longest value.
pub const VALUE_MAX: usize = 2048;
/// Instead of a value's length: the key is removed.
const REMOVED: u16 = u16::MAX;
/// Bytes of a record before the key.
const FRONT: usize = 8;
/// Begins a header.
const MAGIC: &[u8; 8] = b"keyvalue";

/// Where the sectors are: a disk, or a test's memory.
#[allow(async_fn_in_trait, reason = "its users are tasks of one program, which know the type")]
pub trait Sectors {
    /// Why an access failed.
    type Error;
    /// How many there are.
    fn count(&self) -> u64;
    /// Reads whole sectors.
    async fn read(&self, sector: u64, into: &mut [u8]) -> Result<(), Self::Error>;
    /// Writes whole sectors.
    async fn write(&self, sector: u64, from: &[u8]) -> Result<(), Self::Error>;
    /// Returns when all that was written is durable.
    async fn flush(&self) -> Result<(), Self::Error>;
}

impl Sectors for domu_sdk::block::Disk {
    type Error = domu_sdk::block::Error;
    fn count(&self) -> u64 {
        self.info().sectors
    }
    async fn read(&self, sector: u64, into: &mut [u8]) -> Result<(), Self::Error> {
        self.read(sector, into).await
    }
    async fn write(&self, sector: u64, from: &[u8]) -> Result<(), Self::Error> {
        self.write(sector, from).await
    }
    async fn flush(&self) -> Result<(), Self::Error> {
        self.flush().await
    }
}

/// A change was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal<E> {
    /// The key is empty or longer than [`KEY_MAX`], or the value longer than [`VALUE_MAX`].
    Length,
    /// There is no room for it.
    Full,
    /// The disk failed. Whether the change is there shows at the next start; until then there are no more changes.
    Disk(E),
    /// The disk failed before.
    Failed,
}

/// All pairs, in memory and on a disk.
#[derive(Debug)]
pub struct Journal<D> {
    disk: D,
    pairs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Sectors of a half.
    half: u64,
    generation: u64,
    /// Where the next record goes, in its half.
    next: u64,
    /// The checksum that it continues.
    chain: u32,
    /// Sectors that the pairs take.
    live: u64,
    failed: bool,
}

impl<D: Sectors> Journal<D> {
    /// Finds what is on a disk. One without a header becomes an empty journal.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn open(disk: D) -> Result<Self, D::Error> {
        let half = disk.count() / 2;
        let mut journal = Self {
            disk,
            pairs: BTreeMap::new(),
            half,
            generation: 0,
            next: 1,
            chain: 0,
            live: 0,
            failed: false,
        };
        let mut sector = [0; SECTOR];
        for start in [0, half] {
            journal.disk.read(start, &mut sector).await?;
            let generation = generation_of(&sector);
            // A generation has its half: even ones the first, odd ones the second.
            if generation.is_some_and(|number| (number % 2 == 0) == (start == 0)) {
                journal.generation = journal.generation.max(generation.unwrap_or(0));
            }
        }
        if journal.generation == 0 {
            journal.compact().await?;
        } else {
            journal.replay().await?;
        }
        Ok(journal)
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.pairs.get(key).map(Vec::as_slice)
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// How often the pairs moved to the other half; at least 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Sets a key, durably. Its future must not be dropped before it is done.
    ///
    /// # Errors
    /// See [`Refusal`]; then nothing was changed, except after a failure of the disk.
    pub async fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refusal<D::Error>> {
        if value.len() > VALUE_MAX {
            return Err(Refusal::Length);
        }
        self.change(key, Some(value)).await
    }

    /// Removes a key, durably; whether it was there. Its future must not be dropped before it is done.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn remove(&mut self, key: &[u8]) -> Result<bool, Refusal<D::Error>> {
        if !self.pairs.contains_key(key) {
            return Ok(false);
        }
        self.change(key, None).await.map(|()| true)
    }

    async fn change(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Refusal<D::Error>> {
        if key.is_empty() || key.len() > KEY_MAX {
            return Err(Refusal::Length);
        }
        if self.failed {
            return Err(Refusal::Failed);
        }
        // A half is never more than half full of what counts, so moving to the other one makes room for long.
        let more = value.map_or(0, |value| sectors_of(key, value));
        if value.is_some() && self.live + more > self.half / 2 {
            return Err(Refusal::Full);
        }
        self.failed = true;
        if self.next + more.max(1) > self.half {
            self.compact().await.map_err(Refusal::Disk)?;
        }
        self.append(key, value).await.map_err(Refusal::Disk)?;
        self.disk.flush().await.map_err(Refusal::Disk)?;
        self.failed = false;
        self.apply(key, value);
        Ok(())
    }

    fn apply(&mut self, key: &[u8], value: Option<&[u8]>) {
        let before = match value {
            Some(value) => self.pairs.insert(key.to_vec(), value.to_vec()),
            None => self.pairs.remove(key),
        };
        self.live += value.map_or(0, |value| sectors_of(key, value));
        self.live -= before.map_or(0, |value| sectors_of(key, &value));
    }

    /// First sector of the half that counts.
    fn start(&self) -> u64 {
        self.half * (self.generation % 2)
    }

    async fn append(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), D::Error> {
        let bytes = record(self.chain, key, value);
        self.disk.write(self.start() + self.next, &bytes).await?;
        self.chain = checksum_in(&bytes);
        self.next += (bytes.len() / SECTOR) as u64;
        Ok(())
    }

    /// Writes the pairs into the other half, and makes it the one that counts.
    async fn compact(&mut self) -> Result<(), D::Error> {
        self.generation += 1;
        self.next = 1;
        self.chain = seed(self.generation);
        let pairs = core::mem::take(&mut self.pairs);
        for (key, value) in &pairs {
            self.append(key, Some(value)).await?;
        }
        self.pairs = pairs;
        self.disk.flush().await?;
        self.disk.write(self.start(), &header(self.generation)).await?;
        self.disk.flush().await
    }

    /// Reads the records of the half that counts.
    async fn replay(&mut self) -> Result<(), D::Error> {
        self.chain = seed(self.generation);
        while self.next < self.half {
            let mut bytes = vec![0; SECTOR];
            self.disk.read(self.start() + self.next, &mut bytes).await?;
            let sectors = sectors_said(&bytes);
            if self.next + sectors > self.half {
                break;
            }
            bytes.resize(sectors as usize * SECTOR, 0);
            self.disk.read(self.start() + self.next, &mut bytes).await?;
            let Some((key, value)) = parse(self.chain, &bytes) else { break };
            self.apply(key, value);
            self.chain = checksum_in(&bytes);
            self.next += sectors;
        }
        Ok(())
    }
}

fn checksum(start: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(start);
    hasher.update(bytes);
    hasher.finalize()
}

/// What the first record of a generation continues.
fn seed(generation: u64) -> u32 {
    checksum(0, &generation.to_le_bytes())
}

fn header(generation: u64) -> [u8; SECTOR] {
    let mut sector = [0; SECTOR];
    sector[..8].copy_from_slice(MAGIC);
    sector[8..16].copy_from_slice(&generation.to_le_bytes());
    sector[16..20].copy_from_slice(&seed(generation).to_le_bytes());
    sector
}

fn generation_of(sector: &[u8; SECTOR]) -> Option<u64> {
    let number = u64::from_le_bytes(core::array::from_fn(|i| sector[8 + i]));
    (*sector == header(number)).then_some(number)
}

fn sectors_of(key: &[u8], value: &[u8]) -> u64 {
    (FRONT + key.len() + value.len()).div_ceil(SECTOR) as u64
}

/// Lengths of key and value, which may be anything.
fn lengths(bytes: &[u8]) -> (usize, Option<usize>) {
    let number = |at| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let value = Some(number(6)).filter(|len| *len != REMOVED).map(usize::from);
    (number(4).into(), value)
}

/// Sectors of a record, by what its first one says; 1 if that makes no sense.
fn sectors_said(bytes: &[u8]) -> u64 {
    match lengths(bytes) {
        (key, value) if key > KEY_MAX || value.is_some_and(|len| len > VALUE_MAX) => 1,
        (key, value) => (FRONT + key + value.unwrap_or(0)).div_ceil(SECTOR) as u64,
    }
}

fn record(chain: u32, key: &[u8], value: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend((key.len() as u16).to_le_bytes());
    bytes.extend(value.map_or(REMOVED, |value| value.len() as u16).to_le_bytes());
    bytes.extend(key);
    bytes.extend(value.unwrap_or(&[]));
    bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
    let sum = checksum(chain, &bytes[4..]);
    bytes[..4].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn checksum_in(record: &[u8]) -> u32 {
    u32::from_le_bytes(core::array::from_fn(|i| record[i]))
}

/// Key and value of a record; `None` if it is none that continues `chain`.
fn parse(chain: u32, bytes: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    if checksum(chain, &bytes[4..]) != checksum_in(bytes) {
        return None;
    }
    let (key, value) = lengths(bytes);
    let rest = bytes.get(FRONT..)?;
    let found = rest.get(..key).filter(|key| !key.is_empty())?;
    match value {
        None => Some((found, None)),
        Some(len) => Some((found, Some(rest.get(key..key + len)?))),
    }
}

#[cfg(test)]
mod tests;
