//! `kexec.h`: kernels for crash and reboot.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

use crate::{GuestPtr, Union};

pub const KEXEC_XEN_NO_PAGES: u32 = 17;
pub const KEXEC_TYPE_DEFAULT: u32 = 0;
pub const KEXEC_TYPE_CRASH: u32 = 1;

structs! {
    /// `struct xen_kexec_image`.
    pub struct KexecImage {
        page_list: [u64; 17],
        indirection_page: u64,
        start_address: u64,
    }
}

/// Perform kexec having previously loaded a kexec or kdump kernel as appropriate. type == KEXEC_TYPE_DEFAULT
/// or KEXEC_TYPE_CRASH (in).
pub const KEXEC_CMD_KEXEC: u32 = 0;

structs! {
    /// `struct xen_kexec_exec`.
    pub struct KexecExec {
        type_: i32,
    }
}

/// Obsolete since 0x00040400.
pub const KEXEC_CMD_KEXEC_LOAD_V1: u32 = 1;
/// Obsolete since 0x00040400.
pub const KEXEC_CMD_KEXEC_UNLOAD_V1: u32 = 2;

structs! {
    /// `struct xen_kexec_load_v1`.
    pub struct KexecLoadV1 {
        type_: i32,
        _pad0: [u8; 4],
        image: KexecImage,
    }
}

/// Machine address and size of crash area.
pub const KEXEC_RANGE_MA_CRASH: u32 = 0;
/// Machine address and size of Xen itself.
pub const KEXEC_RANGE_MA_XEN: u32 = 1;
/// Machine address and size of a CPU note.
pub const KEXEC_RANGE_MA_CPU: u32 = 2;
/// Machine address and size of xenheap Note that although this is adjacent to Xen it exists in a separate
/// EFI region on ia64, and thus needs to be inserted into iomem_machine separately.
pub const KEXEC_RANGE_MA_XENHEAP: u32 = 3;
/// Obsolete: machine address and size of the ia64_boot_param.
pub const KEXEC_RANGE_MA_BOOT_PARAM: u32 = 4;
/// Machine address and size of of the EFI Memory Map.
pub const KEXEC_RANGE_MA_EFI_MEMMAP: u32 = 5;
/// Machine address and size of vmcoreinfo.
pub const KEXEC_RANGE_MA_VMCOREINFO: u32 = 6;
/// Find the address and size of certain memory areas range == KEXEC_RANGE_... (in) nr == physical CPU number
/// (starting from 0) if KEXEC_RANGE_MA_CPU (in) size == number of bytes reserved in window (out) start ==
/// address of the first byte in the window (out).
pub const KEXEC_CMD_KEXEC_GET_RANGE: u32 = 3;

structs! {
    /// `struct xen_kexec_range`.
    pub struct KexecRange {
        range: i32,
        nr: i32,
        size: u64,
        start: u64,
    }

    /// `struct xen_kexec_segment`: A contiguous chunk of a kexec image and it's destination machine address.
    pub struct KexecSegment {
        buf: Union<u64, 1>,
        buf_size: u64,
        dest_maddr: u64,
        dest_size: u64,
    }
}

union_accessors! {
    KexecSegment.buf {
        as_h, set_h: GuestPtr<u8>,
    }
}

pub const KEXEC_CMD_KEXEC_LOAD: u32 = 4;

structs! {
    /// `struct xen_kexec_load`.
    pub struct KexecLoad {
        /// One of KEXEC_TYPE_.
        type_: u8,
        _pad: u8,
        /// ELF machine type (EM_*).
        arch: u16,
        nr_segments: u32,
        segments: Union<u64, 1>,
        /// Image entry point machine address.
        entry_maddr: u64,
    }
}

union_accessors! {
    KexecLoad.segments {
        as_h, set_h: GuestPtr<KexecSegment>,
    }
}

/// Unload a kexec image.
pub const KEXEC_CMD_KEXEC_UNLOAD: u32 = 5;

structs! {
    /// `struct xen_kexec_unload`.
    pub struct KexecUnload {
        type_: u8,
    }
}

/// Figure out whether we have an image loaded. A return value of zero indicates no image loaded. A return
/// value of one indicates an image is loaded. A negative return value indicates an error.
pub const KEXEC_CMD_KEXEC_STATUS: u32 = 6;

structs! {
    /// `struct xen_kexec_status`.
    pub struct KexecStatus {
        type_: u8,
    }
}
