//! CPUID as a PV guest sees it.
//!
//! A guest leaf is the machine's leaf through an allow-list ([`allowed`]): the features that `cpufeatureset.h`
//! marks "A" (for all guests), less those that come with MSRs which are not always offered (speculation
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

/// The allow-list of a leaf: the features that a PV guest may see where the machine has them. Zero for words that are no
/// features.
#[must_use]
pub const fn allowed(leaf: u32, subleaf: u32) -> Leaf {
    match (leaf, subleaf) {
        (1, 0) => [0, 0, 0xf6d8_3203, 0x1fc9_cbf5],
        // EDX without SSBD, ARCH_CAPS, STIBP and IBRSB.
        (7, 0) => [0, 0xfdaf_0b29, 0x0240_5f43, 0x0000_441c],
        (7, 1) => [0x0000_1c30, 0, 0, 0],
        // Without PSFD.
        (7, 2) => [0, 0, 0, 0x0000_0020],
        (0xd, 1) => [0x0000_0007, 0, 0, 0],
        (0x8000_0001, _) => [0, 0, 0x0421_09e3, 0xea50_0800],
        // Without IBPB_RET and IBPB.
        (0x8000_0008, _) => [0, 0x2400_0005, 0, 0],
        // Without SBPB and IBPB_BRTYPE.
        (0x8000_0021, _) => [0x6000_0064, 0, 0x0000_0006, 0],
        _ => [0; 4],
    }
}

/// Features that need XSAVE.
const fn needs_xsave(leaf: u32, subleaf: u32) -> Leaf {
    match (leaf, subleaf) {
        (1, 0) => [0, 0, 1 << 26, 0],
        (0xd, 1) => [7, 0, 0, 0],
        _ => [0; 4],
    }
}

/// Features that need the upper halves of YMM.
const fn needs_avx(leaf: u32, subleaf: u32) -> Leaf {
    match (leaf, subleaf) {
        // FMA, AVX, F16C.
        (1, 0) => [0, 0, 1 << 12 | 1 << 28 | 1 << 29, 0],
        // AVX2; VAES, VPCLMULQDQ.
        (7, 0) => [0, 1 << 5, 1 << 9 | 1 << 10, 0],
        // AVX_VNNI.
        (7, 1) => [1 << 4, 0, 0, 0],
        // XOP, FMA4.
        (0x8000_0001, _) => [0, 0, 1 << 11 | 1 << 16, 0],
        _ => [0; 4],
    }
}

/// Features that need the state of AVX-512.
const fn needs_avx512(leaf: u32, subleaf: u32) -> Leaf {
    match (leaf, subleaf) {
        (7, 0) => [
            0,
            // F, DQ, IFMA, PF, ER, CD, BW, VL.
            1 << 16 | 1 << 17 | 1 << 21 | 0b111 << 26 | 0b11 << 30,
            // VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ.
            1 << 1 | 1 << 6 | 1 << 11 | 1 << 12 | 1 << 14,
            // 4VNNIW, 4FMAPS, VP2INTERSECT, FP16.
            1 << 2 | 1 << 3 | 1 << 8 | 1 << 23,
        ],
        // BF16.
        (7, 1) => [1 << 5, 0, 0, 0],
        _ => [0; 4],
    }
}

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

/// What the leaves depend on. Asked only as far as a leaf needs it.
pub trait Context {
    /// CPUID of the machine.
    fn host(&self, leaf: u32, subleaf: u32) -> Leaf;
    /// Number of the vCPU: its APIC id is twice that.
    fn vcpu_id(&self) -> u32;
    /// XCR0 components that the domain may enable; 0: no XSAVE.
    fn supported_xcr0(&self) -> u64;
    /// XCR0 now.
    fn xcr0(&self) -> u64;
    /// CR4.OSXSAVE as the guest sees it.
    fn osxsave(&self) -> bool;
    /// Whether RDFSBASE and its kin work in ring 3 (CR4.FSGSBASE of the machine).
    fn fsgsbase(&self) -> bool;
    /// Whether to show the invariant TSC: to the first domain, as upstream.
    fn shows_invariant_tsc(&self) -> bool;
    /// The time stamp counter.
    fn tsc(&self) -> TscInfo;
    /// Bits of a machine address.
    fn address_bits(&self) -> u32;
    /// Whether `IA32_SPEC_CTRL` and its kin are the guest's to use ([`crate::speculation::guest`]).
    fn controls_speculation(&self) -> bool {
        false
    }
}

/// SYSENTER in EDX of leaf 1: AMD's processors do not have it in 64-bit mode.
const SYSENTER: u32 = 1 << 11;

/// "AuthenticAMD" or "HygonGenuine", by the first word.
fn is_amd(context: &impl Context) -> bool {
    matches!(context.host(0, 0)[EBX], 0x6874_7541 | 0x6f67_7948)
}

/// "GenuineIntel", by the first word.
fn is_intel(context: &impl Context) -> bool {
    context.host(0, 0)[EBX] == u32::from_le_bytes(*b"Genu")
}

/// What the guest gets for `leaf` and `subleaf`.
pub fn pv_leaf(leaf: u32, subleaf: u32, context: &impl Context) -> Leaf {
    match leaf {
        0..=MAX_BASIC if leaf <= context.host(0, 0)[EAX] => basic(leaf, subleaf, context),
        0x4000_0000..=MAX_XEN => xen(leaf, subleaf, context),
        0x8000_0000..=MAX_EXTENDED if leaf <= context.host(0x8000_0000, 0)[EAX] => extended(leaf, context),
        _ => [0; 4],
    }
}

/// The machine's leaf through the allow-list, less what needs state that the domain cannot enable.
fn features(leaf: u32, subleaf: u32, context: &impl Context) -> Leaf {
    let supported = context.supported_xcr0();
    let mut out = allowed(leaf, subleaf);
    if context.controls_speculation() {
        let more = crate::speculation::guest::features(leaf, subleaf);
        out = core::array::from_fn(|register| out[register] | more[register]);
    }
    for (component, needed_by) in [
        (xcr0::X87, needs_xsave as fn(u32, u32) -> Leaf),
        (xcr0::AVX, needs_avx),
        (xcr0::AVX512, needs_avx512),
    ] {
        if supported & component != component {
            let hidden = needed_by(leaf, subleaf);
            out = core::array::from_fn(|register| out[register] & !hidden[register]);
        }
    }
    let machine = context.host(leaf, subleaf);
    core::array::from_fn(|register| out[register] & machine[register])
}

fn basic(leaf: u32, subleaf: u32, context: &impl Context) -> Leaf {
    match leaf {
        0 => {
            let [max, b, c, d] = context.host(0, 0);
            [max.min(MAX_BASIC), b, c, d]
        }
        1 => {
            const OSXSAVE: u32 = 1 << 27;
            const HYPERVISOR: u32 = 1 << 31;
            let [signature, b, ..] = context.host(1, 0);
            let [_, _, mut c, mut d] = features(1, 0, context);
            c |= HYPERVISOR;
            if is_amd(context) {
                d &= !SYSENTER;
            }
            if context.osxsave() && context.supported_xcr0() != 0 {
                c |= OSXSAVE;
            }
            // Brand, CLFLUSH line and number of logical processors; the APIC id is the vCPU's.
            [signature, b & 0x00ff_ffff | (context.vcpu_id() * 2) << 24, c, d]
        }
        // Descriptors of caches and TLBs; caches one by one.
        2 => context.host(2, 0),
        4 => context.host(4, subleaf),
        7 => structured_features(subleaf, context),
        0xb => topology(subleaf, context),
        0xd => xsave(subleaf, context),
        _ => [0; 4],
    }
}

fn structured_features(subleaf: u32, context: &impl Context) -> Leaf {
    const FSGSBASE: u32 = 1;
    const MAX_SUBLEAF: u32 = 2;
    let max = context.host(7, 0)[EAX].min(MAX_SUBLEAF);
    if subleaf > max {
        return [0; 4];
    }
    let mut leaf = features(7, subleaf, context);
    if subleaf == 0 {
        leaf[EAX] = max;
        if !context.fsgsbase() {
            leaf[EBX] &= !FSGSBASE;
        }
    }
    leaf
}

/// No levels: every vCPU is a processor of its own.
fn topology(subleaf: u32, context: &impl Context) -> Leaf {
    [0, 0, subleaf & 0xff, context.vcpu_id() * 2]
}

/// Sizes and offsets of extended state, for the components that the domain may enable.
fn xsave(subleaf: u32, context: &impl Context) -> Leaf {
    const LEGACY: u32 = 512 + 64;
    let supported = context.supported_xcr0();
    if supported == 0 {
        return [0; 4];
    }
    let size = |enabled: u64| {
        (2..63u32)
            .filter(|component| enabled >> component & 1 != 0)
            .map(|component| {
                let [size, offset, ..] = context.host(0xd, component);
                size.saturating_add(offset)
            })
            .fold(LEGACY, u32::max)
    };
    match subleaf {
        0 => [supported as u32, size(context.xcr0() & supported), size(supported), (supported >> 32) as u32],
        1 => [features(0xd, 1, context)[EAX], 0, 0, 0],
        2..=62 if supported >> subleaf & 1 != 0 => {
            let [size, offset, flags, _] = context.host(0xd, subleaf);
            [size, offset, flags & 2, 0]
        }
        _ => [0; 4],
    }
}

fn extended(leaf: u32, context: &impl Context) -> Leaf {
    const COMMON_WITH_LEAF_1: u32 = 0x0183_f3ff;
    const INVARIANT_TSC: u32 = 1 << 8;
    match leaf {
        0x8000_0000 => {
            // Intel's name stands in leaf 0 alone.
            let [max, b, c, d] = context.host(leaf, 0);
            if is_intel(context) {
                [max.min(MAX_EXTENDED), 0, 0, 0]
            } else {
                [max.min(MAX_EXTENDED), b, c, d]
            }
        }
        0x8000_0001 => {
            let [signature, ..] = context.host(leaf, 0);
            let signature = if is_intel(context) { 0 } else { signature };
            let [_, _, c, mut d] = features(leaf, 0, context);
            // AMD repeats leaf 1 here.
            if is_amd(context) {
                d |= features(1, 0, context)[EDX] & COMMON_WITH_LEAF_1 & !SYSENTER;
            }
            [signature, 0, c, d]
        }
        // Intel's caches stand in leaves 2 and 4, but for the second level.
        0x8000_0005 if is_intel(context) => [0; 4],
        0x8000_0006 if is_intel(context) => [0, 0, context.host(leaf, 0)[ECX], 0],
        // Brand string; cache and TLB descriptions.
        0x8000_0002..=0x8000_0006 | 0x8000_0019 => context.host(leaf, 0),
        0x8000_0007 if context.shows_invariant_tsc() => [0, 0, 0, context.host(leaf, 0)[EDX] & INVARIANT_TSC],
        0x8000_0008 => {
            // Five levels of page tables are not offered: linear addresses have 48 bits.
            const LINEAR_BITS: u32 = 48 << 8;
            let [sizes, ..] = context.host(leaf, 0);
            [sizes & 0xff | LINEAR_BITS, features(leaf, 0, context)[EBX], 0, 0]
        }
        0x8000_0021 => features(leaf, 0, context),
        _ => [0; 4],
    }
}

fn xen(leaf: u32, subleaf: u32, context: &impl Context) -> Leaf {
    const RDTSCP: u32 = 1 << 27;
    match leaf & 0xff {
        0 => [MAX_XEN, XEN_CPUID_SIGNATURE_EBX, XEN_CPUID_SIGNATURE_ECX, XEN_CPUID_SIGNATURE_EDX],
        1 => [VERSION, 0, 0, 0],
        2 => [1, abi::cpuid::XEN_HYPERCALL_MSR, abi::cpuid::XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD, 0],
        3 => {
            let rdtscp = subleaf == 0 && features(0x8000_0001, 0, context)[EDX] & RDTSCP != 0;
            time(subleaf, &context.tsc(), rdtscp)
        }
        5 if subleaf == 0 => [0, context.address_bits() & 0xff, 0, 0],
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
