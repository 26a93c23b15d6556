//! Mapping and unmapping.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::grant_table::*;

use super::Status;
use super::maptrack::Mapping;
use super::table::{Use, close};
use crate::Hypervisor;
use crate::addr::{DomId, GrantRef, GuestVirt, MachineAddr, Mfn, PAGE_SHIFT};
use crate::domain::Domain;
use crate::effects::Effects;
use crate::fail::Fail;
use crate::frame::entry::{Mapper, put_l1};
use crate::frame::pte::{ACCESSED, DIRTY, FRAME, PRESENT, USER, WRITABLE};
use crate::frame::{self, Kind, Owner, Stop};
use crate::mm::update::{How, update_l1};
use crate::mm::walk::l1_of;
use crate::platform::{Flush, Platform};

/// First bit of an entry that the CPU ignores, and how many bits a mapping may choose there (`GNTMAP_guest_avail0`).
const AVAILABLE_SHIFT: u32 = 9;
const AVAILABLE_MASK: u64 = 7;
const GUEST_AVAIL_SHIFT: u32 = 16;
/// Handles that are given up between two looks for interrupts.
const BATCH: u32 = 64;

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

impl Mapping {
    /// The pins that it stands for.
    fn uses(&self) -> impl Iterator<Item = Use> + use<> {
        let readonly = self.readonly;
        let host = self.host.then_some(Use { device: false, readonly });
        host.into_iter().chain(self.device.then_some(Use { device: true, readonly }))
    }
}

/// Maps a grant of `granter` for `mapper`, whose running vCPU has the root table `root`.
///
/// # Errors
/// In the inner result: `GNTST_*` as upstream. [`Fail::Again`] when a frame is being worked on; then nothing was done.
#[inline]
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
fn pin<P: Platform>(hv: &Hypervisor<P>, mapper: &Domain, mapping: &Mapping) -> Result<Mfn, Status> {
    let mut table = mapping.granter.grants.table.lock();
    let mut frame = Mfn::INVALID;
    for (done, what) in mapping.uses().enumerate() {
        match table.pin(hv, mapping.reference, mapper.id, what) {
            Ok(found) => frame = found,
            Err(status) => {
                mapping.uses().take(done).for_each(|what| table.unpin(hv, mapping.reference, what));
                return Err(status);
            }
        }
    }
    Ok(frame)
}

fn unpin<P: Platform>(hv: &Hypervisor<P>, mapping: &Mapping) {
    let mut table = mapping.granter.grants.table.lock();
    mapping.uses().for_each(|what| table.unpin(hv, mapping.reference, what));
}

/// Takes the device's reference, and writes the page-table entry; both or neither.
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
        Err(Stop::Errno(crate::fail::Errno::EINVAL))
    }
}

fn put_device<P: Platform>(hv: &Hypervisor<P>, frame: Mfn, readonly: bool) {
    if readonly { frame::put_page(hv, frame) } else { frame::put_page_type(hv, frame) }
}

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
    let mut entry = frame.raw() << PAGE_SHIFT | PRESENT | ACCESSED | DIRTY | chosen << AVAILABLE_SHIFT;
    if flags & GNTMAP_READONLY == 0 {
        entry |= WRITABLE;
    }
    if flags & GNTMAP_APPLICATION_MAP != 0 {
        entry |= USER;
    }
    let by = Mapper { table: mapper.id, pages: granter, hardware: false };
    with_entry(hv, mapper, root, request.address, flags & GNTMAP_CONTAINS_PTE != 0, |table, index| {
        // `Set` never finds anything different.
        update_l1(hv, table, index, entry, How::Set, &by).map(|_| ())
    })
}

/// Does something with the entry that an address means, while its table is held.
fn with_entry<P: Platform, T>(
    hv: &Hypervisor<P>,
    domain: &Domain,
    root: Mfn,
    address: u64,
    is_entry: bool,
    action: impl FnOnce(Mfn, usize) -> Result<T, Stop>,
) -> Result<T, Stop> {
    let wrong = Stop::Errno(crate::fail::Errno::EINVAL);
    let (table, index) = if is_entry {
        let at = MachineAddr::new(address);
        if !at.offset().is_multiple_of(8) {
            return Err(wrong);
        }
        (at.mfn(), at.offset() / 8)
    } else {
        l1_of(hv, root, GuestVirt::new(address)).ok_or(wrong)?
    };
    if !frame::get_held(hv, table, domain.id, Kind::L1) {
        return Err(wrong);
    }
    let result = action(table, index);
    frame::put_page_type(hv, table);
    result
}

/// Undoes a mapping: removes the page-table entry at `address` if that is not 0, and lets go for devices if `device_address` is not 0.
/// The pins go with [`flush_unmapped`], to which the result is to be passed.
///
/// # Errors
/// `BadHandle`; `GeneralError` when the address does not hold the mapping.
#[inline]
pub fn unmap<P: Platform>(
    hv: &Hypervisor<P>,
    mapper: &Domain,
    root: Mfn,
    handle: u32,
    address: u64,
    device_address: u64,
) -> Result<Unmapped, Status> {
    let mapping = look_up(mapper, handle)?;
    if device_address != 0 && device_address != mapping.frame.raw() << PAGE_SHIFT {
        return Err(Status::GeneralError);
    }
    let host = address != 0 && mapping.host;
    if host {
        remove_entry(hv, mapper, root, address, &mapping)?;
    }
    Ok(finish(mapper, handle, mapping, host, device_address != 0, address))
}

/// As [`unmap`] for the CPU, with the entry at `new_address` moving to where the mapping was (`GNTTABOP_unmap_and_replace`).
///
/// # Errors
/// As [`unmap`], and `GeneralError` when `new_address` has no page table.
pub fn replace<P: Platform>(
    hv: &Hypervisor<P>,
    mapper: &Domain,
    root: Mfn,
    handle: u32,
    address: u64,
    new_address: u64,
) -> Result<Unmapped, Status> {
    let mapping = look_up(mapper, handle)?;
    if !mapping.host || address == 0 || (mapping.by_entry && new_address != 0) {
        return Err(Status::GeneralError);
    }
    if new_address == 0 {
        remove_entry(hv, mapper, root, address, &mapping)?;
    } else {
        let moved = with_entry(hv, mapper, root, address, false, |table, index| {
            with_entry(hv, mapper, root, new_address, false, |from, at| {
                move_entry(hv, (from, at), (table, index), &mapping)
            })
        });
        moved.map_err(|_| Status::GeneralError)?;
    }
    Ok(finish(mapper, handle, mapping, true, false, if new_address == 0 { address } else { 0 }))
}

fn look_up(mapper: &Domain, handle: u32) -> Result<Mapping, Status> {
    mapper.grants.maptrack.lock().get(handle).cloned().ok_or(Status::BadHandle)
}

/// Whether an entry is this mapping: present, its frame, its permission.
fn is_mapping(entry: u64, mapping: &Mapping) -> bool {
    entry & PRESENT != 0
        && entry & FRAME == mapping.frame.raw() << PAGE_SHIFT
        && (entry & WRITABLE == 0) == mapping.readonly
}

/// Removes the entry of a mapping.
fn remove_entry<P: Platform>(
    hv: &Hypervisor<P>,
    mapper: &Domain,
    root: Mfn,
    address: u64,
    mapping: &Mapping,
) -> Result<(), Status> {
    let removed = with_entry(hv, mapper, root, address, mapping.by_entry, |table, index| {
        take_entry(hv, table, index, |entry| is_mapping(entry, mapping))
    });
    put_l1(hv, removed.map_err(|_| Status::GeneralError)?);
    Ok(())
}

/// Clears an entry that is as wanted, and returns it: its reference is the caller's. The CPU may set bits of it meanwhile.
fn take_entry<P: Platform>(
    hv: &Hypervisor<P>,
    table: Mfn,
    index: usize,
    wanted: impl Fn(u64) -> bool,
) -> Result<u64, Stop> {
    let mut entry = hv.platform.load(table, index);
    loop {
        if !wanted(entry) {
            return Err(Stop::Errno(crate::fail::Errno::EINVAL));
        }
        match hv.platform.compare_exchange(table, index, entry, 0) {
            Ok(()) => return Ok(entry),
            Err(found) => entry = found,
        }
    }
}

/// Moves an entry, with its reference, to the place of a mapping, whose reference is dropped.
fn move_entry<P: Platform>(
    hv: &Hypervisor<P>,
    from: (Mfn, usize),
    to: (Mfn, usize),
    mapping: &Mapping,
) -> Result<(), Stop> {
    if from == to {
        return Err(Stop::Errno(crate::fail::Errno::EINVAL));
    }
    let entry = take_entry(hv, from.0, from.1, |_| true)?;
    let mut old = hv.platform.load(to.0, to.1);
    while is_mapping(old, mapping) {
        match hv.platform.compare_exchange(to.0, to.1, old, entry) {
            Ok(()) => {
                put_l1(hv, old);
                return Ok(());
            }
            Err(found) => old = found,
        }
    }
    // Not the mapping: the entry goes back to where it was, unless somebody put another there.
    if hv.platform.compare_exchange(from.0, from.1, 0, entry).is_err() {
        put_l1(hv, entry);
    }
    Err(Stop::Errno(crate::fail::Errno::EINVAL))
}

/// Pins that are taken back once translations are flushed.
#[derive(Debug)]
#[must_use = "the pins are still counted"]
pub struct Unmapped {
    gone: Option<Mapping>,
    /// The address to flush; 0 for everything.
    address: u64,
}

/// Takes from the handle what was unmapped; the handle goes with the last of it.
fn finish(mapper: &Domain, handle: u32, seen: Mapping, host: bool, device: bool, address: u64) -> Unmapped {
    let address = if seen.by_entry { 0 } else { address };
    let mut maptrack = mapper.grants.maptrack.lock();
    let Some(mapping) = maptrack.get(handle).filter(|mapping| mapping.is_same(&seen)) else {
        // Another CPU unmapped it, and the handle may be another mapping's by now: no pin is ours to take back.
        return Unmapped { gone: None, address };
    };
    let gone = Mapping { host: mapping.host && host, device: mapping.device && device, ..seen };
    mapping.host &= !host;
    mapping.device &= !device;
    if !mapping.host && !mapping.device {
        let _ = maptrack.remove(handle);
    }
    Unmapped { gone: Some(gone), address }
}

/// Flushes the translations of what was unmapped, and then takes back the pins.
pub fn flush_unmapped<P: Platform>(hv: &Hypervisor<P>, unmapped: &[Option<Unmapped>]) {
    let hosts = || unmapped.iter().flatten().filter(|one| one.gone.as_ref().is_some_and(|gone| gone.host));
    let all = u64::MAX >> (64 - hv.platform.cpus().clamp(1, 64));
    let mut first = hosts();
    match (first.next(), first.next()) {
        (None, _) => {}
        (Some(one), None) if one.address != 0 => {
            hv.platform.flush(Flush::Page(GuestVirt::new(one.address)), all)
        }
        _ => hv.platform.flush(Flush::Global, all),
    }
    for gone in unmapped.iter().flatten().filter_map(|one| one.gone.as_ref()) {
        if gone.device {
            put_device(hv, gone.frame, gone.readonly);
        }
        unpin(hv, gone);
    }
}

/// Gives up all that a dying domain mapped, and stops it from granting. Its page tables still hold their references; they are dropped as
/// the tables are taken apart. Its vCPUs are descheduled, so no translation is in use.
///
/// # Errors
/// [`Fail::Again`] when an interrupt waits: call again.
pub fn release_all<P: Platform>(hv: &Hypervisor<P>, domain: &Arc<Domain>) -> Result<Effects, Fail> {
    close(domain);
    loop {
        let (handle, mapping) = {
            let mut maptrack = domain.grants.maptrack.lock();
            maptrack.closed = true;
            if maptrack.cursor >= maptrack.len() {
                return Ok(Effects::NONE);
            }
            let handle = maptrack.cursor;
            maptrack.cursor += 1;
            (handle, maptrack.remove(handle))
        };
        if let Some(mapping) = mapping {
            if mapping.device {
                put_device(hv, mapping.frame, mapping.readonly);
            }
            unpin(hv, &mapping);
        }
        if handle % BATCH == BATCH - 1 && hv.platform.interrupt_pending() {
            return Err(Fail::Again);
        }
    }
}

/// For audits: the frames that a domain mapped for devices, and whether only for reading.
pub fn device_frames(domain: &Domain) -> Vec<(Mfn, bool)> {
    let mut maptrack = domain.grants.maptrack.lock();
    let handles = 0..maptrack.len();
    let device =
        |handle| maptrack.get(handle).filter(|mapping| mapping.device).map(|m| (m.frame, m.readonly));
    handles.filter_map(device).collect()
}
