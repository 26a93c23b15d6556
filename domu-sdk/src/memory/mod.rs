//! Memory of the domain.
//!
//! * [`Pages`]: frames that this domain alone uses, as a byte slice.
//! * [`SharedPages`]: frames that others may read and write meanwhile, reached through [`SharedMem`] only.
//! * [`space`]: address spaces of programs in user mode.
//! * [`region`]: pages between guard pages.
//! * [`balloon`]: memory given back to the hypervisor, and taken again.
//! * [`foreign`]: frames of another domain, mapped into a window by machine frame number.
//!
//! The heap takes its memory from the same free frames. All of them are in the direct map, see [`layout`].

mod alias;
pub mod balloon;
pub mod foreign;
pub mod layout;
pub mod pages;
pub mod region;
pub mod space;
pub(crate) mod windows;

pub use crate::arch::SharedMem;
pub use alias::Alias;
#[cfg(target_os = "none")]
pub(crate) use windows::window_slot;

use crate::{
    arch,
    types::{Mfn, Pfn},
};
use core::ops::{Deref, DerefMut};
use layout::PAGE_SIZE;

#[cfg(target_os = "none")]
mod frames {
    use super::{arch, pages::FreeSet};
    use crate::sync::MaskedMutex;

    static FREE: MaskedMutex<Option<FreeSet<'static>>> = MaskedMutex::new(None);

    /// Builds the direct map and the free set.
    pub(crate) fn init() -> Result<(), &'static str> {
        let [low, mut high] = arch::init_memory()?;
        let bitmap_pages = high.end.div_ceil(64).div_ceil(512);
        if high.end - high.start < bitmap_pages {
            return Err("no memory is left behind the boot stack");
        }
        let words = arch::leak_frames(high.start, bitmap_pages);
        high.start += bitmap_pages;
        let mut set = FreeSet::new(words);
        for range in [low, high] {
            for pfn in range.filter(|&pfn| arch::pfn_to_machine(pfn) != u64::MAX && !arch::is_ring_page(pfn))
            {
                set.release(pfn, 1);
            }
        }
        *FREE.lock() = Some(set);
        arch::protect_image().map_err(|_| "protecting the image was refused")
    }

    pub(super) fn take(count: u64) -> Option<u64> {
        FREE.lock().as_mut()?.take(count)
    }

    pub(super) fn give(pfn: u64, count: u64) {
        let twice = FREE.lock().as_mut().map_or(0, |set| set.release(pfn, count));
        debug_assert!(twice == 0, "{twice} frames from {pfn:#x} were free already");
    }

    pub(super) fn free() -> u64 {
        FREE.lock().as_ref().map_or(0, FreeSet::free)
    }
}

#[cfg(not(target_os = "none"))]
mod frames {
    pub(super) use crate::arch::{free_frames as free, give_frames as give, take_frames as take};
}

#[cfg(target_os = "none")]
pub(crate) use frames::init;

/// Memory for the heap to grow by: address and length.
#[cfg(target_os = "none")]
pub(crate) fn take_for_heap(pages: u64) -> Option<(usize, usize)> {
    let pfn = frames::take(pages)?;
    let (base, len) = arch::own_frames(pfn, pages);
    Some((base.as_ptr().expose_provenance(), len))
}

/// A frame for a page table.
pub(crate) fn take_table() -> Option<u64> {
    frames::take(1)
}

/// Gives back a frame that was taken for a page table and is none.
pub(crate) fn free_table(pfn: u64) {
    frames::give(pfn, 1);
}

/// Pages of memory, in total and free. Free memory does not include what the heap has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Pages of the domain.
    pub total: u64,
    /// Pages that nobody uses.
    pub free: u64,
}

/// How much memory there is.
pub fn usage() -> Usage {
    Usage { total: balloon::current(), free: frames::free() }
}

/// Frames that belong to the holder alone, consecutive in the domain's own numbering (not in machine memory), zeroed.
///
/// Given back when dropped.
#[derive(Debug)]
pub struct Pages {
    pfn: u64,
    count: u64,
}

impl Pages {
    /// Takes `count` frames; `None` if there is no such run of free frames.
    pub fn new(count: usize) -> Option<Self> {
        let count = count as u64;
        let mut pages = Self { pfn: frames::take(count)?, count };
        pages.fill(0);
        Some(pages)
    }

    /// Number of frames.
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// The domain's number of frame `index`. Panics if there is no such frame.
    pub fn pfn(&self, index: usize) -> Pfn {
        assert!((index as u64) < self.count, "frame {index} of {}", self.count);
        Pfn(self.pfn + index as u64)
    }

    /// The machine's number of frame `index`. Panics if there is no such frame.
    pub fn mfn(&self, index: usize) -> Mfn {
        Mfn(arch::pfn_to_machine(self.pfn(index).0))
    }

    /// Makes the frames fit for use by others at the same time.
    pub fn into_shared(self) -> SharedPages {
        SharedPages { window: arch::direct_window(self.pfn, self.count), pages: self }
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        arch::frames_bytes(self, self.pfn, self.count)
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        let (pfn, count) = (self.pfn, self.count);
        arch::frames_bytes_mut(self, pfn, count)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        frames::give(self.pfn, self.count);
    }
}

/// Frames of this domain that others may read and write at the same time: rings, granted buffers.
///
/// Whoever grants them must keep them until the grant is over; [`crate::grant`] does so.
#[derive(Debug)]
pub struct SharedPages {
    pages: Pages,
    window: SharedMem,
}

impl SharedPages {
    /// Takes `count` zeroed frames; `None` if there is no such run of free frames.
    pub fn new(count: usize) -> Option<Self> {
        Pages::new(count).map(Pages::into_shared)
    }

    /// The frames as this domain's alone again. Only for frames that nobody else can reach any longer: see [`crate::grant::Lent`].
    pub(crate) fn into_own(self) -> Pages {
        self.pages
    }

    /// Number of frames.
    pub fn count(&self) -> usize {
        self.pages.count()
    }

    /// The domain's number of frame `index`. Panics if there is no such frame.
    pub fn pfn(&self, index: usize) -> Pfn {
        self.pages.pfn(index)
    }

    /// The machine's number of frame `index`. Panics if there is no such frame.
    pub fn mfn(&self, index: usize) -> Mfn {
        self.pages.mfn(index)
    }
}

impl Deref for SharedPages {
    type Target = SharedMem;

    fn deref(&self) -> &SharedMem {
        &self.window
    }
}

/// The machine frame of one of the domain's frames; `None` if it has none or is not one of the domain's.
pub fn machine_frame(pfn: Pfn) -> Option<Mfn> {
    if pfn.0 >= arch::start_info().nr_pages {
        return None;
    }
    Some(arch::pfn_to_machine(pfn.0)).filter(|&mfn| mfn != u64::MAX).map(Mfn)
}

/// The machine frame behind an address of this domain; `None` if nothing is mapped there. Cheap in the direct map, where the
/// heap and all [`Pages`] are.
pub(crate) fn machine_frame_at(address: u64) -> Option<Mfn> {
    let direct = address.checked_sub(layout::DIRECT_BASE).map(|offset| Pfn(offset / PAGE_SIZE as u64));
    if let Some(frame) = direct.and_then(machine_frame) {
        return Some(frame);
    }
    let entry = arch::table_entry(address).filter(|entry| entry & layout::pte::PRESENT != 0)?;
    Some(Mfn(layout::entry_frame(entry)))
}

/// The domain's number of a machine frame; `None` if it is not the domain's.
pub fn domain_frame(mfn: Mfn) -> Option<Pfn> {
    arch::machine_to_pfn(mfn.0).map(Pfn)
}

/// Reads the word at an address, or says that it cannot be read. The address must be a multiple of 8.
pub fn probe(address: u64) -> Option<u64> {
    address.is_multiple_of(8).then(|| arch::probe_read(address))?
}

/// Whether the byte at an address can be written. Tries it, without changing the byte.
pub fn probe_write(address: u64) -> bool {
    arch::probe_write(address)
}

/// The level-1 page-table entry that maps an address, `None` where a table is missing.
pub fn page_table_entry(address: u64) -> Option<u64> {
    arch::table_entry(address)
}

/// Bytes in `pages` pages.
pub const fn bytes(pages: usize) -> usize {
    pages * PAGE_SIZE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_zeroed_and_distinct() {
        let mut a = Pages::new(2).expect("memory");
        a.fill(7);
        let b = Pages::new(1).expect("memory");
        assert!(b.iter().all(|&byte| byte == 0));
        assert_eq!(a.len(), 8192);
        assert_ne!(a.pfn(1), b.pfn(0));
    }

    #[test]
    fn shared_pages_keep_what_was_written() {
        let mut pages = Pages::new(1).expect("memory");
        pages[4095] = 9;
        let shared = pages.into_shared();
        assert_eq!(shared.load_u8(4095), 9);
        shared.store_u32(8, 0x0403_0201);
        let mut out = [0; 3];
        shared.read(9, &mut out);
        assert_eq!(out, [2, 3, 4]);
    }
}
