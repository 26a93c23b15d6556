//! What made the CPU enter the hypervisor, and who answers it.
//!
//! Each function here is called by the entry code with the registers of what was interrupted. From a guest the way is
//! always the same: the reason is handed to the core, which answers with effects or with the reason to end the domain;
//! [`crate::run::finish`] carries that out and says which vCPU goes on.

use xen_lite_core::domain::{Mode, Registers, VcpuState};
use xen_lite_core::effects::{Done, Effects, Todo};
use xen_lite_core::fail::{Fail, Why};
use xen_lite_core::hypercall::{self, Caller};
use xen_lite_core::trap;

use crate::cpu::{PerCpu, descriptors};
use crate::entry::{RETURN_FAULT, SYSCALL32, SYSENTER};
use crate::hypervisor::hv;
use crate::{entry, fixup, interrupt, panic, run};

/// How the entry code goes on: in RAX and RDX.
#[repr(C)]
pub struct Resume {
    /// Registers of the vCPU to resume.
    pub registers: *mut Registers,
    /// [`IRETQ`], [`SYSRET`] or [`LONG_WAY`]; the latter two only after SYSCALL.
    pub how: u64,
}

/// All registers are loaded. After SYSCALL, it is the same vCPU, and RBX, RBP and R12 to R15 are unchanged.
pub const IRETQ: u64 = 0;
/// The same vCPU goes on with flat selectors; RBX, RBP and R12 to R15 are unchanged, and RCX and R11 may be lost.
pub const SYSRET: u64 = 1;
/// The entry code saves RBX, RBP and R12 to R15, and calls [`guest_syscall_long`].
pub const LONG_WAY: u64 = 2;

const OFFSET_OF_REGISTERS: usize = core::mem::offset_of!(VcpuState, regs);

/// The vCPU state that registers are part of.
///
/// # Safety
/// S-06: the registers are those of the vCPU that runs on this CPU, and nothing else refers to its state.
#[inline(always)]
unsafe fn state_of<'a>(registers: *mut Registers) -> &'a mut VcpuState {
    // SAFETY: S-06: as the caller promises; the offset is the compiler's.
    unsafe { &mut *registers.byte_sub(OFFSET_OF_REGISTERS).cast::<VcpuState>() }
}

/// SYSCALL from 64-bit code: a hypercall of the guest's kernel, or a system call of its user mode. The entry code gives the
/// arguments of a hypercall once more, as [`hypercall::Args`]. All that is not needed for a hypercall without consequences is in
/// functions apart, so that this one has few registers to keep.
///
/// # Safety
/// S-08: called by the entry code alone.
pub unsafe extern "C" fn guest_syscall(registers: *mut Registers, args: *mut hypercall::Args) -> Resume {
    let Some(running) = PerCpu::get().running() else { unreachable!("SYSCALL without a running vCPU") };
    // SAFETY: S-06: the entry code gives the running vCPU's registers.
    let state = unsafe { state_of(registers) };
    let mut caller = Caller::new(&running.domain, &running.vcpu, state);
    if caller.state.mode == Mode::User {
        return user_syscall(&mut caller, registers);
    }
    let number = caller.state.regs.rax;
    // SAFETY: S-08: the entry code put them on this stack, and uses them no more.
    let args = unsafe { &mut *args };
    let outcome = hypercall::dispatch(hv(), &mut caller, number, args);
    if let Ok(done) = &outcome
        && is_nothing(&done.effects)
    {
        caller.state.regs.rax = done.value as u64;
        let done = !trap::has_pending(hv(), &caller) || deliver_or_note(&mut caller);
        return Resume { registers, how: if done { SYSRET } else { LONG_WAY } };
    }
    conclude(&mut caller, registers, &outcome, args)
}

#[inline(never)]
fn user_syscall(caller: &mut Caller<'_>, registers: *mut Registers) -> Resume {
    let result = trap::syscall(hv(), caller);
    leave_syscall(caller, registers, result, SYSRET)
}

/// A hypercall with consequences, or with an error.
#[inline(never)]
fn conclude(
    caller: &mut Caller<'_>,
    registers: *mut Registers,
    outcome: &Result<Done, Fail>,
    args: &hypercall::Args,
) -> Resume {
    match *outcome {
        Ok(done) if !done.effects.todo.intersects(NOT_BY_SYSRET) => {
            caller.state.regs.rax = done.value as u64;
            if !is_nothing(&done.effects) {
                run::apply_effects(PerCpu::get(), caller.state, done.effects);
            }
            leave_syscall(caller, registers, Ok(Effects::NONE), SYSRET)
        }
        outcome => {
            let result = hypercall::conclude(caller, outcome, args);
            leave_syscall(caller, registers, result, SYSRET)
        }
    }
}

/// SYSCALL with the number of `iret`, the most frequent hypercall of all: the table is passed by.
///
/// # Safety
/// S-08: called by the entry code alone.
pub unsafe extern "C" fn guest_iret(registers: *mut Registers) -> Resume {
    let Some(running) = PerCpu::get().running() else { unreachable!("SYSCALL without a running vCPU") };
    // SAFETY: S-06: the entry code gives the running vCPU's registers.
    let state = unsafe { state_of(registers) };
    let mut caller = Caller::new(&running.domain, &running.vcpu, state);
    if caller.state.mode == Mode::User {
        return user_syscall(&mut caller, registers);
    }
    let result = trap::iret(hv(), &mut caller);
    leave_syscall(&mut caller, registers, result, IRETQ)
}

/// Effects after which another vCPU may run, or this one with other registers.
const NOT_BY_SYSRET: Todo = Todo::RESCHEDULE.union(Todo::REGS_REPLACED);

/// Whether effects ask for nothing.
#[inline(always)]
fn is_nothing(effects: &Effects) -> bool {
    u64::from(effects.todo.bits()) | effects.kick == 0
}

/// Back from SYSCALL in the way `how`, if nothing is left to do but to deliver an event; what is left is noted for
/// [`guest_syscall_long`]. `how` suits a delivery, too: handlers run with flat selectors, and find RCX and R11 in their frame.
#[inline(always)]
fn leave_syscall(caller: &mut Caller<'_>, registers: *mut Registers, result: Outcome, how: u64) -> Resume {
    if matches!(&result, Ok(effects) if is_nothing(effects))
        && (!trap::has_pending(hv(), caller) || deliver_or_note(caller))
    {
        return Resume { registers, how };
    }
    if result != Ok(Effects::NONE) {
        PerCpu::get().unfinished.set(result);
    }
    Resume { registers, how: LONG_WAY }
}

/// Delivers what is pending; if that has consequences, they are noted for [`guest_syscall_long`], and the answer is `false`.
#[inline(never)]
fn deliver_or_note(caller: &mut Caller<'_>) -> bool {
    let delivered = trap::deliver_pending(hv(), caller);
    let done = matches!(&delivered, Ok(effects) if is_nothing(effects));
    PerCpu::get().unfinished.set(delivered);
    done
}

/// The rest of a SYSCALL that has consequences, now that all registers are saved.
///
/// # Safety
/// S-08: called by the entry code alone.
pub unsafe extern "C" fn guest_syscall_long() -> Resume {
    let cpu = PerCpu::get();
    run::finish(cpu, cpu.unfinished.replace(Ok(Effects::NONE)))
}

/// Anything else that stops a guest.
///
/// # Safety
/// S-08: called by the entry code alone.
pub unsafe extern "C" fn guest_exit(registers: *mut Registers) -> Resume {
    let cr2 = x86_64::registers::control::Cr2::read_raw();
    let cpu = PerCpu::get();
    let Some(running) = cpu.running() else { unreachable!("exit without a running vCPU") };
    // SAFETY: S-06: the entry code gives the running vCPU's registers.
    let state = unsafe { state_of(registers) };
    let mut caller = Caller::new(&running.domain, &running.vcpu, state);
    let vector = caller.state.regs.vector;
    let result = match vector & 0xffff {
        exception @ 0..32 => guest_exception(cpu, &mut caller, exception as u8, cr2),
        0x80 => trap::int80(hv(), &mut caller),
        interrupt @ 32..=255 => Ok(interrupt::handle(cpu, interrupt as u8)),
        RETURN_FAULT => return_fault(cpu, &mut caller, (vector >> 16) as u8, cr2),
        SYSCALL32 => trap::syscall32(hv(), &mut caller),
        SYSENTER => sysenter(&mut caller),
        _ => trap::inject(hv(), &mut caller, trap::vector::UD, 0),
    };
    if matches!(&result, Ok(effects) if is_nothing(effects)) {
        if !trap::has_pending(hv(), &caller) || deliver_or_note(&mut caller) {
            return Resume { registers, how: IRETQ };
        }
        return run::finish(cpu, cpu.unfinished.replace(Ok(Effects::NONE)));
    }
    run::finish(cpu, result)
}

type Outcome = Result<Effects, Why>;

fn guest_exception(cpu: &PerCpu, caller: &mut Caller<'_>, vector: u8, cr2: u64) -> Outcome {
    let error_code = caller.state.regs.error_code;
    match vector {
        interrupt::NMI => {
            interrupt::nmi(&caller.state.regs);
            interrupt::let_nmis_in();
            Ok(Effects::NONE)
        }
        trap::vector::PF if is_ldt_fault(cpu, error_code, cr2) => ldt_fault(cpu, caller, error_code, cr2),
        trap::vector::DB => {
            run::take_debug_status(caller.state);
            trap::exception(hv(), caller, vector, 0, 0)
        }
        _ => trap::exception(hv(), caller, vector, error_code, cr2),
    }
}

/// Whether the CPU itself, on its way to a descriptor, touched a page of the LDT that is not in the window. An access by an
/// instruction of the guest's has the user bit in its error code: such a fault is like any other in the hypervisor's part.
fn is_ldt_fault(cpu: &PerCpu, error_code: u32, cr2: u64) -> bool {
    const USER: u32 = 1 << 2;
    error_code & USER == 0 && descriptors::ldt_page(cpu, cr2).is_some()
}

/// The CPU touched a page of the LDT that is not in the window yet. If the guest has no valid page there either, the fault is
/// the guest's, at the address where the guest sees its LDT.
#[inline(never)]
fn ldt_fault(cpu: &PerCpu, caller: &mut Caller<'_>, error_code: u32, cr2: u64) -> Outcome {
    if run::map_ldt_page(cpu, caller, cr2) {
        return Ok(Effects::NONE);
    }
    let offset = cr2 - descriptors::window(cpu.id) - descriptors::LDT_OFFSET;
    let address = caller.state.ldt_base.wrapping_add(offset);
    trap::deliver_page_fault(hv(), caller, error_code, address)
}

/// The final IRETQ faulted: selectors, RIP or RSP of the frame are not what the CPU takes. The guest gets the fault, with that frame
/// as what was interrupted, as if the instruction had been its own.
#[inline(never)]
fn return_fault(cpu: &PerCpu, caller: &mut Caller<'_>, vector: u8, cr2: u64) -> Outcome {
    let error_code = caller.state.regs.error_code;
    if vector == trap::vector::PF && is_ldt_fault(cpu, error_code, cr2) {
        return ldt_fault(cpu, caller, error_code, cr2);
    }
    trap::inject(hv(), caller, vector, error_code)
}

#[inline(never)]
fn sysenter(caller: &mut Caller<'_>) -> Outcome {
    let callback = caller.state.callbacks.sysenter;
    if callback.address == 0 || caller.state.mode == Mode::Kernel {
        return trap::inject(hv(), caller, trap::vector::GP, 0);
    }
    trap::bounce(hv(), caller, trap::Target::callback(callback), None)
}

/// An exception or interrupt while the hypervisor itself ran.
///
/// # Safety
/// S-08: called by the entry code alone.
pub unsafe extern "C" fn hypervisor_exit(frame: *mut Registers) {
    // SAFETY: S-08: the entry code built the frame on this stack.
    let frame = unsafe { &mut *frame };
    let cpu = PerCpu::get();
    if frame.vector >= 32 {
        let effects = interrupt::handle(cpu, frame.vector as u8);
        cpu.idle_effects.set(cpu.idle_effects.get().and(effects));
        return;
    }
    let cr2 = x86_64::registers::control::Cr2::read_raw();
    if frame.vector == u32::from(trap::vector::PF) && run::map_ldt_for_hypervisor(cpu, cr2) {
        return;
    }
    match fixup::landing(frame.rip) {
        Some(landing) => frame.rip = landing,
        None => panic::fatal(frame, cr2),
    }
}

/// NMI, #DF, #MC, and #DB in the hypervisor: on stacks of their own.
///
/// # Safety
/// S-08: called by the entry code alone.
pub unsafe extern "C" fn ist_exit(frame: *mut Registers) {
    // SAFETY: S-08: the entry code built the frame on this stack.
    let frame = unsafe { &mut *frame };
    match frame.vector {
        1 => {
            const TF: u64 = 1 << 8;
            // SYSENTER leaves TF on. Its entry pushes the flags, as the guest had them, before they are cleared.
            if !entry::keeps_guest_flags(frame.rip) {
                frame.rflags &= !TF;
            }
            run::clear_debug_status();
        }
        2 => interrupt::nmi(frame),
        _ => panic::fatal(frame, x86_64::registers::control::Cr2::read_raw()),
    }
}
