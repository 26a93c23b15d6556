//! The toolstack: which domains exist, their rings, their nodes in the store, and what happens when they end.
//!
//! [`Control::serve`] is the heart: one round over everything that may have news, without blocking. The caller sleeps when a
//! round found nothing. A domain's life here: `create` builds it, publishes its `nodes`, connects its rings and unpauses
//! it; `end` notices that it shut down or crashed, follows its `on_*` setting, and takes everything apart again.

mod adjust;
mod core_file;
mod create;
pub mod detail;
pub mod devices;
mod disks;
mod driver;
mod end;
mod inspect;
mod interfaces;
mod nodes;
pub mod phase;
pub mod report;
mod restore;
mod save;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use abi::domctl::XEN_DOMINF_SHUTDOWN;

use crate::DomId;
use crate::block::Blocks;
use crate::config::Guest;
use crate::console::Console;
use crate::files::Files;
use crate::hypervisor::{Hypervisor, explain};
use crate::net::Network;
use crate::xenstore::Server;
use crate::xenstore::ring::Ring;
use devices::Device;
pub(crate) use nodes::uuid_text;

/// Consoles of ended domains that are kept for `log`.
const PAST_MAX: usize = 8;

/// A domain that this toolstack built.
#[derive(Debug)]
pub struct Domain<W> {
    /// Its number.
    pub dom: DomId,
    /// What it was built from.
    pub guest: Guest,
    /// Its console.
    pub console: Console,
    /// Position in the console's output behind the last text that a script waited for.
    pub awaited: u64,
    /// How it ended, if it is kept after its end.
    pub ended: Option<&'static str>,
    uuid: [u8; 16],
    started: u64,
    console_page: W,
    console_port: u32,
    store_page: W,
    store_port: u32,
    ring: Ring,
    store_broken: bool,
}

impl<W> Domain<W> {
    /// When it was started, in nanoseconds of Dom0's clock.
    pub fn started(&self) -> u64 {
        self.started
    }
}

/// The toolstack's state.
#[derive(Debug)]
pub struct Control<'a, H: Hypervisor> {
    /// The hypervisor.
    pub hv: H,
    /// Guest images.
    pub files: Files<'a>,
    /// The xenstore.
    pub store: Server,
    /// Disks, and the devices that show them.
    pub blocks: Blocks<'a, H::Window>,
    /// Network interfaces and bridges.
    pub net: Network<H::Window>,
    devices: Vec<Device>,
    /// Devices that another domain serves, and which one.
    served: BTreeMap<Device, DomId>,
    domains: BTreeMap<DomId, Domain<H::Window>>,
    /// Whose rings a local port is about.
    ports: BTreeMap<u32, DomId>,
    /// Domains whose rings are to be served.
    pending: BTreeSet<DomId>,
    past: VecDeque<(DomId, String, Console)>,
    notices: VecDeque<String>,
    /// The domain that is being saved: that it suspends itself is expected.
    saving: Option<DomId>,
    features: u32,
    uuids: u64,
}

impl<'a, H: Hypervisor> Control<'a, H> {
    /// A toolstack with no guests yet.
    pub fn new(mut hv: H, files: Files<'a>) -> Self {
        let features = hv.host_info().map_or(0, |info| info.features);
        let uuids = hv.now();
        let mut control = Self {
            hv,
            files,
            store: Server::new(),
            blocks: Blocks::default(),
            net: Network::default(),
            devices: Vec::new(),
            served: BTreeMap::new(),
            domains: BTreeMap::new(),
            ports: BTreeMap::new(),
            pending: BTreeSet::new(),
            past: VecDeque::new(),
            notices: VecDeque::new(),
            saving: None,
            features,
            uuids,
        };
        control.publish_own_nodes();
        control
    }

    /// The domains this toolstack built, by number.
    pub fn domains(&self) -> impl Iterator<Item = &Domain<H::Window>> {
        self.domains.values()
    }

    /// Names of the domains this toolstack built.
    pub fn names(&self) -> Vec<String> {
        self.domains.values().map(|d| d.guest.name.clone()).collect()
    }

    /// A domain by number.
    pub fn domain(&mut self, dom: DomId) -> Option<&mut Domain<H::Window>> {
        self.domains.get_mut(&dom)
    }

    /// Finds a domain by name or number.
    pub fn find(&self, wanted: &str) -> Result<DomId, String> {
        let named = self.domains.values().find(|d| d.guest.name == wanted).map(|d| d.dom);
        let numbered = || Some(DomId(wanted.parse().ok()?)).filter(|id| self.domains.contains_key(id));
        named.or_else(numbered).ok_or_else(|| match self.names() {
            _ if wanted == "0" || wanted == "Domain-0" => "that is Dom0 itself; name a guest".to_string(),
            names if names.is_empty() => {
                format!("no domain called {wanted}; none is running, type create GUEST")
            }
            names => format!("no domain called {wanted}; there are: {}", names.join(", ")),
        })
    }

    /// The console of a running domain, or of one that ended lately.
    pub fn console(&self, wanted: &str) -> Result<&Console, String> {
        match self.find(wanted) {
            Ok(dom) => Ok(&self.domains[&dom].console),
            Err(error) => {
                let matches =
                    |(dom, name, _): &&(DomId, String, Console)| name == wanted || dom.to_string() == wanted;
                self.past.iter().rev().find(matches).map(|(_, _, console)| console).ok_or(error)
            }
        }
    }

    /// The next thing a person should be told.
    pub fn next_notice(&mut self) -> Option<String> {
        self.notices.pop_front()
    }

    /// One round over all rings and news. Returns whether there is more to do at once.
    pub fn serve(&mut self) -> bool {
        let mut more = self.serve_rings();
        more |= self.serve_devices();
        if self.hv.domain_event() {
            self.reap();
            more = true;
        }
        while self.store.next_action().is_some() {
            // Only domain 0 may ask for these, and this toolstack is its only part that does; it connects directly.
        }
        more
    }

    /// Serves the rings of the domains that rang, have something queued for them, or were not through. What this costs does not grow with
    /// the number of domains that are silent.
    fn serve_rings(&mut self) -> bool {
        let mut rung = Vec::new();
        self.hv.rung(&mut rung);
        self.pending.extend(rung.iter().filter_map(|port| self.ports.get(port)));
        self.pending.append(&mut self.store.take_news());
        for dom in core::mem::take(&mut self.pending) {
            let Some(domain) = self.domains.get_mut(&dom) else { continue };
            if serve_domain(&mut self.hv, &mut self.store, &mut self.notices, domain) {
                self.pending.insert(dom);
            }
        }
        !self.pending.is_empty()
    }

    /// Looks for domains that ended.
    fn reap(&mut self) {
        let infos = match self.hv.domains() {
            Ok(infos) => infos,
            Err(error) => return self.notices.push_back(explain("getdomaininfolist", error)),
        };
        let ids: Vec<DomId> = self.domains.keys().copied().collect();
        for dom in ids {
            match infos.iter().find(|info| info.dom == dom) {
                Some(info) if info.flags & XEN_DOMINF_SHUTDOWN != 0 => self.ended(info),
                Some(_) => {}
                None => self.vanished(dom),
            }
        }
    }

    /// Stops a domain's CPUs.
    pub fn pause(&mut self, dom: DomId) -> Result<(), String> {
        self.hv.pause(dom).map_err(|e| explain("pausedomain", e))
    }

    /// Lets a paused domain run again.
    pub fn unpause(&mut self, dom: DomId) -> Result<(), String> {
        self.hv.unpause(dom).map_err(|e| explain("unpausedomain", e))
    }

    /// Asks a domain for something, through the store: `poweroff`, `reboot`.
    pub fn request(&mut self, dom: DomId, what: &str) -> Result<(), String> {
        let path = format!("/local/domain/{dom}/control/shutdown");
        self.store.write(&path, what.as_bytes()).map_err(|e| format!("write of {path}: {}", e.name()))
    }

    /// Types into a domain's console.
    pub fn type_in(&mut self, dom: DomId, bytes: &[u8]) {
        if let Some(domain) = self.domains.get_mut(&dom) {
            domain.console.type_in(bytes);
            self.pending.insert(dom);
        }
    }
}

/// Serves the rings of one domain. Returns whether something moved: then there may be more.
fn serve_domain<H: Hypervisor>(
    hv: &mut H,
    store: &mut Server,
    notices: &mut VecDeque<String>,
    domain: &mut Domain<H::Window>,
) -> bool {
    let console = domain.console.serve(&domain.console_page);
    if console {
        hv.notify(domain.console_port);
    }
    let progress = domain.ring.serve(&domain.store_page, domain.dom, store);
    if progress.notify {
        hv.notify(domain.store_port);
    }
    if let (Some(reason), false) = (domain.ring.broken(), domain.store_broken) {
        domain.store_broken = true;
        let name = &domain.guest.name;
        notices.push_back(format!("{name}: its xenstore connection is broken ({reason:?}) and closed"));
    }
    console || progress.notify || progress.more
}

/// What can be shown of a guest's output without changing the terminal: no escape sequences, no control characters other than
/// newline and tab.
pub fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\x1b' => skip_escape(&mut rest),
            c if !c.is_control() || matches!(c, '\n' | '\t') => shown.push(c),
            _ => {}
        }
    }
    shown
}

/// Skips the rest of an escape sequence: `[`, parameters and a final letter, or one character.
fn skip_escape(rest: &mut core::str::Chars<'_>) {
    if rest.next() == Some('[') {
        rest.find(|c| ('@'..='~').contains(c));
    }
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn output_cannot_drive_the_terminal() {
        assert_eq!(printable(b"\x1b[30m\x1b[2J\x1b[1;1Ha\x07b\r\n\tc\x1bMd\x1b["), "ab\n\tcd");
        assert_eq!(printable(b"\xff"), "\u{fffd}");
    }
}
