//! The interrupt descriptor table, one for all CPUs.
//!
//! Every gate clears IF. Ring 3 may use `int3`, `into` and `int 0x80` directly; any other `int n` raises #GP, which the core
//! turns into the guest's own handler.

use core::cell::UnsafeCell;

use x86_64::VirtAddr;
use x86_64::structures::DescriptorTablePointer;

use super::descriptors::{self, HYPERVISOR_CS};
use crate::entry::{self, guarded};

/// A gate (SDM vol. 3, 6.14.1).
#[repr(C, align(16))]
#[derive(Clone, Copy)]
struct Gate(u64, u64);

/// A page of its own: with XPTI, guests' roots map it.
#[repr(align(4096))]
struct Table(UnsafeCell<[Gate; 256]>);

// SAFETY: S-07: written by the first CPU before any CPU loads it.
unsafe impl Sync for Table {}

static TABLE: Table = Table(UnsafeCell::new([Gate(0, 0); 256]));

fn gate(address: u64, ist: u8, ring: u64) -> Gate {
    const INTERRUPT_GATE: u64 = 0x8e00;
    let attributes = INTERRUPT_GATE | ring << 13 | u64::from(ist);
    let low =
        address & 0xffff | u64::from(HYPERVISOR_CS) << 16 | attributes << 32 | (address >> 16 & 0xffff) << 48;
    Gate(low, address >> 32)
}

/// Fills the table; once, on the first CPU.
pub fn build() {
    // SAFETY: S-07: no other CPU runs yet, and none has loaded the table.
    let table = unsafe { &mut *TABLE.0.get() };
    for (vector, slot) in table.iter_mut().enumerate() {
        let ring = if matches!(vector, 3 | 4 | 0x80) { 3 } else { 0 };
        let stub =
            if guarded::is_used() { guarded::address::stub(vector) } else { entry::stub_address(vector) };
        *slot = gate(stub, 0, ring);
    }
    for (vector, ist) in [
        (1, descriptors::IST_DEBUG),
        (2, descriptors::IST_NMI),
        (8, descriptors::IST_DOUBLE_FAULT),
        (18, descriptors::IST_MACHINE_CHECK),
    ] {
        let stub = match vector {
            _ if guarded::is_used() => guarded::address::ist(vector),
            1 => entry::debug_address(),
            _ => entry::ist_stub_address(vector),
        };
        table[vector] = gate(stub, ist, 0);
    }
}

/// Address of the table.
pub fn address() -> u64 {
    TABLE.0.get() as u64
}

/// Loads the table on the calling CPU.
pub fn load() {
    let pointer = DescriptorTablePointer { limit: 4095, base: VirtAddr::new(TABLE.0.get() as u64) };
    // SAFETY: S-07: the table is filled and stays where it is.
    unsafe { x86_64::instructions::tables::lidt(&pointer) };
}
