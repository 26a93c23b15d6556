//! Resources of a domain that its toolstack maps, and physical maps that a PV domain does not have.

use core::mem::offset_of;

use abi::memory::{
    MEMOP_EXTENT_SHIFT, MemAcquireResource, RemoveFromPhysmap, XENMEM_RESOURCE_GRANT_TABLE,
    XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED,
};

use super::super::Caller;
use super::super::guest::{GuestHandle, read_one};
use super::put_back;
use crate::Hypervisor;
use crate::access::{control_over, self_or_control};
use crate::addr::{DomId, Mfn};
use crate::effects::Done;
use crate::fail::{Errno, Fail};
use crate::platform::Platform;

/// `XENMEM_acquire_resource`: frames of a domain's grant table. The caller maps them, naming the domain. Without a list it
/// learns how many there may be.
///
/// # Errors
/// `EINVAL` for padding that is not zero, a resource that does not exist, a range beyond it; `E2BIG`, `EPERM`, `ESRCH`,
/// `EFAULT`, `ENOMEM`.
pub(super) fn acquire<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, at: u64) -> Result<Done, Fail> {
    let wanted: MemAcquireResource = read_one(hv, at)?;
    if wanted.pad != 0 {
        return Err(Errno::EINVAL.into());
    }
    let asks = wanted.frame_list.is_null();
    if !asks && wanted.nr_frames > u32::MAX >> MEMOP_EXTENT_SHIFT {
        return Err(Errno::E2BIG.into());
    }
    let target = control_over(hv, caller, DomId::new(wanted.domid))?;
    let is_grants = u32::from(wanted.type_) == XENMEM_RESOURCE_GRANT_TABLE
        && wanted.id == XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED;
    if !is_grants {
        log::debug!("resource {} with id {} of {}", wanted.type_, wanted.id, target.id);
        return Err(Errno::EINVAL.into());
    }
    let (_, most) = target.grants.size();
    if asks {
        if wanted.nr_frames != 0 {
            return Err(Errno::EINVAL.into());
        }
        put_back(hv, at, offset_of!(MemAcquireResource, nr_frames), &most)?;
        return Ok(Done::OK);
    }
    let end = wanted.frame.checked_add(u64::from(wanted.nr_frames)).filter(|end| *end <= u64::from(most));
    let end = end.ok_or(Errno::EINVAL)?;
    if wanted.nr_frames == 0 {
        return Err(Errno::EINVAL.into());
    }
    let list = GuestHandle::<u64>::new(wanted.frame_list.addr(), u64::from(wanted.nr_frames))?;
    crate::grant::grow(hv, &target, end as u32)?;
    for (n, index) in (wanted.frame..end).enumerate() {
        let mfn = crate::grant::frame(hv, &target, index as u32)?;
        list.write(hv, n as u64, &mfn.raw())?;
    }
    Ok(Done::OK)
}

/// `XENMEM_remove_from_physmap`: nothing to do for a frame that the domain has.
///
/// # Errors
/// `ENOENT` for a frame that it does not have, `ESRCH`, `EPERM`, `EFAULT`.
pub(super) fn remove_from_physmap<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &Caller<'_>,
    at: u64,
) -> Result<Done, Fail> {
    let wanted: RemoveFromPhysmap = read_one(hv, at)?;
    let target = self_or_control(hv, caller, DomId::new(wanted.domid))?;
    let mfn = Mfn::new(wanted.gpfn);
    if !hv.frames.get_page(mfn, target.id) {
        return Err(Errno::ENOENT.into());
    }
    crate::frame::put_page(hv, mfn);
    Ok(Done::OK)
}
