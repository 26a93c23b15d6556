//! The hypervisor's heap.
//!
//! It begins as an array in the image, enough for all of boot up to the core's frame heap, and from then on takes frames from
//! there and gives them back when they are not needed any more.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering};

use spin::Mutex;
use talc::TalcLock;
use talc::source::GlobalAllocSource;
use xen_lite_core::addr::{DomId, Mfn};
use xen_lite_core::frame;

use crate::hypervisor::{hv, try_hv};
use crate::layout;
use crate::memory::PAGE;

/// Least that the heap grows by.
const BLOCK: usize = 64 << 10;

#[global_allocator]
static HEAP: TalcLock<Mutex<()>, GlobalAllocSource<Blocks>> =
    // SAFETY: S-11: `Blocks` hands out memory that nobody else uses.
    TalcLock::new(GlobalAllocSource::with_block_size(Blocks, BLOCK));

const FIRST_SIZE: usize = BLOCK;

#[repr(C, align(4096))]
struct First(UnsafeCell<[u8; FIRST_SIZE]>);

// SAFETY: S-11: only the allocator reaches it, and that is behind a lock.
unsafe impl Sync for First {}

static FIRST: First = First(UnsafeCell::new([0; FIRST_SIZE]));
static FIRST_TAKEN: AtomicBool = AtomicBool::new(false);

/// Where the heap's blocks come from.
#[derive(Debug)]
struct Blocks;

/// The pieces, each a power of two and aligned to its size, that `frames` frames from an aligned start consist of.
fn pieces(start: u64, frames: u64) -> impl Iterator<Item = (Mfn, u32)> {
    let mut at = 0;
    core::iter::from_fn(move || {
        let order = (frames - at).checked_ilog2()?;
        let piece = (Mfn::new(start + at), order);
        at += 1 << order;
        Some(piece)
    })
}

fn frames_of(layout: Layout) -> u64 {
    (layout.size() as u64).div_ceil(PAGE)
}

// SAFETY: S-11: each block is memory that was free, and stays the heap's until it is deallocated.
unsafe impl GlobalAlloc for Blocks {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() <= FIRST_SIZE && !FIRST_TAKEN.swap(true, Ordering::Relaxed) {
            return FIRST.0.get().cast();
        }
        let Some(hv) = try_hv() else { return null_mut() };
        let frames = frames_of(layout);
        let order = frames.next_power_of_two().ilog2();
        let Some(mfn) = frame::alloc(hv, order, DomId::XEN) else { return null_mut() };
        // What the power of two is too much goes back, largest pieces last so that each is aligned.
        let mut end = 1u64 << order;
        while end > frames {
            let order = end.trailing_zeros().min((end - frames).ilog2());
            end -= 1 << order;
            frame::free(hv, Mfn::new(mfn.raw() + end), order);
        }
        layout::direct(mfn.raw() * PAGE) as *mut u8
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // The first array holds the allocator's own tables and never comes back.
        if let Some(physical) = (block as u64).checked_sub(layout::DIRECT) {
            pieces(physical / PAGE, frames_of(layout)).for_each(|(mfn, order)| frame::free(hv(), mfn, order));
        }
    }
}
