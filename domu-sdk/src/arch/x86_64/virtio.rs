//! What the crate `virtio-drivers` needs of the machine: memory that devices reach, their registers, and PCI configuration.
//!
//! **Addresses.** A device sees machine memory. Frames that follow each other in the domain's numbering need not do so in the machine's,
//! so a buffer is given to the device as it is only if its frames do; else the device gets a page of its own, and bytes are copied
//! when the buffer is handed over and when it comes back. Queues are made of single pages, which every frame is.
//!
//! **Trust.** A device can write any machine memory (there is no I/O MMU here), so it is trusted as much as the CPU.

use crate::{
    hypercall::physdev,
    memory::{Pages, layout::PAGE_SIZE, machine_frame_at, windows::Window},
    sync::MaskedMutex,
};
use abi::xen::DOMID_IO;
use alloc::{collections::BTreeMap, vec::Vec};
use core::{arch::asm, ptr::NonNull};
use virtio_drivers::{
    BufferDirection, Hal, PhysAddr,
    transport::pci::bus::{ConfigurationAccess, DeviceFunction},
};

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;

/// PCI configuration through the ports 0xcf8 and 0xcfc. Only domain 0 may use it.
#[derive(Debug)]
pub(crate) struct Configuration(());

impl Configuration {
    /// Asks for the right to use ports.
    pub(crate) fn new() -> crate::hypercall::Result<Self> {
        physdev::set_iopl(1)?;
        Ok(Self(()))
    }

    fn select(function: DeviceFunction, register: u8) {
        let place = u32::from(function.bus) << 16
            | u32::from(function.device) << 11
            | u32::from(function.function) << 8
            | u32::from(register & 0xfc);
        // SAFETY: a port write changes no memory of this domain; the hypervisor checks whether it may be.
        unsafe {
            asm!("out dx, eax", in("dx") ADDRESS, in("eax") 1 << 31 | place, options(nomem, nostack, preserves_flags))
        };
    }
}

impl ConfigurationAccess for Configuration {
    fn read_word(&self, function: DeviceFunction, register: u8) -> u32 {
        Self::select(function, register);
        let word;
        // SAFETY: as above; reading a configuration register changes no memory.
        unsafe {
            asm!("in eax, dx", in("dx") DATA, out("eax") word, options(nomem, nostack, preserves_flags))
        };
        word
    }

    fn write_word(&mut self, function: DeviceFunction, register: u8, word: u32) {
        Self::select(function, register);
        // SAFETY: as above; what a device does with its registers is covered by the trust in devices.
        unsafe {
            asm!("out dx, eax", in("dx") DATA, in("eax") word, options(nomem, nostack, preserves_flags))
        };
    }

    unsafe fn unsafe_clone(&self) -> Self {
        Self(())
    }
}

/// Pages that devices use, by their machine address: queues, and stand-ins for buffers that are not contiguous.
static LENT: MaskedMutex<BTreeMap<PhysAddr, Pages>> = MaskedMutex::new(BTreeMap::new());

/// Windows over device registers, by machine address and number of pages. They stay for ever: drivers keep addresses in them.
static REGISTERS: MaskedMutex<BTreeMap<(u64, usize), Window>> = MaskedMutex::new(BTreeMap::new());

/// The machine address of a range of this domain's memory, if it is contiguous in the machine.
fn machine_address(address: usize, len: usize) -> Option<PhysAddr> {
    let (first, last) = (address / PAGE_SIZE, (address + len.max(1) - 1) / PAGE_SIZE);
    let frame = machine_frame_at(address as u64)?.0;
    for page in first + 1..=last {
        let next = machine_frame_at((page * PAGE_SIZE) as u64)?.0;
        if next != frame + (page - first) as u64 {
            return None;
        }
    }
    Some(frame * PAGE_SIZE as u64 + (address % PAGE_SIZE) as u64)
}

/// Takes zeroed pages that are contiguous in the machine.
fn lend(count: usize) -> Option<(PhysAddr, NonNull<u8>)> {
    let mut scattered = Vec::new();
    // Single pages always are; longer runs often are, and those that are not stay taken until one is found.
    for _ in 0..64 {
        let mut pages = Pages::new(count)?;
        let base = NonNull::new(pages.as_mut_ptr())?;
        match machine_address(base.as_ptr().expose_provenance(), count * PAGE_SIZE) {
            Some(address) => {
                LENT.lock().insert(address, pages);
                return Some((address, base));
            }
            None => scattered.push(pages),
        }
    }
    None
}

/// The crate's view of this machine.
#[derive(Debug)]
pub(crate) struct Machine;

// SAFETY: A-3: `dma_alloc` hands out pages that `LENT` owns until `dma_dealloc`, zeroed and page-aligned; `mmio_phys_to_virt` hands out
// windows of their own that stay mapped for ever.
unsafe impl Hal for Machine {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        // The address 0 says that there is none.
        lend(pages).unwrap_or((0, NonNull::dangling()))
    }

    unsafe fn dma_dealloc(address: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        drop(LENT.lock().remove(&address));
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, size: usize) -> NonNull<u8> {
        let offset = (address % PAGE_SIZE as u64) as usize;
        let (first, pages) = (address / PAGE_SIZE as u64, (offset + size).div_ceil(PAGE_SIZE).max(1));
        let mut registers = REGISTERS.lock();
        let window = registers.entry((first, pages)).or_insert_with(|| {
            let frames: Vec<u64> = (first..).take(pages).collect();
            let window = Window::reserve(pages);
            let mapped = window.map_err(|errno| (0, errno)).and_then(|window| {
                // What is not RAM belongs to this domain of the hypervisor's.
                window.map(&frames, DOMID_IO, true).map_err(|error| (error.index, error.errno))?;
                Ok(window)
            });
            mapped.unwrap_or_else(|(page, errno)| {
                panic!("registers of a device at {address:#x}, page {page}, cannot be mapped: {errno}")
            })
        });
        let base = window.address() as usize + offset;
        NonNull::new(core::ptr::with_exposed_provenance_mut(base)).expect("no window is at address 0")
    }

    unsafe fn share(buffer: NonNull<[u8]>, direction: BufferDirection) -> PhysAddr {
        let start = buffer.cast::<u8>();
        if let Some(address) = machine_address(start.as_ptr().expose_provenance(), buffer.len()) {
            return address;
        }
        let lent = lend(buffer.len().div_ceil(PAGE_SIZE));
        let (address, base) = lent.expect("memory for a device's buffer");
        if direction != BufferDirection::DeviceToDriver {
            // SAFETY: the caller's buffer is valid for its length, and the pages are new and at least as long.
            unsafe { core::ptr::copy_nonoverlapping(start.as_ptr(), base.as_ptr(), buffer.len()) };
        }
        address
    }

    unsafe fn unshare(address: PhysAddr, buffer: NonNull<[u8]>, direction: BufferDirection) {
        let Some(pages) = LENT.lock().remove(&address) else { return };
        if direction != BufferDirection::DriverToDevice {
            let from = pages.as_ptr();
            // SAFETY: the caller's buffer is valid for its length; the pages were taken for it by `share`, and the device is done.
            unsafe { core::ptr::copy_nonoverlapping(from, buffer.cast::<u8>().as_ptr(), buffer.len()) };
        }
    }
}
