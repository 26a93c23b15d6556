//! Request/response rings, `io/ring.h`: layout and index arithmetic.
//!
//! One page (or more) starts with a [`Sring`] header of 64 bytes; after it come slots, each large enough for
//! a request or a response. A response goes into a slot whose request was consumed, so producers can never
//! overrun one another:
//!
//! ```text
//!   rsp_cons ≤ rsp_prod ≤ req_cons ≤ req_prod ≤ rsp_cons + slots
//!   (front)    (shared)   (back)     (shared)
//! ```
//!
//! Indices are free-running 32-bit counters; a slot is the index modulo the number of slots, a power of two.
//! Everything here wraps. The other end can write any value into the shared header: check with the
//! `*_overflow` functions before looping.
//!
//! **Notification.** A producer signals only if it steps over the index the consumer asked for (`req_event`, `rsp_event`): [`must_notify`].
//! A consumer that is about to sleep sets that index to its next one, then looks once more.

use crate::Union;

/// `RING_IDX`: a free-running index.
pub type RingIdx = u32;

/// Rings and hypercalls count in pages of `1 << XEN_PAGE_SHIFT` bytes, whatever a guest uses.
pub const XEN_PAGE_SHIFT: u32 = 12;

structs! {
    /// The header of a shared ring, `struct NAME_sring` without its slots.
    pub struct Sring {
        /// Requests produced so far.
        req_prod: RingIdx,
        /// The request producer signals when it passes this.
        req_event: RingIdx,
        /// Responses produced so far.
        rsp_prod: RingIdx,
        /// The response producer signals when it passes this.
        rsp_event: RingIdx,
        /// Private bytes of a protocol.
        pvt: Union<u8, 4>,
        /// Unused.
        pad: [u8; 44],
    }
}

/// Offset of the first slot in the shared page, in bytes.
pub const RING_OFFSET: usize = size_of::<Sring>();

impl Sring {
    /// A ring that nobody used yet (`SHARED_RING_INIT`): both ends ask to hear about the first message.
    pub fn initial() -> Self {
        Self { req_event: 1, rsp_event: 1, ..Self::default() }
    }
}

/// The number of slots of `slot_size` bytes in a ring of `ring_bytes` bytes (`__CONST_RING_SIZE`): as many as fit,
/// rounded down to a power of two. Zero if not even one fits.
pub const fn slots(ring_bytes: usize, slot_size: usize) -> u32 {
    if slot_size == 0 || ring_bytes < RING_OFFSET + slot_size {
        return 0;
    }
    let fit = (ring_bytes - RING_OFFSET) / slot_size;
    if fit > 1 << 31 { 1 << 31 } else { 1 << fit.ilog2() }
}

/// Where slot `index` starts in the shared page, in bytes. `slots` is a power of two.
pub const fn slot_offset(index: RingIdx, slots: u32, slot_size: usize) -> usize {
    RING_OFFSET + (index & slots.wrapping_sub(1)) as usize * slot_size
}

/// Whether a producer that moved its index from `old` to `new` has to signal a consumer that asked for `event`.
pub const fn must_notify(old: RingIdx, new: RingIdx, event: RingIdx) -> bool {
    new.wrapping_sub(event) < new.wrapping_sub(old)
}

/// The front end's private indices, `struct NAME_front_ring`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontRing {
    /// Requests written, published or not.
    pub req_prod_pvt: RingIdx,
    /// Responses consumed.
    pub rsp_cons: RingIdx,
    /// Slots of the ring, a power of two.
    pub nr_ents: u32,
}

impl FrontRing {
    /// The front end of a fresh ring with `nr_ents` slots.
    pub const fn new(nr_ents: u32) -> Self {
        Self { req_prod_pvt: 0, rsp_cons: 0, nr_ents }
    }

    /// Slots free for requests (`RING_FREE_REQUESTS`).
    pub const fn free_requests(&self) -> u32 {
        self.nr_ents.wrapping_sub(self.req_prod_pvt.wrapping_sub(self.rsp_cons))
    }

    /// Whether no request can be written (`RING_FULL`).
    pub const fn is_full(&self) -> bool {
        self.free_requests() == 0
    }

    /// Responses waiting, for the shared `rsp_prod` (`RING_HAS_UNCONSUMED_RESPONSES`).
    pub const fn unconsumed_responses(&self, rsp_prod: RingIdx) -> u32 {
        rsp_prod.wrapping_sub(self.rsp_cons)
    }

    /// Whether the back end claims more responses than there can be (`RING_RESPONSE_PROD_OVERFLOW`).
    pub const fn response_overflow(&self, rsp_prod: RingIdx) -> bool {
        self.unconsumed_responses(rsp_prod) > self.nr_ents
    }
}

/// The back end's private indices, `struct NAME_back_ring`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackRing {
    /// Responses written, published or not.
    pub rsp_prod_pvt: RingIdx,
    /// Requests consumed.
    pub req_cons: RingIdx,
    /// Slots of the ring, a power of two.
    pub nr_ents: u32,
}

impl BackRing {
    /// The back end of a ring with `nr_ents` slots, attached at index `at` (0 for a fresh ring).
    pub const fn attach(nr_ents: u32, at: RingIdx) -> Self {
        Self { rsp_prod_pvt: at, req_cons: at, nr_ents }
    }

    /// Requests waiting that also have room for a response, for the shared `req_prod` (`RING_HAS_UNCONSUMED_REQUESTS`).
    pub const fn unconsumed_requests(&self, req_prod: RingIdx) -> u32 {
        let waiting = req_prod.wrapping_sub(self.req_cons);
        let room = self.nr_ents.wrapping_sub(self.req_cons.wrapping_sub(self.rsp_prod_pvt));
        if waiting < room { waiting } else { room }
    }

    /// Whether consuming request `cons` would outrun the responses (`RING_REQUEST_CONS_OVERFLOW`).
    pub const fn consumer_overflow(&self, cons: RingIdx) -> bool {
        cons.wrapping_sub(self.rsp_prod_pvt) >= self.nr_ents
    }

    /// Whether the front end claims more requests than there can be (`RING_REQUEST_PROD_OVERFLOW`).
    pub const fn request_overflow(&self, req_prod: RingIdx) -> bool {
        req_prod.wrapping_sub(self.rsp_prod_pvt) > self.nr_ents
    }
}

/// Bytes that can be read from a byte ring (console, xenstore) of `size` bytes; `None` if the indices are impossible.
pub const fn bytes_readable(prod: RingIdx, cons: RingIdx, size: u32) -> Option<u32> {
    let queued = prod.wrapping_sub(cons);
    if queued > size { None } else { Some(queued) }
}

/// Bytes that can be written into a byte ring of `size` bytes; `None` if the indices are impossible.
pub const fn bytes_writable(prod: RingIdx, cons: RingIdx, size: u32) -> Option<u32> {
    match bytes_readable(prod, cons, size) {
        Some(queued) => Some(size - queued),
        None => None,
    }
}
