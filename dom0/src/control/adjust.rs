//! What can be changed about a running domain: its virtual CPUs, memory, share of the CPUs, name.
//!
//! CPUs and memory are wishes: they stand in the store, and the guest's drivers follow them (`cpu/N/availability`, `memory/target`). What the
//! hypervisor enforces is the limit: a guest that was asked to shrink and did cannot grow again.

use alloc::format;
use alloc::string::String;

use super::Control;
use crate::DomId;
use crate::builder::SLACK_KIB;
use crate::config;
use crate::hypervisor::{Hypervisor, Share, explain};

impl<H: Hypervisor> Control<'_, H> {
    /// Asks a guest to use so many of its virtual CPUs.
    pub fn set_vcpus(&mut self, dom: DomId, count: u32) -> Result<String, String> {
        let Some(domain) = self.domains.get(&dom) else { return Err(gone(dom)) };
        let most = domain.guest.maxvcpus;
        if !(1..=most).contains(&count) {
            return Err(format!(
                "{} has {most} CPU(s) at most (maxvcpus); ask for 1 to {most}",
                domain.guest.name
            ));
        }
        let text =
            format!("{} is to use {count} of {most} CPU(s); vcpu-list shows what it does", domain.guest.name);
        for vcpu in 0..most {
            let wish = if vcpu < count { "online" } else { "offline" };
            self.put(&format!("/local/domain/{dom}/cpu/{vcpu}/availability"), wish);
        }
        Ok(text)
    }

    /// Asks a guest to have so much memory, and lets it have no more.
    pub fn set_memory(&mut self, dom: DomId, kib: u64) -> Result<String, String> {
        let Some(domain) = self.domains.get(&dom) else { return Err(gone(dom)) };
        let (name, most) = (domain.guest.name.clone(), domain.guest.maxmem << 10);
        if kib > most {
            return Err(format!("{name} has {} MiB at most (maxmem), not {} KiB", most >> 10, kib));
        }
        self.hv.set_max_memory(dom, kib + SLACK_KIB).map_err(|e| explain("max_mem", e))?;
        self.put(&format!("/local/domain/{dom}/memory/target"), &format!("{kib}"));
        Ok(format!("{name} is to have {kib} KiB; list shows what it has"))
    }

    /// Sets the limit of a guest's memory. What it was built to have at most stays the limit of this limit.
    pub fn set_memory_limit(&mut self, dom: DomId, kib: u64) -> Result<String, String> {
        let Some(domain) = self.domains.get_mut(&dom) else { return Err(gone(dom)) };
        if kib > domain.guest.maxmem << 10 {
            return Err(format!(
                "{} was built for {} MiB at most; a PV guest cannot have more later",
                domain.guest.name, domain.guest.maxmem
            ));
        }
        let name = domain.guest.name.clone();
        self.hv.set_max_memory(dom, kib + SLACK_KIB).map_err(|e| explain("max_mem", e))?;
        self.put(&format!("/local/domain/{dom}/memory/static-max"), &format!("{kib}"));
        Ok(format!("{name} may have {kib} KiB"))
    }

    /// Sets a domain's share of the CPUs; what is `None` stays.
    pub fn set_share(&mut self, dom: DomId, weight: Option<u16>, cap: Option<u16>) -> Result<(), String> {
        let old = self.hv.share(dom).map_err(|e| explain("scheduler_op getinfo", e))?;
        let new = Share { weight: weight.unwrap_or(old.weight), cap: cap.unwrap_or(old.cap) };
        if new.weight == 0 {
            return Err("weight 0 would be no share at all; the usual one is 256".into());
        }
        self.hv.set_share(dom, new).map_err(|e| explain("scheduler_op putinfo", e))
    }

    /// Shares of one domain or all.
    pub fn shares(&mut self, only: Option<DomId>) -> Result<String, String> {
        let scheduler = self.hv.scheduler().map_err(|e| explain("sched_id", e))?;
        let mut text =
            format!("scheduler: {scheduler}\n{:<24} {:>5} {:>6} {:>6}\n", "NAME", "ID", "WEIGHT", "CAP %");
        for info in self.infos(only)? {
            let share = self.hv.share(info.dom).map_err(|e| explain("scheduler_op getinfo", e))?;
            let cap = if share.cap == 0 { "none".into() } else { format!("{}", share.cap) };
            text +=
                &format!("{:<24} {:>5} {:>6} {cap:>6}\n", self.name_of(info.dom), info.dom.0, share.weight);
        }
        Ok(text)
    }

    /// Gives a domain another name.
    pub fn rename(&mut self, dom: DomId, new: &str) -> Result<String, String> {
        config::check_name(new)?;
        if new == "Domain-0" || self.domains.values().any(|d| d.guest.name == new) {
            return Err(format!("{new} is another domain's name"));
        }
        let Some(domain) = self.domains.get_mut(&dom) else { return Err(gone(dom)) };
        let old = core::mem::replace(&mut domain.guest.name, new.into());
        let vm = super::nodes::vm_path(&domain.uuid);
        self.put(&format!("/local/domain/{dom}/name"), new);
        self.put(&format!("{vm}/name"), new);
        Ok(format!("{old} is called {new} now"))
    }

    /// Has a virtual CPU take a non-maskable interrupt.
    pub fn send_nmi(&mut self, dom: DomId, vcpu: u32) -> Result<(), String> {
        self.hv.trigger_nmi(dom, vcpu).map_err(|e| explain("sendtrigger", e))
    }
}

fn gone(dom: DomId) -> String {
    format!("domain {dom} is gone, see list")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, Fake};
    use crate::files::Files;

    const CONFIG: &[u8] = b"kernel = 'k'\nmemory = 8\nmaxmem = 16\nvcpus = 2\nmaxvcpus = 4";

    fn with_guest(check: impl FnOnce(&mut Control<'_, Fake>, &Fake, DomId)) {
        let kernel = fake::kernel(b"text");
        let archive = fake::archive(&[("guests/g.cfg", CONFIG), ("guests/k", &kernel)]);
        let (files, _) = Files::read(&archive);
        let fake = Fake::new(100_000);
        let mut control = Control::new(fake.clone(), files);
        let dom = control.create("g", false).unwrap().dom;
        check(&mut control, &fake, dom);
    }

    fn node<'a>(control: &'a Control<'_, Fake>, below: &str) -> &'a str {
        let value = control.store.read(&format!("/local/domain/1/{below}")).unwrap();
        core::str::from_utf8(value).unwrap()
    }

    #[test]
    fn cpus_are_asked_for_in_the_store() {
        with_guest(|control, _, dom| {
            assert_eq!(node(control, "cpu/1/availability"), "online");
            assert_eq!(node(control, "cpu/3/availability"), "offline");
            control.set_vcpus(dom, 1).unwrap();
            assert_eq!(node(control, "cpu/1/availability"), "offline");
            control.set_vcpus(dom, 4).unwrap();
            assert_eq!(node(control, "cpu/3/availability"), "online");
            assert!(control.set_vcpus(dom, 5).unwrap_err().contains("ask for 1 to 4"));
            assert!(control.set_vcpus(dom, 0).is_err());
            let rows = control.vcpu_list(None).unwrap();
            assert_eq!(rows.lines().filter(|l| l.starts_with("g ")).count(), 4, "{rows}");
        });
    }

    #[test]
    fn memory_is_asked_for_and_limited() {
        with_guest(|control, fake, dom| {
            let limit = |fake: &Fake| fake.0.borrow().domains[&1].max_pages;
            assert_eq!(limit(fake), (8 << 8) + 256);
            control.set_memory(dom, 4 << 10).unwrap();
            assert_eq!((node(control, "memory/target"), limit(fake)), ("4096", (4 << 8) + 256));
            control.set_memory(dom, 16 << 10).unwrap();
            assert_eq!((node(control, "memory/target"), limit(fake)), ("16384", (16 << 8) + 256));
            assert!(control.set_memory(dom, (16 << 10) + 1).unwrap_err().contains("has 16 MiB at most"));
            assert!(control.set_memory_limit(dom, 17 << 10).unwrap_err().contains("was built for 16 MiB"));
            control.set_memory_limit(dom, 12 << 10).unwrap();
            assert_eq!(node(control, "memory/static-max"), "12288");
        });
    }

    #[test]
    fn shares_are_shown_and_set() {
        with_guest(|control, fake, dom| {
            control.set_share(dom, Some(512), None).unwrap();
            control.set_share(dom, None, Some(50)).unwrap();
            let text = control.shares(None).unwrap();
            assert!(text.contains("g                            1    512     50"), "{text}");
            assert!(control.set_share(dom, Some(0), None).is_err());
            control.send_nmi(dom, 0).unwrap();
            assert_eq!(fake.0.borrow().domains[&1].nmis, 1);
        });
    }

    #[test]
    fn names_change_where_they_are_kept() {
        with_guest(|control, _, dom| {
            assert!(control.rename(dom, "a b").unwrap_err().contains("is no name"));
            assert!(control.rename(dom, "Domain-0").is_err());
            control.rename(dom, "other").unwrap();
            assert_eq!(node(control, "name"), "other");
            assert_eq!(control.find("other"), Ok(dom));
            control.destroy(dom);
            assert!(control.store.tree().iter().all(|(_, node)| node.value != b"other"));
        });
    }
}
