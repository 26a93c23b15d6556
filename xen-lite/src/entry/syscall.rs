//! SYSCALL: hypercalls of a guest's kernel, and system calls of its user mode.
//!
//! SYSCALL pushes nothing, so the stub builds the frame by hand. RBX, RBP and R12 to R15 stay where they are: functions
//! preserve them, and only what switches vCPUs or looks at all registers has them saved.
//!
//! **Hypercalls** go through [`exit::HYPERCALLS`], a table of functions that take the registers and, once more in their order, the
//! arguments. They answer in RAX and RDX: the result, and how to go on ([`crate::exit::Answer`]). When nothing is left to do, and
//! nothing is pending for the vCPU, the result stays in RAX, and SYSRET ends it.
//!
//! **`iret`**, the most frequent hypercall of all, is done here as long as it is simple: the kernel of a vCPU without a pending event
//! returns to itself or to its user mode. RAX, RCX and R11 are replaced by the frame's, so those three are all that is used, and
//! nothing else is saved. Nothing is changed but the event mask until all of the frame has been read; whatever is unusual begins
//! anew at the general way, with the registers as they were. Loads from the guest's stack may fault, so the
//! stack is this CPU's own meanwhile, as for all of the hypervisor's faults.
//!
//! What is done against speculation goes into stubs of its own, which LSTAR selects: then nothing is paid for it here. Such a stub
//! joins at `entry_syscall_general`, past the fast `iret`. CPUs with SMAP have a stub that sets AC for the
//! fast `iret`.

use core::arch::global_asm;

use xen_lite_core::domain::{Mode, Registers, VcpuState};

use crate::clac_macro;
use crate::cpu::descriptors::{FLAT_CS64, FLAT_DS};
use crate::cpu::percpu::offset;
use crate::exit;

/// Distance of a field of the vCPU's state from the end of its registers.
macro_rules! behind_registers {
    ($field:ident) => {
        core::mem::offset_of!(VcpuState, $field) as isize
            - core::mem::offset_of!(VcpuState, regs) as isize
            - size_of::<Registers>() as isize
    };
}

/// Flags that are set in whatever `iret` returns to: IF, and the one that always is.
const FLAGS_SET: u64 = 0x202;
/// The bit of `VGCF_in_syscall` in the second byte of the frame's flags.
const IN_SYSCALL: u8 = 1;

global_asm!(
    registers!(),
    clac_macro!(),
    r#"
    .section .text.entry, "ax"

    /* An instruction that reads the frame of `iret`. */
    .macro GUEST instruction:vararg
9:      \instruction
        .pushsection .ex_table, "a", @progbits
        .balign 4
        .long   9b - ., entry_iret_general - .
        .popsection
    .endm

    /* With SMAP, AC lets the fast `iret` read its frame; the guest's own flags replace it. */
    .balign 16
    .globl entry_syscall_smap
entry_syscall_smap:
    swapgs
    cmp     rax, {iret}
    jne     entry_syscall_general
    stac
    jmp     entry_iret

    .balign 64
    .globl entry_syscall
entry_syscall:
    swapgs
    cmp     rax, {iret}
    je      entry_iret

    .globl entry_syscall_general
entry_syscall_general:
    mov     gs:[{scratch}], rsp
    mov     rsp, gs:[{registers_end}]
    push    {flat_ds}
    push    qword ptr gs:[{scratch}]
    push    r11
    push    {flat_cs64}
    push    rcx
    push    0
    PUSH_SHORT
    lea     rdi, [rsp - 56]
    mov     rsp, gs:[{stack}]
    cmp     byte ptr [rdi + {size} + {mode}], {user}
    je      entry_user_syscall
    /* The number is a guest's choice: it is bounded for speculation, too. */
    cmp     rax, {numbers}
    jae     entry_unknown_hypercall
    sbb     rcx, rcx
    and     rax, rcx
    /* The arguments in their order: `Args`. The stack stays aligned. */
    push    r9
    push    r8
    push    r10
    push    rdx
    push    rsi
    push    qword ptr [rdi + 120]
    mov     rsi, rsp
    lea     rcx, [rip + {hypercalls}]
    call    [rcx + rax * 8]
    test    edx, edx
    jnz     entry_syscall_otherwise

    /* RAX is the result. Does something wait for the vCPU? */
entry_syscall_result:
    IS_PENDING entry_syscall_pending
    mov     rdi, gs:[{registers_end}]

    /* RDI: end of the registers. RBX, RBP, R12 to R15 are in the CPU, and so is RAX. */
entry_sysret:
    /* A RIP that is not canonical would make SYSRET fault in ring 0. */
    mov     rcx, [rdi - 40]
    shl     rcx, 16
    sar     rcx, 16
    cmp     rcx, [rdi - 40]
    jne     entry_syscall_by_iretq
    mov     r11, [rdi - 24]
    mov     r10, [rdi - 112]
    mov     r9, [rdi - 104]
    mov     r8, [rdi - 96]
    mov     rdx, [rdi - 72]
    mov     rsi, [rdi - 64]
    mov     rsp, [rdi - 16]
    mov     rdi, [rdi - 56]
    swapgs
    sysretq

entry_unknown_hypercall:
    mov     rax, {enosys}
    jmp     entry_syscall_result

entry_user_syscall:
    call    {guest_user_syscall}
    test    eax, eax
    jnz     entry_long
    mov     rax, gs:[{registers_end}]
    mov     rax, [rax - 88]
    jmp     entry_syscall_result

entry_syscall_pending:
    mov     rdi, gs:[{registers_end}]
    mov     [rdi - 88], rax
    mov     rsp, gs:[{stack}]
    call    {guest_pending}
    test    eax, eax
    jnz     entry_long
    mov     rdi, gs:[{registers_end}]
    mov     rax, [rdi - 88]
    jmp     entry_sysret

entry_syscall_by_iretq:
    mov     [rdi - 88], rax
    jmp     entry_resume_short

entry_syscall_otherwise:
    mov     rdi, gs:[{registers_end}]
    cmp     edx, {by_iretq}
    je      entry_resume_short
    jmp     entry_long

    /* The hypercall `iret`. RSP points to the frame: RAX, R11, RCX, flags; RIP, CS, RFLAGS, RSP, SS. */
    .balign 16
entry_iret:
    mov     gs:[{saved_rcx}], rcx
    mov     gs:[{saved_r11}], r11
    mov     rax, rsp
    mov     rsp, gs:[{stack}]
    mov     rcx, gs:[{registers_end}]
    cmp     byte ptr [rcx + {mode}], {user}
    je      entry_iret_general
    cmp     byte ptr [rcx + {in_nmi}], 0
    jne     entry_iret_general
    /* In the guest's part of the addresses: bits 63 to 43 are a number from -15 to 15. 72 bytes from there do not reach the
       hypervisor's part: addresses that are not canonical lie between. */
    mov     rcx, rax
    sar     rcx, 43
    add     rcx, 15
    cmp     rcx, 30
    ja      entry_iret_general
    /* An I/O privilege level that is to be kept, an NMI that waits. */
    mov     rcx, gs:[{assists}]
    test    byte ptr [rcx], {architectural_iopl}
    jnz     entry_iret_general
    mov     rcx, gs:[{pending}]
    cmp     dword ptr [rcx], 0
    jne     entry_iret_general
    /* The frame for IRETQ: SS, RSP, RFLAGS, CS, RIP. */
    GUEST   movzx ecx, word ptr [rax + 64]
    or      ecx, 3
    push    rcx
    GUEST   push qword ptr [rax + 56]
    GUEST   mov r11, [rax + 48]
    mov     ecx, r11d
    and     ecx, {frame_flags}
    or      ecx, {flags_set}
    push    rcx
    /* IF is the opposite of the event mask. */
    mov     rcx, gs:[{info}]
    bt      r11d, {if_bit}
    jnc     entry_iret_masked
    cmp     byte ptr [rcx], 0
    jne     entry_iret_general
    mov     byte ptr [rcx + 1], 0
entry_iret_code:
    GUEST   movzx ecx, word ptr [rax + 40]
    mov     r11d, ecx
    or      ecx, 3
    push    rcx
    GUEST   push qword ptr [rax + 32]
    cmp     r11d, ecx
    je      entry_iret_to_user
    GUEST   test byte ptr [rax + 25], {in_syscall}
    jnz     entry_iret_in_syscall
    GUEST   mov r11, [rax + 8]
    GUEST   mov rcx, [rax + 16]
entry_iret_rax:
    GUEST   mov rax, [rax]
    swapgs
    .globl entry_iretq_fast
entry_iretq_fast:
    iretq

entry_iret_masked:
    mov     byte ptr [rcx + 1], 1
    jmp     entry_iret_code

    /* Within a system call: RCX and R11 stay as they are. */
entry_iret_in_syscall:
    mov     r11, gs:[{saved_r11}]
    mov     rcx, gs:[{saved_rcx}]
    jmp     entry_iret_rax

    /* To user mode. All of the frame is read while the kernel's tables are there. */
entry_iret_to_user:
    mov     rcx, gs:[{registers_end}]
    cmp     qword ptr [rcx + {user_root}], -1
    je      entry_iret_general
    cmp     byte ptr [rip + {fsgsbase}], 0
    je      entry_iret_general
    GUEST   test byte ptr [rax + 25], {in_syscall}
    jnz     2f
    GUEST   push qword ptr [rax + 16]
    GUEST   push qword ptr [rax + 8]
1:  GUEST   push qword ptr [rax]
    /* Nothing faults from here on. */
    mov     rax, [rcx + {user_root}]
    shl     rax, 12
    mov     gs:[{root}], rax
    mov     byte ptr [rcx + {mode}], {user}
    mov     r11, [rcx + {gs_base_other}]
    mov     cr3, rax
    /* The kernel's GS base is kept, that of user mode comes; it is canonical. */
    swapgs
    rdgsbase rax
    wrgsbase r11
    mov     [rcx + {gs_base_other}], rax
    pop     rax
    pop     r11
    pop     rcx
    jmp     entry_iretq_fast

2:  push    qword ptr gs:[{saved_rcx}]
    push    qword ptr gs:[{saved_r11}]
    jmp     1b

    /* Something is unusual, or the frame cannot be read (a load of it faulted; RAX is still its address): from the beginning. */
entry_iret_general:
    CLAC
    mov     rsp, rax
    mov     eax, {iret}
    mov     rcx, gs:[{saved_rcx}]
    mov     r11, gs:[{saved_r11}]
    jmp     entry_syscall_general

    .text
    .purgem CLAC
    "#,
    forget_registers!(),
    iret = const abi::xen::hypercall::IRET,
    scratch = const offset::SCRATCH,
    registers_end = const offset::REGISTERS_END,
    stack = const offset::STACK,
    saved_rcx = const offset::SAVED_RCX,
    saved_r11 = const offset::SAVED_R11,
    info = const offset::INFO,
    pending = const offset::PENDING,
    assists = const offset::ASSISTS,
    root = const offset::ROOT,
    flat_ds = const FLAT_DS,
    flat_cs64 = const FLAT_CS64,
    size = const size_of::<Registers>(),
    mode = const behind_registers!(mode),
    in_nmi = const behind_registers!(in_nmi),
    user_root = const behind_registers!(user_root),
    gs_base_other = const behind_registers!(gs_base_other),
    user = const Mode::User as u8,
    numbers = const xen_lite_core::hypercall::NUMBERS,
    enosys = const abi::errno::Errno::ENOSYS.as_ret(),
    by_iretq = const exit::IRETQ,
    architectural_iopl = const 1 << abi::xen::VMASST_TYPE_ARCHITECTURAL_IOPL,
    frame_flags = const xen_lite_core::trap::IRET_FLAGS,
    flags_set = const FLAGS_SET,
    if_bit = const 9,
    in_syscall = const IN_SYSCALL,
    fsgsbase = sym crate::cpu::segments::FSGSBASE,
    hypercalls = sym exit::HYPERCALLS,
    guest_user_syscall = sym exit::guest_user_syscall,
    guest_pending = sym exit::guest_pending,
);

const _: () = {
    assert!(xen_lite_core::hypercall::guest::HOLE_END == 0xffff_8800_0000_0000);
    assert!(size_of::<Registers>() == 176 && abi::xen::VMASST_TYPE_ARCHITECTURAL_IOPL < 8);
};
