//! Why an image is refused, in one line.

use alloc::string::String;
use core::fmt;

/// The reason why a kernel image cannot be used.
///
/// `Display` is one line without a full stop, fit for a console, a shell or an error of a build tool.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageError {
    /// Neither ELF, nor bzImage, nor a compressed file.
    NotAKernel {
        /// The first bytes of the file.
        magic: [u8; 4],
        /// Size of the file in bytes.
        len: usize,
    },
    /// The file ends inside a structure.
    Truncated {
        /// What was being read.
        what: &'static str,
        /// First byte of the structure in the file.
        start: u64,
        /// First byte after it.
        end: u64,
        /// Size of the file in bytes.
        len: u64,
    },
    /// A bzImage of a boot protocol before 2.08: it does not say where its payload is.
    OldBootProtocol {
        /// `0x0207` is 2.07.
        version: u16,
    },
    /// The payload of a bzImage is in no format known here.
    UnknownPayload {
        /// First bytes of the payload.
        magic: [u8; 4],
        /// Where it starts in the file.
        offset: u64,
    },
    /// What came out of the payload is not an ELF.
    PayloadNotElf {
        /// First bytes of the unpacked payload.
        magic: [u8; 4],
    },
    /// The compressed data is damaged.
    Damaged {
        /// Name of the codec.
        format: &'static str,
        /// What the codec says.
        reason: String,
    },
    /// The unpacked image does not fit the limit given by the caller.
    TooLarge {
        /// Name of the codec.
        format: &'static str,
        /// Size in bytes that the file claims, if it does.
        claimed: Option<u64>,
        /// The limit in bytes.
        limit: u64,
    },
    /// No heap for a buffer.
    NoMemory {
        /// What it was for.
        what: &'static str,
        /// Its size in bytes.
        bytes: u64,
    },
    /// A damaged ELF header or table.
    BadElf {
        /// What is wrong.
        reason: String,
    },
    /// Not an executable: relocatable, shared or core.
    NotExecutable {
        /// `e_type` of the ELF header.
        e_type: u16,
    },
    /// Made for another processor.
    WrongMachine {
        /// `e_machine` of the ELF header.
        machine: u16,
        /// 32 or 64.
        bits: u8,
    },
    /// No loadable segment.
    NoSegments,
    /// A loadable segment that breaks a rule.
    BadSegment {
        /// Its number among all program headers.
        index: usize,
        /// What is wrong with it, with numbers.
        reason: String,
    },
    /// No Xen note and no `__xen_guest` section.
    NoXenNotes,
    /// A note with an impossible value.
    BadNote {
        /// Its name, as in `xen/elfnote.h` without the prefix.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A 32-bit PV kernel.
    Pv32,
    /// The kernel can only be started as PVH.
    PvhOnly {
        /// Its physical entry point.
        entry: u32,
    },
    /// The kernel needs features that are not offered.
    MissingFeatures {
        /// Names, separated by spaces.
        names: String,
    },
    /// The kernel says that it cannot be the first domain.
    NotForDom0,
    /// An address that a PV kernel cannot have.
    BadAddress {
        /// Which address.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The rule that it breaks.
        rule: String,
    },
    /// The domain has too little memory.
    TooSmall {
        /// What does not fit.
        what: &'static str,
        /// Pages needed.
        need: u64,
        /// Pages that the domain has.
        have: u64,
    },
}

impl ImageError {
    /// `Truncated`, unless `start..end` lies within `len` bytes.
    pub(crate) fn check_range(what: &'static str, start: u64, size: u64, len: usize) -> Result<(), Self> {
        let len = len as u64;
        match start.checked_add(size) {
            Some(end) if end <= len => Ok(()),
            end => Err(Self::Truncated { what, start, end: end.unwrap_or(u64::MAX), len }),
        }
    }
}

fn machine_name(machine: u16) -> &'static str {
    match machine {
        3 => "i386",
        20 => "PowerPC",
        21 => "PowerPC64",
        40 => "ARM",
        62 => "x86-64",
        183 => "AArch64",
        243 => "RISC-V",
        258 => "LoongArch",
        _ => "unknown",
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAKernel { magic, len } => {
                write!(f, "not an ELF or bzImage: {len} bytes that start with {magic:02x?}")
            }
            Self::Truncated { what, start, end, len } => {
                write!(f, "truncated: {what} at bytes {start:#x}..{end:#x}, but the file has {len:#x} bytes")
            }
            Self::OldBootProtocol { version } => write!(
                f,
                "bzImage of boot protocol {}.{:02}, at least 2.08 is needed to find its payload",
                version >> 8,
                version & 0xff
            ),
            Self::UnknownPayload { magic, offset } => write!(
                f,
                "bzImage payload at {offset:#x} starts with {magic:02x?}: not gzip, bzip2, lzma, xz, lz4, zstd or ELF"
            ),
            Self::PayloadNotElf { magic } => {
                write!(f, "the unpacked payload is not an ELF: it starts with {magic:02x?}")
            }
            Self::Damaged { format, reason } => write!(f, "damaged {format} data: {reason}"),
            Self::TooLarge { format, claimed: Some(size), limit } => {
                write!(f, "the {format} data unpacks to {size} bytes, the limit is {limit} bytes")
            }
            Self::TooLarge { format, claimed: None, limit } => {
                write!(f, "the {format} data unpacks to more than the limit of {limit} bytes")
            }
            Self::NoMemory { what, bytes } => write!(f, "out of memory: {bytes} bytes for {what}"),
            Self::BadElf { reason } => write!(f, "bad ELF: {reason}"),
            Self::NotExecutable { e_type } => {
                write!(f, "ELF type {e_type} is not an executable (2) or a position-independent one (3)")
            }
            Self::WrongMachine { machine, bits } => {
                write!(f, "ELF{bits} for machine {machine} ({}), not x86-64", machine_name(*machine))
            }
            Self::NoSegments => write!(f, "the ELF has no loadable segment"),
            Self::BadSegment { index, reason } => write!(f, "segment {index}: {reason}"),
            Self::NoXenNotes => {
                write!(f, "no Xen ELF notes and no __xen_guest section: not a kernel for Xen")
            }
            Self::BadNote { name, reason } => write!(f, "Xen note {name}: {reason}"),
            Self::Pv32 => write!(f, "32-bit PV kernel: only 64-bit PV kernels are supported"),
            Self::PvhOnly { entry } => write!(
                f,
                "PVH-only kernel (entry {entry:#x}): it has no PV entry notes and cannot run as a PV domain"
            ),
            Self::MissingFeatures { names } => write!(f, "the kernel requires features not offered: {names}"),
            Self::NotForDom0 => {
                write!(f, "the kernel does not support running as Dom0 (feature dom0 is not set)")
            }
            Self::BadAddress { what, value, rule } => write!(f, "{what} {value:#x}: {rule}"),
            Self::TooSmall { what, need, have } => write!(
                f,
                "domain too small for {what}: {need} pages ({} KiB) needed, {have} pages ({} KiB) given",
                need.saturating_mul(4),
                have.saturating_mul(4)
            ),
        }
    }
}

impl core::error::Error for ImageError {}
