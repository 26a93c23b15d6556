//! Saved domains: what a domain's memory and registers are made into, and where that is kept.
//!
//! # Steps
//! A guest that was asked to suspend stands still (`domu_sdk::suspend` is the guest's part). [`take`] reads its pages and registers,
//! translates what names machine frames into the guest's own numbers, and writes a stream of records ([`stream`]) behind what was known of
//! the guest ([`image`]). [`shelf`] keeps images on a disk of the machine. [`plan`] reads one again and refuses what makes no sense, before
//! there is a domain; [`build`] makes the domain.
//!
//! # The file
//! | part | what |
//! |---|---|
//! | magic, version, length | [`image`] |
//! | the guest's settings | text in the syntax of configuration files |
//! | memory and registers | records of the Xen project's `libxc` migration stream, version 2 (its `docs/specs/libxc-migration-stream`) |
//!
//! The shelf's directory has the checksum of all of it (CRC-32).
//!
//! # Trust
//! The bytes of an image are as untrusted as a guest is: its contents were the guest's, and the disk may have been somebody else's. Every
//! number is checked before it is used; page tables and registers are judged by the hypervisor as those of any guest are. The
//! directory's and the image's texts name the guest's disks: who can write the disk can choose them, among those that this Dom0 has.
//!
//! # Invariants
//! A frame number in a stream is the guest's own (a *pfn*). Every pfn occurs once. Page-table entries in a stream that are present name
//! pfns that are in the stream.

pub mod build;
pub mod image;
pub mod plan;
pub mod shelf;
pub mod stream;
pub mod tables;
pub mod take;
#[cfg(test)]
mod tests;

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// Result of a step; the text is for a person.
pub type Result<T = ()> = core::result::Result<T, alloc::string::String>;

/// Where an image's bytes go.
pub trait Sink {
    /// Takes the next bytes.
    fn put(&mut self, bytes: &[u8]) -> Result;
}

/// Where an image's bytes come from.
pub trait Source {
    /// Fills `into` with the next bytes; fails at the end.
    fn take(&mut self, into: &mut [u8]) -> Result;
}

impl Sink for alloc::vec::Vec<u8> {
    fn put(&mut self, bytes: &[u8]) -> Result {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

impl Source for &[u8] {
    fn take(&mut self, into: &mut [u8]) -> Result {
        let Some((now, later)) = self.split_at_checked(into.len()) else {
            return Err("the image ends in the midst of something".into());
        };
        into.copy_from_slice(now);
        *self = later;
        Ok(())
    }
}
