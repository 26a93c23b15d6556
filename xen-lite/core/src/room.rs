//! Room on the hypervisor's own heap for what guests ask for.
//!
//! The language's ordinary allocations (`Box::new`, `Arc::new`, `vec!`, a `push` beyond what is reserved) end the hypervisor when
//! there is no memory. So what a guest can cause never uses them (`docs/adr/0016-heap-refusals.md`): a list is reserved before it is
//! filled, with the functions here or `try_reserve`, and the guest gets `ENOMEM`. What several owners share cannot be asked for
//! like that; for it, [`shared`] has the memory set aside first.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::sync::atomic::AtomicUsize;

use crate::fail::Errno;
use crate::platform::Platform;

/// An empty list with room for exactly `count`.
///
/// # Errors
/// `ENOMEM`.
pub fn list<T>(count: usize) -> Result<Vec<T>, Errno> {
    let mut list = Vec::new();
    list.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    Ok(list)
}

/// `count` times the same.
///
/// # Errors
/// `ENOMEM`.
pub fn filled<T: Clone>(value: T, count: usize) -> Result<Box<[T]>, Errno> {
    let mut all = list(count)?;
    all.resize(count, value);
    // As long as there is room for: it stays where it is.
    Ok(all.into_boxed_slice())
}

/// A copy of a list.
///
/// # Errors
/// `ENOMEM`.
pub fn copy<T: Clone>(from: &[T]) -> Result<Vec<T>, Errno> {
    let mut all = list(from.len())?;
    all.extend_from_slice(from);
    Ok(all)
}

/// A value with several owners.
///
/// # Errors
/// `ENOMEM`; the value is dropped.
pub fn shared<P: Platform, T>(platform: &P, value: T) -> Result<Arc<T>, Errno> {
    // Two counters and the value in C's order are what an `Arc` allocates. If that ever changes, the test in which each
    // allocation fails ends with the hypervisor's.
    let counters = Layout::new::<[AtomicUsize; 2]>();
    let (layout, _) = counters.extend(Layout::new::<T>()).map_err(|_| Errno::ENOMEM)?;
    if !platform.set_aside(layout.pad_to_align()) {
        return Err(Errno::ENOMEM);
    }
    Ok(Arc::new(value))
}
