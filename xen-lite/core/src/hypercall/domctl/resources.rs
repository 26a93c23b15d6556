//! Memory, vCPUs, and other things that a domain is given.

use abi::domctl::*;

use super::{Answer, PLAIN, WRITE_BACK};
use crate::Hypervisor;
use crate::access::ControlOver;
use crate::addr::Mfn;
use crate::control::lifecycle;
use crate::effects::Effects;
use crate::fail::Errno;
use crate::hypercall::guest::write_bytes;
use crate::platform::Platform;

/// `max_mem`: in KiB.
pub fn max_mem(target: &ControlOver, op: &Domctl) -> Answer {
    lifecycle::set_max_frames(target, op.as_max_mem().max_memkb / 4);
    PLAIN
}

/// `max_vcpus`.
pub fn max_vcpus<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver, op: &Domctl) -> Answer {
    let max = op.as_max_vcpus().max;
    if target.vcpus().len() == max as usize {
        return PLAIN;
    }
    lifecycle::give_vcpus(hv, target, max).map_err(|errno| if errno == Errno::EEXIST { Errno::EINVAL } else { errno })?;
    PLAIN
}

/// `hypercall_init`: fills one of the domain's frames.
pub fn hypercall_init<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver, op: &Domctl) -> Answer {
    let mfn = Mfn::new(op.as_hypercall_init().gmfn);
    crate::mm::fill_page(hv, target.id, mfn, &crate::hypercall::page::contents()).map_err(|_| Errno::EACCES)?;
    PLAIN
}

/// `set_address_size`.
pub fn set_address_size(target: &ControlOver, op: &Domctl) -> Answer {
    if op.as_address_size().size != 64 {
        return Err(Errno::EINVAL.into());
    }
    target.settings.lock().address_size = 64;
    PLAIN
}

/// `get_address_size`.
pub fn get_address_size(op: &mut Domctl) -> Answer {
    op.set_address_size(DomctlAddressSize { size: 64 });
    WRITE_BACK
}

/// `set_cpu_policy`: more leaves and MSRs than the host has cannot be.
pub fn set_cpu_policy(op: &Domctl) -> Answer {
    const MOST_LEAVES: u32 = 32 + 64 + 8 + 64 + 32;
    const MOST_MSRS: u32 = 16;
    let policy = op.as_cpu_policy();
    if policy.nr_leaves > MOST_LEAVES || policy.nr_msrs > MOST_MSRS {
        return Err(Errno::E2BIG.into());
    }
    PLAIN
}

/// `gettscinfo`.
pub fn get_tsc_info<P: Platform>(hv: &Hypervisor<P>, op: &mut Domctl) -> Answer {
    let clock = hv.platform.clock();
    op.set_tsc_info(DomctlTscInfo { gtsc_khz: clock.khz, ..DomctlTscInfo::default() });
    WRITE_BACK
}

/// `settscinfo`.
pub fn set_tsc_info(op: &Domctl) -> Answer {
    const DEFAULT: u32 = 0;
    const NATIVE: u32 = 2;
    match op.as_tsc_info().tsc_mode {
        DEFAULT | NATIVE => PLAIN,
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `getnodeaffinity`: node 0.
pub fn get_node_affinity<P: Platform>(hv: &Hypervisor<P>, op: &mut Domctl) -> Answer {
    let map = op.as_nodeaffinity().nodemap;
    if map.nr_bits > 0 {
        write_bytes(hv, map.bitmap.addr(), &[1])?;
    }
    PLAIN
}

/// `scheduler_op`: weight and cap of the domain.
pub fn scheduler_op<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver, op: &mut Domctl) -> Answer {
    let mut wanted = op.as_scheduler_op();
    if wanted.sched_id != hv.sched.policy().0 {
        return Err(Errno::EINVAL.into());
    }
    match wanted.cmd {
        XEN_DOMCTL_SCHEDOP_GETINFO => {
            let (weight, cap) = hv.sched.share(target);
            wanted.set_credit(DomctlSchedCredit { weight: weight as u16, cap: cap as u16 });
            op.set_scheduler_op(wanted);
            WRITE_BACK
        }
        XEN_DOMCTL_SCHEDOP_PUTINFO => {
            let new = wanted.as_credit();
            let given = |value: u16, unset: u16| (value != unset).then_some(u32::from(value));
            hv.sched.set_share(target, given(new.weight, 0), given(new.cap, u16::MAX))?;
            Ok((Effects::NONE, false))
        }
        _ => Err(Errno::EINVAL.into()),
    }
}
