//! Refuses an image that holds SSE or x87 instructions.
//!
//! The hypervisor never touches the FPU while it works: a guest's vector registers stay in the CPU until another vCPU
//! needs it. One stray `movaps` would destroy them. The compiler is told so by its target; this check disassembles
//! what was linked and believes nobody. Instructions that save, restore or reset the whole state are what the context
//! switch consists of, and are allowed.

use anyhow::{Context, Result, bail};
use iced_x86::{Code, CpuidFeature, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};
use object::LittleEndian;
use object::elf::{FileHeader64, SHF_EXECINSTR, SHT_PROGBITS};
use object::read::elf::{FileHeader, SectionHeader};

/// Whole-state instructions, and those that put the x87's pointers elsewhere before its state is replaced.
const ALLOWED: &[Mnemonic] = &[
    Mnemonic::Fninit,
    Mnemonic::Fnclex,
    Mnemonic::Emms,
    Mnemonic::Fild,
    Mnemonic::Fxsave,
    Mnemonic::Fxsave64,
    Mnemonic::Fxrstor,
    Mnemonic::Fxrstor64,
    Mnemonic::Ldmxcsr,
    Mnemonic::Stmxcsr,
    Mnemonic::Vldmxcsr,
    Mnemonic::Vstmxcsr,
];

/// Sections whose code runs before there is a guest whose state it could destroy. They mix code of all widths with
/// headers and tables, which a disassembler would read as code.
const BOOT_SECTION: &str = ".boot";

/// Offenders that are named before the rest is only counted.
const NAMED: usize = 8;

/// Checks all executable sections of the ELF64 image; returns the number of instructions seen.
///
/// # Errors
/// If one of them touches vector or x87 registers; the text names addresses.
pub fn check(elf64: &[u8]) -> Result<usize> {
    let header = FileHeader64::<LittleEndian>::parse(elf64).context("not an ELF64 file")?;
    let endian = header.endian()?;
    let sections = header.sections(endian, elf64)?;
    let mut seen = 0;
    let mut offenders = Vec::new();
    for section in sections.iter() {
        let executable = section.sh_flags(endian).contains(SHF_EXECINSTR);
        if !executable || section.sh_type(endian) != SHT_PROGBITS {
            continue;
        }
        let name = String::from_utf8_lossy(sections.section_name(endian, section)?).into_owned();
        if name.starts_with(BOOT_SECTION) {
            continue;
        }
        let code = section.data(endian, elf64)?;
        seen += scan(&name, section.sh_addr(endian), code, &mut offenders);
    }
    if offenders.is_empty() {
        return Ok(seen);
    }
    let more = offenders.len().saturating_sub(NAMED);
    offenders.truncate(NAMED);
    bail!(
        "the image holds SSE or x87 instructions: {}{}",
        offenders.join(", "),
        if more > 0 { format!(" and {more} more") } else { String::new() }
    )
}

fn scan(section: &str, address: u64, code: &[u8], offenders: &mut Vec<String>) -> usize {
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    let mut seen = 0;
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        seen += 1;
        if touches_fpu(&instruction) {
            offenders.push(
                format!("{:?} at {:#x} ({section})", instruction.mnemonic(), instruction.ip()).to_lowercase(),
            );
        }
    }
    seen
}

fn touches_fpu(instruction: &Instruction) -> bool {
    if instruction.code() == Code::INVALID || ALLOWED.contains(&instruction.mnemonic()) {
        return false;
    }
    let x87 = |feature: &CpuidFeature| format!("{feature:?}").starts_with("FPU");
    // WAIT belongs to the x87 instruction set but only ever waits.
    let uses_x87 = instruction.mnemonic() != Mnemonic::Wait && instruction.cpuid_features().iter().any(x87);
    let vector = |register: Register| {
        register.is_vector_register() || register.is_mm() || register.is_st() || register.is_k()
    };
    let operands = 0..instruction.op_count();
    let names_vector = operands
        .into_iter()
        .any(|i| instruction.op_kind(i) == OpKind::Register && vector(instruction.op_register(i)));
    uses_x87 || names_vector
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offenders(code: &[u8]) -> Vec<String> {
        let mut offenders = Vec::new();
        scan(".text", 0x1000, code, &mut offenders);
        offenders
    }

    #[test]
    fn vector_and_x87_instructions_are_found() {
        assert_eq!(offenders(&[0x90, 0x0f, 0x28, 0xc1]), ["movaps at 0x1001 (.text)"]);
        assert_eq!(offenders(&[0xd9, 0xe8]), ["fld1 at 0x1000 (.text)"]);
        assert_eq!(offenders(&[0x0f, 0x6e, 0xc0]).len(), 1, "MMX");
        assert_eq!(offenders(&[0xc5, 0xf8, 0x28, 0xc1]).len(), 1, "AVX");
    }

    #[test]
    fn saving_the_state_fences_and_integer_code_are_fine() {
        // fxsave64 [rdi]; xsave [rdi]; fninit; mfence; pause; movnti [rdi], eax; mov rax, rbx
        let code = [
            0x48, 0x0f, 0xae, 0x07, 0x0f, 0xae, 0x27, 0xdb, 0xe3, 0x0f, 0xae, 0xf0, 0xf3, 0x90, 0x0f, 0xc3,
            0x07, 0x48, 0x89, 0xd8,
        ];
        assert!(offenders(&code).is_empty());
    }
}
