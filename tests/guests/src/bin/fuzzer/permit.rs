//! What the fuzzer does not ask for, because it would end or deafen itself by right. The host's targets do ask for these.

use domu_sdk::abi::xen::hypercall as number;
use domu_sdk::start;
use fuzz_grammar::Permit;

use crate::sandbox::Sandbox;

/// Commands that are left out: hypercall, command, and why.
const LEFT_OUT: &[(u64, Option<u32>, &str)] = &[
    (number::IRET, None, "it goes wherever the stack says; `instructions` does it with a frame"),
    (number::SCHED_OP_COMPAT, None, "blocks for ever"),
    (number::SCHED_OP, Some(1), "blocks for ever"),
    (number::SCHED_OP, Some(2), "ends the guest"),
    (number::SCHED_OP, Some(3), "with a broken pointer the time is none, so it blocks for ever"),
    (number::SCHED_OP, Some(4), "ends the guest"),
    (number::SCHED_OP, Some(5), "settles how the guest will have ended"),
    (number::SCHED_OP, Some(6), "the watchdog ends the guest"),
    (number::VCPU_OP, Some(2), "stops the only vCPU"),
    (number::VCPU_OP, Some(10), "moves vcpu_info away from where the kit reads it"),
    (number::VCPU_OP, Some(11), "the NMI goes to a callback that was made up"),
    (number::EVENT_CHANNEL_OP, Some(10), "closes the console's port"),
    (number::EVENT_CHANNEL_OP, Some(11), "events then come in another way than the kit's"),
    (number::EVENT_CHANNEL_OP, Some(14), "closes the console's port"),
    (number::MMUEXT_OP, Some(5), "an address space without this kernel in it"),
    (number::DOMCTL, Some(28), "the first domain's trigger sends itself an NMI, as above"),
    (number::PLATFORM_OP, Some(51), "switches the machine off"),
];

/// Of the first domain only: what would switch the machine off, or garble the log.
const LEFT_OUT_OF_FIRST: &[(u64, Option<u32>)] =
    &[(number::CONSOLE_IO, Some(0)), (number::CONSOLE_IO, Some(1))];

/// Not inside a multicall, because handlers are put right after the call.
const NOT_IN_MULTICALL: &[u64] = &[number::SET_TRAP_TABLE, number::SET_CALLBACKS, number::CALLBACK_OP];

/// Where the guest's own addresses begin.
const OWN_HALF: u64 = 0xffff_8800_0000_0000;

/// The rules.
pub struct Rules<'a> {
    /// What may be spoilt.
    pub sandbox: &'a Sandbox,
}

impl Permit for Rules<'_> {
    fn frame(&self, mfn: u64, slot: Option<u64>) -> bool {
        match slot {
            // The hypervisor's entries of the root must be out of reach; so this is tried.
            Some(index) if mfn == self.sandbox.root => (256..272).contains(&index),
            _ => !self.sandbox.is_own(mfn),
        }
    }

    fn page(&self, va: u64) -> bool {
        va < OWN_HALF || self.sandbox.range.contains(&va)
    }

    fn command(&self, hypercall: u64, command: Option<u32>, in_multicall: bool) -> bool {
        let is = |row: &(u64, Option<u32>)| row.0 == hypercall && (row.1 == command || row.1.is_none());
        let first = start::info().flags & domu_sdk::abi::xen::SIF_INITDOMAIN != 0;
        !(LEFT_OUT.iter().any(|row| is(&(row.0, row.1)))
            || (first && LEFT_OUT_OF_FIRST.iter().any(is))
            || (in_multicall && NOT_IN_MULTICALL.contains(&hypercall)))
    }
}
