//! `platform_op`: what the first domain does to the machine on everybody's behalf.

use super::{Result, output};
use crate::arch;
use abi::{
    platform::{
        PlatformOp, XENPF_ENTER_ACPI_SLEEP, XENPF_INTERFACE_VERSION, XENPF_SETTIME64, XenpfEnterAcpiSleep,
        XenpfSettime64,
    },
    xen::hypercall::PLATFORM_OP,
};

fn call<T: zerocopy::IntoBytes + zerocopy::Immutable>(command: u32, member: T) -> Result {
    let mut argument =
        PlatformOp { cmd: command, interface_version: XENPF_INTERFACE_VERSION, ..PlatformOp::default() };
    argument.u.set(member);
    arch::call(PLATFORM_OP, [output(&mut argument), 0, 0, 0, 0]).map(|_| ())
}

/// Sets the date: seconds and nanoseconds since 1970 at system time `system_time` (ns).
pub fn set_date(seconds: u64, nanoseconds: u32, system_time: u64) -> Result {
    call(XENPF_SETTIME64, XenpfSettime64 { secs: seconds, nsecs: nanoseconds, mbz: 0, system_time })
}

/// Enters ACPI sleep state S`state` by writing these values to the two power-management control registers.
pub fn enter_acpi_sleep(state: u32, pm1a: u16, pm1b: u16) -> Result {
    call(
        XENPF_ENTER_ACPI_SLEEP,
        XenpfEnterAcpiSleep { val_a: pm1a, val_b: pm1b, sleep_state: state, flags: 0 },
    )
}
