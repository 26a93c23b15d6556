//! `console_io`: the emergency console. Only the first domain may use it on a production hypervisor.

use super::{Result, input, output};
use crate::arch;
use abi::xen::{CONSOLEIO_READ, CONSOLEIO_WRITE, hypercall::CONSOLE_IO};

/// Writes bytes; the hypervisor takes all of them.
pub fn write(bytes: &[u8]) -> Result {
    arch::call(CONSOLE_IO, [u64::from(CONSOLEIO_WRITE), bytes.len() as u64, input(bytes), 0, 0]).map(|_| ())
}

/// Reads what was typed into `buffer`; the number of bytes, 0 if there is nothing.
pub fn read(buffer: &mut [u8]) -> Result<usize> {
    let len = buffer.len() as u64;
    let read = arch::call(CONSOLE_IO, [u64::from(CONSOLEIO_READ), len, output(buffer), 0, 0])?;
    Ok((read as usize).min(buffer.len()))
}
