//! The memory that the fuzzer may spoil: 2 MiB of addresses with the L1 table that maps them, and the frames behind.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::mem::offset_of;
use core::ops::Range;

use domu_sdk::abi::grant_table::{GNTTABOP_SETUP_TABLE, GnttabSetupTable};
use domu_sdk::abi::memory::{MemoryReservation, XENMEM_POPULATE_PHYSMAP};
use domu_sdk::abi::xen::{DOMID_SELF, MMUEXT_UNPIN_TABLE, MmuextOp, VcpuInfo, VcpuTimeInfo, hypercall};
use domu_sdk::memory::layout::{DIRECT_BASE, IMAGE_BASE, entry_frame, pte, table_index};
use domu_sdk::memory::{self, Pages};
use domu_sdk::types::{Mfn, Pfn};
use domu_sdk::{hypercall as calls, start};
use fuzz_grammar::{SCRATCH, Source};

use crate::call;

/// Pages of the sandbox that are used.
const USED: usize = 48;
/// Frames of it that are tried as tables.
const TABLES: usize = 6;
/// Pages that one L1 table maps.
const PER_TABLE: u64 = 512;
/// Words of `struct vcpu_time_info`; the first holds the version, the last the scale.
const CLOCK_WORDS: usize = size_of::<VcpuTimeInfo>() / 8;
/// Flush that one page: `UVMF_INVLPG | UVMF_LOCAL`.
const FLUSH: u64 = 2;

/// The sandbox.
pub struct Sandbox {
    /// Frames that calls may name: its own, and some that are nobody's business.
    pub named: Vec<u64>,
    /// Frames of page tables: the sandbox's L1, this guest's root, and frames that may become tables.
    pub tables: Vec<u64>,
    /// Addresses whose mappings may change.
    pub pages: Vec<u64>,
    /// All addresses of the sandbox.
    pub range: Range<u64>,
    /// This guest's root.
    pub root: u64,
    /// Number of frames of the machine.
    pub end: u64,
    /// Frames behind the used pages.
    frames: Vec<u64>,
    l1: u64,
    /// A page, and one behind it that is not mapped.
    scratch: Pages,
    grants: u64,
    clock: Option<Clock>,
    own: Box<[u64]>,
}

/// This vCPU's clock in the page that is shared with the hypervisor, and what it was at the start.
struct Clock {
    address: u64,
    words: [u64; CLOCK_WORDS],
}

fn read(address: u64) -> u64 {
    // SAFETY: every frame of the guest is in the direct map, and so are its page tables; `map_clock` mapped the page that it reads.
    unsafe { core::ptr::with_exposed_provenance::<u64>(address as usize).read_volatile() }
}

/// The table of `level` that maps `address`: its machine frame.
fn table_of(root: u64, address: u64, level: u32) -> Option<u64> {
    let mut table = root;
    for above in (level + 1..=4).rev() {
        let pfn = memory::domain_frame(Mfn(table))?;
        table = entry_frame(read(DIRECT_BASE + pfn.0 * 4096 + 8 * table_index(address, above) as u64));
    }
    Some(table)
}

impl Sandbox {
    /// Takes the memory.
    pub fn new() -> Option<Sandbox> {
        let pages = Pages::new(2 * PER_TABLE as usize - 1)?;
        let first = pages.pfn(0).0.next_multiple_of(PER_TABLE);
        core::mem::forget(pages);
        let start = DIRECT_BASE + first * 4096;
        let root = memory::machine_frame(Pfn((start::info().pt_base - IMAGE_BASE) / 4096))?.0;
        let l1 = table_of(root, start, 1)?;
        let frames: Vec<u64> =
            (0..USED as u64).map(|n| memory::machine_frame(Pfn(first + n)).map_or(0, |m| m.0)).collect();
        let end = calls::memory::maximum_ram_page().map_or(0x2_0000, |mfn| mfn.0 + 1);
        let mut own = vec![0_u64; end.div_ceil(64) as usize].into_boxed_slice();
        for pfn in 0..start::info().nr_pages {
            let Some(mfn) = memory::machine_frame(Pfn(pfn)) else { continue };
            if !(first..first + PER_TABLE).contains(&pfn) && mfn.0 != l1 && mfn.0 < end {
                own[mfn.0 as usize / 64] |= 1 << (mfn.0 % 64);
            }
        }
        let mut sandbox = Sandbox {
            named: Vec::new(),
            tables: Vec::new(),
            pages: (0..USED as u64 + 16).map(|n| start + n * 4096).collect(),
            range: start..start + PER_TABLE * 4096,
            root,
            end,
            frames,
            l1,
            scratch: Pages::new(2)?,
            grants: 0,
            clock: None,
            own,
        };
        // A list that is longer than the page must not run over into what lies behind it.
        call(hypercall::UPDATE_VA_MAPPING, [sandbox.scratch() + 4096, 0, FLUSH, 0, 0]);
        sandbox.grants = sandbox.map_grant_table().unwrap_or(0);
        sandbox.clock = sandbox.map_clock();
        sandbox.list();
        Some(sandbox)
    }

    /// Whether a frame is this guest's and not part of the sandbox.
    pub fn is_own(&self, mfn: u64) -> bool {
        self.own.get((mfn / 64) as usize).is_some_and(|word| word >> (mfn % 64) & 1 != 0)
    }

    /// Address of the L1 entry of the page `n`, in the direct map.
    pub fn entry_address(&self, n: u64) -> Option<u64> {
        Some(DIRECT_BASE + memory::domain_frame(Mfn(self.l1))?.0 * 4096 + 8 * (n % PER_TABLE))
    }

    /// One of its frames.
    pub fn frame(&self, n: u64) -> u64 {
        self.frames[n as usize % USED]
    }

    /// Address of the scratch page.
    pub fn scratch(&self) -> u64 {
        self.scratch.as_ptr().expose_provenance() as u64
    }

    /// Fills the scratch page.
    pub fn fill_scratch(&mut self, bytes: &[u8; SCRATCH]) {
        self.scratch[..SCRATCH].copy_from_slice(bytes);
    }

    fn list(&mut self) {
        self.named.clone_from(&self.frames);
        self.named.extend([
            start::info().shared_info >> 12,
            0x100,
            0x1000,
            self.end - 16,
            self.root,
            self.l1,
        ]);
        // What is this guest's own is not named: the rules would refuse it each time.
        let own = &self.own;
        self.named.retain(|mfn| own.get((mfn / 64) as usize).is_none_or(|word| word >> (mfn % 64) & 1 == 0));
        self.tables = vec![self.l1, self.l1, self.l1, self.root];
        self.tables.extend_from_slice(&self.frames[..TABLES]);
    }

    fn map_grant_table(&self) -> Option<u64> {
        let mut list = Box::new([0_u64; 4]);
        let mut request = GnttabSetupTable {
            dom: DOMID_SELF,
            nr_frames: 1,
            frame_list: domu_sdk::abi::GuestPtr::new(list.as_mut_ptr().expose_provenance() as u64),
            ..GnttabSetupTable::default()
        };
        let at = (&raw mut request).expose_provenance() as u64;
        call(hypercall::GRANT_TABLE_OP, [GNTTABOP_SETUP_TABLE.into(), at, 1, 0, 0]);
        // SAFETY: the hypervisor wrote it behind the compiler's back.
        let mfn = unsafe { list.as_ptr().read_volatile() };
        if mfn == 0 { None } else { self.map_beside(mfn) }
    }

    fn map_clock(&self) -> Option<Clock> {
        let page = self.map_beside(start::info().shared_info >> 12)?;
        let address = page + offset_of!(VcpuInfo, time) as u64;
        Some(Clock { address, words: core::array::from_fn(|n| read(address + 8 * n as u64)) })
    }

    /// Maps a frame that the hypervisor shares, outside of the sandbox; returns the address.
    fn map_beside(&self, mfn: u64) -> Option<u64> {
        let page = Pages::new(1)?;
        let address = page.as_ptr().expose_provenance() as u64;
        core::mem::forget(page);
        self.map(address, mfn).then_some(address)
    }

    /// Makes this guest's clock readable again. A call may copy any page onto the shared one, which is the guest's good right; a version
    /// that stays odd means "wait" for ever.
    pub fn mend_clock(&self) {
        let Some(Clock { address, words }) = &self.clock else { return };
        let last = CLOCK_WORDS - 1;
        if read(*address) & 1 == 0 && read(address + 8 * last as u64) == words[last] {
            return;
        }
        for (n, word) in words.iter().enumerate() {
            let at = core::ptr::with_exposed_provenance_mut::<u64>(*address as usize + 8 * n);
            // SAFETY: the page is mapped for this, and the hypervisor reads nothing of it that concerns others.
            unsafe { at.write_volatile(*word) };
        }
    }

    /// Grants something to somebody.
    pub fn write_grant(&self, source: &mut impl Source) {
        if self.grants == 0 {
            return;
        }
        let reference = 16 + source.below(32);
        let flags = [1, 5, 1, 0, 2, 9, 3][source.below(7) as usize];
        let frame =
            if source.once_in(8) { source.below(self.end) } else { self.frame(source.below(USED as u64)) };
        let entry = flags | source.below(5) << 16 | frame << 32;
        let at = core::ptr::with_exposed_provenance_mut::<u64>((self.grants + 8 * reference) as usize);
        // SAFETY: the page is the grant table; the kit uses entries below 16 only as long as nothing is granted.
        unsafe { at.write_volatile(entry) };
    }

    /// Puts everything in order: tables are unpinned, every used page maps its frame again, lost frames are replaced.
    pub fn settle(&mut self) {
        for n in 0..USED {
            self.unpin(self.frames[n]);
        }
        for n in 0..PER_TABLE {
            call(hypercall::UPDATE_VA_MAPPING, [self.range.start + n * 4096, 0, 0, 0, 0]);
        }
        for n in 0..USED {
            let address = self.pages[n];
            if !self.map(address, self.frames[n])
                && let Some(new) = populate()
            {
                self.frames[n] = new;
                self.map(address, new);
            }
            if memory::probe_write(address) {
                let page = core::ptr::with_exposed_provenance_mut::<u64>(address as usize);
                // SAFETY: the page is the sandbox's, mapped just now, and was found to be writable.
                (0..512).for_each(|word| unsafe { page.add(word).write_volatile(0) });
            }
        }
        self.list();
    }

    fn map(&self, address: u64, mfn: u64) -> bool {
        call(hypercall::UPDATE_VA_MAPPING, [address, mfn << 12 | pte::READ_WRITE, FLUSH, 0, 0]) == 0
    }

    fn unpin(&self, mfn: u64) {
        let mut request = MmuextOp { cmd: MMUEXT_UNPIN_TABLE, ..MmuextOp::default() };
        request.set_mfn(mfn);
        let at = core::ptr::from_ref(&request).expose_provenance() as u64;
        call(hypercall::MMUEXT_OP, [at, 1, 0, DOMID_SELF.into(), 0]);
    }
}

/// A new frame from the hypervisor.
fn populate() -> Option<u64> {
    let mut frame = Box::new(u64::MAX >> 16);
    let request = MemoryReservation {
        extent_start: domu_sdk::abi::GuestPtr::new((&raw mut *frame).expose_provenance() as u64),
        nr_extents: 1,
        domid: DOMID_SELF,
        ..MemoryReservation::default()
    };
    let at = core::ptr::from_ref(&request).expose_provenance() as u64;
    let got = call(hypercall::MEMORY_OP, [XENMEM_POPULATE_PHYSMAP.into(), at, 0, 0, 0]);
    // SAFETY: the hypervisor wrote it behind the compiler's back.
    (got == 1).then(|| unsafe { core::ptr::from_ref(&*frame).read_volatile() })
}
