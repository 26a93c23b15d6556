//! Privileged instructions as the hypervisor carries them out: results, and refusals. CPUID, MSRs, ports.
//!
//! What depends on the machine under the hypervisor (cache sizes, the time-stamp counter) is left out.
#![no_std]
#![no_main]

use conformance::trap::Outcome;
use conformance::{Answer, Hex, area, at, at_mut, bad, call, done, in_user, row, trap, trapped};
use domu_sdk::abi::xen::hypercall::*;
use domu_sdk::arch;

#[domu_sdk::main]
fn main() {
    area("emulate");
    control_registers();
    debug_registers();
    various();
    msrs();
    cpuid();
    ports();
    done();
}

/// The trap, or the value that came.
fn seen(outcome: Outcome, value: u64) -> alloc::string::String {
    if outcome.0.is_some() { outcome.short() } else { alloc::format!("{}", Hex(value)) }
}

extern crate alloc;

macro_rules! read {
    ($name:literal, $text:literal) => {{
        let value: u64;
        let outcome = trapped!("xor {v:e}, {v:e}", $text; v = out(reg) value);
        row!($name, seen(outcome, value));
    }};
}

macro_rules! write {
    ($name:literal, $text:literal, $value:expr) => {
        row!($name, trapped!($text; v = in(reg) $value).short())
    };
}

fn control_registers() {
    read!("cr0", "mov {v}, cr0");
    read!("cr2", "mov {v}, cr2");
    read!("cr4", "mov {v}, cr4");
    read!("cr8", "mov {v}, cr8");
    read!("cr1", ".byte 0x0f, 0x20, 0xc8");
    read!("cr5", ".byte 0x0f, 0x20, 0xe8");
    let root = domu_sdk::start::info().pt_base;
    let pfn = domu_sdk::types::Pfn((root - domu_sdk::memory::layout::IMAGE_BASE) / 4096);
    let mfn = domu_sdk::memory::machine_frame(pfn).map_or(0, |mfn| mfn.0);
    let cr3: u64;
    let outcome = trapped!("mov {v}, cr3"; v = out(reg) cr3);
    row!("cr3.trap", outcome.short());
    row!("cr3.is-root", Hex((cr3 == mfn << 12).into()));
    row!("cr3.write-same", trapped!("mov cr3, {v}"; v = in(reg) cr3).short());
    row!("cr3.write-bad", trapped!("mov cr3, {v}"; v = in(reg) 0x1000_u64).short());
    let cr0 = 0x8005_003b_u64;
    let before: u64;
    // SAFETY: emulated.
    unsafe { core::arch::asm!("mov {}, cr0", out(reg) before) };
    for bit in 0..64 {
        let value = before ^ 1 << bit;
        row!("cr0.flip.{bit}", trapped!("mov cr0, {v}"; v = in(reg) value).short());
        let after: u64;
        // SAFETY: emulated.
        unsafe { core::arch::asm!("mov {}, cr0", out(reg) after) };
        row!("cr0.flip.{bit}.after", Hex(after));
        trapped!("mov cr0, {v}"; v = in(reg) before);
    }
    write!("cr0.usual", "mov cr0, {v}", cr0);
    read!("cr0.usual.after", "mov {v}, cr0");
    row!("cr0.back", trapped!("mov cr0, {v}"; v = in(reg) before).short());
    let before: u64;
    // SAFETY: emulated.
    unsafe { core::arch::asm!("mov {}, cr4", out(reg) before) };
    for bit in 0..32 {
        let value = before ^ 1 << bit;
        row!("cr4.flip.{bit}", trapped!("mov cr4, {v}"; v = in(reg) value).short());
        let after: u64;
        // SAFETY: emulated.
        unsafe { core::arch::asm!("mov {}, cr4", out(reg) after) };
        row!("cr4.flip.{bit}.after", Hex(after));
        trapped!("mov cr4, {v}"; v = in(reg) before);
    }
    write!("cr8.write", "mov cr8, {v}", 0_u64);
    write!("cr2.write", "mov cr2, {v}", 0x1234_5000_u64);
    read!("cr2.after", "mov {v}, cr2");
    write!("cr2.write.non-canonical", "mov cr2, {v}", bad::NON_CANONICAL);
    write!("lmsw", "lmsw {v:x}", 0x3b_u64);
    row!("clts", trapped!("clts").short());
}

fn debug_registers() {
    read!("dr0", "mov {v}, dr0");
    read!("dr3", "mov {v}, dr3");
    read!("dr4", "mov {v}, dr4");
    read!("dr5", "mov {v}, dr5");
    read!("dr6", "mov {v}, dr6");
    read!("dr7", "mov {v}, dr7");
    write!("dr0.write", "mov dr0, {v}", 0x1234_u64);
    read!("dr0.after", "mov {v}, dr0");
    write!("dr0.hole", "mov dr0, {v}", bad::HOLE);
    write!("dr0.non-canonical", "mov dr0, {v}", bad::NON_CANONICAL);
    write!("dr4.write", "mov dr4, {v}", 0_u64);
    write!("dr6.write", "mov dr6, {v}", 0_u64);
    read!("dr6.after", "mov {v}, dr6");
    write!("dr6.high", "mov dr6, {v}", 1_u64 << 32);
    write!("dr7.write", "mov dr7, {v}", 0_u64);
    read!("dr7.after", "mov {v}, dr7");
    write!("dr7.high", "mov dr7, {v}", 1_u64 << 32);
    write!("dr7.general-detect", "mov dr7, {v}", 1_u64 << 13);
    write!("dr0.back", "mov dr0, {v}", 0_u64);
}

fn various() {
    let table = [0_u64; 2];
    for (name, outcome) in [
        ("hlt", trapped!("cli", "nop")),
        ("cli", trapped!("cli")),
        ("sti", trapped!("sti")),
        ("wbinvd", trapped!("wbinvd")),
        ("invd", trapped!("invd")),
        ("invlpg", trapped!("invlpg [rsp]")),
        ("lgdt", trapped!("lgdt [{a}]"; a = in(reg) &table)),
        ("lidt", trapped!("lidt [{a}]"; a = in(reg) &table)),
        ("lldt", trapped!("lldt {a:x}"; a = in(reg) 0)),
        ("ltr", trapped!("ltr {a:x}"; a = in(reg) 0)),
        ("sgdt", trapped!("sgdt [{a}]"; a = in(reg) &table)),
        ("sidt", trapped!("sidt [{a}]"; a = in(reg) &table)),
        ("sldt", trapped!("sldt {a:x}"; a = out(reg) _)),
        ("str", trapped!("str {a:x}"; a = out(reg) _)),
        ("swapgs", trapped!("swapgs")),
        ("sysretq", trapped!("sysretq")),
        ("sysexit", trapped!("sysexit")),
        ("rsm", trapped!(".byte 0x0f, 0xaa")),
        ("vmcall", trapped!("vmcall")),
        ("vmmcall", trapped!("vmmcall")),
        ("vmrun", trapped!("vmrun")),
        ("stgi", trapped!("stgi")),
        ("monitor", trapped!("xor ecx, ecx", "xor edx, edx", "monitor"; out("rcx") _, out("rdx") _)),
        ("mwait", trapped!("xor ecx, ecx", "xor eax, eax", "mwait"; out("rcx") _, out("rax") _)),
        ("rdtsc", trapped!("rdtsc"; out("rax") _, out("rdx") _)),
        ("rdtscp", trapped!("rdtscp"; out("rax") _, out("rdx") _, out("rcx") _)),
        ("rdpmc", trapped!("xor ecx, ecx", "rdpmc"; out("rax") _, out("rdx") _, out("rcx") _)),
        ("rdpid", trapped!(".byte 0xf3, 0x48, 0x0f, 0xc7, 0xf8"; out("rax") _)),
        ("stac", trapped!("stac")),
        ("clac", trapped!("clac")),
        ("xgetbv", trapped!("xor ecx, ecx", "xgetbv"; out("rax") _, out("rdx") _, out("rcx") _)),
        ("xgetbv-1", trapped!("mov ecx, 1", "xgetbv"; out("rax") _, out("rdx") _, out("rcx") _)),
        (
            "xsetbv-off",
            trapped!("xor ecx, ecx", "xor edx, edx", "mov eax, 7", "xsetbv"; out("rax") _, out("rdx") _, out("rcx") _),
        ),
        (
            "wrpkru",
            trapped!("xor ecx, ecx", "xor edx, edx", "xor eax, eax", ".byte 0x0f, 0x01, 0xef"; out("rax") _, out("rdx") _, out("rcx") _),
        ),
        ("prefixed-clts", trapped!(".byte 0x66, 0x0f, 0x06")),
        ("lock-clts", trapped!(".byte 0xf0, 0x0f, 0x06")),
        ("rex-cli", trapped!(".byte 0x48, 0xfa")),
        (
            "many-prefixes",
            trapped!(
                ".byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0xfa"
            ),
        ),
        (
            "too-many-prefixes",
            trapped!(
                ".byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0xfa"
            ),
        ),
    ] {
        row!("insn.{name}", outcome.short());
    }
    // With OSXSAVE, what XCR0 may be.
    let cr4: u64;
    // SAFETY: emulated.
    unsafe { core::arch::asm!("mov {}, cr4", out(reg) cr4) };
    row!("xsetbv.enable", trapped!("mov cr4, {v}"; v = in(reg) cr4 | 1 << 18).short());
    for value in [0_u32, 1, 2, 3, 4, 5, 6, 7, 8, 0x18, 0x1f, 0x20, 0xe7, 0x200, 0x207] {
        row!("xsetbv.{value:#x}", trapped!("xor ecx, ecx", "xor edx, edx", "xsetbv"; inout("eax") value => _, out("rdx") _, out("rcx") _).short());
    }
    row!("xsetbv.register-1", trapped!("mov ecx, 1", "xor edx, edx", "mov eax, 1", "xsetbv"; out("rax") _, out("rdx") _, out("rcx") _).short());
    row!("xsetbv.back", trapped!("xor ecx, ecx", "xor edx, edx", "mov eax, 7", "xsetbv"; out("rax") _, out("rdx") _, out("rcx") _).short());
    row!("xsetbv.disable", trapped!("mov cr4, {v}"; v = in(reg) cr4).short());
}

/// Numbers of MSRs to read; those that hold a time or a count are read for their trap alone.
const MSRS: &[u32] = &[
    0x0,
    0x10,
    0x11,
    0x17,
    0x1b,
    0x2a,
    0x33,
    0x34,
    0x3a,
    0x3b,
    0x48,
    0x49,
    0x79,
    0x8b,
    0x9a,
    0xc1,
    0xcd,
    0xce,
    0xe2,
    0xe7,
    0xe8,
    0xfe,
    0x10a,
    0x10b,
    0x10f,
    0x122,
    0x140,
    0x174,
    0x175,
    0x176,
    0x179,
    0x17a,
    0x186,
    0x198,
    0x199,
    0x19a,
    0x19b,
    0x19c,
    0x1a0,
    0x1a2,
    0x1a4,
    0x1ad,
    0x1b0,
    0x1d9,
    0x1db,
    0x1fc,
    0x200,
    0x250,
    0x277,
    0x2ff,
    0x309,
    0x345,
    0x38d,
    0x38f,
    0x400,
    0x401,
    0x480,
    0x48b,
    0x560,
    0x570,
    0x606,
    0x611,
    0x6a0,
    0x6a2,
    0x6e0,
    0x770,
    0x802,
    0x803,
    0x830,
    0xc80,
    0xd90,
    0xda0,
    0x4000_0000,
    0x4000_0020,
    0xc000_0080,
    0xc000_0081,
    0xc000_0082,
    0xc000_0083,
    0xc000_0084,
    0xc000_0100,
    0xc000_0101,
    0xc000_0102,
    0xc000_0103,
    0xc000_0104,
    0xc001_0000,
    0xc001_0004,
    0xc001_0010,
    0xc001_0015,
    0xc001_001a,
    0xc001_001f,
    0xc001_0055,
    0xc001_0058,
    0xc001_0061,
    0xc001_0062,
    0xc001_0063,
    0xc001_0064,
    0xc001_0111,
    0xc001_0112,
    0xc001_0114,
    0xc001_0117,
    0xc001_0140,
    0xc001_1004,
    0xc001_1005,
    0xc001_1019,
    0xc001_1020,
    0xc001_1027,
    0xc001_1029,
    0xc001_102c,
    0xc001_1038,
    0xffff_ffff,
];

/// Whose values differ from run to run.
const COUNTERS: &[u32] = &[0x10, 0xe7, 0xe8, 0x611];

fn rdmsr(number: u32) -> (Outcome, u64) {
    let (low, high): (u32, u32);
    let outcome =
        trapped!("xor eax, eax", "xor edx, edx", "rdmsr"; in("ecx") number, out("eax") low, out("edx") high);
    (outcome, u64::from(high) << 32 | u64::from(low))
}

fn wrmsr(number: u32, value: u64) -> Outcome {
    trapped!("wrmsr"; in("ecx") number, in("eax") value as u32, in("edx") (value >> 32) as u32)
}

fn msrs() {
    for &number in MSRS {
        let (outcome, value) = rdmsr(number);
        let value = if COUNTERS.contains(&number) { 0 } else { value };
        row!("msr.{number:#x}", seen(outcome, value));
        if COUNTERS.contains(&number) {
            continue;
        }
        let current = rdmsr(number).1;
        row!("msr.{number:#x}.same", wrmsr(number, current).short());
        row!("msr.{number:#x}.flip", wrmsr(number, current ^ 1).short());
        row!("msr.{number:#x}.flip.after", seen(rdmsr(number).0, rdmsr(number).1));
        row!("msr.{number:#x}.high", wrmsr(number, current ^ 1 << 63).short());
        wrmsr(number, current);
    }
}

/// Leaves that must be equal, with the registers that count: those that hold the APIC id, cache sizes or the frequency are masked.
fn cpuid() {
    for leaf in (0..0x20_u32).chain(0x8000_0000..=0x8000_0022) {
        let most = if matches!(leaf, 7 | 0xd | 0x14) { 3 } else { 1 };
        for subleaf in 0..most {
            let forced = arch::cpuid(leaf, subleaf);
            let mut shown = forced;
            if leaf == 1 {
                // Initial APIC id.
                shown[1] &= 0x00ff_ffff;
            }
            if leaf == 0xb || leaf == 0x1f {
                shown[3] = 0;
            }
            for (name, value) in ["a", "b", "c", "d"].iter().zip(shown) {
                row!("cpuid.{leaf:#x}.{subleaf}.{name}", Hex(value.into()));
            }
        }
    }
    for leaf in [
        0xffff_u32,
        0x4000_0006,
        0x4000_00ff,
        0x4000_0100,
        0x4000_ff00,
        0x8000_ffff,
        0xc000_0000,
        0xffff_ffff,
    ] {
        row!("cpuid.{leaf:#x}.zero", Hex(arch::cpuid(leaf, 0).iter().all(|word| *word == 0).into()));
    }
    for leaf in [0x4000_0000_u32, 0x4000_0001, 0x4000_0002, 0x4000_0004, 0x4000_0005] {
        for (name, value) in ["a", "b", "c", "d"].iter().zip(arch::cpuid(leaf, 0)) {
            row!("cpuid.{leaf:#x}.{name}", Hex(value.into()));
        }
    }
    for subleaf in 0..3 {
        let words = arch::cpuid(0x4000_0003, subleaf);
        row!("cpuid.0x40000003.{subleaf}.mode", Hex(if subleaf == 0 { words[1].into() } else { 0 }));
    }
    let outcome = trapped!("mov {s}, rbx", "xor eax, eax", "xor ecx, ecx", "cpuid", "mov rbx, {s}"; s = out(reg) _, out("rax") _, out("rcx") _, out("rdx") _);
    row!("cpuid.native", outcome.short());
    row!(
        "cpuid.forced-length",
        trapped!("mov {s}, rbx", "xor eax, eax", "xor ecx, ecx", ".byte 0x0f, 0x0b, 0x78, 0x65, 0x6e", "cpuid", "mov rbx, {s}", "ud2"; s = out(reg) _, out("rax") _, out("rcx") _, out("rdx") _)
    );
}

fn read_port(port: u16) -> (Outcome, u8) {
    let value: u8;
    (trapped!("in al, dx"; in("dx") port, out("al") value), value)
}

/// Ports that no first domain may touch, by the privilege level for ports.
fn ports() {
    let first = domu_sdk::start::is_initial_domain();
    for level in [0_u64, 1, 3] {
        row!("port.iopl.{level}", call(PHYSDEV_OP, [6, at(&[level]), 0, 0, 0]));
        // Interrupt controller, timer, serial line of the hypervisor, a port nobody has.
        for port in [0x20_u16, 0x21, 0x43, 0xa0, 0xa1, 0x3f8, 0x3fd, 0xed, 0x1234] {
            let (outcome, value) = read_port(port);
            row!("port.{level}.{port:#x}", seen(outcome, if port == 0x43 { 0 } else { value.into() }));
        }
        row!("port.{level}.user", in_port_user());
        row!("port.{level}.cli", trapped!("cli").short());
        row!("port.{level}.out", trapped!("out dx, al"; in("dx") 0xed_u16, in("al") 0_u8).short());
        row!("port.{level}.in16", trapped!("in ax, dx"; in("dx") 0xed_u16, out("ax") _).short());
        row!("port.{level}.in32", trapped!("in eax, dx"; in("dx") 0xed_u16, out("eax") _).short());
        row!("port.{level}.in-last", trapped!("in eax, dx"; in("dx") 0xffff_u16, out("eax") _).short());
    }
    let answer: Answer = call(PHYSDEV_OP, [6, at(&[0_u64]), 0, 0, 0]);
    row!("port.iopl.back", answer);
    row!("port.first", Hex(first.into()));
    let mut buffer = [0_u32; 4];
    row!(
        "port.insb",
        trapped!("mov ecx, 2", "rep insb"; inout("rdi") at_mut(&mut buffer) => _, in("dx") 0xed_u16, out("rcx") _)
    );
    row!("port.insd.bad", trapped!("insd"; inout("rdi") bad::HOLE => _, in("dx") 0xed_u16).short());
    row!("port.insd.unmapped", trapped!("insd"; inout("rdi") bad::UNMAPPED => _, in("dx") 0xed_u16).short());
    row!(
        "port.outsb.unmapped",
        trapped!("outsb"; inout("rsi") bad::UNMAPPED => _, in("dx") 0xed_u16).short()
    );
}

fn in_port_user() -> alloc::string::String {
    trap::prepare_user();
    in_user!("in al, dx"; in("dx") 0xed_u16, out("al") _).short()
}
