//! A learning bridge: which frame goes to which port.
//!
//! A frame's source address is learned with the port it came from; a frame to a known address goes to that port only, everything
//! else (unknown, broadcast, multicast) to all ports but the one it came from.
//!
//! **Bounds.** The table has [`ADDRESSES`] entries. An entry that was not heard of for [`AGE`] is forgotten; if the table is full of
//! younger ones, new addresses are not learned: their frames reach everybody, which is slower and not wrong. The addresses of guests'
//! interfaces are *pinned*: they are known from the configuration, never age, and nobody else's frame can move them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::frame::Mac;

/// Learned addresses of one bridge at most.
pub const ADDRESSES: usize = 1024;
/// Nanoseconds after which an address that was not heard of is forgotten.
pub const AGE: u64 = 300_000_000_000;

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way<P> {
    /// To one port.
    One(P),
    /// To all ports but the one it came from.
    All,
    /// Nowhere: its receiver is behind the port it came from.
    None,
}

#[derive(Clone, Copy, Debug)]
struct Entry<P> {
    port: P,
    heard: u64,
}

/// One bridge; `P` names its ports.
#[derive(Clone, Debug)]
pub struct Bridge<P> {
    ports: Vec<P>,
    learned: BTreeMap<Mac, Entry<P>>,
    pinned: BTreeMap<Mac, P>,
}

impl<P> Default for Bridge<P> {
    fn default() -> Self {
        Self { ports: Vec::new(), learned: BTreeMap::new(), pinned: BTreeMap::new() }
    }
}

impl<P: Copy + PartialEq> Bridge<P> {
    /// Adds a port, with the address that is known to be behind it.
    pub fn add(&mut self, port: P, mac: Option<Mac>) {
        self.ports.push(port);
        if let Some(mac) = mac {
            self.learned.remove(&mac);
            self.pinned.entry(mac).or_insert(port);
        }
    }

    /// Takes a port away, and all addresses behind it.
    pub fn remove(&mut self, port: P) {
        self.ports.retain(|known| *known != port);
        self.learned.retain(|_, entry| entry.port != port);
        self.pinned.retain(|_, known| *known != port);
    }

    /// The ports.
    pub fn ports(&self) -> &[P] {
        &self.ports
    }

    /// Addresses known at the moment.
    pub fn known(&self) -> usize {
        self.learned.len() + self.pinned.len()
    }

    /// Learns from a frame that came in by `port`, and says where it goes.
    pub fn forward(&mut self, port: P, source: Mac, destination: Mac, now: u64) -> Way<P> {
        self.learn(port, source, now);
        if destination.is_group() {
            return Way::All;
        }
        match self.find(destination, now) {
            Some(found) if found == port => Way::None,
            Some(found) => Way::One(found),
            None => Way::All,
        }
    }

    fn find(&self, mac: Mac, now: u64) -> Option<P> {
        let learned =
            || self.learned.get(&mac).filter(|e| now.saturating_sub(e.heard) <= AGE).map(|e| e.port);
        self.pinned.get(&mac).copied().or_else(learned)
    }

    fn learn(&mut self, port: P, mac: Mac, now: u64) {
        if mac.is_group() || self.pinned.contains_key(&mac) {
            return;
        }
        if let Some(entry) = self.learned.get_mut(&mac) {
            *entry = Entry { port, heard: now };
            return;
        }
        if self.learned.len() >= ADDRESSES {
            self.learned.retain(|_, entry| now.saturating_sub(entry.heard) <= AGE);
        }
        if self.learned.len() < ADDRESSES {
            self.learned.insert(mac, Entry { port, heard: now });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::frame::tests::mac;

    #[test]
    fn learns_and_forgets() {
        let mut bridge = Bridge::default();
        (1..=3).for_each(|port| bridge.add(port, None));
        assert_eq!(bridge.forward(1, mac(1), mac(2), 0), Way::All);
        assert_eq!(bridge.forward(2, mac(2), mac(1), 0), Way::One(1));
        assert_eq!(bridge.forward(1, mac(1), mac(2), 0), Way::One(2));
        assert_eq!(bridge.forward(1, mac(1), Mac::BROADCAST, 0), Way::All);
        assert_eq!(bridge.forward(2, mac(9), mac(2), 0), Way::None);
        // The second one moves to another port, then falls silent.
        assert_eq!(bridge.forward(3, mac(2), mac(1), 5), Way::One(1));
        assert_eq!(bridge.forward(1, mac(1), mac(2), 5), Way::One(3));
        assert_eq!(bridge.forward(1, mac(1), mac(2), 6 + AGE), Way::All);
        bridge.remove(1);
        assert_eq!(bridge.forward(2, mac(9), mac(1), 6 + AGE), Way::All);
    }

    #[test]
    fn nobody_takes_a_pinned_address() {
        let mut bridge = Bridge::default();
        bridge.add(1, Some(mac(1)));
        bridge.add(2, None);
        assert_eq!(bridge.forward(2, mac(1), mac(7), 0), Way::All);
        assert_eq!(bridge.forward(2, mac(2), mac(1), 2 * AGE), Way::One(1));
        bridge.add(3, Some(mac(1)));
        assert_eq!(bridge.forward(2, mac(2), mac(1), 2 * AGE), Way::One(1));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut bridge = Bridge::default();
        bridge.add(1, None);
        bridge.add(2, None);
        let many = |n: usize| Mac([2, 0, 0, 0, (n >> 8) as u8, n as u8]);
        for n in 0..ADDRESSES + 10 {
            bridge.forward(1, many(n), Mac::BROADCAST, 0);
        }
        assert_eq!(bridge.known(), ADDRESSES);
        assert_eq!(bridge.forward(2, mac(2), many(ADDRESSES + 5), 0), Way::All);
        bridge.forward(1, many(5000), Mac::BROADCAST, AGE + 1);
        assert_eq!(bridge.known(), 1);
    }
}
