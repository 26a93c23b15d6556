//! Start-of-day memory, checked against the rules of `xen/xen.h` by walking the planned tables.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{BASE, Builder, num};
use kernel_image::Image;
use kernel_image::layout::{Layout, Region, Request, Role, Table, plan};
use proptest::prelude::*;

const MIB: u64 = 256;

fn request(role: Role, nr_pages: u64, initrd_bytes: u64) -> Request {
    Request { role, nr_pages, initrd_bytes }
}

fn image(builder: &Builder) -> Image {
    Image::parse(&builder.build()).unwrap()
}

/// Every virtual page that the tables map: its page and whether it is writable.
fn walk(layout: &Layout) -> BTreeMap<u64, (u64, bool)> {
    let by_pfn: BTreeMap<u64, Table> = layout.tables().map(|table| (table.pfn, table)).collect();
    assert_eq!(by_pfn.len(), layout.tables().count(), "two tables in one page");
    let mut mapped = BTreeMap::new();
    let mut reached = BTreeSet::new();
    let mut todo = vec![(layout.tables().next().unwrap(), 0u64)];
    while let Some((table, va)) = todo.pop() {
        assert!(reached.insert(table.pfn), "table {table:?} is linked twice");
        for (index, entry) in layout.entries(table) {
            let va = va | index << (12 + 9 * (table.level - 1));
            if table.level == 1 {
                let va = if va >> 47 != 0 { va | !0 << 48 } else { va };
                mapped.insert(va, (entry.pfn, entry.writable));
            } else {
                let child = by_pfn[&entry.pfn];
                assert_eq!(child.level, table.level - 1);
                todo.push((child, va));
            }
        }
    }
    assert_eq!(reached.len(), by_pfn.len(), "a table is not linked");
    mapped
}

/// All rules that hold for every plan.
fn check(layout: &Layout) {
    let mapped = walk(layout);
    let mut regions: Vec<Region> = vec![layout.kernel, layout.p2m, layout.p2m_tables, layout.start_info];
    regions.extend(layout.initrd.into_iter().chain(layout.xenstore).chain(layout.console));
    regions.extend([layout.tables, layout.stack]);
    let mut used = BTreeSet::new();
    for region in &regions {
        assert!(region.pfns().all(|pfn| pfn < layout.nr_pages() && used.insert(pfn)), "{region:?} overlaps");
        for (i, pfn) in region.pfns().enumerate() {
            let Some(va) = region.va else { continue };
            let is_table = region == &layout.tables;
            assert_eq!(mapped.get(&(va + i as u64 * 4096)), Some(&(pfn, !is_table)), "{region:?}");
        }
    }
    assert!(used.iter().all(|pfn| *pfn < layout.first_free_pfn));
    for pfn in 0..layout.mapped_pages {
        assert_eq!(mapped[&(layout.virt_base + pfn * 4096)].0, pfn);
    }
    let list = if layout.p2m_relocated { layout.p2m.pages } else { 0 };
    assert_eq!(mapped.len() as u64, layout.mapped_pages + list);
    assert!(layout.v_end.is_multiple_of(4 << 20));
    assert!(layout.v_end - layout.stack_top() >= 512 << 10);
    assert_eq!(
        layout.tables().filter(|t| layout.tables.pfns().contains(&t.pfn)).count() as u64,
        layout.tables.pages
    );
    assert_eq!(layout.table_counts().iter().sum::<u64>(), layout.tables.pages);
    assert_eq!(layout.tables().next().map(|root| (root.level, root.pfn)), Some((4, layout.tables.pfn)));
}

#[test]
fn a_dom0_packs_its_elements_in_order() {
    let layout = plan(&image(&Builder::linux()), &request(Role::Dom0, 64 * MIB, 5000)).unwrap();
    check(&layout);
    let pfns = |region: Region| (region.pfn, region.pages);
    assert_eq!(pfns(layout.kernel), (0x1000, 3));
    assert_eq!(pfns(layout.initrd.unwrap()), (0x1003, 2));
    assert_eq!(pfns(layout.p2m), (0x1005, 32));
    assert_eq!(pfns(layout.start_info), (0x1025, 1));
    assert_eq!((layout.xenstore, layout.console), (None, None));
    // The region is 20 MiB: ten L1 tables, one of each other level.
    assert_eq!(pfns(layout.tables), (0x1026, 13));
    assert_eq!(layout.table_counts(), [10, 1, 1, 1]);
    assert_eq!(pfns(layout.stack), (0x1033, 1));
    assert_eq!(layout.v_end, BASE + (20 << 20));
    assert_eq!(layout.stack_top(), BASE + 0x103_4000);
    assert_eq!(layout.mod_start(), (BASE + 0x100_3000, false));
    assert_eq!(layout.p2m_frames(), (0, 0));
}

#[test]
fn a_domu_has_rings_and_may_be_smaller_than_its_region() {
    let builder = Builder { loads: vec![(0, 0x1000, 0x3e_0000)], ..Builder::linux() }
        .note(1, num(0))
        .note(2, num(0))
        .note(3, num(0));
    let layout = plan(&image(&builder), &request(Role::DomU, 5 * MIB, 0)).unwrap();
    check(&layout);
    assert_eq!(layout.xenstore.unwrap().pfn, layout.start_info.pfn + 1);
    assert_eq!(layout.console.unwrap().pfn, layout.start_info.pfn + 2);
    assert_eq!(layout.tables.pfn, layout.start_info.pfn + 3);
    assert_eq!(layout.v_end, 8 << 20);
    assert_eq!(layout.mapped_pages, 5 * MIB);
    assert_eq!(
        plan(&image(&builder), &request(Role::Dom0, 5 * MIB, 0)).unwrap_err().to_string(),
        "domain too small for kernel, initrd and page tables: 2048 pages (8192 KiB) needed, 1280 pages (5120 KiB) given"
    );
}

#[test]
fn init_p2m_and_mod_start_pfn_go_behind_the_region() {
    let builder = Builder::linux().note(15, num(0x80_0000_0000)).note(16, num(1));
    let layout = plan(&image(&builder), &request(Role::DomU, 600 * MIB, 3 << 20)).unwrap();
    check(&layout);
    let end = (layout.v_end - layout.virt_base) / 4096;
    assert_eq!(layout.mod_start(), (end, true));
    assert_eq!((layout.p2m.pfn, layout.p2m.pages), (end + 768, 300));
    assert_eq!(layout.p2m.va, Some(0x80_0000_0000));
    // One L3, one L2, one L1 of its own under the shared root.
    assert_eq!(layout.p2m_tables.pages, 3);
    assert_eq!(layout.p2m_frames(), (end + 768, 303));
}

#[test]
fn a_list_in_the_same_2_mib_shares_tables() {
    // The region is 4..8 MiB below 1 GiB; the list directly behind it.
    let builder = Builder { loads: vec![(0, 0x1000, 0x1000)], ..Builder::linux() }
        .note(1, num(0x40_0000))
        .note(2, num(0x40_0000))
        .note(3, num(0x40_0000))
        .note(15, num(0x80_0000));
    let layout = plan(&image(&builder), &request(Role::DomU, 16 * MIB, 0)).unwrap();
    check(&layout);
    assert_eq!(layout.p2m_tables.pages, 1);
}

#[test]
fn too_small_names_the_numbers() {
    let image = image(&Builder::linux());
    let line = |pages, initrd| plan(&image, &request(Role::Dom0, pages, initrd)).unwrap_err().to_string();
    assert_eq!(
        line(16 * MIB, 0),
        "domain too small for the kernel: 4100 pages (16400 KiB) needed, 4096 pages (16384 KiB) given"
    );
    assert_eq!(
        line(32 * MIB, 100 << 20),
        "domain too small for the initrd: 29699 pages (118796 KiB) needed, 8192 pages (32768 KiB) given"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_plan_obeys_the_rules(
        pages in 1u64..400 * 256,
        kernel in 1u64..40 << 20,
        paddr in (0u64..0x200_0000).prop_map(|a| a & !7),
        base in prop_oneof![Just(0u64), Just(BASE), Just(0x7fff_ff80_0000u64), (0u64..1 << 30).prop_map(|a| a & !0xfff)],
        initrd in prop_oneof![Just(0u64), 1u64..100 << 20],
        p2m in prop_oneof![Just(None), Just(Some(0x80_0000_0000u64)), (0u64..1 << 31).prop_map(|a| Some(a & !0xfff))],
        high in any::<bool>(),
        dom0 in any::<bool>(),
    ) {
        let mut builder = Builder { loads: vec![(paddr, 0, kernel)], ..Builder::linux() };
        builder = builder.note(3, num(base)).note(1, num(base.wrapping_add(paddr)));
        builder.notes.retain(|(kind, _)| *kind != 2);
        if let Some(p2m) = p2m {
            builder = builder.note(15, num(p2m));
        }
        if high {
            builder = builder.note(16, num(1));
        }
        let role = if dom0 { Role::Dom0 } else { Role::DomU };
        if let Ok(image) = Image::parse(&builder.build())
            && let Ok(layout) = plan(&image, &request(role, pages, initrd))
        {
            check(&layout);
        }
    }
}
