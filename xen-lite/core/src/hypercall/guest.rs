//! Guest pointers. A guest pointer is an allegation: it is checked against the hypervisor's hole when a handle is built, and
//! what it points to is copied by value, once.

use core::marker::PhantomData;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::Hypervisor;
use crate::addr::GuestVirt;
use crate::fail::Errno;
use crate::platform::Platform;

/// First address of the range that guests may not touch (`HYPERVISOR_VIRT_START`).
pub const HOLE_START: u64 = 0xffff_8000_0000_0000;
/// First address above the lower half.
const LOW_END: u64 = 1 << 47;
/// First address above that range (`HYPERVISOR_VIRT_END`).
pub const HOLE_END: u64 = 0xffff_8800_0000_0000;

/// Whether `[start, start + bytes)` is canonical, does not wrap and lies outside the hypervisor's hole.
#[inline(always)]
pub fn range_ok(start: u64, bytes: u64) -> bool {
    let Some(end) = start.checked_add(bytes) else { return false };
    end <= LOW_END || start >= HOLE_END
}

/// A typed array in the memory of the calling vCPU.
#[derive(Debug)]
pub struct GuestHandle<T> {
    start: u64,
    count: u64,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for GuestHandle<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for GuestHandle<T> {}

impl<T> GuestHandle<T> {
    /// An array of `count` elements at `va`. As upstream, only where it starts is checked here; the handle ends where the guest's part
    /// of the address space does, and an element beyond is `EFAULT` when it is used.
    ///
    /// # Errors
    /// `EFAULT` when it does not start in the guest's part of the address space, or the size overflows.
    #[inline(always)]
    pub fn new(va: u64, count: u64) -> Result<Self, Errno> {
        let bytes = count.checked_mul(size_of::<T>() as u64).ok_or(Errno::EFAULT)?;
        // An empty array has a place, too.
        if range_ok(va, bytes.max(1)) {
            return Ok(Self { start: va, count, of: PhantomData });
        }
        Self::cut(va).ok_or(Errno::EFAULT)
    }

    /// As many elements as there is room for at `va`; perhaps none, so that each is a fault.
    #[cold]
    fn cut(va: u64) -> Option<Self> {
        let room = match va {
            0..LOW_END => LOW_END - va,
            HOLE_END.. => va.wrapping_neg(),
            _ => return None,
        };
        let count = room / size_of::<T>().max(1) as u64;
        Some(Self { start: va, count, of: PhantomData })
    }

    /// Number of elements.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the guest gave a null pointer.
    pub fn is_null(&self) -> bool {
        self.start == 0
    }

    #[inline(always)]
    fn address(&self, index: u64) -> Result<GuestVirt, Errno> {
        if index < self.count {
            Ok(GuestVirt::new(self.start + index * size_of::<T>() as u64))
        } else {
            Err(Errno::EFAULT)
        }
    }
}

impl<T: FromBytes + IntoBytes + Immutable> GuestHandle<T> {
    /// Copies element `index` in.
    ///
    /// # Errors
    /// `EFAULT` when the memory is not mapped, or `index` is past the end.
    #[inline(always)]
    pub fn read<P: Platform>(&self, hv: &Hypervisor<P>, index: u64) -> Result<T, Errno> {
        hv.platform.read_value(self.address(index)?).map_err(|_| Errno::EFAULT)
    }

    /// Copies element `index` out.
    ///
    /// # Errors
    /// `EFAULT` when the memory is not mapped writable, or `index` is past the end.
    #[inline(always)]
    pub fn write<P: Platform>(&self, hv: &Hypervisor<P>, index: u64, value: &T) -> Result<(), Errno> {
        hv.platform.copy_out(self.address(index)?, value.as_bytes()).map_err(|_| Errno::EFAULT)
    }
}

/// Reads one `T` at `va`.
///
/// # Errors
/// `EFAULT`.
#[inline(always)]
pub fn read_one<T: FromBytes + IntoBytes + Immutable, P: Platform>(
    hv: &Hypervisor<P>,
    va: u64,
) -> Result<T, Errno> {
    hv.platform.read_one(GuestVirt::new(va)).map_err(|_| Errno::EFAULT)
}

/// Writes one `T` at `va`.
///
/// # Errors
/// `EFAULT`.
#[inline(always)]
pub fn write_one<T: FromBytes + IntoBytes + Immutable, P: Platform>(
    hv: &Hypervisor<P>,
    va: u64,
    value: &T,
) -> Result<(), Errno> {
    hv.platform.write_one(GuestVirt::new(va), value.as_bytes()).map_err(|_| Errno::EFAULT)
}

/// Reads bytes at `va`.
///
/// # Errors
/// `EFAULT`.
pub fn read_bytes<P: Platform>(hv: &Hypervisor<P>, va: u64, out: &mut [u8]) -> Result<(), Errno> {
    if !range_ok(va, out.len() as u64) {
        return Err(Errno::EFAULT);
    }
    hv.platform.copy_in(GuestVirt::new(va), out).map_err(|_| Errno::EFAULT)
}

/// Writes bytes at `va`.
///
/// # Errors
/// `EFAULT`.
pub fn write_bytes<P: Platform>(hv: &Hypervisor<P>, va: u64, bytes: &[u8]) -> Result<(), Errno> {
    if !range_ok(va, bytes.len() as u64) {
        return Err(Errno::EFAULT);
    }
    hv.platform.copy_out(GuestVirt::new(va), bytes).map_err(|_| Errno::EFAULT)
}
