//! Several vCPUs: brought up and down, interrupted, watched from each other, with stale translations flushed.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use conformance::space::{Frame, SELF, extended};
use conformance::workers::{self, Slot, Worker, read_word, relax, until, vcpu_op, write_word};
use conformance::{Answer, Hex, area, at, bad, call, case, done, fresh, op, pages, row, shared};
use core::sync::atomic::Ordering::SeqCst;
use domu_sdk::abi::GuestPtr;
use domu_sdk::abi::event_channel::*;
use domu_sdk::abi::sched::*;
use domu_sdk::abi::vcpu::*;
use domu_sdk::abi::xen::hypercall::*;
use domu_sdk::abi::xen::*;
use domu_sdk::memory::layout::pte;

#[domu_sdk::main]
fn main() {
    area("vcpus");
    shared::set_mask(1);
    match case() {
        "last-down" => return last_down(),
        "shutdown" => return shut_down_by_another(),
        "unhandled" => return unhandled(),
        _ => {}
    }
    let count = workers::count();
    row!("count", Hex(count as u64));
    let workers = bring_up(count);
    states(&workers);
    // The first and the last further vCPU stand for all.
    let ends = workers.first().into_iter().chain(workers.last().filter(|last| last.id > 1));
    for worker in ends {
        up_and_down(*worker);
        interrupts(*worker);
        events(*worker);
        polls(*worker);
        timers(*worker);
        non_maskable(*worker);
        areas(*worker);
        per_vcpu(*worker);
        flushes(*worker);
    }
    if let Some(first) = workers.first() {
        masks(*first);
        moved_info(*first);
    }
    everybody(&workers);
    row!("alive", Hex(workers.iter().filter(|worker| !worker.is_dead()).count() as u64));
    shared::set_mask(0);
    done();
}

/// Contexts that are refused, then one that is not, for each further vCPU.
fn bring_up(count: usize) -> Vec<Worker> {
    let mut up = Vec::new();
    for id in 1..count {
        let number = id as u64;
        row!("{id}.before", vcpu_op(VCPUOP_IS_UP, number, 0));
        row!("{id}.up-early", vcpu_op(VCPUOP_UP, number, 0));
        row!("{id}.down-early", vcpu_op(VCPUOP_DOWN, number, 0));
        if id == 1 {
            contexts();
        }
        let context = workers::context(id);
        row!("{id}.initialise", vcpu_op(VCPUOP_INITIALISE, number, at(&*context)));
        row!("{id}.initialise-again", vcpu_op(VCPUOP_INITIALISE, number, at(&*context)));
        row!("{id}.initialised", vcpu_op(VCPUOP_IS_UP, number, 0));
        row!("{id}.up", vcpu_op(VCPUOP_UP, number, 0));
        let worker = Worker { id: number };
        row!("{id}.runs", worker.ready());
        row!("{id}.is-up", vcpu_op(VCPUOP_IS_UP, number, 0));
        row!("{id}.up-again", vcpu_op(VCPUOP_UP, number, 0));
        row!("{id}.initialise-up", vcpu_op(VCPUOP_INITIALISE, number, at(&*context)));
        up.push(worker);
    }
    up
}

/// What no vCPU may start with.
fn contexts() {
    let try_one = |name: &str, change: &dyn Fn(&mut VcpuGuestContext)| {
        let mut context = workers::context(1);
        change(&mut context);
        row!("context.{name}", vcpu_op(VCPUOP_INITIALISE, 1, at(&*context)));
    };
    let page = Frame::new();
    try_one("rip-non-canonical", &|context| context.user_regs.rip = bad::NON_CANONICAL);
    try_one("event-non-canonical", &|context| context.event_callback_eip = bad::NON_CANONICAL);
    try_one("failsafe-non-canonical", &|context| context.failsafe_callback_eip = bad::NON_CANONICAL);
    try_one("syscall-non-canonical", &|context| context.syscall_callback_eip = bad::NON_CANONICAL);
    try_one("trap-non-canonical", &|context| context.trap_ctxt[3].address = bad::NON_CANONICAL);
    try_one("fs-non-canonical", &|context| context.fs_base = bad::NON_CANONICAL);
    try_one("gs-kernel-non-canonical", &|context| context.gs_base_kernel = bad::NON_CANONICAL);
    try_one("gs-user-non-canonical", &|context| context.gs_base_user = bad::NON_CANONICAL);
    try_one("ldt-hole", &|context| (context.ldt_base, context.ldt_ents) = (bad::HOLE, 8));
    try_one("ldt-many", &|context| (context.ldt_base, context.ldt_ents) = (0x10000, 8193));
    try_one("gdt-many", &|context| context.gdt_ents = 8192);
    try_one("gdt-writable-page", &|context| {
        (context.gdt_frames[0], context.gdt_ents) = (page.mfn, 8);
    });
    try_one("gdt-no-frame", &|context| (context.gdt_frames[0], context.gdt_ents) = (u64::MAX, 8));
    try_one("root-none", &|context| context.ctrlreg[3] = 0);
    try_one("root-data", &|context| context.ctrlreg[3] = page.mfn << 12);
    try_one("root-no-frame", &|context| context.ctrlreg[3] = 0xf_ffff_f000);
    try_one("user-root-data", &|context| context.ctrlreg[1] = page.mfn << 12);
    try_one("user-mode", &|context| context.flags = 0);
    row!("context.frame-still-writable", page.writable());
}

fn states(workers: &[Worker]) {
    for worker in workers {
        let id = worker.id;
        worker.start(spin, 0);
        row!("{id}.spins", worker.reaches(1));
        let state = VcpuRunstateInfo { state: 77, ..VcpuRunstateInfo::default() };
        row!("{id}.runstate", vcpu_op(VCPUOP_GET_RUNSTATE_INFO, id, at(&state)));
        // Running, or runnable where there are more vCPUs than CPUs.
        row!("{id}.runstate.wants-cpu", matches!(fresh(&state.state), 0 | 1));
        row!("{id}.spins.stop", format!("{:?}", worker.stop().is_some()));
        row!("{id}.physical", vcpu_op(VCPUOP_GET_PHYSID, id, at(&VcpuGetPhysid::default())));
        row!("{id}.single", {
            let request =
                VcpuSetSingleshotTimer { timeout_abs_ns: 1 << 50, ..VcpuSetSingleshotTimer::default() };
            vcpu_op(VCPUOP_SET_SINGLESHOT_TIMER, id, at(&request))
        });
        row!("{id}.single.stop", vcpu_op(VCPUOP_STOP_SINGLESHOT_TIMER, id, 0));
    }
}

/// Counts, without a hypercall, until it is told to stop.
extern "C" fn spin(slot: &Slot, _: u64) -> u64 {
    while slot.stop.load(SeqCst) == 0 {
        slot.progress.fetch_add(1, SeqCst);
    }
    0
}

/// Takes itself down; the answer shows that it was taken up again.
extern "C" fn go_down(slot: &Slot, _: u64) -> u64 {
    slot.progress.store(1, SeqCst);
    vcpu_op(VCPUOP_DOWN, slot.id.load(SeqCst), 0).0 as u64
}

fn is_down(worker: Worker) -> bool {
    until(|| vcpu_op(VCPUOP_IS_UP, worker.id, 0).0 == 0)
}

fn state_of(worker: Worker) -> Hex {
    let state = VcpuRunstateInfo { state: 77, ..VcpuRunstateInfo::default() };
    vcpu_op(VCPUOP_GET_RUNSTATE_INFO, worker.id, at(&state));
    Hex(fresh(&state.state) as u64)
}

fn up_and_down(worker: Worker) {
    let id = worker.id;
    worker.start(go_down, 0);
    row!("{id}.own-down", is_down(worker));
    row!("{id}.own-down.runstate", until(|| state_of(worker).0 == 3));
    row!("{id}.own-down.up", vcpu_op(VCPUOP_UP, id, 0));
    row!("{id}.own-down.answer", Answer(worker.wait().map_or(-1, |answer| answer as i64)));
    // By another vCPU, while it runs: when the call is back, it does nothing any more.
    worker.start(spin, 0);
    row!("{id}.down.before", worker.reaches(1000));
    row!("{id}.down", vcpu_op(VCPUOP_DOWN, id, 0));
    row!("{id}.down.is-up", vcpu_op(VCPUOP_IS_UP, id, 0));
    row!("{id}.down.again", vcpu_op(VCPUOP_DOWN, id, 0));
    row!("{id}.down.runstate", until(|| state_of(worker).0 == 3));
    let seen = worker.slot().progress.load(SeqCst);
    for _ in 0..1000 {
        relax();
    }
    row!("{id}.down.stands-still", worker.slot().progress.load(SeqCst) == seen);
    row!("{id}.down.up", vcpu_op(VCPUOP_UP, id, 0));
    row!("{id}.down.goes-on", worker.reaches(seen + 1));
    row!("{id}.down.stop", worker.stop().is_some());
    // Up and down in quick succession leave it up.
    worker.start(spin, 0);
    let refused = (0..200).filter(|_| vcpu_op(VCPUOP_DOWN, id, 0).0 != 0 || vcpu_op(VCPUOP_UP, id, 0).0 != 0);
    row!("{id}.flips.refused", Hex(refused.count() as u64));
    let seen = worker.slot().progress.load(SeqCst);
    row!("{id}.flips.goes-on", worker.reaches(seen + 1));
    row!("{id}.flips.stop", worker.stop().is_some());
}

fn event<T>(operation: u32, argument: &mut T) -> Answer {
    op(EVENT_CHANNEL_OP, operation, argument)
}

fn send(port: u32) -> Answer {
    event(EVTCHNOP_SEND, &mut EvtchnSend { port })
}

fn close(port: u32) -> Answer {
    event(EVTCHNOP_CLOSE, &mut EvtchnClose { port })
}

fn word(index: usize) -> *mut u64 {
    // SAFETY: the page is mapped; `evtchn_pending` follows 32 times 64 bytes of vcpu_info.
    unsafe { shared::info().cast::<u64>().add(32 * 8 + index) }
}

/// Takes the pending bit of a port.
fn pending(port: u32) -> Hex {
    // SAFETY: as above; everybody makes atomic accesses.
    let bits = unsafe { core::sync::atomic::AtomicU64::from_ptr(word(port as usize / 64)) };
    Hex(bits.fetch_and(!(1 << (port % 64)), SeqCst) >> (port % 64) & 1)
}

fn bind_ipi(vcpu: u64) -> (Answer, u32) {
    let mut request = EvtchnBindIpi { vcpu: vcpu as u32, ..EvtchnBindIpi::default() };
    let answer = event(EVTCHNOP_BIND_IPI, &mut request);
    set_port_mask(request.port, false);
    (answer, request.port)
}

fn upcalls(worker: Worker) -> u64 {
    worker.slot().upcalls.load(SeqCst)
}

/// Takes upcalls until it is told to stop, in a wait of its own where `block` is not 0.
extern "C" fn listen(slot: &Slot, block: u64) -> u64 {
    slot.progress.store(1, SeqCst);
    if block == 0 {
        slot.unmask();
    }
    while slot.stop.load(SeqCst) == 0 {
        if block != 0 {
            // It unmasks, and comes back at once if something is pending; what comes before is pending.
            call(SCHED_OP, [SCHEDOP_BLOCK.into(), 0, 0, 0, 0]);
            mask(slot);
        }
    }
    mask(slot);
    0
}

/// Masks events for the worker itself.
fn mask(slot: &Slot) {
    let info = core::ptr::with_exposed_provenance_mut::<u8>(slot.info.load(SeqCst) as usize);
    // SAFETY: `vcpu_info` stays mapped.
    unsafe { info.add(1).write_volatile(1) };
}

/// Interrupts from one vCPU to another, which runs, or waits.
fn interrupts(worker: Worker) {
    let id = worker.id;
    let (answer, port) = bind_ipi(id);
    row!("{id}.ipi.bind", answer);
    for (name, block) in [("running", 0), ("blocked", 1)] {
        worker.start(listen, block);
        worker.reaches(1);
        let mut lost = 0_u64;
        for _ in 0..50 {
            let before = upcalls(worker);
            send(port);
            lost += u64::from(!until(|| upcalls(worker) > before));
            pending(port);
        }
        row!("{id}.ipi.{name}.lost", Hex(lost));
        worker.slot().stop.store(1, SeqCst);
        send(port);
        row!("{id}.ipi.{name}.stop", worker.wait().is_some());
        pending(port);
    }
    // Masked by the worker: nothing comes until it looks.
    let before = upcalls(worker);
    worker.start(spin, 0);
    row!("{id}.ipi.masked.send", send(port));
    row!("{id}.ipi.masked.upcalls", Hex(upcalls(worker) - before));
    worker.stop();
    row!("{id}.ipi.masked.pending", pending(port));
    worker.run(unmask_once, 0);
    row!("{id}.ipi.unmasked.upcalls", Hex(upcalls(worker) - before));
    // From the worker itself, to the first vCPU.
    let (answer, own) = bind_ipi(0);
    row!("{id}.ipi.first.bind", answer);
    row!("{id}.ipi.first.send", Answer(worker.run(send_job, own.into()).map_or(-1, |a| a as i64)));
    row!("{id}.ipi.first.pending", pending(own));
    row!("{id}.ipi.first.upcall", take_upcall());
    row!("{id}.ipi.move", event(EVTCHNOP_BIND_VCPU, &mut EvtchnBindVcpu { port, vcpu: 0 }));
    row!("{id}.ipi.close", format!("{} {}", close(port), close(own)));
}

extern "C" fn unmask_once(slot: &Slot, _: u64) -> u64 {
    slot.unmask();
    mask(slot);
    0
}

extern "C" fn send_job(_: &Slot, port: u64) -> u64 {
    send(port as u32).0 as u64
}

/// Takes the upcall that is due to the first vCPU, which has events masked.
fn take_upcall() -> Hex {
    // SAFETY: the first byte of vcpu_info, and its selector.
    unsafe {
        let info = shared::info().cast::<u8>();
        let value = info.read_volatile();
        info.write_volatile(0);
        info.add(8).cast::<u64>().write_volatile(0);
        Hex(value.into())
    }
}

/// Channels that are bound to another vCPU.
fn events(worker: Worker) {
    let id = worker.id;
    let mut request =
        EvtchnAllocUnbound { dom: DOMID_SELF, remote_dom: DOMID_SELF, ..EvtchnAllocUnbound::default() };
    row!("{id}.channel", event(EVTCHNOP_ALLOC_UNBOUND, &mut request));
    let port = request.port;
    let mut bind = EvtchnBindInterdomain {
        remote_dom: DOMID_SELF,
        remote_port: port,
        ..EvtchnBindInterdomain::default()
    };
    row!("{id}.channel.bind", event(EVTCHNOP_BIND_INTERDOMAIN, &mut bind));
    pending(bind.local_port);
    let mut to = EvtchnBindVcpu { port, vcpu: id as u32 };
    row!("{id}.channel.vcpu", event(EVTCHNOP_BIND_VCPU, &mut to));
    let mut status = EvtchnStatus { dom: DOMID_SELF, port, ..EvtchnStatus::default() };
    row!("{id}.channel.status", event(EVTCHNOP_STATUS, &mut status));
    row!("{id}.channel.status.vcpu", Hex(status.vcpu.into()));
    set_port_mask(port, false);
    take_upcall();
    let before = upcalls(worker);
    worker.start(listen, 1);
    worker.reaches(1);
    row!("{id}.channel.send", send(bind.local_port));
    row!("{id}.channel.arrives", until(|| upcalls(worker) > before));
    row!("{id}.channel.not-here", take_upcall());
    // A port that is pending and masked goes off on the vCPU that it is bound to, whoever unmasks it.
    pending(port);
    set_port_mask(port, true);
    row!("{id}.channel.masked.send", send(bind.local_port));
    let before = upcalls(worker);
    row!("{id}.channel.unmask", event(EVTCHNOP_UNMASK, &mut EvtchnUnmask { port }));
    row!("{id}.channel.unmask.arrives", until(|| upcalls(worker) > before));
    worker.slot().stop.store(1, SeqCst);
    pending(port);
    send(bind.local_port);
    row!("{id}.channel.stop", worker.wait().is_some());
    pending(port);
    row!("{id}.channel.close", format!("{} {}", close(bind.local_port), close(port)));
    for virq in [VIRQ_TIMER, VIRQ_DEBUG] {
        let mut request = EvtchnBindVirq { virq, vcpu: id as u32, ..EvtchnBindVirq::default() };
        row!("{id}.virq.{virq}", event(EVTCHNOP_BIND_VIRQ, &mut request));
        row!("{id}.virq.{virq}.again", event(EVTCHNOP_BIND_VIRQ, &mut request.clone()));
        row!("{id}.virq.{virq}.send", send(request.port));
        let mut to = EvtchnBindVcpu { port: request.port, vcpu: 0 };
        row!("{id}.virq.{virq}.move", event(EVTCHNOP_BIND_VCPU, &mut to));
        row!("{id}.virq.{virq}.close", close(request.port));
    }
}

fn set_port_mask(port: u32, on: bool) {
    // SAFETY: `evtchn_mask` follows the pending bits.
    let bits = unsafe { core::sync::atomic::AtomicU64::from_ptr(word(64 + port as usize / 64)) };
    let bit = 1 << (port % 64);
    if on {
        bits.fetch_or(bit, SeqCst)
    } else {
        bits.fetch_and(!bit, SeqCst)
    };
}

/// Polls for a port.
extern "C" fn poll(slot: &Slot, port: u64) -> u64 {
    let ports = [port as u32];
    let mut request = SchedPoll { nr_ports: 1, timeout: 0, ..SchedPoll::default() };
    request.ports = GuestPtr::new(at(&ports));
    slot.progress.store(1, SeqCst);
    call(SCHED_OP, [SCHEDOP_POLL.into(), at(&request), 0, 0, 0]).0 as u64
}

/// A worker polls, and another vCPU ends that.
fn polls(worker: Worker) {
    let id = worker.id;
    let (_, port) = bind_ipi(id);
    set_port_mask(port, true);
    let mut stuck = 0_u64;
    for round in 0..50 {
        worker.start(poll, port.into());
        worker.reaches(1);
        for _ in 0..round * 20 {
            core::hint::spin_loop();
        }
        send(port);
        stuck += u64::from(worker.wait() != Some(0));
        pending(port);
    }
    row!("{id}.poll.stuck", Hex(stuck));
    set_port_mask(port, false);
    row!("{id}.poll.close", close(port));
}

/// The periodic timer of another vCPU.
fn timers(worker: Worker) {
    let id = worker.id;
    let periodic =
        |period_ns: u64| vcpu_op(VCPUOP_SET_PERIODIC_TIMER, id, at(&VcpuSetPeriodicTimer { period_ns }));
    for period in [0, 1, 999_999, u64::MAX] {
        row!("{id}.periodic.{period:#x}", periodic(period));
    }
    row!("{id}.periodic.hole", vcpu_op(VCPUOP_SET_PERIODIC_TIMER, id, bad::HOLE));
    let mut request = EvtchnBindVirq { virq: VIRQ_TIMER, vcpu: id as u32, ..EvtchnBindVirq::default() };
    row!("{id}.periodic.bind", event(EVTCHNOP_BIND_VIRQ, &mut request));
    set_port_mask(request.port, false);
    worker.start(listen, 0);
    worker.reaches(1);
    row!("{id}.periodic.set", periodic(1_000_000));
    let mut came = true;
    for _ in 0..3 {
        let before = upcalls(worker);
        // What is pending already brings no upcall.
        pending(request.port);
        came &= until(|| upcalls(worker) > before);
    }
    row!("{id}.periodic.comes", came);
    row!("{id}.periodic.stop", vcpu_op(VCPUOP_STOP_PERIODIC_TIMER, id, 0));
    row!("{id}.periodic.end", worker.stop().is_some());
    pending(request.port);
    row!("{id}.periodic.stop-again", vcpu_op(VCPUOP_STOP_PERIODIC_TIMER, id, 0));
    // Its own single-shot timer ends its wait.
    let before = upcalls(worker);
    row!("{id}.single.wait", Answer(worker.run(sleep_once, 0).map_or(-1, |answer| answer as i64)));
    row!("{id}.single.came", upcalls(worker) > before);
    pending(request.port);
    row!("{id}.periodic.close", close(request.port));
}

/// Waits for its timer.
extern "C" fn sleep_once(slot: &Slot, _: u64) -> u64 {
    // A time gone by: the event comes at once, and is pending.
    call(SET_TIMER_OP, [1, 0, 0, 0, 0]);
    let answer = call(SCHED_OP, [SCHEDOP_BLOCK.into(), 0, 0, 0, 0]);
    mask(slot);
    answer.0 as u64
}

fn non_maskable(worker: Worker) {
    let id = worker.id;
    let nmis = || worker.slot().nmis.load(SeqCst);
    for (name, job) in [("running", spin as extern "C" fn(&Slot, u64) -> u64), ("listening", listen)] {
        worker.start(job, 0);
        worker.reaches(1);
        let before = nmis();
        row!("{id}.nmi.{name}", vcpu_op(VCPUOP_SEND_NMI, id, 0));
        row!("{id}.nmi.{name}.comes", until(|| nmis() > before));
        let before = nmis();
        row!("{id}.nmi.{name}.next", vcpu_op(VCPUOP_SEND_NMI, id, 0));
        row!("{id}.nmi.{name}.next.comes", until(|| nmis() > before));
        row!("{id}.nmi.{name}.stop", worker.stop().is_some());
    }
}

/// Areas that one vCPU registers for another.
fn areas(worker: Worker) {
    let id = worker.id;
    let page = pages::take(1);
    let address = pages::address(&page, 0);
    row!("{id}.runstate-area.hole", vcpu_op(VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, id, at(&bad::HOLE)));
    row!("{id}.runstate-area", vcpu_op(VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, id, at(&address)));
    let time = address + 2048;
    row!("{id}.time-area.hole", vcpu_op(VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA, id, at(&bad::HOLE)));
    row!("{id}.time-area", vcpu_op(VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA, id, at(&time)));
    // After it was away from its CPU, both are written.
    worker.start(go_down, 0);
    is_down(worker);
    vcpu_op(VCPUOP_UP, id, 0);
    worker.wait();
    let word = |offset: usize| {
        let at = core::ptr::with_exposed_provenance::<u64>(address as usize + offset);
        // SAFETY: the page was taken for ever; the hypervisor writes it.
        unsafe { at.read_volatile() }
    };
    row!("{id}.runstate-area.written", until(|| word(8) != 0));
    row!("{id}.time-area.written", until(|| word(2048 + 8) != 0));
    let none = 0_u64;
    row!("{id}.runstate-area.none", vcpu_op(VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, id, at(&none)));
    row!("{id}.time-area.none", vcpu_op(VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA, id, at(&none)));
    core::mem::forget(page);
}

/// State that each vCPU has for itself.
fn per_vcpu(worker: Worker) {
    let id = worker.id;
    let answer =
        |job: workers::Job, argument: u64| Answer(worker.run(job, argument).map_or(-1, |a| a as i64));
    row!("{id}.own.debug", answer(own_debug, 0x1234));
    row!("{id}.own.debug.here", call(GET_DEBUGREG, [0, 0, 0, 0, 0]));
    row!("{id}.own.trap", {
        let before = worker.slot().traps.load(SeqCst);
        let value = worker.run(read_word, bad::UNMAPPED);
        let came = worker.slot().traps.load(SeqCst) - before;
        format!("{} {} vector {}", Hex(value.unwrap_or(0)), came, worker.slot().vector.load(SeqCst))
    });
    row!("{id}.own.taskswitch", answer(own_task_switch, 0));
    row!("{id}.own.unknown", answer(own_unknown, 0));
}

extern "C" fn own_debug(_: &Slot, value: u64) -> u64 {
    call(SET_DEBUGREG, [0, value, 0, 0, 0]);
    let got = call(GET_DEBUGREG, [0, 0, 0, 0, 0]).0 as u64;
    call(SET_DEBUGREG, [0, 0, 0, 0, 0]);
    got
}

extern "C" fn own_task_switch(_: &Slot, _: u64) -> u64 {
    (call(FPU_TASKSWITCH, [1, 0, 0, 0, 0]).0 | call(FPU_TASKSWITCH, [0; 5]).0) as u64
}

extern "C" fn own_unknown(_: &Slot, _: u64) -> u64 {
    call(63, [0; 5]).0 as u64
}

fn map(frame: &Frame, entry: u64, flags: u64) -> Answer {
    call(UPDATE_VA_MAPPING, [frame.va, entry, flags, 0, 0])
}

/// Maps a frame by an entry, flushes in some way, and says what both answered.
type Flush<'a> = &'a dyn Fn(&Frame, u64) -> String;

/// After a flush that names a vCPU, it uses no old translation.
fn flushes(worker: Worker) {
    let id = worker.id;
    let mask = 1_u64 << id;
    let (first, second) = (Frame::new(), Frame::new());
    first.write(0, 0x1111);
    second.write(0, 0x2222);
    let multi = |cmd: u32, linear: u64| {
        let mut request = MmuextOp { cmd, ..MmuextOp::default() };
        request.set_linear_addr(linear);
        request.set_vcpumask(GuestPtr::new(at(&mask)));
        call(MMUEXT_OP, [at(&request), 1, 0, SELF, 0])
    };
    let rounds: [(&str, Flush<'_>); 6] = [
        ("all", &|frame, entry| format!("{} {}", map(frame, entry, 0), extended(MMUEXT_TLB_FLUSH_ALL, 0, 0))),
        ("invlpg-all", &|frame, entry| {
            format!("{} {}", map(frame, entry, 0), extended(MMUEXT_INVLPG_ALL, frame.va, 0))
        }),
        ("multi", &|frame, entry| format!("{} {}", map(frame, entry, 0), multi(MMUEXT_TLB_FLUSH_MULTI, 0))),
        ("invlpg-multi", &|frame, entry| {
            format!("{} {}", map(frame, entry, 0), multi(MMUEXT_INVLPG_MULTI, frame.va))
        }),
        ("va-multi", &|frame, entry| format!("{}", map(frame, entry, at(&mask) | UVMF_TLB_FLUSH))),
        ("va-all", &|frame, entry| format!("{}", map(frame, entry, UVMF_ALL | UVMF_INVLPG))),
    ];
    for (name, change) in rounds {
        let window = Frame::new();
        window.write(0, 0x3333);
        row!("{id}.flush.{name}.before", Hex(worker.run(read_word, window.va).unwrap_or(0)));
        row!("{id}.flush.{name}.first", change(&window, first.entry(pte::READ_WRITE)));
        row!("{id}.flush.{name}.first.seen", Hex(worker.run(read_word, window.va).unwrap_or(0)));
        row!("{id}.flush.{name}.second", change(&window, second.entry(pte::READ_ONLY)));
        row!("{id}.flush.{name}.second.seen", Hex(worker.run(read_word, window.va).unwrap_or(0)));
        row!("{id}.flush.{name}.second.write", Hex(worker.run(write_word, window.va).unwrap_or(9)));
        row!("{id}.flush.{name}.gone", change(&window, 0));
        row!("{id}.flush.{name}.gone.seen", Hex(worker.run(read_word, window.va).unwrap_or(0)));
        change(&window, window.entry(pte::READ_WRITE));
    }
}

/// Masks of vCPUs, good and bad.
fn masks(worker: Worker) {
    let frame = Frame::new();
    let flush = |cmd: u32, mask: u64| {
        let mut request = MmuextOp { cmd, ..MmuextOp::default() };
        request.set_linear_addr(frame.va);
        request.set_vcpumask(GuestPtr::new(mask));
        call(MMUEXT_OP, [at(&request), 1, 0, SELF, 0])
    };
    for (name, cmd) in [("tlb", MMUEXT_TLB_FLUSH_MULTI), ("invlpg", MMUEXT_INVLPG_MULTI)] {
        for (pointer, address) in bad::ALL {
            // The machine-to-physical table can be read, and holds what differs.
            if pointer != "m2p" {
                row!("mask.{name}.at.{pointer}", flush(cmd, address));
            }
        }
        for mask in [0_u64, 1, 1 << worker.id, 3, u64::MAX, 1 << 63] {
            row!("mask.{name}.{mask:#x}", flush(cmd, at(&mask)));
        }
    }
    for (pointer, address) in bad::ALL {
        if pointer != "m2p" {
            row!(
                "mask.va.{pointer}",
                map(&frame, frame.entry(pte::READ_WRITE), address & !7 | UVMF_TLB_FLUSH)
            );
        }
    }
    row!("mask.va.unaligned", map(&frame, frame.entry(pte::READ_WRITE), at(&3_u64) | 3));
}

/// `vcpu_info` of another vCPU that is up or down, and once it has moved.
fn moved_info(worker: Worker) {
    let id = worker.id;
    let frame = Frame::new();
    let request = VcpuRegisterVcpuInfo { mfn: frame.mfn, offset: 64, ..VcpuRegisterVcpuInfo::default() };
    row!("info.up", vcpu_op(VCPUOP_REGISTER_VCPU_INFO, id, at(&request)));
    worker.start(go_down, 0);
    is_down(worker);
    row!("info.down.runstate", until(|| state_of(worker).0 == 3));
    row!("info.down", vcpu_op(VCPUOP_REGISTER_VCPU_INFO, id, at(&request)));
    row!("info.down.again", vcpu_op(VCPUOP_REGISTER_VCPU_INFO, id, at(&request)));
    worker.slot().info.store(frame.va + 64, SeqCst);
    row!("info.mask", Hex(frame.read(8) >> 8 & 0xff));
    row!("info.read-only", frame.read_only());
    row!("info.writable", frame.writable());
    vcpu_op(VCPUOP_UP, id, 0);
    row!("info.goes-on", worker.wait().is_some());
    // Events find the new place.
    let (_, port) = bind_ipi(id);
    let before = upcalls(worker);
    worker.start(listen, 1);
    worker.reaches(1);
    row!("info.send", send(port));
    row!("info.arrives", until(|| upcalls(worker) > before));
    worker.slot().stop.store(1, SeqCst);
    pending(port);
    send(port);
    row!("info.stop", worker.wait().is_some());
    pending(port);
    row!("info.close", close(port));
}

/// Interrupts from everybody to everybody.
fn everybody(workers: &[Worker]) {
    let ports: Vec<u32> = workers.iter().map(|worker| bind_ipi(worker.id).1).collect();
    for worker in workers {
        worker.start(listen, 1);
        worker.reaches(1);
    }
    let mut lost = 0_u64;
    for _ in 0..20 {
        let before: Vec<u64> = workers.iter().map(|worker| upcalls(*worker)).collect();
        for port in &ports {
            send(*port);
        }
        for ((worker, before), port) in workers.iter().zip(before).zip(&ports) {
            lost += u64::from(!until(|| upcalls(*worker) > before));
            pending(*port);
        }
    }
    row!("everybody.lost", Hex(lost));
    for (worker, port) in workers.iter().zip(&ports) {
        worker.slot().stop.store(1, SeqCst);
        pending(*port);
        send(*port);
        worker.wait();
        pending(*port);
        close(*port);
    }
}

/// Goes down, and with it the last vCPU that is up.
fn last_down() {
    let worker = Worker::boot(1);
    row!("boot", worker.is_ok());
    let Ok(worker) = worker else { return };
    worker.start(take_first_down, 0);
    until(|| false);
    row!("still-there", true);
    done();
}

extern "C" fn take_first_down(slot: &Slot, _: u64) -> u64 {
    vcpu_op(VCPUOP_DOWN, 0, 0);
    vcpu_op(VCPUOP_DOWN, slot.id.load(SeqCst), 0).0 as u64
}

/// Another vCPU than the first ends the domain.
fn shut_down_by_another() {
    if let Ok(worker) = Worker::boot(1) {
        row!("boot", true);
        worker.start(shut_down, 0);
        until(|| false);
    }
    done();
}

extern "C" fn shut_down(_: &Slot, _: u64) -> u64 {
    let request = SchedShutdown { reason: SHUTDOWN_POWEROFF };
    call(SCHED_OP, [SCHEDOP_SHUTDOWN.into(), at(&request), 0, 0, 0]).0 as u64
}

/// A trap that another vCPU has no handler for.
fn unhandled() {
    if let Ok(worker) = Worker::boot(1) {
        row!("boot", true);
        worker.start(lose_handlers, 0);
        until(|| false);
    }
    done();
}

extern "C" fn lose_handlers(slot: &Slot, _: u64) -> u64 {
    call(SET_TRAP_TABLE, [0; 5]);
    read_word(slot, bad::UNMAPPED)
}
