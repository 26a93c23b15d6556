//! Random operations of two guests, with the auditor after each.
//!
//! Nothing is assumed of the operations but what the rules promise: whatever a guest asks for, in whatever order, interrupted wherever and
//! continued or not, every reference is counted, no frame has two kinds, and when both domains end every frame is free.
//! For single L1 entries a second, naive statement of the rules predicts the verdict.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::testing::show;
use crate::addr::{DomId, Mfn, VcpuId};
use crate::domain::{Domain, Life};
use crate::effort::{cases, effort};
use crate::fail::{Errno, Fail};
use crate::frame::audit::audit;
use crate::frame::pte::{self, PRESENT, WRITABLE};
use crate::frame::{Kind, Owner};
use crate::hypercall::{Args, Caller};
use crate::hypervisor::Hypervisor;
use crate::platform::Platform;
use crate::world::{World, domain, machine};

const FRAMES: usize = 20;
const MACHINE: u64 = 64;

/// One operation, in numbers that are bent to what exists.
#[derive(Clone, Debug)]
enum Op {
    /// `mmu_update`: (frame, entry, target, flags) each.
    Update(u8, Vec<(u8, u8, u8, u8)>, u8),
    /// `update_va_mapping`: page, target, flags.
    Va(u8, u8, u8, u8),
    /// Pin as level.
    Pin(u8, u8, u8),
    Unpin(u8, u8),
    Root(u8, u8, bool),
    Clear(u8, u8),
    Copy(u8, u8, u8),
    Decrease(u8, u8),
    Populate(u8, u8),
    Exchange(u8, u8),
}

fn op() -> impl Strategy<Value = Op> {
    let update = (0u8..24, 0u8..8, 0u8..26, 0u8..12);
    prop_oneof![
        6 => (0u8..2, prop::collection::vec(update, 1..6), 0u8..4).prop_map(|(d, list, kind)| Op::Update(d, list, kind)),
        3 => (0u8..2, 0u8..20, 0u8..26, 0u8..12).prop_map(|(d, page, to, flags)| Op::Va(d, page, to, flags)),
        4 => (0u8..2, 0u8..22, 1u8..5).prop_map(|(d, frame, level)| Op::Pin(d, frame, level)),
        2 => (0u8..2, 0u8..22).prop_map(|(d, frame)| Op::Unpin(d, frame)),
        2 => (0u8..2, 0u8..6, any::<bool>()).prop_map(|(d, frame, user)| Op::Root(d, frame, user)),
        1 => (0u8..2, 0u8..22).prop_map(|(d, frame)| Op::Clear(d, frame)),
        1 => (0u8..2, 0u8..22, 0u8..22).prop_map(|(d, to, from)| Op::Copy(d, to, from)),
        1 => (0u8..2, 0u8..22).prop_map(|(d, frame)| Op::Decrease(d, frame)),
        1 => (0u8..2, 0u8..22).prop_map(|(d, frame)| Op::Populate(d, frame)),
        1 => (0u8..2, 0u8..22).prop_map(|(d, frame)| Op::Exchange(d, frame)),
    ]
}

/// How interrupts come, and how often a guest goes on before it gives up.
#[derive(Clone, Debug)]
struct Pace {
    every: u64,
    patience: usize,
}

fn pace() -> impl Strategy<Value = Pace> {
    (0u64..5, 0usize..6).prop_map(|(every, patience)| Pace { every, patience })
}

struct Guests {
    hv: Hypervisor<World>,
    domains: [Arc<Domain>; 2],
    frames: [Vec<Mfn>; 2],
    free: u64,
}

/// Flags of entries: those that matter, in all the ways that matter.
const FLAGS: [u64; 12] = [
    PRESENT | WRITABLE | pte::USER,
    PRESENT | pte::USER,
    PRESENT | WRITABLE | pte::USER,
    PRESENT | WRITABLE,
    PRESENT,
    0,
    PRESENT | pte::PAT_OR_PSE,
    PRESENT | WRITABLE | pte::PCD,
    PRESENT | WRITABLE | pte::GLOBAL,
    PRESENT | pte::NX | pte::ACCESSED,
    WRITABLE | pte::USER,
    PRESENT | pte::GUEST_KERNEL,
];

impl Guests {
    fn new() -> Guests {
        let hv = machine(MACHINE);
        let free = hv.frames.free_frames();
        let (a, a_frames) = domain(&hv, 1, true, FRAMES as u32);
        let (b, b_frames) = domain(&hv, 2, false, FRAMES as u32);
        Guests { hv, domains: [a, b], frames: [a_frames, b_frames], free }
    }

    /// The `n`th frame that a guest may name: its own, one of the other's, the hypervisor's, one that does not exist.
    fn frame(&self, who: usize, n: u8) -> Mfn {
        match usize::from(n) {
            own @ 0..FRAMES => self.frames[who][own],
            20 => self.frames[1 - who][0],
            21 => self.frames[1 - who][17],
            22 => self.domains[who].shared_info,
            23 => Mfn::new(0),
            24 => self.domains[1 - who].shared_info,
            _ => Mfn::new(MACHINE + 5),
        }
    }

    fn entry(&self, who: usize, to: u8, flags: u8) -> u64 {
        self.frame(who, to).raw() << 12 | FLAGS[usize::from(flags)]
    }

    /// Carries a call out, going on after interruptions until patience ends.
    fn call(
        &self,
        who: usize,
        pace: &Pace,
        mut args: Args,
        call: fn(&Hypervisor<World>, &mut Caller<'_>, &mut Args) -> Result<crate::effects::Done, Fail>,
    ) -> Option<Result<i64, Errno>> {
        let vcpu = self.domains[who].vcpu(VcpuId::new(0)).unwrap();
        let mut state = vcpu.state.lock();
        self.hv.platform.interrupt_every(pace.every);
        for _ in 0..=pace.patience {
            // Requests lie in frame 0, named by machine address.
            self.hv.platform.enter(None);
            match call(&self.hv, &mut Caller::new(&self.domains[who], vcpu, &mut state), &mut args) {
                Ok(done) => return Some(Ok(done.value)),
                Err(Fail::Errno(errno)) => return Some(Err(errno)),
                Err(Fail::Again | Fail::AgainWith(_)) => {}
                Err(Fail::Crash(why)) => panic!("{why}"),
            }
        }
        None
    }

    fn put(&self, words: &[u64]) {
        words.iter().enumerate().for_each(|(n, word)| self.hv.platform.store(Mfn::new(0), 8 + n, *word));
    }

    fn ext(&self, who: usize, pace: &Pace, cmd: u32, arg1: Mfn, arg2: u64) {
        self.put(&[u64::from(cmd), arg1.raw(), arg2]);
        self.call(
            who,
            pace,
            [64, 1, 0, u64::from(DomId::SELF.raw()), 0, 0],
            crate::hypercall::mm::ext::mmuext_op,
        );
    }

    fn reservation(&self, who: usize, pace: &Pace, command: u64, mfn: Mfn) -> Option<Result<i64, Errno>> {
        let domid = u64::from(DomId::SELF.raw());
        self.put(&[64 + 40, 1, 0, domid, 0, mfn.raw()]);
        self.call(who, pace, [command, 64, 0, 0, 0, 0], crate::hypercall::memory::memory_op)
    }

    fn apply(&mut self, op: &Op, pace: &Pace) {
        match op {
            Op::Update(who, list, kind) => self.update(usize::from(*who), list, *kind, pace),
            Op::Va(who, page, to, flags) => self.va(usize::from(*who), *page, *to, *flags, pace),
            Op::Pin(who, frame, level) => {
                let who = usize::from(*who);
                self.ext(who, pace, u32::from(*level) - 1, self.frame(who, *frame), 0);
            }
            Op::Unpin(who, frame) => self.ext((*who).into(), pace, 4, self.frame((*who).into(), *frame), 0),
            Op::Root(who, frame, user) => {
                let who = usize::from(*who);
                self.ext(who, pace, if *user { 15 } else { 5 }, self.frame(who, *frame), 0);
            }
            Op::Clear(who, frame) => self.ext((*who).into(), pace, 16, self.frame((*who).into(), *frame), 0),
            Op::Copy(who, to, from) => {
                let who = usize::from(*who);
                self.ext(who, pace, 17, self.frame(who, *to), self.frame(who, *from).raw());
            }
            Op::Decrease(who, frame) => {
                let who = usize::from(*who);
                self.reservation(who, pace, 1, self.frame(who, *frame));
            }
            Op::Populate(who, frame) => {
                let who = usize::from(*who);
                if self.reservation(who, pace, 6, Mfn::new(7)) == Some(Ok(1)) {
                    let new = self.hv.platform.load(Mfn::new(0), 13);
                    let slot = usize::from(*frame) % FRAMES;
                    self.frames[who][slot] = Mfn::new(new);
                }
            }
            Op::Exchange(who, frame) => {
                let who = usize::from(*who);
                let domid = u64::from(DomId::SELF.raw());
                let lists = |at: u64| [at, 1, 0, domid];
                let (old, new) = (lists(64 + 72), lists(64 + 80));
                self.put(&[&old[..], &new[..], &[0, self.frame(who, *frame).raw(), 3]].concat());
                let done = self.call(who, pace, [11, 64, 0, 0, 0, 0], crate::hypercall::memory::memory_op);
                if done == Some(Ok(0)) {
                    self.frames[who][usize::from(*frame) % FRAMES] =
                        Mfn::new(self.hv.platform.load(Mfn::new(0), 8 + 10));
                }
            }
        }
    }

    fn update(&self, who: usize, list: &[(u8, u8, u8, u8)], kind: u8, pace: &Pace) {
        let mut words = Vec::new();
        for (table, index, to, flags) in list {
            // Entries at both ends, and at the hypervisor's slots.
            let index = [0, 1, 2, 3, 255, 256, 271, 511][usize::from(*index)];
            let entry = self.entry(who, *to, *flags);
            words.extend([self.frame(who, *table).raw() << 12 | index << 3 | u64::from(kind), entry]);
        }
        self.put(&words);
        let args = [64, list.len() as u64, 0, u64::from(DomId::SELF.raw()), 0, 0];
        self.call(who, pace, args, crate::hypercall::mm::mmu_update);
    }

    /// Through the root that is in use; the verdict is predicted.
    fn va(&self, who: usize, page: u8, to: u8, flags: u8, pace: &Pace) {
        let entry = self.entry(who, to, flags);
        let root = self.domains[who].vcpu(VcpuId::new(0)).unwrap().state.lock().kernel_root;
        let va = crate::addr::GuestVirt::new(u64::from(page) << 12);
        let expected = match super::walk::l1_of(&self.hv, root, va) {
            Some((table, index)) if self.hv.frames.is_kind(table, Kind::L1) => {
                predict(&self.hv, &self.domains[who], table, index, entry)
            }
            // Through a linear table the way may end at a higher one.
            _ => Some(Err(Errno::EINVAL)),
        };
        let args = [va.raw(), entry, 0, 0, 0, 0];
        let result = self.call(who, pace, args, crate::hypercall::mm::update_va_mapping);
        if let (Some(expected), Some(result)) = (expected, result) {
            assert_eq!(result.map(drop), expected, "entry {entry:#x} at {va}");
        }
    }

    fn check(&self) {
        let findings = audit(&self.hv, &[]);
        assert!(findings.is_empty(), "{}", show(&findings));
    }

    fn end(&self) {
        for domain in &self.domains {
            domain.advance(Life::Dying);
            self.hv.platform.interrupt_every(3);
            while let Err(fail) = super::relinquish(&self.hv, domain) {
                assert_eq!(fail, Fail::Again);
            }
            super::free_shared(&self.hv, domain.shared_info);
        }
        self.check();
        assert_eq!(self.hv.frames.free_frames(), self.free, "every frame is free again");
    }
}

/// The rules for one L1 entry, stated once more and simply. `None`: it depends on work that is in progress.
fn predict(
    hv: &Hypervisor<World>,
    domain: &Domain,
    table: Mfn,
    index: usize,
    entry: u64,
) -> Option<Result<(), Errno>> {
    let target = Mfn::new((entry & pte::FRAME) >> 12);
    let old = hv.platform.load(table, index);
    if entry & 1 == 0 {
        return Some(Ok(()));
    }
    let what_counts = PRESENT | WRITABLE | pte::CACHE | pte::FRAME;
    if old & what_counts == entry & what_counts {
        return Some(Ok(()));
    }
    if entry & pte::CACHE != 0 && !domain.privileged {
        return Some(Err(Errno::EINVAL));
    }
    let (owner, kind, typed, _) = hv.frames.describe(target);
    match owner {
        Owner::Io => return Some(if domain.privileged { Ok(()) } else { Err(Errno::EPERM) }),
        Owner::Domain(id) | Owner::Lent(id) if id == domain.id => {}
        _ => return Some(Err(Errno::EBUSY)),
    }
    let table_kind = matches!(kind, Kind::L1 | Kind::L2 | Kind::L3 | Kind::L4);
    match (entry & WRITABLE != 0, kind) {
        (false, _) | (true, Kind::Writable | Kind::None) => Some(Ok(())),
        (true, _) if typed > 0 => Some(Err(Errno::EBUSY)),
        // No typed reference: either history, or partial work that is taken apart first, which may be interrupted.
        (true, _) if table_kind => None,
        (true, _) => Some(Ok(())),
    }
}

/// A tree in the frames 0 to 3 of both domains, so that random operations meet tables.
fn plant(guests: &mut Guests, pace: &Pace) {
    let none = Pace { every: 0, patience: 0 };
    for who in 0..2u8 {
        let links = (0..3u8).map(|n| (n, 0, n + 1, 0)).collect();
        guests.apply(&Op::Update(who, links, 0), &none);
        let data = (0..4u8).map(|n| (3, n, 8 + n, 0)).collect();
        guests.apply(&Op::Update(who, data, 0), &none);
        guests.apply(&Op::Root(who, 0, false), pace);
    }
}

proptest! {
    #![proptest_config(cases(100, 2))]

    #[test]
    fn whatever_guests_ask_for_everything_stays_counted(
        steps in prop::collection::vec((op(), pace()), 1..effort(60, 8)),
        planted in any::<bool>(),
        first in pace(),
    ) {
        let mut guests = Guests::new();
        if planted {
            plant(&mut guests, &first);
            guests.check();
        }
        for (op, pace) in &steps {
            guests.apply(op, pace);
            guests.check();
        }
        guests.end();
    }
}

#[test]
fn the_other_domain_is_seen_by_no_entry() {
    let mut guests = Guests::new();
    plant(&mut guests, &Pace { every: 0, patience: 0 });
    let foreign = vec![(3u8, 3u8, 20u8, 1u8)];
    guests.apply(&Op::Update(1, foreign, 0), &Pace { every: 0, patience: 0 });
    let l1 = guests.frames[1][3];
    let own = guests.frames[1][11].raw() << 12;
    assert_eq!(guests.hv.platform.load(l1, 3) & pte::FRAME, own, "the entry is what it was");
    guests.check();
    guests.end();
}
