//! What a domain without the right hears from the control calls.
//!
//! Their shims are never reached; but tools that probe go by the first thing that is wrong, in upstream's order: the pointer,
//! the interface's version, the target, and only then the right.

use abi::domctl::{
    XEN_DOMCTL_ASSIGN_DEVICE, XEN_DOMCTL_CREATEDOMAIN, XEN_DOMCTL_DEASSIGN_DEVICE, XEN_DOMCTL_GETDOMAININFO,
    XEN_DOMCTL_INTERFACE_VERSION,
};
use abi::platform::XENPF_INTERFACE_VERSION;
use abi::sysctl::XEN_SYSCTL_INTERFACE_VERSION;
use abi::xen::hypercall::{DOMCTL, PLATFORM_OP, SYSCTL};

use super::guest::read_one;
use crate::Hypervisor;
use crate::addr::DomId;
use crate::fail::Errno;
use crate::platform::Platform;

/// The refusal of hypercall `number` with its structure at `at`.
#[cold]
pub fn refusal<P: Platform>(hv: &Hypervisor<P>, number: u64, at: u64) -> Errno {
    let wanted = match number {
        DOMCTL => XEN_DOMCTL_INTERFACE_VERSION,
        SYSCTL => XEN_SYSCTL_INTERFACE_VERSION,
        PLATFORM_OP => XENPF_INTERFACE_VERSION,
        _ => return Errno::EPERM,
    };
    // Each begins with command and version; a domctl goes on with its target.
    let words: [u32; 3] = match read_one(hv, at) {
        Ok(words) => words,
        Err(errno) => return errno,
    };
    let [command, version, target] = words;
    if version != wanted {
        Errno::EACCES
    } else if number == DOMCTL && command != XEN_DOMCTL_CREATEDOMAIN {
        no_target(hv, command, DomId::new(target as u16))
    } else {
        Errno::EPERM
    }
}

fn no_target<P: Platform>(hv: &Hypervisor<P>, command: u32, target: DomId) -> Errno {
    if target == DomId::IO && matches!(command, XEN_DOMCTL_ASSIGN_DEVICE | XEN_DOMCTL_DEASSIGN_DEVICE) {
        return Errno::EPERM;
    }
    let question = command == XEN_DOMCTL_GETDOMAININFO;
    let found = if question { hv.domains.next_from(target) } else { hv.domains.get(target) };
    match found {
        _ if question && target >= DomId::FIRST_RESERVED => Errno::EINVAL,
        Some(_) => Errno::EPERM,
        None => Errno::ESRCH,
    }
}
