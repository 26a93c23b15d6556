//! The domain's console: `print!`, `println!`, and what is typed.
//!
//! The first domain prints through the hypervisor (`console_io`) and is told of input by `VIRQ_CONSOLE`. Any other domain has
//! a page with two byte rings (public header `io/console.h`) and an event channel to whoever serves it. When the output ring
//! is full, printing waits for the server, but not for ever: if nothing is taken for [`PATIENCE`], output is dropped until
//! the server moves again, so that a domain nobody listens to still runs.

use crate::{
    arch::{self, SharedMem},
    events,
    hypercall::{console_io, event_channel, sched},
    ring::ByteRing,
    start,
    sync::MaskedMutex,
    time::Instant,
    types::Port,
};
use abi::io::console::XenconsInterface;
use alloc::sync::Arc;
use core::{fmt, future::poll_fn, mem::offset_of, task::Poll, time::Duration};
use spin::Once;

/// How long printing waits for the server to take something.
pub const PATIENCE: Duration = Duration::from_secs(2);

const IN: ByteRing = ByteRing {
    data: offset_of!(XenconsInterface, in_),
    size: 1024,
    consumer: offset_of!(XenconsInterface, in_cons),
    producer: offset_of!(XenconsInterface, in_prod),
};
const OUT: ByteRing = ByteRing {
    data: offset_of!(XenconsInterface, out),
    size: 2048,
    consumer: offset_of!(XenconsInterface, out_cons),
    producer: offset_of!(XenconsInterface, out_prod),
};

/// Where output goes.
enum Output {
    /// Nowhere yet, or there is no console.
    None,
    Hypervisor,
    Ring {
        page: SharedMem,
        port: Port,
        stalled: bool,
    },
}

static OUTPUT: MaskedMutex<Output> = MaskedMutex::new(Output::None);
static INPUT: Once<Option<Arc<events::Channel>>> = Once::new();

/// Finds the console. Works from the first instruction on; printing before that is lost.
pub(crate) fn init_early() {
    let info = start::info();
    let output = if start::is_initial_domain() {
        Output::Hypervisor
    } else {
        let ring = info.console.get::<abi::xen::StartInfoDomU>();
        match arch::boot_page(ring.mfn) {
            Some(page) => Output::Ring { page, port: Port(ring.evtchn), stalled: false },
            None => Output::None,
        }
    };
    *OUTPUT.lock() = output;
}

/// Starts listening for input.
pub(crate) fn init() {
    INPUT.call_once(|| {
        let channel = match &*OUTPUT.lock() {
            Output::Hypervisor => events::Channel::bind_virq(abi::xen::VIRQ_CONSOLE).ok(),
            Output::Ring { port, .. } => Some(events::Channel::adopt(*port)),
            Output::None => None,
        };
        channel.map(Arc::new)
    });
}

/// After the domain was restored: the page is the same, its event channel is another one.
pub(crate) fn connect_again() {
    let new = Port(start::info().console.get::<abi::xen::StartInfoDomU>().evtchn);
    if let Output::Ring { port, stalled, .. } = &mut *OUTPUT.lock() {
        (*port, *stalled) = (new, false);
        if let Some(Some(channel)) = INPUT.get() {
            channel.adopt_anew(new);
        }
    }
}

/// Makes printing possible for a panic, whoever held the console.
#[cfg(target_os = "none")]
pub(crate) fn enter_emergency() {
    if OUTPUT.try_lock().is_none() {
        OUTPUT.force_unlock();
    }
}

impl Output {
    fn write(&mut self, bytes: &[u8]) {
        match self {
            Self::None => {}
            Self::Hypervisor => {
                let _ = console_io::write(bytes);
            }
            Self::Ring { page, port, stalled } => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    let Ok(count) = OUT.push(page, rest) else { return };
                    rest = &rest[count..];
                    let _ = event_channel::send(*port);
                    if count > 0 {
                        *stalled = false;
                    } else if *stalled || !wait_until(|| OUT.used(page) != Ok(OUT.size)) {
                        *stalled = true;
                        return;
                    }
                }
            }
        }
    }
}

fn wait_until(mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    // Before the clock is up it stands still: then this many turns are patience enough.
    for turn in 0_u64.. {
        if done() {
            return true;
        }
        let waited = start.elapsed();
        if waited > PATIENCE || (waited.is_zero() && turn > 1_000_000) {
            return false;
        }
        sched::yield_now();
    }
    false
}

/// Writes bytes as they are.
pub fn write(bytes: &[u8]) {
    OUTPUT.lock().write(bytes);
}

/// Waits until the server has taken all output, with the usual patience.
pub fn flush() {
    if let Output::Ring { page, stalled: false, .. } = &*OUTPUT.lock() {
        wait_until(|| OUT.used(page).unwrap_or(0) == 0);
    }
}

/// Takes typed bytes without waiting; 0 if there are none.
pub fn try_read(buffer: &mut [u8]) -> usize {
    match &*OUTPUT.lock() {
        Output::None => 0,
        Output::Hypervisor => console_io::read(buffer).unwrap_or(0),
        Output::Ring { page, port, .. } => {
            let count = IN.pop(page, buffer).unwrap_or(0);
            if count > 0 {
                // The server may be waiting for room.
                let _ = event_channel::send(*port);
            }
            count
        }
    }
}

/// Waits for typed bytes; returns how many were put into `buffer`. Pends for ever where there is no console.
pub async fn read(buffer: &mut [u8]) -> usize {
    let Some(Some(channel)) = INPUT.get() else {
        return poll_fn(|_| Poll::Pending).await;
    };
    loop {
        let count = try_read(buffer);
        if count > 0 || buffer.is_empty() {
            return count;
        }
        channel.wait().await;
    }
}

/// Waits for typed bytes, with everything else standing still.
pub fn read_blocking(buffer: &mut [u8]) -> usize {
    crate::executor::block_on(read(buffer))
}

/// Formats text for the console. A line feed becomes carriage return and line feed in a ring, since its reader is a terminal.
struct Text<'a>(&'a mut Output);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if matches!(self.0, Output::Ring { .. }) {
            for line in text.split_inclusive('\n') {
                match line.strip_suffix('\n') {
                    Some(line) => {
                        self.0.write(line.as_bytes());
                        self.0.write(b"\r\n");
                    }
                    None => self.0.write(line.as_bytes()),
                }
            }
        } else {
            self.0.write(text.as_bytes());
        }
        Ok(())
    }
}

/// What `print!` calls. The text is put together before it is written, so lines of several tasks do not mix.
#[doc(hidden)]
pub fn print(arguments: fmt::Arguments<'_>) {
    let mut output = OUTPUT.lock();
    let mut buffer = Buffer { text: Text(&mut output), bytes: [0; 256], len: 0 };
    let _ = fmt::Write::write_fmt(&mut buffer, arguments);
    buffer.flush();
}

/// Collects the small pieces that formatting produces.
struct Buffer<'a> {
    text: Text<'a>,
    bytes: [u8; 256],
    len: usize,
}

impl Buffer<'_> {
    fn flush(&mut self) {
        if let Ok(text) = core::str::from_utf8(&self.bytes[..self.len]) {
            let _ = fmt::Write::write_str(&mut self.text, text);
        }
        self.len = 0;
    }
}

impl fmt::Write for Buffer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.len + text.len() > self.bytes.len() {
            self.flush();
        }
        if text.len() > self.bytes.len() {
            return self.text.write_str(text);
        }
        self.bytes[self.len..self.len + text.len()].copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

/// Prints to the domain's console.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => { $crate::console::print(::core::format_args!($($argument)*)) };
}

/// Prints a line to the domain's console.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($argument:tt)*) => { $crate::print!("{}\n", ::core::format_args!($($argument)*)) };
}
