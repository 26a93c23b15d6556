//! `set_timer_op`: the one-shot timer of this vCPU.

use super::Result;
use crate::arch;
use abi::xen::hypercall::SET_TIMER_OP;

/// Raises `VIRQ_TIMER` when the system time reaches `deadline` (absolute, ns); 0 stops the timer.
pub fn set(deadline: u64) -> Result {
    arch::call(SET_TIMER_OP, [deadline, 0, 0, 0, 0]).map(|_| ())
}
