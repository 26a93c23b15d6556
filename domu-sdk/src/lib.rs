//! What a Rust guest kernel links to run on Xen.
//!
//! # Start
//! A guest is a crate with one dependency and a main function:
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//! #![forbid(unsafe_code)]
//!
//! use domu_sdk::{println, time};
//!
//! #[domu_sdk::main]
//! async fn main() {
//!     println!("hello from {}", domu_sdk::start::command_line());
//!     time::sleep(core::time::Duration::from_secs(1)).await;
//! }
//! ```
//!
//! `cargo build --target x86_64-unknown-none` gives an ELF that runs unchanged on upstream Xen 4.17 and on xen-lite, as an
//! ordinary domain or as the first one. There is no build script and no linker flag: this crate brings the linker script.
//!
//! # Principles
//! 1. Guests are written without unsafe code. What is unsafe is in [`arch`], and nowhere else.
//! 2. Only the public ABI is used, and hypercalls are issued by SYSCALL, without a hypercall page.
//! 3. Memory that somebody else writes is never a Rust reference ([`memory::SharedMem`]).
//! 4. What is taken from the hypervisor (ports, grants, mappings) is owned by a value and given back when it is dropped.
//! 5. What needs no machine (rings, formats, page-table arithmetic, the executor) is tested on a host with `cargo test`.
//!
//! # Modules
//! | module | what |
//! |---|---|
//! | [`start`] | the way up, `start_info`, command line, module |
//! | [`console`] | `print!`, `println!`, input |
//! | [`memory`] | pages, shared pages, mapping frames of other domains |
//! | [`grant`] | granting frames and mapping granted ones |
//! | [`traps`] | exception handlers |
//! | [`user`] | programs in user mode |
//! | [`vcpu`] | several CPUs |
//! | [`events`] | event channels |
//! | [`executor`] | tasks |
//! | [`time`] | clock, sleeping, timeouts |
//! | [`sync`] | locks: those that event handlers may take, and those that sleep |
//! | [`ring`] | byte rings between domains |
//! | [`xenbus`] | devices: finding them, and their states |
//! | [`block`] | disks |
//! | `backend` | with the feature `backend`: serving disks to other domains |
//! | [`net`] | network interfaces, and TCP with the feature `net` |
//! | `virtio` | with the feature `virtio`: network cards and disks of the machine, for domain 0 |
//! | [`store`] | the store: values, watches, transactions |
//! | [`entropy`] | random bytes |
//! | [`shutdown`] | how a domain ends |
//! | [`suspend`] | standing still, being saved, and going on elsewhere |
//! | [`hypercall`] | every hypercall as a safe function |
//! | [`arch`] | entry code, traps, page tables: all unsafe code |
#![no_std]
#![deny(unsafe_code)]
#![cfg_attr(
    not(target_os = "none"),
    allow(dead_code, reason = "a host has no traps, events and page tables")
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[allow(unsafe_code, reason = "the one place for it; see its invariants")]
pub mod arch;
#[cfg(feature = "backend")]
pub mod backend;
pub mod block;
pub mod console;
pub mod entropy;
pub mod events;
pub mod executor;
pub mod grant;
pub mod hypercall;
mod logger;
pub mod memory;
pub mod net;
pub mod ring;
pub mod shutdown;
pub mod start;
pub mod store;
pub mod suspend;
pub mod sync;
pub mod time;
pub mod traps;
pub mod types;
pub mod user;
pub mod vcpu;
#[cfg(all(feature = "virtio", target_os = "none"))]
pub mod virtio;
pub mod xenbus;

/// The chapters of `docs/guide`, so that their code is compiled.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../../docs/guide/first-guest.md")]
    mod first_guest {}
    #[doc = include_str!("../../docs/guide/memory.md")]
    mod memory {}
    #[doc = include_str!("../../docs/guide/traps-and-user-mode.md")]
    mod traps_and_user_mode {}
    #[doc = include_str!("../../docs/guide/events-and-tasks.md")]
    mod events_and_tasks {}
    #[doc = include_str!("../../docs/guide/several-cpus.md")]
    mod several_cpus {}
    #[doc = include_str!("../../docs/guide/disks.md")]
    mod disks {}
    #[cfg(feature = "backend")]
    #[doc = include_str!("../../docs/guide/driver-domains.md")]
    mod driver_domains {}
    #[doc = include_str!("../../docs/guide/saving.md")]
    mod saving {}
    #[cfg(feature = "net")]
    #[doc = include_str!("../../docs/guide/network.md")]
    mod network {}
}

pub use abi;
pub use domu_sdk_macros::main;
pub use log;
pub use types::{DomId, GrantRef, Mfn, Pfn, Port};
