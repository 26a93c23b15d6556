//! The boots of the conformance suite.

use crate::qemu::DEFAULT_CPU;

/// What the kernel runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// The first domain.
    First,
    /// A domain that the Rust Dom0 creates.
    Guest,
}

/// A kernel of `tests/conformance`, and what it runs in.
#[derive(Clone, Copy, Debug)]
pub struct Boot {
    /// The kernel.
    pub kernel: &'static str,
    /// `case=` on its command line; empty: nothing.
    pub case: &'static str,
    /// What it runs as.
    pub domain: Domain,
    /// Number of processors.
    pub cpus: u32,
    /// Number of vCPUs of the first domain.
    pub vcpus: u32,
    /// QEMU's `-cpu`.
    pub cpu: &'static str,
    /// Both hypervisors guard against nothing that a CPU leaks.
    pub unguarded: bool,
}

/// A boot as first domain on one processor.
const fn first(kernel: &'static str) -> Boot {
    Boot { kernel, case: "", domain: Domain::First, cpus: 1, vcpus: 1, cpu: DEFAULT_CPU, unguarded: false }
}

impl Boot {
    /// With `case=` on the command line.
    const fn case(mut self, case: &'static str) -> Self {
        self.case = case;
        self
    }

    /// As a guest of the Rust Dom0.
    const fn guest(mut self) -> Self {
        self.domain = Domain::Guest;
        self
    }

    /// With several processors, and as many vCPUs.
    const fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self.vcpus = cpus;
        self
    }

    /// With more vCPUs than processors.
    const fn vcpus(mut self, vcpus: u32) -> Self {
        self.vcpus = vcpus;
        self
    }

    /// On another model of processor.
    const fn on(mut self, cpu: &'static str) -> Self {
        self.cpu = cpu;
        self
    }

    /// With the ways in and out that guard nothing.
    const fn unguarded(mut self) -> Self {
        self.unguarded = true;
        self
    }

    /// What the names of its rows start with.
    pub fn prefix(&self) -> String {
        let mut prefix = self.kernel.to_string();
        if !self.case.is_empty() {
            prefix.push('-');
            prefix.push_str(self.case);
        }
        if self.domain == Domain::Guest {
            prefix.push_str("-domu");
        }
        if self.cpus > 1 {
            prefix.push_str(&format!("-smp{}", self.cpus));
        }
        if self.vcpus != self.cpus {
            prefix.push_str(&format!("x{}", self.vcpus));
        }
        if self.unguarded {
            prefix.push_str("-unguarded");
        }
        if self.cpu != DEFAULT_CPU {
            prefix.push('@');
            prefix.push_str(self.cpu.split(',').next().unwrap_or(""));
        }
        prefix
    }

    /// The name of the test.
    pub fn name(&self) -> String {
        format!("conformance-{}", self.prefix())
    }

    /// The kernel's command line.
    pub fn arguments(&self) -> String {
        if self.case.is_empty() { String::new() } else { format!("case={}", self.case) }
    }

    /// Options of the hypervisor.
    pub fn options(&self) -> String {
        let memory = match self.domain {
            Domain::First => 64,
            Domain::Guest => 128,
        };
        let guards = if self.unguarded { " xpti=no spec-ctrl=no" } else { "" };
        format!("dom0_mem={memory}M dom0_max_vcpus={}{guards}", self.vcpus)
    }

    /// What Dom0 is told to do with a guest.
    pub fn script(&self) -> String {
        let name = self.kernel;
        format!("create {name}; wait {name} 'RESULT: done' 90; log {name}; poweroff")
    }
}

/// Kernels that run as first domain on one processor.
const AREAS: &[&str] = &[
    "version",
    "cpu",
    "traps",
    "iret",
    "emulate",
    "compat",
    "multicall",
    "events",
    "control",
    "devices",
    "toolstack",
    "mmu",
    "va_mapping",
    "mmuext",
    "memory_op",
    "grant",
    "writable_pt",
    "foreign",
    "edges",
    "fifo",
    "boot",
    "between",
];

/// Those of them that run as a guest too.
const AS_GUEST: &[&str] = &[
    "version",
    "cpu",
    "traps",
    "emulate",
    "multicall",
    "events",
    "control",
    "devices",
    "mmu",
    "va_mapping",
    "mmuext",
    "memory_op",
    "grant",
    "writable_pt",
    "edges",
    "fifo",
    "boot",
];

/// Kernels whose cases are boots of their own, because they end the domain.
const CASES: &[(&str, &[&str])] = &[
    (
        "iret",
        &[
            "stack-null",
            "stack-hole",
            "stack-non-canonical",
            "no-user-root",
            "rip-non-canonical",
            "rip-hole",
            "cs-ring0",
            "cs-null",
            "cs-data",
            "cs-beyond",
            "ss-ring0",
            "ss-null",
            "ss-code",
            "failsafe-cs",
            "failsafe-ss",
            "no-handler",
            "bounce-hole",
            "bounce-unmapped",
            "bounce-read-only",
            "user-kernel-stack",
            "no-event-callback",
            "syscall-none",
            "nmi-none",
            "in-multicall",
        ],
    ),
    (
        "events",
        &[
            "shutdown-0",
            "shutdown-1",
            "shutdown-2",
            "shutdown-3",
            "shutdown-4",
            "shutdown-5",
            "shutdown-6",
            "shutdown-255",
        ],
    ),
];

/// Numbers of processors, and of vCPUs of the first domain, on which each area runs once more.
const SEVERAL: &[u32] = &[2, 4];

/// Kernels that need several vCPUs; as many as there are processors, and eight of them on two.
const SMP: &[&str] = &["vcpus", "races"];

/// Cases of kernels that need several vCPUs.
const SMP_CASES: &[(&str, &[&str])] = &[("vcpus", &["last-down", "shutdown", "unhandled"])];

/// Kernels about the CPU, which run on other models of it too, and these models: one of Intel's, and one that has little.
const OF_THE_CPU: &[&str] = &["cpu", "traps", "iret", "emulate", "compat"];
const MODELS: &[&str] = &["Skylake-Client,-smap", "qemu64"];

/// Kernels about ways into the hypervisor and out of it, which run once more with `xpti=no spec-ctrl=no`. Everything else runs with
/// what the hypervisor chooses for the CPU, and on all models here that is to guard entries. The fast entries are other code.
const OF_THE_ENTRIES: &[&str] =
    &["traps", "iret", "emulate", "compat", "multicall", "edges", "between", "events", "writable_pt"];

/// All boots.
pub fn all() -> Vec<Boot> {
    let mut boots: Vec<Boot> = AREAS.iter().map(|kernel| first(kernel)).collect();
    boots.extend(AS_GUEST.iter().map(|kernel| first(kernel).guest()));
    for cpus in SEVERAL {
        boots.extend(AREAS.iter().chain(SMP).map(|kernel| first(kernel).cpus(*cpus)));
    }
    boots.extend(SMP.iter().map(|kernel| first(kernel).cpus(2).vcpus(8)));
    // Contexts are used up by those vCPUs that take them.
    boots.push(first("context").vcpus(32));
    for model in MODELS {
        boots.extend(OF_THE_CPU.iter().map(|kernel| first(kernel).on(model)));
    }
    boots.extend(OF_THE_ENTRIES.iter().map(|kernel| first(kernel).unguarded()));
    boots.push(first("traps").guest().unguarded());
    boots.push(first("vcpus").cpus(2).unguarded());
    boots.push(first("context").vcpus(32).unguarded());
    for (kernel, cases) in SMP_CASES {
        boots.extend(cases.iter().map(|case| first(kernel).case(case).cpus(2)));
    }
    for (kernel, cases) in CASES {
        boots.extend(cases.iter().map(|case| first(kernel).case(case)));
    }
    boots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_unique() {
        let mut prefixes: Vec<String> = all().iter().map(Boot::prefix).collect();
        prefixes.sort_unstable();
        let before = prefixes.len();
        prefixes.dedup();
        assert_eq!(prefixes.len(), before);
        assert!(prefixes.iter().all(|prefix| !prefix.contains('.')), "a prefix ends at the first dot");
    }
}
