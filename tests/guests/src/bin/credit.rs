//! What toolstacks set and read of the scheduler: weights, caps, slice and rate limit, and what is refused.
//!
//! Runs as the first domain on both hypervisors under the credit scheduler; what must be answered is what upstream Xen 4.17 answers.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use abi::{
    domctl::{
        DomctlSchedCredit, DomctlSchedulerOp, XEN_DOMCTL_SCHEDOP_GETINFO, XEN_DOMCTL_SCHEDOP_GETVCPUINFO,
        XEN_DOMCTL_SCHEDOP_PUTINFO, XEN_SCHEDULER_CREDIT, XEN_SCHEDULER_CREDIT2,
    },
    errno::Errno,
    sysctl::{
        SysctlCreditSchedule, SysctlSchedulerOp, XEN_SYSCTL_SCHEDOP_GETINFO, XEN_SYSCTL_SCHEDOP_PUTINFO,
    },
};
use alloc::{format, string::String};
use domu_sdk::{
    DomId,
    hypercall::{domctl, sysctl},
    println,
    shutdown::Reason,
};
use test_guests::tiny::{Job, Tiny};

const GET: u32 = XEN_SYSCTL_SCHEDOP_GETINFO;
const PUT: u32 = XEN_SYSCTL_SCHEDOP_PUTINFO;

#[domu_sdk::main]
fn main() -> Reason {
    match credit() {
        Ok(0) => println!("RESULT: pass"),
        Ok(wrong) => println!("RESULT: fail: {wrong} answers"),
        Err(error) => println!("RESULT: fail: {error}"),
    }
    Reason::Reboot
}

/// The machine's parameters as text: slice, rate limit, delay of migration.
fn machine(pool: u32, id: u32, command: u32, given: (u32, u32, u32)) -> String {
    let mut what = SysctlSchedulerOp { cpupool_id: pool, sched_id: id, cmd: command, ..Default::default() };
    what.set_sched_credit(SysctlCreditSchedule {
        tslice_ms: given.0,
        ratelimit_us: given.1,
        vcpu_migr_delay_us: given.2,
    });
    said(sysctl::scheduler_op(what).map(|what| {
        let SysctlCreditSchedule { tslice_ms, ratelimit_us, vcpu_migr_delay_us } = what.as_sched_credit();
        format!("{tslice_ms} {ratelimit_us} {vcpu_migr_delay_us}")
    }))
}

/// A domain's weight and cap as text.
fn domain(domain: DomId, id: u32, command: u32, weight: u16, cap: u16) -> String {
    let mut what = DomctlSchedulerOp { sched_id: id, cmd: command, ..Default::default() };
    what.set_credit(DomctlSchedCredit { weight, cap });
    said(domctl::scheduler_op(domain, what).map(|what| {
        let DomctlSchedCredit { weight, cap } = what.as_credit();
        format!("{weight} {cap}")
    }))
}

fn said(answer: Result<String, Errno>) -> String {
    answer.unwrap_or_else(|error| format!("{error:?}"))
}

/// Counts and shows the rows that are not as they must be.
fn judge(rows: &[(&str, String, &str)]) -> u32 {
    let mut wrong = 0;
    for (name, got, must) in rows {
        if got != must {
            println!("{name}: {got}, must be {must}");
            wrong += 1;
        }
    }
    println!("{} answers", rows.len());
    wrong
}

fn credit() -> Result<u32, String> {
    const ID: u32 = XEN_SCHEDULER_CREDIT;
    let (get, put) = (XEN_DOMCTL_SCHEDOP_GETINFO, XEN_DOMCTL_SCHEDOP_PUTINFO);
    let none = (0, 0, 0);
    let set = |given| machine(0, ID, PUT, given);
    let tiny = Tiny::new(Job::Idle, 2)?;
    let (dom, unknown) = (tiny.domain, DomId(0x7000));
    let wrong = judge(&[
        ("defaults", machine(0, ID, GET, none), "30 1000 0"),
        ("all set", set((5, 2000, 100)), "5 2000 100"),
        ("kept", machine(0, ID, GET, none), "5 2000 100"),
        ("no rate limit", set((1000, 0, 100_000)), "1000 0 100000"),
        ("least", set((1, 100, 0)), "1 100 0"),
        ("most", set((1000, 500_000, 0)), "1000 500000 0"),
        ("slice 0", set((0, 0, 0)), "EINVAL"),
        ("slice above", set((1001, 0, 0)), "EINVAL"),
        ("rate below", set((30, 99, 0)), "EINVAL"),
        ("rate above", set((1000, 500_001, 0)), "EINVAL"),
        ("rate above slice", set((1, 1001, 0)), "EINVAL"),
        ("delay above", set((30, 0, 100_001)), "EINVAL"),
        ("unchanged", machine(0, ID, GET, none), "1000 500000 0"),
        ("as before", set((30, 1000, 0)), "30 1000 0"),
        ("another command", machine(0, ID, 2, none), "EINVAL"),
        ("another pool", machine(1, ID, GET, none), "ESRCH"),
        ("another scheduler", machine(0, XEN_SCHEDULER_CREDIT2, GET, none), "EINVAL"),
        ("no such command, no such pool", machine(1, ID, 2, none), "EINVAL"),
        ("no such pool, another scheduler", machine(1, XEN_SCHEDULER_CREDIT2, GET, none), "ESRCH"),
        ("domain: defaults", domain(dom, ID, get, 9, 9), "256 0"),
        ("domain: set", domain(dom, ID, put, 512, 150), "512 150"),
        ("domain: kept", domain(dom, ID, get, 0, 0), "512 150"),
        ("domain: neither", domain(dom, ID, put, 0, 0xffff), "0 65535"),
        ("domain: both kept", domain(dom, ID, get, 0, 0), "512 150"),
        ("domain: beyond", domain(dom, ID, put, 0xffff, 0xfffe), "65535 65534"),
        ("domain: taken", domain(dom, ID, get, 0, 0), "65535 65534"),
        ("domain: weight 1, no cap", domain(dom, ID, put, 1, 0), "1 0"),
        ("domain: both", domain(dom, ID, get, 0, 0), "1 0"),
        ("domain: by vCPU", domain(dom, ID, XEN_DOMCTL_SCHEDOP_GETVCPUINFO, 0, 0), "EINVAL"),
        ("domain: another command", domain(dom, ID, 4, 0, 0), "EINVAL"),
        ("domain: another scheduler", domain(dom, XEN_SCHEDULER_CREDIT2, get, 0, 0), "EINVAL"),
        ("domain: unknown", domain(unknown, ID, get, 0, 0), "ESRCH"),
        ("first domain", domain(DomId::DOM0, ID, get, 0, 0), "256 0"),
    ]);
    tiny.destroy()?;
    Ok(wrong)
}
