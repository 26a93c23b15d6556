//! The hypercalls, one module each, as functions that safe code may call.
//!
//! Every function returns what the hypervisor answered: `Ok` with the outputs, `Err` with the error number. Addresses are
//! never parameters: buffers come as slices and references. What could break this domain's own memory (its page tables, its
//! grants) is not here but behind types that own what they change, in [`crate::memory`] and [`crate::grant`].

pub mod console_io;
pub mod domctl;
pub mod event_channel;
pub mod grant;
pub mod hvm;
pub mod memory;
pub mod mmu;
pub mod multicall;
pub mod physdev;
pub mod platform;
pub mod sched;
pub mod sysctl;
pub mod timer;
pub mod vcpu;
pub mod version;

use crate::arch;
use abi::errno::Errno;

/// What a hypercall answers.
pub type Result<T = ()> = core::result::Result<T, Errno>;

#[cfg(feature = "count")]
static COUNT: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);

/// Hypercalls since the start, with the feature `count`: exact with one vCPU, and a little low with several that call at the same moment.
#[cfg(feature = "count")]
pub fn count() -> u64 {
    COUNT.load(core::sync::atomic::Ordering::Relaxed)
}

/// Counts one.
#[cfg(feature = "count")]
pub(crate) fn counted() {
    // One instruction, and not a locked one.
    COUNT.store(count() + 1, core::sync::atomic::Ordering::Relaxed);
}

/// The address of an input.
fn input<T: ?Sized>(value: &T) -> u64 {
    core::ptr::from_ref(value).cast::<u8>().expose_provenance() as u64
}

/// The address of something the hypervisor fills in or changes.
fn output<T: ?Sized>(value: &mut T) -> u64 {
    core::ptr::from_mut(value).cast::<u8>().expose_provenance() as u64
}

/// Issues a call with two arguments, the usual shape: operation and pointer.
fn op(number: u64, operation: u32, argument: u64) -> Result<u64> {
    arch::call(number, [u64::from(operation), argument, 0, 0, 0])
}
