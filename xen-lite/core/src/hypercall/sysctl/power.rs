//! Power management, CPU hot-plug, scheduler parameters and trace buffers: what there is of them.

use abi::domctl::XEN_SCHEDULER_CREDIT;
use abi::sysctl::*;

use crate::Hypervisor;
use crate::fail::Errno;
use crate::platform::Platform;

/// First and last of the commands about a frequency governor.
const GOVERNOR: core::ops::RangeInclusive<u32> = 0x10..=0x12;

/// `pm_op`: there is no frequency driver and no turbo switch.
pub fn management(op: &Sysctl) -> Errno {
    match op.as_pm_op().cmd {
        command if GOVERNOR.contains(&command) => Errno::EINVAL,
        XEN_SYSCTL_PM_OP_ENABLE_TURBO | XEN_SYSCTL_PM_OP_DISABLE_TURBO => Errno::EACCES,
        _ => Errno::ENOSYS,
    }
}

/// `get_pmstat`: there is no frequency driver, and none for idle states.
pub fn statistics<P: Platform>(hv: &Hypervisor<P>, op: &Sysctl) -> Errno {
    let wanted = op.as_get_pmstat();
    if wanted.cpuid >= hv.platform.cpus() {
        return Errno::EINVAL;
    }
    match wanted.type_ & PMSTAT_CATEGORY_MASK {
        PMSTAT_CX if !(PMSTAT_GET_MAX_CX..=PMSTAT_RESET_CXSTAT).contains(&wanted.type_) => Errno::ENOSYS,
        _ => Errno::ENODEV,
    }
}

/// `cpu_hotplug`: every CPU is on, and stays on.
pub fn hotplug<P: Platform>(hv: &Hypervisor<P>, op: &Sysctl) -> Errno {
    let wanted = op.as_cpu_hotplug();
    match wanted.op {
        XEN_SYSCTL_CPU_HOTPLUG_ONLINE if wanted.cpu < hv.platform.cpus() => Errno::EEXIST,
        XEN_SYSCTL_CPU_HOTPLUG_ONLINE | XEN_SYSCTL_CPU_HOTPLUG_OFFLINE => Errno::EINVAL,
        _ => Errno::EOPNOTSUPP,
    }
}

/// `tbuf_op`: no buffer was allocated.
pub fn trace_buffers(op: &mut Sysctl) -> Result<(), Errno> {
    let mut wanted = op.as_tbuf_op();
    if wanted.cmd != XEN_SYSCTL_TBUFOP_GET_INFO {
        return Err(Errno::EINVAL);
    }
    (wanted.evt_mask, wanted.buffer_mfn, wanted.size) = (0, 0, 0);
    op.set_tbuf_op(wanted);
    Ok(())
}

/// `scheduler_op`: slice and rate limit of the credit scheduler. What was set is answered.
pub fn scheduler<P: Platform>(hv: &Hypervisor<P>, op: &mut Sysctl) -> Result<(), Errno> {
    let mut wanted = op.as_scheduler_op();
    if !matches!(wanted.cmd, XEN_SYSCTL_SCHEDOP_PUTINFO | XEN_SYSCTL_SCHEDOP_GETINFO) {
        return Err(Errno::EINVAL);
    }
    if wanted.cpupool_id != 0 {
        return Err(Errno::ESRCH);
    }
    let credit = wanted.sched_id == hv.sched.policy().0 && wanted.sched_id == XEN_SCHEDULER_CREDIT;
    if !credit {
        return Err(Errno::EINVAL);
    }
    if wanted.cmd == XEN_SYSCTL_SCHEDOP_PUTINFO {
        hv.sched.params.set(&wanted.as_sched_credit())?;
    }
    wanted.set_sched_credit(hv.sched.params.get());
    op.set_scheduler_op(wanted);
    Ok(())
}
