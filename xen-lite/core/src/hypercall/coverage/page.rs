//! The page itself: `docs/abi-coverage.md`.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use super::{State, Sub, left_out, ops};
use crate::hypercall::Row;
use crate::platform::Platform;

/// What stands above the tables.
const HEAD: &str = "# What xen-lite supports of Xen's public interface\n\n\
<!-- Made from the hypercall table. To renew it: XEN_LITE_BLESS=1 cargo test -p xen-lite-core --test coverage -->\n\n\
The public headers are those of Xen 4.17. Every hypercall and every sub-operation that they name is listed.\n\n\
| state | meaning |\n\
|---|---|\n\
| full | as the header says |\n\
| partial | the common part; the reason names what is missing |\n\
| refused | answered on purpose with the error that upstream gives where the feature is absent |\n\
| - | left out for the reason given: `-ENOSYS` |\n";

/// A row without what depends on the platform.
struct Call {
    number: u64,
    name: &'static str,
    implemented: bool,
    subs: &'static [Sub],
}

/// The whole page, from the hypercall table.
pub fn page<P: Platform>(rows: &[Row<P>]) -> String {
    let calls: Vec<Call> = (0..).zip(rows).filter_map(|(number, row)| call(number, row)).collect();
    let mut out = String::from(HEAD);
    out.push_str("\n## Hypercalls\n\n| number | hypercall | state | |\n|--:|---|---|---|\n");
    for call in &calls {
        let why = if summary(call) != "-" {
            ""
        } else if ops(call.number).is_empty() {
            left_out::whole(call.number)
        } else {
            left_out::reason(call.number, 0).unwrap_or("")
        };
        line(&mut out, format_args!("| {} | {} | {} | {why} |", call.number, call.name, summary(call)));
    }
    for call in calls.iter().filter(|call| !ops(call.number).is_empty()) {
        section(&mut out, call);
    }
    out
}

fn call<P: Platform>(number: u64, row: &Row<P>) -> Option<Call> {
    let implemented = !row.name.is_empty();
    let name = if implemented { row.name } else { abi::xen::hypercall::name(number)? };
    Some(Call { number, name, implemented, subs: row.subs })
}

/// One cell: what is there of a hypercall.
fn summary(call: &Call) -> String {
    let all = ops(call.number).len();
    if !call.implemented || (all != 0 && call.subs.is_empty()) {
        return String::from("-");
    }
    if all == 0 {
        return String::from("full");
    }
    let count = |wanted: fn(&State) -> bool| call.subs.iter().filter(|sub| wanted(&sub.state)).count();
    let mut text = String::new();
    for (count, word) in [
        (count(|state| matches!(state, State::Full)), "full"),
        (count(|state| matches!(state, State::Partial(_))), "partial"),
        (count(|state| matches!(state, State::Refused(_))), "refused"),
    ] {
        if count != 0 {
            let comma = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{comma}{count} {word}");
        }
    }
    let _ = write!(text, " of {all}");
    text
}

fn section(out: &mut String, call: &Call) {
    line(out, format_args!("\n## {} ({})\n", call.name, call.number));
    out.push_str("| number | operation | state | |\n|--:|---|---|---|\n");
    for (number, name) in ops(call.number) {
        let state = call.subs.iter().find(|sub| sub.number == *number).map(|sub| sub.state);
        let (word, why) = match state {
            None => ("-", left_out::reason(call.number, *number).unwrap_or("")),
            Some(State::Full) => ("full", ""),
            Some(State::Partial(missing)) => ("partial", missing),
            Some(State::Refused(why)) => ("refused", why),
        };
        line(out, format_args!("| {number} | {name} | {word} | {why} |"));
    }
}

fn line(out: &mut String, text: core::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{text}");
}
