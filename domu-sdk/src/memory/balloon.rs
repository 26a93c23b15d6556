//! Ballooning: giving frames back to the hypervisor, and asking for them again.
//!
//! A domain keeps its numbering: a frame that was given back is a hole in it, with no machine frame behind, no entry in the direct map,
//! and not free. [`set_target`] makes or fills such holes until the domain has as many pages as it should have; [`follow`] does so
//! whenever the toolstack changes its wish in the store (`memory/target`, in KiB).
//!
//! # Order
//! Giving back: out of the free set, out of the direct map, flush, out of the P2M, then to the hypervisor, which refuses frames that
//! are mapped somewhere. Taking back is the reverse. At every step a frame is either usable by everybody or by nobody.
//!
//! # Limits
//! Only free frames are given back; the heap does not shrink, so a target may be out of reach. Above the memory that the domain began
//! with there is no numbering, so that is the most it can have.

use super::frames;
use crate::{arch, hypercall, store, sync::MaskedMutex};
use abi::{
    GuestPtr,
    memory::{MemoryReservation, XENMEM_DECREASE_RESERVATION, XENMEM_POPULATE_PHYSMAP},
    xen::{DOMID_SELF, hypercall::MEMORY_OP},
};
use alloc::vec::Vec;

/// Where the toolstack writes how much memory the domain should have.
pub const TARGET: &str = "memory/target";
/// Frames per call.
const BATCH: usize = 512;
/// Free frames that are never given back: for page tables, and for the heap to grow by a piece.
pub const RESERVE: u64 = 256;

/// Frames that the hypervisor has. Held while the balloon changes.
static HOLES: MaskedMutex<Vec<u64>> = MaskedMutex::new(Vec::new());

/// Number of frames that were given back.
pub fn holes() -> u64 {
    HOLES.lock().len() as u64
}

/// Pages that the domain has.
pub fn current() -> u64 {
    arch::start_info().nr_pages - holes()
}

/// Gives frames back, or takes them, until the domain has `pages` pages or comes no nearer; returns how many it has then.
///
/// # Errors
/// What the hypervisor answered, if it refused something that it should not.
pub fn set_target(pages: u64) -> hypercall::Result<u64> {
    loop {
        let now = current();
        let moved = if now > pages { give((now - pages) as usize)? } else { take((pages - now) as usize)? };
        if moved == 0 {
            return Ok(current());
        }
    }
}

/// Gives up to `count` frames to the hypervisor; returns how many.
fn give(count: usize) -> hypercall::Result<usize> {
    let mut holes = HOLES.lock();
    let spare = frames::free().saturating_sub(RESERVE) as usize;
    let count = count.min(BATCH).min(spare);
    if count == 0 || holes.try_reserve(count).is_err() {
        return Ok(0);
    }
    let taken: Vec<u64> = (0..count).map_while(|_| frames::take(1)).collect();
    if let Err(errno) = arch::unmap_direct(&taken) {
        taken.iter().for_each(|&pfn| frames::give(pfn, 1));
        return Err(errno);
    }
    let machine: Vec<u64> = taken.iter().map(|&pfn| arch::set_machine_frame(pfn, u64::MAX)).collect();
    let mut list = machine.clone();
    let done = reservation(XENMEM_DECREASE_RESERVATION, &mut list).unwrap_or(0);
    for (&pfn, &mfn) in taken.iter().zip(&machine).skip(done) {
        arch::set_machine_frame(pfn, mfn);
    }
    holes.extend(&taken[..done]);
    restore(&taken[done..])?;
    Ok(done)
}

/// Takes up to `count` frames from the hypervisor; returns how many it gave.
fn take(count: usize) -> hypercall::Result<usize> {
    let mut holes = HOLES.lock();
    let count = count.min(BATCH).min(holes.len());
    if count == 0 {
        return Ok(0);
    }
    let first = holes.len() - count;
    let wanted: Vec<u64> = holes[first..].to_vec();
    // The hypervisor replaces each number by the machine frame that it put there.
    let mut list = wanted.clone();
    let done = reservation(XENMEM_POPULATE_PHYSMAP, &mut list).unwrap_or(0);
    for (&pfn, &mfn) in wanted.iter().zip(&list).take(done) {
        arch::set_machine_frame(pfn, mfn);
    }
    holes.drain(first..first + done);
    restore(&wanted[..done])?;
    Ok(done)
}

/// Makes frames usable that have a machine frame.
fn restore(pfns: &[u64]) -> hypercall::Result {
    arch::map_direct(pfns)?;
    pfns.iter().for_each(|&pfn| frames::give(pfn, 1));
    Ok(())
}

fn reservation(operation: u32, list: &mut [u64]) -> hypercall::Result<usize> {
    let argument = MemoryReservation {
        extent_start: GuestPtr::new(list.as_mut_ptr().expose_provenance() as u64),
        nr_extents: list.len() as u64,
        domid: DOMID_SELF,
        ..MemoryReservation::default()
    };
    let pointer = core::ptr::from_ref(&argument).expose_provenance() as u64;
    arch::call(MEMORY_OP, [u64::from(operation), pointer, 0, 0, 0]).map(|done| done as usize)
}

/// Keeps the domain at the size that the toolstack wishes, as long as there is a store. To be spawned:
/// `executor::spawn(balloon::follow(balloon::TARGET))`.
pub async fn follow(path: &'static str) {
    let Some(store) = store::get() else { return };
    let watch = match store.watch(path).await {
        Ok(watch) => watch,
        Err(error) => return log::warn!("{path} cannot be watched: {error}"),
    };
    while watch.next().await.is_ok() {
        // The node may be missing, or hold what is no number: then there is no wish.
        let Ok(kib) = store.read_as::<u64>(path).await else { continue };
        if kib / 4 == current() {
            continue;
        }
        match set_target(kib / 4) {
            Ok(pages) => log::info!("the toolstack wishes {kib} KiB; the domain has {} KiB", pages * 4),
            Err(errno) => log::warn!("ballooning to {kib} KiB was refused: {errno}"),
        }
    }
}
