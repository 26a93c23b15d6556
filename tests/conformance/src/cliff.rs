//! A page that ends at nothing: for arguments that are partly there.

use crate::pages;
use domu_sdk::memory::Pages;

/// Two pages, of which the second can be taken away.
#[derive(Debug)]
pub struct Cliff {
    pages: Pages,
}

impl Default for Cliff {
    fn default() -> Self {
        Self::new()
    }
}

impl Cliff {
    /// A page with nothing behind it.
    pub fn new() -> Cliff {
        let cliff = Cliff { pages: pages::take(2) };
        assert!(pages::protect(&cliff.pages, 1, 0).0 == 0, "the second page cannot be unmapped");
        cliff
    }

    /// The address `bytes` before the end of the first page.
    pub fn before(&self, bytes: u64) -> u64 {
        pages::address(&self.pages, 1) - bytes
    }

    /// Both pages are there.
    pub fn bridge(&self) {
        pages::writable(&self.pages, 1);
    }

    /// The second page can be read only, and the first as well.
    pub fn freeze(&self) {
        pages::read_only(&self.pages, 0);
        pages::read_only(&self.pages, 1);
    }

    /// As it was at first.
    pub fn thaw(&self) {
        pages::writable(&self.pages, 0);
        pages::protect(&self.pages, 1, 0);
    }
}

impl Drop for Cliff {
    fn drop(&mut self) {
        pages::writable(&self.pages, 0);
        pages::writable(&self.pages, 1);
    }
}

/// Writes a value at any address that is mapped.
pub fn place<T: Copy>(address: u64, value: T) {
    // SAFETY: the areas use addresses of pages that they took for this.
    unsafe { core::ptr::with_exposed_provenance_mut::<T>(address as usize).write_unaligned(value) };
}

/// Reads a value from any address that is mapped.
pub fn look<T: Copy>(address: u64) -> T {
    // SAFETY: as above.
    unsafe { core::ptr::with_exposed_provenance::<T>(address as usize).read_unaligned() }
}
