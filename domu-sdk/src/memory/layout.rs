//! Where things are in the address space, and the arithmetic of page tables.
//!
//! | from | what |
//! |---|---|
//! | `0xffff_8000_0000_0000` | the hypervisor's; its first 256 GiB are the machine-to-physical table, readable |
//! | [`DIRECT_BASE`] | every frame of the domain, frame *n* at `DIRECT_BASE + n * 4096` |
//! | [`WINDOW_BASE`] | windows: foreign frames, granted frames, the grant table |
//! | [`STACKS_BASE`] | stacks of the vCPUs but the first, with guards between them |
//! | [`IMAGE_BASE`] | what the loader mapped: image, module, P2M, `start_info`, page tables, boot stack |
//!
//! A page-table entry holds a *machine* frame number. Page tables must not be mapped writable anywhere, so the direct map
//! has their frames read-only ([`DirectMapPlan::writable`]).

/// Bytes per page.
pub const PAGE_SIZE: usize = 4096;
/// Entries per page table.
pub const ENTRIES: usize = 512;
/// Start of the direct map.
pub const DIRECT_BASE: u64 = 0xffff_8800_0000_0000;
/// Start of the windows.
pub const WINDOW_BASE: u64 = 0xffff_c900_0000_0000;
/// Size of the window area in pages (1 GiB).
pub const WINDOW_PAGES: usize = 1 << 18;
/// Start of the stacks of all vCPUs but the first, behind the windows.
pub const STACKS_BASE: u64 = WINDOW_BASE + (2 << 30);
/// Distance between two stacks. They are smaller: what is between them is not mapped.
pub const STACK_STRIDE: u64 = 512 << 10;
/// What the loader mapped starts here (`VIRT_BASE` of the Xen notes).
pub const IMAGE_BASE: u64 = 0xffff_ffff_8000_0000;
/// Offset of the image from [`IMAGE_BASE`], in pages.
pub const IMAGE_FIRST_PFN: u64 = 0x100;

/// Bits of a page-table entry.
pub mod pte {
    /// Maps something.
    pub const PRESENT: u64 = 1 << 0;
    /// Writable.
    pub const WRITABLE: u64 = 1 << 1;
    /// Accessible in ring 3, where PV kernels run.
    pub const USER: u64 = 1 << 2;
    /// Was accessed.
    pub const ACCESSED: u64 = 1 << 5;
    /// Was written.
    pub const DIRTY: u64 = 1 << 6;
    /// Not executable.
    pub const NO_EXECUTE: u64 = 1 << 63;
    /// Bits that hold the machine frame number.
    pub const FRAME_MASK: u64 = 0x000f_ffff_ffff_f000;
    /// Entry for a page table.
    pub const TABLE: u64 = PRESENT | WRITABLE | USER | ACCESSED | DIRTY;
    /// Entry for a read-only page.
    pub const READ_ONLY: u64 = PRESENT | USER | ACCESSED | NO_EXECUTE;
    /// Entry for a writable page.
    pub const READ_WRITE: u64 = READ_ONLY | WRITABLE | DIRTY;
}

/// A page-table entry that is to be written: the table's frame, the entry's number, and the frame it is to map with flags, or nothing. All
/// frames are numbered as the domain does.
pub type Entry = (u64, usize, Option<(u64, u64)>);

/// Entry number of `address` in the table of `level` (1 to 4) that maps it.
pub const fn table_index(address: u64, level: u32) -> usize {
    ((address >> (12 + 9 * (level - 1))) & 0x1ff) as usize
}

/// The machine frame an entry names.
pub const fn entry_frame(entry: u64) -> u64 {
    (entry & pte::FRAME_MASK) >> 12
}

/// Which frames become the page tables of the direct map, and what they hold.
///
/// The tables take consecutive pseudo-physical frames from `first`: level 1, then 2, then the single level 3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectMapPlan {
    /// Frames of the domain.
    pub pages: u64,
    /// First frame used for a table.
    pub first: u64,
    /// Tables of level 1, 2, 3.
    pub tables: [u64; 3],
    /// Frames of the page tables that the loader built (first, end).
    pub loader_tables: (u64, u64),
}

impl DirectMapPlan {
    /// Plans the map of `pages` frames with tables from frame `first`. `None`: no frames, more than 512 GiB, or the tables
    /// do not fit.
    pub fn new(pages: u64, first: u64, loader_tables: (u64, u64)) -> Option<Self> {
        let entries = ENTRIES as u64;
        let level1 = pages.div_ceil(entries);
        let level2 = level1.div_ceil(entries);
        let plan = Self { pages, first, tables: [level1, level2, 1], loader_tables };
        (pages > 0 && level2 <= entries && plan.end() <= pages).then_some(plan)
    }

    /// Number of tables.
    pub fn total(&self) -> u64 {
        self.tables.iter().sum()
    }

    /// First frame after the tables.
    pub fn end(&self) -> u64 {
        self.first + self.total()
    }

    /// Frame of the level-3 table.
    pub fn root(&self) -> u64 {
        self.end() - 1
    }

    /// Whether the direct map may hold `frame` writable.
    pub fn writable(&self, frame: u64) -> bool {
        let table = |(first, end): (u64, u64)| (first..end).contains(&frame);
        !table((self.first, self.end())) && !table(self.loader_tables)
    }

    /// Entry `index` of table number `table` (0 = the first of level 1), as the pseudo-physical frame it maps and its flags.
    /// `None` where the entry stays empty.
    pub fn entry(&self, table: u64, index: usize) -> Option<(u64, u64)> {
        let mut base = 0;
        for (level, &count) in self.tables.iter().enumerate() {
            if table < base + count {
                let number = (table - base) * ENTRIES as u64 + index as u64;
                return if level == 0 { self.leaf(number) } else { self.link(level, base, number) };
            }
            base += count;
        }
        None
    }

    fn leaf(&self, frame: u64) -> Option<(u64, u64)> {
        let flags = if self.writable(frame) { pte::READ_WRITE } else { pte::READ_ONLY };
        (frame < self.pages).then_some((frame, flags))
    }

    /// `base` is the number of the first table of this level; the level below ends just before it.
    fn link(&self, level: usize, base: u64, number: u64) -> Option<(u64, u64)> {
        let below = self.tables[level - 1];
        (number < below).then(|| (self.first + base - below + number, pte::TABLE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_of_well_known_addresses() {
        assert_eq!(table_index(DIRECT_BASE, 4), 272);
        assert_eq!(table_index(IMAGE_BASE, 4), 511);
        assert_eq!(table_index(IMAGE_BASE, 3), 510);
        assert_eq!(table_index(0x0000_0000_0060_3000, 1), 3);
        assert_eq!(table_index(0x0000_0000_0060_3000, 2), 3);
    }

    #[test]
    fn plan_covers_every_frame_once_and_nothing_else() {
        let plan = DirectMapPlan::new(65_537, 700, (600, 610)).expect("fits");
        assert_eq!(plan.tables, [129, 1, 1]);
        let mut seen = 0;
        for table in 0..plan.tables[0] {
            for index in 0..ENTRIES {
                if let Some((frame, _)) = plan.entry(table, index) {
                    assert_eq!(frame, seen);
                    seen += 1;
                }
            }
        }
        assert_eq!(seen, 65_537);
    }

    #[test]
    fn upper_levels_point_at_the_tables_below() {
        let plan = DirectMapPlan::new(512 * 600, 700, (600, 610)).expect("fits");
        assert_eq!(plan.tables, [600, 2, 1]);
        assert_eq!(plan.entry(600, 0), Some((700, pte::TABLE)));
        assert_eq!(plan.entry(600, 511), Some((700 + 511, pte::TABLE)));
        assert_eq!(plan.entry(601, 87), Some((700 + 599, pte::TABLE)));
        assert_eq!(plan.entry(601, 88), None);
        assert_eq!(plan.entry(602, 0), Some((1300, pte::TABLE)));
        assert_eq!(plan.entry(602, 1), Some((1301, pte::TABLE)));
        assert_eq!(plan.entry(602, 2), None);
        assert_eq!(plan.entry(603, 0), None);
        assert_eq!(plan.root(), 1302);
    }

    #[test]
    fn tables_are_never_writable() {
        let plan = DirectMapPlan::new(4096, 700, (600, 610)).expect("fits");
        for frame in 0..4096 {
            let table = (600..610).contains(&frame) || (700..plan.end()).contains(&frame);
            assert_eq!(plan.writable(frame), !table, "frame {frame}");
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        assert_eq!(DirectMapPlan::new(0, 0, (0, 0)), None);
        assert_eq!(DirectMapPlan::new(1024, 1023, (0, 0)), None);
        assert_eq!(DirectMapPlan::new(1 << 28, 700, (0, 0)), None);
    }
}
