//! The store's nodes that a PV guest and other tools expect.
//!
//! A domain may read its home, and write where guests report something (`data`, `control/shutdown`, `device`, …). The layout is the one
//! that the standard toolstack makes, so that guests and back ends find what they know.

use alloc::format;
use alloc::string::{String, ToString};

use super::Control;
use crate::DomId;
use crate::builder::Built;
use crate::config::Guest;
use crate::hypervisor::Hypervisor;
use crate::xenstore::perms::{Access, Perms};

/// Nodes below a domain's home that it owns.
const WRITABLE: [&str; 9] = [
    "control/shutdown",
    "control/feature-poweroff",
    "control/feature-reboot",
    "control/feature-suspend",
    "data",
    "drivers",
    "feature",
    "attr",
    "error",
];

impl<H: Hypervisor> Control<'_, H> {
    /// What describes Dom0 itself.
    pub(super) fn publish_own_nodes(&mut self) {
        self.store.introduce(DomId::ZERO);
        self.put("/local/domain/0/name", "Domain-0");
        self.put("/local/domain/0/domid", "0");
        self.put("/vm", "");
        self.put("/libxl", "");
        self.put("/tool", "");
    }

    /// What describes a new guest.
    pub(super) fn publish_nodes(&mut self, built: &Built, guest: &Guest, uuid: &[u8; 16]) {
        let dom = built.dom;
        let home = format!("/local/domain/{dom}");
        let vm = self.publish_vm(&guest.name, uuid);
        self.put(&home, "");
        self.read_only(&home, dom);
        self.publish_home(built, guest, &vm);
        self.publish_console(built);
        for name in WRITABLE {
            self.put(&format!("{home}/{name}"), "");
            let own = Perms::new(dom, Access::NONE);
            self.set(&format!("{home}/{name}"), own);
        }
        self.put(&format!("/libxl/{dom}/type"), "pv");
    }

    /// What belongs to the guest rather than to the domain. Returns the directory.
    pub(super) fn publish_vm(&mut self, name: &str, uuid: &[u8; 16]) -> String {
        let vm = vm_path(uuid);
        self.put(&vm, "");
        self.put(&format!("{vm}/name"), name);
        self.put(&format!("{vm}/uuid"), &uuid_text(uuid));
        vm
    }

    /// Removes it.
    pub(super) fn remove_vm(&mut self, uuid: &[u8; 16]) {
        // It may not have been made.
        let _ = self.store.rm(&vm_path(uuid));
    }

    fn publish_home(&mut self, built: &Built, guest: &Guest, vm: &str) {
        let home = format!("/local/domain/{}", built.dom);
        let mut put = |name: &str, value: &str| self.put(&format!("{home}/{name}"), value);
        put("vm", vm);
        put("name", &guest.name);
        put("domid", &built.dom.to_string());
        for vcpu in 0..guest.maxvcpus {
            let wish = if vcpu < guest.vcpus { "online" } else { "offline" };
            put(&format!("cpu/{vcpu}/availability"), wish);
        }
        put("memory/static-max", &(guest.maxmem << 10).to_string());
        put("memory/target", &(guest.memory << 10).to_string());
        put("memory/videoram", "0");
        put("control/platform-feature-multiprocessor-suspend", "1");
        put("control/platform-feature-xs_reset_watches", "1");
        put("device", "");
        put("store/port", &built.store.port.to_string());
        put("store/ring-ref", &built.store.mfn.to_string());
    }

    fn publish_console(&mut self, built: &Built) {
        let dom = built.dom;
        let (front, back) =
            (format!("/local/domain/{dom}/console"), format!("/local/domain/0/backend/console/{dom}/0"));
        let mut put = |name: &str, value: &str| self.put(&format!("{front}/{name}"), value);
        put("backend", &back);
        put("backend-id", "0");
        put("limit", "1048576");
        put("type", "xenconsoled");
        put("output", "pty");
        put("tty", "");
        put("port", &built.console.port.to_string());
        put("ring-ref", &built.console.mfn.to_string());
        let mut put = |name: &str, value: &str| self.put(&format!("{back}/{name}"), value);
        put("frontend", &front);
        put("frontend-id", &dom.to_string());
        put("online", "1");
        put("state", "1");
        put("protocol", "vt100");
        self.read_only(&back, dom);
    }

    /// Removes what describes a domain.
    pub(super) fn remove_nodes(&mut self, dom: DomId, uuid: Option<[u8; 16]>) {
        let gone = [
            format!("/local/domain/{dom}"),
            format!("/local/domain/0/backend/console/{dom}"),
            format!("/libxl/{dom}"),
        ];
        for path in gone {
            // A node that was never made, because the build failed earlier, is fine.
            let _ = self.store.rm(&path);
        }
        if let Some(uuid) = uuid {
            self.remove_vm(&uuid);
        }
    }

    pub(super) fn put(&mut self, path: &str, value: &str) {
        if let Err(error) = self.store.write(path, value.as_bytes()) {
            self.notices.push_back(format!("xenstore: write of {path}: {}", error.name()));
        }
    }

    fn set(&mut self, path: &str, perms: Perms) {
        if let Err(error) = self.store.set_perms(path, perms) {
            self.notices.push_back(format!("xenstore: permissions of {path}: {}", error.name()));
        }
    }

    fn read_only(&mut self, path: &str, dom: DomId) {
        let mut perms = Perms::new(DomId::ZERO, Access::NONE);
        perms.others.push((dom, Access::READ));
        self.set(path, perms);
    }
}

pub(super) fn vm_path(uuid: &[u8; 16]) -> String {
    format!("/vm/{}", uuid_text(uuid))
}

/// The usual spelling, 8-4-4-4-12.
pub(crate) fn uuid_text(uuid: &[u8; 16]) -> String {
    let mut text = String::new();
    for (i, byte) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text += &format!("{byte:02x}");
    }
    text
}
