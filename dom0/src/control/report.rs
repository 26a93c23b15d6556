//! What `list`, `info` and `store` show.

use alloc::format;
use alloc::string::String;

use abi::domctl::{
    XEN_DOMINF_BLOCKED, XEN_DOMINF_DYING, XEN_DOMINF_PAUSED, XEN_DOMINF_RUNNING, XEN_DOMINF_SHUTDOWN,
    XEN_DOMINF_SHUTDOWNMASK, XEN_DOMINF_SHUTDOWNSHIFT,
};

use super::{Control, printable};
use crate::DomId;
use crate::hypervisor::{DomainInfo, Hypervisor, explain};
use crate::xenstore::path;

/// `SHUTDOWN_crash`.
const CRASH: u32 = 3;

/// The six state letters: running, blocked, paused, shut down, crashed, dying.
pub fn state(flags: u32) -> String {
    let crashed = flags & XEN_DOMINF_SHUTDOWN != 0
        && flags >> XEN_DOMINF_SHUTDOWNSHIFT & XEN_DOMINF_SHUTDOWNMASK == CRASH;
    let letter = |set: bool, letter| if set { letter } else { '-' };
    [
        letter(flags & XEN_DOMINF_RUNNING != 0, 'r'),
        letter(flags & XEN_DOMINF_BLOCKED != 0, 'b'),
        letter(flags & XEN_DOMINF_PAUSED != 0, 'p'),
        letter(flags & XEN_DOMINF_SHUTDOWN != 0 && !crashed, 's'),
        letter(crashed, 'c'),
        letter(flags & XEN_DOMINF_DYING != 0, 'd'),
    ]
    .iter()
    .collect()
}

/// One row of `list`.
pub fn row(name: &str, info: &DomainInfo) -> String {
    let tenths = info.cpu_time / 100_000_000;
    format!(
        "{name:<24} {:>5} {:>6} {:>5}  {}  {:>6}.{}\n",
        info.dom.0,
        info.pages >> 8,
        info.vcpus,
        state(info.flags),
        tenths / 10,
        tenths % 10
    )
}

impl<H: Hypervisor> Control<'_, H> {
    /// The table of one domain or all.
    pub fn list(&mut self, only: Option<DomId>) -> Result<String, String> {
        let infos = self.infos(only)?;
        let mut text = format!(
            "{:<24} {:>5} {:>6} {:>5}  {:<6}  {:>8}\n",
            "NAME", "ID", "MiB", "VCPUS", "STATE", "CPU s"
        );
        for info in &infos {
            text += &row(&self.name_of(info.dom), info);
        }
        if infos.len() == 1 && only.is_none() {
            text += "No guest is running; type create GUEST, or guests to see what there is.\n";
        }
        Ok(text)
    }

    /// Facts about hypervisor and machine.
    pub fn info(&mut self) -> Result<String, String> {
        let info = self.hv.host_info().map_err(|e| explain("physinfo", e))?;
        let (major, minor) = info.version;
        Ok(format!(
            "hypervisor    Xen interface {major}.{minor}{}\nguest kinds   {}\nCPUs          {} at {} MHz\nmemory        {} MiB, {} MiB free\nguests        {}\nhypercalls    {} of Dom0\n",
            info.extra_version,
            info.capabilities.trim(),
            info.cpus,
            info.cpu_khz / 1000,
            info.total_pages >> 8,
            info.free_pages >> 8,
            self.domains.len(),
            self.hv.calls(),
        ))
    }

    /// Free frames of the machine.
    pub fn free_pages(&mut self) -> Result<u64, String> {
        self.hv.host_info().map(|info| info.free_pages).map_err(|e| explain("physinfo", e))
    }

    /// The store from a path down, one node a line.
    pub fn store_below(&self, top: &str) -> Result<String, String> {
        if self.store.tree().get(top).is_none() {
            return Err(format!("the store has no {top}; type store to see all of it"));
        }
        let mut text = String::new();
        for (at, node) in self.store.tree().iter().filter(|(p, _)| path::is_at_or_below(p, top)) {
            text += &format!("{at} = \"{}\"  ({})\n", printable(&node.value), node.perms.display());
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states() {
        assert_eq!(state(XEN_DOMINF_RUNNING), "r-----");
        assert_eq!(state(XEN_DOMINF_BLOCKED | XEN_DOMINF_PAUSED), "-bp---");
        assert_eq!(state(XEN_DOMINF_SHUTDOWN | CRASH << XEN_DOMINF_SHUTDOWNSHIFT), "----c-");
        assert_eq!(state(XEN_DOMINF_SHUTDOWN | XEN_DOMINF_DYING), "---s-d");
    }

    #[test]
    fn rows_line_up() {
        let info = DomainInfo {
            dom: DomId(12),
            flags: 0,
            pages: 8192,
            max_pages: 8192,
            vcpus: 1,
            max_vcpu: 0,
            cpu_time: 12_340_000_000,
            shared_info: 0,
        };
        assert_eq!(row("hello", &info), "hello                       12     32     1  ------      12.3\n");
    }
}
