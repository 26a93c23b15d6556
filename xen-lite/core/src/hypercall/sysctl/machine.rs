//! CPUs, memory, nodes and pools.

use abi::sysctl::*;

use crate::Hypervisor;
use crate::addr::{CpuId, PAGE_SIZE};
use crate::control::info;
use crate::fail::Errno;
use crate::hypercall::guest::{GuestHandle, write_bytes, write_one};
use crate::platform::Platform;

/// `physinfo`.
pub fn physinfo<P: Platform>(hv: &Hypervisor<P>, op: &mut Sysctl) {
    let cpus = hv.platform.cpus();
    let mut info = SysctlPhysinfo {
        threads_per_core: 1,
        cores_per_socket: cpus,
        nr_cpus: cpus,
        max_cpu_id: cpus - 1,
        nr_nodes: 1,
        cpu_khz: hv.platform.clock().khz,
        capabilities: XEN_SYSCTL_PHYSCAP_PV | XEN_SYSCTL_PHYSCAP_GNTTAB_V1,
        total_pages: hv.config.total_frames,
        free_pages: hv.frames.free_frames(),
        max_mfn: hv.frames.len() - 1,
        ..SysctlPhysinfo::default()
    };
    // The words in the order of the CPU feature set: 1.edx, 1.ecx, 80000001.edx, 80000001.ecx.
    let (_, _, ecx, edx) = hv.platform.cpuid(1, 0);
    let (_, _, ext_ecx, ext_edx) = hv.platform.cpuid(0x8000_0001, 0);
    info.hw_cap[..4].copy_from_slice(&[edx, ecx, ext_edx, ext_ecx]);
    op.set_physinfo(info);
}

/// `availheap`: of all nodes and address widths.
pub fn available<P: Platform>(hv: &Hypervisor<P>, op: &mut Sysctl) {
    let mut heap = op.as_availheap();
    let here = heap.node <= 0;
    heap.avail_bytes = if here { hv.frames.free_frames() * PAGE_SIZE as u64 } else { 0 };
    op.set_availheap(heap);
}

/// `cputopoinfo`.
pub fn topology<P: Platform>(hv: &Hypervisor<P>, op: &mut Sysctl) -> Result<(), Errno> {
    let mut info = op.as_cputopoinfo();
    let cpus = hv.platform.cpus();
    if !info.cputopo.is_null() {
        let out = GuestHandle::new(info.cputopo.addr(), u64::from(info.num_cpus))?;
        for cpu in 0..cpus.min(info.num_cpus) {
            out.write(hv, u64::from(cpu), &SysctlCputopo { core: cpu, socket: 0, node: 0 })?;
        }
    }
    info.num_cpus = if info.cputopo.is_null() { cpus } else { cpus.min(info.num_cpus) };
    op.set_cputopoinfo(info);
    Ok(())
}

/// `numainfo`: one node with all memory, at distance 10 from itself.
pub fn nodes<P: Platform>(hv: &Hypervisor<P>, op: &mut Sysctl) -> Result<(), Errno> {
    let mut info = op.as_numainfo();
    let bytes = |frames| frames * PAGE_SIZE as u64;
    if info.num_nodes > 0 && !info.meminfo.is_null() {
        let node =
            SysctlMeminfo { memsize: bytes(hv.config.total_frames), memfree: bytes(hv.frames.free_frames()) };
        write_one(hv, info.meminfo.addr(), &node)?;
    }
    if info.num_nodes > 0 && !info.distance.is_null() {
        write_one(hv, info.distance.addr(), &10u32)?;
    }
    info.num_nodes = 1;
    op.set_numainfo(info);
    Ok(())
}

/// `cpupool_op`: all CPUs and domains are in pool 0.
pub fn cpupool<P: Platform>(hv: &Hypervisor<P>, op: &mut Sysctl) -> Result<(), Errno> {
    let mut pool = op.as_cpupool_op();
    let cpus = hv.platform.cpus().clamp(1, 64);
    let in_pool = match pool.op {
        XEN_SYSCTL_CPUPOOL_OP_INFO if pool.cpupool_id == 0 => u64::MAX >> (64 - cpus),
        XEN_SYSCTL_CPUPOOL_OP_INFO => return Err(Errno::ENOENT),
        XEN_SYSCTL_CPUPOOL_OP_FREEINFO => 0,
        XEN_SYSCTL_CPUPOOL_OP_CREATE if pool.sched_id != hv.sched.policy().0 => return Err(Errno::ENOENT),
        XEN_SYSCTL_CPUPOOL_OP_CREATE => return Err(Errno::ENOMEM),
        // The first domain stays where it is.
        XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN if pool.domid == 0 => return Err(Errno::EPERM),
        XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN if pool.cpupool_id == 0 => return Ok(()),
        XEN_SYSCTL_CPUPOOL_OP_ADDCPU if pool.cpupool_id == 0 => return Err(Errno::ENODEV),
        XEN_SYSCTL_CPUPOOL_OP_RMCPU | XEN_SYSCTL_CPUPOOL_OP_DESTROY if pool.cpupool_id == 0 => {
            return Err(Errno::EBUSY);
        }
        XEN_SYSCTL_CPUPOOL_OP_DESTROY..=XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN => return Err(Errno::ENOENT),
        _ => return Err(Errno::ENOSYS),
    };
    let length = (pool.cpumap.nr_bits as usize).div_ceil(8).min(8);
    write_bytes(hv, pool.cpumap.bitmap.addr(), &in_pool.to_le_bytes()[..length])?;
    pool.sched_id = hv.sched.policy().0;
    pool.n_dom = hv.domains.count() as u32;
    op.set_cpupool_op(pool);
    Ok(())
}

/// `getcpuinfo`: how long each CPU had nothing to do.
pub fn idle_times<P: Platform>(hv: &Hypervisor<P>, op: &mut Sysctl) -> Result<(), Errno> {
    let mut wanted = op.as_getcpuinfo();
    let count = hv.platform.cpus().min(wanted.max_cpus);
    let out = GuestHandle::new(wanted.info.addr(), u64::from(wanted.max_cpus))?;
    let now = hv.platform.now();
    for cpu in 0..count {
        let idletime = info::idle_time(hv, CpuId::new(cpu), now);
        out.write(hv, u64::from(cpu), &SysctlCpuinfo { idletime })?;
    }
    wanted.nr_cpus = count;
    op.set_getcpuinfo(wanted);
    Ok(())
}

/// `pcitopoinfo`: no device was made known to the hypervisor.
pub fn devices<P: Platform>(hv: &Hypervisor<P>, op: &mut Sysctl) -> Result<(), Errno> {
    let mut wanted = op.as_pcitopoinfo();
    if wanted.devs.is_null() || wanted.nodes.is_null() || wanted.num_devs == 0 {
        return Err(Errno::EINVAL);
    }
    // As many as one call may take; the caller asks again for the rest.
    const MOST: u32 = 64;
    wanted.num_devs = wanted.num_devs.min(MOST);
    let out = GuestHandle::new(wanted.nodes.addr(), u64::from(wanted.num_devs))?;
    for index in 0..out.len() {
        out.write(hv, index, &XEN_INVALID_DEV)?;
    }
    op.set_pcitopoinfo(wanted);
    Ok(())
}
