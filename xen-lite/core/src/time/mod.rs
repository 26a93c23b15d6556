//! Timers of vCPUs, and the clocks that guests read from shared memory.
//!
//! # Timers
//! A vCPU has a single-shot and a periodic timer (both end in `VIRQ_TIMER`), a time-out for `SCHEDOP_poll`, and may hold its domain's
//! watchdogs. Deadlines are nanoseconds since boot; `u64::MAX` is none. A vCPU arms its own timers only, on the CPU that it
//! runs on, whose [`heap`] then holds it; the periodic timer that another vCPU set for it is armed when it next goes into its
//! guest. So a heap has these writers: its own CPU, and other CPUs taking out vCPUs that moved over to them.
//!
//! The hardware timer is always programmed for the lower of the heap's first key and the end of the running vCPU's slice. Making a
//! deadline later, or stopping a timer, touches neither heap nor hardware.
//!
//! # Clocks
//! A guest computes the time from its time stamp counter and the parameters in `vcpu_info.time`, and the date from `wc_*` in
//! `shared_info` (xen.h). A version number that is odd during a write tells readers to try again.

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::sync::Mutex;

use crate::Hypervisor;
use crate::addr::CpuId;
use crate::domain::{Pending, Vcpu};
use crate::effects::{Effects, Todo};
use crate::fail::Errno;
use crate::platform::Platform;

pub(crate) mod areas;
mod heap;
#[cfg(test)]
mod tests;

pub(crate) use areas::runstate_info;
pub use areas::{
    entered, init_wallclock, refresh_areas, register_runstate_area, register_time_area, set_wallclock,
    update_vcpu_time, wallclock_base,
};

/// No deadline.
pub const NEVER: u64 = u64::MAX;
/// Shortest period of a periodic timer, in nanoseconds; shorter ones are refused.
pub const MIN_PERIOD: u64 = 1_000_000;
/// In no heap.
const NO_HOME: u32 = u32::MAX;
/// Watchdogs of a domain.
pub const WATCHDOGS: usize = 2;

/// Timers and time areas of a vCPU.
#[derive(Debug)]
pub struct VcpuTime {
    singleshot: AtomicU64,
    periodic: AtomicU64,
    period: AtomicU64,
    poll: AtomicU64,
    watchdogs: [AtomicU64; WATCHDOGS],
    /// The CPU whose heap holds it, or [`NO_HOME`].
    home: AtomicU32,
    /// The key under which it does.
    key: AtomicU64,
    place: heap::Place,
    areas: areas::Areas,
}

impl Default for VcpuTime {
    fn default() -> Self {
        let never = || AtomicU64::new(NEVER);
        VcpuTime {
            singleshot: never(),
            periodic: never(),
            period: AtomicU64::new(0),
            poll: never(),
            watchdogs: [never(), never()],
            home: AtomicU32::new(NO_HOME),
            key: never(),
            place: heap::Place::default(),
            areas: areas::Areas::default(),
        }
    }
}

impl VcpuTime {
    fn due(&self) -> u64 {
        let [first, second] = &self.watchdogs;
        [&self.singleshot, &self.periodic, &self.poll, first, second]
            .into_iter()
            .fold(NEVER, |least, timer| least.min(timer.load(Ordering::Relaxed)))
    }

    /// The singleshot timer's deadline.
    pub fn singleshot(&self) -> u64 {
        self.singleshot.load(Ordering::Relaxed)
    }

    /// The periodic timer's period in nanoseconds; 0 when it is stopped.
    pub fn period(&self) -> u64 {
        self.period.load(Ordering::Relaxed)
    }

    /// The deadline of one of the domain's watchdogs, if this vCPU holds it.
    pub(crate) fn watchdog(&self, index: usize) -> &AtomicU64 {
        &self.watchdogs[index % WATCHDOGS]
    }

    /// No poll time-out any more.
    pub(crate) fn cancel_poll(&self) {
        self.poll.store(NEVER, Ordering::Relaxed);
    }

    /// Forgets which clock parameters were written: its `vcpu_info` moved.
    pub(crate) fn info_moved(&self) {
        self.areas.forget();
    }
}

bitflags::bitflags! {
    /// What a vCPU's timers ask for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Fired: u8 {
        const VIRQ = 1 << 0;
        const POLL = 1 << 1;
        const WATCHDOG = 1 << 2;
    }
}

/// The timers of one CPU.
#[derive(Debug)]
struct CpuTimers {
    heap: Mutex<heap::Heap>,
    /// The heap's first key: no timer is due before.
    earliest: AtomicU64,
    /// What the hardware was programmed for.
    programmed: AtomicU64,
}

/// All timers.
#[derive(Debug)]
pub struct Timers {
    cpus: Box<[CpuTimers]>,
    /// Nanoseconds since 1970 at boot as the control domain set them; 0 leaves what the machine says.
    wall_base: AtomicU64,
}

impl Timers {
    /// For `cpus` CPUs.
    pub(crate) fn new(cpus: u32) -> Timers {
        let one = |_| CpuTimers {
            heap: Mutex::default(),
            earliest: AtomicU64::new(NEVER),
            programmed: AtomicU64::new(NEVER),
        };
        Timers {
            cpus: (0..cpus).map(one).collect::<Vec<_>>().into_boxed_slice(),
            wall_base: AtomicU64::new(0),
        }
    }

    /// Makes room in every heap for `all` vCPUs that there will be.
    pub(crate) fn make_room(&self, all: usize) -> Result<(), Errno> {
        for cpu in &self.cpus {
            cpu.heap.lock().make_room(all)?;
        }
        Ok(())
    }

    fn of(&self, cpu: CpuId) -> &CpuTimers {
        &self.cpus[cpu.index() % self.cpus.len()]
    }

    /// The earliest deadline of a CPU's timers, slices apart.
    pub fn deadline(&self, cpu: CpuId) -> u64 {
        self.of(cpu).earliest.load(Ordering::Relaxed)
    }

    /// Programs the calling CPU's hardware timer, if what it is to be programmed for changed.
    #[inline]
    pub(crate) fn program<P: Platform>(&self, hv: &Hypervisor<P>, cpu: CpuId) -> u64 {
        let deadline = self.deadline(cpu).min(hv.sched.slice_end(cpu));
        let programmed = &self.of(cpu).programmed;
        if programmed.load(Ordering::Relaxed) != deadline {
            programmed.store(deadline, Ordering::Relaxed);
            hv.platform.set_timer(deadline);
        }
        deadline
    }

    /// The running vCPU set one of its deadlines to `deadline`.
    #[inline]
    fn arm<P: Platform>(&self, hv: &Hypervisor<P>, vcpu: &Arc<Vcpu>, deadline: u64) {
        if deadline == NEVER {
            return;
        }
        let cpu = hv.platform.cpu();
        let time = &vcpu.time;
        let is_here = time.home.load(Ordering::Relaxed) == cpu.raw();
        if !is_here || deadline < time.key.load(Ordering::Relaxed) {
            self.enter(vcpu, cpu);
            self.program(hv, cpu);
        }
    }

    /// Enters a vCPU in a CPU's heap under its earliest deadline. All its timers count there from now on.
    fn enter(&self, vcpu: &Arc<Vcpu>, cpu: CpuId) {
        let time = &vcpu.time;
        if time.home.load(Ordering::Relaxed) != cpu.raw() {
            self.leave(vcpu);
        }
        let timers = self.of(cpu);
        let mut heap = timers.heap.lock();
        let due = time.due();
        heap.add(vcpu, due);
        time.key.store(due, Ordering::Relaxed);
        time.home.store(cpu.raw(), Ordering::Relaxed);
        timers.note_first(&heap);
    }

    /// Takes a vCPU out of the heap that holds it.
    fn leave(&self, vcpu: &Vcpu) {
        let home = vcpu.time.home.load(Ordering::Relaxed);
        if home != NO_HOME {
            let timers = self.of(CpuId::new(home));
            let mut heap = timers.heap.lock();
            heap.remove(vcpu);
            vcpu.time.home.store(NO_HOME, Ordering::Relaxed);
            timers.note_first(&heap);
        }
    }

    /// Forgets a vCPU that will never run again.
    pub fn forget(&self, vcpu: &Arc<Vcpu>) {
        let time = &vcpu.time;
        for timer in [&time.singleshot, &time.periodic, &time.poll].into_iter().chain(&time.watchdogs) {
            timer.store(NEVER, Ordering::Relaxed);
        }
        self.leave(vcpu);
    }
}

impl CpuTimers {
    fn note_first(&self, heap: &heap::Heap) {
        self.earliest.store(heap.first().unwrap_or(NEVER), Ordering::Relaxed);
    }
}

/// Sets the running vCPU's single-shot timer; [`NEVER`] stops it. A deadline in the past fires at once.
#[inline]
pub fn set_singleshot<P: Platform>(hv: &Hypervisor<P>, vcpu: &Arc<Vcpu>, deadline: u64) {
    vcpu.time.singleshot.store(deadline, Ordering::Relaxed);
    hv.sched.timers.arm(hv, vcpu, deadline);
}

/// Sets the running vCPU's periodic timer; 0 stops it.
///
/// # Errors
/// `EINVAL` for a period below [`MIN_PERIOD`] or beyond what can be added to the clock.
pub fn set_periodic<P: Platform>(hv: &Hypervisor<P>, vcpu: &Arc<Vcpu>, period: u64) -> Result<(), Errno> {
    let next = store_periodic(hv, vcpu, period)?;
    hv.sched.timers.arm(hv, vcpu, next);
    Ok(())
}

/// Sets the periodic timer of a vCPU that is not the running one; 0 stops it. It starts when that vCPU runs, as it does at once
/// if it is not waiting for something: a periodic timer does not end a wait that began before it.
///
/// # Errors
/// As [`set_periodic`].
pub fn set_periodic_of<P: Platform>(
    hv: &Hypervisor<P>,
    vcpu: &Arc<Vcpu>,
    period: u64,
) -> Result<Effects, Errno> {
    store_periodic(hv, vcpu, period)?;
    vcpu.pending.fetch_or(Pending::TIMER.bits(), Ordering::SeqCst);
    let kick = vcpu.sched.running_on().map_or(0, |cpu| 1 << cpu.raw());
    Ok(Effects { kick, ..Effects::NONE })
}

/// The running vCPU puts timers that another vCPU set into its CPU's list.
#[cold]
pub(crate) fn take_over<P: Platform>(hv: &Hypervisor<P>, vcpu: &Arc<Vcpu>) {
    vcpu.pending.fetch_and(!Pending::TIMER.bits(), Ordering::SeqCst);
    hv.sched.timers.arm(hv, vcpu, vcpu.time.due());
}

fn store_periodic<P: Platform>(hv: &Hypervisor<P>, vcpu: &Vcpu, period: u64) -> Result<u64, Errno> {
    let next = match period {
        0 => NEVER,
        _ if period < MIN_PERIOD => return Err(Errno::EINVAL),
        _ => hv.platform.now().checked_add(period).filter(|next| *next < 1 << 63).ok_or(Errno::EINVAL)?,
    };
    vcpu.time.period.store(period, Ordering::Relaxed);
    vcpu.time.periodic.store(next, Ordering::Relaxed);
    Ok(next)
}

/// Sets the running vCPU's poll time-out; [`NEVER`] is none.
pub(crate) fn set_poll<P: Platform>(hv: &Hypervisor<P>, vcpu: &Arc<Vcpu>, deadline: u64) {
    vcpu.time.poll.store(deadline, Ordering::Relaxed);
    hv.sched.timers.arm(hv, vcpu, deadline);
}

/// Makes the running vCPU the holder of one of its domain's watchdogs; [`NEVER`] stops it.
pub(crate) fn set_watchdog<P: Platform>(hv: &Hypervisor<P>, vcpu: &Arc<Vcpu>, index: usize, deadline: u64) {
    vcpu.time.watchdog(index).store(deadline, Ordering::Relaxed);
    hv.sched.timers.arm(hv, vcpu, deadline);
}

/// The calling CPU's timer interrupt: fires what is due, and programs the timer for what comes next.
pub fn tick<P: Platform>(hv: &Hypervisor<P>, cpu: CpuId, now: u64) -> Effects {
    let timers = hv.sched.timers.of(cpu);
    let mut effects = Effects::NONE;
    while now >= timers.earliest.load(Ordering::Relaxed) {
        if let Some((vcpu, what)) = take_first(timers, now) {
            effects = effects.and(fire(hv, &vcpu, what));
        }
    }
    if now >= hv.sched.slice_end(cpu) {
        effects = effects.and(Effects::todo(Todo::RESCHEDULE));
    }
    // The hardware's deadline has passed, whatever it was.
    timers.programmed.store(0, Ordering::Relaxed);
    hv.sched.timers.program(hv, cpu);
    effects
}

/// Looks at the first entry of a heap if its key has passed, and gives it a new key or takes it out. What is to be done for its vCPU,
/// if a deadline has passed too.
fn take_first(timers: &CpuTimers, now: u64) -> Option<(Arc<Vcpu>, Fired)> {
    let mut heap = timers.heap.lock();
    let vcpu = match heap.first() {
        Some(key) if key <= now => heap.first_vcpu()?.clone(),
        _ => {
            timers.note_first(&heap);
            return None;
        }
    };
    let time = &vcpu.time;
    let fired = if time.due() <= now { expire(time, now) } else { Fired::empty() };
    let due = time.due();
    if due == NEVER {
        heap.remove(&vcpu);
        time.home.store(NO_HOME, Ordering::Relaxed);
    } else {
        time.key.store(due, Ordering::Relaxed);
        heap.rekey_first(due);
    }
    timers.note_first(&heap);
    (!fired.is_empty()).then_some((vcpu, fired))
}

/// Whether a deadline has passed; if so it becomes the next one. The vCPU may have moved to another CPU and set a new
/// deadline there meanwhile, which must not be lost.
fn take_due(timer: &AtomicU64, now: u64, next: impl Fn(u64) -> u64) -> bool {
    let due = |deadline| (deadline <= now).then(|| next(deadline));
    timer.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_ok()
}

/// Stops the timers that are due, moves the periodic one on, and says what is to be done.
fn expire(time: &VcpuTime, now: u64) -> Fired {
    let mut what = Fired::empty();
    if take_due(&time.singleshot, now, |_| NEVER) {
        what |= Fired::VIRQ;
    }
    let period = time.period.load(Ordering::Relaxed).max(MIN_PERIOD);
    if take_due(&time.periodic, now, |due| due.saturating_add(((now - due) / period + 1) * period)) {
        what |= Fired::VIRQ;
    }
    if take_due(&time.poll, now, |_| NEVER) {
        what |= Fired::POLL;
    }
    for watchdog in &time.watchdogs {
        if take_due(watchdog, now, |_| NEVER) {
            what |= Fired::WATCHDOG;
        }
    }
    what
}

fn fire<P: Platform>(hv: &Hypervisor<P>, vcpu: &Arc<Vcpu>, what: Fired) -> Effects {
    let Some(domain) = vcpu.domain.upgrade() else { return Effects::NONE };
    let mut effects = Effects::NONE;
    if what.contains(Fired::VIRQ) {
        effects = effects.and(crate::event::send_vcpu_virq(hv, &domain, vcpu, abi::xen::VIRQ_TIMER));
    }
    if what.contains(Fired::POLL) {
        effects = effects.and(hv.sched.unblock(hv, vcpu));
    }
    if what.contains(Fired::WATCHDOG) {
        effects = effects.and(crate::sched::shut_down(hv, &domain, abi::sched::SHUTDOWN_WATCHDOG));
    }
    effects
}
