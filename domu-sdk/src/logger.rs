//! The `log` facade on the console: seconds since the machine started, level, module, text.
//!
//! `loglevel=` on the command line chooses what is shown: `off`, `error`, `warn`, `info` (default), `debug`, `trace`.

use crate::{println, start, time::Instant};
use log::{LevelFilter, Log, Metadata, Record};

struct Console;

impl Log for Console {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let nanoseconds = Instant::now().nanoseconds();
        println!(
            "[{:5}.{:06}] {:5} {}: {}",
            nanoseconds / 1_000_000_000,
            nanoseconds % 1_000_000_000 / 1000,
            record.level(),
            record.target(),
            record.args()
        );
    }

    fn flush(&self) {}
}

/// Installs the logger. A second call changes nothing but the level.
pub(crate) fn init() {
    let level = start::parameter("loglevel").and_then(|word| word.parse().ok()).unwrap_or(LevelFilter::Info);
    let _ = log::set_logger(&Console);
    log::set_max_level(level);
}
