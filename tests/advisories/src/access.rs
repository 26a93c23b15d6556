//! Calls that only a control domain may make, and versions and modes that are left out.

use crate::{Case, Outcome, Stop, hold, refused};
use conformance::space::{at, call, own_id};
use domu_sdk::abi::xen::hypercall::{DOMCTL, GRANT_TABLE_OP, MEMORY_OP, PHYSDEV_OP, PLATFORM_OP, SYSCTL};
use domu_sdk::start;

/// The cases.
pub const CASES: &[Case] = &[
    ("xsa-77-control-calls", control_calls),
    ("xsa-499-other-domains", other_domains),
    ("left-out", left_out),
];

/// XSA-77, XSA-492: a call for toolstacks that a guest can make. All of them, with all their commands, about itself and others.
fn control_calls() -> Outcome {
    if start::is_privileged() {
        return Err(Stop::Skip("this is a control domain"));
    }
    let mut request = [0_u64; 32];
    for (number, version) in [(DOMCTL, 0x15_u64), (SYSCTL, 0x15), (PLATFORM_OP, 0x0300_0000)] {
        for command in 0..100_u64 {
            for domain in [0, own_id(), 0x7ff0] {
                request = [0; 32];
                request[0] = command | version << 32;
                request[1] = domain;
                refused(call(number, [at(&mut request), 0, 0, 0, 0]), "a call for toolstacks")?;
            }
        }
    }
    for command in [10, 13, 15, 16, 20, 24, 25, 26, 30] {
        refused(call(PHYSDEV_OP, [command, at(&mut request), 0, 0, 0]), "a call about devices")?;
    }
    Ok(())
}

/// XSA-499 and others: a guest that names another domain, which may be there or not, gets nothing.
fn other_domains() -> Outcome {
    if start::is_privileged() {
        return Err(Stop::Skip("this is a control domain"));
    }
    for domain in [0, 1, 2, 3, 0x7ff1, 0x7ff2, 0x7ff4].into_iter().filter(|domain| *domain != own_id()) {
        let mut request = [0_u64; 32];
        for command in [3, 4, 14, 24, 28] {
            request[0] = domain;
            refused(
                call(MEMORY_OP, [command, at(&mut request), 0, 0, 0]),
                "a question about another domain's memory",
            )?;
        }
        for command in [0, 1, 6] {
            request = [0; 32];
            request[1] = 1;
            request[3] = domain;
            hold(
                call(MEMORY_OP, [command, at(&mut request), 0, 0, 0]).0 <= 0,
                "another domain's memory changed",
            )?;
        }
        request = [domain, 0, 0, 0]
            .iter()
            .copied()
            .chain(core::iter::repeat(0))
            .take(32)
            .collect::<alloc::vec::Vec<u64>>()
            .try_into()
            .unwrap_or([0; 32]);
        refused(
            call(GRANT_TABLE_OP, [10, at(&mut request), 1, 0, 0]),
            "the version of another domain's grant table",
        )?;
    }
    Ok(())
}

/// What is left out stays out: populate on demand, sharing, paging, version 3 of the grant table.
fn left_out() -> Outcome {
    let mut request = [0_u64; 32];
    for command in [16, 17, 20, 22] {
        refused(call(MEMORY_OP, [command, at(&mut request), 0, 0, 0]), "a feature that is left out")?;
    }
    request[0] = 3;
    refused(call(GRANT_TABLE_OP, [8, at(&mut request), 1, 0, 0]), "version 3 of the grant table")
}
