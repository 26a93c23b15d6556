//! Frames to try page-table operations on, and raw hypercalls, for the areas about memory.
//!
//! A [`Frame`] belongs to the kernel and is mapped at its address in the direct map. [`Frame::table`] takes the writable mapping away, so
//! that the frame may become a page table. Rows must not show machine frame numbers, which differ from run to run: [`flags`] leaves
//! them out of an entry.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use domu_sdk::abi::xen::MACH2PHYS_VIRT_START;

pub use crate::{Answer, call};
use domu_sdk::abi::xen::{DOMID_SELF, MmuUpdate, MmuextOp, hypercall};
use domu_sdk::memory::Pages;
use domu_sdk::memory::layout::{DIRECT_BASE, IMAGE_BASE, pte};
use domu_sdk::types::Pfn;
use domu_sdk::{memory, start};

/// Bits of an entry that are not the frame.
pub const FLAGS: u64 = !pte::FRAME_MASK;
/// This domain, where a number is wanted.
pub const SELF: u64 = DOMID_SELF as u64;

/// Prints a row whose name is any value, and whose value is a format with arguments.
#[macro_export]
macro_rules! put {
    ($name:expr, $($value:tt)*) => {
        $crate::print_row(format_args!("{}", $name), &format_args!($($value)*))
    };
}

/// The flags of an entry.
pub struct Entry(pub u64);

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0 & FLAGS)
    }
}

/// The address of a value that the hypervisor may change.
pub fn at<T: ?Sized>(value: &mut T) -> u64 {
    core::ptr::from_mut(value).cast::<u8>().expose_provenance() as u64
}

/// The address of a value that the hypervisor reads.
pub fn of<T: ?Sized>(value: &T) -> u64 {
    core::ptr::from_ref(value).cast::<u8>().expose_provenance() as u64
}

/// A frame of this domain, zeroed and writable at first.
#[derive(Debug)]
pub struct Frame {
    /// Its machine frame number.
    pub mfn: u64,
    /// Its address in the direct map.
    pub va: u64,
    /// Its number in the domain.
    pub pfn: u64,
}

impl Default for Frame {
    fn default() -> Self {
        Self::new()
    }
}

impl Frame {
    /// A frame, never given back.
    pub fn new() -> Frame {
        let Some(pages) = Pages::new(1) else { panic!("no memory for a frame") };
        let (mfn, pfn) = (pages.mfn(0).0, pages.pfn(0).0);
        core::mem::forget(pages);
        Frame { mfn, pfn, va: DIRECT_BASE + pfn * 4096 }
    }

    /// A frame without a writable mapping.
    pub fn table() -> Frame {
        let frame = Frame::new();
        frame.read_only();
        frame
    }

    /// An entry for it.
    pub fn entry(&self, flags: u64) -> u64 {
        self.mfn << 12 | flags
    }

    /// The machine address of word `index`.
    pub fn slot(&self, index: u64) -> u64 {
        (self.mfn << 12) + 8 * index
    }

    /// Reads word `index`.
    pub fn read(&self, index: u64) -> u64 {
        let word = core::ptr::with_exposed_provenance::<u64>((self.va + 8 * index) as usize);
        // SAFETY: the direct map has the frame, at least readable.
        unsafe { word.read_volatile() }
    }

    /// Writes word `index`; the frame must be writable.
    pub fn write(&self, index: u64, value: u64) {
        let word = core::ptr::with_exposed_provenance_mut::<u64>((self.va + 8 * index) as usize);
        // SAFETY: the frame was taken for ever, and nothing of Rust lives in it.
        unsafe { word.write_volatile(value) }
    }

    /// Maps it read-only in the direct map.
    pub fn read_only(&self) -> Answer {
        call(hypercall::UPDATE_VA_MAPPING, [self.va, self.entry(pte::READ_ONLY), 2, 0, 0])
    }

    /// Maps it writable in the direct map.
    pub fn writable(&self) -> Answer {
        call(hypercall::UPDATE_VA_MAPPING, [self.va, self.entry(pte::READ_WRITE), 2, 0, 0])
    }

    /// Removes it from the direct map.
    pub fn unmap(&self) -> Answer {
        call(hypercall::UPDATE_VA_MAPPING, [self.va, 0, 2, 0, 0])
    }
}

/// One request of `mmu_update` for this domain.
pub fn update(ptr: u64, val: u64) -> Answer {
    update_as(ptr, val, SELF)
}

/// One request of `mmu_update` with `domain` as fourth argument.
pub fn update_as(ptr: u64, val: u64, domain: u64) -> Answer {
    let request = MmuUpdate { ptr, val };
    call(hypercall::MMU_UPDATE, [of(&request), 1, 0, domain, 0])
}

/// One request of `mmuext_op` for this domain.
pub fn extended(cmd: u32, arg1: u64, arg2: u64) -> Answer {
    extended_as(cmd, arg1, arg2, SELF)
}

/// One request of `mmuext_op` with `domain` as fourth argument.
pub fn extended_as(cmd: u32, arg1: u64, arg2: u64, domain: u64) -> Answer {
    let request = request(cmd, arg1, arg2);
    call(hypercall::MMUEXT_OP, [of(&request), 1, 0, domain, 0])
}

/// A request of `mmuext_op`.
pub fn request(cmd: u32, arg1: u64, arg2: u64) -> MmuextOp {
    let mut request = MmuextOp { cmd, ..MmuextOp::default() };
    request.set_mfn(arg1);
    request.set_src_mfn(arg2);
    request
}

/// Pins a table of `level` 1 to 4.
pub fn pin(level: u64, mfn: u64) -> Answer {
    extended(level as u32 - 1, mfn, 0)
}

/// Unpins a table.
pub fn unpin(mfn: u64) -> Answer {
    extended(4, mfn, 0)
}

/// Machine frame of the table that is the root now.
pub fn root() -> u64 {
    memory::machine_frame(Pfn((start::info().pt_base - IMAGE_BASE) / 4096)).map_or(0, |mfn| mfn.0)
}

/// This domain's own number, as its CPUID tells; upstream's first domain is 0.
pub fn own_id() -> u64 {
    start::domain_id().map_or(0, |id| u64::from(id.0))
}

/// A machine frame that is RAM but not this domain's: of the hypervisor, or of nobody.
pub fn foreign() -> u64 {
    static FOUND: AtomicU64 = AtomicU64::new(0);
    if FOUND.load(Ordering::Relaxed) == 0 {
        FOUND.store(find_foreign(), Ordering::Relaxed);
    }
    FOUND.load(Ordering::Relaxed)
}

/// Looks for a frame that has a number in another domain, as those do that another domain owns. The first domain, alone in the machine, takes one
/// that has none; its own shared pages have none either, so they are left out.
fn find_foreign() -> u64 {
    let end = domu_sdk::hypercall::memory::maximum_ram_page().map_or(0x2000, |mfn| mfn.0);
    let not_ours = |mfn: &u64| memory::domain_frame(domu_sdk::Mfn(*mfn)).is_none();
    let number = |mfn: u64| memory::probe(MACH2PHYS_VIRT_START + mfn * 8).unwrap_or(u64::MAX);
    let mut others = (0x100..end).filter(not_ours).filter(|mfn| *mfn != start::info().shared_info >> 12);
    let owned = others.clone().find(|mfn| number(*mfn) < end);
    let first = others.next().unwrap_or(0);
    if start::is_privileged() { first } else { owned.unwrap_or(first) }
}
