//! One function per compression format: from a slice into a slice.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use lzma_rust2::Read;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core as inflate;
use xz4rust::{XzDecoder, XzError, XzNextBlockResult};

use super::{ELF_MAGIC, bzip2, crc32};
use crate::ImageError;

/// Largest dictionary or window that a codec may take from the heap: that of `zstd --ultra` and `xz -9e`.
const MAX_WINDOW: usize = 128 << 20;
/// Output bytes of one block of the kernel's (legacy) lz4 frame.
const LZ4_BLOCK: usize = 8 << 20;
const LZ4_MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// The build of Linux appends the unpacked size in as many bytes.
const SIZE_WORD: usize = 4;

/// Format of a file or payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Elf,
    Gzip,
    Bzip2,
    Lzma,
    Xz,
    Lz4,
    Zstd,
}

impl Format {
    /// The format, told by magic numbers.
    pub(super) fn of(data: &[u8]) -> Option<Self> {
        Some(match data {
            _ if data.starts_with(ELF_MAGIC) => Self::Elf,
            [0x1f, 0x8b, ..] => Self::Gzip,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ if data.starts_with(&LZ4_MAGIC) => Self::Lz4,
            // lc=3 lp=0 pb=2, a dictionary whose size is a multiple of 64 KiB: as everybody writes it.
            [0x5d, 0, 0, ..] => Self::Lzma,
            _ => return None,
        })
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Elf => "ELF",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Lzma => "lzma",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// What a codec reports before it is given the codec's name.
enum Stop {
    Damaged(String),
    Full,
    NoMemory(usize),
}

impl From<&str> for Stop {
    fn from(reason: &str) -> Self {
        Self::Damaged(reason.into())
    }
}

/// Decodes `data` to the start of `out`; returns the number of bytes.
pub(super) fn decode(
    format: Format,
    data: &[u8],
    has_size_word: bool,
    out: &mut [u8],
) -> Result<usize, ImageError> {
    let limit = out.len() as u64;
    let body = match has_size_word {
        true => &data[..data.len().saturating_sub(SIZE_WORD)],
        false => data,
    };
    match format {
        Format::Elf => copy(data, out),
        Format::Gzip => gunzip(data, out),
        Format::Bzip2 => bunzip2(data, out),
        Format::Lzma => unlzma(data, out),
        Format::Xz => unxz(data, out),
        Format::Lz4 => unlz4(body, out),
        Format::Zstd => unzstd(body, out),
    }
    .map_err(|stop| match stop {
        Stop::Damaged(reason) => ImageError::Damaged { format: format.name(), reason },
        Stop::Full => ImageError::TooLarge { format: format.name(), claimed: None, limit },
        Stop::NoMemory(bytes) => ImageError::NoMemory { what: "decompression", bytes: bytes as u64 },
    })
}

fn copy(data: &[u8], out: &mut [u8]) -> Result<usize, Stop> {
    out.get_mut(..data.len()).ok_or(Stop::Full)?.copy_from_slice(data);
    Ok(data.len())
}

/// RFC 1952: header with optional fields, deflate, CRC-32, size.
fn gunzip(data: &[u8], out: &mut [u8]) -> Result<usize, Stop> {
    let start = gzip_header(data).ok_or("bad gzip header")?;
    let mut state = alloc::boxed::Box::<inflate::DecompressorOxide>::default();
    let flags = inflate::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, read, len) = inflate::decompress(&mut state, &data[start..], out, 0, flags);
    match status {
        TINFLStatus::Done => {}
        TINFLStatus::HasMoreOutput => return Err(Stop::Full),
        TINFLStatus::FailedCannotMakeProgress | TINFLStatus::NeedsMoreInput => {
            return Err("the data ends early".into());
        }
        _ => return Err("bad deflate stream".into()),
    }
    let trailer = data.get(start + read..start + read + 8).ok_or("no room for the CRC and the size")?;
    let stored = u32::from_le_bytes([trailer[0], trailer[1], trailer[2], trailer[3]]);
    let found = crc32::gzip(&out[..len]);
    if stored != found {
        return Err(Stop::Damaged(format!("CRC is {found:#010x}, the file says {stored:#010x}")));
    }
    Ok(len)
}

/// Size of the gzip header.
fn gzip_header(data: &[u8]) -> Option<usize> {
    let flags = *data.get(3)?;
    if *data.get(2)? != 8 {
        return None;
    }
    let mut at = 10;
    if flags & 4 != 0 {
        at += 2 + usize::from(u16::from_le_bytes([*data.get(at)?, *data.get(at + 1)?]));
    }
    for text in [8, 16] {
        if flags & text != 0 {
            at += data.get(at..)?.iter().position(|byte| *byte == 0)? + 1;
        }
    }
    if flags & 2 != 0 {
        at += 2;
    }
    (at <= data.len()).then_some(at)
}

fn bunzip2(data: &[u8], out: &mut [u8]) -> Result<usize, Stop> {
    bzip2::decode(data, out).map_err(|error| match error {
        bzip2::Error::Damaged(reason) => reason.into(),
        bzip2::Error::OutputFull => Stop::Full,
        bzip2::Error::NoMemory(bytes) => Stop::NoMemory(bytes),
    })
}

fn unlzma(data: &[u8], out: &mut [u8]) -> Result<usize, Stop> {
    let stop = |error: lzma_rust2::Error| match error {
        lzma_rust2::Error::OutOfMemory(_) => Stop::NoMemory(MAX_WINDOW),
        lzma_rust2::Error::InvalidData(text) | lzma_rust2::Error::InvalidInput(text) => text.into(),
        lzma_rust2::Error::Eof => "the data ends early".into(),
        other => Stop::Damaged(format!("{other:?}")),
    };
    let mut reader =
        lzma_rust2::LzmaReader::new_mem_limit(data, (MAX_WINDOW >> 10) as u32, None).map_err(stop)?;
    let mut len = 0;
    loop {
        let rest = &mut out[len..];
        if rest.is_empty() {
            return match reader.read(&mut [0]).map_err(stop)? {
                0 => Ok(len),
                _ => Err(Stop::Full),
            };
        }
        match reader.read(rest).map_err(stop)? {
            0 => return Ok(len),
            n => len += n,
        }
    }
}

/// Size of the LZMA2 dictionary that the first block of an xz stream declares.
pub(super) fn xz_dictionary(data: &[u8]) -> Option<u64> {
    // Stream header: 12 bytes. Block header: size, flags (low two bits: filters - 1; 6, 7: two sizes follow).
    let flags = *data.get(13)?;
    let mut at = 14;
    let mut vli = || {
        let mut value = 0u64;
        for shift in (0..63).step_by(7) {
            let byte = *data.get(at)?;
            at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    };
    for size_present in [flags & 0x40 != 0, flags & 0x80 != 0] {
        if size_present {
            vli()?;
        }
    }
    for _ in 0..=flags & 3 {
        let (id, size) = (vli()?, vli()?);
        if id == 0x21 {
            let code = u32::from(*data.get(at)?);
            return (code < 40).then(|| u64::from(2 | code & 1) << (code / 2 + 11));
        }
        for _ in 0..size.min(16) {
            vli()?;
        }
    }
    None
}

fn unxz(data: &[u8], out: &mut [u8]) -> Result<usize, Stop> {
    let dictionary = xz_dictionary(data).ok_or("no LZMA2 filter in the first block header")? as usize;
    if dictionary > MAX_WINDOW {
        return Err(Stop::Damaged(format!(
            "a dictionary of {dictionary} bytes, at most {MAX_WINDOW} are allowed"
        )));
    }
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(dictionary).map_err(|_| Stop::NoMemory(dictionary))?;
    buffer.resize(dictionary, 0);
    // Made on the heap: it is larger than a hypervisor's stack.
    let mut decoder = XzDecoder::in_heap_with_alloc_dict(buffer, dictionary);
    let (mut read, mut written) = (0, 0);
    loop {
        let step = decoder.decode(&data[read..], &mut out[written..]).map_err(|error| match error {
            XzError::NeedsLargerInputBuffer => "the data ends early".into(),
            other => Stop::Damaged(other.to_string()),
        })?;
        match step {
            XzNextBlockResult::EndOfStream(_, produced) => return Ok(written + produced),
            XzNextBlockResult::NeedMoreData(0, 0) if written == out.len() => return Err(Stop::Full),
            XzNextBlockResult::NeedMoreData(0, 0) => return Err("the data ends early".into()),
            XzNextBlockResult::NeedMoreData(consumed, produced) => {
                read += consumed;
                written += produced;
            }
        }
    }
}

/// The legacy lz4 frame: a magic number, then pairs of a length (4 bytes) and a block of at most 8 MiB unpacked.
fn unlz4(data: &[u8], out: &mut [u8]) -> Result<usize, Stop> {
    let (mut at, mut written) = (LZ4_MAGIC.len(), 0);
    while at < data.len() {
        let head = data.get(at..at + 4).ok_or("the data ends within a block length")?;
        at += 4;
        if head == LZ4_MAGIC {
            continue;
        }
        let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let block =
            at.checked_add(len).and_then(|end| data.get(at..end)).ok_or("the data ends within a block")?;
        at += len;
        let room = out.len() - written;
        let target = &mut out[written..written + room.min(LZ4_BLOCK)];
        written += lz4_flex::block::decompress_into(block, target).map_err(|error| match error {
            lz4_flex::block::DecompressError::OutputTooSmall { .. } if room < LZ4_BLOCK => Stop::Full,
            other => Stop::Damaged(other.to_string()),
        })?;
    }
    Ok(written)
}

fn unzstd(data: &[u8], out: &mut [u8]) -> Result<usize, Stop> {
    use ruzstd::decoding::errors::FrameDecoderError;
    let mut decoder = ruzstd::decoding::FrameDecoder::new();
    decoder.set_max_window_size(MAX_WINDOW as u64);
    decoder.decode_all(data, out).map_err(|error| match error {
        FrameDecoderError::TargetTooSmall => Stop::Full,
        other => Stop::Damaged(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dictionary_of_an_xz_header() {
        // Stream header, then a block header with x86 BCJ and LZMA2, 32 MiB, as in Debian's kernel.
        let mut data = alloc::vec![0xfd, b'7', b'z', b'X', b'Z', 0, 0, 1, 0, 0, 0, 0];
        data.extend([3, 1, 0x04, 0, 0x21, 1, 0x1a, 0]);
        assert_eq!(xz_dictionary(&data), Some(32 << 20));
        assert_eq!(xz_dictionary(&data[..15]), None);
    }
}
