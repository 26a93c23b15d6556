//! `hvm/hvm_op.h`: operations of and on HVM domains.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

use crate::xen::Domid;
use crate::{GuestPtr, Union};

/// Get/set subcommands: extra argument == pointer to xen_hvm_param struct.
pub const HVMOP_SET_PARAM: u32 = 0;
pub const HVMOP_GET_PARAM: u32 = 1;

structs! {
    /// `struct xen_hvm_param`.
    pub struct HvmParam {
        domid: Domid,
        pad: u16,
        index: u32,
        value: u64,
    }

    /// `struct xen_hvm_altp2m_suppress_ve`.
    pub struct HvmAltp2mSuppressVe {
        view: u16,
        /// Boolean type.
        suppress_ve: u8,
        pad1: u8,
        pad2: u32,
        gfn: u64,
    }

    /// `struct xen_hvm_altp2m_suppress_ve_multi`.
    pub struct HvmAltp2mSuppressVeMulti {
        view: u16,
        /// Boolean type.
        suppress_ve: u8,
        pad1: u8,
        /// Should be set to.
        first_error: i32,
        /// Value may be updated.
        first_gfn: u64,
        last_gfn: u64,
        /// Gfn of the first error.
        first_error_gfn: u64,
    }
}

/// Flushes all VCPU TLBs: `arg` must be NULL.
pub const HVMOP_FLUSH_TLBS: u32 = 5;
/// Normal read/write guest RAM.
pub const HVMMEM_RAM_RW: u32 = 0;
/// Read-only; writes are discarded.
pub const HVMMEM_RAM_RO: u32 = 1;
/// Reads and write go to the device model.
pub const HVMMEM_MMIO_DM: u32 = 2;
/// Placeholder; setting memory to this type will fail for code after.
pub const HVMMEM_UNUSED: u32 = 3;
pub const HVMMEM_IOREQ_SERVER: u32 = 4;
/// Hint from PV drivers for pagetable destruction.
pub const HVMOP_PAGETABLE_DYING: u32 = 9;

structs! {
    /// `struct xen_hvm_pagetable_dying`.
    pub struct HvmPagetableDying {
        /// Domain with a pagetable about to be destroyed.
        domid: Domid,
        /// Align next field on 8-byte boundary.
        pad: [u16; 3],
        /// Guest physical address of the toplevel pagetable dying.
        gpa: u64,
    }
}

/// Get the current Xen time, in nanoseconds since system boot.
pub const HVMOP_GET_TIME: u32 = 10;

structs! {
    /// `struct xen_hvm_get_time`.
    pub struct HvmGetTime {
        now: u64,
    }
}

pub const HVMOP_XENTRACE: u32 = 11;

structs! {
    /// `struct xen_hvm_xentrace`.
    pub struct HvmXentrace {
        event: u16,
        extra_bytes: u16,
        extra: [u8; 28],
    }
}

/// Deprecated by XENMEM_access_op_set_access.
pub const HVMOP_SET_MEM_ACCESS: u32 = 12;
/// Deprecated by XENMEM_access_op_get_access.
pub const HVMOP_GET_MEM_ACCESS: u32 = 13;
pub const HVMOP_GET_MEM_TYPE: u32 = 15;

structs! {
    /// `struct xen_hvm_get_mem_type`: Return hvmmem_type_t for the specified pfn.
    pub struct HvmGetMemType {
        /// Domain to be queried.
        domid: Domid,
        mem_type: u16,
        /// Align next field on 8-byte boundary.
        pad: [u16; 2],
        pfn: u64,
    }
}

pub const HVM_IOREQSRV_BUFIOREQ_OFF: u32 = 0;
pub const HVM_IOREQSRV_BUFIOREQ_LEGACY: u32 = 1;
/// Use this when read_pointer gets updated atomically and the pointer pair gets read atomically:
pub const HVM_IOREQSRV_BUFIOREQ_ATOMIC: u32 = 2;
/// (`HVMOP_set_evtchn_upcall_vector`) Set a `vector` that should be used for event channel upcalls on the
/// specified `vcpu`. If set, this vector will be used in preference to the domain global callback via (see
/// HVM_PARAM_CALLBACK_IRQ).
pub const HVMOP_SET_EVTCHN_UPCALL_VECTOR: u32 = 23;

structs! {
    /// `struct xen_hvm_evtchn_upcall_vector`.
    pub struct HvmEvtchnUpcallVector {
        vcpu: u32,
        vector: u8,
        _pad0: [u8; 3],
    }
}

pub const HVMOP_GUEST_REQUEST_VM_EVENT: u32 = 24;
/// (`HVMOP_altp2m`) Perform altp2m state operations.
pub const HVMOP_ALTP2M: u32 = 25;
pub const HVMOP_ALTP2M_INTERFACE_VERSION: u32 = 0x00000001;

structs! {
    /// `struct xen_hvm_altp2m_domain_state`.
    pub struct HvmAltp2mDomainState {
        /// IN or OUT variable on/off.
        state: u8,
    }

    /// `struct xen_hvm_altp2m_vcpu_enable_notify`.
    pub struct HvmAltp2mVcpuEnableNotify {
        vcpu_id: u32,
        pad: u32,
        /// #VE info area gfn.
        gfn: u64,
    }

    /// `struct xen_hvm_altp2m_vcpu_disable_notify`.
    pub struct HvmAltp2mVcpuDisableNotify {
        vcpu_id: u32,
    }

    /// `struct xen_hvm_altp2m_view`.
    pub struct HvmAltp2mView {
        view: u16,
        /// `xenmem_access_t`.
        hvmmem_default_access: u16,
    }

    /// `struct xen_hvm_altp2m_mem_access`.
    pub struct HvmAltp2mMemAccess {
        /// View.
        view: u16,
        /// Memory type.
        access: u16,
        pad: u32,
        /// Gfn.
        gfn: u64,
    }

    /// `struct xen_hvm_altp2m_set_mem_access_multi`.
    pub struct HvmAltp2mSetMemAccessMulti {
        /// View.
        view: u16,
        pad: u16,
        /// Number of pages.
        nr: u32,
        /// Used for continuation purposes. Must be set to zero upon initial invocation.
        opaque: u64,
        /// List of pfns to set access for.
        pfn_list: GuestPtr<u64>,
        /// Corresponding list of access settings for pfn_list.
        access_list: GuestPtr<u8>,
    }

    /// `struct xen_hvm_altp2m_change_gfn`.
    pub struct HvmAltp2mChangeGfn {
        /// View.
        view: u16,
        pad1: u16,
        pad2: u32,
        /// Old gfn.
        old_gfn: u64,
        /// New gfn, INVALID_GFN (~0UL) means revert.
        new_gfn: u64,
    }

    /// `struct xen_hvm_altp2m_get_vcpu_p2m_idx`.
    pub struct HvmAltp2mGetVcpuP2mIdx {
        vcpu_id: u32,
        altp2m_idx: u16,
        _pad0: [u8; 2],
    }

    /// `struct xen_hvm_altp2m_set_visibility`.
    pub struct HvmAltp2mSetVisibility {
        altp2m_idx: u16,
        visible: u8,
        pad: u8,
    }

    /// `struct xen_hvm_altp2m_op`.
    pub struct HvmAltp2mOp {
        /// Must be `HVMOP_ALTP2M_INTERFACE_VERSION`.
        version: u32,
        cmd: u32,
        domain: Domid,
        pad1: u16,
        pad2: u32,
        u: Union<u64, 8>,
    }
}

union_accessors! {
    HvmAltp2mOp.u {
        as_domain_state, set_domain_state: HvmAltp2mDomainState,
        as_enable_notify, set_enable_notify: HvmAltp2mVcpuEnableNotify,
        as_view, set_view: HvmAltp2mView,
        as_mem_access, set_mem_access: HvmAltp2mMemAccess,
        as_change_gfn, set_change_gfn: HvmAltp2mChangeGfn,
        as_set_mem_access_multi, set_set_mem_access_multi: HvmAltp2mSetMemAccessMulti,
        as_suppress_ve, set_suppress_ve: HvmAltp2mSuppressVe,
        as_suppress_ve_multi, set_suppress_ve_multi: HvmAltp2mSuppressVeMulti,
        as_disable_notify, set_disable_notify: HvmAltp2mVcpuDisableNotify,
        as_get_vcpu_p2m_idx, set_get_vcpu_p2m_idx: HvmAltp2mGetVcpuP2mIdx,
        as_set_visibility, set_set_visibility: HvmAltp2mSetVisibility,
    }
}

/// Get/set the altp2m state for a domain.
pub const HVMOP_ALTP2M_GET_DOMAIN_STATE: u32 = 1;
pub const HVMOP_ALTP2M_SET_DOMAIN_STATE: u32 = 2;
/// Set a given VCPU to receive altp2m event notifications.
pub const HVMOP_ALTP2M_VCPU_ENABLE_NOTIFY: u32 = 3;
/// Create a new view.
pub const HVMOP_ALTP2M_CREATE_P2M: u32 = 4;
/// Destroy a view.
pub const HVMOP_ALTP2M_DESTROY_P2M: u32 = 5;
/// Switch view for an entire domain.
pub const HVMOP_ALTP2M_SWITCH_P2M: u32 = 6;
/// Notify that a page of memory is to have specific access types.
pub const HVMOP_ALTP2M_SET_MEM_ACCESS: u32 = 7;
/// Change a p2m entry to have a different gfn->mfn mapping.
pub const HVMOP_ALTP2M_CHANGE_GFN: u32 = 8;
/// Set access for an array of pages.
pub const HVMOP_ALTP2M_SET_MEM_ACCESS_MULTI: u32 = 9;
/// Set the "Suppress #VE" bit on a page.
pub const HVMOP_ALTP2M_SET_SUPPRESS_VE: u32 = 10;
/// Get the "Suppress #VE" bit of a page.
pub const HVMOP_ALTP2M_GET_SUPPRESS_VE: u32 = 11;
/// Get the access of a page of memory from a certain view.
pub const HVMOP_ALTP2M_GET_MEM_ACCESS: u32 = 12;
/// Disable altp2m event notifications for a given VCPU.
pub const HVMOP_ALTP2M_VCPU_DISABLE_NOTIFY: u32 = 13;
/// Get the active vcpu p2m index.
pub const HVMOP_ALTP2M_GET_P2M_IDX: u32 = 14;
/// Set the "Supress #VE" bit for a range of pages.
pub const HVMOP_ALTP2M_SET_SUPPRESS_VE_MULTI: u32 = 15;
/// Set visibility for a given altp2m view.
pub const HVMOP_ALTP2M_SET_VISIBILITY: u32 = 16;
