//! The failure ladder: what a hypercall may end in when it does not succeed.

use core::fmt;

use crate::effects::Effects;

pub use abi::errno::Errno;

/// Why an operation did not complete. Order of severity; a panic is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fail {
    /// The caller gets `-errno`.
    Errno(Errno),
    /// Not done yet: the hypercall's arguments were updated, and it is to be executed again.
    Again,
    /// As [`Fail::Again`], with consequences of the part that is done.
    AgainWith(Effects),
    /// The calling domain ends.
    Crash(Why),
}

/// Why a domain was ended by the hypervisor; printed in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The guest's handler frame could not be written at this address.
    BounceFault(u64),
    /// No handler registered for the vector.
    NoHandler(u8),
    /// The guest has no callback registered where one is needed.
    NoCallback(&'static str),
    /// The frame that the `iret` hypercall read was not acceptable.
    BadIret(&'static str),
    /// The guest broke a rule that has no errno; the text names it.
    Rule(&'static str),
}

impl From<Errno> for Fail {
    fn from(errno: Errno) -> Self {
        Fail::Errno(errno)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::BounceFault(va) => write!(f, "exception frame cannot be written at {va:#x}"),
            Why::NoHandler(vector) => write!(f, "no trap handler for vector {vector:#x}"),
            Why::NoCallback(which) => write!(f, "no {which} callback registered"),
            Why::BadIret(what) => write!(f, "iret: {what}"),
            Why::Rule(text) => f.write_str(text),
        }
    }
}
