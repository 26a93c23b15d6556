//! The scheduler on simulated machines: time passes from one thing that happens to the next, so hours take moments and each run is
//! the same.
//!
//! Each vCPU behaves as its [`Habit`] says. What must come out is computed by [`fair`], from nothing but weights, caps and
//! the number of CPUs.

use std::vec::Vec;

use proptest::prelude::*;

use super::tests::{Random, guest, machine_of};
use super::*;
use crate::effects::Todo;
use crate::effort::{cases, effort};
use crate::world::World;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;

/// What a vCPU does.
#[derive(Clone, Copy, Debug)]
enum Habit {
    /// Computes.
    Busy,
    /// Computes so long, then sleeps so long.
    Turns { run: u64, sleep: u64 },
    /// Computes until just before others look, and then sleeps for a moment: what schedulers fall for that look who runs at ticks.
    Dodges { period: u64, before: u64 },
}

#[derive(Clone, Copy, Debug)]
enum Doing {
    /// Computes; so much is left.
    Work(u64),
    /// Sleeps until then.
    Sleep(u64),
}

struct Simulation {
    hv: Hypervisor<World>,
    vcpus: Vec<Arc<Vcpu>>,
    habits: Vec<Habit>,
    doing: Vec<Doing>,
    cpus: u32,
    now: u64,
    /// When each CPU's timer is due.
    timers: Vec<u64>,
    /// The longest that a vCPU waited from waking to running.
    worst_wait: Vec<u64>,
    woke: Vec<Option<u64>>,
}

impl Simulation {
    /// One domain for each row: weight, cap, vCPUs, and what they do.
    fn new(cpus: u32, rows: &[(u32, u32, u32, Habit)]) -> Simulation {
        let hv = machine_of(32 * rows.len() as u64 + 64, cpus);
        World::be_cpu(0);
        let (mut vcpus, mut habits) = (Vec::new(), Vec::new());
        for (id, (weight, cap, count, habit)) in rows.iter().enumerate() {
            let domain = guest(&hv, id as u16 + 1, *count);
            let _ = hv.sched.set_share(&hv, &domain, Some(*weight), Some(*cap)).unwrap();
            vcpus.extend(domain.vcpus().iter().cloned());
            habits.extend((0..*count).map(|_| *habit));
        }
        let count = vcpus.len();
        let doing = habits.iter().map(|habit| work(*habit, 1)).collect();
        let mut it = Simulation {
            hv,
            vcpus,
            habits,
            doing,
            cpus,
            now: 1,
            timers: alloc::vec![u64::MAX; cpus as usize],
            worst_wait: alloc::vec![0; count],
            woke: alloc::vec![None; count],
        };
        it.look(u64::MAX);
        it
    }

    fn current(&self, cpu: u32) -> Option<usize> {
        let vcpu = self.hv.sched.current(CpuId::new(cpu))?;
        self.vcpus.iter().position(|other| Arc::ptr_eq(other, &vcpu))
    }

    /// Lets these CPUs choose, and those that they tell to.
    fn look(&mut self, mut set: u64) {
        set &= u64::MAX >> (64 - self.cpus);
        while set != 0 {
            let cpu = set.trailing_zeros();
            set &= set - 1;
            World::be_cpu(cpu);
            self.hv.platform.kicks.lock().unwrap().clear();
            let _ = self.hv.sched.schedule(&self.hv, CpuId::new(cpu), self.now);
            set |= self.hv.platform.kicks.lock().unwrap().drain(..).fold(0, |all, more| all | more);
            self.timers[cpu as usize] = self.hv.sched.slice_end(CpuId::new(cpu));
            if let Some(index) = self.current(cpu)
                && let Some(since) = self.woke[index].take()
            {
                self.worst_wait[index] = self.worst_wait[index].max(self.now - since);
            }
        }
        for cpu in 0..self.cpus {
            self.timers[cpu as usize] = self.hv.sched.slice_end(CpuId::new(cpu));
        }
    }

    /// Runs until then.
    fn run(&mut self, end: u64) {
        while self.now < end {
            let next = self.next_event().min(end);
            let passed = next - self.now;
            for cpu in 0..self.cpus {
                if let Some(index) = self.current(cpu)
                    && let Doing::Work(left) = &mut self.doing[index]
                {
                    *left = left.saturating_sub(passed);
                }
            }
            self.now = next;
            self.hv.platform.set_now(next);
            let mut set = 0;
            for cpu in 0..self.cpus {
                if self.timers[cpu as usize] <= next {
                    set |= 1 << cpu;
                }
            }
            self.look(set);
            self.live();
        }
    }

    fn next_event(&self) -> u64 {
        let mut next = self.timers.iter().copied().min().unwrap_or(u64::MAX);
        for cpu in 0..self.cpus {
            if let Some(index) = self.current(cpu)
                && let Doing::Work(left) = self.doing[index]
            {
                next = next.min(self.now.saturating_add(left));
            }
        }
        for doing in &self.doing {
            if let Doing::Sleep(until) = doing {
                next = next.min(*until);
            }
        }
        next.max(self.now + 1)
    }

    /// vCPUs whose work is done go to sleep, those that slept enough wake.
    fn live(&mut self) {
        for index in 0..self.vcpus.len() {
            let vcpu = self.vcpus[index].clone();
            match self.doing[index] {
                Doing::Work(0) => {
                    let Some(cpu) = vcpu.sched.running_on() else { continue };
                    World::be_cpu(cpu.raw());
                    vcpu.sched.hold(Hold::BLOCKED);
                    let sleep = match self.habits[index] {
                        Habit::Turns { sleep, .. } => sleep,
                        Habit::Dodges { before, .. } => before,
                        Habit::Busy => continue,
                    };
                    self.doing[index] = Doing::Sleep(self.now + sleep);
                    self.look(1 << cpu.raw());
                }
                Doing::Sleep(until) if until <= self.now => {
                    self.doing[index] = work(self.habits[index], self.now);
                    self.woke[index] = Some(self.now);
                    // Somebody on CPU 0 wakes it.
                    World::be_cpu(0);
                    let effects = self.hv.sched.unblock(&self.hv, &vcpu);
                    let own = u64::from(effects.todo.contains(Todo::RESCHEDULE));
                    self.look(effects.kick | own);
                }
                _ => {}
            }
        }
    }

    fn time_of(&self, index: usize) -> u64 {
        self.hv.sched.cpu_time(&self.vcpus[index], self.now)
    }

    /// The part of one CPU that each vCPU had since `since`, whose times are given, in per mille.
    fn parts(&self, before: &[u64], since: u64) -> Vec<u64> {
        let part =
            |(index, before): (usize, &u64)| (self.time_of(index) - before) * 1000 / (self.now - since);
        before.iter().enumerate().map(part).collect()
    }

    fn times(&self) -> Vec<u64> {
        (0..self.vcpus.len()).map(|index| self.time_of(index)).collect()
    }
}

fn work(habit: Habit, now: u64) -> Doing {
    match habit {
        Habit::Busy => Doing::Work(u64::MAX),
        Habit::Turns { run, .. } => Doing::Work(run),
        Habit::Dodges { period, before } => {
            Doing::Work((period - before).saturating_sub(now % period).max(1))
        }
    }
}

/// Parts of one CPU, in per mille, that busy vCPUs of these weights and caps deserve: by weight, but none more than a CPU or its part
/// of its domain's cap; what those leave is the others'.
fn fair(cpus: u32, rows: &[(u32, u32, u32, Habit)]) -> Vec<u64> {
    let each = rows.iter().flat_map(|(weight, cap, count, _)| {
        let most = if *cap == 0 { 1000.0 } else { (f64::from(*cap) * 10.0 / f64::from(*count)).min(1000.0) };
        (0..*count).map(move |_| (f64::from(*weight), most))
    });
    let all: Vec<(f64, f64)> = each.collect();
    let mut parts = alloc::vec![None; all.len()];
    loop {
        let used: f64 = parts.iter().flatten().sum();
        let open: f64 = all.iter().zip(&parts).filter(|(_, part)| part.is_none()).map(|((w, _), _)| w).sum();
        let left = f64::from(cpus) * 1000.0 - used;
        let full = (0..all.len()).filter(|&i| parts[i].is_none() && left * all[i].0 / open >= all[i].1);
        let full: Vec<usize> = full.collect();
        if full.is_empty() {
            let rest = |(i, part): (usize, &Option<f64>)| part.unwrap_or(left * all[i].0 / open) as u64;
            return parts.iter().enumerate().map(rest).collect();
        }
        full.into_iter().for_each(|i| parts[i] = Some(all[i].1));
    }
}

/// Sums up the parts of a capped domain's vCPUs: how they share their cap is not settled.
fn by_domain(rows: &[(u32, u32, u32, Habit)], parts: &[u64]) -> Vec<u64> {
    let mut parts = parts.iter().copied();
    let mut sums = Vec::new();
    for (_, cap, count, _) in rows {
        let own = parts.by_ref().take(*count as usize);
        if *cap == 0 { sums.extend(own) } else { sums.push(own.sum()) }
    }
    sums
}

/// Checks the parts of busy vCPUs against what is fair, within so many per cent, at least 4 per mille of a CPU.
fn check_fair(cpus: u32, rows: &[(u32, u32, u32, Habit)], seconds: u64, per_cent: u64) {
    let mut machine = Simulation::new(cpus, rows);
    machine.run(WAIT);
    let before = machine.times();
    machine.run((1 + seconds) * WAIT);
    let got = by_domain(rows, &machine.parts(&before, WAIT));
    let fair = by_domain(rows, &fair(cpus, rows));
    for (got_one, fair_one) in got.iter().zip(&fair) {
        let slack = (fair_one * per_cent / 100).max(4);
        let close = got_one.abs_diff(*fair_one) <= slack;
        assert!(close || !SHOWS, "{cpus} CPUs {rows:?}: {got:?}, fair is {fair:?}");
    }
}

const LONG: u64 = effort(20, 2);
/// What a second of a test's life is.
const WAIT: u64 = effort(SECOND, 4 * MS);
/// Whether that is long enough for parts to show; if not, the machines only live, with all other checks.
const SHOWS: bool = effort(true, false);

fn busy(weight: u32, cap: u32, vcpus: u32) -> (u32, u32, u32, Habit) {
    (weight, cap, vcpus, Habit::Busy)
}

#[test]
fn weights_hold_on_one_and_more_cpus() {
    let eight = [64, 128, 256, 256, 384, 512, 512, 768].map(|weight| busy(weight, 0, 1));
    for cpus in [1, 2, 4] {
        check_fair(cpus, &eight, LONG, 3);
        check_fair(cpus, &[busy(256, 0, 1), busy(512, 0, 1), busy(1024, 0, 1)], LONG, 3);
        check_fair(cpus, &[busy(256, 0, 4), busy(512, 0, 2), busy(100, 0, 3)], LONG, 3);
    }
    check_fair(2, &[busy(256, 0, 3)], LONG, 2);
    check_fair(1, &[busy(1, 0, 1), busy(1, 0, 1), busy(1, 0, 1)], LONG, 2);
    check_fair(2, &[busy(1, 0, 3), busy(2, 0, 1)], LONG, 3);
}

#[test]
fn caps_hold_and_leave_the_rest_to_others() {
    for cpus in [1, 2, 4] {
        check_fair(cpus, &[busy(256, 25, 1)], LONG, 2);
        check_fair(cpus, &[busy(256, 150, 4)], LONG, 3);
        check_fair(cpus, &[busy(256, 40, 1), busy(256, 0, 1), busy(256, 0, 2)], LONG, 5);
        check_fair(cpus, &[busy(512, 10, 1), busy(256, 50, 2), busy(256, 0, 4)], LONG, 5);
    }
    check_fair(2, &[busy(256, 1, 1), busy(256, 100, 3)], LONG, 3);
}

#[test]
fn what_cannot_be_given_is_not_held_against_others_later() {
    // One vCPU of great weight has a whole CPU, which is less than its part, for a minute; then a second one wakes.
    let late = Habit::Turns { run: 100 * SECOND, sleep: SECOND };
    let rows = [busy(4096, 0, 1), busy(256, 0, 2), (4096, 0, 1, late)];
    let mut machine = Simulation::new(2, &rows);
    let sleeper = machine.vcpus[3].clone();
    sleeper.sched.hold(Hold::BLOCKED);
    machine.doing[3] = Doing::Sleep(60 * WAIT);
    machine.look(3);
    machine.run(61 * WAIT);
    let before = machine.times();
    machine.run(91 * WAIT);
    let parts = machine.parts(&before, 61 * WAIT);
    // Fair is 941 for the great ones and 58 for the others.
    assert!(!SHOWS || parts[1] > 35 && parts[2] > 35, "{parts:?}");
    assert!(!SHOWS || parts[0].abs_diff(941) < 30 && parts[3].abs_diff(941) < 30, "{parts:?}");
}

#[test]
fn a_vcpu_that_may_run_on_one_cpu_only_neither_starves_nor_shuts_out() {
    let rows = [busy(256, 0, 1), busy(1024, 0, 1), busy(16, 0, 2)];
    let mut machine = Simulation::new(2, &rows);
    World::be_cpu(0);
    for index in [0, 1] {
        let effects =
            machine.hv.sched.set_affinity(&machine.hv, &machine.vcpus[index].clone(), Some(1), None).unwrap();
        machine.look(effects.kick | 1);
    }
    for index in [2, 3] {
        let effects =
            machine.hv.sched.set_affinity(&machine.hv, &machine.vcpus[index].clone(), Some(2), None).unwrap();
        machine.look(effects.kick | 1);
    }
    machine.run(WAIT);
    let before = machine.times();
    machine.run(31 * WAIT);
    let parts = machine.parts(&before, WAIT);
    for (part, fair) in parts.iter().zip([200, 800, 500, 500]) {
        assert!(!SHOWS || part.abs_diff(fair) <= fair * 4 / 100, "{parts:?}");
    }
    // Free to go anywhere again, all are served.
    World::be_cpu(0);
    for vcpu in machine.vcpus.clone() {
        let effects = machine.hv.sched.set_affinity(&machine.hv, &vcpu, Some(3), None).unwrap();
        machine.look(effects.kick | 1);
    }
    machine.run(41 * WAIT);
    let before = machine.times();
    machine.run(101 * WAIT);
    let parts = machine.parts(&before, 41 * WAIT);
    // Fair: the heavy one a CPU, of the other one 256, 16, 16 of 288.
    for (part, fair) in parts.iter().zip([889, 1000, 55, 55]) {
        assert!(!SHOWS || part.abs_diff(fair) <= 20, "{parts:?}");
    }
}

#[test]
fn an_idle_vcpu_that_wakes_waits_a_slice_at_most_among_busy_ones() {
    for cpus in [1, 2] {
        let mut rows = Vec::from([64, 128, 256, 256, 384, 512, 512, 768].map(|weight| busy(weight, 0, 1)));
        let idle = effort(40, 3);
        rows.extend((0..idle).map(|n| (256, 0, 1, Habit::Turns { run: 200_000, sleep: WAIT + n * 7 * MS })));
        let mut machine = Simulation::new(cpus, &rows);
        machine.run(10 * WAIT);
        let worst = machine.worst_wait[8..].iter().max();
        assert!(worst.is_some_and(|worst| *worst <= SLICE), "{cpus} CPUs: {:?}", machine.worst_wait);
    }
}

#[test]
fn caps_and_weights_of_random_mixes_hold() {
    let mut random = Random(11);
    for round in 0..effort(30, 3) {
        let cpus = [1, 2, 4][round % 3];
        let row = |random: &mut Random| {
            let cap = if random.below(3) == 0 { 10 + random.below(150) as u32 } else { 0 };
            busy(64 + random.below(960) as u32, cap, 1 + random.below(3) as u32)
        };
        let rows: Vec<_> = (0..2 + random.below(5)).map(|_| row(&mut random)).collect();
        // A capped vCPU that just cannot have its part of the cap loses some of what it could have.
        check_fair(cpus, &rows, LONG, 8);
    }
}

proptest! {
    #![proptest_config(cases(48, 2))]

    /// A vCPU gets no more than its part by sleeping at chosen moments, be it just before ticks, for moments, or in any rhythm; and
    /// those who compute get theirs.
    #[test]
    fn no_rhythm_of_sleep_gets_more_than_its_part(
        cpus in 1u32..3,
        hogs in 1u32..6,
        run in 1_000u64..60_000_000,
        sleep in 1_000u64..40_000_000,
        dodges in any::<bool>(),
        clones in 1u32..4,
    ) {
        let habit = if dodges {
            Habit::Dodges { period: 10 * MS, before: 1 + sleep % (2 * MS) }
        } else {
            Habit::Turns { run, sleep }
        };
        let hogs = hogs + cpus;
        let mut rows = alloc::vec![(256, 0, clones, habit)];
        rows.extend((0..hogs).map(|_| busy(256, 0, 1)));
        let mut machine = Simulation::new(cpus, &rows);
        machine.run(WAIT / 2);
        let before = machine.times();
        machine.run(6 * WAIT);
        let parts = machine.parts(&before, WAIT / 2);
        let part = 1000 * u64::from(cpus) / u64::from(hogs + clones);
        if SHOWS {
            for index in 0..clones as usize {
                prop_assert!(parts[index] <= part + part / 20 + 12, "{parts:?}, a part is {part}");
            }
            for hog in &parts[clones as usize..] {
                prop_assert!(*hog + part / 20 + 12 >= part, "{parts:?}, a part is {part}");
            }
        }
    }
}
