//! `domctl` (domctl.h): what a toolstack does to one domain. The structure is copied in once; a command that has an answer
//! changes its copy, which goes back to the caller.

mod devices;
mod frames;
mod life;
pub mod policy;
mod resources;
mod state;
#[cfg(test)]
mod tests;
mod vcpu;

use abi::domctl::*;

use super::coverage::{Sub, full, partial, refused};
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
    partial(XEN_DOMCTL_CREATEDOMAIN, "XEN_DOMCTL_createdomain", "PV guests without IOMMU; at most 128 vCPUs"),
    full(XEN_DOMCTL_DESTROYDOMAIN, "XEN_DOMCTL_destroydomain"),
    full(XEN_DOMCTL_PAUSEDOMAIN, "XEN_DOMCTL_pausedomain"),
    full(XEN_DOMCTL_UNPAUSEDOMAIN, "XEN_DOMCTL_unpausedomain"),
    full(XEN_DOMCTL_RESUMEDOMAIN, "XEN_DOMCTL_resumedomain"),
    full(XEN_DOMCTL_GETDOMAININFO, "XEN_DOMCTL_getdomaininfo"),
    full(XEN_DOMCTL_SETDOMAINHANDLE, "XEN_DOMCTL_setdomainhandle"),
    full(XEN_DOMCTL_MAX_MEM, "XEN_DOMCTL_max_mem"),
    full(XEN_DOMCTL_MAX_VCPUS, "XEN_DOMCTL_max_vcpus"),
    full(XEN_DOMCTL_HYPERCALL_INIT, "XEN_DOMCTL_hypercall_init"),
    partial(
        XEN_DOMCTL_SET_ADDRESS_SIZE,
        "XEN_DOMCTL_set_address_size",
        "64 bits only, as without CONFIG_PV32",
    ),
    full(XEN_DOMCTL_GET_ADDRESS_SIZE, "XEN_DOMCTL_get_address_size"),
    partial(XEN_DOMCTL_GETTSCINFO, "XEN_DOMCTL_gettscinfo", "the TSC is always native"),
    partial(XEN_DOMCTL_SETTSCINFO, "XEN_DOMCTL_settscinfo", "default and native mode only"),
    full(XEN_DOMCTL_SETVCPUCONTEXT, "XEN_DOMCTL_setvcpucontext"),
    full(XEN_DOMCTL_GETVCPUCONTEXT, "XEN_DOMCTL_getvcpucontext"),
    full(XEN_DOMCTL_GETVCPUINFO, "XEN_DOMCTL_getvcpuinfo"),
    full(XEN_DOMCTL_SETVCPUAFFINITY, "XEN_DOMCTL_setvcpuaffinity"),
    full(XEN_DOMCTL_GETVCPUAFFINITY, "XEN_DOMCTL_getvcpuaffinity"),
    partial(XEN_DOMCTL_SETNODEAFFINITY, "XEN_DOMCTL_setnodeaffinity", "one node"),
    full(XEN_DOMCTL_GETNODEAFFINITY, "XEN_DOMCTL_getnodeaffinity"),
    full(XEN_DOMCTL_SCHEDULER_OP, "XEN_DOMCTL_scheduler_op"),
    full(XEN_DOMCTL_GET_CPU_POLICY, "XEN_DOMCTL_get_cpu_policy"),
    partial(
        XEN_DOMCTL_SET_CPU_POLICY,
        "XEN_DOMCTL_set_cpu_policy",
        "features and highest leaves; MSRs stay 0",
    ),
    full(XEN_DOMCTL_GETPAGEFRAMEINFO3, "XEN_DOMCTL_getpageframeinfo3"),
    partial(
        XEN_DOMCTL_SENDTRIGGER,
        "XEN_DOMCTL_sendtrigger",
        "non-maskable interrupts, as for every PV guest",
    ),
    partial(
        XEN_DOMCTL_SETDEBUGGING,
        "XEN_DOMCTL_setdebugging",
        "kept and shown; breakpoints go to the guest",
    ),
    partial(
        XEN_DOMCTL_SETTIMEOFFSET,
        "XEN_DOMCTL_settimeoffset",
        "0 only: all domains have the machine's date",
    ),
    partial(XEN_DOMCTL_SET_EXT_VCPUCONTEXT, "XEN_DOMCTL_set_ext_vcpucontext", "no machine-check banks"),
    partial(XEN_DOMCTL_GET_EXT_VCPUCONTEXT, "XEN_DOMCTL_get_ext_vcpucontext", "no machine-check banks"),
    full(XEN_DOMCTL_SETVCPUEXTSTATE, "XEN_DOMCTL_setvcpuextstate"),
    full(XEN_DOMCTL_GETVCPUEXTSTATE, "XEN_DOMCTL_getvcpuextstate"),
    partial(XEN_DOMCTL_GET_VCPU_MSRS, "XEN_DOMCTL_get_vcpu_msrs", "TSC_AUX"),
    partial(XEN_DOMCTL_SET_VCPU_MSRS, "XEN_DOMCTL_set_vcpu_msrs", "TSC_AUX"),
    refused(XEN_DOMCTL_IRQ_PERMISSION, "XEN_DOMCTL_irq_permission", "no pass-through: EPERM"),
    partial(
        XEN_DOMCTL_IOMEM_PERMISSION,
        "XEN_DOMCTL_iomem_permission",
        "the first domain has it, others get EPERM",
    ),
    partial(
        XEN_DOMCTL_IOPORT_PERMISSION,
        "XEN_DOMCTL_ioport_permission",
        "the first domain has it, others get EPERM",
    ),
    refused(XEN_DOMCTL_ASSIGN_DEVICE, "XEN_DOMCTL_assign_device", "no IOMMU: EOPNOTSUPP"),
    refused(XEN_DOMCTL_TEST_ASSIGN_DEVICE, "XEN_DOMCTL_test_assign_device", "no IOMMU: EOPNOTSUPP"),
    refused(XEN_DOMCTL_DEASSIGN_DEVICE, "XEN_DOMCTL_deassign_device", "no IOMMU: EOPNOTSUPP"),
    refused(XEN_DOMCTL_GET_DEVICE_GROUP, "XEN_DOMCTL_get_device_group", "no IOMMU: EOPNOTSUPP"),
    refused(XEN_DOMCTL_BIND_PT_IRQ, "XEN_DOMCTL_bind_pt_irq", "not for PV: EINVAL"),
    refused(XEN_DOMCTL_UNBIND_PT_IRQ, "XEN_DOMCTL_unbind_pt_irq", "not for PV: EINVAL"),
    refused(XEN_DOMCTL_MEMORY_MAPPING, "XEN_DOMCTL_memory_mapping", "not for PV: EINVAL"),
    refused(XEN_DOMCTL_IOPORT_MAPPING, "XEN_DOMCTL_ioport_mapping", "not for PV: EOPNOTSUPP"),
    refused(XEN_DOMCTL_SHADOW_OP, "XEN_DOMCTL_shadow_op", "no shadow page tables: EINVAL"),
    refused(XEN_DOMCTL_SOFT_RESET, "XEN_DOMCTL_soft_reset", "not for PV: EINVAL"),
    refused(XEN_DOMCTL_GETHVMCONTEXT, "XEN_DOMCTL_gethvmcontext", "not for PV: EINVAL"),
    refused(XEN_DOMCTL_SETHVMCONTEXT, "XEN_DOMCTL_sethvmcontext", "not for PV: EINVAL"),
    refused(XEN_DOMCTL_GETHVMCONTEXT_PARTIAL, "XEN_DOMCTL_gethvmcontext_partial", "not for PV: EINVAL"),
    refused(XEN_DOMCTL_SET_TARGET, "XEN_DOMCTL_set_target", "no device models: EOPNOTSUPP"),
    refused(XEN_DOMCTL_SET_BROKEN_PAGE_P2M, "XEN_DOMCTL_set_broken_page_p2m", "not for PV: EINVAL"),
    refused(XEN_DOMCTL_SETVNUMAINFO, "XEN_DOMCTL_setvnumainfo", "one node: EINVAL"),
    refused(XEN_DOMCTL_PSR_CMT_OP, "XEN_DOMCTL_psr_cmt_op", "no cache monitoring: ENODEV"),
    refused(XEN_DOMCTL_PSR_ALLOC, "XEN_DOMCTL_psr_alloc", "no cache allocation: ENODEV"),
    refused(XEN_DOMCTL_MONITOR_OP, "XEN_DOMCTL_monitor_op", "not for PV: EOPNOTSUPP"),
    refused(XEN_DOMCTL_VMTRACE_OP, "XEN_DOMCTL_vmtrace_op", "not for PV: EINVAL"),
    refused(
        XEN_DOMCTL_GET_PAGING_MEMPOOL_SIZE,
        "XEN_DOMCTL_get_paging_mempool_size",
        "not for PV: EOPNOTSUPP",
    ),
    refused(
        XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE,
        "XEN_DOMCTL_set_paging_mempool_size",
        "not for PV: EOPNOTSUPP",
    ),
];

/// What a command that is refused on purpose answers.
const fn refusal(command: u32) -> Errno {
    match command {
        XEN_DOMCTL_ASSIGN_DEVICE
        | XEN_DOMCTL_TEST_ASSIGN_DEVICE
        | XEN_DOMCTL_DEASSIGN_DEVICE
        | XEN_DOMCTL_GET_DEVICE_GROUP
        | XEN_DOMCTL_IOPORT_MAPPING
        | XEN_DOMCTL_SET_TARGET
        | XEN_DOMCTL_MONITOR_OP
        | XEN_DOMCTL_GET_PAGING_MEMPOOL_SIZE
        | XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE => Errno::EOPNOTSUPP,
        XEN_DOMCTL_BIND_PT_IRQ
        | XEN_DOMCTL_UNBIND_PT_IRQ
        | XEN_DOMCTL_MEMORY_MAPPING
        | XEN_DOMCTL_SHADOW_OP
        | XEN_DOMCTL_SOFT_RESET
        | XEN_DOMCTL_GETHVMCONTEXT
        | XEN_DOMCTL_SETHVMCONTEXT
        | XEN_DOMCTL_GETHVMCONTEXT_PARTIAL
        | XEN_DOMCTL_SET_BROKEN_PAGE_P2M
        | XEN_DOMCTL_SETVNUMAINFO
        | XEN_DOMCTL_VMTRACE_OP => Errno::EINVAL,
        XEN_DOMCTL_PSR_CMT_OP | XEN_DOMCTL_PSR_ALLOC => Errno::ENODEV,
        _ => Errno::ENOSYS,
    }
}

pub use life::fill as describe;

/// A command's answer: consequences, and whether the structure goes back.
type Answer = Result<(Effects, bool), Fail>;

/// Nothing to write back.
const PLAIN: Answer = Ok((Effects::NONE, false));
/// The structure goes back.
const WRITE_BACK: Answer = Ok((Effects::NONE, true));

/// Argument 0 is the address of `struct xen_domctl`.
pub fn domctl<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    let mut op: Domctl = read_one(hv, args[0])?;
    if op.interface_version != XEN_DOMCTL_INTERFACE_VERSION {
        return Err(Errno::EACCES.into());
    }
    let (effects, write_back) = match op.cmd {
        XEN_DOMCTL_CREATEDOMAIN => life::create(hv, &mut op)?,
        XEN_DOMCTL_GETDOMAININFO => life::info(hv, caller, &mut op)?,
        _ => on_target(hv, caller, args[0], &mut op)?,
    };
    if write_back {
        write_one(hv, args[0], &op)?;
    }
    Ok(Done::with(effects))
}

fn on_target<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    address: u64,
    op: &mut Domctl,
) -> Answer {
    // `DOMID_SELF` names nobody here.
    let id = DomId::new(op.domain);
    if id == DomId::IO && matches!(op.cmd, XEN_DOMCTL_ASSIGN_DEVICE | XEN_DOMCTL_DEASSIGN_DEVICE) {
        // The quarantine's name.
        return Err(refusal(op.cmd).into());
    }
    if id >= DomId::FIRST_RESERVED {
        return Err(Errno::ESRCH.into());
    }
    let target = control_over(hv, caller, id)?;
    let is_self = target.id == caller.domain.id;
    match op.cmd {
        // A domain that ended itself in the middle of its own call could not be given an answer.
        XEN_DOMCTL_DESTROYDOMAIN
        | XEN_DOMCTL_PAUSEDOMAIN
        | XEN_DOMCTL_UNPAUSEDOMAIN
        | XEN_DOMCTL_SETVCPUCONTEXT
        | XEN_DOMCTL_GETVCPUCONTEXT
        | XEN_DOMCTL_RESUMEDOMAIN
        | XEN_DOMCTL_MAX_VCPUS
        | XEN_DOMCTL_SETDEBUGGING
        | XEN_DOMCTL_SETVCPUEXTSTATE
        | XEN_DOMCTL_GETVCPUEXTSTATE
        | XEN_DOMCTL_GET_VCPU_MSRS
        | XEN_DOMCTL_SET_VCPU_MSRS
        | XEN_DOMCTL_SET_CPU_POLICY
        | XEN_DOMCTL_GETTSCINFO
        | XEN_DOMCTL_SETTSCINFO
            if is_self =>
        {
            Err(Errno::EINVAL.into())
        }
        XEN_DOMCTL_SET_EXT_VCPUCONTEXT | XEN_DOMCTL_GET_EXT_VCPUCONTEXT if is_self => {
            Err(Errno::ESRCH.into())
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
        XEN_DOMCTL_GET_CPU_POLICY => policy::get(hv, &target, op),
        XEN_DOMCTL_SET_CPU_POLICY => policy::set(hv, &target, address, op),
        XEN_DOMCTL_GETTSCINFO => resources::get_tsc_info(hv, &target, op),
        XEN_DOMCTL_SETTSCINFO => resources::set_tsc_info(&target, op),
        XEN_DOMCTL_SETDEBUGGING => resources::set_debugging(&target, op),
        XEN_DOMCTL_SETTIMEOFFSET => resources::set_time_offset(op),
        XEN_DOMCTL_GETPAGEFRAMEINFO3 => frames::info(hv, &target, address, op),
        XEN_DOMCTL_IRQ_PERMISSION => devices::irq(op),
        XEN_DOMCTL_IOMEM_PERMISSION => devices::memory(hv, &target, op),
        XEN_DOMCTL_IOPORT_PERMISSION => devices::ports(&target, op),
        XEN_DOMCTL_SCHEDULER_OP => resources::scheduler_op(hv, &target, op),
        XEN_DOMCTL_SETNODEAFFINITY => resources::set_node_affinity(hv, op),
        XEN_DOMCTL_GETNODEAFFINITY => resources::get_node_affinity(hv, op),
        XEN_DOMCTL_SETVCPUCONTEXT => vcpu::set_context(hv, &target, op),
        XEN_DOMCTL_GETVCPUCONTEXT => vcpu::get_context(hv, &target, op),
        XEN_DOMCTL_GETVCPUINFO => vcpu::info(hv, &target, op),
        XEN_DOMCTL_SETVCPUAFFINITY => vcpu::set_affinity(hv, &target, op),
        XEN_DOMCTL_GETVCPUAFFINITY => vcpu::get_affinity(hv, &target, op),
        XEN_DOMCTL_SENDTRIGGER => state::send_trigger(hv, &target, op),
        XEN_DOMCTL_GET_EXT_VCPUCONTEXT => state::get_ext(hv, &target, op),
        XEN_DOMCTL_SET_EXT_VCPUCONTEXT => state::set_ext(hv, &target, op),
        XEN_DOMCTL_GETVCPUEXTSTATE => state::get_extended(hv, &target, op),
        XEN_DOMCTL_SETVCPUEXTSTATE => state::set_extended(hv, &target, op),
        XEN_DOMCTL_GET_VCPU_MSRS => state::get_msrs(hv, &target, op),
        XEN_DOMCTL_SET_VCPU_MSRS => state::set_msrs(hv, &target, address, op),
        other => Err(refusal(other).into()),
    }
}
