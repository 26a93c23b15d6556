//! `sysctl` (sysctl.h): what a toolstack asks of the machine as a whole.

mod console;
mod keys;
mod machine;
mod policy;
mod power;
#[cfg(test)]
mod tests;

use abi::sysctl::*;

use super::coverage::{Sub, full, partial, refused};
use super::guest::{GuestHandle, read_one, write_one};
use super::{Args, Caller};
use crate::Hypervisor;
use crate::addr::DomId;
use crate::effects::Done;
use crate::fail::{Errno, Fail};
use crate::platform::Platform;

/// Commands.
pub const SUBS: &[Sub] = &[
    full(XEN_SYSCTL_READCONSOLE, "XEN_SYSCTL_readconsole"),
    full(XEN_SYSCTL_PHYSINFO, "XEN_SYSCTL_physinfo"),
    full(XEN_SYSCTL_SCHED_ID, "XEN_SYSCTL_sched_id"),
    full(XEN_SYSCTL_GETDOMAININFOLIST, "XEN_SYSCTL_getdomaininfolist"),
    full(XEN_SYSCTL_AVAILHEAP, "XEN_SYSCTL_availheap"),
    partial(XEN_SYSCTL_CPUTOPOINFO, "XEN_SYSCTL_cputopoinfo", "each CPU is a core of one socket"),
    partial(XEN_SYSCTL_NUMAINFO, "XEN_SYSCTL_numainfo", "one node"),
    partial(XEN_SYSCTL_CPUPOOL_OP, "XEN_SYSCTL_cpupool_op", "one pool, which cannot be changed"),
    partial(XEN_SYSCTL_TBUF_OP, "XEN_SYSCTL_tbuf_op", "tells that there are no trace buffers"),
    partial(XEN_SYSCTL_DEBUG_KEYS, "XEN_SYSCTL_debug_keys", "h, q, r"),
    partial(XEN_SYSCTL_GETCPUINFO, "XEN_SYSCTL_getcpuinfo", "time of domains that are gone counts as idle"),
    refused(XEN_SYSCTL_GET_PMSTAT, "XEN_SYSCTL_get_pmstat", "no frequency or idle-state driver: ENODEV"),
    refused(XEN_SYSCTL_PM_OP, "XEN_SYSCTL_pm_op", "no frequency or idle-state driver"),
    refused(XEN_SYSCTL_CPU_HOTPLUG, "XEN_SYSCTL_cpu_hotplug", "CPUs stay as they are"),
    full(XEN_SYSCTL_SCHEDULER_OP, "XEN_SYSCTL_scheduler_op"),
    refused(XEN_SYSCTL_COVERAGE_OP, "XEN_SYSCTL_coverage_op", "not built for it: EOPNOTSUPP"),
    refused(XEN_SYSCTL_PSR_CMT_OP, "XEN_SYSCTL_psr_cmt_op", "no cache monitoring: ENODEV"),
    refused(XEN_SYSCTL_PSR_ALLOC, "XEN_SYSCTL_psr_alloc", "no cache allocation: ENODEV"),
    partial(XEN_SYSCTL_PCITOPOINFO, "XEN_SYSCTL_pcitopoinfo", "no device is known"),
    full(XEN_SYSCTL_GET_CPU_LEVELLING_CAPS, "XEN_SYSCTL_get_cpu_levelling_caps"),
    partial(XEN_SYSCTL_GET_CPU_FEATURESET, "XEN_SYSCTL_get_cpu_featureset", "machine and PV guests"),
    partial(XEN_SYSCTL_GET_CPU_POLICY, "XEN_SYSCTL_get_cpu_policy", "machine and PV guests"),
    refused(XEN_SYSCTL_LIVEPATCH_OP, "XEN_SYSCTL_livepatch_op", "no live patches: EOPNOTSUPP"),
];

/// Argument 0 is the address of `struct xen_sysctl`.
pub fn sysctl<P: Platform>(hv: &Hypervisor<P>, _: &mut Caller<'_>, args: &mut Args) -> Result<Done, Fail> {
    let mut op: Sysctl = read_one(hv, args[0])?;
    if op.interface_version != XEN_SYSCTL_INTERFACE_VERSION {
        return Err(Errno::EACCES.into());
    }
    match op.cmd {
        XEN_SYSCTL_READCONSOLE => console::read(hv, &mut op)?,
        XEN_SYSCTL_PHYSINFO => machine::physinfo(hv, &mut op),
        XEN_SYSCTL_SCHED_ID => op.set_sched_id(SysctlSchedId { sched_id: hv.sched.policy().0 }),
        XEN_SYSCTL_GETDOMAININFOLIST => domain_list(hv, &mut op)?,
        XEN_SYSCTL_AVAILHEAP => machine::available(hv, &mut op),
        XEN_SYSCTL_CPUTOPOINFO => machine::topology(hv, &mut op)?,
        XEN_SYSCTL_NUMAINFO => machine::nodes(hv, &mut op)?,
        XEN_SYSCTL_CPUPOOL_OP => machine::cpupool(hv, &mut op)?,
        XEN_SYSCTL_TBUF_OP => power::trace_buffers(&mut op)?,
        XEN_SYSCTL_DEBUG_KEYS => keys::press(hv, &op)?,
        XEN_SYSCTL_GETCPUINFO => machine::idle_times(hv, &mut op)?,
        XEN_SYSCTL_PM_OP => return Err(power::management(&op).into()),
        XEN_SYSCTL_CPU_HOTPLUG => return Err(power::hotplug(hv, &op).into()),
        XEN_SYSCTL_SCHEDULER_OP => power::scheduler(hv, &mut op)?,
        XEN_SYSCTL_PCITOPOINFO => machine::devices(hv, &mut op)?,
        // Guests see what is filtered for them; no CPU is asked to show less than it has.
        XEN_SYSCTL_GET_CPU_LEVELLING_CAPS => op.set_cpu_levelling_caps(SysctlCpuLevellingCaps::default()),
        XEN_SYSCTL_GET_CPU_FEATURESET => policy::features(hv, &mut op)?,
        XEN_SYSCTL_GET_CPU_POLICY => policy::get(hv, &mut op)?,
        XEN_SYSCTL_GET_PMSTAT => return Err(power::statistics(hv, &op).into()),
        XEN_SYSCTL_PSR_CMT_OP | XEN_SYSCTL_PSR_ALLOC => return Err(Errno::ENODEV.into()),
        XEN_SYSCTL_COVERAGE_OP | XEN_SYSCTL_LIVEPATCH_OP => return Err(Errno::EOPNOTSUPP.into()),
        _ => return Err(Errno::ENOSYS.into()),
    }
    write_one(hv, args[0], &op)?;
    Ok(Done::OK)
}

/// Domains from `first_domain` on, as many as the caller has room for.
fn domain_list<P: Platform>(hv: &Hypervisor<P>, op: &mut Sysctl) -> Result<(), Errno> {
    let mut list = op.as_getdomaininfolist();
    let out = GuestHandle::new(list.buffer.addr(), u64::from(list.max_domains))?;
    list.num_domains = 0;
    let mut next = DomId::new(list.first_domain);
    while list.num_domains < list.max_domains
        && let Some(domain) = hv.domains.next_from(next)
    {
        out.write(hv, u64::from(list.num_domains), &super::domctl::describe(hv, &domain))?;
        list.num_domains += 1;
        let Some(following) = domain.id.checked_add(1) else { break };
        next = following;
    }
    op.set_getdomaininfolist(list);
    Ok(())
}
