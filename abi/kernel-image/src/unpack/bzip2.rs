//! bzip2, decoded from a slice into a slice.
//!
//! A stream is `BZh1`..`BZh9` (block size in units of 100 000 bytes), blocks, and a footer with a combined CRC. A
//! block is: magic, CRC, the row of the sorted rotations where the text starts, the set of used bytes, up to six
//! Huffman tables chosen anew every 50 symbols, and the symbols: run lengths of zero (RUNA, RUNB, a bijective
//! base-2 number) and move-to-front positions. Undone in the reverse order: Huffman, move-to-front,
//! Burrows-Wheeler, and a first run-length code (four equal bytes, then a count 0..=255).
//!
//! Every index that comes from the input is checked; the output never exceeds the caller's slice.

use alloc::vec::Vec;

use super::crc32;

const BLOCK_MAGIC: u64 = 0x3141_5926_5359;
const END_MAGIC: u64 = 0x1772_4538_5090;
const MAX_CODE_LEN: u32 = 20;
const GROUP: usize = 50;

/// Why decoding stopped.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Error {
    Damaged(&'static str),
    OutputFull,
    NoMemory(usize),
}

type Result<T> = core::result::Result<T, Error>;

/// Bits of the input, most significant first.
struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    held: u64,
    count: u32,
}

impl Bits<'_> {
    /// The next `n` (at most 32) bits.
    fn take(&mut self, n: u32) -> Result<u32> {
        while self.count < n {
            let byte = self.data.get(self.at).ok_or(Error::Damaged("the stream ends early"))?;
            self.held = self.held << 8 | u64::from(*byte);
            self.at += 1;
            self.count += 8;
        }
        self.count -= n;
        Ok(((self.held >> self.count) & ((1 << n) - 1)) as u32)
    }

    fn flag(&mut self) -> Result<bool> {
        Ok(self.take(1)? != 0)
    }
}

/// A canonical Huffman code, decoded length by length.
struct Code {
    /// For each length: the first code that is longer, and what to add to a code to get its rank.
    limit: [i32; MAX_CODE_LEN as usize + 2],
    base: [i32; MAX_CODE_LEN as usize + 2],
    /// Symbols by rank.
    symbols: [u16; 258],
    used: usize,
}

impl Code {
    fn new(lengths: &[u8]) -> Self {
        let mut code = Self { limit: [0; 22], base: [0; 22], symbols: [0; 258], used: 0 };
        let mut next = 0i32;
        for len in 1..=MAX_CODE_LEN {
            code.base[len as usize] = code.used as i32 - next;
            for (symbol, _) in lengths.iter().enumerate().filter(|(_, l)| u32::from(**l) == len) {
                code.symbols[code.used] = symbol as u16;
                code.used += 1;
                next += 1;
            }
            code.limit[len as usize] = next;
            next <<= 1;
        }
        code
    }

    fn read(&self, bits: &mut Bits<'_>) -> Result<u16> {
        let mut value = 0i32;
        for len in 1..=MAX_CODE_LEN as usize {
            value = value << 1 | bits.take(1)? as i32;
            if value < self.limit[len] {
                let rank = usize::try_from(value + self.base[len]).map_err(|_| Error::Damaged("bad code"))?;
                return self.symbols[..self.used].get(rank).copied().ok_or(Error::Damaged("bad code"));
            }
        }
        Err(Error::Damaged("a Huffman code is longer than 20 bits"))
    }
}

/// Unpacks all streams at the start of `data` into `out`; returns the number of bytes written.
pub(super) fn decode(data: &[u8], out: &mut [u8]) -> Result<usize> {
    let level = match data {
        [b'B', b'Z', b'h', level @ b'1'..=b'9', ..] => usize::from(level - b'0'),
        _ => return Err(Error::Damaged("no BZh header")),
    };
    let mut bits = Bits { data, at: 4, held: 0, count: 0 };
    let mut block = Vec::new();
    block.try_reserve_exact(level * 100_000).map_err(|_| Error::NoMemory(level * 400_000))?;
    let (mut written, mut combined) = (0, 0u32);
    loop {
        let magic = u64::from(bits.take(24)?) << 24 | u64::from(bits.take(24)?);
        let crc = bits.take(32)?;
        match magic {
            BLOCK_MAGIC => {}
            END_MAGIC if crc == combined => return Ok(written),
            END_MAGIC => return Err(Error::Damaged("the CRC of the stream does not match")),
            _ => return Err(Error::Damaged("bad block magic")),
        }
        let rest = out.get_mut(written..).ok_or(Error::OutputFull)?;
        let origin = read_block(&mut bits, &mut block, level * 100_000)?;
        let len = invert(&mut block, origin, rest)?;
        if crc32::bzip2(&rest[..len]) != crc {
            return Err(Error::Damaged("the CRC of a block does not match"));
        }
        combined = combined.rotate_left(1) ^ crc;
        written += len;
    }
}

/// Reads one block's symbols into the low bytes of `block`; returns the row of the original text.
fn read_block(bits: &mut Bits<'_>, block: &mut Vec<u32>, max: usize) -> Result<usize> {
    if bits.flag()? {
        return Err(Error::Damaged("a randomised block (bzip2 before 0.9.5)"));
    }
    let origin = bits.take(24)? as usize;
    let (mut recent, used) = read_used_bytes(bits)?;
    let alphabet = used + 2;
    let groups = bits.take(3)? as usize;
    if !(2..=6).contains(&groups) {
        return Err(Error::Damaged("the number of Huffman tables is not 2 to 6"));
    }
    let selectors = read_selectors(bits, groups)?;
    let mut codes = Vec::with_capacity(groups);
    for _ in 0..groups {
        codes.push(read_code(bits, alphabet)?);
    }

    block.clear();
    let end_of_block = used as u16 + 1;
    let (mut run, mut weight) = (0usize, 1usize);
    for selector in selectors {
        let code = codes.get(usize::from(selector)).ok_or(Error::Damaged("bad table selector"))?;
        for _ in 0..GROUP {
            let symbol = code.read(bits)?;
            if symbol <= 1 {
                run += weight << symbol;
                weight <<= 1;
                if run > max {
                    return Err(Error::Damaged("a run exceeds the block size"));
                }
                continue;
            }
            if block.len() + run >= max + usize::from(symbol == end_of_block) {
                return Err(Error::Damaged("a block exceeds the block size"));
            }
            block.extend(core::iter::repeat_n(u32::from(recent[0]), run));
            (run, weight) = (0, 1);
            if symbol == end_of_block {
                return if origin < block.len() { Ok(origin) } else { Err(Error::Damaged("bad origin row")) };
            }
            let at = usize::from(symbol) - 1;
            recent[..=at].rotate_right(1);
            block.push(u32::from(recent[0]));
        }
    }
    Err(Error::Damaged("a block has no end"))
}

/// The used bytes in order, and how many they are.
fn read_used_bytes(bits: &mut Bits<'_>) -> Result<([u8; 256], usize)> {
    let (mut bytes, mut used) = ([0; 256], 0);
    let rows = bits.take(16)?;
    for row in (0..16u32).filter(|row| rows >> (15 - row) & 1 != 0) {
        let columns = bits.take(16)?;
        for column in (0..16u32).filter(|column| columns >> (15 - column) & 1 != 0) {
            bytes[used] = (row * 16 + column) as u8;
            used += 1;
        }
    }
    if used == 0 { Err(Error::Damaged("a block uses no byte")) } else { Ok((bytes, used)) }
}

fn read_selectors(bits: &mut Bits<'_>, groups: usize) -> Result<Vec<u8>> {
    let count = bits.take(15)? as usize;
    if count == 0 {
        return Err(Error::Damaged("a block has no table selector"));
    }
    let mut recent = [0, 1, 2, 3, 4, 5];
    let mut selectors = Vec::with_capacity(count);
    for _ in 0..count {
        let mut at = 0;
        while bits.flag()? {
            at += 1;
            if at >= groups {
                return Err(Error::Damaged("bad table selector"));
            }
        }
        recent[..=at].rotate_right(1);
        selectors.push(recent[0]);
    }
    Ok(selectors)
}

fn read_code(bits: &mut Bits<'_>, alphabet: usize) -> Result<Code> {
    let mut lengths = [0u8; 258];
    let mut len = bits.take(5)?;
    for slot in &mut lengths[..alphabet] {
        loop {
            if !(1..=MAX_CODE_LEN).contains(&len) {
                return Err(Error::Damaged("a code length is not 1 to 20"));
            }
            if !bits.flag()? {
                break;
            }
            len = if bits.flag()? { len - 1 } else { len + 1 };
        }
        *slot = len as u8;
    }
    Ok(Code::new(&lengths[..alphabet]))
}

/// Undoes the sorting of rotations and the first run-length code; returns the bytes written.
///
/// The upper 24 bits of each element become the link to the next row.
fn invert(block: &mut [u32], origin: usize, out: &mut [u8]) -> Result<usize> {
    let mut starts = [0u32; 256];
    for element in &*block {
        starts[(*element & 0xff) as usize] += 1;
    }
    let mut sum = 0;
    for start in &mut starts {
        sum += core::mem::replace(start, sum);
    }
    for row in 0..block.len() {
        let byte = (block[row] & 0xff) as usize;
        block[starts[byte] as usize] |= (row as u32) << 8;
        starts[byte] += 1;
    }

    let (mut at, mut last, mut same) = (block[origin] >> 8, None, 0);
    let mut written = 0;
    for _ in 0..block.len() {
        let element = block[at as usize];
        let byte = element as u8;
        at = element >> 8;
        let (fill, count) = match last {
            Some(previous) if same == 4 => {
                (same, last) = (0, None);
                (previous, usize::from(byte))
            }
            _ => {
                same = if last == Some(byte) { same + 1 } else { 1 };
                last = Some(byte);
                (byte, 1)
            }
        };
        out.get_mut(written..written + count).ok_or(Error::OutputFull)?.fill(fill);
        written += count;
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf 'hello hello hello' | bzip2 -9`
    const HELLO: &[u8] = include_bytes!("testdata/hello.bz2");

    #[test]
    fn hello() {
        let mut out = [0; 64];
        assert_eq!(decode(HELLO, &mut out), Ok(17));
        assert_eq!(&out[..17], b"hello hello hello");
        assert_eq!(decode(HELLO, &mut out[..16]), Err(Error::OutputFull));
    }

    #[test]
    fn runs_and_every_byte() {
        let mut out = alloc::vec![0; 300_000];
        let len = decode(include_bytes!("testdata/runs.bz2"), &mut out).unwrap();
        assert_eq!(len, 256 + 200_000);
        assert!(out[..256].iter().enumerate().all(|(i, b)| usize::from(*b) == i));
        assert!(out[256..len].iter().all(|b| *b == b'x'));
    }

    #[test]
    fn every_truncation_and_bit_flip_is_an_error_or_the_truth() {
        let mut out = [0; 64];
        for len in 0..HELLO.len() {
            assert!(decode(&HELLO[..len], &mut out).is_err(), "{len}");
        }
        for bit in 32..HELLO.len() * 8 {
            let mut bad = HELLO.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Ok(len) = decode(&bad, &mut out) {
                assert_eq!(&out[..len], b"hello hello hello", "bit {bit}");
            }
        }
    }
}
