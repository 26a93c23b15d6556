//! The control domain's logic: toolstack, xenstore, consoles, shell.
//!
//! # Principles
//! 1. No unsafe code and no I/O here: the machine is behind one trait, [`hypervisor::Hypervisor`], pages that others write are behind
//!    [`page::SharedPage`]. So whole sessions run under `cargo test` on a fake machine, with the guests' page tables checked.
//! 2. Guests are hostile: every index and length from a shared page is checked once, what they can make Dom0 remember is
//!    bounded, what they print cannot drive the terminal.
//! 3. One thread, one place to wait ([`session`]): everything that has news is served in rounds.
//! 4. Whoever reads the output is told what to type next; an error names what, where, which value.
//!
//! # Modules
//! | module | what |
//! |---|---|
//! | [`hypervisor`] | what is asked of the hypervisor |
//! | [`page`] | pages shared with other domains |
//! | [`cpio`], [`files`], [`config`] | the archive with kernels, and the guests' files |
//! | [`builder`] | a PV domain from a kernel, through the public control interface |
//! | [`control`] | domains from birth to death: rings, store nodes, `on_*` policies |
//! | [`block`] | disks for guests |
//! | [`net`] | network interfaces for guests, bridges |
//! | [`save`] | saved domains: images, where they are kept, and domains made of them |
//! | [`console`] | a guest's console ring, log and input |
//! | [`xenstore`] | the store: tree, permissions, transactions, watches, ring protocol |
//! | [`shell`] | line editing, commands |
//! | [`session`] | what a person or a script sees |
//! | [`acpi`] | how to power the machine off |
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod acpi;
pub mod block;
pub mod builder;
pub mod config;
pub mod console;
pub mod control;
pub mod cpio;
#[cfg(test)]
mod fake;
pub mod files;
pub mod hypervisor;
pub mod net;
pub mod page;
pub mod save;
pub mod session;
pub mod shell;
pub mod xenstore;

pub use backend::DomId;
