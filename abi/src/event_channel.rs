//! `event_channel.h`: event channels, the interrupts of a guest.
//!
//! A port is free, unbound (waits for one domain), or bound: to a port of another domain, a virtual
//! interrupt, a physical interrupt, or an IPI of a vCPU. Two ways to see pending events: the two-level bitmap
//! in the shared page (4096 ports), or the FIFO, whose event words form one queue per vCPU and priority (2^17
//! ports).
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

use crate::Union;
use crate::xen::Domid;

/// A port of an event channel, `evtchn_port_t`. Zero is never valid.
pub type EvtchnPort = u32;

// Commands of `event_channel_op`; each takes the structure of the same name.
pub const EVTCHNOP_BIND_INTERDOMAIN: u32 = 0;
pub const EVTCHNOP_BIND_VIRQ: u32 = 1;
pub const EVTCHNOP_BIND_PIRQ: u32 = 2;
pub const EVTCHNOP_CLOSE: u32 = 3;
pub const EVTCHNOP_SEND: u32 = 4;
pub const EVTCHNOP_STATUS: u32 = 5;
pub const EVTCHNOP_ALLOC_UNBOUND: u32 = 6;
pub const EVTCHNOP_BIND_IPI: u32 = 7;
pub const EVTCHNOP_BIND_VCPU: u32 = 8;
pub const EVTCHNOP_UNMASK: u32 = 9;
pub const EVTCHNOP_RESET: u32 = 10;
pub const EVTCHNOP_INIT_CONTROL: u32 = 11;
pub const EVTCHNOP_EXPAND_ARRAY: u32 = 12;
pub const EVTCHNOP_SET_PRIORITY: u32 = 13;

structs! {
    /// `struct evtchn_alloc_unbound` (`EVTCHNOP_alloc_unbound`): Allocate a port in domain `dom` and mark as
    /// accepting interdomain bindings from domain `remote_dom`. A fresh port is allocated in `dom` and returned as
    /// `port`.
    pub struct EvtchnAllocUnbound {
        dom: Domid,
        remote_dom: Domid,
        port: EvtchnPort,
    }

    /// `struct evtchn_bind_interdomain` (`EVTCHNOP_bind_interdomain`): Construct an interdomain event channel
    /// between the calling domain and `remote_dom`. `remote_dom,remote_port` must identify a port that is unbound
    /// and marked as accepting bindings from the calling domain.
    pub struct EvtchnBindInterdomain {
        remote_dom: Domid,
        _pad0: [u8; 2],
        remote_port: EvtchnPort,
        local_port: EvtchnPort,
    }

    /// `struct evtchn_bind_virq` (`EVTCHNOP_bind_virq`): Bind a local event channel to VIRQ `irq` on specified vcpu.
    pub struct EvtchnBindVirq {
        /// `VIRQ_*`.
        virq: u32,
        vcpu: u32,
        port: EvtchnPort,
    }

    /// `struct evtchn_bind_pirq` (`EVTCHNOP_bind_pirq`): Bind a local event channel to a real IRQ (PIRQ `irq`).
    pub struct EvtchnBindPirq {
        pirq: u32,
        /// Takes `BIND_PIRQ__*` values.
        flags: u32,
        port: EvtchnPort,
    }
}

pub const BIND_PIRQ__WILL_SHARE: u32 = 1;

structs! {
    /// `struct evtchn_bind_ipi` (`EVTCHNOP_bind_ipi`): Bind a local event channel to receive events.
    pub struct EvtchnBindIpi {
        vcpu: u32,
        port: EvtchnPort,
    }

    /// `struct evtchn_close` (`EVTCHNOP_close`): Close a local event channel `port`. If the channel is interdomain
    /// then the remote end is placed in the unbound state (EVTCHNSTAT_unbound), awaiting a new connection.
    pub struct EvtchnClose {
        port: EvtchnPort,
    }

    /// `struct evtchn_send` (`EVTCHNOP_send`): Send an event to the remote end of the channel whose local endpoint
    /// is `port`.
    pub struct EvtchnSend {
        port: EvtchnPort,
    }

    /// Member `u.unbound` of [`EvtchnStatus`].
    pub struct EvtchnStatusUnbound {
        dom: Domid,
    }

    /// Member `u.interdomain` of [`EvtchnStatus`].
    pub struct EvtchnStatusInterdomain {
        dom: Domid,
        _pad0: [u8; 2],
        port: EvtchnPort,
    }

    /// `struct evtchn_status` (`EVTCHNOP_status`): Get the current status of the communication channel which has an
    /// endpoint at `dom, port`.
    pub struct EvtchnStatus {
        dom: Domid,
        _pad0: [u8; 2],
        port: EvtchnPort,
        status: u32,
        /// VCPU to which this channel is bound.
        vcpu: u32,
        u: Union<u32, 2>,
    }
}

union_accessors! {
    EvtchnStatus.u {
        as_unbound, set_unbound: EvtchnStatusUnbound,
        as_interdomain, set_interdomain: EvtchnStatusInterdomain,
        as_pirq, set_pirq: u32,
        as_virq, set_virq: u32,
    }
}

/// Channel is not in use.
pub const EVTCHNSTAT_CLOSED: u32 = 0;
/// Channel is waiting interdom connection.
pub const EVTCHNSTAT_UNBOUND: u32 = 1;
/// Channel is connected to remote domain.
pub const EVTCHNSTAT_INTERDOMAIN: u32 = 2;
/// Channel is bound to a phys IRQ line.
pub const EVTCHNSTAT_PIRQ: u32 = 3;
/// Channel is bound to a virtual IRQ line.
pub const EVTCHNSTAT_VIRQ: u32 = 4;
/// Channel is bound to a virtual IPI line.
pub const EVTCHNSTAT_IPI: u32 = 5;

structs! {
    /// `struct evtchn_bind_vcpu` (`EVTCHNOP_bind_vcpu`): Specify which vcpu a channel should notify when an event is
    /// pending.
    pub struct EvtchnBindVcpu {
        port: EvtchnPort,
        vcpu: u32,
    }

    /// `struct evtchn_unmask` (`EVTCHNOP_unmask`): Unmask the specified local event-channel port and deliver a
    /// notification to the appropriate VCPU if an event is pending.
    pub struct EvtchnUnmask {
        port: EvtchnPort,
    }

    /// `struct evtchn_reset` (`EVTCHNOP_reset`): Close all event channels associated with specified domain.
    pub struct EvtchnReset {
        dom: Domid,
    }

    /// `struct evtchn_init_control` (`EVTCHNOP_init_control`): Initialize the control block for the FIFO ABI.
    pub struct EvtchnInitControl {
        control_gfn: u64,
        offset: u32,
        vcpu: u32,
        link_bits: u8,
        _pad: [u8; 7],
    }

    /// `struct evtchn_expand_array` (`EVTCHNOP_expand_array`): Add an additional page to the event array.
    pub struct EvtchnExpandArray {
        array_gfn: u64,
    }

    /// `struct evtchn_set_priority` (`EVTCHNOP_set_priority`): Set the priority for an event channel.
    pub struct EvtchnSetPriority {
        port: EvtchnPort,
        priority: u32,
    }

    /// `struct evtchn_op`: Superceded by new event_channel_op() hypercall since 0x00030202.
    pub struct EvtchnOp {
        /// Enum event_channel_op.
        cmd: u32,
        u: Union<u32, 6>,
    }
}

union_accessors! {
    EvtchnOp.u {
        as_alloc_unbound, set_alloc_unbound: EvtchnAllocUnbound,
        as_bind_interdomain, set_bind_interdomain: EvtchnBindInterdomain,
        as_bind_virq, set_bind_virq: EvtchnBindVirq,
        as_bind_pirq, set_bind_pirq: EvtchnBindPirq,
        as_bind_ipi, set_bind_ipi: EvtchnBindIpi,
        as_close, set_close: EvtchnClose,
        as_send, set_send: EvtchnSend,
        as_status, set_status: EvtchnStatus,
        as_bind_vcpu, set_bind_vcpu: EvtchnBindVcpu,
        as_unmask, set_unmask: EvtchnUnmask,
    }
}

pub const EVTCHN_2L_NR_CHANNELS: usize = 0x1000;
/// Events may have priorities from 0 (highest) to 15 (lowest).
pub const EVTCHN_FIFO_PRIORITY_MAX: u32 = 0;
pub const EVTCHN_FIFO_PRIORITY_DEFAULT: u32 = 7;
pub const EVTCHN_FIFO_PRIORITY_MIN: u32 = 15;
pub const EVTCHN_FIFO_MAX_QUEUES: u32 = EVTCHN_FIFO_PRIORITY_MIN + 1;
pub const EVTCHN_FIFO_PENDING: u32 = 31;
pub const EVTCHN_FIFO_MASKED: u32 = 30;
pub const EVTCHN_FIFO_LINKED: u32 = 29;
pub const EVTCHN_FIFO_BUSY: u32 = 28;
pub const EVTCHN_FIFO_LINK_BITS: u32 = 17;
pub const EVTCHN_FIFO_LINK_MASK: u32 = (1 << EVTCHN_FIFO_LINK_BITS) - 1;
pub const EVTCHN_FIFO_NR_CHANNELS: usize = 1 << EVTCHN_FIFO_LINK_BITS;

structs! {
    /// `struct evtchn_fifo_control_block`: Per vCPU: which priorities have events, and the first event of each
    /// queue.
    pub struct EvtchnFifoControlBlock {
        ready: u32,
        _rsvd: u32,
        head: [u32; 16],
    }
}
