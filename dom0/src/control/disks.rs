//! Disks of running domains: taken away in order, or at once; and what was done for them.

use alloc::format;
use alloc::string::{String, ToString};

use abi::io::xenbus::XenbusState;

use super::Control;
use super::devices::{Class, Device, Host};
use crate::DomId;
use crate::block::spec::{Disk, Vdev};
use crate::hypervisor::Hypervisor;

impl<H: Hypervisor> Control<'_, H> {
    /// Gives a running domain a disk, described as in a configuration file.
    pub fn block_attach(&mut self, dom: DomId, text: &str) -> Result<String, String> {
        let place = |(offset, what): (usize, String)| format!("disk, column {}: {what}", offset + 1);
        let mut disk = Disk::parse(text).map_err(place)?;
        if let Some(path) = disk.target.file_mut() {
            *path = self.files.find(path).ok_or_else(|| format!("Dom0's archive has no file {path}"))?;
        }
        self.attach_disk(dom, &disk)?;
        Ok(format!("domain {dom} has {} now, {}", disk.vdev.name, disk.target))
    }

    /// Takes a disk away, by its name or number. In order, the front end is asked to end, and the device goes when it has; with
    /// `force` it goes at once.
    pub fn block_detach(&mut self, dom: DomId, wanted: &str, force: bool) -> Result<String, String> {
        let device = self.find_disk(dom, wanted)?;
        if let Some(server) = self.served.get(&device).filter(|_| !force) {
            return Err(format!("{wanted} is served by domain {server}; --force takes it away at once"));
        }
        if self.remove_served(device) {
            return Ok(format!("{wanted} is taken away from domain {dom}"));
        }
        if force || self.closed(device) {
            self.remove_device(device);
            return Ok(format!("{wanted} is taken away from domain {dom}"));
        }
        let mut host = Host { hv: &mut self.hv, store: &mut self.store, notices: &mut self.notices };
        host.put_back(device, "online", "0");
        host.set_state(device, XenbusState::Closing);
        Ok(format!("domain {dom} was asked to give {wanted} back"))
    }

    fn find_disk(&self, dom: DomId, wanted: &str) -> Result<Device, String> {
        let number = Vdev::parse(wanted).map(|vdev| vdev.number).or_else(|| wanted.parse().ok());
        let known = |device: &&Device| device.dom == dom && device.class == Class::Block;
        let all = self.devices.iter().chain(self.served.keys());
        let found = all.filter(known).find(|device| Some(device.number) == number);
        found.copied().ok_or_else(|| format!("domain {dom} has no disk {wanted}; see block-list"))
    }

    /// Whether the front end let go of the device.
    pub(super) fn closed(&mut self, device: Device) -> bool {
        let host = Host { hv: &mut self.hv, store: &mut self.store, notices: &mut self.notices };
        matches!(host.front_state(device), XenbusState::Closed | XenbusState::Unknown)
    }

    /// After a change of the front end's state: a device that is to go, and whose front end has let go of it, goes.
    pub(super) fn finish_detaching(&mut self, device: Device) {
        let leaving = self.store.read(&format!("{}/online", device.back())) == Some(b"0");
        if leaving && self.devices().contains(&device) && self.closed(device) {
            self.remove_device(device);
            self.notices.push_back(format!("{device} is taken away"));
        }
    }

    /// The disks of one guest or all, and the storages that have a name.
    pub fn block_list(&self, only: Option<DomId>) -> String {
        let mut text = format!(
            "{:>5} {:<8} {:<24} {:<4} {:>8} {:<9} {:>8} {:>8} {:>8} {:>8} {:>6}",
            "DOM",
            "VDEV",
            "TARGET",
            "MODE",
            "MIB",
            "STATE",
            "READS",
            "WRITES",
            "FLUSHES",
            "MIB I/O",
            "ERRORS"
        );
        let wanted = |device: &Device| only.is_none_or(|dom| dom == device.dom);
        for (device, vbd) in self.blocks.devices().filter(|(device, _)| wanted(device)) {
            let (disk, done) = (vbd.disk(), vbd.stats());
            let state = if vbd.is_connected() { "connected" } else { "waiting" };
            text += &format!(
                "\n{:>5} {:<8} {:<24} {:<4} {:>8} {:<9} {:>8} {:>8} {:>8} {:>8} {:>6}",
                device.dom.to_string(),
                disk.vdev.name,
                disk.target.to_string(),
                if disk.writable { "w" } else { "r" },
                vbd.sectors() >> 11,
                state,
                done.reads,
                done.writes,
                done.flushes,
                done.bytes >> 20,
                done.errors,
            );
        }
        for (name, sectors, users) in self.blocks.named() {
            text += &format!("\n{name}: {} MiB, {users} device(s)", sectors >> 11);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, Fake};
    use crate::files::Files;

    #[test]
    fn a_disk_comes_with_its_guest_and_goes_in_order() {
        let kernel = fake::kernel(b"text");
        let config = b"kernel = 'k'\nmemory = 8\ndisk = [ 'ram:1M,xvda,w', 'k,raw,xvdb,r' ]";
        let archive = fake::archive(&[("guests/g.cfg", config), ("guests/k", &kernel)]);
        let (files, _) = Files::read(&archive);
        let fake = Fake::new(100_000);
        let mut control = Control::new(fake.clone(), files);
        let dom = control.create("g", false).unwrap().dom;
        assert_eq!(control.devices().len(), 2);
        assert!(control.block_list(None).contains("xvdb     file:guests/k"), "{}", control.block_list(None));
        assert!(control.block_attach(dom, "ram:1M,xvda").unwrap_err().contains("has xvda already"));
        assert!(control.block_attach(dom, "ram:1M,xvd").unwrap_err().starts_with("disk, column 8: "));
        control.block_attach(dom, "k,,xvdc,w").unwrap();
        assert_eq!(control.store.read("/local/domain/0/backend/vbd/1/51744/state"), Some(&b"2"[..]));

        assert!(control.block_detach(dom, "xvdd", false).is_err());
        control.block_detach(dom, "xvdc", false).unwrap();
        control.serve();
        assert_eq!(control.store.read("/local/domain/0/backend/vbd/1/51744/state"), Some(&b"5"[..]));
        assert_eq!(control.devices().len(), 3);
        control.store.write("/local/domain/1/device/vbd/51744/state", b"6").unwrap();
        control.serve();
        assert_eq!(control.devices().len(), 2);
        assert_eq!(control.store.read("/local/domain/1/device/vbd/51744/state"), None);
        control.block_detach(dom, "51728", true).unwrap();
        assert_eq!(control.devices().len(), 1);

        control.destroy(dom);
        assert!(control.devices().is_empty());
        assert_eq!(control.store.read("/local/domain/0/backend/vbd/1"), None);
        assert_eq!(fake.0.borrow().free, 100_000);
        control.store.tree().check().unwrap();
    }
}
