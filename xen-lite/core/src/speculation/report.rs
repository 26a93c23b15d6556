//! The policy in words, for the boot log.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::policy::{Policy, Steps, spec_ctrl};
use super::{Affected, Offer};

fn list(names: impl IntoIterator<Item = &'static str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() { "nothing".into() } else { names.join(" ") }
}

fn chosen<const N: usize>(all: [(bool, &'static str); N]) -> String {
    list(all.into_iter().filter(|(on, _)| *on).map(|(_, name)| name))
}

fn both(dom0: bool, domu: bool) -> &'static str {
    match (dom0, domu) {
        (true, true) => "Dom0 and DomU",
        (true, false) => "Dom0 only",
        (false, true) => "DomU only",
        (false, false) => "nobody",
    }
}

/// Some lines without a line feed at the end.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offers = |what| self.offer.contains(what);
        writeln!(f, "Speculation: the CPU is affected by: {}", list(self.affected.names()))?;
        let hardware = chosen([
            (offers(Offer::IBRS), "IBRS"),
            (offers(Offer::IBRS_ALWAYS_ON), "IBRS-always-on"),
            (offers(Offer::IBPB), "IBPB"),
            (offers(Offer::STIBP), "STIBP"),
            (offers(Offer::SSBD), "SSBD"),
            (offers(Offer::PSFD), "PSFD"),
            (offers(Offer::BHI_CTRL), "BHI_DIS_S"),
            (offers(Offer::MD_CLEAR), "MD_CLEAR"),
            (offers(Offer::L1D_FLUSH), "L1D_FLUSH"),
            (offers(Offer::SMEP), "SMEP"),
        ]);
        writeln!(f, " CPU and microcode offer: {hardware}; ARCH_CAPABILITIES {:#x}", self.caps.bits())?;
        let steps = |step| self.steps.contains(step);
        let entry = chosen([
            (steps(Steps::SPEC_CTRL), "SPEC_CTRL"),
            (steps(Steps::IBPB), "IBPB"),
            (steps(Steps::RSB), "RSB"),
            (steps(Steps::BHB), "BHB"),
            (steps(Steps::FENCE), "LFENCE"),
        ]);
        let exit = chosen([(steps(Steps::VERW), "VERW"), (steps(Steps::SPEC_CTRL), "SPEC_CTRL")]);
        writeln!(f, " on entry from PV guests: {entry}; on exit: {exit}")?;
        let has = |bit| self.spec_ctrl & bit != 0;
        let own = chosen([
            (self.auto_ibrs, "automatic-IBRS"),
            (has(spec_ctrl::IBRS), "IBRS"),
            (has(spec_ctrl::STIBP), "STIBP"),
            (has(spec_ctrl::SSBD), "SSBD"),
            (has(spec_ctrl::PSFD), "PSFD"),
            (has(spec_ctrl::BHI_DIS_S), "BHI_DIS_S"),
        ]);
        let switch = if self.ibpb { "IBPB" } else { "nothing" };
        writeln!(f, " in the hypervisor: {own}; when another domain's vCPU is switched to: {switch}")?;
        writeln!(f, " XPTI (page tables without the hypervisor): {}", both(self.xpti_dom0, self.xpti_domu))?;
        let l1tf = both(self.l1tf_dom0, self.l1tf_domu);
        write!(f, " L1TF (absent entries that name RAM are refused): {l1tf}")?;
        if self.misses_microcode() {
            write!(f, "\n the CPU's microcode lacks what its weaknesses need: update the firmware")?;
        }
        Ok(())
    }
}

impl Policy {
    /// Whether a weakness is there for which the maker has published microcode, and the CPU does not offer what that brings.
    pub fn misses_microcode(&self) -> bool {
        let suffers = |what| self.affected.intersects(what);
        let offers = |what| self.offer.contains(what);
        suffers(Affected::SPECTRE_V2) && !offers(Offer::IBRS) && !offers(Offer::IBPB)
            || suffers(Affected::MDS | Affected::TAA) && !offers(Offer::MD_CLEAR)
    }
}
