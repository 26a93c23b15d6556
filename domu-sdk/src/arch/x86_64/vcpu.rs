//! vCPUs: which one this is, and how another one starts.
//!
//! Which vCPU code runs on is told by its stack. The boot vCPU's is in the image; the others' lie in an area of their own, one
//! [`STACK_STRIDE`] apart, so the number is a subtraction and a shift of the stack pointer. That is right from the first instruction
//! on, also in a trap handler, and no segment base has to be kept.
//!
//! Below each stack there is a stretch without a mapping: what overflows it faults.

use super::{STACK_SIZE, call, callback_stubs, image, paging, stubs};
use crate::{
    memory::{
        SharedPages,
        layout::{PAGE_SIZE, STACK_STRIDE, STACKS_BASE},
        window_slot,
    },
    vcpu::MAX_VCPUS,
};
use abi::{
    errno::Errno,
    vcpu::{VCPUOP_INITIALISE, VCPUOP_UP},
    xen::{FLAT_KERNEL_CS64, FLAT_KERNEL_SS64, VGCF_IN_KERNEL, VcpuGuestContext, hypercall},
};
use alloc::{boxed::Box, vec::Vec};
use core::{
    arch::{asm, global_asm},
    ops::Range,
};

global_asm!(
    ".section .text.vcpu_start, \"ax\", @progbits",
    ".globl vcpu_start",
    // rdi: the vCPU's number; rsi: what it does.
    "vcpu_start:",
    "xor ebp, ebp",
    "cld",
    "call {start}",
    "ud2",
    start = sym start_rust,
);

unsafe extern "C" {
    static vcpu_start: u8;
}

const _: () = assert!(STACK_STRIDE as usize > STACK_SIZE + PAGE_SIZE);

extern "C" fn start_rust(vcpu: usize, run: extern "C" fn(usize) -> !) -> ! {
    run(vcpu)
}

/// The number of the vCPU that this code runs on.
pub(crate) fn vcpu_index() -> usize {
    let rsp: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) rsp, options(nomem, nostack, preserves_flags)) };
    let slot = rsp.wrapping_sub(STACKS_BASE) / STACK_STRIDE;
    if slot < MAX_VCPUS as u64 { slot as usize } else { 0 }
}

/// Addresses of this vCPU's stack.
pub(super) fn stack() -> Range<u64> {
    match vcpu_index() {
        0 => image::stack(),
        vcpu => stack_of(vcpu),
    }
}

fn stack_of(vcpu: usize) -> Range<u64> {
    let end = STACKS_BASE + (vcpu as u64 + 1) * STACK_STRIDE;
    end - STACK_SIZE as u64..end
}

/// Starts a vCPU that never ran. It calls `run` with its number, events masked, on a stack of its own.
pub(crate) fn start_vcpu(vcpu: usize, run: extern "C" fn(usize) -> !) -> Result<(), Errno> {
    let stack = stack_of(vcpu);
    map_stack(&stack)?;
    let mut context = Box::<VcpuGuestContext>::default();
    context.flags = VGCF_IN_KERNEL;
    let registers = &mut context.user_regs;
    registers.rip = (&raw const vcpu_start).addr() as u64;
    registers.rsp = stack.end;
    registers.rdi = vcpu as u64;
    registers.rsi = (run as *const ()).expose_provenance() as u64;
    registers.cs = FLAT_KERNEL_CS64;
    registers.ss = FLAT_KERNEL_SS64;
    registers.rflags = 1 << 9;
    for (place, entry) in context.trap_ctxt.iter_mut().zip(crate::traps::table()) {
        *place = entry;
    }
    context.kernel_ss = u64::from(FLAT_KERNEL_SS64);
    context.kernel_sp = stack.end;
    context.ctrlreg[3] = paging::root() << 12;
    let (event, failsafe) = callback_stubs();
    context.event_callback_eip = event;
    context.failsafe_callback_eip = failsafe;
    context.syscall_callback_eip = stubs::syscall_stub();
    let pointer = core::ptr::from_ref::<VcpuGuestContext>(&*context).expose_provenance() as u64;
    call(hypercall::VCPU_OP, [u64::from(VCPUOP_INITIALISE), vcpu as u64, pointer, 0, 0])?;
    call(hypercall::VCPU_OP, [u64::from(VCPUOP_UP), vcpu as u64, 0, 0, 0]).map(|_| ())
}

/// Maps fresh pages at a stack's addresses, for ever.
fn map_stack(stack: &Range<u64>) -> Result<(), Errno> {
    let count = STACK_SIZE / PAGE_SIZE;
    let pages = SharedPages::new(count).ok_or(Errno::ENOMEM)?;
    let frames: Vec<u64> = (0..count).map(|index| pages.mfn(index).0).collect();
    let slots: Result<Vec<u64>, Errno> = stack.clone().step_by(PAGE_SIZE).map(window_slot).collect();
    paging::map_machine(&slots?, &frames, abi::xen::DOMID_SELF, true).map_err(|error| error.errno)?;
    // from now on these frames are the stack's.
    core::mem::forget(pages);
    Ok(())
}
