//! Makes a domain of a plan and its stream.
//!
//! The order is that of [`crate::builder`]: createdomain, limits, event channels, memory, contents, shared page, pins, registers, grants of
//! the ring pages. No page of the domain is mapped here when tables are pinned. Whatever fails after createdomain, nothing is left.

use alloc::format;
use alloc::vec::Vec;
use core::mem::offset_of;

use abi::xen::{ArchSharedInfo, SharedInfo, StartInfo, StartInfoDomU, VcpuInfo};
use abi::zerocopy::{FromBytes, IntoBytes};

use super::plan::{HOLE, Plan, list_page};
use super::stream::{Pages, Reader, Record, page};
use super::{PAGE, Result, Source, tables};
use crate::DomId;
use crate::builder::{Built, Channel, SLACK_KIB, ring_grants};
use crate::hypervisor::{Hypervisor, NewDomain, Window, explain};

/// Frames asked for in one call, and mapped at a time.
const POPULATE: usize = 1024;
const MAPPED: usize = 64;
/// What `mfns` has where there is no frame.
const NONE: u64 = u64::MAX;

/// What of the guest's settings is needed here.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Memory limit in MiB.
    pub max_memory: u64,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Handle.
    pub uuid: [u8; 16],
}

/// Makes the domain; `source` is the stream from its beginning. The domain is paused.
pub fn build<H: Hypervisor>(
    hv: &mut H,
    settings: &Settings,
    plan: Plan,
    source: &mut dyn Source,
) -> Result<Built> {
    let free = hv.host_info().map_err(|e| explain("physinfo", e))?.free_pages;
    if plan.pages() > free {
        return Err(crate::builder::too_little(free, plan.pages()));
    }
    if let Some(id) = plan.vcpus.keys().find(|id| **id >= settings.vcpus) {
        return Err(format!("the image has vCPU {id}, and the guest's settings allow {}", settings.vcpus));
    }
    let new = NewDomain { handle: settings.uuid, max_vcpus: settings.vcpus };
    let dom = hv.create_domain(&new).map_err(|e| explain("createdomain", e))?;
    let built = Restorer { hv, dom, mfns: Vec::new() }.run(settings, plan, source);
    if built.is_err() {
        // Its own error is worth less than the one that is reported.
        let _ = hv.destroy(dom);
    }
    built
}

struct Restorer<'h, H> {
    hv: &'h mut H,
    dom: DomId,
    mfns: Vec<u64>,
}

impl<H: Hypervisor> Restorer<'_, H> {
    fn run(mut self, settings: &Settings, plan: Plan, source: &mut dyn Source) -> Result<Built> {
        let dom = self.dom;
        let call = |name: &'static str| move |e| explain(name, e);
        self.hv.set_max_vcpus(dom, settings.vcpus).map_err(call("max_vcpus"))?;
        self.hv.set_max_memory(dom, settings.max_memory * 1024 + SLACK_KIB).map_err(call("max_mem"))?;
        let store_port = self.hv.alloc_unbound(dom).map_err(call("alloc_unbound for the store"))?;
        let console_port = self.hv.alloc_unbound(dom).map_err(call("alloc_unbound for the console"))?;
        self.hv.set_memory_map(dom, settings.max_memory << 20).map_err(call("set_memory_map"))?;
        self.populate(&plan)?;
        self.contents(source)?;
        for (index, pfn) in plan.list.iter().enumerate() {
            let bytes = list_page(&self.mfns, index);
            self.write(*pfn, &bytes)?;
        }
        let shared_info = self.shared_info(&plan)?;
        let (store, console) = self.start_info(&plan, shared_info, store_port, console_port)?;
        self.pin(&plan)?;
        for (id, context) in &plan.vcpus {
            let mut context = context.clone();
            tables::unpack(*id, &mut context, &|pfn| self.mfn(pfn)).map_err(|e| format!("vCPU {id}: {e}"))?;
            self.hv.set_vcpu_context(dom, *id, &context).map_err(call("setvcpucontext"))?;
        }
        let mut warnings = Vec::new();
        if let Err(error) = self.grants(store, console) {
            warnings.push(format!("the ring pages are not granted ({error}); Dom0 does without"));
        }
        if !plan.left_out.is_empty() {
            warnings.push(format!("records of these types were left out: {:x?}", plan.left_out));
        }
        Ok(Built { dom, store, console, warnings })
    }

    fn mfn(&self, pfn: u64) -> Option<u64> {
        self.mfns.get(usize::try_from(pfn).ok()?).copied().filter(|mfn| *mfn != NONE)
    }

    fn need(&self, pfn: u64, what: &str) -> Result<u64> {
        self.mfn(pfn).ok_or_else(|| format!("{what} is on page {pfn:#x}, which the guest has not"))
    }

    fn populate(&mut self, plan: &Plan) -> Result {
        self.mfns.try_reserve_exact(plan.kinds.len()).map_err(|_| "no memory for the list of frames")?;
        self.mfns.resize(plan.kinds.len(), NONE);
        for (first, count) in plan.runs() {
            let mut done = 0;
            while done < count {
                let now = POPULATE.min(count - done);
                let pfn = first + done as u64;
                let more =
                    self.hv.populate(self.dom, pfn, now).map_err(|e| explain("populate_physmap", e))?;
                let at = pfn as usize;
                self.mfns[at..at + more.len()].copy_from_slice(&more);
                done += more.len();
                if more.len() < now {
                    return Err(crate::builder::too_little(pfn + more.len() as u64, plan.pages()));
                }
            }
        }
        Ok(())
    }

    /// Fills the pages from the stream.
    fn contents(&mut self, source: &mut dyn Source) -> Result {
        let mut reader = Reader::new(source)?;
        loop {
            match reader.record()? {
                Record::Pages(mut pages) => self.fill(&mut pages)?,
                Record::End => return Ok(()),
                _ => {}
            }
        }
    }

    fn fill(&mut self, pages: &mut Pages) -> Result {
        self.localise(pages)?;
        let all: Vec<(u64, u8, Option<&[u8]>)> = pages.iter().collect();
        for part in all.chunks(MAPPED) {
            let mfns: Result<Vec<u64>> = part.iter().map(|(pfn, ..)| self.need(*pfn, "contents")).collect();
            let window = self.hv.map_foreign(self.dom, &mfns?);
            let window = window.map_err(|e| explain("mapping of guest memory", e))?;
            for (index, (_, _, contents)) in part.iter().enumerate() {
                match contents {
                    Some(bytes) => window.write(index * PAGE, bytes),
                    None => window.zero(index * PAGE, PAGE),
                }
            }
        }
        Ok(())
    }

    /// Gives page tables this machine's frame numbers.
    fn localise(&self, pages: &mut Pages) -> Result {
        let with_data = pages.list.iter().filter(|(_, kind)| page::has_data(*kind));
        for (bytes, (pfn, kind)) in pages.data.chunks_exact_mut(PAGE).zip(with_data) {
            if page::level(*kind) != 0 {
                tables::table(bytes, *kind, *pfn, &|pfn| self.mfn(pfn))?;
            }
        }
        Ok(())
    }

    fn write(&mut self, pfn: u64, bytes: &[u8]) -> Result {
        let mfn = self.need(pfn, "a page to be written")?;
        let window = self.hv.map_foreign(self.dom, &[mfn]);
        window.map_err(|e| explain("mapping of guest memory", e))?.write(0, bytes);
        Ok(())
    }

    /// Writes the shared page: no event is pending, every port is masked, and where the list of frames is is not yet said.
    fn shared_info(&mut self, plan: &Plan) -> Result<u64> {
        let mut page = plan.shared_info.clone();
        let pending = offset_of!(SharedInfo, evtchn_pending);
        let mask = offset_of!(SharedInfo, evtchn_mask);
        let clock = offset_of!(SharedInfo, wc_version);
        page[pending..mask].fill(0);
        page[mask..clock].fill(0xff);
        for vcpu in page[..pending].chunks_exact_mut(size_of::<VcpuInfo>()) {
            let selector = offset_of!(VcpuInfo, evtchn_pending_sel);
            vcpu[selector..selector + 8].fill(0);
            vcpu[offset_of!(VcpuInfo, evtchn_upcall_pending)] = 0;
        }
        let lists = offset_of!(SharedInfo, arch) + offset_of!(ArchSharedInfo, pfn_to_mfn_frame_list_list);
        page[lists..lists + 8].fill(0);
        let mfn = self.hv.domain(self.dom).map_err(|e| explain("getdomaininfo", e))?.shared_info;
        let window = self.hv.map_foreign(self.dom, &[mfn]);
        window.map_err(|e| explain("mapping of the shared info page", e))?.write(0, &page[..]);
        Ok(mfn)
    }

    /// Writes what the guest finds in `start_info` when it goes on. In the image the ring pages are named as the guest numbers them.
    fn start_info(
        &mut self,
        plan: &Plan,
        shared_info: u64,
        store_port: u32,
        console_port: u32,
    ) -> Result<(Channel, Channel)> {
        let mfn = self.need(plan.start_info(), "start_info")?;
        let window = self.hv.map_foreign(self.dom, &[mfn]);
        let window = window.map_err(|e| explain("mapping of start_info", e))?;
        let mut bytes = [0; size_of::<StartInfo>()];
        window.read(0, &mut bytes);
        let mut info = StartInfo::read_from_bytes(&bytes).map_err(|_| "start_info is too short")?;
        let console_pfn = info.as_dom_u().mfn;
        let store = Channel { mfn: self.ring(plan, info.store_mfn, "the store's page")?, port: store_port };
        let console =
            Channel { mfn: self.ring(plan, console_pfn, "the console's page")?, port: console_port };
        info.nr_pages = plan.kinds.len() as u64;
        info.shared_info = shared_info << 12;
        info.flags = 0;
        (info.store_mfn, info.store_evtchn) = (store.mfn, store.port);
        info.set_dom_u(StartInfoDomU { mfn: console.mfn, evtchn: console.port, ..Default::default() });
        window.write(0, info.as_bytes());
        Ok((store, console))
    }

    fn ring(&self, plan: &Plan, pfn: u64, what: &str) -> Result<u64> {
        let kind = usize::try_from(pfn).ok().and_then(|pfn| plan.kinds.get(pfn)).copied().unwrap_or(HOLE);
        if page::level(kind) != 0 {
            return Err(format!("{what} is a page table"));
        }
        self.need(pfn, what)
    }

    fn pin(&mut self, plan: &Plan) -> Result {
        for (pfn, kind) in (0..).zip(&plan.kinds) {
            let level = page::level(*kind);
            if level == 0 || kind & page::PINNED == 0 {
                continue;
            }
            let mfn = self.need(pfn, "a page table")?;
            let pinned = self.hv.pin(self.dom, level.into(), mfn);
            pinned.map_err(|e| format!("the page table {pfn:#x} of level {level}: {}", explain("pin", e)))?;
        }
        Ok(())
    }

    fn grants(&mut self, store: Channel, console: Channel) -> Result {
        let mfn = self.hv.grant_frame(self.dom).map_err(|e| explain("acquire_resource", e))?;
        let window = self.hv.map_foreign(self.dom, &[mfn]);
        let window = window.map_err(|e| explain("mapping of the grant table", e))?;
        window.write(0, &ring_grants(console.mfn, store.mfn));
        Ok(())
    }
}
