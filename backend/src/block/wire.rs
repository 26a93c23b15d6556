//! Requests as they are in the ring (public header `io/blkif.h`, 64-bit layout), checked.
//!
//! A slot is copied out of the ring once ([`slot`]), and everything is decided on the copy. Nothing here trusts a number: a
//! [`Request`] has as many segments as the protocol and this back end allow, each within its frame. Whether the grants exist
//! shows when they are used; whether the sectors exist is the queue's to check.

use abi::io::blkif::{
    BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST, BLKIF_MAX_SEGMENTS_PER_REQUEST, BLKIF_OP_DISCARD,
    BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_INDIRECT, BLKIF_OP_READ, BLKIF_OP_WRITE, BLKIF_OP_WRITE_BARRIER,
    SLOT_SIZE,
};

use crate::peer::SharedPage;

/// Segments that one indirect request may have.
pub const MAX_INDIRECT: u16 = 256;
/// Segment descriptors in a page of them.
pub const PER_PAGE: usize = 4096 / SEGMENT;
/// Bytes of a segment descriptor.
pub const SEGMENT: usize = 8;

/// Part of a frame that the front end grants: whole sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The grant.
    pub grant: u32,
    /// First byte in the frame.
    pub offset: u16,
    /// Bytes; `offset + len` is at most 4096.
    pub len: u16,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// From the disk into the segments.
    Read,
    /// From the segments to the disk.
    Write,
    /// As a write, after all before it and before all after it; without segments only that.
    Barrier,
    /// Makes durable what was written, then writes the segments, if there are any, and makes those durable.
    Flush,
    /// Forgets sectors.
    Discard {
        /// How many.
        count: u64,
    },
}

/// A request whose form is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub operation: Operation,
    /// First sector.
    pub sector: u64,
    /// Where the segment descriptors are.
    pub segments: Segments,
}

/// Where segment descriptors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segments {
    /// So many, in the slot.
    Direct(u8),
    /// So many, in granted pages.
    Indirect {
        /// Number of segments.
        count: u16,
        /// Grants of the pages; only the first that are needed count.
        pages: [u32; BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST as usize],
    },
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not an operation of this back end.
    Unknown,
    /// Numbers that the protocol does not allow.
    Malformed,
}

/// A slot, copied.
pub type Slot = [u8; SLOT_SIZE];

/// Copies a slot out of the ring.
pub fn slot(ring: &impl SharedPage, at: usize) -> Slot {
    let mut bytes = [0; SLOT_SIZE];
    for (i, word) in bytes.chunks_exact_mut(4).enumerate() {
        word.copy_from_slice(&ring.load(at + 4 * i).to_le_bytes());
    }
    bytes
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    core::array::from_fn(|i| bytes.get(at + i).copied().unwrap_or(0))
}

/// What the response must repeat: identifier and operation. For an indirect request that is the operation within; Linux disables
/// a device that answers otherwise.
pub fn identity(slot: &Slot) -> (u64, u8) {
    let operation = if slot[0] == BLKIF_OP_INDIRECT { slot[1] } else { slot[0] };
    (u64::from_le_bytes(word(slot, 8)), operation)
}

/// Offset of the first segment descriptor in a slot.
const FIRST_SEGMENT: usize = 24;
/// Offset of an indirect request's grants.
const INDIRECT_GRANTS: usize = 28;

/// Reads a slot.
pub fn request(slot: &Slot) -> Result<Request, Refusal> {
    let sector = u64::from_le_bytes(word(slot, 16));
    let operation = match slot[0] {
        BLKIF_OP_READ => Operation::Read,
        BLKIF_OP_WRITE => Operation::Write,
        BLKIF_OP_WRITE_BARRIER => Operation::Barrier,
        BLKIF_OP_FLUSH_DISKCACHE => Operation::Flush,
        BLKIF_OP_DISCARD => {
            let operation = Operation::Discard { count: u64::from_le_bytes(word(slot, 24)) };
            return Ok(Request { operation, sector, segments: Segments::Direct(0) });
        }
        BLKIF_OP_INDIRECT => return indirect(slot, sector),
        _ => return Err(Refusal::Unknown),
    };
    let count = slot[1];
    let may_be_empty = matches!(operation, Operation::Barrier | Operation::Flush);
    if count > BLKIF_MAX_SEGMENTS_PER_REQUEST || (count == 0 && !may_be_empty) {
        return Err(Refusal::Malformed);
    }
    Ok(Request { operation, sector, segments: Segments::Direct(count) })
}

fn indirect(slot: &Slot, sector: u64) -> Result<Request, Refusal> {
    let operation = match slot[1] {
        BLKIF_OP_READ => Operation::Read,
        BLKIF_OP_WRITE => Operation::Write,
        _ => return Err(Refusal::Unknown),
    };
    let count = u16::from_le_bytes(word(slot, 2));
    if count == 0 || count > MAX_INDIRECT {
        return Err(Refusal::Malformed);
    }
    let pages = core::array::from_fn(|i| u32::from_le_bytes(word(slot, INDIRECT_GRANTS + 4 * i)));
    Ok(Request { operation, sector, segments: Segments::Indirect { count, pages } })
}

/// A segment descriptor of a slot. `number` is less than the slot's count.
pub fn direct_segment(slot: &Slot, number: u8) -> Result<Segment, Refusal> {
    segment(&slot[FIRST_SEGMENT..], usize::from(number))
}

/// Segment descriptor `number` of an array of them.
pub fn segment(bytes: &[u8], number: usize) -> Result<Segment, Refusal> {
    let at = number * SEGMENT;
    let [first, last] = word(bytes, at + 4).map(u16::from);
    if first > last || last > 7 {
        return Err(Refusal::Malformed);
    }
    let grant = u32::from_le_bytes(word(bytes, at));
    Ok(Segment { grant, offset: first * 512, len: (last - first + 1) * 512 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::io::blkif::{BlkifRequest, BlkifRequestDiscard, BlkifRequestIndirect, BlkifRequestSegment};
    use core::mem::offset_of;

    #[test]
    fn offsets_are_those_of_the_header() {
        assert_eq!(offset_of!(BlkifRequest, id), 8);
        assert_eq!(offset_of!(BlkifRequest, sector_number), 16);
        assert_eq!(offset_of!(BlkifRequest, seg), FIRST_SEGMENT);
        assert_eq!(offset_of!(BlkifRequestDiscard, nr_sectors), 24);
        assert_eq!(offset_of!(BlkifRequestIndirect, nr_segments), 2);
        assert_eq!(offset_of!(BlkifRequestIndirect, id), 8);
        assert_eq!(offset_of!(BlkifRequestIndirect, sector_number), 16);
        assert_eq!(offset_of!(BlkifRequestIndirect, indirect_grefs), INDIRECT_GRANTS);
        assert_eq!(size_of::<BlkifRequestSegment>(), SEGMENT);
    }

    #[test]
    fn impossible_requests() {
        let mut slot = [0; SLOT_SIZE];
        assert_eq!(request(&slot), Err(Refusal::Malformed));
        slot[1] = 12;
        assert_eq!(request(&slot), Err(Refusal::Malformed));
        slot[1] = 11;
        assert!(request(&slot).is_ok());
        slot[0] = 9;
        assert_eq!(request(&slot), Err(Refusal::Unknown));
        (slot[0], slot[1]) = (BLKIF_OP_INDIRECT, BLKIF_OP_FLUSH_DISKCACHE);
        assert_eq!(request(&slot), Err(Refusal::Unknown));
        (slot[1], slot[2], slot[3]) = (BLKIF_OP_WRITE, 1, 1);
        assert_eq!(request(&slot), Err(Refusal::Malformed));
        slot[FIRST_SEGMENT + 4] = 3;
        slot[FIRST_SEGMENT + 5] = 2;
        assert_eq!(direct_segment(&slot, 0), Err(Refusal::Malformed));
        slot[FIRST_SEGMENT + 5] = 8;
        assert_eq!(direct_segment(&slot, 0), Err(Refusal::Malformed));
        slot[FIRST_SEGMENT + 5] = 7;
        assert_eq!(direct_segment(&slot, 0), Ok(Segment { grant: 0, offset: 1536, len: 2560 }));
    }
}
