//! The two rings of an interface, from the guest's side (public header `io/netif.h`).
//!
//! Each ring has its own pages for data, granted once and used again and again; a slot's `id` is the number of its page. Data is copied in and
//! out of them, so the back end never sees other memory, and nothing that it changes later matters.
//!
//! **Invariants.** A page of [`Outbox`] is either free or in exactly one request under way. A page of [`Inbox`] is either in one request
//! under way or, between its response and the next request, ours. A response for a page that is not under way, more responses than
//! requests, or a piece outside its page is the back end's breach: the ring is [`Broken`] and used no more.

use crate::memory::SharedPages;
use abi::io::{
    netif::{
        NETIF_RSP_NULL, NETIF_RSP_OKAY, NETRXF_CSUM_BLANK, NETRXF_DATA_VALIDATED, NETRXF_EXTRA_INFO,
        NETRXF_MORE_DATA, NETTXF_CSUM_BLANK, NETTXF_DATA_VALIDATED, NETTXF_MORE_DATA, NetifRxRequest,
        NetifRxResponse, NetifTxRequest, NetifTxResponse, RX_SLOT_SIZE, TX_SLOT_SIZE,
    },
    ring::{FrontRing, RingIdx, Sring, must_notify, slot_offset, slots},
};
use alloc::{sync::Arc, vec, vec::Vec};
use core::{
    mem::offset_of,
    sync::atomic::{Ordering, fence},
};

const PAGE: usize = 4096;
/// Longest frame.
pub(super) const FRAME_MAX: usize = 65535;

/// The other side broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// What both rings have: the page, our indices, pages for data and their grants.
#[derive(Debug)]
struct Ring {
    page: Arc<SharedPages>,
    own: FrontRing,
    /// Requests that the back end knows of.
    published: RingIdx,
    data: Arc<SharedPages>,
    references: Vec<u32>,
    /// Pages that are with the back end.
    away: Vec<bool>,
}

impl Ring {
    fn new(page: Arc<SharedPages>, data: Arc<SharedPages>, references: Vec<u32>, slot: usize) -> Self {
        page.put(0, &Sring::initial());
        let own = FrontRing::new(slots(PAGE, slot));
        let away = vec![false; references.len()];
        Self { page, own, published: 0, data, references, away }
    }

    /// Begins anew: no page is with the back end.
    fn restart(&mut self) {
        self.page.put(0, &Sring::initial());
        self.own = FrontRing::new(self.own.nr_ents);
        self.published = 0;
        self.away.fill(false);
    }

    fn at(&self, index: RingIdx, slot: usize) -> usize {
        slot_offset(index, self.own.nr_ents, slot)
    }

    /// Shows new requests to the back end. Returns whether it wants to be told.
    fn publish(&mut self) -> bool {
        let (old, new) = (self.published, self.own.req_prod_pvt);
        if old == new {
            return false;
        }
        self.published = new;
        self.page.store_u32(offset_of!(Sring, req_prod), new);
        fence(Ordering::SeqCst);
        must_notify(old, new, self.page.load_u32(offset_of!(Sring, req_event)))
    }

    /// How many responses wait.
    fn waiting(&self) -> Result<u32, Broken> {
        let produced = self.page.load_u32(offset_of!(Sring, rsp_prod));
        let waiting = self.own.unconsumed_responses(produced);
        if waiting > self.published.wrapping_sub(self.own.rsp_cons) { Err(Broken) } else { Ok(waiting) }
    }

    /// Asks for an event with the next response. Returns whether one is there already.
    fn ask(&self) -> bool {
        self.page.store_u32(offset_of!(Sring, rsp_event), self.own.rsp_cons.wrapping_add(1));
        fence(Ordering::SeqCst);
        self.page.load_u32(offset_of!(Sring, rsp_prod)) != self.own.rsp_cons
    }

    /// A page comes back.
    fn take_back(&mut self, id: u16) -> Result<usize, Broken> {
        let page = usize::from(id);
        match self.away.get_mut(page) {
            Some(away @ true) => {
                *away = false;
                Ok(page)
            }
            _ => Err(Broken),
        }
    }
}

/// The ring on which frames leave.
#[derive(Debug)]
pub(super) struct Outbox {
    ring: Ring,
    free: Vec<u16>,
    /// The back end takes frames of several pages.
    gathers: bool,
    /// Frames that the back end could not take.
    pub(super) errors: u64,
}

impl Outbox {
    pub(super) fn new(
        page: Arc<SharedPages>,
        data: Arc<SharedPages>,
        references: Vec<u32>,
        gathers: bool,
    ) -> Self {
        let free = (0..references.len() as u16).rev().collect();
        Self { ring: Ring::new(page, data, references, TX_SLOT_SIZE), free, gathers, errors: 0 }
    }

    /// Begins anew with a back end that knows nothing of the old one. Frames that were not sent are lost.
    pub(super) fn restart(&mut self, gathers: bool) {
        self.ring.restart();
        self.free = (0..self.ring.references.len() as u16).rev().collect();
        self.gathers = gathers;
    }

    /// Whether there is room for a frame of this length.
    pub(super) fn has_room(&self, len: usize) -> bool {
        let pages = len.div_ceil(PAGE);
        pages <= self.free.len()
            && pages <= self.ring.own.free_requests() as usize
            && (pages == 1 || self.gathers)
            && len <= FRAME_MAX
    }

    /// Puts a frame in; `false` if there is no room. [`Outbox::publish`] shows it to the back end.
    pub(super) fn push(&mut self, frame: &[u8], blank: bool) -> bool {
        if frame.is_empty() || !self.has_room(frame.len()) {
            return false;
        }
        let mut pieces = frame.chunks(PAGE).peekable();
        let mut first = true;
        while let Some(piece) = pieces.next() {
            let Some(id) = self.free.pop() else { return false };
            let page = usize::from(id);
            self.ring.data.write(page * PAGE, piece);
            let mut flags = if pieces.peek().is_some() { NETTXF_MORE_DATA } else { 0 };
            if first && blank {
                flags |= NETTXF_CSUM_BLANK | NETTXF_DATA_VALIDATED;
            }
            // The first request has the length of the whole frame.
            let size = if first { frame.len() } else { piece.len() } as u16;
            let gref = self.ring.references[page];
            let request = NetifTxRequest { gref, offset: 0, flags, id, size };
            let at = self.ring.own.req_prod_pvt;
            self.ring.page.put(self.ring.at(at, TX_SLOT_SIZE), &request);
            self.ring.own.req_prod_pvt = at.wrapping_add(1);
            self.ring.away[page] = true;
            first = false;
        }
        true
    }

    /// Shows new frames to the back end. Returns whether it wants to be told.
    pub(super) fn publish(&mut self) -> bool {
        self.ring.publish()
    }

    /// Takes pages back that the back end is done with, and asks to hear of the next.
    pub(super) fn reclaim(&mut self) -> Result<(), Broken> {
        loop {
            for _ in 0..self.ring.waiting()? {
                let at = self.ring.at(self.ring.own.rsp_cons, TX_SLOT_SIZE);
                let response: NetifTxResponse = self.ring.page.get(at);
                self.ring.own.rsp_cons = self.ring.own.rsp_cons.wrapping_add(1);
                if response.status == NETIF_RSP_NULL {
                    continue;
                }
                self.errors += u64::from(response.status != NETIF_RSP_OKAY);
                self.ring.take_back(response.id)?;
                self.free.push(response.id);
            }
            if !self.ring.ask() {
                return Ok(());
            }
        }
    }
}

/// A frame that came.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    /// Nobody needs to look at its checksum.
    pub(super) intact: bool,
}

/// The ring on which frames come.
#[derive(Debug)]
pub(super) struct Inbox {
    ring: Ring,
    /// Frames that could not be received.
    pub(super) errors: u64,
}

impl Inbox {
    /// A ring with all pages offered. [`Inbox::publish`] shows them to the back end.
    pub(super) fn new(page: Arc<SharedPages>, data: Arc<SharedPages>, references: Vec<u32>) -> Self {
        let count = references.len() as u16;
        let mut inbox = Self { ring: Ring::new(page, data, references, RX_SLOT_SIZE), errors: 0 };
        (0..count).for_each(|id| inbox.offer(id));
        inbox
    }

    /// Begins anew with a back end that knows nothing of the old one, with all pages offered.
    pub(super) fn restart(&mut self) {
        self.ring.restart();
        (0..self.ring.references.len() as u16).for_each(|id| self.offer(id));
    }

    fn offer(&mut self, id: u16) {
        if self.ring.own.is_full() {
            return;
        }
        let gref = self.ring.references[usize::from(id)];
        let request = NetifRxRequest { id, pad: 0, gref };
        let at = self.ring.own.req_prod_pvt;
        self.ring.page.put(self.ring.at(at, RX_SLOT_SIZE), &request);
        self.ring.own.req_prod_pvt = at.wrapping_add(1);
        self.ring.away[usize::from(id)] = true;
    }

    /// Shows offered pages to the back end. Returns whether it wants to be told.
    pub(super) fn publish(&mut self) -> bool {
        self.ring.publish()
    }

    /// The next whole frame. If there is none, the next response brings an event.
    pub(super) fn pop(&mut self) -> Result<Option<Frame>, Broken> {
        loop {
            while self.ring.waiting()? > 0 {
                if let Some(frame) = self.assemble()? {
                    return Ok(Some(frame));
                }
            }
            if !self.ring.ask() {
                return Ok(None);
            }
        }
    }

    /// Takes the responses of one frame; `None` if it is damaged.
    fn assemble(&mut self) -> Result<Option<Frame>, Broken> {
        let mut frame = Frame::default();
        let mut whole = true;
        let mut first = true;
        loop {
            let response: NetifRxResponse = self.response()?;
            if first {
                frame.intact = response.flags & (NETRXF_CSUM_BLANK | NETRXF_DATA_VALIDATED) != 0;
            }
            let page = self.ring.take_back(response.id)?;
            match usize::try_from(response.status) {
                Ok(len) => {
                    let start = usize::from(response.offset);
                    if start + len > PAGE || frame.bytes.len() + len > FRAME_MAX {
                        return Err(Broken);
                    }
                    let held = frame.bytes.len();
                    frame.bytes.resize(held + len, 0);
                    self.ring.data.read(page * PAGE + start, &mut frame.bytes[held..]);
                }
                Err(_) => whole = false,
            }
            self.offer(response.id);
            // Extra info comes only with features that this side does not offer.
            if response.flags & NETRXF_EXTRA_INFO != 0 {
                return Err(Broken);
            }
            first = false;
            if response.flags & NETRXF_MORE_DATA == 0 {
                break;
            }
        }
        self.errors += u64::from(!whole);
        Ok((whole && !frame.bytes.is_empty()).then_some(frame))
    }

    fn response(&mut self) -> Result<NetifRxResponse, Broken> {
        if self.ring.waiting()? == 0 {
            return Err(Broken);
        }
        let at = self.ring.at(self.ring.own.rsp_cons, RX_SLOT_SIZE);
        self.ring.own.rsp_cons = self.ring.own.rsp_cons.wrapping_add(1);
        Ok(self.ring.page.get(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::io::netif::{NETIF_RSP_ERROR, NetifRxResponse};

    const COUNT: usize = 8;

    fn pages(count: usize) -> Arc<SharedPages> {
        Arc::new(SharedPages::new(count).expect("memory"))
    }

    fn outbox() -> (Outbox, Arc<SharedPages>, Arc<SharedPages>) {
        let (page, data) = (pages(1), pages(COUNT));
        let outbox = Outbox::new(page.clone(), data.clone(), (100..100 + COUNT as u32).collect(), true);
        (outbox, page, data)
    }

    fn answer(page: &SharedPages, index: u32, id: u16, status: i16) {
        page.put(slot_offset(index, 256, TX_SLOT_SIZE), &NetifTxResponse { id, status });
        page.store_u32(offset_of!(Sring, rsp_prod), index + 1);
    }

    #[test]
    fn frames_leave_in_pieces() {
        let (mut outbox, page, data) = outbox();
        let frame: Vec<u8> = (0..5000u32).map(|n| n as u8).collect();
        assert!(outbox.push(&frame, true) && outbox.publish());
        let request = |index| page.get::<NetifTxRequest>(slot_offset(index, 256, TX_SLOT_SIZE));
        let (first, second) = (request(0), request(1));
        assert_eq!((first.gref, first.size, first.flags), (100, 5000, 7));
        assert_eq!((second.gref, second.size, second.flags), (101, 904, 0));
        let mut seen = [0; 904];
        data.read(4096, &mut seen);
        assert_eq!(seen[..], frame[4096..]);
        // Six pages are left.
        assert!(outbox.has_room(6 * PAGE) && !outbox.has_room(6 * PAGE + 1));
        answer(&page, 0, 0, NETIF_RSP_OKAY);
        answer(&page, 1, 1, NETIF_RSP_ERROR);
        assert_eq!(outbox.reclaim(), Ok(()));
        assert!(outbox.has_room(8 * PAGE));
        assert_eq!(outbox.errors, 1);
    }

    #[test]
    fn a_new_back_end_finds_every_page() {
        let (mut outbox, page, _) = outbox();
        for _ in 0..3 {
            assert!(outbox.push(&[1; 100], false));
        }
        outbox.publish();
        outbox.restart(false);
        assert_eq!(page.load_u32(offset_of!(Sring, req_prod)), 0);
        assert_eq!(outbox.free.len(), COUNT);
        assert!(outbox.push(&[1; 100], false) && !outbox.has_room(5000));
        outbox.publish();
        assert_eq!(page.load_u32(offset_of!(Sring, req_prod)), 1);
    }

    #[test]
    fn wrong_answers_break_the_ring() {
        for (id, count) in [(1, 1), (9, 1), (0, 2)] {
            let (mut outbox, page, _) = outbox();
            outbox.push(&[1; 60], false);
            outbox.publish();
            answer(&page, 0, id, NETIF_RSP_OKAY);
            page.store_u32(offset_of!(Sring, rsp_prod), count);
            assert_eq!(outbox.reclaim(), Err(Broken));
        }
    }

    fn inbox() -> (Inbox, Arc<SharedPages>, Arc<SharedPages>) {
        let (page, data) = (pages(1), pages(COUNT));
        let mut inbox = Inbox::new(page.clone(), data.clone(), (100..100 + COUNT as u32).collect());
        inbox.publish();
        (inbox, page, data)
    }

    fn receive(page: &SharedPages, index: u32, id: u16, offset: u16, flags: u16, status: i16) {
        let response = NetifRxResponse { id, offset, flags, status };
        page.put(slot_offset(index, 256, RX_SLOT_SIZE), &response);
        page.store_u32(offset_of!(Sring, rsp_prod), index + 1);
    }

    #[test]
    fn frames_come_in_pieces() {
        let (mut inbox, page, data) = inbox();
        assert_eq!(inbox.pop(), Ok(None));
        data.write(0, &[1; 4096]);
        data.write(PAGE + 16, &[2; 4]);
        receive(&page, 0, 0, 0, NETRXF_MORE_DATA | NETRXF_CSUM_BLANK, 4096);
        receive(&page, 1, 1, 16, 0, 4);
        receive(&page, 2, 2, 0, 0, -1);
        let frame = inbox.pop().expect("sane").expect("a frame");
        assert!(frame.intact && frame.bytes.len() == 4100 && frame.bytes[4096..] == [2; 4]);
        assert_eq!(inbox.pop(), Ok(None));
        assert_eq!(inbox.errors, 1);
        assert!(!inbox.publish(), "the back end asked for no event");
        assert_eq!(page.load_u32(offset_of!(Sring, req_prod)), COUNT as u32 + 3);
    }

    #[test]
    fn wrong_frames_break_the_ring() {
        let cases: [(u16, u16, u16, i16); 4] =
            [(9, 0, 0, 60), (0, 4000, 0, 97), (0, 0, NETRXF_MORE_DATA, 60), (0, 0, NETRXF_EXTRA_INFO, 60)];
        for (id, offset, flags, status) in cases {
            let (mut inbox, page, _) = inbox();
            receive(&page, 0, id, offset, flags, status);
            assert_eq!(inbox.pop(), Err(Broken));
        }
        let (mut inbox, page, _) = inbox();
        page.store_u32(offset_of!(Sring, rsp_prod), COUNT as u32 + 1);
        assert_eq!(inbox.pop(), Err(Broken));
    }
}
