//! The global heap: `talc` over chunks of the page allocator.
//!
//! The heap grows by at least [`CHUNK_PAGES`] at a time and does not shrink. Its lock masks events, so event handlers may
//! allocate and free.

use crate::{
    memory::{self, layout::PAGE_SIZE},
    sync::{EventsMasked, spin_lock},
};
use core::{
    alloc::{GlobalAlloc, Layout},
    ptr::NonNull,
};
use talc::{
    base::{Talc, binning::Binning},
    source::Source,
};

/// Least growth of the heap, in pages.
const CHUNK_PAGES: u64 = 64;

#[global_allocator]
static HEAP: Heap = Heap(spin::Mutex::new(Talc::new(PageSource)));

struct Heap(spin::Mutex<Talc<PageSource, talc::DefaultBinning>>);

/// Feeds the heap from the page allocator.
#[derive(Debug)]
struct PageSource;

// SAFETY: takes no memory from the heap itself: the page allocator works on a bitmap of its own.
unsafe impl Source for PageSource {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        // Room for the request, its alignment and the allocator's own words at both ends.
        let bytes =
            layout.size().checked_add(layout.align()).and_then(|n| n.checked_add(2 * PAGE_SIZE)).ok_or(())?;
        let wanted = (bytes.div_ceil(PAGE_SIZE) as u64).max(CHUNK_PAGES);
        let (base, len) = memory::take_for_heap(wanted).ok_or(())?;
        let base = core::ptr::with_exposed_provenance_mut::<u8>(base);
        // SAFETY: A-3: the frames were just taken out of the free set and are given to the heap for ever.
        unsafe { talc.claim(base, len) }.map(|_| ()).ok_or(())
    }
}

// SAFETY: hands every request to `talc` under the lock.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _masked = EventsMasked::new();
        // SAFETY: the caller's promise: the size is not zero.
        unsafe { spin_lock(&self.0).allocate(layout) }.map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _masked = EventsMasked::new();
        // SAFETY: the caller's promise: `pointer` came from `alloc` with this layout.
        unsafe { spin_lock(&self.0).deallocate(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        {
            let _masked = EventsMasked::new();
            // SAFETY: the caller's promise, as above; the new size is not zero.
            if unsafe { spin_lock(&self.0).try_realloc_in_place(pointer, layout, new_size) } {
                return pointer;
            }
        }
        // SAFETY: the caller's promise: `new_size` does not overflow when rounded up to the alignment.
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(new_size, layout.align())) };
        if !new.is_null() {
            // SAFETY: both blocks hold that many bytes and are distinct.
            unsafe {
                core::ptr::copy_nonoverlapping(pointer, new, layout.size().min(new_size));
                self.dealloc(pointer, layout);
            }
        }
        new
    }
}
