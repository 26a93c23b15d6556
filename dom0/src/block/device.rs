//! One block device of Dom0: a connection of the back end, and its nodes in the store.
//!
//! How it comes up and goes down is said in [`crate::control::phase`]; what is said and done on the way, and the serving of its rings, in
//! [`backend::block`].

use alloc::string::String;
use alloc::vec::Vec;

use backend::block::Connection;
use backend::peer::Claims;

use super::queue::{Scratch, Stats};
use super::spec::Disk;
use super::storage::Shared;
use crate::control::devices::{Device, Host, front_text};
use crate::control::phase::{Follows, Phase};
use crate::hypervisor::{Hypervisor, Window};

/// A device.
#[derive(Debug)]
pub struct Vbd<'a, W> {
    device: Device,
    connection: Connection<'a, W>,
    phase: Phase,
    disk: Disk,
}

impl<'a, W: Window> Vbd<'a, W> {
    /// A device that nothing was done for yet.
    pub fn new(device: Device, storage: Shared<'a>, disk: Disk) -> Self {
        let connection = Connection::new(device.dom, storage, disk.writable, disk.discard);
        Self { device, connection, phase: Phase::Closed, disk }
    }

    /// How it was configured.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Sectors of the disk.
    pub fn sectors(&self) -> u64 {
        self.connection.sectors()
    }

    /// What was done.
    pub fn stats(&self) -> Stats {
        self.connection.stats()
    }

    /// Whether a front end is connected.
    pub fn is_connected(&self) -> bool {
        self.phase == Phase::Connected
    }

    /// Frames of the guest that stay mapped besides the rings.
    pub fn mapped(&self) -> usize {
        self.connection.mapped()
    }

    /// A round over the rings. Returns whether there is more to do.
    pub fn serve<H: Hypervisor<Window = W>>(
        &mut self,
        host: &mut Host<'_, H>,
        scratch: &mut Scratch,
    ) -> bool {
        match self.connection.serve(host.hv, scratch) {
            Ok(more) => more,
            Err(why) => {
                self.fail(host, &why);
                false
            }
        }
    }
}

impl<W: Window, H: Hypervisor<Window = W>> Follows<H> for Vbd<'_, W> {
    fn device(&self) -> Device {
        self.device
    }

    fn phase(&mut self) -> &mut Phase {
        &mut self.phase
    }

    fn offers(&self) -> Vec<(&'static str, String)> {
        self.connection.offers()
    }

    fn connect(&mut self, host: &mut Host<'_, H>) -> Result<(), String> {
        let (device, store) = (self.device, &*host.store);
        let claims = |key: &str| front_text(store, device, key).map(String::from);
        let told = self.connection.connect(host.hv, Claims(&claims))?;
        for (key, value) in told {
            host.put_back(device, key, &value);
        }
        Ok(())
    }

    fn release(&mut self, host: &mut Host<'_, H>) {
        self.connection.release(host.hv);
    }
}
