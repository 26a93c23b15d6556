//! Carrying out a decoded instruction.

use super::{Bits, Decoded, Exception, GuestCpu, Loaded, Op, Outcome, Port, msr, string_io, xcr0};

const RAX: u8 = 0;
const RCX: u8 = 1;
const RDX: u8 = 2;
const RBX: u8 = 3;
pub(super) const FLAG_TF: u64 = 1 << 8;
const FLAG_RF: u64 = 1 << 16;
const CR0_TS: u64 = 1 << 3;
const CR4_TSD: u64 = 1 << 2;
const CR4_DE: u64 = 1 << 3;
const CR4_OSXSAVE: u64 = 1 << 18;

/// What an operation ends in when it does not simply complete.
pub(super) enum Stop {
    Fault(Exception),
    Again,
    /// An element of a repeated instruction is done, and RFLAGS.TF is set: #DB, with RIP still at the instruction.
    Step,
}

impl From<Exception> for Stop {
    fn from(exception: Exception) -> Self {
        Self::Fault(exception)
    }
}

type Result = core::result::Result<(), Stop>;

/// #GP(0) unless `ok`.
fn require(ok: bool) -> Result {
    if ok { Ok(()) } else { Err(Stop::Fault(Exception::GP)) }
}

/// Moves RIP past the instruction.
pub(super) fn advance<C: GuestCpu>(cpu: &mut C, len: u64, bits: Bits) -> Outcome {
    let next = cpu.rip().wrapping_add(len);
    cpu.set_rip(if bits == Bits::B64 { next } else { next & 0xffff_ffff });
    let flags = cpu.rflags();
    cpu.set_rflags(flags & !FLAG_RF);
    Outcome::Done { single_step: flags & FLAG_TF != 0 }
}

/// Executes a privileged instruction.
pub(super) fn execute<C: GuestCpu>(cpu: &mut C, insn: &Decoded, bits: Bits) -> Outcome {
    match finish(cpu, insn.len, bits, |cpu| operate(cpu, insn, bits)) {
        // As on upstream, a step over these is told with the next instruction's.
        Outcome::Done { .. } if matches!(insn.op, Op::In(_) | Op::Out(_) | Op::Cli | Op::Sti) => {
            Outcome::Done { single_step: false }
        }
        outcome => outcome,
    }
}

/// Carries out an instruction of `length` bytes and moves RIP past it.
pub(super) fn finish<C: GuestCpu>(
    cpu: &mut C,
    length: u8,
    bits: Bits,
    operation: impl FnOnce(&mut C) -> Result,
) -> Outcome {
    match operation(cpu) {
        Ok(()) => advance(cpu, u64::from(length), bits),
        Err(Stop::Fault(exception)) => Outcome::Fault(exception),
        Err(Stop::Again) => Outcome::Again,
        Err(Stop::Step) => Outcome::Done { single_step: true },
    }
}

fn operate<C: GuestCpu>(cpu: &mut C, insn: &Decoded, bits: Bits) -> Result {
    match insn.op {
        Op::In(port) => port_in(cpu, port, insn.size),
        Op::Out(port) => port_out(cpu, port, insn.size),
        Op::Ins => string_io::run(cpu, insn, bits, true),
        Op::Outs => string_io::run(cpu, insn, bits, false),
        // The guest's interrupt flag is its event mask in shared memory; IOPL decides whether this is an error.
        Op::Cli | Op::Sti => require(iopl_permits(cpu)),
        Op::Rdtsc => rdtsc(cpu),
        Op::Rdtscp => {
            rdtsc(cpu)?;
            let aux = u64::from(cpu.tsc_aux());
            cpu.set_gpr(RCX, aux);
            Ok(())
        }
        Op::Cpuid => {
            cpuid(cpu);
            Ok(())
        }
        Op::Xsetbv if cpu.cr(4) & CR4_OSXSAVE == 0 => Err(Exception::UD.into()),
        _ => {
            require(cpu.in_kernel())?;
            kernel_only(cpu, insn.op, bits)
        }
    }
}

fn kernel_only<C: GuestCpu>(cpu: &mut C, op: Op, bits: Bits) -> Result {
    match op {
        Op::ReadCr { cr, gpr } => {
            let value = cpu.cr(cr);
            cpu.set_gpr(gpr, operand(value, bits));
            Ok(())
        }
        Op::WriteCr { cr, gpr } => {
            let value = operand(cpu.gpr(gpr), bits);
            write_cr(cpu, cr, value)
        }
        Op::ReadDr { dr, gpr } => {
            let dr = debug_register(cpu, dr)?;
            let value = cpu.dr(dr);
            cpu.set_gpr(gpr, operand(value, bits));
            Ok(())
        }
        Op::WriteDr { dr, gpr } => {
            let dr = debug_register(cpu, dr)?;
            let value = operand(cpu.gpr(gpr), bits);
            require(cpu.set_dr(dr, value))
        }
        Op::Clts => {
            cpu.set_ts(false);
            Ok(())
        }
        Op::Rdmsr => {
            let number = cpu.gpr(RCX) as u32;
            let value = msr::read(cpu, number).ok_or(Exception::GP)?;
            set_pair(cpu, value);
            Ok(())
        }
        Op::Wrmsr => {
            let (number, value) = (cpu.gpr(RCX) as u32, pair(cpu));
            require(msr::write(cpu, number, value))
        }
        Op::Xsetbv => {
            let value = pair(cpu);
            require(
                cpu.gpr(RCX) as u32 == 0 && xcr0::valid(value, cpu.supported_xcr0()) && cpu.set_xcr0(value),
            )
        }
        Op::Wbinvd => {
            cpu.flush_caches();
            Ok(())
        }
        _ => Err(Exception::GP.into()),
    }
}

/// An operand of MOV to and from special registers: 64 bits in 64-bit mode, else 32.
fn operand(value: u64, bits: Bits) -> u64 {
    if bits == Bits::B64 { value } else { value & 0xffff_ffff }
}

fn pair<C: GuestCpu>(cpu: &C) -> u64 {
    cpu.gpr(RDX) << 32 | cpu.gpr(RAX) & 0xffff_ffff
}

fn set_pair<C: GuestCpu>(cpu: &mut C, value: u64) {
    cpu.set_gpr(RAX, value & 0xffff_ffff);
    cpu.set_gpr(RDX, value >> 32);
}

fn write_cr<C: GuestCpu>(cpu: &mut C, cr: u8, value: u64) -> Result {
    match cr {
        0 => {
            require((value ^ cpu.cr(0)) & !CR0_TS == 0)?;
            cpu.set_ts(value & CR0_TS != 0);
        }
        2 => cpu.set_cr2(value),
        3 => match cpu.set_cr3(value) {
            Loaded::Yes => {}
            Loaded::Again => return Err(Stop::Again),
            Loaded::Refused => return Err(Exception::GP.into()),
        },
        _ => cpu.set_cr4(value),
    }
    Ok(())
}

/// DR4 and DR5 are other names of DR6 and DR7, unless CR4.DE makes them invalid.
fn debug_register<C: GuestCpu>(cpu: &C, dr: u8) -> core::result::Result<u8, Exception> {
    match dr {
        4 | 5 if cpu.cr(4) & CR4_DE != 0 => Err(Exception::UD),
        4 | 5 => Ok(dr + 2),
        _ => Ok(dr),
    }
}

fn rdtsc<C: GuestCpu>(cpu: &mut C) -> Result {
    require(cpu.in_kernel() || cpu.cr(4) & CR4_TSD == 0)?;
    let value = cpu.tsc();
    set_pair(cpu, value);
    Ok(())
}

/// CPUID as the guest sees it.
pub(super) fn cpuid<C: GuestCpu>(cpu: &mut C) {
    let (leaf, subleaf) = (cpu.gpr(RAX) as u32, cpu.gpr(RCX) as u32);
    let values = cpu.cpuid(leaf, subleaf);
    for (register, value) in [RAX, RBX, RCX, RDX].into_iter().zip(values) {
        cpu.set_gpr(register, u64::from(value));
    }
}

/// Whether the virtual IOPL lets the present mode do I/O: a guest's kernel counts as ring 1.
fn iopl_permits<C: GuestCpu>(cpu: &C) -> bool {
    cpu.iopl() >= if cpu.in_kernel() { 1 } else { 3 }
}

/// #GP(0) unless IOPL or the bitmap permits all `size` ports.
pub(super) fn check_port<C: GuestCpu>(cpu: &mut C, port: u16, size: u8) -> Result {
    if iopl_permits(cpu) {
        return Ok(());
    }
    let all = (0..u16::from(size)).all(|i| port.checked_add(i).is_some_and(|port| cpu.bitmap_permits(port)));
    require(all)
}

fn port_number<C: GuestCpu>(cpu: &C, port: Port) -> u16 {
    match port {
        Port::Imm(number) => number.into(),
        Port::Dx => cpu.gpr(RDX) as u16,
    }
}

fn port_in<C: GuestCpu>(cpu: &mut C, port: Port, size: u8) -> Result {
    let number = port_number(cpu, port);
    check_port(cpu, number, size)?;
    let value = u64::from(cpu.port_in(number, size));
    let old = cpu.gpr(RAX);
    cpu.set_gpr(
        RAX,
        match size {
            1 => old & !0xff | value & 0xff,
            2 => old & !0xffff | value & 0xffff,
            _ => value,
        },
    );
    Ok(())
}

fn port_out<C: GuestCpu>(cpu: &mut C, port: Port, size: u8) -> Result {
    let number = port_number(cpu, port);
    check_port(cpu, number, size)?;
    let value = cpu.gpr(RAX) as u32 & (u32::MAX >> (32 - 8 * u32::from(size)));
    cpu.port_out(number, size, value);
    Ok(())
}
