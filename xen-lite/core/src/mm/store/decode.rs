//! The instructions with which kernels write page-table entries.

use super::shift::{Shift, condition};
use crate::domain::Registers;

pub(super) const CF: u64 = 1 << 0;
pub(super) const PF: u64 = 1 << 2;
const AF: u64 = 1 << 4;
pub(super) const ZF: u64 = 1 << 6;
pub(super) const SF: u64 = 1 << 7;
pub(super) const OF: u64 = 1 << 11;

/// What is done to the memory operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Mov,
    Xchg,
    Xadd,
    CmpXchg,
    Add,
    Or,
    And,
    Sub,
    Xor,
    BitSet,
    BitReset,
    BitComplement,
    AddCarry,
    SubBorrow,
    Increment,
    Decrement,
    Not,
    Negate,
    /// Shifts and rotations, by the number of bits that is the source.
    Shift(Shift),
    /// `set`*cc*, of the condition that is the source.
    SetCondition,
    /// `pop`; the value was read from the guest's stack before.
    Pop,
    /// `cmpxchg8b`.
    CmpXchgPair,
    /// `movbe`.
    MovSwapped,
    /// `stos`.
    Fill,
    /// `movs`; the value was read from the guest's memory before.
    Copy,
}

impl Action {
    /// Whether the prefix for a locked access is allowed.
    fn may_be_locked(self) -> bool {
        use Action::{Mov, MovSwapped, Pop, SetCondition, Shift};
        !matches!(self, Mov | MovSwapped | Pop | SetCondition | Shift(_))
    }

    /// Whether the address is in RDI, which moves on, with RCX as count where the instruction is repeated.
    pub fn is_string(self) -> bool {
        matches!(self, Action::Fill | Action::Copy)
    }
}

/// The other operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A register by its number, or one of AH to BH (`High`).
    Register(u8),
    High(u8),
    Immediate(u64),
}

/// A decoded instruction with a memory destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub action: Action,
    pub source: Source,
    /// Bytes of the operands: 1, 2, 4 or 8.
    pub width: u32,
    /// Bytes of the instruction.
    pub length: usize,
    /// With a repeat prefix.
    pub repeated: bool,
}

struct Bytes<'a> {
    all: &'a [u8],
    at: usize,
}

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = *self.all.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.at += count;
        (self.at <= self.all.len()).then_some(())
    }

    /// A little-endian immediate of `size` bytes, sign-extended.
    fn immediate(&mut self, size: u32) -> Option<u64> {
        let mut value = 0u64;
        for n in 0..size {
            value |= u64::from(self.next()?) << (8 * n);
        }
        let unused = 64 - 8 * size;
        Some(((value << unused) as i64 >> unused) as u64)
    }

    /// Passes SIB and displacement of a memory operand; `None` for a register operand.
    fn skip_address(&mut self, modrm: u8) -> Option<()> {
        let (mode, rm) = (modrm >> 6, modrm & 7);
        let mut displacement = [0, 1, 4].get(usize::from(mode)).copied()?;
        if rm == 4 {
            let sib = self.next()?;
            if mode == 0 && sib & 7 == 5 {
                displacement = 4;
            }
        } else if mode == 0 && rm == 5 {
            displacement = 4;
        }
        self.skip(displacement)
    }
}

struct Prefixes {
    rex: u8,
    operand_16: bool,
    lock: bool,
    repeat: bool,
    /// FS or GS, whose base the address includes.
    based: bool,
}

fn prefixes(bytes: &mut Bytes<'_>) -> Option<(Prefixes, u8)> {
    let mut found = Prefixes { rex: 0, operand_16: false, lock: false, repeat: false, based: false };
    loop {
        let byte = bytes.next()?;
        match byte {
            0x66 => found.operand_16 = true,
            0xf0 => found.lock = true,
            0xf3 => found.repeat = true,
            // Segment overrides: the address is known from the fault.
            0x26 | 0x2e | 0x36 | 0x3e => {}
            0x64 | 0x65 => found.based = true,
            0x40..=0x4f => {
                found.rex = byte;
                continue;
            }
            _ => return Some((found, byte)),
        }
        // One that is not the last prefix counts for nothing.
        found.rex = 0;
    }
}

/// Decodes one instruction; `None` for those that are not known, or have no memory destination.
pub fn decode(all: &[u8]) -> Option<Instruction> {
    let mut bytes = Bytes { all, at: 0 };
    let (prefix, mut opcode) = prefixes(&mut bytes)?;
    let two_bytes = opcode == 0x0f;
    if let 0xa4 | 0xa5 | 0xaa | 0xab = opcode {
        return decode_string(&prefix, opcode, bytes.at);
    }
    if prefix.repeat {
        return None;
    }
    if two_bytes {
        opcode = bytes.next()?;
    }
    let swapped = two_bytes && opcode == 0x38;
    if swapped && bytes.next()? != 0xf1 {
        return None;
    }
    let modrm = bytes.next()?;
    bytes.skip_address(modrm)?;
    let group = modrm >> 3 & 7;
    let pair = two_bytes && opcode == 0xc7;
    let pop = !two_bytes && opcode == 0x8f;
    let width = match prefix.wide() {
        // Of 16 bytes, the other form is no entry.
        8 if pair => return None,
        _ if pair => 8,
        _ if two_bytes && opcode & 0xf0 == 0x90 => 1,
        // On the stack, 32 bits are not to be had.
        2 if pop => 2,
        _ if pop => 8,
        wide if swapped || !is_byte_form(two_bytes, opcode) => wide,
        _ => 1,
    };
    let number = group | (prefix.rex & 4) << 1;
    let register = if width == 1 && prefix.rex == 0 && group >= 4 {
        Source::High(group - 4)
    } else {
        Source::Register(number)
    };
    let (action, source) = if two_bytes {
        match opcode {
            0xb0 | 0xb1 => (Action::CmpXchg, register),
            0xc0 | 0xc1 => (Action::Xadd, register),
            0xc3 if width >= 4 => (Action::Mov, register),
            0xc7 if group == 1 => (Action::CmpXchgPair, Source::Immediate(0)),
            0x38 if width > 1 => (Action::MovSwapped, register),
            0xab => (Action::BitSet, register),
            0xb3 => (Action::BitReset, register),
            0xbb => (Action::BitComplement, register),
            0x90..=0x9f => (Action::SetCondition, Source::Immediate(u64::from(opcode & 15))),
            0xba => (bit_action(group)?, Source::Immediate(bytes.immediate(1)? & (8 * u64::from(width) - 1))),
            _ => return None,
        }
    } else {
        match opcode {
            0x88 | 0x89 => (Action::Mov, register),
            0x8f if group == 0 => (Action::Pop, Source::Immediate(0)),
            0xc0 | 0xc1 => (Action::Shift(Shift::new(group)), Source::Immediate(bytes.immediate(1)?)),
            0xd0 | 0xd1 => (Action::Shift(Shift::new(group)), Source::Immediate(1)),
            0xd2 | 0xd3 => (Action::Shift(Shift::new(group)), Source::Register(1)),
            0x86 | 0x87 => (Action::Xchg, register),
            0xc6 | 0xc7 if group == 0 => (Action::Mov, Source::Immediate(bytes.immediate(width.min(4))?)),
            0x80 | 0x83 => (arithmetic(group)?, Source::Immediate(bytes.immediate(1)?)),
            0xfe | 0xff => (single(0xfe, group)?, Source::Immediate(1)),
            0xf6 | 0xf7 => (single(0xf6, group)?, Source::Immediate(0)),
            0x81 => (arithmetic(group)?, Source::Immediate(bytes.immediate(width.min(4))?)),
            0x00..=0x3f if opcode & 6 == 0 => (arithmetic(opcode >> 3)?, register),
            _ => return None,
        }
    };
    if prefix.lock && !action.may_be_locked() {
        return None;
    }
    Some(Instruction { action, source, width, length: bytes.at, repeated: false })
}

impl Prefixes {
    /// Bytes of an operand that is not of one byte.
    fn wide(&self) -> u32 {
        match self {
            Prefixes { rex, .. } if rex & 8 != 0 => 8,
            Prefixes { operand_16: true, .. } => 2,
            _ => 4,
        }
    }
}

fn decode_string(prefix: &Prefixes, opcode: u8, length: usize) -> Option<Instruction> {
    if prefix.lock || prefix.based {
        return None;
    }
    let width = if opcode & 1 == 0 { 1 } else { prefix.wide() };
    let action = if opcode < 0xaa { Action::Copy } else { Action::Fill };
    Some(Instruction { action, source: Source::Register(0), width, length, repeated: prefix.repeat })
}

/// Instructions with one operand, by opcode and group.
fn single(opcode: u8, group: u8) -> Option<Action> {
    match (opcode, group) {
        (0xfe, 0) => Some(Action::Increment),
        (0xfe, 1) => Some(Action::Decrement),
        (0xf6, 2) => Some(Action::Not),
        (0xf6, 3) => Some(Action::Negate),
        _ => None,
    }
}

fn is_byte_form(two_bytes: bool, opcode: u8) -> bool {
    opcode & 1 == 0 && !(two_bytes && opcode == 0xba)
}

fn arithmetic(group: u8) -> Option<Action> {
    match group {
        0 => Some(Action::Add),
        1 => Some(Action::Or),
        2 => Some(Action::AddCarry),
        3 => Some(Action::SubBorrow),
        4 => Some(Action::And),
        5 => Some(Action::Sub),
        6 => Some(Action::Xor),
        _ => None,
    }
}

fn bit_action(group: u8) -> Option<Action> {
    match group {
        5 => Some(Action::BitSet),
        6 => Some(Action::BitReset),
        7 => Some(Action::BitComplement),
        _ => None,
    }
}

impl Instruction {
    fn mask(&self) -> u64 {
        u64::MAX >> (64 - 8 * self.width)
    }

    fn source_value(&self, regs: &mut Registers) -> u64 {
        match self.source {
            Source::Register(number) => *register(regs, number) & self.mask(),
            Source::High(number) => *register(regs, number) >> 8 & 0xff,
            Source::Immediate(value) => value & self.mask(),
        }
    }

    fn set_source(&self, regs: &mut Registers, value: u64) {
        match self.source {
            Source::Register(number) => set(register(regs, number), self.width, value),
            Source::High(number) => {
                let slot = register(regs, number);
                *slot = *slot & !0xff00 | (value & 0xff) << 8;
            }
            Source::Immediate(_) => {}
        }
    }

    /// Computes the new value of the memory operand, and changes registers and flags as the instruction does.
    pub fn execute(&self, memory: u64, regs: &mut Registers) -> u64 {
        let source = self.source_value(regs);
        match self.action {
            Action::Mov => source,
            Action::Xchg => {
                self.set_source(regs, memory);
                source
            }
            Action::Xadd => {
                let sum = self.add(memory, source, regs);
                self.set_source(regs, memory);
                sum
            }
            Action::CmpXchg => self.compare_exchange(memory, source, regs),
            Action::Add => self.add(memory, source, regs),
            Action::Sub => self.subtract(memory, source, regs),
            Action::Or => self.logic(memory | source, regs),
            Action::And => self.logic(memory & source, regs),
            Action::Xor => self.logic(memory ^ source, regs),
            Action::BitSet | Action::BitReset | Action::BitComplement => self.bit(memory, source, regs),
            Action::AddCarry => self.add_with(memory, source, regs.rflags & CF, regs),
            Action::SubBorrow => self.subtract_with(memory, source, regs.rflags & CF, regs),
            Action::Increment => self.keep_carry(regs, |regs| self.add(memory, 1, regs)),
            Action::Decrement => self.keep_carry(regs, |regs| self.subtract(memory, 1, regs)),
            Action::Not => !memory & self.mask(),
            Action::Negate => self.subtract(0, memory, regs),
            Action::CmpXchgPair => compare_exchange_pair(memory, regs),
            Action::MovSwapped => source.swap_bytes() >> (64 - 8 * self.width),
            Action::Fill => source,
            Action::Copy | Action::Pop => memory,
            Action::SetCondition => u64::from(condition(source as u8, regs.rflags)),
            Action::Shift(shift) => self.shift(shift, memory, source, regs),
        }
    }

    /// The bit instructions. A register may name a bit beyond the operand; the address of the fault has taken that into account.
    fn bit(&self, memory: u64, source: u64, regs: &mut Registers) -> u64 {
        let number = source % (8 * u64::from(self.width));
        regs.rflags = regs.rflags & !CF | memory >> number & 1;
        match self.action {
            Action::BitSet => memory | 1 << number,
            Action::BitReset => memory & !(1 << number),
            _ => memory ^ 1 << number,
        }
    }

    fn shift(&self, shift: Shift, memory: u64, count: u64, regs: &mut Registers) -> u64 {
        let carry = regs.rflags & CF != 0;
        let Some((result, carry, overflow)) = shift.apply(memory, count, carry, self.width) else {
            return memory;
        };
        let kept = regs.rflags & !(CF | OF);
        self.flags(result, carry, overflow, false, regs);
        if shift.is_rotation() {
            regs.rflags = kept | regs.rflags & (CF | OF);
        }
        result
    }

    fn keep_carry(&self, regs: &mut Registers, action: impl FnOnce(&mut Registers) -> u64) -> u64 {
        let carry = regs.rflags & CF;
        let result = action(regs);
        regs.rflags = regs.rflags & !CF | carry;
        result
    }

    fn compare_exchange(&self, memory: u64, source: u64, regs: &mut Registers) -> u64 {
        let accumulator = regs.rax & self.mask();
        self.subtract(accumulator, memory, regs);
        if accumulator == memory {
            return source;
        }
        set(&mut regs.rax, self.width, memory);
        memory
    }

    fn add(&self, a: u64, b: u64, regs: &mut Registers) -> u64 {
        self.add_with(a, b, 0, regs)
    }

    fn add_with(&self, a: u64, b: u64, carry: u64, regs: &mut Registers) -> u64 {
        let sum = a.wrapping_add(b).wrapping_add(carry) & self.mask();
        let carries = sum < a || (carry != 0 && sum == a);
        let overflow = (a ^ sum) & (b ^ sum) & self.sign() != 0;
        self.flags(sum, carries, overflow, (a ^ b ^ sum) & 0x10 != 0, regs);
        sum
    }

    fn subtract(&self, a: u64, b: u64, regs: &mut Registers) -> u64 {
        self.subtract_with(a, b, 0, regs)
    }

    fn subtract_with(&self, a: u64, b: u64, borrow: u64, regs: &mut Registers) -> u64 {
        let difference = a.wrapping_sub(b).wrapping_sub(borrow) & self.mask();
        let borrows = a < b || (borrow != 0 && a == b);
        let overflow = (a ^ b) & (a ^ difference) & self.sign() != 0;
        self.flags(difference, borrows, overflow, (a ^ b ^ difference) & 0x10 != 0, regs);
        difference
    }

    fn logic(&self, result: u64, regs: &mut Registers) -> u64 {
        self.flags(result, false, false, false, regs);
        result
    }

    fn sign(&self) -> u64 {
        1 << (8 * self.width - 1)
    }

    fn flags(&self, result: u64, carry: bool, overflow: bool, half: bool, regs: &mut Registers) {
        let parity = (result as u8).count_ones().is_multiple_of(2);
        let set = [
            (CF, carry),
            (PF, parity),
            (AF, half),
            (ZF, result == 0),
            (SF, result & self.sign() != 0),
            (OF, overflow),
        ];
        for (flag, on) in set {
            regs.rflags = if on { regs.rflags | flag } else { regs.rflags & !flag };
        }
    }
}

/// `cmpxchg8b`: EDX:EAX against the entry, ECX:EBX into it.
fn compare_exchange_pair(memory: u64, regs: &mut Registers) -> u64 {
    const LOW: u64 = 0xffff_ffff;
    if memory == regs.rdx << 32 | regs.rax & LOW {
        regs.rflags |= ZF;
        return regs.rcx << 32 | regs.rbx & LOW;
    }
    regs.rflags &= !ZF;
    (regs.rax, regs.rdx) = (memory & LOW, memory >> 32);
    memory
}

/// Writes a register as the CPU does: 32-bit writes clear the upper half, smaller ones keep the rest.
fn set(register: &mut u64, width: u32, value: u64) {
    *register = match width {
        8 => value,
        4 => value & 0xffff_ffff,
        2 => *register & !0xffff | value & 0xffff,
        _ => *register & !0xff | value & 0xff,
    };
}

fn register(regs: &mut Registers, number: u8) -> &mut u64 {
    match number & 15 {
        0 => &mut regs.rax,
        1 => &mut regs.rcx,
        2 => &mut regs.rdx,
        3 => &mut regs.rbx,
        4 => &mut regs.rsp,
        5 => &mut regs.rbp,
        6 => &mut regs.rsi,
        7 => &mut regs.rdi,
        8 => &mut regs.r8,
        9 => &mut regs.r9,
        10 => &mut regs.r10,
        11 => &mut regs.r11,
        12 => &mut regs.r12,
        13 => &mut regs.r13,
        14 => &mut regs.r14,
        _ => &mut regs.r15,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], action: Action, source: Source, width: u32) {
        let found = decode(bytes);
        assert_eq!(
            found,
            Some(Instruction { action, source, width, length: bytes.len(), repeated: false }),
            "{bytes:x?}"
        );
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None, "cut short: {bytes:x?}");
    }

    #[test]
    fn what_linux_uses() {
        check(&[0x48, 0x89, 0x37], Action::Mov, Source::Register(6), 8);
        check(&[0x48, 0x87, 0x03], Action::Xchg, Source::Register(0), 8);
        check(&[0xf0, 0x48, 0x0f, 0xb1, 0x17], Action::CmpXchg, Source::Register(2), 8);
        check(&[0xf0, 0x80, 0x27, 0xfd], Action::And, Source::Immediate(0xffff_ffff_ffff_fffd), 1);
        check(&[0xf0, 0x48, 0x0f, 0xba, 0x33, 0x05], Action::BitReset, Source::Immediate(5), 8);
        check(&[0x48, 0xc7, 0x00, 0, 0, 0, 0], Action::Mov, Source::Immediate(0), 8);
        check(&[0x4d, 0x89, 0x44, 0xd5, 0x10], Action::Mov, Source::Register(8), 8);
        check(&[0x89, 0x05, 1, 2, 3, 4], Action::Mov, Source::Register(0), 4);
        check(&[0x66, 0x81, 0x0c, 0x25, 0, 0, 0, 0, 0x34, 0x12], Action::Or, Source::Immediate(0x1234), 2);
        check(&[0x88, 0x20], Action::Mov, Source::High(0), 1);
        check(&[0x48, 0x0f, 0xc3, 0x37], Action::Mov, Source::Register(6), 8);
        check(&[0x48, 0x0f, 0xab, 0x37], Action::BitSet, Source::Register(6), 8);
        check(&[0x48, 0xff, 0x07], Action::Increment, Source::Immediate(1), 8);
        check(&[0x48, 0xf7, 0x17], Action::Not, Source::Immediate(0), 8);
        check(&[0xf0, 0x0f, 0xc7, 0x0f], Action::CmpXchgPair, Source::Immediate(0), 8);
        check(&[0x48, 0x0f, 0x38, 0xf1, 0x37], Action::MovSwapped, Source::Register(6), 8);
        check(&[0x48, 0xab], Action::Fill, Source::Register(0), 8);
    }

    #[test]
    fn carries_and_borrows() {
        let mut regs = Registers { rsi: 2, rflags: CF, ..Registers::default() };
        assert_eq!(decode(&[0x48, 0x11, 0x37]).unwrap().execute(0x10, &mut regs), 0x13);
        assert_eq!(regs.rflags & CF, 0);
        regs.rflags = CF;
        assert_eq!(decode(&[0x48, 0x19, 0x37]).unwrap().execute(2, &mut regs), u64::MAX);
        assert_ne!(regs.rflags & CF, 0);
        assert_eq!(decode(&[0x48, 0xff, 0x07]).unwrap().execute(u64::MAX, &mut regs), 0);
        assert_eq!(regs.rflags & (CF | ZF), CF | ZF, "increment keeps the carry");
        assert_eq!(decode(&[0x48, 0xf7, 0x1f]).unwrap().execute(0x10, &mut regs), 0x10u64.wrapping_neg());
        let mut regs = Registers { rsi: u64::MAX, rflags: CF, ..Registers::default() };
        assert_eq!(decode(&[0x48, 0x11, 0x37]).unwrap().execute(7, &mut regs), 7);
        assert_ne!(regs.rflags & CF, 0);
    }

    #[test]
    fn pairs_and_swaps() {
        let mut regs = Registers { rax: 1, rdx: 2, rbx: 3, rcx: 4, rsi: 0x1234, ..Registers::default() };
        let pair = decode(&[0xf0, 0x0f, 0xc7, 0x0f]).unwrap();
        assert_eq!(pair.execute(2 << 32 | 1, &mut regs), 4 << 32 | 3);
        assert_ne!(regs.rflags & ZF, 0);
        assert_eq!(pair.execute(7, &mut regs), 7);
        assert_eq!((regs.rax, regs.rdx, regs.rflags & ZF), (7, 0, 0));
        assert_eq!(decode(&[0x66, 0x0f, 0x38, 0xf1, 0x37]).unwrap().execute(0, &mut regs), 0x3412);
        let set = decode(&[0x48, 0x0f, 0xab, 0x37]).unwrap();
        regs.rsi = 64 * 5 + 6;
        assert_eq!(set.execute(0, &mut regs), 1 << 6);
    }

    #[test]
    fn registers_and_reads_are_not_stores() {
        assert_eq!(
            decode(&[0x48, 0x66, 0x89, 0x37]).map(|found| found.width),
            Some(2),
            "a REX that is not last"
        );
        assert_eq!(decode(&[0x66, 0x48, 0x89, 0x37]).map(|found| found.width), Some(8));
        assert_eq!(decode(&[0x8f, 0x07]).map(|found| (found.action, found.width)), Some((Action::Pop, 8)));
        assert_eq!(
            decode(&[0x66, 0x8f, 0x07]).map(|found| (found.action, found.width)),
            Some((Action::Pop, 2))
        );
        for locked in [&[0xf0, 0x8f, 0x07][..], &[0xf0, 0x0f, 0x94, 0x07], &[0xf0, 0x48, 0xd1, 0x27]] {
            assert_eq!(decode(locked), None, "{locked:x?}");
            assert!(decode(&locked[1..]).is_some(), "{locked:x?}");
        }
        assert_eq!(decode(&[0x48, 0x89, 0xf7]), None, "register destination");
        assert_eq!(decode(&[0x48, 0x8b, 0x37]), None, "load");
        assert_eq!(decode(&[0x48, 0x39, 0x37]), None, "cmp");
        assert_eq!(decode(&[0xf0, 0x48, 0x89, 0x37]), None, "lock mov");
    }

    #[test]
    fn results_and_flags() {
        let mut regs = Registers { rax: 5, rdx: 9, ..Registers::default() };
        let swap = decode(&[0xf0, 0x48, 0x0f, 0xb1, 0x17]).unwrap();
        assert_eq!(swap.execute(5, &mut regs), 9);
        assert_ne!(regs.rflags & ZF, 0);
        assert_eq!(swap.execute(7, &mut regs), 7);
        assert_eq!((regs.rax, regs.rflags & ZF), (7, 0));
        let reset = decode(&[0xf0, 0x48, 0x0f, 0xba, 0x33, 0x01]).unwrap();
        assert_eq!(reset.execute(3, &mut regs), 1);
        assert_ne!(regs.rflags & CF, 0);
        let add = decode(&[0x83, 0x03, 0xff]).unwrap();
        assert_eq!(add.execute(0, &mut regs), 0xffff_ffff);
        assert_eq!(regs.rflags & (CF | SF | ZF | OF), SF);
    }
}
