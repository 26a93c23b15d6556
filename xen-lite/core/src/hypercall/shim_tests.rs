//! The shims of event channels, scheduling, vCPUs, grants and the console, called as a guest calls them.

use abi::event_channel::*;
use abi::grant_table::*;
use abi::sched::*;
use abi::vcpu::*;
use abi::xen::hypercall as number;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Args, dispatch};
use crate::addr::{GuestVirt, Mfn};
use crate::domain::Life;
use crate::effects::Todo;
use crate::effort::effort;
use crate::fail::{Errno, Fail};
use crate::mm::testing::{Space, space, space_of};
use crate::platform::Platform;
use crate::sched::tests::Random;
use crate::trap::info;

/// Where the tests' structures are.
const AT: u64 = 0x2000;

fn call(space: &Space, number: u64, args: Args) -> Result<i64, Fail> {
    space.call(|hv, caller| dispatch(hv, caller, number, &mut { args }).map(|done| done.value))
}

fn put<T: IntoBytes + Immutable>(space: &Space, value: &T) {
    space.hv.platform.copy_out(GuestVirt::new(AT), value.as_bytes()).unwrap();
}

fn get<T: FromBytes + IntoBytes>(space: &Space) -> T {
    let mut value = T::new_zeroed();
    space.hv.platform.copy_in(GuestVirt::new(AT), value.as_mut_bytes()).unwrap();
    value
}

fn event<T: IntoBytes + Immutable>(space: &Space, command: u32, op: &T) -> Result<i64, Fail> {
    put(space, op);
    call(space, number::EVENT_CHANNEL_OP, [command.into(), AT, 0, 0, 0, 0])
}

fn ready() -> Space {
    let space = space();
    prepare(&space);
    space
}

fn prepare(space: &Space) {
    let vcpu = &space.domain.vcpus()[0];
    vcpu.set_info(space.domain.shared_info.address());
    vcpu.initialised.store(1, core::sync::atomic::Ordering::Relaxed);
    let _ = space.hv.sched.up(&space.hv, vcpu);
}

#[test]
fn event_operations_copy_in_and_out() {
    let space = ready();
    let own = abi::xen::DOMID_SELF;
    let unbound = EvtchnAllocUnbound { dom: own, remote_dom: own, port: 0 };
    assert_eq!(event(&space, EVTCHNOP_ALLOC_UNBOUND, &unbound), Ok(0));
    assert_eq!(get::<EvtchnAllocUnbound>(&space).port, 1);
    let bind = EvtchnBindInterdomain { remote_dom: own, remote_port: 1, ..Default::default() };
    assert_eq!(event(&space, EVTCHNOP_BIND_INTERDOMAIN, &bind), Ok(0));
    assert_eq!(get::<EvtchnBindInterdomain>(&space).local_port, 2);
    assert_eq!(event(&space, EVTCHNOP_SEND, &EvtchnSend { port: 2 }), Ok(0));
    let ask = EvtchnStatus { dom: own, port: 2, status: 99, ..Default::default() };
    assert_eq!(event(&space, EVTCHNOP_STATUS, &ask), Ok(0));
    let status = get::<EvtchnStatus>(&space);
    assert_eq!(status.status, EVTCHNSTAT_INTERDOMAIN);
    assert_eq!((status.as_interdomain().dom, status.as_interdomain().port), (space.domain.id.raw(), 1));
    assert_eq!(event(&space, EVTCHNOP_BIND_PIRQ, &EvtchnBindPirq::default()), Err(Errno::EPERM.into()));
    let none = EvtchnBindPirq { pirq: u32::MAX, ..EvtchnBindPirq::default() };
    assert_eq!(event(&space, EVTCHNOP_BIND_PIRQ, &none), Err(Errno::EINVAL.into()));
    assert_eq!(event(&space, 14, &0u64), Err(Errno::ENOSYS.into()));
    // Of others only a control domain may make or see ports.
    let foreign = EvtchnAllocUnbound { dom: 2, remote_dom: 1, port: 0 };
    assert_eq!(event(&space, EVTCHNOP_ALLOC_UNBOUND, &foreign), Err(Errno::EPERM.into()));
    let missing = EvtchnAllocUnbound { dom: 55, remote_dom: 1, port: 0 };
    assert_eq!(event(&space, EVTCHNOP_ALLOC_UNBOUND, &missing), Err(Errno::ESRCH.into()));
    let ask = EvtchnStatus { dom: 2, ..ask };
    assert_eq!(event(&space, EVTCHNOP_STATUS, &ask), Err(Errno::EPERM.into()));
    assert_eq!(event(&space, EVTCHNOP_RESET, &EvtchnReset { dom: 2 }), Err(Errno::EPERM.into()));
    assert_eq!(event(&space, EVTCHNOP_RESET, &EvtchnReset { dom: own }), Ok(0));
    // The older form finds its arguments behind the command.
    put(&space, &[EVTCHNOP_BIND_IPI, 0, 0]);
    assert_eq!(call(&space, number::EVENT_CHANNEL_OP_COMPAT, [AT, 0, 0, 0, 0, 0]), Ok(0));
    assert_eq!(get::<[u32; 3]>(&space)[2], 1);
}

#[test]
fn a_port_that_cannot_be_told_is_closed_again() {
    let space = ready();
    put(&space, &EvtchnBindIpi { vcpu: 0, port: 0 });
    // The page of the L1 table is mapped read-only: the answer cannot be written there.
    let read_only = space.va_of_l1();
    let args = [EVTCHNOP_BIND_IPI.into(), read_only + 0x800, 0, 0, 0, 0];
    assert_eq!(call(&space, number::EVENT_CHANNEL_OP, args), Err(Errno::EFAULT.into()));
    assert_eq!(crate::event::alloc_unbound(&space.hv, &space.domain, space.domain.id).unwrap().raw(), 1);
    for address in [0xffff_8000_0000_0000, u64::MAX, 0x8000_0000_0000, 1 << 30] {
        let args = [EVTCHNOP_SEND.into(), address, 0, 0, 0, 0];
        assert_eq!(call(&space, number::EVENT_CHANNEL_OP, args), Err(Errno::EFAULT.into()), "{address:#x}");
    }
}

#[test]
fn scheduling_operations() {
    let space = ready();
    let vcpu = &space.domain.vcpus()[0];
    let sched = |command: u32| call(&space, number::SCHED_OP, [command.into(), AT, 0, 0, 0, 0]);
    info::set_masked(&space.hv, vcpu, true);
    assert_eq!(sched(SCHEDOP_BLOCK), Ok(0));
    assert!(!info::masked(&space.hv, vcpu), "blocking unmasks");
    assert!(!crate::sched::is_runnable(vcpu));
    let _ = space.hv.sched.unblock(&space.hv, vcpu);
    assert_eq!(sched(SCHEDOP_YIELD), Ok(0));
    put(&space, &SchedPoll { nr_ports: 129, ..Default::default() });
    assert_eq!(sched(SCHEDOP_POLL), Err(Errno::EINVAL.into()));
    put(&space, &SchedPinOverride { pcpu: 0 });
    assert_eq!(sched(SCHEDOP_PIN_OVERRIDE), Err(Errno::EPERM.into()));
    put(&space, &SchedRemoteShutdown { domain_id: 2, ..Default::default() });
    assert_eq!(sched(SCHEDOP_REMOTE_SHUTDOWN), Err(Errno::EPERM.into()));
    for (id, timeout, answer) in [
        (0, 0, Err(Errno::EINVAL.into())),
        (0, 5, Ok(1)),
        (0, 5, Ok(2)),
        (0, 5, Ok(i64::from(-28_i32 as u32))),
        (3, 5, Err(Errno::EINVAL.into())),
        (1, 0, Ok(0)),
        (1, 5, Err(Errno::EINVAL.into())),
        (u32::MAX, u32::MAX, Err(Errno::EINVAL.into())),
    ] {
        put(&space, &SchedWatchdog { id, timeout });
        assert_eq!(sched(SCHEDOP_WATCHDOG), answer, "watchdog {id} {timeout}");
    }
    assert_eq!(sched(8), Err(Errno::ENOSYS.into()));
    put(&space, &SchedShutdown { reason: SHUTDOWN_REBOOT });
    assert_eq!(sched(SCHEDOP_SHUTDOWN_CODE), Ok(0));
    // The older form; its reason does not matter, since one was latched.
    assert_eq!(call(&space, number::SCHED_OP_COMPAT, [SCHEDOP_SHUTDOWN.into(), 0xfc, 0, 0, 0, 0]), Ok(0));
    assert_eq!(space.domain.life(), Life::ShutDown);
    assert_eq!(space.domain.shutdown_reason.load(core::sync::atomic::Ordering::Relaxed), SHUTDOWN_REBOOT);
}

#[test]
fn timers_take_absolute_times_and_doubt_absurd_ones() {
    let space = ready();
    let vcpu = &space.domain.vcpus()[0];
    space.hv.platform.set_now(1_000_000);
    let set = |at: u64| call(&space, number::SET_TIMER_OP, [at, 0, 0, 0, 0, 0]);
    for (at, deadline) in [
        (5_000_000, 5_000_000),
        (1, 1),
        (u64::MAX, 101_000_000),
        (1 << 63, 101_000_000),
        (1 << 60, 101_000_000),
        (0, u64::MAX),
    ] {
        assert_eq!(set(at), Ok(0));
        assert_eq!(vcpu.time.singleshot(), deadline, "{at:#x}");
    }
    let vcpu_op = |command: u32| call(&space, number::VCPU_OP, [command.into(), 0, AT, 0, 0, 0]);
    put(
        &space,
        &VcpuSetSingleshotTimer { timeout_abs_ns: 7, flags: VCPU_SSHOTTMR_FUTURE, ..Default::default() },
    );
    assert_eq!(vcpu_op(VCPUOP_SET_SINGLESHOT_TIMER), Ok(0), "the flag is not looked at");
    put(&space, &VcpuSetSingleshotTimer { timeout_abs_ns: 7, flags: 0, ..Default::default() });
    assert_eq!(vcpu_op(VCPUOP_SET_SINGLESHOT_TIMER), Ok(0));
    assert_eq!(vcpu.time.singleshot(), 7);
    assert_eq!(vcpu_op(VCPUOP_STOP_SINGLESHOT_TIMER), Ok(0));
    put(&space, &VcpuSetPeriodicTimer { period_ns: 10 });
    assert_eq!(vcpu_op(VCPUOP_SET_PERIODIC_TIMER), Err(Errno::EINVAL.into()));
    assert_eq!(vcpu_op(VCPUOP_STOP_PERIODIC_TIMER), Ok(0));
}

#[test]
fn vcpu_operations() {
    let space = ready();
    let vcpu = &space.domain.vcpus()[0];
    let op = |command: u32, vcpu: u64| call(&space, number::VCPU_OP, [command.into(), vcpu, AT, 0, 0, 0]);
    assert_eq!(op(VCPUOP_IS_UP, 0), Ok(1));
    for missing in [1, 8191, u64::from(u32::MAX)] {
        assert_eq!(op(VCPUOP_IS_UP, missing), Err(Errno::ENOENT.into()));
    }
    assert_eq!(op(VCPUOP_INITIALISE, 0), Err(Errno::EEXIST.into()));
    assert_eq!(op(VCPUOP_UP, 0), Ok(0));
    assert_eq!(op(14, 0), Err(Errno::ENOSYS.into()));
    assert_eq!(op(VCPUOP_GET_PHYSID, 0), Err(Errno::EINVAL.into()));
    assert_eq!(op(VCPUOP_GET_RUNSTATE_INFO, 0), Ok(0));
    assert_eq!(op(VCPUOP_SEND_NMI, 0), Ok(0));
    assert_eq!(vcpu.pending.load(core::sync::atomic::Ordering::Relaxed), 1);
    let register = |mfn: Mfn, offset: u32| {
        put(&space, &VcpuRegisterVcpuInfo { mfn: mfn.raw(), offset, rsvd: 0 });
        op(VCPUOP_REGISTER_VCPU_INFO, 0)
    };
    let page = space.spare(0);
    for offset in [4033, 4, u32::MAX] {
        assert_eq!(register(page, offset), Err(Errno::ENXIO.into()), "{offset}");
    }
    for (mfn, offset) in [(space.foreign, 0), (space.l1, 0), (Mfn::INVALID, 0)] {
        assert_eq!(register(mfn, offset), Err(Errno::EINVAL.into()), "{mfn} {offset}");
    }
    assert_eq!(register(space.domain.shared_info, 64), Ok(0));
    space.audit();
    info::set_masked(&space.hv, vcpu, true);
    assert_eq!(register(page, 4032), Ok(0));
    assert!(info::masked(&space.hv, vcpu), "the contents moved");
    assert!(info::upcall_pending(&space.hv, vcpu), "everything may be pending");
    assert_eq!(space.hv.platform.load(page, 505), u64::MAX);
    assert_eq!(register(page, 0), Err(Errno::EINVAL.into()), "once only");
    space.audit();
    assert_eq!(op(VCPUOP_DOWN, 0), Ok(0));
    assert_eq!(space.domain.life(), Life::ShutDown, "the last vCPU went down");
}

#[test]
fn calls_about_devices_of_a_domain_without_any() {
    let space = ready();
    let device = |command: u64| call(&space, number::PHYSDEV_OP, [command, AT, 0, 0, 0, 0]);
    put(&space, &[7_u32, 0]);
    assert_eq!(device(5), Ok(0));
    assert_eq!(get::<[u32; 2]>(&space), [7, 1], "it wants to be told the end");
    put(&space, &[200_u32, 0]);
    assert_eq!(device(5), Err(Errno::EINVAL.into()), "as many as there are");
    put(&space, &[u64::from(abi::xen::DOMID_SELF), 0, 0, 0, 0]);
    for (command, errno) in [
        (8, Errno::EPERM),
        (10, Errno::EPERM),
        (11, Errno::ENOSYS),
        (12, Errno::EINVAL),
        (13, Errno::EPERM),
        (14, Errno::EPERM),
        (16, Errno::EPERM),
        (19, Errno::ENODEV),
        (24, Errno::EPERM),
        (25, Errno::EPERM),
        (28, Errno::EINVAL),
        (30, Errno::EPERM),
        (32, Errno::ENOSYS),
    ] {
        assert_eq!(device(command), Err(errno.into()), "{command}");
    }
    put(&space, &[0x6fff_u64, 0, 0, 0, 0]);
    assert_eq!(device(13), Err(Errno::ESRCH.into()));
    let model =
        |domain: u64, count: u64, list: u64| call(&space, number::DM_OP, [domain, count, list, 0, 0, 0]);
    for (domain, count, list, errno) in [
        (2, 0, AT, Errno::ENODATA),
        (2, 3, AT, Errno::E2BIG),
        (2, 1, 0xffff_8000_0000_0000, Errno::EFAULT),
        (0x7ff0, 1, AT, Errno::ESRCH),
        (1, 1, AT, Errno::EPERM),
        (2, 1, AT, Errno::EINVAL),
    ] {
        assert_eq!(model(domain, count, list), Err(errno.into()), "{domain} {count}");
    }
    assert_eq!(call(&space, number::ARCH_0, [AT, 0, 0, 0, 0, 0]), Err(Errno::EPERM.into()));
}

#[test]
fn the_console_is_the_first_domains() {
    let space = ready();
    let io = |args| call(&space, number::CONSOLE_IO, args);
    assert_eq!(io([0, 4, AT, 0, 0, 0]), Err(Errno::EPERM.into()));
}

fn table_of(space: &Space, nr_frames: u32) -> GnttabSetupTable {
    let own = abi::xen::DOMID_SELF;
    put(
        space,
        &GnttabSetupTable {
            dom: own,
            nr_frames,
            frame_list: abi::GuestPtr::new(AT + 0x100),
            ..Default::default()
        },
    );
    let args = [GNTTABOP_SETUP_TABLE.into(), AT, 1, 0, 0, 0];
    assert_eq!(call(space, number::GRANT_TABLE_OP, args), Ok(0));
    get(space)
}

#[test]
fn grant_tables_are_set_up_and_asked_about() {
    let space = ready();
    let op =
        |command: u32, count: u64| call(&space, number::GRANT_TABLE_OP, [command.into(), AT, count, 0, 0, 0]);
    assert_eq!(table_of(&space, 2).status, GNTST_OKAY);
    let list: [u64; 2] = [0, 8].map(|n| {
        let mut word = [0; 8];
        space.hv.platform.copy_in(GuestVirt::new(AT + 0x100 + n), &mut word).unwrap();
        u64::from_le_bytes(word)
    });
    assert!(
        list.iter()
            .all(|mfn| space.hv.frames.owner(Mfn::new(*mfn)) == crate::frame::Owner::Lent(space.domain.id))
    );
    assert_eq!(table_of(&space, 65).status, GNTST_GENERAL_ERROR);
    put(&space, &GnttabQuerySize { dom: abi::xen::DOMID_SELF, ..Default::default() });
    assert_eq!(op(GNTTABOP_QUERY_SIZE, 1), Ok(0));
    let size = get::<GnttabQuerySize>(&space);
    assert_eq!((size.nr_frames, size.max_nr_frames, size.status), (2, 64, GNTST_OKAY));
    for (dom, status) in [(2, GNTST_PERMISSION_DENIED), (77, GNTST_BAD_DOMAIN)] {
        put(&space, &GnttabQuerySize { dom, ..Default::default() });
        assert_eq!(op(GNTTABOP_QUERY_SIZE, 1), Ok(0));
        assert_eq!(get::<GnttabQuerySize>(&space).status, status);
    }
    assert_eq!(op(GNTTABOP_QUERY_SIZE, 2), Err(Errno::EINVAL.into()));
    for (version, answer) in [(1, Ok(0)), (2, Err(Errno::ENOSYS.into())), (3, Err(Errno::EINVAL.into()))] {
        put(&space, &GnttabSetVersion { version });
        assert_eq!(op(GNTTABOP_SET_VERSION, 1), answer);
        assert_eq!(get::<GnttabSetVersion>(&space).version, 1);
    }
    let own = space.data(1).raw() << 12;
    for (address, length, what, answer) in [
        (own, 64, GNTTAB_CACHE_CLEAN, Ok(0)),
        (own, 0, GNTTAB_CACHE_CLEAN, Ok(0)),
        (own, 4097, GNTTAB_CACHE_CLEAN, Err(Errno::EINVAL.into())),
        (own, 64, 4, Err(Errno::EINVAL.into())),
        (own, 64, GNTTAB_CACHE_INVAL, Err(Errno::EOPNOTSUPP.into())),
        (space.foreign.raw() << 12, 64, GNTTAB_CACHE_CLEAN, Err(Errno::EINVAL.into())),
        (1 << 50, 64, GNTTAB_CACHE_CLEAN, Err(Errno::EINVAL.into())),
    ] {
        let mut flush = GnttabCacheFlush { length, op: what, ..Default::default() };
        flush.set_dev_bus_addr(address);
        put(&space, &flush);
        assert_eq!(op(GNTTABOP_CACHE_FLUSH, 1), answer, "{address:#x} {length} {what}");
    }
    assert_eq!(op(99, 1), Err(Errno::ENOSYS.into()));
    assert_eq!(op(GNTTABOP_MAP_GRANT_REF, 1 << 31), Err(Errno::EINVAL.into()));
}

/// Mapping and unmapping in one call each, interrupted between any two: all is done once, and the translations are flushed before the
/// granter sees its entries free.
#[test]
fn batches_of_grants_go_on_where_they_were_interrupted() {
    let space = ready();
    let (hv, other) = (&space.hv, &space.other);
    let table = crate::grant::frame(hv, other, 0).unwrap();
    let entry =
        u64::from(GTF_PERMIT_ACCESS) | u64::from(space.domain.id.raw()) << 16 | space.foreign.raw() << 32;
    (0..5).for_each(|n| hv.platform.store(table, n, entry));
    let ops = [0u32, 1, 2, 3, 4].map(|n| GnttabMapGrantRef {
        host_addr: 0x6000 + u64::from(n) * 0x1000,
        flags: GNTMAP_HOST_MAP,
        ref_: n,
        dom: other.id.raw(),
        ..Default::default()
    });
    put(&space, &ops);
    let run = |command: u32| {
        hv.platform.interrupt_every(2);
        let mut args: Args = [command.into(), AT, 5, 0, 0, 0];
        let mut rounds = 0;
        let result = loop {
            match space.call(|hv, caller| dispatch(hv, caller, number::GRANT_TABLE_OP, &mut args)) {
                Err(Fail::Again) => rounds += 1,
                other => break other.map(|done| done.value),
            }
        };
        hv.platform.interrupt_every(0);
        (result, rounds)
    };
    assert_eq!(run(GNTTABOP_MAP_GRANT_REF), (Ok(0), 2));
    let done = get::<[GnttabMapGrantRef; 5]>(&space);
    assert!(done.iter().enumerate().all(|(n, op)| op.status == GNTST_OKAY && op.handle == n as u32));
    assert_eq!(done[0].dev_bus_addr, space.foreign.raw() << 12);
    space.audit();
    let ops = [0u32, 1, 2, 3, 9].map(|n| GnttabUnmapGrantRef {
        host_addr: 0x6000 + u64::from(n) * 0x1000,
        handle: n,
        ..Default::default()
    });
    put(&space, &ops);
    let before = hv.platform.flushes.lock().unwrap().len();
    assert_eq!(run(GNTTABOP_UNMAP_GRANT_REF), (Ok(0), 2));
    assert!(hv.platform.flushes.lock().unwrap().len() > before);
    let status = get::<[GnttabUnmapGrantRef; 5]>(&space).map(|op| op.status);
    assert_eq!(status, [GNTST_OKAY, GNTST_OKAY, GNTST_OKAY, GNTST_OKAY, GNTST_BAD_HANDLE]);
    assert_eq!([0, 3, 4].map(|n| hv.platform.load(table, n) as u16), [1, 1, 1 | GTF_READING | GTF_WRITING]);
    space.audit();
}

#[test]
fn copies_by_number_are_of_ones_own_frames() {
    let space = ready();
    let own = |mfn: Mfn| {
        let mut side = GnttabCopyPtr { domid: abi::xen::DOMID_SELF, ..Default::default() };
        side.set_gmfn(mfn.raw());
        side
    };
    let foreign = GnttabCopyPtr { domid: 2, ..own(space.foreign) };
    let run = |source, dest| {
        put(&space, &GnttabCopy { source, dest, len: 8, ..Default::default() });
        assert_eq!(call(&space, number::GRANT_TABLE_OP, [GNTTABOP_COPY.into(), AT, 1, 0, 0, 0]), Ok(0));
        get::<GnttabCopy>(&space).status
    };
    space.hv.platform.store(space.data(7), 0, 0x1122);
    assert_eq!(run(own(space.data(7)), own(space.data(8))), GNTST_OKAY);
    assert_eq!(space.hv.platform.load(space.data(8), 0), 0x1122);
    assert_eq!(run(foreign, own(space.data(8))), GNTST_PERMISSION_DENIED);
    assert_eq!(run(own(space.data(8)), foreign), GNTST_PERMISSION_DENIED);
    assert_eq!(run(own(space.foreign), own(space.data(8))), GNTST_BAD_PAGE);
    put(&space, &GnttabTransfer { mfn: space.data(7).raw(), domid: 2, ..Default::default() });
    assert_eq!(call(&space, number::GRANT_TABLE_OP, [GNTTABOP_TRANSFER.into(), AT, 1, 0, 0, 0]), Ok(0));
    assert_eq!(get::<GnttabTransfer>(&space).status, GNTST_BAD_PAGE);
}

/// Random arguments to all of these calls: errors, never a panic, and everything is counted right afterwards.
#[test]
fn random_calls_are_survived() {
    let calls = [
        (number::EVENT_CHANNEL_OP, 14),
        (number::SCHED_OP, 9),
        (number::SCHED_OP_COMPAT, 4),
        (number::SET_TIMER_OP, 1),
        (number::VCPU_OP, 15),
        (number::GRANT_TABLE_OP, 14),
        (number::CONSOLE_IO, 3),
        (number::EVENT_CHANNEL_OP_COMPAT, 1),
    ];
    for privileged in [false, true] {
        let space = space_of(privileged);
        prepare(&space);
        let mut random = Random(11);
        let odd = [0, 1, 2, 3, 7, 64, 4096, 1 << 31, u64::MAX, 0xffff_8000_0000_0000, AT, 0x7ff0];
        for _ in 0..effort(20_000, 20) {
            let (number, commands) = calls[random.below(8) as usize];
            for word in 0..64 {
                let small = [
                    random.below(8),
                    random.below(1 << 13),
                    space.frames[random.below(32) as usize].raw(),
                    odd[random.below(12) as usize],
                ];
                let value = small[random.below(4) as usize] | random.below(4) << 32;
                space.hv.platform.copy_out(GuestVirt::new(AT + word * 8), &value.to_le_bytes()).unwrap();
            }
            let at = if random.below(10) == 0 { odd[random.below(12) as usize] } else { AT };
            let args = [random.below(commands), at, 1 + random.below(3), random.next(), random.next(), 0];
            let args = if number == number::VCPU_OP { [args[0], random.below(2), at, 0, 0, 0] } else { args };
            let _ = call(&space, number, args);
            let vcpu = &space.domain.vcpus()[0];
            space.domain.resume();
            let _ = space.hv.sched.up(&space.hv, vcpu);
        }
        space.audit();
        let _ = Todo::empty();
    }
}
