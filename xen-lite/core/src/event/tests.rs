//! Tests of event channels. Rows of the advisories that they answer to are named.

use std::vec::Vec;

use abi::xen::{VIRQ_CONSOLE, VIRQ_DEBUG, VIRQ_DOM_EXC, VIRQ_TIMER};

use super::*;
use crate::addr::{CpuId, MachineAddr, Mfn, VcpuId};
use crate::domain::Vcpu;
use crate::effects::{Effects, Todo};
use crate::effort::effort;
use crate::fail::Fail;
use crate::frame::{Owner, audit::audit};
use crate::hypervisor::Hypervisor;
use crate::mm::give_frames;
use crate::platform::Platform;
use crate::sched::tests::{Random, guest, machine_of};
use crate::trap::info;
use crate::world::World;

const PENDING: usize = 256;
const MASK: usize = 320;

fn port(number: u32) -> EvtchnPort {
    EvtchnPort::new(number)
}

fn connect(hv: &Hypervisor<World>, a: &Arc<Domain>, b: &Arc<Domain>) -> (EvtchnPort, EvtchnPort) {
    let waiting = alloc_unbound(hv, a, b.id).unwrap();
    let (bound, _) = bind_interdomain(hv, b, a, waiting).unwrap();
    consume(hv, b);
    (waiting, bound)
}

/// The guest looks at its events as a kernel does, and takes what is pending.
fn consume(hv: &Hypervisor<World>, domain: &Domain) -> Vec<u32> {
    let mut found = Vec::new();
    for vcpu in domain.vcpus() {
        found.extend(consume_on(hv, domain, vcpu));
    }
    found
}

fn consume_on(hv: &Hypervisor<World>, domain: &Domain, vcpu: &Vcpu) -> Vec<u32> {
    let at = vcpu.info().unwrap();
    let (mfn, word) = (at.mfn(), at.offset() / 8);
    if hv.platform.fetch_and(mfn, word, !0xff) & 0xff == 0 {
        return Vec::new();
    }
    let selector = hv.platform.fetch_and(mfn, word + 1, 0);
    let mut found = Vec::new();
    for group in (0..64).filter(|group| selector >> group & 1 == 1) {
        let unmasked = !hv.platform.load(domain.shared_info, MASK + group);
        let bits = hv.platform.fetch_and(domain.shared_info, PENDING + group, !unmasked) & unmasked;
        found.extend((0..64).filter(|bit| bits >> bit & 1 == 1).map(|bit| group as u32 * 64 + bit));
    }
    found
}

#[test]
fn ports_are_given_out_from_the_lowest_and_port_0_never() {
    let hv = machine_of(64, 1);
    let one = guest(&hv, 1, 1);
    let ports: Vec<_> = (0..5).map(|_| alloc_unbound(&hv, &one, DomId::DOM0).unwrap().raw()).collect();
    assert_eq!(ports, [1, 2, 3, 4, 5]);
    close(&hv, &one, port(2)).unwrap();
    close(&hv, &one, port(4)).unwrap();
    assert_eq!(alloc_unbound(&hv, &one, DomId::DOM0).unwrap(), port(2));
    assert_eq!(alloc_unbound(&hv, &one, DomId::DOM0).unwrap(), port(4));
    assert_eq!(alloc_unbound(&hv, &one, DomId::DOM0).unwrap(), port(6));
    for bad in [0, 7, 127, 128, 4096, FIFO_PORTS, u32::MAX] {
        assert_eq!(close(&hv, &one, port(bad)), Err(Errno::EINVAL), "port {bad}");
        assert_eq!(send(&hv, &one, port(bad)), Err(Errno::EINVAL), "port {bad}");
    }
}

#[test]
fn there_are_as_many_ports_as_the_limits_say() {
    let hv = machine_of(64, 1);
    let one = guest(&hv, 1, 1);
    let count = (1..).take_while(|_| alloc_unbound(&hv, &one, DomId::DOM0).is_ok()).count();
    assert_eq!(count as u32, TWO_LEVEL_PORTS - 1);
    assert_eq!(alloc_unbound(&hv, &one, DomId::DOM0), Err(Errno::ENOSPC));
    let mut few = Domain::new(DomId::new(9), false, Mfn::new(1), 0, Arc::default());
    few.events = Events::new(10);
    assert_eq!((1..).take_while(|_| alloc_unbound(&hv, &few, DomId::DOM0).is_ok()).count(), 10);
}

#[test]
fn an_event_reaches_the_other_end_and_wakes_it_once() {
    let hv = machine_of(64, 1);
    let (one, two) = (guest(&hv, 1, 1), guest(&hv, 2, 1));
    let (a, b) = connect(&hv, &one, &two);
    let receiver = &two.vcpus()[0];
    World::be_cpu(0);
    while hv.sched.current(CpuId::new(0)).is_none_or(|vcpu| !Arc::ptr_eq(&vcpu, receiver)) {
        hv.platform.set_now(hv.platform.now() + crate::sched::SLICE);
        let _ = hv.sched.schedule(&hv, CpuId::new(0), hv.platform.now());
    }
    let _ = hv.sched.block(&hv, receiver);
    let _ = hv.sched.schedule(&hv, CpuId::new(0), hv.platform.now());
    assert!(!crate::sched::is_runnable(receiver));
    let _ = send(&hv, &one, a).unwrap();
    assert!(crate::sched::is_runnable(receiver));
    assert!(info::upcall_due(&hv, receiver));
    assert_eq!(send(&hv, &one, a).unwrap(), Effects::NONE);
    assert_eq!(consume(&hv, &two), [b.raw()]);
    assert_eq!(consume(&hv, &two), []);
    let _ = send(&hv, &two, b).unwrap();
    assert_eq!(consume(&hv, &one), [a.raw()]);
}

#[test]
fn a_running_receiver_on_another_cpu_is_kicked() {
    let hv = machine_of(64, 2);
    let (one, two) = (guest(&hv, 1, 1), guest(&hv, 2, 1));
    let (a, _) = connect(&hv, &one, &two);
    let home = two.vcpus()[0].sched.cpu().raw();
    let _ = hv.sched.pause_domain(&hv, &one);
    World::be_cpu(home);
    assert!(hv.sched.schedule(&hv, CpuId::new(home), 2).next.is_some());
    World::be_cpu(1 - home);
    assert_eq!(send(&hv, &one, a).unwrap().kick, 1 << home);
    assert_eq!(send(&hv, &one, a).unwrap().kick, 0);
}

#[test]
fn a_masked_event_waits_for_its_unmasking() {
    let hv = machine_of(64, 1);
    let (one, two) = (guest(&hv, 1, 1), guest(&hv, 2, 1));
    let (a, b) = connect(&hv, &one, &two);
    hv.platform.fetch_or(two.shared_info, MASK, 1 << b.raw());
    let _ = send(&hv, &one, a).unwrap();
    assert!(!info::upcall_pending(&hv, &two.vcpus()[0]));
    assert!(is_pending(&hv, &two, b).unwrap());
    let _ = unmask(&hv, &two, b).unwrap();
    assert_eq!(consume(&hv, &two), [b.raw()]);
    let _ = unmask(&hv, &two, b).unwrap();
    assert_eq!(consume(&hv, &two), []);
}

#[test]
fn only_the_domain_that_a_port_waits_for_may_bind_to_it() {
    let hv = machine_of(64, 1);
    let (one, two, three) = (guest(&hv, 1, 1), guest(&hv, 2, 1), guest(&hv, 3, 1));
    let waiting = alloc_unbound(&hv, &one, two.id).unwrap();
    let refused = |by: &Arc<Domain>, port| bind_interdomain(&hv, by, &one, port).unwrap_err();
    assert_eq!(refused(&three, waiting), Errno::EINVAL);
    assert_eq!(refused(&one, waiting), Errno::EINVAL);
    assert_eq!(refused(&two, port(0)), Errno::EINVAL);
    assert_eq!(refused(&two, port(9)), Errno::EINVAL);
    assert_eq!(refused(&two, port(1 << 30)), Errno::EINVAL);
    // What was refused used up no port.
    let (bound, _) = bind_interdomain(&hv, &two, &one, waiting).unwrap();
    assert_eq!(bound, port(1));
    assert_eq!(refused(&two, waiting), Errno::EINVAL, "connected already");
    assert_eq!(consume(&hv, &two), [1], "the binder is told to look");
}

#[test]
fn a_domain_may_connect_to_itself() {
    let hv = machine_of(64, 1);
    let one = guest(&hv, 1, 1);
    let (a, b) = connect(&hv, &one, &one);
    let _ = send(&hv, &one, a).unwrap();
    assert_eq!(consume(&hv, &one), [b.raw()]);
    let _ = send(&hv, &one, b).unwrap();
    assert_eq!(consume(&hv, &one), [a.raw()]);
    close(&hv, &one, a).unwrap();
    assert!(matches!(status(&one, b).unwrap().channel, Channel::Unbound { remote } if remote == one.id));
    assert!(matches!(status(&one, a).unwrap().channel, Channel::Free));
}

#[test]
fn the_other_end_of_a_closed_connection_waits_for_the_same_domain() {
    let hv = machine_of(64, 1);
    let (one, two) = (guest(&hv, 1, 1), guest(&hv, 2, 1));
    let (a, b) = connect(&hv, &one, &two);
    let _ = send(&hv, &one, a).unwrap();
    close(&hv, &two, b).unwrap();
    assert!(!is_pending(&hv, &two, b).unwrap(), "a closed port is not pending");
    assert!(matches!(status(&one, a).unwrap().channel, Channel::Unbound { remote } if remote == two.id));
    // XSA-107 and its like: sending into nothing is no error and no event.
    assert_eq!(send(&hv, &one, a), Ok(Effects::NONE));
    assert_eq!(close(&hv, &two, b), Err(Errno::EINVAL));
    let (again, _) = bind_interdomain(&hv, &two, &one, a).unwrap();
    assert_eq!(again, b);
}

#[test]
fn an_event_does_not_reach_a_port_that_was_bound_anew() {
    let hv = machine_of(64, 1);
    let (one, two) = (guest(&hv, 1, 1), guest(&hv, 2, 1));
    let (a, b) = connect(&hv, &one, &two);
    close(&hv, &two, b).unwrap();
    let other = bind_virq(&hv, &two, VIRQ_DEBUG, VcpuId::new(0)).unwrap();
    assert_eq!(other, b);
    let _ = send(&hv, &one, a).unwrap();
    assert!(!is_pending(&hv, &two, other).unwrap());
}

#[test]
fn virtual_interrupts_are_bound_once_and_sent_to_whoever_bound_them() {
    let hv = machine_of(64, 1);
    let (control, one) = (guest(&hv, 0, 2), guest(&hv, 1, 2));
    let second = VcpuId::new(1);
    assert_eq!(bind_virq(&hv, &one, VIRQS as u32, FIRST), Err(Errno::EINVAL));
    assert_eq!(bind_virq(&hv, &one, u32::MAX, FIRST), Err(Errno::EINVAL));
    assert_eq!(bind_virq(&hv, &one, VIRQ_TIMER, VcpuId::new(2)), Err(Errno::ENOENT));
    assert_eq!(bind_virq(&hv, &one, VIRQ_CONSOLE, second), Err(Errno::EINVAL));
    let timers =
        [bind_virq(&hv, &one, VIRQ_TIMER, FIRST).unwrap(), bind_virq(&hv, &one, VIRQ_TIMER, second).unwrap()];
    assert_eq!(bind_virq(&hv, &one, VIRQ_TIMER, second), Err(Errno::EEXIST));
    let _ = send_vcpu_virq(&hv, &one, &one.vcpus()[1], VIRQ_TIMER);
    assert_eq!(consume_on(&hv, &one, &one.vcpus()[0]), []);
    assert_eq!(consume_on(&hv, &one, &one.vcpus()[1]), [timers[1].raw()]);
    assert_eq!(send(&hv, &one, timers[0]), Err(Errno::EINVAL), "nothing is sent from an interrupt");
    close(&hv, &one, timers[1]).unwrap();
    let _ = send_vcpu_virq(&hv, &one, &one.vcpus()[1], VIRQ_TIMER);
    assert_eq!(consume(&hv, &one), []);
    assert_eq!(bind_virq(&hv, &one, VIRQ_TIMER, second), Ok(timers[1]));

    let exception = bind_virq(&hv, &control, VIRQ_DOM_EXC, FIRST).unwrap();
    bind_vcpu(&control, exception, second).unwrap();
    let _ = send_global_virq(&hv, VIRQ_DOM_EXC);
    assert_eq!(consume_on(&hv, &control, &control.vcpus()[1]), [exception.raw()]);
    assert_eq!(send_global_virq(&hv, VIRQ_CONSOLE), Effects::NONE);
}

const FIRST: VcpuId = VcpuId::new(0);

#[test]
fn what_belongs_to_a_vcpu_stays_there() {
    let hv = machine_of(64, 1);
    let one = guest(&hv, 1, 2);
    let second = VcpuId::new(1);
    let timer = bind_virq(&hv, &one, VIRQ_TIMER, FIRST).unwrap();
    let ipi = bind_ipi(&hv, &one, second).unwrap();
    let waiting = alloc_unbound(&hv, &one, DomId::DOM0).unwrap();
    assert_eq!(bind_ipi(&hv, &one, VcpuId::new(2)), Err(Errno::ENOENT));
    assert_eq!(bind_vcpu(&one, timer, second), Err(Errno::EINVAL));
    assert_eq!(bind_vcpu(&one, ipi, FIRST), Err(Errno::EINVAL));
    assert_eq!(bind_vcpu(&one, port(0), FIRST), Err(Errno::EINVAL));
    assert_eq!(bind_vcpu(&one, port(99), FIRST), Err(Errno::EINVAL));
    assert_eq!(bind_vcpu(&one, waiting, VcpuId::new(2)), Err(Errno::ENOENT));
    bind_vcpu(&one, waiting, second).unwrap();
    assert_eq!(status(&one, waiting).unwrap().vcpu, second);
    let _ = send(&hv, &one, ipi).unwrap();
    assert_eq!(consume_on(&hv, &one, &one.vcpus()[1]), [ipi.raw()]);
    // A port that is closed and used again is the first vCPU's again.
    close(&hv, &one, waiting).unwrap();
    assert_eq!(status(&one, alloc_unbound(&hv, &one, DomId::DOM0).unwrap()).unwrap().vcpu, FIRST);
}

#[test]
fn a_hardware_interrupt_is_bound_once() {
    let hv = machine_of(64, 1);
    let one = guest(&hv, 1, 1);
    let bound = bind_pirq(&hv, &one, 9).unwrap();
    assert_eq!(bind_pirq(&hv, &one, 9), Err(Errno::EEXIST));
    let _ = notify_port(&hv, &one, bound).unwrap();
    assert_eq!(consume(&hv, &one), [bound.raw()]);
    assert_eq!(notify_port(&hv, &one, port(0)), Err(Errno::EINVAL));
    assert_eq!(notify_port(&hv, &one, port(5)), Err(Errno::EINVAL));
}

/// XSA-344: closing very many ports can be interrupted, goes on where it was, and ends.
#[test]
fn a_reset_closes_everything_in_portions() {
    let hv = machine_of(64, 1);
    let (one, two) = (guest(&hv, 1, 1), guest(&hv, 2, 1));
    let (ports, portions) = effort((500, 5), (66, 1));
    let pairs: Vec<_> = (0..ports).map(|_| connect(&hv, &one, &two)).collect();
    hv.platform.interrupt_every(1);
    let mut rounds = 0;
    while let Err(fail) = reset(&hv, &one, true) {
        assert_eq!(fail, Fail::Again);
        rounds += 1;
        assert!(rounds < 100);
    }
    assert!(rounds >= portions, "{rounds} interruptions for {ports} ports");
    for (a, b) in pairs {
        assert!(matches!(status(&one, a).unwrap().channel, Channel::Free));
        assert!(matches!(status(&two, b).unwrap().channel, Channel::Unbound { .. }));
    }
    assert_eq!(alloc_unbound(&hv, &one, two.id), Ok(port(1)));
}

#[test]
fn a_dead_domain_has_no_ports_gets_none_and_is_not_kept_alive_by_others() {
    let hv = machine_of(64, 1);
    let (one, two) = (guest(&hv, 1, 1), guest(&hv, 2, 1));
    connect(&hv, &one, &two);
    connect(&hv, &two, &one);
    connect(&hv, &one, &one);
    let before = Arc::strong_count(&one);
    close_all(&hv, &one).unwrap();
    assert_eq!(Arc::strong_count(&one), before - 4);
    assert_eq!(alloc_unbound(&hv, &one, two.id), Err(Errno::EINVAL));
    assert_eq!(bind_virq(&hv, &one, VIRQ_TIMER, FIRST), Err(Errno::EINVAL));
    let waiting = alloc_unbound(&hv, &two, one.id).unwrap();
    assert_eq!(bind_interdomain(&hv, &one, &two, waiting).unwrap_err(), Errno::EINVAL);
    assert!(matches!(status(&two, waiting).unwrap().channel, Channel::Unbound { .. }));
}

#[test]
fn polling_ends_with_any_of_its_ports_even_masked_ones() {
    let hv = machine_of(64, 1);
    let (one, two) = (guest(&hv, 1, 1), guest(&hv, 2, 1));
    let (a, b) = connect(&hv, &one, &two);
    let (c, d) = connect(&hv, &one, &two);
    let poller = &two.vcpus()[0];
    hv.platform.fetch_or(two.shared_info, MASK, u64::MAX);
    assert_eq!(poll(&hv, &two, poller, &[b, port(999)], 0), Err(Errno::EINVAL));
    assert!(crate::sched::is_runnable(poller));
    for (ports, sent, ends) in [(&[b][..], a, true), (&[d], a, false), (&[b, d], c, true), (&[], a, true)] {
        hv.platform.store(two.shared_info, PENDING, 0);
        assert_eq!(poll(&hv, &two, poller, ports, crate::time::NEVER).unwrap().todo, Todo::RESCHEDULE);
        assert!(!crate::sched::is_runnable(poller));
        let _ = send(&hv, &one, sent).unwrap();
        assert_eq!(crate::sched::is_runnable(poller), ends, "{ports:?} and {sent}");
        let _ = hv.sched.unblock(&hv, poller);
    }
    // What is pending already ends it before it begins.
    assert_eq!(poll(&hv, &two, poller, &[b], crate::time::NEVER), Ok(Effects::NONE));
    hv.platform.store(two.shared_info, PENDING, 0);
    let _ = mark_upcall(&hv, poller);
    assert_eq!(poll(&hv, &two, poller, &[b], crate::time::NEVER), Ok(Effects::NONE));
    assert_eq!(two.events.pollers.load(core::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn a_poll_ends_when_its_time_is_over() {
    let hv = machine_of(64, 1);
    let one = guest(&hv, 1, 1);
    let poller = &one.vcpus()[0];
    let _ = hv.sched.schedule(&hv, CpuId::new(0), 1);
    let _ = poll(&hv, &one, poller, &[], 5000).unwrap();
    assert!(hv.sched.schedule(&hv, CpuId::new(0), 2).next.is_none());
    assert_eq!(hv.platform.timer(), 5000);
    hv.platform.set_now(5000);
    let _ = crate::time::tick(&hv, CpuId::new(0), 5000);
    assert!(hv.sched.schedule(&hv, CpuId::new(0), 5000).next.is_some());
    assert_eq!(one.events.pollers.load(core::sync::atomic::Ordering::Relaxed), 0);
}

/// Poll against send, step by step in all orders: the poller goes on.
#[test]
fn no_poll_sleeps_over_its_event() {
    for order in (0u32..16).filter(|bits| bits.count_ones() == 2) {
        let hv = machine_of(64, 1);
        let (one, two) = (guest(&hv, 1, 1), guest(&hv, 2, 1));
        let (a, b) = connect(&hv, &one, &two);
        let poller = &two.vcpus()[0];
        hv.platform.fetch_or(two.shared_info, MASK, 1 << b.raw());
        let (mut polls, mut sends, mut was) = (0, 0, false);
        for step in 0..4 {
            match (order >> step & 1, polls, sends) {
                (0, 0, _) => {
                    poller.sched.set_poll(b.raw());
                    two.events.pollers.fetch_add(1, core::sync::atomic::Ordering::SeqCst);
                    hv.sched.start_wait(poller);
                    polls = 1;
                }
                (0, ..) => {
                    if is_pending(&hv, &two, b).unwrap() {
                        hv.sched.cancel_wait(poller);
                    }
                }
                (_, _, 0) => {
                    was = hv.platform.fetch_or(two.shared_info, PENDING, 1 << b.raw()) >> b.raw() & 1 == 1;
                    sends = 1;
                }
                _ => {
                    // The second half of `raise`.
                    if !was && two.events.pollers.load(core::sync::atomic::Ordering::SeqCst) != 0 {
                        let polled = poller.sched.poll();
                        if polled == b.raw() {
                            let _ = hv.sched.unblock(&hv, poller);
                        }
                    }
                }
            }
        }
        assert!(crate::sched::is_runnable(poller), "order {order:04b}");
        let _ = a;
    }
}

/// Two CPUs connect, send and close at random between three domains (XSA-340, XSA-343, XSA-359): nobody waits for ever, and all
/// ends agree afterwards.
#[test]
fn races_leave_both_ends_in_agreement() {
    let hv = machine_of(64, 2);
    let domains = [guest(&hv, 1, 1), guest(&hv, 2, 1), guest(&hv, 3, 1)];
    let rounds = effort(20_000, 100);
    std::thread::scope(|scope| {
        for cpu in 0..2 {
            let (hv, domains) = (&hv, &domains);
            scope.spawn(move || {
                World::be_cpu(cpu);
                let mut random = Random(u64::from(cpu) + 1);
                for _ in 0..rounds {
                    let a = &domains[random.below(3) as usize];
                    let b = &domains[random.below(3) as usize];
                    let some = port(1 + random.below(12) as u32);
                    match random.below(5) {
                        0 if some.raw() < 10 => drop(alloc_unbound(hv, a, b.id)),
                        1 => drop(bind_interdomain(hv, a, b, some)),
                        2 => drop(close(hv, a, some)),
                        3 => drop(bind_vcpu(a, some, FIRST)),
                        _ => drop(send(hv, a, some)),
                    }
                }
            });
        }
    });
    for domain in &domains {
        let end = domain.events.lock().valid_ports();
        for number in 1..end {
            let Channel::Interdomain { peer, port: theirs } = status(domain, port(number)).unwrap().channel
            else {
                continue;
            };
            let back = status(&peer, theirs).unwrap().channel;
            assert!(
                matches!(&back, Channel::Interdomain { peer, port: mine } if Arc::ptr_eq(peer, domain) && mine.raw() == number),
                "{} {number} says {} {theirs}, which is {back:?}",
                domain.id,
                peer.id
            );
        }
    }
}

#[test]
fn no_event_is_lost_when_a_vcpu_moves_its_information() {
    let hv = machine_of(64, 1);
    let (one, two) = (guest(&hv, 1, 1), guest(&hv, 2, 1));
    let (a, b) = connect(&hv, &one, &two);
    let vcpu = &two.vcpus()[0];
    let page = give_frames(&hv, &two, 0).unwrap();
    // The event comes between the copy and the move.
    let _ = send(&hv, &one, a).unwrap();
    vcpu.set_info(Some(MachineAddr::new(page.raw() << 12)));
    let _ = info_moved(&hv, vcpu);
    assert_eq!(consume(&hv, &two), [b.raw()]);
}

// ---- FIFO ----

/// A guest that uses event words, as Linux does it.
struct Fifo<'h> {
    hv: &'h Hypervisor<World>,
    domain: Arc<Domain>,
    array: Vec<Mfn>,
    control: Vec<Mfn>,
    heads: Vec<[u32; 16]>,
}

impl<'h> Fifo<'h> {
    fn new(hv: &'h Hypervisor<World>, domain: &Arc<Domain>) -> Fifo<'h> {
        let mut fifo =
            Fifo { hv, domain: domain.clone(), array: Vec::new(), control: Vec::new(), heads: Vec::new() };
        for vcpu in domain.vcpus() {
            let frame = give_frames(hv, domain, 0).unwrap();
            init_control(hv, domain, vcpu, frame, 128).unwrap();
            fifo.control.push(frame);
            fifo.heads.push([0; 16]);
        }
        let _ = fifo.expand();
        fifo
    }

    fn expand(&mut self) -> Effects {
        let frame = give_frames(self.hv, &self.domain, 0).unwrap();
        self.array.push(frame);
        expand_array(self.hv, &self.domain, frame).unwrap()
    }

    fn place(&self, port: u32) -> (Mfn, usize, u32) {
        (self.array[port as usize / 1024], port as usize % 1024 / 2, port % 2 * 32)
    }

    fn word(&self, port: u32) -> u32 {
        let (mfn, index, shift) = self.place(port);
        (self.hv.platform.load(mfn, index) >> shift) as u32
    }

    fn set(&self, port: u32, bits: u32) {
        let (mfn, index, shift) = self.place(port);
        self.hv.platform.fetch_or(mfn, index, u64::from(bits) << shift);
    }

    fn clear(&self, port: u32, bits: u32) -> u32 {
        let (mfn, index, shift) = self.place(port);
        (self.hv.platform.fetch_and(mfn, index, !(u64::from(bits) << shift)) >> shift) as u32
    }

    /// Takes at most `most` events of a vCPU in the order of priorities.
    fn consume(&mut self, vcpu: usize, most: usize) -> Vec<u32> {
        let at = self.domain.vcpus()[vcpu].info().unwrap();
        self.hv.platform.fetch_and(at.mfn(), at.offset() / 8, !0xff);
        let control = self.control[vcpu];
        let mut ready = self.hv.platform.fetch_and(control, 16, !0xffff_ffff) as u32;
        let mut found = Vec::new();
        while ready != 0 && found.len() < most {
            let queue = ready.trailing_zeros() as usize;
            let mut head = self.heads[vcpu][queue];
            if head == 0 {
                head = (self.hv.platform.load(control, 17 + queue / 2) >> (queue % 2 * 32)) as u32;
            }
            let word = self.clear(head, 1 << 29 | 0x1_ffff);
            let link = word & 0x1_ffff;
            if link == 0 {
                ready &= !(1 << queue);
            }
            self.heads[vcpu][queue] = link;
            if word >> 31 & 1 == 1 && word >> 30 & 1 == 0 {
                self.clear(head, 1 << 31);
                found.push(head);
            }
            ready |= self.hv.platform.fetch_and(control, 16, !0xffff_ffff) as u32;
        }
        if ready != 0 {
            self.hv.platform.fetch_or(control, 16, ready.into());
            let _ = mark_upcall(self.hv, &self.domain.vcpus()[vcpu]);
        }
        found
    }
}

#[test]
fn control_blocks_and_arrays_are_checked() {
    let hv = machine_of(64, 1);
    let (one, two) = (guest(&hv, 1, 2), guest(&hv, 2, 1));
    let [page, more] = [0, 1].map(|_| give_frames(&hv, &one, 0).unwrap());
    let foreign = give_frames(&hv, &two, 0).unwrap();
    let (first, second) = (&one.vcpus()[0], &one.vcpus()[1]);
    let refused = |vcpu, frame, offset| init_control(&hv, &one, vcpu, frame, offset).unwrap_err();
    let invalid = Fail::Errno(Errno::EINVAL);
    assert_eq!(expand_array(&hv, &one, page), Err(Fail::Errno(Errno::EOPNOTSUPP)));
    assert_eq!(set_priority(&one, port(1), 3), Err(Errno::EINVAL));
    let waiting = alloc_unbound(&hv, &one, two.id).unwrap();
    assert_eq!(set_priority(&one, waiting, 3), Err(Errno::ENOSYS));
    for offset in [4096, 4096 - 64, 4, 1, u32::MAX, u32::MAX - 7] {
        assert_eq!(refused(first, page, offset), invalid, "offset {offset}");
    }
    for frame in [foreign, Mfn::new(0), Mfn::new(1 << 40), Mfn::INVALID] {
        assert_eq!(refused(first, frame, 0), invalid, "{frame}");
    }
    init_control(&hv, &one, first, page, 4096 - 72).unwrap();
    assert_eq!(refused(first, more, 0), invalid, "a second control block");
    init_control(&hv, &one, second, page, 0).unwrap();
    for frame in [foreign, Mfn::new(0), Mfn::INVALID] {
        assert_eq!(expand_array(&hv, &one, frame), Err(invalid), "{frame}");
    }
    assert_eq!(set_priority(&one, waiting, 16), Err(Errno::EINVAL));
    assert_eq!(set_priority(&one, waiting, 15), Ok(()));
    let full = (0..).find_map(|_| expand_array(&hv, &one, more).err());
    assert_eq!(full, Some(Fail::Errno(Errno::ENOSPC)));
    // More ports than bits in the shared page.
    let most = effort(FIFO_PORTS - 2, 200);
    let ports = (0..effort(u32::MAX, most)).take_while(|_| alloc_unbound(&hv, &one, two.id).is_ok()).count();
    assert_eq!(ports as u32, most);
}

#[test]
fn queues_are_first_in_first_out_and_urgent_ones_go_first() {
    let hv = machine_of(64, 1);
    let (one, two) = (guest(&hv, 1, 1), guest(&hv, 2, 1));
    let pairs: Vec<_> = (0..6).map(|_| connect(&hv, &one, &two)).collect();
    let mut fifo = Fifo::new(&hv, &two);
    set_priority(&two, pairs[4].1, 0).unwrap();
    set_priority(&two, pairs[1].1, 15).unwrap();
    for n in [2, 1, 0, 4, 3, 2] {
        let _ = send(&hv, &one, pairs[n].0).unwrap();
    }
    assert!(info::upcall_pending(&hv, &two.vcpus()[0]));
    let expected: Vec<_> = [4, 2, 0, 3, 1].iter().map(|n| pairs[*n].1.raw()).collect();
    assert_eq!(fifo.consume(0, 99), expected);
    assert_eq!(fifo.consume(0, 99), []);
}

#[test]
fn what_came_before_its_word_comes_with_it() {
    let hv = machine_of(64, 1);
    let (one, two) = (guest(&hv, 1, 1), guest(&hv, 2, 1));
    let (a, b) = connect(&hv, &one, &two);
    let (c, d) = connect(&hv, &one, &two);
    let _ = send(&hv, &one, a).unwrap();
    let frame = give_frames(&hv, &two, 0).unwrap();
    init_control(&hv, &two, &two.vcpus()[0], frame, 128).unwrap();
    let _ = send(&hv, &one, c).unwrap();
    let mut fifo = Fifo {
        hv: &hv,
        domain: two.clone(),
        array: Vec::new(),
        control: [frame].into(),
        heads: [[0; 16]].into(),
    };
    let _ = fifo.expand();
    assert_eq!(fifo.consume(0, 99), [b.raw(), d.raw()]);
}

#[test]
fn masked_words_are_linked_when_unmasked() {
    let hv = machine_of(64, 1);
    let (one, two) = (guest(&hv, 1, 1), guest(&hv, 2, 1));
    let (a, b) = connect(&hv, &one, &two);
    let mut fifo = Fifo::new(&hv, &two);
    fifo.set(b.raw(), 1 << 30);
    let _ = send(&hv, &one, a).unwrap();
    assert_eq!(fifo.word(b.raw()) >> 29, 0b110);
    assert_eq!(fifo.consume(0, 99), []);
    let _ = unmask(&hv, &two, b).unwrap();
    assert_eq!(fifo.consume(0, 99), [b.raw()]);
}

/// Every event that is sent is seen, whatever the order of sending, consuming, masking, moving between vCPUs and priorities.
#[test]
fn no_event_is_lost_in_the_queues() {
    let rounds = effort(20_000, 200);
    for seed in 1..=effort(5, 1) {
        let hv = machine_of(64, 1);
        let (one, two) = (guest(&hv, 1, 1), guest(&hv, 2, 3));
        let pairs: Vec<_> = (0..20).map(|_| connect(&hv, &one, &two)).collect();
        let mut fifo = Fifo::new(&hv, &two);
        let mut random = Random(seed);
        let mut sent = std::collections::BTreeSet::new();
        for _ in 0..rounds {
            let (a, b) = pairs[random.below(20) as usize];
            match random.below(8) {
                0..=2 => {
                    let _ = send(&hv, &one, a).unwrap();
                    sent.insert(b.raw());
                }
                3 => set_priority(&two, b, random.below(16) as u32).unwrap(),
                4 => bind_vcpu(&two, b, VcpuId::new(random.below(3) as u32)).unwrap(),
                5 => fifo.set(b.raw(), 1 << 30),
                6 => drop(unmask(&hv, &two, b).unwrap()),
                _ => {
                    let vcpu = random.below(3) as usize;
                    for port in fifo.consume(vcpu, 1 + random.below(5) as usize) {
                        assert!(sent.remove(&port), "port {port} came without being sent");
                    }
                }
            }
        }
        for (_, b) in &pairs {
            let _ = unmask(&hv, &two, *b).unwrap();
        }
        for vcpu in 0..3 {
            for port in fifo.consume(vcpu, usize::MAX) {
                assert!(sent.remove(&port), "port {port} came without being sent");
            }
        }
        assert!(sent.is_empty(), "seed {seed}: lost {sent:?}");
    }
}

/// XSA-358, XSA-359: whatever the guest writes into its words, its control block and `vcpu_info`, nothing panics, nothing runs
/// for long, and other domains' events arrive.
#[test]
fn a_hostile_guest_only_harms_itself() {
    let hv = machine_of(96, 1);
    let (one, two, three) = (guest(&hv, 1, 1), guest(&hv, 2, 2), guest(&hv, 3, 1));
    let pairs: Vec<_> = (0..20).map(|_| connect(&hv, &one, &two)).collect();
    let (good, seen) = connect(&hv, &one, &three);
    let fifo = Fifo::new(&hv, &two);
    let mut random = Random(7);
    for _ in 0..effort(20_000, 200) {
        let frames = [fifo.array[0], fifo.control[0], fifo.control[1], two.shared_info];
        let frame = frames[random.below(4) as usize];
        hv.platform.store(frame, random.below(32) as usize, random.next());
        let (a, b) = pairs[random.below(20) as usize];
        match random.below(5) {
            0 => drop(unmask(&hv, &two, b).unwrap()),
            1 => set_priority(&two, b, random.below(16) as u32).unwrap(),
            2 => bind_vcpu(&two, b, VcpuId::new(random.below(2) as u32)).unwrap(),
            _ => drop(send(&hv, &one, a).unwrap()),
        }
    }
    let _ = send(&hv, &one, good).unwrap();
    assert_eq!(consume(&hv, &three), [seen.raw()]);
}

#[test]
fn a_reset_gives_the_frames_back_and_returns_to_bits() {
    let hv = machine_of(64, 1);
    let (one, two) = (guest(&hv, 1, 1), guest(&hv, 2, 2));
    let mut fifo = Fifo::new(&hv, &two);
    let _ = fifo.expand();
    let held = |mfn: &Mfn| hv.frames.describe(*mfn).2;
    assert!(fifo.array.iter().chain(&fifo.control).all(|mfn| held(mfn) == 1));
    reset(&hv, &two, false).unwrap();
    assert!(fifo.array.iter().all(|mfn| held(mfn) == 1), "a controller's reset leaves them");
    reset(&hv, &two, true).unwrap();
    assert!(fifo.array.iter().chain(&fifo.control).all(|mfn| held(mfn) == 0));
    let (a, b) = connect(&hv, &one, &two);
    let _ = send(&hv, &one, a).unwrap();
    assert_eq!(consume(&hv, &two), [b.raw()]);
    let again = Fifo::new(&hv, &two);
    close_all(&hv, &two).unwrap();
    assert!(again.array.iter().chain(&again.control).all(|mfn| held(mfn) == 0));
    assert!(fifo.array.iter().all(|mfn| hv.frames.owner(*mfn) == Owner::Domain(two.id)));
    assert!(audit(&hv, &[]).is_empty());
}

/// The hypervisor appends while the guest takes, in all interleavings with a few preemptions: each event comes once, and what is
/// left announces itself.
#[test]
fn links_are_not_lost_between_two_cpus() {
    use std::sync::Mutex;
    struct Scene {
        hv: Hypervisor<World>,
        one: Arc<Domain>,
        two: Arc<Domain>,
        pairs: Vec<(EvtchnPort, EvtchnPort)>,
        array: Vec<Mfn>,
        control: Vec<Mfn>,
        heads: Mutex<Vec<[u32; 16]>>,
        found: Mutex<Vec<u32>>,
    }
    impl Scene {
        fn consume(&self) {
            let heads = self.heads.lock().unwrap().clone();
            let (array, control) = (self.array.clone(), self.control.clone());
            let mut fifo = Fifo { hv: &self.hv, domain: self.two.clone(), array, control, heads };
            let found = fifo.consume(0, usize::MAX);
            *self.heads.lock().unwrap() = fifo.heads;
            self.found.lock().unwrap().extend(found);
        }
    }
    let make = || {
        let hv = machine_of(24, 2);
        let (one, two) = (guest(&hv, 1, 1), guest(&hv, 2, 1));
        let pairs: Vec<_> = (0..2).map(|_| connect(&hv, &one, &two)).collect();
        let (array, control, heads) = {
            let fifo = Fifo::new(&hv, &two);
            (fifo.array, fifo.control, Mutex::new(fifo.heads))
        };
        Scene { hv, one, two, pairs, array, control, heads, found: Mutex::default() }
    };
    let send_all = |scene: &Scene| {
        for (from, _) in &scene.pairs {
            let _ = send(&scene.hv, &scene.one, *from).unwrap();
        }
    };
    let check = |scene: &Scene| {
        let ready = scene.hv.platform.load(scene.control[0], 16) as u32;
        assert!(
            ready == 0 || info::upcall_pending(&scene.hv, &scene.two.vcpus()[0]),
            "nobody tells of {ready:#x}"
        );
        scene.consume();
        let mut found = scene.found.lock().unwrap().clone();
        found.sort_unstable();
        assert_eq!(found, scene.pairs.iter().map(|pair| pair.1.raw()).collect::<Vec<_>>());
    };
    let runs = crate::sync::explore::explore(2, make, &[&send_all, &Scene::consume], check);
    assert!(runs > effort(100, 0), "{runs}");
}
