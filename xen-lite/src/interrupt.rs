//! Interrupts of devices and of other CPUs.

use xen_lite_core::domain::Registers;
use xen_lite_core::effects::{Effects, Todo};

use crate::apic::{self, vector};
use crate::cpu::{PerCpu, percpu};
use crate::hypervisor::hv;
use crate::{console, platform, smp, time};

/// Handles an interrupt that the CPU took; interrupts are off.
pub fn handle(cpu: &PerCpu, number: u8) -> Effects {
    match number {
        vector::TIMER => {
            apic::end_of_interrupt();
            xen_lite_core::time::tick(hv(), cpu.id, time::now())
        }
        vector::RESCHEDULE => {
            apic::end_of_interrupt();
            Effects::todo(Todo::RESCHEDULE)
        }
        vector::SERIAL => {
            let arrived = console::receive();
            apic::end_of_interrupt();
            if arrived {
                xen_lite_core::event::send_global_virq(hv(), abi::xen::VIRQ_CONSOLE)
            } else {
                Effects::NONE
            }
        }
        // The 8259s are shut; what they still say was never an interrupt.
        _ => Effects::NONE,
    }
}

/// The vector of non-maskable interrupts.
pub const NMI: u8 = 2;

/// A non-maskable interrupt: another CPU wants translations dropped or the machine stopped. With one CPU nothing here uses
/// them, so somebody wants to know where the CPU is.
pub fn nmi(frame: &Registers) {
    if smp::is_stopping() {
        smp::halt();
    }
    platform::flush_requested();
    if percpu::count() == 1 {
        console::emergency(format_args!("NMI at {:04x}:{}", frame.cs, crate::symbols::Code(frame.rip)));
    }
}

/// Ends the time in which the CPU takes no further NMI, which lasts from an NMI to the next IRETQ: on the way out of an exit there
/// may be locks to wait for, whose holder waits for this CPU.
pub fn let_nmis_in() {
    // SAFETY: S-08: returns to the next instruction, with the same stack, flags and selectors.
    unsafe {
        core::arch::asm!(
            "mov {t:e}, ss",
            "push {t}",
            "lea {t}, [rsp + 8]",
            "push {t}",
            "pushfq",
            "mov {t:e}, cs",
            "push {t}",
            "lea {t}, [rip + 2f]",
            "push {t}",
            "iretq",
            "2:",
            t = out(reg) _,
        );
    }
}
