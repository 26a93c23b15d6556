//! The clock: time stamp counter, calibrated once, and the date at boot.
//!
//! Nanoseconds since boot are `(tsc - BASE) · MUL >> 32`, shifted as `vcpu_time_info` states it, so guests compute the
//! same. The rate is measured against the ACPI PM timer or, without it, channel 2 of the PIT, over 5 ms; both ends of
//! the measurement are at the very moment when the slow counter steps.

use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use xen_lite_core::platform::Clock;

use crate::port::{inb, inl, outb};

static BASE: AtomicU64 = AtomicU64::new(0);
static MUL: AtomicU32 = AtomicU32::new(0);
static SHIFT: AtomicI32 = AtomicI32::new(0);
static KHZ: AtomicU32 = AtomicU32::new(0);
static WALL_SECONDS: AtomicU64 = AtomicU64::new(0);

const PM_TIMER_HZ: u64 = 3_579_545;
const PIT_HZ: u64 = 1_193_182;
/// How long calibration measures.
const MEASURE_MS: u64 = 5;
/// Reads of the slow counter after which it is taken to stand still.
const PATIENCE: u32 = 1_000_000;

/// The time stamp counter.
#[inline(always)]
pub fn tsc() -> u64 {
    // SAFETY: S-04: every CPU in long mode has it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Nanoseconds since boot.
#[inline(always)]
pub fn now() -> u64 {
    to_ns(tsc().wrapping_sub(BASE.load(Ordering::Relaxed)))
}

#[inline(always)]
fn to_ns(ticks: u64) -> u64 {
    let shift = SHIFT.load(Ordering::Relaxed);
    let ticks = if shift >= 0 { ticks << shift } else { ticks >> -shift };
    ((u128::from(ticks) * u128::from(MUL.load(Ordering::Relaxed))) >> 32) as u64
}

/// The time stamp counter's value at a time.
pub fn tsc_at(ns: u64) -> u64 {
    let ticks = u128::from(ns) * u128::from(KHZ.load(Ordering::Relaxed)) / 1_000_000;
    BASE.load(Ordering::Relaxed).saturating_add(u64::try_from(ticks).unwrap_or(u64::MAX))
}

/// The parameters that guests compute with. The reference point is boot.
pub fn clock() -> Clock {
    Clock {
        tsc: BASE.load(Ordering::Relaxed),
        ns: 0,
        mul: MUL.load(Ordering::Relaxed),
        shift: SHIFT.load(Ordering::Relaxed) as i8,
        khz: khz(),
    }
}

/// Rate of the time stamp counter.
pub fn khz() -> u32 {
    KHZ.load(Ordering::Relaxed)
}

/// Seconds since 1970 when the clock started.
pub fn wall_clock_at_boot() -> (u64, u32) {
    (WALL_SECONDS.load(Ordering::Relaxed), 0)
}

/// Measures the rate and reads the date. `pm_timer` is the port of the ACPI PM timer.
///
/// # Errors
/// A text when no counter moves.
pub fn init(pm_timer: Option<u16>) -> Result<&'static str, &'static str> {
    let by_pm_timer = pm_timer.and_then(|port| {
        let ticks = PM_TIMER_HZ * MEASURE_MS / 1000;
        measure(|| inl(port) & 0xff_ffff, 0xff_ffff, ticks, true)
            .map(|(tsc, ticks)| tsc * PM_TIMER_HZ / ticks)
    });
    let (hz, source) = match by_pm_timer {
        Some(hz) => (hz, "ACPI PM timer"),
        None => (by_pit().ok_or("neither the ACPI PM timer nor the PIT counts: no clock")?, "PIT"),
    };
    set_rate(hz);
    WALL_SECONDS.store(read_rtc(), Ordering::Relaxed);
    BASE.store(tsc(), Ordering::Relaxed);
    Ok(source)
}

/// Ticks of the TSC and of a slow counter, from one step of it to a later one.
fn measure(read: impl Fn() -> u32, mask: u32, ticks: u64, up: bool) -> Option<(u64, u64)> {
    let step = |from: u32| {
        (0..PATIENCE).find_map(|_| {
            let now = read();
            (now != from).then(|| (now, tsc()))
        })
    };
    let passed =
        |from: u32, to: u32| u64::from(if up { to.wrapping_sub(from) } else { from.wrapping_sub(to) } & mask);
    let (first, start) = step(read())?;
    let mut last = first;
    loop {
        let (now, end) = step(last)?;
        last = now;
        if passed(first, now) >= ticks {
            return Some((end - start, passed(first, now)));
        }
    }
}

/// Channel 2 of the PIT counts down from 0xffff; its gate is bit 0 of port 0x61.
fn by_pit() -> Option<u64> {
    outb(0x61, inb(0x61) & !2 | 1);
    outb(0x43, 0xb0);
    outb(0x42, 0xff);
    outb(0x42, 0xff);
    let read = || {
        outb(0x43, 0x80);
        u32::from(inb(0x42)) | u32::from(inb(0x42)) << 8
    };
    let (ticks, counted) = measure(read, 0xffff, PIT_HZ * MEASURE_MS / 1000, false)?;
    Some(ticks * PIT_HZ / counted)
}

/// `ns = (tsc << shift) · mul >> 32`, with `mul` as large as fits into 32 bits.
fn set_rate(hz: u64) {
    let mut shift = 0i32;
    let mut rate = u128::from(hz.max(1));
    while rate > 2_000_000_000 {
        rate >>= 1;
        shift -= 1;
    }
    while rate <= 1_000_000_000 {
        rate <<= 1;
        shift += 1;
    }
    let scaled = if shift < 0 { u128::from(hz) >> -shift } else { u128::from(hz) << shift };
    MUL.store(((1_000_000_000u128 << 32) / scaled) as u32, Ordering::Relaxed);
    SHIFT.store(shift, Ordering::Relaxed);
    KHZ.store((hz / 1000) as u32, Ordering::Relaxed);
}

fn cmos(register: u8) -> u8 {
    outb(0x70, 0x80 | register);
    inb(0x71)
}

/// One reading of the clock chip: seconds, minutes, hours, day, month, year, century, all raw.
fn read_once() -> Option<[u8; 7]> {
    const UPDATING: u8 = 0x80;
    let read = |register| (cmos(0x0a) & UPDATING == 0).then(|| cmos(register));
    Some([read(0)?, read(2)?, read(4)?, read(7)?, read(8)?, read(9)?, read(0x32)?])
}

/// The date in seconds since 1970, 0 if the chip gives none. Two equal readings are wanted, and no change of second.
fn read_rtc() -> u64 {
    let mut last = None;
    for _ in 0..PATIENCE {
        let now = read_once();
        if now.is_some() && now == last {
            break;
        }
        last = now;
    }
    let Some(raw) = last else { return 0 };
    let format = cmos(0x0b);
    let number = |byte: u8| u64::from(if format & 4 != 0 { byte } else { (byte >> 4) * 10 + (byte & 15) });
    let mut hour = number(raw[2] & 0x7f);
    if format & 2 == 0 {
        hour = hour % 12 + if raw[2] & 0x80 != 0 { 12 } else { 0 };
    }
    let century = if (0x19..=0x29).contains(&raw[6]) { number(raw[6]) } else { 20 };
    let days = days_since_1970(century * 100 + number(raw[5]), number(raw[4]), number(raw[3]));
    ((days * 24 + hour) * 60 + number(raw[1])) * 60 + number(raw[0])
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    // Years begin in March, so that the leap day is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.saturating_sub(1), month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    days.saturating_sub(719_469)
}
