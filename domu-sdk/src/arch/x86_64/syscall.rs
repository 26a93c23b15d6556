//! The hypercall instruction.
//!
//! Convention (public header `arch-x86/xen-x86_64.h`): number in `rax`, arguments in `rdi rsi rdx r10 r8 r9`, `syscall`,
//! result in `rax`. The CPU destroys `rcx` and `r11`; a hypervisor may destroy the argument registers it was given.

use core::arch::asm;

/// Issues hypercall `number` with up to five arguments.
///
/// # Safety
/// The arguments must be valid for that hypercall: pointers in them point to memory the hypervisor may read or write as
/// the call says, and the call's effect breaks no invariant of [`crate::arch`].
pub unsafe fn hypercall(number: u64, [a, b, c, d, e]: [u64; 5]) -> i64 {
    let result: i64;
    // SAFETY: the instruction itself touches only the registers named here; its effect is the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as i64 => result,
            inlateout("rdi") a => _,
            inlateout("rsi") b => _,
            inlateout("rdx") c => _,
            inlateout("r10") d => _,
            inlateout("r8") e => _,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}
