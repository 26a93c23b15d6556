//! `xen.h`: what is common to all architectures.
//!
//! A PV guest sees machine frames (MFN) in its page tables and pseudo-physical frames (PFN) in its own
//! bookkeeping; the P2M is the guest's, the M2P table the hypervisor's. Page tables change through
//! `mmu_update`, pins and base pointers through `mmuext_op`.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

use crate::{GuestPtr, Union};

use super::{ArchSharedInfo, ArchVcpuInfo, Domid};

// Virtual interrupts. "V": one per vCPU, stays there. "G": one per domain, starts on vCPU 0, can be moved.
/// V. Timebase update, and/or requested timeout.
pub const VIRQ_TIMER: u32 = 0;
/// V. Request guest to dump debug info.
pub const VIRQ_DEBUG: u32 = 1;
/// G. (DOM0) Bytes received on emergency console.
pub const VIRQ_CONSOLE: u32 = 2;
/// G. (DOM0) Exceptional event for some domain.
pub const VIRQ_DOM_EXC: u32 = 3;
/// G. (DOM0) Trace buffer has records available.
pub const VIRQ_TBUF: u32 = 4;
/// G. (DOM0) A domain has paused for debugging.
pub const VIRQ_DEBUGGER: u32 = 6;
/// V. XenOprofile interrupt: new sample available.
pub const VIRQ_XENOPROF: u32 = 7;
/// G. (DOM0) Bytes received on console.
pub const VIRQ_CON_RING: u32 = 8;
/// G. (DOM0) PCPU state changed.
pub const VIRQ_PCPU_STATE: u32 = 9;
/// G. (DOM0) A memory event has occurred.
pub const VIRQ_MEM_EVENT: u32 = 10;
/// G. Argo interdomain message notification.
pub const VIRQ_ARGO: u32 = 11;
/// G. (DOM0) Low on heap memory.
pub const VIRQ_ENOMEM: u32 = 12;
/// V. PMC interrupt.
pub const VIRQ_XENPMU: u32 = 13;
/// Architecture-specific VIRQ definitions.
pub const VIRQ_ARCH_0: u32 = 16;
pub const VIRQ_ARCH_1: u32 = 17;
pub const VIRQ_ARCH_2: u32 = 18;
pub const VIRQ_ARCH_3: u32 = 19;
pub const VIRQ_ARCH_4: u32 = 20;
pub const VIRQ_ARCH_5: u32 = 21;
pub const VIRQ_ARCH_6: u32 = 22;
pub const VIRQ_ARCH_7: u32 = 23;
pub const NR_VIRQS: u32 = 24;
// Kinds of update: the two lowest bits of `MmuUpdate::ptr`.
/// Checked '*ptr = val'. ptr is MA.
pub const MMU_NORMAL_PT_UPDATE: u64 = 0;
/// Ptr = MA of frame to modify entry for.
pub const MMU_MACHPHYS_UPDATE: u64 = 1;
/// Atomically: *ptr = val | (*ptr&(A|D)).
pub const MMU_PT_UPDATE_PRESERVE_AD: u64 = 2;
/// Checked '*ptr = val'. ptr is MA. val never translated.
pub const MMU_PT_UPDATE_NO_TRANSLATE: u64 = 3;
// Commands of `mmuext_op`: pin and unpin tables, switch base pointers, flush, set the LDT, clear and copy
// pages.
pub const MMUEXT_PIN_L1_TABLE: u32 = 0;
pub const MMUEXT_PIN_L2_TABLE: u32 = 1;
pub const MMUEXT_PIN_L3_TABLE: u32 = 2;
pub const MMUEXT_PIN_L4_TABLE: u32 = 3;
pub const MMUEXT_UNPIN_TABLE: u32 = 4;
pub const MMUEXT_NEW_BASEPTR: u32 = 5;
pub const MMUEXT_TLB_FLUSH_LOCAL: u32 = 6;
pub const MMUEXT_INVLPG_LOCAL: u32 = 7;
pub const MMUEXT_TLB_FLUSH_MULTI: u32 = 8;
pub const MMUEXT_INVLPG_MULTI: u32 = 9;
pub const MMUEXT_TLB_FLUSH_ALL: u32 = 10;
pub const MMUEXT_INVLPG_ALL: u32 = 11;
pub const MMUEXT_FLUSH_CACHE: u32 = 12;
pub const MMUEXT_SET_LDT: u32 = 13;
pub const MMUEXT_NEW_USER_BASEPTR: u32 = 15;
pub const MMUEXT_CLEAR_PAGE: u32 = 16;
pub const MMUEXT_COPY_PAGE: u32 = 17;
pub const MMUEXT_FLUSH_CACHE_GLOBAL: u32 = 18;
pub const MMUEXT_MARK_SUPER: u32 = 19;
pub const MMUEXT_UNMARK_SUPER: u32 = 20;

structs! {
    /// `struct mmuext_op`: One operation of `HYPERVISOR_mmuext_op`: `cmd` is `MMUEXT_*`; which arguments it uses
    /// depends on that.
    pub struct MmuextOp {
        /// `MMUEXT_*`.
        cmd: u32,
        _pad0: [u8; 4],
        arg1: Union<u64, 1>,
        arg2: Union<u64, 1>,
    }
}

union_accessors! {
    MmuextOp.arg1 {
        as_mfn, set_mfn: u64,
        as_linear_addr, set_linear_addr: u64,
    }
}
union_accessors! {
    MmuextOp.arg2 {
        as_nr_ents, set_nr_ents: u32,
        as_vcpumask, set_vcpumask: GuestPtr<u8>,
        as_src_mfn, set_src_mfn: u64,
    }
}

// Flags of `update_va_mapping`: what to flush, and where. For several CPUs, the address of a bitmap is ORed
// in.
/// No flushing at all.
pub const UVMF_NONE: u64 = 0;
/// Flush entire TLB(s).
pub const UVMF_TLB_FLUSH: u64 = 1 << 0;
/// Flush only one entry.
pub const UVMF_INVLPG: u64 = 2;
pub const UVMF_FLUSHTYPE_MASK: u64 = 3;
/// Flush subset of TLBs.
pub const UVMF_MULTI: u64 = 0 << 2;
/// Flush local TLB.
pub const UVMF_LOCAL: u64 = 0 << 2;
/// Flush all TLBs.
pub const UVMF_ALL: u64 = 1 << 2;
// Commands of `console_io`.
pub const CONSOLEIO_WRITE: u32 = 0;
pub const CONSOLEIO_READ: u32 = 1;
// Commands of `vm_assist`, then the assists.
/// Commands to HYPERVISOR_vm_assist().
pub const VMASST_CMD_ENABLE: u32 = 0;
pub const VMASST_CMD_DISABLE: u32 = 1;
/// x86/32 guests: simulate full 4GB segment limits.
pub const VMASST_TYPE_4GB_SEGMENTS: u32 = 0;
/// x86/32 guests: trap (vector 15) whenever above vmassist is used.
pub const VMASST_TYPE_4GB_SEGMENTS_NOTIFY: u32 = 1;
/// x86 guests: support writes to bottom-level PTEs. NB1. Page-directory entries cannot be written. NB2.
/// Guest must continue to remove all writable mappings of PTEs.
pub const VMASST_TYPE_WRITABLE_PAGETABLES: u32 = 2;
/// x86/PAE guests: support PDPTs above 4GB.
pub const VMASST_TYPE_PAE_EXTENDED_CR3: u32 = 3;
/// x86 guests: Sane behaviour for virtual iopl – virtual iopl updated from do_iret() hypercalls. – virtual
/// iopl reported in bounce frames. – guest kernels assumed to be level 0 for the purpose of iopl checks.
pub const VMASST_TYPE_ARCHITECTURAL_IOPL: u32 = 4;
/// All guests: activate update indicator in vcpu_runstate_info Enable setting the XEN_RUNSTATE_UPDATE flag
/// in guest memory mapped vcpu_runstate_info during updates of the runstate information.
pub const VMASST_TYPE_RUNSTATE_UPDATE_FLAG: u32 = 5;
/// x86/64 guests: strictly hide M2P from user mode.
pub const VMASST_TYPE_M2P_STRICT: u32 = 32;
/// Domain ids >= DOMID_FIRST_RESERVED cannot be used for ordinary domains.
pub const DOMID_FIRST_RESERVED: Domid = 0x7ff0;
/// `DOMID_SELF` is used in certain contexts to refer to oneself.
pub const DOMID_SELF: Domid = 0x7ff0;
/// `DOMID_IO` is used to restrict page-table updates to mapping I/O memory. Although no Foreign Domain need
/// be specified to map I/O pages, DOMID_IO is useful to ensure that no mappings to the OS's own heap are
/// accidentally installed.
pub const DOMID_IO: Domid = 0x7ff1;
/// `DOMID_XEN` is used to allow privileged domains to map restricted parts of Xen's heap space (e.g., the
/// machine_to_phys table).
pub const DOMID_XEN: Domid = 0x7ff2;
/// `DOMID_COW` is used as the owner of sharable pages.
pub const DOMID_COW: Domid = 0x7ff3;
/// `DOMID_INVALID` is used to identify pages with unknown owner.
pub const DOMID_INVALID: Domid = 0x7ff4;
/// Idle domain.
pub const DOMID_IDLE: Domid = 0x7fff;
/// Mask for valid domain id values.
pub const DOMID_MASK: Domid = 0x7fff;

structs! {
    /// `struct mmu_update`: Send an array of these to HYPERVISOR_mmu_update().
    pub struct MmuUpdate {
        /// Machine address of PTE.
        ptr: u64,
        /// New contents of PTE.
        val: u64,
    }

    /// `struct multicall_entry`: One call of a multicall: number and arguments in, result out.
    pub struct MulticallEntry {
        /// Hypercall number.
        op: u64,
        /// Result.
        result: u64,
        /// Arguments.
        args: [u64; 6],
    }

    /// `struct vcpu_time_info`: How to compute system time from the TSC. `version` is odd while the hypervisor
    /// writes; read it before and after.
    pub struct VcpuTimeInfo {
        /// Odd while an update is going on.
        version: u32,
        pad0: u32,
        /// TSC at last update of time vals.
        tsc_timestamp: u64,
        /// Time, in nanosecs, since boot.
        system_time: u64,
        /// 32-bit fraction: ns per (shifted) TSC tick.
        tsc_to_system_mul: u32,
        /// Shift the TSC difference left by this (right if negative) before multiplying.
        tsc_shift: i8,
        /// `XEN_PVCLOCK_*`.
        flags: u8,
        pad1: [u8; 2],
    }
}

pub const XEN_PVCLOCK_TSC_STABLE_BIT: u8 = 1 << 0;
pub const XEN_PVCLOCK_GUEST_STOPPED: u8 = 1 << 1;

structs! {
    /// `struct vcpu_info`: What the hypervisor shares with a guest for each vCPU: pending events, their mask, the
    /// clock.
    pub struct VcpuInfo {
        /// `evtchn_upcall_pending` is written non-zero by Xen to indicate a pending notification for a
        /// particular VCPU. It is then cleared by the guest OS /before/ checking for pending work, thus
        /// avoiding a set-and-check race.
        evtchn_upcall_pending: u8,
        evtchn_upcall_mask: u8,
        _pad0: [u8; 6],
        evtchn_pending_sel: u64,
        arch: ArchVcpuInfo,
        time: VcpuTimeInfo,
    }

    /// `struct shared_info`: The page a domain shares with the hypervisor: vCPUs, event bitmaps of the two-level
    /// form, wall clock.
    pub struct SharedInfo {
        vcpu_info: [VcpuInfo; 32],
        /// A domain can create "event channels" on which it can send and receive asynchronous event
        /// notifications. There are three classes of event that are delivered by this mechanism.
        evtchn_pending: [u64; 64],
        evtchn_mask: [u64; 64],
        /// Wallclock time: updated by control software or RTC emulation. Guests should base their
        /// gettimeofday() syscall on this wallclock-base value.
        wc_version: u32,
        wc_sec: u32,
        wc_nsec: u32,
        wc_sec_hi: u32,
        arch: ArchSharedInfo,
    }
}

pub const MAX_GUEST_CMDLINE: usize = 1024;
/// Is the domain privileged?
pub const SIF_PRIVILEGED: u32 = 1 << 0;
/// Is this the initial control domain?
pub const SIF_INITDOMAIN: u32 = 1 << 1;
/// Is mod_start a multiboot module?
pub const SIF_MULTIBOOT_MOD: u32 = 1 << 2;
/// Is mod_start a PFN?
pub const SIF_MOD_START_PFN: u32 = 1 << 3;
/// Do Xen tools understand a virt. mapped P->M making the 3 level tree obsolete?
pub const SIF_VIRT_P2M_4TOOLS: u32 = 1 << 4;
/// Reserve 1 byte for xen-pm options.
pub const SIF_PM_MASK: u32 = 0xff << 8;

structs! {
    /// `struct xen_multiboot_mod_list`: One module where `SIF_MULTIBOOT_MOD` is set.
    pub struct MultibootModList {
        /// Address of first byte of the module.
        mod_start: u32,
        /// Address of last byte of the module (inclusive).
        mod_end: u32,
        /// Address of zero-terminated command line.
        cmdline: u32,
        /// Unused, must be zero.
        pad: u32,
    }

    /// Member `u.text_mode_3` of [`Dom0VgaConsoleInfo`].
    pub struct Dom0VgaConsoleInfoTextMode3 {
        /// Font height, in pixels.
        font_height: u16,
        /// Cursor location (column, row).
        cursor_x: u16,
        /// Cursor location (column, row).
        cursor_y: u16,
        /// Number of rows and columns (dimensions in characters).
        rows: u16,
        /// Number of rows and columns (dimensions in characters).
        columns: u16,
    }

    /// Member `u.vesa_lfb` of [`Dom0VgaConsoleInfo`].
    pub struct Dom0VgaConsoleInfoVesaLfb {
        /// Width and height, in pixels.
        width: u16,
        /// Width and height, in pixels.
        height: u16,
        /// Bytes per scan line.
        bytes_per_line: u16,
        /// Bits per pixel.
        bits_per_pixel: u16,
        /// LFB physical address, and size (in units of 64kB).
        lfb_base: u32,
        lfb_size: u32,
        /// RGB mask offsets and sizes, as defined by VBE.
        red_pos: u8,
        /// RGB mask offsets and sizes, as defined by VBE.
        red_size: u8,
        green_pos: u8,
        green_size: u8,
        blue_pos: u8,
        blue_size: u8,
        rsvd_pos: u8,
        rsvd_size: u8,
        /// VESA capabilities (offset 0xa, VESA command 0x4f00).
        gbl_caps: u32,
        /// Mode attributes (offset 0x0, VESA command 0x4f01).
        mode_attrs: u16,
        pad: u16,
        /// High 32 bits of lfb_base.
        ext_lfb_base: u32,
    }

    /// `struct dom0_vga_console_info`: The screen as the boot loader left it.
    pub struct Dom0VgaConsoleInfo {
        /// DOM0_VGA_CONSOLE_???
        video_type: u8,
        _pad0: [u8; 3],
        u: Union<u32, 9>,
    }
}

union_accessors! {
    Dom0VgaConsoleInfo.u {
        as_text_mode_3, set_text_mode_3: Dom0VgaConsoleInfoTextMode3,
        as_vesa_lfb, set_vesa_lfb: Dom0VgaConsoleInfoVesaLfb,
    }
}

pub const XEN_VGATYPE_TEXT_MODE_3: u8 = 0x03;
pub const XEN_VGATYPE_VESA_LFB: u8 = 0x23;
pub const XEN_VGATYPE_EFI_LFB: u8 = 0x70;

structs! {
    /// `xen_uuid_t`.
    pub struct Uuid {
        a: [u8; 16],
    }

    /// `struct xenctl_bitmap`: A bitmap in the caller's memory, for CPUs or nodes.
    pub struct XenctlBitmap {
        bitmap: GuestPtr<u8>,
        nr_bits: u32,
        _pad0: [u8; 4],
    }
}
