//! Event channels, scheduling calls, and calls about vCPUs. With one vCPU, and with two.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use conformance::{Answer, Hex, area, at, bad, call, case, done, op, pages, row, shared};
use domu_sdk::abi::event_channel::*;
use domu_sdk::abi::sched::*;
use domu_sdk::abi::vcpu::*;
use domu_sdk::abi::xen::{DOMID_SELF, hypercall::*};

#[domu_sdk::main]
fn main() {
    area("events");
    if let Some(reason) = case().strip_prefix("shutdown-") {
        return shutdown(reason.parse().unwrap_or(0));
    }
    shared::set_mask(1);
    pointers();
    unbound();
    interdomain();
    virq();
    ipi();
    pirq();
    ports();
    scheduling();
    poll();
    vcpus();
    areas();
    second();
    fifo();
    many();
    shared::set_mask(0);
    done();
}

/// The end of the first domain, and so of the machine: the row `end` tells how.
fn shutdown(reason: u32) {
    row!("code", sched(SCHEDOP_SHUTDOWN_CODE, at(&SchedShutdown { reason })));
    row!("shutdown", sched(SCHEDOP_SHUTDOWN, at(&SchedShutdown { reason })));
    done();
}

fn event<T>(operation: u32, argument: &mut T) -> Answer {
    op(EVENT_CHANNEL_OP, operation, argument)
}

/// Status as text.
fn status(dom: u16, port: u32) -> String {
    let mut request = EvtchnStatus { dom, port, ..EvtchnStatus::default() };
    let answer = event(EVTCHNOP_STATUS, &mut request);
    if answer.0 != 0 {
        return format!("{answer}");
    }
    let other = request.as_interdomain();
    format!(
        "status {} vcpu {} {} {}",
        request.status,
        request.vcpu,
        other.dom,
        if request.status == 2 { 0 } else { other.port }
    )
}

fn close(port: u32) -> Answer {
    event(EVTCHNOP_CLOSE, &mut EvtchnClose { port })
}

fn send(port: u32) -> Answer {
    event(EVTCHNOP_SEND, &mut EvtchnSend { port })
}

/// Whether a port is pending in the two-level bitmap; takes it away.
fn pending(port: u32) -> Hex {
    let word = port as usize / 64;
    // SAFETY: the page is mapped; `evtchn_pending` follows 32 times 64 bytes of vcpu_info.
    unsafe {
        let at = shared::info().cast::<u64>().add(32 * 8 + word);
        let set = at.read_volatile() >> (port % 64) & 1;
        at.write_volatile(at.read_volatile() & !(1 << (port % 64)));
        Hex(set)
    }
}

fn set_port_mask(port: u32, on: bool) {
    // SAFETY: as above; `evtchn_mask` follows.
    unsafe {
        let at = shared::info().cast::<u64>().add(32 * 8 + 64 + port as usize / 64);
        let bit = 1 << (port % 64);
        at.write_volatile(if on { at.read_volatile() | bit } else { at.read_volatile() & !bit });
    }
}

fn upcall_pending() -> Hex {
    // SAFETY: the first byte of vcpu_info.
    unsafe {
        let at = shared::info().cast::<u8>();
        let value = at.read_volatile();
        at.write_volatile(0);
        Hex(value.into())
    }
}

fn pointers() {
    for operation in 0..=15_u64 {
        for (name, address) in bad::ALL {
            row!("op.{operation}.{name}", call(EVENT_CHANNEL_OP, [operation, address, 0, 0, 0]));
        }
    }
    row!("op.high-bits", call(EVENT_CHANNEL_OP, [1 << 32 | 5, 0, 0, 0, 0]));
    row!("op.negative", call(EVENT_CHANNEL_OP, [u64::MAX, 0, 0, 0, 0]));
}

fn unbound() {
    for (name, dom) in [
        ("self", DOMID_SELF),
        ("none", 0x6fff),
        ("idle", 0x7fff),
        ("xen", 0x7ff2),
        ("io", 0x7ff1),
        ("invalid", 0x7ff4),
        ("big", 0xffff),
    ] {
        for (remote_name, remote_dom) in [
            ("self", DOMID_SELF),
            ("zero", 0),
            ("none", 0x6fff),
            ("xen", 0x7ff2),
            ("invalid", 0x7ff4),
            ("big", 0xffff),
        ] {
            let mut request = EvtchnAllocUnbound { dom, remote_dom, ..EvtchnAllocUnbound::default() };
            let answer = event(EVTCHNOP_ALLOC_UNBOUND, &mut request);
            row!("unbound.{name}.{remote_name}", answer);
            if answer.0 == 0 {
                row!("unbound.{name}.{remote_name}.status", status(DOMID_SELF, request.port));
                row!("unbound.{name}.{remote_name}.send", send(request.port));
                row!("unbound.{name}.{remote_name}.close", close(request.port));
                row!("unbound.{name}.{remote_name}.close-again", close(request.port));
            }
        }
    }
}

fn bind(remote_dom: u16, remote_port: u32) -> (Answer, u32) {
    let mut request = EvtchnBindInterdomain { remote_dom, remote_port, ..EvtchnBindInterdomain::default() };
    (event(EVTCHNOP_BIND_INTERDOMAIN, &mut request), request.local_port)
}

fn alloc() -> u32 {
    let mut request =
        EvtchnAllocUnbound { dom: DOMID_SELF, remote_dom: DOMID_SELF, ..EvtchnAllocUnbound::default() };
    event(EVTCHNOP_ALLOC_UNBOUND, &mut request);
    request.port
}

fn interdomain() {
    let port = alloc();
    row!("first-port", Hex(port.into()));
    for (name, dom) in [("none", 0x6fff), ("xen", 0x7ff2), ("invalid", 0x7ff4), ("big", 0xffff)] {
        row!("bind.{name}", bind(dom, port).0);
    }
    for number in [0_u32, 4095, 4096, 0x1_0000, 0x2_0000, u32::MAX] {
        row!("bind.port.{number:#x}", bind(DOMID_SELF, number).0);
    }
    let (answer, local) = bind(DOMID_SELF, port);
    row!("bind", answer);
    row!("bind.local-is-other", Hex((local != port).into()));
    row!("bind.local.pending", pending(local));
    row!("bind.upcall", upcall_pending());
    row!("bind.status.remote", status(DOMID_SELF, port));
    row!("bind.status.local", status(DOMID_SELF, local));
    row!("bind.again", bind(DOMID_SELF, port).0);
    row!("send", send(local));
    row!("send.other.pending", pending(port));
    row!("send.own.pending", pending(local));
    row!("send.upcall", upcall_pending());
    // Masked: pending, but no upcall.
    set_port_mask(port, true);
    row!("masked.send", send(local));
    row!("masked.upcall", upcall_pending());
    row!("masked.unmask", event(EVTCHNOP_UNMASK, &mut EvtchnUnmask { port }));
    row!("masked.unmask.upcall", upcall_pending());
    row!("masked.pending", pending(port));
    row!("masked.unmask-again", event(EVTCHNOP_UNMASK, &mut EvtchnUnmask { port }));
    row!("masked.unmask-again.upcall", upcall_pending());
    row!("close.local", close(local));
    row!("close.remote-status", status(DOMID_SELF, port));
    row!("close.send", send(port));
    row!("close.rebind", bind(DOMID_SELF, port).0);
    row!("close.remote", close(port));
}

fn virq() {
    for number in 0..26_u32 {
        for vcpu in [0_u32, 1, 63, 8192, u32::MAX] {
            let mut request = EvtchnBindVirq { virq: number, vcpu, ..EvtchnBindVirq::default() };
            let answer = event(EVTCHNOP_BIND_VIRQ, &mut request);
            row!("virq.{number}.{vcpu:#x}", answer);
            if answer.0 == 0 {
                row!("virq.{number}.{vcpu:#x}.status", status(DOMID_SELF, request.port));
                row!("virq.{number}.{vcpu:#x}.send", send(request.port));
                let mut again = EvtchnBindVirq { virq: number, vcpu, ..EvtchnBindVirq::default() };
                row!("virq.{number}.{vcpu:#x}.again", event(EVTCHNOP_BIND_VIRQ, &mut again));
                row!(
                    "virq.{number}.{vcpu:#x}.move",
                    event(EVTCHNOP_BIND_VCPU, &mut EvtchnBindVcpu { port: request.port, vcpu: 0 })
                );
                row!("virq.{number}.{vcpu:#x}.close", close(request.port));
            }
        }
    }
    let mut request = EvtchnBindVirq { virq: u32::MAX, ..EvtchnBindVirq::default() };
    row!("virq.big", event(EVTCHNOP_BIND_VIRQ, &mut request));
}

fn ipi() {
    for vcpu in [0_u32, 1, 63, 8192, u32::MAX] {
        let mut request = EvtchnBindIpi { vcpu, ..EvtchnBindIpi::default() };
        let answer = event(EVTCHNOP_BIND_IPI, &mut request);
        row!("ipi.{vcpu:#x}", answer);
        if answer.0 == 0 {
            row!("ipi.{vcpu:#x}.status", status(DOMID_SELF, request.port));
            row!("ipi.{vcpu:#x}.send", send(request.port));
            row!("ipi.{vcpu:#x}.pending", pending(request.port));
            row!(
                "ipi.{vcpu:#x}.move",
                event(EVTCHNOP_BIND_VCPU, &mut EvtchnBindVcpu { port: request.port, vcpu: 0 })
            );
            row!("ipi.{vcpu:#x}.bind", bind(DOMID_SELF, request.port).0);
            row!("ipi.{vcpu:#x}.close", close(request.port));
        }
    }
    upcall_pending();
}

fn pirq() {
    for number in [0_u32, 1, 200, 0xffff, u32::MAX] {
        let mut request = EvtchnBindPirq { pirq: number, ..EvtchnBindPirq::default() };
        let answer = event(EVTCHNOP_BIND_PIRQ, &mut request);
        row!("pirq.{number:#x}", answer);
        if answer.0 == 0 {
            close(request.port);
        }
    }
}

/// Ports that are not there, for each operation that takes one.
fn ports() {
    let port = alloc();
    for number in [0_u32, port + 40, 4095, 4096, 0x1_0000, 0x2_0000, u32::MAX] {
        let name = if number == port + 40 { String::from("free") } else { format!("{number:#x}") };
        row!("port.{name}.close", close(number));
        row!("port.{name}.send", send(number));
        row!("port.{name}.status", status(DOMID_SELF, number));
        row!("port.{name}.unmask", event(EVTCHNOP_UNMASK, &mut EvtchnUnmask { port: number }));
        row!("port.{name}.vcpu", event(EVTCHNOP_BIND_VCPU, &mut EvtchnBindVcpu { port: number, vcpu: 0 }));
        row!(
            "port.{name}.priority",
            event(EVTCHNOP_SET_PRIORITY, &mut EvtchnSetPriority { port: number, priority: 7 })
        );
    }
    for vcpu in [0_u32, 1, 63, 8192, u32::MAX] {
        row!("vcpu.{vcpu:#x}", event(EVTCHNOP_BIND_VCPU, &mut EvtchnBindVcpu { port, vcpu }));
    }
    for priority in [0_u32, 15, 16, u32::MAX] {
        row!(
            "priority.{priority:#x}",
            event(EVTCHNOP_SET_PRIORITY, &mut EvtchnSetPriority { port, priority })
        );
    }
    for (name, dom) in [("none", 0x6fff_u16), ("xen", 0x7ff2), ("invalid", 0x7ff4), ("big", 0xffff)] {
        row!("status.{name}", status(dom, port));
        row!("reset.{name}", event(EVTCHNOP_RESET, &mut EvtchnReset { dom }));
    }
    row!("ports.close", close(port));
}

fn sched(operation: u32, argument: u64) -> Answer {
    call(SCHED_OP, [operation.into(), argument, 0, 0, 0])
}

fn scheduling() {
    for operation in [3_u32, 4, 6, 7, 8, 9, u32::MAX] {
        for (name, address) in bad::ALL {
            row!("sched.{operation}.{name}", sched(operation, address));
        }
    }
    row!("sched.shutdown.hole", sched(SCHEDOP_SHUTDOWN, bad::HOLE));
    row!("sched.shutdown.unmapped", sched(SCHEDOP_SHUTDOWN, bad::UNMAPPED));
    row!("sched.code.hole", sched(SCHEDOP_SHUTDOWN_CODE, bad::HOLE));
    row!("sched.yield", sched(SCHEDOP_YIELD, 0));
    row!("sched.high-bits", call(SCHED_OP, [1 << 32, 0, 0, 0, 0]));
    for (name, domain_id) in [("none", 0x6fff_u16), ("self", DOMID_SELF), ("xen", 0x7ff2), ("big", 0xffff)] {
        let request = SchedRemoteShutdown { domain_id, reason: 0, ..SchedRemoteShutdown::default() };
        row!("remote-shutdown.{name}", sched(SCHEDOP_REMOTE_SHUTDOWN, at(&request)));
    }
    for (name, id, timeout) in [
        ("start", 0_u32, 1000_u32),
        ("start-2", 0, 1000),
        ("start-3", 0, 1000),
        ("kick-1", 1, 1000),
        ("kick-2", 2, 1000),
        ("kick-3", 3, 1000),
        ("kick-big", u32::MAX, 5),
        ("stop-1", 1, 0),
        ("stop-1-again", 1, 0),
        ("stop-2", 2, 0),
    ] {
        row!("watchdog.{name}", sched(SCHEDOP_WATCHDOG, at(&SchedWatchdog { id, timeout })));
    }
    for pcpu in [-1_i32, 0, 1, 1000, i32::MIN, -1] {
        let name = if pcpu == -1 { "none" } else { "some" };
        let _ = name;
        let answer = sched(SCHEDOP_PIN_OVERRIDE, at(&SchedPinOverride { pcpu }));
        if pcpu != -1 {
            row!("pin.{pcpu}", answer);
        }
    }
    row!("pin.off", sched(SCHEDOP_PIN_OVERRIDE, at(&SchedPinOverride { pcpu: -1 })));
}

fn poll() {
    let now = 1_u64;
    let (first, second) = (alloc(), alloc());
    let list = [first, second];
    let run = |ports: u64, count: u32, timeout: u64| {
        let mut request = SchedPoll { nr_ports: count, timeout, ..SchedPoll::default() };
        request.ports = domu_sdk::abi::GuestPtr::new(ports);
        sched(SCHEDOP_POLL, at(&request))
    };
    row!("poll.past", run(at(&list), 2, now));
    row!("poll.none", run(0, 0, now));
    row!("poll.many", run(at(&list), 129, now));
    row!("poll.huge", run(at(&list), u32::MAX, now));
    for (name, address) in bad::ALL {
        row!("poll.ports.{name}", run(address, 1, now));
    }
    for port in [0_u32, 4095, 4096, u32::MAX] {
        row!("poll.port.{port:#x}", run(at(&[port]), 1, now));
    }
    // A port that is pending ends the poll at once.
    let (_, local) = bind(DOMID_SELF, first);
    set_port_mask(first, true);
    send(local);
    row!("poll.pending", run(at(&list), 2, 0));
    row!("poll.pending.still", pending(first));
    row!("poll.pending.close", format!("{} {} {}", close(local), close(first), close(second)));
    upcall_pending();
    row!("block.masked.pending", {
        // SAFETY: makes an upcall due, so that blocking ends at once.
        unsafe { shared::info().cast::<u8>().write_volatile(1) };
        let answer = sched(SCHEDOP_BLOCK, 0);
        // Blocking unmasks.
        format!("{answer} mask {}", shared::mask())
    });
    shared::set_mask(1);
    upcall_pending();
}

fn vcpu(operation: u32, id: u64, argument: u64) -> Answer {
    call(VCPU_OP, [operation.into(), id, argument, 0, 0])
}

fn vcpus() {
    for operation in 0..=15_u32 {
        for id in [1_u64, 2, 63, 8191, 8192, 1 << 31, 0xffff_ffff, 1 << 32 | 1] {
            if operation <= 2 && id == 1 {
                continue;
            }
            row!("vcpu-op.{operation}.{id:#x}", vcpu(operation, id, 0));
        }
        // Down would be the end; so would an NMI that nobody takes.
        if operation != VCPUOP_DOWN && operation != VCPUOP_SEND_NMI {
            for (name, address) in bad::ALL {
                row!("vcpu-op.{operation}.at.{name}", vcpu(operation, 0, address));
            }
        }
    }
    row!("vcpu.up", vcpu(VCPUOP_UP, 0, 0));
    row!("vcpu.is-up", vcpu(VCPUOP_IS_UP, 0, 0));
    row!("vcpu.high-bits", vcpu(VCPUOP_IS_UP, 1 << 32, 0));
    row!("vcpu.unknown", vcpu(99, 0, 0));
    for period in [0_u64, 1, 999_999, 1_000_000, 1 << 40, u64::MAX / 2, u64::MAX] {
        row!(
            "periodic.{period:#x}",
            vcpu(VCPUOP_SET_PERIODIC_TIMER, 0, at(&VcpuSetPeriodicTimer { period_ns: period }))
        );
    }
    row!("periodic.stop", vcpu(VCPUOP_STOP_PERIODIC_TIMER, 0, 0));
    for (name, timeout, flags) in [
        ("past", 1_u64, 0_u32),
        ("past-future", 1, 1),
        ("far", 1 << 50, 0),
        ("far-future", 1 << 50, 1),
        ("negative", u64::MAX, 0),
        ("negative-future", u64::MAX, 1),
        ("flags", 1 << 50, 2),
        ("all-flags", 1, u32::MAX),
    ] {
        let request =
            VcpuSetSingleshotTimer { timeout_abs_ns: timeout, flags, ..VcpuSetSingleshotTimer::default() };
        row!("single.{name}", vcpu(VCPUOP_SET_SINGLESHOT_TIMER, 0, at(&request)));
    }
    row!("single.stop", vcpu(VCPUOP_STOP_SINGLESHOT_TIMER, 0, 0));
    let physical = VcpuGetPhysid::default();
    row!("physical", vcpu(VCPUOP_GET_PHYSID, 0, at(&physical)));
    let state = VcpuRunstateInfo { state: 77, ..VcpuRunstateInfo::default() };
    row!("runstate", vcpu(VCPUOP_GET_RUNSTATE_INFO, 0, at(&state)));
    // SAFETY: the hypervisor wrote it.
    row!("runstate.state", Hex(unsafe { core::ptr::from_ref(&state.state).read_volatile() } as u64));
}

fn areas() {
    let page = pages::take(1);
    let address = pages::address(&page, 0);
    for (name, where_) in [("own", address), ("unaligned", address + 1), ("crossing", address + 4090)] {
        row!("runstate-area.{name}", vcpu(VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, 0, at(&where_)));
        row!("time-area.{name}", vcpu(VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA, 0, at(&where_)));
    }
    for (name, where_) in bad::ALL {
        row!("runstate-area.{name}", vcpu(VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, 0, at(&where_)));
        row!("time-area.{name}", vcpu(VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA, 0, at(&where_)));
    }
    for (name, mfn, offset) in [
        ("bad-frame", 0x10_0000_u64, 0_u32),
        ("no-frame", u64::MAX, 0),
        ("bad-offset", page.mfn(0).0, 4096),
        ("crossing", page.mfn(0).0, 4090),
        ("last", page.mfn(0).0, 4096 - 63),
        ("unaligned", page.mfn(0).0, 1),
        ("unaligned-4", page.mfn(0).0, 4),
    ] {
        let request = VcpuRegisterVcpuInfo { mfn, offset, ..VcpuRegisterVcpuInfo::default() };
        row!("vcpu-info.{name}", vcpu(VCPUOP_REGISTER_VCPU_INFO, 0, at(&request)));
    }
    row!("vcpu-info.page.read-only", pages::read_only(&page, 0));
    row!("vcpu-info.page.writable", pages::writable(&page, 0));
    core::mem::forget(page);
}

/// The second vCPU, where there is one.
fn second() {
    row!("second.is-up", vcpu(VCPUOP_IS_UP, 1, 0));
    row!("second.up", vcpu(VCPUOP_UP, 1, 0));
    row!("second.down", vcpu(VCPUOP_DOWN, 1, 0));
    for (name, address) in bad::ALL {
        row!("second.initialise.{name}", vcpu(VCPUOP_INITIALISE, 1, address));
    }
    let page = pages::take(2);
    // A context of zeros: no page table.
    row!("second.initialise.zeros", vcpu(VCPUOP_INITIALISE, 1, pages::address(&page, 0)));
    row!("second.up.after", vcpu(VCPUOP_UP, 1, 0));
    let state = VcpuRunstateInfo::default();
    row!("second.runstate", vcpu(VCPUOP_GET_RUNSTATE_INFO, 1, at(&state)));
    // SAFETY: the hypervisor wrote it.
    row!("second.runstate.state", Hex(unsafe { core::ptr::from_ref(&state.state).read_volatile() } as u64));
    row!(
        "second.timer",
        vcpu(VCPUOP_SET_PERIODIC_TIMER, 1, at(&VcpuSetPeriodicTimer { period_ns: 1 << 30 }))
    );
    row!("second.timer.stop", vcpu(VCPUOP_STOP_PERIODIC_TIMER, 1, 0));
    row!("second.nmi", vcpu(VCPUOP_SEND_NMI, 1, 0));
    let request = VcpuSetSingleshotTimer { timeout_abs_ns: 1 << 50, ..VcpuSetSingleshotTimer::default() };
    row!("second.single", vcpu(VCPUOP_SET_SINGLESHOT_TIMER, 1, at(&request)));
}

/// Last, because there is no way back from it.
fn fifo() {
    let page = pages::take(4);
    let control = page.mfn(0).0;
    for (name, gfn, offset, vcpu) in [
        ("bad-frame", 0x10_0000_u64, 0_u32, 0_u32),
        ("no-frame", u64::MAX, 0, 0),
        ("bad-offset", control, 4096, 0),
        ("late-offset", control, 4096 - 64, 0),
        ("unaligned", control, 1, 0),
        ("unaligned-4", control, 4, 0),
        ("no-vcpu", control, 0, 63),
    ] {
        let mut request =
            EvtchnInitControl { control_gfn: gfn, offset, vcpu, ..EvtchnInitControl::default() };
        row!("fifo.init.{name}", event(EVTCHNOP_INIT_CONTROL, &mut request));
        if request.link_bits != 0 {
            row!("fifo.init.{name}.link-bits", Hex(request.link_bits.into()));
        }
    }
    let mut expand = EvtchnExpandArray { array_gfn: page.mfn(1).0 };
    row!("fifo.expand.early", event(EVTCHNOP_EXPAND_ARRAY, &mut expand));
    let mut request =
        EvtchnInitControl { control_gfn: control, offset: 0, vcpu: 0, ..EvtchnInitControl::default() };
    row!("fifo.init", event(EVTCHNOP_INIT_CONTROL, &mut request));
    row!("fifo.init.link-bits", Hex(request.link_bits.into()));
    row!("fifo.init.again", event(EVTCHNOP_INIT_CONTROL, &mut request));
    for (name, gfn) in [("bad-frame", 0x10_0000_u64), ("no-frame", u64::MAX)] {
        row!("fifo.expand.{name}", event(EVTCHNOP_EXPAND_ARRAY, &mut EvtchnExpandArray { array_gfn: gfn }));
    }
    let mut expand = EvtchnExpandArray { array_gfn: page.mfn(1).0 };
    row!("fifo.expand", event(EVTCHNOP_EXPAND_ARRAY, &mut expand));
    row!("fifo.expand.same", event(EVTCHNOP_EXPAND_ARRAY, &mut expand));
    let port = alloc();
    let (_, local) = bind(DOMID_SELF, port);
    for priority in [0_u32, 3, 15, 16, u32::MAX] {
        row!(
            "fifo.priority.{priority:#x}",
            event(EVTCHNOP_SET_PRIORITY, &mut EvtchnSetPriority { port, priority })
        );
    }
    row!("fifo.send", send(local));
    row!("fifo.unmask", event(EVTCHNOP_UNMASK, &mut EvtchnUnmask { port }));
    for word in 0..4 {
        row!(
            "fifo.control.{word}",
            Hex(u64::from_le_bytes(page[8 * word..8 * word + 8].try_into().unwrap_or([0; 8])))
        );
    }
    row!("fifo.close", format!("{} {}", close(local), close(port)));
    // A port that is still in a queue is not given out again.
    let again = [alloc(), alloc(), alloc()];
    row!(
        "fifo.again",
        format!(
            "{} {} {}",
            again[0].wrapping_sub(port) as i32,
            again[1].wrapping_sub(port) as i32,
            again[2].wrapping_sub(port) as i32
        )
    );
    for port in again {
        close(port);
    }
    core::mem::forget(page);
}

/// Ports until there are no more of them; closed again.
fn many() {
    let mut last = 0;
    let mut count = 0_u64;
    let answer = loop {
        let mut request =
            EvtchnAllocUnbound { dom: DOMID_SELF, remote_dom: DOMID_SELF, ..EvtchnAllocUnbound::default() };
        let answer = event(EVTCHNOP_ALLOC_UNBOUND, &mut request);
        if answer.0 != 0 || count > 1500 {
            break answer;
        }
        last = request.port;
        count += 1;
    };
    row!("many.answer", answer);
    row!("many.count", Hex(count));
    for port in (last + 1).saturating_sub(count as u32)..=last {
        close(port);
    }
}
