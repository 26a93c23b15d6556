//! `sysctl`: what a control domain asks about and does to the whole machine.

use super::{Result, input, output};
use crate::{arch, types::DomId};
use abi::{
    GuestPtr,
    domctl::DomctlGetdomaininfo,
    sysctl::{
        Sysctl, SysctlAvailheap, SysctlCpuinfo, SysctlDebugKeys, SysctlGetcpuinfo, SysctlGetdomaininfolist,
        SysctlPhysinfo, SysctlReadconsole, SysctlSchedulerOp, XEN_SYSCTL_AVAILHEAP, XEN_SYSCTL_DEBUG_KEYS,
        XEN_SYSCTL_GETCPUINFO, XEN_SYSCTL_GETDOMAININFOLIST, XEN_SYSCTL_INTERFACE_VERSION,
        XEN_SYSCTL_PHYSINFO, XEN_SYSCTL_READCONSOLE, XEN_SYSCTL_SCHED_ID, XEN_SYSCTL_SCHEDULER_OP,
    },
    xen::hypercall::SYSCTL,
};

fn call<T>(command: u32, member: T) -> Result<T>
where
    T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable,
{
    let mut argument =
        Sysctl { cmd: command, interface_version: XEN_SYSCTL_INTERFACE_VERSION, ..Sysctl::default() };
    argument.u.set(member);
    arch::call(SYSCTL, [output(&mut argument), 0, 0, 0, 0])?;
    Ok(argument.u.get())
}

/// Reads or sets parameters of a scheduler, as `what` says; what the hypervisor made of it.
pub fn scheduler_op(what: SysctlSchedulerOp) -> Result<SysctlSchedulerOp> {
    call(XEN_SYSCTL_SCHEDULER_OP, what)
}

/// CPUs, memory and capabilities of the machine.
pub fn physinfo() -> Result<SysctlPhysinfo> {
    call(XEN_SYSCTL_PHYSINFO, SysctlPhysinfo::default())
}

/// Fills `list` with domains from number `first` on; how many there were.
pub fn domain_list(first: DomId, list: &mut [DomctlGetdomaininfo]) -> Result<usize> {
    let argument = SysctlGetdomaininfolist {
        first_domain: first.0,
        max_domains: list.len() as u32,
        buffer: GuestPtr::new(output(list)),
        ..Default::default()
    };
    let answer = call(XEN_SYSCTL_GETDOMAININFOLIST, argument)?;
    Ok((answer.num_domains as usize).min(list.len()))
}

/// Copies the hypervisor's log into `buffer`; the number of bytes. `clear` empties the log.
pub fn read_console(buffer: &mut [u8], clear: bool) -> Result<usize> {
    let argument = SysctlReadconsole {
        clear: clear.into(),
        buffer: GuestPtr::new(output(buffer)),
        count: buffer.len() as u32,
        ..Default::default()
    };
    let answer = call(XEN_SYSCTL_READCONSOLE, argument)?;
    Ok((answer.count as usize).min(buffer.len()))
}

/// What the hypervisor prints for its debug keys.
pub fn debug_keys(keys: &[u8]) -> Result {
    let argument = SysctlDebugKeys {
        keys: GuestPtr::new(input(keys)),
        nr_keys: keys.len() as u32,
        ..Default::default()
    };
    call(XEN_SYSCTL_DEBUG_KEYS, argument).map(|_| ())
}

/// Number of the scheduler (`XEN_SCHEDULER_*`).
pub fn scheduler() -> Result<u32> {
    call(XEN_SYSCTL_SCHED_ID, abi::sysctl::SysctlSchedId::default()).map(|answer| answer.sched_id)
}

/// Fills `list` with the idle time of each CPU; how many there are.
pub fn cpu_info(list: &mut [SysctlCpuinfo]) -> Result<usize> {
    let argument = SysctlGetcpuinfo {
        max_cpus: list.len() as u32,
        info: GuestPtr::new(output(list)),
        ..Default::default()
    };
    let answer = call(XEN_SYSCTL_GETCPUINFO, argument)?;
    Ok((answer.nr_cpus as usize).min(list.len()))
}

/// Free memory of the machine in bytes.
pub fn available_heap() -> Result<u64> {
    let argument = SysctlAvailheap { node: -1, ..Default::default() };
    call(XEN_SYSCTL_AVAILHEAP, argument).map(|answer| answer.avail_bytes)
}
