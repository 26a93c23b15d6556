//! Work sharing: all vCPUs of the domain take pieces of one task from a queue until it is empty.
//!
//! `below=N` on the command line says how many numbers are looked at.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{sync::Arc, vec::Vec};
use domu_sdk::{
    println, start,
    sync::Mutex,
    vcpu::{self, SpawnError},
};

/// Numbers that are taken at a time.
const PIECE: u64 = 500;

/// The pieces that nobody has taken yet: the first number of each.
type Work = Mutex<Vec<u64>>;

/// Takes pieces until there are none; how many, and how many primes were in them.
fn take_part(work: &Work, below: u64) -> (usize, usize) {
    let (mut pieces, mut primes) = (0, 0);
    loop {
        // The lock is held for the moment of taking only.
        let Some(first) = work.lock_blocking().pop() else { return (pieces, primes) };
        primes += (first..below.min(first + PIECE)).filter(|&number| is_prime(number)).count();
        pieces += 1;
    }
}

fn is_prime(number: u64) -> bool {
    let mut divisors = (2..).take_while(|divisor| divisor * divisor <= number);
    number >= 2 && divisors.all(|divisor| !number.is_multiple_of(divisor))
}

#[domu_sdk::main]
async fn main() -> Result<(), SpawnError> {
    let below = start::parameter("below").and_then(|text| text.parse().ok()).unwrap_or(60_000);
    let work: Arc<Work> = Arc::new(Mutex::new((0..below).step_by(PIECE as usize).collect()));
    let mut helpers = Vec::new();
    for _ in 1..vcpu::count() {
        let work = work.clone();
        helpers.push(vcpu::spawn(move || take_part(&work, below))?);
    }
    let (pieces, mut primes) = take_part(&work, below);
    println!("vCPU 0 took {pieces} pieces");
    for (number, helper) in helpers.into_iter().enumerate() {
        let (pieces, more) = helper.await;
        println!("vCPU {} took {pieces} pieces", number + 1);
        primes += more;
    }
    println!("{primes} primes below {below}");
    Ok(())
}
