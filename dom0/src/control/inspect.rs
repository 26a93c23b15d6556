//! A look into a domain that stands still: registers, the instruction, the stack, with names from its kernel's symbol table.
//!
//! All of it is the guest's: page tables are walked with a bound, every address may be unmapped, and names are cut and cleaned before they are
//! shown. Page tables can only be mapped for reading, so that is how everything is mapped here.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use abi::xen::{CpuUserRegs, VcpuGuestContext};
use elf::ElfBytes;
use elf::abi::STT_FUNC;
use elf::endian::LittleEndian;
use iced_x86::{Decoder, DecoderOptions, FastFormatter};

use super::{Control, printable};
use crate::DomId;
use crate::hypervisor::{Hypervisor, Window, explain};

/// Longest instruction.
const INSTRUCTION_MAX: usize = 15;
/// Callers that are followed.
const DEPTH: usize = 12;
/// Words of the stack that are shown.
const STACK_WORDS: usize = 8;
/// Characters of a name that are shown.
const NAME_MAX: usize = 120;
/// Bytes of a kernel beyond which it is not searched for symbols.
const KERNEL_MAX: usize = 64 << 20;

const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
const FRAME: u64 = 0xf_ffff_ffff_f000;

/// A domain's memory as one of its page tables shows it.
struct Memory<'h, H> {
    hv: &'h mut H,
    dom: DomId,
    root: u64,
}

impl<H: Hypervisor> Memory<'_, H> {
    fn word(&mut self, mfn: u64, index: u64) -> Option<u64> {
        let window = self.hv.map_foreign_read_only(self.dom, &[mfn]).ok()?;
        let mut bytes = [0; 8];
        window.read(index as usize * 8, &mut bytes);
        Some(u64::from_le_bytes(bytes))
    }

    /// The frame that shows at an address.
    fn frame(&mut self, address: u64) -> Option<u64> {
        let mut table = self.root;
        for level in (1..=4).rev() {
            let shift = 12 + 9 * (level - 1);
            let entry = self.word(table, address >> shift & 511)?;
            if entry & PRESENT == 0 {
                return None;
            }
            let mfn = (entry & FRAME) >> 12;
            if level > 1 && level < 4 && entry & LARGE != 0 {
                // Within the large page.
                return Some(mfn + ((address >> 12) & ((1 << (shift - 12)) - 1)));
            }
            table = mfn;
        }
        Some(table)
    }

    /// Bytes from an address on, fewer if some of them are not there.
    fn read(&mut self, address: u64, count: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while out.len() < count {
            let Some(at) = address.checked_add(out.len() as u64) else { break };
            let offset = (at & 0xfff) as usize;
            let part = (4096 - offset).min(count - out.len());
            let Some(mfn) = self.frame(at) else { break };
            let Ok(window) = self.hv.map_foreign_read_only(self.dom, &[mfn]) else { break };
            let start = out.len();
            out.resize(start + part, 0);
            window.read(offset, &mut out[start..]);
        }
        out
    }

    fn words(&mut self, address: u64, count: usize) -> Vec<u64> {
        let bytes = self.read(address, count * 8);
        let word = |chunk: &[u8]| chunk.try_into().map_or(0, u64::from_le_bytes);
        bytes.chunks_exact(8).map(word).collect()
    }
}

/// The functions of a kernel.
struct Symbols<'a>(Option<ElfBytes<'a, LittleEndian>>);

impl<'a> Symbols<'a> {
    fn of(kernel: &'a [u8]) -> Self {
        Self(ElfBytes::minimal_parse(kernel).ok().filter(|_| kernel.len() <= KERNEL_MAX))
    }

    /// The function at an address, and how far into it.
    fn name(&self, address: u64) -> Option<String> {
        let (symbols, names) = self.0.as_ref()?.symbol_table().ok()??;
        let functions = symbols.iter().filter(|s| s.st_symtype() == STT_FUNC && s.st_value <= address);
        let found = functions.max_by_key(|s| s.st_value)?;
        let offset = address - found.st_value;
        if found.st_size > 0 && offset > found.st_size {
            return None;
        }
        let name = names.get(found.st_name as usize).ok()?;
        let name = format!("{:#}", rustc_demangle::demangle(name));
        let cut: String = printable(name.as_bytes()).chars().take(NAME_MAX).collect();
        Some(format!("{cut}+{offset:#x}"))
    }
}

/// The instruction at the start of these bytes, with the bytes.
fn instruction(address: u64, bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "the address is not mapped".into();
    }
    let decoded = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).decode();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x} ")).collect::<String>();
    if decoded.is_invalid() {
        return format!("{}is no instruction", hex(bytes));
    }
    let mut text = String::new();
    let mut formatter = FastFormatter::new();
    formatter.options_mut().set_uppercase_hex(false);
    formatter.options_mut().set_use_hex_prefix(true);
    formatter.format(&decoded, &mut text);
    format!("{text}  ({})", hex(&bytes[..decoded.len().min(bytes.len())]).trim_end())
}

fn registers(r: &CpuUserRegs, context: &VcpuGuestContext) -> String {
    let rows: [[(&str, u64); 4]; 5] = [
        [("rax", r.rax), ("rbx", r.rbx), ("rcx", r.rcx), ("rdx", r.rdx)],
        [("rsi", r.rsi), ("rdi", r.rdi), ("rbp", r.rbp), ("rsp", r.rsp)],
        [("r8", r.r8), ("r9", r.r9), ("r10", r.r10), ("r11", r.r11)],
        [("r12", r.r12), ("r13", r.r13), ("r14", r.r14), ("r15", r.r15)],
        [
            ("flags", r.rflags),
            ("cr2", context.ctrlreg[2]),
            ("cr3", context.ctrlreg[3]),
            ("cr4", context.ctrlreg[4]),
        ],
    ];
    let mut text = String::new();
    for row in rows {
        text += " ";
        for (name, value) in row {
            text += &format!(" {name:>5} {value:016x}");
        }
        text.push('\n');
    }
    text
}

impl<H: Hypervisor> Control<'_, H> {
    /// Tells what a domain did when it crashed.
    pub(super) fn report_crash(&mut self, dom: DomId) {
        let report =
            self.context(dom, 0).unwrap_or_else(|why| format!("no registers of domain {dom}: {why}"));
        self.notices.push_back(report);
    }

    /// Registers, instruction and stack of a virtual CPU of a domain that stands still.
    pub fn context(&mut self, dom: DomId, vcpu: u32) -> Result<String, String> {
        let context = self.hv.vcpu_context(dom, vcpu).map_err(|e| explain("getvcpucontext", e))?;
        let (name, kernel) = match self.domains.get(&dom) {
            Some(domain) => (domain.guest.name.clone(), domain.guest.kernel.clone()),
            None => (format!("domain {dom}"), String::new()),
        };
        let file = self.files.get(&kernel).map_or(Cow::Borrowed(&[][..]), |file| Cow::Borrowed(file.data));
        let symbols = Symbols::of(&file);
        let r = &context.user_regs;
        let mut memory = Memory { hv: &mut self.hv, dom, root: (context.ctrlreg[3] & FRAME) >> 12 };
        let code = memory.read(r.rip, INSTRUCTION_MAX);
        let at = |address: u64| symbols.name(address).unwrap_or_default();
        let mut text = format!("{name} (domain {dom}), CPU {vcpu}: rip {:016x} {}", r.rip, at(r.rip));
        text.truncate(text.trim_end().len());
        text.push('\n');
        // A domain that ended itself is behind the instruction that calls the hypervisor.
        if memory.read(r.rip.wrapping_sub(2), 2) == [0x0f, 0x05] {
            text += "  behind a hypercall: it ended itself, see its log\n";
        }
        text += &format!("  instruction: {}\n", instruction(r.rip, &code));
        text += &registers(r, &context);
        let words = memory.words(r.rsp, STACK_WORDS);
        text += "  stack:";
        text.extend(words.iter().map(|word| format!(" {word:x}")));
        for caller in callers(&mut memory, r.rbp) {
            text += &format!("\n  called from {caller:016x} {}", at(caller));
        }
        Ok(text)
    }
}

/// Return addresses along the chain of frame pointers; each frame must lie above the one before.
fn callers<H: Hypervisor>(memory: &mut Memory<'_, H>, mut frame: u64) -> Vec<u64> {
    let mut out = Vec::new();
    while out.len() < DEPTH && frame != 0 && frame.is_multiple_of(8) {
        let [next, caller] = memory.words(frame, 2)[..] else { break };
        if caller == 0 {
            break;
        }
        out.push(caller);
        if next <= frame {
            break;
        }
        frame = next;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, BASE, Fake};
    use crate::files::Files;

    fn crashed(text: &[u8], change: impl FnOnce(&mut VcpuGuestContext)) -> String {
        let kernel = fake::kernel(text);
        let config = b"kernel = 'k'\nmemory = 8\non_crash = 'preserve'";
        let archive = fake::archive(&[("guests/g.cfg", config), ("guests/k", &kernel)]);
        let (files, _) = Files::read(&archive);
        let fake = Fake::new(100_000);
        let mut control = Control::new(fake.clone(), files);
        let dom = control.create("g", false).unwrap().dom;
        change(fake.0.borrow_mut().domains.get_mut(&dom.0).unwrap().context.as_mut().unwrap());
        fake.shut_down(dom.0, 3);
        control.serve();
        let report = control.next_notice().unwrap();
        assert!(control.next_notice().unwrap().contains("crashed; it is kept"));
        assert_eq!(fake.0.borrow().mapped, 2, "nothing but the two rings stays mapped");
        report
    }

    #[test]
    fn the_instruction_is_named() {
        let report = crashed(&[0x48, 0x8b, 0x03, 0x90], |context| context.user_regs.rbx = 0x123);
        assert!(report.starts_with("g (domain 1), CPU 0: rip ffffffff80100000\n"), "{report}");
        assert!(report.contains("  instruction: mov rax,[rbx]  (48 8b 03)\n"), "{report}");
        assert!(report.contains("   rbx 0000000000000123"), "{report}");
        assert!(!report.contains("hypercall"), "{report}");
    }

    #[test]
    fn a_domain_that_ended_itself_is_told_apart() {
        let report = crashed(&[0x0f, 0x05, 0xc3], |context| context.user_regs.rip += 2);
        assert!(report.contains("behind a hypercall") && report.contains("instruction: ret"), "{report}");
    }

    #[test]
    fn callers_are_followed_with_a_bound() {
        // Two frames in the kernel's own page; the second points to itself.
        let mut text = [0x90; 64];
        let word = |value: u64| value.to_le_bytes();
        let frame = BASE + 0x10_0000;
        text[16..24].copy_from_slice(&word(frame + 32));
        text[24..32].copy_from_slice(&word(0x1111));
        text[32..40].copy_from_slice(&word(frame + 32));
        text[40..48].copy_from_slice(&word(0x2222));
        let report = crashed(&text, |context| context.user_regs.rbp = frame + 16);
        assert_eq!(report.matches("called from").count(), 2, "{report}");
        assert!(report.contains("called from 0000000000001111"), "{report}");
    }

    #[test]
    fn wild_registers_are_survived() {
        let wild = |value: u64| {
            move |context: &mut VcpuGuestContext| {
                let r = &mut context.user_regs;
                (r.rip, r.rsp, r.rbp) = (value, value, value & !7);
            }
        };
        for value in [0, 1, u64::MAX, u64::MAX - 7, 1 << 47, BASE - 1] {
            let report = crashed(b"", wild(value));
            assert!(report.contains("the address is not mapped"), "{report}");
        }
        let report = crashed(b"", |context| context.ctrlreg[3] = 0x1234_5000);
        assert!(report.contains("the address is not mapped"), "{report}");
    }

    #[test]
    fn no_bytes_panic() {
        for first in 0..=255 {
            let text = instruction(u64::MAX, &[first, 0xff]);
            assert!(!text.is_empty());
        }
    }
}
