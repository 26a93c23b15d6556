//! The same names on a host, for tests: no hypervisor, so every hypercall answers `ENOSYS`; frames are ordinary memory.
//!
//! There are no events, so masking them does nothing; there is nothing to map, so every mapping is refused.

use super::SharedMem;
use abi::{
    errno::Errno,
    xen::{SharedInfo, StartInfo},
};
use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use core::ptr::NonNull;

/// Number of exception stubs.
pub const VECTORS: usize = 32;
/// Vector number that stands for the event callback.
pub const EVENT_VECTOR: u64 = 0x100;
/// Vector number that stands for the failsafe callback.
pub const FAILSAFE_VECTOR: u64 = 0x101;

/// Registers of interrupted code.
#[repr(C)]
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "register names")]
pub struct TrapFrame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub vector: u64,
    pub error_code: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// A mapping was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapError {
    /// Number of the frame at which it stopped.
    pub index: usize,
    /// Why.
    pub errno: Errno,
}

/// A page that stands for the one shared with the hypervisor.
#[repr(C, align(4096))]
struct Shared(core::cell::UnsafeCell<[u8; 4096]>);

// SAFETY: A-4: only reached through `SharedMem`.
unsafe impl Sync for Shared {}

static SHARED: Shared = Shared(core::cell::UnsafeCell::new([0; 4096]));

/// An empty `start_info`.
pub fn start_info() -> &'static StartInfo {
    static INFO: spin::Once<StartInfo> = spin::Once::new();
    INFO.call_once(StartInfo::default)
}

/// No command line.
pub fn command_line_bytes() -> &'static [u8] {
    &[]
}

/// No module.
pub fn module_bytes() -> Option<&'static [u8]> {
    None
}

/// CPUID leaves, all zero.
pub fn cpuid(_leaf: u32, _subleaf: u32) -> [u32; 4] {
    [0; 4]
}

/// No stack to walk.
pub fn back_trace(_frame: u64, _report: impl FnMut(u64)) {}

/// Refuses.
///
/// # Safety
/// Always safe here; the signature is that of bare metal.
pub unsafe fn raw_hypercall(_number: u64, _arguments: [u64; 5]) -> i64 {
    Errno::ENOSYS.as_ret()
}

pub(crate) fn call(_number: u64, _arguments: [u64; 5]) -> Result<u64, Errno> {
    Err(Errno::ENOSYS)
}

pub(crate) fn shared_info() -> SharedMem {
    let base = NonNull::from(&SHARED.0).cast();
    // SAFETY: A-4: a static that nobody refers to otherwise.
    unsafe { SharedMem::new(base, size_of::<SharedInfo>().min(4096)) }
}

pub(crate) fn vcpu_info() -> SharedMem {
    shared_info()
}

pub(crate) fn start_vcpu(_vcpu: usize, _run: extern "C" fn(usize) -> !) -> Result<(), Errno> {
    Err(Errno::ENOSYS)
}

pub(crate) fn events_disable() -> bool {
    false
}

pub(crate) fn events_enable() {}

pub(crate) fn events_masked() -> bool {
    false
}

pub(crate) fn block_unless(ready: &dyn Fn() -> bool) {
    assert!(ready(), "the last task waits, and on a host no event will come");
}

pub(crate) fn time_stamp() -> u64 {
    0
}

pub(crate) fn random_word() -> Option<u64> {
    None
}

pub(crate) fn vcpu_index() -> usize {
    0
}

pub(crate) fn breakpoint() {}

pub(crate) fn invalid_opcode() {}

/// Frames are numbered by their address.
pub fn pfn_to_machine(pfn: u64) -> u64 {
    pfn
}

/// Frames are numbered by their address.
pub fn machine_to_pfn(mfn: u64) -> Option<u64> {
    Some(mfn)
}

pub(crate) fn boot_page(_mfn: u64) -> Option<SharedMem> {
    None
}

fn layout(count: u64) -> Option<Layout> {
    Layout::from_size_align((count as usize).checked_mul(4096)?, 4096).ok().filter(|layout| layout.size() > 0)
}

pub(crate) fn take_frames(count: u64) -> Option<u64> {
    // SAFETY: the size is not zero.
    let base = unsafe { alloc_zeroed(layout(count)?) };
    NonNull::new(base).map(|base| base.as_ptr().expose_provenance() as u64 / 4096)
}

pub(crate) fn give_frames(pfn: u64, count: u64) {
    let base = core::ptr::with_exposed_provenance_mut::<u8>(pfn as usize * 4096);
    if let Some(layout) = layout(count) {
        // SAFETY: came from `take_frames` with the same count.
        unsafe { dealloc(base, layout) }
    }
}

pub(crate) fn free_frames() -> u64 {
    0
}

pub(crate) fn window_mem(address: u64, len: usize) -> SharedMem {
    let base = core::ptr::with_exposed_provenance_mut::<u8>(address as usize);
    let base = NonNull::new(base).expect("no window is at address 0");
    // SAFETY: A-4: frames taken by the caller.
    unsafe { SharedMem::new(base, len) }
}

pub(crate) fn direct_window(pfn: u64, count: u64) -> SharedMem {
    window_mem(pfn * 4096, count as usize * 4096)
}

pub(crate) fn frames_bytes<T>(_owner: &T, pfn: u64, count: u64) -> &[u8] {
    let base = core::ptr::with_exposed_provenance::<u8>(pfn as usize * 4096);
    // SAFETY: A-3: borrowed from the one owner.
    unsafe { core::slice::from_raw_parts(base, count as usize * 4096) }
}

pub(crate) fn frames_bytes_mut<T>(_owner: &mut T, pfn: u64, count: u64) -> &mut [u8] {
    let base = core::ptr::with_exposed_provenance_mut::<u8>(pfn as usize * 4096);
    // SAFETY: A-3: borrowed from the one owner.
    unsafe { core::slice::from_raw_parts_mut(base, count as usize * 4096) }
}

pub(crate) fn window_slot(_address: u64, _new_table: impl FnMut() -> Option<u64>) -> Result<u64, Errno> {
    Err(Errno::ENOSYS)
}

pub(crate) fn map_machine(
    _slots: &[u64],
    _frames: &[u64],
    _domain: u16,
    _writable: bool,
) -> Result<(), MapError> {
    Err(MapError { index: 0, errno: Errno::ENOSYS })
}

pub(crate) fn unmap_machine(_slots: &[u64], _address: u64) -> Result<(), Errno> {
    Ok(())
}

pub(crate) fn leave_shared_info() -> Result<(), Errno> {
    Err(Errno::ENOSYS)
}

pub(crate) fn enter_shared_info() -> Result<(), Errno> {
    Err(Errno::ENOSYS)
}

pub(crate) fn suspend() -> Result<bool, Errno> {
    Err(Errno::ENOSYS)
}

pub(crate) fn reload_start_info() {}

pub(crate) fn p2m_frames() -> impl Iterator<Item = crate::types::Pfn> {
    core::iter::empty()
}

/// Vector number that stands for a SYSCALL of user mode.
pub const SYSCALL_VECTOR: u64 = 0x102;

impl TrapFrame {
    /// Whether user mode was interrupted.
    pub const fn is_user(&self) -> bool {
        self.cs & 3 == 3
    }
}

pub(crate) fn set_machine_frame(pfn: u64, _mfn: u64) -> u64 {
    pfn
}

pub(crate) fn unmap_direct(_pfns: &[u64]) -> Result<(), Errno> {
    Ok(())
}

pub(crate) fn map_direct(_pfns: &[u64]) -> Result<(), Errno> {
    Ok(())
}

pub(crate) fn protect_direct(_pfns: &[u64], _writable: bool) -> Result<(), Errno> {
    Ok(())
}

pub(crate) fn prepare_table(pfn: u64) -> Result<(), Errno> {
    direct_window(pfn, 1).fill(0, 4096, 0);
    Ok(())
}

pub(crate) fn retire_table(_pfn: u64) -> Result<(), Errno> {
    Ok(())
}

pub(crate) fn pin_root(_pfn: u64) -> Result<(), Errno> {
    Ok(())
}

pub(crate) fn unpin_root(_pfn: u64) -> Result<(), Errno> {
    Ok(())
}

pub(crate) fn flush_all() -> Result<(), Errno> {
    Ok(())
}

/// Writes the entries as they are: on a host, tables are memory, so that what was asked for can be looked at.
pub(crate) fn write_entries(entries: &[crate::memory::layout::Entry]) -> Result<(), MapError> {
    for (table, index, target) in entries {
        let entry = target.map_or(0, |(pfn, flags)| pfn << 12 | flags);
        direct_window(*table, 1).store_u64(8 * index, entry);
    }
    Ok(())
}

/// A program's registers; it never runs here.
#[derive(Debug)]
pub(crate) struct UserContext {
    pub registers: TrapFrame,
    pub fault_address: u64,
    pub fs_base: u64,
    pub gs_base: u64,
}

impl UserContext {
    pub fn new(rip: u64, rsp: u64) -> Self {
        let registers = TrapFrame { rip, rsp, ..TrapFrame::default() };
        Self { registers, fault_address: 0, fs_base: 0, gs_base: 0 }
    }
}

pub(crate) fn enter_user(_context: &mut UserContext, _root: u64) -> Result<(), Errno> {
    Err(Errno::ENOSYS)
}

pub(crate) fn forget_user_root() {}

/// Nothing can be probed.
pub(crate) fn probe_read(_address: u64) -> Option<u64> {
    None
}

pub(crate) fn probe_write(_address: u64) -> bool {
    false
}

/// There are no page tables.
pub fn table_entry(_address: u64) -> Option<u64> {
    None
}
