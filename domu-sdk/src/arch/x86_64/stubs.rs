//! Trap and event entry stubs.
//!
//! For a trap in the kernel the hypervisor pushes on the current stack, from the top: `rcx`, `r11`, an error code where the
//! vector has one, then the hardware's frame `rip cs rflags rsp ss`. The saved `cs` shows ring 0 and carries the event mask
//! in its upper half. A stub pops `rcx` and `r11` and builds a [`TrapFrame`].
//!
//! The way back depends on what was interrupted, which the ring in the saved `cs` tells:
//!
//! - **The kernel** (ring 0 is shown): a plain `iretq` to ring 3, as the public header describes for a kernel that returns to
//!   itself. The CPU ignores `IF` there; the event mask is restored by the event code before it returns.
//! - **User mode** (ring 3): the hypercall `iret`. User mode has page tables and a GS base of its own, which only the hypervisor
//!   can load; after a plain `iretq` its code would go on as the kernel. The event mask comes from the frame's `IF`.

use core::arch::global_asm;

/// Registers of the interrupted code, as the stubs lay them out. Handlers may change them.
#[repr(C)]
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "register names")]
pub struct TrapFrame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// Vector number; [`EVENT_VECTOR`] and [`FAILSAFE_VECTOR`] for the two callbacks.
    pub vector: u64,
    /// Error code, 0 where the vector has none.
    pub error_code: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

impl TrapFrame {
    /// Whether user mode was interrupted: its code selector is shown with ring 3, the kernel's with ring 0.
    pub const fn is_user(&self) -> bool {
        self.cs & 3 == 3
    }
}

/// Vector number that stands for the event callback.
pub const EVENT_VECTOR: u64 = 0x100;
/// Vector number that stands for the failsafe callback.
pub const FAILSAFE_VECTOR: u64 = 0x101;
/// Vector number that stands for a SYSCALL of user mode.
pub const SYSCALL_VECTOR: u64 = 0x102;
/// Number of exception stubs.
pub const VECTORS: usize = 32;
/// Distance between two exception stubs in bytes.
const STUB_SIZE: usize = 16;

global_asm!(
    ".section .text.trap_stubs, \"ax\", @progbits",
    ".balign 16",
    ".globl trap_stubs",
    "trap_stubs:",
    ".set vector, 0",
    ".rept {vectors}",
    ".balign {stub_size}",
    "pop rcx",
    "pop r11",
    // 8, 10..14, 17, 21, 29, 30 push an error code.
    ".if ((0x60227d00 >> vector) & 1) == 0",
    "push 0",
    ".endif",
    "push vector",
    "jmp trap_common",
    ".set vector, vector + 1",
    ".endr",
    ".balign 16",
    ".globl event_stub",
    "event_stub:",
    "pop rcx",
    "pop r11",
    "push 0",
    "push {event}",
    "jmp trap_common",
    // A SYSCALL of user mode.
    ".globl user_syscall_stub",
    "user_syscall_stub:",
    "pop rcx",
    "pop r11",
    "push 0",
    "push {syscall}",
    "jmp trap_common",
    // The failsafe frame begins with rcx, r11, ds, es, fs, gs.
    ".globl failsafe_stub",
    "failsafe_stub:",
    "pop rcx",
    "pop r11",
    "add rsp, 32",
    "push 0",
    "push {failsafe}",
    "trap_common:",
    "push rdi",
    "push rsi",
    "push rdx",
    "push rcx",
    "push rax",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "cld",
    "mov rdi, rsp",
    "mov rbx, rsp",
    "and rsp, -16",
    "call {dispatch}",
    // Not 0: the stack pointer with which an `enter` of user mode ends.
    "test rax, rax",
    "jnz 3f",
    "mov rsp, rbx",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rax",
    "pop rcx",
    "pop rdx",
    "pop rsi",
    "pop rdi",
    "add rsp, 16",
    "test byte ptr [rsp + 8], 3",
    "jnz 2f",
    "or byte ptr [rsp + 8], 3",
    "or byte ptr [rsp + 32], 3",
    "iretq",
    // What the hypercall expects below the frame: no flags, and the registers that SYSCALL and its number overwrite.
    "2: push 0",
    "push rcx",
    "push r11",
    "push rax",
    "mov eax, {iret}",
    "syscall",
    "ud2",
    "3: mov rsp, rax",
    "jmp user_leave",
    // Accesses that may fault: the dispatcher moves `rip` from the access to the exit. rdi: address, rsi: where the word goes.
    ".balign 16",
    "probe_read_word:",
    ".globl probe_read_access",
    "probe_read_access: mov rax, [rdi]",
    "mov [rsi], rax",
    "mov eax, 1",
    "ret",
    "probe_write_byte:",
    ".globl probe_write_access",
    "probe_write_access: lock or byte ptr [rdi], 0",
    "mov eax, 1",
    "ret",
    ".globl probe_exit",
    "probe_exit:",
    "xor eax, eax",
    "ret",
    vectors = const VECTORS,
    stub_size = const STUB_SIZE,
    event = const EVENT_VECTOR,
    failsafe = const FAILSAFE_VECTOR,
    syscall = const SYSCALL_VECTOR,
    iret = const abi::xen::hypercall::IRET,
    dispatch = sym dispatch,
);

/// Called by the stubs with the frame they built. Returns 0 to go back to what was interrupted, or the stack pointer with which
/// the `enter` of user mode ends.
extern "C" fn dispatch(frame: &mut TrapFrame) -> u64 {
    if frame.is_user() {
        if frame.vector == EVENT_VECTOR {
            crate::events::upcall();
        }
        let rsp = super::user::leave(frame);
        if rsp != 0 || frame.vector == EVENT_VECTOR {
            return rsp;
        }
    }
    dispatch_kernel(frame);
    0
}

fn dispatch_kernel(frame: &mut TrapFrame) {
    let probes =
        [(&raw const probe_read_access).addr() as u64, (&raw const probe_write_access).addr() as u64];
    if probes.contains(&frame.rip) && frame.vector < VECTORS as u64 {
        frame.rip = (&raw const probe_exit).addr() as u64;
        return;
    }
    crate::traps::dispatch(frame);
}

unsafe extern "C" {
    static trap_stubs: u8;
    static event_stub: u8;
    static failsafe_stub: u8;
    static user_syscall_stub: u8;
    static probe_read_access: u8;
    static probe_write_access: u8;
    static probe_exit: u8;
    fn probe_read_word(address: u64, word: &mut u64) -> u32;
    fn probe_write_byte(address: u64) -> u32;
}

/// Address of the stub of an exception vector below [`VECTORS`].
pub fn trap_stub(vector: usize) -> u64 {
    assert!(vector < VECTORS, "exception vector {vector} is not below {VECTORS}");
    (&raw const trap_stubs).addr() as u64 + (vector * STUB_SIZE) as u64
}

/// Addresses of the event and the failsafe stub.
pub fn callback_stubs() -> (u64, u64) {
    ((&raw const event_stub).addr() as u64, (&raw const failsafe_stub).addr() as u64)
}

/// Address of the stub for SYSCALL.
pub(super) fn syscall_stub() -> u64 {
    (&raw const user_syscall_stub).addr() as u64
}

/// Reads a word; `None` if that faults.
pub(crate) fn probe_read(address: u64) -> Option<u64> {
    let mut word = 0;
    // SAFETY: a plain load whose faults are caught; what it reads is only a number.
    (unsafe { probe_read_word(address, &mut word) } != 0).then_some(word)
}

/// Whether a byte can be written; an atomic "or 0" leaves it as it is.
pub(crate) fn probe_write(address: u64) -> bool {
    // SAFETY: the access changes nothing, and its faults are caught.
    (unsafe { probe_write_byte(address) }) != 0
}
