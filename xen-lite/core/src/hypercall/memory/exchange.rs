//! `XENMEM_exchange`: frames for frames of another size or below an address limit.
//!
//! The two lists are worked through in chunks, each as large as the larger of the two extents: the old frames
//! of a chunk are taken first, then the new ones are made.

use core::mem::offset_of;

use abi::memory::{MemoryExchange, MemoryReservation};
use alloc::vec::Vec;

use super::super::Caller;
use super::super::guest::{GuestHandle, read_one};
use super::put_back;
use crate::Hypervisor;
use crate::access::self_or_control;
use crate::addr::{DomId, Mfn};
use crate::domain::Domain;
use crate::effects::Done;
use crate::fail::{Errno, Fail};
use crate::mm::reserve;
use crate::platform::Platform;

const ADDRESS_BITS: u32 = 0xff;

/// One exchange, as agreed.
struct Exchange {
    target: alloc::sync::Arc<Domain>,
    old: GuestHandle<u64>,
    new: GuestHandle<u64>,
    old_order: u32,
    new_order: u32,
    limit: u64,
    /// Old extents, and new ones, of one chunk.
    per_chunk: (u64, u64),
}

/// Carries the exchange out from where it was.
///
/// # Errors
/// `EINVAL` for lists that do not match or frames that cannot be exchanged, `EPERM` for an order that the caller may not
/// have, `ESRCH`, `EFAULT`, `ENOMEM`. `nr_exchanged` says how many extents are done in any case.
pub(super) fn exchange<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, at: u64) -> Result<Done, Fail> {
    let wanted: MemoryExchange = read_one(hv, at)?;
    let work = agree(hv, caller, &wanted)?;
    let chunks = wanted.in_.nr_extents / work.per_chunk.0;
    let first = wanted.nr_exchanged / work.per_chunk.0;
    let mut chunk = first;
    let result = loop {
        if chunk >= chunks {
            break Ok(Done::OK);
        }
        if chunk != first && hv.platform.interrupt_pending() {
            break Err(Fail::Again);
        }
        if let Err(errno) = work.chunk(hv, chunk) {
            break Err(errno.into());
        }
        chunk += 1;
    };
    put_back(hv, at, offset_of!(MemoryExchange, nr_exchanged), &(chunk * work.per_chunk.0))?;
    result
}

fn agree<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &Caller<'_>,
    wanted: &MemoryExchange,
) -> Result<Exchange, Errno> {
    let (old, new) = (&wanted.in_, &wanted.out);
    let most = reserve::max_order(caller.domain);
    if old.extent_order > most || new.extent_order > most {
        return Err(Errno::EPERM);
    }
    if old.domid != new.domid || wanted.nr_exchanged > old.nr_extents || frames(old)? != frames(new)? {
        return Err(Errno::EINVAL);
    }
    let chunk_order = old.extent_order.max(new.extent_order);
    let per_chunk = (1u64 << (chunk_order - old.extent_order), 1u64 << (chunk_order - new.extent_order));
    if old.nr_extents % per_chunk.0 != 0 || !wanted.nr_exchanged.is_multiple_of(per_chunk.0) {
        return Err(Errno::EINVAL);
    }
    let target = self_or_control(hv, caller, DomId::new(old.domid))?;
    Ok(Exchange {
        target: (*target).clone(),
        old: GuestHandle::new(old.extent_start.addr(), old.nr_extents)?,
        new: GuestHandle::new(new.extent_start.addr(), new.nr_extents)?,
        old_order: old.extent_order,
        new_order: new.extent_order,
        limit: reserve::limit_of_bits(new.mem_flags & ADDRESS_BITS)?,
        per_chunk,
    })
}

/// Frames that a list stands for.
fn frames(list: &MemoryReservation) -> Result<u64, Errno> {
    list.nr_extents.checked_mul(1 << list.extent_order).ok_or(Errno::EINVAL)
}

impl Exchange {
    fn chunk<P: Platform>(&self, hv: &Hypervisor<P>, chunk: u64) -> Result<(), Errno> {
        let (old_count, new_count) = self.per_chunk;
        let mut old = room((old_count << self.old_order) as usize)?;
        for extent in chunk * old_count..(chunk + 1) * old_count {
            let first = Mfn::new(self.old.read(hv, extent)?);
            for n in 0..1u64 << self.old_order {
                old.push(first.checked_add(n).ok_or(Errno::EINVAL)?);
            }
        }
        let mut pfns = room(new_count as usize)?;
        for extent in chunk * new_count..(chunk + 1) * new_count {
            pfns.push(Mfn::new(self.new.read(hv, extent)?));
        }
        let mut made = room(new_count as usize)?;
        made.resize(new_count as usize, Mfn::INVALID);
        reserve::exchange(hv, &self.target, &old, self.new_order, self.limit, &mut made)?;
        for (n, (mfn, pfn)) in made.iter().zip(&pfns).enumerate() {
            for page in 0..1u64 << self.new_order {
                hv.platform.set_m2p(Mfn::new(mfn.raw() + page), pfn.raw().wrapping_add(page));
            }
            // The exchange is done; a list that cannot be written is the guest's loss.
            self.new.write(hv, chunk * new_count + n as u64, &mfn.raw())?;
        }
        Ok(())
    }
}

fn room(count: usize) -> Result<Vec<Mfn>, Errno> {
    let mut list = Vec::new();
    list.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    Ok(list)
}
