//! What made the CPU enter the hypervisor, and who answers it.
//!
//! Each function here is called by the entry code with the registers of what was interrupted. From a guest the way is
//! always the same: the reason is handed to the core, which answers with effects or with the reason to end the domain;
//! [`crate::run::finish`] carries that out and says which vCPU goes on.

use core::sync::atomic::Ordering;

use xen_lite_core::domain::{Mode, Registers, VcpuState};
use xen_lite_core::effects::{Done, Effects, Todo};
use xen_lite_core::fail::{Fail, Why};
use xen_lite_core::hypercall::{self, Caller};
use xen_lite_core::trap;

use crate::cpu::{PerCpu, descriptors};
use crate::entry::{RETURN_FAULT, SYSCALL32, SYSENTER};
use crate::hypervisor::hv;
use crate::{entry, fixup, interrupt, panic, run, smp};

/// How the entry code goes on after the long way: in RAX.
#[repr(C)]
pub struct Resume {
    /// Registers of the vCPU to resume, all of which are loaded.
    pub registers: *mut Registers,
}

/// What a hypercall led to: in RAX and RDX.
#[repr(C)]
pub struct Answer {
    /// The result, for [`DONE`].
    value: u64,
    /// [`DONE`], [`IRETQ`] or [`LONG_WAY`].
    how: u64,
}

/// The same vCPU goes on, with RBX, RBP and R12 to R15 as they are. After a hypercall, the result is to be put into RAX.
pub const DONE: u64 = 0;
/// After a hypercall: the same vCPU goes on by IRETQ, with its registers as they are in memory; RBX, RBP and R12 to R15 as they are.
pub const IRETQ: u64 = 1;
/// What is left to do is noted: the entry code saves RBX, RBP and R12 to R15, and calls [`guest_long`].
pub const LONG_WAY: u64 = 2;
/// Nothing is done yet: the entry code saves RBX, RBP and R12 to R15, and calls [`guest_exit`].
pub const ALL_REGISTERS: u64 = 3;

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

/// A hypercall by its number, with its registers and arguments.
type Entry = unsafe extern "C" fn(*mut Registers, *mut hypercall::Args) -> Answer;

/// `[f::<0>, f::<1>, ...]`
macro_rules! by_number {
    ($function:ident: $($high:literal)*) => {
        [$(
            $function::<{ $high * 8 }>, $function::<{ $high * 8 + 1 }>, $function::<{ $high * 8 + 2 }>,
            $function::<{ $high * 8 + 3 }>, $function::<{ $high * 8 + 4 }>, $function::<{ $high * 8 + 5 }>,
            $function::<{ $high * 8 + 6 }>, $function::<{ $high * 8 + 7 }>,
        )*]
    };
}

/// The hypercalls, for the entry code. Each has a function of its own, so that what its shim never does costs nothing.
pub static HYPERCALLS: [Entry; hypercall::NUMBERS] = by_number!(guest_hypercall: 0 1 2 3 4 5 6 7);

/// SYSCALL from 64-bit code of the guest's kernel, with this number.
///
/// # Safety
/// S-08: called by the entry code alone.
unsafe extern "C" fn guest_hypercall<const NUMBER: usize>(
    registers: *mut Registers,
    args: *mut hypercall::Args,
) -> Answer {
    // SAFETY: S-06: the entry code gives the running vCPU's registers.
    let mut caller = unsafe { caller_of(registers) };
    if NUMBER == abi::xen::hypercall::IRET as usize {
        return guest_iret(caller);
    }
    // SAFETY: S-08: the entry code put them on this stack, and uses them no more.
    let args = unsafe { &mut *args };
    match hypercall::dispatch(hv(), &mut caller, NUMBER as u64, args) {
        Ok(done) if is_nothing(&done.effects) => Answer { value: done.value as u64, how: DONE },
        Err(Fail::Errno(errno)) => Answer { value: errno.as_ret() as u64, how: DONE },
        outcome => conclude(caller, &outcome, args),
    }
}

/// The running vCPU as a caller.
///
/// # Safety
/// S-06: the registers are those of the vCPU that runs on this CPU; the entry code gives them once, and nothing else refers to its
/// state.
#[inline(always)]
unsafe fn caller_of(registers: *mut Registers) -> Caller<'static> {
    // SAFETY: S-06: as the caller promises; a guest ran until now.
    unsafe {
        let running = PerCpu::get().running_now();
        Caller::new(&running.domain, &running.vcpu, state_of(registers))
    }
}

/// A hypercall with consequences.
#[inline(never)]
fn conclude(mut caller: Caller<'_>, outcome: &Result<Done, Fail>, args: &hypercall::Args) -> Answer {
    match *outcome {
        Ok(done) if !done.effects.todo.intersects(NOT_BY_SYSRET) => {
            run::apply_effects(PerCpu::get(), caller.state, done.effects);
            Answer { value: done.value as u64, how: DONE }
        }
        outcome => {
            let result = hypercall::conclude(&mut caller, outcome, args);
            PerCpu::get().unfinished.set(result);
            Answer { value: 0, how: LONG_WAY }
        }
    }
}

/// The hypercall `iret`, if it is not so simple that the entry code could do it.
#[inline(always)]
fn guest_iret(mut caller: Caller<'_>) -> Answer {
    let result = trap::iret(hv(), &mut caller);
    let done = note(result) == DONE && (!trap::has_pending(hv(), &caller) || deliver(&mut caller) == DONE);
    Answer { value: 0, how: if done { IRETQ } else { LONG_WAY } }
}

/// SYSCALL from 64-bit code of the guest's user mode. [`DONE`] or [`LONG_WAY`].
///
/// # Safety
/// S-08: called by the entry code alone.
pub unsafe extern "C" fn guest_user_syscall(registers: *mut Registers) -> u64 {
    // SAFETY: S-06: the entry code gives the running vCPU's registers.
    let mut caller = unsafe { caller_of(registers) };
    let result = trap::syscall(hv(), &mut caller);
    note(result)
}

/// An event or an NMI waits for the vCPU that is about to go on. [`DONE`] or [`LONG_WAY`].
///
/// # Safety
/// S-08: called by the entry code alone.
pub unsafe extern "C" fn guest_pending(registers_end: *mut Registers) -> u64 {
    // SAFETY: S-06: the entry code gives the end of the running vCPU's registers.
    let mut caller = unsafe { caller_of(registers_end.sub(1)) };
    if caller.vcpu.pending.load(Ordering::Relaxed) != 0 {
        return deliver(&mut caller);
    }
    // So it is an event.
    note(trap::deliver_upcall(hv(), &mut caller))
}

/// Delivers what is pending.
#[inline(never)]
fn deliver(caller: &mut Caller<'_>) -> u64 {
    let delivered = trap::deliver_pending(hv(), caller);
    note(delivered)
}

/// [`DONE`] if there is nothing left to do; else that is noted.
#[inline(always)]
fn note(result: Outcome) -> u64 {
    if matches!(&result, Ok(effects) if is_nothing(effects)) { DONE } else { note_long(result) }
}

#[cold]
#[inline(never)]
fn note_long(result: Outcome) -> u64 {
    PerCpu::get().unfinished.set(result);
    LONG_WAY
}

/// Effects after which another vCPU may run, or this one with other registers.
const NOT_BY_SYSRET: Todo = Todo::RESCHEDULE.union(Todo::REGS_REPLACED);

/// Whether effects ask for nothing.
#[inline(always)]
fn is_nothing(effects: &Effects) -> bool {
    u64::from(effects.todo.bits()) | effects.kick == 0
}

/// The rest of a way that began as a short one, now that all registers are saved.
///
/// # Safety
/// S-08: called by the entry code alone.
pub unsafe extern "C" fn guest_long() -> Resume {
    let cpu = PerCpu::get();
    run::finish(cpu, cpu.unfinished.replace(Ok(Effects::NONE)))
}

/// Bit of a page fault's error code: the access was one of ring 3.
const PF_USER: u32 = 1 << 2;

/// Vectors that are bounced to the guest's handler without a further look, and have no error code.
const PLAIN: u32 = 1 << 0 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 19;

/// Vectors whose entry saves only what a callee does not preserve, and calls [`guest_trap`]; 0x80 is one, too.
pub const SHORT: u32 = PLAIN | 1 << trap::vector::UD | 1 << trap::vector::PF;

/// An exception or `int 0x80` of a guest, most of whose registers are saved. [`DONE`] if it was bounced to the guest's handler,
/// [`LONG_WAY`], or [`ALL_REGISTERS`] when it is another's business and nothing is done yet.
///
/// # Safety
/// S-08: called by the entry code alone.
pub unsafe extern "C" fn guest_trap(registers: *mut Registers) -> u64 {
    // SAFETY: S-06: the entry code gives the running vCPU's registers.
    let caller = unsafe { caller_of(registers) };
    let vector = caller.state.regs.vector;
    match vector {
        0..32 if PLAIN >> vector & 1 != 0 => bounce_plain(registers, vector as u8),
        14 => {
            let cr2 = x86_64::registers::control::Cr2::read_raw();
            let code = caller.state.regs.error_code;
            // Without the user bit, the CPU itself looked for a descriptor.
            if code & PF_USER == 0 || trap::may_be_pt_write(&caller, code) {
                return ALL_REGISTERS;
            }
            bounce_page_fault(registers, code, cr2)
        }
        6 if !trap::may_be_forced(hv(), &caller) => bounce_plain(registers, trap::vector::UD),
        0x80 if caller.state.traps[0x80].address != 0 => bounce_plain(registers, 0x80),
        _ => ALL_REGISTERS,
    }
}

/// Bounces what has no error code. A function apart, like the next, so that deciding takes few registers.
#[inline(never)]
fn bounce_plain(registers: *mut Registers, vector: u8) -> u64 {
    // SAFETY: S-06: as in `guest_trap`, which uses them no more.
    let mut caller = unsafe { caller_of(registers) };
    note(trap::deliver_with(hv(), &mut caller, vector, None))
}

#[inline(never)]
fn bounce_page_fault(registers: *mut Registers, code: u32, cr2: u64) -> u64 {
    // SAFETY: S-06: as above.
    let mut caller = unsafe { caller_of(registers) };
    let code = trap::prepare_page_fault(hv(), &mut caller, code, cr2);
    note(trap::deliver_with(hv(), &mut caller, trap::vector::PF, Some(code)))
}

/// Anything else that stops a guest.
///
/// # Safety
/// S-08: called by the entry code alone.
pub unsafe extern "C" fn guest_exit(registers: *mut Registers) -> Resume {
    let cr2 = x86_64::registers::control::Cr2::read_raw();
    let cpu = PerCpu::get();
    // SAFETY: S-06: the entry code gives the running vCPU's registers.
    let mut caller = unsafe { caller_of(registers) };
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
    if !matches!(&result, Ok(effects) if is_nothing(effects)) {
        return run::finish(cpu, result);
    }
    if !trap::has_pending(hv(), &caller) || deliver(&mut caller) == DONE {
        return Resume { registers };
    }
    run::finish(cpu, cpu.unfinished.replace(Ok(Effects::NONE)))
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
    error_code & PF_USER == 0 && descriptors::ldt_page(cpu, cr2).is_some()
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
        frame.rip = smp::after_wait(frame.rip);
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
