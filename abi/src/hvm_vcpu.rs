//! `hvm/hvm_vcpu.h`: the state in which `VCPUOP_initialise` starts a vCPU of an HVM domain.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

use crate::Union;

structs! {
    /// `struct vcpu_hvm_x86_32`.
    pub struct VcpuHvmX8632 {
        eax: u32,
        ecx: u32,
        edx: u32,
        ebx: u32,
        esp: u32,
        ebp: u32,
        esi: u32,
        edi: u32,
        eip: u32,
        eflags: u32,
        cr0: u32,
        cr3: u32,
        cr4: u32,
        pad1: u32,
        /// EFER should only be used to set the NXE bit (if required) when starting a vCPU in 32bit mode with
        /// paging enabled or to set the LME/LMA bits in order to start the vCPU in compatibility mode.
        efer: u64,
        cs_base: u32,
        ds_base: u32,
        ss_base: u32,
        es_base: u32,
        tr_base: u32,
        cs_limit: u32,
        ds_limit: u32,
        ss_limit: u32,
        es_limit: u32,
        tr_limit: u32,
        cs_ar: u16,
        ds_ar: u16,
        ss_ar: u16,
        es_ar: u16,
        tr_ar: u16,
        pad2: [u16; 3],
    }

    /// `struct vcpu_hvm_x86_64`.
    pub struct VcpuHvmX8664 {
        rax: u64,
        rcx: u64,
        rdx: u64,
        rbx: u64,
        rsp: u64,
        rbp: u64,
        rsi: u64,
        rdi: u64,
        rip: u64,
        rflags: u64,
        cr0: u64,
        cr3: u64,
        cr4: u64,
        efer: u64,
    }

    /// `struct vcpu_hvm_context`.
    pub struct VcpuHvmContext {
        mode: u32,
        pad: u32,
        /// CPU registers.
        cpu_regs: Union<u64, 15>,
    }
}

union_accessors! {
    VcpuHvmContext.cpu_regs {
        as_x86_32, set_x86_32: VcpuHvmX8632,
        as_x86_64, set_x86_64: VcpuHvmX8664,
    }
}

/// 32bit fields of the structure will be used.
pub const VCPU_HVM_MODE_32B: u32 = 0;
/// 64bit fields of the structure will be used.
pub const VCPU_HVM_MODE_64B: u32 = 1;
