//! Area `va_mapping`: `update_va_mapping` and `update_va_mapping_otherdomain`.
#![no_std]
#![no_main]

use conformance::put;
use conformance::space::{Entry, Frame, SELF, call, foreign, of, own_id, pin, root, unpin};
use domu_sdk::abi::xen::hypercall::{UPDATE_VA_MAPPING, UPDATE_VA_MAPPING_OTHERDOMAIN};
use domu_sdk::{memory, start};

/// A page whose mapping is changed, and the frame that is mapped there in the end.
struct Place {
    home: Frame,
    data: Frame,
}

impl Place {
    fn attempt(&self, entry: u64) -> (conformance::Answer, Entry) {
        let answer = call(UPDATE_VA_MAPPING, [self.home.va, entry, 2, 0, 0]);
        let after = Entry(memory::page_table_entry(self.home.va).unwrap_or(0));
        call(UPDATE_VA_MAPPING, [self.home.va, 0, 2, 0, 0]);
        (answer, after)
    }
}

fn entries(place: &Place) {
    let plain = place.data.entry(7);
    for bit in (0..12).chain(30..64) {
        let (answer, after) = place.attempt(plain ^ 1 << bit);
        put!(format_args!("bit{bit}"), "{answer} {after}");
    }
    let table = Frame::table();
    put!("pin", "{}", pin(1, table.mfn));
    for (what, mfn) in [
        ("table", table.mfn),
        ("root", root()),
        ("foreign", foreign()),
        ("shared-info", start::info().shared_info >> 12),
        ("beyond", 0xff_ffff_ffff),
        ("vga", 0xb8),
        ("apic", 0xfee00),
    ] {
        for flags in [5, 7, 6] {
            let (answer, after) = place.attempt(mfn << 12 | flags);
            put!(format_args!("to.{what}.{flags}"), "{answer} {after}");
        }
    }
    put!("unpin", "{}", unpin(table.mfn));
}

fn addresses(place: &Place) {
    let entry = place.data.entry(7);
    for (what, va) in [
        ("null", 0),
        ("low", 0x1000),
        ("top-of-low", 0x7fff_ffff_f000),
        ("noncanonical", 0x8000_0000_0000),
        ("noncanonical-high", 0xffff_7fff_ffff_f000),
        ("hypervisor", 0xffff_8000_0000_0000),
        ("hypervisor-text", 0xffff_82d0_4020_0000),
        ("hypervisor-end", 0xffff_87ff_ffff_f000),
        ("no-l2", 0xffff_8880_0000_0000),
        ("top", 0xffff_ffff_ffff_f000),
    ] {
        for flags in [0, 1, 2] {
            put!(format_args!("at.{what}.{flags}"), "{}", call(UPDATE_VA_MAPPING, [va, entry, flags, 0, 0]));
            put!(
                format_args!("at.{what}.{flags}.empty"),
                "{}",
                call(UPDATE_VA_MAPPING, [va, 0, flags, 0, 0])
            );
        }
    }
    for offset in [1, 8, 0xfff] {
        put!(
            format_args!("at.offset{offset}"),
            "{}",
            call(UPDATE_VA_MAPPING, [place.home.va + offset, entry, 2, 0, 0])
        );
        put!(
            format_args!("at.offset{offset}.entry"),
            "{}",
            Entry(memory::page_table_entry(place.home.va).unwrap_or(0))
        );
        call(UPDATE_VA_MAPPING, [place.home.va, 0, 2, 0, 0]);
    }
}

fn flushes(place: &Place) {
    let entry = place.data.entry(7);
    let bitmap = [1_u64; 8];
    let none = [0_u64; 8];
    for kind in 0..4 {
        for (what, whom) in [
            ("local", 0),
            ("all", 4),
            ("bit3", 8),
            ("one", of(&bitmap)),
            ("nobody", of(&none)),
            ("unmapped", 0x1000),
            ("hypervisor", 0xffff_8300_0000_0000),
            ("noncanonical", 0x8000_0000_0000),
            ("high-bit", 1 << 63),
        ] {
            let answer = call(UPDATE_VA_MAPPING, [place.home.va, entry, whom | kind, 0, 0]);
            let after = Entry(memory::page_table_entry(place.home.va).unwrap_or(0));
            put!(format_args!("flush{kind}.{what}"), "{answer} {after}");
            call(UPDATE_VA_MAPPING, [place.home.va, 0, 2, 0, 0]);
            let answer = call(UPDATE_VA_MAPPING, [place.home.va, foreign() << 12 | 7, whom | kind, 0, 0]);
            put!(format_args!("flush{kind}.{what}.refused"), "{answer}");
        }
    }
}

fn others(place: &Place) {
    for (what, id) in [
        ("own", own_id()),
        ("self", SELF),
        ("none", 0x1234),
        ("io", 0x7ff1),
        ("xen", 0x7ff2),
        ("cow", 0x7ff3),
        ("invalid", 0x7ff4),
        ("idle", 0x7fff),
        ("8000", 0x8000),
        ("ffff", 0xffff),
        ("high", SELF | 1 << 16),
    ] {
        for (kind, entry) in
            [("frame", place.data.entry(7)), ("empty", 0), ("foreign", foreign() << 12 | 5), ("vga", 0xb8007)]
        {
            let answer = call(UPDATE_VA_MAPPING_OTHERDOMAIN, [place.home.va, entry, 2, id, 0]);
            let after = Entry(memory::page_table_entry(place.home.va).unwrap_or(0));
            put!(format_args!("other.{what}.{kind}"), "{answer} {after}");
            call(UPDATE_VA_MAPPING, [place.home.va, 0, 2, 0, 0]);
        }
        put!(
            format_args!("other.{what}.nowhere"),
            "{}",
            call(UPDATE_VA_MAPPING_OTHERDOMAIN, [0x1000, 0, 2, id, 0])
        );
    }
}

#[domu_sdk::main]
fn main() {
    conformance::area("va_mapping");
    let place = Place { home: Frame::new(), data: Frame::new() };
    entries(&place);
    addresses(&place);
    flushes(&place);
    others(&place);
    conformance::done();
}
