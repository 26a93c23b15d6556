//! What only this architecture knows about suspending: the shared page, `start_info`, the P2M.
//!
//! While a domain is suspended none of its page tables may map a frame that is not its own, because whoever restores it gives it other
//! ones. So the page shared with the hypervisor is unmapped; its address gets the image's own page back, with a copy, so that the code
//! that masks events goes on working. What names frames in `start_info` is numbered as the domain does meanwhile; the
//! rest of memory is translated by whoever saves it.

use super::{SHARED_INFO, call, image, map_shared_info_entry, paging, shared_info, user};
use crate::{
    memory::layout::{IMAGE_BASE, PAGE_SIZE, pte},
    types::Pfn,
};
use abi::{
    errno::Errno,
    sched::{SCHEDOP_SHUTDOWN, SHUTDOWN_SUSPEND, SchedShutdown},
    xen::{StartInfo, StartInfoDomU, hypercall},
};
use core::mem::offset_of;

const STORE: usize = offset_of!(StartInfo, store_mfn);
const CONSOLE: usize = offset_of!(StartInfo, console) + offset_of!(StartInfoDomU, mfn);

/// Puts the image's own page where the shared page is, with a copy of it.
pub(crate) fn leave_shared_info() -> Result<(), Errno> {
    let own = (SHARED_INFO.address() - IMAGE_BASE) / PAGE_SIZE as u64;
    let copy = paging::direct_window(own, 1);
    let shared = shared_info();
    for at in (0..shared.len()).step_by(8) {
        copy.store_u64(at, shared.load_u64(at));
    }
    map_shared_info_entry(paging::pfn_to_machine(own) << 12 | pte::READ_WRITE)
}

/// Maps the shared page again.
pub(crate) fn enter_shared_info() -> Result<(), Errno> {
    map_shared_info_entry((image::start_info().shared_info & pte::FRAME_MASK) | pte::READ_WRITE)
}

/// Tells the hypervisor that the domain is suspended. Returns when it runs again: whether it was not moved at all.
///
/// What `start_info` says then has to be taken over with [`reload_start_info`].
pub(crate) fn suspend() -> Result<bool, Errno> {
    let frame = image::start_info_frame();
    let page = paging::direct_window(frame, 1);
    let rings = [STORE, CONSOLE].map(|at| (at, page.load_u64(at)));
    for (at, mfn) in rings {
        page.store_u64(at, paging::machine_to_pfn(mfn).unwrap_or(0));
    }
    user::release_roots();
    let argument = SchedShutdown { reason: SHUTDOWN_SUSPEND };
    let pointer = (&raw const argument).expose_provenance() as u64;
    let start = paging::pfn_to_machine(frame);
    let result = call(hypercall::SCHED_OP, [u64::from(SCHEDOP_SHUTDOWN), pointer, start, 0, 0]);
    let cancelled = result != Ok(0);
    paging::forget_machine();
    user::recall_roots();
    if cancelled {
        for (at, mfn) in rings {
            page.store_u64(at, mfn);
        }
    }
    result.map(|_| cancelled)
}

/// Takes over what `start_info` says after the domain was restored.
pub(crate) fn reload_start_info() {
    image::replace_start_info(paging::direct_window(image::start_info_frame(), 1).get(0));
}

/// The frames of the P2M, in order.
pub(crate) fn p2m_frames() -> impl Iterator<Item = Pfn> {
    let info = image::start_info();
    let first = (info.mfn_list - IMAGE_BASE) / PAGE_SIZE as u64;
    (first..).take(info.nr_pages.div_ceil(512) as usize).map(Pfn)
}
