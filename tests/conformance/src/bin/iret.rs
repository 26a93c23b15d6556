//! The `iret` hypercall. Good frames are told by what they leave; a bad one ends the domain, so each is a boot of its own.
#![no_std]
#![no_main]

use conformance::{Hex, area, at, at_mut, bad, call, case, done, fresh, row, shared, trap};
use core::arch::asm;
use domu_sdk::abi::callback::CallbackRegister;
use domu_sdk::abi::xen::{IretContext, MulticallEntry, TrapInfo, hypercall::*};

#[domu_sdk::main]
fn main() {
    area("iret");
    let base = IretContext {
        rflags: 0x202,
        rsp: trap::stacks().0,
        ss: 0xe02b,
        cs: 0xe033,
        rip: bad::UNMAPPED,
        ..IretContext::default()
    };
    match case() {
        "" => good(),
        "stack-null" => jump(bad::NULL),
        "stack-hole" => jump(bad::HOLE),
        "stack-non-canonical" => jump(bad::NON_CANONICAL),
        "no-user-root" => at_frame(IretContext { ..base }),
        "rip-non-canonical" => at_frame(IretContext { rip: bad::NON_CANONICAL, cs: 0xe030, ..base }),
        "rip-hole" => at_frame(IretContext { rip: bad::HOLE, cs: 0xe030, ..base }),
        "cs-ring0" => at_frame(IretContext { cs: 0xe008, ..base }),
        "cs-null" => at_frame(IretContext { cs: 0, ..base }),
        "cs-data" => at_frame(IretContext { cs: 0xe028, ..base }),
        "cs-beyond" => at_frame(IretContext { cs: 0xfff8, ..base }),
        "ss-ring0" => at_frame(IretContext { cs: 0xe030, ss: 0xe010, ..base }),
        "ss-null" => at_frame(IretContext { cs: 0xe030, ss: 0, ..base }),
        "ss-code" => at_frame(IretContext { cs: 0xe030, ss: 0xe033, ..base }),
        "failsafe-cs" => failsafe(IretContext { cs: 0xfff8, ..base }),
        "failsafe-ss" => failsafe(IretContext { cs: 0xe030, ss: 0xfff8, ..base }),
        "no-handler" => no_handler(),
        "bounce-hole" => stack_fault(bad::HOLE),
        "bounce-unmapped" => stack_fault(bad::UNMAPPED_HIGH),
        "bounce-read-only" => stack_fault(0xffff_ffff_8010_1800),
        "user-kernel-stack" => user_stack(),
        "no-event-callback" => no_event_callback(),
        "syscall-none" => syscall_none(),
        "nmi-none" => {
            row!("remove", call(SET_TRAP_TABLE, [0; 5]));
            row!("send", call(VCPU_OP, [11, 0, 0, 0, 0]));
        }
        "in-multicall" => in_multicall(),
        other => row!("unknown-case", other),
    }
    done();
}

/// Makes the hypercall with the frame at the stack pointer.
fn jump(stack: u64) {
    row!("stack", Hex(stack));
    // SAFETY: none; never comes back this way.
    unsafe { asm!("mov rsp, {}", "mov eax, 23", "syscall", in(reg) stack) };
}

fn at_frame(frame: IretContext) {
    row!("cs", Hex(frame.cs));
    row!("ss", Hex(frame.ss));
    jump(at(&frame));
}

/// The failsafe callback gets what cannot be loaded.
fn failsafe(frame: IretContext) {
    let register = CallbackRegister {
        type_: 1,
        flags: 1,
        address: trap::callback_stub(0),
        ..CallbackRegister::default()
    };
    row!("register", call(CALLBACK_OP, [0, at(&register), 0, 0, 0]));
    row!("cs", Hex(frame.cs));
    let frame = core::ptr::from_ref(&frame);
    let outcome = conformance::trapped!("mov rsp, {f}", "mov eax, 23", "syscall"; f = in(reg) frame, out("rax") _, out("rcx") _, out("r11") _);
    match outcome.0 {
        None => row!("outcome", outcome),
        Some(trap) => {
            row!("vector", Hex(trap.vector));
            for (index, word) in trap.words.iter().enumerate().skip(2).take(9) {
                // rip and rsp are addresses of this image.
                row!("word.{index}", Hex(*word));
            }
            row!("mask", Hex(trap.mask.into()));
        }
    }
}

/// A trap whose vector has no handler.
fn no_handler() {
    row!("remove", call(SET_TRAP_TABLE, [0; 5]));
    // SAFETY: none; ends the domain.
    unsafe { asm!("ud2") };
}

/// A trap with a stack where the frame cannot be written.
fn stack_fault(stack: u64) {
    row!("stack", Hex(stack));
    // SAFETY: none; ends the domain.
    unsafe { asm!("mov rsp, {}", "ud2", in(reg) stack) };
}

/// A trap of user mode while the kernel's stack is nowhere.
fn user_stack() {
    trap::prepare_user();
    row!("switch", call(STACK_SWITCH, [0xe02b, bad::HOLE, 0, 0, 0]));
    let outcome = conformance::in_user!("ud2");
    row!("outcome", outcome.short());
}

/// An event that is due while there is no callback for it.
fn no_event_callback() {
    let table = [TrapInfo::default(); 1];
    row!("table", call(SET_TRAP_TABLE, [at(&table), 0, 0, 0, 0]));
    shared::set_mask(1);
    row!("callbacks", call(SET_CALLBACKS, [0, 0, 0, 0, 0]));
    // SAFETY: sets the bits that make an event due.
    unsafe {
        let info = shared::info().cast::<u8>();
        info.write_volatile(1);
    }
    shared::set_mask(0);
    row!("version", call(XEN_VERSION, [0; 5]));
}

/// A system call of user mode while there is no callback for it: vector 6.
fn syscall_none() {
    trap::prepare_user();
    let outcome = conformance::in_user!("mov eax, 5", "syscall"; out("rax") _, out("rcx") _, out("r11") _);
    row!("outcome", outcome);
}

/// An `iret` to user mode in the middle of a multicall ends the list.
fn in_multicall() {
    trap::prepare_user();
    let mut list =
        [XEN_VERSION, IRET, XEN_VERSION].map(|op| MulticallEntry { op, result: 0x5a5a, args: [0; 6] });
    let mask = shared::mask();
    // SAFETY: as in `in_user!`, but the hypercall is a multicall with the `iret` in it.
    unsafe {
        asm!(
            "mov qword ptr [rip + CONFORMANCE_RECORD + 24], -1",
            "lea {s}, [rip + 2f]",
            "mov [rip + CONFORMANCE_RECORD], {s}",
            "lea {s}, [rip + 3f]",
            "mov [rip + CONFORMANCE_RECORD + 16], {s}",
            "mov [rip + CONFORMANCE_RECORD + 8], rsp",
            "push 0xe02b", "push {stack}", "push 0x246", "push 0xe033", "push {s}",
            "push 0", "push rcx", "push r11", "push 0x77",
            "mov eax, 13", "mov esi, 3", "syscall",
            "3: ud2",
            "2:",
            s = out(reg) _, stack = in(reg) trap::stacks().0,
            inout("rdi") at_mut(&mut list) => _, out("rsi") _, out("rax") _, out("rdx") _, out("r10") _,
            out("r8") _, out("r9") _, out("rcx") _, out("r11") _,
        );
    }
    let outcome = trap::user_outcome(mask);
    row!("outcome", outcome);
    row!("rax", Hex(outcome.0.map_or(0, |trap| trap.registers[0])));
    for (index, entry) in list.iter().enumerate() {
        row!("result.{index}", Hex(fresh(&entry.result)));
    }
}

/// What a frame leaves in the registers; back to the kernel, whose `cs` shows ring 0 or 1.
fn good() {
    for cs in [0xe030_u64, 0xe031, 0xe032] {
        for (name, flags) in [
            ("plain", 0x202_u64),
            ("off", 0x2),
            ("iopl", 0x3202),
            ("ac", 0x4_0202),
            ("id", 0x20_0202),
            ("nt", 0x4202),
            ("vm", 0x2_0202),
            ("rf", 0x1_0202),
            ("df", 0x602),
            ("reserved", 0x8_0000_0202),
        ] {
            if cs == 0xe032 && name != "plain" {
                continue;
            }
            shared::set_mask(0);
            let (rax, rcx, r11, rflags): (u64, u64, u64, u64);
            // SAFETY: comes back behind the call, with the stack it had.
            unsafe {
                asm!(
                    "mov {keep}, rsp",
                    "push 0xe02b", "push {keep}", "push {flags}", "push {cs}", "lea rax, [rip + 2f]", "push rax",
                    "push 0", "push 0x1111", "push 0x2222", "push 0x3333",
                    "mov eax, 23", "syscall", "2:", "pushfq", "pop {after}", "push 0x202", "popfq",
                    keep = out(reg) _, flags = in(reg) flags, cs = in(reg) cs, after = out(reg) rflags,
                    out("rax") rax, out("rcx") rcx, out("r11") r11,
                );
            }
            let mask = shared::mask();
            shared::set_mask(0);
            row!("good.{cs:#x}.{name}.registers", alloc::format!("{} {} {}", Hex(rax), Hex(rcx), Hex(r11)));
            row!("good.{cs:#x}.{name}.rflags", Hex(rflags));
            row!("good.{cs:#x}.{name}.mask", Hex(mask.into()));
        }
    }
    // With VGCF_in_syscall: rcx and r11 need not come back.
    let (rax, rflags): (u64, u64);
    // SAFETY: as above.
    unsafe {
        asm!(
            "mov {keep}, rsp",
            "push 0xe02b", "push {keep}", "push 0x202", "push 0xe030", "lea rax, [rip + 2f]", "push rax",
            "push 0x100", "push 0x1111", "push 0x2222", "push 0x3333",
            "mov eax, 23", "syscall", "2:", "pushfq", "pop {after}",
            keep = out(reg) _, after = out(reg) rflags, out("rax") rax, out("rcx") _, out("r11") _,
        );
    }
    row!("in-syscall.rax", Hex(rax));
    row!("in-syscall.rflags", Hex(rflags));
}

extern crate alloc;
