//! Page tables of a PV guest.
//!
//! The guest owns its tables but may not write them: the hypervisor checks every entry. Three ways are used here:
//! * a frame that is not a table yet is filled like any memory, made read-only, and *becomes* a table when an entry of a
//!   table above names it: the whole direct map takes one hypercall that way;
//! * `update_va_mapping` writes the level-1 entry of an address of the current tables;
//! * `mmu_update` writes entries by their machine address, and may name another domain as the owner of the mapped frames.
//!
//! # Start
//! The loader maps the image, the module, the P2M, `start_info`, its own page tables and the boot stack from
//! [`IMAGE_BASE`] on, and at least 512 KiB behind. [`init_memory`] unmaps what is behind the boot stack (those frames are
//! free), builds the tables of the direct map in the first free frames, reached one after the other through a scratch page,
//! and hooks them into the top-level table. From then on every frame has its address in the direct map.
//!
//! # Invariants
//! Table frames are read-only in the direct map, at the latest before they are hooked. Tables are never freed.

use super::{HomePage, SharedMem, call, image};
use crate::memory::layout::{
    DIRECT_BASE, DirectMapPlan, ENTRIES, Entry, IMAGE_BASE, IMAGE_FIRST_PFN, PAGE_SIZE, entry_frame, pte,
    table_index,
};
use abi::{
    errno::Errno,
    memory::{MachphysMapping, XENMEM_MACHPHYS_MAPPING},
    xen::{
        DOMID_SELF, MACH2PHYS_VIRT_START, MMUEXT_PIN_L4_TABLE, MMUEXT_TLB_FLUSH_ALL, MMUEXT_UNPIN_TABLE,
        MmuUpdate, MmuextOp, SIF_INITDOMAIN, StartInfoDomU, UVMF_ALL, UVMF_INVLPG, UVMF_TLB_FLUSH, hypercall,
    },
};
use core::{
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

/// Requests per `mmu_update`.
const BATCH: usize = 64;

/// Through this page of the image the start code fills frames that are not mapped yet.
static SCRATCH: HomePage = HomePage::new();

/// The highest machine frame that the machine-to-physical table covers.
static MAX_MACHINE: AtomicU64 = AtomicU64::new(0);

/// First frame that only the direct map maps; 0 as long as there is no direct map.
static DIRECT_FROM: AtomicU64 = AtomicU64::new(0);

/// A mapping was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapError {
    /// Number of the frame, counted from 0, at which it stopped. Nothing stays mapped.
    pub index: usize,
    /// Why.
    pub errno: Errno,
}

/// Machine frame of one of the domain's frames, `u64::MAX` if it has none.
pub fn pfn_to_machine(pfn: u64) -> u64 {
    p2m_slot(pfn).load(Ordering::Acquire)
}

fn p2m_slot(pfn: u64) -> &'static AtomicU64 {
    let info = image::start_info();
    assert!(pfn < info.nr_pages, "frame {pfn:#x} is not one of the domain's {:#x}", info.nr_pages);
    let slot = core::ptr::with_exposed_provenance_mut::<u64>((info.mfn_list + pfn * 8) as usize);
    // SAFETY: A-3: the loader mapped one word per frame there, and only this function touches them.
    unsafe { AtomicU64::from_ptr(slot) }
}

/// The frame of this domain that has machine frame `mfn`, if it is one of this domain's.
pub fn machine_to_pfn(mfn: u64) -> Option<u64> {
    if mfn > max_machine() {
        return None;
    }
    let slot = core::ptr::with_exposed_provenance::<u64>((MACH2PHYS_VIRT_START + mfn * 8) as usize);
    // SAFETY: the hypervisor maps its table readable for every guest, up to the limit just checked.
    let pfn = unsafe { slot.read_volatile() };
    (pfn < image::start_info().nr_pages && pfn_to_machine(pfn) == mfn).then_some(pfn)
}

fn max_machine() -> u64 {
    let known = MAX_MACHINE.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    let mut mapping = MachphysMapping::default();
    let arguments =
        [u64::from(XENMEM_MACHPHYS_MAPPING), (&raw mut mapping).expose_provenance() as u64, 0, 0, 0];
    let max = call(hypercall::MEMORY_OP, arguments).map_or(0, |_| mapping.max_mfn);
    MAX_MACHINE.store(max, Ordering::Relaxed);
    max
}

/// Forgets what was asked about the machine: it may be another one.
pub(super) fn forget_machine() {
    MAX_MACHINE.store(0, Ordering::Relaxed);
}

/// Address at which a frame that the loader mapped can be read.
fn boot_address(pfn: u64) -> u64 {
    IMAGE_BASE + pfn * PAGE_SIZE as u64
}

fn direct_address(pfn: u64) -> u64 {
    DIRECT_BASE + pfn * PAGE_SIZE as u64
}

/// Reads entry `index` of the page table in machine frame `table`.
fn read_entry(table: u64, index: usize) -> Option<u64> {
    let pfn = machine_to_pfn(table)?;
    let from = DIRECT_FROM.load(Ordering::Acquire);
    let boot = from == 0 || (IMAGE_FIRST_PFN..from).contains(&pfn);
    let base = if boot { boot_address(pfn) } else { direct_address(pfn) };
    let slot = core::ptr::with_exposed_provenance::<u64>((base + 8 * index as u64) as usize);
    // SAFETY: a page table of this domain is mapped: by the loader, or by the direct map.
    Some(unsafe { slot.read_volatile() })
}

/// Machine frame of the top-level table.
pub(super) fn root() -> u64 {
    pfn_to_machine((image::start_info().pt_base - IMAGE_BASE) / PAGE_SIZE as u64)
}

/// The level-1 entry that maps `address`; `None` if a table above is missing.
pub fn table_entry(address: u64) -> Option<u64> {
    let mut table = root();
    for level in [4, 3, 2] {
        let entry = read_entry(table, table_index(address, level))?;
        if entry & pte::PRESENT == 0 {
            return None;
        }
        table = entry_frame(entry);
    }
    read_entry(table, table_index(address, 1))
}

fn set_entry(address: u64, entry: u64, flush: u64) -> Result<(), Errno> {
    call(hypercall::UPDATE_VA_MAPPING, [address, entry, flush, 0, 0]).map(|_| ())
}

fn frame_entry(pfn: u64, flags: u64) -> u64 {
    pfn_to_machine(pfn) << 12 | flags
}

/// First frame behind the boot stack.
fn first_free() -> u64 {
    let info = image::start_info();
    (info.pt_base - IMAGE_BASE) / PAGE_SIZE as u64 + info.nr_pt_frames + 1
}

/// Builds the direct map. Called once, before there is a heap.
///
/// Returns the ranges of frames that are free afterwards.
pub(crate) fn init_memory() -> Result<[core::ops::Range<u64>; 2], &'static str> {
    let info = image::start_info();
    let first = first_free();
    let table = (info.pt_base - IMAGE_BASE) / PAGE_SIZE as u64;
    let plan = DirectMapPlan::new(info.nr_pages, first, (table, table + info.nr_pt_frames))
        .ok_or("the domain's memory is too small or too large for a direct map")?;
    unmap_slack(first).map_err(|_| "unmapping the memory behind the boot stack was refused")?;
    fill_tables(&plan).map_err(|_| "filling the page tables of the direct map was refused")?;
    let slot = (root() << 12) + 8 * table_index(DIRECT_BASE, 4) as u64;
    update(&[MmuUpdate { ptr: slot, val: frame_entry(plan.root(), pte::TABLE) }], DOMID_SELF)
        .map_err(|_| "hooking the direct map was refused")?;
    DIRECT_FROM.store(first, Ordering::Release);
    Ok([0..IMAGE_FIRST_PFN, plan.end()..info.nr_pages])
}

/// Whether a frame is the console's or the store's page. Loaders put them before the page tables, but nothing says so.
pub(crate) fn is_ring_page(pfn: u64) -> bool {
    let info = image::start_info();
    let console = if info.flags & SIF_INITDOMAIN == 0 { info.console.get::<StartInfoDomU>().mfn } else { 0 };
    let mfn = pfn_to_machine(pfn);
    (mfn == console && console != 0) || (mfn == info.store_mfn && info.store_mfn != 0)
}

fn unmap_slack(first: u64) -> Result<(), Errno> {
    let mut pfn = first;
    while pfn < image::start_info().nr_pages
        && table_entry(boot_address(pfn)).is_some_and(|entry| entry & pte::PRESENT != 0)
    {
        if !is_ring_page(pfn) {
            set_entry(boot_address(pfn), 0, 0)?;
        }
        pfn += 1;
    }
    // The frames below the image are free as well; as a page table none may stay mapped writable here.
    for pfn in 0..IMAGE_FIRST_PFN {
        set_entry(boot_address(pfn), 0, 0)?;
    }
    set_entry(SCRATCH.address(), 0, UVMF_TLB_FLUSH)
}

fn fill_tables(plan: &DirectMapPlan) -> Result<(), Errno> {
    for table in 0..plan.total() {
        let entry = frame_entry(plan.first + table, pte::READ_WRITE);
        set_entry(SCRATCH.address(), entry, UVMF_INVLPG)?;
        let words = SCRATCH.base().cast::<u64>();
        for index in 0..ENTRIES {
            let entry = plan.entry(table, index).map_or(0, |(pfn, flags)| match pfn_to_machine(pfn) {
                u64::MAX => 0,
                mfn => mfn << 12 | flags,
            });
            // SAFETY: the scratch page maps a free frame writable; 512 words fit.
            unsafe { words.add(index).write_volatile(entry) };
        }
    }
    set_entry(SCRATCH.address(), 0, UVMF_INVLPG)
}

/// Sends page-table updates; `domain` owns the frames that the new entries map.
fn update(requests: &[MmuUpdate], domain: u16) -> Result<(), (usize, Errno)> {
    let mut done: u32 = 0;
    let arguments = [
        requests.as_ptr().expose_provenance() as u64,
        requests.len() as u64,
        (&raw mut done).expose_provenance() as u64,
        u64::from(domain),
        0,
    ];
    match call(hypercall::MMU_UPDATE, arguments) {
        Ok(_) => Ok(()),
        // SAFETY: `done` is a live local; volatile because the hypervisor wrote it.
        Err(errno) => Err((unsafe { (&raw const done).read_volatile() } as usize, errno)),
    }
}

/// Where the level-1 entry of a window address is: the frame of its table, numbered as the domain does, and the offset there. Missing
/// tables are made. It stays right when the domain is restored elsewhere.
pub(crate) fn window_slot(address: u64, mut new_table: impl FnMut() -> Option<u64>) -> Result<u64, Errno> {
    let mut table = root();
    for level in [4, 3, 2] {
        let index = table_index(address, level);
        let mut entry = read_entry(table, index).ok_or(Errno::EFAULT)?;
        if entry & pte::PRESENT == 0 {
            let pfn = new_table().ok_or(Errno::ENOMEM)?;
            entry = hook_new_table(pfn, (table << 12) + 8 * index as u64)?;
        }
        table = entry_frame(entry);
    }
    let table = machine_to_pfn(table).ok_or(Errno::EFAULT)?;
    Ok((table << 12) + 8 * table_index(address, 1) as u64)
}

/// The machine address of an entry that [`window_slot`] found.
fn slot_machine(slot: u64) -> u64 {
    pfn_to_machine(slot >> 12) << 12 | slot & 0xfff
}

/// Makes a frame fit to become a page table: empty, and nowhere writable.
pub(crate) fn prepare_table(pfn: u64) -> Result<(), Errno> {
    direct_window(pfn, 1).fill(0, PAGE_SIZE, 0);
    set_entry(direct_address(pfn), frame_entry(pfn, pte::READ_ONLY), UVMF_INVLPG | UVMF_ALL)
}

/// Makes a frame ordinary memory again that is a page table no longer.
pub(crate) fn retire_table(pfn: u64) -> Result<(), Errno> {
    set_entry(direct_address(pfn), frame_entry(pfn, pte::READ_WRITE), 0)
}

/// Has a prepared frame validated as a top-level table, and kept one until it is unpinned.
pub(crate) fn pin_root(pfn: u64) -> Result<(), Errno> {
    extended(MMUEXT_PIN_L4_TABLE, pfn_to_machine(pfn))
}

/// Lets a top-level table, and all tables that only it names, be ordinary frames again.
pub(crate) fn unpin_root(pfn: u64) -> Result<(), Errno> {
    extended(MMUEXT_UNPIN_TABLE, pfn_to_machine(pfn))
}

/// Flushes the TLBs of all vCPUs of this domain.
pub(crate) fn flush_all() -> Result<(), Errno> {
    extended(MMUEXT_TLB_FLUSH_ALL, 0)
}

fn extended(command: u32, mfn: u64) -> Result<(), Errno> {
    let mut argument = MmuextOp { cmd: command, ..MmuextOp::default() };
    argument.set_mfn(mfn);
    let pointer = (&raw const argument).expose_provenance() as u64;
    call(hypercall::MMUEXT_OP, [pointer, 1, 0, u64::from(DOMID_SELF), 0]).map(|_| ())
}

/// Writes entries of page tables that are not part of the kernel's own address space: table, index, and what the entry maps (one of this
/// domain's frames, with flags), or nothing. Returns how many were written before one was refused.
pub(crate) fn write_entries(entries: &[Entry]) -> Result<(), MapError> {
    for (number, chunk) in entries.chunks(BATCH).enumerate() {
        let mut batch = [MmuUpdate { ptr: 0, val: 0 }; BATCH];
        for (request, (table, index, target)) in batch.iter_mut().zip(chunk) {
            request.ptr = (pfn_to_machine(*table) << 12) + 8 * *index as u64;
            request.val = target.map_or(0, |(pfn, flags)| frame_entry(pfn, flags));
        }
        update(&batch[..chunk.len()], DOMID_SELF)
            .map_err(|(done, errno)| MapError { index: number * BATCH + done, errno })?;
    }
    Ok(())
}

/// Notes which machine frame is behind one of the domain's, `u64::MAX` for none; returns what was noted before.
pub(crate) fn set_machine_frame(pfn: u64, mfn: u64) -> u64 {
    p2m_slot(pfn).swap(mfn, Ordering::AcqRel)
}

/// Takes frames out of the direct map, whose owner gives them back to the hypervisor.
pub(crate) fn unmap_direct(pfns: &[u64]) -> Result<(), Errno> {
    write_direct(pfns, |_| 0)?;
    flush_all()
}

/// Puts frames into the direct map that were not there.
pub(crate) fn map_direct(pfns: &[u64]) -> Result<(), Errno> {
    write_direct(pfns, |pfn| frame_entry(pfn, pte::READ_WRITE))
}

/// Lets frames be written through the direct map, or not. The caller sees to it that TLBs are flushed.
pub(crate) fn protect_direct(pfns: &[u64], writable: bool) -> Result<(), Errno> {
    let flags = if writable { pte::READ_WRITE } else { pte::READ_ONLY };
    write_direct(pfns, |pfn| frame_entry(pfn, flags))
}

fn write_direct(pfns: &[u64], entry: impl Fn(u64) -> u64) -> Result<(), Errno> {
    for pfns in pfns.chunks(BATCH) {
        let mut batch = [MmuUpdate { ptr: 0, val: 0 }; BATCH];
        for (request, &pfn) in batch.iter_mut().zip(pfns) {
            let slot = window_slot(direct_address(pfn), || None)?;
            *request = MmuUpdate { ptr: slot_machine(slot), val: entry(pfn) };
        }
        update(&batch[..pfns.len()], DOMID_SELF).map_err(|(_, errno)| errno)?;
    }
    Ok(())
}

fn hook_new_table(pfn: u64, slot: u64) -> Result<u64, Errno> {
    prepare_table(pfn)?;
    let entry = frame_entry(pfn, pte::TABLE);
    update(&[MmuUpdate { ptr: slot, val: entry }], DOMID_SELF).map_err(|(_, errno)| errno)?;
    Ok(entry)
}

/// Writes entries for consecutive pages: `slots` says where each level-1 entry is ([`window_slot`]), `frames` what to map.
pub(crate) fn map_machine(
    slots: &[u64],
    frames: &[u64],
    domain: u16,
    writable: bool,
) -> Result<(), MapError> {
    let flags = if writable { pte::READ_WRITE } else { pte::READ_ONLY };
    let mut done = 0;
    for (slots, frames) in slots.chunks(BATCH).zip(frames.chunks(BATCH)) {
        let mut batch = [MmuUpdate { ptr: 0, val: 0 }; BATCH];
        for ((request, slot), frame) in batch.iter_mut().zip(slots).zip(frames) {
            *request = MmuUpdate { ptr: slot_machine(*slot), val: frame << 12 | flags };
        }
        update(&batch[..frames.len()], domain)
            .map_err(|(index, errno)| MapError { index: done + index, errno })?;
        done += frames.len();
    }
    Ok(())
}

/// Clears entries and flushes the TLB.
pub(crate) fn unmap_machine(slots: &[u64], address: u64) -> Result<(), Errno> {
    for slots in slots.chunks(BATCH) {
        let mut batch = [MmuUpdate { ptr: 0, val: 0 }; BATCH];
        for (request, slot) in batch.iter_mut().zip(slots) {
            *request = MmuUpdate { ptr: slot_machine(*slot), val: 0 };
        }
        update(&batch[..slots.len()], DOMID_SELF).map_err(|(_, errno)| errno)?;
    }
    // Entry by entry the tables are right; this one more write of an empty entry carries the flush.
    set_entry(address, 0, UVMF_TLB_FLUSH | UVMF_ALL)
}

/// Gives text, read-only data and relocated data the permissions they are linked with, and everything but text no-execute.
///
/// The image's frames stay reachable through the direct map; there text and read-only data become read-only as well.
pub(crate) fn protect_image() -> Result<(), Errno> {
    let [text, rodata, relocated, data] = image::segments();
    let read_execute = pte::PRESENT | pte::USER | pte::ACCESSED;
    for (range, flags) in
        [(text, read_execute), (rodata, pte::READ_ONLY), (relocated, pte::READ_ONLY), (data, pte::READ_WRITE)]
    {
        for address in range.step_by(PAGE_SIZE) {
            let Some(entry) = table_entry(address).filter(|entry| entry & pte::PRESENT != 0) else {
                continue;
            };
            let frame = entry & pte::FRAME_MASK;
            set_entry(address, frame | flags, 0)?;
            let pfn = (address - IMAGE_BASE) / PAGE_SIZE as u64;
            if flags & pte::WRITABLE == 0 {
                set_entry(direct_address(pfn), frame_entry(pfn, pte::READ_ONLY), 0)?;
            }
        }
    }
    set_entry(SCRATCH.address(), 0, UVMF_TLB_FLUSH | UVMF_ALL)
}

/// The direct map's window over `count` frames from `pfn`, which the caller owns or shares with somebody.
pub(crate) fn direct_window(pfn: u64, count: u64) -> SharedMem {
    window_mem(direct_address(pfn), count as usize * PAGE_SIZE)
}

/// A window over mapped memory at `address`.
pub(crate) fn window_mem(address: u64, len: usize) -> SharedMem {
    let base = core::ptr::with_exposed_provenance_mut::<u8>(address as usize);
    let base = NonNull::new(base).expect("no window is at address 0");
    // SAFETY: the crate's callers pass addresses of the direct map or of windows they mapped and own.
    unsafe { SharedMem::new(base, len) }
}

/// A page that the loader mapped and others write, such as the console ring, by its machine frame. Works from the first
/// instruction on.
pub(crate) fn boot_page(mfn: u64) -> Option<SharedMem> {
    let pfn = machine_to_pfn(mfn)?;
    Some(window_mem(boot_address(pfn), PAGE_SIZE))
}

/// Frames taken out of use for ever, as words of memory.
pub(crate) fn leak_frames(pfn: u64, count: u64) -> &'static mut [u64] {
    let base = core::ptr::with_exposed_provenance_mut::<u64>(direct_address(pfn) as usize);
    let words = count as usize * PAGE_SIZE / 8;
    // SAFETY: the frames are mapped, and the caller took them out of the free set for this.
    unsafe { core::slice::from_raw_parts_mut(base, words) }
}

/// Bytes of frames that the caller owns alone.
pub(crate) fn own_frames(pfn: u64, count: u64) -> (NonNull<u8>, usize) {
    let base = core::ptr::with_exposed_provenance_mut::<u8>(direct_address(pfn) as usize);
    (NonNull::new(base).expect("the direct map is not at address 0"), count as usize * PAGE_SIZE)
}

/// Bytes of frames that `owner` owns alone.
pub(crate) fn frames_bytes<T>(_owner: &T, pfn: u64, count: u64) -> &[u8] {
    let (base, len) = own_frames(pfn, count);
    // SAFETY: mapped, and borrowed from the one owner for as long as the reference lives.
    unsafe { core::slice::from_raw_parts(base.as_ptr(), len) }
}

/// Bytes of frames that `owner` owns alone, to be changed.
pub(crate) fn frames_bytes_mut<T>(_owner: &mut T, pfn: u64, count: u64) -> &mut [u8] {
    let (base, len) = own_frames(pfn, count);
    // SAFETY: mapped, and borrowed from the one owner for as long as the reference lives.
    unsafe { core::slice::from_raw_parts_mut(base.as_ptr(), len) }
}
