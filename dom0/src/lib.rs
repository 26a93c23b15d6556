//! The control domain's logic, free of unsafe code and of I/O, so that it runs under `cargo test`.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod builder;
pub mod config;
#[cfg(test)]
mod fake;
pub mod console;
pub mod control;
pub mod cpio;
pub mod files;
pub mod hypervisor;
pub mod page;
pub mod session;
pub mod shell;
pub mod xenstore;

/// A domain's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomId(pub u16);

impl DomId {
    /// The control domain.
    pub const ZERO: Self = Self(0);
}

impl core::fmt::Display for DomId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}
