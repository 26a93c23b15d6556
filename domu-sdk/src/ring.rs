//! Byte rings between two domains, as the console and the store use them.
//!
//! A ring is an array of a power-of-two size, and two free-running 32-bit counters: the producer's and the consumer's. The
//! bytes between them are in the ring. Each side writes its own counter only, after it has written or read the bytes, and
//! reads the other's before. The other side may be hostile: a distance of more than the size is [`Broken`], never an index.

use crate::arch::SharedMem;

/// The other side's counter makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The producer's counter.
    pub produced: u32,
    /// The consumer's counter.
    pub consumed: u32,
}

/// Where a ring is in its shared page; all in bytes.
#[derive(Clone, Copy, Debug)]
pub struct ByteRing {
    /// Offset of the array.
    pub data: usize,
    /// Length of the array, a power of two.
    pub size: u32,
    /// Offset of the consumer's counter.
    pub consumer: usize,
    /// Offset of the producer's counter.
    pub producer: usize,
}

impl ByteRing {
    /// Bytes in the ring.
    pub fn used(&self, page: &SharedMem) -> Result<u32, Broken> {
        let (produced, consumed) = (page.load_u32(self.producer), page.load_u32(self.consumer));
        let used = produced.wrapping_sub(consumed);
        if used <= self.size { Ok(used) } else { Err(Broken { produced, consumed }) }
    }

    /// Appends as much of `bytes` as fits; returns how many. Only the producer's side may call it.
    pub fn push(&self, page: &SharedMem, bytes: &[u8]) -> Result<usize, Broken> {
        let room = self.size - self.used(page)?;
        let count = bytes.len().min(room as usize);
        let at = page.load_u32(self.producer);
        let (first, second) = bytes[..count].split_at(count.min(self.until_end(at)));
        page.write(self.data + self.index(at), first);
        page.write(self.data, second);
        page.store_u32(self.producer, at.wrapping_add(count as u32));
        Ok(count)
    }

    /// Takes bytes out, as many as there are and fit; returns how many. Only the consumer's side may call it.
    pub fn pop(&self, page: &SharedMem, bytes: &mut [u8]) -> Result<usize, Broken> {
        let count = bytes.len().min(self.used(page)? as usize);
        let at = page.load_u32(self.consumer);
        let (first, second) = bytes[..count].split_at_mut(count.min(self.until_end(at)));
        page.read(self.data + self.index(at), first);
        page.read(self.data, second);
        page.store_u32(self.consumer, at.wrapping_add(count as u32));
        Ok(count)
    }

    fn index(&self, counter: u32) -> usize {
        (counter & (self.size - 1)) as usize
    }

    fn until_end(&self, counter: u32) -> usize {
        self.size as usize - self.index(counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::SharedPages;

    const RING: ByteRing = ByteRing { data: 16, size: 8, consumer: 0, producer: 4 };

    fn page() -> SharedPages {
        SharedPages::new(1).expect("memory")
    }

    #[test]
    fn bytes_come_out_in_order_across_the_end() {
        let page = page();
        let mut out = [0; 16];
        for round in 0..20u8 {
            let bytes = [round, round + 1, round + 2, round + 3, round + 4];
            assert_eq!(RING.push(&page, &bytes), Ok(5));
            assert_eq!(RING.pop(&page, &mut out), Ok(5));
            assert_eq!(out[..5], bytes);
        }
    }

    #[test]
    fn counters_wrap() {
        let page = page();
        page.store_u32(0, u32::MAX - 2);
        page.store_u32(4, u32::MAX - 2);
        let mut out = [0; 8];
        assert_eq!(RING.push(&page, b"abcdefgh"), Ok(8));
        assert_eq!(RING.push(&page, b"i"), Ok(0));
        assert_eq!(RING.pop(&page, &mut out), Ok(8));
        assert_eq!(&out, b"abcdefgh");
        assert_eq!(page.load_u32(0), 5);
    }

    #[test]
    fn takes_what_fits() {
        let page = page();
        assert_eq!(RING.push(&page, b"0123456789"), Ok(8));
        let mut out = [0; 3];
        assert_eq!(RING.pop(&page, &mut out), Ok(3));
        assert_eq!(RING.push(&page, b"89"), Ok(2));
        assert_eq!(RING.used(&page), Ok(7));
    }

    #[test]
    fn hostile_counter_is_refused() {
        let page = page();
        page.store_u32(4, 9);
        let broken = Broken { produced: 9, consumed: 0 };
        assert_eq!(RING.pop(&page, &mut [0; 4]), Err(broken));
        assert_eq!(RING.push(&page, b"x"), Err(broken));
    }
}
