//! Shifts and rotations of a word, and conditions, as the CPU does them.

use super::decode::{CF, OF, PF, SF, ZF};

/// What is done, by the number in the instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    RotateLeft,
    RotateRight,
    RotateLeftCarry,
    RotateRightCarry,
    Left,
    Right,
    Arithmetic,
}

impl Shift {
    /// The shift of that number; there is a second one for shifts to the left.
    pub fn new(group: u8) -> Shift {
        match group {
            0 => Shift::RotateLeft,
            1 => Shift::RotateRight,
            2 => Shift::RotateLeftCarry,
            3 => Shift::RotateRightCarry,
            5 => Shift::Right,
            7 => Shift::Arithmetic,
            _ => Shift::Left,
        }
    }

    /// Whether it leaves all flags but carry and overflow alone.
    pub fn is_rotation(self) -> bool {
        !matches!(self, Shift::Left | Shift::Right | Shift::Arithmetic)
    }

    /// By one bit: the new value and carry, of a value of this many bits.
    fn step(self, value: u64, carry: bool, bits: u32) -> (u64, bool) {
        let (low, high) = (value & 1, value >> (bits - 1) & 1);
        let left = |fill: u64| ((value << 1 | fill) & u64::MAX >> (64 - bits), high == 1);
        let right = |fill: u64| (value >> 1 | fill << (bits - 1), low == 1);
        match self {
            Shift::RotateLeft => left(high),
            Shift::RotateLeftCarry => left(carry.into()),
            Shift::Left => left(0),
            Shift::RotateRight => right(low),
            Shift::RotateRightCarry => right(carry.into()),
            Shift::Right => right(0),
            Shift::Arithmetic => right(high),
        }
    }

    /// Shifts a value of `width` bytes; gives the result, carry and overflow, or `None` when nothing is shifted, and no flag changes.
    /// Where the manuals leave the overflow open, it is that of the last bit, or of all bits together in rotations through the carry.
    pub fn apply(self, mut value: u64, count: u64, mut carry: bool, width: u32) -> Option<(u64, bool, bool)> {
        let bits = 8 * width;
        let count = count & if width == 8 { 63 } else { 31 };
        let together = matches!(self, Shift::RotateLeftCarry | Shift::RotateRightCarry);
        let mut before = value;
        for _ in 0..count {
            before = if together { before } else { value };
            (value, carry) = self.step(value, carry, bits);
        }
        let high = |value: u64| value >> (bits - 1) & 1 == 1;
        (count != 0).then_some((value, carry, high(before) != high(value)))
    }
}

/// Whether the condition of that number (0 to 15) holds.
pub fn condition(number: u8, flags: u64) -> bool {
    let is = |flag: u64| flags & flag != 0;
    let holds = match number >> 1 {
        0 => is(OF),
        1 => is(CF),
        2 => is(ZF),
        3 => is(CF) || is(ZF),
        4 => is(SF),
        5 => is(PF),
        6 => is(SF) != is(OF),
        _ => is(ZF) || is(SF) != is(OF),
    };
    holds != (number & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_go_where_they_should() {
        let apply = |group, value, count, carry, width| Shift::new(group).apply(value, count, carry, width);
        assert_eq!(apply(4, 0x81, 1, false, 1), Some((0x02, true, true)));
        assert_eq!(apply(6, 1, 63, false, 8), Some((1 << 63, false, true)));
        assert_eq!(apply(5, 0x81, 1, false, 1), Some((0x40, true, true)));
        assert_eq!(apply(7, 0x81, 1, false, 1), Some((0xc0, true, false)));
        assert_eq!(apply(0, 0x81, 8, false, 1), Some((0x81, true, false)));
        assert_eq!(apply(1, 0x01, 1, false, 2), Some((0x8000, true, true)));
        assert_eq!(apply(2, 0x80, 1, true, 1), Some((0x01, true, true)));
        assert_eq!(apply(3, 0x01, 9, true, 1), Some((0x01, true, false)));
        assert_eq!(apply(4, 5, 32, true, 4), None);
        assert_eq!(apply(4, 5, 64, true, 8), None);
    }

    #[test]
    fn conditions_come_in_pairs() {
        for flags in [0, CF, ZF, SF, OF, PF, SF | OF, CF | ZF] {
            (0..16).step_by(2).for_each(|n| assert_ne!(condition(n, flags), condition(n + 1, flags)));
        }
        assert!(condition(4, ZF) && condition(14, SF) && condition(13, SF | OF) && condition(6, CF));
    }
}
