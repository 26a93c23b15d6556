//! `memory_op`: how much memory domains have, and what it looks like.
//!
//! Functions that give or take frames are for other domains. This domain's own frames belong to its allocator, so for them
//! the calls are refused with `EINVAL` before the hypervisor sees them.

use super::{Result, input, op, output};
use crate::{
    arch,
    types::{DomId, Mfn, Pfn},
};
use abi::{
    GuestPtr,
    errno::Errno,
    memory::{
        E820Entry, ForeignMemoryMap, MachphysMapping, MemAcquireResource, MemoryDomain, MemoryMap,
        MemoryReservation, XENMEM_ACQUIRE_RESOURCE, XENMEM_CLAIM_PAGES, XENMEM_CURRENT_RESERVATION,
        XENMEM_DECREASE_RESERVATION, XENMEM_MACHINE_MEMORY_MAP, XENMEM_MACHPHYS_MAPPING,
        XENMEM_MAXIMUM_RAM_PAGE, XENMEM_MAXIMUM_RESERVATION, XENMEM_MEMORY_MAP, XENMEM_POPULATE_PHYSMAP,
        XENMEM_SET_MEMORY_MAP,
    },
    xen::hypercall::MEMORY_OP,
};
use alloc::{vec, vec::Vec};

/// The highest machine frame of RAM.
pub fn maximum_ram_page() -> Result<Mfn> {
    op(MEMORY_OP, XENMEM_MAXIMUM_RAM_PAGE, 0).map(Mfn)
}

/// Pages that a domain has now.
pub fn current_reservation(domain: DomId) -> Result<u64> {
    op(MEMORY_OP, XENMEM_CURRENT_RESERVATION, input(&MemoryDomain { domid: domain.0 }))
}

/// Pages that a domain may have.
pub fn maximum_reservation(domain: DomId) -> Result<u64> {
    op(MEMORY_OP, XENMEM_MAXIMUM_RESERVATION, input(&MemoryDomain { domid: domain.0 }))
}

/// Where the machine-to-physical table is, and the highest frame it covers.
pub fn machphys_mapping() -> Result<MachphysMapping> {
    let mut mapping = MachphysMapping::default();
    op(MEMORY_OP, XENMEM_MACHPHYS_MAPPING, output(&mut mapping))?;
    Ok(mapping)
}

/// Gives another domain memory for the frames in `frames`, each the first of `2^order`; the machine frames, fewer than asked
/// for if memory or the domain's limit ran out.
pub fn populate(domain: DomId, frames: &[Pfn], order: u32) -> Result<Vec<Mfn>> {
    others_only(domain)?;
    let mut extents: Vec<u64> = frames.iter().map(|frame| frame.0).collect();
    let argument = reservation(domain, &mut extents, order);
    let done = op(MEMORY_OP, XENMEM_POPULATE_PHYSMAP, input(&argument))?;
    extents.truncate(done as usize);
    Ok(extents.into_iter().map(Mfn).collect())
}

/// Takes machine frames from another domain; how many extents were freed.
pub fn decrease_reservation(domain: DomId, frames: &[Mfn], order: u32) -> Result<usize> {
    others_only(domain)?;
    if frames.iter().any(|frame| arch::machine_to_pfn(frame.0).is_some()) {
        return Err(Errno::EINVAL);
    }
    let mut extents: Vec<u64> = frames.iter().map(|frame| frame.0).collect();
    let argument = reservation(domain, &mut extents, order);
    op(MEMORY_OP, XENMEM_DECREASE_RESERVATION, input(&argument)).map(|done| done as usize)
}

fn reservation(domain: DomId, extents: &mut [u64], order: u32) -> MemoryReservation {
    MemoryReservation {
        extent_start: GuestPtr::new(output(extents)),
        nr_extents: extents.len() as u64,
        extent_order: order,
        domid: domain.0,
        ..MemoryReservation::default()
    }
}

fn others_only(domain: DomId) -> Result {
    if !domain.is_ordinary() || crate::start::domain_id() == Some(domain) {
        Err(Errno::EINVAL)
    } else {
        Ok(())
    }
}

/// Reserves machine memory for a domain before it is populated; 0 gives the rest of the claim back.
pub fn claim(domain: DomId, pages: u64) -> Result {
    let argument = MemoryReservation { nr_extents: pages, domid: domain.0, ..MemoryReservation::default() };
    op(MEMORY_OP, XENMEM_CLAIM_PAGES, input(&argument)).map(|_| ())
}

/// The memory map this domain was given.
pub fn memory_map() -> Result<Vec<E820Entry>> {
    map(XENMEM_MEMORY_MAP)
}

/// The machine's memory map; privileged domains only.
pub fn machine_memory_map() -> Result<Vec<E820Entry>> {
    map(XENMEM_MACHINE_MEMORY_MAP)
}

fn map(operation: u32) -> Result<Vec<E820Entry>> {
    let mut entries = vec![E820Entry::default(); 128];
    let mut argument = MemoryMap {
        nr_entries: entries.len() as u32,
        buffer: GuestPtr::new(output(&mut entries[..])),
        ..Default::default()
    };
    op(MEMORY_OP, operation, output(&mut argument))?;
    entries.truncate(argument.nr_entries as usize);
    Ok(entries)
}

/// Sets the memory map that another domain is given.
pub fn set_memory_map(domain: DomId, entries: &[E820Entry]) -> Result {
    let map = MemoryMap {
        nr_entries: entries.len() as u32,
        buffer: GuestPtr::new(input(entries)),
        ..Default::default()
    };
    let argument = ForeignMemoryMap { domid: domain.0, map, ..Default::default() };
    op(MEMORY_OP, XENMEM_SET_MEMORY_MAP, input(&argument)).map(|_| ())
}

/// Machine frames of a domain's resource (`XENMEM_RESOURCE_*`) from frame `first` on, to be mapped with
/// [`crate::memory::foreign`].
pub fn acquire_resource(domain: DomId, kind: u16, id: u32, first: u64, count: u32) -> Result<Vec<Mfn>> {
    let mut frames = vec![0_u64; count as usize];
    let mut argument = MemAcquireResource {
        domid: domain.0,
        type_: kind,
        id,
        nr_frames: count,
        frame: first,
        frame_list: GuestPtr::new(output(&mut frames[..])),
        ..Default::default()
    };
    op(MEMORY_OP, XENMEM_ACQUIRE_RESOURCE, output(&mut argument))?;
    Ok(frames.into_iter().map(Mfn).collect())
}
