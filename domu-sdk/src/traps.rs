//! Exceptions.
//!
//! Every vector below 32 enters through a stub that saves the registers ([`Frame`]). A handler that a guest registered with
//! [`set_handler`] may change them and say [`Outcome::Resume`]; anything else prints the registers, the faulting address and
//! a back trace, and ends the domain as crashed.
//!
//! Events stay as they were while a handler runs: enabled if the interrupted code had them enabled. A handler may itself fault;
//! faulting without end runs into the guard page below the stack, and the hypervisor ends the domain.

pub use crate::arch::TrapFrame as Frame;

use crate::{arch, events, println, sync::EventsMasked};
use abi::xen::{ArchVcpuInfo, VcpuInfo};
use core::mem::offset_of;
use spin::RwLock;

/// What a handler decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The frame is as it should be: go on there.
    Resume,
    /// Not mine: crash.
    Fatal,
}

/// A trap handler.
pub type Handler = fn(&mut Frame) -> Outcome;

/// Read by every trap on every vCPU, so readers must not exclude each other.
static HANDLERS: RwLock<[Option<Handler>; arch::VECTORS]> = RwLock::new([None; arch::VECTORS]);

/// Registers (or with `None` removes) the handler of a vector; returns the one before. Panics for a vector of 32 or more.
pub fn set_handler(vector: u8, handler: Option<Handler>) -> Option<Handler> {
    let _masked = EventsMasked::new();
    let mut handlers = HANDLERS.write();
    let slot = &mut handlers[usize::from(vector)];
    core::mem::replace(slot, handler)
}

/// The address that the last page fault of this vCPU was about.
pub fn fault_address() -> u64 {
    arch::vcpu_info().load_u64(offset_of!(VcpuInfo, arch) + offset_of!(ArchVcpuInfo, cr2))
}

/// Raises a breakpoint trap (vector 3).
pub fn breakpoint() {
    arch::breakpoint();
}

/// Executes an undefined instruction of two bytes (vector 6).
pub fn invalid_opcode() {
    arch::invalid_opcode();
}

/// Where each vector goes. The last entry is empty, as the hypervisor wants it.
#[cfg(target_os = "none")]
pub(crate) fn table() -> [abi::xen::TrapInfo; arch::VECTORS + 1] {
    use abi::xen::{FLAT_KERNEL_CS64, TrapInfo};
    // Flags 0: only the kernel may raise the vector by INT; 3: anybody may.
    let mut table = [TrapInfo::default(); arch::VECTORS + 1];
    for (vector, entry) in table.iter_mut().enumerate().take(arch::VECTORS) {
        let anybody = matches!(vector as u8, abi::trap::INT3 | abi::trap::OVERFLOW);
        *entry = TrapInfo {
            vector: vector as u8,
            flags: if anybody { 3 } else { 0 },
            cs: FLAT_KERNEL_CS64,
            address: arch::trap_stub(vector),
            ..TrapInfo::default()
        };
    }
    table
}

/// Tells the hypervisor where traps and callbacks of the boot vCPU go.
#[cfg(target_os = "none")]
pub(crate) fn init() -> crate::hypercall::Result {
    use crate::hypercall::vcpu;
    vcpu::set_trap_table(&table())?;
    let (event, failsafe) = arch::callback_stubs();
    vcpu::register_callbacks(event, failsafe)
}

/// Entered by every stub.
pub(crate) fn dispatch(frame: &mut Frame) {
    if frame.vector == arch::EVENT_VECTOR {
        events::upcall();
        return;
    }
    let handler = HANDLERS.read().get(frame.vector as usize).copied().flatten();
    if handler.is_some_and(|handler| handler(frame) == Outcome::Resume) {
        return;
    }
    report(frame);
    panic!("{} at {:#018x}, error code {:#x}", name(frame.vector), frame.rip, frame.error_code);
}

/// Prints the registers of a frame, and the way that led there.
pub fn report(frame: &Frame) {
    println!("\n{} (vector {}), error code {:#x}", name(frame.vector), frame.vector, frame.error_code);
    if frame.vector == u64::from(abi::trap::PAGE_FAULT) {
        println!("fault address {:#018x}", fault_address());
    }
    println!("rip {:#018x} cs {:#06x} rflags {:#010x}", frame.rip, frame.cs as u16, frame.rflags);
    println!("rsp {:#018x} ss {:#06x}", frame.rsp, frame.ss as u16);
    println!("rax {:#018x} rbx {:#018x} rcx {:#018x}", frame.rax, frame.rbx, frame.rcx);
    println!("rdx {:#018x} rsi {:#018x} rdi {:#018x}", frame.rdx, frame.rsi, frame.rdi);
    println!("rbp {:#018x} r8  {:#018x} r9  {:#018x}", frame.rbp, frame.r8, frame.r9);
    println!("r10 {:#018x} r11 {:#018x} r12 {:#018x}", frame.r10, frame.r11, frame.r12);
    println!("r13 {:#018x} r14 {:#018x} r15 {:#018x}", frame.r13, frame.r14, frame.r15);
    println!("called from:");
    arch::back_trace(frame.rbp, |address| println!("  {address:#018x}"));
}

/// The name of a vector.
pub fn name(vector: u64) -> &'static str {
    match vector {
        0 => "divide error",
        1 => "debug trap",
        2 => "NMI",
        3 => "breakpoint",
        4 => "overflow",
        5 => "bound range exceeded",
        6 => "invalid opcode",
        7 => "device not available",
        8 => "double fault",
        10 => "invalid TSS",
        11 => "segment not present",
        12 => "stack fault",
        13 => "general protection fault",
        14 => "page fault",
        16 => "x87 error",
        17 => "alignment check",
        18 => "machine check",
        19 => "SIMD error",
        21 => "control protection fault",
        arch::FAILSAFE_VECTOR => "failsafe callback",
        _ => "unexpected vector",
    }
}
