//! Who may do what to whom, as tokens.
//!
//! An operation on another domain takes a [`ControlOver`], which only this module makes, after the check. So a forgotten check
//! does not compile:
//!
//! ```compile_fail
//! # fn forge(domain: std::sync::Arc<xen_lite_core::domain::Domain>) {
//! let token = xen_lite_core::access::ControlOver { domain };
//! # }
//! ```

use alloc::sync::Arc;
use core::ops::Deref;

use crate::Hypervisor;
use crate::addr::DomId;
use crate::domain::Domain;
use crate::fail::Errno;
use crate::hypercall::Caller;
use crate::platform::Platform;

/// The right to control a domain, and the domain itself.
#[derive(Clone, Debug)]
pub struct ControlOver {
    domain: Arc<Domain>,
}

impl Deref for ControlOver {
    type Target = Arc<Domain>;

    fn deref(&self) -> &Arc<Domain> {
        &self.domain
    }
}

/// The domain `id` as a target of control operations.
///
/// # Errors
/// `EPERM` for a caller that is no control domain, `ESRCH` when there is no such domain.
pub fn control_over<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &Caller<'_>,
    id: DomId,
) -> Result<ControlOver, Errno> {
    if !caller.domain.privileged {
        return Err(Errno::EPERM);
    }
    let domain = find(hv, caller, id).ok_or(Errno::ESRCH)?;
    Ok(ControlOver { domain })
}

/// The domain `id` for an operation that every domain may do to itself and a control domain to all.
///
/// # Errors
/// `ESRCH` when there is no such domain, `EPERM` when it is another's and the caller is no control domain.
pub fn self_or_control<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &Caller<'_>,
    id: DomId,
) -> Result<ControlOver, Errno> {
    let domain = find(hv, caller, id).ok_or(Errno::ESRCH)?;
    if domain.id != caller.domain.id && !caller.domain.privileged {
        return Err(Errno::EPERM);
    }
    Ok(ControlOver { domain })
}

fn find<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, id: DomId) -> Option<Arc<Domain>> {
    if id == DomId::SELF || id == caller.domain.id { Some(caller.domain.clone()) } else { hv.domains.get(id) }
}
