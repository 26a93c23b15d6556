//! Numbers that must not be mixed up, each its own type.
//!
//! Xen's terms: an *mfn* numbers a frame of machine memory, a *gfn* a frame as a guest sees its own memory (for a PV guest a
//! gfn is an mfn in most interfaces and a *pfn* is the guest's private numbering). None of them has arithmetic operators:
//! a sum that wraps is a security bug, so only `checked_*` exists.

use core::fmt;

/// Bytes in a frame.
pub const PAGE_SIZE: usize = 4096;
/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;
/// 64-bit words in a frame, which is also the number of entries in a page table.
pub const PAGE_WORDS: usize = 512;

macro_rules! number {
    ($(#[$meta:meta])* $name:ident, $inner:ty, $short:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name($inner);

        impl $name {
            /// Wraps a raw number; says nothing about its validity.
            #[inline(always)]
            pub const fn new(raw: $inner) -> Self {
                Self(raw)
            }
            /// The raw number.
            #[inline(always)]
            pub const fn raw(self) -> $inner {
                self.0
            }
            /// The raw number as an index.
            #[inline(always)]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
            /// The number `n` further on, unless that overflows.
            #[inline(always)]
            pub const fn checked_add(self, n: $inner) -> Option<Self> {
                match self.0.checked_add(n) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($short, "{:x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

number!(
    /// Machine frame number.
    Mfn, u64, "mfn:"
);
number!(
    /// Guest frame number.
    Gfn, u64, "gfn:"
);
number!(
    /// A PV guest's own ("pseudo-physical") frame number.
    Pfn, u64, "pfn:"
);
number!(
    /// Domain identifier, as in `domid_t`.
    DomId, u16, "d"
);
number!(
    /// Number of a virtual CPU inside its domain.
    VcpuId, u32, "v"
);
number!(
    /// Number of a physical CPU, counted from 0 in the order of bring-up.
    CpuId, u32, "cpu"
);
number!(
    /// Event channel port inside a domain.
    EvtchnPort, u32, "port:"
);
number!(
    /// Grant reference inside a domain.
    GrantRef, u32, "gref:"
);
number!(
    /// Byte address in machine memory.
    MachineAddr, u64, "ma:"
);
number!(
    /// Virtual address in a guest's space.
    GuestVirt, u64, "va:"
);

impl Mfn {
    /// No frame.
    pub const INVALID: Mfn = Mfn(u64::MAX);
    /// Address of the frame's first byte; `None` past the top of the 64-bit space.
    pub const fn address(self) -> Option<MachineAddr> {
        if self.0 >> (64 - PAGE_SHIFT) == 0 { Some(MachineAddr(self.0 << PAGE_SHIFT)) } else { None }
    }
}

impl MachineAddr {
    /// The frame that holds this byte.
    pub const fn mfn(self) -> Mfn {
        Mfn(self.0 >> PAGE_SHIFT)
    }
    /// Offset of this byte in its frame.
    pub const fn offset(self) -> usize {
        (self.0 & (PAGE_SIZE as u64 - 1)) as usize
    }
}

impl GuestVirt {
    /// Whether bits 63..47 are equal, as the CPU demands of 4-level paging.
    #[inline(always)]
    pub const fn is_canonical(self) -> bool {
        ((self.0 as i64) << 16 >> 16) as u64 == self.0
    }
    /// Index into the page table of `level` (1 to 4) on the way to this address.
    #[inline(always)]
    pub const fn table_index(self, level: u8) -> usize {
        (self.0 >> (PAGE_SHIFT + 9 * (level as u32 - 1))) as usize & (PAGE_WORDS - 1)
    }
}

impl DomId {
    /// The first domain.
    pub const DOM0: DomId = DomId(0);
    /// First of the reserved numbers; ordinary domains are below (`DOMID_FIRST_RESERVED`).
    pub const FIRST_RESERVED: DomId = DomId(0x7ff0);
    /// The caller itself (`DOMID_SELF`).
    pub const SELF: DomId = DomId(0x7ff0);
    /// Owner of memory-mapped I/O (`DOMID_IO`).
    pub const IO: DomId = DomId(0x7ff1);
    /// The hypervisor's own memory (`DOMID_XEN`).
    pub const XEN: DomId = DomId(0x7ff2);
    /// Copy-on-write memory; unused here (`DOMID_COW`).
    pub const COW: DomId = DomId(0x7ff3);
    /// No domain (`DOMID_INVALID`).
    pub const INVALID: DomId = DomId(0x7ff4);
}
