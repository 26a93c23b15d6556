//! Commands as a toolstack gives them. The answers are those that upstream gave to the same calls.

use abi::domctl::*;
use abi::xen::{CpuidLeaf, XEN_CPUID_NO_SUBLEAF};
use alloc::sync::Arc;

use crate::Hypervisor;
use crate::addr::Mfn;
use crate::domain::Domain;
use crate::fail::{Errno, Fail};
use crate::frame::{Kind, get_page_type};
use crate::hypercall::guest::{read_one, write_one};
use crate::hypercall::{Caller, dispatch};
use crate::platform::Platform as _;
use crate::world::{World, domain, machine};

/// A machine, its first domain, and a frame of that at which the structures are; a second one for arrays.
struct Toolstack {
    hv: Hypervisor<World>,
    dom0: Arc<Domain>,
    at: u64,
    array: u64,
}

impl Toolstack {
    fn new() -> Toolstack {
        let hv = machine(256);
        let (dom0, frames) = domain(&hv, 0, true, 2);
        let address = |mfn: Mfn| mfn.raw() << 12;
        let (at, array) = (address(frames[0]), address(frames[1]));
        Toolstack { hv, dom0, at, array }
    }

    fn call(&self, number: u64, address: u64) -> Result<(), Errno> {
        let vcpu = &self.dom0.vcpus()[0];
        let mut state = vcpu.state.lock();
        let mut caller = Caller::new(&self.dom0, vcpu, &mut state);
        match dispatch(&self.hv, &mut caller, number, &mut [address, 0, 0, 0, 0, 0]) {
            Ok(_) => Ok(()),
            Err(Fail::Errno(errno)) => Err(errno),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn domctl(&self, cmd: u32, domain: u16, fill: impl FnOnce(&mut Domctl)) -> (Result<(), Errno>, Domctl) {
        let interface_version = XEN_DOMCTL_INTERFACE_VERSION;
        let mut op = Domctl { cmd, interface_version, domain, ..Domctl::default() };
        fill(&mut op);
        write_one(&self.hv, self.at, &op).unwrap();
        let result = self.call(abi::xen::hypercall::DOMCTL, self.at);
        (result, read_one(&self.hv, self.at).unwrap())
    }

    fn create(&self, id: u16, change: impl FnOnce(&mut DomctlCreatedomain)) -> Result<u16, Errno> {
        let mut wanted = DomctlCreatedomain {
            max_vcpus: 2,
            max_evtchn_port: 1023,
            max_grant_frames: 4,
            max_maptrack_frames: 4,
            grant_opts: 1,
            ..DomctlCreatedomain::default()
        };
        change(&mut wanted);
        let (result, op) = self.domctl(XEN_DOMCTL_CREATEDOMAIN, id, |op| op.set_createdomain(wanted));
        result.map(|()| op.domain)
    }

    fn guest(&self) -> u16 {
        let id = self.create(0, |_| {}).unwrap();
        self.domctl(XEN_DOMCTL_MAX_VCPUS, id, |op| op.set_max_vcpus(DomctlMaxVcpus { max: 2 })).0.unwrap();
        id
    }

    fn plain(&self, cmd: u32, domain: u16) -> Result<(), Errno> {
        self.domctl(cmd, domain, |_| {}).0
    }
}

#[test]
fn domains_that_cannot_be_are_refused() {
    let tools = Toolstack::new();
    type Change = fn(&mut DomctlCreatedomain);
    let cases: [(&str, Change, Option<Errno>); 17] = [
        ("no vCPUs", |new| new.max_vcpus = 0, Some(Errno::EINVAL)),
        ("too many vCPUs", |new| new.max_vcpus = 8193, Some(Errno::EINVAL)),
        ("an unknown flag", |new| new.flags = 1 << 31, Some(Errno::EINVAL)),
        ("HAP without HVM", |new| new.flags = XEN_DOMCTL_CDF_HAP, Some(Errno::EINVAL)),
        ("IOMMU", |new| new.flags = XEN_DOMCTL_CDF_IOMMU, Some(Errno::EINVAL)),
        ("xenstore", |new| new.flags = XEN_DOMCTL_CDF_XS_DOMAIN, None),
        ("IOMMU options", |new| new.iommu_opts = 1, Some(Errno::EINVAL)),
        ("no grant version", |new| new.grant_opts = 0, Some(Errno::EINVAL)),
        ("grant version 3", |new| new.grant_opts = 3, Some(Errno::EINVAL)),
        ("no grant frames", |new| new.max_grant_frames = 0, Some(Errno::EINVAL)),
        ("too many grant frames", |new| new.max_grant_frames = 65, Some(Errno::EINVAL)),
        ("default grant frames", |new| new.max_grant_frames = -1, None),
        ("too many handles", |new| new.max_maptrack_frames = 1025, Some(Errno::EINVAL)),
        ("another pool", |new| new.cpupool_id = 1, Some(Errno::ESRCH)),
        ("trace buffers", |new| new.vmtrace_size = 4096, Some(Errno::EINVAL)),
        ("an emulated APIC", |new| new.arch.emulation_flags = 1, Some(Errno::EOPNOTSUPP)),
        ("an emulated timer", |new| new.arch.emulation_flags = 1 << 8, None),
    ];
    for (name, change, expected) in cases {
        assert_eq!(tools.create(0, change).err(), expected, "{name}");
    }
    let id = tools.create(50, |_| {}).unwrap();
    assert_eq!((id, tools.create(50, |_| {})), (50, Err(Errno::EEXIST)));
    assert!(tools.create(0x7ff0, |_| {}).unwrap() < 50);
}

#[test]
fn pauses_are_counted() {
    let tools = Toolstack::new();
    let id = tools.guest();
    let (pause, unpause) = (XEN_DOMCTL_PAUSEDOMAIN, XEN_DOMCTL_UNPAUSEDOMAIN);
    let answers = [pause, unpause, unpause, unpause, pause, pause].map(|cmd| tools.plain(cmd, id));
    assert_eq!(answers, [Ok(()), Ok(()), Ok(()), Err(Errno::EINVAL), Ok(()), Ok(())]);
    let domain = tools.hv.domains.get(crate::addr::DomId::new(id)).unwrap();
    assert_eq!(domain.paused.load(core::sync::atomic::Ordering::Relaxed), 2);
}

#[test]
fn info_is_of_the_domain_or_the_next() {
    let tools = Toolstack::new();
    tools.create(36, |_| {}).unwrap();
    let (found, op) = tools.domctl(XEN_DOMCTL_GETDOMAININFO, 5, |_| {});
    assert_eq!((found, op.domain), (Ok(()), 36));
    let info = op.as_getdomaininfo();
    assert_eq!((info.flags, info.max_vcpu_id), (0xffff_0000 | XEN_DOMINF_PAUSED, XEN_INVALID_MAX_VCPU_ID));
    assert_eq!(tools.plain(XEN_DOMCTL_GETDOMAININFO, 37), Err(Errno::ESRCH));
    assert_eq!(tools.plain(XEN_DOMCTL_GETDOMAININFO, 0x7ff0), Err(Errno::EINVAL));
}

#[test]
fn what_upstream_refuses_is_refused_with_the_same_number() {
    let tools = Toolstack::new();
    let id = tools.guest();
    for (cmd, own, other) in [
        (XEN_DOMCTL_MAX_VCPUS, Errno::EINVAL, Errno::EINVAL),
        (XEN_DOMCTL_SETVCPUAFFINITY, Errno::EINVAL, Errno::EINVAL),
        (XEN_DOMCTL_GETVCPUAFFINITY, Errno::EINVAL, Errno::EINVAL),
        (XEN_DOMCTL_SETNODEAFFINITY, Errno::EINVAL, Errno::EINVAL),
        (XEN_DOMCTL_SHADOW_OP, Errno::EINVAL, Errno::EINVAL),
        (XEN_DOMCTL_GETVCPUCONTEXT, Errno::EINVAL, Errno::ENODATA),
        (XEN_DOMCTL_IRQ_PERMISSION, Errno::EPERM, Errno::EPERM),
        (XEN_DOMCTL_IOMEM_PERMISSION, Errno::EPERM, Errno::EPERM),
        (XEN_DOMCTL_IOPORT_PERMISSION, Errno::EINVAL, Errno::EINVAL),
        (XEN_DOMCTL_ASSIGN_DEVICE, Errno::EOPNOTSUPP, Errno::EOPNOTSUPP),
        (XEN_DOMCTL_MEMORY_MAPPING, Errno::EINVAL, Errno::EINVAL),
        (XEN_DOMCTL_IOPORT_MAPPING, Errno::EOPNOTSUPP, Errno::EOPNOTSUPP),
        (XEN_DOMCTL_SET_EXT_VCPUCONTEXT, Errno::ESRCH, Errno::EINVAL),
        (XEN_DOMCTL_SETVCPUEXTSTATE, Errno::EINVAL, Errno::EINVAL),
        (XEN_DOMCTL_PSR_ALLOC, Errno::ENODEV, Errno::ENODEV),
        (XEN_DOMCTL_VUART_OP, Errno::ENOSYS, Errno::ENOSYS),
        (9999, Errno::ENOSYS, Errno::ENOSYS),
    ] {
        assert_eq!(tools.plain(cmd, 0), Err(own), "command {cmd} on oneself");
        assert_eq!(tools.plain(cmd, id), Err(other), "command {cmd}");
        assert_eq!(tools.plain(cmd, 999), Err(Errno::ESRCH), "command {cmd} on nobody");
        assert_eq!(tools.plain(cmd, 0x7ff0), Err(Errno::ESRCH), "command {cmd} on DOMID_SELF");
    }
    let trigger = |trigger, vcpu| {
        tools
            .domctl(XEN_DOMCTL_SENDTRIGGER, id, |op| op.set_sendtrigger(DomctlSendtrigger { trigger, vcpu }))
            .0
    };
    let answers = [trigger(0, 0), trigger(1, 0), trigger(3, 0), trigger(0, 9)];
    assert_eq!(answers, [Ok(()), Err(Errno::ENOSYS), Err(Errno::EINVAL), Err(Errno::ESRCH)]);
}

#[test]
fn frames_tell_their_kind() {
    let tools = Toolstack::new();
    let (guest, frames) = domain(&tools.hv, 7, false, 3);
    tools.hv.platform.clear(frames[1]);
    get_page_type(&tools.hv, frames[1], guest.id, Kind::L1).unwrap();
    let list = [frames[0].raw(), frames[1].raw(), 0, 1 << 40];
    for (index, mfn) in (0..).zip(list) {
        write_one(&tools.hv, tools.array + 8 * index, &mfn).unwrap();
    }
    let ask = |num| {
        let wanted = DomctlGetpageframeinfo3 { num, array: abi::GuestPtr::new(tools.array) };
        tools.domctl(XEN_DOMCTL_GETPAGEFRAMEINFO3, 7, |op| op.set_getpageframeinfo3(wanted)).0
    };
    assert_eq!(ask(1025), Err(Errno::E2BIG));
    assert_eq!(ask(4), Ok(()));
    let kinds =
        [0, 1, 2, 3].map(|index| read_one::<u64, World>(&tools.hv, tools.array + 8 * index).unwrap() as u32);
    let absent = XEN_DOMCTL_PFINFO_XTAB;
    assert_eq!(kinds, [XEN_DOMCTL_PFINFO_NOTAB, XEN_DOMCTL_PFINFO_L1TAB, absent, absent]);
}

#[test]
fn a_policy_is_read_changed_and_kept() {
    let tools = Toolstack::new();
    let id = tools.guest();
    let policy = |cmd, nr_leaves, nr_msrs| {
        let array = abi::GuestPtr::new(tools.array);
        let wanted = DomctlCpuPolicy { nr_leaves, nr_msrs, leaves: array, ..DomctlCpuPolicy::default() };
        let (result, op) = tools.domctl(cmd, id, |op| op.set_cpu_policy(wanted));
        (result, op.as_cpu_policy())
    };
    assert_eq!(policy(XEN_DOMCTL_GET_CPU_POLICY, 1, 0).0, Err(Errno::ENOBUFS));
    let (read, full) = policy(XEN_DOMCTL_GET_CPU_POLICY, 120, 0);
    assert_eq!((read, full.nr_msrs), (Ok(()), 2));
    assert_eq!(policy(XEN_DOMCTL_SET_CPU_POLICY, full.nr_leaves, 0).0, Ok(()));
    assert_eq!(policy(XEN_DOMCTL_SET_CPU_POLICY, 1000, 0).0, Err(Errno::E2BIG));
    let bad = CpuidLeaf { leaf: 0x30, subleaf: XEN_CPUID_NO_SUBLEAF, ..CpuidLeaf::default() };
    write_one(&tools.hv, tools.array, &bad).unwrap();
    let (refused, told) = policy(XEN_DOMCTL_SET_CPU_POLICY, 1, 0);
    assert_eq!((refused, told.err_leaf, told.err_subleaf), (Err(Errno::ERANGE), 0x30, XEN_CPUID_NO_SUBLEAF));
}

#[test]
fn extended_state_is_what_it_says() {
    let tools = Toolstack::new();
    let id = tools.guest();
    let extended = |cmd, size| {
        let buffer = abi::GuestPtr::new(tools.array);
        let wanted = DomctlVcpuextstate { size, buffer, ..DomctlVcpuextstate::default() };
        let (result, op) = tools.domctl(cmd, id, |op| op.set_vcpuextstate(wanted));
        (result, op.as_vcpuextstate().size)
    };
    let (get, set) = (XEN_DOMCTL_GETVCPUEXTSTATE, XEN_DOMCTL_SETVCPUEXTSTATE);
    // The most there can be; what there is; what there is, with the right size.
    assert_eq!(extended(get, 0), (Ok(()), 16 + 576));
    assert_eq!(extended(get, 17), (Ok(()), 16));
    assert_eq!(extended(get, 16), (Ok(()), 16));
    assert_eq!(extended(set, 16).0, Ok(()));
    assert_eq!(extended(set, 15).0, Err(Errno::EINVAL));
    // XCR0 0 is no state that a CPU can have.
    assert_eq!(extended(set, 16 + 576).0, Err(Errno::EINVAL));
}

#[test]
fn old_and_foreign_interfaces_are_refused() {
    let tools = Toolstack::new();
    let old = |op: &mut Domctl| op.interface_version = 0x14;
    assert_eq!(tools.domctl(XEN_DOMCTL_GETDOMAININFO, 0, old).0, Err(Errno::EACCES));
    for number in [abi::xen::hypercall::DOMCTL, abi::xen::hypercall::SYSCTL, abi::xen::hypercall::PLATFORM_OP]
    {
        assert_eq!(tools.call(number, 0xffff_8000_0000_0000), Err(Errno::EFAULT), "hypercall {number}");
        write_one(&tools.hv, tools.at, &[0u64; 17]).unwrap();
        assert_eq!(tools.call(number, tools.at), Err(Errno::EACCES), "hypercall {number}");
    }
}
