//! C unions without unsafe code.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Storage of a C union: `N` words of type `W`, which gives it the size and the alignment of its largest members.
///
/// A member is copied in and out by value; that it fits is checked when the program is compiled.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Union<W, const N: usize> {
    words: [W; N],
}

impl<W, const N: usize> Union<W, N>
where
    W: FromBytes + IntoBytes + Immutable + KnownLayout,
{
    /// The first bytes of the storage as `T`.
    pub fn get<T: FromBytes + IntoBytes>(&self) -> T {
        const { assert!(size_of::<T>() <= size_of::<Self>(), "the member is larger than its union") };
        let mut value = T::new_zeroed();
        value.as_mut_bytes().copy_from_slice(&self.words.as_bytes()[..size_of::<T>()]);
        value
    }

    /// Replaces the storage by `value`, followed by zeroes.
    pub fn set<T: IntoBytes + Immutable>(&mut self, value: T) {
        const { assert!(size_of::<T>() <= size_of::<Self>(), "the member is larger than its union") };
        let (head, tail) = self.words.as_mut_bytes().split_at_mut(size_of::<T>());
        head.copy_from_slice(value.as_bytes());
        tail.fill(0);
    }

    /// All bytes of the storage.
    pub fn bytes(&self) -> &[u8] {
        self.words.as_bytes()
    }

    /// All bytes of the storage, to be changed in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.words.as_mut_bytes()
    }
}

impl<W: FromZeros, const N: usize> Default for Union<W, N> {
    fn default() -> Self {
        Self { words: core::array::from_fn(|_| W::new_zeroed()) }
    }
}
