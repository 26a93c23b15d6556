//! `xsm/flask_op.h`: control of the security module.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

use crate::event_channel::EvtchnPort;
use crate::{GuestPtr, Union};

pub const XEN_FLASK_INTERFACE_VERSION: u32 = 1;

structs! {
    /// `struct xen_flask_load`.
    pub struct FlaskLoad {
        buffer: GuestPtr<u8>,
        size: u32,
        _pad0: [u8; 4],
    }

    /// `struct xen_flask_setenforce`.
    pub struct FlaskSetenforce {
        enforcing: u32,
    }

    /// `struct xen_flask_sid_context`.
    pub struct FlaskSidContext {
        /// IN/OUT: sid to convert to/from string.
        sid: u32,
        /// IN: size of the context buffer OUT: actual size of the output context string.
        size: u32,
        context: GuestPtr<u8>,
    }

    /// `struct xen_flask_access`.
    pub struct FlaskAccess {
        /// IN: access request.
        ssid: u32,
        tsid: u32,
        tclass: u32,
        req: u32,
        /// OUT: AVC data.
        allowed: u32,
        audit_allow: u32,
        audit_deny: u32,
        seqno: u32,
    }

    /// `struct xen_flask_transition`.
    pub struct FlaskTransition {
        /// IN: transition SIDs and class.
        ssid: u32,
        tsid: u32,
        tclass: u32,
        /// OUT: new SID.
        newsid: u32,
    }

    /// `struct xen_flask_boolean`.
    pub struct FlaskBoolean {
        /// IN/OUT: numeric identifier for boolean (GET/SET) If -1, name will be used and bool_id will be filled
        /// in.
        bool_id: u32,
        /// OUT: current enforcing value of boolean (GET/SET).
        enforcing: u8,
        /// OUT: pending value of boolean (GET/SET).
        pending: u8,
        /// IN: new value of boolean (SET).
        new_value: u8,
        /// IN: commit new value instead of only setting pending (SET).
        commit: u8,
        /// IN: size of boolean name buffer (GET/SET) OUT: actual size of name (GET only).
        size: u32,
        _pad0: [u8; 4],
        /// IN: if bool_id is -1, used to find boolean (GET/SET) OUT: textual name of boolean (GET only).
        name: GuestPtr<u8>,
    }

    /// `struct xen_flask_setavc_threshold`.
    pub struct FlaskSetavcThreshold {
        threshold: u32,
    }

    /// `struct xen_flask_hash_stats`.
    pub struct FlaskHashStats {
        entries: u32,
        buckets_used: u32,
        buckets_total: u32,
        max_chain_len: u32,
    }

    /// `struct xen_flask_cache_stats`.
    pub struct FlaskCacheStats {
        cpu: u32,
        lookups: u32,
        hits: u32,
        misses: u32,
        allocations: u32,
        reclaims: u32,
        frees: u32,
    }

    /// `struct xen_flask_ocontext`.
    pub struct FlaskOcontext {
        ocon: u32,
        sid: u32,
        low: u64,
        high: u64,
    }

    /// `struct xen_flask_peersid`.
    pub struct FlaskPeersid {
        evtchn: EvtchnPort,
        sid: u32,
    }

    /// `struct xen_flask_relabel`.
    pub struct FlaskRelabel {
        domid: u32,
        sid: u32,
    }

    /// `struct xen_flask_devicetree_label`.
    pub struct FlaskDevicetreeLabel {
        sid: u32,
        length: u32,
        path: GuestPtr<u8>,
    }

    /// `struct xen_flask_op`.
    pub struct FlaskOp {
        cmd: u32,
        /// Must be `XEN_FLASK_INTERFACE_VERSION`.
        interface_version: u32,
        u: Union<u64, 4>,
    }
}

union_accessors! {
    FlaskOp.u {
        as_load, set_load: FlaskLoad,
        as_enforce, set_enforce: FlaskSetenforce,
        as_sid_context, set_sid_context: FlaskSidContext,
        as_access, set_access: FlaskAccess,
        as_transition, set_transition: FlaskTransition,
        as_boolean, set_boolean: FlaskBoolean,
        as_setavc_threshold, set_setavc_threshold: FlaskSetavcThreshold,
        as_hash_stats, set_hash_stats: FlaskHashStats,
        as_cache_stats, set_cache_stats: FlaskCacheStats,
        as_ocontext, set_ocontext: FlaskOcontext,
        as_peersid, set_peersid: FlaskPeersid,
        as_relabel, set_relabel: FlaskRelabel,
        as_devicetree_label, set_devicetree_label: FlaskDevicetreeLabel,
    }
}

pub const FLASK_LOAD: u32 = 1;
pub const FLASK_GETENFORCE: u32 = 2;
pub const FLASK_SETENFORCE: u32 = 3;
pub const FLASK_CONTEXT_TO_SID: u32 = 4;
pub const FLASK_SID_TO_CONTEXT: u32 = 5;
pub const FLASK_ACCESS: u32 = 6;
pub const FLASK_CREATE: u32 = 7;
pub const FLASK_RELABEL: u32 = 8;
/// No longer implemented.
pub const FLASK_USER: u32 = 9;
pub const FLASK_POLICYVERS: u32 = 10;
pub const FLASK_GETBOOL: u32 = 11;
pub const FLASK_SETBOOL: u32 = 12;
pub const FLASK_COMMITBOOLS: u32 = 13;
pub const FLASK_MLS: u32 = 14;
/// No longer implemented.
pub const FLASK_DISABLE: u32 = 15;
pub const FLASK_GETAVC_THRESHOLD: u32 = 16;
pub const FLASK_SETAVC_THRESHOLD: u32 = 17;
pub const FLASK_AVC_HASHSTATS: u32 = 18;
pub const FLASK_AVC_CACHESTATS: u32 = 19;
pub const FLASK_MEMBER: u32 = 20;
pub const FLASK_ADD_OCONTEXT: u32 = 21;
pub const FLASK_DEL_OCONTEXT: u32 = 22;
pub const FLASK_GET_PEER_SID: u32 = 23;
pub const FLASK_RELABEL_DOMAIN: u32 = 24;
pub const FLASK_DEVICETREE_LABEL: u32 = 25;
