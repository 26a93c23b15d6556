//! Addresses in arguments: every array is checked as far as it is used, and limits hold for those who may not exceed them.

use crate::{Case, Outcome, Stop, hold, refused};
use conformance::space::{Frame, SELF, at, call};
use domu_sdk::abi::GuestPtr;
use domu_sdk::abi::memory::{MemoryExchange, MemoryReservation};
use domu_sdk::abi::xen::hypercall::{CONSOLE_IO, MEMORY_OP, MMU_UPDATE, XEN_VERSION};

/// The cases.
pub const CASES: &[Case] = &[
    ("xsa-29-exchange-into-the-hypervisor", exchange_into_hypervisor),
    ("xsa-212-exchange-with-an-offset", exchange_with_offset),
    ("xsa-158-large-orders", large_orders),
    ("xsa-231-nodes", nodes),
    ("xsa-159-errors-on-the-way", errors_on_the_way),
    ("pointers-in-the-hole", pointers_in_the_hole),
];

const HOLE: u64 = 0xffff_8300_0000_0000;
const M2P: u64 = 0xffff_8000_0000_0000;

fn list(address: u64, count: u64, order: u32) -> MemoryReservation {
    MemoryReservation {
        extent_start: GuestPtr::new(address),
        nr_extents: count,
        extent_order: order,
        domid: SELF as u16,
        ..Default::default()
    }
}

fn exchange(request: &mut MemoryExchange) -> conformance::Answer {
    call(MEMORY_OP, [11, at(request), 0, 0, 0])
}

/// XSA-29: the list of new frames was not checked, and the hypervisor wrote frame numbers wherever the guest said.
fn exchange_into_hypervisor() -> Outcome {
    let frame = Frame::new();
    frame.unmap();
    let mut old = [frame.mfn];
    for target in [HOLE, M2P, 0xffff_87ff_ffff_fff8, 0x8000_0000_0000] {
        let mut request =
            MemoryExchange { in_: list(at(&mut old), 1, 0), out: list(target, 1, 0), nr_exchanged: 0 };
        refused(exchange(&mut request), "an exchange that writes to the hypervisor")?;
    }
    let first = domu_sdk::memory::probe(M2P);
    hold(first == domu_sdk::memory::probe(M2P), "the machine-to-physical table changed")
}

/// XSA-212: the start of the lists was checked, but not where `nr_exchanged` puts the first access. From a high address, an offset wraps
/// round or runs into the hypervisor.
fn exchange_with_offset() -> Outcome {
    let frame = Frame::new();
    frame.unmap();
    let mut old = [frame.mfn];
    for (start, target) in [
        (0x1000_u64, HOLE),
        (0x1000, M2P),
        (0xffff_8800_0000_0000, M2P),
        (0xffff_ffff_ffff_f000, 0x1000),
        (at(&mut old), HOLE),
    ] {
        let done = target.wrapping_sub(start) / 8;
        for count in [done + 1, u64::MAX / 8, u64::MAX >> 6] {
            let mut request =
                MemoryExchange { in_: list(start, count, 0), out: list(start, count, 0), nr_exchanged: done };
            refused(exchange(&mut request), "an exchange in the middle of a list that wraps")?;
            let mut request = MemoryExchange {
                in_: list(at(&mut old), count, 0),
                out: list(start, count, 0),
                nr_exchanged: done,
            };
            refused(exchange(&mut request), "an exchange with an offset into the hypervisor")?;
        }
    }
    Ok(())
}

/// XSA-158: orders above what a domain may ask for kept the hypervisor busy, or took all memory.
fn large_orders() -> Outcome {
    for order in [19, 20, 31, 32, 52, 63, 64, 255, u32::MAX] {
        for command in [0, 1, 6] {
            let mut numbers = [0_u64; 2];
            let mut request = list(at(&mut numbers), 1, order);
            hold(
                call(MEMORY_OP, [command, at(&mut request), 0, 0, 0]).0 == 0,
                "an extent of a forbidden order",
            )?;
        }
        let mut numbers = [0_u64; 2];
        let place = at(&mut numbers);
        for (old, new) in [(order, 0), (0, order), (order, order)] {
            let mut request =
                MemoryExchange { in_: list(place, 1, old), out: list(place, 1, new), nr_exchanged: 0 };
            refused(exchange(&mut request), "an exchange of a forbidden order")?;
        }
    }
    Ok(())
}

/// XSA-231: the node in the flags was taken as an index without a check.
fn nodes() -> Outcome {
    for node in 0..=255 {
        for exact in [0, 1 << 17] {
            let mut numbers = [u64::MAX];
            let mut request = list(at(&mut numbers), 1, 0);
            request.mem_flags = node << 8 | exact;
            let answer = call(MEMORY_OP, [0, at(&mut request), 0, 0, 0]);
            hold(answer.0 == 0 || answer.0 == 1, "neither done nor not done")?;
            if answer.0 == 1 {
                let mut back = list(at(&mut numbers), 1, 0);
                hold(call(MEMORY_OP, [1, at(&mut back), 0, 0, 0]).0 == 1, "the frame is not ours")?;
            }
        }
    }
    Ok(())
}

/// XSA-159: an exchange that failed half-way lost or doubled frames. The domain owns as many as before.
fn errors_on_the_way() -> Outcome {
    let frames: [Frame; 4] = core::array::from_fn(|_| Frame::new());
    let mapped = Frame::new();
    frames.iter().for_each(|frame| {
        frame.unmap();
    });
    let count = || {
        domu_sdk::hypercall::memory::current_reservation(domu_sdk::DomId(SELF as u16))
            .map_err(|errno| Stop::Error(alloc::format!("counting frames: {errno}")))
    };
    let before = count()?;
    for _ in 0..50 {
        let mut old = [frames[0].mfn, frames[1].mfn, frames[2].mfn, mapped.mfn];
        let mut new = [frames[0].pfn];
        let mut request =
            MemoryExchange { in_: list(at(&mut old), 4, 0), out: list(at(&mut new), 1, 2), nr_exchanged: 0 };
        refused(exchange(&mut request), "an exchange of a mapped frame")?;
    }
    hold(count()? == before, "frames were lost or made")?;
    for frame in &frames {
        hold(frame.writable().0 == 0, "a frame of a failed exchange is not ours any more")?;
    }
    Ok(())
}

/// Reading and writing structures in the hypervisor's part of the address space, or where the address ends, with calls of all kinds.
fn pointers_in_the_hole() -> Outcome {
    for address in
        [HOLE, M2P + 8, 0xffff_82d0_4020_0000, 0xffff_87ff_ffff_fff0, 0x8000_0000_0000, 0xffff_7fff_ffff_fff8]
    {
        for command in [1, 2, 3, 5, 6] {
            refused(call(XEN_VERSION, [command, address, 0, 0, 0]), "an answer written to the hypervisor")?;
        }
        refused(call(CONSOLE_IO, [0, 8, address, 0, 0]), "the hypervisor's memory printed")?;
        refused(call(MMU_UPDATE, [address, 1, 0, SELF, 0]), "a request read from the hypervisor")?;
        for command in [3, 4, 5, 9, 10, 11, 12, 24, 28] {
            refused(call(MEMORY_OP, [command, address, 0, 0, 0]), "an argument in the hypervisor")?;
        }
    }
    Ok(())
}
