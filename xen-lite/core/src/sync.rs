//! Atomics and locks, for what several CPUs change at once.
//!
//! They are those of `core` and `spin`. In this crate's own tests they are too, with a *point* before each access, at which a test
//! that explores interleavings ([`explore`]) may let another thread go first. Code of protocols between CPUs takes them from here.

#[cfg(not(test))]
pub use core::hint::spin_loop as relax;
#[cfg(not(test))]
pub use core::sync::atomic;
#[cfg(not(test))]
pub use spin::{Mutex, MutexGuard};

#[cfg(test)]
pub mod atomic;
#[cfg(test)]
pub(crate) mod explore;
#[cfg(test)]
mod placement;
#[cfg(test)]
mod protocols;

/// What a CPU does while it waits for another. A point, at which others go first.
#[cfg(test)]
pub fn relax() {
    <explore::Waiting as spin::RelaxStrategy>::relax();
}

/// A mutex whose waiting is a point.
#[cfg(test)]
pub type Mutex<T> = spin::mutex::Mutex<T, explore::Waiting>;
/// Its guard.
#[cfg(test)]
pub type MutexGuard<'a, T> = spin::mutex::MutexGuard<'a, T>;
