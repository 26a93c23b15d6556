//! Resources of a domain that its toolstack maps.

use core::mem::offset_of;

use abi::memory::{
    MEMOP_EXTENT_SHIFT, MemAcquireResource, XENMEM_RESOURCE_GRANT_TABLE,
    XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED, XENMEM_RESOURCE_VMTRACE_BUF,
};

use super::super::Caller;
use super::super::guest::{GuestHandle, read_one};
use super::put_back;
use crate::Hypervisor;
use crate::access::control_over;
use crate::addr::DomId;
use crate::effects::Done;
use crate::fail::{Errno, Fail};
use crate::platform::Platform;

/// `XENMEM_acquire_resource`: frames of a domain's grant table. The caller maps them, naming the domain. Without a list it
/// learns how many there may be.
///
/// # Errors
/// `EINVAL` for padding that is not zero, a range beyond the resource; `EOPNOTSUPP` for one that does not exist; `E2BIG`, `EPERM`, `ESRCH`,
/// `EFAULT`, `ENOMEM`.
pub(super) fn acquire<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, at: u64) -> Result<Done, Fail> {
    let wanted: MemAcquireResource = read_one(hv, at)?;
    if wanted.pad != 0 {
        return Err(Errno::EINVAL.into());
    }
    let last = wanted.frame.checked_add(u64::from(wanted.nr_frames));
    if last.is_none_or(|last| last > u64::from(u32::MAX)) {
        return Err(Errno::EINVAL.into());
    }
    // Another domain's resources only: upstream knows no `DOMID_SELF` here.
    let target = match DomId::new(wanted.domid) {
        DomId::SELF => return Err(Errno::ESRCH.into()),
        own if own == caller.domain.id => return Err(Errno::EPERM.into()),
        other if hv.domains.get(other).is_none() => return Err(Errno::ESRCH.into()),
        other => control_over(hv, caller, other)?,
    };
    let asks = wanted.frame_list.is_null();
    if !asks && wanted.nr_frames > u32::MAX >> MEMOP_EXTENT_SHIFT {
        return Err(Errno::E2BIG.into());
    }
    let is_grants = u32::from(wanted.type_) == XENMEM_RESOURCE_GRANT_TABLE
        && wanted.id == XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED;
    if !asks && wanted.nr_frames == 0 {
        return Err(Errno::EINVAL.into());
    }
    if u32::from(wanted.type_) > XENMEM_RESOURCE_VMTRACE_BUF {
        return Err(Errno::EOPNOTSUPP.into());
    }
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
    let list = GuestHandle::<u64>::new(wanted.frame_list.addr(), u64::from(wanted.nr_frames))?;
    crate::grant::grow(hv, &target, end as u32)?;
    for (n, index) in (wanted.frame..end).enumerate() {
        let mfn = crate::grant::frame(hv, &target, index as u32)?;
        list.write(hv, n as u64, &mfn.raw())?;
    }
    Ok(Done::OK)
}
