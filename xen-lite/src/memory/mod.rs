//! Physical memory while booting, and the hypervisor's own part of the address space.
//!
//! Steps: [`Ranges`] of free memory are computed from the loader's map; the tables that live as long as the hypervisor
//! (frame table, machine-to-physical table, page tables) are cut from them; [`tables`] builds the final address space and
//! loads it; what is left is handed to the core's frame heap. Only memory below 4 GiB is reachable before the final tables
//! are loaded, and everything that boot needs is taken from there.

pub mod direct;
mod ranges;
pub mod split;
mod tables;

use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use alloc::vec::Vec;
use xen_lite_core::addr::CpuId;
use xen_lite_core::frame::FrameInfo;

pub use ranges::Ranges;

use crate::boot::info::{BootInfo, Region, TYPE_RAM};
use crate::layout::{self, MAX_CPUS};

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// The page where other CPUs start, in real mode: nobody else has it.
pub const TRAMPOLINE: u64 = 0x8000;

/// Machine address of the hypervisor's own root table, whose entries 256 to 271 every guest's root has too.
static ROOT: AtomicU64 = AtomicU64::new(0);
/// Machine address of a page of zeroes.
static ZERO_PAGE: AtomicU64 = AtomicU64::new(0);
/// The page table of each CPU's descriptor window.
static WINDOWS: [AtomicPtr<AtomicU64>; MAX_CPUS] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS];
/// The page table of the device window, and how many of its pages are in use.
static DEVICES: AtomicPtr<AtomicU64> = AtomicPtr::new(core::ptr::null_mut());
static DEVICES_USED: AtomicUsize = AtomicUsize::new(0);

/// What boot settled about memory.
pub struct Memory {
    /// Free memory, as byte ranges.
    pub free: Ranges,
    /// What is below the end of RAM and not RAM: devices, firmware, nothing. Frame 0, with firmware's data, counts among it.
    pub holes: Ranges,
    /// One entry for each frame up to the end of RAM, all zero.
    pub frame_table: &'static [FrameInfo],
    /// Frames of RAM in all.
    pub ram_frames: u64,
    /// Where the machine-to-physical table is: first byte, and the one behind it.
    pub m2p: (u64, u64),
}

/// Where the image ends in physical memory, with its symbols.
fn image_end() -> u64 {
    unsafe extern "C" {
        static __image_end: u8;
    }
    let end = &raw const __image_end as u64 - layout::IMAGE;
    end + crate::symbols::size_at(end)
}

/// Bounds of the part that only boot needs: physical addresses.
fn boot_part() -> (u64, u64) {
    unsafe extern "C" {
        static __boot_start: u8;
        static __boot_end: u8;
    }
    (&raw const __boot_start as u64, &raw const __boot_end as u64)
}

/// Computes what is free and builds the final address space.
///
/// # Errors
/// A text when the machine's memory does not do.
pub fn init(boot: &BootInfo) -> Result<Memory, &'static str> {
    let ram: Vec<&Region> = boot.regions.iter().filter(|region| region.kind == TYPE_RAM).collect();
    let end = ram.iter().map(|region| region.end).max().ok_or("the loader's memory map names no RAM")?;
    let end = (end & !(PAGE - 1)).min(layout::DIRECT_SIZE);
    let mut free = Ranges::default();
    for region in &ram {
        free.add(region.start.next_multiple_of(PAGE), region.end.min(end) & !(PAGE - 1));
    }
    let ram_frames = free.bytes() / PAGE;
    let mut holes = Ranges::default();
    holes.add(0, end);
    free.iter().for_each(|(start, end)| holes.remove(start.max(PAGE), end));
    // Frame 0 holds firmware's data; the page where other CPUs start; the image; the modules.
    free.remove(0, PAGE);
    free.remove(TRAMPOLINE, TRAMPOLINE + PAGE);
    free.remove(boot_part().0, image_end().next_multiple_of(PAGE));
    for module in &boot.modules {
        free.remove(module.start & !(PAGE - 1), module.end.next_multiple_of(PAGE));
    }

    let frames = end / PAGE;
    let frame_table = free.take_cleared(frames * size_of::<FrameInfo>() as u64, PAGE)?;
    // Toolstacks map the table in extents of 2 MiB.
    let m2p = free.take(frames * 8, 2 << 20)?;
    let m2p_end = m2p + (frames * 8).next_multiple_of(PAGE);
    direct::fill(m2p, m2p_end - m2p, 0xff);
    ZERO_PAGE.store(free.take_cleared(PAGE, PAGE)?, Ordering::Relaxed);

    let mut map = tables::Tables::new(&mut free)?;
    let mut mapped = Vec::new();
    for region in boot.regions.iter().filter(|region| matches!(region.kind, TYPE_RAM | 3 | 4)) {
        mapped.push(map.direct(region.start, region.end.min(layout::DIRECT_SIZE))?);
    }
    DIRECT.call_once(|| mapped);
    map.m2p(m2p, frames * 8)?;
    map.image()?;
    DEVICES.store(map.leaf_table(layout::MMIO)?, Ordering::Relaxed);
    ROOT.store(map.root(), Ordering::Relaxed);
    // SAFETY: S-01: the new tables map the image, the stack (part of it) and the direct map as the old ones did.
    unsafe { load_root(map.root()) };
    direct::set_m2p_base(m2p, frames);

    // SAFETY: S-12: the frame table is cleared memory that nobody else uses; all-zero is a valid `FrameInfo`.
    let frame_table = unsafe {
        core::slice::from_raw_parts(layout::direct(frame_table) as *const FrameInfo, frames as usize)
    };
    free.add(boot_part().0, crate::boot::stack().0);
    Ok(Memory { free, holes, frame_table, ram_frames, m2p: (m2p, m2p_end) })
}

/// What a CPU needs of its own. Its stacks are each mapped above a page that is not.
pub struct CpuMemory {
    /// Machine address of page 14 of its GDT, cleared.
    pub descriptors: u64,
    /// Address of its gate page.
    pub gate: u64,
    /// Top of its stack.
    pub stack: u64,
    /// Tops of its exception stacks: the last 16 bytes of each.
    pub exception_stacks: [u64; 4],
}

/// The page of a CPU's window that holds its data and the stacks that guarded entries begin on.
const GATE: usize = 40;
/// First page of a CPU's stack, of those from [`layout::STACKS`] on, and the number of pages.
const STACK: (usize, usize) = (16, 16);
/// Bytes of a CPU's stack.
pub const STACK_SIZE: u64 = STACK.1 as u64 * PAGE;
/// First page of the first exception stack, distance to the next, and number of pages of each.
const EXCEPTION_STACKS: (usize, usize, usize) = (48, 4, 2);
/// Present, writable, accessed, dirty, global, not executable.
const DATA_PAGE: u64 = 1 << 63 | 0x163;

/// Maps the gate page of a CPU whose window is there; returns its address.
fn gate_page(memory: &mut Memory, cpu: CpuId) -> Result<u64, &'static str> {
    let frame = memory.free.take_cleared(PAGE, PAGE)?;
    window_entry(cpu, GATE).store(frame | DATA_PAGE, Ordering::Relaxed);
    Ok(crate::cpu::descriptors::window(cpu) + GATE as u64 * PAGE)
}

/// Makes window and stacks of a CPU.
///
/// # Errors
/// No memory.
pub fn prepare_cpu(memory: &mut Memory, cpu: CpuId) -> Result<CpuMemory, &'static str> {
    let mut map = tables::Tables::again(root(), &mut memory.free);
    let table = map.leaf_table(crate::cpu::descriptors::window(cpu))?;
    WINDOWS[cpu.index()].store(table, Ordering::Release);
    let stacks = layout::STACKS + cpu.index() as u64 * layout::DESCRIPTORS_STRIDE;
    let mut stack = |first: usize, pages: usize| {
        let end = map.pages(stacks + first as u64 * PAGE, pages, DATA_PAGE)?;
        Ok::<u64, &'static str>(end)
    };
    let top = stack(STACK.0, STACK.1)?;
    let mut exception_stacks = [0; 4];
    let (first, distance, pages) = EXCEPTION_STACKS;
    for (n, at) in exception_stacks.iter_mut().enumerate() {
        *at = stack(first + n * distance, pages)? - 16;
    }
    let descriptors = memory.free.take_cleared(PAGE, PAGE)?;
    let gate = gate_page(memory, cpu)?;
    Ok(CpuMemory { descriptors, gate, stack: top, exception_stacks })
}

/// Unmaps the boot stack, once CPU 0 has left it; returns its bounds, with the guard page: physical addresses.
pub fn give_up_boot_stack() -> (u64, u64) {
    let (start, end) = crate::boot::stack();
    tables::unmap_boot_stack(root());
    // SAFETY: S-01: the same root. It is loaded again to flush the stack's pages, which are not global.
    unsafe { load_root(root()) };
    (start, end)
}

/// A root that maps [`TRAMPOLINE`] at its own address too, and all that the hypervisor's own one does: its machine address.
///
/// # Errors
/// No memory.
pub fn trampoline_root(memory: &mut Memory) -> Result<u64, &'static str> {
    let mut map = tables::Tables::new(&mut memory.free)?;
    map.identity(TRAMPOLINE)?;
    for slot in layout::HYPERVISOR_SLOTS {
        direct::write(map.root(), slot, direct::read(root(), slot));
    }
    Ok(map.root())
}

/// Loads CR3.
///
/// # Safety
/// S-01: the table maps the hypervisor in its entries 256 to 271.
#[inline(always)]
pub unsafe fn load_root(root: u64) {
    // SAFETY: S-01: as the caller promises.
    unsafe { core::arch::asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) };
}

/// Machine address of the hypervisor's own root table.
#[inline(always)]
pub fn root() -> u64 {
    ROOT.load(Ordering::Relaxed)
}

/// Machine address of a page of zeroes.
pub fn zero_page() -> u64 {
    ZERO_PAGE.load(Ordering::Relaxed)
}

/// The page-table entry of a page in a CPU's descriptor window.
pub fn window_entry(cpu: CpuId, page: usize) -> &'static AtomicU64 {
    let table = WINDOWS[cpu.index()].load(Ordering::Relaxed);
    // SAFETY: S-07: a CPU's window table is there before the CPU runs and stays; `page` is below 512.
    unsafe { &*table.add(page & 511) }
}

/// Physical ranges in the direct map.
static DIRECT: spin::Once<Vec<(u64, u64)>> = spin::Once::new();

/// Whether all of a physical range is in the direct map.
pub fn is_direct(physical: u64, size: u64) -> bool {
    let end = physical.saturating_add(size);
    DIRECT.get().is_some_and(|all| all.iter().any(|&(start, stop)| start <= physical && end <= stop))
}

/// Maps registers of a device, uncached; returns their virtual address. The window holds 512 pages in all.
pub fn map_device(physical: u64, size: u64) -> Option<u64> {
    let first = physical & !(PAGE - 1);
    let pages = ((physical + size).next_multiple_of(PAGE) - first) / PAGE;
    let at = DEVICES_USED.fetch_add(pages as usize, Ordering::Relaxed);
    if at + pages as usize > 512 {
        return None;
    }
    /// Present, writable, uncached, not executable.
    const DEVICE_PAGE: u64 = 1 << 63 | 0x1b | 0x60;
    for page in 0..pages as usize {
        let table = DEVICES.load(Ordering::Relaxed);
        // SAFETY: S-13: the table of the device window has 512 entries, and this one was not in use.
        let entry = unsafe { &*table.add(at + page) };
        entry.store((first + page as u64 * PAGE) | DEVICE_PAGE, Ordering::Relaxed);
    }
    Some(layout::MMIO + at as u64 * PAGE + (physical - first))
}
