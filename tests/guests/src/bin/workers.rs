//! Work sharing: all vCPUs take pieces of one task from a queue until it is empty.
//!
//! Then checks of what several vCPUs have in common: events that go to a certain one, timers, locks that sleep, page tables. Each prints
//! a line as those of `selftest` do. It needs at least two vCPUs.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{format, string::String, string::ToString, sync::Arc, vec::Vec};
use core::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use domu_sdk::{
    events::Channel,
    executor,
    memory::{Alias, SharedPages},
    println,
    sync::Mutex,
    time::{self, Instant},
    vcpu,
};
use test_guests::report;

type Check = Result<(), String>;

/// Primes below this are counted, in pieces of this many numbers.
const LIMIT: u64 = 60_000;
const PIECE: u64 = 500;
/// How many primes there are.
const PRIMES: usize = 6057;

/// The pieces that nobody has taken yet.
struct Work(Mutex<Vec<u64>>);

impl Work {
    fn new() -> Self {
        Self(Mutex::new((0..LIMIT).step_by(PIECE as usize).collect()))
    }

    /// Takes pieces until there are none; returns the number of primes, and of pieces.
    async fn take_part(&self) -> (usize, usize) {
        let (mut primes, mut pieces) = (0, 0);
        loop {
            let Some(start) = self.0.lock().await.pop() else { return (primes, pieces) };
            primes += (start..start + PIECE).filter(|&number| is_prime(number)).count();
            pieces += 1;
        }
    }
}

fn is_prime(number: u64) -> bool {
    number >= 2
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

async fn sharing() -> Check {
    let work = Arc::new(Work::new());
    let mut others = Vec::new();
    for _ in 1..vcpu::count() {
        let work = work.clone();
        let other = vcpu::spawn(move || (vcpu::current(), executor::block_on(work.take_part())));
        others.push(other.map_err(|error| error.to_string())?);
    }
    let (mut primes, pieces) = work.take_part().await;
    println!("vCPU 0 took {pieces} pieces");
    let mut all = pieces;
    for other in others {
        let (vcpu, (more, pieces)) = other.await;
        println!("vCPU {vcpu} took {pieces} pieces");
        primes += more;
        all += pieces;
    }
    if primes != PRIMES || all as u64 != LIMIT / PIECE {
        return Err(format!("{primes} primes in {all} pieces, expected {PRIMES} in {}", LIMIT / PIECE));
    }
    Ok(())
}

/// A vCPU is used again, and there are no more than there are.
async fn again() -> Check {
    for round in 0..20 {
        let handle = vcpu::spawn(move || round * 2).map_err(|error| error.to_string())?;
        if handle.await != round * 2 {
            return Err("a result was mixed up".into());
        }
    }
    let stop = Arc::new(AtomicUsize::new(0));
    let busy: Result<Vec<_>, _> = (1..vcpu::count())
        .map(|_| {
            let stop = stop.clone();
            vcpu::spawn(move || {
                while stop.load(Ordering::Acquire) == 0 {
                    core::hint::spin_loop();
                }
            })
        })
        .collect();
    let refused = vcpu::spawn(|| ()).err();
    stop.store(1, Ordering::Release);
    for handle in busy.map_err(|error| error.to_string())? {
        handle.await;
    }
    if refused == Some(vcpu::SpawnError::NoneFree) {
        Ok(())
    } else {
        Err(format!("spawning gave {refused:?}"))
    }
}

/// Events are delivered where the port is bound, whoever sends them.
async fn events() -> Check {
    let handle = vcpu::spawn(|| -> Result<(usize, usize), String> {
        let seen = Arc::new(AtomicUsize::new(usize::MAX));
        let channel = Channel::bind_ipi_on(vcpu::current() as u32).map_err(|error| error.to_string())?;
        let noted = seen.clone();
        channel.on_event(move |_| noted.store(vcpu::current(), Ordering::Relaxed));
        channel.notify().map_err(|error| error.to_string())?;
        channel.wait_blocking();
        Ok((vcpu::current(), seen.load(Ordering::Relaxed)))
    });
    let (home, seen) = handle.map_err(|error| error.to_string())?.await?;
    if home == 0 || seen != home {
        return Err(format!("an event for vCPU {home} came on {seen}"));
    }
    // One that moves, sent from here while the other waits for it.
    let own = domu_sdk::start::domain_id().ok_or("the domain does not know its number")?;
    let here = Channel::alloc_unbound(own).map_err(|error| error.to_string())?;
    let there = Channel::bind_interdomain(own, here.port()).map_err(|error| error.to_string())?;
    there.take();
    let waiting = vcpu::spawn(move || -> Result<usize, String> {
        there.deliver_to(vcpu::current() as u32).map_err(|error| error.to_string())?;
        let on = Arc::new(AtomicUsize::new(usize::MAX));
        let noted = on.clone();
        there.on_event(move |_| noted.store(vcpu::current(), Ordering::Relaxed));
        there.wait_blocking();
        Ok(on.load(Ordering::Relaxed))
    });
    let waiting = waiting.map_err(|error| error.to_string())?;
    let vcpu = waiting.vcpu();
    time::sleep(Duration::from_millis(20)).await;
    here.notify().map_err(|error| error.to_string())?;
    match waiting.await? {
        on if on == vcpu => Ok(()),
        on => Err(format!("an event that was moved to vCPU {vcpu} came on {on}")),
    }
}

/// Each vCPU has timers and tasks of its own, and its clock does not lag behind another's.
async fn timers() -> Check {
    let before = Instant::now();
    let handle = vcpu::spawn(move || {
        executor::run(async move {
            let later = Instant::now();
            executor::spawn(async { time::sleep(Duration::from_millis(1)).await });
            time::sleep(Duration::from_millis(10)).await;
            later >= before && later.elapsed() >= Duration::from_millis(10)
        })
    });
    let handle = handle.map_err(|error| error.to_string())?;
    time::sleep(Duration::from_millis(5)).await;
    if handle.await { Ok(()) } else { Err("it woke too early, or its clock lags behind".into()) }
}

/// Windows of memory, made and dissolved on all vCPUs at once.
async fn mappings() -> Check {
    fn churn(rounds: u64) -> Check {
        let pages = Arc::new(SharedPages::new(1).ok_or("no pages")?);
        for round in 0..rounds {
            let alias = Alias::new(&pages, &[0, 0, 0], true).map_err(|error| error.to_string())?;
            alias.store_u64(4096, round);
            if alias.load_u64(8192) != round || pages.load_u64(0) != round {
                return Err("two mappings of one page differ".into());
            }
        }
        Ok(())
    }
    let others: Result<Vec<_>, _> = (1..vcpu::count()).map(|_| vcpu::spawn(|| churn(100))).collect();
    let others = others.map_err(|error| error.to_string())?;
    churn(100)?;
    for other in others {
        other.await?;
    }
    Ok(())
}

fn several_cpus() -> Result<(), String> {
    let count = vcpu::count();
    if count < 2 { Err(format!("{count} vCPU, nothing can be shared")) } else { Ok(()) }
}

#[domu_sdk::main]
async fn main() {
    println!("{} vCPUs", vcpu::count());
    let checks = [
        ("several-cpus", several_cpus()),
        ("sharing", sharing().await),
        ("again", again().await),
        ("events", events().await),
        ("timers", timers().await),
        ("mappings", mappings().await),
    ];
    report::checks(checks);
}
