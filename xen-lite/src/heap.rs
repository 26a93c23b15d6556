//! The hypervisor's heap.
//!
//! It begins as an array in the image, enough for all of boot up to the core's frame heap, and from then on takes frames from
//! there and gives them back when they are not needed any more.
//!
//! A CPU can have memory set aside for its next allocation of a layout ([`set_aside`]): for what the language allocates in no other
//! way than one that must not fail (`docs/adr/0016-heap-refusals.md`).

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use spin::Mutex;
use talc::TalcLock;
use talc::source::GlobalAllocSource;
use xen_lite_core::addr::{DomId, Mfn};
use xen_lite_core::frame;

use crate::cpu::PerCpu;
use crate::hypervisor::{hv, try_hv};
use crate::layout;
use crate::memory::PAGE;

/// Least that the heap grows by.
const BLOCK: usize = 64 << 10;

/// The allocator, and what is set aside in it.
struct Heap(TalcLock<Mutex<()>, GlobalAllocSource<Blocks>>);

#[global_allocator]
static HEAP: Heap =
    // SAFETY: S-11: `Blocks` hands out memory that nobody else uses.
    Heap(TalcLock::new(GlobalAllocSource::with_block_size(Blocks, BLOCK)));

/// How many CPUs have something set aside. None has before its data exist.
static ASIDE: AtomicU32 = AtomicU32::new(0);

/// As [`xen_lite_core::platform::Platform::set_aside`].
pub fn set_aside(layout: Layout) -> bool {
    // SAFETY: S-11: counters and a value are more than no bytes.
    let memory = NonNull::new(unsafe { HEAP.0.alloc(layout) });
    if let Some(memory) = memory {
        match PerCpu::get().aside.replace(Some((layout, memory))) {
            // SAFETY: S-11: it came from this allocator with this layout, and nobody took it.
            Some((unused, memory)) => unsafe { HEAP.0.dealloc(memory.as_ptr(), unused) },
            None => drop(ASIDE.fetch_add(1, Ordering::Relaxed)),
        }
    }
    memory.is_some()
}

/// What the calling CPU has set aside, if it is of this layout.
fn take_aside(layout: Layout) -> Option<NonNull<u8>> {
    if ASIDE.load(Ordering::Relaxed) == 0 {
        return None;
    }
    let aside = &PerCpu::get().aside;
    let (_, memory) = aside.get().filter(|(of, _)| *of == layout)?;
    aside.set(None);
    ASIDE.fetch_sub(1, Ordering::Relaxed);
    Some(memory)
}

// SAFETY: S-11: all memory is the allocator's, and what was set aside is given out once.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match take_aside(layout) {
            Some(memory) => memory.as_ptr(),
            // SAFETY: S-11: as the caller promises.
            None => unsafe { self.0.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: S-11: as the caller promises.
        unsafe { self.0.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: S-11: as the caller promises.
        unsafe { self.0.realloc(memory, layout, size) }
    }
}

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
