//! Reservations: frames that come to a domain and go.

use crate::addr::{DomId, Mfn, PAGE_SHIFT};
use crate::domain::Domain;
use crate::fail::Errno;
use crate::frame::{self, MAX_ORDER};
use crate::hypervisor::Hypervisor;
use crate::platform::Platform;

/// Highest order of a block that an ordinary domain may ask for (2 MiB).
const GUEST_ORDER: u32 = 9;

/// Highest order of a block that this caller may ask for.
pub fn max_order(caller: &Domain) -> u32 {
    if caller.privileged { MAX_ORDER } else { GUEST_ORDER }
}

/// The first frame number that cannot be reached with this many address bits; 0 bits stand for no limit.
///
/// # Errors
/// `EINVAL` when not even one frame can be reached.
pub fn limit_of_bits(bits: u32) -> Result<u64, Errno> {
    match bits {
        0 => Ok(u64::MAX),
        1..=PAGE_SHIFT => Err(Errno::EINVAL),
        bits => Ok(1u64.checked_shl(bits - PAGE_SHIFT).unwrap_or(u64::MAX)),
    }
}

/// Gives a domain a block of its own, entered in the machine-to-physical table from `pfn` on (`None`: as unknown).
///
/// # Errors
/// `ENOMEM`.
pub fn populate<P: Platform>(
    hv: &Hypervisor<P>,
    target: &Domain,
    order: u32,
    limit: u64,
    pfn: Option<u64>,
) -> Result<Mfn, Errno> {
    let first = frame::alloc_for(hv, target, order, limit)?;
    for n in 0..1u64 << order {
        let pfn = pfn.map_or(u64::MAX, |pfn| pfn.wrapping_add(n));
        hv.platform.set_m2p(Mfn::new(first.raw() + n), pfn);
    }
    Ok(first)
}

/// Takes the owner's reference off one frame. It is free when nothing maps it any more; pins and mappings stay as they are.
///
/// # Errors
/// `EINVAL` when the frame is not the domain's.
pub fn decrease<P: Platform>(hv: &Hypervisor<P>, target: &Domain, mfn: Mfn) -> Result<(), Errno> {
    if frame::Owner::Domain(target.id) != hv.frames.owner(mfn) || !hv.frames.get_page(mfn, target.id) {
        log::debug!("{}: {mfn} is not its own to give up: {:?}", target.id, hv.frames.describe(mfn));
        return Err(Errno::EINVAL);
    }
    if frame::drop_allocation(hv, mfn) {
        hv.platform.set_m2p(mfn, u64::MAX);
    }
    frame::put_page(hv, mfn);
    Ok(())
}

/// Exchanges frames of a domain, to which nothing must refer, for others: `old` (all of them), and blocks of `order` below
/// `limit`, as many as `new` has room for. The account does not change.
///
/// # Errors
/// `EINVAL` when an old frame is not the domain's or is in use, `ENOMEM`; then nothing has changed.
pub fn exchange<P: Platform>(
    hv: &Hypervisor<P>,
    target: &Domain,
    old: &[Mfn],
    order: u32,
    limit: u64,
    new: &mut [Mfn],
) -> Result<(), Errno> {
    for (taken, mfn) in old.iter().enumerate() {
        if target.is_dying() || !hv.frames.steal(*mfn, target.id) {
            log::debug!("{}: {mfn} cannot be exchanged: {:?}", target.id, hv.frames.describe(*mfn));
            give(hv, target, &old[..taken], 0);
            return Err(Errno::EINVAL);
        }
    }
    for made in 0..new.len() {
        match frame::alloc_below(hv, order, DomId::XEN, limit) {
            Some(mfn) => new[made] = mfn,
            None => {
                new[..made].iter().for_each(|block| frame::free(hv, *block, order));
                give(hv, target, old, 0);
                return Err(Errno::ENOMEM);
            }
        }
    }
    for mfn in old {
        hv.platform.set_m2p(*mfn, u64::MAX);
        frame::free(hv, *mfn, 0);
    }
    give(hv, target, new, order);
    Ok(())
}

/// Gives blocks of the hypervisor to a domain. They are nobody else's, so this cannot fail.
fn give<P: Platform>(hv: &Hypervisor<P>, target: &Domain, blocks: &[Mfn], order: u32) {
    for mfn in blocks.iter().flat_map(|block| block.raw()..block.raw() + (1 << order)).map(Mfn::new) {
        target.memory.note(mfn, 0);
        if hv.frames.assign(target.id, mfn).is_err() {
            log::error!("{mfn} could not be given to {}", target.id);
        }
        frame::take_back_if_dying(hv, target, mfn, 0);
    }
}
