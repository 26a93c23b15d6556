//! `domctl` (domctl.h): what a toolstack does to one domain. The structure is copied in once; a command that has an answer
//! changes its copy, which goes back to the caller.

mod life;
mod resources;
mod vcpu;

use abi::domctl::*;

use super::coverage::{Sub, full, partial};
use super::guest::{read_one, write_one};
use super::{Args, Caller};
use crate::Hypervisor;
use crate::access::control_over;
use crate::addr::DomId;
use crate::effects::{Done, Effects};
use crate::fail::{Errno, Fail};
use crate::platform::Platform;

/// Commands.
pub const SUBS: &[Sub] = &[
    full(XEN_DOMCTL_CREATEDOMAIN, "XEN_DOMCTL_createdomain"),
    full(XEN_DOMCTL_DESTROYDOMAIN, "XEN_DOMCTL_destroydomain"),
    full(XEN_DOMCTL_PAUSEDOMAIN, "XEN_DOMCTL_pausedomain"),
    full(XEN_DOMCTL_UNPAUSEDOMAIN, "XEN_DOMCTL_unpausedomain"),
    full(XEN_DOMCTL_RESUMEDOMAIN, "XEN_DOMCTL_resumedomain"),
    full(XEN_DOMCTL_GETDOMAININFO, "XEN_DOMCTL_getdomaininfo"),
    full(XEN_DOMCTL_SETDOMAINHANDLE, "XEN_DOMCTL_setdomainhandle"),
    full(XEN_DOMCTL_MAX_MEM, "XEN_DOMCTL_max_mem"),
    full(XEN_DOMCTL_MAX_VCPUS, "XEN_DOMCTL_max_vcpus"),
    full(XEN_DOMCTL_HYPERCALL_INIT, "XEN_DOMCTL_hypercall_init"),
    partial(XEN_DOMCTL_SET_ADDRESS_SIZE, "XEN_DOMCTL_set_address_size", "64 bits only, as without CONFIG_PV32"),
    full(XEN_DOMCTL_GET_ADDRESS_SIZE, "XEN_DOMCTL_get_address_size"),
    partial(XEN_DOMCTL_SET_CPU_POLICY, "XEN_DOMCTL_set_cpu_policy", "read and checked for size; the host's policy stays"),
    partial(XEN_DOMCTL_GETTSCINFO, "XEN_DOMCTL_gettscinfo", "the TSC is always native"),
    partial(XEN_DOMCTL_SETTSCINFO, "XEN_DOMCTL_settscinfo", "default and native mode only"),
    full(XEN_DOMCTL_SETVCPUCONTEXT, "XEN_DOMCTL_setvcpucontext"),
    full(XEN_DOMCTL_GETVCPUCONTEXT, "XEN_DOMCTL_getvcpucontext"),
    full(XEN_DOMCTL_GETVCPUINFO, "XEN_DOMCTL_getvcpuinfo"),
    full(XEN_DOMCTL_SETVCPUAFFINITY, "XEN_DOMCTL_setvcpuaffinity"),
    full(XEN_DOMCTL_GETVCPUAFFINITY, "XEN_DOMCTL_getvcpuaffinity"),
    partial(XEN_DOMCTL_SETNODEAFFINITY, "XEN_DOMCTL_setnodeaffinity", "one node"),
    full(XEN_DOMCTL_GETNODEAFFINITY, "XEN_DOMCTL_getnodeaffinity"),
    partial(XEN_DOMCTL_SCHEDULER_OP, "XEN_DOMCTL_scheduler_op", "domain-wide weight and cap of the credit scheduler"),
];

pub use life::fill as describe;

/// A command's answer: consequences, and whether the structure goes back.
type Answer = Result<(Effects, bool), Fail>;

/// Nothing to write back.
const PLAIN: Answer = Ok((Effects::NONE, false));
/// The structure goes back.
const WRITE_BACK: Answer = Ok((Effects::NONE, true));

/// Argument 0 is the address of `struct xen_domctl`.
pub fn domctl<P: Platform>(hv: &Hypervisor<P>, caller: &mut Caller<'_>, args: &mut Args) -> Result<Done, Fail> {
    let mut op: Domctl = read_one(hv, args[0])?;
    if op.interface_version != XEN_DOMCTL_INTERFACE_VERSION {
        return Err(Errno::EACCES.into());
    }
    let (effects, write_back) = match op.cmd {
        XEN_DOMCTL_CREATEDOMAIN => life::create(hv, &mut op)?,
        XEN_DOMCTL_GETDOMAININFO => life::info(hv, caller, &mut op)?,
        _ => on_target(hv, caller, &mut op)?,
    };
    if write_back {
        write_one(hv, args[0], &op)?;
    }
    Ok(Done::with(effects))
}

fn on_target<P: Platform>(hv: &Hypervisor<P>, caller: &mut Caller<'_>, op: &mut Domctl) -> Answer {
    let target = control_over(hv, caller, DomId::new(op.domain))?;
    let is_self = target.id == caller.domain.id;
    match op.cmd {
        // A domain that ended itself in the middle of its own call could not be given an answer.
        XEN_DOMCTL_DESTROYDOMAIN
        | XEN_DOMCTL_PAUSEDOMAIN
        | XEN_DOMCTL_UNPAUSEDOMAIN
        | XEN_DOMCTL_SETVCPUCONTEXT
        | XEN_DOMCTL_GETVCPUCONTEXT
        | XEN_DOMCTL_RESUMEDOMAIN
            if is_self =>
        {
            Err(Errno::EINVAL.into())
        }
        XEN_DOMCTL_DESTROYDOMAIN => life::destroy(hv, &target),
        XEN_DOMCTL_PAUSEDOMAIN => life::pause(hv, &target),
        XEN_DOMCTL_UNPAUSEDOMAIN => life::unpause(hv, &target),
        XEN_DOMCTL_RESUMEDOMAIN => Ok((hv.sched.resume(hv, &target), false)),
        XEN_DOMCTL_SETDOMAINHANDLE => life::set_handle(&target, op),
        XEN_DOMCTL_MAX_MEM => resources::max_mem(&target, op),
        XEN_DOMCTL_MAX_VCPUS => resources::max_vcpus(hv, &target, op),
        XEN_DOMCTL_HYPERCALL_INIT => resources::hypercall_init(hv, &target, op),
        XEN_DOMCTL_SET_ADDRESS_SIZE => resources::set_address_size(&target, op),
        XEN_DOMCTL_GET_ADDRESS_SIZE => resources::get_address_size(op),
        XEN_DOMCTL_SET_CPU_POLICY => resources::set_cpu_policy(op),
        XEN_DOMCTL_GETTSCINFO => resources::get_tsc_info(hv, op),
        XEN_DOMCTL_SETTSCINFO => resources::set_tsc_info(op),
        XEN_DOMCTL_SCHEDULER_OP => resources::scheduler_op(hv, &target, op),
        XEN_DOMCTL_SETNODEAFFINITY => PLAIN,
        XEN_DOMCTL_GETNODEAFFINITY => resources::get_node_affinity(hv, op),
        XEN_DOMCTL_SETVCPUCONTEXT => vcpu::set_context(hv, &target, op),
        XEN_DOMCTL_GETVCPUCONTEXT => vcpu::get_context(hv, &target, op),
        XEN_DOMCTL_GETVCPUINFO => vcpu::info(hv, &target, op),
        XEN_DOMCTL_SETVCPUAFFINITY => vcpu::set_affinity(hv, &target, op),
        XEN_DOMCTL_GETVCPUAFFINITY => vcpu::get_affinity(hv, &target, op),
        _ => Err(Errno::ENOSYS.into()),
    }
}
