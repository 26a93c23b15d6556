//! From the boot loader to the first domain.
//!
//! Order matters: heap, console, the loader's information, CPU, memory, descriptor tables, firmware tables, clock, interrupt
//! controller, the core's [`Hypervisor`], the first domain. Each step logs what it found; a step that cannot do its work says
//! what is missing and stops the machine.

mod dom0;
mod entry;
pub mod info;

pub use entry::stack;

use alloc::boxed::Box;
use alloc::string::String;
use core::sync::atomic::Ordering;

use xen_lite_core::addr::{CpuId, DomId, Mfn};
use xen_lite_core::cmdline::{self, CommandLine, LogLevel, Options};
use xen_lite_core::frame::{Access, FrameTable};
use xen_lite_core::hypervisor::Config;
use xen_lite_core::sched::{self, Credit, Null, Params, Scheduler};
use xen_lite_core::speculation::{Cpu, Policy};
use xen_lite_core::{Hypervisor, domain::Domains};

use crate::cpu::features::Features;
use crate::cpu::{self, PerCpu, descriptors, percpu};
use crate::entry::guarded;
use crate::hypervisor::hv;
use crate::memory::{Memory, PAGE};
use crate::platform::{self, Machine};
use crate::{acpi, apic, console, hypervisor, memory, power, run, smp, time};
use info::{BootInfo, TYPE_RAM};

/// First Rust code: called by the entry code in long mode, on the boot stack, with the loader's two registers.
extern "C" fn start(magic: u32, info: u32) -> ! {
    let since = time::tsc();
    console::init();
    log::info!("xen-lite version {} (Xen 4.17 ABI)", env!("CARGO_PKG_VERSION"));
    let boot = BootInfo::read(magic, info).unwrap_or_else(|text| refuse(text));
    let line = cmdline::parse(&boot.command_line, &boot.loader);
    apply_options(&line);
    log_boot_info(&boot, &line);

    let mut features = Features::detect().unwrap_or_else(|text| refuse(&text));
    features.restrict(&line.options);
    log_cpu(&features);
    settle_speculation(&line);
    if features.smap {
        // SAFETY: S-19: the boot page tables map the image writable, and this is the only CPU.
        unsafe { cpu::smap::install() };
    }
    cpu::set_control_registers(&features);
    let mut memory = memory::init(&boot).unwrap_or_else(|text| refuse(text));
    log_memory(&memory);
    let cpu = start_cpu(&features, &mut memory).unwrap_or_else(|text| refuse(text));

    let machine = acpi::read(boot.rsdp).unwrap_or_else(|text| {
        log::warn!("{text}: the machine cannot be turned off by software");
        acpi::Machine::default()
    });
    log::info!("ACPI: {} CPUs, {} I/O APICs", machine.cpus.len(), machine.io_apics.len());
    let source = time::init(machine.pm_timer).unwrap_or_else(|text| refuse(text));
    log::info!("Detected {}.{:03} MHz processor (by {source})", time::khz() / 1000, time::khz() % 1000);
    apic::init(&features, line.options.x2apic).unwrap_or_else(|text| refuse(text));
    log::info!("Local APIC {}: {}", apic::id(), if apic::is_x2apic() { "x2APIC" } else { "xAPIC" });

    smp::start_others(&features, &mut memory, &machine, wanted_cpus(&line));
    install(&boot, &line, &features, &memory, &machine);
    smp::release();
    route_serial(&machine, &line);
    dom0::start(&boot, &line, since);
    drop((boot, line, machine, memory, features));
    leave_boot_stack(cpu)
}

/// Goes on with the CPU's own stack.
fn leave_boot_stack(cpu: &'static PerCpu) -> ! {
    // SAFETY: S-05: nobody uses the CPU's own stack yet; nothing on the boot stack is needed any more.
    unsafe {
        core::arch::asm!("mov rsp, {stack}", "xor ebp, ebp", "call {go_on}", "ud2", stack = in(reg) cpu.stack.get(),
            go_on = sym after_boot, in("rdi") cpu, options(noreturn))
    }
}

/// Gives back the memory that only boot needed, and asks for work.
extern "C" fn after_boot(cpu: &'static PerCpu) -> ! {
    let (start, end) = memory::give_up_boot_stack();
    hv().frames.add_free(Mfn::new(start / PAGE)..Mfn::new(end / PAGE));
    run::start(cpu)
}

/// Says why there is no going on, and stops.
fn refuse(text: &str) -> ! {
    log::error!("xen-lite cannot start: {text}");
    power::crash()
}

fn apply_options(line: &CommandLine) {
    let options = &line.options;
    power::NOREBOOT.store(options.noreboot, Ordering::Relaxed);
    power::QEMU_EXIT.store(options.qemu_exit, Ordering::Relaxed);
    if options.guest_loglvl.always == LogLevel::All {
        log::set_max_level(log::LevelFilter::Debug);
    }
    let com1 = &options.com1;
    console::init_port(com1.io_base, com1.baud.unwrap_or(115_200));
}

#[inline(never)]
fn log_boot_info(boot: &BootInfo, line: &CommandLine) {
    log::info!("Bootloader: {} ({})", boot.loader, boot.protocol);
    log::info!("Command line: {}", boot.options());
    for warning in &line.warnings {
        log::warn!("{warning}");
    }
    for (index, module) in boot.modules.iter().enumerate() {
        let kib = (module.end - module.start).div_ceil(1024);
        log::info!(
            "Module {index}: {:#x}-{:#x} ({kib} KiB) \"{}\"",
            module.start,
            module.end,
            module.arguments
        );
    }
    log::info!("Memory map:");
    for region in &boot.regions {
        let kind = match region.kind {
            TYPE_RAM => "RAM",
            3 => "ACPI data",
            4 => "ACPI NVS",
            5 => "defective",
            _ => "reserved",
        };
        log::info!(" [{:016x}, {:016x}] {kind}", region.start, region.end - 1);
    }
}

#[inline(never)]
fn log_cpu(features: &Features) {
    let (family, model, stepping) = features.signature;
    log::info!(
        "CPU: {} ({}, family {family:#x} model {model:#x} stepping {stepping})",
        features.model,
        features.vendor
    );
    log::info!("CPU features: {}", features.names());
}

#[inline(never)]
fn log_memory(memory: &Memory) {
    let kib = memory.ram_frames * 4;
    let kept = kib - memory.free.bytes() / 1024;
    log::info!("System RAM: {} MiB ({kib} KiB), {kept} KiB of it for hypervisor and modules", kib >> 10);
}

/// Finds out what the CPU leaks, and decides what is done about it.
#[inline(never)]
fn settle_speculation(line: &CommandLine) {
    let cpuid = |leaf, subleaf| {
        let r = core::arch::x86_64::__cpuid_count(leaf, subleaf);
        [r.eax, r.ebx, r.ecx, r.edx]
    };
    // SAFETY: S-04: asked for only where CPUID says that the register is there.
    let caps = || unsafe { cpu::msr::read(cpu::msr::ARCH_CAPABILITIES) };
    let policy = Policy::new(&Cpu::detect(cpuid, caps), &line.options);
    guarded::settle(policy);
    for text in alloc::format!("{policy}").lines() {
        log::info!("{text}");
    }
}

/// Gives the first CPU its data, descriptor tables, exception stacks and system-call entry.
#[inline(never)]
fn start_cpu(features: &Features, memory: &mut Memory) -> Result<&'static PerCpu, &'static str> {
    let id = CpuId::new(0);
    let own = memory::prepare_cpu(memory, id)?;
    let cpu = PerCpu::create(id, apic::initial_id(), &own);
    guarded::prepare(cpu);
    descriptors::prepare(cpu, own.descriptors);
    cpu::idt::build();
    descriptors::load(cpu);
    cpu.announce();
    cpu::idt::load();
    cpu::segments::use_fsgsbase(features.fsgsbase);
    cpu::fpu::init(features);
    platform::HAS_TSC_AUX.store(features.rdtscp, Ordering::Relaxed);
    descriptors::set_fast_entries(features);
    if cpu::faulting::enable(features) {
        log::info!("CPUID of guests faults");
    }
    cpu.xcr0.set(features.xcr0);
    if guarded::policy().xpti() {
        memory::split::prepare(memory, id)?;
    }
    Ok(cpu)
}

/// Puts the core's hypervisor in place, with the free memory.
#[inline(never)]
fn install(
    boot: &BootInfo,
    line: &CommandLine,
    features: &Features,
    memory: &Memory,
    machine: &acpi::Machine,
) {
    let frames = FrameTable::new(memory.frame_table);
    for (start, end) in memory.holes.iter() {
        frames.mark_io(Mfn::new(start / PAGE)..Mfn::new(end / PAGE));
    }
    for page in memory.m2p.0 / PAGE..memory.m2p.1 / PAGE {
        // Fresh from the table of frames, it is the hypervisor's, so this cannot fail.
        let _ = frames.share_with_guest(Mfn::new(page), DomId::XEN, Access::ReadOnly);
    }
    for page in apic::pages(machine) {
        frames.deny_io(Mfn::new(page / PAGE)..Mfn::new(page / PAGE + 1));
    }
    for (start, end) in memory.free.iter() {
        frames.add_free(Mfn::new(start / PAGE)..Mfn::new(end / PAGE));
    }
    let options = &line.options;
    hypervisor::install(Hypervisor {
        platform: Machine,
        frames,
        domains: Domains::default(),
        next_id: Default::default(),
        sched: Scheduler::new(percpu::count(), policy(&options.sched), scheduling(options)),
        config: Config {
            speculation: guarded::policy(),
            fpu_bytes: features.fpu_bytes,
            build_id: crate::build_id::build_id().to_vec(),
            command_line: String::from(boot.options()),
            noreboot: options.noreboot,
            memory_map: boot
                .regions
                .iter()
                .map(|region| (region.start, region.end - region.start, region.kind))
                .collect(),
            total_frames: memory.ram_frames,
            guest_log: options.guest_loglvl.always > LogLevel::Error,
        },
        log: console::take_log(),
    });
}

/// Most CPUs that the command line lets run.
fn wanted_cpus(line: &CommandLine) -> u32 {
    if line.options.nosmp { 1 } else { line.options.maxcpus.unwrap_or(u32::MAX) }
}

/// The scheduler's policy of that name.
fn policy(name: &str) -> Box<dyn sched::Policy> {
    match name {
        "null" => Box::new(Null),
        "" | "credit" => Box::new(Credit),
        _ => {
            log::warn!("command line: sched: no policy \"{name}\"; using credit");
            Box::new(Credit)
        }
    }
}

/// Slice and rate limit.
fn scheduling(options: &Options) -> Params {
    let (params, bad) = Params::from_command_line(options.sched_tslice_ms, options.sched_ratelimit_us);
    for name in bad {
        log::warn!("command line: {name}: not in its range; ignored");
    }
    params
}

/// Lets the serial port interrupt the first CPU. Without an I/O APIC, input is not seen.
#[inline(never)]
fn route_serial(machine: &acpi::Machine, line: &CommandLine) {
    let irq = line.options.com1.irq;
    let Some(&(io_apic, base)) = machine.io_apics.iter().find(|(_, base)| *base == 0) else {
        log::warn!("no I/O APIC: nothing typed on com1 will be seen");
        return;
    };
    let over = machine.overrides.iter().find(|over| over.0 == irq);
    let (pin, level, low) =
        over.map_or((u32::from(irq), false, false), |&(_, global, level, low)| (global, level, low));
    if console::is_used() {
        apic::route(io_apic, pin - base, apic::vector::SERIAL, apic::id(), level, low);
        console::interrupt_on();
    }
}
