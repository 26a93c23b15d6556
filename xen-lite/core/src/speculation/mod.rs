//! What a CPU leaks when it speculates, and what is done about it.
//!
//! A CPU executes ahead of branches, checks and faults, and takes back what was wrong; but caches, buffers and predictors
//! remember. [`Cpu`] is what a processor says of itself; [`Cpu::affected`] knows which of the published weaknesses it
//! has; [`Policy`] is what the hypervisor does, by these and by the command line ([`SpecOptions`]). The image carries it out:
//!
//! - **Meltdown**: guests run on a root that maps nothing of the hypervisor but what entries need (XPTI).
//! - **MDS, TAA, stale MMIO data, RFDS**: VERW as the last thing before a guest runs, where microcode makes it empty the buffers.
//! - **Spectre v2, Retbleed, SRSO, BHI**: IBRS (or AMD's automatic kind) while the hypervisor runs, IBPB between domains and, where
//!   predictions survive that, on entry; return predictor and branch history overwritten on entry.
//! - **Spectre v1**: numbers from guests that choose an element of a table go through [`index()`], which leaves 0 of a number
//!   that is too large even when the CPU guesses that it is not. The entry code waits (LFENCE) where it chooses the GS base.
//! - **L1TF**: entries of page tables that are not present and name RAM are refused ([`l1tf`]).
//! - **SSB**: the guests' own matter; they are offered SSBD.
//!
//! `docs/threat-model.md` says against whom, and what is left.

mod affected;
mod cpu;
pub mod guest;
mod index;
pub mod l1tf;
mod options;
mod policy;
pub mod reach;
mod report;
#[cfg(test)]
mod tests;

pub use affected::Affected;
pub use cpu::{ArchCaps, Cpu, Offer, Vendor, signature};
pub use index::{get, get_mut, index};
pub use options::{ByKind, EXPECTED, SpecOptions};
pub use policy::{Policy, Steps, spec_ctrl};
