//! Memory, vCPUs, and other things that a domain is given.

use abi::domctl::*;

use super::{Answer, PLAIN, WRITE_BACK};
use crate::Hypervisor;
use crate::access::ControlOver;
use crate::addr::Mfn;
use crate::control::lifecycle;
use crate::fail::Errno;
use crate::hypercall::guest::{read_bytes, write_bytes};
use crate::platform::Platform;

/// `max_mem`: in KiB.
pub fn max_mem(target: &ControlOver, op: &Domctl) -> Answer {
    lifecycle::set_max_frames(target, op.as_max_mem().max_memkb / 4);
    PLAIN
}

/// `max_vcpus`.
pub fn max_vcpus<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver, op: &Domctl) -> Answer {
    let max = op.as_max_vcpus().max;
    if max == 0 || max != target.max_vcpus {
        return Err(Errno::EINVAL.into());
    }
    if target.vcpus().len() == max as usize {
        return PLAIN;
    }
    lifecycle::give_vcpus(hv, target, max)
        .map_err(|errno| if errno == Errno::EEXIST { Errno::EINVAL } else { errno })?;
    PLAIN
}

/// `hypercall_init`: fills one of the domain's frames.
pub fn hypercall_init<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver, op: &Domctl) -> Answer {
    let mfn = Mfn::new(op.as_hypercall_init().gmfn);
    crate::mm::fill_page(hv, target.id, mfn, &crate::hypercall::page::contents())
        .map_err(|_| Errno::EINVAL)?;
    PLAIN
}

/// `set_address_size`.
pub fn set_address_size(target: &ControlOver, op: &Domctl) -> Answer {
    match op.as_address_size().size {
        64 => target.settings.lock().address_size = 64,
        32 => return Err(Errno::EOPNOTSUPP.into()),
        _ => return Err(Errno::EINVAL.into()),
    }
    PLAIN
}

/// `get_address_size`.
pub fn get_address_size(op: &mut Domctl) -> Answer {
    op.set_address_size(DomctlAddressSize { size: 64 });
    WRITE_BACK
}

/// `gettscinfo`: the counter is the machine's own.
pub fn get_tsc_info<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver, op: &mut Domctl) -> Answer {
    let settings = target.settings.lock();
    let khz = if settings.tsc_mode == TSC_NATIVE { 0 } else { hv.platform.clock().khz };
    op.set_tsc_info(DomctlTscInfo {
        tsc_mode: settings.tsc_mode,
        gtsc_khz: khz,
        incarnation: settings.tsc_incarnation,
        ..DomctlTscInfo::default()
    });
    WRITE_BACK
}

/// TSC mode: as the hypervisor thinks best.
const TSC_DEFAULT: u32 = 0;
/// TSC mode: never emulated.
const TSC_NATIVE: u32 = 2;

/// `settscinfo`: each time counts as a move to another machine.
pub fn set_tsc_info(target: &ControlOver, op: &Domctl) -> Answer {
    let new = op.as_tsc_info();
    if !matches!(new.tsc_mode, TSC_DEFAULT | TSC_NATIVE) {
        return Err(Errno::EINVAL.into());
    }
    let mut settings = target.settings.lock();
    (settings.tsc_mode, settings.tsc_incarnation) = (new.tsc_mode, new.incarnation.wrapping_add(1));
    PLAIN
}

/// `setdebugging`.
pub fn set_debugging(target: &ControlOver, op: &Domctl) -> Answer {
    target.settings.lock().debugged = op.as_setdebugging().enable != 0;
    PLAIN
}

/// `settimeoffset`.
pub fn set_time_offset(op: &Domctl) -> Answer {
    if op.as_settimeoffset().time_offset_seconds == 0 { PLAIN } else { Err(Errno::EOPNOTSUPP.into()) }
}

/// `setnodeaffinity`: node 0 must be among them.
pub fn set_node_affinity<P: Platform>(hv: &Hypervisor<P>, op: &Domctl) -> Answer {
    let map = op.as_nodeaffinity().nodemap;
    let mut first = [0];
    if map.nr_bits > 0 {
        read_bytes(hv, map.bitmap.addr(), &mut first)?;
    }
    if first[0] & 1 != 0 { PLAIN } else { Err(Errno::EINVAL.into()) }
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
            let effects = hv.sched.set_share(hv, target, given(new.weight, 0), given(new.cap, u16::MAX))?;
            Ok((effects, false))
        }
        _ => Err(Errno::EINVAL.into()),
    }
}
