//! Start-of-day memory of a PV domain: which page of the domain holds what, and the first page tables.
//!
//! The rules are the public ABI's ("Start-of-day memory layout" in `xen/xen.h`):
//!
//! - The domain starts in one contiguous virtual region from the kernel's base; its page `n` of pseudo-physical
//!   memory is mapped at `virt_base + n * 4096`. Elements are page-aligned and packed in this order: kernel, initrd,
//!   phys-to-machine list, `start_info`, (unless Dom0: xenstore page, console page), page tables, stack.
//! - The region ends on a 4 MiB boundary and leaves at least 512 KiB free behind the stack.
//! - Page tables are mapped read-only, everything else read-write.
//! - `INIT_P2M`: the list goes to that address instead; its frames and the tables that map it come after the region
//!   and need not be mapped by it. `MOD_START_PFN`: the initrd comes after the region, unmapped.
//!
//! The number of tables and the end of the region depend on each other; the smallest solution is taken. Tables lie
//! in the order L4, L3, L2, L1, each level by rising addresses. This module computes numbers only: the hypervisor
//! writes Dom0's tables from them with machine addresses of its own choice, Dom0's toolstack a DomU's.

use core::ops::Range;

use crate::image::check_guest_range;
use crate::{Image, ImageError, PAGE_SIZE};

/// Entries of a table.
pub const ENTRIES: u64 = 512;
const REGION_ALIGN: u64 = 4 << 20;
const REGION_SPARE: u64 = 512 << 10;
/// The 48 bits of a virtual address that are translated.
const TRANSLATED: u64 = (1 << 48) - 1;

/// Who the domain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The first domain: no xenstore and console pages; the whole region must fit its memory.
    Dom0,
    /// Any other domain: a region that is larger than its memory is mapped as far as there is memory.
    DomU,
}

/// What to lay out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Who the domain is.
    pub role: Role,
    /// Pages that the domain has at start, so the length of its phys-to-machine list.
    pub nr_pages: u64,
    /// Size of the initrd in bytes; 0: none.
    pub initrd_bytes: u64,
}

/// Pages of one element: pseudo-physical, and virtual as far as mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// First page frame number.
    pub pfn: u64,
    /// Number of pages.
    pub pages: u64,
    /// Virtual address of the first page; `None`: not mapped at start.
    pub va: Option<u64>,
}

impl Region {
    /// The page frame numbers.
    #[must_use]
    pub fn pfns(&self) -> Range<u64> {
        self.pfn..self.pfn + self.pages
    }
}

/// Tables of one virtual range: for each level the numbers of its tables and where they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Tables {
    /// By level - 1: first and last table number, and the page of the first. Empty if `first > last`.
    levels: [(u64, u64, u64); 4],
    pfn: u64,
    pages: u64,
}

/// The number of the table of `level` (1 to 4) that maps `va`.
fn table_number(va: u64, level: u8) -> u64 {
    (va & TRANSLATED) >> (12 + 9 * u32::from(level))
}

impl Tables {
    /// The tables that map `start..end` and are not in `others`.
    fn new(start: u64, end: u64, others: Option<&Tables>) -> Self {
        let mut tables = Self::default();
        for level in 1..=4u8 {
            let (mut first, mut last) = (table_number(start, level), table_number(end - 1, level));
            // The ranges are disjoint, so at most one table is shared, at one end.
            if let Some(others) = others {
                first += u64::from(others.find(level, first).is_some());
                if first <= last && others.find(level, last).is_some() {
                    (first, last) = if last == 0 { (1, 0) } else { (first, last - 1) };
                }
            }
            tables.levels[usize::from(level) - 1] = (first, last, 0);
            tables.pages += (last + 1).saturating_sub(first);
        }
        tables
    }

    /// Puts the tables at `pfn`, highest level first.
    fn place(&mut self, mut pfn: u64) {
        self.pfn = pfn;
        for (first, last, at) in self.levels.iter_mut().rev() {
            *at = pfn;
            pfn += (*last + 1).saturating_sub(*first);
        }
    }

    fn find(&self, level: u8, number: u64) -> Option<u64> {
        let (first, last, pfn) = self.levels[usize::from(level) - 1];
        (first..=last).contains(&number).then(|| pfn + (number - first))
    }

    fn iter(&self) -> impl Iterator<Item = Table> + '_ {
        (1..=4u8).rev().flat_map(|level| {
            let (first, last, pfn) = self.levels[usize::from(level) - 1];
            (first..=last).map(move |number| Table { level, number, pfn: pfn + (number - first) })
        })
    }
}

/// One page table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// 4 (root) to 1.
    pub level: u8,
    /// Its number among all tables of its level that an address space can have.
    pub number: u64,
    /// The page that holds it.
    pub pfn: u64,
}

/// One present entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The page that it points to: the next table, or for level 1 the page that is mapped.
    pub pfn: u64,
    /// Whether the guest may write through it. False only for level-1 entries that map a page table.
    pub writable: bool,
}

/// The plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Virtual address of page 0.
    pub virt_base: u64,
    /// First virtual address after the region, a multiple of 4 MiB.
    pub v_end: u64,
    /// Pages of the region that are mapped: from page 0, to the end of the region or of the memory.
    pub mapped_pages: u64,
    /// The kernel's image.
    pub kernel: Region,
    /// The initrd. `va` is `None` with `MOD_START_PFN` (`SIF_MOD_START_PFN` in `start_info.flags`).
    pub initrd: Option<Region>,
    /// The phys-to-machine list, eight bytes for each page.
    pub p2m: Region,
    /// Tables that only map a list at `INIT_P2M`; they follow the list. Zero pages otherwise.
    pub p2m_tables: Region,
    /// Whether the list is at `INIT_P2M`: then `first_p2m_pfn` and `nr_p2m_frames` are to be filled in.
    pub p2m_relocated: bool,
    /// `start_info`.
    pub start_info: Region,
    /// The xenstore ring; `None` for Dom0.
    pub xenstore: Option<Region>,
    /// The console ring; `None` for Dom0.
    pub console: Option<Region>,
    /// The page tables of the region: `pt_base`, `nr_pt_frames`; the first is the root.
    pub tables: Region,
    /// The boot stack. The stack pointer starts at its end.
    pub stack: Region,
    /// First page that nothing of the above uses.
    pub first_free_pfn: u64,
    nr_pages: u64,
    main: Tables,
    extra: Tables,
}

/// Hands out pages one element after the other.
struct Cursor {
    pfn: u64,
    virt_base: u64,
}

impl Cursor {
    fn take(&mut self, pages: u64) -> Region {
        let region =
            Region { pfn: self.pfn, pages, va: Some(self.virt_base.wrapping_add(self.pfn * PAGE_SIZE)) };
        self.pfn += pages;
        region
    }

    fn take_unmapped(&mut self, pages: u64) -> Region {
        Region { va: None, ..self.take(pages) }
    }
}

/// Computes the layout.
///
/// # Errors
/// The kernel is not PV, its region would leave the guest's address space, or the domain is too small.
pub fn plan(image: &Image, request: &Request) -> Result<Layout, ImageError> {
    let info = image.pv()?;
    let too_small = |what, need| Err(ImageError::TooSmall { what, need, have: request.nr_pages });
    // These bounds keep every sum below far from overflow.
    let kernel_end = (info.virt_kend - info.virt_base).div_ceil(PAGE_SIZE);
    let initrd_pages = request.initrd_bytes.div_ceil(PAGE_SIZE);
    if kernel_end >= request.nr_pages || request.nr_pages >= 1 << 36 {
        return too_small("the kernel", kernel_end.saturating_add(1));
    }
    if initrd_pages > request.nr_pages {
        return too_small("the initrd", kernel_end.saturating_add(initrd_pages));
    }
    let p2m_pages = (request.nr_pages * 8).div_ceil(PAGE_SIZE);

    let first = (info.virt_kstart - info.virt_base) / PAGE_SIZE;
    let mut cursor = Cursor { pfn: first, virt_base: info.virt_base };
    let kernel = cursor.take(kernel_end - first);
    let mapped_initrd = initrd_pages != 0 && !image.notes.mod_start_pfn;
    let mut initrd = mapped_initrd.then(|| cursor.take(initrd_pages));
    let mut p2m = cursor.take(if info.p2m_base.is_none() { p2m_pages } else { 0 });
    let start_info = cursor.take(1);
    let is_domu = request.role == Role::DomU;
    let xenstore = is_domu.then(|| cursor.take(1));
    let console = is_domu.then(|| cursor.take(1));
    let (mut main, v_end) = region_tables(&cursor)?;
    main.place(cursor.pfn);
    let tables = cursor.take(main.pages);
    let stack = cursor.take(1);

    let region_pages = (v_end - info.virt_base) / PAGE_SIZE;
    let needed = if is_domu { cursor.pfn } else { region_pages };
    if needed > request.nr_pages {
        return too_small("kernel, initrd and page tables", needed);
    }
    let mapped_pages = region_pages.min(request.nr_pages);
    let unmapped_initrd = initrd_pages != 0 && image.notes.mod_start_pfn;
    if unmapped_initrd || info.p2m_base.is_some() {
        cursor.pfn = region_pages;
    }
    if unmapped_initrd {
        initrd = Some(cursor.take_unmapped(initrd_pages));
    }
    let mut extra = Tables { levels: [(1, 0, 0); 4], pfn: 0, pages: 0 };
    if let Some(base) = info.p2m_base {
        let end = base.saturating_add(p2m_pages * PAGE_SIZE);
        check_guest_range("INIT_P2M", base..end)?;
        if base < v_end && end > info.virt_base {
            let rule = alloc::format!(
                "its end {end:#x} meets the kernel's region {:#x}..{v_end:#x}",
                info.virt_base
            );
            return Err(ImageError::BadAddress { what: "INIT_P2M", value: base, rule });
        }
        p2m = Region { va: Some(base), ..cursor.take(p2m_pages) };
        extra = Tables::new(base, end, Some(&main));
        extra.place(cursor.pfn);
    }
    let p2m_tables = cursor.take_unmapped(extra.pages);
    if cursor.pfn > request.nr_pages {
        return too_small("kernel, initrd, phys-to-machine list and page tables", cursor.pfn);
    }
    Ok(Layout {
        virt_base: info.virt_base,
        v_end,
        mapped_pages,
        kernel,
        initrd,
        p2m,
        p2m_tables,
        p2m_relocated: info.p2m_base.is_some(),
        start_info,
        xenstore,
        console,
        tables,
        stack,
        first_free_pfn: cursor.pfn,
        nr_pages: request.nr_pages,
        main,
        extra,
    })
}

/// The tables of the region if they and the stack follow at `cursor`, and the region's end.
fn region_tables(cursor: &Cursor) -> Result<(Tables, u64), ImageError> {
    let mut count = 0;
    loop {
        let pages = cursor.pfn + count + 1;
        let end = pages.checked_mul(PAGE_SIZE).and_then(|size| size.checked_add(cursor.virt_base));
        let v_end = end
            .and_then(|end| end.checked_add(REGION_SPARE))
            .and_then(|end| end.checked_next_multiple_of(REGION_ALIGN))
            .unwrap_or(0);
        check_guest_range("start-of-day region", cursor.virt_base..v_end)?;
        let tables = Tables::new(cursor.virt_base, v_end, None);
        // More tables can only push the end up, so this ends at the smallest count that maps itself.
        if tables.pages == count {
            return Ok((tables, v_end));
        }
        count = tables.pages;
    }
}

impl Layout {
    /// All page tables, the root first, with those of a relocated phys-to-machine list at the end.
    pub fn tables(&self) -> impl Iterator<Item = Table> + '_ {
        self.main.iter().chain(self.extra.iter())
    }

    /// Entry `index` (0 to 511) of `table`; `None`: not present.
    #[must_use]
    pub fn entry(&self, table: Table, index: u64) -> Option<Entry> {
        let child = table.number * ENTRIES + index;
        if table.level > 1 {
            let level = table.level - 1;
            let pfn = self.main.find(level, child).or_else(|| self.extra.find(level, child))?;
            return Some(Entry { pfn, writable: true });
        }
        let page = |va: u64| (va & TRANSLATED) / PAGE_SIZE;
        let at = |base: u64, pages: u64| child.checked_sub(page(base)).filter(|offset| *offset < pages);
        let pfn = match (at(self.virt_base, self.mapped_pages), self.p2m_relocated, self.p2m.va) {
            (Some(offset), ..) => offset,
            (None, true, Some(base)) => self.p2m.pfn + at(base, self.p2m.pages)?,
            _ => return None,
        };
        let is_table = self.tables.pfns().contains(&pfn) || self.p2m_tables.pfns().contains(&pfn);
        Some(Entry { pfn, writable: !is_table })
    }

    /// The present entries of `table` with their indices.
    pub fn entries(&self, table: Table) -> impl Iterator<Item = (u64, Entry)> + '_ {
        (0..ENTRIES).filter_map(move |index| Some((index, self.entry(table, index)?)))
    }

    /// Number of the region's tables by level: L1, L2, L3, L4.
    #[must_use]
    pub fn table_counts(&self) -> [u64; 4] {
        self.main.levels.map(|(first, last, _)| (last + 1).saturating_sub(first))
    }

    /// Virtual address at which the stack pointer starts.
    #[must_use]
    pub fn stack_top(&self) -> u64 {
        self.stack.va.unwrap_or(0).wrapping_add(PAGE_SIZE)
    }

    /// `start_info.mod_start` (a virtual address, or a page number without mapping) and whether it is a page number.
    #[must_use]
    pub fn mod_start(&self) -> (u64, bool) {
        match self.initrd {
            None => (0, false),
            Some(Region { va: Some(va), .. }) => (va, false),
            Some(Region { pfn, .. }) => (pfn, true),
        }
    }

    /// `start_info.first_p2m_pfn` and `nr_p2m_frames`: list and its tables if relocated, else zero.
    #[must_use]
    pub fn p2m_frames(&self) -> (u64, u64) {
        if self.p2m_relocated { (self.p2m.pfn, self.p2m.pages + self.p2m_tables.pages) } else { (0, 0) }
    }

    /// Pages that the domain has: the number that the layout was made for.
    #[must_use]
    pub fn nr_pages(&self) -> u64 {
        self.nr_pages
    }
}
