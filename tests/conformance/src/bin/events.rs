#![no_std]
#![no_main]
#[domu_sdk::main]
fn main() {
    conformance::done();
}
