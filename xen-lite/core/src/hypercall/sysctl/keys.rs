//! `debug_keys`: each key prints something to the log.

use abi::sysctl::Sysctl;
use core::sync::atomic::Ordering;

use crate::Hypervisor;
use crate::addr::{CpuId, DomId};
use crate::fail::Errno;
use crate::hypercall::guest::{GuestHandle, read_bytes};
use crate::platform::Platform;

/// Keys that one call may press.
const MOST: u32 = 16;

/// Presses the keys of the list.
pub fn press<P: Platform>(hv: &Hypervisor<P>, op: &Sysctl) -> Result<(), Errno> {
    let wanted = op.as_debug_keys();
    let keys = GuestHandle::<u8>::new(wanted.keys.addr(), u64::from(wanted.nr_keys.min(MOST)))?;
    for index in 0..keys.len() {
        let mut key = [0];
        read_bytes(hv, wanted.keys.addr() + index, &mut key)?;
        press_one(hv, key[0]);
    }
    Ok(())
}

fn press_one<P: Platform>(hv: &Hypervisor<P>, key: u8) {
    match key {
        b'h' => log::info!("debug keys: h this list, q domains and their vCPUs, r what each CPU runs"),
        b'q' => domains(hv),
        b'r' => cpus(hv),
        other => log::info!("no debug key {:?}", char::from(other)),
    }
}

fn domains<P: Platform>(hv: &Hypervisor<P>) {
    let now = hv.platform.now();
    let mut next = DomId::DOM0;
    while let Some(domain) = hv.domains.next_from(next) {
        let (total, max) = (&domain.memory.total, &domain.memory.max);
        log::info!(
            "d{} {:?} pauses={} frames={} max={}",
            domain.id,
            domain.life(),
            domain.paused.load(Ordering::Relaxed),
            total.load(Ordering::Relaxed),
            max.load(Ordering::Relaxed),
        );
        for vcpu in domain.vcpus() {
            log::info!(
                "  v{} up={} runs on {:?} allowed={:#x} ns={}",
                vcpu.id,
                vcpu.sched.is_up(),
                vcpu.sched.running_on(),
                vcpu.sched.allowed(),
                hv.sched.cpu_time(vcpu, now),
            );
        }
        let Some(after) = domain.id.checked_add(1) else { break };
        next = after;
    }
}

fn cpus<P: Platform>(hv: &Hypervisor<P>) {
    let (_, policy) = hv.sched.policy();
    log::info!("scheduler {policy}, now {} ns", hv.platform.now());
    for cpu in 0..hv.platform.cpus() {
        match hv.sched.current(CpuId::new(cpu)) {
            Some(vcpu) => {
                let domain = vcpu.domain.upgrade().map(|domain| domain.id);
                log::info!("  CPU {cpu} runs d{} v{}", domain.unwrap_or(DomId::INVALID), vcpu.id);
            }
            None => log::info!("  CPU {cpu} is idle"),
        }
    }
}
