//! The options, their defaults, and the table from names to setters.

use alloc::string::String;

use super::value::{self, Bad, Result, Value};
use crate::speculation::{self, SpecOptions};

/// On, off, or only in HVM guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CpuFeatureUse {
    /// Use it where the CPU has it.
    #[default]
    On,
    /// Do not use it.
    Off,
    /// Offer it to HVM guests, do not use it in the hypervisor.
    HvmOnly,
}

/// Yes, no, or left to the hypervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// Not said.
    #[default]
    Default,
    /// On.
    On,
    /// Off.
    Off,
}

/// Where the log goes and where input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsoleSet {
    /// First serial port.
    pub com1: bool,
    /// Second serial port.
    pub com2: bool,
    /// Text screen.
    pub vga: bool,
}

/// Parity of a serial line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parity {
    /// `n`.
    None,
    /// `o`.
    Odd,
    /// `e`.
    Even,
    /// `m`.
    Mark,
    /// `s`.
    Space,
}

/// A serial port: `baud[/base][,DPS[,io-base[,irq]]]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SerialLine {
    /// Bits per second; `None`: as the firmware left it (`auto`).
    pub baud: Option<u32>,
    /// 5 to 8.
    pub data_bits: u8,
    /// Parity.
    pub parity: Parity,
    /// 1 or 2.
    pub stop_bits: u8,
    /// First I/O port.
    pub io_base: u16,
    /// Interrupt; 0: polled.
    pub irq: u8,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing.
    None,
    /// Errors.
    Error,
    /// And warnings.
    Warning,
    /// And information.
    Info,
    /// And debugging output.
    All,
}

/// `loglvl=` and `guest_loglvl=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogThresholds {
    /// Up to this level, always logged.
    pub always: LogLevel,
    /// Above `always` and up to this level, logged as the budget allows.
    pub rate_limited: LogLevel,
}

/// An amount of memory: bytes plus a percentage of what is available, or all but that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryAmount {
    /// Subtract from what is available.
    pub negative: bool,
    /// Bytes.
    pub bytes: u64,
    /// 0 to 99.
    pub percent: u8,
}

impl MemoryAmount {
    /// The amount in bytes where `available` bytes are available.
    #[must_use]
    pub fn resolve(self, available: u64) -> u64 {
        let part = u128::from(available) * u128::from(self.percent) / 100;
        // Less than 100 percent of a u64.
        let amount = self.bytes.saturating_add(part as u64);
        if self.negative { available.saturating_sub(amount) } else { amount }
    }
}

/// `dom0_mem=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryLimits {
    /// Memory at start.
    pub size: Option<MemoryAmount>,
    /// Least memory.
    pub min: Option<MemoryAmount>,
    /// Most memory that Dom0 may ever have.
    pub max: Option<MemoryAmount>,
}

impl MemoryLimits {
    /// Dom0's memory at start in bytes, of `available` bytes. Without `dom0_mem=`: all but a sixteenth, and at most
    /// 128 MiB, that stay free.
    #[must_use]
    pub fn at_start(&self, available: u64) -> u64 {
        let default = available - (available / 16).min(128 << 20);
        let wanted = self.size.map_or(default, |size| size.resolve(available));
        let least = self.min.map_or(0, |min| min.resolve(available));
        let most = self.max.map_or(u64::MAX, |max| max.resolve(available));
        wanted.max(least).min(most).min(available)
    }

    /// The most memory that Dom0 may ever have, in bytes; `None`: no limit.
    #[must_use]
    pub fn maximum(&self, available: u64) -> Option<u64> {
        self.max.map(|max| max.resolve(available))
    }
}

/// `dom0_max_vcpus=min-max` (or one number for both).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VcpuRange {
    /// At least.
    pub min: u32,
    /// At most.
    pub max: u32,
}

impl VcpuRange {
    /// vCPUs of Dom0 on a machine with this many CPUs: at least one.
    #[must_use]
    pub fn for_cpus(self, cpus: u32) -> u32 {
        cpus.max(self.min).min(self.max).max(1)
    }
}

/// `dom0=pv` or `dom0=pvh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dom0Kind {
    /// Paravirtual.
    #[default]
    Pv,
    /// In a hardware container.
    Pvh,
}

/// `tsc=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TscReliability {
    /// Judge by CPUID.
    #[default]
    Detect,
    /// Trust it across all sleep states (`stable`, `stable:socket`).
    Stable,
    /// Do not trust it (`unstable`).
    Unstable,
    /// It may differ between CPUs (`skewed`).
    Skewed,
}

/// Grant-table limits for Dom0 and their defaults for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantLimits {
    /// Highest version offered (1; version 2 is left out by design).
    pub max_version: u8,
    /// Whether transitive grants are offered (they belong to version 2).
    pub transitive: bool,
    /// Most frames of a grant table.
    pub max_frames: u32,
    /// Most frames of the table that tracks what a domain has mapped.
    pub max_maptrack_frames: u32,
}

/// `watchdog`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Watchdog {
    /// Off.
    #[default]
    Off,
    /// On.
    On,
    /// On even if its self-test fails.
    Force,
}

/// `conswitch=`: the control character that moves the input between the hypervisor and Dom0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conswitch {
    /// The control character (1 to 26), typed three times; `None`: no switching.
    pub key: Option<u8>,
    /// Whether Dom0 has the input at start.
    pub start_with_dom0: bool,
}

/// All options, with their defaults in [`Options::default`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `console=`.
    pub console: ConsoleSet,
    /// `com1=`.
    pub com1: SerialLine,
    /// `com2=`.
    pub com2: SerialLine,
    /// `conswitch=`.
    pub conswitch: Conswitch,
    /// `sync_console`: wait until each character has left.
    pub sync_console: bool,
    /// `console_to_ring`: Dom0's console output also enters the log ring.
    pub console_to_ring: bool,
    /// `console_timestamps`: a time stamp before each line.
    pub console_timestamps: bool,
    /// `conring_size=` in bytes.
    pub conring_size: u64,
    /// `vga=`, as given.
    pub vga: String,
    /// `loglvl=`.
    pub loglvl: LogThresholds,
    /// `guest_loglvl=`.
    pub guest_loglvl: LogThresholds,
    /// `noreboot`: stay after a crash or a restart of Dom0.
    pub noreboot: bool,
    /// `qemu-exit` (not upstream's): a crash ends QEMU through its isa-debug-exit device.
    pub qemu_exit: bool,
    /// `dom0=`.
    pub dom0: Dom0Kind,
    /// `dom0_mem=`.
    pub dom0_mem: MemoryLimits,
    /// `dom0_max_vcpus=`.
    pub dom0_max_vcpus: VcpuRange,
    /// `dom0_vcpus_pin`.
    pub dom0_vcpus_pin: bool,
    /// `mem=`: ignore RAM above this address.
    pub mem: Option<u64>,
    /// `maxcpus=`.
    pub maxcpus: Option<u32>,
    /// `nosmp`.
    pub nosmp: bool,
    /// `sched=`, as given.
    pub sched: String,
    /// `sched_credit_tslice_ms=`, as given.
    pub sched_tslice_ms: Option<u32>,
    /// `sched_ratelimit_us=`, as given.
    pub sched_ratelimit_us: Option<u32>,
    /// `tsc=`.
    pub tsc: TscReliability,
    /// `x2apic=`; `None` leaves the mode as firmware did.
    pub x2apic: Option<bool>,
    /// `smap=`; `None` leaves it to the hypervisor.
    pub smap: Option<CpuFeatureUse>,
    /// `smep=`.
    pub smep: CpuFeatureUse,
    /// `xsave`: let guests use XSAVE.
    pub xsave: bool,
    /// `pcid=`: use process-context identifiers.
    pub pcid: Choice,
    /// `xpti=` for Dom0.
    pub xpti_dom0: Choice,
    /// `xpti=` for other domains.
    pub xpti_domu: Choice,
    /// `pv-l1tf=` for Dom0.
    pub pv_l1tf_dom0: Choice,
    /// `pv-l1tf=` for other domains.
    pub pv_l1tf_domu: Choice,
    /// `spec-ctrl=`.
    pub spec_ctrl: SpecOptions,
    /// `gnttab=`, `gnttab_max_frames=`, `gnttab_max_maptrack_frames=`.
    pub gnttab: GrantLimits,
    /// `watchdog`.
    pub watchdog: Watchdog,
    /// `watchdog_timeout=` in seconds.
    pub watchdog_timeout: u32,
    /// `pv-linear-pt`: let PV guests map a table into itself.
    pub pv_linear_pt: bool,
}

const fn serial(io_base: u16, irq: u8) -> SerialLine {
    SerialLine { baud: None, data_bits: 8, parity: Parity::None, stop_bits: 1, io_base, irq }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            console: ConsoleSet { com1: false, com2: false, vga: true },
            com1: serial(0x3f8, 4),
            com2: serial(0x2f8, 3),
            conswitch: Conswitch { key: Some(1), start_with_dom0: true },
            sync_console: false,
            console_to_ring: false,
            console_timestamps: false,
            conring_size: 16 << 10,
            vga: String::new(),
            loglvl: LogThresholds { always: LogLevel::Warning, rate_limited: LogLevel::Warning },
            guest_loglvl: LogThresholds { always: LogLevel::None, rate_limited: LogLevel::Warning },
            noreboot: false,
            qemu_exit: false,
            dom0: Dom0Kind::Pv,
            dom0_mem: MemoryLimits::default(),
            dom0_max_vcpus: VcpuRange { min: 1, max: u32::MAX },
            dom0_vcpus_pin: false,
            mem: None,
            maxcpus: None,
            nosmp: false,
            sched: String::new(),
            sched_tslice_ms: None,
            sched_ratelimit_us: None,
            tsc: TscReliability::Detect,
            x2apic: None,
            smap: None,
            smep: CpuFeatureUse::On,
            xsave: true,
            pcid: Choice::Default,
            xpti_dom0: Choice::Default,
            xpti_domu: Choice::Default,
            pv_l1tf_dom0: Choice::Default,
            pv_l1tf_domu: Choice::Default,
            spec_ctrl: SpecOptions::default(),
            gnttab: GrantLimits {
                max_version: 1,
                transitive: false,
                max_frames: 64,
                max_maptrack_frames: 1024,
            },
            watchdog: Watchdog::Off,
            watchdog_timeout: 5,
            pv_linear_pt: true,
        }
    }
}

/// Sets what one word says.
pub(super) type Setter = fn(&mut Options, Value<'_>) -> Result<()>;

/// Every option that has an effect.
pub(super) const TABLE: &[(&str, Setter)] = &[
    ("console", console),
    ("com1", |o, v| serial_line(&mut o.com1, v.required()?)),
    ("com2", |o, v| serial_line(&mut o.com2, v.required()?)),
    ("conswitch", conswitch),
    ("sync_console", |o, v| set(&mut o.sync_console, v.boolean())),
    ("console_to_ring", |o, v| set(&mut o.console_to_ring, v.boolean())),
    ("console_timestamps", console_timestamps),
    ("conring_size", |o, v| set(&mut o.conring_size, value::size(v.required()?))),
    ("vga", |o, v| set(&mut o.vga, v.required().map(Into::into))),
    ("loglvl", |o, v| set(&mut o.loglvl, value::thresholds(v.required()?))),
    ("guest_loglvl", |o, v| set(&mut o.guest_loglvl, value::thresholds(v.required()?))),
    ("noreboot", |o, v| set(&mut o.noreboot, v.boolean())),
    ("qemu-exit", |o, v| set(&mut o.qemu_exit, v.boolean())),
    ("dom0", dom0),
    ("dom0_mem", dom0_mem),
    ("dom0_max_vcpus", dom0_max_vcpus),
    ("dom0_vcpus_pin", |o, v| set(&mut o.dom0_vcpus_pin, v.boolean())),
    ("mem", |o, v| set(&mut o.mem, value::size(v.required()?).map(Some))),
    ("maxcpus", |o, v| set(&mut o.maxcpus, v.number().map(Some))),
    ("nosmp", |o, v| set(&mut o.nosmp, v.boolean())),
    ("sched", |o, v| set(&mut o.sched, v.required().map(Into::into))),
    ("sched_credit_tslice_ms", |o, v| set(&mut o.sched_tslice_ms, v.number().map(Some))),
    ("sched_ratelimit_us", |o, v| set(&mut o.sched_ratelimit_us, v.number().map(Some))),
    ("tsc", tsc),
    ("x2apic", |o, v| set(&mut o.x2apic, v.boolean().map(Some))),
    ("smap", |o, v| set(&mut o.smap, v.feature().map(Some))),
    ("smep", |o, v| set(&mut o.smep, v.feature())),
    ("xsave", |o, v| set(&mut o.xsave, v.boolean())),
    ("pcid", pcid),
    ("xpti", |o, v| for_whom(v, &mut o.xpti_dom0, &mut o.xpti_domu)),
    ("pv-l1tf", |o, v| for_whom(v, &mut o.pv_l1tf_dom0, &mut o.pv_l1tf_domu)),
    ("spec-ctrl", spec_ctrl),
    ("gnttab", gnttab),
    ("gnttab_max_frames", |o, v| set(&mut o.gnttab.max_frames, v.number())),
    ("gnttab_max_maptrack_frames", |o, v| set(&mut o.gnttab.max_maptrack_frames, v.number())),
    ("watchdog", watchdog),
    ("watchdog_timeout", |o, v| set(&mut o.watchdog_timeout, v.number())),
    ("pv-linear-pt", |o, v| set(&mut o.pv_linear_pt, v.boolean())),
];

/// Options of upstream that change nothing here.
pub(super) const WITHOUT_EFFECT: &[&str] = &[
    "acpi",
    "acpi_apic_instance",
    "acpi_pstate_strict",
    "acpi_skip_timer_override",
    "acpi_sleep",
    "allowsuperpage",
    "apic",
    "apic_verbosity",
    "apicv",
    "argo",
    "asid",
    "asid_per_vcpu",
    "async-show-all",
    "ats",
    "bootscrub",
    "bootscrub_chunk",
    "badpage",
    "clocksource",
    "cmci-threshold",
    "cpu_type",
    "cpufreq",
    "cpuid",
    "cpuidle",
    "cpuinfo",
    "crash-debug",
    "crashinfo_maxaddr",
    "crashkernel",
    "credit2_balance_over",
    "credit2_balance_under",
    "credit2_cap_period_ms",
    "credit2_load_precision_shift",
    "credit2_load_window_shift",
    "credit2_runqueue",
    "debug_stack_lines",
    "debugtrace",
    "dbgp",
    "dit",
    "dma_bits",
    "dom0-cpuid",
    "dom0-iommu",
    "dom0_ioports_disable",
    "dom0_nodes",
    "dom0_shadow",
    "dtuart",
    "e820-mtrr-clip",
    "e820-verbose",
    "edd",
    "edid",
    "efi",
    "ept",
    "ept_pml",
    "ets",
    "extra_guest_irqs",
    "flask",
    "font",
    "force-ept",
    "gdb",
    "gnttab_limit",
    "guest_reg_dump",
    "hap",
    "hap_1gb",
    "hap_2mb",
    "hardware_dom",
    "hest_disable",
    "highmem-start",
    "hmp-unsafe",
    "hpet",
    "hpet_broadcast",
    "hvm_debug",
    "hvm_fep",
    "hvm_port80",
    "hypfs",
    "idle_latency_factor",
    "invpcid",
    "ioapic_ack",
    "iommu",
    "iommu_dev_iotlb_timeout",
    "iommu_inclusive_mapping",
    "irq-max-guests",
    "irq_ratelimit",
    "irq_vector_map",
    "ivmd",
    "ivrs_hpet",
    "ivrs_ioapic",
    "lapic_timer_c2_ok",
    "ler",
    "low_mem_virq_limit",
    "max_cstate",
    "max_gsi_irqs",
    "max_lpi_bits",
    "mce",
    "mce_fb",
    "mce_verbosity",
    "memop-max-order",
    "mmcfg",
    "mmio-relax",
    "msi",
    "mtrr",
    "mwait-idle",
    "nmi",
    "noapic",
    "noirqbalance",
    "nolapic",
    "numa",
    "nx",
    "pci-phantom",
    "pci",
    "pku",
    "ple_gap",
    "ple_window",
    "psr",
    "pv",
    "pvshim",
    "pv-shim",
    "quarantine_scratch",
    "random_sleep",
    "rcu-idle-timer-period-ms",
    "reboot",
    "rmrr",
    "sched-gran",
    "sched_credit2_max_cpus_runqueue",
    "sched_credit2_migrate_resist",
    "sched_debug",
    "sched_smt_power_savings",
    "scrub-domheap",
    "serial_tx_buffer",
    "serrors",
    "shim_mem",
    "smt",
    "snb_igd_quirk",
    "suppress-timer-printk",
    "tbuf_size",
    "tdp",
    "tevt_mask",
    "tickle_one_idle_cpu",
    "timer_slop",
    "tsx",
    "ucode",
    "unrestricted_guest",
    "vcpu_migration_delay",
    "vesa-ram",
    "vesa-map",
    "vesa-mtrr",
    "vm-notify-window",
    "vmce",
    "vmtrace",
    "vpid",
    "vpid_intercept",
    "vpmu",
    "vwfi",
    "wallclock",
    "x2apic_phys",
    "x86_mca",
    "xenheap_megabytes",
    "xsm",
];

fn set<T>(place: &mut T, value: Result<T>) -> Result<()> {
    *place = value?;
    Ok(())
}

fn console(options: &mut Options, value: Value<'_>) -> Result<()> {
    let mut set = ConsoleSet { com1: false, com2: false, vga: false };
    for device in value.required()?.split(',') {
        match device {
            // A suffix H or L split one line for two users; it is one line here.
            "com1" | "com1H" | "com1L" => set.com1 = true,
            "com2" | "com2H" | "com2L" => set.com2 = true,
            "vga" | "tty0" => set.vga = true,
            "none" => {}
            _ => return Err(Bad("a list of com1, com2, vga and none")),
        }
    }
    options.console = set;
    Ok(())
}

fn serial_line(line: &mut SerialLine, text: &str) -> Result<()> {
    const EXPECTED: Bad = Bad("a serial line (baud[,8n1[,io-base[,irq]]])");
    let mut result = *line;
    for (place, part) in text.split(',').enumerate().filter(|(_, part)| !part.is_empty()) {
        let number = || value::number(part).map_err(|_| EXPECTED);
        match place {
            0 if part == "auto" => result.baud = None,
            0 => {
                let baud = part.split_once('/').map_or(part, |(baud, _)| baud);
                let baud = value::number(baud).ok().and_then(|n| u32::try_from(n).ok());
                result.baud = Some(baud.filter(|n| (1..=115_200).contains(n)).ok_or(EXPECTED)?);
            }
            1 => (result.data_bits, result.parity, result.stop_bits) = framing(part).ok_or(EXPECTED)?,
            2 => result.io_base = u16::try_from(number()?).map_err(|_| EXPECTED)?,
            3 => result.irq = u8::try_from(number()?).map_err(|_| EXPECTED)?,
            _ => return Err(EXPECTED),
        }
    }
    *line = result;
    Ok(())
}

/// `8n1` and its like.
fn framing(text: &str) -> Option<(u8, Parity, u8)> {
    let [data, parity, stop] = *text.as_bytes() else { return None };
    let parity = match parity {
        b'n' => Parity::None,
        b'o' => Parity::Odd,
        b'e' => Parity::Even,
        b'm' => Parity::Mark,
        b's' => Parity::Space,
        _ => return None,
    };
    (matches!(data, b'5'..=b'8') && matches!(stop, b'1' | b'2')).then_some((data - b'0', parity, stop - b'0'))
}

fn conswitch(options: &mut Options, value: Value<'_>) -> Result<()> {
    const EXPECTED: Bad = Bad("a letter or \"no\", and x to start with the hypervisor (a, ax)");
    let text = value.required()?;
    if value::boolean(text) == Some(false) && text.len() > 1 {
        options.conswitch = Conswitch { key: None, ..options.conswitch };
        return Ok(());
    }
    options.conswitch = match *text.as_bytes() {
        [key] if key.is_ascii_alphabetic() => Conswitch { key: Some(key & 0x1f), start_with_dom0: true },
        [key, b'x'] if key.is_ascii_alphabetic() => {
            Conswitch { key: Some(key & 0x1f), start_with_dom0: false }
        }
        _ => return Err(EXPECTED),
    };
    Ok(())
}

fn console_timestamps(options: &mut Options, value: Value<'_>) -> Result<()> {
    options.console_timestamps = match value.text {
        Some("none") => false,
        Some("date" | "datems" | "boot" | "raw") => true,
        _ => value.boolean().map_err(|_| Bad("none, date, datems, boot or raw"))?,
    };
    Ok(())
}

fn dom0(options: &mut Options, value: Value<'_>) -> Result<()> {
    for item in value.required()?.split(',') {
        match item {
            "pv" => options.dom0 = Dom0Kind::Pv,
            "pvh" => options.dom0 = Dom0Kind::Pvh,
            // What upstream also takes here and what changes nothing.
            "shadow" | "no-shadow" | "verbose" | "no-verbose" | "msr-relaxed" | "no-msr-relaxed"
            | "cpuid-faulting" | "no-cpuid-faulting" => {}
            _ => return Err(Bad("a list of pv, pvh, shadow, verbose, cpuid-faulting and msr-relaxed")),
        }
    }
    Ok(())
}

fn dom0_mem(options: &mut Options, value: Value<'_>) -> Result<()> {
    let mut limits = MemoryLimits::default();
    for part in value.required()?.split(',') {
        match part.split_once(':') {
            Some(("min", text)) => limits.min = Some(value::amount(text)?),
            Some(("max", text)) => limits.max = Some(value::amount(text)?),
            Some(_) => return Err(Bad("a list of <size>, min:<size> and max:<size>")),
            None => limits.size = Some(value::amount(part)?),
        }
    }
    options.dom0_mem = limits;
    Ok(())
}

fn dom0_max_vcpus(options: &mut Options, value: Value<'_>) -> Result<()> {
    const EXPECTED: Bad = Bad("a number or a range (2, 1-4, 2-, -4)");
    let bound = |text: &str, default| match text {
        "" => Ok(default),
        _ => value::number(text).ok().and_then(|n| u32::try_from(n).ok()).ok_or(EXPECTED),
    };
    let text = value.required()?;
    let range = match text.split_once('-') {
        None => bound(text, 0).map(|n| VcpuRange { min: n, max: n })?,
        Some((min, max)) => VcpuRange { min: bound(min, 1)?, max: bound(max, u32::MAX)? },
    };
    if range.max == 0 || range.min > range.max {
        return Err(EXPECTED);
    }
    options.dom0_max_vcpus = range;
    Ok(())
}

fn tsc(options: &mut Options, value: Value<'_>) -> Result<()> {
    options.tsc = match value.required()? {
        "stable" | "stable:socket" => TscReliability::Stable,
        "unstable" => TscReliability::Unstable,
        "skewed" => TscReliability::Skewed,
        _ => return Err(Bad("stable, stable:socket, unstable or skewed")),
    };
    Ok(())
}

fn choice(on: bool) -> Choice {
    if on { Choice::On } else { Choice::Off }
}

fn pcid(options: &mut Options, value: Value<'_>) -> Result<()> {
    options.pcid = match value.text {
        Some("xpti" | "noxpti") => Choice::Default,
        _ => choice(value.boolean().map_err(|_| Bad("a boolean, xpti or noxpti"))?),
    };
    Ok(())
}

/// `xpti=` and `pv-l1tf=`: for the first domain and for others.
fn for_whom(value: Value<'_>, dom0: &mut Choice, domu: &mut Choice) -> Result<()> {
    const EXPECTED: Bad = Bad("a list of booleans, default, dom0=<bool> and domu=<bool>");
    let Some(text) = value.text else {
        (*dom0, *domu) = (choice(value.on), choice(value.on));
        return Ok(());
    };
    let (mut for_dom0, mut for_domu) = (*dom0, *domu);
    for item in text.split(',') {
        let (name, on) = match item.split_once('=') {
            Some((name, text)) => (name, value::boolean(text).ok_or(EXPECTED)?),
            None => item.strip_prefix("no-").map_or((item, true), |name| (name, false)),
        };
        match (name, value::boolean(name)) {
            ("default", _) => (for_dom0, for_domu) = (Choice::Default, Choice::Default),
            ("dom0", _) => for_dom0 = choice(on),
            ("domu", _) => for_domu = choice(on),
            (_, Some(all)) => (for_dom0, for_domu) = (choice(all == value.on), choice(all == value.on)),
            _ => return Err(EXPECTED),
        }
    }
    (*dom0, *domu) = (for_dom0, for_domu);
    Ok(())
}

fn spec_ctrl(options: &mut Options, value: Value<'_>) -> Result<()> {
    let list = if value.on { value.required()? } else { "no" };
    options.spec_ctrl.apply(list).ok_or(Bad(speculation::EXPECTED))
}

fn gnttab(options: &mut Options, value: Value<'_>) -> Result<()> {
    let mut limits = options.gnttab;
    for item in value.required()?.split(',') {
        match item {
            "max-ver:1" => limits.max_version = 1,
            // Version 2 is left out by design, so a higher limit changes nothing.
            "max-ver:2" => {}
            "transitive" | "no-transitive" => limits.transitive = false,
            _ => return Err(Bad("a list of max-ver:<1 or 2> and [no-]transitive")),
        }
    }
    options.gnttab = limits;
    Ok(())
}

fn watchdog(options: &mut Options, value: Value<'_>) -> Result<()> {
    options.watchdog = match (value.text, value.boolean()) {
        (Some("force"), _) => Watchdog::Force,
        (_, Ok(true)) => Watchdog::On,
        (_, Ok(false)) => Watchdog::Off,
        (_, Err(_)) => return Err(Bad("a boolean or \"force\"")),
    };
    Ok(())
}
