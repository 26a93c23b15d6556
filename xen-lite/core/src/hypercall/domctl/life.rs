//! Domains come, stop, go on, and go.

use abi::domctl::*;

use super::{Answer, PLAIN, WRITE_BACK};
use crate::Hypervisor;
use crate::access::{ControlOver, control_over};
use crate::addr::DomId;
use crate::control::policy::address_bits;
use crate::control::{info as control_info, lifecycle};
use crate::domain::Domain;
use crate::effects::Effects;
use crate::fail::Errno;
use crate::hypercall::Caller;
use crate::platform::Platform;

/// The limit that a toolstack may leave to the hypervisor with a negative number; nobody may have more than that.
fn limit(value: i32, default: u32) -> Result<u32, Errno> {
    let limit = u32::try_from(value).unwrap_or(default);
    if limit > default { Err(Errno::EINVAL) } else { Ok(limit) }
}

/// The emulated timer that a PV guest may be said to have (`XEN_X86_EMU_PIT`).
const EMULATED_PIT: u32 = 1 << 8;
/// "MSRs beyond the usual read as 0" (`XEN_X86_MSR_RELAXED`): some do in any case.
const MSR_RELAXED: u32 = 1 << 0;

/// Refuses what cannot be.
fn check(wanted: &DomctlCreatedomain) -> Result<(), Errno> {
    let supported = XEN_DOMCTL_CDF_XS_DOMAIN | XEN_DOMCTL_CDF_OOS_OFF;
    let version = wanted.grant_opts;
    if wanted.flags & !supported != 0
        || wanted.iommu_opts != 0
        || wanted.arch.misc_flags & !MSR_RELAXED != 0
        || wanted.vmtrace_size != 0
        || wanted.max_grant_frames == 0
        || !matches!(version, 1 | 2)
    {
        return Err(Errno::EINVAL);
    }
    if wanted.arch.emulation_flags & !EMULATED_PIT != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    if wanted.cpupool_id != 0 { Err(Errno::ESRCH) } else { Ok(()) }
}

/// `createdomain`: number 0, and the reserved ones, ask for the next free.
pub fn create<P: Platform>(hv: &Hypervisor<P>, op: &mut Domctl) -> Answer {
    let wanted = op.as_createdomain();
    check(&wanted).inspect_err(|errno| log::debug!("createdomain refused, {errno}: {wanted:?}"))?;
    let fixed = op.domain != 0 && DomId::new(op.domain) < DomId::FIRST_RESERVED;
    let domain = lifecycle::create(
        hv,
        &lifecycle::New {
            id: fixed.then_some(DomId::new(op.domain)),
            privileged: false,
            handle: wanted.handle,
            max_vcpus: wanted.max_vcpus,
            max_port: wanted.max_evtchn_port,
            max_grant_frames: limit(wanted.max_grant_frames, crate::grant::DEFAULT_FRAMES)?,
            max_maptrack_frames: limit(wanted.max_maptrack_frames, crate::grant::DEFAULT_MAPTRACK_FRAMES)?,
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
    if id >= DomId::FIRST_RESERVED {
        return Err(Errno::EINVAL.into());
    }
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
        gpaddr_bits: address_bits(hv) as u8,
        ..DomctlGetdomaininfo::default()
    }
}
