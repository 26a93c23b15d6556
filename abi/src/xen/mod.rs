//! `xen.h` with `arch-x86/xen.h` and `arch-x86/xen-x86_64.h`: the core of the interface.
//!
//! * hypercall numbers ([`hypercall`]) and the batch form of a hypercall ([`MulticallEntry`]);
//! * what a guest finds when it starts: [`StartInfo`], and the page it shares with the hypervisor, [`SharedInfo`];
//! * memory of PV guests: [`MmuUpdate`], [`MmuextOp`], the flags `UVMF_*`, the hypervisor's hole in the address space;
//! * the processor as a PV guest sees it: [`VcpuGuestContext`], [`TrapInfo`], [`IretContext`];
//! * special domain ids and virtual interrupts.

mod arch_x86;
mod arch_x86_64;
mod common;
pub mod hypercall;
mod regs;
mod start;

pub use arch_x86::*;
pub use arch_x86_64::*;
pub use common::*;
pub use regs::CpuUserRegs;
pub use start::{StartInfo, StartInfoDom0, StartInfoDomU};

/// Number of a domain, `domid_t`. Values from [`DOMID_FIRST_RESERVED`] up have special meanings.
pub type Domid = u16;

/// The name (UUID) the toolstack gave a domain, `xen_domain_handle_t`.
pub type DomainHandle = [u8; 16];

/// Folds a frame number into a CR3 value as guest contexts carry it (`xen_pfn_to_cr3`).
pub const fn pfn_to_cr3(pfn: u64) -> u64 {
    pfn << 12
}

/// The frame number in such a CR3 value (`xen_cr3_to_pfn`).
pub const fn cr3_to_pfn(cr3: u64) -> u64 {
    cr3 >> 12
}
