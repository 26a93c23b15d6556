//! A guest whose disk's front end does what it must not: indices, requests, grants, store contents and states at random, from a
//! seed. Dom0 has to survive it, and to serve others meanwhile.
//!
//! `seed=N` chooses what is done, `lives=N` how often a device is opened (0: for ever). It ends with `hostile: done`.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use abi::io::{
    blkif::SLOT_SIZE,
    ring::{Sring, slot_offset, slots},
};
use alloc::{format, string::String, string::ToString, sync::Arc, vec, vec::Vec};
use core::{mem::offset_of, time::Duration};
use domu_sdk::{
    DomId,
    block::number_of,
    events::Channel,
    executor,
    grant::{Access, Grant},
    memory::SharedPages,
    store,
    time::sleep,
    xenbus::{Frontend, State},
};
use test_guests::hostile::{self, Chance, Misuse, Outcome, words};

/// Pages with data.
const DATA: usize = 12;
#[domu_sdk::main]
async fn main() {
    hostile::run::<Front>(number_of("xvda").unwrap_or(0)).await;
}

/// What a front end has shared.
struct Front {
    device: Frontend,
    ring: Arc<SharedPages>,
    ring_grants: Vec<Grant>,
    channels: Vec<Channel>,
    data: Vec<Grant>,
    produced: u32,
}

const KEYS: &[&str] = &[
    "ring-ref",
    "ring-ref0",
    "ring-ref1",
    "ring-page-order",
    "multi-queue-num-queues",
    "queue-0/ring-ref",
    "queue-1/ring-ref",
    "queue-0/event-channel",
    "queue-1/event-channel",
    "event-channel",
    "protocol",
    "feature-persistent",
    "backend",
    "backend-id",
    "virtual-device",
    "nonsense/deep/down/below",
];

/// Those that a life begins without.
const OWN: &[&str] = KEYS.split_at(12).0;

impl Misuse for Front {
    const CLASS: &str = "vbd";
    const KEYS: &[&str] = OWN;

    async fn offer(device: Frontend, chance: &mut Chance) -> Outcome<Self> {
        offer(device, chance).await
    }

    async fn connected(&mut self) {
        let _ = self.device.set_state(State::Connected).await;
    }

    async fn misbehave(&mut self, chance: &mut Chance) {
        misbehave(self, chance).await;
    }

    fn answers(&self) -> u32 {
        self.ring.load_u32(offset_of!(Sring, rsp_prod))
    }

    fn device(&self) -> &Frontend {
        &self.device
    }
}

/// Mostly right.
async fn offer(device: Frontend, chance: &mut Chance) -> Outcome<Front> {
    let order = chance.below(3);
    let pages = 1 << order;
    let ring = Arc::new(SharedPages::new(pages).ok_or("no memory")?);
    ring.put(0, &Sring::initial());
    let dom0 = DomId::DOM0;
    let grant = |pages: &Arc<SharedPages>, page, access| Grant::new(pages, page, dom0, access).map_err(words);
    let ring_grants =
        (0..pages).map(|page| grant(&ring, page, Access::ReadWrite)).collect::<Outcome<Vec<Grant>>>()?;
    let mut data = vec![];
    for page in 0..DATA {
        let memory = Arc::new(SharedPages::new(1).ok_or("no memory")?);
        memory.fill(0, 4096, page as u8);
        let access = if page % 4 == 3 { Access::Read } else { Access::ReadWrite };
        data.push(grant(&memory, 0, access)?);
    }
    let channel = Channel::alloc_unbound(dom0).map_err(words)?;
    let mut values: Vec<(String, String)> = vec![
        ("event-channel".into(), channel.port().0.to_string()),
        ("feature-persistent".into(), chance.below(2).to_string()),
        ("ring-page-order".into(), order.to_string()),
    ];
    for (page, grant) in ring_grants.iter().enumerate() {
        values.push((format!("ring-ref{page}"), grant.reference().0.to_string()));
    }
    if chance.once_in(4) {
        let key = OWN[chance.below(OWN.len() as u64) as usize];
        values.push((key.to_string(), chance.text("/local/domain/0/backend/vbd/0/0")));
    }
    device.publish(&values, State::Initialised).await.map_err(words)?;
    Ok(Front { device, ring, ring_grants, channels: vec![channel], data, produced: 0 })
}

async fn misbehave(front: &mut Front, chance: &mut Chance) {
    let size = front.ring.count() * 4096;
    match chance.below(40) {
        0 => front.ring.store_u32(chance.below(size as u64 / 4) as usize * 4, chance.next() as u32),
        1 => {
            // An index that is wrong, but often not by much.
            let wrong = match chance.below(3) {
                0 => chance.number() as u32,
                _ => front.produced.wrapping_add(chance.below(200) as u32),
            };
            front.ring.store_u32(offset_of!(Sring, req_prod), wrong);
        }
        2 => {
            let key = KEYS[chance.below(KEYS.len() as u64) as usize];
            let path = format!("{}/{key}", front.device.path());
            let store = store::get();
            if let Some(store) = store {
                let _ = store.write(&path, chance.text("/local/domain/0/backend/vbd/0/0")).await;
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
        5..=9 => {
            for channel in &front.channels {
                let _ = channel.notify();
            }
            executor::yield_now().await;
        }
        10 => sleep(Duration::from_micros(chance.below(500))).await,
        _ => request(front, chance),
    }
}

/// A request that is nearly right.
fn request(front: &mut Front, chance: &mut Chance) {
    let count = slots(front.ring.count() * 4096, SLOT_SIZE);
    let mut slot = [0u8; SLOT_SIZE];
    let operation = [0, 1, 0, 1, 0, 1, 2, 3, 5, 6, 6, 4, 255][chance.below(13) as usize];
    slot[0] = operation;
    slot[1] = if operation == 6 { chance.below(2) as u8 } else { chance.below(12) as u8 };
    if operation == 6 {
        slot[2..4].copy_from_slice(&(chance.below(300) as u16).to_le_bytes());
    }
    slot[8..16].copy_from_slice(&chance.next().to_le_bytes());
    slot[16..24].copy_from_slice(&chance.below(4000).to_le_bytes());
    for segment in slot[24..].chunks_exact_mut(8) {
        let known = front.data[chance.below(DATA as u64) as usize].reference().0;
        segment[..4].copy_from_slice(&known.to_le_bytes());
        (segment[4], segment[5]) = (chance.below(4) as u8, chance.below(5) as u8 + 3);
    }
    while chance.once_in(4) {
        // One field is somebody else's idea.
        let at = chance.below(SLOT_SIZE as u64 / 4) as usize * 4;
        slot[at..at + 4].copy_from_slice(&(chance.number() as u32).to_le_bytes());
    }
    if chance.once_in(30) {
        slot[24..28].copy_from_slice(&front.ring_grants[0].reference().0.to_le_bytes());
    }
    front.ring.write(slot_offset(front.produced, count, SLOT_SIZE), &slot);
    front.produced = front.produced.wrapping_add(1);
    front.ring.store_u32(offset_of!(Sring, req_prod), front.produced);
}
