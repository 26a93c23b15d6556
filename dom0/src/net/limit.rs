//! A limit on what a guest sends: so many bytes in each window of time.
//!
//! A frame that is over the limit stays in the guest's ring until the next window begins, so nothing is lost and the guest's own
//! queue fills up instead. A window's unused bytes are not carried over, so a pause does not buy a burst longer than one window.

use super::spec::Rate;

/// The state of one interface's limit. Times are nanoseconds of Dom0's clock.
#[derive(Clone, Debug)]
pub struct Limit {
    rate: Option<Rate>,
    left: u64,
    ends: u64,
}

impl Limit {
    /// A limit whose first window begins with the first frame.
    pub fn new(rate: Option<Rate>) -> Self {
        Self { rate, left: 0, ends: 0 }
    }

    /// Whether a frame may be sent now; counts nothing. A window may be overdrawn by one frame, so that even a frame longer than
    /// the window's bytes is sent one day.
    pub fn open(&mut self, now: u64) -> bool {
        let Some(rate) = self.rate else { return true };
        if now >= self.ends {
            self.left = rate.bytes;
            self.ends = now.saturating_add(rate.window * 1000);
        }
        self.left > 0
    }

    /// Counts a frame.
    pub fn count(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes as u64);
    }

    /// When it opens again.
    pub fn opens_at(&self) -> u64 {
        self.ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_open_and_close() {
        let mut limit = Limit::new(Some(Rate { bytes: 3000, window: 1000 }));
        assert!(limit.open(0));
        limit.count(1500);
        assert!(limit.open(10));
        limit.count(1600);
        assert!(!limit.open(999_999));
        assert_eq!(limit.opens_at(), 1_000_000);
        assert!(limit.open(1_000_000));
        limit.count(2999);
        assert!(limit.open(1_000_001) && limit.open(50_000_000));
        let mut none = Limit::new(None);
        none.count(1 << 40);
        assert!(none.open(0));
    }
}
