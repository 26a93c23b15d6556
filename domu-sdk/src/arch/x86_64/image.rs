//! What the loader put into memory: the image itself, `start_info`, the module, the boot stack.

use crate::memory::layout::{IMAGE_BASE, PAGE_SIZE};
use abi::xen::{SIF_MOD_START_PFN, StartInfo};
use alloc::boxed::Box;
use core::{
    ops::Range,
    ptr::null_mut,
    sync::atomic::{AtomicPtr, AtomicU64, Ordering},
};
use spin::Once;

/// The copy that was made at the start.
static FIRST: Once<StartInfo> = Once::new();
/// The newest copy: that one, or one made after the domain was restored. Copies stay for ever.
static NEWEST: AtomicPtr<StartInfo> = AtomicPtr::new(null_mut());
/// Frame of the page.
static FRAME: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" {
    static boot_stack: u8;
    static boot_stack_top: u8;
    static __image_start: u8;
    static __rodata_start: u8;
    static __relro_start: u8;
    static __data_start: u8;
    static __image_end: u8;
}

/// Keeps a copy of `start_info`.
///
/// # Safety
/// `start_info` is the address that the loader passed, and the page is as the loader left it.
pub(super) unsafe fn set_start_info(start_info: *const StartInfo) {
    // SAFETY: the caller's promise.
    let first = FIRST.call_once(|| unsafe { start_info.read() });
    FRAME.store((start_info.addr() as u64 - IMAGE_BASE) / PAGE_SIZE as u64, Ordering::Relaxed);
    NEWEST.store(core::ptr::from_ref(first).cast_mut(), Ordering::Release);
}

/// What the loader told about the domain, or who restored it; a copy.
pub fn start_info() -> &'static StartInfo {
    let newest = NEWEST.load(Ordering::Acquire);
    assert!(!newest.is_null(), "start_info is kept before anything else runs");
    // SAFETY: only addresses of values that stay for ever, and that nobody changes, are stored there.
    unsafe { &*newest }
}

/// The frame in which `start_info` is.
pub(super) fn start_info_frame() -> u64 {
    FRAME.load(Ordering::Relaxed)
}

/// Has [`start_info`] tell something else from now on.
pub(super) fn replace_start_info(info: StartInfo) {
    NEWEST.store(Box::into_raw(Box::new(info)), Ordering::Release);
}

/// Bytes of the command line, up to its zero.
pub fn command_line_bytes() -> &'static [u8] {
    let line = &start_info().cmd_line;
    let end = line.iter().position(|&byte| byte == 0).unwrap_or(line.len());
    &line[..end]
}

/// The module (initial RAM disk) that came with the kernel, if there is one.
pub fn module_bytes() -> Option<&'static [u8]> {
    let info = start_info();
    if info.mod_start == 0 || info.mod_len == 0 || info.flags & SIF_MOD_START_PFN != 0 {
        return None;
    }
    let start = core::ptr::with_exposed_provenance::<u8>(info.mod_start as usize);
    // SAFETY: A-3: the loader mapped the module into the boot area, which nothing else uses or changes.
    Some(unsafe { core::slice::from_raw_parts(start, info.mod_len as usize) })
}

/// Addresses of the boot vCPU's stack.
pub(super) fn stack() -> Range<u64> {
    (&raw const boot_stack).addr() as u64..(&raw const boot_stack_top).addr() as u64
}

/// Address ranges of the image: text, read-only data, data that is read-only once relocated, writable data.
pub(super) fn segments() -> [Range<u64>; 4] {
    let edges = [
        (&raw const __image_start).addr() as u64,
        (&raw const __rodata_start).addr() as u64,
        (&raw const __relro_start).addr() as u64,
        (&raw const __data_start).addr() as u64,
        (&raw const __image_end).addr() as u64,
    ];
    core::array::from_fn(|i| edges[i]..edges[i + 1])
}
