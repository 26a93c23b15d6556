//! What the loader put into memory: the image itself, `start_info`, the module, the boot stack.

use abi::xen::{SIF_MOD_START_PFN, StartInfo};
use core::ops::Range;
use spin::Once;

static START_INFO: Once<StartInfo> = Once::new();

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
    START_INFO.call_once(|| unsafe { start_info.read() });
}

/// What the loader told about the domain; a copy.
pub fn start_info() -> &'static StartInfo {
    START_INFO.get().expect("start_info is kept before anything else runs")
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
