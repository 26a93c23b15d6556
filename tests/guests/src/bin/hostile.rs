//! A guest that does what it must not, to see that it alone suffers.
//!
//! `do=WHAT` on the command line chooses. What the hypervisor should refuse prints `REFUSED` with the answer, and the guest goes
//! on; what should end the domain prints `ATTEMPT` first. If something forbidden works, the guest prints `ESCAPED` and crashes.
#![no_std]
#![no_main]

extern crate alloc;

use core::arch::asm;
use domu_sdk::{
    abi::{
        errno::Errno,
        xen::{DOMID_SELF, MMUEXT_PIN_L1_TABLE, MmuUpdate, MmuextOp, hypercall},
    },
    arch, memory,
    memory::layout::{DIRECT_BASE, IMAGE_BASE, pte, table_index},
    println,
    shutdown::Reason,
    start, traps,
    types::Pfn,
};

#[path = "hostile/cpu.rs"]
mod cpu;
#[path = "hostile/random.rs"]
mod random;

#[domu_sdk::main]
fn main() -> Reason {
    let what = start::parameter("do").unwrap_or("");
    println!("hostile: {what}");
    match what {
        "panic" => panic!("as asked"),
        "overflow" => println!("{}", overflow(1)),
        "fault" => attempt("reading an unmapped address", || read(0x1000)),
        "noncanonical-jump" => attempt("jumping to a non-canonical address", || jump(0x0000_9000_0000_0000)),
        "kernel-selector" => attempt("loading a ring-0 stack selector", load_kernel_selector),
        "halt" => attempt("halting the processor", halt),
        "recursive-fault" => recursive_fault(),
        "random" => run_random(),
        "write-table" => write_table(),
        "map-hole" => map_hole(),
        "map-foreign" => map_foreign(),
        "map-table" => map_own_table_writable(),
        "pin-writable" => pin_writable(),
        "bad-hypercall" => bad_hypercall(),
        "map-everything" => cpu::map_everything(),
        "selectors" => cpu::selectors(),
        "descriptors" => cpu::descriptors(),
        "addresses" => cpu::addresses(),
        "privileged" => cpu::privileged(),
        "no-handler" => cpu::no_handler(),
        "stack-in-hole" => cpu::bad_stack(0xffff_8300_0000_1000),
        "stack-noncanonical" => cpu::bad_stack(0x8000_0000_1000),
        "iret-noncanonical" => cpu::bad_iret("an iret to a non-canonical address", 0x8000_0000_0000, 0xe030),
        "iret-hole" => cpu::bad_iret("an iret into the hypervisor", 0xffff_82d0_4020_0000, 0xe030),
        "iret-ring0" => cpu::bad_iret("an iret to ring 0", 0xffff_82d0_4020_0000, 0xe008),
        "edge-syscall" => cpu::edge_syscall(),
        "random-kernel" => random::kernel(),
        "random-user" => random::user(),
        "random-hypercalls" => random::hypercalls(),
        _ => {
            println!("hostile: no such thing");
            return Reason::Crash;
        }
    }
    println!("RESULT: refused");
    Reason::PowerOff
}

/// Announces something that must end the domain, and does it.
fn attempt(what: &str, action: impl FnOnce()) {
    println!("ATTEMPT {what}");
    action();
    println!("ESCAPED {what}");
    domu_sdk::shutdown::now(Reason::Crash)
}

/// Expects a refusal.
fn refused(what: &str, answer: i64) {
    match Errno::from_ret(answer) {
        Some(errno) => println!("REFUSED {what}: {errno}"),
        None => {
            println!("ESCAPED {what}: {answer}");
            domu_sdk::shutdown::now(Reason::Crash)
        }
    }
}

fn call(number: u64, arguments: [u64; 5]) -> i64 {
    // SAFETY: none; that is what this guest is for. The hypervisor is expected to refuse.
    unsafe { arch::raw_hypercall(number, arguments) }
}

#[expect(unconditional_recursion, reason = "it is to run into the guard page")]
fn overflow(depth: u64) -> u64 {
    let page = [depth; 512];
    core::hint::black_box(&page)[(depth % 512) as usize] + overflow(depth + 1)
}

fn read(address: usize) {
    // SAFETY: none; the fault is wanted.
    unsafe { core::ptr::with_exposed_provenance::<u64>(address).read_volatile() };
}

fn jump(address: u64) {
    // SAFETY: none; never comes back.
    unsafe { asm!("jmp {}", in(reg) address, options(noreturn)) }
}

fn load_kernel_selector() {
    // SAFETY: none; 0xe010 is in the hypervisor's part of the descriptor table.
    unsafe { asm!("mov ss, {:x}", in(reg) 0xe010_u16) }
}

fn halt() {
    // SAFETY: none; privileged.
    unsafe { asm!("cli", "hlt") }
}

fn recursive_fault() {
    traps::set_handler(domu_sdk::abi::trap::PAGE_FAULT, Some(fault_again));
    attempt("faulting in the fault handler", || read(0x1000));
}

fn fault_again(_: &mut traps::Frame) -> traps::Outcome {
    read(0x2000);
    traps::Outcome::Resume
}

/// Bytes from a small generator, executed in the hope of the worst. Most end the domain; bytes that do nothing bad return.
fn run_random() {
    println!("ATTEMPT running random bytes");
    let mut state = start::parameter("seed").and_then(|seed| seed.parse().ok()).unwrap_or(1_u64) | 1;
    for _ in 0..64 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        execute(&state.to_le_bytes());
    }
}

fn execute(bytes: &[u8; 8]) {
    let page = core::ptr::from_ref(&CODE).addr() as u64 & !0xfff;
    let entry = memory::page_table_entry(page).unwrap_or(0);
    let writable = entry | pte::WRITABLE;
    call(hypercall::UPDATE_VA_MAPPING, [page, writable & !pte::NO_EXECUTE, 2, 0, 0]);
    let code = core::ptr::with_exposed_provenance_mut::<u8>(page as usize);
    // SAFETY: none; the page belongs to nobody else, and what is run is whatever it is.
    unsafe {
        core::ptr::copy_nonoverlapping(bytes.as_ptr(), code, 8);
        code.add(8).write(0xc3);
        asm!(
            "push rbx",
            "call {}",
            "pop rbx",
            in(reg) page,
            clobber_abi("C"),
            out("r12") _,
            out("r13") _,
            out("r14") _,
            out("r15") _,
        );
    }
}

/// A page to write code into.
#[repr(align(4096))]
#[expect(dead_code, reason = "its bytes are run, not read")]
struct Page([u8; 4096]);

static CODE: Page = Page([0xc3; 4096]);

fn write_table() {
    let table = start::info().pt_base;
    println!("ATTEMPT writing the top-level page table");
    if memory::probe_write(table) || memory::probe_write(DIRECT_BASE + (table - IMAGE_BASE)) {
        println!("ESCAPED the top-level page table can be written");
        domu_sdk::shutdown::now(Reason::Crash)
    }
    println!("REFUSED by a page fault");
}

/// Machine address of entry `index` of the top-level table.
fn root_slot(index: usize) -> u64 {
    let pfn = Pfn((start::info().pt_base - IMAGE_BASE) / 4096);
    memory::machine_frame(pfn).map_or(0, |mfn| mfn.0 << 12) + 8 * index as u64
}

fn mmu_update(ptr: u64, val: u64) -> i64 {
    let request = MmuUpdate { ptr, val };
    let address = core::ptr::from_ref(&request).expose_provenance() as u64;
    call(hypercall::MMU_UPDATE, [address, 1, 0, u64::from(DOMID_SELF), 0])
}

fn map_hole() {
    let slot = root_slot(table_index(0xffff_8000_0000_0000, 4));
    refused("changing the hypervisor's slot", mmu_update(slot, 0));
    let answer = call(hypercall::UPDATE_VA_MAPPING, [0xffff_8280_0000_0000, pte::READ_WRITE, 0, 0, 0]);
    refused("mapping into the hypervisor's hole", answer);
}

fn map_foreign() {
    let address = DIRECT_BASE + 4096;
    // The last one is a little below the end: what is beyond may be a device, which the first domain may map.
    let last = domu_sdk::hypercall::memory::maximum_ram_page().map_or(0x200, |frame| frame.0 - 16);
    for mfn in [0x100, 0x1000, last] {
        if memory::domain_frame(domu_sdk::Mfn(mfn)).is_none() {
            let answer = call(hypercall::UPDATE_VA_MAPPING, [address, mfn << 12 | pte::READ_WRITE, 0, 0, 0]);
            refused(&alloc::format!("mapping machine frame {mfn:#x} of somebody else"), answer);
        }
    }
}

fn map_own_table_writable() {
    let table = root_slot(0) & !0xfff;
    let answer = call(hypercall::UPDATE_VA_MAPPING, [DIRECT_BASE + 4096, table | pte::READ_WRITE, 0, 0, 0]);
    refused("mapping a page table writable", answer);
}

fn pin_writable() {
    let Some(mfn) = memory::machine_frame(Pfn(1)) else { return };
    let mut request = MmuextOp { cmd: MMUEXT_PIN_L1_TABLE, ..MmuextOp::default() };
    request.set_mfn(mfn.0);
    let address = core::ptr::from_ref(&request).expose_provenance() as u64;
    let answer = call(hypercall::MMUEXT_OP, [address, 1, 0, u64::from(DOMID_SELF), 0]);
    refused("pinning a page that is mapped writable", answer);
}

fn bad_hypercall() {
    for number in [11, 43, 63, 1000, u64::MAX] {
        refused("an unknown hypercall", call(number, [0; 5]));
    }
    refused("console_io with a bad buffer", call(hypercall::CONSOLE_IO, [0, 8, 0x10, 0, 0]));
    refused(
        "mmu_update with a bad buffer",
        call(hypercall::MMU_UPDATE, [0xffff_8300_0000_0000, 1, 0, DOMID_SELF.into(), 0]),
    );
}
