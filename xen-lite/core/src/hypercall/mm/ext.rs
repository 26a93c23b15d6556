//! `mmuext_op` (xen.h): pins, base pointers, flushes, the LDT, whole pages.

use abi::xen::{
    MMUEXT_CLEAR_PAGE, MMUEXT_COPY_PAGE, MMUEXT_FLUSH_CACHE, MMUEXT_FLUSH_CACHE_GLOBAL, MMUEXT_INVLPG_ALL,
    MMUEXT_INVLPG_LOCAL, MMUEXT_INVLPG_MULTI, MMUEXT_MARK_SUPER, MMUEXT_NEW_BASEPTR, MMUEXT_NEW_USER_BASEPTR,
    MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L2_TABLE, MMUEXT_PIN_L3_TABLE, MMUEXT_PIN_L4_TABLE, MMUEXT_SET_LDT,
    MMUEXT_TLB_FLUSH_ALL, MMUEXT_TLB_FLUSH_LOCAL, MMUEXT_TLB_FLUSH_MULTI, MMUEXT_UNMARK_SUPER,
    MMUEXT_UNPIN_TABLE, MmuextOp,
};

use super::{
    Progress, all_cpus, checked_owner, continues_without_list, cpus_of, flush_everything, flush_page, own_cpu,
};
use crate::Hypervisor;
use crate::addr::{DomId, GuestVirt, Mfn, PAGE_SIZE};
use crate::effects::{Done, Effects, Todo};
use crate::fail::{Errno, Fail};
use crate::frame::{self, Kind, Stop, types};
use crate::hypercall::coverage::{Sub, full, refused};
use crate::hypercall::guest::{GuestHandle, range_ok, read_one, write_one};
use crate::hypercall::{Args, Caller};
use crate::mm::pages;
use crate::mm::roots;
use crate::platform::Platform;

/// How far the commands are supported.
pub const SUBS: &[Sub] = &[
    full(0, "MMUEXT_PIN_L1_TABLE"),
    full(1, "MMUEXT_PIN_L2_TABLE"),
    full(2, "MMUEXT_PIN_L3_TABLE"),
    full(3, "MMUEXT_PIN_L4_TABLE"),
    full(4, "MMUEXT_UNPIN_TABLE"),
    full(5, "MMUEXT_NEW_BASEPTR"),
    full(6, "MMUEXT_TLB_FLUSH_LOCAL"),
    full(7, "MMUEXT_INVLPG_LOCAL"),
    full(8, "MMUEXT_TLB_FLUSH_MULTI"),
    full(9, "MMUEXT_INVLPG_MULTI"),
    full(10, "MMUEXT_TLB_FLUSH_ALL"),
    full(11, "MMUEXT_INVLPG_ALL"),
    full(12, "MMUEXT_FLUSH_CACHE"),
    full(13, "MMUEXT_SET_LDT"),
    full(15, "MMUEXT_NEW_USER_BASEPTR"),
    full(16, "MMUEXT_CLEAR_PAGE"),
    full(17, "MMUEXT_COPY_PAGE"),
    full(18, "MMUEXT_FLUSH_CACHE_GLOBAL"),
    refused(19, "MMUEXT_MARK_SUPER", "large pages, EOPNOTSUPP"),
    refused(20, "MMUEXT_UNMARK_SUPER", "large pages, EOPNOTSUPP"),
];

/// Operations in a list at most, so that it is looked at for frequent ones: a context switch has two.
const FEW: u32 = 4;
const OP_BYTES: u64 = size_of::<MmuextOp>() as u64;

/// Entries that an LDT may have.
const LDT_ENTRIES: u32 = 8192;

/// `mmuext_op`: list of operations, their number, where to report how many were done, and the domain whose frames are
/// meant.
///
/// # Errors
/// That of the first operation that fails; those before it are done.
#[inline]
pub fn mmuext_op<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    let (count, own) = (args[1] as u32, DomId::new(args[3] as u16) == DomId::SELF);
    if !own || caller.state.unfinished_table.is_some() || !matches!(count, 1..=FEW) {
        return list(hv, caller, args);
    }
    if count > 1 {
        return few(hv, caller, args);
    }
    // What is read here counts only if it is one of the frequent operations; otherwise the list reads it anew.
    let Ok(op) = read_one::<MmuextOp, P>(hv, args[0]) else { return list(hv, caller, args) };
    let mut effects = Effects::NONE;
    let Some(result) = frequent(hv, caller, &op, &mut effects) else { return list(hv, caller, args) };
    if result.is_err() || caller.state.unfinished_table.is_some() {
        return stopped(hv, caller, args, result, (0, 1), effects);
    }
    report(hv, args, 1);
    Ok(Done::with(effects))
}

/// Tells the caller how many operations were done, if it wants to know.
#[inline(always)]
fn report<P: Platform>(hv: &Hypervisor<P>, args: &Args, count: u32) {
    if args[2] != 0 {
        // A guest that gives a bad address does not get to know.
        let _ = write_one(hv, args[2], &count);
    }
}

/// The operation `at` of `count` failed, or left a table to be finished.
#[cold]
fn stopped<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
    result: Result<(), Stop>,
    (at, count): (u64, u64),
    effects: Effects,
) -> Result<Done, Fail> {
    let mut progress = Progress { at, count, done_at: args[2], before: 0 };
    let mut result = result.map_err(Fail::from);
    if result.is_ok() {
        progress.at += 1;
        result = roots::finish_table(hv, caller.state);
    }
    if result.is_ok() && progress.at < count {
        return rest(hv, caller, args, progress, effects);
    }
    conclude(hv, args, progress, result, effects)
}

/// Up to [`FEW`] operations on frames of the caller's own, as long as they are frequent ones.
#[inline(never)]
fn few<P: Platform>(hv: &Hypervisor<P>, caller: &mut Caller<'_>, args: &mut Args) -> Result<Done, Fail> {
    let mut effects = Effects::NONE;
    let count = u64::from(args[1] as u32);
    for at in 0..count {
        let op = read_one::<MmuextOp, P>(hv, args[0].wrapping_add(at * OP_BYTES));
        let result = match &op {
            Ok(op) => frequent(hv, caller, op, &mut effects),
            Err(_) => None,
        };
        let Some(result) = result else {
            let progress = Progress { at, count, done_at: args[2], before: 0 };
            return if at == 0 { list(hv, caller, args) } else { rest(hv, caller, args, progress, effects) };
        };
        if result.is_err() || caller.state.unfinished_table.is_some() {
            return stopped(hv, caller, args, result, (at, count), effects);
        }
    }
    report(hv, args, count as u32);
    Ok(Done::with(effects))
}

/// The rest of a list of which the first operations were frequent ones, on frames of the caller's own.
#[inline(never)]
fn rest<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
    progress: Progress,
    effects: Effects,
) -> Result<Done, Fail> {
    let owner = caller.domain.id;
    go_through(hv, caller, args, progress, owner, effects)
}

/// One of the operations that kernels use all the time, on frames of the caller's own; `None` when it is another. Apart from
/// the others, because the registers and the stack that all of them need cost more than these operations do.
#[inline(always)]
fn frequent<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    op: &MmuextOp,
    effects: &mut Effects,
) -> Option<Result<(), Stop>> {
    Some(match op.cmd {
        MMUEXT_NEW_BASEPTR => new_base(hv, caller, op, effects),
        MMUEXT_NEW_USER_BASEPTR => new_user_base(hv, caller, op),
        MMUEXT_TLB_FLUSH_LOCAL => {
            flush_everything(hv, own_cpu(hv));
            Ok(())
        }
        MMUEXT_TLB_FLUSH_ALL => {
            flush_everything(hv, all_cpus(hv, caller.domain));
            Ok(())
        }
        MMUEXT_INVLPG_LOCAL => {
            flush_page(hv, address(op), own_cpu(hv));
            Ok(())
        }
        MMUEXT_INVLPG_ALL => {
            flush_page(hv, address(op), all_cpus(hv, caller.domain));
            Ok(())
        }
        _ => return None,
    })
}

#[inline(always)]
fn conclude<P: Platform>(
    hv: &Hypervisor<P>,
    args: &mut Args,
    progress: Progress,
    result: Result<(), Fail>,
    effects: Effects,
) -> Result<Done, Fail> {
    match progress.end(hv, args, size_of::<MmuextOp>(), result) {
        Ok(_) => Ok(Done::with(effects)),
        Err(Fail::Again) if effects != Effects::NONE => Err(Fail::AgainWith(effects)),
        Err(fail) => Err(fail),
    }
}

#[inline(never)]
fn list<P: Platform>(hv: &Hypervisor<P>, caller: &mut Caller<'_>, args: &mut Args) -> Result<Done, Fail> {
    roots::finish_table(hv, caller.state)?;
    if let Some(done) = continues_without_list(args) {
        return Ok(done);
    }
    let progress = Progress::new(hv, args);
    GuestHandle::<MmuextOp>::new(args[0], progress.count)?;
    let owner = checked_owner(hv, caller, args[3] as u16)?;
    go_through(hv, caller, args, progress, owner, Effects::NONE)
}

/// Carries out the operations from `progress` on.
#[inline(always)]
fn go_through<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
    mut progress: Progress,
    owner: DomId,
    mut effects: Effects,
) -> Result<Done, Fail> {
    let ops = GuestHandle::<MmuextOp>::new(args[0], progress.count)?;
    let mut result = Ok(());
    while progress.at < progress.count {
        if progress.at != 0 && hv.platform.interrupt_pending() {
            result = Err(Fail::Again);
            break;
        }
        result = match ops.read(hv, progress.at) {
            Ok(op) => one(hv, caller, &op, owner, &mut effects),
            Err(errno) => Err(errno.into()),
        };
        if result.is_err() {
            break;
        }
        progress.at += 1;
        result = roots::finish_table(hv, caller.state);
        if result.is_err() {
            break;
        }
    }
    conclude(hv, args, progress, result, effects)
}

#[inline(always)]
fn one<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    op: &MmuextOp,
    owner: DomId,
    effects: &mut Effects,
) -> Result<(), Fail> {
    let mfn = Mfn::new(op.as_mfn());
    let own = if owner == caller.domain.id { Ok(()) } else { Err(Fail::Errno(Errno::EPERM)) };
    match op.cmd {
        MMUEXT_NEW_BASEPTR => {
            own?;
            Ok(new_base(hv, caller, op, effects)?)
        }
        MMUEXT_NEW_USER_BASEPTR => {
            own?;
            Ok(new_user_base(hv, caller, op)?)
        }
        MMUEXT_PIN_L1_TABLE => pin(hv, caller, mfn, owner, Kind::L1),
        MMUEXT_PIN_L2_TABLE => pin(hv, caller, mfn, owner, Kind::L2),
        MMUEXT_PIN_L3_TABLE => pin(hv, caller, mfn, owner, Kind::L3),
        MMUEXT_PIN_L4_TABLE => pin(hv, caller, mfn, owner, Kind::L4),
        MMUEXT_UNPIN_TABLE => {
            if let Some(left) = roots::unpin(hv, owner, mfn)? {
                caller.state.unfinished_table = Some(left);
            }
            Ok(())
        }
        MMUEXT_TLB_FLUSH_LOCAL => own.map(|()| flush_everything(hv, own_cpu(hv))),
        MMUEXT_TLB_FLUSH_ALL => own.map(|()| flush_everything(hv, all_cpus(hv, caller.domain))),
        MMUEXT_INVLPG_LOCAL => own.map(|()| flush_page(hv, address(op), own_cpu(hv))),
        MMUEXT_INVLPG_ALL => own.map(|()| flush_page(hv, address(op), all_cpus(hv, caller.domain))),
        MMUEXT_TLB_FLUSH_MULTI | MMUEXT_INVLPG_MULTI => {
            own?;
            let cpus = cpus_of(hv, caller.domain, op.as_vcpumask().addr()).map_err(|_| Errno::EINVAL)?;
            if op.cmd == MMUEXT_TLB_FLUSH_MULTI {
                flush_everything(hv, cpus);
            } else {
                flush_page(hv, address(op), cpus);
            }
            Ok(())
        }
        MMUEXT_FLUSH_CACHE => own.and_then(|()| flush_cache(hv, caller, Errno::EACCES)),
        MMUEXT_FLUSH_CACHE_GLOBAL => own.and_then(|()| flush_cache(hv, caller, Errno::EINVAL)),
        MMUEXT_SET_LDT => own.and_then(|()| set_ldt(hv, caller, op, effects)),
        MMUEXT_CLEAR_PAGE => pages::with_writable(hv, owner, mfn, || hv.platform.clear(mfn)),
        MMUEXT_COPY_PAGE => copy_page(hv, owner, mfn, Mfn::new(op.as_src_mfn())),
        MMUEXT_MARK_SUPER | MMUEXT_UNMARK_SUPER => Err(Errno::EOPNOTSUPP.into()),
        other => {
            log::debug!("{owner}: mmuext_op with command {other}");
            Err(Errno::ENOSYS.into())
        }
    }
}

/// The kernel's root becomes another; its LDT, found through the former tables, is to be looked up anew.
#[inline(always)]
fn new_base<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    op: &MmuextOp,
    effects: &mut Effects,
) -> Result<(), Stop> {
    let (owner, mfn) = (caller.domain.id, Mfn::new(op.as_mfn()));
    let switched = roots::switch_root::<P, true>(hv, owner, caller.state, mfn);
    if switched == Ok(true) && crate::mm::drop_ldt(hv, caller.state) {
        *effects = effects.and(Effects::todo(Todo::LOAD_DESCRIPTORS));
    }
    switched.map(drop).inspect_err(|stop| log_root(owner, mfn, stop))
}

/// The user mode's root becomes another; frame 0 is none.
#[inline(always)]
fn new_user_base<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    op: &MmuextOp,
) -> Result<(), Stop> {
    let (owner, mfn) = (caller.domain.id, Mfn::new(op.as_mfn()));
    let root = match mfn {
        Mfn::INVALID => return Err(Stop::Errno(Errno::EINVAL)),
        mfn if mfn.raw() == 0 => Mfn::INVALID,
        mfn => mfn,
    };
    let switched = roots::switch_root::<P, false>(hv, owner, caller.state, root);
    switched.map(drop).inspect_err(|stop| log_root(owner, mfn, stop))
}

fn address(op: &MmuextOp) -> GuestVirt {
    GuestVirt::new(op.as_linear_addr())
}

#[cold]
fn log_root(owner: DomId, mfn: Mfn, stop: &Stop) {
    if let Stop::Errno(errno) = stop {
        log::debug!("{owner}: {mfn} cannot be a base pointer: {errno:?}");
    }
}

fn pin<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    mfn: Mfn,
    owner: DomId,
    kind: Kind,
) -> Result<(), Fail> {
    types::pin(hv, mfn, owner, kind).map_err(|stop| {
        log::debug!("{owner}: pin of {mfn} as {kind:?}: {stop:?}");
        Fail::from(stop)
    })?;
    // The end of a domain looks for pins once.
    let ends = owner != caller.domain.id && hv.domains.get(owner).is_none_or(|domain| domain.is_dying());
    if ends && let Some(left) = roots::unpin(hv, owner, mfn).ok().flatten() {
        caller.state.unfinished_table = Some(left);
    }
    Ok(())
}

/// Only domains with hardware may slow the whole machine down.
fn flush_cache<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, otherwise: Errno) -> Result<(), Fail> {
    if !caller.domain.privileged {
        return Err(otherwise.into());
    }
    hv.platform.flush_cache();
    Ok(())
}

fn set_ldt<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    op: &MmuextOp,
    effects: &mut Effects,
) -> Result<(), Fail> {
    let entries = op.as_nr_ents();
    let base = if entries == 0 { 0 } else { op.as_linear_addr() };
    // Where it ends is looked at when a selector is used: each page is found through the guest's own tables.
    let fits = entries <= LDT_ENTRIES && base % PAGE_SIZE as u64 == 0 && range_ok(base, 1);
    if !fits {
        log::debug!("{}: LDT of {entries} entries at {base:#x}", caller.domain.id);
        return Err(Errno::EINVAL.into());
    }
    if (caller.state.ldt_base, caller.state.ldt_entries) != (base, entries) {
        crate::mm::drop_ldt(hv, caller.state);
        caller.state.ldt_base = base;
        caller.state.ldt_entries = entries;
        *effects = effects.and(Effects::todo(Todo::LOAD_DESCRIPTORS));
    }
    Ok(())
}

fn copy_page<P: Platform>(hv: &Hypervisor<P>, owner: DomId, to: Mfn, from: Mfn) -> Result<(), Fail> {
    if !hv.frames.get_page(from, owner) {
        log::debug!("{owner}: copy from {from}, which is not its own");
        return Err(Errno::EINVAL.into());
    }
    let result = pages::with_writable(hv, owner, to, || hv.platform.copy_frame(to, from));
    frame::put_page(hv, from);
    result
}
