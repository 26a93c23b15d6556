//! User mode: the way there, and the ways back.
//!
//! A PV kernel and its user mode both run in ring 3; what tells them apart is which top-level page table is loaded. The kernel names
//! the second one (`MMUEXT_NEW_USER_BASEPTR`), and the hypercall `iret` with a code selector of ring 3 switches to it. The hypervisor
//! switches back for every trap, event and SYSCALL, on the stack that `stack_switch` named.
//!
//! [`enter`] names its own stack pointer there, so what comes from user mode is pushed right below its frame. The stubs build a
//! [`TrapFrame`] as always, the dispatcher sees ring 3 in it and calls [`leave`], which copies the frame to where `enter`'s caller
//! wants it; then the stub continues at `enter`'s end, as if it had been a function call.
//!
//! Per vCPU there is one word, the stack pointer of an `enter` that is under way; 0 if there is none.

use super::{TrapFrame, call, cpuid, stubs};
use abi::{
    callback::{CALLBACKOP_REGISTER, CALLBACKTYPE_SYSCALL, CallbackRegister},
    errno::Errno,
    xen::{
        DOMID_SELF, FLAT_KERNEL_SS64, FLAT_USER_CS64, FLAT_USER_SS64, MMUEXT_NEW_USER_BASEPTR, MmuextOp,
        SEGBASE_FS, SEGBASE_GS_USER, hypercall,
    },
};
use alloc::boxed::Box;
use core::{
    arch::{asm, global_asm},
    ffi::c_void,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use crate::vcpu::MAX_VCPUS;

/// Flags of user mode that a program may choose; the others are as the kernel says.
const FREE_FLAGS: u64 = 0x0024_0cd5;
/// Events reach user mode.
const FLAG_IF: u64 = 1 << 9;

/// Stack pointers of those `enter`s that are under way.
static ENTERED: [AtomicU64; MAX_VCPUS] = [const { AtomicU64::new(0) }; MAX_VCPUS];
/// The user root that each vCPU has, 0 for none.
static ROOTS: [AtomicU64; MAX_VCPUS] = [const { AtomicU64::new(0) }; MAX_VCPUS];
/// On which vCPUs SYSCALL leads to its stub.
static SYSCALLS: [AtomicBool; MAX_VCPUS] = [const { AtomicBool::new(false) }; MAX_VCPUS];

global_asm!(
    ".section .text.user_enter, \"ax\", @progbits",
    ".globl user_enter",
    // rdi: the context, whose first part is a TrapFrame; rsi: where the stack pointer goes.
    "user_enter:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "push rdi",
    "mov [rsi], rsp",
    "mov edi, {kernel_ss}",
    "mov rsi, rsp",
    "mov eax, {stack_switch}",
    "syscall",
    "mov rdi, [rsp]",
    // The frame of the hypercall `iret`.
    "push qword ptr [rdi + 168]",
    "push qword ptr [rdi + 160]",
    "push qword ptr [rdi + 152]",
    "push qword ptr [rdi + 144]",
    "push qword ptr [rdi + 136]",
    "push 0",
    "push qword ptr [rdi + 88]",
    "push qword ptr [rdi + 48]",
    "push qword ptr [rdi + 80]",
    "mov r15, [rdi]",
    "mov r14, [rdi + 8]",
    "mov r13, [rdi + 16]",
    "mov r12, [rdi + 24]",
    "mov rbp, [rdi + 32]",
    "mov rbx, [rdi + 40]",
    "mov r10, [rdi + 56]",
    "mov r9, [rdi + 64]",
    "mov r8, [rdi + 72]",
    "mov rdx, [rdi + 96]",
    "mov rsi, [rdi + 104]",
    "mov rdi, [rdi + 112]",
    "mov eax, {iret}",
    "syscall",
    "ud2",
    // The stubs come here with the stack pointer of above.
    ".globl user_leave",
    "user_leave:",
    "pop rdi",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    kernel_ss = const FLAT_KERNEL_SS64,
    stack_switch = const hypercall::STACK_SWITCH,
    iret = const hypercall::IRET,
);

unsafe extern "C" {
    fn user_enter(context: *mut c_void, entered: *const AtomicU64);
}

/// What a program in user mode leaves behind when it stops, and finds again when it goes on.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct UserContext {
    /// Its registers. `vector` tells why it stopped.
    pub registers: TrapFrame,
    /// The address of a page fault.
    pub fault_address: u64,
    /// Bases of the segments that programs keep their threads' data in.
    pub fs_base: u64,
    pub gs_base: u64,
    vector_state: VectorState,
}

impl UserContext {
    /// A program that begins at `rip`, all other registers zero.
    pub fn new(rip: u64, rsp: u64) -> Self {
        let registers = TrapFrame {
            rip,
            rsp,
            cs: u64::from(FLAT_USER_CS64),
            ss: u64::from(FLAT_USER_SS64),
            rflags: FLAG_IF,
            ..TrapFrame::default()
        };
        Self { registers, fault_address: 0, fs_base: 0, gs_base: 0, vector_state: VectorState::new() }
    }
}

/// Lets the program go on in the address space under `root` until it stops for any reason.
pub(crate) fn enter(context: &mut UserContext, root: u64) -> Result<(), Errno> {
    let vcpu = super::vcpu_index();
    prepare(vcpu, root)?;
    for (which, base) in [(SEGBASE_FS, context.fs_base), (SEGBASE_GS_USER, context.gs_base)] {
        call(hypercall::SET_SEGMENT_BASE, [u64::from(which), base, 0, 0, 0])?;
    }
    let registers = &mut context.registers;
    registers.cs = u64::from(FLAT_USER_CS64);
    registers.ss = u64::from(FLAT_USER_SS64);
    registers.rflags = (registers.rflags & FREE_FLAGS) | FLAG_IF;
    context.vector_state.load();
    let entered = &ENTERED[vcpu];
    // SAFETY: the code runs on page tables that hold nothing of the kernel's, so whatever it does, it changes only the memory that was
    // mapped there and the registers saved here; `leave` writes the context, which lives until this returns.
    unsafe { user_enter(core::ptr::from_mut(context).cast(), entered) };
    context.vector_state.save();
    Ok(())
}

fn prepare(vcpu: usize, root: u64) -> Result<(), Errno> {
    if !SYSCALLS[vcpu].load(Ordering::Relaxed) {
        let address = stubs::syscall_stub();
        let argument = CallbackRegister { type_: CALLBACKTYPE_SYSCALL, address, ..Default::default() };
        let pointer = (&raw const argument).expose_provenance() as u64;
        call(hypercall::CALLBACK_OP, [u64::from(CALLBACKOP_REGISTER), pointer, 0, 0, 0])?;
        SYSCALLS[vcpu].store(true, Ordering::Relaxed);
    }
    if ROOTS[vcpu].load(Ordering::Relaxed) != root {
        set_root(vcpu, root)?;
    }
    Ok(())
}

fn set_root(vcpu: usize, root: u64) -> Result<(), Errno> {
    let mut argument = MmuextOp { cmd: MMUEXT_NEW_USER_BASEPTR, ..MmuextOp::default() };
    argument.set_mfn(root);
    let pointer = (&raw const argument).expose_provenance() as u64;
    call(hypercall::MMUEXT_OP, [pointer, 1, 0, u64::from(DOMID_SELF), 0])?;
    ROOTS[vcpu].store(root, Ordering::Relaxed);
    Ok(())
}

/// Takes the user root of this vCPU away, so that its tables can be dissolved.
pub(crate) fn forget_root() {
    let vcpu = super::vcpu_index();
    if ROOTS[vcpu].load(Ordering::Relaxed) != 0 {
        let result = set_root(vcpu, 0);
        debug_assert!(result.is_ok(), "taking the user root away was refused: {result:?}");
    }
}

/// Numbers the user roots as the domain does, for the time in which machine frames may change. Only one vCPU runs.
pub(super) fn release_roots() {
    for root in &ROOTS {
        let pfn = super::machine_to_pfn(root.load(Ordering::Relaxed));
        root.store(pfn.unwrap_or(0), Ordering::Relaxed);
    }
}

/// Undoes [`release_roots`], with the machine frames of now.
pub(super) fn recall_roots() {
    for root in &ROOTS {
        let pfn = root.load(Ordering::Relaxed);
        root.store(if pfn == 0 { 0 } else { super::pfn_to_machine(pfn) }, Ordering::Relaxed);
    }
}

/// Called by the dispatcher for a frame of user mode: the stack pointer with which to end `enter`; 0 if none is under way.
pub(super) fn leave(frame: &TrapFrame) -> u64 {
    let rsp = ENTERED[super::vcpu_index()].swap(0, Ordering::Relaxed);
    if rsp == 0 {
        return 0;
    }
    let slot = core::ptr::with_exposed_provenance::<*mut UserContext>(rsp as usize);
    // SAFETY: `user_enter` pushed the pointer to its caller's context there, and waits below this frame on the same stack.
    let context = unsafe { &mut *slot.read() };
    context.registers.clone_from(frame);
    if frame.vector == u64::from(abi::trap::PAGE_FAULT) {
        context.fault_address = crate::traps::fault_address();
    }
    rsp
}

/// Bytes of the area that XSAVE may fill. What is beyond (tiles) is not asked for.
const AREA: usize = 4096;
/// The components that are kept: x87, SSE, AVX, AVX-512, protection keys.
const COMPONENTS: u32 = 0x2e7;

#[repr(C, align(64))]
#[derive(Debug)]
struct Area([u8; AREA]);

/// The registers of SSE and its successors. The kernel itself uses none of them.
#[repr(C)]
#[derive(Debug)]
struct VectorState {
    area: Box<Area>,
    extended: bool,
}

impl VectorState {
    fn new() -> Self {
        /// Bit of CPUID leaf 1, `ecx`: XSAVE is there and turned on.
        const OSXSAVE: u32 = 1 << 27;
        let mut area = Box::new(Area([0; AREA]));
        // Control words as after a reset: all exceptions masked.
        area.0[..2].copy_from_slice(&0x037f_u16.to_le_bytes());
        area.0[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
        let extended = cpuid(1, 0)[2] & OSXSAVE != 0;
        Self { area, extended }
    }

    fn load(&self) {
        let area = self.area.0.as_ptr();
        // SAFETY: an aligned area of sufficient size that `new` or `save` filled; the kernel's own code uses none of these registers.
        unsafe {
            if self.extended {
                asm!("xrstor64 [{}]", in(reg) area, in("eax") COMPONENTS, in("edx") 0, options(nostack));
            } else {
                asm!("fxrstor64 [{}]", in(reg) area, options(nostack));
            }
        }
    }

    fn save(&mut self) {
        let area = self.area.0.as_mut_ptr();
        // SAFETY: as for `load`.
        unsafe {
            if self.extended {
                asm!("xsave64 [{}]", in(reg) area, in("eax") COMPONENTS, in("edx") 0, options(nostack));
            } else {
                asm!("fxsave64 [{}]", in(reg) area, options(nostack));
            }
        }
    }
}
