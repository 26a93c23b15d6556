//! A vCPU's registers and tables as the public `struct vcpu_guest_context` (arch-x86/xen.h) states them.
//!
//! A context comes from a guest (`VCPUOP_initialise`) or from a toolstack, and ends up in the CPU: nothing of it is believed. Addresses
//! that the CPU loads are canonical, selectors are of ring 3, flags that a guest may not have are cleared or set, page tables
//! and descriptor pages go through the frame table. What can be refused is looked at before anything changes.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use abi::xen::*;
use zerocopy::FromZeros;

use super::vcpu::{Callbacks, FpuArea, FpuBlock, GDT_FRAMES};
use super::{Callback, Domain, Mode, Registers, Selectors, TrapHandler, Vcpu, VcpuState};
use crate::Hypervisor;
use crate::addr::{GuestVirt, Mfn};
use crate::effects::Effects;
use crate::fail::{Errno, Fail};
use crate::hypercall::cpu::{replace_gdt, write_debug};
use crate::hypercall::guest::range_ok;
use crate::mm;
use crate::platform::Platform;
use crate::room;

/// Entries that a guest's GDT may have.
const GDT_ENTRIES: u64 = FIRST_RESERVED_GDT_ENTRY as u64;
/// Entries that an LDT may have.
const LDT_ENTRIES: u64 = 8192;
/// Flags of RFLAGS that a guest sets as it likes: CF PF AF ZF SF TF DF OF NT RF AC ID.
const FLAGS_FREE: u64 = 0x25_4dd5;
/// Flags that are always set: interrupts are the hypervisor's (bit 9), and bit 1 is one.
const FLAGS_SET: u64 = 0x202;
/// CR0 of a PV guest, of which only TS varies.
const CR0_BASE: u64 = 0x8005_0033;
const CR0_TS: u64 = 8;
/// Bits of CR4 that a guest may find set as it set them: TSD, DE, FSGSBASE.
const CR4_FREE: u64 = 1 << 2 | 1 << 3 | 1 << 16 | 1 << 18;
/// Bits of MXCSR that exist.
const MXCSR: u32 = 0xffff;
/// Components of an FXSAVE area: x87 and SSE.
const LEGACY_COMPONENTS: u8 = 3;
/// Bits of `vm_assist` that exist.
const VM_ASSIST: u64 = 0x1_0000_003f;

/// Gives a vCPU that does not run a context. One that has a context keeps its page tables and descriptor tables.
///
/// # Errors
/// `EINVAL` for what no vCPU may have, `EOPNOTSUPP` for other tables than it has, and what the page tables deserve;
/// [`Fail::Again`] when the vCPU is still on a CPU.
pub fn load<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Arc<Domain>,
    vcpu: &Arc<Vcpu>,
    new: &VcpuGuestContext,
) -> Result<Effects, Fail> {
    give(hv, domain, vcpu, new, false)
}

/// Gives a vCPU its first context. Of several CPUs that try at once, one succeeds.
///
/// # Errors
/// `EEXIST` when it has one already; else as [`load`].
pub fn load_first<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Arc<Domain>,
    vcpu: &Arc<Vcpu>,
    new: &VcpuGuestContext,
) -> Result<Effects, Fail> {
    give(hv, domain, vcpu, new, true)
}

fn give<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Arc<Domain>,
    vcpu: &Arc<Vcpu>,
    new: &VcpuGuestContext,
    is_first: bool,
) -> Result<Effects, Fail> {
    check(new)?;
    let mut state = vcpu.state.try_lock().ok_or(Fail::Again)?;
    // With the lock, too: another CPU may have come first, and the vCPU may be up already.
    if is_first && vcpu.initialised.load(Ordering::Acquire) != 0 {
        return Err(Errno::EEXIST.into());
    }
    // With the lock: the end of the domain takes it, too, before it lets go of the tables.
    if domain.is_dying() {
        return Err(Errno::EINVAL.into());
    }
    let state = &mut *state;
    if vcpu.initialised.load(Ordering::Acquire) == 0 {
        take_tables(hv, domain, state, new)?;
        if vcpu.id.raw() == 0 {
            domain.vm_assist.store(new.vm_assist & VM_ASSIST, Ordering::Relaxed);
        }
    } else if !same_tables(state, new) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    fill(state, new);
    vcpu.initialised.store(1, Ordering::Release);
    Ok(if new.flags & VGCF_ONLINE != 0 { hv.sched.up(hv, vcpu).1 } else { Effects::NONE })
}

/// Refuses what no vCPU may have.
fn check(new: &VcpuGuestContext) -> Result<(), Errno> {
    let canonical = |address: u64| GuestVirt::new(address).is_canonical();
    let addresses = [
        new.user_regs.rip,
        new.event_callback_eip,
        new.failsafe_callback_eip,
        new.syscall_callback_eip,
        new.fs_base,
        new.gs_base_kernel,
        new.gs_base_user,
    ];
    let handlers = new.trap_ctxt.iter().all(|trap| canonical(trap.address));
    let ldt = new.ldt_ents == 0
        || (new.ldt_ents <= LDT_ENTRIES
            && new.ldt_base.is_multiple_of(crate::addr::PAGE_SIZE as u64)
            && range_ok(new.ldt_base, new.ldt_ents * 8));
    let has_mode = new.flags & VGCF_IN_KERNEL != 0 || new.ctrlreg[1] != 0;
    if addresses.into_iter().all(canonical) && handlers && ldt && has_mode && new.gdt_ents <= GDT_ENTRIES {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// The frame that a value for CR3 names (`xen_cr3_to_pfn`).
fn root(cr3: u64) -> Mfn {
    Mfn::new(cr3 >> 12)
}

fn user_root(new: &VcpuGuestContext) -> Mfn {
    if new.ctrlreg[1] == 0 { Mfn::INVALID } else { root(new.ctrlreg[1]) }
}

/// References to the frames of a first context; all or none.
fn take_tables<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Domain,
    state: &mut VcpuState,
    new: &VcpuGuestContext,
) -> Result<(), Fail> {
    let count = (new.gdt_ents as usize).div_ceil(512).min(GDT_FRAMES);
    let mut frames = [Mfn::INVALID; GDT_FRAMES];
    for (frame, raw) in frames.iter_mut().zip(&new.gdt_frames).take(count) {
        *frame = Mfn::new(*raw);
    }
    replace_gdt(hv, domain.id, state, &frames[..count], new.gdt_ents as u32)?;
    let roots = mm::set_kernel_root(hv, domain, state, root(new.ctrlreg[3]))
        .and_then(|()| mm::set_user_root(hv, domain, state, user_root(new)));
    if let Err(errno) = roots {
        drop_tables(hv, domain, state);
        return Err(errno.into());
    }
    state.ldt_base = new.ldt_base;
    state.ldt_entries = new.ldt_ents as u32;
    Ok(())
}

/// Drops the references of a context.
fn drop_tables<P: Platform>(hv: &Hypervisor<P>, domain: &Domain, state: &mut VcpuState) {
    mm::drop_ldt(hv, state);
    // An empty list takes no reference, so this cannot fail.
    let _ = replace_gdt(hv, domain.id, state, &[], 0);
    let _ = mm::drop_ldt(hv, state);
    for root in [&mut state.kernel_root, &mut state.user_root] {
        if *root != Mfn::INVALID {
            crate::frame::put_page_type(hv, core::mem::replace(root, Mfn::INVALID));
        }
    }
}

fn same_tables(state: &VcpuState, new: &VcpuGuestContext) -> bool {
    let gdt = state.gdt.iter().zip(&new.gdt_frames).all(|(has, wants)| match *has {
        Mfn::INVALID => *wants == 0 || *wants == u64::MAX,
        frame => frame.raw() == *wants,
    });
    gdt && state.kernel_root == root(new.ctrlreg[3])
        && state.user_root == user_root(new)
        && u64::from(state.gdt_entries) == new.gdt_ents
        && state.ldt_base == new.ldt_base
        && u64::from(state.ldt_entries) == new.ldt_ents
}

/// Copies what was checked, and forces the rest into what a vCPU may have.
fn fill(state: &mut VcpuState, new: &VcpuGuestContext) {
    let kernel = new.flags & VGCF_IN_KERNEL != 0;
    state.mode = if kernel { Mode::Kernel } else { Mode::User };
    state.regs = registers(&new.user_regs);
    let regs = &new.user_regs;
    state.selectors = Selectors { ds: regs.ds, es: regs.es, fs: regs.fs, gs: regs.gs };
    state.fs_base = new.fs_base;
    let (used, other) =
        if kernel { (new.gs_base_kernel, new.gs_base_user) } else { (new.gs_base_user, new.gs_base_kernel) };
    (state.gs_base, state.gs_base_other) = (used, other);
    state.kernel_ss = new.kernel_ss as u16 | 3;
    state.kernel_sp = new.kernel_sp;
    state.cr0 = CR0_BASE | new.ctrlreg[0] & CR0_TS;
    state.cr4 = state.cr4 & !CR4_FREE | new.ctrlreg[4] & CR4_FREE;
    state.iopl = (regs.rflags >> 12 & 3) as u8;
    for (handler, trap) in state.traps.iter_mut().zip(&new.trap_ctxt) {
        let cs = if trap.address == 0 { trap.cs } else { trap.cs | 3 };
        *handler =
            TrapHandler { address: trap.address, cs, dpl: trap.flags & 3, mask_events: trap.flags & 4 != 0 };
    }
    let callback = |address, mask_events| Callback { address, mask_events };
    state.callbacks = Callbacks {
        event: callback(new.event_callback_eip, false),
        failsafe: callback(new.failsafe_callback_eip, new.flags & VGCF_FAILSAFE_DISABLES_EVENTS != 0),
        syscall: callback(new.syscall_callback_eip, new.flags & VGCF_SYSCALL_DISABLES_EVENTS != 0),
        ..Callbacks::default()
    };
    for (register, value) in [0, 1, 2, 3, 6, 7].into_iter().map(|n| (n, new.debugreg[n])) {
        // A value that is refused leaves the register as it is.
        let _ = write_debug(state, register as u32, value);
    }
    if new.flags & VGCF_I387_VALID != 0 {
        load_fpu(&mut state.fpu, &new.fpu_ctxt.x);
    }
}

/// The registers, in ring 3 and with interrupts on.
fn registers(new: &CpuUserRegs) -> Registers {
    Registers {
        r15: new.r15,
        r14: new.r14,
        r13: new.r13,
        r12: new.r12,
        rbp: new.rbp,
        rbx: new.rbx,
        r11: new.r11,
        r10: new.r10,
        r9: new.r9,
        r8: new.r8,
        rax: new.rax,
        rcx: new.rcx,
        rdx: new.rdx,
        rsi: new.rsi,
        rdi: new.rdi,
        rip: new.rip,
        cs: u64::from(new.cs | 3),
        rflags: new.rflags & FLAGS_FREE | FLAGS_SET,
        rsp: new.rsp,
        ss: u64::from(new.ss | 3),
        ..Registers::default()
    }
}

/// Takes over an FXSAVE image. Reserved bits of MXCSR would make the CPU fault when the hypervisor loads it.
fn load_fpu(area: &mut FpuArea, image: &[u8; 512]) {
    let (blocks, _) = image.as_chunks::<64>();
    for (block, bytes) in area.blocks_mut().iter_mut().zip(blocks) {
        block.0 = *bytes;
    }
    let [first, ..] = area.blocks_mut() else { return };
    if let Some(mxcsr) = first.0.first_chunk_mut::<28>().and_then(|head| head.last_chunk_mut::<4>()) {
        *mxcsr = (u32::from_le_bytes(*mxcsr) & MXCSR).to_le_bytes();
    }
    // The header that follows in the XSAVE format: these components are present, all others in their initial state.
    if let Some(FpuBlock(header)) = area.blocks_mut().get_mut(8) {
        *header = [0; 64];
        header[0] = LEGACY_COMPONENTS;
    }
}

/// Room for a context, zeroed. It is large, and guests ask for it when they like; so having no memory for it is no reason to
/// panic.
///
/// # Errors
/// `ENOMEM`.
pub fn empty() -> Result<Box<[VcpuGuestContext; 1]>, Errno> {
    let mut list = room::list(1)?;
    list.push(VcpuGuestContext::new_zeroed());
    list.into_boxed_slice().try_into().map_err(|_| Errno::ENOMEM)
}

/// The context of a vCPU that does not run.
///
/// # Errors
/// `ENODATA` when it has none, [`Fail::Again`] when it is still on a CPU, `ENOMEM`.
pub fn save<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Domain,
    vcpu: &Vcpu,
) -> Result<Box<[VcpuGuestContext; 1]>, Fail> {
    if vcpu.initialised.load(Ordering::Acquire) == 0 {
        return Err(Errno::ENODATA.into());
    }
    let state = vcpu.state.try_lock().ok_or(Fail::Again)?;
    let mut saved = empty()?;
    let [out] = &mut *saved;
    let kernel = state.mode == Mode::Kernel;
    out.flags = VGCF_I387_VALID
        | if kernel { VGCF_IN_KERNEL } else { 0 }
        | if state.callbacks.failsafe.mask_events { VGCF_FAILSAFE_DISABLES_EVENTS } else { 0 }
        | if state.callbacks.syscall.mask_events { VGCF_SYSCALL_DISABLES_EVENTS } else { 0 }
        | if vcpu.sched.is_up() { VGCF_ONLINE } else { 0 };
    out.user_regs = user_regs(&state);
    out.user_regs.saved_upcall_mask = u8::from(crate::trap::info::masked(hv, vcpu));
    for (bytes, block) in out.fpu_ctxt.x.as_chunks_mut::<64>().0.iter_mut().zip(state.fpu.blocks()) {
        *bytes = block.0;
    }
    for (vector, (trap, handler)) in out.trap_ctxt.iter_mut().zip(state.traps.iter()).enumerate() {
        trap.vector = vector as u8;
        trap.flags = handler.dpl | u8::from(handler.mask_events) << 2;
        trap.cs = handler.cs;
        trap.address = handler.address;
    }
    (out.ldt_base, out.ldt_ents) = (state.ldt_base, u64::from(state.ldt_entries));
    for (raw, frame) in out.gdt_frames.iter_mut().zip(&state.gdt).filter(|(_, frame)| **frame != Mfn::INVALID)
    {
        *raw = frame.raw();
    }
    out.gdt_ents = u64::from(state.gdt_entries);
    (out.kernel_ss, out.kernel_sp) = (u64::from(state.kernel_ss), state.kernel_sp);
    out.ctrlreg[0] = state.cr0;
    out.ctrlreg[1] = if state.user_root == Mfn::INVALID { 0 } else { state.user_root.raw() << 12 };
    out.ctrlreg[2] = state.cr2;
    out.ctrlreg[3] = if state.kernel_root == Mfn::INVALID { 0 } else { state.kernel_root.raw() << 12 };
    out.ctrlreg[4] = state.cr4;
    out.debugreg = state.debug;
    out.event_callback_eip = state.callbacks.event.address;
    out.failsafe_callback_eip = state.callbacks.failsafe.address;
    out.syscall_callback_eip = state.callbacks.syscall.address;
    out.vm_assist = domain.vm_assist.load(Ordering::Relaxed);
    out.fs_base = state.fs_base;
    (out.gs_base_kernel, out.gs_base_user) =
        if kernel { (state.gs_base, state.gs_base_other) } else { (state.gs_base_other, state.gs_base) };
    Ok(saved)
}

fn user_regs(state: &VcpuState) -> CpuUserRegs {
    let regs = &state.regs;
    CpuUserRegs {
        r15: regs.r15,
        r14: regs.r14,
        r13: regs.r13,
        r12: regs.r12,
        rbp: regs.rbp,
        rbx: regs.rbx,
        r11: regs.r11,
        r10: regs.r10,
        r9: regs.r9,
        r8: regs.r8,
        rax: regs.rax,
        rcx: regs.rcx,
        rdx: regs.rdx,
        rsi: regs.rsi,
        rdi: regs.rdi,
        rip: regs.rip,
        cs: regs.cs as u16,
        rflags: regs.rflags | u64::from(state.iopl) << 12,
        rsp: regs.rsp,
        ss: regs.ss as u16,
        es: state.selectors.es,
        ds: state.selectors.ds,
        fs: state.selectors.fs,
        gs: state.selectors.gs,
        ..CpuUserRegs::new_zeroed()
    }
}

/// Takes a vCPU's context away: it is down, and has no tables.
///
/// # Errors
/// `ENOMEM`, [`Fail::Again`] when it is still on a CPU.
pub fn reset<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Arc<Domain>,
    vcpu: &Arc<Vcpu>,
) -> Result<Effects, Fail> {
    let new = VcpuState::new(hv.config.fpu_bytes)?;
    let effects = hv.sched.down(hv, vcpu);
    let Some(mut state) = vcpu.state.try_lock() else { return Err(Fail::AgainWith(effects)) };
    mm::roots::finish_table(hv, &mut state).map_err(|_| Fail::AgainWith(effects))?;
    vcpu.initialised.store(0, Ordering::Release);
    drop_tables(hv, domain, &mut state);
    *state = new;
    Ok(effects)
}

#[cfg(test)]
mod tests;
