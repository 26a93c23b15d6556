//! Disks: the back end of the block protocol (public header `io/blkif.h`).
//!
//! A [`Connection`] shows a [`storage`] to one front end: it says what is offered, takes over the rings that the front end names, and serves
//! them. Its rings are [`queue`]s of requests ([`wire`]).
//!
//! **What a guest can cost.** Rings of [`MAX_QUEUES`] queues and [`queue::MAPPED_MAX`] frames are mapped at most for a device; data is held for
//! one request at a time; each queue moves a bounded number of bytes a round.

pub mod queue;
pub mod storage;
pub mod wire;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use abi::io::blkif::VDISK_READONLY;
use abi::io::protocols::XEN_IO_PROTO_ABI_NATIVE;

use crate::DomId;
use crate::peer::{Claims, Peer, Window};
use queue::{Grants, Queue, Scratch, Stats, Subject};
use storage::{SECTOR, Shared};
use wire::MAX_INDIRECT;

/// Queues that a front end may have.
pub const MAX_QUEUES: u32 = 4;
/// A ring may have two to the power of this many pages.
pub const MAX_ORDER: u32 = 4;

/// Keys and values for the back end's directory.
pub type Nodes = Vec<(&'static str, String)>;

/// A storage, and the front end that uses it. While it is connected, frames of persistent grants stay mapped besides the rings.
#[derive(Debug)]
pub struct Connection<'a, W> {
    subject: Subject<'a, W>,
    queues: Vec<Queue<W>>,
}

impl<'a, W: Window> Connection<'a, W> {
    /// Nothing is mapped yet. `discard` is a wish, which a storage that cannot does not fulfil.
    pub fn new(dom: DomId, storage: Shared<'a>, writable: bool, discard: bool) -> Self {
        let discard = discard && writable && storage.borrow().discards();
        let subject = Subject { dom, storage, writable, discard, grants: None, stats: Stats::default() };
        Self { subject, queues: Vec::new() }
    }

    /// Sectors of the storage.
    pub fn sectors(&self) -> u64 {
        self.subject.storage.borrow().sectors()
    }

    /// What was done.
    pub fn stats(&self) -> Stats {
        self.subject.stats
    }

    /// Frames of the guest that stay mapped besides the rings.
    pub fn mapped(&self) -> usize {
        self.subject.grants.as_ref().map_or(0, Grants::count)
    }

    /// Local ports of the queues.
    pub fn ports(&self) -> impl Iterator<Item = u32> {
        self.queues.iter().map(|queue| queue.port)
    }

    /// What the front end is told before it connects.
    pub fn offers(&self) -> Nodes {
        let number = |value: u32| value.to_string();
        [
            ("feature-flush-cache", number(1)),
            ("feature-barrier", number(1)),
            ("feature-persistent", number(1)),
            ("feature-max-indirect-segments", number(MAX_INDIRECT.into())),
            ("multi-queue-max-queues", number(MAX_QUEUES)),
            ("max-ring-page-order", number(MAX_ORDER)),
            ("feature-discard", number(self.subject.discard.into())),
            ("discard-granularity", number(SECTOR as u32)),
            ("discard-alignment", number(0)),
            ("discard-secure", number(0)),
        ]
        .to_vec()
    }

    /// Maps the rings, connects the channels; returns what the front end is told of the disk.
    ///
    /// # Errors
    /// What is wrong with what the front end says; what was mapped until then, [`Connection::release`] gives back.
    pub fn connect<P: Peer<Window = W>>(&mut self, peer: &mut P, front: Claims<'_>) -> Result<Nodes, String> {
        if let Some(other) = front.text("protocol").filter(|name| *name != XEN_IO_PROTO_ABI_NATIVE) {
            return Err(format!("protocol {other:?} is not spoken here; use {XEN_IO_PROTO_ABI_NATIVE:?}"));
        }
        let queues = front.number_or("multi-queue-num-queues", 1)?;
        if !(1..=MAX_QUEUES).contains(&queues) {
            return Err(format!("multi-queue-num-queues is {queues}, from 1 to {MAX_QUEUES} are offered"));
        }
        let order = front.number_or("ring-page-order", 0)?;
        if order > MAX_ORDER {
            return Err(format!("ring-page-order is {order}, at most {MAX_ORDER} is offered"));
        }
        let persistent = front.number_or("feature-persistent", 0)?;
        for number in 0..queues {
            let folder = if queues > 1 { format!("queue-{number}/") } else { String::new() };
            let queue = connect_queue(peer, self.subject.dom, front, &folder, 1 << order)?;
            self.queues.push(queue);
        }
        self.subject.grants = (persistent == 1).then(Grants::default);
        let storage = self.subject.storage.borrow();
        let info = if self.subject.writable { 0 } else { VDISK_READONLY };
        Ok([
            ("sectors", storage.sectors().to_string()),
            ("info", info.to_string()),
            ("sector-size", SECTOR.to_string()),
            ("physical-sector-size", storage.physical().to_string()),
        ]
        .to_vec())
    }

    /// A round over the rings. Returns whether there is more to do.
    ///
    /// # Errors
    /// If the front end broke the protocol.
    pub fn serve<P: Peer<Window = W>>(
        &mut self,
        peer: &mut P,
        scratch: &mut Scratch,
    ) -> Result<bool, String> {
        let mut more = false;
        for queue in &mut self.queues {
            more |= queue.serve(peer, &mut self.subject, scratch)?;
        }
        Ok(more)
    }

    /// Unmaps and unbinds everything.
    pub fn release<P: Peer<Window = W>>(&mut self, peer: &mut P) {
        for queue in self.queues.drain(..) {
            peer.close(queue.port);
        }
        self.subject.grants = None;
    }
}

fn connect_queue<P: Peer>(
    peer: &mut P,
    dom: DomId,
    front: Claims<'_>,
    folder: &str,
    pages: usize,
) -> Result<Queue<P::Window>, String> {
    let single = format!("{folder}ring-ref");
    let grants: Result<Vec<u32>, String> = if pages == 1 && front.text(&single).is_some() {
        front.number(&single).map(|grant| [grant].to_vec())
    } else {
        (0..pages).map(|page| front.number(&format!("{single}{page}"))).collect()
    };
    let grants = grants?;
    let port = front.number(&format!("{folder}event-channel"))?;
    let ring = peer.map_grants(dom, &grants);
    let ring = ring.map_err(|error| format!("the frames of {single} cannot be mapped: {error:?}"))?;
    let local = peer.bind(dom, port);
    let local = local.map_err(|error| format!("event-channel {port} cannot be bound: {error:?}"))?;
    Queue::attach(ring, pages, local).inspect_err(|_| peer.close(local))
}
