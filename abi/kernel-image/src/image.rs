//! The verdict on an ELF: PV kernel, PVH kernel, or refused with a reason.
//!
//! Addresses of a PV kernel (`xen/elfnote.h`): pseudo-physical address 0 of the domain appears at `virt_base`; a
//! segment belongs at pseudo-physical `p_paddr - paddr_offset`, hence at virtual
//! `p_paddr - paddr_offset + virt_base`. `p_vaddr` does not count. The kernel's own image spans
//! `virt_kstart..virt_kend`; all of it lies at or above `virt_base`, outside the hypervisor's hole, and holds the
//! entry point and the hypercall page.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use elf::ElfBytes;
use elf::abi::{ET_DYN, ET_EXEC, PT_LOAD, PT_NOTE, SHT_NOTE};
use elf::endian::LittleEndian;
use elf::file::Class;
use elf::parse::ParseError;

use crate::notes::{self, Notes};
use crate::{HYPERVISOR_END, HYPERVISOR_START, ImageError, PAGE_SIZE, features, legacy};

/// Feature `writable_page_tables`: Linux requires it, and it is met by `VMASST_TYPE_writable_pagetables`, not by
/// the feature bit, which upstream never offers to a PV guest either.
const MET_BY_VM_ASSIST: u32 = 1;

/// A loadable segment, validated: its file range lies in the file, its memory range does not wrap, `file_size` is at
/// most `mem_size`, and no two segments overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Number among all program headers.
    pub index: usize,
    /// First byte in the ELF.
    pub file_offset: u64,
    /// Bytes to copy from the ELF.
    pub file_size: u64,
    /// Bytes in memory; those after `file_size` are zero.
    pub mem_size: u64,
    /// `p_paddr`, before the kernel's offset is taken off.
    pub paddr: u64,
    /// `p_vaddr`; the loader does not use it.
    pub vaddr: u64,
    /// `p_flags`.
    pub flags: u32,
}

/// Addresses of a 64-bit PV kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PvInfo {
    /// Virtual address of the domain's first page.
    pub virt_base: u64,
    /// What to subtract from a segment's `paddr` to get its pseudo-physical address.
    pub paddr_offset: u64,
    /// First virtual address of the kernel's image.
    pub virt_kstart: u64,
    /// First virtual address after it.
    pub virt_kend: u64,
    /// First instruction.
    pub entry: u64,
    /// Where the hypercall page goes, if the kernel wants one filled in.
    pub hypercall_page: Option<u64>,
    /// Where the phys-to-machine list goes, if not behind the initrd.
    pub p2m_base: Option<u64>,
}

/// How a kernel can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As a 64-bit PV guest (and also as PVH, if [`Notes::phys32_entry`] is there).
    Pv64(PvInfo),
    /// Only as PVH.
    Pvh {
        /// Physical address of the 32-bit entry.
        entry: u32,
    },
}

/// A parsed kernel. Holds numbers and strings, not the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// How it can be started.
    pub kind: Kind,
    /// Its loadable segments with memory, in the order of the file.
    pub segments: Vec<Segment>,
    /// What it says about itself.
    pub notes: Notes,
}

impl Image {
    /// Reads the ELF in `elf` (unpacked, see [`crate::unpack()`]).
    ///
    /// # Errors
    /// Damaged, truncated, not for x86-64, not for Xen, 32-bit PV, or with addresses that cannot be: see
    /// [`ImageError`].
    pub fn parse(elf: &[u8]) -> Result<Self, ImageError> {
        if !elf.starts_with(b"\x7fELF") {
            let magic = core::array::from_fn(|i| elf.get(i).copied().unwrap_or(0));
            return Err(ImageError::NotAKernel { magic, len: elf.len() });
        }
        let file = ElfBytes::<LittleEndian>::minimal_parse(elf).map_err(|error| bad_elf(error, elf.len()))?;
        check_header(&file)?;
        let segments = segments(&file, elf.len())?;
        let (mut notes, is_legacy) = find_notes(&file, elf)?;
        let is_pv = is_legacy || notes.speaks_of_pv();
        let kind = match (is_pv, file.ehdr.class, notes.phys32_entry) {
            (true, Class::ELF64, _) => Kind::Pv64(pv_info(&notes, &segments, file.ehdr.e_entry)?),
            (true, Class::ELF32, None) => return Err(ImageError::Pv32),
            (_, _, Some(entry)) => Kind::Pvh { entry },
            (false, _, None) => return Err(ImageError::NoXenNotes),
        };
        if notes.bsd_symtab {
            notes.warnings.push("BSD_SYMTAB: the kernel starts without its symbol table".into());
        }
        Ok(Self { kind, segments, notes })
    }

    /// The addresses of a PV kernel.
    ///
    /// # Errors
    /// [`ImageError::PvhOnly`].
    pub fn pv(&self) -> Result<&PvInfo, ImageError> {
        match &self.kind {
            Kind::Pv64(info) => Ok(info),
            Kind::Pvh { entry } => Err(ImageError::PvhOnly { entry: *entry }),
        }
    }

    /// Checks that a hypervisor that offers the mask `offered` (`XENVER_get_features`, sub-map 0) has all that the
    /// kernel requires, and, for a first domain, that the kernel agrees to be one.
    ///
    /// # Errors
    /// [`ImageError::MissingFeatures`], [`ImageError::NotForDom0`].
    pub fn check_features(&self, offered: u32, is_dom0: bool) -> Result<(), ImageError> {
        let missing = self.notes.features_required & !(offered | MET_BY_VM_ASSIST);
        if missing != 0 {
            return Err(ImageError::MissingFeatures { names: features::names_of(missing) });
        }
        if is_dom0 && self.notes.has_supported_note && self.notes.features_supported & features::DOM0 == 0 {
            return Err(ImageError::NotForDom0);
        }
        Ok(())
    }

    /// What to put where: for each segment its byte offset from the domain's pseudo-physical 0, the bytes to copy
    /// there, and the number of zero bytes to follow.
    pub fn loads<'a>(&'a self, elf: &'a [u8]) -> impl Iterator<Item = (u64, &'a [u8], u64)> + 'a {
        let offset = match &self.kind {
            Kind::Pv64(info) => info.paddr_offset,
            Kind::Pvh { .. } => 0,
        };
        self.segments.iter().map(move |segment| {
            let start = segment.file_offset as usize;
            let data = elf.get(start..start + segment.file_size as usize).unwrap_or(&[]);
            (segment.paddr.wrapping_sub(offset), data, segment.mem_size - segment.file_size)
        })
    }
}

fn bad_elf(error: ParseError, len: usize) -> ImageError {
    match error {
        ParseError::SliceReadError((start, end)) => ImageError::Truncated {
            what: "ELF headers",
            start: start as u64,
            end: end as u64,
            len: len as u64,
        },
        ParseError::BadOffset(offset) => ImageError::Truncated {
            what: "ELF headers",
            start: offset,
            end: offset.saturating_add(1),
            len: len as u64,
        },
        ParseError::UnsupportedElfEndianness(_) => ImageError::BadElf { reason: "big-endian".into() },
        other => ImageError::BadElf { reason: format!("{other}") },
    }
}

fn check_header(file: &ElfBytes<'_, LittleEndian>) -> Result<(), ImageError> {
    let machine = file.ehdr.e_machine;
    match (file.ehdr.class, machine) {
        (Class::ELF64, 62) | (Class::ELF32, 3) => {}
        (Class::ELF64, _) => return Err(ImageError::WrongMachine { machine, bits: 64 }),
        (Class::ELF32, _) => return Err(ImageError::WrongMachine { machine, bits: 32 }),
    }
    match file.ehdr.e_type {
        ET_EXEC | ET_DYN => Ok(()),
        e_type => Err(ImageError::NotExecutable { e_type }),
    }
}

fn segments(file: &ElfBytes<'_, LittleEndian>, len: usize) -> Result<Vec<Segment>, ImageError> {
    let mut segments = Vec::new();
    for (index, header) in file.segments().into_iter().flatten().enumerate() {
        if header.p_type != PT_LOAD || header.p_memsz == 0 {
            continue;
        }
        let segment = Segment {
            index,
            file_offset: header.p_offset,
            file_size: header.p_filesz,
            mem_size: header.p_memsz,
            paddr: header.p_paddr,
            vaddr: header.p_vaddr,
            flags: header.p_flags,
        };
        check_segment(&segment, len).map_err(|reason| ImageError::BadSegment { index, reason })?;
        segments.push(segment);
    }
    if segments.is_empty() {
        return Err(ImageError::NoSegments);
    }
    check_overlaps(&segments)?;
    Ok(segments)
}

fn check_segment(segment: &Segment, len: usize) -> Result<(), String> {
    let Segment { file_offset, file_size, mem_size, paddr, .. } = *segment;
    let file_end = file_offset.saturating_add(file_size);
    if file_end > len as u64 {
        return Err(format!("file range {file_offset:#x}..{file_end:#x} beyond file size {len:#x}"));
    }
    if file_size > mem_size {
        return Err(format!("{file_size:#x} bytes in the file, but only {mem_size:#x} in memory"));
    }
    if paddr.checked_add(mem_size).is_none() {
        return Err(format!("memory range from {paddr:#x}, {mem_size:#x} bytes, wraps around"));
    }
    Ok(())
}

fn check_overlaps(segments: &[Segment]) -> Result<(), ImageError> {
    let mut sorted: Vec<_> = segments.iter().collect();
    sorted.sort_unstable_by_key(|segment| segment.paddr);
    for pair in sorted.windows(2) {
        let (low, high) = (pair[0], pair[1]);
        let low_end = low.paddr + low.mem_size;
        if low_end > high.paddr {
            return Err(ImageError::BadSegment {
                index: high.index,
                reason: format!(
                    "memory from {:#x} overlaps segment {} at {:#x}..{low_end:#x}",
                    high.paddr, low.index, low.paddr
                ),
            });
        }
    }
    Ok(())
}

/// Notes of segments, else of sections, else the older string; and whether it was the string.
fn find_notes(file: &ElfBytes<'_, LittleEndian>, elf: &[u8]) -> Result<(Notes, bool), ImageError> {
    let mut notes = Notes::default();
    let mut found = 0;
    for header in file.segments().into_iter().flatten().filter(|header| header.p_type == PT_NOTE) {
        ImageError::check_range("note segment", header.p_offset, header.p_filesz, elf.len())?;
        let start = header.p_offset as usize;
        found += notes::collect(&elf[start..start + header.p_filesz as usize], &mut notes)?;
    }
    if found == 0 {
        for header in file.section_headers().into_iter().flatten().filter(|header| header.sh_type == SHT_NOTE)
        {
            ImageError::check_range("note section", header.sh_offset, header.sh_size, elf.len())?;
            let start = header.sh_offset as usize;
            found += notes::collect(&elf[start..start + header.sh_size as usize], &mut notes)?;
        }
    }
    if found != 0 {
        return Ok((notes, false));
    }
    let Ok(Some(header)) = file.section_header_by_name("__xen_guest") else {
        return Err(ImageError::NoXenNotes);
    };
    ImageError::check_range("section __xen_guest", header.sh_offset, header.sh_size, elf.len())?;
    let start = header.sh_offset as usize;
    Ok((legacy::parse(&elf[start..start + header.sh_size as usize])?, true))
}

fn pv_info(notes: &Notes, segments: &[Segment], e_entry: u64) -> Result<PvInfo, ImageError> {
    check_strings(notes)?;
    let virt_base = notes.virt_base.unwrap_or(0);
    let paddr_offset = notes.paddr_offset.unwrap_or(0);
    if !virt_base.is_multiple_of(PAGE_SIZE) {
        return Err(bad("VIRT_BASE", virt_base, "not page-aligned".into()));
    }
    let low = segments.iter().map(|s| s.paddr).min().unwrap_or(0);
    let high = segments.iter().map(|s| s.paddr + s.mem_size).max().unwrap_or(0);
    let below = || bad("lowest load address", low, format!("below PADDR_OFFSET {paddr_offset:#x}"));
    let beyond =
        || bad("highest load address", high, format!("beyond the address space from {virt_base:#x}"));
    let place = |paddr: u64| {
        paddr.checked_sub(paddr_offset).ok_or_else(below)?.checked_add(virt_base).ok_or_else(beyond)
    };
    let (virt_kstart, virt_kend) = (place(low)?, place(high)?);
    check_guest_range("kernel", virt_base..virt_kend)?;

    let entry = notes.entry.unwrap_or(e_entry);
    let kernel = format!("outside the kernel at {virt_kstart:#x}..{virt_kend:#x}");
    if !(virt_kstart..virt_kend).contains(&entry) {
        return Err(bad("entry point", entry, kernel));
    }
    if let Some(page) = notes.hypercall_page {
        if !page.is_multiple_of(PAGE_SIZE) {
            return Err(bad("HYPERCALL_PAGE", page, "not page-aligned".into()));
        }
        if page < virt_kstart & !(PAGE_SIZE - 1) || page >= virt_kend {
            return Err(bad("HYPERCALL_PAGE", page, kernel));
        }
    }
    if let Some(base) = notes.init_p2m {
        if !base.is_multiple_of(PAGE_SIZE) {
            return Err(bad("INIT_P2M", base, "not page-aligned".into()));
        }
        check_guest_range("INIT_P2M", base..base.saturating_add(PAGE_SIZE))?;
        if (virt_base..virt_kend).contains(&base) {
            return Err(bad(
                "INIT_P2M",
                base,
                format!("inside the kernel at {virt_base:#x}..{virt_kend:#x}"),
            ));
        }
    }
    Ok(PvInfo {
        virt_base,
        paddr_offset,
        virt_kstart,
        virt_kend,
        entry,
        hypercall_page: notes.hypercall_page,
        p2m_base: notes.init_p2m,
    })
}

/// The version of the interface and the kind of loader, as upstream checks them.
fn check_strings(notes: &Notes) -> Result<(), ImageError> {
    if let Some(version) = &notes.xen_version
        && !version.starts_with("xen-3.0")
    {
        let reason =
            format!("\"{version}\", only kernels for \"xen-3.0\" (the interface since then) can be loaded");
        return Err(ImageError::BadNote { name: "XEN_VERSION", reason });
    }
    let is_linux = notes.guest_os.as_deref().is_some_and(|name| name.eq_ignore_ascii_case("linux"));
    if let Some(loader) = &notes.loader
        && !loader.starts_with("generic")
        && !is_linux
    {
        return Err(ImageError::BadNote {
            name: "LOADER",
            reason: format!("\"{loader}\" is not \"generic\""),
        });
    }
    match notes.hv_start_low {
        Some(low) if low > HYPERVISOR_START => {
            Err(bad("HV_START_LOW", low, format!("the hypervisor's hole begins at {HYPERVISOR_START:#x}")))
        }
        _ => Ok(()),
    }
}

fn bad(what: &'static str, value: u64, rule: String) -> ImageError {
    ImageError::BadAddress { what, value, rule }
}

/// Checks that a guest can own all of `range`: not empty, canonical, outside the hypervisor's hole.
pub(crate) fn check_guest_range(what: &'static str, range: Range<u64>) -> Result<(), ImageError> {
    const LOW_END: u64 = 1 << 47;
    if range.start < range.end && (range.end <= LOW_END || range.start >= HYPERVISOR_END) {
        return Ok(());
    }
    let rule = format!(
        "range {:#x}..{:#x} is not canonical or meets the hypervisor's hole {HYPERVISOR_START:#x}..{HYPERVISOR_END:#x}",
        range.start, range.end
    );
    Err(bad(what, range.start, rule))
}
