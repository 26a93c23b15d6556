//! Two vCPUs that do the same thing, or opposite things, at the same time; and long calls that are interrupted all the while.
//!
//! Who wins is chance, so no row says it. The rows say what must be true whoever wins: that one of two won, that counts add up, that
//! afterwards nothing is left, that everybody still runs.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use conformance::space::{Frame, SELF, extended, pin, unpin, update};
use conformance::workers::{self, Slot, Worker, relax, vcpu_op};
use conformance::{Answer, Hex, area, at, at_mut, call, done, op, row, shared};
use core::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use domu_sdk::abi::GuestPtr;
use domu_sdk::abi::errno::Errno;
use domu_sdk::abi::event_channel::*;
use domu_sdk::abi::memory::*;
use domu_sdk::abi::vcpu::*;
use domu_sdk::abi::xen::hypercall::*;
use domu_sdk::abi::xen::*;
use domu_sdk::memory::layout::pte;

#[domu_sdk::main]
fn main() {
    area("races");
    shared::set_mask(1);
    let count = workers::count();
    row!("count", Hex(count as u64));
    let Ok(worker) = Worker::boot(1) else { return };
    let mut all = alloc::vec![worker];
    for id in 2..count {
        row!("initialise.{id}.winners", initialise(worker, id));
        row!("initialise.{id}.up", vcpu_op(VCPUOP_UP, id as u64, 0));
        let other = Worker { id: id as u64 };
        row!("initialise.{id}.runs", other.ready());
        all.push(other);
    }
    channels(worker);
    pins(worker);
    mappings(worker);
    entries(worker);
    descriptors(worker);
    reservations(worker);
    flushes(&all);
    if let Some(last) = all.last().filter(|last| last.id > 1) {
        ups(worker, *last);
    }
    long_calls(worker);
    row!("alive", Hex(all.iter().filter(|worker| !worker.is_dead()).count() as u64));
    shared::set_mask(0);
    done();
}

/// Rounds of most races.
const ROUNDS: u64 = 100;

/// Where two vCPUs wait for each other before they start.
static GATE: AtomicU64 = AtomicU64::new(0);

/// Lets both go at the same time, as far as there are CPUs for both.
fn meet() {
    let reached = GATE.fetch_add(1, SeqCst) | 1;
    let mut turns = 0_u32;
    while GATE.load(SeqCst) <= reached {
        turns += 1;
        if turns > 1000 {
            relax();
        }
    }
}

/// What the worker does in each round, and what the first vCPU does; both with the number of the round.
fn race(worker: Worker, job: workers::Job, argument: u64, mine: &mut dyn FnMut()) -> u64 {
    GATE.store(0, SeqCst);
    worker.start(job, argument);
    mine();
    worker.wait().unwrap_or(u64::MAX)
}

/// Two contexts for one vCPU: one is taken, the other finds it taken.
fn initialise(worker: Worker, id: usize) -> Hex {
    let (first, second) = (workers::context(id), workers::context(id));
    let mut won = 0;
    REQUEST[0].store(id as u64, SeqCst);
    let other = race(worker, initialise_job, at(&*second), &mut || {
        meet();
        won += u64::from(vcpu_op(VCPUOP_INITIALISE, id as u64, at(&*first)).0 == 0);
    });
    Hex(won + other)
}

extern "C" fn initialise_job(_: &Slot, context: u64) -> u64 {
    meet();
    u64::from(vcpu_op(VCPUOP_INITIALISE, REQUEST[0].load(SeqCst), context).0 == 0)
}

fn alloc_port() -> u32 {
    let mut request =
        EvtchnAllocUnbound { dom: DOMID_SELF, remote_dom: DOMID_SELF, ..EvtchnAllocUnbound::default() };
    let answer = op(EVENT_CHANNEL_OP, EVTCHNOP_ALLOC_UNBOUND, &mut request);
    if answer.0 == 0 { request.port } else { 0 }
}

fn close(port: u32) -> Answer {
    op(EVENT_CHANNEL_OP, EVTCHNOP_CLOSE, &mut EvtchnClose { port })
}

/// One bit for each port that was given out.
static GIVEN: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];
/// Ports that were given out twice.
static TWICE: AtomicU64 = AtomicU64::new(0);
/// What is raced for.
static SHARED: AtomicU64 = AtomicU64::new(0);
/// Answers that nobody should see.
static ODD: AtomicI64 = AtomicI64::new(0);

/// Notes an answer that is none of those that a race may bring.
fn expect(answer: Answer) -> bool {
    let lost = [Errno::EINVAL, Errno::EBUSY, Errno::EPERM].map(Errno::as_ret);
    if answer.0 != 0 && !lost.contains(&answer.0) {
        ODD.store(answer.0, SeqCst);
    }
    answer.0 == 0
}

fn take_ports() {
    for _ in 0..200 {
        let port = alloc_port();
        let bit = 1 << (port % 64);
        if GIVEN[port as usize / 64].fetch_or(bit, SeqCst) & bit != 0 {
            TWICE.fetch_add(1, SeqCst);
        }
    }
}

extern "C" fn take_ports_job(_: &Slot, _: u64) -> u64 {
    meet();
    take_ports();
    0
}

fn channels(worker: Worker) {
    race(worker, take_ports_job, 0, &mut || {
        meet();
        take_ports();
    });
    row!("ports.twice", Hex(TWICE.load(SeqCst)));
    let mut closed = 0;
    for port in 1..4096_u32 {
        if GIVEN[port as usize / 64].load(SeqCst) >> (port % 64) & 1 != 0 {
            closed += u64::from(close(port).0 == 0);
        }
    }
    row!("ports.closed", Hex(closed));
    // Both close the same port.
    let mut sum = 0;
    for _ in 0..50 {
        SHARED.store(alloc_port().into(), SeqCst);
        sum += race(worker, close_job, 0, &mut || {
            meet();
            let answer = close(SHARED.load(SeqCst) as u32);
            SHARED.store(u64::from(answer.0 == 0), SeqCst);
        });
        sum += SHARED.load(SeqCst);
    }
    row!("ports.closed-once", Hex(sum));
    // One sends while the other makes and closes what is sent to.
    ODD.store(0, SeqCst);
    SHARED.store(alloc_port().into(), SeqCst);
    close(SHARED.load(SeqCst) as u32);
    race(worker, send_job, 0, &mut || {
        meet();
        for _ in 0..ROUNDS {
            let port = alloc_port();
            let mut bind = EvtchnBindInterdomain {
                remote_dom: DOMID_SELF,
                remote_port: port,
                ..EvtchnBindInterdomain::default()
            };
            op(EVENT_CHANNEL_OP, EVTCHNOP_BIND_INTERDOMAIN, &mut bind);
            SHARED.store(bind.local_port.into(), SeqCst);
            close(port);
            close(bind.local_port);
        }
    });
    row!("send-and-close.odd", Answer(ODD.load(SeqCst)));
}

extern "C" fn close_job(_: &Slot, _: u64) -> u64 {
    let port = SHARED.load(SeqCst) as u32;
    meet();
    u64::from(close(port).0 == 0)
}

extern "C" fn send_job(_: &Slot, _: u64) -> u64 {
    meet();
    for _ in 0..4 * ROUNDS {
        let mut request = EvtchnSend { port: SHARED.load(SeqCst) as u32 };
        expect(op(EVENT_CHANNEL_OP, EVTCHNOP_SEND, &mut request));
    }
    0
}

fn pin_rounds(mfn: u64) -> u64 {
    let mut pinned = 0;
    for _ in 0..ROUNDS {
        pinned += u64::from(expect(pin(1, mfn)));
        pinned -= u64::from(expect(unpin(mfn))).min(pinned);
    }
    pinned
}

extern "C" fn pin_job(_: &Slot, mfn: u64) -> u64 {
    meet();
    pin_rounds(mfn)
}

/// Both pin and unpin the same table.
fn pins(worker: Worker) {
    ODD.store(0, SeqCst);
    let table = Frame::table();
    race(worker, pin_job, table.mfn, &mut || {
        meet();
        pin_rounds(table.mfn);
    });
    row!("pins.odd", Answer(ODD.load(SeqCst)));
    unpin(table.mfn);
    row!("pins.unpinned", unpin(table.mfn));
    row!("pins.writable", table.writable());
}

/// One pins a table while the other maps it writable.
fn mappings(worker: Worker) {
    ODD.store(0, SeqCst);
    let table = Frame::table();
    race(worker, pin_job, table.mfn, &mut || {
        meet();
        for _ in 0..ROUNDS {
            if expect(table.writable()) {
                // Now it is no table, so this cannot hurt.
                table.write(0, 0xffff_ffff_ffff_ffff);
                table.write(0, 0);
            }
            expect(table.read_only());
        }
    });
    row!("mappings.odd", Answer(ODD.load(SeqCst)));
    unpin(table.mfn);
    row!("mappings.writable", table.writable());
    row!("mappings.read-only", table.read_only());
    row!("mappings.pin", pin(1, table.mfn));
    row!("mappings.unpin", unpin(table.mfn));
}

/// What a job needs beyond its argument: in [`entries`] where and what, in [`initialise`] the vCPU.
static REQUEST: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

extern "C" fn entry_job(_: &Slot, _: u64) -> u64 {
    meet();
    let (slot, entry) = (REQUEST[0].load(SeqCst), REQUEST[1].load(SeqCst));
    for _ in 0..ROUNDS {
        expect(update(slot, entry));
        expect(update(slot, 0));
    }
    0
}

/// Both write the same entry of a table; then no frame is left with a reference.
fn entries(worker: Worker) {
    ODD.store(0, SeqCst);
    let (table, first, second) = (Frame::table(), Frame::new(), Frame::new());
    row!("entries.pin", pin(1, table.mfn));
    REQUEST[0].store(table.slot(7), SeqCst);
    REQUEST[1].store(second.entry(pte::READ_WRITE), SeqCst);
    race(worker, entry_job, 0, &mut || {
        meet();
        for _ in 0..ROUNDS {
            expect(update(table.slot(7), first.entry(pte::READ_WRITE)));
            expect(update(table.slot(7), 0));
        }
    });
    row!("entries.odd", Answer(ODD.load(SeqCst)));
    row!("entries.clear", update(table.slot(7), 0));
    for (name, frame) in [("first", first), ("second", second)] {
        row!("entries.{name}.read-only", frame.read_only());
        row!("entries.{name}.pin", pin(1, frame.mfn));
        row!("entries.{name}.unpin", unpin(frame.mfn));
    }
    row!("entries.unpin", unpin(table.mfn));
    row!("entries.writable", table.writable());
}

extern "C" fn gdt_job(_: &Slot, mfn: u64) -> u64 {
    let list = [mfn];
    meet();
    for _ in 0..ROUNDS {
        expect(call(SET_GDT, [at(&list), 512, 0, 0, 0]));
        expect(call(UPDATE_DESCRIPTOR, [(mfn << 12) + 16, 0x00cf_f300_0000_ffff, 0, 0, 0]));
        expect(call(SET_GDT, [0; 5]));
    }
    0
}

/// A page that is a GDT on one vCPU and is written, and pinned as a table, on the other.
fn descriptors(worker: Worker) {
    ODD.store(0, SeqCst);
    let page = Frame::table();
    race(worker, gdt_job, page.mfn, &mut || {
        meet();
        for _ in 0..ROUNDS {
            expect(call(UPDATE_DESCRIPTOR, [(page.mfn << 12) + 8, 0, 0, 0, 0]));
            expect(pin(1, page.mfn));
            expect(unpin(page.mfn));
        }
    });
    row!("descriptors.odd", Answer(ODD.load(SeqCst)));
    row!("descriptors.writable", page.writable());
}

fn give_back(mfn: u64) -> Answer {
    let list = [mfn];
    let mut request = MemoryReservation { nr_extents: 1, domid: DOMID_SELF, ..MemoryReservation::default() };
    request.extent_start = GuestPtr::new(at(&list));
    call(MEMORY_OP, [XENMEM_DECREASE_RESERVATION.into(), at(&request), 0, 0, 0])
}

extern "C" fn give_back_job(_: &Slot, mfn: u64) -> u64 {
    meet();
    u64::from(give_back(mfn).0 == 1)
}

fn reservation() -> i64 {
    call(MEMORY_OP, [XENMEM_CURRENT_RESERVATION.into(), at(&DOMID_SELF), 0, 0, 0]).0
}

/// Both give the same frame back. Both may be told that it is done; it is accounted once.
fn reservations(worker: Worker) {
    let before = reservation();
    let mut given = 0;
    for _ in 0..30 {
        let frame = Frame::new();
        frame.unmap();
        let mut mine = 0;
        let other = race(worker, give_back_job, frame.mfn, &mut || {
            meet();
            mine = u64::from(give_back(frame.mfn).0 == 1);
        });
        given += mine + other;
    }
    row!("reservations.given", given >= 30);
    row!("reservations.lost", Hex((before - reservation()) as u64));
}

extern "C" fn flush_job(slot: &Slot, _: u64) -> u64 {
    let mut failed = 0;
    while slot.stop.load(SeqCst) == 0 && slot.progress.load(SeqCst) < ROUNDS {
        failed += u64::from(extended(MMUEXT_TLB_FLUSH_ALL, 0, 0).0 != 0);
        failed += u64::from(extended(MMUEXT_INVLPG_ALL, at(slot), 0).0 != 0);
        slot.progress.fetch_add(1, SeqCst);
    }
    failed
}

/// Several flush everybody.
fn flushes(all: &[Worker]) {
    let all = &all[..all.len().min(3)];
    for worker in all {
        worker.start(flush_job, 0);
    }
    // Few: each waits for all CPUs.
    let failed = (0..ROUNDS / 10).filter(|_| extended(MMUEXT_TLB_FLUSH_ALL, 0, 0).0 != 0).count();
    row!("flushes.progress", all.iter().all(|worker| worker.reaches(5)));
    let failed: u64 = failed as u64 + all.iter().map(|worker| worker.stop().unwrap_or(1)).sum::<u64>();
    row!("flushes.failed", Hex(failed));
}

extern "C" fn count_job(slot: &Slot, _: u64) -> u64 {
    while slot.stop.load(SeqCst) == 0 {
        slot.progress.fetch_add(1, SeqCst);
    }
    0
}

extern "C" fn up_job(_: &Slot, id: u64) -> u64 {
    meet();
    (0..ROUNDS).filter(|_| vcpu_op(VCPUOP_DOWN, id, 0).0 != 0 || vcpu_op(VCPUOP_UP, id, 0).0 != 0).count()
        as u64
}

/// Two take a third up and down.
fn ups(worker: Worker, third: Worker) {
    third.start(count_job, 0);
    third.reaches(1);
    let mut failed = 0;
    let other = race(worker, up_job, third.id, &mut || {
        meet();
        for _ in 0..ROUNDS {
            let down = vcpu_op(VCPUOP_DOWN, third.id, 0);
            failed += u64::from(down.0 != 0 || vcpu_op(VCPUOP_UP, third.id, 0).0 != 0);
        }
    });
    failed += other;
    row!("ups.failed", Hex(failed));
    row!("ups.up", vcpu_op(VCPUOP_UP, third.id, 0));
    let seen = third.slot().progress.load(SeqCst);
    row!("ups.goes-on", third.reaches(seen + 1));
    row!("ups.stop", third.stop().is_some());
}

/// Entries of a long list.
const LONG: usize = 512;

/// Calls that take long, on a vCPU that is interrupted all the while.
fn long_calls(worker: Worker) {
    let mut bind = EvtchnBindIpi { vcpu: worker.id as u32, ..EvtchnBindIpi::default() };
    row!("long.bind", op(EVENT_CHANNEL_OP, EVTCHNOP_BIND_IPI, &mut bind));
    // SAFETY: `evtchn_mask` begins 64 words behind the pending bits.
    let mask = unsafe {
        AtomicU64::from_ptr(shared::info().cast::<u64>().add(32 * 8 + 64 + bind.port as usize / 64))
    };
    mask.fetch_and(!(1 << (bind.port % 64)), SeqCst);
    let table = Frame::table();
    row!("long.pin", pin(1, table.mfn));
    let frames: Vec<u64> = (0..LONG)
        .map(|_| {
            let frame = Frame::new();
            frame.unmap();
            frame.mfn
        })
        .collect();
    let list = Lists { table: table.slot(0), frames: at(&frames[..]) };
    for (name, job) in [
        ("multicall", multicall_job as workers::Job),
        ("mmu-update", mmu_update_job),
        ("memory", memory_job),
        ("pin", pin_long_job),
    ] {
        let before = worker.slot().upcalls.load(SeqCst);
        worker.start(job, at(&list));
        while worker.slot().progress.load(SeqCst) == 0 {
            let mut request = EvtchnSend { port: bind.port };
            op(EVENT_CHANNEL_OP, EVTCHNOP_SEND, &mut request);
            // SAFETY: as above.
            let pending = unsafe {
                AtomicU64::from_ptr(shared::info().cast::<u64>().add(32 * 8 + bind.port as usize / 64))
            };
            pending.fetch_and(!(1 << (bind.port % 64)), SeqCst);
        }
        row!("long.{name}.failed", Hex(worker.wait().unwrap_or(u64::MAX)));
        row!("long.{name}.interrupted", worker.slot().upcalls.load(SeqCst) > before);
    }
    row!("long.unpin", unpin(table.mfn));
    row!("long.writable", table.writable());
    row!("long.close", close(bind.port));
}

/// What the long calls work on.
struct Lists {
    table: u64,
    frames: u64,
}

fn lists(argument: u64) -> &'static Lists {
    let lists = core::ptr::with_exposed_provenance::<Lists>(argument as usize);
    // SAFETY: the first vCPU waits for the job, and its stack holds the value until then.
    unsafe { &*lists }
}

fn frame(lists: &Lists, index: usize) -> u64 {
    let frames = core::ptr::with_exposed_provenance::<u64>(lists.frames as usize);
    // SAFETY: as above; there are `LONG` of them.
    unsafe { frames.add(index).read_volatile() }
}

/// Room for the lists of the jobs: a job's stack is small.
#[repr(align(64))]
struct Room([AtomicU64; 8 * LONG]);
static ROOM: Room = Room([const { AtomicU64::new(0) }; 8 * LONG]);

fn finish(slot: &Slot, failed: u64) -> u64 {
    let info = core::ptr::with_exposed_provenance_mut::<u8>(slot.info.load(SeqCst) as usize);
    // SAFETY: masks events; `vcpu_info` stays mapped.
    unsafe { info.add(1).write_volatile(1) };
    slot.progress.store(1, SeqCst);
    failed
}

/// Rounds of a long call: at least so many, and more until a few interrupts came.
struct Rounds<'s> {
    slot: &'s Slot,
    left: u64,
    more: u64,
    until: u64,
}

impl<'s> Rounds<'s> {
    fn new(slot: &'s Slot, least: u64) -> Self {
        Rounds { slot, left: least, more: 100 * least, until: slot.upcalls.load(SeqCst) + 3 }
    }

    fn next(&mut self) -> bool {
        if self.left > 0 {
            self.left -= 1;
            return true;
        }
        self.more = self.more.saturating_sub(1);
        self.more > 0 && self.slot.upcalls.load(SeqCst) < self.until
    }
}

extern "C" fn multicall_job(slot: &Slot, _: u64) -> u64 {
    slot.unmask();
    let mut failed = 0;
    let mut rounds = Rounds::new(slot, 40);
    while rounds.next() {
        for entry in 0..LONG {
            let words = &ROOM.0[8 * entry..8 * entry + 8];
            words[0].store(VCPU_OP, SeqCst);
            words[1].store(77, SeqCst);
            words[2].store(VCPUOP_IS_UP.into(), SeqCst);
            words[3].store(0, SeqCst);
        }
        let answer = call(MULTICALL, [at(&ROOM), LONG as u64, 0, 0, 0]);
        failed += u64::from(answer.0 != 0);
        failed += (0..LONG).filter(|entry| ROOM.0[8 * entry + 1].load(SeqCst) != 1).count() as u64;
    }
    finish(slot, failed)
}

extern "C" fn mmu_update_job(slot: &Slot, argument: u64) -> u64 {
    slot.unmask();
    let lists = lists(argument);
    let mut failed = 0;
    let mut rounds = Rounds::new(slot, 20);
    let mut map = false;
    // An even number, so that no entry is left.
    while rounds.next() || map {
        map = !map;
        for index in 0..LONG {
            let entry = if map { frame(lists, index) << 12 | pte::READ_WRITE } else { 0 };
            ROOM.0[2 * index].store(lists.table + 8 * index as u64, SeqCst);
            ROOM.0[2 * index + 1].store(entry, SeqCst);
        }
        let mut finished = 0_u32;
        let answer = call(MMU_UPDATE, [at(&ROOM), LONG as u64, at_mut(&mut finished), SELF, 0]);
        // SAFETY: the hypervisor wrote it.
        let finished = unsafe { (&raw const finished).read_volatile() };
        failed += u64::from(answer.0 != 0) + u64::from(finished as usize != LONG);
    }
    finish(slot, failed)
}

extern "C" fn memory_job(slot: &Slot, argument: u64) -> u64 {
    slot.unmask();
    let lists = lists(argument);
    let mut failed = 0;
    let mut rounds = Rounds::new(slot, 6);
    while rounds.next() {
        for operation in [XENMEM_DECREASE_RESERVATION, XENMEM_INCREASE_RESERVATION] {
            let mut request = MemoryReservation {
                nr_extents: LONG as u64,
                domid: DOMID_SELF,
                ..MemoryReservation::default()
            };
            request.extent_start = GuestPtr::new(lists.frames);
            let answer = call(MEMORY_OP, [operation.into(), at(&request), 0, 0, 0]);
            failed += u64::from(answer.0 != LONG as i64);
        }
    }
    finish(slot, failed)
}

/// Pins and unpins a full table.
extern "C" fn pin_long_job(slot: &Slot, argument: u64) -> u64 {
    slot.unmask();
    let lists = lists(argument);
    let mfn = lists.table >> 12;
    let mut failed = 0;
    for index in 0..LONG {
        let entry = frame(lists, index) << 12 | pte::READ_WRITE;
        failed += u64::from(update(lists.table + 8 * index as u64, entry).0 != 0);
    }
    let mut rounds = Rounds::new(slot, 40);
    while rounds.next() {
        failed += u64::from(unpin(mfn).0 != 0);
        failed += u64::from(pin(1, mfn).0 != 0);
    }
    for index in 0..LONG {
        failed += u64::from(update(lists.table + 8 * index as u64, 0).0 != 0);
    }
    finish(slot, failed)
}
