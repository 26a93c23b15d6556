//! What a processor says of itself, as far as speculation is concerned.

use bitflags::bitflags;

/// Who made the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Vendor {
    /// "GenuineIntel".
    Intel,
    /// "AuthenticAMD".
    Amd,
    /// "HygonGenuine".
    Hygon,
    /// Anybody else: taken to have every weakness that is not known to be one maker's.
    #[default]
    Other,
}

bitflags! {
    /// What CPUID offers against weaknesses. Intel's and AMD's bits for the same thing are one.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Offer: u32 {
        /// VERW empties the buffers (7.0 EDX bit 10).
        const MD_CLEAR = 1 << 0;
        /// `IA32_SPEC_CTRL.IBRS` (7.0 EDX bit 26; 0x80000008 EBX bit 14).
        const IBRS = 1 << 1;
        /// `IA32_SPEC_CTRL.STIBP` (7.0 EDX bit 27; 0x80000008 EBX bit 15).
        const STIBP = 1 << 2;
        /// `IA32_PRED_CMD.IBPB` (7.0 EDX bit 26; 0x80000008 EBX bit 12).
        const IBPB = 1 << 3;
        /// `IA32_SPEC_CTRL.SSBD` (7.0 EDX bit 31; 0x80000008 EBX bit 24).
        const SSBD = 1 << 4;
        /// `IA32_SPEC_CTRL.PSFD` (7.2 EDX bit 0; 0x80000008 EBX bit 28).
        const PSFD = 1 << 5;
        /// `IA32_FLUSH_CMD` (7.0 EDX bit 28).
        const L1D_FLUSH = 1 << 6;
        /// `IA32_ARCH_CAPABILITIES` (7.0 EDX bit 29).
        const ARCH_CAPS = 1 << 7;
        /// IBRS that need not be set again on every entry: `IBRS_ALL`; AMD: `EFER.AIBRSE` (0x80000021 EAX bit 8).
        const IBRS_ALWAYS_ON = 1 << 8;
        /// It is AMD's `EFER.AIBRSE`, not a bit of `IA32_SPEC_CTRL`.
        const AUTO_IBRS = 1 << 9;
        /// `IA32_SPEC_CTRL.BHI_DIS_S` (7.2 EDX bit 4).
        const BHI_CTRL = 1 << 10;
        /// LFENCE waits for all before it, always (0x80000021 EAX bit 2).
        const LFENCE_SERIALISES = 1 << 11;
        /// IBPB also empties the return predictor (0x80000008 EBX bit 30).
        const IBPB_RET = 1 << 12;
        /// IBPB also forgets which instructions are branches (0x80000021 EAX bit 28).
        const IBPB_BRTYPE = 1 << 13;
        /// The maker asks for STIBP always on (0x80000008 EBX bit 17).
        const STIBP_ALWAYS = 1 << 14;
        /// Supervisor mode neither fetches nor speculates into user pages (7.0 EBX bit 7).
        const SMEP = 1 << 15;
        /// Transactional memory (7.0 EBX bit 11).
        const RTM = 1 << 16;
        /// No branch type confusion (0x80000008 EBX bit 29).
        const BTC_NO = 1 << 17;
        /// Loads do not pass older stores (0x80000008 EBX bit 26).
        const SSB_NO = 1 << 18;
        /// No SRSO (0x80000021 EAX bit 29).
        const SRSO_NO = 1 << 19;
        /// Several threads share a core (leaf 1 EDX bit 28 with more than one logical processor).
        const THREADS = 1 << 20;
        /// `IA32_MCU_OPT_CTRL` guards the random numbers' buffer (7.0 EDX bit 9).
        const SRBDS_CTRL = 1 << 21;
    }
}

bitflags! {
    /// `IA32_ARCH_CAPABILITIES` (MSR 0x10a).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct ArchCaps: u64 {
        /// Not affected by Meltdown and L1TF.
        const RDCL_NO = 1 << 0;
        /// IBRS may stay on.
        const IBRS_ALL = 1 << 1;
        /// Return predictors may fall back on the branch target buffer.
        const RSBA = 1 << 2;
        /// A hypervisor above has flushed the L1 cache.
        const SKIP_L1DFL = 1 << 3;
        /// Loads do not pass older stores.
        const SSB_NO = 1 << 4;
        /// No MDS.
        const MDS_NO = 1 << 5;
        /// `TSX_CTRL` is there.
        const TSX_CTRL = 1 << 7;
        /// No TAA.
        const TAA_NO = 1 << 8;
        /// No shared buffer data reads.
        const SBDR_SSDP_NO = 1 << 13;
        /// No fill buffer stale data propagation.
        const FBSDP_NO = 1 << 14;
        /// No primary stale data propagation.
        const PSDP_NO = 1 << 15;
        /// VERW empties the fill buffers.
        const FB_CLEAR = 1 << 17;
        /// Return predictors may fall back, in a restricted way.
        const RRSBA = 1 << 19;
        /// No branch history injection.
        const BHI_NO = 1 << 20;
        /// The gather mitigation can be locked.
        const GDS_CTRL = 1 << 25;
        /// No gather data sampling.
        const GDS_NO = 1 << 26;
        /// No register file data sampling.
        const RFDS_NO = 1 << 27;
        /// VERW empties the register files.
        const RFDS_CLEAR = 1 << 28;
        const _ = !0;
    }
}

/// A processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Cpu {
    /// Maker.
    pub vendor: Vendor,
    /// Family, with the extended one added.
    pub family: u32,
    /// Model, with the extended one above.
    pub model: u32,
    /// Stepping.
    pub stepping: u32,
    /// What it offers.
    pub offer: Offer,
    /// `IA32_ARCH_CAPABILITIES`; 0 where it has none.
    pub caps: ArchCaps,
}

const EAX: usize = 0;
const EBX: usize = 1;
const ECX: usize = 2;
const EDX: usize = 3;

/// Leaf, sub-leaf, register, bit, and what it means.
const BITS: &[(u32, u32, usize, u32, Offer)] = &[
    (7, 0, EBX, 7, Offer::SMEP),
    (7, 0, EBX, 11, Offer::RTM),
    (7, 0, EDX, 9, Offer::SRBDS_CTRL),
    (7, 0, EDX, 10, Offer::MD_CLEAR),
    (7, 0, EDX, 26, Offer::IBRS.union(Offer::IBPB)),
    (7, 0, EDX, 27, Offer::STIBP),
    (7, 0, EDX, 28, Offer::L1D_FLUSH),
    (7, 0, EDX, 29, Offer::ARCH_CAPS),
    (7, 0, EDX, 31, Offer::SSBD),
    (7, 2, EDX, 0, Offer::PSFD),
    (7, 2, EDX, 4, Offer::BHI_CTRL),
    (0x8000_0008, 0, EBX, 12, Offer::IBPB),
    (0x8000_0008, 0, EBX, 14, Offer::IBRS),
    (0x8000_0008, 0, EBX, 15, Offer::STIBP),
    (0x8000_0008, 0, EBX, 17, Offer::STIBP_ALWAYS),
    (0x8000_0008, 0, EBX, 24, Offer::SSBD),
    (0x8000_0008, 0, EBX, 26, Offer::SSB_NO),
    (0x8000_0008, 0, EBX, 28, Offer::PSFD),
    (0x8000_0008, 0, EBX, 29, Offer::BTC_NO),
    (0x8000_0008, 0, EBX, 30, Offer::IBPB_RET),
    (0x8000_0021, 0, EAX, 2, Offer::LFENCE_SERIALISES),
    (0x8000_0021, 0, EAX, 8, Offer::IBRS_ALWAYS_ON.union(Offer::AUTO_IBRS)),
    (0x8000_0021, 0, EAX, 28, Offer::IBPB_BRTYPE),
    (0x8000_0021, 0, EAX, 29, Offer::SRSO_NO),
];

/// Family, model and stepping of CPUID leaf 1 EAX (SDM vol. 2, CPUID; APM vol. 3, appendix E).
#[must_use]
pub const fn signature(eax: u32) -> (u32, u32, u32) {
    let base = eax >> 8 & 0xf;
    let family = if base == 0xf { base + (eax >> 20 & 0xff) } else { base };
    let high = if base == 6 || base == 0xf { eax >> 16 & 0xf } else { 0 };
    (family, high << 4 | eax >> 4 & 0xf, eax & 0xf)
}

impl Cpu {
    /// Asks CPUID (`cpuid(leaf, sub-leaf)` gives EAX, EBX, ECX, EDX) and, where it is there, `IA32_ARCH_CAPABILITIES`.
    pub fn detect(cpuid: impl Fn(u32, u32) -> [u32; 4], arch_caps: impl FnOnce() -> u64) -> Cpu {
        let highest = [cpuid(0, 0)[EAX], cpuid(0x8000_0000, 0)[EAX]];
        let leaf = |leaf: u32, subleaf: u32| {
            let there = leaf <= highest[usize::from(leaf >= 0x8000_0000)];
            let there = there && (leaf != 7 || subleaf <= cpuid(7, 0)[EAX]);
            if there { cpuid(leaf, subleaf) } else { [0; 4] }
        };
        let [_, b, c, d] = leaf(0, 0);
        let vendor = match [b, d, c].map(u32::to_le_bytes).as_flattened() {
            b"GenuineIntel" => Vendor::Intel,
            b"AuthenticAMD" => Vendor::Amd,
            b"HygonGenuine" => Vendor::Hygon,
            _ => Vendor::Other,
        };
        let one = leaf(1, 0);
        let (family, model, stepping) = signature(one[EAX]);
        let mut offer = Offer::empty();
        for &(number, subleaf, register, bit, meaning) in BITS {
            if leaf(number, subleaf)[register] >> bit & 1 != 0 {
                offer |= meaning;
            }
        }
        // EBX counts logical processors of the package, which are more than one thread each only where leaf 4 or 0xb say so.
        let threads = leaf(0xb, 0)[EBX] & 0xffff > 1 && leaf(0xb, 0)[ECX] >> 8 & 0xff == 1;
        let threads = threads || leaf(0x8000_001e, 0)[EBX] >> 8 & 0xff != 0 && vendor != Vendor::Intel;
        offer.set(Offer::THREADS, threads && one[EDX] >> 28 & 1 != 0);
        let caps = if offer.contains(Offer::ARCH_CAPS) { arch_caps() } else { 0 };
        let caps = ArchCaps::from_bits_retain(caps);
        if caps.contains(ArchCaps::IBRS_ALL) {
            offer |= Offer::IBRS_ALWAYS_ON;
        }
        Cpu { vendor, family, model, stepping, offer, caps }
    }

    /// AMD or its licensee.
    pub fn is_amd(&self) -> bool {
        matches!(self.vendor, Vendor::Amd | Vendor::Hygon)
    }
}
