//! Addresses that a hypervisor must not take.

/// Nothing is mapped there.
pub const NULL: u64 = 0;
/// An address in the lower half at which nothing is mapped.
pub const UNMAPPED: u64 = 0x1000;
/// An address in the upper half, outside of the hypervisor's hole, at which nothing is mapped.
pub const UNMAPPED_HIGH: u64 = 0xffff_ffff_ffff_e000;
/// The first address that is not canonical.
pub const NON_CANONICAL: u64 = 0x8000_0000_0000;
/// The last address that is not canonical.
pub const NON_CANONICAL_LAST: u64 = 0xffff_7fff_ffff_fff8;
/// The machine-to-physical table, which the guest may read.
pub const M2P: u64 = 0xffff_8000_0000_0000;
/// Inside of the hypervisor's hole.
pub const HOLE: u64 = 0xffff_8300_0000_0000;
/// The last word of the address space.
pub const LAST: u64 = 0xffff_ffff_ffff_fff8;

/// All of them, with names.
pub const ALL: [(&str, u64); 8] = [
    ("null", NULL),
    ("unmapped", UNMAPPED),
    ("unmapped-high", UNMAPPED_HIGH),
    ("non-canonical", NON_CANONICAL),
    ("non-canonical-last", NON_CANONICAL_LAST),
    ("m2p", M2P),
    ("hole", HOLE),
    ("last", LAST),
];
