//! `physdev_op` (physdev.h): I/O ports, physical interrupts, PCI devices.
//!
//! Ports are granted to kernels by I/O privilege level and bitmap. Physical interrupts are not routed to domains: the hypervisor keeps
//! the interrupt controllers to itself, and every device that a domain drives is polled or virtual. So the calls about interrupts answer
//! what upstream answers about an interrupt that is not mapped, and mapping one is refused as for a line that does not exist. What a
//! first domain tells about PCI devices is accepted, because it tells each device that it finds, and has no use here.
//!
//! Numbers of interrupts ([`interrupts_of`]) are as many as upstream gives a domain on a machine with one I/O APIC.

use abi::physdev::*;

use super::coverage::{Sub, full, partial, refused};
use super::guest::{range_ok, read_one, write_one};
use super::{Args, Caller};
use crate::Hypervisor;
use crate::addr::DomId;
use crate::domain::Domain;
use crate::effects::Done;
use crate::fail::{Errno, Fail};
use crate::platform::Platform;

/// Interrupt lines of the machine.
const LINES: u32 = 24;
/// Interrupts of the first domain beyond the lines.
const MORE_OF_FIRST: u32 = 256;
/// Interrupts of other domains beyond the lines.
const MORE: u32 = 32;

/// `MAP_PIRQ_TYPE_MULTI_MSI`: so many messages of one device.
const SEVERAL_MESSAGES: i32 = 4;

const NOT_ROUTED: &str = "no physical interrupt is routed to domains";
const NO_DEVICE: &str = "ENODEV: no device is passed through";

/// Sub-operations.
pub const SUBS: &[Sub] = &[
    full(PHYSDEVOP_IRQ_UNMASK_NOTIFY, "PHYSDEVOP_IRQ_UNMASK_NOTIFY"),
    full(PHYSDEVOP_IRQ_STATUS_QUERY, "PHYSDEVOP_irq_status_query"),
    full(PHYSDEVOP_SET_IOPL, "PHYSDEVOP_set_iopl"),
    partial(PHYSDEVOP_SET_IOBITMAP, "PHYSDEVOP_set_iobitmap", "kept; ports are granted by IOPL only"),
    refused(PHYSDEVOP_APIC_READ, "PHYSDEVOP_apic_read", "EINVAL: domains have no I/O APIC"),
    refused(PHYSDEVOP_APIC_WRITE, "PHYSDEVOP_apic_write", "EINVAL: domains have no I/O APIC"),
    partial(
        PHYSDEVOP_ALLOC_IRQ_VECTOR,
        "PHYSDEVOP_alloc_irq_vector",
        "the number is given back; nothing is set up",
    ),
    refused(PHYSDEVOP_FREE_IRQ_VECTOR, "PHYSDEVOP_free_irq_vector", "ENOSYS, as upstream"),
    refused(PHYSDEVOP_EOI, "PHYSDEVOP_eoi", NOT_ROUTED),
    refused(PHYSDEVOP_MAP_PIRQ, "PHYSDEVOP_map_pirq", NOT_ROUTED),
    refused(PHYSDEVOP_UNMAP_PIRQ, "PHYSDEVOP_unmap_pirq", NOT_ROUTED),
    partial(PHYSDEVOP_MANAGE_PCI_ADD, "PHYSDEVOP_manage_pci_add", "accepted; nothing is kept"),
    refused(PHYSDEVOP_MANAGE_PCI_REMOVE, "PHYSDEVOP_manage_pci_remove", NO_DEVICE),
    refused(PHYSDEVOP_PIRQ_EOI_GMFN_V1, "PHYSDEVOP_pirq_eoi_gmfn_v1", NOT_ROUTED),
    refused(PHYSDEVOP_RESTORE_MSI, "PHYSDEVOP_restore_msi", NO_DEVICE),
    partial(PHYSDEVOP_MANAGE_PCI_ADD_EXT, "PHYSDEVOP_manage_pci_add_ext", "accepted; nothing is kept"),
    partial(PHYSDEVOP_SETUP_GSI, "PHYSDEVOP_setup_gsi", "accepted for lines that exist; nothing is set up"),
    partial(PHYSDEVOP_GET_FREE_PIRQ, "PHYSDEVOP_get_free_pirq", "always the last number: none is taken"),
    refused(PHYSDEVOP_PCI_MMCFG_RESERVED, "PHYSDEVOP_pci_mmcfg_reserved", NO_DEVICE),
    partial(PHYSDEVOP_PCI_DEVICE_ADD, "PHYSDEVOP_pci_device_add", "accepted; nothing is kept"),
    refused(PHYSDEVOP_PCI_DEVICE_REMOVE, "PHYSDEVOP_pci_device_remove", NO_DEVICE),
    refused(PHYSDEVOP_RESTORE_MSI_EXT, "PHYSDEVOP_restore_msi_ext", NO_DEVICE),
    refused(PHYSDEVOP_PIRQ_EOI_GMFN_V2, "PHYSDEVOP_pirq_eoi_gmfn_v2", NOT_ROUTED),
    partial(PHYSDEVOP_DBGP_OP, "PHYSDEVOP_dbgp_op", "no debug port: nothing is to be done"),
    refused(PHYSDEVOP_PREPARE_MSIX, "PHYSDEVOP_prepare_msix", NO_DEVICE),
    refused(PHYSDEVOP_RELEASE_MSIX, "PHYSDEVOP_release_msix", NO_DEVICE),
];

/// Number of physical interrupts that a domain may name.
fn interrupts_of(domain: &Domain) -> u32 {
    LINES + if domain.privileged { MORE_OF_FIRST } else { MORE }
}

/// `physdev_op`: command, address of its structure.
///
/// # Errors
/// `ENOSYS` for a command that there is not, `EFAULT`, and what the command says.
pub fn physdev_op<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    let at = args[1];
    match args[0] as u32 {
        PHYSDEVOP_IRQ_UNMASK_NOTIFY => {}
        PHYSDEVOP_SET_IOPL => {
            let new: PhysdevSetIopl = read_one(hv, at)?;
            if new.iopl > 3 {
                return Err(Errno::EINVAL.into());
            }
            caller.state.iopl = new.iopl as u8;
        }
        PHYSDEVOP_SET_IOBITMAP => {
            let new: PhysdevSetIobitmap = read_one(hv, at)?;
            let bytes = u64::from(new.nr_ports.div_ceil(8)).max(1);
            if new.nr_ports > 65536 || !range_ok(new.bitmap.addr(), bytes) {
                return Err(Errno::EINVAL.into());
            }
            caller.state.io_bitmap = (new.bitmap.addr(), new.nr_ports);
        }
        command @ (PHYSDEVOP_MANAGE_PCI_ADD..=PHYSDEVOP_MANAGE_PCI_REMOVE
        | PHYSDEVOP_RESTORE_MSI..=PHYSDEVOP_MANAGE_PCI_ADD_EXT
        | PHYSDEVOP_PCI_MMCFG_RESERVED..=PHYSDEVOP_RESTORE_MSI_EXT
        | PHYSDEVOP_DBGP_OP..=PHYSDEVOP_RELEASE_MSIX) => device(hv, caller, command, at)?,
        command => interrupt(hv, caller, command, at)?,
    }
    Ok(Done::OK)
}

/// Calls about physical interrupts.
fn interrupt<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &Caller<'_>,
    command: u32,
    at: u64,
) -> Result<(), Errno> {
    match command {
        PHYSDEVOP_IRQ_STATUS_QUERY => {
            let mut query: PhysdevIrqStatusQuery = read_one(hv, at)?;
            if query.irq >= interrupts_of(caller.domain) {
                return Err(Errno::EINVAL);
            }
            // Of one that is not mapped, upstream wants to be told its end.
            query.flags = XENIRQSTAT_NEEDS_EOI;
            write_one(hv, at, &query)
        }
        PHYSDEVOP_EOI => {
            let _: PhysdevEoi = read_one(hv, at)?;
            Err(Errno::EINVAL)
        }
        PHYSDEVOP_PIRQ_EOI_GMFN_V1 | PHYSDEVOP_PIRQ_EOI_GMFN_V2 => {
            let _: PhysdevPirqEoiGmfn = read_one(hv, at)?;
            Err(Errno::EINVAL)
        }
        PHYSDEVOP_APIC_READ | PHYSDEVOP_APIC_WRITE => {
            let _: PhysdevApic = read_one(hv, at)?;
            privileged(caller)?;
            Err(Errno::EINVAL)
        }
        PHYSDEVOP_ALLOC_IRQ_VECTOR => {
            let mut request: PhysdevIrq = read_one(hv, at)?;
            privileged(caller)?;
            request.vector = request.irq;
            write_one(hv, at, &request)
        }
        PHYSDEVOP_MAP_PIRQ => {
            let request: PhysdevMapPirq = read_one(hv, at)?;
            target(hv, caller, request.domid)?;
            let no_count = request.type_ == SEVERAL_MESSAGES && !(1..=32).contains(&request.entry_nr);
            Err(if no_count { Errno::EDOM } else { Errno::EINVAL })
        }
        PHYSDEVOP_UNMAP_PIRQ => {
            let request: PhysdevUnmapPirq = read_one(hv, at)?;
            target(hv, caller, request.domid)?;
            Err(Errno::EINVAL)
        }
        PHYSDEVOP_SETUP_GSI => {
            let request: PhysdevSetupGsi = read_one(hv, at)?;
            if request.gsi as u32 >= LINES {
                return Err(Errno::EINVAL);
            }
            privileged(caller)
        }
        PHYSDEVOP_GET_FREE_PIRQ => {
            let mut request: PhysdevGetFreePirq = read_one(hv, at)?;
            request.pirq = interrupts_of(caller.domain) - 1;
            write_one(hv, at, &request)
        }
        _ => Err(Errno::ENOSYS),
    }
}

/// Calls about PCI devices.
fn device<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, command: u32, at: u64) -> Result<(), Errno> {
    if matches!(command, PHYSDEVOP_PCI_MMCFG_RESERVED | PHYSDEVOP_DBGP_OP) {
        privileged(caller)?;
    }
    // The shortest of the structures; what is behind its first words is not looked at.
    let _: u16 = read_one(hv, at)?;
    if matches!(command, PHYSDEVOP_RESTORE_MSI | PHYSDEVOP_RESTORE_MSI_EXT) {
        return Err(Errno::ENODEV);
    }
    privileged(caller)?;
    match command {
        PHYSDEVOP_MANAGE_PCI_ADD
        | PHYSDEVOP_MANAGE_PCI_ADD_EXT
        | PHYSDEVOP_PCI_DEVICE_ADD
        | PHYSDEVOP_DBGP_OP => Ok(()),
        _ => Err(Errno::ENODEV),
    }
}

fn privileged(caller: &Caller<'_>) -> Result<(), Errno> {
    if caller.domain.privileged { Ok(()) } else { Err(Errno::EPERM) }
}

/// The domain whose interrupts are meant.
fn target<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, id: u16) -> Result<(), Errno> {
    let id = DomId::new(id);
    if id != DomId::SELF && id != caller.domain.id {
        hv.domains.get(id).ok_or(Errno::ESRCH)?;
    }
    privileged(caller)
}

/// `physdev_op_compat`, the older form: one structure with command and arguments.
///
/// # Errors
/// As [`physdev_op`].
pub fn physdev_op_compat<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    let command: u32 = read_one(hv, args[0])?;
    let offset = core::mem::offset_of!(PhysdevOp, u) as u64;
    let at = args[0].checked_add(offset).ok_or(Errno::EFAULT)?;
    physdev_op(hv, caller, &mut [command.into(), at, 0, 0, 0, 0])
}
