//! Kinds of frames, and typed references.
//!
//! # States of the word `kind`
//! * **idle**: a kind, no typed reference, a stamp of when the last one went. The kind is history; it may change.
//! * **held**: a kind and at least one typed reference. The frame *is* that kind: its contents were checked and stay checked.
//! * **busy**: one CPU waits for a flush, checks the contents or takes them apart. Whoever else wants something comes again
//!   later; nobody spins, so that a CPU in its hypervisor can always be interrupted for a flush. The word names the CPU: one that
//!   meets its own work has followed a table's entry back to the table, and refuses.
//! * **partial**: that work was interrupted. The entries below the recorded progress hold references. Nobody owns
//!   a partial frame: whoever wants the same kind continues the check, whoever wants another one takes it apart first, and
//!   so does the end of the domain. A guest that forges a continuation therefore gains nothing and leaves nothing behind.
//!
//! Held, busy and partial frames have one general reference for the state as such, so that a typed reference alone keeps a frame
//! alive, and a mapping that is one of many costs one atomic step.
//!
//! Taking a typed reference of a held frame is: look at the owner, add one, look at the owner again. A frame that is held cannot
//! change its owner, so the second look is final.

use core::sync::atomic::Ordering;

use super::flush::flush_stale;
use super::info::{FrameInfo, Kind, State, kind, refs};
use super::table::put_page;
use super::validate;
use crate::addr::{DomId, Mfn, PAGE_WORDS};
use crate::fail::{Errno, Fail};
use crate::hypervisor::Hypervisor;
use crate::platform::Platform;

/// Why a typed reference was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Interrupted, or somebody else is at work on the frame: ask again later.
    Again,
    /// Refused.
    Errno(Errno),
}

impl From<Stop> for Fail {
    fn from(stop: Stop) -> Fail {
        match stop {
            Stop::Again => Fail::Again,
            Stop::Errno(errno) => Fail::Errno(errno),
        }
    }
}

/// The reference was dropped, but the frame's contents are not taken apart yet: [`finish`] it before
/// the guest may rely on its tables being ordinary memory again.
#[must_use = "the frame must be finished"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished(pub Mfn);

/// Takes a typed reference: the frame is `domain`'s (or lent to it) and is or becomes of kind `want`.
///
/// # Errors
/// `EINVAL` when it is not the domain's, has another kind with references, or its contents break the rules of the kind
/// (then whatever errno the entry deserves).
#[inline]
pub fn get_page_type<P: Platform>(
    hv: &Hypervisor<P>,
    mfn: Mfn,
    domain: DomId,
    want: Kind,
) -> Result<(), Stop> {
    if get_held(hv, mfn, domain, want) { Ok(()) } else { acquire(hv, mfn, domain, want) }
}

/// Takes a typed reference only if the frame is of that kind already.
#[inline(always)]
pub fn get_held<P: Platform>(hv: &Hypervisor<P>, mfn: Mfn, domain: DomId, want: Kind) -> bool {
    let Some(info) = hv.frames.info(mfn) else { return false };
    if !refs::is_of(info.refs.load(Ordering::Relaxed), domain) {
        return false;
    }
    let mut word = info.kind.load(Ordering::Relaxed);
    while kind::is_held(word, want) {
        match info.kind.compare_exchange_weak(word, word + 1, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) if refs::is_of(info.refs.load(Ordering::Acquire), domain) => return true,
            Ok(_) => return undo(hv, mfn),
            Err(now) => word = now,
        }
    }
    false
}

/// Takes a typed reference for a writable mapping where that is simple: the frame is mapped writable already, or by nobody, and
/// was nothing else before. `false`: see [`get_page_type`].
#[inline(always)]
pub(super) fn get_writable<P: Platform>(
    hv: &Hypervisor<P>,
    info: &FrameInfo,
    mfn: Mfn,
    domain: DomId,
) -> bool {
    let general = info.refs.load(Ordering::Relaxed);
    if !refs::is_of(general, domain) {
        return false;
    }
    let word = info.kind.load(Ordering::Relaxed);
    if kind::is_held(word, Kind::Writable) {
        // The frame may have changed hands before this; if so, the slow way sorts it out.
        return exchange(info, word, word + 1)
            && (refs::is_of(info.refs.load(Ordering::Acquire), domain) || undo(hv, mfn));
    }
    if !kind::may_become_writable(word) {
        return false;
    }
    // The general reference first: it is what the state holds afterwards.
    let took = info.refs.compare_exchange(general, general + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    if took && !exchange(info, word, kind::of(Kind::Writable) | 1) {
        put_page(hv, mfn);
        return false;
    }
    took
}

/// Gives a typed reference back that was not to be had.
#[cold]
fn undo<P: Platform>(hv: &Hypervisor<P>, mfn: Mfn) -> bool {
    put_page_type(hv, mfn);
    false
}

/// Drops a typed reference of a writable mapping.
#[inline(always)]
pub(super) fn put_writable<P: Platform>(hv: &Hypervisor<P>, info: &FrameInfo, mfn: Mfn) {
    let word = info.kind.load(Ordering::Relaxed);
    if kind::is_sole(word, Kind::Writable) {
        if exchange(info, word, kind::idle(Kind::Writable, hv.frames.flushes.stamp())) {
            put_page(hv, mfn);
            return;
        }
    } else if kind::is_held(word, Kind::Writable) && exchange(info, word, word - 1) {
        return;
    }
    put_page_type(hv, mfn);
}

#[inline(never)]
fn acquire<P: Platform>(hv: &Hypervisor<P>, mfn: Mfn, domain: DomId, want: Kind) -> Result<(), Stop> {
    let refuse = Err(Stop::Errno(Errno::EINVAL));
    if !hv.frames.get_page(mfn, domain) {
        return refuse;
    }
    let Some(info) = hv.frames.info(mfn) else { return refuse };
    // From here on there is a general reference of ours, which becomes the state's or is dropped.
    loop {
        let word = info.kind.load(Ordering::Acquire);
        let outcome = if kind::is_busy_by(word, hv.platform.cpu()) {
            log::debug!("{mfn} of {domain} wanted as {want:?} by a table below it");
            refuse
        } else if word & kind::BUSY != 0 {
            Err(Stop::Again)
        } else if word & kind::PARTIAL != 0 {
            match acquire_partial(hv, info, mfn, domain, word, want) {
                Some(outcome) => outcome,
                None => continue,
            }
        } else if kind::count(word) != 0 {
            if kind::is_held(word, want) {
                if exchange(info, word, word + 1) { Ok(()) } else { continue }
            } else {
                log::debug!(
                    "{mfn} of {domain} wanted as {want:?}, is {:?} with {} references",
                    kind::kind(word),
                    kind::count(word)
                );
                refuse
            }
        } else {
            match acquire_idle(hv, info, mfn, domain, word, want) {
                // Our reference has become the state's, or is gone.
                Some(outcome) => return outcome,
                None => continue,
            }
        };
        put_page(hv, mfn);
        return outcome;
    }
}

#[inline(always)]
fn exchange(info: &FrameInfo, from: u64, to: u64) -> bool {
    info.kind.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

/// Takes an idle frame into `want`. Consumes the caller's general reference; `None`: the word changed, nothing was done.
fn acquire_idle<P: Platform>(
    hv: &Hypervisor<P>,
    info: &FrameInfo,
    mfn: Mfn,
    domain: DomId,
    word: u64,
    want: Kind,
) -> Option<Result<(), Stop>> {
    let (was, stamp) = (kind::kind(word), kind::stamp(word));
    let flush = was != Kind::None && was != want && hv.frames.flushes.stale(stamp, hv.platform.cpus()) != 0;
    if !flush && !want.has_rules() {
        return exchange(info, word, kind::of(want) | 1).then_some(Ok(()));
    }
    if !exchange(info, word, kind::busy(want, hv.platform.cpu())) {
        return None;
    }
    if flush {
        flush_stale(hv, stamp);
    }
    Some(check(hv, info, mfn, domain, want, 0))
}

/// Deals with a partial frame. `None`: look at the word again.
fn acquire_partial<P: Platform>(
    hv: &Hypervisor<P>,
    info: &FrameInfo,
    mfn: Mfn,
    domain: DomId,
    word: u64,
    want: Kind,
) -> Option<Result<(), Stop>> {
    let is = kind::kind(word);
    if !exchange(info, word, kind::busy(is, hv.platform.cpu())) {
        return None;
    }
    if is == want && word & kind::UNDO == 0 {
        return Some(check(hv, info, mfn, domain, want, kind::progress(word)));
    }
    let code = i32::from(kind::failed(word));
    let failed = Errno::ALL.iter().copied().find(|errno| is == want && *errno as i32 == code);
    match resume_undo(hv, info, mfn, word) {
        Err(Unfinished(_)) => Some(Err(Stop::Again)),
        Ok(()) => failed.map(|errno| Err(Stop::Errno(errno))),
    }
}

/// Checks the contents of a busy frame from entry `from` on, and ends the busy state one way or the other.
fn check<P: Platform>(
    hv: &Hypervisor<P>,
    info: &FrameInfo,
    mfn: Mfn,
    domain: DomId,
    want: Kind,
    from: usize,
) -> Result<(), Stop> {
    let (at, stop) = match validate::check(hv, mfn, domain, want, from) {
        Ok(()) => {
            info.kind.store(kind::of(want) | 1, Ordering::Release);
            return Ok(());
        }
        Err(stopped) => stopped,
    };
    let Stop::Errno(errno) = stop else {
        info.kind.store(kind::partial(want, at, false, 0), Ordering::Release);
        return Err(Stop::Again);
    };
    log::debug!("{mfn} of {domain} is no {want:?}: entry {at} refused with {errno:?}");
    match validate::take_apart(hv, mfn, want, at) {
        Ok(()) => {
            become_idle(hv, info, mfn, want);
            Err(stop)
        }
        Err(at) => {
            info.kind.store(kind::partial(want, at, true, errno as u8), Ordering::Release);
            Err(Stop::Again)
        }
    }
}

/// Ends the busy state without typed references, and drops the state's general reference.
fn become_idle<P: Platform>(hv: &Hypervisor<P>, info: &FrameInfo, mfn: Mfn, was: Kind) {
    info.kind.store(kind::idle(was, hv.frames.flushes.stamp()), Ordering::Release);
    put_page(hv, mfn);
}

/// Takes apart what is left of a frame that was partial and is busy now.
fn resume_undo<P: Platform>(
    hv: &Hypervisor<P>,
    info: &FrameInfo,
    mfn: Mfn,
    word: u64,
) -> Result<(), Unfinished> {
    let (is, at) = (kind::kind(word), kind::progress(word));
    let rest = match help_child(hv, mfn, is, at) {
        Ok(()) => validate::take_apart(hv, mfn, is, at),
        Err(Unfinished(_)) => Err(at),
    };
    match rest {
        Ok(()) => {
            become_idle(hv, info, mfn, is);
            Ok(())
        }
        Err(at) => {
            let again = kind::partial(is, at, word & kind::UNDO != 0, kind::failed(word));
            info.kind.store(again, Ordering::Release);
            Err(Unfinished(mfn))
        }
    }
}

/// The table below that the interruption left partial hangs at the entry just above the progress.
fn help_child<P: Platform>(hv: &Hypervisor<P>, mfn: Mfn, is: Kind, at: usize) -> Result<(), Unfinished> {
    if at >= PAGE_WORDS || is.level() < 2 {
        return Ok(());
    }
    let entry = hv.platform.load(mfn, at);
    let child = super::pte::mfn(entry);
    let Some(info) = hv.frames.info(child) else { return Ok(()) };
    let word = info.kind.load(Ordering::Acquire);
    let ours = refs::owner(hv.frames.refs(child)) == refs::owner(hv.frames.refs(mfn));
    let below = kind::kind(word).level() + 1 == is.level() && word & (kind::PARTIAL | kind::BUSY) != 0;
    if entry & super::pte::PRESENT != 0 && ours && below { finish(hv, child) } else { Ok(()) }
}

/// Takes apart what is left of a partial frame; nothing to do if it is not partial.
///
/// # Errors
/// [`Unfinished`] when it was interrupted again, or another CPU is at it: call again later.
pub fn finish<P: Platform>(hv: &Hypervisor<P>, mfn: Mfn) -> Result<(), Unfinished> {
    let Some(info) = hv.frames.info(mfn) else { return Ok(()) };
    if State::of(info.refs.load(Ordering::Acquire)) != State::Owned {
        return Ok(());
    }
    loop {
        let word = info.kind.load(Ordering::Acquire);
        if word & kind::BUSY != 0 {
            return Err(Unfinished(mfn));
        }
        if word & kind::PARTIAL == 0 {
            return Ok(());
        }
        if exchange(info, word, kind::busy(kind::kind(word), hv.platform.cpu())) {
            return resume_undo(hv, info, mfn, word);
        }
    }
}

/// Drops a typed reference. When it was the last of a page table, the table's own references are dropped, and theirs …,
/// as far as no interrupt waits.
///
/// # Errors
/// [`Unfinished`]: the reference *was* dropped, but some of this is left to do.
///
/// # Panics
/// When there was no reference.
#[inline]
pub fn put_page_type_preemptible<P: Platform>(hv: &Hypervisor<P>, mfn: Mfn) -> Result<(), Unfinished> {
    let Some(info) = hv.frames.info(mfn) else { return Ok(()) };
    let mut word = info.kind.load(Ordering::Relaxed);
    while kind::count(word) > 1 {
        match info.kind.compare_exchange_weak(word, word - 1, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => return Ok(()),
            Err(now) => word = now,
        }
    }
    put_last(hv, info, mfn)
}

#[inline(never)]
fn put_last<P: Platform>(hv: &Hypervisor<P>, info: &FrameInfo, mfn: Mfn) -> Result<(), Unfinished> {
    loop {
        let word = info.kind.load(Ordering::Acquire);
        let is = kind::kind(word);
        match kind::count(word) {
            0 => panic!("{mfn}: typed reference dropped that was not there ({word:#x})"),
            1 if is.level() == 0 => {
                if exchange(info, word, kind::idle(is, hv.frames.flushes.stamp())) {
                    put_page(hv, mfn);
                    return Ok(());
                }
            }
            1 => {
                if exchange(info, word, kind::busy(is, hv.platform.cpu())) {
                    return resume_undo(hv, info, mfn, kind::partial(is, PAGE_WORDS, false, 0));
                }
            }
            _ => {
                if exchange(info, word, word - 1) {
                    return Ok(());
                }
            }
        }
    }
}

/// How often work that must not be interrupted is taken up again. Each turn does at least one entry, so this is enough for any
/// tree that fits into a machine; but another CPU at work on the same frames may be waiting for this one to flush, so it ends.
pub const PATIENCE: u32 = 1 << 18;

/// As [`put_page_type_preemptible`], to the end. For kinds that are not page tables that is at once. A table on which another
/// CPU works all the time may stay partial: harmless, whoever uses it next deals with it.
#[inline]
pub fn put_page_type<P: Platform>(hv: &Hypervisor<P>, mfn: Mfn) {
    if put_page_type_preemptible(hv, mfn).is_err() {
        let _ = (0..PATIENCE).find(|_| finish(hv, mfn).is_ok());
    }
}

/// Makes one typed reference of a held table the guest's pin.
///
/// # Errors
/// `EINVAL` when the frame is not the domain's, is no table of that kind, or is pinned already; [`Stop::Again`].
pub fn pin<P: Platform>(hv: &Hypervisor<P>, mfn: Mfn, domain: DomId, want: Kind) -> Result<(), Stop> {
    get_page_type(hv, mfn, domain, want)?;
    let Some(info) = hv.frames.info(mfn) else { return Err(Stop::Errno(Errno::EINVAL)) };
    if info.kind.fetch_or(kind::PINNED, Ordering::AcqRel) & kind::PINNED == 0 {
        return Ok(());
    }
    log::debug!("{mfn} of {domain} is pinned already");
    match put_page_type_preemptible(hv, mfn) {
        Ok(()) => Err(Stop::Errno(Errno::EINVAL)),
        // Another CPU took the pin off meanwhile, and taking the table apart was interrupted: the next attempt pins it.
        Err(Unfinished(_)) => Err(Stop::Again),
    }
}

/// Takes the pin off, and says whether there was one. Its typed reference is the caller's then, to be put. The caller
/// holds a reference to the frame.
pub fn take_pin<P: Platform>(hv: &Hypervisor<P>, mfn: Mfn) -> bool {
    hv.frames
        .info(mfn)
        .is_some_and(|info| info.kind.fetch_and(!kind::PINNED, Ordering::AcqRel) & kind::PINNED != 0)
}
