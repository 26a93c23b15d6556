//! Random bytes as code, in kernel and in user mode, and random hypercalls. The seed is on the command line (`seed=N`), so a
//! run can be had again.
//!
//! Code runs instruction by instruction (the trap flag is set), so that a loop ends: after [`STEPS`] instructions, or with a
//! fault, the next bytes have their turn. What gets into the trap handler on a way that was not foreseen ends the guest; so
//! these guests end in order, or as crashed, but end they do.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use domu_sdk::abi::xen::{
    DOMID_SELF, FLAT_KERNEL_SS64, FLAT_USER_CS64, FLAT_USER_SS64, IretContext, MMUEXT_NEW_USER_BASEPTR,
    MmuextOp, hypercall,
};
use domu_sdk::memory::Pages;
use domu_sdk::memory::layout::{IMAGE_BASE, pte};
use domu_sdk::types::Pfn;
use domu_sdk::{arch, println, shutdown, start, traps};

use crate::call;

/// Snippets of code that are tried.
const ROUNDS: u64 = 3000;
/// Instructions of one snippet at most.
const STEPS: u64 = 40;
/// Hypercalls of [`hypercalls`].
const CALLS: u64 = 20_000;
/// Bytes of code of each snippet.
const SNIPPET: usize = 64;
/// Flags: the trap flag, and bit 1.
const SINGLE_STEP: u64 = 0x102;
/// Vector of the single-step trap.
const DEBUG: u8 = 1;

static STATE: AtomicU64 = AtomicU64::new(0);
static ROUND: AtomicU64 = AtomicU64::new(0);
static STEP: AtomicU64 = AtomicU64::new(0);
static CODE: AtomicU64 = AtomicU64::new(0);
static IN_USER: AtomicU64 = AtomicU64::new(0);

fn next() -> u64 {
    let mut state = STATE.load(Ordering::Relaxed);
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    STATE.store(state, Ordering::Relaxed);
    state
}

fn seed() {
    let seed = start::parameter("seed").and_then(|seed| seed.parse().ok()).unwrap_or(1_u64);
    STATE.store(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, Ordering::Relaxed);
}

/// A page for code, writable and executable, and the handlers.
fn prepare() {
    seed();
    let Some(page) = Pages::new(1) else { panic!("no memory") };
    let address = page.as_ptr().expose_provenance() as u64;
    let entry = (page.mfn(0).0 << 12 | pte::READ_WRITE) & !pte::NO_EXECUTE;
    let answer = call(hypercall::UPDATE_VA_MAPPING, [address, entry, 2, 0, 0]);
    assert!(answer == 0, "an executable page was refused: {answer}");
    core::mem::forget(page);
    CODE.store(address, Ordering::Relaxed);
    for vector in (0..32).filter(|vector| *vector != DEBUG && *vector != 2) {
        traps::set_handler(vector, Some(fault));
    }
    traps::set_handler(DEBUG, Some(step));
}

fn step(frame: &mut traps::Frame) -> traps::Outcome {
    if IN_USER.load(Ordering::Relaxed) == 0 {
        let more = STEP.fetch_add(1, Ordering::Relaxed) < STEPS;
        return if more { traps::Outcome::Resume } else { fault(frame) };
    }
    if STEP.fetch_add(1, Ordering::Relaxed) >= STEPS {
        enter();
    }
    resume(frame)
}

fn fault(_: &mut traps::Frame) -> traps::Outcome {
    enter()
}

/// Goes on with the interrupted user code.
fn resume(frame: &traps::Frame) -> ! {
    let context = IretContext {
        rax: frame.rax,
        r11: frame.r11,
        rcx: frame.rcx,
        rip: frame.rip,
        cs: frame.cs & 0xffff | 3,
        rflags: frame.rflags | SINGLE_STEP,
        rsp: frame.rsp,
        ss: frame.ss,
        ..IretContext::default()
    };
    iret(&context)
}

/// Leaves for where the context says. All other registers are random: user code must not know where the kernel's data are.
fn iret(context: &IretContext) -> ! {
    let registers: [u64; 10] = core::array::from_fn(|_| next());
    // SAFETY: none; the hypervisor decides what becomes of it.
    unsafe {
        asm!(
            "mov rsp, {context}",
            "mov rbx, [rdi]",
            "mov rbp, [rdi + 8]",
            "mov r8, [rdi + 16]",
            "mov r9, [rdi + 24]",
            "mov r10, [rdi + 32]",
            "mov r12, [rdi + 40]",
            "mov r13, [rdi + 48]",
            "mov r14, [rdi + 56]",
            "mov r15, [rdi + 64]",
            "mov rsi, [rdi + 72]",
            "xor edi, edi",
            "xor edx, edx",
            "mov eax, 23",
            "syscall",
            "ud2",
            context = in(reg) core::ptr::from_ref(context),
            in("rdi") registers.as_ptr(),
            options(noreturn),
        )
    }
}

/// The next snippet, with random registers. The stack below the handler is given up.
fn enter() -> ! {
    let round = ROUND.fetch_add(1, Ordering::Relaxed);
    if round == ROUNDS {
        println!("{ROUNDS} snippets ran");
        println!("RESULT: refused");
        shutdown::now(shutdown::Reason::PowerOff)
    }
    STEP.store(0, Ordering::Relaxed);
    let code = CODE.load(Ordering::Relaxed);
    let bytes = core::ptr::with_exposed_provenance_mut::<u64>(code as usize);
    for index in 0..SNIPPET / 8 {
        // SAFETY: the page was made for this, and nobody else knows of it.
        unsafe { bytes.add(index).write_volatile(next()) };
    }
    if IN_USER.load(Ordering::Relaxed) != 0 {
        iret(&IretContext {
            rax: next(),
            r11: next(),
            rcx: next(),
            rip: code,
            cs: u64::from(FLAT_USER_CS64) | 3,
            rflags: SINGLE_STEP,
            rsp: next(),
            ss: u64::from(FLAT_USER_SS64) | 3,
            ..IretContext::default()
        });
    }
    // SAFETY: none; the snippet may do what it likes, and ends in a handler.
    unsafe {
        asm!(
            "mov rsp, {stack}",
            "push 0x102",
            "popfq",
            "jmp {code}",
            code = in(reg) code,
            stack = in(reg) kernel_stack(),
            options(noreturn),
        )
    }
}

/// Bytes of the stack on which handlers run.
const STACK_BYTES: usize = 64 * 1024;

#[repr(align(4096))]
#[expect(dead_code, reason = "its memory is the stack")]
struct Stack([u8; STACK_BYTES]);

static mut HANDLER_STACK: Stack = Stack([0; STACK_BYTES]);

/// The top of the handlers' stack.
fn kernel_stack() -> u64 {
    (&raw mut HANDLER_STACK).expose_provenance() as u64 + STACK_BYTES as u64
}

/// Random code in the guest's kernel.
pub fn kernel() {
    prepare();
    println!("ATTEMPT random code in the kernel");
    enter()
}

/// Random code in the guest's user mode.
pub fn user() {
    prepare();
    let pfn = Pfn((start::info().pt_base - IMAGE_BASE) / 4096);
    let root = domu_sdk::memory::machine_frame(pfn).map_or(0, |mfn| mfn.0);
    let mut request = MmuextOp { cmd: MMUEXT_NEW_USER_BASEPTR, ..MmuextOp::default() };
    request.set_mfn(root);
    let at = core::ptr::from_ref(&request).expose_provenance() as u64;
    let answer = call(hypercall::MMUEXT_OP, [at, 1, 0, DOMID_SELF.into(), 0]);
    assert!(answer == 0, "a user page table was refused: {answer}");
    call(hypercall::STACK_SWITCH, [FLAT_KERNEL_SS64.into(), kernel_stack(), 0, 0, 0]);
    IN_USER.store(1, Ordering::Relaxed);
    println!("ATTEMPT random code in user mode");
    enter()
}

/// Hypercalls that end or stop the guest, or replace its handlers, as they should.
const LEFT_OUT: [u64; 6] = [
    hypercall::SET_TRAP_TABLE,
    hypercall::SET_CALLBACKS,
    hypercall::SCHED_OP_COMPAT,
    hypercall::IRET,
    hypercall::SCHED_OP,
    hypercall::CALLBACK_OP,
];

/// Random hypercalls with random arguments.
pub fn hypercalls() {
    seed();
    println!("ATTEMPT random hypercalls");
    let page = Pages::new(1).map(|page| page.as_ptr().expose_provenance() as u64).unwrap_or(0);
    for _ in 0..CALLS {
        let number = next() % 64;
        if LEFT_OUT.contains(&number) {
            continue;
        }
        let argument = || match next() % 6 {
            0 => next() % 32,
            1 => page + next() % 4096,
            2 => next(),
            3 => 0xffff_8000_0000_0000 + next() % (1 << 43),
            4 => u64::from(DOMID_SELF),
            _ => next() % 0x2_0000,
        };
        let arguments = [argument(), argument(), argument(), argument(), argument()];
        // SAFETY: none; whatever it does to this guest, it must not do to others.
        unsafe { arch::raw_hypercall(number, arguments) };
    }
    println!("{CALLS} hypercalls answered");
}
