//! CPUID as a PV guest sees it.
//!
//! A guest leaf is the machine's leaf through an allow-list ([`FEATURE_LEAVES`]): the features that `cpufeatureset.h`
//! marks "A" (for all guests), less those that come with MSRs which this hypervisor does not offer (speculation
//! control, `IA32_ARCH_CAPABILITIES`). So VMX, SVM, MTRR, PSE, PGE, SMEP, SMAP, UMIP, PCID, x2APIC, TSC-deadline and
//! whatever the future brings are not there. Leaves that describe the machine's own business (power, performance counters,
//! resource control, SGX, tracing) are empty.
//!
//! What a feature needs, the guest must have too: without XSAVE or without a state component in the supported XCR0, the
//! instructions that use the component are hidden (AVX and everything encoded with VEX, AVX-512).
//!
//! Leaves 0x40000000 to 0x40000005 are Xen's (arch-x86/cpuid.h). All other leaves read zero.

use abi::cpuid::{XEN_CPUID_SIGNATURE_EBX, XEN_CPUID_SIGNATURE_ECX, XEN_CPUID_SIGNATURE_EDX};

use super::xcr0;

/// EAX, EBX, ECX, EDX.
pub type Leaf = [u32; 4];

const EAX: usize = 0;
const EBX: usize = 1;
const ECX: usize = 2;
const EDX: usize = 3;

const MAX_BASIC: u32 = 0xd;
const MAX_EXTENDED: u32 = 0x8000_0021;
const MAX_XEN: u32 = abi::cpuid::XEN_CPUID_FIRST_LEAF + abi::cpuid::XEN_CPUID_MAX_NUM_LEAVES;

/// Version of the interface: 4.17.
const VERSION: u32 = 4 << 16 | 17;

/// Allow-lists: leaf, sub-leaf, register, mask.
pub const FEATURE_LEAVES: [(u32, u32, usize, u32); 14] = [
    (1, 0, EDX, 0x1fc9_cbf5),
    (1, 0, ECX, 0xf6d8_3203),
    (7, 0, EBX, 0xfdaf_0b29),
    (7, 0, ECX, 0x0240_5f43),
    // Without SSBD, ARCH_CAPS, STIBP and IBRSB.
    (7, 0, EDX, 0x0000_441c),
    (7, 1, EAX, 0x0000_1c30),
    // Without PSFD.
    (7, 2, EDX, 0x0000_0020),
    (0xd, 1, EAX, 0x0000_0007),
    (0x8000_0001, 0, EDX, 0xea50_0800),
    (0x8000_0001, 0, ECX, 0x0421_09e3),
    // Without IBPB_RET and IBPB.
    (0x8000_0008, 0, EBX, 0x2400_0005),
    // Without SBPB and IBPB_BRTYPE.
    (0x8000_0021, 0, EAX, 0x6000_0064),
    (0x8000_0021, 0, ECX, 0x0000_0006),
    (0x8000_0007, 0, EDX, 0x0000_0000),
];

/// Features by state component: leaf, sub-leaf, register, mask of what goes when the component is missing.
const NEEDS_XSAVE: [(u32, u32, usize, u32); 2] = [(1, 0, ECX, 1 << 26), (0xd, 1, EAX, 7)];
const NEEDS_AVX: [(u32, u32, usize, u32); 6] = [
    // FMA, AVX, F16C.
    (1, 0, ECX, 1 << 12 | 1 << 28 | 1 << 29),
    // AVX2.
    (7, 0, EBX, 1 << 5),
    // VAES, VPCLMULQDQ.
    (7, 0, ECX, 1 << 9 | 1 << 10),
    // AVX_VNNI.
    (7, 1, EAX, 1 << 4),
    // XOP, FMA4.
    (0x8000_0001, 0, ECX, 1 << 11 | 1 << 16),
    (7, 0, EDX, 0),
];
const NEEDS_AVX512: [(u32, u32, usize, u32); 4] = [
    // F, DQ, IFMA, PF, ER, CD, BW, VL.
    (7, 0, EBX, 1 << 16 | 1 << 17 | 1 << 21 | 0b111 << 26 | 0b11 << 30),
    // VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ.
    (7, 0, ECX, 1 << 1 | 1 << 6 | 1 << 11 | 1 << 12 | 1 << 14),
    // 4VNNIW, 4FMAPS, VP2INTERSECT, FP16.
    (7, 0, EDX, 1 << 2 | 1 << 3 | 1 << 8 | 1 << 23),
    // BF16.
    (7, 1, EAX, 1 << 5),
];

/// How a domain's time stamp counter behaves (leaf 0x40000003).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TscInfo {
    /// RDTSC is emulated.
    pub emulated: bool,
    /// The machine's TSC is known to be reliable.
    pub reliable: bool,
    /// `tsc_mode` of the domain's configuration.
    pub mode: u32,
    /// The guest's frequency in kHz.
    pub khz: u32,
    /// The machine's frequency in kHz.
    pub host_khz: u32,
    /// Number of migrations.
    pub incarnation: u32,
    /// What the guest's TSC adds to the machine's.
    pub offset: u64,
    /// Multiplier from TSC to nanoseconds.
    pub mul: u32,
    /// Shift of that conversion.
    pub shift: i8,
}

/// What the leaves depend on besides the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Context {
    /// Number of the vCPU: its APIC id is twice that.
    pub vcpu_id: u32,
    /// XCR0 components that the domain may enable; 0: no XSAVE.
    pub supported_xcr0: u64,
    /// XCR0 now.
    pub xcr0: u64,
    /// CR4.OSXSAVE as the guest sees it.
    pub osxsave: bool,
    /// Whether RDFSBASE and its kin work in ring 3 (CR4.FSGSBASE of the machine).
    pub fsgsbase: bool,
    /// Whether to show the invariant TSC: to the first domain, as upstream.
    pub invariant_tsc: bool,
    /// The time stamp counter.
    pub tsc: TscInfo,
    /// Bits of a machine address.
    pub address_bits: u32,
}

/// What the guest gets for `leaf` and `subleaf`. `host` is the machine's CPUID.
pub fn pv_leaf(leaf: u32, subleaf: u32, context: &Context, mut host: impl FnMut(u32, u32) -> Leaf) -> Leaf {
    match leaf {
        0..=MAX_BASIC if leaf <= host(0, 0)[EAX] => basic(leaf, subleaf, context, host),
        0x4000_0000..=MAX_XEN => xen(leaf, subleaf, context, host),
        0x8000_0000..=MAX_EXTENDED if leaf <= host(0x8000_0000, 0)[EAX] => extended(leaf, context, host),
        _ => [0; 4],
    }
}

/// The machine's leaf through the allow-lists, everything unlisted zero.
fn features(leaf: u32, subleaf: u32, context: &Context, host: &mut impl FnMut(u32, u32) -> Leaf) -> Leaf {
    let machine = host(leaf, subleaf);
    let mut out = [0; 4];
    let of = |list: &[(u32, u32, usize, u32)], register: usize| {
        list.iter()
            .filter(|(l, s, r, _)| (*l, *s, *r) == (leaf, subleaf, register))
            .fold(0, |sum, (.., mask)| sum | mask)
    };
    for (register, value) in out.iter_mut().enumerate() {
        let mut hidden = 0;
        if context.supported_xcr0 == 0 {
            hidden |= of(&NEEDS_XSAVE, register);
        }
        if context.supported_xcr0 & xcr0::AVX == 0 {
            hidden |= of(&NEEDS_AVX, register);
        }
        if context.supported_xcr0 & xcr0::AVX512 == 0 {
            hidden |= of(&NEEDS_AVX512, register);
        }
        *value = machine[register] & of(&FEATURE_LEAVES, register) & !hidden;
    }
    out
}

fn basic(leaf: u32, subleaf: u32, context: &Context, mut host: impl FnMut(u32, u32) -> Leaf) -> Leaf {
    match leaf {
        0 => {
            let [max, b, c, d] = host(0, 0);
            [max.min(MAX_BASIC), b, c, d]
        }
        1 => {
            const OSXSAVE: u32 = 1 << 27;
            const HYPERVISOR: u32 = 1 << 31;
            let [signature, b, ..] = host(1, 0);
            let [_, _, mut c, d] = features(1, 0, context, &mut host);
            c |= HYPERVISOR;
            if context.osxsave && context.supported_xcr0 != 0 {
                c |= OSXSAVE;
            }
            // Brand, CLFLUSH line and number of logical processors; the APIC id is the vCPU's.
            [signature, b & 0x00ff_ffff | (context.vcpu_id * 2) << 24, c, d]
        }
        // Descriptors of caches and TLBs; caches one by one.
        2 => host(2, 0),
        4 => host(4, subleaf),
        7 => structured_features(subleaf, context, host),
        0xb => topology(subleaf, context),
        0xd => xsave(subleaf, context, host),
        _ => [0; 4],
    }
}

fn structured_features(subleaf: u32, context: &Context, mut host: impl FnMut(u32, u32) -> Leaf) -> Leaf {
    const FSGSBASE: u32 = 1;
    const MAX_SUBLEAF: u32 = 2;
    let max = host(7, 0)[EAX].min(MAX_SUBLEAF);
    if subleaf > max {
        return [0; 4];
    }
    let mut leaf = features(7, subleaf, context, &mut host);
    if subleaf == 0 {
        leaf[EAX] = max;
        if !context.fsgsbase {
            leaf[EBX] &= !FSGSBASE;
        }
    }
    leaf
}

/// No levels: every vCPU is a processor of its own.
fn topology(subleaf: u32, context: &Context) -> Leaf {
    [0, 0, subleaf & 0xff, context.vcpu_id * 2]
}

/// Sizes and offsets of extended state, for the components that the domain may enable.
fn xsave(subleaf: u32, context: &Context, mut host: impl FnMut(u32, u32) -> Leaf) -> Leaf {
    const LEGACY: u32 = 512 + 64;
    let supported = context.supported_xcr0;
    if supported == 0 {
        return [0; 4];
    }
    let mut size = |enabled: u64| {
        (2..63u32)
            .filter(|component| enabled >> component & 1 != 0)
            .map(|component| {
                let [size, offset, ..] = host(0xd, component);
                size.saturating_add(offset)
            })
            .fold(LEGACY, u32::max)
    };
    match subleaf {
        0 => [supported as u32, size(context.xcr0 & supported), size(supported), (supported >> 32) as u32],
        1 => [features(0xd, 1, context, &mut host)[EAX], 0, 0, 0],
        2..=62 if supported >> subleaf & 1 != 0 => {
            let [size, offset, flags, _] = host(0xd, subleaf);
            [size, offset, flags & 2, 0]
        }
        _ => [0; 4],
    }
}

fn extended(leaf: u32, context: &Context, mut host: impl FnMut(u32, u32) -> Leaf) -> Leaf {
    const COMMON_WITH_LEAF_1: u32 = 0x0183_f3ff;
    const INVARIANT_TSC: u32 = 1 << 8;
    match leaf {
        0x8000_0000 => {
            let [max, b, c, d] = host(leaf, 0);
            [max.min(MAX_EXTENDED), b, c, d]
        }
        0x8000_0001 => {
            let [signature, ..] = host(leaf, 0);
            let [_, _, c, mut d] = features(leaf, 0, context, &mut host);
            // AMD repeats leaf 1 here. "AuthenticAMD" and "HygonGenuine" by their first word.
            if matches!(host(0, 0)[EBX], 0x6874_7541 | 0x6f67_7948) {
                d |= features(1, 0, context, &mut host)[EDX] & COMMON_WITH_LEAF_1;
            }
            [signature, 0, c, d]
        }
        // Brand string; cache and TLB descriptions.
        0x8000_0002..=0x8000_0006 | 0x8000_0019 => host(leaf, 0),
        0x8000_0007 if context.invariant_tsc => [0, 0, 0, host(leaf, 0)[EDX] & INVARIANT_TSC],
        0x8000_0008 => {
            let [sizes, ..] = host(leaf, 0);
            [sizes & 0xffff, features(leaf, 0, context, &mut host)[EBX], 0, 0]
        }
        0x8000_0021 => features(leaf, 0, context, &mut host),
        _ => [0; 4],
    }
}

fn xen(leaf: u32, subleaf: u32, context: &Context, mut host: impl FnMut(u32, u32) -> Leaf) -> Leaf {
    const RDTSCP: u32 = 1 << 27;
    match leaf & 0xff {
        0 => [MAX_XEN, XEN_CPUID_SIGNATURE_EBX, XEN_CPUID_SIGNATURE_ECX, XEN_CPUID_SIGNATURE_EDX],
        1 => [VERSION, 0, 0, 0],
        2 => [1, abi::cpuid::XEN_HYPERCALL_MSR, abi::cpuid::XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD, 0],
        3 => {
            let rdtscp = subleaf == 0 && features(0x8000_0001, 0, context, &mut host)[EDX] & RDTSCP != 0;
            time(subleaf, &context.tsc, rdtscp)
        }
        5 if subleaf == 0 => [0, context.address_bits & 0xff, 0, 0],
        _ => [0; 4],
    }
}

fn time(subleaf: u32, tsc: &TscInfo, rdtscp: bool) -> Leaf {
    match subleaf {
        0 => {
            let flags = u32::from(tsc.emulated) | u32::from(tsc.reliable) << 1 | u32::from(rdtscp) << 2;
            [flags, tsc.mode, tsc.khz, tsc.incarnation]
        }
        1 => [tsc.offset as u32, (tsc.offset >> 32) as u32, tsc.mul, i32::from(tsc.shift) as u32],
        2 => [tsc.host_khz, 0, 0, 0],
        _ => [0; 4],
    }
}
