//! Floating-point and vector state of guests, switched whole when the vCPU changes.
//!
//! The hypervisor itself uses none of it. State is saved and restored with all components that the CPU offers, whatever the
//! guest's XCR0 says: otherwise a component that one guest disabled would keep its contents for the next.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::registers::control::{Cr0, Cr0Flags};
use xen_lite_core::domain::vcpu::FpuArea;

use super::{CR0_TS, PerCpu, features::Features, write_xcr0};
use crate::fixup;

/// Components that are saved; 0 stands for FXSAVE.
static COMPONENTS: AtomicU64 = AtomicU64::new(0);
/// Whether restoring leaves the x87's pointers as they were, unless an exception is pending in what is restored.
static KEEPS_POINTERS: core::sync::atomic::AtomicBool = core::sync::atomic::AtomicBool::new(false);
static XSAVEOPT: core::sync::atomic::AtomicBool = core::sync::atomic::AtomicBool::new(false);

/// Settles how state is saved.
pub fn init(features: &Features) {
    COMPONENTS.store(if features.xsave { features.xcr0 } else { 0 }, Ordering::Relaxed);
    XSAVEOPT.store(features.xsaveopt, Ordering::Relaxed);
    KEEPS_POINTERS.store(features.keeps_fpu_pointers, Ordering::Relaxed);
}

/// Sets or clears CR0.TS on the calling CPU, if it is not so already.
#[inline(always)]
pub fn set_ts(cpu: &PerCpu, ts: bool) {
    if cpu.ts.replace(ts) == ts {
        return;
    }
    if ts {
        let value = Cr0::read_raw() | CR0_TS;
        // SAFETY: S-04: only TS changes.
        unsafe { Cr0::write_raw(Cr0Flags::from_bits_retain(value).bits()) };
    } else {
        // SAFETY: S-04: only TS changes.
        unsafe { asm!("clts", options(nostack, preserves_flags)) };
    }
}

/// Sets XCR0, if it is not so already.
fn set_xcr0(cpu: &PerCpu, value: u64) {
    if cpu.xcr0.replace(value) != value {
        // SAFETY: S-04: the value is a subset of what the CPU offers (the core checks what a guest writes).
        unsafe { write_xcr0(value) };
    }
}

/// Saves the state of the vCPU that ran on the calling CPU.
pub fn save(cpu: &PerCpu, area: &mut FpuArea) {
    let at = area.blocks_mut().as_mut_ptr();
    let mask = COMPONENTS.load(Ordering::Relaxed);
    set_ts(cpu, false);
    // SAFETY: S-15: the area is 64-byte aligned and as large as CPUID says for these components.
    unsafe {
        if mask == 0 {
            asm!("fxsave64 [{}]", in(reg) at, options(nostack, preserves_flags));
            return;
        }
        set_xcr0(cpu, mask);
        let (low, high) = (mask as u32, (mask >> 32) as u32);
        if XSAVEOPT.load(Ordering::Relaxed) {
            asm!("xsaveopt64 [{}]", in(reg) at, in("eax") low, in("edx") high, options(nostack, preserves_flags));
        } else {
            asm!("xsave64 [{}]", in(reg) at, in("eax") low, in("edx") high, options(nostack, preserves_flags));
        }
    }
}

/// Loads a vCPU's state. State that the CPU refuses (it may come from a toolstack) is replaced by that after power-on.
pub fn load(cpu: &PerCpu, area: &mut FpuArea, guest_xcr0: u64) {
    if !try_load(cpu, area) {
        area.reset();
        try_load(cpu, area);
    }
    load_xcr0(cpu, guest_xcr0);
}

/// Loads the components that the guest has enabled.
pub fn load_xcr0(cpu: &PerCpu, guest_xcr0: u64) {
    let mask = COMPONENTS.load(Ordering::Relaxed);
    if mask != 0 {
        set_xcr0(cpu, guest_xcr0 & mask | 1);
    }
}

/// Lets the x87's pointers to the last instruction and operand lead to the hypervisor's, so that a guest does not see those of
/// the one before.
fn forget_pointers() {
    static ZERO: u32 = 0;
    // SAFETY: S-15: TS is clear, no exception is left pending, and the state is about to be replaced.
    unsafe {
        asm!("fnclex", "emms", "fild dword ptr [{}]", in(reg) &raw const ZERO, options(nostack, readonly))
    };
}

fn try_load(cpu: &PerCpu, area: &FpuArea) -> bool {
    let at = area.blocks().as_ptr();
    let mask = COMPONENTS.load(Ordering::Relaxed);
    set_ts(cpu, false);
    if KEEPS_POINTERS.load(Ordering::Relaxed) {
        forget_pointers();
    }
    // SAFETY: S-15: the area is aligned and large enough; a refusal lands in the label.
    unsafe {
        if mask == 0 {
            asm!("2: fxrstor64 [{}]", fixup!("2", "{}"), in(reg) at, label { return false },
                options(nostack, preserves_flags));
            return true;
        }
        set_xcr0(cpu, mask);
        asm!("2: xrstor64 [{}]", fixup!("2", "{}"), in(reg) at, label { return false },
            in("eax") mask as u32, in("edx") (mask >> 32) as u32, options(nostack, preserves_flags));
    }
    true
}
