//! Which I/O ports a PV guest reaches.
//!
//! Nobody but the first domain touches the machine: a DomU reads all ones and its writes go nowhere, which kernels that
//! probe for devices take for "nothing there". The first domain drives the machine's devices, except those that the
//! hypervisor itself drives: interrupt controllers, its own serial console, and the timer channel that it may use.
//!
//! The PCI configuration address (0xcf8) is latched per vCPU for everybody: address and data are two accesses, between
//! which another CPU might set its own.

/// The PCI configuration address register.
pub const PCI_ADDRESS: u16 = 0xcf8;
/// First of the four PCI configuration data ports.
pub const PCI_DATA: u16 = 0xcfc;
const PCI_ENABLE: u32 = 1 << 31;

/// Where an access goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// To the machine's port.
    Machine,
    /// To the latched configuration address.
    PciAddress,
    /// To the configuration space of the machine, at the latched address: first byte within its double word.
    PciData(u8),
    /// Reads all ones, ignores writes.
    Nowhere,
}

/// What a domain may do with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// The first domain.
    pub hardware: bool,
    /// First port of the hypervisor's own serial console (eight ports), if it has one.
    pub console: Option<u16>,
}

impl Rights {
    /// Where an access of `size` (1, 2, 4) bytes to `port` goes; `pci_address` is the latch.
    #[must_use]
    pub fn route(&self, port: u16, size: u8, pci_address: u32) -> Route {
        let last = port.saturating_add(u16::from(size) - 1);
        if port == PCI_ADDRESS && size == 4 {
            return Route::PciAddress;
        }
        if !self.hardware {
            return Route::Nowhere;
        }
        if port >= PCI_DATA && last < PCI_DATA + 4 {
            let enabled = pci_address & PCI_ENABLE != 0;
            return if enabled { Route::PciData((port - PCI_DATA) as u8) } else { Route::Nowhere };
        }
        if (port..=last).any(|port| self.is_ours(port)) { Route::Nowhere } else { Route::Machine }
    }

    /// Whether the hypervisor keeps a port for itself.
    fn is_ours(&self, port: u16) -> bool {
        match port {
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x40 => true,
            _ => self.console.is_some_and(|base| port & !7 == base),
        }
    }
}

/// All ones of an access of `size` bytes.
#[must_use]
pub fn all_ones(size: u8) -> u32 {
    u32::MAX >> (32 - 8 * u32::from(size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effort::effort;

    const DOM0: Rights = Rights { hardware: true, console: Some(0x3f8) };
    const DOMU: Rights = Rights { hardware: false, console: None };

    #[test]
    fn a_domu_reaches_nothing() {
        for port in (0..=u16::MAX).step_by(effort(1, 0xcf8)) {
            for size in [1, 2, 4] {
                let expected = if (port, size) == (0xcf8, 4) { Route::PciAddress } else { Route::Nowhere };
                assert_eq!(DOMU.route(port, size, u32::MAX), expected);
            }
        }
    }

    #[test]
    fn dom0_reaches_what_is_not_ours() {
        assert_eq!(DOM0.route(0x42, 1, 0), Route::Machine);
        assert_eq!(DOM0.route(0x608, 4, 0), Route::Machine);
        assert_eq!(DOM0.route(0xcfa, 1, 0), Route::Machine);
        for (port, size) in [(0x20, 1), (0x1f, 2), (0x40, 1), (0x3f8, 1), (0x3ff, 1), (0x3f7, 2), (0xa1, 4)] {
            assert_eq!(DOM0.route(port, size, 0), Route::Nowhere, "{port:#x}");
        }
        assert_eq!(DOM0.route(0x3f7, 1, 0), Route::Machine);
        assert_eq!(DOM0.route(0x2f8, 1, 0), Route::Machine);
        assert_eq!(DOM0.route(0xffff, 4, 0), Route::Machine);
    }

    #[test]
    fn pci_data_needs_an_enabled_address() {
        assert_eq!(DOM0.route(0xcfe, 2, 0), Route::Nowhere);
        assert_eq!(DOM0.route(0xcfe, 2, 0x8000_0000), Route::PciData(2));
        assert_eq!(DOM0.route(0xcfc, 4, 0x8000_0000), Route::PciData(0));
        assert_eq!(DOM0.route(0xcff, 2, 0x8000_0000), Route::Machine);
        assert_eq!(all_ones(1), 0xff);
        assert_eq!(all_ones(4), u32::MAX);
    }
}
