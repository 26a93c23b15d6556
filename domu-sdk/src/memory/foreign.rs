//! Frames of other domains, mapped by machine frame number.
//!
//! Only a domain with control over the owner may do this: it is how a toolstack fills a new domain's memory and reads the rings
//! of the store and the console. Others use grants. Frames of this domain are refused with `EINVAL`: Rust values may live there;
//! for a second address of shared pages see [`super::Alias`].

use super::{SharedMem, windows::Window};
use crate::{
    arch,
    types::{DomId, Mfn},
};
use abi::errno::Errno;
use alloc::vec::Vec;
use core::{fmt, ops::Deref};

/// Mapping was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapError {
    /// The frame at which it stopped; `None` if it did not come to the frames.
    pub frame: Option<Mfn>,
    /// Why.
    pub errno: Errno,
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.frame {
            Some(frame) => write!(f, "mapping {frame} was refused: {}", self.errno),
            None => write!(f, "no room for the mapping: {}", self.errno),
        }
    }
}

impl core::error::Error for MapError {}

/// Frames of another domain in this domain's address space, one after the other. Unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    window: Window,
    memory: SharedMem,
}

impl Mapping {
    /// Maps frames that `owner` owns, for reading and writing.
    pub fn read_write(owner: DomId, frames: &[Mfn]) -> Result<Self, MapError> {
        Self::new(owner, frames, true)
    }

    /// Maps frames that `owner` owns, for reading. Writing to the mapping is a page fault.
    pub fn read_only(owner: DomId, frames: &[Mfn]) -> Result<Self, MapError> {
        Self::new(owner, frames, false)
    }

    fn new(owner: DomId, frames: &[Mfn], writable: bool) -> Result<Self, MapError> {
        if let Some(own) = frames.iter().find(|frame| arch::machine_to_pfn(frame.0).is_some()) {
            return Err(MapError { frame: Some(*own), errno: Errno::EINVAL });
        }
        let window = Window::reserve(frames.len()).map_err(|errno| MapError { frame: None, errno })?;
        let numbers: Vec<u64> = frames.iter().map(|frame| frame.0).collect();
        window
            .map(&numbers, owner.0, writable)
            .map_err(|error| MapError { frame: frames.get(error.index).copied(), errno: error.errno })?;
        let memory = window.memory();
        Ok(Self { window, memory })
    }

    /// Number of pages.
    pub fn pages(&self) -> usize {
        self.window.pages()
    }
}

impl Deref for Mapping {
    type Target = SharedMem;

    fn deref(&self) -> &SharedMem {
        &self.memory
    }
}
