//! What the CPU can do, and what it must be able to do.

use alloc::string::String;
use core::arch::x86_64::{__cpuid, __cpuid_count};

use xen_lite_core::cmdline::{CpuFeatureUse, Options};

use super::smap;

/// Settled once, on the first CPU.
#[derive(Clone, Debug, Default)]
pub struct Features {
    /// Vendor string of CPUID leaf 0.
    pub vendor: String,
    /// Name of the model.
    pub model: String,
    /// Family, model, stepping.
    pub signature: (u32, u32, u32),
    /// RDFSBASE and its kin.
    pub fsgsbase: bool,
    /// No execution of user pages in ring 0.
    pub smep: bool,
    /// No looking at the system's tables in ring 3.
    pub umip: bool,
    /// No access to user pages in ring 0 but where it is meant.
    pub smap: bool,
    /// FXRSTOR and XRSTOR leave the x87's pointers alone (AMD's, before they could tell that they do not).
    pub keeps_fpu_pointers: bool,
    /// XSAVE and XRSTOR.
    pub xsave: bool,
    /// XSAVEOPT.
    pub xsaveopt: bool,
    /// All state components that XCR0 may enable.
    pub xcr0: u64,
    /// Bytes of state with all of these enabled.
    pub fpu_bytes: usize,
    /// LAPIC registers as MSRs.
    pub x2apic: bool,
    /// LAPIC timer by absolute TSC.
    pub tsc_deadline: bool,
    /// TSC runs at a constant rate in all states.
    pub invariant_tsc: bool,
    /// RDTSCP and TSC_AUX.
    pub rdtscp: bool,
}

/// A feature without which the hypervisor does not start: leaf, register (0 = EAX), bit, name.
const NEEDED: &[(u32, usize, u32, &str)] = &[
    (1, 3, 0, "FPU"),
    (1, 3, 4, "TSC"),
    (1, 3, 5, "MSR"),
    (1, 3, 6, "PAE"),
    (1, 3, 8, "CMPXCHG8B"),
    (1, 3, 9, "APIC"),
    (1, 3, 13, "PGE"),
    (1, 3, 16, "PAT"),
    (1, 3, 24, "FXSR"),
    (1, 3, 25, "SSE"),
    (1, 3, 26, "SSE2"),
    (1, 2, 13, "CMPXCHG16B"),
    (0x8000_0001, 3, 11, "SYSCALL"),
    (0x8000_0001, 3, 20, "NX"),
    (0x8000_0001, 3, 29, "long mode"),
];

fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let r = __cpuid_count(leaf, subleaf);
    [r.eax, r.ebx, r.ecx, r.edx]
}

fn text(words: &[u32]) -> String {
    let bytes = words.iter().flat_map(|word| word.to_le_bytes());
    let text: String = bytes.take_while(|&byte| byte != 0).map(char::from).collect();
    String::from(text.trim())
}

impl Features {
    /// Asks the CPU.
    ///
    /// # Errors
    /// The name of a feature that is missing, and where CPUID would show it.
    pub fn detect() -> Result<Features, String> {
        let basic = __cpuid(0);
        let extended = __cpuid(0x8000_0000).eax;
        for &(leaf, register, bit, name) in NEEDED {
            let highest = if leaf >= 0x8000_0000 { extended } else { basic.eax };
            if leaf > highest || cpuid(leaf, 0)[register] & 1 << bit == 0 {
                let register = ["EAX", "EBX", "ECX", "EDX"][register];
                return Err(alloc::format!("the CPU lacks {name} (CPUID {leaf:#x} {register} bit {bit})"));
            }
        }
        let one = cpuid(1, 0);
        let seven = if basic.eax >= 7 { cpuid(7, 0) } else { [0; 4] };
        let mut features = Features {
            vendor: text(&[basic.ebx, basic.edx, basic.ecx]),
            model: model_name(extended),
            signature: signature(one[0]),
            fsgsbase: seven[1] & 1 << 0 != 0,
            smep: seven[1] & 1 << 7 != 0,
            smap: seven[1] & 1 << 20 != 0,
            umip: seven[2] & 1 << 2 != 0,
            xsave: one[2] & 1 << 26 != 0,
            x2apic: one[2] & 1 << 21 != 0,
            tsc_deadline: one[2] & 1 << 24 != 0,
            rdtscp: cpuid(0x8000_0001, 0)[3] & 1 << 27 != 0,
            invariant_tsc: extended >= 0x8000_0007 && cpuid(0x8000_0007, 0)[3] & 1 << 8 != 0,
            fpu_bytes: 512,
            ..Features::default()
        };
        const RESTORES_POINTERS: u32 = 1 << 2;
        let sizes = if extended >= 0x8000_0008 { cpuid(0x8000_0008, 0)[1] } else { 0 };
        features.keeps_fpu_pointers = matches!(features.vendor.as_str(), "AuthenticAMD" | "HygonGenuine")
            && sizes & RESTORES_POINTERS == 0;
        features.find_fpu_state(basic.eax);
        Ok(features)
    }

    /// Leaves out what the command line does not want used, or what does not work here.
    pub fn restrict(&mut self, options: &Options) {
        self.smep &= options.smep == CpuFeatureUse::On;
        self.smap = smap::wanted(self.smap, options.smap);
    }

    /// x87 and SSE always, AVX and what follows it where it is there. Components that PV guests are not offered (MPX, PKRU,
    /// and everything supervisor) stay off.
    fn find_fpu_state(&mut self, highest: u32) {
        const OFFERED: u64 = 0b111 | 0b111 << 5;
        self.xsave &= highest >= 0xd;
        if !self.xsave {
            return;
        }
        let main = cpuid(0xd, 0);
        let there = u64::from(main[3]) << 32 | u64::from(main[0]);
        self.xcr0 = there & OFFERED | 0b11;
        self.xsaveopt = cpuid(0xd, 1)[0] & 1 != 0;
        let end = |component: u32| {
            let [size, offset, ..] = cpuid(0xd, component);
            (size + offset) as usize
        };
        let ends = (2..63).filter(|&component| self.xcr0 & 1 << component != 0).map(end);
        self.fpu_bytes = ends.max().unwrap_or(0).max(576);
    }

    /// The names of what is there, for the log.
    pub fn names(&self) -> String {
        let all = [
            (self.fsgsbase, "FSGSBASE"),
            (self.smep, "SMEP"),
            (self.smap, "SMAP"),
            (self.umip, "UMIP"),
            (self.xsave, "XSAVE"),
            (self.xsaveopt, "XSAVEOPT"),
            (self.x2apic, "x2APIC"),
            (self.tsc_deadline, "TSC-deadline"),
            (self.invariant_tsc, "invariant TSC"),
            (self.rdtscp, "RDTSCP"),
        ];
        let names: alloc::vec::Vec<&str> =
            all.iter().filter(|(there, _)| *there).map(|&(_, name)| name).collect();
        names.join(" ")
    }
}

fn model_name(extended: u32) -> String {
    if extended < 0x8000_0004 {
        return String::from("unnamed");
    }
    let words: alloc::vec::Vec<u32> = (0x8000_0002..=0x8000_0004).flat_map(|leaf| cpuid(leaf, 0)).collect();
    text(&words)
}

/// Family, model and stepping of CPUID leaf 1 EAX (SDM vol. 2, CPUID).
fn signature(eax: u32) -> (u32, u32, u32) {
    let base = eax >> 8 & 0xf;
    let family = if base == 0xf { base + (eax >> 20 & 0xff) } else { base };
    let high = if base == 6 || base == 0xf { eax >> 16 & 0xf } else { 0 };
    (family, high << 4 | eax >> 4 & 0xf, eax & 0xf)
}
