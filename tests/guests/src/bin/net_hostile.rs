//! A guest whose network interface's front end does what it must not: indices, slots, grants, frames, store contents and states at
//! random, from a seed. Dom0 has to survive it, and to serve others meanwhile.
//!
//! `seed=N` chooses what is done, `lives=N` how often the interface is opened (0: for ever). It ends with `hostile: done`.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use abi::io::{
    netif::{NetifRxRequest, NetifTxRequest, RX_SLOT_SIZE, TX_SLOT_SIZE},
    ring::{Sring, slot_offset, slots},
};
use alloc::{format, string::String, string::ToString, sync::Arc, vec, vec::Vec};
use core::{mem::offset_of, time::Duration};
use domu_sdk::{
    DomId,
    events::Channel,
    executor,
    grant::{Access, Grant},
    memory::SharedPages,
    store,
    time::sleep,
    xenbus::{Frontend, State},
};
use test_guests::hostile::{self, Chance, Misuse, Outcome, words};

/// Pages with data, for each direction.
const DATA: usize = 12;
#[domu_sdk::main]
async fn main() {
    hostile::run::<Front>(0).await;
}

/// What a front end has shared.
struct Front {
    device: Frontend,
    /// Transmit and receive.
    rings: [(Arc<SharedPages>, Grant); 2],
    channels: Vec<Channel>,
    data: Vec<(Arc<SharedPages>, Grant)>,
    produced: [u32; 2],
    mac: [u8; 6],
}

const KEYS: &[&str] = &[
    "tx-ring-ref",
    "rx-ring-ref",
    "event-channel",
    "event-channel-tx",
    "event-channel-rx",
    "request-rx-copy",
    "multi-queue-num-queues",
    "queue-0/tx-ring-ref",
    "queue-1/rx-ring-ref",
    "queue-0/event-channel",
    "feature-sg",
    "feature-no-csum-offload",
    "backend",
    "backend-id",
    "mac",
    "handle",
    "nonsense/deep/down/below",
];
/// Those that a life begins without.
const OWN: &[&str] = KEYS.split_at(12).0;

impl Misuse for Front {
    const CLASS: &str = "vif";
    const KEYS: &[&str] = OWN;

    async fn offer(device: Frontend, chance: &mut Chance) -> Outcome<Self> {
        offer(device, chance).await
    }

    async fn connected(&mut self) {}

    async fn misbehave(&mut self, chance: &mut Chance) {
        misbehave(self, chance).await;
    }

    fn answers(&self) -> u32 {
        let answers = |ring: usize| self.rings[ring].0.load_u32(offset_of!(Sring, rsp_prod));
        answers(0).saturating_add(answers(1))
    }

    fn device(&self) -> &Frontend {
        &self.device
    }
}

/// Mostly right.
async fn offer(device: Frontend, chance: &mut Chance) -> Outcome<Front> {
    let granted = |access| {
        let pages = Arc::new(SharedPages::new(1).ok_or("no memory")?);
        let grant = Grant::new(&pages, 0, DomId::DOM0, access).map_err(words)?;
        Outcome::Ok((pages, grant))
    };
    let rings = [granted(Access::ReadWrite)?, granted(Access::ReadWrite)?];
    rings.iter().for_each(|(page, _)| page.put(0, &Sring::initial()));
    let mut data = vec![];
    for page in 0..2 * DATA {
        data.push(granted(if page % 4 == 3 { Access::Read } else { Access::ReadWrite })?);
    }
    let channel = Channel::alloc_unbound(DomId::DOM0).map_err(words)?;
    let mut values: Vec<(String, String)> = vec![
        ("tx-ring-ref".into(), rings[0].1.reference().0.to_string()),
        ("rx-ring-ref".into(), rings[1].1.reference().0.to_string()),
        ("event-channel".into(), channel.port().0.to_string()),
        ("request-rx-copy".into(), "1".into()),
        ("feature-sg".into(), chance.below(2).to_string()),
        ("feature-no-csum-offload".into(), chance.below(2).to_string()),
    ];
    if chance.once_in(4) {
        let key = OWN[chance.below(OWN.len() as u64) as usize];
        values.push((key.to_string(), chance.text("/local/domain/0/backend/vif/0/0")));
    }
    device.publish(&values, State::Connected).await.map_err(words)?;
    let text = device.back_text("mac").await.map_err(words)?.unwrap_or_default();
    let mut mac = [0; 6];
    for (byte, part) in mac.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(part, 16).unwrap_or(0);
    }
    Ok(Front { device, rings, channels: vec![channel], data, produced: [0; 2], mac })
}

async fn misbehave(front: &mut Front, chance: &mut Chance) {
    let ring = chance.below(2) as usize;
    match chance.below(60) {
        0 => {
            let at = chance.below(1024) as usize * 4;
            front.rings[ring].0.store_u32(at, chance.next() as u32);
        }
        1 => {
            // An index that is wrong, but often not by much.
            let wrong = match chance.below(3) {
                0 => chance.number() as u32,
                _ => front.produced[ring].wrapping_add(chance.below(200) as u32),
            };
            front.rings[ring].0.store_u32(offset_of!(Sring, req_prod), wrong);
        }
        2 => {
            let key = KEYS[chance.below(KEYS.len() as u64) as usize];
            let path = format!("{}/{key}", front.device.path());
            if let Some(store) = store::get() {
                let _ = store.write(&path, chance.text("/local/domain/0/backend/vif/0/0")).await;
            }
        }
        3 if chance.once_in(8) => {
            let state = State::from_number(chance.below(9) as u32).unwrap_or(State::Unknown);
            let _ = front.device.set_state(state).await;
        }
        4 if chance.once_in(20) => {
            // The channel closes while the other side uses it.
            front.channels.clear();
        }
        5..=12 => {
            for channel in &front.channels {
                let _ = channel.notify();
            }
            executor::yield_now().await;
        }
        13 => sleep(Duration::from_micros(chance.below(500))).await,
        14..=30 => receive(front, chance),
        _ => send(front, chance),
    }
}

/// An Ethernet header that is nearly right.
fn header(front: &Front, chance: &mut Chance) -> [u8; 14] {
    let mut bytes = [0xff; 14];
    if chance.once_in(2) {
        // The neighbours of the tests.
        bytes[..6].copy_from_slice(&[0, 0x16, 0x3e, 0, 0, chance.below(4) as u8]);
    }
    bytes[6..12].copy_from_slice(&front.mac);
    if chance.once_in(6) {
        bytes[6 + chance.below(6) as usize] = chance.next() as u8;
    }
    let kind = [0x0800u16, 0x0806, 0x86dd, 0x8100][chance.below(4) as usize];
    bytes[12..].copy_from_slice(&kind.to_be_bytes());
    bytes
}

/// A frame of some slots that is nearly right.
fn send(front: &mut Front, chance: &mut Chance) {
    let pieces = if chance.once_in(3) { 1 + chance.below(21) } else { 1 };
    let lengths: Vec<u16> = (0..pieces).map(|_| 1 + chance.below(1500 / pieces) as u16).collect();
    for (at, length) in lengths.iter().enumerate() {
        let page = chance.below(DATA as u64) as usize;
        let offset = chance.below(2000) as u16;
        if at == 0 {
            let bytes = header(front, chance);
            front.data[page].0.write(offset.into(), &bytes);
            front.data[page].0.store_u8(usize::from(offset) + 14, 0x45);
        }
        let more = if at + 1 < lengths.len() { 4 } else { 0 };
        let size = if at == 0 { lengths.iter().sum::<u16>().max(14) } else { *length };
        let mut request = NetifTxRequest {
            gref: front.data[page].1.reference().0,
            offset,
            flags: more | (chance.below(4) as u16 & 3),
            id: chance.next() as u16,
            size,
        };
        if chance.once_in(20) {
            match chance.below(5) {
                0 => request.gref = chance.number() as u32,
                1 => request.offset = chance.number() as u16,
                2 => request.flags = chance.next() as u16,
                3 => request.size = chance.number() as u16,
                _ => request.gref = front.rings[0].1.reference().0,
            }
        }
        let count = slots(4096, TX_SLOT_SIZE);
        front.rings[0].0.put(slot_offset(front.produced[0], count, TX_SLOT_SIZE), &request);
        front.produced[0] = front.produced[0].wrapping_add(1);
    }
    front.rings[0].0.store_u32(offset_of!(Sring, req_prod), front.produced[0]);
}

/// An empty page that is nearly right.
fn receive(front: &mut Front, chance: &mut Chance) {
    let page = DATA + chance.below(DATA as u64) as usize;
    let mut gref = front.data[page].1.reference().0;
    if chance.once_in(20) {
        gref = chance.number() as u32;
    }
    let request = NetifRxRequest { id: chance.next() as u16, pad: chance.next() as u16, gref };
    let count = slots(4096, RX_SLOT_SIZE);
    front.rings[1].0.put(slot_offset(front.produced[1], count, RX_SLOT_SIZE), &request);
    front.produced[1] = front.produced[1].wrapping_add(1);
    front.rings[1].0.store_u32(offset_of!(Sring, req_prod), front.produced[1]);
}
