//! Numbers that must not be mixed up.

use abi::xen::{DOMID_FIRST_RESERVED, DOMID_SELF, Domid};
use core::fmt;

macro_rules! number {
    ($(#[$meta:meta])* $name:ident($inner:ty), $format:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }
    };
}

number!(
    /// A domain.
    DomId(Domid),
    "d{}"
);
number!(
    /// A machine frame: what page-table entries name.
    Mfn(u64),
    "mfn {:#x}"
);
number!(
    /// A pseudo-physical frame: the domain's own, gapless numbering.
    Pfn(u64),
    "pfn {:#x}"
);
number!(
    /// An event-channel port of this domain.
    Port(u32),
    "port {}"
);
number!(
    /// An index into a grant table.
    GrantRef(u32),
    "grant {}"
);

impl DomId {
    /// The calling domain, where a call takes that for an answer.
    pub const SELF: Self = Self(DOMID_SELF);
    /// The first domain.
    pub const DOM0: Self = Self(0);

    /// Whether this names one certain domain rather than a role.
    pub const fn is_ordinary(self) -> bool {
        self.0 < DOMID_FIRST_RESERVED
    }
}
