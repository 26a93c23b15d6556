//! Pages that another domain reads and writes at the same time.

pub use backend::peer::SharedPage;

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
