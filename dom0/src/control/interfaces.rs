//! Network interfaces of running domains: given, taken away in order, or at once; and what went over them.

use alloc::format;
use alloc::string::{String, ToString};

use abi::io::xenbus::XenbusState;

use super::Control;
use super::devices::{Class, Device, Host};
use crate::DomId;
use crate::hypervisor::Hypervisor;
use crate::net::spec::Vif;

impl<H: Hypervisor> Control<'_, H> {
    /// Gives a running domain an interface, described as in a configuration file.
    pub fn network_attach(&mut self, dom: DomId, text: &str) -> Result<String, String> {
        let vif = Vif::parse(text).map_err(|(at, what)| format!("vif, column {}: {what}", at + 1))?;
        let device = self.attach_vif(dom, &vif)?;
        let mac = self.net.stats(device).map_or_else(String::new, |(_, mac, ..)| mac.to_string());
        Ok(format!("domain {dom} has interface {} now, {mac} on {}", device.number, vif.bridge))
    }

    /// Takes an interface away, by its number or address. In order, the front end is asked to end, and the device goes when it has; with
    /// `force` it goes at once.
    pub fn network_detach(&mut self, dom: DomId, wanted: &str, force: bool) -> Result<String, String> {
        let device = self.find_interface(dom, wanted)?;
        if force || self.closed(device) {
            self.remove_device(device);
            return Ok(format!("interface {wanted} is taken away from domain {dom}"));
        }
        let mut host = Host { hv: &mut self.hv, store: &mut self.store, notices: &mut self.notices };
        host.put_back(device, "online", "0");
        host.set_state(device, XenbusState::Closing);
        Ok(format!("domain {dom} was asked to give interface {wanted} back"))
    }

    fn find_interface(&self, dom: DomId, wanted: &str) -> Result<Device, String> {
        let known = |device: &&Device| device.dom == dom && device.class == Class::Net;
        let named = |device: &&Device| {
            let mac = self.net.stats(**device).map(|(_, mac, ..)| mac.to_string());
            device.number.to_string() == wanted || mac.is_some_and(|mac| mac.eq_ignore_ascii_case(wanted))
        };
        let found = self.devices().iter().filter(known).find(named);
        found.copied().ok_or_else(|| format!("domain {dom} has no interface {wanted}; see network-list"))
    }

    /// The interfaces of one guest or all.
    pub fn network_list(&self, only: Option<DomId>) -> String {
        let mut text = format!(
            "{:>5} {:>4} {:<17} {:<12} {:<9} {:>9} {:>8} {:>9} {:>8} {:>8} {:>8} {:>6}\n",
            "DOM",
            "NR",
            "MAC",
            "BRIDGE",
            "STATE",
            "FRAMES TX",
            "KIB TX",
            "FRAMES RX",
            "KIB RX",
            "DROPPED",
            "REFUSED",
            "ERRORS"
        );
        let wanted =
            |device: &&Device| device.class == Class::Net && only.is_none_or(|dom| dom == device.dom);
        for device in self.devices().iter().filter(wanted) {
            let Some((done, mac, bridge, connected)) = self.net.stats(*device) else { continue };
            text += &format!(
                "{:>5} {:>4} {:<17} {bridge:<12} {:<9} {:>9} {:>8} {:>9} {:>8} {:>8} {:>8} {:>6}\n",
                device.dom.to_string(),
                device.number,
                mac.to_string(),
                if connected { "connected" } else { "waiting" },
                done.from,
                done.from_bytes >> 10,
                done.to,
                done.to_bytes >> 10,
                done.dropped,
                done.refused,
                done.errors,
            );
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
    fn an_interface_comes_and_goes_in_order() {
        let kernel = fake::kernel(b"text");
        let config = b"kernel = 'k'\nmemory = 8\nvif = [ '' ]";
        let archive = fake::archive(&[("guests/g.cfg", config), ("guests/k", &kernel)]);
        let (files, _) = Files::read(&archive);
        let mut control = Control::new(Fake::new(100_000), files);
        let dom = control.create("g", false).unwrap().dom;
        let said = control.network_attach(dom, "mac=00:16:3e:aa:bb:cc,bridge=inner").unwrap();
        assert_eq!(said, "domain 1 has interface 1 now, 00:16:3e:aa:bb:cc on inner");
        assert!(control.network_attach(dom, "mac=1").unwrap_err().starts_with("vif, column 5: "));
        let rows = control.network_list(Some(dom));
        assert_eq!(rows.lines().count(), 3, "{rows}");
        assert!(rows.contains("00:16:3e:aa:bb:cc inner        waiting"), "{rows}");
        assert_eq!(control.network_list(Some(DomId(9))).lines().count(), 1);

        assert!(control.network_detach(dom, "5", false).is_err());
        control.network_detach(dom, "00:16:3E:AA:BB:CC", false).unwrap();
        assert_eq!(control.store.read("/local/domain/0/backend/vif/1/1/state"), Some(&b"5"[..]));
        control.store.write("/local/domain/1/device/vif/1/state", b"6").unwrap();
        control.serve();
        assert_eq!(control.devices().len(), 1);
        control.network_detach(dom, "0", true).unwrap();
        assert!(control.devices().is_empty());
    }
}
