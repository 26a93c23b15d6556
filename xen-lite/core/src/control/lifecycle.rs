//! How domains come and go.
//!
//! Creation gives a domain its number, its shared page and (later, once) its vCPUs; it is paused by its controller until that
//! unpauses it. Destruction goes in steps that may each be left and taken up again: stop the vCPUs; close event channels; give
//! up grants; take the memory back frame by frame. A frame that somebody else still maps keeps the dying domain in the table as
//! a "zombie" until it is let go; then [`reap`] removes it.
//!
//! Numbers count up and are not used again soon, so that a stale number in a toolstack does not hit a new domain.

use crate::sync::atomic::{AtomicU16, Ordering};
use alloc::sync::Arc;

use abi::xen::VIRQ_DOM_EXC;

use crate::Hypervisor;
use crate::access::ControlOver;
use crate::addr::{DomId, MachineAddr, Mfn, VcpuId};
use crate::domain::{Domain, Life, MAX_VCPUS, Vcpu, VcpuState};
use crate::effects::Effects;
use crate::fail::{Errno, Fail};
use crate::platform::Platform;
use crate::{event, grant, mm, room, sched};

/// vCPUs whose `vcpu_info` lies in the shared page (`XEN_LEGACY_MAX_VCPUS`).
const INFO_IN_SHARED_PAGE: u64 = 32;
/// Bytes of `struct vcpu_info`.
const INFO_BYTES: u64 = 64;
/// `evtchn_upcall_mask` is set, in the first word of `struct vcpu_info`.
const MASKED: u64 = 1 << (8 * core::mem::offset_of!(abi::xen::VcpuInfo, evtchn_upcall_mask));

/// What a new domain is to be.
#[derive(Clone, Copy, Debug)]
pub struct New {
    /// Its number; `None` for the next free one.
    pub id: Option<DomId>,
    /// Whether it is a control domain.
    pub privileged: bool,
    /// UUID.
    pub handle: [u8; 16],
    /// Most vCPUs that it may be given.
    pub max_vcpus: u32,
    /// Highest event-channel port that it may use.
    pub max_port: u32,
    /// Most frames of its grant table.
    pub max_grant_frames: u32,
    /// Most frames' worth of grants it may map from others.
    pub max_maptrack_frames: u32,
}

/// Hands out domain numbers.
#[derive(Debug)]
pub struct NextId(AtomicU16);

impl Default for NextId {
    fn default() -> Self {
        NextId(AtomicU16::new(1))
    }
}

impl NextId {
    /// The next number that no domain has.
    fn take<P: Platform>(&self, hv: &Hypervisor<P>) -> Option<DomId> {
        let end = DomId::FIRST_RESERVED.raw();
        (0..end).find_map(|_| {
            let step = |id| Some(if id + 1 >= end { 1 } else { id + 1 });
            let id = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).unwrap_or(1);
            let id = DomId::new(id);
            hv.domains.get(id).is_none().then_some(id)
        })
    }
}

/// Creates a domain without memory and vCPUs.
///
/// # Errors
/// `EINVAL` for limits that cannot be, `EEXIST` when the number is taken, `ENOMEM`.
pub fn create<P: Platform>(hv: &Hypervisor<P>, new: &New) -> Result<Arc<Domain>, Errno> {
    if new.max_vcpus == 0 || new.max_vcpus > MAX_VCPUS {
        return Err(Errno::EINVAL);
    }
    let id = match new.id {
        Some(id) if hv.domains.get(id).is_some() => return Err(Errno::EEXIST),
        Some(id) => id,
        None => hv.next_id.take(hv).ok_or(Errno::ENOMEM)?,
    };
    let share = room::shared(&hv.platform, sched::Share::default())?;
    let shared_info = mm::alloc_shared(hv, id).ok_or(Errno::ENOMEM)?;
    let mut domain = Domain::new(id, new.privileged, shared_info, 0, share);
    domain.max_vcpus = new.max_vcpus;
    domain.events = event::Events::new(new.max_port);
    domain.grants = grant::Grants::new(new.max_grant_frames, new.max_maptrack_frames);
    *domain.handle.lock() = new.handle;
    let domain = room::shared(&hv.platform, domain).and_then(|domain| {
        hv.domains.insert(domain.clone())?;
        Ok(domain)
    });
    let domain = domain.inspect_err(|_| mm::free_shared(hv, shared_info))?;
    crate::time::init_wallclock(hv, &domain);
    Ok(domain)
}

/// Gives a domain its vCPUs, all down.
///
/// # Errors
/// `EINVAL` for another number than it was created for, `EEXIST` when it has vCPUs, `ENOMEM`.
pub fn give_vcpus<P: Platform>(hv: &Hypervisor<P>, domain: &Arc<Domain>, count: u32) -> Result<(), Errno> {
    if count == 0 || count != domain.max_vcpus {
        return Err(Errno::EINVAL);
    }
    let mut vcpus = room::list(count as usize)?;
    for id in 0..count {
        let state = VcpuState::new(hv.config.fpu_bytes)?;
        let vcpu = room::shared(&hv.platform, Vcpu::new(VcpuId::new(id), domain, state))?;
        vcpu.set_info(info_in_shared_page(domain.shared_info, u64::from(id)));
        vcpus.push(vcpu);
    }
    hv.sched.admit(&vcpus, hv.platform.now())?;
    // Another CPU may have given it some meanwhile.
    domain
        .set_vcpus(vcpus.into_boxed_slice())
        .inspect_err(|_| hv.sched.withdraw(&domain.share, count as usize))
}

fn info_in_shared_page(shared_info: Mfn, id: u64) -> Option<MachineAddr> {
    let base = shared_info.address().filter(|_| id < INFO_IN_SHARED_PAGE)?;
    base.checked_add(id * INFO_BYTES)
}

/// Creates the first domain with its vCPUs; vCPU 0 is up, and the domain still paused. It may own `max_frames` at most.
///
/// # Errors
/// `ENOMEM`.
pub fn create_first<P: Platform>(
    hv: &Hypervisor<P>,
    max_frames: u64,
    vcpus: u32,
) -> Result<(Arc<Domain>, Effects), Errno> {
    let new = New {
        id: Some(DomId::DOM0),
        privileged: true,
        handle: [0; 16],
        max_vcpus: vcpus,
        max_port: event::MAX_PORT,
        max_grant_frames: grant::DEFAULT_FRAMES,
        max_maptrack_frames: grant::DEFAULT_MAPTRACK_FRAMES,
    };
    let domain = create(hv, &new)?;
    domain.memory.max.store(u32::try_from(max_frames).unwrap_or(u32::MAX), Ordering::Relaxed);
    give_vcpus(hv, &domain, vcpus)?;
    for vcpu in domain.vcpus() {
        crate::trap::info::set_masked(hv, vcpu, true);
    }
    // The places of vCPUs that it does not have say the same, as upstream's do.
    for id in u64::from(vcpus)..INFO_IN_SHARED_PAGE {
        hv.platform.fetch_or(domain.shared_info, (id * INFO_BYTES / 8) as usize, MASKED);
    }
    let first = domain.vcpu(VcpuId::new(0)).ok_or(Errno::EINVAL)?;
    let (_, effects) = hv.sched.up(hv, first);
    Ok((domain, effects))
}

/// Most pauses of the controller at a time.
const MOST_PAUSES: u32 = 255;

/// The controller's own pause; counted.
///
/// # Errors
/// `EOPNOTSUPP` when it is paused too many times already.
pub fn pause<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver) -> Result<Effects, Errno> {
    let more = |count: u32| (count < MOST_PAUSES).then_some(count + 1);
    let counted = target.paused_by_controller.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more);
    counted.map_err(|_| Errno::EOPNOTSUPP)?;
    Ok(hv.sched.pause_domain(hv, target))
}

/// Takes one of the controller's pauses back; the first time this starts the domain.
///
/// # Errors
/// `EINVAL` when it is not paused by its controller.
pub fn unpause<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver) -> Result<Effects, Errno> {
    let less = |count: u32| count.checked_sub(1);
    let counted = target.paused_by_controller.fetch_update(Ordering::AcqRel, Ordering::Relaxed, less);
    counted.map_err(|_| Errno::EINVAL)?;
    Ok(hv.sched.unpause_domain(hv, target))
}

/// Ends a domain, as far as one call may: [`Fail::Again`] asks for another.
///
/// # Errors
/// [`Fail::Again`] while something is left to do.
pub fn destroy<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver) -> Result<Effects, Fail> {
    let domain: &Arc<Domain> = target;
    let mut effects = Effects::NONE;
    if domain.advance(Life::Dying) {
        effects = hv.sched.pause_domain(hv, domain);
    } else if domain.life() == Life::Dead {
        return Ok(Effects::NONE);
    }
    let (stopped, more) = hv.sched.has_stopped(hv, domain.vcpus());
    effects = effects.and(more);
    if !stopped {
        return Err(Fail::AgainWith(effects));
    }
    match release(hv, domain) {
        Ok(more) => effects = effects.and(more),
        Err(Fail::Again) => return Err(Fail::AgainWith(effects)),
        Err(Fail::AgainWith(more)) => return Err(Fail::AgainWith(effects.and(more))),
        Err(other) => return Err(other),
    }
    domain.advance(Life::Dead);
    effects = effects.and(event::send_global_virq(hv, VIRQ_DOM_EXC));
    Ok(effects.and(reap(hv, domain)))
}

/// Takes back what a stopped domain has. Each step starts where it was left.
fn release<P: Platform>(hv: &Hypervisor<P>, domain: &Arc<Domain>) -> Result<Effects, Fail> {
    event::close_all(hv, domain)?;
    let effects = grant::release_all(hv, domain)?;
    drop_tables(hv, domain)?;
    Ok(effects.and(mm::relinquish(hv, domain)?))
}

/// Lets go of the descriptor tables of all vCPUs.
///
/// # Errors
/// [`Fail::Again`] when a toolstack looks at one of them just now.
fn drop_tables<P: Platform>(hv: &Hypervisor<P>, domain: &Domain) -> Result<(), Fail> {
    for vcpu in domain.vcpus() {
        let mut state = vcpu.state.try_lock().ok_or(Fail::Again)?;
        mm::drop_ldt(hv, &mut state);
        // An empty list takes no reference, so this cannot fail.
        let _ = crate::hypercall::cpu::replace_gdt(hv, domain.id, &mut state, &[], 0);
    }
    Ok(())
}

/// Removes a dead domain from the table once nobody maps its memory any more.
pub fn reap<P: Platform>(hv: &Hypervisor<P>, domain: &Domain) -> Effects {
    if domain.life() != Life::Dead || domain.memory.total.load(Ordering::Acquire) != 0 {
        return Effects::NONE;
    }
    let Some(domain) = hv.domains.remove(domain) else { return Effects::NONE };
    hv.frames.retire(domain.id);
    // A toolstack may have set frames aside for it when it was dying already.
    hv.frames.claim(domain.id, 0);
    for vcpu in domain.vcpus() {
        vcpu.set_info(None);
    }
    let effects = hv.sched.dismiss(hv, domain.vcpus());
    grant::free_table(hv, &domain);
    mm::free_shared(hv, domain.shared_info);
    effects
}

/// Sets how many frames a domain may own. A limit below what it owns only stops it from growing.
pub fn set_max_frames(target: &ControlOver, frames: u64) {
    target.memory.max.store(u32::try_from(frames).unwrap_or(u32::MAX), Ordering::Relaxed);
}
