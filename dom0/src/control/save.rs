//! Saving: asking a guest to suspend, and putting it on a shelf.
//!
//! `begin_save` asks; the caller waits until [`Control::is_suspended`]; `finish_save` writes the image and ends the domain, or lets it run on
//! if the image cannot be written. `cancel_save` takes the question back.

use alloc::format;
use alloc::string::{String, ToString};

use abi::domctl::{XEN_DOMINF_SHUTDOWN, XEN_DOMINF_SHUTDOWNMASK, XEN_DOMINF_SHUTDOWNSHIFT};
use abi::sched::SHUTDOWN_SUSPEND;

use super::Control;
use crate::DomId;
use crate::block::spec::Target;
use crate::hypervisor::{DomainInfo, Hypervisor, explain};
use crate::save::image;
use crate::save::shelf::{Filling, Shelf};
use crate::save::take::{self, Summary};

/// Whether a domain stands still because it suspended itself.
pub(super) fn has_suspended(info: &DomainInfo) -> bool {
    let reason = info.flags >> XEN_DOMINF_SHUTDOWNSHIFT & XEN_DOMINF_SHUTDOWNMASK;
    info.flags & XEN_DOMINF_SHUTDOWN != 0 && reason == SHUTDOWN_SUSPEND
}

/// An image that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// What is in it.
    pub summary: Summary,
    /// Its length in bytes.
    pub bytes: u64,
}

impl<'a, H: Hypervisor> Control<'a, H> {
    /// The shelf and the image that `DISK:NAME` or `NAME` means. A blank disk is a shelf only if it is named.
    pub(super) fn shelf(&self, file: &str) -> Result<(Shelf<'a>, String), String> {
        if let Some((disk, name)) = file.split_once(':') {
            let disk = disk.strip_prefix("/dev/").unwrap_or(disk);
            let shelf = Shelf::open(self.blocks.machine_disk(disk)?, true);
            return Ok((shelf.map_err(|why| format!("{disk}: {why}"))?, name.to_string()));
        }
        let open = |disk: &&str| Shelf::open(self.blocks.machine_disk(disk).ok()?, false).ok();
        let shelf = self.blocks.machine_disks().iter().find_map(open);
        let shelf = shelf.ok_or_else(|| match self.blocks.machine_disks().as_slice() {
            [] => "this machine has no disk for images".to_string(),
            all => format!("no disk has images yet; name one as in {}:{file}, it must be blank", all[0]),
        })?;
        Ok((shelf, file.to_string()))
    }

    /// The images of all shelves.
    pub fn images(&self) -> String {
        let mut text = String::new();
        for disk in self.blocks.machine_disks() {
            let Ok(storage) = self.blocks.machine_disk(disk) else { continue };
            let Ok(shelf) = Shelf::open(storage, false) else { continue };
            for entry in shelf.entries() {
                text += &format!("{disk}:{:<32} {:>8} KiB\n", entry.name, entry.bytes >> 10);
            }
        }
        if text.is_empty() {
            "There are no images; type save DOMAIN DISK:NAME to make one.".to_string()
        } else {
            text
        }
    }

    /// Removes an image.
    pub fn forget_image(&mut self, file: &str) -> Result<(), String> {
        let (mut shelf, name) = self.shelf(file)?;
        shelf.forget(&name)
    }

    /// Asks a guest to suspend, if it says that it can and there is a place for its image. Returns what a person should know.
    pub fn begin_save(&mut self, dom: DomId, file: &str) -> Result<Option<String>, String> {
        let (shelf, name) = self.shelf(file)?;
        shelf.create(&name)?;
        let control = format!("/local/domain/{dom}/control");
        if self.store.read(&format!("{control}/feature-suspend")) != Some(b"1") {
            return Err(
                "the guest does not say that it can suspend itself (control/feature-suspend)".to_string()
            );
        }
        let request = format!("{control}/shutdown");
        self.store.write(&request, b"suspend").map_err(|e| format!("write of {request}: {}", e.name()))?;
        self.saving = Some(dom);
        Ok(self.volatile(dom))
    }

    /// The disk of a guest that will not be there when Dom0 has ended.
    fn volatile(&self, dom: DomId) -> Option<String> {
        let domain = self.domains.get(&dom)?;
        let in_memory = |target: &Target| matches!(target, Target::Ram { .. } | Target::Overlay(_));
        let disk = domain.guest.disks.iter().find(|disk| in_memory(&disk.target) && disk.writable)?;
        Some(format!("what {} holds is in Dom0's memory, and is not saved", disk.vdev.name))
    }

    /// Whether the guest has suspended itself. `Err` if it ended otherwise.
    pub fn is_suspended(&mut self, dom: DomId) -> Result<bool, String> {
        let info = self.hv.domain(dom).map_err(|e| explain("getdomaininfo", e))?;
        if !self.domains.contains_key(&dom) {
            return Err("the guest ended instead of suspending itself".to_string());
        }
        Ok(has_suspended(&info))
    }

    /// Takes the question back.
    pub fn cancel_save(&mut self, dom: DomId) {
        self.saving = None;
        // The guest may have taken it already; then it suspends itself and is kept, like any that does so unasked.
        let _ = self.store.write(&format!("/local/domain/{dom}/control/shutdown"), b"");
    }

    /// Writes the image of a guest that has suspended itself, and ends the domain. If that fails, the guest runs on.
    pub fn finish_save(&mut self, dom: DomId, file: &str) -> Result<Saved, String> {
        let written = self.write_image(dom, file);
        self.saving = None;
        match &written {
            Ok(_) => self.destroy(dom),
            Err(_) => {
                if let Err(why) = self.run_on(dom) {
                    self.notices.push_back(format!("domain {dom} does not run on: {why}"));
                }
            }
        }
        written
    }

    fn write_image(&mut self, dom: DomId, file: &str) -> Result<Saved, String> {
        let (mut shelf, name) = self.shelf(file)?;
        let info = self.hv.domain(dom).map_err(|e| explain("getdomaininfo", e))?;
        let domain = self.domains.get_mut(&dom).ok_or("the guest is gone")?;
        domain.console.serve(&domain.console_page);
        let mut filling: Filling<'_> = shelf.create(&name)?;
        let (mut guest, uuid) = (domain.guest.clone(), domain.uuid);
        // Disks came and went since it was made.
        guest.disks = self
            .blocks
            .devices()
            .filter(|(it, _)| it.dom == dom)
            .map(|(_, vbd)| vbd.disk().clone())
            .collect();
        image::write(&mut filling, &guest, &uuid)?;
        let summary = take::take(&mut self.hv, &info, &mut filling)?;
        let bytes = shelf.finish(filling)?;
        Ok(Saved { summary, bytes })
    }

    /// Lets a suspended guest run on where it is: its hypercall returns 1, which says so.
    fn run_on(&mut self, dom: DomId) -> Result<(), String> {
        let mut context = self.hv.vcpu_context(dom, 0).map_err(|e| explain("getvcpucontext", e))?;
        context.user_regs.rax = 1;
        self.hv.set_vcpu_context(dom, 0, &context).map_err(|e| explain("setvcpucontext", e))?;
        self.hv.resume(dom).map_err(|e| explain("resumedomain", e))
    }
}
