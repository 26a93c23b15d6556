//! Descriptors and segments: nothing with more than the guest's own privilege.

use crate::{Case, Outcome, hold, refused, step};
use conformance::space::{Frame, call, extended, foreign, of, pin, update};
use conformance::trapped;
use domu_sdk::abi::xen::hypercall::{SET_GDT, SET_SEGMENT_BASE, UPDATE_DESCRIPTOR};

/// The cases.
pub const CASES: &[Case] = &[
    ("xsa-298-descriptors", forbidden_descriptors),
    ("xsa-298-table-of-descriptors-written", written_table),
    ("xsa-193-segment-bases", segment_bases),
    ("xsa-298-local-table", local_table),
    ("gdt-frames", gdt_frames),
];

/// Code for ring 0, a call gate, an interrupt gate, a task state, a local table.
const FORBIDDEN: [u64; 8] = [
    0x00af_9a00_0000_ffff,
    0x00cf_9200_0000_ffff,
    0x0000_ec00_e008_0000,
    0x0000_8e00_e008_0000,
    0x0000_8900_0000_0067,
    0x0000_8200_0000_ffff,
    0x0000_e500_e008_0000,
    0x00cf_ba00_0000_ffff,
];

/// XSA-298: a descriptor with more privilege than the guest has, or a gate into the hypervisor, got into a table. The hypervisor refuses it
/// or takes the privilege away.
fn forbidden_descriptors() -> Outcome {
    let page = Frame::table();
    step(call(SET_GDT, [of(&[page.mfn]), 512, 0, 0, 0]), "setting the table")?;
    let mut outcome = Ok(());
    for descriptor in FORBIDDEN {
        call(UPDATE_DESCRIPTOR, [page.slot(3), descriptor, 0, 0, 0]);
        update(page.slot(4), descriptor);
        for word in [page.read(3), page.read(4)] {
            let (present, level, ordinary) = (word >> 47 & 1 == 1, word >> 45 & 3, word >> 44 & 1 == 1);
            outcome = outcome
                .and(hold(!present || (ordinary && level != 0), "a descriptor beyond the guest's rights"));
        }
        call(UPDATE_DESCRIPTOR, [page.slot(3), 0, 0, 0, 0]);
    }
    step(call(SET_GDT, [0, 0, 0, 0, 0]), "taking the table away")?;
    outcome
}

/// The frame of a table of descriptors must not be writable by any way.
fn written_table() -> Outcome {
    let (page, entries) = (Frame::table(), Frame::table());
    step(pin(1, entries.mfn), "pinning a table")?;
    step(call(SET_GDT, [of(&[page.mfn]), 512, 0, 0, 0]), "setting the table")?;
    let outcome = refused(page.writable(), "a table of descriptors mapped writable")
        .and_then(|()| {
            refused(
                update(entries.slot(0), page.entry(7)),
                "a table of descriptors mapped writable elsewhere",
            )
        })
        .and_then(|()| refused(pin(1, page.mfn), "a table of descriptors became a page table"))
        .and_then(|()| refused(extended(17, page.mfn, entries.mfn), "a table of descriptors overwritten"))
        .and_then(|()| {
            let trap = trapped!("mov [rdi], rsi"; in("rdi") page.va, in("rsi") FORBIDDEN[0]);
            hold(trap.0.is_some() && page.read(0) == 0, "a table of descriptors written")
        });
    step(call(SET_GDT, [0, 0, 0, 0, 0]), "taking the table away")?;
    outcome
}

/// XSA-193: a base that is not canonical was loaded, and the hypervisor faulted. It is refused, or not there afterwards.
fn segment_bases() -> Outcome {
    for which in 0..3 {
        for base in [0x8000_0000_0000_u64, 0xffff_7fff_ffff_ffff, 0x7fff_ffff_ffff_ffff, 1 << 63] {
            refused(call(SET_SEGMENT_BASE, [which, base, 0, 0, 0]), "a base that is not canonical")?;
        }
    }
    for base in [0x8000_0000_0000_u64, 1 << 63] {
        for register in [0xc000_0100_u32, 0xc000_0101, 0xc000_0102] {
            // The answer is a fault, or nothing at all.
            trapped!("wrmsr"; in("ecx") register, in("eax") base as u32, in("edx") (base >> 32) as u32);
        }
    }
    call(SET_SEGMENT_BASE, [0, 0, 0, 0, 0]);
    call(SET_SEGMENT_BASE, [2, 0, 0, 0, 0]);
    Ok(())
}

/// XSA-298: a local table over pages that the guest can still write, or whose descriptors nobody checked. Loading a selector of it must fail,
/// or make the pages read-only.
fn local_table() -> Outcome {
    let page = Frame::new();
    for (index, descriptor) in FORBIDDEN.into_iter().enumerate() {
        page.write(index as u64, descriptor);
    }
    step(extended(13, page.va, 512), "setting the local table")?;
    let mut outcome = Ok(());
    for index in 0..8_u32 {
        let trap =
            trapped!("mov es, ecx", "xor eax, eax", "mov es, eax"; in("ecx") (index * 8) | 7, out("rax") _);
        outcome = outcome.and(hold(trap.0.is_some(), "a selector of a forbidden descriptor was loaded"));
    }
    step(extended(13, 0, 0), "taking the local table away")?;
    outcome
}

/// Frames of the table of descriptors that are not the guest's, or are something else.
fn gdt_frames() -> Outcome {
    let table = Frame::table();
    step(pin(1, table.mfn), "pinning a table")?;
    for mfn in [foreign(), table.mfn, conformance::space::root(), 0xb8, 1 << 40, u64::MAX] {
        refused(call(SET_GDT, [of(&[mfn]), 512, 0, 0, 0]), "a frame that cannot hold descriptors")?;
        refused(call(UPDATE_DESCRIPTOR, [mfn << 12, 0, 0, 0, 0]), "a descriptor written to such a frame")?;
    }
    let many = [table.mfn; 32];
    refused(call(SET_GDT, [of(&many), 7169, 0, 0, 0]), "a table that reaches into the hypervisor's entries")
}
