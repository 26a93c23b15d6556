//! Clock parameters, the date, and run states in memory that guests read.

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use abi::vcpu::VcpuRunstateInfo;
use abi::xen::VcpuTimeInfo;
use zerocopy::IntoBytes;

use crate::Hypervisor;
use crate::addr::{DomId, GuestVirt, MachineAddr};
use crate::domain::{Domain, Mode, Vcpu, VcpuState};
use crate::fail::Errno;
use crate::hypercall::guest::range_ok;
use crate::platform::{Fault, Platform};
use crate::sched::Runstate;

/// Word of `vcpu_info` where its `time` begins.
const TIME_WORD: usize = core::mem::offset_of!(abi::xen::VcpuInfo, time) / 8;
/// Word of `shared_info` that holds `wc_version` and `wc_sec`.
const WALLCLOCK_WORD: usize = core::mem::offset_of!(abi::xen::SharedInfo, wc_version) / 8;
/// Bit of `state_entry_time` that marks an update under way (`XEN_RUNSTATE_UPDATE`).
const RUNSTATE_UPDATE: u64 = 1 << 63;
const STATE_ENTRY_TIME: u64 = core::mem::offset_of!(VcpuRunstateInfo, state_entry_time) as u64;

/// Where a vCPU wants copies, as addresses in its own address space; 0 is none.
#[derive(Debug)]
pub(super) struct Areas {
    time: AtomicU64,
    runstate: AtomicU64,
    /// The copies are out of date, and could not be written yet.
    stale: AtomicBool,
    /// TSC of the clock parameters last written to `vcpu_info`; `u64::MAX` is none.
    written: AtomicU64,
}

impl Default for Areas {
    fn default() -> Self {
        Areas {
            time: AtomicU64::new(0),
            runstate: AtomicU64::new(0),
            stale: AtomicBool::new(false),
            written: AtomicU64::new(u64::MAX),
        }
    }
}

impl Areas {
    pub(super) fn forget(&self) {
        self.written.store(u64::MAX, Ordering::Relaxed);
    }
}

/// The version while a write is under way, and after it.
fn versions(before: u32) -> (u32, u32) {
    let odd = before.wrapping_add(1) | 1;
    (odd, odd.wrapping_add(1))
}

/// Writes the clock parameters into the vCPU's `vcpu_info`, if they changed.
pub fn update_vcpu_time<P: Platform>(hv: &Hypervisor<P>, vcpu: &Vcpu) {
    let clock = hv.platform.clock();
    if vcpu.time.areas.written.swap(clock.tsc, Ordering::Relaxed) == clock.tsc {
        return;
    }
    let Some(info) = vcpu.info() else { return };
    let (mfn, word) = (info.mfn(), info.offset() / 8 + TIME_WORD);
    let (odd, even) = versions(hv.platform.load(mfn, word) as u32);
    hv.platform.store(mfn, word, u64::from(odd));
    hv.platform.store(mfn, word + 1, clock.tsc);
    hv.platform.store(mfn, word + 2, clock.ns);
    hv.platform.store(mfn, word + 3, u64::from(clock.mul) | u64::from(clock.shift as u8) << 32);
    hv.platform.store(mfn, word, u64::from(even));
    vcpu.time.areas.stale.store(true, Ordering::Relaxed);
}

/// The calling CPU switched to this vCPU, and its address space is loaded: brings what it reads about time up to date.
pub fn entered<P: Platform>(hv: &Hypervisor<P>, domain: &Domain, vcpu: &Vcpu, state: &VcpuState) {
    update_vcpu_time(hv, vcpu);
    if vcpu.time.areas.runstate.load(Ordering::Relaxed) != 0 {
        vcpu.time.areas.stale.store(true, Ordering::Relaxed);
    }
    refresh_areas(hv, domain, vcpu, state);
}

/// Writes the areas that the guest registered by address, if they are out of date and the guest's kernel tables are
/// loaded (its user tables need not map them). To be called again when the guest goes from user to kernel mode.
#[inline]
pub fn refresh_areas<P: Platform>(hv: &Hypervisor<P>, domain: &Domain, vcpu: &Vcpu, state: &VcpuState) {
    let areas = &vcpu.time.areas;
    if !areas.stale.load(Ordering::Relaxed) || state.mode != Mode::Kernel {
        return;
    }
    areas.stale.store(false, Ordering::Relaxed);
    // A guest that unmapped an area gets no update and no error: the next switch tries again.
    let _ = write_time(hv, vcpu);
    let _ = write_runstate(hv, domain, vcpu);
}

fn write_time<P: Platform>(hv: &Hypervisor<P>, vcpu: &Vcpu) -> Result<(), Fault> {
    let address = vcpu.time.areas.time.load(Ordering::Relaxed);
    let Some(info) = vcpu.info() else { return Ok(()) };
    if address == 0 {
        return Ok(());
    }
    let time = read_time(hv, info);
    let at = GuestVirt::new(address);
    hv.platform.copy_out(at, time.version.wrapping_sub(1).as_bytes())?;
    hv.platform.copy_out(at, VcpuTimeInfo { version: time.version.wrapping_sub(1), ..time }.as_bytes())?;
    hv.platform.copy_out(at, time.version.as_bytes())
}

fn read_time<P: Platform>(hv: &Hypervisor<P>, info: MachineAddr) -> VcpuTimeInfo {
    let word = |n: usize| hv.platform.load(info.mfn(), info.offset() / 8 + TIME_WORD + n);
    let scale = word(3);
    VcpuTimeInfo {
        version: word(0) as u32 & !1,
        pad0: 0,
        tsc_timestamp: word(1),
        system_time: word(2),
        tsc_to_system_mul: scale as u32,
        tsc_shift: (scale >> 32) as i8,
        flags: (scale >> 40) as u8,
        pad1: [0; 2],
    }
}

/// The public form of an account.
pub(crate) fn runstate_info(account: &Runstate) -> VcpuRunstateInfo {
    let mut info = <VcpuRunstateInfo as zerocopy::FromZeros>::new_zeroed();
    info.state = account.state as i32;
    info.state_entry_time = account.since;
    info.time = account.times;
    info
}

fn write_runstate<P: Platform>(hv: &Hypervisor<P>, domain: &Domain, vcpu: &Vcpu) -> Result<(), Fault> {
    let address = vcpu.time.areas.runstate.load(Ordering::Relaxed);
    if address == 0 {
        return Ok(());
    }
    let mut info = runstate_info(&vcpu.sched.account());
    let flagged =
        domain.vm_assist.load(Ordering::Relaxed) & 1 << abi::xen::VMASST_TYPE_RUNSTATE_UPDATE_FLAG != 0;
    let at = GuestVirt::new(address);
    if flagged {
        let entry = GuestVirt::new(address + STATE_ENTRY_TIME);
        info.state_entry_time |= RUNSTATE_UPDATE;
        hv.platform.copy_out(entry, info.state_entry_time.as_bytes())?;
        hv.platform.copy_out(at, info.as_bytes())?;
        info.state_entry_time &= !RUNSTATE_UPDATE;
        hv.platform.copy_out(entry, info.state_entry_time.as_bytes())
    } else {
        hv.platform.copy_out(at, info.as_bytes())
    }
}

/// The start of an area must not be the hypervisor's; whether all of it can be written shows when it is.
fn in_guests_part(address: u64) -> Result<(), Errno> {
    if range_ok(address, 1) { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Registers where a vCPU wants its clock parameters copied; 0 takes that back. Written at once if it is the running vCPU's own.
///
/// # Errors
/// `EFAULT` when the address is in the hypervisor's part.
pub fn register_time_area<P: Platform>(
    hv: &Hypervisor<P>,
    vcpu: &Vcpu,
    address: u64,
    own: bool,
) -> Result<(), Errno> {
    in_guests_part(address)?;
    let areas = &vcpu.time.areas;
    areas.time.store(address, Ordering::Relaxed);
    if !own {
        areas.stale.store(true, Ordering::Relaxed);
        return Ok(());
    }
    // An address where nothing is mapped now may be fine later.
    let _ = write_time(hv, vcpu);
    Ok(())
}

/// Registers where a vCPU wants its run state copied; 0 takes that back. Written at once if it is the running vCPU's own.
///
/// # Errors
/// `EFAULT` when the address is in the hypervisor's part.
pub fn register_runstate_area<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Domain,
    vcpu: &Vcpu,
    address: u64,
    own: bool,
) -> Result<(), Errno> {
    in_guests_part(address)?;
    vcpu.time.areas.runstate.store(address, Ordering::Relaxed);
    if own {
        // As above.
        let _ = write_runstate(hv, domain, vcpu);
    }
    Ok(())
}

/// Nanoseconds since 1970 when the machine's clock was 0.
pub fn wallclock_base<P: Platform>(hv: &Hypervisor<P>) -> u64 {
    match hv.sched.timers.wall_base.load(Ordering::Relaxed) {
        0 => {
            let (seconds, ns) = hv.platform.wall_clock_at_boot();
            seconds.saturating_mul(1_000_000_000).saturating_add(u64::from(ns))
        }
        base => base,
    }
}

/// Sets the date (`XENPF_settime64`): at `system_time` nanoseconds since boot it was `seconds` and `ns` since 1970. All domains see it.
pub fn set_wallclock<P: Platform>(hv: &Hypervisor<P>, seconds: u64, ns: u32, system_time: u64) {
    let date = seconds.saturating_mul(1_000_000_000).saturating_add(u64::from(ns));
    hv.sched.timers.wall_base.store(date.saturating_sub(system_time).max(1), Ordering::Relaxed);
    let mut next = DomId::DOM0;
    while let Some(domain) = hv.domains.next_from(next) {
        init_wallclock(hv, &domain);
        let Some(after) = domain.id.checked_add(1) else { break };
        next = after;
    }
}

/// Writes the date into a domain's `shared_info`.
pub fn init_wallclock<P: Platform>(hv: &Hypervisor<P>, domain: &Domain) {
    let base = wallclock_base(hv);
    let (seconds, ns) = (base / 1_000_000_000, base % 1_000_000_000);
    let (mfn, word) = (domain.shared_info, WALLCLOCK_WORD);
    let (odd, even) = versions(hv.platform.load(mfn, word) as u32);
    let low = (seconds & 0xffff_ffff) << 32;
    hv.platform.store(mfn, word, u64::from(odd) | low);
    hv.platform.store(mfn, word + 1, ns | (seconds >> 32) << 32);
    hv.platform.store(mfn, word, u64::from(even) | low);
}
