//! Tests of trap delivery: frames as a guest's kernel finds them on its stack.
//!
//! Without a root, the test machine takes a guest address for a machine address, so a stack is just a frame.

use alloc::sync::Arc;

use super::*;
use crate::addr::{Mfn, VcpuId};
use crate::domain::{Callback, Domain, TrapHandler};
use crate::world::{World, domain, machine};

const STACK: u64 = 20 << 12;
const HANDLER: u64 = 0xffff_ffff_8100_0000;

struct Guest {
    hv: Hypervisor<World>,
    domain: Arc<Domain>,
    info: Mfn,
}

/// A domain whose kernel has handlers for #PF, #GP and int 0x80 and callbacks, with its stack in frame 20.
fn guest() -> Guest {
    let hv = machine(64);
    let (domain, frames) = domain(&hv, 1, false, 4);
    let info = frames[0];
    hv.platform.clear(info);
    let vcpu = domain.vcpu(VcpuId::new(0)).expect("it has one");
    vcpu.set_info(info.address());
    let mut state = vcpu.state.lock();
    for (vector, dpl) in [(14, 0), (13, 0), (0x80, 3), (3, 3), (7, 0)] {
        state.traps[vector] =
            TrapHandler { address: HANDLER + vector as u64, cs: 0xe033, dpl, mask_events: vector == 14 };
    }
    state.callbacks.event = Callback { address: HANDLER + 0x1000, mask_events: true };
    state.callbacks.syscall = Callback { address: HANDLER + 0x2000, mask_events: true };
    state.kernel_sp = STACK + 0x1000;
    state.kernel_root = Mfn::new(30);
    state.user_root = Mfn::new(31);
    let regs = &mut state.regs;
    (regs.rip, regs.cs, regs.rflags, regs.rsp, regs.ss) = (0x1234, 0xe033, 0x202, STACK + 0x808, 0xe02b);
    (regs.rcx, regs.r11) = (0xccc, 0x111);
    drop(state);
    Guest { hv, domain, info }
}

impl Guest {
    fn run<T>(&self, act: impl FnOnce(&Hypervisor<World>, &mut Caller<'_>) -> T) -> T {
        let vcpu = self.domain.vcpu(VcpuId::new(0)).expect("it has one");
        let mut state = vcpu.state.lock();
        // Roots of these tests are numbers only: addresses stay machine addresses.
        let result = act(&self.hv, &mut Caller::new(&self.domain, vcpu, &mut state));
        self.hv.platform.enter(None);
        result
    }

    fn stack<const N: usize>(&self, at: u64) -> [u64; N] {
        let mfn = Mfn::new(at >> 12);
        core::array::from_fn(|n| self.hv.platform.load(mfn, (at & 4095) as usize / 8 + n))
    }
}

#[test]
fn a_page_fault_in_the_kernel() {
    let guest = guest();
    guest.run(|hv, caller| {
        let effects = deliver_page_fault(hv, caller, 0b110, 0xdead_b000).expect("delivered");
        assert_eq!(effects, Effects::NONE);
        assert_eq!(caller.state.regs.rsp, STACK + 0x7c0);
        assert_eq!(caller.state.regs.rip, HANDLER + 14);
        assert!(info::masked(hv, caller.vcpu), "its handler masks events");
    });
    // Below the interrupted stack, aligned: RCX, R11, code without "user", RIP, CS with RPL 0, RFLAGS, RSP, SS.
    let frame = guest.stack::<8>(STACK + 0x7c0);
    assert_eq!(frame, [0xccc, 0x111, 0b010, 0x1234, 0xe030, 0x202, STACK + 0x808, 0xe02b]);
    assert_eq!(guest.hv.platform.load(guest.info, 2), 0xdead_b000);
}

#[test]
fn a_system_call_of_user_mode_and_back() {
    let guest = guest();
    guest.run(|hv, caller| {
        caller.state.mode = Mode::User;
        caller.state.gs_base_other = 0x5000;
        hv.platform.set_guest_base(BaseOf::Gs, 0x6000);
        // No root: the kernel's stack is a machine address here as well.
        caller.state.kernel_root = Mfn::INVALID;
        let _ = syscall(hv, caller).expect("delivered");
        assert_eq!(caller.state.mode, Mode::Kernel);
        assert_eq!(caller.state.regs.rip, HANDLER + 0x2000);
        assert_eq!(hv.platform.guest_base(BaseOf::Gs), 0x5000);
        assert_eq!(caller.state.gs_base_other, 0x6000);
    });
    let frame = guest.stack::<7>(STACK + 0x1000 - 56);
    assert_eq!(
        frame,
        [0xccc, 0x111, 0x1234, 0xe033, 0x202, STACK + 0x808, 0xe02b],
        "CS keeps RPL 3: user mode"
    );
}

#[test]
fn software_interrupts_obey_the_guests_table() {
    let guest = guest();
    // int 0x80; int 0x0e; int 0x21
    guest.hv.platform.store_bytes(Mfn::new(21), 0, &[0xcd, 0x80, 0xcd, 0x0e, 0xcd, 0x21]);
    let at = |rip, code| {
        guest.run(|hv, caller| {
            caller.state.regs.rip = rip;
            caller.state.regs.rsp = STACK + 0x808;
            let _ = exception(hv, caller, vector::GP, code, 0).expect("delivered");
            caller.state.regs.rip
        })
    };
    // The error code is QEMU's wrong one (16 n + 2): the instruction counts.
    assert_eq!(at(0x15000, 0x80 * 16 + 2), HANDLER + 0x80);
    assert_eq!(guest.stack::<4>(STACK + 0x7c8)[2], 0x15002, "RIP is behind the instruction");
    assert_eq!(at(0x15002, 0x0e * 8 + 2), HANDLER + 13, "a gate with DPL 0 is closed");
    assert_eq!(guest.stack::<4>(STACK + 0x7c0)[2], 0x0e * 8 + 2);
    assert_eq!(at(0x15004, 0x21 * 8 + 2), HANDLER + 13, "no handler");
}

#[test]
fn events_wait_for_the_mask() {
    let guest = guest();
    guest.run(|hv, caller| {
        assert!(!has_pending(hv, caller));
        assert!(!info::set_upcall_pending(hv, caller.vcpu));
        assert!(info::set_upcall_pending(hv, caller.vcpu), "it was set before");
        info::set_masked(hv, caller.vcpu, true);
        assert!(!has_pending(hv, caller));
        info::set_masked(hv, caller.vcpu, false);
        assert!(has_pending(hv, caller));
        let _ = deliver_pending(hv, caller).expect("delivered");
        assert_eq!(caller.state.regs.rip, HANDLER + 0x1000);
        assert!(!has_pending(hv, caller), "the callback starts masked");
    });
    // saved_upcall_mask is 0 and IF is set: events were open.
    let frame = guest.stack::<7>(STACK + 0x7c8);
    assert_eq!(frame[3..5], [0xe030, 0x202]);
}

#[test]
fn the_next_nmi_waits_for_the_iret_of_the_last() {
    let guest = guest();
    guest.run(|hv, caller| {
        let send = |caller: &Caller<'_>| caller.vcpu.pending.fetch_or(Pending::NMI.bits(), Ordering::Relaxed);
        send(caller);
        assert_eq!(deliver_pending(hv, caller), Ok(Effects::NONE));
        assert_eq!(caller.state.regs.rip, 0x1234, "it waits for a handler");
        caller.state.traps[2] = TrapHandler { address: HANDLER + 2, cs: 0, dpl: 0, mask_events: true };
        let _ = deliver_pending(hv, caller).expect("delivered");
        assert_eq!((caller.state.regs.rip, caller.state.regs.cs), (HANDLER + 2, u64::from(FLAT_CS64)));
        send(caller);
        caller.state.regs.rip = 0x1234;
        let _ = deliver_pending(hv, caller).expect("nothing to deliver");
        assert_eq!(caller.state.regs.rip, 0x1234, "the handler has not returned");
        let at = STACK + 0x200;
        for (n, word) in [0, 0, 0, 0, 0x4000, 0xe030, 0x202, STACK + 0x800, 0xe02b].into_iter().enumerate() {
            hv.platform.store(Mfn::new(at >> 12), (at & 4095) as usize / 8 + n, word);
        }
        caller.state.regs.rsp = at;
        let _ = iret(hv, caller).expect("a good frame");
        let _ = deliver_pending(hv, caller).expect("delivered");
        assert_eq!(caller.state.regs.rip, HANDLER + 2);
    });
}

#[test]
fn what_cannot_be_delivered_ends_the_domain() {
    let guest = guest();
    guest.run(|hv, caller| {
        assert_eq!(inject(hv, caller, 5, 0), Err(Why::NoHandler(5)));
        for stack in [0xffff_8000_0000_1000, 0xffff_8800_0000_0010, 0x8000_0000_0000_0020, 0] {
            caller.state.regs.rsp = stack;
            assert!(matches!(inject(hv, caller, vector::GP, 0), Err(Why::BounceFault(_))), "{stack:#x}");
        }
        caller.state.callbacks.event = Callback::default();
        info::set_upcall_pending(hv, caller.vcpu);
        assert_eq!(deliver_pending(hv, caller), Err(Why::NoCallback("event")));
    });
}

#[test]
fn task_switched_is_told_once() {
    let guest = guest();
    guest.run(|hv, caller| {
        caller.state.cr0 |= 1 << 3;
        let effects = exception(hv, caller, vector::NM, 0, 0).expect("delivered");
        assert_eq!(caller.state.regs.rip, HANDLER + 7);
        assert_eq!(caller.state.cr0 & 1 << 3, 0);
        assert!(effects.todo.contains(Todo::LOAD_TS));
        caller.state.regs.rip = 0x1234;
        let _ = exception(hv, caller, vector::NM, 0, 0).expect("none of the guest's");
        assert_eq!(caller.state.regs.rip, 0x1234);
    });
}

#[test]
fn iret_restores_what_a_bounce_saved() {
    let guest = guest();
    guest.run(|hv, caller| {
        let before = caller.state.regs;
        let _ = inject(hv, caller, vector::GP, 0).expect("delivered");
        // What a kernel does: drop the error code, push flags, RCX, R11, RAX.
        let frame: [u64; 8] = guest_frame(hv, caller.state.regs.rsp);
        let [rcx, r11, _, rip, cs, rflags, rsp, ss] = frame;
        let at = STACK + 0x200;
        for (n, word) in [0xaaa, r11, rcx, 0, rip, cs, rflags, rsp, ss].into_iter().enumerate() {
            hv.platform.store(Mfn::new(at >> 12), (at & 4095) as usize / 8 + n, word);
        }
        caller.state.regs.rsp = at;
        let _ = iret(hv, caller).expect("a good frame");
        let after = caller.state.regs;
        assert_eq!(after.rax, 0xaaa);
        assert_eq!(
            (after.rip, after.cs, after.rsp, after.ss),
            (before.rip, before.cs, before.rsp, before.ss)
        );
        assert_eq!((after.rcx, after.r11, after.rflags), (before.rcx, before.r11, before.rflags));
    });
}

#[test]
fn iret_cannot_gain_privilege_or_io() {
    let guest = guest();
    guest.run(|hv, caller| {
        let at = STACK + 0x200;
        // Ring-0 selectors, IOPL 3, VM86, interrupts off.
        for (n, word) in [0, 0, 0, 0, 0x4000, 0xe008, 0x23002, STACK, 0xe010].into_iter().enumerate() {
            hv.platform.store(Mfn::new(at >> 12), (at & 4095) as usize / 8 + n, word);
        }
        caller.state.regs.rsp = at;
        let _ = iret(hv, caller).expect("tamed");
        let regs = caller.state.regs;
        assert_eq!((regs.cs & 3, regs.ss & 3), (3, 3));
        assert_eq!(regs.rflags & (3 << 12 | 1 << 17), 0);
        assert_ne!(regs.rflags & 1 << 9, 0, "real interrupts stay on");
        assert!(info::masked(hv, caller.vcpu), "events are masked instead");
        caller.state.user_root = Mfn::INVALID;
        hv.platform.store(Mfn::new(at >> 12), (at & 4095) as usize / 8 + 5, 0xe033);
        caller.state.regs.rsp = at;
        assert!(matches!(iret(hv, caller), Err(Why::BadIret(_))));
    });
}

fn guest_frame<const N: usize>(hv: &Hypervisor<World>, at: u64) -> [u64; N] {
    core::array::from_fn(|n| hv.platform.load(Mfn::new(at >> 12), (at & 4095) as usize / 8 + n))
}
