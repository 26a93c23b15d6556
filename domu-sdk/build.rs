//! Hands the linker script to every crate that links this one.
//!
//! Cargo does not pass link arguments on from a dependency, but it does pass on libraries. The linker of
//! `x86_64-unknown-none` (lld) reads a "library" that is plain text as a linker script, so naming the script as a library
//! is all a guest needs: a dependency on this crate and nothing else.

use std::{env, path::Path};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=link/domu-sdk.ld");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let manifest = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let link = Path::new(&manifest).join("link");
    println!("cargo::rustc-link-search=native={}", link.display());
    println!("cargo::rustc-link-lib=dylib:+verbatim=domu-sdk.ld");
}
