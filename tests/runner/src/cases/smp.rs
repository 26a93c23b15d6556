//! Machines with several CPUs, and guests with several virtual ones.
//!
//! On one CPU, vCPUs never really run at the same time. These cases are few, because an emulated machine with several CPUs
//! takes as many of the real one: each puts much into one boot.

use crate::case::{Case, End, XEN_LITE};

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![churn(), more_vcpus_than_cpus(), first_domain(), attacks()]
}

/// Dom0 with Debian on four vCPUs, a guest that counts, and guests of its own.
fn shell(name: &str, cpus: u32, script: &str) -> Case {
    Case::new(name, "dom0")
        .on(XEN_LITE)
        .cpus(cpus)
        .memory(1024)
        .options("dom0_mem=256M")
        .initrd("smp.cpio")
        .script(script)
        .expect(&format!("CPUs: {cpus} running"), 60)
        .expect("SCRIPT ok", 300)
        .limit(400)
}

/// Domains come and go on four CPUs beside Linux with four vCPUs; no frame is lost, and all go on. They come once Linux is up: while
/// it boots, the hypervisor takes frames for its grant table.
fn churn() -> Case {
    shell(
        "churn-smp4",
        4,
        "create debian4; create counter; wait debian4 'sum=42 cpus=4' 200; churn hello 40; \
         send debian4 'good morning'; wait debian4 'ECHO <good morning>' 60; list; poweroff",
    )
}

/// Twice as many vCPUs as CPUs: Linux powers off by itself.
fn more_vcpus_than_cpus() -> Case {
    shell(
        "debian-smp2",
        2,
        "create debian4; wait debian4 'sum=42 cpus=4' 200; send debian4 poweroff; expect-gone debian4 60; poweroff",
    )
}

/// The self-checking guest alone, with more CPUs than it uses.
fn first_domain() -> Case {
    Case::new("selftest-smp4", "guests/selftest")
        .on(XEN_LITE)
        .cpus(4)
        .options("dom0_mem=64M dom0_max_vcpus=2")
        .forbid("RESULT: fail")
        .expect("RESULT: pass", 60)
        .end(End::StaysOn)
}

/// The attacks again, with two vCPUs at once on the same frames, grants and ports.
fn attacks() -> Case {
    Case::new("advisories-smp2", "guests/advisories")
        .on(XEN_LITE)
        .cpus(2)
        .options("dom0_mem=64M dom0_max_vcpus=2")
        .forbid("RESULT: fail")
        .expect("RESULT: pass", 240)
        .limit(300)
        .end(End::StaysOn)
}
