//! Guest kernel images: what is in them, whether they can run, and where everything goes.
//!
//! One library answers three questions, for the hypervisor's own first domain, for the toolstack in Dom0 and for
//! the build tool, so that all three give the same verdict in the same words:
//!
//! 1. [`unpack()`]: a kernel file is an ELF, a compressed ELF, or a Linux bzImage that carries one. The codecs are
//!    told apart by magic numbers; the output is bounded by the caller.
//! 2. [`Image::parse`]: the ELF's program headers, and what the kernel says about itself in Xen ELF notes
//!    (`xen/elfnote.h`) or in the older `__xen_guest` string.
//! 3. [`layout::plan`]: the start-of-day memory of a PV domain (`struct start_info` in `xen/xen.h`): numbers only.
//!
//! Principles: nothing in the file is trusted, every addition is checked; no input makes this code panic; each
//! refusal is one line that names what is wrong, where, and with which value ([`ImageError`]). No unsafe code, no
//! statics, no I/O.
//!
//! | module | content |
//! |---|---|
//! | `unpack` | containers and codecs |
//! | `image` | ELF, verdict, addresses |
//! | `notes`, `legacy` | what the kernel says, new and old spelling |
//! | [`features`] | names and bits of `xen/features.h` |
//! | [`layout`] | start-of-day memory, page-table counts and entries |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod error;
pub mod features;
mod image;
pub mod layout;
mod legacy;
mod notes;
pub mod unpack;

pub use error::ImageError;
pub use image::{Image, Kind, PvInfo, Segment};
pub use notes::{MfnValid, Notes, PaeMode};
pub use unpack::{Requirements, requirements, unpack, unpack_into};

/// Size of a page and of a page-table page, in bytes.
pub const PAGE_SIZE: u64 = 4096;
/// First virtual address of the hole that belongs to the hypervisor (`HYPERVISOR_VIRT_START`).
pub const HYPERVISOR_START: u64 = 0xffff_8000_0000_0000;
/// First virtual address after that hole (`HYPERVISOR_VIRT_END`).
pub const HYPERVISOR_END: u64 = 0xffff_8800_0000_0000;
