//! What answers and fresh memory must not tell.

use crate::{Case, Outcome, Stop, hold, step};
use alloc::format;
use conformance::space::{Frame, SELF, at, call};
use domu_sdk::abi::GuestPtr;
use domu_sdk::abi::memory::MemoryReservation;
use domu_sdk::abi::xen::hypercall::{EVENT_CHANNEL_OP, GRANT_TABLE_OP, MEMORY_OP, VCPU_OP, XEN_VERSION};

/// The cases.
pub const CASES: &[Case] = &[("xsa-100-fresh-frames", fresh_frames), ("xsa-239-padding", padding)];

/// XSA-100: frames came with what their last owner had in them. A fresh frame is zero, or holds what this domain wrote itself.
fn fresh_frames() -> Outcome {
    const MARK: u64 = 0x6d61_726b_6564_2121;
    let place = Frame::new();
    place.unmap();
    let mut frames = [place.mfn];
    let list = |frames: &mut [u64; 1]| MemoryReservation {
        extent_start: GuestPtr::new(at(frames)),
        nr_extents: 1,
        domid: SELF as u16,
        ..Default::default()
    };
    for _ in 0..64 {
        let mut request = list(&mut frames);
        hold(call(MEMORY_OP, [1, at(&mut request), 0, 0, 0]).0 == 1, "a frame cannot be given up")?;
        frames = [place.pfn];
        let mut request = list(&mut frames);
        if call(MEMORY_OP, [6, at(&mut request), 0, 0, 0]).0 != 1 {
            return Err(Stop::Error("no frame instead of the one given up".into()));
        }
        step(
            call(domu_sdk::abi::xen::hypercall::UPDATE_VA_MAPPING, [place.va, frames[0] << 12 | 7, 2, 0, 0]),
            "mapping the new frame",
        )?;
        for word in 0..512 {
            let value = place.read(word);
            hold(value == 0 || value == MARK, &format!("a fresh frame holds {value:#x}"))?;
            place.write(word, MARK);
        }
        place.unmap();
    }
    Ok(())
}

/// XSA-239, XSA-216: bytes of an answer that no field covers came from the hypervisor's stack. They are as they were, or zero.
fn padding() -> Outcome {
    const FILL: u8 = 0xa7;
    let run = |what: &str,
               number: u64,
               command: u64,
               prepare: &[(usize, u8)],
               holes: &[(usize, usize)],
               by_argument: bool| {
        let mut bytes = [0_u64; 64];
        let area = at(&mut bytes) as usize;
        let put = |offset: usize, value: u8| {
            // SAFETY: within the array.
            unsafe { core::ptr::with_exposed_provenance_mut::<u8>(area + offset).write_volatile(value) }
        };
        (0..512).for_each(|offset| put(offset, FILL));
        prepare.iter().for_each(|(offset, value)| put(*offset, *value));
        let arguments =
            if by_argument { [command, 0, area as u64, 0, 0] } else { [command, area as u64, 1, 0, 0] };
        call(number, arguments);
        for offset in holes.iter().flat_map(|&(first, end)| first..end) {
            // SAFETY: within the array.
            let byte = unsafe { core::ptr::with_exposed_provenance::<u8>(area + offset).read_volatile() };
            hold(byte == FILL || byte == 0, &format!("{what}: byte {offset} is {byte:#x}"))?;
        }
        Ok(())
    };
    // evtchn_status of port 1 of this domain: dom, pad, port, status, vcpu, union.
    run(
        "event channel status",
        EVENT_CHANNEL_OP,
        5,
        &[(0, 0xf0), (1, 0x7f), (4, 1), (5, 0), (6, 0), (7, 0)],
        &[(2, 4), (24, 512)],
        false,
    )?;
    // gnttab_query_size: dom, pad, two numbers, status, pad.
    run("grant table size", GRANT_TABLE_OP, 6, &[(0, 0xf0), (1, 0x7f)], &[(2, 4), (14, 512)], false)?;
    // vcpu_runstate_info: state, pad, times.
    run("run state", VCPU_OP, 4, &[], &[(4, 8), (48, 512)], true)?;
    // xen_feature_info: index, map.
    run("features", XEN_VERSION, 6, &[(0, 0), (1, 0), (2, 0), (3, 0)], &[(8, 512)], false)?;
    run("extra version", XEN_VERSION, 1, &[], &[(16, 512)], false)?;
    run("compile information", XEN_VERSION, 2, &[], &[(64 + 16 + 32 + 32, 512)], false)?;
    run("machine-to-physical table", MEMORY_OP, 12, &[], &[(24, 512)], false)
}
