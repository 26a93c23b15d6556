//! Instructions that may trap: what the hypervisor pushed, word for word.
//!
//! [`install`] registers stubs of this module for all 32 vectors. While [`trapped!`] runs its instructions, a stub records the
//! registers at its entry and the words on the stack, and goes on behind the instructions with the stack and the registers as
//! they were. At any other time the stub hands the trap to the SDK, so that its probes and its last words work.

use crate::{Hex, at, call, shared};
use core::arch::global_asm;
use core::fmt;
use domu_sdk::abi::trap::has_error_code;
use domu_sdk::abi::xen::{
    DOMID_SELF, FLAT_KERNEL_CS64, MMUEXT_NEW_USER_BASEPTR, MmuextOp, TrapInfo, hypercall,
};
use domu_sdk::arch;

/// Words of the stack that a stub records.
pub const WORDS: usize = 16;

/// Written by the stubs; read and prepared by [`trapped!`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[doc(hidden)]
pub struct Record {
    /// Where to go on; 0: nobody waits for a trap.
    pub go_on: u64,
    /// With which stack.
    pub stack: u64,
    /// First of the instructions.
    pub first: u64,
    /// What came.
    pub vector: u64,
    /// `rax rbx rcx rdx rsi rdi rbp rsp r8…r15`
    pub registers: [u64; 16],
    /// From `rsp` up.
    pub words: [u64; WORDS],
    /// Where the SDK takes the trap.
    pub sdk: [u64; 32],
    /// RFLAGS at the stub; the arithmetic flags are the stub's own.
    pub flags: u64,
}

#[doc(hidden)]
#[unsafe(no_mangle)]
pub static mut CONFORMANCE_RECORD: Record = Record {
    go_on: 0,
    stack: 0,
    first: 0,
    vector: 0,
    registers: [0; 16],
    words: [0; WORDS],
    sdk: [0; 32],
    flags: 0,
};

/// Distance between two stubs.
const STUB_SIZE: usize = 32;

global_asm!(
    ".section .text.conformance_stubs, \"ax\", @progbits",
    ".balign 32",
    ".globl conformance_stubs",
    "conformance_stubs:",
    ".set vector, 0",
    ".rept 32",
    ".balign {size}",
    "cmp qword ptr [rip + CONFORMANCE_RECORD], 0",
    "je 1f",
    "mov qword ptr [rip + CONFORMANCE_RECORD + 24], vector",
    "jmp conformance_record",
    ".set vector, vector + 1",
    "1:",
    ".balign {size}",
    "jmp qword ptr [rip + CONFORMANCE_RECORD + 288 + 8 * (vector - 1)]",
    ".endr",
    // The system-call callbacks, as vectors 256 and 257.
    ".balign {size}",
    ".globl conformance_syscall",
    "conformance_syscall:",
    "mov qword ptr [rip + CONFORMANCE_RECORD + 24], 256",
    "jmp conformance_record",
    ".balign {size}",
    "mov qword ptr [rip + CONFORMANCE_RECORD + 24], 257",
    "jmp conformance_record",
    ".globl conformance_record",
    "conformance_record:",
    "pushfq",
    "pop qword ptr [rip + CONFORMANCE_RECORD + 544]",
    "mov [rip + CONFORMANCE_RECORD + 32], rax",
    "mov [rip + CONFORMANCE_RECORD + 40], rbx",
    "mov [rip + CONFORMANCE_RECORD + 48], rcx",
    "mov [rip + CONFORMANCE_RECORD + 56], rdx",
    "mov [rip + CONFORMANCE_RECORD + 64], rsi",
    "mov [rip + CONFORMANCE_RECORD + 72], rdi",
    "mov [rip + CONFORMANCE_RECORD + 80], rbp",
    "mov [rip + CONFORMANCE_RECORD + 88], rsp",
    "mov [rip + CONFORMANCE_RECORD + 96], r8",
    "mov [rip + CONFORMANCE_RECORD + 104], r9",
    "mov [rip + CONFORMANCE_RECORD + 112], r10",
    "mov [rip + CONFORMANCE_RECORD + 120], r11",
    "mov [rip + CONFORMANCE_RECORD + 128], r12",
    "mov [rip + CONFORMANCE_RECORD + 136], r13",
    "mov [rip + CONFORMANCE_RECORD + 144], r14",
    "mov [rip + CONFORMANCE_RECORD + 152], r15",
    "cld",
    "mov rsi, rsp",
    "lea rdi, [rip + CONFORMANCE_RECORD + 160]",
    "mov ecx, {words}",
    "rep movsq",
    // rcx and r11 of the interrupted code are the first two words of the frame.
    "mov rcx, [rip + CONFORMANCE_RECORD + 160]",
    "mov r11, [rip + CONFORMANCE_RECORD + 168]",
    "mov rsi, [rip + CONFORMANCE_RECORD + 64]",
    "mov rdi, [rip + CONFORMANCE_RECORD + 72]",
    "mov rsp, [rip + CONFORMANCE_RECORD + 8]",
    "jmp qword ptr [rip + CONFORMANCE_RECORD]",
    size = const STUB_SIZE,
    words = const WORDS,
);

unsafe extern "C" {
    static conformance_stubs: u8;
    static conformance_syscall: u8;
}

/// The stub for a vector.
pub fn stub(vector: usize) -> u64 {
    // Each stub takes two slots.
    (&raw const conformance_stubs).addr() as u64 + (vector * 2 * STUB_SIZE) as u64
}

/// Stubs for callbacks, which show as vectors 256 and 257.
pub fn callback_stub(which: usize) -> u64 {
    (&raw const conformance_syscall).addr() as u64 + (which * STUB_SIZE) as u64
}

/// A table with a stub for each vector, and the empty entry that ends it. Breakpoint and overflow are open to anybody.
pub fn table() -> [TrapInfo; 33] {
    let mut table = [TrapInfo::default(); 33];
    for (vector, entry) in table.iter_mut().enumerate().take(32) {
        let flags = if vector == 3 || vector == 4 { 3 } else { 0 };
        let address = stub(vector);
        *entry =
            TrapInfo { vector: vector as u8, flags, cs: FLAT_KERNEL_CS64, address, ..TrapInfo::default() };
    }
    table
}

/// Registers the stubs. Panics if the hypervisor refuses.
pub fn install() {
    for vector in 0..32 {
        // SAFETY: only this vCPU runs, and no trap is awaited.
        unsafe { CONFORMANCE_RECORD.sdk[vector] = arch::trap_stub(vector) };
    }
    let answer = call(hypercall::SET_TRAP_TABLE, [at(&table()), 0, 0, 0, 0]);
    assert!(answer.0 == 0, "registering the stubs: {answer}");
}

/// A trap as its handler saw it.
#[derive(Clone, Copy, Debug)]
pub struct Trap {
    /// Which.
    pub vector: u64,
    /// Number of bytes between the first instruction and the saved `rip`.
    pub offset: u64,
    /// `rsp` at the handler's entry.
    pub rsp: u64,
    /// `rsp` before the first instruction.
    pub before: u64,
    /// `rax rbx rcx rdx rsi rdi rbp rsp r8…r15` at the handler's entry.
    pub registers: [u64; 16],
    /// The words from `rsp` up: `rcx r11 [error code] rip cs rflags rsp ss`.
    pub words: [u64; WORDS],
    /// The event mask at the handler's entry.
    pub mask: u8,
    /// RFLAGS at the handler's entry, without the arithmetic flags.
    pub flags: u64,
}

impl Trap {
    /// The words of the frame behind `rcx` and `r11`, and behind the error code where there is one.
    pub fn frame(&self) -> &[u64] {
        let first = 2 + usize::from(self.error_code().is_some());
        &self.words[first..first + 5]
    }

    fn has_code(&self) -> bool {
        has_code(self.vector)
    }

    /// The error code, where the vector has one.
    pub fn error_code(&self) -> Option<u64> {
        self.has_code().then(|| self.words[2])
    }
}

/// `vector 14 error 0x6 at +2 cs 0xe030 rflags 0x10246 rsp +0 ss 0xe02b mask 0 flags 0x202`
impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vector {}", self.vector)?;
        if let Some(code) = self.error_code() {
            write!(f, " error {}", Hex(code))?;
        }
        let &[_, cs, rflags, rsp, ss] = self.frame() else { return Ok(()) };
        write!(f, " at +{} cs {} rflags {:#x}", Hex(self.offset), Hex(cs), rflags)?;
        write!(f, " rsp {:+} ss {}", rsp.wrapping_sub(self.before) as i64, Hex(ss))?;
        write!(f, " mask {} flags {:#x}", self.mask, self.flags)
    }
}

/// What [`trapped!`] gives; shown as the trap, or as `no trap`.
#[derive(Clone, Copy, Debug)]
pub struct Outcome(pub Option<Trap>);

impl Outcome {
    /// `vector 13 error 0`, or `no trap`: for rows about instructions whose frame is of no interest.
    pub fn short(&self) -> alloc::string::String {
        match self.0 {
            None => "no trap".into(),
            Some(trap) => match trap.error_code() {
                Some(code) => alloc::format!("vector {} error {}", trap.vector, Hex(code)),
                None => alloc::format!("vector {}", trap.vector),
            },
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(trap) => trap.fmt(f),
            None => f.write_str("no trap"),
        }
    }
}

fn has_code(vector: u64) -> bool {
    u8::try_from(vector).is_ok_and(has_error_code)
}

/// Reads the record after the instructions; the event mask becomes what it was before. What [`trapped!`] calls.
#[doc(hidden)]
pub fn outcome(mask_before: u8) -> Outcome {
    // SAFETY: the stub is through, and no trap is awaited any more.
    let record = unsafe {
        let record = (&raw const CONFORMANCE_RECORD).read_volatile();
        (&raw mut CONFORMANCE_RECORD.go_on).write_volatile(0);
        record
    };
    let mask = shared::mask();
    shared::set_mask(mask_before);
    if record.vector == u64::MAX {
        return Outcome(None);
    }
    let rip_word = 2 + usize::from(has_code(record.vector));
    Outcome(Some(Trap {
        vector: record.vector,
        offset: record.words[rip_word].wrapping_sub(record.first),
        rsp: record.registers[7],
        before: record.stack,
        registers: record.registers,
        words: record.words,
        mask,
        flags: record.flags & !0x8d5,
    }))
}

/// Runs instructions and tells which trap they raised: `trapped!("mov rax, [{a}]"; a = in(reg) address, out("rax") _)`.
///
/// The operands are those of `asm!`. The arithmetic flags are always the same at the start.
#[macro_export]
macro_rules! trapped {
    ($($text:literal),+ $(; $($operands:tt)*)?) => {{
        let mask = $crate::shared::mask();
        // SAFETY: none in general; a trap is caught, and what the instructions do otherwise is the caller's to know.
        unsafe {
            core::arch::asm!(
                "mov qword ptr [rip + CONFORMANCE_RECORD + 24], -1",
                "lea {conformance_scratch}, [rip + 2f]",
                "mov [rip + CONFORMANCE_RECORD], {conformance_scratch}",
                "lea {conformance_scratch}, [rip + 3f]",
                "mov [rip + CONFORMANCE_RECORD + 16], {conformance_scratch}",
                "mov [rip + CONFORMANCE_RECORD + 8], rsp",
                "cmp rsp, rsp",
                "3:",
                $($text,)+
                "2:",
                conformance_scratch = out(reg) _,
                $($($operands)*)?
            );
        }
        $crate::trap::outcome(mask)
    }};
}

/// The user stack of [`in_user!`], and the kernel's stack for its traps: a page each, and one between them.
#[doc(hidden)]
#[repr(C, align(4096))]
pub struct Stacks(pub [u64; 1536]);

#[doc(hidden)]
#[unsafe(no_mangle)]
pub static mut CONFORMANCE_STACKS: Stacks = Stacks([0; 1536]);

/// Tops of the user's and the kernel's stack of [`in_user!`], with room above each.
pub fn stacks() -> (u64, u64) {
    let base = (&raw const CONFORMANCE_STACKS).addr() as u64;
    (base + 4096 - 512, base + 3 * 4096 - 512)
}

/// Prepares user mode: its page tables are the kernel's. Panics if the hypervisor refuses.
pub fn prepare_user() {
    let root = domu_sdk::start::info().pt_base;
    let pfn = (root - domu_sdk::memory::layout::IMAGE_BASE) / 4096;
    let mfn = domu_sdk::memory::machine_frame(domu_sdk::types::Pfn(pfn)).expect("the root has a frame");
    let mut request = MmuextOp { cmd: MMUEXT_NEW_USER_BASEPTR, ..MmuextOp::default() };
    request.set_mfn(mfn.0);
    let answer = call(hypercall::MMUEXT_OP, [at(&request), 1, 0, DOMID_SELF.into(), 0]);
    assert!(answer.0 == 0, "giving user mode a page table: {answer}");
    let answer = call(hypercall::STACK_SWITCH, [0xe02b, stacks().1, 0, 0, 0]);
    assert!(answer.0 == 0, "setting the kernel's stack: {answer}");
}

/// As [`outcome`] for [`in_user!`]: `rsp` in the frame is shown as a distance from the user's stack.
#[doc(hidden)]
pub fn user_outcome(mask_before: u8) -> Outcome {
    let mut outcome = outcome(mask_before);
    if let Some(trap) = &mut outcome.0 {
        trap.before = stacks().0;
    }
    outcome
}

/// Runs instructions in the guest's user mode, entered by the `iret` hypercall, and tells which trap ended them. Behind them is
/// a `ud2`. To be used after [`prepare_user`]; memory operands are fine, the stack is the user's own.
///
/// Events stay masked, unless the instructions come after the word `unmasked`.
#[macro_export]
macro_rules! in_user {
    (unmasked $($rest:tt)+) => { $crate::in_user!(@ 0x246 $($rest)+) };
    ($text:literal $($rest:tt)*) => { $crate::in_user!(@ 0x46 $text $($rest)*) };
    (@ $flags:literal $($text:literal),+ $(; $($operands:tt)*)?) => {{
        let mask = $crate::shared::mask();
        // SAFETY: none in general; a trap is caught, and what the instructions do otherwise is the caller's to know.
        unsafe {
            core::arch::asm!(
                "mov qword ptr [rip + CONFORMANCE_RECORD + 24], -1",
                "lea {conformance_scratch}, [rip + 2f]",
                "mov [rip + CONFORMANCE_RECORD], {conformance_scratch}",
                "lea {conformance_scratch}, [rip + 3f]",
                "mov [rip + CONFORMANCE_RECORD + 16], {conformance_scratch}",
                "mov [rip + CONFORMANCE_RECORD + 8], rsp",
                "push 0xe02b",
                "lea {conformance_scratch}, [rip + CONFORMANCE_STACKS + 4096 - 512]",
                "push {conformance_scratch}",
                "push {conformance_flags}",
                "push 0xe033",
                "lea {conformance_scratch}, [rip + 3f]",
                "push {conformance_scratch}",
                "push 0",
                "push rcx",
                "push r11",
                "push rax",
                "mov eax, 23",
                "syscall",
                "3:",
                $($text,)+
                "ud2",
                "2:",
                conformance_scratch = out(reg) _,
                conformance_flags = const $flags,
                $($($operands)*)?
            );
        }
        $crate::trap::user_outcome(mask)
    }};
}
