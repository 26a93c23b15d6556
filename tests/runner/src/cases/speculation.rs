//! What is done about CPUs that leak, each way of it: split page tables, guarded entries, and neither.
//!
//! An emulated CPU leaks nothing, so these cases do not show that nothing can be read. They show that the boot check of what
//! guests' page tables map was content, and that all works in each way: entries, exits, faults on the way out, many CPUs.
//! The other cases run on a CPU that is not known to leak by Meltdown, with guarded entries.

use super::{foreign, hostile, smp};
use crate::case::{Case, End, Step, XEN_LITE};

/// A CPU with Meltdown, on which guests run on roots without the hypervisor by default.
const LEAKS: &str = "Skylake-Client,-smap";
/// Entries that guard nothing, for CPUs (or people) without a need.
const UNGUARDED: &str = "xpti=no spec-ctrl=no";
/// All that can be done on any CPU, and XPTI.
const EVERYTHING: &str = "xpti=yes spec-ctrl=rsb,bhb-entry,verw";

/// The cases.
pub fn cases() -> Vec<Case> {
    let all = [foreign::cases(), smp::cases(), hostile::cases()].concat();
    let on_a_cpu_that_leaks = ["debian-domu", "churn-smp4", "hostile"];
    let unguarded = ["debian-smp2", "hostile"];
    let mut cases: Vec<Case> = Vec::new();
    cases.extend(on_a_cpu_that_leaks.iter().map(|name| {
        let mut case = again(&all, name, "xpti", "").cpu(LEAKS);
        let line = "XPTI (page tables without the hypervisor): Dom0 and DomU";
        let check = "CPU 0: roots of guests map";
        case.steps.splice(0..0, [line, check].map(|text| Step::Expect(text.into(), 60)));
        case
    }));
    cases.extend(unguarded.iter().map(|name| again(&all, name, "unguarded", UNGUARDED)));
    for (name, options, report) in [
        ("unguarded", UNGUARDED, "on entry from PV guests: nothing; on exit: nothing"),
        ("everything", EVERYTHING, "on entry from PV guests: RSB BHB LFENCE; on exit: VERW"),
        ("xpti-domu", "xpti=dom0=no,domu", "hypervisor): DomU only"),
    ] {
        cases.push(alone("selftest", name, options, report));
        cases.push(alone("advisories", name, options, report));
        cases.push(two_guests(name, options, report));
    }
    cases
}

/// A case of another module once more, with more options.
fn again(all: &[Case], name: &str, suffix: &str, options: &str) -> Case {
    let found = all.iter().find(|case| case.name == name);
    let Some(case) = found else { panic!("no case {name}") };
    let mut case = case.clone().on(XEN_LITE);
    case.name = format!("{name}-{suffix}");
    case.options = format!("{} {options}", case.options);
    case
}

/// A self-checking guest as first domain, with its vCPUs on two CPUs.
fn alone(guest: &str, name: &str, options: &str, report: &str) -> Case {
    Case::new(&format!("{guest}-{name}"), &format!("guests/{guest}"))
        .on(XEN_LITE)
        .cpu(LEAKS)
        .cpus(2)
        .options(&format!("dom0_mem=64M dom0_max_vcpus=2 {options}"))
        .forbid("RESULT: fail")
        .expect(report, 60)
        .expect("RESULT: pass", 240)
        .limit(300)
        .end(End::StaysOn)
}

/// Dom0 and two guests.
fn two_guests(name: &str, options: &str, report: &str) -> Case {
    Case::new(&format!("two-guests-{name}"), "dom0")
        .on(XEN_LITE)
        .cpu(LEAKS)
        .options(&format!("dom0_mem=128M {options}"))
        .initrd("initrd")
        .script(
            "create hello; create counter; wait hello 'tick 2' 30; wait counter 'count ' 30; list; poweroff",
        )
        .expect(report, 60)
        .expect("SCRIPT ok", 90)
}
