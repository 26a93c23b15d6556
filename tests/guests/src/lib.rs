//! What several test kernels share.
#![no_std]

extern crate alloc;

pub mod hostile;
pub mod report;
pub mod tiny;
