//! Real processors, by what they say of themselves, and what follows.

use alloc::string::ToString;

use super::*;
use crate::cmdline::{self, Options};

fn cpu(vendor: Vendor, family: u32, model: u32, offer: Offer, caps: ArchCaps) -> Cpu {
    Cpu { vendor, family, model, stepping: 3, offer, caps }
}

/// What microcode of 2018 and later brings to Intel's older processors.
const UPDATED: Offer = Offer::MD_CLEAR
    .union(Offer::IBRS)
    .union(Offer::IBPB)
    .union(Offer::STIBP)
    .union(Offer::SSBD)
    .union(Offer::L1D_FLUSH)
    .union(Offer::SMEP);
const ZEN: Offer = Offer::IBPB.union(Offer::SMEP);

fn skylake(offer: Offer) -> Cpu {
    cpu(Vendor::Intel, 6, 0x5e, offer, ArchCaps::empty())
}

fn icelake_server() -> Cpu {
    let caps = ArchCaps::RDCL_NO
        | ArchCaps::IBRS_ALL
        | ArchCaps::SKIP_L1DFL
        | ArchCaps::MDS_NO
        | ArchCaps::TAA_NO
        | ArchCaps::FB_CLEAR
        | ArchCaps::RRSBA;
    let offer = UPDATED | Offer::ARCH_CAPS | Offer::IBRS_ALWAYS_ON | Offer::RTM | Offer::BHI_CTRL;
    cpu(Vendor::Intel, 6, 0x6a, offer, caps)
}

fn sapphire_rapids() -> Cpu {
    let caps = icelake_server().caps
        | ArchCaps::SBDR_SSDP_NO
        | ArchCaps::FBSDP_NO
        | ArchCaps::PSDP_NO
        | ArchCaps::GDS_NO
        | ArchCaps::RFDS_NO;
    cpu(Vendor::Intel, 6, 0x8f, icelake_server().offer, caps)
}

fn zen(family: u32, model: u32, more: Offer) -> Cpu {
    cpu(Vendor::Amd, family, model, ZEN | more, ArchCaps::empty())
}

fn policy(cpu: &Cpu, line: &str) -> Policy {
    Policy::new(cpu, &options(line))
}

fn options(line: &str) -> Options {
    let line = cmdline::parse(line, "GRUB 2.06");
    assert!(line.warnings.is_empty(), "{:?}", line.warnings);
    line.options
}

#[test]
fn weaknesses_of_real_processors() {
    use Affected as A;
    let everywhere = A::SPECTRE_V1 | A::SPECTRE_V2 | A::SSB;
    let old = everywhere | A::MELTDOWN | A::L1TF | A::MDS | A::BHI;
    let none = ArchCaps::empty();
    let table = [
        ("Atom D510", cpu(Vendor::Intel, 6, 0x1c, Offer::empty(), none), A::MELTDOWN),
        (
            "Nehalem",
            cpu(Vendor::Intel, 6, 0x1a, Offer::empty(), none),
            everywhere | A::MELTDOWN | A::L1TF | A::MDS | A::BHI,
        ),
        ("Ivy Bridge", cpu(Vendor::Intel, 6, 0x3a, UPDATED, none), old | A::SRBDS),
        ("Broadwell", cpu(Vendor::Intel, 6, 0x3d, UPDATED | Offer::RTM, none), old | A::SRBDS | A::TAA),
        ("Broadwell-EP", cpu(Vendor::Intel, 6, 0x4f, UPDATED, none), old | A::MMIO),
        ("Skylake", skylake(UPDATED), old | A::SRBDS | A::MMIO | A::GDS | A::RETBLEED),
        (
            "Cascade Lake",
            cpu(
                Vendor::Intel,
                6,
                0x55,
                UPDATED | Offer::ARCH_CAPS,
                ArchCaps::RDCL_NO | ArchCaps::IBRS_ALL | ArchCaps::MDS_NO,
            ),
            everywhere | A::MMIO | A::GDS | A::BHI,
        ),
        ("Ice Lake-SP", icelake_server(), everywhere | A::MMIO | A::GDS | A::BHI),
        ("Sapphire Rapids", sapphire_rapids(), everywhere | A::BHI),
        ("Goldmont", cpu(Vendor::Intel, 6, 0x5c, UPDATED, ArchCaps::RDCL_NO), everywhere | A::RFDS),
        ("Zen", zen(0x17, 0x01, Offer::empty()), everywhere | A::RETBLEED | A::SRSO),
        ("Zen 2", zen(0x17, 0x31, Offer::IBRS | Offer::STIBP), everywhere | A::RETBLEED | A::SRSO),
        ("Zen 3", zen(0x19, 0x01, Offer::BTC_NO | Offer::IBRS), everywhere | A::SRSO),
        ("Zen 4", zen(0x19, 0x11, Offer::BTC_NO | Offer::AUTO_IBRS), everywhere | A::SRSO),
        ("Zen 5", zen(0x1a, 0x02, Offer::BTC_NO | Offer::SRSO_NO), everywhere),
        ("qemu64", cpu(Vendor::Amd, 15, 107, Offer::empty(), none), everywhere),
        ("max of QEMU", cpu(Vendor::Amd, 6, 6, Offer::SMEP, none), everywhere),
        ("somebody's", cpu(Vendor::Other, 7, 1, Offer::empty(), none), everywhere | A::MELTDOWN),
    ];
    for (name, cpu, expected) in table {
        assert_eq!(cpu.affected(), expected, "{name}");
    }
}

#[test]
fn detection_reads_the_bits() {
    let leaves = |leaf: u32, subleaf: u32| match (leaf, subleaf) {
        (0, _) => [0xd, 0x756e_6547, 0x6c65_746e, 0x4965_6e69],
        (1, _) => [0x0005_06e3, 0, 0, 1 << 28],
        (7, 0) => [2, 1 << 7 | 1 << 11, 0, 1 << 10 | 1 << 26 | 1 << 29],
        (7, 2) => [0, 0, 0, 1 << 4],
        (0xb, 0) => [1, 2, 1 << 8, 0],
        (0x8000_0000, _) => [0x8000_0008, 0, 0, 0],
        (0x8000_0008, _) => [0, 1 << 15, 0, 0],
        // Not below the highest leaf: must not be looked at.
        (0x8000_0021, _) => [u32::MAX; 4],
        _ => [0; 4],
    };
    let found = Cpu::detect(leaves, || 0x2);
    let offer = Offer::SMEP | Offer::RTM | Offer::MD_CLEAR | Offer::IBRS | Offer::IBPB | Offer::ARCH_CAPS;
    let offer = offer | Offer::BHI_CTRL | Offer::THREADS | Offer::STIBP | Offer::IBRS_ALWAYS_ON;
    assert_eq!(found, cpu(Vendor::Intel, 6, 0x5e, offer, ArchCaps::IBRS_ALL));
    // Without the bit the register is not read.
    let without = |leaf, subleaf| if leaf == 7 { [0; 4] } else { leaves(leaf, subleaf) };
    let found = Cpu::detect(without, || panic!("read of a register that is not there"));
    assert_eq!(found.caps, ArchCaps::empty());
}

#[test]
fn defaults_by_processor() {
    use Steps as S;
    let table: &[(&str, Cpu, bool, bool, Steps, u64)] = &[
        // Name, CPU, XPTI, L1TF for DomU, steps, SPEC_CTRL.
        ("Skylake, old microcode", skylake(Offer::SMEP), true, true, S::FENCE, 0),
        ("Skylake", skylake(UPDATED), true, true, S::FENCE | S::VERW | S::SPEC_CTRL, spec_ctrl::IBRS),
        (
            "Nehalem, without SMEP",
            cpu(Vendor::Intel, 6, 0x1a, UPDATED - Offer::SMEP, ArchCaps::empty()),
            true,
            true,
            S::FENCE | S::VERW | S::SPEC_CTRL | S::RSB,
            spec_ctrl::IBRS,
        ),
        (
            "Ice Lake-SP",
            icelake_server(),
            false,
            false,
            S::FENCE | S::VERW | S::SPEC_CTRL,
            spec_ctrl::IBRS | spec_ctrl::BHI_DIS_S,
        ),
        (
            "Ice Lake-SP without BHI_CTRL",
            Cpu { offer: icelake_server().offer - Offer::BHI_CTRL, ..icelake_server() },
            false,
            false,
            S::FENCE | S::VERW | S::SPEC_CTRL | S::BHB,
            spec_ctrl::IBRS,
        ),
        (
            "Sapphire Rapids",
            sapphire_rapids(),
            false,
            false,
            S::FENCE | S::SPEC_CTRL,
            spec_ctrl::IBRS | spec_ctrl::BHI_DIS_S,
        ),
        ("Zen", zen(0x17, 1, Offer::empty()), false, false, S::FENCE | S::IBPB | S::RSB, 0),
        (
            "Zen 3",
            zen(0x19, 1, Offer::BTC_NO | Offer::IBRS | Offer::STIBP | Offer::STIBP_ALWAYS | Offer::IBPB_RET),
            false,
            false,
            S::FENCE | S::SPEC_CTRL,
            spec_ctrl::IBRS | spec_ctrl::STIBP,
        ),
        (
            "Zen 3, microcode against SRSO",
            zen(0x19, 1, Offer::BTC_NO | Offer::IBRS | Offer::IBPB_RET | Offer::IBPB_BRTYPE),
            false,
            false,
            S::FENCE | S::SPEC_CTRL | S::IBPB,
            spec_ctrl::IBRS,
        ),
        (
            "qemu64",
            cpu(Vendor::Amd, 15, 107, Offer::empty(), ArchCaps::empty()),
            false,
            false,
            S::FENCE | S::RSB,
            0,
        ),
    ];
    for &(name, cpu, xpti, l1tf, steps, value) in table {
        let policy = policy(&cpu, "");
        assert_eq!((policy.xpti_dom0, policy.xpti_domu), (xpti, xpti), "{name}");
        assert_eq!((policy.l1tf_dom0, policy.l1tf_domu), (false, l1tf), "{name}");
        assert_eq!(policy.steps, steps, "{name}");
        assert_eq!(policy.spec_ctrl, value, "{name}");
        assert_eq!(policy.ibpb, cpu.offer.contains(Offer::IBPB), "{name}");
    }
    let zen4 = policy(&zen(0x19, 0x11, Offer::AUTO_IBRS | Offer::IBRS_ALWAYS_ON | Offer::IBRS), "");
    assert!(zen4.auto_ibrs);
    assert_eq!(zen4.spec_ctrl, 0);
}

#[test]
fn options_decide() {
    let cpu = skylake(UPDATED);
    let off = policy(&cpu, "spec-ctrl=no");
    assert_eq!(off, Policy { affected: off.affected, offer: off.offer, caps: off.caps, ..Policy::default() });
    assert!(!off.guards_entries());
    assert!(policy(&cpu, "xpti=no spec-ctrl=no").steps.is_empty());
    // What was said before stands.
    let split = policy(&cpu, "xpti=dom0=no,domu=yes pv-l1tf=dom0 spec-ctrl=no");
    assert_eq!((split.xpti_dom0, split.xpti_domu), (false, true));
    assert_eq!((split.l1tf_dom0, split.l1tf_domu), (true, false));
    assert!(split.steps.is_empty());

    let own_off = policy(&cpu, "spec-ctrl=no-xen");
    assert_eq!(own_off.steps, Steps::SPEC_CTRL);
    assert!(own_off.guest_msrs && own_off.spec_ctrl == 0 && own_off.xpti());
    assert_eq!(policy(&cpu, "spec-ctrl=xen=no"), own_off);

    let table = [
        ("spec-ctrl=no-verw", Steps::FENCE | Steps::SPEC_CTRL, spec_ctrl::IBRS),
        ("spec-ctrl=md-clear=pv=no", Steps::FENCE | Steps::SPEC_CTRL, spec_ctrl::IBRS),
        ("spec-ctrl=verw=hvm=no", Steps::FENCE | Steps::SPEC_CTRL | Steps::VERW, spec_ctrl::IBRS),
        ("spec-ctrl=rsb,no-branch-harden", Steps::RSB | Steps::SPEC_CTRL | Steps::VERW, spec_ctrl::IBRS),
        ("spec-ctrl=no-pv", Steps::FENCE, spec_ctrl::IBRS),
        (
            "spec-ctrl=ibpb-entry=pv",
            Steps::FENCE | Steps::SPEC_CTRL | Steps::VERW | Steps::IBPB | Steps::RSB,
            1,
        ),
        ("spec-ctrl=ssbd,ibrs=no", Steps::FENCE | Steps::SPEC_CTRL | Steps::VERW, spec_ctrl::SSBD),
        ("spec-ctrl=bti-thunk=jmp,gds-mit=no,no-stibp", Steps::FENCE | Steps::SPEC_CTRL | Steps::VERW, 1),
        ("no-spec-ctrl", Steps::empty(), 0),
    ];
    for (line, steps, value) in table {
        let policy = policy(&cpu, line);
        assert_eq!((policy.steps, policy.spec_ctrl), (steps, value), "{line}");
    }
    assert!(!policy(&cpu, "spec-ctrl=ibpb=no").ibpb);
    // What the CPU has not cannot be had.
    let asked = policy(&skylake(Offer::SMEP), "spec-ctrl=ibrs,ibpb,ssbd,stibp,l1d-flush,ibpb-entry");
    assert_eq!((asked.spec_ctrl, asked.ibpb, asked.l1d_flush), (0, false, false));
    assert!(!asked.steps.intersects(Steps::IBPB | Steps::SPEC_CTRL));
    assert!(policy(&zen(0x17, 1, Offer::empty()), "xpti").xpti_dom0);
}

#[test]
fn bad_options_are_named() {
    for bad in ["yes", "xen", "pv", "flux", "bti-thunk=fast", "rsb=pvh", "ibrs=maybe", "verw=pv=2"] {
        let line = cmdline::parse(&alloc::format!("spec-ctrl={bad}"), "GRUB 2.06");
        // `pv` alone is "on" for all of PV's primitives, which is allowed.
        assert_eq!(line.warnings.len(), usize::from(bad != "pv"), "{bad}");
    }
}

#[test]
fn the_report_reads_well() {
    assert_eq!(
        policy(&skylake(UPDATED), "").to_string(),
        "Speculation: the CPU is affected by: Spectre-v1 Spectre-v2 Meltdown SSB L1TF MDS MMIO-stale-data SRBDS GDS Retbleed BHI\n \
         CPU and microcode offer: IBRS IBPB STIBP SSBD MD_CLEAR L1D_FLUSH SMEP; ARCH_CAPABILITIES 0x0\n \
         on entry from PV guests: SPEC_CTRL LFENCE; on exit: VERW SPEC_CTRL\n \
         in the hypervisor: IBRS; when another domain's vCPU is switched to: IBPB\n \
         XPTI (page tables without the hypervisor): Dom0 and DomU\n \
         L1TF (absent entries that name RAM are refused): DomU only"
    );
    let old = policy(&skylake(Offer::SMEP), "spec-ctrl=no").to_string();
    assert!(old.contains("on entry from PV guests: nothing; on exit: nothing"), "{old}");
    assert!(old.ends_with("update the firmware"), "{old}");
}
