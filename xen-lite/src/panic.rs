//! The end, when going on would leak or escalate: says why, where, and how it came there.

use core::fmt;

use xen_lite_core::domain::Registers;

use crate::boot;
use crate::console;
use crate::cpu::PerCpu;
use crate::layout;
use crate::memory::STACK_SIZE;
use crate::power;
use crate::smp;
use crate::symbols::{self, Code};

macro_rules! say {
    ($($text:tt)*) => { console::emergency(format_args!($($text)*)) };
}

/// Most lines of a back trace.
const TRACE_LINES: usize = 24;

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let (stack, frame): (u64, u64);
    // SAFETY: S-16: reading registers has no effect.
    unsafe {
        core::arch::asm!("mov {}, rsp", "mov {}, rbp", out(reg) stack, out(reg) frame,
            options(nomem, nostack, preserves_flags));
    }
    x86_64::instructions::interrupts::disable();
    claim();
    banner();
    match info.location() {
        Some(place) => say!("{} ({}:{})", info.message(), place.file(), place.line()),
        None => say!("{}", info.message()),
    }
    say!("rsp {stack:016x} rbp {frame:016x}");
    trace(stack, frame);
    end(&info.message())
}

/// Makes this CPU the one that reports, and halts the others. A fault while it reports ends the report.
fn claim() {
    match console::begin_crash(cpu()) {
        Ok(()) => smp::stop_others(),
        Err(first) if first == cpu() => power::crash(),
        Err(_) => smp::halt(),
    }
}

/// A fault of the hypervisor's own.
pub fn fatal(frame: &Registers, cr2: u64) -> ! {
    claim();
    banner();
    let name = match frame.vector {
        0 => "divide error",
        2 => "NMI",
        6 => "invalid opcode",
        8 => "double fault",
        13 => "general protection fault",
        14 => "page fault",
        18 => "machine check",
        _ => "exception",
    };
    say!("{name} (vector {}, error code {:#x}) in the hypervisor", frame.vector, frame.error_code);
    say!("RIP {:04x}:{}", frame.cs, Code(frame.rip));
    say!("rflags {:x} cr2 {cr2:016x} cr3 {:016x}", frame.rflags, cr3());
    let r = frame;
    say!("rax {:016x} rbx {:016x} rcx {:016x} rdx {:016x}", r.rax, r.rbx, r.rcx, r.rdx);
    say!("rsi {:016x} rdi {:016x} rbp {:016x} rsp {:016x}", r.rsi, r.rdi, r.rbp, r.rsp);
    say!("r8  {:016x} r9  {:016x} r10 {:016x} r11 {:016x}", r.r8, r.r9, r.r10, r.r11);
    say!("r12 {:016x} r13 {:016x} r14 {:016x} r15 {:016x}", r.r12, r.r13, r.r14, r.r15);
    trace(frame.rsp, frame.rbp);
    end(&name)
}

fn cr3() -> u64 {
    x86_64::registers::control::Cr3::read_raw().0.start_address().as_u64()
}

fn cpu() -> u32 {
    if PerCpu::is_ready() { PerCpu::get().id.raw() } else { 0 }
}

fn banner() {
    say!("----[ xen-lite {} ]----", env!("CARGO_PKG_VERSION"));
    say!("CPU {} panics:", cpu());
}

fn end(reason: &dyn fmt::Display) -> ! {
    say!("");
    say!("****************************************");
    say!("Panic on CPU {}: {reason}", cpu());
    say!("****************************************");
    power::crash()
}

/// Prints the return addresses of the chain of frame pointers: each frame begins with the caller's frame pointer, and the
/// return address follows. Assembly has no frames, so after an exception in it the chain may lack a line.
fn trace(stack: u64, frame: u64) {
    say!("call trace:");
    let (start, end) = symbols::text();
    let top = stack_end(stack);
    let mut frame = frame;
    for _ in 0..TRACE_LINES {
        if frame < stack || frame + 16 > top || !frame.is_multiple_of(8) {
            return;
        }
        // SAFETY: S-16: the two words lie on the stack, between the stack pointer and the stack's end.
        let [next, address] = unsafe { (frame as *const [u64; 2]).read_volatile() };
        if !(start..end).contains(&address) || next <= frame {
            return;
        }
        say!("   {}", Code(address));
        frame = next;
    }
}

/// End of the stack that a stack pointer is on: the boot stack, the CPU's own, or at least the page.
fn stack_end(stack: u64) -> u64 {
    let (start, end) = boot::stack();
    let boot = layout::IMAGE + start..layout::IMAGE + end;
    let top = if PerCpu::is_ready() { PerCpu::get().stack.get() } else { 0 };
    let own = top.saturating_sub(STACK_SIZE)..top;
    let all = [boot, own];
    all.iter().find(|range| range.contains(&stack)).map_or((stack | 0xfff) + 1, |range| range.end)
}
