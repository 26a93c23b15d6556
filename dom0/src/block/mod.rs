//! Disks for guests: the back end of the block protocol (public header `io/blkif.h`).
//!
//! [`Blocks`] has the storages and the devices that show them. A disk comes from a configuration ([`spec`]), becomes a [`storage`], and
//! is shown by a [`device`], whose rings are [`queue`]s of requests ([`wire`]).
//!
//! **Sharing.** A storage that has a name (a disk of the machine, a named one in memory) may be shown by one device that writes, or by many
//! that read; [`Blocks::attach`] refuses everything else.
//!
//! **Images.** Files of the archive and `qcow2` images are only read; a device that may write gets an [`overlay`] in memory, which goes with it.
//!
//! **What a guest can cost.** Rings of [`device::MAX_QUEUES`] queues and [`queue::MAPPED_MAX`] frames are mapped at most for a device; data is
//! held for one request at a time; each queue moves a bounded number of bytes a round.

pub mod device;
pub mod overlay;
pub mod qcow2;
pub mod spec;
#[cfg(test)]
mod tests;

pub use backend::block::{queue, storage, wire};

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::control::devices::{Backend, Class, Device, Host};
use crate::control::phase::Follows;
use crate::files::Files;
use crate::hypervisor::{Hypervisor, Window};
use device::Vbd;
use overlay::{File, Overlay};
use qcow2::Qcow2;
use queue::Scratch;
use spec::{Disk, Format, Target};
use storage::{Ram, Shared, Storage, share};

/// A storage that more than one device may show.
#[derive(Debug)]
struct Named<'a> {
    storage: Shared<'a>,
    /// The devices that show it, and whether they may write.
    users: Vec<(Device, bool)>,
}

/// All disks.
#[derive(Debug)]
pub struct Blocks<'a, W> {
    devices: BTreeMap<Device, Vbd<'a, W>>,
    /// By the target's text.
    named: BTreeMap<String, Named<'a>>,
    scratch: Scratch,
}

impl<W> Default for Blocks<'_, W> {
    fn default() -> Self {
        Self { devices: BTreeMap::new(), named: BTreeMap::new(), scratch: Scratch::default() }
    }
}

impl<'a, W: Window> Blocks<'a, W> {
    /// Adds a disk of the machine under a name such as `vda`.
    pub fn add_machine_disk(&mut self, name: &str, storage: impl Storage + 'a) {
        let key = Target::Machine(name.to_string()).to_string();
        self.named.insert(key, Named { storage: share(storage), users: Vec::new() });
    }

    /// A disk of the machine by a name such as `vda`, for Dom0's own use; refused while a guest uses it.
    pub fn machine_disk(&self, name: &str) -> Result<Shared<'a>, String> {
        let key = Target::Machine(name.to_string()).to_string();
        let named = self.named.get(&key).ok_or_else(|| match self.machine_disks().as_slice() {
            [] => format!("there is no disk {name}; this machine has none"),
            all => format!("there is no disk {name}; there are: {}", all.join(", ")),
        })?;
        match named.users.first() {
            Some((device, _)) => Err(format!("{name} is a disk of domain {}", device.dom)),
            None => Ok(named.storage.clone()),
        }
    }

    /// Names of the machine's disks.
    pub fn machine_disks(&self) -> Vec<&str> {
        self.named.keys().filter_map(|key| key.strip_prefix("phy:/dev/")).collect()
    }

    /// Names of the storages that have one, with their sizes in sectors and the number of devices that show them.
    pub fn named(&self) -> impl Iterator<Item = (&str, u64, usize)> {
        self.named.iter().map(|(name, named)| {
            let sectors = named.storage.borrow().sectors();
            (name.as_str(), sectors, named.users.len())
        })
    }

    /// A storage with a name that no device shows: `vda`, or the whole text as in `block-list`.
    pub fn unused(&self, name: &str) -> Result<Shared<'a>, String> {
        let key = Target::Machine(name.trim_start_matches("/dev/").to_string()).to_string();
        let Some(named) = self.named.get(&key).or_else(|| self.named.get(name)) else {
            return Err(format!("there is no disk {name}; block-list shows those that have a name"));
        };
        match named.users.first() {
            None => Ok(named.storage.clone()),
            Some((device, _)) => Err(format!("{name} is in use, by {device}")),
        }
    }

    /// The devices.
    pub fn devices(&self) -> impl Iterator<Item = (Device, &Vbd<'a, W>)> {
        self.devices.iter().map(|(device, vbd)| (*device, vbd))
    }

    /// Frames of guests that stay mapped besides the rings.
    pub fn mapped(&self) -> usize {
        self.devices.values().map(Vbd::mapped).sum()
    }

    /// Makes a device's directories and shows the disk. The toolstack then tells that the device is there.
    pub fn attach<H: Hypervisor<Window = W>>(
        &mut self,
        host: &mut Host<'_, H>,
        files: &Files<'a>,
        device: Device,
        disk: &Disk,
    ) -> Result<(), String> {
        if self.devices.contains_key(&device) {
            return Err(format!("domain {} has {} already", device.dom, disk.vdev.name));
        }
        let storage = self.open(files, device, disk)?;
        let vbd = Vbd::new(device, storage, disk.clone());
        self.devices.insert(device, vbd);
        let number = device.number.to_string();
        let mode = if disk.writable { "w" } else { "r" };
        let front = [("virtual-device", number.as_str()), ("device-type", "disk")];
        let back = [
            ("params", &*disk.target.to_string()),
            ("type", "phy"),
            ("dev", &disk.vdev.name),
            ("mode", mode),
            ("device-type", "disk"),
            ("removable", "0"),
            ("bootable", "1"),
            ("discard-enable", if disk.discard { "1" } else { "0" }),
        ];
        host.publish(device, &front, &back);
        Ok(())
    }

    fn open(&mut self, files: &Files<'a>, device: Device, disk: &Disk) -> Result<Shared<'a>, String> {
        let (target, overlay) = match &disk.target {
            Target::Overlay(below) => (&**below, true),
            // An archive's files and images in a format are never written.
            target @ Target::File(_) => (target, disk.writable),
            target => (target, disk.writable && disk.format != Format::Raw),
        };
        let base = self.base(files, device, target, disk.writable && !overlay)?;
        let base = match disk.format {
            Format::Raw => base,
            Format::Qcow2 => share(Qcow2::open(base).map_err(|why| format!("{target}: {why}"))?),
        };
        Ok(if overlay { share(Overlay::new(base)) } else { base })
    }

    fn base(
        &mut self,
        files: &Files<'a>,
        device: Device,
        target: &Target,
        writable: bool,
    ) -> Result<Shared<'a>, String> {
        match target {
            Target::Ram { bytes, name: None } => Ok(share(ram(*bytes)?)),
            Target::Ram { bytes, name: Some(name) } => {
                let key = format!("ram:{name}");
                if !self.named.contains_key(&key) {
                    let named = Named { storage: share(ram(*bytes)?), users: Vec::new() };
                    self.named.insert(key.clone(), named);
                }
                self.share(&key, device, writable)
            }
            Target::Machine(_) => self.share(&target.to_string(), device, writable),
            Target::File(path) => match files.get(path) {
                Some(file) => Ok(share(File::new(file.data))),
                None => Err(format!("Dom0's archive has no file {path}")),
            },
            Target::Overlay(_) => Err(format!("{target}: an overlay over an overlay")),
            Target::Foreign(_) => Err(format!("{target}: not a disk of Dom0's")),
        }
    }

    /// A named storage, unless its other users forbid it.
    fn share(&mut self, key: &str, device: Device, writable: bool) -> Result<Shared<'a>, String> {
        let all: Vec<String> = self.named.keys().cloned().collect();
        let named = self.named.get_mut(key).ok_or_else(|| match all.as_slice() {
            [] => format!("there is no {key}; this machine has no disk"),
            _ => format!("there is no {key}; there are: {}", all.join(", ")),
        })?;
        if let Some((other, writes)) = named.users.iter().find(|(_, writes)| writable || *writes) {
            let how = if *writes { "written" } else { "read" };
            return Err(format!("{key} is {how} by domain {}; only readers may share", other.dom));
        }
        if writable && !named.storage.borrow().is_writable() {
            return Err(format!("{key} can only be read; give access r, or overlay:{key}"));
        }
        named.users.push((device, writable));
        Ok(named.storage.clone())
    }
}

impl<H: Hypervisor> Backend<H> for Blocks<'_, H::Window> {
    fn changed(&mut self, host: &mut Host<'_, H>, device: Device) {
        if let Some(vbd) = self.devices.get_mut(&device) {
            vbd.changed(host);
        }
    }

    fn serve(&mut self, host: &mut Host<'_, H>) -> bool {
        let mut more = false;
        for vbd in self.devices.values_mut() {
            more |= vbd.serve(host, &mut self.scratch);
        }
        more
    }

    fn removed(&mut self, host: &mut Host<'_, H>, device: Device) {
        if let Some(mut vbd) = self.devices.remove(&device) {
            vbd.disconnect(host);
        }
        for named in self.named.values_mut() {
            named.users.retain(|(user, _)| *user != device);
        }
    }
}

fn ram(bytes: u64) -> Result<Ram, String> {
    Ram::new(bytes).map_err(|why| format!("{why}; give Dom0 more with dom0_mem="))
}

/// A block device of a guest.
pub fn device(dom: crate::DomId, disk: &Disk) -> Device {
    Device { dom, class: Class::Block, number: disk.vdev.number }
}
