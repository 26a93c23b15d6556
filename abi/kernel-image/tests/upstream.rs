//! Kernels that other people built, as Debian 12 ships them.
//!
//! They stand unpacked in `target/upstream/root`, or in the folder that `XEN_LITE_UPSTREAM_ROOT` names: `cargo xtask test` fetches them,
//! and runs these tests with the feature `upstream-kernels`. A file that is missing is a failure.

use std::path::PathBuf;

use kernel_image::layout::{Region, Request, Role, plan};
use kernel_image::{Image, Kind, requirements, unpack};

const LIMIT: usize = 256 << 20;

fn root() -> PathBuf {
    match std::env::var_os("XEN_LITE_UPSTREAM_ROOT") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/upstream/root"),
    }
}

/// The first file in `folder` whose name starts with `prefix`.
fn read(folder: &str, prefix: &str) -> Vec<u8> {
    let found = std::fs::read_dir(root().join(folder)).ok().and_then(|entries| {
        entries
            .flatten()
            .find(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|e| e.path())
    });
    match found {
        Some(path) => std::fs::read(path).unwrap(),
        None => panic!("{folder}/{prefix}* is missing in {}", root().display()),
    }
}

#[test]
fn debian_linux() {
    let file = read("boot", "vmlinuz-6.1");
    let needs = requirements(&file).unwrap();
    assert_eq!((needs.format, needs.dictionary), ("xz", 32 << 20));
    let elf = unpack(&file, LIMIT).unwrap();
    assert_eq!(needs.output, Some(elf.len() as u64));
    let image = Image::parse(&elf).unwrap();
    let pv = image.pv().unwrap();
    assert_eq!(pv.virt_base, 0xffff_ffff_8000_0000);
    assert_eq!(pv.virt_kstart, 0xffff_ffff_8100_0000);
    assert_eq!(pv.p2m_base, Some(0x80_0000_0000));
    let notes = &image.notes;
    assert!(notes.mod_start_pfn && notes.suspend_cancel && notes.phys32_entry.is_some());
    assert_eq!((notes.features_required, notes.features_supported), (1, 0x8811));
    assert!(notes.warnings.is_empty(), "{:?}", notes.warnings);
    assert_eq!(image.check_features(0x2_28f0, true), Ok(()));
    // The numbers that Xen 4.17 prints for this kernel with dom0_mem=256M and an initrd.
    if pv.virt_kend == 0xffff_ffff_84a0_0000 {
        let layout =
            plan(&image, &Request { role: Role::Dom0, nr_pages: 256 << 8, initrd_bytes: 3_000_000 }).unwrap();
        let start_and_pages = |region: Region| (region.va.unwrap(), region.pages);
        assert_eq!(start_and_pages(layout.p2m), (0x80_0000_0000, 0x80));
        assert_eq!(start_and_pages(layout.start_info), (0xffff_ffff_84a0_0000, 1));
        assert_eq!(start_and_pages(layout.tables), (0xffff_ffff_84a0_1000, 0x29));
        assert_eq!(layout.stack_top(), 0xffff_ffff_84a2_b000);
        assert_eq!(layout.v_end, 0xffff_ffff_84c0_0000);
    }
    for role in [Role::Dom0, Role::DomU] {
        let layout = plan(&image, &Request { role, nr_pages: 256 << 8, initrd_bytes: 2 << 20 }).unwrap();
        assert_eq!(layout.kernel.pfn, 0x1000);
        assert_eq!((layout.p2m.pages, layout.p2m_tables.pages), (128, 3));
        assert!(layout.mod_start().1);
    }
}

#[test]
fn grub_for_64_bit_pv() {
    let file = read("usr/lib/grub-xen", "grub-x86_64-xen.bin");
    let elf = unpack(&file, LIMIT).unwrap();
    let image = Image::parse(&elf).unwrap();
    let pv = image.pv().unwrap();
    assert_eq!((pv.virt_base, pv.entry, pv.virt_kstart), (0, 0, 0));
    assert_eq!(image.notes.loader.as_deref(), Some("generic"));
    let layout = plan(&image, &Request { role: Role::DomU, nr_pages: 16 << 8, initrd_bytes: 0 }).unwrap();
    assert_eq!(layout.kernel.pfn, 0);
    // As Dom0 of Xen 4.17 with dom0_mem=256M and an initrd of 3 000 000 bytes (0x2dc6c0).
    let dom0 =
        plan(&image, &Request { role: Role::Dom0, nr_pages: 256 << 8, initrd_bytes: 3_000_000 }).unwrap();
    assert_eq!(dom0.mod_start(), (0x61_4000, false));
    assert_eq!((dom0.p2m.va, dom0.start_info.va), (Some(0x8f_1000), Some(0x97_1000)));
    assert_eq!((dom0.tables.va, dom0.tables.pages, dom0.stack_top()), (Some(0x97_2000), 9, 0x97_c000));
    assert_eq!(dom0.v_end, 0xc0_0000);
    assert_eq!(layout.v_end, 8 << 20);
    assert_eq!(layout.table_counts(), [4, 1, 1, 1]);
}

#[test]
fn grub_for_32_bit() {
    let pv = read("usr/lib/grub-xen", "grub-i386-xen.bin");
    assert_eq!(
        Image::parse(&pv).unwrap_err().to_string(),
        "32-bit PV kernel: only 64-bit PV kernels are supported"
    );
    let pvh = read("usr/lib/grub-xen", "grub-i386-xen_pvh.bin");
    assert_eq!(Image::parse(&pvh).unwrap().kind, Kind::Pvh { entry: 0x10_0000 });
}

#[test]
fn gnu_mach_by_the_older_string() {
    let file = read("boot", "gnumach");
    let elf = unpack(&file, LIMIT).unwrap();
    let image = Image::parse(&elf).unwrap();
    let pv = image.pv().unwrap();
    assert_eq!((pv.virt_base, pv.entry), (0x4000_0000, 0x4000_0000));
    assert_eq!(pv.hypercall_page, Some(0x4000_2000));
    assert_eq!(image.notes.guest_os.as_deref(), Some("GNU Mach"));
    assert!(plan(&image, &Request { role: Role::DomU, nr_pages: 64 << 8, initrd_bytes: 0 }).is_ok());
}

#[test]
fn xen_itself_is_no_pv_guest() {
    let file = read("boot", "xen-4.17-amd64.gz");
    let elf = unpack(&file, LIMIT).unwrap();
    // The hypervisor itself carries a PVH entry note for running as a nested guest, or none at all.
    assert!(Image::parse(&elf).and_then(|image| image.pv().copied()).is_err());
}
