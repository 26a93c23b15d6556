//! State of a vCPU beside its context: extended registers, callbacks of 32-bit entries, MSRs, non-maskable interrupts.
//!
//! The extended state is the layout of XSAVE without compaction, after two words: XCR0, and the components ever enabled.

use abi::domctl::*;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem::offset_of;
use core::sync::atomic::Ordering;

use super::{Answer, PLAIN, WRITE_BACK};
use crate::Hypervisor;
use crate::access::ControlOver;
use crate::addr::{GuestVirt, VcpuId};
use crate::control::policy::guest_xcr0;
use crate::domain::vcpu::Callback;
use crate::domain::{Pending, Vcpu, VcpuState};
use crate::effects::Effects;
use crate::emulate::xcr0;
use crate::fail::{Errno, Fail};
use crate::hypercall::guest::{GuestHandle, read_bytes, write_bytes};
use crate::platform::Platform;

/// Bytes before the XSAVE area: XCR0 and the components ever enabled.
const HEAD: usize = 16;
/// Bytes of the part of an XSAVE area that is always there, with its header.
const LEGACY: usize = 512 + 64;
/// Where the header's words are in the area: components present, format and reserved.
const HEADER: core::ops::Range<usize> = 512..576;
/// The MSR that is kept per vCPU.
const TSC_AUX: u32 = 0xc000_0103;

fn find(target: &ControlOver, id: u32) -> Result<&Arc<Vcpu>, Errno> {
    target.vcpu(VcpuId::new(id)).ok_or(Errno::ESRCH)
}

/// Works on the state of a vCPU while it is stopped.
fn stopped<P: Platform, T>(
    hv: &Hypervisor<P>,
    vcpu: &Arc<Vcpu>,
    work: impl FnOnce(&mut VcpuState) -> Result<T, Errno>,
) -> Result<(T, Effects), Fail> {
    let paused = hv.sched.pause_vcpu(hv, vcpu);
    let (stopped, more) = hv.sched.await_stop(hv, core::slice::from_ref(vcpu));
    let state = if stopped { vcpu.state.try_lock() } else { None };
    let done = match state {
        Some(mut state) => work(&mut state).map_err(Fail::Errno),
        None => Err(Fail::Again),
    };
    let effects = paused.and(more).and(hv.sched.unpause_vcpu(hv, vcpu));
    match done {
        Ok(value) => Ok((value, effects)),
        Err(Fail::Again) => Err(Fail::AgainWith(effects)),
        Err(other) => Err(other),
    }
}

/// `sendtrigger`.
pub fn send_trigger<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver, op: &Domctl) -> Answer {
    let wanted = op.as_sendtrigger();
    let vcpu = find(target, wanted.vcpu)?;
    match wanted.trigger {
        XEN_DOMCTL_SENDTRIGGER_NMI => {
            let before = vcpu.pending.fetch_or(Pending::NMI.bits(), Ordering::SeqCst);
            let is_new = before & Pending::NMI.bits() == 0;
            Ok((if is_new { hv.sched.notify(hv, vcpu) } else { Effects::NONE }, false))
        }
        XEN_DOMCTL_SENDTRIGGER_POWER | XEN_DOMCTL_SENDTRIGGER_SLEEP => Err(Errno::EINVAL.into()),
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// `get_ext_vcpucontext`.
pub fn get_ext<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver, op: &mut Domctl) -> Answer {
    let vcpu = find(target, op.as_ext_vcpucontext().vcpu)?;
    let (callbacks, effects) = stopped(hv, vcpu, |state| Ok(state.callbacks))?;
    op.set_ext_vcpucontext(DomctlExtVcpucontext {
        vcpu: vcpu.id.raw(),
        size: size_of::<DomctlExtVcpucontext>() as u32,
        syscall32_callback_eip: callbacks.syscall32.address,
        sysenter_callback_eip: callbacks.sysenter.address,
        syscall32_disables_events: callbacks.syscall32.mask_events.into(),
        sysenter_disables_events: callbacks.sysenter.mask_events.into(),
        ..DomctlExtVcpucontext::default()
    });
    Ok((effects, true))
}

/// `set_ext_vcpucontext`. There are no machine-check banks to be set.
pub fn set_ext<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver, op: &Domctl) -> Answer {
    let new = op.as_ext_vcpucontext();
    let vcpu = find(target, new.vcpu)?;
    let canonical = |address| GuestVirt::new(address).is_canonical();
    let enough = new.size as usize >= offset_of!(DomctlExtVcpucontext, mcg_cap);
    if !enough || !canonical(new.syscall32_callback_eip) || !canonical(new.sysenter_callback_eip) {
        return Err(Errno::EINVAL.into());
    }
    let callback = |address, masks| Callback { address, mask_events: masks != 0 };
    let ((), effects) = stopped(hv, vcpu, |state| {
        state.callbacks.syscall32 = callback(new.syscall32_callback_eip, new.syscall32_disables_events);
        state.callbacks.sysenter = callback(new.sysenter_callback_eip, new.sysenter_disables_events);
        Ok(())
    })?;
    Ok((effects, false))
}

/// Bytes of an XSAVE area with these components.
fn area<P: Platform>(hv: &Hypervisor<P>, components: u64) -> usize {
    let end = |component| {
        let (size, offset, ..) = hv.platform.cpuid(0xd, component);
        size.saturating_add(offset) as usize
    };
    (2..63).filter(|n| components >> n & 1 != 0).map(end).fold(LEGACY, usize::max)
}

fn bytes(state: &VcpuState) -> impl Iterator<Item = u8> {
    state.fpu.blocks().iter().flat_map(|block| block.0)
}

fn word(area: &[u8], at: usize) -> u64 {
    area.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u64::from_le_bytes(*word))
}

/// `getvcpuextstate`: with size and mask 0, what the most is; else what is there, if the size is right, or the right size.
pub fn get_extended<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver, op: &mut Domctl) -> Answer {
    let mut wanted = op.as_vcpuextstate();
    let vcpu = find(target, wanted.vcpu)?;
    let supported = guest_xcr0(hv);
    if wanted.size == 0 && wanted.xfeature_mask == 0 {
        wanted.xfeature_mask = supported;
        wanted.size = (HEAD + area(hv, supported)) as u64;
        op.set_vcpuextstate(wanted);
        return WRITE_BACK;
    }
    let (content, effects) = stopped(hv, vcpu, |state| content(hv, state, supported))?;
    if wanted.size == content.len() as u64 {
        write_bytes(hv, wanted.buffer.addr(), &content)?;
    }
    (wanted.xfeature_mask, wanted.size) = (supported, content.len() as u64);
    op.set_vcpuextstate(wanted);
    Ok((effects, true))
}

/// XCR0, components ever enabled, area; only the first two while nothing but x87 and SSE was used, which the context has.
fn content<P: Platform>(hv: &Hypervisor<P>, state: &VcpuState, supported: u64) -> Result<Vec<u8>, Errno> {
    let present = bytes(state).skip(HEADER.start).take(8);
    let present = present.enumerate().fold(0, |word, (n, byte)| word | u64::from(byte) << (8 * n));
    let used = (state.xcr0 | present) & supported;
    let extended = used & !(xcr0::X87 | xcr0::SSE) != 0;
    let size = if extended { area(hv, used) } else { 0 };
    let mut out = Vec::new();
    out.try_reserve_exact(HEAD + size).map_err(|_| Errno::ENOMEM)?;
    out.extend_from_slice(&if extended { state.xcr0 } else { 0 }.to_le_bytes());
    out.extend_from_slice(&if extended { used } else { 0 }.to_le_bytes());
    out.extend(bytes(state).chain(core::iter::repeat(0)).take(size));
    Ok(out)
}

/// `setvcpuextstate`.
pub fn set_extended<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver, op: &Domctl) -> Answer {
    let new = op.as_vcpuextstate();
    let vcpu = find(target, new.vcpu)?;
    let supported = guest_xcr0(hv);
    let size = usize::try_from(new.size).unwrap_or(usize::MAX);
    if size < HEAD || size > HEAD + area(hv, supported) {
        return Err(Errno::EINVAL.into());
    }
    if size == HEAD {
        return PLAIN;
    }
    let mut content = Vec::new();
    content.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
    content.resize(size, 0);
    read_bytes(hv, new.buffer.addr(), &mut content)?;
    let (xcr0, used) = (word(&content, 0), word(&content, 8));
    let saved = content.get(HEAD..).unwrap_or_default();
    check_extended(hv, supported, xcr0, used, saved)?;
    let ((), effects) = stopped(hv, vcpu, |state| {
        state.xcr0 = xcr0;
        for (block, bytes) in state.fpu.blocks_mut().iter_mut().zip(saved.chunks(64)) {
            if let Some(head) = block.0.get_mut(..bytes.len()) {
                head.copy_from_slice(bytes);
            }
        }
        Ok(())
    })?;
    Ok((effects, false))
}

/// What the CPU would refuse to load must not get as far.
fn check_extended<P: Platform>(
    hv: &Hypervisor<P>,
    supported: u64,
    xcr0: u64,
    used: u64,
    saved: &[u8],
) -> Result<(), Errno> {
    const MXCSR_RESERVED: u64 = 0xffff_0000;
    let present = word(saved, HEADER.start);
    let masks = xcr0::valid(xcr0, supported) && xcr0::valid(used, supported) && xcr0 & !used == 0;
    let mxcsr = word(saved, 24) & 0xffff_ffff & MXCSR_RESERVED;
    if !masks || present & !used != 0 || saved.len() != area(hv, used) || mxcsr != 0 {
        return Err(Errno::EINVAL);
    }
    if saved[HEADER].iter().skip(8).any(|byte| *byte != 0) {
        return Err(Errno::EOPNOTSUPP);
    }
    Ok(())
}

/// `get_vcpu_msrs`: with a null array, how many there can be.
pub fn get_msrs<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver, op: &mut Domctl) -> Answer {
    let mut wanted = op.as_vcpu_msrs();
    let vcpu = find(target, wanted.vcpu)?;
    let mut effects = Effects::NONE;
    if wanted.msrs.is_null() {
        wanted.msr_count = 1;
    } else {
        let (value, more) = stopped(hv, vcpu, |state| Ok(state.tsc_aux))?;
        effects = more;
        let room = GuestHandle::new(wanted.msrs.addr(), u64::from(wanted.msr_count))?;
        let count = u32::from(value != 0);
        if room.len() < u64::from(count) {
            return Err(Errno::ENOBUFS.into());
        }
        if count != 0 {
            room.write(hv, 0, &DomctlVcpuMsr { index: TSC_AUX, reserved: 0, value: value.into() })?;
        }
        wanted.msr_count = count;
    }
    op.set_vcpu_msrs(wanted);
    Ok((effects, true))
}

/// `set_vcpu_msrs`: the number of the entry that was refused goes back.
pub fn set_msrs<P: Platform>(
    hv: &Hypervisor<P>,
    target: &ControlOver,
    address: u64,
    op: &mut Domctl,
) -> Answer {
    let mut wanted = op.as_vcpu_msrs();
    let vcpu = find(target, wanted.vcpu)?;
    let list = GuestHandle::<DomctlVcpuMsr>::new(wanted.msrs.addr(), u64::from(wanted.msr_count))?;
    let mut effects = Effects::NONE;
    for index in 0..list.len() {
        let entry = list.read(hv, index)?;
        match (entry.index, entry.reserved, u32::try_from(entry.value)) {
            (TSC_AUX, 0, Ok(value)) => {
                let ((), more) = stopped(hv, vcpu, |state| {
                    state.tsc_aux = value;
                    Ok(())
                })?;
                effects = effects.and(more);
            }
            _ => {
                wanted.msr_count = index as u32;
                op.set_vcpu_msrs(wanted);
                crate::hypercall::guest::write_one(hv, address, op)?;
                return Err(Errno::EINVAL.into());
            }
        }
    }
    Ok((effects, false))
}
