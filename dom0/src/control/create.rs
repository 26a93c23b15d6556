//! From a guest's file to a running domain.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Control, Domain};
use crate::DomId;
use crate::builder::{self, Built, Plan};
use crate::config::Guest;
use crate::console::Console;
use crate::hypervisor::{Hypervisor, explain};
use crate::xenstore::ring::Ring;

/// Longest command line (`MAX_GUEST_CMDLINE` less the final zero).
const CMDLINE_MAX: usize = 1023;

/// A domain that was started, and what a person should know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its number.
    pub dom: DomId,
    /// Its name.
    pub name: String,
    /// Remarks on the file, the kernel and the build.
    pub warnings: Vec<String>,
}

impl<H: Hypervisor> Control<'_, H> {
    /// Creates and starts a guest. One of several gets a number: `name-1`, `name-2`, …
    pub fn create(&mut self, wanted: &str, one_of_several: bool) -> Result<Created, String> {
        let (mut guest, mut warnings) = self.files.guest(wanted)?;
        guest.name = self.free_name(guest.name, one_of_several)?;
        let name = guest.name.clone();
        let (dom, more) = self.start(guest)?;
        warnings.extend(more);
        Ok(Created { dom, name, warnings })
    }

    /// Whether creating this guest will take so long that a person should be told.
    pub fn takes_long(&self, wanted: &str) -> bool {
        let kernel = self.files.guest(wanted).ok().and_then(|(guest, _)| self.files.get(&guest.kernel));
        kernel.is_some_and(|file| builder::takes_long(file.data))
    }

    pub(super) fn free_name(&self, name: String, one_of_several: bool) -> Result<String, String> {
        if name == "Domain-0" {
            return Err("Domain-0 is Dom0's own name; give the guest another".to_string());
        }
        if one_of_several {
            return Ok(self.numbered(&name));
        }
        if self.domains.values().any(|d| d.guest.name == name) {
            return Err(format!(
                "{name} is running already; destroy it first, or type create --count 2 {name}"
            ));
        }
        Ok(name)
    }

    /// The first of `name-1`, `name-2`, … that is free.
    pub(super) fn numbered(&self, name: &str) -> String {
        let number = |d: &Domain<H::Window>| -> Option<u32> {
            d.guest.name.strip_prefix(name)?.strip_prefix('-')?.parse().ok()
        };
        let taken: BTreeSet<u32> = self.domains.values().filter_map(number).filter(|n| *n > 0).collect();
        let free = (1..).zip(&taken).find(|(wanted, taken)| wanted != *taken).map(|(wanted, _)| wanted);
        format!("{name}-{}", free.unwrap_or(taken.len() as u32 + 1))
    }

    /// Builds, publishes, connects and unpauses.
    pub(super) fn start(&mut self, guest: Guest) -> Result<(DomId, Vec<String>), String> {
        if guest.cmdline.len() > CMDLINE_MAX {
            return Err(format!(
                "{}: command line has {} bytes, at most {CMDLINE_MAX} fit",
                guest.name,
                guest.cmdline.len()
            ));
        }
        let uuid = guest.uuid.unwrap_or_else(|| self.new_uuid());
        let file = |path: &str| self.files.get(path).map_or(&[][..], |f| f.data);
        let plan = Plan {
            kernel_name: &guest.kernel,
            kernel: file(&guest.kernel),
            initrd: guest.ramdisk.as_deref().map_or(&[], file),
            cmdline: &guest.cmdline,
            memory: guest.memory,
            max_memory: guest.maxmem,
            vcpus: guest.maxvcpus,
            uuid,
        };
        let prepared = builder::prepare(&plan, self.features)?;
        let built = builder::build(&mut self.hv, &plan, prepared)?;
        let (dom, warnings) = (built.dom, built.warnings.clone());
        match self.connect(built, guest, uuid) {
            Ok(()) => Ok((dom, warnings)),
            Err(error) => {
                self.take_apart(dom);
                Err(error)
            }
        }
    }

    pub(super) fn connect(&mut self, built: Built, guest: Guest, uuid: [u8; 16]) -> Result<(), String> {
        let dom = built.dom;
        let map =
            |hv: &mut H, mfn| hv.map_foreign(dom, &[mfn]).map_err(|e| explain("mapping of a ring page", e));
        let bind = |hv: &mut H, port| hv.bind(dom, port).map_err(|e| explain("bind_interdomain", e));
        let console_page = map(&mut self.hv, built.console.mfn)?;
        let store_page = map(&mut self.hv, built.store.mfn)?;
        let console_port = bind(&mut self.hv, built.console.port)?;
        let store_port = match bind(&mut self.hv, built.store.port) {
            Ok(port) => port,
            Err(error) => {
                self.hv.close(console_port);
                return Err(error);
            }
        };
        self.publish_nodes(&built, &guest, &uuid);
        let (disks, vifs) = (guest.disks.clone(), guest.vifs.clone());
        let domain = Domain {
            dom,
            guest,
            console: Console::attach(&console_page),
            awaited: 0,
            ended: None,
            uuid,
            started: self.hv.now(),
            ring: Ring::attach(&store_page),
            console_page,
            console_port,
            store_page,
            store_port,
            store_broken: false,
        };
        self.ports.extend([(console_port, dom), (store_port, dom)]);
        self.pending.insert(dom);
        self.domains.insert(dom, domain);
        self.store.introduce(dom);
        for disk in &disks {
            self.attach_disk(dom, disk)?;
        }
        for vif in &vifs {
            self.attach_vif(dom, vif)?;
        }
        self.unpause(dom)
    }

    /// A UUID that no other domain here has; unique, not secret.
    pub(super) fn new_uuid(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        for half in bytes.chunks_mut(8) {
            // SplitMix64.
            self.uuids = self.uuids.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.uuids;
            z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            half.copy_from_slice(&(z ^ z >> 31).to_le_bytes());
        }
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        bytes
    }
}
