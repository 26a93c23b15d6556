//! The two rings of a network queue: frames from the guest, frames to the guest.
//!
//! # From the guest ([`Sender`])
//! A frame is a chain of slots: a first request with the length of the whole frame, extra-info slots if it says so, then further
//! requests with one more piece each as long as the one before says `more_data`. A chain is published as a whole. Every slot gets one response in
//! its place; those of extra-info slots say nothing (`NETIF_RSP_NULL`).
//!
//! # To the guest ([`Receiver`])
//! The guest offers empty pages; a frame takes as many as it needs, and the responses tell their lengths, chained by `more_data`.
//! Frames wait in a bounded queue for pages; what exceeds it is dropped, as on any wire.
//!
//! # Invariants
//! - Our own indices live here, never in the page. The guest's producer index is read once per look, and more requests than slots end
//!   the device.
//! - Each slot is copied once; offset, length and chain are checked on the copy.
//! - Bytes are copied by the hypervisor from and to granted frames; nothing of the guest's but the rings is ever mapped.
//! - A frame that cannot be fetched (bad grant) costs the guest that frame; a ring that makes no sense costs it the device.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::mem::offset_of;
use core::sync::atomic::{Ordering, fence};

use abi::io::netif::{
    NETIF_RSP_ERROR, NETIF_RSP_NULL, NETIF_RSP_OKAY, NETRXF_CSUM_BLANK, NETRXF_DATA_VALIDATED,
    NETRXF_MORE_DATA, NETTXF_CSUM_BLANK, NETTXF_DATA_VALIDATED, NETTXF_EXTRA_INFO, NETTXF_MORE_DATA,
    RX_SLOT_SIZE, TX_SLOT_SIZE, XEN_NETIF_EXTRA_FLAG_MORE, XEN_NETIF_EXTRA_TYPE_HASH,
    XEN_NETIF_EXTRA_TYPE_MCAST_ADD, XEN_NETIF_EXTRA_TYPE_MCAST_DEL, XEN_NETIF_NR_SLOTS_MIN,
};
use abi::io::ring::{BackRing, Sring, must_notify, slot_offset, slots};

use super::frame::HEADER;
use super::limit::Limit;
use crate::DomId;
use crate::hypervisor::{Deliver, Fetch, Hypervisor, Window};

const PAGE: usize = 4096;
/// Frames that one look takes from a ring at most.
const FRAMES: usize = 64;
/// Bytes after which a look takes no further frame.
const BYTES: usize = 256 << 10;
/// Frames that may wait for a guest's empty pages.
pub const WAITING: usize = 512;
/// Bytes that may wait.
pub const WAITING_BYTES: usize = 1 << 20;
/// Extra-info slots of one frame: one of each kind.
const EXTRAS: usize = 4;

/// A frame, in Dom0's memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
    /// The transport checksum is still to be completed.
    pub blank: bool,
    /// The data is known to be intact, so nobody needs to look at the checksum.
    pub intact: bool,
}

/// What makes no sense in a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum Broken {
    Producer { produced: u32, ours: u32 },
    Chain { slots: usize },
    Cut { missing: usize },
    Extra { kind: u8 },
    Page { offset: u16, size: u16 },
    Sizes { total: u16, pieces: usize },
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Producer { produced, ours } => {
                write!(f, "its ring has more requests than slots (index {produced:#x}, ours {ours:#x})")
            }
            Self::Chain { slots } => write!(f, "a frame of {slots} slots or more"),
            Self::Cut { missing } => write!(f, "a frame of which {missing} slots or more are missing"),
            Self::Extra { kind } => write!(f, "extra info of kind {kind}, which was not offered"),
            Self::Page { offset, size } => {
                write!(f, "{size} bytes at offset {offset} of a page, which has 4096")
            }
            Self::Sizes { total, pieces } => {
                write!(f, "a frame of {total} bytes whose further pieces have {pieces}")
            }
        }
    }
}

/// A ring's page and our indices.
#[derive(Debug)]
struct Ring<W> {
    page: W,
    own: BackRing,
    /// The producer index of responses that the guest was shown last.
    shown: u32,
    slot: usize,
}

impl<W: Window> Ring<W> {
    /// Takes a ring over where its responses are: a fresh one has 0 there.
    fn attach(page: W, slot: usize) -> Self {
        let at = page.load(offset_of!(Sring, rsp_prod));
        Self { own: BackRing::attach(slots(PAGE, slot), at), shown: at, page, slot }
    }

    /// How many requests wait.
    fn waiting(&self) -> Result<u32, Broken> {
        let produced = self.page.load(offset_of!(Sring, req_prod));
        if self.own.request_overflow(produced) {
            return Err(Broken::Producer { produced, ours: self.own.rsp_prod_pvt });
        }
        Ok(self.own.unconsumed_requests(produced))
    }

    fn read<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.page.read(slot_offset(self.own.req_cons, self.own.nr_ents, self.slot), &mut bytes);
        self.own.req_cons = self.own.req_cons.wrapping_add(1);
        bytes
    }

    fn respond(&mut self, bytes: &[u8]) {
        self.page.write(slot_offset(self.own.rsp_prod_pvt, self.own.nr_ents, self.slot), bytes);
        self.own.rsp_prod_pvt = self.own.rsp_prod_pvt.wrapping_add(1);
    }

    /// Shows the responses to the guest. Returns whether it wants to be told.
    fn publish(&mut self) -> bool {
        let new = self.own.rsp_prod_pvt;
        let old = core::mem::replace(&mut self.shown, new);
        if old == new {
            return false;
        }
        self.page.store(offset_of!(Sring, rsp_prod), new);
        // The guest sets its wish, then looks at the index; here it is the other way round.
        fence(Ordering::SeqCst);
        must_notify(old, new, self.page.load(offset_of!(Sring, rsp_event)))
    }

    /// Asks for an event once `count` requests wait. Returns whether they do already.
    fn ask(&self, count: u32) -> bool {
        self.page.store(offset_of!(Sring, req_event), self.own.req_cons.wrapping_add(count));
        fence(Ordering::SeqCst);
        self.page.load(offset_of!(Sring, req_prod)).wrapping_sub(self.own.req_cons) >= count
    }
}

/// A piece of a frame in a granted page.
#[derive(Clone, Copy, Debug)]
struct Piece {
    grant: u32,
    offset: u16,
    size: u16,
}

/// A frame's slots, checked.
#[derive(Debug, Default)]
struct Chain {
    pieces: Vec<Piece>,
    /// For each slot, the number to answer with; `None` for extra info.
    ids: Vec<Option<u16>>,
    flags: u16,
    total: u16,
    /// It carries a request instead of a frame, which is not offered here.
    refused: bool,
}

/// One look's frames and what else it found.
#[derive(Debug, Default)]
pub struct Look {
    /// The frames that came.
    pub packets: Vec<Packet>,
    /// Frames that did not: bad grants, or too short.
    pub errors: u64,
    /// The guest is to be notified.
    pub notify: bool,
    /// There is more.
    pub more: bool,
    /// The limit is reached; there may be more when it opens.
    pub limited: bool,
}

/// The ring on which a guest sends.
#[derive(Debug)]
pub struct Sender<W>(Ring<W>);

impl<W: Window> Sender<W> {
    /// Takes a ring over.
    pub fn attach(page: W) -> Self {
        Self(Ring::attach(page, TX_SLOT_SIZE))
    }

    /// Takes a bounded number of frames, as far as the limit allows.
    pub fn look<H: Hypervisor>(
        &mut self,
        hv: &mut H,
        dom: DomId,
        limit: &mut Limit,
        now: u64,
    ) -> Result<Look, Broken> {
        let mut look = Look::default();
        let mut waiting = self.0.waiting()? as usize;
        let mut chains: Vec<Chain> = Vec::new();
        let mut bytes = 0;
        while waiting > 0 && chains.len() < FRAMES && bytes < BYTES {
            if !limit.open(now) {
                look.limited = true;
                break;
            }
            let chain = self.chain(&mut waiting)?;
            limit.count(chain.total.into());
            bytes += usize::from(chain.total);
            chains.push(chain);
        }
        if !chains.is_empty() {
            self.fetch(hv, dom, &chains, &mut look);
            look.notify = self.0.publish();
        }
        look.more = !look.limited && (waiting > 0 || self.0.ask(1));
        Ok(look)
    }

    /// Reads one frame's slots.
    fn chain(&mut self, waiting: &mut usize) -> Result<Chain, Broken> {
        let mut chain = Chain::default();
        let first = self.request(waiting, &mut chain)?;
        (chain.flags, chain.total) = (first.flags, first.size);
        if first.flags & NETTXF_EXTRA_INFO != 0 {
            self.extras(waiting, &mut chain)?;
        }
        let mut more = first.flags & NETTXF_MORE_DATA != 0;
        let mut rest = 0;
        while more {
            let slots = chain.ids.len();
            if chain.pieces.len() >= XEN_NETIF_NR_SLOTS_MIN as usize {
                return Err(Broken::Chain { slots });
            }
            let next = self.request(waiting, &mut chain)?;
            rest += usize::from(next.size);
            more = next.flags & NETTXF_MORE_DATA != 0;
        }
        // The first piece has what the others have not.
        let sizes = Broken::Sizes { total: first.size, pieces: rest };
        if rest > 0 || chain.pieces.len() > 1 {
            let own = usize::from(first.size).checked_sub(rest).filter(|own| *own > 0).ok_or(sizes)?;
            chain.pieces[0].size = own as u16;
        }
        for piece in &chain.pieces {
            if usize::from(piece.offset) + usize::from(piece.size) > PAGE {
                return Err(Broken::Page { offset: piece.offset, size: piece.size });
            }
        }
        Ok(chain)
    }

    fn request(&mut self, waiting: &mut usize, chain: &mut Chain) -> Result<TxRequest, Broken> {
        *waiting = waiting.checked_sub(1).ok_or(Broken::Cut { missing: 1 })?;
        let request = TxRequest::from(self.0.read());
        chain.ids.push(Some(request.id));
        chain.pieces.push(Piece { grant: request.grant, offset: request.offset, size: request.size });
        Ok(request)
    }

    fn extras(&mut self, waiting: &mut usize, chain: &mut Chain) -> Result<(), Broken> {
        loop {
            *waiting = waiting.checked_sub(1).ok_or(Broken::Cut { missing: 1 })?;
            let [kind, flags, ..] = self.0.read::<TX_SLOT_SIZE>();
            chain.ids.push(None);
            match kind {
                // What the flow's hash is may be known; nobody asks.
                XEN_NETIF_EXTRA_TYPE_HASH => {}
                XEN_NETIF_EXTRA_TYPE_MCAST_ADD | XEN_NETIF_EXTRA_TYPE_MCAST_DEL => chain.refused = true,
                kind => return Err(Broken::Extra { kind }),
            }
            if flags & XEN_NETIF_EXTRA_FLAG_MORE == 0 {
                return Ok(());
            }
            if chain.ids.len() > EXTRAS {
                return Err(Broken::Chain { slots: chain.ids.len() });
            }
        }
    }

    /// Fetches the frames of checked chains, and answers.
    fn fetch<H: Hypervisor>(&mut self, hv: &mut H, dom: DomId, chains: &[Chain], look: &mut Look) {
        let fits = |chain: &Chain| !chain.refused && usize::from(chain.total) >= HEADER;
        let room = |chain: &Chain| if fits(chain) { usize::from(chain.total) } else { 0 };
        let mut buffers: Vec<Vec<u8>> = chains.iter().map(|chain| vec![0; room(chain)]).collect();
        let mut list = Vec::new();
        let mut owner = Vec::new();
        for (index, (chain, buffer)) in chains.iter().zip(&mut buffers).enumerate() {
            let mut rest = &mut buffer[..];
            for piece in chain.pieces.iter().filter(|_| fits(chain)) {
                let (into, behind) = rest.split_at_mut(piece.size.into());
                rest = behind;
                list.push(Fetch { grant: piece.grant, offset: piece.offset, into, done: false });
                owner.push(index);
            }
        }
        hv.fetch(dom, &mut list);
        let mut fine: Vec<bool> = chains.iter().map(fits).collect();
        owner.iter().zip(&list).filter(|(_, entry)| !entry.done).for_each(|(index, _)| fine[*index] = false);
        for ((chain, bytes), fine) in chains.iter().zip(buffers).zip(fine) {
            let status = if fine { NETIF_RSP_OKAY } else { NETIF_RSP_ERROR };
            for id in &chain.ids {
                let status = if id.is_some() { status } else { NETIF_RSP_NULL };
                let [a, b] = id.unwrap_or(0).to_le_bytes();
                let [c, d] = status.to_le_bytes();
                self.0.respond(&[a, b, c, d]);
            }
            if fine {
                let blank = chain.flags & NETTXF_CSUM_BLANK != 0;
                let intact = blank || chain.flags & NETTXF_DATA_VALIDATED != 0;
                look.packets.push(Packet { bytes, blank, intact });
            } else {
                look.errors += 1;
            }
        }
    }
}

/// `struct netif_tx_request`, copied.
struct TxRequest {
    grant: u32,
    offset: u16,
    flags: u16,
    id: u16,
    size: u16,
}

impl From<[u8; TX_SLOT_SIZE]> for TxRequest {
    fn from(b: [u8; TX_SLOT_SIZE]) -> Self {
        let half = |at: usize| u16::from_le_bytes([b[at], b[at + 1]]);
        Self {
            grant: u32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            offset: half(4),
            flags: half(6),
            id: half(8),
            size: half(10),
        }
    }
}

/// A frame, and the id and grant of each page of the guest that it goes to.
type Placed = (Rc<Packet>, Vec<(u16, u32)>);

/// The ring on which a guest receives.
#[derive(Debug)]
pub struct Receiver<W> {
    ring: Ring<W>,
    waiting: VecDeque<Rc<Packet>>,
    bytes: usize,
}

/// What a round of delivery did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Frames that arrived whole.
    pub frames: u64,
    /// Frames whose pages could not be written.
    pub errors: u64,
    /// The guest is to be notified.
    pub notify: bool,
}

impl<W: Window> Receiver<W> {
    /// Takes a ring over.
    pub fn attach(page: W) -> Self {
        Self { ring: Ring::attach(page, RX_SLOT_SIZE), waiting: VecDeque::new(), bytes: 0 }
    }

    /// Queues a frame; `false` if it is dropped because too much waits.
    pub fn push(&mut self, packet: Rc<Packet>) -> bool {
        if self.waiting.len() >= WAITING || self.bytes + packet.bytes.len() > WAITING_BYTES {
            return false;
        }
        self.bytes += packet.bytes.len();
        self.waiting.push_back(packet);
        true
    }

    /// Moves as many waiting frames as the guest has pages for.
    pub fn deliver<H: Hypervisor>(&mut self, hv: &mut H, dom: DomId) -> Result<Delivered, Broken> {
        let mut done = Delivered::default();
        let mut asked = false;
        while !self.waiting.is_empty() {
            let batch = self.batch()?;
            if batch.is_empty() {
                let needed = self.waiting.front().map_or(1, |packet| pages(packet));
                // Asked once: a guest that moves its index to and fro gets no more attention than that.
                if asked || !self.ring.ask(needed as u32) {
                    break;
                }
                asked = true;
                continue;
            }
            self.write(hv, dom, &batch, &mut done);
            done.notify |= self.ring.publish();
        }
        Ok(done)
    }

    /// Frames that go now, with the id and the grant of each of their pages.
    fn batch(&mut self) -> Result<Vec<Placed>, Broken> {
        let mut free = self.ring.waiting()? as usize;
        let mut batch = Vec::new();
        while batch.len() < FRAMES
            && let Some(packet) = self.waiting.pop_front_if(|packet| pages(packet) <= free)
        {
            let count = pages(&packet);
            free -= count;
            self.bytes -= packet.bytes.len();
            let page = |_| {
                let [a, b, _, _, rest @ ..] = self.ring.read::<RX_SLOT_SIZE>();
                (u16::from_le_bytes([a, b]), u32::from_le_bytes(rest))
            };
            let pages = (0..count).map(page).collect();
            batch.push((packet, pages));
        }
        Ok(batch)
    }

    fn write<H: Hypervisor>(&mut self, hv: &mut H, dom: DomId, batch: &[Placed], done: &mut Delivered) {
        let mut list = Vec::new();
        for (packet, pages) in batch {
            for (piece, (_, grant)) in packet.bytes.chunks(PAGE).zip(pages) {
                list.push(Deliver { grant: *grant, offset: 0, from: piece, done: false });
            }
        }
        hv.deliver(dom, &mut list);
        let mut results = list.into_iter().map(|entry| entry.done);
        for (packet, pages) in batch {
            let mut whole = true;
            let pieces = packet.bytes.chunks(PAGE).zip(pages).enumerate();
            for (at, (piece, (id, _))) in pieces {
                let fine = results.next().unwrap_or(false);
                whole &= fine;
                let mut flags = if at + 1 < pages.len() { NETRXF_MORE_DATA } else { 0 };
                if at == 0 {
                    flags |= if packet.blank { NETRXF_CSUM_BLANK } else { 0 };
                    flags |= if packet.intact { NETRXF_DATA_VALIDATED } else { 0 };
                }
                let status = if fine { piece.len() as i16 } else { NETIF_RSP_ERROR };
                let [a, b] = id.to_le_bytes();
                let [c, d] = flags.to_le_bytes();
                let [e, f] = status.to_le_bytes();
                self.ring.respond(&[a, b, 0, 0, c, d, e, f]);
            }
            if whole {
                done.frames += 1;
            } else {
                done.errors += 1;
            }
        }
    }

    /// Frames that wait.
    pub fn backlog(&self) -> usize {
        self.waiting.len()
    }
}

/// Pages that a frame needs.
fn pages(packet: &Packet) -> usize {
    packet.bytes.len().div_ceil(PAGE).max(1)
}
