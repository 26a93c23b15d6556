//! What hypercalls look like: the grammar from which the fuzzers make calls that are almost right.
//!
//! Random numbers are refused at the first check, so they test only that. A [`Row`] says for each argument, and for each field
//! of the structure behind it, what belongs there: a frame, a port, a page-table entry. [`generate`] fills a row with values
//! that exist ([`Pools`]) and now and then breaks one of them. The same table serves the host's fuzz targets and the fuzzer
//! kernel, so that what one finds can be tried with the other.
//!
//! * [`table::rows`]: the rows; a host test compares them with the list of all sub-operations of the public headers.
//! * [`Source`]: where decisions come from: a seeded generator in a guest, the fuzzer's bytes on the host.
//! * [`Permit`]: what must not be asked for; a fuzzer that runs inside the guest it fuzzes has to live on.
//!
//! No allocation, no unsafe code.
#![no_std]
#![forbid(unsafe_code)]

mod generate;
mod source;
pub mod table;

pub use generate::{Permit, Pools, Request, SCRATCH, generate};
pub use source::{Bytes, Source, Xorshift};
pub use table::{Arg, Field, Row};
