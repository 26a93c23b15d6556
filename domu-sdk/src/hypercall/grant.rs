//! `grant_table_op`. Granting and mapping change this domain's own memory; they are in [`crate::grant`]. Copying is here.

use super::{Result, input, output};
use crate::{
    arch,
    memory::{layout::PAGE_SIZE, machine_frame_at},
    types::{DomId, GrantRef},
};
use abi::{
    errno::Errno,
    grant_table::{
        GNTCOPY_DEST_GREF, GNTCOPY_SOURCE_GREF, GNTST_BAD_COPY_ARG, GNTST_BAD_VIRT_ADDR, GNTST_OKAY,
        GNTTABOP_COPY, GNTTABOP_GET_VERSION, GNTTABOP_MAP_GRANT_REF, GNTTABOP_QUERY_SIZE,
        GNTTABOP_SETUP_TABLE, GNTTABOP_UNMAP_GRANT_REF, GnttabCopy, GnttabGetVersion, GnttabMapGrantRef,
        GnttabQuerySize, GnttabSetupTable, GnttabUnmapGrantRef,
    },
    xen::{DOMID_SELF, hypercall::GRANT_TABLE_OP},
};
use alloc::vec::Vec;
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
    let flags = GNTCOPY_DEST_GREF;
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

/// Copies that one hypercall does at most.
const BATCH: usize = 64;

/// Bytes to fetch from a frame that another domain grants; see [`fetch`].
#[derive(Debug)]
pub struct Fetch<'a> {
    /// The other domain's grant.
    pub grant: GrantRef,
    /// Where in the granted frame.
    pub offset: u16,
    /// Where to put the bytes, and how many.
    pub into: &'a mut [u8],
    /// What came of it.
    pub status: i16,
}

/// Bytes to put into a frame that another domain grants; see [`deliver`].
#[derive(Debug)]
pub struct Deliver<'a> {
    /// The other domain's grant.
    pub grant: GrantRef,
    /// Where in the granted frame.
    pub offset: u16,
    /// The bytes.
    pub from: &'a [u8],
    /// What came of it.
    pub status: i16,
}

/// Copies bytes out of granted frames of `domain`, many with one hypercall. Each entry has its own status: `GNTST_okay`
/// (0) if all its bytes came; otherwise its buffer holds any mixture of old and new bytes.
pub fn fetch(domain: DomId, list: &mut [Fetch<'_>]) -> Result {
    let mut copies = Copies::default();
    for entry in &mut *list {
        entry.status = GNTST_OKAY;
        copies.add(domain, entry.grant, entry.offset, output(entry.into), entry.into.len(), true);
    }
    copies.run(|index, status| list[index].status = status)
}

/// Copies bytes into granted frames of `domain`, many with one hypercall. Each entry has its own status.
pub fn deliver(domain: DomId, list: &mut [Deliver<'_>]) -> Result {
    let mut copies = Copies::default();
    for entry in &mut *list {
        entry.status = GNTST_OKAY;
        copies.add(domain, entry.grant, entry.offset, input(entry.from), entry.from.len(), false);
    }
    copies.run(|index, status| list[index].status = status)
}

/// Copies that are to be done, each within one frame on both sides, with the number of the entry they belong to.
#[derive(Default)]
struct Copies {
    entries: usize,
    list: Vec<(usize, GnttabCopy)>,
    failed: Vec<(usize, i16)>,
}

impl Copies {
    /// Adds the copy of `len` bytes between a granted frame and this domain's memory at `address`.
    fn add(&mut self, domain: DomId, grant: GrantRef, offset: u16, address: u64, len: usize, fetch: bool) {
        let index = self.entries;
        self.entries += 1;
        if usize::from(offset) + len > PAGE_SIZE {
            return self.failed.push((index, GNTST_BAD_COPY_ARG));
        }
        let mut done = 0;
        while done < len {
            let at = address + done as u64;
            let piece = (len - done).min(PAGE_SIZE - (at % PAGE_SIZE as u64) as usize);
            let Some(frame) = machine_frame_at(at) else {
                return self.failed.push((index, GNTST_BAD_VIRT_ADDR));
            };
            let mut copy = GnttabCopy { len: piece as u16, ..Default::default() };
            let (theirs, ours) = if fetch {
                copy.flags = GNTCOPY_SOURCE_GREF;
                (&mut copy.source, &mut copy.dest)
            } else {
                copy.flags = GNTCOPY_DEST_GREF;
                (&mut copy.dest, &mut copy.source)
            };
            theirs.domid = domain.0;
            theirs.offset = offset + done as u16;
            theirs.set_ref(grant.0);
            ours.domid = DOMID_SELF;
            ours.offset = (at % PAGE_SIZE as u64) as u16;
            ours.set_gmfn(frame.0);
            self.list.push((index, copy));
            done += piece;
        }
    }

    /// Does them, and tells which entries failed and how.
    fn run(self, mut report: impl FnMut(usize, i16)) -> Result {
        for batch in self.list.chunks(BATCH) {
            let mut arguments: Vec<GnttabCopy> = batch.iter().map(|(_, copy)| *copy).collect();
            call(GNTTABOP_COPY, &mut arguments)?;
            for ((index, _), copy) in batch.iter().zip(&arguments).filter(|(_, c)| c.status != GNTST_OKAY) {
                report(*index, copy.status);
            }
        }
        self.failed.into_iter().for_each(|(index, status)| report(index, status));
        Ok(())
    }
}
