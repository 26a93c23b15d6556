//! CPUID that faults in ring 3, so that guests get the leaves meant for them even by the bare instruction.
//!
//! Intel's processors tell by a bit of PLATFORM_INFO that they can, and do it by a bit of MISC_FEATURES_ENABLES; AMD's have a
//! feature and a bit of HWCR for it. The hypervisor's own CPUID, in ring 0, is never concerned.

use core::arch::asm;
use core::arch::x86_64::__cpuid;

use super::features::Features;
use crate::fixup;

const PLATFORM_INFO: u32 = 0xce;
const CAN_FAULT: u64 = 1 << 31;
const MISC_FEATURES_ENABLES: u32 = 0x140;
const FAULT: u64 = 1 << 0;
const HWCR: u32 = 0xc001_0015;
const USER_DISABLED: u64 = 1 << 35;
/// Leaf with AMD's feature, in EAX.
const EXTENDED_FEATURES: u32 = 0x8000_0021;
const CAN_DISABLE: u32 = 1 << 17;

/// Reads a register that the CPU may not have.
fn try_read(register: u32) -> Option<u64> {
    let mut value = 0_u64;
    // SAFETY: S-04, S-09: a register that is not there faults, and the fault lands in the label; the value is borrowed.
    unsafe {
        asm!("2: rdmsr", "mov [{value}], eax", "mov [{value} + 4], edx", fixup!("2", "{missing}"),
            value = in(reg) &raw mut value, in("ecx") register, out("eax") _, out("edx") _,
            missing = label { return None }, options(nostack, preserves_flags));
    }
    Some(value)
}

/// Writes such a register; whether it was there, and took the value.
fn try_write(register: u32, value: u64) -> bool {
    // SAFETY: S-04, S-09: as above; the bits set concern ring 3 alone.
    unsafe {
        asm!("2: wrmsr", fixup!("2", "{0}"), label { return false }, in("ecx") register, in("eax") value as u32,
            in("edx") (value >> 32) as u32, options(nostack, preserves_flags));
    }
    true
}

/// Makes CPUID fault in ring 3 on the calling CPU, if it can. Faults of the hypervisor's own must be handled already.
pub fn enable(features: &Features) -> bool {
    match features.vendor.as_str() {
        "GenuineIntel" if try_read(PLATFORM_INFO).is_some_and(|info| info & CAN_FAULT != 0) => {
            try_read(MISC_FEATURES_ENABLES)
                .is_some_and(|value| try_write(MISC_FEATURES_ENABLES, value | FAULT))
        }
        "AuthenticAMD" | "HygonGenuine"
            if __cpuid(0x8000_0000).eax >= EXTENDED_FEATURES
                && __cpuid(EXTENDED_FEATURES).eax & CAN_DISABLE != 0 =>
        {
            try_read(HWCR).is_some_and(|value| try_write(HWCR, value | USER_DISABLED))
        }
        _ => false,
    }
}
