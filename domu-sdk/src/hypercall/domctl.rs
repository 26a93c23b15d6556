//! `domctl`: what a control domain does to one other domain.
//!
//! Destroying and pinning may be interrupted; the functions repeat such calls until they are through.

use super::{Result, input, output};
use crate::{
    arch,
    types::{DomId, Mfn},
};
use abi::{
    GuestPtr,
    domctl::{
        Domctl, DomctlAddressSize, DomctlCreatedomain, DomctlGetdomaininfo, DomctlGetpageframeinfo3,
        DomctlGetvcpuinfo, DomctlHypercallInit, DomctlIomemPermission, DomctlIoportPermission,
        DomctlIrqPermission, DomctlMaxMem, DomctlMaxVcpus, DomctlSchedCredit, DomctlSchedulerOp,
        DomctlSendtrigger, DomctlSetTarget, DomctlSetdebugging, DomctlSetdomainhandle, DomctlTscInfo,
        DomctlVcpuaffinity, DomctlVcpucontext, XEN_DOMCTL_CREATEDOMAIN, XEN_DOMCTL_DESTROYDOMAIN,
        XEN_DOMCTL_GET_ADDRESS_SIZE, XEN_DOMCTL_GETDOMAININFO, XEN_DOMCTL_GETPAGEFRAMEINFO3,
        XEN_DOMCTL_GETTSCINFO, XEN_DOMCTL_GETVCPUCONTEXT, XEN_DOMCTL_GETVCPUINFO, XEN_DOMCTL_HYPERCALL_INIT,
        XEN_DOMCTL_INTERFACE_VERSION, XEN_DOMCTL_IOMEM_PERMISSION, XEN_DOMCTL_IOPORT_PERMISSION,
        XEN_DOMCTL_IRQ_PERMISSION, XEN_DOMCTL_MAX_MEM, XEN_DOMCTL_MAX_VCPUS, XEN_DOMCTL_PAUSEDOMAIN,
        XEN_DOMCTL_RESUMEDOMAIN, XEN_DOMCTL_SCHEDOP_GETINFO, XEN_DOMCTL_SCHEDOP_PUTINFO,
        XEN_DOMCTL_SCHEDULER_OP, XEN_DOMCTL_SENDTRIGGER, XEN_DOMCTL_SET_ADDRESS_SIZE, XEN_DOMCTL_SET_TARGET,
        XEN_DOMCTL_SETDEBUGGING, XEN_DOMCTL_SETDOMAINHANDLE, XEN_DOMCTL_SETTSCINFO,
        XEN_DOMCTL_SETVCPUAFFINITY, XEN_DOMCTL_SETVCPUCONTEXT, XEN_DOMCTL_UNPAUSEDOMAIN,
        XEN_SCHEDULER_CREDIT, XEN_VCPUAFFINITY_HARD,
    },
    errno::Errno,
    xen::{DomainHandle, VcpuGuestContext, XenctlBitmap, hypercall::DOMCTL},
};
use alloc::vec::Vec;

fn call(argument: &mut Domctl) -> Result {
    argument.interface_version = XEN_DOMCTL_INTERFACE_VERSION;
    arch::call(DOMCTL, [output(argument), 0, 0, 0, 0]).map(|_| ())
}

fn request(domain: DomId, command: u32) -> Domctl {
    Domctl { cmd: command, domain: domain.0, ..Domctl::default() }
}

/// A command whose whole argument is one member of the union.
fn set<T: zerocopy::IntoBytes + zerocopy::Immutable>(domain: DomId, command: u32, value: T) -> Result {
    let mut argument = request(domain, command);
    argument.u.set(value);
    call(&mut argument)
}

fn get<T: zerocopy::FromBytes + zerocopy::IntoBytes>(domain: DomId, command: u32) -> Result<T> {
    let mut argument = request(domain, command);
    call(&mut argument)?;
    Ok(argument.u.get())
}

/// Creates a domain without memory and vCPUs. `domain` 0 lets the hypervisor choose the number; the number it got.
pub fn create(domain: DomId, what: &DomctlCreatedomain) -> Result<DomId> {
    let mut argument = request(domain, XEN_DOMCTL_CREATEDOMAIN);
    argument.set_createdomain(*what);
    call(&mut argument)?;
    Ok(DomId(argument.domain))
}

/// Ends a domain and frees what nobody else holds.
pub fn destroy(domain: DomId) -> Result {
    loop {
        match call(&mut request(domain, XEN_DOMCTL_DESTROYDOMAIN)) {
            Err(Errno::ERESTART | Errno::EAGAIN) => {}
            result => return result,
        }
    }
}

/// Stops a domain's vCPUs; counted.
pub fn pause(domain: DomId) -> Result {
    call(&mut request(domain, XEN_DOMCTL_PAUSEDOMAIN))
}

/// Undoes one pause.
pub fn unpause(domain: DomId) -> Result {
    call(&mut request(domain, XEN_DOMCTL_UNPAUSEDOMAIN))
}

/// Lets a domain that has shut down run on.
pub fn resume(domain: DomId) -> Result {
    call(&mut request(domain, XEN_DOMCTL_RESUMEDOMAIN))
}

/// What frames of a domain are: `XEN_DOMCTL_PFINFO_*` for each, `XTAB` for one that is not the domain's.
pub fn page_kinds(domain: DomId, frames: &[Mfn]) -> Result<Vec<u32>> {
    let mut kinds = Vec::with_capacity(frames.len());
    for frames in frames.chunks(KINDS) {
        let mut list: Vec<u64> = frames.iter().map(|frame| frame.0).collect();
        let array = GuestPtr::new(output(&mut list[..]));
        let argument = DomctlGetpageframeinfo3 { num: list.len() as u64, array };
        set(domain, XEN_DOMCTL_GETPAGEFRAMEINFO3, argument)?;
        kinds.extend(list.iter().map(|kind| *kind as u32));
    }
    Ok(kinds)
}

/// Frames that one call may ask about.
const KINDS: usize = 1024;

/// What the hypervisor knows of a domain. `ESRCH` if there is none of that number.
pub fn info(domain: DomId) -> Result<DomctlGetdomaininfo> {
    let found: DomctlGetdomaininfo = get(domain, XEN_DOMCTL_GETDOMAININFO)?;
    if found.domain == domain.0 { Ok(found) } else { Err(Errno::ESRCH) }
}

/// Sets the number of vCPUs.
pub fn set_max_vcpus(domain: DomId, count: u32) -> Result {
    set(domain, XEN_DOMCTL_MAX_VCPUS, DomctlMaxVcpus { max: count })
}

/// Sets how much memory a domain may have, in KiB.
pub fn set_max_memory(domain: DomId, kib: u64) -> Result {
    set(domain, XEN_DOMCTL_MAX_MEM, DomctlMaxMem { max_memkb: kib })
}

/// Fills a frame of the domain with hypercall stubs.
pub fn hypercall_init(domain: DomId, frame: Mfn) -> Result {
    set(domain, XEN_DOMCTL_HYPERCALL_INIT, DomctlHypercallInit { gmfn: frame.0 })
}

/// Sets a vCPU's registers and page tables.
pub fn set_vcpu_context(domain: DomId, vcpu: u32, context: &VcpuGuestContext) -> Result {
    let ctxt = GuestPtr::new(input(context));
    set(domain, XEN_DOMCTL_SETVCPUCONTEXT, DomctlVcpucontext { vcpu, ctxt, ..Default::default() })
}

/// Reads a vCPU's registers into `context`.
pub fn vcpu_context(domain: DomId, vcpu: u32, context: &mut VcpuGuestContext) -> Result {
    let ctxt = GuestPtr::new(output(context));
    set(domain, XEN_DOMCTL_GETVCPUCONTEXT, DomctlVcpucontext { vcpu, ctxt, ..Default::default() })
}

/// Whether a vCPU is online, blocked, running, and how long it ran.
pub fn vcpu_info(domain: DomId, vcpu: u32) -> Result<DomctlGetvcpuinfo> {
    let mut argument = request(domain, XEN_DOMCTL_GETVCPUINFO);
    argument.set_getvcpuinfo(DomctlGetvcpuinfo { vcpu, ..Default::default() });
    call(&mut argument)?;
    Ok(argument.as_getvcpuinfo())
}

/// Has a vCPU take what `trigger` says (`XEN_DOMCTL_SENDTRIGGER_*`).
pub fn send_trigger(domain: DomId, vcpu: u32, trigger: u32) -> Result {
    set(domain, XEN_DOMCTL_SENDTRIGGER, DomctlSendtrigger { trigger, vcpu })
}

/// The weight of a domain's vCPUs and the cap of all of them together, in per cent of one CPU (0: none), under the credit scheduler.
pub fn credit(domain: DomId) -> Result<DomctlSchedCredit> {
    let mut argument = request(domain, XEN_DOMCTL_SCHEDULER_OP);
    let cmd = XEN_DOMCTL_SCHEDOP_GETINFO;
    argument.set_scheduler_op(DomctlSchedulerOp {
        sched_id: XEN_SCHEDULER_CREDIT,
        cmd,
        ..Default::default()
    });
    call(&mut argument)?;
    Ok(argument.as_scheduler_op().as_credit())
}

/// Reads or sets a domain's scheduling as `what` says; what the hypervisor made of it.
pub fn scheduler_op(domain: DomId, what: DomctlSchedulerOp) -> Result<DomctlSchedulerOp> {
    let mut argument = request(domain, XEN_DOMCTL_SCHEDULER_OP);
    argument.set_scheduler_op(what);
    call(&mut argument)?;
    Ok(argument.as_scheduler_op())
}

/// Sets them; weight 0 and cap `u16::MAX` leave what there is.
pub fn set_credit(domain: DomId, weight: u16, cap: u16) -> Result {
    let cmd = XEN_DOMCTL_SCHEDOP_PUTINFO;
    let mut wanted = DomctlSchedulerOp { sched_id: XEN_SCHEDULER_CREDIT, cmd, ..Default::default() };
    wanted.set_credit(DomctlSchedCredit { weight, cap });
    set(domain, XEN_DOMCTL_SCHEDULER_OP, wanted)
}

/// Sets the CPUs on which a vCPU may run (bit n is CPU n).
pub fn set_hard_affinity(domain: DomId, vcpu: u32, cpus: u64) -> Result {
    let cpumap_hard = XenctlBitmap { bitmap: GuestPtr::new(input(&cpus)), nr_bits: 64, ..Default::default() };
    let flags = XEN_VCPUAFFINITY_HARD;
    let wanted = DomctlVcpuaffinity { vcpu, flags, cpumap_hard, ..Default::default() };
    set(domain, XEN_DOMCTL_SETVCPUAFFINITY, wanted)
}

/// Sets the width of a PV domain's addresses, in bits.
pub fn set_address_size(domain: DomId, bits: u32) -> Result {
    set(domain, XEN_DOMCTL_SET_ADDRESS_SIZE, DomctlAddressSize { size: bits })
}

/// The width of a PV domain's addresses, in bits.
pub fn address_size(domain: DomId) -> Result<u32> {
    get::<DomctlAddressSize>(domain, XEN_DOMCTL_GET_ADDRESS_SIZE).map(|argument| argument.size)
}

/// Gives a domain its UUID.
pub fn set_handle(domain: DomId, handle: DomainHandle) -> Result {
    set(domain, XEN_DOMCTL_SETDOMAINHANDLE, DomctlSetdomainhandle { handle })
}

/// Turns debugging of a domain on or off.
pub fn set_debugging(domain: DomId, on: bool) -> Result {
    set(domain, XEN_DOMCTL_SETDEBUGGING, DomctlSetdebugging { enable: on.into() })
}

/// Lets a domain control `target` as its device model does.
pub fn set_target(domain: DomId, target: DomId) -> Result {
    set(domain, XEN_DOMCTL_SET_TARGET, DomctlSetTarget { target: target.0 })
}

/// How the time-stamp counter is shown to a domain.
pub fn tsc_info(domain: DomId) -> Result<DomctlTscInfo> {
    get(domain, XEN_DOMCTL_GETTSCINFO)
}

/// Sets how the time-stamp counter is shown to a domain.
pub fn set_tsc_info(domain: DomId, info: &DomctlTscInfo) -> Result {
    set(domain, XEN_DOMCTL_SETTSCINFO, *info)
}

/// Lets a domain use a physical interrupt, or not.
pub fn set_irq_permission(domain: DomId, pirq: u32, allow: bool) -> Result {
    set(
        domain,
        XEN_DOMCTL_IRQ_PERMISSION,
        DomctlIrqPermission { pirq, allow_access: allow.into(), ..Default::default() },
    )
}

/// Lets a domain map device memory, or not.
pub fn set_iomem_permission(domain: DomId, first: Mfn, count: u64, allow: bool) -> Result {
    let argument = DomctlIomemPermission {
        first_mfn: first.0,
        nr_mfns: count,
        allow_access: allow.into(),
        ..Default::default()
    };
    set(domain, XEN_DOMCTL_IOMEM_PERMISSION, argument)
}

/// Lets a domain use I/O ports, or not.
pub fn set_ioport_permission(domain: DomId, first: u32, count: u32, allow: bool) -> Result {
    let argument = DomctlIoportPermission {
        first_port: first,
        nr_ports: count,
        allow_access: allow.into(),
        ..Default::default()
    };
    set(domain, XEN_DOMCTL_IOPORT_PERMISSION, argument)
}
