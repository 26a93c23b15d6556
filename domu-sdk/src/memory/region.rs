//! Pages at addresses of their own, between guard pages.
//!
//! In the direct map one page follows the other, so code that runs over the end of a buffer damages its neighbour. A [`Region`] has an
//! unmapped page on either side: running over faults at once. What code may do with its pages can be changed; that holds for their
//! addresses in the direct map, too, so a page that is read-only is so everywhere.

use super::{Pages, SharedMem, layout::PAGE_SIZE, windows::Window};
use crate::arch;
use abi::{errno::Errno, xen::DOMID_SELF};
use alloc::vec::Vec;
use core::ops::Deref;

/// What code may do with the pages of a [`Region`]. The kernel executes nothing but its own text, so there is no third choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read them.
    Read,
    /// Read and write them.
    ReadWrite,
}

/// Pages between guard pages. Unmapped, and given back, when dropped.
#[derive(Debug)]
pub struct Region {
    window: Window,
    memory: SharedMem,
    pages: Pages,
    access: Access,
}

impl Region {
    /// Maps `count` zeroed pages.
    ///
    /// # Errors
    /// `ENOMEM` if there is no memory or no room for addresses; otherwise what the hypervisor answered.
    pub fn new(count: usize) -> Result<Self, Errno> {
        let pages = Pages::new(count).ok_or(Errno::ENOMEM)?;
        let window = Window::reserve(count + 2)?;
        let memory = arch::window_mem(window.page_address(1), count * PAGE_SIZE);
        let region = Self { window, memory, pages, access: Access::ReadWrite };
        region.map(true)?;
        Ok(region)
    }

    /// Number of pages, without the guards.
    pub fn pages(&self) -> usize {
        self.pages.count()
    }

    /// What code may do with the pages.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Changes what code may do with the pages, at all of their addresses.
    ///
    /// # Errors
    /// What the hypervisor answered; the pages are read-only at one of their addresses then.
    pub fn set_access(&mut self, access: Access) -> Result<(), Errno> {
        let writable = access == Access::ReadWrite;
        let frames: Vec<u64> = (0..self.pages()).map(|index| self.pages.pfn(index).0).collect();
        arch::protect_direct(&frames, writable)?;
        self.map(writable)?;
        if !writable {
            arch::flush_all()?;
        }
        self.access = access;
        Ok(())
    }

    fn map(&self, writable: bool) -> Result<(), Errno> {
        let frames: Vec<u64> = (0..self.pages()).map(|index| self.pages.mfn(index).0).collect();
        self.window.map_from(1, &frames, DOMID_SELF, writable).map_err(|error| error.errno)
    }
}

impl Deref for Region {
    type Target = SharedMem;

    fn deref(&self) -> &SharedMem {
        &self.memory
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if self.access == Access::Read && self.set_access(Access::ReadWrite).is_err() {
            log::error!("pages of a region stay read-only");
        }
    }
}
