//! Commands over lists of extents: increase, decrease, populate; and claims.

use abi::memory::{
    MEMOP_EXTENT_SHIFT, MemoryReservation, XENMEMF_EXACT_NODE_REQUEST, XENMEMF_POPULATE_ON_DEMAND,
};

use super::super::guest::{GuestHandle, read_one};
use super::super::{Args, Caller};
use super::COMMAND;
use crate::Hypervisor;
use crate::access::self_or_control;
use crate::addr::{DomId, Mfn};
use crate::domain::Domain;
use crate::effects::Done;
use crate::fail::{Errno, Fail};
use crate::mm::reserve;
use crate::platform::Platform;

/// Which command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// New frames; their numbers are written to the list if there is one.
    Increase,
    /// Frames on the list are given up.
    Decrease,
    /// New frames in the place of the pfns on the list.
    Populate,
}

/// More extents than this cannot be counted in a continued command.
const MOST_EXTENTS: u64 = (u32::MAX >> MEMOP_EXTENT_SHIFT) as u64;

/// One more than the node wanted, in `mem_flags`; there is only node 0.
const NODE: u32 = 0xff << 8;
const NODE_0: u32 = 1 << 8;

/// Address bits in `mem_flags`.
const ADDRESS_BITS: u32 = 0xff;

/// Carries a command out from extent `start` on; the value is the number of extents done.
pub(super) fn run<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
    start: u64,
    command: Command,
) -> Result<Done, Fail> {
    let wanted: MemoryReservation = match read_one(hv, args[1]) {
        Ok(wanted) => wanted,
        Err(_) => return super::value(start),
    };
    // Everything that is wrong with the request as a whole shows as "nothing done".
    let Ok(mut work) = Work::new(hv, caller, &wanted, command, start) else { return super::value(start) };
    while work.at < work.list.len() {
        if work.at != start && hv.platform.interrupt_pending() {
            args[0] = args[0] & COMMAND | work.at << MEMOP_EXTENT_SHIFT;
            return Err(Fail::Again);
        }
        if work.extent(hv).is_err() {
            break;
        }
        work.at += 1;
    }
    super::value(work.at)
}

struct Work {
    target: alloc::sync::Arc<Domain>,
    command: Command,
    list: GuestHandle<u64>,
    has_list: bool,
    order: u32,
    limit: u64,
    at: u64,
}

impl Work {
    fn new<P: Platform>(
        hv: &Hypervisor<P>,
        caller: &Caller<'_>,
        wanted: &MemoryReservation,
        command: Command,
        start: u64,
    ) -> Result<Work, Errno> {
        if wanted.nr_extents > MOST_EXTENTS || start >= wanted.nr_extents {
            return Err(Errno::EINVAL);
        }
        let flags = wanted.mem_flags;
        // Who owns no machine does not choose nodes.
        let other_node = flags & NODE != 0 && (flags & NODE != NODE_0 || !caller.domain.privileged);
        // Populating on demand takes a physical map.
        let on_demand = command == Command::Populate && flags & XENMEMF_POPULATE_ON_DEMAND != 0;
        if on_demand
            || (other_node && flags & XENMEMF_EXACT_NODE_REQUEST != 0 && command != Command::Decrease)
        {
            return Err(Errno::EINVAL);
        }
        let target = self_or_control(hv, caller, DomId::new(wanted.domid))?;
        if wanted.extent_order > reserve::max_order(caller.domain) {
            log::debug!("{}: extents of order {}", caller.domain.id, wanted.extent_order);
            return Err(Errno::EINVAL);
        }
        Ok(Work {
            target: (*target).clone(),
            command,
            list: GuestHandle::new(wanted.extent_start.addr(), wanted.nr_extents)?,
            has_list: !wanted.extent_start.is_null(),
            order: wanted.extent_order,
            limit: reserve::limit_of_bits(wanted.mem_flags & ADDRESS_BITS)?,
            at: start,
        })
    }

    fn extent<P: Platform>(&mut self, hv: &Hypervisor<P>) -> Result<(), Errno> {
        match self.command {
            Command::Decrease => {
                let first = self.list.read(hv, self.at)?;
                (0..1u64 << self.order).try_for_each(|n| {
                    let mfn = Mfn::new(first).checked_add(n).ok_or(Errno::EINVAL)?;
                    reserve::decrease(hv, &self.target, mfn)
                })
            }
            Command::Populate => {
                let pfn = self.list.read(hv, self.at)?;
                let mfn = reserve::populate(hv, &self.target, self.order, self.limit, Some(pfn))?;
                self.list.write(hv, self.at, &mfn.raw())
            }
            Command::Increase => {
                let mfn = reserve::populate(hv, &self.target, self.order, self.limit, None)?;
                if self.has_list { self.list.write(hv, self.at, &mfn.raw()) } else { Ok(()) }
            }
        }
    }
}

/// `XENMEM_claim_pages`: sets free frames aside so that a domain can have `nr_extents` in all; 0 gives the claim up.
///
/// # Errors
/// `EINVAL` for a list, an order, flags or a continued command; for a total that the domain has already, or may not have.
/// `EPERM`, `ESRCH`; `ENOMEM` when so many are not free.
pub(super) fn claim<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &Caller<'_>,
    at: u64,
    start: u64,
) -> Result<Done, Fail> {
    use core::sync::atomic::Ordering;

    let wanted: MemoryReservation = read_one(hv, at)?;
    let plain = wanted.extent_start.is_null() && wanted.extent_order == 0 && wanted.mem_flags == 0;
    if start != 0 || !plain {
        return Err(Errno::EINVAL.into());
    }
    if hv.domains.get(DomId::new(wanted.domid)).is_none() {
        return Err(Errno::EINVAL.into());
    }
    let target = crate::access::control_over(hv, caller, DomId::new(wanted.domid))?;
    let has = u64::from(target.memory.total.load(Ordering::Relaxed));
    let may = u64::from(target.memory.max.load(Ordering::Relaxed));
    let frames = match wanted.nr_extents {
        0 => 0,
        total if total <= has || total > may => return Err(Errno::EINVAL.into()),
        total => total - has,
    };
    if hv.frames.claim(target.id, frames) { Ok(Done::OK) } else { Err(Errno::ENOMEM.into()) }
}
