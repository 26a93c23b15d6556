//! Whether the suite asks for everything that `docs/abi-coverage.md` lists.
//!
//! The kernels print which sub-operations they called and how each was answered: `SEEN 24 0+- 3+`, carried out and refused.
//! A claim of the page is held against that:
//!
//! | the page says | it was seen |
//! |---|---|
//! | full, partial | to work, and to be refused unless [`NEVER_REFUSED`] has it |
//! | refused, `-` | to be refused |
//!
//! What cannot be seen this way is in [`ELSEWHERE`], with the rows that show it.

use std::collections::BTreeMap;

/// Where the claims are, seen from the workspace.
pub const PAGE: &str = "docs/abi-coverage.md";

/// Hypercall and sub-operation; 0 for a hypercall that does one thing.
type Key = (u64, u64);

/// Calls that do not come back to the kernel that makes them; with the rows about them.
const ELSEWHERE: &[(Key, &str)] = &[
    ((23, 0), "`iret.*`: there is no answer, but another place to go on"),
    ((29, 2), "`events-shutdown-*.end`: nothing comes back"),
    ((29, 5), "`events-shutdown-*.code`: their kernels end before they could tell"),
];

/// Calls that cannot be seen to work, because the machine is off then.
const THE_END: &[Key] = &[(7, 51)];

/// Calls for which no argument is wrong, with the reason.
const NEVER_REFUSED: &[(Key, &str)] = &[
    ((3, 0), "stack_switch: any stack will do until it is used"),
    ((4, 0), "set_callbacks: an address that cannot be is left out"),
    ((5, 0), "fpu_taskswitch: a number is true or false"),
    ((15, 0), "set_timer_op: any time is fine"),
    ((7, 17), "XENPF_settime32: any date is fine"),
    ((7, 48), "XENPF_get_cpu_version says of a CPU that is not there that it is not"),
    ((7, 55), "XENPF_get_cpuinfo, the same"),
    ((12, 0), "XENMEM_increase_reservation tells how many, none if it must"),
    ((12, 1), "XENMEM_decrease_reservation, the same"),
    ((12, 6), "XENMEM_populate_physmap, the same"),
    ((17, 0), "XENVER_version takes no pointer"),
    ((25, 3), "SEGBASE_GS_USER_SEL: what is no selector is the null selector"),
    ((28, 1), "XENNMI_unregister_callback takes nothing"),
    ((29, 0), "SCHEDOP_yield takes nothing"),
    ((29, 1), "SCHEDOP_block takes nothing"),
    ((33, 4), "PHYSDEVOP_IRQ_UNMASK_NOTIFY takes nothing"),
    ((35, 4), "XEN_SYSCTL_sched_id takes nothing"),
    ((35, 9), "XEN_SYSCTL_availheap finds nothing on a node that is not there"),
];

/// How a sub-operation was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    worked: bool,
    refused: bool,
}

/// What the kernels of the suite called.
#[derive(Debug, Default)]
pub struct Seen(BTreeMap<Key, Answers>);

impl Seen {
    /// Takes the lines of a transcript over.
    pub fn add(&mut self, transcript: &str) {
        for line in transcript.lines() {
            let Some((_, seen)) = line.split_once("SEEN ") else { continue };
            let mut words = seen.split_whitespace();
            let Some(Ok(call)) = words.next().map(str::parse) else { continue };
            for word in words {
                let Ok(sub) = word.trim_end_matches(['+', '-']).parse() else { continue };
                let answers = self.0.entry((call, sub)).or_default();
                answers.worked |= word.contains('+');
                answers.refused |= word.contains('-');
            }
        }
    }
}

/// A line of the page.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    key: Key,
    name: String,
    state: String,
}

/// The claims of the page: one for each sub-operation, and one for each hypercall without any.
fn claims(page: &str) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut section = None;
    for line in page.lines() {
        if let Some(head) = line.strip_prefix("## ") {
            let number =
                head.rsplit_once('(').and_then(|(_, number)| number.trim_end_matches(')').parse().ok());
            section = number;
            continue;
        }
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [number, name, state, ..] = cells.as_slice() else { continue };
        let Ok(number) = number.parse::<u64>() else { continue };
        let key = section.map_or((number, 0), |call| (call, number));
        // A summary such as `4 full of 4` stands for a section.
        if section.is_some() || !state.contains(" of ") {
            claims.push(Claim { key, name: (*name).to_string(), state: (*state).to_string() });
        }
    }
    claims
}

/// What the page claims and the suite did not see, a line for each.
pub fn gaps(page: &str, seen: &Seen) -> Vec<String> {
    let listed = |list: &[(Key, &str)], key| list.iter().any(|(other, _)| *other == key);
    let mut gaps = Vec::new();
    for Claim { key, name, state } in claims(page) {
        if listed(ELSEWHERE, key) {
            continue;
        }
        let answers = seen.0.get(&key).copied().unwrap_or_default();
        let works = matches!(state.as_str(), "full" | "partial");
        if works && !answers.worked && !THE_END.contains(&key) {
            gaps.push(format!("{}.{} {name} is {state}, but no row shows it at work", key.0, key.1));
        }
        let never_refused = works && listed(NEVER_REFUSED, key);
        if !answers.refused && !never_refused {
            gaps.push(format!("{}.{} {name} is {state}, but no row shows it refused", key.0, key.1));
        }
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIMS: &str = "## Hypercalls\n\n| number | hypercall | state |\n|--:|---|---|\n| 2 | set_gdt | full |\n\
                          | 24 | vcpu_op | 1 full of 2 |\n\n## vcpu_op (24)\n\n| 0 | VCPUOP_initialise | full |  |\n\
                          | 1 | VCPUOP_up | refused | x |\n";

    #[test]
    fn every_claim_is_found() {
        let keys: Vec<Key> = claims(CLAIMS).into_iter().map(|claim| claim.key).collect();
        assert_eq!(keys, [(2, 0), (24, 0), (24, 1)]);
    }

    #[test]
    fn a_claim_must_have_been_seen() {
        let mut seen = Seen::default();
        seen.add("ROW a.b = 1\nSEEN 24 0+- 1-\n");
        assert_eq!(gaps(CLAIMS, &seen).len(), 2);
        seen.add("SEEN 2 0+\n");
        assert_eq!(gaps(CLAIMS, &seen), ["2.0 set_gdt is full, but no row shows it refused"]);
        seen.add("SEEN 2 0-\n");
        assert!(gaps(CLAIMS, &seen).is_empty());
    }
}
