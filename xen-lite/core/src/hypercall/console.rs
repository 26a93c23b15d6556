//! `console_io`: the machine's console, for the first domain alone.

use super::coverage::{Sub, full};
use super::guest::{range_ok, read_bytes, write_bytes};
use super::{Args, Caller};
use crate::Hypervisor;
use crate::addr::DomId;
use crate::effects::Done;
use crate::fail::{Errno, Fail};
use crate::platform::Platform;
use abi::xen::{CONSOLEIO_READ, CONSOLEIO_WRITE};

/// Sub-operations.
pub const SUBS: &[Sub] = &[full(CONSOLEIO_WRITE, "CONSOLEIO_write"), full(CONSOLEIO_READ, "CONSOLEIO_read")];

/// Bytes that are copied at once.
const PIECE: usize = 128;

/// `console_io`: command, number of bytes, buffer. As on a release build of upstream, only the first domain may.
pub fn console_io<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    if caller.domain.id != DomId::DOM0 {
        return Err(Errno::EPERM.into());
    }
    let count = args[1] as u32;
    match args[0] as u32 {
        CONSOLEIO_WRITE if count > 0 && !range_ok(args[2], count.into()) => Err(Errno::EFAULT.into()),
        CONSOLEIO_WRITE => write(hv, args, count as usize),
        CONSOLEIO_READ if count > i32::MAX as u32 => Err(Errno::E2BIG.into()),
        CONSOLEIO_READ => read(hv, args[2], count as usize),
        _ => Err(Errno::ENOSYS.into()),
    }
}

fn write<P: Platform>(hv: &Hypervisor<P>, args: &mut Args, mut left: usize) -> Result<Done, Fail> {
    let mut piece = [0; PIECE];
    while left > 0 {
        let length = left.min(PIECE);
        read_bytes(hv, args[2], &mut piece[..length])?;
        hv.platform.console_write(&piece[..length]);
        left -= length;
        args[1] = left as u64;
        args[2] = args[2].wrapping_add(length as u64);
        if left > 0 && hv.platform.interrupt_pending() {
            return Err(Fail::Again);
        }
    }
    Ok(Done::OK)
}

/// The result is the number of bytes read. What was typed is lost if the buffer turns out not to be writable.
fn read<P: Platform>(hv: &Hypervisor<P>, buffer: u64, room: usize) -> Result<Done, Fail> {
    let mut piece = [0; PIECE];
    let length = hv.platform.console_read(&mut piece[..room.min(PIECE)]);
    if length > 0 {
        write_bytes(hv, buffer, &piece[..length])?;
    }
    Ok(Done::value(length as i64))
}
