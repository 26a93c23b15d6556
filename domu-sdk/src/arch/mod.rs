//! The only unsafe code of the crate.
//!
//! Everything here is reached through safe functions whose contracts the rest of the crate keeps. On bare metal the module
//! is `x86_64`: entry code, hypercall instruction, trap stubs, page-table walks. Elsewhere it is `host`, which has the same
//! names and answers every hypercall with `ENOSYS`, so that code written on the SDK compiles and its pure parts are tested
//! with plain `cargo test`.
//!
//! # Invariants
//! - A-1 *Start*: [`crate::start`] runs once, on the boot vCPU, before anything else of the crate.
//! - A-2 *Direct map*: every frame the domain owns is mapped at `DIRECT_BASE + frame * 4096`, writable unless it is a
//!   page table or its owner (a [`crate::memory::region::Region`]) made it read-only. Nobody takes a mapping away, except of frames
//!   that were given back to the hypervisor, which [`crate::memory::balloon`] takes from the free set first.
//! - A-3 *Ownership*: a frame is owned by exactly one of the image, the boot area, the page allocator's free set, a
//!   [`crate::memory::Pages`] or a page table. Rust references only ever point into owned memory that no other domain may write.
//! - A-4 *Shared memory*: what another domain or the hypervisor may write is touched by volatile and atomic accesses only,
//!   through [`SharedMem`]. Memory that a program in user mode has is of this kind.
//! - A-5 *User mode*: the page tables of a program map only frames that its [`crate::memory::space::AddressSpace`] owns, all below the
//!   kernel's half. What comes back from user mode comes back to the one `enter` that is under way on that vCPU.
//! - A-6 *Stacks*: each vCPU runs on a stack of its own, in a place of its own, by which it is told which vCPU it is. Nobody switches
//!   stacks, so code stays on the vCPU on which it began.

mod shared;
pub use shared::SharedMem;

#[cfg(target_os = "none")]
mod x86_64;
#[cfg(target_os = "none")]
pub use x86_64::*;

#[cfg(not(target_os = "none"))]
mod host;
#[cfg(not(target_os = "none"))]
pub use host::*;
