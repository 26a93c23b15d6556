//! Pages of the kernel under another protection.

use crate::{Answer, at, call};
use domu_sdk::abi::xen::{UVMF_INVLPG, hypercall};
use domu_sdk::memory::Pages;
use domu_sdk::memory::layout::pte;

/// Takes zeroed frames. Panics if there are none.
pub fn take(count: usize) -> Pages {
    Pages::new(count).expect("the domain has free frames")
}

/// Address of page `index`.
pub fn address(pages: &Pages, index: usize) -> u64 {
    at(&pages[..]) + 4096 * index as u64
}

/// Maps page `index` with other flags at its own address.
pub fn protect(pages: &Pages, index: usize, flags: u64) -> Answer {
    let entry = pages.mfn(index).0 << 12 | flags;
    call(hypercall::UPDATE_VA_MAPPING, [address(pages, index), entry, UVMF_INVLPG, 0, 0])
}

/// Makes page `index` read-only.
pub fn read_only(pages: &Pages, index: usize) -> Answer {
    protect(pages, index, pte::READ_ONLY)
}

/// Makes page `index` writable.
pub fn writable(pages: &Pages, index: usize) -> Answer {
    protect(pages, index, pte::READ_WRITE)
}

/// Words of page `index`.
pub fn set_word(pages: &mut Pages, index: usize, word: usize, value: u64) {
    let first = 4096 * index + 8 * word;
    pages[first..first + 8].copy_from_slice(&value.to_le_bytes());
}
