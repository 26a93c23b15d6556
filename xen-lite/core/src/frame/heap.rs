//! Free frames: a buddy allocator whose only memory is the free frames' own [`FrameInfo`].
//!
//! A free block of order *n* is 2ⁿ frames at a multiple of 2ⁿ. Its first frame carries `HEAD`, the order, and the numbers of
//! the next and the previous block of that order. Each power of two of frame numbers is a
//! zone with lists of its own; the highest is used first, so that requests with a narrow address limit (a device's buffers) find
//! some, and without a look at those above the limit. Bits tell which lists have blocks: a search takes as long as there are zones,
//! however guests have cut up the memory. All of it is behind the one lock of [`super::FrameTable`].
//!
//! The word `kind` of every free frame says `BUSY`, so that whoever looks for a typed reference without knowing the frame's
//! state finds none. That leaves 27 bits for a link: frames from 512 GiB up are not managed.

use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use super::info::{FrameInfo, State, kind, refs};
use crate::addr::DomId;

/// Orders of blocks: up to 1 GiB.
pub const MAX_ORDER: u32 = 18;
const ORDERS: usize = MAX_ORDER as usize + 1;
const NIL: u32 = (1 << 27) - 1;
/// Frames from this number on cannot be linked.
pub(super) const MAX_FRAMES: u64 = NIL as u64;
/// Zone *n* has the frames from 2ⁿ on, zone 0 also frame 0, which no block has but its own: so a block lies in one zone.
const ZONES: usize = 27;

/// The zone of a frame.
fn zone_of(at: usize) -> usize {
    (at | 1).ilog2() as usize
}

/// Next and previous block.
fn links(frame: &FrameInfo) -> (u32, u32) {
    let word = frame.kind.load(Ordering::Relaxed);
    (word as u32, (word >> 32) as u32 & NIL)
}

fn set_links(frame: &FrameInfo, next: u32, previous: u32) {
    let word = u64::from(next) | u64::from(previous) << 32 | kind::BUSY;
    frame.kind.store(word, Ordering::Relaxed);
}

/// The free blocks.
#[derive(Debug)]
pub(super) struct Heap {
    heads: [[u32; ORDERS]; ZONES],
    /// For each zone, the orders of which it has blocks.
    orders: [u32; ZONES],
    free: u64,
    claims: Vec<(DomId, u64)>,
    claimed: u64,
}

impl Heap {
    pub(super) const fn new() -> Heap {
        Heap { heads: [[NIL; ORDERS]; ZONES], orders: [0; ZONES], free: 0, claims: Vec::new(), claimed: 0 }
    }

    /// Number of free frames.
    pub(super) fn free_frames(&self) -> u64 {
        self.free
    }

    /// Number of free frames set aside by claims.
    pub(super) fn claimed(&self) -> u64 {
        self.claimed
    }

    /// Sets aside `frames` free frames for a domain in the place of what it had set aside; 0 gives up the claim.
    /// `false` when there are not so many, or no memory to note it.
    pub(super) fn claim(&mut self, domain: DomId, frames: u64) -> bool {
        let had = self.claims.iter().position(|claim| claim.0 == domain);
        let old = had.map_or(0, |at| self.claims[at].1);
        if frames > self.free.saturating_sub(self.claimed - old) {
            return false;
        }
        match had {
            Some(at) if frames == 0 => drop(self.claims.swap_remove(at)),
            Some(at) => self.claims[at].1 = frames,
            None if frames == 0 => {}
            None if self.claims.try_reserve(1).is_err() => return false,
            None => self.claims.push((domain, frames)),
        }
        self.claimed = self.claimed - old + frames;
        true
    }

    fn may_take(&self, domain: DomId, frames: u64) -> bool {
        let own = self.claims.iter().find(|claim| claim.0 == domain).map_or(0, |claim| claim.1);
        self.free.saturating_sub(self.claimed - own) >= frames
    }

    fn use_claim(&mut self, domain: DomId, frames: u64) {
        if let Some(claim) = self.claims.iter_mut().find(|claim| claim.0 == domain) {
            let used = claim.1.min(frames);
            claim.1 -= used;
            self.claimed -= used;
        }
        self.claims.retain(|claim| claim.1 != 0);
    }

    /// Takes a block for `domain` below frame `limit`, of which the highest bit counts. Its frames are marked free still, but not linked.
    pub(super) fn take(
        &mut self,
        info: &[FrameInfo],
        order: u32,
        domain: DomId,
        limit: u64,
    ) -> Option<usize> {
        if order > MAX_ORDER || (self.claimed != 0 && !self.may_take(domain, 1 << order)) {
            return None;
        }
        let (mut at, found) = self.find(order, limit)?;
        self.unlink(info, at, found);
        for smaller in (order..found).rev() {
            // The lower half is kept, the upper is given out.
            self.link(info, at, smaller);
            at += 1usize << smaller;
        }
        self.free -= 1 << order;
        if self.claimed != 0 {
            self.use_claim(domain, 1 << order);
        }
        Some(at)
    }

    /// The smallest block of at least `order` in the highest zone that has one and lies below `limit`.
    fn find(&self, order: u32, limit: u64) -> Option<(usize, u32)> {
        let below = limit.checked_ilog2()? as usize;
        (0..below.min(ZONES)).rev().find_map(|zone| {
            let fitting = self.orders[zone] >> order;
            let found = order + fitting.trailing_zeros();
            (fitting != 0).then(|| (self.heads[zone][found as usize] as usize, found))
        })
    }

    /// Puts back a block whose frames are all marked free, and joins it with its buddies.
    pub(super) fn give(&mut self, info: &[FrameInfo], mut at: usize, mut order: u32) {
        self.free += 1 << order;
        while order < MAX_ORDER {
            let buddy = at ^ (1 << order);
            let is_buddy = info.get(buddy).is_some_and(|frame| {
                let word = frame.refs.load(Ordering::Relaxed);
                State::of(word) == State::Free
                    && word & refs::HEAD != 0
                    && (word >> refs::ORDER_SHIFT) as u32 & 0x1f == order
            });
            if !is_buddy || at & buddy == 0 {
                break;
            }
            self.unlink(info, buddy, order);
            at &= buddy;
            order += 1;
        }
        self.link(info, at, order);
    }

    /// Sets the first block of the list to which a block belongs; returns the one before.
    fn set_head(&mut self, at: usize, order: u32, first: u32) -> u32 {
        let zone = zone_of(at);
        if first == NIL {
            self.orders[zone] &= !(1 << order);
        } else {
            self.orders[zone] |= 1 << order;
        }
        core::mem::replace(&mut self.heads[zone][order as usize], first)
    }

    fn link(&mut self, info: &[FrameInfo], at: usize, order: u32) {
        let next = self.set_head(at, order, at as u32);
        set_links(&info[at], next, NIL);
        let word = info[at].refs.load(Ordering::Relaxed) & !(0x1f << refs::ORDER_SHIFT);
        info[at].refs.store(word | refs::HEAD | u64::from(order) << refs::ORDER_SHIFT, Ordering::Relaxed);
        if next != NIL {
            set_links(&info[next as usize], links(&info[next as usize]).0, at as u32);
        }
    }

    fn unlink(&mut self, info: &[FrameInfo], at: usize, order: u32) {
        let (next, previous) = links(&info[at]);
        if previous == NIL {
            self.set_head(at, order, next);
        } else {
            set_links(&info[previous as usize], next, links(&info[previous as usize]).1);
        }
        if next != NIL {
            set_links(&info[next as usize], links(&info[next as usize]).0, previous);
        }
        let word = info[at].refs.load(Ordering::Relaxed);
        info[at].refs.store(word & !refs::HEAD, Ordering::Relaxed);
    }

    /// Walks all blocks and says what is wrong with the lists, if anything; returns the frames counted.
    pub(super) fn check(&self, info: &[FrameInfo]) -> Result<u64, &'static str> {
        let mut counted = 0u64;
        for zone in 0..ZONES {
            for order in 0..ORDERS {
                let (mut at, mut before) = (self.heads[zone][order], NIL);
                if (at != NIL) != (self.orders[zone] >> order & 1 == 1) {
                    return Err("the bits of a zone are not what its lists are");
                }
                while at != NIL {
                    let Some(frame) = info.get(at as usize) else {
                        return Err("a link leads out of the table");
                    };
                    let word = frame.refs.load(Ordering::Relaxed);
                    let (next, previous) = links(frame);
                    if State::of(word) != State::Free || word & refs::HEAD == 0 {
                        return Err("a linked block is not free");
                    }
                    if (word >> refs::ORDER_SHIFT) as usize & 0x1f != order || previous != before {
                        return Err("a linked block has another order or predecessor");
                    }
                    if zone_of(at as usize) != zone {
                        return Err("a linked block is in another zone's list");
                    }
                    counted += 1 << order;
                    if counted > info.len() as u64 {
                        return Err("the links form a ring");
                    }
                    (before, at) = (at, next);
                }
            }
        }
        if counted == self.free {
            Ok(counted)
        } else {
            Err("the number of free frames is not the blocks' sum")
        }
    }
}
