//! What would hand devices of the machine to a domain. No domain but the first has any, so these check their arguments and
//! say what upstream says to a machine without IOMMU.

use abi::domctl::Domctl;

use super::{Answer, PLAIN};
use crate::Hypervisor;
use crate::access::ControlOver;
use crate::control::policy::address_bits;
use crate::fail::Errno;
use crate::platform::Platform;

/// Interrupts that a domain may be asked to get.
const INTERRUPTS: u32 = 256;
/// I/O ports of the machine.
const PORTS: u32 = 1 << 16;

/// `irq_permission`: no interrupt belongs to a domain.
pub fn irq(op: &Domctl) -> Answer {
    let beyond = op.as_irq_permission().pirq >= INTERRUPTS;
    Err(if beyond { Errno::EINVAL } else { Errno::EPERM }.into())
}

/// `iomem_permission`: the first domain has it already; nobody else gets it.
pub fn memory<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver, op: &Domctl) -> Answer {
    let wanted = op.as_iomem_permission();
    let last = wanted.first_mfn.wrapping_add(wanted.nr_mfns).wrapping_sub(1);
    if last < wanted.first_mfn {
        return Err(Errno::EINVAL.into());
    }
    let real = wanted.nr_mfns != 0 && last >> (address_bits(hv).clamp(13, 52) - 12) == 0;
    if real && target.privileged && wanted.allow_access != 0 { PLAIN } else { Err(Errno::EPERM.into()) }
}

/// `ioport_permission`.
pub fn ports(target: &ControlOver, op: &Domctl) -> Answer {
    let wanted = op.as_ioport_permission();
    let inside = wanted.first_port.checked_add(wanted.nr_ports).is_some_and(|end| end <= PORTS);
    if !inside || wanted.nr_ports == 0 {
        return Err(Errno::EINVAL.into());
    }
    if target.privileged && wanted.allow_access != 0 { PLAIN } else { Err(Errno::EPERM.into()) }
}
