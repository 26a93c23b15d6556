//! Code-segment descriptors, as far as emulation needs them: base and code size.

use super::{Bits, Code};

const PRESENT: u64 = 1 << 47;
const NOT_SYSTEM: u64 = 1 << 44;
const CODE: u64 = 1 << 43;
const LONG: u64 = 1 << 53;
const BIG: u64 = 1 << 54;

/// A flat 64-bit code segment of ring 3, as the hypervisor has it in every GDT.
pub const FLAT_CODE64: u64 = 0x00af_fb00_0000_ffff;
/// A flat 32-bit code segment of ring 3.
pub const FLAT_CODE32: u64 = 0x00cf_fb00_0000_ffff;

/// The base of a descriptor.
#[must_use]
pub fn base(descriptor: u64) -> u64 {
    descriptor >> 16 & 0xff_ffff | descriptor >> 32 & 0xff00_0000
}

/// What a code descriptor says; `None` if it is not a present code segment.
#[must_use]
pub fn code(descriptor: u64) -> Option<Code> {
    const NEEDED: u64 = PRESENT | NOT_SYSTEM | CODE;
    if descriptor & NEEDED != NEEDED {
        return None;
    }
    Some(match (descriptor & LONG != 0, descriptor & BIG != 0) {
        (true, _) => Code { base: 0, bits: Bits::B64 },
        (false, true) => Code { base: base(descriptor), bits: Bits::B32 },
        (false, false) => Code { base: base(descriptor), bits: Bits::B16 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_segments() {
        assert_eq!(code(FLAT_CODE64), Some(Code { base: 0, bits: Bits::B64 }));
        assert_eq!(code(FLAT_CODE32), Some(Code { base: 0, bits: Bits::B32 }));
        // A flat data segment.
        assert_eq!(code(0x00cf_f300_0000_ffff), None);
        assert_eq!(code(0), None);
    }

    #[test]
    fn a_16_bit_segment_with_a_base() {
        // Base 0x12345678, limit 0xff bytes, code.
        let small = 0x1200_fb34_5678_00ff;
        assert_eq!(base(small), 0x1234_5678);
        assert_eq!(code(small), Some(Code { base: 0x1234_5678, bits: Bits::B16 }));
        assert_eq!(code(small & !PRESENT), None);
    }
}
