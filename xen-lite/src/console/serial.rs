//! The first serial port (16550), polled.

use spin::Mutex;
use uart_16550::backend::PioBackend;
use uart_16550::{BaudRate, Config, Uart16550};

const COM1: u16 = 0x3f8;

const fn com1() -> Uart16550<PioBackend> {
    // SAFETY: S-14: the port of com1 belongs to the hypervisor for as long as it runs.
    match unsafe { Uart16550::new_port(COM1) } {
        Ok(uart) => uart,
        Err(_) => panic!("0x3f8 is a valid port"),
    }
}

/// `None` until [`init`] found a device.
static PORT: Mutex<Option<Uart16550<PioBackend>>> = Mutex::new(None);

/// Programs the port: 8 bits, no parity, one stop bit. Without a device all output is lost.
pub fn init(baud: u32) {
    let mut port = com1();
    let config = Config { baud_rate: BaudRate::from_integer(baud), ..Config::default() };
    *PORT.lock() = port.init(config).is_ok().then_some(port);
}

/// Sends bytes; a line feed is preceded by a carriage return.
pub fn write(bytes: &[u8]) {
    let mut port = PORT.lock();
    let Some(port) = port.as_mut() else { return };
    for part in bytes.split_inclusive(|&byte| byte == b'\n') {
        if let Some((b'\n', text)) = part.split_last() {
            port.send_bytes_exact(text);
            port.send_bytes_exact(b"\r\n");
        } else {
            port.send_bytes_exact(part);
        }
    }
}

/// Takes what was received; returns the number of bytes.
pub fn read(out: &mut [u8]) -> usize {
    PORT.lock().as_mut().map_or(0, |port| port.receive_bytes(out))
}
