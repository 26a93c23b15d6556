//! What each physical CPU has for itself.
//!
//! GS base points to it while the hypervisor runs; while a guest runs, the register that SWAPGS exchanges holds it. The entry
//! code knows the offsets of the first fields. Only the CPU itself touches the rest, with interrupts off, hence the cells.

use core::alloc::Layout;
use core::cell::Cell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use alloc::sync::Arc;
use spin::MutexGuard;
use xen_lite_core::addr::CpuId;
use xen_lite_core::domain::{Domain, Vcpu, VcpuState};
use xen_lite_core::effects::Effects;
use xen_lite_core::fail::Why;

use super::descriptors::Tss;
use crate::layout::MAX_CPUS;
use crate::memory::{CpuMemory, direct};

/// Data of one CPU.
#[repr(C, align(64))]
pub struct PerCpu {
    /// Its own address, to be found through GS.
    this: Cell<*const PerCpu>,
    /// Top of the hypervisor's stack on this CPU.
    pub stack: Cell<u64>,
    /// End of the running vCPU's registers: where the CPU pushes its frame. The same as `tss.rsp[0]`.
    pub registers_end: Cell<u64>,
    /// One word for the entry code.
    scratch: Cell<u64>,
    /// RCX of the guest, while the hypercall `iret` uses the register.
    saved_rcx: Cell<u64>,
    /// R11 of the guest, likewise.
    saved_r11: Cell<u64>,
    /// The first two bytes of the running vCPU's `vcpu_info`, or a word that says that nothing is pending and all is masked.
    info: Cell<*const AtomicU64>,
    /// The running vCPU's `pending`.
    pending: Cell<*const AtomicU32>,
    /// The running vCPU's domain's `vm_assist`; for a vCPU without `vcpu_info` a word with all bits set.
    assists: Cell<*const AtomicU64>,
    running: core::cell::UnsafeCell<Option<Running>>,
    /// Its number.
    pub id: CpuId,
    /// Its local APIC's number.
    pub apic_id: u32,
    /// GDT frames that the window maps for the running vCPU.
    pub gdt_frames: Cell<usize>,
    /// LDT pages that the window maps for the running vCPU.
    pub ldt_mapped: Cell<u32>,
    /// What CR0 holds besides the constant bits.
    pub ts: Cell<bool>,
    /// Whether debug registers hold breakpoints of a guest.
    pub debug_armed: Cell<bool>,
    /// XCR0 as loaded.
    pub xcr0: Cell<u64>,
    /// The root that CR3 holds (machine address).
    pub root: Cell<u64>,
    /// TSC_AUX as loaded.
    pub tsc_aux: Cell<u32>,
    /// What interrupts asked for while the CPU was idle.
    pub idle_effects: Cell<Effects>,
    /// What a SYSCALL led to, between its short and its long part.
    pub unfinished: Cell<Result<Effects, Why>>,
    /// The root that the running vCPU goes on with, if it is not [`PerCpu::root`]; else 0 ([`crate::memory::split`]).
    pub guest_root: Cell<u64>,
    /// Top of the stack on which guarded entries begin; 0 without them.
    pub small_stack: Cell<u64>,
    /// What guarded entries and exits do: bits of [`xen_lite_core::speculation::Steps`].
    pub steps: Cell<u32>,
    /// `IA32_SPEC_CTRL` of the hypervisor.
    pub own_spec_ctrl: Cell<u32>,
    /// `IA32_SPEC_CTRL` of the running vCPU.
    pub guest_spec_ctrl: Cell<u32>,
    /// Memory that is set aside for its next allocation of that layout ([`crate::heap`]).
    pub aside: Cell<Option<(Layout, NonNull<u8>)>>,
    /// A selector for VERW.
    verw_selector: Cell<u16>,
    /// Task state: stacks for exceptions.
    pub tss: core::cell::UnsafeCell<Tss>,
}

/// Offsets for the entry code.
pub mod offset {
    use super::PerCpu;
    /// Of [`PerCpu::stack`].
    pub const STACK: usize = core::mem::offset_of!(PerCpu, stack);
    /// Of [`PerCpu::registers_end`].
    pub const REGISTERS_END: usize = core::mem::offset_of!(PerCpu, registers_end);
    /// Of the scratch word.
    pub const SCRATCH: usize = core::mem::offset_of!(PerCpu, scratch);
    /// Of the words that hold RCX and R11.
    pub const SAVED_RCX: usize = core::mem::offset_of!(PerCpu, saved_rcx);
    /// See [`SAVED_RCX`].
    pub const SAVED_R11: usize = core::mem::offset_of!(PerCpu, saved_r11);
    /// Of the pointer to `vcpu_info`.
    pub const INFO: usize = core::mem::offset_of!(PerCpu, info);
    /// Of the pointer to `Vcpu::pending`.
    pub const PENDING: usize = core::mem::offset_of!(PerCpu, pending);
    /// Of the pointer to `Domain::vm_assist`.
    pub const ASSISTS: usize = core::mem::offset_of!(PerCpu, assists);
    /// Of [`PerCpu::root`].
    pub const ROOT: usize = core::mem::offset_of!(PerCpu, root);
    /// Of [`PerCpu::guest_root`].
    pub const GUEST_ROOT: usize = core::mem::offset_of!(PerCpu, guest_root);
    /// Of [`PerCpu::small_stack`].
    pub const SMALL_STACK: usize = core::mem::offset_of!(PerCpu, small_stack);
    /// Of [`PerCpu::steps`].
    pub const STEPS: usize = core::mem::offset_of!(PerCpu, steps);
    /// Of [`PerCpu::own_spec_ctrl`].
    pub const OWN_SPEC_CTRL: usize = core::mem::offset_of!(PerCpu, own_spec_ctrl);
    /// Of [`PerCpu::guest_spec_ctrl`].
    pub const GUEST_SPEC_CTRL: usize = core::mem::offset_of!(PerCpu, guest_spec_ctrl);
    /// Of the selector for VERW.
    pub const VERW_SELECTOR: usize = core::mem::offset_of!(PerCpu, verw_selector);
}

/// Where in the gate page the stacks begin on which guarded entries of exceptions with stacks of their own start, and bytes of
/// each. The page ends in the stack for all others.
pub const SMALL_STACKS: u64 = 1024;
/// See [`SMALL_STACKS`].
pub const SMALL_STACK_SIZE: u64 = 512;
const _: () = assert!(size_of::<PerCpu>() <= SMALL_STACKS as usize);

// SAFETY: S-05: other CPUs only read what does not change after bring-up (id, apic_id).
unsafe impl Sync for PerCpu {}

/// For vCPUs without `vcpu_info`: nothing pending, all masked.
static NO_INFO: AtomicU64 = AtomicU64::new(1 << 8);
/// While no vCPU runs.
static NO_PENDING: AtomicU32 = AtomicU32::new(0);
/// For vCPUs without `vcpu_info`: sends their `iret` the long way, which does not write there.
static ALL_ASSISTS: AtomicU64 = AtomicU64::new(u64::MAX);

static CPUS: [AtomicPtr<PerCpu>; MAX_CPUS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS];
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Number of CPUs that run.
#[inline(always)]
pub fn count() -> u32 {
    COUNT.load(Ordering::Relaxed)
}

/// The data of another CPU; `None` when there is no such CPU.
pub fn of(id: CpuId) -> Option<&'static PerCpu> {
    let pointer = CPUS.get(id.index())?.load(Ordering::Acquire);
    // SAFETY: S-05: non-null entries point to gate pages, which stay.
    unsafe { pointer.as_ref() }
}

impl PerCpu {
    /// Makes the data of one CPU, at the beginning of its gate page; it is never freed. Each exception stack gets its address at
    /// the top, where the entry code looks for it.
    pub fn create(id: CpuId, apic_id: u32, own: &CpuMemory) -> &'static PerCpu {
        let new = PerCpu {
            this: Cell::new(core::ptr::null()),
            stack: Cell::new(own.stack),
            registers_end: Cell::new(0),
            scratch: Cell::new(0),
            saved_rcx: Cell::new(0),
            saved_r11: Cell::new(0),
            info: Cell::new(&raw const NO_INFO),
            pending: Cell::new(&raw const NO_PENDING),
            assists: Cell::new(&raw const ALL_ASSISTS),
            running: core::cell::UnsafeCell::new(None),
            id,
            apic_id,
            gdt_frames: Cell::new(0),
            ldt_mapped: Cell::new(0),
            ts: Cell::new(false),
            debug_armed: Cell::new(false),
            xcr0: Cell::new(0),
            root: Cell::new(0),
            tsc_aux: Cell::new(0),
            idle_effects: Cell::new(Effects::NONE),
            unfinished: Cell::new(Ok(Effects::NONE)),
            guest_root: Cell::new(0),
            small_stack: Cell::new(0),
            steps: Cell::new(0),
            own_spec_ctrl: Cell::new(0),
            guest_spec_ctrl: Cell::new(0),
            aside: Cell::new(None),
            verw_selector: Cell::new(super::descriptors::HYPERVISOR_DS),
            tss: core::cell::UnsafeCell::new(Tss::new()),
        };
        let at = own.gate as *mut PerCpu;
        // SAFETY: S-05: a page of this CPU's own, mapped for good; nobody else refers to it yet.
        let cpu = unsafe {
            at.write(new);
            &*at
        };
        cpu.this.set(cpu);
        for (ist, &top) in own.exception_stacks.iter().enumerate() {
            // SAFETY: S-05: the CPU does not use them yet; the top word of each of its stacks is mapped and its own.
            unsafe {
                *(top as *mut u128) = core::ptr::from_ref(cpu) as u128;
                (*cpu.tss.get()).ist[ist] = top;
            }
        }
        CPUS[id.index()].store(core::ptr::from_ref(cpu).cast_mut(), Ordering::Release);
        cpu
    }

    /// Counts the CPU among those that run; once its GS base is set.
    pub fn announce(&self) {
        COUNT.fetch_add(1, Ordering::Release);
    }

    /// The calling CPU's.
    #[inline(always)]
    pub fn get() -> &'static PerCpu {
        let this: *const PerCpu;
        // SAFETY: S-05: GS base points to this CPU's data whenever Rust code runs, and its first word is its address.
        unsafe {
            core::arch::asm!("mov {}, gs:[0]", out(reg) this, options(nostack, preserves_flags, pure, readonly));
            &*this
        }
    }

    /// Whether the calling CPU has its data yet.
    pub fn is_ready() -> bool {
        count() > 0
    }

    /// The running vCPU and its domain; `None` when idle.
    #[inline(always)]
    pub fn running(&self) -> Option<&Running> {
        // SAFETY: S-06: only `switch_to` of this CPU changes it, and no borrow is alive then.
        unsafe { (*self.running.get()).as_ref() }
    }

    /// As [`PerCpu::running`], where there is a running vCPU for sure.
    ///
    /// # Safety
    /// S-06: a guest ran on this CPU until the entry into the hypervisor, and nothing has exchanged it since.
    #[inline(always)]
    pub unsafe fn running_now(&self) -> &Running {
        // SAFETY: S-06: as for `running`; a guest runs only while there is a running vCPU.
        unsafe { (*self.running.get()).as_ref().unwrap_unchecked() }
    }

    /// Notes where the exits look for what is pending for the running vCPU: when it becomes the running one, and when its
    /// `vcpu_info` has moved.
    pub fn watch(&self, domain: &Domain, vcpu: &Vcpu) {
        self.pending.set(&raw const vcpu.pending);
        match vcpu.info() {
            Some(at) => {
                self.info.set(direct::word_at(at.raw()));
                self.assists.set(&raw const domain.vm_assist);
            }
            None => {
                self.info.set(&raw const NO_INFO);
                self.assists.set(&raw const ALL_ASSISTS);
            }
        }
    }

    /// The first word of the running vCPU's `vcpu_info`; of a vCPU that has none: nothing pending, all masked.
    #[inline(always)]
    pub fn info_flags() -> u64 {
        let info: *const AtomicU64;
        // SAFETY: S-05: GS base points to this CPU's data whenever Rust code runs. S-06: what `watch` noted stays for as long
        // as the vCPU runs: the frame of a `vcpu_info` is given back when its vCPU runs no more.
        unsafe {
            core::arch::asm!("mov {}, gs:[{}]", out(reg) info, const offset::INFO,
                options(nostack, preserves_flags, readonly));
            (*info).load(Ordering::Acquire)
        }
    }

    /// Sets the byte `evtchn_upcall_mask` of the running vCPU's `vcpu_info`. That of a vCPU that has none is set already.
    #[inline(always)]
    pub fn mask_events() {
        // SAFETY: S-05, S-06: as for `info_flags`. The guest may write the bytes beside it meanwhile, so just one byte is written.
        unsafe {
            core::arch::asm!("mov {0}, gs:[{1}]", "mov byte ptr [{0} + 1], 1", out(reg) _, const offset::INFO,
                options(nostack, preserves_flags));
        }
    }

    /// Has the CPU push its frames at the end of the running vCPU's registers; with guarded entries, they come there later.
    #[inline]
    pub fn set_registers_end(&self, end: u64) {
        self.registers_end.set(end);
        let small = self.small_stack.get();
        // SAFETY: S-05: the TSS is this CPU's own; the CPU reads it when it enters ring 0, not before.
        unsafe { (*self.tss.get()).rsp[0] = if small == 0 { end } else { small } };
        if small != 0 {
            self.scratch.set(0);
            crate::entry::guarded::forget(self);
        }
    }

    /// Exchanges the running vCPU; returns the former.
    ///
    /// # Safety
    /// S-06: the caller is this CPU, and nothing borrowed from [`PerCpu::running`] is alive.
    pub unsafe fn set_running(&self, running: Option<Running>) -> Option<Running> {
        // SAFETY: S-06: as the caller promises.
        unsafe { core::mem::replace(&mut *self.running.get(), running) }
    }
}

/// A vCPU on a CPU. Its state's mutex is held, without a guard, while it is here.
pub struct Running {
    /// Its domain.
    pub domain: Arc<Domain>,
    /// The vCPU.
    pub vcpu: Arc<Vcpu>,
    /// Its state, in the locked mutex.
    pub state: *mut VcpuState,
}

impl Running {
    /// Locks the state of a vCPU for as long as it runs, if nobody has it.
    #[inline]
    pub fn try_lock(domain: &Arc<Domain>, vcpu: &Arc<Vcpu>) -> Option<Running> {
        let state: *mut VcpuState = MutexGuard::leak(vcpu.state.try_lock()?);
        Some(Running { domain: domain.clone(), vcpu: vcpu.clone(), state })
    }

    /// The same, waiting for it. Whoever holds it lets go soon: the CPU that ran the vCPU before is about to run another, and all
    /// others only try the lock, and look at vCPUs that do not run. The calling CPU must hold no other vCPU's state meanwhile:
    /// two CPUs may want to exchange their vCPUs.
    pub fn lock(domain: &Arc<Domain>, vcpu: &Arc<Vcpu>) -> Running {
        let state: *mut VcpuState = MutexGuard::leak(vcpu.state.lock());
        Running { domain: domain.clone(), vcpu: vcpu.clone(), state }
    }
}
