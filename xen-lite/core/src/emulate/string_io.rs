//! INS and OUTS, with and without REP.
//!
//! Each element is complete before the next begins: memory, then RSI or RDI, then RCX. So a fault in the middle leaves
//! registers that continue at the faulting element. One exit handles at most [`BATCH`] elements; then the guest runs and
//! faults again, so no guest can keep the hypervisor busy with a long count. With RFLAGS.TF, each element is a step.

use super::execute::{FLAG_TF, Stop, check_port};
use super::{Bits, Decoded, Exception, GuestCpu, Seg};

/// Elements of one exit.
pub(super) const BATCH: u32 = 64;

const RCX: u8 = 1;
const RDX: u8 = 2;
const RSI: u8 = 6;
const RDI: u8 = 7;
const FLAG_DF: u64 = 1 << 10;

/// The part of a register that an address size uses.
fn mask(address_size: u8) -> u64 {
    u64::MAX >> (64 - 8 * u32::from(address_size))
}

/// Replaces that part; a 32-bit result clears the upper half.
fn merge(old: u64, value: u64, address_size: u8) -> u64 {
    match address_size {
        2 => old & !0xffff | value & 0xffff,
        4 => value & 0xffff_ffff,
        _ => value,
    }
}

/// Runs INS (`input`) or OUTS.
pub(super) fn run<C: GuestCpu>(cpu: &mut C, insn: &Decoded, bits: Bits, input: bool) -> Result<(), Stop> {
    let port = cpu.gpr(RDX) as u16;
    check_port(cpu, port, insn.size)?;
    for _ in 0..BATCH {
        if insn.rep && cpu.gpr(RCX) & mask(insn.address_size) == 0 {
            return Ok(());
        }
        element(cpu, insn, bits, port, input)?;
        if !insn.rep {
            return Ok(());
        }
        let count = cpu.gpr(RCX);
        cpu.set_gpr(RCX, merge(count, count.wrapping_sub(1), insn.address_size));
        if cpu.rflags() & FLAG_TF != 0 && cpu.gpr(RCX) & mask(insn.address_size) != 0 {
            return Err(Stop::Step);
        }
    }
    if cpu.gpr(RCX) & mask(insn.address_size) == 0 { Ok(()) } else { Err(Stop::Again) }
}

fn element<C: GuestCpu>(cpu: &mut C, insn: &Decoded, bits: Bits, port: u16, input: bool) -> Result<(), Stop> {
    let (pointer, seg) = if input { (RDI, Seg::Es) } else { (RSI, insn.seg.unwrap_or(Seg::Ds)) };
    let at = cpu.gpr(pointer);
    let linear = cpu.linear(seg, at & mask(insn.address_size), insn.size, input)?;
    let mut data = [0; 4];
    let part = &mut data[..usize::from(insn.size)];
    if input {
        // Memory first, or a fault would lose what the device gave. It is a fault of the write.
        cpu.read(linear, part).map_err(|fault| Exception { error_code: 1 << 1, ..fault })?;
        cpu.write(linear, part)?;
        data = cpu.port_in(port, insn.size).to_le_bytes();
        cpu.write(linear, &data[..usize::from(insn.size)])?;
    } else {
        cpu.read(linear, part)?;
        cpu.port_out(port, insn.size, u32::from_le_bytes(data));
    }
    let step = u64::from(insn.size);
    let step = if cpu.rflags() & FLAG_DF == 0 { step } else { step.wrapping_neg() };
    let next = merge(at, at.wrapping_add(step), insn.address_size);
    // Outside of 64-bit mode the upper half is nobody's, and stays.
    let upper = if bits == Bits::B64 { 0 } else { at & !0xffff_ffff };
    cpu.set_gpr(pointer, next | upper);
    Ok(())
}
