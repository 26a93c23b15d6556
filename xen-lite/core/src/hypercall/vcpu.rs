//! `vcpu_op` (vcpu.h).

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use abi::vcpu::*;
use abi::xen::VcpuInfo;
use zerocopy::IntoBytes;

use super::coverage::{Sub, full, partial};
use super::guest::{read_bytes, read_one, write_one};
use super::{Args, Caller};
use crate::Hypervisor;
use crate::addr::{MachineAddr, Mfn, PAGE_SIZE, VcpuId};
use crate::domain::{Domain, Pending, Vcpu, context};
use crate::effects::{Done, Effects, Todo};
use crate::fail::{Errno, Fail};
use crate::frame::{self, Kind};
use crate::platform::Platform;
use crate::time::{self, NEVER};
use crate::{event, sched};

/// Sub-operations.
pub const SUBS: &[Sub] = &[
    full(VCPUOP_INITIALISE, "VCPUOP_initialise"),
    full(VCPUOP_UP, "VCPUOP_up"),
    full(VCPUOP_DOWN, "VCPUOP_down"),
    full(VCPUOP_IS_UP, "VCPUOP_is_up"),
    full(VCPUOP_GET_RUNSTATE_INFO, "VCPUOP_get_runstate_info"),
    full(VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, "VCPUOP_register_runstate_memory_area"),
    full(VCPUOP_SET_PERIODIC_TIMER, "VCPUOP_set_periodic_timer"),
    full(VCPUOP_STOP_PERIODIC_TIMER, "VCPUOP_stop_periodic_timer"),
    full(VCPUOP_SET_SINGLESHOT_TIMER, "VCPUOP_set_singleshot_timer"),
    full(VCPUOP_STOP_SINGLESHOT_TIMER, "VCPUOP_stop_singleshot_timer"),
    partial(
        VCPUOP_REGISTER_VCPU_INFO,
        "VCPUOP_register_vcpu_info",
        "at multiples of 8 bytes, as newer versions demand",
    ),
    full(VCPUOP_SEND_NMI, "VCPUOP_send_nmi"),
    full(VCPUOP_GET_PHYSID, "VCPUOP_get_physid"),
    full(VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA, "VCPUOP_register_vcpu_time_memory_area"),
];

const INFO_BYTES: usize = size_of::<VcpuInfo>();

/// `vcpu_op`: command, number of the vCPU, pointer to the command's structure.
#[inline]
pub fn vcpu_op<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    // A kernel asks for each number that it has room for: most do not exist.
    let vcpu = caller.domain.vcpu(VcpuId::new(args[1] as u32)).ok_or(Errno::ENOENT)?;
    let (at, own) = (args[2], Arc::ptr_eq(vcpu, caller.vcpu));
    match args[0] as u32 {
        VCPUOP_IS_UP => Ok(Done::value(i64::from(vcpu.sched.is_up()))),
        VCPUOP_SET_SINGLESHOT_TIMER if own => set_singleshot(hv, vcpu, at),
        command => others(hv, caller.domain, vcpu, command, at, own),
    }
}

fn others<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Arc<Domain>,
    vcpu: &Arc<Vcpu>,
    command: u32,
    at: u64,
    own: bool,
) -> Result<Done, Fail> {
    match command {
        VCPUOP_INITIALISE => return initialise(hv, domain, vcpu, at).map(Done::with),
        VCPUOP_UP => {
            if vcpu.initialised.load(Ordering::Acquire) == 0 {
                return Err(Errno::EINVAL.into());
            }
            return Ok(Done::with(hv.sched.up(hv, vcpu).1));
        }
        VCPUOP_DOWN => return Ok(Done::with(down(hv, domain, vcpu))),
        VCPUOP_GET_RUNSTATE_INFO => {
            let account = hv.sched.runstate(vcpu, hv.platform.now());
            write_one(hv, at, &time::runstate_info(&account))?;
        }
        VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA => {
            let area: VcpuRegisterRunstateMemoryArea = read_one(hv, at)?;
            time::register_runstate_area(hv, domain, vcpu, area.as_h().addr(), own)?;
        }
        VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA => {
            let area: VcpuRegisterTimeMemoryArea = read_one(hv, at)?;
            time::register_time_area(hv, vcpu, area.as_h().addr(), own)?;
        }
        VCPUOP_STOP_SINGLESHOT_TIMER if own => time::set_singleshot(hv, vcpu, NEVER),
        VCPUOP_SET_PERIODIC_TIMER => {
            let op: VcpuSetPeriodicTimer = read_one(hv, at)?;
            // Zero would stop it; it is a period that is too short.
            return set_periodic(hv, vcpu, op.period_ns.max(1), own);
        }
        VCPUOP_STOP_PERIODIC_TIMER => return set_periodic(hv, vcpu, 0, own),
        VCPUOP_SET_SINGLESHOT_TIMER | VCPUOP_STOP_SINGLESHOT_TIMER => return Err(Errno::EINVAL.into()),
        VCPUOP_REGISTER_VCPU_INFO => return register_info(hv, domain, vcpu, at, own).map(Done::with),
        VCPUOP_SEND_NMI => {
            let before = vcpu.pending.fetch_or(Pending::NMI.bits(), Ordering::SeqCst);
            let is_new = before & Pending::NMI.bits() == 0;
            return Ok(Done::with(if is_new { hv.sched.notify(hv, vcpu) } else { Effects::NONE }));
        }
        VCPUOP_GET_PHYSID => {
            let allowed = hv.sched.usable(vcpu.sched.allowed());
            if !domain.privileged || !allowed.is_power_of_two() {
                return Err(Errno::EINVAL.into());
            }
            let cpu = u64::from(allowed.trailing_zeros());
            write_one(hv, at, &VcpuGetPhysid { phys_id: cpu << 32 | cpu })?;
        }
        _ => return Err(Errno::ENOSYS.into()),
    }
    Ok(Done::OK)
}

fn initialise<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Arc<Domain>,
    vcpu: &Arc<Vcpu>,
    at: u64,
) -> Result<Effects, Fail> {
    if vcpu.info().is_none() {
        return Err(Errno::EINVAL.into());
    }
    let mut room = context::empty()?;
    let [new] = &mut *room;
    read_bytes(hv, at, new.as_mut_bytes())?;
    if vcpu.initialised.load(Ordering::Acquire) != 0 {
        return Err(Errno::EEXIST.into());
    }
    context::load_first(hv, domain, vcpu, new)
}

/// The last vCPU that goes down takes the domain with it.
fn down<P: Platform>(hv: &Hypervisor<P>, domain: &Arc<Domain>, vcpu: &Arc<Vcpu>) -> Effects {
    let others_up = domain.vcpus().iter().any(|other| !Arc::ptr_eq(other, vcpu) && other.sched.is_up());
    if !others_up {
        return sched::shut_down(hv, domain, abi::sched::SHUTDOWN_POWEROFF);
    }
    let effects = hv.sched.down(hv, vcpu);
    if domain.vcpus().iter().any(|vcpu| vcpu.sched.is_up()) {
        return effects;
    }
    // The last ones went down at the same time.
    effects.and(sched::shut_down(hv, domain, abi::sched::SHUTDOWN_POWEROFF))
}

#[inline]
fn set_singleshot<P: Platform>(hv: &Hypervisor<P>, vcpu: &Arc<Vcpu>, at: u64) -> Result<Done, Fail> {
    let op: VcpuSetSingleshotTimer = read_one(hv, at)?;
    // VCPU_SSHOTTMR_FUTURE is not looked at, as on upstream: a time gone by is an event at once.
    time::set_singleshot(hv, vcpu, op.timeout_abs_ns);
    Ok(Done::OK)
}

fn set_periodic<P: Platform>(
    hv: &Hypervisor<P>,
    vcpu: &Arc<Vcpu>,
    period: u64,
    own: bool,
) -> Result<Done, Fail> {
    if own {
        time::set_periodic(hv, vcpu, period)?;
        Ok(Done::OK)
    } else {
        Ok(Done::with(time::set_periodic_of(hv, vcpu, period)?))
    }
}

/// Moves a vCPU's `vcpu_info` to a frame of the domain's; once. The frame is held, and writable, until the domain is gone.
fn register_info<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Arc<Domain>,
    vcpu: &Arc<Vcpu>,
    at: u64,
    own: bool,
) -> Result<Effects, Fail> {
    let op: VcpuRegisterVcpuInfo = read_one(hv, at)?;
    let offset = op.offset as usize;
    let old = vcpu.info();
    let moved = old.is_some_and(|info| info.mfn() != domain.shared_info);
    if offset > PAGE_SIZE - INFO_BYTES || !offset.is_multiple_of(8) {
        return Err(Errno::ENXIO.into());
    }
    if moved || (!own && vcpu.sched.is_up()) {
        return Err(Errno::EINVAL.into());
    }
    let mfn = Mfn::new(op.mfn);
    frame::get_page_type(hv, mfn, domain.id, Kind::Writable)?;
    if mfn == domain.shared_info {
        // It stays for as long as the domain does; a reference that nobody counts would keep it for ever.
        frame::put_page_type(hv, mfn);
    }
    for word in 0..INFO_BYTES / 8 {
        let value = match old {
            Some(info) => hv.platform.load(info.mfn(), info.offset() / 8 + word),
            // Nothing yet: upcalls masked.
            None if word == 0 => 1 << 8,
            None => 0,
        };
        hv.platform.store(mfn, offset / 8 + word, value);
    }
    vcpu.set_info(Some(MachineAddr::new(op.mfn << 12 | u64::from(op.offset))));
    vcpu.time.info_moved();
    time::update_vcpu_time(hv, vcpu);
    Ok(event::info_moved(hv, vcpu).and(Effects::todo(Todo::LOAD_INFO)))
}
