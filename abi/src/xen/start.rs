//! `struct start_info`: the page a PV guest is told about at its first instruction (in RSI).

use super::MAX_GUEST_CMDLINE;
use crate::Union;
use crate::event_channel::EvtchnPort;

structs! {
    /// `console.domU` of [`StartInfo`]: the console ring of an ordinary domain.
    pub struct StartInfoDomU {
        /// Machine frame of the console page.
        mfn: u64,
        /// Event channel of the console.
        evtchn: EvtchnPort,
        /// Padding.
        _pad0: [u8; 4],
    }

    /// `console.dom0` of [`StartInfo`]: what the first domain is told about the screen.
    pub struct StartInfoDom0 {
        /// Offset of `dom0_vga_console_info` from the start of this page, in bytes.
        info_off: u32,
        /// Size of `dom0_vga_console_info`, in bytes.
        info_size: u32,
    }

    /// `struct start_info`. Fields are in three groups: valid from boot and after a resume, valid from boot only, and
    /// the initial P2M.
    pub struct StartInfo {
        /// `xen-<version>-<platform>`, ends with a zero.
        magic: [u8; 32],
        /// Pages given to the domain.
        nr_pages: u64,
        /// Machine address of the shared info page.
        shared_info: u64,
        /// `SIF_*`.
        flags: u32,
        /// Padding.
        _pad0: [u8; 4],
        /// Machine frame of the xenstore page.
        store_mfn: u64,
        /// Event channel of xenstore.
        store_evtchn: EvtchnPort,
        /// Padding.
        _pad1: [u8; 4],
        /// [`StartInfoDomU`], or [`StartInfoDom0`] where `SIF_INITDOMAIN` is set.
        console: Union<u64, 2>,
        /// Linear address of the top-level page table.
        pt_base: u64,
        /// Frames of the initial page tables.
        nr_pt_frames: u64,
        /// Linear address of the P2M list.
        mfn_list: u64,
        /// Linear address of the module (a frame number where `SIF_MOD_START_PFN` is set).
        mod_start: u64,
        /// Size of the module, in bytes.
        mod_len: u64,
        /// Command line, ends with a zero.
        cmd_line: [u8; MAX_GUEST_CMDLINE],
        /// First pseudo-physical frame of the P2M list where it is not in the initial mapping.
        first_p2m_pfn: u64,
        /// Frames of the P2M list.
        nr_p2m_frames: u64,
    }
}

union_accessors! {
    StartInfo.console {
        as_dom_u, set_dom_u: StartInfoDomU,
        as_dom0, set_dom0: StartInfoDom0,
    }
}
