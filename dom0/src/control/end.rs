//! How a domain ends: its own wish, a crash, or ours.

use alloc::format;

use abi::domctl::{XEN_DOMINF_SHUTDOWNMASK, XEN_DOMINF_SHUTDOWNSHIFT};

use super::{Control, PAST_MAX};
use crate::DomId;
use crate::config::OnEnd;
use crate::hypervisor::{DomainInfo, Hypervisor, explain};

/// A domain that ends sooner than this after its start is not started again: nanoseconds.
const RESTART_MIN: u64 = 2_000_000_000;

/// `SHUTDOWN_*` of the public header `sched.h`.
fn reason(info: &DomainInfo) -> (&'static str, u32) {
    let code = info.flags >> XEN_DOMINF_SHUTDOWNSHIFT & XEN_DOMINF_SHUTDOWNMASK;
    let word = match code {
        0 => "powered off",
        1 => "asked for a reboot",
        2 => "suspended itself",
        3 => "crashed",
        4 => "was ended by its watchdog",
        5 => "asked for a soft reset",
        _ => "ended for an unknown reason",
    };
    (word, code)
}

impl<H: Hypervisor> Control<'_, H> {
    /// Follows the domain's `on_*` setting after it shut down or crashed.
    pub(super) fn ended(&mut self, info: &DomainInfo) {
        let dom = info.dom;
        let now = self.hv.now();
        let Some(domain) = self.domains.get_mut(&dom) else { return };
        if domain.ended.is_some() {
            return;
        }
        // What it printed last is still in the ring.
        domain.console.serve(&domain.console_page);
        let (word, code) = reason(info);
        let action = match code {
            0 => domain.guest.on_poweroff,
            1 => domain.guest.on_reboot,
            2 => OnEnd::Preserve,
            _ => domain.guest.on_crash,
        };
        let lived = now.saturating_sub(domain.started);
        let name = domain.guest.name.clone();
        match action {
            OnEnd::Preserve => {
                domain.ended = Some(word);
                self.notices.push_back(format!(
                    "{name} (domain {dom}) {word}; it is kept: log {name}, destroy {name}"
                ));
            }
            OnEnd::Restart if lived >= RESTART_MIN => {
                self.notices.push_back(format!("{name} (domain {dom}) {word}; starting it again"));
                self.restart(dom);
            }
            OnEnd::Restart => {
                let seconds = RESTART_MIN / 1_000_000_000;
                self.notices.push_back(format!(
                    "{name} (domain {dom}) {word} less than {seconds} s after its start; not started again, see log {name}"
                ));
                self.take_apart(dom);
            }
            OnEnd::Destroy => {
                let hint = if code == 0 {
                    format!("; log {name} shows its output")
                } else {
                    format!("; see log {name}")
                };
                self.notices.push_back(format!("{name} (domain {dom}) {word}{hint}"));
                self.take_apart(dom);
            }
        }
    }

    fn restart(&mut self, dom: DomId) {
        let Some(guest) = self.domains.get(&dom).map(|d| d.guest.clone()) else { return };
        let name = guest.name.clone();
        self.take_apart(dom);
        match self.start(guest) {
            Ok((new, _)) => self.notices.push_back(format!("{name} is domain {new} now")),
            Err(error) => self.notices.push_back(format!("{name} could not be started again: {error}")),
        }
    }

    /// Somebody else ended the domain.
    pub(super) fn vanished(&mut self, dom: DomId) {
        if let Some(domain) = self.domains.get(&dom) {
            let name = domain.guest.name.clone();
            self.notices.push_back(format!("{name} (domain {dom}) is gone"));
            self.take_apart(dom);
        }
    }

    /// Ends a domain at once.
    pub fn destroy(&mut self, dom: DomId) {
        if let Some(domain) = self.domains.get_mut(&dom) {
            domain.console.serve(&domain.console_page);
        }
        self.take_apart(dom);
    }

    /// Closes channels, unmaps pages, destroys the domain, removes its nodes and tells watchers. Works for what is only half built,
    /// too.
    pub(super) fn take_apart(&mut self, dom: DomId) {
        self.remove_devices(dom);
        let mut uuid = None;
        if let Some(domain) = self.domains.remove(&dom) {
            self.hv.close(domain.console_port);
            self.hv.close(domain.store_port);
            uuid = Some(domain.uuid);
            if self.past.len() == PAST_MAX {
                self.past.pop_front();
            }
            self.past.push_back((dom, domain.guest.name, domain.console));
        }
        match self.hv.destroy(dom) {
            Ok(()) | Err(abi::errno::Errno::ESRCH) => {}
            Err(error) => {
                self.notices.push_back(format!("domain {dom}: {}", explain("destroydomain", error)))
            }
        }
        self.remove_nodes(dom, uuid);
        self.store.release(dom);
    }
}
