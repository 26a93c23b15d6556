//! Where a vCPU runs, and whether it stopped, when several CPUs have a say: in all interleavings with a few preemptions.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::explore::explore;
use super::relax;
use crate::Hypervisor;
use crate::addr::CpuId;
use crate::domain::{Domain, Vcpu};
use crate::effects::Effects;
use crate::effort::effort;
use crate::platform::Platform;
use crate::sched::tests::{guest, machine_of};
use crate::world::World;

const CPUS: u32 = 3;

/// A vCPU at home on CPU 0 of three.
struct Scene {
    hv: Hypervisor<World>,
    domain: Arc<Domain>,
    kicks: AtomicU64,
    over: AtomicBool,
    stopped: AtomicBool,
}

fn scene() -> Scene {
    World::be_cpu(0);
    let hv = machine_of(24, CPUS);
    let domain = guest(&hv, 1, 1);
    let _ = hv.sched.set_affinity(&hv, &domain.vcpus()[0], Some(0b001), None).unwrap();
    let scene = Scene {
        hv,
        domain,
        kicks: AtomicU64::new(0),
        over: AtomicBool::new(false),
        stopped: AtomicBool::new(false),
    };
    scene.choose(0);
    assert!(scene.runs_on(0));
    scene
}

/// The same, paused.
fn paused() -> Scene {
    let scene = scene();
    let _ = scene.hv.sched.pause_vcpu(&scene.hv, scene.vcpu());
    scene.choose(0);
    scene
}

impl Scene {
    fn vcpu(&self) -> &Arc<Vcpu> {
        &self.domain.vcpus()[0]
    }

    fn runs_on(&self, cpu: u32) -> bool {
        self.hv.sched.current(CpuId::new(cpu)).is_some_and(|vcpu| Arc::ptr_eq(&vcpu, self.vcpu()))
    }

    fn choose(&self, cpu: u32) {
        let _ = self.hv.sched.schedule(&self.hv, CpuId::new(cpu), self.hv.platform.now());
    }

    /// Interrupts that are sent.
    fn send(&self, effects: Effects) {
        self.kicks.fetch_or(effects.kick, Ordering::SeqCst);
    }

    /// Takes the interrupts that were sent to a CPU, by effects or at once; whether there were any.
    fn take_kick(&self, cpu: u32) -> bool {
        let mut at_once = self.hv.platform.kicks.lock().unwrap();
        let sent = at_once.drain(..).fold(0, |all, kick| all | kick);
        let all = self.kicks.fetch_or(sent, Ordering::SeqCst) | sent;
        self.kicks.fetch_and(!(1 << cpu), Ordering::SeqCst);
        all & 1 << cpu != 0
    }

    fn unpause(&self) {
        self.send(self.hv.sched.unpause_vcpu(&self.hv, self.vcpu()));
    }

    fn move_to(&self, cpu: u32) {
        self.send(self.hv.sched.set_affinity(&self.hv, self.vcpu(), Some(1 << cpu), None).unwrap());
    }

    /// A CPU that heeds its interrupts, until the others are done.
    fn heed(&self, cpu: u32) {
        while !self.over.load(Ordering::SeqCst) {
            if self.take_kick(cpu) {
                self.choose(cpu);
            } else {
                relax();
            }
        }
    }

    /// Stops the vCPU for a moment, as who looks at its registers does.
    fn look(&self) {
        let effects = self.hv.sched.pause_vcpu(&self.hv, self.vcpu());
        let (stopped, more) = self.hv.sched.await_stop(&self.hv, self.domain.vcpus());
        self.stopped.store(stopped && !self.runs_on(0), Ordering::SeqCst);
        self.send(effects.and(more).and(self.hv.sched.unpause_vcpu(&self.hv, self.vcpu())));
        self.over.store(true, Ordering::SeqCst);
    }

    fn settle(&self) {
        for cpu in 0..CPUS {
            World::be_cpu(cpu);
            self.choose(cpu);
        }
    }
}

/// One CPU wakes a vCPU by what its affinity was, while another changes that: it must not be left where it may not be.
#[test]
fn a_vcpu_that_wakes_while_its_affinity_changes_runs_where_it_may() {
    let change = |scene: &Scene| scene.move_to(2);
    let check = |scene: &Scene| {
        scene.settle();
        assert!(scene.runs_on(2), "{:?}", scene.vcpu().sched);
    };
    let runs = explore(2, paused, &[&change, &Scene::unpause], check);
    assert!(runs > effort(20, 0), "{runs}");
}

/// Whoever wants the registers of a vCPU that runs elsewhere gets them at the first try, and it goes on afterwards.
#[test]
fn a_vcpu_that_runs_alone_stops_for_who_looks_at_it() {
    let heed = |scene: &Scene| scene.heed(0);
    let check = |scene: &Scene| {
        assert!(scene.stopped.load(Ordering::SeqCst), "it runs on as if nothing had been");
        World::be_cpu(0);
        scene.choose(0);
        assert!(scene.runs_on(0), "{:?}", scene.vcpu().sched);
    };
    let runs = explore(1, scene, &[&heed, &Scene::look], check);
    assert!(runs > effort(10, 0), "{runs}");
}
