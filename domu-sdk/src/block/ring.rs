//! The ring of one queue, and the requests in it (public header `io/blkif.h`).
//!
//! **Invariants.** A request's number (its `id`) is the place of its [`Flight`] in a table with as many places as the ring has slots; a
//! place is taken when a request is put in, and free again when whoever waited has its response. So the ring never overflows, and a
//! response is for a request that is under way, or the back end broke the protocol and the queue ends. Buffers of a request belong to its
//! flight until the response is there, even if nobody waits any longer: the back end may still write into them.
//!
//! Nothing here knows of event channels; [`super::queue`] does.

use super::pool::Buffer;
use crate::memory::SharedPages;
use abi::io::{
    blkif::{BlkifResponse, SLOT_SIZE},
    ring::{FrontRing, RING_OFFSET, Sring, must_notify, slot_offset, slots},
};
use alloc::{sync::Arc, vec::Vec};
use core::{
    mem::offset_of,
    sync::atomic::{Ordering, fence},
    task::{Context, Poll, Waker},
};

/// A slot's bytes.
pub(super) type Slot = [u8; SLOT_SIZE];

/// What came back for a request: its status, and its buffers.
pub(super) type Answer = (i16, Vec<Buffer>);

/// A place for a request.
#[derive(Debug)]
enum Flight {
    Free,
    Flying { slot: Slot, waker: Option<Waker>, buffers: Vec<Buffer>, awaited: bool },
    Landed(Answer),
}

/// The other side broke the protocol, or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// The front end's side of a ring.
#[derive(Debug)]
pub(super) struct Ring {
    memory: Arc<SharedPages>,
    indices: FrontRing,
    flights: Vec<Flight>,
    free: Vec<u16>,
    broken: bool,
}

impl Ring {
    /// Sets a fresh ring up in pages that are not granted yet.
    pub(super) fn new(memory: Arc<SharedPages>) -> Self {
        let count = slots(memory.count() * 4096, SLOT_SIZE);
        memory.put(0, &Sring::initial());
        let flights = (0..count).map(|_| Flight::Free).collect();
        let free = (0..count as u16).rev().collect();
        Self { memory, indices: FrontRing::new(count), flights, free, broken: false }
    }

    /// Puts a request in, if there is room: its number, and whether the back end waits for a signal. `fill` gets the number.
    pub(super) fn submit(
        &mut self,
        buffers: &mut Vec<Buffer>,
        fill: impl FnOnce(u64, &[Buffer]) -> Slot,
    ) -> Result<Option<(u16, bool)>, Broken> {
        if self.broken {
            return Err(Broken);
        }
        if self.indices.is_full() {
            return Ok(None);
        }
        let Some(number) = self.free.pop() else { return Ok(None) };
        let slot = fill(number.into(), buffers);
        self.flights[usize::from(number)] =
            Flight::Flying { slot, waker: None, buffers: core::mem::take(buffers), awaited: true };
        Ok(Some((number, self.put(&slot))))
    }

    /// Puts a slot into the ring, which has room; whether the back end waits for a signal.
    fn put(&mut self, slot: &Slot) -> bool {
        let old = self.indices.req_prod_pvt;
        self.memory.write(slot_offset(old, self.indices.nr_ents, SLOT_SIZE), slot);
        let new = old.wrapping_add(1);
        self.indices.req_prod_pvt = new;
        self.memory.store_u32(offset_of!(Sring, req_prod), new);
        fence(Ordering::SeqCst);
        let event = self.memory.load_u32(offset_of!(Sring, req_event));
        must_notify(old, new, event)
    }

    /// Begins anew with a back end that knows nothing of the old one: every request under way is in the ring again, in any order, as
    /// requests under way are. What was answered before must have been received.
    pub(super) fn restart(&mut self) {
        self.memory.put(0, &Sring::initial());
        self.indices = FrontRing::new(self.indices.nr_ents);
        let again = |flight: &Flight| match flight {
            Flight::Flying { slot, .. } => Some(*slot),
            _ => None,
        };
        let slots: Vec<Slot> = self.flights.iter().filter_map(again).collect();
        for slot in slots {
            self.put(&slot);
        }
    }

    /// The answer to a request, or where to be woken for it.
    pub(super) fn poll(&mut self, number: u16, context: &Context<'_>) -> Poll<Result<Answer, Broken>> {
        let place = &mut self.flights[usize::from(number)];
        match place {
            Flight::Landed(_) => match core::mem::replace(place, Flight::Free) {
                Flight::Landed(answer) => {
                    self.free.push(number);
                    Poll::Ready(Ok(answer))
                }
                _ => Poll::Ready(Err(Broken)),
            },
            _ if self.broken => Poll::Ready(Err(Broken)),
            Flight::Flying { waker, .. } => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            Flight::Free => Poll::Ready(Err(Broken)),
        }
    }

    /// Nobody waits for this request any longer. If its answer is there already, its buffers come back.
    pub(super) fn abandon(&mut self, number: u16) -> Vec<Buffer> {
        let place = &mut self.flights[usize::from(number)];
        match place {
            Flight::Flying { waker, awaited, .. } => {
                (*waker, *awaited) = (None, false);
                Vec::new()
            }
            Flight::Landed(_) => {
                let landed = core::mem::replace(place, Flight::Free);
                self.free.push(number);
                match landed {
                    Flight::Landed((_, buffers)) => buffers,
                    _ => Vec::new(),
                }
            }
            Flight::Free => Vec::new(),
        }
    }

    /// Takes the responses that are there. Buffers of requests that nobody waits for are handed to `unused`. Returns whether there
    /// were responses.
    pub(super) fn receive(&mut self, unused: &mut Vec<Buffer>) -> Result<bool, Broken> {
        if self.broken {
            return Err(Broken);
        }
        let mut received = false;
        loop {
            let produced = self.memory.load_u32(offset_of!(Sring, rsp_prod));
            if self.indices.response_overflow(produced) || !self.behind(produced) {
                return Err(self.end());
            }
            while self.indices.rsp_cons != produced {
                let at = slot_offset(self.indices.rsp_cons, self.indices.nr_ents, SLOT_SIZE);
                let response: BlkifResponse = self.memory.get(at);
                self.indices.rsp_cons = self.indices.rsp_cons.wrapping_add(1);
                self.land(&response, unused)?;
                received = true;
            }
            // Before the queue rests it asks for a signal, and then looks once more.
            self.memory.store_u32(offset_of!(Sring, rsp_event), produced.wrapping_add(1));
            fence(Ordering::SeqCst);
            if self.memory.load_u32(offset_of!(Sring, rsp_prod)) == produced {
                return Ok(received);
            }
        }
    }

    /// Whether there are at most as many responses as requests.
    fn behind(&self, produced: u32) -> bool {
        let sent = self.indices.req_prod_pvt.wrapping_sub(self.indices.rsp_cons);
        produced.wrapping_sub(self.indices.rsp_cons) <= sent
    }

    fn land(&mut self, response: &BlkifResponse, unused: &mut Vec<Buffer>) -> Result<(), Broken> {
        let number = usize::try_from(response.id).unwrap_or(usize::MAX);
        let place = match self.flights.get_mut(number) {
            Some(place @ Flight::Flying { .. }) => place,
            _ => return Err(self.end()),
        };
        let Flight::Flying { waker, buffers, awaited, .. } = core::mem::replace(place, Flight::Free) else {
            return Err(Broken);
        };
        if awaited {
            *place = Flight::Landed((response.status, buffers));
        } else {
            unused.extend(buffers);
            self.free.push(number as u16);
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Ends the queue and wakes everybody who waits. Buffers of requests under way stay here: the other side may still write to them.
    pub(super) fn end(&mut self) -> Broken {
        self.broken = true;
        for flight in &mut self.flights {
            if let Flight::Flying { waker, .. } = flight
                && let Some(waker) = waker.take()
            {
                waker.wake();
            }
        }
        Broken
    }

    /// Requests under way.
    pub(super) fn under_way(&self) -> usize {
        self.flights.iter().filter(|flight| matches!(flight, Flight::Flying { .. })).count()
    }

    /// Slots of the ring.
    #[cfg(test)]
    pub(super) fn slots(&self) -> u32 {
        self.indices.nr_ents
    }
}

const _: () = assert!(RING_OFFSET == 64);

#[cfg(test)]
mod tests {
    use super::*;
    use abi::io::ring::BackRing;
    use alloc::vec;

    struct Back {
        memory: Arc<SharedPages>,
        indices: BackRing,
    }

    impl Back {
        fn take(&mut self) -> Option<u64> {
            let produced = self.memory.load_u32(offset_of!(Sring, req_prod));
            if self.indices.req_cons == produced {
                return None;
            }
            let at = slot_offset(self.indices.req_cons, self.indices.nr_ents, SLOT_SIZE);
            self.indices.req_cons = self.indices.req_cons.wrapping_add(1);
            Some(self.memory.load_u64(at + 8))
        }

        fn answer(&mut self, id: u64, status: i16) {
            let at = slot_offset(self.indices.rsp_prod_pvt, self.indices.nr_ents, SLOT_SIZE);
            self.memory.put(at, &BlkifResponse { id, status, ..Default::default() });
            self.indices.rsp_prod_pvt = self.indices.rsp_prod_pvt.wrapping_add(1);
            self.memory.store_u32(offset_of!(Sring, rsp_prod), self.indices.rsp_prod_pvt);
        }
    }

    fn pair(pages: usize) -> (Ring, Back) {
        let memory = Arc::new(SharedPages::new(pages).expect("memory"));
        let ring = Ring::new(memory.clone());
        let indices = BackRing::attach(ring.slots(), 0);
        (ring, Back { memory, indices })
    }

    fn submit(ring: &mut Ring) -> Option<(u16, bool)> {
        let fill = |id: u64, _: &[Buffer]| {
            let mut slot = [0; SLOT_SIZE];
            slot[8..16].copy_from_slice(&id.to_le_bytes());
            slot
        };
        ring.submit(&mut Vec::new(), fill).expect("sound")
    }

    fn status(ring: &mut Ring, number: u16) -> Option<i16> {
        match ring.poll(number, &Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Some(answer.expect("sound").0),
            Poll::Pending => None,
        }
    }

    #[test]
    fn answers_find_their_requests_in_any_order() {
        let (mut ring, mut back) = pair(1);
        for round in 0..40 {
            let (a, first) = submit(&mut ring).expect("room");
            let (b, second) = submit(&mut ring).expect("room");
            assert_eq!(
                (first, second),
                (round == 0, false),
                "one signal, since the other side asked for none since"
            );
            let ids = (back.take().expect("a"), back.take().expect("b"));
            assert_eq!(ids, (a.into(), b.into()));
            back.answer(ids.1, -1);
            assert_eq!(ring.receive(&mut vec![]), Ok(true));
            assert_eq!((status(&mut ring, a), status(&mut ring, b)), (None, Some(-1)));
            back.answer(ids.0, 0);
            assert_eq!(ring.receive(&mut vec![]), Ok(true));
            assert_eq!(status(&mut ring, a), Some(0));
        }
    }

    #[test]
    fn a_full_ring_takes_no_more() {
        let (mut ring, mut back) = pair(4);
        assert_eq!(ring.slots(), 128);
        for _ in 0..128 {
            assert!(submit(&mut ring).is_some());
        }
        assert_eq!(submit(&mut ring), None);
        let id = back.take().expect("request");
        back.answer(id, 0);
        ring.receive(&mut vec![]).expect("sound");
        // The answer is not fetched yet, so its number is still taken.
        assert_eq!(submit(&mut ring), None);
        assert_eq!(status(&mut ring, id as u16), Some(0));
        assert!(submit(&mut ring).is_some());
    }

    #[test]
    fn an_abandoned_request_frees_its_place_when_it_is_answered() {
        let (mut ring, mut back) = pair(1);
        let (number, _) = submit(&mut ring).expect("room");
        ring.abandon(number);
        assert_eq!(ring.under_way(), 1);
        let id = back.take().expect("request");
        back.answer(id, 0);
        ring.receive(&mut vec![]).expect("sound");
        assert_eq!((ring.under_way(), ring.free.len()), (0, 32));
    }

    #[test]
    fn a_new_back_end_gets_what_has_no_answer() {
        let (mut ring, mut back) = pair(1);
        let numbers: Vec<u16> = (0..5).map(|_| submit(&mut ring).expect("room").0).collect();
        for _ in 0..3 {
            back.take().expect("request");
        }
        back.answer(numbers[1].into(), -2);
        ring.receive(&mut vec![]).expect("sound");
        ring.restart();
        let mut back = Back { memory: ring.memory.clone(), indices: BackRing::attach(ring.slots(), 0) };
        let mut ids = Vec::new();
        while let Some(id) = back.take() {
            ids.push(id as u16);
            back.answer(id, 0);
        }
        ids.sort_unstable();
        let mut wanted = [numbers[0], numbers[2], numbers[3], numbers[4]];
        wanted.sort_unstable();
        assert_eq!(ids, wanted);
        ring.receive(&mut vec![]).expect("sound");
        let seen: Vec<_> = numbers.iter().map(|&number| status(&mut ring, number)).collect();
        assert_eq!(seen, [Some(0), Some(-2), Some(0), Some(0), Some(0)]);
    }

    #[test]
    fn a_lying_back_end_ends_the_queue() {
        for lie in 0..3 {
            let (mut ring, mut back) = pair(1);
            let (number, _) = submit(&mut ring).expect("room");
            match lie {
                0 => back.answer(99, 0),
                1 => {
                    back.answer(number.into(), 0);
                    back.answer(number.into(), 0);
                }
                _ => back.memory.store_u32(offset_of!(Sring, rsp_prod), 1000),
            }
            assert_eq!(ring.receive(&mut vec![]), Err(Broken), "lie {lie}");
            assert_eq!(ring.receive(&mut vec![]), Err(Broken));
            assert!(ring.submit(&mut vec![], |_, _| [0; SLOT_SIZE]).is_err());
        }
    }
}
