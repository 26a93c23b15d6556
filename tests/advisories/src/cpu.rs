//! Entry, exit and emulated instructions.

use crate::{Case, Outcome, hold, step};
use alloc::format;
use conformance::space::{Frame, call, pin, update};
use conformance::trapped;
use domu_sdk::abi::xen::MulticallEntry;
use domu_sdk::abi::xen::hypercall::{MULTICALL, SET_DEBUGREG, XEN_VERSION};

/// The cases.
pub const CASES: &[Case] = &[
    ("xsa-260-breakpoint-over-syscall", breakpoint_over_syscall),
    ("xsa-200-operand-size", operand_size),
    ("xsa-333-registers-of-the-machine", machine_registers),
    ("xsa-105-privileged-instructions", privileged_instructions),
    ("xsa-296-bad-lists-of-calls", bad_lists_of_calls),
    ("xsa-204-single-step-over-syscall", single_step_over_syscall),
    ("xsa-444-debug-registers", debug_registers),
];

/// XSA-260: a data breakpoint on the load of SS is held back until after the next instruction. If that is SYSCALL, the trap comes in the
/// hypervisor, on the guest's stack. Only the guest may notice.
fn breakpoint_over_syscall() -> Outcome {
    let selector = Frame::new();
    selector.write(0, 0xe02b);
    step(call(SET_DEBUGREG, [0, selector.va, 0, 0, 0]), "setting a breakpoint")?;
    // Enabled, two bytes, reads and writes.
    step(call(SET_DEBUGREG, [7, 0x0007_0401, 0, 0, 0]), "enabling it")?;
    for _ in 0..100 {
        trapped!("mov ss, word ptr [rdi]", "syscall"; inout("rdi") selector.va => _, inout("rax") XEN_VERSION => _,
            inout("rsi") 0_u64 => _, out("rcx") _, out("r11") _);
        trapped!("mov ss, word ptr [rdi]", "int3"; in("rdi") selector.va);
        trapped!("mov ss, word ptr [rdi]", "int 0x80"; in("rdi") selector.va);
    }
    step(call(SET_DEBUGREG, [7, 0x400, 0, 0, 0]), "disabling the breakpoint")?;
    step(call(SET_DEBUGREG, [0, 0, 0, 0, 0]), "removing it")
}

/// XSA-200: a `cmpxchg8b` with an operand-size prefix, emulated, gave bytes of the hypervisor's stack to the guest. The registers hold what the
/// entry holds, or what they held.
fn operand_size() -> Outcome {
    let table = Frame::table();
    step(pin(1, table.mfn), "pinning a table")?;
    step(update(table.slot(0), 0x1122_3344_0000_0550), "an entry")?;
    let (mut low, mut high) = (0x5a5a_5a5a_u64, 0xa5a5_a5a5_u64);
    trapped!(".byte 0x66, 0xf0, 0x0f, 0xc7, 0x0f"; in("rdi") table.va, inout("rax") low, inout("rdx") high, in("rcx") 0_u64);
    hold(low == 0x5a5a_5a5a || low == 0x0000_0550, &format!("the low half is {low:#x}"))?;
    hold(high == 0xa5a5_a5a5 || high == 0x1122_3344, &format!("the high half is {high:#x}"))?;
    hold(table.read(0) == 0x1122_3344_0000_0550, "the entry changed")
}

/// XSA-333, XSA-351: registers of the machine that a guest may not read, or that tell of the hypervisor: a fault, or nothing of interest.
fn machine_registers() -> Outcome {
    let hypervisor = |value: u64| (0xffff_8000_0000_0000..0xffff_8800_0000_0000).contains(&value);
    let list = (0_u32..0x20)
        .chain(0x174..0x180)
        .chain(0x1d9..0x1e0)
        .chain(0x600..0x650)
        .chain(0x800..0x840)
        .chain(0xc000_0080..0xc000_0085)
        .chain(0xc000_0100..0xc000_0104)
        .chain(0xc001_0000..0xc001_0040);
    for register in list {
        let (mut low, mut high) = (0_u64, 0_u64);
        let trap = trapped!("rdmsr"; in("ecx") register, inout("rax") low, inout("rdx") high);
        let value = high << 32 | low & 0xffff_ffff;
        hold(trap.0.is_some() || !hypervisor(value), &format!("register {register:#x} is {value:#x}"))?;
        hold(
            (0x600..0x650).contains(&register) <= (trap.0.is_some() || value == 0),
            &format!("energy register {register:#x} is {value:#x}"),
        )?;
    }
    // Where the CPU goes on a system call is not the guest's to say.
    for register in [0x174_u32, 0x175, 0x176, 0xc000_0082, 0xc000_0083, 0xc000_0084] {
        trapped!("wrmsr"; in("ecx") register, in("eax") 0x1000, in("edx") 0);
    }
    step(call(XEN_VERSION, [0, 0, 0, 0, 0]), "a call after all that")
}

/// XSA-105, XSA-123: privileged instructions in forms that an emulator may take wrongly.
fn privileged_instructions() -> Outcome {
    let traps = [
        trapped!("lgdt [rsp]"),
        trapped!("lidt [rsp]"),
        trapped!("lldt ax"),
        trapped!("ltr ax"),
        trapped!("lmsw ax"),
        trapped!("invd"),
        trapped!("mov cr4, rax"; in("rax") 0_u64),
        trapped!("mov cr3, rax"; in("rax") 0_u64),
        trapped!("mov cr0, rax"; in("rax") 0_u64),
        trapped!("in al, 0x92"; out("al") _),
        trapped!("out 0x92, al"; in("al") 0_u8),
        trapped!(".byte 0x0f, 0x01, 0xd9"),
        trapped!(".byte 0x0f, 0x01, 0xf8"),
    ];
    // Those that change the machine itself are not carried out, for whomever.
    for (index, trap) in traps.iter().take(4).enumerate() {
        hold(trap.0.is_some(), &format!("instruction {index} was carried out"))?;
    }
    step(call(XEN_VERSION, [0, 0, 0, 0, 0]), "a call after all that")
}

/// XSA-296, XSA-213: lists of calls with bad addresses, lists in lists, and endless ones.
fn bad_lists_of_calls() -> Outcome {
    for (list, count) in [
        (0, 1),
        (0x1000, 4),
        (0xffff_8300_0000_0000, 1),
        (0x8000_0000_0000, 1),
        (0xffff_ffff_ffff_ffc0, 0xffff_ffff),
        (0x1000, u64::MAX),
    ] {
        let answer = call(MULTICALL, [list, count, 0, 0, 0]);
        hold(answer.0 < 0, "a list of calls that is not there")?;
    }
    let mut list = [MulticallEntry { op: MULTICALL, result: 7, args: [0; 6] }; 3];
    list[0].args = [conformance::space::at(&mut list), 3, 0, 0, 0, 0];
    list[1] = MulticallEntry { op: u64::MAX, result: 7, args: [u64::MAX; 6] };
    list[2] = MulticallEntry { op: XEN_VERSION, result: 7, args: [0; 6] };
    step(call(MULTICALL, [conformance::space::at(&mut list), 3, 0, 0, 0]), "a list")?;
    let [within, unknown, good] = list;
    hold((within.result as i64) < 0, "a list within a list")?;
    hold((unknown.result as i64) < 0, "a call that does not exist")?;
    hold((good.result as i64) > 0, "a good call in a list with bad ones")
}

/// XSA-204: single-stepping over the system call instruction: the trap is the guest's, once, and never the hypervisor's.
fn single_step_over_syscall() -> Outcome {
    for _ in 0..50 {
        trapped!("pushfq", "or qword ptr [rsp], 0x100", "popfq", "syscall"; inout("rax") XEN_VERSION => _,
            inout("rdi") 0_u64 => _, inout("rsi") 0_u64 => _, out("rcx") _, out("r11") _);
        trapped!("pushfq", "and qword ptr [rsp], 0xfffffffffffffeff", "popfq");
    }
    step(call(XEN_VERSION, [0, 0, 0, 0, 0]), "a call after all that")
}

/// XSA-444 and others: breakpoints in the hypervisor's part of the address space are refused, else its own code would trap.
fn debug_registers() -> Outcome {
    for register in 0..4 {
        for address in [0xffff_8000_0000_0000, 0xffff_82d0_4020_0000, 0xffff_87ff_ffff_ffff, 0x8000_0000_0000]
        {
            let answer = call(SET_DEBUGREG, [register, address, 0, 0, 0]);
            hold(answer.0 < 0, "a breakpoint in the hypervisor")?;
        }
    }
    for value in [1 << 13, 0x2000, 1 << 32, u64::MAX] {
        call(SET_DEBUGREG, [7, value, 0, 0, 0]);
        trapped!("nop");
    }
    step(call(SET_DEBUGREG, [7, 0x400, 0, 0, 0]), "disabling all breakpoints")
}
