//! Ways in and out of the hypervisor.
//!
//! **From a guest.** TSS.RSP0 points to the end of the running vCPU's `Registers`, so the CPU pushes its frame into place, and
//! the stub pushes below it what a callee does not preserve; then the stack becomes this CPU's own. Most exceptions need no more:
//! [`crate::exit::guest_trap`] bounces them to the guest's handler. If more is to be done, RBX, RBP and R12 to R15 are saved as
//! well, and [`crate::exit::guest_exit`] returns the registers of the vCPU to resume, which may be another. SYSCALL has a page of its own ([`syscall`]).
//!
//! **Before the guest goes on**, `IS_PENDING` looks whether something waits for it, through pointers that the CPU keeps for the
//! running vCPU ([`crate::cpu::PerCpu::watch`]).
//!
//! **From the hypervisor itself** (an interrupt in idle, a fault at an address that a guest gave): the frame is pushed on the
//! current stack and the same code is resumed, or a fixup of it ([`crate::fixup`]).
//!
//! **NMI, #MC, #DF, #DB** may come anywhere, even between SYSCALL and the first SWAPGS, so they have stacks of their own
//! (IST), at whose top the address of the CPU's data lies; they save GS base and set it from there. #DB and NMI from ring 3
//! go the way of all exits instead, because the IRETQ back to a guest may fault.
//!
//! IRETQ to a guest may fault, because the frame is the guest's. The fault comes in ring 0 at a known address, with the
//! guest's registers loaded. It is turned into an exit of the guest with vector [`RETURN_FAULT`].

use core::arch::global_asm;

use xen_lite_core::domain::Registers;

use crate::clac_macro;
use crate::cpu::descriptors::{FLAT_CS32, FLAT_DS};
use crate::cpu::percpu::offset;
use crate::cpu::smap;

/// Vector number for a fault of the final IRETQ.
pub const RETURN_FAULT: u32 = 0x101;
/// Vector number for SYSCALL in compatibility mode.
pub const SYSCALL32: u32 = 0x102;
/// Vector number for SYSENTER.
pub const SYSENTER: u32 = 0x103;

/// Bytes between two exception stubs.
const STUB_SIZE: usize = 16;
/// Vectors for which the CPU pushes an error code.
const WITH_ERROR_CODE: u32 = 0x6022_7d00;

const R15: usize = core::mem::offset_of!(Registers, r15);
const RIP: usize = core::mem::offset_of!(Registers, rip);
const _: () = {
    assert!(core::mem::offset_of!(Registers, rax) == 88 && core::mem::offset_of!(Registers, rdi) == 120);
    assert!(size_of::<Registers>() == 176 && align_of::<Registers>() == 16);
    assert!(core::mem::offset_of!(Registers, rbx) == 48 && core::mem::offset_of!(Registers, r11) == 56);
    assert!(R15 == 8 && core::mem::offset_of!(Registers, ss) == 168 && RIP == 136);
};

/// Assembly macros that save and restore registers.
macro_rules! registers {
    () => {
        r#"
    /* Those that a callee does not preserve. */
    .macro PUSH_SHORT
        push    rdi
        push    rsi
        push    rdx
        push    rcx
        push    rax
        push    r8
        push    r9
        push    r10
        push    r11
    .endm

    .macro POP_SHORT
        pop     r11
        pop     r10
        pop     r9
        pop     r8
        pop     rax
        pop     rcx
        pop     rdx
        pop     rsi
        pop     rdi
    .endm

    /* Goes to `target` if an NMI waits for the vCPU, or an event that is not masked: the bytes "pending" and "mask" of `vcpu_info`
       are a number from 1 to 255. */
    .macro IS_PENDING target
        mov     rcx, gs:[{pending}]
        cmp     dword ptr [rcx], 0
        jne     \target
        mov     rcx, gs:[{info}]
        movzx   ecx, word ptr [rcx]
        dec     ecx
        cmp     ecx, 255
        jb      \target
    .endm
"#
    };
}
/// Forgets the macros again: all assembly of the image may be one file.
macro_rules! forget_registers {
    () => {
        "\n.purgem PUSH_SHORT\n.purgem POP_SHORT\n.purgem IS_PENDING\n"
    };
}

pub mod guarded;
mod syscall;

global_asm!(
    registers!(),
    clac_macro!(),
    r#"
    .section .text.entry, "ax"

    .macro PUSH_REGISTERS
        PUSH_SHORT
        push    rbx
        push    rbp
        push    r12
        push    r13
        push    r14
        push    r15
    .endm

    .macro POP_REGISTERS
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbp
        pop     rbx
        POP_SHORT
    .endm

    /* Saves what PUSH_SHORT left; RDI: end of the registers. */
    .macro SAVE_REST
        mov     [rdi - 128], rbx
        mov     [rdi - 136], rbp
        mov     [rdi - 144], r12
        mov     [rdi - 152], r13
        mov     [rdi - 160], r14
        mov     [rdi - 168], r15
    .endm

    /* One stub for each vector: completes the CPU's frame by error code and vector. */
    .macro STUBS kind
    .set vector, 0
    .rept 256
        .balign 16
        .if !((vector < 32) && (({with_error_code} >> (vector & 31)) & 1))
            push    0
        .endif
        mov     dword ptr [rsp + 4], vector
        .if (vector < 32 && (({short} >> (vector & 31)) & 1)) || vector == 0x80
            jmp     entry_short\kind
        .else
            jmp     entry_common\kind
        .endif
        .set vector, vector + 1
    .endr
    .endm

    .balign 16
    .globl entry_stubs
entry_stubs:
    STUBS
    /* The same for CPUs with SMAP: the CPU leaves AC as the guest had it. */
    .balign 16
    .globl entry_stubs_smap
entry_stubs_smap:
    STUBS   _smap
    .purgem STUBS

    .balign 16
entry_common_smap:
    clac
entry_common:
    test    byte ptr [rsp + 16], 3
    jz      entry_from_hypervisor
    swapgs

    /* All registers at once. */
entry_save:
    PUSH_REGISTERS
    cld
    CLAC
    lea     rdi, [rsp - 8]
    mov     rsp, gs:[{stack}]
    call    {guest_exit}

    /* RAX: registers of the vCPU to resume. */
    .balign 16
entry_resume:
    lea     rsp, [rax + 8]
    POP_REGISTERS
    add     rsp, 8
    swapgs
    .globl entry_iretq
entry_iretq:
    iretq

    /* Exceptions that are most often the guest's own affair. */
    .balign 16
entry_short_smap:
    clac
entry_short:
    test    byte ptr [rsp + 16], 3
    jz      entry_from_hypervisor
    swapgs
    PUSH_SHORT
    cld
    lea     rdi, [rsp - 56]
    mov     rsp, gs:[{stack}]
    call    {guest_trap}
    test    eax, eax
    jnz     entry_trap_otherwise
    IS_PENDING entry_trap_pending
    mov     rdi, gs:[{registers_end}]

    /* RDI: end of the registers. RBX, RBP, R12 to R15 are in the CPU. */
    .globl entry_resume_short
entry_resume_short:
    lea     rsp, [rdi - 120]
    POP_SHORT
    add     rsp, 8
    swapgs
    .globl entry_iretq_short
entry_iretq_short:
    iretq

entry_trap_pending:
    mov     rdi, gs:[{registers_end}]
    mov     rsp, gs:[{stack}]
    call    {guest_pending}
    mov     rdi, gs:[{registers_end}]
    test    eax, eax
    jz      entry_resume_short

    /* The short way came to an end: something is left to do. */
    .globl entry_long
entry_long:
    mov     rdi, gs:[{registers_end}]
    SAVE_REST
    mov     rsp, gs:[{stack}]
    call    {guest_long}
    jmp     entry_resume

entry_trap_otherwise:
    cmp     eax, {all}
    jne     entry_long
    mov     rdi, gs:[{registers_end}]
    SAVE_REST
    sub     rdi, {size}
    mov     rsp, gs:[{stack}]
    call    {guest_exit}
    jmp     entry_resume

    /* A loaded vCPU is started: RDI has its registers. */
    .globl entry_first
entry_first:
    mov     rax, rdi
    jmp     entry_resume

    .balign 16
    .globl entry_syscall32
entry_syscall32:
    swapgs
    mov     gs:[{scratch}], rsp
    mov     rsp, gs:[{registers_end}]
    push    {flat_ds}
    push    qword ptr gs:[{scratch}]
    push    r11
    push    {flat_cs32}
    push    rcx
    push    0
    mov     dword ptr [rsp + 4], {syscall32}
    jmp     entry_save

    /* SYSENTER saves nothing: the guest's handler knows where to return to. It leaves NT and AC as they were; with NT the IRETQ
       back would fault. The null selector in the frame says that there is no way back. */
    .balign 16
    .globl entry_sysenter
entry_sysenter:
    swapgs
    mov     rsp, gs:[{registers_end}]
    push    {flat_ds}
    push    0
    pushfq
    .globl entry_sysenter_flags_saved
entry_sysenter_flags_saved:
    or      qword ptr [rsp], 0x200
    push    2
    popfq
    push    3
    push    0
    push    0
    mov     dword ptr [rsp + 4], {sysenter}
    jmp     entry_save

    .balign 16
entry_from_hypervisor:
    push    rax
    lea     rax, [rip + entry_iretq]
    cmp     rax, [rsp + 16]
    je      entry_return_fault
    lea     rax, [rip + entry_iretq_short]
    cmp     rax, [rsp + 16]
    je      entry_return_fault
    lea     rax, [rip + entry_iretq_fast]
    cmp     rax, [rsp + 16]
    je      entry_return_fault_fast
    pop     rax
    PUSH_REGISTERS
    sub     rsp, 8
    cld
    mov     rdi, rsp
    call    {hypervisor_exit}
    add     rsp, 8
    POP_REGISTERS
    add     rsp, 8
    iretq

    /* The CPU pushed its frame below the guest's, which is intact; all other registers are the guest's still. */
entry_return_fault:
    swapgs
    mov     rax, [rsp + 8]
    mov     gs:[{scratch}], rax
    pop     rax
    mov     rsp, gs:[{registers_end}]
    sub     rsp, 40
entry_return_fault_vector:
    push    qword ptr gs:[{scratch}]
    /* The fault's own vector goes to the upper half of the vector field, RETURN_FAULT to the lower. */
    push    rax
    mov     eax, [rsp + 12]
    shl     eax, 16
    or      eax, {return_fault}
    mov     [rsp + 12], eax
    pop     rax
    jmp     entry_save

    /* The same, with the guest's frame on the CPU's own stack: it moves to where the others are. */
entry_return_fault_fast:
    swapgs
    mov     rax, [rsp + 8]
    mov     gs:[{scratch}], rax
    pop     rax
    mov     gs:[{saved_rcx}], rcx
    mov     rsp, gs:[{registers_end}]
    mov     rcx, gs:[{stack}]
    push    qword ptr [rcx - 8]
    push    qword ptr [rcx - 16]
    push    qword ptr [rcx - 24]
    push    qword ptr [rcx - 32]
    push    qword ptr [rcx - 40]
    mov     rcx, gs:[{saved_rcx}]
    jmp     entry_return_fault_vector

    .balign 16
    .globl entry_debug
entry_debug:
    push    0
    mov     dword ptr [rsp + 4], 1
    test    byte ptr [rsp + 16], 3
    jz      entry_ist
    /* From a guest: the frame moves to where the others are. */
entry_ist_from_guest:
    swapgs
    mov     gs:[{scratch}], rax
    mov     rax, gs:[{registers_end}]
    pop     qword ptr [rax - 48]
    pop     qword ptr [rax - 40]
    pop     qword ptr [rax - 32]
    pop     qword ptr [rax - 24]
    pop     qword ptr [rax - 16]
    pop     qword ptr [rax - 8]
    lea     rsp, [rax - 48]
    mov     rax, gs:[{scratch}]
    jmp     entry_save

    .balign 16
    .globl entry_nmi
entry_nmi:
    push    0
    mov     dword ptr [rsp + 4], 2
    test    byte ptr [rsp + 16], 3
    jz      entry_ist
    jmp     entry_ist_from_guest
    .balign 16
    .globl entry_double_fault
entry_double_fault:
    mov     dword ptr [rsp + 4], 8
    jmp     entry_ist
    .balign 16
    .globl entry_machine_check
entry_machine_check:
    push    0
    mov     dword ptr [rsp + 4], 18
entry_ist:
    PUSH_REGISTERS
    sub     rsp, 8
    cld
    CLAC
    mov     ecx, 0xc0000101
    rdmsr
    mov     r12d, eax
    mov     r13d, edx
    mov     rax, [rsp + 176]
    mov     rdx, rax
    shr     rdx, 32
    wrmsr
    mov     rdi, rsp
    call    {ist_exit}
    mov     ecx, 0xc0000101
    mov     eax, r12d
    mov     edx, r13d
    wrmsr
    add     rsp, 8
    POP_REGISTERS
    add     rsp, 8
    iretq

    .text
    .purgem CLAC
    "#,
    forget_registers!(),
    with_error_code = const WITH_ERROR_CODE,
    stack = const offset::STACK,
    registers_end = const offset::REGISTERS_END,
    scratch = const offset::SCRATCH,
    saved_rcx = const offset::SAVED_RCX,
    info = const offset::INFO,
    pending = const offset::PENDING,
    flat_ds = const FLAT_DS,
    flat_cs32 = const FLAT_CS32,
    syscall32 = const SYSCALL32,
    sysenter = const SYSENTER,
    return_fault = const RETURN_FAULT,
    guest_trap = sym crate::exit::guest_trap,
    guest_exit = sym crate::exit::guest_exit,
    guest_pending = sym crate::exit::guest_pending,
    guest_long = sym crate::exit::guest_long,
    short = const crate::exit::SHORT,
    all = const crate::exit::ALL_REGISTERS,
    size = const size_of::<Registers>(),
    hypervisor_exit = sym crate::exit::hypervisor_exit,
    ist_exit = sym crate::exit::ist_exit,
);

unsafe extern "C" {
    fn entry_stubs();
    fn entry_stubs_smap();
    fn entry_debug();
    fn entry_nmi();
    fn entry_double_fault();
    fn entry_machine_check();
    fn entry_syscall();
    fn entry_syscall_smap();
    fn entry_syscall32();
    fn entry_sysenter();
    fn entry_sysenter_flags_saved();
    fn entry_first(registers: *mut Registers) -> !;
}

/// Address of a vector's stub.
pub fn stub_address(vector: usize) -> u64 {
    let stubs: unsafe extern "C" fn() = if smap::is_used() { entry_stubs_smap } else { entry_stubs };
    stubs as *const () as u64 + (vector * STUB_SIZE) as u64
}

/// Address of the stub for #DB.
pub fn debug_address() -> u64 {
    entry_debug as *const () as u64
}

/// Address of the stub for NMI (2), #DF (8) and #MC (18).
pub fn ist_stub_address(vector: usize) -> u64 {
    let stub: unsafe extern "C" fn() = match vector {
        2 => entry_nmi,
        8 => entry_double_fault,
        _ => entry_machine_check,
    };
    stub as *const () as u64
}

/// Address for LSTAR.
pub fn syscall_address() -> u64 {
    let stub: unsafe extern "C" fn() = if smap::is_used() { entry_syscall_smap } else { entry_syscall };
    stub as *const () as u64
}

/// Address for CSTAR.
pub fn syscall32_address() -> u64 {
    entry_syscall32 as *const () as u64
}

/// Address for SYSENTER.
pub fn sysenter_address() -> u64 {
    entry_sysenter as *const () as u64
}

/// Whether the code at `rip` is the beginning of the way in by SYSENTER, where the flags are still the guest's.
pub fn keeps_guest_flags(rip: u64) -> bool {
    let until = entry_sysenter_flags_saved as *const () as u64;
    (sysenter_address()..until).contains(&rip) || guarded::address::sysenter_flags().contains(&rip)
}

/// Starts the first vCPU on the calling CPU, whose registers these are.
///
/// # Safety
/// S-08: the vCPU is the CPU's running one: page tables, descriptor windows and bases are loaded.
pub unsafe fn enter(registers: *mut Registers) -> ! {
    // SAFETY: S-08: as the caller promises.
    unsafe { entry_first(registers) }
}
