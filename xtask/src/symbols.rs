//! The table of function names that the image carries for its back traces.
//!
//! It follows the image in memory, as a loadable segment of its own; `xen-lite/src/symbols.rs` reads it:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `XLSYMS01` |
//! | 4 | number of symbols, n |
//! | 4 | size of the table in bytes |
//! | 8·n | per symbol, ascending: its address minus the image's base, where its name begins in the table |
//! | rest | names, each ending in a zero byte |

use anyhow::{Context, Result};
use object::LittleEndian;
use object::elf::{FileHeader64, SHT_SYMTAB, STT_FUNC, STT_NOTYPE};
use object::read::elf::{FileHeader, Sym};
use std::collections::BTreeMap;

const MAGIC: &[u8; 8] = b"XLSYMS01";
/// Bytes before the first symbol.
const HEAD: usize = 16;
/// Bytes of a symbol.
const ROW: usize = 8;
/// Names longer than this are cut: deeply generic ones fill lines without telling more.
const LONGEST_NAME: usize = 120;

/// The table for the functions of `elf64` at and after `base`.
///
/// # Errors
/// If the file's symbol table is damaged.
pub fn table(elf64: &[u8], base: u64) -> Result<Vec<u8>> {
    let header = FileHeader64::<LittleEndian>::parse(elf64).context("not an ELF64 file")?;
    let endian = header.endian()?;
    let sections = header.sections(endian, elf64)?;
    let symbols = sections.symbols(endian, elf64, SHT_SYMTAB)?;
    let mut functions = BTreeMap::new();
    for symbol in symbols.iter() {
        let executable = [STT_FUNC, STT_NOTYPE].contains(&symbol.st_type());
        let offset = symbol.st_value(endian).checked_sub(base).and_then(|offset| u32::try_from(offset).ok());
        let name = String::from_utf8_lossy(symbol.name(endian, symbols.strings())?).into_owned();
        if let (true, Some(offset)) = (executable && is_name(&name), offset) {
            functions.entry(offset).or_insert_with(|| readable(&name));
        }
    }
    encode(&functions)
}

/// The functions of an ELF64 file: address, and name as in the source.
///
/// # Errors
/// If the file's symbol table is damaged.
pub fn functions(elf64: &[u8]) -> Result<BTreeMap<u64, String>> {
    let header = FileHeader64::<LittleEndian>::parse(elf64).context("not an ELF64 file")?;
    let endian = header.endian()?;
    let symbols = header.sections(endian, elf64)?.symbols(endian, elf64, SHT_SYMTAB)?;
    let mut functions = BTreeMap::new();
    for symbol in symbols.iter().filter(|symbol| symbol.st_type() == STT_FUNC) {
        let name = String::from_utf8_lossy(symbol.name(endian, symbols.strings())?).into_owned();
        functions.entry(symbol.st_value(endian)).or_insert_with(|| readable(&name));
    }
    Ok(functions)
}

/// Whether a name is a function's: not an assembler's local label, not one of the linker's borders.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.starts_with("__") && !name.starts_with("anon.")
}

/// The name as in the source, without the compiler's hash.
fn readable(name: &str) -> String {
    let mut text = format!("{:#}", rustc_demangle::demangle(name));
    let end = text.char_indices().nth(LONGEST_NAME).map_or(text.len(), |(at, _)| at);
    text.truncate(end);
    text
}

fn encode(functions: &BTreeMap<u32, String>) -> Result<Vec<u8>> {
    let mut rows = Vec::with_capacity(functions.len() * ROW);
    let mut names = Vec::new();
    let first_name = HEAD + functions.len() * ROW;
    for (offset, name) in functions {
        rows.extend(offset.to_le_bytes());
        rows.extend(u32::try_from(first_name + names.len())?.to_le_bytes());
        names.extend(name.bytes());
        names.push(0);
    }
    let size = u32::try_from(first_name + names.len())?;
    let mut table = MAGIC.to_vec();
    table.extend(u32::try_from(functions.len())?.to_le_bytes());
    table.extend(size.to_le_bytes());
    table.extend(rows);
    table.extend(names);
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_ascend_and_point_at_names() {
        let functions = BTreeMap::from([(0x2000, "second".to_string()), (0x1000, "first".to_string())]);
        let table = encode(&functions).unwrap();
        let word = |at: usize| u32::from_le_bytes(table[at..at + 4].try_into().unwrap()) as usize;
        assert_eq!((word(8), word(12)), (2, table.len()));
        assert_eq!((word(16), word(24)), (0x1000, 0x2000));
        assert_eq!(&table[word(20)..word(28)], b"first\0");
        assert_eq!(&table[word(28)..], b"second\0");
    }

    #[test]
    fn names_are_readable() {
        assert_eq!(readable("_ZN8xen_lite4main17h0123456789abcdefE"), "xen_lite::main");
        assert_eq!(readable("boot_entry"), "boot_entry");
    }
}
