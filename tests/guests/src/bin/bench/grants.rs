//! Grants. The guest grants to itself, which is the same work for the hypervisor as a grant to somebody else.

use super::{
    arena::{Block, remap},
    machine::{address, call, peek, peek_half, poke, poke_half},
    meter::{failed, hot},
};
use core::{cell::Cell, mem::offset_of};
use domu_sdk::abi::{
    GuestPtr,
    grant_table::{
        GNTCOPY_SOURCE_GREF, GNTMAP_HOST_MAP, GNTTABOP_COPY, GNTTABOP_MAP_GRANT_REF, GNTTABOP_SETUP_TABLE,
        GNTTABOP_UNMAP_GRANT_REF, GTF_PERMIT_ACCESS, GnttabCopy, GnttabMapGrantRef, GnttabSetupTable,
        GnttabUnmapGrantRef,
    },
    xen::{DOMID_SELF, hypercall::GRANT_TABLE_OP},
};
use domu_sdk::memory::{
    self,
    layout::{entry_frame, pte},
};

/// The first entry that is not reserved.
const REFERENCE: u32 = 8;
/// The number of the first domain; a map may not say "self".
const OWN: u16 = 0;

fn operate(operation: u32, argument: u64) -> i64 {
    call(GRANT_TABLE_OP, [operation.into(), argument, 1, 0, 0])
}

fn status(argument: u64, offset: usize) -> i64 {
    let at = argument + offset as u64;
    let shift = (at & 2) * 8;
    i64::from((peek_half(at & !3) >> shift) as u16 as i16)
}

/// Maps, unmaps, copies.
pub fn grants() {
    let pages = Block::take(4);
    let mut frames = [0u64];
    let mut setup = GnttabSetupTable {
        dom: DOMID_SELF,
        nr_frames: 1,
        frame_list: GuestPtr::new(address(&mut frames)),
        ..Default::default()
    };
    let set = operate(GNTTABOP_SETUP_TABLE, address(&mut setup)) | i64::from(setup.status);
    let frame = peek(address(&mut frames));
    let mapped = remap(pages.page(0), frame << 12 | pte::READ_WRITE);
    if set != 0 || mapped != 0 {
        failed("grant table", set.min(mapped));
        return;
    }
    let entry = pages.mfn(1) << 32 | u64::from(OWN) << 16 | u64::from(GTF_PERMIT_ACCESS);
    poke(pages.page(0) + u64::from(REFERENCE) * 8, entry);
    poke(pages.page(1), 0x6a);

    let mut map = GnttabMapGrantRef {
        host_addr: pages.page(2),
        flags: GNTMAP_HOST_MAP,
        ref_: REFERENCE,
        dom: OWN,
        ..Default::default()
    };
    let map_at = address(&mut map);
    let mut unmap = GnttabUnmapGrantRef { host_addr: pages.page(2), ..Default::default() };
    let unmap_at = address(&mut unmap);
    let _ = remap(pages.page(2), 0);
    let there = Cell::new(false);
    let do_map = || {
        there.set(true);
        operate(GNTTABOP_MAP_GRANT_REF, map_at) | status(map_at, offset_of!(GnttabMapGrantRef, status))
    };
    let name = || {
        let handle = peek_half(map_at + offset_of!(GnttabMapGrantRef, handle) as u64);
        poke_half(unmap_at + offset_of!(GnttabUnmapGrantRef, handle) as u64, handle);
    };
    let do_unmap = || {
        there.set(false);
        operate(GNTTABOP_UNMAP_GRANT_REF, unmap_at)
            | status(unmap_at, offset_of!(GnttabUnmapGrantRef, status))
    };
    hot("grant map").measure(
        |_| {
            if there.get() {
                name();
                let _ = do_unmap();
            }
        },
        |_| do_map(),
    );
    if memory::page_table_entry(pages.page(2)).is_none_or(|entry| entry_frame(entry) != pages.mfn(1)) {
        failed("grant map mapped", 0);
        return;
    }
    hot("grant unmap").measure(
        |_| {
            if !there.get() {
                let _ = do_map();
            }
            name();
        },
        |_| do_unmap(),
    );
    for (len, row) in [(4096, hot("grant copy, 4096 bytes")), (64, hot("grant copy, 64 bytes"))] {
        let mut copy = GnttabCopy { len, flags: GNTCOPY_SOURCE_GREF, ..Default::default() };
        copy.source.set_ref(REFERENCE);
        copy.source.domid = OWN;
        copy.dest.set_gmfn(pages.mfn(3));
        copy.dest.domid = DOMID_SELF;
        let at = address(&mut copy);
        poke(pages.page(3), 0);
        row.measure(|_| (), |_| operate(GNTTABOP_COPY, at) | status(at, offset_of!(GnttabCopy, status)));
        if peek(pages.page(3)) != 0x6a {
            failed("grant copy copied", len.into());
        }
    }
}
