//! Domains come, stop, go on, and go.

use abi::domctl::*;

use super::{Answer, PLAIN, WRITE_BACK};
use crate::Hypervisor;
use crate::access::{ControlOver, control_over};
use crate::addr::DomId;
use crate::control::{info as control_info, lifecycle};
use crate::domain::Domain;
use crate::effects::Effects;
use crate::fail::Errno;
use crate::hypercall::Caller;
use crate::platform::Platform;

/// The limit that a toolstack may leave to the hypervisor with a negative number.
fn limit(value: i32, default: u32) -> u32 {
    u32::try_from(value).unwrap_or(default)
}

/// `createdomain`.
pub fn create<P: Platform>(hv: &Hypervisor<P>, op: &mut Domctl) -> Answer {
    let wanted = op.as_createdomain();
    let supported = XEN_DOMCTL_CDF_XS_DOMAIN;
    if wanted.flags & !supported != 0
        || wanted.iommu_opts != 0
        || wanted.arch.emulation_flags != 0
        || wanted.arch.misc_flags != 0
        || wanted.vmtrace_size != 0
        || wanted.cpupool_id != 0
        || !matches!(wanted.grant_opts & XEN_DOMCTL_GRANT_VERSION_MASK, 1 | 2)
    {
        log::debug!("createdomain refused: {wanted:?}");
        return Err(Errno::EINVAL.into());
    }
    let fixed = op.domain != 0 && DomId::new(op.domain) < DomId::FIRST_RESERVED;
    let domain = lifecycle::create(
        hv,
        &lifecycle::New {
            id: fixed.then_some(DomId::new(op.domain)),
            privileged: false,
            handle: wanted.handle,
            max_vcpus: wanted.max_vcpus,
            max_port: wanted.max_evtchn_port,
            max_grant_frames: limit(wanted.max_grant_frames, crate::grant::DEFAULT_FRAMES),
            max_maptrack_frames: limit(wanted.max_maptrack_frames, crate::grant::DEFAULT_MAPTRACK_FRAMES),
        },
    )?;
    op.domain = domain.id.raw();
    WRITE_BACK
}

/// `destroydomain`.
pub fn destroy<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver) -> Answer {
    Ok((lifecycle::destroy(hv, target)?, false))
}

/// `pausedomain`.
pub fn pause<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver) -> Answer {
    Ok((lifecycle::pause(hv, target)?, false))
}

/// `unpausedomain`.
pub fn unpause<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver) -> Answer {
    Ok((lifecycle::unpause(hv, target)?, false))
}

/// `setdomainhandle`.
pub fn set_handle(target: &ControlOver, op: &Domctl) -> Answer {
    *target.handle.lock() = op.as_setdomainhandle().handle;
    PLAIN
}

/// `getdomaininfo`: of the domain of that number, or, as toolstacks expect, of the next higher one.
pub fn info<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, op: &mut Domctl) -> Answer {
    let id = DomId::new(op.domain);
    let id = if id == DomId::SELF { caller.domain.id } else { id };
    let domain = hv.domains.next_from(id).ok_or(Errno::ESRCH)?;
    let domain = control_over(hv, caller, domain.id)?;
    op.domain = domain.id.raw();
    op.set_getdomaininfo(fill(hv, &domain));
    Ok((Effects::NONE, true))
}

/// A domain's numbers as the public structure.
pub fn fill<P: Platform>(hv: &Hypervisor<P>, domain: &Domain) -> DomctlGetdomaininfo {
    let info = control_info::domain(hv, domain);
    DomctlGetdomaininfo {
        domain: domain.id.raw(),
        flags: info.flags,
        tot_pages: info.total_frames,
        max_pages: info.max_frames,
        shared_info_frame: domain.shared_info.raw(),
        cpu_time: info.cpu_time,
        nr_online_vcpus: info.online_vcpus,
        max_vcpu_id: info.max_vcpu_id,
        handle: *domain.handle.lock(),
        gpaddr_bits: 52,
        ..DomctlGetdomaininfo::default()
    }
}
