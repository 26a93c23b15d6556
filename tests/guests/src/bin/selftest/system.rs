//! The hypervisor itself: version, CPUID, clock, refusals.

use alloc::format;

use crate::{Check, OK, ensure, equal, step};
use domu_sdk::{
    abi::errno::Errno,
    arch,
    events::Channel,
    hypercall::{domctl, event_channel, multicall::Batch, sched, version},
    start,
    time::{self, Instant},
    types::{DomId, Port},
};

pub fn version() -> Check {
    let (major, minor) = step("xen_version", version::version())?;
    ensure(major >= 4, "the major version is below 4")?;
    let capabilities = step("capabilities", version::capabilities())?;
    ensure(capabilities.contains("xen-3.0-x86_64"), "64-bit PV guests are not among the capabilities")?;
    equal("page size", step("page size", version::page_size())?, 4096)?;
    let _ = minor;
    OK
}

/// The leaves that say "Xen".
pub fn cpuid() -> Check {
    let [max, b, c, d] = arch::cpuid(0x4000_0000, 0);
    let mut name = [0; 12];
    for (chunk, word) in name.chunks_mut(4).zip([b, c, d]) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    equal("signature", &name, b"XenVMMXenVMM")?;
    ensure(max >= 0x4000_0002, "there are too few leaves")?;
    let [packed, ..] = arch::cpuid(0x4000_0001, 0);
    let (major, minor) = step("xen_version", version::version())?;
    equal("version in CPUID", packed, u32::from(major) << 16 | u32::from(minor))?;
    OK
}

pub fn clock() -> Check {
    let mut last = Instant::now();
    ensure(last.nanoseconds() > 0, "the clock stands at zero")?;
    for _ in 0..10_000 {
        let now = Instant::now();
        ensure(now >= last, "the clock went back")?;
        last = now;
    }
    OK
}

/// The date that the clock chip gives is given to all domains, created ones too.
pub fn date() -> Check {
    /// Midnight of 1 January 2024 in seconds since 1970: no machine that runs this shows an earlier date.
    const BEFORE_THIS_TEST: u64 = 1_704_067_200;
    let now = time::date().as_secs();
    ensure(now > BEFORE_THIS_TEST, &format!("the date is {now} seconds since 1970"))?;
    OK
}

/// Only the first domain may control domains; a bad port is refused for everybody.
pub fn control_calls() -> Check {
    let answer = domctl::info(DomId::DOM0).map(|info| info.domain);
    let expected = if start::is_privileged() { Ok(0) } else { Err(Errno::EPERM) };
    equal("getdomaininfo", answer, expected)?;
    equal("sending to an unused port", event_channel::send(Port(3333)), Err(Errno::EINVAL))?;
    OK
}

pub async fn multicall() -> Check {
    let channel = step("ipi", Channel::bind_ipi())?;
    let results = step("multicall", Batch::new().version().send(channel.port()).send(Port(3333)).run())?;
    let version = version::version().map(|(major, minor)| u64::from(major) << 16 | u64::from(minor));
    equal("results", results, alloc::vec![version, Ok(0), Err(Errno::EINVAL)])?;
    channel.wait().await;
    OK
}

/// Waiting for ports with a limit. Any event that becomes pending for the vCPU, masked or not, may end the wait early, so only what is
/// looped on is certain.
pub fn poll() -> Check {
    let channel = step("ipi", Channel::bind_ipi())?;
    channel.mask();
    let deadline = Instant::now().nanoseconds() + 20_000_000;
    while Instant::now().nanoseconds() < deadline {
        step("poll", sched::poll(&[channel.port().0], deadline))?;
    }
    step("send", channel.notify())?;
    step("poll", sched::poll(&[channel.port().0], 0))?;
    OK
}
