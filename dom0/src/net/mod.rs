//! Network interfaces for guests: the back end of the network protocol (public header `io/netif.h`), and the bridges between them.
//!
//! [`Network`] has the interfaces and the bridges. An interface comes from a configuration ([`spec`]); what its guest sends is taken
//! from its rings ([`queue`]), checked ([`guard`]), counted against its [`limit`], and goes where the [`bridge`] says: to other guests' rings,
//! and to the machine's network ([`Uplink`]) if the bridge has one.
//!
//! **What a guest can cost.** [`vif::MAX_QUEUES`] queues with two mapped pages each; a bounded number of frames is taken from a queue in one
//! round, and [`queue::WAITING`] frames wait for it. A frame to everybody is stored once. A guest that takes no frames loses its own.
//!
//! **Checksums and lengths.** Between guests TCP and UDP checksums stay blank; towards the uplink, or a guest that wants them, they are filled in.
//! Segmentation offload is not offered: with `mtu=` guests on one machine may use long frames instead, which cost less.

pub mod bridge;
pub mod frame;
pub mod guard;
pub mod limit;
pub mod queue;
pub mod spec;
#[cfg(test)]
mod tests;
pub mod vif;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::control::devices::{Backend, Device, Host};
use crate::control::phase::Follows;
use crate::hypervisor::{Hypervisor, Window};
use bridge::{Bridge, Way};
use frame::Mac;
use guard::Guard;
use limit::Limit;
use queue::Packet;
use spec::Vif as Spec;
use vif::{Stats, Vif};

/// Frames taken from the uplink in a round.
const UPLINK_FRAMES: usize = 64;
/// Longest frame on the machine's network.
const UPLINK_MAX: usize = 1500 + frame::HEADER;

/// The machine's network.
pub trait Uplink {
    /// The next frame that came, from the Ethernet header on.
    fn receive(&mut self) -> Option<Vec<u8>>;
    /// Sends a frame; `false` if there is no room for it.
    fn send(&mut self, frame: &[u8]) -> bool;
    /// When to look again, in nanoseconds of Dom0's clock, if nothing tells that frames came.
    fn poll_at(&self) -> Option<u64>;
}

/// A port of a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// A guest's interface.
    Guest(Device),
    /// The machine's network.
    Uplink,
}

struct Wire {
    bridge: String,
    link: Box<dyn Uplink>,
    sent: u64,
    received: u64,
    dropped: u64,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire on {}: {} sent, {} received", self.bridge, self.sent, self.received)
    }
}

#[derive(Debug)]
struct Interface<W> {
    vif: Vif<W>,
    bridge: String,
    mac: Mac,
}

/// All interfaces and bridges.
#[derive(Debug)]
pub struct Network<W> {
    interfaces: BTreeMap<Device, Interface<W>>,
    bridges: BTreeMap<String, Bridge<Port>>,
    wire: Option<Wire>,
}

impl<W> Default for Network<W> {
    fn default() -> Self {
        Self { interfaces: BTreeMap::new(), bridges: BTreeMap::new(), wire: None }
    }
}

impl<W: Window> Network<W> {
    /// Puts the machine's network on a bridge.
    pub fn set_uplink(&mut self, bridge: &str, link: Box<dyn Uplink>) {
        self.bridges.entry(bridge.to_string()).or_default().add(Port::Uplink, None);
        self.wire = Some(Wire { bridge: bridge.to_string(), link, sent: 0, received: 0, dropped: 0 });
    }

    /// What an interface did, its address and bridge, and whether its front end is connected.
    pub fn stats(&self, device: Device) -> Option<(Stats, Mac, &str, bool)> {
        let interface = self.interfaces.get(&device)?;
        Some((interface.vif.stats(), interface.mac, &interface.bridge, interface.vif.is_connected()))
    }

    /// When to serve though nothing happened.
    pub fn wake_at(&self) -> Option<u64> {
        let limits = self.interfaces.values().filter_map(|interface| interface.vif.wake_at()).min();
        let uplink = self.wire.as_ref().and_then(|wire| wire.link.poll_at());
        limits.into_iter().chain(uplink).min()
    }

    /// Makes an interface's directories and puts it on its bridge. The toolstack then tells that the device is there. `seed` makes
    /// its address if none is given.
    pub fn attach<H: Hypervisor<Window = W>>(
        &mut self,
        host: &mut Host<'_, H>,
        device: Device,
        spec: &Spec,
        seed: &[u8],
    ) -> Result<(), String> {
        if self.interfaces.contains_key(&device) {
            return Err(format!("domain {} has an interface {} already", device.dom, device.number));
        }
        let mac = spec.mac.unwrap_or_else(|| made_up(seed, device.number));
        let bridge = self.bridges.entry(spec.bridge.clone()).or_default();
        let others = self.interfaces.values().filter(|other| other.bridge == spec.bridge);
        if let Some(twin) = others.into_iter().find(|other| other.mac == mac) {
            return Err(format!("{mac} is on bridge {} already; give this interface another", twin.bridge));
        }
        bridge.add(Port::Guest(device), Some(mac));
        let guard = Guard { mac, addresses: spec.addresses.clone() };
        let vif = Vif::new(device, guard, Limit::new(spec.rate), spec.mtu);
        self.interfaces.insert(device, Interface { vif, bridge: spec.bridge.clone(), mac });
        publish(host, device, spec, mac);
        Ok(())
    }

    /// Takes a frame that came in by a port to the ports it is for.
    fn forward(&mut self, from: Port, bridge: &str, packet: Packet, now: u64) {
        let Some(ways) = self.bridges.get_mut(bridge) else { return };
        let (Some(source), Some(destination)) =
            (frame::source(&packet.bytes), frame::destination(&packet.bytes))
        else {
            return;
        };
        let way = ways.forward(from, source, destination, now);
        let packet = Rc::new(packet);
        match way {
            Way::None => {}
            Way::One(port) => put(&mut self.interfaces, &mut self.wire, port, &packet),
            Way::All => {
                for port in ways.ports().iter().filter(|port| **port != from) {
                    put(&mut self.interfaces, &mut self.wire, *port, &packet);
                }
            }
        }
    }

    /// Takes what came from the machine's network. Returns whether there may be more.
    fn collect_uplink(&mut self, now: u64) -> bool {
        let Some(wire) = &mut self.wire else { return false };
        let frames: Vec<_> = (0..UPLINK_FRAMES).map_while(|_| wire.link.receive()).collect();
        wire.received += frames.len() as u64;
        let (bridge, more) = (wire.bridge.clone(), frames.len() == UPLINK_FRAMES);
        for bytes in frames {
            self.forward(Port::Uplink, &bridge, Packet { bytes, blank: false, intact: false }, now);
        }
        more
    }
}

fn put<W: Window>(
    interfaces: &mut BTreeMap<Device, Interface<W>>,
    wire: &mut Option<Wire>,
    port: Port,
    packet: &Rc<Packet>,
) {
    match port {
        Port::Guest(device) => {
            if let Some(interface) = interfaces.get_mut(&device) {
                interface.vif.push(packet);
            }
        }
        Port::Uplink => {
            if let Some(wire) = wire {
                wire.send(packet);
            }
        }
    }
}

impl Wire {
    fn send(&mut self, packet: &Packet) {
        let sent = packet.bytes.len() <= UPLINK_MAX && {
            if packet.blank {
                let mut complete = packet.bytes.clone();
                frame::complete_checksum(&mut complete);
                self.link.send(&complete)
            } else {
                self.link.send(&packet.bytes)
            }
        };
        if sent {
            self.sent += 1;
        } else {
            self.dropped += 1;
        }
    }
}

fn publish<H: Hypervisor>(host: &mut Host<'_, H>, device: Device, spec: &Spec, mac: Mac) {
    let (number, mac, mtu) = (device.number.to_string(), mac.to_string(), spec.mtu.to_string());
    let front = [("handle", number.as_str()), ("mac", &mac), ("mtu", &mtu)];
    let addresses: Vec<String> = spec.addresses.iter().map(ToString::to_string).collect();
    let addresses = addresses.join(" ");
    let rate = spec.rate.map(|rate| format!("{},{}", rate.bytes, rate.window));
    let mut back = [("handle", number.as_str()), ("mac", &mac), ("mtu", &mtu)].to_vec();
    back.extend([("bridge", spec.bridge.as_str()), ("type", "vif")]);
    if !addresses.is_empty() {
        back.push(("ip", &addresses));
    }
    if let Some(rate) = &rate {
        back.push(("rate", rate));
    }
    host.publish(device, &front, &back);
}

/// An address in the range that is Xen's, the same for the same seed.
fn made_up(seed: &[u8], number: u32) -> Mac {
    let hash = seed.iter().chain(&number.to_le_bytes()).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    let [a, b, c, ..] = (hash ^ hash >> 32).to_le_bytes();
    Mac([0x00, 0x16, 0x3e, a & 0x7f, b, c])
}

impl<H: Hypervisor> Backend<H> for Network<H::Window> {
    fn changed(&mut self, host: &mut Host<'_, H>, device: Device) {
        if let Some(interface) = self.interfaces.get_mut(&device) {
            interface.vif.changed(host);
        }
    }

    fn serve(&mut self, host: &mut Host<'_, H>) -> bool {
        if self.interfaces.is_empty() && self.wire.is_none() {
            return false;
        }
        let now = host.hv.now();
        let mut more = self.collect_uplink(now);
        let mut packets = Vec::new();
        for (device, interface) in &mut self.interfaces {
            more |= interface.vif.collect(host, now, |packet| packets.push((*device, packet)));
        }
        for (device, packet) in packets {
            let Some(bridge) = self.interfaces.get(&device).map(|i| i.bridge.clone()) else { continue };
            self.forward(Port::Guest(device), &bridge, packet, now);
        }
        for interface in self.interfaces.values_mut() {
            interface.vif.deliver(host);
        }
        more
    }

    fn removed(&mut self, host: &mut Host<'_, H>, device: Device) {
        let Some(mut interface) = self.interfaces.remove(&device) else { return };
        interface.vif.disconnect(host);
        if let Some(bridge) = self.bridges.get_mut(&interface.bridge) {
            bridge.remove(Port::Guest(device));
            if bridge.ports().is_empty() {
                self.bridges.remove(&interface.bridge);
            }
        }
    }
}
