//! `io/protocols.h`: values of the `protocol` key of a split device.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

/// What a guest of this architecture speaks.
pub const XEN_IO_PROTO_ABI_NATIVE: &str = XEN_IO_PROTO_ABI_X86_64;

pub const XEN_IO_PROTO_ABI_X86_32: &str = "x86_32-abi";
pub const XEN_IO_PROTO_ABI_X86_64: &str = "x86_64-abi";
pub const XEN_IO_PROTO_ABI_ARM: &str = "arm-abi";
