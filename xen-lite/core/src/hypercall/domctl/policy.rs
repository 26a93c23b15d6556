//! A domain's CPU policy.

use abi::domctl::{Domctl, DomctlCpuPolicy};
use abi::xen::{CpuidLeaf, MsrEntry};
use core::sync::atomic::Ordering;

use super::{Answer, PLAIN, WRITE_BACK};
use crate::Hypervisor;
use crate::access::ControlOver;
use crate::control::policy::{Entry, MOST_ENTRIES, MSRS, Policy, guests};
use crate::fail::Errno;
use crate::hypercall::guest::GuestHandle;
use crate::platform::Platform;
use crate::room;

/// Writes leaves and MSRs (all 0) to a caller's arrays, which must have room for all; a null array asks for the most there can be.
///
/// # Errors
/// `ENOBUFS` when an array is too small, `EFAULT`.
pub fn write<P: Platform>(
    hv: &Hypervisor<P>,
    entries: &[Entry],
    leaves: (u64, &mut u32),
    msrs: (u64, &mut u32),
) -> Result<(), Errno> {
    if leaves.0 == 0 {
        *leaves.1 = MOST_ENTRIES as u32;
    } else {
        let room = GuestHandle::<CpuidLeaf>::new(leaves.0, u64::from(*leaves.1))?;
        if room.len() < entries.len() as u64 {
            return Err(Errno::ENOBUFS);
        }
        for (index, Entry { leaf, subleaf, values: [a, b, c, d] }) in (0..).zip(entries.iter().copied()) {
            room.write(hv, index, &CpuidLeaf { leaf, subleaf, a, b, c, d })?;
        }
        *leaves.1 = entries.len() as u32;
    }
    if msrs.0 != 0 {
        let room = GuestHandle::<MsrEntry>::new(msrs.0, u64::from(*msrs.1))?;
        if room.len() < MSRS.len() as u64 {
            return Err(Errno::ENOBUFS);
        }
        for (index, idx) in (0..).zip(MSRS) {
            room.write(hv, index, &MsrEntry { idx, flags: 0, val: 0 })?;
        }
    }
    *msrs.1 = MSRS.len() as u32;
    Ok(())
}

/// `get_cpu_policy`.
pub fn get<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver, op: &mut Domctl) -> Answer {
    let mut policy = op.as_cpu_policy();
    let own = target.settings.lock().cpu_policy.as_ref().map(|own| room::copy(own.entries()));
    let entries = own.unwrap_or_else(|| guests(hv))?;
    let DomctlCpuPolicy { nr_leaves, nr_msrs, leaves, msrs, .. } = &mut policy;
    write(hv, &entries, (leaves.addr(), nr_leaves), (msrs.addr(), nr_msrs))?;
    op.set_cpu_policy(policy);
    WRITE_BACK
}

/// `set_cpu_policy`: of a domain that has not run yet. What is objected to goes back with the error.
pub fn set<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver, address: u64, op: &mut Domctl) -> Answer {
    let mut policy = op.as_cpu_policy();
    let started = target.vcpus().iter().any(|vcpu| vcpu.initialised.load(Ordering::Acquire) != 0);
    if started {
        return Err(Errno::EEXIST.into());
    }
    if policy.nr_leaves as usize > MOST_ENTRIES || policy.nr_msrs as usize > MSRS.len() {
        return Err(Errno::E2BIG.into());
    }
    let leaves = GuestHandle::<CpuidLeaf>::new(policy.leaves.addr(), u64::from(policy.nr_leaves))?;
    let mut given = room::list(policy.nr_leaves as usize)?;
    for index in 0..leaves.len() {
        let CpuidLeaf { leaf, subleaf, a, b, c, d } = leaves.read(hv, index)?;
        given.push(Entry { leaf, subleaf, values: [a, b, c, d] });
    }
    (policy.err_leaf, policy.err_subleaf, policy.err_msr) = (u32::MAX, u32::MAX, u32::MAX);
    let refused = check_msrs(hv, &mut policy).and_then(|()| {
        let own = Policy::new(hv, &given).map_err(|bad| {
            (policy.err_leaf, policy.err_subleaf) = (bad.leaf, bad.subleaf);
            bad.errno
        })?;
        target.settings.lock().cpu_policy = Some(own);
        Ok(())
    });
    let Err(errno) = refused else { return PLAIN };
    op.set_cpu_policy(policy);
    crate::hypercall::guest::write_one(hv, address, op)?;
    Err(errno.into())
}

/// MSRs of guests are 0, and stay so.
fn check_msrs<P: Platform>(hv: &Hypervisor<P>, policy: &mut DomctlCpuPolicy) -> Result<(), Errno> {
    let msrs = GuestHandle::<MsrEntry>::new(policy.msrs.addr(), u64::from(policy.nr_msrs))?;
    for index in 0..msrs.len() {
        let msr = msrs.read(hv, index)?;
        if !MSRS.contains(&msr.idx) || msr.flags != 0 || msr.val != 0 {
            policy.err_msr = msr.idx;
            return Err(if MSRS.contains(&msr.idx) { Errno::EINVAL } else { Errno::ERANGE });
        }
    }
    Ok(())
}
