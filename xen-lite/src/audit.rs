//! The auditor in the running hypervisor (feature `audit`): after each domain that is gone, and before the machine stops.
//!
//! It recounts all frames, which only makes sense while nothing changes. So the CPU that audits asks the others to *attend*: each
//! comes, by an interrupt, to a point where it holds no lock but the state of the vCPU that it runs, names what that vCPU holds,
//! and waits. The result is one line, `audit: N frames, clean`, or `AUDIT mismatch` with each finding, which the tests look for.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use spin::Mutex;
use xen_lite_core::addr::CpuId;
use xen_lite_core::frame;
use xen_lite_core::frame::MAX_CPUS;
use xen_lite_core::frame::audit::{Count, Extra};

use crate::cpu::{PerCpu, percpu};
use crate::hypervisor::{hv, try_hv};
use crate::{console, platform, time};

/// The audit that is on: its number above the number, plus one, of the CPU that does it; 0 is none.
static AUDIT: AtomicU64 = AtomicU64::new(0);
/// The audit that each CPU attends or attended last.
static ATTENDED: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
/// Audits so far.
static AUDITS: AtomicU64 = AtomicU64::new(0);
/// What the vCPUs hold that run on attending CPUs.
static HELD: Mutex<Vec<Extra>> = Mutex::new(Vec::new());
/// Room for the audits, taken before any guest runs: later there may be no memory left.
static COUNTS: Mutex<Vec<Count>> = Mutex::new(Vec::new());
/// Domains that there were when it was looked last.
static DOMAINS: AtomicUsize = AtomicUsize::new(0);

/// How long the others may take to come, in nanoseconds.
const PATIENCE: u64 = 10_000_000_000;
/// References that fit without more memory: those of 64 vCPUs.
const HELD_ROOM: usize = 64 * 32;
/// Findings that are shown.
const SHOWN: usize = 20;

/// To be called where the CPU holds no lock but the state of its vCPU: attends if another CPU audits, and audits if a domain
/// is gone since.
pub fn attend(cpu: &'static PerCpu) {
    wait(cpu);
    let now = hv().domains.count();
    if DOMAINS.load(Ordering::Acquire) == 0 {
        COUNTS.lock().resize(hv().frames.len() as usize, Count::default());
        HELD.lock().reserve(HELD_ROOM);
    }
    if DOMAINS.swap(now, Ordering::AcqRel) > now {
        all(cpu, "a domain is gone");
    }
}

/// Audits before the machine stops; the calling CPU does not go on with its vCPU.
pub fn last() {
    if try_hv().is_some() {
        all(PerCpu::get(), "the machine stops");
    }
}

/// If another CPU audits: names what this CPU's vCPU holds, and waits for the end.
fn wait(cpu: &'static PerCpu) {
    let audit = AUDIT.load(Ordering::Acquire);
    if audit == 0 {
        return;
    }
    name_held(cpu);
    ATTENDED[cpu.id.index()].store(audit, Ordering::Release);
    while AUDIT.load(Ordering::Acquire) == audit {
        core::hint::spin_loop();
    }
}

fn name_held(cpu: &'static PerCpu) {
    let Some(running) = cpu.running() else { return };
    // SAFETY: S-06: this CPU holds the mutex of the running vCPU; who called does not use a reference of its own meanwhile, or,
    // when the machine stops, never again.
    let state = unsafe { &*running.state };
    HELD.lock().extend(frame::audit::running(state));
}

/// Stops the others, audits, says the result, lets them go on.
fn all(cpu: &'static PerCpu, why: &str) {
    let number = AUDITS.fetch_add(1, Ordering::Relaxed) + 1;
    let audit = number << 8 | u64::from(cpu.id.raw()) + 1;
    while AUDIT.compare_exchange(0, audit, Ordering::AcqRel, Ordering::Acquire).is_err() {
        wait(cpu);
    }
    let others = (0..percpu::count()).map(CpuId::new).filter(|id| *id != cpu.id);
    let missing = || others.clone().find(|id| ATTENDED[id.index()].load(Ordering::Acquire) != audit);
    let until = time::now() + PATIENCE;
    platform::kick(u64::MAX);
    while let Some(id) = missing() {
        if time::now() > until {
            console::emergency(format_args!("AUDIT mismatch: CPU {} did not come ({why})", id.raw()));
            AUDIT.store(0, Ordering::Release);
            return;
        }
        core::hint::spin_loop();
    }
    name_held(cpu);
    let mut held = HELD.lock();
    let findings = frame::audit::audit_in(hv(), &held, &mut COUNTS.lock());
    held.clear();
    drop(held);
    if findings.is_empty() {
        console::emergency(format_args!("audit: {} frames, clean ({why})", hv().frames.len()));
    }
    for finding in findings.iter().take(SHOWN) {
        console::emergency(format_args!("AUDIT mismatch: {finding} ({why})"));
    }
    AUDIT.store(0, Ordering::Release);
}
