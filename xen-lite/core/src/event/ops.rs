//! Binding ports, and asking about them.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use super::{Channel, Port, Table, deliver::raise, lock_both, two_level};
use crate::Hypervisor;
use crate::addr::{DomId, EvtchnPort, VcpuId};
use crate::domain::{Domain, Vcpu};
use crate::effects::{Effects, Todo};
use crate::fail::Errno;
use crate::platform::Platform;

/// The vCPU that gets a port's events unless something else is said.
const FIRST: VcpuId = VcpuId::new(0);
/// How often a port is looked for that other vCPUs of the domain then take first.
const TRIES: usize = 16;
/// Virtual interrupts that each vCPU has for itself; the others a domain has once.
const PER_VCPU_VIRQS: u32 = 1 << abi::xen::VIRQ_TIMER
    | 1 << abi::xen::VIRQ_DEBUG
    | 1 << abi::xen::VIRQ_XENOPROF
    | 1 << abi::xen::VIRQ_XENPMU;

fn is_global(virq: u32) -> bool {
    PER_VCPU_VIRQS & 1 << (virq % 32) == 0
}

/// `EVTCHNOP_alloc_unbound`: a port of `domain` that waits for `remote`, which need not exist yet.
///
/// # Errors
/// `ENOSPC`, `ENOMEM`, `EINVAL` when the domain is dying.
pub fn alloc_unbound<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Domain,
    remote: DomId,
) -> Result<EvtchnPort, Errno> {
    let mut table = domain.events.lock();
    let port = table.find_free(hv, domain.events.max_ports())?;
    table.bind(port, Channel::Unbound { remote }, FIRST);
    Ok(port)
}

/// `EVTCHNOP_bind_interdomain`: connects a new port of `local` to a port of `remote` that waits for it. The new port becomes
/// pending, for whatever was sent before.
///
/// # Errors
/// `EINVAL` when the remote port does not exist or does not wait for `local`; as [`alloc_unbound`]. `EAGAIN` when other vCPUs of
/// `local` took every free port that was found.
pub fn bind_interdomain<P: Platform>(
    hv: &Hypervisor<P>,
    local: &Arc<Domain>,
    remote: &Arc<Domain>,
    remote_port: EvtchnPort,
) -> Result<(EvtchnPort, Effects), Errno> {
    let max = local.events.max_ports();
    if Arc::ptr_eq(local, remote) {
        let mut table = local.events.lock();
        let port = table.find_free(hv, max)?;
        connect_remote(&mut table, remote_port, local, port)?;
        table.bind(port, Channel::Interdomain { peer: local.clone(), port: remote_port }, FIRST);
        return Ok((port, raise_bound(hv, local, &table, port)));
    }
    // Looking for a port takes as long as the caller makes it: not with the other domain's table locked.
    for _ in 0..TRIES {
        let port = local.events.lock().find_free(hv, max)?;
        let (mut mine, mut theirs) = lock_both(local, remote);
        if !mine.is_free(port) {
            // Another vCPU of the caller has taken it.
            continue;
        }
        connect_remote(&mut theirs, remote_port, local, port)?;
        mine.bind(port, Channel::Interdomain { peer: remote.clone(), port: remote_port }, FIRST);
        drop(theirs);
        return Ok((port, raise_bound(hv, local, &mine, port)));
    }
    Err(Errno::EAGAIN)
}

/// Connects a waiting port of the remote table to `local`'s `port`. It keeps its vCPU.
fn connect_remote(
    table: &mut Table,
    remote_port: EvtchnPort,
    local: &Arc<Domain>,
    port: EvtchnPort,
) -> Result<(), Errno> {
    let slot = table.get_mut(remote_port).ok_or(Errno::EINVAL)?;
    match slot.channel {
        Channel::Unbound { remote } if remote == local.id => {
            slot.channel = Channel::Interdomain { peer: local.clone(), port };
            Ok(())
        }
        _ => Err(Errno::EINVAL),
    }
}

fn raise_bound<P: Platform>(hv: &Hypervisor<P>, domain: &Domain, table: &Table, port: EvtchnPort) -> Effects {
    table.get(port).map_or(Effects::NONE, |slot| raise(hv, domain, table, port, slot))
}

/// `EVTCHNOP_bind_virq`: a port for a virtual interrupt. A global one is bound on vCPU 0.
///
/// # Errors
/// `EINVAL` for an unknown interrupt or a global one on another vCPU, `ENOENT` for a vCPU that does not exist, `EEXIST` when it is
/// bound already; as [`alloc_unbound`].
pub fn bind_virq<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Domain,
    virq: u32,
    vcpu: VcpuId,
) -> Result<EvtchnPort, Errno> {
    if virq as usize >= super::VIRQS || (is_global(virq) && vcpu != FIRST) {
        return Err(Errno::EINVAL);
    }
    let owner = domain.vcpu(vcpu).ok_or(Errno::ENOENT)?;
    let mut table = domain.events.lock();
    let bound = &owner.events.virqs[virq as usize];
    if bound.load(Ordering::Relaxed) != 0 {
        return Err(Errno::EEXIST);
    }
    let port = table.find_free(hv, domain.events.max_ports())?;
    table.bind(port, Channel::Virq { virq }, vcpu);
    bound.store(port.raw(), Ordering::Relaxed);
    Ok(port)
}

/// `EVTCHNOP_bind_ipi`: a port by which the domain sends events to one of its vCPUs.
///
/// # Errors
/// `ENOENT` for a vCPU that does not exist; as [`alloc_unbound`].
pub fn bind_ipi<P: Platform>(hv: &Hypervisor<P>, domain: &Domain, vcpu: VcpuId) -> Result<EvtchnPort, Errno> {
    domain.vcpu(vcpu).ok_or(Errno::ENOENT)?;
    let mut table = domain.events.lock();
    let port = table.find_free(hv, domain.events.max_ports())?;
    table.bind(port, Channel::Ipi, vcpu);
    Ok(port)
}

/// `EVTCHNOP_bind_pirq`: a port for a physical interrupt. `usable` says whether the domain may use it, and whether it may be shared.
///
/// # Errors
/// `EEXIST` when the domain has bound it already; as [`alloc_unbound`].
pub fn bind_pirq<P: Platform>(hv: &Hypervisor<P>, domain: &Domain, pirq: u32) -> Result<EvtchnPort, Errno> {
    let mut table = domain.events.lock();
    for number in 1..table.valid_ports() {
        let slot = table.get(EvtchnPort::new(number));
        if matches!(slot, Some(Port { channel: Channel::Pirq { pirq: bound }, .. }) if *bound == pirq) {
            return Err(Errno::EEXIST);
        }
    }
    let port = table.find_free(hv, domain.events.max_ports())?;
    table.bind(port, Channel::Pirq { pirq }, FIRST);
    Ok(port)
}

/// `EVTCHNOP_bind_vcpu`: moves a port's events to another vCPU.
///
/// # Errors
/// `ENOENT` for a vCPU that does not exist, `EINVAL` for a port that does not exist, is free, or belongs to its vCPU.
pub fn bind_vcpu(domain: &Domain, port: EvtchnPort, vcpu: VcpuId) -> Result<(), Errno> {
    domain.vcpu(vcpu).ok_or(Errno::ENOENT)?;
    let mut table = domain.events.lock();
    let slot = table.get_mut(port).ok_or(Errno::EINVAL)?;
    match slot.channel {
        Channel::Unbound { .. } | Channel::Interdomain { .. } | Channel::Pirq { .. } => {}
        Channel::Virq { virq } if is_global(virq) => {}
        _ => return Err(Errno::EINVAL),
    }
    slot.vcpu = vcpu;
    Ok(())
}

/// What `EVTCHNOP_status` tells.
#[derive(Clone, Debug)]
pub struct Status {
    /// What the port is connected to.
    pub channel: Channel,
    /// The vCPU that gets its events.
    pub vcpu: VcpuId,
}

/// `EVTCHNOP_status`.
///
/// # Errors
/// `EINVAL` for a port that does not exist.
pub fn status(domain: &Domain, port: EvtchnPort) -> Result<Status, Errno> {
    let table = domain.events.lock();
    let slot = table.get(port).ok_or(Errno::EINVAL)?;
    Ok(Status { channel: slot.channel.clone(), vcpu: slot.vcpu })
}

/// `SCHEDOP_poll`: the running vCPU waits until one of `ports` is pending, its own upcall is, or the clock reaches `deadline`
/// ([`crate::time::NEVER`]: no time-out). Returns at once when that is so already.
///
/// # Errors
/// `EINVAL` for a port that does not exist.
pub fn poll<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Domain,
    vcpu: &Arc<Vcpu>,
    ports: &[EvtchnPort],
    deadline: u64,
) -> Result<Effects, Errno> {
    poll_ended(domain, vcpu);
    // As with blocking: first say that we wait, then look whether there is reason to.
    vcpu.sched.set_poll(if let [one] = ports { one.raw() } else { u32::MAX });
    domain.events.pollers.fetch_add(1, Ordering::SeqCst);
    hv.sched.start_wait(vcpu);
    match reason_to_go_on(hv, domain, vcpu, ports) {
        Ok(false) => {
            if deadline != crate::time::NEVER {
                crate::time::set_poll(hv, vcpu, deadline);
            }
            Ok(Effects::todo(Todo::RESCHEDULE))
        }
        decided => {
            hv.sched.cancel_wait(vcpu);
            poll_ended(domain, vcpu);
            decided.map(|_| Effects::NONE)
        }
    }
}

fn reason_to_go_on<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Domain,
    vcpu: &Vcpu,
    ports: &[EvtchnPort],
) -> Result<bool, Errno> {
    // An upcall that is masked does not count: nobody would look at it.
    if crate::trap::info::upcall_due(hv, vcpu) {
        return Ok(true);
    }
    for port in ports {
        if super::is_pending(hv, domain, *port)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A poll is over, whatever ended it. Called when the vCPU runs again; harmless if it did not poll.
#[inline]
pub(crate) fn poll_ended(domain: &Domain, vcpu: &Vcpu) {
    if vcpu.sched.poll() != 0 {
        vcpu.sched.set_poll(0);
        domain.events.pollers.fetch_sub(1, Ordering::SeqCst);
        vcpu.time.cancel_poll();
    }
}

/// The vCPU's `vcpu_info` moved. Events that went to the old place meanwhile must not be lost: the vCPU is told to look at everything.
pub fn info_moved<P: Platform>(hv: &Hypervisor<P>, vcpu: &Arc<Vcpu>) -> Effects {
    two_level::select_all(hv, vcpu);
    super::mark_upcall(hv, vcpu)
}
