//! Frames that are handed to domains, lent to them, or written on their behalf.

use crate::addr::{DomId, Mfn, PAGE_SIZE, PAGE_WORDS};
use crate::domain::Domain;
use crate::fail::{Errno, Fail};
use crate::frame::{self, Access, Kind, descriptor};
use crate::hypervisor::Hypervisor;
use crate::platform::Platform;

/// Gives a domain 2^`order` adjacent frames; `None` when its limit or the machine's memory does not allow it.
pub fn give_frames<P: Platform>(hv: &Hypervisor<P>, domain: &Domain, order: u32) -> Option<Mfn> {
    frame::alloc_for(hv, domain, order, u64::MAX).ok()
}

/// A cleared frame of the hypervisor that the domain may map writable (its `shared_info`, grant frames).
pub fn alloc_shared<P: Platform>(hv: &Hypervisor<P>, domain: DomId) -> Option<Mfn> {
    let mfn = frame::alloc(hv, 0, DomId::XEN)?;
    hv.platform.clear(mfn);
    hv.platform.set_m2p(mfn, u64::MAX);
    // Nobody else knows the frame, so lending cannot fail.
    hv.frames.share_with_guest(mfn, domain, Access::Writable).ok().map(|()| mfn)
}

/// Gives up a frame of [`alloc_shared`]; it is free when the last mapping is gone.
pub fn free_shared<P: Platform>(hv: &Hypervisor<P>, mfn: Mfn) {
    frame::unshare(hv, mfn);
}

/// Writes `bytes` to the start of one of a domain's frames.
///
/// # Errors
/// `EINVAL` when the frame is not the domain's or cannot be written now (a page table, for one).
pub fn fill_page<P: Platform>(
    hv: &Hypervisor<P>,
    domain: DomId,
    mfn: Mfn,
    bytes: &[u8],
) -> Result<(), Errno> {
    with_writable(hv, domain, mfn, || {
        hv.platform.store_bytes(mfn, 0, bytes.get(..PAGE_SIZE).unwrap_or(bytes));
    })
    .map_err(|_| Errno::EINVAL)
}

/// Does something while a frame is sure to be the domain's, and no table.
///
/// # Errors
/// `EINVAL`, or [`Fail::Again`].
pub fn with_writable<P: Platform>(
    hv: &Hypervisor<P>,
    domain: DomId,
    mfn: Mfn,
    action: impl FnOnce(),
) -> Result<(), Fail> {
    frame::get_page_type(hv, mfn, domain, Kind::Writable)?;
    action();
    frame::put_page_type(hv, mfn);
    Ok(())
}

/// Takes a reference that makes a frame a page of descriptors; `false` when it cannot be one.
pub fn get_descriptor_page<P: Platform>(hv: &Hypervisor<P>, domain: DomId, mfn: Mfn) -> bool {
    frame::get_page_type(hv, mfn, domain, Kind::SegDesc).is_ok()
}

/// Drops the reference of [`get_descriptor_page`].
pub fn put_descriptor_page<P: Platform>(hv: &Hypervisor<P>, mfn: Mfn) {
    frame::put_page_type(hv, mfn);
}

/// Writes a descriptor into a frame of the domain: a page of descriptors, or one that could be written anyway.
///
/// # Errors
/// `EINVAL` for a descriptor that a guest may not have, or a frame that is not the domain's or is a page table.
pub fn write_descriptor<P: Platform>(
    hv: &Hypervisor<P>,
    domain: DomId,
    mfn: Mfn,
    index: usize,
    value: u64,
) -> Result<(), Fail> {
    let value = descriptor::adjust(value);
    if index >= PAGE_WORDS || !descriptor::check(value) {
        log::debug!("{domain}: descriptor {value:#x} for entry {index} of {mfn} is not allowed");
        return Err(Errno::EINVAL.into());
    }
    if frame::get_held(hv, mfn, domain, Kind::SegDesc) {
        hv.platform.store(mfn, index, value);
        frame::put_page_type(hv, mfn);
        return Ok(());
    }
    with_writable(hv, domain, mfn, || hv.platform.store(mfn, index, value))
}
