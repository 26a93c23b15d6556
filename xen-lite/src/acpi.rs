//! What the firmware's tables say: CPUs, interrupt controllers, PM timer, and how to turn the machine off.
//!
//! Only static tables are read, and one constant of the DSDT: the object `\_S5_`, a package of the numbers that go into the
//! PM1 control registers. It is found by its name, as it stands in every DSDT as a literal package.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use acpi::address::{AddressSpace, GenericAddress};
use acpi::fadt::Fadt;
use acpi::madt::{Madt, MadtEntry};
use acpi::{AcpiHandler, AcpiTables, PhysicalMapping};
use alloc::vec::Vec;

use crate::{layout, memory, port};

/// What boot needs from the tables.
#[derive(Debug, Default)]
pub struct Machine {
    /// Local APIC numbers of CPUs that may be used.
    pub cpus: Vec<u32>,
    /// I/O APICs: address, first interrupt.
    pub io_apics: Vec<(u64, u32)>,
    /// ISA interrupts that are wired otherwise: interrupt, global interrupt, level-triggered, active low.
    pub overrides: Vec<(u8, u32, bool, bool)>,
    /// Port of the PM timer.
    pub pm_timer: Option<u16>,
}

#[derive(Clone)]
struct Mapper;

impl AcpiHandler for Mapper {
    unsafe fn map_physical_region<T>(&self, physical: usize, size: usize) -> PhysicalMapping<Self, T> {
        let address = reach(physical as u64, size as u64);
        // SAFETY: S-13: `reach` gives an address at which the tables can be read; never null.
        unsafe {
            PhysicalMapping::new(physical, NonNull::new_unchecked(address as *mut T), size, size, Mapper)
        }
    }
    fn unmap_physical_region<T>(_: &PhysicalMapping<Self, T>) {}
}

/// Where physical memory of the firmware can be read: in the direct map if it is there, else through the device window.
fn reach(physical: u64, size: u64) -> u64 {
    if crate::memory::is_direct(physical, size) {
        return layout::direct(physical);
    }
    memory::map_device(physical, size).unwrap_or(layout::direct(0))
}

/// Ports and values for sleep state S5, packed: port a, port b, value a, value b (16 bits each); 0 is unknown.
static POWER_OFF: AtomicU64 = AtomicU64::new(0);
/// Reset register: space (1 is a port) << 56 | value << 48 | address; 0 is unknown.
static RESET: AtomicU64 = AtomicU64::new(0);

/// Reads the tables. `rsdp` is the root pointer's address if the loader gave it.
///
/// # Errors
/// A text when there are no tables, or they are damaged.
pub fn read(rsdp: Option<u64>) -> Result<Machine, &'static str> {
    // SAFETY: S-13: the mapper maps what is asked for; BIOS areas are searched when the loader gave no address.
    let tables = unsafe {
        match rsdp {
            Some(at) => AcpiTables::from_rsdp(Mapper, at as usize),
            None => AcpiTables::search_for_rsdp_bios(Mapper),
        }
    };
    let tables = tables.map_err(|_| "no ACPI tables")?;
    let mut machine = Machine::default();
    if let Ok(madt) = tables.find_table::<Madt>() {
        read_madt(&mut machine, madt.get());
    }
    if let Ok(fadt) = tables.find_table::<Fadt>() {
        machine.pm_timer = fadt.pm_timer_block().ok().flatten().and_then(|block| io_port(&block));
        read_power(&fadt);
    }
    Ok(machine)
}

fn read_madt(machine: &mut Machine, madt: core::pin::Pin<&Madt>) {
    const ENABLED: u32 = 1;
    for entry in madt.entries() {
        match entry {
            MadtEntry::LocalApic(cpu) if { cpu.flags } & ENABLED != 0 => {
                machine.cpus.push(u32::from(cpu.apic_id))
            }
            MadtEntry::LocalX2Apic(cpu) if { cpu.flags } & ENABLED != 0 => machine.cpus.push(cpu.x2apic_id),
            MadtEntry::IoApic(io) => {
                machine.io_apics.push((u64::from(io.io_apic_address), io.global_system_interrupt_base));
            }
            MadtEntry::InterruptSourceOverride(over) => {
                let flags = over.flags;
                let (active_low, level) = (flags & 3 == 3, flags >> 2 & 3 == 3);
                machine.overrides.push((over.irq, over.global_system_interrupt, level, active_low));
            }
            _ => {}
        }
    }
}

fn io_port(address: &GenericAddress) -> Option<u16> {
    if address.address_space != AddressSpace::SystemIo {
        return None;
    }
    u16::try_from(address.address).ok().filter(|&port| port != 0)
}

fn read_power(fadt: &Fadt) {
    if let Ok(register) = fadt.reset_register()
        && { fadt.flags }.supports_system_reset_via_fadt()
        && let Some(port) = io_port(&register)
    {
        RESET.store(1 << 56 | u64::from(fadt.reset_value) << 48 | u64::from(port), Ordering::Relaxed);
    }
    let a = fadt.pm1a_control_block().ok().and_then(|block| io_port(&block));
    let b = fadt.pm1b_control_block().ok().flatten().and_then(|block| io_port(&block));
    if let (Some(a), Some((value_a, value_b))) = (a, fadt.dsdt_address().ok().and_then(sleep_values)) {
        let packed = u64::from(a)
            | u64::from(b.unwrap_or(0)) << 16
            | u64::from(value_a) << 32
            | u64::from(value_b) << 48;
        POWER_OFF.store(packed, Ordering::Relaxed);
    }
}

/// The first two numbers of `\_S5_` in the DSDT at a physical address.
fn sleep_values(dsdt: usize) -> Option<(u8, u8)> {
    const MOST: u32 = 1 << 20;
    let header = reach(dsdt as u64, 36) as *const u8;
    // SAFETY: S-13: the table's header is mapped; its length stands at byte 4.
    let length = unsafe { header.add(4).cast::<u32>().read_unaligned() }.min(MOST);
    let table = reach(dsdt as u64, u64::from(length)) as *const u8;
    // SAFETY: S-13: the whole table is mapped, and firmware's tables do not change.
    let bytes = unsafe { core::slice::from_raw_parts(table, length as usize) };
    let at = bytes.windows(4).position(|window| window == b"_S5_")?;
    package(bytes.get(at + 4..)?)
}

/// Two small numbers from an AML package (ACPI 6.4, 20.2.5): 0x12, length, count, then the elements.
fn package(aml: &[u8]) -> Option<(u8, u8)> {
    let [0x12, lead, rest @ ..] = aml else { return None };
    let mut rest = rest.get(usize::from(lead >> 6) + 1..)?;
    let mut number = || match *rest {
        [0x0a, value, ref tail @ ..] => {
            rest = tail;
            Some(value)
        }
        [value @ (0 | 1), ref tail @ ..] => {
            rest = tail;
            Some(value)
        }
        _ => None,
    };
    Some((number()?, number()?))
}

/// Turns the machine off; returns if that is not known to work here.
pub fn power_off() {
    const SLEEP_ENABLE: u16 = 1 << 13;
    let packed = POWER_OFF.load(Ordering::Relaxed);
    let field = |index: u32| (packed >> (16 * index)) as u16;
    for (port, value) in [(field(0), field(2)), (field(1), field(3))] {
        if port != 0 {
            let keep = port::inw(port) & 0x0203;
            port::outw(port, keep | value << 10 | SLEEP_ENABLE);
        }
    }
}

/// Resets the machine through the register that the firmware names; returns if there is none.
pub fn reset() {
    let packed = RESET.load(Ordering::Relaxed);
    if packed != 0 {
        port::outb(packed as u16, (packed >> 48) as u8);
    }
}
