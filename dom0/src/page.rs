//! Pages that another domain reads and writes at the same time.

/// A 4096-byte page shared with another domain.
///
/// All accesses are volatile or atomic; nothing may be assumed to stay as it was read. Word accesses order the byte
/// accesses around them: a [`load`](SharedPage::load) acquires, a [`store`](SharedPage::store) releases.
pub trait SharedPage {
    /// The byte at an offset; offsets are taken modulo the page size.
    fn byte(&self, offset: usize) -> u8;
    /// Sets the byte at an offset.
    fn set_byte(&self, offset: usize, value: u8);
    /// Loads the 32-bit word at a multiple of four, with acquire ordering.
    fn load(&self, offset: usize) -> u32;
    /// Stores the 32-bit word at a multiple of four, with release ordering.
    fn store(&self, offset: usize, value: u32);
}

impl<P: SharedPage + ?Sized> SharedPage for &P {
    fn byte(&self, offset: usize) -> u8 {
        (**self).byte(offset)
    }
    fn set_byte(&self, offset: usize, value: u8) {
        (**self).set_byte(offset, value);
    }
    fn load(&self, offset: usize) -> u32 {
        (**self).load(offset)
    }
    fn store(&self, offset: usize, value: u32) {
        (**self).store(offset, value);
    }
}

/// A page in the test's own memory.
#[cfg(test)]
#[derive(Debug)]
pub struct TestPage(core::cell::RefCell<alloc::vec::Vec<u8>>);

#[cfg(test)]
impl Default for TestPage {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
impl TestPage {
    /// A page of zeros.
    pub fn new() -> Self {
        Self(core::cell::RefCell::new(alloc::vec![0; 4096]))
    }
}

#[cfg(test)]
impl SharedPage for TestPage {
    fn byte(&self, offset: usize) -> u8 {
        self.0.borrow()[offset % 4096]
    }
    fn set_byte(&self, offset: usize, value: u8) {
        self.0.borrow_mut()[offset % 4096] = value;
    }
    fn load(&self, offset: usize) -> u32 {
        core::array::from_fn::<u8, 4, _>(|i| self.byte(offset + i))
            .iter()
            .rev()
            .fold(0, |w, b| w << 8 | u32::from(*b))
    }
    fn store(&self, offset: usize, value: u32) {
        for (i, byte) in value.to_le_bytes().into_iter().enumerate() {
            self.set_byte(offset + i, byte);
        }
    }
}
