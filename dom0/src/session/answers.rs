//! Commands that do one thing and say one thing.

use alloc::format;
use alloc::string::{String, ToString};

use super::{SECOND, Session};
use crate::DomId;
use crate::control::printable;
use crate::hypervisor::{Hypervisor, explain};
use crate::shell::command::Command;
use crate::shell::table;

impl<H: Hypervisor> Session<'_, H> {
    /// Carries a command out and returns what is to be said.
    pub(super) fn answer(&mut self, command: Command) -> Result<String, String> {
        match command {
            Command::List { long, domain } => {
                let only = self.chosen(domain.as_deref())?;
                if long { self.control.list_long(only) } else { self.control.list(only) }
            }
            Command::Log { domain } => Ok(printable(&self.control.console(&domain)?.since(0))),
            Command::Store { path } => self.control.store_below(&path),
            Command::Info => self.control.info(),
            Command::Free => {
                let pages = self.control.free_pages()?;
                let (used, all) = self.control.hv.own_pages();
                Ok(format!("free: {pages} frames ({} MiB)\nDom0 uses {used} of its {all} frames", pages >> 8))
            }
            Command::Dmesg => self.control.hv.log().map_err(|e| explain("readconsole", e)),
            Command::Uptime => Ok(self.uptime()),
            Command::Help { topic } => table::help(topic.as_deref()),
            Command::DebugKeys { keys } => {
                self.control.hv.debug_keys(keys.as_bytes()).map_err(|e| explain("debug_keys", e))?;
                Ok("the hypervisor prints on its console; dmesg shows it".to_string())
            }
            Command::Echo { text } => Ok(text),
            Command::Images => Ok(self.control.images()),
            Command::Forget { file } => {
                self.control.forget_image(&file)?;
                Ok(format!("{file} is forgotten"))
            }
            Command::Save { domain, file } => self.save(&domain, &file),
            Command::Restore { file } => self.restore(&file),
            Command::BlockList { domain } => {
                let only = self.chosen(domain.as_deref())?;
                Ok(self.control.block_list(only))
            }
            Command::NetworkList { domain } => {
                let only = self.chosen(domain.as_deref())?;
                Ok(self.control.network_list(only))
            }
            Command::VcpuList { domain } => {
                let only = self.chosen(domain.as_deref())?;
                self.control.vcpu_list(only)
            }
            Command::SchedCredit { domain, weight, cap } => {
                let only = self.chosen(domain.as_deref())?;
                if let (Some(dom), true) = (only, weight.is_some() || cap.is_some()) {
                    self.control.set_share(dom, weight, cap)?;
                }
                self.control.shares(only)
            }
            of_one_domain => self.answer_of_domain(of_one_domain),
        }
    }

    fn answer_of_domain(&mut self, command: Command) -> Result<String, String> {
        let control = &mut self.control;
        match command {
            Command::Pause { domain } => {
                control.pause(control.find(&domain)?)?;
                Ok(format!("{domain} is paused; unpause {domain} lets it run"))
            }
            Command::Unpause { domain } => {
                control.unpause(control.find(&domain)?)?;
                Ok(format!("{domain} runs"))
            }
            Command::Shutdown { domain } => {
                control.request(control.find(&domain)?, "poweroff")?;
                Ok(format!("{domain} was asked to power off; destroy {domain} if it does not obey"))
            }
            Command::Reboot { domain } => {
                control.request(control.find(&domain)?, "reboot")?;
                Ok(format!("{domain} was asked to start again; destroy {domain} if it does not obey"))
            }
            Command::Destroy { domain } => {
                control.destroy(control.find(&domain)?);
                Ok(format!("{domain} is destroyed"))
            }
            Command::Rename { domain, name } => control.rename(control.find(&domain)?, &name),
            Command::VcpuSet { domain, count } => control.set_vcpus(control.find(&domain)?, count),
            Command::MemSet { domain, kib } => control.set_memory(control.find(&domain)?, kib),
            Command::MemMax { domain, kib } => control.set_memory_limit(control.find(&domain)?, kib),
            Command::BlockAttach { domain, disk } => control.block_attach(control.find(&domain)?, &disk),
            Command::BlockDetach { domain, vdev, force } => {
                control.block_detach(control.find(&domain)?, &vdev, force)
            }
            Command::NetworkAttach { domain, vif } => control.network_attach(control.find(&domain)?, &vif),
            Command::NetworkDetach { domain, vif, force } => {
                control.network_detach(control.find(&domain)?, &vif, force)
            }
            Command::Trigger { domain, vcpu } => {
                control.send_nmi(control.find(&domain)?, vcpu)?;
                Ok(format!("CPU {vcpu} of {domain} takes a non-maskable interrupt"))
            }
            Command::Context { domain, vcpu } => self.control.context(self.control.find(&domain)?, vcpu),
            Command::DumpCore { domain, disk } => {
                let dom = self.control.find(&domain)?;
                self.control.dump_core(dom, &disk)
            }
            other => Err(format!("{other:?} is nothing that one line answers")),
        }
    }

    /// The domain that a command names, Dom0 too; `None` if it names none.
    fn chosen(&self, wanted: Option<&str>) -> Result<Option<DomId>, String> {
        match wanted {
            None => Ok(None),
            Some("0" | "Domain-0") => Ok(Some(DomId::ZERO)),
            Some(name) => self.control.find(name).map(Some),
        }
    }

    fn uptime(&mut self) -> String {
        let now = self.control.hv.now();
        let clock = |since: u64| {
            let seconds = now.saturating_sub(since) / SECOND;
            format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
        };
        let mut text = format!("{:<24} {:>5}  {}\n", "Domain-0", 0, clock(self.started));
        for domain in self.control.domains() {
            text += &format!("{:<24} {:>5}  {}\n", domain.guest.name, domain.dom.0, clock(domain.started()));
        }
        text
    }
}
