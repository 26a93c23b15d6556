//! `grant_table_op`. Granting and mapping change this domain's own memory; they are in [`crate::grant`]. Copying is here.

use super::{Result, output};
use crate::{
    arch,
    types::{DomId, GrantRef},
};
use abi::{
    errno::Errno,
    grant_table::{
        GNTCOPY_SOURCE_GREF, GNTST_OKAY, GNTTABOP_COPY, GNTTABOP_GET_VERSION, GNTTABOP_MAP_GRANT_REF,
        GNTTABOP_QUERY_SIZE, GNTTABOP_SETUP_TABLE, GNTTABOP_UNMAP_GRANT_REF, GnttabCopy, GnttabGetVersion,
        GnttabMapGrantRef, GnttabQuerySize, GnttabSetupTable, GnttabUnmapGrantRef,
    },
    xen::{DOMID_SELF, hypercall::GRANT_TABLE_OP},
};
use core::fmt;

/// Why a grant operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantError {
    /// The hypercall as a whole.
    Call(Errno),
    /// This entry, with a status `GNTST_*`.
    Status(i16),
}

impl fmt::Display for GrantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(errno) => write!(f, "grant operation: {errno}"),
            Self::Status(status) => write!(f, "grant status {status} ({})", status_text(*status)),
        }
    }
}

impl core::error::Error for GrantError {}

impl From<Errno> for GrantError {
    fn from(errno: Errno) -> Self {
        Self::Call(errno)
    }
}

const fn status_text(status: i16) -> &'static str {
    match status {
        0 => "done",
        -1 => "general error",
        -2 => "no such domain",
        -3 => "bad reference",
        -4 => "bad handle",
        -5 => "bad address",
        -6 => "bad device address",
        -7 => "no room in the I/O MMU",
        -8 => "not permitted",
        -9 => "bad page",
        -10 => "bad copy argument",
        -11 => "address too large",
        -12 => "try again",
        -13 => "no room",
        _ => "unknown",
    }
}

/// Result of a grant operation.
pub type GrantResult<T = ()> = core::result::Result<T, GrantError>;

fn check(status: i16) -> GrantResult {
    if status == GNTST_OKAY { Ok(()) } else { Err(GrantError::Status(status)) }
}

fn call<T>(operation: u32, arguments: &mut [T]) -> Result {
    let count = arguments.len() as u64;
    arch::call(GRANT_TABLE_OP, [operation.into(), output(arguments), count, 0, 0]).map(|_| ())
}

/// Frames of this domain's grant table: now, and at most.
pub fn query_size() -> GrantResult<(u32, u32)> {
    let mut argument = [GnttabQuerySize { dom: DOMID_SELF, ..Default::default() }];
    call(GNTTABOP_QUERY_SIZE, &mut argument)?;
    check(argument[0].status)?;
    Ok((argument[0].nr_frames, argument[0].max_nr_frames))
}

/// Version of the grant table in use by a domain.
pub fn table_version(domain: DomId) -> Result<u32> {
    let mut argument = [GnttabGetVersion { dom: domain.0, ..Default::default() }];
    call(GNTTABOP_GET_VERSION, &mut argument)?;
    Ok(argument[0].version)
}

/// Sets the table up with at least `frames.len()` frames and tells their machine frames.
pub(crate) fn setup_table(frames: &mut [u64]) -> GrantResult {
    let mut argument = [GnttabSetupTable {
        dom: DOMID_SELF,
        nr_frames: frames.len() as u32,
        frame_list: abi::GuestPtr::new(output(frames)),
        ..Default::default()
    }];
    call(GNTTABOP_SETUP_TABLE, &mut argument)?;
    check(argument[0].status)
}

/// Maps grants; each argument has its own status.
pub(crate) fn map(arguments: &mut [GnttabMapGrantRef]) -> Result {
    call(GNTTABOP_MAP_GRANT_REF, arguments)
}

/// Unmaps grants; each argument has its own status.
pub(crate) fn unmap(arguments: &mut [GnttabUnmapGrantRef]) -> Result {
    call(GNTTABOP_UNMAP_GRANT_REF, arguments)
}

/// Copies bytes from a granted frame of another domain into shared pages of this one; the range may not cross a page on either
/// side.
pub fn copy_from(
    domain: DomId,
    grant: GrantRef,
    offset: u16,
    to: &crate::memory::SharedPages,
    to_offset: usize,
    len: u16,
) -> GrantResult {
    let mut copy = GnttabCopy { len, flags: GNTCOPY_SOURCE_GREF, ..Default::default() };
    copy.source.domid = domain.0;
    copy.source.offset = offset;
    copy.source.set_ref(grant.0);
    copy.dest.domid = DOMID_SELF;
    copy.dest.offset = (to_offset % 4096) as u16;
    copy.dest.set_gmfn(to.mfn(to_offset / 4096).0);
    let mut arguments = [copy];
    call(GNTTABOP_COPY, &mut arguments)?;
    check(arguments[0].status)
}

/// Copies bytes from shared pages of this domain into a granted frame of another; the range may not cross a page on either side.
pub fn copy_to(
    domain: DomId,
    grant: GrantRef,
    offset: u16,
    from: &crate::memory::SharedPages,
    from_offset: usize,
    len: u16,
) -> GrantResult {
    let flags = abi::grant_table::GNTCOPY_DEST_GREF;
    let mut copy = GnttabCopy { len, flags, ..Default::default() };
    copy.source.domid = DOMID_SELF;
    copy.source.offset = (from_offset % 4096) as u16;
    copy.source.set_gmfn(from.mfn(from_offset / 4096).0);
    copy.dest.domid = domain.0;
    copy.dest.offset = offset;
    copy.dest.set_ref(grant.0);
    let mut arguments = [copy];
    call(GNTTABOP_COPY, &mut arguments)?;
    check(arguments[0].status)
}
