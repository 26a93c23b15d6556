//! Root tables: base pointers of vCPUs, and pins.
//!
//! A vCPU's kernel root and user root hold one typed reference each, a pin holds another.

use crate::addr::{DomId, Mfn};
use crate::domain::{Domain, VcpuState};
use crate::fail::{Errno, Fail};
use crate::frame::{self, Kind, Stop, types};
use crate::hypervisor::Hypervisor;
use crate::platform::Platform;

/// Validates and pins a domain's root table without regard to waiting interrupts: for the builder.
///
/// # Errors
/// What the first bad entry deserves, `EINVAL` in most cases.
pub fn pin_root<P: Platform>(hv: &Hypervisor<P>, domain: &Domain, root: Mfn) -> Result<(), Errno> {
    complete(|| types::pin(hv, root, domain.id, Kind::L4))
}

/// Gives a vCPU that does not run its first kernel root, validated to the end.
///
/// # Errors
/// `EINVAL` when it cannot be a root table of this domain.
pub fn set_kernel_root<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Domain,
    state: &mut VcpuState,
    root: Mfn,
) -> Result<(), Errno> {
    complete(|| frame::get_page_type(hv, root, domain.id, Kind::L4))?;
    let old = core::mem::replace(&mut state.kernel_root, root);
    put_root(hv, old);
    Ok(())
}

/// As [`set_kernel_root`] for the user root; [`Mfn::INVALID`] takes it away.
///
/// # Errors
/// `EINVAL` when it cannot be a root table of this domain.
pub fn set_user_root<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Domain,
    state: &mut VcpuState,
    root: Mfn,
) -> Result<(), Errno> {
    if root != Mfn::INVALID {
        complete(|| frame::get_page_type(hv, root, domain.id, Kind::L4))?;
    }
    let old = core::mem::replace(&mut state.user_root, root);
    put_root(hv, old);
    Ok(())
}

fn put_root<P: Platform>(hv: &Hypervisor<P>, root: Mfn) {
    if root != Mfn::INVALID {
        frame::put_page_type(hv, root);
    }
}

/// Repeats a step that was interrupted until it is done. Each turn makes progress; only another CPU that works on the same
/// frames can make it last, and then it ends with `EAGAIN`.
fn complete(mut step: impl FnMut() -> Result<(), Stop>) -> Result<(), Errno> {
    for _ in 0..types::PATIENCE {
        match step() {
            Ok(()) => return Ok(()),
            Err(Stop::Errno(errno)) => return Err(errno),
            Err(Stop::Again) => core::hint::spin_loop(),
        }
    }
    Err(Errno::EAGAIN)
}

/// Changes a root of the running vCPU, which is in kernel mode: that of its kernel, or of its user mode. A kernel root is loaded
/// at once. Says whether it was another. The old root's reference is dropped; what that leaves to do is in `state.unfinished_table`. An [`Mfn::INVALID`] user root is none.
///
/// # Errors
/// `EINVAL` when the frame cannot be a root of this domain; [`Stop::Again`].
pub fn switch_root<P: Platform, const KERNEL: bool>(
    hv: &Hypervisor<P>,
    domain: DomId,
    state: &mut VcpuState,
    root: Mfn,
) -> Result<bool, Stop> {
    let slot = if KERNEL { &mut state.kernel_root } else { &mut state.user_root };
    if *slot == root {
        if KERNEL && root != Mfn::INVALID {
            // Guests take a load of the base pointer for a flush, whatever is loaded.
            frame::flush_all(hv, 1 << (hv.platform.cpu().raw() & 63));
        }
        return Ok(false);
    }
    if root == Mfn::INVALID && KERNEL {
        return Err(Stop::Errno(Errno::EINVAL));
    }
    // Only a user root may be none. A guest may well name the frame number that stands for none.
    if root != Mfn::INVALID || KERNEL {
        frame::get_page_type(hv, root, domain, Kind::L4)?;
    }
    let old = core::mem::replace(slot, root);
    if KERNEL {
        // Before the old one may go: the CPU must not walk a frame that is no table any more.
        hv.platform.load_root(root);
        // Mappings of user pages are global (see `frame::pte`), so the old space's outlive the load.
        frame::flush_all(hv, 1 << (hv.platform.cpu().raw() & 63));
    }
    if old != Mfn::INVALID
        && let Err(left) = frame::put_page_type_preemptible(hv, old)
    {
        state.unfinished_table = Some(left.0);
    }
    Ok(true)
}

/// Takes the pin off a table of `domain`. The table that remains to be taken apart, if any, is returned.
///
/// # Errors
/// `EINVAL` when the frame is not the domain's or not pinned.
pub fn unpin<P: Platform>(hv: &Hypervisor<P>, domain: DomId, mfn: Mfn) -> Result<Option<Mfn>, Errno> {
    if !hv.frames.get_page(mfn, domain) {
        log::debug!("{domain}: unpin of {mfn}, which is not its own");
        return Err(Errno::EINVAL);
    }
    let pinned = types::take_pin(hv, mfn);
    let left = if pinned { frame::put_page_type_preemptible(hv, mfn).err() } else { None };
    frame::put_page(hv, mfn);
    if pinned {
        return Ok(left.map(|table| table.0));
    }
    log::debug!("{domain}: unpin of {mfn}, which is not pinned");
    Err(Errno::EINVAL)
}

/// Goes on with a table of the running vCPU that was left unfinished.
///
/// # Errors
/// [`Fail::Again`] when it is not finished now either.
#[inline(always)]
pub fn finish_table<P: Platform>(hv: &Hypervisor<P>, state: &mut VcpuState) -> Result<(), Fail> {
    match state.unfinished_table {
        None => Ok(()),
        Some(mfn) => finish_slow(hv, state, mfn),
    }
}

#[cold]
fn finish_slow<P: Platform>(hv: &Hypervisor<P>, state: &mut VcpuState, mfn: Mfn) -> Result<(), Fail> {
    frame::finish(hv, mfn).map_err(|_| Fail::Again)?;
    state.unfinished_table = state.unfinished_too.take();
    finish_table(hv, state)
}

/// Notes a table of the running vCPU that was left unfinished, beside one that may be noted already. A call begins with none, and
/// leaves two at most.
pub fn note_unfinished(state: &mut VcpuState, mfn: Mfn) {
    state.unfinished_too = state.unfinished_table.replace(mfn);
}
