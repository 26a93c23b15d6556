//! Windows: ranges of addresses without memory of their own, into which foreign or granted frames are mapped.
//!
//! A [`Window`] owns its addresses and their page-table entries. Dropping it clears the entries first, so the addresses can be
//! used again.

use super::{
    SharedMem,
    layout::{PAGE_SIZE, WINDOW_BASE, WINDOW_PAGES},
    pages::FreeSet,
    take_table,
};
use crate::{arch, sync::MaskedMutex};
use abi::errno::Errno;
use alloc::{boxed::Box, vec, vec::Vec};

/// Held while missing page tables are made: two vCPUs that miss the same one must not both make it.
static TABLES: MaskedMutex<()> = MaskedMutex::new(());

static ADDRESSES: MaskedMutex<Option<FreeSet<'static>>> = MaskedMutex::new(None);

/// Addresses for some pages, with tables down to level 1.
#[derive(Debug)]
pub(crate) struct Window {
    first: u64,
    /// Where each page's level-1 entry is, see [`arch::window_slot`].
    slots: Vec<u64>,
}

impl Window {
    /// Reserves addresses for `pages` pages.
    pub(crate) fn reserve(pages: usize) -> Result<Self, Errno> {
        let first = {
            let mut addresses = ADDRESSES.lock();
            let set = addresses.get_or_insert_with(all_free);
            set.take(pages as u64).ok_or(Errno::ENOMEM)?
        };
        let mut window = Self { first, slots: Vec::with_capacity(pages) };
        for page in 0..pages {
            match window_slot(window.page_address(page)) {
                Ok(slot) => window.slots.push(slot),
                Err(errno) => {
                    release(first, pages as u64);
                    window.slots.clear();
                    return Err(errno);
                }
            }
        }
        Ok(window)
    }

    /// Address of the first byte.
    pub(crate) fn address(&self) -> u64 {
        self.page_address(0)
    }

    /// Address of a page.
    pub(crate) fn page_address(&self, page: usize) -> u64 {
        WINDOW_BASE + (self.first + page as u64) * PAGE_SIZE as u64
    }

    /// Number of pages.
    pub(crate) fn pages(&self) -> usize {
        self.slots.len()
    }

    /// Maps frames from the start of the window on. On an error nothing stays mapped.
    pub(crate) fn map(&self, frames: &[u64], domain: u16, writable: bool) -> Result<(), arch::MapError> {
        let slots = &self.slots[..frames.len()];
        arch::map_machine(slots, frames, domain, writable).inspect_err(|_| self.clear())
    }

    /// Maps frames from page number `first` on. What was mapped there before is replaced.
    pub(crate) fn map_from(
        &self,
        first: usize,
        frames: &[u64],
        domain: u16,
        writable: bool,
    ) -> Result<(), arch::MapError> {
        arch::map_machine(&self.slots[first..first + frames.len()], frames, domain, writable)
    }

    /// Unmaps everything.
    pub(crate) fn clear(&self) {
        if !self.slots.is_empty() {
            let result = arch::unmap_machine(&self.slots, self.address());
            debug_assert!(result.is_ok(), "emptying a window was refused: {result:?}");
        }
    }

    /// The window's bytes.
    pub(crate) fn memory(&self) -> SharedMem {
        arch::window_mem(self.address(), self.pages() * PAGE_SIZE)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        if !self.slots.is_empty() {
            self.clear();
            release(self.first, self.slots.len() as u64);
        }
    }
}

/// Where the level-1 entry of an address is, see [`arch::window_slot`]; missing tables are made.
pub(crate) fn window_slot(address: u64) -> Result<u64, Errno> {
    let _tables = TABLES.lock();
    arch::window_slot(address, take_table)
}

fn all_free() -> FreeSet<'static> {
    let mut set = FreeSet::new(Box::leak(vec![0; WINDOW_PAGES / 64].into_boxed_slice()));
    set.release(0, WINDOW_PAGES as u64);
    set
}

fn release(first: u64, count: u64) {
    if let Some(set) = ADDRESSES.lock().as_mut() {
        set.release(first, count);
    }
}
