//! `memory_op` (memory.h): what a domain may own, and what it gets told of memory.
//!
//! Commands over many extents answer with the number done, not with an error, and go on from where they were: the number
//! of extents done stands above the command's own six bits.

use abi::memory as public;
use abi::memory::MemoryDomain;

use super::coverage::{Sub, full, partial, refused};
use super::guest::{read_one, write_one};
use super::{Args, Caller};
use crate::Hypervisor;
use crate::access::{ControlOver, self_or_control};
use crate::addr::DomId;
use crate::effects::Done;
use crate::fail::{Errno, Fail};
use crate::platform::Platform;

mod exchange;
mod extents;
mod maps;
mod resource;

/// How far the commands are supported.
pub const SUBS: &[Sub] = &[
    full(0, "XENMEM_increase_reservation"),
    full(1, "XENMEM_decrease_reservation"),
    full(2, "XENMEM_maximum_ram_page"),
    full(3, "XENMEM_current_reservation"),
    full(4, "XENMEM_maximum_reservation"),
    full(5, "XENMEM_machphys_mfn_list"),
    full(6, "XENMEM_populate_physmap"),
    refused(7, "XENMEM_add_to_physmap", "PV domains have no physical map, EACCES"),
    full(9, "XENMEM_memory_map"),
    full(10, "XENMEM_machine_memory_map"),
    full(11, "XENMEM_exchange"),
    full(12, "XENMEM_machphys_mapping"),
    full(13, "XENMEM_set_memory_map"),
    full(14, "XENMEM_maximum_gpfn"),
    refused(15, "XENMEM_remove_from_physmap", "PV domains have no physical map, EACCES"),
    refused(16, "XENMEM_set_pod_target", "no populate-on-demand, EINVAL"),
    refused(17, "XENMEM_get_pod_target", "no populate-on-demand, EINVAL"),
    full(18, "XENMEM_get_sharing_freed_pages"),
    full(19, "XENMEM_get_sharing_shared_pages"),
    refused(21, "XENMEM_access_op", "PV domains have no physical map, EPERM or EINVAL"),
    refused(23, "XENMEM_add_to_physmap_batch", "PV domains have no physical map, EACCES"),
    full(24, "XENMEM_claim_pages"),
    refused(25, "XENMEM_machphys_compat_mfn_list", "no 32-bit PV guests, EOPNOTSUPP"),
    refused(26, "XENMEM_get_vnumainfo", "no virtual NUMA, EOPNOTSUPP"),
    partial(27, "XENMEM_reserved_device_memory_map", "there is none"),
    partial(28, "XENMEM_acquire_resource", "grant tables, version 1"),
];

/// Bits of the command proper.
const COMMAND: u64 = (1 << public::MEMOP_EXTENT_SHIFT) - 1;

/// `memory_op`: command (and extents done), address of its argument.
///
/// # Errors
/// Each command its own; `ENOSYS` for those that are not known.
pub fn memory_op<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    let start = args[0] >> public::MEMOP_EXTENT_SHIFT;
    let at = args[1];
    if start != 0 {
        check_start((args[0] & COMMAND) as u32)?;
    }
    match (args[0] & COMMAND) as u32 {
        public::XENMEM_INCREASE_RESERVATION => {
            extents::run(hv, caller, args, start, extents::Command::Increase)
        }
        public::XENMEM_DECREASE_RESERVATION => {
            extents::run(hv, caller, args, start, extents::Command::Decrease)
        }
        public::XENMEM_POPULATE_PHYSMAP => extents::run(hv, caller, args, start, extents::Command::Populate),
        public::XENMEM_EXCHANGE => exchange::exchange(hv, caller, at),
        public::XENMEM_MAXIMUM_RAM_PAGE => value(hv.frames.len()),
        public::XENMEM_CURRENT_RESERVATION => {
            let target = named(hv, caller, at)?;
            value(u64::from(target.memory.total.load(core::sync::atomic::Ordering::Relaxed)))
        }
        public::XENMEM_MAXIMUM_RESERVATION => {
            let target = named(hv, caller, at)?;
            value(u64::from(target.memory.max.load(core::sync::atomic::Ordering::Relaxed)))
        }
        public::XENMEM_MAXIMUM_GPFN => {
            let target = named(hv, caller, at)?;
            maps::maximum_gpfn(hv, &target)
        }
        public::XENMEM_MEMORY_MAP => maps::memory_map(hv, caller, at),
        public::XENMEM_MACHINE_MEMORY_MAP => maps::machine_memory_map(hv, caller, at),
        public::XENMEM_SET_MEMORY_MAP => maps::set_memory_map(hv, caller, at),
        public::XENMEM_MACHPHYS_MAPPING => maps::machphys_mapping(hv, at),
        public::XENMEM_MACHPHYS_MFN_LIST => maps::machphys_mfn_list(hv, at),
        public::XENMEM_CLAIM_PAGES => extents::claim(hv, caller, at, start),
        public::XENMEM_GET_SHARING_FREED_PAGES | public::XENMEM_GET_SHARING_SHARED_PAGES => Ok(Done::OK),
        public::XENMEM_ACQUIRE_RESOURCE => resource::acquire(hv, caller, at),
        // A PV domain has no physical map that could be changed; first come spaces that the command never has, then who is meant.
        public::XENMEM_ADD_TO_PHYSMAP => {
            let wanted: public::AddToPhysmap = read_one(hv, at)?;
            if wanted.space == public::XENMAPSPACE_GMFN_FOREIGN {
                return Err(Errno::ENOSYS.into());
            }
            no_physmap(hv, caller, at)
        }
        public::XENMEM_ADD_TO_PHYSMAP_BATCH => {
            let wanted: public::AddToPhysmapBatch = read_one(hv, at)?;
            if u32::from(wanted.space) == public::XENMAPSPACE_GMFN_RANGE {
                return Err(Errno::EOPNOTSUPP.into());
            }
            no_physmap(hv, caller, at)
        }
        public::XENMEM_REMOVE_FROM_PHYSMAP => no_physmap(hv, caller, at),
        public::XENMEM_GET_VNUMAINFO => {
            named(hv, caller, at)?;
            Err(Errno::EOPNOTSUPP.into())
        }
        public::XENMEM_SET_POD_TARGET | public::XENMEM_GET_POD_TARGET => {
            // Populate-on-demand is for domains with a physical map.
            let _: public::PodTarget = read_one(hv, at)?;
            Err(Errno::EINVAL.into())
        }
        public::XENMEM_ACCESS_OP => {
            let wanted: public::MemAccessOp = read_one(hv, at)?;
            // Rights of a physical map, and of other domains only.
            let own = [DomId::SELF, caller.domain.id].contains(&DomId::new(wanted.domid));
            if own {
                return Err(Errno::EPERM.into());
            }
            let exists = hv.domains.get(DomId::new(wanted.domid)).is_some();
            Err(if exists { Errno::EINVAL } else { Errno::ESRCH }.into())
        }
        public::XENMEM_MACHPHYS_COMPAT_MFN_LIST => Err(Errno::EOPNOTSUPP.into()),
        public::XENMEM_RESERVED_DEVICE_MEMORY_MAP => maps::reserved_device_memory(hv, at),
        other => {
            log::debug!("{}: memory_op {other}", caller.domain.id);
            Err(Errno::ENOSYS.into())
        }
    }
}

/// Whether a command may name a first extent at all.
///
/// # Errors
/// `EINVAL` for commands that every machine has, `ENOSYS` for those of this one.
fn check_start(command: u32) -> Result<(), Errno> {
    match command {
        public::XENMEM_MAXIMUM_RAM_PAGE
        | public::XENMEM_CURRENT_RESERVATION
        | public::XENMEM_MAXIMUM_RESERVATION
        | public::XENMEM_MAXIMUM_GPFN
        | public::XENMEM_REMOVE_FROM_PHYSMAP
        | public::XENMEM_GET_VNUMAINFO
        | public::XENMEM_RESERVED_DEVICE_MEMORY_MAP => Err(Errno::EINVAL),
        public::XENMEM_MACHPHYS_MFN_LIST
        | public::XENMEM_MEMORY_MAP
        | public::XENMEM_MACHINE_MEMORY_MAP
        | public::XENMEM_MACHPHYS_MAPPING
        | public::XENMEM_SET_MEMORY_MAP
        | public::XENMEM_SET_POD_TARGET
        | public::XENMEM_GET_POD_TARGET
        | public::XENMEM_GET_SHARING_FREED_PAGES
        | public::XENMEM_GET_SHARING_SHARED_PAGES
        | public::XENMEM_MACHPHYS_COMPAT_MFN_LIST => Err(Errno::ENOSYS),
        _ => Ok(()),
    }
}

fn no_physmap<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, at: u64) -> Result<Done, Fail> {
    let named: MemoryDomain = read_one(hv, at)?;
    let id = DomId::new(named.domid);
    let exists = id == DomId::SELF || id == caller.domain.id || hv.domains.get(id).is_some();
    Err(if exists { Errno::EACCES } else { Errno::ESRCH }.into())
}

fn value(value: u64) -> Result<Done, Fail> {
    Ok(Done::value(value as i64))
}

/// The domain whose number is the first thing in the argument.
fn named<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, at: u64) -> Result<ControlOver, Errno> {
    let domid: MemoryDomain = read_one(hv, at)?;
    self_or_control(hv, caller, DomId::new(domid.domid))
}

/// Copies a field of an argument back.
fn put_back<P: Platform, T>(hv: &Hypervisor<P>, at: u64, offset: usize, value: &T) -> Result<(), Errno>
where
    T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable,
{
    write_one(hv, at.wrapping_add(offset as u64), value)
}

#[cfg(test)]
mod tests;
