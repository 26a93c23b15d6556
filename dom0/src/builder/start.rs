//! The pages a PV guest finds at its first instruction, as bytes, and the registers of its first CPU.
//!
//! Public headers: `xen.h` (`start_info`, `shared_info`), `arch-x86/xen.h` (`vcpu_guest_context`), `grant_table.h`.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use abi::xen::{self, StartInfo, StartInfoDomU, VcpuGuestContext};
use abi::zerocopy::IntoBytes;
use kernel_image::PvInfo;
use kernel_image::layout::{Layout, Table};

use super::memory::Memory;
use super::{Channel, Plan};
use crate::hypervisor::Window;

const PAGE: usize = 4096;
/// Present, user, accessed; see [`WRITABLE`].
const READABLE: u64 = 1 | 1 << 2 | 1 << 5;
const WRITABLE: u64 = 1 << 1 | 1 << 6;
/// Interrupt flag.
const RFLAGS_IF: u64 = 1 << 9;
/// `sizeof(struct vcpu_info)` and the offset of `evtchn_upcall_mask` in it.
const VCPU_INFO: usize = 64;
const UPCALL_MASK: usize = 1;
/// Legacy virtual CPUs with their place in the shared info page.
const LEGACY_VCPUS: usize = 32;

/// What the start info page tells.
pub struct Facts<'a> {
    /// Where things are.
    pub layout: &'a Layout,
    /// What was asked for.
    pub plan: &'a Plan<'a>,
    /// Machine frame of the shared info page.
    pub shared_info: u64,
    /// The store's page and port.
    pub store: Channel,
    /// The console's page and port.
    pub console: Channel,
}

/// The start info page.
pub fn start_info(facts: &Facts<'_>) -> Vec<u8> {
    let layout = facts.layout;
    let mut info = StartInfo::default();
    copy_text(&mut info.magic, "xen-3.0-x86_64");
    copy_text(&mut info.cmd_line, facts.plan.cmdline);
    info.nr_pages = layout.nr_pages();
    info.shared_info = facts.shared_info * PAGE as u64;
    info.store_mfn = facts.store.mfn;
    info.store_evtchn = facts.store.port;
    info.set_dom_u(StartInfoDomU {
        mfn: facts.console.mfn,
        evtchn: facts.console.port,
        ..Default::default()
    });
    info.pt_base = layout.tables.va.unwrap_or(0);
    info.nr_pt_frames = layout.tables.pages;
    info.mfn_list = layout.p2m.va.unwrap_or(0);
    (info.first_p2m_pfn, info.nr_p2m_frames) = layout.p2m_frames();
    let (mod_start, is_pfn) = layout.mod_start();
    info.mod_start = mod_start;
    info.mod_len = facts.plan.initrd.len() as u64;
    if is_pfn {
        info.flags |= xen::SIF_MOD_START_PFN;
    }
    let mut page = info.as_bytes().to_vec();
    page.resize(PAGE, 0);
    page
}

/// Copies text and leaves at least one zero at the end.
fn copy_text(to: &mut [u8], text: &str) {
    let len = text.len().min(to.len() - 1);
    to[..len].copy_from_slice(&text.as_bytes()[..len]);
}

/// A page table with machine addresses.
pub fn table<W: Window>(layout: &Layout, table: Table, memory: &Memory<W>) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; PAGE];
    for (index, entry) in layout.entries(table) {
        let flags = READABLE | if entry.writable { WRITABLE } else { 0 };
        let value = memory.mfn(entry.pfn)? << 12 | flags;
        let at = index as usize * 8;
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    Ok(bytes)
}

/// The shared info page: zero, with events masked on every virtual CPU.
pub fn shared_info() -> Vec<u8> {
    let mut page = vec![0; PAGE];
    for vcpu in 0..LEGACY_VCPUS {
        page[vcpu * VCPU_INFO + UPCALL_MASK] = 1;
    }
    page
}

/// The first grant entries (version 1): the console page and the store page for domain 0.
pub fn grants(console: u64, store: u64) -> Vec<u8> {
    const PERMIT_ACCESS: u16 = 1;
    let mut bytes = vec![];
    // References 0 and 1: GNTTAB_RESERVED_CONSOLE, GNTTAB_RESERVED_XENSTORE.
    for mfn in [console, store] {
        bytes.extend_from_slice(&PERMIT_ACCESS.to_le_bytes());
        bytes.extend_from_slice(&0u16.to_le_bytes());
        bytes.extend_from_slice(&(mfn as u32).to_le_bytes());
    }
    bytes
}

/// Registers of CPU 0 at the kernel's entry point.
pub fn context(info: &PvInfo, layout: &Layout, root_mfn: u64) -> VcpuGuestContext {
    let flags = xen::VGCF_IN_KERNEL | xen::VGCF_ONLINE;
    let mut context = VcpuGuestContext { flags, ..Default::default() };
    let regs = &mut context.user_regs;
    regs.rip = info.entry;
    regs.rsp = layout.stack_top();
    regs.rsi = layout.start_info.va.unwrap_or(0);
    regs.rflags = RFLAGS_IF;
    regs.cs = xen::FLAT_KERNEL_CS64;
    regs.ss = xen::FLAT_KERNEL_SS64;
    context.kernel_ss = u64::from(xen::FLAT_KERNEL_SS64);
    context.kernel_sp = layout.stack_top();
    // Bits 0 to 11 of the machine address are zero, so there is nothing to rotate.
    context.ctrlreg[3] = root_mfn << 12;
    context
}
