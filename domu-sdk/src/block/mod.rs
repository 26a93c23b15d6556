//! Disks: the front end of the block protocol (public header `io/blkif.h`).
//!
//! [`Disk::open`] connects to a device that the toolstack made; reading, writing, flushing and discarding are asynchronous, and many may be
//! under way at once, from any number of tasks. A disk is an array of sectors of [`SECTOR`] bytes, whatever the device has;
//! accesses are in multiples of [`Info::sector_size`].
//!
//! **Order and durability.** Requests under way at the same time may be carried out in any order. A write that has returned is seen by
//! every later read. It survives the end of this domain, and of the machine, once a later [`Disk::flush`] has returned.
//!
//! **Trust.** The back end sees and writes granted buffers only, never other memory; data is copied. A back end that breaks the protocol
//! gets every request of the device an error ([`Error::Broken`]). It can lie about the data, as any disk can.
//!
//! **Restore.** A disk outlives its domain's being saved and restored ([`crate::suspend`]): requests without an answer are sent again to the
//! new back end, which must offer at least what the old one did.
//!
//! What both sides can is used: several queues, rings of several pages, up to 256 segments a request, grants that stay
//! mapped. [`Options`] limits it.
//!
//! ```ignore
//! let disk = Disk::first().await?;
//! let mut sector = [0; block::SECTOR];
//! disk.read(0, &mut sector).await?;
//! sector[0] ^= 1;
//! disk.write(0, &sector).await?;
//! disk.flush().await?;
//! disk.close().await?;
//! ```

mod join;
mod pool;
mod queue;
mod ring;

use crate::{
    hypercall::grant::GrantError,
    store,
    suspend::{self, Reconnect},
    xenbus::{self, Frontend, State},
};
use abi::io::{
    blkif::{
        BLKIF_MAX_SEGMENTS_PER_REQUEST, BLKIF_OP_DISCARD, BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_INDIRECT,
        BLKIF_OP_READ, BLKIF_OP_WRITE, BLKIF_OP_WRITE_BARRIER, BLKIF_RSP_EOPNOTSUPP, BLKIF_RSP_OKAY,
        BlkifRequest, BlkifRequestDiscard, BlkifRequestIndirect, BlkifRequestSegment, VDISK_READONLY,
    },
    protocols::XEN_IO_PROTO_ABI_NATIVE,
};
use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
    sync::{Arc, Weak},
    vec::Vec,
};
use core::{
    fmt,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
};
use pool::{Buffer, Pool};
use queue::Queue;
use ring::Slot;
use zerocopy::IntoBytes;

/// Bytes of a sector, as they are counted everywhere here.
pub const SECTOR: usize = 512;
const PAGE: usize = 4096;
/// Class of block devices in the store.
const CLASS: &str = "vbd";
/// Segments of a request in one page of descriptors, and at most here.
const MAX_SEGMENTS: u16 = 256;
/// Requests that one call has under way at most.
const DEPTH: usize = 8;

/// A request failed, or the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The device could not be connected, or its state could not be told.
    Device(xenbus::Error),
    /// Memory or a grant is missing.
    Grant(GrantError),
    /// The access lies, in part, beyond the end: first sector, and number of sectors.
    Range(u64, u64),
    /// Not a multiple of the sector size, or nothing at all: bytes.
    Size(usize),
    /// The disk may not be written.
    ReadOnly,
    /// The device does not offer this.
    Unsupported,
    /// The back end says that the request failed, with this status.
    Failed(i16),
    /// The back end broke the protocol, or the device was closed.
    Broken,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(error) => error.fmt(f),
            Self::Grant(error) => error.fmt(f),
            Self::Range(sector, count) => write!(f, "{count} sectors from {sector} on are beyond the end"),
            Self::Size(bytes) => write!(f, "{bytes} bytes are no whole sectors"),
            Self::ReadOnly => write!(f, "the disk is read-only"),
            Self::Unsupported => write!(f, "the device does not offer this"),
            Self::Failed(status) => write!(f, "the request failed with status {status}"),
            Self::Broken => write!(f, "the device was closed or broke the protocol"),
        }
    }
}

impl core::error::Error for Error {}

impl From<xenbus::Error> for Error {
    fn from(error: xenbus::Error) -> Self {
        Self::Device(error)
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Device(error.into())
    }
}

impl From<GrantError> for Error {
    fn from(error: GrantError) -> Self {
        Self::Grant(error)
    }
}

impl From<ring::Broken> for Error {
    fn from(_: ring::Broken) -> Self {
        Self::Broken
    }
}

/// Result of a request.
pub type Result<T = ()> = core::result::Result<T, Error>;

/// What may be used of what the back end offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Queues at most.
    pub queues: u32,
    /// A ring has two to the power of this many pages at most.
    pub ring_order: u32,
    /// Let the back end keep frames mapped.
    pub persistent: bool,
    /// Segments (pages) of a request at most; up to 11 need no indirect requests.
    pub segments: u16,
    /// Pages of buffers at most.
    pub buffers: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { queues: 1, ring_order: 0, persistent: true, segments: 32, buffers: 512 }
    }
}

/// How discarding works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discard {
    /// Bytes that are discarded at once.
    pub granularity: u32,
    /// Byte at which the first such piece begins.
    pub alignment: u32,
}

/// What a disk is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its size in sectors of 512 bytes.
    pub sectors: u64,
    /// Accesses are multiples of this, in bytes.
    pub sector_size: u32,
    /// What the device writes at once, in bytes.
    pub physical_sector_size: u32,
    /// It may only be read.
    pub read_only: bool,
    /// It can be flushed; if not, what was written is durable at once, as far as anybody knows.
    pub flush: bool,
    /// Sectors can be discarded.
    pub discard: Option<Discard>,
    /// The back end keeps frames mapped.
    pub persistent: bool,
    /// Segments (pages) of a request at most.
    pub segments: u16,
    /// Queues.
    pub queues: u32,
    /// Pages of each ring.
    pub ring_pages: u32,
}

#[derive(Debug)]
struct Inner {
    frontend: Frontend,
    info: Info,
    offer: Offer,
    handle: u16,
    // Closed before the pool's grants end.
    queues: Vec<Arc<Queue>>,
    next: AtomicUsize,
    pool: Arc<Pool>,
}

/// A disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct Disk {
    inner: Arc<Inner>,
}

/// The number of a virtual device with a name such as `xvda`, `xvdb2`. `None` if it is not such a name.
pub fn number_of(name: &str) -> Option<u32> {
    let rest = name.strip_prefix("xvd")?;
    let letters = rest.trim_end_matches(|c: char| c.is_ascii_digit());
    let plain = !letters.is_empty() && letters.len() < 5 && letters.bytes().all(|b| b.is_ascii_lowercase());
    let digits = &rest[letters.len()..];
    let part: u32 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let disk = letters.bytes().fold(0, |n, letter| n * 26 + u32::from(letter.wrapping_sub(b'a')) + 1);
    match (plain, disk.wrapping_sub(1)) {
        (true, disk) if disk < 16 && part < 16 => Some(202 << 8 | disk << 4 | part),
        (true, disk) if disk < 1 << 20 && part < 256 => Some(1 << 28 | disk << 8 | part),
        _ => None,
    }
}

/// Numbers of this domain's disks.
pub async fn list() -> Result<Vec<u32>> {
    Ok(xenbus::list(CLASS).await?)
}

impl Disk {
    /// Connects to the disk with the lowest number.
    pub async fn first() -> Result<Self> {
        let number = list().await?.first().copied();
        let number = number.ok_or_else(|| xenbus::Error::NoDevice(format!("device/{CLASS}")))?;
        Self::open(number, &Options::default()).await
    }

    /// Connects to a disk by its number, see [`number_of`]. Returns when requests can be made.
    pub async fn open(number: u32, options: &Options) -> Result<Self> {
        let frontend = Frontend::open(CLASS, number).await?;
        frontend.begin().await?;
        let offer = Offer::read(&frontend, options).await?;
        let pool = Arc::new(Pool::new(frontend.backend(), options.buffers.max(offer.segments.into())));
        let mut queues = Vec::new();
        for _ in 0..offer.queues {
            queues.push(Queue::new(frontend.backend(), 1 << offer.order, &pool)?);
        }
        frontend.withdraw(&["ring-ref", "ring-page-order", "multi-queue-num-queues"]).await?;
        frontend.publish(&offer.answer(&queues), State::Initialised).await?;
        frontend.wait_for(State::Connected).await?;
        let info = offer.info(&frontend).await?;
        frontend.set_state(State::Connected).await?;
        let (next, handle) = (AtomicUsize::new(0), number as u16);
        let inner = Arc::new(Inner { frontend, info, offer, handle, queues, next, pool });
        let registered: Weak<Inner> = Arc::downgrade(&inner);
        suspend::register(registered);
        Ok(Self { inner })
    }

    /// What the disk is like.
    pub fn info(&self) -> Info {
        self.inner.info
    }

    /// The device in the store.
    pub fn device(&self) -> &Frontend {
        &self.inner.frontend
    }

    /// Requests under way.
    pub fn under_way(&self) -> usize {
        self.inner.queues.iter().map(|queue| queue.under_way()).sum()
    }

    /// Reads whole sectors.
    pub async fn read(&self, sector: u64, into: &mut [u8]) -> Result {
        self.check(sector, into.len())?;
        let step = self.step();
        let pieces = into.chunks_mut(step * SECTOR).enumerate();
        let requests = pieces.map(|(i, piece)| self.read_piece(sector + (i * step) as u64, piece));
        join::each(DEPTH, requests).await
    }

    /// Writes whole sectors.
    pub async fn write(&self, sector: u64, from: &[u8]) -> Result {
        self.check(sector, from.len())?;
        if self.inner.info.read_only {
            return Err(Error::ReadOnly);
        }
        let step = self.step();
        let pieces = from.chunks(step * SECTOR).enumerate();
        let requests = pieces.map(|(i, piece)| self.write_piece(sector + (i * step) as u64, piece));
        join::each(DEPTH, requests).await
    }

    /// Returns when every write that has returned before is durable. On a device that has nothing to flush it returns at once.
    pub async fn flush(&self) -> Result {
        if !self.inner.info.flush {
            return Ok(());
        }
        let operation = if self.inner.offer.is_barrier_only() {
            BLKIF_OP_WRITE_BARRIER
        } else {
            BLKIF_OP_FLUSH_DISKCACHE
        };
        let handle = self.inner.handle;
        let fill = |id, _: &[Buffer]| slot(&BlkifRequest { operation, handle, id, ..Default::default() });
        self.send(Vec::new(), fill).await.map(|_| ())
    }

    /// Forgets the contents of sectors. What is read from them later is undefined.
    pub async fn discard(&self, sector: u64, count: u64) -> Result {
        let info = &self.inner.info;
        if info.discard.is_none() {
            return Err(Error::Unsupported);
        }
        if sector.checked_add(count).is_none_or(|end| end > info.sectors) {
            return Err(Error::Range(sector, count));
        }
        let handle = self.inner.handle;
        let fill = |id, _: &[Buffer]| {
            slot(&BlkifRequestDiscard {
                operation: BLKIF_OP_DISCARD,
                handle,
                id,
                sector_number: sector,
                nr_sectors: count,
                ..Default::default()
            })
        };
        self.send(Vec::new(), fill).await.map(|_| ())
    }

    /// Closes the device, also for its clones: waits for nothing that is under way, and returns when the back end has let go of all
    /// buffers.
    pub async fn close(self) -> Result {
        let result = self.inner.frontend.close().await;
        self.inner.queues.iter().for_each(|queue| queue.end());
        Ok(result?)
    }

    /// Waits until the back end ends the device, as when the toolstack takes it away; then every request is an error. To be
    /// spawned by those who want to see it.
    pub async fn ended(&self) -> Result<State> {
        let state = self.inner.frontend.ended().await?;
        self.inner.queues.iter().for_each(|queue| queue.end());
        Ok(state)
    }

    /// Sectors of one request.
    fn step(&self) -> usize {
        usize::from(self.inner.info.segments) * (PAGE / SECTOR)
    }

    fn check(&self, sector: u64, bytes: usize) -> Result {
        let size = self.inner.info.sector_size.max(SECTOR as u32) as usize;
        let start = (sector as usize).wrapping_mul(SECTOR);
        if bytes == 0 || !bytes.is_multiple_of(size) || !start.is_multiple_of(size) {
            return Err(Error::Size(bytes));
        }
        let count = (bytes / SECTOR) as u64;
        match sector.checked_add(count) {
            Some(end) if end <= self.inner.info.sectors => Ok(()),
            _ => Err(Error::Range(sector, count)),
        }
    }

    async fn read_piece(&self, sector: u64, into: &mut [u8]) -> Result {
        let buffers = self.buffers(into.len()).await?;
        let buffers = self.transfer(BLKIF_OP_READ, sector, into.len(), buffers).await?;
        for (piece, buffer) in into.chunks_mut(PAGE).zip(&buffers) {
            buffer.memory.read(0, piece);
        }
        self.inner.pool.give(buffers);
        Ok(())
    }

    async fn write_piece(&self, sector: u64, from: &[u8]) -> Result {
        let buffers = self.buffers(from.len()).await?;
        for (piece, buffer) in from.chunks(PAGE).zip(&buffers) {
            buffer.memory.write(0, piece);
        }
        let buffers = self.transfer(BLKIF_OP_WRITE, sector, from.len(), buffers).await?;
        self.inner.pool.give(buffers);
        Ok(())
    }

    /// Buffers for so many bytes, and one more for descriptors if the request needs it.
    async fn buffers(&self, bytes: usize) -> Result<Vec<Buffer>> {
        let segments = bytes.div_ceil(PAGE);
        let extra = usize::from(is_indirect(segments));
        Ok(self.inner.pool.take(segments + extra).await?)
    }

    /// One request with data in the first buffers.
    async fn transfer(
        &self,
        operation: u8,
        sector: u64,
        bytes: usize,
        buffers: Vec<Buffer>,
    ) -> Result<Vec<Buffer>> {
        let handle = self.inner.handle;
        let segments = bytes.div_ceil(PAGE);
        let segment = |number: usize, buffer: &Buffer| BlkifRequestSegment {
            gref: buffer.reference().0,
            first_sect: 0,
            last_sect: ((bytes - number * PAGE).min(PAGE) / SECTOR - 1) as u8,
            ..Default::default()
        };
        let fill = |id, buffers: &[Buffer]| {
            if !is_indirect(segments) {
                let mut request = BlkifRequest {
                    operation,
                    nr_segments: segments as u8,
                    handle,
                    id,
                    sector_number: sector,
                    ..Default::default()
                };
                for (number, (place, buffer)) in request.seg.iter_mut().zip(buffers).enumerate() {
                    *place = segment(number, buffer);
                }
                return slot(&request);
            }
            let mut request = BlkifRequestIndirect {
                operation: BLKIF_OP_INDIRECT,
                indirect_op: operation,
                nr_segments: segments as u16,
                id,
                sector_number: sector,
                handle,
                ..Default::default()
            };
            if let Some((descriptors, data)) = buffers.split_last() {
                for (number, buffer) in data.iter().enumerate() {
                    let at = number * size_of::<BlkifRequestSegment>();
                    descriptors.memory.put(at, &segment(number, buffer));
                }
                request.indirect_grefs[0] = descriptors.reference().0;
            }
            slot(&request)
        };
        self.send(buffers, fill).await
    }

    /// Sends a request through one of the queues; its buffers come back if it was carried out.
    async fn send(&self, buffers: Vec<Buffer>, fill: impl Fn(u64, &[Buffer]) -> Slot) -> Result<Vec<Buffer>> {
        let turn = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let queue = self.inner.queues.get(turn % self.inner.queues.len().max(1)).ok_or(Error::Broken)?;
        let (status, buffers) = queue.request(buffers, fill).await?;
        if status == BLKIF_RSP_OKAY {
            return Ok(buffers);
        }
        self.inner.pool.give(buffers);
        Err(if status == BLKIF_RSP_EOPNOTSUPP { Error::Unsupported } else { Error::Failed(status) })
    }
}

impl Inner {
    /// Connects to the back end of the restored domain, with the rings and buffers that there are.
    async fn connect_again(&self) -> Result {
        let (frontend, old) = (&self.frontend, &self.offer);
        frontend.begin().await?;
        let options = Options {
            queues: old.queues,
            ring_order: old.order,
            persistent: old.persistent,
            segments: old.segments,
            buffers: 0,
        };
        let new = Offer::read(frontend, &options).await?;
        let less = new.queues < old.queues || new.order < old.order || new.segments < old.segments;
        if less || (old.flush && !new.flush) || frontend.backend() != self.pool.domain() {
            return Err(Error::Unsupported);
        }
        self.queues.iter().for_each(|queue| queue.restart());
        frontend.withdraw(&["ring-ref", "ring-page-order", "multi-queue-num-queues"]).await?;
        frontend.publish(&new.answer(&self.queues), State::Initialised).await?;
        frontend.wait_for(State::Connected).await?;
        let sectors = new.info(frontend).await?.sectors;
        if sectors < self.info.sectors {
            return Err(Error::Range(0, self.info.sectors));
        }
        frontend.set_state(State::Connected).await?;
        self.queues.iter().for_each(|queue| queue.notify());
        Ok(())
    }
}

impl Reconnect for Inner {
    fn reconnect(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            if let Err(error) = self.connect_again().await {
                log::error!("{} did not come back after a restore: {error}", self.frontend.path());
                self.queues.iter().for_each(|queue| queue.end());
            }
        })
    }
}

/// Whether so many segments need pages of descriptors.
const fn is_indirect(segments: usize) -> bool {
    segments > BLKIF_MAX_SEGMENTS_PER_REQUEST as usize
}

/// A request as a slot's bytes.
fn slot<T: IntoBytes + zerocopy::Immutable>(request: &T) -> Slot {
    let mut bytes = [0; size_of::<Slot>()];
    let given = request.as_bytes();
    bytes[..given.len()].copy_from_slice(given);
    bytes
}

/// What the back end offers, cut to what the options allow.
#[derive(Debug)]
struct Offer {
    queues: u32,
    order: u32,
    segments: u16,
    persistent: bool,
    flush: bool,
    barrier: bool,
}

impl Offer {
    /// Barriers stand in for flushes.
    fn is_barrier_only(&self) -> bool {
        self.barrier && !self.flush
    }

    async fn read(device: &Frontend, options: &Options) -> Result<Self> {
        let direct = u16::from(BLKIF_MAX_SEGMENTS_PER_REQUEST);
        let indirect: u16 = device.back_number("feature-max-indirect-segments", 0).await?;
        let offered = indirect.clamp(direct, MAX_SEGMENTS);
        let queues: u32 = device.back_number("multi-queue-max-queues", 1).await?;
        let order: u32 = device.back_number("max-ring-page-order", 0).await?;
        Ok(Self {
            queues: queues.min(options.queues).clamp(1, 64),
            order: order.min(options.ring_order).min(8),
            segments: offered.min(options.segments).max(1),
            persistent: options.persistent && device.back_offers("feature-persistent").await?,
            flush: device.back_offers("feature-flush-cache").await?,
            barrier: device.back_offers("feature-barrier").await?,
        })
    }

    /// What to write into this side's directory.
    fn answer(&self, queues: &[Arc<Queue>]) -> Vec<(String, String)> {
        let mut values = Vec::new();
        let mut put = |key: String, value: String| values.push((key, value));
        put("protocol".to_string(), XEN_IO_PROTO_ABI_NATIVE.to_string());
        put("feature-persistent".to_string(), u32::from(self.persistent).to_string());
        if self.order > 0 {
            put("ring-page-order".to_string(), self.order.to_string());
        }
        if queues.len() > 1 {
            put("multi-queue-num-queues".to_string(), queues.len().to_string());
        }
        for (number, queue) in queues.iter().enumerate() {
            let folder = if queues.len() > 1 { format!("queue-{number}/") } else { String::new() };
            for (page, reference) in queue.references().enumerate() {
                let page = if self.order > 0 { page.to_string() } else { String::new() };
                put(format!("{folder}ring-ref{page}"), reference.to_string());
            }
            put(format!("{folder}event-channel"), queue.port().0.to_string());
        }
        values
    }

    /// What the back end says of the disk, once it is connected.
    async fn info(&self, device: &Frontend) -> Result<Info> {
        let sector_size: u32 = device.back_number("sector-size", SECTOR as u32).await?;
        let flags: u32 = device.back_number("info", 0).await?;
        let discard = if device.back_offers("feature-discard").await? {
            let granularity = device.back_number("discard-granularity", SECTOR as u32).await?;
            Some(Discard { granularity, alignment: device.back_number("discard-alignment", 0).await? })
        } else {
            None
        };
        Ok(Info {
            sectors: device.back_number("sectors", 0).await?,
            sector_size,
            physical_sector_size: device.back_number("physical-sector-size", sector_size).await?,
            read_only: flags & VDISK_READONLY != 0,
            flush: self.flush || self.barrier,
            discard,
            persistent: self.persistent,
            segments: self.segments,
            queues: self.queues,
            ring_pages: 1 << self.order,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_numbers() {
        assert_eq!(number_of("xvda"), Some(51712));
        assert_eq!(number_of("xvdb2"), Some(51730));
        assert_eq!(number_of("xvdaa"), Some(1 << 28 | 26 << 8));
        for other in ["sda", "xvd", "xvdA", "xvda99999999999", "xvd1"] {
            assert_eq!(number_of(other), None, "{other}");
        }
    }
}
