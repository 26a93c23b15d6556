//! Which processor has which weakness.
//!
//! A processor is affected unless it says that it is not (`*_NO` bits), or its maker does by the model. Unknown models of Intel's
//! family 6 count as affected where the maker's way of saying "no" is a bit: new ones set it.

use bitflags::bitflags;

use super::cpu::{ArchCaps, Cpu, Offer, Vendor};

bitflags! {
    /// Weaknesses.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Affected: u32 {
        /// Spectre variant 1: loads behind a bounds check that was mispredicted. Every processor that speculates.
        const SPECTRE_V1 = 1 << 0;
        /// Spectre variant 2: branch targets that another context trained.
        const SPECTRE_V2 = 1 << 1;
        /// Meltdown: loads of mapped supervisor memory from user mode.
        const MELTDOWN = 1 << 2;
        /// Speculative store bypass: loads before older stores to the same place.
        const SSB = 1 << 3;
        /// L1 terminal fault: loads by the address in a page-table entry that is not present.
        const L1TF = 1 << 4;
        /// Microarchitectural data sampling: stale data in load, store and fill buffers.
        const MDS = 1 << 5;
        /// The same by an aborted transaction.
        const TAA = 1 << 6;
        /// Stale data of memory-mapped I/O.
        const MMIO = 1 << 7;
        /// Register file data sampling.
        const RFDS = 1 << 8;
        /// Special register buffer data sampling: random numbers of other cores.
        const SRBDS = 1 << 9;
        /// Gather data sampling.
        const GDS = 1 << 10;
        /// Retbleed: returns predicted like indirect branches; on AMD, branch type confusion.
        const RETBLEED = 1 << 11;
        /// Branch history injection in spite of restricted branch targets.
        const BHI = 1 << 12;
        /// Speculative return stack overflow.
        const SRSO = 1 << 13;
    }
}

/// Names for the log.
const NAMES: &[(Affected, &str)] = &[
    (Affected::SPECTRE_V1, "Spectre-v1"),
    (Affected::SPECTRE_V2, "Spectre-v2"),
    (Affected::MELTDOWN, "Meltdown"),
    (Affected::SSB, "SSB"),
    (Affected::L1TF, "L1TF"),
    (Affected::MDS, "MDS"),
    (Affected::TAA, "TAA"),
    (Affected::MMIO, "MMIO-stale-data"),
    (Affected::RFDS, "RFDS"),
    (Affected::SRBDS, "SRBDS"),
    (Affected::GDS, "GDS"),
    (Affected::RETBLEED, "Retbleed"),
    (Affected::BHI, "BHI"),
    (Affected::SRSO, "SRSO"),
];

impl Affected {
    /// Names of the weaknesses.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().filter(move |(weakness, _)| self.contains(*weakness)).map(|&(_, name)| name)
    }
}

/// Atoms that execute in order: they do not speculate. Model numbers of Intel's family 6.
const IN_ORDER: &[u32] = &[0x1c, 0x26, 0x27, 0x35, 0x36];
/// Silvermont, Airmont and the Knights.
const SILVERMONT: &[u32] = &[0x37, 0x4a, 0x4c, 0x4d, 0x5a, 0x5d, 0x6e, 0x65, 0x75, 0x57, 0x85];
/// Goldmont and Goldmont Plus.
const GOLDMONT: &[u32] = &[0x5c, 0x5f, 0x7a];
/// Tremont.
const TREMONT: &[u32] = &[0x86, 0x8a, 0x96, 0x9c];
/// Alder Lake and Raptor Lake, which have Gracemont cores, and Gracemont alone.
const GRACEMONT: &[u32] = &[0x97, 0x9a, 0xb7, 0xba, 0xbe, 0xbf];
/// Client and server Skylake and what is made of it: Kaby, Coffee, Comet, Cannon and Cascade Lake.
const SKYLAKE: &[u32] = &[0x4e, 0x5e, 0x55, 0x8e, 0x9e, 0xa5, 0xa6, 0x66];
/// Ice, Tiger and Rocket Lake.
const ICELAKE: &[u32] = &[0x6a, 0x6c, 0x7d, 0x7e, 0x8c, 0x8d, 0xa7];
/// Before Skylake, with stale data of memory-mapped I/O: Haswell and Broadwell servers.
const OLD_SERVERS: &[u32] = &[0x3f, 0x4f, 0x56];
/// Clients from Ivy Bridge to Broadwell.
const OLD_CLIENTS: &[u32] = &[0x3a, 0x3c, 0x45, 0x46, 0x3d, 0x47];

impl Cpu {
    /// A model of Intel's family 6 in one of these lists.
    fn is_intel(&self, lists: &[&[u32]]) -> bool {
        self.vendor == Vendor::Intel
            && self.family == 6
            && lists.iter().any(|list| list.contains(&self.model))
    }

    /// A processor of Intel's that speculates.
    fn speculating_intel(&self) -> bool {
        self.vendor == Vendor::Intel && self.family == 6 && !self.is_intel(&[IN_ORDER])
    }

    /// What it suffers from.
    pub fn affected(&self) -> Affected {
        if self.is_intel(&[IN_ORDER]) {
            // They are not known to leak; upstream splits page tables for them all the same.
            return Affected::MELTDOWN.difference(self.caps_no_meltdown());
        }
        let mut all = Affected::SPECTRE_V1 | Affected::SPECTRE_V2;
        all.set(Affected::SSB, !self.says(ArchCaps::SSB_NO) && !self.offer.contains(Offer::SSB_NO));
        all.set(Affected::MELTDOWN, !self.is_amd());
        all.remove(self.caps_no_meltdown());
        if self.speculating_intel() {
            all |= self.affected_intel();
        }
        if self.is_amd() {
            all |= self.affected_amd();
        }
        all
    }

    fn caps_no_meltdown(&self) -> Affected {
        if self.says(ArchCaps::RDCL_NO) { Affected::MELTDOWN } else { Affected::empty() }
    }

    fn says(&self, no: ArchCaps) -> bool {
        self.caps.contains(no)
    }

    fn affected_intel(&self) -> Affected {
        let mut all = Affected::empty();
        let atom = self.is_intel(&[SILVERMONT, GOLDMONT, TREMONT]);
        all.set(Affected::L1TF, !atom && !self.says(ArchCaps::RDCL_NO));
        let mds = !self.is_intel(&[GOLDMONT, TREMONT]) && !self.says(ArchCaps::MDS_NO);
        all.set(Affected::MDS, mds);
        all.set(Affected::TAA, self.offer.contains(Offer::RTM) && !self.says(ArchCaps::TAA_NO));
        let no_mmio = ArchCaps::SBDR_SSDP_NO | ArchCaps::FBSDP_NO | ArchCaps::PSDP_NO;
        all.set(
            Affected::MMIO,
            self.is_intel(&[OLD_SERVERS, SKYLAKE, ICELAKE, TREMONT]) && !self.says(no_mmio),
        );
        let rfds = self.is_intel(&[GOLDMONT, TREMONT, GRACEMONT]);
        all.set(Affected::RFDS, rfds && !self.says(ArchCaps::RFDS_NO));
        all.set(Affected::SRBDS, self.is_intel(&[OLD_CLIENTS, SKYLAKE]) && self.model != 0x55);
        all.set(Affected::GDS, self.is_intel(&[SKYLAKE, ICELAKE]) && !self.says(ArchCaps::GDS_NO));
        let restricted = self.says(ArchCaps::IBRS_ALL) && !self.says(ArchCaps::RSBA);
        all.set(Affected::RETBLEED, self.is_intel(&[SKYLAKE]) && !restricted || self.says(ArchCaps::RSBA));
        all.set(Affected::BHI, !atom && !self.says(ArchCaps::BHI_NO));
        all
    }

    fn affected_amd(&self) -> Affected {
        let mut all = Affected::empty();
        all.set(
            Affected::RETBLEED,
            matches!(self.family, 0x15..=0x18) && !self.offer.contains(Offer::BTC_NO),
        );
        all.set(Affected::SRSO, matches!(self.family, 0x17..=0x19) && !self.offer.contains(Offer::SRSO_NO));
        all
    }
}
