//! `xen_version`: each sub-operation, and bad pointers.
#![no_std]
#![no_main]

use conformance::{area, bad, call, done, row, trapped};
use domu_sdk::abi::xen::hypercall::XEN_VERSION;

#[domu_sdk::main]
fn main() {
    area("version");
    for command in 0..=12 {
        for (name, address) in bad::ALL {
            row!("command.{command}.{name}", call(XEN_VERSION, [command, address, 0, 0, 0]));
        }
    }
    row!("ud", trapped!("nop", "ud2"));
    row!("nothing", trapped!("nop"));
    done();
}
