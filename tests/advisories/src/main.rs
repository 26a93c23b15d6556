//! Attacks that worked on hypervisors with a bug, one case for each bug or class of bugs (the numbers are Xen Security Advisories).
//!
//! Each case says at its head what it tries and why that must fail. It prints one line, `CASE name outcome reason`; outcomes are
//! *success* (the attack failed), *failure* (the hypervisor has the bug), *error* (the case could not be carried out, which is its own
//! fault), and *skip* (it does not apply to this domain). The last line is `RESULT: pass` if there was no failure and no error.
//! `case=NAME` on the command line chooses the cases whose name contains the text; without it all run, one after the other. What
//! ends the domain if all is well is not here, but in the hostile guest of `tests/guests`.
//!
//! Verdicts hold on xen-lite and on upstream Xen, where all of these are mended.
#![no_std]
#![no_main]

extern crate alloc;

mod access;
mod cpu;
mod descriptors;
mod entry;
mod events;
mod flush;
mod grants;
mod leaks;
mod linear;
mod long;
mod page_types;
mod pointers;
mod races;

use alloc::format;
use alloc::string::String;
use domu_sdk::println;

/// How a case may end other than by success.
pub enum Stop {
    /// The attack worked.
    Failure(String),
    /// The case could not be carried out.
    Error(String),
    /// It does not apply here.
    Skip(&'static str),
}

/// What a case gives: nothing, if the attack failed.
pub type Outcome = Result<(), Stop>;

/// A case: its name, and what it does.
pub type Case = (&'static str, fn() -> Outcome);

/// The attack worked unless the condition holds.
pub fn hold(condition: bool, what: &str) -> Outcome {
    if condition { Ok(()) } else { Err(Stop::Failure(what.into())) }
}

/// A step that prepares the attack; it must work.
pub fn step(answer: conformance::Answer, what: &str) -> Outcome {
    if answer.0 >= 0 { Ok(()) } else { Err(Stop::Error(format!("{what}: {answer}"))) }
}

/// A step of the attack; it must be refused.
pub fn refused(answer: conformance::Answer, what: &str) -> Outcome {
    hold(answer.0 < 0, what)
}

fn wanted(name: &str) -> bool {
    name.contains(conformance::case())
}

#[domu_sdk::main]
fn main() {
    conformance::area("advisories");
    let groups = [
        page_types::CASES,
        linear::CASES,
        flush::CASES,
        pointers::CASES,
        grants::CASES,
        events::CASES,
        descriptors::CASES,
        cpu::CASES,
        entry::CASES,
        long::CASES,
        leaks::CASES,
        access::CASES,
        races::CASES,
    ];
    let (mut bad, mut good) = (0, 0);
    for (name, case) in groups.into_iter().flatten().filter(|(name, _)| wanted(name)) {
        let line = match case() {
            Ok(()) => {
                good += 1;
                String::from("success")
            }
            Err(Stop::Failure(why)) => {
                bad += 1;
                format!("failure {why}")
            }
            Err(Stop::Error(why)) => {
                bad += 1;
                format!("error {why}")
            }
            Err(Stop::Skip(why)) => format!("skip {why}"),
        };
        println!("CASE {name} {line}");
    }
    println!("RESULT: {}", if bad == 0 && good > 0 { "pass" } else { "fail" });
}
