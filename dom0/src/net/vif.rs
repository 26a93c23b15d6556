//! A network interface of a guest: its states, its queues, and the rules for what it sends.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::frame;
use super::guard::{Guard, Refusal};
use super::limit::Limit;
use super::queue::{Packet, Receiver, Sender};
use crate::control::devices::{Device, Host};
use crate::control::phase::{Follows, Phase};
use crate::hypervisor::{Hypervisor, Window};

/// Queues that a front end may ask for.
pub const MAX_QUEUES: u32 = 4;

/// What an interface did. `from` and `to` are seen from the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frames from the guest that were passed on.
    pub from: u64,
    /// Their bytes.
    pub from_bytes: u64,
    /// Frames that the guest received.
    pub to: u64,
    /// Their bytes, including those that still wait for the guest's pages.
    pub to_bytes: u64,
    /// Frames dropped because the guest did not take them fast enough.
    pub dropped: u64,
    /// Frames that the guest may not send: addresses that are not its own, forbidden or damaged protocols.
    pub refused: u64,
    /// Frames that could not be copied.
    pub errors: u64,
}

#[derive(Debug)]
struct Queue<W> {
    sender: Sender<W>,
    receiver: Receiver<W>,
    /// Local ports: for what the guest sends, and for what it receives; often the same.
    ports: [u32; 2],
}

/// An interface.
#[derive(Debug)]
pub struct Vif<W> {
    device: Device,
    guard: Guard,
    limit: Limit,
    /// Longest frame.
    longest: usize,
    phase: Phase,
    queues: Vec<Queue<W>>,
    /// The guest takes frames of several pages.
    gathers: bool,
    /// The guest takes frames whose checksum is blank.
    blanks: bool,
    /// When a frame that is over the limit may go.
    wait: Option<u64>,
    stats: Stats,
}

impl<W: Window> Vif<W> {
    /// An interface that is not offered yet.
    pub fn new(device: Device, guard: Guard, limit: Limit, mtu: u16) -> Self {
        Self {
            device,
            guard,
            limit,
            longest: usize::from(mtu) + frame::HEADER,
            phase: Phase::Closed,
            queues: Vec::new(),
            gathers: false,
            blanks: true,
            wait: None,
            stats: Stats::default(),
        }
    }

    /// What it did.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Whether its front end is connected.
    pub fn is_connected(&self) -> bool {
        self.phase == Phase::Connected
    }

    /// When it should be served though nothing happened.
    pub fn wake_at(&self) -> Option<u64> {
        self.wait
    }

    /// Takes what the guest sends, as far as it may be sent, and hands it to `pass`. Returns whether there is more.
    pub fn collect<H: Hypervisor<Window = W>>(
        &mut self,
        host: &mut Host<'_, H>,
        now: u64,
        mut pass: impl FnMut(Packet),
    ) -> bool {
        let mut more = false;
        self.wait = None;
        for at in 0..self.queues.len() {
            let queue = &mut self.queues[at];
            let look = match queue.sender.look(host.hv, self.device.dom, &mut self.limit, now) {
                Ok(look) => look,
                Err(why) => {
                    self.fail(host, &why.to_string());
                    return false;
                }
            };
            if look.notify {
                host.hv.notify(queue.ports[0]);
            }
            if look.limited {
                self.wait = Some(self.limit.opens_at());
            }
            self.stats.errors += look.errors;
            more |= look.more;
            for packet in look.packets {
                if self.may_pass(&packet).is_err() {
                    self.stats.refused += 1;
                    continue;
                }
                self.stats.from += 1;
                self.stats.from_bytes += packet.bytes.len() as u64;
                pass(packet);
            }
        }
        more
    }

    fn may_pass(&self, packet: &Packet) -> Result<(), Refusal> {
        if packet.bytes.len() > self.longest {
            return Err(Refusal::Malformed);
        }
        self.guard.check(&packet.bytes)
    }

    /// Queues a frame for the guest.
    pub fn push(&mut self, packet: &Rc<Packet>) {
        let count = self.queues.len();
        if count == 0 {
            return;
        }
        let several = packet.bytes.len() > 4096;
        if packet.bytes.len() > self.longest || (several && !self.gathers) {
            self.stats.dropped += 1;
            return;
        }
        let packet = if packet.blank && !self.blanks {
            let mut complete = Packet::clone(packet);
            complete.blank = !frame::complete_checksum(&mut complete.bytes);
            Rc::new(complete)
        } else {
            packet.clone()
        };
        let queue = if count == 1 { 0 } else { frame::flow(&packet.bytes) as usize % count };
        let bytes = packet.bytes.len() as u64;
        if self.queues[queue].receiver.push(packet) {
            self.stats.to_bytes += bytes;
        } else {
            self.stats.dropped += 1;
        }
    }

    /// Moves waiting frames into the guest's pages.
    pub fn deliver<H: Hypervisor<Window = W>>(&mut self, host: &mut Host<'_, H>) {
        for at in 0..self.queues.len() {
            let queue = &mut self.queues[at];
            match queue.receiver.deliver(host.hv, self.device.dom) {
                Ok(done) => {
                    if done.notify {
                        host.hv.notify(queue.ports[1]);
                    }
                    self.stats.to += done.frames;
                    self.stats.errors += done.errors;
                }
                Err(why) => return self.fail(host, &why.to_string()),
            }
        }
    }
}

impl<W: Window, H: Hypervisor<Window = W>> Follows<H> for Vif<W> {
    fn device(&self) -> Device {
        self.device
    }

    fn phase(&mut self) -> &mut Phase {
        &mut self.phase
    }

    fn offers(&self) -> Vec<(&'static str, String)> {
        [
            ("feature-sg", "1".to_string()),
            ("feature-rx-copy", "1".to_string()),
            ("feature-rx-flip", "0".to_string()),
            ("feature-ipv6-csum-offload", "1".to_string()),
            ("feature-split-event-channels", "1".to_string()),
            ("multi-queue-max-queues", MAX_QUEUES.to_string()),
            // Where others run a script to put the interface on a bridge, it is on one already.
            ("hotplug-status", "connected".to_string()),
        ]
        .to_vec()
    }

    fn connect(&mut self, host: &mut Host<'_, H>) -> Result<(), String> {
        let device = self.device;
        let flag = |host: &Host<'_, H>, key: &str| host.front_number_or::<u32>(device, key, 0);
        if flag(host, "request-rx-copy")? != 1 {
            return Err("request-rx-copy is not 1: pages are copied here, not exchanged".to_string());
        }
        let queues: u32 = host.front_number_or(device, "multi-queue-num-queues", 1)?;
        if !(1..=MAX_QUEUES).contains(&queues) {
            return Err(format!("multi-queue-num-queues is {queues}, from 1 to {MAX_QUEUES} are offered"));
        }
        self.gathers = flag(host, "feature-sg")? == 1;
        self.blanks = flag(host, "feature-no-csum-offload")? != 1;
        for number in 0..queues {
            let folder = if queues > 1 { format!("queue-{number}/") } else { String::new() };
            let queue = connect_queue(host, device, &folder)?;
            self.queues.push(queue);
        }
        Ok(())
    }

    fn release(&mut self, host: &mut Host<'_, H>) {
        for queue in self.queues.drain(..) {
            close(host, queue.ports);
        }
        self.wait = None;
    }
}

fn close<H: Hypervisor>(host: &mut Host<'_, H>, ports: [u32; 2]) {
    host.hv.close(ports[0]);
    if ports[0] != ports[1] {
        host.hv.close(ports[1]);
    }
}

fn connect_queue<H: Hypervisor>(
    host: &mut Host<'_, H>,
    device: Device,
    folder: &str,
) -> Result<Queue<H::Window>, String> {
    let mut ring = |key: &str| {
        let key = format!("{folder}{key}");
        let grant: u32 = host.front_number(device, &key)?;
        let ring = host.hv.map_grants(device.dom, &[grant]);
        ring.map_err(|error| format!("{key}: grant {grant} cannot be mapped: {error:?}"))
    };
    let (sender, receiver) = (Sender::attach(ring("tx-ring-ref")?), Receiver::attach(ring("rx-ring-ref")?));
    let ports = bind(host, device, folder)?;
    Ok(Queue { sender, receiver, ports })
}

/// Binds the queue's channels: two, or one for both directions.
fn bind<H: Hypervisor>(host: &mut Host<'_, H>, device: Device, folder: &str) -> Result<[u32; 2], String> {
    let one = |host: &mut Host<'_, H>, key: &str| {
        let key = format!("{folder}{key}");
        let port: u32 = host.front_number(device, &key)?;
        let local = host.hv.bind(device.dom, port);
        local.map_err(|error| format!("{key} {port} cannot be bound: {error:?}"))
    };
    if host.front(device, &format!("{folder}event-channel-tx")).is_none() {
        let port = one(host, "event-channel")?;
        return Ok([port; 2]);
    }
    let tx = one(host, "event-channel-tx")?;
    match one(host, "event-channel-rx") {
        Ok(rx) => Ok([tx, rx]),
        Err(why) => {
            host.hv.close(tx);
            Err(why)
        }
    }
}
