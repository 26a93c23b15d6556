//! Supervisor-mode access prevention: with CR4.SMAP the hypervisor faults when it touches memory of guests, unless it says
//! before (STAC) that it means to, and after (CLAC) that it is done.
//!
//! Where the CPU has it, the two instructions stand around the copies of [`crate::guest_copy`], and CLAC stands at the ways in
//! that leave AC as the guest had it ([`crate::entry`]). Elsewhere they would be invalid, so the image has no-operations of
//! the same length there, and a table of the places: [`install`] writes the instructions before anything else runs.
//!
//! QEMU's translator, before version 8, counts what a far return or IRET of ring 3 reads from its own stack as an access of ring 0.
//! With SMAP on, such an instruction of a guest faults. So there SMAP is used only if the command line says so.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

use xen_lite_core::cmdline::CpuFeatureUse;

/// An assembly line that becomes STAC (`"0xcb"`) or CLAC (`"0xca"`). Its label is 9.
#[macro_export]
macro_rules! smap_site {
    ($code:literal) => {
        concat!(
            "9: .byte 0x0f, 0x1f, 0x00\n",
            ".pushsection .smap_sites, \"a\", @progbits\n.balign 4\n.long 9b - ., ",
            $code,
            "\n.popsection"
        )
    };
}

/// The assembly macro `CLAC` for the ways in, to be purged behind them.
#[macro_export]
macro_rules! clac_macro {
    () => {
        concat!("\n.macro CLAC\n", $crate::smap_site!("0xca"), "\n.endm\n")
    };
}

static USED: AtomicBool = AtomicBool::new(false);

/// Whether CR4.SMAP is set on all CPUs.
pub fn is_used() -> bool {
    USED.load(Ordering::Relaxed)
}

/// Whether to use SMAP on a CPU that has it, or not.
pub fn wanted(has: bool, option: Option<CpuFeatureUse>) -> bool {
    has && option.map_or_else(|| !is_qemu_translator(), |choice| choice == CpuFeatureUse::On)
}

/// The name that QEMU's translator gives in the leaf for hypervisors.
fn is_qemu_translator() -> bool {
    const HYPERVISOR: u32 = 1 << 31;
    let cpuid = core::arch::x86_64::__cpuid;
    let name = cpuid(0x4000_0000);
    cpuid(1).ecx & HYPERVISOR != 0
        && [name.ebx, name.ecx, name.edx]
            == [u32::from_le_bytes(*b"TCGT"), u32::from_le_bytes(*b"CGTC"), u32::from_le_bytes(*b"GTCG")]
}

/// Writes STAC and CLAC where they belong.
///
/// # Safety
/// S-19: the code is still mapped writable, no other CPU runs, the CPU has SMAP, and no copy is under way.
pub unsafe fn install() {
    unsafe extern "C" {
        static __smap_sites_start: [i32; 2];
        static __smap_sites_end: [i32; 2];
    }
    let (start, end) = (&raw const __smap_sites_start, &raw const __smap_sites_end);
    let count = (end as usize - start as usize) / size_of::<[i32; 2]>();
    // SAFETY: S-19: the linker put the table there, whole entries, read-only.
    let table = unsafe { core::slice::from_raw_parts(start, count) };
    for entry in table {
        let at = (&raw const *entry as u64).wrapping_add_signed(i64::from(entry[0])) as *mut u8;
        for (index, byte) in [0x0f, 0x01, entry[1] as u8].into_iter().enumerate() {
            // SAFETY: S-19: three bytes of code, mapped writable, which nobody executes now.
            unsafe { at.add(index).write_volatile(byte) };
        }
    }
    // What the CPU fetched before is forgotten.
    core::arch::x86_64::__cpuid(0);
    USED.store(true, Ordering::Relaxed);
}

/// Lets the hypervisor touch memory of guests.
#[inline(always)]
pub fn open() {
    // SAFETY: S-03: no memory is touched; the accesses between here and `close` are checked.
    unsafe { asm!(smap_site!("0xcb"), options(nostack)) };
}

/// Ends what [`open`] began.
#[inline(always)]
pub fn close() {
    // SAFETY: S-03: no memory is touched.
    unsafe { asm!(smap_site!("0xca"), options(nostack)) };
}
