//! Event channels: ports are what they are, and what is not valid is refused.

use crate::{Case, Outcome, hold, refused, step};
use conformance::Answer;
use conformance::space::{Frame, SELF, at, call, foreign, pin};
use domu_sdk::abi::GuestPtr;
use domu_sdk::abi::event_channel::*;
use domu_sdk::abi::sched::{SCHEDOP_POLL, SchedPoll};
use domu_sdk::abi::xen::hypercall::{EVENT_CHANNEL_OP, SCHED_OP};

/// The cases.
pub const CASES: &[Case] = &[
    ("xsa-107-poll-out-of-range", poll_out_of_range),
    ("xsa-317-ports-out-of-range", ports_out_of_range),
    ("xsa-342-ports-of-others", ports_of_others),
    ("xsa-188-control-blocks", control_blocks),
    ("xsa-343-close-and-send", close_and_send),
];

fn op<T>(command: u32, argument: &mut T) -> Answer {
    call(EVENT_CHANNEL_OP, [command.into(), at(argument), 0, 0, 0])
}

/// XSA-107, XSA-221: polling ports that do not exist.
fn poll_out_of_range() -> Outcome {
    for port in [4096_u32, 0x2_0000, 0x7fff_ffff, u32::MAX] {
        for count in [1, 2, 128, 129, u32::MAX] {
            let mut ports = [port; 130];
            let mut poll = SchedPoll {
                ports: GuestPtr::new(at(&mut ports)),
                nr_ports: count,
                timeout: 1,
                ..Default::default()
            };
            refused(
                call(SCHED_OP, [SCHEDOP_POLL.into(), at(&mut poll), 0, 0, 0]),
                "a poll of a port that does not exist",
            )?;
        }
    }
    let mut poll = SchedPoll {
        ports: GuestPtr::new(0xffff_8300_0000_0000),
        nr_ports: 1,
        timeout: 1,
        ..Default::default()
    };
    refused(call(SCHED_OP, [SCHEDOP_POLL.into(), at(&mut poll), 0, 0, 0]), "ports read from the hypervisor")
}

/// XSA-317, XSA-338: operations on ports beyond those that there are.
fn ports_out_of_range() -> Outcome {
    for port in [3000_u32, 4095, 4096, 0x1_ffff, 0x2_0000, 0x7fff_ffff, u32::MAX] {
        refused(op(EVTCHNOP_SEND, &mut EvtchnSend { port }), "an event for a port that does not exist")?;
        refused(op(EVTCHNOP_CLOSE, &mut EvtchnClose { port }), "a port that does not exist was closed")?;
        refused(
            op(EVTCHNOP_BIND_VCPU, &mut EvtchnBindVcpu { port, vcpu: 0 }),
            "a port that does not exist was bound",
        )?;
        let mut set = EvtchnSetPriority { port, priority: 3 };
        refused(op(EVTCHNOP_SET_PRIORITY, &mut set), "the priority of a port that does not exist")?;
    }
    for vcpu in [1000, 8192, u32::MAX] {
        refused(
            op(EVTCHNOP_BIND_IPI, &mut EvtchnBindIpi { vcpu, port: 0 }),
            "a port of a vCPU that does not exist",
        )?;
        for virq in [0, 1, 24, 1000, u32::MAX] {
            refused(
                op(EVTCHNOP_BIND_VIRQ, &mut EvtchnBindVirq { virq, vcpu, port: 0 }),
                "an interrupt of a vCPU that does not exist",
            )?;
        }
    }
    for virq in [24, 25, 64, 1 << 16, u32::MAX] {
        refused(
            op(EVTCHNOP_BIND_VIRQ, &mut EvtchnBindVirq { virq, vcpu: 0, port: 0 }),
            "an interrupt that does not exist",
        )?;
    }
    Ok(())
}

/// XSA-342, XSA-344: ports of other domains, which were not offered.
fn ports_of_others() -> Outcome {
    for domain in [1, 2, 0x1234, 0x7ff1, 0x7ff2, 0x7fff] {
        for port in [0, 1, 2, 3, 4095, u32::MAX] {
            let mut bind =
                EvtchnBindInterdomain { remote_dom: domain, remote_port: port, ..Default::default() };
            refused(op(EVTCHNOP_BIND_INTERDOMAIN, &mut bind), "a port that nobody offered")?;
        }
    }
    Ok(())
}

/// XSA-188: the control block of FIFO channels at a place that is not within a page, in a frame that is not the guest's, or twice.
fn control_blocks() -> Outcome {
    let (page, table) = (Frame::new(), Frame::table());
    step(pin(1, table.mfn), "pinning a table")?;
    let run = |control_gfn, offset, vcpu| {
        op(EVTCHNOP_INIT_CONTROL, &mut EvtchnInitControl { control_gfn, offset, vcpu, ..Default::default() })
    };
    for offset in [1, 4, 7, 4092, 4096, 0x7fff_fff8, u32::MAX] {
        refused(run(page.mfn, offset, 0), "a control block over the end of its page, or misaligned")?;
    }
    for offset in [4032, 4064, 4088] {
        refused(run(page.mfn, offset, 0), "a control block over the end of its page")?;
    }
    for mfn in [foreign(), table.mfn, 1 << 40, u64::MAX] {
        refused(run(mfn, 0, 0), "a control block in a frame that cannot be written")?;
        refused(
            op(EVTCHNOP_EXPAND_ARRAY, &mut EvtchnExpandArray { array_gfn: mfn }),
            "an array of events without control block",
        )?;
    }
    for vcpu in [1000, u32::MAX] {
        refused(run(page.mfn, 0, vcpu), "a control block of a vCPU that does not exist")?;
    }
    Ok(())
}

/// XSA-343, XSA-359: ports that are closed while they are used, many times over; none may be lost, none may stay.
fn close_and_send() -> Outcome {
    let mut first = None;
    for _ in 0..3000 {
        let mut allocate = EvtchnAllocUnbound { dom: SELF as u16, remote_dom: SELF as u16, port: 0 };
        step(op(EVTCHNOP_ALLOC_UNBOUND, &mut allocate), "a port")?;
        hold(*first.get_or_insert(allocate.port) == allocate.port, "a closed port is not free again")?;
        let mut bind = EvtchnBindInterdomain {
            remote_dom: SELF as u16,
            remote_port: allocate.port,
            ..Default::default()
        };
        step(op(EVTCHNOP_BIND_INTERDOMAIN, &mut bind), "the other end")?;
        step(op(EVTCHNOP_CLOSE, &mut EvtchnClose { port: allocate.port }), "closing one end")?;
        let answer = op(EVTCHNOP_SEND, &mut EvtchnSend { port: allocate.port });
        refused(answer, "an event for a closed port")?;
        step(op(EVTCHNOP_CLOSE, &mut EvtchnClose { port: bind.local_port }), "closing the other end")?;
    }
    Ok(())
}
