//! The end of a domain's memory: base pointers and pins go, tables are taken apart, frames freed.
//!
//! One pass over all frames, in portions. Once roots and pins are gone no table can be reached from outside, and as tables refer
//! only to lower ones (or to themselves without counting), nothing keeps itself alive: after the pass the domain owns no
//! more than what others have mapped.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use crate::addr::Mfn;
use crate::domain::Domain;
use crate::effects::Effects;
use crate::fail::Fail;
use crate::frame::{self, Owner, types};
use crate::hypervisor::Hypervisor;
use crate::platform::Platform;

/// Frames looked at between two looks at the interrupts.
const PORTION: u64 = 256;

/// Takes back all memory of a dying domain whose vCPUs do not run. Frames that others have mapped follow when those let go.
///
/// # Errors
/// [`Fail::Again`] until it is through.
pub fn relinquish<P: Platform>(hv: &Hypervisor<P>, domain: &Arc<Domain>) -> Result<Effects, Fail> {
    drop_roots(hv, domain)?;
    let bounds = domain.memory.bounds();
    let end = hv.frames.len().min(bounds.end);
    let mut at = domain.memory.cursor.load(Ordering::Relaxed).max(bounds.start);
    while at < end {
        for frame in at..end.min(at + PORTION) {
            if let Err(again) = relinquish_frame(hv, domain, Mfn::new(frame)) {
                domain.memory.cursor.store(frame, Ordering::Relaxed);
                return Err(again);
            }
        }
        at = end.min(at + PORTION);
        domain.memory.cursor.store(at, Ordering::Relaxed);
        if at < end && hv.platform.interrupt_pending() {
            return Err(Fail::Again);
        }
    }
    hv.frames.claim(domain.id, 0);
    Ok(Effects::NONE)
}

fn relinquish_frame<P: Platform>(hv: &Hypervisor<P>, domain: &Domain, mfn: Mfn) -> Result<(), Fail> {
    if hv.frames.owner(mfn) != Owner::Domain(domain.id) || !hv.frames.get_page(mfn, domain.id) {
        return Ok(());
    }
    let pinned = types::take_pin(hv, mfn);
    let put = if pinned { frame::put_page_type_preemptible(hv, mfn) } else { Ok(()) };
    let finished = put.and_then(|()| frame::finish(hv, mfn));
    if finished.is_ok() {
        frame::drop_allocation(hv, mfn);
    }
    frame::put_page(hv, mfn);
    finished.map_err(|_| Fail::Again)
}

fn drop_roots<P: Platform>(hv: &Hypervisor<P>, domain: &Domain) -> Result<(), Fail> {
    for vcpu in domain.vcpus() {
        let Some(mut state) = vcpu.state.try_lock() else { return Err(Fail::Again) };
        // A table that is partial is found by the pass over the frames.
        (state.unfinished_table, state.unfinished_too) = (None, None);
        for user in [true, false] {
            let slot = if user { &mut state.user_root } else { &mut state.kernel_root };
            let root = core::mem::replace(slot, Mfn::INVALID);
            if root != Mfn::INVALID {
                // What is left of it is partial, and finished by the pass over the frames.
                let _ = frame::put_page_type_preemptible(hv, root);
            }
        }
    }
    Ok(())
}
