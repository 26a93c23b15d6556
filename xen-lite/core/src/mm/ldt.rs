//! The frames of a guest's LDT.
//!
//! An LDT is a range of the guest's own addresses. The CPU reads it through a window of the hypervisor, page by page as selectors are
//! used: the first use of a page faults in the window, and the page's frame is looked up and held as a page of descriptors, so the guest
//! cannot write to it meanwhile. All are let go when the LDT or the address space changes; then the guest may do with them what it likes.

use crate::addr::{GuestVirt, Mfn};
use crate::domain::VcpuState;
use crate::frame::pte;
use crate::hypercall::Caller;
use crate::hypervisor::Hypervisor;
use crate::platform::Platform;

/// Descriptors in a page.
const PER_PAGE: usize = 512;

/// The frame of page `page` of the running vCPU's LDT, held from now on; `None` when the LDT does not reach there, or the guest has not
/// mapped a fit frame.
pub fn ldt_frame<P: Platform>(hv: &Hypervisor<P>, caller: &mut Caller<'_>, page: usize) -> Option<Mfn> {
    let held = *crate::speculation::get(&caller.state.ldt, page)?;
    if held != Mfn::INVALID {
        return Some(held);
    }
    if page * PER_PAGE >= caller.state.ldt_entries as usize {
        return None;
    }
    let va = caller.state.ldt_base.checked_add((page * crate::addr::PAGE_SIZE) as u64)?;
    let entry = super::walk::entry_of(hv, caller.state.kernel_root, GuestVirt::new(va));
    let frame = pte::mfn(entry);
    if entry & pte::PRESENT == 0 || !super::get_descriptor_page(hv, caller.domain.id, frame) {
        return None;
    }
    caller.state.ldt[page] = frame;
    Some(frame)
}

/// Lets go of all LDT frames of a vCPU; whether there were any, and the window must be cleared.
#[inline]
pub fn drop_ldt<P: Platform>(hv: &Hypervisor<P>, state: &mut VcpuState) -> bool {
    let mut any = false;
    if state.ldt_entries == 0 {
        return false;
    }
    for frame in state.ldt.iter_mut().filter(|frame| **frame != Mfn::INVALID) {
        super::put_descriptor_page(hv, core::mem::replace(frame, Mfn::INVALID));
        any = true;
    }
    any
}
