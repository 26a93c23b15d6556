//! `hvm/dm_op.h`: what a device model may do to its domain.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

use crate::event_channel::EvtchnPort;
use crate::{GuestPtr, Union};

/// (`XEN_DMOP_create_ioreq_server`) Instantiate a new IOREQ Server for a secondary emulator.
pub const XEN_DMOP_CREATE_IOREQ_SERVER: u32 = 1;

structs! {
    /// `struct xen_dm_op_create_ioreq_server`.
    pub struct DmOpCreateIoreqServer {
        /// IN – should server handle buffered ioreqs.
        handle_bufioreq: u8,
        pad: [u8; 3],
        /// OUT – server id.
        id: u16,
    }
}

/// (`XEN_DMOP_get_ioreq_server_info`) Get all the information necessary to access IOREQ Server `id`.
pub const XEN_DMOP_GET_IOREQ_SERVER_INFO: u32 = 2;

structs! {
    /// `struct xen_dm_op_get_ioreq_server_info`.
    pub struct DmOpGetIoreqServerInfo {
        /// IN – server id.
        id: u16,
        /// IN – flags.
        flags: u16,
        /// OUT – buffered ioreq port.
        bufioreq_port: EvtchnPort,
        /// OUT – sync ioreq gfn (see block comment above).
        ioreq_gfn: u64,
        /// OUT – buffered ioreq gfn (see block comment above).
        bufioreq_gfn: u64,
    }
}

pub const XEN_DMOP_NO_GFNS: u32 = 1 << 0;
/// (`XEN_DMOP_map_io_range_to_ioreq_server`) Register an I/O range for emulation by the client of IOREQ
/// Server `id`. XEN_DMOP_unmap_io_range_from_ioreq_server: Deregister an I/O range previously registered for
/// emulation by the client of IOREQ Server `id`.
pub const XEN_DMOP_MAP_IO_RANGE_TO_IOREQ_SERVER: u32 = 3;
pub const XEN_DMOP_UNMAP_IO_RANGE_FROM_IOREQ_SERVER: u32 = 4;

structs! {
    /// `struct xen_dm_op_ioreq_server_range`.
    pub struct DmOpIoreqServerRange {
        /// IN – server id.
        id: u16,
        pad: u16,
        /// IN – type of range.
        type_: u32,
        /// IN – inclusive start and end of range.
        start: u64,
        /// IN – inclusive start and end of range.
        end: u64,
    }
}

/// I/O port range.
pub const XEN_DMOP_IO_RANGE_PORT: u32 = 0;
/// MMIO range.
pub const XEN_DMOP_IO_RANGE_MEMORY: u32 = 1;
/// PCI segment/bus/dev/func range.
pub const XEN_DMOP_IO_RANGE_PCI: u32 = 2;
/// (`XEN_DMOP_set_ioreq_server_state`) Enable or disable the IOREQ Server `id`.
pub const XEN_DMOP_SET_IOREQ_SERVER_STATE: u32 = 5;

structs! {
    /// `struct xen_dm_op_set_ioreq_server_state`.
    pub struct DmOpSetIoreqServerState {
        /// IN – server id.
        id: u16,
        /// IN – enabled?
        enabled: u8,
        pad: u8,
    }
}

/// (`XEN_DMOP_destroy_ioreq_server`) Destroy the IOREQ Server `id`.
pub const XEN_DMOP_DESTROY_IOREQ_SERVER: u32 = 6;

structs! {
    /// `struct xen_dm_op_destroy_ioreq_server`.
    pub struct DmOpDestroyIoreqServer {
        /// IN – server id.
        id: u16,
        pad: u16,
    }
}

/// (`XEN_DMOP_track_dirty_vram`) Track modifications to the specified pfn range.
pub const XEN_DMOP_TRACK_DIRTY_VRAM: u32 = 7;

structs! {
    /// `struct xen_dm_op_track_dirty_vram`.
    pub struct DmOpTrackDirtyVram {
        /// IN – number of pages to be tracked.
        nr: u32,
        pad: u32,
        /// IN – first pfn to track.
        first_pfn: u64,
    }
}

/// (`XEN_DMOP_set_pci_intx_level`) Set the logical level of one of a domain's PCI INTx pins.
pub const XEN_DMOP_SET_PCI_INTX_LEVEL: u32 = 8;

structs! {
    /// `struct xen_dm_op_set_pci_intx_level`.
    pub struct DmOpSetPciIntxLevel {
        /// IN – PCI INTx identification (domain:bus:device:intx).
        domain: u16,
        bus: u8,
        device: u8,
        intx: u8,
        /// IN – Level: 0 -> deasserted, 1 -> asserted.
        level: u8,
    }
}

/// (`XEN_DMOP_set_isa_irq_level`) Set the logical level of a one of a domain's ISA IRQ lines.
pub const XEN_DMOP_SET_ISA_IRQ_LEVEL: u32 = 9;

structs! {
    /// `struct xen_dm_op_set_isa_irq_level`.
    pub struct DmOpSetIsaIrqLevel {
        /// IN – ISA IRQ (0-15).
        isa_irq: u8,
        /// IN – Level: 0 -> deasserted, 1 -> asserted.
        level: u8,
    }
}

/// (`XEN_DMOP_set_pci_link_route`) Map a PCI INTx line to an IRQ line.
pub const XEN_DMOP_SET_PCI_LINK_ROUTE: u32 = 10;

structs! {
    /// `struct xen_dm_op_set_pci_link_route`.
    pub struct DmOpSetPciLinkRoute {
        /// PCI INTx line (0-3).
        link: u8,
        /// ISA IRQ (1-15) or 0 -> disable link.
        isa_irq: u8,
    }
}

/// (`XEN_DMOP_modified_memory`) Notify that a set of pages were modified by an emulator.
pub const XEN_DMOP_MODIFIED_MEMORY: u32 = 11;

structs! {
    /// `struct xen_dm_op_modified_memory`.
    pub struct DmOpModifiedMemory {
        /// IN – Number of extents to be processed OUT -returns n+1 for failing extent.
        nr_extents: u32,
        /// IN/OUT – Must be set to 0.
        opaque: u32,
    }

    /// `struct xen_dm_op_modified_memory_extent`.
    pub struct DmOpModifiedMemoryExtent {
        /// IN – number of contiguous pages modified.
        nr: u32,
        pad: u32,
        /// IN – first pfn modified.
        first_pfn: u64,
    }
}

/// (`XEN_DMOP_set_mem_type`) Notify that a region of memory is to be treated in a specific way. (See
/// definition of hvmmem_type_t).
pub const XEN_DMOP_SET_MEM_TYPE: u32 = 12;

structs! {
    /// `struct xen_dm_op_set_mem_type`.
    pub struct DmOpSetMemType {
        /// IN – number of contiguous pages.
        nr: u32,
        /// IN – new hvmmem_type_t of region.
        mem_type: u16,
        pad: u16,
        /// IN – first pfn in region.
        first_pfn: u64,
    }
}

/// (`XEN_DMOP_inject_event`) Inject an event into a VCPU, which will get taken up when it is next scheduled.
pub const XEN_DMOP_INJECT_EVENT: u32 = 13;

structs! {
    /// `struct xen_dm_op_inject_event`.
    pub struct DmOpInjectEvent {
        /// IN – index of vCPU.
        vcpuid: u32,
        /// IN – interrupt vector.
        vector: u8,
        /// IN – event type (DMOP_EVENT_* ).
        type_: u8,
        /// IN – instruction length.
        insn_len: u8,
        pad0: u8,
        /// IN – error code (or ~0 to skip).
        error_code: u32,
        pad1: u32,
        /// IN – type-specific extra data (%cr2 for #PF, pending_dbg for #DB).
        cr2: u64,
    }
}

/// External interrupt.
pub const XEN_DMOP_EVENT_EXT_INT: u32 = 0;
/// Nmi.
pub const XEN_DMOP_EVENT_NMI: u32 = 2;
/// Hardware exception.
pub const XEN_DMOP_EVENT_HW_EXC: u32 = 3;
/// Software interrupt (CD nn).
pub const XEN_DMOP_EVENT_SW_INT: u32 = 4;
/// ICEBP (F1).
pub const XEN_DMOP_EVENT_PRI_SW_EXC: u32 = 5;
/// INT3 (CC), INTO (CE).
pub const XEN_DMOP_EVENT_SW_EXC: u32 = 6;
/// (`XEN_DMOP_inject_msi`) Inject an MSI for an emulated device.
pub const XEN_DMOP_INJECT_MSI: u32 = 14;

structs! {
    /// `struct xen_dm_op_inject_msi`.
    pub struct DmOpInjectMsi {
        /// IN – MSI data (lower 32 bits).
        data: u32,
        pad: u32,
        /// IN – MSI address (0xfeexxxxx).
        addr: u64,
    }
}

/// `XEN_DMOP_map_mem_type_to_ioreq_server` : map or unmap the IOREQ Server `id` to specific memory type
/// `type` for specific accesses `flags`.
pub const XEN_DMOP_MAP_MEM_TYPE_TO_IOREQ_SERVER: u32 = 15;

structs! {
    /// `struct xen_dm_op_map_mem_type_to_ioreq_server`.
    pub struct DmOpMapMemTypeToIoreqServer {
        /// IN – ioreq server id.
        id: u16,
        /// IN – memory type.
        type_: u16,
        /// IN – types of accesses to be forwarded to the ioreq server. flags with 0 means to unmap the ioreq
        /// server.
        flags: u32,
        /// IN/OUT – only used for hypercall continuation, has to be set to zero by the caller.
        opaque: u64,
    }
}

pub const XEN_DMOP_IOREQ_MEM_ACCESS_READ: u32 = 1 << 0;
pub const XEN_DMOP_IOREQ_MEM_ACCESS_WRITE: u32 = 1 << 1;
/// `XEN_DMOP_remote_shutdown` : Declare a shutdown for another domain Identical to SCHEDOP_remote_shutdown.
pub const XEN_DMOP_REMOTE_SHUTDOWN: u32 = 16;

structs! {
    /// `struct xen_dm_op_remote_shutdown`.
    pub struct DmOpRemoteShutdown {
        /// Takes `SHUTDOWN_*` values.
        reason: u32,
    }
}

/// `XEN_DMOP_relocate_memory` : Relocate GFNs for the specified guest. Identical to XENMEM_add_to_physmap
/// with space == XENMAPSPACE_gmfn_range.
pub const XEN_DMOP_RELOCATE_MEMORY: u32 = 17;

structs! {
    /// `struct xen_dm_op_relocate_memory`.
    pub struct DmOpRelocateMemory {
        /// Number of GFNs to process.
        size: u32,
        pad: u32,
        /// Starting GFN to relocate.
        src_gfn: u64,
        /// Starting GFN where GFNs should be relocated.
        dst_gfn: u64,
    }
}

/// `XEN_DMOP_pin_memory_cacheattr` : Pin caching type of RAM space. Identical to
/// XEN_DOMCTL_pin_mem_cacheattr.
pub const XEN_DMOP_PIN_MEMORY_CACHEATTR: u32 = 18;

structs! {
    /// `struct xen_dm_op_pin_memory_cacheattr`.
    pub struct DmOpPinMemoryCacheattr {
        /// Start gfn.
        start: u64,
        /// End gfn.
        end: u64,
        /// Takes `XEN_DMOP_MEM_CACHEATTR_*` values.
        type_: u32,
        pad: u32,
    }
}

/// Caching types: these happen to be the same as x86 MTRR/PAT type codes.
pub const XEN_DMOP_MEM_CACHEATTR_UC: u32 = 0;
pub const XEN_DMOP_MEM_CACHEATTR_WC: u32 = 1;
pub const XEN_DMOP_MEM_CACHEATTR_WT: u32 = 4;
pub const XEN_DMOP_MEM_CACHEATTR_WP: u32 = 5;
pub const XEN_DMOP_MEM_CACHEATTR_WB: u32 = 6;
pub const XEN_DMOP_MEM_CACHEATTR_UCM: u32 = 7;
pub const XEN_DMOP_DELETE_MEM_CACHEATTR: u32 = 0xffffffff;
/// (`XEN_DMOP_set_irq_level`) Set the logical level of a one of a domain's IRQ lines (currently Arm only).
/// Only SPIs are supported.
pub const XEN_DMOP_SET_IRQ_LEVEL: u32 = 19;

structs! {
    /// `struct xen_dm_op_set_irq_level`.
    pub struct DmOpSetIrqLevel {
        irq: u32,
        /// IN – Level: 0 -> deasserted, 1 -> asserted.
        level: u8,
        pad: [u8; 3],
    }
}

/// (`XEN_DMOP_nr_vcpus`) Query the number of vCPUs a domain has.
pub const XEN_DMOP_NR_VCPUS: u32 = 20;

structs! {
    /// `struct xen_dm_op_nr_vcpus`.
    pub struct DmOpNrVcpus {
        vcpus: u32,
    }

    /// `struct xen_dm_op`.
    pub struct DmOp {
        op: u32,
        pad: u32,
        u: Union<u64, 3>,
    }
}

union_accessors! {
    DmOp.u {
        as_create_ioreq_server, set_create_ioreq_server: DmOpCreateIoreqServer,
        as_get_ioreq_server_info, set_get_ioreq_server_info: DmOpGetIoreqServerInfo,
        as_map_io_range_to_ioreq_server, set_map_io_range_to_ioreq_server: DmOpIoreqServerRange,
        as_unmap_io_range_from_ioreq_server, set_unmap_io_range_from_ioreq_server: DmOpIoreqServerRange,
        as_set_ioreq_server_state, set_set_ioreq_server_state: DmOpSetIoreqServerState,
        as_destroy_ioreq_server, set_destroy_ioreq_server: DmOpDestroyIoreqServer,
        as_track_dirty_vram, set_track_dirty_vram: DmOpTrackDirtyVram,
        as_set_pci_intx_level, set_set_pci_intx_level: DmOpSetPciIntxLevel,
        as_set_isa_irq_level, set_set_isa_irq_level: DmOpSetIsaIrqLevel,
        as_set_irq_level, set_set_irq_level: DmOpSetIrqLevel,
        as_set_pci_link_route, set_set_pci_link_route: DmOpSetPciLinkRoute,
        as_modified_memory, set_modified_memory: DmOpModifiedMemory,
        as_set_mem_type, set_set_mem_type: DmOpSetMemType,
        as_inject_event, set_inject_event: DmOpInjectEvent,
        as_inject_msi, set_inject_msi: DmOpInjectMsi,
        as_map_mem_type_to_ioreq_server, set_map_mem_type_to_ioreq_server: DmOpMapMemTypeToIoreqServer,
        as_remote_shutdown, set_remote_shutdown: DmOpRemoteShutdown,
        as_relocate_memory, set_relocate_memory: DmOpRelocateMemory,
        as_pin_memory_cacheattr, set_pin_memory_cacheattr: DmOpPinMemoryCacheattr,
        as_nr_vcpus, set_nr_vcpus: DmOpNrVcpus,
    }
}

structs! {
    /// `struct xen_dm_op_buf`.
    pub struct DmOpBuf {
        h: GuestPtr<u8>,
        size: u64,
    }
}
