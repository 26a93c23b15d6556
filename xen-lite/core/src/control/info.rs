//! What a toolstack may know of a domain.

use core::sync::atomic::Ordering;

use abi::domctl::*;

use crate::Hypervisor;
use crate::addr::CpuId;
use crate::domain::{Domain, Life};
use crate::platform::Platform;
use crate::sched::control::is_blocked;

/// A domain's numbers at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DomainInfo {
    /// `XEN_DOMINF_*`, with the shutdown reason.
    pub flags: u32,
    /// Frames it owns.
    pub total_frames: u64,
    /// Frames it may own.
    pub max_frames: u64,
    /// Nanoseconds that its vCPUs ran.
    pub cpu_time: u64,
    /// vCPUs that are up.
    pub online_vcpus: u32,
    /// Highest number of its vCPUs, `XEN_INVALID_MAX_VCPU_ID` without any.
    pub max_vcpu_id: u32,
}

/// Reads them.
pub fn domain<P: Platform>(hv: &Hypervisor<P>, domain: &Domain) -> DomainInfo {
    let now = hv.platform.now();
    let mut info = DomainInfo {
        total_frames: u64::from(domain.memory.total.load(Ordering::Relaxed)),
        max_frames: u64::from(domain.memory.max.load(Ordering::Relaxed)),
        max_vcpu_id: XEN_INVALID_MAX_VCPU_ID,
        ..DomainInfo::default()
    };
    let (mut all_blocked, mut running) = (true, false);
    for vcpu in domain.vcpus() {
        info.max_vcpu_id = vcpu.id.raw();
        info.cpu_time += hv.sched.cpu_time(vcpu, now);
        if vcpu.sched.is_up() {
            info.online_vcpus += 1;
            all_blocked &= is_blocked(vcpu);
            running |= vcpu.sched.running_on().is_some();
        }
    }
    info.flags = flags(domain, all_blocked && info.online_vcpus != 0, running);
    info
}

/// Nanoseconds that a CPU had nothing to do.
pub fn idle_time<P: Platform>(hv: &Hypervisor<P>, cpu: CpuId, now: u64) -> u64 {
    now.saturating_sub(hv.sched.busy_time(cpu, now))
}

fn flags(domain: &Domain, all_blocked: bool, running: bool) -> u32 {
    let mut flags = match domain.life() {
        Life::Dead | Life::Dying => XEN_DOMINF_DYING,
        Life::ShutDown => XEN_DOMINF_SHUTDOWN,
        Life::Alive => 0,
    };
    for (is, flag) in [
        (domain.paused_by_controller.load(Ordering::Relaxed) != 0, XEN_DOMINF_PAUSED),
        (all_blocked, XEN_DOMINF_BLOCKED),
        (running, XEN_DOMINF_RUNNING),
        (domain.settings.lock().debugged, XEN_DOMINF_DEBUGGED),
    ] {
        if is {
            flags |= flag;
        }
    }
    // While there is no reason, all bits of its field and above are set, as upstream has them.
    flags | domain.shutdown_reason.load(Ordering::Relaxed) << XEN_DOMINF_SHUTDOWNSHIFT
}
