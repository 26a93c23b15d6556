//! Loading, with files made here.

use super::{LoadError, Process};
use crate::memory::space::Protection;
use alloc::vec::Vec;

const READ: u32 = 4;
const WRITE: u32 = 2;
const EXECUTE: u32 = 1;
const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const INTERPRETER: u32 = 3;

/// A segment: type, flags, address, bytes, size in memory.
type Segment<'a> = (u32, u32, u64, &'a [u8], u64);

/// An ELF file of a type, for a machine.
fn file(kind: u16, machine: u16, segments: &[Segment<'_>]) -> Vec<u8> {
    let mut file = alloc::vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend([kind, machine].iter().flat_map(|half| half.to_le_bytes()));
    file.extend(1_u32.to_le_bytes());
    file.extend([0x1000_u64, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
    file.extend(0_u32.to_le_bytes());
    file.extend([64_u16, 56, segments.len() as u16, 64, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
    let mut at = 64 + 56 * segments.len() as u64;
    for (kind, flags, address, bytes, size) in segments {
        file.extend([*kind, *flags].iter().flat_map(|half| half.to_le_bytes()));
        let words = [at, *address, *address, bytes.len() as u64, *size, 4096];
        file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        at += bytes.len() as u64;
    }
    for (_, _, _, bytes, _) in segments {
        file.extend(*bytes);
    }
    file
}

fn refused(kind: u16, machine: u16, segments: &[Segment<'_>]) -> LoadError {
    Process::load(&file(kind, machine, segments)).expect_err("it was loaded")
}

#[test]
fn segments_are_where_the_file_says_and_may_do_what_it_says() {
    let elf = file(
        2,
        62,
        &[(LOAD, READ | EXECUTE, 0x1000, b"code", 4), (LOAD, READ | WRITE, 0x2ff0, b"data", 0x2000)],
    );
    let mut process = Process::load(&elf).expect("a good file");
    assert_eq!(process.registers().rip, 0x1000);
    let memory = process.memory();
    assert_eq!(memory.protection(0x1000), Some(Protection::ReadExecute));
    assert_eq!(memory.protection(0x4fef), Some(Protection::ReadWrite));
    assert_eq!(memory.protection(0x5000), None);
    let mut bytes = [0xff; 6];
    memory.read(0x2ff0, &mut bytes).expect("mapped");
    assert_eq!(&bytes, b"data\0\0");
}

#[test]
fn arguments_are_on_the_stack() {
    let elf = file(2, 62, &[(LOAD, READ | EXECUTE, 0x1000, b"code", 4)]);
    let mut process = Process::load_with(&elf, &["name", "argument"], &["A=1"]).expect("a good file");
    let rsp = process.registers().rsp;
    assert_eq!(rsp % 16, 0);
    let word = |process: &mut Process, index: u64| {
        let mut bytes = [0; 8];
        process.memory().read(rsp + 8 * index, &mut bytes).expect("on the stack");
        u64::from_le_bytes(bytes)
    };
    assert_eq!([word(&mut process, 0), word(&mut process, 3), word(&mut process, 5)], [2, 0, 0]);
    let mut text = [0; 9];
    let argument = word(&mut process, 2);
    process.memory().read(argument, &mut text).expect("on the stack");
    assert_eq!(&text, b"argument\0");
    let huge = alloc::string::String::from_utf8(alloc::vec![b'x'; 300_000]).expect("text");
    assert_eq!(Process::load_with(&elf, &[&huge], &[]).err(), Some(LoadError::Arguments));
}

#[test]
fn relative_relocations_are_applied() {
    let mut table = Vec::new();
    table.extend([0x2100_u64, 8, 0x1234].iter().flat_map(|word| word.to_le_bytes()));
    let dynamic: Vec<u8> = [7_u64, 0x2000, 8, 24, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    let elf = file(
        3,
        62,
        &[
            (LOAD, READ | EXECUTE, 0x1000, b"code", 4),
            (LOAD, READ | WRITE, 0x2000, &table, 0x1000),
            (DYNAMIC, READ, 0x2200, &dynamic, 48),
        ],
    );
    let mut process = Process::load(&elf).expect("a good file");
    let base = process.registers().rip - 0x1000;
    let mut bytes = [0; 8];
    process.memory().read(base + 0x2100, &mut bytes).expect("mapped");
    assert_eq!(u64::from_le_bytes(bytes), base + 0x1234);
    let mut bad = elf.clone();
    let info = 64 + 3 * 56 + 4 + 8;
    bad[info] = 6;
    assert_eq!(Process::load(&bad).err(), Some(LoadError::Relocation(base + 0x2100)));
}

#[test]
fn what_cannot_run_is_refused() {
    let code: Segment<'_> = (LOAD, READ | EXECUTE, 0x1000, b"code", 4);
    assert_eq!(Process::load(b"#!/bin/sh").err(), Some(LoadError::NotElf));
    assert_eq!(refused(2, 183, &[code]), LoadError::Machine(183));
    assert_eq!(refused(1, 62, &[code]), LoadError::NotProgram(1));
    assert_eq!(refused(2, 62, &[code, (INTERPRETER, READ, 0, b"/lib/ld", 7)]), LoadError::Dynamic);
    let both = (LOAD, READ | WRITE | EXECUTE, 0x5000, &b"x"[..], 1);
    assert_eq!(refused(2, 62, &[code, both]), LoadError::WritableCode(0x5000));
    for (address, size) in
        [(0x8000_0000_0000, 4096), (0xffff_8000_0000_0000, 4096), (0x5000, 1 << 40), (!0xfff, 0x2000)]
    {
        assert_eq!(refused(2, 62, &[(LOAD, READ, address, b"x", size)]), LoadError::Segment(address));
    }
    assert_eq!(refused(2, 62, &[(LOAD, READ, 0x5000, b"longer", 2)]), LoadError::Segment(0x5000));
}

#[test]
fn no_truncation_of_a_file_makes_the_loader_panic() {
    let elf =
        file(3, 62, &[(LOAD, READ | EXECUTE, 0x1000, b"code", 4), (DYNAMIC, READ, 0x2000, &[7; 40], 40)]);
    for len in 0..elf.len() {
        let _ = Process::load(&elf[..len]);
    }
}
