//! The decoder: prefixes, opcode, and where needed ModRM, of the privileged instructions alone.

/// An instruction has at most so many bytes (SDM vol. 2, 2.3.11).
pub const MAX_LEN: usize = 15;

/// Mode of the code segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bits {
    /// 16-bit.
    B16,
    /// 32-bit.
    B32,
    /// 64-bit.
    B64,
}

/// A segment register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the registers' own names")]
pub enum Seg {
    Es,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
}

/// Where the port number comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// From the instruction.
    Imm(u8),
    /// From DX.
    Dx,
}

/// What the instruction does. `gpr` is a register number, 0 to 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "mnemonics and operands of the manual")]
pub enum Op {
    In(Port),
    Out(Port),
    Ins,
    Outs,
    Cli,
    Sti,
    Clts,
    ReadCr { cr: u8, gpr: u8 },
    WriteCr { cr: u8, gpr: u8 },
    ReadDr { dr: u8, gpr: u8 },
    WriteDr { dr: u8, gpr: u8 },
    Rdmsr,
    Wrmsr,
    Rdtsc,
    Rdtscp,
    Cpuid,
    Xsetbv,
    Wbinvd,
}

/// A decoded instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the instruction, 1 to 15.
    pub len: u8,
    /// What it does.
    pub op: Op,
    /// Bytes of the data operand of the I/O instructions: 1, 2 or 4.
    pub size: u8,
    /// Bytes of an address: 2, 4 or 8.
    pub address_size: u8,
    /// Segment override.
    pub seg: Option<Seg>,
    /// REP or REPNE in front.
    pub rep: bool,
}

/// Why there is no instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end within the instruction.
    NeedMore,
    /// Longer than 15 bytes.
    TooLong,
    /// Not an instruction of this decoder.
    Unknown,
    /// One of this decoder, with a LOCK prefix: invalid.
    Locked,
}

struct Bytes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bytes<'_> {
    fn next(&mut self) -> Result<u8, DecodeError> {
        if self.at >= MAX_LEN {
            return Err(DecodeError::TooLong);
        }
        let byte = *self.bytes.get(self.at).ok_or(DecodeError::NeedMore)?;
        self.at += 1;
        Ok(byte)
    }
}

#[derive(Default)]
struct Prefixes {
    operand: bool,
    address: bool,
    rep: bool,
    seg: Option<Seg>,
    rex: u8,
    lock: bool,
}

/// Decodes the instruction at the start of `bytes`.
///
/// # Errors
/// See [`DecodeError`]; with 15 bytes or more never `NeedMore`.
pub fn decode(bytes: &[u8], bits: Bits) -> Result<Decoded, DecodeError> {
    let mut bytes = Bytes { bytes, at: 0 };
    let (prefixes, opcode) = prefixes(&mut bytes, bits)?;
    let wide = if prefixes.operand == (bits == Bits::B16) { 4 } else { 2 };
    let (op, size) = match opcode {
        0x6c => (Op::Ins, 1),
        0x6d => (Op::Ins, wide),
        0x6e => (Op::Outs, 1),
        0x6f => (Op::Outs, wide),
        0xe4 => (Op::In(Port::Imm(bytes.next()?)), 1),
        0xe5 => (Op::In(Port::Imm(bytes.next()?)), wide),
        0xe6 => (Op::Out(Port::Imm(bytes.next()?)), 1),
        0xe7 => (Op::Out(Port::Imm(bytes.next()?)), wide),
        0xec => (Op::In(Port::Dx), 1),
        0xed => (Op::In(Port::Dx), wide),
        0xee => (Op::Out(Port::Dx), 1),
        0xef => (Op::Out(Port::Dx), wide),
        0xfa => (Op::Cli, 0),
        0xfb => (Op::Sti, 0),
        0x0f => (two_bytes(&mut bytes, prefixes.rex)?, 0),
        _ => return Err(DecodeError::Unknown),
    };
    if prefixes.lock {
        return Err(DecodeError::Locked);
    }
    let address_size = match (bits, prefixes.address) {
        (Bits::B64, false) => 8,
        (Bits::B64, true) | (Bits::B32, false) | (Bits::B16, true) => 4,
        (Bits::B32, true) | (Bits::B16, false) => 2,
    };
    Ok(Decoded { len: bytes.at as u8, op, size, address_size, seg: prefixes.seg, rep: prefixes.rep })
}

fn prefixes(bytes: &mut Bytes<'_>, bits: Bits) -> Result<(Prefixes, u8), DecodeError> {
    let mut found = Prefixes::default();
    loop {
        let byte = bytes.next()?;
        match byte {
            0x66 => found.operand = true,
            0x67 => found.address = true,
            0xf2 | 0xf3 => found.rep = true,
            0x26 => found.seg = Some(Seg::Es),
            0x2e => found.seg = Some(Seg::Cs),
            0x36 => found.seg = Some(Seg::Ss),
            0x3e => found.seg = Some(Seg::Ds),
            0x64 => found.seg = Some(Seg::Fs),
            0x65 => found.seg = Some(Seg::Gs),
            0xf0 => found.lock = true,
            // A REX prefix counts only if nothing stands between it and the opcode.
            0x40..=0x4f if bits == Bits::B64 => {
                found.rex = byte;
                continue;
            }
            _ => return Ok((found, byte)),
        }
        found.rex = 0;
    }
}

fn two_bytes(bytes: &mut Bytes<'_>, rex: u8) -> Result<Op, DecodeError> {
    Ok(match bytes.next()? {
        0x01 => match bytes.next()? {
            0xd1 => Op::Xsetbv,
            0xf9 => Op::Rdtscp,
            _ => return Err(DecodeError::Unknown),
        },
        0x06 => Op::Clts,
        0x09 => Op::Wbinvd,
        opcode @ 0x20..=0x23 => move_special(bytes.next()?, opcode, rex)?,
        0x30 => Op::Wrmsr,
        0x31 => Op::Rdtsc,
        0x32 => Op::Rdmsr,
        0xa2 => Op::Cpuid,
        _ => return Err(DecodeError::Unknown),
    })
}

/// MOV to and from control and debug registers; the mod field is ignored, as the CPU does.
fn move_special(modrm: u8, opcode: u8, rex: u8) -> Result<Op, DecodeError> {
    let special = (modrm >> 3 & 7) | (rex & 4) << 1;
    let gpr = (modrm & 7) | (rex & 1) << 3;
    match (opcode, special) {
        (0x20, 0 | 2..=4) => Ok(Op::ReadCr { cr: special, gpr }),
        (0x22, 0 | 2..=4) => Ok(Op::WriteCr { cr: special, gpr }),
        (0x21, 0..=7) => Ok(Op::ReadDr { dr: special, gpr }),
        (0x23, 0..=7) => Ok(Op::WriteDr { dr: special, gpr }),
        _ => Err(DecodeError::Unknown),
    }
}
