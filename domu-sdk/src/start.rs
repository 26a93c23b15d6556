//! How a guest comes up, and what it was told.
//!
//! The entry code calls `boot`, which brings up, in this order: console, shared page, traps, memory, event delivery, clock
//! and logger. Then the function under `#[domu_sdk::main]` runs, and what it returns ends the domain ([`Outcome`]).

use crate::{
    arch, console, executor,
    hypercall::event_channel,
    println,
    shutdown::{self, Reason},
    types::DomId,
};
#[cfg(target_os = "none")]
use crate::{events, logger, memory, time, traps};
use abi::{
    event_channel::EVTCHNSTAT_UNBOUND,
    xen::{SIF_INITDOMAIN, SIF_PRIVILEGED, StartInfo},
};
use core::{
    fmt::Debug,
    sync::atomic::{AtomicU32, Ordering},
};

/// What the loader told about the domain (`struct start_info`); a copy made at the start.
pub fn info() -> &'static StartInfo {
    arch::start_info()
}

/// The command line; what is not UTF-8 ends it.
pub fn command_line() -> &'static str {
    let bytes = arch::command_line_bytes();
    match core::str::from_utf8(bytes) {
        Ok(line) => line,
        Err(error) => core::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or(""),
    }
}

/// The value of `name=value` on the command line, or the empty string for a bare `name`. The last one counts.
pub fn parameter(name: &str) -> Option<&'static str> {
    parameter_in(command_line(), name)
}

fn parameter_in<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_ascii_whitespace().rev().find_map(|word| {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        (key == name).then_some(value)
    })
}

/// The module (initial RAM disk) that came with the kernel.
pub fn module() -> Option<&'static [u8]> {
    arch::module_bytes()
}

/// This domain's number. `None` if it cannot be found out.
///
/// There is no call for that. A port made for "myself" shows it: the hypervisor names the domain that may bind it.
pub fn domain_id() -> Option<DomId> {
    let known = DOMAIN.load(Ordering::Relaxed);
    if known != UNKNOWN {
        return Some(DomId(known as u16));
    }
    let port = event_channel::alloc_unbound(DomId::SELF, DomId::SELF).ok()?;
    let status = event_channel::status(DomId::SELF, port);
    let _ = event_channel::close(port);
    let status = status.ok().filter(|status| status.status == EVTCHNSTAT_UNBOUND)?;
    let domain = status.as_unbound().dom;
    DOMAIN.store(domain.into(), Ordering::Relaxed);
    Some(DomId(domain))
}

/// This domain's number, or [`UNKNOWN`].
static DOMAIN: AtomicU32 = AtomicU32::new(UNKNOWN);
const UNKNOWN: u32 = u32::MAX;

/// After the domain was restored: it has another number.
pub(crate) fn forget_domain_id() {
    DOMAIN.store(UNKNOWN, Ordering::Relaxed);
}

/// Whether this is the first domain, the one that controls the machine.
pub fn is_initial_domain() -> bool {
    info().flags & SIF_INITDOMAIN != 0
}

/// Whether the domain may make control hypercalls.
pub fn is_privileged() -> bool {
    info().flags & SIF_PRIVILEGED != 0
}

/// Brings the domain up. Called by the entry code, once.
#[cfg(target_os = "none")]
pub(crate) fn boot() {
    console::init_early();
    check("mapping the shared page", arch::map_shared_info());
    check("registering trap handlers", traps::init());
    check("building the direct map", memory::init());
    events::init();
    time::init();
    logger::init();
    console::init();
}

#[cfg(target_os = "none")]
fn check<E: core::fmt::Display>(step: &str, result: Result<(), E>) {
    if let Err(error) = result {
        panic!("{step} failed: {error}");
    }
}

/// What a main function may return: how the domain ends.
pub trait Outcome {
    /// The reason given to the hypervisor.
    fn reason(self) -> Reason;
}

impl Outcome for () {
    fn reason(self) -> Reason {
        Reason::PowerOff
    }
}

impl Outcome for Reason {
    fn reason(self) -> Reason {
        self
    }
}

impl Outcome for core::convert::Infallible {
    fn reason(self) -> Reason {
        match self {}
    }
}

/// `Ok` powers off (or does what the value says); `Err` is printed and counts as a crash.
impl<T: Outcome, E: Debug> Outcome for Result<T, E> {
    fn reason(self) -> Reason {
        match self {
            Ok(outcome) => outcome.reason(),
            Err(error) => {
                println!("main returned an error: {error:?}");
                Reason::Crash
            }
        }
    }
}

/// Runs a main function and ends the domain. Called by what `#[domu_sdk::main]` expands to.
pub fn run<T: Outcome>(main: fn() -> T) -> ! {
    end(main().reason())
}

/// Runs an `async` main function and ends the domain. Called by what `#[domu_sdk::main]` expands to.
pub fn run_async<F: Future<Output: Outcome>>(main: fn() -> F) -> ! {
    end(executor::run(main()).reason())
}

fn end(reason: Reason) -> ! {
    console::flush();
    shutdown::now(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_words() {
        let line = "loglevel=debug quiet  x=1 x=2 xy";
        assert_eq!(parameter_in(line, "loglevel"), Some("debug"));
        assert_eq!(parameter_in(line, "quiet"), Some(""));
        assert_eq!(parameter_in(line, "x"), Some("2"));
        assert_eq!(parameter_in(line, "y"), None);
    }
}
