//! Event channels: the interrupts of a guest.
//!
//! # States
//! A port of a domain is one of the [`Channel`] variants. `Free → Unbound → Interdomain` and back; `Free → Virq | Ipi →
//! Free`. An interdomain channel has two ends that always agree: if port *a* of A says it is connected to port *b* of B, then
//! *b* of B says it is connected to *a* of A. Both change under both domains' locks.
//!
//! Ports come in buckets; once a bucket is there it stays until the domain is gone, so the number of valid ports only
//! grows. Port 0 is [`Channel::Reserved`] for ever.
//!
//! # Delivery
//! An event is one bit: pending. How a guest sees it is the domain's choice, made once: bits in the shared page
//! ([`two_level`]), or words in pages of its own that are linked into queues ([`fifo`]). In both, an event that becomes pending and
//! is not masked marks the port's vCPU ([`mark_upcall`]), which ends the vCPU's wait or interrupts it.
//!
//! Guests write all of this memory at any time. Every access is a single atomic one, every loop over it bounded, and no
//! index from it is used unchecked.
//!
//! # Locks
//! [`Events::table`], rank "events". Two tables are locked in the order of domain numbers. Sending locks one at a time: it reads
//! the sender's channel, lets go, locks the receiver's table, and sends only if the receiver's channel still names the sender's
//! port; by the rule above this is the same as holding both.

use crate::sync::atomic::{AtomicU32, AtomicU64};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::sync::{Mutex, MutexGuard};

use crate::Hypervisor;
use crate::addr::{DomId, EvtchnPort, VcpuId};
use crate::domain::Domain;
use crate::fail::Errno;
use crate::platform::Platform;
use crate::speculation;

mod close;
mod deliver;
mod fifo;
mod ops;
#[cfg(test)]
mod tests;
mod two_level;

pub use close::{close, close_all, held_frames, reset};
pub use deliver::{is_pending, mark_upcall, notify_port, send, send_global_virq, send_vcpu_virq, unmask};
pub use fifo::{LINK_BITS, expand_array, init_control, set_priority};
pub(crate) use ops::poll_ended;
pub use ops::{
    Status, alloc_unbound, bind_interdomain, bind_ipi, bind_pirq, bind_vcpu, bind_virq, info_moved, poll,
    status,
};

/// Ports in a bucket.
const BUCKET: usize = 128;
/// Number of virtual interrupts (`NR_VIRQS`).
pub const VIRQS: usize = abi::xen::NR_VIRQS as usize;
/// Ports that the bits in the shared page have room for.
pub const TWO_LEVEL_PORTS: u32 = abi::event_channel::EVTCHN_2L_NR_CHANNELS as u32;
/// Ports that event words have room for.
pub const FIFO_PORTS: u32 = abi::event_channel::EVTCHN_FIFO_NR_CHANNELS as u32;

/// Closed ports in queues that are passed over when a free one is looked for; a guest that leaves more of them there gets none.
const MOST_QUEUED: u32 = 1024;

/// Highest port that there can be.
pub const MAX_PORT: u32 = FIFO_PORTS - 1;

/// What a port is connected to.
#[derive(Clone)]
pub enum Channel {
    /// Nothing; may be given out.
    Free,
    /// Nothing, and never given out.
    Reserved,
    /// Waits for a domain to bind to it.
    Unbound {
        /// The domain that may.
        remote: DomId,
    },
    /// A port of a domain (possibly the same).
    Interdomain {
        /// The other domain. The reference goes when either end is closed, at the latest when a domain dies.
        peer: Arc<Domain>,
        /// Its port.
        port: EvtchnPort,
    },
    /// A virtual interrupt.
    Virq {
        /// Which (`VIRQ_*`).
        virq: u32,
    },
    /// Its own domain's vCPUs.
    Ipi,
    /// A physical interrupt.
    Pirq {
        /// Which.
        pirq: u32,
    },
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Channel::Free => f.write_str("free"),
            Channel::Reserved => f.write_str("reserved"),
            Channel::Unbound { remote } => write!(f, "unbound for {remote}"),
            Channel::Interdomain { peer, port } => write!(f, "connected to {} {port}", peer.id),
            Channel::Virq { virq } => write!(f, "virq {virq}"),
            Channel::Ipi => f.write_str("ipi"),
            Channel::Pirq { pirq } => write!(f, "pirq {pirq}"),
        }
    }
}

/// A port.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) channel: Channel,
    /// The vCPU that gets its events.
    pub(crate) vcpu: VcpuId,
    pub(crate) fifo: fifo::PortState,
}

impl Port {
    const fn free() -> Port {
        Port { channel: Channel::Free, vcpu: VcpuId::new(0), fifo: fifo::PortState::new() }
    }
}

/// How a domain sees its events.
#[derive(Debug, Default)]
pub(crate) enum Delivery {
    /// Bits in the shared page.
    #[default]
    TwoLevel,
    /// Event words in pages of the guest's.
    Fifo(fifo::Fifo),
}

/// A domain's ports. Under the lock of [`Events`].
#[derive(Debug, Default)]
pub(crate) struct Table {
    buckets: Vec<Box<[Port; BUCKET]>>,
    pub(crate) delivery: Delivery,
    /// No port below this is free.
    first_free: u32,
    /// Where closing all goes on.
    closing: u32,
    /// Set when the domain dies: nothing is bound any more.
    closed: bool,
}

impl Table {
    /// Number of ports that exist.
    pub(crate) fn valid_ports(&self) -> u32 {
        (self.buckets.len() * BUCKET) as u32
    }

    /// A port that exists.
    #[inline(always)]
    pub(crate) fn get(&self, port: EvtchnPort) -> Option<&Port> {
        speculation::get(&self.buckets, port.index() / BUCKET).map(|bucket| &bucket[port.index() % BUCKET])
    }

    #[inline(always)]
    pub(crate) fn get_mut(&mut self, port: EvtchnPort) -> Option<&mut Port> {
        speculation::get_mut(&mut self.buckets, port.index() / BUCKET)
            .map(|bucket| &mut bucket[port.index() % BUCKET])
    }

    /// The lowest free port, which the caller binds under the same lock. A closed port that the guest still has in a queue is not
    /// free until it took it out: the event of the new owner would be lost.
    ///
    /// # Errors
    /// `ENOSPC` when all up to `max` are in use, `ENOMEM`, `EINVAL` when the domain is dying.
    pub(crate) fn find_free<P: Platform>(
        &mut self,
        hv: &Hypervisor<P>,
        max: u32,
    ) -> Result<EvtchnPort, Errno> {
        if self.closed {
            return Err(Errno::EINVAL);
        }
        let max = max.min(match self.delivery {
            Delivery::TwoLevel => TWO_LEVEL_PORTS,
            Delivery::Fifo(_) => FIFO_PORTS,
        });
        let mut number = self.first_free;
        let mut queued = 0;
        while number < max && queued < MOST_QUEUED {
            let port = EvtchnPort::new(number);
            match self.get(port) {
                Some(Port { channel: Channel::Free, .. }) => {
                    if !self.is_queued(hv, port) {
                        return Ok(port);
                    }
                    number += 1;
                    queued += 1;
                }
                Some(_) => {
                    self.first_free += u32::from(self.first_free == number);
                    number += 1;
                }
                None => self.grow()?,
            }
        }
        Err(Errno::ENOSPC)
    }

    /// Whether a port is free, and may be bound.
    pub(crate) fn is_free(&self, port: EvtchnPort) -> bool {
        !self.closed && matches!(self.get(port), Some(Port { channel: Channel::Free, .. }))
    }

    /// Whether the guest has the port in a queue.
    fn is_queued<P: Platform>(&self, hv: &Hypervisor<P>, port: EvtchnPort) -> bool {
        match &self.delivery {
            Delivery::TwoLevel => false,
            Delivery::Fifo(fifo) => fifo::is_linked(hv, fifo, port),
        }
    }

    fn grow(&mut self) -> Result<(), Errno> {
        let mut ports = Vec::new();
        ports.try_reserve_exact(BUCKET).map_err(|_| Errno::ENOMEM)?;
        ports.resize(BUCKET, Port::free());
        if self.buckets.is_empty() {
            ports[0].channel = Channel::Reserved;
        }
        let bucket = ports.into_boxed_slice().try_into().map_err(|_| Errno::ENOMEM)?;
        self.buckets.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.buckets.push(bucket);
        Ok(())
    }

    /// Binds a port that is free; the caller holds the lock since [`Table::find_free`].
    pub(crate) fn bind(&mut self, port: EvtchnPort, channel: Channel, vcpu: VcpuId) {
        if let Some(slot) = self.get_mut(port) {
            *slot = Port { channel, vcpu, fifo: slot.fifo.reborn() };
        }
    }

    /// Makes a port free.
    fn release(&mut self, port: EvtchnPort) {
        if let Some(slot) = self.get_mut(port) {
            *slot = Port { channel: Channel::Free, vcpu: VcpuId::new(0), fifo: slot.fifo.reborn() };
            self.first_free = self.first_free.min(port.raw());
        }
    }
}

/// A domain's event channels.
#[derive(Debug)]
pub struct Events {
    table: Mutex<Table>,
    /// Ports that it may have, port 0 included.
    max_ports: u32,
    /// How many of its vCPUs poll.
    pollers: AtomicU32,
}

impl Default for Events {
    fn default() -> Self {
        Events::new(MAX_PORT)
    }
}

impl Events {
    #[inline(always)]
    pub(crate) fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock()
    }

    /// For a domain whose highest port may be `max_port` (`max_evtchn_port` of `XEN_DOMCTL_createdomain`).
    pub fn new(max_port: u32) -> Events {
        Events {
            table: Mutex::new(Table::default()),
            max_ports: max_port.min(MAX_PORT) + 1,
            pollers: AtomicU32::new(0),
        }
    }

    pub(crate) fn max_ports(&self) -> u32 {
        self.max_ports
    }
}

/// A vCPU's part.
#[derive(Debug)]
pub struct VcpuEvents {
    /// The ports that virtual interrupts are bound to; 0 is none. Written under the table's lock.
    virqs: [AtomicU32; VIRQS],
    /// Machine address of its FIFO control block; `u64::MAX` is none.
    control: AtomicU64,
    /// Last event of each FIFO queue; 0 is none. Used under the table's lock.
    tails: [AtomicU32; fifo::QUEUES],
}

impl Default for VcpuEvents {
    fn default() -> Self {
        VcpuEvents {
            virqs: [const { AtomicU32::new(0) }; VIRQS],
            control: AtomicU64::new(u64::MAX),
            tails: [const { AtomicU32::new(0) }; fifo::QUEUES],
        }
    }
}

/// The tables of two different domains, locked in the order of their numbers: first `a`'s, then `b`'s.
pub(crate) fn lock_both<'d>(a: &'d Domain, b: &'d Domain) -> (MutexGuard<'d, Table>, MutexGuard<'d, Table>) {
    if a.id < b.id {
        let first = a.events.lock();
        (first, b.events.lock())
    } else {
        let second = b.events.lock();
        (a.events.lock(), second)
    }
}
