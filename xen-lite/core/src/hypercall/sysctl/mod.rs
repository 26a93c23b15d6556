//! `sysctl` (sysctl.h): what a toolstack asks of the machine as a whole.

mod console;
mod machine;

use abi::sysctl::*;

use super::coverage::{Sub, full, partial};
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
