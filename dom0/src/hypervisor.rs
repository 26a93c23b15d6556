//! What the control domain needs of the hypervisor, as one trait.
//!
//! The binary implements it with hypercalls, the tests with memory of their own. The methods are the public control
//! interface (headers `domctl.h`, `sysctl.h`, `memory.h`, `event_channel.h`, `sched.h`) minus its pointers. Domain ids are the
//! hypervisor's; machine frame numbers are plain `u64`.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use abi::errno::Errno;
use abi::xen::VcpuGuestContext;

use crate::DomId;
pub use backend::peer::{Deliver, Fetch, Peer, Result, Window};

/// What `createdomain` is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewDomain {
    /// The domain's handle, usually its UUID.
    pub handle: [u8; 16],
    /// Virtual CPUs it may have.
    pub max_vcpus: u32,
}

/// What `getdomaininfolist` tells of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainInfo {
    /// Its number.
    pub dom: DomId,
    /// `XEN_DOMINF_*`.
    pub flags: u32,
    /// Frames it has.
    pub pages: u64,
    /// Frames it may have.
    pub max_pages: u64,
    /// Online virtual CPUs.
    pub vcpus: u32,
    /// Highest number of a virtual CPU.
    pub max_vcpu: u32,
    /// CPU time used, in nanoseconds.
    pub cpu_time: u64,
    /// Machine frame of its shared info page.
    pub shared_info: u64,
}

/// What `getvcpuinfo` tells of a virtual CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VcpuInfo {
    /// It was started and not stopped.
    pub online: bool,
    /// It waits for an event.
    pub blocked: bool,
    /// It runs on a CPU now.
    pub running: bool,
    /// CPU time used, in nanoseconds.
    pub cpu_time: u64,
    /// The CPU it runs on, or ran on last.
    pub cpu: u32,
}

/// How much of the CPUs a domain gets (`XEN_DOMCTL_scheduler_op`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Beside others: a domain with twice the weight gets twice the time.
    pub weight: u16,
    /// At most, in per cent of one CPU; 0 for no limit.
    pub cap: u16,
}

/// What `physinfo` and `xen_version` tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostInfo {
    /// Major and minor version.
    pub version: (u16, u16),
    /// Text after the version number.
    pub extra_version: String,
    /// What guests it takes.
    pub capabilities: String,
    /// Online CPUs.
    pub cpus: u32,
    /// Their frequency in kHz.
    pub cpu_khz: u32,
    /// Frames of the machine.
    pub total_pages: u64,
    /// Free frames, including those still to be scrubbed.
    pub free_pages: u64,
    /// Features offered to PV guests (`XENVER_get_features`, sub-map 0).
    pub features: u32,
}

/// The hypervisor, its console, and time.
pub trait Hypervisor: Peer {
    /// Creates an empty, paused PV domain.
    fn create_domain(&mut self, new: &NewDomain) -> Result<DomId>;
    /// Sets the number of virtual CPUs.
    fn set_max_vcpus(&mut self, dom: DomId, count: u32) -> Result<()>;
    /// Sets the memory limit in KiB.
    fn set_max_memory(&mut self, dom: DomId, kib: u64) -> Result<()>;
    /// Sets the memory map that the domain is told: RAM from 0 to `bytes`.
    fn set_memory_map(&mut self, dom: DomId, bytes: u64) -> Result<()>;
    /// Reserves an event channel of `dom` that this domain may connect to.
    fn alloc_unbound(&mut self, dom: DomId) -> Result<u32>;
    /// Allocates single frames for the pages from `first_pfn` on; returns their machine frames, fewer if memory ran out.
    fn populate(&mut self, dom: DomId, first_pfn: u64, count: usize) -> Result<Vec<u64>>;
    /// Maps frames of another domain writable.
    fn map_foreign(&mut self, dom: DomId, mfns: &[u64]) -> Result<Self::Window>;
    /// Maps frames of another domain for reading only: page tables, too. Nothing may be written to the window.
    fn map_foreign_read_only(&mut self, dom: DomId, mfns: &[u64]) -> Result<Self::Window>;
    /// Has a hypercall page filled in.
    fn hypercall_init(&mut self, dom: DomId, mfn: u64) -> Result<()>;
    /// Has a domain's page table of a level (1 to 4) validated and pinned.
    fn pin(&mut self, dom: DomId, level: u32, mfn: u64) -> Result<()>;
    /// What frames of a domain are, each as one of `XEN_DOMCTL_PFINFO_*`.
    fn page_kinds(&mut self, dom: DomId, mfns: &[u64]) -> Result<Vec<u32>>;
    /// Sets a virtual CPU's registers.
    fn set_vcpu_context(&mut self, dom: DomId, vcpu: u32, context: &VcpuGuestContext) -> Result<()>;
    /// A virtual CPU's registers. `ENODATA` if it was never started.
    fn vcpu_context(&mut self, dom: DomId, vcpu: u32) -> Result<Box<VcpuGuestContext>>;
    /// State and time of a virtual CPU.
    fn vcpu_info(&mut self, dom: DomId, vcpu: u32) -> Result<VcpuInfo>;
    /// Has a virtual CPU take a non-maskable interrupt.
    fn trigger_nmi(&mut self, dom: DomId, vcpu: u32) -> Result<()>;
    /// Name of the hypervisor's scheduler.
    fn scheduler(&mut self) -> Result<&'static str>;
    /// A domain's share of the CPUs.
    fn share(&mut self, dom: DomId) -> Result<Share>;
    /// Sets it.
    fn set_share(&mut self, dom: DomId, share: Share) -> Result<()>;
    /// Machine frame of the domain's first grant table frame.
    fn grant_frame(&mut self, dom: DomId) -> Result<u64>;
    /// Stops a domain's CPUs; counted.
    fn pause(&mut self, dom: DomId) -> Result<()>;
    /// Undoes one pause.
    fn unpause(&mut self, dom: DomId) -> Result<()>;
    /// Lets a domain that has shut down run on.
    fn resume(&mut self, dom: DomId) -> Result<()>;
    /// Ends a domain and frees what nobody else holds; runs to the end.
    fn destroy(&mut self, dom: DomId) -> Result<()>;

    /// All domains by number.
    fn domains(&mut self) -> Result<Vec<DomainInfo>>;
    /// One domain.
    fn domain(&mut self, dom: DomId) -> Result<DomainInfo> {
        self.domains()?.into_iter().find(|info| info.dom == dom).ok_or(Errno::ESRCH)
    }
    /// Facts about hypervisor and machine.
    fn host_info(&mut self) -> Result<HostInfo>;
    /// Pages that this domain uses itself, and that it has.
    fn own_pages(&mut self) -> (u64, u64);
    /// Has the hypervisor print what it prints for these keys on its console.
    fn debug_keys(&mut self, keys: &[u8]) -> Result<()>;
    /// Hypercalls that this domain has made.
    fn calls(&mut self) -> u64 {
        0
    }
    /// The hypervisor's log.
    fn log(&mut self) -> Result<String>;

    /// Adds the local ports that were rung since the last call.
    fn rung(&mut self, ports: &mut Vec<u32>);

    /// Shows bytes on the machine's console.
    fn print(&mut self, bytes: &[u8]);
    /// Keys typed since the last call.
    fn keys(&mut self) -> Vec<u8>;
    /// Nanoseconds since this domain started.
    fn now(&mut self) -> u64;
    /// Sleeps until an event arrives or the time comes; returns at once if one arrived since the last call.
    fn sleep_until(&mut self, deadline: u64);
    /// Whether a domain ended or changed state since the last call (`VIRQ_DOM_EXC`).
    fn domain_event(&mut self) -> bool;
    /// Powers the machine off.
    fn power_off(&mut self) -> !;
}

/// A failed call in words: the call, the error's name, and what to do about it.
pub fn explain(call: &str, error: Errno) -> String {
    let hint = match error {
        Errno::ENOMEM => "; free memory with destroy, or give the guest less",
        Errno::EPERM | Errno::EACCES => "; is this domain 0 of a hypervisor with the 4.17 interface?",
        Errno::ENOSYS | Errno::EOPNOTSUPP => "; the hypervisor does not offer it",
        Errno::ESRCH => "; the domain is gone, see list",
        _ => "",
    };
    alloc::format!("{call}: {error:?}{hint}")
}
