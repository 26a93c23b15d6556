//! A domain's account of frames.

use core::sync::atomic::Ordering;

use crate::addr::Mfn;
use crate::domain::Account;

impl Account {
    /// Enters `frames` more if that keeps the total within the limit.
    pub fn reserve(&self, frames: u32) -> bool {
        let max = self.max.load(Ordering::Relaxed);
        let grown = |total: u32| total.checked_add(frames).filter(|&sum| sum <= max);
        self.total.fetch_update(Ordering::SeqCst, Ordering::Relaxed, grown).is_ok()
    }

    /// Notes that `2^order` frames are the domain's. Who gives them looks afterwards whether the domain is dying, and who takes back
    /// its memory looks for them where this says.
    pub fn note(&self, first: Mfn, order: u32) {
        let (first, end) = (first.raw(), first.raw() + (1 << order));
        // Mostly the bounds are far enough already, and looking is cheaper than writing.
        if first < self.lowest.load(Ordering::Relaxed) {
            self.lowest.fetch_min(first, Ordering::SeqCst);
        }
        if end > self.end.load(Ordering::Relaxed) {
            self.end.fetch_max(end, Ordering::SeqCst);
        }
    }

    /// Where the domain's frames can be.
    pub fn bounds(&self) -> core::ops::Range<u64> {
        self.lowest.load(Ordering::SeqCst)..self.end.load(Ordering::SeqCst)
    }

    /// Takes `frames` off the total.
    pub fn release(&self, frames: u32) {
        self.total.fetch_sub(frames, Ordering::SeqCst);
    }
}
