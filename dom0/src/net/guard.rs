//! What a guest may claim to be.
//!
//! A frame leaves a guest's interface only with that interface's own Ethernet address as its source, in the header and in ARP. If the
//! configuration lists addresses (`ip=`), IPv4 and ARP must come from one of them, or from 0.0.0.0 while an address is still being asked
//! for, and other protocols (IPv6, VLAN tags, …) do not pass at all, for nothing there says who may send them.

use alloc::vec::Vec;

use super::frame::{self, Ipv4, Mac, Payload};

/// A VLAN tag: it would hide what is behind it from the checks.
const VLAN: [u16; 2] = [0x8100, 0x88a8];

/// Why a frame was not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No whole header, or a known protocol that is cut off.
    Malformed,
    /// Another Ethernet address than the interface's.
    Mac,
    /// An IPv4 address that is not the interface's.
    Address,
    /// A protocol that the configuration does not let through.
    Protocol,
}

/// The rules for one interface.
#[derive(Clone, Debug)]
pub struct Guard {
    /// The interface's address.
    pub mac: Mac,
    /// Its IPv4 addresses; none: any.
    pub addresses: Vec<Ipv4>,
}

impl Guard {
    /// Whether a frame from the guest may pass.
    pub fn check(&self, frame: &[u8]) -> Result<(), Refusal> {
        if frame.len() < frame::HEADER {
            return Err(Refusal::Malformed);
        }
        if frame::source(frame) != Some(self.mac) {
            return Err(Refusal::Mac);
        }
        match frame::payload(frame) {
            Payload::Malformed => Err(Refusal::Malformed),
            Payload::Arp { mac, .. } if mac != self.mac => Err(Refusal::Mac),
            Payload::Arp { ip, .. } | Payload::Ipv4(ip) => self.address(ip),
            Payload::Other(kind) if VLAN.contains(&kind) => Err(Refusal::Protocol),
            Payload::Ipv6 | Payload::Other(_) if self.addresses.is_empty() => Ok(()),
            Payload::Ipv6 | Payload::Other(_) => Err(Refusal::Protocol),
        }
    }

    fn address(&self, ip: Ipv4) -> Result<(), Refusal> {
        let fine = self.addresses.is_empty() || ip == Ipv4::NONE || self.addresses.contains(&ip);
        if fine { Ok(()) } else { Err(Refusal::Address) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::frame::tests::{arp_frame, frame, mac, udp_frame};

    const OWN: [u8; 4] = [10, 0, 0, 5];
    const OTHER: [u8; 4] = [10, 0, 0, 6];

    fn guard(addresses: &[[u8; 4]]) -> Guard {
        Guard { mac: mac(1), addresses: addresses.iter().copied().map(Ipv4).collect() }
    }

    #[test]
    fn only_ones_own_address() {
        let open = guard(&[]);
        assert_eq!(open.check(&udp_frame(mac(1), mac(2), OTHER, b"")), Ok(()));
        assert_eq!(open.check(&udp_frame(mac(3), mac(2), OTHER, b"")), Err(Refusal::Mac));
        assert_eq!(open.check(&arp_frame(mac(1), mac(3), OTHER)), Err(Refusal::Mac));
        assert_eq!(open.check(&frame(mac(1), mac(2), 0x86dd, &[])), Ok(()));
        assert_eq!(open.check(&frame(mac(1), mac(2), 0x8100, &[])), Err(Refusal::Protocol));
        assert_eq!(open.check(&[0; 13]), Err(Refusal::Malformed));
    }

    #[test]
    fn only_the_listed_addresses() {
        let strict = guard(&[OWN]);
        assert_eq!(strict.check(&udp_frame(mac(1), mac(2), OWN, b"")), Ok(()));
        assert_eq!(strict.check(&udp_frame(mac(1), mac(2), [0; 4], b"")), Ok(()));
        assert_eq!(strict.check(&udp_frame(mac(1), mac(2), OTHER, b"")), Err(Refusal::Address));
        assert_eq!(strict.check(&arp_frame(mac(1), mac(1), OTHER)), Err(Refusal::Address));
        assert_eq!(strict.check(&arp_frame(mac(1), mac(1), OWN)), Ok(()));
        assert_eq!(strict.check(&frame(mac(1), mac(2), 0x86dd, &[])), Err(Refusal::Protocol));
    }
}
