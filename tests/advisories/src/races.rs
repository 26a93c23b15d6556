//! Two vCPUs at once on the same frames, grants and ports: whatever the order, a frame has one kind, a mapping is undone once, and no
//! translation outlives what it was for.

use crate::{Case, Outcome, Stop, hold, step};
use conformance::cliff::{look, place};
use conformance::space::{Frame, SELF, at, call, own_id, pin, root, unpin, update};
use conformance::workers::{Slot, Worker, count};
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use domu_sdk::abi::GuestPtr;
use domu_sdk::abi::event_channel::*;
use domu_sdk::abi::grant_table::*;
use domu_sdk::abi::memory::MemoryReservation;
use domu_sdk::abi::xen::hypercall::*;
use domu_sdk::memory::layout::pte;
use domu_sdk::memory::page_table_entry;

/// The cases.
pub const CASES: &[Case] = &[
    ("xsa-58-pin-against-map", pin_against_map),
    ("xsa-242-pin-against-pin", pin_against_pin),
    ("xsa-299-tree-against-its-table", tree_against_table),
    ("xsa-227-unmap-twice-at-once", unmap_twice),
    ("xsa-279-give-back-against-map", give_back_against_map),
    ("xsa-343-close-against-send", close_against_send),
    ("xsa-286-unhook-against-use", unhook_against_use),
];

const ROUNDS: u64 = 120;

/// The second vCPU, brought up once.
fn worker() -> Result<Worker, Stop> {
    static UP: AtomicU64 = AtomicU64::new(0);
    if UP.load(SeqCst) == 0 {
        if count() < 2 {
            return Err(Stop::Skip("needs two vCPUs"));
        }
        Worker::boot(1).map_err(|answer| Stop::Error(alloc::format!("the second vCPU: {answer}")))?;
        UP.store(1, SeqCst);
    }
    Ok(Worker { id: 1 })
}

/// What a job works on; the jobs have one number as argument.
#[derive(Clone, Copy)]
struct Task {
    va: u64,
    mfn: u64,
    other: u64,
}

fn task(argument: u64) -> Task {
    look(argument)
}

/// Ends a job when it is told to.
fn goes_on(slot: &Slot) -> bool {
    slot.progress.fetch_add(1, SeqCst);
    slot.stop.load(SeqCst) == 0
}

fn map(va: u64, entry: u64) -> i64 {
    call(UPDATE_VA_MAPPING, [va, entry, 2, 0, 0]).0
}

fn is_writable(va: u64) -> bool {
    page_table_entry(va).is_some_and(|entry| entry & 3 == 3)
}

/// On a machine that is busy with other things, the vCPUs may miss each other.
fn tried(met: bool) -> Outcome {
    if met { Ok(()) } else { Err(Stop::Skip("the vCPUs did not meet")) }
}

/// A frame to which nothing refers becomes a table and ordinary memory again.
fn is_free(frame: &Frame) -> Outcome {
    step(frame.read_only(), "making it read-only")?;
    hold(pin(1, frame.mfn).0 == 0, "references are left, the frame cannot become a table")?;
    hold(unpin(frame.mfn).0 == 0, "the table cannot be unpinned")?;
    hold(frame.writable().0 == 0, "too few references are left, the frame cannot be written")
}

/// Makes the frame writable, writes a number that is no entry, and makes it read-only, again and again.
extern "C" fn write_when_possible(slot: &Slot, argument: u64) -> u64 {
    let task = task(argument);
    let mut written = 0;
    while goes_on(slot) {
        if map(task.va, task.mfn << 12 | pte::READ_WRITE) == 0 {
            written += 1;
            // A trap means that somebody made it read-only again; it goes on behind the store.
            store(slot, task.va, written << 1);
            map(task.va, task.mfn << 12 | pte::READ_ONLY);
            // A while in which the frame can be taken.
            (0..written % 64).for_each(|_| core::hint::spin_loop());
        }
    }
    written
}

fn store(slot: &Slot, address: u64, value: u64) {
    // SAFETY: a trap goes on behind the store, as the slot says; the memory was taken for this.
    unsafe {
        core::arch::asm!(
            "lea {scratch}, [rip + 2f]",
            "mov [{resume}], {scratch}",
            "mov [{address}], {value}",
            "2:",
            "mov qword ptr [{resume}], 0",
            scratch = out(reg) _,
            resume = in(reg) slot.resume.as_ptr(),
            address = in(reg) address,
            value = in(reg) value,
            out("rcx") _,
            out("r11") _,
        );
    }
}

/// XSA-58, XSA-401, XSA-287: a frame became a table in the moment in which another vCPU mapped it writable, or while it still had the
/// translation. While the frame is pinned it must not be writable, and what is in it must not change.
fn pin_against_map() -> Outcome {
    let (worker, frame) = (worker()?, Frame::table());
    let work = Task { va: frame.va, mfn: frame.mfn, other: 0 };
    worker.start(write_when_possible, conformance::at(&work));
    let mut pinned = 0;
    let mut result = Ok(());
    for round in 0..ROUNDS * 8 {
        if pin(1, frame.mfn).0 != 0 {
            continue;
        }
        pinned += 1;
        let before = frame.read(0);
        let progress = worker.slot().progress.load(SeqCst);
        let writable = is_writable(frame.va);
        if round % 16 == 0 {
            worker.reaches(progress + 2);
        }
        let after = frame.read(0);
        step(unpin(frame.mfn), "unpinning")?;
        if writable || before != after {
            result = hold(false, "a page table can be written");
            break;
        }
    }
    let written = worker.stop();
    result?;
    tried(pinned > 0 && written.is_some())?;
    is_free(&frame)
}

extern "C" fn pin_and_unpin(slot: &Slot, argument: u64) -> u64 {
    let task = task(argument);
    let mut pins = 0;
    while goes_on(slot) {
        if pin(1, task.mfn).0 == 0 {
            pins += 1;
            if unpin(task.mfn).0 != 0 {
                return u64::MAX;
            }
        }
    }
    pins
}

/// XSA-242: of two pins at a time one counts; each is taken off once.
fn pin_against_pin() -> Outcome {
    let (worker, frame) = (worker()?, Frame::table());
    let work = Task { va: 0, mfn: frame.mfn, other: 0 };
    worker.start(pin_and_unpin, conformance::at(&work));
    for _ in 0..ROUNDS * 4 {
        if pin(1, frame.mfn).0 == 0 {
            // The other one may take it off, and then has the next one taken off under it.
            unpin(frame.mfn);
        }
    }
    worker.stop();
    // What is left of the pins, one at most.
    unpin(frame.mfn);
    hold(unpin(frame.mfn).0 < 0, "a table is pinned twice")?;
    is_free(&frame)
}

/// XSA-299, XSA-310: a tree is checked while one of its tables is taken away and written.
fn tree_against_table() -> Outcome {
    let worker = worker()?;
    let (low, middle, page) = (Frame::table(), Frame::new(), Frame::new());
    for index in 0..512 {
        middle.write(index, if index % 3 == 0 { low.entry(7) } else { 0 });
    }
    step(middle.read_only(), "making a table read-only")?;
    let work = Task { va: low.va, mfn: low.mfn, other: page.mfn };
    worker.start(write_when_possible, conformance::at(&work));
    let (mut pinned, mut result) = (0, Ok(()));
    for _ in 0..ROUNDS * 4 {
        if pin(2, middle.mfn).0 != 0 {
            continue;
        }
        pinned += 1;
        let bad = is_writable(low.va);
        step(unpin(middle.mfn), "unpinning")?;
        if bad {
            result = hold(false, "a table of a checked tree can be written");
            break;
        }
    }
    let written = worker.stop();
    result?;
    tried(pinned > 0 && written.is_some())?;
    is_free(&low)?;
    step(middle.writable(), "the upper table cannot be written")
}

fn unmap(address: u64, handle: u32) -> i16 {
    let mut request = [GnttabUnmapGrantRef { host_addr: address, handle, status: 77, ..Default::default() }];
    call(GRANT_TABLE_OP, [GNTTABOP_UNMAP_GRANT_REF.into(), at(&mut request), 1, 0, 0]);
    request[0].status
}

static HANDLE: AtomicU64 = AtomicU64::new(u64::MAX);

/// Undoes each mapping that it is told of, and counts.
extern "C" fn unmap_too(slot: &Slot, argument: u64) -> u64 {
    let task = task(argument);
    let mut undone = 0;
    while goes_on(slot) {
        let handle = HANDLE.load(SeqCst);
        if handle != u64::MAX && unmap(task.va, handle as u32) == 0 {
            undone += 1;
        }
    }
    undone
}

/// XSA-227, XSA-234, XSA-448: both vCPUs undo the same mapping: it must count once, and the granter's marks go with it.
fn unmap_twice() -> Outcome {
    let worker = worker()?;
    let mut frames = [0_u64];
    let mut setup = [GnttabSetupTable {
        dom: SELF as u16,
        nr_frames: 1,
        frame_list: GuestPtr::new(at(&mut frames)),
        ..Default::default()
    }];
    step(call(GRANT_TABLE_OP, [GNTTABOP_SETUP_TABLE.into(), at(&mut setup), 1, 0, 0]), "the grant table")?;
    let (table, page, hole) = (Frame::new(), Frame::new(), Frame::new());
    hole.unmap();
    step(conformance::Answer(map(table.va, frames[0] << 12 | 7)), "mapping the grant table")?;
    table.write(60, u64::from(GTF_PERMIT_ACCESS) | own_id() << 16 | page.mfn << 32);
    let work = Task { va: hole.va, mfn: 0, other: 0 };
    worker.start(unmap_too, conformance::at(&work));
    let (mut mapped, mut undone) = (0, 0);
    for _ in 0..ROUNDS * 2 {
        let mut request = [GnttabMapGrantRef {
            host_addr: hole.va,
            flags: GNTMAP_HOST_MAP,
            ref_: 60,
            dom: own_id() as u16,
            status: 77,
            ..Default::default()
        }];
        call(GRANT_TABLE_OP, [GNTTABOP_MAP_GRANT_REF.into(), at(&mut request), 1, 0, 0]);
        if request[0].status != 0 {
            continue;
        }
        mapped += 1;
        HANDLE.store(request[0].handle.into(), SeqCst);
        undone += u64::from(unmap(hole.va, request[0].handle) == 0);
        HANDLE.store(u64::MAX, SeqCst);
        while page_table_entry(hole.va).unwrap_or(0) & 1 != 0 {
            undone += u64::from(unmap(hole.va, request[0].handle) == 0);
        }
    }
    let theirs = worker.stop().unwrap_or(u64::MAX);
    tried(mapped > 0)?;
    hold(mapped == undone + theirs, "a mapping was undone twice, or not at all")?;
    hold(table.read(60) as u16 == GTF_PERMIT_ACCESS, "the grant is still marked as used")?;
    is_free(&page)
}

/// Gives the frame back as soon as it is told of one.
extern "C" fn give_back(slot: &Slot, argument: u64) -> u64 {
    let list_at = task(argument).other;
    let mut given = 0;
    while goes_on(slot) {
        let mfn = HANDLE.swap(u64::MAX, SeqCst);
        if mfn == u64::MAX {
            continue;
        }
        place(list_at, mfn);
        let request = MemoryReservation {
            extent_start: GuestPtr::new(list_at),
            nr_extents: 1,
            domid: SELF as u16,
            ..Default::default()
        };
        given += call(MEMORY_OP, [1, conformance::at(&request), 0, 0, 0]).0 as u64;
    }
    given
}

fn populate(pfn: u64) -> u64 {
    let mut list = [pfn];
    let mut request = MemoryReservation {
        nr_extents: 1,
        domid: SELF as u16,
        extent_start: GuestPtr::new(at(&mut list)),
        ..Default::default()
    };
    if call(MEMORY_OP, [6, at(&mut request), 0, 0, 0]).0 == 1 { list[0] } else { 0 }
}

/// XSA-279: a frame is given back by one vCPU while another maps it. Either the mapping fails, or the frame stays the domain's until the
/// mapping goes: then no other frame that is handed out is this one.
fn give_back_against_map() -> Outcome {
    let (worker, hole, list) = (worker()?, Frame::new(), Frame::new());
    hole.unmap();
    let mut mfn = hole.mfn;
    let work = Task { va: hole.va, mfn: 0, other: list.va };
    worker.start(give_back, conformance::at(&work));
    let mut result = Ok(());
    for _ in 0..ROUNDS {
        let progress = worker.slot().progress.load(SeqCst);
        HANDLE.store(mfn, SeqCst);
        let mapped = map(hole.va, mfn << 12 | pte::READ_WRITE) == 0;
        worker.reaches(progress + 3);
        let next = populate(hole.pfn);
        if next == 0 {
            result = hold(false, "no frame instead");
            break;
        }
        if mapped && next == mfn {
            result = hold(false, "a frame that is mapped was handed out again");
            break;
        }
        map(hole.va, 0);
        mfn = next;
    }
    worker.stop();
    result
}

extern "C" fn send_all_the_time(slot: &Slot, _: u64) -> u64 {
    let mut sent = 0;
    while goes_on(slot) {
        for port in 1..16 {
            let request = EvtchnSend { port };
            sent += u64::from(
                call(EVENT_CHANNEL_OP, [EVTCHNOP_SEND.into(), conformance::at(&request), 0, 0, 0]).0 == 0,
            );
        }
    }
    sent
}

fn event<T>(operation: u32, request: &mut T) -> i64 {
    call(EVENT_CHANNEL_OP, [operation.into(), at(request), 0, 0, 0]).0
}

/// XSA-343, XSA-338: events are sent through a channel that is bound and closed meanwhile. Both ends must agree afterwards, always.
fn close_against_send() -> Outcome {
    let worker = worker()?;
    worker.start(send_all_the_time, 0);
    let mut result = Ok(());
    for round in 0..ROUNDS * 2 {
        let mut open = EvtchnAllocUnbound { dom: SELF as u16, remote_dom: SELF as u16, ..Default::default() };
        event(EVTCHNOP_ALLOC_UNBOUND, &mut open);
        let mut bind =
            EvtchnBindInterdomain { remote_dom: SELF as u16, remote_port: open.port, ..Default::default() };
        let bound = event(EVTCHNOP_BIND_INTERDOMAIN, &mut bind);
        let (first, second) =
            if round % 2 == 0 { (open.port, bind.local_port) } else { (bind.local_port, open.port) };
        event(EVTCHNOP_CLOSE, &mut EvtchnClose { port: first });
        let mut status = EvtchnStatus { dom: SELF as u16, port: second, ..Default::default() };
        event(EVTCHNOP_STATUS, &mut status);
        let closed = event(EVTCHNOP_CLOSE, &mut EvtchnClose { port: second });
        if bound != 0 || status.status != EVTCHNSTAT_UNBOUND || closed != 0 {
            result = hold(false, "the ends of a channel disagree");
            break;
        }
    }
    worker.stop();
    result
}

/// Writes to an address all the time; tells how often that worked.
extern "C" fn write_all_the_time(slot: &Slot, argument: u64) -> u64 {
    let task = task(argument);
    let mut count = 0;
    while goes_on(slot) {
        count += conformance::workers::write_word(slot, task.va);
    }
    count
}

/// XSA-286, XSA-279: a vCPU writes through a mapping whose tables another one unhooks, without asking for a flush, and uses as memory, or as
/// tables with other contents. Nothing but the page that was meant may ever be written.
fn unhook_against_use() -> Outcome {
    let worker = worker()?;
    let tables: [Frame; 3] = core::array::from_fn(|_| Frame::table());
    let data = Frame::new();
    let window = 0xffff_a180_0000_0000_u64;
    let slot = (root() << 12) + 8 * (window >> 39 & 511);
    let work = Task { va: window + 8, mfn: 0, other: 0 };
    for level in 1..=3 {
        step(pin(level, tables[level as usize - 1].mfn), "pinning a table")?;
    }
    step(update(tables[0].slot(0), data.entry(7)), "an entry")?;
    step(update(tables[1].slot(0), tables[0].entry(7)), "an entry")?;
    step(update(tables[2].slot(0), tables[1].entry(7)), "an entry")?;
    worker.start(write_all_the_time, conformance::at(&work));
    let mut result = Ok(());
    for _ in 0..ROUNDS / 4 {
        step(update(slot, tables[2].entry(7)), "hooking the tables")?;
        worker.reaches(worker.slot().progress.load(SeqCst) + 2);
        step(update(slot, 0), "unhooking the tables")?;
        step(update(tables[0].slot(0), 0), "emptying an entry")?;
        // The page becomes a table: nobody may write to it from now on.
        step(data.read_only(), "making the page read-only")?;
        data_pin(&data)?;
        let before = data.read(1);
        worker.reaches(worker.slot().progress.load(SeqCst) + 2);
        let after = data.read(1);
        step(unpin(data.mfn), "unpinning")?;
        step(data.writable(), "making the page writable")?;
        data.write(1, 0);
        step(update(tables[0].slot(0), data.entry(7)), "an entry")?;
        if before != after {
            result = hold(false, "a page table was written through tables that hang nowhere");
            break;
        }
    }
    worker.stop();
    result
}

/// Pins a page whose second word may hold what the other vCPU wrote last, which is no entry that would be allowed.
fn data_pin(data: &Frame) -> Outcome {
    for _ in 0..64 {
        if pin(1, data.mfn).0 == 0 {
            return Ok(());
        }
        step(data.writable(), "making the page writable")?;
        data.write(1, 0);
        step(data.read_only(), "making the page read-only")?;
    }
    Err(Stop::Error("the page cannot be pinned".into()))
}
