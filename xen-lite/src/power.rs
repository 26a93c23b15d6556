//! How the machine stops.

use core::sync::atomic::{AtomicBool, Ordering};

use abi::sched::{SHUTDOWN_CRASH, SHUTDOWN_WATCHDOG};
use xen_lite_core::addr::DomId;
use xen_lite_core::platform::Power;

use crate::hypervisor::try_hv;
use crate::{acpi, port, smp};

/// Do not reset after a panic.
pub static NOREBOOT: AtomicBool = AtomicBool::new(false);
/// A crash ends the emulator with a status of its own (`qemu-exit` on the command line; QEMU's isa-debug-exit device).
pub static QEMU_EXIT: AtomicBool = AtomicBool::new(false);

/// Port of QEMU's isa-debug-exit; the status is twice the value plus one.
const DEBUG_EXIT: u16 = 0xf4;

/// Stops the machine, as the core asks when the first domain ends.
pub fn stop(how: Power) -> ! {
    x86_64::instructions::interrupts::disable();
    #[cfg(feature = "audit")]
    crate::audit::last();
    smp::stop_others();
    if how != Power::Off && first_domain_crashed() {
        crash();
    }
    match how {
        Power::Off => acpi::power_off(),
        Power::Reboot => reset(),
        Power::Halt => {}
    }
    smp::halt()
}

fn first_domain_crashed() -> bool {
    let reason = try_hv()
        .and_then(|hv| hv.domains.get(DomId::DOM0))
        .map(|domain| domain.shutdown_reason.load(Ordering::Relaxed));
    matches!(reason, Some(SHUTDOWN_CRASH | SHUTDOWN_WATCHDOG))
}

/// The end after a panic or the first domain's crash.
pub fn crash() -> ! {
    if QEMU_EXIT.load(Ordering::Relaxed) {
        port::outb(DEBUG_EXIT, 0x10);
    }
    if !NOREBOOT.load(Ordering::Relaxed) {
        reset();
    }
    smp::halt()
}

/// Resets: the firmware's register, the keyboard controller, the PCI host bridge, and at last a fault without handlers.
fn reset() {
    acpi::reset();
    pause();
    port::outb(0x64, 0xfe);
    pause();
    port::outb(0xcf9, 0x06);
    pause();
    let none = x86_64::structures::DescriptorTablePointer { limit: 0, base: x86_64::VirtAddr::zero() };
    // SAFETY: S-16: the machine is to stop; an interrupt without a table makes the CPU reset.
    unsafe {
        x86_64::instructions::tables::lidt(&none);
        core::arch::asm!("int3");
    }
}

/// Gives the machine time to react: some ten thousand port reads, about 10 ms.
fn pause() {
    for _ in 0..10_000 {
        port::inb(0x80);
    }
}
