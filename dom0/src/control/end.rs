//! How a domain ends: its own wish, a crash, or ours.

use alloc::format;
use alloc::string::String;

use abi::domctl::{XEN_DOMINF_SHUTDOWNMASK, XEN_DOMINF_SHUTDOWNSHIFT};

use super::{Control, PAST_MAX, save};
use crate::DomId;
use crate::config::{Guest, OnEnd};
use crate::hypervisor::{DomainInfo, Hypervisor, explain};

/// A domain that ends sooner than this after its start is not started again: nanoseconds.
const RESTART_MIN: u64 = 2_000_000_000;

/// `SHUTDOWN_crash`.
const CRASH: u32 = 3;

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
        if self.saving == Some(dom) && save::has_suspended(info) {
            return;
        }
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
            4 => domain.guest.on_watchdog,
            _ => domain.guest.on_crash,
        };
        let soon = now.saturating_sub(domain.started) < RESTART_MIN;
        if code == CRASH {
            self.report_crash(dom);
        }
        self.follow(dom, action, word, soon);
    }

    /// Does what is to follow an end that `word` names.
    fn follow(&mut self, dom: DomId, action: OnEnd, word: &'static str, soon: bool) {
        let Some(domain) = self.domains.get_mut(&dom) else { return };
        let name = domain.guest.name.clone();
        let told = format!("{name} (domain {dom}) {word}");
        match action {
            OnEnd::Preserve => {
                domain.ended = Some(word);
                self.notices
                    .push_back(format!("{told}; it is kept: log {name}, context {name}, destroy {name}"));
            }
            OnEnd::Destroy => {
                self.notices.push_back(format!("{told}; log {name} shows its output"));
                self.take_apart(dom);
            }
            OnEnd::CoredumpDestroy | OnEnd::CoredumpRestart => {
                let said = self.core_after_end(dom).unwrap_or_else(|why| format!("no core file: {why}"));
                self.notices.push_back(format!("{name}: {said}"));
                let then = if action == OnEnd::CoredumpDestroy { OnEnd::Destroy } else { OnEnd::Restart };
                self.follow(dom, then, word, soon);
            }
            OnEnd::Restart | OnEnd::RenameRestart if soon => {
                let seconds = RESTART_MIN / 1_000_000_000;
                self.notices.push_back(format!(
                    "{told} less than {seconds} s after its start; not started again, see log {name}"
                ));
                self.take_apart(dom);
            }
            OnEnd::Restart => {
                self.notices.push_back(format!("{told}; starting it again"));
                self.restart(dom);
            }
            OnEnd::RenameRestart => {
                domain.ended = Some(word);
                let guest = domain.guest.clone();
                let kept = self.set_aside(dom);
                self.notices.push_back(format!("{told}; it is kept as {kept}, and started again"));
                self.start_again(guest);
            }
        }
    }

    /// Gives a domain that ended another name and UUID, and takes its devices away, so that it can be started again beside
    /// itself. Returns the name.
    fn set_aside(&mut self, dom: DomId) -> String {
        self.remove_devices(dom);
        let uuid = self.new_uuid();
        let Some(domain) = self.domains.get(&dom) else { return String::new() };
        let (name, old) = (self.numbered(&domain.guest.name), domain.uuid);
        if let Some(domain) = self.domains.get_mut(&dom) {
            domain.guest.name = name.clone();
            domain.uuid = uuid;
        }
        self.remove_vm(&old);
        self.publish_vm(&name, &uuid);
        self.put(&format!("/local/domain/{dom}/name"), &name);
        self.put(&format!("/local/domain/{dom}/vm"), &super::nodes::vm_path(&uuid));
        name
    }

    fn restart(&mut self, dom: DomId) {
        let Some(guest) = self.domains.get(&dom).map(|d| d.guest.clone()) else { return };
        self.take_apart(dom);
        self.start_again(guest);
    }

    fn start_again(&mut self, guest: Guest) {
        let name = guest.name.clone();
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
            for port in [domain.console_port, domain.store_port] {
                self.hv.close(port);
                self.ports.remove(&port);
            }
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
