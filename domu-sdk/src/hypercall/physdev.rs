//! `physdev_op`: interrupts and I/O privilege of a domain that drives hardware.

use super::{Result, input, op, output};
use crate::types::DomId;
use abi::{
    physdev::{
        PHYSDEVOP_EOI, PHYSDEVOP_IRQ_STATUS_QUERY, PHYSDEVOP_MAP_PIRQ, PHYSDEVOP_SET_IOPL,
        PHYSDEVOP_SETUP_GSI, PHYSDEVOP_UNMAP_PIRQ, PhysdevEoi, PhysdevIrqStatusQuery, PhysdevMapPirq,
        PhysdevSetIopl, PhysdevSetupGsi, PhysdevUnmapPirq,
    },
    xen::hypercall::PHYSDEV_OP,
};

/// Sets the I/O privilege level of this vCPU. 1 is what a kernel takes: port accesses are then emulated.
pub fn set_iopl(level: u32) -> Result {
    op(PHYSDEV_OP, PHYSDEVOP_SET_IOPL, input(&PhysdevSetIopl { iopl: level })).map(|_| ())
}

/// Says that a level-triggered interrupt was handled.
pub fn end_of_interrupt(irq: u32) -> Result {
    op(PHYSDEV_OP, PHYSDEVOP_EOI, input(&PhysdevEoi { irq })).map(|_| ())
}

/// Flags (`XENIRQSTAT_*`) of a physical interrupt.
pub fn irq_status(irq: u32) -> Result<u32> {
    let mut argument = PhysdevIrqStatusQuery { irq, ..Default::default() };
    op(PHYSDEV_OP, PHYSDEVOP_IRQ_STATUS_QUERY, output(&mut argument))?;
    Ok(argument.flags)
}

/// Tells how an interrupt line is wired: level or edge, active low or high.
pub fn setup_gsi(gsi: i32, level: bool, active_low: bool) -> Result {
    let argument =
        PhysdevSetupGsi { gsi, triggering: level.into(), polarity: active_low.into(), ..Default::default() };
    op(PHYSDEV_OP, PHYSDEVOP_SETUP_GSI, input(&argument)).map(|_| ())
}

/// Maps a physical interrupt; the argument comes back with `pirq` (and for MSI `index`) filled in.
pub fn map_pirq(argument: &PhysdevMapPirq) -> Result<PhysdevMapPirq> {
    let mut argument = *argument;
    op(PHYSDEV_OP, PHYSDEVOP_MAP_PIRQ, output(&mut argument))?;
    Ok(argument)
}

/// Undoes [`map_pirq`].
pub fn unmap_pirq(domain: DomId, pirq: i32) -> Result {
    let argument = PhysdevUnmapPirq { domid: domain.0, pirq, ..Default::default() };
    op(PHYSDEV_OP, PHYSDEVOP_UNMAP_PIRQ, input(&argument)).map(|_| ())
}
