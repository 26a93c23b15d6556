//! The end, when going on would leak or escalate: says why, where, and how it came there.

use core::fmt;

use xen_lite_core::domain::Registers;

use crate::console;
use crate::cpu::PerCpu;
use crate::power;
use crate::symbols::{self, Code};

macro_rules! say {
    ($($text:tt)*) => { console::emergency(format_args!($($text)*)) };
}

/// Most words of the stack that are looked at.
const STACK_WORDS: u64 = 1024;
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
    if !console::begin_crash() {
        power::crash();
    }
    banner();
    match info.location() {
        Some(place) => say!("{} ({}:{})", info.message(), place.file(), place.line()),
        None => say!("{}", info.message()),
    }
    say!("rsp {stack:016x} rbp {frame:016x}");
    trace(stack);
    end(&info.message())
}

/// A fault of the hypervisor's own.
pub fn fatal(frame: &Registers, cr2: u64) -> ! {
    if !console::begin_crash() {
        power::crash();
    }
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
    trace(frame.rsp);
    end(&name)
}

fn cr3() -> u64 {
    x86_64::registers::control::Cr3::read_raw().0.start_address().as_u64()
}

fn banner() {
    let cpu = if PerCpu::is_ready() { PerCpu::get().id.raw() } else { 0 };
    say!("----[ xen-lite {} ]----", env!("CARGO_PKG_VERSION"));
    say!("CPU {cpu} panics:");
}

fn end(reason: &dyn fmt::Display) -> ! {
    say!("");
    say!("****************************************");
    say!("Panic on CPU 0: {reason}");
    say!("****************************************");
    power::crash()
}

/// Prints the return addresses on a stack: every word that points into the text, behind a call. There are no frame
/// pointers, so some of them may be left over from calls that ended.
fn trace(stack: u64) {
    let (start, end) = symbols::text();
    let stack = stack & !7;
    // Stacks are 16 KiB at least on such a boundary of their size, or a page of an exception stack: stay in the page run.
    let words = STACK_WORDS.min(((stack | 0x1fff) + 1 - stack) / 8);
    say!("call trace:");
    let mut lines = 0;
    for index in 0..words {
        // SAFETY: S-16: the stack pointer was the CPU's; the words up to the next 16 KiB boundary are the stack's or the image's.
        let word = unsafe { ((stack + index * 8) as *const u64).read_volatile() };
        if (start..end).contains(&word) && lines < TRACE_LINES {
            say!("   {}", Code(word));
            lines += 1;
        }
    }
}
