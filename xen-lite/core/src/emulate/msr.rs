//! Model-specific registers of a PV guest: an allow-list.
//!
//! A register that is not listed raises #GP, read or written, whatever the machine has. Of the listed ones few are
//! the guest's own (FS and GS bases, TSC_AUX); the others answer a constant that tells kernels "nothing to do here".
//! What may be written, and ignored, is what kernels write without looking back.

use super::{Base, GuestCpu};
use crate::speculation::guest;

const P5_MC_ADDR: u32 = 0;
const P5_MC_TYPE: u32 = 1;
const TSC: u32 = 0x10;
const APIC_BASE: u32 = 0x1b;
const PLATFORM_ID: u32 = 0x17;
const FEATURE_CONTROL: u32 = 0x3a;
const UCODE_REV: u32 = 0x8b;
const PLATFORM_INFO: u32 = 0xce;
const MISC_FEATURES_ENABLES: u32 = 0x140;
const MCG_CAP: u32 = 0x179;
const MCG_STATUS: u32 = 0x17a;
const MISC_ENABLE: u32 = 0x1a0;
const PAT: u32 = 0x277;
const PERF_CAPABILITIES: u32 = 0x345;
const PERF_STATUS: u32 = 0x198;
const PERF_CONTROL: u32 = 0x199;
const THERMAL_CONTROL: u32 = 0x19a;
const THERMAL_STATUS: u32 = 0x19c;
const ENERGY_BIAS: u32 = 0x1b0;
const XEN_HYPERCALL: u32 = abi::cpuid::XEN_HYPERCALL_MSR;
const EFER: u32 = 0xc000_0080;
const FS_BASE: u32 = 0xc000_0100;
const GS_BASE: u32 = 0xc000_0101;
const KERNEL_GS_BASE: u32 = 0xc000_0102;
const TSC_AUX: u32 = 0xc000_0103;
const AMD_SYSCFG: u32 = 0xc001_0010;
const AMD_HWCR: u32 = 0xc001_0015;
const AMD_TOP_MEM: u32 = 0xc001_001a;
const AMD_NB_CFG: u32 = 0xc001_001f;
const AMD_TSEG_BASE: u32 = 0xc001_0112;
const AMD_DE_CFG: u32 = 0xc001_1029;

/// The page-attribute table that the hypervisor uses and PV guests share: WB, WT, UC-, UC, WC, WP, UC, UC.
pub const SHARED_PAT: u64 = 0x0000_0501_0007_0406;
/// SYSCALL, long mode enabled and active, no-execute.
const EFER_VALUE: u64 = 1 | 1 << 8 | 1 << 10 | 1 << 11;
/// Enabled, at the usual address.
const APIC_BASE_VALUE: u64 = 0xfee0_0800;
const APIC_BASE_BOOT_CPU: u64 = 1 << 8;
/// Fast strings; no branch-trace store, no precise events, no external task priority messages.
const MISC_ENABLE_VALUE: u64 = 1 | 1 << 11 | 1 << 12 | 1 << 23;
/// Locked, with nothing enabled.
const FEATURE_CONTROL_VALUE: u64 = 1;
/// Machine-check banks.
const BANKS: u32 = 2;
/// What Intel's say beside their number: threshold-based status, interrupts of corrected errors, recovery by software.
const MCG_CAP_INTEL: u64 = 1 << 10 | 1 << 11 | 1 << 24;
/// LFENCE serialises.
const DE_CFG_VALUE: u64 = 1 << 1;

/// What an AMD processor has; zero here, read-only, and only for the first domain.
const AMD_ZERO: [u32; 3] = [AMD_SYSCFG, AMD_TOP_MEM, AMD_TSEG_BASE];

/// What an AMD processor has; zero here, and writes are ignored: performance counters, bridge configuration, P-states.
fn amd_ignored(number: u32) -> bool {
    matches!(number, 0xc001_0000..=0xc001_0007 | AMD_HWCR | 0xc001_0061..=0xc001_006b)
}

/// What an Intel processor has; zero here, and writes are ignored: performance counters and their control.
fn intel_ignored(number: u32) -> bool {
    matches!(number, 0xc1..=0xc8 | 0x186..=0x189 | 0x309..=0x30b | 0x38d..=0x390 | PERF_CONTROL)
}

fn is_intel<C: GuestCpu>(cpu: &mut C) -> bool {
    cpu.cpuid(0, 0)[1] == u32::from_le_bytes(*b"Genu")
}

/// Whether the guest has RDTSCP or RDPID, the instructions that TSC_AUX is for.
fn has_tsc_aux<C: GuestCpu>(cpu: &mut C) -> bool {
    const RDTSCP: u32 = 1 << 27;
    const RDPID: u32 = 1 << 22;
    cpu.cpuid(0x8000_0001, 0)[3] & RDTSCP != 0 || cpu.cpuid(7, 0)[2] & RDPID != 0
}

fn is_amd<C: GuestCpu>(cpu: &mut C) -> bool {
    matches!(cpu.cpuid(0, 0)[1], 0x6874_7541 | 0x6f67_7948)
}

/// Registers of the machine-check banks that are shown: control, status, address, miscellaneous of each.
const MC_BANKS: core::ops::Range<u32> = 0x400..0x400 + 4 * BANKS;

/// The value of an MSR; `None`: #GP(0).
pub fn read<C: GuestCpu>(cpu: &mut C, number: u32) -> Option<u64> {
    Some(match number {
        FS_BASE => cpu.base(Base::Fs),
        GS_BASE => cpu.base(Base::Gs),
        KERNEL_GS_BASE => cpu.base(Base::KernelGs),
        TSC_AUX if has_tsc_aux(cpu) => cpu.tsc_aux().into(),
        guest::SPEC_CTRL if guest::spec_ctrl_bits(&mut |l, s| cpu.cpuid(l, s)).is_some() => cpu.spec_ctrl(),
        TSC => cpu.tsc(),
        EFER => EFER_VALUE,
        APIC_BASE => APIC_BASE_VALUE | if cpu.vcpu_id() == 0 { APIC_BASE_BOOT_CPU } else { 0 },
        MISC_ENABLE => MISC_ENABLE_VALUE,
        FEATURE_CONTROL if !is_amd(cpu) => FEATURE_CONTROL_VALUE,
        PAT => SHARED_PAT,
        AMD_DE_CFG if is_amd(cpu) => DE_CFG_VALUE,
        MCG_CAP => u64::from(BANKS) | if is_intel(cpu) { MCG_CAP_INTEL } else { 0 },
        UCODE_REV | PLATFORM_INFO | MISC_FEATURES_ENABLES | MCG_STATUS | XEN_HYPERCALL => 0,
        P5_MC_ADDR | P5_MC_TYPE | PERF_CAPABILITIES | AMD_NB_CFG => 0,
        bank if MC_BANKS.contains(&bank) => {
            if bank % 4 == 0 {
                u64::MAX
            } else {
                0
            }
        }
        PLATFORM_ID | PERF_STATUS | THERMAL_STATUS if is_intel(cpu) => 0,
        _ if intel_ignored(number) && is_intel(cpu) => 0,
        _ if amd_ignored(number) && is_amd(cpu) => 0,
        _ if AMD_ZERO.contains(&number) && cpu.first_domain() && is_amd(cpu) => 0,
        _ => return None,
    })
}

/// Writes an MSR; false: #GP(0).
pub fn write<C: GuestCpu>(cpu: &mut C, number: u32, value: u64) -> bool {
    let base = match number {
        FS_BASE => Base::Fs,
        GS_BASE => Base::Gs,
        KERNEL_GS_BASE => Base::KernelGs,
        TSC_AUX => {
            let valid = value >> 32 == 0 && has_tsc_aux(cpu);
            if valid {
                cpu.set_tsc_aux(value as u32);
            }
            return valid;
        }
        guest::SPEC_CTRL => {
            let bits = guest::spec_ctrl_bits(&mut |l, s| cpu.cpuid(l, s));
            let valid = bits.is_some_and(|bits| value & !bits == 0);
            if valid {
                cpu.set_spec_ctrl(value);
            }
            return valid;
        }
        guest::PRED_CMD => {
            let bits = guest::pred_cmd_bits(&mut |l, s| cpu.cpuid(l, s));
            let valid = bits != 0 && value & !bits == 0;
            if valid && value != 0 {
                cpu.forget_branches(value);
            }
            return valid;
        }
        // The low 12 bits select the page of several; there is one.
        XEN_HYPERCALL => return value & 0xfff == 0 && cpu.fill_hypercall_page(value >> 12),
        // Kernels set bits in these and do not look again.
        MISC_ENABLE | MCG_CAP | MCG_STATUS | AMD_NB_CFG => return true,
        AMD_DE_CFG => return is_amd(cpu),
        THERMAL_CONTROL | ENERGY_BIAS => return is_intel(cpu),
        _ if intel_ignored(number) && is_intel(cpu) => return true,
        bank if MC_BANKS.contains(&bank) => return bank % 4 == 0 || value == 0,
        EFER => return value == EFER_VALUE,
        MISC_FEATURES_ENABLES => return value == 0,
        _ => return amd_ignored(number) && is_amd(cpu),
    };
    let canonical = (value as i64) << 16 >> 16 == value as i64;
    if canonical {
        cpu.set_base(base, value);
    }
    canonical
}
