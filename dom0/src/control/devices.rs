//! Split devices: a front end in a guest, a back end here, and two directories of the store in which they find each other.
//!
//! | directory | owner | who writes what |
//! |---|---|---|
//! | `/local/domain/D/device/CLASS/N` | the guest | the toolstack: `backend`, `backend-id`; the guest: `state`, `ring-ref`, `event-channel`, … |
//! | `/local/domain/0/backend/CLASS/D/N` | Dom0, the guest may read | `frontend`, `frontend-id`, `online`, `state`, what the device is and can do |
//!
//! The states are those of the public header `io/xenbus.h`. The usual way up: the back end says what it can (`InitWait`), the front end writes
//! its rings and channels (`Initialised`), the back end maps them (`Connected`), the front end follows. The way down: either side goes to
//! `Closing`, both end in `Closed`; then the front end may begin anew with `Initialising`.
//!
//! **Trust.** Everything in the guest's directory is the guest's claim, also `backend`: a [`Device`] is found by its own number, never by what
//! the directory says. A front end that breaks the protocol gets an error node and a closed device ([`Host::fail`]), nothing else happens.
//!
//! **Who does what.** A [`Backend`] serves all devices of one class. The toolstack makes the directories ([`Host::publish`]), watches the front
//! ends' states, tells the back end what changed, lets it serve a bounded round, and tells it when a device ends. What a back end may use
//! of the rest of Dom0 is [`Host`].

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::str::FromStr;

use abi::io::xenbus::XenbusState;

use super::Control;
use crate::DomId;
use crate::block::{self, spec::Disk};
use crate::hypervisor::Hypervisor;
use crate::net::spec::Vif;
use crate::xenstore::Server;
use crate::xenstore::client::Watch;
use crate::xenstore::perms::{Access, Perms};

/// Longest value of a front end's node that is looked at.
const VALUE_MAX: usize = 64;
/// Store changes handled in one round.
const CHANGES: usize = 64;
/// Token of Dom0's watches of front ends.
const TOKEN: &str = "front";

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Block device.
    Block,
    /// Network interface.
    Net,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 2] = [Self::Block, Self::Net];

    /// The word in the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::Block => "vbd",
            Self::Net => "vif",
        }
    }
}

/// A device of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device {
    /// The guest.
    pub dom: DomId,
    /// What it is.
    pub class: Class,
    /// Its number among the guest's devices of the class; for a block device, the virtual device's number.
    pub number: u32,
}

impl Device {
    /// The front end's directory.
    pub fn front(&self) -> String {
        format!("/local/domain/{}/device/{}/{}", self.dom, self.class.word(), self.number)
    }

    /// The back end's directory.
    pub fn back(&self) -> String {
        self.back_in(DomId::ZERO)
    }

    /// The back end's directory, if this domain has it.
    pub(super) fn back_in(&self, server: DomId) -> String {
        format!("/local/domain/{server}/backend/{}/{}/{}", self.class.word(), self.dom, self.number)
    }

    /// Where the toolstack remembers it.
    pub(super) fn remembered(&self) -> String {
        format!("/libxl/{}/device/{}/{}", self.dom, self.class.word(), self.number)
    }

    /// Where the back end says what went wrong.
    fn error(&self) -> String {
        format!("/local/domain/0/error/backend/{}/{}/{}", self.class.word(), self.dom, self.number)
    }

    /// The device whose front end's `state` this node is.
    fn of_state(path: &str) -> Option<Self> {
        let mut parts = path.strip_prefix("/local/domain/")?.split('/');
        let dom = DomId(parts.next()?.parse().ok()?);
        if parts.next()? != "device" {
            return None;
        }
        let word = parts.next()?;
        let class = Class::ALL.into_iter().find(|class| class.word() == word)?;
        let number = parts.next()?.parse().ok()?;
        (parts.next() == Some("state")).then_some(Self { dom, class, number })
    }
}

impl core::fmt::Display for Device {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} {} of domain {}", self.class.word(), self.number, self.dom)
    }
}

/// Serves all devices of a class.
///
/// Errors are not returned: they concern one device, which is closed ([`Host::fail`]).
pub trait Backend<H: Hypervisor> {
    /// The front end's state changed, or the device is new: its directories exist.
    fn changed(&mut self, host: &mut Host<'_, H>, device: Device);
    /// A round over all rings, with a bounded amount of work for each. Returns whether there is more to do at once.
    fn serve(&mut self, host: &mut Host<'_, H>) -> bool;
    /// The device ends, or its domain: nothing of the guest may stay mapped or bound.
    fn removed(&mut self, host: &mut Host<'_, H>, device: Device);
}

/// What a back end uses of Dom0.
#[derive(Debug)]
pub struct Host<'h, H> {
    /// The hypervisor.
    pub hv: &'h mut H,
    /// The store.
    pub store: &'h mut Server,
    /// What a person should be told.
    pub notices: &'h mut VecDeque<String>,
}

impl<H: Hypervisor> Host<'_, H> {
    /// Makes a device's directories, with these nodes beside the usual ones, and watches its front end.
    pub fn publish(&mut self, device: Device, front: &[(&str, &str)], back: &[(&str, &str)]) {
        self.publish_in(DomId::ZERO, device, front, back);
        let path = format!("{}/state", device.front());
        self.store.add_watch(DomId::ZERO, Watch { path, relative: None, token: TOKEN.to_string() });
    }

    /// Makes a device's directories, with the back end's in this domain's home.
    pub(super) fn publish_in(
        &mut self,
        server: DomId,
        device: Device,
        front: &[(&str, &str)],
        back: &[(&str, &str)],
    ) {
        let (there, here) = (device.front(), device.back_in(server));
        let owner = device.dom;
        self.directory(&there, owner, server);
        self.put(&format!("{there}/backend"), &here);
        self.put(&format!("{there}/backend-id"), &server.to_string());
        for (key, value) in front {
            self.put(&format!("{there}/{key}"), value);
        }
        self.directory(&here, server, owner);
        self.put(&format!("{here}/frontend"), &there);
        self.put(&format!("{here}/frontend-id"), &device.dom.to_string());
        self.put(&format!("{here}/online"), "1");
        for (key, value) in back {
            self.put(&format!("{here}/{key}"), value);
        }
        let remembered = device.remembered();
        self.put(&format!("{remembered}/frontend"), &there);
        self.put(&format!("{remembered}/backend"), &here);
        self.put(&format!("{here}/state"), "1");
        self.put(&format!("{there}/state"), "1");
    }

    /// Removes a device's directories and stops watching.
    pub fn withdraw(&mut self, device: Device) {
        let state = format!("{}/state", device.front());
        self.store.drop_watches(DomId::ZERO, |watch| watch.path == state);
        for path in [device.front(), device.back(), device.error(), device.remembered()] {
            // The guest may have removed its own.
            let _ = self.store.rm(&path);
        }
    }

    fn directory(&mut self, path: &str, owner: DomId, reader: DomId) {
        self.put(path, "");
        let mut perms = Perms::new(owner, Access::NONE);
        perms.others.push((reader, Access::READ));
        if let Err(error) = self.store.set_perms(path, perms) {
            self.notices.push_back(format!("xenstore: permissions of {path}: {}", error.name()));
        }
    }

    /// Writes a node.
    pub fn put(&mut self, path: &str, value: &str) {
        if let Err(error) = self.store.write(path, value.as_bytes()) {
            self.notices.push_back(format!("xenstore: write of {path}: {}", error.name()));
        }
    }

    /// Writes a node of the back end's directory.
    pub fn put_back(&mut self, device: Device, key: &str, value: &str) {
        self.put(&format!("{}/{key}", device.back()), value);
    }

    /// Sets the back end's state.
    pub fn set_state(&mut self, device: Device, state: XenbusState) {
        self.put_back(device, "state", &(state as u32).to_string());
    }

    /// What the front end says under `key`, if it is short and text.
    pub fn front(&self, device: Device, key: &str) -> Option<&str> {
        front_text(self.store, device, key)
    }

    /// A number that the front end must say.
    pub fn front_number<T: FromStr>(&self, device: Device, key: &str) -> Result<T, String> {
        let text = self.front(device, key).ok_or_else(|| format!("the front end does not say {key}"))?;
        text.trim().parse().map_err(|_| format!("the front end's {key} is {text:?}, no number that fits"))
    }

    /// A number that the front end may say.
    pub fn front_number_or<T: FromStr>(&self, device: Device, key: &str, default: T) -> Result<T, String> {
        if self.front(device, key).is_none() { Ok(default) } else { self.front_number(device, key) }
    }

    /// The front end's state.
    pub fn front_state(&self, device: Device) -> XenbusState {
        let number = self.front_number(device, "state").unwrap_or(0);
        XenbusState::from_number(number).unwrap_or(XenbusState::Unknown)
    }

    /// The front end broke the protocol: says why, where tools look for it, and closes the device.
    pub fn fail(&mut self, device: Device, why: &str) {
        let path = format!("{}/error", device.error());
        // A front end that fails again and again fills no screen.
        if self.store.read(&path).is_none() {
            self.notices.push_back(format!("{device}: {why}; the device is closed"));
        }
        self.directory(&device.error(), DomId::ZERO, device.dom);
        self.put(&path, why);
        self.set_state(device, XenbusState::Closed);
    }
}

/// What a front end says under `key`, if it is short and text.
pub fn front_text<'s>(store: &'s Server, device: Device, key: &str) -> Option<&'s str> {
    let value = store.read(&format!("{}/{key}", device.front()))?;
    core::str::from_utf8(value).ok().filter(|text| text.len() <= VALUE_MAX)
}

impl<H: Hypervisor> Control<'_, H> {
    /// Runs `f` with the back end of a class and what it may use.
    pub(super) fn with_backend<T>(
        &mut self,
        class: Class,
        f: impl FnOnce(&mut dyn Backend<H>, &mut Host<'_, H>) -> T,
    ) -> Option<T> {
        let mut host = Host { hv: &mut self.hv, store: &mut self.store, notices: &mut self.notices };
        match class {
            Class::Block => Some(f(&mut self.blocks, &mut host)),
            Class::Net => Some(f(&mut self.net, &mut host)),
        }
    }

    /// Tells the back ends what changed in the store, and serves their rings.
    pub(super) fn serve_devices(&mut self) -> bool {
        let mut more = false;
        for _ in 0..CHANGES {
            let Some(path) = self.next_change() else { break };
            more = true;
            if let Some(device) = Device::of_state(&path) {
                self.with_backend(device.class, |backend, host| backend.changed(host, device));
                self.finish_detaching(device);
            }
        }
        for class in Class::ALL {
            more |= self.with_backend(class, |backend, host| backend.serve(host)).unwrap_or(false);
        }
        more
    }

    /// The next changed node of those that Dom0 watches.
    fn next_change(&mut self) -> Option<String> {
        let message = self.store.client(DomId::ZERO)?.next_message()?;
        let path = message.payload.split(|&byte| byte == 0).next().unwrap_or(&[]);
        Some(String::from_utf8_lossy(path).into_owned())
    }

    /// Tells the back end of a new device, whose directories were published.
    pub(super) fn device_added(&mut self, device: Device) {
        self.devices.push(device);
        self.with_backend(device.class, |backend, host| backend.changed(host, device));
    }

    /// Ends a device.
    pub(super) fn remove_device(&mut self, device: Device) {
        self.devices.retain(|known| *known != device);
        self.with_backend(device.class, |backend, host| {
            backend.removed(host, device);
            host.withdraw(device);
        });
    }

    /// Ends all devices of a domain; nothing of it stays mapped or bound for them.
    pub(super) fn remove_devices(&mut self, dom: DomId) {
        self.forget_served(dom);
        let gone: Vec<Device> = self.devices.iter().filter(|device| device.dom == dom).copied().collect();
        for device in gone {
            self.remove_device(device);
        }
        for class in Class::ALL {
            // What is left is the empty directory of the domain; it may not exist.
            for area in ["backend", "error/backend"] {
                let _ = self.store.rm(&format!("/local/domain/0/{area}/{}/{dom}", class.word()));
            }
        }
    }

    /// Gives a domain a disk.
    pub fn attach_disk(&mut self, dom: DomId, disk: &Disk) -> Result<(), String> {
        let device = block::device(dom, disk);
        if let Some(name) = &disk.backend {
            return self.attach_served(device, disk, name);
        }
        if self.served.contains_key(&device) {
            return Err(format!("domain {dom} has {} already", disk.vdev.name));
        }
        let mut host = Host { hv: &mut self.hv, store: &mut self.store, notices: &mut self.notices };
        self.blocks.attach(&mut host, &self.files, device, disk)?;
        self.device_added(device);
        Ok(())
    }

    /// Gives a domain a network interface, under the first free number.
    pub fn attach_vif(&mut self, dom: DomId, vif: &Vif) -> Result<Device, String> {
        let taken = |n: &u32| !self.devices.contains(&Device { dom, class: Class::Net, number: *n });
        let number = (0..).find(taken).unwrap_or(0);
        let device = Device { dom, class: Class::Net, number };
        let seed = self.domains.get(&dom).map_or([0; 16], |domain| domain.uuid);
        let mut host = Host { hv: &mut self.hv, store: &mut self.store, notices: &mut self.notices };
        self.net.attach(&mut host, device, vif, &seed)?;
        self.device_added(device);
        Ok(device)
    }

    /// When to serve devices though nothing happened, in nanoseconds of Dom0's clock.
    pub fn wake_at(&self) -> Option<u64> {
        self.net.wake_at()
    }

    /// The devices of all guests.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_found_by_their_state() {
        let device = Device { dom: DomId(7), class: Class::Block, number: 51712 };
        assert_eq!(Device::of_state(&format!("{}/state", device.front())), Some(device));
        for other in ["/local/domain/7/device/vbd/51712", "/local/domain/x/device/vbd/1/state", "/a/state"] {
            assert_eq!(Device::of_state(other), None);
        }
    }
}
