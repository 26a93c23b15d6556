//! Heap, pages, second mappings, and what must not be writable.

use crate::{Check, OK, ensure, equal, step};
use alloc::{sync::Arc, vec::Vec};
use domu_sdk::{
    abi::errno::Errno,
    memory::{
        self, Alias, Pages, SharedPages,
        foreign::Mapping,
        layout::{DIRECT_BASE, IMAGE_BASE},
    },
    start,
    types::{DomId, Pfn},
};

pub fn heap() -> Check {
    let mut numbers: Vec<u64> = Vec::new();
    for number in 0..300_000 {
        numbers.push(number);
    }
    ensure(
        numbers.iter().enumerate().all(|(at, &number)| at as u64 == number),
        "a large vector lost its contents",
    )?;
    let small: Vec<_> = (0..2_000_usize).map(|size| alloc::vec![size as u8; size % 97]).collect();
    let intact = small.iter().enumerate().all(|(at, block)| block.iter().all(|&byte| byte == at as u8));
    ensure(intact, "small blocks overlap")?;
    OK
}

pub fn pages() -> Check {
    let before = memory::usage().free;
    {
        let mut pages = Pages::new(100).ok_or("no run of 100 pages")?;
        ensure(pages.iter().all(|&byte| byte == 0), "fresh pages are not zero")?;
        pages.fill(0xa5);
        equal("free pages", memory::usage().free, before - 100)?;
        let frame = memory::machine_frame(pages.pfn(99)).ok_or("the last page has no machine frame")?;
        equal("machine-to-physical entry", memory::domain_frame(frame), Some(pages.pfn(99)))?;
    }
    equal("free pages after dropping", memory::usage().free, before)?;
    OK
}

pub fn remap() -> Check {
    let pages = Arc::new(SharedPages::new(2).ok_or("no pages")?);
    pages.store_u64(0, 11);
    pages.store_u64(4096, 22);
    let address = {
        let alias = step("mapping", Alias::new(&pages, &[1, 0, 1], true))?;
        equal("pages of the alias", alias.pages(), 3)?;
        equal("first word", alias.load_u64(0), 22)?;
        equal("second word", alias.load_u64(4096), 11)?;
        alias.store_u64(8192, 33);
        equal("word through the first address", pages.load_u64(4096), 33)?;
        alias.address() as u64
    };
    equal("reading after unmapping", memory::probe(address), None)?;
    let alias = step("mapping read-only", Alias::new(&pages, &[0], false))?;
    ensure(!memory::probe_write(alias.address() as u64), "a read-only mapping can be written")?;
    equal("reading it", memory::probe(alias.address() as u64), Some(11))?;
    OK
}

/// Page tables, code and read-only data are not writable, at either address.
pub fn protection() -> Check {
    let tables = start::info().pt_base;
    ensure(!memory::probe_write(tables), "the top-level page table can be written")?;
    let frame = (tables - IMAGE_BASE) / 4096;
    ensure(
        !memory::probe_write(DIRECT_BASE + frame * 4096),
        "the top-level page table can be written in the direct map",
    )?;
    let code = protection as *const () as u64;
    ensure(memory::probe(code & !7).is_some(), "code cannot be read")?;
    ensure(!memory::probe_write(code), "code can be written")?;
    ensure(!memory::probe_write(DIRECT_BASE + (code - IMAGE_BASE)), "code can be written in the direct map")?;
    let constant = "constant".as_ptr().addr() as u64;
    ensure(!memory::probe_write(constant), "read-only data can be written")?;
    OK
}

/// Frames of this domain are not to be had as foreign ones.
pub fn own_frames() -> Check {
    let own = memory::machine_frame(Pfn(1)).ok_or("frame 1 has no machine frame")?;
    let refused = Mapping::read_write(DomId::SELF, &[own]).err().map(|error| error.errno);
    equal("mapping an own frame as foreign", refused, Some(Errno::EINVAL))?;
    OK
}
