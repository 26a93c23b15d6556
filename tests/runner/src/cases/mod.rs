//! The integration tests.
//!
//! | module | what it covers |
//! |---|---|
//! | [`block`] | disks: front end and back end, against each other and against hostile ones |
//! | [`boot`] | loaders, first modules, refusals of xen-lite itself |
//! | [`control`] | Dom0's shell: create, list, destroy, refusals |
//! | [`examples`] | the folder `examples` |
//! | [`foreign`] | software of others as guests: Debian's Linux, GRUB |
//! | [`fuzzer`] | the fuzzer kernel, alone and beside others |
//! | [`hostile`] | guests that do what they must not |
//! | [`net`] | network interfaces for guests |
//! | [`saved`] | guests that are saved, and restored after the machine was off |
//! | [`sched`] | who gets the CPUs, and when |
//! | [`sdk`] | examples on the SDK |
//! | [`smp`] | machines and guests with several CPUs |
//! | [`speculation`] | the same with page tables split, and with entries that guard nothing |
//! | [`toolstack`] | Dom0's commands for administrators |
//!
//! A test of the ABI is a guest of `tests/guests` that checks itself and prints a line that starts with `TEST`; such a
//! guest is one row in [`boot::SELF_CHECKING`].

pub mod block;
pub mod boot;
pub mod control;
pub mod examples;
pub mod foreign;
pub mod fuzzer;
pub mod hostile;
pub mod net;
pub mod saved;
pub mod sched;
pub mod sdk;
pub mod smp;
pub mod speculation;
pub mod toolstack;

use crate::case::Case;

/// Broken kernels, each with a part of the one line that must refuse it: from `xtask`, from Dom0's `create`, and from
/// xen-lite when it is the first module. All three ask the same crate.
pub const REFUSED: &[(&str, &str)] = &[
    ("text", "not an ELF or bzImage"),
    ("truncated", "truncated"),
    ("damaged", "truncated: "),
    ("foreign", "no Xen ELF notes"),
    ("oversized", "too small for the kernel"),
    ("bzimage-truncated", "truncated"),
    ("bzimage-damaged", "damaged xz data"),
];

/// All cases. The slow ones come first, so that no long run starts when the others are done.
pub fn all() -> Vec<Case> {
    let mut cases = foreign::cases();
    cases.extend(smp::cases());
    cases.extend(speculation::cases());
    cases.extend(sched::cases());
    cases.extend(hostile::cases());
    cases.extend(fuzzer::cases());
    cases.extend(block::cases());
    cases.extend(examples::cases());
    cases.extend(saved::cases());
    cases.extend(sdk::cases());
    cases.extend(control::cases());
    cases.extend(toolstack::cases());
    cases.extend(net::cases());
    cases.extend(boot::cases());
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let cases = all();
        let mut names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
    }

    #[test]
    fn every_case_can_fail() {
        for case in all() {
            assert!(!case.steps.is_empty(), "{} expects nothing", case.name);
            assert!(!case.on.is_empty(), "{} runs nowhere", case.name);
        }
    }
}
