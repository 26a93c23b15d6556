//! Containers and codecs, on files made by the usual tools.

mod common;

use std::borrow::Cow;

use common::bzimage;
use kernel_image::{ImageError, requirements, unpack, unpack_into};

const LIMIT: usize = 1 << 20;
const SIZE: usize = 20_000;
const FILES: [(&str, &[u8]); 6] = [
    ("gzip", include_bytes!("data/small.gz")),
    ("bzip2", include_bytes!("data/small.bz2")),
    ("lzma", include_bytes!("data/small.lzma")),
    ("xz", include_bytes!("data/small.xz")),
    ("lz4", include_bytes!("data/small.lz4")),
    ("zstd", include_bytes!("data/small.zst")),
];

/// The content, by the one codec here that checks a CRC with code of its own.
fn reference() -> Vec<u8> {
    let data = unpack(FILES[0].1, LIMIT).unwrap().into_owned();
    assert_eq!(data.len(), SIZE);
    data
}

fn payload(data: &[u8], format: &str) -> Vec<u8> {
    let size = if format == "gzip" { vec![] } else { (SIZE as u32).to_le_bytes().to_vec() };
    bzimage(0x20f, &[data, &size].concat())
}

#[test]
fn every_codec_gives_the_same() {
    let expected = reference();
    for (format, data) in FILES {
        assert_eq!(unpack(data, LIMIT).unwrap(), expected, "{format}");
        let file = payload(data, format);
        assert_eq!(unpack(&file, LIMIT).unwrap(), expected, "bzImage {format}");
        let needs = requirements(&file).unwrap();
        assert_eq!((needs.format, needs.output), (format, Some(SIZE as u64)));
        assert_eq!(needs.dictionary, if format == "xz" { 32 << 20 } else { 0 });
        let mut out = vec![0; SIZE];
        assert_eq!(unpack_into(&file, &mut out), Ok(SIZE), "{format}");
        assert_eq!(out, expected);
    }
}

/// lzma needs the most, about 32 KiB; without optimisation everything takes more.
#[test]
fn every_codec_gets_along_with_a_small_stack() {
    let size = if cfg!(debug_assertions) { 128 << 10 } else { 64 << 10 };
    for (format, data) in FILES {
        let work = move || {
            let mut out = vec![0; SIZE];
            unpack_into(data, &mut out)
        };
        let thread = std::thread::Builder::new().stack_size(size).spawn(work).unwrap();
        assert_eq!(thread.join().unwrap(), Ok(SIZE), "{format}");
    }
}

#[test]
fn a_plain_elf_is_borrowed() {
    let data = reference();
    assert!(matches!(unpack(&data, 0).unwrap(), Cow::Borrowed(_)));
}

#[test]
fn output_is_bounded_whatever_the_hint_says() {
    for (format, data) in FILES {
        let mut small = vec![0; SIZE - 1];
        let error = unpack_into(data, &mut small).unwrap_err();
        assert!(matches!(error, ImageError::TooLarge { .. }), "{format}: {error}");
        // A hint of 1 byte, and one of 4 GiB - 1.
        let mut file = bzimage(0x20f, &[data, &1u32.to_le_bytes()[..]].concat());
        if format != "gzip" {
            assert_eq!(unpack(&file, LIMIT).unwrap(), reference(), "{format}");
        }
        let end = file.len();
        file[end - 4..].fill(0xff);
        assert_eq!(
            unpack(&file, LIMIT).unwrap_err().to_string(),
            format!("the {format} data unpacks to 4294967295 bytes, the limit is 1048576 bytes")
        );
    }
}

#[test]
fn truncation_is_an_error_for_every_codec_and_length() {
    let mut out = vec![0; SIZE];
    for (format, data) in FILES {
        // The zstd and xz trailers hold checks only; everything before is needed.
        for len in (0..data.len() - 12).step_by(211) {
            let result = unpack_into(&data[..len], &mut out);
            assert!(result.map_or(true, |len| len < SIZE), "{format} {len}");
        }
    }
}

#[test]
fn refusals_name_the_reason() {
    let line = |file: &[u8]| unpack(file, LIMIT).unwrap_err().to_string();
    assert_eq!(line(b""), "not an ELF or bzImage: 0 bytes that start with [00, 00, 00, 00]");
    assert_eq!(
        line(&bzimage(0x207, b"")),
        "bzImage of boot protocol 2.07, at least 2.08 is needed to find its payload"
    );
    assert_eq!(
        line(&bzimage(0x20f, b"MZ..")),
        "bzImage payload at 0xa40 starts with [4d, 5a, 2e, 2e]: not gzip, bzip2, lzma, xz, lz4, zstd or ELF"
    );
    let whole = bzimage(0x20f, &[0; 100]);
    assert_eq!(
        line(&whole[..whole.len() - 1]),
        "truncated: bzImage payload at bytes 0xa40..0xaa4, but the file has 0xaa3 bytes"
    );
    let mut damaged = FILES[0].1.to_vec();
    let end = damaged.len();
    damaged[end - 5] ^= 1;
    assert!(line(&damaged).starts_with("damaged gzip data: CRC is 0x"), "{}", line(&damaged));
    // "hello" in gzip: intact, but not a kernel.
    let hello = [
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 7, 0, 0x86, 0xa6, 0x10, 0x36, 5, 0,
        0, 0,
    ];
    assert_eq!(line(&hello), "the unpacked payload is not an ELF: it starts with [68, 65, 6c, 6c]");
}
