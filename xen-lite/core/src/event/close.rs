//! Closing ports: one, or all of a domain.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use super::{Channel, Delivery, Table, fifo, lock_both, two_level};
use crate::Hypervisor;
use crate::addr::{EvtchnPort, MachineAddr, Mfn};
use crate::domain::Domain;
use crate::fail::{Errno, Fail};
use crate::frame::put_page_type;
use crate::platform::Platform;

/// Ports that are looked at between two looks for interrupts.
const BATCH: u32 = 64;

/// `EVTCHNOP_close`: closes a port. The other end of a connection waits for the domain again.
///
/// # Errors
/// `EINVAL` for a port that does not exist or is not bound.
pub fn close<P: Platform>(hv: &Hypervisor<P>, domain: &Arc<Domain>, port: EvtchnPort) -> Result<(), Errno> {
    loop {
        let mut table = domain.events.lock();
        let peer = match &table.get(port).ok_or(Errno::EINVAL)?.channel {
            Channel::Free | Channel::Reserved => return Err(Errno::EINVAL),
            Channel::Interdomain { peer, port: theirs } => (peer.clone(), *theirs),
            _ => {
                close_single(hv, domain, &mut table, port);
                return Ok(());
            }
        };
        if Arc::ptr_eq(&peer.0, domain) {
            disconnect(&mut table, peer.1, domain, port);
            close_single(hv, domain, &mut table, port);
            return Ok(());
        }
        drop(table);
        if close_pair(hv, domain, port, &peer.0, peer.1) {
            return Ok(());
        }
        // The connection changed between the two looks. Each round means that somebody else got on.
    }
}

/// Closes a connection between two domains; `false` when it is not there any more.
fn close_pair<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Arc<Domain>,
    port: EvtchnPort,
    peer: &Arc<Domain>,
    peer_port: EvtchnPort,
) -> bool {
    let (mut mine, mut theirs) = lock_both(domain, peer);
    let same = mine.get(port).is_some_and(|slot| {
        matches!(&slot.channel, Channel::Interdomain { peer: now, port } if Arc::ptr_eq(now, peer) && *port == peer_port)
    });
    if same {
        disconnect(&mut theirs, peer_port, domain, port);
        close_single(hv, domain, &mut mine, port);
    }
    same
}

/// The remote end of `domain`'s `port` waits for it again.
fn disconnect(table: &mut Table, remote_port: EvtchnPort, domain: &Arc<Domain>, port: EvtchnPort) {
    let Some(slot) = table.get_mut(remote_port) else { return };
    let agrees = matches!(&slot.channel, Channel::Interdomain { peer, port: back } if Arc::ptr_eq(peer, domain) && *back == port);
    debug_assert!(agrees, "the two ends of a channel disagree");
    if agrees {
        slot.channel = Channel::Unbound { remote: domain.id };
    }
}

/// Frees a port, its other end (if any) having been seen to.
fn close_single<P: Platform>(hv: &Hypervisor<P>, domain: &Domain, table: &mut Table, port: EvtchnPort) {
    let Some(slot) = table.get(port) else { return };
    if let Channel::Virq { virq } = slot.channel {
        for vcpu in domain.vcpus() {
            let bound = &vcpu.events.virqs[virq as usize % super::VIRQS];
            let _ = bound.compare_exchange(port.raw(), 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
    match &table.delivery {
        Delivery::TwoLevel => two_level::clear_pending(hv, domain, port),
        Delivery::Fifo(fifo) => fifo::clear_pending(hv, fifo, port),
    }
    table.release(port);
}

/// Closes all ports of a dying domain, for good, and lets go of the frames by which it sees events: the event array, control blocks,
/// and where its vCPUs registered their `vcpu_info`. Its vCPUs are descheduled.
///
/// # Errors
/// [`Fail::Again`] when an interrupt waits: call again.
pub fn close_all<P: Platform>(hv: &Hypervisor<P>, domain: &Arc<Domain>) -> Result<(), Fail> {
    domain.events.lock().closed = true;
    close_each(hv, domain)?;
    give_back_frames(hv, domain);
    for vcpu in domain.vcpus() {
        // Others may be about to mark an upcall there, with the table locked: not any more once it was locked again.
        let info = vcpu.info();
        vcpu.set_info(None);
        drop(domain.events.lock());
        if let Some(frame) = info.map(MachineAddr::mfn).filter(|frame| *frame != domain.shared_info) {
            put_page_type(hv, frame);
        }
    }
    Ok(())
}

/// `EVTCHNOP_reset`: closes all ports. When the domain does it itself (`own`), it returns to bits too.
///
/// # Errors
/// As [`close_all`].
pub fn reset<P: Platform>(hv: &Hypervisor<P>, domain: &Arc<Domain>, own: bool) -> Result<(), Fail> {
    close_each(hv, domain)?;
    if own {
        give_back_frames(hv, domain);
    }
    Ok(())
}

fn close_each<P: Platform>(hv: &Hypervisor<P>, domain: &Arc<Domain>) -> Result<(), Fail> {
    loop {
        let number = {
            let mut table = domain.events.lock();
            if table.closing >= table.valid_ports() {
                table.closing = 0;
                return Ok(());
            }
            table.closing += 1;
            table.closing - 1
        };
        // Ports that are not bound answer EINVAL, which is fine.
        let _ = close(hv, domain, EvtchnPort::new(number));
        if number % BATCH == BATCH - 1 && hv.platform.interrupt_pending() {
            return Err(Fail::Again);
        }
    }
}

fn give_back_frames<P: Platform>(hv: &Hypervisor<P>, domain: &Domain) {
    let (array, blocks) = fifo::dismantle(domain, &mut domain.events.lock());
    let blocks = blocks.into_iter().filter(|frame| *frame != Mfn::INVALID);
    array.into_iter().chain(blocks).for_each(|frame| put_page_type(hv, frame));
}

/// For audits: the frames that a domain's events hold, each by one typed reference per mention.
pub fn held_frames(domain: &Domain) -> Vec<Mfn> {
    let table = domain.events.lock();
    let mut frames = match &table.delivery {
        Delivery::TwoLevel => Vec::new(),
        Delivery::Fifo(fifo) => fifo.pages().to_vec(),
    };
    for vcpu in domain.vcpus() {
        frames.extend(fifo::control_frame(vcpu));
        frames.extend(vcpu.info().map(MachineAddr::mfn).filter(|frame| *frame != domain.shared_info));
    }
    frames
}
