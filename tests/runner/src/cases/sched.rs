//! Who gets the CPUs, and when: domains that compete, by a clock that counts instructions.

use crate::case::{Case, End, XEN_LITE};

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        crowd("crowd", 1),
        crowd("crowd-smp2", 2),
        migrate(),
        answers(),
        some_cpus("selftest-maxcpus", "maxcpus=2", 2),
        some_cpus("selftest-nosmp", "nosmp", 1),
        some_cpus("selftest-null", "sched=null dom0_max_vcpus=2", 4),
    ]
}

/// Nanoseconds that an instruction takes, as a power of two: so few make a second that many seconds can pass.
const SHIFT: u8 = 5;

/// With such a clock, QEMU lets one CPU after the other run, each for up to a tenth of a second: that long a wake-up on another CPU may
/// have to wait besides. On real CPUs there is no such thing, and the core's simulations show what the scheduler does.
const TURN_MS: u32 = 100;

/// 128 idle domains and eight busy ones of different weights on a machine of 2 GiB.
fn crowd(name: &str, cpus: u32) -> Case {
    Case::new(name, "guests/crowd")
        .on(XEN_LITE)
        .cpus(cpus)
        .memory(2048)
        .counted(SHIFT)
        .options("dom0_mem=64M")
        .args(&format!("slack={}", (cpus - 1) * TURN_MS))
        .expect("RESULT: pass", 200)
        .limit(240)
}

/// vCPUs are moved and plugged while two CPUs are busy.
fn migrate() -> Case {
    Case::new("migrate-smp2", "guests/migrate")
        .on(XEN_LITE)
        .cpus(2)
        .options("dom0_mem=64M dom0_max_vcpus=1")
        .expect("RESULT: pass", 200)
        .limit(240)
}

/// The self-checking guest with options that choose CPUs or the policy, on four CPUs of which so many are to run.
fn some_cpus(name: &str, options: &str, running: u32) -> Case {
    Case::new(name, "guests/selftest")
        .on(XEN_LITE)
        .cpus(4)
        .options(&format!("{options} dom0_mem=64M"))
        .forbid("RESULT: fail")
        .expect(&format!("CPUs: {running} running"), 60)
        .expect("RESULT: pass", 120)
        .end(End::StaysOn)
}

/// What toolstacks set and read of the credit scheduler, on both hypervisors.
fn answers() -> Case {
    Case::new("credit", "guests/credit").options("sched=credit dom0_mem=64M").expect("RESULT: pass", 100)
}
