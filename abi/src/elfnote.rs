//! `elfnote.h`: what a kernel says about itself in ELF notes of owner `Xen`.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

/// NAME=VALUE pair (string).
pub const XEN_ELFNOTE_INFO: u32 = 0;
/// The virtual address of the entry point (numeric).
pub const XEN_ELFNOTE_ENTRY: u32 = 1;
/// The virtual address of the hypercall transfer page (numeric).
pub const XEN_ELFNOTE_HYPERCALL_PAGE: u32 = 2;
/// The virtual address where the kernel image should be mapped (numeric).
pub const XEN_ELFNOTE_VIRT_BASE: u32 = 3;
/// The offset of the ELF paddr field from the actual required pseudo-physical address (numeric).
pub const XEN_ELFNOTE_PADDR_OFFSET: u32 = 4;
/// The version of Xen that we work with (string).
pub const XEN_ELFNOTE_XEN_VERSION: u32 = 5;
/// The name of the guest operating system (string).
pub const XEN_ELFNOTE_GUEST_OS: u32 = 6;
/// The version of the guest operating system (string).
pub const XEN_ELFNOTE_GUEST_VERSION: u32 = 7;
/// The loader type (string).
pub const XEN_ELFNOTE_LOADER: u32 = 8;
/// The kernel supports PAE (x86/32 only, string = "yes", "no" or "bimodal").
pub const XEN_ELFNOTE_PAE_MODE: u32 = 9;
/// The features supported/required by this kernel (string).
pub const XEN_ELFNOTE_FEATURES: u32 = 10;
/// Whether the kernel needs its symbol table loaded, "yes" or "no".
pub const XEN_ELFNOTE_BSD_SYMTAB: u32 = 11;
/// The lowest address the hypervisor hole can begin at (numeric).
pub const XEN_ELFNOTE_HV_START_LOW: u32 = 12;
/// List of maddr_t-sized mask/value pairs describing how to recognize (non-present) L1 page table entries
/// carrying valid MFNs (numeric).
pub const XEN_ELFNOTE_L1_MFN_VALID: u32 = 13;
/// Whether or not the guest supports cooperative suspend cancellation. This is a numeric value.
pub const XEN_ELFNOTE_SUSPEND_CANCEL: u32 = 14;
/// The (non-default) location the initial phys-to-machine map should be placed at by the hypervisor (Dom0)
/// or the tools (DomU). The kernel must be prepared for this mapping to be established using large pages,
/// despite such otherwise not being available to guests.
pub const XEN_ELFNOTE_INIT_P2M: u32 = 15;
/// Whether or not the guest can deal with being passed an initrd not mapped through its initial page tables.
pub const XEN_ELFNOTE_MOD_START_PFN: u32 = 16;
/// The features supported by this kernel (numeric).
pub const XEN_ELFNOTE_SUPPORTED_FEATURES: u32 = 17;
/// Physical entry point into the kernel.
pub const XEN_ELFNOTE_PHYS32_ENTRY: u32 = 18;
/// The number of the highest elfnote defined.
pub const XEN_ELFNOTE_MAX: u32 = XEN_ELFNOTE_PHYS32_ENTRY;
/// System information exported through crash notes.
pub const XEN_ELFNOTE_CRASH_INFO: u32 = 0x1000001;
/// System registers exported through crash notes.
pub const XEN_ELFNOTE_CRASH_REGS: u32 = 0x1000002;
/// Xen dump-core none note. xm dump-core code will create one XEN_ELFNOTE_DUMPCORE_NONE in its dump file to
/// indicate that the file is xen dump-core file. This note doesn't have any other information. See
/// tools/libxc/xc_core.h for more information.
pub const XEN_ELFNOTE_DUMPCORE_NONE: u32 = 0x2000000;
/// Xen dump-core header note. xm dump-core code will create one XEN_ELFNOTE_DUMPCORE_HEADER in its dump
/// file. See tools/libxc/xc_core.h for more information.
pub const XEN_ELFNOTE_DUMPCORE_HEADER: u32 = 0x2000001;
/// Xen dump-core xen version note. xm dump-core code will create one XEN_ELFNOTE_DUMPCORE_XEN_VERSION in its
/// dump file. It contains the xen version obtained via the XENVER hypercall. See tools/libxc/xc_core.h for
/// more information.
pub const XEN_ELFNOTE_DUMPCORE_XEN_VERSION: u32 = 0x2000002;
/// Xen dump-core format version note. xm dump-core code will create one XEN_ELFNOTE_DUMPCORE_FORMAT_VERSION
/// in its dump file. It contains a format version identifier. See tools/libxc/xc_core.h for more
/// information.
pub const XEN_ELFNOTE_DUMPCORE_FORMAT_VERSION: u32 = 0x2000003;
