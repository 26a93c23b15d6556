//! The machine, as the core sees it.

use core::alloc::Layout;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use xen_lite_core::addr::{CpuId, GuestVirt, MachineAddr, Mfn, PAGE_SIZE};
use xen_lite_core::domain::{Selectors, Vcpu};
use xen_lite_core::effects::Effects;
use xen_lite_core::platform::{BaseOf, Clock, Fault, Flush, Platform, Power};

use zerocopy::{FromBytes, IntoBytes};

use crate::apic::{self, vector};
use crate::cpu::{PerCpu, msr, percpu, segments};
use crate::memory::{self, direct, split};
use crate::{console, guest_copy, heap, layout, port, power, run, time};

/// The machine. It has no fields: what there is of it is in the devices and in statics of the modules.
#[derive(Debug)]
pub struct Machine;

/// A flush that another CPU waits for: which CPUs have not done it yet, what kind, which page.
///
/// The request comes as an NMI: interrupts are off in the hypervisor, and the CPU that is asked may wait for a lock that the
/// asking one holds.
static FLUSH_LOCK: spin::Mutex<()> = spin::Mutex::new(());
static FLUSH_WAITING: AtomicU64 = AtomicU64::new(0);
static FLUSH_KIND: AtomicU32 = AtomicU32::new(0);
static FLUSH_PAGE: AtomicU64 = AtomicU64::new(0);
/// CPUs on which a guest's address space is loaded.
static ACTIVE: AtomicU64 = AtomicU64::new(0);

#[inline(always)]
fn word(mfn: Mfn, word: usize) -> &'static AtomicU64 {
    direct::word(mfn.raw() << 12, word)
}

/// Address of a byte of a frame in the direct map.
#[inline(always)]
fn byte(mfn: Mfn, offset: usize, size: usize) -> *mut u8 {
    assert!(
        offset <= PAGE_SIZE && size <= PAGE_SIZE - offset,
        "{size} bytes at {offset} pass the end of a frame"
    );
    (layout::direct(mfn.raw() << 12) + offset as u64) as *mut u8
}

impl Platform for Machine {
    #[inline(always)]
    fn load(&self, mfn: Mfn, index: usize) -> u64 {
        word(mfn, index).load(Ordering::Acquire)
    }
    #[inline(always)]
    fn store(&self, mfn: Mfn, index: usize, value: u64) {
        word(mfn, index).store(value, Ordering::Release);
    }
    #[inline(always)]
    fn compare_exchange(&self, mfn: Mfn, index: usize, old: u64, new: u64) -> Result<(), u64> {
        word(mfn, index).compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).map(|_| ())
    }
    #[inline(always)]
    fn fetch_or(&self, mfn: Mfn, index: usize, bits: u64) -> u64 {
        word(mfn, index).fetch_or(bits, Ordering::AcqRel)
    }
    #[inline(always)]
    fn fetch_and(&self, mfn: Mfn, index: usize, bits: u64) -> u64 {
        word(mfn, index).fetch_and(bits, Ordering::AcqRel)
    }
    #[inline(always)]
    fn set_bit(&self, mfn: Mfn, index: usize, bit: u32) -> bool {
        direct::set_bit_at(mfn.raw() << 12 | (index as u64 & 511) << 3, bit)
    }
    #[inline(always)]
    fn set_bit_at(&self, at: MachineAddr, bit: u32) -> bool {
        direct::set_bit_at(at.raw(), bit)
    }
    #[inline(always)]
    fn load_at(&self, at: MachineAddr) -> u64 {
        direct::word_at(at.raw()).load(Ordering::Acquire)
    }
    #[inline(always)]
    fn or_at(&self, at: MachineAddr, bits: u64) {
        direct::word_at(at.raw()).fetch_or(bits, Ordering::AcqRel);
    }
    #[inline(always)]
    fn and_at(&self, at: MachineAddr, bits: u64) {
        direct::word_at(at.raw()).fetch_and(bits, Ordering::AcqRel);
    }
    #[inline(always)]
    fn info_flags(&self, _: &Vcpu) -> u64 {
        PerCpu::info_flags()
    }
    #[inline(always)]
    fn mask_events(&self, _: &Vcpu) {
        PerCpu::mask_events();
    }
    #[inline(always)]
    fn copy_bytes(&self, to: (Mfn, usize), from: (Mfn, usize), size: usize) {
        // SAFETY: S-02: both frames are in the direct map, `byte` checked the ranges.
        unsafe { direct::copy(byte(to.0, to.1, size), byte(from.0, from.1, size), size) };
    }
    fn load_bytes(&self, mfn: Mfn, offset: usize, out: &mut [u8]) {
        // SAFETY: S-02: the frame is in the direct map, `byte` checked the range, `out` is borrowed.
        unsafe { direct::copy(out.as_mut_ptr(), byte(mfn, offset, out.len()), out.len()) };
    }
    fn store_bytes(&self, mfn: Mfn, offset: usize, bytes: &[u8]) {
        // SAFETY: S-02: the frame is in the direct map, `byte` checked the range, `bytes` is borrowed.
        unsafe { direct::copy(byte(mfn, offset, bytes.len()), bytes.as_ptr(), bytes.len()) };
    }
    #[inline(always)]
    fn clear(&self, mfn: Mfn) {
        direct::fill(mfn.raw() << 12, PAGE_SIZE as u64, 0);
    }
    #[inline(always)]
    fn copy_frame(&self, to: Mfn, from: Mfn) {
        // SAFETY: S-02: both frames are in the direct map.
        unsafe { direct::copy(byte(to, 0, PAGE_SIZE), byte(from, 0, PAGE_SIZE), PAGE_SIZE) };
    }

    #[inline(always)]
    fn copy_in(&self, from: GuestVirt, out: &mut [u8]) -> Result<(), Fault> {
        guest_copy::copy_in(from.raw(), out)
    }
    #[inline(always)]
    fn copy_out(&self, to: GuestVirt, bytes: &[u8]) -> Result<(), Fault> {
        guest_copy::copy_out(to.raw(), bytes)
    }
    #[inline(always)]
    fn read_value<T: FromBytes + IntoBytes>(&self, from: GuestVirt) -> Result<T, Fault> {
        guest_copy::read_value(from.raw())
    }
    #[inline(always)]
    fn read_one<T: FromBytes + IntoBytes>(&self, from: GuestVirt) -> Result<T, Fault> {
        guest_copy::read_one(from.raw())
    }
    #[inline(always)]
    fn write_one(&self, to: GuestVirt, bytes: &[u8]) -> Result<(), Fault> {
        guest_copy::write_one(to.raw(), bytes)
    }
    #[inline(always)]
    fn read_words<const N: usize>(&self, from: GuestVirt) -> Result<[u64; N], Fault> {
        guest_copy::read_words(from.raw())
    }
    #[inline(always)]
    fn write_words<const N: usize>(&self, to: GuestVirt, words: [u64; N]) -> Result<(), Fault> {
        guest_copy::write_words(to.raw(), words)
    }

    #[inline(always)]
    fn m2p(&self, mfn: Mfn) -> u64 {
        direct::m2p(mfn.raw()).map_or(u64::MAX, |entry| entry.load(Ordering::Relaxed))
    }
    #[inline(always)]
    fn set_m2p(&self, mfn: Mfn, pfn: u64) {
        if let Some(entry) = direct::m2p(mfn.raw()) {
            entry.store(pfn, Ordering::Relaxed);
        }
    }
    fn install_hypervisor_slots(&self, root: Mfn) {
        split::count_change();
        for slot in layout::HYPERVISOR_SLOTS {
            word(root, slot).store(direct::read(memory::root(), slot), Ordering::Relaxed);
        }
    }

    #[inline(always)]
    fn load_root(&self, root: Mfn) {
        run::load_root(PerCpu::get(), root);
    }
    #[inline]
    fn flush(&self, what: Flush, cpus: u64) {
        let here = 1 << PerCpu::get().id.raw();
        let others = cpus & !here & present();
        if others != 0 {
            flush_others(what, others);
        }
        if cpus & here != 0 {
            flush_this(what);
        }
    }
    #[inline(always)]
    fn copies_roots(&self) -> bool {
        split::is_used()
    }
    fn root_changed(&self, cpus: u64) {
        split::count_change();
        let others = cpus & !(1 << PerCpu::get().id.raw()) & present();
        if others != 0 {
            ask_others(FLUSH_ROOTS, 0, others);
        }
    }
    fn set_guest_spec_ctrl(&self, value: u32) {
        PerCpu::get().guest_spec_ctrl.set(value);
    }
    fn forget_branches(&self, command: u64) {
        // SAFETY: S-04: the core offers guests only commands that CPUID names.
        unsafe { msr::write(msr::PRED_CMD, command) };
    }
    fn flush_cache(&self) {
        // SAFETY: S-04: writing the caches back changes no contents.
        unsafe { core::arch::asm!("wbinvd", options(nostack, preserves_flags)) };
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        time::now()
    }
    fn clock(&self) -> Clock {
        time::clock()
    }
    fn wall_clock_at_boot(&self) -> (u64, u32) {
        time::wall_clock_at_boot()
    }
    #[inline]
    fn set_timer(&self, deadline: u64) {
        apic::set_timer(deadline);
    }

    #[inline(always)]
    fn cpu(&self) -> CpuId {
        PerCpu::get().id
    }
    #[inline(always)]
    fn cpus(&self) -> u32 {
        percpu::count()
    }
    #[inline]
    fn interrupt_pending(&self) -> bool {
        apic::is_pending()
    }
    fn kick(&self, effects: &Effects) {
        kick(effects.kick);
    }

    #[inline(always)]
    fn guest_base(&self, of: BaseOf) -> u64 {
        segments::base(of)
    }
    #[inline(always)]
    fn set_guest_base(&self, of: BaseOf, value: u64) {
        segments::set_base(of, value);
    }
    fn selectors(&self) -> Selectors {
        segments::selectors()
    }
    fn load_gs_selector(&self, selector: u16) -> Option<u64> {
        segments::load_gs_selector(selector)
    }

    fn console_write(&self, bytes: &[u8]) {
        console::write(bytes);
    }
    fn console_read(&self, out: &mut [u8]) -> usize {
        console::read(out)
    }

    fn port_in(&self, number: u16, width: u8) -> u32 {
        match width {
            1 => u32::from(port::inb(number)),
            2 => u32::from(port::inw(number)),
            _ => port::inl(number),
        }
    }
    fn port_out(&self, number: u16, width: u8, value: u32) {
        match width {
            1 => port::outb(number, value as u8),
            2 => port::outw(number, value as u16),
            _ => port::outl(number, value),
        }
    }
    fn cpuid(&self, leaf: u32, subleaf: u32) -> (u32, u32, u32, u32) {
        let r = core::arch::x86_64::__cpuid_count(leaf, subleaf);
        (r.eax, r.ebx, r.ecx, r.edx)
    }

    fn set_aside(&self, layout: Layout) -> bool {
        heap::set_aside(layout)
    }

    fn power(&self, how: Power) -> ! {
        power::stop(how)
    }
}

/// CPUs that run, as a set.
fn present() -> u64 {
    u64::MAX >> (64 - percpu::count().clamp(1, 64))
}

/// Interrupts other CPUs so that they choose again.
///
/// An interrupt is sent even if one is on its way: the local APIC has one bit for them, so those that were not taken yet
/// are one already. To keep account of that here too would save a few writes; but should one be lost, none would ever follow.
pub fn kick(cpus: u64) {
    let mut left = cpus & present() & !(1 << PerCpu::get().id.raw());
    while left != 0 {
        let id = CpuId::new(left.trailing_zeros());
        left &= left - 1;
        if let Some(cpu) = percpu::of(id) {
            apic::send(cpu.apic_id, vector::RESCHEDULE);
        }
    }
}

/// Drops the translations of the calling CPU that are not global.
#[inline(always)]
pub fn flush_here() {
    x86_64::instructions::tlb::flush_all();
}

/// Drops all translations of the calling CPU: a change of CR4.PGE does, and where it is off, a load of CR3.
pub fn flush_all_here() {
    use x86_64::registers::control::{Cr4, Cr4Flags};
    let value = Cr4::read_raw();
    if value & Cr4Flags::PAGE_GLOBAL.bits() == 0 {
        return flush_here();
    }
    // SAFETY: S-04: PGE goes off and on again; nothing else changes.
    unsafe {
        Cr4::write_raw(value & !Cr4Flags::PAGE_GLOBAL.bits());
        Cr4::write_raw(value);
    }
}

fn flush_this(what: Flush) {
    match what {
        Flush::Page(address) => {
            // SAFETY: S-01: dropping a translation is always allowed.
            unsafe {
                core::arch::asm!("invlpg [{}]", in(reg) address.raw(), options(nostack, preserves_flags))
            };
        }
        Flush::All => flush_here(),
        Flush::Global => flush_all_here(),
    }
}

/// Instead of a flush: roots have changed that the CPU may have a copy of.
const FLUSH_ROOTS: u32 = 3;

fn flush_others(what: Flush, cpus: u64) {
    let (kind, page) = match what {
        Flush::Page(address) => (0, address.raw()),
        Flush::All => (1, 0),
        Flush::Global => (2, 0),
    };
    ask_others(kind, page, cpus);
}

#[cold]
fn ask_others(kind: u32, page: u64, cpus: u64) {
    // What was changed in page tables is seen before it is decided who need not hear of it.
    fence(Ordering::SeqCst);
    let cpus = cpus & ACTIVE.load(Ordering::SeqCst);
    if cpus == 0 {
        return;
    }
    let guard = FLUSH_LOCK.lock();
    FLUSH_KIND.store(kind, Ordering::Relaxed);
    FLUSH_PAGE.store(page, Ordering::Relaxed);
    FLUSH_WAITING.store(cpus, Ordering::SeqCst);
    let mut left = cpus;
    while left != 0 {
        let id = CpuId::new(left.trailing_zeros());
        left &= left - 1;
        if let Some(cpu) = percpu::of(id) {
            apic::send_nmi(cpu.apic_id);
        }
    }
    while FLUSH_WAITING.load(Ordering::Acquire) != 0 {
        core::hint::spin_loop();
    }
    drop(guard);
}

/// In an NMI: does the flush that another CPU asked this one for, if there is one.
pub fn flush_requested() {
    let here = 1 << PerCpu::get().id.raw();
    if FLUSH_WAITING.load(Ordering::Acquire) & here == 0 {
        return;
    }
    match FLUSH_KIND.load(Ordering::Relaxed) {
        0 => flush_this(Flush::Page(GuestVirt::new(FLUSH_PAGE.load(Ordering::Relaxed)))),
        1 => flush_here(),
        FLUSH_ROOTS => split::refresh(PerCpu::get()),
        _ => {
            // It may have come in the middle of such a change of CR4, where the first step finds nothing to change.
            flush_all_here();
            flush_here();
        }
    }
    FLUSH_WAITING.fetch_and(!here, Ordering::AcqRel);
}

/// A CPU is about to load a guest's address space, after which it drops all translations.
#[inline(always)]
pub fn set_active(here: u64) {
    ACTIVE.fetch_or(here, Ordering::SeqCst);
}

/// A CPU left the last guest's address space. It need not be asked to drop translations: it drops all before it uses any.
pub fn set_inactive(here: u64) {
    ACTIVE.fetch_and(!here, Ordering::SeqCst);
}

/// Whether the CPU has TSC_AUX; settled at boot.
pub static HAS_TSC_AUX: core::sync::atomic::AtomicBool = core::sync::atomic::AtomicBool::new(false);

/// Loads TSC_AUX, if it is not so already.
pub fn set_tsc_aux(cpu: &PerCpu, value: u32) {
    if HAS_TSC_AUX.load(Ordering::Relaxed) && cpu.tsc_aux.replace(value) != value {
        // SAFETY: S-04: the CPU has the register.
        unsafe { msr::write(msr::TSC_AUX, u64::from(value)) };
    }
}
