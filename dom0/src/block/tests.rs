//! A front end in the test, against the back end on the fake hypervisor: well-behaved, and hostile.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;

use abi::io::blkif::{
    BLKIF_OP_DISCARD, BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_INDIRECT, BLKIF_OP_READ, BLKIF_OP_WRITE, SLOT_SIZE,
};
use abi::io::ring::{slot_offset, slots};
use proptest::prelude::*;

use super::spec::Disk;
use super::storage::Fault;
use super::*;
use crate::DomId;
use crate::fake::{Fake, FakeWindow};
use crate::hypervisor::NewDomain;
use crate::xenstore::Server;

const DOM: DomId = DomId(1);
const SECTORS: u64 = 4096;

/// Everything around one device.
struct Bench {
    fake: Fake,
    store: Server,
    notices: VecDeque<String>,
    blocks: Blocks<'static, FakeWindow>,
    device: Device,
    rings: Vec<Vec<Frame>>,
    produced: Vec<u32>,
    answered: Vec<u32>,
}

type Frame = Rc<RefCell<Vec<u8>>>;

/// First grant of queue `n`'s ring; data grants are below.
fn ring_grant(queue: usize) -> u32 {
    1000 + 100 * queue as u32
}

impl Bench {
    fn new(disk: &str) -> Self {
        let fake = Fake::new(1000);
        let created = fake.clone().create_domain(&NewDomain { handle: [0; 16], max_vcpus: 1 }).unwrap();
        assert_eq!(created, DOM);
        let mut store = Server::new();
        store.introduce(DomId::ZERO);
        let disk = Disk::parse(disk).unwrap();
        let mut bench = Self {
            fake,
            store,
            notices: VecDeque::new(),
            blocks: Blocks::default(),
            device: device(DOM, &disk),
            rings: vec![],
            produced: vec![],
            answered: vec![],
        };
        bench.attach(&disk).unwrap();
        bench
    }

    fn with<T>(
        &mut self,
        f: impl FnOnce(&mut Blocks<'static, FakeWindow>, &mut Host<'_, Fake>, Device) -> T,
    ) -> T {
        let mut hv = self.fake.clone();
        let mut host = Host { hv: &mut hv, store: &mut self.store, notices: &mut self.notices };
        f(&mut self.blocks, &mut host, self.device)
    }

    fn attach(&mut self, disk: &Disk) -> Result<(), String> {
        self.with(|blocks, host, device| {
            blocks.attach(host, &Files::default(), device, disk)?;
            blocks.changed(host, device);
            Ok(())
        })
    }

    fn says(&mut self, key: &str, value: &str) {
        let path = format!("{}/{key}", self.device.front());
        self.store.write(&path, value.as_bytes()).unwrap();
    }

    fn state(&mut self, number: u32) {
        self.says("state", &number.to_string());
        self.with(|blocks, host, device| blocks.changed(host, device));
    }

    fn back(&self, key: &str) -> String {
        let value = self.store.read(&format!("{}/{key}", self.device.back())).unwrap_or(b"-");
        String::from_utf8_lossy(value).into_owned()
    }

    /// Offers rings and connects.
    fn connect(&mut self, queues: usize, order: u32, persistent: bool) {
        (self.rings, self.produced, self.answered) = (vec![], vec![0; queues], vec![0; queues]);
        if queues > 1 {
            self.says("multi-queue-num-queues", &queues.to_string());
        }
        if order > 0 {
            self.says("ring-page-order", &order.to_string());
        }
        self.says("feature-persistent", if persistent { "1" } else { "0" });
        for queue in 0..queues {
            let folder = if queues > 1 { format!("queue-{queue}/") } else { String::new() };
            let mut frames = vec![];
            for page in 0..1 << order {
                let number = ring_grant(queue) + page;
                frames.push(self.fake.grant(DOM.0, number));
                let suffix = if order > 0 { page.to_string() } else { String::new() };
                self.says(&format!("{folder}ring-ref{suffix}"), &number.to_string());
            }
            // As a front end initialises it.
            frames[0].borrow_mut()[4] = 1;
            frames[0].borrow_mut()[12] = 1;
            self.rings.push(frames);
            self.says(&format!("{folder}event-channel"), &(queue + 5).to_string());
        }
        self.state(3);
    }

    fn write_ring(&self, queue: usize, at: usize, bytes: &[u8]) {
        for (i, byte) in bytes.iter().enumerate() {
            self.rings[queue][(at + i) / 4096].borrow_mut()[(at + i) % 4096] = *byte;
        }
    }

    fn read_ring<const N: usize>(&self, queue: usize, at: usize) -> [u8; N] {
        core::array::from_fn(|i| self.rings[queue][(at + i) / 4096].borrow()[(at + i) % 4096])
    }

    fn slot_at(&self, queue: usize, index: u32) -> usize {
        slot_offset(index, slots(self.rings[queue].len() * 4096, SLOT_SIZE), SLOT_SIZE)
    }

    /// Puts a request in and shows it.
    fn put(&mut self, queue: usize, slot: &[u8; SLOT_SIZE]) {
        let at = self.slot_at(queue, self.produced[queue]);
        self.write_ring(queue, at, slot);
        self.produced[queue] = self.produced[queue].wrapping_add(1);
        self.write_ring(queue, 0, &self.produced[queue].to_le_bytes());
    }

    fn serve(&mut self) -> bool {
        self.with(|blocks, host, _| blocks.serve(host))
    }

    /// The next response: id, operation, status.
    fn answer(&mut self, queue: usize) -> Option<(u64, u8, i16)> {
        let produced = u32::from_le_bytes(self.read_ring(queue, 8));
        if self.answered[queue] == produced {
            return None;
        }
        let at = self.slot_at(queue, self.answered[queue]);
        self.answered[queue] = self.answered[queue].wrapping_add(1);
        let bytes: [u8; 16] = self.read_ring(queue, at);
        let id = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        Some((id, bytes[8], i16::from_le_bytes([bytes[10], bytes[11]])))
    }

    /// One request and its status.
    fn ask(&mut self, queue: usize, slot: &[u8; SLOT_SIZE]) -> i16 {
        self.put(queue, slot);
        self.serve();
        let (id, operation, status) = self.answer(queue).expect("an answer");
        let asked = if slot[0] == BLKIF_OP_INDIRECT { slot[1] } else { slot[0] };
        assert_eq!((id, operation), (u64::from_le_bytes(slot[8..16].try_into().unwrap()), asked));
        status
    }

    fn mapped(&self) -> usize {
        self.fake.0.borrow().mapped
    }
}

/// A request with segments of whole pages that are granted as 1, 2, ….
fn request(operation: u8, segments: u8, sector: u64) -> [u8; SLOT_SIZE] {
    let mut slot = [0; SLOT_SIZE];
    (slot[0], slot[1]) = (operation, segments);
    slot[8..16].copy_from_slice(&(sector ^ 0xabcd).to_le_bytes());
    slot[16..24].copy_from_slice(&sector.to_le_bytes());
    for number in 0..usize::from(segments.min(11)) {
        let at = 24 + 8 * number;
        slot[at..at + 4].copy_from_slice(&(number as u32 + 1).to_le_bytes());
        slot[at + 5] = 7;
    }
    slot
}

fn indirect(operation: u8, segments: u16, sector: u64, pages: u32) -> [u8; SLOT_SIZE] {
    let mut slot = request(BLKIF_OP_INDIRECT, 0, sector);
    slot[1] = operation;
    slot[2..4].copy_from_slice(&segments.to_le_bytes());
    slot[28..32].copy_from_slice(&pages.to_le_bytes());
    slot
}

const RAM: &str = "ram:2M,xvda,w";

#[test]
fn the_way_up_and_down_and_up_again() {
    let mut bench = Bench::new(RAM);
    assert_eq!((bench.back("state").as_str(), bench.back("max-ring-page-order").as_str()), ("2", "4"));
    assert_eq!(bench.back("frontend"), "/local/domain/1/device/vbd/51712");
    for (queues, order) in [(1, 0), (4, 2), (2, 4)] {
        bench.connect(queues, order, false);
        let all = ["state", "sectors", "sector-size", "info", "mode"].map(|key| bench.back(key));
        assert_eq!(all, ["4", "4096", "512", "0", "w"]);
        assert_eq!((bench.mapped(), bench.fake.0.borrow().open_ports.len()), (queues << order, queues));
        bench.state(4);
        bench.state(5);
        assert_eq!(bench.back("state"), "5");
        bench.state(6);
        assert_eq!((bench.back("state").as_str(), bench.mapped()), ("6", 0));
        assert!(bench.fake.0.borrow().open_ports.is_empty());
        bench.state(1);
        assert_eq!(bench.back("state"), "2");
    }
    assert!(bench.notices.is_empty(), "{:?}", bench.notices);
    bench.with(|blocks, host, device| {
        blocks.removed(host, device);
        host.withdraw(device);
    });
    assert_eq!(bench.back("state"), "-");
    bench.store.tree().check().unwrap();
}

#[test]
fn bytes_go_both_ways_in_every_form() {
    for (queues, order, persistent) in [(1, 0, false), (1, 0, true), (4, 2, false), (3, 1, true)] {
        let mut bench = Bench::new(RAM);
        bench.connect(queues, order, persistent);
        let frames: Vec<Frame> = (1..=20).map(|number| bench.fake.grant(DOM.0, number)).collect();
        for (number, frame) in frames.iter().enumerate() {
            frame.borrow_mut().iter_mut().enumerate().for_each(|(i, byte)| *byte = (i * 7 + number) as u8);
        }
        let wanted: Vec<Vec<u8>> = frames.iter().map(|frame| frame.borrow().clone()).collect();
        let last = queues - 1;
        // Around the ring more than once.
        for round in 0..100 {
            assert_eq!(bench.ask(last, &request(BLKIF_OP_WRITE, 11, round * 8)), 0);
        }
        // Descriptors of 20 segments in one page.
        let page = bench.fake.grant(DOM.0, 50);
        for number in 0..20usize {
            let mut page = page.borrow_mut();
            page[8 * number] = number as u8 + 1;
            page[8 * number + 5] = 7;
        }
        assert_eq!(bench.ask(0, &indirect(BLKIF_OP_WRITE, 20, 1000, 50)), 0);
        frames.iter().for_each(|frame| frame.borrow_mut().fill(0));
        assert_eq!(bench.ask(last, &request(BLKIF_OP_READ, 11, 99 * 8)), 0);
        for number in 0..11 {
            assert_eq!(*frames[number].borrow(), wanted[number], "frame {number}");
        }
        frames.iter().for_each(|frame| frame.borrow_mut().fill(0));
        assert_eq!(bench.ask(0, &indirect(BLKIF_OP_READ, 20, 1000, 50)), 0);
        for number in 0..20 {
            assert_eq!(*frames[number].borrow(), wanted[number], "frame {number}");
        }
        assert_eq!(bench.ask(0, &request(BLKIF_OP_FLUSH_DISKCACHE, 0, 0)), 0);
        let kept = if persistent { 21 } else { 0 };
        assert_eq!(bench.mapped(), (queues << order) + kept);
        bench.state(6);
        assert_eq!(bench.mapped(), 0);
    }
}

#[test]
fn parts_of_pages_and_discard() {
    let mut bench = Bench::new(RAM);
    bench.connect(1, 0, false);
    let frame = bench.fake.grant(DOM.0, 1);
    frame.borrow_mut().fill(0x5a);
    let mut slot = request(BLKIF_OP_WRITE, 1, 10);
    (slot[28], slot[29]) = (2, 4);
    assert_eq!(bench.ask(0, &slot), 0);
    frame.borrow_mut().fill(1);
    assert_eq!(bench.ask(0, &request(BLKIF_OP_READ, 1, 8)), 0);
    assert!(frame.borrow()[..1024].iter().all(|byte| *byte == 0));
    assert!(frame.borrow()[1024..2560].iter().all(|byte| *byte == 0x5a));
    assert!(frame.borrow()[2560..].iter().all(|byte| *byte == 0));
    let mut slot = request(BLKIF_OP_DISCARD, 0, 10);
    slot[24] = 2;
    assert_eq!(bench.ask(0, &slot), 0);
    assert_eq!(bench.ask(0, &request(BLKIF_OP_READ, 1, 10)), 0);
    assert!(frame.borrow()[..1024].iter().all(|byte| *byte == 0));
    assert_eq!(frame.borrow()[1024], 0x5a);
}

#[test]
fn what_is_refused() {
    let mut bench = Bench::new(RAM);
    bench.connect(1, 0, false);
    bench.fake.grant(DOM.0, 1);
    let error = -1;
    assert_eq!(bench.ask(0, &request(BLKIF_OP_WRITE, 1, SECTORS - 7)), error);
    assert_eq!(bench.ask(0, &request(BLKIF_OP_WRITE, 1, u64::MAX)), error);
    assert_eq!(bench.ask(0, &request(BLKIF_OP_READ, 2, 0)), error, "the second frame is not granted");
    assert_eq!(bench.ask(0, &request(BLKIF_OP_READ, 12, 0)), error);
    assert_eq!(bench.ask(0, &request(BLKIF_OP_READ, 0, 0)), error);
    assert_eq!(bench.ask(0, &indirect(BLKIF_OP_READ, 257, 0, 1)), error);
    assert_eq!(bench.ask(0, &indirect(BLKIF_OP_READ, 12, 0, 77)), error);
    assert_eq!(bench.ask(0, &indirect(BLKIF_OP_DISCARD, 12, 0, 1)), -2);
    assert_eq!(bench.ask(0, &request(200, 0, 0)), -2);
    let mut slot = request(BLKIF_OP_DISCARD, 0, SECTORS);
    slot[24] = 1;
    assert_eq!(bench.ask(0, &slot), error);
    assert_eq!(bench.ask(0, &request(BLKIF_OP_READ, 1, SECTORS - 8)), 0);

    let mut bench = Bench::new("ram:2M,xvda,r");
    bench.connect(1, 0, false);
    bench.fake.grant(DOM.0, 1);
    assert_eq!((bench.back("info").as_str(), bench.back("feature-discard").as_str()), ("4", "0"));
    assert_eq!(bench.ask(0, &request(BLKIF_OP_WRITE, 1, 0)), error);
    assert_eq!(bench.ask(0, &request(BLKIF_OP_READ, 1, 0)), 0);
}

#[test]
fn a_ring_that_claims_too_much_closes_the_device() {
    let mut bench = Bench::new(RAM);
    bench.connect(1, 0, true);
    bench.write_ring(0, 0, &33u32.to_le_bytes());
    assert!(!bench.serve());
    assert_eq!((bench.back("state").as_str(), bench.mapped()), ("6", 0));
    let why = "the ring of 32 slots claims to hold 33 requests";
    let error = bench.store.read("/local/domain/0/error/backend/vbd/1/51712/error").unwrap();
    assert_eq!(error, why.as_bytes());
    assert_eq!(
        bench.notices.pop_front().unwrap(),
        format!("vbd 51712 of domain 1: {why}; the device is closed")
    );
    // Again and again; a person is told once.
    for _ in 0..3 {
        bench.state(1);
        bench.connect(1, 0, true);
        bench.write_ring(0, 0, &u32::MAX.to_le_bytes());
        bench.serve();
    }
    assert!(bench.notices.is_empty());
}

#[test]
fn offers_that_are_refused() {
    for (key, value) in [
        ("protocol", "x86_32-abi"),
        ("multi-queue-num-queues", "5"),
        ("multi-queue-num-queues", "0"),
        ("multi-queue-num-queues", "many"),
        ("ring-page-order", "5"),
        ("ring-page-order", "-1"),
        ("ring-ref", "4294967296"),
        ("ring-ref", "77"),
        ("event-channel", ""),
        ("feature-persistent", "\u{e9}"),
    ] {
        let mut bench = Bench::new(RAM);
        bench.fake.grant(DOM.0, 1);
        bench.says("ring-ref", "1");
        bench.says("event-channel", "5");
        bench.says(key, value);
        bench.state(3);
        assert_eq!(bench.back("state"), "6", "{key} {value}");
        assert_eq!((bench.mapped(), bench.fake.0.borrow().open_ports.len()), (0, 0));
    }
}

#[test]
fn who_may_share() {
    let mut bench = Bench::new("ram:1M:keys,xvda,w");
    let other = Disk::parse("ram:1M:keys,xvdb,r").unwrap();
    bench.device.number = other.vdev.number;
    let refusal = bench.attach(&other).unwrap_err();
    assert_eq!(refusal, "ram:keys is written by domain 1; only readers may share");
    bench.device.number = 51712;
    bench.with(|blocks, host, device| blocks.removed(host, device));
    for name in ["xvdb", "xvdc"] {
        let disk = Disk::parse(&format!("ram:1M:keys,{name},r")).unwrap();
        bench.device.number = disk.vdev.number;
        bench.attach(&disk).unwrap();
    }
    let writer = Disk::parse("ram:1M:keys,xvdd,w").unwrap();
    bench.device.number = writer.vdev.number;
    assert!(bench.attach(&writer).is_err());
    let none = Disk::parse("phy:/dev/vda,xvde").unwrap();
    assert_eq!(bench.attach(&none).unwrap_err(), "there is no phy:/dev/vda; there are: ram:keys");
}

#[test]
fn a_frame_granted_for_reading_is_copied_instead_of_mapped() {
    let mut bench = Bench::new(RAM);
    bench.connect(1, 0, true);
    bench.fake.grant(DOM.0, 1).borrow_mut().fill(9);
    bench.fake.0.borrow_mut().fail = Some(("map_grants", abi::errno::Errno::EPERM));
    assert_eq!(bench.ask(0, &request(BLKIF_OP_WRITE, 1, 0)), 0);
    assert_eq!(bench.mapped(), 1);
}

/// A disk whose device fails.
#[derive(Debug)]
struct Failing;

impl Storage for Failing {
    fn sectors(&self) -> u64 {
        SECTORS
    }
    fn read(&mut self, _: u64, _: &mut [u8]) -> storage::Result {
        Err(Fault::Device)
    }
    fn write(&mut self, _: u64, _: &[u8]) -> storage::Result {
        Err(Fault::Device)
    }
    fn flush(&mut self) -> storage::Result {
        Err(Fault::Device)
    }
}

#[test]
fn a_failing_disk_is_reported_to_the_guest() {
    let mut bench = Bench::new(RAM);
    bench.blocks.add_machine_disk("vda", Failing);
    let disk = Disk::parse("/dev/vda,,xvdb").unwrap();
    bench.device.number = disk.vdev.number;
    bench.attach(&disk).unwrap();
    bench.connect(1, 0, false);
    bench.fake.grant(DOM.0, 1);
    for operation in [BLKIF_OP_READ, BLKIF_OP_WRITE, BLKIF_OP_FLUSH_DISKCACHE] {
        assert_eq!(bench.ask(0, &request(operation, 1, 0)), -1);
    }
}

/// What a hostile front end does next.
#[derive(Clone, Debug)]
enum Deed {
    State(u32),
    Says(&'static str, String),
    Ring(usize, u32, u8),
    Slots(u32),
    Produce(u32),
    Serve,
}

fn deed() -> impl Strategy<Value = Deed> {
    let number = prop_oneof![0u32..8, Just(1000), 0u32..2000, Just(u32::MAX), any::<u32>()];
    let keys = proptest::sample::select(vec![
        "ring-ref",
        "ring-ref0",
        "ring-ref1",
        "ring-page-order",
        "multi-queue-num-queues",
        "event-channel",
        "queue-0/ring-ref",
        "queue-1/ring-ref",
        "queue-0/event-channel",
        "queue-1/event-channel",
        "feature-persistent",
        "protocol",
        "backend",
        "backend-id",
        "virtual-device",
    ]);
    let text =
        prop_oneof![number.clone().prop_map(|n| n.to_string()), "[ -~]{0,8}", Just("x86_64-abi".to_string())];
    prop_oneof![
        2 => prop_oneof![Just(1u32), Just(3), Just(4), Just(5), Just(6), any::<u32>()].prop_map(Deed::State),
        2 => (keys, text).prop_map(|(key, value)| Deed::Says(key, value)),
        3 => (0usize..4096, 0u32..4, any::<u8>()).prop_map(|(at, page, byte)| Deed::Ring(at, page, byte)),
        3 => any::<u32>().prop_map(Deed::Slots),
        3 => prop_oneof![0u32..40, number].prop_map(Deed::Produce),
        4 => Just(Deed::Serve),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn a_hostile_front_end_hurts_nobody(deeds in proptest::collection::vec(deed(), 1..60), order in 0u32..2) {
        let mut bench = Bench::new("ram:128K,xvda,w");
        let data: Vec<Frame> = (1..8).map(|number| bench.fake.grant(DOM.0, number)).collect();
        bench.connect(1, order, true);
        for deed in deeds {
            match deed {
                Deed::State(number) => bench.state(number),
                Deed::Says(key, value) => bench.says(key, &value),
                Deed::Ring(at, page, byte) => {
                    let frames = &bench.rings[0];
                    frames[page as usize % frames.len()].borrow_mut()[at] = byte;
                }
                Deed::Slots(seed) => {
                    // Requests that are nearly right, so that they get far.
                    let operation = [0, 1, 2, 3, 5, 6, 4, 255][seed as usize % 8];
                    let mut slot = request(operation, (seed >> 3) as u8 % 13, u64::from(seed >> 7));
                    slot[(seed >> 11) as usize % SLOT_SIZE] = (seed >> 19) as u8;
                    bench.put(0, &slot);
                }
                Deed::Produce(number) => {
                    bench.produced[0] = number;
                    bench.write_ring(0, 0, &number.to_le_bytes());
                }
                Deed::Serve => {
                    bench.serve();
                }
            }
        }
        prop_assert!(bench.mapped() <= queue::MAPPED_MAX + 64);
        bench.with(|blocks, host, device| {
            blocks.removed(host, device);
            host.withdraw(device);
        });
        prop_assert_eq!(bench.mapped(), 0);
        prop_assert!(bench.fake.0.borrow().open_ports.is_empty());
        prop_assert!(bench.notices.len() <= 1);
        bench.store.tree().check().unwrap();
        drop(data);
    }
}
