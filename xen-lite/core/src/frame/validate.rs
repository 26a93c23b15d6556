//! Contents of page tables and descriptor pages as a whole: checked when a frame gains the kind, taken apart when it loses it.
//!
//! Both run on a frame that is busy, so nobody else reads or writes its entries. Both stop between entries when an interrupt
//! waits, after at least one entry, and say how far they came: entries below that number hold references, the others none.

use super::descriptor;
use super::entry::{Mapper, check_absent, get_l1, get_table, put_l1, put_table};
use super::info::Kind;
use super::pte::{self, HYPERVISOR_SLOTS, PRESENT};
use super::types::{Stop, Unfinished};
use crate::addr::{DomId, Mfn, PAGE_WORDS};
use crate::fail::Errno;
use crate::hypervisor::Hypervisor;
use crate::platform::Platform;

/// Checks a frame's contents for `want`, from entry `from` on, and writes adjusted entries back.
///
/// # Errors
/// The first entry that holds no reference yet, and why.
pub(super) fn check<P: Platform>(
    hv: &Hypervisor<P>,
    mfn: Mfn,
    domain: DomId,
    want: Kind,
    from: usize,
) -> Result<(), (usize, Stop)> {
    match want {
        Kind::L1 => check_l1(hv, mfn, domain, from),
        Kind::SegDesc => check_descriptors(hv, mfn),
        Kind::L2 | Kind::L3 | Kind::L4 => check_table(hv, mfn, domain, want.level(), from),
        Kind::None | Kind::Writable | Kind::Shared => Ok(()),
    }
}

fn check_l1<P: Platform>(
    hv: &Hypervisor<P>,
    mfn: Mfn,
    domain: DomId,
    from: usize,
) -> Result<(), (usize, Stop)> {
    let by = Mapper::own(hv, domain);
    for at in from..PAGE_WORDS {
        let entry = hv.platform.load(mfn, at);
        if entry & PRESENT == 0 {
            check_absent(hv, entry, by.hardware).map_err(|stop| (at, stop))?;
            continue;
        }
        let flip = get_l1(hv, entry, &by).map_err(|stop| (at, stop))?;
        let adjusted = pte::adjust_l1(entry) ^ flip;
        if adjusted != entry {
            hv.platform.store(mfn, at, adjusted);
        }
    }
    Ok(())
}

fn check_table<P: Platform>(
    hv: &Hypervisor<P>,
    mfn: Mfn,
    domain: DomId,
    level: u8,
    from: usize,
) -> Result<(), (usize, Stop)> {
    let mut worked = false;
    for at in from..PAGE_WORDS {
        if level == 4 && HYPERVISOR_SLOTS.contains(&at) {
            continue;
        }
        let entry = hv.platform.load(mfn, at);
        if entry & PRESENT == 0 {
            if entry != 0 {
                check_absent(hv, entry, Mapper::own(hv, domain).hardware).map_err(|stop| (at, stop))?;
            }
            continue;
        }
        if worked && hv.platform.interrupt_pending() {
            return Err((at, Stop::Again));
        }
        get_table(hv, entry, level, mfn, domain).map_err(|stop| (at, stop))?;
        worked = true;
        let adjusted = pte::adjust_table(entry, level);
        if adjusted != entry {
            hv.platform.store(mfn, at, adjusted);
        }
    }
    if level == 4 {
        hv.platform.install_hypervisor_slots(mfn);
    }
    Ok(())
}

fn check_descriptors<P: Platform>(hv: &Hypervisor<P>, mfn: Mfn) -> Result<(), (usize, Stop)> {
    for at in 0..PAGE_WORDS {
        let was = hv.platform.load(mfn, at);
        let adjusted = descriptor::adjust(was);
        if !descriptor::check(adjusted) {
            log::debug!("{mfn}: descriptor {at} is {was:#x}, which a guest may not have");
            return Err((at, Stop::Errno(Errno::EINVAL)));
        }
        if adjusted != was {
            hv.platform.store(mfn, at, adjusted);
        }
    }
    Ok(())
}

/// Drops the references that the entries below `from` hold, the last first.
///
/// # Errors
/// How many entries still hold theirs.
pub(super) fn take_apart<P: Platform>(
    hv: &Hypervisor<P>,
    mfn: Mfn,
    is: Kind,
    from: usize,
) -> Result<(), usize> {
    match is.level() {
        0 => {}
        1 => (0..from).rev().for_each(|at| put_l1(hv, hv.platform.load(mfn, at))),
        level => {
            let mut worked = false;
            for at in (0..from).rev() {
                if level == 4 && HYPERVISOR_SLOTS.contains(&at) {
                    continue;
                }
                let entry = hv.platform.load(mfn, at);
                if entry & PRESENT == 0 {
                    continue;
                }
                if worked && hv.platform.interrupt_pending() {
                    return Err(at + 1);
                }
                if let Err(Unfinished(_)) = put_table(hv, entry, mfn) {
                    return Err(at);
                }
                worked = true;
            }
        }
    }
    Ok(())
}
