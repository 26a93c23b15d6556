//! The register frame of a PV guest.

structs! {
    /// `struct cpu_user_regs`: the general registers, the interrupted RIP, RFLAGS and RSP, and the selectors.
    pub struct CpuUserRegs {
        /// R15.
        r15: u64,
        /// R14.
        r14: u64,
        /// R13.
        r13: u64,
        /// R12.
        r12: u64,
        /// RBP.
        rbp: u64,
        /// RBX.
        rbx: u64,
        /// R11.
        r11: u64,
        /// R10.
        r10: u64,
        /// R9.
        r9: u64,
        /// R8.
        r8: u64,
        /// RAX.
        rax: u64,
        /// RCX.
        rcx: u64,
        /// RDX.
        rdx: u64,
        /// RSI.
        rsi: u64,
        /// RDI.
        rdi: u64,
        /// Error code of the trap; private to the hypervisor.
        error_code: u32,
        /// Vector of the trap; private to the hypervisor.
        entry_vector: u32,
        /// RIP.
        rip: u64,
        /// CS.
        cs: u16,
        /// Padding.
        _pad0: [u16; 1],
        /// The event mask at the time; RFLAGS.IF is its opposite.
        saved_upcall_mask: u8,
        /// Padding.
        _pad1: [u8; 3],
        /// RFLAGS.
        rflags: u64,
        /// RSP.
        rsp: u64,
        /// SS.
        ss: u16,
        /// Padding.
        _pad2: [u16; 3],
        /// ES.
        es: u16,
        /// Padding.
        _pad3: [u16; 3],
        /// DS.
        ds: u16,
        /// Padding.
        _pad4: [u16; 3],
        /// FS.
        fs: u16,
        /// Padding.
        _pad5: [u16; 3],
        /// GS.
        gs: u16,
        /// Padding.
        _pad6: [u16; 3],
    }
}
