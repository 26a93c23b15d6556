//! `platform_op` (platform.h): what the first domain does to the machine on everybody's behalf.

use abi::platform::*;

use super::coverage::{Sub, full, partial, refused};
use super::guest::{read_one, write_one};
use super::{Args, Caller};
use crate::Hypervisor;
use crate::effects::Done;
use crate::fail::{Errno, Fail};
use crate::platform::{Platform, Power};

/// Commands.
pub const SUBS: &[Sub] = &[
    full(XENPF_SETTIME32, "XENPF_settime32"),
    full(XENPF_SETTIME64, "XENPF_settime64"),
    partial(XENPF_FIRMWARE_INFO, "XENPF_firmware_info", "no BIOS tables, no EFI; the keyboard's state is 0"),
    partial(XENPF_ENTER_ACPI_SLEEP, "XENPF_enter_acpi_sleep", "S5 only"),
    full(XENPF_GET_CPUINFO, "XENPF_get_cpuinfo"),
    full(XENPF_GET_CPU_VERSION, "XENPF_get_cpu_version"),
    partial(XENPF_CPU_ONLINE, "XENPF_cpu_online", "CPUs are on already"),
    refused(XENPF_CPU_OFFLINE, "XENPF_cpu_offline", "CPUs stay on: EOPNOTSUPP"),
];

/// Argument 0 is the address of `struct xen_platform_op`.
pub fn platform_op<P: Platform>(
    hv: &Hypervisor<P>,
    _: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    let mut op: PlatformOp = read_one(hv, args[0])?;
    if op.interface_version != XENPF_INTERFACE_VERSION {
        return Err(Errno::EACCES.into());
    }
    match op.cmd {
        XENPF_SETTIME32 => {
            let XenpfSettime32 { secs, nsecs, system_time } = op.as_settime32();
            crate::time::set_wallclock(hv, u64::from(secs), nsecs, system_time);
        }
        XENPF_SETTIME64 => {
            let XenpfSettime64 { secs, nsecs, mbz, system_time } = op.as_settime64();
            if mbz != 0 {
                return Err(Errno::EINVAL.into());
            }
            crate::time::set_wallclock(hv, secs, nsecs, system_time);
        }
        XENPF_FIRMWARE_INFO => firmware(&mut op)?,
        XENPF_ENTER_ACPI_SLEEP => return Err(sleep(hv, &op.as_enter_acpi_sleep()).into()),
        XENPF_GET_CPUINFO => cpu_info(hv, &mut op),
        XENPF_GET_CPU_VERSION => cpu_version(hv, &mut op),
        XENPF_CPU_ONLINE if op.as_cpu_ol().cpuid < hv.platform.cpus() => {}
        XENPF_CPU_ONLINE => return Err(Errno::EINVAL.into()),
        XENPF_CPU_OFFLINE if op.as_cpu_ol().cpuid < hv.platform.cpus() => {
            return Err(Errno::EOPNOTSUPP.into());
        }
        XENPF_CPU_OFFLINE => return Err(Errno::EINVAL.into()),
        _ => return Err(Errno::ENOSYS.into()),
    }
    write_one(hv, args[0], &op)?;
    Ok(Done::OK)
}

/// What the firmware told at boot: nothing was kept.
fn firmware(op: &mut PlatformOp) -> Result<(), Errno> {
    let mut wanted = op.as_firmware_info();
    match (wanted.type_, wanted.index) {
        (XEN_FW_KBD_SHIFT_FLAGS, 0) => wanted.set_kbd_shift_flags(0),
        (XEN_FW_DISK_INFO | XEN_FW_DISK_MBR_SIGNATURE | XEN_FW_VBEDDC_INFO | XEN_FW_KBD_SHIFT_FLAGS, _) => {
            return Err(Errno::ESRCH);
        }
        (XEN_FW_EFI_INFO, _) => return Err(Errno::ENOSYS),
        _ => return Err(Errno::EINVAL),
    }
    op.set_firmware_info(wanted);
    Ok(())
}

/// S5 is the end of the machine; other states do not work.
fn sleep<P: Platform>(hv: &Hypervisor<P>, wanted: &XenpfEnterAcpiSleep) -> Errno {
    const OFF: u32 = 5;
    if wanted.sleep_state != OFF || wanted.flags & !XENPF_ACPI_SLEEP_EXTENDED != 0 {
        return Errno::EINVAL;
    }
    log::info!("the first domain powers the machine off");
    hv.platform.power(Power::Off)
}

fn cpu_info<P: Platform>(hv: &Hypervisor<P>, op: &mut PlatformOp) {
    let cpu = op.as_pcpu_info().xen_cpuid;
    let last = hv.platform.cpus() - 1;
    let mut info = XenpfPcpuinfo { xen_cpuid: cpu, max_present: last, ..XenpfPcpuinfo::default() };
    if cpu <= last {
        (info.flags, info.apic_id, info.acpi_id) = (XEN_PCPU_FLAGS_ONLINE, cpu, cpu);
    } else {
        info.flags = XEN_PCPU_FLAGS_INVALID;
    }
    op.set_pcpu_info(info);
}

/// Vendor, family, model and stepping; empty for a CPU that is not there.
fn cpu_version<P: Platform>(hv: &Hypervisor<P>, op: &mut PlatformOp) {
    let cpu = op.as_pcpu_version().xen_cpuid;
    let last = hv.platform.cpus() - 1;
    let mut version = XenpfPcpuVersion { xen_cpuid: cpu, max_present: last, ..XenpfPcpuVersion::default() };
    if cpu <= last {
        let (_, b, c, d) = hv.platform.cpuid(0, 0);
        for (bytes, register) in version.vendor_id.chunks_exact_mut(4).zip([b, d, c]) {
            bytes.copy_from_slice(&register.to_le_bytes());
        }
        (version.family, version.model, version.stepping) = signature(hv.platform.cpuid(1, 0).0);
    }
    op.set_pcpu_version(version);
}

/// Family, model and stepping from CPUID leaf 1 (SDM vol. 2, CPUID).
fn signature(eax: u32) -> (u32, u32, u32) {
    let (base, model) = (eax >> 8 & 0xf, eax >> 4 & 0xf);
    let family = if base == 0xf { base + (eax >> 20 & 0xff) } else { base };
    let extended = if matches!(base, 6 | 0xf) { (eax >> 16 & 0xf) << 4 } else { 0 };
    (family, extended | model, eax & 0xf)
}

#[cfg(test)]
mod tests {
    use super::signature;

    #[test]
    fn signatures_are_put_together() {
        assert_eq!(signature(0x60fb1), (15, 107, 1));
        assert_eq!(signature(0x506e3), (6, 0x5e, 3));
        assert_eq!(signature(0x80_0f12), (0x17, 1, 2));
    }
}
