//! The granter's side: the shared table, and which of its entries are in use.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::grant_table::*;

use super::Status;
use crate::Hypervisor;
use crate::addr::{DomId, GrantRef, Mfn, PAGE_WORDS};
use crate::domain::Domain;
use crate::fail::Errno;
use crate::mm;
use crate::platform::Platform;
use crate::speculation;

/// Entries in a frame of the shared table: one for each 64-bit word.
const PER_FRAME: usize = PAGE_WORDS;
/// How often a shared entry that changes under us is tried again.
const TRIES: usize = 16;

/// Users of one sort that an entry may have.
const MOST_PINS: u16 = 128;

const READING: u64 = GTF_READING as u64;
const WRITING: u64 = GTF_WRITING as u64;

/// What a user of a grant does. Each is counted for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Use {
    /// Whether for a device rather than a CPU.
    pub(super) device: bool,
    /// Whether only for reading.
    pub(super) readonly: bool,
}

impl Use {
    fn index(self) -> usize {
        usize::from(self.device) * 2 + usize::from(self.readonly)
    }
}

/// An entry in use. All zero when it is not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Active {
    /// Users: host writing, host reading, device writing, device reading.
    pins: [u16; 4],
    /// The domain that uses it.
    user: u16,
    /// The frame, as it was when the first user came.
    frame: u64,
}

impl Active {
    fn is_used(&self) -> bool {
        self.pins != [0; 4]
    }

    fn is_written(&self) -> bool {
        self.pins[0] != 0 || self.pins[2] != 0
    }
}

/// A shared entry, taken apart.
#[derive(Clone, Copy)]
struct Entry(u64);

impl Entry {
    fn flags(self) -> u16 {
        self.0 as u16
    }
    fn domain(self) -> u16 {
        (self.0 >> 16) as u16
    }
    fn frame(self) -> u64 {
        self.0 >> 32
    }
}

/// The table. Under the lock of [`super::Grants`].
#[derive(Debug, Default)]
pub(super) struct Table {
    frames: Vec<Mfn>,
    active: Vec<Box<[Active; PER_FRAME]>>,
    /// Set when the domain dies: the table does not grow any more. What is granted stays so as long as the frames last, as upstream.
    closed: bool,
}

impl Table {
    pub(super) fn frames(&self) -> &[Mfn] {
        &self.frames
    }

    fn active(&mut self, reference: GrantRef) -> Option<&mut Active> {
        speculation::get_mut(&mut self.active, reference.index() / PER_FRAME)
            .map(|frame| &mut frame[reference.index() % PER_FRAME])
    }

    fn place(&self, reference: GrantRef) -> Option<(Mfn, usize)> {
        Some((*speculation::get(&self.frames, reference.index() / PER_FRAME)?, reference.index() % PER_FRAME))
    }

    /// Both of an entry: where it lies in the shared table, and who uses it.
    #[inline(always)]
    fn both(&mut self, reference: GrantRef) -> Option<((Mfn, usize), &mut Active)> {
        let (number, index) = (reference.index() / PER_FRAME, reference.index() % PER_FRAME);
        if number >= self.frames.len() {
            return None;
        }
        let number = speculation::index(number, self.frames.len());
        Some(((*self.frames.get(number)?, index), &mut self.active.get_mut(number)?[index]))
    }

    /// Counts a user of a grant to the domain `user`, and returns the frame. An entry with one of the flags `refused` does not fit.
    /// `FIRST`: as upstream, an entry with many users of any sort does not get another.
    #[inline(always)]
    pub(super) fn pin<P: Platform, const FIRST: bool>(
        &mut self,
        hv: &Hypervisor<P>,
        reference: GrantRef,
        user: DomId,
        what: Use,
        refused: u16,
    ) -> Result<Mfn, Status> {
        let (place, active) = self.both(reference).ok_or(Status::BadGntref)?;
        let [a, b, c, d] = active.pins;
        // A power of two: one of them has reached it, if all together have a bit from there on.
        const { assert!(MOST_PINS.is_power_of_two()) };
        if FIRST && a | b | c | d >= MOST_PINS {
            return Err(Status::GeneralError);
        }
        let is_used = active.is_used();
        if is_used && active.user != user.raw() {
            return Err(Status::GeneralError);
        }
        let count = active.pins[what.index()].checked_add(1).ok_or(Status::NoSpace)?;
        if !is_used || (!what.readonly && !active.is_written()) {
            let entry = mark(hv, place, user, what.readonly, refused)?;
            if !is_used {
                (active.user, active.frame) = (user.raw(), entry.frame());
            }
        }
        active.pins[what.index()] = count;
        Ok(Mfn::new(active.frame))
    }

    /// Takes back what [`Table::pin`] counted.
    #[inline]
    pub(super) fn unpin<P: Platform>(&mut self, hv: &Hypervisor<P>, reference: GrantRef, what: Use) {
        // Without frames, when the domain is gone, there are no flags to clear, nor anybody to count for.
        let Some(((mfn, word), active)) = self.both(reference) else { return };
        let pins = &mut active.pins[what.index()];
        debug_assert!(*pins > 0, "{reference}: a pin taken back twice");
        *pins = pins.saturating_sub(1);
        let gone = match (active.is_used(), active.is_written()) {
            (false, _) if what.readonly => READING,
            (false, _) => READING | WRITING,
            (true, false) if !what.readonly => WRITING,
            _ => return,
        };
        hv.platform.fetch_and(mfn, word, !gone);
    }

    fn is_used(&mut self, reference: GrantRef) -> bool {
        self.active(reference).is_some_and(|active| active.is_used())
    }
}

/// Judges a shared entry and marks it as used, in one step.
#[inline(always)]
fn mark<P: Platform>(
    hv: &Hypervisor<P>,
    (mfn, word): (Mfn, usize),
    user: DomId,
    readonly: bool,
    refused: u16,
) -> Result<Entry, Status> {
    let mut entry = Entry(hv.platform.load(mfn, word));
    let bits = if readonly { READING } else { READING | WRITING };
    for _ in 0..TRIES {
        let flags = entry.flags();
        let fits = flags & (GTF_TYPE_MASK | refused) == GTF_PERMIT_ACCESS
            && entry.domain() == user.raw()
            && (readonly || flags & GTF_READONLY == 0);
        if !fits {
            return Err(Status::GeneralError);
        }
        match hv.platform.compare_exchange(mfn, word, entry.0, entry.0 | bits) {
            Ok(()) => return Ok(entry),
            Err(found) => entry = Entry(found),
        }
    }
    Err(Status::GeneralError)
}

/// Makes the shared table have at least `count` frames.
///
/// # Errors
/// `EINVAL` beyond the limit or when the domain is dying, `ENOMEM`.
pub fn grow<P: Platform>(hv: &Hypervisor<P>, domain: &Arc<Domain>, count: u32) -> Result<(), Errno> {
    let mut table = domain.grants.table.lock();
    if count > domain.grants.max_frames || table.closed {
        return Err(Errno::EINVAL);
    }
    while table.frames.len() < count as usize {
        add_frame(hv, domain.id, &mut table)?;
    }
    Ok(())
}

fn add_frame<P: Platform>(hv: &Hypervisor<P>, domain: DomId, table: &mut Table) -> Result<(), Errno> {
    table.frames.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
    table.active.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
    let mut active = Vec::new();
    active.try_reserve_exact(PER_FRAME).map_err(|_| Errno::ENOMEM)?;
    active.resize(PER_FRAME, Active::default());
    let active = active.into_boxed_slice().try_into().map_err(|_| Errno::ENOMEM)?;
    let mfn = mm::alloc_shared(hv, domain).ok_or(Errno::ENOMEM)?;
    table.frames.push(mfn);
    table.active.push(active);
    Ok(())
}

/// A frame of the shared table, made if need be (`XENMEM_acquire_resource`, `XENMEM_add_to_physmap`).
///
/// # Errors
/// As [`grow`].
pub fn frame<P: Platform>(hv: &Hypervisor<P>, domain: &Arc<Domain>, index: u32) -> Result<Mfn, Errno> {
    grow(hv, domain, index.checked_add(1).ok_or(Errno::EINVAL)?)?;
    speculation::get(&domain.grants.table.lock().frames, index as usize).copied().ok_or(Errno::EINVAL)
}

/// `GNTTABOP_swap_grant_ref`: exchanges two entries that are not in use.
///
/// # Errors
/// `BadGntref` for references that do not exist, `Eagain` when one is in use.
pub fn swap<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Domain,
    a: GrantRef,
    b: GrantRef,
) -> Result<(), Status> {
    let mut table = domain.grants.table.lock();
    let first = table.place(a).ok_or(Status::BadGntref)?;
    let second = table.place(b).ok_or(Status::BadGntref)?;
    if a == b {
        return Ok(());
    }
    if table.is_used(a) || table.is_used(b) {
        return Err(Status::Eagain);
    }
    let (one, other) = (hv.platform.load(first.0, first.1), hv.platform.load(second.0, second.1));
    hv.platform.store(first.0, first.1, other);
    hv.platform.store(second.0, second.1, one);
    Ok(())
}

/// The table of a dying domain does not grow any more.
pub(super) fn close(domain: &Domain) {
    domain.grants.table.lock().closed = true;
}

/// Gives the frames of a dead domain's table back. Handles that others still have find no flags to clear.
pub fn free_table<P: Platform>(hv: &Hypervisor<P>, domain: &Domain) {
    let mut table = domain.grants.table.lock();
    table.closed = true;
    let frames = core::mem::take(&mut table.frames);
    drop(table);
    for mfn in frames {
        mm::free_shared(hv, mfn);
    }
}

/// For audits: whether `mapper` uses a grant of this frame, or is giving up all that it uses.
pub fn is_mapped_by(granter: &Domain, mapper: &Domain, frame: Mfn) -> bool {
    if mapper.grants.maptrack.lock().closed {
        return true;
    }
    let table = granter.grants.table.lock();
    let uses =
        |active: &Active| active.is_used() && active.user == mapper.id.raw() && active.frame == frame.raw();
    table.active.iter().any(|entries| entries.iter().any(uses))
}
