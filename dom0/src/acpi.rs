//! How to power the machine off: the sleep types of ACPI state S5.
//!
//! Only what that takes is read: root pointer (RSDP) in the BIOS area, root table, fixed description table (FADT), and in the
//! definition block (DSDT) the package named `_S5_`, whose first two numbers are written to the power-management control
//! registers. The package is found by its name and its opcodes; no AML is run. Firmware is trusted no further than its lengths.
//! Layouts: ACPI specification, chapters 5.2 and 7.4.

use alloc::vec;
use alloc::vec::Vec;

/// Memory of the machine that is not RAM given to a domain.
pub trait Physical {
    /// Copies bytes from an address; false if they cannot be read.
    fn read(&mut self, address: u64, out: &mut [u8]) -> bool;
}

/// Values of SLP_TYPa and SLP_TYPb for S5, 0 to 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftOff {
    /// For the PM1a control register.
    pub a: u8,
    /// For the PM1b control register.
    pub b: u8,
}

const BIOS_AREA: u64 = 0xe_0000;
const BIOS_LEN: usize = 0x2_0000;
const HEADER: usize = 36;
const TABLE_MAX: usize = 1 << 20;
const PACKAGE_OP: u8 = 0x12;

/// Finds the sleep types. The error says what was missing.
pub fn soft_off(memory: &mut impl Physical) -> Result<SoftOff, &'static str> {
    let (root, entry_len) = root_table(memory)?;
    let root = table(memory, root).ok_or("the ACPI root table cannot be read")?;
    for entry in root[HEADER..].chunks_exact(entry_len) {
        let address = number(entry);
        let mut signature = [0; 4];
        if memory.read(address, &mut signature) && &signature == b"FACP" {
            let fadt = table(memory, address).ok_or("the ACPI FADT cannot be read")?;
            let dsdt = dsdt(&fadt).ok_or("the ACPI FADT is too short")?;
            let dsdt = table(memory, dsdt).ok_or("the ACPI DSDT cannot be read")?;
            return find_s5(&dsdt).ok_or("the ACPI DSDT has no _S5_ package");
        }
    }
    Err("there is no ACPI FADT")
}

/// Address of RSDT or XSDT and the size of its entries.
fn root_table(memory: &mut impl Physical) -> Result<(u64, usize), &'static str> {
    let mut area = vec![0; BIOS_LEN];
    if !memory.read(BIOS_AREA, &mut area) {
        return Err("the BIOS area cannot be read");
    }
    let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, b| sum.wrapping_add(*b));
    let found = (0..BIOS_LEN - HEADER).step_by(16).map(|at| &area[at..at + HEADER]);
    let mut found = found.filter(|rsdp| rsdp.starts_with(b"RSD PTR ") && sum(&rsdp[..20]) == 0);
    let rsdp = found.next().ok_or("there is no ACPI root pointer")?;
    let xsdt = number(&rsdp[24..32]);
    let has_xsdt = rsdp[15] >= 2 && xsdt != 0;
    Ok(if has_xsdt { (xsdt, 8) } else { (number(&rsdp[16..20]), 4) })
}

fn table(memory: &mut impl Physical, address: u64) -> Option<Vec<u8>> {
    let mut header = [0; HEADER];
    if !memory.read(address, &mut header) {
        return None;
    }
    let len = number(&header[4..8]) as usize;
    let mut bytes = vec![0; Some(len).filter(|len| (HEADER..=TABLE_MAX).contains(len))?];
    memory.read(address, &mut bytes).then_some(bytes)
}

fn dsdt(fadt: &[u8]) -> Option<u64> {
    let wide = fadt.get(140..148).map(number).filter(|address| *address != 0);
    wide.or_else(|| fadt.get(40..44).map(number)).filter(|address| *address != 0)
}

fn find_s5(aml: &[u8]) -> Option<SoftOff> {
    aml.windows(5).enumerate().filter(|(_, w)| w.starts_with(b"_S5_") && w[4] == PACKAGE_OP).find_map(
        |(at, _)| {
            let length = at + 5;
            let extra = usize::from(aml.get(length)? >> 6);
            let (a, next) = small_number(aml, length + extra + 2)?;
            let (b, _) = small_number(aml, next)?;
            (a < 8 && b < 8).then_some(SoftOff { a, b })
        },
    )
}

/// An AML integer that fits a byte, and what follows it.
fn small_number(aml: &[u8], at: usize) -> Option<(u8, usize)> {
    match *aml.get(at)? {
        value @ 0..=1 => Some((value, at + 1)),
        0x0a => Some((*aml.get(at + 1)?, at + 2)),
        _ => None,
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Machine(Vec<u8>);

    impl Physical for Machine {
        fn read(&mut self, address: u64, out: &mut [u8]) -> bool {
            let start = address as usize;
            let bytes = self.0.get(start..start + out.len());
            bytes.is_some_and(|bytes| {
                out.copy_from_slice(bytes);
                true
            })
        }
    }

    fn put(machine: &mut Machine, at: usize, bytes: &[u8]) {
        machine.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn table_at(machine: &mut Machine, at: usize, signature: &[u8], body: &[u8]) {
        put(machine, at, signature);
        put(machine, at + 4, &((HEADER + body.len()) as u32).to_le_bytes());
        put(machine, at + HEADER, body);
    }

    fn machine(s5: &[u8]) -> Machine {
        let mut machine = Machine(vec![0; 0x20_0000]);
        let mut rsdp = *b"RSD PTR \0BOCHS \0\0\0\x10\0";
        rsdp[8] = rsdp.iter().fold(0u8, |sum, b| sum.wrapping_sub(*b));
        put(&mut machine, 0xf_59d0, &rsdp);
        table_at(&mut machine, 0x10_0000, b"RSDT", &0x11_0000u32.to_le_bytes());
        let mut fadt = [0; 80];
        fadt[4..8].copy_from_slice(&0x12_0000u32.to_le_bytes());
        table_at(&mut machine, 0x11_0000, b"FACP", &fadt);
        table_at(&mut machine, 0x12_0000, b"DSDT", &[b"junk_S5_x\x08", s5].concat());
        machine
    }

    #[test]
    fn sleep_types_are_found() {
        let mut zeros = machine(b"_S5_\x12\x06\x04\0\0\0\0");
        assert_eq!(soft_off(&mut zeros), Ok(SoftOff { a: 0, b: 0 }));
        let mut others = machine(b"_S5_\x12\x48\x00\x04\x0a\x07\x01\0\0");
        assert_eq!(soft_off(&mut others), Ok(SoftOff { a: 7, b: 1 }));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(soft_off(&mut Machine(vec![])), Err("the BIOS area cannot be read"));
        assert_eq!(soft_off(&mut Machine(vec![0; 0x20_0000])), Err("there is no ACPI root pointer"));
        assert_eq!(soft_off(&mut machine(b"none")), Err("the ACPI DSDT has no _S5_ package"));
        assert_eq!(soft_off(&mut machine(b"_S5_\x12")), Err("the ACPI DSDT has no _S5_ package"));
        let mut long = machine(b"");
        put(&mut long, 0x12_0004, &[0xff; 4]);
        assert_eq!(soft_off(&mut long), Err("the ACPI DSDT cannot be read"));
    }
}
