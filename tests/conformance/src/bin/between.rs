//! Area `between`: grants, channels and frames between the first domain and another one, which it creates, and destroys while it still uses
//! what it was given.
#![no_std]
#![no_main]

extern crate alloc;

use conformance::cliff::{Cliff, place};
use conformance::space::{Answer, Entry, Frame, SELF, at, call, extended_as, own_id};
use conformance::{bad, put};
use domu_sdk::abi::GuestPtr;
use domu_sdk::abi::domctl::*;
use domu_sdk::abi::event_channel::*;
use domu_sdk::abi::grant_table::*;
use domu_sdk::abi::memory::{MemoryDomain, MemoryReservation};
use domu_sdk::abi::xen::hypercall::*;
use domu_sdk::hypercall::domctl;
use domu_sdk::memory;
use domu_sdk::types::DomId;

const FRAMES: usize = 24;

struct Other {
    id: u16,
    frames: [u64; FRAMES],
    /// Its grant table, mapped here.
    table: Frame,
    /// An address here with nothing behind it.
    hole: Frame,
}

fn memory_op<T>(command: u64, argument: &mut T) -> Answer {
    call(MEMORY_OP, [command, at(argument), 0, 0, 0])
}

fn grant_op<T>(command: u32, list: &mut [T]) -> Answer {
    call(GRANT_TABLE_OP, [command.into(), at(list), list.len() as u64, 0, 0])
}

fn event<T>(operation: u32, request: &mut T) -> Answer {
    call(EVENT_CHANNEL_OP, [operation.into(), at(request), 0, 0, 0])
}

fn list(id: u16, extents: &mut [u64]) -> MemoryReservation {
    MemoryReservation {
        extent_start: GuestPtr::new(at(extents)),
        nr_extents: extents.len() as u64,
        domid: id,
        ..Default::default()
    }
}

fn create() -> Option<Other> {
    let what = DomctlCreatedomain {
        max_vcpus: 1,
        max_evtchn_port: 1023,
        max_grant_frames: 4,
        max_maptrack_frames: 8,
        grant_opts: 1,
        ..Default::default()
    };
    let id = domctl::create(DomId(0), &what).ok()?.0;
    put!("limit", "{:?}", domctl::set_max_memory(DomId(id), 4 * FRAMES as u64 + 64));
    put!("vcpus", "{:?}", domctl::set_max_vcpus(DomId(id), 1));
    let mut frames: [u64; FRAMES] = core::array::from_fn(|n| n as u64);
    put!("populate", "{}", memory_op(6, &mut list(id, &mut frames)));
    let mut table = [0_u64; 4];
    for (name, count) in [("none", 0), ("one", 1), ("four", 4), ("five", 5)] {
        let mut setup = [GnttabSetupTable {
            dom: id,
            nr_frames: count,
            status: 77,
            frame_list: GuestPtr::new(at(&mut table)),
            ..Default::default()
        }];
        put!(
            format_args!("setup.{name}"),
            "{} {}",
            grant_op(GNTTABOP_SETUP_TABLE, &mut setup),
            setup[0].status
        );
        let mut query = [GnttabQuerySize { dom: id, status: 77, ..Default::default() }];
        let answer = grant_op(GNTTABOP_QUERY_SIZE, &mut query);
        put!(
            format_args!("setup.{name}.size"),
            "{answer} {} {} {}",
            query[0].status,
            query[0].nr_frames,
            query[0].max_nr_frames
        );
    }
    let mut version = [GnttabGetVersion { dom: id, ..Default::default() }];
    put!("version", "{} {}", grant_op(GNTTABOP_GET_VERSION, &mut version), version[0].version);
    let window = Frame::new();
    let answer = call(UPDATE_VA_MAPPING_OTHERDOMAIN, [window.va, table[0] << 12 | 7, 2, id.into(), 0]);
    put!("table", "{answer}");
    let hole = Frame::new();
    hole.unmap();
    Some(Other { id, frames, table: window, hole })
}

impl Other {
    fn permit(&self, number: u64, flags: u16, to: u64, frame: u64) {
        self.table.write(number, u64::from(flags) | to << 16 | frame << 32);
    }

    fn flags(&self, number: u64) -> u16 {
        self.table.read(number) as u16
    }

    fn map(&self, flags: u32, reference: u32) -> (i16, u32, u64) {
        let mut request = [GnttabMapGrantRef {
            host_addr: self.hole.va,
            flags,
            ref_: reference,
            dom: self.id,
            status: 77,
            ..Default::default()
        }];
        grant_op(GNTTABOP_MAP_GRANT_REF, &mut request);
        (request[0].status, request[0].handle, request[0].dev_bus_addr)
    }

    fn unmap(&self, address: u64, bus: u64, handle: u32) -> i16 {
        let mut request = [GnttabUnmapGrantRef {
            host_addr: address,
            dev_bus_addr: bus,
            handle,
            status: 77,
            ..Default::default()
        }];
        grant_op(GNTTABOP_UNMAP_GRANT_REF, &mut request);
        request[0].status
    }

    fn entry(&self) -> Entry {
        Entry(memory::page_table_entry(self.hole.va).unwrap_or(0))
    }

    fn copy(&self, reference: u32, to_grant: bool, page: &Frame) -> i16 {
        let mut copy = [GnttabCopy { len: 8, status: 77, ..Default::default() }];
        let (granted, own) = if to_grant {
            copy[0].flags = GNTCOPY_DEST_GREF;
            let [GnttabCopy { source, dest, .. }] = &mut copy;
            (dest, source)
        } else {
            copy[0].flags = GNTCOPY_SOURCE_GREF;
            let [GnttabCopy { source, dest, .. }] = &mut copy;
            (source, dest)
        };
        granted.set_ref(reference);
        granted.domid = self.id;
        own.set_gmfn(page.mfn);
        own.domid = SELF as u16;
        grant_op(GNTTABOP_COPY, &mut copy);
        copy[0].status
    }

    fn size(&self) -> Answer {
        memory_op(3, &mut MemoryDomain { domid: self.id })
    }
}

fn grants(other: &Other) {
    let me = own_id();
    let ours = Frame::new();
    let pinned = other.frames[3];
    put!("table.pin", "{}", extended_as(0, pinned, 0, other.id.into()));
    for (name, flags, to, frame) in [
        ("plain", GTF_PERMIT_ACCESS, me, other.frames[0]),
        ("read-only", GTF_PERMIT_ACCESS | GTF_READONLY, me, other.frames[0]),
        ("marked-already", GTF_PERMIT_ACCESS | GTF_READING | GTF_WRITING, me, other.frames[0]),
        ("to-nobody", GTF_PERMIT_ACCESS, 0x1234, other.frames[0]),
        ("to-itself", GTF_PERMIT_ACCESS, other.id.into(), other.frames[0]),
        ("to-self", GTF_PERMIT_ACCESS, SELF, other.frames[0]),
        ("ours", GTF_PERMIT_ACCESS, me, ours.mfn),
        ("its-table", GTF_PERMIT_ACCESS, me, pinned),
        ("nothing", 0, me, other.frames[0]),
        ("transfer", GTF_ACCEPT_TRANSFER, me, other.frames[0]),
        ("vga", GTF_PERMIT_ACCESS, me, 0xb8),
        ("no-frame", GTF_PERMIT_ACCESS, me, 0xffff_ffff),
    ] {
        for (how, bits) in [
            ("host", GNTMAP_HOST_MAP),
            ("host-read", GNTMAP_HOST_MAP | GNTMAP_READONLY),
            ("device", GNTMAP_DEVICE_MAP),
            ("device-read", GNTMAP_DEVICE_MAP | GNTMAP_READONLY),
        ] {
            other.permit(10, flags, to, frame);
            let (status, handle, bus) = other.map(bits, 10);
            put!(format_args!("map.{name}.{how}"), "{status} {} grant {:#x}", other.entry(), other.flags(10));
            if status == 0 {
                let host = bits & GNTMAP_HOST_MAP != 0;
                let wrong = other.unmap(other.hole.va + 4096, 0, handle);
                let status =
                    other.unmap(if host { other.hole.va } else { 0 }, if host { 0 } else { bus }, handle);
                put!(format_args!("map.{name}.{how}.unmap"), "{wrong} {status} grant {:#x}", other.flags(10));
            }
        }
        other.permit(10, flags, to, frame);
        put!(
            format_args!("copy.{name}"),
            "{} {} {:#x}",
            other.copy(10, false, &ours),
            other.copy(10, true, &ours),
            other.flags(10)
        );
    }
    put!("table.unpin", "{}", extended_as(4, pinned, 0, other.id.into()));
}

/// The granter changes its entry while it is in use.
fn changed(other: &Other) {
    let me = own_id();
    other.permit(11, GTF_PERMIT_ACCESS | GTF_READONLY, me, other.frames[1]);
    let (status, handle, _) = other.map(GNTMAP_HOST_MAP | GNTMAP_READONLY, 11);
    put!("changed.map", "{status}");
    other.permit(11, GTF_PERMIT_ACCESS, me, other.frames[2]);
    let second = Frame::new();
    second.unmap();
    let mut request = [GnttabMapGrantRef {
        host_addr: second.va,
        flags: GNTMAP_HOST_MAP,
        ref_: 11,
        dom: other.id,
        status: 77,
        ..Default::default()
    }];
    grant_op(GNTTABOP_MAP_GRANT_REF, &mut request);
    let same = memory::page_table_entry(second.va).unwrap_or(0) >> 12 & 0xff_ffff_ffff == other.frames[1];
    put!("changed.write", "{} the first frame {same} grant {:#x}", request[0].status, other.flags(11));
    other.permit(11, 0, 0, 0);
    put!("changed.third", "{}", other.copy(11, false, &Frame::new()));
    put!("changed.unmap", "{} {:#x}", other.unmap(second.va, 0, request[0].handle), other.flags(11));
    put!("changed.unmap-first", "{} {:#x}", other.unmap(other.hole.va, 0, handle), other.flags(11));
    put!("changed.gone", "{}", other.map(GNTMAP_HOST_MAP, 11).0);
    // Replaced.
    other.permit(12, GTF_PERMIT_ACCESS, me, other.frames[1]);
    let (status, handle, _) = other.map(GNTMAP_HOST_MAP, 12);
    let spare = Frame::new();
    spare.write(0, 99);
    let mut replace = [GnttabUnmapAndReplace {
        host_addr: other.hole.va,
        new_addr: spare.va,
        handle,
        status: 77,
        ..Default::default()
    }];
    let answer = grant_op(GNTTABOP_UNMAP_AND_REPLACE, &mut replace);
    put!("replace", "{status} {answer} {} value {}", replace[0].status, other.hole.read(0));
    put!("replace.old-place", "{}", Entry(memory::page_table_entry(spare.va).unwrap_or(0)));
    put!("replace.grant", "{:#x}", other.flags(12));
    other.hole.unmap();
    spare.writable();
}

fn frames(other: &Other) {
    let me = own_id();
    other.permit(13, GTF_PERMIT_ACCESS, me, other.frames[4]);
    let (status, handle, _) = other.map(GNTMAP_HOST_MAP, 13);
    other.hole.write(0, 5);
    put!("given-up.map", "{status} {}", other.size());
    put!("given-up", "{} {}", memory_op(1, &mut list(other.id, &mut [other.frames[4]])), other.size());
    put!("given-up.value", "{}", other.hole.read(0));
    put!("given-up.copy", "{}", other.copy(13, false, &Frame::new()));
    put!("given-up.unmap", "{} {}", other.unmap(other.hole.va, 0, handle), other.size());
    put!("given-up.map-again", "{} {:#x}", other.map(GNTMAP_HOST_MAP, 13).0, other.flags(13));
    // What the frames are used for.
    for (name, count, bad_list) in [
        ("some", 6, 0),
        ("none", 0, bad::HOLE),
        ("hole", 1, bad::HOLE),
        ("unmapped", 1, bad::UNMAPPED),
        ("many", 1025, 0),
    ] {
        put!(format_args!("kinds.pin.{name}"), "{}", extended_as(1, other.frames[6], 0, other.id.into()));
        let mut kinds = [other.frames[5], other.frames[6], Frame::new().mfn, 0xb8, 1 << 40, other.frames[4]];
        let address = if bad_list == 0 { at(&mut kinds) } else { bad_list };
        let mut op = Domctl {
            cmd: XEN_DOMCTL_GETPAGEFRAMEINFO3,
            interface_version: XEN_DOMCTL_INTERFACE_VERSION,
            domain: other.id,
            ..Default::default()
        };
        op.set_getpageframeinfo3(DomctlGetpageframeinfo3 { num: count, array: GuestPtr::new(address) });
        let answer = call(DOMCTL, [at(&mut op), 0, 0, 0, 0]);
        // Frame numbers that were not replaced differ from run to run.
        let first = kinds.map(|kind| if (0x1000_0000..1 << 32).contains(&kind) { kind } else { 1 });
        put!(format_args!("kinds.{name}"), "{answer} {first:x?} left {}", op.as_getpageframeinfo3().num);
        extended_as(4, other.frames[6], 0, other.id.into());
    }
    let cliff = Cliff::new();
    place(cliff.before(16), [other.frames[5], other.frames[6]]);
    let mut op = Domctl {
        cmd: XEN_DOMCTL_GETPAGEFRAMEINFO3,
        interface_version: XEN_DOMCTL_INTERFACE_VERSION,
        domain: other.id,
        ..Default::default()
    };
    op.set_getpageframeinfo3(DomctlGetpageframeinfo3 { num: 3, array: GuestPtr::new(cliff.before(16)) });
    put!("kinds.cliff", "{}", call(DOMCTL, [at(&mut op), 0, 0, 0, 0]));
    for (name, mfn) in
        [("its", other.frames[7]), ("ours", Frame::new().mfn), ("none", 1 << 40), ("vga", 0xb8)]
    {
        let mut op = Domctl {
            cmd: XEN_DOMCTL_HYPERCALL_INIT,
            interface_version: XEN_DOMCTL_INTERFACE_VERSION,
            domain: other.id,
            ..Default::default()
        };
        op.set_hypercall_init(DomctlHypercallInit { gmfn: mfn });
        put!(format_args!("hypercall-page.{name}"), "{}", call(DOMCTL, [at(&mut op), 0, 0, 0, 0]));
    }
    for kib in [0, 1, 16, 4 * FRAMES as u64, 1 << 40, u64::MAX] {
        put!(
            format_args!("max-mem.{kib:x}"),
            "{:?} {}",
            domctl::set_max_memory(DomId(other.id), kib),
            memory_op(4, &mut MemoryDomain { domid: other.id })
        );
    }
}

struct Ports {
    unbound: u32,
    bound: u32,
    local: u32,
}

fn status(domain: u16, port: u32) -> alloc::string::String {
    let mut request = EvtchnStatus { dom: domain, port, ..Default::default() };
    let answer = event(EVTCHNOP_STATUS, &mut request);
    let (other, waits) = (request.as_interdomain(), request.as_unbound());
    match (answer.0, request.status) {
        (0, EVTCHNSTAT_INTERDOMAIN) => alloc::format!("to {}", other.dom),
        (0, EVTCHNSTAT_UNBOUND) => alloc::format!("for {}", waits.dom),
        (0, kind) => alloc::format!("kind {kind}"),
        _ => alloc::format!("{answer}"),
    }
}

fn channels(other: &Other) -> Ports {
    let alloc = |remote: u16| {
        let mut request = EvtchnAllocUnbound { dom: other.id, remote_dom: remote, ..Default::default() };
        let answer = event(EVTCHNOP_ALLOC_UNBOUND, &mut request);
        (answer, request.port)
    };
    let (first, bound) = alloc(own_id() as u16);
    let (second, unbound) = alloc(own_id() as u16);
    let (third, wrong) = alloc(0x1234);
    put!("channel.alloc", "{first} {second} {third} ports {bound} {unbound} {wrong}");
    let bind = |port: u32| {
        let mut request =
            EvtchnBindInterdomain { remote_dom: other.id, remote_port: port, ..Default::default() };
        let answer = event(EVTCHNOP_BIND_INTERDOMAIN, &mut request);
        (answer, request.local_port)
    };
    put!("channel.bind.wrong", "{} {} {}", bind(wrong).0, bind(0).0, bind(1023).0);
    let (answer, local) = bind(bound);
    put!("channel.bind", "{answer}");
    put!(
        "channel.status",
        "{} {} {} {}",
        status(other.id, bound),
        status(SELF as u16, local),
        status(other.id, unbound),
        status(other.id, wrong)
    );
    put!("channel.send", "{}", event(EVTCHNOP_SEND, &mut EvtchnSend { port: local }));
    put!("channel.bind.twice", "{}", bind(bound).0);
    let (again, local_again) = bind(unbound);
    put!("channel.second", "{again}");
    put!("channel.second.close", "{}", event(EVTCHNOP_CLOSE, &mut EvtchnClose { port: local_again }));
    put!("channel.second.status", "{}", status(other.id, unbound));
    put!("channel.reset.none", "{}", event(EVTCHNOP_RESET, &mut EvtchnReset { dom: 0x1234 }));
    Ports { unbound, bound, local }
}

/// The domain goes while its frames, grants and channels are in use.
fn end(other: &Other, ports: &Ports) {
    let me = own_id();
    for number in 20..24 {
        other.permit(number, GTF_PERMIT_ACCESS, me, other.frames[number as usize - 12]);
    }
    let (status_of_map, handle, _) = other.map(GNTMAP_HOST_MAP, 20);
    other.hole.write(0, 42);
    put!("end.map", "{status_of_map}");
    put!("end.destroy", "{:?}", domctl::destroy(DomId(other.id)));
    put!("end.value", "{}", other.hole.read(0));
    put!("end.table", "{:#x} {:#x}", other.flags(20), other.flags(21));
    put!("end.channel", "{} {}", status(SELF as u16, ports.local), status(other.id, ports.unbound));
    put!("end.channel.bound", "{}", status(other.id, ports.bound));
    put!("end.send", "{}", event(EVTCHNOP_SEND, &mut EvtchnSend { port: ports.local }));
    let mut request = EvtchnAllocUnbound { dom: other.id, remote_dom: me as u16, ..Default::default() };
    put!("end.alloc", "{}", event(EVTCHNOP_ALLOC_UNBOUND, &mut request));
    let mut request =
        EvtchnBindInterdomain { remote_dom: other.id, remote_port: ports.unbound, ..Default::default() };
    put!("end.bind", "{}", event(EVTCHNOP_BIND_INTERDOMAIN, &mut request));
    put!("end.reset", "{}", event(EVTCHNOP_RESET, &mut EvtchnReset { dom: other.id }));
    let spare = Frame::new();
    put!("end.copy", "{}", other.copy(21, false, &spare));
    let mut map = [GnttabMapGrantRef {
        host_addr: spare.va,
        flags: GNTMAP_HOST_MAP,
        ref_: 21,
        dom: other.id,
        status: 77,
        ..Default::default()
    }];
    put!("end.map-another", "{} {}", grant_op(GNTTABOP_MAP_GRANT_REF, &mut map), map[0].status);
    let mut map = [GnttabMapGrantRef {
        host_addr: spare.va,
        flags: GNTMAP_HOST_MAP,
        ref_: 20,
        dom: other.id,
        status: 77,
        ..Default::default()
    }];
    put!("end.map-same", "{} {}", grant_op(GNTTABOP_MAP_GRANT_REF, &mut map), map[0].status);
    let mut query = [GnttabQuerySize { dom: other.id, status: 77, ..Default::default() }];
    put!(
        "end.query",
        "{} {} {}",
        grant_op(GNTTABOP_QUERY_SIZE, &mut query),
        query[0].status,
        query[0].nr_frames
    );
    put!("end.populate", "{}", memory_op(6, &mut list(other.id, &mut [40])));
    put!("end.decrease", "{}", memory_op(1, &mut list(other.id, &mut [other.frames[8]])));
    put!("end.size", "{}", other.size());
    put!(
        "end.foreign",
        "{}",
        call(UPDATE_VA_MAPPING_OTHERDOMAIN, [spare.va, other.frames[8] << 12 | 7, 2, other.id.into(), 0])
    );
    put!(
        "end.foreign.freed",
        "{}",
        call(UPDATE_VA_MAPPING_OTHERDOMAIN, [spare.va, other.frames[9] << 12 | 7, 2, other.id.into(), 0])
    );
    put!("end.pin", "{}", extended_as(0, other.frames[8], 0, other.id.into()));
    put!("end.clear", "{}", extended_as(16, other.frames[8], 0, other.id.into()));
    put!("end.value-again", "{}", other.hole.read(0));
    spare.writable();
    put!("end.unmap", "{}", other.unmap(other.hole.va, 0, handle));
    put!("end.unmap-again", "{}", other.unmap(other.hole.va, 0, handle));
    put!("end.unmap-table", "{}", other.table.unmap());
    put!("end.size.then", "{}", other.size());
    put!("end.destroy-again", "{:?}", domctl::destroy(DomId(other.id)));
    put!(
        "end.close",
        "{} {}",
        status(SELF as u16, ports.local),
        event(EVTCHNOP_CLOSE, &mut EvtchnClose { port: ports.local })
    );
    let mut map = [GnttabMapGrantRef {
        host_addr: other.hole.va,
        flags: GNTMAP_HOST_MAP,
        ref_: 21,
        dom: other.id,
        status: 77,
        ..Default::default()
    }];
    put!("end.map-gone", "{} {}", grant_op(GNTTABOP_MAP_GRANT_REF, &mut map), map[0].status);
}

#[domu_sdk::main]
fn main() {
    conformance::area("between");
    match create() {
        None => put!("create", "failed"),
        Some(other) => {
            grants(&other);
            changed(&other);
            frames(&other);
            let ports = channels(&other);
            end(&other, &ports);
        }
    }
    conformance::done();
}
