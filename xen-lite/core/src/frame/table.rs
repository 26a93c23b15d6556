//! The table of all frames: who owns each, and general references to it.
//!
//! # States
//! `Xen` → `Free` ([`FrameTable::add_free`]) → `Xen` ([`alloc`] for the hypervisor) or `Owned` ([`alloc`] for a domain) → `Free`
//! again when the last reference goes. A frame of the hypervisor becomes `Shared` when it is lent ([`FrameTable::share_with_guest`]),
//! and `Owned` when it is given away for good ([`FrameTable::assign`]).
//!
//! # References
//! While a frame is `Owned` or `Shared`, everything that could reach it holds a general reference: each read-only mapping,
//! each user inside the hypervisor, the owner as such (`ALLOCATED`; dropped by [`drop_allocation`]), and the
//! typed references *together* one (see [`super::types`]). A domain gives its frames up by dropping `ALLOCATED`; the frame goes back to the heap
//! when the last mapping is gone, and it counts against the domain's account until then.
//!
//! # Locks
//! Only the heap has one. References are counted with single atomic steps; the owner is in the same word as the count, so that
//! "belongs to this domain and is alive" and "one more" are one step.

use crate::sync::atomic::{AtomicU64, Ordering};
use core::ops::Range;

use crate::sync::Mutex;
use spin::RwLock;

use super::flush::{FlushClock, flush_stale};
use super::heap::{Heap, MAX_FRAMES, MAX_ORDER};
use super::info::{FrameInfo, Kind, State, kind, refs};
use crate::addr::{DomId, Mfn};
use crate::domain::Domain;
use crate::fail::Errno;
use crate::hypervisor::Hypervisor;
use crate::platform::Platform;

/// Numbers that domains may have.
const NUMBERS: usize = 1 << 15;

/// In whose hands a frame is, for those who only ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// On the heap.
    None,
    /// The hypervisor's own.
    Xen,
    /// A domain's.
    Domain(DomId),
    /// The hypervisor's, lent to a domain ([`DomId::XEN`]: to all privileged ones).
    Lent(DomId),
    /// Memory-mapped I/O or a hole; also everything above the table.
    Io,
}

/// How a frame is lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// May be mapped writable.
    Writable,
    /// Read-only mappings alone.
    ReadOnly,
}

/// Owners, counts, kinds of all frames, and the heap.
#[derive(Debug)]
pub struct FrameTable {
    info: &'static [FrameInfo],
    heap: Mutex<Heap>,
    /// When each CPU last flushed; the image reports its own complete flushes here (optional).
    pub flushes: FlushClock,
    denied_io: RwLock<alloc::vec::Vec<Range<u64>>>,
    /// The lowest frame that was ever lent to [`DomId::XEN`]: where the machine-to-physical table begins.
    first_lent: AtomicU64,
    /// Numbers that a domain had that is gone, one bit each: what it gave back is not the next one's to read.
    used_numbers: [AtomicU64; NUMBERS / 64],
    /// Allocations until one fails, for tests; 0 is never.
    #[cfg(any(test, feature = "test-util"))]
    fails_in: crate::sync::atomic::AtomicU64,
}

impl Default for FrameTable {
    fn default() -> Self {
        FrameTable::new(&[])
    }
}

impl FrameTable {
    /// A table over this memory, which is zero: all frames are the hypervisor's. `info[n]` is about frame *n*.
    pub const fn new(info: &'static [FrameInfo]) -> FrameTable {
        FrameTable {
            info,
            heap: Mutex::new(Heap::new()),
            flushes: FlushClock::new(),
            denied_io: RwLock::new(alloc::vec::Vec::new()),
            first_lent: AtomicU64::new(u64::MAX),
            used_numbers: [const { AtomicU64::new(0) }; NUMBERS / 64],
            #[cfg(any(test, feature = "test-util"))]
            fails_in: crate::sync::atomic::AtomicU64::new(0),
        }
    }

    /// Lets the `n`th allocation from now on fail (1 is the next one); 0 lets none fail. Returns what was left of the count before:
    /// 0 when the failure has happened.
    #[cfg(any(test, feature = "test-util"))]
    pub fn fail_allocation(&self, n: u64) -> u64 {
        self.fails_in.swap(n, Ordering::Relaxed)
    }

    /// Counts an allocation down. Whether it is the one that is to fail.
    #[cfg(any(test, feature = "test-util"))]
    fn fails_now(&self) -> bool {
        let count = |left: u64| left.checked_sub(1);
        self.fails_in.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count) == Ok(1)
    }

    #[cfg(not(any(test, feature = "test-util")))]
    #[inline(always)]
    fn fails_now(&self) -> bool {
        false
    }

    /// Number of frames that the table knows; those above are I/O.
    pub fn len(&self) -> u64 {
        self.info.len() as u64
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.info.is_empty()
    }

    #[inline(always)]
    pub(super) fn info(&self, mfn: Mfn) -> Option<&'static FrameInfo> {
        crate::speculation::get(self.info, mfn.index())
    }

    #[inline(always)]
    pub(super) fn refs(&self, mfn: Mfn) -> u64 {
        self.info(mfn).map_or(refs::word(State::Io, DomId::IO), |info| info.refs.load(Ordering::Acquire))
    }

    /// Gives frames of the hypervisor to the heap, at boot. Frames that are not the hypervisor's, or too high, are left alone.
    ///
    /// What they contain is what was there before the hypervisor started: dirty for all but the first domain, which is trusted
    /// with the machine and need not wait until all its memory is cleared.
    pub fn add_free(&self, frames: Range<Mfn>) {
        let end = frames.end.raw().min(self.len()).min(MAX_FRAMES) as usize;
        let mut heap = self.heap.lock();
        let mut start = frames.start.index();
        while start < end {
            let mut next = start;
            while next < end && self.mark_free(next) {
                next += 1;
            }
            while start < next {
                let aligned = if start == 0 { 0 } else { start.trailing_zeros() };
                let order = aligned.min((next - start).ilog2()).min(MAX_ORDER);
                heap.give(self.info, start, order);
                start += 1 << order;
            }
            start += 1;
        }
    }

    /// Marks a frame free that was the hypervisor's; `false` when it was not.
    fn mark_free(&self, frame: usize) -> bool {
        let info = &self.info[frame];
        if info.refs.load(Ordering::Relaxed) != 0 {
            return false;
        }
        info.refs.store(refs::word(State::Free, DomId::DOM0) | refs::DIRTY, Ordering::Relaxed);
        info.kind.store(kind::BUSY, Ordering::Relaxed);
        true
    }

    /// Declares frames of the hypervisor to be I/O or a hole, which privileged domains may map.
    pub fn mark_io(&self, frames: Range<Mfn>) {
        for mfn in frames.start.raw()..frames.end.raw().min(self.len()) {
            let _ = self.info[mfn as usize].refs.compare_exchange(
                0,
                refs::word(State::Io, DomId::IO),
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
        }
    }

    /// Keeps I/O frames (the interrupt controllers') to the hypervisor, wherever they lie. At boot.
    pub fn deny_io(&self, frames: Range<Mfn>) {
        self.denied_io.write().push(frames.start.raw()..frames.end.raw());
    }

    /// Whether a privileged domain may map this I/O frame, on a machine with `address_bits` address bits.
    pub fn io_permitted(&self, mfn: Mfn, address_bits: u32) -> bool {
        let exists = mfn.raw() >> address_bits.saturating_sub(crate::addr::PAGE_SHIFT).min(52) == 0;
        exists && !self.denied_io.read().iter().any(|range| range.contains(&mfn.raw()))
    }

    /// The domain of this number is gone. Frames that it gave back while it lived are cleared before a later domain of the same number
    /// gets them.
    pub fn retire(&self, domain: DomId) {
        if let Some(bits) = self.used_numbers.get(usize::from(domain.raw()) / 64) {
            bits.fetch_or(1 << (domain.raw() % 64), Ordering::Relaxed);
        }
    }

    /// Whether what a free frame of `last` contains may be shown to `owner`: it is the same domain, not merely the same number.
    fn may_see(&self, owner: DomId, last: DomId) -> bool {
        let bits = self.used_numbers.get(usize::from(owner.raw()) / 64);
        let retired = bits.is_none_or(|bits| bits.load(Ordering::Relaxed) >> (owner.raw() % 64) & 1 == 1);
        owner == last && !retired
    }

    /// Number of free frames.
    pub fn free_frames(&self) -> u64 {
        self.heap.lock().free_frames()
    }

    /// Number of free frames set aside by claims.
    pub fn claimed_frames(&self) -> u64 {
        self.heap.lock().claimed()
    }

    /// Sets aside free frames for a domain that is being built; 0 gives up what is left of its claim.
    pub fn claim(&self, domain: DomId, frames: u64) -> bool {
        self.heap.lock().claim(domain, frames)
    }

    /// In whose hands a frame is now.
    pub fn owner(&self, mfn: Mfn) -> Owner {
        let word = self.refs(mfn);
        match State::of(word) {
            State::Xen => Owner::Xen,
            State::Free => Owner::None,
            State::Owned => Owner::Domain(refs::owner(word)),
            State::Shared => Owner::Lent(refs::owner(word)),
            State::Io => Owner::Io,
        }
    }

    /// Takes a general reference if the frame is in use and this domain's, or lent to it.
    #[inline]
    pub fn get_page(&self, mfn: Mfn, domain: DomId) -> bool {
        self.info(mfn).is_some_and(|info| get_page_of(info, domain))
    }

    /// The kind of a frame with typed references; [`Kind::None`] without. It may change at once.
    #[inline(always)]
    pub fn kind_now(&self, mfn: Mfn) -> Kind {
        let Some(info) = self.info(mfn) else { return Kind::None };
        let word = info.kind.load(Ordering::Relaxed);
        if kind::count(word) == 0 { Kind::None } else { kind::kind(word) }
    }

    /// Whether the frame's kind is this one, with references. Of use only to who holds a reference.
    pub fn is_kind(&self, mfn: Mfn, want: Kind) -> bool {
        self.info(mfn).is_some_and(|info| kind::is_held(info.kind.load(Ordering::Acquire), want))
    }

    /// Whether the frame is pinned as the page table that it is.
    pub fn is_pinned(&self, mfn: Mfn) -> bool {
        self.info(mfn).is_some_and(|info| info.kind.load(Ordering::Acquire) & kind::PINNED != 0)
    }

    /// Kind, number of typed references and of general ones: for messages and dumps.
    pub fn describe(&self, mfn: Mfn) -> (Owner, Kind, u32, u32) {
        let Some(info) = self.info(mfn) else { return (Owner::Io, Kind::None, 0, 0) };
        let word = info.kind.load(Ordering::Relaxed);
        let count = refs::count(info.refs.load(Ordering::Relaxed));
        (self.owner(mfn), kind::kind(word), kind::count(word), count)
    }

    /// Lends a cleared frame of the hypervisor to a domain, which may then map it ([`DomId::XEN`]: privileged domains may,
    /// naming `DOMID_XEN`). Ends with [`unshare`].
    ///
    /// # Errors
    /// `EBUSY` when the frame is not the hypervisor's, or lent already.
    pub fn share_with_guest(&self, mfn: Mfn, domain: DomId, access: Access) -> Result<(), Errno> {
        let info = self.info(mfn).ok_or(Errno::EINVAL)?;
        let lent = refs::word(State::Shared, domain) | refs::ALLOCATED;
        // Two references: the loan, and the one that the typed reference holds.
        let kind = if access == Access::Writable { Kind::Writable } else { Kind::Shared };
        info.refs.compare_exchange(0, lent, Ordering::AcqRel, Ordering::Relaxed).map_err(|_| Errno::EBUSY)?;
        info.kind.store(kind::of(kind) | 1, Ordering::Release);
        info.refs.store(lent | 2, Ordering::Release);
        if domain == DomId::XEN {
            self.first_lent.fetch_min(mfn.raw(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// The lowest frame that is lent to all privileged domains, if any is.
    pub fn first_lent(&self) -> Option<Mfn> {
        let mfn = Mfn::new(self.first_lent.load(Ordering::Relaxed));
        (self.owner(mfn) == Owner::Lent(DomId::XEN)).then_some(mfn)
    }

    /// Gives a frame of the hypervisor to a domain for good. The account is the caller's business.
    ///
    /// # Errors
    /// `EBUSY` when the frame is not the hypervisor's, or lent.
    pub fn assign(&self, domain: DomId, mfn: Mfn) -> Result<(), Errno> {
        let info = self.info(mfn).ok_or(Errno::EINVAL)?;
        let owned = refs::word(State::Owned, domain) | refs::ALLOCATED | 1;
        match info.refs.compare_exchange(0, owned, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            Err(_) => Err(Errno::EBUSY),
        }
    }

    /// Takes a frame from a domain, back to the hypervisor, if nothing refers to it but its owner as such. Who changes the owner
    /// next flushes stale mappings ([`super::settle`]). The account is the caller's business.
    pub fn steal(&self, mfn: Mfn, domain: DomId) -> bool {
        let Some(info) = self.info(mfn) else { return false };
        let sole = refs::word(State::Owned, domain) | refs::ALLOCATED | 1;
        info.refs.compare_exchange(sole, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Marks frames free and hands them to the heap. `from` is the word that they must have had; they are the caller's alone.
    fn give_back(&self, mfn: Mfn, order: u32, owner: DomId, dirty: bool) {
        let stamp = u64::from(self.flushes.stamp());
        let word = refs::word(State::Free, owner) | stamp | if dirty { refs::DIRTY } else { 0 };
        for info in &self.info[mfn.index()..mfn.index() + (1 << order)] {
            info.kind.store(kind::BUSY, Ordering::Relaxed);
            info.refs.store(word, Ordering::Release);
        }
        self.heap.lock().give(self.info, mfn.index(), order);
    }

    /// What is wrong with the heap, if anything. Stops allocation meanwhile.
    pub(super) fn check_heap(&self) -> Result<u64, &'static str> {
        self.heap.lock().check(self.info)
    }
}

/// [`FrameTable::get_page`] for a frame that is known.
#[inline(always)]
pub(super) fn get_page_of(info: &FrameInfo, domain: DomId) -> bool {
    let mut word = info.refs.load(Ordering::Relaxed);
    while refs::is_of(word, domain) {
        match info.refs.compare_exchange_weak(word, word + 1, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => return true,
            Err(now) => word = now,
        }
    }
    false
}

/// Allocates 2^`order` adjacent frames (aligned to their size). For a domain they come with one reference each, the allocation;
/// for [`DomId::XEN`] they are the hypervisor's, to be returned with [`free`]. Contents are zero unless the same domain had
/// them last (Dom0: or nobody since boot). The limits of the domain's account are the caller's business ([`alloc_for`] sees to them).
pub fn alloc<P: Platform>(hv: &Hypervisor<P>, order: u32, owner: DomId) -> Option<Mfn> {
    alloc_below(hv, order, owner, u64::MAX)
}

/// As [`alloc`], all frames below the frame number `limit`, a power of two (else only what is below the next lower one).
pub fn alloc_below<P: Platform>(hv: &Hypervisor<P>, order: u32, owner: DomId, limit: u64) -> Option<Mfn> {
    let table = &hv.frames;
    if table.fails_now() {
        return None;
    }
    let first = table.heap.lock().take(table.info, order, owner, limit)?;
    let frames = &table.info[first..first + (1 << order)];
    let is_xen = owner == DomId::XEN;
    let word = if is_xen { 0 } else { refs::word(State::Owned, owner) | refs::ALLOCATED | 1 };
    let mut flushed = false;
    for (n, info) in frames.iter().enumerate() {
        let was = info.refs.load(Ordering::Relaxed);
        // One look per frame, one flush at most: it covers whatever was removed before it.
        let stamp = (was & refs::STAMP) as u32;
        if !flushed && table.flushes.stale(stamp, hv.platform.cpus()) != 0 {
            frames
                .iter()
                .for_each(|frame| flush_stale(hv, (frame.refs.load(Ordering::Relaxed) & refs::STAMP) as u32));
            flushed = true;
        }
        if was & refs::DIRTY != 0 && !table.may_see(owner, refs::owner(was)) {
            hv.platform.clear(Mfn::new((first + n) as u64));
        }
        info.kind.store(0, Ordering::Relaxed);
        info.refs.store(word, Ordering::Release);
    }
    Some(Mfn::new(first as u64))
}

/// Frees frames that are the hypervisor's: allocated for it, or taken from a domain by [`FrameTable::steal`]. They count as dirty.
///
/// # Panics
/// When a frame is not the hypervisor's: going on would give it to two owners.
pub fn free<P: Platform>(hv: &Hypervisor<P>, mfn: Mfn, order: u32) {
    let table = &hv.frames;
    for frame in mfn.raw()..mfn.raw() + (1 << order) {
        assert!(table.refs(Mfn::new(frame)) == 0, "frame {frame:#x} freed, but it is not the hypervisor's");
        hv.platform.set_m2p(Mfn::new(frame), u64::MAX);
    }
    table.give_back(mfn, order, DomId::XEN, true);
}

/// Allocates for a domain within the limit of its account, unless it is dying.
///
/// # Errors
/// `ENOMEM` when its limit is reached, the machine has no such block, or the domain is dying.
pub fn alloc_for<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Domain,
    order: u32,
    limit: u64,
) -> Result<Mfn, Errno> {
    if !domain.memory.reserve(1 << order) {
        return Err(Errno::ENOMEM);
    }
    let found = if domain.is_dying() { None } else { alloc_below(hv, order, domain.id, limit) };
    let Some(mfn) = found else {
        domain.memory.release(1 << order);
        return Err(Errno::ENOMEM);
    };
    domain.memory.note(mfn, order);
    if take_back_if_dying(hv, domain, mfn, order) { Err(Errno::ENOMEM) } else { Ok(mfn) }
}

/// A domain that began to die while it was given frames may have been searched for them already: then they go back now.
/// Whether that was so.
pub fn take_back_if_dying<P: Platform>(hv: &Hypervisor<P>, domain: &Domain, mfn: Mfn, order: u32) -> bool {
    if !domain.is_dying() {
        return false;
    }
    for frame in (mfn.raw()..mfn.raw() + (1 << order)).map(Mfn::new) {
        // Those that the search found are not the domain's any more.
        if hv.frames.get_page(frame, domain.id) {
            drop_allocation(hv, frame);
            put_page(hv, frame);
        }
    }
    true
}

/// Drops a general reference; the last one frees the frame.
///
/// # Panics
/// When there was none: a count that is wrong cannot be lived with.
#[inline]
pub fn put_page<P: Platform>(hv: &Hypervisor<P>, mfn: Mfn) {
    let Some(info) = hv.frames.info(mfn) else { return };
    let before = info.refs.fetch_sub(1, Ordering::AcqRel);
    if refs::count(before) <= 1 {
        release(hv, mfn, before);
    }
}

/// Drops the owner's own reference ("the domain has it"); `false` when that had been done.
pub fn drop_allocation<P: Platform>(hv: &Hypervisor<P>, mfn: Mfn) -> bool {
    let Some(info) = hv.frames.info(mfn) else { return false };
    let had = info.refs.fetch_and(!refs::ALLOCATED, Ordering::AcqRel) & refs::ALLOCATED != 0;
    if had {
        put_page(hv, mfn);
    }
    had
}

/// Ends a loan: the frame is freed when no mapping is left.
pub fn unshare<P: Platform>(hv: &Hypervisor<P>, mfn: Mfn) {
    let word = hv.frames.refs(mfn);
    if State::of(word) == State::Shared && drop_allocation(hv, mfn) {
        // The typed reference of the loan, and with it the last but the guests'.
        super::types::put_page_type(hv, mfn);
    }
}

/// Whether a CPU may have a translation by which a guest can write to a frame that has no references any more.
fn may_be_written<P: Platform>(hv: &Hypervisor<P>, mfn: Mfn) -> bool {
    let Some(info) = hv.frames.info(mfn) else { return false };
    let word = info.kind.load(Ordering::Acquire);
    kind::kind(word) == Kind::Writable && hv.frames.flushes.stale(kind::stamp(word), hv.platform.cpus()) != 0
}

#[cold]
fn release<P: Platform>(hv: &Hypervisor<P>, mfn: Mfn, before: u64) {
    assert!(refs::count(before) == 1, "frame {mfn}: reference dropped that was not there ({before:#x})");
    let owner = refs::owner(before);
    let domain = hv.domains.get(owner);
    let dying = domain.as_ref().is_none_or(|domain| domain.is_dying());
    let lent = State::of(before) == State::Shared;
    hv.platform.set_m2p(mfn, u64::MAX);
    if !dying && !lent {
        hv.frames.give_back(mfn, 0, owner, true);
    } else if may_be_written(hv, mfn) {
        // Some CPU may still write to it through an old translation: it is cleared when it is given out, after the flush.
        hv.frames.give_back(mfn, 0, DomId::XEN, true);
    } else {
        // What the dead one left is cleared now, by who caused it.
        hv.platform.clear(mfn);
        hv.frames.give_back(mfn, 0, owner, false);
    }
    if let Some(domain) = domain.filter(|_| !lent) {
        domain.memory.release(1);
        if dying {
            // Frames that others mapped are the last thing a dead domain waits for. It starts nothing that has effects.
            let _ = crate::control::lifecycle::reap(hv, &domain);
        }
    }
}
