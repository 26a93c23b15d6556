//! The way of a device up and down, the same for every class.
//!
//! | phase | back end's state in the store | what of the guest is mapped or bound |
//! |---|---|---|
//! | `Closed` | `Initialising`, or `Closed` | nothing |
//! | `Offered` | `InitWait` | nothing |
//! | `Connected` | `Connected`, or `Closing` while the front end ends | rings, channels |
//!
//! The front end moves first; its state is a claim that may change in any order, so every pair of state and phase has an answer, and
//! most of them are: nothing to do.

use alloc::string::String;
use alloc::vec::Vec;

use abi::io::xenbus::XenbusState;

use super::devices::{Device, Host};
use crate::hypervisor::Hypervisor;

/// Where a device is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not offered yet, or ended.
    Closed,
    /// The front end knows what there is.
    Offered,
    /// Rings are mapped and channels bound.
    Connected,
}

/// A device that follows its front end.
pub trait Follows<H: Hypervisor> {
    /// Which device it is.
    fn device(&self) -> Device;
    /// Where it is.
    fn phase(&mut self) -> &mut Phase;
    /// What the front end is told before it connects: keys and values of the back end's directory.
    fn offers(&self) -> Vec<(&'static str, String)>;
    /// Maps the rings and connects the channels that the front end names.
    ///
    /// # Errors
    /// What is wrong with what the front end says; what was mapped until then, [`Follows::release`] gives back.
    fn connect(&mut self, host: &mut Host<'_, H>) -> Result<(), String>;
    /// Unmaps and unbinds everything.
    fn release(&mut self, host: &mut Host<'_, H>);

    /// The front end's state changed, or the device is new.
    fn changed(&mut self, host: &mut Host<'_, H>) {
        let device = self.device();
        match (host.front_state(device), *self.phase()) {
            (XenbusState::Initialising, Phase::Connected) => {
                // It began anew without an end.
                self.disconnect(host);
                self.offer(host);
            }
            (XenbusState::Initialising, Phase::Closed) => self.offer(host),
            (XenbusState::Initialised | XenbusState::Connected, Phase::Offered) => match self.connect(host) {
                Ok(()) => {
                    *self.phase() = Phase::Connected;
                    host.set_state(device, XenbusState::Connected);
                }
                Err(why) => self.fail(host, &why),
            },
            (XenbusState::Closing, Phase::Connected) => host.set_state(device, XenbusState::Closing),
            (XenbusState::Closed | XenbusState::Unknown, Phase::Offered | Phase::Connected) => {
                self.disconnect(host);
                host.set_state(device, XenbusState::Closed);
            }
            _ => {}
        }
    }

    /// Says what the device can do, and waits for the front end.
    fn offer(&mut self, host: &mut Host<'_, H>) {
        for (key, value) in self.offers() {
            host.put_back(self.device(), key, &value);
        }
        *self.phase() = Phase::Offered;
        host.set_state(self.device(), XenbusState::InitWait);
    }

    /// The front end broke the protocol.
    fn fail(&mut self, host: &mut Host<'_, H>, why: &str) {
        self.disconnect(host);
        host.fail(self.device(), why);
    }

    /// Ends the connection, whatever the front end thinks of it.
    fn disconnect(&mut self, host: &mut Host<'_, H>) {
        self.release(host);
        *self.phase() = Phase::Closed;
    }
}
