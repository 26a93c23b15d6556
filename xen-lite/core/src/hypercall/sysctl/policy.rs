//! CPU policies and feature sets.

use abi::sysctl::*;

use crate::Hypervisor;
use crate::control::policy::{featureset, guests, machine};
use crate::fail::Errno;
use crate::hypercall::domctl::policy::write;
use crate::hypercall::guest::GuestHandle;
use crate::platform::Platform;

/// `get_cpu_policy`.
pub fn get<P: Platform>(hv: &Hypervisor<P>, op: &mut Sysctl) -> Result<(), Errno> {
    let mut wanted = op.as_cpu_policy();
    if wanted._rsvd != 0 {
        return Err(Errno::EINVAL);
    }
    let entries = match wanted.index {
        XEN_SYSCTL_CPU_POLICY_RAW | XEN_SYSCTL_CPU_POLICY_HOST => machine(hv)?,
        XEN_SYSCTL_CPU_POLICY_PV_MAX | XEN_SYSCTL_CPU_POLICY_PV_DEFAULT => guests(hv)?,
        XEN_SYSCTL_CPU_POLICY_HVM_MAX | XEN_SYSCTL_CPU_POLICY_HVM_DEFAULT => return Err(Errno::EOPNOTSUPP),
        _ => return Err(Errno::EINVAL),
    };
    let SysctlCpuPolicy { nr_leaves, nr_msrs, leaves, msrs, .. } = &mut wanted;
    write(hv, &entries, (leaves.addr(), nr_leaves), (msrs.addr(), nr_msrs))?;
    op.set_cpu_policy(wanted);
    Ok(())
}

/// `get_cpu_featureset`: with a null array, how many words there are.
pub fn features<P: Platform>(hv: &Hypervisor<P>, op: &mut Sysctl) -> Result<(), Errno> {
    let mut wanted = op.as_cpu_featureset();
    let set = match wanted.index {
        XEN_SYSCTL_CPU_FEATURESET_RAW | XEN_SYSCTL_CPU_FEATURESET_HOST => featureset(&machine(hv)?),
        XEN_SYSCTL_CPU_FEATURESET_PV | XEN_SYSCTL_CPU_FEATURESET_PV_MAX => featureset(&guests(hv)?),
        // There are no HVM guests.
        XEN_SYSCTL_CPU_FEATURESET_HVM | XEN_SYSCTL_CPU_FEATURESET_HVM_MAX => featureset(&[]),
        _ if wanted.features.is_null() => featureset(&[]),
        _ => return Err(Errno::EINVAL),
    };
    if !wanted.features.is_null() {
        let room = GuestHandle::new(wanted.features.addr(), u64::from(wanted.nr_features))?;
        for (index, word) in (0..room.len()).zip(&set) {
            room.write(hv, index, word)?;
        }
        if room.len() < set.len() as u64 {
            return Err(Errno::ENOBUFS);
        }
    }
    wanted.nr_features = set.len() as u32;
    op.set_cpu_featureset(wanted);
    Ok(())
}
