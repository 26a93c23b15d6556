//! From an ELF file to a program that can run: segments, relocations, stack.
//!
//! What is accepted: x86-64, little endian, without an interpreter, at fixed addresses or position-independent. Of the second kind the
//! relative relocations are applied here, after which it may as well apply them itself. Nothing in the file is trusted.
//!
//! The stack is what the System V ABI for x86-64 says: from `rsp` up the number of arguments, their addresses, a zero, those of the
//! environment, a zero, pairs that tell about the program (`AT_*`), and the strings.

use crate::memory::{
    layout::PAGE_SIZE,
    space::{AddressSpace, Protection, SpaceError, USER_END},
};
use alloc::vec::Vec;
use core::fmt;
use elf::{
    ElfBytes,
    abi::{
        DT_RELA, DT_RELASZ, EM_X86_64, ET_DYN, ET_EXEC, PF_W, PF_X, PT_DYNAMIC, PT_INTERP, PT_LOAD,
        R_X86_64_RELATIVE,
    },
    endian::LittleEndian,
    segment::ProgramHeader,
};

/// Where a position-independent program goes.
const PIE_BASE: u64 = 0x5555_5555_0000;
/// Where the stack ends. The page above stays free.
const STACK_TOP: u64 = 0x7fff_ffff_0000;
/// Size of the stack. Below it is a guard of free addresses.
const STACK_SIZE: u64 = 256 * 1024;
/// No segment may be larger: a file cannot make the kernel take all of its memory.
const LARGEST: u64 = 1 << 30;

const AT_PHDR: u64 = 3;
const AT_PHENT: u64 = 4;
const AT_PHNUM: u64 = 5;
const AT_PAGESZ: u64 = 6;
const AT_ENTRY: u64 = 9;
const AT_SECURE: u64 = 23;
const AT_RANDOM: u64 = 25;

/// Why a program cannot be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// It is no ELF file, or a damaged one.
    NotElf,
    /// It is for another processor (`e_machine`).
    Machine(u16),
    /// It is no program (`e_type`).
    NotProgram(u16),
    /// It wants an interpreter: it is not static.
    Dynamic,
    /// The segment at this address is both writable and executable.
    WritableCode(u64),
    /// The segment at this address is larger than its place, or lies where none can be.
    Segment(u64),
    /// The relocation that is about this address cannot be applied.
    Relocation(u64),
    /// Arguments and environment do not fit on the stack.
    Arguments,
    /// Its memory cannot be mapped.
    Memory(SpaceError),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotElf => write!(f, "not an ELF file, or a damaged one"),
            Self::Machine(machine) => write!(f, "for machine {machine}, not for x86-64"),
            Self::NotProgram(kind) => write!(f, "not a program, but an ELF file of type {kind}"),
            Self::Dynamic => write!(f, "not static: it wants an interpreter"),
            Self::WritableCode(at) => write!(f, "the segment at {at:#x} is both writable and executable"),
            Self::Segment(at) => write!(f, "the segment at {at:#x} cannot be there, or is too large"),
            Self::Relocation(at) => write!(f, "the relocation of {at:#x} cannot be applied"),
            Self::Arguments => write!(f, "arguments and environment do not fit on the stack"),
            Self::Memory(error) => write!(f, "its memory cannot be mapped: {error}"),
        }
    }
}

impl core::error::Error for LoadError {}

impl From<SpaceError> for LoadError {
    fn from(error: SpaceError) -> Self {
        Self::Memory(error)
    }
}

type File<'d> = ElfBytes<'d, LittleEndian>;

/// Fills `memory`; returns the addresses of the first instruction and of the stack.
pub fn load(
    memory: &mut AddressSpace,
    bytes: &[u8],
    arguments: &[&str],
    environment: &[&str],
) -> Result<(u64, u64), LoadError> {
    let file = File::minimal_parse(bytes).map_err(|_| LoadError::NotElf)?;
    if file.ehdr.e_machine != EM_X86_64 {
        return Err(LoadError::Machine(file.ehdr.e_machine));
    }
    let base = match file.ehdr.e_type {
        ET_EXEC => 0,
        ET_DYN => PIE_BASE,
        other => return Err(LoadError::NotProgram(other)),
    };
    let headers: Vec<ProgramHeader> = file.segments().ok_or(LoadError::NotElf)?.iter().collect();
    if headers.iter().any(|header| header.p_type == PT_INTERP) {
        return Err(LoadError::Dynamic);
    }
    for header in headers.iter().filter(|header| header.p_type == PT_LOAD && header.p_memsz > 0) {
        segment(memory, &file, header, base)?;
    }
    if let Some(dynamic) = headers.iter().find(|header| header.p_type == PT_DYNAMIC) {
        relocate(memory, &file, dynamic, base)?;
    }
    let entry = base.wrapping_add(file.ehdr.e_entry);
    let told = [
        (AT_PHDR, headers_address(&file, &headers, base)),
        (AT_PHENT, u64::from(file.ehdr.e_phentsize)),
        (AT_PHNUM, u64::from(file.ehdr.e_phnum)),
        (AT_PAGESZ, PAGE_SIZE as u64),
        (AT_ENTRY, entry),
        (AT_SECURE, 0),
    ];
    let stack = stack(memory, arguments, environment, &told)?;
    Ok((entry, stack))
}

/// Where the program headers are once loaded; 0 if they are in no segment.
fn headers_address(file: &File<'_>, headers: &[ProgramHeader], base: u64) -> u64 {
    let offset = file.ehdr.e_phoff;
    let holds = |header: &&ProgramHeader| {
        header.p_type == PT_LOAD && offset.checked_sub(header.p_offset).is_some_and(|at| at < header.p_filesz)
    };
    headers
        .iter()
        .find(holds)
        .map_or(0, |header| base.wrapping_add(header.p_vaddr + (offset - header.p_offset)))
}

fn segment(
    memory: &mut AddressSpace,
    file: &File<'_>,
    header: &ProgramHeader,
    base: u64,
) -> Result<(), LoadError> {
    let start = base.wrapping_add(header.p_vaddr);
    let wrong = LoadError::Segment(start);
    let protection = match (header.p_flags & PF_W != 0, header.p_flags & PF_X != 0) {
        (true, true) => return Err(LoadError::WritableCode(start)),
        (true, false) => Protection::ReadWrite,
        (false, true) => Protection::ReadExecute,
        (false, false) => Protection::Read,
    };
    let bytes = file.segment_data(header).map_err(|_| wrong)?;
    let end = start.checked_add(header.p_memsz).filter(|&end| end <= STACK_TOP - STACK_SIZE).ok_or(wrong)?;
    if header.p_memsz > LARGEST || header.p_filesz > header.p_memsz {
        return Err(wrong);
    }
    let page = PAGE_SIZE as u64;
    let mut first = start / page * page;
    let last = end.next_multiple_of(page);
    // Two segments may share a page; it keeps what the first one may do with it, if that is enough for both.
    if let Some(before) = memory.protection(first) {
        if before != protection && protection != Protection::Read {
            memory.protect(first..first + page, stronger(before, protection).ok_or(wrong)?)?;
        }
        first += page;
    }
    if first < last {
        memory.map(first..last, protection)?;
    }
    memory.fill(start, bytes)?;
    Ok(())
}

/// What allows both, if that exists.
fn stronger(a: Protection, b: Protection) -> Option<Protection> {
    match (a, b) {
        (Protection::Read, other) | (other, Protection::Read) => Some(other),
        (a, b) => (a == b).then_some(a),
    }
}

/// Applies the relative relocations that the dynamic section names.
fn relocate(
    memory: &mut AddressSpace,
    file: &File<'_>,
    dynamic: &ProgramHeader,
    base: u64,
) -> Result<(), LoadError> {
    let data = file.segment_data(dynamic).map_err(|_| LoadError::NotElf)?;
    let word =
        |at: usize| data.get(at..at + 8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap_or([0; 8])));
    let entry = |tag: i64| {
        let tags = (0..data.len() / 16).map(|index| (word(16 * index), word(16 * index + 8)));
        tags.into_iter().find_map(|(name, value)| (name == Some(tag as u64)).then_some(value).flatten())
    };
    let (Some(table), Some(size)) = (entry(DT_RELA), entry(DT_RELASZ)) else { return Ok(()) };
    for index in 0..size / 24 {
        let at = base.wrapping_add(table).wrapping_add(24 * index);
        let mut bytes = [0; 24];
        memory.read(at, &mut bytes).map_err(|_| LoadError::Relocation(at))?;
        let [offset, info, addend] =
            [0, 8, 16].map(|from| u64::from_le_bytes(bytes[from..from + 8].try_into().unwrap_or([0; 8])));
        let target = base.wrapping_add(offset);
        if info != u64::from(R_X86_64_RELATIVE) {
            return Err(LoadError::Relocation(target));
        }
        memory
            .fill(target, &base.wrapping_add(addend).to_le_bytes())
            .map_err(|_| LoadError::Relocation(target))?;
    }
    Ok(())
}

fn stack(
    memory: &mut AddressSpace,
    arguments: &[&str],
    environment: &[&str],
    told: &[(u64, u64)],
) -> Result<u64, LoadError> {
    const { assert!(STACK_TOP < USER_END) };
    memory.map(STACK_TOP - STACK_SIZE..STACK_TOP, Protection::ReadWrite)?;
    let mut top = STACK_TOP;
    let mut put = |memory: &mut AddressSpace, bytes: &[u8]| {
        top = top.checked_sub(bytes.len() as u64).filter(|&top| top > STACK_TOP - STACK_SIZE / 2)?;
        memory.write(top, bytes).ok()?;
        Some(top)
    };
    let mut random = [0; 16];
    crate::entropy::fill(&mut random);
    let random = put(memory, &random).ok_or(LoadError::Arguments)?;
    let mut addresses = |memory: &mut AddressSpace, texts: &[&str]| -> Option<Vec<u64>> {
        texts
            .iter()
            .map(|text| {
                put(memory, &[0])?;
                put(memory, text.as_bytes())
            })
            .collect()
    };
    let environment = addresses(memory, environment).ok_or(LoadError::Arguments)?;
    let arguments = addresses(memory, arguments).ok_or(LoadError::Arguments)?;
    let mut words = alloc::vec![arguments.len() as u64];
    words.extend(arguments.iter().chain(&[0]).chain(&environment).chain(&[0]));
    words.extend(told.iter().chain(&[(AT_RANDOM, random), (0, 0)]).flat_map(|&(name, value)| [name, value]));
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let rsp = (top - bytes.len() as u64) & !15;
    memory.write(rsp, &bytes).map_err(|_| LoadError::Arguments)?;
    Ok(rsp)
}
