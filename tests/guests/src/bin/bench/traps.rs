//! Exceptions, user mode, emulated instructions.

use super::{
    arena::{Block, remap},
    machine::{self, Stub, Way, address, call, now},
    meter::{cold, failed, hot},
};
use domu_sdk::{
    abi::{
        callback::{CALLBACKOP_REGISTER, CALLBACKTYPE_SYSCALL, CallbackRegister},
        xen::{
            FLAT_KERNEL_SS64,
            hypercall::{CALLBACK_OP, STACK_SWITCH},
        },
    },
    arch,
    hypercall::physdev,
};

const EFER: u32 = 0xc000_0080;
const FS_BASE: u32 = 0xc000_0100;
/// Long mode is active: set in every EFER that a 64-bit guest can see.
const EFER_LMA: u64 = 1 << 10;

fn nothing(_: u64) {}

/// An address of the guest that is not mapped.
fn unmapped() -> u64 {
    let page = Block::take(1).base;
    let result = remap(page, 0);
    assert!(result == 0, "unmapping: {result}");
    page
}

/// Exceptions of the kernel, which come back to it.
pub fn kernel() {
    let hole = unmapped();
    hot("iret to kernel").measure(nothing, |_| {
        machine::iret_to_kernel();
        0
    });
    hot("int3 bounce and iret").measure(nothing, |_| {
        machine::breakpoint();
        0
    });
    hot("#UD bounce and iret").measure(nothing, |_| {
        machine::invalid_opcode();
        0
    });
    hot("#PF bounce and iret").measure(nothing, |_| {
        machine::fault(hole);
        0
    });
}

/// Ways from user mode into the kernel and back.
pub fn user(kernel_stack: u64) {
    let mut entry = CallbackRegister {
        type_: CALLBACKTYPE_SYSCALL,
        address: Stub::Syscall.address(),
        ..Default::default()
    };
    let registered = call(CALLBACK_OP, [CALLBACKOP_REGISTER.into(), address(&mut entry), 0, 0, 0]);
    let switched = call(STACK_SWITCH, [FLAT_KERNEL_SS64.into(), kernel_stack, 0, 0, 0]);
    if registered != 0 || switched != 0 {
        failed("user mode", registered.min(switched));
        return;
    }
    let stack = Block::take(1).page(1);
    let hole = unmapped();
    for (way, row) in [
        (Way::Syscall, hot("user, syscall, user")),
        (Way::Int80, hot("user, int 0x80, user")),
        (Way::Breakpoint, hot("user, int3, user")),
        (Way::Fault, hot("user, #PF, user")),
    ] {
        if !row.is_wanted() {
            continue;
        }
        let before = now();
        let times = machine::user_round_trips(way, stack, hole);
        let all = now() - before;
        // Each round trip took its time, and together they took no longer than the whole.
        let wrong = i64::from(times.contains(&0)) + i64::from(times.iter().sum::<u64>() > all);
        row.report(times, wrong.unsigned_abs());
    }
}

/// Privileged instructions.
pub fn emulated() {
    if let Err(error) = physdev::set_iopl(1) {
        failed("set_iopl", error.as_ret());
    }
    let cr0 = machine::read_cr0();
    cold("mov from cr0").measure(nothing, |_| i64::from(machine::read_cr0() != cr0));
    cold("mov to cr0").measure(nothing, |_| {
        machine::write_cr0(cr0);
        0
    });
    cold("clts").measure(nothing, |_| {
        machine::clts();
        0
    });
    cold("cli").measure(nothing, |_| {
        machine::cli();
        0
    });
    cold("rdmsr EFER").measure(nothing, |_| i64::from(machine::read_msr(EFER) & EFER_LMA == 0));
    cold("wrmsr FS base").measure(nothing, |_| {
        machine::write_msr(FS_BASE, 0);
        0
    });
    cold("outb").measure(nothing, |_| {
        machine::out_byte(0x80, 0);
        0
    });
    // The host bridge: QEMU's first device.
    cold("PCI configuration read").measure(nothing, |_| i64::from(machine::pci_read(1 << 31) == u32::MAX));
    cold("CPUID by the forced-emulation prefix").measure(nothing, |_| i64::from(arch::cpuid(0, 0)[1] == 0));
}
