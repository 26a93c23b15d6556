//! Locks that event handlers may take.
//!
//! An event upcall runs on the stack of whatever it interrupted. A lock that both sides take would deadlock, so
//! [`MaskedMutex`] masks events on this vCPU for as long as it is held; the pending ones are delivered at release. Keep the
//! locked part short, and never wait inside it.

use crate::arch;
use core::ops::{Deref, DerefMut};

/// Events are masked on this vCPU until the value is dropped. Nests.
#[must_use = "events are unmasked when this is dropped"]
#[derive(Debug)]
pub struct EventsMasked {
    were_enabled: bool,
}

impl EventsMasked {
    /// Masks events.
    pub fn new() -> Self {
        Self { were_enabled: arch::events_disable() }
    }
}

impl Default for EventsMasked {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for EventsMasked {
    fn drop(&mut self) {
        if self.were_enabled {
            arch::events_enable();
        }
    }
}

/// A spin lock whose holder runs with events masked.
#[derive(Debug, Default)]
pub struct MaskedMutex<T: ?Sized> {
    lock: spin::Mutex<T>,
}

impl<T> MaskedMutex<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self { lock: spin::Mutex::new(value) }
    }
}

impl<T: ?Sized> MaskedMutex<T> {
    /// Masks events, then takes the lock.
    pub fn lock(&self) -> MaskedGuard<'_, T> {
        let masked = EventsMasked::new();
        MaskedGuard { guard: self.lock.lock(), _masked: masked }
    }

    /// Opens the lock whoever holds it; for the panic handler, after which the holder never runs again.
    #[cfg(target_os = "none")]
    pub(crate) fn force_unlock(&self) {
        arch::force_unlock(&self.lock);
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<MaskedGuard<'_, T>> {
        let masked = EventsMasked::new();
        Some(MaskedGuard { guard: self.lock.try_lock()?, _masked: masked })
    }
}

/// Access to the value of a [`MaskedMutex`].
#[derive(Debug)]
pub struct MaskedGuard<'a, T: ?Sized> {
    // Dropped first: the lock is released before events are unmasked.
    guard: spin::MutexGuard<'a, T>,
    _masked: EventsMasked,
}

impl<T: ?Sized> Deref for MaskedGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T: ?Sized> DerefMut for MaskedGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}
