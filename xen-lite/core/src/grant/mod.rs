//! Grants: one domain lets another use a frame.
//!
//! # What there is
//! The granter writes entries into its *shared table* (version 1 of grant_table.h): flags, domain, frame, eight bytes
//! each, 512 to a frame. Another domain maps or copies by reference. For each entry in use the hypervisor keeps a private
//! [`table::Active`]: which frame and domain it was when the first user came, and how many users of each sort there are. The mapper
//! gets a *handle*, the index of an entry of its [`maptrack::Maptrack`].
//!
//! # Rules
//! 1. *Pins equal handles.* Each handle stands for one pin per sort that it was made with (host, device); unmapping, and the end of the
//!    mapper, take each back exactly once. `GTF_reading` and `GTF_writing` are set in the shared entry while pins (writing ones) exist.
//! 2. *Shared memory is looked at once.* An entry is eight bytes, so type, domain, frame and flags are read, judged and marked in
//!    one compare-and-swap. Once in use, the private copy counts, whatever the granter writes.
//! 3. *A mapping is a page-table entry like any other*, except that the frame is another domain's: it holds the reference that its bits call for,
//!    and whoever removes it (the unmapping, but also a guest that overwrites it, or the end of its page table) drops
//!    that reference. A handle without its entry keeps the pin, not the frame. A device mapping has no entry and holds a reference of its own.
//! 4. *Flush before telling.* After the entry is gone and before the shared flags say so, the translations are flushed.
//!
//! # Locks
//! A domain has two, one for the granter's side, one for the mapper's; rank "grants". Never two at a time.
//!
//! Version 2 tables are left out on purpose (as with upstream's `gnttab=max-ver:1`): no status frames, sub-pages, or
//! transitive grants, and no switching of versions under users.

use alloc::sync::Arc;

use crate::sync::Mutex;

use crate::Hypervisor;
use crate::addr::Mfn;
use crate::domain::Domain;
use crate::fail::Errno;
use crate::platform::Platform;

mod copy;
mod map;
mod maptrack;
mod table;
#[cfg(test)]
mod tests;
mod unmap;

pub use copy::{Place, copy};
pub use map::{Mapped, Request, map};
pub use table::{frame, free_table, grow, is_mapped_by, swap};
pub use unmap::{Unmapped, device_frames, flush_unmapped, flush_unmapped_one, release_all, replace, unmap};

/// Most frames of a grant table, unless the toolstack says otherwise.
pub const DEFAULT_FRAMES: u32 = 64;
/// Most frames' worth of handles, unless the toolstack says otherwise.
pub const DEFAULT_MAPTRACK_FRAMES: u32 = 1024;
/// Handles that count as one frame's worth.
const HANDLES_PER_FRAME: u32 = 256;
/// Highest limit of either that makes sense.
const MOST_FRAMES: u32 = 1 << 14;

/// How an operation on a grant ended; `GNTST_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
#[expect(missing_docs, reason = "the comments are grant_table.h's")]
pub enum Status {
    GeneralError = abi::grant_table::GNTST_GENERAL_ERROR,
    BadDomain = abi::grant_table::GNTST_BAD_DOMAIN,
    BadGntref = abi::grant_table::GNTST_BAD_GNTREF,
    BadHandle = abi::grant_table::GNTST_BAD_HANDLE,
    PermissionDenied = abi::grant_table::GNTST_PERMISSION_DENIED,
    BadPage = abi::grant_table::GNTST_BAD_PAGE,
    BadCopyArg = abi::grant_table::GNTST_BAD_COPY_ARG,
    Eagain = abi::grant_table::GNTST_EAGAIN,
    NoSpace = abi::grant_table::GNTST_NO_SPACE,
}

/// Grants of a domain, as granter and as mapper.
#[derive(Debug)]
pub struct Grants {
    table: Mutex<table::Table>,
    maptrack: Mutex<maptrack::Maptrack>,
    max_frames: u32,
}

impl Default for Grants {
    fn default() -> Self {
        Grants::new(DEFAULT_FRAMES, DEFAULT_MAPTRACK_FRAMES)
    }
}

impl Grants {
    /// For a domain whose table may have `max_frames` frames and which may map `max_maptrack_frames` frames' worth of others' grants.
    pub fn new(max_frames: u32, max_maptrack_frames: u32) -> Grants {
        let handles = max_maptrack_frames.min(MOST_FRAMES) * HANDLES_PER_FRAME;
        Grants {
            table: Mutex::new(table::Table::default()),
            maptrack: Mutex::new(maptrack::Maptrack::new(handles)),
            max_frames: max_frames.min(MOST_FRAMES),
        }
    }

    /// Number of frames that the shared table has, and may have. The first is made when it is first needed, but counts.
    pub fn size(&self) -> (u32, u32) {
        (self.table.lock().frames().len().max(1) as u32, self.max_frames)
    }
}

/// The first `count` frames of a domain's shared table, made if need be, each passed to `each` with its number.
///
/// # Errors
/// As [`grow`].
pub fn frames<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Arc<Domain>,
    count: u32,
    mut each: impl FnMut(u32, Mfn) -> Result<(), Errno>,
) -> Result<(), Errno> {
    grow(hv, domain, count)?;
    for index in 0..count {
        each(index, frame(hv, domain, index)?)?;
    }
    Ok(())
}
