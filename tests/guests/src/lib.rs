//! What several test kernels share.
#![no_std]

extern crate alloc;

pub mod tiny;
