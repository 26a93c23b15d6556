//! The fields of `vcpu_info` that say whether events may be delivered (xen.h). The guest writes them at the same time.

use crate::Hypervisor;
use crate::domain::Vcpu;
use crate::platform::Platform;

/// Byte 0 of `vcpu_info`: `evtchn_upcall_pending`.
const PENDING: u64 = 0xff;
/// Byte 1: `evtchn_upcall_mask`.
const MASK: u64 = 0xff << 8;
/// Word of `vcpu_info.arch.cr2`.
const CR2_WORD: usize = 2;

/// Whether an event waits and events are not masked. The vCPU is the running one.
#[inline(always)]
pub fn upcall_due<P: Platform>(hv: &Hypervisor<P>, vcpu: &Vcpu) -> bool {
    let value = hv.platform.info_flags(vcpu);
    // Mask zero and pending not: the two bytes as a number are 1 to 255.
    (value as u16).wrapping_sub(1) < PENDING as u16
}

/// Whether an event waits, masked or not.
#[inline(always)]
pub fn upcall_pending<P: Platform>(hv: &Hypervisor<P>, vcpu: &Vcpu) -> bool {
    let Some(address) = vcpu.info() else { return false };
    hv.platform.load_at(address) & PENDING != 0
}

/// Marks that an event waits, by the lowest bit; returns whether it was set before.
#[inline(always)]
pub fn set_upcall_pending<P: Platform>(hv: &Hypervisor<P>, vcpu: &Vcpu) -> bool {
    let Some(address) = vcpu.info() else { return false };
    hv.platform.set_bit_at(address, 0)
}

/// Whether events are masked. A vCPU without `vcpu_info` gets none.
#[inline(always)]
pub fn masked<P: Platform>(hv: &Hypervisor<P>, vcpu: &Vcpu) -> bool {
    let Some(address) = vcpu.info() else { return true };
    hv.platform.load_at(address) & MASK != 0
}

/// As [`masked`], of the running vCPU.
#[inline(always)]
pub fn masked_now<P: Platform>(hv: &Hypervisor<P>, running: &Vcpu) -> bool {
    hv.platform.info_flags(running) & MASK != 0
}

/// Masks or unmasks events.
#[inline(always)]
pub fn set_masked<P: Platform>(hv: &Hypervisor<P>, vcpu: &Vcpu, masked: bool) {
    let Some(address) = vcpu.info() else { return };
    if masked {
        hv.platform.or_at(address, 1 << 8);
    } else {
        hv.platform.and_at(address, !MASK);
    }
}

/// Tells the guest the address of a page fault (`arch.cr2`).
#[inline]
pub fn set_cr2<P: Platform>(hv: &Hypervisor<P>, vcpu: &Vcpu, cr2: u64) {
    let Some(address) = vcpu.info() else { return };
    hv.platform.store(address.mfn(), address.offset() / 8 + CR2_WORD, cr2);
}
