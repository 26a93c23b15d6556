//! Changes of single entries of live page tables.
//!
//! The caller holds a typed reference to the table, so that it stays one. The new entry's reference is taken, the entry is
//! exchanged, the old entry's reference is dropped: at every moment what the CPU may find in the table is counted.

use core::sync::atomic::Ordering;

use crate::addr::{DomId, Mfn};
use crate::fail::Errno;
use crate::frame::entry::{Mapper, check_absent, get_l1, get_table, put_l1, put_table};
use crate::frame::pte::{self, ACCESSED, DIRTY, HYPERVISOR_SLOTS, PRESENT};
use crate::frame::{Stop, Unfinished};
use crate::hypervisor::Hypervisor;
use crate::platform::Platform;

/// How an entry replaces the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// As given.
    Set,
    /// Keeping the accessed and dirty bits of the old (`MMU_PT_UPDATE_PRESERVE_AD`).
    PreserveAccess,
    /// Only if the old one is exactly this (a guest's compare-and-swap).
    IfEqual(u64),
}

impl How {
    #[inline(always)]
    fn entry(self, old: u64, new: u64) -> u64 {
        if self == How::PreserveAccess { new | old & (ACCESSED | DIRTY) } else { new }
    }

    #[inline(always)]
    fn allows(self, old: u64) -> bool {
        match self {
            How::IfEqual(expected) => old == expected,
            _ => true,
        }
    }
}

/// The entry was not what [`How::IfEqual`] asked for, but this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Differs(pub u64);

/// Exchanges the entry; returns what was there.
#[inline(always)]
fn exchange<P: Platform>(
    hv: &Hypervisor<P>,
    table: Mfn,
    index: usize,
    mut old: u64,
    new: u64,
    how: How,
) -> Result<u64, Differs> {
    loop {
        if !how.allows(old) {
            return Err(Differs(old));
        }
        match hv.platform.compare_exchange(table, index, old, how.entry(old, new)) {
            Ok(()) => return Ok(old),
            Err(now) => old = now,
        }
    }
}

/// Changes an entry of a held L1 table.
///
/// # Errors
/// As [`get_l1`]; nothing has changed then.
#[inline(always)]
pub fn update_l1<P: Platform>(
    hv: &Hypervisor<P>,
    table: Mfn,
    index: usize,
    new: u64,
    how: How,
    by: &Mapper,
) -> Result<Result<(), Differs>, Stop> {
    let old = hv.platform.load(table, index);
    let adjusted = pte::adjust_l1(new);
    if pte::is_harmless_change(old, adjusted) {
        // The frame, the right to write and the memory type stay as they were counted, if the entry has not changed since.
        let to = how.entry(old, adjusted);
        if how.allows(old) && hv.platform.compare_exchange(table, index, old, to).is_ok() {
            return Ok(Ok(()));
        }
    }
    let flip = if new & PRESENT != 0 {
        get_l1(hv, new, by)?
    } else {
        check_absent(hv, new, by.hardware)?;
        0
    };
    match exchange(hv, table, index, old, adjusted ^ flip, how) {
        Ok(was) => {
            put_l1(hv, was);
            Ok(Ok(()))
        }
        Err(differs) => {
            put_l1(hv, new);
            Ok(Err(differs))
        }
    }
}

/// Changes an entry of a held table of `level` 2 to 4 that belongs to `domain`. The table below that may remain to be
/// finished is returned.
///
/// # Errors
/// `EINVAL` for the hypervisor's slots of a root, and as [`get_table`]; nothing has changed then.
pub fn update_table<P: Platform>(
    hv: &Hypervisor<P>,
    table: Mfn,
    level: u8,
    index: usize,
    new: u64,
    how: How,
    domain: DomId,
) -> Result<Result<(), Unfinished>, Stop> {
    if level == 4 && HYPERVISOR_SLOTS.contains(&index) {
        log::debug!("{domain}: L4 entry {index} of {table} is the hypervisor's");
        return Err(Stop::Errno(Errno::EINVAL));
    }
    let old = hv.platform.load(table, index);
    let adjusted = pte::adjust_table(new, level);
    if pte::is_harmless_change(old, adjusted)
        && adjusted & pte::NOT_IN_TABLES == 0
        && hv.platform.compare_exchange(table, index, old, how.entry(old, adjusted)).is_ok()
    {
        tell_of_root(hv, level, domain);
        return Ok(Ok(()));
    }
    if new & PRESENT != 0 {
        get_table(hv, new, level, table, domain)?;
    } else if new != 0 {
        check_absent(hv, new, Mapper::own(hv, domain).hardware)?;
    }
    match exchange(hv, table, index, old, adjusted, how) {
        Ok(was) => {
            // Before the old entry's table may go.
            tell_of_root(hv, level, domain);
            Ok(put_table(hv, was, table))
        }
        Err(Differs(_)) => Ok(put_table(hv, new, table)),
    }
}

/// An entry of a table of `level` that belongs to `domain` has changed: CPUs that run it on copies of its roots must hear of it.
#[inline(always)]
fn tell_of_root<P: Platform>(hv: &Hypervisor<P>, level: u8, domain: DomId) {
    if level == 4 && hv.platform.copies_roots() {
        let active = hv.domains.get(domain).map(|domain| domain.active_cpus.load(Ordering::SeqCst));
        hv.platform.root_changed(active.unwrap_or(0));
    }
}
