//! `hypfs.h`: the hypervisor's own tree of parameters.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

/// Highest version number of the hypfs interface currently defined.
pub const XEN_HYPFS_VERSION: u32 = 1;
/// Maximum length of a path in the filesystem.
pub const XEN_HYPFS_MAX_PATHLEN: u32 = 1024;

structs! {
    /// `struct xen_hypfs_direntry`.
    pub struct HypfsDirentry {
        type_: u8,
        encoding: u8,
        /// Returned as.
        pad: u16,
        /// Current length of data.
        content_len: u32,
        /// Max. length for writes (0 if read-only).
        max_write_len: u32,
    }
}

pub const XEN_HYPFS_TYPE_DIR: u32 = 0;
pub const XEN_HYPFS_TYPE_BLOB: u32 = 1;
pub const XEN_HYPFS_TYPE_STRING: u32 = 2;
pub const XEN_HYPFS_TYPE_UINT: u32 = 3;
pub const XEN_HYPFS_TYPE_INT: u32 = 4;
pub const XEN_HYPFS_TYPE_BOOL: u32 = 5;
pub const XEN_HYPFS_ENC_PLAIN: u32 = 0;
pub const XEN_HYPFS_ENC_GZIP: u32 = 1;

structs! {
    /// `struct xen_hypfs_dirlistentry`.
    pub struct HypfsDirlistentry {
        e: HypfsDirentry,
        /// Offset in bytes to next entry (0 == this is the last entry).
        off_next: u16,
        /// Zero terminated entry name, possibly with some padding for alignment.
        name: [u8; 0],
        _pad0: [u8; 2],
    }
}

pub const XEN_HYPFS_OP_GET_VERSION: u32 = 0;
pub const XEN_HYPFS_OP_READ: u32 = 1;
pub const XEN_HYPFS_OP_WRITE_CONTENTS: u32 = 2;
