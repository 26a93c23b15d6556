//! The emulator on a whole hypervisor over a machine of vectors.

use super::guest::{forced, privileged};
use super::{Exception, FORCED_CPUID};
use crate::Hypervisor;
use crate::addr::Mfn;
use crate::domain::{Mode, TrapHandler};
use crate::effects::{Effects, Todo};
use crate::fail::Why;
use crate::hypercall::Caller;
use crate::platform::{BaseOf, Platform};
use crate::trap::{FLAT_CS64, FLAT_SS};
use crate::world::{World, domain, machine};

type Handled = Option<Result<Effects, Why>>;

/// Runs `code` in a domain's vCPU, whose memory is the machine's, with handlers at 0x1300 (#GP) and 0x1400 (#PF).
fn run(
    is_privileged: bool,
    code: &[u8],
    prepare: impl FnOnce(&mut Caller<'_>),
    emulate: impl FnOnce(&Hypervisor<World>, &mut Caller<'_>) -> Handled,
    check: impl FnOnce(&Hypervisor<World>, &mut Caller<'_>, Handled),
) {
    let hv = machine(64);
    let (domain, frames) = domain(&hv, if is_privileged { 0 } else { 1 }, is_privileged, 4);
    let vcpu = domain.vcpus()[0].clone();
    let mut state = vcpu.state.lock();
    let mut caller = Caller::new(&domain, &vcpu, &mut state);
    let base = frames[0].raw() * 4096;
    hv.platform.store_bytes(frames[0], 0, code);
    let regs = &mut caller.state.regs;
    (regs.rip, regs.cs, regs.ss, regs.rflags) = (base, FLAT_CS64.into(), FLAT_SS.into(), 0x202);
    regs.rsp = frames[1].raw() * 4096 + 4096;
    caller.state.mode = Mode::Kernel;
    caller.state.iopl = 1;
    for (vector, address) in [(13, 0x1300), (14, 0x1400)] {
        caller.state.traps[vector] = TrapHandler { address, cs: FLAT_CS64, dpl: 0, mask_events: false };
    }
    prepare(&mut caller);
    let result = emulate(&hv, &mut caller);
    caller.state.regs.rip = caller.state.regs.rip.wrapping_sub(base);
    check(&hv, &mut caller, result);
}

#[test]
fn cli_is_nothing_and_hlt_is_not_ours() {
    run(
        false,
        &[0xfa],
        |_| {},
        privileged,
        |_, caller, result| {
            assert_eq!((result, caller.state.regs.rip), (Some(Ok(Effects::NONE)), 1));
        },
    );
    run(
        false,
        &[0xf4],
        |_| {},
        privileged,
        |_, caller, result| {
            assert_eq!((result, caller.state.regs.rip), (None, 0));
        },
    );
}

#[test]
fn bases_and_flags_reach_the_cpu() {
    let wrmsr = |caller: &mut Caller<'_>| {
        let regs = &mut caller.state.regs;
        (regs.rcx, regs.rax, regs.rdx) = (0xc000_0100, 0x5678, 0x12);
    };
    run(false, &[0x0f, 0x30], wrmsr, privileged, |hv, _, result| {
        assert_eq!(result, Some(Ok(Effects::NONE)));
        assert_eq!(hv.platform.guest_base(BaseOf::Fs), 0x12_0000_5678);
    });
    let set_ts = |caller: &mut Caller<'_>| caller.state.regs.rax = caller.state.cr0 | 8;
    run(false, &[0x0f, 0x22, 0xc0], set_ts, privileged, |_, caller, result| {
        assert_eq!(result, Some(Ok(Effects::todo(Todo::LOAD_TS))));
        assert_ne!(caller.state.cr0 & 8, 0);
    });
    let set_dr = |caller: &mut Caller<'_>| caller.state.regs.rax = 0x7000;
    run(false, &[0x0f, 0x23, 0xc0], set_dr, privileged, |_, caller, result| {
        assert_eq!(result, Some(Ok(Effects::todo(Todo::LOAD_DEBUG))));
        assert_eq!(caller.state.debug[0], 0x7000);
    });
}

#[test]
fn faults_are_delivered() {
    // A debug address in the hypervisor's hole.
    let bad = |caller: &mut Caller<'_>| caller.state.regs.rax = 0xffff_8000_0000_0000;
    run(false, &[0x0f, 0x23, 0xc0], bad, privileged, |hv, caller, result| {
        assert!(matches!(result, Some(Ok(_))), "{result:?}");
        let stack = caller.state.regs.rsp;
        let frame = Mfn::new(stack >> 12);
        // The frame: RCX, R11, error code, RIP. The handler is at 0x1300, the fault at the code's start.
        let base = 0x1300u64.wrapping_sub(caller.state.regs.rip);
        let word = |n| hv.platform.load(frame, (stack as usize & 4095) / 8 + n);
        assert_eq!((word(2), word(3)), (u64::from(Exception::GP.error_code), base));
    });
    // OUTSB from memory that is not there.
    let outs = |caller: &mut Caller<'_>| caller.state.regs.rsi = 0x4000_0000;
    run(false, &[0x6e], outs, privileged, |_, caller, result| {
        assert!(matches!(result, Some(Ok(_))), "{result:?}");
        assert_eq!(caller.state.cr2, 0x4000_0000);
    });
    // The hypervisor's hole is a #GP, not an access.
    let hole = |caller: &mut Caller<'_>| {
        caller.state.regs.rsi = 0xffff_8000_0000_1000;
        caller.state.traps[13].address = 0;
    };
    run(false, &[0x6e], hole, privileged, |_, _, result| assert_eq!(result, Some(Err(Why::NoHandler(13)))));
}

#[test]
fn the_pci_address_is_latched_for_each_domain() {
    let latch = |caller: &mut Caller<'_>| {
        (caller.state.regs.rax, caller.state.regs.rdx) = (0x8000_1234, 0xcf8);
    };
    run(false, &[0xef], latch, privileged, |hv, caller, _| {
        assert_eq!(caller.domain.settings.lock().pci_address, 0x8000_1234);
        caller.state.regs.rip = caller.state.regs.rip.wrapping_sub(1);
        assert_eq!(hv.platform.port_in(0xcf8, 4), u32::MAX, "the machine is not touched");
    });
    run(
        false,
        &[0xe4, 0x42],
        |_| {},
        privileged,
        |_, caller, _| assert_eq!(caller.state.regs.rax as u8, 0xff),
    );
}

#[test]
fn permissions_of_user_mode_come_from_the_bitmap_of_the_kernel() {
    let code = [&[0xe4, 0x42][..], &[0; 62], &[0xff; 16]].concat();
    let with_bitmap = |port_bit_clear: bool| {
        move |caller: &mut Caller<'_>| {
            caller.state.mode = Mode::User;
            caller.state.kernel_root = Mfn::new(u64::MAX);
            caller.state.user_root = Mfn::new(u64::MAX);
            // Zeroes follow the code: ports 0 to 0x1bf or so are open; all ones follow them.
            caller.state.io_bitmap = (caller.state.regs.rip + if port_bit_clear { 2 } else { 64 }, 0x80);
            caller.state.traps[13].address = 0;
        }
    };
    run(false, &code, with_bitmap(false), privileged, |_, _, result| {
        assert_eq!(result, Some(Err(Why::NoHandler(13))))
    });
    run(false, &code, with_bitmap(true), privileged, |_, caller, result| {
        assert_eq!((result, caller.state.regs.rip), (Some(Ok(Effects::NONE)), 2));
    });
}

#[test]
fn forced_cpuid_shows_xen() {
    run(
        false,
        &FORCED_CPUID,
        |caller| caller.state.regs.rax = 0x4000_0000,
        forced,
        |_, caller, result| {
            let regs = &caller.state.regs;
            assert_eq!((result, regs.rip), (Some(Ok(Effects::NONE)), 7));
            assert_eq!((regs.rax, regs.rbx), (0x4000_0005, 0x566e_6558));
        },
    );
    run(false, &[0x0f, 0x0b, 0x90], |_| {}, forced, |_, _, result| assert_eq!(result, None));
}

#[test]
fn a_code_segment_of_the_guests_own_table() {
    // mov %cr0, %eax in a 32-bit segment: 0x48 would be DEC EAX there.
    let own = |descriptor: u64| {
        move |hv: &Hypervisor<World>, caller: &mut Caller<'_>| {
            let frame = Mfn::new((caller.state.regs.rsp - 4096) >> 12);
            hv.platform.store(frame, 3, descriptor);
            caller.state.gdt[0] = frame;
            caller.state.gdt_entries = 4;
            caller.state.regs.cs = 3 << 3 | 3;
            privileged(hv, caller)
        }
    };
    let code = [0x48, 0x0f, 0x20, 0xc0];
    run(
        false,
        &code,
        |_| {},
        own(super::segment::FLAT_CODE64),
        |_, caller, result| {
            assert_eq!((result, caller.state.regs.rip), (Some(Ok(Effects::NONE)), 4));
        },
    );
    run(false, &code, |_| {}, own(super::segment::FLAT_CODE32), |_, _, result| assert_eq!(result, None));
    run(false, &code, |_| {}, own(0), |_, _, result| assert_eq!(result, None));
}
