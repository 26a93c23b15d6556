//! The protocols by which CPUs wake and stop each other, in all interleavings with a few preemptions.
//!
//! The vCPU in question runs on CPU 0, and nobody else does. Whatever happens on other CPUs, at the end it runs there again: at
//! once, or after CPU 0 has heeded the interrupts that it was sent.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use super::explore::explore;
use crate::Hypervisor;
use crate::addr::{CpuId, EvtchnPort};
use crate::domain::{Domain, Vcpu};
use crate::effects::{Effects, Todo};
use crate::effort::effort;
use crate::event;
use crate::platform::Platform;
use crate::sched::tests::{guest, machine_of};
use crate::sched::{Hold, is_runnable};
use crate::time::{NEVER, areas};
use crate::trap::info;
use crate::world::World;

const CPU: CpuId = CpuId::new(0);

/// A vCPU that runs, and another domain that may send to it.
struct Scene {
    hv: Hypervisor<World>,
    sender: Arc<Domain>,
    from: EvtchnPort,
    domain: Arc<Domain>,
    port: EvtchnPort,
    kicks: AtomicU64,
}

fn scene() -> Scene {
    World::be_cpu(0);
    let hv = machine_of(24, 3);
    let (sender, domain) = (guest(&hv, 1, 1), guest(&hv, 2, 1));
    let _ = hv.sched.set_affinity(&hv, &sender.vcpus()[0], Some(0b110), None).unwrap();
    let _ = hv.sched.set_affinity(&hv, &domain.vcpus()[0], Some(0b001), None).unwrap();
    let from = event::alloc_unbound(&hv, &sender, domain.id).unwrap();
    let (port, _) = event::bind_interdomain(&hv, &domain, &sender, from).unwrap();
    let at = domain.vcpus()[0].info().unwrap();
    // Binding made the port pending; the guest has seen to it.
    hv.platform.store(at.mfn(), at.offset() / 8, 0);
    hv.platform.store(at.mfn(), at.offset() / 8 + 1, 0);
    hv.platform.store(domain.shared_info, 256, 0);
    let scene = Scene { hv, sender, from, domain, port, kicks: AtomicU64::new(0) };
    scene.choose();
    assert!(scene.runs());
    scene
}

impl Scene {
    fn vcpu(&self) -> &Arc<Vcpu> {
        &self.domain.vcpus()[0]
    }

    fn runs(&self) -> bool {
        self.hv.sched.current(CPU).is_some_and(|vcpu| Arc::ptr_eq(&vcpu, self.vcpu()))
    }

    /// CPU 0 chooses, as after an interrupt or because the vCPU gave up.
    fn choose(&self) {
        let _ = self.hv.sched.schedule(&self.hv, CPU, self.hv.platform.now());
    }

    /// What the image does with effects on CPU 0.
    fn here(&self, effects: Effects) {
        if effects.todo.contains(Todo::RESCHEDULE) {
            self.choose();
        }
    }

    /// On another CPU: interrupts that are sent.
    fn elsewhere(&self, effects: Effects) {
        self.kicks.fetch_or(effects.kick, Ordering::SeqCst);
    }

    fn block(&self) {
        info::set_masked(&self.hv, self.vcpu(), false);
        self.here(self.hv.sched.block(&self.hv, self.vcpu()));
    }

    fn poll(&self) {
        info::set_masked(&self.hv, self.vcpu(), true);
        self.here(event::poll(&self.hv, &self.domain, self.vcpu(), &[self.port], NEVER).unwrap());
    }

    fn send(&self) {
        self.elsewhere(event::send(&self.hv, &self.sender, self.from).unwrap());
    }

    fn pause(&self) {
        self.elsewhere(self.hv.sched.pause_vcpu(&self.hv, self.vcpu()));
        self.elsewhere(self.hv.sched.unpause_vcpu(&self.hv, self.vcpu()));
    }

    fn pause_domain(&self) {
        self.elsewhere(self.hv.sched.pause_domain(&self.hv, &self.domain));
        self.elsewhere(self.hv.sched.unpause_domain(&self.hv, &self.domain));
    }

    /// The interrupts arrive.
    fn settle(&self) {
        World::be_cpu(0);
        let sent = self.hv.platform.kicks.lock().unwrap().iter().fold(0, |all, kick| all | kick);
        if (self.kicks.load(Ordering::SeqCst) | sent) & 1 != 0 {
            self.choose();
        }
    }

    fn must_run(&self) {
        self.settle();
        assert!(is_runnable(self.vcpu()), "held back by {:?}", self.vcpu().sched.holds());
        assert!(self.runs(), "runnable, but it does not run: {:?}", self.vcpu().sched);
    }
}

#[test]
fn an_event_ends_a_block() {
    let runs = explore(1, scene, &[&Scene::block, &Scene::send], Scene::must_run);
    assert!(runs > effort(20, 0), "{runs}");
}

#[test]
fn an_event_ends_a_poll_though_upcalls_are_masked() {
    let runs = explore(1, scene, &[&Scene::poll, &Scene::send], Scene::must_run);
    assert!(runs > effort(20, 0), "{runs}");
}

#[test]
fn a_pause_that_is_taken_back_leaves_the_vcpu_running() {
    explore(1, scene, &[&Scene::choose, &Scene::pause], Scene::must_run);
    explore(1, scene, &[&Scene::choose, &Scene::pause_domain], Scene::must_run);
}

#[test]
fn pauses_do_not_swallow_events() {
    let runs = explore(1, scene, &[&Scene::block, &Scene::send, &Scene::pause], Scene::must_run);
    assert!(runs > effort(20, 0), "{runs}");
}

/// An event is on its way while the domain is stopped for good: it must not run once it has been found stopped.
#[test]
fn who_was_stopped_is_not_woken_by_a_late_event() {
    let stop = |scene: &Scene| scene.elsewhere(scene.hv.sched.pause_vcpu(&scene.hv, scene.vcpu()));
    let check = |scene: &Scene| {
        scene.settle();
        assert!(!scene.runs(), "it is paused, and runs");
    };
    explore(1, scene, &[&Scene::block, &Scene::send, &stop], check);
}

#[test]
fn down_and_up_agree_on_who_was_last() {
    let down = |scene: &Scene| scene.here(scene.hv.sched.down(&scene.hv, scene.vcpu()));
    let up = |scene: &Scene| scene.elsewhere(scene.hv.sched.up(&scene.hv, scene.vcpu()).1);
    let check = |scene: &Scene| {
        scene.settle();
        let is_down = scene.vcpu().sched.holds().contains(Hold::DOWN);
        assert_eq!(scene.runs(), !is_down);
    };
    let runs = explore(1, scene, &[&down, &up], check);
    assert!(runs > effort(10, 0), "{runs}");
}

/// The guest's side of the clock: version, values, version; what it takes belongs together.
#[test]
fn a_guest_never_takes_half_of_the_clock() {
    const TIME: usize = core::mem::offset_of!(abi::xen::VcpuInfo, time) / 8;
    let write = |scene: &Scene| {
        for now in [1000, 2000] {
            scene.hv.platform.set_now(now);
            areas::update_vcpu_time(&scene.hv, scene.vcpu());
        }
    };
    let read = |scene: &Scene| {
        let at = scene.vcpu().info().unwrap();
        let word = |n: usize| scene.hv.platform.load(at.mfn(), at.offset() / 8 + TIME + n);
        for _ in 0..2 {
            let before = word(0) as u32;
            let (tsc, ns) = (word(1), word(2));
            let after = word(0) as u32;
            if before & 1 == 0 && before == after {
                assert_eq!(tsc, ns, "version {before}");
            }
        }
    };
    let runs = explore(2, scene, &[&write, &read], |_| {});
    assert!(runs > effort(20, 0), "{runs}");
}
