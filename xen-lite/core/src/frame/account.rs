//! A domain's account of frames.

use core::sync::atomic::Ordering;

use crate::domain::Account;

impl Account {
    /// Enters `frames` more if that keeps the total within the limit.
    pub fn reserve(&self, frames: u32) -> bool {
        let max = self.max.load(Ordering::Relaxed);
        let grown = |total: u32| total.checked_add(frames).filter(|&sum| sum <= max);
        self.total.fetch_update(Ordering::SeqCst, Ordering::Relaxed, grown).is_ok()
    }

    /// Takes `frames` off the total.
    pub fn release(&self, frames: u32) {
        self.total.fetch_sub(frames, Ordering::SeqCst);
    }
}
