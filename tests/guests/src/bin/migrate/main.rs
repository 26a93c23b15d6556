//! vCPUs that are moved about and plugged in and out while all CPUs are busy.
//!
//! Runs as the first domain of a machine with two CPUs. Of two domains of eight vCPUs each, one counts on all, the other brings its
//! vCPUs up and down without end. Meanwhile the affinities of the first one's vCPUs change all the time, their registers are
//! looked at, which stops them for a moment, and this domain moves itself. All must go on counting, none may be where it must not, and
//! in the end no frame is missing.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{boxed::Box, format, string::String, vec::Vec};
use core::time::Duration;
use domu_sdk::{
    abi::xen::VcpuGuestContext,
    hypercall::{domctl, sched, sysctl},
    println,
    shutdown::Reason,
    time,
};
use test_guests::tiny::{self, Job, Tiny};

const CPUS: u64 = 2;
const VCPUS: u32 = 8;
/// Rounds of changes between looks at what was counted.
const ROUNDS: u32 = 40;
const LOOKS: u32 = 4;
const PACE: Duration = Duration::from_millis(25);

#[domu_sdk::main]
async fn main() -> Reason {
    match run().await {
        Ok(()) => println!("RESULT: pass"),
        Err(error) => println!("RESULT: fail: {error}"),
    }
    Reason::Reboot
}

async fn run() -> Result<(), String> {
    let free = || sysctl::physinfo().map(|info| info.free_pages).map_err(|error| format!("{error:?}"));
    // What the hypervisor keeps for later is taken by domains that are gone again.
    let both = [Tiny::new(Job::Busy, VCPUS)?, Tiny::new(Job::Plug, VCPUS)?];
    both.into_iter().try_for_each(Tiny::destroy)?;
    let before = free()?;
    let (busy, plug) = (Tiny::new(Job::Busy, VCPUS)?, Tiny::new(Job::Plug, VCPUS)?);
    busy.start()?;
    plug.start()?;
    let mut random = 1u64;
    let mut moves = 0;
    for look in 0..LOOKS {
        let counts = counts(&busy);
        let plugged = plug.count();
        for round in 0..ROUNDS {
            change(&busy, &mut random)?;
            look_at(&busy, &mut random)?;
            if round % 4 == 0 {
                moves += move_here(&mut random)?;
            }
            time::sleep(PACE).await;
        }
        for (vcpu, (before, after)) in counts.iter().zip(self::counts(&busy)).enumerate() {
            if after <= *before {
                return Err(format!("look {look}: vCPU {vcpu} does not go on after {before}"));
            }
        }
        if plug.count() <= plugged {
            return Err(format!("look {look}: no vCPU is plugged after {plugged}"));
        }
        places(&busy).await?;
    }
    println!("{} changes, {moves} moves, {} times plugged", LOOKS * ROUNDS, plug.count());
    busy.destroy()?;
    plug.destroy()?;
    let after = free()?;
    if before == after { Ok(()) } else { Err(format!("{before} pages were free, now {after}")) }
}

fn counts(busy: &Tiny) -> Vec<u64> {
    (0..VCPUS).map(|vcpu| busy.count_of(vcpu)).collect()
}

fn below(random: &mut u64, end: u64) -> u64 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*random >> 33) % end
}

/// Gives one vCPU another affinity: one CPU, or all.
fn change(busy: &Tiny, random: &mut u64) -> Result<(), String> {
    let (vcpu, cpus) = (below(random, VCPUS.into()) as u32, 1 + below(random, (1 << CPUS) - 1));
    domctl::set_hard_affinity(busy.domain, vcpu, cpus).map_err(|error| format!("affinity: {error:?}"))
}

/// Looks at the registers of a vCPU that may run on the other CPU just now.
fn look_at(busy: &Tiny, random: &mut u64) -> Result<(), String> {
    let vcpu = below(random, VCPUS.into()) as u32;
    let mut context = Box::new(VcpuGuestContext::default());
    domctl::vcpu_context(busy.domain, vcpu, &mut context).map_err(|error| format!("context: {error:?}"))?;
    let at = context.user_regs.rip;
    if (tiny::CODE..tiny::CODE + 8).contains(&at) {
        Ok(())
    } else {
        Err(format!("vCPU {vcpu} is at {at:#x}"))
    }
}

/// This vCPU goes to some CPU, and may leave it again.
fn move_here(random: &mut u64) -> Result<u32, String> {
    let cpu = below(random, CPUS) as u32;
    sched::pin_override(Some(cpu)).map_err(|error| format!("pin_override: {error:?}"))?;
    let info = domctl::vcpu_info(domu_sdk::DomId::DOM0, 0).map_err(|error| format!("{error:?}"))?;
    sched::pin_override(None).map_err(|error| format!("end of pin_override: {error:?}"))?;
    if info.cpu == cpu { Ok(1) } else { Err(format!("pinned to CPU {cpu}, on CPU {}", info.cpu)) }
}

/// Each vCPU is where its affinity says.
async fn places(busy: &Tiny) -> Result<(), String> {
    for vcpu in 0..VCPUS {
        let set = 1 << (vcpu % CPUS as u32);
        domctl::set_hard_affinity(busy.domain, vcpu, set).map_err(|error| format!("affinity: {error:?}"))?;
    }
    time::sleep(PACE * 8).await;
    for vcpu in 0..VCPUS {
        let info = domctl::vcpu_info(busy.domain, vcpu).map_err(|error| format!("{error:?}"))?;
        if info.cpu != vcpu % CPUS as u32 {
            return Err(format!("vCPU {vcpu} is on CPU {}", info.cpu));
        }
    }
    Ok(())
}
