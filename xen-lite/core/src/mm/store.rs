//! A guest's plain store to one of its L1 tables.
//!
//! Tables are mapped read-only, so the store faults. A guest that asked for it (`vm_assist`), and one with hardware in any case, need
//! not use a hypercall then: the instruction is looked at, its effect on the entry is computed, and the new entry goes the ordinary
//! way of [`super::update`]. What is not understood, is not aligned to its size, or is refused, is the guest's page fault.
//!
//! The decoder knows the instructions with which kernels write entries: `mov` in its forms, `xchg`, `cmpxchg`, `xadd`, the arithmetic with a
//! memory destination, shifts, the bit instructions, `set`*cc*, `pop`, `stos` and `movs`. The fault address is the operand's address, so the addressing form
//! matters for the instruction's length only. A repeated instruction is done once for each fault.

use abi::xen::VMASST_TYPE_WRITABLE_PAGETABLES;

use crate::addr::{GuestVirt, PAGE_SIZE};
use crate::domain::{Mode, Registers};
use crate::effects::Effects;
use crate::frame::entry::Mapper;
use crate::frame::pte::{self, PRESENT, WRITABLE};
use crate::frame::{self, Kind, Stop};
use crate::hypercall::Caller;
use crate::hypervisor::Hypervisor;
use crate::mm::update::{Differs, How, update_l1};
use crate::mm::walk;
use crate::platform::Platform;

mod decode;
mod shift;

use decode::{Action, Instruction, decode};

const FAULT_PRESENT: u32 = 1 << 0;
const FAULT_WRITE: u32 = 1 << 1;
/// What the error code of a store to a table has set.
pub const FAULT_OF_STORE: u32 = FAULT_PRESENT | FAULT_WRITE;
const FAULT_RESERVED: u32 = 1 << 3;
const FAULT_FETCH: u32 = 1 << 4;

/// The direction flag.
const DIRECTION: u64 = 1 << 10;

/// Longest instruction.
const MAX_LENGTH: usize = 15;

/// Deals with a page fault of the running vCPU if it is a store to one of its L1 tables: the store is done and the
/// instruction passed, or it is to be executed again. `None`: the fault is the guest's.
pub fn emulate_pt_write<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    va: u64,
    error_code: u32,
) -> Option<Effects> {
    if error_code & (FAULT_OF_STORE | FAULT_RESERVED | FAULT_FETCH) != FAULT_OF_STORE
        || caller.state.mode != Mode::Kernel
    {
        return None;
    }
    // As on upstream, a domain with hardware need not ask for it.
    if !caller.domain.privileged && !caller.domain.assists(VMASST_TYPE_WRITABLE_PAGETABLES) {
        return None;
    }
    let va = GuestVirt::new(va);
    let mapping = walk::entry_of(hv, caller.state.kernel_root, va);
    let table = pte::mfn(mapping);
    if mapping & (PRESENT | WRITABLE) != PRESENT || !frame::get_held(hv, table, caller.domain.id, Kind::L1) {
        return None;
    }
    let result = store(hv, caller, table, va);
    frame::put_page_type(hv, table);
    result
}

fn store<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    table: crate::addr::Mfn,
    va: GuestVirt,
) -> Option<Effects> {
    let mut bytes = [0; MAX_LENGTH];
    let known = fetch(hv, caller.state.regs.rip, &mut bytes);
    let instruction = decode(&bytes[..known])?;
    let (index, byte) = (va.raw() as usize % PAGE_SIZE / 8, va.raw() as u32 % 8);
    if byte % instruction.width != 0 || instruction.action.is_string() && caller.state.regs.rdi != va.raw() {
        return None;
    }
    let copied = match instruction.action {
        Action::Copy => Some(source_of(hv, caller.state.regs.rsi, &instruction)?),
        Action::Pop => Some(source_of(hv, caller.state.regs.rsp, &instruction)?),
        _ => None,
    };
    let by = Mapper { table: caller.domain.id, pages: caller.domain.id, hardware: caller.domain.privileged };
    let mut old = hv.platform.load(table, index);
    loop {
        let (new, regs) = apply(&instruction, &caller.state.regs, old, byte * 8, copied);
        // Even a store of what is there is done, for the order of memory; it is a harmless change.
        match update_l1(hv, table, index, new, How::IfEqual(old), &by) {
            Ok(Ok(())) => {
                caller.state.regs = regs;
                pass(&instruction, &mut caller.state.regs);
                return Some(Effects::NONE);
            }
            Ok(Err(Differs(now))) => old = now,
            Err(Stop::Again) => return Some(Effects::NONE),
            Err(Stop::Errno(errno)) => {
                log::debug!("{}: store of {new:#x} over {old:#x} at {va}: {errno:?}", caller.domain.id);
                return None;
            }
        }
    }
}

/// Reads the instruction, as much of it as is mapped.
fn fetch<P: Platform>(hv: &Hypervisor<P>, rip: u64, bytes: &mut [u8; MAX_LENGTH]) -> usize {
    let to_page_end = PAGE_SIZE - rip as usize % PAGE_SIZE;
    let first = to_page_end.min(MAX_LENGTH);
    if crate::hypercall::guest::read_bytes(hv, rip, &mut bytes[..first]).is_err() {
        return 0;
    }
    let rest = rip.wrapping_add(first as u64);
    if first == MAX_LENGTH || crate::hypercall::guest::read_bytes(hv, rest, &mut bytes[first..]).is_err() {
        return first;
    }
    MAX_LENGTH
}

/// What `movs` copies, and `pop` takes off the stack.
fn source_of<P: Platform>(hv: &Hypervisor<P>, at: u64, instruction: &Instruction) -> Option<u64> {
    let mut bytes = [0; 8];
    let wanted = bytes.get_mut(..instruction.width as usize)?;
    crate::hypercall::guest::read_bytes(hv, at, wanted).ok()?;
    Some(u64::from_le_bytes(bytes))
}

/// Goes on behind the instruction; a repeated one comes again until it is done.
fn pass(instruction: &Instruction, regs: &mut Registers) {
    if instruction.action.is_string() {
        let width = u64::from(instruction.width);
        let step = if regs.rflags & DIRECTION != 0 { width.wrapping_neg() } else { width };
        regs.rdi = regs.rdi.wrapping_add(step);
        if instruction.action == Action::Copy {
            regs.rsi = regs.rsi.wrapping_add(step);
        }
        if instruction.repeated {
            regs.rcx = regs.rcx.wrapping_sub(1);
            if regs.rcx != 0 {
                return;
            }
        }
    }
    if instruction.action == Action::Pop {
        regs.rsp = regs.rsp.wrapping_add(instruction.width.into());
    }
    regs.rip = regs.rip.wrapping_add(instruction.length as u64);
}

/// The entry and the registers after the instruction.
fn apply(
    instruction: &Instruction,
    regs: &Registers,
    entry: u64,
    shift: u32,
    copied: Option<u64>,
) -> (u64, Registers) {
    let mask = u64::MAX >> (64 - 8 * instruction.width);
    let mut after = *regs;
    let operand = copied.unwrap_or(entry >> shift & mask);
    let result = instruction.execute(operand, &mut after);
    (entry & !(mask << shift) | (result & mask) << shift, after)
}

#[cfg(test)]
mod tests;
