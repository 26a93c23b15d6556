//! A crowd of idle domains and some busy ones: who gets the CPU, and how long a wake-up takes.
//!
//! Runs as the first domain. It builds `idle=` domains (128) that wait for events, and one busy one for each weight. Then, for
//! `seconds=` (20), it wakes one idle domain after the other, and judges: the busy ones' parts are within 5 % of their weights, and
//! no wake-up took longer than a time slice and `slack=` milliseconds (0). Under a clock that counts instructions every run is the same.
#![no_std]
#![no_main]
#![deny(unsafe_op_in_unsafe_fn)]

extern crate alloc;

use alloc::{format, string::String, vec::Vec};
use core::time::Duration;
use domu_sdk::{
    hypercall::{domctl, sysctl},
    println,
    shutdown::Reason,
    start,
    time::{self, Instant},
};
use test_guests::tiny::{Job, Tiny};

/// Weights of the busy domains.
const WEIGHTS: [u16; 8] = [256, 256, 384, 512, 512, 512, 768, 1024];
/// How far a part may be from what its weight says, in per mille of it.
const TOLERANCE: u64 = 50;
/// A time slice.
const SLICE: Duration = Duration::from_millis(30);
/// From one wake-up to the next.
const PACE: Duration = Duration::from_micros(4_700);
/// Until all have begun.
const SETTLE: Duration = Duration::from_millis(700);

#[domu_sdk::main]
async fn main() -> Reason {
    match run().await {
        Ok(()) => println!("RESULT: pass"),
        Err(error) => println!("RESULT: fail: {error}"),
    }
    Reason::Reboot
}

fn parameter(name: &str, default: u64) -> u64 {
    start::parameter(name).and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn run() -> Result<(), String> {
    let free = || sysctl::physinfo().map(|info| info.free_pages).map_err(|error| format!("{error:?}"));
    let before = free()?;
    let count = parameter("idle", 128);
    let idle = (0..count).map(|_| Tiny::new(Job::Idle, 1)).collect::<Result<Vec<_>, _>>()?;
    println!("{count} idle domains took {} KiB", (before - free()?) * 4);
    let busy = WEIGHTS.iter().map(|weight| {
        let domain = Tiny::new(Job::Busy, 1)?;
        domctl::set_credit(domain.domain, *weight, 0).map_err(|error| format!("weight: {error:?}"))?;
        Ok::<_, String>(domain)
    });
    let busy = busy.collect::<Result<Vec<_>, _>>()?;
    for domain in idle.iter().chain(&busy) {
        domain.start()?;
    }
    time::sleep(SETTLE).await;
    let times = || busy.iter().map(Tiny::cpu_time).collect::<Result<Vec<_>, _>>();
    let (start, ticks, first) = (Instant::now(), counter(), times()?);
    let worst = wake_all(&idle, start + Duration::from_secs(parameter("seconds", 20))).await?;
    let (passed, ticks, last) = (start.elapsed(), counter() - ticks, times()?);
    let parts: Vec<u64> = last.iter().zip(&first).map(|(last, first)| last - first).collect();
    let shares = judge_shares(&parts, passed);
    let worst = Duration::from_nanos((u128::from(worst) * passed.as_nanos() / u128::from(ticks)) as u64);
    println!("the slowest wake-up took {} us", worst.as_micros());
    // All stop first, while this domain sleeps: where QEMU counts instructions of two CPUs, it may stand still for good when one of them
    // waits for the other again and again, as the end of a domain that runs there does.
    for domain in &busy {
        domain.pause()?;
    }
    time::sleep(PACE).await;
    // The busy ones first: else ending the others takes as long as this domain's part of the CPU makes it.
    for domain in busy.into_iter().chain(idle) {
        domain.destroy()?;
    }
    shares?;
    if worst > SLICE + Duration::from_millis(parameter("slack", 0)) {
        return Err(format!("a wake-up took {} us", worst.as_micros()));
    }
    Ok(())
}

/// Wakes one after the other until then; the longest that it took, in ticks of the time-stamp counter.
async fn wake_all(idle: &[Tiny], end: Instant) -> Result<u64, String> {
    let mut worst = 0;
    let mut last: Option<(&Tiny, u64, u64)> = None;
    let mut woken = 0u64;
    for domain in idle.iter().cycle() {
        if Instant::now() >= end {
            break;
        }
        let (count, sent) = (domain.count(), counter());
        domain.wake()?;
        woken += 1;
        let (mut next, mut patience) = (Instant::now() + PACE, 400);
        if let Some((before, count, sent)) = last {
            // It had a whole pace of time; if that was not enough, it has more.
            while before.count() == count && patience > 0 {
                time::sleep(PACE).await;
                (next, patience) = (Instant::now() + PACE, patience - 1);
            }
            if patience == 0 {
                return Err(format!("domain {} did not wake", before.domain));
            }
            worst = worst.max(before.stamp().saturating_sub(sent));
        }
        last = Some((domain, count, sent));
        time::sleep_until(next).await;
    }
    println!("{woken} wake-ups");
    Ok(worst)
}

/// Compares each busy domain's part of what all of them had with its weight's.
fn judge_shares(parts: &[u64], passed: Duration) -> Result<(), String> {
    let sum: u64 = parts.iter().sum();
    let weights: u64 = WEIGHTS.iter().map(|weight| u64::from(*weight)).sum();
    let used = sum * 100 / passed.as_nanos() as u64;
    println!("the busy domains had {used} % of a CPU in {} ms", passed.as_millis());
    let mut worst = 0;
    for (weight, part) in WEIGHTS.iter().zip(parts) {
        let fair = sum * u64::from(*weight) / weights;
        let off = part.abs_diff(fair) * 1000 / fair.max(1);
        println!("weight {weight}: {} us, {off} per mille off", part / 1000);
        worst = worst.max(off);
    }
    if worst > TOLERANCE {
        return Err(format!("a part is {worst} per mille off"));
    }
    Ok(())
}

fn counter() -> u64 {
    // SAFETY: the time-stamp counter is there on every 64-bit CPU, and readable by PV kernels.
    unsafe { core::arch::x86_64::_rdtsc() }
}
