//! The one entry point for people: `cargo xtask run, build, test, check, miri, bench, iso, doctor`.
//!
//! Each command first provides what it needs ([`provide`]) and says so, then does its work:
//!
//! | module | what it does |
//! |---|---|
//! | [`build`] | compiles hypervisor, Dom0 and guests, and lays the results out in the image folder |
//! | [`image`] | turns the hypervisor's ELF64 into the ELF32 that boot loaders take |
//! | [`symbols`] | the table of function names for back traces |
//! | [`simd`] | refuses an image that holds SSE or x87 instructions |
//! | [`initrd`] | packs cpio archives |
//! | [`kernel`] | looks at a guest kernel before anything is started with it |
//! | [`run`], [`iso`] | start the result, or make a CD of it |
//! | [`new_guest`] | makes a crate for a guest of one's own, and runs it |
//! | [`fixtures`] | prepares what only the tests boot |
//! | [`check`], [`test`] | the two gates |
//! | [`miri`] | the core's tests, interpreted |
//! | [`bench`] | figures beside those of upstream |
//! | [`doctor`] | says what is there and what is missing |
#![forbid(unsafe_code)]

mod bench;
mod build;
mod check;
mod cli;
mod doctor;
mod fixtures;
mod image;
mod initrd;
mod iso;
mod kernel;
mod miri;
mod new_guest;
mod paths;
mod provide;
mod run;
mod say;
mod simd;
mod symbols;
mod test;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::Cli::parse().carry_out() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
