//! `grant_table.h`: one domain lets another use a frame.
//!
//! The granter writes an entry (frame, domain, flags) into its table and passes the reference; the other side
//! maps or copies. The hypervisor sets `GTF_reading` and `GTF_writing` in the entry for as long as the grant
//! is in use.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

use crate::xen::Domid;
use crate::{GuestPtr, Union};

/// Index of an entry of a grant table, `grant_ref_t`.
pub type GrantRef = u32;

/// Names a mapping that was made, `grant_handle_t`.
pub type GrantHandle = u32;

structs! {
    /// `struct grant_entry_v1`: An entry of a version-1 grant table. The granter writes it, `flags` last; the
    /// hypervisor sets `GTF_reading` and `GTF_writing`.
    pub struct GrantEntryV1 {
        /// `GTF_*`: type and attributes.
        flags: u16,
        /// The domain that may use the frame.
        domid: Domid,
        /// The frame (a GFN).
        frame: u32,
    }
}

/// The first few grant table entries will be preserved across grant table version changes and may be
/// pre-populated at domain creation by tools.
pub const GNTTAB_NR_RESERVED_ENTRIES: u32 = 8;
pub const GNTTAB_RESERVED_CONSOLE: u32 = 0;
pub const GNTTAB_RESERVED_XENSTORE: u32 = 1;
/// Type of grant entry. GTF_invalid: This grant entry grants no privileges. GTF_permit_access: Allow `domid`
/// to map/access `frame`. GTF_accept_transfer: Allow `domid` to transfer ownership of one page frame to this
/// guest.
pub const GTF_INVALID: u16 = 0;
pub const GTF_PERMIT_ACCESS: u16 = 1 << 0;
pub const GTF_ACCEPT_TRANSFER: u16 = 2;
pub const GTF_TRANSITIVE: u16 = 3;
pub const GTF_TYPE_MASK: u16 = 3;
pub const GTF_READONLY: u16 = 1 << 2;
pub const GTF_READING: u16 = 1 << 3;
pub const GTF_WRITING: u16 = 1 << 4;
pub const GTF_PWT: u16 = 1 << 5;
pub const GTF_PCD: u16 = 1 << 6;
pub const GTF_PAT: u16 = 1 << 7;
pub const GTF_SUB_PAGE: u16 = 1 << 8;
pub const GTF_TRANSFER_COMMITTED: u16 = 1 << 2;
pub const GTF_TRANSFER_COMPLETED: u16 = 1 << 3;

structs! {
    /// `struct grant_entry_header`: Version 1 and version 2 grant entries share a common prefix. The fields of the
    /// prefix are documented as part of struct grant_entry_v1.
    pub struct GrantEntryHeader {
        flags: u16,
        domid: Domid,
    }

    /// Member `full_page` of [`GrantEntryV2`]: This member is used for V1-style full page grants, where either:
    pub struct GrantEntryV2FullPage {
        hdr: GrantEntryHeader,
        pad0: u32,
        frame: u64,
    }

    /// Member `sub_page` of [`GrantEntryV2`]: If the grant type is GTF_grant_access and GTF_sub_page is set,
    /// `domid` is allowed to access bytes [`page_off`,`page_off`+`length`) in frame `frame`.
    pub struct GrantEntryV2SubPage {
        hdr: GrantEntryHeader,
        page_off: u16,
        length: u16,
        frame: u64,
    }

    /// Member `transitive` of [`GrantEntryV2`]: If the grant is GTF_transitive, `domid` is allowed to use the grant
    /// `gref` in domain `trans_domid`, as if it was the local domain. Obviously, the transitive access must be
    /// compatible with the original grant.
    pub struct GrantEntryV2Transitive {
        hdr: GrantEntryHeader,
        trans_domid: Domid,
        pad0: u16,
        gref: GrantRef,
    }

    /// `union grant_entry_v2`: Version 2 of the grant entry structure.
    pub struct GrantEntryV2 {
        u: Union<u64, 2>,
    }
}

union_accessors! {
    GrantEntryV2.u {
        as_hdr, set_hdr: GrantEntryHeader,
        as_full_page, set_full_page: GrantEntryV2FullPage,
        as_sub_page, set_sub_page: GrantEntryV2SubPage,
        as_transitive, set_transitive: GrantEntryV2Transitive,
    }
}

// Commands of `grant_table_op`; each takes an array of the structure of the same name.
pub const GNTTABOP_MAP_GRANT_REF: u32 = 0;
pub const GNTTABOP_UNMAP_GRANT_REF: u32 = 1;
pub const GNTTABOP_SETUP_TABLE: u32 = 2;
pub const GNTTABOP_DUMP_TABLE: u32 = 3;
pub const GNTTABOP_TRANSFER: u32 = 4;
pub const GNTTABOP_COPY: u32 = 5;
pub const GNTTABOP_QUERY_SIZE: u32 = 6;
pub const GNTTABOP_UNMAP_AND_REPLACE: u32 = 7;
pub const GNTTABOP_SET_VERSION: u32 = 8;
pub const GNTTABOP_GET_STATUS_FRAMES: u32 = 9;
pub const GNTTABOP_GET_VERSION: u32 = 10;
pub const GNTTABOP_SWAP_GRANT_REF: u32 = 11;
pub const GNTTABOP_CACHE_FLUSH: u32 = 12;

structs! {
    /// `struct gnttab_map_grant_ref` (`GNTTABOP_map_grant_ref`): Map the grant entry (`dom`,`ref`) for access by
    /// devices and/or host CPUs. If successful, `handle` is a tracking number that must be presented later to
    /// destroy the mapping(s). On error, `status` is a negative status code.
    pub struct GnttabMapGrantRef {
        host_addr: u64,
        /// `GNTMAP_`.
        flags: u32,
        ref_: GrantRef,
        dom: Domid,
        status: i16,
        handle: GrantHandle,
        dev_bus_addr: u64,
    }

    /// `struct gnttab_unmap_grant_ref` (`GNTTABOP_unmap_grant_ref`): Destroy one or more grant-reference mappings
    /// tracked by `handle`. If `host_addr` or `dev_bus_addr` is zero, that field is ignored. If non-zero, they must
    /// refer to a device/host mapping that is tracked by `handle`.
    pub struct GnttabUnmapGrantRef {
        host_addr: u64,
        dev_bus_addr: u64,
        handle: GrantHandle,
        status: i16,
        _pad0: [u8; 2],
    }

    /// `struct gnttab_setup_table` (`GNTTABOP_setup_table`): Set up a grant table for `dom` comprising at least
    /// `nr_frames` pages. The frame addresses are written to the `frame_list`. Only `nr_frames` addresses are
    /// written, even if the table is larger.
    pub struct GnttabSetupTable {
        dom: Domid,
        _pad0: [u8; 2],
        nr_frames: u32,
        status: i16,
        _pad1: [u8; 6],
        frame_list: GuestPtr<u64>,
    }

    /// `struct gnttab_dump_table` (`GNTTABOP_dump_table`): Dump the contents of the grant table to the xen console.
    /// Debugging use only.
    pub struct GnttabDumpTable {
        dom: Domid,
        status: i16,
    }

    /// `struct gnttab_transfer` (`GNTTABOP_transfer`): Transfer `frame` to a foreign domain. The foreign domain has
    /// previously registered its interest in the transfer via `domid, ref`.
    pub struct GnttabTransfer {
        mfn: u64,
        domid: Domid,
        _pad0: [u8; 2],
        ref_: GrantRef,
        status: i16,
        _pad1: [u8; 6],
    }
}

pub const GNTCOPY_SOURCE_GREF: u16 = 1 << 0;
pub const GNTCOPY_DEST_GREF: u16 = 1 << 1;

structs! {
    /// `struct gnttab_copy_ptr`.
    pub struct GnttabCopyPtr {
        u: Union<u64, 1>,
        domid: Domid,
        offset: u16,
        _pad0: [u8; 4],
    }

    /// `struct gnttab_copy`.
    pub struct GnttabCopy {
        source: GnttabCopyPtr,
        dest: GnttabCopyPtr,
        len: u16,
        /// `GNTCOPY_`.
        flags: u16,
        status: i16,
        _pad0: [u8; 2],
    }
}

union_accessors! {
    GnttabCopyPtr.u {
        as_ref, set_ref: GrantRef,
        as_gmfn, set_gmfn: u64,
    }
}

structs! {
    /// `struct gnttab_query_size` (`GNTTABOP_query_size`): Query the current and maximum sizes of the shared grant
    /// table.
    pub struct GnttabQuerySize {
        dom: Domid,
        _pad0: [u8; 2],
        nr_frames: u32,
        max_nr_frames: u32,
        status: i16,
        _pad1: [u8; 2],
    }

    /// `struct gnttab_unmap_and_replace` (`GNTTABOP_unmap_and_replace`): Destroy one or more grant-reference
    /// mappings tracked by `handle` but atomically replace the page table entry with one pointing to the machine
    /// address under `new_addr`. `new_addr` will be redirected to the null entry.
    pub struct GnttabUnmapAndReplace {
        host_addr: u64,
        new_addr: u64,
        handle: GrantHandle,
        status: i16,
        _pad0: [u8; 2],
    }

    /// `struct gnttab_set_version` (`GNTTABOP_set_version`): Request a particular version of the grant table shared
    /// table structure. This operation may be used to toggle between different versions, but must be performed
    /// while no grants are active. The only defined versions are 1 and.
    pub struct GnttabSetVersion {
        version: u32,
    }

    /// `struct gnttab_get_status_frames` (`GNTTABOP_get_status_frames`): Get the list of frames used to store grant
    /// status for `dom`. In grant format version 2, the status is separated from the other shared grant fields to
    /// allow more efficient synchronization using barriers instead of atomic cmpexch operations.
    pub struct GnttabGetStatusFrames {
        nr_frames: u32,
        dom: Domid,
        status: i16,
        frame_list: GuestPtr<u64>,
    }

    /// `struct gnttab_get_version` (`GNTTABOP_get_version`): Get the grant table version which is in effect for
    /// domain `dom`.
    pub struct GnttabGetVersion {
        dom: Domid,
        pad: u16,
        version: u32,
    }

    /// `struct gnttab_swap_grant_ref` (`GNTTABOP_swap_grant_ref`): Swap the contents of two grant entries.
    pub struct GnttabSwapGrantRef {
        ref_a: GrantRef,
        ref_b: GrantRef,
        status: i16,
        _pad0: [u8; 2],
    }

    /// `struct gnttab_cache_flush`: Issue one or more cache maintenance operations on a portion of a page granted
    /// to the calling domain by a foreign domain.
    pub struct GnttabCacheFlush {
        a: Union<u64, 1>,
        /// Offset from start of grant.
        offset: u16,
        /// Size within the grant.
        length: u16,
        op: u32,
    }
}

union_accessors! {
    GnttabCacheFlush.a {
        as_dev_bus_addr, set_dev_bus_addr: u64,
        as_ref, set_ref: GrantRef,
    }
}

pub const GNTTAB_CACHE_CLEAN: u32 = 1 << 0;
pub const GNTTAB_CACHE_INVAL: u32 = 1 << 1;
pub const GNTTAB_CACHE_SOURCE_GREF: u32 = 1 << 31;
pub const GNTMAP_DEVICE_MAP: u32 = 1 << 0;
pub const GNTMAP_HOST_MAP: u32 = 1 << 1;
pub const GNTMAP_READONLY: u32 = 1 << 2;
pub const GNTMAP_APPLICATION_MAP: u32 = 1 << 3;
pub const GNTMAP_CONTAINS_PTE: u32 = 1 << 4;
pub const GNTMAP_GUEST_AVAIL_MASK: u32 = 0xffff0000;
/// Normal return.
pub const GNTST_OKAY: i16 = 0;
/// General undefined error.
pub const GNTST_GENERAL_ERROR: i16 = -1;
/// Unrecognsed domain id.
pub const GNTST_BAD_DOMAIN: i16 = -2;
/// Unrecognised or inappropriate gntref.
pub const GNTST_BAD_GNTREF: i16 = -3;
/// Unrecognised or inappropriate handle.
pub const GNTST_BAD_HANDLE: i16 = -4;
/// Inappropriate virtual address to map.
pub const GNTST_BAD_VIRT_ADDR: i16 = -5;
/// Inappropriate device address to unmap.
pub const GNTST_BAD_DEV_ADDR: i16 = -6;
/// Out of space in I/O MMU.
pub const GNTST_NO_DEVICE_SPACE: i16 = -7;
/// Not enough privilege for operation.
pub const GNTST_PERMISSION_DENIED: i16 = -8;
/// Specified page was invalid for op.
pub const GNTST_BAD_PAGE: i16 = -9;
/// Copy arguments cross page boundary.
pub const GNTST_BAD_COPY_ARG: i16 = -10;
/// Transfer page address too large.
pub const GNTST_ADDRESS_TOO_BIG: i16 = -11;
/// Operation not done; try again.
pub const GNTST_EAGAIN: i16 = -12;
/// Out of space (handles etc).
pub const GNTST_NO_SPACE: i16 = -13;
