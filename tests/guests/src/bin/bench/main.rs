//! What the operations of a PV kernel cost, measured from the inside.
//!
//! Runs as the first domain on xen-lite and on upstream Xen. It prints a line for each operation ([`meter`]), then how
//! much memory the hypervisor keeps for itself, and restarts the machine. `cargo xtask bench` starts it and compares.
#![no_std]
#![no_main]
#![deny(unsafe_op_in_unsafe_fn)]

mod arena;
mod calls;
mod grants;
mod machine;
mod meter;
mod tables;
mod traps;

use domu_sdk::{hypercall::sysctl, println, shutdown::Reason, start};

#[domu_sdk::main]
fn main() -> Reason {
    let kernel_stack = arena::Block::take(4).page(4);
    calls::simple(kernel_stack);
    tables::entries();
    tables::flushes();
    tables::pins();
    tables::roots(kernel_stack);
    traps::kernel();
    traps::user(kernel_stack);
    traps::emulated();
    calls::events();
    grants::grants();
    tables::reservation();
    calls::descriptors();
    match sysctl::physinfo() {
        Ok(info) => println!("BENCH pages {} {}", info.free_pages, start::info().nr_pages),
        Err(error) => meter::failed("physinfo", error.as_ret()),
    }
    calls::console();
    println!("\nBENCH end");
    // Not a power-off, which upstream cannot do alone.
    Reason::Reboot
}
