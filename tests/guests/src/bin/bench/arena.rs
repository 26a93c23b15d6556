//! Memory for the measurements: pages that nobody else uses and that are never given back.

use super::machine::{call, peek, poke};
use domu_sdk::{
    abi::xen::{UVMF_INVLPG, hypercall::UPDATE_VA_MAPPING},
    arch::{machine_to_pfn, pfn_to_machine},
    memory::{
        Pages,
        layout::{DIRECT_BASE, entry_frame, pte, table_index},
    },
    start,
};

/// A run of pages: the address of the first, in the direct map, and their machine frames.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// Address of the first page.
    pub base: u64,
    pfn: u64,
}

impl Block {
    /// Takes zeroed pages, for ever.
    pub fn take(count: usize) -> Self {
        let pages = Pages::new(count).expect("the bench needs more memory");
        let pfn = pages.pfn(0).0;
        core::mem::forget(pages);
        Self { base: DIRECT_BASE + (pfn << 12), pfn }
    }

    /// Address of page `index`.
    pub fn page(self, index: u64) -> u64 {
        self.base + (index << 12)
    }

    /// The guest's number of page `index`.
    pub fn pfn(self, index: u64) -> u64 {
        self.pfn + index
    }

    /// Machine frame that page `index` had at the start.
    pub fn mfn(self, index: u64) -> u64 {
        pfn_to_machine(self.pfn + index)
    }

    /// A page-table entry for page `index`.
    pub fn entry(self, index: u64, flags: u64) -> u64 {
        self.mfn(index) << 12 | flags
    }

    /// Makes page `index` read-only, so that it may become a page table.
    pub fn seal(self, index: u64) {
        let result = remap(self.page(index), self.entry(index, pte::READ_ONLY));
        assert!(result == 0, "a page cannot be made read-only: {result}");
    }

    /// Writes word `index` of the block.
    pub fn set(self, index: u64, value: u64) {
        poke(self.base + 8 * index, value);
    }
}

/// Gives an address another page-table entry.
pub fn remap(address: u64, entry: u64) -> i64 {
    call(UPDATE_VA_MAPPING, [address, entry, UVMF_INVLPG, 0, 0])
}

/// Machine frame of the top-level table.
pub fn root() -> u64 {
    let info = start::info();
    pfn_to_machine((info.pt_base - domu_sdk::memory::layout::IMAGE_BASE) >> 12)
}

/// Where the level-1 entry of an address of the direct map is: its address (read-only) and its machine address.
pub fn slot(address: u64) -> (u64, u64) {
    let mut table = start::info().pt_base;
    let mut frame = 0;
    for level in [4, 3, 2] {
        frame = entry_frame(peek(table + 8 * table_index(address, level) as u64));
        let pfn = machine_to_pfn(frame).expect("tables of the direct map are the domain's");
        table = DIRECT_BASE + (pfn << 12);
    }
    let offset = 8 * table_index(address, 1) as u64;
    (table + offset, (frame << 12) + offset)
}

/// A top-level table with the same content as the current one, pinned.
pub fn second_root() -> u64 {
    use domu_sdk::abi::xen::{MMUEXT_PIN_L4_TABLE, MmuextOp, hypercall::MMUEXT_OP};
    let page = Block::take(1);
    let own = start::info().pt_base;
    for index in (0..512).filter(|index| !(256..272).contains(index)) {
        page.set(index, peek(own + 8 * index));
    }
    page.seal(0);
    let mut pin = MmuextOp { cmd: MMUEXT_PIN_L4_TABLE, ..Default::default() };
    pin.set_mfn(page.mfn(0));
    let result = call(MMUEXT_OP, [super::machine::address(&mut pin), 1, 0, 0x7ff0, 0]);
    assert!(result == 0, "a second root is refused: {result}");
    page.mfn(0)
}
