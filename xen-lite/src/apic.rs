//! The local APIC: one-shot timer, interrupts between CPUs, end of interrupt; and the IOAPIC pin of the serial port.
//!
//! Registers are MSRs in x2APIC mode, which is used when firmware turned it on or the command line asks for it, and memory otherwise. The timer counts in
//! bus ticks (measured against the TSC), or fires at a TSC value where the CPU can do that.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::cpu::{features::Features, msr};
use crate::{memory, time};

/// Vectors of the hypervisor's own: all from 0xe0, so that one register tells whether any of them waits.
pub mod vector {
    /// The serial port.
    pub const SERIAL: u8 = 0xf1;
    /// Another CPU wants this one to choose again what it runs.
    pub const RESCHEDULE: u8 = 0xf9;
    /// Timer.
    pub const TIMER: u8 = 0xfb;
    /// Interrupts that vanished before they were taken.
    pub const SPURIOUS: u8 = 0xff;
}

/// Register numbers; memory offset is the number times 16.
mod register {
    pub const ID: u32 = 0x02;
    pub const TASK_PRIORITY: u32 = 0x08;
    pub const END_OF_INTERRUPT: u32 = 0x0b;
    pub const SPURIOUS: u32 = 0x0f;
    pub const REQUESTS: u32 = 0x20;
    pub const ERROR_STATUS: u32 = 0x28;
    pub const COMMAND: u32 = 0x30;
    pub const COMMAND_HIGH: u32 = 0x31;
    pub const TIMER: u32 = 0x32;
    pub const LINT0: u32 = 0x35;
    pub const LINT1: u32 = 0x36;
    pub const ERROR: u32 = 0x37;
    pub const INITIAL_COUNT: u32 = 0x38;
    pub const CURRENT_COUNT: u32 = 0x39;
    pub const DIVIDE: u32 = 0x3e;
}

const MASKED: u32 = 1 << 16;
const TIMER_TSC_DEADLINE: u32 = 2 << 17;
const DELIVER_NMI: u32 = 4 << 8;
const BASE_ENABLED: u64 = 1 << 11;
const BASE_X2APIC: u64 = 1 << 10;

static REGISTERS: AtomicU64 = AtomicU64::new(0);
static X2APIC: AtomicBool = AtomicBool::new(false);
static BY_TSC: AtomicBool = AtomicBool::new(false);
/// Timer ticks for each TSC tick, times 2^32.
static RATIO: AtomicU64 = AtomicU64::new(0);

fn read(register: u32) -> u32 {
    if X2APIC.load(Ordering::Relaxed) {
        // SAFETY: S-04: the CPU is in x2APIC mode.
        return unsafe { msr::read(msr::X2APIC + register) } as u32;
    }
    // SAFETY: S-13: the APIC's page is mapped there.
    unsafe { ((REGISTERS.load(Ordering::Relaxed) + u64::from(register) * 16) as *const u32).read_volatile() }
}

#[inline(always)]
fn write(register: u32, value: u32) {
    if X2APIC.load(Ordering::Relaxed) {
        // SAFETY: S-04: the CPU is in x2APIC mode.
        unsafe { msr::write(msr::X2APIC + register, u64::from(value)) };
        return;
    }
    // SAFETY: S-13: the APIC's page is mapped there.
    unsafe {
        ((REGISTERS.load(Ordering::Relaxed) + u64::from(register) * 16) as *mut u32).write_volatile(value)
    };
}

/// Finds and enables the APIC of the first CPU and measures its timer.
///
/// # Errors
/// A text when it cannot be used.
pub fn init(features: &Features, x2apic: Option<bool>) -> Result<(), &'static str> {
    // SAFETY: S-04: CPUID says that there is an APIC.
    let base = unsafe { msr::read(msr::APIC_BASE) };
    // There is no way back from x2APIC mode but through "disabled", so what firmware chose stays.
    if features.x2apic && (base & BASE_X2APIC != 0 || x2apic == Some(true)) {
        // SAFETY: S-04: CPUID says that the mode exists.
        unsafe { msr::write(msr::APIC_BASE, base | BASE_ENABLED | BASE_X2APIC) };
        X2APIC.store(true, Ordering::Relaxed);
    } else {
        let page = base & 0x000f_ffff_ffff_f000;
        let mapped =
            memory::map_device(page, 4096).ok_or("no room in the device window for the local APIC")?;
        REGISTERS.store(mapped, Ordering::Relaxed);
        // SAFETY: S-04: as above; enabling it changes nothing else.
        unsafe { msr::write(msr::APIC_BASE, base | BASE_ENABLED) };
    }
    mask_8259();
    BY_TSC.store(features.tsc_deadline, Ordering::Relaxed);
    init_this_cpu();
    if !features.tsc_deadline {
        measure();
    }
    Ok(())
}

/// Enables the APIC of the calling CPU, which is not the first, in the first one's mode, and sets it up.
pub fn start_this_cpu() {
    let mode = if X2APIC.load(Ordering::Relaxed) { BASE_ENABLED | BASE_X2APIC } else { BASE_ENABLED };
    // SAFETY: S-04: CPUID says that there is an APIC; the address of its registers stays the same.
    unsafe { msr::write(msr::APIC_BASE, msr::read(msr::APIC_BASE) | mode) };
    init_this_cpu();
}

/// Sets up the APIC of the calling CPU.
pub fn init_this_cpu() {
    write(register::TASK_PRIORITY, 0);
    write(register::LINT0, MASKED);
    write(register::LINT1, DELIVER_NMI);
    write(register::ERROR, MASKED);
    write(register::ERROR_STATUS, 0);
    let mode = if BY_TSC.load(Ordering::Relaxed) { TIMER_TSC_DEADLINE } else { 0 };
    write(register::DIVIDE, 0b1011);
    write(register::TIMER, mode | u32::from(vector::TIMER));
    write(register::SPURIOUS, 1 << 8 | u32::from(vector::SPURIOUS));
}

/// The two 8259 are moved away from the CPU's own vectors and shut.
fn mask_8259() {
    use crate::port::outb;
    for (port, base, cascade) in [(0x20, 0x20, 4), (0xa0, 0x28, 2)] {
        outb(port, 0x11);
        outb(port + 1, base);
        outb(port + 1, cascade);
        outb(port + 1, 1);
        outb(port + 1, 0xff);
    }
}

/// Compares the timer's rate with the TSC's, over a millisecond.
fn measure() {
    write(register::TIMER, MASKED);
    write(register::INITIAL_COUNT, u32::MAX);
    let start = time::tsc();
    let first = read(register::CURRENT_COUNT);
    while time::tsc().wrapping_sub(start) < u64::from(time::khz()) {}
    let last = read(register::CURRENT_COUNT);
    let ticks = u128::from(first.wrapping_sub(last));
    let passed = u128::from(time::tsc().wrapping_sub(start));
    RATIO.store(((ticks << 32) / passed) as u64, Ordering::Relaxed);
    write(register::INITIAL_COUNT, 0);
    write(register::TIMER, u32::from(vector::TIMER));
}

/// Physical pages of the interrupt controllers' registers: the hypervisor's alone.
pub fn pages(machine: &crate::acpi::Machine) -> impl Iterator<Item = u64> + '_ {
    // SAFETY: S-04: CPUID says that there is an APIC.
    let local = unsafe { msr::read(msr::APIC_BASE) } & 0x000f_ffff_ffff_f000;
    core::iter::once(local).chain(machine.io_apics.iter().map(|&(address, _)| address & !0xfff))
}

/// Local APIC number of the calling CPU as CPUID tells it, before the APIC's registers can be read.
pub fn initial_id() -> u32 {
    core::arch::x86_64::__cpuid(1).ebx >> 24
}

/// Local APIC number of the calling CPU.
pub fn id() -> u32 {
    let id = read(register::ID);
    if X2APIC.load(Ordering::Relaxed) { id } else { id >> 24 }
}

/// Whether the registers are MSRs.
pub fn is_x2apic() -> bool {
    X2APIC.load(Ordering::Relaxed)
}

/// Ends the interrupt that the calling CPU handles.
#[inline(always)]
pub fn end_of_interrupt() {
    write(register::END_OF_INTERRUPT, 0);
}

/// Lets the timer fire at a time in nanoseconds since boot, at once if that has passed; `u64::MAX` stops it.
pub fn set_timer(deadline: u64) {
    if BY_TSC.load(Ordering::Relaxed) {
        let at = if deadline == u64::MAX { 0 } else { time::tsc_at(deadline).max(1) };
        // SAFETY: S-04: CPUID says that the register is there.
        unsafe { msr::write(msr::TSC_DEADLINE, at) };
        return;
    }
    let count = if deadline == u64::MAX {
        0
    } else {
        let ahead = time::tsc_at(deadline).saturating_sub(time::tsc());
        let ticks = (u128::from(ahead) * u128::from(RATIO.load(Ordering::Relaxed))) >> 32;
        // A count too short for a far deadline fires early, and is then set anew.
        u32::try_from(ticks).unwrap_or(u32::MAX).max(1)
    };
    write(register::INITIAL_COUNT, count);
}

/// Whether an interrupt of the hypervisor's waits for the calling CPU. Long work asks often, and a read of this register is slow,
/// so it is only one.
#[inline]
pub fn is_pending() -> bool {
    read(register::REQUESTS + u32::from(vector::TIMER / 32)) != 0
}

/// What the command register holds besides the vector.
mod deliver {
    pub const FIXED: u32 = 1 << 14;
    pub const NMI: u32 = 1 << 14 | 4 << 8;
    pub const INIT: u32 = 1 << 14 | 5 << 8;
    pub const STARTUP: u32 = 1 << 14 | 6 << 8;
    /// A command is still on its way.
    pub const PENDING: u32 = 1 << 12;
}

/// Whether commands reach a CPU with this number in the present mode.
pub fn reaches(apic_id: u32) -> bool {
    X2APIC.load(Ordering::Relaxed) || apic_id < 0xff
}

fn command(apic_id: u32, low: u32) {
    if X2APIC.load(Ordering::Relaxed) {
        let command = u64::from(apic_id) << 32 | u64::from(low);
        // SAFETY: S-04: the CPU is in x2APIC mode, where the command register is one MSR. The fences order it after stores
        // that the other CPU shall see.
        unsafe {
            core::arch::asm!("mfence", "lfence", options(nostack, preserves_flags));
            msr::write(msr::X2APIC + register::COMMAND, command);
        }
        return;
    }
    while read(register::COMMAND) & deliver::PENDING != 0 {
        core::hint::spin_loop();
    }
    write(register::COMMAND_HIGH, apic_id << 24);
    write(register::COMMAND, low);
}

/// Sends an interrupt to another CPU.
pub fn send(apic_id: u32, vector: u8) {
    command(apic_id, deliver::FIXED | u32::from(vector));
}

/// Sends a non-maskable interrupt to another CPU.
pub fn send_nmi(apic_id: u32) {
    command(apic_id, deliver::NMI);
}

/// Puts another CPU where it waits for [`send_startup`].
pub fn send_init(apic_id: u32) {
    command(apic_id, deliver::INIT);
}

/// Starts another CPU in real mode at the beginning of a page below 1 MiB.
pub fn send_startup(apic_id: u32, page: u8) {
    command(apic_id, deliver::STARTUP | u32::from(page));
}

/// Routes an IOAPIC pin to a vector on CPU with this local APIC: edge-triggered, active high unless said otherwise.
pub fn route(io_apic: u64, pin: u32, vector: u8, apic_id: u32, level: bool, active_low: bool) {
    let Some(registers) = memory::map_device(io_apic, 32) else { return };
    let set = |index: u32, value: u32| {
        // SAFETY: S-13: select and window register of the IOAPIC are mapped there.
        unsafe {
            (registers as *mut u32).write_volatile(index);
            ((registers + 16) as *mut u32).write_volatile(value);
        }
    };
    let low = u32::from(vector) | u32::from(active_low) << 13 | u32::from(level) << 15;
    set(0x11 + 2 * pin, apic_id << 24);
    set(0x10 + 2 * pin, low);
}
