//! SGDT, SIDT, SLDT, STR and SMSW: instructions that tell any program where the system's tables are.
//!
//! With CR4.UMIP they raise #GP in ring 3. That keeps the addresses of the hypervisor's tables from guests, but programs exist that
//! use them and look at nothing but their success. So they are carried out, with answers that are the same for everybody: the
//! tables lie at the end of the hypervisor's part of the address space, there is no local table, and SMSW shows the
//! guest's CR0.

use super::execute::Stop;
use super::{Bits, Exception, GuestCpu, MAX_LEN, Seg};

/// What the tables' addresses are said to be.
const TABLES: u64 = 0xffff_87ff_fff0_0000;
/// Limit of the GDT: 15 pages, of which the hypervisor's is the last.
const GDT_LIMIT: u16 = 0xefff;
/// Limit of the IDT.
const IDT_LIMIT: u16 = 0xfff;
/// Selector of the task state.
const TASK: u16 = 0xe040;

/// One of the instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Gdt,
    Idt,
    Local,
    Task,
    MachineStatus,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at).filter(|_| self.at < MAX_LEN)?;
        self.at += 1;
        Some(byte)
    }

    /// A signed number of `size` bytes.
    fn signed(&mut self, size: u32) -> Option<u64> {
        let mut value = 0;
        for n in 0..size {
            value |= u64::from(self.byte()?) << (8 * n);
        }
        let unused = 64 - 8 * size;
        Some(((value << unused) as i64 >> unused) as u64)
    }
}

/// Where the answer goes.
enum Place {
    Register(u8),
    /// Offset in a segment; `true`: relative to the end of the instruction.
    Memory(Seg, u64, bool),
}

/// A decoded instruction.
pub(super) struct Decoded {
    op: Op,
    place: Place,
    /// Bytes of a register operand.
    width: u8,
    pub(super) len: u8,
}

/// Decodes one of the instructions; `None` if it is another one, or too long.
pub(super) fn decode<C: GuestCpu>(cpu: &C, bytes: &[u8], bits: Bits) -> Option<Decoded> {
    let mut reader = Reader { bytes, at: 0 };
    let (mut operand, mut address, mut rex, mut seg) = (false, false, 0, None);
    let opcode = loop {
        match reader.byte()? {
            0x66 => operand = true,
            0x67 => address = true,
            0xf2 | 0xf3 => {}
            0x26 => seg = Some(Seg::Es),
            0x2e => seg = Some(Seg::Cs),
            0x36 => seg = Some(Seg::Ss),
            0x3e => seg = Some(Seg::Ds),
            0x64 => seg = Some(Seg::Fs),
            0x65 => seg = Some(Seg::Gs),
            byte @ 0x40..=0x4f if bits == Bits::B64 => {
                rex = byte;
                continue;
            }
            0x0f => break reader.byte()?,
            _ => return None,
        }
        rex = 0;
    };
    let modrm = reader.byte()?;
    let op = match (opcode, modrm >> 3 & 7, modrm >> 6 == 3) {
        (0, 0, _) => Op::Local,
        (0, 1, _) => Op::Task,
        (1, 0, false) => Op::Gdt,
        (1, 1, false) => Op::Idt,
        (1, 4, _) => Op::MachineStatus,
        _ => return None,
    };
    let wide = match bits {
        Bits::B16 => operand,
        _ => !operand,
    };
    let width = if rex & 8 != 0 {
        8
    } else if wide {
        4
    } else {
        2
    };
    let size = match (bits, address) {
        (Bits::B64, false) => 8,
        (Bits::B64, true) | (Bits::B32, false) | (Bits::B16, true) => 4,
        _ => 2,
    };
    let place = match modrm >> 6 {
        3 => Place::Register(modrm & 7 | (rex & 1) << 3),
        _ if size == 2 => short_address(cpu, &mut reader, modrm, seg)?,
        _ => long_address(cpu, &mut reader, modrm, rex, seg, bits, size)?,
    };
    Some(Decoded { op, place, width, len: reader.at as u8 })
}

/// An address of 16 bits (SDM vol. 2, table 2-1).
fn short_address<C: GuestCpu>(
    cpu: &C,
    reader: &mut Reader<'_>,
    modrm: u8,
    seg: Option<Seg>,
) -> Option<Place> {
    const BX: u8 = 3;
    const BP: u8 = 5;
    const SI: u8 = 6;
    const DI: u8 = 7;
    let (mode, rm) = (modrm >> 6, modrm & 7);
    let registers: &[u8] = match rm {
        0 => &[BX, SI],
        1 => &[BX, DI],
        2 => &[BP, SI],
        3 => &[BP, DI],
        4 => &[SI],
        5 => &[DI],
        6 if mode == 0 => &[],
        6 => &[BP],
        _ => &[BX],
    };
    let displacement = match mode {
        0 if rm == 6 => reader.signed(2)?,
        0 => 0,
        1 => reader.signed(1)?,
        _ => reader.signed(2)?,
    };
    let offset = registers.iter().fold(displacement, |sum, register| sum.wrapping_add(cpu.gpr(*register)));
    let stack = registers.contains(&BP);
    Some(Place::Memory(seg.unwrap_or(if stack { Seg::Ss } else { Seg::Ds }), offset & 0xffff, false))
}

/// An address of 32 or 64 bits (SDM vol. 2, tables 2-2 and 2-3).
fn long_address<C: GuestCpu>(
    cpu: &C,
    reader: &mut Reader<'_>,
    modrm: u8,
    rex: u8,
    seg: Option<Seg>,
    bits: Bits,
    size: u8,
) -> Option<Place> {
    let (mode, mut base) = (modrm >> 6, modrm & 7);
    let (mut offset, mut relative) = (0_u64, false);
    if base == 4 {
        let sib = reader.byte()?;
        let index = sib >> 3 & 7 | (rex & 2) << 2;
        if index != 4 {
            offset = cpu.gpr(index) << (sib >> 6);
        }
        base = sib & 7;
    } else if mode == 0 && base == 5 {
        relative = bits == Bits::B64;
    }
    let absolute = mode == 0 && base == 5;
    let displacement = match mode {
        1 => reader.signed(1)?,
        2 => reader.signed(4)?,
        _ if absolute => reader.signed(4)?,
        _ => 0,
    };
    let register = base | (rex & 1) << 3;
    if !absolute {
        offset = offset.wrapping_add(cpu.gpr(register));
    }
    offset = offset.wrapping_add(displacement);
    if size == 4 {
        offset &= 0xffff_ffff;
    }
    let stack = !absolute && matches!(register, 4 | 5);
    Some(Place::Memory(seg.unwrap_or(if stack { Seg::Ss } else { Seg::Ds }), offset, relative))
}

/// Carries a decoded instruction out.
pub(super) fn execute<C: GuestCpu>(cpu: &mut C, insn: &Decoded, bits: Bits) -> Result<(), Stop> {
    let (word, limit) = match insn.op {
        Op::Gdt => (0, Some(GDT_LIMIT)),
        Op::Idt => (0, Some(IDT_LIMIT)),
        Op::Local => (0, None),
        Op::Task => (u64::from(TASK), None),
        Op::MachineStatus => (cpu.cr(0), None),
    };
    let (seg, offset) = match insn.place {
        Place::Register(register) => {
            let old = cpu.gpr(register);
            // Only SMSW shows more than 16 bits of its value.
            let value = if insn.op == Op::MachineStatus { word } else { word & 0xffff };
            cpu.set_gpr(
                register,
                match insn.width {
                    2 => old & !0xffff | value & 0xffff,
                    4 => value & 0xffff_ffff,
                    _ => value,
                },
            );
            return Ok(());
        }
        Place::Memory(seg, offset, false) => (seg, offset),
        Place::Memory(seg, offset, true) => {
            (seg, offset.wrapping_add(cpu.rip()).wrapping_add(u64::from(insn.len)))
        }
    };
    let mut bytes = [0; 10];
    let size = match limit {
        None => {
            bytes[..2].copy_from_slice(&(word as u16).to_le_bytes());
            2
        }
        Some(limit) => {
            bytes[..2].copy_from_slice(&limit.to_le_bytes());
            bytes[2..].copy_from_slice(&TABLES.to_le_bytes());
            if bits == Bits::B64 { 10 } else { 6 }
        }
    };
    let linear = cpu.linear(seg, offset, size, true)?;
    cpu.write(linear, &bytes[..usize::from(size)]).map_err(|fault: Exception| fault.into())
}
