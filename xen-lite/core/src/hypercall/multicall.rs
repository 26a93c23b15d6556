//! `multicall`: a list of hypercalls in one (xen.h, `struct multicall_entry`).
//!
//! Each entry is copied in, carried out, and its result written back before the next one is looked at, so that a list may be
//! continued from any entry. An entry that changes the guest's mode (an `iret`) ends the list: the rest belongs to a context
//! that is gone.

use abi::xen::MulticallEntry;
use core::mem::offset_of;
use zerocopy::IntoBytes;

use super::guest::{range_ok, write_one};
use super::{Args, Caller, bounded, dispatch};
use crate::Hypervisor;
use crate::addr::GuestVirt;
use crate::effects::{Done, Effects, Todo};
use crate::fail::{Errno, Fail};
use crate::platform::Platform;

/// Arguments: address of the entries, their number.
pub fn multicall<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    if caller.in_multicall {
        return Err(Fail::Errno(Errno::EINVAL));
    }
    let count = u64::from(args[1] as u32);
    // Unlike elsewhere, the whole list must lie where guests may have memory.
    let bytes = count * size_of::<MulticallEntry>() as u64;
    if !range_ok(args[0], bytes.max(1)) {
        return Err(Fail::Errno(Errno::EFAULT));
    }
    caller.in_multicall = true;
    let result = run(hv, caller, count, args);
    caller.in_multicall = false;
    result
}

#[inline(always)]
fn run<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    count: u64,
    args: &mut Args,
) -> Result<Done, Fail> {
    let start = args[0];
    let mut effects = Effects::NONE;
    for index in 0..count {
        if index > 0 && hv.platform.interrupt_pending() {
            return continue_at(start, index, count, args, effects);
        }
        let address = start + index * size_of::<MulticallEntry>() as u64;
        // What the result field holds does not matter.
        let [op, _, mut call @ ..] = hv
            .platform
            .read_words::<{ size_of::<MulticallEntry>() / 8 }>(GuestVirt::new(address))
            .map_err(|_| Errno::EFAULT)?;
        let value = match dispatch(hv, caller, bounded(op), &mut call) {
            Ok(done) => {
                effects = effects.and(done.effects);
                // An `iret`, perhaps to user mode.
                if done.effects.todo.contains(Todo::REGS_REPLACED) {
                    // Upstream leaves the new RAX as the result; where the new address space has no such place, nobody looks.
                    let result = address + offset_of!(MulticallEntry, result) as u64;
                    let _ = write_one(hv, result, &caller.state.regs.rax);
                    return Ok(Done { value: 0, effects });
                }
                done.value
            }
            Err(Fail::Errno(errno)) => errno.as_ret(),
            Err(Fail::Again) => {
                write_one(hv, address + offset_of!(MulticallEntry, args) as u64, &call)?;
                return continue_at(start, index, count, args, effects);
            }
            Err(Fail::AgainWith(more)) => {
                write_one(hv, address + offset_of!(MulticallEntry, args) as u64, &call)?;
                return continue_at(start, index, count, args, effects.and(more));
            }
            Err(crash) => return Err(crash),
        };
        // Within the list, which was checked.
        let result = GuestVirt::new(address + offset_of!(MulticallEntry, result) as u64);
        hv.platform.copy_out(result, value.as_bytes()).map_err(|_| Errno::EFAULT)?;
    }
    Ok(Done { value: 0, effects })
}

/// Continues with entry `index`. Effects that were due are due now: a multicall that goes on later must not keep them.
fn continue_at(start: u64, index: u64, count: u64, args: &mut Args, effects: Effects) -> Result<Done, Fail> {
    args[0] = start + index * size_of::<MulticallEntry>() as u64;
    args[1] = count - index;
    if effects == Effects::NONE { Err(Fail::Again) } else { Err(Fail::AgainWith(effects)) }
}
