//! A guest's console: what it printed, and what is typed into it.
//!
//! The page is `struct xencons_interface` (public header `io/console.h`): 1024 bytes towards the guest, 2048 from it, and free-running
//! indices. As with the store's ring, our own indices live here; the guest's must not be more than a ring ahead. If they are,
//! the rest of the ring is skipped: a broken console harms only its own guest.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::page::SharedPage;

const IN_SIZE: usize = 1024;
const OUT: usize = 1024;
const OUT_SIZE: usize = 2048;
const IN_CONS: usize = 3072;
const IN_PROD: usize = 3076;
const OUT_CONS: usize = 3080;
const OUT_PROD: usize = 3084;

/// Bytes of output kept for `log` and for attaching.
pub const LOG_MAX: usize = 64 << 10;
/// Bytes of input that may wait for the guest.
const INPUT_MAX: usize = 4096;

/// One guest's console.
#[derive(Debug, Default)]
pub struct Console {
    in_prod: u32,
    out_cons: u32,
    log: VecDeque<u8>,
    /// Bytes ever printed: positions in the output, also of what the log has dropped.
    printed: u64,
    input: VecDeque<u8>,
}

impl Console {
    /// Takes a console page over.
    pub fn attach(page: &impl SharedPage) -> Self {
        Self { in_prod: page.load(IN_PROD), out_cons: page.load(OUT_CONS), ..Self::default() }
    }

    /// Moves output from the ring to the log and waiting input to the ring. Returns whether anything moved, in which case the
    /// guest is to be notified.
    pub fn serve(&mut self, page: &impl SharedPage) -> bool {
        let moved = self.take_output(page);
        self.give_input(page) || moved
    }

    fn take_output(&mut self, page: &impl SharedPage) -> bool {
        let produced = page.load(OUT_PROD);
        let ready = produced.wrapping_sub(self.out_cons) as usize;
        if ready == 0 {
            return false;
        }
        if ready > OUT_SIZE {
            self.out_cons = produced;
        }
        while self.out_cons != produced {
            let byte = page.byte(OUT + self.out_cons as usize % OUT_SIZE);
            self.out_cons = self.out_cons.wrapping_add(1);
            self.record(byte);
        }
        page.store(OUT_CONS, self.out_cons);
        true
    }

    fn record(&mut self, byte: u8) {
        if self.log.len() == LOG_MAX {
            self.log.pop_front();
        }
        self.log.push_back(byte);
        self.printed += 1;
    }

    fn give_input(&mut self, page: &impl SharedPage) -> bool {
        let used = self.in_prod.wrapping_sub(page.load(IN_CONS)) as usize;
        let room = IN_SIZE.saturating_sub(used);
        let count = room.min(self.input.len());
        for byte in self.input.drain(..count) {
            page.set_byte(self.in_prod as usize % IN_SIZE, byte);
            self.in_prod = self.in_prod.wrapping_add(1);
        }
        if count > 0 {
            page.store(IN_PROD, self.in_prod);
        }
        count > 0
    }

    /// Queues input; what exceeds the queue is dropped.
    pub fn type_in(&mut self, bytes: &[u8]) {
        let room = INPUT_MAX - self.input.len();
        self.input.extend(&bytes[..room.min(bytes.len())]);
    }

    /// Position after the newest byte of output.
    pub fn end(&self) -> u64 {
        self.printed
    }

    /// Output from a position on, as far as it is kept.
    pub fn since(&self, position: u64) -> Vec<u8> {
        let start = self.printed - self.log.len() as u64;
        let skip = position.saturating_sub(start).min(self.log.len() as u64) as usize;
        self.log.range(skip..).copied().collect()
    }

    /// Position after the first occurrence of `text` at or after a position.
    pub fn find(&self, position: u64, text: &[u8]) -> Option<u64> {
        let kept = self.since(position);
        let start = self.printed - kept.len() as u64;
        if text.is_empty() {
            return Some(start);
        }
        let at = kept.windows(text.len()).position(|w| w == text)?;
        Some(start + (at + text.len()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::TestPage;

    fn print(page: &TestPage, text: &[u8]) {
        let mut prod = page.load(OUT_PROD);
        for &byte in text {
            page.set_byte(OUT + prod as usize % OUT_SIZE, byte);
            prod = prod.wrapping_add(1);
        }
        page.store(OUT_PROD, prod);
    }

    #[test]
    fn output_is_kept_and_found() {
        let page = TestPage::new();
        for index in [OUT_PROD, OUT_CONS] {
            page.store(index, u32::MAX - 2);
        }
        let mut console = Console::attach(&page);
        print(&page, b"hello world");
        assert!(console.serve(&page) && !console.serve(&page));
        assert_eq!(page.load(OUT_CONS), page.load(OUT_PROD));
        assert_eq!(console.since(6), b"world");
        assert_eq!(console.find(0, b"lo w"), Some(7));
        assert_eq!(console.find(7, b"hello"), None);
    }

    #[test]
    fn the_log_keeps_the_newest() {
        let page = TestPage::new();
        let mut console = Console::attach(&page);
        for _ in 0..LOG_MAX / 2048 + 1 {
            print(&page, &[b'a'; 2048]);
            console.serve(&page);
        }
        print(&page, b"end");
        console.serve(&page);
        assert_eq!(console.since(0).len(), LOG_MAX);
        assert_eq!(console.since(console.end() - 3), b"end");
    }

    #[test]
    fn input_waits_for_room() {
        let page = TestPage::new();
        let mut console = Console::attach(&page);
        console.type_in(&[b'x'; 1500]);
        assert!(console.serve(&page));
        assert_eq!(page.load(IN_PROD), 1024);
        assert!(!console.serve(&page));
        page.store(IN_CONS, 1024);
        assert!(console.serve(&page));
        assert_eq!(page.load(IN_PROD), 1500);
    }

    #[test]
    fn wild_indices_are_survived() {
        let page = TestPage::new();
        let mut console = Console::attach(&page);
        page.store(OUT_PROD, 5000);
        page.store(IN_CONS, 77);
        console.type_in(b"x");
        console.serve(&page);
        print(&page, b"again");
        console.serve(&page);
        assert_eq!(console.since(0), b"again");
    }
}
