//! `io/blkif.h`: block devices.
//!
//! A request is up to eleven segments of one page, or, with `BLKIF_OP_indirect`, pages of segment
//! descriptors. Sectors are 512 bytes on the wire, whatever the device has.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

use crate::grant_table::GrantRef;

/// Bytes of a slot of the ring.
pub const SLOT_SIZE: usize = size_of::<BlkifRequest>();

/// REQUEST CODES.
pub const BLKIF_OP_READ: u8 = 0;
pub const BLKIF_OP_WRITE: u8 = 1;
/// All writes issued prior to a request with the BLKIF_OP_WRITE_BARRIER operation code ("barrier request")
/// must be completed prior to the execution of the barrier request. All writes issued after the barrier
/// request must not execute until after the completion of the barrier request.
pub const BLKIF_OP_WRITE_BARRIER: u8 = 2;
/// Commit any uncommitted contents of the backing device's volatile cache to stable storage.
pub const BLKIF_OP_FLUSH_DISKCACHE: u8 = 3;
/// Used in SLES sources for device specific command packet contained within the request. Reserved for that
/// purpose.
pub const BLKIF_OP_RESERVED_1: u8 = 4;
/// Indicate to the backend device that a region of storage is no longer in use, and may be discarded at any
/// time without impact to the client.
pub const BLKIF_OP_DISCARD: u8 = 5;
/// Recognized if "feature-max-indirect-segments" in present in the backend xenbus info. The
/// "feature-max-indirect-segments" node contains the maximum number of segments allowed by the backend per
/// request.
pub const BLKIF_OP_INDIRECT: u8 = 6;
/// Maximum scatter/gather segments per request. This is carefully chosen so that sizeof(blkif_ring_t) <=
/// PAGE_SIZE.
pub const BLKIF_MAX_SEGMENTS_PER_REQUEST: u8 = 11;
/// Maximum number of indirect pages to use per request.
pub const BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST: u32 = 8;

structs! {
    /// `struct blkif_request_segment`.
    pub struct BlkifRequestSegment {
        /// Reference to I/O buffer frame.
        gref: GrantRef,
        first_sect: u8,
        last_sect: u8,
        _pad0: [u8; 2],
    }

    /// `struct blkif_request`: Starting ring element for any I/O request.
    pub struct BlkifRequest {
        /// BLKIF_OP_???
        operation: u8,
        /// Number of segments.
        nr_segments: u8,
        /// Only for read/write requests.
        handle: u16,
        _pad0: [u8; 4],
        /// Private guest value, echoed in resp.
        id: u64,
        /// Start sector idx on disk (r/w only).
        sector_number: u64,
        seg: [BlkifRequestSegment; 11],
    }

    /// `struct blkif_request_discard`: Cast to this structure when blkif_request.operation == BLKIF_OP_DISCARD
    /// sizeof(struct blkif_request_discard) <= sizeof(struct blkif_request).
    pub struct BlkifRequestDiscard {
        /// `BLKIF_OP_DISCARD`.
        operation: u8,
        /// `BLKIF_DISCARD_SECURE` or zero.
        flag: u8,
        /// Same as for read/write requests.
        handle: u16,
        _pad0: [u8; 4],
        /// Private guest value, echoed in resp.
        id: u64,
        /// Start sector idx on disk.
        sector_number: u64,
        /// Number of contiguous sectors to discard.
        nr_sectors: u64,
    }
}

/// Ignored if discard-secure=0.
pub const BLKIF_DISCARD_SECURE: u32 = 1 << 0;

structs! {
    /// `struct blkif_request_indirect`.
    pub struct BlkifRequestIndirect {
        /// `BLKIF_OP_INDIRECT`.
        operation: u8,
        /// BLKIF_OP_{READ/WRITE}.
        indirect_op: u8,
        /// Number of segments.
        nr_segments: u16,
        _pad0: [u8; 4],
        /// Private guest value, echoed in resp.
        id: u64,
        /// Start sector idx on disk (r/w only).
        sector_number: u64,
        /// Same as for read/write requests.
        handle: u16,
        _pad1: [u8; 2],
        indirect_grefs: [GrantRef; 8],
        _pad2: [u8; 4],
    }

    /// `struct blkif_response`.
    pub struct BlkifResponse {
        /// Copied from request.
        id: u64,
        /// Copied from request.
        operation: u8,
        _pad0: [u8; 1],
        /// BLKIF_RSP_???
        status: i16,
        _pad1: [u8; 4],
    }
}

/// Operation not supported (only happens on barrier writes).
pub const BLKIF_RSP_EOPNOTSUPP: i16 = -2;
/// Operation failed for some unspecified reason (-EIO).
pub const BLKIF_RSP_ERROR: i16 = -1;
/// Operation completed successfully.
pub const BLKIF_RSP_OKAY: i16 = 0;
pub const VDISK_CDROM: u32 = 0x1;
pub const VDISK_REMOVABLE: u32 = 0x2;
pub const VDISK_READONLY: u32 = 0x4;
