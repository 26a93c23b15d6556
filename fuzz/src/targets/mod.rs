//! The bodies.

pub mod calls;
pub mod emulator;
pub mod parsers;
pub mod store;
