//! The way of a device up and down, the same for every class.
//!
//! What follows from a front end's state is decided in [`backend::phase`]; here it is done.

use alloc::string::String;
use alloc::vec::Vec;

use abi::io::xenbus::XenbusState;

use super::devices::{Device, Host};
use crate::hypervisor::Hypervisor;

pub use backend::phase::Phase;
use backend::phase::{Step, step};

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
        match step(host.front_state(device), *self.phase()) {
            Step::Again => {
                self.disconnect(host);
                self.offer(host);
            }
            Step::Offer => self.offer(host),
            Step::Connect => match self.connect(host) {
                Ok(()) => {
                    *self.phase() = Phase::Connected;
                    host.set_state(device, XenbusState::Connected);
                }
                Err(why) => self.fail(host, &why),
            },
            Step::Wait => host.set_state(device, XenbusState::Closing),
            Step::End => {
                self.disconnect(host);
                host.set_state(device, XenbusState::Closed);
            }
            Step::Nothing => {}
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
