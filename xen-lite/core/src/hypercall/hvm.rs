//! Calls that a PV guest makes although they are not for it: `hvm_op` (hvm/hvm_op.h), `dm_op` (hvm/dm_op.h), `xenpmu_op` (pmu.h).
//!
//! Kernels that run both as PV and as HVM guests ask, and go by the error: that a PV domain has no such parameter is another
//! answer than that there is no such call.

use abi::hvm_op::*;

use super::coverage::{Sub, full, refused};
use super::guest::{GuestHandle, read_one, write_one};
use super::{Args, Caller};
use crate::Hypervisor;
use crate::addr::DomId;
use crate::effects::Done;
use crate::fail::{Errno, Fail};
use crate::platform::Platform;

/// Sub-operations of `hvm_op`.
pub const SUBS: &[Sub] = &[
    refused(HVMOP_SET_PARAM, "HVMOP_set_param", "not for PV: EINVAL"),
    refused(HVMOP_GET_PARAM, "HVMOP_get_param", "not for PV: EINVAL"),
    refused(HVMOP_FLUSH_TLBS, "HVMOP_flush_tlbs", "not for PV: EINVAL"),
    refused(HVMOP_PAGETABLE_DYING, "HVMOP_pagetable_dying", "not for PV: EINVAL"),
    full(HVMOP_GET_TIME, "HVMOP_get_time"),
    refused(HVMOP_XENTRACE, "HVMOP_xentrace", "not for PV: EINVAL"),
    refused(HVMOP_GET_MEM_TYPE, "HVMOP_get_mem_type", "not for PV: EINVAL"),
    refused(HVMOP_SET_EVTCHN_UPCALL_VECTOR, "HVMOP_set_evtchn_upcall_vector", "not for PV: EINVAL"),
    refused(HVMOP_GUEST_REQUEST_VM_EVENT, "HVMOP_guest_request_vm_event", "nobody listens: nothing happens"),
    refused(HVMOP_ALTP2M, "HVMOP_altp2m", "not for PV: EOPNOTSUPP"),
];

/// `hvm_op`: command, address of its structure.
pub fn hvm_op<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    let at = args[1];
    match args[0] as u32 {
        // All of these begin with the number of a domain.
        HVMOP_SET_PARAM | HVMOP_GET_PARAM | HVMOP_PAGETABLE_DYING | HVMOP_GET_MEM_TYPE => {
            let id = DomId::new(read_one::<u16, P>(hv, at)?);
            if id != DomId::SELF && id != caller.domain.id {
                hv.domains.get(id).ok_or(Errno::ESRCH)?;
            }
            Err(Errno::EINVAL.into())
        }
        HVMOP_GET_TIME => {
            write_one(hv, at, &hv.platform.now())?;
            Ok(Done::OK)
        }
        HVMOP_XENTRACE => {
            let _: u64 = read_one(hv, at)?;
            Err(Errno::EINVAL.into())
        }
        HVMOP_FLUSH_TLBS | HVMOP_SET_EVTCHN_UPCALL_VECTOR => Err(Errno::EINVAL.into()),
        HVMOP_GUEST_REQUEST_VM_EVENT if at == 0 => Ok(Done::OK),
        HVMOP_GUEST_REQUEST_VM_EVENT => Err(Errno::EINVAL.into()),
        HVMOP_ALTP2M => Err(Errno::EOPNOTSUPP.into()),
        _ => Err(Errno::ENOSYS.into()),
    }
}

const PV_ONLY: &str = "PV domains have no device model: EINVAL";

/// Sub-operations of `dm_op`.
pub const DM_SUBS: &[Sub] = &[
    refused(1, "XEN_DMOP_create_ioreq_server", PV_ONLY),
    refused(2, "XEN_DMOP_get_ioreq_server_info", PV_ONLY),
    refused(3, "XEN_DMOP_map_io_range_to_ioreq_server", PV_ONLY),
    refused(4, "XEN_DMOP_unmap_io_range_from_ioreq_server", PV_ONLY),
    refused(5, "XEN_DMOP_set_ioreq_server_state", PV_ONLY),
    refused(6, "XEN_DMOP_destroy_ioreq_server", PV_ONLY),
    refused(7, "XEN_DMOP_track_dirty_vram", PV_ONLY),
    refused(8, "XEN_DMOP_set_pci_intx_level", PV_ONLY),
    refused(9, "XEN_DMOP_set_isa_irq_level", PV_ONLY),
    refused(10, "XEN_DMOP_set_pci_link_route", PV_ONLY),
    refused(11, "XEN_DMOP_modified_memory", PV_ONLY),
    refused(12, "XEN_DMOP_set_mem_type", PV_ONLY),
    refused(13, "XEN_DMOP_inject_event", PV_ONLY),
    refused(14, "XEN_DMOP_inject_msi", PV_ONLY),
    refused(15, "XEN_DMOP_map_mem_type_to_ioreq_server", PV_ONLY),
    refused(16, "XEN_DMOP_remote_shutdown", PV_ONLY),
    refused(17, "XEN_DMOP_relocate_memory", PV_ONLY),
    refused(18, "XEN_DMOP_pin_memory_cacheattr", PV_ONLY),
    refused(19, "XEN_DMOP_set_irq_level", PV_ONLY),
    refused(20, "XEN_DMOP_nr_vcpus", PV_ONLY),
];

/// Buffers of `dm_op` at most.
const DM_BUFFERS: u64 = 2;

/// `dm_op`: domain, number of buffers, their list.
pub fn dm_op<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    let count = u64::from(args[1] as u32);
    if count > DM_BUFFERS {
        return Err(Errno::E2BIG.into());
    }
    if count == 0 {
        return Err(Errno::ENODATA.into());
    }
    // Address and size of each.
    let list = GuestHandle::<[u64; 2]>::new(args[2], count)?;
    for index in 0..count {
        list.read(hv, index)?;
    }
    let id = DomId::new(args[0] as u16);
    hv.domains.get(id).ok_or(Errno::ESRCH)?;
    // Nobody is its own device model, and no domain here has one.
    Err(if id == caller.domain.id { Errno::EPERM } else { Errno::EINVAL }.into())
}

/// Sub-operations of `xenpmu_op`.
pub const XENPMU_SUBS: &[Sub] = &[
    refused(0, "XENPMU_mode_get", NO_COUNTERS),
    refused(1, "XENPMU_mode_set", NO_COUNTERS),
    refused(2, "XENPMU_feature_get", NO_COUNTERS),
    refused(3, "XENPMU_feature_set", NO_COUNTERS),
    refused(4, "XENPMU_init", NO_COUNTERS),
    refused(5, "XENPMU_finish", NO_COUNTERS),
    refused(6, "XENPMU_lvtpc_set", NO_COUNTERS),
    refused(7, "XENPMU_flush", NO_COUNTERS),
];

const NO_COUNTERS: &str = "no performance counters: EOPNOTSUPP, as without `vpmu`";

/// `xenpmu_op`: what upstream answers unless its command line has `vpmu`.
pub fn xenpmu_op<P: Platform>(_: &Hypervisor<P>, _: &mut Caller<'_>, _: &mut Args) -> Result<Done, Fail> {
    Err(Errno::EOPNOTSUPP.into())
}
