//! What the fuzzer does besides calling: instructions that fault or are emulated, stores into page tables, odd returns.
//!
//! Every exception goes to one handler, which leaves the instruction for [`run`]'s end with the stack of its beginning.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use domu_sdk::abi::xen::hypercall;
use domu_sdk::memory::Pages;
use domu_sdk::memory::layout::pte;
use domu_sdk::{start, traps};
use fuzz_grammar::Source;

use crate::call;
use crate::sandbox::Sandbox;

/// `mov cr3, rax`.
const MOV_TO_CR3: &[u8] = &[0x0f, 0x22, 0xd8];
/// A frame that no machine has.
const NO_FRAME: u64 = 1 << 50;
/// Instructions and pieces of them; what follows them is a return.
const SNIPPETS: &[&[u8]] = &[
    &[0xf4], // hlt
    &[0xfa], // cli
    &[0xfb], // sti
    &[0xcc], // int3
    &[0xf1], // int1
    &[0xce],
    &[0x0f, 0x0b],
    &[0x0f, 0xff, 0xc0],
    &[0x0f, 0x01, 0x10], // lgdt
    &[0x0f, 0x01, 0x18], // lidt
    &[0x0f, 0x00, 0xd0], // lldt
    &[0x0f, 0x00, 0xd8], // ltr
    &[0x0f, 0x01, 0xf0], // lmsw
    &[0x0f, 0x01, 0xe0], // smsw
    &[0x0f, 0x00, 0xc0], // sldt
    &[0x0f, 0x01, 0x38], // invlpg
    &[0x0f, 0x01, 0xf8], // swapgs
    &[0x0f, 0x01, 0xc1], // vmcall
    &[0x0f, 0x01, 0xd9], // vmmcall
    &[0x0f, 0x01, 0xd8], // vmrun
    &[0x0f, 0x01, 0xd1], // xsetbv
    &[0x0f, 0x01, 0xd0], // xgetbv
    &[0x0f, 0x01, 0xc8], // monitor
    &[0x0f, 0x01, 0xc9], // mwait
    &[0x0f, 0x01, 0xca], // clac
    &[0x0f, 0x01, 0xf9], // rdtscp
    &[0x0f, 0x06],       // clts
    &[0x0f, 0x07],       // sysret
    &[0x0f, 0x08],       // invd
    &[0x0f, 0x09],       // wbinvd
    &[0x0f, 0x30],       // wrmsr
    &[0x0f, 0x32],       // rdmsr
    &[0x0f, 0x31],       // rdtsc
    &[0x0f, 0x33],       // rdpmc
    &[0x0f, 0x34],       // sysenter
    &[0x0f, 0x35],       // sysexit
    &[0x0f, 0xa2],       // cpuid
    &[0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2],
    &[0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x90],
    &[0x0f, 0x20, 0xc0], // mov rax, cr0
    &[0x0f, 0x20, 0xd0],
    &[0x0f, 0x20, 0xd8],
    &[0x0f, 0x20, 0xe0],
    &[0x44, 0x0f, 0x20, 0xc0],
    &[0x0f, 0x22, 0xc0], // mov cr0, rax
    &[0x0f, 0x22, 0xd0],
    MOV_TO_CR3,
    &[0x0f, 0x22, 0xe0],
    &[0x0f, 0x21, 0xc0], // mov rax, dr0
    &[0x0f, 0x21, 0xf8],
    &[0x0f, 0x23, 0xc0], // mov dr0, rax
    &[0x0f, 0x23, 0xf0],
    &[0xf0, 0x0f, 0x20, 0xc0],
    &[0x8e, 0xd8], // mov ds, eax
    &[0x8e, 0xc0],
    &[0x8e, 0xe0],
    &[0x8e, 0xe8],
    &[0x8e, 0xd0],
    &[0x9d], // popf
    &[0xcf],
    &[0x48, 0xcf], // iretq
    &[0xca, 8, 0], // far return
    &[0x48, 0xcb],
    &[0x50, 0x9d],
    &[0xff, 0xe0],       // jmp rax
    &[0x48, 0x8b, 0x00], // mov rax, [rax]
    &[0x48, 0xc7, 0x00, 1, 0, 0, 0],
    &[0x0f, 0xae, 0x00],             // fxsave
    &[0x0f, 0xc7, 0x08],             // cmpxchg8b
    &[0xd9, 0xe8],                   // fld1
    &[0xc5, 0xfc, 0x77],             // vzeroupper
    &[0x66, 0x0f, 0x38, 0x82, 0x00], // invpcid
    &[0xf3, 0x48, 0x0f, 0xae, 0xd0], // wrfsbase
    &[0xf3, 0x48, 0x0f, 0xae, 0xd8], // wrgsbase
    &[0x48, 0xf7, 0xf1],             // div rcx
];
/// `int n`, and the port instructions (not in the first domain, which may be given the machine's ports).
const INTERRUPT: u8 = 0xcd;
const PORTS: &[&[u8]] =
    &[&[0xec], &[0xed], &[0xee], &[0xef], &[0xe4, 0x70], &[0xe6, 0x70], &[0x6c], &[0x6e], &[0xf3, 0x6e]];
/// Registers that MSR instructions name. Not 0x40000000: that would write to a page of this guest, as asked.
const MSRS: [u64; 16] = [
    0x10,
    0x1b,
    0x3a,
    0x48,
    0x8b,
    0x10a,
    0x174,
    0x1a0,
    0x1d9,
    0x277,
    0xc000_0080,
    0xc000_0081,
    0xc000_0082,
    0xc000_0100,
    0xc000_0102,
    0xc000_0103,
];
/// Single-step trap, NMI.
const DEBUG: u8 = 1;
const NMI: u8 = 2;

/// Where a caught fault goes on, and with which stack; 0 is nowhere.
static GO_ON: AtomicU64 = AtomicU64::new(0);
static STACK: AtomicU64 = AtomicU64::new(0);
/// The page for code.
static CODE: AtomicU64 = AtomicU64::new(0);

fn recover(frame: &mut traps::Frame) -> traps::Outcome {
    let to = GO_ON.swap(0, Ordering::SeqCst);
    if to == 0 {
        // A breakpoint of a debug register that was set at random.
        return if frame.vector == u64::from(DEBUG) { traps::Outcome::Resume } else { traps::Outcome::Fatal };
    }
    (frame.rip, frame.rsp) = (to, STACK.load(Ordering::SeqCst));
    frame.rflags = 2;
    traps::Outcome::Resume
}

/// A page to write code into, and the handler for everything.
pub fn prepare() {
    let Some(page) = Pages::new(1) else { panic!("no memory") };
    let address = page.as_ptr().expose_provenance() as u64;
    let entry = (page.mfn(0).0 << 12 | pte::READ_WRITE) & !pte::NO_EXECUTE;
    let answer = call(hypercall::UPDATE_VA_MAPPING, [address, entry, 2, 0, 0]);
    assert!(answer == 0, "an executable page was refused: {answer}");
    core::mem::forget(page);
    CODE.store(address, Ordering::Relaxed);
    (0..32).filter(|vector| *vector != NMI).for_each(|vector| {
        traps::set_handler(vector, Some(recover));
    });
}

/// Writes code and a return behind it.
fn place(bytes: &[u8]) -> u64 {
    let code = CODE.load(Ordering::Relaxed);
    for (at, byte) in bytes.iter().chain(&[0xc3, 0xcc]).enumerate() {
        let to = core::ptr::with_exposed_provenance_mut::<u8>(code as usize + at);
        // SAFETY: the page was made for this, and nobody else knows of it.
        unsafe { to.write_volatile(*byte) };
    }
    code
}

/// Runs an instruction with registers of all sorts. CR3 only gets this guest's root or what is none: a table of the sandbox would be
/// an address space without this kernel in it.
pub fn run(source: &mut impl Source, sandbox: &Sandbox) {
    let first = start::info().flags & domu_sdk::abi::xen::SIF_INITDOMAIN != 0;
    let interrupt = [INTERRUPT, source.byte()];
    let snippet = match source.below(8) {
        0 => &interrupt,
        1 if !first => PORTS[source.below(PORTS.len() as u64) as usize],
        _ => SNIPPETS[source.below(SNIPPETS.len() as u64) as usize],
    };
    let code = place(snippet);
    let mut value = || match source.below(8) {
        0 => source.word(),
        1 => 0xffff_8000_0000_0000 + source.below(1 << 43),
        2 => 0x8000_0000_0000 + source.below(4096),
        3 => 0xe000 + source.below(0x50),
        _ => source.below(0x1_0000),
    };
    let (mut rax, rdx) = (value(), value());
    if snippet == MOV_TO_CR3 {
        rax = if source.once_in(2) { sandbox.root << 12 } else { rax | NO_FRAME };
    }
    let rcx = if source.once_in(3) { source.below(256) } else { MSRS[source.below(16) as usize] };
    execute(code, rax, rcx, rdx, source.below(1 << 20));
}

fn execute(code: u64, rax: u64, rcx: u64, rdx: u64, rdi: u64) {
    // SAFETY: none; the instruction does what it does, and faults go on at the label with the stack of here. Selectors and
    // flags that could matter to compiled code are put right.
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            "lea r12, [rip + 2f]",
            "mov [rip + {go_on}], r12",
            "mov [rip + {stack}], rsp",
            "call r13",
            "2:",
            "push 2",
            "popfq",
            "xor ebx, ebx",
            "mov ds, ebx",
            "mov es, ebx",
            "pop rbp",
            "pop rbx",
            go_on = sym GO_ON,
            stack = sym STACK,
            inout("r13") code => _,
            inout("rax") rax => _,
            inout("rcx") rcx => _,
            inout("rdx") rdx => _,
            inout("rdi") rdi => _,
            inout("rsi") rdi => _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _, out("r12") _, out("r14") _, out("r15") _,
        );
    }
    GO_ON.store(0, Ordering::SeqCst);
}

/// Stores into the sandbox's L1 table, as a guest that uses writable page tables.
pub fn store_to_table(source: &mut impl Source, sandbox: &Sandbox) {
    let Some(at) = sandbox.entry_address(source.below(512)) else { return };
    let flags = [0x67, 0x65, 0, 0x1e7, 0x63, 1, 0x27][source.below(7) as usize];
    let frame = if source.once_in(6) { source.below(sandbox.end) } else { sandbox.frame(source.below(64)) };
    // mov [rdi], rax; xchg; lock cmpxchg; mov dword; or; movnti
    let stores: [&[u8]; 7] = [
        &[0x48, 0x89, 0x07],
        &[0x48, 0x87, 0x07],
        &[0xf0, 0x48, 0x0f, 0xb1, 0x17],
        &[0x89, 0x07],
        &[0x48, 0x09, 0x07],
        &[0x48, 0x0f, 0xc3, 0x07],
        &[0x48, 0xab],
    ];
    let code = place(stores[source.below(7) as usize]);
    execute(code, frame << 12 | flags, 1, source.word(), at + source.below(16) / 15 * 4);
}

/// Returns to the next instruction through the `iret` hypercall, with flags that a kernel would not set.
pub fn strange_return(source: &mut impl Source) {
    let flags = match source.below(4) {
        0 => source.word() & 0xffff_ffff,
        1 => 0x3202,
        2 => 0x102,
        _ => 0x2 | 1 << source.below(32),
    };
    let (rax, rcx) = (source.below(1 << 20), source.word());
    // SAFETY: the frame leads to the label with the stack of before; the trap flag's trap is caught and goes there, too.
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            "lea r12, [rip + 2f]",
            "mov [rip + {go_on}], r12",
            "mov [rip + {stack}], rsp",
            "mov r13, rsp",
            "push 0xe02b",
            "push r13",
            "push r14",
            // Ring 0 in the selector says that the kernel goes on; 3 would be its user mode.
            "push 0xe030",
            "push r12",
            // Flags: 0 is the long way back.
            "push 0",
            "push rcx",
            "push 0x246",
            "push rax",
            "mov eax, 23",
            "syscall",
            "ud2",
            "2:",
            "push 2",
            "popfq",
            "pop rbp",
            "pop rbx",
            go_on = sym GO_ON,
            stack = sym STACK,
            inout("r14") flags => _,
            inout("rax") rax => _,
            inout("rcx") rcx => _,
            out("rdx") _, out("rdi") _, out("rsi") _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _, out("r12") _, out("r13") _, out("r15") _,
        );
    }
    GO_ON.store(0, Ordering::SeqCst);
}
