//! Segment selectors and bases of the running vCPU.
//!
//! While the hypervisor runs, the register that SWAPGS exchanges holds the guest's GS base. Data selectors of the guest stay
//! loaded: 64-bit code does not use them. Selectors that a guest chose may fault when they are loaded; then the null selector
//! is loaded in their place, and the guest hears of it through its failsafe callback.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

use xen_lite_core::domain::Selectors;
use xen_lite_core::platform::BaseOf;

use super::msr;
use super::percpu::PerCpu;
use crate::fixup;

/// Whether RDFSBASE and its kin may be used. Settled at boot.
pub(crate) static FSGSBASE: AtomicBool = AtomicBool::new(false);

/// Tells that CR4.FSGSBASE is set on all CPUs.
pub fn use_fsgsbase(there: bool) {
    FSGSBASE.store(there, Ordering::Relaxed);
}

/// The guest's FS or GS base as the CPU has it.
#[inline(always)]
pub fn base(of: BaseOf) -> u64 {
    if !FSGSBASE.load(Ordering::Relaxed) {
        return base_by_msr(of);
    }
    let value: u64;
    // SAFETY: S-04, S-08: the instructions are there; GS is the hypervisor's again afterwards, and interrupts are off.
    unsafe {
        match of {
            BaseOf::Fs => asm!("rdfsbase {}", out(reg) value, options(nomem, nostack, preserves_flags)),
            BaseOf::Gs => {
                asm!("swapgs", "rdgsbase {}", "swapgs", out(reg) value, options(nostack, preserves_flags));
            }
        }
    }
    value
}

/// Sets the guest's FS or GS base; the value is canonical.
#[inline(always)]
pub fn set_base(of: BaseOf, value: u64) {
    if !FSGSBASE.load(Ordering::Relaxed) {
        return set_base_by_msr(of, value);
    }
    // SAFETY: S-04, S-08: as above; the caller checked that the value is canonical.
    unsafe {
        match of {
            BaseOf::Fs => asm!("wrfsbase {}", in(reg) value, options(nostack, preserves_flags)),
            BaseOf::Gs => {
                asm!("swapgs", "wrgsbase {}", "swapgs", in(reg) value, options(nostack, preserves_flags));
            }
        }
    }
}

/// The MSR of a base of the guest's, while the hypervisor runs.
const fn msr_of(of: BaseOf) -> u32 {
    match of {
        BaseOf::Fs => msr::FS_BASE,
        BaseOf::Gs => msr::KERNEL_GS_BASE,
    }
}

#[cold]
#[inline(never)]
fn base_by_msr(of: BaseOf) -> u64 {
    // SAFETY: S-04: every CPU in 64-bit mode has these.
    unsafe { msr::read(msr_of(of)) }
}

#[cold]
#[inline(never)]
fn set_base_by_msr(of: BaseOf, value: u64) {
    // SAFETY: S-04: as above; the caller of `set_base` checked that the value is canonical.
    unsafe { msr::write(msr_of(of), value) };
}

/// Data selectors as they are loaded.
pub fn selectors() -> Selectors {
    let (ds, es, fs, gs): (u16, u16, u16, u16);
    // SAFETY: S-08: reading selectors has no effect.
    unsafe {
        asm!("mov {0:x}, ds", "mov {1:x}, es", "mov {2:x}, fs", "mov {3:x}, gs",
            out(reg) ds, out(reg) es, out(reg) fs, out(reg) gs, options(nomem, nostack, preserves_flags));
    }
    Selectors { ds, es, fs, gs }
}

macro_rules! loader {
    ($name:ident, $register:literal) => {
        fn $name(selector: u16) -> bool {
            // SAFETY: S-08: a selector that cannot be loaded lands in the label; null can.
            unsafe {
                asm!(concat!("2: mov ", $register, ", {0:x}"), fixup!("2", "{1}"), in(reg) selector,
                    label {
                        // SAFETY: S-08: null can be loaded.
                        unsafe { asm!(concat!("mov ", $register, ", {0:x}"), in(reg) 0u16, options(nostack, preserves_flags)) };
                        return false;
                    },
                    options(nostack, preserves_flags));
            }
            true
        }
    };
}

loader!(load_ds, "ds");
loader!(load_es, "es");
loader!(load_fs, "fs");
loader!(load_gs, "gs");

/// Loads the guest's GS selector, and with it the base of its descriptor; `false` when it cannot be loaded (GS is null then).
///
/// The handler of a load that faults finds the CPU's data through GS. So the selector is loaded while the base is the
/// hypervisor's, which a load that succeeds replaces at once, and put in order behind it.
fn load_guest_gs(selector: u16) -> bool {
    let own = core::ptr::from_ref(PerCpu::get()) as u64;
    let loaded = load_gs(selector);
    let found = exchange_gs_base(own);
    // Some CPUs keep the base when null is loaded; the guest must not get the hypervisor's.
    set_base(BaseOf::Gs, if found == own { 0 } else { found });
    loaded
}

/// Sets the GS base in use and returns the former one.
#[inline(always)]
fn exchange_gs_base(own: u64) -> u64 {
    let found: u64;
    // SAFETY: S-05, S-08: the hypervisor's GS base comes back; nothing touches memory through GS before.
    unsafe {
        if FSGSBASE.load(Ordering::Relaxed) {
            asm!("rdgsbase {0}", "wrgsbase {1}", out(reg) found, in(reg) own, options(nostack, preserves_flags));
        } else {
            found = msr::read(msr::GS_BASE);
            msr::write(msr::GS_BASE, own);
        }
    }
    found
}

/// Loads the GS selector and keeps the base in use; returns the base of its descriptor (`Platform::load_gs_selector`).
pub fn load_gs_selector(selector: u16) -> Option<u64> {
    let kept = base(BaseOf::Gs);
    let loaded = load_guest_gs(selector);
    let found = base(BaseOf::Gs);
    set_base(BaseOf::Gs, kept);
    // A null selector has no descriptor; what it leaves in the base differs from CPU to CPU.
    loaded.then_some(if selector & !3 == 0 { 0 } else { found })
}

/// Loads selectors where they differ from those loaded, then both bases. `false` when one could not be loaded.
pub fn load(new: &Selectors, fs_base: u64, gs_base: u64) -> bool {
    let old = selectors();
    let mut all = true;
    if old.ds | new.ds > 3 {
        all &= load_ds(new.ds);
    }
    if old.es | new.es > 3 {
        all &= load_es(new.es);
    }
    if old.fs | new.fs > 3 {
        all &= load_fs(new.fs);
    }
    if old.gs | new.gs > 3 {
        all &= load_guest_gs(new.gs);
    }
    set_base(BaseOf::Fs, fs_base);
    set_base(BaseOf::Gs, gs_base);
    all
}
