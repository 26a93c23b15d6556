//! What a guest must not do to the processor: selectors, descriptors, addresses that are not canonical, privileged
//! instructions, returns to places that do not exist.
//!
//! [`faults`] runs one instruction that must fault, and catches the fault: the trap handler goes on behind it.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use domu_sdk::abi::callback::{CALLBACKOP_REGISTER, CALLBACKTYPE_EVENT, CallbackRegister};
use domu_sdk::abi::trap::{GP_FAULT, INVALID_OP, PAGE_FAULT};
use domu_sdk::abi::xen::{
    DOMID_SELF, IretContext, MMUEXT_SET_LDT, MmuUpdate, MmuextOp, SEGBASE_FS, TrapInfo, hypercall,
};
use domu_sdk::memory::layout::pte;
use domu_sdk::memory::{self, Pages};
use domu_sdk::{println, traps};

use crate::{attempt, call, refused};

/// Neither half of the address space.
const NON_CANONICAL: u64 = 0x8000_0000_0000;
/// In the hypervisor's hole, above the machine-to-physical table.
const HOLE: u64 = 0xffff_8300_0000_0000;
/// The hypervisor's own code and data segments, as far as anybody can know.
const RING0: [u16; 2] = [0xe008, 0xe010];
/// A call gate to ring 0.
const CALL_GATE: u64 = 0x0000_ec00_e008_0000;

/// Where a caught fault goes on, and with which stack; 0 is nowhere.
static GO_ON: AtomicU64 = AtomicU64::new(0);
static STACK: AtomicU64 = AtomicU64::new(0);
static VECTOR: AtomicU64 = AtomicU64::new(0);

fn catch(frame: &mut traps::Frame) -> traps::Outcome {
    let to = GO_ON.swap(0, Ordering::SeqCst);
    if to == 0 {
        return traps::Outcome::Fatal;
    }
    VECTOR.store(frame.vector, Ordering::SeqCst);
    (frame.rip, frame.rsp) = (to, STACK.load(Ordering::SeqCst));
    traps::Outcome::Resume
}

fn catch_all() {
    for vector in [GP_FAULT, INVALID_OP, PAGE_FAULT, 10, 11, 12] {
        traps::set_handler(vector, Some(catch));
    }
}

/// Runs instructions that must raise a fault.
macro_rules! faults {
    ($what:expr, $vector:expr, $($text:literal),+ $(, $name:ident = $value:expr)* $(,)?) => {{
        VECTOR.store(u64::MAX, Ordering::SeqCst);
        // SAFETY: none, it is to fault; the handler goes on at the label with the stack of here.
        unsafe {
            asm!(
                "lea {scratch}, [rip + 2f]",
                "mov [rip + {go_on}], {scratch}",
                "mov [rip + {stack}], rsp",
                $($text,)+
                "2:",
                scratch = out(reg) _,
                go_on = sym GO_ON,
                stack = sym STACK,
                $($name = in(reg) $value,)*
                out("rax") _,
                out("rcx") _,
                out("rdx") _,
            );
        }
        GO_ON.store(0, Ordering::SeqCst);
        caught($what, u64::from($vector));
    }};
}

fn caught(what: &str, expected: u64) {
    let vector = VECTOR.load(Ordering::SeqCst);
    if vector == expected {
        println!("REFUSED {what}: vector {vector}");
    } else {
        println!("ESCAPED {what}: vector {vector:#x} instead of {expected}");
        domu_sdk::shutdown::now(domu_sdk::shutdown::Reason::Crash)
    }
}

/// Loads selectors of the hypervisor's segments into everything that takes one.
pub fn selectors() {
    catch_all();
    for selector in RING0 {
        faults!("a ring-0 selector in DS", GP_FAULT, "mov ds, {s:x}", s = selector);
        faults!("a ring-0 selector in ES", GP_FAULT, "mov es, {s:x}", s = selector);
        faults!("a ring-0 selector in FS", GP_FAULT, "mov fs, {s:x}", s = selector);
        faults!("a ring-0 selector in SS", GP_FAULT, "mov ss, {s:x}", s = selector);
        faults!(
            "a far return to ring 0",
            GP_FAULT,
            "push {s}",
            "lea {a}, [rip + 2f]",
            "push {a}",
            "retfq",
            s = u64::from(selector),
            a = 0_u64,
        );
    }
}

/// Descriptors and descriptor tables.
pub fn descriptors() {
    catch_all();
    let table = [0_u64; 2];
    let address = core::ptr::from_ref(&table).expose_provenance() as u64;
    faults!("loading a GDT", GP_FAULT, "lgdt [{a}]", a = address);
    faults!("loading an IDT", GP_FAULT, "lidt [{a}]", a = address);
    faults!("loading a task register", GP_FAULT, "ltr {s:x}", s = 0xe040_u16);
    refused(
        "a descriptor in somebody else's frame",
        call(hypercall::UPDATE_DESCRIPTOR, [0x1000, 0, 0, 0, 0]),
    );
    let frames = [0x1_u64];
    let list = core::ptr::from_ref(&frames).expose_provenance() as u64;
    refused("a GDT in somebody else's frame", call(hypercall::SET_GDT, [list, 8, 0, 0, 0]));
    refused("a GDT with too many entries", call(hypercall::SET_GDT, [list, 7169, 0, 0, 0]));
    gate_in_own_gdt();
    let mut request = MmuextOp { cmd: MMUEXT_SET_LDT, ..MmuextOp::default() };
    request.set_linear_addr(HOLE);
    request.set_nr_ents(8);
    let at = core::ptr::from_ref(&request).expose_provenance() as u64;
    refused("an LDT in the hole", call(hypercall::MMUEXT_OP, [at, 1, 0, DOMID_SELF.into(), 0]));
}

/// A page with a call gate as GDT: refused while it is writable, and for what is in it.
fn gate_in_own_gdt() {
    let Some(mut page) = Pages::new(1) else { return println!("ESCAPED no memory") };
    page[8..16].copy_from_slice(&CALL_GATE.to_le_bytes());
    let frames = [page.mfn(0).0];
    let list = core::ptr::from_ref(&frames).expose_provenance() as u64;
    refused("a writable page as GDT", call(hypercall::SET_GDT, [list, 8, 0, 0, 0]));
    let address = page.as_ptr().expose_provenance() as u64;
    let entry = frames[0] << 12 | pte::READ_ONLY;
    call(hypercall::UPDATE_VA_MAPPING, [address, entry, 2, 0, 0]);
    refused("a call gate to ring 0", call(hypercall::SET_GDT, [list, 8, 0, 0, 0]));
}

/// Addresses that are not canonical, and addresses in the hole, wherever an address is taken.
pub fn addresses() {
    catch_all();
    faults!("reading a non-canonical address", GP_FAULT, "mov {a}, [{a}]", a = NON_CANONICAL);
    faults!("reading the hypervisor", PAGE_FAULT, "mov {a}, [{a}]", a = HOLE);
    faults!(
        "writing the machine-to-physical table",
        PAGE_FAULT,
        "mov [{a}], {a}",
        a = 0xffff_8000_0000_0000_u64
    );
    faults!("executing the hypervisor", PAGE_FAULT, "push {a}", "ret", a = HOLE);
    for (what, address) in
        [("non-canonical", NON_CANONICAL), ("negative non-canonical", 0xffff_7fff_ffff_f000)]
    {
        println!("{what}:");
        let callback = CallbackRegister { type_: CALLBACKTYPE_EVENT, address, ..CallbackRegister::default() };
        let at = core::ptr::from_ref(&callback).expose_provenance() as u64;
        refused("as event callback", call(hypercall::CALLBACK_OP, [CALLBACKOP_REGISTER.into(), at, 0, 0, 0]));
        refused("as FS base", call(hypercall::SET_SEGMENT_BASE, [SEGBASE_FS.into(), address, 0, 0, 0]));
        let table = [TrapInfo { vector: 3, address, cs: 0xe033, ..TrapInfo::default() }, TrapInfo::default()];
        let at = core::ptr::from_ref(&table).expose_provenance() as u64;
        refused("as trap handler", call(hypercall::SET_TRAP_TABLE, [at, 0, 0, 0, 0]));
    }
    refused("a breakpoint on the hypervisor", call(hypercall::SET_DEBUGREG, [0, HOLE, 0, 0, 0]));
    refused("general detect in DR7", call(hypercall::SET_DEBUGREG, [7, 1 << 13, 0, 0, 0]));
    for (what, number) in [("mmu_update", hypercall::MMU_UPDATE), ("multicall", hypercall::MULTICALL)] {
        for address in [HOLE, NON_CANONICAL, u64::MAX - 7] {
            refused(what, call(number, [address, 1, 0, DOMID_SELF.into(), 0]));
        }
    }
}

/// Instructions of ring 0.
pub fn privileged() {
    catch_all();
    faults!("INVLPG", GP_FAULT, "invlpg [{a}]", a = 0_u64);
    faults!("MOV to CR8", GP_FAULT, "mov cr8, {a}", a = 0_u64);
    faults!("clearing CR0", GP_FAULT, "mov cr0, {a}", a = 0_u64);
    faults!("writing LSTAR", GP_FAULT, "mov ecx, 0xc0000082", "xor eax, eax", "xor edx, edx", "wrmsr");
    faults!("reading LSTAR", GP_FAULT, "mov ecx, 0xc0000082", "rdmsr");
    faults!("SYSRET", GP_FAULT, "sysretq");
    faults!("SWAPGS", GP_FAULT, "swapgs");
}

/// An orderly return to a place that does not exist.
pub fn bad_iret(what: &str, rip: u64, cs: u64) {
    let frame = IretContext { rip, cs, rflags: 0x202, rsp: 0x1000, ss: 0xe02b, ..IretContext::default() };
    attempt(what, || {
        // SAFETY: none; never comes back.
        unsafe {
            asm!(
                "mov rsp, {frame}",
                "mov eax, 23",
                "syscall",
                frame = in(reg) core::ptr::from_ref(&frame),
            );
        }
    });
}

/// A fault with a stack on which nobody can put a frame.
pub fn bad_stack(address: u64) {
    attempt("faulting with a bad stack", || {
        // SAFETY: none; never comes back.
        unsafe { asm!("mov rsp, {}", "ud2", in(reg) address) }
    });
}

/// A fault without handlers.
pub fn no_handler() {
    call(hypercall::SET_TRAP_TABLE, [0; 5]);
    attempt("faulting without a handler", || {
        // SAFETY: none; never comes back.
        unsafe { asm!("ud2") }
    });
}

/// The last page of the lower half.
const EDGE: u64 = 0x7fff_ffff_f000;

/// A hypercall from the last two bytes below the hole: the address behind it is not canonical.
pub fn edge_syscall() {
    if !map_at_edge() {
        return println!("ESCAPED the page cannot be mapped");
    }
    let entry = EDGE + 4096 - 2;
    attempt("a hypercall that returns to a non-canonical address", || {
        // SAFETY: none; never comes back.
        unsafe { asm!("mov eax, 17", "xor edi, edi", "jmp r12", in("r12") entry) }
    });
}

/// Maps a page that ends in SYSCALL at [`EDGE`].
fn map_at_edge() -> bool {
    let Some(mut pages) = Pages::new(4) else { return false };
    let frame = |index: usize| pages.mfn(index).0;
    let (code, tables) = (frame(0), [frame(1), frame(2), frame(3)]);
    let entries =
        [code << 12 | pte::PRESENT | pte::USER, tables[0] << 12 | pte::TABLE, tables[1] << 12 | pte::TABLE];
    pages[4094..4096].copy_from_slice(&[0x0f, 0x05]);
    for (table, entry) in (1..).zip(entries) {
        pages[table * 4096 + 4088..(table + 1) * 4096].copy_from_slice(&entry.to_le_bytes());
    }
    for (table, mfn) in (1..).zip(tables) {
        let address = pages.as_ptr().expose_provenance() as u64 + table * 4096;
        if call(hypercall::UPDATE_VA_MAPPING, [address, mfn << 12 | pte::READ_ONLY, 2, 0, 0]) != 0 {
            return false;
        }
    }
    let request = MmuUpdate { ptr: crate::root_slot(255), val: tables[2] << 12 | pte::TABLE };
    let at = core::ptr::from_ref(&request).expose_provenance() as u64;
    core::mem::forget(pages);
    call(hypercall::MMU_UPDATE, [at, 1, 0, DOMID_SELF.into(), 0]) == 0
}

/// Maps each frame of the machine that is not this domain's, read-only.
pub fn map_everything() {
    let last = domu_sdk::hypercall::memory::maximum_ram_page().map_or(0x200, |frame| frame.0);
    let Some(page) = Pages::new(1) else { return println!("ESCAPED no memory") };
    let address = page.as_ptr().expose_provenance() as u64;
    let (own, mut lent) = (page.mfn(0).0, 0);
    for mfn in 0..=last {
        if memory::domain_frame(domu_sdk::Mfn(mfn)).is_some() {
            continue;
        }
        // Frames that the hypervisor lends: the shared page and the grant table.
        if call(hypercall::UPDATE_VA_MAPPING, [address, mfn << 12 | pte::READ_ONLY, 2, 0, 0]) == 0 {
            lent += 1;
        }
    }
    call(hypercall::UPDATE_VA_MAPPING, [address, own << 12 | pte::READ_WRITE, 2, 0, 0]);
    if lent > MOST_LENT {
        println!("ESCAPED {lent} frames of others could be mapped");
        domu_sdk::shutdown::now(domu_sdk::shutdown::Reason::Crash)
    }
    println!("REFUSED all but {lent} frames, which are lent");
}

/// The shared page, the frames of the grant table, and `vcpu_info`.
const MOST_LENT: u64 = 8;
