//! The ways in and out that guard against what the CPU leaks.
//!
//! They take the place of those in [`super`] when the [`Policy`](xen_lite_core::speculation::Policy) asks for anything at all; the
//! IDT and the system-call registers lead here then, and nobody else pays. Differences:
//!
//! - **XPTI.** While a guest runs, CR3 may hold a root that maps of the hypervisor only this code (in pages of its own), the IDT,
//!   and the CPU's window with GDT, TSS, `PerCpu` and the small stacks at the end of the gate page
//!   ([`crate::memory::split`]). So TSS.RSP0 and the IST entries name these small stacks; an entry loads CR3 first, then moves the
//!   CPU's frame to where the unguarded entries have it pushed. An exit copies the frame to the small stack, loads the guest's
//!   registers, and CR3 last. `guest_root` is 0 for vCPUs that run on their own root.
//! - **Registers.** All are saved, and none of the guest's values is left in one when Rust code begins.
//! - **Steps** ([`Steps`]): `IA32_SPEC_CTRL`, IBPB, return predictor, branch history, LFENCE on entry; VERW and `IA32_SPEC_CTRL` on exit.
//!
//! # Exceptions with stacks of their own
//! NMI, #MC, #DF, #DB may come between an entry's first instruction and its load of CR3, or behind an exit's. If CR3 holds the
//! guest's root, it is exchanged; the frame moves to the CPU's real stack for that exception; and if CR3 was exchanged, it is put
//! back from the small stack, because the interrupted code relies on it. Words on the small stacks that held registers of the
//! hypervisor are overwritten. Above each such stack lie the address of `PerCpu` and a word for CR3; above the real one the
//! address of `PerCpu` and that of the frame on the small one.

use core::arch::global_asm;

use xen_lite_core::domain::{Mode, Registers};
use xen_lite_core::effects::Effects;
use xen_lite_core::fail::Why;
use xen_lite_core::hypercall::{self, Caller};
use xen_lite_core::speculation::{Policy, Steps};
use xen_lite_core::trap;

use crate::clac_macro;
use crate::cpu::descriptors::{FLAT_CS32, FLAT_CS64, FLAT_DS};
use crate::cpu::percpu::offset;
use crate::cpu::{PerCpu, msr, percpu};
use crate::hypervisor::hv;
use crate::memory::split;
use crate::{exit, run};

use super::{RETURN_FAULT, STUB_SIZE, SYSCALL32, SYSENTER, WITH_ERROR_CODE};

/// Vector number for SYSCALL in 64-bit mode.
const SYSCALL: u32 = 0x110;
/// Steps of entries beyond the LFENCE that there is in any case.
const ENTRY_STEPS: Steps = Steps::SPEC_CTRL.union(Steps::IBPB).union(Steps::RSB).union(Steps::BHB);

global_asm!(
    clac_macro!(),
    r#"
    .section .text.guarded, "ax"
    .macro GUARDED_PUSH
        push    rdi
        push    rsi
        push    rdx
        push    rcx
        push    rax
        push    r8
        push    r9
        push    r10
        push    r11
        push    rbx
        push    rbp
        push    r12
        push    r13
        push    r14
        push    r15
    .endm
    .macro GUARDED_POP
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbp
        pop     rbx
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

    .balign 4096
    .globl guarded_stubs
guarded_stubs:
    .set vector, 0
    .rept 256
        .balign 16
        .if !((vector < 32) && (({with_error_code} >> (vector & 31)) & 1))
            push    0
        .endif
        mov     dword ptr [rsp + 4], vector
        jmp     guarded_common
        .set vector, vector + 1
    .endr

    .balign 16
guarded_common:
    test    byte ptr [rsp + 16], 3
    jz      guarded_from_hypervisor
    /* The frame is on a small stack, or on that of an exception. RAX is the guest's. */
guarded_from_guest:
    swapgs
guarded_move:
    lfence
    mov     gs:[{scratch}], rax
    mov     rax, gs:[{guest_root}]
    test    rax, rax
    jz      1f
    mov     rax, gs:[{root}]
    mov     cr3, rax
1:  mov     rax, gs:[{registers_end}]
    pop     qword ptr [rax - 48]
    pop     qword ptr [rax - 40]
    pop     qword ptr [rax - 32]
    pop     qword ptr [rax - 24]
    pop     qword ptr [rax - 16]
    pop     qword ptr [rax - 8]
    lea     rsp, [rax - 48]
    mov     rax, gs:[{scratch}]

    /* The frame is in its place, CR3 the hypervisor's. */
guarded_save:
    GUARDED_PUSH
    cld
    CLAC
    lea     rdi, [rsp - 8]
    mov     rsp, gs:[{stack}]
    mov     ebx, gs:[{steps}]
    test    ebx, {entry_steps}
    jz      9f
    test    ebx, {spec_ctrl}
    jz      1f
    mov     ecx, 0x48
    mov     eax, gs:[{own_spec_ctrl}]
    xor     edx, edx
    wrmsr
1:  test    ebx, {ibpb}
    jz      1f
    mov     ecx, 0x49
    mov     eax, 1
    xor     edx, edx
    wrmsr
    /* As many calls as the predictor has entries; what is behind them is never executed. */
1:  test    ebx, {rsb}
    jz      1f
    mov     ecx, 16
2:  call    3f
7:  pause
    lfence
    jmp     7b
3:  call    4f
8:  pause
    lfence
    jmp     8b
4:  dec     ecx
    jnz     2b
    add     rsp, 32 * 8
    /* Taken branches, more than the history holds (Intel, "Branch History Injection", software sequence). */
1:  test    ebx, {bhb}
    jz      1f
    mov     ecx, 5
    call    2f
    jmp     1f
    .balign 64
2:  call    3f
    ret
    .balign 64
3:  mov     eax, 5
4:  jmp     5f
    nop
5:  sub     eax, 1
    jnz     4b
    sub     ecx, 1
    jnz     3b
    ret
1:
9:  lfence
    xor     eax, eax
    xor     ebx, ebx
    xor     ecx, ecx
    xor     edx, edx
    xor     esi, esi
    xor     ebp, ebp
    xor     r8d, r8d
    xor     r9d, r9d
    xor     r10d, r10d
    xor     r11d, r11d
    xor     r12d, r12d
    xor     r13d, r13d
    xor     r14d, r14d
    xor     r15d, r15d
    call    {guarded_exit}

    /* RAX: registers of the vCPU to resume, whose roots are noted. */
guarded_resume:
    mov     rbx, rax
    mov     rdi, gs:[{small_stack}]
    mov     rax, [rbx + 136]
    mov     [rdi - 40], rax
    mov     rax, [rbx + 144]
    mov     [rdi - 32], rax
    mov     rax, [rbx + 152]
    mov     [rdi - 24], rax
    mov     rax, [rbx + 160]
    mov     [rdi - 16], rax
    mov     rax, [rbx + 168]
    mov     [rdi - 8], rax
    mov     rax, [rbx + 88]
    mov     [rdi - 48], rax
    lea     rsp, [rdi - 48]
    test    dword ptr gs:[{steps}], {spec_ctrl}
    jz      1f
    mov     ecx, 0x48
    mov     eax, gs:[{guest_spec_ctrl}]
    xor     edx, edx
    wrmsr
1:  mov     r15, [rbx + 8]
    mov     r14, [rbx + 16]
    mov     r13, [rbx + 24]
    mov     r12, [rbx + 32]
    mov     rbp, [rbx + 40]
    mov     r11, [rbx + 56]
    mov     r10, [rbx + 64]
    mov     r9, [rbx + 72]
    mov     r8, [rbx + 80]
    mov     rcx, [rbx + 96]
    mov     rdx, [rbx + 104]
    mov     rsi, [rbx + 112]
    mov     rdi, [rbx + 120]
    mov     rbx, [rbx + 48]
    mov     rax, gs:[{guest_root}]
    test    rax, rax
    jz      1f
    mov     cr3, rax
1:  test    dword ptr gs:[{steps}], {verw}
    jz      1f
    verw    word ptr gs:[{verw_selector}]
1:  pop     rax
    swapgs
guarded_iretq:
    iretq

    .globl guarded_first
guarded_first:
    mov     rax, rdi
    jmp     guarded_resume

    .balign 16
    .globl guarded_syscall
guarded_syscall:
    swapgs
    mov     gs:[{scratch}], rsp
    mov     rsp, gs:[{guest_root}]
    test    rsp, rsp
    jz      1f
    mov     rsp, gs:[{root}]
    mov     cr3, rsp
1:  mov     rsp, gs:[{registers_end}]
    push    {flat_ds}
    push    qword ptr gs:[{scratch}]
    push    r11
    push    {flat_cs64}
    push    rcx
    push    0
    mov     dword ptr [rsp + 4], {syscall}
    jmp     guarded_save

    .balign 16
    .globl guarded_syscall32
guarded_syscall32:
    swapgs
    mov     gs:[{scratch}], rsp
    mov     rsp, gs:[{guest_root}]
    test    rsp, rsp
    jz      1f
    mov     rsp, gs:[{root}]
    mov     cr3, rsp
1:  mov     rsp, gs:[{registers_end}]
    push    {flat_ds}
    push    qword ptr gs:[{scratch}]
    push    r11
    push    {flat_cs32}
    push    rcx
    push    0
    mov     dword ptr [rsp + 4], {syscall32}
    jmp     guarded_save

    /* Flags are the guest's still: they are pushed before anything changes them, and NT and AC must not stay. */
    .balign 16
    .globl guarded_sysenter
guarded_sysenter:
    swapgs
    mov     rsp, gs:[{small_stack}]
    push    {flat_ds}
    push    0
    pushfq
    .globl guarded_sysenter_flags_saved
guarded_sysenter_flags_saved:
    or      qword ptr [rsp], 0x200
    push    2
    popfq
    push    3
    push    0
    push    0
    mov     dword ptr [rsp + 4], {sysenter}
    jmp     guarded_move

    .balign 16
guarded_from_hypervisor:
    push    rax
    lea     rax, [rip + guarded_iretq]
    cmp     rax, [rsp + 16]
    je      guarded_return_fault
    pop     rax
    /* CR3 is the hypervisor's: behind its exchange nothing but the IRETQ can fault. */
    GUARDED_PUSH
    sub     rsp, 8
    cld
    mov     rdi, rsp
    call    {hypervisor_exit}
    add     rsp, 8
    GUARDED_POP
    add     rsp, 8
    iretq

    /* The IRETQ to a guest faulted: its frame ends at the top of the small stack, and all registers are the guest's. */
guarded_return_fault:
    swapgs
    mov     rax, [rsp + 8]
    mov     gs:[{scratch}], rax
    pop     rax
    mov     rsp, gs:[{small_stack}]
    sub     rsp, 40
    push    qword ptr gs:[{scratch}]
    push    rax
    mov     eax, [rsp + 12]
    shl     eax, 16
    or      eax, {return_fault}
    mov     [rsp + 12], eax
    pop     rax
    jmp     guarded_move

    .balign 16
    .globl guarded_debug
guarded_debug:
    push    0
    mov     dword ptr [rsp + 4], 1
    test    byte ptr [rsp + 16], 3
    jnz     guarded_from_guest
    jmp     guarded_ist
    .balign 16
    .globl guarded_nmi
guarded_nmi:
    push    0
    mov     dword ptr [rsp + 4], 2
    test    byte ptr [rsp + 16], 3
    jnz     guarded_from_guest
    jmp     guarded_ist
    .balign 16
    .globl guarded_double_fault
guarded_double_fault:
    mov     dword ptr [rsp + 4], 8
    jmp     guarded_ist
    .balign 16
    .globl guarded_machine_check
guarded_machine_check:
    push    0
    mov     dword ptr [rsp + 4], 18

    /* On the small stack: error code and vector, the CPU's frame; above: PerCpu, a word for CR3, the real stack's end. */
guarded_ist:
    push    rax
    push    rcx
    push    rdx
    mov     rdx, [rsp + 72]
    mov     rcx, cr3
    cmp     rcx, [rdx + {guest_root}]
    jne     1f
    mov     rax, [rdx + {root}]
    mov     cr3, rax
    jmp     2f
1:  xor     ecx, ecx
2:  mov     [rsp + 80], rcx
    mov     rax, [rsp + 88]
    sub     rax, 48
    mov     rdx, [rsp + 24]
    mov     [rax], rdx
    mov     rdx, [rsp + 32]
    mov     [rax + 8], rdx
    mov     rdx, [rsp + 40]
    mov     [rax + 16], rdx
    mov     rdx, [rsp + 48]
    mov     [rax + 24], rdx
    mov     rdx, [rsp + 56]
    mov     [rax + 32], rdx
    mov     rdx, [rsp + 64]
    mov     [rax + 40], rdx
    mov     rdx, [rsp]
    mov     rcx, [rsp + 8]
    mov     qword ptr [rsp], 0
    mov     qword ptr [rsp + 8], 0
    xchg    rax, [rsp + 16]
    mov     rsp, [rsp + 16]
    GUARDED_PUSH
    sub     rsp, 8
    cld
    CLAC
    lfence
    mov     ecx, 0xc0000101
    rdmsr
    mov     r12d, eax
    mov     r13d, edx
    mov     rax, [rsp + 176]
    mov     rdx, rax
    shr     rdx, 32
    wrmsr
    /* An exit that is interrupted may have loaded the guest's value; it is put back. */
    xor     r14d, r14d
    mov     ebx, gs:[{steps}]
    test    ebx, {spec_ctrl}
    jz      1f
    mov     ecx, 0x48
    rdmsr
    mov     r14d, eax
    mov     eax, gs:[{own_spec_ctrl}]
    xor     edx, edx
    wrmsr
1:  mov     rdi, rsp
    call    {ist_exit}
    test    ebx, {spec_ctrl}
    jz      1f
    mov     ecx, 0x48
    mov     eax, r14d
    xor     edx, edx
    wrmsr
1:  mov     ecx, 0xc0000101
    mov     eax, r12d
    mov     edx, r13d
    wrmsr
    mov     rax, [rsp + 184]
    mov     rcx, [rax + 56]
    test    rcx, rcx
    jnz     3f
    add     rsp, 8
    GUARDED_POP
    add     rsp, 8
    iretq

    /* CR3 was a guest's: the registers are a guest's, too, and the frame on the small stack is as it was but for the flags. */
3:  mov     rdx, [rsp + 152]
    mov     [rax + 24], rdx
    mov     rdx, [rsp + 88]
    mov     [rax], rdx
    mov     rdx, [rsp + 96]
    mov     [rax - 8], rdx
    mov     [rax - 16], rcx
    mov     rcx, [rsp + 104]
    mov     [rax - 24], rcx
    add     rsp, 8
    pop     r15
    pop     r14
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    pop     r11
    pop     r10
    pop     r9
    pop     r8
    mov     rsi, [rsp + 24]
    mov     rdi, [rsp + 32]
    lea     rsp, [rax - 24]
    pop     rdx
    pop     rax
    mov     cr3, rax
    pop     rcx
    pop     rax
    iretq
    .balign 4096
    .purgem CLAC
    .text
    "#,
    with_error_code = const WITH_ERROR_CODE,
    stack = const offset::STACK,
    registers_end = const offset::REGISTERS_END,
    scratch = const offset::SCRATCH,
    root = const offset::ROOT,
    guest_root = const offset::GUEST_ROOT,
    small_stack = const offset::SMALL_STACK,
    steps = const offset::STEPS,
    own_spec_ctrl = const offset::OWN_SPEC_CTRL,
    guest_spec_ctrl = const offset::GUEST_SPEC_CTRL,
    verw_selector = const offset::VERW_SELECTOR,
    spec_ctrl = const Steps::SPEC_CTRL.bits(),
    entry_steps = const ENTRY_STEPS.bits(),
    ibpb = const Steps::IBPB.bits(),
    rsb = const Steps::RSB.bits(),
    bhb = const Steps::BHB.bits(),
    verw = const Steps::VERW.bits(),
    flat_ds = const FLAT_DS,
    flat_cs64 = const FLAT_CS64,
    flat_cs32 = const FLAT_CS32,
    syscall = const SYSCALL,
    syscall32 = const SYSCALL32,
    sysenter = const SYSENTER,
    return_fault = const RETURN_FAULT,
    guarded_exit = sym guarded_exit,
    hypervisor_exit = sym crate::exit::hypervisor_exit,
    ist_exit = sym crate::exit::ist_exit,
);

unsafe extern "C" {
    fn guarded_stubs();
    fn guarded_debug();
    fn guarded_nmi();
    fn guarded_double_fault();
    fn guarded_machine_check();
    fn guarded_syscall();
    fn guarded_syscall32();
    fn guarded_sysenter();
    fn guarded_sysenter_flags_saved();
    fn guarded_first(registers: *mut Registers) -> !;
}

/// Entry points of this module, as those of the same names in [`super`].
pub mod address {
    /// Of a vector's stub.
    pub fn stub(vector: usize) -> u64 {
        super::guarded_stubs as *const () as u64 + (vector * super::STUB_SIZE) as u64
    }
    /// Of the stubs with stacks of their own: 1, 2, 8, 18.
    pub fn ist(vector: usize) -> u64 {
        let stub: unsafe extern "C" fn() = match vector {
            1 => super::guarded_debug,
            2 => super::guarded_nmi,
            8 => super::guarded_double_fault,
            _ => super::guarded_machine_check,
        };
        stub as *const () as u64
    }
    /// For LSTAR.
    pub fn syscall() -> u64 {
        super::guarded_syscall as *const () as u64
    }
    /// For CSTAR.
    pub fn syscall32() -> u64 {
        super::guarded_syscall32 as *const () as u64
    }
    /// For SYSENTER.
    pub fn sysenter() -> u64 {
        super::guarded_sysenter as *const () as u64
    }
    /// The beginning of that way in, where the flags are still the guest's.
    pub fn sysenter_flags() -> core::ops::Range<u64> {
        sysenter()..super::guarded_sysenter_flags_saved as *const () as u64
    }
}

static POLICY: spin::Once<Policy> = spin::Once::new();

/// Settles the policy, before any table of entries is made.
pub fn settle(policy: Policy) {
    POLICY.call_once(|| policy);
}

/// What was settled; nothing before.
pub fn policy() -> Policy {
    POLICY.get().copied().unwrap_or_default()
}

/// Whether the entries of this module are in use.
pub fn is_used() -> bool {
    policy().guards_entries()
}

/// Whatever stopped a guest. Returns the registers of the vCPU to resume.
///
/// # Safety
/// S-08: called by the entry code alone.
unsafe extern "C" fn guarded_exit(registers: *mut Registers) -> *mut Registers {
    let cpu = PerCpu::get();
    // SAFETY: S-06: the entry code gives the running vCPU's registers.
    let vector = unsafe { (*registers).vector };
    let resumed = if vector == SYSCALL {
        guarded_syscall_exit(cpu, registers)
    } else {
        // SAFETY: S-08: as the caller promises; all registers are saved.
        unsafe { exit::guest_exit(registers) }.registers
    };
    split::select(cpu);
    resumed
}

/// SYSCALL from 64-bit code: a hypercall of the guest's kernel, or a system call of its user mode.
#[inline(always)]
fn guarded_syscall_exit(cpu: &'static PerCpu, registers: *mut Registers) -> *mut Registers {
    let Some(running) = cpu.running() else { unreachable!("SYSCALL without a running vCPU") };
    // SAFETY: S-06: a guest ran until now, and nothing else refers to its state.
    let state = unsafe { &mut *running.state };
    let mut caller = Caller::new(&running.domain, &running.vcpu, state);
    let result = match caller.state.mode {
        Mode::User => user_syscall(&mut caller),
        // The most frequent one, without the table.
        Mode::Kernel if caller.state.regs.rax == abi::xen::hypercall::IRET => iret(&mut caller),
        Mode::Kernel => hypercall::enter(hv(), &mut caller),
    };
    if result == Ok(Effects::NONE) && !trap::has_pending(hv(), &caller) {
        return registers;
    }
    conclude(cpu, caller, result)
}

#[inline(never)]
fn user_syscall(caller: &mut Caller<'_>) -> Result<Effects, Why> {
    trap::syscall(hv(), caller)
}

#[inline(never)]
fn iret(caller: &mut Caller<'_>) -> Result<Effects, Why> {
    trap::iret(hv(), caller)
}

/// A call with consequences, or something waits for the vCPU.
#[inline(never)]
fn conclude(
    cpu: &'static PerCpu,
    mut caller: Caller<'_>,
    mut result: Result<Effects, Why>,
) -> *mut Registers {
    if result == Ok(Effects::NONE) {
        result = trap::deliver_pending(hv(), &mut caller);
        if result == Ok(Effects::NONE) {
            return &raw mut caller.state.regs;
        }
    }
    run::finish(cpu, result).registers
}

/// Starts the first vCPU on the calling CPU, whose registers these are.
///
/// # Safety
/// S-08: as for [`super::enter`].
pub unsafe fn enter(registers: *mut Registers) -> ! {
    split::select(PerCpu::get());
    // SAFETY: S-08: as the caller promises.
    unsafe { guarded_first(registers) }
}

/// Another vCPU is about to run: what the one before left on the small stacks and in the branch predictors goes.
#[inline(never)]
pub fn forget(cpu: &PerCpu) {
    let page = core::ptr::from_ref(cpu) as u64;
    let ends = (1..=4).map(|n| page + percpu::SMALL_STACKS + n * percpu::SMALL_STACK_SIZE - 32);
    for end in ends.chain([page + 4096]) {
        for word in 1..=9 {
            // SAFETY: S-05: the CPU's own small stacks, none of which is in use while Rust code runs on the real ones, but for
            // the frame of an exception in the hypervisor, which is not what calls this.
            unsafe { ((end - word * 8) as *mut u64).write_volatile(0) };
        }
    }
    split::forget(cpu);
    if policy().ibpb {
        // SAFETY: S-04: the policy asks for it only where the CPU has it.
        unsafe { msr::write(msr::PRED_CMD, msr::PRED_CMD_IBPB) };
    }
}

/// Puts the small stacks of a CPU that does not run guests yet into its gate page, and into its task state in the place
/// of the real ones, whose ends (the last 16 bytes) are in `tss.ist`.
pub fn prepare(cpu: &'static PerCpu) {
    cpu.steps.set(policy().steps.bits());
    cpu.own_spec_ctrl.set(policy().spec_ctrl as u32);
    if !is_used() {
        return;
    }
    let page = core::ptr::from_ref(cpu) as u64;
    for ist in 0..4usize {
        // SAFETY: S-05: the CPU's own task state and gate page, before guests run on it; the real stacks are mapped, and end in
        // 16 bytes that are not used as a stack.
        unsafe {
            let real = (*cpu.tss.get()).ist[ist];
            let small = page + percpu::SMALL_STACKS + (ist as u64 + 1) * percpu::SMALL_STACK_SIZE - 32;
            let words = small as *mut u64;
            words.write(page);
            words.add(1).write(0);
            words.add(2).write(real);
            *(real as *mut u64) = page;
            *(real as *mut u64).add(1) = small - 48;
            (*cpu.tss.get()).ist[ist] = small;
        }
    }
    cpu.small_stack.set(page + 4096);
}
