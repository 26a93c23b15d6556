//! Delivery of exceptions, events and system calls into a PV guest.
//!
//! Guest kernel and guest user both run in ring 3; [`Mode`] tells them apart. Whatever interrupts the guest is *bounced*: a
//! frame like the CPU's own is written on the guest kernel's stack ([`bounce`]), and the guest goes on at its handler. The
//! guest's virtual interrupt flag is `evtchn_upcall_mask` of its `vcpu_info`; the frame carries it as IF and, beside CS, as
//! `saved_upcall_mask`. The kernel returns with the `iret` hypercall ([`iret`]) or, within itself, with the instruction.
//!
//! What cannot be delivered (no handler, no room on the stack) ends the domain: there is nobody left to tell.

pub mod bounce;
pub mod info;
mod iret;
#[cfg(test)]
mod tests;

pub use bounce::{Target, bounce};
pub use iret::{IRET_FLAGS, iret};

use crate::Hypervisor;
use crate::addr::GuestVirt;
use crate::domain::{Mode, Pending, VcpuState};
use crate::effects::{Effects, Todo};
use crate::fail::Why;
use crate::hypercall::Caller;
use crate::hypercall::guest::read_one;
use crate::platform::{BaseOf, Platform};
use core::sync::atomic::Ordering;

/// Flat ring-3 64-bit code selector that every GDT has (`FLAT_RING3_CS64`).
pub const FLAT_CS64: u16 = 0xe033;
/// Flat ring-3 stack selector (`FLAT_RING3_SS64`).
pub const FLAT_SS: u16 = 0xe02b;
/// Flat ring-3 32-bit code selector (`FLAT_RING3_CS32`).
pub const FLAT_CS32: u16 = 0xe023;

/// Vectors of the CPU that matter here (SDM vol. 3, table 6-1).
pub mod vector {
    #![expect(missing_docs, reason = "the manual's mnemonics")]
    pub const DB: u8 = 1;
    pub const NMI: u8 = 2;
    pub const BP: u8 = 3;
    pub const UD: u8 = 6;
    pub const NM: u8 = 7;
    pub const GP: u8 = 13;
    pub const PF: u8 = 14;
}

/// Vectors that push an error code: #DF, #TS, #NP, #SS, #GP, #PF, #AC, #CP.
const WITH_ERROR_CODE: u32 = 1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17 | 1 << 21;
/// Bit of a page fault's error code: the access came from user mode.
const PF_USER: u32 = 1 << 2;
/// Bit of a selector error code: the index is of the IDT.
const ERROR_IDT: u32 = 1 << 1;
/// CR0.TS.
const CR0_TS: u64 = 1 << 3;

/// An exception that the CPU raised while a guest ran. `error_code` is 0 where the vector has none; `cr2` counts for #PF only.
///
/// # Errors
/// The reason to end the domain.
pub fn exception<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    vector: u8,
    error_code: u32,
    cr2: u64,
) -> Result<Effects, Why> {
    match vector {
        vector::PF => page_fault(hv, caller, error_code, cr2),
        vector::GP => general_protection(hv, caller, error_code),
        vector::UD => invalid_opcode(hv, caller),
        vector::NM => device_not_available(hv, caller),
        _ => inject(hv, caller, vector, error_code),
    }
}

/// Delivers an exception to the guest's own handler.
///
/// # Errors
/// No handler, or its frame cannot be written.
#[inline]
pub fn inject<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    vector: u8,
    error_code: u32,
) -> Result<Effects, Why> {
    let code = (vector < 32 && WITH_ERROR_CODE >> vector & 1 != 0).then_some(error_code);
    deliver(hv, caller, vector, code)
}

/// As [`inject`]; whoever calls knows whether there is an error code.
///
/// # Errors
/// As [`inject`].
#[inline(always)]
pub fn deliver_with<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    vector: u8,
    error_code: Option<u32>,
) -> Result<Effects, Why> {
    let handler = caller.state.traps[usize::from(vector)];
    if handler.address == 0 {
        return Err(Why::NoHandler(vector));
    }
    let target = Target { address: handler.address, mask_events: handler.mask_events };
    bounce(hv, caller, target, error_code)
}

fn deliver<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    vector: u8,
    error_code: Option<u32>,
) -> Result<Effects, Why> {
    deliver_with(hv, caller, vector, error_code)
}

/// A page fault: a store to a page table is validated and carried out, any other fault is the guest's.
#[inline(never)]
fn page_fault<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    error_code: u32,
    cr2: u64,
) -> Result<Effects, Why> {
    if let Some(effects) = crate::mm::emulate_pt_write(hv, caller, cr2, error_code) {
        return Ok(effects);
    }
    deliver_page_fault(hv, caller, error_code, cr2)
}

/// Delivers a page fault with its address. In the error code, "user" means the guest's user mode.
///
/// # Errors
/// No handler, or its frame cannot be written.
pub fn deliver_page_fault<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    error_code: u32,
    cr2: u64,
) -> Result<Effects, Why> {
    let error_code = prepare_page_fault(hv, caller, error_code, cr2);
    inject(hv, caller, vector::PF, error_code)
}

/// Tells the guest the address of a page fault. Returns the error code that it gets.
#[inline(always)]
pub fn prepare_page_fault<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    error_code: u32,
    cr2: u64,
) -> u32 {
    let user = if caller.state.mode == Mode::User { PF_USER } else { 0 };
    caller.state.cr2 = cr2;
    info::set_cr2(hv, caller.vcpu, cr2);
    error_code & !PF_USER | user
}

/// Whether a page fault may be a store to a page table, which [`exception`] would carry out.
#[inline(always)]
pub fn may_be_pt_write(caller: &Caller<'_>, error_code: u32) -> bool {
    error_code & crate::mm::FAULT_OF_STORE == crate::mm::FAULT_OF_STORE && caller.state.mode == Mode::Kernel
}

/// Whether an invalid opcode may be the forced-emulation prefix, which [`exception`] would look at: `ud2`, `xen`.
#[inline(always)]
pub fn may_be_forced<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>) -> bool {
    const PREFIX: u64 = u64::from_le_bytes([0x0f, 0x0b, b'x', b'e', b'n', 0, 0, 0]);
    const LENGTH: u64 = 0xff_ffff_ffff;
    // Of another code segment, the base counts too.
    if caller.state.regs.cs != u64::from(FLAT_CS64) {
        return true;
    }
    match hv.platform.read_words(GuestVirt::new(caller.state.regs.rip)) {
        Ok([code]) => code & LENGTH == PREFIX,
        // The page may end before the eighth byte.
        Err(_) => true,
    }
}

/// A general-protection fault: `int n` to a handler of the guest's, a privileged instruction, or the guest's own fault.
#[inline(never)]
fn general_protection<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    error_code: u32,
) -> Result<Effects, Why> {
    if error_code & ERROR_IDT != 0 && error_code & 1 == 0 {
        return software_interrupt(hv, caller, error_code);
    }
    if error_code == 0
        && let Some(result) = crate::emulate::guest::privileged(hv, caller)
    {
        return result;
    }
    inject(hv, caller, vector::GP, error_code)
}

/// `int n`: the gate is closed for ring 3, so the CPU says #GP; the guest's table decides.
fn software_interrupt<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    error_code: u32,
) -> Result<Effects, Why> {
    let vector = interrupt_number(hv, caller, error_code);
    let handler = caller.state.traps[usize::from(vector)];
    let least = if caller.state.mode == Mode::Kernel { 1 } else { 3 };
    if handler.address == 0 || handler.dpl < least {
        return inject(hv, caller, vector::GP, u32::from(vector) << 3 | ERROR_IDT);
    }
    caller.state.regs.rip = caller.state.regs.rip.wrapping_add(2);
    deliver(hv, caller, vector, None)
}

/// The operand of the `int n` at RIP. The instruction is asked rather than the error code, which QEMU before 8.0 gets wrong; where
/// it cannot be seen (it has a prefix, or its segment has a base), the error code must do.
fn interrupt_number<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, error_code: u32) -> u8 {
    match read_one::<[u8; 2], P>(hv, caller.state.regs.rip) {
        Ok([0xcd, vector]) => vector,
        _ => (error_code >> 3) as u8,
    }
}

/// `int 0x80`, which has an open gate of its own: RIP is behind the instruction. The privilege level in the guest's table does not
/// count for it, as on upstream.
///
/// # Errors
/// The reason to end the domain.
pub fn int80<P: Platform>(hv: &Hypervisor<P>, caller: &mut Caller<'_>) -> Result<Effects, Why> {
    if caller.state.traps[0x80].address == 0 {
        caller.state.regs.rip = caller.state.regs.rip.wrapping_sub(2);
        return inject(hv, caller, vector::GP, 0x80 << 3 | ERROR_IDT);
    }
    deliver(hv, caller, 0x80, None)
}

/// An invalid opcode: the forced-emulation prefix, or the guest's own fault.
#[inline(never)]
fn invalid_opcode<P: Platform>(hv: &Hypervisor<P>, caller: &mut Caller<'_>) -> Result<Effects, Why> {
    if let Some(effects) = crate::emulate::guest::forced_cpuid(hv, caller) {
        return Ok(effects);
    }
    match crate::emulate::guest::forced(hv, caller) {
        Some(result) => result,
        None => inject(hv, caller, vector::UD, 0),
    }
}

/// The guest set CR0.TS and used the FPU. TS is clear when its handler runs.
#[inline(never)]
fn device_not_available<P: Platform>(hv: &Hypervisor<P>, caller: &mut Caller<'_>) -> Result<Effects, Why> {
    if caller.state.cr0 & CR0_TS == 0 {
        return Ok(Effects::todo(Todo::LOAD_TS));
    }
    caller.state.cr0 &= !CR0_TS;
    Ok(inject(hv, caller, vector::NM, 0)?.and(Effects::todo(Todo::LOAD_TS)))
}

/// `syscall` in user mode: RCX and R11 hold RIP and RFLAGS, and so does the frame.
///
/// # Errors
/// The reason to end the domain.
#[inline]
pub fn syscall<P: Platform>(hv: &Hypervisor<P>, caller: &mut Caller<'_>) -> Result<Effects, Why> {
    let callback = caller.state.callbacks.syscall;
    system_call(hv, caller, callback)
}

/// `syscall` in 32-bit code; that of the guest's kernel comes to the same callback.
///
/// # Errors
/// The reason to end the domain.
pub fn syscall32<P: Platform>(hv: &Hypervisor<P>, caller: &mut Caller<'_>) -> Result<Effects, Why> {
    let callback = caller.state.callbacks.syscall32;
    system_call(hv, caller, callback)
}

fn system_call<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    callback: crate::domain::Callback,
) -> Result<Effects, Why> {
    if callback.address == 0 {
        caller.state.regs.rip = caller.state.regs.rip.wrapping_sub(2);
        return inject(hv, caller, vector::UD, 0);
    }
    bounce(hv, caller, Target::callback(callback), None)
}

/// Selectors could not be loaded: the guest's failsafe callback gets them, as they were, in the frame.
///
/// # Errors
/// The reason to end the domain.
pub fn failsafe<P: Platform>(hv: &Hypervisor<P>, caller: &mut Caller<'_>) -> Result<Effects, Why> {
    let callback = caller.state.callbacks.failsafe;
    if callback.address == 0 {
        return Err(Why::NoCallback("failsafe"));
    }
    bounce::bounce_failsafe(hv, caller, Target::callback(callback))
}

/// Whether [`deliver_pending`] would do something. Cheap: two loads.
#[inline(always)]
pub fn has_pending<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>) -> bool {
    caller.vcpu.pending.load(Ordering::Relaxed) != 0 || info::upcall_due(hv, caller.vcpu)
}

/// Delivers what waits for the vCPU just before it re-enters its guest: an NMI, or the event callback.
///
/// # Errors
/// The reason to end the domain.
pub fn deliver_pending<P: Platform>(hv: &Hypervisor<P>, caller: &mut Caller<'_>) -> Result<Effects, Why> {
    let mut effects = Effects::NONE;
    let pending = Pending::from_bits_truncate(caller.vcpu.pending.load(Ordering::Relaxed));
    if pending.contains(Pending::TIMER) {
        crate::time::take_over(hv, caller.vcpu);
    }
    if pending.contains(Pending::NMI)
        && !caller.state.in_nmi
        && caller.state.traps[usize::from(vector::NMI)].address != 0
    {
        caller.vcpu.pending.fetch_and(!Pending::NMI.bits(), Ordering::AcqRel);
        // Until its handler returns by the `iret` hypercall, the next one waits.
        caller.state.in_nmi = true;
        effects = inject(hv, caller, vector::NMI, 0)?;
    }
    if info::upcall_due(hv, caller.vcpu) {
        effects = effects.and(deliver_upcall(hv, caller)?);
    }
    Ok(effects)
}

/// Enters the event callback: an event waits, and events are not masked.
///
/// # Errors
/// The reason to end the domain.
#[inline(always)]
pub fn deliver_upcall<P: Platform>(hv: &Hypervisor<P>, caller: &mut Caller<'_>) -> Result<Effects, Why> {
    let event = caller.state.callbacks.event;
    if event.address == 0 {
        return Err(Why::NoCallback("event"));
    }
    bounce(hv, caller, Target { mask_events: true, ..Target::callback(event) }, None)
}

/// Goes from the guest's kernel to its user mode or back: page-table root and GS base change.
#[inline]
pub fn toggle_mode<P: Platform>(hv: &Hypervisor<P>, state: &mut VcpuState) {
    let base = hv.platform.guest_base(BaseOf::Gs);
    hv.platform.set_guest_base(BaseOf::Gs, state.gs_base_other);
    state.gs_base_other = base;
    state.mode = if state.mode == Mode::Kernel { Mode::User } else { Mode::Kernel };
    hv.platform.load_root(state.root());
}
