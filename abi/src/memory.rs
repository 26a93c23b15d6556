//! `memory.h`: reservations, physical maps, memory maps.
//!
//! Extents are runs of `2^extent_order` pages. A call over many extents can be continued: the number already
//! done is in the upper bits of the command (`MEMOP_EXTENT_SHIFT`).
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

use crate::physdev::PhysdevPciDevice;
use crate::xen::Domid;
use crate::{GuestPtr, Union};

/// Where the progress of a continued `memory_op` starts in its command; a guest that uses these bits itself gets them
/// taken as progress.
pub const MEMOP_EXTENT_SHIFT: u32 = 6;

/// An entry of the memory maps that `XENMEM_memory_map` and its relatives return, in the format of the BIOS.
#[repr(C, packed)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
)]
pub struct E820Entry {
    /// First byte.
    pub addr: u64,
    /// Bytes.
    pub size: u64,
    /// `E820_*`.
    pub type_: u32,
}

/// Memory that can be used.
pub const E820_RAM: u32 = 1;
/// Not to be touched.
pub const E820_RESERVED: u32 = 2;
/// ACPI tables; usable once they were read.
pub const E820_ACPI: u32 = 3;
/// ACPI memory that survives sleep.
pub const E820_NVS: u32 = 4;
/// Defective memory.
pub const E820_UNUSABLE: u32 = 5;

/// Increase or decrease the specified domain's memory reservation. Returns the number of extents
/// successfully allocated or freed.
pub const XENMEM_INCREASE_RESERVATION: u32 = 0;
pub const XENMEM_DECREASE_RESERVATION: u32 = 1;
pub const XENMEM_POPULATE_PHYSMAP: u32 = 6;
/// Flag to populate physmap with populate-on-demand entries.
pub const XENMEMF_POPULATE_ON_DEMAND: u32 = 1 << 16;
/// Flag to request allocation only from the node specified.
pub const XENMEMF_EXACT_NODE_REQUEST: u32 = 1 << 17;
/// Flag to indicate the node specified is virtual node.
pub const XENMEMF_VNODE: u32 = 1 << 18;

structs! {
    /// `struct xen_memory_reservation`: A list of extents of memory to add, remove or populate. What `extent_start`
    /// lists depends on the command: PFNs in and MFNs out for `XENMEM_populate_physmap`.
    pub struct MemoryReservation {
        /// The list of extents.
        extent_start: GuestPtr<u64>,
        /// How many extents.
        nr_extents: u64,
        /// Each extent is `2^extent_order` pages.
        extent_order: u32,
        /// XENMEMF flags.
        mem_flags: u32,
        /// Domain whose reservation is being changed. Unprivileged domains can specify only DOMID_SELF.
        domid: Domid,
        _pad0: [u8; 6],
    }
}

/// An atomic exchange of memory pages. If return code is zero then `out`.extent_list provides GMFNs of the
/// newly-allocated memory. Returns zero on complete success, otherwise a negative error code. On complete
/// success then always `nr_exchanged` == `in`.nr_extents.
pub const XENMEM_EXCHANGE: u32 = 11;

structs! {
    /// `struct xen_memory_exchange`: Swaps pages for others, for example contiguous ones.
    pub struct MemoryExchange {
        /// (IN) Details of memory extents to be exchanged (GMFN bases). Note that `in`.address_bits is ignored
        /// and unused.
        in_: MemoryReservation,
        /// (IN/OUT) Details of new memory extents.
        out: MemoryReservation,
        /// (OUT) Number of input extents that were successfully exchanged.
        nr_exchanged: u64,
    }
}

/// Returns the maximum machine frame number of mapped RAM in this system. This command always succeeds (it
/// never returns an error code).
pub const XENMEM_MAXIMUM_RAM_PAGE: u32 = 2;

structs! {
    /// `struct xen_memory_domain`: Names the domain a query is about.
    pub struct MemoryDomain {
        /// (IN) Domain information is being queried for.
        domid: Domid,
    }
}

/// Returns the current or maximum memory reservation, in pages, of the specified domain (may be DOMID_SELF).
/// Returns -ve errcode on failure.
pub const XENMEM_CURRENT_RESERVATION: u32 = 3;
pub const XENMEM_MAXIMUM_RESERVATION: u32 = 4;
/// Returns the maximum GFN in use by the specified domain (may be DOMID_SELF). Returns -ve errcode on
/// failure.
pub const XENMEM_MAXIMUM_GPFN: u32 = 14;
/// Returns a list of MFN bases of 2MB extents comprising the machine_to_phys mapping table. Architectures
/// which do not have a m2p table do not implement this command.
pub const XENMEM_MACHPHYS_MFN_LIST: u32 = 5;

structs! {
    /// `struct xen_machphys_mfn_list`: Asks for the machine frames of the machine-to-physical table, in extents of
    /// 2 MiB.
    pub struct MachphysMfnList {
        /// Size of the `extent_start` array. Fewer entries will be filled if the machphys table is smaller than
        /// max_extents · 2MB.
        max_extents: u32,
        _pad0: [u8; 4],
        /// Pointer to buffer to fill with list of extent starts. If there are any large discontiguities in the
        /// machine address space, 2MB gaps in the machphys table will be represented by an MFN base of zero.
        extent_start: GuestPtr<u64>,
        /// Number of extents written to the above array. This will be smaller than `max_extents` if the
        /// machphys table is smaller than max_e · 2MB.
        nr_extents: u32,
        _pad1: [u8; 4],
    }
}

/// For a compat caller, this is identical to XENMEM_machphys_mfn_list.
pub const XENMEM_MACHPHYS_COMPAT_MFN_LIST: u32 = 25;
/// Returns the location in virtual address space of the machine_to_phys mapping table. Architectures which
/// do not have a m2p table, or which do not map it by default into guest address space, do not implement
/// this command.
pub const XENMEM_MACHPHYS_MAPPING: u32 = 12;

structs! {
    /// `struct xen_machphys_mapping`: Where the machine-to-physical table is.
    pub struct MachphysMapping {
        /// Start and end virtual addresses.
        v_start: u64,
        /// Start and end virtual addresses.
        v_end: u64,
        /// Maximum MFN that can be looked up.
        max_mfn: u64,
    }
}

/// Shared info page.
pub const XENMAPSPACE_SHARED_INFO: u32 = 0;
/// Grant table page.
pub const XENMAPSPACE_GRANT_TABLE: u32 = 1;
/// GMFN.
pub const XENMAPSPACE_GMFN: u32 = 2;
/// GMFN range, XENMEM_add_to_physmap only.
pub const XENMAPSPACE_GMFN_RANGE: u32 = 3;
/// GMFN from another dom, XENMEM_add_to_physmap_batch only.
pub const XENMAPSPACE_GMFN_FOREIGN: u32 = 4;
/// Device mmio region ARM only; the region is mapped in Stage-2 using the Normal Memory Inner/Outer
/// Write-Back Cacheable memory attribute.
pub const XENMAPSPACE_DEV_MMIO: u32 = 5;
/// Sets the GPFN at which a particular page appears in the specified guest's physical address space
/// (translated guests only).
pub const XENMEM_ADD_TO_PHYSMAP: u32 = 7;

structs! {
    /// `struct xen_add_to_physmap`: Puts one page at a guest frame number.
    pub struct AddToPhysmap {
        /// Which domain to change the mapping for.
        domid: Domid,
        /// Number of pages to go through for gmfn_range.
        size: u16,
        space: u32,
        /// Index into space being mapped.
        idx: u64,
        /// GPFN in domid where the source mapping page should appear.
        gpfn: u64,
    }
}

pub const XENMAPIDX_GRANT_TABLE_STATUS: u32 = 0x80000000;
/// A batched version of add_to_physmap.
pub const XENMEM_ADD_TO_PHYSMAP_BATCH: u32 = 23;

structs! {
    /// `struct xen_add_to_physmap_batch`.
    pub struct AddToPhysmapBatch {
        /// Which domain to change the mapping for.
        domid: Domid,
        space: u16,
        /// Number of pages to go through.
        size: u16,
        u: Union<u16, 1>,
        /// Indexes into space being mapped.
        idxs: GuestPtr<u64>,
        /// GPFN in domid where the source mapping page should appear.
        gpfns: GuestPtr<u64>,
        /// Per index error code.
        errs: GuestPtr<i32>,
    }
}

union_accessors! {
    AddToPhysmapBatch.u {
        as_foreign_domid, set_foreign_domid: Domid,
        as_res0, set_res0: u16,
    }
}

/// Unmaps the page appearing at a particular GPFN from the specified guest's physical address space
/// (translated guests only).
pub const XENMEM_REMOVE_FROM_PHYSMAP: u32 = 15;

structs! {
    /// `struct xen_remove_from_physmap`: Takes the page at a guest frame number away.
    pub struct RemoveFromPhysmap {
        /// Which domain to change the mapping for.
        domid: Domid,
        _pad0: [u8; 6],
        /// GPFN of the current mapping of the page.
        gpfn: u64,
    }
}

/// Returns the pseudo-physical memory map as it was when the domain was started (specified by
/// XENMEM_set_memory_map).
pub const XENMEM_MEMORY_MAP: u32 = 9;

structs! {
    /// `struct xen_memory_map`: A buffer for, or of, `E820Entry` items.
    pub struct MemoryMap {
        /// On call the number of entries which can be stored in buffer. On return the number of entries which
        /// have been stored in buffer.
        nr_entries: u32,
        _pad0: [u8; 4],
        /// Entries in the buffer are in the same format as returned by the BIOS INT 0x15 EAX=0xE820 call.
        buffer: GuestPtr<u8>,
    }
}

/// Returns the real physical memory map. Passes the same structure as XENMEM_memory_map. Specifying buffer
/// as NULL will return the number of entries required to store the complete memory map.
pub const XENMEM_MACHINE_MEMORY_MAP: u32 = 10;
/// Set the pseudo-physical memory map of a domain, as returned by XENMEM_memory_map.
pub const XENMEM_SET_MEMORY_MAP: u32 = 13;

structs! {
    /// `struct xen_foreign_memory_map`: A memory map for another domain.
    pub struct ForeignMemoryMap {
        domid: Domid,
        _pad0: [u8; 6],
        map: MemoryMap,
    }
}

pub const XENMEM_SET_POD_TARGET: u32 = 16;
pub const XENMEM_GET_POD_TARGET: u32 = 17;

structs! {
    /// `struct xen_pod_target`.
    pub struct PodTarget {
        target_pages: u64,
        tot_pages: u64,
        pod_cache_pages: u64,
        pod_entries: u64,
        domid: Domid,
        _pad0: [u8; 6],
    }
}

/// Get the number of MFNs saved through memory sharing. The call never fails.
pub const XENMEM_GET_SHARING_FREED_PAGES: u32 = 18;
pub const XENMEM_GET_SHARING_SHARED_PAGES: u32 = 19;
pub const XENMEM_PAGING_OP: u32 = 20;
pub const XENMEM_PAGING_OP_NOMINATE: u32 = 0;
pub const XENMEM_PAGING_OP_EVICT: u32 = 1;
pub const XENMEM_PAGING_OP_PREP: u32 = 2;

structs! {
    /// `struct xen_mem_paging_op`.
    pub struct MemPagingOp {
        /// Takes `XENMEM_paging_op_*` values.
        op: u8,
        _pad0: [u8; 1],
        domain: Domid,
        _pad1: [u8; 4],
        /// IN: (XENMEM_paging_op_prep) buffer to immediately fill page from.
        buffer: GuestPtr<u8>,
        /// IN: gfn of page being operated on.
        gfn: u64,
    }
}

pub const XENMEM_ACCESS_OP: u32 = 21;
pub const XENMEM_ACCESS_OP_SET_ACCESS: u32 = 0;
pub const XENMEM_ACCESS_OP_GET_ACCESS: u32 = 1;
/// `XENMEM_access_op_enable_emulate` and XENMEM_access_op_disable_emulate are currently unused, but since
/// they have been in use please do not reuse them.
pub const XENMEM_ACCESS_OP_SET_ACCESS_MULTI: u32 = 4;
pub const XENMEM_ACCESS_N: u32 = 0;
pub const XENMEM_ACCESS_R: u32 = 1;
pub const XENMEM_ACCESS_W: u32 = 2;
pub const XENMEM_ACCESS_RW: u32 = 3;
pub const XENMEM_ACCESS_X: u32 = 4;
pub const XENMEM_ACCESS_RX: u32 = 5;
pub const XENMEM_ACCESS_WX: u32 = 6;
pub const XENMEM_ACCESS_RWX: u32 = 7;
/// Page starts off as r-x, but automatically change to r-w on a write.
pub const XENMEM_ACCESS_RX2RW: u32 = 8;
/// Log access: starts off as n, automatically goes to rwx, generating an event without pausing the vcpu.
pub const XENMEM_ACCESS_N2RWX: u32 = 9;
/// Take the domain default.
pub const XENMEM_ACCESS_DEFAULT: u32 = 10;

structs! {
    /// `struct xen_mem_access_op`.
    pub struct MemAccessOp {
        /// Takes `XENMEM_access_op_*` values.
        op: u8,
        /// `xenmem_access_t`.
        access: u8,
        domid: Domid,
        /// Number of pages for set op (or size of pfn_list for XENMEM_access_op_set_access_multi) Ignored on
        /// setting default access and other ops.
        nr: u32,
        /// First pfn for set op pfn for get op ~0ull is used to set and get the default access for pages.
        pfn: u64,
        /// List of pfns to set access for Used only with XENMEM_access_op_set_access_multi.
        pfn_list: GuestPtr<u64>,
        /// Corresponding list of access settings for pfn_list Used only with XENMEM_access_op_set_access_multi.
        access_list: GuestPtr<u8>,
    }
}

pub const XENMEM_SHARING_OP: u32 = 22;
pub const XENMEM_SHARING_OP_NOMINATE_GFN: u32 = 0;
pub const XENMEM_SHARING_OP_NOMINATE_GREF: u32 = 1;
pub const XENMEM_SHARING_OP_SHARE: u32 = 2;
pub const XENMEM_SHARING_OP_DEBUG_GFN: u32 = 3;
pub const XENMEM_SHARING_OP_DEBUG_MFN: u32 = 4;
pub const XENMEM_SHARING_OP_DEBUG_GREF: u32 = 5;
pub const XENMEM_SHARING_OP_ADD_PHYSMAP: u32 = 6;
pub const XENMEM_SHARING_OP_AUDIT: u32 = 7;
pub const XENMEM_SHARING_OP_RANGE_SHARE: u32 = 8;
pub const XENMEM_SHARING_OP_FORK: u32 = 9;
pub const XENMEM_SHARING_OP_FORK_RESET: u32 = 10;
pub const XENMEM_SHARING_OP_S_HANDLE_INVALID: i32 = -10;
pub const XENMEM_SHARING_OP_C_HANDLE_INVALID: i32 = -9;
/// The following allows sharing of grant refs. This is useful for sharing utilities sitting as "filters" in
/// IO backends (e.g. memshr plus blktap(2)). The IO backend is only exposed to grant references, and this
/// allows sharing of the grefs.
pub const XENMEM_SHARING_OP_FIELD_IS_GREF_FLAG: u64 = 1 << 62;

structs! {
    /// `struct mem_sharing_op_nominate`.
    pub struct MemSharingOpNominate {
        /// `OP_NOMINATE_xxx`.
        u: Union<u64, 1>,
        /// OUT: the handle.
        handle: u64,
    }

    /// `struct mem_sharing_op_share`.
    pub struct MemSharingOpShare {
        /// OP_SHARE/ADD_PHYSMAP.
        source_gfn: u64,
        /// IN: handle to the source page.
        source_handle: u64,
        /// IN: the client gfn.
        client_gfn: u64,
        /// IN: handle to the client page.
        client_handle: u64,
        /// IN: the client domain id.
        client_domain: Domid,
        _pad0: [u8; 6],
    }

    /// `struct mem_sharing_op_range`.
    pub struct MemSharingOpRange {
        /// `OP_RANGE_SHARE`.
        first_gfn: u64,
        /// IN: the last gfn.
        last_gfn: u64,
        /// Must be set to 0.
        opaque: u64,
        /// IN: the client domain id.
        client_domain: Domid,
        /// Must be set to 0.
        _pad: [u16; 3],
    }

    /// `struct mem_sharing_op_debug`.
    pub struct MemSharingOpDebug {
        /// `OP_DEBUG_xxx`.
        u: Union<u64, 1>,
    }

    /// `struct mem_sharing_op_fork`.
    pub struct MemSharingOpFork {
        /// OP_FORK{,_RESET}.
        parent_domain: Domid,
        /// IN: optional settings.
        flags: u16,
        /// Must be set to 0.
        pad: u32,
    }

    /// `struct xen_mem_sharing_op`.
    pub struct MemSharingOp {
        /// Takes `XENMEM_sharing_op_*` values.
        op: u8,
        _pad0: [u8; 1],
        domain: Domid,
        _pad1: [u8; 4],
        u: Union<u64, 5>,
    }
}

union_accessors! {
    MemSharingOpNominate.u {
        as_gfn, set_gfn: u64,
        as_grant_ref, set_grant_ref: u32,
    }
}

union_accessors! {
    MemSharingOpDebug.u {
        as_gfn, set_gfn: u64,
        as_mfn, set_mfn: u64,
        as_gref, set_gref: u32,
    }
}

union_accessors! {
    MemSharingOp.u {
        as_nominate, set_nominate: MemSharingOpNominate,
        as_share, set_share: MemSharingOpShare,
        as_range, set_range: MemSharingOpRange,
        as_debug, set_debug: MemSharingOpDebug,
        as_fork, set_fork: MemSharingOpFork,
    }
}

/// Only makes sense for short-lived forks.
pub const XENMEM_FORK_WITH_IOMMU_ALLOWED: u32 = 1 << 0;
/// Only makes sense for short-lived forks.
pub const XENMEM_FORK_BLOCK_INTERRUPTS: u32 = 1 << 1;
pub const XENMEM_FORK_RESET_STATE: u32 = 1 << 2;
pub const XENMEM_FORK_RESET_MEMORY: u32 = 1 << 3;
/// Attempt to stake a claim for a domain on a quantity of pages of system RAM, but _not_ assign specific
/// pageframes. Only arithmetic is performed so the hypercall is very fast and need not be preemptible, thus
/// sidestepping time-of-check-time-of-use races for memory allocation.
pub const XENMEM_CLAIM_PAGES: u32 = 24;
/// With some legacy devices, certain guest-physical addresses cannot safely be used for other purposes, e.g.
/// to map guest RAM. This hypercall enumerates those regions so the toolstack can avoid using them.
pub const XENMEM_RESERVED_DEVICE_MEMORY_MAP: u32 = 27;

structs! {
    /// `struct xen_reserved_device_memory`.
    pub struct ReservedDeviceMemory {
        start_pfn: u64,
        nr_pages: u64,
    }

    /// `struct xen_reserved_device_memory_map`.
    pub struct ReservedDeviceMemoryMap {
        flags: u32,
        nr_entries: u32,
        buffer: GuestPtr<ReservedDeviceMemory>,
        dev: Union<u16, 2>,
        _pad0: [u8; 4],
    }
}

union_accessors! {
    ReservedDeviceMemoryMap.dev {
        as_pci, set_pci: PhysdevPciDevice,
    }
}

/// Request all regions (ignore dev union).
pub const XENMEM_RDM_ALL: u32 = 1;
/// Get the pages for a particular guest resource, so that they can be mapped directly by a tools domain.
pub const XENMEM_ACQUIRE_RESOURCE: u32 = 28;

structs! {
    /// `struct xen_mem_acquire_resource`.
    pub struct MemAcquireResource {
        /// IN – The domain whose resource is to be mapped.
        domid: Domid,
        /// IN – the type of resource.
        type_: u16,
        /// IN – a type-specific resource identifier, which must be zero unless stated otherwise.
        id: u32,
        nr_frames: u32,
        /// Padding field, must be zero on input. In a previous version this was an output field with the lowest
        /// bit named XENMEM_rsrc_acq_caller_owned. Future versions of this interface will not reuse this bit as
        /// an output with the field being zero on input.
        pad: u32,
        /// IN – the index of the initial frame to be mapped. This parameter is ignored if nr_frames is.
        frame: u64,
        /// IN/OUT – If the tools domain is PV then, upon return, frame_list will be populated with the MFNs of
        /// the resource. If the tools domain is HVM then it is expected that, on entry, frame_list will be
        /// populated with a list of GFNs that will be mapped to the MFNs of the resource.
        frame_list: GuestPtr<u64>,
    }
}

pub const XENMEM_RESOURCE_IOREQ_SERVER: u32 = 0;
pub const XENMEM_RESOURCE_GRANT_TABLE: u32 = 1;
pub const XENMEM_RESOURCE_VMTRACE_BUF: u32 = 2;
pub const XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED: u32 = 0;
pub const XENMEM_RESOURCE_GRANT_TABLE_ID_STATUS: u32 = 1;
pub const XENMEM_RESOURCE_IOREQ_SERVER_FRAME_BUFIOREQ: u32 = 0;
/// `XENMEM_get_vnumainfo` used by guest to get vNUMA topology from hypervisor.
pub const XENMEM_GET_VNUMAINFO: u32 = 26;

structs! {
    /// `struct xen_vmemrange`: vNUMA node memory ranges.
    pub struct Vmemrange {
        start: u64,
        end: u64,
        flags: u32,
        nid: u32,
    }

    /// `struct xen_vnuma_topology_info`: vNUMA topology specifies vNUMA node number, distance table, memory ranges
    /// and vcpu mapping provided for guests. XENMEM_get_vnumainfo hypercall expects to see from guest nr_vnodes,
    /// nr_vmemranges and nr_vcpus to indicate available memory.
    pub struct VnumaTopologyInfo {
        domid: Domid,
        pad: u16,
        nr_vnodes: u32,
        nr_vcpus: u32,
        nr_vmemranges: u32,
        vdistance: Union<u64, 1>,
        vcpu_to_vnode: Union<u64, 1>,
        vmemrange: Union<u64, 1>,
    }
}

union_accessors! {
    VnumaTopologyInfo.vdistance {
        as_vdistance_h, set_vdistance_h: GuestPtr<u32>,
    }
}
union_accessors! {
    VnumaTopologyInfo.vcpu_to_vnode {
        as_vcpu_to_vnode_h, set_vcpu_to_vnode_h: GuestPtr<u32>,
    }
}
union_accessors! {
    VnumaTopologyInfo.vmemrange {
        as_vmemrange_h, set_vmemrange_h: GuestPtr<Vmemrange>,
    }
}
