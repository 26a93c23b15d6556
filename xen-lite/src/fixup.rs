//! Instructions of the hypervisor that are allowed to fault, and where to go on when they do.
//!
//! Loads and stores at addresses that a guest gave, and loads of selectors that a guest chose, are tried rather than checked
//! beforehand: the check would be a race. Each such instruction has an entry in the section `.ex_table`: two 32-bit distances
//! from the entry itself, to the instruction and to its landing place.

use crate::layout;

/// `fixup!("2", "{landing}")`: the assembly lines that make an entry for the instruction at local label 2.
#[macro_export]
macro_rules! fixup {
    ($label:literal, $landing:literal) => {
        concat!(
            ".pushsection .ex_table, \"a\", @progbits\n.balign 4\n.long ",
            $label,
            "b - ., ",
            $landing,
            " - .\n.popsection"
        )
    };
}

/// Where to go on after a fault of the instruction at `rip`.
pub fn landing(rip: u64) -> Option<u64> {
    unsafe extern "C" {
        static __ex_table_start: [i32; 2];
        static __ex_table_end: [i32; 2];
    }
    let (start, end) = (&raw const __ex_table_start, &raw const __ex_table_end);
    let count = (end as usize - start as usize) / size_of::<[i32; 2]>();
    // SAFETY: S-09: the linker put the table there, whole entries, read-only.
    let table = unsafe { core::slice::from_raw_parts(start, count) };
    table.iter().find_map(|entry| {
        let at = &raw const *entry as u64;
        let instruction = at.wrapping_add_signed(i64::from(entry[0]));
        (instruction == rip).then(|| (at + 4).wrapping_add_signed(i64::from(entry[1])))
    })
}

/// Whether an address lies in the part of the address space that guests may use.
#[inline(always)]
pub fn is_guest_address(address: u64) -> bool {
    address.wrapping_sub(layout::HYPERVISOR_START) >= layout::HYPERVISOR_END - layout::HYPERVISOR_START
}

/// As [`is_guest_address`], and canonical at that: what begins there gets no nearer to the hypervisor's part than the
/// addresses that are not canonical, even if faults on the way are passed over.
#[inline(always)]
pub fn is_canonical_guest_address(address: u64) -> bool {
    const LOW_END: u64 = 1 << 47;
    address.wrapping_sub(LOW_END) >= layout::HYPERVISOR_END - LOW_END
}
