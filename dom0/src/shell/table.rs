//! The table of the shell's commands: for parsing, `help` and completion.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

/// One row of `help`.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The command's word.
    pub name: &'static str,
    /// Its arguments.
    pub arguments: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// What kind of command it is.
    pub group: Group,
}

/// Commands that belong together: how `help` shows them, and who parses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// What one needs every day.
    Everyday,
    /// CPUs, memory and state of domains.
    Domains,
    /// Disks and interfaces.
    Devices,
    /// Saved domains.
    Images,
    /// Meant for scripts.
    Scripts,
}

impl Group {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Everyday, ""),
        (Self::Domains, "CPUs, memory and state of domains:\n"),
        (Self::Devices, "disks and interfaces:\n"),
        (Self::Images, "saved domains:\n"),
        (Self::Scripts, "for scripts:\n"),
    ];
}

const fn entry(name: &'static str, arguments: &'static str, summary: &'static str) -> Entry {
    Entry { name, arguments, summary, group: Group::Everyday }
}

const fn domains(name: &'static str, arguments: &'static str, summary: &'static str) -> Entry {
    Entry { name, arguments, summary, group: Group::Domains }
}

const fn devices(name: &'static str, arguments: &'static str, summary: &'static str) -> Entry {
    Entry { name, arguments, summary, group: Group::Devices }
}

const fn images(name: &'static str, arguments: &'static str, summary: &'static str) -> Entry {
    Entry { name, arguments, summary, group: Group::Images }
}

const fn scripted(name: &'static str, arguments: &'static str, summary: &'static str) -> Entry {
    Entry { name, arguments, summary, group: Group::Scripts }
}

/// All commands.
pub const ENTRIES: &[Entry] = &[
    entry("list", "[-l] [DOMAIN]", "domains with state, memory and CPU time; -l as JSON"),
    entry("top", "[COUNT] [SECONDS]", "who uses the CPUs, again and again; a key ends it"),
    entry("guests", "", "what create can start"),
    entry("create", "[-c] [--count N] GUEST", "build and start a guest, or GUEST-1 to GUEST-N; -c attaches"),
    entry("console", "DOMAIN", "attach to a guest's console; Ctrl-] leaves"),
    entry("log", "DOMAIN", "what a guest printed so far"),
    entry("pause", "DOMAIN", "stop a guest's CPUs"),
    entry("unpause", "DOMAIN", "let them run again"),
    entry("shutdown", "DOMAIN", "ask a guest to power off"),
    entry("reboot", "DOMAIN", "ask a guest to start again"),
    entry("destroy", "DOMAIN", "end a guest at once"),
    domains("rename", "DOMAIN NAME", "give a guest another name"),
    domains("vcpu-list", "[DOMAIN]", "virtual CPUs with state and CPU time"),
    domains("vcpu-set", "DOMAIN COUNT", "ask a guest to use this many of its CPUs"),
    domains("mem-set", "DOMAIN SIZE", "ask a guest to have this much memory; MiB, or with k, m, g"),
    domains("mem-max", "DOMAIN SIZE", "limit a guest's memory"),
    domains("sched-credit", "[-d DOMAIN [-w WEIGHT] [-c CAP]]", "shares of the CPUs; cap in % of one CPU"),
    devices("block-attach", "DOMAIN DISK", "give a guest a disk, such as ram:64M,xvdb,w"),
    devices("block-detach", "[--force] DOMAIN VDEV", "take a disk away"),
    devices("block-list", "[DOMAIN]", "disks, and what was done on them"),
    devices("network-attach", "DOMAIN [VIF]", "give a guest an interface, such as bridge=xenbr0"),
    devices("network-detach", "[--force] DOMAIN NUMBER|MAC", "take an interface away"),
    devices("network-list", "[DOMAIN]", "interfaces, and what went over them"),
    images("save", "DOMAIN [DISK:]NAME", "suspend a guest, keep it on a disk of the machine, and end it"),
    images("restore", "[DISK:]NAME", "let a saved guest go on"),
    images("images", "", "saved guests"),
    images("forget", "[DISK:]NAME", "remove a saved guest"),
    domains("trigger", "DOMAIN nmi [VCPU]", "send a non-maskable interrupt"),
    domains("context", "DOMAIN [VCPU]", "registers, instruction and stack of a paused or crashed guest"),
    domains("dump-core", "DOMAIN DISK", "write a guest's memory to a disk of the machine, such as vda"),
    domains("debug-keys", "KEYS", "have the hypervisor print what these keys stand for"),
    entry("store", "[PATH]", "show the xenstore below PATH"),
    entry("info", "", "hypervisor version, CPUs and memory"),
    entry("free", "", "free memory frames"),
    entry("dmesg", "", "the hypervisor's log"),
    entry("uptime", "", "time since Dom0 started"),
    entry("help", "[COMMAND]", "this list, or one command"),
    entry("poweroff", "", "shut the guests down, then the machine"),
    scripted("wait", "DOMAIN TEXT [SECONDS]", "until TEXT was printed by the guest"),
    scripted("send", "DOMAIN TEXT", "type TEXT and Enter into the guest's console"),
    scripted("expect-gone", "DOMAIN [SECONDS]", "until the guest no longer exists"),
    scripted("expect", "TEXT COMMAND...", "run a command that must say TEXT"),
    scripted("until", "TEXT COMMAND...", "run a command each second until it says TEXT"),
    scripted("expect-error", "TEXT COMMAND...", "run a command that must fail with TEXT in its message"),
    scripted(
        "churn",
        "GUEST N [MS]",
        "create and destroy N times, MS apart at most; every frame must come back",
    ),
    scripted("stopwatch", "", "nanoseconds since the last time"),
    scripted("sleep", "SECONDS", "wait"),
    scripted("echo", "TEXT...", "print TEXT"),
];

pub(super) fn unknown(name: &str) -> String {
    let near = ENTRIES.iter().map(|e| (distance(name, e.name), e.name)).min();
    match near {
        Some((steps, best)) if steps <= 2 => format!("unknown command {name}; did you mean {best}?"),
        _ => format!("unknown command {name}; type help for the list"),
    }
}

/// Edits that turn one word into the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = core::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let swap = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = swap.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The text of `help`.
pub fn help(topic: Option<&str>) -> Result<String, String> {
    let row = |e: &Entry| format!("  {:<40} {}\n", format!("{} {}", e.name, e.arguments), e.summary);
    if let Some(name) = topic {
        return ENTRIES.iter().find(|e| e.name == name).map(row).ok_or_else(|| unknown(name));
    }
    let mut text = String::new();
    for (group, title) in Group::ALL {
        text += title;
        text.extend(ENTRIES.iter().filter(|e| e.group == group).map(row));
    }
    Ok(text + "DOMAIN is a name or a number. Tab completes, arrow up recalls.\n")
}

/// What could stand at the end of this line: commands first, then guests or domains.
pub fn candidates(line: &str, guests: &[String], domains: &[String]) -> Vec<String> {
    let part = line.rsplit(';').next().unwrap_or("").trim_start();
    let Some((first, _)) = part.split_once(' ') else {
        return ENTRIES.iter().map(|e| e.name.to_string()).collect();
    };
    match ENTRIES.iter().find(|e| e.name == first).map_or("", |e| e.arguments) {
        arguments if arguments.contains("GUEST") => guests.to_vec(),
        arguments if arguments.contains("DOMAIN") => domains.to_vec(),
        "[COMMAND]" => ENTRIES.iter().map(|e| e.name.to_string()).collect(),
        _ => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completion_knows_places() {
        let (guests, domains) = (["hello".to_string()], ["grub".to_string()]);
        assert!(candidates("cr", &guests, &domains).contains(&"create".to_string()));
        assert_eq!(candidates("create ", &guests, &domains), guests);
        assert_eq!(candidates("list; console g", &guests, &domains), domains);
        assert_eq!(candidates("sched-credit -d ", &guests, &domains), domains);
    }

    #[test]
    fn help_has_every_command_once() {
        let text = help(None).unwrap();
        for entry in ENTRIES {
            let row = format!("  {} ", entry.name);
            assert_eq!(text.lines().filter(|l| l.starts_with(&row)).count(), 1, "{}", entry.name);
        }
    }
}
