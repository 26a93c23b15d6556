//! `arch_0` (arch-x86/xen-mca.h): machine checks, as the first domain asks for them.
//!
//! The hypervisor keeps no log of machine checks: the CPU's own ends it. So there is never a report to fetch, and none is made up.

use super::coverage::{Sub, full, partial, refused};
use super::guest::{read_one, write_one};
use super::{Args, Caller};
use crate::Hypervisor;
use crate::effects::Done;
use crate::fail::{Errno, Fail};
use crate::platform::Platform;

/// `XEN_MCA_INTERFACE_VERSION`.
const VERSION: u32 = 0x01ec_c003;
const FETCH: u32 = 1;
const CPU_INFO: u32 = 3;
/// `XEN_MC_NONURGENT`, `XEN_MC_URGENT`, `XEN_MC_ACK`.
const KINDS: u32 = 3;
const ACK: u32 = 4;
/// `XEN_MC_NODATA`.
const NO_DATA: u32 = 2;

/// Commands.
pub const SUBS: &[Sub] = &[
    full(FETCH, "XEN_MC_fetch"),
    refused(2, "XEN_MC_notifydomain", "EINVAL, as upstream"),
    partial(CPU_INFO, "XEN_MC_physcpuinfo", "the number of CPUs, nothing about each"),
    refused(4, "XEN_MC_msrinject", "EINVAL: nothing is injected"),
    refused(5, "XEN_MC_mceinject", "EINVAL: nothing is injected"),
    refused(6, "XEN_MC_inject_v2", "EINVAL: nothing is injected"),
];

/// The head of `struct xen_mc` and the longest body that is looked at: flags or a count, an identity, an address.
#[repr(C)]
#[derive(Clone, Copy, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable)]
struct Request {
    command: u32,
    version: u32,
    first: u32,
    pad: u32,
    second: u64,
    third: u64,
}

/// Argument 0 is the address of `struct xen_mc`.
///
/// # Errors
/// `EFAULT`, `EACCES` for another version of the interface, `EINVAL` for what no version has.
pub fn machine_check<P: Platform>(
    hv: &Hypervisor<P>,
    _: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    let mut request: Request = read_one(hv, args[0])?;
    if request.version != VERSION {
        return Err(Errno::EACCES.into());
    }
    match request.command {
        FETCH => {
            let kind = request.first & KINDS;
            let known = request.first & !(KINDS | ACK) == 0 && kind.is_power_of_two();
            if !known || (request.first & ACK == 0 && request.third == 0) {
                return Err(Errno::EINVAL.into());
            }
            (request.first, request.second) = (NO_DATA, 0);
        }
        // Where a list of CPUs should go: 0 asks for their number only.
        CPU_INFO if request.second == 0 => request.first = hv.platform.cpus(),
        CPU_INFO => return Err(Errno::ENOMEM.into()),
        _ => return Err(Errno::EINVAL.into()),
    }
    write_one(hv, args[0], &request)?;
    Ok(Done::OK)
}
