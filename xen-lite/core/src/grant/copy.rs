//! Copying between frames that are granted, or the caller's own.

use alloc::sync::Arc;

use super::Status;
use super::table::Use;
use crate::Hypervisor;
use crate::addr::{GrantRef, Mfn, PAGE_SIZE};
use crate::domain::Domain;
use crate::fail::Fail;
use crate::frame::entry::{get_to_read, get_to_write, put_written};
use crate::frame::{self, FrameInfo, Stop};
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
#[inline(always)]
pub fn copy<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &Arc<Domain>,
    from: (Place<'_>, usize),
    to: (Place<'_>, usize),
    length: usize,
) -> Result<Result<(), Status>, Fail> {
    let source = match take::<P, true>(hv, caller, from.0) {
        Ok(source) => source,
        Err(refused) => return refused.into(),
    };
    let target = match take::<P, false>(hv, caller, to.0) {
        Ok(target) => target,
        Err(refused) => {
            give_back::<P, true>(hv, from.0, &source);
            return refused.into();
        }
    };
    // As upstream, only now: what is wrong with the places comes first.
    let inside = from.1 + length <= PAGE_SIZE && to.1 + length <= PAGE_SIZE;
    if inside {
        transfer(hv, (source.mfn, from.1), (target.mfn, to.1), length);
    }
    give_back::<P, false>(hv, to.0, &target);
    give_back::<P, true>(hv, from.0, &source);
    Ok(if inside { Ok(()) } else { Err(Status::BadCopyArg) })
}

/// A frame that is held.
#[derive(Clone, Copy)]
struct Held<'h> {
    mfn: Mfn,
    info: &'h FrameInfo,
}

#[derive(Clone, Copy)]
enum Refused {
    Status(Status),
    Again,
}

impl From<Refused> for Result<Result<(), Status>, Fail> {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Status(status) => Ok(Err(status)),
            Refused::Again => Err(Fail::Again),
        }
    }
}

/// Pins and holds a frame, for reading only or for writing; to be given back by [`give_back`].
#[inline(always)]
fn take<'h, P: Platform, const READONLY: bool>(
    hv: &'h Hypervisor<P>,
    caller: &Domain,
    place: Place<'_>,
) -> Result<Held<'h>, Refused> {
    let what = Use { device: false, readonly: READONLY };
    match place {
        Place::Own(mfn) => hold::<P, READONLY>(hv, caller, mfn),
        Place::Grant(granter, reference) => {
            let pinned = granter.grants.table.lock().pin::<P, true>(hv, reference, caller.id, what, 0);
            let mfn = pinned.map_err(Refused::Status)?;
            hold::<P, READONLY>(hv, granter, mfn)
                .inspect_err(|_| granter.grants.table.lock().unpin(hv, reference, what))
        }
    }
}

/// Takes the reference that the work needs.
#[inline(always)]
fn hold<'h, P: Platform, const READONLY: bool>(
    hv: &'h Hypervisor<P>,
    owner: &Domain,
    mfn: Mfn,
) -> Result<Held<'h>, Refused> {
    if READONLY {
        let found = get_to_read(hv, mfn, owner.id);
        return found.map(|info| Held { mfn, info }).ok_or(Refused::Status(Status::BadPage));
    }
    match get_to_write(hv, mfn, owner.id) {
        Ok(info) => Ok(Held { mfn, info }),
        Err(Stop::Again) => Err(Refused::Again),
        // A page of one's own that is a table now.
        Err(Stop::Errno(_)) if hv.frames.owner(mfn) == frame::Owner::Domain(owner.id) => {
            Err(Refused::Status(Status::GeneralError))
        }
        Err(Stop::Errno(_)) => Err(Refused::Status(Status::BadPage)),
    }
}

#[inline(always)]
fn give_back<P: Platform, const READONLY: bool>(hv: &Hypervisor<P>, place: Place<'_>, held: &Held<'_>) {
    if READONLY {
        frame::put_page(hv, held.mfn);
    } else {
        put_written(hv, held.info, held.mfn);
    }
    if let Place::Grant(granter, reference) = place {
        let what = Use { device: false, readonly: READONLY };
        granter.grants.table.lock().unpin(hv, reference, what);
    }
}

#[inline(always)]
fn transfer<P: Platform>(hv: &Hypervisor<P>, from: (Mfn, usize), to: (Mfn, usize), length: usize) {
    if length == PAGE_SIZE {
        hv.platform.copy_frame(to.0, from.0);
        return;
    }
    hv.platform.copy_bytes(to, from, length);
}
