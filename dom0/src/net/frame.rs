//! Ethernet frames, as far as a bridge has to understand them.
//!
//! Frames are copies in Dom0's memory, so nothing changes between a check and its use; but every field is the sender's claim, and
//! every length is checked before it is followed. Formats: Ethernet II, ARP (RFC 826), IPv4 (RFC 791), IPv6 (RFC 8200).
//!
//! **Checksums.** A front end may leave TCP's and UDP's checksum to others: the field then holds the sum of the pseudo-header, and
//! [`complete_checksum`] adds the rest. Between guests nobody needs to: the receiver is told that the data never left the machine.

use core::fmt;

/// Length of the Ethernet header.
pub const HEADER: usize = 14;
const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Everybody.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Reads the usual spelling, six bytes with colons.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2 && part.is_ascii())?;
            *byte = u8::from_str_radix(part, 16).ok().filter(|_| !part.starts_with('+'))?;
        }
        parts.next().is_none().then_some(Self(bytes))
    }

    /// Whether it names several interfaces: multicast or broadcast.
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipv4(pub [u8; 4]);

impl Ipv4 {
    /// No address yet.
    pub const NONE: Self = Self([0; 4]);

    /// Reads the usual spelling.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<core::net::Ipv4Addr>().ok().map(|address| Self(address.octets()))
    }
}

impl fmt::Display for Ipv4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::net::Ipv4Addr::from(self.0).fmt(f)
    }
}

fn bytes<const N: usize>(frame: &[u8], at: usize) -> Option<[u8; N]> {
    frame.get(at..at + N)?.try_into().ok()
}

fn word(frame: &[u8], at: usize) -> Option<u16> {
    bytes(frame, at).map(u16::from_be_bytes)
}

/// Where a frame goes; `None` if it has no whole header.
pub fn destination(frame: &[u8]) -> Option<Mac> {
    frame.get(..HEADER)?;
    bytes(frame, 0).map(Mac)
}

/// Where a frame says it comes from.
pub fn source(frame: &[u8]) -> Option<Mac> {
    bytes(frame, 6).map(Mac)
}

/// What a frame carries, as far as senders can lie about themselves in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// ARP for IPv4: the sender's addresses.
    Arp {
        /// Sender's hardware address.
        mac: Mac,
        /// Sender's protocol address.
        ip: Ipv4,
    },
    /// IPv4, from this address.
    Ipv4(Ipv4),
    /// IPv6.
    Ipv6,
    /// Another protocol, by its number.
    Other(u16),
    /// Known, but cut off or not well formed.
    Malformed,
}

/// Looks at what a frame carries.
pub fn payload(frame: &[u8]) -> Payload {
    match word(frame, 12) {
        Some(ARP) => arp(frame).unwrap_or(Payload::Malformed),
        Some(IPV4) => ipv4(frame).map_or(Payload::Malformed, |_| {
            bytes(frame, HEADER + 12).map_or(Payload::Malformed, |source| Payload::Ipv4(Ipv4(source)))
        }),
        Some(IPV6) => Payload::Ipv6,
        Some(other) => Payload::Other(other),
        None => Payload::Malformed,
    }
}

fn arp(frame: &[u8]) -> Option<Payload> {
    // Ethernet and IPv4, with the lengths of their addresses.
    const KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];
    (bytes(frame, HEADER)? == KIND).then_some(())?;
    bytes::<4>(frame, HEADER + 24)?;
    Some(Payload::Arp { mac: Mac(bytes(frame, HEADER + 8)?), ip: Ipv4(bytes(frame, HEADER + 14)?) })
}

/// Start of the transport header, and its protocol, of an IPv4 frame.
fn ipv4(frame: &[u8]) -> Option<(usize, u8)> {
    let first = *frame.get(HEADER)?;
    let length = usize::from(first & 15) * 4;
    (first >> 4 == 4 && length >= 20).then_some(())?;
    frame.get(HEADER..HEADER + length)?;
    Some((HEADER + length, frame[HEADER + 9]))
}

/// Start and end of the transport part, its protocol and the sum over the pseudo-header, for IPv4 without fragments and IPv6
/// without extension headers.
fn transport(frame: &[u8]) -> Option<(usize, usize, u8, u32)> {
    let (start, end, protocol, addresses) = match word(frame, 12)? {
        IPV4 => {
            let (start, protocol) = ipv4(frame)?;
            let end = HEADER + usize::from(word(frame, HEADER + 2)?);
            // More fragments, or not the first one.
            (word(frame, HEADER + 6)? & 0x3fff == 0).then_some(())?;
            (start, end, protocol, frame.get(HEADER + 12..HEADER + 20)?)
        }
        IPV6 => {
            let start = HEADER + 40;
            let end = start + usize::from(word(frame, HEADER + 4)?);
            (start, end, *frame.get(HEADER + 6)?, frame.get(HEADER + 8..start)?)
        }
        _ => return None,
    };
    (start <= end && end <= frame.len()).then_some(())?;
    let pseudo = sum(addresses) + u32::from(protocol) + (end - start) as u32;
    Some((start, end, protocol, pseudo))
}

/// Sum of 16-bit words, an odd byte counting as the first of its word.
fn sum(data: &[u8]) -> u32 {
    let mut total = 0u64;
    let mut words = data.chunks_exact(2);
    for pair in &mut words {
        total += u64::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    if let [last] = words.remainder() {
        total += u64::from(*last) << 8;
    }
    u32::from(fold(total))
}

/// Sum in one's complement, 16 bits.
fn fold(mut total: u64) -> u16 {
    while total >> 16 != 0 {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// Fills in the checksum of a TCP or UDP segment whose sender left it to others. `false` if the frame holds none.
pub fn complete_checksum(frame: &mut [u8]) -> bool {
    let Some((start, end, protocol, pseudo)) = transport(frame) else { return false };
    let (field, least) = match protocol {
        TCP => (start + 16, 20),
        UDP => (start + 6, 8),
        _ => return false,
    };
    if end - start < least {
        return false;
    }
    frame[field..field + 2].fill(0);
    let sum = !fold(u64::from(pseudo) + u64::from(sum(&frame[start..end])));
    // For UDP, zero means "no checksum".
    let sum = if sum == 0 && protocol == UDP { 0xffff } else { sum };
    frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    true
}

/// A number that is the same for all frames of a flow, to choose a queue by.
pub fn flow(frame: &[u8]) -> u32 {
    let end = match transport(frame) {
        Some((start, end, TCP | UDP, _)) => (start + 4).min(end),
        _ => HEADER.min(frame.len()),
    };
    // FNV-1a: spreads, nothing more.
    frame[..end].iter().enumerate().fold(0x811c_9dc5, |hash, (at, byte)| {
        // Length, identification, time to live and checksum differ within a flow.
        let varies = (HEADER + 2..HEADER + 6).contains(&at) || (HEADER + 8..HEADER + 12).contains(&at);
        if varies { hash } else { (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193) }
    })
}

#[cfg(test)]
pub mod tests {
    //! Frames for the tests of this folder.

    use super::*;
    use alloc::vec::Vec;

    /// An address for tests.
    pub const fn mac(n: u8) -> Mac {
        Mac([0, 0x16, 0x3e, 0, 0, n])
    }

    /// A frame with some payload.
    pub fn frame(from: Mac, to: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = [to.0, from.0].concat();
        out.extend(kind.to_be_bytes());
        out.extend_from_slice(payload);
        out
    }

    /// An ARP frame that says `mac` has `ip`.
    pub fn arp_frame(from: Mac, mac: Mac, ip: [u8; 4]) -> Vec<u8> {
        let mut payload = alloc::vec![0, 1, 8, 0, 6, 4, 0, 1];
        payload.extend(mac.0);
        payload.extend(ip);
        payload.extend([0; 10]);
        frame(from, Mac::BROADCAST, ARP, &payload)
    }

    /// A UDP datagram whose checksum is still to be filled in.
    pub fn udp_frame(from: Mac, to: Mac, ip: [u8; 4], data: &[u8]) -> Vec<u8> {
        let mut payload = alloc::vec![0x45, 0];
        payload.extend(((28 + data.len()) as u16).to_be_bytes());
        payload.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]);
        payload.extend(ip);
        payload.extend([10, 0, 0, 9, 0, 1, 0, 2]);
        payload.extend(((8 + data.len()) as u16).to_be_bytes());
        payload.extend([0, 0]);
        payload.extend_from_slice(data);
        frame(from, to, IPV4, &payload)
    }

    #[test]
    fn addresses_are_read() {
        assert_eq!(Mac::parse("00:16:3e:00:00:07"), Some(mac(7)));
        for text in [
            "",
            "0:1:2:3:4:5",
            "00:16:3e:00:00",
            "00:16:3e:00:00:07:08",
            "00:16:3e:00:00:+7",
            "00:16:3e:00:00:\u{e9}",
        ] {
            assert_eq!(Mac::parse(text), None, "{text}");
        }
        assert_eq!(mac(7).to_string(), "00:16:3e:00:00:07");
    }

    #[test]
    fn payloads_are_told_apart() {
        let at = [10, 0, 0, 5];
        assert_eq!(payload(&arp_frame(mac(1), mac(2), at)), Payload::Arp { mac: mac(2), ip: Ipv4(at) });
        assert_eq!(payload(&udp_frame(mac(1), mac(2), at, b"x")), Payload::Ipv4(Ipv4(at)));
        assert_eq!(payload(&arp_frame(mac(1), mac(2), at)[..30]), Payload::Malformed);
        assert_eq!(payload(&udp_frame(mac(1), mac(2), at, b"x")[..33]), Payload::Malformed);
        assert_eq!(payload(&frame(mac(1), mac(2), 0x8100, &[])), Payload::Other(0x8100));
    }

    #[test]
    fn checksums_are_completed() {
        for data in [&b"odd"[..], b"even", b""] {
            let mut datagram = udp_frame(mac(1), mac(2), [10, 0, 0, 5], data);
            assert!(complete_checksum(&mut datagram));
            let (start, end, _, pseudo) = transport(&datagram).unwrap();
            assert_eq!(fold(u64::from(pseudo) + u64::from(sum(&datagram[start..end]))), 0xffff);
        }
        let mut cut = udp_frame(mac(1), mac(2), [10, 0, 0, 5], b"data");
        cut.truncate(40);
        assert!(!complete_checksum(&mut cut));
    }

    #[test]
    fn a_flow_keeps_its_number() {
        let mut one = udp_frame(mac(1), mac(2), [10, 0, 0, 5], b"data");
        let number = flow(&one);
        one[HEADER + 4] = 9;
        one.extend([0; 8]);
        assert_eq!(flow(&one), number);
        one[HEADER + 21] = 9;
        assert_ne!(flow(&one), number);
    }

    proptest::proptest! {
        #[test]
        fn no_frame_panics(mut bytes: Vec<u8>, kind in 0..4usize) {
            if bytes.len() > HEADER {
                bytes[12..14].copy_from_slice(&[ARP, IPV4, IPV6, 0x8100][kind].to_be_bytes());
                bytes[HEADER] = 0x45;
            }
            let _ = (payload(&bytes), flow(&bytes), destination(&bytes), source(&bytes));
            complete_checksum(&mut bytes);
        }
    }
}
