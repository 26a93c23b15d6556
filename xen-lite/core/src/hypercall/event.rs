//! `event_channel_op` (event_channel.h).

use abi::event_channel::*;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::coverage::{Sub, full, refused};
use super::guest::{read_one, write_one};
use super::{Args, Caller};
use crate::Hypervisor;
use crate::access::self_or_control;
use crate::addr::{DomId, EvtchnPort, Mfn, VcpuId};
use crate::effects::{Done, Effects};
use crate::event::{self, Channel};
use crate::fail::{Errno, Fail};
use crate::platform::Platform;

/// Sub-operations.
pub const SUBS: &[Sub] = &[
    full(EVTCHNOP_BIND_INTERDOMAIN, "EVTCHNOP_bind_interdomain"),
    full(EVTCHNOP_BIND_VIRQ, "EVTCHNOP_bind_virq"),
    refused(
        EVTCHNOP_BIND_PIRQ,
        "EVTCHNOP_bind_pirq",
        "EINVAL: no physical interrupt is given to domains yet",
    ),
    full(EVTCHNOP_CLOSE, "EVTCHNOP_close"),
    full(EVTCHNOP_SEND, "EVTCHNOP_send"),
    full(EVTCHNOP_STATUS, "EVTCHNOP_status"),
    full(EVTCHNOP_ALLOC_UNBOUND, "EVTCHNOP_alloc_unbound"),
    full(EVTCHNOP_BIND_IPI, "EVTCHNOP_bind_ipi"),
    full(EVTCHNOP_BIND_VCPU, "EVTCHNOP_bind_vcpu"),
    full(EVTCHNOP_UNMASK, "EVTCHNOP_unmask"),
    full(EVTCHNOP_RESET, "EVTCHNOP_reset"),
    full(EVTCHNOP_INIT_CONTROL, "EVTCHNOP_init_control"),
    full(EVTCHNOP_EXPAND_ARRAY, "EVTCHNOP_expand_array"),
    full(EVTCHNOP_SET_PRIORITY, "EVTCHNOP_set_priority"),
];

/// `event_channel_op`: command, pointer to its structure.
#[inline(always)]
pub fn event_channel_op<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    if args[0] as u32 == EVTCHNOP_SEND {
        let op: EvtchnSend = read_one(hv, args[1])?;
        return Ok(Done::with(event::send(hv, caller.domain, EvtchnPort::new(op.port))?));
    }
    if args[0] as u32 == EVTCHNOP_UNMASK {
        let op: EvtchnUnmask = read_one(hv, args[1])?;
        return Ok(Done::with(event::unmask(hv, caller.domain, EvtchnPort::new(op.port))?));
    }
    others(hv, caller, args[0] as u32, args[1])
}

/// The older form: one structure with command and arguments.
pub fn event_channel_op_compat<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    let command: u32 = read_one(hv, args[0])?;
    if command > EVTCHNOP_UNMASK {
        return Err(Errno::ENOSYS.into());
    }
    let at = args[0].checked_add(core::mem::offset_of!(EvtchnOp, u) as u64).ok_or(Errno::EFAULT)?;
    event_channel_op(hv, caller, &mut [command.into(), at, 0, 0, 0, 0])
}

/// Numbers of physical interrupts that there could be, for the first domain and for others.
const NR_PIRQS: u32 = 256;
const NR_PIRQS_OF_GUESTS: u32 = 56;

/// All but the frequent ones, which need few registers.
#[inline(never)]
fn others<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, command: u32, at: u64) -> Result<Done, Fail> {
    let domain = caller.domain;
    let port = |port| EvtchnPort::new(port);
    let effects = match command {
        EVTCHNOP_ALLOC_UNBOUND => return alloc_unbound(hv, caller, at),
        EVTCHNOP_BIND_INTERDOMAIN => return bind_interdomain(hv, caller, at),
        EVTCHNOP_BIND_VIRQ => {
            let mut op: EvtchnBindVirq = read_one(hv, at)?;
            op.port = event::bind_virq(hv, domain, op.virq, VcpuId::new(op.vcpu))?.raw();
            return give_port(hv, caller, at, &op, op.port, Effects::NONE);
        }
        EVTCHNOP_BIND_IPI => {
            let mut op: EvtchnBindIpi = read_one(hv, at)?;
            op.port = event::bind_ipi(hv, domain, VcpuId::new(op.vcpu))?.raw();
            return give_port(hv, caller, at, &op, op.port, Effects::NONE);
        }
        EVTCHNOP_BIND_PIRQ => {
            let op: EvtchnBindPirq = read_one(hv, at)?;
            // No physical interrupt is any domain's.
            let numbers = if domain.id == DomId::DOM0 { NR_PIRQS } else { NR_PIRQS_OF_GUESTS };
            let errno = if op.pirq < numbers { Errno::EPERM } else { Errno::EINVAL };
            return Err(errno.into());
        }
        EVTCHNOP_CLOSE => {
            let op: EvtchnClose = read_one(hv, at)?;
            event::close(hv, domain, port(op.port)).map(|()| Effects::NONE)?
        }
        EVTCHNOP_STATUS => return status(hv, caller, at),
        EVTCHNOP_BIND_VCPU => {
            let op: EvtchnBindVcpu = read_one(hv, at)?;
            event::bind_vcpu(domain, port(op.port), VcpuId::new(op.vcpu)).map(|()| Effects::NONE)?
        }
        EVTCHNOP_RESET => {
            let op: EvtchnReset = read_one(hv, at)?;
            let target = self_or_control(hv, caller, DomId::new(op.dom))?;
            event::reset(hv, &target, target.id == domain.id).map(|()| Effects::NONE)?
        }
        EVTCHNOP_INIT_CONTROL => return init_control(hv, caller, at),
        EVTCHNOP_EXPAND_ARRAY => {
            let op: EvtchnExpandArray = read_one(hv, at)?;
            event::expand_array(hv, domain, Mfn::new(op.array_gfn))?
        }
        EVTCHNOP_SET_PRIORITY => {
            let op: EvtchnSetPriority = read_one(hv, at)?;
            event::set_priority(domain, port(op.port), op.priority).map(|()| Effects::NONE)?
        }
        _ => return Err(Errno::ENOSYS.into()),
    };
    Ok(Done::with(effects))
}

/// Tells the caller the port that it got; if that is not possible, the port is closed again.
fn give_port<P: Platform, T: FromBytes + IntoBytes + Immutable>(
    hv: &Hypervisor<P>,
    caller: &Caller<'_>,
    at: u64,
    op: &T,
    port: u32,
    effects: Effects,
) -> Result<Done, Fail> {
    write_one(hv, at, op).map(|()| Done::with(effects)).map_err(|errno| {
        let _ = event::close(hv, caller.domain, EvtchnPort::new(port));
        errno.into()
    })
}

fn alloc_unbound<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, at: u64) -> Result<Done, Fail> {
    let mut op: EvtchnAllocUnbound = read_one(hv, at)?;
    let target = self_or_control(hv, caller, DomId::new(op.dom))?;
    let remote = match DomId::new(op.remote_dom) {
        DomId::SELF => caller.domain.id,
        other => other,
    };
    let port = event::alloc_unbound(hv, &target, remote)?;
    op.port = port.raw();
    write_one(hv, at, &op).map(|()| Done::OK).map_err(|errno| {
        let _ = event::close(hv, &target, port);
        errno.into()
    })
}

fn bind_interdomain<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, at: u64) -> Result<Done, Fail> {
    let mut op: EvtchnBindInterdomain = read_one(hv, at)?;
    let remote = match DomId::new(op.remote_dom) {
        DomId::SELF => caller.domain.clone(),
        id if id == caller.domain.id => caller.domain.clone(),
        id => hv.domains.get(id).ok_or(Errno::ESRCH)?,
    };
    let (port, effects) =
        event::bind_interdomain(hv, caller.domain, &remote, EvtchnPort::new(op.remote_port))?;
    op.local_port = port.raw();
    give_port(hv, caller, at, &op, op.local_port, effects)
}

fn status<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, at: u64) -> Result<Done, Fail> {
    let asked: EvtchnStatus = read_one(hv, at)?;
    let target = self_or_control(hv, caller, DomId::new(asked.dom))?;
    let found = event::status(&target, EvtchnPort::new(asked.port))?;
    let mut op = EvtchnStatus { dom: asked.dom, port: asked.port, ..EvtchnStatus::default() };
    op.vcpu = found.vcpu.raw();
    op.status = match found.channel {
        Channel::Free | Channel::Reserved => EVTCHNSTAT_CLOSED,
        Channel::Unbound { remote } => {
            op.set_unbound(EvtchnStatusUnbound { dom: remote.raw() });
            EVTCHNSTAT_UNBOUND
        }
        Channel::Interdomain { peer, port } => {
            let (dom, port) = (peer.id.raw(), port.raw());
            op.set_interdomain(EvtchnStatusInterdomain { dom, port, ..Default::default() });
            EVTCHNSTAT_INTERDOMAIN
        }
        Channel::Virq { virq } => {
            op.set_virq(virq);
            EVTCHNSTAT_VIRQ
        }
        Channel::Ipi => EVTCHNSTAT_IPI,
        Channel::Pirq { pirq } => {
            op.set_pirq(pirq);
            EVTCHNSTAT_PIRQ
        }
    };
    write_one(hv, at, &op)?;
    Ok(Done::OK)
}

fn init_control<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, at: u64) -> Result<Done, Fail> {
    let mut op: EvtchnInitControl = read_one(hv, at)?;
    let vcpu = caller.domain.vcpu(VcpuId::new(op.vcpu)).ok_or(Errno::ENOENT)?;
    op.link_bits = event::LINK_BITS;
    event::init_control(hv, caller.domain, vcpu, Mfn::new(op.control_gfn), op.offset)?;
    // There is no way back from here, so an answer that cannot be written is only told.
    write_one(hv, at, &op)?;
    Ok(Done::OK)
}
