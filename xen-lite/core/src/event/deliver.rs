//! Sending: from "this happened" to "that vCPU looks".

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use super::{Channel, Delivery, Port, Table, VIRQS, fifo, two_level};
use crate::Hypervisor;
use crate::addr::{DomId, EvtchnPort};
use crate::domain::{Domain, Vcpu};
use crate::effects::Effects;
use crate::fail::Errno;
use crate::platform::Platform;
use crate::trap::info::set_upcall_pending;

/// `EVTCHNOP_send`: an event for whoever is at the other end of the caller's port.
///
/// # Errors
/// `EINVAL` for a port that does not exist, or from which nothing can be sent.
#[inline(always)]
pub fn send<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Arc<Domain>,
    port: EvtchnPort,
) -> Result<Effects, Errno> {
    let table = domain.events.lock();
    let slot = table.get(port).ok_or(Errno::EINVAL)?;
    match &slot.channel {
        Channel::Interdomain { peer, port: to } => {
            let (peer, to) = (peer.clone(), *to);
            drop(table);
            Ok(send_to(hv, domain, port, &peer, to))
        }
        Channel::Ipi => Ok(raise(hv, domain, &table, port, slot)),
        // Nobody there yet: whoever binds gets an event anyway.
        Channel::Unbound { .. } => Ok(Effects::NONE),
        _ => Err(Errno::EINVAL),
    }
}

/// The second half of [`send`]: does nothing when the channel was closed in between.
#[inline(never)]
fn send_to<P: Platform>(
    hv: &Hypervisor<P>,
    from: &Arc<Domain>,
    port: EvtchnPort,
    to: &Arc<Domain>,
    to_port: EvtchnPort,
) -> Effects {
    let table = to.events.lock();
    let Some(slot) = table.get(to_port) else { return Effects::NONE };
    match &slot.channel {
        Channel::Interdomain { peer, port: back } if *back == port && Arc::ptr_eq(peer, from) => {
            raise(hv, to, &table, to_port, slot)
        }
        _ => Effects::NONE,
    }
}

/// Makes a bound port of a domain pending, whatever it is bound to: for events that the hypervisor itself sends.
///
/// # Errors
/// `EINVAL` when the port is not bound.
pub fn notify_port<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Arc<Domain>,
    port: EvtchnPort,
) -> Result<Effects, Errno> {
    let table = domain.events.lock();
    let slot = table.get(port).ok_or(Errno::EINVAL)?;
    if matches!(slot.channel, Channel::Free | Channel::Reserved) {
        return Err(Errno::EINVAL);
    }
    Ok(raise(hv, domain, &table, port, slot))
}

/// Makes a port pending and tells who is to know. The table is locked, and `slot` is the port's.
#[inline(always)]
pub(super) fn raise<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Domain,
    table: &Table,
    port: EvtchnPort,
    slot: &Port,
) -> Effects {
    // The number is the table's own, not a guest's.
    let Some(vcpu) = domain.vcpus().get(slot.vcpu.index()) else { return Effects::NONE };
    let (is_new, effects) = match &table.delivery {
        Delivery::TwoLevel => two_level::set_pending(hv, domain, port, vcpu),
        Delivery::Fifo(fifo) => fifo::set_pending(hv, domain, fifo, port, slot, vcpu),
    };
    if is_new && domain.events.pollers.load(Ordering::SeqCst) != 0 {
        return effects.and(wake_pollers(hv, domain, port));
    }
    effects
}

/// Ends the polls of this port. Masked ports count: that is what polling is for.
#[cold]
fn wake_pollers<P: Platform>(hv: &Hypervisor<P>, domain: &Domain, port: EvtchnPort) -> Effects {
    let mut effects = Effects::NONE;
    for vcpu in domain.vcpus() {
        let polled = vcpu.sched.poll();
        if polled == u32::MAX || (polled != 0 && polled == port.raw()) {
            effects = effects.and(hv.sched.unblock(hv, vcpu));
        }
    }
    effects
}

/// Tells a vCPU that something is pending: sets its upcall-pending byte and, if that was clear, ends its wait or interrupts it.
/// If it was set, whoever set it does so.
#[inline(always)]
pub fn mark_upcall<P: Platform>(hv: &Hypervisor<P>, vcpu: &Arc<Vcpu>) -> Effects {
    if set_upcall_pending(hv, vcpu) { Effects::NONE } else { hv.sched.notify(hv, vcpu) }
}

/// `EVTCHNOP_unmask`: takes the mask off a port, and delivers what is pending.
///
/// # Errors
/// `EINVAL` for a port that does not exist.
#[inline(always)]
pub fn unmask<P: Platform>(hv: &Hypervisor<P>, domain: &Domain, port: EvtchnPort) -> Result<Effects, Errno> {
    let table = domain.events.lock();
    let slot = table.get(port).ok_or(Errno::EINVAL)?;
    let vcpu = domain.vcpus().get(slot.vcpu.index()).ok_or(Errno::EINVAL)?;
    Ok(match &table.delivery {
        Delivery::TwoLevel => two_level::unmask(hv, domain, port, vcpu),
        Delivery::Fifo(fifo) => fifo::unmask(hv, domain, fifo, port, slot, vcpu),
    })
}

/// Whether a port is pending.
///
/// # Errors
/// `EINVAL` for a port that does not exist.
pub fn is_pending<P: Platform>(hv: &Hypervisor<P>, domain: &Domain, port: EvtchnPort) -> Result<bool, Errno> {
    let table = domain.events.lock();
    table.get(port).ok_or(Errno::EINVAL)?;
    Ok(match &table.delivery {
        Delivery::TwoLevel => two_level::is_pending(hv, domain, port),
        Delivery::Fifo(fifo) => fifo::is_pending(hv, fifo, port),
    })
}

/// Sends a virtual interrupt that each vCPU has for itself (`VIRQ_TIMER`, ...). Nothing happens when it is not bound.
pub fn send_vcpu_virq<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Arc<Domain>,
    vcpu: &Arc<Vcpu>,
    virq: u32,
) -> Effects {
    let table = domain.events.lock();
    let port = EvtchnPort::new(vcpu.events.virqs[virq as usize % VIRQS].load(Ordering::Relaxed));
    match table.get(port) {
        Some(slot) if matches!(slot.channel, Channel::Virq { virq: bound } if bound == virq) => {
            raise(hv, domain, &table, port, slot)
        }
        _ => Effects::NONE,
    }
}

/// Sends a virtual interrupt that a domain has once (`VIRQ_DOM_EXC`, `VIRQ_CONSOLE`, ...) to the control domain. Nothing happens
/// when it is not bound.
pub fn send_global_virq<P: Platform>(hv: &Hypervisor<P>, virq: u32) -> Effects {
    let Some(domain) = hv.domains.get(DomId::DOM0) else { return Effects::NONE };
    let Some(first) = domain.vcpus().first().cloned() else { return Effects::NONE };
    send_vcpu_virq(hv, &domain, &first, virq)
}
