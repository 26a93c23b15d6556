//! What the larger examples are made of, apart from their `main`: formats and rules that need no machine, with tests that run on a host.
//!
//! | module | example | what |
//! |---|---|---|
//! | [`journal`] | `keyvalue` | pairs on a disk that survive a power cut at any moment |
//! | [`ustar`] | `files` | the table of contents of a tar archive |
//! | [`http`] | `files` | what a request asks for, and what it gets |
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod http;
pub mod journal;
pub mod ustar;
