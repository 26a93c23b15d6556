//! The machine's virtio devices: the network card as a bridge's uplink, and the disks ([`super::block`]).
//!
//! No interrupt says that a frame came, so the card is asked: often while there is traffic, seldom while there is none.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use dom0::control::Control;
use dom0::net::{Uplink, spec::BRIDGE};
use domu_sdk::time::Instant;
use domu_sdk::virtio::{self, Net};

use super::Machine;

/// Nanoseconds between two looks while there is traffic, and while there is none.
const BUSY: u64 = 250_000;
const IDLE: u64 = 5_000_000;
/// Nanoseconds after the last frame for which there is traffic.
const TRAFFIC: u64 = 100_000_000;

/// Gives Dom0 what devices there are. Returns what a person should be told.
pub fn connect(control: &mut Control<'_, Machine>) -> Vec<String> {
    let found = match virtio::scan() {
        Ok(found) => found,
        Err(error) => return [format!("the machine's devices cannot be looked at: {error}")].into(),
    };
    if let Some(card) = found.nets.into_iter().next() {
        let link = Link { card, heard: 0 };
        control.net.set_uplink(BRIDGE, Box::new(link));
    }
    super::block::connect(control, found.blocks);
    found.damaged
}

struct Link {
    card: Net,
    /// When a frame came or went last.
    heard: u64,
}

fn now() -> u64 {
    Instant::now().nanoseconds()
}

impl Uplink for Link {
    fn receive(&mut self) -> Option<Vec<u8>> {
        let frame = self.card.receive()?;
        self.heard = now();
        Some(frame)
    }

    fn send(&mut self, frame: &[u8]) -> bool {
        self.heard = now();
        self.card.send(frame)
    }

    fn poll_at(&self) -> Option<u64> {
        let now = now();
        let pause = if now < self.heard.saturating_add(TRAFFIC) { BUSY } else { IDLE };
        Some(now + pause)
    }
}
