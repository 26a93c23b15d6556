//! Ways into the hypervisor and out of it, taken with what they do not expect.

use crate::{Case, Outcome, Stop, hold, step};
use alloc::format;
use conformance::space::{Frame, call, extended, of, root, update};
use conformance::trap::{self, callback_stub, stub};
use conformance::{low, trapped};
use domu_sdk::abi::callback::CallbackRegister;
use domu_sdk::abi::xen::TrapInfo;
use domu_sdk::abi::xen::hypercall::{
    CALLBACK_OP, PHYSDEV_OP, SCHED_OP, SET_DEBUGREG, SET_GDT, SET_TRAP_TABLE, VCPU_OP, XEN_VERSION,
};
use domu_sdk::memory::layout::{pte, table_index};

/// The cases.
pub const CASES: &[Case] = &[
    ("xsa-7-return-to-no-canonical-address", return_behind_the_lower_half),
    ("xsa-298-descriptor-tables-in-memory", descriptor_tables),
    ("xsa-260-breakpoint-on-arguments", breakpoint_on_arguments),
    ("xsa-339-flags-by-sysenter", flags_by_sysenter),
    ("xsa-202-flags-after-emulation", flags_after_emulation),
    ("xsa-308-steps-over-everything", steps),
    ("xsa-46-selectors-that-are-gone", selectors_that_are_gone),
    ("xsa-75-interrupts-in-interrupts", interrupts_in_interrupts),
];

/// The hypervisor still answers.
fn alive() -> Outcome {
    step(call(XEN_VERSION, [0, 0, 0, 0, 0]), "a call after all that")
}

/// XSA-7: a system call in the last bytes of the lower half returns to an address that is not canonical. On Intel's processors SYSRET then
/// faults in ring 0, with the guest's stack. The hypervisor must notice before, and the fault be the guest's.
fn return_behind_the_lower_half() -> Outcome {
    const LAST: u64 = 0x7fff_ffff_f000;
    let (page, tables) = (Frame::new(), [Frame::new(), Frame::new(), Frame::new()]);
    // mov eax, XEN_VERSION; xor edi, edi; syscall: the last nine bytes.
    let code: [u8; 16] =
        [0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0xb8, XEN_VERSION as u8, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05];
    for (index, word) in code.as_chunks::<8>().0.iter().enumerate() {
        page.write(510 + index as u64, u64::from_le_bytes(*word));
    }
    let index = |level: u32| table_index(LAST, level) as u64;
    tables[0].write(index(1), page.entry(pte::READ_WRITE & !pte::NO_EXECUTE));
    tables[1].write(index(2), tables[0].entry(pte::TABLE));
    tables[2].write(index(3), tables[1].entry(pte::TABLE));
    for table in &tables {
        step(table.read_only(), "taking a table's mapping away")?;
    }
    let slot = (root() << 12) + 8 * index(4);
    step(update(slot, tables[2].entry(pte::TABLE)), "an entry of the root")?;
    for _ in 0..10 {
        let trap = trapped!("jmp {a}"; a = in(reg) LAST + 4096 - 9, out("rax") _, out("rdi") _, out("rsi") _, out("rdx") _,
            out("rcx") _, out("r11") _, out("r8") _, out("r9") _, out("r10") _);
        let Some(trap) = trap.0 else {
            return Err(Stop::Failure("code went on behind the lower half".into()));
        };
        hold(matches!(trap.vector, 13 | 14), &format!("the fault has vector {}", trap.vector))?;
        hold(trap.frame()[0] == LAST + 4096, &format!("it came at {:#x}", trap.frame()[0]))?;
    }
    step(update(slot, 0), "removing the entry")?;
    alive()
}

/// XSA-298 and others: the CPU's descriptor tables lie in the hypervisor's part of the address space. A guest that reads or writes them by itself
/// gets a page fault with that address, whether or not the CPU might need the page, and nothing is mapped for it.
fn descriptor_tables() -> Outcome {
    let mut pointer = [0_u8; 10];
    if trapped!("sgdt [{p}]"; p = in(reg) pointer.as_mut_ptr()).0.is_some() {
        return Err(Stop::Skip("the CPU does not tell where its table is"));
    }
    let bytes = conformance::fresh(&pointer);
    let base = u64::from_le_bytes(*bytes.last_chunk().unwrap_or(&[0; 8]));
    let page = Frame::new();
    page.write(1, 0x00cf_f300_0000_ffff);
    step(page.read_only(), "taking the page's mapping away")?;
    for entries in [0, 8, 8192] {
        step(extended(13, page.va, entries), "setting the local table")?;
        for offset in (0..64_u64).map(|page| page * 4096 + 8) {
            let address = base.wrapping_add(offset);
            if address >> 43 != 0xffff_8000_0000_0000 >> 43 {
                // An emulation of the instruction named another place.
                continue;
            }
            let read = trapped!("mov {v}, [{a}]"; a = in(reg) address, v = out(reg) _);
            let write = trapped!("mov [{a}], {a}"; a = in(reg) address);
            for (what, outcome) in [("read", read), ("write", write)] {
                let vector = outcome.0.map_or(0, |trap| trap.vector);
                hold(vector == 14, &format!("{what} of {address:#x} gave vector {vector}"))?;
            }
            let cr2: u64;
            // SAFETY: emulated.
            unsafe { core::arch::asm!("mov {}, cr2", out(reg) cr2) };
            hold(cr2 == address, &format!("the fault at {address:#x} told {cr2:#x}"))?;
        }
    }
    step(extended(13, 0, 0), "taking the local table away")?;
    step(page.writable(), "the page is the guest's again")
}

/// XSA-260: breakpoints on memory that the hypervisor reads and writes for the guest.
fn breakpoint_on_arguments() -> Outcome {
    let place = Frame::new();
    for address in [place.va, place.va + 8] {
        step(call(SET_DEBUGREG, [0, address, 0, 0, 0]), "setting a breakpoint")?;
        step(call(SET_DEBUGREG, [7, 0x000b_0401, 0, 0, 0]), "enabling it")?;
        for _ in 0..20 {
            trapped!("syscall"; inout("rax") XEN_VERSION => _, inout("rdi") 6_u64 => _, inout("rsi") place.va => _, out("rdx") _,
                out("rcx") _, out("r11") _, out("r8") _, out("r9") _, out("r10") _);
            trapped!("syscall"; inout("rax") VCPU_OP => _, inout("rdi") 4_u64 => _, inout("rsi") 0_u64 => _, inout("rdx") place.va => _,
                out("rcx") _, out("r11") _, out("r8") _, out("r9") _, out("r10") _);
            trapped!("ud2");
        }
    }
    step(call(SET_DEBUGREG, [7, 0x400, 0, 0, 0]), "disabling the breakpoint")?;
    step(call(SET_DEBUGREG, [0, 0, 0, 0, 0]), "removing it")?;
    alive()
}

/// XSA-339: SYSENTER leaves NT, AC, DF and TF as user mode had them; with NT, an IRET in ring 0 faults.
fn flags_by_sysenter() -> Outcome {
    low::map();
    let register =
        CallbackRegister { type_: 5, flags: 1, address: callback_stub(0), ..CallbackRegister::default() };
    step(call(CALLBACK_OP, [0, of(&register), 0, 0, 0]), "registering a callback")?;
    for cs in [0xe023, 0xe033] {
        for rflags in [0x4202_u64, 0x4_0202, 0x602, 0x302, 0x4_4702, 0x3f_7fd7] {
            for code in [&[0x0f, 0x34][..], &[0x0f, 0x05], &[0xcd, 0x80], &[0xcc], &[0x0f, 0x0b]] {
                let outcome = low::run(&low::Context { cs, rflags, ..low::Context::default() }, code);
                hold(outcome.0.is_some(), "user mode was not interrupted")?;
                let flags = outcome.0.map_or(0, |trap| trap.flags);
                hold(flags & 0x4_4100 == 0, &format!("the kernel's handler has flags {flags:#x}"))?;
            }
        }
    }
    call(SET_DEBUGREG, [6, 0, 0, 0, 0]);
    alive()
}

/// XSA-202: after an instruction was emulated, the guest's flags are loaded as it likes, and real interrupts stay off.
fn flags_after_emulation() -> Outcome {
    step(call(PHYSDEV_OP, [6, of(&[3_u64]), 0, 0, 0]), "a privilege level for ports")?;
    for _ in 0..50 {
        for code in ["cli", "popf"] {
            if code == "cli" {
                trapped!("cli", "in al, dx", "pushfq", "pop rax", "sti"; in("dx") 0xed_u16, out("rax") _);
            } else {
                trapped!("push 0x3002", "popfq", "in al, dx", "push 0x202", "popfq"; in("dx") 0xed_u16, out("rax") _);
            }
            let flags: u64;
            // SAFETY: reads the flags.
            unsafe { core::arch::asm!("pushfq", "pop {}", out(reg) flags) };
            hold(flags & 1 << 9 != 0, "interrupts are off")?;
            hold(flags & 3 << 12 == 0, "the real privilege level for ports changed")?;
        }
    }
    step(call(PHYSDEV_OP, [6, of(&[0_u64]), 0, 0, 0]), "taking the level back")
}

/// XSA-308 and others: single steps over whatever enters the hypervisor.
fn steps() -> Outcome {
    low::map();
    for cs in [0xe023, 0xe033, 0xe020, 0xe030] {
        for code in [
            &[0x0f, 0x05][..],
            &[0xcd, 0x80],
            &[0xcc],
            &[0xf1],
            &[0xec],
            &[0xf3, 0x6c],
            &[0x0f, 0x0b, b'x', b'e', b'n', 0x0f, 0xa2],
            &[0x16, 0x17, 0x0f, 0x05],
            &[0x8e, 0xd8, 0x0f, 0x05],
            &[0x9d, 0x0f, 0x05],
        ] {
            let registers = [XEN_VERSION, 3, 0xed, 0, low::DATA, low::DATA];
            low::run(&low::Context { cs, rflags: 0x302, registers, ..low::Context::default() }, code);
        }
    }
    call(SET_DEBUGREG, [6, 0, 0, 0, 0]);
    alive()
}

/// Selectors stay loaded while their table goes away, and other vCPUs run meanwhile: the hypervisor loads them again when this one goes on.
fn selectors_that_are_gone() -> Outcome {
    let page = Frame::new();
    for index in 1..8 {
        page.write(index, 0x00cf_f300_0000_ffff);
    }
    step(page.read_only(), "taking the page's mapping away")?;
    let register =
        CallbackRegister { type_: 1, flags: 1, address: callback_stub(0), ..CallbackRegister::default() };
    step(call(CALLBACK_OP, [0, of(&register), 0, 0, 0]), "registering a callback")?;
    for local in [false, true] {
        for round in 0..20_u64 {
            let set = |entries: u64| {
                if local {
                    extended(13, if entries == 0 { 0 } else { page.va }, entries)
                } else {
                    call(SET_GDT, [of(&[page.mfn]), entries, 0, 0, 0])
                }
            };
            step(set(8), "setting a table")?;
            let selector = (8 * (1 + round % 7)) | if local { 7 } else { 3 };
            trapped!("mov ds, {s:e}", "mov es, {s:e}", "mov fs, {s:e}", "mov gs, {s:e}"; s = in(reg) selector);
            step(set(0), "taking the table away")?;
            // A short sleep, and a yield.
            let pause = trapped!("syscall"; inout("rax") SCHED_OP => _, inout("rdi") 0_u64 => _, inout("rsi") 0_u64 => _, out("rdx") _,
                out("rcx") _, out("r11") _, out("r8") _, out("r9") _, out("r10") _);
            let vector = pause.0.map_or(256, |trap| trap.vector);
            hold(vector == 256, &format!("the kernel was interrupted by {vector}"))?;
            trapped!("xor eax, eax", "mov ds, eax", "mov es, eax", "mov fs, eax", "mov gs, eax"; out("rax") _);
        }
    }
    step(page.writable(), "the page is the guest's again")
}

/// An NMI that the handler of the last one sends, with handlers on odd selectors, and `int 2`.
fn interrupts_in_interrupts() -> Outcome {
    for cs in [0xe033_u16, 0xe030, 0, 0xe008, 0xffff] {
        let entry = TrapInfo { vector: 2, flags: 3, cs, address: stub(2), ..TrapInfo::default() };
        step(call(SET_TRAP_TABLE, [of(&[entry, TrapInfo::default()]), 0, 0, 0, 0]), "an entry")?;
        for _ in 0..10 {
            trapped!("syscall"; inout("rax") VCPU_OP => _, inout("rdi") 11_u64 => _, inout("rsi") 0_u64 => _, inout("rdx") 0_u64 => _,
                out("rcx") _, out("r11") _, out("r8") _, out("r9") _, out("r10") _);
        }
        trap::prepare_user();
        conformance::in_user!("nop");
    }
    trap::install();
    alive()
}
