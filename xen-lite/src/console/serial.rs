//! The first serial port (16550): output is polled, input comes by interrupt.

use spin::Mutex;
use uart_16550::backend::PioBackend;
use uart_16550::{BaudRate, Config, Uart16550, spec::registers::IER};

/// `None` until [`init`] found a device.
static PORT: Mutex<Option<Uart16550<PioBackend>>> = Mutex::new(None);

/// Programs the port: 8 bits, no parity, one stop bit. Without a device all output is lost.
pub fn init(base: u16, baud: u32) {
    // SAFETY: S-14: the port belongs to the hypervisor for as long as it runs.
    let Ok(mut port) = (unsafe { Uart16550::new_port(base) }) else { return };
    let config = Config { baud_rate: BaudRate::from_integer(baud), ..Config::default() };
    *PORT.lock() = port.init(config).is_ok().then_some(port);
}

/// Whether there is a device.
pub fn is_used() -> bool {
    PORT.lock().is_some()
}

/// Lets the port interrupt when bytes arrive.
pub fn interrupt_on() {
    if let Some(port) = PORT.lock().as_mut() {
        port.enable_interrupts(IER::DATA_READY);
    }
}

fn send(port: &mut Uart16550<PioBackend>, bytes: &[u8]) {
    for part in bytes.split_inclusive(|&byte| byte == b'\n') {
        if let Some((b'\n', text)) = part.split_last() {
            port.send_bytes_exact(text);
            port.send_bytes_exact(b"\r\n");
        } else {
            port.send_bytes_exact(part);
        }
    }
}

/// Sends bytes; a line feed is preceded by a carriage return.
pub fn write(bytes: &[u8]) {
    if let Some(port) = PORT.lock().as_mut() {
        send(port, bytes);
    }
}

/// Sends bytes even if the lock is held, by whom it may be: the machine is about to stop, or nearly so.
pub fn write_regardless(bytes: &[u8]) {
    for _ in 0..1_000_000 {
        if let Some(mut port) = PORT.try_lock() {
            if let Some(port) = port.as_mut() {
                send(port, bytes);
            }
            return;
        }
        core::hint::spin_loop();
    }
    // SAFETY: S-16: whoever holds the lock does not go on, or loses a byte.
    unsafe { PORT.force_unlock() };
    if let Some(port) = PORT.lock().as_mut() {
        send(port, bytes);
    }
}

/// Takes what was received; returns the number of bytes.
pub fn read(out: &mut [u8]) -> usize {
    PORT.lock().as_mut().map_or(0, |port| port.receive_bytes(out))
}
