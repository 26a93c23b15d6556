//! A machine made of vectors, for tests.
//!
//! [`World`] implements [`Platform`]: frames are words in memory, time is a number that tests move, interrupts wait when a test
//! says so, flushes are recorded. [`machine`] makes a [`Hypervisor`] on one, with all frames on the heap but the first.
//!
//! Guest addresses go through the page tables of the root that [`World::enter`] names; without one, an address *is* a machine
//! address, so that a test of a shim needs no page tables.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::cell::Cell;
use std::sync::Mutex;

use crate::addr::{CpuId, DomId, GuestVirt, Mfn, PAGE_SIZE, VcpuId};
use crate::domain::{Domain, Vcpu, VcpuState};
use crate::effects::Effects;
use crate::frame::FrameTable;
use crate::frame::pte::{self, HYPERVISOR_SLOTS, PRESENT, WRITABLE};
use crate::hypervisor::{Config, Hypervisor};
use crate::platform::{BaseOf, Clock, Fault, Flush, Platform, Power};

pub mod heap;
mod memory;
use memory::Memory;

#[cfg(test)]
use crate::sync::explore::point;

/// Where the tests of this crate let other threads go first ([`crate::sync`]).
#[cfg(not(test))]
#[inline(always)]
fn point() {}

std::thread_local! {
    static CPU: Cell<u32> = const { Cell::new(0) };
}

/// What [`World::install_hypervisor_slots`] puts into the slots: present, supervisor, a frame that is no domain's.
pub const HYPERVISOR_ENTRY: u64 = 0x63;

/// The machine.
#[derive(Debug)]
pub struct World {
    memory: Memory,
    cpus: u32,
    root: AtomicU64,
    now: AtomicU64,
    timer: AtomicU64,
    looks: AtomicU64,
    every: AtomicU64,
    /// Flushes in the order in which they were asked for: what, and on which CPUs.
    pub flushes: Mutex<Vec<(Flush, u64)>>,
    /// Kicks that were sent: CPU masks.
    pub kicks: Mutex<Vec<u64>>,
    /// What was written to the console.
    pub console: Mutex<Vec<u8>>,
    /// What waits to be read from the console.
    pub typed: Mutex<Vec<u8>>,
    bases: [AtomicU64; 2],
    /// Whether data caches were flushed.
    pub caches_flushed: AtomicBool,
}

impl World {
    /// A machine of this many frames and CPUs.
    pub fn new(frames: u64, cpus: u32) -> World {
        World {
            memory: Memory::take(frames),
            cpus,
            root: AtomicU64::new(u64::MAX),
            now: AtomicU64::new(0),
            timer: AtomicU64::new(u64::MAX),
            looks: AtomicU64::new(0),
            every: AtomicU64::new(0),
            flushes: Mutex::default(),
            kicks: Mutex::default(),
            console: Mutex::default(),
            typed: Mutex::default(),
            bases: [AtomicU64::new(0), AtomicU64::new(0)],
            caches_flushed: AtomicBool::new(false),
        }
    }

    /// The root through which guest addresses go; `None`: a guest address is a machine address.
    pub fn enter(&self, root: Option<Mfn>) {
        self.root.store(root.map_or(u64::MAX, Mfn::raw), Ordering::SeqCst);
    }

    /// Lets every `n`th look at the interrupts find one; 0 is never.
    pub fn interrupt_every(&self, n: u64) {
        self.every.store(n, Ordering::SeqCst);
        self.looks.store(0, Ordering::SeqCst);
    }

    /// Moves the clock to this time.
    pub fn set_now(&self, now: u64) {
        self.now.store(now, Ordering::SeqCst);
    }

    /// The time for which the timer was last programmed.
    pub fn timer(&self) -> u64 {
        self.timer.load(Ordering::SeqCst)
    }

    /// Makes the calling thread this CPU.
    pub fn be_cpu(cpu: u32) {
        CPU.with(|slot| slot.set(cpu));
    }

    fn translate(&self, va: GuestVirt, write: bool) -> Result<(Mfn, usize), Fault> {
        let offset = va.raw() as usize % PAGE_SIZE;
        let frames = self.memory.m2p.len() as u64;
        let root = self.root.load(Ordering::SeqCst);
        if root == u64::MAX {
            let mfn = Mfn::new(va.raw() / PAGE_SIZE as u64);
            return if mfn.raw() < frames { Ok((mfn, offset)) } else { Err(Fault) };
        }
        let mut table = Mfn::new(root);
        for level in (1..=4u8).rev() {
            let entry = self.load(table, va.table_index(level));
            if entry & PRESENT == 0 || (write && entry & WRITABLE == 0) {
                return Err(Fault);
            }
            table = pte::mfn(entry);
        }
        if table.raw() < frames { Ok((table, offset)) } else { Err(Fault) }
    }

    fn by_page(va: GuestVirt, len: usize) -> impl Iterator<Item = (GuestVirt, core::ops::Range<usize>)> {
        let mut done = 0;
        core::iter::from_fn(move || {
            let at = va.raw().checked_add(done as u64)?;
            let here = (PAGE_SIZE - at as usize % PAGE_SIZE).min(len - done);
            let range = done..done + here;
            done += here;
            (here != 0).then_some((GuestVirt::new(at), range))
        })
    }
}

impl Platform for World {
    #[inline]
    fn load(&self, mfn: Mfn, word: usize) -> u64 {
        point();
        self.memory.word(mfn, word).load(Ordering::SeqCst)
    }
    #[inline]
    fn store(&self, mfn: Mfn, word: usize, value: u64) {
        point();
        self.memory.change(mfn, word, |word| word.store(value, Ordering::SeqCst));
    }
    fn compare_exchange(&self, mfn: Mfn, word: usize, old: u64, new: u64) -> Result<(), u64> {
        point();
        let swap = |word: &AtomicU64| word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst);
        self.memory.change(mfn, word, swap).map(|_| ())
    }
    fn fetch_or(&self, mfn: Mfn, word: usize, bits: u64) -> u64 {
        point();
        self.memory.change(mfn, word, |word| word.fetch_or(bits, Ordering::SeqCst))
    }
    fn fetch_and(&self, mfn: Mfn, word: usize, bits: u64) -> u64 {
        point();
        self.memory.change(mfn, word, |word| word.fetch_and(bits, Ordering::SeqCst))
    }
    #[inline]
    fn load_bytes(&self, mfn: Mfn, offset: usize, out: &mut [u8]) {
        self.memory.load_bytes(mfn, offset, out);
    }
    #[inline]
    fn store_bytes(&self, mfn: Mfn, offset: usize, bytes: &[u8]) {
        self.memory.store_bytes(mfn, offset, bytes);
    }
    #[inline]
    fn clear(&self, mfn: Mfn) {
        self.memory.clear(mfn);
    }
    fn copy_frame(&self, to: Mfn, from: Mfn) {
        self.memory.copy(to, from);
    }

    fn copy_in(&self, from: GuestVirt, out: &mut [u8]) -> Result<(), Fault> {
        for (va, range) in World::by_page(from, out.len()) {
            let (mfn, offset) = self.translate(va, false)?;
            self.load_bytes(mfn, offset, &mut out[range]);
        }
        Ok(())
    }
    fn copy_out(&self, to: GuestVirt, bytes: &[u8]) -> Result<(), Fault> {
        for (va, range) in World::by_page(to, bytes.len()) {
            let (mfn, offset) = self.translate(va, true)?;
            self.store_bytes(mfn, offset, &bytes[range]);
        }
        Ok(())
    }

    #[inline]
    fn m2p(&self, mfn: Mfn) -> u64 {
        self.memory.m2p.get(mfn.index()).map_or(u64::MAX, |entry| entry.load(Ordering::SeqCst))
    }
    fn set_m2p(&self, mfn: Mfn, pfn: u64) {
        if let Some(entry) = self.memory.m2p.get(mfn.index()) {
            entry.store(pfn, Ordering::SeqCst);
        }
    }
    fn install_hypervisor_slots(&self, root: Mfn) {
        HYPERVISOR_SLOTS.for_each(|slot| self.store(root, slot, HYPERVISOR_ENTRY));
    }

    fn load_root(&self, root: Mfn) {
        self.enter(Some(root));
    }
    fn flush(&self, what: Flush, cpus: u64) {
        let mut flushes = self.flushes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        heap::own(|| flushes.push((what, cpus)));
    }
    fn flush_cache(&self) {
        self.caches_flushed.store(true, Ordering::SeqCst);
    }

    #[inline]
    fn now(&self) -> u64 {
        self.now.load(Ordering::SeqCst)
    }
    fn clock(&self) -> Clock {
        let now = self.now();
        Clock { tsc: now, ns: now, mul: 1 << 31, shift: 1, khz: 1_000_000 }
    }
    fn wall_clock_at_boot(&self) -> (u64, u32) {
        (1_700_000_000, 0)
    }
    fn set_timer(&self, deadline: u64) {
        self.timer.store(deadline, Ordering::SeqCst);
    }

    #[inline]
    fn cpu(&self) -> CpuId {
        CpuId::new(CPU.with(Cell::get))
    }
    fn cpus(&self) -> u32 {
        self.cpus
    }
    #[inline]
    fn interrupt_pending(&self) -> bool {
        let every = self.every.load(Ordering::SeqCst);
        every != 0 && (self.looks.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(every)
    }
    fn kick(&self, effects: &Effects) {
        let mut kicks = self.kicks.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        heap::own(|| kicks.push(effects.kick));
    }

    fn guest_base(&self, of: BaseOf) -> u64 {
        self.bases[of as usize].load(Ordering::SeqCst)
    }
    fn set_guest_base(&self, of: BaseOf, value: u64) {
        self.bases[of as usize].store(value, Ordering::SeqCst);
    }

    fn load_gs_selector(&self, selector: u16) -> Option<u64> {
        // Every selector but null loads a descriptor whose base is 0.
        (selector < 0x8000).then_some(0)
    }

    fn console_write(&self, bytes: &[u8]) {
        let mut console = self.console.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        heap::own(|| console.extend_from_slice(bytes));
    }
    fn console_read(&self, out: &mut [u8]) -> usize {
        let mut typed = self.typed.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let count = typed.len().min(out.len());
        out[..count].copy_from_slice(&typed[..count]);
        typed.drain(..count);
        count
    }

    fn port_in(&self, _port: u16, width: u8) -> u32 {
        u32::MAX >> (32 - 8 * u32::from(width))
    }
    fn port_out(&self, _port: u16, _width: u8, _value: u32) {}
    fn cpuid(&self, leaf: u32, _subleaf: u32) -> (u32, u32, u32, u32) {
        // 40 address bits; nothing else is said.
        if leaf == 0x8000_0008 { (40, 0, 0, 0) } else { (0, 0, 0, 0) }
    }

    fn set_aside(&self, layout: Layout) -> bool {
        heap::set_aside(layout)
    }

    fn power(&self, how: Power) -> ! {
        panic!("the machine stops: {how:?}")
    }
}

/// A hypervisor on a machine of `frames` frames and one CPU. Frame 0 is the hypervisor's, the others are free.
pub fn machine(frames: u64) -> Hypervisor<World> {
    machine_with_cpus(frames, 1)
}

/// As [`machine`], with more CPUs; threads tell which they are with [`World::be_cpu`].
pub fn machine_with_cpus(frames: u64, cpus: u32) -> Hypervisor<World> {
    let world = World::new(frames, cpus);
    let table = FrameTable::new(world.memory.info);
    table.add_free(Mfn::new(1)..Mfn::new(frames));
    assemble(world, table)
}

fn assemble(world: World, frames: FrameTable) -> Hypervisor<World> {
    let total_frames = frames.len();
    Hypervisor {
        platform: world,
        frames,
        domains: Default::default(),
        next_id: Default::default(),
        sched: Default::default(),
        config: Config {
            speculation: Default::default(),
            fpu_bytes: 576,
            build_id: (0..20).collect(),
            command_line: "".into(),
            noreboot: true,
            memory_map: Vec::from([(0, total_frames * PAGE_SIZE as u64, 1)]),
            total_frames,
            guest_log: true,
        },
        log: Default::default(),
    }
}

/// Enters a domain with one vCPU that may own `max_frames`, and gives it `frames` frames (not adjacent by promise).
///
/// # Panics
/// When the machine is too small, or the number is taken.
pub fn domain(hv: &Hypervisor<World>, id: u16, privileged: bool, frames: u32) -> (Arc<Domain>, Vec<Mfn>) {
    let id = DomId::new(id);
    let shared = crate::mm::alloc_shared(hv, id).expect("a frame for shared_info");
    let domain = Arc::new(Domain::new(id, privileged, shared, frames.max(16) * 2, Arc::default()));
    let assists = 1 << abi::xen::VMASST_TYPE_WRITABLE_PAGETABLES;
    domain.vm_assist.store(assists, core::sync::atomic::Ordering::Relaxed);
    let vcpu = Vcpu::new(VcpuId::new(0), &domain, VcpuState::new(576).expect("memory for a vCPU"));
    let vcpus = Box::new([Arc::new(vcpu)]);
    hv.sched.admit(&*vcpus, 0).expect("memory for a vCPU");
    domain.set_vcpus(vcpus).expect("the domain is new");
    hv.domains.insert(domain.clone()).expect("the number is free");
    let owned = (0..frames).map(|_| crate::mm::give_frames(hv, &domain, 0).expect("a free frame")).collect();
    (domain, owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_cross_words_and_guest_memory_crosses_frames() {
        let hv = machine(4);
        hv.platform.store_bytes(Mfn::new(1), 5, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let mut back = [0; 11];
        hv.platform.load_bytes(Mfn::new(1), 4, &mut back);
        assert_eq!(back, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]);
        hv.platform.copy_out(GuestVirt::new(0x1ffe), &[1, 2, 3, 4]).unwrap();
        assert_eq!(hv.platform.load(Mfn::new(2), 0), 0x403);
        assert_eq!(hv.platform.copy_in(GuestVirt::new(0x3fff), &mut [0; 2]), Err(Fault));
    }
}
