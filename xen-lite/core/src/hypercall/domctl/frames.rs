//! What a domain's frames are used for, for saving it.

use abi::domctl::*;

use super::{Answer, PLAIN};
use crate::Hypervisor;
use crate::access::ControlOver;
use crate::addr::Mfn;
use crate::fail::{Errno, Fail};
use crate::frame::put_page;
use crate::hypercall::guest::GuestHandle;
use crate::platform::Platform;

/// Frames that one call may ask about.
const MOST: u64 = 1024;
/// Frames between two looks at the interrupts.
const PORTION: u64 = 64;

/// `getpageframeinfo3`: each frame number of the array is replaced by the frame's kind. What is left of an interrupted call
/// stands in the structure.
pub fn info<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver, address: u64, op: &mut Domctl) -> Answer {
    let mut wanted = op.as_getpageframeinfo3();
    if wanted.num > MOST {
        return Err(Errno::E2BIG.into());
    }
    if wanted.num == 0 {
        return PLAIN;
    }
    let list = GuestHandle::<u64>::new(wanted.array.addr(), wanted.num)?;
    for index in 0..wanted.num {
        let mfn = Mfn::new(list.read(hv, index)?);
        list.write(hv, index, &u64::from(kind(hv, target, mfn)))?;
        let done = index + 1;
        if done % PORTION == 0 && done < wanted.num && hv.platform.interrupt_pending() {
            wanted.num -= done;
            wanted.array = abi::GuestPtr::new(wanted.array.addr() + done * size_of::<u64>() as u64);
            op.set_getpageframeinfo3(wanted);
            crate::hypercall::guest::write_one(hv, address, op)?;
            return Err(Fail::Again);
        }
    }
    PLAIN
}

fn kind<P: Platform>(hv: &Hypervisor<P>, target: &ControlOver, mfn: Mfn) -> u32 {
    if !hv.frames.get_page(mfn, target.id) {
        return XEN_DOMCTL_PFINFO_XTAB;
    }
    let (_, kind, users, _) = hv.frames.describe(mfn);
    let pinned = if hv.frames.is_pinned(mfn) { XEN_DOMCTL_PFINFO_LPINTAB } else { 0 };
    put_page(hv, mfn);
    match kind.level() {
        level @ 1..=4 if users != 0 => u32::from(level) << XEN_DOMCTL_PFINFO_LTAB_SHIFT | pinned,
        _ => XEN_DOMCTL_PFINFO_NOTAB,
    }
}
