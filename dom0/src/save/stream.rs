//! The migration stream of `libxc`, version 2: records of little-endian numbers, as the specification of the Xen project lays them out.
//!
//! A header for the image (24 bytes: a mark of ones, the word `XENF` and the version in network order, options), one for the domain
//! (16 bytes: its type, the page size, the hypervisor's version), then records: type, length, body, and zeros up to a multiple of 8. The last
//! record is `END`.
//!
//! Only what a 64-bit PV domain has is written and read here. A record of a type with the highest bit set may be left out by who does not
//! know it; any other unknown one is refused.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use abi::xen::VcpuGuestContext;
use abi::zerocopy::{FromBytes, IntoBytes};

use super::{PAGE, Result, Sink, Source};

const MARK: u64 = u64::MAX;
const ID: u32 = 0x5845_4e46;
const VERSION: u32 = 2;
/// Option bit: numbers are big-endian.
const BIG_ENDIAN: u16 = 1;
const PV: u32 = 1;
const PAGE_SHIFT: u16 = 12;

/// Types of records.
pub mod kind {
    #![expect(missing_docs, reason = "the specification's names")]
    pub const END: u32 = 0;
    pub const PAGE_DATA: u32 = 1;
    pub const X86_PV_INFO: u32 = 2;
    pub const X86_PV_P2M_FRAMES: u32 = 3;
    pub const X86_PV_VCPU_BASIC: u32 = 4;
    pub const X86_PV_VCPU_EXTENDED: u32 = 5;
    pub const X86_PV_VCPU_XSAVE: u32 = 6;
    pub const SHARED_INFO: u32 = 7;
    pub const X86_TSC_INFO: u32 = 8;
    pub const X86_PV_VCPU_MSRS: u32 = 12;
    pub const VERIFY: u32 = 13;
    /// May be left out by who does not know it.
    pub const OPTIONAL: u32 = 1 << 31;
}

/// What a page is: bits 28 to 31 of `XEN_DOMCTL_PFINFO_*`.
pub mod page {
    #![expect(missing_docs, reason = "the specification's names")]
    pub const NOTAB: u8 = 0x0;
    pub const L1: u8 = 0x1;
    pub const L4: u8 = 0x4;
    /// Added to a table's: it is pinned.
    pub const PINNED: u8 = 0x8;
    pub const BROKEN: u8 = 0xd;
    /// Is there, and has no contents worth keeping: it is zero.
    pub const XALLOC: u8 = 0xe;
    pub const XTAB: u8 = 0xf;

    /// Whether contents follow.
    pub const fn has_data(kind: u8) -> bool {
        kind == NOTAB || level(kind) != 0
    }

    /// The level of a page table, 0 if it is none.
    pub const fn level(kind: u8) -> u8 {
        match kind {
            0x1..=0x4 => kind,
            0x9..=0xc => kind & 0x7,
            _ => 0,
        }
    }

    /// Whether there is such a kind of page in a stream.
    pub const fn is_known(kind: u8) -> bool {
        has_data(kind) || kind == XALLOC
    }
}

/// Bytes of a record at most: 1024 pages and their numbers.
pub const BODY_MAX: u32 = 1024 * (PAGE as u32 + 8) + 8;
/// Pages of a record that is written here.
pub const BATCH: usize = 64;
const PFN: u64 = (1 << 52) - 1;

/// A record.
#[derive(Debug)]
pub enum Record {
    /// Width of the guest's addresses in bytes, and levels of its page tables.
    PvInfo {
        /// 8 for a 64-bit guest.
        width: u8,
        /// 4 for a 64-bit guest.
        levels: u8,
    },
    /// The pages that hold the guest's list of frames, for the pfns from `first` to `last`.
    P2mFrames {
        /// The first pfn that the list has.
        first: u32,
        /// The last one.
        last: u32,
        /// The list's pages, by pfn.
        frames: Vec<u64>,
    },
    /// Pages.
    Pages(Pages),
    /// A virtual CPU's registers.
    VcpuBasic(u32, Box<VcpuGuestContext>),
    /// More of a virtual CPU's state, of this type of record.
    VcpuMore(u32, u32, Vec<u8>),
    /// The page shared with the hypervisor.
    SharedInfo(Box<[u8; PAGE]>),
    /// How the time-stamp counter is shown.
    TscInfo(Tsc),
    /// What follows is for comparison; it is not followed here.
    Verify,
    /// A record that may be left out.
    Unknown(u32),
    /// The last one.
    End,
}

/// `X86_TSC_INFO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the specification's names")]
pub struct Tsc {
    pub mode: u32,
    pub khz: u32,
    pub nsec: u64,
    pub incarnation: u32,
}

/// `PAGE_DATA`: pages with what they are, and the contents of those that have some.
#[derive(Debug, Default)]
pub struct Pages {
    /// Pfn and kind ([`page`]).
    pub list: Vec<(u64, u8)>,
    /// Contents, one page after the other.
    pub data: Vec<u8>,
}

impl Pages {
    /// All pages with their contents; `None` for those that have none.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u8, Option<&[u8]>)> {
        let mut data = self.data.chunks_exact(PAGE);
        self.list.iter().map(move |&(pfn, kind)| {
            let contents = if page::has_data(kind) { data.next() } else { None };
            (pfn, kind, contents)
        })
    }
}

/// Writes a stream.
pub struct Writer<'s, S: ?Sized> {
    sink: &'s mut S,
}

impl<'s, S: Sink + ?Sized> Writer<'s, S> {
    /// Writes the headers.
    pub fn new(sink: &'s mut S, hypervisor: (u16, u16)) -> Result<Self> {
        let mut bytes = Vec::with_capacity(40);
        bytes.extend(MARK.to_le_bytes());
        bytes.extend(ID.to_be_bytes());
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend([0; 8]);
        bytes.extend(PV.to_le_bytes());
        bytes.extend(PAGE_SHIFT.to_le_bytes());
        bytes.extend([0; 2]);
        bytes.extend(u32::from(hypervisor.0).to_le_bytes());
        bytes.extend(u32::from(hypervisor.1).to_le_bytes());
        sink.put(&bytes)?;
        Ok(Self { sink })
    }

    /// Writes a record from the parts of its body.
    fn record(&mut self, kind: u32, parts: &[&[u8]]) -> Result {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let length = u32::try_from(len).map_err(|_| format!("a record of {len} bytes"))?;
        self.sink.put(&kind.to_le_bytes())?;
        self.sink.put(&length.to_le_bytes())?;
        for part in parts {
            self.sink.put(part)?;
        }
        self.sink.put(&[0; 8][..len.next_multiple_of(8) - len])
    }

    /// `X86_PV_INFO` of a 64-bit guest.
    pub fn pv_info(&mut self) -> Result {
        self.record(kind::X86_PV_INFO, &[&[8, 4, 0, 0, 0, 0, 0, 0]])
    }

    /// `X86_PV_P2M_FRAMES`.
    pub fn p2m_frames(&mut self, first: u32, last: u32, frames: &[u64]) -> Result {
        let head = [first.to_le_bytes(), last.to_le_bytes()].concat();
        self.record(kind::X86_PV_P2M_FRAMES, &[&head, frames.as_bytes()])
    }

    /// `PAGE_DATA`.
    pub fn pages(&mut self, pages: &Pages) -> Result {
        let head = (pages.list.len() as u64).to_le_bytes();
        let numbers: Vec<u64> =
            pages.list.iter().map(|&(pfn, kind)| u64::from(kind) << 60 | pfn & PFN).collect();
        self.record(kind::PAGE_DATA, &[&head, numbers.as_bytes(), &pages.data])
    }

    /// `X86_PV_VCPU_BASIC`.
    pub fn vcpu(&mut self, id: u32, context: &VcpuGuestContext) -> Result {
        self.record(kind::X86_PV_VCPU_BASIC, &[&u64::from(id).to_le_bytes(), context.as_bytes()])
    }

    /// `SHARED_INFO`.
    pub fn shared_info(&mut self, page: &[u8; PAGE]) -> Result {
        self.record(kind::SHARED_INFO, &[page])
    }

    /// `X86_TSC_INFO`.
    pub fn tsc_info(&mut self, tsc: &Tsc) -> Result {
        let parts: [&[u8]; 4] = [
            &[tsc.mode.to_le_bytes(), tsc.khz.to_le_bytes()].concat(),
            &tsc.nsec.to_le_bytes(),
            &tsc.incarnation.to_le_bytes(),
            &[0; 4],
        ];
        self.record(kind::X86_TSC_INFO, &parts)
    }

    /// `END`.
    pub fn end(mut self) -> Result {
        self.record(kind::END, &[])
    }
}

/// Reads a stream.
pub struct Reader<'s, S: ?Sized> {
    source: &'s mut S,
}

/// Numbers from the front of a record's body.
struct Body<'b> {
    kind: u32,
    rest: &'b [u8],
}

impl<'b> Body<'b> {
    fn bytes(&mut self, count: usize) -> Result<&'b [u8]> {
        let Some((now, later)) = self.rest.split_at_checked(count) else {
            return Err(format!(
                "a record of type {:#x} is {} bytes too short",
                self.kind,
                count - self.rest.len()
            ));
        };
        self.rest = later;
        Ok(now)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(self.bytes(4)?.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(self.bytes(8)?.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)))
    }

    fn finish(&self) -> Result {
        match self.rest.len() {
            0 => Ok(()),
            more => Err(format!("a record of type {:#x} is {more} bytes too long", self.kind)),
        }
    }
}

impl<'s, S: Source + ?Sized> Reader<'s, S> {
    /// Reads the headers.
    pub fn new(source: &'s mut S) -> Result<Self> {
        let mut head = [0; 40];
        source.take(&mut head)?;
        let word = |at: usize| -> [u8; 4] { core::array::from_fn(|i| head[at + i]) };
        let half = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        if head[..8] != MARK.to_le_bytes() || u32::from_be_bytes(word(8)) != ID {
            return Err("this is no migration stream".to_string());
        }
        let version = u32::from_be_bytes(word(12));
        if version != VERSION {
            return Err(format!("the stream has version {version}; only {VERSION} is read here"));
        }
        if half(16) & BIG_ENDIAN != 0 {
            return Err("the stream's numbers are big-endian".to_string());
        }
        let (domain, shift) = (u32::from_le_bytes(word(24)), half(28));
        if (domain, shift) != (PV, PAGE_SHIFT) {
            return Err(format!(
                "the stream is of a domain of type {domain} with pages of 2^{shift} bytes, not of a PV domain"
            ));
        }
        Ok(Self { source })
    }

    /// The next record.
    pub fn record(&mut self) -> Result<Record> {
        let mut head = [0; 8];
        self.source.take(&mut head)?;
        let mut body = Body { kind: 0, rest: &head };
        let (kind, length) = (body.u32()?, body.u32()?);
        if length > BODY_MAX {
            return Err(format!(
                "a record of type {kind:#x} has {length} bytes; at most {BODY_MAX} are read"
            ));
        }
        let mut bytes = room((length as usize).next_multiple_of(8))?;
        self.source.take(&mut bytes)?;
        let (used, padding) = bytes.split_at(length as usize);
        if padding.iter().any(|byte| *byte != 0) {
            return Err(format!("a record of type {kind:#x} is not padded with zeros"));
        }
        parse(Body { kind, rest: used })
    }
}

/// Zeroed memory, if there is any.
fn room(bytes: usize) -> Result<Vec<u8>> {
    let mut list = Vec::new();
    list.try_reserve_exact(bytes).map_err(|_| format!("no memory for a record of {bytes} bytes"))?;
    list.resize(bytes, 0);
    Ok(list)
}

fn parse(mut body: Body<'_>) -> Result<Record> {
    let record = match body.kind {
        kind::END => Record::End,
        kind::PAGE_DATA => Record::Pages(pages(&mut body)?),
        kind::X86_PV_INFO => {
            let bytes = body.bytes(8)?;
            Record::PvInfo { width: bytes[0], levels: bytes[1] }
        }
        kind::X86_PV_P2M_FRAMES => {
            let (first, last) = (body.u32()?, body.u32()?);
            let count = body.rest.len() / 8;
            let frames = (0..count).map(|_| body.u64()).collect::<Result<Vec<u64>>>()?;
            Record::P2mFrames { first, last, frames }
        }
        kind::X86_PV_VCPU_BASIC => {
            let id = vcpu_id(&mut body)?;
            let bytes = body.bytes(size_of::<VcpuGuestContext>())?;
            let context = VcpuGuestContext::read_from_bytes(bytes);
            Record::VcpuBasic(id, Box::new(context.map_err(|_| "a vCPU's registers".to_string())?))
        }
        more @ (kind::X86_PV_VCPU_EXTENDED | kind::X86_PV_VCPU_XSAVE | kind::X86_PV_VCPU_MSRS) => {
            let id = vcpu_id(&mut body)?;
            let bytes = body.bytes(body.rest.len())?;
            Record::VcpuMore(more, id, bytes.to_vec())
        }
        kind::SHARED_INFO => {
            let mut page = Box::new([0; PAGE]);
            page.copy_from_slice(body.bytes(PAGE)?);
            Record::SharedInfo(page)
        }
        kind::X86_TSC_INFO => {
            let (mode, khz, nsec) = (body.u32()?, body.u32()?, body.u64()?);
            let incarnation = body.u32()?;
            body.u32()?;
            Record::TscInfo(Tsc { mode, khz, nsec, incarnation })
        }
        kind::VERIFY => Record::Verify,
        other if other & kind::OPTIONAL != 0 => {
            body.rest = &[];
            Record::Unknown(other)
        }
        other => return Err(format!("a record of type {other:#x} is not known here")),
    };
    body.finish()?;
    Ok(record)
}

fn vcpu_id(body: &mut Body<'_>) -> Result<u32> {
    let id = body.u32()?;
    body.u32()?;
    Ok(id)
}

fn pages(body: &mut Body<'_>) -> Result<Pages> {
    let (count, _reserved) = (body.u32()? as usize, body.u32()?);
    if count > body.rest.len() / 8 {
        return Err(format!("a record of {count} pages has no room for their numbers"));
    }
    let mut pages = Pages::default();
    for _ in 0..count {
        let number = body.u64()?;
        let (pfn, kind) = (number & PFN, (number >> 60) as u8);
        if number & !PFN & !(0xf << 60) != 0 || !page::is_known(kind) {
            return Err(format!("the entry {number:#x} names no page"));
        }
        pages.list.push((pfn, kind));
    }
    let contents = pages.list.iter().filter(|(_, kind)| page::has_data(*kind)).count();
    pages.data = body.bytes(contents * PAGE)?.to_vec();
    Ok(pages)
}

/// What a record is, for messages.
impl core::fmt::Display for Record {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let word: String = match self {
            Self::PvInfo { .. } => "X86_PV_INFO".into(),
            Self::P2mFrames { .. } => "X86_PV_P2M_FRAMES".into(),
            Self::Pages(_) => "PAGE_DATA".into(),
            Self::VcpuBasic(id, _) => format!("X86_PV_VCPU_BASIC of vCPU {id}"),
            Self::VcpuMore(kind, id, _) => format!("record {kind:#x} of vCPU {id}"),
            Self::SharedInfo(_) => "SHARED_INFO".into(),
            Self::TscInfo(_) => "X86_TSC_INFO".into(),
            Self::Verify => "VERIFY".into(),
            Self::Unknown(kind) => format!("record {kind:#x}"),
            Self::End => "END".into(),
        };
        f.write_str(&word)
    }
}
