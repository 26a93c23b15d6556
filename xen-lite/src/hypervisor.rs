//! The one [`Hypervisor`] of the machine.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

use xen_lite_core::Hypervisor;

use crate::platform::Machine;

struct Global(UnsafeCell<MaybeUninit<Hypervisor<Machine>>>);

// SAFETY: S-17: written once, before it is read.
unsafe impl Sync for Global {}

static GLOBAL: Global = Global(UnsafeCell::new(MaybeUninit::uninit()));
static READY: AtomicBool = AtomicBool::new(false);

/// Puts it in place; once, by the first CPU, before any guest or other CPU runs.
pub fn install(hypervisor: Hypervisor<Machine>) {
    assert!(!READY.load(Ordering::Relaxed), "the hypervisor is in place already");
    // SAFETY: S-17: nobody reads it before READY, and this is the only write.
    unsafe { (*GLOBAL.0.get()).write(hypervisor) };
    READY.store(true, Ordering::Release);
}

/// The hypervisor. Only for code that runs after boot has put it in place.
#[inline(always)]
pub fn hv() -> &'static Hypervisor<Machine> {
    debug_assert!(READY.load(Ordering::Acquire));
    // SAFETY: S-17: guests, interrupts and other CPUs start after it was put in place.
    unsafe { (*GLOBAL.0.get()).assume_init_ref() }
}

/// The hypervisor, if it is in place.
pub fn try_hv() -> Option<&'static Hypervisor<Machine>> {
    READY.load(Ordering::Acquire).then(hv)
}
