//! Starts emulators for the integration tests and judges what their serial console says.
//!
//! # How a test runs
//! A test is a value, a [`Case`](case::Case): which hypervisor, which first module, what is typed, which lines must
//! come in which order, which must never come, how the machine must end. Nothing in a case is code, so the list in
//! [`cases`] reads as the specification of the system.
//!
//! 1. [`suite`] expands each case to one run per hypervisor and gives the runs to a few worker threads.
//! 2. [`judge`] starts the machine ([`qemu`]) and walks through the steps of the case.
//! 3. [`console`] owns the child process: a thread reads its serial line into a transcript and a log file.
//! 4. [`http`] asks a guest for pages, if the case says so.
//!
//! The conformance suite ([`conformance`]) has no steps: it compares what one kernel prints on both hypervisors.
//!
//! # Rules
//! - Every wait has a time limit and every case has one for the whole run; a machine that hangs is a failed test.
//! - A run ends only the child it started, through the handle of that child, never by name.
//! - A verdict is one of three: passed, failed (the system under test is at fault), error (the test could not be
//!   carried out: a missing file, an emulator that does not start). Both of the latter make the suite fail.
#![forbid(unsafe_code)]

pub mod artifacts;
pub mod bochs;
pub mod case;
pub mod cases;
pub mod conformance;
pub mod console;
pub mod disk;
pub mod http;
pub mod judge;
pub mod qemu;
pub mod suite;
