//! Builds a PV domain through the public control interface.
//!
//! The order of calls is the one toolstacks use: createdomain, max_vcpus, max_mem, two event channels, memory map, memory, contents
//! through foreign mappings, hypercall page, shared info, pin of the root page table, registers of CPU 0, grants of the
//! two ring pages. Where everything goes in the guest is planned by [`kernel_image::layout`]. The domain is left paused.
//!
//! **Invariants**: no page table of the new domain is mapped writable here when it is pinned (the window is dropped before);
//! whatever fails after createdomain, the domain is destroyed and all its frames are free again.

mod memory;
mod start;

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use abi::errno::Errno;
use kernel_image::{Image, ImageError, PvInfo, layout};

use crate::DomId;
use crate::hypervisor::{Hypervisor, NewDomain, Window, explain};
use memory::Memory;
pub(crate) use memory::too_little;
pub(crate) use start::grants as ring_grants;

/// Bytes that an unpacked kernel may have.
const KERNEL_MAX: usize = 256 << 20;
/// Memory limit above the guest's memory, in KiB, as toolstacks give.
pub(crate) const SLACK_KIB: u64 = 1024;
const PAGE: u64 = 4096;

/// What to build.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The kernel's name for messages.
    pub kernel_name: &'a str,
    /// Kernel file.
    pub kernel: &'a [u8],
    /// Initial RAM disk; empty if none.
    pub initrd: &'a [u8],
    /// Command line.
    pub cmdline: &'a str,
    /// Memory in MiB.
    pub memory: u64,
    /// Memory in MiB that it may be given later.
    pub max_memory: u64,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Handle.
    pub uuid: [u8; 16],
}

/// A domain that was built and is paused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// Its number.
    pub dom: DomId,
    /// Its xenstore page and port.
    pub store: Channel,
    /// Its console page and port.
    pub console: Channel,
    /// What the kernel's notes or the hypervisor made doubtful.
    pub warnings: Vec<String>,
}

/// A ring page and its event channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Machine frame of the page.
    pub mfn: u64,
    /// The domain's port.
    pub port: u32,
}

/// A kernel that was unpacked and judged, before any domain exists.
#[derive(Debug)]
pub struct Prepared<'a> {
    elf: Cow<'a, [u8]>,
    image: Image,
    info: PvInfo,
    layout: layout::Layout,
}

/// Whether the kernel has to be unpacked, which takes seconds.
pub fn takes_long(kernel: &[u8]) -> bool {
    kernel_image::requirements(kernel).is_ok_and(|needs| needs.format != "ELF")
}

/// Unpacks and judges the kernel and plans the memory; touches no hypervisor.
pub fn prepare<'a>(plan: &Plan<'a>, features: u32) -> Result<Prepared<'a>, String> {
    let named = |error: ImageError| {
        let hint = match error {
            ImageError::NoMemory { .. } => {
                "; give Dom0 more, with dom0_mem= on the hypervisor's command line"
            }
            _ => "",
        };
        format!("{}: {error}{hint}", plan.kernel_name)
    };
    let elf = kernel_image::unpack(plan.kernel, KERNEL_MAX).map_err(named)?;
    let image = Image::parse(&elf).map_err(named)?;
    image.check_features(features, false).map_err(named)?;
    let info = *image.pv().map_err(named)?;
    let request = layout::Request {
        role: layout::Role::DomU,
        nr_pages: plan.memory << 8,
        initrd_bytes: plan.initrd.len() as u64,
    };
    let enough = |error: ImageError| match error {
        ImageError::TooSmall { .. } => {
            format!("{}; set memory (now {} MiB) higher in the guest's file", named(error), plan.memory)
        }
        other => named(other),
    };
    let layout = layout::plan(&image, &request).map_err(enough)?;
    Ok(Prepared { elf, image, info, layout })
}

/// Builds the domain. On failure nothing is left of it.
pub fn build<H: Hypervisor>(hv: &mut H, plan: &Plan<'_>, prepared: Prepared<'_>) -> Result<Built, String> {
    let (free, pages) = (call("physinfo", hv.host_info())?.free_pages, prepared.layout.nr_pages());
    if pages > free {
        return Err(memory::too_little(free, pages));
    }
    let new = NewDomain { handle: plan.uuid, max_vcpus: plan.vcpus };
    let dom = hv.create_domain(&new).map_err(|e| explain("createdomain", e))?;
    let built = Builder { hv, plan, dom, prepared: &prepared }.run();
    if built.is_err() {
        // Its own error is worth less than the one that is reported.
        let _ = hv.destroy(dom);
    }
    built
}

struct Builder<'a, H> {
    hv: &'a mut H,
    plan: &'a Plan<'a>,
    dom: DomId,
    prepared: &'a Prepared<'a>,
}

fn call<T>(name: &str, result: Result<T, Errno>) -> Result<T, String> {
    result.map_err(|error| explain(name, error))
}

impl<H: Hypervisor> Builder<'_, H> {
    fn run(mut self) -> Result<Built, String> {
        let (dom, plan) = (self.dom, self.plan);
        call("max_vcpus", self.hv.set_max_vcpus(dom, plan.vcpus))?;
        call("max_mem", self.hv.set_max_memory(dom, plan.memory * 1024 + SLACK_KIB))?;
        let store_port = call("alloc_unbound for the store", self.hv.alloc_unbound(dom))?;
        let console_port = call("alloc_unbound for the console", self.hv.alloc_unbound(dom))?;
        call("set_memory_map", self.hv.set_memory_map(dom, plan.max_memory << 20))?;
        let mut memory = Memory::populate(self.hv, dom, self.prepared.layout.nr_pages())?;
        let page = |region: Option<layout::Region>| region.ok_or("the layout lacks a ring page".to_string());
        let store_pfn = page(self.prepared.layout.xenstore)?.pfn;
        let console_pfn = page(self.prepared.layout.console)?.pfn;
        let store = Channel { mfn: memory.mfn(store_pfn)?, port: store_port };
        let console = Channel { mfn: memory.mfn(console_pfn)?, port: console_port };
        self.contents(&mut memory, store, console)?;
        memory.finish();
        if let Some(va) = self.prepared.info.hypercall_page {
            let pfn = va.wrapping_sub(self.prepared.info.virt_base) / PAGE;
            let mfn = memory.mfn(pfn)?;
            call("hypercall_init", self.hv.hypercall_init(dom, mfn))?;
        }
        let root = memory.mfn(self.prepared.layout.tables.pfn)?;
        call("pin of the root page table", self.hv.pin(dom, 4, root))?;
        let context = start::context(&self.prepared.info, &self.prepared.layout, root);
        call("setvcpucontext", self.hv.set_vcpu_context(dom, 0, &context))?;
        let mut warnings = self.prepared.image.notes.warnings.clone();
        if let Err(error) = self.seed_grants(store, console) {
            warnings.push(format!("the ring pages are not granted ({error}); Dom0 does without"));
        }
        Ok(Built { dom, store, console, warnings })
    }

    fn contents(
        &mut self,
        memory: &mut Memory<H::Window>,
        store: Channel,
        console: Channel,
    ) -> Result<(), String> {
        let Prepared { elf, image, layout, .. } = self.prepared;
        for (offset, data, zeroes) in image.loads(elf) {
            memory.write(self.hv, offset, data)?;
            memory.zero(self.hv, offset + data.len() as u64, zeroes)?;
        }
        if let Some(initrd) = layout.initrd {
            memory.write(self.hv, initrd.pfn * PAGE, self.plan.initrd)?;
        }
        let list: Vec<u8> = memory.mfns().iter().flat_map(|mfn| mfn.to_le_bytes()).collect();
        memory.write(self.hv, layout.p2m.pfn * PAGE, &list)?;
        for table in layout.tables() {
            let bytes = start::table(layout, table, memory)?;
            memory.write(self.hv, table.pfn * PAGE, &bytes)?;
        }
        for ring in [layout.xenstore, layout.console].into_iter().flatten() {
            memory.zero(self.hv, ring.pfn * PAGE, PAGE)?;
        }
        let shared_info = self.shared_info()?;
        let page = start::start_info(&start::Facts { layout, plan: self.plan, shared_info, store, console });
        memory.write(self.hv, layout.start_info.pfn * PAGE, &page)
    }

    /// Clears the shared info page, with all event masks set, and returns its frame.
    fn shared_info(&mut self) -> Result<u64, String> {
        let mfn = call("getdomaininfo", self.hv.domain(self.dom))?.shared_info;
        let window = call("mapping of the shared info page", self.hv.map_foreign(self.dom, &[mfn]))?;
        window.write(0, &start::shared_info());
        Ok(mfn)
    }

    fn seed_grants(&mut self, store: Channel, console: Channel) -> Result<(), String> {
        let mfn = call("acquire_resource", self.hv.grant_frame(self.dom))?;
        let window = call("mapping of the grant table", self.hv.map_foreign(self.dom, &[mfn]))?;
        window.write(0, &start::grants(console.mfn, store.mfn));
        Ok(())
    }
}
