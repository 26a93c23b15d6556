//! Memory below 4 GiB, and code that runs there: 32-bit and 16-bit segments, with all registers given.
//!
//! [`map`] gives the running tree an entry 0 with [`PAGES`] pages at [`BASE`]. [`run`] puts code into the first of them and enters it by
//! the `iret` hypercall; what ends it is a trap, which is told as [`crate::trapped!`] does.

use crate::space::{Frame, root, update};
use crate::trap::{self, Outcome};
use crate::{Answer, at, call, shared};
use core::sync::atomic::{AtomicU64, Ordering};
use domu_sdk::abi::xen::{DOMID_SELF, MMUEXT_SET_LDT, MmuextOp, hypercall};
use domu_sdk::memory::layout::pte;

/// Where the pages are.
pub const BASE: u64 = 0x1000_0000;
/// How many: code, data, the top of the stack, the local descriptors.
pub const PAGES: u64 = 4;
/// Data, behind the code.
pub const DATA: u64 = BASE + 4096;
/// Top of the stack; behind its page there is nothing.
pub const STACK: u64 = BASE + 3 * 4096;
/// Local descriptors.
const TABLE: u64 = 3;

/// Direct-map addresses of the pages; 0 before [`map`].
static PLACES: [AtomicU64; PAGES as usize] = [const { AtomicU64::new(0) }; PAGES as usize];

/// Maps the pages. Panics if the hypervisor refuses.
pub fn map() {
    let tables = [Frame::new(), Frame::new(), Frame::new()];
    let index = |level: u32| domu_sdk::memory::layout::table_index(BASE, level) as u64;
    for (page, place) in PLACES.iter().enumerate().take(TABLE as usize) {
        let frame = Frame::new();
        place.store(frame.va, Ordering::Relaxed);
        tables[0].write(index(1) + page as u64, frame.entry(pte::READ_WRITE & !pte::NO_EXECUTE));
    }
    // The descriptors are reached through the direct map.
    PLACES[TABLE as usize].store(Frame::new().va, Ordering::Relaxed);
    tables[1].write(index(2), tables[0].entry(pte::TABLE));
    tables[2].write(index(3), tables[1].entry(pte::TABLE));
    for table in &tables {
        assert!(table.read_only().0 == 0, "taking a table's mapping away");
    }
    let answer = update((root() << 12) + 8 * index(4), tables[2].entry(pte::TABLE));
    assert!(answer.0 == 0, "an entry of the root: {answer}");
    trap::prepare_user();
}

/// Writes bytes at an offset of a page.
pub fn write(page: u64, offset: u64, bytes: &[u8]) {
    let start = PLACES[page as usize].load(Ordering::Relaxed) + offset;
    for (index, byte) in bytes.iter().enumerate() {
        // SAFETY: the frame was taken for ever, and nothing of Rust lives in it.
        unsafe { core::ptr::with_exposed_provenance_mut::<u8>(start as usize + index).write_volatile(*byte) }
    }
}

/// Reads a word at an offset of a page.
pub fn read(page: u64, offset: u64) -> u64 {
    let place = PLACES[page as usize].load(Ordering::Relaxed) + offset;
    // SAFETY: the frame was taken for ever.
    unsafe { core::ptr::with_exposed_provenance::<u64>(place as usize).read_volatile() }
}

/// Makes these descriptors the local table: the first has selector 7.
pub fn descriptors(list: &[u64]) -> Answer {
    for (index, descriptor) in list.iter().enumerate() {
        write(TABLE, 8 * index as u64, &descriptor.to_le_bytes());
    }
    let place = PLACES[TABLE as usize].load(Ordering::Relaxed);
    let pfn = domu_sdk::types::Pfn((place - domu_sdk::memory::layout::DIRECT_BASE) / 4096);
    let mfn = domu_sdk::memory::machine_frame(pfn).map_or(0, |mfn| mfn.0);
    call(hypercall::UPDATE_VA_MAPPING, [place, mfn << 12 | pte::READ_ONLY, 2, 0, 0]);
    let mut request = MmuextOp { cmd: MMUEXT_SET_LDT, ..MmuextOp::default() };
    request.set_linear_addr(place);
    request.set_nr_ents(list.len() as u32);
    call(hypercall::MMUEXT_OP, [at(&request), 1, 0, DOMID_SELF.into(), 0])
}

/// What code is entered with.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Instruction pointer.
    pub rip: u64,
    /// Code selector.
    pub cs: u64,
    /// Flags.
    pub rflags: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// Stack selector.
    pub ss: u64,
    /// `rax rcx rdx rbx rsi rdi`.
    pub registers: [u64; 6],
    /// Data selectors: `ds`, `es`.
    pub data: [u64; 2],
    /// Events are masked; the root is the user's.
    pub flags: u64,
}

impl Default for Context {
    /// 32-bit code of user mode.
    fn default() -> Self {
        Context {
            rip: BASE,
            cs: 0xe023,
            rflags: 0x202,
            rsp: STACK - 256,
            ss: 0xe02b,
            registers: [0, 0, 0, 0, DATA, DATA],
            data: [0xe02b, 0xe02b],
            flags: 0,
        }
    }
}

/// Runs code with its registers.
pub fn run(context: &Context, code: &[u8]) -> Outcome {
    // What comes behind the code is INT3 all over.
    write(0, 0, &[0xcc; 512]);
    write(0, 0, code);
    enter(context)
}

/// Enters what is in the first page already.
pub fn enter(context: &Context) -> Outcome {
    let mask = shared::mask();
    // SAFETY: a trap is caught, and what the code does otherwise is the caller's to know.
    unsafe {
        core::arch::asm!(
            "mov qword ptr [rip + CONFORMANCE_RECORD + 24], -1",
            "lea rax, [rip + 2f]",
            "mov [rip + CONFORMANCE_RECORD], rax",
            "mov rax, [r9]",
            "mov [rip + CONFORMANCE_RECORD + 16], rax",
            "push rbx",
            "push rbp",
            "mov [rip + CONFORMANCE_RECORD + 8], rsp",
            "mov rcx, [r9 + 88]",
            "mov ds, ecx",
            "mov rcx, [r9 + 96]",
            "mov es, ecx",
            "push qword ptr [r9 + 32]",
            "push qword ptr [r9 + 24]",
            "push qword ptr [r9 + 16]",
            "push qword ptr [r9 + 8]",
            "push qword ptr [r9]",
            "push qword ptr [r9 + 104]",
            "push qword ptr [r9 + 48]",
            "push 0x1111",
            "push qword ptr [r9 + 40]",
            "mov rdx, [r9 + 56]",
            "mov rbx, [r9 + 64]",
            "mov rsi, [r9 + 72]",
            "mov rdi, [r9 + 80]",
            "xor ebp, ebp",
            "mov eax, 23",
            "syscall",
            "2:",
            "pop rbp",
            "pop rbx",
            "xor eax, eax",
            "mov ds, eax",
            "mov es, eax",
            inout("r9") core::ptr::from_ref(context) => _,
            out("rax") _, out("rcx") _, out("rdx") _, out("rsi") _, out("rdi") _, out("r8") _, out("r10") _,
            out("r11") _, out("r12") _, out("r13") _, out("r14") _, out("r15") _,
        );
    }
    let mut outcome = trap::outcome(mask);
    if let Some(trap) = &mut outcome.0 {
        trap.before = context.rsp;
    }
    outcome
}
