//! What the number of domains and of vCPUs costs.
//!
//! Runs as the first domain. It prints `SCALE COUNT NUMBER NAME`: with so many domains (or vCPUs) there are, something took so
//! many ticks of the time-stamp counter, which under QEMU's `-icount shift=0` are instructions; or so many bytes. `cargo xtask bench`
//! compares both hypervisors.
#![no_std]
#![no_main]
#![deny(unsafe_op_in_unsafe_fn)]

extern crate alloc;

use alloc::{format, string::String, vec::Vec};
use domu_sdk::{
    hypercall::{event_channel, sysctl, version},
    println,
    shutdown::Reason,
};
use test_guests::tiny::{Job, Tiny};

/// How often each thing is measured; the median counts.
const SAMPLES: usize = 33;
/// Numbers of idle domains.
const DOMAINS: [usize; 3] = [1, 16, 128];
/// Numbers of vCPUs.
const VCPUS: [u32; 4] = [1, 2, 4, 8];
/// Pages that the domain itself has.
const OWN_PAGES: u64 = 6;

#[domu_sdk::main]
fn main() -> Reason {
    if let Err(error) = run() {
        println!("SCALE failed: {error}");
    }
    println!("SCALE end");
    Reason::Reboot
}

fn run() -> Result<(), String> {
    // The first ones fill what both hypervisors keep for later.
    for _ in 0..4 {
        Tiny::new(Job::Idle, 1)?.destroy()?;
    }
    creation()?;
    let mut idle = Vec::new();
    let base = free_pages()?;
    for count in DOMAINS {
        while idle.len() < count {
            let domain = Tiny::new(Job::Idle, 1)?;
            domain.start()?;
            idle.push(domain);
        }
        let kept = (base - free_pages()?).saturating_sub(count as u64 * OWN_PAGES) * 4096 / count as u64;
        println!("SCALE {count} {kept} memory kept per domain, bytes");
        let peer = Tiny::new(Job::Idle, 1)?;
        measure(count, "domains", &peer)?;
        peer.destroy()?;
    }
    for domain in idle {
        domain.destroy()?;
    }
    for count in VCPUS {
        let peer = Tiny::new(Job::Idle, count)?;
        measure(count as usize, "vCPUs", &peer)?;
        peer.destroy()?;
    }
    Ok(())
}

/// The null hypercall, and an event to a domain that does not run.
fn measure(count: usize, of: &str, peer: &Tiny) -> Result<(), String> {
    let mut wrong = 0;
    let null = median(|| (), || wrong += u64::from(version::version().is_err()));
    println!("SCALE {count} {null} null hypercall, {of}");
    let send =
        median(|| peer.forget_events(), || wrong += u64::from(event_channel::send(peer.port).is_err()));
    println!("SCALE {count} {send} event send, {of}");
    if wrong == 0 { Ok(()) } else { Err(format!("{wrong} calls failed")) }
}

/// Making and ending a domain.
fn creation() -> Result<(), String> {
    const TIMES: usize = 9;
    let (mut made, mut ended) = ([0; TIMES], [0; TIMES]);
    for (made, ended) in made.iter_mut().zip(&mut ended) {
        let start = counter();
        let domain = Tiny::new(Job::Idle, 1)?;
        *made = counter() - start;
        let start = counter();
        domain.destroy()?;
        *ended = counter() - start;
    }
    made.sort_unstable();
    ended.sort_unstable();
    println!("SCALE 1 {} create a domain of six pages", made[TIMES / 2]);
    println!("SCALE 1 {} destroy a domain of six pages", ended[TIMES / 2]);
    Ok(())
}

fn free_pages() -> Result<u64, String> {
    sysctl::physinfo().map(|info| info.free_pages).map_err(|error| format!("physinfo: {error:?}"))
}

fn median(mut prepare: impl FnMut(), mut operation: impl FnMut()) -> u64 {
    let mut times = [0; SAMPLES];
    for time in &mut times {
        prepare();
        let start = counter();
        operation();
        *time = counter() - start;
    }
    times.sort_unstable();
    times[SAMPLES / 2]
}

fn counter() -> u64 {
    // SAFETY: the time-stamp counter is there on every 64-bit CPU, and readable by PV kernels.
    unsafe { core::arch::x86_64::_rdtsc() }
}
