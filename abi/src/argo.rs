//! `argo.h`: messages between domains, copied by the hypervisor.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

use crate::GuestPtr;
use crate::xen::Domid;

pub const XEN_ARGO_DOMID_ANY: u32 = 0x7ff4;
/// The maximum size of an Argo ring is defined to be: 16MB (0x1000000 bytes).
pub const XEN_ARGO_MAX_RING_SIZE: u32 = 0x1000000;
/// `XEN_ARGO_MAXIOV` : maximum number of iovs accepted in a single sendv. Caution is required if this value
/// is increased: this determines the size of an array of xen_argo_iov_t structs on the hypervisor stack, so
/// could cause stack overflow if the value is too large.
pub const XEN_ARGO_MAXIOV: u32 = 8;

structs! {
    /// `struct xen_argo_iov`.
    pub struct ArgoIov {
        iov_hnd: GuestPtr<u8>,
        iov_len: u32,
        pad: u32,
    }

    /// `struct xen_argo_addr`.
    pub struct ArgoAddr {
        aport: u32,
        domain_id: Domid,
        pad: u16,
    }

    /// `struct xen_argo_send_addr`.
    pub struct ArgoSendAddr {
        src: ArgoAddr,
        dst: ArgoAddr,
    }

    /// `struct xen_argo_ring`.
    pub struct ArgoRing {
        /// Guests should use atomic operations to access rx_ptr.
        rx_ptr: u32,
        /// Guests should use atomic operations to access tx_ptr.
        tx_ptr: u32,
        /// Header space reserved for later use. Align the start of the ring to a multiple of the message slot
        /// size.
        reserved: [u8; 56],
        ring: [u8; 0],
    }

    /// `struct xen_argo_register_ring`.
    pub struct ArgoRegisterRing {
        aport: u32,
        partner_id: Domid,
        pad: u16,
        len: u32,
    }

    /// `struct xen_argo_unregister_ring`.
    pub struct ArgoUnregisterRing {
        aport: u32,
        partner_id: Domid,
        pad: u16,
    }
}

/// Messages on the ring are padded to a multiple of this size.
pub const XEN_ARGO_MSG_SLOT_SIZE: u32 = 0x10;
/// Ring exists.
pub const XEN_ARGO_RING_EXISTS: u32 = 1 << 0;
/// Ring is shared, not unicast.
pub const XEN_ARGO_RING_SHARED: u32 = 1 << 1;
/// Ring is empty.
pub const XEN_ARGO_RING_EMPTY: u32 = 1 << 2;
/// Sufficient space to queue space_required bytes might exist.
pub const XEN_ARGO_RING_SUFFICIENT: u32 = 1 << 3;
/// Insufficient ring size for space_required bytes.
pub const XEN_ARGO_RING_EMSGSIZE: u32 = 1 << 4;
/// Too many domains waiting for available space signals for this ring.
pub const XEN_ARGO_RING_EBUSY: u32 = 1 << 5;

structs! {
    /// `struct xen_argo_ring_data_ent`.
    pub struct ArgoRingDataEnt {
        ring: ArgoAddr,
        flags: u16,
        pad: u16,
        space_required: u32,
        max_message_size: u32,
    }

    /// `struct xen_argo_ring_data`.
    pub struct ArgoRingData {
        nent: u32,
        pad: u32,
        data: [ArgoRingDataEnt; 0],
    }

    /// `struct xen_argo_ring_message_header`.
    pub struct ArgoRingMessageHeader {
        len: u32,
        source: ArgoAddr,
        message_type: u32,
        data: [u8; 0],
    }
}

pub const XEN_ARGO_OP_REGISTER_RING: u32 = 1;
/// Fail exist: If set, reject attempts to (re)register an existing established ring. If clear,
/// reregistration occurs if the ring exists, with the new ring taking the place of the old, preserving
/// tx_ptr if it remains valid.
pub const XEN_ARGO_REGISTER_FLAG_FAIL_EXIST: u32 = 0x1;
pub const XEN_ARGO_OP_UNREGISTER_RING: u32 = 2;
pub const XEN_ARGO_OP_SENDV: u32 = 3;
pub const XEN_ARGO_OP_NOTIFY: u32 = 4;
