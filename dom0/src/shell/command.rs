//! What a line of the shell asks for. Which commands there are is in the [`table`](super::table).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::arguments::Arguments;
use super::table::{self, ENTRIES, Group};

/// What a line asks for. `domain` fields hold a name or a number as typed; a missing one means all.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the arguments that the table below describes")]
pub enum Command {
    List { long: bool, domain: Option<String> },
    Top { count: Option<u32>, seconds: u64 },
    Create { guest: String, attach: bool, count: Option<u32> },
    Console { domain: String },
    Pause { domain: String },
    Unpause { domain: String },
    Shutdown { domain: String },
    Reboot { domain: String },
    Destroy { domain: String },
    Rename { domain: String, name: String },
    VcpuList { domain: Option<String> },
    VcpuSet { domain: String, count: u32 },
    MemSet { domain: String, kib: u64 },
    MemMax { domain: String, kib: u64 },
    SchedCredit { domain: Option<String>, weight: Option<u16>, cap: Option<u16> },
    BlockAttach { domain: String, disk: String },
    BlockDetach { domain: String, vdev: String, force: bool },
    BlockList { domain: Option<String> },
    NetworkAttach { domain: String, vif: String },
    NetworkDetach { domain: String, vif: String, force: bool },
    NetworkList { domain: Option<String> },
    Save { domain: String, file: String },
    Restore { file: String },
    Images,
    Forget { file: String },
    Trigger { domain: String, vcpu: u32 },
    Context { domain: String, vcpu: u32 },
    DumpCore { domain: String, disk: String },
    DebugKeys { keys: String },
    Log { domain: String },
    Info,
    Dmesg,
    Uptime,
    Free,
    Guests,
    Store { path: String },
    Help { topic: Option<String> },
    Poweroff,
    Wait { domain: String, text: String, seconds: u64 },
    Send { domain: String, text: String },
    ExpectGone { domain: String, seconds: u64 },
    ExpectError { command: alloc::boxed::Box<Command>, text: String },
    Expect { command: alloc::boxed::Box<Command>, text: String },
    Churn { guest: String, count: u32, life: u64 },
    Until { command: alloc::boxed::Box<Command>, text: String },
    Sleep { seconds: u64 },
    Stopwatch,
    Echo { text: String },
}

/// Most domains that one `create` starts.
const COUNT_MAX: u32 = 1000;

/// Seconds that `wait` and `expect-gone` allow unless told otherwise.
pub const PATIENCE: u64 = 60;

/// Splits a line at `;` and newlines, except in quotes; comments and empty parts are dropped.
pub fn split_lines(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut quote, mut comment) = (vec![], String::new(), None, false);
    for c in text.chars() {
        match (c, quote) {
            ('\n', None) => comment = false,
            _ if comment => continue,
            ('#', None) if part.trim().is_empty() => comment = true,
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(q)) if c == q => quote = None,
            _ => {}
        }
        if quote.is_none() && (c == ';' || c == '\n') {
            parts.push(core::mem::take(&mut part));
        } else if !comment {
            part.push(c);
        }
    }
    parts.push(part);
    parts.into_iter().map(|p| p.trim().to_string()).filter(|p| !p.is_empty()).collect()
}

/// Splits a command into words; quotes keep blanks.
pub fn words(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (vec![], None::<String>, None);
    for c in text.chars() {
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    if let Some(quote) = quote {
        return Err(format!("a closing {quote} is missing"));
    }
    words.extend(word);
    Ok(words)
}

/// Parses one command. `Ok(None)` for an empty line; errors say what to type instead.
pub fn parse(text: &str) -> Result<Option<Command>, String> {
    let words = words(text)?;
    parse_words(&words)
}

fn parse_words(words: &[String]) -> Result<Option<Command>, String> {
    let Some((name, rest)) = words.split_first() else { return Ok(None) };
    let canonical = match name.as_str() {
        "ls" => "list",
        "?" => "help",
        "exit" | "quit" | "halt" => "poweroff",
        "xenstore-ls" => "store",
        "sched-credit2" => "sched-credit",
        other => other,
    };
    let Some(entry) = ENTRIES.iter().find(|e| e.name == canonical) else { return Err(table::unknown(name)) };
    let arguments = Arguments { entry, words: rest };
    let command = match entry.group {
        Group::Everyday => everyday(&arguments)?,
        Group::Domains => administration(&arguments)?,
        Group::Devices => devices(&arguments)?,
        Group::Images => images(&arguments)?,
        Group::Scripts => scripts(&arguments)?,
    };
    Ok(Some(command))
}

fn everyday(arguments: &Arguments<'_>) -> Result<Command, String> {
    let domain = || arguments.one().map(String::from);
    Ok(match arguments.entry.name {
        "list" => {
            let (words, options) = arguments.with_options(&[("-l", false)], 0, 1)?;
            Command::List { long: !options.is_empty(), domain: words.first().map(ToString::to_string) }
        }
        "top" => {
            let words = arguments.between(0, 2)?;
            let count = words.first().map(|word| arguments.number(word)).transpose()?;
            Command::Top { count, seconds: arguments.optional(1, 1)?.max(1) }
        }
        "create" => return create(arguments),
        "console" => Command::Console { domain: domain()? },
        "log" => Command::Log { domain: domain()? },
        "pause" => Command::Pause { domain: domain()? },
        "unpause" => Command::Unpause { domain: domain()? },
        "shutdown" => Command::Shutdown { domain: domain()? },
        "reboot" => Command::Reboot { domain: domain()? },
        "destroy" => Command::Destroy { domain: domain()? },
        "store" => {
            let path = arguments.between(0, 1)?.first().map_or("/", String::as_str);
            Command::Store { path: path.to_string() }
        }
        "help" => Command::Help { topic: arguments.between(0, 1)?.first().cloned() },
        plain => {
            arguments.between(0, 0)?;
            match plain {
                "guests" => Command::Guests,
                "info" => Command::Info,
                "free" => Command::Free,
                "dmesg" => Command::Dmesg,
                "uptime" => Command::Uptime,
                _ => Command::Poweroff,
            }
        }
    })
}

fn administration(arguments: &Arguments<'_>) -> Result<Command, String> {
    let two = || arguments.between(2, 2).map(|words| (words[0].clone(), words[1].as_str()));
    Ok(match arguments.entry.name {
        "rename" => {
            let (domain, name) = two()?;
            Command::Rename { domain, name: name.to_string() }
        }
        "vcpu-list" => Command::VcpuList { domain: arguments.between(0, 1)?.first().cloned() },
        "vcpu-set" => {
            let (domain, count) = two()?;
            Command::VcpuSet { domain, count: arguments.number(count)? }
        }
        "mem-set" => {
            let (domain, size) = two()?;
            Command::MemSet { domain, kib: arguments.kib(size)? }
        }
        "mem-max" => {
            let (domain, size) = two()?;
            Command::MemMax { domain, kib: arguments.kib(size)? }
        }
        "sched-credit" => return sched_credit(arguments),
        "trigger" => {
            let words = arguments.between(2, 3)?;
            if words[1] != "nmi" {
                return Err(format!("{:?} is nothing a PV guest can be sent; use nmi", words[1]));
            }
            Command::Trigger { domain: words[0].clone(), vcpu: arguments.optional(2, 0)? }
        }
        "context" => {
            let words = arguments.between(1, 2)?;
            Command::Context { domain: words[0].clone(), vcpu: arguments.optional(1, 0)? }
        }
        "dump-core" => {
            let (domain, disk) = two()?;
            Command::DumpCore { domain, disk: disk.to_string() }
        }
        _ => Command::DebugKeys { keys: arguments.one()?.to_string() },
    })
}

fn devices(arguments: &Arguments<'_>) -> Result<Command, String> {
    let detached = || {
        let (words, options) = arguments.with_options(&[("--force", false)], 2, 2)?;
        Ok::<_, String>((words[0].to_string(), words[1].to_string(), !options.is_empty()))
    };
    let all_or_one = || arguments.between(0, 1).map(|words| words.first().cloned());
    // Parts of a description may be words of their own, as for `xl`.
    let described = |least| {
        let words = arguments.between(least, usize::MAX)?;
        Ok::<_, String>((words[0].clone(), words[1..].join(",")))
    };
    Ok(match arguments.entry.name {
        "block-attach" => {
            let (domain, disk) = described(2)?;
            Command::BlockAttach { domain, disk }
        }
        "block-detach" => {
            let (domain, vdev, force) = detached()?;
            Command::BlockDetach { domain, vdev, force }
        }
        "block-list" => Command::BlockList { domain: all_or_one()? },
        "network-attach" => {
            let (domain, vif) = described(1)?;
            Command::NetworkAttach { domain, vif }
        }
        "network-detach" => {
            let (domain, vif, force) = detached()?;
            Command::NetworkDetach { domain, vif, force }
        }
        _ => Command::NetworkList { domain: all_or_one()? },
    })
}

fn images(arguments: &Arguments<'_>) -> Result<Command, String> {
    Ok(match arguments.entry.name {
        "save" => {
            let words = arguments.between(2, 2)?;
            Command::Save { domain: words[0].clone(), file: words[1].clone() }
        }
        "restore" => Command::Restore { file: arguments.one()?.to_string() },
        "forget" => Command::Forget { file: arguments.one()?.to_string() },
        _ => {
            arguments.between(0, 0)?;
            Command::Images
        }
    })
}

fn scripts(arguments: &Arguments<'_>) -> Result<Command, String> {
    let inner = || {
        let words = arguments.between(2, usize::MAX)?;
        let command = parse_words(&words[1..])?.ok_or_else(|| arguments.usage())?;
        Ok::<_, String>((alloc::boxed::Box::new(command), words[0].clone()))
    };
    Ok(match arguments.entry.name {
        "wait" => {
            let words = arguments.between(2, 3)?;
            let seconds = arguments.optional(2, PATIENCE)?;
            Command::Wait { domain: words[0].clone(), text: words[1].clone(), seconds }
        }
        "send" => {
            let words = arguments.between(2, 2)?;
            Command::Send { domain: words[0].clone(), text: words[1].clone() }
        }
        "expect-gone" => {
            let words = arguments.between(1, 2)?;
            Command::ExpectGone { domain: words[0].clone(), seconds: arguments.optional(1, PATIENCE)? }
        }
        "expect-error" => {
            let (command, text) = inner()?;
            Command::ExpectError { command, text }
        }
        "expect" => {
            let (command, text) = inner()?;
            Command::Expect { command, text }
        }
        "until" => {
            let (command, text) = inner()?;
            Command::Until { command, text }
        }
        "stopwatch" => {
            arguments.between(0, 0)?;
            Command::Stopwatch
        }
        "churn" => {
            let words = arguments.between(2, 3)?;
            let (count, life) = (arguments.number(&words[1])?, arguments.optional(2, 0)?);
            Command::Churn { guest: words[0].clone(), count, life }
        }
        "sleep" => Command::Sleep { seconds: arguments.number(arguments.one()?)? },
        _ => Command::Echo { text: arguments.words.join(" ") },
    })
}

fn create(arguments: &Arguments<'_>) -> Result<Command, String> {
    let (words, options) = arguments.with_options(&[("-c", false), ("--count", true)], 0, 1)?;
    let Some(guest) = words.first() else {
        return Err(format!("{}; type guests to see what there is", arguments.usage()));
    };
    let attach = options.iter().any(|(name, _)| *name == "-c");
    let count = options.iter().find(|(name, _)| *name == "--count");
    let count = count.map(|(_, number)| arguments.number(number)).transpose()?;
    if let Some(wrong) = count.filter(|count| !(1..=COUNT_MAX).contains(count)) {
        return Err(format!("--count {wrong}: from 1 to {COUNT_MAX}"));
    }
    Ok(Command::Create { guest: guest.to_string(), attach, count })
}

fn sched_credit(arguments: &Arguments<'_>) -> Result<Command, String> {
    let (_, options) = arguments.with_options(&[("-d", true), ("-w", true), ("-c", true)], 0, 0)?;
    let find = |wanted| options.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
    let number = |wanted| find(wanted).map(|value| arguments.number(value)).transpose();
    let (domain, weight, cap) = (find("-d").map(ToString::to_string), number("-w")?, number("-c")?);
    if domain.is_none() && (weight.is_some() || cap.is_some()) {
        return Err(format!("which domain? {}", arguments.usage()));
    }
    Ok(Command::SchedCredit { domain, weight, cap })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_words() {
        assert_eq!(split_lines("a; b 'x;y' ;# note; c\n d #e"), ["a", "b 'x;y'", "d #e"]);
        assert_eq!(
            words("wait hello 'a b' \"\""),
            Ok(["wait", "hello", "a b", ""].map(String::from).to_vec())
        );
        assert_eq!(words("send x 'abc"), Err("a closing ' is missing".to_string()));
    }

    #[test]
    fn commands() {
        assert_eq!(parse("  "), Ok(None));
        assert_eq!(parse("ls"), Ok(Some(Command::List { long: false, domain: None })));
        let create =
            |guest: &str, attach, count| Ok(Some(Command::Create { guest: guest.into(), attach, count }));
        assert_eq!(parse("create -c hello"), create("hello", true, None));
        assert_eq!(parse("create hello --count 200"), create("hello", false, Some(200)));
        let wait = Command::Wait { domain: "h".into(), text: "x y".into(), seconds: 5 };
        assert_eq!(parse("wait h 'x y' 5"), Ok(Some(wait)));
        let inner = alloc::boxed::Box::new(Command::Pause { domain: "q".into() });
        let expect = Command::ExpectError { command: inner, text: "no such".into() };
        assert_eq!(parse("expect-error 'no such' pause q"), Ok(Some(expect)));
    }

    #[test]
    fn options_and_amounts() {
        let credit = Command::SchedCredit { domain: Some("a".into()), weight: Some(512), cap: None };
        assert_eq!(parse("sched-credit -d a -w 512"), Ok(Some(credit)));
        let memory = |kib| Ok(Some(Command::MemSet { domain: "a".into(), kib }));
        assert_eq!(parse("mem-set a 32"), memory(32 << 10));
        assert_eq!(parse("mem-set a 2048k"), memory(2048));
        assert_eq!(parse("mem-set a 1G"), memory(1 << 20));
        let disk = Command::BlockAttach { domain: "a".into(), disk: "ram:1M,xvdb,w".into() };
        assert_eq!(parse("block-attach a ram:1M xvdb w"), Ok(Some(disk)));
        let gone = Command::NetworkDetach { domain: "a".into(), vif: "0".into(), force: true };
        assert_eq!(parse("network-detach a --force 0"), Ok(Some(gone)));
        assert_eq!(parse("top 2"), Ok(Some(Command::Top { count: Some(2), seconds: 1 })));
    }

    #[test]
    fn refusals_say_what_to_type() {
        let error = |text: &str| parse(text).unwrap_err();
        assert_eq!(error("lst"), "unknown command lst; did you mean list?");
        assert_eq!(error("frobnicate"), "unknown command frobnicate; type help for the list");
        assert_eq!(error("pause"), "usage: pause DOMAIN");
        assert_eq!(error("uptime 3"), "usage: uptime");
        assert!(error("create").starts_with("usage: create [-c] [--count N] GUEST; type guests"));
        assert_eq!(error("create -x a"), "unknown option -x; usage: create [-c] [--count N] GUEST");
        assert_eq!(error("create --count"), "--count needs a value; usage: create [-c] [--count N] GUEST");
        assert_eq!(error("create --count 0 a"), "--count 0: from 1 to 1000");
        assert!(error("sched-credit -w 3").starts_with("which domain? usage: sched-credit"));
        assert!(error("sched-credit -d a -w 70000").starts_with("\"70000\" is no number that fits"));
        assert!(error("mem-set a 3x").starts_with("\"3x\" is no amount of memory"));
        assert!(error("trigger a power").ends_with("use nmi"));
        assert_eq!(error("sleep x"), "\"x\" is no number that fits; usage: sleep SECONDS");
    }

    #[test]
    fn every_entry_parses_or_shows_its_usage() {
        for entry in ENTRIES {
            match parse(entry.name) {
                Ok(Some(_)) => {}
                other => assert!(other.unwrap_err().contains(entry.name)),
            }
            assert!(table::help(Some(entry.name)).unwrap().contains(entry.summary));
        }
    }
}
