//! Back ends of split devices: what serves a front end's rings, wherever it runs.
//!
//! Dom0 serves disks with this, and so does a driver domain on the SDK. Neither appears here: the other domain is reached through one trait,
//! [`peer::Peer`], and what the front end says in the store comes as texts. So all of it runs under `cargo test` on a fake machine.
//!
//! Front ends are hostile: every index, length and number that comes from one is copied once, checked and bounded.
//!
//! | module | what |
//! |---|---|
//! | [`peer`] | mapping and copying what another domain grants, event channels |
//! | [`phase`] | the way of a device up and down |
//! | [`block`] | disks |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod block;
pub mod peer;
pub mod phase;

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
