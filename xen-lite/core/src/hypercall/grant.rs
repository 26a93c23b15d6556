//! `grant_table_op` (grant_table.h).

use alloc::sync::Arc;
use core::mem::offset_of;
use core::ops::{ControlFlow, Deref};

use abi::grant_table::*;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::coverage::{Sub, full, partial, refused};
use super::guest::{GuestHandle, read_one, write_one};
use super::{Args, Caller};
use crate::Hypervisor;
use crate::access::self_or_control;
use crate::addr::{DomId, GrantRef, GuestVirt, Mfn, PAGE_SHIFT, PAGE_SIZE};
use crate::domain::Domain;
use crate::effects::Done;
use crate::fail::{Errno, Fail};
use crate::frame;
use crate::grant::{self, Place, Request, Status};
use crate::platform::Platform;

/// Sub-operations.
pub const SUBS: &[Sub] = &[
    full(GNTTABOP_MAP_GRANT_REF, "GNTTABOP_map_grant_ref"),
    full(GNTTABOP_UNMAP_GRANT_REF, "GNTTABOP_unmap_grant_ref"),
    full(GNTTABOP_SETUP_TABLE, "GNTTABOP_setup_table"),
    refused(GNTTABOP_DUMP_TABLE, "GNTTABOP_dump_table", "ENOSYS: a debugging aid"),
    refused(
        GNTTABOP_TRANSFER,
        "GNTTABOP_transfer",
        "GNTST_bad_page for each: no frame changes hands this way",
    ),
    full(GNTTABOP_COPY, "GNTTABOP_copy"),
    full(GNTTABOP_QUERY_SIZE, "GNTTABOP_query_size"),
    full(GNTTABOP_UNMAP_AND_REPLACE, "GNTTABOP_unmap_and_replace"),
    full(GNTTABOP_SET_VERSION, "GNTTABOP_set_version"),
    refused(
        GNTTABOP_GET_STATUS_FRAMES,
        "GNTTABOP_get_status_frames",
        "GNTST_general_error: tables are of version 1",
    ),
    full(GNTTABOP_GET_VERSION, "GNTTABOP_get_version"),
    full(GNTTABOP_SWAP_GRANT_REF, "GNTTABOP_swap_grant_ref"),
    partial(
        GNTTABOP_CACHE_FLUSH,
        "GNTTABOP_cache_flush",
        "frames of the caller; caches are coherent, so nothing is to be done",
    ),
];

/// Bits of the command proper.
const COMMAND: u32 = 0xfff;

/// Unmappings that share a flush.
const BATCH: usize = 32;

/// `grant_table_op`: command, array of the command's structures, their number.
#[inline(always)]
pub fn grant_table_op<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    let is_number = args[2] as u32 as i32 >= 0;
    match args[0] as u32 {
        GNTTABOP_MAP_GRANT_REF if is_number => map_each(hv, caller, args),
        GNTTABOP_UNMAP_GRANT_REF if is_number => unmap(hv, caller, args),
        GNTTABOP_COPY if is_number => copy_each(hv, caller, args),
        _ => any_op(hv, caller, args),
    }
}

/// Any command. The frequent ones are functions apart, with no more registers and stack than they need.
#[inline(never)]
fn any_op<P: Platform>(hv: &Hypervisor<P>, caller: &mut Caller<'_>, args: &mut Args) -> Result<Done, Fail> {
    if (args[2] as u32 as i32) < 0 {
        return Err(Errno::EINVAL.into());
    }
    // What is above the number is for calls that continue, and only the flush of caches has some.
    if args[0] as u32 > COMMAND && args[0] as u32 & COMMAND != GNTTABOP_CACHE_FLUSH {
        return Err(Errno::EINVAL.into());
    }
    match args[0] as u32 & COMMAND {
        GNTTABOP_MAP_GRANT_REF => map_each(hv, caller, args),
        GNTTABOP_UNMAP_GRANT_REF => unmap(hv, caller, args),
        GNTTABOP_COPY => copy_each(hv, caller, args),
        GNTTABOP_UNMAP_AND_REPLACE => each(hv, args, |op| replace(hv, caller, op)),
        GNTTABOP_TRANSFER => each(hv, args, |op: &mut GnttabTransfer| {
            op.status = GNTST_BAD_PAGE;
            Ok(())
        }),
        GNTTABOP_SWAP_GRANT_REF => each(hv, args, |op: &mut GnttabSwapGrantRef| {
            let (a, b) = (GrantRef::new(op.ref_a), GrantRef::new(op.ref_b));
            op.status = status(grant::swap(hv, caller.domain, a, b));
            Ok(())
        }),
        GNTTABOP_CACHE_FLUSH => each(hv, args, |op| cache_flush(hv, caller, op)),
        command => others(hv, caller, command, args[1], args[2] as u32),
    }
}

/// The status field for an outcome.
fn status(result: Result<(), Status>) -> i16 {
    result.map_or_else(|failed| failed as i16, |()| GNTST_OKAY)
}

#[inline(never)]
fn map_each<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, args: &mut Args) -> Result<Done, Fail> {
    if args[2] as u32 != 1 {
        return map_many(hv, caller, args);
    }
    // A single one needs no counting.
    let mut op: GnttabMapGrantRef = read_one(hv, args[1])?;
    map(hv, caller, &mut op)?;
    // The answer is in the second half.
    const ANSWER: usize = offset_of!(GnttabMapGrantRef, dom);
    let at = GuestVirt::new(args[1].wrapping_add(ANSWER as u64));
    hv.platform.write_one(at, &op.as_bytes()[ANSWER..]).map_err(|_| Errno::EFAULT)?;
    Ok(Done::OK)
}

#[inline(never)]
fn map_many<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, args: &mut Args) -> Result<Done, Fail> {
    each(hv, args, |op| map(hv, caller, op))
}

#[inline(never)]
fn copy_each<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, args: &mut Args) -> Result<Done, Fail> {
    if args[2] as u32 != 1 {
        return copy_many(hv, caller, args);
    }
    copy_at(hv, caller, args[1])?;
    Ok(Done::OK)
}

/// As [`each`]; only the status is written back.
#[inline(never)]
fn copy_many<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, args: &mut Args) -> Result<Done, Fail> {
    let count = u64::from(args[2] as u32);
    GuestHandle::<GnttabCopy>::new(args[1], count)?;
    for _ in 0..count {
        copy_at(hv, caller, args[1])?;
        if advance::<P, GnttabCopy>(hv, args).is_break() {
            return Err(Fail::Again);
        }
    }
    Ok(Done::OK)
}

#[inline(always)]
fn copy_at<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, at: u64) -> Result<(), Fail> {
    let op: GnttabCopy = read_one(hv, at)?;
    let status = copy(hv, caller, &op)?;
    write_one(hv, at.wrapping_add(offset_of!(GnttabCopy, status) as u64), &status)?;
    Ok(())
}

/// Carries out an operation on each structure of an array; each is written back before the next is read. The arguments move
/// on with it, so that the call can be interrupted between any two.
#[inline(always)]
fn each<P: Platform, T: FromBytes + IntoBytes + Immutable>(
    hv: &Hypervisor<P>,
    args: &mut Args,
    mut action: impl FnMut(&mut T) -> Result<(), Fail>,
) -> Result<Done, Fail> {
    let count = u64::from(args[2] as u32);
    let array = GuestHandle::<T>::new(args[1], count)?;
    for index in 0..count {
        let mut op = array.read(hv, index)?;
        action(&mut op)?;
        array.write(hv, index, &op)?;
        if advance::<P, T>(hv, args).is_break() {
            return Err(Fail::Again);
        }
    }
    Ok(Done::OK)
}

/// One structure is done. Breaks when the rest is to wait for an interrupt.
#[inline(always)]
fn advance<P: Platform, T>(hv: &Hypervisor<P>, args: &mut Args) -> ControlFlow<()> {
    args[1] = args[1].wrapping_add(size_of::<T>() as u64);
    args[2] = u64::from((args[2] as u32).wrapping_sub(1));
    if args[2] != 0 && hv.platform.interrupt_pending() {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

/// A domain that takes part in an operation.
enum Party<'a> {
    /// The caller itself, without a count of its reference.
    Own(&'a Arc<Domain>),
    Other(Arc<Domain>),
}

impl Deref for Party<'_> {
    type Target = Arc<Domain>;

    #[inline(always)]
    fn deref(&self) -> &Arc<Domain> {
        match self {
            Party::Own(domain) => domain,
            Party::Other(domain) => domain,
        }
    }
}

#[inline(always)]
fn find<'a, P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'a>, id: DomId) -> Option<Party<'a>> {
    if id == caller.domain.id {
        Some(Party::Own(caller.domain))
    } else {
        hv.domains.get(id).map(Party::Other)
    }
}

#[inline(always)]
fn map<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, op: &mut GnttabMapGrantRef) -> Result<(), Fail> {
    let Some(granter) = find(hv, caller, DomId::new(op.dom)) else {
        let nowhere = op.flags & (GNTMAP_DEVICE_MAP | GNTMAP_HOST_MAP) == 0;
        op.status = if nowhere { GNTST_BAD_GNTREF } else { GNTST_BAD_DOMAIN };
        return Ok(());
    };
    let request = Request { address: op.host_addr, flags: op.flags, reference: GrantRef::new(op.ref_) };
    match grant::map(hv, caller.domain, caller.state.root(), &granter, request)? {
        Ok(mapped) => {
            op.handle = mapped.handle;
            op.dev_bus_addr = mapped.frame.raw() << PAGE_SHIFT;
            op.status = GNTST_OKAY;
        }
        Err(failed) => op.status = failed as i16,
    }
    Ok(())
}

/// Unmaps: the status is written, then the translations are flushed, then the granter learns of it.
#[inline(never)]
fn unmap<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, args: &mut Args) -> Result<Done, Fail> {
    if args[2] as u32 != 1 {
        GuestHandle::<GnttabUnmapGrantRef>::new(args[1], u64::from(args[2] as u32))?;
        return unmap_many(hv, caller, args);
    }
    let (unmapped, told) = unmap_one(hv, caller, args[1])?;
    if let Some(unmapped) = unmapped {
        grant::flush_unmapped_one(hv, caller.domain, unmapped);
    }
    told?;
    Ok(Done::OK)
}

/// Unmaps in batches, of which each has one flush.
#[inline(never)]
fn unmap_many<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, args: &mut Args) -> Result<Done, Fail> {
    while args[2] as u32 != 0 {
        let mut batch = [const { None }; BATCH];
        let mut outcome = ControlFlow::Continue(());
        let mut fault = Ok(());
        let mut count = 0;
        for (_, slot) in (0..args[2] as u32).zip(&mut batch) {
            fault = unmap_one(hv, caller, args[1]).and_then(|(unmapped, told)| {
                *slot = unmapped;
                count += 1;
                told
            });
            if fault.is_err() {
                break;
            }
            outcome = advance::<P, GnttabUnmapGrantRef>(hv, args);
            if outcome.is_break() {
                break;
            }
        }
        grant::flush_unmapped(hv, caller.domain, &batch[..count]);
        fault?;
        if outcome.is_break() {
            return Err(Fail::Again);
        }
    }
    Ok(Done::OK)
}

/// Unmaps one; the outcome stands even if it cannot be told, which is the second part of the answer.
#[inline(always)]
fn unmap_one<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &Caller<'_>,
    at: u64,
) -> Result<(Option<grant::Unmapped>, Result<(), Errno>), Errno> {
    let op: GnttabUnmapGrantRef = read_one(hv, at)?;
    let root = caller.state.root();
    let result = grant::unmap(hv, caller.domain, root, op.handle, op.host_addr, op.dev_bus_addr);
    let (status, unmapped) = match result {
        Ok(unmapped) => (GNTST_OKAY, Some(unmapped)),
        Err(failed) => (failed as i16, None),
    };
    let field = at.wrapping_add(offset_of!(GnttabUnmapGrantRef, status) as u64);
    Ok((unmapped, write_one(hv, field, &status)))
}

fn replace<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &Caller<'_>,
    op: &mut GnttabUnmapAndReplace,
) -> Result<(), Fail> {
    let root = caller.state.root();
    let result = grant::replace(hv, caller.domain, root, op.handle, op.host_addr, op.new_addr);
    op.status = status(result.map(|unmapped| grant::flush_unmapped(hv, caller.domain, &[Some(unmapped)])));
    Ok(())
}

#[inline(always)]
fn copy<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, op: &GnttabCopy) -> Result<i16, Fail> {
    let find_side = |side: &GnttabCopyPtr, by_reference: bool| match DomId::new(side.domid) {
        DomId::SELF => Ok(Party::Own(caller.domain)),
        // By frame number only of one's own.
        id => match find(hv, caller, id) {
            Some(_) if !by_reference => Err(Status::PermissionDenied),
            found => found.ok_or(Status::BadDomain),
        },
    };
    let (from_grant, to_grant) = (op.flags & GNTCOPY_SOURCE_GREF != 0, op.flags & GNTCOPY_DEST_GREF != 0);
    let domains =
        find_side(&op.source, from_grant).and_then(|from| Ok((from, find_side(&op.dest, to_grant)?)));
    let (from, to) = match domains {
        Ok(found) => found,
        Err(failed) => return Ok(failed as i16),
    };
    fn place<'d>(domain: &'d Arc<Domain>, side: &GnttabCopyPtr, by_reference: bool) -> (Place<'d>, usize) {
        let place = if by_reference {
            Place::Grant(domain, GrantRef::new(side.as_ref()))
        } else {
            Place::Own(Mfn::new(side.as_gmfn()))
        };
        (place, usize::from(side.offset))
    }
    let (source, target) = (place(&from, &op.source, from_grant), place(&to, &op.dest, to_grant));
    Ok(status(grant::copy(hv, caller.domain, source, target, usize::from(op.len))?))
}

/// `GNTTABOP_cache_flush`: checks that the range is the caller's. Caches of this machine are coherent, so cleaning is done at once.
fn cache_flush<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &Caller<'_>,
    op: &mut GnttabCacheFlush,
) -> Result<(), Fail> {
    let end = usize::from(op.offset) + usize::from(op.length);
    let known = op.op & !(GNTTAB_CACHE_CLEAN | GNTTAB_CACHE_INVAL) == 0;
    if usize::from(op.offset) >= PAGE_SIZE || end > PAGE_SIZE || !known {
        return Err(Errno::EINVAL.into());
    }
    if op.length == 0 || op.op == 0 {
        return Ok(());
    }
    match hv.frames.owner(Mfn::new(op.as_dev_bus_addr() >> PAGE_SHIFT)) {
        frame::Owner::Io => Err(Errno::EINVAL.into()),
        frame::Owner::Domain(owner) if owner == caller.domain.id => {
            if op.op == GNTTAB_CACHE_INVAL {
                Err(Errno::EOPNOTSUPP.into())
            } else {
                Ok(())
            }
        }
        frame::Owner::Domain(_) => Err(Errno::EINVAL.into()),
        _ => Err(Errno::EPERM.into()),
    }
}

/// Operations on whole tables.
fn others<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &Caller<'_>,
    command: u32,
    at: u64,
    count: u32,
) -> Result<Done, Fail> {
    match command {
        GNTTABOP_SETUP_TABLE | GNTTABOP_QUERY_SIZE | GNTTABOP_GET_STATUS_FRAMES if count != 1 => {
            Err(Errno::EINVAL.into())
        }
        GNTTABOP_SETUP_TABLE => setup_table(hv, caller, at),
        GNTTABOP_QUERY_SIZE => {
            let mut op: GnttabQuerySize = read_one(hv, at)?;
            op.status = match target(hv, caller, op.dom) {
                Ok(domain) => {
                    (op.nr_frames, op.max_nr_frames) = domain.grants.size();
                    GNTST_OKAY
                }
                Err(failed) => failed as i16,
            };
            write_one(hv, at, &op)?;
            Ok(Done::OK)
        }
        GNTTABOP_SET_VERSION => {
            let mut op: GnttabSetVersion = read_one(hv, at)?;
            let wanted = core::mem::replace(&mut op.version, 1);
            write_one(hv, at, &op)?;
            match wanted {
                1 => Ok(Done::OK),
                2 => Err(Errno::ENOSYS.into()),
                _ => Err(Errno::EINVAL.into()),
            }
        }
        GNTTABOP_GET_VERSION => {
            let mut op: GnttabGetVersion = read_one(hv, at)?;
            self_or_control(hv, caller, DomId::new(op.dom))?;
            op.version = 1;
            write_one(hv, at, &op)?;
            Ok(Done::OK)
        }
        GNTTABOP_GET_STATUS_FRAMES => {
            let mut op: GnttabGetStatusFrames = read_one(hv, at)?;
            // A table of version 1 has none; that many are given.
            let found = if op.nr_frames == 0 { GNTST_OKAY } else { GNTST_GENERAL_ERROR };
            op.status = target(hv, caller, op.dom).map_or_else(|failed| failed as i16, |_| found);
            write_one(hv, at, &op)?;
            Ok(Done::OK)
        }
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// The domain whose table is meant.
fn target<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, id: u16) -> Result<Arc<Domain>, Status> {
    match self_or_control(hv, caller, DomId::new(id)) {
        Ok(target) => Ok((*target).clone()),
        Err(Errno::EPERM) => Err(Status::PermissionDenied),
        Err(_) => Err(Status::BadDomain),
    }
}

fn setup_table<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, at: u64) -> Result<Done, Fail> {
    let mut op: GnttabSetupTable = read_one(hv, at)?;
    let list = GuestHandle::<u64>::new(op.frame_list.addr(), op.nr_frames.into())?;
    let domain = match target(hv, caller, op.dom) {
        Ok(domain) => domain,
        Err(failed) => {
            op.status = failed as i16;
            write_one(hv, at, &op)?;
            return Ok(Done::OK);
        }
    };
    op.status = match grant::grow(hv, &domain, op.nr_frames) {
        Ok(()) => {
            let write = |index: u32, mfn: Mfn| list.write(hv, index.into(), &mfn.raw());
            match grant::frames(hv, &domain, op.nr_frames, write) {
                Ok(()) => GNTST_OKAY,
                Err(_) => GNTST_BAD_VIRT_ADDR,
            }
        }
        Err(_) => GNTST_GENERAL_ERROR,
    };
    write_one(hv, at, &op)?;
    Ok(Done::OK)
}
