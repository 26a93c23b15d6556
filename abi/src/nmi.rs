//! `nmi.h`: NMI reasons and the older way to register for NMIs.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

pub const XEN_NMIREASON_IO_ERROR: u32 = 1 << 0;
pub const XEN_NMIREASON_PCI_SERR: u32 = 1 << 1;
pub const XEN_NMIREASON_UNKNOWN: u32 = 1 << 2;
/// Register NMI callback for this (calling) VCPU. Currently this only makes sense for domain 0, vcpu.
pub const XENNMI_REGISTER_CALLBACK: u32 = 0;

structs! {
    /// `struct xennmi_callback`.
    pub struct XennmiCallback {
        handler_address: u64,
        pad: u64,
    }
}

/// Deregister NMI callback for this (calling) VCPU.
pub const XENNMI_UNREGISTER_CALLBACK: u32 = 1;
