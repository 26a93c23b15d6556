//! Guest handles: `XEN_GUEST_HANDLE(type)` of `xen.h`.

use core::fmt;
use core::marker::PhantomData;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An address in the caller's address space that is said to hold values of type `T`.
///
/// It is a number. Nothing here dereferences it: the hypervisor checks and copies, a guest fills in the address of a
/// buffer it owns. Handles to `void` are `GuestPtr<u8>`.
#[repr(transparent)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct GuestPtr<T> {
    addr: u64,
    pointee: PhantomData<T>,
}

impl<T> GuestPtr<T> {
    /// The null handle; many operations take it as "only tell me how much room is needed".
    pub const NULL: Self = Self::new(0);

    /// A handle to the linear address `addr`.
    pub const fn new(addr: u64) -> Self {
        Self { addr, pointee: PhantomData }
    }

    /// The linear address.
    pub const fn addr(self) -> u64 {
        self.addr
    }

    /// Whether this is the null handle.
    pub const fn is_null(self) -> bool {
        self.addr == 0
    }

    /// The same address, said to hold something else.
    pub const fn cast<U>(self) -> GuestPtr<U> {
        GuestPtr::new(self.addr)
    }

    /// The address of element `index` of an array here; `None` if that does not fit the address space.
    pub const fn offset(self, index: u64) -> Option<Self> {
        let Some(bytes) = index.checked_mul(size_of::<T>() as u64) else { return None };
        match self.addr.checked_add(bytes) {
            Some(addr) => Some(Self::new(addr)),
            None => None,
        }
    }
}

impl<T> Clone for GuestPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for GuestPtr<T> {}

impl<T> PartialEq for GuestPtr<T> {
    fn eq(&self, other: &Self) -> bool {
        self.addr == other.addr
    }
}

impl<T> Eq for GuestPtr<T> {}

impl<T> Default for GuestPtr<T> {
    fn default() -> Self {
        Self::NULL
    }
}

impl<T> fmt::Debug for GuestPtr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "guest:{:#x}", self.addr)
    }
}
