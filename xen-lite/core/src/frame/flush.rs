//! When a CPU last dropped its translations: a clock that ticks with every flush.
//!
//! A mapping that is removed leaves a *stamp*, the clock's value at that time, in the frame. Before the frame is used for
//! something that the old mapping must not see, every CPU is flushed whose last complete flush began no later than the stamp.
//! The clock is read before a flush and ticked first, so that a stamp taken while a flush runs counts as later than it.
//!
//! Stamps have 24 bits. They are taken for the latest moment with these low bits, which is never before the true one: an old
//! stamp may cost a needless flush, none is ever missed.

use crate::sync::atomic::{AtomicU64, Ordering};

use crate::addr::CpuId;
use crate::hypervisor::Hypervisor;
use crate::platform::{Flush, Platform};

/// Most CPUs, as flush masks are one word.
pub const MAX_CPUS: usize = 64;

/// The clock of flushes.
#[derive(Debug)]
pub struct FlushClock {
    now: AtomicU64,
    seen: [AtomicU64; MAX_CPUS],
}

impl FlushClock {
    pub(super) const fn new() -> FlushClock {
        FlushClock { now: AtomicU64::new(1), seen: [const { AtomicU64::new(0) }; MAX_CPUS] }
    }

    /// To be called before a CPU drops all its translations, global ones too; the result goes to [`FlushClock::done`].
    /// Optional: a flush that is not reported only costs another one later.
    #[inline]
    pub fn begin(&self) -> u64 {
        self.now.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// To be called after the flush.
    #[inline]
    pub fn done(&self, cpu: CpuId, begun: u64) {
        if let Some(seen) = self.seen.get(cpu.index()) {
            seen.fetch_max(begun, Ordering::SeqCst);
        }
    }

    /// The stamp of a mapping that has just been removed.
    #[inline(always)]
    pub(super) fn stamp(&self) -> u32 {
        (self.now.load(Ordering::SeqCst) & 0xff_ffff) as u32
    }

    /// Those of the first `cpus` CPUs that may still hold a mapping removed at `stamp`.
    pub(super) fn stale(&self, stamp: u32, cpus: u32) -> u64 {
        let now = self.now.load(Ordering::SeqCst);
        let removed = now - (now.wrapping_sub(stamp as u64) & 0xff_ffff).min(now);
        let known = self.seen.iter().take(cpus as usize).enumerate();
        known.fold(
            0,
            |mask, (cpu, seen)| {
                if seen.load(Ordering::SeqCst) <= removed { mask | 1 << cpu } else { mask }
            },
        )
    }
}

/// Flushes the CPUs that may still hold a mapping removed at `stamp`.
pub(super) fn flush_stale<P: Platform>(hv: &Hypervisor<P>, stamp: u32) {
    let mask = hv.frames.flushes.stale(stamp, hv.platform.cpus());
    if mask != 0 {
        flush_all(hv, mask);
    }
}

/// Drops all translations of these CPUs and keeps account of it.
pub fn flush_all<P: Platform>(hv: &Hypervisor<P>, cpus: u64) {
    let clock = &hv.frames.flushes;
    let begun = clock.begin();
    hv.platform.flush(Flush::Global, cpus);
    let mut left = cpus;
    while left != 0 {
        clock.done(CpuId::new(left.trailing_zeros()), begun);
        left &= left - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effort::effort;

    #[test]
    fn a_stamp_is_stale_until_a_later_flush() {
        let clock = FlushClock::new();
        let stamp = clock.stamp();
        assert_eq!(clock.stale(stamp, 2), 0b11);
        let begun = clock.begin();
        let during = clock.stamp();
        clock.done(CpuId::new(0), begun);
        assert_eq!(clock.stale(stamp, 2), 0b10);
        assert_eq!(clock.stale(during, 2), 0b11, "taken while the flush ran");
    }

    #[test]
    fn a_wrapped_stamp_is_never_missed() {
        let clock = FlushClock::new();
        for later in [1u64 << 24, (1 << 24) + 5, (1 << 30) - 1] {
            clock.now.store(later, Ordering::SeqCst);
            let stamp = clock.stamp();
            clock.now.store(later + 100, Ordering::SeqCst);
            clock.seen[0].store(later, Ordering::SeqCst);
            assert_eq!(clock.stale(stamp, 1), 1);
            clock.seen[0].store(later + 1, Ordering::SeqCst);
            assert_eq!(clock.stale(stamp, 1), 0);
        }
    }

    /// A CPU caches a mapping and flushes; another removes the mapping. Whenever the clock says that the first CPU is not
    /// stale, it has indeed not the mapping any more, and cannot get it again.
    #[test]
    fn who_is_not_stale_has_flushed() {
        struct Scene {
            clock: FlushClock,
            entry: AtomicU64,
            cached: AtomicU64,
        }
        let make = || Scene { clock: FlushClock::new(), entry: AtomicU64::new(1), cached: AtomicU64::new(0) };
        let cpu = |scene: &Scene| {
            for _ in 0..2 {
                // The walk and the fill are two steps: a flush of this CPU comes after both.
                if scene.entry.load(Ordering::SeqCst) != 0 {
                    scene.cached.store(1, Ordering::SeqCst);
                }
                let begun = scene.clock.begin();
                scene.cached.store(0, Ordering::SeqCst);
                scene.clock.done(CpuId::new(1), begun);
            }
        };
        let remover = |scene: &Scene| {
            scene.entry.store(0, Ordering::SeqCst);
            let stamp = scene.clock.stamp();
            for _ in 0..2 {
                if scene.clock.stale(stamp, 2) & 2 == 0 {
                    assert_eq!(scene.cached.load(Ordering::SeqCst), 0);
                }
            }
        };
        let runs = crate::sync::explore::explore(4, make, &[&cpu, &remover], |_| {});
        assert!(runs > effort(100, 0), "{runs}");
    }
}
