//! One block device: what is offered, and what a connection needs.
//!
//! How it comes up and goes down is said in [`crate::control::phase`]. While it is connected, frames of persistent grants stay mapped
//! besides the rings.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use abi::io::blkif::VDISK_READONLY;
use abi::io::protocols::XEN_IO_PROTO_ABI_NATIVE;

use super::queue::{Grants, Queue, Scratch, Stats, Subject};
use super::spec::Disk;
use super::storage::{SECTOR, Shared};
use super::wire::MAX_INDIRECT;
use crate::control::devices::{Device, Host};
use crate::control::phase::{Follows, Phase};
use crate::hypervisor::{Hypervisor, Window};

/// Queues that a front end may have.
pub const MAX_QUEUES: u32 = 4;
/// A ring may have two to the power of this many pages.
pub const MAX_ORDER: u32 = 4;

/// A device.
#[derive(Debug)]
pub struct Vbd<'a, W> {
    device: Device,
    subject: Subject<'a, W>,
    queues: Vec<Queue<W>>,
    phase: Phase,
    disk: Disk,
}

impl<'a, W: Window> Vbd<'a, W> {
    /// A device that nothing was done for yet.
    pub fn new(device: Device, storage: Shared<'a>, disk: Disk) -> Self {
        let (writable, dom, stats) = (disk.writable, device.dom, Stats::default());
        let discard = disk.discard && writable && storage.borrow().discards();
        let subject = Subject { dom, storage, writable, discard, grants: None, stats };
        Self { device, subject, queues: Vec::new(), phase: Phase::Closed, disk }
    }

    /// How it was configured.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Sectors of the disk.
    pub fn sectors(&self) -> u64 {
        self.subject.storage.borrow().sectors()
    }

    /// What was done.
    pub fn stats(&self) -> Stats {
        self.subject.stats
    }

    /// Whether a front end is connected.
    pub fn is_connected(&self) -> bool {
        self.phase == Phase::Connected
    }

    /// Frames of the guest that stay mapped besides the rings.
    pub fn mapped(&self) -> usize {
        self.subject.grants.as_ref().map_or(0, Grants::count)
    }

    /// A round over the rings. Returns whether there is more to do.
    pub fn serve<H: Hypervisor<Window = W>>(
        &mut self,
        host: &mut Host<'_, H>,
        scratch: &mut Scratch,
    ) -> bool {
        let mut more = false;
        for queue in &mut self.queues {
            match queue.serve(host.hv, &mut self.subject, scratch) {
                Ok(left) => more |= left,
                Err(why) => {
                    self.fail(host, &why);
                    return false;
                }
            }
        }
        more
    }
}

impl<W: Window, H: Hypervisor<Window = W>> Follows<H> for Vbd<'_, W> {
    fn device(&self) -> Device {
        self.device
    }

    fn phase(&mut self) -> &mut Phase {
        &mut self.phase
    }

    fn offers(&self) -> Vec<(&'static str, String)> {
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

    /// Maps the rings, connects the channels, says what the disk is like.
    fn connect(&mut self, host: &mut Host<'_, H>) -> Result<(), String> {
        let device = self.device;
        if let Some(other) = host.front(device, "protocol").filter(|p| *p != XEN_IO_PROTO_ABI_NATIVE) {
            return Err(format!("protocol {other:?} is not spoken here; use {XEN_IO_PROTO_ABI_NATIVE:?}"));
        }
        let queues: u32 = host.front_number_or(device, "multi-queue-num-queues", 1)?;
        if !(1..=MAX_QUEUES).contains(&queues) {
            return Err(format!("multi-queue-num-queues is {queues}, from 1 to {MAX_QUEUES} are offered"));
        }
        let order: u32 = host.front_number_or(device, "ring-page-order", 0)?;
        if order > MAX_ORDER {
            return Err(format!("ring-page-order is {order}, at most {MAX_ORDER} is offered"));
        }
        let persistent: u32 = host.front_number_or(device, "feature-persistent", 0)?;
        for number in 0..queues {
            let folder = if queues > 1 { format!("queue-{number}/") } else { String::new() };
            let queue = connect_queue(host, device, &folder, 1 << order)?;
            self.queues.push(queue);
        }
        self.subject.grants = (persistent == 1).then(Grants::default);
        let (sectors, physical) = {
            let storage = self.subject.storage.borrow();
            (storage.sectors(), storage.physical())
        };
        let info = if self.subject.writable { 0 } else { VDISK_READONLY };
        host.put_back(device, "sectors", &sectors.to_string());
        host.put_back(device, "info", &info.to_string());
        host.put_back(device, "sector-size", &SECTOR.to_string());
        host.put_back(device, "physical-sector-size", &physical.to_string());
        Ok(())
    }

    fn release(&mut self, host: &mut Host<'_, H>) {
        for queue in self.queues.drain(..) {
            host.hv.close(queue.port);
        }
        self.subject.grants = None;
    }
}

fn connect_queue<H: Hypervisor>(
    host: &mut Host<'_, H>,
    device: Device,
    folder: &str,
    pages: usize,
) -> Result<Queue<H::Window>, String> {
    let single = format!("{folder}ring-ref");
    let grants: Result<Vec<u32>, String> = if pages == 1 && host.front(device, &single).is_some() {
        host.front_number(device, &single).map(|grant| [grant].to_vec())
    } else {
        (0..pages).map(|page| host.front_number(device, &format!("{single}{page}"))).collect()
    };
    let grants = grants?;
    let port: u32 = host.front_number(device, &format!("{folder}event-channel"))?;
    let ring = host.hv.map_grants(device.dom, &grants);
    let ring = ring.map_err(|error| format!("the frames of {single} cannot be mapped: {error:?}"))?;
    let local = host.hv.bind(device.dom, port);
    let local = local.map_err(|error| format!("event-channel {port} cannot be bound: {error:?}"))?;
    Queue::attach(ring, pages, local).inspect_err(|_| host.hv.close(local))
}
