//! xen-lite, the bootable image: everything that touches the machine, and no decision that could be made elsewhere.
//!
//! Principles:
//!
//! 1. **Thin.** What a guest may do is decided in `xen_lite_core`; this crate saves and restores registers, walks real
//!    memory, programs devices, and carries out [`xen_lite_core::effects::Effects`].
//! 2. **Unsafe with a number.** Each unsafe block cites the invariant of `docs/soundness.md` that it rests on (S-01 and so on).
//! 3. **Event-driven.** There is one hypervisor stack for each CPU and none for a vCPU: an exit is handled to its end, with
//!    interrupts off, and what cannot be finished is executed again.
//! 4. **No floating point.** The registers of the FPU belong to the guests at all times.
#![no_std]
#![no_main]

extern crate alloc;

mod acpi;
mod apic;
#[cfg(feature = "audit")]
mod audit;
mod boot;
mod build_id;
mod console;
mod cpu;
mod entry;
mod exit;
mod fixup;
mod guest_copy;
mod heap;
mod hypervisor;
mod interrupt;
mod layout;
mod memory;
mod panic;
mod platform;
mod port;
mod power;
mod run;
mod smp;
mod symbols;
mod time;
