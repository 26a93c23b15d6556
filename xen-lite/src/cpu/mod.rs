//! One physical CPU: its registers, descriptor tables, and the data that it finds through GS.

pub mod descriptors;
pub mod faulting;
pub mod features;
pub mod fpu;
pub mod idt;
pub mod msr;
pub mod percpu;
pub mod segments;
pub mod smap;

pub use percpu::PerCpu;

use features::Features;
use xen_lite_core::emulate::msr::SHARED_PAT;

use crate::entry::guarded;

/// Bits of CR0 while any code runs: protection, monitored FPU, native FPU errors, write protection, alignment mask, paging.
const CR0: u64 = 1 << 0 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 18 | 1 << 31;
/// CR0.TS.
pub const CR0_TS: u64 = 1 << 3;

/// Bits of CR4 that this module sets.
mod cr4 {
    pub const DE: u64 = 1 << 3;
    pub const PAE: u64 = 1 << 5;
    pub const MCE: u64 = 1 << 6;
    pub const PGE: u64 = 1 << 7;
    pub const OSFXSR: u64 = 1 << 9;
    pub const OSXMMEXCPT: u64 = 1 << 10;
    pub const UMIP: u64 = 1 << 11;
    pub const FSGSBASE: u64 = 1 << 16;
    pub const OSXSAVE: u64 = 1 << 18;
    pub const SMEP: u64 = 1 << 20;
    pub const SMAP: u64 = 1 << 21;
}

/// The value of CR4 on a CPU with these features. With XPTI no translation is global: none may outlive a load of CR3.
pub fn cr4_value(features: &Features) -> u64 {
    let mut value = cr4::DE | cr4::PAE | cr4::MCE | cr4::OSFXSR | cr4::OSXMMEXCPT;
    if !guarded::policy().xpti() {
        value |= cr4::PGE;
    }
    for (there, bit) in [
        (features.fsgsbase, cr4::FSGSBASE),
        (features.xsave, cr4::OSXSAVE),
        (features.smep, cr4::SMEP),
        (features.smap, cr4::SMAP),
        (features.umip, cr4::UMIP),
    ] {
        if there {
            value |= bit;
        }
    }
    value
}

/// Sets the control registers of the calling CPU.
pub fn set_control_registers(features: &Features) {
    use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};
    // SAFETY: S-04: the bits set are those of features that the CPU has; paging and long mode stay as they are.
    unsafe {
        // Guests choose memory types by index into this table; its first four entries are those after reset.
        msr::write(msr::PAT, SHARED_PAT);
        msr::write(msr::EFER, msr::read(msr::EFER) | msr::EFER_NXE | msr::EFER_SCE);
        Cr0::write_raw(Cr0Flags::from_bits_retain(CR0).bits());
        Cr4::write_raw(Cr4Flags::from_bits_retain(cr4_value(features)).bits());
    }
    let policy = guarded::policy();
    // SAFETY: S-04: the policy asks only for what the CPU has.
    unsafe {
        if policy.auto_ibrs {
            msr::write(msr::EFER, msr::read(msr::EFER) | msr::EFER_AIBRSE);
        }
        if policy.spec_ctrl != 0 {
            msr::write(msr::SPEC_CTRL, policy.spec_ctrl);
        }
    }
    if features.xsave {
        // SAFETY: S-04: CR4.OSXSAVE is set, and the mask is the one that CPUID leaf 0xd offers.
        unsafe { write_xcr0(features.xcr0) };
    }
}

/// Sets XCR0.
///
/// # Safety
/// S-04: CR4.OSXSAVE is set and the CPU supports the bits.
pub unsafe fn write_xcr0(value: u64) {
    // SAFETY: S-04: as the caller promises.
    unsafe {
        core::arch::asm!("xsetbv", in("ecx") 0, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nomem, nostack, preserves_flags));
    }
}
