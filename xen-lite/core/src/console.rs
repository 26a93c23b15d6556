//! The log: what the hypervisor prints, kept for `dmesg`, and the budget of what guests may cause it to print.
//!
//! The ring holds the last [`RING`] bytes. A *position* counts all bytes ever written, modulo 2^32; readers keep one and ask for what
//! follows (`XEN_SYSCTL_readconsole`).

use alloc::boxed::Box;

use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use spin::Mutex;

/// Bytes that the log keeps. A power of two.
pub const RING: usize = 16 * 1024;

/// Messages that guests may cause in a burst.
const BURST: u32 = 64;
/// Nanoseconds after which one more is allowed.
const PER_MESSAGE: u64 = 100_000_000;

struct Ring {
    bytes: Box<[u8]>,
    /// Bytes written so far.
    end: u32,
    /// What is before this was cleared, or overwritten.
    begin: u32,
}

/// The log.
pub struct Log {
    ring: Mutex<Ring>,
    budget: AtomicU32,
    refilled: AtomicU64,
    suppressed: AtomicU32,
}

impl Default for Log {
    fn default() -> Self {
        Log {
            ring: Mutex::new(Ring { bytes: alloc::vec![0; RING].into_boxed_slice(), end: 0, begin: 0 }),
            budget: AtomicU32::new(BURST),
            refilled: AtomicU64::new(0),
            suppressed: AtomicU32::new(0),
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

impl Log {
    /// Adds bytes.
    pub fn write(&self, bytes: &[u8]) {
        let mut ring = self.ring.lock();
        for byte in bytes {
            let at = ring.end as usize % RING;
            ring.bytes[at] = *byte;
            ring.end = ring.end.wrapping_add(1);
        }
        if ring.end.wrapping_sub(ring.begin) as usize > RING {
            ring.begin = ring.end.wrapping_sub(RING as u32);
        }
    }

    /// Where reading begins: at the position `from` if that is still there, else at the oldest byte.
    pub fn start(&self, from: Option<u32>) -> u32 {
        let ring = self.ring.lock();
        match from {
            Some(from) if from.wrapping_sub(ring.begin) <= ring.end.wrapping_sub(ring.begin) => from,
            _ => ring.begin,
        }
    }

    /// Copies what follows a position; returns how many bytes, and the position behind them.
    pub fn read(&self, position: u32, out: &mut [u8]) -> (usize, u32) {
        let ring = self.ring.lock();
        let available = ring.end.wrapping_sub(ring.begin);
        // A position that was overtaken, or that never was, goes on at the oldest byte.
        let known = position.wrapping_sub(ring.begin) <= available;
        let position = if known { position } else { ring.begin };
        let left = ring.end.wrapping_sub(position);
        let length = out.len().min(left as usize);
        for (n, byte) in out[..length].iter_mut().enumerate() {
            *byte = ring.bytes[(position as usize + n) % RING];
        }
        (length, position.wrapping_add(length as u32))
    }

    /// Forgets what is before a position.
    pub fn clear_to(&self, position: u32) {
        let mut ring = self.ring.lock();
        if position.wrapping_sub(ring.begin) <= ring.end.wrapping_sub(ring.begin) {
            ring.begin = position;
        }
    }

    /// Whether a message that a guest caused may be printed now. If messages were left out before it, the number of these is given.
    pub fn guest_may_print(&self, now: u64) -> Option<u32> {
        let last = self.refilled.load(Ordering::Relaxed);
        let earned = now.saturating_sub(last) / PER_MESSAGE;
        if earned > 0
            && self.refilled.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            let add = u32::try_from(earned).unwrap_or(BURST).min(BURST);
            let _ = self
                .budget
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |has| Some((has + add).min(BURST)));
        }
        let spend = |has: u32| has.checked_sub(1);
        if self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok() {
            Some(self.suppressed.swap(0, Ordering::Relaxed))
        } else {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

impl fmt::Write for &Log {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(log: &Log, from: Option<u32>) -> (std::vec::Vec<u8>, u32) {
        let (mut text, mut position, mut piece) = (std::vec::Vec::new(), log.start(from), [0; 100]);
        loop {
            let (length, next) = log.read(position, &mut piece);
            if length == 0 {
                return (text, next);
            }
            text.extend_from_slice(&piece[..length]);
            position = next;
        }
    }

    #[test]
    fn reading_goes_on_where_it_stopped() {
        let log = Log::default();
        log.write(b"one ");
        let (text, position) = all(&log, None);
        assert_eq!(text, b"one ");
        log.write(b"two");
        assert_eq!(all(&log, Some(position)).0, b"two");
        assert_eq!(all(&log, None).0, b"one two");
    }

    #[test]
    fn the_oldest_is_overwritten_and_a_late_reader_starts_at_the_oldest() {
        let log = Log::default();
        for n in 0..RING as u32 / 4 + 10 {
            log.write(&n.to_le_bytes());
        }
        let (text, _) = all(&log, Some(0));
        assert_eq!(text.len(), RING);
        assert_eq!(text[..4], 10u32.to_le_bytes());
        let mut piece = [0; 4];
        assert_eq!(log.read(3, &mut piece).0, 4);
        assert_eq!(piece, 10u32.to_le_bytes());
    }

    #[test]
    fn positions_from_nowhere_do_no_harm() {
        let log = Log::default();
        log.write(b"abc");
        for from in [4, 1000, u32::MAX, 1 << 31] {
            assert_eq!(all(&log, Some(from)).0, b"abc", "position {from}");
            let mut piece = [0; 8];
            assert_eq!(log.read(from, &mut piece).0, 3, "position {from}");
        }
    }

    #[test]
    fn positions_wrap() {
        let log = Log::default();
        {
            let mut ring = log.ring.lock();
            (ring.begin, ring.end) = (u32::MAX - 1, u32::MAX - 1);
        }
        log.write(b"abcdef");
        assert_eq!(all(&log, None).0, b"abcdef");
        assert_eq!(all(&log, Some(0)).0, b"cdef");
    }

    #[test]
    fn cleared_text_is_gone() {
        let log = Log::default();
        log.write(b"old");
        log.clear_to(3);
        log.write(b"new");
        assert_eq!(all(&log, None).0, b"new");
        log.clear_to(77);
        assert_eq!(all(&log, None).0, b"new");
    }

    #[test]
    fn guests_run_out_of_messages_and_earn_new_ones() {
        let log = Log::default();
        let printed = (0..1000).filter(|_| log.guest_may_print(0).is_some()).count();
        assert_eq!(printed, BURST as usize);
        assert_eq!(log.guest_may_print(PER_MESSAGE), Some(1000 - BURST));
        assert_eq!(log.guest_may_print(PER_MESSAGE), None);
        assert_eq!((0..1000).filter(|_| log.guest_may_print(u64::MAX / 2).is_some()).count(), BURST as usize);
    }
}
