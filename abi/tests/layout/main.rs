//! The crate against the C headers.
//!
//! A C program is compiled with `gcc` against the public headers (`libxen-dev`). Its static tables hold sizes, offsets and values,
//! and it prints them; the tests compare them with what Rust says. Two more tests look for gaps: everything that the crate
//! declares is in the lists here, and everything that the headers declare is in the crate.

#[macro_use]
mod macros;
mod c_side;
mod consts;
mod gaps;
mod structs;

use c_side::{Const, Header, Struct, Text};

fn report(what: &str, checked: usize, wrong: &[String]) {
    assert!(checked > 0, "no {what} were compared");
    assert!(wrong.is_empty(), "{} of {checked} {what} differ:\n  {}", wrong.len(), wrong.join("\n  "));
}

#[test]
fn structures_are_laid_out_as_in_c() {
    let rows = structs::all();
    let c = c_side::ask(&rows.iter().flat_map(Struct::questions).collect::<Vec<_>>());
    let rust: Vec<(String, i64)> = rows.iter().flat_map(Struct::answers).collect();
    assert_eq!(c.len(), rust.len(), "the C program answered another number of questions");
    let wrong: Vec<String> = rust
        .iter()
        .zip(&c)
        .filter(|((_, ours), theirs)| ours != *theirs)
        .map(|((name, ours), theirs)| format!("{name}: {ours} in Rust, {theirs} in C"))
        .collect();
    report("sizes and offsets", rust.len(), &wrong);
}

#[test]
fn numbers_are_those_of_the_headers() {
    let rows = consts::numbers();
    let macros = Header::all_macros();
    let c = c_side::ask(
        &rows.iter().map(|row| format!("(long long)({})", row.c_name(&macros))).collect::<Vec<_>>(),
    );
    let wrong: Vec<String> = rows
        .iter()
        .zip(&c)
        .filter(|(row, theirs)| row.value != **theirs)
        .map(|(Const { header, name, value }, theirs)| {
            format!("{header}: {name}: {value:#x} in Rust, {theirs:#x} in C")
        })
        .collect();
    report("numbers", rows.len(), &wrong);
}

#[test]
fn strings_are_those_of_the_headers() {
    let rows = consts::texts();
    let macros = Header::all_macros();
    let wrong: Vec<String> = rows
        .iter()
        .filter(|Text { name, value, .. }| macros.get(*name).is_none_or(|c| c.trim_matches('"') != *value))
        .map(|Text { header, name, value }| {
            format!("{header}: {name}: {value:?} in Rust, {:?} in C", macros.get(*name))
        })
        .collect();
    report("strings", rows.len(), &wrong);
}

#[test]
fn rings_hold_as_many_slots_as_in_c() {
    use abi::io::{blkif, netif, ring};
    let rings = [
        ("blkif", blkif::SLOT_SIZE),
        ("netif_tx", netif::TX_SLOT_SIZE),
        ("netif_rx", netif::RX_SLOT_SIZE),
        ("xen_netif_ctrl", netif::CTRL_SLOT_SIZE),
    ];
    for (name, slot) in rings {
        let c = c_side::ask(&[
            format!("(long long)__CONST_RING_SIZE({name}, 4096)"),
            format!("sizeof(union {name}_sring_entry)"),
            format!("offsetof(struct {name}_sring, ring)"),
            format!("offsetof(struct {name}_sring, rsp_event)"),
        ]);
        let ours = [
            i64::from(ring::slots(4096, slot)),
            slot as i64,
            ring::RING_OFFSET as i64,
            core::mem::offset_of!(ring::Sring, rsp_event) as i64,
        ];
        assert_eq!(
            c, ours,
            "{name}: slots of a page, slot size, offset of the first slot, offset of rsp_event"
        );
    }
}
