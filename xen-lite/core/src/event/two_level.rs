//! Delivery by bits in the shared page (xen.h, `struct shared_info`).
//!
//! A pending and a mask bit for each of 4096 ports in `shared_info`, and for each vCPU a selector whose bit *n* says "look at
//! word *n*".

use alloc::sync::Arc;

use crate::Hypervisor;
use crate::addr::{EvtchnPort, MachineAddr};
use crate::domain::{Domain, Vcpu};
use crate::effects::Effects;
use crate::platform::Platform;

/// Word of `shared_info` where the pending bits begin.
const PENDING: usize = core::mem::offset_of!(abi::xen::SharedInfo, evtchn_pending) / 8;
/// Word of `shared_info` where the mask bits begin.
const MASK: usize = core::mem::offset_of!(abi::xen::SharedInfo, evtchn_mask) / 8;
/// Where in `vcpu_info` the selector is.
const SELECTOR: usize = core::mem::offset_of!(abi::xen::VcpuInfo, evtchn_pending_sel);

/// Word number (below 64, whatever the port) and bit of a port.
#[inline(always)]
fn place(port: EvtchnPort) -> (usize, u64) {
    (port.index() / 64 % 64, 1 << (port.raw() % 64))
}

/// Makes a port pending. The flag says whether it was not before.
#[inline(always)]
pub(super) fn set_pending<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Domain,
    port: EvtchnPort,
    vcpu: &Arc<Vcpu>,
) -> (bool, Effects) {
    let (word, bit) = place(port);
    let page = domain.shared_info;
    if hv.platform.set_bit(page, PENDING + word, port.raw() % 64) {
        return (false, Effects::NONE);
    }
    if hv.platform.load(page, MASK + word) & bit != 0 {
        return (true, Effects::NONE);
    }
    (true, select(hv, vcpu, word))
}

/// Sets a bit of the vCPU's selector, and tells it if the bit was clear.
#[inline(always)]
fn select<P: Platform>(hv: &Hypervisor<P>, vcpu: &Arc<Vcpu>, word: usize) -> Effects {
    let Some(info) = vcpu.info() else { return Effects::NONE };
    // A `vcpu_info` lies within its frame.
    if hv.platform.set_bit_at(MachineAddr::new(info.raw() + SELECTOR as u64), word as u32) {
        return Effects::NONE;
    }
    // As `mark_upcall`, at the place that is known: if it moves meanwhile, everything is looked at there.
    if hv.platform.set_bit_at(info, 0) { Effects::NONE } else { hv.sched.notify(hv, vcpu) }
}

/// Takes the mask off a port, and delivers what is pending.
#[inline(always)]
pub(super) fn unmask<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Domain,
    port: EvtchnPort,
    vcpu: &Arc<Vcpu>,
) -> Effects {
    let (word, bit) = place(port);
    let was_masked = hv.platform.fetch_and(domain.shared_info, MASK + word, !bit) & bit != 0;
    if was_masked && is_pending(hv, domain, port) { select(hv, vcpu, word) } else { Effects::NONE }
}

#[inline(always)]
pub(super) fn is_pending<P: Platform>(hv: &Hypervisor<P>, domain: &Domain, port: EvtchnPort) -> bool {
    let (word, bit) = place(port);
    hv.platform.load(domain.shared_info, PENDING + word) & bit != 0
}

pub(super) fn clear_pending<P: Platform>(hv: &Hypervisor<P>, domain: &Domain, port: EvtchnPort) {
    let (word, bit) = place(port);
    hv.platform.fetch_and(domain.shared_info, PENDING + word, !bit);
}

/// The vCPU's `vcpu_info` moved: everything may be pending.
pub(super) fn select_all<P: Platform>(hv: &Hypervisor<P>, vcpu: &Vcpu) {
    if let Some(info) = vcpu.info() {
        hv.platform.fetch_or(info.mfn(), (info.offset() + SELECTOR) / 8, u64::MAX);
    }
}
