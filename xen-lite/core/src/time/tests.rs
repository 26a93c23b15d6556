//! Tests of timers and clocks.

use abi::xen::{VIRQ_TIMER, VcpuTimeInfo};
use zerocopy::FromBytes;

use super::*;
use crate::addr::{EvtchnPort, VcpuId};
use crate::domain::Domain;
use crate::hypervisor::Hypervisor;
use crate::sched::tests::{guest, machine_of};
use crate::world::World;

const MS: u64 = 1_000_000;

fn timed_guest(hv: &Hypervisor<World>) -> (Arc<Domain>, Arc<Vcpu>, EvtchnPort) {
    let domain = guest(hv, 1, 1);
    let vcpu = domain.vcpus()[0].clone();
    let port = crate::event::bind_virq(hv, &domain, VIRQ_TIMER, VcpuId::new(0)).unwrap();
    let now = hv.platform.now();
    let _ = hv.sched.schedule(hv, CpuId::new(0), now);
    (domain, vcpu, port)
}

fn tick_at(hv: &Hypervisor<World>, now: u64) -> Effects {
    hv.platform.set_now(now);
    tick(hv, CpuId::new(0), now)
}

fn fired(hv: &Hypervisor<World>, domain: &Domain, port: EvtchnPort) -> bool {
    let fired = crate::event::is_pending(hv, domain, port).unwrap();
    hv.platform.store(domain.shared_info, 256, 0);
    fired
}

#[test]
fn a_single_shot_timer_fires_once_and_the_hardware_is_programmed_for_it() {
    let hv = machine_of(32, 1);
    let (domain, vcpu, port) = timed_guest(&hv);
    set_singleshot(&hv, &vcpu, 5 * MS);
    assert_eq!(hv.platform.timer(), 5 * MS);
    let _ = tick_at(&hv, 5 * MS - 1);
    assert!(!fired(&hv, &domain, port));
    let _ = tick_at(&hv, 5 * MS);
    assert!(fired(&hv, &domain, port));
    assert_eq!(hv.platform.timer(), NEVER);
    let _ = tick_at(&hv, 50 * MS);
    assert!(!fired(&hv, &domain, port));
}

#[test]
fn an_earlier_deadline_reprograms_and_a_later_one_only_fires_later() {
    let hv = machine_of(32, 1);
    let (domain, vcpu, port) = timed_guest(&hv);
    set_singleshot(&hv, &vcpu, 9 * MS);
    set_singleshot(&hv, &vcpu, 3 * MS);
    assert_eq!(hv.platform.timer(), 3 * MS);
    set_singleshot(&hv, &vcpu, 7 * MS);
    let _ = tick_at(&hv, 3 * MS);
    assert!(!fired(&hv, &domain, port));
    assert_eq!(hv.platform.timer(), 7 * MS);
    set_singleshot(&hv, &vcpu, NEVER);
    let _ = tick_at(&hv, 7 * MS);
    assert!(!fired(&hv, &domain, port));
    assert_eq!(hv.platform.timer(), NEVER);
}

#[test]
fn a_deadline_in_the_past_fires_at_once() {
    let hv = machine_of(32, 1);
    let (domain, vcpu, port) = timed_guest(&hv);
    hv.platform.set_now(9 * MS);
    set_singleshot(&hv, &vcpu, 2 * MS);
    assert_eq!(hv.platform.timer(), 2 * MS);
    let _ = tick_at(&hv, 9 * MS);
    assert!(fired(&hv, &domain, port));
}

#[test]
fn a_periodic_timer_keeps_its_beat_and_skips_what_was_missed() {
    let hv = machine_of(32, 1);
    let (domain, vcpu, port) = timed_guest(&hv);
    assert_eq!(set_periodic(&hv, &vcpu, MIN_PERIOD - 1), Err(Errno::EINVAL));
    assert_eq!(set_periodic(&hv, &vcpu, u64::MAX), Err(Errno::EINVAL));
    set_periodic(&hv, &vcpu, 10 * MS).unwrap();
    let start = hv.platform.now();
    for beat in 1..4 {
        assert_eq!(hv.platform.timer(), start + beat * 10 * MS);
        let _ = tick_at(&hv, start + beat * 10 * MS + 100);
        assert!(fired(&hv, &domain, port));
    }
    let _ = tick_at(&hv, start + 75 * MS);
    assert!(fired(&hv, &domain, port));
    assert_eq!(hv.platform.timer(), start + 80 * MS);
    set_periodic(&hv, &vcpu, 0).unwrap();
    let _ = tick_at(&hv, start + 80 * MS);
    assert!(!fired(&hv, &domain, port));
}

#[test]
fn a_blocked_vcpu_is_woken_by_its_timer() {
    let hv = machine_of(32, 1);
    let (_domain, vcpu, _) = timed_guest(&hv);
    set_singleshot(&hv, &vcpu, 4 * MS);
    let _ = hv.sched.block(&hv, &vcpu);
    assert!(hv.sched.schedule(&hv, CpuId::new(0), 2).next.is_none());
    let effects = tick_at(&hv, 4 * MS);
    assert!(effects.todo.contains(Todo::RESCHEDULE));
    assert!(hv.sched.schedule(&hv, CpuId::new(0), 4 * MS).next.is_some());
}

#[test]
fn the_end_of_a_slice_asks_for_another_choice() {
    let hv = machine_of(32, 1);
    let _domains = [guest(&hv, 1, 1), guest(&hv, 2, 1)];
    let deadline = hv.sched.schedule(&hv, CpuId::new(0), 1).deadline;
    assert!(!tick_at(&hv, deadline - 1).todo.contains(Todo::RESCHEDULE));
    assert_eq!(hv.platform.timer(), deadline);
    assert!(tick_at(&hv, deadline).todo.contains(Todo::RESCHEDULE));
}

#[test]
fn timers_follow_a_vcpu_to_another_cpu() {
    let hv = machine_of(32, 2);
    let domain = guest(&hv, 1, 1);
    let vcpu = &domain.vcpus()[0];
    let port = crate::event::bind_virq(&hv, &domain, VIRQ_TIMER, VcpuId::new(0)).unwrap();
    World::be_cpu(0);
    set_periodic(&hv, vcpu, 10 * MS).unwrap();
    World::be_cpu(1);
    set_singleshot(&hv, vcpu, 90 * MS);
    assert_eq!(hv.sched.timers.deadline(CpuId::new(1)), 10 * MS + 1, "the periodic timer came along");
    hv.platform.set_now(11 * MS);
    World::be_cpu(0);
    let _ = tick(&hv, CpuId::new(0), 11 * MS);
    assert!(!fired(&hv, &domain, port));
    World::be_cpu(1);
    let _ = tick(&hv, CpuId::new(1), 11 * MS);
    assert!(fired(&hv, &domain, port));
    let _ = hv.sched.dismiss(&hv, domain.vcpus());
    let _ = tick(&hv, CpuId::new(1), 100 * MS);
    assert!(!fired(&hv, &domain, port));
}

#[test]
fn a_watchdog_that_is_not_fed_shuts_the_domain_down() {
    let hv = machine_of(32, 1);
    let (domain, vcpu, _) = timed_guest(&hv);
    set_watchdog(&hv, &vcpu, 1, 10 * MS);
    set_watchdog(&hv, &vcpu, 1, 20 * MS);
    let _ = tick_at(&hv, 15 * MS);
    assert_eq!(domain.life(), crate::domain::Life::Alive);
    let _ = tick_at(&hv, 20 * MS);
    assert_eq!(domain.life(), crate::domain::Life::ShutDown);
    assert_eq!(domain.shutdown_reason.load(Ordering::Relaxed), abi::sched::SHUTDOWN_WATCHDOG);
}

fn shared_time(hv: &Hypervisor<World>, vcpu: &Vcpu) -> VcpuTimeInfo {
    let info = vcpu.info().unwrap();
    let mut bytes = [0; 32];
    hv.platform.load_bytes(info.mfn(), info.offset() + 32, &mut bytes);
    VcpuTimeInfo::read_from_bytes(&bytes).unwrap()
}

#[test]
fn clock_parameters_change_version_only_when_they_change() {
    let hv = machine_of(32, 1);
    let domain = guest(&hv, 1, 1);
    let vcpu = &domain.vcpus()[0];
    hv.platform.set_now(1000);
    update_vcpu_time(&hv, vcpu);
    let time = shared_time(&hv, vcpu);
    assert_eq!((time.version, time.tsc_timestamp, time.system_time), (2, 1000, 1000));
    assert_eq!((time.tsc_to_system_mul, time.tsc_shift), (1 << 31, 1));
    update_vcpu_time(&hv, vcpu);
    assert_eq!(shared_time(&hv, vcpu).version, 2);
    hv.platform.set_now(2000);
    update_vcpu_time(&hv, vcpu);
    assert_eq!((shared_time(&hv, vcpu).version, shared_time(&hv, vcpu).system_time), (4, 2000));
}

#[test]
fn copies_are_written_in_kernel_mode_only_and_catch_up() {
    let hv = machine_of(32, 1);
    let domain = guest(&hv, 1, 1);
    let vcpu = &domain.vcpus()[0];
    let page = crate::mm::give_frames(&hv, &domain, 0).unwrap();
    let (at, area) = (page.raw() << 12, (page.raw() << 12) + 0x100);
    hv.platform.set_now(500);
    update_vcpu_time(&hv, vcpu);
    register_time_area(&hv, vcpu, at, true).unwrap();
    register_runstate_area(&hv, &domain, vcpu, area, true).unwrap();
    assert_eq!(hv.platform.load(page, 2), 500);
    let mut state = vcpu.state.lock();
    state.mode = crate::domain::Mode::User;
    hv.platform.set_now(700);
    let _ = hv.sched.schedule(&hv, CpuId::new(0), 700);
    entered(&hv, &domain, vcpu, &state);
    assert_eq!(hv.platform.load(page, 2), 500);
    state.mode = crate::domain::Mode::Kernel;
    refresh_areas(&hv, &domain, vcpu, &state);
    assert_eq!(hv.platform.load(page, 2), 700);
    assert_eq!(hv.platform.load(page, 0) & 1, 0);
    // RUNSTATE_running since 700.
    assert_eq!((hv.platform.load(page, 32) as u32, hv.platform.load(page, 33)), (0, 700));
    domain.vm_assist.fetch_or(1 << abi::xen::VMASST_TYPE_RUNSTATE_UPDATE_FLAG, Ordering::Relaxed);
    entered(&hv, &domain, vcpu, &state);
    assert_eq!(hv.platform.load(page, 33), 700, "the update flag is off again");
}

#[test]
fn areas_outside_the_guest_are_refused() {
    let hv = machine_of(32, 1);
    let domain = guest(&hv, 1, 1);
    let vcpu = &domain.vcpus()[0];
    for address in [0xffff_8000_0000_0000, 0xffff_87ff_ffff_ffff, 0x8000_0000_0000] {
        assert_eq!(register_time_area(&hv, vcpu, address, true), Err(Errno::EFAULT), "{address:#x}");
        assert_eq!(
            register_runstate_area(&hv, &domain, vcpu, address, true),
            Err(Errno::EFAULT),
            "{address:#x}"
        );
    }
    entered(&hv, &domain, vcpu, &vcpu.state.lock());
}

#[test]
fn the_date_reaches_all_domains() {
    let hv = machine_of(64, 1);
    let domains = [guest(&hv, 0, 1), guest(&hv, 1, 1)];
    let date = |domain: &Domain| {
        let (first, second) =
            (hv.platform.load(domain.shared_info, 384), hv.platform.load(domain.shared_info, 385));
        (first as u32, first >> 32 | second >> 32 << 32, second as u32)
    };
    assert_eq!(date(&domains[1]), (2, 1_700_000_000, 0));
    set_wallclock(&hv, 5_000_000_000, 7, 2_000_000_000);
    for domain in &domains {
        assert_eq!(date(domain), (4, 4_999_999_998, 7));
    }
}

#[test]
fn the_periodic_timer_of_another_vcpu_starts_when_that_vcpu_runs() {
    let hv = machine_of(32, 1);
    let (domain, vcpu, port) = timed_guest(&hv);
    assert_eq!(set_periodic_of(&hv, &vcpu, MIN_PERIOD - 1), Err(Errno::EINVAL));
    assert_eq!(set_periodic_of(&hv, &vcpu, u64::MAX), Err(Errno::EINVAL));
    assert_eq!(vcpu.pending.load(Ordering::Relaxed), 0, "refused: nothing is to be done");
    let effects = set_periodic_of(&hv, &vcpu, 2 * MS).unwrap();
    assert_eq!(effects.kick, 1, "the CPU that runs it must look");
    assert_eq!(hv.platform.timer(), NEVER, "only its own CPU arms it");
    take_over(&hv, &vcpu);
    assert_eq!(vcpu.pending.load(Ordering::Relaxed) & Pending::TIMER.bits(), 0);
    let first = hv.platform.timer();
    assert!((2 * MS..3 * MS).contains(&first), "{first}");
    for round in 1..4 {
        let _ = tick_at(&hv, first + (round - 1) * 2 * MS);
        assert!(fired(&hv, &domain, port), "round {round}");
    }
    let _ = set_periodic_of(&hv, &vcpu, 0).unwrap();
    take_over(&hv, &vcpu);
    let _ = tick_at(&hv, 20 * MS);
    assert!(!fired(&hv, &domain, port));
}
