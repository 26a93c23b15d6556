//! Which machine frame stands behind each page of a domain under construction.
//!
//! A domain gets its memory in few, large runs, so a sorted list of runs is enough.

use alloc::vec::Vec;

use crate::Hypervisor;
use crate::addr::{Mfn, PAGE_SIZE};
use crate::platform::Platform;

/// `count` pages from `pfn` on, behind which are consecutive frames from `mfn` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First page.
    pub pfn: u64,
    /// First frame.
    pub mfn: u64,
    /// Number of both.
    pub count: u64,
}

/// The runs, by rising page number, without a gap.
#[derive(Debug, Default)]
pub struct P2m {
    runs: Vec<Run>,
}

impl P2m {
    /// Adds frames behind the pages that are there.
    pub fn push(&mut self, mfn: u64, count: u64) {
        let pfn = self.pages();
        match self.runs.last_mut() {
            Some(last) if last.mfn + last.count == mfn => last.count += count,
            _ => self.runs.push(Run { pfn, mfn, count }),
        }
    }

    /// Number of pages.
    pub fn pages(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.pfn + run.count)
    }

    /// The runs.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The frame behind a page.
    pub fn mfn(&self, pfn: u64) -> Option<Mfn> {
        let index = self.runs.partition_point(|run| run.pfn + run.count <= pfn);
        let run = self.runs.get(index)?;
        Some(Mfn::new(run.mfn + (pfn - run.pfn)))
    }

    /// All frames in the order of their pages.
    pub fn frames(&self) -> impl Iterator<Item = Mfn> + '_ {
        self.runs.iter().flat_map(|run| (run.mfn..run.mfn + run.count).map(Mfn::new))
    }

    /// Writes bytes at an offset from the domain's page 0. `false` when they do not fit into its memory.
    pub fn write<P: Platform>(&self, hv: &Hypervisor<P>, offset: u64, bytes: &[u8]) -> bool {
        self.pieces(offset, bytes.len() as u64, |mfn, at, done, length| {
            hv.platform.store_bytes(mfn, at, &bytes[done..done + length]);
        })
    }

    /// Writes zeroes at an offset from the domain's page 0. `false` when they do not fit into its memory.
    pub fn clear<P: Platform>(&self, hv: &Hypervisor<P>, offset: u64, length: u64) -> bool {
        const ZEROES: [u8; PAGE_SIZE] = [0; PAGE_SIZE];
        self.pieces(offset, length, |mfn, at, _, length| match length {
            PAGE_SIZE => hv.platform.clear(mfn),
            _ => hv.platform.store_bytes(mfn, at, &ZEROES[..length]),
        })
    }

    /// Cuts a range at page borders; `each` gets the frame, the offset in it, the bytes done before, the bytes to do.
    fn pieces(&self, offset: u64, length: u64, mut each: impl FnMut(Mfn, usize, usize, usize)) -> bool {
        let fits = offset.checked_add(length).is_some_and(|end| end <= self.pages() * PAGE_SIZE as u64);
        let mut done = 0;
        while fits && done < length {
            let at = offset + done;
            let in_page = (at % PAGE_SIZE as u64) as usize;
            let piece = (PAGE_SIZE - in_page).min((length - done) as usize);
            let Some(mfn) = self.mfn(at / PAGE_SIZE as u64) else { return false };
            each(mfn, in_page, done as usize, piece);
            done += piece as u64;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_join_and_are_found() {
        let mut p2m = P2m::default();
        p2m.push(100, 4);
        p2m.push(104, 4);
        p2m.push(50, 2);
        assert_eq!(p2m.runs().len(), 2);
        assert_eq!(p2m.pages(), 10);
        assert_eq!(p2m.mfn(7), Some(Mfn::new(107)));
        assert_eq!(p2m.mfn(9), Some(Mfn::new(51)));
        assert_eq!(p2m.mfn(10), None);
        assert_eq!(p2m.frames().count(), 10);
    }
}
