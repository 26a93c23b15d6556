//! No input makes the loader panic, whatever was done to it.

mod common;

use common::{Builder, bzimage, num};
use kernel_image::layout::{Request, Role, plan};
use kernel_image::{Image, unpack};
use proptest::prelude::*;

const FILES: [&[u8]; 6] = [
    include_bytes!("data/small.gz"),
    include_bytes!("data/small.bz2"),
    include_bytes!("data/small.lzma"),
    include_bytes!("data/small.xz"),
    include_bytes!("data/small.lz4"),
    include_bytes!("data/small.zst"),
];

const MAGIC: [&[u8]; 8] = [
    b"",
    b"\x7fELF\x02\x01\x01",
    b"\x1f\x8b\x08",
    b"BZh9",
    b"\xfd7zXZ\0",
    b"\x28\xb5\x2f\xfd",
    b"\x02\x21\x4c\x18",
    b"\x5d\0\0",
];

/// Goes all the way; every line must be one line.
fn load(file: &[u8]) {
    let result = unpack(file, 1 << 16).and_then(|elf| {
        let image = Image::parse(&elf)?;
        image.check_features(0, true)?;
        let _ = image.loads(&elf).count();
        for role in [Role::Dom0, Role::DomU] {
            let layout = plan(&image, &Request { role, nr_pages: 1 << 14, initrd_bytes: 4096 })?;
            let _ = layout.tables().map(|table| layout.entries(table).count()).sum::<usize>();
        }
        Ok(())
    });
    if let Err(error) = result {
        let line = error.to_string();
        assert!(!line.contains('\n') && line.len() < 400, "{line}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_elf(at in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut: prop::sample::Index, do_cut: bool) {
        let mut elf = Builder::linux().note(15, num(0x80_0000_0000)).note(13, vec![1; 16]).build();
        for (index, value) in at {
            // Most of the file is payload: aim at headers and notes.
            let place = index.index(700);
            let len = elf.len();
            let place = if place < 350 { place } else { len - 700 + place };
            elf[place] = value;
        }
        if do_cut {
            elf.truncate(cut.index(elf.len()));
        }
        load(&elf);
    }

    #[test]
    fn mutated_archives(which in 0usize..6, at: prop::sample::Index, value: u8, cut: prop::sample::Index, do_cut: bool, boxed: bool) {
        let mut data = FILES[which].to_vec();
        let place = at.index(data.len());
        data[place] = value;
        if do_cut {
            data.truncate(cut.index(data.len()));
        }
        load(&if boxed { bzimage(0x20c, &data) } else { data });
    }

    #[test]
    fn random_bytes(data in proptest::collection::vec(any::<u8>(), 0..300), magic in 0usize..8) {
        let start = MAGIC[magic];
        load(&[start, &data].concat());
    }
}
