//! Mapping.

use alloc::sync::Arc;

use abi::grant_table::*;

use super::Status;
use super::maptrack::Mapping;
use super::table::{Table, Use};
use crate::Hypervisor;
use crate::addr::{DomId, GrantRef, GuestVirt, MachineAddr, Mfn, PAGE_SHIFT};
use crate::domain::Domain;
use crate::fail::{Errno, Fail};
use crate::frame::entry::Mapper;
use crate::frame::pte::{ACCESSED, DIRTY, NX, PRESENT, USER, WRITABLE};
use crate::frame::{self, Kind, Owner, Stop};
use crate::mm::update::{How, update_l1};
use crate::mm::walk::l1_of;
use crate::platform::Platform;

/// First bit of an entry that the CPU ignores, and how many bits a mapping may choose there (`GNTMAP_guest_avail0`).
const AVAILABLE_SHIFT: u32 = 9;
const AVAILABLE_MASK: u64 = 7;
const GUEST_AVAIL_SHIFT: u32 = 16;

/// What is to be mapped, and where (`struct gnttab_map_grant_ref`).
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Guest address, or machine address of a page-table entry, by the flags.
    pub address: u64,
    /// `GNTMAP_*`.
    pub flags: u32,
    /// The entry in the granter's table.
    pub reference: GrantRef,
}

/// A mapping that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Names it.
    pub handle: u32,
    /// The frame.
    pub frame: Mfn,
}

/// Maps a grant of `granter` for `mapper`, whose running vCPU has the root table `root`.
///
/// # Errors
/// In the inner result: `GNTST_*` as upstream. [`Fail::Again`] when a frame is being worked on; then nothing was done.
#[inline(always)]
pub fn map<P: Platform>(
    hv: &Hypervisor<P>,
    mapper: &Arc<Domain>,
    root: Mfn,
    granter: &Arc<Domain>,
    request: Request,
) -> Result<Result<Mapped, Status>, Fail> {
    let flags = request.flags;
    if flags & (GNTMAP_DEVICE_MAP | GNTMAP_HOST_MAP) == 0 {
        return Ok(Err(Status::BadGntref));
    }
    let mut mapping = Mapping {
        granter: granter.clone(),
        reference: request.reference,
        frame: Mfn::INVALID,
        by_entry: flags & GNTMAP_CONTAINS_PTE != 0,
        host: flags & GNTMAP_HOST_MAP != 0,
        device: flags & GNTMAP_DEVICE_MAP != 0,
        readonly: flags & GNTMAP_READONLY != 0,
    };
    let frame = match pin(hv, mapper, &mapping) {
        Ok(frame) => frame,
        Err(status) => return Ok(Err(status)),
    };
    mapping.frame = frame;
    let added = mapper.grants.maptrack.lock().add(mapping);
    let handle = match added {
        Ok(handle) => handle,
        Err((status, mapping)) => {
            unpin(hv, &mapping);
            return Ok(Err(status));
        }
    };
    match install(hv, mapper, root, granter.id, request, frame) {
        Ok(()) => Ok(Ok(Mapped { handle, frame })),
        Err(stop) => {
            let gone = mapper.grants.maptrack.lock().remove(handle);
            gone.iter().for_each(|mapping| unpin(hv, mapping));
            match stop {
                Stop::Again => Err(Fail::Again),
                Stop::Errno(_) if hv.frames.owner(frame) != Owner::Domain(granter.id) => {
                    Ok(Err(Status::BadPage))
                }
                Stop::Errno(_) => Ok(Err(Status::GeneralError)),
            }
        }
    }
}

/// Counts the pins of a mapping; all or none.
#[inline(always)]
fn pin<P: Platform>(hv: &Hypervisor<P>, mapper: &Domain, mapping: &Mapping) -> Result<Mfn, Status> {
    let mut table = mapping.granter.grants.table.lock();
    let what = Use { device: !mapping.host, readonly: mapping.readonly };
    let frame = table.pin::<P, true>(hv, mapping.reference, mapper.id, what, GTF_SUB_PAGE)?;
    if mapping.host && mapping.device {
        pin_device(hv, &mut table, mapper, mapping)?;
    }
    Ok(frame)
}

/// The second of two pins.
#[cold]
fn pin_device<P: Platform>(
    hv: &Hypervisor<P>,
    table: &mut Table,
    mapper: &Domain,
    mapping: &Mapping,
) -> Result<(), Status> {
    let [host, device] = [false, true].map(|device| Use { device, readonly: mapping.readonly });
    let pinned = table.pin::<P, false>(hv, mapping.reference, mapper.id, device, GTF_SUB_PAGE);
    pinned.map(drop).inspect_err(|_| table.unpin(hv, mapping.reference, host))
}

/// Takes back what [`pin`] counted.
#[inline]
pub(super) fn unpin<P: Platform>(hv: &Hypervisor<P>, mapping: &Mapping) {
    let mut table = mapping.granter.grants.table.lock();
    for (is_so, device) in [(mapping.host, false), (mapping.device, true)] {
        if is_so {
            table.unpin(hv, mapping.reference, Use { device, readonly: mapping.readonly });
        }
    }
}

/// Takes the device's reference, and writes the page-table entry; both or neither.
#[inline(always)]
fn install<P: Platform>(
    hv: &Hypervisor<P>,
    mapper: &Domain,
    root: Mfn,
    granter: DomId,
    request: Request,
    frame: Mfn,
) -> Result<(), Stop> {
    let readonly = request.flags & GNTMAP_READONLY != 0;
    let device = request.flags & GNTMAP_DEVICE_MAP != 0;
    if device {
        get_device(hv, granter, frame, readonly)?;
    }
    let written = if request.flags & GNTMAP_HOST_MAP != 0 {
        write_entry(hv, mapper, root, granter, request, frame)
    } else {
        Ok(())
    };
    if written.is_err() && device {
        put_device(hv, frame, readonly);
    }
    written
}

fn get_device<P: Platform>(
    hv: &Hypervisor<P>,
    granter: DomId,
    frame: Mfn,
    readonly: bool,
) -> Result<(), Stop> {
    if !readonly {
        frame::get_page_type(hv, frame, granter, Kind::Writable)
    } else if hv.frames.get_page(frame, granter) {
        Ok(())
    } else {
        Err(Stop::Errno(Errno::EINVAL))
    }
}

pub(super) fn put_device<P: Platform>(hv: &Hypervisor<P>, frame: Mfn, readonly: bool) {
    if readonly { frame::put_page(hv, frame) } else { frame::put_page_type(hv, frame) }
}

#[inline(always)]
fn write_entry<P: Platform>(
    hv: &Hypervisor<P>,
    mapper: &Domain,
    root: Mfn,
    granter: DomId,
    request: Request,
    frame: Mfn,
) -> Result<(), Stop> {
    let flags = request.flags;
    let chosen = u64::from(flags >> GUEST_AVAIL_SHIFT) & AVAILABLE_MASK;
    let chosen = chosen << AVAILABLE_SHIFT;
    let mut entry = frame.raw() << PAGE_SHIFT | PRESENT | ACCESSED | DIRTY | NX | chosen;
    if flags & GNTMAP_READONLY == 0 {
        entry |= WRITABLE;
    }
    if flags & GNTMAP_APPLICATION_MAP != 0 {
        entry |= USER;
    }
    let by = Mapper { table: mapper.id, pages: granter, hardware: false };
    let by_entry = flags & GNTMAP_CONTAINS_PTE != 0;
    let (table, index) = hold_entry(hv, mapper, root, request.address, by_entry)?;
    // `Set` never finds anything different.
    let result = update_l1(hv, table, index, entry, How::Set, &by).map(drop);
    frame::put_page_type(hv, table);
    result
}

/// The entry that an address means: its table, which is held, and its place there.
#[inline(always)]
pub(super) fn hold_entry<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Domain,
    root: Mfn,
    address: u64,
    is_entry: bool,
) -> Result<(Mfn, usize), Stop> {
    let wrong = Stop::Errno(Errno::EINVAL);
    let (table, index) = if is_entry {
        let at = MachineAddr::new(address);
        if !at.offset().is_multiple_of(8) {
            return Err(wrong);
        }
        (at.mfn(), at.offset() / 8)
    } else {
        l1_of(hv, root, GuestVirt::new(address)).ok_or(wrong)?
    };
    if frame::get_held(hv, table, domain.id, Kind::L1) { Ok((table, index)) } else { Err(wrong) }
}

/// Does something with the entry that an address means, while its table is held.
pub(super) fn with_entry<P: Platform, T>(
    hv: &Hypervisor<P>,
    domain: &Domain,
    root: Mfn,
    address: u64,
    is_entry: bool,
    action: impl FnOnce(Mfn, usize) -> Result<T, Stop>,
) -> Result<T, Stop> {
    let (table, index) = hold_entry(hv, domain, root, address, is_entry)?;
    let result = action(table, index);
    frame::put_page_type(hv, table);
    result
}
