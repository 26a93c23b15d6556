//! Time since the machine started, sleeping, and the date.
//!
//! The hypervisor publishes pairs (time-stamp counter, system time) with a scale in the shared page (`struct vcpu_time_info`),
//! under a version that is odd while it writes. [`Instant::now`] reads a consistent copy and adds what the counter has gone on
//! since. Sleeping tasks wait in a queue ordered by deadline, one per vCPU; the earliest
//! one is what the vCPU's one-shot timer is set to.

use crate::{arch, events, hypercall::timer, sync::MaskedMutex, types::Port, vcpu::MAX_VCPUS};
use abi::errno::Errno;
use abi::xen::{SharedInfo, VIRQ_TIMER, VcpuInfo, VcpuTimeInfo};
use alloc::collections::BTreeMap;
use core::{
    future::Future,
    mem::offset_of,
    ops::{Add, Sub},
    pin::Pin,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};
use futures_core::Stream;
use spin::Once;

/// A moment, in nanoseconds of system time: since the hypervisor started. In a domain that was saved and restored it goes on where it
/// was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// This moment.
    pub fn now() -> Self {
        Self(forward(machine_time().wrapping_add_signed(OFFSET.load(Ordering::Relaxed))))
    }

    /// The moment at this system time.
    pub const fn from_nanoseconds(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// Nanoseconds of system time.
    pub const fn nanoseconds(self) -> u64 {
        self.0
    }

    /// How long ago this was; zero if it is yet to come.
    pub fn elapsed(self) -> Duration {
        Self::now() - self
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Stops at the end of time.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// Zero if `earlier` is later.
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// What [`Instant`]s are ahead of the hypervisor's system time. A domain that was restored goes on with its own time.
static OFFSET: AtomicI64 = AtomicI64::new(0);

/// The hypervisor's system time, in nanoseconds.
fn machine_time() -> u64 {
    let shared = arch::vcpu_info();
    let base = offset_of!(VcpuInfo, time);
    loop {
        let version = shared.load_u32(base);
        let info: VcpuTimeInfo = shared.get(base);
        let counter = arch::time_stamp();
        if version & 1 == 0 && shared.load_u32(base) == version {
            return system_time(&info, counter);
        }
        core::hint::spin_loop();
    }
}

/// The hypervisor's system time at a moment; at least 1.
fn to_machine_time(moment: u64) -> u64 {
    let moment = i64::try_from(moment).unwrap_or(i64::MAX);
    moment.saturating_sub(OFFSET.load(Ordering::Relaxed)).max(1).unsigned_abs()
}

/// Time goes on at `moment`, whatever the hypervisor's says.
pub(crate) fn go_on_at(moment: Instant) {
    OFFSET.store(moment.0.wrapping_sub(machine_time()).cast_signed(), Ordering::Relaxed);
}

/// Sets this vCPU's timer again.
pub(crate) fn arm_again() {
    let vcpu = arch::vcpu_index();
    let _ = crate::hypercall::vcpu::stop_periodic_timer(vcpu as u32);
    arm(&TIMERS[vcpu].sleepers.lock());
}

/// The latest moment that any vCPU has seen. Their clocks differ by nanoseconds; time must not go back for who asks two of them.
static LATEST: AtomicU64 = AtomicU64::new(0);

fn forward(now: u64) -> u64 {
    now.max(LATEST.fetch_max(now, Ordering::Relaxed))
}

/// System time at counter value `counter` (public header `xen.h`, `vcpu_time_info`).
fn system_time(info: &VcpuTimeInfo, counter: u64) -> u64 {
    let delta = counter.wrapping_sub(info.tsc_timestamp);
    // A counter that seems to have gone back a little is another CPU's: no time has passed.
    let delta = if delta > i64::MAX as u64 { 0 } else { delta };
    let shift = u32::from(info.tsc_shift.unsigned_abs()).min(63);
    let scaled = if info.tsc_shift < 0 { delta >> shift } else { delta << shift };
    let passed = (u128::from(scaled) * u128::from(info.tsc_to_system_mul)) >> 32;
    info.system_time.wrapping_add(passed as u64)
}

/// Seconds and nanoseconds since 1970, as the hypervisor keeps them.
pub fn date() -> Duration {
    let shared = arch::shared_info();
    let base = offset_of!(SharedInfo, wc_version);
    loop {
        let version = shared.load_u32(base);
        let low = shared.load_u32(offset_of!(SharedInfo, wc_sec));
        let high = shared.load_u32(offset_of!(SharedInfo, wc_sec_hi));
        let nanoseconds = shared.load_u32(offset_of!(SharedInfo, wc_nsec));
        if version & 1 == 0 && shared.load_u32(base) == version {
            let start = Duration::from_secs(u64::from(high) << 32 | u64::from(low));
            return start + Duration::from_nanos(nanoseconds.into()) + Duration::from_nanos(machine_time());
        }
        core::hint::spin_loop();
    }
}

/// Sleeping tasks by deadline; the number tells equal deadlines apart.
type Sleepers = BTreeMap<(u64, u64), Waker>;

/// What each vCPU has of its own: its sleeping tasks, and the port of its timer.
struct Timer {
    sleepers: MaskedMutex<Sleepers>,
    port: Once<events::Channel>,
}

static TIMERS: [Timer; MAX_VCPUS] =
    [const { Timer { sleepers: MaskedMutex::new(BTreeMap::new()), port: Once::new() } }; MAX_VCPUS];
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Starts listening to the boot vCPU's timer.
pub(crate) fn init() {
    if init_vcpu(0).is_ok() {
        let _ = crate::hypercall::vcpu::stop_periodic_timer(0);
    }
}

/// Starts listening to a vCPU's timer.
pub(crate) fn init_vcpu(vcpu: usize) -> Result<(), Errno> {
    TIMERS[vcpu].port.try_call_once(|| {
        let channel = events::Channel::bind_virq_on(VIRQ_TIMER, vcpu as u32)?;
        channel.on_event(|_: Port| wake_due());
        Ok(channel)
    })?;
    Ok(())
}

/// Wakes everybody on this vCPU whose time has come, and sets the timer for the next.
fn wake_due() {
    let mut sleepers = TIMERS[arch::vcpu_index()].sleepers.lock();
    let now = Instant::now().0;
    while let Some(entry) = sleepers.first_entry().filter(|entry| entry.key().0 <= now) {
        entry.remove().wake();
    }
    arm(&sleepers);
}

fn arm(sleepers: &Sleepers) {
    if let Some(((deadline, _), _)) = sleepers.first_key_value() {
        let _ = timer::set(to_machine_time(*deadline));
    }
}

/// Waits for a while.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(Instant::now() + duration)
}

/// Waits until a moment.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline: deadline.0, number: NEXT.fetch_add(1, Ordering::Relaxed), vcpu: None }
}

/// A task that waits for a moment; what [`sleep`] returns.
#[derive(Debug)]
#[must_use = "it sleeps only when awaited"]
pub struct Sleep {
    deadline: u64,
    number: u64,
    /// The vCPU among whose sleepers it is.
    vcpu: Option<usize>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now().0 >= self.deadline {
            return Poll::Ready(());
        }
        let (key, here) = ((self.deadline, self.number), arch::vcpu_index());
        if let Some(before) = self.vcpu.replace(here).filter(|&before| before != here) {
            TIMERS[before].sleepers.lock().remove(&key);
        }
        let mut sleepers = TIMERS[here].sleepers.lock();
        sleepers.insert(key, context.waker().clone());
        if sleepers.first_key_value().is_some_and(|(first, _)| *first == key) {
            arm(&sleepers);
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(vcpu) = self.vcpu {
            TIMERS[vcpu].sleepers.lock().remove(&(self.deadline, self.number));
        }
    }
}

/// Moments at equal distances, the first one `period` from now. Panics if the period is zero.
pub fn interval(period: Duration) -> Interval {
    assert!(!period.is_zero(), "an interval needs a period");
    Interval { period, sleep: sleep(period) }
}

/// Moments at equal distances; what [`interval`] returns. As a [`Stream`] it never ends.
///
/// Who comes late gets the moments that have passed at once, one after the other: their number stays right.
#[derive(Debug)]
#[must_use = "time passes by itself"]
pub struct Interval {
    period: Duration,
    sleep: Sleep,
}

impl Interval {
    /// Waits for the next moment, and returns it.
    pub async fn tick(&mut self) -> Instant {
        core::future::poll_fn(|context| self.poll_tick(context)).await
    }

    fn poll_tick(&mut self, context: &mut Context<'_>) -> Poll<Instant> {
        Pin::new(&mut self.sleep).poll(context).map(|()| {
            let now = Instant(self.sleep.deadline);
            self.sleep = sleep_until(now + self.period);
            now
        })
    }
}

impl Stream for Interval {
    type Item = Instant;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Instant>> {
        self.poll_tick(context).map(Some)
    }
}

/// The result of `future`, or `None` if it takes longer than `duration`.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Option<F::Output> {
    let mut future = core::pin::pin!(future);
    let mut limit = core::pin::pin!(sleep(duration));
    core::future::poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        limit.as_mut().poll(context).map(|()| None)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_ticks_come_at_once_and_none_is_lost() {
        let mut ticks = interval(Duration::from_nanos(1));
        // The clock of a host stands still at 0, so all that is asked for is yet to come.
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(ticks.poll_tick(&mut context), Poll::Pending);
        ticks.sleep = sleep_until(Instant(0));
        ticks.period = Duration::ZERO;
        assert_eq!(ticks.poll_tick(&mut context), Poll::Ready(Instant(0)));
        assert_eq!(ticks.poll_tick(&mut context), Poll::Ready(Instant(0)));
    }

    fn info(shift: i8, mul: u32) -> VcpuTimeInfo {
        VcpuTimeInfo {
            tsc_timestamp: 1000,
            system_time: 5_000,
            tsc_to_system_mul: mul,
            tsc_shift: shift,
            ..VcpuTimeInfo::default()
        }
    }

    #[test]
    fn scales_the_counter() {
        assert_eq!(system_time(&info(0, 1 << 31), 3000), 6_000);
        assert_eq!(system_time(&info(1, 1 << 31), 3000), 7_000);
        assert_eq!(system_time(&info(-1, 1 << 31), 3000), 5_500);
    }

    #[test]
    fn counter_behind_the_stamp_adds_nothing() {
        assert_eq!(system_time(&info(0, 1 << 31), 990), 5_000);
    }

    #[test]
    fn large_deltas_do_not_overflow() {
        let day: u64 = 86_400 * 3_000_000_000;
        assert_eq!(
            system_time(&info(0, u32::MAX), 1000 + day) - 5_000,
            ((u128::from(day) * u128::from(u32::MAX)) >> 32) as u64
        );
    }
}
