//! Segment descriptors, as far as emulation needs them: what code is of how many bits, and which addresses data may have.

use super::{Bits, Code, Exception};

const PRESENT: u64 = 1 << 47;
const NOT_SYSTEM: u64 = 1 << 44;
const CODE: u64 = 1 << 43;
/// Of code: may be read. Of data: may be written.
const ACCESS: u64 = 1 << 41;
const LONG: u64 = 1 << 53;
const BIG: u64 = 1 << 54;
const IN_PAGES: u64 = 1 << 55;

/// A flat 64-bit code segment of ring 3, as the hypervisor has it in every GDT.
pub const FLAT_CODE64: u64 = 0x00af_fb00_0000_ffff;
/// A flat 32-bit code segment of ring 3.
pub const FLAT_CODE32: u64 = 0x00cf_fb00_0000_ffff;
/// A flat data segment of ring 3.
pub const FLAT_DATA: u64 = 0x00cf_f300_0000_ffff;

/// The base of a descriptor.
#[must_use]
pub fn base(descriptor: u64) -> u64 {
    descriptor >> 16 & 0xff_ffff | descriptor >> 32 & 0xff00_0000
}

/// The highest offset in a segment.
#[must_use]
pub fn limit(descriptor: u64) -> u64 {
    let limit = descriptor & 0xffff | descriptor >> 32 & 0xf_0000;
    if descriptor & IN_PAGES != 0 { limit << 12 | 0xfff } else { limit }
}

/// What a code descriptor says; `None` if it is not a present code segment.
#[must_use]
pub fn code(descriptor: u64) -> Option<Code> {
    const NEEDED: u64 = PRESENT | NOT_SYSTEM | CODE;
    if descriptor & NEEDED != NEEDED {
        return None;
    }
    let code = |bits| Code { base: base(descriptor), limit: limit(descriptor), bits };
    Some(match (descriptor & LONG != 0, descriptor & BIG != 0) {
        (true, _) => Code { base: 0, limit: u64::MAX, bits: Bits::B64 },
        (false, true) => code(Bits::B32),
        (false, false) => code(Bits::B16),
    })
}

/// The linear address of `size` bytes at `offset` in a segment of 16-bit or 32-bit code.
///
/// Segments that expand down are taken for others, as upstream does; what a segment protects is its owner's, and pages protect
/// everybody else.
///
/// # Errors
/// #GP when the segment is not there, is not for this kind of access, or ends before.
pub fn data(descriptor: u64, offset: u64, size: u8, write: bool) -> Result<u64, Exception> {
    let (is_code, access) = (descriptor & CODE != 0, descriptor & ACCESS != 0);
    let allowed = if write { !is_code && access } else { !is_code || access };
    let last = offset + u64::from(size) - 1;
    if descriptor & PRESENT == 0 || descriptor & NOT_SYSTEM == 0 || !allowed || last > limit(descriptor) {
        return Err(Exception::GP);
    }
    Ok(base(descriptor).wrapping_add(offset) & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_segments() {
        assert_eq!(code(FLAT_CODE64), Some(Code { base: 0, limit: u64::MAX, bits: Bits::B64 }));
        assert_eq!(code(FLAT_CODE32), Some(Code { base: 0, limit: 0xffff_ffff, bits: Bits::B32 }));
        assert_eq!(code(FLAT_DATA), None);
        assert_eq!(code(0), None);
        assert_eq!(data(FLAT_DATA, 0xffff_fffc, 4, true), Ok(0xffff_fffc));
        assert_eq!(data(FLAT_DATA, 0xffff_fffd, 4, true), Err(Exception::GP));
    }

    #[test]
    fn a_16_bit_segment_with_a_base() {
        // Base 0x12345678, limit 0xff bytes, code.
        let small = 0x1200_fb34_5678_00ff;
        assert_eq!(base(small), 0x1234_5678);
        assert_eq!(code(small), Some(Code { base: 0x1234_5678, limit: 0xff, bits: Bits::B16 }));
        assert_eq!(code(small & !PRESENT), None);
    }

    #[test]
    fn data_within_limits_and_rights() {
        // Base 0x1000, limit 0xff bytes, writable data.
        let small = 0x0040_f300_1000_00ff;
        assert_eq!(data(small, 0xfc, 4, true), Ok(0x10fc));
        assert_eq!(data(small, 0xfd, 4, false), Err(Exception::GP));
        let read_only = small & !ACCESS;
        assert_eq!(data(read_only, 0, 1, false), Ok(0x1000));
        assert_eq!(data(read_only, 0, 1, true), Err(Exception::GP));
        let (readable, execute_only) = (small | CODE, read_only | CODE);
        assert_eq!(data(readable, 0, 1, false), Ok(0x1000));
        assert_eq!(data(readable, 0, 1, true), Err(Exception::GP));
        assert_eq!(data(execute_only, 0, 1, false), Err(Exception::GP));
        for bad in [small & !PRESENT, small & !NOT_SYSTEM, 0] {
            assert_eq!(data(bad, 0, 1, false), Err(Exception::GP), "{bad:#x}");
        }
    }
}
