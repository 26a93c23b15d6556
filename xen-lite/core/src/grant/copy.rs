//! Copying between frames that are granted, or the caller's own.

use alloc::sync::Arc;

use super::Status;
use super::table::Use;
use crate::Hypervisor;
use crate::addr::{GrantRef, Mfn, PAGE_SIZE};
use crate::domain::Domain;
use crate::fail::Fail;
use crate::frame::{self, Kind, Stop};
use crate::platform::Platform;

/// One side of a copy.
#[derive(Clone, Copy, Debug)]
pub enum Place<'d> {
    /// By reference into a domain's grant table.
    Grant(&'d Arc<Domain>, GrantRef),
    /// The caller's own frame.
    Own(Mfn),
}

/// Copies `length` bytes between two places, each an offset in a frame (`GNTTABOP_copy`).
///
/// # Errors
/// In the inner result: `BadCopyArg` when either range leaves its frame, `BadPage` for a frame that cannot be used so, and what the grants
/// say. [`Fail::Again`] when a frame is being worked on; then nothing was done.
pub fn copy<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &Arc<Domain>,
    from: (Place<'_>, usize),
    to: (Place<'_>, usize),
    length: usize,
) -> Result<Result<(), Status>, Fail> {
    let inside = from.1 + length <= PAGE_SIZE && to.1 + length <= PAGE_SIZE;
    let result = with_frame(hv, caller, from.0, true, |source| {
        with_frame(hv, caller, to.0, false, |target| {
            // As upstream, only now: what is wrong with the places comes first.
            if !inside {
                return Err(Refused::Status(Status::BadCopyArg));
            }
            transfer(hv, (source, from.1), (target, to.1), length);
            Ok(())
        })
    });
    match result {
        Ok(()) => Ok(Ok(())),
        Err(Refused::Status(status)) => Ok(Err(status)),
        Err(Refused::Again) => Err(Fail::Again),
    }
}

enum Refused {
    Status(Status),
    Again,
}

/// Does something while a frame is pinned and held.
fn with_frame<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &Arc<Domain>,
    place: Place<'_>,
    readonly: bool,
    action: impl FnOnce(Mfn) -> Result<(), Refused>,
) -> Result<(), Refused> {
    let what = Use { device: false, readonly };
    match place {
        Place::Own(mfn) => with_reference(hv, caller, mfn, readonly, action),
        Place::Grant(granter, reference) => {
            let pinned = {
                let mut table = granter.grants.table.lock();
                table.has_room(reference).and_then(|()| table.pin(hv, reference, caller.id, what, 0))
            };
            let mfn = pinned.map_err(Refused::Status)?;
            let result = with_reference(hv, granter, mfn, readonly, action);
            granter.grants.table.lock().unpin(hv, reference, what);
            result
        }
    }
}

fn with_reference<P: Platform>(
    hv: &Hypervisor<P>,
    owner: &Domain,
    mfn: Mfn,
    readonly: bool,
    action: impl FnOnce(Mfn) -> Result<(), Refused>,
) -> Result<(), Refused> {
    if readonly {
        if !hv.frames.get_page(mfn, owner.id) {
            return Err(Refused::Status(Status::BadPage));
        }
    } else {
        match frame::get_page_type(hv, mfn, owner.id, Kind::Writable) {
            Ok(()) => {}
            Err(Stop::Again) => return Err(Refused::Again),
            // A page of one's own that is a table now.
            Err(Stop::Errno(_)) if hv.frames.owner(mfn) == frame::Owner::Domain(owner.id) => {
                return Err(Refused::Status(Status::GeneralError));
            }
            Err(Stop::Errno(_)) => return Err(Refused::Status(Status::BadPage)),
        }
    }
    let result = action(mfn);
    if readonly {
        frame::put_page(hv, mfn)
    } else {
        frame::put_page_type(hv, mfn)
    }
    result
}

fn transfer<P: Platform>(hv: &Hypervisor<P>, from: (Mfn, usize), to: (Mfn, usize), length: usize) {
    if length == PAGE_SIZE {
        hv.platform.copy_frame(to.0, from.0);
        return;
    }
    hv.platform.copy_bytes(to, from, length);
}
