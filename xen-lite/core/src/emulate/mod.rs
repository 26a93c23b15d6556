//! Privileged instructions of PV guests.
//!
//! A PV guest's kernel runs in ring 3, so instructions for ring 0 raise #GP there. Old habits of kernels make some of
//! them part of the ABI: reading and writing control and debug registers, MSRs and I/O ports. [`privileged`] reads the
//! instruction, checks what the CPU would have checked in a real kernel, and carries it out on the *virtual* state;
//! [`forced`] does CPUID behind the prefix `ud2; "xen"` (xen.h, `XEN_CPUID`), by which a guest asks for the leaves
//! meant for it.
//!
//! Rules:
//! - The decoder knows the privileged instructions and nothing else. What it does not know is not handled, and the
//!   guest gets its #GP (so `hlt`, `lgdt`, `invlpg`, … are the guest's mistakes, as upstream has it).
//! - The guest can change its code between the fault and our reading it, so the bytes are read once, decoded once, and
//!   only allow-listed operations follow, whatever the bytes are.
//! - In the guest's user mode only I/O (by the virtual IOPL or bitmap), RDTSC(P) and CPUID are possible.
//! - At most 15 bytes; a fetch stops at a page boundary unless the instruction goes on behind it.
//!
//! Everything here is pure: the vCPU and its rights are a [`GuestCpu`]. [`cpuid`], [`msr`] and [`ports`] hold the
//! policies: what a PV guest sees. [`guest`] binds it to domains and to the machine.

pub mod cpuid;
mod decode;
mod execute;
pub mod guest;
#[cfg(test)]
mod guest_tests;
pub mod msr;
pub mod ports;
pub mod segment;
mod string_io;
#[cfg(test)]
mod tests;
mod umip;
pub mod xcr0;

pub use decode::{Bits, DecodeError, Decoded, MAX_LEN, Op, Port, Seg, decode};

/// An exception for the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exception {
    /// 6 #UD, 13 #GP, 14 #PF.
    pub vector: u8,
    /// Error code; 0 where the vector has none.
    pub error_code: u32,
    /// The address of a page fault.
    pub cr2: u64,
}

impl Exception {
    /// #GP(0).
    pub const GP: Self = Self { vector: 13, error_code: 0, cr2: 0 };
    /// #UD.
    pub const UD: Self = Self { vector: 6, error_code: 0, cr2: 0 };

    /// #PF at `address` with an error code of the CPU's format.
    #[must_use]
    pub const fn page_fault(address: u64, error_code: u32) -> Self {
        Self { vector: 14, error_code, cr2: address }
    }
}

/// How an emulation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Carried out, or one element of a repeated instruction. If `single_step`, #DB follows, as RFLAGS.TF was set.
    Done {
        /// Whether to deliver #DB.
        single_step: bool,
    },
    /// A repeated instruction is not finished: registers show how far it is; run the guest, it faults again.
    Again,
    /// The guest gets this; nothing has changed but a repeated instruction's progress.
    Fault(Exception),
    /// Not an instruction for this module: the guest gets the exception that led here.
    NotHandled,
}

/// The code segment in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// Linear address of offset 0.
    pub base: u64,
    /// Highest offset.
    pub limit: u64,
    /// Mode.
    pub bits: Bits,
}

/// FS and GS base registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// FS.
    Fs,
    /// GS in use.
    Gs,
    /// GS of the other mode (`KERNEL_GS_BASE`).
    KernelGs,
}

/// What became of a new page-table root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loaded {
    /// In use.
    Yes,
    /// Validation is to go on: execute the instruction again.
    Again,
    /// It cannot be one.
    Refused,
}

/// The virtual CPU that executes the instruction, and what its domain may do.
///
/// Numbers of general registers are the CPU's encoding: 0 RAX, 1 RCX, 2 RDX, 3 RBX, 4 RSP, 5 RBP, 6 RSI, 7 RDI, 8 to 15.
pub trait GuestCpu {
    /// Whether this is the first domain, which sees a little more of the machine.
    fn first_domain(&self) -> bool;
    /// The code segment; `None` if the selector names no code segment.
    fn code(&mut self) -> Option<Code>;
    /// Reads code bytes at a linear address, all or nothing.
    fn fetch(&mut self, linear: u64, out: &mut [u8]) -> bool;
    /// Reads 16 code bytes at a linear address, all or nothing.
    fn fetch_block(&mut self, linear: u64) -> Option<[u8; 16]> {
        let mut bytes = [0; 16];
        self.fetch(linear, &mut bytes).then_some(bytes)
    }
    /// Reads 8 code bytes at a linear address, all or nothing.
    fn fetch_word(&mut self, linear: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.fetch(linear, &mut bytes).then_some(u64::from_le_bytes(bytes))
    }
    /// A general register.
    fn gpr(&self, number: u8) -> u64;
    /// Sets a general register.
    fn set_gpr(&mut self, number: u8, value: u64);
    /// RIP.
    fn rip(&self) -> u64;
    /// Sets RIP.
    fn set_rip(&mut self, value: u64);
    /// RFLAGS.
    fn rflags(&self) -> u64;
    /// Sets RFLAGS.
    fn set_rflags(&mut self, value: u64);
    /// Whether the guest's kernel runs, not its user mode.
    fn in_kernel(&self) -> bool;

    /// The virtual I/O privilege level.
    fn iopl(&self) -> u8;
    /// Whether the guest's bitmap permits a port to its user mode.
    fn bitmap_permits(&mut self, port: u16) -> bool;
    /// Reads a port with 1, 2 or 4 bytes, as far as the domain may; all ones else.
    fn port_in(&mut self, port: u16, size: u8) -> u32;
    /// Writes a port, as far as the domain may.
    fn port_out(&mut self, port: u16, size: u8, value: u32);
    /// Linear address of `offset` in a segment, checked for `size` bytes of access.
    ///
    /// # Errors
    /// The exception of a failed check.
    fn linear(&mut self, seg: Seg, offset: u64, size: u8, write: bool) -> Result<u64, Exception>;
    /// Reads guest memory.
    ///
    /// # Errors
    /// A page fault.
    fn read(&mut self, linear: u64, out: &mut [u8]) -> Result<(), Exception>;
    /// Writes guest memory.
    ///
    /// # Errors
    /// A page fault.
    fn write(&mut self, linear: u64, bytes: &[u8]) -> Result<(), Exception>;

    /// CR0, CR2, CR3 or CR4 as the guest sees it.
    fn cr(&self, number: u8) -> u64;
    /// Sets the task-switched flag.
    fn set_ts(&mut self, on: bool);
    /// Sets CR2.
    fn set_cr2(&mut self, value: u64);
    /// Loads a new page-table root.
    fn set_cr3(&mut self, value: u64) -> Loaded;
    /// Sets the bits of CR4 that a guest owns; others are left as they are.
    fn set_cr4(&mut self, value: u64);
    /// Debug register 0 to 3, 6 or 7.
    fn dr(&self, number: u8) -> u64;
    /// Sets a debug register; false if the value is refused.
    fn set_dr(&mut self, number: u8, value: u64) -> bool;
    /// Sets XCR0, which was checked by [`xcr0::valid`]; false if the domain has no XSAVE.
    fn set_xcr0(&mut self, value: u64) -> bool;
    /// State components that the guest may enable.
    fn supported_xcr0(&self) -> u64;

    /// FS or GS base.
    fn base(&self, base: Base) -> u64;
    /// Sets FS or GS base to a canonical value.
    fn set_base(&mut self, base: Base, value: u64);
    /// The guest's time stamp counter.
    fn tsc(&mut self) -> u64;
    /// TSC_AUX.
    fn tsc_aux(&self) -> u32;
    /// Sets TSC_AUX.
    fn set_tsc_aux(&mut self, value: u32);
    /// `IA32_SPEC_CTRL`.
    fn spec_ctrl(&self) -> u64 {
        0
    }
    /// Sets `IA32_SPEC_CTRL` to bits that were checked.
    fn set_spec_ctrl(&mut self, _: u64) {}
    /// Carries out commands of `IA32_PRED_CMD` that were checked.
    fn forget_branches(&mut self, _: u64) {}
    /// Number of the vCPU.
    fn vcpu_id(&self) -> u32;
    /// Makes a page of the guest a hypercall page (MSR 0x40000000); false if it is not the guest's.
    fn fill_hypercall_page(&mut self, gfn: u64) -> bool;
    /// CPUID as the guest sees it: EAX, EBX, ECX, EDX.
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> [u32; 4];
    /// Writes caches back, if the domain may ask for that; else nothing.
    fn flush_caches(&mut self);
}

/// The forced-emulation prefix and CPUID: `ud2; .ascii "xen"; cpuid`.
pub const FORCED_CPUID: [u8; 7] = [0x0f, 0x0b, b'x', b'e', b'n', 0x0f, 0xa2];

/// The same as the lower bytes of a word.
pub const FORCED_CPUID_WORD: u64 = {
    let [a, b, c, d, e, f, g] = FORCED_CPUID;
    u64::from_le_bytes([a, b, c, d, e, f, g, 0])
};

/// Emulates the instruction at RIP after a #GP with error code 0.
pub fn privileged<C: GuestCpu>(cpu: &mut C) -> Outcome {
    let Some(code) = cpu.code() else { return Outcome::NotHandled };
    let rip = cpu.rip();
    let linear = code.base.wrapping_add(rip);
    if linear % 4096 <= 4096 - 16 {
        // The usual case: two loads. What is behind the 15th byte is not looked at.
        let Some(bytes) = cpu.fetch_block(linear) else { return Outcome::NotHandled };
        let decoded = decode(&bytes[..MAX_LEN], code.bits);
        return carry_out(cpu, decoded, &bytes[..MAX_LEN], &code);
    }
    let mut bytes = [0; MAX_LEN];
    let in_page = (4096 - (linear & 4095)).min(MAX_LEN as u64) as usize;
    if !cpu.fetch(linear, &mut bytes[..in_page]) {
        return Outcome::NotHandled;
    }
    let decoded = match decode(&bytes[..in_page], code.bits) {
        Err(DecodeError::NeedMore) if in_page < MAX_LEN => {
            let rest = linear.wrapping_add(in_page as u64);
            if !cpu.fetch(rest, &mut bytes[in_page..]) {
                return Outcome::Fault(Exception::page_fault(rest, 1 << 4));
            }
            decode(&bytes, code.bits)
        }
        result => result,
    };
    carry_out(cpu, decoded, &bytes, &code)
}

fn carry_out<C: GuestCpu>(
    cpu: &mut C,
    decoded: Result<Decoded, DecodeError>,
    bytes: &[u8],
    code: &Code,
) -> Outcome {
    let rip = cpu.rip();
    let fits = |length: u8| rip.checked_add(u64::from(length) - 1).is_some_and(|last| last <= code.limit);
    match decoded {
        // The code may not be what the CPU found there, and so longer than the segment lets it be.
        Ok(decoded) if !fits(decoded.len) => Outcome::NotHandled,
        Ok(decoded) => execute::execute(cpu, &decoded, code.bits),
        Err(DecodeError::Locked) => Outcome::Fault(Exception::UD),
        Err(_) => match umip::decode(cpu, bytes, code.bits) {
            Some(insn) if fits(insn.len) => {
                execute::finish(cpu, insn.len, code.bits, |cpu| umip::execute(cpu, &insn, code.bits))
            }
            _ => Outcome::NotHandled,
        },
    }
}

/// Emulates the forced-emulation prefix at RIP after a #UD.
pub fn forced<C: GuestCpu>(cpu: &mut C) -> Outcome {
    let Some(code) = cpu.code() else { return Outcome::NotHandled };
    let mut bytes = [0; FORCED_CPUID.len()];
    let linear = code.base.wrapping_add(cpu.rip());
    if linear % 4096 <= 4096 - 8 {
        // Within a page, one word is as good as bytes, and a load of its own.
        const MASK: u64 = u64::MAX >> 8;
        let found = cpu.fetch_word(linear).is_some_and(|word| word & MASK == FORCED_CPUID_WORD);
        if !found {
            return Outcome::NotHandled;
        }
        execute::cpuid(cpu);
        return execute::advance(cpu, FORCED_CPUID.len() as u64, code.bits);
    }
    // Most #UDs are not ours: look at two bytes before the rest, which may lie in a page that is not there.
    if !cpu.fetch(linear, &mut bytes[..2]) || bytes[..2] != FORCED_CPUID[..2] {
        return Outcome::NotHandled;
    }
    if !cpu.fetch(linear, &mut bytes) || bytes != FORCED_CPUID {
        return Outcome::NotHandled;
    }
    execute::cpuid(cpu);
    execute::advance(cpu, bytes.len() as u64, code.bits)
}
