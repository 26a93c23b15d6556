//! Area `memory_op`: each command, and what it refuses.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;
use conformance::space::{self, Answer, Frame, SELF, at, call, foreign, of, own_id, root, update};
use conformance::{bad, put};
use domu_sdk::abi::GuestPtr;
use domu_sdk::abi::memory::{
    AddToPhysmap, AddToPhysmapBatch, E820Entry, ForeignMemoryMap, MachphysMapping, MachphysMfnList,
    MemAcquireResource, MemoryDomain, MemoryExchange, MemoryMap, MemoryReservation, RemoveFromPhysmap,
};
use domu_sdk::abi::xen::hypercall::MEMORY_OP;
use domu_sdk::start;

/// Domains to be named.
fn domains() -> [(&'static str, u16); 9] {
    [
        ("self", SELF as u16),
        ("own", own_id() as u16),
        ("none", 0x1234),
        ("io", 0x7ff1),
        ("xen", 0x7ff2),
        ("cow", 0x7ff3),
        ("invalid", 0x7ff4),
        ("idle", 0x7fff),
        ("ffff", 0xffff),
    ]
}

fn op<T>(command: u64, argument: &mut T) -> Answer {
    call(MEMORY_OP, [command, at(argument), 0, 0, 0])
}

fn unknown() {
    let mut nothing = [0_u64; 32];
    for command in (0..64).filter(|command| !matches!(command, 0 | 1 | 6 | 11)) {
        put!(format_args!("zeroes.{command}"), "{}", command_answer(command, op(command, &mut nothing)));
        nothing = [0; 32];
        put!(
            format_args!("start.{command}"),
            "{}",
            command_answer(command, op(command | 7 << 6, &mut nothing))
        );
        nothing = [0; 32];
    }
    for command in (0..30).filter(|command| *command != 2) {
        for (name, address) in bad::ALL {
            if name != "m2p" {
                put!(
                    format_args!("bad.{command}.{name}"),
                    "{}",
                    call(MEMORY_OP, [command, address, 0, 0, 0])
                );
            }
        }
    }
    put!(
        "upper-half",
        "{}",
        command_answer(3, call(MEMORY_OP, [3 | 1 << 32, of(&MemoryDomain { domid: SELF as u16 }), 0, 0, 0]))
    );
}

/// Answers that depend on the machine or the size of domains are shown as `some`.
fn command_answer(command: u64, answer: Answer) -> alloc::string::String {
    if matches!(command, 2 | 3 | 4 | 14) && answer.0 > 0 { "some".into() } else { alloc::format!("{answer}") }
}

fn sizes() {
    for command in [3, 4, 14] {
        for (name, id) in domains() {
            let answer = op(command, &mut MemoryDomain { domid: id });
            put!(format_args!("size.{command}.{name}"), "{}", command_answer(command, answer));
        }
    }
    let pages = op(3, &mut MemoryDomain { domid: SELF as u16 });
    put!("size.current-is-start-info", "{}", pages.0 as u64 == start::info().nr_pages);
    put!("size.limit-is-larger", "{}", op(4, &mut MemoryDomain { domid: SELF as u16 }).0 >= pages.0);
}

fn reservation(extents: &mut [u64], order: u32) -> MemoryReservation {
    MemoryReservation {
        extent_start: GuestPtr::new(at(extents)),
        nr_extents: extents.len() as u64,
        extent_order: order,
        domid: SELF as u16,
        ..Default::default()
    }
}

/// Gives frames back that a row got.
fn give_back(frames: &[u64], order: u32) -> Answer {
    let mut frames = frames.to_vec();
    op(1, &mut reservation(&mut frames, order))
}

/// Makes more memory: commands 0 (numbers out only) and 6 (guest's numbers in).
fn more(command: u64) {
    let name = if command == 0 { "increase" } else { "populate" };
    // Numbers above those that the domain has; the machine-to-physical table learns them.
    let fresh =
        |count: u64| -> Vec<u64> { (0..count).map(|n| start::info().nr_pages + 0x1000 + n).collect() };
    // Somebody must own less than the limit; the first domain has no limit, others give up some.
    for order in 0..=4 {
        let mut list = fresh(3);
        let answer = op(command, &mut reservation(&mut list, order));
        let done = answer.0.max(0) as usize;
        let aligned = list[..done].iter().all(|mfn| mfn % (1 << order) == 0);
        put!(format_args!("{name}.order{order}"), "{answer} aligned {aligned}");
        put!(format_args!("{name}.order{order}.back"), "{}", give_back(&list[..done], order));
    }
    for order in [5, 9, 10, 18, 19, 20, 31, 32, 63, 64, u32::MAX] {
        let mut list = fresh(1);
        let answer = op(command, &mut reservation(&mut list, order));
        put!(format_args!("{name}.order{order}"), "{answer}");
        if answer.0 == 1 {
            put!(format_args!("{name}.order{order}.back"), "{}", give_back(&list, order));
        }
    }
    for bits in [1, 11, 12, 28, 32, 52, 53, 64, 65, 255] {
        let mut list = fresh(1);
        let mut request = reservation(&mut list, 0);
        request.mem_flags = bits;
        let answer = op(command, &mut request);
        put!(format_args!("{name}.bits{bits}"), "{answer}");
        if answer.0 == 1 {
            give_back(&list, 0);
        }
    }
    for (what, flags) in [
        ("node0", 1 << 8),
        ("node5", 6 << 8),
        ("exact0", 1 << 8 | 1 << 17),
        ("exact5", 6 << 8 | 1 << 17),
        ("vnode", 1 << 8 | 1 << 18),
        ("pod", 1 << 16),
        ("rest", 0xfff8_0000),
    ] {
        let mut list = fresh(1);
        let mut request = reservation(&mut list, 0);
        request.mem_flags = flags;
        let answer = op(command, &mut request);
        put!(format_args!("{name}.{what}"), "{answer}");
        if answer.0 == 1 {
            give_back(&list, 0);
        }
    }
    refusals(command, name);
    if command == 0 {
        let mut request = reservation(&mut [], 0);
        request.extent_start = GuestPtr::new(0);
        request.nr_extents = 0;
        put!("increase.null.none", "{}", op(0, &mut request));
    } else {
        let mut list = [root_pfn(), 0xffff_ffff_ffff];
        let answer = op(6, &mut reservation(&mut list, 0));
        put!("populate.any-number", "{answer}");
        put!("populate.any-number.m2p", "{:#x}", m2p(list[1]));
        give_back(&list[..answer.0.max(0) as usize], 0);
        update(root() << 12 | 1, root_pfn());
    }
}

fn root_pfn() -> u64 {
    (start::info().pt_base - domu_sdk::memory::layout::IMAGE_BASE) / 4096
}

fn m2p(mfn: u64) -> u64 {
    domu_sdk::memory::probe(domu_sdk::abi::xen::MACH2PHYS_VIRT_START + mfn * 8).unwrap_or(0)
}

/// What holds for all commands with extents.
fn refusals(command: u64, name: &str) {
    let mut list = [0x7777_7777_u64; 2];
    for (what, id) in domains().into_iter().skip(2) {
        let mut request = reservation(&mut list, 0);
        request.domid = id;
        put!(format_args!("{name}.domain.{what}"), "{}", op(command, &mut request));
    }
    for (what, address) in bad::ALL {
        if what == "null" && command == 0 {
            continue;
        }
        let mut request = reservation(&mut list, 0);
        request.extent_start = GuestPtr::new(address);
        put!(format_args!("{name}.list.{what}"), "{}", op(command, &mut request));
        request.nr_extents = 0;
        put!(format_args!("{name}.list.{what}.none"), "{}", op(command, &mut request));
    }
    for count in [u64::MAX, u64::MAX >> 1, u64::MAX >> 6, 1 << 58] {
        let mut request = reservation(&mut list, 0);
        request.nr_extents = count;
        request.extent_start = GuestPtr::new(0x1000);
        put!(format_args!("{name}.count{count:x}"), "{}", op(command, &mut request));
    }
    for start in [1, 2, 3, 0xffff] {
        let mut request = reservation(&mut list, 0);
        request.domid = 0x1234;
        put!(format_args!("{name}.start{start}.domain"), "{}", op(command | start << 6, &mut request));
        request.domid = SELF as u16;
        request.extent_order = 60;
        put!(format_args!("{name}.start{start}"), "{}", op(command | start << 6, &mut request));
    }
}

fn less() {
    let frames: [Frame; 6] = core::array::from_fn(|_| Frame::new());
    frames.iter().for_each(|frame| {
        frame.unmap();
    });
    let mut list = [frames[0].mfn, frames[1].mfn, foreign(), frames[2].mfn];
    put!("decrease.third-is-bad", "{}", op(1, &mut reservation(&mut list, 0)));
    put!("decrease.gone", "{}", op(1, &mut reservation(&mut list[..1], 0)));
    put!("decrease.gone.map", "{}", frames[0].writable());
    put!("decrease.gone.m2p", "{:#x}", m2p(frames[0].mfn));
    put!("decrease.start", "{}", op(1 | 3 << 6, &mut reservation(&mut list, 0)));
    for order in [1, 9, 10, 19, 63] {
        put!(format_args!("decrease.order{order}"), "{}", op(1, &mut reservation(&mut [foreign()], order)));
    }
    // A mapping keeps a frame; the domain no longer owns it when the mapping goes.
    let mapped = Frame::new();
    put!("decrease.mapped", "{}", op(1, &mut reservation(&mut [mapped.mfn], 0)));
    mapped.write(0, 7);
    put!("decrease.mapped.value", "{}", mapped.read(0));
    put!("decrease.mapped.twice", "{}", op(1, &mut reservation(&mut [mapped.mfn], 0)));
    put!("decrease.mapped.map-again", "{}", mapped.writable());
    put!("decrease.mapped.unmap", "{}", mapped.unmap());
    put!("decrease.mapped.then-map", "{}", mapped.writable());
    // So does a pin.
    let pinned = Frame::table();
    put!("decrease.pin", "{}", space::pin(1, pinned.mfn));
    put!("decrease.pinned", "{}", op(1, &mut reservation(&mut [pinned.mfn], 0)));
    put!("decrease.pinned.unmap", "{}", pinned.unmap());
    put!("decrease.pinned.unpin", "{}", space::unpin(pinned.mfn));
    put!("decrease.pinned.unpin-again", "{}", space::unpin(pinned.mfn));
    for (what, mfn) in [
        ("shared-info", start::info().shared_info >> 12),
        ("vga", 0xb8),
        ("beyond", 1 << 40),
        ("ones", u64::MAX),
    ] {
        put!(format_args!("decrease.{what}"), "{}", op(1, &mut reservation(&mut [mfn], 0)));
    }
    refusals(1, "decrease");
    // Back to as many as before, for the rows that follow.
    for (index, frame) in [&frames[0], &frames[1], &mapped].into_iter().enumerate() {
        let mut list = [frame.pfn];
        put!(format_args!("populate.back{index}"), "{}", op(6, &mut reservation(&mut list, 0)));
    }
}

fn exchange_request(old: &mut [u64], old_order: u32, new: &mut [u64], new_order: u32) -> MemoryExchange {
    MemoryExchange { in_: reservation(old, old_order), out: reservation(new, new_order), nr_exchanged: 0 }
}

fn exchange() {
    let take = || {
        let frame = Frame::new();
        frame.unmap();
        frame
    };
    let (a, b) = (take(), take());
    let run = |name: &str, request: &mut MemoryExchange| {
        let answer = op(11, request);
        put!(format_args!("exchange.{name}"), "{answer} done {}", request.nr_exchanged);
    };
    let mut old = [a.mfn, b.mfn];
    let mut new = [a.pfn, b.pfn];
    run("two", &mut exchange_request(&mut old, 0, &mut new, 0));
    put!("exchange.two.m2p", "{} {}", m2p(new[0]) == a.pfn, m2p(new[1]) == b.pfn);
    let mut old = new;
    let mut new = [a.pfn];
    run("into-pair", &mut exchange_request(&mut old, 0, &mut new, 1));
    put!("exchange.into-pair.aligned", "{}", new[0].is_multiple_of(2));
    let mut old = [new[0]];
    let mut out = [a.pfn, b.pfn];
    run("pair-into-two", &mut exchange_request(&mut old, 1, &mut out, 0));
    let mapped = Frame::new();
    let mut place = [mapped.pfn];
    run("mapped", &mut exchange_request(&mut [mapped.mfn], 0, &mut place, 0));
    run("foreign", &mut exchange_request(&mut [foreign()], 0, &mut place, 0));
    run("beyond", &mut exchange_request(&mut [1 << 40], 0, &mut place, 0));
    run("table", &mut exchange_request(&mut [root()], 0, &mut place, 0));
    run("vga", &mut exchange_request(&mut [0xb8], 0, &mut place, 0));
    run("second-is-mapped", &mut exchange_request(&mut [out[0], mapped.mfn], 0, &mut [a.pfn, b.pfn], 0));
    run("twice-the-same", &mut exchange_request(&mut [out[0], out[0]], 0, &mut [a.pfn, b.pfn], 0));
    run("none", &mut exchange_request(&mut [], 0, &mut [], 0));
    run("sizes", &mut exchange_request(&mut [out[0]], 0, &mut [a.pfn, b.pfn], 0));
    run("sizes-by-order", &mut exchange_request(&mut [out[0]], 0, &mut [a.pfn], 1));
    for (what, id) in domains().into_iter().skip(2) {
        let mut list = [a.pfn];
        let mut request = exchange_request(&mut [out[0]], 0, &mut list, 0);
        request.in_.domid = id;
        run(&alloc::format!("domain.in.{what}"), &mut request);
        request.out.domid = id;
        run(&alloc::format!("domain.both.{what}"), &mut request);
    }
    for done in [1, 2, u64::MAX] {
        let mut list = [a.pfn];
        let mut request = exchange_request(&mut [out[0]], 0, &mut list, 0);
        request.nr_exchanged = done;
        run(&alloc::format!("done{done:x}"), &mut request);
    }
    for (what, order) in [
        ("in", (9, 0)),
        ("in10", (10, 0)),
        ("out9", (0, 9)),
        ("out19", (0, 19)),
        ("both", (5, 5)),
        ("huge", (64, 64)),
    ] {
        let mut list = [a.pfn];
        run(
            &alloc::format!("order.{what}"),
            &mut exchange_request(&mut [foreign()], order.0, &mut list, order.1),
        );
    }
    for (what, address) in bad::ALL {
        let mut request = exchange_request(&mut [foreign()], 0, &mut place, 0);
        request.in_.extent_start = GuestPtr::new(address);
        run(&alloc::format!("in.{what}"), &mut request);
    }
    for bits in [1, 12, 13, 20, 64] {
        let mut list = [a.pfn];
        let mut request = exchange_request(&mut [foreign()], 0, &mut list, 0);
        request.out.mem_flags = bits;
        run(&alloc::format!("bits{bits}"), &mut request);
    }
    let mut huge = exchange_request(&mut [foreign()], 0, &mut place, 0);
    huge.in_.nr_extents = u64::MAX >> 2;
    huge.out.nr_extents = u64::MAX >> 2;
    run("huge", &mut huge);
}

fn machphys() {
    for count in [0, 1, 2, 4, 100] {
        let mut list = vec![u64::MAX; 128];
        let mut request = MachphysMfnList {
            max_extents: count,
            extent_start: GuestPtr::new(at(&mut list[..])),
            ..Default::default()
        };
        let answer = op(5, &mut request);
        let beyond = list[count as usize..].iter().all(|word| *word == u64::MAX);
        put!(format_args!("m2p-list.{count}"), "{answer} some {} within {beyond}", request.nr_extents > 0);
        put!(
            format_args!("m2p-list.{count}.aligned"),
            "{}",
            list.iter().take(request.nr_extents.min(count) as usize).all(|mfn| mfn % 512 == 0)
        );
    }
    for (what, address) in bad::ALL {
        let mut request =
            MachphysMfnList { max_extents: 4, extent_start: GuestPtr::new(address), ..Default::default() };
        put!(format_args!("m2p-list.bad.{what}"), "{}", op(5, &mut request));
    }
    let mut mapping = MachphysMapping::default();
    let answer = op(12, &mut mapping);
    put!("m2p-mapping", "{answer} {:#x} {:#x} {}", mapping.v_start, mapping.v_end, mapping.max_mfn > 0);
}

fn maps() {
    for command in [9, 10] {
        let mut full = 0;
        for count in [128, 0, 1, 2] {
            let mut entries = vec![E820Entry::default(); 128];
            let mut request = MemoryMap {
                nr_entries: count,
                buffer: GuestPtr::new(at(&mut entries[..])),
                ..Default::default()
            };
            let answer = op(command, &mut request);
            if count == 128 {
                full = request.nr_entries;
            }
            let (same, some) = (request.nr_entries == full, full > 0);
            put!(format_args!("map.{command}.{count}"), "{answer} same {same} some {some}");
        }
        let sorted = {
            let mut entries = vec![E820Entry::default(); 128];
            let mut request = MemoryMap {
                nr_entries: 128,
                buffer: GuestPtr::new(at(&mut entries[..])),
                ..Default::default()
            };
            op(command, &mut request);
            let ends = entries
                .iter()
                .take(request.nr_entries.min(128) as usize)
                .map(|entry| (entry.addr, entry.addr.wrapping_add(entry.size)));
            ends.fold((true, 0), |(good, last), (start, end)| (good && start >= last, end)).0
        };
        put!(format_args!("map.{command}.sorted"), "{sorted}");
        for (what, address) in bad::ALL {
            let mut request =
                MemoryMap { nr_entries: 128, buffer: GuestPtr::new(address), ..Default::default() };
            let answer = op(command, &mut request);
            put!(format_args!("map.{command}.bad.{what}"), "{answer} kept {}", request.nr_entries == 128);
        }
    }
    for (what, id) in domains().into_iter().skip(2) {
        for count in [0, 1, 128, 129, u32::MAX] {
            let mut entries = vec![E820Entry::default(); 130];
            let map = MemoryMap {
                nr_entries: count,
                buffer: GuestPtr::new(at(&mut entries[..])),
                ..Default::default()
            };
            put!(
                format_args!("set-map.{what}.{count:x}"),
                "{}",
                op(13, &mut ForeignMemoryMap { domid: id, map, ..Default::default() })
            );
        }
    }
    for count in [129, u32::MAX] {
        let map = MemoryMap { nr_entries: count, buffer: GuestPtr::new(0x1000), ..Default::default() };
        put!(
            format_args!("set-map.self.{count:x}"),
            "{}",
            op(13, &mut ForeignMemoryMap { domid: SELF as u16, map, ..Default::default() })
        );
    }
    for (what, address) in bad::ALL {
        let map = MemoryMap { nr_entries: 1, buffer: GuestPtr::new(address), ..Default::default() };
        put!(
            format_args!("set-map.bad.{what}"),
            "{}",
            op(13, &mut ForeignMemoryMap { domid: SELF as u16, map, ..Default::default() })
        );
    }
}

fn claims() {
    let run = |name: &str, pages: u64, order: u32, flags: u32, id: u16| {
        let mut request = MemoryReservation {
            nr_extents: pages,
            extent_order: order,
            mem_flags: flags,
            domid: id,
            ..Default::default()
        };
        put!(format_args!("claim.{name}"), "{}", op(24, &mut request));
    };
    for (what, id) in domains().into_iter().skip(2) {
        run(&alloc::format!("domain.{what}"), 0, 0, 0, id);
    }
    let own = SELF as u16;
    run("none", 0, 0, 0, own);
    run("less-than-owned", 16, 0, 0, own);
    run("huge", 1 << 40, 0, 0, own);
    run("all-ones", u64::MAX, 0, 0, own);
    run("order", 16, 1, 0, own);
    run("flags", 16, 0, 1, own);
    let pages = start::info().nr_pages;
    run("a-few-more", pages + 64, 0, 0, own);
    run("again", pages + 32, 0, 0, own);
    run("give-up", 0, 0, 0, own);
    run("give-up-again", 0, 0, 0, own);
    let mut request = MemoryReservation {
        nr_extents: 0,
        domid: own,
        extent_start: GuestPtr::new(0x1000),
        ..Default::default()
    };
    put!("claim.list", "{}", op(24, &mut request));
}

fn physmap() {
    for (what, id) in domains() {
        for space in 0..6 {
            let mut request = AddToPhysmap { domid: id, size: 1, space, idx: 0, gpfn: 1 };
            put!(format_args!("add.{what}.{space}"), "{}", op(7, &mut request));
            let (mut index, mut place, mut error) = ([0_u64], [1_u64], [7_i32]);
            let mut batch = AddToPhysmapBatch {
                domid: id,
                space: space as u16,
                size: 1,
                idxs: GuestPtr::new(at(&mut index)),
                gpfns: GuestPtr::new(at(&mut place)),
                errs: GuestPtr::new(at(&mut error)),
                ..Default::default()
            };
            let answer = op(23, &mut batch);
            put!(format_args!("add-batch.{what}.{space}"), "{answer} {}", error[0]);
            batch.size = 0;
            put!(format_args!("add-batch.{what}.{space}.none"), "{}", op(23, &mut batch));
        }
        for gpfn in [1, 1 << 40] {
            let mut request = RemoveFromPhysmap { domid: id, gpfn, ..Default::default() };
            put!(format_args!("remove.{what}.{gpfn:x}"), "{}", op(15, &mut request));
        }
    }
}

fn resources() {
    let run = |name: &str, id: u16, kind: u16, number: u32, frame: u64, count: u32| {
        let mut list = [u64::MAX; 70];
        let mut request = MemAcquireResource {
            domid: id,
            type_: kind,
            id: number,
            nr_frames: count,
            frame,
            frame_list: GuestPtr::new(at(&mut list)),
            ..Default::default()
        };
        let answer = op(28, &mut request);
        put!(format_args!("resource.{name}"), "{answer} {}", request.nr_frames);
        request.frame_list = GuestPtr::new(0);
        put!(format_args!("resource.{name}.size"), "{} {}", op(28, &mut request), request.nr_frames);
        request.nr_frames = 0;
        put!(format_args!("resource.{name}.size0"), "{} {}", op(28, &mut request), request.nr_frames);
    };
    for (what, id) in domains() {
        for kind in 0..5 {
            run(&alloc::format!("{what}.{kind}"), id, kind, 0, 0, 1);
        }
    }
    let own = SELF as u16;
    for number in [0, 1, 2, u32::MAX] {
        for frame in [0, 1, 63, 64, u64::MAX] {
            run(&alloc::format!("self.grant{number:x}.{frame:x}"), own, 1, number, frame, 1);
        }
    }
    for count in [0, 1, 2, 64, 65, 70, u32::MAX] {
        run(&alloc::format!("self.count{count:x}"), own, 1, 0, 0, count);
    }
    let mut padded = MemAcquireResource { domid: own, type_: 1, nr_frames: 1, ..Default::default() };
    for byte in 0..32 {
        let mut bytes = zerocopy_bytes(&mut padded, byte);
        put!(format_args!("resource.set-byte{byte}"), "{}", op(28, &mut bytes));
    }
}

/// The request with one byte set, to find the padding that must be zero.
fn zerocopy_bytes(request: &mut MemAcquireResource, byte: usize) -> MemAcquireResource {
    let mut copy = *request;
    let first = core::ptr::from_mut(&mut copy).cast::<u8>();
    // SAFETY: a byte of the structure, which may have any bytes.
    unsafe { first.add(byte).write(first.add(byte).read() | 0x40) };
    copy
}

#[domu_sdk::main]
fn main() {
    conformance::area("memory_op");
    sizes();
    unknown();
    more(0);
    more(6);
    less();
    exchange();
    machphys();
    maps();
    claims();
    physmap();
    resources();
    conformance::done();
}
