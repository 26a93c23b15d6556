//! Unmapping, by the guest and at its end.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{Ordering, fence};

use super::Status;
use super::map::{hold_entry, put_device, unpin, with_entry};
use super::maptrack::Mapping;
use super::table::close;
use crate::Hypervisor;
use crate::addr::{Mfn, PAGE_SHIFT};
use crate::domain::Domain;
use crate::effects::Effects;
use crate::fail::{Errno, Fail};
use crate::frame::entry::put_l1;
use crate::frame::pte::{FRAME, PRESENT, WRITABLE};
use crate::frame::{self, Stop, flush_all};
use crate::platform::Platform;

/// Handles that are given up between two looks for interrupts.
const BATCH: u32 = 64;

/// Undoes a mapping: removes the page-table entry at `address` if that is not 0, and lets go for devices if `device_address` is not 0.
/// The pins go with [`flush_unmapped`], to which the result is to be passed.
///
/// # Errors
/// `BadHandle`; `GeneralError` when the address does not hold the mapping.
#[inline(always)]
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
    Ok(finish(mapper, handle, mapping, host, device_address != 0))
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
    Ok(finish(mapper, handle, mapping, true, false))
}

#[inline(always)]
fn look_up(mapper: &Domain, handle: u32) -> Result<Mapping, Status> {
    mapper.grants.maptrack.lock().get(handle).cloned().ok_or(Status::BadHandle)
}

/// Whether an entry is this mapping: present, its frame, its permission.
#[inline(always)]
fn is_mapping(entry: u64, mapping: &Mapping) -> bool {
    entry & PRESENT != 0
        && entry & FRAME == mapping.frame.raw() << PAGE_SHIFT
        && (entry & WRITABLE == 0) == mapping.readonly
}

/// Removes the entry of a mapping.
#[inline]
fn remove_entry<P: Platform>(
    hv: &Hypervisor<P>,
    mapper: &Domain,
    root: Mfn,
    address: u64,
    mapping: &Mapping,
) -> Result<(), Status> {
    let held = hold_entry(hv, mapper, root, address, mapping.by_entry);
    let (table, index) = held.map_err(|_| Status::GeneralError)?;
    let removed = take_entry(hv, table, index, |entry| is_mapping(entry, mapping));
    frame::put_page_type(hv, table);
    put_l1(hv, removed.map_err(|_| Status::GeneralError)?);
    Ok(())
}

/// Clears an entry that is as wanted, and returns it: its reference is the caller's. The CPU may set bits of it meanwhile.
#[inline(always)]
fn take_entry<P: Platform>(
    hv: &Hypervisor<P>,
    table: Mfn,
    index: usize,
    wanted: impl Fn(u64) -> bool,
) -> Result<u64, Stop> {
    let mut entry = hv.platform.load(table, index);
    loop {
        if !wanted(entry) {
            return Err(Stop::Errno(Errno::EINVAL));
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
        return Err(Stop::Errno(Errno::EINVAL));
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
    Err(Stop::Errno(Errno::EINVAL))
}

/// Pins that are taken back once translations are flushed.
#[derive(Debug)]
#[must_use = "the pins are still counted"]
pub struct Unmapped {
    gone: Option<Mapping>,
}

/// Takes from the handle what was unmapped; the handle goes with the last of it.
#[inline]
fn finish(mapper: &Domain, handle: u32, seen: Mapping, host: bool, device: bool) -> Unmapped {
    // If another CPU unmapped it, the handle may be another mapping's by now: no pin is ours to take back.
    Unmapped { gone: mapper.grants.maptrack.lock().release(handle, seen, host, device) }
}

/// Flushes the translations of what was unmapped, and then takes back the pins.
///
/// Everything is flushed, not only the address that the guest named: the guest may have used the same entry at other addresses, by an
/// L1 table that hangs (or hung) in two places, and the granter is about to be told that nobody sees its frame any more.
pub fn flush_unmapped<P: Platform>(hv: &Hypervisor<P>, mapper: &Domain, unmapped: &[Option<Unmapped>]) {
    let gone = || unmapped.iter().flatten().filter_map(|one| one.gone.as_ref());
    if gone().any(|gone| gone.host) {
        flush(hv, mapper);
    }
    gone().for_each(|gone| let_go(hv, gone));
}

/// As [`flush_unmapped`] for a single one.
#[inline]
pub fn flush_unmapped_one<P: Platform>(hv: &Hypervisor<P>, mapper: &Domain, unmapped: Unmapped) {
    let Some(gone) = unmapped.gone else { return };
    if gone.host {
        flush(hv, mapper);
    }
    let_go(hv, &gone);
}

/// Drops all translations of the mapper's address spaces. The CPU that calls runs it; another that is not in the set drops all
/// before it runs it.
#[inline(always)]
fn flush<P: Platform>(hv: &Hypervisor<P>, mapper: &Domain) {
    let here = 1 << (hv.platform.cpu().raw() & 63);
    if hv.platform.cpus() == 1 {
        return flush_all(hv, here);
    }
    fence(Ordering::SeqCst);
    flush_all(hv, here | mapper.active_cpus.load(Ordering::SeqCst));
}

/// Takes back the pins of a mapping that no translation leads to any more.
fn let_go<P: Platform>(hv: &Hypervisor<P>, gone: &Mapping) {
    if gone.device {
        put_device(hv, gone.frame, gone.readonly);
    }
    unpin(hv, gone);
}

/// Gives up all that a dying domain mapped, and stops its own table from growing. Its page tables still hold their references; they are dropped as
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
