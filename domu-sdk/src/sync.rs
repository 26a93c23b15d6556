//! Locks.
//!
//! [`MaskedMutex`] is for short sections, and event handlers may take it; [`Mutex`] is for long ones, and who waits for it sleeps.
//!
//! # Event handlers
//! An event upcall runs on the stack of whatever it interrupted. A lock that both sides take would deadlock, so
//! [`MaskedMutex`] masks events on this vCPU for as long as it is held; the pending ones are delivered at release. Keep the
//! locked part short, and never wait inside it.
//!
//! # Several vCPUs
//! Whoever finds a [`MaskedMutex`] taken spins. Its holder may be a vCPU that the hypervisor does not run at the moment, so after
//! [`SPINS`] turns the waiting one gives its own turn away.

use crate::{
    arch,
    executor::{self, WaitList},
    hypercall::sched,
};
use core::{
    future::poll_fn,
    ops::{Deref, DerefMut},
    task::Poll,
};

/// Turns that a vCPU spins before it lets others run.
pub const SPINS: u32 = 1000;

/// Takes a spin lock; see the module about several vCPUs.
pub(crate) fn spin_lock<T: ?Sized>(lock: &spin::Mutex<T>) -> spin::MutexGuard<'_, T> {
    loop {
        for _ in 0..SPINS {
            if let Some(guard) = lock.try_lock() {
                return guard;
            }
            core::hint::spin_loop();
        }
        sched::yield_now();
    }
}

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
        MaskedGuard { guard: spin_lock(&self.lock), _masked: masked }
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

/// A lock whose waiters sleep: tasks with [`Mutex::lock`], a whole vCPU with [`Mutex::lock_blocking`].
///
/// It may be held across `await`. Event handlers must not take it. It is not fair: who comes first may be overtaken.
#[derive(Debug, Default)]
pub struct Mutex<T: ?Sized> {
    waiting: WaitList,
    lock: spin::Mutex<T>,
}

impl<T> Mutex<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self { waiting: WaitList::new(), lock: spin::Mutex::new(value) }
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Takes the lock; the task waits until it is free.
    pub async fn lock(&self) -> MutexGuard<'_, T> {
        poll_fn(|context| {
            if let Some(guard) = self.try_lock() {
                return Poll::Ready(guard);
            }
            self.waiting.register(context);
            // It may have been released in between, before anybody could wake this task.
            self.try_lock().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Takes the lock; the vCPU is blocked until it is free, and its other tasks stand still.
    pub fn lock_blocking(&self) -> MutexGuard<'_, T> {
        executor::block_on(self.lock())
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let guard = self.lock.try_lock()?;
        Some(MutexGuard { guard, _wake: Wake(&self.waiting) })
    }
}

/// Access to the value of a [`Mutex`].
#[derive(Debug)]
pub struct MutexGuard<'a, T: ?Sized> {
    // Dropped first: who is woken finds the lock free.
    guard: spin::MutexGuard<'a, T>,
    _wake: Wake<'a>,
}

/// Wakes those who wait, when it is dropped.
#[derive(Debug)]
struct Wake<'a>(&'a WaitList);

impl Drop for Wake<'_> {
    fn drop(&mut self) {
        self.0.wake_all();
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{boxed::Box, sync::Arc, vec};

    #[test]
    fn a_task_that_waits_for_the_lock_gets_it() {
        let lock = Arc::new(Mutex::new(1));
        let held = lock.clone();
        let task = Box::pin(async move {
            let mut value = held.lock().await;
            executor::yield_now().await;
            executor::yield_now().await;
            *value += 1;
        });
        let main = async {
            executor::yield_now().await;
            assert!(lock.try_lock().is_none(), "the other task does not hold it");
            *lock.lock().await
        };
        assert_eq!(executor::run_tasks(main, vec![task]), (2, 0));
    }
}
