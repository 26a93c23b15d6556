//! The references that entries of page tables hold.
//!
//! A present L1 entry holds a typed reference (`Writable`) if it allows writing, else a general one. A present entry of a higher
//! table holds a typed reference to the table below, except for a table's read-only entry for itself (a "linear" page table): it
//! holds none, as the table cannot outlive itself. Entries for I/O hold nothing, for nothing can happen to I/O frames.

use core::sync::atomic::Ordering;

use super::info::{FrameInfo, Kind, State};
use super::pte::{self, CACHE, NOT_IN_TABLES, PAT_OR_PSE, PCD, PRESENT, PWT, WRITABLE};
use super::table::{Owner, put_page};
use super::types::{Stop, Unfinished, get_page_type, get_writable, put_page_type_preemptible, put_writable};
use crate::addr::{DomId, Mfn};
use crate::fail::Errno;
use crate::hypervisor::Hypervisor;
use crate::platform::Platform;
use crate::speculation::l1tf;

/// For whom an entry is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapper {
    /// Owner of the table.
    pub table: DomId,
    /// Whose frames are meant: the same domain, or another that the caller controls, or [`DomId::IO`], or [`DomId::XEN`].
    pub pages: DomId,
    /// Whether the table's owner may map I/O and choose memory types.
    pub hardware: bool,
}

impl Mapper {
    /// A domain mapping its own frames.
    pub fn own<P: Platform>(hv: &Hypervisor<P>, domain: DomId) -> Mapper {
        let hardware = hv.domains.get(domain).is_some_and(|domain| domain.privileged);
        Mapper { table: domain, pages: domain, hardware }
    }

    /// Bits that an L1 entry must not have.
    #[inline(always)]
    pub const fn forbidden(&self) -> u64 {
        if self.hardware { 0 } else { CACHE }
    }
}

/// Checks a present L1 entry (as the guest wrote it) and takes its reference. The answer is bits to be flipped before the entry goes
/// into the table: I/O is not cached unless the guest chose a memory type, and some of it can only be read.
///
/// # Errors
/// `EINVAL` for bits that are not allowed; `EPERM` for I/O that is not the guest's to map; `EBUSY` for a frame that is not
/// of the domain meant, or cannot be writable now.
#[inline(always)]
pub fn get_l1<P: Platform>(hv: &Hypervisor<P>, entry: u64, by: &Mapper) -> Result<u64, Stop> {
    let mfn = pte::mfn(entry);
    let taken = match hv.frames.info(mfn) {
        Some(info) if entry & by.forbidden() == 0 => {
            if entry & WRITABLE != 0 {
                get_writable(hv, info, mfn, by.pages)
            } else {
                super::table::get_page_of(info, by.pages)
            }
        }
        _ => false,
    };
    if taken { Ok(0) } else { get_l1_slow(hv, entry, by) }
}

#[inline(never)]
fn get_l1_slow<P: Platform>(hv: &Hypervisor<P>, entry: u64, by: &Mapper) -> Result<u64, Stop> {
    let mfn = pte::mfn(entry);
    if entry & by.forbidden() != 0 {
        log::debug!("{}: L1 entry {entry:#x} has bits {:#x} set", by.table, entry & by.forbidden());
        return Err(Stop::Errno(Errno::EINVAL));
    }
    if hv.frames.owner(mfn) == Owner::Io {
        return get_io(hv, mfn, entry, by);
    }
    let result = if entry & WRITABLE != 0 {
        get_page_type(hv, mfn, by.pages, Kind::Writable)
    } else if hv.frames.get_page(mfn, by.pages) {
        Ok(())
    } else {
        Err(Stop::Errno(Errno::EBUSY))
    };
    result.map(|()| 0).map_err(|stop| {
        if stop == Stop::Again {
            return stop;
        }
        let found = hv.frames.describe(mfn);
        log::debug!("{}: L1 entry {entry:#x} for a frame of {}, which is {found:?}", by.table, by.pages);
        Stop::Errno(Errno::EBUSY)
    })
}

/// Checks an entry, of whatever level, that is not present: on CPUs with L1TF it must name no RAM ([`l1tf`]).
///
/// # Errors
/// `EINVAL`.
#[inline(always)]
pub fn check_absent<P: Platform>(hv: &Hypervisor<P>, entry: u64, hardware: bool) -> Result<(), Stop> {
    if entry == 0 { Ok(()) } else { check_absent_slow(hv, entry, hardware) }
}

#[cold]
#[inline(never)]
fn check_absent_slow<P: Platform>(hv: &Hypervisor<P>, entry: u64, hardware: bool) -> Result<(), Stop> {
    let end = hv.frames.len() << crate::addr::PAGE_SHIFT;
    if !hv.config.speculation.l1tf_for(hardware) || l1tf::is_safe(entry, end) {
        return Ok(());
    }
    log::debug!("entry {entry:#x} is not present and names RAM: refused, as the CPU might read it (L1TF)");
    Err(Stop::Errno(Errno::EINVAL))
}

fn get_io<P: Platform>(hv: &Hypervisor<P>, mfn: Mfn, entry: u64, by: &Mapper) -> Result<u64, Stop> {
    if entry & pte::FRAME == pte::FRAME {
        log::debug!("{}: L1 entry {entry:#x} for no frame at all", by.table);
        return Err(Stop::Errno(Errno::EINVAL));
    }
    let address_bits = hv.platform.cpuid(0x8000_0008, 0).0 & 0xff;
    let meant = by.pages == by.table || by.pages == DomId::IO;
    if by.hardware && meant && hv.frames.io_permitted(mfn, address_bits) {
        let cached = entry & (PCD | PAT_OR_PSE) == 0;
        return Ok(if cached { (PWT | PCD) & !entry } else { 0 });
    }
    log::debug!("{}: L1 entry for I/O frame {mfn}, which it may not map", by.table);
    Err(Stop::Errno(Errno::EPERM))
}

/// Drops the reference of an L1 entry that was in a table.
#[inline(always)]
pub fn put_l1<P: Platform>(hv: &Hypervisor<P>, entry: u64) {
    if entry & PRESENT == 0 {
        return;
    }
    let mfn = pte::mfn(entry);
    let Some(info) = hv.frames.info(mfn) else { return };
    if State::of(info.refs.load(Ordering::Relaxed)) == State::Io {
        return;
    }
    if entry & WRITABLE != 0 { put_writable(hv, info, mfn) } else { put_page(hv, mfn) }
}

/// Takes the reference of a writable mapping, without one: for work on a frame's contents.
///
/// # Errors
/// As [`get_page_type`].
#[inline(always)]
pub fn get_to_write<P: Platform>(hv: &Hypervisor<P>, mfn: Mfn, domain: DomId) -> Result<&FrameInfo, Stop> {
    let Some(info) = hv.frames.info(mfn) else { return Err(Stop::Errno(Errno::EINVAL)) };
    if !get_writable(hv, info, mfn, domain) {
        get_page_type(hv, mfn, domain, Kind::Writable)?;
    }
    Ok(info)
}

/// Takes a general reference, for work on a frame's contents; `None` when the frame is not the domain's.
#[inline(always)]
pub fn get_to_read<P: Platform>(hv: &Hypervisor<P>, mfn: Mfn, domain: DomId) -> Option<&FrameInfo> {
    hv.frames.info(mfn).filter(|info| super::table::get_page_of(info, domain))
}

/// Drops what [`get_to_write`] took.
#[inline(always)]
pub fn put_written<P: Platform>(hv: &Hypervisor<P>, info: &FrameInfo, mfn: Mfn) {
    put_writable(hv, info, mfn);
}

/// Checks a present entry of a table of `level` 2 to 4 and takes its reference. `table` is the frame it stands in.
///
/// # Errors
/// `EINVAL` for bits that are not allowed, a frame that is not the domain's, or that cannot be the table below; or what
/// that table's own check says.
#[inline]
pub fn get_table<P: Platform>(
    hv: &Hypervisor<P>,
    entry: u64,
    level: u8,
    table: Mfn,
    domain: DomId,
) -> Result<(), Stop> {
    let below = pte::mfn(entry);
    if entry & NOT_IN_TABLES != 0 {
        log::debug!("{domain}: L{level} entry {entry:#x} has bits {:#x} set", entry & NOT_IN_TABLES);
        return Err(Stop::Errno(Errno::EINVAL));
    }
    if below == table {
        let linear = entry & WRITABLE == 0;
        if !linear {
            log::debug!("{domain}: L{level} entry {entry:#x} maps its own table writable");
        }
        return if linear { Ok(()) } else { Err(Stop::Errno(Errno::EINVAL)) };
    }
    get_page_type(hv, below, domain, Kind::table(level - 1))
}

/// Drops the reference of an entry that was in a table of `level` 2 to 4.
///
/// # Errors
/// [`Unfinished`]: dropped, but the table below is to be finished.
#[inline]
pub fn put_table<P: Platform>(hv: &Hypervisor<P>, entry: u64, table: Mfn) -> Result<(), Unfinished> {
    let below = pte::mfn(entry);
    if entry & PRESENT == 0 || below == table { Ok(()) } else { put_page_type_preemptible(hv, below) }
}
