//! `list -l`, `vcpu-list` and `top`: what is known of domains, in full.
//!
//! The JSON has the names that `xl list -l` uses where it has a name for a thing, so that scripts written for it find what they look for.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde_json::{Value, json};

use super::devices::Class;
use super::report::state;
use super::{Control, nodes, printable};
use crate::DomId;
use crate::hypervisor::{DomainInfo, Hypervisor, explain};

/// What `top` compares with: when it looked, and the CPU time of each domain then.
#[derive(Clone, Debug, Default)]
pub struct Look {
    at: u64,
    cpu: BTreeMap<DomId, u64>,
}

impl<H: Hypervisor> Control<'_, H> {
    /// What the hypervisor tells of one domain, or of all.
    pub(super) fn infos(&mut self, only: Option<DomId>) -> Result<Vec<DomainInfo>, String> {
        let mut infos = self.hv.domains().map_err(|e| explain("getdomaininfolist", e))?;
        infos.retain(|info| only.is_none_or(|dom| dom == info.dom));
        Ok(infos)
    }

    /// A domain's name, as the store has it.
    pub(super) fn name_of(&self, dom: DomId) -> String {
        let stored = self.store.read(&format!("/local/domain/{dom}/name"));
        stored.map_or_else(|| "(not ours)".into(), printable)
    }

    /// One domain or all, as JSON.
    pub fn list_long(&mut self, only: Option<DomId>) -> Result<String, String> {
        let infos = self.infos(only)?;
        let all: Vec<Value> = infos.iter().map(|info| self.describe(info)).collect();
        serde_json::to_string_pretty(&all).map_err(|e| format!("JSON: {e}"))
    }

    fn describe(&self, info: &DomainInfo) -> Value {
        let mut out = json!({
            "domid": info.dom.0,
            "name": self.name_of(info.dom),
            "state": state(info.flags),
            "cpu_time_ns": info.cpu_time,
            "memory_kb": info.pages << 2,
            "limit_memkb": info.max_pages.saturating_mul(4),
            "online_vcpus": info.vcpus,
        });
        if let Some(domain) = self.domains.get(&info.dom) {
            out["started_ns"] = domain.started.into();
            out["config"] = self.configuration(info.dom, domain);
        }
        out
    }

    fn configuration(&self, dom: DomId, domain: &super::Domain<H::Window>) -> Value {
        let guest = &domain.guest;
        let target = self.store.read(&format!("/local/domain/{dom}/memory/target"));
        let target: Option<u64> = target.and_then(|text| core::str::from_utf8(text).ok()?.parse().ok());
        json!({
            "c_info": { "type": "pv", "name": guest.name, "uuid": nodes::uuid_text(&domain.uuid) },
            "b_info": {
                "max_vcpus": guest.maxvcpus,
                "avail_vcpus": guest.vcpus,
                "max_memkb": guest.maxmem << 10,
                "target_memkb": target.unwrap_or(guest.memory << 10),
                "kernel": guest.kernel,
                "ramdisk": guest.ramdisk,
                "cmdline": guest.cmdline,
            },
            "disks": self.disk_details(dom),
            "nics": self.nic_details(dom),
            "on_poweroff": guest.on_poweroff.word(),
            "on_reboot": guest.on_reboot.word(),
            "on_crash": guest.on_crash.word(),
            "on_watchdog": guest.on_watchdog.word(),
        })
    }

    fn disk_details(&self, dom: DomId) -> Vec<Value> {
        let own = self.blocks.devices().filter(|(device, _)| device.dom == dom);
        own.map(|(_, vbd)| {
            let (disk, done) = (vbd.disk(), vbd.stats());
            json!({
                "vdev": disk.vdev.name,
                "pdev_path": format!("{}", disk.target),
                "readwrite": u8::from(disk.writable),
                "sectors": vbd.sectors(),
                "connected": vbd.is_connected(),
                "reads": done.reads,
                "writes": done.writes,
                "bytes": done.bytes,
            })
        })
        .collect()
    }

    fn nic_details(&self, dom: DomId) -> Vec<Value> {
        let own = self.devices().iter().filter(|device| device.dom == dom && device.class == Class::Net);
        own.filter_map(|device| {
            let (done, mac, bridge, connected) = self.net.stats(*device)?;
            Some(json!({
                "devid": device.number,
                "mac": format!("{mac}"),
                "bridge": bridge,
                "connected": connected,
                "tx_bytes": done.from_bytes,
                "rx_bytes": done.to_bytes,
            }))
        })
        .collect()
    }

    /// The virtual CPUs of one domain or all.
    pub fn vcpu_list(&mut self, only: Option<DomId>) -> Result<String, String> {
        let mut text = format!(
            "{:<24} {:>5} {:>4} {:>4}  {:<5}  {:>8}\n",
            "NAME", "ID", "VCPU", "CPU", "STATE", "CPU s"
        );
        for info in self.infos(only)? {
            let name = self.name_of(info.dom);
            for vcpu in 0..=info.max_vcpu {
                // A domain that is not built up yet, or is going, has fewer.
                let Ok(found) = self.hv.vcpu_info(info.dom, vcpu) else { continue };
                let cpu = if found.online { format!("{}", found.cpu) } else { "-".into() };
                let letter = |set, letter| if set { letter } else { '-' };
                let (running, blocked) = (letter(found.running, 'r'), letter(found.blocked, 'b'));
                let paused = letter(!found.online, 'p');
                text += &format!(
                    "{name:<24} {:>5} {vcpu:>4} {cpu:>4}  {running}{blocked}{paused}    {:>8}\n",
                    info.dom.0,
                    seconds(found.cpu_time),
                );
            }
        }
        Ok(text)
    }

    /// Who used the CPUs since the last look, which `look` remembers. Nothing is shown at the first.
    pub fn top(&mut self, look: &mut Look) -> Result<Option<String>, String> {
        let infos = self.infos(None)?;
        let host = self.hv.host_info().map_err(|e| explain("physinfo", e))?;
        let now = self.hv.now();
        let cpu = infos.iter().map(|info| (info.dom, info.cpu_time)).collect();
        let before = core::mem::replace(look, Look { at: now, cpu });
        if before.at == 0 {
            return Ok(None);
        }
        let mut text = format!(
            "{} domain(s), {} CPU(s), memory: {} MiB, {} MiB free\n{:<24} {:>5} {:<6} {:>8} {:>7} {:>6} {:>6} {:>5} {:>10} {:>10} {:>9}\n",
            infos.len(),
            host.cpus,
            host.total_pages >> 8,
            host.free_pages >> 8,
            "NAME",
            "ID",
            "STATE",
            "CPU s",
            "CPU %",
            "MiB",
            "MEM %",
            "VCPUS",
            "NET TX KiB",
            "NET RX KiB",
            "DISK KiB"
        );
        let mut rows: Vec<(u64, String)> = Vec::new();
        for info in &infos {
            // A domain that was not there before began since then.
            let used = info.cpu_time.saturating_sub(before.cpu.get(&info.dom).copied().unwrap_or(0));
            let share = tenths(used, now.saturating_sub(before.at));
            rows.push((share, self.top_row(info, share, host.total_pages)));
        }
        rows.sort_by_key(|(share, _)| core::cmp::Reverse(*share));
        text.extend(rows.into_iter().map(|(_, row)| row));
        Ok(Some(text))
    }

    fn top_row(&self, info: &DomainInfo, share: u64, total: u64) -> String {
        let memory = tenths(info.pages, total);
        let (mut sent, mut received) = (0, 0);
        for device in self.devices().iter().filter(|device| device.dom == info.dom) {
            if let Some((done, ..)) = self.net.stats(*device) {
                sent += done.from_bytes;
                received += done.to_bytes;
            }
        }
        let own = self.blocks.devices().filter(|(device, _)| device.dom == info.dom);
        let disk: u64 = own.map(|(_, vbd)| vbd.stats().bytes).sum();
        format!(
            "{:<24} {:>5} {:<6} {:>8} {:>5}.{} {:>6} {:>4}.{} {:>5} {:>10} {:>10} {:>9}\n",
            self.name_of(info.dom),
            info.dom.0,
            state(info.flags),
            seconds(info.cpu_time),
            share / 10,
            share % 10,
            info.pages >> 8,
            memory / 10,
            memory % 10,
            info.vcpus,
            sent >> 10,
            received >> 10,
            disk >> 10,
        )
    }
}

/// Nanoseconds as seconds with one digit.
fn seconds(ns: u64) -> String {
    let tenths = ns / 100_000_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// A part of a whole in tenths of a per cent.
fn tenths(part: u64, whole: u64) -> u64 {
    part.saturating_mul(1000).checked_div(whole).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, Fake};
    use crate::files::Files;

    #[test]
    fn json_has_the_names_of_xl() {
        let kernel = fake::kernel(b"text");
        let config = b"kernel = 'k'\nmemory = 8\nextra = 'say \"hi\"'\ndisk = [ 'ram:1M,xvda,w' ]\nvif = [ 'mac=00:16:3e:00:00:01' ]";
        let archive = fake::archive(&[("guests/g.cfg", config), ("guests/k", &kernel)]);
        let (files, _) = Files::read(&archive);
        let mut control = Control::new(Fake::new(100_000), files);
        let dom = control.create("g", false).unwrap().dom;
        let text = control.list_long(Some(dom)).unwrap();
        let all: Value = serde_json::from_str(&text).unwrap();
        let first = &all[0];
        assert_eq!((first["domid"].as_u64(), first["name"].as_str()), (Some(1), Some("g")));
        let config = &first["config"];
        assert_eq!(config["b_info"]["cmdline"], "say \"hi\"");
        assert_eq!(config["b_info"]["target_memkb"], 8192);
        assert_eq!(config["c_info"]["uuid"].as_str().map(str::len), Some(36));
        assert_eq!(config["disks"][0]["vdev"], "xvda");
        assert_eq!(config["nics"][0]["mac"], "00:16:3e:00:00:01");
        assert_eq!(config["on_reboot"], "restart");
        assert_eq!(control.list_long(Some(DomId(9))).unwrap(), "[]");
    }

    #[test]
    fn top_needs_two_looks() {
        let kernel = fake::kernel(b"text");
        let archive = fake::archive(&[("guests/g.cfg", b"kernel = 'k'\nmemory = 8"), ("guests/k", &kernel)]);
        let (files, _) = Files::read(&archive);
        let fake = Fake::new(100_000);
        let mut control = Control::new(fake.clone(), files);
        control.create("g", false).unwrap();
        let mut look = Look::default();
        assert_eq!(control.top(&mut look).unwrap(), None);
        fake.0.borrow_mut().domains.get_mut(&1).unwrap().cpu_time = 500_000_000;
        fake.0.borrow_mut().now += 1_000_000_000;
        let text = control.top(&mut look).unwrap().unwrap();
        // The fake's clock ticks by a millisecond when it is asked.
        assert!(text.contains("   0.5    49.9"), "{text}");
    }
}
