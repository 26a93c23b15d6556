//! A virtual CPU: what belongs to whoever runs it, and what everybody may touch.
//!
//! [`VcpuState`] is the registers and tables that only the CPU running the vCPU changes. It sits in a mutex that is **held
//! for as long as the vCPU runs**; anybody else (a toolstack that reads the context of a paused vCPU) uses `try_lock` and gets
//! it only when the vCPU is off the CPU. Everything else in [`Vcpu`] is atomic or has a lock of its own.

use crate::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};

use crate::sync::Mutex;

use super::Domain;
use crate::addr::{MachineAddr, Mfn, VcpuId};
use crate::fail::Errno;
use crate::room;

/// Frames of a guest's GDT at most; above them are the hypervisor's own entries (`FIRST_RESERVED_GDT_PAGE`).
pub const GDT_FRAMES: usize = 14;

/// Frames of an LDT at most: 8192 entries.
pub const LDT_FRAMES: usize = 16;

/// General registers in the order of the public `struct cpu_user_regs`, which is also the order in which the entry code saves
/// them: the CPU pushes `ss` to `rip` itself, and first aligns its stack pointer to 16 bytes. `pad` makes that the end of this.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the registers' own names")]
pub struct Registers {
    pub pad: u64,
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub error_code: u32,
    pub vector: u32,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// Which of a PV guest's two page-table roots is in use: both run in ring 3, told apart by the hypervisor alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// The guest's kernel.
    Kernel = 1,
    /// The guest's user processes.
    User = 0,
}

/// A handler in the guest's trap table (`struct trap_info`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrapHandler {
    /// Address of the handler; 0 with selector 0 is none.
    pub address: u64,
    /// Code selector.
    pub cs: u16,
    /// Ring from which `int n` may reach it.
    pub dpl: u8,
    /// Whether events are masked on entry.
    pub mask_events: bool,
}

/// A callback registered with `callback_op`; address 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Callback {
    /// Address of the guest's code.
    pub address: u64,
    /// Whether events are masked on entry.
    pub mask_events: bool,
}

/// The callbacks of `callback_op` (callback.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "CALLBACKTYPE_* of callback.h")]
pub struct Callbacks {
    pub event: Callback,
    pub failsafe: Callback,
    pub syscall: Callback,
    pub syscall32: Callback,
    pub sysenter: Callback,
}

/// Selectors loaded while the guest runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the registers' own names")]
pub struct Selectors {
    pub ds: u16,
    pub es: u16,
    pub fs: u16,
    pub gs: u16,
}

/// What only the CPU that runs a vCPU changes.
#[derive(Debug)]
pub struct VcpuState {
    /// General registers, saved on entry to the hypervisor. First field: the entry code finds it at offset 0.
    pub regs: Registers,
    /// Kernel or user.
    pub mode: Mode,
    /// Data selectors; valid while not running.
    pub selectors: Selectors,
    /// FS base; valid while not running.
    pub fs_base: u64,
    /// GS base in use; valid while not running.
    pub gs_base: u64,
    /// GS base of the other mode (what the guest's kernel calls KERNEL_GS_BASE); always valid.
    pub gs_base_other: u64,
    /// Stack of the guest's kernel (`stack_switch`): SS.
    pub kernel_ss: u16,
    /// Stack of the guest's kernel (`stack_switch`): RSP.
    pub kernel_sp: u64,
    /// Root table of the guest's kernel; [`Mfn::INVALID`] before initialisation.
    pub kernel_root: Mfn,
    /// Root table of the guest's user mode; [`Mfn::INVALID`] when none was given.
    pub user_root: Mfn,
    /// A page table whose taking apart was interrupted; to be finished before the next change of page tables.
    pub unfinished_table: Option<Mfn>,
    /// Another one: a list of updates can leave the table below an entry, and the table itself, if another vCPU unpinned that.
    pub(crate) unfinished_too: Option<Mfn>,
    /// CR0 as the guest sees it (only TS varies).
    pub cr0: u64,
    /// CR2 of the last page fault delivered.
    pub cr2: u64,
    /// CR4 bits as the guest sees them.
    pub cr4: u64,
    /// Virtual I/O privilege level, 0 to 3 (`PHYSDEVOP_set_iopl`).
    pub iopl: u8,
    /// I/O permission bitmap: guest address and number of ports (`PHYSDEVOP_set_iobitmap`).
    pub io_bitmap: (u64, u32),
    /// Debug registers 0 to 7.
    pub debug: [u64; 8],
    /// Whether an NMI was delivered, and no `iret` hypercall came since.
    pub in_nmi: bool,
    /// The guest's IDT.
    pub traps: Box<[TrapHandler; 256]>,
    /// Callbacks.
    pub callbacks: Callbacks,
    /// Frames of the guest's GDT, [`Mfn::INVALID`] where there is none. Each holds a descriptor-page type count.
    pub gdt: [Mfn; GDT_FRAMES],
    /// Number of GDT entries that the guest gave.
    pub gdt_entries: u32,
    /// LDT base (guest address).
    pub ldt_base: u64,
    /// LDT entries, at most 8192.
    pub ldt_entries: u32,
    /// Frames of the LDT that are in use, [`Mfn::INVALID`] where none is. Each holds a descriptor-page type count.
    pub ldt: [Mfn; LDT_FRAMES],
    /// XCR0 as the guest set it.
    pub xcr0: u64,
    /// MSR TSC_AUX as the guest set it.
    pub tsc_aux: u32,
    /// `IA32_SPEC_CTRL`, loaded when the vCPU runs.
    pub spec_ctrl: u32,
    /// Floating-point and vector state in the format of XSAVE (or FXSAVE where there is no XSAVE).
    pub fpu: FpuArea,
}

/// Room for XSAVE state, aligned as the instruction demands. The image asks for the size that CPUID leaf 0xd names.
#[derive(Debug, Default)]
pub struct FpuArea {
    blocks: Box<[FpuBlock]>,
}

/// 64 bytes, the alignment of XSAVE.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct FpuBlock(pub [u8; 64]);

impl FpuArea {
    /// An area of at least `bytes` bytes in the state after power-on.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(bytes: usize) -> Result<FpuArea, Errno> {
        let mut area = FpuArea { blocks: room::filled(FpuBlock([0; 64]), bytes.max(576).div_ceil(64))? };
        area.reset();
        Ok(area)
    }
    /// Brings it into the state after power-on: FCW 0x37f, MXCSR 0x1f80, the rest zero.
    pub fn reset(&mut self) {
        self.blocks.fill(FpuBlock([0; 64]));
        if let Some(FpuBlock(first)) = self.blocks.first_mut() {
            first[..2].copy_from_slice(&0x37fu16.to_le_bytes());
            first[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
        }
    }
    /// The blocks.
    pub fn blocks(&self) -> &[FpuBlock] {
        &self.blocks
    }
    /// The blocks, to be written.
    pub fn blocks_mut(&mut self) -> &mut [FpuBlock] {
        &mut self.blocks
    }
}

impl VcpuState {
    /// A vCPU that has never run; `fpu_bytes` is the size of the XSAVE area.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(fpu_bytes: usize) -> Result<VcpuState, Errno> {
        let traps = room::filled(TrapHandler::default(), 256)?;
        Ok(VcpuState {
            regs: Registers::default(),
            mode: Mode::Kernel,
            selectors: Selectors::default(),
            fs_base: 0,
            gs_base: 0,
            gs_base_other: 0,
            kernel_ss: 0,
            kernel_sp: 0,
            kernel_root: Mfn::INVALID,
            user_root: Mfn::INVALID,
            unfinished_table: None,
            unfinished_too: None,
            cr0: 0x8005_0033,
            cr2: 0,
            cr4: 0,
            iopl: 0,
            io_bitmap: (0, 0),
            debug: [0, 0, 0, 0, 0, 0, 0xffff_0ff0, 0x400],
            in_nmi: false,
            traps: traps.try_into().map_err(|_| Errno::ENOMEM)?,
            callbacks: Callbacks::default(),
            gdt: [Mfn::INVALID; GDT_FRAMES],
            gdt_entries: 0,
            ldt_base: 0,
            ldt_entries: 0,
            ldt: [Mfn::INVALID; LDT_FRAMES],
            xcr0: 3,
            tsc_aux: 0,
            spec_ctrl: 0,
            fpu: FpuArea::new(fpu_bytes)?,
        })
    }

    /// The root that CR3 must hold for the present mode.
    pub fn root(&self) -> Mfn {
        match self.mode {
            Mode::Kernel => self.kernel_root,
            Mode::User => self.user_root,
        }
    }
}

/// A virtual CPU.
#[derive(Debug)]
pub struct Vcpu {
    /// Its number in the domain.
    pub id: VcpuId,
    /// Its domain. Weak: the domain owns its vCPUs.
    pub domain: Weak<Domain>,
    /// What only the CPU running it changes; locked while it runs.
    pub state: Mutex<VcpuState>,
    /// Machine address of its `vcpu_info`; `u64::MAX` when it has none.
    info: AtomicU64,
    /// Whether `VCPUOP_initialise` (or the builder) gave it a context.
    pub initialised: AtomicU8,
    /// Set bits of [`Pending`].
    pub pending: AtomicU32,
    /// Scheduling state.
    pub sched: crate::sched::VcpuSched,
    /// Timers and time areas.
    pub time: crate::time::VcpuTime,
    /// Event-channel state of this vCPU.
    pub events: crate::event::VcpuEvents,
}

bitflags::bitflags! {
    /// Things to look at before a vCPU re-enters its guest.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Pending: u32 {
        /// A non-maskable interrupt is to be delivered.
        const NMI = 1 << 0;
        /// Another vCPU set one of its timers, which its own CPU must take into its list.
        const TIMER = 1 << 1;
    }
}

impl Vcpu {
    /// A vCPU of `domain` that is down.
    pub fn new(id: VcpuId, domain: &Arc<Domain>, state: VcpuState) -> Vcpu {
        Vcpu {
            id,
            domain: Arc::downgrade(domain),
            state: Mutex::new(state),
            info: AtomicU64::new(u64::MAX),
            initialised: AtomicU8::new(0),
            pending: AtomicU32::new(0),
            sched: crate::sched::VcpuSched::new(domain.share.clone()),
            time: crate::time::VcpuTime::default(),
            events: crate::event::VcpuEvents::default(),
        }
    }

    /// Where its `vcpu_info` lies, if it has one. The frame is referenced by whoever set it.
    #[inline(always)]
    pub fn info(&self) -> Option<MachineAddr> {
        match self.info.load(Ordering::Acquire) {
            u64::MAX => None,
            address => Some(MachineAddr::new(address)),
        }
    }

    /// Moves its `vcpu_info`.
    pub fn set_info(&self, address: Option<MachineAddr>) {
        self.info.store(address.map_or(u64::MAX, MachineAddr::raw), Ordering::Release);
    }
}
