//! Disks that another guest serves: a driver domain.
//!
//! For these Dom0 is only the toolstack. It makes the two directories, the front end's as always, the back end's in the home of the guest that
//! serves, which owns it and watches for it; and removes both when one of the two domains ends. What happens between, the two agree on.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Control;
use super::devices::{Device, Host};
use crate::DomId;
use crate::block::spec::Disk;
use crate::hypervisor::Hypervisor;

impl<H: Hypervisor> Control<'_, H> {
    /// Gives a domain a disk that the guest `name` serves.
    pub(super) fn attach_served(&mut self, device: Device, disk: &Disk, name: &str) -> Result<(), String> {
        let server = self.find(name).map_err(|why| format!("backend={name}: {why}"))?;
        if server == device.dom {
            return Err(format!("backend={name}: a domain cannot serve itself"));
        }
        if self.devices.contains(&device) || self.served.contains_key(&device) {
            return Err(format!("domain {} has {} already", device.dom, disk.vdev.name));
        }
        let (number, target) = (format!("{}", device.number), format!("{}", disk.target));
        let front = [("virtual-device", number.as_str()), ("device-type", "disk")];
        let back = [
            ("params", target.as_str()),
            ("type", "phy"),
            ("dev", &disk.vdev.name),
            ("mode", if disk.writable { "w" } else { "r" }),
            ("device-type", "disk"),
            ("removable", "0"),
            ("bootable", "1"),
            ("discard-enable", if disk.discard { "1" } else { "0" }),
        ];
        let mut host = Host { hv: &mut self.hv, store: &mut self.store, notices: &mut self.notices };
        host.publish_in(server, device, &front, &back);
        self.served.insert(device, server);
        Ok(())
    }

    /// Takes a disk away that another guest serves, at once; whether there was one.
    pub(super) fn remove_served(&mut self, device: Device) -> bool {
        let Some(server) = self.served.remove(&device) else { return false };
        for path in [device.front(), device.back_in(server), device.remembered()] {
            // Each side may have removed its own.
            let _ = self.store.rm(&path);
        }
        true
    }

    /// A domain ends: its disks that others serve go, and those that it serves to others have no back end any more.
    pub(super) fn forget_served(&mut self, dom: DomId) {
        let own: Vec<Device> = self.served.keys().filter(|device| device.dom == dom).copied().collect();
        for device in own {
            self.remove_served(device);
        }
        let lost: Vec<Device> =
            self.served.iter().filter(|(_, server)| **server == dom).map(|(device, _)| *device).collect();
        for device in lost {
            self.served.remove(&device);
            let _ = self.store.rm(&device.back_in(dom));
            let _ = self.store.rm(&device.remembered());
            self.notices.push_back(format!("{device} has lost domain {dom}, which served it"));
        }
    }
}
