//! Code of 32 and 16 bits: frames, ways in, flags, emulated instructions, segments of the guest's own.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use conformance::low::{self, Context, DATA, STACK};
use conformance::trap::{self, Outcome, callback_stub, stub};
use conformance::{Hex, area, at, call, done, row, shared};
use core::mem::offset_of;
use domu_sdk::abi::callback::CallbackRegister;
use domu_sdk::abi::xen::{TrapInfo, VcpuInfo, hypercall::*};
use domu_sdk::arch;

/// User mode, 64 bits.
const CS64: u64 = 0xe033;
/// Kernel mode, 32 bits.
const KERNEL32: u64 = 0xe020;
/// Kernel mode, 64 bits.
const KERNEL64: u64 = 0xe030;

#[domu_sdk::main]
fn main() {
    area("compat");
    low::map();
    simple();
    ways_in();
    flags();
    emulated();
    segments();
    strings();
    done();
}

fn user() -> Context {
    Context::default()
}

fn cr2() -> Hex {
    // SAFETY: the page is mapped.
    let word =
        unsafe { shared::info().cast::<u8>().add(offset_of!(VcpuInfo, arch)).cast::<u64>().read_volatile() };
    Hex(word)
}

/// The trap with its registers, `cr2` where it is a page fault.
fn whole(outcome: &Outcome) -> String {
    let Some(trap) = &outcome.0 else { return String::from("no trap") };
    let [ax, bx, cx, dx, si, di, ..] = trap.registers;
    let cr2 = if trap.vector == 14 { format!(" cr2 {}", cr2()) } else { String::new() };
    let registers =
        format!("{} {} {} {} {} {}", Hex(ax), Hex(bx), Hex(trap.words[0]), Hex(dx), Hex(si), Hex(di));
    let _ = cx;
    format!("{outcome}{cr2} registers {registers}")
}

fn show(name: &str, context: &Context, code: &[u8]) {
    let outcome = low::run(context, code);
    row!("{name}", whole(&outcome));
}

fn gate(vector: u8, flags: u8, cs: u16, stub: u64) {
    let entry = TrapInfo { vector, flags, cs, address: stub, ..TrapInfo::default() };
    call(SET_TRAP_TABLE, [at(&[entry, TrapInfo::default()]), 0, 0, 0, 0]);
}

const SIMPLE: &[(&str, &[u8])] = &[
    ("ud2", &[0x0f, 0x0b]),
    ("int3", &[0xcc]),
    ("int-3", &[0xcd, 3]),
    ("into", &[0xb8, 0xff, 0xff, 0xff, 0x7f, 0x40, 0xce]),
    ("icebp", &[0xf1]),
    ("int80", &[0xcd, 0x80]),
    ("bound", &[0x62, 0x06]),
    ("divide", &[0x31, 0xd2, 0x31, 0xc9, 0xf7, 0xf1]),
    ("hlt", &[0xf4]),
    ("cli", &[0xfa]),
    ("sti", &[0xfb]),
    ("in", &[0xec]),
    ("in-imm", &[0xe4, 0x80]),
    ("out", &[0xee]),
    ("rdmsr", &[0x0f, 0x32]),
    ("mov-cr0", &[0x0f, 0x20, 0xc0]),
    ("mov-dr7", &[0x0f, 0x21, 0xf8]),
    ("clts", &[0x0f, 0x06]),
    ("lgdt", &[0x0f, 0x01, 0x16]),
    ("lldt", &[0x0f, 0x00, 0xd0]),
    ("swapgs", &[0x0f, 0x01, 0xf8]),
    ("rdtscp", &[0x0f, 0x01, 0xf9, 0x31, 0xc0, 0x31, 0xc9, 0x31, 0xd2]),
    ("forced-cpuid", &[0x31, 0xc0, 0x31, 0xc9, 0x0f, 0x0b, b'x', b'e', b'n', 0x0f, 0xa2]),
    ("xgetbv", &[0x31, 0xc9, 0x0f, 0x01, 0xd0]),
    ("sysret", &[0x0f, 0x07]),
    ("sysexit", &[0x0f, 0x35]),
    ("read-low", &[0xa1, 0, 0, 0, 0]),
    ("read-high", &[0xa1, 0, 0xf0, 0xff, 0xff]),
    ("read-last", &[0xa1, 0xfe, 0xff, 0xff, 0xff]),
    ("write-behind-stack", &[0xa3, 0, 0x30, 0, 0x10]),
    ("jump-unmapped", &[0xe9, 0, 0, 0, 0x20]),
    ("iret-null", &[0x6a, 0, 0x6a, 0, 0x6a, 0, 0xcf]),
    ("retf-null", &[0x6a, 0, 0x6a, 0, 0xcb]),
    ("far-jump-ring0", &[0xea, 0, 0, 0, 0, 0x08, 0xe0]),
    ("far-jump-64", &[0xea, 0x10, 0, 0, 0x10, 0x33, 0xe0]),
    ("far-jump-tss", &[0xea, 0, 0, 0, 0, 0x40, 0xe0]),
    ("far-jump-ldt", &[0xea, 0, 0, 0, 0, 0x50, 0xe0]),
    ("far-jump-per-cpu", &[0xea, 0, 0, 0, 0, 0x63, 0xe0]),
    ("load-ss-null", &[0x31, 0xc0, 0x8e, 0xd0]),
    ("load-ds-code", &[0xb8, 0x23, 0xe0, 0, 0, 0x8e, 0xd8]),
    ("load-ds-ring0", &[0xb8, 0x10, 0xe0, 0, 0, 0x8e, 0xd8]),
    ("load-ds-tss", &[0xb8, 0x40, 0xe0, 0, 0, 0x8e, 0xd8]),
    ("load-ds-last", &[0xb8, 0xfb, 0xff, 0, 0, 0x8e, 0xd8]),
    ("push-es", &[0x06, 0x58]),
    ("daa", &[0x27]),
    ("null-ds", &[0x31, 0xc0, 0x8e, 0xd8, 0xa1, 0, 0x10, 0, 0x10]),
    ("null-es", &[0x31, 0xc0, 0x8e, 0xc0, 0x26, 0xa1, 0, 0x10, 0, 0x10]),
];

fn simple() {
    for (name, code) in SIMPLE {
        for (mode, context) in [("user", user()), ("kernel", Context { cs: KERNEL32, ..user() })] {
            // `rdtscp` leaves what differs; it is about the trap behind it.
            show(&format!("{mode}.{name}"), &context, code);
        }
    }
    // The words of a frame, the selectors, the mask beside the selector.
    for (name, context) in [
        ("user", user()),
        ("user64", Context { cs: CS64, ..user() }),
        ("kernel", Context { cs: KERNEL32, ..user() }),
        ("kernel64", Context { cs: KERNEL64, ..user() }),
    ] {
        for masked in [0_u64, 1] {
            let context = Context { rflags: if masked == 0 { 0x202 } else { 2 }, ..context };
            if let Some(trap) = low::run(&context, &[0x0f, 0x0b]).0 {
                for (index, word) in trap.words.iter().enumerate().take(7) {
                    row!("frame.{name}.{masked}.{index}", Hex(*word));
                }
            }
        }
    }
}

/// SYSCALL, SYSENTER and `int 0x80`, with and without callbacks.
fn ways_in() {
    let ways: [(&str, &[u8]); 3] =
        [("syscall", &[0x0f, 0x05]), ("sysenter", &[0x0f, 0x34]), ("int80", &[0xcd, 0x80])];
    let modes = [
        ("user32", user()),
        ("user64", Context { cs: CS64, ..user() }),
        ("kernel32", Context { cs: KERNEL32, registers: [17, 0, 0, 0, 0, 0], ..user() }),
        ("kernel64", Context { cs: KERNEL64, registers: [17, 0, 0, 0, 0, 0], ..user() }),
    ];
    for round in ["none", "plain", "masking"] {
        if round != "none" {
            let flags = u16::from(round == "masking");
            for (type_, which) in [(2, 0), (7, 1), (5, 0)] {
                let address = callback_stub(which);
                let register = CallbackRegister { type_, flags, address, ..CallbackRegister::default() };
                row!("way.{round}.register.{type_}", call(CALLBACK_OP, [0, at(&register), 0, 0, 0]));
            }
            gate(0x80, 3 | if round == "masking" { 4 } else { 0 }, 0xe033, stub(3));
        }
        for (way, code) in ways {
            for (mode, context) in modes {
                let is_kernel = mode.starts_with("kernel");
                if way == "sysenter" && is_kernel && arch::cpuid(0, 0)[1] == u32::from_le_bytes(*b"Genu") {
                    // No stack to tell the kernel on.
                    continue;
                }
                if way == "syscall" && round == "none" && mode == "user64" {
                    // The SDK has one of its own.
                    continue;
                }
                for (flags, rflags) in
                    [("plain", 0x202), ("nt", 0x4202), ("ac", 0x4_0202), ("df", 0x602), ("masked", 2)]
                {
                    let outcome = low::run(&Context { rflags, ..context }, code);
                    row!("way.{round}.{way}.{mode}.{flags}", whole(&outcome));
                    if let Some(trap) = outcome.0
                        && flags == "plain"
                    {
                        for (index, word) in trap.words.iter().enumerate().take(7) {
                            row!("way.{round}.{way}.{mode}.word.{index}", Hex(*word));
                        }
                    }
                }
                let outcome = low::run(&Context { rflags: 0x302, ..context }, code);
                row!("way.{round}.{way}.{mode}.step", outcome);
                call(SET_DEBUGREG, [6, 0, 0, 0, 0]);
            }
        }
    }
    // Handlers on selectors other than the flat one of 64 bits.
    trap::install();
    for cs in [0xe033_u16, 0xe030, 0xe031, 0] {
        gate(6, 0, cs, stub(6));
        row!("handler.{cs:#x}", whole(&low::run(&user(), &[0x0f, 0x0b])));
    }
    trap::install();
}

/// Flags that the kernel gives, that user mode sets, and that a frame and a handler see.
fn flags() {
    for (mode, context) in [
        ("user32", user()),
        ("user64", Context { cs: CS64, ..user() }),
        ("kernel32", Context { cs: KERNEL32, ..user() }),
    ] {
        for bit in 0..64 {
            let rflags = 0x202 ^ 1 << bit;
            let outcome = low::run(&Context { rflags, ..context }, &[0x0f, 0x0b]);
            if let Some(trap) = outcome.0 {
                row!(
                    "flags.{mode}.iret.{bit}",
                    format!("vector {} saved {:#x} handler {:#x}", trap.vector, trap.frame()[2], trap.flags)
                );
            }
            call(SET_DEBUGREG, [6, 0, 0, 0, 0]);
        }
    }
    for bit in [8_u32, 10, 12, 13, 14, 16, 17, 18, 19, 20, 21] {
        let mut code = alloc::vec![0x68];
        code.extend((0x202_u32 ^ 1 << bit).to_le_bytes());
        code.extend([0x9d, 0x90]);
        show(&format!("flags.popf.{bit}"), &user(), &code);
        // By an `iret` of its own.
        let mut code = alloc::vec![0x68];
        code.extend((0x202_u32 ^ 1 << bit).to_le_bytes());
        code.extend([0x0e, 0x68, 0x0d, 0, 0, 0x10, 0xcf, 0x90]);
        show(&format!("flags.own-iret.{bit}"), &user(), &code);
        call(SET_DEBUGREG, [6, 0, 0, 0, 0]);
    }
    // An access that is not aligned, with AC.
    show("flags.ac.unaligned", &Context { rflags: 0x4_0202, ..user() }, &[0xa1, 1, 0x10, 0, 0x10]);
    // Single steps over what the hypervisor does.
    call(PHYSDEV_OP, [6, at(&[3_u64]), 0, 0, 0]);
    for (name, code) in [
        ("cli", &[0xfa, 0x90][..]),
        ("in", &[0xec, 0x90]),
        ("out", &[0xee, 0x90]),
        ("insb", &[0x6c, 0x90]),
        ("outsb", &[0x6e, 0x90]),
        ("cr0", &[0x0f, 0x20, 0xc0, 0x90]),
        ("dr7", &[0x0f, 0x21, 0xf8, 0x90]),
        ("rdmsr", &[0xb9, 0x80, 0, 0, 0xc0, 0x0f, 0x32, 0x90]),
        ("wbinvd", &[0x0f, 0x09, 0x90]),
        ("rep-outsb", &[0xf3, 0x6e, 0x90]),
        ("rep-insb", &[0xf3, 0x6c, 0x90]),
        ("forced-cpuid", &[0x0f, 0x0b, b'x', b'e', b'n', 0x0f, 0xa2, 0x90]),
        ("popf", &[0x9d, 0x90, 0x90]),
        ("mov-ss", &[0x16, 0x17, 0x90, 0x90]),
        ("int3", &[0xcc, 0x90]),
        ("ud2", &[0x0f, 0x0b]),
        ("fault", &[0xa1, 0, 0, 0, 0, 0x90]),
    ] {
        for (mode, cs) in [("32", 0xe023), ("64", CS64), ("kernel32", KERNEL32), ("kernel64", KERNEL64)] {
            let context = Context { cs, rflags: 0x302, registers: [0, 2, 0xed, 0, DATA, DATA], ..user() };
            call(SET_DEBUGREG, [6, 0, 0, 0, 0]);
            let outcome = low::run(&context, code);
            row!("step.{mode}.{name}", outcome);
            row!("step.{mode}.{name}.dr6", call(GET_DEBUGREG, [6, 0, 0, 0, 0]));
        }
    }
    call(SET_DEBUGREG, [6, 0, 0, 0, 0]);
    call(PHYSDEV_OP, [6, at(&[0_u64]), 0, 0, 0]);
}

/// Privileged instructions in forms that only code of 32 bits has.
fn emulated() {
    for level in [0_u64, 1, 3] {
        call(PHYSDEV_OP, [6, at(&[level]), 0, 0, 0]);
        for (mode, context) in [("user", user()), ("kernel", Context { cs: KERNEL32, ..user() })] {
            let context = Context { registers: [0xffff_ffff_1234_5678, 0, 0xed, 0, DATA, DATA], ..context };
            for (name, code) in [
                ("in8", &[0xec][..]),
                ("in16", &[0x66, 0xed]),
                ("in32", &[0xed]),
                ("in-prefixes", &[0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x67, 0xec]),
                ("in-14-prefixes", &[0x66; 14]),
                ("in-lock", &[0xf0, 0xec]),
                ("in-rex-is-inc", &[0x48, 0xec]),
                ("in-rep", &[0xf3, 0xec]),
                ("cli", &[0xfa]),
                ("sti", &[0xfb]),
                ("cr0", &[0x0f, 0x20, 0xc3]),
                ("cr0-lock", &[0xf0, 0x0f, 0x20, 0xc3]),
                ("cr0-memory-form", &[0x0f, 0x20, 0x03]),
                ("dr7", &[0x0f, 0x21, 0xfb]),
                ("clts", &[0x0f, 0x06]),
                ("wbinvd", &[0x0f, 0x09]),
                ("rdmsr-efer", &[0xb9, 0x80, 0, 0, 0xc0, 0x0f, 0x32]),
            ] {
                let mut bytes = alloc::vec::Vec::from(code);
                if name == "in-14-prefixes" {
                    bytes.push(0xec);
                    show(
                        &format!("emulated.{level}.{mode}.in-15-prefixes"),
                        &context,
                        &[[0x66].as_slice(), &bytes].concat(),
                    );
                }
                show(&format!("emulated.{level}.{mode}.{name}"), &context, &bytes);
            }
        }
    }
    call(PHYSDEV_OP, [6, at(&[0_u64]), 0, 0, 0]);
}

/// A descriptor of ring 3: base, limit, granularity and the like (bits 55 to 52), kind.
const fn descriptor(base: u64, limit: u64, flags: u64, access: u64) -> u64 {
    limit & 0xffff
        | (base & 0xff_ffff) << 16
        | access << 40
        | (limit >> 16 & 15) << 48
        | flags << 52
        | base >> 24 << 56
}

/// Selectors 7, 15, 23, …
const LOCAL: &[(&str, u64)] = &[
    ("small", descriptor(DATA, 0xff, 4, 0xf3)),
    ("read-only", descriptor(0, 0xf_ffff, 12, 0xf1)),
    ("down", descriptor(0, 0x1_0001, 12, 0xf7)),
    ("code-small", descriptor(low::BASE, 0x3f, 4, 0xfb)),
    ("code-execute-only", descriptor(0, 0xf_ffff, 12, 0xf9)),
    ("code-16", descriptor(low::BASE, 0xffff, 0, 0xfb)),
    ("not-present", descriptor(0, 0xf_ffff, 12, 0x73)),
    ("code-64", descriptor(0, 0xf_ffff, 10, 0xfb)),
    ("high-base", descriptor(0xffff_ff00, 0xf_ffff, 12, 0xf3)),
    ("down-16", descriptor(DATA, 0x7f, 0, 0xf7)),
    ("based", descriptor(DATA, 0xf_ffff, 12, 0xf3)),
];

fn selector(name: &str) -> u64 {
    LOCAL.iter().position(|(other, _)| *other == name).map_or(0, |index| index as u64 * 8 + 7)
}

fn segments() {
    let list: alloc::vec::Vec<u64> = LOCAL.iter().map(|(_, descriptor)| *descriptor).collect();
    row!("segments.table", low::descriptors(&list));
    for (name, _) in LOCAL {
        let this = selector(name);
        let lo = this as u8;
        // As data selector, read and written; as stack; as code.
        show(&format!("segments.{name}.load"), &user(), &[0xb8, lo, 0, 0, 0, 0x8e, 0xd8]);
        show(
            &format!("segments.{name}.read"),
            &user(),
            &[0xb8, lo, 0, 0, 0, 0x8e, 0xd8, 0xa1, 0xfc, 0, 0, 0],
        );
        show(&format!("segments.{name}.write"), &user(), &[0xb8, lo, 0, 0, 0, 0x8e, 0xd8, 0xa3, 0, 1, 0, 0]);
        show(&format!("segments.{name}.as-code"), &Context { cs: this, rip: 0, ..user() }, &[0xcc]);
        show(
            &format!("segments.{name}.as-code-beyond"),
            &Context { cs: this, rip: 0x1_0000, ..user() },
            &[0xcc],
        );
        show(
            &format!("segments.{name}.as-kernel-code"),
            &Context { cs: this & !3, rip: 0, ..user() },
            &[0xcc],
        );
        // Of a 16-bit stack, the upper half of the pointer is whatever the CPU had there.
        if *name != "down-16" {
            show(&format!("segments.{name}.as-stack"), &Context { ss: this, rsp: 0x80, ..user() }, &[0x50]);
        }
    }
    call(PHYSDEV_OP, [6, at(&[3_u64]), 0, 0, 0]);
    let small = Context { cs: selector("code-small"), rip: 0, ..user() };
    show("segments.based.in", &small, &[0x31, 0xd2, 0xb2, 0xed, 0xec]);
    show("segments.based.int80", &small, &[0xcd, 0x80]);
    show("segments.based.int3", &small, &[0xcc]);
    show(
        "segments.based.forced-cpuid",
        &small,
        &[0x31, 0xc0, 0x31, 0xc9, 0x0f, 0x0b, b'x', b'e', b'n', 0x0f, 0xa2],
    );
    // An invalid opcode: upstream looks for its prefix without the base.
    show("segments.based.ud2", &small, &[0x0f, 0x0b]);
    show("segments.based.syscall", &small, &[0x0f, 0x05]);
    // The last byte of the segment holds an instruction, or half of one.
    for rip in [0x3e_u64, 0x3f, 0x40] {
        low::write(0, 0x3e, &[0x90, 0xec, 0xec]);
        let context = Context { rip, registers: [0, 0, 0xed, 0, 0, 0], ..small };
        row!("segments.limit.{rip:#x}", whole(&low::enter(&context)));
        low::write(0, 0x3e, &[0xe4, 0xed, 0xe4, 0xed]);
        row!("segments.limit.{rip:#x}.imm", whole(&low::enter(&context)));
    }
    let small16 =
        Context { cs: selector("code-16"), rip: 0, registers: [0x1_2345, 0, 0xed, 0, 0, 0], ..user() };
    show("segments.16.in16", &small16, &[0xed]);
    show("segments.16.in32", &small16, &[0x66, 0xed]);
    show("segments.16.cr0", &Context { cs: small16.cs & !3, ..small16 }, &[0x0f, 0x20, 0xc0]);
    show(
        "segments.16.msr",
        &Context { cs: small16.cs & !3, ..small16 },
        &[0x66, 0xb9, 0x80, 0, 0, 0xc0, 0x0f, 0x32],
    );
    show(
        "segments.16.forced-cpuid",
        &small16,
        &[0x31, 0xc0, 0x31, 0xc9, 0x0f, 0x0b, b'x', b'e', b'n', 0x0f, 0xa2],
    );
    show("segments.16.int80", &small16, &[0xcd, 0x80]);
    show("segments.64.ldt", &Context { cs: selector("code-64"), ..user() }, &[0x0f, 0x05]);
    show(
        "segments.64.in",
        &Context { cs: selector("code-64"), registers: [0, 0, 0xed, 0, 0, 0], ..user() },
        &[0xec],
    );
    call(PHYSDEV_OP, [6, at(&[0_u64]), 0, 0, 0]);
}

/// INS and OUTS in all their segments, at limits and page ends.
fn strings() {
    call(PHYSDEV_OP, [6, at(&[3_u64]), 0, 0, 0]);
    let base = Context { registers: [0, 2, 0xed, 0, DATA, DATA], ..user() };
    let with = |data: [u64; 2], si: u64, di: u64, count: u64| Context {
        data,
        registers: [0, count, 0xed, 0, si, di],
        ..base
    };
    let flat = 0xe02b;
    let cases: [(&str, Context); 19] = [
        ("flat", base),
        ("flat-end", with([flat, flat], STACK - 2, STACK - 2, 3)),
        ("flat-crossing", with([flat, flat], STACK - 1, STACK - 1, 1)),
        ("unmapped", with([flat, flat], 0x2000_0000, 0x2000_0000, 1)),
        ("top", with([flat, flat], 0xffff_fffe, 0xffff_fffe, 1)),
        (
            "high-half-ignored",
            with([flat, flat], 0xffff_8300_0000_0000 | DATA, 0xffff_8300_0000_0000 | DATA, 1 << 32 | 1),
        ),
        ("null", with([0, 0], DATA, DATA, 1)),
        ("small", with([selector("small"), selector("small")], 0xfe, 0xfe, 4)),
        ("small-crossing", with([selector("small"), selector("small")], 0xfd, 0xfd, 1)),
        ("small-beyond", with([selector("small"), selector("small")], 0x1000, 0x1000, 1)),
        ("read-only", with([selector("read-only"), selector("read-only")], DATA, DATA, 1)),
        ("down", with([selector("down"), selector("down")], DATA, DATA, 1)),
        ("down-inside", with([selector("down"), selector("down")], STACK - 0x80, STACK - 0x80, 1)),
        ("down-16", with([selector("down-16"), selector("down-16")], 0x80, 0x80, 1)),
        ("down-16-below", with([selector("down-16"), selector("down-16")], 0x7f, 0x7f, 1)),
        ("down-16-end", with([selector("down-16"), selector("down-16")], 0xffff, 0xffff, 1)),
        ("based", with([selector("based"), selector("based")], 8, 8, 1)),
        ("high-base", with([selector("high-base"), selector("high-base")], DATA + 0x100, DATA + 0x100, 1)),
        ("code", with([selector("code-small"), selector("code-small")], 0x10, 0x10, 1)),
    ];
    for (name, context) in cases {
        for (insn, code) in [
            ("insb", &[0x6c_u8][..]),
            ("insw", &[0x66, 0x6d]),
            ("insd", &[0x6d]),
            ("rep-insb", &[0xf3, 0x6c]),
            ("rep-insd", &[0xf2, 0x6d]),
            ("insb-16", &[0x67, 0x6c]),
            ("outsb", &[0x6e]),
            ("outsd", &[0x6f]),
            ("rep-outsb", &[0xf3, 0x6e]),
            ("es-outsb", &[0x26, 0x6e]),
            ("cs-outsb", &[0x2e, 0x6e]),
            ("ss-outsb", &[0x36, 0x6e]),
            ("fs-outsb", &[0x64, 0x6e]),
            ("gs-insb", &[0x65, 0x6c]),
        ] {
            low::write(1, 0, &[0x5a; 512]);
            let outcome = low::run(&context, code);
            row!(
                "strings.{name}.{insn}",
                format!("{} memory {:#x} {:#x}", whole(&outcome), low::read(1, 0), low::read(1, 0xf8))
            );
        }
        let down = Context { rflags: 0x602, ..context };
        row!("strings.{name}.rep-insb-down", whole(&low::run(&down, &[0xf3, 0x6c])));
    }
    for (name, si, di) in [
        ("stack", STACK - 8, STACK - 8),
        ("hole", 0xffff_8300_0000_0000, 0xffff_8300_0000_0000),
        ("odd", 0x8000_0000_0000, 0x8000_0000_0000),
        ("lower-end", 0x7fff_ffff_fffe, 0x7fff_ffff_fffe),
        ("last", u64::MAX, u64::MAX),
    ] {
        let context = Context { cs: CS64, registers: [0, 1, 0xed, 0, si, di], ..user() };
        for (insn, code) in [
            ("insb", &[0x6c_u8][..]),
            ("insd", &[0x6d]),
            ("outsb", &[0x6e]),
            ("outsd", &[0x6f]),
            ("rep-insd", &[0xf3, 0x6d]),
            ("insb-32", &[0x67, 0x6c]),
            ("ss-outsb", &[0x36, 0x6e]),
            ("fs-outsb", &[0x64, 0x6e]),
        ] {
            row!("strings.64.{name}.{insn}", whole(&low::run(&context, code)));
        }
    }
    call(PHYSDEV_OP, [6, at(&[0_u64]), 0, 0, 0]);
}
