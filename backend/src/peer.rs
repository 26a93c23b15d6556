//! Another domain, as far as it lets one: frames that it grants, and event channels.

use abi::errno::Errno;
use alloc::string::String;

use crate::DomId;

/// Result of a call.
pub type Result<T> = core::result::Result<T, Errno>;

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

/// Foreign frames mapped into this domain, in order; unmapped when dropped.
pub trait Window: SharedPage {
    /// Copies bytes to an offset; the range lies in the window.
    fn write(&self, offset: usize, bytes: &[u8]);
    /// Copies bytes from an offset; the range lies in the window.
    fn read(&self, offset: usize, into: &mut [u8]);
    /// Zeroes a range.
    fn zero(&self, offset: usize, len: usize);
}

/// Bytes to fetch from a frame that another domain grants.
#[derive(Debug)]
pub struct Fetch<'a> {
    /// The other domain's grant.
    pub grant: u32,
    /// Where in the frame.
    pub offset: u16,
    /// Where to put the bytes, and how many; not beyond the frame's end.
    pub into: &'a mut [u8],
    /// Whether all bytes came; set by the call.
    pub done: bool,
}

/// Bytes to put into a frame that another domain grants.
#[derive(Debug)]
pub struct Deliver<'a> {
    /// The other domain's grant.
    pub grant: u32,
    /// Where in the frame.
    pub offset: u16,
    /// The bytes; not beyond the frame's end.
    pub from: &'a [u8],
    /// Whether all bytes went; set by the call.
    pub done: bool,
}

/// What a back end asks of the hypervisor.
pub trait Peer {
    /// Mapped foreign frames.
    type Window: Window;

    /// Maps frames that a domain grants to this one, writable.
    fn map_grants(&mut self, dom: DomId, grants: &[u32]) -> Result<Self::Window>;
    /// Copies bytes out of granted frames, many at once; each entry says whether it was done.
    fn fetch(&mut self, dom: DomId, list: &mut [Fetch<'_>]);
    /// Copies bytes into granted frames, many at once; each entry says whether it was done.
    fn deliver(&mut self, dom: DomId, list: &mut [Deliver<'_>]);
    /// Connects to a channel that the domain reserved; returns the local port.
    fn bind(&mut self, dom: DomId, port: u32) -> Result<u32>;
    /// Rings.
    fn notify(&mut self, port: u32);
    /// Closes a local port.
    fn close(&mut self, port: u32);
}

/// What a front end says in the store: a short text for a key.
#[derive(Clone, Copy)]
pub struct Claims<'f>(pub &'f dyn Fn(&str) -> Option<String>);

impl core::fmt::Debug for Claims<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Claims")
    }
}

impl Claims<'_> {
    /// A text that it may say.
    pub fn text(&self, key: &str) -> Option<String> {
        (self.0)(key)
    }

    /// A number that it must say.
    pub fn number(&self, key: &str) -> core::result::Result<u32, String> {
        let text = self.text(key).ok_or_else(|| alloc::format!("the front end does not say {key}"))?;
        let number = text.trim().parse();
        number.map_err(|_| alloc::format!("the front end's {key} is {text:?}, no number that fits"))
    }

    /// A number that it may say.
    pub fn number_or(&self, key: &str, default: u32) -> core::result::Result<u32, String> {
        if self.text(key).is_none() { Ok(default) } else { self.number(key) }
    }
}
