//! Xen's public interface, version 4.17, x86-64, as plain Rust types.
//!
//! This crate is what a guest, a toolstack and the hypervisor agree on: numbers, `repr(C)` structures and
//! nothing that acts on them. Its rules:
//!
//! 1. **One module per public header.** [`xen`] answers to `xen.h` together with the two x86 headers it pulls in, [`event_channel`]
//!    to `event_channel.h`, and so on; [`io`] holds the shared rings and the split-driver protocols.
//! 2. **Names can be searched for.** A structure is the C name in camel case without `xen_` and `_t` (`evtchn_alloc_unbound` is
//!    [`event_channel::EvtchnAllocUnbound`]); a constant is the C name in capitals without leading underscores
//!    (`XENMEM_populate_physmap` is [`memory::XENMEM_POPULATE_PHYSMAP`]); fields keep their C names, with a trailing underscore
//!    where Rust reserves the word (`type_`). Hypercall numbers are in [`xen::hypercall`].
//! 3. **Bytes are safe to copy.** Every structure can be made from any bytes and turned into bytes (the `zerocopy` traits), so
//!    there are no hidden padding bytes (`_pad0` and the like are explicit), no `bool`s, no Rust enums in structures.
//! 4. **C unions** are a [`Union`]: aligned storage that is read and written as one of its members by value.
//! 5. **Pointers are allegations.** A guest handle is a [`GuestPtr`], a number that remembers what it claims to point at.
//!
//! The layouts and values are compared with the C headers by `tests/layout`.
//!
//! Flag sets that code tests a lot also exist as `bitflags` types in [`flags`]; structures keep plain
//! integers, use `from_bits_retain` to convert.
#![no_std]
#![forbid(unsafe_code)]

#[macro_use]
mod macros;
mod guest_ptr;
mod union;

pub mod argo;
pub mod callback;
pub mod cpuid;
pub mod dm_op;
pub mod domctl;
pub mod elfnote;
pub mod errno;
pub mod event_channel;
pub mod features;
pub mod flags;
pub mod grant_table;
pub mod hvm_op;
pub mod hvm_params;
pub mod hvm_start_info;
pub mod hvm_vcpu;
pub mod hypfs;
pub mod io;
pub mod kexec;
pub mod memory;
pub mod nmi;
pub mod physdev;
pub mod platform;
pub mod sched;
pub mod sysctl;
pub mod trap;
pub mod vcpu;
pub mod version;
pub mod xen;
pub mod xenoprof;
pub mod xsm;

pub use guest_ptr::GuestPtr;
pub use union::Union;
pub use zerocopy;
