//! Guests that do what they must not: each is refused, or ends alone, and the others keep running.
//!
//! One Dom0 runs them all, one after the other, beside a well-behaved guest that has to answer after each of them. What
//! they try is listed in [`ATTEMPTS`]; the guest is `tests/guests/src/bin/hostile.rs`. The verdicts hold on both
//! hypervisors. A guest that gets away with it prints `ESCAPED`, which is forbidden.

use crate::case::Case;
use std::fmt::Write;

/// How an attempt must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The hypervisor says no, and the guest goes on to its orderly end.
    Refused,
    /// The domain ends.
    Ends,
}

/// What the hostile guest is asked to do, and how that must end.
pub const ATTEMPTS: &[(&str, Verdict)] = &[
    ("panic", Verdict::Ends),
    ("overflow", Verdict::Ends),
    ("fault", Verdict::Ends),
    ("noncanonical-jump", Verdict::Ends),
    ("kernel-selector", Verdict::Ends),
    ("halt", Verdict::Ends),
    ("recursive-fault", Verdict::Ends),
    ("random", Verdict::Ends),
    ("write-table", Verdict::Refused),
    ("map-hole", Verdict::Refused),
    ("map-foreign", Verdict::Refused),
    ("map-table", Verdict::Refused),
    ("pin-writable", Verdict::Refused),
    ("bad-hypercall", Verdict::Refused),
    ("map-everything", Verdict::Refused),
    ("selectors", Verdict::Refused),
    ("descriptors", Verdict::Refused),
    ("addresses", Verdict::Refused),
    ("privileged", Verdict::Refused),
    ("no-handler", Verdict::Ends),
    ("stack-in-hole", Verdict::Ends),
    ("stack-noncanonical", Verdict::Ends),
    ("iret-noncanonical", Verdict::Ends),
    ("iret-hole", Verdict::Ends),
    ("iret-ring0", Verdict::Ends),
    ("edge-syscall", Verdict::Ends),
    // These three end in order, or as crashed, as chance will have it; but they end.
    ("random-kernel", Verdict::Ends),
    ("random-user", Verdict::Ends),
    ("random-hypercalls", Verdict::Ends),
];

/// The well-behaved neighbour: it echoes what is typed.
pub const NEIGHBOUR: &str = "hello";

/// File of Dom0's archive that holds the script: it is longer than a command line may be.
pub const SCRIPT_FILE: &str = "hostile.script";

/// The script, one command a line.
pub fn script() -> String {
    let mut text = format!("create {NEIGHBOUR}\nwait {NEIGHBOUR} 'tick 1' 60\n");
    for (name, verdict) in ATTEMPTS {
        let last_words = match verdict {
            Verdict::Refused => "RESULT: refused".to_string(),
            Verdict::Ends => format!("hostile: {name}"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "create {name}\nwait {name} '{last_words}' 60\nexpect-gone {name} 60\nlog {name}\n\
             send {NEIGHBOUR} after-{name}\nwait {NEIGHBOUR} after-{name} 60"
        );
    }
    text.push_str("list\npoweroff\n");
    text
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("hostile", "dom0")
            .options("dom0_mem=128M")
            .initrd("hostile.cpio")
            .args(&format!("script=@{SCRIPT_FILE}"))
            .forbid("ESCAPED")
            // One of the guests panics as it was asked to.
            .allow("panicked at")
            .expect("SCRIPT ok", 300)
            .limit(400),
    ]
}
