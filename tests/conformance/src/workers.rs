//! Further vCPUs: brought up, given work, watched.
//!
//! A worker is a vCPU that waits for a [`Job`], carries it out, and waits again. [`Worker::boot`] gives it a stack, the page tables of
//! the first vCPU, and stubs for events, NMIs and traps that count in the worker's [`Slot`], which its GS base points at. A trap
//! goes on at the address in [`Slot::resume`]; without one, the worker is dead.
//!
//! The SDK's allocator, console and events belong to the first vCPU: a job makes plain hypercalls, and touches atomics and memory that
//! nobody else has.

use crate::{Answer, at, call, op, pages, shared, space};
use alloc::boxed::Box;
use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use core::time::Duration;
use domu_sdk::abi::GuestPtr;
use domu_sdk::abi::event_channel::{EVTCHNOP_BIND_IPI, EVTCHNOP_SEND, EvtchnBindIpi, EvtchnSend};
use domu_sdk::abi::sched::{SCHEDOP_POLL, SchedPoll};
use domu_sdk::abi::vcpu::{VCPUOP_DOWN, VCPUOP_INITIALISE, VCPUOP_IS_UP, VCPUOP_UP};
use domu_sdk::abi::xen::{
    FLAT_KERNEL_CS64, FLAT_KERNEL_SS, SharedInfo, TrapInfo, VGCF_IN_KERNEL, VcpuGuestContext, VcpuInfo,
    hypercall,
};
use domu_sdk::time::Instant;

/// vCPUs at most, the first one included.
pub const MAX: usize = 8;
const STACK_PAGES: usize = 4;

/// Work for a worker: its slot and the argument of [`Worker::start`], to what [`Worker::wait`] gives.
pub type Job = extern "C" fn(&Slot, u64) -> u64;

/// It waits for work.
const IDLE: u64 = 1;
/// It works.
const BUSY: u64 = 2;
/// It met a trap that it did not expect.
const DEAD: u64 = 3;

/// What a worker and the others share.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Slot {
    /// Number of the vCPU.
    pub id: AtomicU64,
    state: AtomicU64,
    job: AtomicU64,
    argument: AtomicU64,
    result: AtomicU64,
    /// Address of its `vcpu_info`.
    pub info: AtomicU64,
    /// Upcalls that came.
    pub upcalls: AtomicU64,
    /// NMIs that came.
    pub nmis: AtomicU64,
    /// Traps that came.
    pub traps: AtomicU64,
    /// Vector of the last trap.
    pub vector: AtomicU64,
    /// Where to go on after a trap; 0: nowhere.
    pub resume: AtomicU64,
    /// The port that it waits for between jobs.
    port: AtomicU64,
    /// For the job: how far it is.
    pub progress: AtomicU64,
    /// For the job: not 0 tells it to end.
    pub stop: AtomicU64,
}

impl Slot {
    const fn new() -> Slot {
        const fn zero() -> AtomicU64 {
            AtomicU64::new(0)
        }
        Slot {
            id: zero(),
            state: zero(),
            job: zero(),
            argument: zero(),
            result: zero(),
            info: zero(),
            upcalls: zero(),
            nmis: zero(),
            traps: zero(),
            vector: zero(),
            resume: zero(),
            port: zero(),
            progress: zero(),
            stop: zero(),
        }
    }

    /// Unmasks events for the worker itself, which counts its upcalls.
    pub fn unmask(&self) {
        let info = core::ptr::with_exposed_provenance_mut::<u8>(self.info.load(SeqCst) as usize);
        // SAFETY: `vcpu_info` stays mapped; everybody makes single accesses.
        unsafe { info.add(offset_of!(VcpuInfo, evtchn_upcall_mask)).write_volatile(0) };
        // Any hypercall delivers what is pending.
        call(hypercall::XEN_VERSION, [0; 5]);
    }
}

static SLOTS: [Slot; MAX] = [const { Slot::new() }; MAX];

global_asm!(
    ".section .text.conformance_workers, \"ax\", @progbits",
    ".balign 16",
    ".globl conformance_worker_event",
    "conformance_worker_event:",
    "pop rcx",
    "pop r11",
    "push rax",
    "mov rax, gs:[{info}]",
    // Who waits for the count may send the next event, which must find nothing set.
    "2: mov byte ptr [rax], 0",
    "mov qword ptr [rax + 8], 0",
    "lock inc qword ptr gs:[{upcalls}]",
    "mov byte ptr [rax + 1], 0",
    "mfence",
    // What came meanwhile.
    "cmp byte ptr [rax], 0",
    "je 3f",
    "mov byte ptr [rax + 1], 1",
    "jmp 2b",
    "3: pop rax",
    "or byte ptr [rsp + 8], 3",
    "or byte ptr [rsp + 32], 3",
    "iretq",
    ".globl conformance_worker_nmi",
    "conformance_worker_nmi:",
    "lock inc qword ptr gs:[{nmis}]",
    "pop rcx",
    "pop r11",
    "push 0",
    "push rcx",
    "push r11",
    "push rax",
    "mov eax, 23",
    "syscall",
    "ud2",
    ".globl conformance_worker_traps",
    ".balign 32",
    "conformance_worker_traps:",
    ".set vector, 0",
    ".rept 32",
    ".balign 32",
    "mov qword ptr gs:[{vector}], vector",
    "pop rcx",
    "pop r11",
    // 8, 10..14, 17, 21, 29, 30 push an error code.
    ".if (0x60227d00 >> vector) & 1",
    "add rsp, 8",
    ".endif",
    "jmp conformance_worker_trap",
    ".set vector, vector + 1",
    ".endr",
    "conformance_worker_trap:",
    "lock inc qword ptr gs:[{traps}]",
    "push rax",
    "mov rax, gs:[{resume}]",
    "test rax, rax",
    "jz 4f",
    "mov [rsp + 8], rax",
    "pop rax",
    "or byte ptr [rsp + 8], 3",
    "or byte ptr [rsp + 32], 3",
    "iretq",
    "4: mov qword ptr gs:[{state}], {dead}",
    "mov eax, 24",
    "mov edi, {down}",
    "mov rsi, gs:[{id}]",
    "syscall",
    "jmp 4b",
    info = const offset_of!(Slot, info),
    upcalls = const offset_of!(Slot, upcalls),
    nmis = const offset_of!(Slot, nmis),
    vector = const offset_of!(Slot, vector),
    traps = const offset_of!(Slot, traps),
    resume = const offset_of!(Slot, resume),
    state = const offset_of!(Slot, state),
    id = const offset_of!(Slot, id),
    dead = const DEAD,
    down = const VCPUOP_DOWN,
);

unsafe extern "C" {
    static conformance_worker_event: u8;
    static conformance_worker_nmi: u8;
    static conformance_worker_traps: u8;
}

fn address(symbol: *const u8) -> u64 {
    symbol.expose_provenance() as u64
}

/// The address of the stub for upcalls.
pub fn event_stub() -> u64 {
    address(&raw const conformance_worker_event)
}

/// The address of the stub for NMIs.
pub fn nmi_stub() -> u64 {
    address(&raw const conformance_worker_nmi)
}

fn trap_stub(vector: usize) -> u64 {
    address(&raw const conformance_worker_traps) + 32 * vector as u64
}

/// How long [`relax`] sleeps, in nanoseconds.
const NAP: u64 = 100_000;
/// How often [`until`] looks before it begins to sleep in between.
const GLANCES: u32 = 100;

/// Sleeps for a moment, so that other vCPUs get the CPU if there are fewer CPUs than vCPUs.
///
/// It does not yield in a loop: a vCPU that comes back at once, again and again, keeps an emulator's big lock from the one that
/// it waits for, which then takes seconds to wake up on a busy machine.
pub fn relax() {
    let timeout = Instant::now().nanoseconds() + NAP;
    let request = SchedPoll { timeout, ..SchedPoll::default() };
    call(hypercall::SCHED_OP, [SCHEDOP_POLL.into(), at(&request), 0, 0, 0]);
}

/// Waits until `done`, or for a long time; tells whether it was done.
pub fn until(done: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    for looks in 0.. {
        if done() {
            return true;
        }
        if start.elapsed() > Duration::from_secs(60) {
            break;
        }
        if looks < GLANCES {
            core::hint::spin_loop();
        } else {
            relax();
        }
    }
    false
}

/// `vcpu_op` for a vCPU.
pub fn vcpu_op(operation: u32, id: u64, argument: u64) -> Answer {
    call(hypercall::VCPU_OP, [operation.into(), id, argument, 0, 0])
}

/// Number of vCPUs that the domain has.
pub fn count() -> usize {
    (0..MAX).take_while(|id| vcpu_op(VCPUOP_IS_UP, *id as u64, 0).0 >= 0).count()
}

/// A context in which vCPU `id` starts as a worker.
pub fn context(id: usize) -> Box<VcpuGuestContext> {
    let stack = pages::take(STACK_PAGES);
    let top = pages::address(&stack, 0) + 4096 * STACK_PAGES as u64;
    core::mem::forget(stack);
    let slot = &SLOTS[id];
    slot.id.store(id as u64, SeqCst);
    if slot.port.load(SeqCst) == 0 {
        // Masked, as all ports are at first: a poll ends, and no upcall comes.
        let mut request = EvtchnBindIpi { vcpu: id as u32, ..EvtchnBindIpi::default() };
        let answer = op(hypercall::EVENT_CHANNEL_OP, EVTCHNOP_BIND_IPI, &mut request);
        assert!(answer.0 == 0, "a port for vCPU {id}: {answer}");
        slot.port.store(request.port.into(), SeqCst);
    }
    slot.info.store(shared::info().addr() as u64 + (id * size_of::<VcpuInfo>()) as u64, SeqCst);
    let mut context = Box::new(VcpuGuestContext::default());
    context.flags = VGCF_IN_KERNEL;
    context.user_regs.rip = (work as extern "C" fn(usize) -> !) as usize as u64;
    context.user_regs.rdi = id as u64;
    // As after the call of a function.
    context.user_regs.rsp = top - 8;
    context.user_regs.rflags = 0x202;
    context.user_regs.cs = FLAT_KERNEL_CS64;
    context.user_regs.ss = FLAT_KERNEL_SS;
    context.kernel_ss = FLAT_KERNEL_SS.into();
    context.kernel_sp = top - 8;
    context.ctrlreg[3] = space::root() << 12;
    context.gs_base_kernel = at(slot);
    context.event_callback_eip = event_stub();
    for vector in 0..32 {
        let address = if vector == 2 { nmi_stub() } else { trap_stub(vector) };
        context.trap_ctxt[vector] =
            TrapInfo { vector: vector as u8, cs: FLAT_KERNEL_CS64, address, ..TrapInfo::default() };
    }
    context
}

/// Waits until a port is pending, or a moment, and takes it.
fn wait_for_event(port: u32) {
    let ports = [port];
    let mut request = SchedPoll { nr_ports: 1, ..SchedPoll::default() };
    request.ports = GuestPtr::new(at(&ports));
    call(hypercall::SCHED_OP, [SCHEDOP_POLL.into(), at(&request), 0, 0, 0]);
    pending_bits(port).fetch_and(!(1 << (port % 64)), SeqCst);
}

/// The word of `shared_info` that has a port's pending bit.
fn pending_bits(port: u32) -> &'static AtomicU64 {
    let offset = offset_of!(SharedInfo, evtchn_pending) + port as usize / 64 * 8;
    // SAFETY: the page stays mapped, and everybody makes atomic accesses.
    unsafe { AtomicU64::from_ptr(shared::info().cast::<u8>().add(offset).cast()) }
}

/// Where a worker runs.
extern "C" fn work(id: usize) -> ! {
    let slot = &SLOTS[id];
    slot.state.store(IDLE, SeqCst);
    loop {
        while slot.state.load(SeqCst) != BUSY {
            wait_for_event(slot.port.load(SeqCst) as u32);
        }
        let job = slot.job.load(SeqCst) as usize;
        // SAFETY: `start` put a job there before it said that there is one.
        let job: Job = unsafe { core::mem::transmute(job) };
        slot.result.store(job(slot, slot.argument.load(SeqCst)), SeqCst);
        slot.state.store(IDLE, SeqCst);
    }
}

/// A vCPU that takes jobs.
#[derive(Clone, Copy, Debug)]
pub struct Worker {
    /// Its number.
    pub id: u64,
}

impl Worker {
    /// Brings a vCPU up.
    ///
    /// # Errors
    /// What the hypervisor answered.
    pub fn boot(id: usize) -> Result<Worker, Answer> {
        for (operation, argument) in [(VCPUOP_INITIALISE, at(&*context(id))), (VCPUOP_UP, 0)] {
            let answer = vcpu_op(operation, id as u64, argument);
            if answer.0 != 0 {
                return Err(answer);
            }
        }
        let worker = Worker { id: id as u64 };
        worker.ready();
        Ok(worker)
    }

    /// Waits until it waits for work.
    pub fn ready(&self) -> bool {
        until(|| self.slot().state.load(SeqCst) == IDLE)
    }

    /// What it shares.
    pub fn slot(&self) -> &'static Slot {
        &SLOTS[self.id as usize]
    }

    /// Gives it work.
    pub fn start(&self, job: Job, argument: u64) {
        let slot = self.slot();
        assert!(self.ready(), "vCPU {} does not come to an end", self.id);
        slot.stop.store(0, SeqCst);
        slot.progress.store(0, SeqCst);
        slot.job.store(job as usize as u64, SeqCst);
        slot.argument.store(argument, SeqCst);
        slot.state.store(BUSY, SeqCst);
        let request = EvtchnSend { port: slot.port.load(SeqCst) as u32 };
        call(hypercall::EVENT_CHANNEL_OP, [EVTCHNOP_SEND.into(), at(&request), 0, 0, 0]);
    }

    /// The result of its work; `None` if it does not come.
    pub fn wait(&self) -> Option<u64> {
        self.ready().then(|| self.slot().result.load(SeqCst))
    }

    /// Gives it work and waits for the result.
    pub fn run(&self, job: Job, argument: u64) -> Option<u64> {
        self.start(job, argument);
        self.wait()
    }

    /// Tells its job to end, and waits.
    pub fn stop(&self) -> Option<u64> {
        self.slot().stop.store(1, SeqCst);
        self.wait()
    }

    /// Waits until the job is at least this far.
    pub fn reaches(&self, progress: u64) -> bool {
        until(|| self.slot().progress.load(SeqCst) >= progress)
    }

    /// Whether it met a trap that it did not expect.
    pub fn is_dead(&self) -> bool {
        self.slot().state.load(SeqCst) == DEAD
    }
}

/// Reads a word on the worker; tells what it is, or `u64::MAX` for a trap.
pub extern "C" fn read_word(slot: &Slot, address: u64) -> u64 {
    let value: u64;
    // SAFETY: a trap goes on behind the access, as the slot says.
    unsafe {
        core::arch::asm!(
            "lea {value}, [rip + 2f]",
            "mov [{resume}], {value}",
            "mov {value}, -1",
            "mov {value}, [{address}]",
            "2:",
            "mov qword ptr [{resume}], 0",
            value = out(reg) value,
            resume = in(reg) slot.resume.as_ptr(),
            address = in(reg) address,
            out("rcx") _,
            out("r11") _,
        );
    }
    value
}

/// Writes 1 to a word on the worker; tells whether that worked.
pub extern "C" fn write_word(slot: &Slot, address: u64) -> u64 {
    let value: u64;
    // SAFETY: as above; the boss gave the memory away.
    unsafe {
        core::arch::asm!(
            "lea {value}, [rip + 2f]",
            "mov [{resume}], {value}",
            "xor {value:e}, {value:e}",
            "mov qword ptr [{address}], 1",
            "mov {value:e}, 1",
            "2:",
            "mov qword ptr [{resume}], 0",
            value = out(reg) value,
            resume = in(reg) slot.resume.as_ptr(),
            address = in(reg) address,
            out("rcx") _,
            out("r11") _,
        );
    }
    value
}
