//! The hypervisor's heap.
//!
//! It begins as a small array in the image, enough for what is read from the loader, and grows by frames (`memory`).

use core::cell::UnsafeCell;

use spin::Mutex;
use talc::TalcLock;
use talc::source::Manual;

#[global_allocator]
static HEAP: TalcLock<Mutex<()>, Manual> = TalcLock::new(Manual);

const FIRST_SIZE: usize = 64 << 10;

#[repr(C, align(64))]
struct First(UnsafeCell<[u8; FIRST_SIZE]>);

// SAFETY: S-11: only the allocator reaches it, and that is behind a lock.
unsafe impl Sync for First {}

static FIRST: First = First(UnsafeCell::new([0; FIRST_SIZE]));

/// Makes allocation possible. Called once, before anything allocates.
pub fn init() {
    // SAFETY: S-11: the array is used for nothing else.
    unsafe { HEAP.lock().claim(FIRST.0.get().cast(), FIRST_SIZE) };
}

/// Gives memory of the direct map to the heap, for good.
///
/// # Safety
/// S-11: nobody else uses `size` bytes from `start`.
pub unsafe fn add(start: u64, size: usize) {
    // SAFETY: S-11: the caller promises it.
    unsafe { HEAP.lock().claim(start as *mut u8, size) };
}
