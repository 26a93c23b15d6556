//! Shims of `mmu_update`, `update_va_mapping` and `mmuext_op` (xen.h).
//!
//! A list that is interrupted goes on by being called again: the arguments then name the rest of the list, `MMU_UPDATE_PREEMPTED`
//! marks the count, and the number of requests done so far stands at `pdone`. A table whose taking apart was interrupted is
//! remembered with the vCPU and finished first, before the next change of any kind.

use abi::xen::{
    MMU_MACHPHYS_UPDATE, MMU_NORMAL_PT_UPDATE, MMU_PT_UPDATE_NO_TRANSLATE, MMU_PT_UPDATE_PRESERVE_AD,
    MmuUpdate, UVMF_ALL, UVMF_FLUSHTYPE_MASK, UVMF_INVLPG, UVMF_TLB_FLUSH,
};

use core::sync::atomic::{Ordering, fence};

use super::coverage::{Sub, full};
use super::guest::{GuestHandle, read_bytes, read_one, write_one};
use super::{Args, Caller};
use crate::Hypervisor;
use crate::addr::{DomId, GuestVirt, MachineAddr, Mfn};
use crate::domain::Domain;
use crate::effects::Done;
use crate::fail::{Errno, Fail};
use crate::frame::entry::Mapper;
use crate::frame::{self, Kind, Stop};
use crate::mm::update::{How, update_l1, update_table};
use crate::mm::{pages, roots, walk};
use crate::platform::{Flush, Platform};

pub mod ext;

/// How far the kinds of update are supported.
pub const SUBS: &[Sub] = &[
    full(0, "MMU_NORMAL_PT_UPDATE"),
    full(1, "MMU_MACHPHYS_UPDATE"),
    full(2, "MMU_PT_UPDATE_PRESERVE_AD"),
    full(3, "MMU_PT_UPDATE_NO_TRANSLATE"),
];

/// In the count: the call continues one that was interrupted (`MMU_UPDATE_PREEMPTED`).
const PREEMPTED: u32 = 1 << 31;
/// Requests between two looks at the interrupts.
const PORTION: u64 = 16;

/// Whose frames a request means, from the domain id that the guest gave.
///
/// # Errors
/// `ESRCH` for a domain that does not exist, and for one's own number instead of `DOMID_SELF`; `EPERM` for a domain that the
/// caller does not control.
#[inline(always)]
fn page_owner<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, id: u16) -> Result<DomId, Errno> {
    let id = DomId::new(id);
    if id == DomId::SELF { Ok(caller.domain.id) } else { other_owner(hv, caller, id) }
}

#[cold]
fn other_owner<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, id: DomId) -> Result<DomId, Errno> {
    if id == DomId::IO {
        return Ok(id);
    }
    if id == caller.domain.id || (id != DomId::XEN && hv.domains.get(id).is_none()) {
        return Err(Errno::ESRCH);
    }
    if caller.domain.privileged { Ok(id) } else { Err(Errno::EPERM) }
}

/// As [`page_owner`], for calls that need the right to I/O even if no I/O is mapped.
///
/// # Errors
/// As [`page_owner`], and `EPERM` for I/O when the caller may have none.
#[inline(always)]
fn checked_owner<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, id: u16) -> Result<DomId, Errno> {
    let owner = page_owner(hv, caller, id)?;
    if owner == DomId::IO && !caller.domain.privileged { Err(Errno::EPERM) } else { Ok(owner) }
}

/// A list of requests, how far it is, and where that is reported.
struct Progress {
    at: u64,
    count: u64,
    done_at: u64,
    before: u32,
}

impl Progress {
    /// Takes the arguments apart: list, count, `pdone`.
    #[inline(always)]
    fn new<P: Platform>(hv: &Hypervisor<P>, args: &Args) -> Progress {
        let count = args[1] as u32;
        let resumed = count & PREEMPTED != 0 && args[2] != 0;
        let before = if resumed { read_one(hv, args[2]).unwrap_or(0) } else { 0 };
        Progress { at: 0, count: u64::from(count & !PREEMPTED), done_at: args[2], before }
    }

    /// Ends the call: `result` is about request `self.at`, those before it are done.
    #[inline(always)]
    fn end<P: Platform>(
        self,
        hv: &Hypervisor<P>,
        args: &mut Args,
        size: usize,
        result: Result<(), Fail>,
    ) -> Result<Done, Fail> {
        if self.done_at != 0 {
            // A guest that gives a bad address does not get to know; what was done stays done.
            let _ = write_one(hv, self.done_at, &self.before.wrapping_add(self.at as u32));
        }
        match result {
            Ok(()) => Ok(Done::OK),
            Err(Fail::Again) => {
                args[0] += self.at * size as u64;
                args[1] = (self.count - self.at) | u64::from(PREEMPTED);
                Err(Fail::Again)
            }
            Err(other) => Err(other),
        }
    }
}

/// The count that upstream uses to continue a call of which only a table is left to be taken apart: no list, and the domain as the
/// answer. Here such calls are continued otherwise, but a guest may say the same.
#[inline(always)]
fn continues_without_list(args: &Args) -> Option<Done> {
    (args[1] as u32 == PREEMPTED && args[0] == 0).then(|| Done::value(i64::from(args[3] as i32)))
}

/// A table kept from one request of a list to the next.
struct Held {
    mfn: Mfn,
    kind: Kind,
}

impl Held {
    const NONE: Held = Held { mfn: Mfn::INVALID, kind: Kind::None };

    /// Holds the table `mfn` of `owner` instead of the one before; `false` when it is none.
    #[inline(always)]
    fn hold<P: Platform>(
        &mut self,
        hv: &Hypervisor<P>,
        caller: &mut Caller<'_>,
        mfn: Mfn,
        owner: DomId,
    ) -> bool {
        if self.mfn == mfn {
            return true;
        }
        self.release(hv, caller);
        let kind = hv.frames.kind_now(mfn);
        if kind.level() == 0 || !frame::get_held(hv, mfn, owner, kind) {
            return false;
        }
        *self = Held { mfn, kind };
        true
    }

    #[inline(always)]
    fn release<P: Platform>(&mut self, hv: &Hypervisor<P>, caller: &mut Caller<'_>) {
        if self.mfn != Mfn::INVALID {
            if let Err(left) = frame::put_page_type_preemptible(hv, self.mfn) {
                roots::note_unfinished(caller.state, left.0);
            }
            *self = Held::NONE;
        }
    }
}

/// `mmu_update`: list of requests, their number, where to report how many were done, and the domain whose frames are meant
/// (in the upper half: one more than the domain whose tables are meant, which is the caller).
///
/// # Errors
/// That of the first request that fails; those before it are done.
#[inline]
pub fn mmu_update<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    roots::finish_table(hv, caller.state)?;
    if let Some(done) = continues_without_list(args) {
        return Ok(done);
    }
    let mut progress = Progress::new(hv, args);
    let requests = GuestHandle::<MmuUpdate>::new(args[0], progress.count)?;
    let by = match mapper(hv, caller, args[3]) {
        Ok(by) => by,
        // Rights are looked at with each request, so there may be none to look at.
        Err(Errno::EPERM) if progress.count == 0 => return progress.end(hv, args, 0, Ok(())),
        Err(errno) => return progress.end(hv, args, size_of::<MmuUpdate>(), Err(errno.into())),
    };
    let mut held = Held::NONE;
    let mut result = Ok(());
    while progress.at < progress.count {
        if progress.at % PORTION == PORTION - 1 && hv.platform.interrupt_pending() {
            result = Err(Fail::Again);
            break;
        }
        result = match requests.read(hv, progress.at) {
            Ok(request) => one_update(hv, caller, &mut held, &request, &by),
            Err(errno) => Err(errno.into()),
        };
        if result.is_err() {
            break;
        }
        progress.at += 1;
        if caller.state.unfinished_table.is_some() {
            held.release(hv, caller);
            result = roots::finish_table(hv, caller.state);
            if result.is_err() {
                break;
            }
        }
    }
    held.release(hv, caller);
    progress.end(hv, args, size_of::<MmuUpdate>(), result)
}

#[inline(always)]
fn mapper<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, domains: u64) -> Result<Mapper, Errno> {
    let pages = page_owner(hv, caller, domains as u16)?;
    let by = Mapper { table: caller.domain.id, pages, hardware: caller.domain.privileged };
    let tables = (domains >> 16) as u16;
    if tables != 0 && DomId::new(tables - 1) != by.table {
        // As upstream: tables of another PV domain are changed by that domain alone.
        let exists = hv.domains.get(DomId::new(tables - 1)).is_some();
        return Err(if exists { Errno::EINVAL } else { Errno::ESRCH });
    }
    Ok(by)
}

#[inline(always)]
fn one_update<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    held: &mut Held,
    request: &MmuUpdate,
    by: &Mapper,
) -> Result<(), Fail> {
    let at = MachineAddr::new(request.ptr & !7);
    let how = match request.ptr & 7 {
        MMU_NORMAL_PT_UPDATE | MMU_PT_UPDATE_NO_TRANSLATE => How::Set,
        MMU_PT_UPDATE_PRESERVE_AD => How::PreserveAccess,
        MMU_MACHPHYS_UPDATE => return machphys(hv, at.mfn(), request.val, by.pages),
        other => {
            log::debug!("{}: mmu_update with command {other}", caller.domain.id);
            return Err(Errno::ENOSYS.into());
        }
    };
    let (mfn, index) = (at.mfn(), at.offset() / 8);
    if !held.hold(hv, caller, mfn, by.table) {
        return plain_update(hv, mfn, index, request.val, by);
    }
    if held.kind == Kind::L1 {
        // How::IfEqual is not used here, so nothing can differ.
        let _ = update_l1(hv, mfn, index, request.val, how, by)?;
        return Ok(());
    }
    if by.pages != by.table {
        return Err(Errno::EINVAL.into());
    }
    if let Err(left) = update_table(hv, mfn, held.kind.level(), index, request.val, how, by.table)? {
        roots::note_unfinished(caller.state, left.0);
    }
    Ok(())
}

/// A request for a frame that is no table: it is written as it would be by the guest.
#[cold]
fn plain_update<P: Platform>(
    hv: &Hypervisor<P>,
    mfn: Mfn,
    index: usize,
    value: u64,
    by: &Mapper,
) -> Result<(), Fail> {
    pages::with_writable(hv, by.table, mfn, || hv.platform.store(mfn, index, value)).inspect_err(|_| {
        log::debug!("{}: mmu_update of entry {index} of {mfn}: {:?}", by.table, hv.frames.describe(mfn));
    })
}

fn machphys<P: Platform>(hv: &Hypervisor<P>, mfn: Mfn, pfn: u64, owner: DomId) -> Result<(), Fail> {
    if !hv.frames.get_page(mfn, owner) {
        log::debug!("machine-to-physical entry of {mfn}, which is not {owner}'s");
        return Err(Errno::EINVAL.into());
    }
    hv.platform.set_m2p(mfn, pfn);
    frame::put_page(hv, mfn);
    Ok(())
}

/// `update_va_mapping`: address, new L1 entry, what to flush.
///
/// # Errors
/// `EINVAL` when there is no L1 table for the address; else what the entry deserves.
#[inline]
pub fn update_va_mapping<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    let by = Mapper { table: caller.domain.id, pages: caller.domain.id, hardware: caller.domain.privileged };
    va_mapping(hv, caller, args, &by)
}

/// `update_va_mapping_otherdomain`: as [`update_va_mapping`]; the fourth argument is the domain whose frame is meant.
///
/// # Errors
/// As [`update_va_mapping`], and as for the domain of [`mmu_update`].
pub fn update_va_mapping_otherdomain<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    let pages = checked_owner(hv, caller, args[3] as u16)?;
    let by = Mapper { table: caller.domain.id, pages, hardware: caller.domain.privileged };
    va_mapping(hv, caller, args, &by)
}

#[inline(always)]
fn va_mapping<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
    by: &Mapper,
) -> Result<Done, Fail> {
    roots::finish_table(hv, caller.state)?;
    let va = GuestVirt::new(args[0]);
    let found = walk::l1_of(hv, caller.state.root(), va);
    let Some((table, index)) = found.filter(|at| frame::get_held(hv, at.0, by.table, Kind::L1)) else {
        log::debug!("{}: update_va_mapping for {va}, which has no L1 table", by.table);
        return Err(Errno::EINVAL.into());
    };
    let result = update_l1(hv, table, index, args[1], How::Set, by);
    frame::put_page_type(hv, table);
    let _ = result?;
    if args[2] & UVMF_FLUSHTYPE_MASK != 0 { flush_after(hv, caller, args[2], va) } else { Ok(Done::OK) }
}

fn flush_after<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &Caller<'_>,
    flags: u64,
    va: GuestVirt,
) -> Result<Done, Fail> {
    if flags & UVMF_FLUSHTYPE_MASK == UVMF_FLUSHTYPE_MASK {
        return Ok(Done::OK);
    }
    let cpus = match flags & !UVMF_FLUSHTYPE_MASK {
        0 => own_cpu(hv),
        UVMF_ALL => all_cpus(hv, caller.domain),
        bitmap => cpus_of(hv, caller.domain, bitmap)?,
    };
    match flags & UVMF_FLUSHTYPE_MASK {
        UVMF_TLB_FLUSH => flush_everything(hv, cpus),
        UVMF_INVLPG => flush_page(hv, va, cpus),
        _ => {}
    }
    Ok(Done::OK)
}

fn flush_everything<P: Platform>(hv: &Hypervisor<P>, cpus: u64) {
    if cpus != 0 {
        frame::flush_all(hv, cpus);
    }
}

#[inline(always)]
fn flush_page<P: Platform>(hv: &Hypervisor<P>, va: GuestVirt, cpus: u64) {
    if va.is_canonical() && cpus != 0 {
        hv.platform.flush(Flush::Page(va), cpus);
    }
}

#[inline(always)]
fn own_cpu<P: Platform>(hv: &Hypervisor<P>) -> u64 {
    1 << (hv.platform.cpu().raw() & 63)
}

/// The CPUs that may have translations of a domain's address spaces, the calling one included.
#[inline(always)]
fn all_cpus<P: Platform>(hv: &Hypervisor<P>, domain: &Domain) -> u64 {
    if hv.platform.cpus() == 1 {
        return own_cpu(hv);
    }
    // A CPU that enters the domain is in the set before it drops its translations: one that is not in it now sees what was
    // changed before.
    fence(Ordering::SeqCst);
    own_cpu(hv) | domain.active_cpus.load(Ordering::SeqCst)
}

/// The CPUs that may have translations of these vCPUs, given as a bitmap in guest memory. A CPU on which a vCPU ran last may still hold some, so
/// any vCPU means all CPUs.
///
/// # Errors
/// `EFAULT`.
fn cpus_of<P: Platform>(hv: &Hypervisor<P>, domain: &Domain, bitmap: u64) -> Result<u64, Errno> {
    let vcpus = domain.vcpus().len();
    let mut bytes = [0; crate::domain::MAX_VCPUS as usize / 8];
    let bytes = &mut bytes[..vcpus.div_ceil(8).clamp(1, crate::domain::MAX_VCPUS as usize / 8)];
    read_bytes(hv, bitmap, bytes)?;
    let any = (0..vcpus).any(|vcpu| bytes.get(vcpu / 8).is_some_and(|byte| byte >> (vcpu % 8) & 1 == 1));
    Ok(if any { all_cpus(hv, domain) } else { 0 })
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Stop {
        Stop::Errno(errno)
    }
}

#[cfg(test)]
mod tests;
