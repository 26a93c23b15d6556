//! Control calls at work: a domain from its creation to its end by `domctl`, and what `sysctl` and `platform_op` tell of the machine.
//!
//! Run as first domain. The domain that it makes never runs.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use alloc::format;
use conformance::space::{Frame, request};
use conformance::{Answer, Hex, area, at, at_mut, bad, call, done, row};
use core::mem::offset_of;
use domu_sdk::abi::GuestPtr;
use domu_sdk::abi::domctl::*;
use domu_sdk::abi::memory::*;
use domu_sdk::abi::platform::*;
use domu_sdk::abi::sched::*;
use domu_sdk::abi::sysctl::*;
use domu_sdk::abi::xen::hypercall::*;
use domu_sdk::abi::xen::*;

#[domu_sdk::main]
fn main() {
    area("toolstack");
    sysctls();
    platform();
    refused_creations();
    life();
    done();
}

/// A call's structure as words: command and version, target, body.
struct Call {
    answer: Answer,
    body: [u64; 16],
}

impl Call {
    /// The answer and the first words of the body, for bodies that hold no address.
    fn show(&self, words: usize) -> alloc::string::String {
        let mut text = format!("{}", self.answer);
        for word in &self.body[..words] {
            text.push_str(&format!(" {}", Hex(*word)));
        }
        text
    }
}

fn control(command: u32, domain: u16, body: &[u64]) -> Call {
    let mut words = [0_u64; 18];
    words[0] = u64::from(command) | u64::from(XEN_DOMCTL_INTERFACE_VERSION) << 32;
    words[1] = domain.into();
    words[2..2 + body.len()].copy_from_slice(body);
    let answer = call(DOMCTL, [at_mut(&mut words), 0, 0, 0, 0]);
    let mut back = [0; 16];
    for (to, from) in back.iter_mut().zip(&words[2..]) {
        *to = conformance::fresh(from);
    }
    Call { answer, body: back }
}

fn system(command: u32, body: &[u64]) -> Call {
    let mut words = [0_u64; 18];
    words[0] = u64::from(command) | u64::from(XEN_SYSCTL_INTERFACE_VERSION) << 32;
    words[1..1 + body.len()].copy_from_slice(body);
    let answer = call(SYSCTL, [at_mut(&mut words), 0, 0, 0, 0]);
    let mut back = [0; 16];
    for (to, from) in back.iter_mut().zip(&words[1..]) {
        *to = conformance::fresh(from);
    }
    Call { answer, body: back }
}

fn machine(command: u32, body: &[u64]) -> Call {
    let mut words = [0_u64; 18];
    words[0] = u64::from(command) | u64::from(XENPF_INTERFACE_VERSION) << 32;
    words[1..1 + body.len()].copy_from_slice(body);
    let answer = call(PLATFORM_OP, [at_mut(&mut words), 0, 0, 0, 0]);
    let mut back = [0; 16];
    for (to, from) in back.iter_mut().zip(&words[1..]) {
        *to = conformance::fresh(from);
    }
    Call { answer, body: back }
}

fn creation(change: &dyn Fn(&mut DomctlCreatedomain)) -> Domctl {
    let mut create = DomctlCreatedomain {
        max_vcpus: 2,
        max_evtchn_port: 1023,
        max_grant_frames: 4,
        max_maptrack_frames: 16,
        grant_opts: 1,
        ..DomctlCreatedomain::default()
    };
    change(&mut create);
    let mut request = Domctl {
        cmd: XEN_DOMCTL_CREATEDOMAIN,
        interface_version: XEN_DOMCTL_INTERFACE_VERSION,
        ..Domctl::default()
    };
    request.set_createdomain(create);
    request
}

/// What a case changes of a request that would succeed.
type Change<'a> = &'a dyn Fn(&mut DomctlCreatedomain);

fn create(domain: u16, change: Change<'_>) -> (Answer, u16) {
    let mut request = creation(change);
    request.domain = domain;
    let answer = call(DOMCTL, [at_mut(&mut request), 0, 0, 0, 0]);
    (answer, conformance::fresh(&request.domain))
}

/// What is no domain.
fn refused_creations() {
    let tries: [(&str, u16, Change<'_>); 9] = [
        ("existing", 0, &|_| {}),
        ("reserved", 0x7ff5, &|create| create.max_vcpus = 0),
        ("flags", 50, &|create| create.flags = 1 << 31),
        ("no-vcpus", 50, &|create| create.max_vcpus = 0),
        ("many-vcpus", 50, &|create| create.max_vcpus = 100_000),
        ("iommu", 50, &|create| create.iommu_opts = 1 << 31),
        ("grant-options", 50, &|create| create.grant_opts = 1 << 31),
        ("grant-version", 50, &|create| create.grant_opts = 3),
        ("few-frames", 50, &|create| create.max_grant_frames = 0),
    ];
    for (name, domain, change) in tries {
        let (answer, id) = create(domain, change);
        row!("create.{name}", answer);
        if answer.0 == 0 {
            control(XEN_DOMCTL_DESTROYDOMAIN, id, &[]);
        }
    }
}

/// A frame of the domain.
fn give(domain: u16) -> u64 {
    let frame = 0_u64;
    let mut list = [frame];
    let mut request = MemoryReservation { nr_extents: 1, domid: domain, ..MemoryReservation::default() };
    request.extent_start = GuestPtr::new(at_mut(&mut list));
    call(MEMORY_OP, [XENMEM_POPULATE_PHYSMAP.into(), at(&request), 0, 0, 0]);
    conformance::fresh(&list[0])
}

fn life() {
    let (answer, domain) = create(77, &|_| {});
    row!("create", answer);
    row!("create.number", Hex(domain.into()));
    row!("create.again", create(77, &|_| {}).0);
    settings(domain);
    vcpus(domain);
    policies(domain);
    context(domain);
    row!("policy.set.late", control(XEN_DOMCTL_SET_CPU_POLICY, domain, &[0, 0, 0]).answer);
    pausing(domain);
    left_out(domain);
    row!("destroy", control(XEN_DOMCTL_DESTROYDOMAIN, domain, &[]).answer);
    // It may take another call or two until the last reference is gone; then there is no such domain.
    let gone = conformance::workers::until(|| control(XEN_DOMCTL_DESTROYDOMAIN, domain, &[]).answer.0 != 0);
    row!("destroy.gone", gone);
    row!("destroy.again", control(XEN_DOMCTL_DESTROYDOMAIN, domain, &[]).answer);
    row!("destroy.self", control(XEN_DOMCTL_DESTROYDOMAIN, 0, &[]).answer);
}

/// What belongs to the domain as a whole.
fn settings(domain: u16) {
    row!("max-mem", control(XEN_DOMCTL_MAX_MEM, domain, &[8192]).answer);
    row!("max-mem.none", control(XEN_DOMCTL_MAX_MEM, 0x6fff, &[8192]).answer);
    row!("max-vcpus", control(XEN_DOMCTL_MAX_VCPUS, domain, &[2]).answer);
    row!("max-vcpus.again", control(XEN_DOMCTL_MAX_VCPUS, domain, &[2]).answer);
    row!("max-vcpus.more", control(XEN_DOMCTL_MAX_VCPUS, domain, &[3]).answer);
    row!("max-vcpus.zero", control(XEN_DOMCTL_MAX_VCPUS, domain, &[0]).answer);
    let info = control(XEN_DOMCTL_GETDOMAININFO, domain, &[]);
    row!("info", info.answer);
    row!("info.flags", Hex(info.body[0] >> 32));
    row!("info.max-pages", Hex(info.body[offset_of!(DomctlGetdomaininfo, max_pages) / 8]));
    row!("info.next", {
        let next = control(XEN_DOMCTL_GETDOMAININFO, 60, &[]);
        format!("{} {}", next.answer, Hex(next.body[0] & 0xffff))
    });
    row!("info.beyond", control(XEN_DOMCTL_GETDOMAININFO, 0x6fff, &[]).answer);
    row!("handle", control(XEN_DOMCTL_SETDOMAINHANDLE, domain, &[0x1122, 0x3344]).answer);
    row!("debugging.on", control(XEN_DOMCTL_SETDEBUGGING, domain, &[1]).answer);
    row!("debugging.info", Hex(control(XEN_DOMCTL_GETDOMAININFO, domain, &[]).body[0] >> 32));
    row!("debugging.off", control(XEN_DOMCTL_SETDEBUGGING, domain, &[0]).answer);
    row!("debugging.self", control(XEN_DOMCTL_SETDEBUGGING, 0, &[0]).answer);
    row!("address-size.get", control(XEN_DOMCTL_GET_ADDRESS_SIZE, domain, &[]).show(1));
    for size in [64_u64, 16, 0] {
        row!("address-size.{size}", control(XEN_DOMCTL_SET_ADDRESS_SIZE, domain, &[size]).answer);
    }
    row!("time-offset", control(XEN_DOMCTL_SETTIMEOFFSET, domain, &[0]).answer);
    row!("tsc.get.mode", Hex(control(XEN_DOMCTL_GETTSCINFO, domain, &[]).body[0] & 0xffff_ffff));
    row!("tsc.get", control(XEN_DOMCTL_GETTSCINFO, domain, &[]).answer);
    row!("tsc.set", control(XEN_DOMCTL_SETTSCINFO, domain, &[0]).answer);
    row!("tsc.set.self", control(XEN_DOMCTL_SETTSCINFO, 0, &[0]).answer);
    row!("tsc.get.self", control(XEN_DOMCTL_GETTSCINFO, 0, &[]).answer);
    row!("nodes.get", {
        let map = [0_u64; 8];
        let got = control(XEN_DOMCTL_GETNODEAFFINITY, domain, &[at(&map), 64]);
        format!("{} {}", got.answer, Hex(conformance::fresh(&map[0]) & 1))
    });
    for (name, bits) in [("one", 1_u64), ("none", 0), ("no-such", 1 << 63)] {
        let map = [bits; 8];
        row!("nodes.set.{name}", control(XEN_DOMCTL_SETNODEAFFINITY, domain, &[at(&map), 64]).answer);
    }
    row!("nodes.get.hole", control(XEN_DOMCTL_GETNODEAFFINITY, domain, &[bad::HOLE, 64]).answer);
    // I/O memory and ports, of a domain that has them.
    for (name, id) in [("self", 0), ("other", domain)] {
        row!("io-memory.{name}", control(XEN_DOMCTL_IOMEM_PERMISSION, id, &[0xf0_0000, 1, 1]).answer);
        row!("io-memory.{name}.wraps", control(XEN_DOMCTL_IOMEM_PERMISSION, id, &[u64::MAX, 2, 1]).answer);
        row!("io-ports.{name}", control(XEN_DOMCTL_IOPORT_PERMISSION, id, &[0x60 | 1 << 32, 1]).answer);
        row!(
            "io-ports.{name}.many",
            control(XEN_DOMCTL_IOPORT_PERMISSION, id, &[0xffff | 9 << 32, 1]).answer
        );
        row!("interrupt.{name}", control(XEN_DOMCTL_IRQ_PERMISSION, id, &[0xffff | 1 << 32]).answer);
    }
}

/// A bit map argument: address, number of bits.
fn vcpus(domain: u16) {
    let map = [0_u64; 4];
    let bitmap = |bits: u64| [bits, 0, 0, 0];
    let affinity = |command: u32, vcpu: u64, flags: u64, map: u64| {
        control(command, domain, &[vcpu | flags << 32, map, 64, map, 64])
    };
    row!("affinity.get", affinity(XEN_DOMCTL_GETVCPUAFFINITY, 0, 1, at(&map)).answer);
    row!("affinity.get.has-first", Hex(conformance::fresh(&map[0]) & 1));
    row!("affinity.get.no-vcpu", affinity(XEN_DOMCTL_GETVCPUAFFINITY, 9, 1, at(&map)).answer);
    row!("affinity.get.flags", affinity(XEN_DOMCTL_GETVCPUAFFINITY, 0, 0, at(&map)).answer);
    row!("affinity.get.hole", affinity(XEN_DOMCTL_GETVCPUAFFINITY, 0, 1, bad::HOLE).answer);
    for (name, bits) in [("first", 1_u64), ("none", 0), ("all", u64::MAX), ("no-such", 1 << 63)] {
        row!("affinity.set.{name}", affinity(XEN_DOMCTL_SETVCPUAFFINITY, 0, 1, at(&bitmap(bits))).answer);
        row!("affinity.soft.{name}", affinity(XEN_DOMCTL_SETVCPUAFFINITY, 0, 2, at(&bitmap(bits))).answer);
    }
    row!("affinity.set.no-vcpu", affinity(XEN_DOMCTL_SETVCPUAFFINITY, 9, 1, at(&bitmap(1))).answer);
    row!("vcpu-info", control(XEN_DOMCTL_GETVCPUINFO, domain, &[0]).show(1));
    row!("vcpu-info.no-vcpu", control(XEN_DOMCTL_GETVCPUINFO, domain, &[9]).answer);
    let scheduler = system(XEN_SYSCTL_SCHED_ID, &[]).body[0] & 0xffff_ffff;
    for (name, id, command) in
        [("get", scheduler, 1_u64), ("put", scheduler, 0), ("other", 99, 1), ("unknown", scheduler, 99)]
    {
        let body = [id | command << 32, 256];
        row!("scheduler.{name}", control(XEN_DOMCTL_SCHEDULER_OP, domain, &body).answer);
    }
    row!("scheduler.weight", {
        let got = control(XEN_DOMCTL_SCHEDULER_OP, domain, &[scheduler | 1 << 32]);
        format!("{} {}", got.answer, Hex(got.body[1] & 0xffff_ffff))
    });
}

fn context(domain: u16) {
    let frame = give(domain);
    row!("memory", frame != 0);
    let types = [frame];
    row!("frame-types", control(XEN_DOMCTL_GETPAGEFRAMEINFO3, domain, &[1, at(&types)]).answer);
    row!("frame-types.type", Hex(conformance::fresh(&types[0]) >> 28));
    row!("frame-types.hole", control(XEN_DOMCTL_GETPAGEFRAMEINFO3, domain, &[1, bad::HOLE]).answer);
    row!("frame-types.many", control(XEN_DOMCTL_GETPAGEFRAMEINFO3, domain, &[1 << 20, at(&types)]).answer);
    row!("hypercall-page", control(XEN_DOMCTL_HYPERCALL_INIT, domain, &[give(domain)]).answer);
    row!("hypercall-page.none", control(XEN_DOMCTL_HYPERCALL_INIT, domain, &[u64::MAX]).answer);
    let mut room = Box::new(VcpuGuestContext::default());
    let get = |vcpu: u64, to: u64| control(XEN_DOMCTL_GETVCPUCONTEXT, domain, &[vcpu, to]).answer;
    let set = |vcpu: u64, from: u64| control(XEN_DOMCTL_SETVCPUCONTEXT, domain, &[vcpu, from]).answer;
    row!("context.get.early", get(0, at_mut(&mut *room)));
    row!("context.set.no-vcpu", set(9, at(&*room)));
    row!("context.set.hole", set(0, bad::HOLE));
    row!("context.set.no-root", set(0, at(&*room)));
    // An empty root of the domain's own.
    let root = give(domain);
    let mut clear = request(MMUEXT_CLEAR_PAGE, root, 0);
    row!("root.clear", call(MMUEXT_OP, [at_mut(&mut clear), 1, 0, domain.into(), 0]));
    let mut pin = request(MMUEXT_PIN_L4_TABLE, root, 0);
    row!("root.pin", call(MMUEXT_OP, [at_mut(&mut pin), 1, 0, domain.into(), 0]));
    room.flags = VGCF_IN_KERNEL;
    room.user_regs.rip = 0x1234_5678;
    room.ctrlreg[3] = root << 12;
    row!("context.set", set(0, at(&*room)));
    row!("context.set.again", set(0, at(&*room)));
    let mut back = Box::new(VcpuGuestContext::default());
    row!("context.get", get(0, at_mut(&mut *back)));
    row!("context.get.rip", Hex(conformance::fresh(&back.user_regs.rip)));
    row!("context.get.root", conformance::fresh(&back.ctrlreg[3]) == root << 12);
    row!("context.get.hole", get(0, bad::HOLE));
    row!("context.set.null", set(0, 0));
    row!("context.get.reset", get(0, at_mut(&mut *back)));
    row!("context.set.back", set(0, at(&*room)));
    let extended = control(XEN_DOMCTL_GET_EXT_VCPUCONTEXT, domain, &[0]);
    row!("extended.get", format!("{} {}", extended.answer, Hex(extended.body[0] >> 32)));
    row!("extended.get.no-vcpu", control(XEN_DOMCTL_GET_EXT_VCPUCONTEXT, domain, &[9]).answer);
    row!("extended.set", control(XEN_DOMCTL_SET_EXT_VCPUCONTEXT, domain, &extended.body).answer);
    row!("extended.set.short", control(XEN_DOMCTL_SET_EXT_VCPUCONTEXT, domain, &[4 << 32]).answer);
    // The size of the FPU's state, and the state: vCPU, components, size, buffer.
    let size = control(XEN_DOMCTL_GETVCPUEXTSTATE, domain, &[0, 0, 0, 0]);
    row!("fpu.size", format!("{} {}", size.answer, size.body[2] > 0));
    let buffer = Box::new([0_u64; 1024]);
    let state = control(XEN_DOMCTL_GETVCPUEXTSTATE, domain, &[0, size.body[1], size.body[2], at(&*buffer)]);
    row!("fpu.get", state.answer);
    let set_state =
        control(XEN_DOMCTL_SETVCPUEXTSTATE, domain, &[0, state.body[1], state.body[2], at(&*buffer)]);
    row!("fpu.set", set_state.answer);
    row!("fpu.set.short", control(XEN_DOMCTL_SETVCPUEXTSTATE, domain, &[0, 0, 8, at(&*buffer)]).answer);
    row!("fpu.get.no-vcpu", control(XEN_DOMCTL_GETVCPUEXTSTATE, domain, &[9, 0, 0, 0]).answer);
    // Registers of the CPU: vCPU, number, buffer.
    let count = control(XEN_DOMCTL_GET_VCPU_MSRS, domain, &[0, 0]);
    row!("msrs.count", format!("{} {}", count.answer, count.body[0] >> 32 > 0));
    let got = control(XEN_DOMCTL_GET_VCPU_MSRS, domain, &[count.body[0], at(&*buffer)]);
    row!("msrs.get", got.answer);
    row!("msrs.get.no-vcpu", control(XEN_DOMCTL_GET_VCPU_MSRS, domain, &[9, 0]).answer);
    row!("msrs.set", control(XEN_DOMCTL_SET_VCPU_MSRS, domain, &[got.body[0], at(&*buffer)]).answer);
    row!("msrs.set.hole", control(XEN_DOMCTL_SET_VCPU_MSRS, domain, &[1 << 32, bad::HOLE]).answer);
}

/// Number of leaves and of registers, their addresses.
fn policies(domain: u16) {
    let sizes = control(XEN_DOMCTL_GET_CPU_POLICY, domain, &[0, 0, 0]);
    row!("policy.size", sizes.answer);
    let leaves = Box::new([0_u64; 512]);
    let msrs = Box::new([0_u64; 64]);
    let get = control(XEN_DOMCTL_GET_CPU_POLICY, domain, &[80 | 8 << 32, at(&*leaves), at(&*msrs)]);
    row!("policy.get", get.answer);
    row!("policy.get.few", control(XEN_DOMCTL_GET_CPU_POLICY, domain, &[1, at(&*leaves), 0]).answer);
    row!(
        "policy.get.hole",
        control(XEN_DOMCTL_GET_CPU_POLICY, domain, &[80 | 8 << 32, bad::HOLE, at(&*msrs)]).answer
    );
    row!("policy.set.none", control(XEN_DOMCTL_SET_CPU_POLICY, domain, &[0, 0, 0]).answer);
    row!("policy.set.hole", control(XEN_DOMCTL_SET_CPU_POLICY, domain, &[1, bad::HOLE, 0]).answer);
}

fn pausing(domain: u16) {
    row!("pause", control(XEN_DOMCTL_PAUSEDOMAIN, domain, &[]).answer);
    row!("pause.self", control(XEN_DOMCTL_PAUSEDOMAIN, 0, &[]).answer);
    row!("unpause", control(XEN_DOMCTL_UNPAUSEDOMAIN, domain, &[]).answer);
    row!("unpause.self", control(XEN_DOMCTL_UNPAUSEDOMAIN, 0, &[]).answer);
    let shut = |reason: u32, domain: u16| {
        let request = SchedRemoteShutdown { domain_id: domain, reason, ..SchedRemoteShutdown::default() };
        call(SCHED_OP, [SCHEDOP_REMOTE_SHUTDOWN.into(), at(&request), 0, 0, 0])
    };
    row!("shutdown", shut(SHUTDOWN_SUSPEND, domain));
    row!("shutdown.none", shut(SHUTDOWN_SUSPEND, 0x6fff));
    row!("shutdown.flags", Hex(control(XEN_DOMCTL_GETDOMAININFO, domain, &[]).body[0] >> 32));
    row!("resume", control(XEN_DOMCTL_RESUMEDOMAIN, domain, &[]).answer);
    row!("resume.self", control(XEN_DOMCTL_RESUMEDOMAIN, 0, &[]).answer);
    for trigger in [0_u64, 1, 2, 3, 4, 99] {
        row!("trigger.{trigger}", control(XEN_DOMCTL_SENDTRIGGER, domain, &[trigger]).answer);
    }
    row!("trigger.no-vcpu", control(XEN_DOMCTL_SENDTRIGGER, domain, &[9 << 32]).answer);
}

/// Commands that are refused or left out here, with an empty body.
fn left_out(domain: u16) {
    let commands = [
        10_u32, 19, 23, 26, 29, 33, 34, 37, 38, 39, 40, 44, 45, 46, 47, 48, 50, 54, 55, 56, 57, 64, 65, 66,
        67, 71, 74, 75, 77, 78, 79, 81, 84, 85, 86, 87, 1000, 1001, 1002, 1003, 1004,
    ];
    for command in commands {
        row!("refused.{command}", control(command, domain, &[]).answer);
    }
}

fn sysctls() {
    let room = Box::new([0_u64; 512]);
    let buffer = at(&*room);
    row!("console.read", system(XEN_SYSCTL_READCONSOLE, &[0, buffer, 64]).answer);
    row!("console.read.hole", system(XEN_SYSCTL_READCONSOLE, &[0, bad::HOLE, 64]).answer);
    row!("trace.info", system(XEN_SYSCTL_TBUF_OP, &[0]).answer);
    row!("trace.unknown", system(XEN_SYSCTL_TBUF_OP, &[99]).answer);
    let info = system(XEN_SYSCTL_PHYSINFO, &[]);
    row!("machine", info.answer);
    row!("machine.cpus", Hex(info.body[1] & 0xffff_ffff));
    row!("machine.last-cpu", Hex(info.body[1] >> 32));
    row!("machine.nodes", Hex(info.body[2] & 0xffff_ffff));
    row!("scheduler.id", system(XEN_SYSCTL_SCHED_ID, &[]).answer);
    row!("domains", {
        let list = system(XEN_SYSCTL_GETDOMAININFOLIST, &[8 << 32, buffer]);
        format!("{} {}", list.answer, Hex(list.body[2] & 0xffff_ffff))
    });
    row!("domains.hole", system(XEN_SYSCTL_GETDOMAININFOLIST, &[8 << 32, bad::HOLE]).answer);
    row!("domains.none", system(XEN_SYSCTL_GETDOMAININFOLIST, &[0, buffer]).answer);
    row!("keys.none", system(XEN_SYSCTL_DEBUG_KEYS, &[buffer, 0]).answer);
    row!("keys.hole", system(XEN_SYSCTL_DEBUG_KEYS, &[bad::HOLE, 1]).answer);
    row!("cpu-times", {
        let times = system(XEN_SYSCTL_GETCPUINFO, &[4, buffer]);
        format!("{} {}", times.answer, Hex(times.body[2] & 0xffff_ffff))
    });
    row!("cpu-times.hole", system(XEN_SYSCTL_GETCPUINFO, &[4, bad::HOLE]).answer);
    let heap = system(XEN_SYSCTL_AVAILHEAP, &[0, 0xffff_ffff]);
    row!("heap", heap.answer);
    row!("heap.some", heap.body[2] > 0);
    row!("heap.no-node", system(XEN_SYSCTL_AVAILHEAP, &[0, 99]).answer);
    for kind in [0x10_u64, 0x11, 0x20, 0x21, 0x99] {
        row!("power.{kind:#x}", system(XEN_SYSCTL_GET_PMSTAT, &[kind]).answer);
        row!("power-control.{kind:#x}", system(XEN_SYSCTL_PM_OP, &[kind]).answer);
    }
    row!("power.no-cpu", system(XEN_SYSCTL_GET_PMSTAT, &[0x10 | 999 << 32]).answer);
    row!("plug.online-no-cpu", system(XEN_SYSCTL_CPU_HOTPLUG, &[999]).answer);
    row!("plug.online", system(XEN_SYSCTL_CPU_HOTPLUG, &[0]).answer);
    row!("plug.unknown", system(XEN_SYSCTL_CPU_HOTPLUG, &[99 << 32]).answer);
    for command in [XEN_SYSCTL_CPUTOPOINFO, XEN_SYSCTL_NUMAINFO] {
        let size = system(command, &[0, 0, 0]);
        row!("topology.{command}.size", format!("{} {}", size.answer, Hex(size.body[0] & 0xffff_ffff)));
        row!("topology.{command}", system(command, &[8, buffer, buffer + 1024]).answer);
        row!("topology.{command}.hole", system(command, &[8, bad::HOLE, bad::HOLE]).answer);
    }
    row!("devices", system(XEN_SYSCTL_PCITOPOINFO, &[0, 0, 0]).answer);
    let device = 0_u64;
    row!("devices.one", system(XEN_SYSCTL_PCITOPOINFO, &[1, at(&device), buffer]).answer);
    row!("devices.hole", system(XEN_SYSCTL_PCITOPOINFO, &[1, bad::HOLE, bad::HOLE]).answer);
    for operation in 0..9_u64 {
        // Those that change pools name one that there is not.
        row!("pool.{operation}", system(XEN_SYSCTL_CPUPOOL_OP, &[operation | 77 << 32]).answer);
    }
    let map = [0_u64; 8];
    let pool = system(XEN_SYSCTL_CPUPOOL_OP, &[3, 0, 0, at(&map), 64]);
    row!("pool.first", pool.answer);
    let scheduler = system(XEN_SYSCTL_SCHED_ID, &[]).body[0] & 0xffff_ffff;
    row!("parameters", system(XEN_SYSCTL_SCHEDULER_OP, &[scheduler << 32, 1]).answer);
    row!("parameters.pool", system(XEN_SYSCTL_SCHEDULER_OP, &[77 | scheduler << 32, 1]).answer);
    row!("parameters.other", system(XEN_SYSCTL_SCHEDULER_OP, &[99 << 32, 1]).answer);
    for command in [XEN_SYSCTL_PERFC_OP, 14, 15, 20, 21, 23, 27] {
        row!("no.{command}", system(command, &[]).answer);
    }
    row!("levelling", system(XEN_SYSCTL_GET_CPU_LEVELLING_CAPS, &[]).answer);
    for kind in [0_u64, 1, 2, 99] {
        let size = system(26, &[kind, 0]);
        row!("features.{kind}", size.answer);
        row!("features.{kind}.get", system(26, &[kind | 16 << 32, buffer]).answer);
    }
    for kind in [0_u64, 2, 4, 99] {
        row!("policy.{kind}", system(29, &[kind, 0, 0, 0]).answer);
        row!("policy.{kind}.hole", system(29, &[kind, 80 | 8 << 32, bad::HOLE, bad::HOLE]).answer);
    }
}

fn platform() {
    row!("time.old", machine(XENPF_SETTIME32, &[1_700_000_000, 0]).answer);
    row!("time", machine(XENPF_SETTIME64, &[1_700_000_000, 0, 0]).answer);
    row!("time.zero-field", machine(XENPF_SETTIME64, &[1_700_000_000, 1 << 32, 0]).answer);
    let version = machine(XENPF_GET_CPU_VERSION, &[0]);
    row!("cpu-version", version.answer);
    row!("cpu-version.no-cpu", machine(XENPF_GET_CPU_VERSION, &[999]).answer);
    let info = machine(XENPF_GET_CPUINFO, &[0]);
    row!("cpu", format!("{} {} {}", info.answer, Hex(info.body[0] >> 32), Hex(info.body[1] & 0xffff_ffff)));
    row!("cpu.no-cpu", {
        let info = machine(XENPF_GET_CPUINFO, &[999]);
        format!("{} {}", info.answer, Hex(info.body[1] & 0xffff_ffff))
    });
    row!("firmware.keys", machine(XENPF_FIRMWARE_INFO, &[5]).answer);
    for kind in [0_u64, 1, 2, 3, 4, 6, 99] {
        row!("firmware.{kind}", machine(XENPF_FIRMWARE_INFO, &[kind | 99 << 32]).answer);
    }
    // Some of 1 to 5 work on upstream.
    for state in [0_u64, 6, 99] {
        row!("sleep.{state}", machine(XENPF_ENTER_ACPI_SLEEP, &[state << 32]).answer);
    }
    row!("online", machine(XENPF_CPU_ONLINE, &[0]).answer);
    row!("online.no-cpu", machine(XENPF_CPU_ONLINE, &[999]).answer);
    row!("offline.first", machine(XENPF_CPU_OFFLINE, &[0]).answer);
    row!("offline.no-cpu", machine(XENPF_CPU_OFFLINE, &[999]).answer);
    let frame = Frame::new();
    for command in [31_u32, 32, 33, 35, 39, 49, 52, 53, 54, 58, 59, 60, 61, 63] {
        row!("platform.{command}.ones", machine(command, &[u64::MAX; 4]).answer);
    }
    row!("platform.frame", frame.writable());
}
