//! The mapper's side: what each handle stands for.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Status;
use crate::addr::{GrantRef, Mfn};
use crate::domain::Domain;
use crate::speculation;

/// Handles in a bucket.
const BUCKET: usize = 128;
/// End of the list of free handles.
const NONE: u32 = u32::MAX;

/// What a handle stands for.
#[derive(Clone, Debug)]
pub(super) struct Mapping {
    /// The domain itself, not its number, which may be another's by the time of the unmapping.
    pub(super) granter: Arc<Domain>,
    pub(super) reference: GrantRef,
    /// The frame that was mapped.
    pub(super) frame: Mfn,
    /// Whether the guest named the page-table entry (`GNTMAP_contains_pte`).
    pub(super) by_entry: bool,
    /// Mapped for the CPU.
    pub(super) host: bool,
    /// Mapped for devices.
    pub(super) device: bool,
    pub(super) readonly: bool,
}

impl Mapping {
    /// Whether it is the mapping that was looked up, apart from what was unmapped of it.
    pub(super) fn is_same(&self, other: &Mapping) -> bool {
        Arc::ptr_eq(&self.granter, &other.granter)
            && self.reference == other.reference
            && self.frame == other.frame
            && self.readonly == other.readonly
            && self.by_entry == other.by_entry
    }
}

enum Slot {
    Free { next: u32 },
    Used(Mapping),
}

/// All handles of a domain.
pub(super) struct Maptrack {
    /// Each of [`BUCKET`] slots.
    buckets: Vec<Box<[Slot]>>,
    free: u32,
    limit: u32,
    /// Set when the domain dies: it maps nothing any more.
    pub(super) closed: bool,
    /// Where giving up all goes on.
    pub(super) cursor: u32,
}

impl core::fmt::Debug for Maptrack {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Maptrack of {} of {} handles", self.len(), self.limit)
    }
}

impl Maptrack {
    pub(super) fn new(limit: u32) -> Maptrack {
        Maptrack { buckets: Vec::new(), free: NONE, limit, closed: false, cursor: 0 }
    }

    /// Handles that there are, used or free.
    pub(super) fn len(&self) -> u32 {
        (self.buckets.len() * BUCKET) as u32
    }

    fn slot(&mut self, handle: u32) -> Option<&mut Slot> {
        speculation::get_mut(&mut self.buckets, handle as usize / BUCKET)
            .map(|bucket| &mut bucket[handle as usize % BUCKET])
    }

    pub(super) fn get(&mut self, handle: u32) -> Option<&mut Mapping> {
        match self.slot(handle)? {
            Slot::Used(mapping) => Some(mapping),
            Slot::Free { .. } => None,
        }
    }

    /// A handle for a mapping.
    ///
    /// # Errors
    /// `NoSpace` when there are as many as allowed, or no memory; the mapping comes back.
    #[inline(always)]
    pub(super) fn add(&mut self, mapping: Mapping) -> Result<u32, (Status, Mapping)> {
        if self.closed || (self.free == NONE && !self.grow()) {
            return Err((Status::NoSpace, mapping));
        }
        let handle = self.free;
        match self.slot(handle) {
            Some(slot @ Slot::Free { .. }) => {
                if let Slot::Free { next } = core::mem::replace(slot, Slot::Used(mapping)) {
                    self.free = next;
                }
                Ok(handle)
            }
            _ => Err((Status::NoSpace, mapping)),
        }
    }

    /// Takes from a handle what was unmapped; it goes with the last of it. Returns what it stood for of that, if it still
    /// stands for `seen`.
    #[inline]
    pub(super) fn release(
        &mut self,
        handle: u32,
        seen: Mapping,
        host: bool,
        device: bool,
    ) -> Option<Mapping> {
        let next = self.free;
        let slot = self.slot(handle)?;
        let Slot::Used(mapping) = slot else { return None };
        if !mapping.is_same(&seen) {
            return None;
        }
        let gone = Mapping { host: mapping.host && host, device: mapping.device && device, ..seen };
        mapping.host &= !host;
        mapping.device &= !device;
        if !mapping.host && !mapping.device {
            *slot = Slot::Free { next };
            self.free = handle;
        }
        Some(gone)
    }

    /// Frees a handle; returns what it stood for.
    pub(super) fn remove(&mut self, handle: u32) -> Option<Mapping> {
        let next = self.free;
        let slot = self.slot(handle)?;
        if let Slot::Free { .. } = slot {
            return None;
        }
        match core::mem::replace(slot, Slot::Free { next }) {
            Slot::Used(mapping) => {
                self.free = handle;
                Some(mapping)
            }
            Slot::Free { .. } => None,
        }
    }

    /// Adds a bucket of free handles, the lowest first.
    fn grow(&mut self) -> bool {
        let first = self.len();
        if first + BUCKET as u32 > self.limit || self.buckets.try_reserve(1).is_err() {
            return false;
        }
        let mut slots = Vec::new();
        if slots.try_reserve_exact(BUCKET).is_err() {
            return false;
        }
        let last = BUCKET as u32 - 1;
        slots.extend((0..=last).map(|n| Slot::Free { next: if n == last { NONE } else { first + n + 1 } }));
        self.buckets.push(slots.into_boxed_slice());
        self.free = first;
        true
    }
}
