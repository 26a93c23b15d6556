//! Area `fifo`: events by queues: what the hypervisor writes into control block and event words, in order and against a guest that writes
//! nonsense there.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use conformance::cliff::{look, place};
use conformance::space::Frame;
use conformance::{Answer, area, done, op, put, shared};
use core::mem::offset_of;
use domu_sdk::abi::event_channel::*;
use domu_sdk::abi::xen::{DOMID_SELF, hypercall::EVENT_CHANNEL_OP};
use domu_sdk::abi::xen::{SharedInfo, VcpuInfo};

fn event<T>(operation: u32, argument: &mut T) -> Answer {
    op(EVENT_CHANNEL_OP, operation, argument)
}

fn send(port: u32) -> Answer {
    event(EVTCHNOP_SEND, &mut EvtchnSend { port })
}

fn unmask(port: u32) -> Answer {
    event(EVTCHNOP_UNMASK, &mut EvtchnUnmask { port })
}

fn close(port: u32) -> Answer {
    event(EVTCHNOP_CLOSE, &mut EvtchnClose { port })
}

fn ipi() -> u32 {
    let mut request = EvtchnBindIpi::default();
    event(EVTCHNOP_BIND_IPI, &mut request);
    request.port
}

fn unbound() -> u32 {
    let mut request =
        EvtchnAllocUnbound { dom: DOMID_SELF, remote_dom: DOMID_SELF, ..EvtchnAllocUnbound::default() };
    event(EVTCHNOP_ALLOC_UNBOUND, &mut request);
    request.port
}

const PENDING: u32 = 1 << 31;
const MASKED: u32 = 1 << 30;
const LINKED: u32 = 1 << 29;
const LINK: u32 = (1 << 17) - 1;
/// Priority of a port if nothing else was said.
const USUAL: u64 = 7;

/// Control block, array, and the ports of a case.
struct Queues {
    control: Frame,
    array: Frame,
    ports: [u32; 4],
}

impl Queues {
    fn word(&self, port: u32) -> u32 {
        look(self.array.va + 4 * u64::from(port))
    }

    fn set_word(&self, port: u32, word: u32) {
        place(self.array.va + 4 * u64::from(port), word);
    }

    fn head(&self, priority: u64) -> u32 {
        look(self.control.va + 8 + 4 * priority)
    }

    fn set_head(&self, priority: u64, head: u32) {
        place(self.control.va + 8 + 4 * priority, head);
    }

    fn name(&self, port: u32) -> String {
        match self.ports.iter().position(|known| *known == port) {
            Some(index) => format!("p{index}"),
            None if port == 0 => String::from("-"),
            None => String::from("?"),
        }
    }

    fn flags(word: u32) -> String {
        let flag = |bit, name| if word & bit != 0 { name } else { "" };
        format!("{}{}{}{:x}", flag(PENDING, "P"), flag(MASKED, "M"), flag(LINKED, "L"), word >> 17 & 0xfff)
    }

    /// Everything that the guest sees.
    fn show(&self) -> String {
        let ready: u32 = look(self.control.va);
        let mut text = format!("ready {ready:#x}");
        for priority in 0..16 {
            if self.head(priority) != 0 {
                text += &format!(" q{priority}={}", self.name(self.head(priority)));
            }
        }
        for port in self.ports {
            let word = self.word(port);
            text += &format!(" {}>{}", Queues::flags(word), self.name(word & LINK));
        }
        text + &format!(" upcall {}", upcall())
    }

    /// As a guest takes the first event of a queue: its link becomes the head. Tells which it was.
    fn take(&self, priority: u64) -> String {
        let port = self.head(priority);
        if port == 0 {
            return String::from("none");
        }
        let word = self.word(port);
        self.set_word(port, word & !(LINKED | LINK | PENDING));
        self.set_head(priority, word & LINK);
        if word & LINK == 0 {
            let ready: u32 = look(self.control.va);
            place(self.control.va, ready & !(1 << priority));
        }
        format!("{} {}", self.name(port), Queues::flags(word))
    }

    /// No event anywhere.
    fn clear(&self) {
        for word in 0..17 {
            place(self.control.va + 4 * word, 0_u32);
        }
        for port in self.ports {
            self.set_word(port, 0);
        }
        set_upcall(0);
    }
}

fn upcall() -> u8 {
    look(shared::info().expose_provenance() as u64 + offset_of!(VcpuInfo, evtchn_upcall_pending) as u64)
}

fn set_upcall(value: u8) {
    place(
        shared::info().expose_provenance() as u64 + offset_of!(VcpuInfo, evtchn_upcall_pending) as u64,
        value,
    );
}

fn in_order(queues: &Queues) {
    let [a, b, c, d] = queues.ports;
    for (step, port) in [("a", a), ("b", b), ("a-again", a), ("c", c)] {
        let answer = send(port);
        put!(format_args!("order.send.{step}"), "{answer} {}", queues.show());
    }
    set_upcall(0);
    put!("order.take", "{} then {}", queues.take(USUAL), queues.show());
    put!("order.send.a-taken", "{} {}", send(a), queues.show());
    for turn in 0..4 {
        put!(format_args!("order.take.{turn}"), "{}", queues.take(USUAL));
    }
    put!("order.empty", "{}", queues.show());
    put!("order.send.d", "{} {}", send(d), queues.show());
    put!("order.take.d", "{}", queues.take(USUAL));
}

fn masks(queues: &Queues) {
    let [a, b, ..] = queues.ports;
    queues.clear();
    queues.set_word(a, MASKED);
    put!("mask.send", "{} {}", send(a), queues.show());
    put!("mask.unmask", "{} {}", unmask(a), queues.show());
    put!("mask.unmask-again", "{} {}", unmask(a), queues.show());
    queues.set_word(a, queues.word(a) | MASKED);
    put!("mask.linked.send", "{} {}", send(a), queues.show());
    put!("mask.linked.unmask", "{} {}", unmask(a), queues.show());
    queues.clear();
    queues.set_word(b, MASKED);
    put!("mask.idle.unmask", "{} {}", unmask(b), queues.show());
    queues.set_word(b, PENDING);
    put!("mask.pending.send", "{} {}", send(b), queues.show());
    put!("mask.pending.unmask", "{} {}", unmask(b), queues.show());
}

fn priorities(queues: &Queues) {
    let [a, b, c, _] = queues.ports;
    queues.clear();
    for (step, port, priority) in [("high", a, 0), ("low", b, 15), ("middle", c, 3)] {
        let set = event(EVTCHNOP_SET_PRIORITY, &mut EvtchnSetPriority { port, priority });
        put!(format_args!("priority.{step}"), "{set} {} {}", send(port), queues.show());
    }
    let moved = event(EVTCHNOP_SET_PRIORITY, &mut EvtchnSetPriority { port: a, priority: 15 });
    put!("priority.moved", "{moved} {}", queues.show());
    put!("priority.moved.send", "{} {}", send(a), queues.show());
    put!("priority.moved.take", "{}", queues.take(0));
    put!("priority.moved.send-again", "{} {}", send(a), queues.show());
    for (port, priority) in [(a, USUAL), (b, USUAL), (c, USUAL)] {
        event(EVTCHNOP_SET_PRIORITY, &mut EvtchnSetPriority { port, priority: priority as u32 });
    }
    put!(
        "priority.none",
        "{}",
        event(EVTCHNOP_SET_PRIORITY, &mut EvtchnSetPriority { port: 4000, priority: 1 })
    );
}

/// A guest that writes what it should not.
fn nonsense(queues: &Queues) {
    let [a, b, c, d] = queues.ports;
    queues.clear();
    send(a);
    // The last event says that it is in no queue, though it was not taken.
    queues.set_word(a, PENDING);
    put!("nonsense.unlinked", "{} {}", send(b), queues.show());
    queues.clear();
    send(a);
    queues.set_word(a, PENDING | LINKED | a);
    put!("nonsense.own-link", "{} {}", send(b), queues.show());
    queues.clear();
    send(a);
    queues.set_word(a, u32::MAX);
    put!("nonsense.all-ones", "{} {}", send(b), queues.show());
    queues.clear();
    send(a);
    send(b);
    queues.set_head(USUAL, 0x1_ffff);
    place(queues.control.va, 0_u32);
    put!("nonsense.head", "{} {}", send(c), queues.show());
    queues.set_word(c, 0);
    put!("nonsense.last-forgotten", "{} {}", send(d), queues.show());
    queues.clear();
    place(queues.control.va, u32::MAX);
    put!("nonsense.ready", "{} {}", send(a), queues.show());
    queues.clear();
    send(a);
    queues.clear();
    put!("nonsense.cleared", "{} {}", send(a), queues.show());
    put!("nonsense.cleared.next", "{} {}", send(b), queues.show());
    queues.clear();
    queues.set_word(a, LINKED);
    put!("nonsense.linked-at-first", "{} {}", send(a), queues.show());
    queues.set_word(a, LINKED | MASKED);
    put!("nonsense.linked-at-first.unmask", "{} {}", unmask(a), queues.show());
    queues.clear();
    queues.set_word(a, 0x1ffe_0000);
    put!("nonsense.reserved-bits", "{} {}", send(a), queues.show());
    queues.clear();
}

/// Closing an event in a queue: its port is not given out until the guest has taken it.
fn closing(queues: &Queues) {
    let [_, _, c, d] = queues.ports;
    queues.clear();
    send(c);
    send(d);
    put!("close.c", "{} {}", close(c), queues.show());
    put!("close.d", "{} {}", close(d), queues.show());
    let new = [ipi(), ipi()];
    put!("close.new", "{} {}", queues.name(new[0]), queues.name(new[1]));
    put!("close.take", "{} {}", queues.take(USUAL), queues.take(USUAL));
    let again = [ipi(), ipi()];
    put!("close.again", "{} {}", queues.name(again[0]), queues.name(again[1]));
    for port in new.into_iter().chain(again) {
        close(port);
    }
    queues.clear();
    put!("close.back", "{} {}", queues.name(ipi()), queues.name(ipi()));
}

/// Ports above what the array has words for.
fn beyond(queues: &Queues) {
    let mut port = 0;
    let mut count = 0;
    while port < 1030 && count < 1100 {
        port = unbound();
        count += 1;
    }
    put!("beyond.ports", "{}", port >= 1030);
    let mut bind = EvtchnBindInterdomain { remote_dom: DOMID_SELF, remote_port: port, ..Default::default() };
    let answer = event(EVTCHNOP_BIND_INTERDOMAIN, &mut bind);
    put!("beyond.bind", "{answer}");
    put!("beyond.send", "{} {}", send(bind.local_port), send(port));
    put!("beyond.unmask", "{}", unmask(port));
    let page = Frame::new();
    put!("beyond.expand", "{}", event(EVTCHNOP_EXPAND_ARRAY, &mut EvtchnExpandArray { array_gfn: page.mfn }));
    let word = |port: u32| -> u32 { look(page.va + 4 * u64::from(port % 1024)) };
    put!("beyond.words", "{} {}", Queues::flags(word(port)), Queues::flags(word(bind.local_port)));
    put!("beyond.ready", "{:#x} {}", look::<u32>(queues.control.va), upcall());
    put!("beyond.send-again", "{} {}", send(bind.local_port), Queues::flags(word(port)));
    let mut status = EvtchnStatus { dom: DOMID_SELF, port: 2048, ..Default::default() };
    put!("beyond.status", "{}", event(EVTCHNOP_STATUS, &mut status));
    put!("beyond.pin.table", "{}", conformance::space::pin(1, page.mfn));
    put!("beyond.read-only", "{}", page.read_only());
    put!("beyond.pin.read-only", "{}", conformance::space::pin(1, page.mfn));
    page.writable();
}

/// Bits that were pending before the change to queues.
fn before(first: u32, second: u32) {
    send(first);
    // SAFETY: the page is mapped; pending and mask bits are 512 bytes each.
    let word = |offset: usize| {
        shared::info().expose_provenance() as u64 + offset as u64 + u64::from(second / 64) * 8
    };
    let mask: u64 = look(word(offset_of!(SharedInfo, evtchn_mask)));
    place(word(offset_of!(SharedInfo, evtchn_mask)), mask | 1 << (second % 64));
    send(second);
}

fn reset(queues: &Queues) {
    let answer = event(EVTCHNOP_RESET, &mut EvtchnReset { dom: DOMID_SELF });
    put!("reset", "{answer}");
    queues.clear();
    let port = ipi();
    queues.set_word(port, 0);
    put!("reset.port", "{}", port < 4096);
    put!("reset.send", "{} {}", send(port), queues.show());
    put!("reset.priority", "{}", event(EVTCHNOP_SET_PRIORITY, &mut EvtchnSetPriority { port, priority: 1 }));
    put!("reset.pin", "{} {}", queues.control.read_only(), conformance::space::pin(1, queues.control.mfn));
    conformance::space::unpin(queues.control.mfn);
    queues.control.writable();
    put!(
        "reset.expand",
        "{}",
        event(EVTCHNOP_EXPAND_ARRAY, &mut EvtchnExpandArray { array_gfn: queues.array.mfn })
    );
    let mut init = EvtchnInitControl { control_gfn: queues.control.mfn, ..Default::default() };
    put!("reset.init", "{}", event(EVTCHNOP_INIT_CONTROL, &mut init));
}

#[domu_sdk::main]
fn main() {
    area("fifo");
    shared::set_mask(1);
    let ports = [ipi(), ipi(), ipi(), ipi()];
    let queues = Queues { control: Frame::new(), array: Frame::new(), ports };
    // Ports of the console and the store are older: their events come when they like, and stay out of the queues.
    for older in 1..ports[0].min(1024) {
        queues.set_word(older, MASKED);
    }
    before(ports[0], ports[1]);
    let mut init = EvtchnInitControl { control_gfn: queues.control.mfn, ..Default::default() };
    put!("init", "{} {}", event(EVTCHNOP_INIT_CONTROL, &mut init), init.link_bits);
    put!("send.early", "{} {}", send(ports[2]), queues.show());
    let mut other = EvtchnInitControl { control_gfn: queues.array.mfn, offset: 8, ..Default::default() };
    put!("init.again", "{}", event(EVTCHNOP_INIT_CONTROL, &mut other));
    set_upcall(0);
    put!(
        "expand",
        "{}",
        event(EVTCHNOP_EXPAND_ARRAY, &mut EvtchnExpandArray { array_gfn: queues.array.mfn })
    );
    put!("expand.shows", "{}", queues.show());
    queues.clear();
    in_order(&queues);
    masks(&queues);
    priorities(&queues);
    nonsense(&queues);
    closing(&queues);
    beyond(&queues);
    reset(&queues);
    done();
}
