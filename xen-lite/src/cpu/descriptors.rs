//! GDT, TSS and the windows through which the CPU sees a guest's descriptor tables.
//!
//! The public interface fixes the selectors that every guest may use (xen-x86_64.h): they lie from 0xe000, in page 14 of the
//! GDT. Pages 0 to 13 are the guest's own, up to 14 frames with validated entries. So each CPU has a window in virtual
//! memory: 16 pages for the GDT, of which 14 are remapped with each vCPU, and 16 for its LDT, which are mapped when the CPU
//! first touches them. A GDT page that the guest did not give is a page of zeroes: its selectors do not exist.

use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::VirtAddr;
use x86_64::structures::DescriptorTablePointer;
use xen_lite_core::addr::CpuId;

use super::{PerCpu, msr};
use crate::layout;

/// Ring 0, 64-bit code.
pub const HYPERVISOR_CS: u16 = 0xe008;
/// Ring 0, data and stack.
pub const HYPERVISOR_DS: u16 = 0xe010;
/// Ring 3, 32-bit code (`FLAT_RING3_CS32`).
pub const FLAT_CS32: u16 = 0xe023;
/// Ring 3, data and stack (`FLAT_RING3_DS32`, `FLAT_RING3_SS64`).
pub const FLAT_DS: u16 = 0xe02b;
/// Ring 3, 64-bit code (`FLAT_RING3_CS64`).
pub const FLAT_CS64: u16 = 0xe033;
const TSS_SELECTOR: u16 = 0xe040;
const LDT_SELECTOR: u16 = 0xe050;

/// Number of GDT pages that are a guest's.
pub const GUEST_PAGES: usize = 14;
/// Number of pages of an LDT.
pub const LDT_PAGES: usize = 16;
/// Offset of the LDT part in a CPU's window.
pub const LDT_OFFSET: u64 = 16 << 12;
/// Last byte of the GDT: 15 pages.
const GDT_LIMIT: u16 = 0xefff;

/// A 64-bit task state segment (SDM vol. 3, 8.7).
#[repr(C, packed(4))]
pub struct Tss {
    _reserved: u32,
    /// Stack pointers for entry into rings 0 to 2.
    pub rsp: [u64; 3],
    _reserved1: u64,
    /// Interrupt stack table, 1 to 7.
    pub ist: [u64; 7],
    _reserved2: u64,
    _reserved3: u16,
    io_map: u16,
}

impl Tss {
    /// No stacks; no I/O bitmap, so that every port access of ring 3 traps.
    pub const fn new() -> Tss {
        Tss {
            _reserved: 0,
            rsp: [0; 3],
            _reserved1: 0,
            ist: [0; 7],
            _reserved2: 0,
            _reserved3: 0,
            io_map: size_of::<Tss>() as u16,
        }
    }
}

/// Interrupt stack for double faults.
pub const IST_DOUBLE_FAULT: u8 = 1;
/// Interrupt stack for NMIs.
pub const IST_NMI: u8 = 2;
/// Interrupt stack for machine checks.
pub const IST_MACHINE_CHECK: u8 = 3;
/// Interrupt stack for debug exceptions: a breakpoint may hit on the first instruction of the system-call entry, where the
/// stack is still the guest's.
pub const IST_DEBUG: u8 = 4;

/// Where a CPU's window begins.
pub const fn window(cpu: CpuId) -> u64 {
    layout::DESCRIPTORS + cpu.raw() as u64 * layout::DESCRIPTORS_STRIDE
}

/// Entries of page 14, from 0xe000.
pub fn hypervisor_entries(cpu: &PerCpu) -> [u64; 13] {
    let tss = cpu.tss.get() as u64;
    let (tss_low, tss_high) = system_segment(tss, size_of::<Tss>() as u64 - 1, 0x89);
    let number = u64::from(cpu.id.raw());
    [
        0,
        0x00af_9b00_0000_ffff, // 0xe008: ring 0 code
        0x00cf_9300_0000_ffff, // 0xe010: ring 0 data
        0x00cf_bb00_0000_ffff, // 0xe019: ring 1 code, 32-bit
        0x00cf_fb00_0000_ffff, // 0xe023: ring 3 code, 32-bit
        0x00cf_f300_0000_ffff, // 0xe02b: ring 3 data
        0x00af_fb00_0000_ffff, // 0xe033: ring 3 code, 64-bit
        0,
        tss_low,
        tss_high,
        0, // LDT
        0,
        0x0040_f100_0000_0000 | number & 0xffff, // 0xe060: LSL tells the CPU's number
    ]
}

/// The two words of a system segment's descriptor.
fn system_segment(base: u64, limit: u64, kind: u64) -> (u64, u64) {
    let low = limit & 0xffff
        | (base & 0xff_ffff) << 16
        | kind << 40
        | (limit >> 16 & 0xf) << 48
        | (base >> 24 & 0xff) << 56;
    (low, base >> 32)
}

/// Fills page 14 (at this machine address, in the direct map) of a CPU that does not run yet, and its window.
pub fn prepare(cpu: &PerCpu, page: u64) {
    for (index, entry) in hypervisor_entries(cpu).into_iter().enumerate() {
        crate::memory::direct::write(page, index, entry);
    }
    prepare_window(cpu.id, page);
}

/// Loads GDT, TSS and segments of the calling CPU. Its window is mapped, page 14 filled, and GS base set anew.
pub fn load(cpu: &'static PerCpu) {
    use x86_64::instructions::segmentation::{CS, DS, ES, FS, GS, SS, Segment};
    use x86_64::instructions::tables::{lgdt, load_tss};
    use x86_64::structures::gdt::SegmentSelector;
    let pointer = DescriptorTablePointer { limit: GDT_LIMIT, base: VirtAddr::new(window(cpu.id)) };
    // SAFETY: S-07: the window maps a GDT with these selectors for as long as the CPU runs.
    unsafe {
        lgdt(&pointer);
        CS::set_reg(SegmentSelector(HYPERVISOR_CS));
        SS::set_reg(SegmentSelector(HYPERVISOR_DS));
        DS::set_reg(SegmentSelector(0));
        ES::set_reg(SegmentSelector(0));
        FS::set_reg(SegmentSelector(0));
        GS::set_reg(SegmentSelector(0));
        load_tss(SegmentSelector(TSS_SELECTOR));
        msr::write(msr::GS_BASE, core::ptr::from_ref(cpu) as u64);
        msr::write(msr::KERNEL_GS_BASE, 0);
        msr::write(msr::FS_BASE, 0);
    }
}

/// The page-table entry of a window's page.
fn entry(cpu: CpuId, page: usize) -> &'static AtomicU64 {
    crate::memory::window_entry(cpu, page)
}

/// Present, accessed, dirty; not for ring 3, not executable. Writable, because the CPU sets "accessed" bits in descriptors.
const WINDOW_PAGE: u64 = 1 << 63 | 0x63;

fn invalidate(cpu: CpuId, page: usize) {
    x86_64::instructions::tlb::flush(VirtAddr::new(window(cpu) + (page as u64) * 4096));
}

/// Maps the GDT frames of a vCPU (machine addresses) into the calling CPU's window.
pub fn map_gdt(cpu: &PerCpu, frames: impl ExactSizeIterator<Item = u64>) {
    let count = frames.len();
    for (page, frame) in frames.enumerate() {
        entry(cpu.id, page).store(frame | WINDOW_PAGE, Ordering::Relaxed);
        invalidate(cpu.id, page);
    }
    for page in count..cpu.gdt_frames.get() {
        entry(cpu.id, page).store(crate::memory::zero_page() | WINDOW_PAGE & !2, Ordering::Relaxed);
        invalidate(cpu.id, page);
    }
    cpu.gdt_frames.set(count);
}

/// Prepares the window of a CPU: no guest frames, page 14 at this machine address.
pub fn prepare_window(cpu: CpuId, hypervisor_page: u64) {
    for page in 0..GUEST_PAGES {
        entry(cpu, page).store(crate::memory::zero_page() | WINDOW_PAGE & !2, Ordering::Relaxed);
    }
    entry(cpu, GUEST_PAGES).store(hypervisor_page | WINDOW_PAGE, Ordering::Relaxed);
}

/// Gives the calling CPU an LDT of `entries` entries, with nothing mapped yet.
pub fn set_ldt(cpu: &PerCpu, entries: u32) {
    unmap_ldt(cpu);
    let selector = if entries == 0 {
        0
    } else {
        let (low, high) = system_segment(window(cpu.id) + LDT_OFFSET, u64::from(entries) * 8 - 1, 0x82);
        let at = (window(cpu.id) + u64::from(LDT_SELECTOR)) as *mut u64;
        // SAFETY: S-07: the entry lies in page 14 of this CPU's window, which only this CPU writes.
        unsafe {
            at.write_volatile(low);
            at.add(1).write_volatile(high);
        }
        LDT_SELECTOR
    };
    // SAFETY: S-07: a null selector, or the descriptor just written.
    unsafe { core::arch::asm!("lldt {0:x}", in(reg) selector, options(nostack, preserves_flags)) };
}

/// Takes all LDT pages out of the calling CPU's window.
fn unmap_ldt(cpu: &PerCpu) {
    let mut mapped = cpu.ldt_mapped.replace(0);
    while mapped != 0 {
        let page = mapped.trailing_zeros() as usize;
        mapped &= mapped - 1;
        entry(cpu.id, LDT_OFFSET as usize / 4096 + page).store(0, Ordering::Relaxed);
        invalidate(cpu.id, LDT_OFFSET as usize / 4096 + page);
    }
}

/// The page and offset of the calling CPU's LDT that an address lies in.
pub fn ldt_page(cpu: &PerCpu, address: u64) -> Option<usize> {
    let offset = address.checked_sub(window(cpu.id) + LDT_OFFSET)?;
    let page = (offset / 4096) as usize;
    (page < LDT_PAGES).then_some(page)
}

/// Maps a page of the running vCPU's LDT; `frame` is the machine address of a frame with validated descriptors.
pub fn map_ldt(cpu: &PerCpu, page: usize, frame: u64) {
    entry(cpu.id, LDT_OFFSET as usize / 4096 + page).store(frame | WINDOW_PAGE, Ordering::Relaxed);
    cpu.ldt_mapped.set(cpu.ldt_mapped.get() | 1 << page);
}

/// Sets the MSRs of SYSCALL and SYSENTER on the calling CPU.
pub fn set_fast_entries(features: &super::features::Features) {
    use crate::entry::{self, guarded};
    let (syscall, syscall32, sysenter) = if guarded::is_used() {
        (guarded::address::syscall(), guarded::address::syscall32(), guarded::address::sysenter())
    } else {
        (entry::syscall_address(), entry::syscall32_address(), entry::sysenter_address())
    };
    /// Flags cleared on entry: all but the reserved ones.
    const FLAG_MASK: u64 = 0x0025_7fd5;
    let user_base = u64::from(FLAT_CS32) << 48;
    // SAFETY: S-08: the selectors are those of the GDT above, the addresses those of the entry code.
    unsafe {
        msr::write(msr::STAR, user_base | u64::from(HYPERVISOR_CS) << 32);
        msr::write(msr::LSTAR, syscall);
        msr::write(msr::CSTAR, syscall32);
        msr::write(msr::SFMASK, FLAG_MASK);
        if features.vendor != "AuthenticAMD" {
            msr::write(msr::SYSENTER_CS, u64::from(HYPERVISOR_CS));
            msr::write(msr::SYSENTER_ESP, 0);
            msr::write(msr::SYSENTER_EIP, sysenter);
        }
    }
}
