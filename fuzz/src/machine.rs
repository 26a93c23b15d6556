//! A hypervisor on a machine of vectors with three guests that have page tables, and a way to make them call.
//!
//! Domain 1 is a control domain, 2 and 3 are not; there is no domain 0, whose end would be the machine's. Guest memory is
//! reached through the page tables that the guests have by then, so a call that got past the rules for page types would also
//! write where the auditor finds it.

use std::sync::{Arc, Once};

use fuzz_grammar::{Permit, Pools, Request, SCRATCH};
use xen_lite_core::Hypervisor;
use xen_lite_core::access::control_over;
use xen_lite_core::addr::{DomId, GuestVirt, Mfn, VcpuId};
use xen_lite_core::control::lifecycle;
use xen_lite_core::domain::{Domain, Life, Mode};
use xen_lite_core::fail::{Fail, Why};
use xen_lite_core::frame::audit::audit;
use xen_lite_core::frame::pte::{PRESENT, USER, WRITABLE};
use xen_lite_core::hypercall::{Caller, conclude, dispatch};
use xen_lite_core::platform::Platform;
use xen_lite_core::world::{World, domain, machine_with_cpus};
use xen_lite_core::{mm, sched, trap};

/// Frames of the machine, and of each guest.
const MACHINE: u64 = 160;
const FRAMES: u32 = 32;
/// Pages of data in each guest's space; behind them are its tables, read-only.
const DATA: usize = 16;
/// Guests.
pub const GUESTS: usize = 3;
/// The page where structures go, and the ones that take its place when its mapping is gone.
const SCRATCHES: [u64; 4] = [0x8000, 0x9000, 0xa000, 0xb000];
/// Calls that are continued at most.
const PATIENCE: usize = 40;

/// A guest.
#[derive(Debug)]
pub struct Guest {
    /// Its domain.
    pub domain: Arc<Domain>,
    /// Its frames: data, four tables from the top, spare ones.
    pub frames: Vec<Mfn>,
    named: Vec<u64>,
    tables: Vec<u64>,
}

/// The machine.
#[derive(Debug)]
pub struct Machine {
    /// The hypervisor.
    pub hv: Hypervisor<World>,
    /// The guests.
    pub guests: Vec<Guest>,
    free: u64,
}

/// A permit for everything.
#[derive(Debug)]
pub struct Everything;

impl Permit for Everything {
    fn frame(&self, _: u64, _: Option<u64>) -> bool {
        true
    }
    fn page(&self, _: u64) -> bool {
        true
    }
    fn command(&self, _: u64, _: Option<u32>, _: bool) -> bool {
        true
    }
}

impl Default for Machine {
    fn default() -> Machine {
        Machine::new()
    }
}

impl Machine {
    /// Three guests that run in their page tables.
    pub fn new() -> Machine {
        let hv = machine_with_cpus(MACHINE, 2);
        let free = hv.frames.free_frames();
        let made: Vec<_> = (1..=GUESTS as u16).map(|id| domain(&hv, id, id == 1, FRAMES)).collect();
        let all: Vec<Vec<Mfn>> = made.iter().map(|(_, frames)| frames.clone()).collect();
        let guests = made.into_iter().map(|(domain, frames)| guest(&hv, domain, frames, &all)).collect();
        let machine = Machine { hv, guests, free };
        for who in 0..GUESTS {
            machine.enter_space(who);
        }
        // It is the same each time.
        static CHECKED: Once = Once::new();
        CHECKED.call_once(|| machine.check("start"));
        machine
    }

    fn enter_space(&self, who: usize) {
        let guest = &self.guests[who];
        let vcpu = &guest.domain.vcpus()[0];
        vcpu.set_info(guest.domain.shared_info.address());
        vcpu.initialised.store(1, std::sync::atomic::Ordering::Relaxed);
        let root = guest.frames[DATA];
        let mut state = vcpu.state.lock();
        mm::set_kernel_root(&self.hv, &guest.domain, &mut state, root).expect("the tables are good");
        drop(state);
        let _ = self.hv.sched.up(&self.hv, vcpu);
    }

    /// What guest `who` may name.
    pub fn pools<'a>(&'a self, who: usize, pages: &'a [u64], domains: &'a [u16], scratch: u64) -> Pools<'a> {
        let guest = &self.guests[who];
        Pools {
            frames: &guest.named,
            tables: &guest.tables,
            pages,
            domains,
            scratch,
            end: MACHINE,
            reserved: 0,
        }
    }

    /// Addresses whose mappings guests change: everything but the scratch pages.
    pub fn pages() -> Vec<u64> {
        (0..24).map(|page| page << 12).filter(|page| !SCRATCHES[..3].contains(page)).collect()
    }

    /// The scratch page that guest `who` can write now. `None`: it has spoilt its space.
    pub fn scratch(&self, who: usize) -> Option<u64> {
        let root = self.guests[who].domain.vcpus()[0].state.try_lock()?.kernel_root;
        self.hv.platform.enter(Some(root));
        let usable = |page: &u64| {
            let mut byte = [0];
            let at = GuestVirt::new(*page);
            self.hv.platform.copy_in(at, &mut byte).is_ok() && self.hv.platform.copy_out(at, &byte).is_ok()
        };
        SCRATCHES.into_iter().find(usable)
    }

    /// Puts the structures into the guest's scratch page.
    pub fn put(&self, scratch: u64, page: &[u8; SCRATCH]) {
        // It may have become read-only in the meantime; then the call fails, too.
        let _ = self.hv.platform.copy_out(GuestVirt::new(scratch), page);
    }

    /// Makes a call and goes on with it until it is done. The vCPU's registers show the answer.
    pub fn call(&self, who: usize, request: &Request) {
        let guest = &self.guests[who];
        if guest.domain.life() != Life::Alive {
            return;
        }
        let vcpu = guest.domain.vcpu(VcpuId::new(0)).expect("each guest has one");
        let Some(mut state) = vcpu.state.try_lock() else { return };
        let [a, b, c, d, e] = request.args;
        let mut args = [a, b, c, d, e, 0];
        let mut crash = None;
        for _ in 0..PATIENCE {
            self.hv.platform.enter(Some(state.root()));
            let mut caller = Caller::new(&guest.domain, vcpu, &mut state);
            let outcome = dispatch(&self.hv, &mut caller, request.number, &mut args);
            let again = matches!(outcome, Err(Fail::Again | Fail::AgainWith(_)));
            crash = conclude(&mut caller, outcome, &args).err();
            if !again || guest.domain.life() != Life::Alive {
                break;
            }
        }
        if crash.is_none() {
            crash = self.return_to_guest(guest, &mut state);
        }
        drop(state);
        if let Some(why) = crash {
            let _ = sched::crash_domain(&self.hv, &guest.domain, why);
        }
    }

    /// As [`Machine::call`], and the answer.
    pub fn answer(&self, who: usize, request: &Request) -> i64 {
        self.call(who, request);
        self.guests[who].domain.vcpus()[0].state.try_lock().map_or(i64::MIN, |state| state.regs.rax as i64)
    }

    /// What happens on the way back: delivery of what is pending, and out of user mode again.
    fn return_to_guest(&self, guest: &Guest, state: &mut xen_lite_core::domain::VcpuState) -> Option<Why> {
        let vcpu = &guest.domain.vcpus()[0];
        let mut caller = Caller::new(&guest.domain, vcpu, state);
        if trap::has_pending(&self.hv, &caller)
            && let Err(why) = trap::deliver_pending(&self.hv, &mut caller)
        {
            return Some(why);
        }
        if state.mode == Mode::User {
            trap::toggle_mode(&self.hv, state);
        }
        None
    }

    /// Fails unless everything is counted right.
    pub fn check(&self, when: &str) {
        let findings = audit(&self.hv, &[]);
        let shown: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "after {when}: {}", shown.join("; "));
    }

    /// Destroys all domains. Every frame must be free then.
    pub fn end(self) {
        self.hv.platform.interrupt_every(0);
        let killer = self.guests[0].domain.clone();
        // Two rounds: what the first still mapped of others keeps those until it is gone.
        for _ in 0..2 {
            let mut next = Some(DomId::DOM0);
            while let Some(domain) = next.and_then(|id| self.hv.domains.next_from(id)) {
                self.destroy(&killer, &domain);
                next = domain.id.checked_add(1);
            }
        }
        self.check("the end of all domains");
        assert_eq!(
            self.hv.domains.count(),
            0,
            "a domain is left: {:?}",
            self.hv.domains.next_from(DomId::DOM0).map(|d| d.id)
        );
        assert_eq!(self.hv.frames.free_frames(), self.free, "every frame is free again");
    }

    fn destroy(&self, killer: &Arc<Domain>, domain: &Arc<Domain>) {
        let vcpu = &killer.vcpus()[0];
        let target = {
            let mut state = vcpu.state.lock();
            control_over(&self.hv, &Caller::new(killer, vcpu, &mut state), domain.id)
                .expect("domain 1 is in control")
        };
        for _ in 0..100_000 {
            match lifecycle::destroy(&self.hv, &target) {
                Ok(_) => return,
                Err(Fail::Again | Fail::AgainWith(_)) => {}
                Err(other) => panic!("destroying {} failed: {other:?}", domain.id),
            }
        }
        panic!("destroying {} does not end", domain.id);
    }
}

fn guest(hv: &Hypervisor<World>, domain: Arc<Domain>, frames: Vec<Mfn>, all: &[Vec<Mfn>]) -> Guest {
    let link = |table: Mfn, index: usize, to: Mfn, flags: u64| {
        hv.platform.store(table, index, to.raw() << 12 | flags | PRESENT);
    };
    let [root, l3, l2, l1] = [frames[DATA], frames[DATA + 1], frames[DATA + 2], frames[DATA + 3]];
    frames.iter().for_each(|mfn| hv.platform.clear(*mfn));
    link(root, 0, l3, WRITABLE | USER);
    link(l3, 0, l2, WRITABLE | USER);
    link(l2, 0, l1, WRITABLE | USER);
    (0..DATA).for_each(|page| link(l1, page, frames[page], WRITABLE | USER));
    (DATA..DATA + 4).for_each(|page| link(l1, page, frames[page], USER));
    // What it names: all of its own, a few of others, the shared pages.
    let mut named: Vec<u64> = frames.iter().map(|mfn| mfn.raw()).collect();
    named.extend(
        all.iter().filter(|of| of[0] != frames[0]).flat_map(|of| [of[0], of[DATA], of[20]]).map(Mfn::raw),
    );
    named.push(domain.shared_info.raw());
    let mut tables: Vec<u64> = frames[DATA..DATA + 10].iter().map(|mfn| mfn.raw()).collect();
    // Its tables in use come up more often than those it may yet make.
    tables.extend_from_within(..4);
    Guest { domain, frames, named, tables }
}
