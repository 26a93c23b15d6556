//! What the machine gives to the hypervisor.
//!
//! The image implements [`Platform`] over real memory and instructions; tests implement it over a vector of frames and a
//! virtual clock. Memory that guests may write at the same time is reached only through single loads and stores by value,
//! never through references.

use core::alloc::Layout;

use zerocopy::{FromBytes, IntoBytes};

use crate::addr::{CpuId, GuestVirt, MachineAddr, Mfn};
use crate::domain::{Selectors, Vcpu};
use crate::effects::Effects;
use crate::hypercall::guest::range_ok;

/// A guest address could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

/// Whose translations a synchronous flush removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// One page, in all address spaces of the CPU's current root.
    Page(GuestVirt),
    /// Everything but global entries.
    All,
    /// Everything.
    Global,
}

/// The two segments that have a base in 64-bit mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseOf {
    /// FS.
    Fs,
    /// GS as the guest uses it now.
    Gs,
}

/// How the machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Off.
    Off,
    /// Reset.
    Reboot,
    /// Stay, with interrupts off (`noreboot`, or a crash to be looked at).
    Halt,
}

/// The machine.
///
/// Frame accessors take any frame below the end of RAM that is not the hypervisor's image; callers have checked the number
/// against the frame table. `word` is 0 to 511. All accesses are atomic by word.
pub trait Platform: Send + Sync + 'static {
    /// Reads a 64-bit word of a frame.
    fn load(&self, mfn: Mfn, word: usize) -> u64;
    /// Writes a 64-bit word of a frame.
    fn store(&self, mfn: Mfn, word: usize, value: u64);
    /// Compare-and-swap of a word; `Err` carries what was found.
    fn compare_exchange(&self, mfn: Mfn, word: usize, old: u64, new: u64) -> Result<(), u64>;
    /// Atomic OR; returns the former value.
    fn fetch_or(&self, mfn: Mfn, word: usize, bits: u64) -> u64;
    /// Atomic AND; returns the former value.
    fn fetch_and(&self, mfn: Mfn, word: usize, bits: u64) -> u64;
    /// Sets bit `bit`, 0 to 63, of a word; returns whether it was set before.
    #[inline(always)]
    fn set_bit(&self, mfn: Mfn, word: usize, bit: u32) -> bool {
        let bit = 1 << (bit & 63);
        self.fetch_or(mfn, word, bit) & bit != 0
    }
    /// [`Platform::load`] of the word at an address, for words that are used at every entry and exit.
    #[inline(always)]
    fn load_at(&self, at: MachineAddr) -> u64 {
        self.load(at.mfn(), at.offset() / 8)
    }
    /// [`Platform::set_bit`] of the word at an address.
    #[inline(always)]
    fn set_bit_at(&self, at: MachineAddr, bit: u32) -> bool {
        self.set_bit(at.mfn(), at.offset() / 8, bit)
    }
    /// [`Platform::fetch_or`] of the word at an address, when the former value does not matter.
    #[inline(always)]
    fn or_at(&self, at: MachineAddr, bits: u64) {
        self.fetch_or(at.mfn(), at.offset() / 8, bits);
    }
    /// [`Platform::fetch_and`] of the word at an address, when the former value does not matter.
    #[inline(always)]
    fn and_at(&self, at: MachineAddr, bits: u64) {
        self.fetch_and(at.mfn(), at.offset() / 8, bits);
    }
    /// The first word of the `vcpu_info` of the vCPU that runs on this CPU; of one that has none, what says that nothing is
    /// pending and all is masked.
    #[inline(always)]
    fn info_flags(&self, running: &Vcpu) -> u64 {
        running.info().map_or(1 << 8, |at| self.load_at(at))
    }
    /// Masks events for the vCPU that runs on this CPU, in its `vcpu_info`.
    #[inline(always)]
    fn mask_events(&self, running: &Vcpu) {
        if let Some(at) = running.info() {
            self.or_at(at, 1 << 8);
        }
    }
    /// Copies bytes out of a frame. `offset + out.len()` must not pass the frame's end.
    fn load_bytes(&self, mfn: Mfn, offset: usize, out: &mut [u8]);
    /// Copies bytes into a frame. `offset + bytes.len()` must not pass the frame's end.
    fn store_bytes(&self, mfn: Mfn, offset: usize, bytes: &[u8]);
    /// Copies bytes between frames, each a frame and an offset; neither range may pass its frame's end. If they overlap, what
    /// arrives is not defined.
    fn copy_bytes(&self, to: (Mfn, usize), from: (Mfn, usize), size: usize) {
        let mut piece = [0; 64];
        let mut done = 0;
        while done < size {
            let now = (size - done).min(piece.len());
            self.load_bytes(from.0, from.1 + done, &mut piece[..now]);
            self.store_bytes(to.0, to.1 + done, &piece[..now]);
            done += now;
        }
    }
    /// Fills a frame with zeroes.
    fn clear(&self, mfn: Mfn);
    /// Copies a whole frame.
    fn copy_frame(&self, to: Mfn, from: Mfn);

    /// Reads memory of the running vCPU with its own current page tables. The range has been checked to lie outside the
    /// hypervisor's hole and to be canonical (see `hypercall::guest`).
    fn copy_in(&self, from: GuestVirt, out: &mut [u8]) -> Result<(), Fault>;
    /// Writes memory of the running vCPU, as [`Platform::copy_in`]. Multiples of 8 bytes are the fast case.
    fn copy_out(&self, to: GuestVirt, bytes: &[u8]) -> Result<(), Fault>;
    /// Reads a value of any type, as [`Platform::copy_in`].
    #[inline(always)]
    fn read_value<T: FromBytes + IntoBytes>(&self, from: GuestVirt) -> Result<T, Fault> {
        let mut value = T::new_zeroed();
        self.copy_in(from, value.as_mut_bytes())?;
        Ok(value)
    }
    /// Reads a value of any type, at an address that has not been checked yet.
    #[inline(always)]
    fn read_one<T: FromBytes + IntoBytes>(&self, from: GuestVirt) -> Result<T, Fault> {
        if range_ok(from.raw(), size_of::<T>().max(1) as u64) { self.read_value(from) } else { Err(Fault) }
    }
    /// Writes bytes at an address that has not been checked yet.
    #[inline(always)]
    fn write_one(&self, to: GuestVirt, bytes: &[u8]) -> Result<(), Fault> {
        if range_ok(to.raw(), bytes.len().max(1) as u64) { self.copy_out(to, bytes) } else { Err(Fault) }
    }
    /// Reads a few words of the running vCPU's memory, at an address that has not been checked yet.
    #[inline(always)]
    fn read_words<const N: usize>(&self, from: GuestVirt) -> Result<[u64; N], Fault> {
        if range_ok(from.raw(), N as u64 * 8) { self.read_value(from) } else { Err(Fault) }
    }
    /// Writes a few words of the running vCPU's memory, at an address that has not been checked yet. After a fault, some of
    /// them may have been written.
    #[inline(always)]
    fn write_words<const N: usize>(&self, to: GuestVirt, words: [u64; N]) -> Result<(), Fault> {
        if range_ok(to.raw(), N as u64 * 8) { self.copy_out(to, words.as_bytes()) } else { Err(Fault) }
    }

    /// Machine-to-physical table: the guest's number for a frame (`u64::MAX` when invalid).
    fn m2p(&self, mfn: Mfn) -> u64;
    /// Sets an entry of the machine-to-physical table.
    fn set_m2p(&self, mfn: Mfn, pfn: u64);
    /// Makes a frame a 4th-level table that also maps the hypervisor: writes the entries 256 to 271, and
    /// nothing else.
    fn install_hypervisor_slots(&self, root: Mfn);

    /// Makes this the root of the address space that the calling CPU uses, at once (CR3): guest copies go through it. Drops
    /// the translations that are not global.
    fn load_root(&self, root: Mfn);
    /// Flushes translations on these CPUs (bit n is CPU n) and returns when all have done it.
    fn flush(&self, what: Flush, cpus: u64);
    /// Whether some CPUs run guests on copies of their roots, and must hear of changes ([`Platform::root_changed`]).
    #[inline(always)]
    fn copies_roots(&self) -> bool {
        false
    }
    /// An entry of a root table has changed, whose domain may run on these CPUs. Returns when none of them uses the old one.
    fn root_changed(&self, cpus: u64) {
        let _ = cpus;
    }
    /// Has the running vCPU go on with this `IA32_SPEC_CTRL`. Asked only of a machine that offers it to guests.
    fn set_guest_spec_ctrl(&self, value: u32) {
        let _ = value;
    }
    /// Writes this to `IA32_PRED_CMD`. Asked only of a machine that offers it to guests.
    fn forget_branches(&self, command: u64) {
        let _ = command;
    }
    /// Flushes the data caches of this CPU (WBINVD).
    fn flush_cache(&self);

    /// Nanoseconds since boot; monotonic on all CPUs.
    fn now(&self) -> u64;
    /// Time stamp counter, and the parameters that turn it into nanoseconds as `vcpu_time_info` states them.
    fn clock(&self) -> Clock;
    /// Seconds since 1970 at [`Platform::now`] = 0, and nanoseconds of that second.
    fn wall_clock_at_boot(&self) -> (u64, u32);
    /// Programs the calling CPU's timer interrupt for this time (nanoseconds since boot; `u64::MAX` for none).
    fn set_timer(&self, deadline: u64);

    /// The CPU that calls.
    fn cpu(&self) -> CpuId;
    /// Number of CPUs that run.
    fn cpus(&self) -> u32;
    /// Whether an interrupt waits for this CPU, so that long work should stop and continue later.
    fn interrupt_pending(&self) -> bool;
    /// Carries out the part of effects that concerns other CPUs.
    fn kick(&self, effects: &Effects);

    /// The running vCPU's FS or GS base as the CPU has it.
    fn guest_base(&self, of: BaseOf) -> u64;
    /// Sets the running vCPU's FS or GS base in the CPU. The value is canonical.
    fn set_guest_base(&self, of: BaseOf, value: u64);

    /// The data selectors that the running vCPU has loaded.
    fn selectors(&self) -> Selectors {
        Selectors::default()
    }

    /// Loads the GS selector and keeps the GS base in use. Returns the base that the descriptor gave; `None` when the
    /// selector cannot be loaded (GS then holds 0).
    fn load_gs_selector(&self, selector: u16) -> Option<u64>;

    /// Sends bytes to the machine's console.
    fn console_write(&self, bytes: &[u8]);
    /// Takes bytes typed on the machine's console; returns how many.
    fn console_read(&self, out: &mut [u8]) -> usize;

    /// Reads an I/O port of the machine, `width` 1, 2 or 4 bytes.
    fn port_in(&self, port: u16, width: u8) -> u32;
    /// Writes an I/O port of the machine.
    fn port_out(&self, port: u16, width: u8, value: u32);
    /// First of the eight I/O ports of the serial console that the hypervisor keeps to itself, if it has one.
    fn console_port(&self) -> Option<u16> {
        Some(0x3f8)
    }
    /// CPUID of the machine: (eax, ebx, ecx, edx).
    fn cpuid(&self, leaf: u32, subleaf: u32) -> (u32, u32, u32, u32);

    /// Sets memory of the heap aside: the next allocation of this layout by the calling CPU gets it, and so does not fail. It comes
    /// at once ([`crate::room::shared`]). `false`: there is none.
    fn set_aside(&self, layout: Layout) -> bool;

    /// Stops the machine.
    fn power(&self, how: Power) -> !;
}

/// How the time stamp counter relates to nanoseconds (`struct vcpu_time_info` in xen.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// TSC at a reference point.
    pub tsc: u64,
    /// Nanoseconds since boot at that point.
    pub ns: u64,
    /// `tsc_to_system_mul`.
    pub mul: u32,
    /// `tsc_shift`.
    pub shift: i8,
    /// TSC frequency in kHz.
    pub khz: u32,
}
