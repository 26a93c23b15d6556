//! Images: files that are only read, and memory over what is only read.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::storage::{CHUNK, Fault, Result, SECTOR, Shared, Storage, chunks, memory, range};

/// A file of Dom0's archive. Behind its last byte come zeros, up to a whole sector.
pub struct File<'a> {
    data: &'a [u8],
}

impl core::fmt::Debug for File<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "File({} bytes)", self.data.len())
    }
}

impl<'a> File<'a> {
    /// A disk with the file's bytes.
    pub fn new(data: &'a [u8]) -> Self {
        Self { data }
    }
}

impl Storage for File<'_> {
    fn sectors(&self) -> u64 {
        (self.data.len() as u64).div_ceil(SECTOR)
    }
    fn is_writable(&self) -> bool {
        false
    }
    fn read(&mut self, sector: u64, into: &mut [u8]) -> Result {
        let start = range(self.sectors(), sector, into.len())?.start as usize;
        let there = &self.data[start.min(self.data.len())..];
        let count = there.len().min(into.len());
        into[..count].copy_from_slice(&there[..count]);
        into[count..].fill(0);
        Ok(())
    }
    fn write(&mut self, _: u64, _: &[u8]) -> Result {
        Err(Fault::ReadOnly)
    }
    fn flush(&mut self) -> Result {
        Ok(())
    }
}

/// What was written, in memory, over a storage that is never written. Memory is taken when a piece is written for the first time;
/// when there is none left, the write fails.
pub struct Overlay<'a> {
    below: Shared<'a>,
    sectors: u64,
    written: BTreeMap<usize, Vec<u8>>,
}

impl core::fmt::Debug for Overlay<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Overlay({} pieces over {:?})", self.written.len(), self.below)
    }
}

impl<'a> Overlay<'a> {
    /// Nothing written yet.
    pub fn new(below: Shared<'a>) -> Self {
        let sectors = below.borrow().sectors();
        Self { below, sectors, written: BTreeMap::new() }
    }

    /// The piece with this number, as it is now, to be changed.
    fn piece(&mut self, number: usize) -> Result<&mut Vec<u8>> {
        if !self.written.contains_key(&number) {
            let first = number as u64 * (CHUNK as u64 / SECTOR);
            let there = ((self.sectors - first) * SECTOR).min(CHUNK as u64) as usize;
            let mut piece = memory(CHUNK).ok_or(Fault::NoMemory)?;
            self.below.borrow_mut().read(first, &mut piece[..there])?;
            self.written.insert(number, piece);
        }
        self.written.get_mut(&number).ok_or(Fault::NoMemory)
    }
}

impl Storage for Overlay<'_> {
    fn sectors(&self) -> u64 {
        self.sectors
    }
    fn physical(&self) -> u32 {
        self.below.borrow().physical()
    }
    fn read(&mut self, sector: u64, into: &mut [u8]) -> Result {
        for (number, part, place) in chunks(range(self.sectors, sector, into.len())?) {
            match self.written.get(&number) {
                Some(piece) => into[place].copy_from_slice(&piece[part]),
                None => {
                    let from = sector + place.start as u64 / SECTOR;
                    self.below.borrow_mut().read(from, &mut into[place])?;
                }
            }
        }
        Ok(())
    }
    fn write(&mut self, sector: u64, from: &[u8]) -> Result {
        for (number, part, place) in chunks(range(self.sectors, sector, from.len())?) {
            self.piece(number)?[part].copy_from_slice(&from[place]);
        }
        Ok(())
    }
    fn flush(&mut self) -> Result {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::storage::share;
    use super::*;
    use alloc::vec;

    #[test]
    fn what_is_below_stays_as_it_was() {
        let data: Vec<u8> = (0..200_100u32).map(|i| (i / 3) as u8).collect();
        let file = share(File::new(&data));
        let mut overlay = Overlay::new(file.clone());
        assert_eq!(overlay.sectors(), 391);
        let mut model = data.clone();
        model.resize(391 * 512, 0);
        // Across two pieces, and the last one, which is shorter.
        for (sector, count) in [(120, 20), (389, 2), (0, 1)] {
            let bytes = vec![sector as u8 ^ 0x55; count * 512];
            overlay.write(sector, &bytes).unwrap();
            model[sector as usize * 512..][..bytes.len()].copy_from_slice(&bytes);
        }
        let mut all = vec![0; model.len()];
        overlay.read(0, &mut all).unwrap();
        assert_eq!(all, model);
        file.borrow_mut().read(0, &mut all).unwrap();
        assert_eq!(all[..data.len()], data);
        assert_eq!(file.borrow_mut().write(0, &[0; 512]), Err(Fault::ReadOnly));
        assert_eq!(overlay.write(390, &[0; 1024]), Err(Fault::Range));
    }
}
