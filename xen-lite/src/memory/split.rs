//! Roots without the hypervisor (XPTI): what guests run on where the CPU would let them read what is mapped (Meltdown).
//!
//! A guest's own root maps the hypervisor in its entries 256 to 271, and is what CR3 holds while the hypervisor works for
//! that guest. While the guest itself runs, CR3 holds one of the [`ROOTS`] roots that each CPU has for this. All of a CPU's map
//! of the hypervisor only what an entry needs before it loads CR3:
//!
//! - the machine-to-physical table, which guests may read in any case;
//! - the CPU's window: the guest's own GDT and LDT pages, the hypervisor's page of the GDT, and the gate page with `PerCpu`, TSS
//!   and the stacks on which entries begin;
//! - the pages of the guarded entry code, and the IDT.
//!
//! [`check`] looks at boot that nothing else is reachable. The other 496 entries are copies of the guest's root. An entry of
//! the root for itself (a linear page table) becomes one for the copy: through it, a walk would find the hypervisor's tables
//! at a level at which they map what they should not.
//!
//! # Copies stay true
//! [`GENERATION`] counts changes of entries of any root, and validations of frames as roots. Whoever changes an entry
//! (`Platform::root_changed`) counts, and asks all CPUs that the domain may run on, by NMI, to copy again, before the reference
//! that the old entry held is dropped. A copy remembers its source and its generation:
//! - an exit that finds another generation copies again ([`select`]);
//! - an NMI between this look and the guest copies again by itself ([`refresh`]): the code below first says which copy it is about to
//!   use, and looks at the generation afterwards.
//!
//! # Flushes
//! CR4.PGE is off with XPTI, so each load of CR3 drops all translations of the CPU: none of the hypervisor's are there while a guest
//! runs, and none of a guest's survive an exit. There is no use of PCID yet.

use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, compiler_fence};

use alloc::boxed::Box;
use xen_lite_core::addr::CpuId;
use xen_lite_core::speculation::reach;

use super::{Memory, PAGE, direct, tables, window_entry};
use crate::cpu::{PerCpu, descriptors, idt};
use crate::entry::guarded;
use crate::layout::{self, HYPERVISOR_SLOTS, MAX_CPUS};

/// Copies that each CPU keeps, so that a guest that goes to and fro between roots has each copied once.
const ROOTS: usize = 8;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 2;
const USER: u64 = 4;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// A copy.
#[derive(Debug, Default)]
struct Root {
    /// Its machine address.
    address: u64,
    /// Machine address of the guest's root that it is a copy of; 0 at first.
    source: AtomicU64,
    /// [`GENERATION`] when it was copied.
    generation: AtomicU64,
}

/// Copies of one CPU. Only that CPU touches them, in NMIs too.
#[derive(Debug, Default)]
struct Roots {
    all: [Root; ROOTS],
    /// The one that the CPU uses, or is about to.
    selected: AtomicUsize,
    /// The one to be given up next.
    oldest: AtomicUsize,
    /// The running vCPU's root at its last exit, and the generation then: there is nothing to do if both are the same.
    last: AtomicU64,
    last_generation: AtomicU64,
}

static CPUS: [AtomicPtr<Roots>; MAX_CPUS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS];
/// Changes of roots so far.
static GENERATION: AtomicU64 = AtomicU64::new(1);
/// Whether guests run on copies. Settled at boot.
static USED: AtomicBool = AtomicBool::new(false);
/// Entry 261 of all copies.
static IMAGE_ENTRY: AtomicU64 = AtomicU64::new(0);

/// Whether some guests run on copies of their roots.
#[inline(always)]
pub fn is_used() -> bool {
    USED.load(Ordering::Relaxed)
}

fn of(cpu: CpuId) -> Option<&'static Roots> {
    let roots = CPUS[cpu.index()].load(Ordering::Acquire);
    // SAFETY: S-05: non-null entries point to leaked boxes.
    unsafe { roots.as_ref() }
}

/// The pages of the guarded entry code.
fn entry_code() -> (u64, u64) {
    unsafe extern "C" {
        static __guarded_start: u8;
        static __guarded_end: u8;
    }
    (&raw const __guarded_start as u64, &raw const __guarded_end as u64)
}

fn slot(address: u64) -> usize {
    (address >> 39) as usize & 511
}

/// Makes the copies of a CPU whose window is there and does not run guests yet.
///
/// # Errors
/// No memory; or they would map what they must not.
pub fn prepare(memory: &mut Memory, cpu: CpuId) -> Result<(), &'static str> {
    let mut roots = Roots::default();
    let mut map = tables::Tables::new(&mut memory.free)?;
    let first = map.root();
    direct::write(first, slot(layout::M2P), direct::read(super::root(), slot(layout::M2P)));
    match IMAGE_ENTRY.load(Ordering::Relaxed) {
        0 => {
            let (start, end) = entry_code();
            map.part_of_image(start, end, true)?;
            map.part_of_image(idt::address(), idt::address() + PAGE, false)?;
            IMAGE_ENTRY.store(direct::read(first, slot(layout::IMAGE)), Ordering::Relaxed);
        }
        entry => direct::write(first, slot(layout::IMAGE), entry),
    }
    let window = descriptors::window(cpu);
    let leaf = core::ptr::from_ref(window_entry(cpu, 0)) as u64 - layout::DIRECT;
    map.enter_leaf_table(window, leaf)?;
    roots.all[0].address = first;
    for other in &mut roots.all[1..] {
        other.address = memory.free.take_cleared(PAGE, PAGE)?;
        for slot in HYPERVISOR_SLOTS {
            direct::write(other.address, slot, direct::read(first, slot));
        }
    }
    check(cpu, first)?;
    CPUS[cpu.index()].store(Box::leak(Box::new(roots)), Ordering::Release);
    USED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Looks at everything that a copy maps of the hypervisor.
///
/// # Errors
/// What should not be there.
fn check(cpu: CpuId, root: u64) -> Result<(), &'static str> {
    let (code_start, code_end) = entry_code();
    let window = descriptors::window(cpu)..descriptors::window(cpu) + layout::DESCRIPTORS_STRIDE;
    let allowed = |address: u64, entry: u64| {
        let m2p = slot(address) == slot(layout::M2P) && entry & (USER | WRITABLE) == USER;
        let code = (code_start..code_end).contains(&address) && entry & (USER | WRITABLE) == 0;
        let idt = address == idt::address() && entry & (USER | WRITABLE) == 0;
        m2p || code || idt || window.contains(&address) && entry & USER == 0
    };
    match reach::pages(root, HYPERVISOR_SLOTS, &direct::read, &allowed) {
        Ok(pages) => {
            log::debug!("CPU {}: roots of guests map {pages} pages of the hypervisor", cpu.raw());
            Ok(())
        }
        Err(stray) => {
            log::error!("CPU {}: roots of guests map {:#x} ({:#x})", cpu.raw(), stray.address, stray.entry);
            Err("the guests' roots map more of the hypervisor than they may")
        }
    }
}

/// A root has another entry, or a frame has become a root.
pub fn count_change() {
    if is_used() {
        GENERATION.fetch_add(1, Ordering::SeqCst);
    }
}

/// Copies what is a guest's of a root.
fn copy(root: &Root) {
    let source = root.source.load(Ordering::Relaxed);
    if source == 0 {
        return;
    }
    for slot in (0..*HYPERVISOR_SLOTS.start()).chain(HYPERVISOR_SLOTS.end() + 1..512) {
        // An NMI in between may have written what is newer here; then this entry is older, and is read again.
        loop {
            let entry = direct::read(source, slot);
            let linear = entry & PRESENT != 0 && entry & ADDRESS == source;
            direct::write(root.address, slot, if linear { entry ^ source ^ root.address } else { entry });
            compiler_fence(Ordering::SeqCst);
            if direct::read(source, slot) == entry {
                break;
            }
        }
    }
}

/// Has a true copy of the running vCPU's root ready for the exit, if it is to run on one.
#[inline(always)]
pub fn select(cpu: &PerCpu) {
    let Some(roots) = of(cpu.id) else { return };
    let generation = GENERATION.load(Ordering::SeqCst);
    if roots.last.load(Ordering::Relaxed) != cpu.root.get()
        || roots.last_generation.load(Ordering::Relaxed) != generation
    {
        select_anew(cpu, roots);
    }
}

/// Another vCPU is about to run on the CPU.
pub fn forget(cpu: &PerCpu) {
    if let Some(roots) = of(cpu.id) {
        roots.last.store(0, Ordering::Relaxed);
    }
}

#[inline(never)]
fn select_anew(cpu: &PerCpu, roots: &Roots) {
    let source = cpu.root.get();
    let wanted = cpu.running().is_some_and(|running| guarded::policy().xpti_for(running.domain.privileged));
    let generation = if wanted {
        select_other(cpu, roots, source)
    } else {
        cpu.guest_root.set(0);
        GENERATION.load(Ordering::SeqCst)
    };
    roots.last.store(source, Ordering::Relaxed);
    roots.last_generation.store(generation, Ordering::Relaxed);
}

fn select_other(cpu: &PerCpu, roots: &Roots, source: u64) -> u64 {
    let found = roots.all.iter().position(|root| root.source.load(Ordering::Relaxed) == source);
    let chosen = found.unwrap_or_else(|| {
        let oldest = roots.oldest.load(Ordering::Relaxed) % ROOTS;
        roots.oldest.store(oldest + 1, Ordering::Relaxed);
        roots.all[oldest].generation.store(0, Ordering::Relaxed);
        roots.all[oldest].source.store(source, Ordering::Relaxed);
        oldest
    });
    let root = &roots.all[chosen];
    // From here on NMIs keep it true. What was changed before is found by the generation.
    roots.selected.store(chosen, Ordering::SeqCst);
    compiler_fence(Ordering::SeqCst);
    let generation = GENERATION.load(Ordering::SeqCst);
    if root.generation.load(Ordering::Relaxed) != generation {
        copy(root);
        root.generation.store(generation, Ordering::Relaxed);
    }
    cpu.guest_root.set(root.address);
    generation
}

/// In an NMI: another CPU has changed a root.
pub fn refresh(cpu: &PerCpu) {
    if let Some(roots) = of(cpu.id) {
        copy(&roots.all[roots.selected.load(Ordering::SeqCst) % ROOTS]);
    }
}
