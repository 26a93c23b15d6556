//! The machine's console: a serial port, and the `log` crate's back end.
//!
//! What is logged goes to the port and into the core's log, which `dmesg` shows. What is typed waits in a ring until the
//! first domain fetches it.

mod serial;

use core::fmt::{self, Write as _};
use core::sync::atomic::{AtomicU32, Ordering};

use arrayvec::{ArrayString, ArrayVec};
use spin::Mutex;
use xen_lite_core::console::Log;

use crate::hypervisor;

pub use serial::{init as init_port, interrupt_on, is_used, write};

/// Log before the hypervisor is in place.
static EARLY: Mutex<Option<Log>> = Mutex::new(None);
/// Bytes typed and not fetched.
static TYPED: Mutex<ArrayVec<u8, 256>> = Mutex::new(ArrayVec::new_const());

/// Makes the serial port ready and installs the logger.
pub fn init() {
    serial::init(0x3f8, 115_200);
    *EARLY.lock() = Some(Log::default());
    // Fails only when called twice, and then the logger is there.
    let _ = log::set_logger(&Logger);
    log::set_max_level(log::LevelFilter::Info);
}

/// Hands over what was logged so far.
pub fn take_log() -> Log {
    EARLY.lock().take().unwrap_or_default()
}

/// Fetches what the port received; whether there was anything.
pub fn receive() -> bool {
    let mut bytes = [0; 32];
    let mut any = false;
    loop {
        let count = serial::read(&mut bytes);
        if count == 0 {
            return any;
        }
        any = true;
        let mut typed = TYPED.lock();
        let room = typed.remaining_capacity().min(count);
        typed.extend(bytes[..room].iter().copied());
    }
}

/// Takes what was typed; returns the number of bytes.
pub fn read(out: &mut [u8]) -> usize {
    let mut typed = TYPED.lock();
    let count = typed.len().min(out.len());
    for (to, from) in out.iter_mut().zip(typed.drain(..count)) {
        *to = from;
    }
    count
}

/// Prints although locks may be held for good: for panics and NMIs.
pub fn emergency(text: fmt::Arguments<'_>) {
    let mut line = Line(ArrayString::new());
    let _ = writeln!(line, "(XEN) {text}");
    serial::write_regardless(line.0.as_bytes());
}

/// Sends records to the serial port, with the prefix that readers of upstream's log know.
struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        // Debugging output is what guests cause by their mistakes: it has a budget.
        if record.level() >= log::Level::Debug
            && let Some(hv) = hypervisor::try_hv()
        {
            match hv.log.guest_may_print(crate::time::now()) {
                None => return,
                Some(0) => {}
                Some(left_out) => log::info!("{left_out} messages about guests left out"),
            }
        }
        let mut line = Line(ArrayString::new());
        let _ = writeln!(line, "(XEN) {}", record.args());
        line.end();
        write(line.0.as_bytes());
        match hypervisor::try_hv() {
            Some(hv) => hv.log.write(line.0.as_bytes()),
            None => {
                if let Some(log) = EARLY.lock().as_ref() {
                    log.write(line.0.as_bytes());
                }
            }
        }
    }
    fn flush(&self) {}
}

/// A line that is cut rather than split when it is too long.
struct Line(ArrayString<512>);

impl Line {
    /// Makes sure that it ends as a line does.
    fn end(&mut self) {
        if self.0.is_full() {
            self.0.pop();
            let _ = self.0.try_push('\n');
        }
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars().filter(char::is_ascii) {
            let _ = self.0.try_push(c);
        }
        Ok(())
    }
}

/// The CPU that reports a crash, plus one; 0 is none.
static CRASHING: AtomicU32 = AtomicU32::new(0);

/// Claims the console for a CPU's crash report; `Err` is the number of the CPU that did so before.
///
/// # Errors
/// The report of that CPU is not at its end.
pub fn begin_crash(cpu: u32) -> Result<(), u32> {
    CRASHING
        .compare_exchange(0, cpu + 1, Ordering::AcqRel, Ordering::Acquire)
        .map(drop)
        .map_err(|first| first - 1)
}
