//! Memory maps, and where the machine-to-physical table is.

use core::mem::offset_of;

use abi::memory::{
    E820Entry, ForeignMemoryMap, MachphysMapping, MachphysMfnList, MemoryMap, ReservedDeviceMemoryMap,
};
use alloc::vec::Vec;

use super::super::Caller;
use super::super::guest::{GuestHandle, read_one, write_one};
use super::put_back;
use crate::Hypervisor;
use crate::access::self_or_control;
use crate::addr::{DomId, Mfn};
use crate::domain::Domain;
use crate::effects::Done;
use crate::fail::{Errno, Fail};
use crate::platform::Platform;

/// The read-only machine-to-physical table in every guest's address space (`MACH2PHYS_VIRT_START`, `_END`).
const M2P_START: u64 = 0xffff_8000_0000_0000;
const M2P_END: u64 = 0xffff_8040_0000_0000;
/// Entries of a domain's memory map at most (`E820MAX`).
const MOST_ENTRIES: u32 = 1024;
/// Frames of one entry in the list of the table's frames (2 MiB).
const LIST_STEP: u64 = 512;

/// `XENMEM_memory_map`: the caller's own map, as its toolstack gave it.
///
/// # Errors
/// `ENOSYS` when it was given none, `EFAULT`, `ENOMEM`.
pub(super) fn memory_map<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &Caller<'_>,
    at: u64,
) -> Result<Done, Fail> {
    let map: MemoryMap = read_one(hv, at)?;
    // A copy, so that no lock is held while it is written out.
    let mut entries = Vec::new();
    {
        let settings = caller.domain.settings.lock();
        entries.try_reserve_exact(settings.memory_map.len()).map_err(|_| Errno::ENOMEM)?;
        entries.extend_from_slice(&settings.memory_map);
    }
    if entries.is_empty() {
        return Err(Errno::ENOSYS.into());
    }
    let fitting = entries.get(..map.nr_entries as usize).unwrap_or(&entries);
    write_map(hv, at, &map, fitting)
}

/// `XENMEM_machine_memory_map`: the machine's map.
///
/// # Errors
/// `EPERM` for others than control domains, `EINVAL` for a list that is too short, `EFAULT`.
pub(super) fn machine_memory_map<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &Caller<'_>,
    at: u64,
) -> Result<Done, Fail> {
    if !caller.domain.privileged {
        return Err(Errno::EPERM.into());
    }
    let map: MemoryMap = read_one(hv, at)?;
    if map.buffer.addr() == 0 {
        // Asks how many there are; upstream wants room for one more.
        put_back(hv, at, offset_of!(MemoryMap, nr_entries), &(hv.config.memory_map.len() as u32 + 1))?;
        return Ok(Done::OK);
    }
    if (map.nr_entries as usize) <= hv.config.memory_map.len() {
        return Err(Errno::EINVAL.into());
    }
    write_map(hv, at, &map, &hv.config.memory_map)
}

fn write_map<P: Platform>(
    hv: &Hypervisor<P>,
    at: u64,
    map: &MemoryMap,
    entries: &[(u64, u64, u32)],
) -> Result<Done, Fail> {
    let list = GuestHandle::<E820Entry>::new(map.buffer.addr(), entries.len() as u64)?;
    for (n, (addr, size, type_)) in (0..).zip(entries.iter().copied()) {
        list.write(hv, n, &E820Entry { addr, size, type_ })?;
    }
    put_back(hv, at, offset_of!(MemoryMap, nr_entries), &(entries.len() as u32))?;
    Ok(Done::OK)
}

/// `XENMEM_set_memory_map`.
///
/// # Errors
/// `EINVAL` for too many entries, `ESRCH`, `EPERM`, `EFAULT`, `ENOMEM`.
pub(super) fn set_memory_map<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &Caller<'_>,
    at: u64,
) -> Result<Done, Fail> {
    let wanted: ForeignMemoryMap = read_one(hv, at)?;
    if wanted.map.nr_entries > MOST_ENTRIES {
        return Err(Errno::EINVAL.into());
    }
    let target = self_or_control(hv, caller, DomId::new(wanted.domid))?;
    let count = u64::from(wanted.map.nr_entries);
    let list = GuestHandle::<E820Entry>::new(wanted.map.buffer.addr(), count)?;
    let mut entries = Vec::new();
    entries.try_reserve_exact(count as usize).map_err(|_| Errno::ENOMEM)?;
    for n in 0..count {
        let entry = list.read(hv, n)?;
        entries.push((entry.addr, entry.size, entry.type_));
    }
    target.settings.lock().memory_map = entries;
    Ok(Done::OK)
}

/// `XENMEM_machphys_mapping`.
///
/// # Errors
/// `EFAULT`.
pub(super) fn machphys_mapping<P: Platform>(hv: &Hypervisor<P>, at: u64) -> Result<Done, Fail> {
    let max_mfn = hv.frames.len().saturating_sub(1);
    write_one(hv, at, &MachphysMapping { v_start: M2P_START, v_end: M2P_END, max_mfn })?;
    Ok(Done::OK)
}

/// `XENMEM_machphys_mfn_list`: the first frame of each 2 MiB of the table. The table is one run of frames, lent to `DOMID_XEN`.
///
/// # Errors
/// `EFAULT`.
pub(super) fn machphys_mfn_list<P: Platform>(hv: &Hypervisor<P>, at: u64) -> Result<Done, Fail> {
    let wanted: MachphysMfnList = read_one(hv, at)?;
    let list = GuestHandle::<u64>::new(wanted.extent_start.addr(), u64::from(wanted.max_extents))?;
    let count = (hv.frames.len() * 8).div_ceil(LIST_STEP << crate::addr::PAGE_SHIFT);
    let first = hv.frames.first_lent();
    let written = first.map_or(0, |_| count.min(u64::from(wanted.max_extents)));
    for n in 0..written {
        list.write(hv, n, &(first.map_or(0, Mfn::raw) + n * LIST_STEP))?;
    }
    put_back(hv, at, offset_of!(MachphysMfnList, nr_extents), &(written as u32))?;
    Ok(Done::OK)
}

/// `XENMEM_maximum_gpfn`: what the guest itself says in its shared page.
pub(super) fn maximum_gpfn<P: Platform>(hv: &Hypervisor<P>, target: &Domain) -> Result<Done, Fail> {
    const MAX_PFN: usize =
        offset_of!(abi::xen::SharedInfo, arch) + offset_of!(abi::xen::ArchSharedInfo, max_pfn);
    let max_pfn = hv.platform.load(target.shared_info, MAX_PFN / 8);
    super::value(max_pfn.saturating_sub(1))
}

/// `XENMEM_reserved_device_memory_map`: there is none.
///
/// # Errors
/// `EFAULT`.
pub(super) fn reserved_device_memory<P: Platform>(hv: &Hypervisor<P>, at: u64) -> Result<Done, Fail> {
    let _: ReservedDeviceMemoryMap = read_one(hv, at)?;
    put_back(hv, at, offset_of!(ReservedDeviceMemoryMap, nr_entries), &0u32)?;
    Ok(Done::OK)
}
