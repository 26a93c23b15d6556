//! Which segment descriptors a guest may put into a GDT or LDT.
//!
//! In 64-bit mode bases and limits of code and data segments are ignored; what matters is the privilege level, the kind, and
//! that nothing the CPU would follow on its own (gates, task states, LDTs) comes from a guest.

const PRESENT: u64 = 1 << 47;
const CODE_OR_DATA: u64 = 1 << 44;
const CODE: u64 = 1 << 43;
const CONFORMING: u64 = 1 << 42;
const LONG: u64 = 1 << 53;
const DEFAULT_32: u64 = 1 << 54;
const DPL_SHIFT: u32 = 45;

/// Whether a guest may have this descriptor in its GDT or LDT. What is not present is never looked at and may be anything.
///
/// Refused: privilege level 0 (upstream turns it into the guest's level where it can; see [`adjust`]), system segments and gates of any kind,
/// conforming code that would run at the caller's level, and the reserved combination L = D = 1.
pub const fn check(descriptor: u64) -> bool {
    if descriptor & PRESENT == 0 {
        return true;
    }
    if descriptor & CODE_OR_DATA == 0 || (descriptor >> DPL_SHIFT) & 3 == 0 {
        return false;
    }
    let code = descriptor & CODE != 0;
    let reserved = descriptor & LONG != 0 && descriptor & DEFAULT_32 != 0;
    !(code && (reserved || descriptor & CONFORMING != 0))
}

/// The descriptor as it is stored: code and data segments with privilege level 0 get level 3, as guests' kernels run in
/// ring 3.
pub const fn adjust(descriptor: u64) -> u64 {
    let present_segment = PRESENT | CODE_OR_DATA;
    if descriptor & present_segment == present_segment && (descriptor >> DPL_SHIFT) & 3 == 0 {
        descriptor | 3 << DPL_SHIFT
    } else {
        descriptor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_segments_of_ring_3_pass() {
        for good in
            [0x00af_fa00_0000_ffff, 0x00cf_fa00_0000_ffff, 0x00cf_f200_0000_ffff, 0, 0xffff_7fff_ffff_ffff]
        {
            assert!(check(good), "{good:#x}");
        }
    }

    #[test]
    fn what_the_cpu_would_follow_is_refused() {
        let dpl0_code = 0x00af_9a00_0000_ffffu64;
        assert!(!check(dpl0_code));
        assert!(check(adjust(dpl0_code)));
        for system in 0..16u64 {
            let descriptor = PRESENT | 3 << DPL_SHIFT | system << 40;
            assert!(!check(descriptor) && !check(adjust(descriptor)), "type {system}");
        }
        assert!(!check(0x00af_fe00_0000_ffff), "conforming");
        assert!(!check(0x00ef_fa00_0000_ffff), "L and D");
    }
}
