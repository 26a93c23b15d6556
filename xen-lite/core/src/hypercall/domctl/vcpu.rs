//! What a toolstack does to one vCPU.

use abi::domctl::*;
use abi::xen::{VcpuGuestContext, XenctlBitmap};
use alloc::sync::Arc;

use super::{Answer, WRITE_BACK};
use crate::Hypervisor;
use crate::access::ControlOver;
use crate::addr::VcpuId;
use crate::domain::{Vcpu, context};
use crate::effects::Effects;
use crate::fail::{Errno, Fail};
use crate::hypercall::guest::{read_bytes, read_one, write_bytes, write_one};
use crate::platform::Platform;

fn vcpu(target: &ControlOver, id: u32) -> Result<&Arc<Vcpu>, Errno> {
    target.vcpu(VcpuId::new(id)).ok_or(Errno::EINVAL)
}

/// `setvcpucontext`: of a vCPU of a paused domain; a null pointer takes the context away.
pub fn set_context<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver, op: &Domctl) -> Answer {
    let wanted = op.as_vcpucontext();
    let vcpu = vcpu(target, wanted.vcpu)?;
    if wanted.ctxt.is_null() {
        return Ok((context::reset(hv, target, vcpu)?, false));
    }
    let new: VcpuGuestContext = read_one(hv, wanted.ctxt.addr())?;
    let paused = hv.sched.pause_domain(hv, target);
    let (stopped, more) = hv.sched.await_stop(hv, target.vcpus());
    let result = if stopped { context::load(hv, target, vcpu, &new) } else { Err(Fail::Again) };
    let effects = paused.and(more).and(hv.sched.unpause_domain(hv, target));
    if result.is_ok() && vcpu.id == VcpuId::new(0) {
        // Toolstacks clear the whole of `shared_info` before this, as its last step, so the date is written again.
        crate::time::init_wallclock(hv, target);
    }
    match result {
        Ok(more) => Ok((effects.and(more), false)),
        Err(Fail::Again) => Err(Fail::AgainWith(effects)),
        Err(other) => Err(other),
    }
}

/// `getvcpucontext`.
pub fn get_context<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver, op: &mut Domctl) -> Answer {
    let wanted = op.as_vcpucontext();
    let vcpu = vcpu(target, wanted.vcpu)?;
    if vcpu.initialised.load(core::sync::atomic::Ordering::Acquire) == 0 {
        return Err(Errno::ENODATA.into());
    }
    let paused = hv.sched.pause_vcpu(hv, vcpu);
    let (stopped, more) = hv.sched.await_stop(hv, core::slice::from_ref(vcpu));
    let saved = if stopped { context::save(hv, target, vcpu) } else { Err(Fail::Again) };
    let effects = paused.and(more).and(hv.sched.unpause_vcpu(hv, vcpu));
    match saved {
        Ok(saved) => write_one(hv, wanted.ctxt.addr(), &saved[0])?,
        Err(Fail::Again) => return Err(Fail::AgainWith(effects)),
        Err(other) => return Err(other),
    }
    Ok((effects, true))
}

/// `getvcpuinfo`.
pub fn info<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver, op: &mut Domctl) -> Answer {
    let vcpu = vcpu(target, op.as_getvcpuinfo().vcpu)?;
    op.set_getvcpuinfo(DomctlGetvcpuinfo {
        vcpu: vcpu.id.raw(),
        online: u8::from(vcpu.sched.is_up()),
        blocked: u8::from(crate::sched::control::is_blocked(vcpu)),
        running: u8::from(vcpu.sched.running_on().is_some()),
        cpu_time: hv.sched.cpu_time(vcpu, hv.platform.now()),
        cpu: vcpu.sched.cpu().raw(),
        ..DomctlGetvcpuinfo::default()
    });
    WRITE_BACK
}

/// Reads at most 64 bits of a CPU map.
fn read_map<P: Platform>(hv: &Hypervisor<P>, map: &XenctlBitmap) -> Result<u64, Errno> {
    let mut bytes = [0; 8];
    let length = (map.nr_bits as usize).div_ceil(8).min(8);
    read_bytes(hv, map.bitmap.addr(), &mut bytes[..length])?;
    let bits = u64::from_le_bytes(bytes);
    Ok(if map.nr_bits < 64 { bits & ((1 << map.nr_bits) - 1) } else { bits })
}

/// Writes a CPU map, as far as the caller has room.
fn write_map<P: Platform>(hv: &Hypervisor<P>, map: &XenctlBitmap, bits: u64) -> Result<(), Errno> {
    let length = (map.nr_bits as usize).div_ceil(8).min(8);
    write_bytes(hv, map.bitmap.addr(), &bits.to_le_bytes()[..length])
}

/// `setvcpuaffinity`: the sets that came into force go back.
pub fn set_affinity<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver, op: &mut Domctl) -> Answer {
    let wanted = op.as_vcpuaffinity();
    let vcpu = vcpu(target, wanted.vcpu)?;
    if wanted.flags & (XEN_VCPUAFFINITY_HARD | XEN_VCPUAFFINITY_SOFT) == 0 {
        return Err(Errno::EINVAL.into());
    }
    let set = |flag, map| -> Result<Option<u64>, Errno> {
        if wanted.flags & flag != 0 { read_map(hv, map).map(Some) } else { Ok(None) }
    };
    let hard = set(XEN_VCPUAFFINITY_HARD, &wanted.cpumap_hard)?;
    let soft = set(XEN_VCPUAFFINITY_SOFT, &wanted.cpumap_soft)?;
    let effects = hv.sched.set_affinity(hv, vcpu, hard, soft)?;
    write_affinity(hv, vcpu, &wanted)?;
    Ok((effects, false))
}

/// `getvcpuaffinity`.
pub fn get_affinity<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver, op: &mut Domctl) -> Answer {
    let wanted = op.as_vcpuaffinity();
    let vcpu = vcpu(target, wanted.vcpu)?;
    if wanted.flags & (XEN_VCPUAFFINITY_HARD | XEN_VCPUAFFINITY_SOFT) == 0 {
        return Err(Errno::EINVAL.into());
    }
    write_affinity(hv, vcpu, &wanted)?;
    Ok((Effects::NONE, false))
}

fn write_affinity<P: Platform>(
    hv: &Hypervisor<P>,
    vcpu: &Vcpu,
    wanted: &DomctlVcpuaffinity,
) -> Result<(), Errno> {
    let (hard, soft) = vcpu.sched.affinity();
    let all = u64::MAX >> (64 - hv.sched.cpus().clamp(1, 64));
    if wanted.flags & XEN_VCPUAFFINITY_HARD != 0 {
        write_map(hv, &wanted.cpumap_hard, hard & all)?;
    }
    if wanted.flags & XEN_VCPUAFFINITY_SOFT != 0 {
        write_map(hv, &wanted.cpumap_soft, soft & all)?;
    }
    Ok(())
}
