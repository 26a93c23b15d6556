//! The atomics of `core` with a point before each access.

pub use core::sync::atomic::{Ordering, fence};

use super::explore::point;

macro_rules! atomics {
    ($($name:ident of $value:ty),*) => {$(
        /// As in `core`.
        #[derive(Debug, Default)]
        #[repr(transparent)]
        pub struct $name(core::sync::atomic::$name);

        #[allow(missing_docs, clippy::missing_errors_doc, reason = "as in `core`")]
        impl $name {
            pub const fn new(value: $value) -> Self {
                Self(core::sync::atomic::$name::new(value))
            }
            #[inline]
            pub fn load(&self, order: Ordering) -> $value {
                point();
                self.0.load(order)
            }
            #[inline]
            pub fn store(&self, value: $value, order: Ordering) {
                point();
                self.0.store(value, order);
            }
            #[inline]
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                point();
                self.0.swap(value, order)
            }
            #[inline]
            pub fn compare_exchange(
                &self,
                old: $value,
                new: $value,
                good: Ordering,
                bad: Ordering,
            ) -> Result<$value, $value> {
                point();
                self.0.compare_exchange(old, new, good, bad)
            }
            #[inline]
            pub fn compare_exchange_weak(
                &self,
                old: $value,
                new: $value,
                good: Ordering,
                bad: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(old, new, good, bad)
            }
            #[inline]
            pub fn fetch_update(
                &self,
                good: Ordering,
                bad: Ordering,
                mut change: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let mut old = self.load(bad);
                while let Some(new) = change(old) {
                    match self.compare_exchange(old, new, good, bad) {
                        Ok(before) => return Ok(before),
                        Err(found) => old = found,
                    }
                }
                Err(old)
            }
        }
    )*};
}

macro_rules! arithmetic {
    ($($name:ident of $value:ty: $($method:ident)*),*) => {$(
        #[allow(missing_docs, dead_code, reason = "as in `core`")]
        impl $name {
            $(
                #[inline]
                pub fn $method(&self, value: $value, order: Ordering) -> $value {
                    point();
                    self.0.$method(value, order)
                }
            )*
        }
    )*};
}

atomics!(
    AtomicBool of bool, AtomicU8 of u8, AtomicU16 of u16, AtomicU32 of u32, AtomicI32 of i32, AtomicU64 of u64,
    AtomicUsize of usize
);
arithmetic!(
    AtomicBool of bool: fetch_or fetch_and,
    AtomicU8 of u8: fetch_or fetch_and fetch_add fetch_sub fetch_max fetch_min,
    AtomicU16 of u16: fetch_or fetch_and fetch_add fetch_sub fetch_max fetch_min,
    AtomicU32 of u32: fetch_or fetch_and fetch_add fetch_sub fetch_max fetch_min,
    AtomicI32 of i32: fetch_or fetch_and fetch_add fetch_sub fetch_max fetch_min,
    AtomicU64 of u64: fetch_or fetch_and fetch_add fetch_sub fetch_max fetch_min,
    AtomicUsize of usize: fetch_or fetch_and fetch_add fetch_sub fetch_max fetch_min
);
