//! Devices of the machine that speak virtio (OASIS virtio 1.x over PCI), for a domain that may drive hardware: domain 0.
//!
//! [`scan`] looks at PCI bus 0 and takes over every network card and disk it finds. The drivers are those of the crate `virtio-drivers`.
//! Nothing here waits for interrupts: a card is asked with [`Net::receive`], a disk's operations return when they are done.

use crate::{arch, hypercall};
use alloc::{format, string::String, vec, vec::Vec};
use core::fmt;
use virtio_drivers::{
    device::{blk::VirtIOBlk, net::VirtIONet},
    transport::{
        DeviceType,
        pci::{
            PciTransport,
            bus::{Command, DeviceFunction, PciRoot},
            virtio_device_type,
        },
    },
};

/// Slots of a card's queues.
const SLOTS: usize = 64;
/// Bytes of a card's buffer: a frame and the device's header.
const BUFFER: usize = 2048;
/// Bytes of a sector.
const SECTOR: usize = 512;
/// Bytes of a disk that one request moves: a buffer of one page is contiguous in every machine's memory.
const PIECE: usize = 4096;

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Network cards, in the order of their places.
    pub nets: Vec<Net>,
    /// Disks, in the order of their places.
    pub blocks: Vec<Block>,
    /// Devices that are there and cannot be used: which, and why.
    pub damaged: Vec<String>,
}

/// Takes over the virtio devices of PCI bus 0. Fails if this domain may not use ports.
pub fn scan() -> hypercall::Result<Found> {
    let mut root = PciRoot::new(arch::Configuration::new()?);
    let all: Vec<_> = root.enumerate_bus(0).collect();
    let mut found = Found::default();
    for (place, info) in all {
        let Some(kind) = virtio_device_type(&info) else { continue };
        if let Err(why) = found.add(&mut root, place, kind) {
            found.damaged.push(format!("virtio device {place}: {why}"));
        }
    }
    Ok(found)
}

impl Found {
    fn add(
        &mut self,
        root: &mut PciRoot<arch::Configuration>,
        place: DeviceFunction,
        kind: DeviceType,
    ) -> Result<(), String> {
        if !matches!(kind, DeviceType::Network | DeviceType::Block) {
            return Ok(());
        }
        let (_, command) = root.get_status_command(place);
        root.set_command(place, command | Command::MEMORY_SPACE | Command::BUS_MASTER);
        let transport =
            PciTransport::new::<arch::Machine, _>(root, place).map_err(|error| format!("{error}"))?;
        let words = |error: virtio_drivers::Error| format!("{error}");
        match kind {
            DeviceType::Network => {
                let mut card = VirtIONet::new(transport, BUFFER).map_err(words)?;
                card.disable_interrupts();
                self.nets.push(Net { card });
            }
            _ => {
                let mut disk = VirtIOBlk::new(transport).map_err(words)?;
                disk.disable_interrupts();
                self.blocks.push(Block { disk, page: vec![0; PIECE] });
            }
        }
        Ok(())
    }
}

/// A network card.
pub struct Net {
    card: VirtIONet<arch::Machine, PciTransport, SLOTS>,
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Net({:x?})", self.mac())
    }
}

impl Net {
    /// Its address.
    pub fn mac(&self) -> [u8; 6] {
        self.card.mac_address()
    }

    /// The next frame that came, from the Ethernet header on.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        let buffer = self.card.receive().ok()?;
        let frame = buffer.packet().to_vec();
        if let Err(error) = self.card.recycle_rx_buffer(buffer) {
            log::error!("virtio: a buffer could not be offered again: {error}");
        }
        Some(frame)
    }

    /// Sends a frame of at most 1514 bytes; `false` if the card cannot take it.
    pub fn send(&mut self, frame: &[u8]) -> bool {
        if frame.len() > BUFFER - 64 || !self.card.can_send() {
            return false;
        }
        let mut buffer = self.card.new_tx_buffer(frame.len());
        buffer.packet_mut().copy_from_slice(frame);
        self.card.send(buffer).is_ok()
    }
}

/// A disk operation failed; the text says how.
pub type Failure = String;

/// A disk.
pub struct Block {
    disk: VirtIOBlk<arch::Machine, PciTransport>,
    page: Vec<u8>,
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({} sectors)", self.sectors())
    }
}

impl Block {
    /// Its size in sectors of 512 bytes.
    pub fn sectors(&self) -> u64 {
        self.disk.capacity()
    }

    /// Whether it can only be read.
    pub fn is_read_only(&self) -> bool {
        self.disk.readonly()
    }

    /// Reads whole sectors.
    pub fn read(&mut self, sector: u64, out: &mut [u8]) -> Result<(), Failure> {
        for (at, piece) in out.chunks_mut(PIECE).enumerate() {
            let first = sector as usize + at * (PIECE / SECTOR);
            let page = &mut self.page[..piece.len()];
            self.disk.read_blocks(first, page).map_err(|error| format!("reading sector {first}: {error}"))?;
            piece.copy_from_slice(page);
        }
        Ok(())
    }

    /// Writes whole sectors. They are durable after [`Block::flush`].
    pub fn write(&mut self, sector: u64, bytes: &[u8]) -> Result<(), Failure> {
        for (at, piece) in bytes.chunks(PIECE).enumerate() {
            let first = sector as usize + at * (PIECE / SECTOR);
            let page = &mut self.page[..piece.len()];
            page.copy_from_slice(piece);
            self.disk
                .write_blocks(first, page)
                .map_err(|error| format!("writing sector {first}: {error}"))?;
        }
        Ok(())
    }

    /// Makes durable what was written.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.disk.flush().map_err(|error| format!("flushing: {error}"))
    }
}
