//! Guests that make calls, with the auditor after each few of them.

use abi::xen::hypercall as number;
use fuzz_grammar::{Bytes, Permit, Request, SCRATCH, Source, generate};
use xen_lite_core::addr::{GuestVirt, Mfn};
use xen_lite_core::hypercall::Caller;
use xen_lite_core::platform::Platform;
use xen_lite_core::{emulate, grant, mm, trap};

use crate::machine::{GUESTS, Machine};

/// Steps of one input at most.
const STEPS: usize = 96;

/// Hypercalls to which a target restricts itself.
struct Only(&'static [u64]);

impl Permit for Only {
    fn frame(&self, _: u64, _: Option<u64>) -> bool {
        true
    }
    fn page(&self, _: u64) -> bool {
        true
    }
    fn command(&self, hypercall: u64, command: Option<u32>, _: bool) -> bool {
        // A control domain may switch the machine off; that would be the end of the test.
        let off = hypercall == number::PLATFORM_OP && command == Some(abi::platform::XENPF_ENTER_ACPI_SLEEP);
        !off && (self.0.is_empty() || self.0.contains(&hypercall))
    }
}

/// Every hypercall.
pub fn all(input: &[u8]) {
    run(input, &Only(&[]));
}

/// Page tables and memory.
pub fn tables(input: &[u8]) {
    const CALLS: &[u64] = &[
        number::MMU_UPDATE,
        number::UPDATE_VA_MAPPING,
        number::UPDATE_VA_MAPPING_OTHERDOMAIN,
        number::MMUEXT_OP,
        number::MEMORY_OP,
        number::SET_GDT,
        number::UPDATE_DESCRIPTOR,
        number::MULTICALL,
    ];
    run(input, &Only(CALLS));
}

/// Grants, and what changes the mappings that they make.
pub fn grants(input: &[u8]) {
    run(input, &Only(&[number::GRANT_TABLE_OP, number::UPDATE_VA_MAPPING, number::MMU_UPDATE]));
}

/// Event channels, timers and scheduling.
pub fn events(input: &[u8]) {
    const CALLS: &[u64] = &[
        number::EVENT_CHANNEL_OP,
        number::EVENT_CHANNEL_OP_COMPAT,
        number::VCPU_OP,
        number::SCHED_OP,
        number::SET_TIMER_OP,
        number::UPDATE_VA_MAPPING,
    ];
    run(input, &Only(CALLS));
}

/// What a control domain asks.
pub fn domctl(input: &[u8]) {
    run(input, &Only(&[number::DOMCTL, number::SYSCTL, number::PLATFORM_OP, number::MEMORY_OP]));
}

fn run(input: &[u8], permit: &impl Permit) {
    let mut source = Bytes::new(input);
    let machine = Machine::new();
    let pages = Machine::pages();
    let domains = [0x7ff0, 1, 2, 3, 4, 0x7ff0, 0x7ff1, 0x7ff2, 0];
    machine.hv.platform.interrupt_every(u64::from(source.byte() % 8));
    // For the hunt: what is done, and an audit after each.
    let trace = std::env::var_os("FUZZ_TRACE").is_some();
    let audits = 1 + source.below(24) as usize;
    for step in 0..STEPS {
        if source.is_empty() {
            break;
        }
        let who = source.below(GUESTS as u64) as usize;
        let Some(scratch) = machine.scratch(who) else { continue };
        if source.once_in(6) {
            besides(&machine, who, &mut source, &pages);
            if trace {
                machine.check("something besides");
            }
            continue;
        }
        let mut page = [0; SCRATCH];
        let pools = machine.pools(who, &pages, &domains, scratch);
        let request = generate(&mut source, permit, &pools, &mut page);
        machine.put(scratch, &page);
        if trace {
            eprintln!("{}\n  {:x?}", told(who, &request), &page[..64]);
        }
        machine.call(who, &request);
        if trace || step % audits == 0 {
            machine.check(&told(who, &request));
        }
    }
    machine.check("the last step");
    machine.end();
}

fn told(who: usize, request: &Request) -> String {
    let name = number::name(request.number).unwrap_or("an unknown hypercall");
    format!("domain {}: {name} {:x?}", who + 1, request.args)
}

/// What guests do besides calling.
fn besides(machine: &Machine, who: usize, source: &mut impl Source, pages: &[u64]) {
    let hv = &machine.hv;
    let guest = &machine.guests[who];
    match source.below(6) {
        0..=2 => grant_entry(machine, who, source),
        3 => hv.platform.set_now(hv.platform.now() + (1 << source.below(40))),
        4 => {
            let vcpu = &guest.domain.vcpus()[0];
            let Some(mut state) = vcpu.state.try_lock() else { return };
            hv.platform.enter(Some(state.root()));
            let mut caller = Caller::new(&guest.domain, vcpu, &mut state);
            // A store to a page that may be a table: the instruction is `mov [rdi], rax`.
            let page = pages[source.below(pages.len() as u64) as usize];
            let at = page + 8 * source.below(512);
            caller.state.regs.rdi = at;
            caller.state.regs.rax =
                machine.guests[who].frames[source.below(32) as usize].raw() << 12 | source.below(256);
            caller.state.regs.rip = 0xb000;
            caller.state.regs.cs = 0xe033;
            let _ = hv.platform.copy_out(GuestVirt::new(0xb000), &[0x48, 0x89, 0x07, 0x90]);
            let _ = mm::emulate_pt_write(hv, &mut caller, at, 3);
        }
        _ => {
            let vcpu = &guest.domain.vcpus()[0];
            let Some(mut state) = vcpu.state.try_lock() else { return };
            hv.platform.enter(Some(state.root()));
            let mut caller = Caller::new(&guest.domain, vcpu, &mut state);
            let bytes = source.word().to_le_bytes();
            let _ = hv.platform.copy_out(GuestVirt::new(0xb000), &bytes);
            caller.state.regs.rip = 0xb000;
            caller.state.regs.cs = 0xe033;
            let _ = emulate::guest::privileged(hv, &mut caller);
            let _ = mm::ldt_frame(hv, &mut caller, source.below(16) as usize);
            if state.mode == xen_lite_core::domain::Mode::User {
                trap::toggle_mode(hv, &mut state);
            }
        }
    }
}

/// The guest writes an entry into its grant table.
fn grant_entry(machine: &Machine, who: usize, source: &mut impl Source) {
    let guest = &machine.guests[who];
    if guest.domain.is_dying() {
        return;
    }
    let Ok(table) = grant::frame(&machine.hv, &guest.domain, 0) else { return };
    let flags = [1, 5, 1, 0, 2, 9, 3][source.below(7) as usize];
    let to = 1 + source.below(4);
    let frame = guest.frames[source.below(guest.frames.len() as u64) as usize];
    let entry = flags | to << 16 | frame.raw() << 32;
    let entry = if source.once_in(16) { source.word() } else { entry };
    machine.hv.platform.store(Mfn::new(table.raw()), source.below(24) as usize, entry);
}
