//! The machine's console: a serial port, and the `log` crate's back end.

mod serial;

use core::fmt::Write as _;

pub use serial::{read, write};

/// Makes the serial port ready and installs the logger.
pub fn init() {
    serial::init(115_200);
    // Fails only when called twice, and then the logger is there.
    let _ = log::set_logger(&Logger);
    log::set_max_level(log::LevelFilter::Info);
}

/// Sends records to the serial port, with the prefix that readers of upstream's log know.
struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        let mut line = Line(arrayvec::ArrayString::new());
        let _ = writeln!(line, "(XEN) {}", record.args());
        write(line.0.as_bytes());
    }
    fn flush(&self) {}
}

/// A line that is cut rather than split when it is too long.
struct Line(arrayvec::ArrayString<512>);

impl core::fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for c in text.chars() {
            let _ = self.0.try_push(c);
        }
        Ok(())
    }
}
