//! The other CPUs: starting them, and stopping them at the end.
//!
//! # Starting
//! The first CPU starts the others one after the other, before the core's [`xen_lite_core::Hypervisor`] is in place, so that
//! the scheduler is made for the CPUs that really run. For each: memory of its own ([`memory::prepare_cpu`]) and its
//! [`PerCpu`]; INIT and start-up interrupts; then the two compare their time stamp counters. A CPU takes its [`PerCpu`] from the
//! trampoline's *ticket* by an exchange. When a CPU does not come in time, the first CPU takes the ticket back in the
//! same way: exactly one of them gets it, so a CPU that comes too late finds none and halts.
//!
//! A CPU that does not come, or whose time stamp counter differs, ends the bring-up: numbers of CPUs have no gaps.
//! Those that run wait until [`release`], and then ask the scheduler for work.
//!
//! # Waiting
//! [`wait_for_interrupt`] is the only place where the hypervisor itself is interrupted. Behind STI there is one instruction, HLT, in
//! which no interrupt is taken yet, so that none can come in between and leave the CPU asleep. An NMI may come in between all the same,
//! to have translations dropped, and its IRETQ ends that grace: the interrupt is taken then, its work is noted, and HLT would
//! wait for the next one. So an interrupt always returns behind the HLT ([`after_wait`]).
//!
//! # Stopping
//! [`stop_others`] sends NMIs, which no CPU can hold off for long, to CPUs that then halt for good.

mod trampoline;

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use spin::Once;
use xen_lite_core::addr::CpuId;

use crate::cpu::features::Features;
use crate::cpu::{self, PerCpu, descriptors, percpu};
use crate::entry::guarded;
use crate::layout::MAX_CPUS;
use crate::memory::{self, Memory};
use crate::{acpi, apic, platform, run, time};

static FEATURES: Once<Features> = Once::new();
/// Where the first CPU and the one that it starts are in their exchange.
static STEP: AtomicU32 = AtomicU32::new(0);
/// A reading of the new CPU's time stamp counter.
static READING: AtomicU64 = AtomicU64::new(0);
/// The core's hypervisor is in place.
static RELEASED: AtomicBool = AtomicBool::new(false);
/// All CPUs but the one that set it halt.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// Steps of the exchange: the new CPU is there; the first one wants a reading; the reading is there; it is not good.
const NOT_YET: u32 = 0;
const ARRIVED: u32 = 1;
const READ: u32 = 2;
const HAVE_READ: u32 = 3;
const REFUSED: u32 = 4;

/// How often the time stamp counters are compared.
const READINGS: u32 = 8;
/// From INIT to the start-up interrupt. The 10 ms of the first multiprocessor machines are not needed since long.
const AFTER_INIT_US: u64 = 200;
/// From the first start-up interrupt to the second, which is only sent when the first had no effect.
const AFTER_FIRST_US: u64 = 2_000;
/// How long a CPU may take to arrive: an emulator may have other things to do.
const PATIENCE_US: u64 = 1_000_000;

/// Starts CPUs until `limit` run in all, and says how many run.
pub fn start_others(features: &Features, memory: &mut Memory, machine: &acpi::Machine, limit: u32) {
    let own = apic::id();
    let limit = limit.clamp(1, MAX_CPUS as u32);
    let mut others = machine.cpus.iter().copied().filter(|&id| id != own).peekable();
    if limit > 1 && others.peek().is_some() {
        FEATURES.call_once(|| features.clone());
        if let Err(text) = start_all(memory, &mut others, limit) {
            log::warn!("{text}");
        }
    }
    let left = others.count();
    if left != 0 {
        log::info!("{left} CPUs are not used");
    }
    log::info!("CPUs: {} running", percpu::count());
}

fn start_all(
    memory: &mut Memory,
    others: &mut impl Iterator<Item = u32>,
    limit: u32,
) -> Result<(), &'static str> {
    let root = memory::trampoline_root(memory)?;
    trampoline::install(root)?;
    while percpu::count() < limit {
        let Some(apic_id) = others.next() else { break };
        if !apic::reaches(apic_id) {
            log::warn!("CPU with local APIC {apic_id}: only reached in x2APIC mode, not used");
            continue;
        }
        start_one(memory, apic_id)?;
    }
    Ok(())
}

fn start_one(memory: &mut Memory, apic_id: u32) -> Result<(), &'static str> {
    let id = CpuId::new(percpu::count());
    let own = memory::prepare_cpu(memory, id)?;
    let cpu = PerCpu::create(id, apic_id, &own);
    guarded::prepare(cpu);
    descriptors::prepare(cpu, own.descriptors);
    if guarded::policy().xpti() {
        memory::split::prepare(memory, id)?;
    }

    STEP.store(NOT_YET, Ordering::SeqCst);
    trampoline::offer(cpu);
    apic::send_init(apic_id);
    wait_us(AFTER_INIT_US, || false);
    apic::send_startup(apic_id, trampoline::PAGE);
    let arrived = || STEP.load(Ordering::Acquire) == ARRIVED;
    if !wait_us(AFTER_FIRST_US, arrived) {
        apic::send_startup(apic_id, trampoline::PAGE);
        if !wait_us(PATIENCE_US, arrived) && trampoline::take_back() {
            log::warn!("CPU {} (local APIC {apic_id}) does not start", id.raw());
            return Err("going on without the CPUs that are left");
        }
    }
    while !arrived() {
        core::hint::spin_loop();
    }
    let difference = compare_clocks();
    if difference != 0 {
        log::warn!(
            "CPU {} (local APIC {apic_id}): its time stamp counter is {difference} ticks off, not used",
            id.raw()
        );
        STEP.store(REFUSED, Ordering::Release);
        return Err("going on without the CPUs that are left");
    }
    cpu.announce();
    Ok(())
}

/// Waits for a condition, at most so many microseconds; whether it came true.
fn wait_us(most: u64, mut condition: impl FnMut() -> bool) -> bool {
    let start = time::tsc();
    let ticks = most * u64::from(time::khz()) / 1000;
    while !condition() {
        if time::tsc().wrapping_sub(start) >= ticks {
            return condition();
        }
        core::hint::spin_loop();
    }
    true
}

/// By how many ticks the new CPU's counter leaves the interval in which it was read; 0 when never.
fn compare_clocks() -> i64 {
    let mut worst = 0i64;
    for _ in 0..READINGS {
        let before = time::tsc();
        STEP.store(READ, Ordering::SeqCst);
        while STEP.load(Ordering::SeqCst) != HAVE_READ {
            core::hint::spin_loop();
        }
        let after = time::tsc();
        let reading = READING.load(Ordering::SeqCst);
        let off = if reading < before {
            -((before - reading) as i64)
        } else {
            reading.saturating_sub(after) as i64
        };
        if off.abs() > worst.abs() {
            worst = off;
        }
    }
    worst
}

/// First Rust code of another CPU, on its own stack.
extern "C" fn begin(cpu: &'static PerCpu) -> ! {
    // SAFETY: S-01: the hypervisor's own root, which maps this CPU's stack.
    unsafe { memory::load_root(memory::root()) };
    let Some(features) = FEATURES.get() else { halt() };
    cpu::set_control_registers(features);
    descriptors::load(cpu);
    cpu::idt::load();
    descriptors::set_fast_entries(features);
    cpu::faulting::enable(features);
    cpu.xcr0.set(features.xcr0);
    cpu.root.set(memory::root());
    apic::start_this_cpu();
    STEP.store(ARRIVED, Ordering::Release);
    loop {
        let step = STEP.load(Ordering::SeqCst);
        // From then on the exchange is the next CPU's.
        if cpu.id.raw() < percpu::count() {
            break;
        }
        match step {
            READ => {
                READING.store(time::tsc(), Ordering::SeqCst);
                STEP.store(HAVE_READ, Ordering::SeqCst);
            }
            REFUSED => halt(),
            _ => core::hint::spin_loop(),
        }
    }
    while !RELEASED.load(Ordering::SeqCst) {
        wait_for_interrupt();
    }
    run::start(cpu)
}

core::arch::global_asm!(
    ".section .text.wait, \"ax\"",
    ".globl wait_with_interrupts",
    "wait_with_interrupts:",
    "sti",
    ".globl wait_hlt",
    "wait_hlt:",
    "hlt",
    ".globl wait_end",
    "wait_end:",
    "cli",
    "ret",
    ".text",
);

unsafe extern "C" {
    fn wait_with_interrupts();
    fn wait_hlt();
    fn wait_end();
}

/// Waits for an interrupt, with interrupts on meanwhile.
pub fn wait_for_interrupt() {
    // SAFETY: S-08: changes nothing but IF, which is off again when it returns; the entry code gives an interrupt's handler all
    // registers, and puts them back.
    unsafe { wait_with_interrupts() };
}

/// Where the hypervisor goes on after an interrupt that came at `rip`: never before the HLT of [`wait_for_interrupt`].
pub fn after_wait(rip: u64) -> u64 {
    if rip == wait_hlt as *const () as u64 { wait_end as *const () as u64 } else { rip }
}

/// The core's hypervisor is in place: the other CPUs may ask for work.
pub fn release() {
    RELEASED.store(true, Ordering::SeqCst);
    platform::kick(u64::MAX);
}

/// Halts all other CPUs. Takes no lock.
pub fn stop_others() {
    let count = percpu::count();
    if count < 2 || STOPPING.swap(true, Ordering::SeqCst) {
        return;
    }
    let own = PerCpu::get().id;
    for cpu in (0..count).map(CpuId::new).filter(|&id| id != own).filter_map(percpu::of) {
        apic::send_nmi(cpu.apic_id);
    }
}

/// Whether the calling CPU is to halt.
pub fn is_stopping() -> bool {
    STOPPING.load(Ordering::Acquire)
}

/// Halts the calling CPU for good.
pub fn halt() -> ! {
    x86_64::instructions::interrupts::disable();
    loop {
        x86_64::instructions::hlt();
    }
}
