//! The sixteen bytes that are known of a frame: two words, their fields, nothing else.
//!
//! | word | bits | in use | free |
//! |---|---|---|---|
//! | `refs` | 0–31 | number of general references | 0–23 stamp of the last use, 24–28 order of the block |
//! | | 32–47 | owner | the last owner |
//! | | 48–50 | [`State`] | `Free` |
//! | | 51 | one of the references is "the domain has it" | |
//! | | 52 | | the last owner's data are still in it |
//! | | 53 | | first frame of a free block |
//! | `kind` | 0–31 | number of typed references | number of the next free block's frame |
//! | | 32–55 | with no typed reference: stamp of the last one, or CPU at work, or progress | 32–58 the block before |
//! | | 56–58 | [`Kind`] | |
//! | | 59–63 | `BUSY`, `PARTIAL`, `UNDO`, –, `PINNED` | `BUSY` |
//!
//! A frame whose words are zero belongs to the hypervisor and nobody can get at it.

use crate::sync::atomic::AtomicU64;

use crate::addr::{CpuId, DomId};

/// What is known of one frame. All zero is valid: the hypervisor's own.
#[derive(Debug, Default)]
#[repr(C, align(16))]
pub struct FrameInfo {
    pub(super) refs: AtomicU64,
    pub(super) kind: AtomicU64,
}

impl FrameInfo {
    /// As at boot: the hypervisor's own.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn reset(&self) {
        self.refs.store(0, core::sync::atomic::Ordering::Relaxed);
        self.kind.store(0, core::sync::atomic::Ordering::Relaxed);
    }
}

/// What a frame may be used for by a domain; at most one of these at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Nothing in particular.
    None = 0,
    /// Lowest page table: maps pages.
    L1 = 1,
    /// Second page table.
    L2 = 2,
    /// Third page table.
    L3 = 3,
    /// Root page table.
    L4 = 4,
    /// Page of a GDT or LDT: every descriptor in it is one that a guest may load.
    SegDesc = 5,
    /// Mapped writable by a guest.
    Writable = 6,
    /// The hypervisor's, lent read-only.
    Shared = 7,
}

impl Kind {
    pub(super) const fn from_bits(bits: u64) -> Kind {
        match bits & 7 {
            0 => Kind::None,
            1 => Kind::L1,
            2 => Kind::L2,
            3 => Kind::L3,
            4 => Kind::L4,
            5 => Kind::SegDesc,
            6 => Kind::Writable,
            _ => Kind::Shared,
        }
    }

    /// Level of the page table, 1 to 4; 0 for what is not a page table.
    pub const fn level(self) -> u8 {
        if (self as u8) < 5 { self as u8 } else { 0 }
    }

    /// The page table of a level 1 to 4; [`Kind::None`] for any other number.
    pub const fn table(level: u8) -> Kind {
        if level < 5 { Kind::from_bits(level as u64) } else { Kind::None }
    }

    /// Whether the frame's contents are checked when it gains this kind.
    pub const fn has_rules(self) -> bool {
        matches!(self, Kind::L1 | Kind::L2 | Kind::L3 | Kind::L4 | Kind::SegDesc)
    }
}

/// In whose hands a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    /// The hypervisor's own; also what is not known at all.
    Xen = 0,
    /// On the heap.
    Free = 1,
    /// A domain's.
    Owned = 2,
    /// The hypervisor's, lent to a domain.
    Shared = 3,
    /// Memory-mapped I/O or a hole.
    Io = 4,
}

impl State {
    pub(super) const fn of(refs: u64) -> State {
        match refs >> refs::STATE_SHIFT & 7 {
            1 => State::Free,
            2 => State::Owned,
            3 => State::Shared,
            4 => State::Io,
            _ => State::Xen,
        }
    }
}

/// Fields of the word `refs`.
pub(super) mod refs {
    use super::{DomId, State};

    /// More general references than this are refused.
    pub const MAX: u32 = 0x8000_0000;
    pub const OWNER_SHIFT: u32 = 32;
    pub const STATE_SHIFT: u32 = 48;
    pub const ALLOCATED: u64 = 1 << 51;
    pub const DIRTY: u64 = 1 << 52;
    pub const HEAD: u64 = 1 << 53;
    pub const ORDER_SHIFT: u32 = 24;
    pub const STAMP: u64 = 0xff_ffff;

    /// The word without flags and count.
    pub const fn word(state: State, owner: DomId) -> u64 {
        (state as u64) << STATE_SHIFT | (owner.raw() as u64) << OWNER_SHIFT
    }

    /// The owner's number, or the last owner's when free.
    pub const fn owner(refs: u64) -> DomId {
        DomId::new((refs >> OWNER_SHIFT) as u16)
    }

    /// Number of references; only in use.
    pub const fn count(refs: u64) -> u32 {
        refs as u32
    }

    /// Bits that make no difference to whose the frame is: lent or owned (the states differ in their lowest bit only).
    const HOWEVER: u64 = 1 << STATE_SHIFT | ALLOCATED;

    /// Whether the frame is in use for this domain, as its own or lent to it, and one more reference can be taken: there is one,
    /// and not too many. Frames in use have no other flags, so it is one comparison.
    #[inline(always)]
    pub const fn is_of(refs: u64, domain: DomId) -> bool {
        (refs & !HOWEVER).wrapping_sub(word(State::Owned, domain) + 1) < MAX as u64
    }
}

/// Fields of the word `kind`.
pub(super) mod kind {
    use super::{CpuId, Kind};

    /// More typed references than this are refused.
    pub const MAX: u32 = 0x8000_0000;
    pub const AUX_SHIFT: u32 = 32;
    pub const STAMP: u64 = 0xff_ffff;
    pub const KIND_SHIFT: u32 = 56;
    /// Somebody checks or takes apart the contents, or waits for a flush; no typed reference exists.
    pub const BUSY: u64 = 1 << 59;
    /// The checking or taking apart was interrupted; the entries below the progress hold references, and the state as
    /// such holds a general reference. No typed reference exists.
    pub const PARTIAL: u64 = 1 << 60;
    /// With `PARTIAL`: the check failed, and what remains is to undo it.
    pub const UNDO: u64 = 1 << 61;
    /// One of the typed references is the guest's pin.
    pub const PINNED: u64 = 1 << 63;
    const PROGRESS_SHIFT: u32 = AUX_SHIFT;
    const ERRNO_SHIFT: u32 = AUX_SHIFT + 10;

    pub const fn count(kind: u64) -> u32 {
        kind as u32
    }
    pub const fn kind(kind: u64) -> Kind {
        Kind::from_bits(kind >> KIND_SHIFT)
    }
    pub const fn of(kind: Kind) -> u64 {
        (kind as u64) << KIND_SHIFT
    }
    /// Whether the word says: `want`, and at least one typed reference, not too many. A held frame has no bits but these and the
    /// pin, so it is one comparison.
    #[inline(always)]
    pub const fn is_held(word: u64, want: Kind) -> bool {
        (word & !PINNED).wrapping_sub(of(want) + 1) < MAX as u64
    }
    /// Whether the word says: `want`, with exactly one typed reference, which is no pin.
    #[inline(always)]
    pub const fn is_sole(word: u64, want: Kind) -> bool {
        word == of(want) | 1
    }
    /// Whether a writable mapping may come without ado: nobody uses the frame, and it was writable before, or nothing.
    #[inline(always)]
    pub const fn may_become_writable(word: u64) -> bool {
        let state = word & !(STAMP << AUX_SHIFT);
        state == of(Kind::Writable) || state == 0
    }
    /// No typed reference; the last was dropped at `stamp`.
    pub const fn idle(kind: Kind, stamp: u32) -> u64 {
        of(kind) | (stamp as u64 & STAMP) << AUX_SHIFT
    }
    pub const fn stamp(word: u64) -> u32 {
        (word >> AUX_SHIFT & STAMP) as u32
    }
    /// A CPU is at work on it.
    pub const fn busy(kind: Kind, cpu: CpuId) -> u64 {
        of(kind) | BUSY | (cpu.raw() as u64 & STAMP) << AUX_SHIFT
    }
    /// Whether this CPU is at work on it.
    pub const fn is_busy_by(word: u64, cpu: CpuId) -> bool {
        word & BUSY != 0 && stamp(word) as u64 == cpu.raw() as u64 & STAMP
    }
    /// Interrupted: entries below `progress` hold references. `failed` is the errno of a failed check, 0 for none.
    pub const fn partial(kind: Kind, progress: usize, undo: bool, failed: u8) -> u64 {
        of(kind)
            | PARTIAL
            | if undo { UNDO } else { 0 }
            | (progress as u64) << PROGRESS_SHIFT
            | (failed as u64) << ERRNO_SHIFT
    }
    pub const fn progress(word: u64) -> usize {
        (word >> PROGRESS_SHIFT & 0x3ff) as usize
    }
    pub const fn failed(word: u64) -> u8 {
        (word >> ERRNO_SHIFT) as u8
    }
}
