//! What a root table reaches: to prove that roots for guests map nothing of the hypervisor but what they may.

/// Bits of an entry that this looks at.
const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// A page that is mapped and should not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Its address.
    pub address: u64,
    /// The entry that maps it.
    pub entry: u64,
}

/// Visits all pages, small and large, that these entries of the root table at machine address `root` map; `read(table, index)`
/// reads an entry, and `allowed(address, entry)` judges a page. Returns how many there are.
///
/// # Errors
/// The first page that is not allowed.
pub fn pages(
    root: u64,
    slots: impl IntoIterator<Item = usize>,
    read: &impl Fn(u64, usize) -> u64,
    allowed: &impl Fn(u64, u64) -> bool,
) -> Result<usize, Stray> {
    slots.into_iter().try_fold(0, |sum, slot| {
        // Canonical: bits 48 to 63 are as bit 47.
        let address = ((slot as i64) << 55 >> 16) as u64;
        below(read(root, slot), 3, address, read, allowed).map(|count| sum + count)
    })
}

/// The same for one entry, that names a table of `level`, or at level 0 a page.
fn below(
    entry: u64,
    level: u32,
    address: u64,
    read: &impl Fn(u64, usize) -> u64,
    allowed: &impl Fn(u64, u64) -> bool,
) -> Result<usize, Stray> {
    if entry & PRESENT == 0 {
        return Ok(0);
    }
    if level == 0 || entry & LARGE != 0 {
        return if allowed(address, entry) { Ok(1) } else { Err(Stray { address, entry }) };
    }
    (0..512).try_fold(0, |sum, index| {
        let at = address | (index as u64) << (12 + 9 * (level - 1));
        below(read(entry & ADDRESS, index), level - 1, at, read, allowed).map(|count| sum + count)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Slot 256 maps one page, slot 260 a page and a large page, by tables at the addresses 0x1000 to 0x6000.
    fn tables() -> BTreeMap<(u64, usize), u64> {
        BTreeMap::from([
            ((0x1000, 256), 0x2003),
            ((0x2000, 0), 0x3003),
            ((0x3000, 0), 0x4003),
            ((0x4000, 7), 0x7005),
            ((0x1000, 260), 0x5003),
            ((0x5000, 1), 0x6003),
            ((0x6000, 2), 0x4003),
            ((0x6000, 3), 0x40_0083),
            ((0x1000, 3), 0x8003),
        ])
    }

    fn visit(
        tables: &BTreeMap<(u64, usize), u64>,
        allowed: impl Fn(u64, u64) -> bool,
    ) -> Result<usize, Stray> {
        let read = |table: u64, index: usize| tables.get(&(table, index)).copied().unwrap_or(0);
        pages(0x1000, 256..=271, &read, &allowed)
    }

    #[test]
    fn every_page_of_the_slots_is_seen() {
        assert_eq!(visit(&tables(), |_, _| true), Ok(3));
        let small = 0xffff_8000_0000_7000;
        assert_eq!(visit(&tables(), |at, _| at != small), Err(Stray { address: small, entry: 0x7005 }));
        let large = 0xffff_8200_4060_0000;
        assert_eq!(visit(&tables(), |at, _| at != large), Err(Stray { address: large, entry: 0x40_0083 }));
        let again = 0xffff_8200_4040_7000;
        assert_eq!(visit(&tables(), |at, _| at != again), Err(Stray { address: again, entry: 0x7005 }));
    }

    #[test]
    fn one_entry_too_many_is_found() {
        let mut tables = tables();
        tables.insert((0x1000, 271), 0x9003);
        tables.insert((0x9000, 511), 0xffff_f083);
        let user = |_, entry: u64| entry & 4 != 0 || entry == 0x40_0083;
        assert_eq!(visit(&tables, user), Err(Stray { address: 0xffff_87ff_c000_0000, entry: 0xffff_f083 }));
        tables.remove(&(0x1000, 271));
        assert_eq!(visit(&tables, user), Ok(3));
    }
}
