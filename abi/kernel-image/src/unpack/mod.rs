//! From a kernel file to the ELF inside: containers and codecs.
//!
//! A file is an ELF, or compressed data, or a bzImage whose payload is one of these. The build of Linux appends the
//! unpacked size, four bytes little-endian, to each payload that does not hold it itself; that word (for gzip: its
//! own trailer) is a *hint* for the first buffer and nothing else: codecs are bounded by the buffer that they get.
//!
//! Memory: the codec writes straight into the output. xz and lzma need their dictionary besides (Debian's kernel:
//! 32 MiB), zstd its window, bzip2 3.6 MB; these come from the heap, at most 128 MiB. The stack need is modest: every
//! codec runs in 64 KiB.

mod bzimage;
mod bzip2;
mod codec;
mod crc32;

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::ImageError;
use codec::Format;

const ELF_MAGIC: &[u8] = b"\x7fELF";

/// What unpacking a file takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requirements {
    /// Name of the codec, `"ELF"` if the image is not compressed.
    pub format: &'static str,
    /// Size of the unpacked image in bytes. A claim of the file unless the format is ELF; `None`: not known.
    pub output: Option<u64>,
    /// Bytes of heap for the dictionary of xz, besides the output; 0 for other formats.
    pub dictionary: u64,
}

struct Packed<'a> {
    format: Format,
    data: &'a [u8],
    /// Whether the size word that the build of Linux appends follows the data.
    in_bzimage: bool,
}

fn first_bytes(data: &[u8]) -> [u8; 4] {
    core::array::from_fn(|i| data.get(i).copied().unwrap_or(0))
}

fn find(file: &[u8]) -> Result<Packed<'_>, ImageError> {
    if bzimage::is_bzimage(file) {
        let (data, offset) = bzimage::payload(file)?;
        return match Format::of(data) {
            Some(format) => Ok(Packed { format, data, in_bzimage: true }),
            None => Err(ImageError::UnknownPayload { magic: first_bytes(data), offset }),
        };
    }
    match Format::of(file) {
        Some(format) => Ok(Packed { format, data: file, in_bzimage: false }),
        None => Err(ImageError::NotAKernel { magic: first_bytes(file), len: file.len() }),
    }
}

impl Packed<'_> {
    fn output_hint(&self) -> Option<u64> {
        let word = |at: usize| {
            let b = self.data.get(at..at.checked_add(4)?)?;
            Some(u64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]])))
        };
        match self.format {
            Format::Elf => Some(self.data.len() as u64),
            Format::Gzip => word(self.data.len().checked_sub(4)?),
            _ if self.in_bzimage => word(self.data.len().checked_sub(4)?),
            Format::Lzma => Some(word(5)? | word(9)? << 32).filter(|size| *size != u64::MAX),
            _ => None,
        }
    }
}

/// What unpacking `file` takes, read from headers only.
///
/// # Errors
/// The file is no kernel, or its container is damaged.
pub fn requirements(file: &[u8]) -> Result<Requirements, ImageError> {
    let packed = find(file)?;
    let dictionary = match packed.format {
        Format::Xz => codec::xz_dictionary(packed.data).unwrap_or(0),
        _ => 0,
    };
    Ok(Requirements { format: packed.format.name(), output: packed.output_hint(), dictionary })
}

/// The ELF in `file`: borrowed if it is one, else unpacked to at most `limit` bytes of heap.
///
/// ```
/// let elf = b"\x7fELF and so on";
/// assert_eq!(kernel_image::unpack(elf, 1 << 20).unwrap().as_ref(), elf);
/// let error = kernel_image::unpack(b"hello", 1 << 20).unwrap_err();
/// assert_eq!(error.to_string(), "not an ELF or bzImage: 5 bytes that start with [68, 65, 6c, 6c]");
/// ```
///
/// # Errors
/// The file is no kernel or damaged, the result exceeds `limit`, or there is no heap for it.
pub fn unpack(file: &[u8], limit: usize) -> Result<Cow<'_, [u8]>, ImageError> {
    let packed = find(file)?;
    if packed.format == Format::Elf {
        return Ok(Cow::Borrowed(packed.data));
    }
    let name = packed.format.name();
    let hint = match packed.output_hint() {
        Some(size) if size > limit as u64 => {
            return Err(ImageError::TooLarge { format: name, claimed: Some(size), limit: limit as u64 });
        }
        Some(size) => size as usize,
        None => (file.len().saturating_mul(8)).min(limit),
    };
    match unpack_to_vec(file, hint) {
        Err(ImageError::TooLarge { .. }) if hint < limit => unpack_to_vec(file, limit),
        result => result,
    }
    .map(Cow::Owned)
}

fn unpack_to_vec(file: &[u8], size: usize) -> Result<Vec<u8>, ImageError> {
    let mut out = Vec::new();
    out.try_reserve_exact(size)
        .map_err(|_| ImageError::NoMemory { what: "the unpacked kernel", bytes: size as u64 })?;
    out.resize(size, 0);
    let len = unpack_into(file, &mut out)?;
    out.truncate(len);
    Ok(out)
}

/// Unpacks (or copies) the ELF in `file` to the start of `out`; returns its size in bytes.
///
/// # Errors
/// As [`unpack()`]; the limit is the size of `out`. After an error the content of `out` is unspecified.
pub fn unpack_into(file: &[u8], out: &mut [u8]) -> Result<usize, ImageError> {
    let packed = find(file)?;
    let len = codec::decode(packed.format, packed.data, packed.in_bzimage, out)?;
    if packed.format != Format::Elf && !out[..len].starts_with(ELF_MAGIC) {
        return Err(ImageError::PayloadNotElf { magic: first_bytes(&out[..len]) });
    }
    Ok(len)
}
