//! What a configuration says about a network interface, in the syntax of `xl` (`xl-network-configuration`).
//!
//! An interface is a text of `key=value` parts between commas; the empty text is an interface with everything at its default.
//!
//! | part | meaning |
//! |---|---|
//! | `mac=00:16:3e:xx:xx:xx` | its address; without it, one is made from the domain's UUID |
//! | `bridge=NAME` | the bridge it is on, `xenbr0` by default |
//! | `ip=10.0.0.5` | the IPv4 addresses it may use, with blanks between them; without it, any |
//! | `rate=10Mb/s`, `rate=1MB/s@20ms` | how much the guest may send: bits or bytes, and the time over which it is counted (50 ms) |
//! | `mtu=9000` | longest packet, 68 to 65521 bytes; 1500 by default |
//! | `vifname=…`, `script=…`, `type=vif`, `backend=0`, `model=…` | taken, no effect |
//!
//! Everything else is an error with its place.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::frame::{Ipv4, Mac};

/// Offset in the text, and what is wrong there.
pub type Wrong = (usize, String);

/// The bridge of an interface that names none.
pub const BRIDGE: &str = "xenbr0";
/// Addresses that an interface may list.
const ADDRESSES: usize = 16;
/// Longest name of a bridge, as Linux has it.
const NAME_MAX: usize = 15;

/// How much may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bytes in each window.
    pub bytes: u64,
    /// Length of the window in microseconds.
    pub window: u64,
}

/// An interface as it was configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vif {
    /// Its address, if given.
    pub mac: Option<Mac>,
    /// The bridge it is on.
    pub bridge: String,
    /// Addresses it may use; none: any.
    pub addresses: Vec<Ipv4>,
    /// Limit of what the guest sends.
    pub rate: Option<Rate>,
    /// Longest packet after the Ethernet header, in bytes.
    pub mtu: u16,
}

impl Default for Vif {
    fn default() -> Self {
        Self { mac: None, bridge: BRIDGE.to_string(), addresses: Vec::new(), rate: None, mtu: 1500 }
    }
}

impl Vif {
    /// Reads an interface's text.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let mut vif = Self::default();
        let mut at = 0;
        for part in text.split(',') {
            let start = at + part.len() - part.trim_start().len();
            vif.part(part.trim()).map_err(|(inner, why)| (start + inner, why))?;
            at += part.len() + 1;
        }
        Ok(vif)
    }

    fn part(&mut self, part: &str) -> Result<(), Wrong> {
        if part.is_empty() {
            return Ok(());
        }
        let Some((key, value)) = part.split_once('=') else {
            return Err((0, format!("expected key=value, found {part:?}")));
        };
        let place = key.len() + 1;
        let wrong = |why: String| (place, why);
        match key.trim_end() {
            "mac" => self.mac = Some(mac(value).map_err(wrong)?),
            "bridge" => self.bridge = bridge(value).map_err(wrong)?,
            "ip" => self.addresses = addresses(value).map_err(wrong)?,
            "rate" => self.rate = Some(rate(value).map_err(wrong)?),
            "mtu" => self.mtu = mtu(value).map_err(wrong)?,
            "type" if value == "vif" => {}
            "type" => return Err(wrong(format!("{value:?}: a PV guest has interfaces of type vif only"))),
            "backend" if value == "0" || value == "Domain-0" => {}
            "backend" => return Err(wrong(format!("{value:?}: interfaces are served by domain 0 only"))),
            "vifname" | "script" | "model" | "gatewaydev" => {}
            key => return Err((0, format!("unknown part {key}; there are mac, bridge, ip, rate, mtu"))),
        }
        Ok(())
    }
}

fn mac(value: &str) -> Result<Mac, String> {
    let mac = Mac::parse(value)
        .ok_or_else(|| format!("{value:?} is no address; it looks like 00:16:3e:01:02:03"))?;
    if mac.is_group() || mac == Mac([0; 6]) {
        return Err(format!("{mac} is not the address of one interface: its first byte must be even"));
    }
    Ok(mac)
}

fn bridge(value: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if value.is_empty() || value.len() > NAME_MAX || !value.chars().all(legal) {
        return Err(format!("{value:?} is no bridge; use letters, digits and -_., at most {NAME_MAX}"));
    }
    Ok(value.to_string())
}

fn addresses(value: &str) -> Result<Vec<Ipv4>, String> {
    let parse = |word: &str| {
        let word = word.split('/').next().unwrap_or(word);
        Ipv4::parse(word).ok_or_else(|| format!("{word:?} is no IPv4 address"))
    };
    let list = value.split_ascii_whitespace().map(parse).collect::<Result<Vec<_>, _>>()?;
    match list.len() {
        0 => Err("no address given".to_string()),
        1..=ADDRESSES => Ok(list),
        many => Err(format!("{many} addresses; at most {ADDRESSES}")),
    }
}

fn rate(value: &str) -> Result<Rate, String> {
    let wrong = || format!("{value:?} is no rate; it looks like 10Mb/s or 1MB/s@20ms");
    let (speed, window) = value.split_once('@').unwrap_or((value, "50ms"));
    let amount = speed.strip_suffix("/s").ok_or_else(wrong)?;
    let digits = amount.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = amount[..digits].parse().map_err(|_| wrong())?;
    // In bits, as network speeds are: the prefixes are powers of ten.
    let unit = match &amount[digits..] {
        "b" => 1,
        "Kb" => 1_000,
        "Mb" => 1_000_000,
        "Gb" => 1_000_000_000,
        "B" => 8,
        "KB" => 8_000,
        "MB" => 8_000_000,
        "GB" => 8_000_000_000,
        _ => return Err(wrong()),
    };
    let bits = number.checked_mul(unit).filter(|bits| (8_000..=1 << 50).contains(bits));
    let bits = bits.ok_or_else(|| format!("{value:?}: from 1KB/s on"))?;
    let window = span(window).filter(|window| (1_000..=10_000_000).contains(window));
    let window = window.ok_or_else(|| format!("{value:?}: the time is from 1ms to 10s"))?;
    // One full packet must fit, or nothing is ever sent.
    let bytes = (u128::from(bits) * u128::from(window) / 8_000_000) as u64;
    Ok(Rate { bytes: bytes.max(2048), window })
}

/// Microseconds of a text like `20ms`.
fn span(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let unit = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

fn mtu(value: &str) -> Result<u16, String> {
    let mtu = value.parse().ok().filter(|mtu| (68..=65521).contains(mtu));
    mtu.ok_or_else(|| format!("{value:?} is no length; it is from 68 to 65521"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_interface() {
        let vif = Vif::parse(
            "mac=00:16:3E:aa:bb:0c, bridge=br1,ip=10.0.0.5 10.0.0.6/24,rate=8Mb/s@20ms,mtu=9000,script=x",
        );
        let vif = vif.unwrap();
        assert_eq!(vif.mac, Some(Mac([0, 0x16, 0x3e, 0xaa, 0xbb, 0x0c])));
        assert_eq!((vif.bridge.as_str(), vif.mtu), ("br1", 9000));
        assert_eq!(vif.addresses, [Ipv4([10, 0, 0, 5]), Ipv4([10, 0, 0, 6])]);
        assert_eq!(vif.rate, Some(Rate { bytes: 20_000, window: 20_000 }));
        assert_eq!(Vif::parse("").unwrap(), Vif::default());
    }

    #[test]
    fn errors_name_their_place() {
        let error = |text: &str| Vif::parse(text).unwrap_err();
        assert_eq!(error("mac=1"), (4, "\"1\" is no address; it looks like 00:16:3e:01:02:03".into()));
        assert_eq!(error("bridge=a, mac=01:00:00:00:00:00").0, 14);
        assert_eq!(error("foo=1").0, 0);
        assert_eq!(error("bridge=a,foo").0, 9);
        for text in [
            "rate=1",
            "rate=1Mb",
            "rate=xMb/s",
            "rate=1b/s",
            "rate=1MB/s@1h",
            "mtu=1",
            "ip=1.2.3",
            "ip=",
            "bridge=",
            "type=ioemu",
            "backend=3",
        ] {
            assert_eq!(error(text).0, text.find('=').unwrap() + 1, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics(text in "[a-z=,:/@0-9. MKGBb\u{e9}]{0,40}") {
            if let Err((at, _)) = Vif::parse(&text) {
                proptest::prop_assert!(at <= text.len());
            }
        }
    }
}
