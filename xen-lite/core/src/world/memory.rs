//! The memory of a machine made of vectors. The next machine of that size uses it again, as fuzzing makes thousands in a second.
//!
//! What a frame table is made of lives for ever, as the hypervisor's does; so it has to be used again anyway. Each frame has a
//! flag that says whether it was written since it was cleared: what is clear already costs nothing to clear.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Mutex;

use crate::addr::{Mfn, PAGE_SIZE, PAGE_WORDS};
use crate::frame::FrameInfo;

/// What machines that are gone have left behind.
static SPARE: Mutex<Vec<Memory>> = Mutex::new(Vec::new());

/// One frame, in a box, and its words are named one at a time: Miri looks at each cell behind each reference that is made.
#[derive(Debug)]
struct Frame {
    words: [AtomicU64; PAGE_WORDS],
    /// It may hold something but zeroes.
    written: AtomicBool,
}

impl Frame {
    fn new() -> Box<Frame> {
        Box::new(Frame { words: [const { AtomicU64::new(0) }; PAGE_WORDS], written: AtomicBool::new(false) })
    }
}

/// Frames, what is known of them, and the machine-to-physical table.
#[derive(Debug, Default)]
pub(super) struct Memory {
    frames: Vec<Box<Frame>>,
    pub(super) m2p: Vec<AtomicU64>,
    pub(super) info: &'static [FrameInfo],
}

impl Memory {
    /// As after power-on: zeroes, and nothing known.
    pub(super) fn take(frames: u64) -> Memory {
        let mut spare = SPARE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let found = spare.iter().position(|memory| memory.info.len() as u64 == frames);
        let found = found.map(|at| spare.swap_remove(at));
        drop(spare);
        match found {
            Some(memory) => {
                memory.reset();
                memory
            }
            None => Memory::new(frames),
        }
    }

    fn new(frames: u64) -> Memory {
        let info: Vec<FrameInfo> = (0..frames).map(|_| FrameInfo::default()).collect();
        Memory {
            frames: (0..frames).map(|_| Frame::new()).collect(),
            m2p: (0..frames).map(|_| AtomicU64::new(u64::MAX)).collect(),
            info: info.leak(),
        }
    }

    fn reset(&self) {
        (0..self.info.len() as u64).for_each(|mfn| self.clear(Mfn::new(mfn)));
        self.m2p.iter().for_each(|entry| entry.store(u64::MAX, Ordering::Relaxed));
        self.info.iter().for_each(FrameInfo::reset);
    }

    #[inline]
    pub(super) fn word(&self, mfn: Mfn, word: usize) -> &AtomicU64 {
        &self.frames[mfn.index()].words[word]
    }

    #[inline]
    fn written(&self, mfn: Mfn) -> &AtomicBool {
        &self.frames[mfn.index()].written
    }

    /// Does something to a word that may change it.
    #[inline]
    pub(super) fn change<T>(&self, mfn: Mfn, word: usize, what: impl FnOnce(&AtomicU64) -> T) -> T {
        let done = what(self.word(mfn, word));
        // Afterwards: who clears the frame in between clears the word, too, or comes before this.
        self.written(mfn).store(true, Ordering::Release);
        done
    }

    pub(super) fn clear(&self, mfn: Mfn) {
        if self.written(mfn).swap(false, Ordering::AcqRel) {
            (0..PAGE_WORDS).for_each(|word| self.word(mfn, word).store(0, Ordering::Release));
        }
    }

    pub(super) fn copy(&self, to: Mfn, from: Mfn) {
        for word in 0..PAGE_WORDS {
            let value = self.word(from, word).load(Ordering::Acquire);
            self.word(to, word).store(value, Ordering::Release);
        }
        self.written(to).store(true, Ordering::Release);
    }

    pub(super) fn load_bytes(&self, mfn: Mfn, offset: usize, out: &mut [u8]) {
        assert!(offset + out.len() <= PAGE_SIZE, "{} bytes at {offset:#x} pass the end of {mfn}", out.len());
        for (at, range) in by_word(offset, out.len()) {
            let bytes = self.word(mfn, at / 8).load(Ordering::Acquire).to_le_bytes();
            let length = range.len();
            out[range].copy_from_slice(&bytes[at % 8..][..length]);
        }
    }

    pub(super) fn store_bytes(&self, mfn: Mfn, offset: usize, bytes: &[u8]) {
        let length = bytes.len();
        assert!(offset + length <= PAGE_SIZE, "{length} bytes at {offset:#x} pass the end of {mfn}");
        for (at, range) in by_word(offset, length) {
            let mut new = [0; 8];
            new[at % 8..][..range.len()].copy_from_slice(&bytes[range.clone()]);
            let new = u64::from_le_bytes(new);
            self.change(mfn, at / 8, |word| {
                if range.len() == 8 {
                    word.store(new, Ordering::Release);
                } else {
                    let mask = u64::MAX >> (64 - 8 * range.len()) << (at % 8 * 8);
                    let put = |old: u64| Some(old & !mask | new);
                    let _ = word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, put);
                }
            });
        }
    }
}

/// The parts of a range of bytes that lie in one word each: where in the frame, and which of the bytes.
fn by_word(offset: usize, length: usize) -> impl Iterator<Item = (usize, core::ops::Range<usize>)> {
    let mut done = 0;
    core::iter::from_fn(move || {
        let at = offset + done;
        let here = (8 - at % 8).min(length - done);
        let range = done..done + here;
        done += here;
        (here != 0).then_some((at, range))
    })
}

impl Drop for super::World {
    fn drop(&mut self) {
        let memory = core::mem::take(&mut self.memory);
        SPARE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_used_again_is_as_new() {
        // No other test has a machine of this size.
        let memory = Memory::take(77);
        let mfn = Mfn::new(3);
        memory.store_bytes(mfn, 4090, &[1, 2, 3]);
        memory.copy(Mfn::new(4), mfn);
        memory.m2p[5].store(0, Ordering::Relaxed);
        memory.reset();
        let mut words = memory.frames.iter().flat_map(|frame| &frame.words);
        assert!(words.all(|word| word.load(Ordering::Relaxed) == 0));
        assert!(memory.m2p.iter().all(|entry| entry.load(Ordering::Relaxed) == u64::MAX));
    }

    #[test]
    fn parts_of_words_leave_the_rest() {
        let memory = Memory::take(2);
        let mfn = Mfn::new(1);
        memory.store_bytes(mfn, 0, &[0xff; 24]);
        memory.store_bytes(mfn, 5, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        let mut out = [0; 24];
        memory.load_bytes(mfn, 0, &mut out);
        let f = 0xff;
        assert_eq!(out, [f, f, f, f, f, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, f, f, f, f, f, f, f]);
    }
}
