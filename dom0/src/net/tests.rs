//! Guests on the fake hypervisor exchange frames, and misbehave.

use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

use abi::io::netif::{NETRXF_CSUM_BLANK, NETTXF_CSUM_BLANK, NETTXF_EXTRA_INFO, NETTXF_MORE_DATA};
use proptest::prelude::*;

use super::frame::tests::{arp_frame, frame, mac, udp_frame};
use super::frame::{self, Mac};
use super::queue::WAITING;
use crate::control::Control;
use crate::control::devices::{Class, Device};
use crate::fake::{self, Fake, Frame};
use crate::files::Files;

const FREE: u64 = 100_000;
const TX: u32 = 100;
const RX: u32 = 101;
/// First of the granted pages for data: those of transmission, then those of reception.
const DATA: u32 = 200;
const EMPTY: u32 = 300;

/// A front end, as a guest has it.
struct Front {
    tx: Frame,
    rx: Frame,
    data: Vec<Frame>,
    empty: Vec<Frame>,
    sent: u32,
    offered: u32,
    seen: u32,
}

fn word(page: &Frame, at: usize) -> u32 {
    u32::from_le_bytes(page.borrow()[at..at + 4].try_into().unwrap())
}

fn put(page: &Frame, at: usize, bytes: &[u8]) {
    page.borrow_mut()[at..at + bytes.len()].copy_from_slice(bytes);
}

impl Front {
    fn new(fake: &Fake, dom: u16) -> Self {
        let pages = |first: u32| (first..first + 64).map(|r| fake.grant(dom, r)).collect();
        let (tx, rx) = (fake.grant(dom, TX), fake.grant(dom, RX));
        // Both want to hear of the first answer.
        [&tx, &rx].into_iter().for_each(|ring| put(ring, 12, &1u32.to_le_bytes()));
        Self { tx, rx, data: pages(DATA), empty: pages(EMPTY), sent: 0, offered: 0, seen: 0 }
    }

    /// Writes one slot of the transmit ring.
    fn slot(&mut self, grant: u32, offset: u16, flags: u16, size: u16) {
        let mut bytes = grant.to_le_bytes().to_vec();
        for half in [offset, flags, self.sent as u16, size] {
            bytes.extend(half.to_le_bytes());
        }
        put(&self.tx, 64 + (self.sent % 256) as usize * 12, &bytes);
        self.sent = self.sent.wrapping_add(1);
    }

    fn publish(&self) {
        put(&self.tx, 0, &self.sent.to_le_bytes());
    }

    /// Sends a frame, in pieces of at most `piece` bytes.
    fn send(&mut self, bytes: &[u8], piece: usize, flags: u16) {
        let pieces: Vec<&[u8]> = bytes.chunks(piece).collect();
        for (at, part) in pieces.iter().enumerate() {
            let page = self.sent as usize % 64;
            put(&self.data[page], 8, part);
            let size = if at == 0 { bytes.len() } else { part.len() };
            let more = if at + 1 < pieces.len() { NETTXF_MORE_DATA } else { 0 };
            self.slot(DATA + page as u32, 8, more | if at == 0 { flags } else { 0 }, size as u16);
        }
        self.publish();
    }

    fn offer(&mut self, count: u32) {
        for _ in 0..count {
            let mut bytes = (self.offered as u16).to_le_bytes().to_vec();
            bytes.extend([0, 0]);
            bytes.extend((EMPTY + self.offered % 64).to_le_bytes());
            put(&self.rx, 64 + (self.offered % 256) as usize * 8, &bytes);
            self.offered += 1;
        }
        put(&self.rx, 0, &self.offered.to_le_bytes());
    }

    /// Frames that arrived, with their flags.
    fn received(&mut self) -> Vec<(Vec<u8>, u16)> {
        let mut all = Vec::new();
        let mut whole = Vec::new();
        while self.seen != word(&self.rx, 8) {
            let at = 64 + (self.seen % 256) as usize * 8;
            let half = |at| u16::from_le_bytes(self.rx.borrow()[at..at + 2].try_into().unwrap());
            assert_eq!(half(at), self.seen as u16);
            let page = &self.empty[self.seen as usize % 64];
            let (start, len) = (half(at + 2) as usize, half(at + 6) as usize);
            whole.extend_from_slice(&page.borrow()[start..start + len]);
            if half(at + 4) & 4 == 0 {
                all.push((core::mem::take(&mut whole), half(at + 4)));
            }
            self.seen += 1;
        }
        all
    }

    /// Answers to what was sent.
    fn answers(&self) -> Vec<i16> {
        let answer = |index: u32| {
            let at = 64 + (index % 256) as usize * 12 + 2;
            i16::from_le_bytes(self.tx.borrow()[at..at + 2].try_into().unwrap())
        };
        (0..word(&self.tx, 8)).map(answer).collect()
    }
}

fn archive(more: &str) -> Vec<u8> {
    let kernel = fake::kernel(b"text");
    let config = |n: u8| format!("kernel='k'\nmemory=8\nvif=['mac={}{more}']", mac(n));
    let (a, b, c) = (config(1), config(2), config(3));
    fake::archive(&[
        ("guests/a.cfg", a.as_bytes()),
        ("guests/b.cfg", b.as_bytes()),
        ("guests/c.cfg", c.as_bytes()),
        ("guests/k", &kernel),
    ])
}

struct Machine<'a> {
    fake: Fake,
    control: Control<'a, Fake>,
}

impl<'a> Machine<'a> {
    /// Guests 1 to `count`, connected.
    fn new(archive: &'a [u8], count: u16) -> (Self, Vec<Front>) {
        let fake = Fake::new(FREE);
        let (files, _) = Files::read(archive);
        let mut machine = Self { control: Control::new(fake.clone(), files), fake };
        let fronts = (1..=count).map(|n| machine.start(n)).collect();
        (machine, fronts)
    }

    fn start(&mut self, n: u16) -> Front {
        let name = ["a", "b", "c"][usize::from(n - 1)];
        let dom = self.control.create(name, false).unwrap().dom.0;
        self.serve();
        assert_eq!(self.back(dom, "state"), "2");
        let front = Front::new(&self.fake, dom);
        self.connect(dom);
        assert_eq!(self.back(dom, "state"), "4");
        front
    }

    fn connect(&mut self, dom: u16) {
        for (key, value) in [
            ("tx-ring-ref", TX.to_string().as_str()),
            ("rx-ring-ref", &RX.to_string()),
            ("event-channel", "9"),
            ("request-rx-copy", "1"),
            ("feature-sg", "1"),
            ("state", "4"),
        ] {
            self.write(dom, key, value);
        }
        self.serve();
    }

    fn write(&mut self, dom: u16, key: &str, value: &str) {
        self.control
            .store
            .write(&format!("/local/domain/{dom}/device/vif/0/{key}"), value.as_bytes())
            .unwrap();
    }

    fn back(&self, dom: u16, key: &str) -> String {
        let value = self.control.store.read(&format!("/local/domain/0/backend/vif/{dom}/0/{key}"));
        String::from_utf8(value.unwrap_or(b"").to_vec()).unwrap()
    }

    fn serve(&mut self) {
        for _ in 0..20 {
            if !self.control.serve() {
                return;
            }
        }
        panic!("there is always more to do");
    }

    fn device(dom: u16) -> Device {
        Device { dom: crate::DomId(dom), class: Class::Net, number: 0 }
    }

    fn stats(&self, dom: u16) -> super::vif::Stats {
        self.control.net.stats(Self::device(dom)).unwrap().0
    }

    fn error(&self, dom: u16) -> String {
        let path = format!("/local/domain/0/error/backend/vif/{dom}/0/error");
        String::from_utf8(self.control.store.read(&path).unwrap_or(b"").to_vec()).unwrap()
    }
}

#[test]
fn frames_go_from_guest_to_guest() {
    let archive = archive("");
    let (mut machine, mut fronts) = Machine::new(&archive, 3);
    fronts.iter_mut().for_each(|front| front.offer(64));
    let hello = frame(mac(1), Mac::BROADCAST, 0x1234, b"hello all");
    fronts[0].send(&hello, 4000, 0);
    machine.serve();
    assert_eq!(fronts[0].received(), []);
    for front in &mut fronts[1..] {
        assert_eq!(front.received(), [(hello.clone(), 0)]);
    }
    // A frame for one guest, in pieces of odd sizes, with its checksum left blank.
    let data: Vec<u8> = (0..1400).map(|n| n as u8).collect();
    let datagram = udp_frame(mac(1), mac(2), [10, 0, 0, 5], &data);
    fronts[0].send(&datagram, 321, NETTXF_CSUM_BLANK);
    machine.serve();
    assert_eq!(fronts[1].received(), [(datagram, NETRXF_CSUM_BLANK | 1)]);
    assert_eq!(fronts[2].received(), []);
    assert!(fronts[0].answers().iter().all(|status| *status == 0));
    assert_eq!(fronts[0].answers().len(), 6);
    assert_eq!(machine.stats(1).from, 2);
    assert!(!machine.fake.0.borrow().rung.is_empty());
}

#[test]
fn long_frames_take_several_pages() {
    let archive = archive(",mtu=20000");
    let (mut machine, mut fronts) = Machine::new(&archive, 2);
    let data: Vec<u8> = (0..10_000u32).map(|n| (n * 7) as u8).collect();
    let long = frame(mac(1), mac(2), 0x1234, &data);
    fronts[0].send(&long, 4000, 0);
    fronts[1].offer(2);
    machine.serve();
    assert_eq!(fronts[1].received(), []);
    fronts[1].offer(1);
    machine.serve();
    assert_eq!(fronts[1].received(), [(long, 0)]);
}

#[test]
fn a_blank_checksum_is_filled_in_for_who_wants_it() {
    let archive = archive("");
    let (mut machine, mut fronts) = Machine::new(&archive, 2);
    machine.write(2, "state", "6");
    machine.serve();
    machine.write(2, "state", "1");
    machine.serve();
    machine.write(2, "feature-no-csum-offload", "1");
    machine.connect(2);
    fronts[1] = Front::new(&machine.fake, 2);
    machine.write(2, "state", "1");
    machine.serve();
    machine.connect(2);
    fronts[1].offer(1);
    let mut datagram = udp_frame(mac(1), mac(2), [10, 0, 0, 5], b"data");
    fronts[0].send(&datagram, 4000, NETTXF_CSUM_BLANK);
    machine.serve();
    assert!(frame::complete_checksum(&mut datagram));
    assert_eq!(fronts[1].received(), [(datagram, 1)]);
}

#[test]
fn nobody_claims_what_is_not_his() {
    let archive = archive(",ip=10.0.0.5");
    let (mut machine, mut fronts) = Machine::new(&archive, 2);
    fronts[1].offer(8);
    for lie in [
        frame(mac(9), mac(2), 0x1234, b""),
        arp_frame(mac(1), mac(2), [10, 0, 0, 5]),
        arp_frame(mac(1), mac(1), [10, 0, 0, 6]),
        udp_frame(mac(1), mac(2), [10, 0, 0, 6], b""),
        frame(mac(1), mac(2), 0x8100, &[0; 20]),
        frame(mac(1), mac(2), 0x86dd, &[0; 60]),
        // Longer than the interface's packets may be.
        frame(mac(1), mac(2), 0x0800, &[0x45; 1501]),
    ] {
        fronts[0].send(&lie, 4000, 0);
    }
    fronts[0].send(&arp_frame(mac(1), mac(1), [10, 0, 0, 5]), 4000, 0);
    machine.serve();
    assert_eq!(fronts[1].received().len(), 1);
    assert_eq!((machine.stats(1).refused, machine.stats(1).from), (7, 1));
}

#[test]
fn a_limited_guest_waits() {
    let archive = archive(",rate=1MB/s@10ms");
    let (mut machine, mut fronts) = Machine::new(&archive, 2);
    fronts[1].offer(64);
    for _ in 0..30 {
        fronts[0].send(&frame(mac(1), mac(2), 0x1234, &[0; 986]), 4000, 0);
    }
    machine.serve();
    let first = fronts[1].received().len();
    assert!((10..15).contains(&first), "{first}");
    let wake = machine.control.wake_at().unwrap();
    machine.fake.0.borrow_mut().now = wake;
    machine.serve();
    let second = fronts[1].received().len();
    assert!((10..15).contains(&second), "{second}");
}

#[test]
fn who_does_not_receive_loses_his_own() {
    let archive = archive("");
    let (mut machine, mut fronts) = Machine::new(&archive, 3);
    fronts[2].offer(64);
    for round in 0..WAITING / 32 + 2 {
        for _ in 0..32 {
            fronts[0].send(&frame(mac(1), mac(2), 0x1234, &[0; 100]), 4000, 0);
        }
        fronts[0].send(&frame(mac(1), mac(3), 0x1234, &[round as u8; 100]), 4000, 0);
        machine.serve();
    }
    assert_eq!(fronts[2].received().len(), WAITING / 32 + 2);
    assert_eq!(machine.stats(2).dropped, 64);
    fronts[1].offer(64);
    machine.serve();
    assert_eq!(fronts[1].received().len(), 64);
}

/// What `break_it` does closes the device, and nothing else.
fn breaks(break_it: impl FnOnce(&mut Front), why: &str) {
    let archive = archive("");
    let (mut machine, mut fronts) = Machine::new(&archive, 3);
    break_it(&mut fronts[0]);
    fronts[0].offer(8);
    machine.serve();
    assert_eq!(machine.error(1), why);
    assert_eq!(machine.back(1, "state"), "6");
    fronts[1].send(&frame(mac(2), mac(3), 0x1234, b"still here"), 4000, 0);
    fronts[2].offer(1);
    machine.serve();
    assert_eq!(fronts[2].received().len(), 1);
    // It may begin anew.
    fronts[0] = Front::new(&machine.fake, 1);
    machine.write(1, "state", "1");
    machine.serve();
    machine.connect(1);
    fronts[0].send(&frame(mac(1), mac(3), 0x1234, b"better now"), 4000, 0);
    fronts[2].offer(1);
    machine.serve();
    assert_eq!(fronts[2].received().len(), 1);
}

#[test]
fn senseless_rings_close_the_device() {
    breaks(
        |f| put(&f.tx, 0, &257u32.to_le_bytes()),
        "its ring has more requests than slots (index 0x101, ours 0x0)",
    );
    breaks(
        |f| {
            f.slot(DATA, 0, NETTXF_MORE_DATA, 100);
            f.publish();
        },
        "a frame of which 1 slots or more are missing",
    );
    breaks(
        |f| {
            (0..30).for_each(|_| f.slot(DATA, 0, NETTXF_MORE_DATA, 100));
            f.publish();
        },
        "a frame of 18 slots or more",
    );
    breaks(
        |f| {
            f.slot(DATA, 4000, 0, 100);
            f.publish();
        },
        "100 bytes at offset 4000 of a page, which has 4096",
    );
    breaks(
        |f| {
            f.slot(DATA, 0, NETTXF_MORE_DATA, 100);
            f.slot(DATA, 0, 0, 100);
            f.publish();
        },
        "a frame of 100 bytes whose further pieces have 100",
    );
    breaks(
        |f| {
            f.slot(DATA, 0, NETTXF_EXTRA_INFO, 100);
            f.slot(1, 0, 0, 0);
            f.publish();
        },
        "extra info of kind 1, which was not offered",
    );
}

#[test]
fn bad_grants_cost_a_frame() {
    let archive = archive("");
    let (mut machine, mut fronts) = Machine::new(&archive, 2);
    fronts[1].offer(2);
    put(&fronts[1].rx, 64 + 4, &7777u32.to_le_bytes());
    fronts[0].slot(9999, 0, 0, 100);
    fronts[0].slot(DATA, 0, 0, 5);
    fronts[0].send(&frame(mac(1), mac(2), 0x1234, b"lost"), 4000, 0);
    fronts[0].send(&frame(mac(1), mac(2), 0x1234, b"found"), 4000, 0);
    machine.serve();
    assert_eq!(fronts[0].answers(), [-1, -1, 0, 0]);
    assert_eq!(machine.stats(1).errors, 2);
    assert_eq!((machine.stats(2).errors, machine.stats(2).to), (1, 1));
}

#[test]
fn nothing_is_left_of_a_domain() {
    let archive = archive("");
    let (mut machine, _fronts) = Machine::new(&archive, 2);
    machine.control.destroy(crate::DomId(1));
    machine.control.destroy(crate::DomId(2));
    let world = machine.fake.0.borrow();
    assert_eq!((world.free, world.mapped, world.open_ports.len()), (FREE, 0, 0));
    assert!(machine.control.store.tree().get("/local/domain/0/backend/vif/1").is_none());
}

#[test]
fn refused_stores_are_explained() {
    let archive = archive("");
    for (key, value, why) in [
        ("request-rx-copy", "0", "request-rx-copy is not 1: pages are copied here, not exchanged"),
        ("multi-queue-num-queues", "9", "multi-queue-num-queues is 9, from 1 to 4 are offered"),
        ("tx-ring-ref", "x", "the front end's tx-ring-ref is \"x\", no number that fits"),
        ("rx-ring-ref", "5", "rx-ring-ref: grant 5 cannot be mapped: EINVAL"),
    ] {
        let (mut machine, _fronts) = Machine::new(&archive, 1);
        machine.write(1, "state", "6");
        machine.serve();
        machine.write(1, "state", "1");
        machine.serve();
        machine.write(1, key, value);
        machine.write(1, "state", "4");
        machine.serve();
        assert_eq!(machine.error(1), why);
        assert_eq!(machine.fake.0.borrow().open_ports.len(), 2);
    }
}

#[derive(Clone, Debug)]
enum Act {
    Tx(usize, Vec<u8>),
    Rx(usize, Vec<u8>),
    Produce(bool, u32),
    Store(usize, u32),
    Send(u8, u8),
}

fn act() -> impl Strategy<Value = Act> {
    let bytes = prop::collection::vec(any::<u8>(), 1..13);
    let small = prop_oneof![0..300u32, any::<u32>()];
    prop_oneof![
        (0..256usize, bytes.clone()).prop_map(|(slot, bytes)| Act::Tx(slot, bytes)),
        (0..256usize, bytes).prop_map(|(slot, bytes)| Act::Rx(slot, bytes)),
        (any::<bool>(), small.clone()).prop_map(|(tx, to)| Act::Produce(tx, to)),
        (0..7usize, small).prop_map(|(key, value)| Act::Store(key, value)),
        (0..4u8, any::<u8>()).prop_map(|(to, len)| Act::Send(to, len)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever one guest does to its rings and its nodes, the others go on, and nothing is left of it in the end.
    #[test]
    fn no_guest_stops_the_others(acts in prop::collection::vec(act(), 1..40)) {
        let archive = archive("");
        let (mut machine, mut fronts) = Machine::new(&archive, 3);
        for act in acts {
            match act {
                Act::Tx(slot, bytes) => put(&fronts[0].tx, 64 + slot * 12, &bytes[..bytes.len().min(12)]),
                Act::Rx(slot, bytes) => put(&fronts[0].rx, 64 + slot * 8, &bytes[..bytes.len().min(8)]),
                Act::Produce(true, to) => put(&fronts[0].tx, 0, &to.to_le_bytes()),
                Act::Produce(false, to) => put(&fronts[0].rx, 0, &to.to_le_bytes()),
                Act::Store(key, value) => {
                    let keys = ["state", "tx-ring-ref", "rx-ring-ref", "event-channel", "multi-queue-num-queues",
                        "feature-sg", "request-rx-copy"];
                    let value = if key == 0 { value % 8 } else { value };
                    machine.write(1, keys[key], &value.to_string());
                }
                Act::Send(to, len) => {
                    fronts[0].send(&frame(mac(1), mac(to), 0x1234, &vec![0; len.into()]), 50, 0);
                }
            }
            for _ in 0..8 {
                machine.control.serve();
            }
        }
        fronts[2].offer(1);
        fronts[1].send(&frame(mac(2), mac(3), 0x1234, b"still here"), 4000, 0);
        machine.serve();
        let arrived = fronts[2].received();
        prop_assert!(!arrived.is_empty());
        (1..=3).for_each(|dom| machine.control.destroy(crate::DomId(dom)));
        let world = machine.fake.0.borrow();
        prop_assert_eq!((world.free, world.mapped, world.open_ports.len()), (FREE, 0, 0));
    }
}
