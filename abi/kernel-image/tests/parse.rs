//! The verdict on kernels built in memory.

mod common;

use common::{BASE, Builder, num, text};
use kernel_image::{Image, ImageError, Kind, MfnValid};

fn line(builder: &Builder) -> String {
    Image::parse(&builder.build()).unwrap_err().to_string()
}

#[test]
fn a_linux_like_kernel() {
    let elf = Builder::linux()
        .note(13, [num(1), num(1)].concat())
        .note(15, num(0x80_0000_0000))
        .note(16, num(1))
        .note(17, 0x8801u32.to_le_bytes().to_vec())
        .note(18, 0x100_0800u32.to_le_bytes().to_vec())
        .build();
    let image = Image::parse(&elf).unwrap();
    let pv = image.pv().unwrap();
    assert_eq!((pv.virt_base, pv.entry), (BASE, BASE + 0x100_0000));
    assert_eq!((pv.virt_kstart, pv.virt_kend), (BASE + 0x100_0000, BASE + 0x100_3000));
    assert_eq!(pv.hypercall_page, Some(BASE + 0x100_1000));
    assert_eq!(pv.p2m_base, Some(0x80_0000_0000));
    let notes = &image.notes;
    assert!(notes.mod_start_pfn && notes.has_supported_note);
    assert_eq!((notes.features_supported, notes.features_required), (0x8811, 1));
    assert_eq!(notes.l1_mfn_valid, [MfnValid { mask: 1, value: 1 }]);
    assert_eq!(notes.phys32_entry, Some(0x100_0800));
    assert_eq!(notes.guest_os.as_deref(), Some("linux"));
    assert_eq!(image.check_features(0, true), Ok(()));
    let loads: Vec<_> = image.loads(&elf).map(|(at, data, zero)| (at, data.len(), zero)).collect();
    assert_eq!(loads, [(0x100_0000, 0x1800, 0x800), (0x100_2000, 0x10, 0xff0)]);
}

#[test]
fn notes_in_sections_and_the_older_string() {
    let mut builder = Builder::linux();
    builder.notes_in_section = true;
    assert_eq!(Image::parse(&builder.build()).unwrap().pv().unwrap().virt_base, BASE);

    let mut builder = Builder::linux().without_notes();
    builder.loads = vec![(0x4000_0000, 0x3000, 0x4000)];
    builder.entry = 0x4000_0000;
    builder.guest_section =
        Some("GUEST_OS=Mach,XEN_VER=xen-3.0,VIRT_BASE=0x40000000,HYPERCALL_PAGE=0x2,BSD_SYMTAB");
    let image = Image::parse(&builder.build()).unwrap();
    let pv = image.pv().unwrap();
    assert_eq!((pv.virt_base, pv.paddr_offset, pv.entry), (0x4000_0000, 0x4000_0000, 0x4000_0000));
    assert_eq!(pv.hypercall_page, Some(0x4000_2000));
    assert_eq!(image.notes.warnings, ["BSD_SYMTAB: the kernel starts without its symbol table"]);
}

#[test]
fn pvh_only_and_32_bit() {
    let entry = 0x10_0000u32.to_le_bytes().to_vec();
    let pvh = Builder { bits: 32, machine: 3, ..Builder::linux().without_notes().note(18, entry) };
    let image = Image::parse(&pvh.build()).unwrap();
    assert_eq!(image.kind, Kind::Pvh { entry: 0x10_0000 });
    assert_eq!(
        image.pv().unwrap_err().to_string(),
        "PVH-only kernel (entry 0x100000): it has no PV entry notes and cannot run as a PV domain"
    );
    let mut pv32 = Builder { bits: 32, machine: 3, ..Builder::linux() };
    pv32.notes[0].1 = vec![0; 4];
    assert_eq!(line(&pv32), "32-bit PV kernel: only 64-bit PV kernels are supported");
}

#[test]
fn refusals_of_the_elf() {
    let base = Builder::linux;
    assert_eq!(line(&Builder { machine: 183, ..base() }), "ELF64 for machine 183 (AArch64), not x86-64");
    assert_eq!(
        line(&Builder { e_type: 1, ..base() }),
        "ELF type 1 is not an executable (2) or a position-independent one (3)"
    );
    assert_eq!(
        line(&base().without_notes()),
        "no Xen ELF notes and no __xen_guest section: not a kernel for Xen"
    );
    assert_eq!(line(&Builder { loads: vec![], ..base() }), "the ELF has no loadable segment");
    assert_eq!(
        line(&Builder { loads: vec![(0x100_0000, 0x20, 0x10)], ..base() }),
        "segment 0: 0x20 bytes in the file, but only 0x10 in memory"
    );
    assert_eq!(
        line(&Builder { loads: vec![(0x1000, 0, 0x2000), (0x2000, 0, 0x1000)], ..base() }),
        "segment 1: memory from 0x2000 overlaps segment 0 at 0x1000..0x3000"
    );
    assert_eq!(
        line(&Builder { loads: vec![(u64::MAX, 0, 0x10)], ..base() }),
        "segment 0: memory range from 0xffffffffffffffff, 0x10 bytes, wraps around"
    );
    let mut elf = base().build();
    elf[64 + 32..64 + 40].copy_from_slice(&0x7777_7777u64.to_le_bytes());
    let error = Image::parse(&elf).unwrap_err().to_string();
    assert_eq!(error, format!("segment 0: file range 0xe8..0x7777785f beyond file size {:#x}", elf.len()));
    let elf = base().build();
    let cut = Image::parse(&elf[..elf.len() - 1]).unwrap_err();
    assert!(matches!(cut, ImageError::Truncated { what: "ELF headers", .. }), "{cut}");
}

#[test]
fn refusals_of_notes() {
    let base = Builder::linux;
    assert_eq!(line(&base().note(1, vec![0; 5])), "Xen note ENTRY: a number of 5 bytes, 4 or 8 are allowed");
    assert_eq!(
        line(&base().note(1, num(BASE))),
        "entry point 0xffffffff80000000: outside the kernel at 0xffffffff81000000..0xffffffff81003000"
    );
    assert_eq!(
        line(&base().note(2, num(BASE + 0x100_1001))),
        "HYPERCALL_PAGE 0xffffffff81001001: not page-aligned"
    );
    assert_eq!(
        line(&base().note(5, text("xen-2.0"))),
        "Xen note XEN_VERSION: \"xen-2.0\", only kernels for \"xen-3.0\" (the interface since then) can be loaded"
    );
    assert!(line(&base().note(3, num(0xffff_8000_0000_0000))).contains("meets the hypervisor's hole"));
    assert_eq!(
        line(&base().note(4, num(0x200_0000))),
        "lowest load address 0x1000000: below PADDR_OFFSET 0x2000000"
    );
    assert_eq!(
        line(&base().note(10, text("!time_travel"))),
        "the kernel requires features not offered: time_travel"
    );
    let needs = base().note(10, text("!supervisor_mode_kernel|!writable_page_tables"));
    let image = Image::parse(&needs.build()).unwrap();
    assert_eq!(
        image.check_features(0x2_28f0, false).unwrap_err().to_string(),
        "the kernel requires features not offered: supervisor_mode_kernel"
    );
    let domu_only = Image::parse(&base().note(17, num(1)).build()).unwrap();
    assert_eq!(domu_only.check_features(0, false), Ok(()));
    assert_eq!(domu_only.check_features(0, true), Err(ImageError::NotForDom0));
}
