//! Address spaces beside the kernel's own: page tables as a value.
//!
//! An [`AddressSpace`] owns its page tables and every page it maps; dropping it gives all of them back. The hypervisor validates each
//! entry, so a table is made in a fixed order: a frame is emptied, made read-only wherever it is mapped, and becomes a table when an
//! entry above names it. The top-level table is pinned, which makes it one without an entry above.
//!
//! Entries are collected and written in batches, one hypercall for as many as fit. What takes rights away is followed by one flush of
//! all TLBs, at the end.
//!
//! A page is readable, and at most one of writable and executable: [`Protection`] has no word for both.
//!
//! # Invariants
//! - S-1: every frame that an entry names is owned by the space: `tables` or `pages`. No entry outlives what it names.
//! - S-2: all addresses are below [`USER_END`]; the hypervisor's part of the top-level table is its own.
//! - S-3: `pages` says what is mapped; the tables agree at the end of every method that returns `Ok`.

use super::{
    PAGE_SIZE, SharedPages, free_table,
    layout::{Entry, pte, table_index},
    take_table,
};
use crate::arch;
use abi::errno::Errno;
use alloc::{collections::BTreeMap, vec::Vec};
use core::{fmt, ops::Range};

/// First address that no address space has: the end of the lower half.
pub const USER_END: u64 = 0x0000_8000_0000_0000;

/// What code may do with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Read it.
    Read,
    /// Read and write it.
    ReadWrite,
    /// Read and execute it.
    ReadExecute,
}

impl Protection {
    const fn flags(self) -> u64 {
        match self {
            Self::Read => pte::READ_ONLY,
            Self::ReadWrite => pte::READ_WRITE,
            Self::ReadExecute => pte::READ_ONLY & !pte::NO_EXECUTE,
        }
    }

    /// Whether everything that `other` allows is allowed.
    const fn includes(self, other: Self) -> bool {
        matches!(
            (self, other),
            (_, Self::Read) | (Self::ReadWrite, Self::ReadWrite) | (Self::ReadExecute, Self::ReadExecute)
        )
    }
}

/// Why an address space could not be changed, or its memory not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpaceError {
    /// The range is empty, does not begin and end at page borders, or is not below [`USER_END`].
    Range {
        /// First address.
        start: u64,
        /// First address behind it.
        end: u64,
    },
    /// Something is mapped at this address already.
    Occupied(u64),
    /// Nothing is mapped at this address, or it does not allow the access.
    Fault(u64),
    /// There are no free frames.
    NoMemory,
    /// The hypervisor refused.
    Refused(Errno),
}

impl fmt::Display for SpaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range { start, end } => write!(f, "{start:#x}..{end:#x} is no range of whole pages"),
            Self::Occupied(address) => write!(f, "{address:#x} is mapped already"),
            Self::Fault(address) => write!(f, "{address:#x} is not mapped for this access"),
            Self::NoMemory => write!(f, "no frames are free"),
            Self::Refused(errno) => write!(f, "the hypervisor refused a page-table update: {errno}"),
        }
    }
}

impl core::error::Error for SpaceError {}

impl From<Errno> for SpaceError {
    fn from(errno: Errno) -> Self {
        Self::Refused(errno)
    }
}

/// A mapped page.
#[derive(Debug)]
struct Page {
    memory: SharedPages,
    protection: Protection,
}

/// Page tables, and the pages they map.
#[derive(Debug)]
pub struct AddressSpace {
    root: u64,
    /// Tables by level (1 to 3) and the first address they are for.
    tables: BTreeMap<(u32, u64), u64>,
    /// Pages by address.
    pages: BTreeMap<u64, Page>,
}

impl AddressSpace {
    /// An empty one.
    ///
    /// # Errors
    /// If there is no frame for the top-level table, or the hypervisor refuses it.
    pub fn new() -> Result<Self, SpaceError> {
        let root = new_table()?;
        if let Err(errno) = arch::pin_root(root) {
            free_prepared(root);
            return Err(errno.into());
        }
        Ok(Self { root, tables: BTreeMap::new(), pages: BTreeMap::new() })
    }

    /// Maps fresh zeroed pages.
    ///
    /// # Errors
    /// If the range is not one of whole pages, or not empty; if memory ends; if the hypervisor refuses. Nothing is mapped then.
    pub fn map(&mut self, range: Range<u64>, protection: Protection) -> Result<(), SpaceError> {
        let pages = whole_pages(&range)?;
        if let Some((&address, _)) = self.pages.range(range.clone()).next() {
            return Err(SpaceError::Occupied(address));
        }
        let mut entries: Vec<Entry> = Vec::new();
        let mut fresh = Vec::new();
        for address in pages {
            let memory = SharedPages::new(1).ok_or(SpaceError::NoMemory)?;
            let table = self.table_for(address)?;
            entries.push((table, table_index(address, 1), Some((memory.pfn(0).0, protection.flags()))));
            fresh.push((address, Page { memory, protection }));
        }
        if let Err(error) = arch::write_entries(&entries) {
            self.clear(&entries[..error.index])?;
            return Err(error.errno.into());
        }
        self.pages.extend(fresh);
        Ok(())
    }

    /// Unmaps pages; where nothing is mapped, nothing happens.
    ///
    /// # Errors
    /// If the range is not one of whole pages, or the hypervisor refuses.
    pub fn unmap(&mut self, range: Range<u64>) -> Result<(), SpaceError> {
        let _ = whole_pages(&range)?;
        let addresses: Vec<u64> = self.pages.range(range).map(|(&address, _)| address).collect();
        let entries: Result<Vec<Entry>, SpaceError> = addresses
            .iter()
            .map(|&address| Ok((self.table_for(address)?, table_index(address, 1), None)))
            .collect();
        self.clear(&entries?)?;
        for address in addresses {
            self.pages.remove(&address);
        }
        Ok(())
    }

    /// Changes what code may do with pages.
    ///
    /// # Errors
    /// If the range is not one of whole pages, a page of it is not mapped, or the hypervisor refuses.
    pub fn protect(&mut self, range: Range<u64>, protection: Protection) -> Result<(), SpaceError> {
        let mut entries: Vec<Entry> = Vec::new();
        for address in whole_pages(&range)? {
            let page = self.pages.get(&address).ok_or(SpaceError::Fault(address))?;
            let target = (page.memory.pfn(0).0, protection.flags());
            entries.push((self.table_for(address)?, table_index(address, 1), Some(target)));
        }
        arch::write_entries(&entries).map_err(|error| error.errno)?;
        arch::flush_all()?;
        for (_, page) in self.pages.range_mut(range) {
            page.protection = protection;
        }
        Ok(())
    }

    /// What code may do with the page at an address; `None` if nothing is mapped there.
    pub fn protection(&self, address: u64) -> Option<Protection> {
        self.pages.get(&page_of(address)).map(|page| page.protection)
    }

    /// Number of mapped pages.
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// The first range of `count` free pages at or above `from`.
    pub fn find_free(&self, from: u64, count: usize) -> Option<Range<u64>> {
        let bytes = (count as u64).checked_mul(PAGE_SIZE as u64).filter(|&bytes| bytes > 0)?;
        let mut start = from.checked_next_multiple_of(PAGE_SIZE as u64)?;
        for (&address, _) in self.pages.range(start..) {
            if address - start >= bytes {
                break;
            }
            start = address + PAGE_SIZE as u64;
        }
        let end = start.checked_add(bytes).filter(|&end| end <= USER_END)?;
        Some(start..end)
    }

    /// Copies bytes out, as code in the space could read them.
    ///
    /// # Errors
    /// [`SpaceError::Fault`] with the first address that is not mapped.
    pub fn read(&self, address: u64, out: &mut [u8]) -> Result<(), SpaceError> {
        self.pieces(address, out.len(), Protection::Read, |page, offset, piece| {
            page.memory.read(offset, &mut out[piece]);
        })
    }

    /// Copies bytes in, as code in the space could write them.
    ///
    /// # Errors
    /// [`SpaceError::Fault`] with the first address that is not mapped writable; what is before it is written.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), SpaceError> {
        self.pieces(address, bytes.len(), Protection::ReadWrite, |page, offset, piece| {
            page.memory.write(offset, &bytes[piece]);
        })
    }

    /// Copies bytes in wherever pages are mapped, for whoever fills a program's read-only memory.
    ///
    /// # Errors
    /// As [`AddressSpace::write`].
    pub fn fill(&mut self, address: u64, bytes: &[u8]) -> Result<(), SpaceError> {
        self.pieces(address, bytes.len(), Protection::Read, |page, offset, piece| {
            page.memory.write(offset, &bytes[piece]);
        })
    }

    /// Machine frame of the top-level table.
    pub(crate) fn root(&self) -> u64 {
        arch::pfn_to_machine(self.root)
    }

    /// Splits an access at page borders.
    fn pieces(
        &self,
        address: u64,
        len: usize,
        access: Protection,
        mut each: impl FnMut(&Page, usize, Range<usize>),
    ) -> Result<(), SpaceError> {
        let mut done = 0;
        while done < len {
            let at = address.checked_add(done as u64).ok_or(SpaceError::Fault(u64::MAX))?;
            let page = self.pages.get(&page_of(at)).filter(|page| page.protection.includes(access));
            let page = page.ok_or(SpaceError::Fault(at))?;
            let offset = (at - page_of(at)) as usize;
            let count = (PAGE_SIZE - offset).min(len - done);
            each(page, offset, done..done + count);
            done += count;
        }
        Ok(())
    }

    /// Empties entries, and sees to it that no TLB has them.
    fn clear(&self, entries: &[Entry]) -> Result<(), SpaceError> {
        if entries.is_empty() {
            return Ok(());
        }
        let empty: Vec<Entry> = entries.iter().map(|&(table, index, _)| (table, index, None)).collect();
        arch::write_entries(&empty).map_err(|error| error.errno)?;
        Ok(arch::flush_all()?)
    }

    /// The level-1 table for an address; missing tables are made.
    fn table_for(&mut self, address: u64) -> Result<u64, SpaceError> {
        let mut table = self.root;
        for level in [3, 2, 1] {
            let first = address & !((1 << (12 + 9 * level)) - 1);
            table = match self.tables.get(&(level, first)) {
                Some(&below) => below,
                None => {
                    let below = new_table()?;
                    let entry = (table, table_index(address, level + 1), Some((below, pte::TABLE)));
                    if let Err(error) = arch::write_entries(&[entry]) {
                        free_prepared(below);
                        return Err(error.errno.into());
                    }
                    self.tables.insert((level, first), below);
                    below
                }
            };
        }
        Ok(table)
    }
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        arch::forget_user_root();
        // Once nothing pins the root, no frame below is a table; only then may they, and the pages, be used for something else.
        if let Err(errno) = arch::unpin_root(self.root) {
            log::error!("dissolving an address space was refused ({errno}); its memory is lost");
            core::mem::take(&mut self.pages).into_iter().for_each(core::mem::forget);
            return;
        }
        for &table in self.tables.values().chain([&self.root]) {
            free_prepared(table);
        }
    }
}

fn new_table() -> Result<u64, SpaceError> {
    let pfn = take_table().ok_or(SpaceError::NoMemory)?;
    if let Err(errno) = arch::prepare_table(pfn) {
        free_table(pfn);
        return Err(errno.into());
    }
    Ok(pfn)
}

/// Frees a frame that was prepared to be a table, and is none.
fn free_prepared(pfn: u64) {
    match arch::retire_table(pfn) {
        Ok(()) => free_table(pfn),
        Err(errno) => log::error!("frame {pfn:#x} stays read-only and is lost: {errno}"),
    }
}

const fn page_of(address: u64) -> u64 {
    address & !(PAGE_SIZE as u64 - 1)
}

fn whole_pages(range: &Range<u64>) -> Result<impl Iterator<Item = u64> + use<>, SpaceError> {
    let whole = |address: u64| address.is_multiple_of(PAGE_SIZE as u64);
    if range.start >= range.end || range.end > USER_END || !whole(range.start) || !whole(range.end) {
        return Err(SpaceError::Range { start: range.start, end: range.end });
    }
    Ok(range.clone().step_by(PAGE_SIZE))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0x40_0000;

    fn space() -> AddressSpace {
        let mut space = AddressSpace::new().expect("memory");
        space.map(BASE..BASE + 0x3000, Protection::ReadWrite).expect("free");
        space
    }

    /// Walks the tables as a CPU would.
    fn entry(space: &AddressSpace, address: u64) -> u64 {
        let mut table = space.root;
        for level in [4, 3, 2, 1] {
            let entry = arch::direct_window(table, 1).load_u64(8 * table_index(address, level));
            if level == 1 || entry & pte::PRESENT == 0 {
                return entry;
            }
            table = (entry & pte::FRAME_MASK) >> 12;
        }
        0
    }

    #[test]
    fn tables_say_what_was_mapped() {
        let mut space = space();
        assert_eq!(entry(&space, BASE) & !pte::FRAME_MASK, pte::READ_WRITE);
        assert_ne!(entry(&space, BASE) & pte::FRAME_MASK, entry(&space, BASE + 0x1000) & pte::FRAME_MASK);
        assert_eq!(entry(&space, BASE + 0x3000), 0);
        space.protect(BASE..BASE + 0x1000, Protection::ReadExecute).expect("mapped");
        assert_eq!(entry(&space, BASE) & (pte::NO_EXECUTE | pte::WRITABLE), 0);
        space.unmap(BASE + 0x1000..BASE + 0x2000).expect("mapped");
        assert_eq!(entry(&space, BASE + 0x1000), 0);
        assert_eq!(space.pages(), 2);
    }

    #[test]
    fn copies_cross_pages_and_stop_at_holes() {
        let mut space = space();
        space.write(BASE + 0xffe, b"abcd").expect("mapped");
        let mut out = [0; 4];
        space.read(BASE + 0xffe, &mut out).expect("mapped");
        assert_eq!(&out, b"abcd");
        assert_eq!(space.read(BASE + 0x2ffe, &mut out), Err(SpaceError::Fault(BASE + 0x3000)));
        assert_eq!(space.read(u64::MAX, &mut out), Err(SpaceError::Fault(u64::MAX)));
    }

    #[test]
    fn read_only_pages_are_filled_but_not_written() {
        let mut space = space();
        space.protect(BASE..BASE + 0x1000, Protection::Read).expect("mapped");
        assert_eq!(space.write(BASE, b"x"), Err(SpaceError::Fault(BASE)));
        assert_eq!(space.fill(BASE, b"x"), Ok(()));
    }

    #[test]
    fn ranges_are_checked() {
        let mut space = space();
        let bad = |range: Range<u64>| Err(SpaceError::Range { start: range.start, end: range.end });
        for range in [0..0, 1..4096, 4096..4097, USER_END - 4096..USER_END + 4096] {
            assert_eq!(space.map(range.clone(), Protection::Read), bad(range));
        }
        let occupied = space.map(BASE - 0x1000..BASE + 0x1000, Protection::Read);
        assert_eq!(occupied, Err(SpaceError::Occupied(BASE)));
    }

    #[test]
    fn free_ranges_are_found_between_mappings() {
        let mut space = space();
        space.map(BASE + 0x5000..BASE + 0x6000, Protection::Read).expect("free");
        assert_eq!(space.find_free(BASE, 2), Some(BASE + 0x3000..BASE + 0x5000));
        assert_eq!(space.find_free(BASE, 3), Some(BASE + 0x6000..BASE + 0x9000));
        assert_eq!(space.find_free(USER_END - 0x1000, 2), None);
    }
}
