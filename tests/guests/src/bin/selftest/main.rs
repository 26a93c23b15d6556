//! Checks what a guest can rely on, and says so line by line.
//!
//! Each check prints `TEST name ok` or `TEST name FAILED reason`; what cannot be checked here (a domain without a store)
//! prints `TEST name skipped reason`. The last line is `RESULT: pass` or `RESULT: fail`. A crash leaves no such line.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod events;
mod grants;
mod memory;
mod store;
mod system;
mod traps;

use alloc::string::String;
use core::fmt::{Debug, Display};
use domu_sdk::println;

/// What a check found.
pub enum Verdict {
    /// It does not apply here, because of this.
    Skipped(&'static str),
}

/// `Ok(None)`: all is well.
pub type Check = Result<Option<Verdict>, String>;

/// All is well.
pub const OK: Check = Ok(None);

/// Fails with both values unless they are equal.
pub fn equal<T: PartialEq + Debug>(what: &str, seen: T, expected: T) -> Result<(), String> {
    if seen == expected { Ok(()) } else { Err(alloc::format!("{what} is {seen:?}, expected {expected:?}")) }
}

/// Fails unless the condition holds.
pub fn ensure(condition: bool, what: &str) -> Result<(), String> {
    if condition { Ok(()) } else { Err(String::from(what)) }
}

/// Names the step of an error.
pub fn step<T, E: Display>(what: &str, result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| alloc::format!("{what}: {error}"))
}

struct Report {
    failed: u32,
}

impl Report {
    fn add(&mut self, name: &str, check: Check) {
        match check {
            Ok(None) => println!("TEST {name} ok"),
            Ok(Some(Verdict::Skipped(why))) => println!("TEST {name} skipped {why}"),
            Err(reason) => {
                self.failed += 1;
                println!("TEST {name} FAILED {reason}");
            }
        }
    }
}

#[domu_sdk::main]
async fn main() {
    let mut report = Report { failed: 0 };
    report.add("version", system::version());
    report.add("cpuid", system::cpuid());
    report.add("clock", system::clock());
    report.add("date", system::date());
    report.add("control-calls", system::control_calls());
    report.add("multicall", system::multicall().await);
    report.add("poll", system::poll());
    report.add("breakpoint", traps::breakpoint());
    report.add("invalid-opcode", traps::invalid_opcode());
    report.add("page-fault", traps::page_fault());
    report.add("heap", memory::heap());
    report.add("pages", memory::pages());
    report.add("remap", memory::remap());
    report.add("protection", memory::protection());
    report.add("own-frames", memory::own_frames());
    report.add("timer", events::timer().await);
    report.add("timeout", events::timeout().await);
    report.add("loop-back", events::loop_back().await);
    report.add("ipi", events::ipi().await);
    report.add("mask", events::mask().await);
    report.add("handler", events::handler());
    report.add("grant", grants::to_self());
    report.add("grant-read-only", grants::read_only());
    report.add("grant-copy", grants::copy());
    report.add("grant-table-grows", grants::many());
    report.add("store", store::values().await);
    report.add("store-watch", store::watch().await);
    report.add("store-transaction", store::transaction().await);
    println!("RESULT: {}", if report.failed == 0 { "pass" } else { "fail" });
}
