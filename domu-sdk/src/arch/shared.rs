//! Memory that somebody else writes at the same time.
//!
//! No Rust reference may point into such memory: the compiler could read twice, or invent reads. [`SharedMem`] is the one
//! way in: fixed-width loads and stores that happen exactly once, and copies in and out. A value that was loaded is a copy,
//! so checking it and then using it cannot be raced.

use core::{
    marker::PhantomData,
    ptr::NonNull,
    sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A window of bytes that other parties may read and write at any time.
///
/// Offsets are in bytes from the start of the window. An access outside it is an error of the calling code and panics;
/// take care to bound every index that came from the other side before using it.
#[derive(Debug)]
pub struct SharedMem {
    base: NonNull<u8>,
    len: usize,
    bytes: PhantomData<AtomicU8>,
}

// SAFETY: A-4: all accesses are atomic or volatile copies, whoever makes them.
unsafe impl Send for SharedMem {}
// SAFETY: as above.
unsafe impl Sync for SharedMem {}

macro_rules! access {
    ($load:ident, $store:ident, $value:ty, $atomic:ty) => {
        #[doc = concat!("Loads a `", stringify!($value), "` at `offset`, once, with acquire ordering. Panics outside the window or unaligned.")]
        pub fn $load(&self, offset: usize) -> $value {
            let at = self.at(offset, size_of::<$value>(), align_of::<$atomic>());
            // SAFETY: A-4: in the window, aligned, and never accessed but by atomic or volatile accesses.
            unsafe { <$atomic>::from_ptr(at.cast().as_ptr()) }.load(Ordering::Acquire)
        }

        #[doc = concat!("Stores a `", stringify!($value), "` at `offset`, once, with release ordering. Panics outside the window or unaligned.")]
        pub fn $store(&self, offset: usize, value: $value) {
            let at = self.at(offset, size_of::<$value>(), align_of::<$atomic>());
            // SAFETY: A-4: in the window, aligned, and never accessed but by atomic or volatile accesses.
            unsafe { <$atomic>::from_ptr(at.cast().as_ptr()) }.store(value, Ordering::Release);
        }
    };
}

impl SharedMem {
    /// A window over `len` bytes at `base`.
    ///
    /// # Safety
    /// The bytes stay mapped (writable, if the window is stored to) for as long as the window is used, and no Rust
    /// reference points into them meanwhile.
    pub const unsafe fn new(base: NonNull<u8>, len: usize) -> Self {
        Self { base, len, bytes: PhantomData }
    }

    /// Length of the window in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the window has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Virtual address of the window's first byte.
    pub fn address(&self) -> usize {
        self.base.addr().get()
    }

    access!(load_u8, store_u8, u8, AtomicU8);
    access!(load_u16, store_u16, u16, AtomicU16);
    access!(load_u32, store_u32, u32, AtomicU32);
    access!(load_u64, store_u64, u64, AtomicU64);

    /// Sets the bits of `mask` in the 64-bit word at `offset`; returns the word as it was.
    pub fn fetch_or_u64(&self, offset: usize, mask: u64) -> u64 {
        let at = self.at(offset, 8, 8);
        // SAFETY: A-4: in the window and aligned.
        unsafe { AtomicU64::from_ptr(at.cast().as_ptr()) }.fetch_or(mask, Ordering::SeqCst)
    }

    /// Keeps only the bits of `mask` in the 64-bit word at `offset`; returns the word as it was.
    pub fn fetch_and_u64(&self, offset: usize, mask: u64) -> u64 {
        let at = self.at(offset, 8, 8);
        // SAFETY: A-4: in the window and aligned.
        unsafe { AtomicU64::from_ptr(at.cast().as_ptr()) }.fetch_and(mask, Ordering::SeqCst)
    }

    /// Replaces the 64-bit word at `offset`; returns the word as it was.
    pub fn swap_u64(&self, offset: usize, value: u64) -> u64 {
        let at = self.at(offset, 8, 8);
        // SAFETY: A-4: in the window and aligned.
        unsafe { AtomicU64::from_ptr(at.cast().as_ptr()) }.swap(value, Ordering::SeqCst)
    }

    /// Replaces the 32-bit word at `offset` if it is `current`; `Err` holds what was there instead.
    pub fn compare_exchange_u32(&self, offset: usize, current: u32, new: u32) -> Result<u32, u32> {
        let at = self.at(offset, 4, 4);
        // SAFETY: A-4: in the window and aligned.
        unsafe { AtomicU32::from_ptr(at.cast().as_ptr()) }.compare_exchange(
            current,
            new,
            Ordering::SeqCst,
            Ordering::SeqCst,
        )
    }

    /// Replaces the 16-bit word at `offset` if it is `current`; `Err` holds what was there instead.
    pub fn compare_exchange_u16(&self, offset: usize, current: u16, new: u16) -> Result<u16, u16> {
        let at = self.at(offset, 2, 2);
        // SAFETY: A-4: in the window and aligned.
        unsafe { AtomicU16::from_ptr(at.cast().as_ptr()) }.compare_exchange(
            current,
            new,
            Ordering::SeqCst,
            Ordering::SeqCst,
        )
    }

    /// Copies bytes out of the window, each read once.
    pub fn read(&self, offset: usize, out: &mut [u8]) {
        let at = self.at(offset, out.len(), 1);
        // SAFETY: A-4: the source is in the window; `out` is the caller's own memory.
        unsafe { copy(at.as_ptr(), out.as_mut_ptr(), out.len()) }
    }

    /// Copies bytes into the window.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        let at = self.at(offset, bytes.len(), 1);
        // SAFETY: A-4: the destination is in the window; `bytes` is the caller's own memory.
        unsafe { copy(bytes.as_ptr(), at.as_ptr(), bytes.len()) }
    }

    /// Sets `len` bytes to `value`.
    pub fn fill(&self, offset: usize, len: usize, value: u8) {
        let at = self.at(offset, len, 1);
        for i in 0..len {
            // SAFETY: A-4: in the window.
            unsafe { at.add(i).write_volatile(value) }
        }
    }

    /// Reads a structure by value. The copy is not atomic as a whole: fields may be from different moments.
    pub fn get<T: FromBytes + IntoBytes>(&self, offset: usize) -> T {
        let mut value = T::new_zeroed();
        self.read(offset, value.as_mut_bytes());
        value
    }

    /// Writes a structure. Not atomic as a whole.
    pub fn put<T: IntoBytes + Immutable>(&self, offset: usize, value: &T) {
        self.write(offset, value.as_bytes());
    }

    /// A smaller window that borrows from this one.
    pub fn slice(&self, offset: usize, len: usize) -> SharedSlice<'_> {
        let base = self.at(offset, len, 1);
        SharedSlice { window: Self { base, len, bytes: PhantomData }, parent: PhantomData }
    }

    fn at(&self, offset: usize, len: usize, align: usize) -> NonNull<u8> {
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.len);
        assert!(inside, "access of {len} bytes at offset {offset} of a shared window of {} bytes", self.len);
        // SAFETY: just checked to be inside the window.
        let at = unsafe { self.base.add(offset) };
        assert!(at.addr().get().is_multiple_of(align), "access at offset {offset} is not aligned to {align}");
        at
    }
}

/// Copies `len` bytes with volatile accesses, eight at a time where both sides are aligned alike.
///
/// # Safety
/// Both ranges are mapped, and they do not overlap.
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    let mut done = 0;
    if from.addr() % 8 == to.addr() % 8 {
        while done < len && !(from.addr() + done).is_multiple_of(8) {
            // SAFETY: the caller's promise; `done < len`.
            unsafe { to.add(done).write_volatile(from.add(done).read_volatile()) };
            done += 1;
        }
        while len - done >= 8 {
            // SAFETY: as above; both addresses are multiples of 8 here and 8 bytes remain.
            unsafe {
                to.add(done).cast::<u64>().write_volatile(from.add(done).cast::<u64>().read_volatile())
            };
            done += 8;
        }
    }
    while done < len {
        // SAFETY: as above.
        unsafe { to.add(done).write_volatile(from.add(done).read_volatile()) };
        done += 1;
    }
}

/// Part of a [`SharedMem`], borrowed.
///
/// One borrowed for ever can be used as a window of its own, see [`SharedSlice::whole`].
#[derive(Debug)]
pub struct SharedSlice<'a> {
    window: SharedMem,
    parent: PhantomData<&'a SharedMem>,
}

impl core::ops::Deref for SharedSlice<'_> {
    type Target = SharedMem;

    fn deref(&self) -> &SharedMem {
        &self.window
    }
}

impl SharedSlice<'static> {
    /// The part as a window of its own.
    pub fn whole(self) -> SharedMem {
        self.window
    }
}
