//! The hypervisor as a library: everything that xen-lite decides, and nothing that touches the machine.
//!
//! Principles:
//!
//! 1. **No unsafe, no statics.** All state hangs off one [`Hypervisor`]; the machine is reached through [`platform::Platform`],
//!    so the same code runs in ring 0 and under `cargo test`.
//! 2. **Every guest argument is an allegation.** A shim in [`hypercall`] copies it in once, by value, and checks it.
//! 3. **Shim is not operation.** Only [`hypercall`] knows the public structures; [`event`], [`grant`], [`frame`], [`mm`] and
//!    [`control`] know states and rules.
//! 4. **Consequences are a return value.** An operation that wakes, kicks, reschedules or flushes says so in its
//!    [`effects::Effects`]; the image carries them out with no lock held.
//! 5. **Failure ladder.** An errno, or the end of the calling domain, or (only where going on would leak or escalate) a panic.
//!
//! Module map: [`addr`] numbers with types · [`platform`] the machine's interface · [`fail`], [`effects`] results · [`room`] memory that can be refused ·
//! [`frame`] owners, counts and types of machine frames · [`mm`] page tables and reservations · [`event`] · [`grant`] ·
//! [`domain`] domains and vCPUs · [`sched`] · [`time`] · [`hypercall`] table and shims · [`control`] what a toolstack asks ·
//! [`emulate`] privileged instructions · [`trap`] delivery of exceptions into guests · [`build`] the first domain ·
//! [`speculation`] what CPUs leak, and what is done · [`cmdline`] options · [`console`] the log.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "test-util"))]
extern crate std;

pub mod access;
pub mod addr;
pub mod domain;
pub mod effects;
pub mod fail;
pub mod hypervisor;
pub mod platform;
pub mod room;
pub mod sync;

pub use hypervisor::Hypervisor;

pub mod build;
pub mod cmdline;
pub mod console;
pub mod control;
#[cfg(test)]
mod effort;
pub mod emulate;
pub mod event;
pub mod frame;
pub mod grant;
pub mod hypercall;
pub mod mm;
pub mod sched;
pub mod speculation;
pub mod time;
pub mod trap;
#[cfg(any(test, feature = "test-util"))]
pub mod world;
