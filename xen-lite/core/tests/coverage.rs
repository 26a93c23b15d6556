//! `docs/abi-coverage.md` is what the hypercall table says.

use std::path::Path;

use xen_lite_core::hypercall::coverage::{left_out, ops, page};
use xen_lite_core::hypercall::{NUMBERS, Table};
use xen_lite_core::world::World;

const RENEW: &str = "XEN_LITE_BLESS=1 cargo test -p xen-lite-core --test coverage";

#[test]
fn the_page_is_what_the_table_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/abi-coverage.md");
    let now = page::page(&Table::<World>::ROWS);
    if std::env::var_os("XEN_LITE_BLESS").is_some() {
        std::fs::write(&file, &now).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = now.lines().zip(written.lines()).find(|(now, written)| now != written);
    assert!(
        now == written,
        "docs/abi-coverage.md is out of date, first at {differs:?}; renew it with: {RENEW}"
    );
}

#[test]
fn what_a_shim_answers_is_in_the_headers_under_the_same_name() {
    for (number, row) in (0..).zip(&Table::<World>::ROWS) {
        let all = ops(number);
        let claims = if all.is_empty() { &[] } else { row.subs };
        for sub in claims {
            assert!(
                all.contains(&(sub.number, sub.name)),
                "{}: {} ({}) is not in the public header",
                row.name,
                sub.name,
                sub.number
            );
        }
    }
}

#[test]
fn what_is_not_answered_is_left_out_for_a_reason() {
    for (number, row) in (0..).zip(&Table::<World>::ROWS) {
        for (sub, name) in ops(number) {
            let answered = row.subs.iter().any(|one| one.number == *sub);
            let reason = left_out::reason(number, *sub);
            assert!(
                answered != reason.is_some(),
                "{number}.{sub} {name}: answered {answered}, left out {reason:?}"
            );
        }
    }
}

#[test]
fn numbers_of_operations_are_in_order_and_unique() {
    for number in 0..NUMBERS as u64 {
        assert!(ops(number).is_sorted_by(|a, b| a.0 < b.0), "hypercall {number}");
    }
}
