//! Builds the hypervisor's page tables.
//!
//! Rights: text is executable and read-only, constants are neither writable nor executable, everything else is writable and not
//! executable. The machine-to-physical table alone is readable by ring 3. All but the windows is global. The direct map holds
//! RAM and the firmware's tables in 2 MiB pages.

use core::sync::atomic::AtomicU64;

use super::{PAGE, Ranges, direct};
use crate::layout;

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const GLOBAL: u64 = 1 << 8;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const LARGE_SIZE: u64 = 2 << 20;

const TEXT: u64 = PRESENT | ACCESSED | DIRTY | GLOBAL;
const CONSTANT: u64 = TEXT | NO_EXECUTE;
const DATA: u64 = CONSTANT | WRITABLE;
const READABLE_BY_GUESTS: u64 = CONSTANT | USER;

/// Tables in the making.
pub struct Tables<'m> {
    root: u64,
    memory: &'m mut Ranges,
}

impl<'m> Tables<'m> {
    /// An empty root.
    ///
    /// # Errors
    /// No memory.
    pub fn new(memory: &'m mut Ranges) -> Result<Tables<'m>, &'static str> {
        Ok(Tables { root: memory.take_cleared(PAGE, PAGE)?, memory })
    }

    /// Goes on with tables that are in use.
    pub fn again(root: u64, memory: &'m mut Ranges) -> Tables<'m> {
        Tables { root, memory }
    }

    /// Maps the 2 MiB with this physical address at the same address, writable and executable.
    ///
    /// # Errors
    /// No memory.
    pub fn identity(&mut self, physical: u64) -> Result<(), &'static str> {
        let start = physical & !(LARGE_SIZE - 1);
        self.map(start, start, start + LARGE_SIZE, PRESENT | WRITABLE | ACCESSED | DIRTY)
    }

    /// Machine address of the root.
    pub fn root(&self) -> u64 {
        self.root
    }

    /// The table one level down, made if it is not there.
    fn next(&mut self, table: u64, index: usize, user: u64) -> Result<u64, &'static str> {
        let entry = direct::read(table, index);
        if entry & PRESENT != 0 {
            return Ok(entry & ADDRESS);
        }
        let new = self.memory.take_cleared(PAGE, PAGE)?;
        direct::write(table, index, new | PRESENT | WRITABLE | ACCESSED | DIRTY | user);
        Ok(new)
    }

    /// The table of `level` (1 or 2) that maps `address`.
    fn table(&mut self, address: u64, level: u32, user: u64) -> Result<u64, &'static str> {
        (level + 1..=4).rev().try_fold(self.root, |table, at| self.next(table, index(address, at), user))
    }

    fn map(&mut self, mut address: u64, mut physical: u64, end: u64, flags: u64) -> Result<(), &'static str> {
        while physical < end {
            let aligned = address.is_multiple_of(LARGE_SIZE) && physical.is_multiple_of(LARGE_SIZE);
            let large = aligned && end - physical >= LARGE_SIZE;
            let (level, size) = if large { (2, LARGE_SIZE) } else { (1, PAGE) };
            let table = self.table(address, level, flags & USER)?;
            let flags = if large { flags | LARGE } else { flags };
            direct::write(table, index(address, level), physical | flags);
            address += size;
            physical += size;
        }
        Ok(())
    }

    /// Adds memory to the direct map, rounded out to 2 MiB; returns the bounds.
    ///
    /// # Errors
    /// No memory.
    pub fn direct(&mut self, start: u64, end: u64) -> Result<(u64, u64), &'static str> {
        let (start, end) = (start & !(LARGE_SIZE - 1), end.next_multiple_of(LARGE_SIZE));
        self.map(layout::direct(start), start, end, DATA)?;
        Ok((start, end))
    }

    /// Maps the machine-to-physical table.
    ///
    /// # Errors
    /// No memory.
    pub fn m2p(&mut self, physical: u64, size: u64) -> Result<(), &'static str> {
        self.map(layout::M2P, physical, physical + size.next_multiple_of(PAGE), READABLE_BY_GUESTS)
    }

    /// Maps the image, and the boot stack but for its guard page.
    ///
    /// # Errors
    /// No memory.
    pub fn image(&mut self) -> Result<(), &'static str> {
        unsafe extern "C" {
            static __image_start: u8;
            static __rodata_start: u8;
            static __data_start: u8;
            static __image_end: u8;
        }
        let bounds = [
            (&raw const __image_start as u64, &raw const __rodata_start as u64, TEXT),
            (&raw const __rodata_start as u64, &raw const __data_start as u64, CONSTANT),
            (&raw const __data_start as u64, &raw const __image_end as u64, DATA),
        ];
        for (start, end, flags) in bounds {
            self.map(start, start - layout::IMAGE, end - layout::IMAGE, flags)?;
        }
        let (guard, end) = crate::boot::stack();
        self.map(layout::IMAGE + guard + PAGE, guard + PAGE, end, DATA & !GLOBAL)
    }

    /// Maps new, cleared pages from `address` on; returns where they end.
    ///
    /// # Errors
    /// No memory.
    pub fn pages(&mut self, address: u64, count: usize, flags: u64) -> Result<u64, &'static str> {
        let end = address + count as u64 * PAGE;
        for at in (address..end).step_by(PAGE as usize) {
            let frame = self.memory.take_cleared(PAGE, PAGE)?;
            self.map(at, frame, frame + PAGE, flags)?;
        }
        Ok(end)
    }

    /// Maps a part of the image as it is mapped already, but for "global": guests' roots ([`super::split`]).
    ///
    /// # Errors
    /// No memory.
    pub fn part_of_image(&mut self, start: u64, end: u64, executable: bool) -> Result<(), &'static str> {
        let flags = if executable { TEXT } else { CONSTANT };
        self.map(start, start - layout::IMAGE, end - layout::IMAGE, flags & !GLOBAL)
    }

    /// Enters a lowest table for the 2 MiB from `address`.
    ///
    /// # Errors
    /// No memory.
    pub fn enter_leaf_table(&mut self, address: u64, leaf: u64) -> Result<(), &'static str> {
        let above = self.table(address, 2, 0)?;
        direct::write(above, index(address, 2), leaf | PRESENT | WRITABLE | ACCESSED | DIRTY);
        Ok(())
    }

    /// The lowest table for the 2 MiB from `address`, empty.
    ///
    /// # Errors
    /// No memory.
    pub fn leaf_table(&mut self, address: u64) -> Result<*mut AtomicU64, &'static str> {
        Ok(layout::direct(self.table(address, 1, 0)?) as *mut AtomicU64)
    }
}

/// Removes the boot stack's entries from tables that are in use.
pub fn unmap_boot_stack(root: u64) {
    let (start, end) = crate::boot::stack();
    for address in (layout::IMAGE + start..layout::IMAGE + end).step_by(PAGE as usize) {
        let table =
            (2..=4).rev().fold(root, |table, level| direct::read(table, index(address, level)) & ADDRESS);
        direct::write(table, index(address, 1), 0);
    }
}

fn index(address: u64, level: u32) -> usize {
    (address >> (12 + 9 * (level - 1))) as usize & 511
}
