//! `spec-ctrl=` and `pv-l1tf=` of the command line, with upstream's names.
//!
//! `spec-ctrl=` is a list, read from left to right:
//!
//! | item | meaning |
//! |---|---|
//! | `no` | nothing of all this, and neither `xpti` nor `pv-l1tf` unless the command line named them before |
//! | `no-xen`, `xen=no` | the hypervisor does nothing for itself; guests are still offered what the CPU has |
//! | `pv=`, `hvm=` | all five primitives below for that kind of guests |
//! | `msr-sc=`, `rsb=`, `verw=` (`md-clear=`), `ibpb-entry=`, `bhb-entry=` | a primitive: a boolean, or `pv=` or `hvm=` and one |
//! | `bti-thunk=` | how indirect branches are compiled; here always `jmp` |
//! | `ibrs=`, `ibpb=`, `stibp=`, `ssbd=`, `psfd=`, `bhi-dis-s=`, `l1d-flush=`, `branch-harden=` | a mitigation |
//! | `eager-fpu=`, `srb-lock=`, `unpriv-mmio=`, `gds-mit=`, `div-scrub=`, `lock-harden=` | known, without effect here |
//!
//! What is not said is decided by the CPU ([`super::Policy::new`]).

use crate::cmdline::Choice;

/// A primitive, for each kind of guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ByKind {
    /// PV guests.
    pub pv: Choice,
    /// HVM guests.
    pub hvm: Choice,
}

impl ByKind {
    const OFF: ByKind = ByKind { pv: Choice::Off, hvm: Choice::Off };
}

/// What the command line says. The default says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SpecOptions {
    /// `IA32_SPEC_CTRL` is switched at entries and exits, and guests are offered it.
    pub msr_sc: ByKind,
    /// Return predictors are overwritten on entry.
    pub rsb: ByKind,
    /// Buffers are emptied on exit.
    pub verw: ByKind,
    /// IBPB on entry.
    pub ibpb_entry: ByKind,
    /// Branch history is overwritten on entry.
    pub bhb_entry: ByKind,
    /// IBRS while the hypervisor runs.
    pub ibrs: Choice,
    /// IBPB when another vCPU is switched to.
    pub ibpb: Choice,
    /// STIBP while the hypervisor runs.
    pub stibp: Choice,
    /// SSBD while the hypervisor runs.
    pub ssbd: Choice,
    /// PSFD while the hypervisor runs.
    pub psfd: Choice,
    /// `BHI_DIS_S` while the hypervisor runs.
    pub bhi_dis_s: Choice,
    /// The L1 cache is flushed before an HVM guest is entered.
    pub l1d_flush: Choice,
    /// Loads wait behind conditional branches that matter.
    pub branch_harden: Choice,
    /// `spec-ctrl=no`: no L1TF check and no split page tables unless asked for.
    pub all_off: bool,
}

/// What a list should have been.
pub const EXPECTED: &str = "a list of no, no-xen, pv=, hvm=, msr-sc=, rsb=, verw=, ibpb-entry=, bhb-entry=, bti-thunk=, \
ibrs=, ibpb=, stibp=, ssbd=, psfd=, bhi-dis-s=, l1d-flush=, branch-harden= and their like, with booleans";

/// Known to upstream, of no effect here.
const IGNORED: &[&str] = &["eager-fpu", "srb-lock", "unpriv-mmio", "gds-mit", "div-scrub", "lock-harden"];

fn boolean(text: &str) -> Option<Choice> {
    match text {
        "yes" | "on" | "true" | "enable" | "1" => Some(Choice::On),
        "no" | "off" | "false" | "disable" | "0" => Some(Choice::Off),
        _ => None,
    }
}

impl SpecOptions {
    /// Everything off: `spec-ctrl=no`.
    pub fn off() -> SpecOptions {
        let mut all = SpecOptions { all_off: true, msr_sc: ByKind::OFF, ..SpecOptions::default() };
        all.own_off();
        all
    }

    fn own_off(&mut self) {
        for primitive in [&mut self.rsb, &mut self.verw, &mut self.ibpb_entry, &mut self.bhb_entry] {
            *primitive = ByKind::OFF;
        }
        for one in [
            &mut self.ibrs,
            &mut self.ibpb,
            &mut self.stibp,
            &mut self.ssbd,
            &mut self.psfd,
            &mut self.bhi_dis_s,
            &mut self.l1d_flush,
            &mut self.branch_harden,
        ] {
            *one = Choice::Off;
        }
    }

    fn primitives(&mut self) -> [&mut ByKind; 5] {
        [&mut self.msr_sc, &mut self.rsb, &mut self.verw, &mut self.ibpb_entry, &mut self.bhb_entry]
    }

    fn primitive(&mut self, name: &str) -> Option<&mut ByKind> {
        Some(match name {
            "msr-sc" => &mut self.msr_sc,
            "rsb" => &mut self.rsb,
            "verw" | "md-clear" => &mut self.verw,
            "ibpb-entry" => &mut self.ibpb_entry,
            "bhb-entry" => &mut self.bhb_entry,
            _ => return None,
        })
    }

    fn single(&mut self, name: &str) -> Option<&mut Choice> {
        Some(match name {
            "ibrs" => &mut self.ibrs,
            "ibpb" => &mut self.ibpb,
            "stibp" => &mut self.stibp,
            "ssbd" => &mut self.ssbd,
            "psfd" => &mut self.psfd,
            "bhi-dis-s" => &mut self.bhi_dis_s,
            "l1d-flush" => &mut self.l1d_flush,
            "branch-harden" => &mut self.branch_harden,
            _ => return None,
        })
    }

    /// Applies the items of a list; `None` when one is not understood (those before it are applied all the same, as upstream
    /// does).
    pub fn apply(&mut self, list: &str) -> Option<()> {
        list.split(',').filter(|item| !item.is_empty()).try_for_each(|item| self.apply_one(item))
    }

    fn apply_one(&mut self, item: &str) -> Option<()> {
        if let Some(choice) = boolean(item) {
            // "Everything on" is not a thing: what is wanted depends on the CPU.
            return (choice == Choice::Off).then(|| *self = SpecOptions::off());
        }
        let (name, text) = match item.split_once('=') {
            Some((name, text)) => (name, text),
            None => item.strip_prefix("no-").map_or((item, "yes"), |name| (name, "no")),
        };
        if name == "bti-thunk" {
            return matches!(text, "retpoline" | "lfence" | "jmp").then_some(());
        }
        if let Some(primitive) = self.primitive(name) {
            let (kinds, choice) = match text.split_once('=') {
                Some((kind, text)) => (Some(kind), boolean(text)?),
                None => match boolean(text) {
                    Some(choice) => (None, choice),
                    None => {
                        let off = text.strip_prefix("no-");
                        (Some(off.unwrap_or(text)), if off.is_some() { Choice::Off } else { Choice::On })
                    }
                },
            };
            match kinds {
                None => *primitive = ByKind { pv: choice, hvm: choice },
                Some("pv") => primitive.pv = choice,
                Some("hvm") => primitive.hvm = choice,
                Some(_) => return None,
            }
            return Some(());
        }
        let choice = boolean(text)?;
        match name {
            "xen" => return (choice == Choice::Off).then(|| self.own_off()),
            "pv" => self.primitives().into_iter().for_each(|one| one.pv = choice),
            "hvm" => self.primitives().into_iter().for_each(|one| one.hvm = choice),
            name if IGNORED.contains(&name) => {}
            name => *self.single(name)? = choice,
        }
        Some(())
    }
}
