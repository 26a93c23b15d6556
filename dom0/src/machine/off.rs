//! Powering the machine off.
//!
//! A hypervisor with ACPI of its own switches off when the first domain shuts down; upstream Xen only halts then and leaves ACPI's sleep
//! states to the first domain. So S5 is asked for first, if the firmware's tables tell how.

use abi::errno::Errno;
use dom0::acpi::{self, Physical};
use domu_sdk::hypercall::platform;
use domu_sdk::memory::foreign::Mapping;
use domu_sdk::{DomId, Mfn, console, println, shutdown};

const PAGE: u64 = 4096;
/// `DOMID_IO` owns what is not RAM.
const IO: DomId = DomId(abi::xen::DOMID_IO);
/// SLP_EN of a power-management control register.
const SLEEP_ENABLE: u16 = 1 << 13;
const SLEEP_TYPE_SHIFT: u16 = 10;
const S5: u32 = 5;

struct Firmware;

impl Physical for Firmware {
    fn read(&mut self, address: u64, out: &mut [u8]) -> bool {
        let (first, last) = (address / PAGE, (address + out.len() as u64).div_ceil(PAGE));
        let frames: alloc::vec::Vec<Mfn> = (first..last).map(Mfn).collect();
        match Mapping::read_only(IO, &frames) {
            Ok(mapping) => {
                mapping.read((address % PAGE) as usize, out);
                true
            }
            Err(_) => false,
        }
    }
}

/// Ends the machine.
pub fn power_off() -> ! {
    console::flush();
    // Tables that are not shown to this domain are not its business: then the shutdown below switches off.
    if let Ok(types) = acpi::soft_off(&mut Firmware) {
        let value = |sleep_type: u8| u16::from(sleep_type) << SLEEP_TYPE_SHIFT | SLEEP_ENABLE;
        // Does not return if it works. A hypervisor without this call switches off by itself below.
        match platform::enter_acpi_sleep(S5, value(types.a), value(types.b)) {
            Ok(()) | Err(Errno::ENOSYS) => {}
            Err(error) => {
                println!("ACPI power-off is refused ({error}); the hypervisor is asked to end instead.")
            }
        }
        console::flush();
    }
    shutdown::now(shutdown::Reason::PowerOff)
}
