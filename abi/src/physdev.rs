//! `physdev.h`: physical interrupts, I/O ports and PCI devices of domains that drive hardware.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

use crate::xen::Domid;
use crate::{GuestPtr, Union};

/// Notify end-of-interrupt (EOI) for the specified IRQ.
pub const PHYSDEVOP_EOI: u32 = 12;

structs! {
    /// `struct physdev_eoi`.
    pub struct PhysdevEoi {
        irq: u32,
    }
}

/// Register a shared page for the hypervisor to indicate whether the guest must issue PHYSDEVOP_eoi. The
/// semantics of PHYSDEVOP_eoi change slightly once the guest used this function in that the associated event
/// channel will automatically get unmasked.
pub const PHYSDEVOP_PIRQ_EOI_GMFN_V1: u32 = 17;
/// Register a shared page for the hypervisor to indicate whether the guest must issue PHYSDEVOP_eoi. This
/// hypercall is very similar to PHYSDEVOP_pirq_eoi_gmfn_v1 but it doesn't change the semantics of
/// PHYSDEVOP_eoi. The page registered is used as a bit array indexed by Xen's PIRQ value.
pub const PHYSDEVOP_PIRQ_EOI_GMFN_V2: u32 = 28;

structs! {
    /// `struct physdev_pirq_eoi_gmfn`.
    pub struct PhysdevPirqEoiGmfn {
        gmfn: u64,
    }
}

/// Query the status of an IRQ line.
pub const PHYSDEVOP_IRQ_STATUS_QUERY: u32 = 5;

structs! {
    /// `struct physdev_irq_status_query`.
    pub struct PhysdevIrqStatusQuery {
        irq: u32,
        /// Takes `XENIRQSTAT_*` values.
        flags: u32,
    }
}

pub const XENIRQSTAT_NEEDS_EOI: u32 = 1 << 0;
pub const XENIRQSTAT_SHARED: u32 = 1 << 1;
/// Set the current VCPU's I/O privilege level.
pub const PHYSDEVOP_SET_IOPL: u32 = 6;

structs! {
    /// `struct physdev_set_iopl`.
    pub struct PhysdevSetIopl {
        iopl: u32,
    }
}

/// Set the current VCPU's I/O-port permissions bitmap.
pub const PHYSDEVOP_SET_IOBITMAP: u32 = 7;

structs! {
    /// `struct physdev_set_iobitmap`.
    pub struct PhysdevSetIobitmap {
        bitmap: GuestPtr<u8>,
        nr_ports: u32,
        _pad0: [u8; 4],
    }
}

/// Read or write an IO-APIC register.
pub const PHYSDEVOP_APIC_READ: u32 = 8;
pub const PHYSDEVOP_APIC_WRITE: u32 = 9;

structs! {
    /// `struct physdev_apic`.
    pub struct PhysdevApic {
        apic_physbase: u64,
        reg: u32,
        value: u32,
    }
}

/// Allocate or free a physical upcall vector for the specified IRQ line.
pub const PHYSDEVOP_ALLOC_IRQ_VECTOR: u32 = 10;
pub const PHYSDEVOP_FREE_IRQ_VECTOR: u32 = 11;

structs! {
    /// `struct physdev_irq`.
    pub struct PhysdevIrq {
        irq: u32,
        vector: u32,
    }
}

pub const MAP_PIRQ_TYPE_MSI: u32 = 0x0;
pub const MAP_PIRQ_TYPE_GSI: u32 = 0x1;
pub const MAP_PIRQ_TYPE_UNKNOWN: u32 = 0x2;
pub const MAP_PIRQ_TYPE_MSI_SEG: u32 = 0x3;
pub const MAP_PIRQ_TYPE_MULTI_MSI: u32 = 0x4;
pub const PHYSDEVOP_MAP_PIRQ: u32 = 13;

structs! {
    /// `struct physdev_map_pirq`.
    pub struct PhysdevMapPirq {
        domid: Domid,
        _pad0: [u8; 2],
        type_: i32,
        /// IN (ignored for ..._MULTI_MSI).
        index: i32,
        pirq: i32,
        /// IN – high 16 bits hold segment for ..._MSI_SEG and ..._MULTI_MSI.
        bus: i32,
        devfn: i32,
        /// IN (also OUT for ..._MULTI_MSI).
        entry_nr: i32,
        _pad1: [u8; 4],
        table_base: u64,
    }
}

pub const PHYSDEVOP_UNMAP_PIRQ: u32 = 14;

structs! {
    /// `struct physdev_unmap_pirq`.
    pub struct PhysdevUnmapPirq {
        domid: Domid,
        _pad0: [u8; 2],
        pirq: i32,
    }
}

pub const PHYSDEVOP_MANAGE_PCI_ADD: u32 = 15;
pub const PHYSDEVOP_MANAGE_PCI_REMOVE: u32 = 16;

structs! {
    /// `struct physdev_manage_pci`.
    pub struct PhysdevManagePci {
        bus: u8,
        devfn: u8,
    }
}

pub const PHYSDEVOP_RESTORE_MSI: u32 = 19;

structs! {
    /// `struct physdev_restore_msi`.
    pub struct PhysdevRestoreMsi {
        bus: u8,
        devfn: u8,
    }
}

pub const PHYSDEVOP_MANAGE_PCI_ADD_EXT: u32 = 20;

structs! {
    /// Member `physfn` of [`PhysdevManagePciExt`].
    pub struct PhysdevManagePciExtPhysfn {
        bus: u8,
        devfn: u8,
    }

    /// `struct physdev_manage_pci_ext`.
    pub struct PhysdevManagePciExt {
        bus: u8,
        devfn: u8,
        _pad0: [u8; 2],
        is_extfn: u32,
        is_virtfn: u32,
        physfn: PhysdevManagePciExtPhysfn,
        _pad1: [u8; 2],
    }

    /// `struct physdev_op`: Argument to physdev_op_compat() hypercall. Superceded by new physdev_op() hypercall
    /// since 0x00030202.
    pub struct PhysdevOp {
        cmd: u32,
        _pad0: [u8; 4],
        u: Union<u64, 2>,
    }
}

union_accessors! {
    PhysdevOp.u {
        as_irq_status_query, set_irq_status_query: PhysdevIrqStatusQuery,
        as_set_iopl, set_set_iopl: PhysdevSetIopl,
        as_set_iobitmap, set_set_iobitmap: PhysdevSetIobitmap,
        as_apic_op, set_apic_op: PhysdevApic,
        as_irq_op, set_irq_op: PhysdevIrq,
    }
}

pub const PHYSDEVOP_SETUP_GSI: u32 = 21;

structs! {
    /// `struct physdev_setup_gsi`.
    pub struct PhysdevSetupGsi {
        gsi: i32,
        triggering: u8,
        polarity: u8,
        _pad0: [u8; 2],
    }
}

/// Type is MAP_PIRQ_TYPE_GSI or MAP_PIRQ_TYPE_MSI the hypercall returns a free pirq.
pub const PHYSDEVOP_GET_FREE_PIRQ: u32 = 23;

structs! {
    /// `struct physdev_get_free_pirq`.
    pub struct PhysdevGetFreePirq {
        type_: i32,
        pirq: u32,
    }
}

pub const XEN_PCI_MMCFG_RESERVED: u32 = 0x1;
pub const PHYSDEVOP_PCI_MMCFG_RESERVED: u32 = 24;

structs! {
    /// `struct physdev_pci_mmcfg_reserved`.
    pub struct PhysdevPciMmcfgReserved {
        address: u64,
        segment: u16,
        start_bus: u8,
        end_bus: u8,
        flags: u32,
    }
}

pub const XEN_PCI_DEV_EXTFN: u32 = 0x1;
pub const XEN_PCI_DEV_VIRTFN: u32 = 0x2;
pub const XEN_PCI_DEV_PXM: u32 = 0x4;
pub const PHYSDEVOP_PCI_DEVICE_ADD: u32 = 25;

structs! {
    /// Member `physfn` of [`PhysdevPciDeviceAdd`].
    pub struct PhysdevPciDeviceAddPhysfn {
        bus: u8,
        devfn: u8,
    }

    /// `struct physdev_pci_device_add`.
    pub struct PhysdevPciDeviceAdd {
        seg: u16,
        bus: u8,
        devfn: u8,
        flags: u32,
        physfn: PhysdevPciDeviceAddPhysfn,
        _pad0: [u8; 2],
        /// Optional parameters array. First element ((0)) is PXM domain associated with the device (if
        /// XEN_PCI_DEV_PXM is set).
        optarr: [u32; 0],
    }
}

pub const PHYSDEVOP_PCI_DEVICE_REMOVE: u32 = 26;
pub const PHYSDEVOP_RESTORE_MSI_EXT: u32 = 27;
/// Dom0 should use these two to announce MMIO resources assigned to MSI-X capable devices won't (prepare) or
/// may (release) change.
pub const PHYSDEVOP_PREPARE_MSIX: u32 = 30;
pub const PHYSDEVOP_RELEASE_MSIX: u32 = 31;

structs! {
    /// `struct physdev_pci_device`.
    pub struct PhysdevPciDevice {
        seg: u16,
        bus: u8,
        devfn: u8,
    }
}

pub const PHYSDEVOP_DBGP_RESET_PREPARE: u32 = 1;
pub const PHYSDEVOP_DBGP_RESET_DONE: u32 = 2;
pub const PHYSDEVOP_DBGP_BUS_UNKNOWN: u32 = 0;
pub const PHYSDEVOP_DBGP_BUS_PCI: u32 = 1;
pub const PHYSDEVOP_DBGP_OP: u32 = 29;

structs! {
    /// `struct physdev_dbgp_op`.
    pub struct PhysdevDbgpOp {
        op: u8,
        bus: u8,
        u: Union<u16, 2>,
    }
}

union_accessors! {
    PhysdevDbgpOp.u {
        as_pci, set_pci: PhysdevPciDevice,
    }
}

/// Notify that some PIRQ-bound event channels have been unmasked. ** This command is obsolete since
/// interface version 0x00030202 and is ** ** unsupported by newer versions of Xen.
pub const PHYSDEVOP_IRQ_UNMASK_NOTIFY: u32 = 4;
pub const PHYSDEVOP_PIRQ_EOI_GMFN: u32 = PHYSDEVOP_PIRQ_EOI_GMFN_V2;
