//! `arch-x86/xen-x86_64.h`: selectors, the hypervisor's hole, `iret`.
//!
//! The hole is `HYPERVISOR_VIRT_START..HYPERVISOR_VIRT_END`; the read-only machine-to-physical table is at
//! its start. Guest kernel and guest user both run in ring 3, with the flat selectors of the reserved part of
//! every GDT.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

// Selectors of the flat segments in the reserved part of every GDT.
/// GDT index 260.
pub const FLAT_RING3_CS32: u16 = 0xe023;
/// GDT index 262.
pub const FLAT_RING3_CS64: u16 = 0xe033;
/// GDT index 261.
pub const FLAT_RING3_DS32: u16 = 0xe02b;
/// NULL selector.
pub const FLAT_RING3_DS64: u16 = 0x0000;
/// GDT index 261.
pub const FLAT_RING3_SS32: u16 = 0xe02b;
/// GDT index 261.
pub const FLAT_RING3_SS64: u16 = 0xe02b;
pub const FLAT_KERNEL_DS64: u16 = FLAT_RING3_DS64;
pub const FLAT_KERNEL_DS32: u16 = FLAT_RING3_DS32;
pub const FLAT_KERNEL_DS: u16 = FLAT_KERNEL_DS64;
pub const FLAT_KERNEL_CS64: u16 = FLAT_RING3_CS64;
pub const FLAT_KERNEL_CS32: u16 = FLAT_RING3_CS32;
pub const FLAT_KERNEL_CS: u16 = FLAT_KERNEL_CS64;
pub const FLAT_KERNEL_SS64: u16 = FLAT_RING3_SS64;
pub const FLAT_KERNEL_SS32: u16 = FLAT_RING3_SS32;
pub const FLAT_KERNEL_SS: u16 = FLAT_KERNEL_SS64;
pub const FLAT_USER_DS64: u16 = FLAT_RING3_DS64;
pub const FLAT_USER_DS32: u16 = FLAT_RING3_DS32;
pub const FLAT_USER_DS: u16 = FLAT_USER_DS64;
pub const FLAT_USER_CS64: u16 = FLAT_RING3_CS64;
pub const FLAT_USER_CS32: u16 = FLAT_RING3_CS32;
pub const FLAT_USER_CS: u16 = FLAT_USER_CS64;
pub const FLAT_USER_SS64: u16 = FLAT_RING3_SS64;
pub const FLAT_USER_SS32: u16 = FLAT_RING3_SS32;
pub const FLAT_USER_SS: u16 = FLAT_USER_SS64;
pub const HYPERVISOR_VIRT_START: u64 = 0xffff800000000000;
pub const HYPERVISOR_VIRT_END: u64 = 0xffff880000000000;
pub const MACH2PHYS_VIRT_START: u64 = 0xffff800000000000;
pub const MACH2PHYS_VIRT_END: u64 = 0xffff804000000000;
pub const MACH2PHYS_NR_ENTRIES: u64 = (MACH2PHYS_VIRT_END - MACH2PHYS_VIRT_START) >> 3;
// Which base `set_segment_base` writes.
pub const SEGBASE_FS: u32 = 0;
pub const SEGBASE_GS_USER: u32 = 1;
pub const SEGBASE_GS_KERNEL: u32 = 2;
/// Set user %gs specified in `base[15:0]`.
pub const SEGBASE_GS_USER_SEL: u32 = 3;
pub const VGCF_IN_SYSCALL: u64 = 1 << 8;

structs! {
    /// `struct iret_context`: What `HYPERVISOR_iret` finds on the guest's kernel stack.
    pub struct IretContext {
        /// Top of stack (%rsp at point of hypercall).
        rax: u64,
        /// Top of stack (%rsp at point of hypercall).
        r11: u64,
        /// Top of stack (%rsp at point of hypercall).
        rcx: u64,
        /// Top of stack (%rsp at point of hypercall).
        flags: u64,
        /// Top of stack (%rsp at point of hypercall).
        rip: u64,
        /// Top of stack (%rsp at point of hypercall).
        cs: u64,
        /// Top of stack (%rsp at point of hypercall).
        rflags: u64,
        /// Top of stack (%rsp at point of hypercall).
        rsp: u64,
        /// Top of stack (%rsp at point of hypercall).
        ss: u64,
    }

    /// `struct arch_vcpu_info`: The x86 part of [`VcpuInfo`](super::VcpuInfo): CR2 of the last page fault.
    pub struct ArchVcpuInfo {
        cr2: u64,
        /// sizeof(vcpu_info_t) == 64.
        pad: u64,
    }
}
