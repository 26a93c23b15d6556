//! `version.h`: version strings, build facts, feature maps.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

pub const XENVER_VERSION: u32 = 0;
pub const XENVER_EXTRAVERSION: u32 = 1;
pub const XEN_EXTRAVERSION_LEN: usize = 16;
pub const XENVER_COMPILE_INFO: u32 = 2;

structs! {
    /// `struct xen_compile_info`.
    pub struct CompileInfo {
        compiler: [u8; 64],
        compile_by: [u8; 16],
        compile_domain: [u8; 32],
        compile_date: [u8; 32],
    }
}

pub const XENVER_CAPABILITIES: u32 = 3;
pub const XEN_CAPABILITIES_INFO_LEN: usize = 0x400;
pub const XENVER_CHANGESET: u32 = 4;
pub const XEN_CHANGESET_INFO_LEN: usize = 64;
pub const XENVER_PLATFORM_PARAMETERS: u32 = 5;

structs! {
    /// `struct xen_platform_parameters`.
    pub struct PlatformParameters {
        virt_start: u64,
    }
}

pub const XENVER_GET_FEATURES: u32 = 6;

structs! {
    /// `struct xen_feature_info`.
    pub struct FeatureInfo {
        /// IN: which 32-bit submap to return.
        submap_idx: u32,
        /// OUT: 32-bit submap.
        submap: u32,
    }
}

pub const XENVER_PAGESIZE: u32 = 7;
pub const XENVER_GUEST_HANDLE: u32 = 8;
pub const XENVER_COMMANDLINE: u32 = 9;
/// Return value is the number of bytes written, or XEN_Exx on error. Calling with empty parameter returns
/// the size of build_id.
pub const XENVER_BUILD_ID: u32 = 10;

structs! {
    /// `struct xen_build_id`.
    pub struct BuildId {
        /// IN: size of `buf[]`.
        len: u32,
        buf: [u8; 0],
    }
}
