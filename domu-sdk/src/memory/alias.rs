//! Pages of this domain at a second address.

use super::{SharedMem, SharedPages, windows::Window};
use crate::types::DomId;
use abi::errno::Errno;
use alloc::{sync::Arc, vec::Vec};
use core::ops::Deref;

/// The same shared pages at other addresses, in any order. Unmapped when dropped.
#[derive(Debug)]
pub struct Alias {
    window: Window,
    memory: SharedMem,
    _pages: Arc<SharedPages>,
}

impl Alias {
    /// Maps pages of `pages`, by number, one after the other. Panics if there is no such page.
    pub fn new(pages: &Arc<SharedPages>, order: &[usize], writable: bool) -> Result<Self, Errno> {
        let frames: Vec<u64> = order.iter().map(|&index| pages.mfn(index).0).collect();
        let window = Window::reserve(frames.len())?;
        window.map(&frames, DomId::SELF.0, writable).map_err(|error| error.errno)?;
        let memory = window.memory();
        Ok(Self { window, memory, _pages: pages.clone() })
    }

    /// Number of pages.
    pub fn pages(&self) -> usize {
        self.window.pages()
    }
}

impl Deref for Alias {
    type Target = SharedMem;

    fn deref(&self) -> &SharedMem {
        &self.memory
    }
}
