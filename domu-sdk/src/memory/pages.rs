//! Which pseudo-physical frames are free: a bitmap with one bit per frame, set = free.
//!
//! Single pages come from a rotating cursor; runs are found by scanning whole words. The bitmap lives in frames that the
//! start code takes from the free area itself, so nothing here needs the heap.

/// The free set.
#[derive(Debug)]
pub struct FreeSet<'a> {
    words: &'a mut [u64],
    free: u64,
    cursor: usize,
}

impl<'a> FreeSet<'a> {
    /// A set over `words.len() * 64` frames, none of them free.
    pub fn new(words: &'a mut [u64]) -> Self {
        words.fill(0);
        Self { words, free: 0, cursor: 0 }
    }

    /// Number of free frames.
    pub fn free(&self) -> u64 {
        self.free
    }

    /// Marks frames free. Those that are free already (a bug of the caller) are counted and returned.
    pub fn release(&mut self, first: u64, count: u64) -> u64 {
        let mut twice = 0;
        for frame in first..first + count {
            let (word, bit) = (frame as usize / 64, 1 << (frame % 64));
            if self.words[word] & bit != 0 {
                twice += 1;
            } else {
                self.words[word] |= bit;
                self.free += 1;
            }
        }
        twice
    }

    /// Takes `count` consecutive frames; the first one's number, or `None` if there is no such run.
    pub fn take(&mut self, count: u64) -> Option<u64> {
        if count == 0 || count > self.free {
            return None;
        }
        let total = self.words.len();
        let start = if count == 1 { self.cursor } else { 0 };
        let first = self.find(start, total, count).or_else(|| self.find(0, total, count))?;
        self.claim(first, count);
        self.cursor = first as usize / 64;
        Some(first)
    }

    fn claim(&mut self, first: u64, count: u64) {
        for frame in first..first + count {
            self.words[frame as usize / 64] &= !(1 << (frame % 64));
        }
        self.free -= count;
    }

    fn find(&self, start: usize, end: usize, count: u64) -> Option<u64> {
        let mut run = 0;
        let mut word = start;
        while word < end {
            match self.words[word] {
                0 => run = 0,
                u64::MAX => {
                    run += 64;
                    if run >= count {
                        return Some((word as u64 + 1) * 64 - run);
                    }
                }
                bits => {
                    for bit in 0..64 {
                        run = if bits & (1 << bit) != 0 { run + 1 } else { 0 };
                        if run == count {
                            return Some(word as u64 * 64 + bit + 1 - run);
                        }
                    }
                }
            }
            word += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_was_released_and_no_more() {
        let mut words = [0; 4];
        let mut set = FreeSet::new(&mut words);
        assert_eq!(set.take(1), None);
        assert_eq!(set.release(10, 3), 0);
        let mut taken = [set.take(1), set.take(1), set.take(1)];
        taken.sort_unstable();
        assert_eq!(taken, [Some(10), Some(11), Some(12)]);
        assert_eq!(set.take(1), None);
        assert_eq!(set.free(), 0);
    }

    #[test]
    fn runs_cross_word_borders() {
        let mut words = [0; 4];
        let mut set = FreeSet::new(&mut words);
        set.release(60, 80);
        assert_eq!(set.take(80), Some(60));
        set.release(60, 80);
        assert_eq!(set.take(81), None);
        assert_eq!(set.take(70), Some(60));
        assert_eq!(set.take(10), Some(130));
    }

    #[test]
    fn run_skips_short_holes() {
        let mut words = [0; 4];
        let mut set = FreeSet::new(&mut words);
        set.release(0, 5);
        set.release(6, 100);
        assert_eq!(set.take(6), Some(6));
    }

    #[test]
    fn double_release_is_reported_not_counted() {
        let mut words = [0; 1];
        let mut set = FreeSet::new(&mut words);
        set.release(0, 4);
        assert_eq!(set.release(3, 2), 1);
        assert_eq!(set.free(), 5);
    }

    #[test]
    fn single_pages_wrap_around() {
        let mut words = [0; 2];
        let mut set = FreeSet::new(&mut words);
        set.release(127, 1);
        assert_eq!(set.take(1), Some(127));
        set.release(3, 1);
        assert_eq!(set.take(1), Some(3));
    }
}
