//! What PV guests may use of the CPU's controls of speculation.
//!
//! As on upstream, a guest sees in CPUID the bits that `cpufeatureset.h` marks "A", if the machine has them and the policy
//! virtualises them ([`Policy::guest_msrs`](super::Policy)), and may then use:
//!
//! - `IA32_SPEC_CTRL`: IBRS, STIBP, SSBD, PSFD, as far as CPUID shows them. The value is the vCPU's own; the exit loads it, and
//!   the entry loads the hypervisor's.
//! - `IA32_PRED_CMD`: IBPB, and AMD's SBPB. Write-only.
//!
//! `IA32_ARCH_CAPABILITIES` is not shown: a guest that does not see it takes its CPU for affected by everything.

use super::spec_ctrl;
use crate::emulate::cpuid::Leaf;

/// `IA32_SPEC_CTRL`.
pub const SPEC_CTRL: u32 = 0x48;
/// `IA32_PRED_CMD`.
pub const PRED_CMD: u32 = 0x49;

const EDX_IBRSB: u32 = 1 << 26;
const EDX_STIBP: u32 = 1 << 27;
const EDX_SSBD: u32 = 1 << 31;
const EDX_PSFD: u32 = 1 << 0;
const EBX_IBPB: u32 = 1 << 12;
const EBX_IBPB_RET: u32 = 1 << 30;
const EAX_SBPB: u32 = 1 << 27;
const EAX_IBPB_BRTYPE: u32 = 1 << 28;

/// Features that come with these registers.
#[must_use]
pub const fn features(leaf: u32, subleaf: u32) -> Leaf {
    match (leaf, subleaf) {
        (7, 0) => [0, 0, 0, EDX_IBRSB | EDX_STIBP | EDX_SSBD],
        (7, 2) => [0, 0, 0, EDX_PSFD],
        (0x8000_0008, _) => [0, EBX_IBPB | EBX_IBPB_RET, 0, 0],
        (0x8000_0021, _) => [EAX_SBPB | EAX_IBPB_BRTYPE, 0, 0, 0],
        _ => [0; 4],
    }
}

/// Bits of `IA32_SPEC_CTRL` that a guest with this CPUID may set; `None`: it has no such register.
pub fn spec_ctrl_bits(cpuid: &mut impl FnMut(u32, u32) -> Leaf) -> Option<u64> {
    let [_, _, _, seven] = cpuid(7, 0);
    if seven & EDX_IBRSB == 0 {
        return None;
    }
    // Without STIBP its bit may be set and does nothing (SDM vol. 4).
    let mut bits = spec_ctrl::IBRS | spec_ctrl::STIBP;
    if seven & EDX_SSBD != 0 {
        bits |= spec_ctrl::SSBD;
    }
    if cpuid(7, 2)[3] & EDX_PSFD != 0 {
        bits |= spec_ctrl::PSFD;
    }
    Some(bits)
}

/// Commands that a guest with this CPUID may write to `IA32_PRED_CMD`; 0: it has no such register.
pub fn pred_cmd_bits(cpuid: &mut impl FnMut(u32, u32) -> Leaf) -> u64 {
    let ibpb = cpuid(7, 0)[3] & EDX_IBRSB != 0 || cpuid(0x8000_0008, 0)[1] & EBX_IBPB != 0;
    let sbpb = cpuid(0x8000_0021, 0)[0] & EAX_SBPB != 0;
    u64::from(ibpb) | u64::from(sbpb) << 7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_follow_what_is_shown() {
        let leaves = |edx: u32, psfd: u32, ebx: u32, eax: u32| {
            move |leaf: u32, subleaf: u32| match (leaf, subleaf) {
                (7, 0) => [2, 0, 0, edx],
                (7, 2) => [0, 0, 0, psfd],
                (0x8000_0008, _) => [0, ebx, 0, 0],
                (0x8000_0021, _) => [eax, 0, 0, 0],
                _ => [0; 4],
            }
        };
        let table = [
            (leaves(0, 1, 0, 0), None, 0),
            (leaves(EDX_IBRSB, 0, 0, 0), Some(0b11), 1),
            (leaves(EDX_IBRSB | EDX_STIBP | EDX_SSBD, 1, 0, 0), Some(0b1000_0111), 1),
            (leaves(0, 0, EBX_IBPB, 0), None, 1),
            (leaves(0, 0, EBX_IBPB, EAX_SBPB), None, 0x81),
        ];
        for (mut cpuid, bits, commands) in table {
            assert_eq!(spec_ctrl_bits(&mut cpuid), bits);
            assert_eq!(pred_cmd_bits(&mut cpuid), commands);
        }
    }
}
