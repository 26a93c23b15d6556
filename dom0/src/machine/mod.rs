//! The library's [`Hypervisor`] on real hypercalls.

mod block;
mod off;
pub mod virtio;
mod wait;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use abi::domctl::{
    DomctlCreatedomain, DomctlGetdomaininfo, DomctlSchedCredit, DomctlSchedCredit2, DomctlSchedulerOp,
    XEN_DOMCTL_SCHEDOP_GETINFO, XEN_DOMCTL_SCHEDOP_PUTINFO, XEN_DOMCTL_SENDTRIGGER_NMI,
    XEN_SCHEDULER_ARINC653, XEN_SCHEDULER_CREDIT, XEN_SCHEDULER_CREDIT2, XEN_SCHEDULER_NULL,
    XEN_SCHEDULER_RTDS,
};
use abi::errno::Errno;
use abi::memory::{E820_RAM, E820Entry, XENMEM_RESOURCE_GRANT_TABLE, XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED};
use abi::xen::{VIRQ_DOM_EXC, VcpuGuestContext};
use dom0::DomId;
use dom0::hypervisor::{
    Deliver, DomainInfo, Fetch, HostInfo, Hypervisor, NewDomain, Peer, Result, Share, VcpuInfo, Window,
};
use dom0::page::SharedPage;
use domu_sdk::backend::Peers;
use domu_sdk::events::Channel;
use domu_sdk::grant::GrantMapping;
use domu_sdk::hypercall::{domctl, event_channel, memory, mmu, sysctl, version};
use domu_sdk::memory::SharedMem;
use domu_sdk::memory::foreign::Mapping;
use domu_sdk::time::Instant;
use domu_sdk::{Mfn, Pfn, console};

/// Domains asked for in one `getdomaininfolist`.
const LIST: usize = 64;
/// Bytes of the hypervisor's log that are read.
const LOG: usize = 32 << 10;
/// Grant table version that a domain may use at most.
const GRANT_VERSION: u32 = 2;
/// Event channels that a domain may use, as toolstacks allow by default.
const MAX_PORT: u32 = 1023;

/// The hypervisor this domain runs on.
pub struct Machine {
    domain_events: Channel,
    peers: Peers,
    typed: Vec<u8>,
}

impl Machine {
    /// Connects to news about domains.
    pub fn new() -> core::result::Result<Self, &'static str> {
        let domain_events = Channel::bind_virq(VIRQ_DOM_EXC).map_err(|_| "news about domains are refused")?;
        wait::listen(&domain_events);
        Ok(Self { domain_events, peers: Peers::default(), typed: Vec::new() })
    }
}

/// Frames of another domain.
pub enum ForeignWindow {
    /// Mapped by their numbers, as a toolstack may.
    Frames(Mapping),
    /// Mapped because the other domain grants them.
    Grants(GrantMapping),
}

impl ForeignWindow {
    fn memory(&self) -> &SharedMem {
        match self {
            Self::Frames(mapping) => mapping,
            Self::Grants(mapping) => mapping,
        }
    }
}

impl SharedPage for ForeignWindow {
    fn byte(&self, offset: usize) -> u8 {
        self.memory().load_u8(offset)
    }
    fn set_byte(&self, offset: usize, value: u8) {
        self.memory().store_u8(offset, value);
    }
    fn load(&self, offset: usize) -> u32 {
        self.memory().load_u32(offset)
    }
    fn store(&self, offset: usize, value: u32) {
        self.memory().store_u32(offset, value);
    }
}

impl Window for ForeignWindow {
    fn write(&self, offset: usize, bytes: &[u8]) {
        self.memory().write(offset, bytes);
    }
    fn read(&self, offset: usize, into: &mut [u8]) {
        self.memory().read(offset, into);
    }
    fn zero(&self, offset: usize, len: usize) {
        self.memory().fill(offset, len, 0);
    }
}

fn info(from: &DomctlGetdomaininfo) -> DomainInfo {
    DomainInfo {
        dom: DomId(from.domain),
        flags: from.flags,
        pages: from.tot_pages,
        max_pages: from.max_pages,
        vcpus: from.nr_online_vcpus,
        max_vcpu: from.max_vcpu_id,
        cpu_time: from.cpu_time,
        shared_info: from.shared_info_frame,
    }
}

impl Peer for Machine {
    type Window = ForeignWindow;

    fn map_grants(&mut self, dom: DomId, grants: &[u32]) -> Result<ForeignWindow> {
        self.peers.map_grants(dom, grants).map(ForeignWindow::Grants)
    }

    fn fetch(&mut self, dom: DomId, list: &mut [Fetch<'_>]) {
        self.peers.fetch(dom, list);
    }

    fn deliver(&mut self, dom: DomId, list: &mut [Deliver<'_>]) {
        self.peers.deliver(dom, list);
    }

    fn bind(&mut self, dom: DomId, port: u32) -> Result<u32> {
        let local = self.peers.bind(dom, port)?;
        self.peers.channel(local).into_iter().for_each(|channel| wait::listen(channel));
        Ok(local)
    }

    fn notify(&mut self, port: u32) {
        self.peers.notify(port);
    }

    fn close(&mut self, port: u32) {
        self.peers.close(port);
    }
}

impl Hypervisor for Machine {
    fn create_domain(&mut self, new: &NewDomain) -> Result<DomId> {
        let what = DomctlCreatedomain {
            handle: new.handle,
            max_vcpus: new.max_vcpus,
            max_evtchn_port: MAX_PORT,
            max_grant_frames: -1,
            max_maptrack_frames: -1,
            grant_opts: GRANT_VERSION,
            ..Default::default()
        };
        domctl::create(domu_sdk::DomId(0), &what).map(|dom| DomId(dom.0))
    }

    fn set_max_vcpus(&mut self, dom: DomId, count: u32) -> Result<()> {
        domctl::set_max_vcpus(sdk(dom), count)
    }

    fn set_max_memory(&mut self, dom: DomId, kib: u64) -> Result<()> {
        domctl::set_max_memory(sdk(dom), kib)
    }

    fn set_memory_map(&mut self, dom: DomId, bytes: u64) -> Result<()> {
        memory::set_memory_map(sdk(dom), &[E820Entry { addr: 0, size: bytes, type_: E820_RAM }])
    }

    fn alloc_unbound(&mut self, dom: DomId) -> Result<u32> {
        event_channel::alloc_unbound(sdk(dom), domu_sdk::DomId::DOM0).map(|port| port.0)
    }

    fn populate(&mut self, dom: DomId, first_pfn: u64, count: usize) -> Result<Vec<u64>> {
        let pfns: Vec<Pfn> = (first_pfn..).take(count).map(Pfn).collect();
        let frames = memory::populate(sdk(dom), &pfns, 0)?;
        Ok(frames.into_iter().map(|mfn| mfn.0).collect())
    }

    fn map_foreign(&mut self, dom: DomId, mfns: &[u64]) -> Result<ForeignWindow> {
        let frames: Vec<Mfn> = mfns.iter().copied().map(Mfn).collect();
        Mapping::read_write(sdk(dom), &frames).map(ForeignWindow::Frames).map_err(|error| error.errno)
    }

    fn map_foreign_read_only(&mut self, dom: DomId, mfns: &[u64]) -> Result<ForeignWindow> {
        let frames: Vec<Mfn> = mfns.iter().copied().map(Mfn).collect();
        Mapping::read_only(sdk(dom), &frames).map(ForeignWindow::Frames).map_err(|error| error.errno)
    }

    fn hypercall_init(&mut self, dom: DomId, mfn: u64) -> Result<()> {
        domctl::hypercall_init(sdk(dom), Mfn(mfn))
    }

    fn pin(&mut self, dom: DomId, level: u32, mfn: u64) -> Result<()> {
        mmu::pin(sdk(dom), level, Mfn(mfn))
    }

    fn page_kinds(&mut self, dom: DomId, mfns: &[u64]) -> Result<Vec<u32>> {
        let frames: Vec<Mfn> = mfns.iter().copied().map(Mfn).collect();
        domctl::page_kinds(sdk(dom), &frames)
    }

    fn set_vcpu_context(&mut self, dom: DomId, vcpu: u32, context: &VcpuGuestContext) -> Result<()> {
        domctl::set_vcpu_context(sdk(dom), vcpu, context)
    }

    fn vcpu_context(&mut self, dom: DomId, vcpu: u32) -> Result<Box<VcpuGuestContext>> {
        let mut context = Box::<VcpuGuestContext>::default();
        domctl::vcpu_context(sdk(dom), vcpu, &mut context)?;
        Ok(context)
    }

    fn vcpu_info(&mut self, dom: DomId, vcpu: u32) -> Result<VcpuInfo> {
        domctl::vcpu_info(sdk(dom), vcpu).map(|info| VcpuInfo {
            online: info.online != 0,
            blocked: info.blocked != 0,
            running: info.running != 0,
            cpu_time: info.cpu_time,
            cpu: info.cpu,
        })
    }

    fn trigger_nmi(&mut self, dom: DomId, vcpu: u32) -> Result<()> {
        domctl::send_trigger(sdk(dom), vcpu, XEN_DOMCTL_SENDTRIGGER_NMI)
    }

    fn scheduler(&mut self) -> Result<&'static str> {
        Ok(match sysctl::scheduler()? {
            XEN_SCHEDULER_CREDIT => "credit",
            XEN_SCHEDULER_CREDIT2 => "credit2",
            XEN_SCHEDULER_ARINC653 => "arinc653",
            XEN_SCHEDULER_RTDS => "rtds",
            XEN_SCHEDULER_NULL => "null",
            _ => "one that is not known here",
        })
    }

    fn share(&mut self, dom: DomId) -> Result<Share> {
        let (sched_id, cmd) = (sysctl::scheduler()?, XEN_DOMCTL_SCHEDOP_GETINFO);
        let answer =
            domctl::scheduler_op(sdk(dom), DomctlSchedulerOp { sched_id, cmd, ..Default::default() })?;
        // Both have the same two fields.
        let found = match sched_id {
            XEN_SCHEDULER_CREDIT | XEN_SCHEDULER_CREDIT2 => answer.as_credit(),
            _ => return Err(Errno::EOPNOTSUPP),
        };
        Ok(Share { weight: found.weight, cap: found.cap })
    }

    fn set_share(&mut self, dom: DomId, Share { weight, cap }: Share) -> Result<()> {
        let (sched_id, cmd) = (sysctl::scheduler()?, XEN_DOMCTL_SCHEDOP_PUTINFO);
        let mut wanted = DomctlSchedulerOp { sched_id, cmd, ..Default::default() };
        match sched_id {
            XEN_SCHEDULER_CREDIT => wanted.set_credit(DomctlSchedCredit { weight, cap }),
            XEN_SCHEDULER_CREDIT2 => wanted.set_credit2(DomctlSchedCredit2 { weight, cap }),
            _ => return Err(Errno::EOPNOTSUPP),
        }
        domctl::scheduler_op(sdk(dom), wanted).map(|_| ())
    }

    fn grant_frame(&mut self, dom: DomId) -> Result<u64> {
        let kind = XENMEM_RESOURCE_GRANT_TABLE as u16;
        let frames = memory::acquire_resource(sdk(dom), kind, XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED, 0, 1)?;
        frames.first().map(|mfn| mfn.0).ok_or(Errno::EINVAL)
    }

    fn pause(&mut self, dom: DomId) -> Result<()> {
        domctl::pause(sdk(dom))
    }

    fn unpause(&mut self, dom: DomId) -> Result<()> {
        domctl::unpause(sdk(dom))
    }

    fn resume(&mut self, dom: DomId) -> Result<()> {
        domctl::resume(sdk(dom))
    }

    fn destroy(&mut self, dom: DomId) -> Result<()> {
        domctl::destroy(sdk(dom))
    }

    fn domains(&mut self) -> Result<Vec<DomainInfo>> {
        let mut all = Vec::new();
        let mut first = 0;
        loop {
            let mut buffer = vec![DomctlGetdomaininfo::default(); LIST];
            let count = sysctl::domain_list(domu_sdk::DomId(first), &mut buffer)?;
            all.extend(buffer[..count].iter().map(info));
            match buffer[..count].last() {
                Some(last) if count == LIST => first = last.domain + 1,
                _ => return Ok(all),
            }
        }
    }

    fn domain(&mut self, dom: DomId) -> Result<DomainInfo> {
        domctl::info(sdk(dom)).map(|found| info(&found))
    }

    fn host_info(&mut self) -> Result<HostInfo> {
        let physical = sysctl::physinfo()?;
        Ok(HostInfo {
            version: version::version()?,
            extra_version: version::extra_version()?,
            capabilities: version::capabilities()?,
            cpus: physical.nr_cpus,
            cpu_khz: physical.cpu_khz,
            total_pages: physical.total_pages,
            free_pages: physical.free_pages + physical.scrub_pages,
            features: version::features(0)?,
        })
    }

    fn own_pages(&mut self) -> (u64, u64) {
        let usage = domu_sdk::memory::usage();
        (usage.total.saturating_sub(usage.free), usage.total)
    }

    fn debug_keys(&mut self, keys: &[u8]) -> Result<()> {
        sysctl::debug_keys(keys)
    }

    fn calls(&mut self) -> u64 {
        domu_sdk::hypercall::count()
    }

    fn log(&mut self) -> Result<String> {
        let mut buffer = vec![0u8; LOG];
        let count = sysctl::read_console(&mut buffer, false)?;
        buffer.truncate(count);
        Ok(String::from_utf8_lossy(&buffer).into_owned())
    }

    fn rung(&mut self, ports: &mut Vec<u32>) {
        wait::rung(ports);
    }

    fn print(&mut self, bytes: &[u8]) {
        console::write(bytes);
    }

    fn keys(&mut self) -> Vec<u8> {
        wait::keys(&mut self.typed);
        core::mem::take(&mut self.typed)
    }

    fn now(&mut self) -> u64 {
        Instant::now().nanoseconds()
    }

    fn sleep_until(&mut self, deadline: u64) {
        wait::sleep_until(deadline, &mut self.typed);
    }

    fn domain_event(&mut self) -> bool {
        self.domain_events.take()
    }

    fn power_off(&mut self) -> ! {
        off::power_off()
    }
}

fn sdk(dom: DomId) -> domu_sdk::DomId {
    domu_sdk::DomId(dom.0)
}
