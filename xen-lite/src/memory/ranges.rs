//! Free physical memory while booting: disjoint ranges in ascending order.

use alloc::vec::Vec;

/// Ranges of bytes (start, end), on page boundaries.
#[derive(Clone, Debug, Default)]
pub struct Ranges(Vec<(u64, u64)>);

/// What the boot page tables reach.
const REACH: u64 = 1 << 32;

impl Ranges {
    /// Adds a range that overlaps no other; an empty one is ignored.
    pub fn add(&mut self, start: u64, end: u64) {
        if start < end {
            let at = self.0.partition_point(|range| range.0 < start);
            self.0.insert(at, (start, end));
        }
    }

    /// Takes a range out, as far as it is in.
    pub fn remove(&mut self, start: u64, end: u64) {
        let old = core::mem::take(&mut self.0);
        for (from, to) in old {
            self.add(from, to.min(start));
            self.add(from.max(end), to);
        }
    }

    /// Takes `size` bytes (rounded up to pages) from the highest place below 4 GiB.
    ///
    /// # Errors
    /// When there is no such place.
    pub fn take(&mut self, size: u64, align: u64) -> Result<u64, &'static str> {
        let size = size.next_multiple_of(super::PAGE);
        for &(from, to) in self.0.iter().rev() {
            let Some(start) = to.min(REACH).checked_sub(size).map(|start| start & !(align - 1)) else {
                continue;
            };
            if start >= from {
                self.remove(start, start + size);
                return Ok(start);
            }
        }
        Err("too little memory below 4 GiB for the hypervisor's tables")
    }

    /// As [`Ranges::take`], filled with zeroes.
    ///
    /// # Errors
    /// As [`Ranges::take`].
    pub fn take_cleared(&mut self, size: u64, align: u64) -> Result<u64, &'static str> {
        let start = self.take(size, align)?;
        super::direct::fill(start, size.next_multiple_of(super::PAGE), 0);
        Ok(start)
    }

    /// All ranges.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }

    /// Bytes in all.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|(from, to)| to - from).sum()
    }
}
