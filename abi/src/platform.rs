//! `platform.h`: operations of the hardware domain: wall clock, firmware, CPUs, sleep.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

use crate::{GuestPtr, Union};

structs! {
    /// `struct xen_processor_flags`: five one-bit fields from bit 0: `bm_control`, `bm_check`, `has_cst`, `power_setup_done`, `bm_rld_set`.
    pub struct ProcessorFlags {
        /// The fields.
        bits: u32,
    }
}

pub const XENPF_INTERFACE_VERSION: u32 = 0x03000001;
/// Set clock such that it would read `secs,nsecs` after 00:00:00 UTC, 1 January, 1970 if the current system
/// time was `system_time`.
pub const XENPF_SETTIME32: u32 = 17;

structs! {
    /// `struct xenpf_settime32`.
    pub struct XenpfSettime32 {
        secs: u32,
        nsecs: u32,
        system_time: u64,
    }
}

pub const XENPF_SETTIME64: u32 = 62;

structs! {
    /// `struct xenpf_settime64`.
    pub struct XenpfSettime64 {
        secs: u64,
        nsecs: u32,
        mbz: u32,
        system_time: u64,
    }
}

pub const XENPF_SETTIME: u32 = XENPF_SETTIME64;
/// Request memory range (`mfn`, `mfn`+`nr_mfns`-1) to have type `type`. On x86, `type` is an
/// architecture-defined MTRR memory type. On success, returns the MTRR that was used (`reg`) and a handle
/// that can be passed to XENPF_DEL_MEMTYPE to accurately tear down the new setting. (x86-specific).
pub const XENPF_ADD_MEMTYPE: u32 = 31;

structs! {
    /// `struct xenpf_add_memtype`.
    pub struct XenpfAddMemtype {
        mfn: u64,
        nr_mfns: u64,
        type_: u32,
        handle: u32,
        reg: u32,
        _pad0: [u8; 4],
    }
}

/// Tear down an existing memory-range type. If `handle` is remembered then it should be passed in to
/// accurately tear down the correct setting (in case of overlapping memory regions with differing types). If
/// it is not known then `handle` should be set to zero. In all cases `reg` must be set.
pub const XENPF_DEL_MEMTYPE: u32 = 32;

structs! {
    /// `struct xenpf_del_memtype`.
    pub struct XenpfDelMemtype {
        handle: u32,
        reg: u32,
    }
}

/// Read current type of an MTRR (x86-specific).
pub const XENPF_READ_MEMTYPE: u32 = 33;

structs! {
    /// `struct xenpf_read_memtype`.
    pub struct XenpfReadMemtype {
        reg: u32,
        _pad0: [u8; 4],
        mfn: u64,
        nr_mfns: u64,
        type_: u32,
        _pad1: [u8; 4],
    }
}

pub const XENPF_MICROCODE_UPDATE: u32 = 35;

structs! {
    /// `struct xenpf_microcode_update`.
    pub struct XenpfMicrocodeUpdate {
        /// Pointer to microcode data.
        data: GuestPtr<u8>,
        /// Length of microcode data.
        length: u32,
        _pad0: [u8; 4],
    }
}

pub const XENPF_PLATFORM_QUIRK: u32 = 39;
/// Do not restrict IO-APIC RTE targets.
pub const QUIRK_NOIRQBALANCING: u32 = 1;
/// IO-APIC REGSEL forgets its value.
pub const QUIRK_IOAPIC_BAD_REGSEL: u32 = 2;
/// IO-APIC REGSEL behaves properly.
pub const QUIRK_IOAPIC_GOOD_REGSEL: u32 = 3;

structs! {
    /// `struct xenpf_platform_quirk`.
    pub struct XenpfPlatformQuirk {
        quirk_id: u32,
    }
}

pub const XENPF_EFI_RUNTIME_CALL: u32 = 49;
pub const XEN_EFI_GET_TIME: u32 = 1;
pub const XEN_EFI_SET_TIME: u32 = 2;
pub const XEN_EFI_GET_WAKEUP_TIME: u32 = 3;
pub const XEN_EFI_SET_WAKEUP_TIME: u32 = 4;
pub const XEN_EFI_GET_NEXT_HIGH_MONOTONIC_COUNT: u32 = 5;
pub const XEN_EFI_GET_VARIABLE: u32 = 6;
pub const XEN_EFI_SET_VARIABLE: u32 = 7;
pub const XEN_EFI_GET_NEXT_VARIABLE_NAME: u32 = 8;
pub const XEN_EFI_QUERY_VARIABLE_INFO: u32 = 9;
pub const XEN_EFI_QUERY_CAPSULE_CAPABILITIES: u32 = 10;
pub const XEN_EFI_UPDATE_CAPSULE: u32 = 11;

structs! {
    /// `struct xenpf_efi_time`.
    pub struct XenpfEfiTime {
        year: u16,
        month: u8,
        day: u8,
        hour: u8,
        min: u8,
        sec: u8,
        _pad0: [u8; 1],
        ns: u32,
        tz: i16,
        daylight: u8,
        _pad1: [u8; 1],
    }

    /// `struct xenpf_efi_guid`.
    pub struct XenpfEfiGuid {
        data1: u32,
        data2: u16,
        data3: u16,
        data4: [u8; 8],
    }

    /// Member `u.get_time` of [`XenpfEfiRuntimeCall`].
    pub struct XenpfEfiRuntimeCallGetTime {
        time: XenpfEfiTime,
        resolution: u32,
        accuracy: u32,
    }

    /// Member `u.get_variable` of [`XenpfEfiRuntimeCall`].
    pub struct XenpfEfiRuntimeCallGetVariable {
        /// UCS-2/UTF-16 string.
        name: GuestPtr<u8>,
        size: u64,
        data: GuestPtr<u8>,
        vendor_guid: XenpfEfiGuid,
    }

    /// Member `u.get_next_variable_name` of [`XenpfEfiRuntimeCall`].
    pub struct XenpfEfiRuntimeCallGetNextVariableName {
        size: u64,
        /// UCS-2/UTF-16 string.
        name: GuestPtr<u8>,
        vendor_guid: XenpfEfiGuid,
    }

    /// Member `u.query_variable_info` of [`XenpfEfiRuntimeCall`].
    pub struct XenpfEfiRuntimeCallQueryVariableInfo {
        attr: u32,
        _pad0: [u8; 4],
        max_store_size: u64,
        remain_store_size: u64,
        max_size: u64,
    }

    /// Member `u.query_capsule_capabilities` of [`XenpfEfiRuntimeCall`].
    pub struct XenpfEfiRuntimeCallQueryCapsuleCapabilities {
        capsule_header_array: GuestPtr<u8>,
        capsule_count: u64,
        max_capsule_size: u64,
        reset_type: u32,
        _pad0: [u8; 4],
    }

    /// Member `u.update_capsule` of [`XenpfEfiRuntimeCall`].
    pub struct XenpfEfiRuntimeCallUpdateCapsule {
        capsule_header_array: GuestPtr<u8>,
        capsule_count: u64,
        /// Machine address.
        sg_list: u64,
    }

    /// `struct xenpf_efi_runtime_call`.
    pub struct XenpfEfiRuntimeCall {
        function: u32,
        /// This field is generally used for per sub-function flags (defined below), except for the
        /// XEN_EFI_get_next_high_monotonic_count case, where it holds the single returned value.
        misc: u32,
        status: u64,
        u: Union<u64, 5>,
    }
}

union_accessors! {
    XenpfEfiRuntimeCall.u {
        as_get_time, set_get_time: XenpfEfiRuntimeCallGetTime,
        as_set_time, set_set_time: XenpfEfiTime,
        as_get_wakeup_time, set_get_wakeup_time: XenpfEfiTime,
        as_set_wakeup_time, set_set_wakeup_time: XenpfEfiTime,
        as_get_variable, set_get_variable: XenpfEfiRuntimeCallGetVariable,
        as_set_variable, set_set_variable: XenpfEfiRuntimeCallGetVariable,
        as_get_next_variable_name, set_get_next_variable_name: XenpfEfiRuntimeCallGetNextVariableName,
        as_query_variable_info, set_query_variable_info: XenpfEfiRuntimeCallQueryVariableInfo,
        as_query_capsule_capabilities, set_query_capsule_capabilities: XenpfEfiRuntimeCallQueryCapsuleCapabilities,
        as_update_capsule, set_update_capsule: XenpfEfiRuntimeCallUpdateCapsule,
    }
}

pub const XEN_EFI_GET_TIME_SET_CLEARS_NS: u32 = 0x00000001;
pub const XEN_EFI_GET_WAKEUP_TIME_ENABLED: u32 = 0x00000001;
pub const XEN_EFI_GET_WAKEUP_TIME_PENDING: u32 = 0x00000002;
pub const XEN_EFI_SET_WAKEUP_TIME_ENABLE: u32 = 0x00000001;
pub const XEN_EFI_SET_WAKEUP_TIME_ENABLE_ONLY: u32 = 0x00000002;
pub const XEN_EFI_VARIABLE_NON_VOLATILE: u32 = 0x00000001;
pub const XEN_EFI_VARIABLE_BOOTSERVICE_ACCESS: u32 = 0x00000002;
pub const XEN_EFI_VARIABLE_RUNTIME_ACCESS: u32 = 0x00000004;
pub const XEN_EFI_VARINFO_BOOT_SNAPSHOT: u32 = 0x00000001;
pub const XENPF_FIRMWARE_INFO: u32 = 50;
/// From int 13 AH=08/41/48.
pub const XEN_FW_DISK_INFO: u32 = 1;
/// From MBR offset 0x1b8.
pub const XEN_FW_DISK_MBR_SIGNATURE: u32 = 2;
/// From int 10 AX=4f15.
pub const XEN_FW_VBEDDC_INFO: u32 = 3;
/// From EFI.
pub const XEN_FW_EFI_INFO: u32 = 4;
pub const XEN_FW_EFI_VERSION: u32 = 0;
pub const XEN_FW_EFI_CONFIG_TABLE: u32 = 1;
pub const XEN_FW_EFI_VENDOR: u32 = 2;
pub const XEN_FW_EFI_MEM_INFO: u32 = 3;
pub const XEN_FW_EFI_RT_VERSION: u32 = 4;
pub const XEN_FW_EFI_PCI_ROM: u32 = 5;
pub const XEN_FW_EFI_APPLE_PROPERTIES: u32 = 6;
pub const XEN_FW_KBD_SHIFT_FLAGS: u32 = 5;

structs! {
    /// Member `u.disk_info` of [`XenpfFirmwareInfo`].
    pub struct XenpfFirmwareInfoDiskInfo {
        /// Int13, Fn48: Check Extensions Present.
        device: u8,
        /// %ah: major version.
        version: u8,
        /// %cx: support bitmap.
        interface_support: u16,
        /// Int13, Fn08: Legacy Get Device Parameters.
        legacy_max_cylinder: u16,
        /// %dh: max head #.
        legacy_max_head: u8,
        /// `%cl[5:0]`: max sector #.
        legacy_sectors_per_track: u8,
        edd_params: GuestPtr<u8>,
    }

    /// Member `u.disk_mbr_signature` of [`XenpfFirmwareInfo`].
    pub struct XenpfFirmwareInfoDiskMbrSignature {
        /// Bios device number.
        device: u8,
        _pad0: [u8; 3],
        /// Offset 0x1b8 in mbr.
        mbr_signature: u32,
    }

    /// Member `u.vbeddc_info` of [`XenpfFirmwareInfo`].
    pub struct XenpfFirmwareInfoVbeddcInfo {
        /// Int10, AX=4F15: Get EDID info.
        capabilities: u8,
        edid_transfer_time: u8,
        _pad0: [u8; 6],
        /// Must refer to 128-byte buffer.
        edid: GuestPtr<u8>,
    }

    /// Member `u.efi_info.cfg` of [`XenpfFirmwareInfo`].
    pub struct XenpfFirmwareInfoCfg {
        /// `EFI_CONFIGURATION_TABLE`.
        addr: u64,
        nent: u32,
        _pad0: [u8; 4],
    }

    /// Member `u.efi_info.vendor` of [`XenpfFirmwareInfo`].
    pub struct XenpfFirmwareInfoVendor {
        revision: u32,
        /// Input, in bytes.
        bufsz: u32,
        /// UCS-2/UTF-16 string.
        name: GuestPtr<u8>,
    }

    /// Member `u.efi_info.mem` of [`XenpfFirmwareInfo`].
    pub struct XenpfFirmwareInfoMem {
        addr: u64,
        size: u64,
        attr: u64,
        type_: u32,
        _pad0: [u8; 4],
    }

    /// Member `u.efi_info.pci_rom` of [`XenpfFirmwareInfo`].
    pub struct XenpfFirmwareInfoPciRom {
        segment: u16,
        bus: u8,
        devfn: u8,
        vendor: u16,
        devid: u16,
        address: u64,
        size: u64,
    }

    /// Member `u.efi_info.apple_properties` of [`XenpfFirmwareInfo`].
    pub struct XenpfFirmwareInfoAppleProperties {
        address: u64,
        size: u64,
    }

    /// `union xenpf_efi_info`.
    pub struct XenpfEfiInfo {
        u: Union<u64, 4>,
    }

    /// `struct xenpf_firmware_info`.
    pub struct XenpfFirmwareInfo {
        type_: u32,
        index: u32,
        u: Union<u64, 4>,
    }
}

union_accessors! {
    XenpfEfiInfo.u {
        as_version, set_version: u32,
        as_cfg, set_cfg: XenpfFirmwareInfoCfg,
        as_vendor, set_vendor: XenpfFirmwareInfoVendor,
        as_mem, set_mem: XenpfFirmwareInfoMem,
        as_pci_rom, set_pci_rom: XenpfFirmwareInfoPciRom,
        as_apple_properties, set_apple_properties: XenpfFirmwareInfoAppleProperties,
    }
}

union_accessors! {
    XenpfFirmwareInfo.u {
        as_disk_info, set_disk_info: XenpfFirmwareInfoDiskInfo,
        as_disk_mbr_signature, set_disk_mbr_signature: XenpfFirmwareInfoDiskMbrSignature,
        as_vbeddc_info, set_vbeddc_info: XenpfFirmwareInfoVbeddcInfo,
        as_efi_info, set_efi_info: XenpfEfiInfo,
        as_kbd_shift_flags, set_kbd_shift_flags: u8,
    }
}

pub const XENPF_ENTER_ACPI_SLEEP: u32 = 51;

structs! {
    /// `struct xenpf_enter_acpi_sleep`.
    pub struct XenpfEnterAcpiSleep {
        /// PM1a control / sleep type A.
        val_a: u16,
        /// PM1b control / sleep type B.
        val_b: u16,
        /// Which state to enter (Sn).
        sleep_state: u32,
        /// XENPF_ACPI_SLEEP_*.
        flags: u32,
    }
}

pub const XENPF_ACPI_SLEEP_EXTENDED: u32 = 0x00000001;
pub const XENPF_CHANGE_FREQ: u32 = 52;

structs! {
    /// `struct xenpf_change_freq`.
    pub struct XenpfChangeFreq {
        /// Must be zero.
        flags: u32,
        /// Physical cpu.
        cpu: u32,
        /// New frequency (Hz).
        freq: u64,
    }
}

/// Get idle times (nanoseconds since boot) for physical CPUs specified in the `cpumap_bitmap` with range
/// (0..`cpumap_nr_cpus`-1). The `idletime` array is indexed by CPU number; only entries with the
/// corresponding `cpumap_bitmap` bit set are written to.
pub const XENPF_GETIDLETIME: u32 = 53;

structs! {
    /// `struct xenpf_getidletime`.
    pub struct XenpfGetidletime {
        /// IN: CPUs to interrogate; OUT: subset of IN which are present.
        cpumap_bitmap: GuestPtr<u8>,
        /// Size of cpumap bitmap.
        cpumap_nr_cpus: u32,
        _pad0: [u8; 4],
        /// Must be indexable for every cpu in cpumap_bitmap.
        idletime: GuestPtr<u64>,
        /// System time when the idletime snapshots were taken.
        now: u64,
    }
}

pub const XENPF_SET_PROCESSOR_PMINFO: u32 = 54;
/// Ability bits.
pub const XEN_PROCESSOR_PM_CX: u32 = 1;
pub const XEN_PROCESSOR_PM_PX: u32 = 2;
pub const XEN_PROCESSOR_PM_TX: u32 = 4;
/// Cmd type.
pub const XEN_PM_CX: u32 = 0;
pub const XEN_PM_PX: u32 = 1;
pub const XEN_PM_TX: u32 = 2;
pub const XEN_PM_PDC: u32 = 3;
/// Px sub info type.
pub const XEN_PX_PCT: u32 = 1;
pub const XEN_PX_PSS: u32 = 2;
pub const XEN_PX_PPC: u32 = 4;
pub const XEN_PX_PSD: u32 = 8;

structs! {
    /// `struct xen_power_register`.
    pub struct PowerRegister {
        space_id: u32,
        bit_width: u32,
        bit_offset: u32,
        access_size: u32,
        address: u64,
    }

    /// `struct xen_processor_csd`.
    pub struct ProcessorCsd {
        /// Domain number of one dependent group.
        domain: u32,
        /// Coordination type.
        coord_type: u32,
        /// Number of processors in same domain.
        num: u32,
    }

    /// `struct xen_processor_cx`.
    pub struct ProcessorCx {
        /// GAS for Cx trigger register.
        reg: PowerRegister,
        /// Cstate value, c0: 0, c1: 1, ...
        type_: u8,
        _pad0: [u8; 3],
        /// Worst latency (ms) to enter/exit this cstate.
        latency: u32,
        /// Average power consumption(mW).
        power: u32,
        /// Number of dependency entries.
        dpcnt: u32,
        /// NULL if no dependency.
        dp: GuestPtr<ProcessorCsd>,
    }

    /// `struct xen_processor_power`.
    pub struct ProcessorPower {
        /// Number of C state entries in array below.
        count: u32,
        /// Global flags of this processor.
        flags: ProcessorFlags,
        /// Supported c states.
        states: GuestPtr<ProcessorCx>,
    }

    /// `struct xen_pct_register`.
    pub struct PctRegister {
        descriptor: u8,
        _pad0: [u8; 1],
        length: u16,
        space_id: u8,
        bit_width: u8,
        bit_offset: u8,
        reserved: u8,
        address: u64,
    }

    /// `struct xen_processor_px`.
    pub struct ProcessorPx {
        /// Megahertz.
        core_frequency: u64,
        /// milliWatts.
        power: u64,
        /// Microseconds.
        transition_latency: u64,
        /// Microseconds.
        bus_master_latency: u64,
        /// Control value.
        control: u64,
        /// Success indicator.
        status: u64,
    }

    /// `struct xen_psd_package`.
    pub struct PsdPackage {
        num_entries: u64,
        revision: u64,
        domain: u64,
        coord_type: u64,
        num_processors: u64,
    }

    /// `struct xen_processor_performance`.
    pub struct ProcessorPerformance {
        /// Flag for Px sub info type.
        flags: u32,
        /// Platform limitation on freq usage.
        platform_limit: u32,
        control_register: PctRegister,
        status_register: PctRegister,
        /// Total available performance states.
        state_count: u32,
        _pad0: [u8; 4],
        states: GuestPtr<ProcessorPx>,
        domain_info: PsdPackage,
        shared_type: u32,
        _pad1: [u8; 4],
    }
}

/// HW does needed coordination.
pub const XEN_CPUPERF_SHARED_TYPE_HW: u32 = 1;
/// All dependent CPUs should set freq.
pub const XEN_CPUPERF_SHARED_TYPE_ALL: u32 = 2;
/// Freq can be set from any dependent CPU.
pub const XEN_CPUPERF_SHARED_TYPE_ANY: u32 = 3;

structs! {
    /// `struct xenpf_set_processor_pminfo`.
    pub struct XenpfSetProcessorPminfo {
        /// ACPI CPU ID.
        id: u32,
        /// {XEN_PM_CX, XEN_PM_PX}.
        type_: u32,
        u: Union<u64, 13>,
    }
}

union_accessors! {
    XenpfSetProcessorPminfo.u {
        as_power, set_power: ProcessorPower,
        as_perf, set_perf: ProcessorPerformance,
        as_pdc, set_pdc: GuestPtr<u32>,
    }
}

pub const XENPF_GET_CPUINFO: u32 = 55;

structs! {
    /// `struct xenpf_pcpuinfo`.
    pub struct XenpfPcpuinfo {
        xen_cpuid: u32,
        /// The maxium cpu_id that is present.
        max_present: u32,
        flags: u32,
        apic_id: u32,
        acpi_id: u32,
    }
}

pub const XEN_PCPU_FLAGS_ONLINE: u32 = 1;
/// Correponding xen_cpuid is not present.
pub const XEN_PCPU_FLAGS_INVALID: u32 = 2;
pub const XENPF_GET_CPU_VERSION: u32 = 48;

structs! {
    /// `struct xenpf_pcpu_version`.
    pub struct XenpfPcpuVersion {
        xen_cpuid: u32,
        /// The maxium cpu_id that is present.
        max_present: u32,
        vendor_id: [u8; 12],
        family: u32,
        model: u32,
        stepping: u32,
    }
}

pub const XENPF_CPU_ONLINE: u32 = 56;
pub const XENPF_CPU_OFFLINE: u32 = 57;

structs! {
    /// `struct xenpf_cpu_ol`.
    pub struct XenpfCpuOl {
        cpuid: u32,
    }
}

pub const XENPF_CPU_HOTADD: u32 = 58;

structs! {
    /// `struct xenpf_cpu_hotadd`.
    pub struct XenpfCpuHotadd {
        apic_id: u32,
        acpi_id: u32,
        pxm: u32,
    }
}

pub const XENPF_MEM_HOTADD: u32 = 59;

structs! {
    /// `struct xenpf_mem_hotadd`.
    pub struct XenpfMemHotadd {
        spfn: u64,
        epfn: u64,
        pxm: u32,
        flags: u32,
    }
}

pub const XENPF_CORE_PARKING: u32 = 60;
pub const XEN_CORE_PARKING_SET: u32 = 1;
pub const XEN_CORE_PARKING_GET: u32 = 2;

structs! {
    /// `struct xenpf_core_parking`.
    pub struct XenpfCoreParking {
        type_: u32,
        /// OUT variables: get cpu nums actually be idled.
        idle_nums: u32,
    }
}

/// Access generic platform resources(e.g., accessing MSR, port I/O, etc) in unified way. Batch resource
/// operations in one call are supported and they are always non-preemptible and executed in their original
/// order.
pub const XENPF_RESOURCE_OP: u32 = 61;
pub const XEN_RESOURCE_OP_MSR_READ: u32 = 0;
pub const XEN_RESOURCE_OP_MSR_WRITE: u32 = 1;

structs! {
    /// `struct xenpf_resource_entry`.
    pub struct XenpfResourceEntry {
        u: Union<u32, 1>,
        /// IN: padding and must be zero.
        rsvd: u32,
        /// IN: resource address to access.
        idx: u64,
        /// IN/OUT: resource value to set/get.
        val: u64,
    }
}

union_accessors! {
    XenpfResourceEntry.u {
        as_cmd, set_cmd: u32,
        as_ret, set_ret: i32,
    }
}

structs! {
    /// `struct xenpf_resource_op`.
    pub struct XenpfResourceOp {
        /// Number of resource entry.
        nr_entries: u32,
        /// Which cpu to run.
        cpu: u32,
        entries: GuestPtr<XenpfResourceEntry>,
    }
}

pub const XENPF_GET_SYMBOL: u32 = 63;

structs! {
    /// `struct xenpf_symdata`.
    pub struct XenpfSymdata {
        /// IN: size of name buffer OUT: strlen(name) of hypervisor symbol (may be larger than what's been
        /// copied to guest).
        namelen: u32,
        /// IN: Symbol to read OUT: Next available symbol. If same as IN then we reached the end.
        symnum: u32,
        name: GuestPtr<u8>,
        address: u64,
        type_: u8,
        _pad0: [u8; 7],
    }

    /// `struct xen_platform_op`: What `HYPERVISOR_platform_op` takes: the command and its own argument in `u`.
    pub struct PlatformOp {
        cmd: u32,
        /// Must be `XENPF_INTERFACE_VERSION`.
        interface_version: u32,
        u: Union<u64, 16>,
    }
}

union_accessors! {
    PlatformOp.u {
        as_settime, set_settime: XenpfSettime64,
        as_settime32, set_settime32: XenpfSettime32,
        as_settime64, set_settime64: XenpfSettime64,
        as_add_memtype, set_add_memtype: XenpfAddMemtype,
        as_del_memtype, set_del_memtype: XenpfDelMemtype,
        as_read_memtype, set_read_memtype: XenpfReadMemtype,
        as_microcode, set_microcode: XenpfMicrocodeUpdate,
        as_platform_quirk, set_platform_quirk: XenpfPlatformQuirk,
        as_efi_runtime_call, set_efi_runtime_call: XenpfEfiRuntimeCall,
        as_firmware_info, set_firmware_info: XenpfFirmwareInfo,
        as_enter_acpi_sleep, set_enter_acpi_sleep: XenpfEnterAcpiSleep,
        as_change_freq, set_change_freq: XenpfChangeFreq,
        as_getidletime, set_getidletime: XenpfGetidletime,
        as_set_pminfo, set_set_pminfo: XenpfSetProcessorPminfo,
        as_pcpu_info, set_pcpu_info: XenpfPcpuinfo,
        as_pcpu_version, set_pcpu_version: XenpfPcpuVersion,
        as_cpu_ol, set_cpu_ol: XenpfCpuOl,
        as_cpu_add, set_cpu_add: XenpfCpuHotadd,
        as_mem_add, set_mem_add: XenpfMemHotadd,
        as_core_parking, set_core_parking: XenpfCoreParking,
        as_resource_op, set_resource_op: XenpfResourceOp,
        as_symdata, set_symdata: XenpfSymdata,
    }
}
