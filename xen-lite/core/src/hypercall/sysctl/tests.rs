//! Questions about the machine, and orders to it. The answers are those that upstream gave to the same calls.

use abi::platform::*;
use abi::sysctl::*;
use alloc::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::Hypervisor;
use crate::domain::Domain;
use crate::fail::{Errno, Fail};
use crate::hypercall::guest::{read_one, write_one};
use crate::hypercall::{Caller, dispatch};
use crate::world::{World, domain, machine};

struct Tool {
    hv: Hypervisor<World>,
    dom0: Arc<Domain>,
    at: u64,
}

impl Tool {
    fn new() -> Tool {
        let hv = machine(64);
        let (dom0, frames) = domain(&hv, 0, true, 1);
        Tool { hv, dom0, at: frames[0].raw() << 12 }
    }

    fn call<T: FromBytes + IntoBytes + Immutable>(&self, number: u64, op: T) -> Result<T, Errno> {
        write_one(&self.hv, self.at, &op)?;
        let vcpu = &self.dom0.vcpus()[0];
        let mut state = vcpu.state.lock();
        let mut caller = Caller::new(&self.dom0, vcpu, &mut state);
        match dispatch(&self.hv, &mut caller, number, &mut [self.at, 0, 0, 0, 0, 0]) {
            Ok(_) => read_one(&self.hv, self.at),
            Err(Fail::Errno(errno)) => Err(errno),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn sysctl(&self, cmd: u32, fill: impl FnOnce(&mut Sysctl)) -> Result<Sysctl, Errno> {
        let interface_version = XEN_SYSCTL_INTERFACE_VERSION;
        let mut op = Sysctl { cmd, interface_version, ..Sysctl::default() };
        fill(&mut op);
        self.call(abi::xen::hypercall::SYSCTL, op)
    }

    fn platform(&self, cmd: u32, fill: impl FnOnce(&mut PlatformOp)) -> Result<PlatformOp, Errno> {
        let interface_version = XENPF_INTERFACE_VERSION;
        let mut op = PlatformOp { cmd, interface_version, ..PlatformOp::default() };
        fill(&mut op);
        self.call(abi::xen::hypercall::PLATFORM_OP, op)
    }
}

#[test]
fn every_question_has_upstreams_answer() {
    let tool = Tool::new();
    for (cmd, expected) in [
        (0, Some(Errno::ENOSYS)),
        (XEN_SYSCTL_TBUF_OP, None),
        (XEN_SYSCTL_PERFC_OP, Some(Errno::ENOSYS)),
        (XEN_SYSCTL_DEBUG_KEYS, None),
        (XEN_SYSCTL_GETCPUINFO, None),
        (XEN_SYSCTL_GET_PMSTAT, Some(Errno::ENODEV)),
        (XEN_SYSCTL_PM_OP, Some(Errno::ENOSYS)),
        (XEN_SYSCTL_CPU_HOTPLUG, Some(Errno::EEXIST)),
        (XEN_SYSCTL_CPUPOOL_OP, Some(Errno::ENOSYS)),
        (XEN_SYSCTL_SCHEDULER_OP, Some(Errno::EINVAL)),
        (XEN_SYSCTL_COVERAGE_OP, Some(Errno::EOPNOTSUPP)),
        (XEN_SYSCTL_PCITOPOINFO, Some(Errno::EINVAL)),
        (XEN_SYSCTL_PSR_ALLOC, Some(Errno::ENODEV)),
        (XEN_SYSCTL_GET_CPU_LEVELLING_CAPS, None),
        (XEN_SYSCTL_GET_CPU_FEATURESET, None),
        (XEN_SYSCTL_GET_CPU_POLICY, None),
        (9999, Some(Errno::ENOSYS)),
    ] {
        assert_eq!(tool.sysctl(cmd, |_| {}).err(), expected, "command {cmd}");
    }
}

#[test]
fn sizes_are_told_to_who_has_no_room() {
    let tool = Tool::new();
    let room = abi::GuestPtr::new(tool.at + 1024);
    let features = |index, nr_features, features| {
        let wanted = SysctlCpuFeatureset { index, nr_features, features };
        tool.sysctl(XEN_SYSCTL_GET_CPU_FEATURESET, |op| op.set_cpu_featureset(wanted))
            .map(|op| op.as_cpu_featureset().nr_features)
    };
    assert_eq!(features(1, 0, abi::GuestPtr::NULL), Ok(19));
    assert_eq!(features(1, 5, room), Err(Errno::ENOBUFS));
    assert_eq!(features(1, 32, room), Ok(19));
    assert_eq!(features(6, 32, room), Err(Errno::EINVAL));
    let policy = |index| {
        let wanted = SysctlCpuPolicy { index, ..SysctlCpuPolicy::default() };
        let answer = tool.sysctl(XEN_SYSCTL_GET_CPU_POLICY, |op| op.set_cpu_policy(wanted));
        answer.map(|op| (op.as_cpu_policy().nr_leaves, op.as_cpu_policy().nr_msrs))
    };
    assert_eq!([policy(0), policy(4)], [Ok((120, 2)); 2]);
    assert_eq!([policy(5), policy(6)], [Err(Errno::EOPNOTSUPP), Err(Errno::EINVAL)]);
}

#[test]
fn unknown_devices_are_told_as_such() {
    let tool = Tool::new();
    let (devs, nodes) = (abi::GuestPtr::new(tool.at + 1024), abi::GuestPtr::new(tool.at + 2048));
    let wanted = SysctlPcitopoinfo { num_devs: 2, devs, nodes, ..SysctlPcitopoinfo::default() };
    let answer = tool.sysctl(XEN_SYSCTL_PCITOPOINFO, |op| op.set_pcitopoinfo(wanted)).unwrap();
    assert_eq!(answer.as_pcitopoinfo().num_devs, 2);
    assert_eq!(read_one::<[u32; 2], World>(&tool.hv, tool.at + 2048), Ok([XEN_INVALID_DEV; 2]));
}

#[test]
fn the_date_can_be_set_and_nonsense_not() {
    let tool = Tool::new();
    let date = |secs, mbz| {
        let new = XenpfSettime64 { secs, nsecs: 0, mbz, system_time: 0 };
        tool.platform(XENPF_SETTIME64, |op| op.set_settime64(new)).map(|_| ())
    };
    assert_eq!(date(1_800_000_000, 1), Err(Errno::EINVAL));
    assert_eq!(date(1_800_000_000, 0), Ok(()));
    assert_eq!(crate::time::wallclock_base(&tool.hv), 1_800_000_000 * 1_000_000_000);
}

#[test]
fn firmware_tells_what_upstream_tells_without_efi() {
    let tool = Tool::new();
    for (type_, index, expected) in [
        (0, 0, Some(Errno::EINVAL)),
        (XEN_FW_DISK_INFO, 0x80, Some(Errno::ESRCH)),
        (XEN_FW_DISK_MBR_SIGNATURE, 0x80, Some(Errno::ESRCH)),
        (XEN_FW_VBEDDC_INFO, 1, Some(Errno::ESRCH)),
        (XEN_FW_EFI_INFO, 0, Some(Errno::ENOSYS)),
        (XEN_FW_KBD_SHIFT_FLAGS, 0, None),
        (XEN_FW_KBD_SHIFT_FLAGS, 1, Some(Errno::ESRCH)),
        (6, 0, Some(Errno::EINVAL)),
    ] {
        let wanted = XenpfFirmwareInfo { type_, index, ..XenpfFirmwareInfo::default() };
        let answer = tool.platform(XENPF_FIRMWARE_INFO, |op| op.set_firmware_info(wanted));
        assert_eq!(answer.err(), expected, "type {type_} index {index}");
    }
}

#[test]
fn sleep_states_that_do_not_exist_are_refused() {
    let tool = Tool::new();
    for (sleep_state, flags) in [(0, 0), (1, 0), (6, 0), (5, 2)] {
        let wanted = XenpfEnterAcpiSleep { sleep_state, flags, ..XenpfEnterAcpiSleep::default() };
        let answer = tool.platform(XENPF_ENTER_ACPI_SLEEP, |op| op.set_enter_acpi_sleep(wanted));
        assert_eq!(answer.err(), Some(Errno::EINVAL), "S{sleep_state}, flags {flags}");
    }
}

#[test]
#[should_panic(expected = "the machine stops: Off")]
fn s5_is_the_end() {
    let wanted = XenpfEnterAcpiSleep { sleep_state: 5, ..XenpfEnterAcpiSleep::default() };
    let _ = Tool::new().platform(XENPF_ENTER_ACPI_SLEEP, |op| op.set_enter_acpi_sleep(wanted));
}

#[test]
fn cpus_are_described_and_those_that_are_not_there_too() {
    let tool = Tool::new();
    let flags = |xen_cpuid| {
        let wanted = XenpfPcpuinfo { xen_cpuid, ..XenpfPcpuinfo::default() };
        let answer = tool.platform(XENPF_GET_CPUINFO, |op| op.set_pcpu_info(wanted)).unwrap().as_pcpu_info();
        (answer.flags, answer.max_present)
    };
    assert_eq!([flags(0), flags(1)], [(XEN_PCPU_FLAGS_ONLINE, 0), (XEN_PCPU_FLAGS_INVALID, 0)]);
}
