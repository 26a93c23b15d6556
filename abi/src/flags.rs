//! Flag sets of the interface as `bitflags` types.
//!
//! Structures hold plain integers, since anybody may have written them. `from_bits_retain` turns such an
//! integer into a set without losing bits that this version does not know.

use crate::{domctl, event_channel, grant_table, xen};
use bitflags::bitflags;

bitflags! {
    /// `SIF_*`: what a domain is told in `start_info.flags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct StartFlags: u32 {
        /// The domain is privileged.
        const PRIVILEGED = xen::SIF_PRIVILEGED;
        /// The domain is the initial control domain.
        const INITDOMAIN = xen::SIF_INITDOMAIN;
        /// The module is a multiboot list.
        const MULTIBOOT_MOD = xen::SIF_MULTIBOOT_MOD;
        /// `mod_start` is a frame number.
        const MOD_START_PFN = xen::SIF_MOD_START_PFN;
        /// The tools understand the linear P2M.
        const VIRT_P2M_4TOOLS = xen::SIF_VIRT_P2M_4TOOLS;
    }

    /// `GTF_*`: flags of a grant entry. The two lowest bits are the type of the entry, see [`GrantFlags::kind`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct GrantFlags: u16 {
        /// The frame may be mapped or copied.
        const PERMIT_ACCESS = grant_table::GTF_PERMIT_ACCESS;
        /// A frame may be transferred to the granter.
        const ACCEPT_TRANSFER = grant_table::GTF_ACCEPT_TRANSFER;
        /// Only reading is allowed.
        const READONLY = grant_table::GTF_READONLY;
        /// Mapped for reading now.
        const READING = grant_table::GTF_READING;
        /// Mapped for writing now.
        const WRITING = grant_table::GTF_WRITING;
        /// Cache attribute PWT.
        const PWT = grant_table::GTF_PWT;
        /// Cache attribute PCD.
        const PCD = grant_table::GTF_PCD;
        /// Cache attribute PAT.
        const PAT = grant_table::GTF_PAT;
        /// Only part of the page is granted (version 2).
        const SUB_PAGE = grant_table::GTF_SUB_PAGE;
    }

    /// `GNTMAP_*`: how to map a grant.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct GrantMapFlags: u32 {
        /// Map for devices.
        const DEVICE_MAP = grant_table::GNTMAP_DEVICE_MAP;
        /// Map for the processor.
        const HOST_MAP = grant_table::GNTMAP_HOST_MAP;
        /// Map read-only.
        const READONLY = grant_table::GNTMAP_READONLY;
        /// Accessible to the guest's user mode.
        const APPLICATION_MAP = grant_table::GNTMAP_APPLICATION_MAP;
        /// `host_addr` is the machine address of a page-table entry.
        const CONTAINS_PTE = grant_table::GNTMAP_CONTAINS_PTE;
    }

    /// `XEN_DOMINF_*`: state of a domain. The shutdown code is in the bits above.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct DomainInfoFlags: u32 {
        /// Being destroyed.
        const DYING = domctl::XEN_DOMINF_DYING;
        /// HVM or PVH rather than PV.
        const HVM_GUEST = domctl::XEN_DOMINF_HVM_GUEST;
        /// Has shut down.
        const SHUTDOWN = domctl::XEN_DOMINF_SHUTDOWN;
        /// Paused by the toolstack.
        const PAUSED = domctl::XEN_DOMINF_PAUSED;
        /// Every vCPU waits for an event.
        const BLOCKED = domctl::XEN_DOMINF_BLOCKED;
        /// A vCPU runs now.
        const RUNNING = domctl::XEN_DOMINF_RUNNING;
        /// Under a debugger.
        const DEBUGGED = domctl::XEN_DOMINF_DEBUGGED;
        /// The xenstore domain.
        const XS_DOMAIN = domctl::XEN_DOMINF_XS_DOMAIN;
        /// Uses hardware-assisted paging.
        const HAP = domctl::XEN_DOMINF_HAP;
    }

    /// `XEN_DOMCTL_CDF_*`: what kind of domain to create.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CreateFlags: u32 {
        /// HVM or PVH rather than PV.
        const HVM = domctl::XEN_DOMCTL_CDF_HVM;
        /// Hardware-assisted paging.
        const HAP = domctl::XEN_DOMCTL_CDF_HAP;
        /// Memory integrity over sleep.
        const S3_INTEGRITY = domctl::XEN_DOMCTL_CDF_S3_INTEGRITY;
        /// No out-of-sync shadows.
        const OOS_OFF = domctl::XEN_DOMCTL_CDF_OOS_OFF;
        /// The xenstore domain.
        const XS_DOMAIN = domctl::XEN_DOMCTL_CDF_XS_DOMAIN;
        /// May use the IOMMU.
        const IOMMU = domctl::XEN_DOMCTL_CDF_IOMMU;
        /// Nested virtualisation.
        const NESTED_VIRT = domctl::XEN_DOMCTL_CDF_NESTED_VIRT;
        /// Performance counters.
        const VPMU = domctl::XEN_DOMCTL_CDF_VPMU;
    }

    /// `VGCF_*`: flags of a vCPU context; `IN_SYSCALL` also of an `iret` frame.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ContextFlags: u64 {
        /// The FPU state is valid.
        const I387_VALID = xen::VGCF_I387_VALID;
        /// The vCPU is in kernel mode.
        const IN_KERNEL = xen::VGCF_IN_KERNEL;
        /// The failsafe callback masks events.
        const FAILSAFE_DISABLES_EVENTS = xen::VGCF_FAILSAFE_DISABLES_EVENTS;
        /// The syscall callback masks events.
        const SYSCALL_DISABLES_EVENTS = xen::VGCF_SYSCALL_DISABLES_EVENTS;
        /// The vCPU is online.
        const ONLINE = xen::VGCF_ONLINE;
        /// Return by SYSRET.
        const IN_SYSCALL = xen::VGCF_IN_SYSCALL;
    }

    /// State bits of a word of the FIFO event array. The index of the next event of the queue is in the low bits.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct EventWord: u32 {
        /// The event happened.
        const PENDING = 1 << event_channel::EVTCHN_FIFO_PENDING;
        /// The guest does not want to hear of it.
        const MASKED = 1 << event_channel::EVTCHN_FIFO_MASKED;
        /// It is on a queue.
        const LINKED = 1 << event_channel::EVTCHN_FIFO_LINKED;
        /// The guest is changing the mask.
        const BUSY = 1 << event_channel::EVTCHN_FIFO_BUSY;
    }
}

impl GrantFlags {
    /// The type of the entry: one of `GTF_INVALID`, `GTF_PERMIT_ACCESS`, `GTF_ACCEPT_TRANSFER`, `GTF_TRANSITIVE`.
    pub const fn kind(self) -> u16 {
        self.bits() & grant_table::GTF_TYPE_MASK
    }
}

impl EventWord {
    /// The next event of the queue, zero at its end.
    pub const fn link(self) -> u32 {
        self.bits() & event_channel::EVTCHN_FIFO_LINK_MASK
    }
}
