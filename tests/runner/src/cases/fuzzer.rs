//! The fuzzer kernel: as first domain, and as a DomU beside guests that must keep running.
//!
//! Short runs with fixed seeds; long ones are started by hand, see `docs/fuzzing.md`.

use crate::case::{Case, XEN_LITE};

/// Seeds of the runs as first domain.
const SEEDS: [u32; 2] = [1, 2];
/// What the fuzzer prints when it finds something itself.
const FAILED: &str = "RESULT: fail";

/// The cases.
pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = SEEDS.iter().map(|&seed| first(seed)).collect();
    cases.push(beside_others());
    cases
}

fn first(seed: u32) -> Case {
    Case::new(&format!("fuzzer-{seed}"), "guests/fuzzer")
        .on(XEN_LITE)
        .options("dom0_mem=64M guest_loglvl=none")
        .args(&format!("seed={seed} rounds=4000"))
        .forbid(FAILED)
        .expect("RESULT: pass", 120)
        .limit(160)
}

/// Memory that is free before must be free after it, and the others go on ticking while it runs and afterwards.
fn beside_others() -> Case {
    let script = "create hello; create counter; wait hello 'tick 1' 60; wait counter 'count ' 60; free; create fuzzer; \
                  wait fuzzer 'RESULT: ' 150; wait fuzzer 'RESULT: pass' 1; expect-gone fuzzer 60; free; \
                  send hello still-there; wait hello still-there 60; list; poweroff";
    Case::new("fuzzer-domu", "dom0")
        .on(XEN_LITE)
        .options("dom0_mem=128M guest_loglvl=none")
        .initrd("tests.cpio")
        .script(script)
        .forbid(FAILED)
        .expect("SCRIPT ok", 240)
        .limit(300)
}
