//! The exception frame of a 64-bit PV guest, from the lowest address: RCX, R11, [DS, ES, FS, GS for failsafe], [error code],
//! RIP, CS with `saved_upcall_mask`, RFLAGS, RSP, SS (xen-x86_64.h).

use crate::Hypervisor;
use crate::addr::GuestVirt;
use crate::domain::{Callback, Mode};
use crate::effects::Effects;
use crate::fail::Why;
use crate::hypercall::Caller;
use crate::platform::Platform;

use super::{FLAT_CS64, FLAT_SS, info, toggle_mode};

/// RFLAGS bits.
pub(super) mod rflags {
    pub const TF: u64 = 1 << 8;
    pub const IF: u64 = 1 << 9;
    pub const IOPL: u64 = 3 << 12;
    pub const NT: u64 = 1 << 14;
    pub const RF: u64 = 1 << 16;
    pub const VM: u64 = 1 << 17;
    pub const AC: u64 = 1 << 18;
}

/// Where the guest goes on: always in the flat code segment, whatever selector the trap table names, as on upstream.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Address of the handler.
    pub address: u64,
    /// Whether events are masked when it starts.
    pub mask_events: bool,
}

impl Target {
    /// A callback.
    #[inline(always)]
    pub fn callback(callback: Callback) -> Target {
        Target { address: callback.address, mask_events: callback.mask_events }
    }
}

/// Writes an exception frame on the guest kernel's stack and lets the guest go on at `target`.
///
/// # Errors
/// The frame cannot be written: the domain ends.
#[inline(always)]
pub fn bounce<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    target: Target,
    error_code: Option<u32>,
) -> Result<Effects, Why> {
    match error_code {
        Some(code) => write_frame::<P, 1, 8>(hv, caller, target, [u64::from(code)]),
        None => write_frame::<P, 0, 7>(hv, caller, target, []),
    }
}

/// As [`bounce`], with the data selectors in the frame.
///
/// # Errors
/// As [`bounce`].
pub(super) fn bounce_failsafe<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    target: Target,
) -> Result<Effects, Why> {
    let s = caller.state.selectors;
    let extra = [s.ds, s.es, s.fs, s.gs].map(u64::from);
    caller.state.selectors = crate::domain::Selectors::default();
    Ok(write_frame::<P, 4, 11>(hv, caller, target, extra)?
        .and(Effects::todo(crate::effects::Todo::LOAD_SEGMENTS)))
}

#[inline(always)]
fn write_frame<P: Platform, const N: usize, const WORDS: usize>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    target: Target,
    extra: [u64; N],
) -> Result<Effects, Why> {
    let state = &mut *caller.state;
    let (stack, cs) = if state.mode == Mode::Kernel {
        // RPL 0 in the frame tells the guest that its own kernel was interrupted.
        (state.regs.rsp, state.regs.cs & 0xfffc)
    } else {
        toggle_mode(hv, state);
        (state.kernel_sp, state.regs.cs & 0xffff)
    };
    let masked = info::masked_now(hv, caller.vcpu);
    let from = &state.regs;
    let mut flags = from.rflags & !rflags::IF;
    if !masked {
        flags |= rflags::IF;
    }
    if caller.domain.assists(abi::xen::VMASST_TYPE_ARCHITECTURAL_IOPL) {
        flags = flags & !rflags::IOPL | u64::from(state.iopl) << 12;
    }

    const { assert!(WORDS == 7 + N) };
    let mut frame = [0u64; WORDS];
    frame[0] = from.rcx;
    frame[1] = from.r11;
    frame[2..2 + N].copy_from_slice(&extra);
    frame[2 + N] = from.rip;
    frame[3 + N] = cs | u64::from(masked) << 32;
    frame[4 + N] = flags;
    frame[5 + N] = from.rsp;
    frame[6 + N] = from.ss & 0xffff;

    let bytes = WORDS as u64 * 8;
    let sp = (stack & !15).wrapping_sub(bytes);
    if hv.platform.write_words(GuestVirt::new(sp), frame).is_err() {
        return Err(Why::BounceFault(sp));
    }
    if target.mask_events && !masked {
        hv.platform.mask_events(caller.vcpu);
    }
    let regs = &mut state.regs;
    regs.rip = target.address;
    regs.cs = u64::from(FLAT_CS64);
    regs.rflags &= !(rflags::TF | rflags::NT | rflags::RF | rflags::VM | rflags::AC);
    regs.rsp = sp;
    regs.ss = u64::from(FLAT_SS);
    Ok(Effects::NONE)
}
