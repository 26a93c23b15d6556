//! What a vCPU registers about itself: trap table, descriptors, stack, segment bases, callbacks, debug registers, assists.
#![no_std]
#![no_main]

use conformance::{Hex, area, at, bad, call, done, op, pages, row, shared, trap, trapped};
use domu_sdk::abi::callback::{CallbackRegister, CallbackUnregister};
use domu_sdk::abi::xen::{DOMID_SELF, MMUEXT_SET_LDT, MmuextOp, TrapInfo, hypercall::*};

#[domu_sdk::main]
fn main() {
    area("cpu");
    registers();
    trap_table();
    gdt();
    update_descriptor();
    ldt();
    stack_switch();
    segment_base();
    callbacks();
    task_switch();
    debug_registers();
    vm_assist();
    console_io();
    timer();
    done();
}

/// What a hypercall leaves in the registers.
fn registers() {
    let (mut rdi, mut rsi, mut rdx, mut r10, mut r8, mut r9) =
        (0_u64, 0x11_u64, 0x22_u64, 0x33_u64, 0x44_u64, 0x55_u64);
    let (rcx, r11): (u64, u64);
    let here: u64;
    // SAFETY: asks for the version only.
    unsafe {
        core::arch::asm!(
            "cmp rsp, rsp", "syscall", "2: lea {here}, [rip + 2b]", here = out(reg) here, inout("rax") XEN_VERSION => _,
            inout("rdi") rdi, inout("rsi") rsi, inout("rdx") rdx, inout("r10") r10, inout("r8") r8, inout("r9") r9,
            out("rcx") rcx, out("r11") r11,
        );
    }
    for (name, value) in
        [("rdi", rdi), ("rsi", rsi), ("rdx", rdx), ("r10", r10), ("r8", r8), ("r9", r9), ("r11", r11)]
    {
        row!("registers.{name}", Hex(value));
    }
    row!("registers.rcx-is-rip", Hex((rcx == here).into()));
}

fn trap_table() {
    let set = |address: u64| call(SET_TRAP_TABLE, [address, 0, 0, 0, 0]);
    for (name, address) in bad::ALL {
        if address != 0 {
            row!("trap-table.at.{name}", set(address));
        }
    }
    let entry = |vector, flags, cs, address| TrapInfo { vector, flags, cs, address, ..TrapInfo::default() };
    for (name, address) in bad::ALL {
        let table = [entry(0x40, 0, 0xe033, address), TrapInfo::default()];
        row!("trap-table.handler.{name}", set(at(&table)));
    }
    for cs in [0_u16, 3, 0x10, 0xe008, 0xe010, 0xe02b, 0xe030, 0xe033, 0xe048, 0xffff] {
        let table = [entry(0x40, 0, cs, 0x1000), TrapInfo::default()];
        row!("trap-table.cs.{cs:#x}", set(at(&table)));
    }
    for flags in [0_u8, 1, 2, 3, 4, 7, 8, 0xff] {
        let table = [entry(0x40, flags, 0xe033, 0x1000), TrapInfo::default()];
        row!("trap-table.flags.{flags:#x}", set(at(&table)));
    }
    // A list whose second entry cannot be read: what comes before it counts.
    let mut page = pages::take(1);
    let handler = trap::stub(3);
    pages::set_word(&mut page, 0, 510, 0x80 | 3 << 8 | 0xe033 << 16);
    pages::set_word(&mut page, 0, 511, handler);
    let answer = set(pages::address(&page, 0) + 4080);
    row!("trap-table.open-end.is-error", Hex((answer.0 < 0).into()));
    row!("trap-table.int80", trapped!("int 0x80").short());
    row!("trap-table.remove", set(0));
    trap::install();
    row!("trap-table.int80.after", trapped!("int 0x80").short());
}

fn gdt() {
    let set = |list: u64, entries: u64| call(SET_GDT, [list, entries, 0, 0, 0]);
    for (name, address) in bad::ALL {
        row!("gdt.list.{name}", set(address, 8));
    }
    row!("gdt.none", set(0, 0));
    let mut page = pages::take(2);
    let frames = [page.mfn(0).0, page.mfn(1).0];
    let list = at(&frames);
    row!("gdt.writable-page", set(list, 8));
    row!("gdt.own.read-only", pages::read_only(&page, 0));
    for entries in [0, 1, 8, 511, 512, 7168, 7169, 8192, 0xffff_ffff, 1 << 32, 1 << 32 | 8] {
        row!("gdt.entries.{entries:#x}", set(list, entries));
    }
    row!("gdt.foreign", set(at(&[0x10_0000_u64]), 8));
    row!("gdt.no-frame", set(at(&[u64::MAX]), 8));
    row!("gdt.same-twice", set(at(&[frames[0], frames[0]]), 1024));
    // Removed, the page may be written again.
    row!("gdt.in-use.writable", pages::writable(&page, 0));
    row!("gdt.remove", set(0, 0));
    row!("gdt.removed.writable", pages::writable(&page, 0));
    for (name, value) in DESCRIPTORS {
        pages::set_word(&mut page, 0, 1, *value);
        row!("gdt.{name}.read-only", pages::read_only(&page, 0));
        row!("gdt.{name}", set(list, 8));
        if set(list, 8).0 == 0 {
            row!("gdt.{name}.now", trapped!("lar {a:e}, {s:e}"; s = in(reg) 8, a = out(reg) _));
            let access: u64;
            // SAFETY: reads access rights.
            unsafe {
                core::arch::asm!("xor {a:e}, {a:e}", "lar {a:e}, {s:e}", s = in(reg) 8, a = out(reg) access)
            };
            row!("gdt.{name}.rights", Hex(access));
            row!(
                "gdt.{name}.ds",
                trapped!("mov ds, {s:e}", "mov ds, {z:e}"; s = in(reg) 11, z = in(reg) 0).short()
            );
            row!(
                "gdt.{name}.ss",
                trapped!("mov ss, {s:e}", "mov ss, {z:e}"; s = in(reg) 11, z = in(reg) 0xe02b).short()
            );
        }
        row!("gdt.{name}.removed", set(0, 0));
        row!("gdt.{name}.writable", pages::writable(&page, 0));
    }
}

/// Descriptors to try, with a name for each.
const DESCRIPTORS: &[(&str, u64)] = &[
    ("zero", 0),
    ("data3", 0x00cf_f300_0000_ffff),
    ("data3-not-accessed", 0x00cf_f200_0000_ffff),
    ("data3-read-only", 0x00cf_f100_0000_ffff),
    ("data3-down", 0x00cf_f700_0000_ffff),
    ("data3-not-present", 0x00cf_7300_0000_ffff),
    ("data2", 0x00cf_d300_0000_ffff),
    ("data1", 0x00cf_b300_0000_ffff),
    ("data0", 0x00cf_9300_0000_ffff),
    ("data3-base", 0x12cf_f334_5678_ffff),
    ("data3-base-hole", 0xffcf_f3ff_ffff_ffff),
    ("code3-32", 0x00cf_fb00_0000_ffff),
    ("code3-64", 0x00af_fb00_0000_ffff),
    ("code3-64-16", 0x00ef_fb00_0000_ffff),
    ("code3-conforming", 0x00af_ff00_0000_ffff),
    ("code0-64", 0x00af_9b00_0000_ffff),
    ("code0-conforming", 0x00af_9f00_0000_ffff),
    ("code3-not-present", 0x00af_7b00_0000_ffff),
    ("ldt", 0x0000_8200_0000_ffff),
    ("tss", 0x0000_8900_0000_0067),
    ("tss-busy", 0x0000_8b00_0000_0067),
    ("call-gate3", 0x0000_ec00_e033_1000),
    ("call-gate3-ring0", 0x0000_ec00_e008_1000),
    ("call-gate0", 0x0000_8c00_e033_1000),
    ("call-gate3-null", 0x0000_ec00_0000_1000),
    ("call-gate3-not-present", 0x0000_6c00_e033_1000),
    ("interrupt-gate", 0x0000_ee00_e033_1000),
    ("trap-gate", 0x0000_ef00_e033_1000),
    ("task-gate", 0x0000_e500_e033_1000),
    ("system-0", 0x0000_e000_0000_0000),
    ("not-present", 0x1234_7f12_3456_7890),
];

fn update_descriptor() {
    let update = |address: u64, value: u64| call(UPDATE_DESCRIPTOR, [address, value, 0, 0, 0]);
    let page = pages::take(1);
    let machine = page.mfn(0).0 << 12;
    row!("descriptor.writable-page", update(machine, 0));
    row!("descriptor.foreign", update(0x1_0000_0000, 0));
    row!("descriptor.no-frame", update(0xffff_ffff_f000, 0));
    row!("descriptor.huge", update(!7, 0));
    row!("descriptor.table", update(domu_sdk::start::info().shared_info, 0));
    for offset in [1, 2, 4, 7] {
        row!("descriptor.unaligned.{offset}", update(machine + offset, 0));
    }
    row!("descriptor.read-only", pages::read_only(&page, 0));
    row!("descriptor.untyped", update(machine + 8, 0x00cf_f300_0000_ffff));
    row!("descriptor.gdt", call(SET_GDT, [at(&[page.mfn(0).0]), 8, 0, 0, 0]));
    for (name, value) in DESCRIPTORS {
        row!("descriptor.{name}", update(machine + 16, *value));
        // SAFETY: the page is mapped; the hypervisor writes it.
        let word = unsafe { page[16..].as_ptr().cast::<u64>().read_volatile() };
        row!("descriptor.{name}.stored", Hex(word));
    }
    row!("descriptor.last", update(machine + 4088, 0));
    row!("descriptor.gdt.removed", call(SET_GDT, [0, 0, 0, 0, 0]));
    row!("descriptor.removed", update(machine + 8, 0));
    row!("descriptor.back", pages::writable(&page, 0));
}

fn ldt() {
    let set = |address: u64, entries: u32| {
        let mut request = MmuextOp { cmd: MMUEXT_SET_LDT, ..MmuextOp::default() };
        request.set_linear_addr(address);
        request.set_nr_ents(entries);
        call(MMUEXT_OP, [at(&request), 1, 0, DOMID_SELF.into(), 0])
    };
    for (name, address) in bad::ALL {
        row!("ldt.at.{name}", set(address & !0xfff, 8));
    }
    let mut page = pages::take(1);
    let address = pages::address(&page, 0);
    for entries in [0, 1, 512, 8192, 8193, u32::MAX] {
        row!("ldt.entries.{entries:#x}", set(address, entries));
    }
    row!("ldt.unaligned", set(address + 8, 8));
    row!("ldt.none", set(0, 0));
    pages::set_word(&mut page, 0, 1, 0x00cf_f300_0000_ffff);
    pages::set_word(&mut page, 0, 2, 0x00cf_7300_0000_ffff);
    row!("ldt.set.writable", set(address, 8));
    row!(
        "ldt.load.writable",
        trapped!("mov ds, {s:e}", "mov ds, {z:e}"; s = in(reg) 15, z = in(reg) 0).short()
    );
    row!("ldt.read-only", pages::read_only(&page, 0));
    row!("ldt.set", set(address, 8));
    row!("ldt.load", trapped!("mov ds, {s:e}", "mov ds, {z:e}"; s = in(reg) 15, z = in(reg) 0));
    row!("ldt.load.not-present", trapped!("mov ds, {s:e}"; s = in(reg) 23));
    row!("ldt.load.ss.not-present", trapped!("mov ss, {s:e}"; s = in(reg) 23));
    row!("ldt.load.empty", trapped!("mov ds, {s:e}"; s = in(reg) 31));
    row!("ldt.load.beyond", trapped!("mov ds, {s:e}"; s = in(reg) 0x47));
    row!("ldt.in-use.writable", pages::writable(&page, 0));
    row!("ldt.remove", set(0, 0));
    row!("ldt.load.removed", trapped!("mov ds, {s:e}"; s = in(reg) 15));
    row!("ldt.removed.writable", pages::writable(&page, 0));
}

fn stack_switch() {
    for ss in [0_u64, 3, 0xe02b, 0xe028, 0xe033, 0xe010, 0xffff, 0x1_0000, u64::MAX] {
        row!("stack-switch.ss.{ss:#x}", call(STACK_SWITCH, [ss, 0x1000, 0, 0, 0]));
    }
    for (name, address) in bad::ALL {
        row!("stack-switch.sp.{name}", call(STACK_SWITCH, [0xe02b, address, 0, 0, 0]));
    }
}

fn segment_base() {
    for which in 0..6_u64 {
        for (name, address) in bad::ALL {
            row!("segment-base.{which}.{name}", call(SET_SEGMENT_BASE, [which, address, 0, 0, 0]));
        }
    }
    for selector in [0_u64, 3, 8, 0xe02b, 0xe033, 0xe010, 0x1_0000, 0xffff] {
        row!("segment-base.selector.{selector:#x}", call(SET_SEGMENT_BASE, [3, selector, 0, 0, 0]));
    }
    row!("segment-base.high-bits", call(SET_SEGMENT_BASE, [1 << 32, 0, 0, 0, 0]));
    let word = 0x1122_3344_5566_7788_u64;
    row!("segment-base.fs", call(SET_SEGMENT_BASE, [0, at(&word), 0, 0, 0]));
    let seen: u64;
    // SAFETY: FS has just been pointed at the word.
    unsafe { core::arch::asm!("mov {}, fs:[0]", out(reg) seen) };
    row!("segment-base.fs.seen", Hex(seen));
    row!(
        "segment-base.fs.load-0",
        trapped!("mov fs, {z:e}", "mov {z}, fs:[0]"; z = inout(reg) 0_u64 => _).short()
    );
    row!("segment-base.gs", call(SET_SEGMENT_BASE, [2, at(&word), 0, 0, 0]));
    let seen: u64;
    // SAFETY: as above, for GS of the kernel.
    unsafe { core::arch::asm!("mov {}, gs:[0]", out(reg) seen) };
    row!("segment-base.gs.seen", Hex(seen));
    call(SET_SEGMENT_BASE, [2, 0, 0, 0, 0]);
}

fn callbacks() {
    // No event while its callback is anywhere.
    shared::set_mask(1);
    let (event, failsafe) = domu_sdk::arch::callback_stubs();
    for (name, address) in bad::ALL {
        for which in 0..3 {
            let mut list = [event, failsafe, event];
            list[which] = address;
            row!("callbacks.{which}.{name}", call(SET_CALLBACKS, [list[0], list[1], list[2], 0, 0]));
        }
        // None, while no event is due.
        let mut register =
            CallbackRegister { type_: 0, flags: 0, address: event, ..CallbackRegister::default() };
        call_op(0, &mut register);
    }
    for kind in 0..10_u16 {
        for (name, address) in bad::ALL {
            let mut register =
                CallbackRegister { type_: kind, flags: 0, address, ..CallbackRegister::default() };
            row!("callback.{kind}.{name}", call_op(0, &mut register));
            if kind == 0 {
                register.address = event;
                call_op(0, &mut register);
            }
        }
        let mut unregister = CallbackUnregister { type_: kind, ..CallbackUnregister::default() };
        row!("callback.{kind}.unregister", op(CALLBACK_OP, 1, &mut unregister));
        for flags in [0_u16, 1, 2, 0xffff] {
            let mut register =
                CallbackRegister { type_: kind, flags, address: event, ..CallbackRegister::default() };
            row!("callback.{kind}.flags.{flags:#x}", call_op(0, &mut register));
        }
        row!("callback.{kind}.unregister-again", op(CALLBACK_OP, 1, &mut unregister));
    }
    let mut register = CallbackRegister { type_: 0, flags: 0, address: event, ..CallbackRegister::default() };
    for command in [2, 3, u32::MAX] {
        row!("callback.command.{command}", call_op(command, &mut register));
    }
    for (name, address) in bad::ALL {
        row!("callback.register.at.{name}", call(CALLBACK_OP, [0, address, 0, 0, 0]));
        row!("callback.unregister.at.{name}", call(CALLBACK_OP, [1, address, 0, 0, 0]));
    }
    let mut register =
        CallbackRegister { type_: 1, flags: 1, address: failsafe, ..CallbackRegister::default() };
    call_op(0, &mut register);
    shared::set_mask(0);
}

fn call_op(command: u32, register: &mut CallbackRegister) -> conformance::Answer {
    op(CALLBACK_OP, command, register)
}

fn task_switch() {
    for set in [1_u64, 2, 1 << 32, u64::MAX, 0] {
        row!("taskswitch.{set:#x}", call(FPU_TASKSWITCH, [set, 0, 0, 0, 0]));
        row!("taskswitch.{set:#x}.x87", trapped!("fnop"));
        row!("taskswitch.{set:#x}.again", trapped!("fnop"));
    }
    row!("taskswitch.set", call(FPU_TASKSWITCH, [1, 0, 0, 0, 0]));
    row!("taskswitch.clts", trapped!("clts", "fnop"));
    row!("taskswitch.sse", trapped!("xorps xmm0, xmm0"; out("xmm0") _));
}

fn debug_registers() {
    let set = |register: u64, value: u64| call(SET_DEBUGREG, [register, value, 0, 0, 0]);
    let get = |register: u64| call(GET_DEBUGREG, [register, 0, 0, 0, 0]);
    for register in 0..10 {
        row!("debug.{register}.initial", get(register));
    }
    for register in 0..4 {
        for (name, address) in bad::ALL {
            row!("debug.{register}.set.{name}", set(register, address));
            row!("debug.{register}.get.{name}", get(register));
        }
        row!("debug.{register}.set.image", set(register, 0xffff_ffff_8010_0000));
        row!("debug.{register}.get.image", get(register));
        set(register, 0);
    }
    for register in [4, 5, 6, 7, 8, 9, 1 << 32, u64::MAX] {
        let bits = if register < 8 { 64 } else { 2 };
        for bit in 0..bits {
            row!("debug.{register:#x}.bit.{bit}", set(register, 1 << bit));
            row!("debug.{register:#x}.bit.{bit}.get", get(register));
        }
        row!("debug.{register:#x}.zero", set(register, 0));
        row!("debug.{register:#x}.zero.get", get(register));
        row!("debug.{register:#x}.ones", set(register, 0xffff_ffff));
        row!("debug.{register:#x}.ones.get", get(register));
    }
    set(6, 0);
    set(7, 0);
    // Kind and length of breakpoint 0, enabled and not.
    for kind in 0..16_u64 {
        row!("debug.kind.{kind}", set(7, kind << 16));
        row!("debug.kind.{kind}.get", get(7));
        row!("debug.kind.{kind}.enabled", set(7, kind << 16 | 1));
        row!("debug.kind.{kind}.enabled.get", get(7));
        set(7, 0);
    }
    row!("debug.bad-address.kept", get(0));
}

fn vm_assist() {
    for command in 0..4_u64 {
        for kind in (0..8_u64).chain([31, 32, 33, 63, 64, 1 << 32, u64::MAX]) {
            if kind != 4 || command != 0 {
                row!("assist.{command}.{kind:#x}", call(VM_ASSIST, [command, kind, 0, 0, 0]));
            }
        }
    }
    row!("assist.command", call(VM_ASSIST, [1 << 32, 0, 0, 0, 0]));
    // Whether the machine-to-physical table can be read.
    for (name, command) in [("enabled", 0), ("disabled", 1)] {
        row!("assist.m2p-strict.{name}", call(VM_ASSIST, [command, 32, 0, 0, 0]));
        row!(
            "assist.m2p-strict.{name}.read",
            trapped!("mov {a}, [{a}]"; a = inout(reg) bad::M2P => _).short()
        );
    }
    // What the SDK and the others had.
    call(VM_ASSIST, [1, 2, 0, 0, 0]);
}

fn console_io() {
    let console = |command: u64, count: u64, address: u64| call(CONSOLE_IO, [command, count, address, 0, 0]);
    for (name, address) in bad::ALL {
        row!("console.write.{name}", console(0, 4, address));
        row!("console.read.{name}", console(1, 4, address));
        row!("console.write.{name}.none", console(0, 0, address));
    }
    let buffer = [0_u8; 8];
    row!("console.read.none", console(1, 0, at(&buffer)));
    row!("console.write.negative", console(0, 0xffff_ffff, at(&buffer)));
    row!("console.read.negative", console(1, 0xffff_ffff, at(&buffer)));
    row!("console.write.high-bits", console(0, 1 << 32, at(&buffer)));
    for command in [2, 3, 0xffff_ffff, 1 << 32] {
        row!("console.command.{command:#x}", console(command, 0, at(&buffer)));
    }
}

fn timer() {
    for value in [0, 1, 1 << 40, i64::MAX as u64, 1 << 63, u64::MAX] {
        row!("timer.{value:#x}", call(SET_TIMER_OP, [value, 0, 0, 0, 0]));
    }
    row!("timer.off", call(SET_TIMER_OP, [0, 0, 0, 0, 0]));
}
