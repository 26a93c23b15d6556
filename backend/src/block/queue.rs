//! One ring of a block device: requests in, responses out.
//!
//! **Invariants.** Our own indices live in [`Queue`], never in the page. The front end's producer index is read once per look; more requests than
//! slots end the device. Each request is copied once, checked, carried out at once and answered, so responses come in the order of the
//! requests, and there is never a response without its request. A round ends with the request that
//! reaches its bound of bytes, moved or discarded.
//!
//! **Where data goes.** With persistent grants a frame is mapped at its first use and stays mapped ([`Grants`]), and bytes are copied from
//! and to the mapping. Otherwise the hypervisor copies, all segments of a request with one call. Either way the guest's frame is
//! read or written once, and nobody looks at it again.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem::offset_of;
use core::sync::atomic::{Ordering, fence};

use abi::io::blkif::{BLKIF_RSP_EOPNOTSUPP, BLKIF_RSP_ERROR, BLKIF_RSP_OKAY, SLOT_SIZE};
use abi::io::ring::{BackRing, Sring, must_notify, slot_offset, slots};

use super::storage::{SECTOR, Shared};
use super::wire::{self, Operation, PER_PAGE, Refusal, Request, SEGMENT, Segment, Segments, Slot};
use crate::DomId;
use crate::peer::{Deliver, Fetch, Peer, Window};

/// Bytes that one queue may move in a round.
const ROUND: usize = 1 << 20;
/// What a request counts beside its bytes.
const REQUEST: usize = 4096;
/// Frames of one device that stay mapped at most.
pub const MAPPED_MAX: usize = 1024;

/// What was done for a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests that read.
    pub reads: u64,
    /// Requests that wrote.
    pub writes: u64,
    /// Requests that made durable.
    pub flushes: u64,
    /// Requests that discarded.
    pub discards: u64,
    /// Bytes moved.
    pub bytes: u64,
    /// Requests that were refused or failed.
    pub errors: u64,
}

/// What the requests of a device are about; shared by its queues.
#[derive(Debug)]
pub struct Subject<'a, W> {
    /// The front end's domain.
    pub dom: DomId,
    /// The disk.
    pub storage: Shared<'a>,
    /// Whether it may be written.
    pub writable: bool,
    /// Whether sectors may be discarded.
    pub discard: bool,
    /// Frames that stay mapped, if both sides want that.
    pub grants: Option<Grants<W>>,
    /// What was done.
    pub stats: Stats,
}

/// Room for one request's data and segments; used again and again.
#[derive(Debug, Default)]
pub struct Scratch {
    data: Vec<u8>,
    segments: Vec<Segment>,
}

impl Scratch {
    /// Sets the length of the data; `Err` if there is no memory.
    fn resize(&mut self, len: usize) -> Result<(), i16> {
        let more = len.saturating_sub(self.data.len());
        self.data.try_reserve_exact(more).map_err(|_| BLKIF_RSP_ERROR)?;
        self.data.resize(len, 0);
        Ok(())
    }
}

/// Granted frames that stay mapped; the one mapped first is given up for a new one when there are too many.
#[derive(Debug)]
pub struct Grants<W> {
    mapped: BTreeMap<u32, W>,
    order: VecDeque<u32>,
}

impl<W> Default for Grants<W> {
    fn default() -> Self {
        Self { mapped: BTreeMap::new(), order: VecDeque::new() }
    }
}

impl<W: Window> Grants<W> {
    /// The mapped frame; `None` if it cannot be mapped for writing, as when it is granted for reading only.
    fn get<P: Peer<Window = W>>(&mut self, peer: &mut P, dom: DomId, grant: u32) -> Option<&W> {
        if !self.mapped.contains_key(&grant) {
            if self.mapped.len() >= MAPPED_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.mapped.remove(&oldest);
            }
            let window = peer.map_grants(dom, &[grant]).ok()?;
            self.mapped.insert(grant, window);
            self.order.push_back(grant);
        }
        self.mapped.get(&grant)
    }

    /// Frames mapped at the moment.
    pub fn count(&self) -> usize {
        self.mapped.len()
    }
}

/// A ring and its event channel.
#[derive(Debug)]
pub struct Queue<W> {
    ring: W,
    /// The local port.
    pub port: u32,
    indices: BackRing,
}

impl<W: Window> Queue<W> {
    /// Takes a ring over whose frames are mapped; requests that are in it already are served.
    pub fn attach(ring: W, pages: usize, port: u32) -> Result<Self, String> {
        let at = ring.load(offset_of!(Sring, rsp_prod));
        let queue = Self { ring, port, indices: BackRing::attach(slots(pages * 4096, SLOT_SIZE), at) };
        queue.produced().map(|_| queue)
    }

    /// The front end's producer index.
    fn produced(&self) -> Result<u32, String> {
        let produced = self.ring.load(offset_of!(Sring, req_prod));
        if self.indices.request_overflow(produced) {
            let (claimed, slots) = (produced.wrapping_sub(self.indices.rsp_prod_pvt), self.indices.nr_ents);
            return Err(format!("the ring of {slots} slots claims to hold {claimed} requests"));
        }
        Ok(produced)
    }

    /// Serves what there is, within limits. Returns whether there is more. `Err`: the front end broke the protocol.
    pub fn serve<P: Peer<Window = W>>(
        &mut self,
        peer: &mut P,
        subject: &mut Subject<'_, W>,
        scratch: &mut Scratch,
    ) -> Result<bool, String> {
        let mut left = ROUND;
        let before = self.indices.rsp_prod_pvt;
        let mut more = true;
        while more && left > 0 {
            let mut produced = self.produced()?;
            while self.indices.req_cons != produced && left > 0 {
                let at = slot_offset(self.indices.req_cons, self.indices.nr_ents, SLOT_SIZE);
                let slot = wire::slot(&self.ring, at);
                self.indices.req_cons = self.indices.req_cons.wrapping_add(1);
                let moved = self.one(peer, subject, scratch, &slot);
                left = left.saturating_sub(moved.saturating_add(REQUEST));
            }
            more = self.indices.req_cons != produced;
            if !more {
                // Before the queue rests it asks for an event, and then looks once more.
                self.ring.store(offset_of!(Sring, req_event), self.indices.req_cons.wrapping_add(1));
                fence(Ordering::SeqCst);
                produced = self.produced()?;
                more = self.indices.req_cons != produced;
            }
        }
        self.publish(peer, before);
        Ok(more)
    }

    /// Shows the responses since `before` and rings if the front end waits for one of them.
    fn publish<P: Peer>(&self, peer: &mut P, before: u32) {
        let now = self.indices.rsp_prod_pvt;
        if now == before {
            return;
        }
        self.ring.store(offset_of!(Sring, rsp_prod), now);
        fence(Ordering::SeqCst);
        if must_notify(before, now, self.ring.load(offset_of!(Sring, rsp_event))) {
            peer.notify(self.port);
        }
    }

    /// Carries one request out and writes its response; returns the bytes that the request is about.
    fn one<P: Peer<Window = W>>(
        &mut self,
        peer: &mut P,
        subject: &mut Subject<'_, W>,
        scratch: &mut Scratch,
        slot: &Slot,
    ) -> usize {
        let outcome = match wire::request(slot) {
            Ok(request) => subject.perform(peer, scratch, slot, &request),
            Err(Refusal::Unknown) => Err(BLKIF_RSP_EOPNOTSUPP),
            Err(Refusal::Malformed) => Err(BLKIF_RSP_ERROR),
        };
        let status = outcome.err().unwrap_or(BLKIF_RSP_OKAY);
        let moved = outcome.unwrap_or(0);
        subject.stats.errors += u64::from(status != BLKIF_RSP_OKAY);
        let (id, operation) = wire::identity(slot);
        let at = slot_offset(self.indices.rsp_prod_pvt, self.indices.nr_ents, SLOT_SIZE);
        let mut response = [0; 16];
        response[..8].copy_from_slice(&id.to_le_bytes());
        response[8] = operation;
        response[10..12].copy_from_slice(&status.to_le_bytes());
        self.ring.write(at, &response);
        self.indices.rsp_prod_pvt = self.indices.rsp_prod_pvt.wrapping_add(1);
        moved
    }
}

impl<W: Window> Subject<'_, W> {
    /// Returns the bytes that the request was about, or the status of the response.
    fn perform<P: Peer<Window = W>>(
        &mut self,
        peer: &mut P,
        scratch: &mut Scratch,
        slot: &Slot,
        request: &Request,
    ) -> Result<usize, i16> {
        if let Operation::Discard { count } = request.operation {
            return self.discard(request.sector, count);
        }
        self.gather(peer, scratch, slot, &request.segments)?;
        let bytes = scratch.segments.iter().map(|segment| usize::from(segment.len)).sum();
        let end = request.sector.checked_add(bytes as u64 / SECTOR);
        let inside = end.is_some_and(|end| end <= self.storage.borrow().sectors());
        if bytes > 0 && !inside {
            return Err(BLKIF_RSP_ERROR);
        }
        scratch.resize(bytes)?;
        match request.operation {
            Operation::Read => self.read(peer, scratch, request.sector)?,
            Operation::Write => self.write(peer, scratch, request.sector)?,
            Operation::Barrier | Operation::Flush | Operation::Discard { .. } => {
                self.flush()?;
                if bytes > 0 {
                    self.write(peer, scratch, request.sector)?;
                    self.flush()?;
                }
            }
        }
        self.stats.bytes += bytes as u64;
        Ok(bytes)
    }

    /// Collects the segments, from the slot or from the pages that it names.
    fn gather<P: Peer<Window = W>>(
        &mut self,
        peer: &mut P,
        scratch: &mut Scratch,
        slot: &Slot,
        segments: &Segments,
    ) -> Result<(), i16> {
        let malformed = |_| BLKIF_RSP_ERROR;
        scratch.segments.clear();
        match segments {
            Segments::Direct(count) => {
                for number in 0..*count {
                    scratch.segments.push(wire::direct_segment(slot, number).map_err(malformed)?);
                }
            }
            Segments::Indirect { count, pages } => {
                let count = usize::from(*count);
                for (page, &grant) in pages.iter().enumerate().take(count.div_ceil(PER_PAGE)) {
                    let here = (count - page * PER_PAGE).min(PER_PAGE);
                    let mut descriptors = [0; 4096];
                    let whole = Segment { grant, offset: 0, len: (here * SEGMENT) as u16 };
                    self.fetch(peer, &[whole], &mut descriptors[..here * SEGMENT])?;
                    for number in 0..here {
                        scratch.segments.push(wire::segment(&descriptors, number).map_err(malformed)?);
                    }
                }
            }
        }
        Ok(())
    }

    fn read<P: Peer<Window = W>>(
        &mut self,
        peer: &mut P,
        scratch: &mut Scratch,
        sector: u64,
    ) -> Result<(), i16> {
        self.stats.reads += 1;
        self.storage.borrow_mut().read(sector, &mut scratch.data).map_err(|_| BLKIF_RSP_ERROR)?;
        self.deliver(peer, &scratch.segments, &scratch.data)
    }

    fn write<P: Peer<Window = W>>(
        &mut self,
        peer: &mut P,
        scratch: &mut Scratch,
        sector: u64,
    ) -> Result<(), i16> {
        if !self.writable {
            return Err(BLKIF_RSP_ERROR);
        }
        self.stats.writes += 1;
        self.fetch(peer, &scratch.segments, &mut scratch.data)?;
        self.storage.borrow_mut().write(sector, &scratch.data).map_err(|_| BLKIF_RSP_ERROR)
    }

    fn flush(&mut self) -> Result<(), i16> {
        self.stats.flushes += 1;
        self.storage.borrow_mut().flush().map_err(|_| BLKIF_RSP_ERROR)
    }

    fn discard(&mut self, sector: u64, count: u64) -> Result<usize, i16> {
        if !self.discard {
            return Err(BLKIF_RSP_EOPNOTSUPP);
        }
        if !self.writable {
            return Err(BLKIF_RSP_ERROR);
        }
        self.stats.discards += 1;
        let mut storage = self.storage.borrow_mut();
        let inside = sector.checked_add(count).is_some_and(|end| end <= storage.sectors());
        if !inside {
            return Err(BLKIF_RSP_ERROR);
        }
        storage.discard(sector, count).map_err(|_| BLKIF_RSP_ERROR)?;
        // Clearing memory takes its time, too.
        Ok(usize::try_from(count.saturating_mul(SECTOR)).unwrap_or(usize::MAX))
    }

    /// Copies the segments' bytes into `into`, which is as long as they are together.
    fn fetch<P: Peer<Window = W>>(
        &mut self,
        peer: &mut P,
        segments: &[Segment],
        into: &mut [u8],
    ) -> Result<(), i16> {
        let mut rest = into;
        let mut list = Vec::new();
        for segment in segments {
            let (here, after) = rest.split_at_mut(usize::from(segment.len));
            rest = after;
            let grants = self.grants.as_mut();
            match grants.and_then(|grants| grants.get(peer, self.dom, segment.grant)) {
                Some(window) => window.read(usize::from(segment.offset), here),
                None => {
                    list.push(Fetch { grant: segment.grant, offset: segment.offset, into: here, done: false })
                }
            }
        }
        if !list.is_empty() {
            peer.fetch(self.dom, &mut list);
        }
        if list.iter().all(|entry| entry.done) { Ok(()) } else { Err(BLKIF_RSP_ERROR) }
    }

    /// Copies bytes into the segments.
    fn deliver<P: Peer<Window = W>>(
        &mut self,
        peer: &mut P,
        segments: &[Segment],
        from: &[u8],
    ) -> Result<(), i16> {
        let mut rest = from;
        let mut list = Vec::new();
        for segment in segments {
            let (here, after) = rest.split_at(usize::from(segment.len));
            rest = after;
            let grants = self.grants.as_mut();
            match grants.and_then(|grants| grants.get(peer, self.dom, segment.grant)) {
                Some(window) => window.write(usize::from(segment.offset), here),
                None => list.push(Deliver {
                    grant: segment.grant,
                    offset: segment.offset,
                    from: here,
                    done: false,
                }),
            }
        }
        if !list.is_empty() {
            peer.deliver(self.dom, &mut list);
        }
        if list.iter().all(|entry| entry.done) { Ok(()) } else { Err(BLKIF_RSP_ERROR) }
    }
}
