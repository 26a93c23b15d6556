//! Which segment descriptors a guest may put into a GDT or LDT.
//!
//! In 64-bit mode bases and limits of code and data segments are ignored; what matters is the privilege level, the kind, and
//! that nothing the CPU would follow on its own (gates, task states, LDTs) comes from a guest.

const PRESENT: u64 = 1 << 47;
const CODE_OR_DATA: u64 = 1 << 44;
const DPL_SHIFT: u32 = 45;

/// System types of descriptors (SDM vol. 3, table 3-2).
const CALL_GATE: u64 = 12;
/// First selector of the hypervisor's part of the GDT.
const RESERVED: u64 = 14 * 4096;

/// What stands in bits 43:40 of a system descriptor.
const fn system_type(descriptor: u64) -> u64 {
    descriptor >> 40 & 15
}

/// The selector that a gate leads to.
const fn target(gate: u64) -> u64 {
    gate >> 16 & 0xffff
}

/// Whether a guest may have this descriptor in its GDT or LDT, after [`adjust`]. What is not present is never looked at and may
/// be anything.
///
/// Code and data segments must be of privilege level 3. Of the system descriptors two are harmless and allowed, because guests
/// written for 32 bits keep them: type 0, which the CPU takes for invalid, and a call gate of privilege level 0, through which
/// nobody in ring 3 can call. All others the CPU would follow on its own.
pub const fn check(descriptor: u64) -> bool {
    if descriptor & PRESENT == 0 {
        return true;
    }
    let level = (descriptor >> DPL_SHIFT) & 3;
    if descriptor & CODE_OR_DATA != 0 {
        return level == 3;
    }
    match system_type(descriptor) {
        0 => true,
        CALL_GATE => level == 0 && target(descriptor) & 3 == 3 && guest_code(target(descriptor)),
        _ => false,
    }
}

/// Whether a selector is in the guest's own part of the GDT, in its LDT, or one of the flat ring-3 code segments.
const fn guest_code(selector: u64) -> bool {
    selector < RESERVED || selector & 4 != 0 || selector | 3 == 0xe023 || selector | 3 == 0xe033
}

/// The descriptor as it is stored: code and data segments get privilege level 3, as guests' kernels run in ring 3; a call gate
/// becomes one that leads to ring 3 and that nobody in ring 3 can use.
pub const fn adjust(descriptor: u64) -> u64 {
    if descriptor & PRESENT == 0 {
        descriptor
    } else if descriptor & CODE_OR_DATA != 0 {
        descriptor | 3 << DPL_SHIFT
    } else if system_type(descriptor) == CALL_GATE {
        descriptor & !(3 << DPL_SHIFT) | 3 << 16
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
        for system in (1..16u64).filter(|system| *system != CALL_GATE) {
            let descriptor = PRESENT | 3 << DPL_SHIFT | system << 40;
            assert!(!check(descriptor) && !check(adjust(descriptor)), "type {system}");
        }
    }

    #[test]
    fn a_call_gate_is_closed() {
        let gate = |selector: u64| PRESENT | 3 << DPL_SHIFT | CALL_GATE << 40 | selector << 16 | 0x1000;
        for selector in [0u64, 8, 0xe030, 0xe023] {
            let stored = adjust(gate(selector));
            assert!(!check(gate(selector)) && check(stored), "{selector:#x}");
            assert_eq!((stored >> DPL_SHIFT & 3, target(stored)), (0, selector | 3));
        }
        for selector in [0xe008u64, 0xe010, 0xe02b, 0xffff & !4] {
            assert!(!check(adjust(gate(selector))), "{selector:#x}");
        }
    }
}
