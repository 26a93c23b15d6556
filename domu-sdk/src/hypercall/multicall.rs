//! `multicall`: several hypercalls for one entry into the hypervisor.

use super::{Result, input};
use crate::{arch, types::Port};
use abi::{
    errno::Errno,
    event_channel::{EVTCHNOP_SEND, EvtchnSend},
    version::XENVER_VERSION,
    xen::{
        MulticallEntry,
        hypercall::{EVENT_CHANNEL_OP, MULTICALL, SET_TIMER_OP, XEN_VERSION},
    },
};
use alloc::vec::Vec;

/// Calls to be made together, in order.
#[derive(Debug, Default)]
pub struct Batch {
    entries: Vec<MulticallEntry>,
    /// Arguments of `send`, with the number of their entry.
    sends: Vec<(usize, EvtchnSend)>,
}

impl Batch {
    /// No calls.
    pub fn new() -> Self {
        Self::default()
    }

    fn push(mut self, op: u64, arguments: [u64; 2]) -> Self {
        let [a, b] = arguments;
        self.entries.push(MulticallEntry { op, result: 0, args: [a, b, 0, 0, 0, 0] });
        self
    }

    /// Asks for the version, as [`super::version::version`].
    pub fn version(self) -> Self {
        self.push(XEN_VERSION, [XENVER_VERSION.into(), 0])
    }

    /// Sets the timer, as [`super::timer::set`].
    pub fn set_timer(self, deadline: u64) -> Self {
        self.push(SET_TIMER_OP, [deadline, 0])
    }

    /// Sends an event, as [`super::event_channel::send`].
    pub fn send(mut self, port: Port) -> Self {
        self.sends.push((self.entries.len(), EvtchnSend { port: port.0 }));
        self.push(EVENT_CHANNEL_OP, [EVTCHNOP_SEND.into(), 0])
    }

    /// Makes the calls; the result of each.
    pub fn run(mut self) -> Result<Vec<Result<u64>>> {
        // Only now do the arguments stay where they are.
        for (entry, argument) in &self.sends {
            self.entries[*entry].args[1] = input(argument);
        }
        let address = super::output(&mut self.entries[..]);
        arch::call(MULTICALL, [address, self.entries.len() as u64, 0, 0, 0])?;
        Ok(self.entries.iter().map(|entry| Errno::check(entry.result as i64)).collect())
    }
}
