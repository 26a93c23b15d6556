//! The machine's disks, for guests: `phy:/dev/vda` in a configuration is the first virtio disk, `vdb` the second, and so on.
//!
//! A request returns when the device has carried it out, and all of Dom0 waits for it meanwhile.

use alloc::format;

use dom0::block::storage::{Fault, Result, Storage};
use dom0::control::Control;
use domu_sdk::{log, virtio::Block};

use super::Machine;

/// Makes disks known under their names.
pub fn connect(control: &mut Control<'_, Machine>, disks: impl IntoIterator<Item = Block>) {
    for (letter, disk) in ('a'..='z').zip(disks) {
        control.blocks.add_machine_disk(&format!("vd{letter}"), Disk(disk));
    }
}

#[derive(Debug)]
struct Disk(Block);

/// The device's own words go to the log; a guest learns only that it failed.
fn device(outcome: core::result::Result<(), alloc::string::String>) -> Result {
    outcome.map_err(|why| {
        log::error!("disk: {why}");
        Fault::Device
    })
}

impl Storage for Disk {
    fn sectors(&self) -> u64 {
        self.0.sectors()
    }

    fn is_writable(&self) -> bool {
        !self.0.is_read_only()
    }

    fn read(&mut self, sector: u64, into: &mut [u8]) -> Result {
        device(self.0.read(sector, into))
    }

    fn write(&mut self, sector: u64, from: &[u8]) -> Result {
        device(self.0.write(sector, from))
    }

    fn flush(&mut self) -> Result {
        device(self.0.flush())
    }
}
