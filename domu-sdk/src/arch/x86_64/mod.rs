//! Bare metal: a PV guest on x86-64.

mod allocator;
mod entry;
mod image;
mod paging;
mod panic;
mod stubs;
mod suspend;
mod syscall;
mod user;
mod vcpu;
#[cfg(feature = "virtio")]
mod virtio;

pub use entry::STACK_SIZE;
pub use image::{command_line_bytes, module_bytes, start_info};
pub use paging::{MapError, machine_to_pfn, pfn_to_machine, table_entry};
pub(crate) use paging::{
    boot_page, direct_window, flush_all, frames_bytes, frames_bytes_mut, init_memory, is_ring_page,
    leak_frames, map_direct, map_machine, own_frames, pin_root, prepare_table, protect_direct, protect_image,
    retire_table, set_machine_frame, unmap_direct, unmap_machine, unpin_root, window_mem, window_slot,
    write_entries,
};
pub use panic::back_trace;
pub(crate) use panic::force_unlock;
pub use stubs::{
    EVENT_VECTOR, FAILSAFE_VECTOR, SYSCALL_VECTOR, TrapFrame, VECTORS, callback_stubs, trap_stub,
};
pub(crate) use stubs::{probe_read, probe_write};
pub(crate) use suspend::{enter_shared_info, leave_shared_info, p2m_frames, reload_start_info, suspend};
pub use syscall::hypercall as raw_hypercall;
pub(crate) use user::{UserContext, enter as enter_user, forget_root as forget_user_root};
pub(crate) use vcpu::{start_vcpu, vcpu_index};
#[cfg(feature = "virtio")]
pub(crate) use virtio::{Configuration, Machine};

use abi::{
    errno::Errno,
    xen::{SharedInfo, StartInfo, UVMF_ALL, UVMF_INVLPG, VcpuInfo, hypercall},
};
use core::{arch::asm, cell::UnsafeCell, mem::offset_of, ptr::NonNull};

use super::SharedMem;

/// A page of the image that is given another meaning by remapping it; its bytes are never a Rust object.
#[repr(C, align(4096))]
struct HomePage(UnsafeCell<[u8; 4096]>);

// SAFETY: A-4: only reached through `SharedMem`, or as an address.
unsafe impl Sync for HomePage {}

impl HomePage {
    const fn new() -> Self {
        Self(UnsafeCell::new([0; 4096]))
    }

    fn base(&self) -> NonNull<u8> {
        NonNull::from(&self.0).cast()
    }

    fn address(&self) -> u64 {
        self.base().addr().get() as u64
    }
}

/// Where the page shared with the hypervisor is mapped. Until then it is zeroed memory: events look masked to nobody.
static SHARED_INFO: HomePage = HomePage::new();

const MASK: usize = offset_of!(VcpuInfo, evtchn_upcall_mask);
const PENDING: usize = offset_of!(VcpuInfo, evtchn_upcall_pending);

/// Issues a hypercall for one of the wrappers of this crate, which vouches for the arguments.
pub(crate) fn call(number: u64, arguments: [u64; 5]) -> Result<u64, Errno> {
    #[cfg(feature = "count")]
    crate::hypercall::counted();
    // SAFETY: this function is reachable only from the crate's wrappers; each passes addresses of live values only, and
    // those that change mappings keep.
    Errno::check(unsafe { syscall::hypercall(number, arguments) })
}

/// First Rust code, called once by `_start` on the boot stack.
///
/// `start_info` is the address that the loader passed.
extern "C" fn start_rust(start_info: *const StartInfo) -> ! {
    // SAFETY: A-1: the loader's own page, mapped readable, before anybody else runs.
    unsafe { image::set_start_info(start_info) };
    crate::start::boot();
    unsafe extern "Rust" {
        fn domu_sdk_main() -> !;
    }
    // SAFETY: `#[domu_sdk::main]` defines the function with this signature; without it the guest does not link.
    unsafe { domu_sdk_main() }
}

/// Maps the shared page and puts a guard page under the boot stack.
pub(crate) fn map_shared_info() -> Result<(), Errno> {
    enter_shared_info()?;
    call(hypercall::UPDATE_VA_MAPPING, [image::stack().start - 4096, 0, UVMF_INVLPG, 0, 0])?;
    Ok(())
}

/// Maps something at the address of the page shared with the hypervisor, for all vCPUs.
fn map_shared_info_entry(entry: u64) -> Result<(), Errno> {
    let flags = UVMF_INVLPG | UVMF_ALL;
    call(hypercall::UPDATE_VA_MAPPING, [SHARED_INFO.address(), entry, flags, 0, 0]).map(|_| ())
}

/// The page shared with the hypervisor, laid out as [`SharedInfo`].
pub(crate) fn shared_info() -> SharedMem {
    // SAFETY: A-4: the page stays mapped for ever and no reference points into it.
    unsafe { SharedMem::new(SHARED_INFO.base(), size_of::<SharedInfo>().min(4096)) }
}

/// The part of that page that is this vCPU's, laid out as [`VcpuInfo`].
pub(crate) fn vcpu_info() -> SharedMem {
    let size = size_of::<VcpuInfo>();
    // SAFETY: the page begins with one such part for each vCPU below `MAX_VCPUS`; then as for `shared_info`.
    unsafe { SharedMem::new(SHARED_INFO.base().add(vcpu_index() * size), size) }
}

/// Masks events on this vCPU; tells whether they were enabled.
pub(crate) fn events_disable() -> bool {
    let shared = vcpu_info();
    let enabled = shared.load_u8(MASK) == 0;
    shared.store_u8(MASK, 1);
    enabled
}

/// Unmasks events on this vCPU and has the pending ones delivered.
pub(crate) fn events_enable() {
    let shared = vcpu_info();
    shared.store_u8(MASK, 0);
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
    if shared.load_u8(PENDING) != 0 {
        // Any hypercall delivers what is pending on its way back; this one does nothing else.
        let _ = call(hypercall::XEN_VERSION, [0; 5]);
    }
}

/// Whether events are masked on this vCPU.
pub(crate) fn events_masked() -> bool {
    vcpu_info().load_u8(MASK) != 0
}

/// The CPU's time-stamp counter.
pub(crate) fn time_stamp() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter; where the hypervisor traps it, it emulates it.
    unsafe { asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nomem, nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

/// A word from the processor's random generator; `None` if it has none, or none that works.
pub(crate) fn random_word() -> Option<u64> {
    /// Bit of CPUID leaf 1, `ecx`.
    const RDRAND: u32 = 1 << 30;
    /// A generator that works fails never so often in a row.
    const ATTEMPTS: usize = 16;
    static THERE: spin::Once<bool> = spin::Once::new();
    if !*THERE.call_once(|| cpuid(1, 0)[2] & RDRAND != 0) {
        return None;
    }
    (0..ATTEMPTS).find_map(|_| {
        let (word, good): (u64, u8);
        // SAFETY: the instruction exists, and changes only a register and flags.
        unsafe {
            asm!("rdrand {}", "setc {}", out(reg) word, out(reg_byte) good, options(nomem, nostack));
        }
        // Some processors answer with these when their generator is broken.
        (good != 0 && word != 0 && word != u64::MAX).then_some(word)
    })
}

/// CPUID as the hypervisor shows it to a PV guest: the forced-emulation prefix of the public header `arch-x86/xen.h`.
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let (a, b, c, d): (u32, u64, u32, u32);
    // SAFETY: the prefix is an invalid instruction that the hypervisor takes, with the CPUID after it, as a request; `rbx`
    // is saved because the compiler reserves it.
    unsafe {
        asm!(
            "mov {saved}, rbx",
            ".byte 0x0f, 0x0b, 0x78, 0x65, 0x6e",
            "cpuid",
            "xchg {saved}, rbx",
            saved = out(reg) b,
            inlateout("eax") leaf => a,
            inlateout("ecx") subleaf => c,
            lateout("edx") d,
            options(nostack),
        );
    }
    [a, b as u32, c, d]
}

/// Raises the breakpoint trap.
pub(crate) fn breakpoint() {
    // SAFETY: traps; the default handler or the guest's own returns after the instruction or ends the domain.
    unsafe { asm!("int3", options(nostack)) };
}

/// Raises the invalid-opcode trap; a handler that returns must step over the two bytes.
pub(crate) fn invalid_opcode() {
    // SAFETY: as for `breakpoint`.
    unsafe { asm!("ud2", options(nostack)) };
}

/// Blocks until an event comes, unless `ready` says that there is work. Events are masked while it is asked, and unmasked
/// afterwards.
pub(crate) fn block_unless(ready: &dyn Fn() -> bool) {
    events_disable();
    if ready() {
        events_enable();
    } else {
        crate::hypercall::sched::block();
    }
}
