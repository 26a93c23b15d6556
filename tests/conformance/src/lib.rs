//! What the conformance kernels share.
//!
//! A kernel of this crate covers one area of the interface. It starts with [`area`], prints one row for each check with
//! [`row!`], and ends with [`done`]. A row says what the hypervisor answered, not whether that is right: the runner boots the
//! same kernel on xen-lite and on upstream Xen 4.17 and compares the rows. So a row must not hold anything that differs from
//! run to run (time, machine frames, addresses of the hypervisor), and the name of a row is used only once in an area.
//!
//! | to do what | take |
//! |---|---|
//! | a hypercall with any arguments | [`call`], [`op`], [`at`] |
//! | memory | [`domu_sdk::memory::Pages`], and the bad addresses of [`bad`] |
//! | an instruction that may trap | [`trapped!`], which goes on behind it and tells the exact frame |
//! | the page shared with the hypervisor | [`shared::info`] |
//! | page tables aside from the running ones | [`space`] |
//! | code below 4 GiB, of 32 and 16 bits | [`low`] |
//! | more vCPUs | [`workers`] |
//!
//! What ends the domain is a boot of its own: the kernel takes `case=NAME` from its command line ([`case`]), prints what it is
//! about to do, and the runner adds a row `end` that tells how the domain ended.
#![no_std]

extern crate alloc;

pub mod bad;
pub mod cliff;
pub mod low;
pub mod pages;
pub mod seen;
pub mod shared;
pub mod space;
pub mod trap;
pub mod workers;

use core::fmt;
use domu_sdk::abi::errno::Errno;
use domu_sdk::{arch, start};
use spin::Once;

static AREA: Once<&'static str> = Once::new();

/// Names the area and catches traps. To be called first, once.
pub fn area(name: &'static str) {
    AREA.call_once(|| name);
    shared::map();
    trap::install();
}

/// The word after `case=` on the command line, or the empty text.
pub fn case() -> &'static str {
    start::parameter("case").unwrap_or("")
}

/// Prints a row: `row!("name.{variable}", value)`.
#[macro_export]
macro_rules! row {
    ($name:literal, $value:expr) => {
        $crate::print_row(format_args!($name), &$value)
    };
}

/// What [`row!`] calls. The line goes out as one piece, so that the hypervisor's own messages cannot split it.
pub fn print_row(name: fmt::Arguments<'_>, value: &dyn fmt::Display) {
    let line = alloc::format!("ROW {}.{name} = {value}\n", AREA.get().unwrap_or(&"?"));
    domu_sdk::console::write(line.as_bytes());
}

/// Says that all rows are out.
pub fn done() {
    seen::print();
    domu_sdk::console::write(b"RESULT: done\n");
    domu_sdk::console::flush();
}

/// What a hypercall left in `rax`. Shown as the name of an error, or as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer(pub i64);

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Errno::from_ret(self.0) {
            Some(errno) => write!(f, "-{errno:?}"),
            None if self.0 < 0 => write!(f, "{}", self.0),
            None => Hex(self.0 as u64).fmt(f),
        }
    }
}

/// A number, shown in decimal up to 9 and in hexadecimal above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex(pub u64);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 10 { write!(f, "{}", self.0) } else { write!(f, "{:#x}", self.0) }
    }
}

/// Bytes, shown as pairs of digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes<'a>(pub &'a [u8]);

impl fmt::Display for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Issues a hypercall with any arguments.
pub fn call(number: u64, arguments: [u64; 5]) -> Answer {
    let operation = seen::operation(number, &arguments);
    // SAFETY: none in general; a row is about what the hypervisor makes of it, and the kernel that asks knows what the call
    // may change of its own memory.
    let answer = unsafe { arch::raw_hypercall(number, arguments) };
    seen::note(number, &arguments, operation, answer);
    Answer(answer)
}

/// Issues a hypercall of the usual shape: operation, and the address of an argument that the hypervisor may change.
pub fn op<T>(number: u64, operation: u32, argument: &mut T) -> Answer {
    call(number, [operation.into(), core::ptr::from_mut(argument).expose_provenance() as u64, 0, 0, 0])
}

/// The address of a value, for arguments that are pointers.
pub fn at<T: ?Sized>(value: &T) -> u64 {
    core::ptr::from_ref(value).cast::<u8>().expose_provenance() as u64
}

/// The address of a value that the hypervisor may write.
pub fn at_mut<T: ?Sized>(value: &mut T) -> u64 {
    core::ptr::from_mut(value).cast::<u8>().expose_provenance() as u64
}

/// Reads what the hypervisor may have written behind the compiler's back.
pub fn fresh<T: Copy>(value: &T) -> T {
    // SAFETY: a reference is readable.
    unsafe { core::ptr::from_ref(value).read_volatile() }
}
