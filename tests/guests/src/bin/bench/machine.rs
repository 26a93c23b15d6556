//! The unsafe part of the bench guest: instructions, trap stubs, user mode.
//!
//! The SDK brings the domain up and prints. Everything that is measured is done here directly, so that what surrounds an
//! operation is a few instructions and the same on every hypervisor.
//!
//! # Invariants
//! - B-1 *One at a time*: the guest has one vCPU and one task. The statics below are read by the stubs only while a
//!   measurement runs.
//! - B-2 *Own memory*: pages that a hypercall changes, maps or takes away belong to [`super::arena`] and are never Rust
//!   objects while that goes on.

use core::{
    arch::{asm, global_asm},
    sync::atomic::{AtomicU64, Ordering},
};

/// How often each operation is measured.
pub const SAMPLES: usize = 129;

/// What user code loads into `eax` to be let out.
const LEAVE: u64 = 0x7777;

/// Times of round trips from user mode, written by the user code.
static USER_TIMES: [AtomicU64; SAMPLES] = [const { AtomicU64::new(0) }; SAMPLES];
/// Address of the shared page, for the event stub.
static SHARED: AtomicU64 = AtomicU64::new(0);
/// The port whose pending bit the event stub clears.
static PORT: AtomicU64 = AtomicU64::new(0);
/// Calls of the event stub.
static UPCALLS: AtomicU64 = AtomicU64::new(0);
/// The kernel's stack pointer while user code runs.
static KERNEL_RSP: AtomicU64 = AtomicU64::new(0);

// A stub finds rcx, r11, (error code,) rip, cs, rflags, rsp, ss on its stack, and leaves by the IRET hypercall, which takes
// rax, r11, rcx, flags in front of rip (public header `arch-x86/xen-x86_64.h`, `struct iret_context`).
global_asm!(
    ".macro bench_leave flags",
    "push \\flags",
    "push rcx",
    "push r11",
    "push rax",
    "mov eax, 23",
    "syscall",
    ".endm",
    ".text",
    "bench_trap:",
    "pop rcx",
    "pop r11",
    "bench_leave 0",
    // Steps over an instruction of two bytes.
    "bench_invalid_opcode:",
    "pop rcx",
    "pop r11",
    "add qword ptr [rsp], 2",
    "bench_leave 0",
    "bench_page_fault:",
    "pop rcx",
    "pop r11",
    "add rsp, 8",
    "add qword ptr [rsp], 2",
    "bench_leave 0",
    // A system call; 256 says that rcx and r11 need not be restored.
    "bench_syscall:",
    "cmp eax, {leave}",
    "je 2f",
    "pop rcx",
    "pop r11",
    "bench_leave 256",
    "2: mov rsp, [rip + {kernel_rsp}]",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "pop rbp",
    "ret",
    // An event: clears it everywhere.
    "bench_event:",
    "inc qword ptr [rip + {upcalls}]",
    "mov rcx, [rip + {shared}]",
    "mov r11, [rip + {port}]",
    "mov byte ptr [rcx], 0",
    "mov qword ptr [rcx + 8], 0",
    "lock btr [rcx + 2048], r11",
    "pop rcx",
    "pop r11",
    "bench_leave 0",
    // bench_enter_user(code, stack): returns when the code asks to leave.
    "bench_enter_user:",
    "push rbp",
    "push rbx",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov [rip + {kernel_rsp}], rsp",
    "lea r13, [rip + {times}]",
    "mov r14d, {samples}",
    "push 0xe02b",
    "push rsi",
    "push 0x202",
    "push 0xe033",
    "push rdi",
    "mov rdi, rdx",
    "bench_leave 0",
    // The loops that run in user mode.
    ".macro bench_user name, instruction:vararg",
    "bench_user_\\name:",
    "2: rdtsc",
    "shl rdx, 32",
    "or rax, rdx",
    "mov r15, rax",
    "\\instruction",
    "rdtsc",
    "shl rdx, 32",
    "or rax, rdx",
    "sub rax, r15",
    "mov [r13], rax",
    "add r13, 8",
    "dec r14d",
    "jnz 2b",
    "mov eax, {leave}",
    "syscall",
    ".endm",
    "bench_user syscall, syscall",
    "bench_user int80, int 0x80",
    "bench_user int3, int3",
    "bench_user fault, test [rdi], al",
    leave = const LEAVE,
    samples = const SAMPLES,
    kernel_rsp = sym KERNEL_RSP,
    upcalls = sym UPCALLS,
    shared = sym SHARED,
    port = sym PORT,
    times = sym USER_TIMES,
);

unsafe extern "C" {
    static bench_trap: u8;
    static bench_invalid_opcode: u8;
    static bench_page_fault: u8;
    static bench_syscall: u8;
    static bench_event: u8;
    static bench_user_syscall: u8;
    static bench_user_int80: u8;
    static bench_user_int3: u8;
    static bench_user_fault: u8;
    fn bench_enter_user(code: u64, stack: u64, argument: u64);
}

/// Addresses of the stubs.
#[derive(Clone, Copy, Debug)]
pub enum Stub {
    /// Returns at once; for breakpoints and software interrupts.
    Trap,
    /// Returns behind the instruction of two bytes.
    InvalidOpcode,
    /// The same, with an error code.
    PageFault,
    /// System calls.
    Syscall,
    /// Events.
    Event,
}

impl Stub {
    /// Where it is.
    pub fn address(self) -> u64 {
        let at = match self {
            Self::Trap => &raw const bench_trap,
            Self::InvalidOpcode => &raw const bench_invalid_opcode,
            Self::PageFault => &raw const bench_page_fault,
            Self::Syscall => &raw const bench_syscall,
            Self::Event => &raw const bench_event,
        };
        at.addr() as u64
    }
}

/// How user code enters the kernel.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// SYSCALL.
    Syscall,
    /// INT 0x80.
    Int80,
    /// INT3.
    Breakpoint,
    /// A read of an address that is not mapped.
    Fault,
}

/// Runs the loop of [`SAMPLES`] round trips in user mode, on `stack`; the times come out.
pub fn user_round_trips(way: Way, stack: u64, unmapped: u64) -> [u64; SAMPLES] {
    let code = match way {
        Way::Syscall => &raw const bench_user_syscall,
        Way::Int80 => &raw const bench_user_int80,
        Way::Breakpoint => &raw const bench_user_int3,
        Way::Fault => &raw const bench_user_fault,
    };
    // SAFETY: B-1; the function keeps the callee-saved registers, and user code writes only `USER_TIMES`.
    unsafe { bench_enter_user(code.addr() as u64, stack, unmapped) };
    core::array::from_fn(|i| USER_TIMES[i].swap(0, Ordering::Relaxed))
}

/// Tells the event stub what to clear.
pub fn set_event_source(shared: u64, port: u32) {
    SHARED.store(shared, Ordering::Relaxed);
    PORT.store(port.into(), Ordering::Relaxed);
}

/// How often the event stub ran.
pub fn upcalls() -> u64 {
    UPCALLS.load(Ordering::Relaxed)
}

/// The time-stamp counter.
#[inline(always)]
pub fn now() -> u64 {
    let (low, high): (u64, u64);
    // SAFETY: reads a counter. Not `nomem`, so that accesses stay on their side of it.
    unsafe { asm!("rdtsc", out("rax") low, out("rdx") high, options(nostack)) };
    high << 32 | low
}

/// Issues a hypercall. What it changes is of this guest, see B-2.
#[inline(always)]
pub fn call(number: u64, arguments: [u64; 5]) -> i64 {
    // SAFETY: B-2; the callers pass addresses of live values, or of pages of the arena.
    unsafe { domu_sdk::arch::raw_hypercall(number, arguments) }
}

/// The address of a value that a hypercall reads or fills in.
#[inline(always)]
pub fn address<T: ?Sized>(value: &mut T) -> u64 {
    core::ptr::from_mut(value).cast::<u8>().expose_provenance() as u64
}

/// Reads a word of the arena or of a page table.
#[inline(always)]
pub fn peek(address: u64) -> u64 {
    // SAFETY: B-2; the page is mapped.
    unsafe { core::ptr::with_exposed_provenance::<u64>(address as usize).read_volatile() }
}

/// Writes a word of the arena, or of a page table, which the hypervisor then checks.
#[inline(always)]
pub fn poke(address: u64, value: u64) {
    // SAFETY: B-2.
    unsafe { core::ptr::with_exposed_provenance_mut::<u64>(address as usize).write_volatile(value) }
}

/// Writes a byte of the arena.
#[inline(always)]
pub fn poke_byte(address: u64, value: u8) {
    // SAFETY: B-2.
    unsafe { core::ptr::with_exposed_provenance_mut::<u8>(address as usize).write_volatile(value) }
}

/// Returns to the next instruction by the IRET hypercall.
#[inline(always)]
pub fn iret_to_kernel() {
    // SAFETY: the frame names the current stack and the next instruction; only rcx and r11 change.
    unsafe {
        asm!(
            "mov {old}, rsp",
            "push 0xe02b",
            "push {old}",
            "push 0x202",
            "push 0xe030",
            "lea {next}, [rip + 2f]",
            "push {next}",
            "push 0",
            "push rcx",
            "push r11",
            "push rax",
            "mov eax, 23",
            "syscall",
            "2:",
            old = out(reg) _,
            next = out(reg) _,
            out("rax") _,
            out("rcx") _,
            out("r11") _,
        );
    }
}

/// INT3.
#[inline(always)]
pub fn breakpoint() {
    // SAFETY: the stub returns.
    unsafe { asm!("int3") };
}

/// UD2.
#[inline(always)]
pub fn invalid_opcode() {
    // SAFETY: the stub returns behind the two bytes.
    unsafe { asm!("ud2") };
}

/// Reads from an address that is not mapped.
#[inline(always)]
pub fn fault(unmapped: u64) {
    // SAFETY: the stub returns behind the two bytes; flags change.
    unsafe { asm!("test [rdi], al", in("rdi") unmapped) };
}

/// MOV from CR0.
#[inline(always)]
pub fn read_cr0() -> u64 {
    let value: u64;
    // SAFETY: emulated, reads a register.
    unsafe { asm!("mov {}, cr0", out(reg) value, options(nostack)) };
    value
}

/// MOV to CR0.
#[inline(always)]
pub fn write_cr0(value: u64) {
    // SAFETY: emulated; the bench writes back what it read.
    unsafe { asm!("mov cr0, {}", in(reg) value, options(nostack)) };
}

/// CLTS.
#[inline(always)]
pub fn clts() {
    // SAFETY: emulated; the guest does not use the FPU.
    unsafe { asm!("clts", options(nostack)) };
}

/// CLI, which changes nothing for a PV guest.
#[inline(always)]
pub fn cli() {
    // SAFETY: emulated.
    unsafe { asm!("cli", options(nostack)) };
}

/// RDMSR.
#[inline(always)]
pub fn read_msr(number: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: emulated, reads a register.
    unsafe { asm!("rdmsr", in("ecx") number, out("eax") low, out("edx") high, options(nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

/// WRMSR of a value below 2^32.
#[inline(always)]
pub fn write_msr(number: u32, value: u32) {
    // SAFETY: emulated; the bench writes the base of FS only, which nobody uses.
    unsafe { asm!("wrmsr", in("ecx") number, in("eax") value, in("edx") 0, options(nostack)) };
}

/// OUT of one byte.
#[inline(always)]
pub fn out_byte(port: u16, value: u8) {
    // SAFETY: emulated; the port is the one for diagnostic codes.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nostack)) };
}

/// Reads a register of PCI configuration space.
#[inline(always)]
pub fn pci_read(register: u32) -> u32 {
    let value;
    // SAFETY: emulated; reading an identification has no effect.
    unsafe {
        asm!(
            "mov edx, 0xcf8",
            "out dx, eax",
            "mov edx, 0xcfc",
            "in eax, dx",
            inout("eax") register => value,
            out("edx") _,
            options(nostack),
        );
    }
    value
}

/// Reads a half word (32 bits) that a hypercall may have changed.
#[inline(always)]
pub fn peek_half(address: u64) -> u32 {
    // SAFETY: B-2.
    unsafe { core::ptr::with_exposed_provenance::<u32>(address as usize).read_volatile() }
}

/// Writes a half word of a hypercall's argument.
#[inline(always)]
pub fn poke_half(address: u64, value: u32) {
    // SAFETY: B-2.
    unsafe { core::ptr::with_exposed_provenance_mut::<u32>(address as usize).write_volatile(value) }
}
