//! `arch-x86/hvm/start_info.h`: what a PVH kernel finds at the address in EBX.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

/// Start of day structure passed to PVH guests and to HVM guests in %ebx.
pub const XEN_HVM_START_MAGIC_VALUE: u32 = 0x336ec578;
/// The values used in the type field of the memory map table entries are defined below and match the Address
/// Range Types as defined in the "System Address Map Interfaces" section of the ACPI Specification. Please
/// refer to section 15 in version.
pub const XEN_HVM_MEMMAP_TYPE_RAM: u32 = 1;
pub const XEN_HVM_MEMMAP_TYPE_RESERVED: u32 = 2;
pub const XEN_HVM_MEMMAP_TYPE_ACPI: u32 = 3;
pub const XEN_HVM_MEMMAP_TYPE_NVS: u32 = 4;
pub const XEN_HVM_MEMMAP_TYPE_UNUSABLE: u32 = 5;
pub const XEN_HVM_MEMMAP_TYPE_DISABLED: u32 = 6;
pub const XEN_HVM_MEMMAP_TYPE_PMEM: u32 = 7;

structs! {
    /// `struct hvm_start_info`: What a PVH guest is told at its start; all addresses are guest-physical.
    pub struct HvmStartInfo {
        /// `XEN_HVM_START_MAGIC_VALUE`.
        magic: u32,
        /// Version of this structure.
        version: u32,
        /// `SIF_*`.
        flags: u32,
        /// Number of modules passed to the kernel.
        nr_modules: u32,
        /// Physical address of an array of hvm_modlist_entry.
        modlist_paddr: u64,
        /// Physical address of the command line.
        cmdline_paddr: u64,
        /// Physical address of the RSDP ACPI data structure.
        rsdp_paddr: u64,
        /// All following fields only present in version 1 and newer.
        memmap_paddr: u64,
        /// Number of entries in the memmap table. Value will be zero if there is no memory map being provided.
        memmap_entries: u32,
        /// Must be zero.
        reserved: u32,
    }

    /// `struct hvm_modlist_entry`: One module of a PVH guest.
    pub struct HvmModlistEntry {
        /// Physical address of the module.
        paddr: u64,
        /// Size of the module in bytes.
        size: u64,
        /// Physical address of the command line.
        cmdline_paddr: u64,
        reserved: u64,
    }

    /// `struct hvm_memmap_table_entry`: One range of memory of a PVH guest.
    pub struct HvmMemmapTableEntry {
        /// Base address of the memory region.
        addr: u64,
        /// Size of the memory region in bytes.
        size: u64,
        /// Mapping type.
        type_: u32,
        /// Must be zero for Version.
        reserved: u32,
    }
}
