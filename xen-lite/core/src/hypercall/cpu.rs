//! Hypercalls that change the calling vCPU's own registers and tables.

use abi::callback::*;
use abi::xen::{TrapInfo, VMASST_CMD_DISABLE, VMASST_CMD_ENABLE};
use core::sync::atomic::Ordering;

use super::coverage::{Sub, full};
use super::guest::{GuestHandle, range_ok, read_one};
use super::{Args, Caller};
use crate::Hypervisor;
use crate::addr::{GuestVirt, MachineAddr, Mfn};
use crate::domain::TrapHandler;
use crate::domain::vcpu::{Callback, GDT_FRAMES};
use crate::effects::{Done, Effects, Todo};
use crate::fail::{Errno, Fail};
use crate::platform::{BaseOf, Platform};
use crate::trap;

/// GDT entries that a guest may give (`FIRST_RESERVED_GDT_ENTRY`).
const GUEST_GDT_ENTRIES: u64 = GDT_FRAMES as u64 * 512;
/// CR0.TS.
const CR0_TS: u64 = 1 << 3;
/// CR4.DE.
const CR4_DE: u64 = 1 << 3;

fn canonical(address: u64) -> Result<u64, Errno> {
    if GuestVirt::new(address).is_canonical() { Ok(address) } else { Err(Errno::EINVAL) }
}

/// `set_trap_table`: a list of `struct trap_info` that ends with address 0; a null list removes all handlers.
pub fn set_trap_table<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    if args[0] == 0 {
        caller.state.traps.fill(TrapHandler::default());
        return Ok(Done::OK);
    }
    loop {
        let entry: TrapInfo = read_one(hv, args[0])?;
        if entry.address == 0 {
            return Ok(Done::OK);
        }
        let address = canonical(entry.address)?;
        caller.state.traps[usize::from(entry.vector)] = TrapHandler {
            address,
            cs: entry.cs | 3,
            dpl: entry.flags & 3,
            mask_events: entry.flags & 4 != 0,
        };
        args[0] = args[0].wrapping_add(size_of::<TrapInfo>() as u64);
        if hv.platform.interrupt_pending() {
            return Err(Fail::Again);
        }
    }
}

/// `set_gdt`: frames of the new GDT, and its number of entries.
pub fn set_gdt<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    let entries = u64::from(args[1] as u32);
    if entries > GUEST_GDT_ENTRIES {
        return Err(Errno::EINVAL.into());
    }
    let list = GuestHandle::<u64>::new(args[0], entries.div_ceil(512))?;
    let mut frames = [Mfn::INVALID; GDT_FRAMES];
    for (index, frame) in frames.iter_mut().enumerate().take(list.len() as usize) {
        *frame = Mfn::new(list.read(hv, index as u64)?);
    }
    replace_gdt(hv, caller.domain.id, caller.state, &frames[..list.len() as usize], entries as u32)?;
    Ok(Done::with(Effects::todo(Todo::LOAD_DESCRIPTORS)))
}

/// Gives a vCPU a GDT: takes a descriptor-page reference on each frame, and drops those of the old one.
///
/// # Errors
/// `EINVAL` when a frame is not the domain's or cannot be a descriptor page; then nothing has changed.
pub fn replace_gdt<P: Platform>(
    hv: &Hypervisor<P>,
    domain: crate::addr::DomId,
    state: &mut crate::domain::VcpuState,
    frames: &[Mfn],
    entries: u32,
) -> Result<(), Errno> {
    for (taken, mfn) in frames.iter().enumerate() {
        if !crate::mm::get_descriptor_page(hv, domain, *mfn) {
            frames[..taken].iter().for_each(|mfn| crate::mm::put_descriptor_page(hv, *mfn));
            return Err(Errno::EINVAL);
        }
    }
    for old in state.gdt.iter_mut() {
        if *old != Mfn::INVALID {
            crate::mm::put_descriptor_page(hv, core::mem::replace(old, Mfn::INVALID));
        }
    }
    state.gdt[..frames.len()].copy_from_slice(frames);
    state.gdt_entries = entries;
    Ok(())
}

/// `update_descriptor`: machine address of the entry, new value.
pub fn update_descriptor<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    let at = MachineAddr::new(args[0]);
    if !at.offset().is_multiple_of(8) {
        return Err(Errno::EINVAL.into());
    }
    crate::mm::write_descriptor(hv, caller.domain.id, at.mfn(), at.offset() / 8, args[1])?;
    Ok(Done::OK)
}

/// `stack_switch`: selector and pointer of the kernel stack on which exceptions from user mode arrive.
#[inline]
pub fn stack_switch<P: Platform>(
    _: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    caller.state.kernel_ss = args[0] as u16 | 3;
    caller.state.kernel_sp = args[1];
    Ok(Done::OK)
}

/// `set_callbacks`, the older form of `callback_op`: event, failsafe and system-call addresses. It never fails; an address that is
/// not canonical leaves the callback as it was.
pub fn set_callbacks<P: Platform>(
    _: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    let callbacks = &mut caller.state.callbacks;
    let slots = [&mut callbacks.event, &mut callbacks.failsafe, &mut callbacks.syscall];
    for (slot, address) in slots.into_iter().zip(*args) {
        if canonical(address).is_ok() {
            *slot = Callback { address, mask_events: false };
        }
    }
    Ok(Done::OK)
}

/// Sub-operations of `callback_op`.
pub const CALLBACK_SUBS: &[Sub] =
    &[full(CALLBACKOP_REGISTER, "CALLBACKOP_register"), full(CALLBACKOP_UNREGISTER, "CALLBACKOP_unregister")];

/// `callback_op` (callback.h).
pub fn callback_op<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    match args[0] as u32 {
        CALLBACKOP_REGISTER => register_callback(caller, &read_one(hv, args[1])?)?,
        CALLBACKOP_UNREGISTER => {
            let which: CallbackUnregister = read_one(hv, args[1])?;
            unregister_callback(caller, which.type_)?;
        }
        _ => return Err(Errno::ENOSYS.into()),
    }
    Ok(Done::OK)
}

/// The vector of non-maskable interrupts. Their callback is the entry of the trap table.
const NMI: usize = trap::vector::NMI as usize;

fn nmi_handler(address: u64) -> TrapHandler {
    TrapHandler { address, cs: trap::FLAT_CS64, dpl: 0, mask_events: true }
}

fn register_callback(caller: &mut Caller<'_>, new: &CallbackRegister) -> Result<(), Errno> {
    let address = canonical(new.address)?;
    let callback = Callback { address, mask_events: new.flags & CALLBACKF_MASK_EVENTS != 0 };
    let callbacks = &mut caller.state.callbacks;
    // Events are always masked while their own callback starts.
    match new.type_ {
        CALLBACKTYPE_EVENT => callbacks.event = Callback { address, mask_events: true },
        CALLBACKTYPE_FAILSAFE => callbacks.failsafe = callback,
        CALLBACKTYPE_SYSCALL => callbacks.syscall = callback,
        CALLBACKTYPE_SYSCALL32 => callbacks.syscall32 = callback,
        CALLBACKTYPE_SYSENTER => callbacks.sysenter = callback,
        CALLBACKTYPE_NMI => caller.state.traps[NMI] = nmi_handler(address),
        _ => return Err(Errno::ENOSYS),
    }
    Ok(())
}

fn unregister_callback(caller: &mut Caller<'_>, which: u16) -> Result<(), Errno> {
    match which {
        CALLBACKTYPE_EVENT
        | CALLBACKTYPE_FAILSAFE
        | CALLBACKTYPE_SYSCALL
        | CALLBACKTYPE_SYSCALL32
        | CALLBACKTYPE_SYSENTER => Err(Errno::EINVAL),
        CALLBACKTYPE_NMI => {
            caller.state.traps[NMI] = TrapHandler::default();
            Ok(())
        }
        _ => Err(Errno::ENOSYS),
    }
}

/// `fpu_taskswitch`: sets or clears CR0.TS.
#[inline]
pub fn fpu_taskswitch<P: Platform>(
    _: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    let set = args[0] as u32 != 0;
    // The CPU's bit follows the vCPU's: what does not change need not be loaded.
    if set == (caller.state.cr0 & CR0_TS != 0) {
        return Ok(Done::OK);
    }
    caller.state.cr0 ^= CR0_TS;
    Ok(Done::with(Effects::todo(Todo::LOAD_TS)))
}

/// Bits of DR7 that turn breakpoints on.
const DR7_ENABLED: u64 = 0xff;

/// `set_debugreg`: register number, value.
pub fn set_debugreg<P: Platform>(
    _: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    let register = args[0] as u32;
    write_debug(caller.state, register, args[1])?;
    // Without breakpoints that are on, the CPU has none of the registers.
    if register < 4 && caller.state.debug[7] & DR7_ENABLED == 0 {
        return Ok(Done::OK);
    }
    Ok(Done::with(Effects::todo(Todo::LOAD_DEBUG)))
}

/// Writes a debug register with the checks that keep breakpoints out of the hypervisor.
///
/// # Errors
/// `EPERM` for an address in the hypervisor's hole and for general detect, `EINVAL` for reserved bits, `ENODEV`
/// for DR4 and DR5 with CR4.DE and for registers that do not exist.
pub fn write_debug(state: &mut crate::domain::VcpuState, register: u32, value: u64) -> Result<(), Errno> {
    match register {
        0..=3 if !range_ok(value, 1) => return Err(Errno::EPERM),
        0..=3 => state.debug[register as usize] = value,
        4 | 5 if state.cr4 & CR4_DE != 0 => return Err(Errno::ENODEV),
        4 | 6 if value >> 32 != 0 => return Err(Errno::EINVAL),
        // Bits 11:4 and 31:17 read as one, bit 12 as zero (SDM vol. 3, 18.2.3).
        4 | 6 => state.debug[6] = (value | 0xffff_0ff0) & !0x1000,
        5 | 7 => state.debug[7] = checked_dr7(value)?,
        _ => return Err(Errno::ENODEV),
    }
    Ok(())
}

/// Reserved bits forced (10 one; 11, 12, 14, 15 zero); I/O breakpoints and lengths that do not exist refused.
fn checked_dr7(value: u64) -> Result<u64, Errno> {
    if value >> 32 != 0 {
        return Err(Errno::EINVAL);
    }
    if value & 1 << 13 != 0 {
        return Err(Errno::EPERM);
    }
    let io_breakpoint = (0..4).any(|n| value >> (16 + 4 * n) & 3 == 2 && value >> (2 * n) & 3 != 0);
    if io_breakpoint {
        return Err(Errno::EPERM);
    }
    Ok(value & !0xd800 | 0x400)
}

/// `get_debugreg`: register number; the value is the result.
pub fn get_debugreg<P: Platform>(
    _: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    let state = &caller.state;
    let value = match args[0] as u32 {
        register @ (0..=3 | 6 | 7) => state.debug[register as usize],
        4 | 5 if state.cr4 & CR4_DE != 0 => return Err(Errno::ENODEV.into()),
        4 => state.debug[6],
        5 => state.debug[7],
        _ => return Err(Errno::ENODEV.into()),
    };
    Ok(Done::value(value as i64))
}

/// Types of `vm_assist`.
pub const VM_ASSIST_SUBS: &[Sub] = &[
    full(0, "VMASST_TYPE_4gb_segments"),
    full(1, "VMASST_TYPE_4gb_segments_notify"),
    full(2, "VMASST_TYPE_writable_pagetables"),
    full(3, "VMASST_TYPE_pae_extended_cr3"),
    full(4, "VMASST_TYPE_architectural_iopl"),
    full(5, "VMASST_TYPE_runstate_update_flag"),
    full(32, "VMASST_TYPE_m2p_strict"),
];
/// Bits of the types above.
const VM_ASSIST_VALID: u64 = 0x1_0000_003f;

/// `vm_assist`: command, type.
pub fn vm_assist<P: Platform>(
    _: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    let kind = args[1] as u32;
    let bit = 1u64.checked_shl(kind).unwrap_or(0);
    if bit & VM_ASSIST_VALID == 0 {
        return Err(Errno::EINVAL.into());
    }
    match args[0] as u32 {
        VMASST_CMD_ENABLE => caller.domain.vm_assist.fetch_or(bit, Ordering::Relaxed),
        VMASST_CMD_DISABLE => caller.domain.vm_assist.fetch_and(!bit, Ordering::Relaxed),
        _ => return Err(Errno::ENOSYS.into()),
    };
    Ok(Done::OK)
}

/// Bases of `set_segment_base`.
pub const SEGMENT_BASE_SUBS: &[Sub] = &[
    full(0, "SEGBASE_FS"),
    full(1, "SEGBASE_GS_USER"),
    full(2, "SEGBASE_GS_KERNEL"),
    full(3, "SEGBASE_GS_USER_SEL"),
];

/// `set_segment_base`: which, value.
#[inline(always)]
pub fn set_segment_base<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    match args[0] as u32 {
        0 => hv.platform.set_guest_base(BaseOf::Fs, canonical(args[1])?),
        1 => caller.state.gs_base_other = canonical(args[1])?,
        2 => hv.platform.set_guest_base(BaseOf::Gs, canonical(args[1])?),
        3 => load_user_gs(hv, caller, args[1] as u16),
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(Done::OK)
}

/// GS of user mode gets a selector, and its base is that of the descriptor.
#[inline(never)]
fn load_user_gs<P: Platform>(hv: &Hypervisor<P>, caller: &mut Caller<'_>, selector: u16) {
    caller.state.gs_base_other = hv.platform.load_gs_selector(selector).unwrap_or(0);
}

/// `iret`: returns to the context that lies on the guest's stack.
pub fn iret<P: Platform>(hv: &Hypervisor<P>, caller: &mut Caller<'_>, _: &mut Args) -> Result<Done, Fail> {
    let effects = trap::iret(hv, caller).map_err(Fail::Crash)?;
    Ok(Done::with(effects.and(Effects::todo(Todo::REGS_REPLACED))))
}

/// Sub-operations of `nmi_op`.
pub const NMI_SUBS: &[Sub] = &[
    full(abi::nmi::XENNMI_REGISTER_CALLBACK, "XENNMI_register_callback"),
    full(abi::nmi::XENNMI_UNREGISTER_CALLBACK, "XENNMI_unregister_callback"),
];

/// `nmi_op` (nmi.h): the older form of `callback_op` for NMIs.
pub fn nmi_op<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    match args[0] as u32 {
        abi::nmi::XENNMI_REGISTER_CALLBACK => {
            let new: abi::nmi::XennmiCallback = read_one(hv, args[1])?;
            let address = canonical(new.handler_address)?;
            caller.state.traps[NMI] = nmi_handler(address);
        }
        abi::nmi::XENNMI_UNREGISTER_CALLBACK => caller.state.traps[NMI] = TrapHandler::default(),
        _ => return Err(Errno::ENOSYS.into()),
    }
    Ok(Done::OK)
}
