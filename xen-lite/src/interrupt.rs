//! Interrupts of devices and of other CPUs.

use xen_lite_core::domain::Registers;
use xen_lite_core::effects::{Effects, Todo};

use crate::apic::{self, vector};
use crate::cpu::PerCpu;
use crate::hypervisor::hv;
use crate::{console, platform, time};

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
        vector::FLUSH => {
            platform::flush_requested();
            apic::end_of_interrupt();
            Effects::NONE
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

/// A non-maskable interrupt. Nothing here uses them, so somebody wants to know where the CPU is.
pub fn nmi(frame: &Registers) {
    console::emergency(format_args!("NMI at {:04x}:{}", frame.cs, crate::symbols::Code(frame.rip)));
}
