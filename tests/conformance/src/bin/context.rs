//! Contexts for further vCPUs, one field wrong at a time; non-maskable interrupts; the time.
#![no_std]
#![no_main]

extern crate alloc;

use conformance::space::root;
use conformance::{Answer, Hex, area, at, bad, call, done, in_user, op, row, shared, trap, trapped};
use core::sync::atomic::{AtomicU32, Ordering};
use domu_sdk::abi::callback::{CallbackRegister, CallbackUnregister};
use domu_sdk::abi::xen::{FLAT_KERNEL_CS64, TrapInfo, VGCF_IN_KERNEL, VcpuGuestContext, hypercall::*};

#[domu_sdk::main]
fn main() {
    area("context");
    contexts();
    interrupts();
    done();
}

/// The next vCPU without a context.
static NEXT: AtomicU32 = AtomicU32::new(1);

fn base() -> alloc::boxed::Box<VcpuGuestContext> {
    let mut context = alloc::boxed::Box::new(VcpuGuestContext::default());
    context.flags = VGCF_IN_KERNEL;
    context.user_regs.rip = trap::stub(6);
    context.user_regs.rsp = trap::stacks().1;
    context.user_regs.cs = 0xe033;
    context.user_regs.ss = 0xe02b;
    context.kernel_ss = 0xe02b;
    context.kernel_sp = trap::stacks().1;
    context.ctrlreg[3] = root() << 12;
    context
}

/// Initialises the next vCPU; one that got a context is used up.
fn initialise(context: &VcpuGuestContext) -> Answer {
    let id = NEXT.load(Ordering::Relaxed);
    let answer = call(VCPU_OP, [0, id.into(), at(context), 0, 0]);
    if answer.0 == 0 {
        NEXT.store(id + 1, Ordering::Relaxed);
    }
    answer
}

macro_rules! with {
    ($name:literal, |$context:ident| $change:expr) => {{
        let mut $context = base();
        $change;
        row!($name, initialise(&$context));
    }};
}

fn contexts() {
    with!("cr3.none", |c| c.ctrlreg[3] = 0);
    with!("cr3.no-frame", |c| c.ctrlreg[3] = 0xffff_ffff_f000);
    with!("cr3.image", |c| c.ctrlreg[3] = domu_sdk::start::info().shared_info);
    with!("cr1.no-frame", |c| c.ctrlreg[1] = 0xffff_ffff_f000);
    with!("user-mode.no-root", |c| c.flags = 0);
    with!("gdt.too-many", |c| c.gdt_ents = 7169);
    with!("gdt.huge", |c| c.gdt_ents = 1 << 32);
    with!("gdt.no-frame", |c| {
        c.gdt_ents = 8;
        c.gdt_frames[0] = 1 << 40;
    });
    with!("ldt.too-many", |c| {
        c.ldt_base = 0xffff_ffff_8000_0000;
        c.ldt_ents = 8193;
    });
    with!("ldt.unaligned", |c| {
        c.ldt_base = 0xffff_ffff_8000_0008;
        c.ldt_ents = 8;
    });
    for (name, address) in bad::ALL {
        with!("rip.{name}", |c| c.user_regs.rip = address);
        with!("rsp.{name}", |c| c.user_regs.rsp = address);
        with!("kernel-sp.{name}", |c| c.kernel_sp = address);
        with!("event.{name}", |c| c.event_callback_eip = address);
        with!("failsafe.{name}", |c| c.failsafe_callback_eip = address);
        with!("syscall.{name}", |c| c.syscall_callback_eip = address);
        with!("fs.{name}", |c| c.fs_base = address);
        with!("gs-kernel.{name}", |c| c.gs_base_kernel = address);
        with!("gs-user.{name}", |c| c.gs_base_user = address);
        with!("trap.{name}", |c| c.trap_ctxt[3] =
            TrapInfo { vector: 3, cs: 0xe033, address, ..TrapInfo::default() });
        with!("ldt.{name}", |c| {
            c.ldt_base = address & !0xfff;
            c.ldt_ents = 8;
        });
        with!("ldt-none.{name}", |c| c.ldt_base = address);
    }
    for selector in [0_u16, 8, 0xe008, 0xe010, 0xe02b, 0xfff8] {
        with!("cs.{selector:#x}", |c| c.user_regs.cs = selector);
        with!("ss.{selector:#x}", |c| c.user_regs.ss = selector);
        with!("kernel-ss.{selector:#x}", |c| c.kernel_ss = selector.into());
        with!("ds.{selector:#x}", |c| c.user_regs.ds = selector);
    }
    with!("debug.7", |c| c.debugreg[7] = 1 << 32 | 1 << 13);
    with!("debug.0", |c| c.debugreg[0] = bad::HOLE);
    with!("rflags", |c| c.user_regs.rflags = u64::MAX);
    with!("cr4", |c| c.ctrlreg[4] = u64::MAX);
    with!("flags", |c| c.flags = !0x20);
    row!("used", Hex(NEXT.load(Ordering::Relaxed).into()));
}

/// How an NMI of one's own comes.
fn interrupts() {
    // `trap::install` gave vector 2 a handler.
    macro_rules! nmi {
        ($name:literal) => {{
            let outcome = trapped!("mov eax, 24", "mov edi, 11", "xor esi, esi", "xor edx, edx", "syscall", "nop";
                out("rax") _, out("rdi") _, out("rsi") _, out("rdx") _, out("rcx") _, out("r11") _, out("r8") _,
                out("r9") _, out("r10") _);
            row!($name, outcome);
        }};
    }
    trap::prepare_user();
    nmi!("nmi.table");
    // The handler did not return by `iret`: another one waits, or comes.
    nmi!("nmi.again");
    nmi!("nmi.once-more");
    row!("nmi.user", in_user!("nop", "nop"));
    row!("nmi.user.again", in_user!("nop", "nop"));
    for mask in [0_u8, 1] {
        shared::set_mask(mask);
        nmi!("nmi.mask.{mask}");
        row!("nmi.mask.{mask}.user", in_user!("nop"));
        shared::set_mask(0);
    }
    for flags in [0_u8, 4] {
        for cs in [FLAT_KERNEL_CS64, 0xe030, 0xe031] {
            let entry = TrapInfo { vector: 2, flags, cs, address: trap::stub(2), ..TrapInfo::default() };
            row!(
                "nmi.entry.{flags}.{cs:#x}.set",
                call(SET_TRAP_TABLE, [at(&[entry, TrapInfo::default()]), 0, 0, 0, 0])
            );
            nmi!("nmi.entry.{flags}.{cs:#x}");
            row!("nmi.entry.{flags}.{cs:#x}.user", in_user!("nop"));
        }
    }
    for flags in [0_u16, 1] {
        let mut register =
            CallbackRegister { type_: 4, flags, address: trap::stub(2), ..CallbackRegister::default() };
        row!("nmi.callback.{flags}.register", op(CALLBACK_OP, 0, &mut register));
        nmi!("nmi.callback.{flags}");
        row!("nmi.callback.{flags}.user", in_user!("nop"));
    }
    let mut unregister = CallbackUnregister { type_: 4, ..CallbackUnregister::default() };
    row!("nmi.callback.unregister", op(CALLBACK_OP, 1, &mut unregister));
    trap::install();
    nmi!("nmi.table.back");
    row!("nmi.table.back.user", in_user!("nop"));
}
