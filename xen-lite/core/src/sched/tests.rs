//! Tests of scheduling, and the guests that tests of neighbouring modules use.

use std::vec::Vec;

use super::*;
use crate::addr::{CpuId, DomId, VcpuId};
use crate::control::lifecycle::{New, create, give_vcpus};
use crate::effects::Todo;
use crate::effort::effort;
use crate::fail::Why;
use crate::trap::info;
use crate::world::{World, machine, machine_with_cpus};

const MS: u64 = 1_000_000;

/// A machine with a scheduler for as many CPUs.
pub(crate) fn machine_of(frames: u64, cpus: u32) -> Hypervisor<World> {
    let mut hv = machine_with_cpus(frames, cpus);
    hv.sched = Scheduler::new(cpus, Box::new(Credit), Params::default());
    hv.platform.set_now(1);
    hv
}

/// A domain whose vCPUs are up and may run. Domain 0 is privileged.
pub(crate) fn guest(hv: &Hypervisor<World>, id: u16, vcpus: u32) -> Arc<Domain> {
    let new = New {
        id: Some(DomId::new(id)),
        privileged: id == 0,
        handle: [0; 16],
        max_vcpus: vcpus,
        max_port: crate::event::MAX_PORT,
        max_grant_frames: 4,
        max_maptrack_frames: 4,
    };
    let domain = create(hv, &new).expect("a new number");
    domain.memory.max.store(1000, Ordering::Relaxed);
    give_vcpus(hv, &domain, vcpus).expect("memory");
    for vcpu in domain.vcpus() {
        vcpu.initialised.store(1, Ordering::Release);
        let _ = hv.sched.up(hv, vcpu);
    }
    let _ = hv.sched.unpause_domain(hv, &domain);
    domain
}

/// What a CPU runs after choosing at this time.
fn choose(hv: &Hypervisor<World>, cpu: u32, now: u64) -> Option<(u16, u32)> {
    World::be_cpu(cpu);
    hv.platform.set_now(now);
    hv.sched.schedule(hv, CpuId::new(cpu), now).next.map(|vcpu| name(&vcpu))
}

fn name(vcpu: &Vcpu) -> (u16, u32) {
    (vcpu.domain.upgrade().map_or(u16::MAX, |domain| domain.id.raw()), vcpu.id.raw())
}

fn first(domain: &Domain) -> &Arc<Vcpu> {
    &domain.vcpus()[0]
}

#[test]
fn an_idle_cpu_runs_what_wakes_and_a_lone_vcpu_has_no_end_of_slice() {
    let hv = machine_of(32, 1);
    assert_eq!(choose(&hv, 0, 1), None);
    let _one = guest(&hv, 1, 1);
    let decision = hv.sched.schedule(&hv, CpuId::new(0), 5);
    assert_eq!(decision.next.map(|vcpu| name(&vcpu)), Some((1, 0)));
    assert_eq!(decision.deadline, u64::MAX);
}

#[test]
fn equal_weights_share_equally_and_slices_are_thirty_milliseconds() {
    let hv = machine_of(32, 1);
    let domains = [guest(&hv, 1, 1), guest(&hv, 2, 1), guest(&hv, 3, 1)];
    let mut now = 1;
    for _ in 0..60 {
        let decision = hv.sched.schedule(&hv, CpuId::new(0), now);
        assert!(decision.next.is_some());
        assert_eq!(decision.deadline, now + SLICE);
        assert_eq!(hv.platform.timer(), decision.deadline);
        now = decision.deadline;
    }
    let times: Vec<_> = domains.iter().map(|domain| hv.sched.cpu_time(first(domain), now)).collect();
    assert_eq!(times.iter().sum::<u64>(), 60 * SLICE);
    assert!(times.iter().all(|time| time.abs_diff(20 * SLICE) <= SLICE), "{times:?}");
}

#[test]
fn shares_follow_weights() {
    let hv = machine_of(32, 1);
    let (light, heavy) = (guest(&hv, 1, 1), guest(&hv, 2, 1));
    let _ = hv.sched.set_share(&hv, &heavy, Some(768), None).unwrap();
    assert_eq!(hv.sched.share(&heavy), (768, 0));
    assert_eq!(hv.sched.set_share(&hv, &heavy, Some(0), None), Err(Errno::EINVAL));
    let mut now = 1;
    for _ in 0..400 {
        now = hv.sched.schedule(&hv, CpuId::new(0), now).deadline;
    }
    let (less, more) = (hv.sched.cpu_time(first(&light), now), hv.sched.cpu_time(first(&heavy), now));
    assert!((28..=32).contains(&(more * 10 / less)), "{more} against {less}");
}

#[test]
fn a_sleeper_saves_nothing_up_but_goes_ahead_of_a_hog_after_the_rate_limit() {
    let hv = machine_of(32, 1);
    let (hog, sleeper) = (guest(&hv, 1, 1), guest(&hv, 2, 1));
    let _ = hv.sched.pause_domain(&hv, &sleeper);
    assert_eq!(choose(&hv, 0, 1), Some((1, 0)));
    let mut now = 100 * SLICE;
    assert_eq!(choose(&hv, 0, now), Some((1, 0)));
    now += 10;
    hv.platform.set_now(now);
    // The hog has just been charged for much; the sleeper is ahead at once, but not within the rate limit.
    let woken = hv.sched.unpause_domain(&hv, &sleeper);
    assert!(woken.todo.contains(Todo::RESCHEDULE));
    assert_eq!(choose(&hv, 0, now + 2 * MS), Some((2, 0)));
    // What it slept is not made up for: within a few slices both run again.
    now += 2 * MS;
    let mut ran = [0, 0];
    for _ in 0..20 {
        let decision = hv.sched.schedule(&hv, CpuId::new(0), now);
        let who = decision.next.map(|vcpu| name(&vcpu).0).unwrap();
        ran[usize::from(who - 1)] += decision.deadline - now;
        now = decision.deadline;
    }
    assert!(ran[0] * 3 > ran[1], "the hog starves: {ran:?}");
    let _ = hog;
}

#[test]
fn nobody_is_put_off_within_the_rate_limit() {
    let hv = machine_of(32, 1);
    let (running, waking) = (guest(&hv, 1, 1), guest(&hv, 2, 1));
    let _ = hv.sched.pause_domain(&hv, &waking);
    assert_eq!(choose(&hv, 0, 10), Some((1, 0)));
    first(&running).sched.virtual_time.store(500 * MS, Ordering::Relaxed);
    let woken = hv.sched.unpause_domain(&hv, &waking);
    assert!(woken.todo.contains(Todo::RESCHEDULE));
    let decision = hv.sched.schedule(&hv, CpuId::new(0), 10 + 1000);
    assert_eq!(decision.next.map(|vcpu| name(&vcpu)), Some((1, 0)));
    assert_eq!(decision.deadline, 10 + RATE_LIMIT);
    assert_eq!(choose(&hv, 0, 10 + RATE_LIMIT), Some((2, 0)));
}

#[test]
fn yielding_lets_the_other_run_and_is_harmless_alone() {
    let hv = machine_of(32, 1);
    let (one, two) = (guest(&hv, 1, 1), guest(&hv, 2, 1));
    let ran = choose(&hv, 0, 1);
    let current = if ran == Some((1, 0)) { &one } else { &two };
    let other = if ran == Some((1, 0)) { Some((2, 0)) } else { Some((1, 0)) };
    let _ = hv.sched.yield_now(first(current));
    assert_eq!(choose(&hv, 0, 2), other);
    let _ = hv.sched.pause_domain(&hv, current);
    let lone = if ran == Some((1, 0)) { &two } else { &one };
    let _ = hv.sched.yield_now(first(lone));
    assert_eq!(choose(&hv, 0, 3), other);
}

#[test]
fn pauses_count() {
    let hv = machine_of(32, 1);
    let one = guest(&hv, 1, 2);
    assert!(choose(&hv, 0, 1).is_some());
    let _ = hv.sched.pause_domain(&hv, &one);
    let _ = hv.sched.pause_domain(&hv, &one);
    assert_eq!(choose(&hv, 0, 2), None);
    let _ = hv.sched.unpause_domain(&hv, &one);
    assert_eq!(choose(&hv, 0, 3), None);
    let _ = hv.sched.pause_vcpu(&hv, first(&one));
    let _ = hv.sched.unpause_domain(&hv, &one);
    assert_eq!(choose(&hv, 0, 4), Some((1, 1)));
    let _ = hv.sched.unpause_vcpu(&hv, first(&one));
    // Taking back a pause too many does not make it run twice as hard.
    let _ = hv.sched.unpause_vcpu(&hv, first(&one));
    let _ = hv.sched.pause_vcpu(&hv, first(&one));
    let _ = hv.sched.pause_vcpu(&hv, &one.vcpus()[1]);
    assert_eq!(choose(&hv, 0, 5), None);
}

#[test]
fn a_pause_on_another_cpu_is_over_when_that_cpu_let_go() {
    let hv = machine_of(32, 2);
    let one = guest(&hv, 1, 1);
    let home = first(&one).sched.cpu().raw();
    assert_eq!(choose(&hv, home, 1), Some((1, 0)));
    World::be_cpu(1 - home);
    let effects = hv.sched.pause_domain(&hv, &one);
    assert_eq!(effects.kick, 1 << home);
    let sent = || hv.platform.kicks.lock().unwrap().drain(..).collect::<Vec<_>>();
    sent();
    assert!(!hv.sched.await_stop(&hv, one.vcpus()).0, "that CPU takes no interrupt here");
    assert_eq!(sent(), [1 << home]);
    assert_eq!(choose(&hv, home, 2), None);
    let registers = first(&one).state.lock();
    assert!(!hv.sched.is_descheduled(first(&one)), "its registers are still in use");
    drop(registers);
    assert!(hv.sched.await_stop(&hv, one.vcpus()).0);
    assert_eq!(sent(), [], "nothing runs any more");
}

#[test]
fn an_idle_cpu_takes_over_what_waits_elsewhere_within_the_affinity() {
    let hv = machine_of(32, 2);
    let domains = [guest(&hv, 1, 1), guest(&hv, 2, 1), guest(&hv, 3, 1)];
    for domain in &domains {
        let _ = hv.sched.set_affinity(&hv, first(domain), Some(1), None).unwrap();
    }
    assert!(choose(&hv, 0, 1).is_some());
    assert_eq!(choose(&hv, 1, 1), None);
    let _ = hv.sched.set_affinity(&hv, first(&domains[2]), Some(3), Some(2)).unwrap();
    assert_eq!(first(&domains[2]).sched.affinity(), (3, 2));
    World::be_cpu(0);
    assert_eq!(choose(&hv, 1, 2), Some((3, 0)));
    assert_eq!(hv.sched.set_affinity(&hv, first(&domains[0]), Some(4), None), Err(Errno::EINVAL));
}

/// How long each vCPU of domains with these numbers of vCPUs runs when all want to, in slices.
fn shares(cpus: u32, vcpus: u32, slices: u64) -> Vec<u64> {
    let hv = machine_of(64, cpus);
    let domain = guest(&hv, 1, vcpus);
    // All begin on the same CPU.
    for vcpu in domain.vcpus() {
        let _ = hv.sched.stop(&hv, vcpu);
        vcpu.sched.cpu.store(0, Ordering::Relaxed);
        let _ = hv.sched.wake(&hv, vcpu);
    }
    let end = slices * SLICE;
    for now in (1..end).step_by(effort(MS, 10 * MS) as usize) {
        for cpu in 0..cpus {
            let _ = choose(&hv, cpu, now);
        }
    }
    domain.vcpus().iter().map(|vcpu| hv.sched.cpu_time(vcpu, end) / SLICE).collect()
}

#[test]
fn busy_vcpus_spread_over_the_cpus_and_share_them_evenly() {
    for (cpus, vcpus) in [(2, 2), (2, 3), (4, 4), (2, 8), (4, 6)] {
        let (slices, slack) = effort((200, 0), (10, 2));
        let fair = slices * u64::from(cpus) / u64::from(vcpus);
        let all = shares(cpus, vcpus, slices);
        assert!(all.iter().all(|share| share.abs_diff(fair) <= fair / 10 + slack), "{cpus} CPUs, {all:?}");
    }
}

#[test]
fn a_pin_overrides_the_affinity_and_is_taken_back_once() {
    let hv = machine_of(32, 2);
    let one = guest(&hv, 1, 1);
    let vcpu = first(&one);
    assert_eq!(hv.sched.pin(&hv, vcpu, Some(2)), Err(Errno::EINVAL));
    assert_eq!(hv.sched.pin(&hv, vcpu, None), Err(Errno::EINVAL));
    let _ = hv.sched.pin(&hv, vcpu, Some(1)).unwrap();
    assert_eq!(hv.sched.pin(&hv, vcpu, Some(0)), Err(Errno::EBUSY));
    assert_eq!(choose(&hv, 0, 1), None);
    assert_eq!(choose(&hv, 1, 1), Some((1, 0)));
    let _ = hv.sched.pin(&hv, vcpu, None).unwrap();
}

/// Whatever happens in whatever order: nothing runs on two CPUs, nothing runnable is forgotten, nothing held back runs, and run
/// state times add up.
#[test]
fn random_histories_keep_the_invariants() {
    let cpus = 3;
    let rounds = effort(4000, 60);
    for seed in 1..=effort(10, 2) {
        let hv = machine_of(64, cpus);
        let domains: Vec<_> = (0..4).map(|id| guest(&hv, id + 1, 2)).collect();
        let all: Vec<_> = domains.iter().flat_map(|domain| domain.vcpus().iter().cloned()).collect();
        let mut random = Random(seed);
        let mut now = 1;
        for _ in 0..rounds {
            now += random.below(3 * MS);
            hv.platform.set_now(now);
            let cpu = random.below(cpus.into()) as u32;
            World::be_cpu(cpu);
            let vcpu = &all[random.below(all.len() as u64) as usize];
            let domain = vcpu.domain.upgrade().unwrap();
            let here = hv.sched.current(CpuId::new(cpu));
            let mut kick = 1 << cpu;
            let mut apply = |effects: Effects| kick |= effects.kick;
            match random.below(10) {
                0 => apply(hv.sched.pause_vcpu(&hv, vcpu)),
                1 => apply(hv.sched.unpause_vcpu(&hv, vcpu)),
                2 => apply(hv.sched.pause_domain(&hv, &domain)),
                3 => apply(hv.sched.unpause_domain(&hv, &domain)),
                4 => apply(crate::event::mark_upcall(&hv, vcpu)),
                5 => apply(hv.sched.set_affinity(&hv, vcpu, Some(1 + random.below(7)), None).unwrap()),
                6 | 7 => {
                    if let Some(me) = &here {
                        // The guest looks at its events, then waits for more.
                        let at = me.info().unwrap();
                        crate::platform::Platform::fetch_and(&hv.platform, at.mfn(), at.offset() / 8, !0xff);
                        apply(hv.sched.block(&hv, me));
                    }
                }
                8 => apply(here.map_or(Effects::NONE, |me| hv.sched.yield_now(&me))),
                _ => {}
            }
            // All CPUs that were told to look do so, in some order.
            for target in (0..cpus).filter(|target| kick >> target & 1 != 0) {
                World::be_cpu(target);
                let _ = hv.sched.schedule(&hv, CpuId::new(target), now);
            }
            check(&hv, &all, cpus, now);
        }
    }
}

fn check(hv: &Hypervisor<World>, all: &[Arc<Vcpu>], cpus: u32, now: u64) {
    let running: Vec<_> =
        (0..cpus).filter_map(|cpu| hv.sched.current(CpuId::new(cpu))).map(|v| name(&v)).collect();
    for vcpu in all {
        let runs = running.iter().filter(|who| **who == name(vcpu)).count();
        let queued = hv.sched.queues.iter().map(|queue| {
            let queue = queue.lock();
            queue.waiting.iter().chain(&queue.parked).filter(|v| Arc::ptr_eq(v, vcpu)).count()
        });
        let queued: usize = queued.sum();
        assert!(runs + queued <= 1, "{:?} runs {runs} times and is queued {queued} times", name(vcpu));
        assert_eq!(runs + queued == 1, is_runnable(vcpu), "{:?}: {:?}", name(vcpu), vcpu.sched);
        assert_eq!(vcpu.sched.running_on().is_some(), runs == 1);
        let account = hv.sched.runstate(vcpu, now);
        let state = match (runs, queued) {
            (1, _) => State::Running,
            (_, 1) => State::Runnable,
            _ => resting(vcpu),
        };
        assert_eq!(account.state, state, "{:?}", name(vcpu));
        assert_eq!(account.times.iter().sum::<u64>(), now - 1);
    }
}

/// All interleavings of "I wait for an event" with "here is an event", step by step: the vCPU is on a CPU or in a queue at the
/// end, and the event is pending.
#[test]
fn no_wake_up_is_lost_whatever_the_order() {
    // Each bit string of length 5 with two ones is an order: one is the sender's next step, zero the blocker's.
    for order in (0u32..32).filter(|bits| bits.count_ones() == 2) {
        for sender_cpu in 0..2 {
            let hv = machine_of(32, 2);
            let domain = guest(&hv, 1, 1);
            let vcpu = first(&domain);
            let home = vcpu.sched.cpu().raw();
            assert_eq!(choose(&hv, home, 1), Some((1, 0)));
            let (mut sends, mut blocks) = (0, 0);
            let mut newly = false;
            let mut waits = true;
            for step in 0..5 {
                if order >> step & 1 == 1 {
                    World::be_cpu(sender_cpu);
                    match sends {
                        0 => newly = !info::set_upcall_pending(&hv, vcpu),
                        _ if newly => drop(hv.sched.notify(&hv, vcpu)),
                        _ => {}
                    }
                    sends += 1;
                } else {
                    World::be_cpu(home);
                    match blocks {
                        0 => hv.sched.start_wait(vcpu),
                        1 if info::upcall_pending(&hv, vcpu) => {
                            hv.sched.cancel_wait(vcpu);
                            waits = false;
                        }
                        2 if waits => drop(hv.sched.schedule(&hv, CpuId::new(home), 2)),
                        _ => {}
                    }
                    blocks += 1;
                }
            }
            assert!(info::upcall_pending(&hv, vcpu));
            assert!(
                is_runnable(vcpu),
                "order {order:05b} from CPU {sender_cpu}: blocked with an event pending"
            );
            let queued = vcpu.sched.queued.load(Ordering::Relaxed);
            assert!(
                queued || vcpu.sched.running_on().is_some(),
                "order {order:05b}: runnable, but forgotten"
            );
        }
    }
}

#[test]
fn blocking_with_an_event_pending_does_not_block() {
    let hv = machine_of(32, 1);
    let domain = guest(&hv, 1, 1);
    assert!(choose(&hv, 0, 1).is_some());
    let _ = crate::event::mark_upcall(&hv, first(&domain));
    assert_eq!(hv.sched.block(&hv, first(&domain)), Effects::NONE);
    assert!(is_runnable(first(&domain)));
}

#[test]
fn a_crash_stops_the_domain_keeps_the_reason_and_tells_domain_0_once() {
    let hv = machine_of(64, 1);
    let (control, domain) = (guest(&hv, 0, 1), guest(&hv, 1, 2));
    let port = crate::event::bind_virq(&hv, &control, abi::xen::VIRQ_DOM_EXC, VcpuId::new(0)).unwrap();
    let _ = crash_domain(&hv, &domain, Why::Rule("a test"));
    assert_eq!(domain.life(), Life::ShutDown);
    assert_eq!(domain.shutdown_reason.load(Ordering::Relaxed), abi::sched::SHUTDOWN_CRASH);
    assert!(crate::event::is_pending(&hv, &control, port).unwrap());
    assert!(domain.vcpus().iter().all(|vcpu| !is_runnable(vcpu)));
    let _ = shut_down(&hv, &domain, abi::sched::SHUTDOWN_REBOOT);
    assert_eq!(domain.shutdown_reason.load(Ordering::Relaxed), abi::sched::SHUTDOWN_CRASH);
    let _ = hv.sched.resume(&hv, &domain);
    assert!(domain.vcpus().iter().all(|vcpu| is_runnable(vcpu)));
    assert_eq!(domain.shutdown_reason.load(Ordering::Relaxed), control::NO_REASON);
}

#[test]
#[should_panic(expected = "the machine stops: Off")]
fn domain_0_powers_the_machine_off() {
    let hv = machine(32);
    let control = guest(&hv, 0, 1);
    let _ = shut_down(&hv, &control, abi::sched::SHUTDOWN_POWEROFF);
}

#[test]
#[should_panic(expected = "the machine stops: Halt")]
fn a_crash_of_domain_0_with_noreboot_halts() {
    let hv = machine(32);
    let control = guest(&hv, 0, 1);
    let _ = crash_domain(&hv, &control, Why::Rule("a test"));
}

fn seated(cpus: u32) -> Hypervisor<World> {
    let mut hv = machine_of(128, cpus);
    hv.sched = Scheduler::new(cpus, Box::new(Null), Params::default());
    hv
}

#[test]
fn the_null_policy_gives_each_vcpu_a_cpu_of_its_own_and_lets_others_wait() {
    let hv = seated(2);
    assert_eq!(hv.sched.policy(), (abi::domctl::XEN_SCHEDULER_NULL, "null"));
    let domains = [guest(&hv, 1, 1), guest(&hv, 2, 1), guest(&hv, 3, 1), guest(&hv, 4, 1)];
    for turn in 0..4 {
        let all = [choose(&hv, 0, 1 + turn * SLICE), choose(&hv, 1, 1 + turn * SLICE)];
        assert_eq!(all, [Some((1, 0)), Some((2, 0))]);
        assert_eq!(hv.platform.timer(), u64::MAX, "nobody has a slice");
    }
    let waits = hv.sched.runstate(first(&domains[2]), 5 * SLICE);
    assert_eq!(waits.state, State::Runnable);
    // It sleeps and wakes: the place is kept.
    let _ = hv.sched.pause_domain(&hv, &domains[1]);
    assert_eq!(choose(&hv, 1, 5 * SLICE), None);
    let _ = hv.sched.unpause_domain(&hv, &domains[1]);
    assert_eq!(choose(&hv, 1, 5 * SLICE), Some((2, 0)));
    // It goes down: the first of those that wait has it.
    let _ = hv.sched.down(&hv, first(&domains[1]));
    assert_eq!(choose(&hv, 1, 6 * SLICE), Some((3, 0)));
    // A domain goes away while it is paused.
    let _ = hv.sched.pause_domain(&hv, &domains[0]);
    assert_eq!(choose(&hv, 0, 7 * SLICE), None);
    let _ = hv.sched.dismiss(&hv, domains[0].vcpus());
    assert_eq!(choose(&hv, 0, 7 * SLICE), Some((4, 0)));
    let (_, effects) = hv.sched.up(&hv, first(&domains[1]));
    assert_eq!(effects, Effects::NONE);
    assert_eq!([choose(&hv, 0, 8 * SLICE), choose(&hv, 1, 8 * SLICE)], [Some((4, 0)), Some((3, 0))]);
}

#[test]
fn seats_follow_affinities() {
    let hv = seated(2);
    let domains = [guest(&hv, 1, 1), guest(&hv, 2, 1), guest(&hv, 3, 1)];
    assert_eq!([choose(&hv, 0, 1), choose(&hv, 1, 1)], [Some((1, 0)), Some((2, 0))]);
    // The third may only have CPU 0: it waits on when CPU 1 gets free, and is served when CPU 0 does.
    World::be_cpu(0);
    let _ = hv.sched.set_affinity(&hv, first(&domains[2]), Some(1), None).unwrap();
    let _ = hv.sched.pause_domain(&hv, &domains[1]);
    let _ = hv.sched.down(&hv, first(&domains[1]));
    assert_eq!(choose(&hv, 1, 2), None);
    World::be_cpu(0);
    let _ = hv.sched.set_affinity(&hv, first(&domains[0]), Some(2), None).unwrap();
    assert_eq!(choose(&hv, 0, 3), Some((3, 0)));
    assert_eq!(choose(&hv, 1, 3), Some((1, 0)));
}

#[test]
fn a_cap_holds_for_all_vcpus_of_a_domain_together_and_may_change() {
    let hv = machine_of(64, 1);
    let domain = guest(&hv, 1, 2);
    let _ = hv.sched.set_share(&hv, &domain, None, Some(20)).unwrap();
    let run = |from: u64, until: u64| {
        let before: u64 = domain.vcpus().iter().map(|vcpu| hv.sched.cpu_time(vcpu, from)).sum();
        let mut now = from;
        while now < until {
            now = hv.sched.schedule(&hv, CpuId::new(0), now).deadline.max(now + 1000);
            hv.platform.set_now(now);
        }
        domain.vcpus().iter().map(|vcpu| hv.sched.cpu_time(vcpu, now)).sum::<u64>() - before
    };
    let periods = effort(100, 5);
    let ran = run(1, periods * PERIOD);
    assert!(ran.abs_diff(periods * PERIOD / 5) <= PERIOD / 2, "{ran}");
    assert_eq!(hv.sched.share(&domain), (DEFAULT_WEIGHT, 20));
    let now = hv.platform.now();
    let _ = hv.sched.set_share(&hv, &domain, None, Some(0)).unwrap();
    let ran = run(now, now + 10 * PERIOD);
    assert!(ran >= 10 * PERIOD - 1, "{ran}");
}

#[test]
fn domains_that_come_and_go_leave_no_room_behind() {
    let hv = machine(32);
    let domain = guest(&hv, 1, 2);
    for _ in 0..effort(200, 40) {
        let _ = hv.sched.dismiss(&hv, domain.vcpus());
        hv.sched.admit(domain.vcpus(), 0).unwrap();
    }
    let room = hv.sched.queues[0].lock().waiting.capacity();
    assert!(room <= 64, "room for {room} vCPUs where there are 2");
}

/// Numbers that are the same in every run (xorshift).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 33) % end
    }
}

#[test]
fn who_comes_second_gives_no_vcpus_and_no_share() {
    let hv = machine_of(24, 2);
    let domain = guest(&hv, 1, 3);
    let before = (hv.sched.admitted.load(Ordering::Relaxed), domain.share.vcpus.load(Ordering::Relaxed));
    assert_eq!(before, (3, 3));
    assert_eq!(give_vcpus(&hv, &domain, 3), Err(Errno::EEXIST));
    assert_eq!(
        (hv.sched.admitted.load(Ordering::Relaxed), domain.share.vcpus.load(Ordering::Relaxed)),
        before
    );
}
