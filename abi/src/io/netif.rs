//! `io/netif.h`: network devices.
//!
//! Two rings, seen from the guest: transmit and receive. A packet may take several slots (`more_data`) and
//! extra-info slots in between.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

use crate::Union;
use crate::grant_table::GrantRef;

/// Bytes of a slot of the transmit ring.
pub const TX_SLOT_SIZE: usize = size_of::<NetifTxRequest>();
/// Bytes of a slot of the receive ring.
pub const RX_SLOT_SIZE: usize = size_of::<NetifRxResponse>();
/// Bytes of a slot of the control ring.
pub const CTRL_SLOT_SIZE: usize = size_of::<NetifCtrlRequest>();

/// Older implementation of Xen network frontend / backend has an implicit dependency on the MAX_SKB_FRAGS as
/// the maximum number of ring slots a skb can use. Netfront / netback may not work as expected when frontend
/// and backend have different MAX_SKB_FRAGS.
pub const XEN_NETIF_NR_SLOTS_MIN: u32 = 18;
pub const XEN_NETIF_CTRL_HASH_TYPE_IPV4: u32 = 1 << 0;
pub const XEN_NETIF_CTRL_HASH_TYPE_IPV4_TCP: u32 = 1 << 1;
pub const XEN_NETIF_CTRL_HASH_TYPE_IPV6: u32 = 1 << 2;
pub const XEN_NETIF_CTRL_HASH_TYPE_IPV6_TCP: u32 = 1 << 3;
pub const XEN_NETIF_CTRL_HASH_ALGORITHM_NONE: u32 = 0;
pub const XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ: u32 = 1;

structs! {
    /// `struct xen_netif_ctrl_request`.
    pub struct NetifCtrlRequest {
        id: u16,
        type_: u16,
        data: [u32; 3],
    }
}

pub const XEN_NETIF_CTRL_TYPE_INVALID: u32 = 0;
pub const XEN_NETIF_CTRL_TYPE_GET_HASH_FLAGS: u32 = 1;
pub const XEN_NETIF_CTRL_TYPE_SET_HASH_FLAGS: u32 = 2;
pub const XEN_NETIF_CTRL_TYPE_SET_HASH_KEY: u32 = 3;
pub const XEN_NETIF_CTRL_TYPE_GET_HASH_MAPPING_SIZE: u32 = 4;
pub const XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING_SIZE: u32 = 5;
pub const XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING: u32 = 6;
pub const XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM: u32 = 7;
pub const XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE: u32 = 8;
pub const XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING: u32 = 9;
pub const XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING: u32 = 10;

structs! {
    /// `struct xen_netif_ctrl_response`.
    pub struct NetifCtrlResponse {
        id: u16,
        type_: u16,
        status: u32,
        data: u32,
    }
}

pub const XEN_NETIF_CTRL_STATUS_SUCCESS: u32 = 0;
pub const XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED: u32 = 1;
pub const XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER: u32 = 2;
pub const XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW: u32 = 3;

structs! {
    /// `struct xen_netif_gref`.
    pub struct NetifGref {
        ref_: GrantRef,
        flags: u16,
        status: u16,
    }
}

pub const XEN_NETIF_CTRLF_GREF_READONLY: u32 = 1 << 0;
pub const NETTXF_CSUM_BLANK: u16 = 1 << 0;
pub const NETTXF_DATA_VALIDATED: u16 = 1 << 1;
pub const NETTXF_MORE_DATA: u16 = 1 << 2;
pub const NETTXF_EXTRA_INFO: u16 = 1 << 3;
pub const XEN_NETIF_MAX_TX_SIZE: u32 = 0xffff;

structs! {
    /// `struct netif_tx_request`.
    pub struct NetifTxRequest {
        gref: GrantRef,
        offset: u16,
        flags: u16,
        id: u16,
        size: u16,
    }
}

/// Never used – invalid.
pub const XEN_NETIF_EXTRA_TYPE_NONE: u8 = 0;
/// u.gso.
pub const XEN_NETIF_EXTRA_TYPE_GSO: u8 = 1;
/// u.mcast.
pub const XEN_NETIF_EXTRA_TYPE_MCAST_ADD: u8 = 2;
/// u.mcast.
pub const XEN_NETIF_EXTRA_TYPE_MCAST_DEL: u8 = 3;
/// u.hash.
pub const XEN_NETIF_EXTRA_TYPE_HASH: u8 = 4;
pub const XEN_NETIF_EXTRA_TYPE_MAX: u8 = 5;
pub const XEN_NETIF_EXTRA_FLAG_MORE: u8 = 1 << 0;
/// GSO types.
pub const XEN_NETIF_GSO_TYPE_NONE: u32 = 0;
pub const XEN_NETIF_GSO_TYPE_TCPV4: u32 = 1;
pub const XEN_NETIF_GSO_TYPE_TCPV6: u32 = 2;

structs! {
    /// Member `u.gso` of [`NetifExtraInfo`].
    pub struct NetifExtraInfoGso {
        size: u16,
        type_: u8,
        pad: u8,
        features: u16,
    }

    /// Member `u.mcast` of [`NetifExtraInfo`].
    pub struct NetifExtraInfoMcast {
        addr: [u8; 6],
    }

    /// Member `u.hash` of [`NetifExtraInfo`].
    pub struct NetifExtraInfoHash {
        type_: u8,
        algorithm: u8,
        value: [u8; 4],
    }

    /// `struct netif_extra_info`: This structure needs to fit within both netif_tx_request_t and
    /// netif_rx_response_t for compatibility.
    pub struct NetifExtraInfo {
        type_: u8,
        flags: u8,
        u: Union<u16, 3>,
    }
}

union_accessors! {
    NetifExtraInfo.u {
        as_gso, set_gso: NetifExtraInfoGso,
        as_mcast, set_mcast: NetifExtraInfoMcast,
        as_hash, set_hash: NetifExtraInfoHash,
    }
}

structs! {
    /// `struct netif_tx_response`.
    pub struct NetifTxResponse {
        id: u16,
        status: i16,
    }

    /// `struct netif_rx_request`.
    pub struct NetifRxRequest {
        /// Echoed in response message.
        id: u16,
        pad: u16,
        gref: GrantRef,
    }
}

pub const NETRXF_DATA_VALIDATED: u16 = 1 << 0;
pub const NETRXF_CSUM_BLANK: u16 = 1 << 1;
pub const NETRXF_MORE_DATA: u16 = 1 << 2;
pub const NETRXF_EXTRA_INFO: u16 = 1 << 3;
pub const NETRXF_GSO_PREFIX: u16 = 1 << 4;

structs! {
    /// `struct netif_rx_response`.
    pub struct NetifRxResponse {
        id: u16,
        offset: u16,
        flags: u16,
        status: i16,
    }
}

pub const NETIF_RSP_DROPPED: i16 = -2;
pub const NETIF_RSP_ERROR: i16 = -1;
pub const NETIF_RSP_OKAY: i16 = 0;
/// No response: used for auxiliary requests (e.g., netif_extra_info_t).
pub const NETIF_RSP_NULL: i16 = 1;
