//! Exceptions of the kernel and of user mode: the frame, word for word.
//!
//! `int n` is tried only where the CPU has an open gate of its own: for all others QEMU 7.2 tells the hypervisor a wrong error
//! code. A stack pointer that is not canonical is left out for the same reason.
#![no_std]
#![no_main]

use conformance::trap::{self, Outcome, stub};
use conformance::{Hex, area, at, bad, call, done, in_user, pages, row, shared, trapped};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};
use domu_sdk::abi::callback::CallbackRegister;
use domu_sdk::abi::xen::{TrapInfo, VcpuInfo, hypercall::*};
use domu_sdk::events::Channel;
use domu_sdk::memory::layout::pte;

core::arch::global_asm!(".globl breakpoint_here", "breakpoint_here:", "nop", "ret");

#[domu_sdk::main]
fn main() {
    area("traps");
    simple();
    page_faults();
    debug();
    table_flags();
    stack_positions();
    floating_point();
    user();
    system_calls();
    segment_bases();
    done();
}

fn cr2() -> Hex {
    // SAFETY: the page is mapped.
    let word =
        unsafe { shared::info().cast::<u8>().add(offset_of!(VcpuInfo, arch)).cast::<u64>().read_volatile() };
    Hex(word)
}

fn simple() {
    row!("int3", trapped!("int3"));
    row!("int-3", trapped!(".byte 0xcd, 3"));
    row!("int-4", trapped!("int 4"));
    row!("into", trapped!(".byte 0xce"));
    row!("ud2", trapped!("ud2"));
    row!("ud1", trapped!(".byte 0x0f, 0xb9, 0xc0"));
    row!("ud2-prefix", trapped!(".byte 0x0f, 0x0b, 0x78, 0x65, 0x6e", "nop"));
    row!("ud2-prefix-partial", trapped!(".byte 0x0f, 0x0b, 0x78, 0x65"));
    row!(
        "divide",
        trapped!("xor edx, edx", "xor ecx, ecx", "div ecx"; out("rax") _, out("rdx") _, out("rcx") _)
    );
    row!(
        "divide-overflow",
        trapped!("mov edx, 5", "mov ecx, 2", "div ecx"; out("rax") _, out("rdx") _, out("rcx") _)
    );
    row!("bound", trapped!(".byte 0x62, 0x00"));
    row!("non-canonical", trapped!("mov {a}, [{a}]"; a = inout(reg) bad::NON_CANONICAL => _));
    row!("selector", trapped!("mov ds, {a:e}"; a = in(reg) 0x1238));
    row!("selector-ldt", trapped!("mov ds, {a:e}"; a = in(reg) 0xc));
    row!("ss-null", trapped!("mov ss, {a:e}"; a = in(reg) 0));
    row!("ss-code", trapped!("mov ss, {a:e}"; a = in(reg) 0xe033));
    row!("far-return", trapped!("push 0x1238", "push 0", "retfq", "add rsp, 16"));
    row!("iretq-cs", trapped!("push 0xe02b", "push 0", "push 0x202", "push 0xe008", "push 0", "iretq"));
    row!("iretq-ss", trapped!("push 0xe010", "push 0", "push 0x202", "push 0xe033", "push 0", "iretq"));
    row!("iretq-rip", trapped!("mov {a}, rsp", "push 0xe02b", "push {a}", "push 0x202", "push 0xe033", "push {r}", "iretq"; a = out(reg) _, r = in(reg) bad::NON_CANONICAL).short());
    row!("jump-non-canonical", trapped!("jmp {a}"; a = in(reg) bad::NON_CANONICAL).short());
    row!("jump-unmapped", trapped!("jmp {a}"; a = in(reg) bad::UNMAPPED).short());
    // Intel's processors come to the hypervisor by it, which finds no stack to tell the kernel on.
    if domu_sdk::arch::cpuid(0, 0)[1] != u32::from_le_bytes(*b"Genu") {
        row!("sysenter", trapped!("sysenter").short());
    }
    row!("sysret", trapped!("sysretq").short());
    row!("swapgs", trapped!("swapgs").short());
    row!("alignment", trapped!("pushfq", "or dword ptr [rsp], 0x40000", "popfq", "mov {a}, [rsp + 1]", "pushfq", "and dword ptr [rsp], 0xfffbffff", "popfq"; a = out(reg) _).short());
    // SAFETY: clears AC, should the trap have left it.
    unsafe { core::arch::asm!("pushfq", "and dword ptr [rsp], 0xfffbffff", "popfq") };
}

fn page_faults() {
    for (name, address) in bad::ALL {
        if address != bad::M2P {
            row!("read.{name}", trapped!("mov {a}, [{a}]"; a = inout(reg) address => _));
            row!("read.{name}.cr2", cr2());
        }
        row!("write.{name}", trapped!("mov [{a}], {a}"; a = in(reg) address));
        row!("write.{name}.cr2", cr2());
        row!("call.{name}", trapped!("call {a}"; a = in(reg) address).short());
        row!("call.{name}.cr2", cr2());
    }
    let page = pages::take(2);
    let address = pages::address(&page, 0);
    row!("page.read-only", pages::read_only(&page, 0));
    row!("page.read-only.read", trapped!("mov {a}, [{a}]"; a = inout(reg) address => _));
    row!("page.read-only.write", trapped!("mov [{a}], {a}"; a = in(reg) address + 8));
    row!("page.read-only.write.offset", Hex(cr2().0.wrapping_sub(address)));
    row!("page.no-execute", pages::protect(&page, 0, pte::READ_WRITE | pte::NO_EXECUTE));
    row!("page.no-execute.call", trapped!("call {a}"; a = in(reg) address).short());
    row!("page.none", pages::protect(&page, 0, 0));
    row!("page.none.read", trapped!("mov {a}, [{a}]"; a = inout(reg) address => _));
    row!("page.none.write", trapped!("mov [{a}], {a}"; a = in(reg) address + 16));
    row!("page.none.cmpxchg", trapped!("lock cmpxchg [{a}], {a}"; a = in(reg) address + 16, out("rax") _));
    row!("page.crossing", trapped!("mov {a}, [{a}]"; a = inout(reg) address - 4 => _));
    row!("page.crossing.offset", Hex(cr2().0.wrapping_sub(address)));
    row!("page.back", pages::writable(&page, 0));
    // A table of the running tree, through the kernel's own mapping: validated and carried out, or refused.
    let root = domu_sdk::start::info().pt_base;
    row!("table.write", trapped!("mov dword ptr [{a}], 0"; a = in(reg) root + 8 * 300));
}

fn debug() {
    let set = |register: u64, value: u64| call(SET_DEBUGREG, [register, value, 0, 0, 0]);
    let get = |register: u64| call(GET_DEBUGREG, [register, 0, 0, 0, 0]);
    set(6, 0);
    row!("step", trapped!("pushfq", "or dword ptr [rsp], 0x100", "popfq", "nop", "nop"));
    row!("step.dr6", get(6));
    set(6, 0);
    row!("icebp", trapped!(".byte 0xf1"));
    row!("icebp.dr6", get(6));
    let word = 0_u64;
    for (name, control, length) in [
        ("write-8", 0x1_u64 << 16, 2_u64),
        ("access-8", 3 << 16, 2),
        ("write-1", 1 << 16, 0),
        ("access-4", 3 << 16, 3),
    ] {
        set(6, 0);
        row!("watch.{name}.set", set(0, at(&word)));
        row!("watch.{name}.control", set(7, control | length << 18 | 1));
        row!("watch.{name}.store", trapped!("mov byte ptr [{a}], 0", "nop"; a = in(reg) at(&word)));
        row!("watch.{name}.dr6", get(6));
        row!("watch.{name}.load", trapped!("cmp byte ptr [{a}], 0", "nop"; a = in(reg) at(&word)));
        row!("watch.{name}.dr6.after", get(6));
        row!("watch.{name}.dr7", get(7));
        set(7, 0);
    }
    set(6, 0);
    let here: u64;
    // SAFETY: takes an address.
    unsafe { core::arch::asm!("lea {}, [rip + breakpoint_here]", out(reg) here) };
    set(1, here);
    set(7, 4);
    row!("break", trapped!("call breakpoint_here").short());
    row!("break.dr6", get(6));
    set(7, 0);
    set(6, 0);
    set(0, 0);
    set(1, 0);
    row!("step.syscall", trapped!("pushfq", "or dword ptr [rsp], 0x100", "popfq", "mov eax, 17", "xor edi, edi", "syscall", "nop", "nop"; out("rax") _, out("rdi") _, out("rcx") _, out("r11") _, out("rsi") _, out("rdx") _, out("r10") _, out("r8") _, out("r9") _).short());
    set(6, 0);
}

/// What the entry of a trap table says about the event mask and the selector.
fn table_flags() {
    for flags in [0_u8, 4, 7] {
        for mask in [0, 1] {
            let entry = TrapInfo { vector: 6, flags, cs: 0xe033, address: stub(6), ..TrapInfo::default() };
            let answer = call(SET_TRAP_TABLE, [at(&[entry, TrapInfo::default()]), 0, 0, 0, 0]);
            row!("flags.{flags}.{mask}.set", answer);
            shared::set_mask(mask);
            let outcome = trapped!("ud2");
            shared::set_mask(0);
            row!("flags.{flags}.{mask}", outcome);
            row!("flags.{flags}.{mask}.cs", word(&outcome, 3));
        }
    }
    for cs in [0xe033_u16, 0xe030, 0xe031, 0xe023] {
        let entry = TrapInfo { vector: 3, flags: 3, cs, address: stub(3), ..TrapInfo::default() };
        row!("handler-cs.{cs:#x}.set", call(SET_TRAP_TABLE, [at(&[entry, TrapInfo::default()]), 0, 0, 0, 0]));
        if cs != 0xe023 {
            row!("handler-cs.{cs:#x}", trapped!("int3"));
        }
    }
    trap::install();
    for dpl in 0..4_u8 {
        let entry =
            TrapInfo { vector: 0x80, flags: dpl, cs: 0xe033, address: stub(3), ..TrapInfo::default() };
        call(SET_TRAP_TABLE, [at(&[entry, TrapInfo::default()]), 0, 0, 0, 0]);
        row!("int80.{dpl}", trapped!("int 0x80"));
        let entry = TrapInfo { vector: 3, flags: dpl, cs: 0xe033, address: stub(3), ..TrapInfo::default() };
        call(SET_TRAP_TABLE, [at(&[entry, TrapInfo::default()]), 0, 0, 0, 0]);
        row!("int3.{dpl}", trapped!("int3"));
        row!("int-3.{dpl}", trapped!(".byte 0xcd, 3"));
        let entry = TrapInfo { vector: 4, flags: dpl, cs: 0xe033, address: stub(4), ..TrapInfo::default() };
        call(SET_TRAP_TABLE, [at(&[entry, TrapInfo::default()]), 0, 0, 0, 0]);
        row!("int-4.{dpl}", trapped!("int 4"));
    }
    trap::install();
}

fn word(outcome: &Outcome, index: usize) -> Hex {
    Hex(outcome.0.map_or(0, |trap| trap.words[index]))
}

/// The frame lies below the interrupted stack, aligned.
fn stack_positions() {
    for down in 0..18_u64 {
        let outcome = trapped!("mov {k}, rsp", "and rsp, -64", "sub rsp, 256", "sub rsp, {d}", "mov {p}, rsp", "ud2", "mov rsp, {k}"; k = out(reg) _, d = in(reg) down, p = out(reg) _);
        let Some(trap) = outcome.0 else { continue };
        let rsp = trap.frame()[3];
        row!("stack.{down}.distance", Hex(rsp.wrapping_sub(trap.rsp)));
        row!("stack.{down}.rsp", Hex(trap.rsp & 63));
        row!("stack.{down}.saved", Hex(rsp & 63));
    }
    let outcome = trapped!("mov rcx, 0x1111", "mov r11, 0x2222", "mov rax, 0x3333", "mov rbp, rbp", "ud2"; out("rcx") _, out("r11") _, out("rax") _);
    row!("frame.rcx", word(&outcome, 0));
    row!("frame.r11", word(&outcome, 1));
    // rcx and r11 at the handler's entry are in the frame because they may hold anything.
    if let Some(trap) = outcome.0 {
        row!("frame.handler.rax", Hex(trap.registers[0]));
    }
    for bit in [0, 2, 4, 6, 7, 10, 11, 12, 13, 14, 16, 17, 18, 19, 20, 21] {
        let flags = 0x202_u64 ^ 1 << bit;
        let outcome = trapped!("push {f}", "popfq", "ud2"; f = in(reg) flags);
        // SAFETY: the flags that a kernel wants.
        unsafe { core::arch::asm!("push 0x202", "popfq") };
        let Some(trap) = outcome.0 else { continue };
        row!("rflags.{bit}.saved", Hex(trap.frame()[2]));
        row!("rflags.{bit}.handler", Hex(trap.flags));
    }
}

fn floating_point() {
    let control: u16 = 0x037b;
    row!("x87", trapped!("fninit", "fldcw word ptr [{c}]", "fld1", "fldz", "fdivp st(1), st", "fwait", "fninit"; c = in(reg) &control, out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _, out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _).short());
    // SAFETY: puts the x87 in order.
    unsafe { core::arch::asm!("fninit") };
    let (unmasked, normal) = (0x1d80_u32, 0x1f80_u32);
    row!("sse", trapped!("ldmxcsr [{c}]", "mov {t:e}, 0x3f800000", "movd xmm0, {t:e}", "xorps xmm1, xmm1", "divss xmm0, xmm1", "ldmxcsr [{n}]"; c = in(reg) &unmasked, n = in(reg) &normal, t = out(reg) _, out("xmm0") _, out("xmm1") _).short());
    // SAFETY: puts MXCSR in order.
    unsafe { core::arch::asm!("ldmxcsr [{}]", in(reg) &normal) };
}

/// Where the frame of a trap in user mode lies, seen from the kernel's stack.
fn place(outcome: &Outcome) -> Hex {
    Hex(outcome.0.map_or(0, |trap| trap::stacks().1.wrapping_sub(trap.rsp)))
}

fn user() {
    trap::prepare_user();
    let outcome = in_user!("ud2");
    row!("user.ud2", outcome);
    row!("user.ud2.place", place(&outcome));
    row!("user.ud2.cs", word(&outcome, 3));
    row!("user.int3", in_user!("int3"));
    row!("user.int-4", in_user!("int 4"));
    row!(
        "user.divide",
        in_user!("xor edx, edx", "xor ecx, ecx", "div ecx"; out("rax") _, out("rdx") _, out("rcx") _)
    );
    row!("user.non-canonical", in_user!("mov {a}, [{a}]"; a = inout(reg) bad::NON_CANONICAL => _));
    for (name, address) in bad::ALL {
        if address != bad::M2P {
            row!("user.read.{name}", in_user!("mov {a}, [{a}]"; a = inout(reg) address => _));
            row!("user.read.{name}.cr2", cr2());
        }
        row!("user.write.{name}", in_user!("mov [{a}], {a}"; a = in(reg) address));
        row!("user.call.{name}", in_user!("call {a}"; a = in(reg) address).short());
    }
    for (name, outcome) in [
        ("hlt", in_user!("hlt")),
        ("cli", in_user!("cli")),
        ("sti", in_user!("sti")),
        ("in", in_user!("in al, 0x80"; out("al") _)),
        ("rdmsr", in_user!("mov ecx, 0x10", "rdmsr"; out("rcx") _, out("rax") _, out("rdx") _)),
        ("mov-cr0", in_user!("mov {a}, cr0"; a = out(reg) _)),
        ("mov-dr7", in_user!("mov {a}, dr7"; a = out(reg) _)),
        ("clts", in_user!("clts")),
        ("invlpg", in_user!("invlpg [rsp]")),
        ("wbinvd", in_user!("wbinvd")),
        ("swapgs", in_user!("swapgs")),
        ("lgdt", in_user!("lgdt [rsp]")),
        ("rdtsc", in_user!("rdtsc"; out("rax") _, out("rdx") _)),
        ("rdpmc", in_user!("xor ecx, ecx", "rdpmc"; out("rax") _, out("rdx") _, out("rcx") _)),
        ("xgetbv", in_user!("xor ecx, ecx", "xgetbv"; out("rax") _, out("rdx") _, out("rcx") _)),
        (
            "xsetbv",
            in_user!("xor ecx, ecx", "xor edx, edx", "mov eax, 7", "xsetbv"; out("rax") _, out("rdx") _, out("rcx") _),
        ),
        (
            "forced-cpuid",
            in_user!(".byte 0x0f, 0x0b, 0x78, 0x65, 0x6e", "mov {s}, rbx", "cpuid", "mov rbx, {s}"; s = out(reg) _, out("rax") _, out("rdx") _, out("rcx") _),
        ),
        ("selector", in_user!("mov ds, {a:e}"; a = in(reg) 0x1238)),
        ("sysenter", in_user!("sysenter")),
    ] {
        row!("user.{name}", outcome.short());
    }
    for dpl in 0..4_u8 {
        let entry =
            TrapInfo { vector: 0x80, flags: dpl, cs: 0xe033, address: stub(3), ..TrapInfo::default() };
        call(SET_TRAP_TABLE, [at(&[entry, TrapInfo::default()]), 0, 0, 0, 0]);
        row!("user.int80.{dpl}", in_user!("int 0x80"));
    }
    call(FPU_TASKSWITCH, [1, 0, 0, 0, 0]);
    row!("user.fpu", in_user!("fnop"));
    row!("user.fpu.again", in_user!("fnop"));
    for (which, top) in [("aligned", 0_u64), ("8", 8), ("1", 1), ("15", 15)] {
        call(STACK_SWITCH, [0xe02b, trap::stacks().1 - top, 0, 0, 0]);
        let outcome = in_user!("ud2");
        row!("user.stack.{which}.place", place(&outcome));
    }
    call(STACK_SWITCH, [0xe02b, trap::stacks().1, 0, 0, 0]);
    upcall_in_user();
    for bit in [0, 6, 8, 9, 10, 12, 13, 14, 16, 18, 21] {
        let outcome = in_user!("push {f}", "popfq", "ud2"; f = in(reg) 0x202_u64 ^ 1 << bit);
        if let Some(trap) = outcome.0 {
            row!("user.rflags.{bit}", outcome);
            row!("user.rflags.{bit}.handler", Hex(trap.flags));
        }
    }
}

static UPCALLS: AtomicU64 = AtomicU64::new(0);

/// An event on the way into user mode: its handler runs in the kernel and comes back by the hypercall `iret`, so that user
/// mode's first instruction is user mode's still.
fn upcall_in_user() {
    let channel = Channel::bind_ipi().expect("a port of its own");
    channel.on_event(|_| {
        UPCALLS.fetch_add(1, Ordering::Relaxed);
    });
    for round in 0..3 {
        shared::set_mask(1);
        let sent = channel.notify();
        let outcome = in_user!(unmasked "ud2");
        row!("user.upcall.{round}.sent", sent.is_ok());
        row!("user.upcall.{round}", outcome);
        row!("user.upcall.{round}.cs", word(&outcome, 3));
        row!("user.upcall.{round}.came", Hex(UPCALLS.load(Ordering::Relaxed)));
    }
    shared::set_mask(0);
}

fn system_calls() {
    for (index, kind) in [(0_usize, 2_u16), (1, 7)] {
        for flags in [0_u16, 1] {
            let register = CallbackRegister {
                type_: kind,
                flags,
                address: trap::callback_stub(index),
                ..CallbackRegister::default()
            };
            row!("syscall.{kind}.{flags}.register", call(CALLBACK_OP, [0, at(&register), 0, 0, 0]));
            if kind == 2 {
                let outcome = in_user!("mov eax, 99", "syscall"; out("rax") _, out("rcx") _, out("r11") _);
                row!("syscall.{kind}.{flags}", outcome);
                row!("syscall.{kind}.{flags}.place", place(&outcome));
                row!("syscall.{kind}.{flags}.cs", word(&outcome, 3));
                if let Some(trap) = outcome.0 {
                    row!("syscall.{kind}.{flags}.rcx-is-rip", Hex((trap.words[0] == trap.words[2]).into()));
                    row!("syscall.{kind}.{flags}.r11", Hex(trap.words[1]));
                    row!("syscall.{kind}.{flags}.rax", Hex(trap.registers[0]));
                }
            }
        }
    }
    row!("syscall.hypercall-in-user", in_user!("mov eax, 17", "xor edi, edi", "syscall"; out("rax") _, out("rcx") _, out("r11") _, out("rdi") _).short());
}

fn segment_bases() {
    let words = [0x1111_u64, 0x2222, 0x3333];
    call(SET_SEGMENT_BASE, [2, at(&words[0]), 0, 0, 0]);
    call(SET_SEGMENT_BASE, [1, at(&words[1]), 0, 0, 0]);
    call(SET_SEGMENT_BASE, [0, at(&words[2]), 0, 0, 0]);
    let outcome = in_user!("mov rax, gs:[0]", "mov rdx, fs:[0]", "ud2"; out("rax") _, out("rdx") _);
    if let Some(trap) = outcome.0 {
        row!("bases.user.gs", Hex(trap.registers[0]));
        row!("bases.user.fs", Hex(trap.registers[3]));
    }
    let (gs, fs): (u64, u64);
    // SAFETY: both point to words.
    unsafe { core::arch::asm!("mov {}, gs:[0]", "mov {}, fs:[0]", out(reg) gs, out(reg) fs) };
    row!("bases.kernel.gs", Hex(gs));
    row!("bases.kernel.fs", Hex(fs));
    // FSGSBASE, where the CPU has it: what user mode writes is what it finds next time, and the kernel's own stays.
    row!(
        "bases.user.wrgsbase",
        in_user!("wrgsbase {a}", "mov {a}, gs:[0]"; a = inout(reg) at(&words[2]) => _).short()
    );
    let outcome = in_user!("mov rax, gs:[0]", "ud2"; out("rax") _);
    row!("bases.user.gs.kept", Hex(outcome.0.map_or(0, |trap| trap.registers[0])));
    row!("bases.kernel.wrgsbase", trapped!("wrgsbase {a}"; a = in(reg) at(&words[1])).short());
    row!("bases.kernel.rdfsbase", trapped!("rdfsbase {a}"; a = out(reg) _).short());
    call(SET_SEGMENT_BASE, [2, 0, 0, 0, 0]);
    row!("bases.user.selector", call(SET_SEGMENT_BASE, [3, 0xe02b, 0, 0, 0]));
    let outcome = in_user!("mov eax, gs", "ud2"; out("rax") _);
    row!("bases.user.selector.seen", Hex(outcome.0.map_or(0, |trap| trap.registers[0])));
}
