//! Where decisions come from.

/// A stream of decisions.
pub trait Source {
    /// The next eight random bits.
    fn byte(&mut self) -> u8;

    /// The next 64 bits.
    fn word(&mut self) -> u64 {
        (0..8).fold(0, |word, _| word << 8 | u64::from(self.byte()))
    }

    /// A number below `end`, which is not 0. One byte decides where one is enough.
    fn below(&mut self, end: u64) -> u64 {
        match end {
            0 | 1 => 0,
            2..=256 => u64::from(self.byte()) % end,
            257..=0x1_0000 => (u64::from(self.byte()) << 8 | u64::from(self.byte())) % end,
            _ => self.word() % end,
        }
    }

    /// True once in `n` times.
    fn once_in(&mut self, n: u64) -> bool {
        // Not 0: a stream that has ended says no.
        self.below(n) == n - 1
    }
}

/// Decisions from the bytes of a fuzzer; zeroes when they are used up.
#[derive(Clone, Debug)]
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// All of these.
    pub fn new(bytes: &'a [u8]) -> Bytes<'a> {
        Bytes(bytes)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// The next `n` bytes, or what there is.
    pub fn take(&mut self, n: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        head
    }
}

impl Source for Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }
}

/// Marsaglia's generator: small, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Xorshift(u64);

impl Xorshift {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Xorshift {
        // Neighbouring seeds are spread; the state must not be 0.
        let spread = (seed ^ 0x5851_f42d_4c95_7f2d).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Xorshift(spread ^ spread >> 32 | 1)
    }
}

impl Source for Xorshift {
    fn byte(&mut self) -> u8 {
        (self.word() >> 24) as u8
    }

    fn word(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
