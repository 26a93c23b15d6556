//! A second mapping of the page that the domain shares with the hypervisor.

use crate::{at, call};
use core::cell::UnsafeCell;
use core::mem::offset_of;
use domu_sdk::abi::xen::{SharedInfo, UVMF_INVLPG, VcpuInfo, hypercall};
use domu_sdk::{memory::layout::pte, start};

#[repr(align(4096))]
struct Window(UnsafeCell<[u8; 4096]>);

// SAFETY: only reached through the volatile accesses of this module.
unsafe impl Sync for Window {}

static WINDOW: Window = Window(UnsafeCell::new([0; 4096]));

/// Maps the page. Panics if the hypervisor refuses.
pub fn map() {
    let entry = start::info().shared_info & pte::FRAME_MASK | pte::READ_WRITE;
    let answer = call(hypercall::UPDATE_VA_MAPPING, [at(&WINDOW), entry, UVMF_INVLPG, 0, 0]);
    assert!(answer.0 == 0, "mapping the shared page: {answer}");
}

/// The page, laid out as [`SharedInfo`]; only for volatile accesses.
pub fn info() -> *mut SharedInfo {
    WINDOW.0.get().cast()
}

/// The first vCPU's part of the page, as long as it was not moved.
pub fn vcpu_info() -> *mut VcpuInfo {
    info().cast()
}

/// Whether events are masked on the first vCPU.
pub fn mask() -> u8 {
    // SAFETY: the page is mapped, and everybody makes single accesses.
    unsafe { info().cast::<u8>().add(offset_of!(VcpuInfo, evtchn_upcall_mask)).read_volatile() }
}

/// Masks (1) or unmasks (0) events on the first vCPU, without delivering any.
pub fn set_mask(mask: u8) {
    // SAFETY: as above.
    unsafe { info().cast::<u8>().add(offset_of!(VcpuInfo, evtchn_upcall_mask)).write_volatile(mask) }
}
