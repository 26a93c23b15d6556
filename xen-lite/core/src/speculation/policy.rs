//! What is done about the weaknesses of a CPU.

use bitflags::bitflags;

use super::affected::Affected;
use super::cpu::{ArchCaps, Cpu, Offer};
use super::options::SpecOptions;
use crate::cmdline::{Choice, Options};

bitflags! {
    /// Steps of the entry and exit code for PV guests; the numbers are known to it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Steps: u32 {
        /// Exit: VERW, to empty the buffers.
        const VERW = 1 << 0;
        /// Entry: write the hypervisor's `IA32_SPEC_CTRL`. Exit: write the guest's.
        const SPEC_CTRL = 1 << 1;
        /// Entry: overwrite the return predictor.
        const RSB = 1 << 2;
        /// Entry: IBPB.
        const IBPB = 1 << 3;
        /// Entry: overwrite the branch history.
        const BHB = 1 << 4;
        /// Entry: wait behind the choice whether to exchange GS bases (Spectre variant 1).
        const FENCE = 1 << 5;
    }
}

/// Bits of `IA32_SPEC_CTRL` (MSR 0x48).
pub mod spec_ctrl {
    /// Indirect branches restricted.
    pub const IBRS: u64 = 1 << 0;
    /// Not predicted by what another thread of the core trained.
    pub const STIBP: u64 = 1 << 1;
    /// Loads do not pass older stores.
    pub const SSBD: u64 = 1 << 2;
    /// No predictive store forwarding.
    pub const PSFD: u64 = 1 << 7;
    /// Branch history of user mode does not count in supervisor mode.
    pub const BHI_DIS_S: u64 = 1 << 10;
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Policy {
    /// What the CPU suffers from.
    pub affected: Affected,
    /// What it offers.
    pub offer: Offer,
    /// `IA32_ARCH_CAPABILITIES`.
    pub caps: ArchCaps,
    /// The first domain runs on page tables without the hypervisor.
    pub xpti_dom0: bool,
    /// Other PV domains do.
    pub xpti_domu: bool,
    /// The first domain may not write entries that are not present and name RAM.
    pub l1tf_dom0: bool,
    /// Other PV domains may not.
    pub l1tf_domu: bool,
    /// What entries from and exits to PV guests do.
    pub steps: Steps,
    /// `IA32_SPEC_CTRL` while the hypervisor runs.
    pub spec_ctrl: u64,
    /// Set `EFER.AIBRSE` on every CPU.
    pub auto_ibrs: bool,
    /// IBPB when another domain's vCPU is switched to.
    pub ibpb: bool,
    /// PV guests are offered `IA32_SPEC_CTRL` and `IA32_PRED_CMD`, as far as the CPU has them.
    pub guest_msrs: bool,
    /// The L1 cache is flushed before an HVM guest is entered.
    pub l1d_flush: bool,
}

fn decide(choice: Choice, default: bool) -> bool {
    match choice {
        Choice::Default => default,
        Choice::On => true,
        Choice::Off => false,
    }
}

impl Policy {
    /// What to do on this CPU with these options.
    #[must_use]
    pub fn new(cpu: &Cpu, options: &Options) -> Policy {
        let (affected, said) = (cpu.affected(), &options.spec_ctrl);
        let (meltdown, l1tf) =
            (affected.contains(Affected::MELTDOWN), affected.contains(Affected::L1TF) && !said.all_off);
        let mut policy = Policy {
            affected,
            offer: cpu.offer,
            caps: cpu.caps,
            xpti_dom0: decide(options.xpti_dom0, meltdown && !said.all_off),
            xpti_domu: decide(options.xpti_domu, meltdown && !said.all_off),
            l1tf_dom0: decide(options.pv_l1tf_dom0, false),
            l1tf_domu: decide(options.pv_l1tf_domu, l1tf),
            ibpb: decide(said.ibpb, true) && cpu.offer.contains(Offer::IBPB),
            l1d_flush: decide(said.l1d_flush, affected.contains(Affected::L1TF))
                && cpu.offer.contains(Offer::L1D_FLUSH)
                && !cpu.caps.contains(ArchCaps::SKIP_L1DFL),
            ..Policy::default()
        };
        policy.decide_branches(cpu, said);
        policy.decide_steps(cpu, said);
        policy
    }

    /// `IA32_SPEC_CTRL` of the hypervisor. Its indirect branches are not compiled to anything special, so that IBRS is used
    /// wherever there is one.
    fn decide_branches(&mut self, cpu: &Cpu, said: &SpecOptions) {
        let offers = |what| cpu.offer.contains(what);
        let v2 = self.affected.contains(Affected::SPECTRE_V2);
        let ibrs = decide(said.ibrs, v2) && offers(Offer::IBRS);
        self.auto_ibrs = decide(said.ibrs, v2) && offers(Offer::AUTO_IBRS);
        let mut value = 0;
        let mut set = |on: bool, bit: u64| {
            if on {
                value |= bit;
            }
        };
        set(ibrs && !self.auto_ibrs, spec_ctrl::IBRS);
        let threads = offers(Offer::STIBP_ALWAYS) || offers(Offer::THREADS) && v2;
        set(decide(said.stibp, threads && decide(said.ibrs, true)) && offers(Offer::STIBP), spec_ctrl::STIBP);
        set(decide(said.ssbd, false) && offers(Offer::SSBD), spec_ctrl::SSBD);
        set(decide(said.psfd, false) && offers(Offer::PSFD), spec_ctrl::PSFD);
        let bhi = self.affected.contains(Affected::BHI);
        set(decide(said.bhi_dis_s, bhi) && offers(Offer::BHI_CTRL), spec_ctrl::BHI_DIS_S);
        self.spec_ctrl = value;
    }

    fn decide_steps(&mut self, cpu: &Cpu, said: &SpecOptions) {
        let offers = |what| cpu.offer.contains(what);
        let suffers = |what| self.affected.contains(what);
        let has_register = offers(Offer::IBRS) || offers(Offer::STIBP) || offers(Offer::SSBD);
        self.guest_msrs = decide(said.msr_sc.pv, true) && (has_register || offers(Offer::IBPB));
        let mut steps = Steps::empty();
        steps.set(Steps::SPEC_CTRL, decide(said.msr_sc.pv, true) && has_register);

        let clears = offers(Offer::MD_CLEAR);
        let fill = clears || cpu.caps.contains(ArchCaps::FB_CLEAR);
        let verw = clears && self.affected.intersects(Affected::MDS | Affected::TAA)
            || fill && suffers(Affected::MMIO)
            || cpu.caps.contains(ArchCaps::RFDS_CLEAR) && suffers(Affected::RFDS);
        steps.set(Steps::VERW, decide(said.verw.pv, verw));

        let confused = suffers(Affected::RETBLEED) && matches!(cpu.family, 0x17 | 0x18)
            || suffers(Affected::SRSO) && offers(Offer::IBPB_BRTYPE);
        let ibpb = decide(said.ibpb_entry.pv, cpu.is_amd() && confused) && offers(Offer::IBPB);
        steps.set(Steps::IBPB, ibpb);
        // With SMEP, a return predicted into a guest's page does not go there; without, it must not be the guest's prediction.
        let rsb = suffers(Affected::SPECTRE_V2) && !offers(Offer::SMEP);
        let rsb = rsb || ibpb && !offers(Offer::IBPB_RET);
        steps.set(Steps::RSB, decide(said.rsb.pv, rsb));
        let bhb = suffers(Affected::BHI)
            && offers(Offer::IBRS_ALWAYS_ON)
            && self.spec_ctrl & spec_ctrl::BHI_DIS_S == 0;
        steps.set(Steps::BHB, decide(said.bhb_entry.pv, bhb));
        steps.set(Steps::FENCE, decide(said.branch_harden, suffers(Affected::SPECTRE_V1)));
        self.steps = steps;
    }

    /// Whether some PV domain runs on page tables without the hypervisor.
    pub fn xpti(&self) -> bool {
        self.xpti_dom0 || self.xpti_domu
    }

    /// Whether a PV domain runs on such page tables.
    pub fn xpti_for(&self, first_domain: bool) -> bool {
        if first_domain { self.xpti_dom0 } else { self.xpti_domu }
    }

    /// Whether a PV domain may not write entries that are not present and name RAM.
    pub fn l1tf_for(&self, first_domain: bool) -> bool {
        if first_domain { self.l1tf_dom0 } else { self.l1tf_domu }
    }

    /// Whether entry and exit code needs to do anything of all this.
    pub fn guards_entries(&self) -> bool {
        self.xpti() || self.ibpb || !self.steps.is_empty()
    }
}
