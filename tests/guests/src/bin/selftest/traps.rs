//! Exceptions reach their handlers, and the interrupted code goes on.

use crate::{Check, OK, ensure, equal};
use core::sync::atomic::{AtomicU64, Ordering};
use domu_sdk::{
    abi::trap,
    memory,
    traps::{self, Frame, Outcome},
};

static SEEN: AtomicU64 = AtomicU64::new(0);

pub fn breakpoint() -> Check {
    SEEN.store(0, Ordering::Relaxed);
    let before = traps::set_handler(trap::INT3, Some(count));
    traps::breakpoint();
    traps::breakpoint();
    traps::set_handler(trap::INT3, before);
    equal("breakpoints seen", SEEN.load(Ordering::Relaxed), 2)?;
    OK
}

fn count(_: &mut Frame) -> Outcome {
    SEEN.fetch_add(1, Ordering::Relaxed);
    Outcome::Resume
}

pub fn invalid_opcode() -> Check {
    SEEN.store(0, Ordering::Relaxed);
    let before = traps::set_handler(trap::INVALID_OP, Some(step_over));
    traps::invalid_opcode();
    traps::set_handler(trap::INVALID_OP, before);
    equal("invalid opcodes seen", SEEN.load(Ordering::Relaxed), 1)?;
    OK
}

fn step_over(frame: &mut Frame) -> Outcome {
    SEEN.fetch_add(1, Ordering::Relaxed);
    frame.rip += 2;
    Outcome::Resume
}

pub fn page_fault() -> Check {
    equal("reading address 0", memory::probe(0), None)?;
    equal("fault address", traps::fault_address(), 0)?;
    equal("reading the hypervisor's hole", memory::probe(0xffff_8500_0000_0008), None)?;
    let word = 0x1234_5678_9abc_def0_u64;
    let address = core::ptr::from_ref(&word).addr() as u64;
    equal("reading the stack", memory::probe(address), Some(word))?;
    ensure(memory::probe_write(address), "the stack cannot be written")?;
    OK
}
