//! What reads files and command lines.

use fuzz_grammar::{Bytes, Source};
use kernel_image::layout::{Request, Role, plan};
use kernel_image::{Image, requirements, unpack, unpack_into};
use xen_lite_core::cmdline;

/// Most memory that a layout is made for, in pages.
const PAGES: u64 = 1 << 16;

/// An ELF file with Xen notes, damaged by the input; what parses is laid out as both kinds of domain, and every element must be
/// inside the domain's memory and apart from the others.
pub fn kernel_elf(input: &[u8]) {
    let file = patched(&model(), input);
    layout(&file);
    layout(input);
}

fn layout(file: &[u8]) {
    let Ok(image) = Image::parse(file) else { return };
    let _ = image.check_features(u32::MAX, true);
    for (role, nr_pages, initrd_bytes) in
        [(Role::Dom0, PAGES, 5000), (Role::DomU, 4096, 0), (Role::DomU, 100, 1 << 20)]
    {
        let Ok(layout) = plan(&image, &Request { role, nr_pages, initrd_bytes }) else { continue };
        assert_eq!(layout.nr_pages(), nr_pages);
        for table in layout.tables().take(64) {
            assert!(table.pfn < nr_pages, "a table at page {:#x} of {nr_pages:#x}", table.pfn);
            for (_, entry) in layout.entries(table).take(512) {
                assert!(entry.pfn < nr_pages, "an entry names page {:#x} of {nr_pages:#x}", entry.pfn);
            }
        }
        let (p2m, pages) = layout.p2m_frames();
        assert!(p2m + pages <= nr_pages, "the list of frames is outside");
    }
    for (_, bytes, zeroes) in image.loads(file) {
        let _ = (bytes.len(), zeroes);
    }
}

/// A small kernel: one segment, one note segment with the notes that matter.
fn model() -> Vec<u8> {
    let mut notes = Vec::new();
    let mut note = |kind: u32, value: &[u8]| {
        for word in [4, value.len() as u32, kind] {
            notes.extend(word.to_le_bytes());
        }
        notes.extend(b"Xen\0");
        notes.extend(value);
        notes.resize(notes.len().next_multiple_of(4), 0);
    };
    note(1, &0xffff_ffff_8010_0000_u64.to_le_bytes());
    note(2, &0xffff_ffff_8010_1000_u64.to_le_bytes());
    note(3, &0xffff_ffff_8000_0000_u64.to_le_bytes());
    note(4, &0_u64.to_le_bytes());
    note(5, b"xen-3.0\0");
    note(6, b"fuzz\0");
    note(7, b"1\0");
    note(8, b"generic\0");
    note(9, b"yes\0");
    note(10, b"!writable_page_tables|pae_pgdir_above_4gb\0");
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend(2_u16.to_le_bytes());
    file.extend(62_u16.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    for word in [0xffff_ffff_8010_0000_u64, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 2, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let data = 64 + 2 * 56_u64;
    let mut header = |kind: u32, flags: u32, offset: u64, va: u64, bytes: u64, memory: u64| {
        file.extend(kind.to_le_bytes());
        file.extend(flags.to_le_bytes());
        for word in [offset, va, va, bytes, memory, 4096] {
            file.extend(word.to_le_bytes());
        }
    };
    header(1, 7, data, 0xffff_ffff_8010_0000, notes.len() as u64, 0x3000);
    header(4, 4, data, 0xffff_ffff_8010_0000, notes.len() as u64, notes.len() as u64);
    file.extend(notes);
    file
}

/// Overwrites parts of a file as the input says: offset, length, bytes.
fn patched(file: &[u8], input: &[u8]) -> Vec<u8> {
    let mut source = Bytes::new(input);
    let mut file = file.to_vec();
    while !source.is_empty() {
        let at = source.below(file.len() as u64) as usize;
        match source.below(4) {
            // One value of a field: where arithmetic goes wrong.
            0 => {
                let value: u64 =
                    [0, u64::MAX, 1 << 63, 1 << 31, 0xffff_ffff_ffff_f000, 4096][source.below(6) as usize];
                let end = (at + 8).min(file.len());
                file[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
            }
            1 => file.truncate(at.max(1)),
            n => {
                let bytes = source.take(n as usize * 2);
                let end = (at + bytes.len()).min(file.len());
                file[at..end].copy_from_slice(&bytes[..end - at]);
            }
        }
    }
    file
}

/// Compressed data of all formats, bare and in a bzImage: whatever it claims, the output stays in its limit.
pub fn kernel_packed(input: &[u8]) {
    const LIMIT: usize = 1 << 16;
    const MAGICS: [&[u8]; 7] = [
        &[0x1f, 0x8b, 8, 0],
        b"BZh9",
        &[0x5d, 0, 0, 0, 1],
        &[0xfd, b'7', b'z', b'X', b'Z', 0, 0, 1],
        &[0x02, 0x21, 0x4c, 0x18],
        &[0x28, 0xb5, 0x2f, 0xfd],
        &[0x89, b'L', b'Z', b'O', 0, 0x0d, 0x0a, 0x1a, 0x0a],
    ];
    let Some((choice, rest)) = input.split_first() else { return };
    let body = match MAGICS.get(usize::from(choice & 7)) {
        Some(magic) => [magic, rest].concat(),
        None => rest.to_vec(),
    };
    let file = if choice & 8 == 0 { body } else { bzimage(&body) };
    let Ok(needs) = requirements(&file) else { return };
    // A dictionary that the file claims is not ours to give away.
    if needs.dictionary > 1 << 20 {
        return;
    }
    if let Ok(elf) = unpack(&file, LIMIT) {
        assert!(elf.len() <= LIMIT.max(file.len()), "{} bytes came out", elf.len());
    }
    let mut out = vec![0; LIMIT];
    if let Ok(bytes) = unpack_into(&file, &mut out) {
        assert!(bytes <= LIMIT);
    }
}

/// The head of a bzImage with this payload.
fn bzimage(payload: &[u8]) -> Vec<u8> {
    let mut file = vec![0_u8; 1024];
    file[0x1f1] = 1;
    file[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    file[0x248..0x24c].copy_from_slice(&0_u32.to_le_bytes());
    file[0x24c..0x250].copy_from_slice(&(payload.len() as u32 + 4).to_le_bytes());
    file.extend(payload);
    file.extend(4096_u32.to_le_bytes());
    file
}

/// The hypervisor's command line, from both kinds of loader. Warnings can be printed, and each is about one word.
pub fn command_line(input: &[u8]) {
    const WORDS: [&str; 24] = [
        "dom0_mem=",
        "console=",
        "com1=",
        "loglvl=",
        "guest_loglvl=",
        "noreboot",
        "maxcpus=",
        "nosmp",
        "sched=",
        "min:",
        "max:",
        ",",
        "-",
        "256M",
        "115200,8n1",
        "18446744073709551615",
        "0x",
        "--",
        "no-",
        "=",
        "spec-ctrl=",
        "xpti=",
        "G",
        ":",
    ];
    // Bytes below 32 stand for words: else few would be met.
    let text: String = input
        .iter()
        .map(|&byte| match WORDS.get(usize::from(byte)) {
            Some(word) => (*word).to_string(),
            None => char::from(byte).to_string(),
        })
        .collect();
    for loader in ["qemu", "GRUB 2.06"] {
        let line = cmdline::parse(&text, loader);
        for warning in &line.warnings {
            let shown = warning.to_string();
            assert!(!shown.contains('\n'), "{shown:?} is more than a line");
        }
        assert!(line.warnings.len() <= text.split_ascii_whitespace().count());
    }
}

/// The archive of Dom0: files lie inside of it, and reading ends.
pub fn cpio(input: &[u8]) {
    let archive = if input.first().is_some_and(|byte| byte & 1 == 0) {
        patched(&model_archive(), &input[1..])
    } else {
        input.to_vec()
    };
    let inside = archive.as_ptr_range();
    let mut files = 0;
    for file in dom0::cpio::files(&archive) {
        let Ok(file) = file else { break };
        let data = file.data.as_ptr_range();
        assert!(
            data.start >= inside.start && data.end <= inside.end,
            "{} is outside of the archive",
            file.name
        );
        files += 1;
        assert!(files <= archive.len() / 110, "more files than headers");
    }
}

fn model_archive() -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, mode, data) in
        [("guests", 0o040_755, ""), ("guests/a.cfg", 0o100_644, "name = 'a'"), ("TRAILER!!!", 0, "")]
    {
        let fields = [1, mode, 0, 0, 1, 0, data.len(), 0, 0, 0, 0, name.len() + 1, 0];
        archive.extend(b"070701");
        archive.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
        archive.extend(name.bytes());
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(data.bytes());
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive
}

/// Configurations of guests: what is accepted has a name and a kernel, and remarks say where.
pub fn config(input: &[u8]) {
    const WORDS: [&str; 24] = [
        "name",
        "kernel",
        "memory",
        "maxmem",
        "vcpus",
        "extra",
        "root",
        "uuid",
        "on_crash",
        "vif",
        "disk",
        "'",
        "\"",
        " = ",
        "[",
        "]",
        ",",
        "\n",
        "0x",
        "#",
        ";",
        "'preserve'",
        "\u{e9}",
        "18446744073709551615",
    ];
    let text: String = input
        .iter()
        .map(|&byte| match WORDS.get(usize::from(byte)) {
            Some(word) => (*word).to_string(),
            None => char::from(byte).to_string(),
        })
        .collect();
    let lines = text.split('\n').count();
    match dom0::config::parse(&text, "fallback") {
        Ok((guest, remarks)) => {
            assert!(!guest.name.is_empty() && !guest.kernel.is_empty(), "{guest:?}");
            assert!(guest.maxmem >= guest.memory && guest.memory > 0 && guest.vcpus > 0, "{guest:?}");
            assert!(remarks.iter().all(|remark| remark.line >= 1 && remark.line <= lines));
        }
        Err(remark) => assert!(remark.line >= 1 && remark.line <= lines && remark.column >= 1, "{remark}"),
    }
}
