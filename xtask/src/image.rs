//! Turns the linked hypervisor, an ELF64 in the higher half, into the ELF32 that boot loaders take.
//!
//! QEMU's `-kernel` refuses an ELF64 multiboot image, and GRUB's `multiboot` wants addresses below 4 GiB. Both only
//! copy segments to physical addresses and jump, in 32-bit mode, to the entry point. So the wrapper keeps each
//! segment's bytes and order, and gives as address the physical one (`p_paddr`) for both kinds of address.
//!
//! A multiboot 1 header must lie, 4-byte aligned, in the first 8 KiB of the file; a multiboot 2 header, 8-byte
//! aligned, in the first 32 KiB. The file begins with the first segment after one page of headers, and [`wrap`]
//! looks for both.

use crate::symbols;
use anyhow::{Context, Result, bail, ensure};
use object::elf::{EM_386, EM_X86_64, ET_EXEC, FileHeader64, PF_R, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{LittleEndian, pod};

const MULTIBOOT1_MAGIC: u32 = 0x1bad_b002;
const MULTIBOOT1_REACH: usize = 8 << 10;
const MULTIBOOT2_MAGIC: u32 = 0xe852_50d6;
const MULTIBOOT2_REACH: usize = 32 << 10;

const PAGE: usize = 4096;
const FILE_HEADER_SIZE: usize = 52;
const PROGRAM_HEADER_SIZE: usize = 32;

/// A loadable segment.
struct Segment<'d> {
    physical: u32,
    virtual_start: u64,
    memory_size: u32,
    flags: u32,
    data: &'d [u8],
}

/// Wraps the ELF64 image `elf64`.
///
/// # Errors
/// If it is no x86-64 ELF executable, a segment lies beyond 4 GiB, or a boot header is missing or out of reach.
pub fn wrap(elf64: &[u8]) -> Result<Vec<u8>> {
    let header =
        FileHeader64::<LittleEndian>::parse(elf64).context("the linked hypervisor is not an ELF64 file")?;
    let endian = header.endian()?;
    ensure!(header.e_machine(endian) == EM_X86_64, "the linked hypervisor is not for x86-64");
    let mut segments = segments(header, endian, elf64)?;
    let names = symbols::table(elf64, base(&segments)).context("making the table of symbols")?;
    segments.push(after(&segments, &names)?);
    let entry = physical_entry(header.e_entry(endian), &segments)?;
    let file = write(entry, &segments)?;
    find_header(&file, MULTIBOOT1_MAGIC, 4, MULTIBOOT1_REACH, multiboot1_is_valid)
        .context("no multiboot 1 header in the first 8 KiB of the image")?;
    find_header(&file, MULTIBOOT2_MAGIC, 8, MULTIBOOT2_REACH, multiboot2_is_valid)
        .context("no multiboot 2 header in the first 32 KiB of the image")?;
    Ok(file)
}

fn segments<'d>(
    header: &FileHeader64<LittleEndian>,
    endian: LittleEndian,
    file: &'d [u8],
) -> Result<Vec<Segment<'d>>> {
    let mut segments = Vec::new();
    for program in header.program_headers(endian, file)? {
        if program.p_type(endian) != PT_LOAD || program.p_memsz(endian) == 0 {
            continue;
        }
        let start = program.p_paddr(endian);
        let end = start.checked_add(program.p_memsz(endian)).filter(|&end| end <= 1 << 32);
        ensure!(end.is_some(), "a segment at physical {start:#x} does not end below 4 GiB");
        let data = program.data(endian, file).ok().context("a segment lies outside of the file")?;
        segments.push(Segment {
            physical: u32::try_from(start)?,
            virtual_start: program.p_vaddr(endian),
            memory_size: u32::try_from(program.p_memsz(endian))?,
            flags: program.p_flags(endian).0,
            data,
        });
    }
    ensure!(!segments.is_empty(), "the linked hypervisor has no loadable segment");
    Ok(segments)
}

/// What is to be subtracted from the image's virtual addresses to get physical ones.
fn base(segments: &[Segment<'_>]) -> u64 {
    let distance = |segment: &Segment<'_>| segment.virtual_start.wrapping_sub(u64::from(segment.physical));
    segments.iter().map(distance).max().unwrap_or(0)
}

/// A read-only segment that begins on the page after the image.
fn after<'d>(segments: &[Segment<'_>], data: &'d [u8]) -> Result<Segment<'d>> {
    let ends = segments.iter().map(|segment| u64::from(segment.physical) + u64::from(segment.memory_size));
    let end = ends.max().unwrap_or(0).next_multiple_of(PAGE as u64);
    Ok(Segment {
        physical: u32::try_from(end).context("the image leaves no room for its symbols below 4 GiB")?,
        virtual_start: end,
        memory_size: u32::try_from(data.len())?,
        flags: PF_R.0,
        data,
    })
}

/// The entry point as a physical address; the linker may give it as either.
fn physical_entry(entry: u64, segments: &[Segment<'_>]) -> Result<u32> {
    for segment in segments {
        let size = u64::from(segment.memory_size);
        for start in [u64::from(segment.physical), segment.virtual_start] {
            if let Some(offset) = entry.checked_sub(start).filter(|&offset| offset < size) {
                return Ok(segment.physical + u32::try_from(offset)?);
            }
        }
    }
    bail!("the entry point {entry:#x} lies in no loadable segment")
}

fn write(entry: u32, segments: &[Segment<'_>]) -> Result<Vec<u8>> {
    let mut file = vec![0; PAGE];
    let headers = FILE_HEADER_SIZE + segments.len() * PROGRAM_HEADER_SIZE;
    ensure!(headers <= PAGE, "too many segments");
    let mut offsets = Vec::new();
    for segment in segments {
        // Offset and address agree modulo the page size, as the ELF specification asks.
        let in_page = segment.physical as usize % PAGE;
        let gap = (in_page + PAGE - file.len() % PAGE) % PAGE;
        file.resize(file.len() + gap, 0);
        offsets.push(u32::try_from(file.len())?);
        file.extend_from_slice(segment.data);
    }
    let mut head = Vec::with_capacity(PAGE);
    put_file_header(&mut head, entry, u16::try_from(segments.len())?);
    for (segment, offset) in segments.iter().zip(offsets) {
        let size = u32::try_from(segment.data.len())?;
        let page = u32::try_from(PAGE)?;
        let words = [
            PT_LOAD.0,
            offset,
            segment.physical,
            segment.physical,
            size,
            segment.memory_size,
            segment.flags,
            page,
        ];
        head.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }
    file[..head.len()].copy_from_slice(&head);
    Ok(file)
}

fn put_file_header(head: &mut Vec<u8>, entry: u32, segments: u16) {
    // Magic, 32-bit, little endian, version 1, no ABI.
    head.extend([0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    head.extend([ET_EXEC.0, EM_386.0].iter().flat_map(|half| half.to_le_bytes()));
    let words = [1, entry, FILE_HEADER_SIZE as u32, 0, 0];
    head.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    let halves = [FILE_HEADER_SIZE as u16, PROGRAM_HEADER_SIZE as u16, segments, 0, 0, 0];
    head.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
}

/// Reads the little-endian words at `at`.
fn words<const N: usize>(file: &[u8], at: usize) -> Option<[u32; N]> {
    let bytes = file.get(at..at + 4 * N)?;
    let (words, _) = pod::slice_from_bytes::<[u8; 4]>(bytes, N).ok()?;
    Some(std::array::from_fn(|i| u32::from_le_bytes(words[i])))
}

fn find_header(
    file: &[u8],
    magic: u32,
    align: usize,
    reach: usize,
    valid: fn(&[u8], usize) -> bool,
) -> Option<usize> {
    let last = reach.min(file.len());
    (0..last).step_by(align).find(|&at| words::<1>(file, at) == Some([magic]) && valid(file, at))
}

fn multiboot1_is_valid(file: &[u8], at: usize) -> bool {
    let Some([magic, flags, checksum]) = words::<3>(file, at) else { return false };
    at + 12 <= MULTIBOOT1_REACH && magic.wrapping_add(flags).wrapping_add(checksum) == 0
}

fn multiboot2_is_valid(file: &[u8], at: usize) -> bool {
    let Some([magic, arch, length, checksum]) = words::<4>(file, at) else { return false };
    let sum = magic.wrapping_add(arch).wrapping_add(length).wrapping_add(checksum);
    at + length as usize <= MULTIBOOT2_REACH && sum == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers() -> Vec<u8> {
        let mb1 = [MULTIBOOT1_MAGIC, 3, 0u32.wrapping_sub(MULTIBOOT1_MAGIC + 3)];
        let mb2 = [MULTIBOOT2_MAGIC, 0, 24, 0u32.wrapping_sub(MULTIBOOT2_MAGIC + 24), 0, 8];
        let pad = [0u32];
        mb1.iter().chain(&pad).chain(&mb2).flat_map(|word| word.to_le_bytes()).collect()
    }

    /// An ELF64 with one segment: virtual 0xffff82d000200000, physical 0x200000, entry at its byte 16.
    fn elf64(data: &[u8]) -> Vec<u8> {
        let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        file.extend([2u16, 62].iter().flat_map(|half| half.to_le_bytes()));
        file.extend(1u32.to_le_bytes());
        file.extend([0xffff_82d0_0020_0010_u64, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
        file.extend(0u32.to_le_bytes());
        file.extend([64u16, 56, 1, 64, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
        file.extend([1u32, 7].iter().flat_map(|word| word.to_le_bytes()));
        let size = data.len() as u64;
        let numbers = [120u64, 0xffff_82d0_0020_0000, 0x20_0000, size, size + 4096, 4096];
        file.extend(numbers.iter().flat_map(|word| word.to_le_bytes()));
        file.extend(data);
        file
    }

    #[test]
    fn addresses_become_physical() {
        let file = wrap(&elf64(&headers())).unwrap();
        let [entry, program_headers] = words::<2>(&file, 24).unwrap();
        assert_eq!((entry, program_headers), (0x20_0010, 52));
        let program = words::<8>(&file, 52).unwrap();
        assert_eq!(program, [1, 4096, 0x20_0000, 0x20_0000, 40, 4136, 7, 4096]);
        assert_eq!(&file[4096..4136], headers());
        // The (empty) table of symbols follows on the next page.
        let symbols = words::<8>(&file, 52 + 32).unwrap();
        assert_eq!(symbols, [1, 8192, 0x20_2000, 0x20_2000, 16, 16, 4, 4096]);
        assert_eq!(&file[8192..8200], b"XLSYMS01");
    }

    #[test]
    fn a_missing_boot_header_is_an_error() {
        let error = wrap(&elf64(&headers()[16..])).unwrap_err();
        assert!(error.to_string().contains("multiboot 1"), "{error}");
        let error = wrap(&elf64(&headers()[..16])).unwrap_err();
        assert!(error.to_string().contains("multiboot 2"), "{error}");
    }

    #[test]
    fn what_is_not_an_elf64_is_refused() {
        assert!(wrap(b"#!/bin/sh").is_err());
    }
}
