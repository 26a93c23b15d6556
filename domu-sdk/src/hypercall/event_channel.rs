//! `event_channel_op`. For channels that close themselves and can be awaited see [`crate::events`].

use super::{Result, input, op, output};
use crate::types::{DomId, Port};
use abi::{
    event_channel::{
        EVTCHNOP_ALLOC_UNBOUND, EVTCHNOP_BIND_INTERDOMAIN, EVTCHNOP_BIND_IPI, EVTCHNOP_BIND_PIRQ,
        EVTCHNOP_BIND_VCPU, EVTCHNOP_BIND_VIRQ, EVTCHNOP_CLOSE, EVTCHNOP_RESET, EVTCHNOP_SEND,
        EVTCHNOP_STATUS, EVTCHNOP_UNMASK, EvtchnAllocUnbound, EvtchnBindInterdomain, EvtchnBindIpi,
        EvtchnBindPirq, EvtchnBindVcpu, EvtchnBindVirq, EvtchnClose, EvtchnReset, EvtchnSend, EvtchnStatus,
        EvtchnUnmask,
    },
    xen::hypercall::EVENT_CHANNEL_OP,
};

/// Makes a port of `domain` (a control domain may name another) that `remote` may bind.
pub fn alloc_unbound(domain: DomId, remote: DomId) -> Result<Port> {
    let mut argument = EvtchnAllocUnbound { dom: domain.0, remote_dom: remote.0, ..Default::default() };
    op(EVENT_CHANNEL_OP, EVTCHNOP_ALLOC_UNBOUND, output(&mut argument))?;
    Ok(Port(argument.port))
}

/// Binds a new local port to an unbound port of `remote`.
pub fn bind_interdomain(remote: DomId, remote_port: Port) -> Result<Port> {
    let mut argument =
        EvtchnBindInterdomain { remote_dom: remote.0, remote_port: remote_port.0, ..Default::default() };
    op(EVENT_CHANNEL_OP, EVTCHNOP_BIND_INTERDOMAIN, output(&mut argument))?;
    Ok(Port(argument.local_port))
}

/// Binds a new port to a virtual interrupt (`VIRQ_*`) of a vCPU.
pub fn bind_virq(virq: u32, vcpu: u32) -> Result<Port> {
    let mut argument = EvtchnBindVirq { virq, vcpu, ..Default::default() };
    op(EVENT_CHANNEL_OP, EVTCHNOP_BIND_VIRQ, output(&mut argument))?;
    Ok(Port(argument.port))
}

/// Binds a new port to a physical interrupt; `share` if others may bind it, too.
pub fn bind_pirq(pirq: u32, share: bool) -> Result<Port> {
    let mut argument = EvtchnBindPirq { pirq, flags: u32::from(share), ..Default::default() };
    op(EVENT_CHANNEL_OP, EVTCHNOP_BIND_PIRQ, output(&mut argument))?;
    Ok(Port(argument.port))
}

/// Makes a port whose events this domain sends to one of its own vCPUs.
pub fn bind_ipi(vcpu: u32) -> Result<Port> {
    let mut argument = EvtchnBindIpi { vcpu, ..Default::default() };
    op(EVENT_CHANNEL_OP, EVTCHNOP_BIND_IPI, output(&mut argument))?;
    Ok(Port(argument.port))
}

/// Chooses the vCPU that is told about events of a port.
pub fn bind_vcpu(port: Port, vcpu: u32) -> Result {
    let argument = EvtchnBindVcpu { port: port.0, vcpu };
    op(EVENT_CHANNEL_OP, EVTCHNOP_BIND_VCPU, input(&argument)).map(|_| ())
}

/// Closes a port.
pub fn close(port: Port) -> Result {
    op(EVENT_CHANNEL_OP, EVTCHNOP_CLOSE, input(&EvtchnClose { port: port.0 })).map(|_| ())
}

/// Sends an event to the other end of a port.
pub fn send(port: Port) -> Result {
    op(EVENT_CHANNEL_OP, EVTCHNOP_SEND, input(&EvtchnSend { port: port.0 })).map(|_| ())
}

/// Clears a port's mask bit and delivers what is pending.
pub fn unmask(port: Port) -> Result {
    op(EVENT_CHANNEL_OP, EVTCHNOP_UNMASK, input(&EvtchnUnmask { port: port.0 })).map(|_| ())
}

/// What a port of `domain` is bound to.
pub fn status(domain: DomId, port: Port) -> Result<EvtchnStatus> {
    let mut argument = EvtchnStatus { dom: domain.0, port: port.0, ..Default::default() };
    op(EVENT_CHANNEL_OP, EVTCHNOP_STATUS, output(&mut argument))?;
    Ok(argument)
}

/// Closes all ports of a domain.
pub fn reset(domain: DomId) -> Result {
    op(EVENT_CHANNEL_OP, EVTCHNOP_RESET, input(&EvtchnReset { dom: domain.0 })).map(|_| ())
}
