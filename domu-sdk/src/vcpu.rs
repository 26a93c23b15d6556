//! Several CPUs.
//!
//! A domain begins on vCPU 0; [`spawn`] gives a closure to another one, and returns a handle for its result. Inside the closure
//! everything of the SDK may be used: a vCPU has its own stack, its own timer and its own executor ([`crate::executor::run`] and
//! [`crate::executor::spawn`] mean the vCPU they are called on), and event channels may be bound to it.
//!
//! # States of a vCPU
//! ```text
//!   offline --- first spawn ---> waiting <---+
//!                                   |        | the closure returned
//!                                 spawn ---> at work
//! ```
//! A vCPU that waits is blocked in the hypervisor and costs nothing. It is never taken down again.
//!
//! # Kicks
//! Each vCPU has a port of its own, bound to itself. Sending it an event ([`kick`]) wakes it from its block; so a waker that is used
//! on one vCPU reaches an executor on another. A vCPU masks events, looks whether there is work, and blocks; the hypervisor unmasks
//! and blocks in one step, so no kick is lost in between.
//!
//! # Locks
//! `SLOTS[n].job` is taken with nothing else held. `STARTING` is held while a vCPU is brought up.

use crate::{
    arch, events,
    executor::{self, WaitList},
    hypercall::vcpu as ops,
    sync::MaskedMutex,
    time,
};
use abi::errno::Errno;
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    fmt,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    task::{Context, Poll},
};
use spin::Once;

/// vCPUs that can be used: those that have their place in the page shared with the hypervisor.
pub const MAX_VCPUS: usize = 32;

/// Work for a vCPU.
type Job = Box<dyn FnOnce() + Send>;

/// What is known of a vCPU.
struct Slot {
    job: MaskedMutex<Option<Job>>,
    /// It has been given work, and has not finished it.
    busy: AtomicBool,
    /// Its own port. Nothing is there for a vCPU that never ran, and on vCPU 0 before there is a second one.
    port: Once<events::Channel>,
}

static SLOTS: [Slot; MAX_VCPUS] =
    [const { Slot { job: MaskedMutex::new(None), busy: AtomicBool::new(false), port: Once::new() } };
        MAX_VCPUS];
static STARTING: MaskedMutex<()> = MaskedMutex::new(());

/// Why no vCPU could be given work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpawnError {
    /// All vCPUs but the first are at work, or there are no others.
    NoneFree,
    /// The hypervisor refused to start one.
    Refused(Errno),
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoneFree => write!(f, "no other vCPU is free"),
            Self::Refused(errno) => write!(f, "starting a vCPU was refused: {errno}"),
        }
    }
}

impl core::error::Error for SpawnError {}

/// The number of the vCPU that this code runs on.
pub fn current() -> usize {
    arch::vcpu_index()
}

/// Number of vCPUs that the domain has, whether they are up or not; at most [`MAX_VCPUS`].
pub fn count() -> usize {
    (0..MAX_VCPUS).take_while(|&vcpu| ops::is_up(vcpu as u32).is_ok()).count().max(1)
}

/// Runs `work` on another vCPU that has nothing to do.
///
/// # Errors
/// If there is none, or the hypervisor refuses to start it.
pub fn spawn<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, SpawnError> {
    let vcpu = claim()?;
    let outcome = Arc::new(Outcome { value: MaskedMutex::new(None), waiting: WaitList::new() });
    let filled = outcome.clone();
    let job: Job = Box::new(move || {
        let value = work();
        // Before the result is there: who waits for it may give this vCPU work again.
        SLOTS[vcpu].busy.store(false, Ordering::Release);
        *filled.value.lock() = Some(value);
        filled.waiting.wake_all();
    });
    *SLOTS[vcpu].job.lock() = Some(job);
    if let Err(errno) = start(vcpu) {
        *SLOTS[vcpu].job.lock() = None;
        SLOTS[vcpu].busy.store(false, Ordering::Release);
        return Err(SpawnError::Refused(errno));
    }
    kick(vcpu);
    Ok(JoinHandle { vcpu, outcome })
}

/// Finds a vCPU that is not at work, and marks it so.
fn claim() -> Result<usize, SpawnError> {
    let mut all = 1..count();
    all.find(|&vcpu| !SLOTS[vcpu].busy.swap(true, Ordering::AcqRel)).ok_or(SpawnError::NoneFree)
}

/// Brings a vCPU up, if it was never up.
fn start(vcpu: usize) -> Result<(), Errno> {
    let _starting = STARTING.lock();
    for index in [0, vcpu] {
        SLOTS[index].port.try_call_once(|| {
            let channel = events::Channel::bind_ipi_on(index as u32)?;
            channel.on_event(|_| park_if_asked());
            Ok::<_, Errno>(channel)
        })?;
    }
    if ops::is_up(vcpu as u32)? {
        return Ok(());
    }
    time::init_vcpu(vcpu)?;
    arch::start_vcpu(vcpu, run)
}

/// Wakes a vCPU from its block. Nothing happens if it never ran.
pub(crate) fn kick(vcpu: usize) {
    if let Some(port) = SLOTS[vcpu].port.get() {
        let _ = port.notify();
    }
}

/// Whether all vCPUs but the first are to stand still, and how many do.
static PARK: AtomicBool = AtomicBool::new(false);
static PARKED: AtomicUsize = AtomicUsize::new(0);

/// The other vCPUs stand still, with events masked, until this is dropped.
pub(crate) struct Parked(());

/// Has all vCPUs but the first stand still; returns when they do. Called on the first, which holds no lock.
pub(crate) fn park_others() -> Parked {
    PARK.store(true, Ordering::Release);
    let running = |&vcpu: &usize| SLOTS[vcpu].port.get().is_some() && ops::is_up(vcpu as u32) == Ok(true);
    let others: Vec<usize> = (1..MAX_VCPUS).filter(running).collect();
    others.iter().for_each(|&vcpu| kick(vcpu));
    while PARKED.load(Ordering::Acquire) < others.len() {
        crate::hypercall::sched::yield_now();
    }
    Parked(())
}

impl Drop for Parked {
    fn drop(&mut self) {
        PARK.store(false, Ordering::Release);
        while PARKED.load(Ordering::Acquire) > 0 {
            crate::hypercall::sched::yield_now();
        }
    }
}

/// In a vCPU's handler of kicks.
fn park_if_asked() {
    if current() == 0 || !PARK.load(Ordering::Acquire) {
        return;
    }
    PARKED.fetch_add(1, Ordering::AcqRel);
    // No hypercall: the state of a vCPU that stands here is its registers only.
    while PARK.load(Ordering::Acquire) {
        core::hint::spin_loop();
    }
    time::arm_again();
    PARKED.fetch_sub(1, Ordering::AcqRel);
}

/// What a vCPU does but the first: its jobs, one after the other.
extern "C" fn run(vcpu: usize) -> ! {
    let slot = &SLOTS[vcpu];
    arch::events_enable();
    let _ = ops::stop_periodic_timer(vcpu as u32);
    loop {
        let job = slot.job.lock().take();
        match job {
            Some(job) => job(),
            None => arch::block_unless(&|| slot.job.lock().is_some()),
        }
    }
}

struct Outcome<T> {
    value: MaskedMutex<Option<T>>,
    waiting: WaitList,
}

/// The result of a closure on another vCPU: a future, or to be waited for with [`JoinHandle::join`].
///
/// Dropping it leaves the closure at work.
#[must_use = "the result is lost if nobody waits for it"]
pub struct JoinHandle<T> {
    vcpu: usize,
    outcome: Arc<Outcome<T>>,
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinHandle(vCPU {})", self.vcpu)
    }
}

impl<T> JoinHandle<T> {
    /// The vCPU that works on it.
    pub fn vcpu(&self) -> usize {
        self.vcpu
    }

    /// Waits for the result; the vCPU is blocked meanwhile, and its other tasks stand still.
    pub fn join(self) -> T {
        executor::block_on(self)
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // Registering first: a result that comes in between wakes this task again.
        self.outcome.waiting.register(context);
        let value = self.outcome.value.lock().take();
        value.map_or(Poll::Pending, Poll::Ready)
    }
}
