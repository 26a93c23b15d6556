//! `readconsole`: the log, for `dmesg`.

use abi::sysctl::Sysctl;

use crate::Hypervisor;
use crate::fail::Errno;
use crate::hypercall::guest::write_bytes;
use crate::platform::Platform;

/// Copies the log out in pieces; `index` moves on, `count` is what was written.
pub fn read<P: Platform>(hv: &Hypervisor<P>, op: &mut Sysctl) -> Result<(), Errno> {
    let mut wanted = op.as_readconsole();
    let from = if wanted.incremental != 0 { Some(wanted.index) } else { None };
    let mut position = hv.log.start(from);
    let room = wanted.count as usize;
    let mut written = 0;
    let mut piece = [0; 256];
    while written < room {
        let most = piece.len().min(room - written);
        let (length, next) = hv.log.read(position, &mut piece[..most]);
        if length == 0 {
            break;
        }
        write_bytes(hv, wanted.buffer.addr().wrapping_add(written as u64), &piece[..length])?;
        written += length;
        position = next;
    }
    if wanted.clear != 0 {
        hv.log.clear_to(position);
    }
    wanted.count = written as u32;
    wanted.index = position;
    op.set_readconsole(wanted);
    Ok(())
}
