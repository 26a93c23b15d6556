//! The shell's commands: one table for parsing, `help` and completion.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

/// What a line asks for. `domain` fields hold a name or a number as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the arguments that the table below describes")]
pub enum Command {
    List,
    Create { guest: String, attach: bool, count: u32 },
    Console { domain: String },
    Pause { domain: String },
    Unpause { domain: String },
    Shutdown { domain: String },
    Destroy { domain: String },
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
    Churn { guest: String, count: u32, life: u64 },
    Sleep { seconds: u64 },
    Echo { text: String },
}

/// One row of `help`.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The command's word.
    pub name: &'static str,
    /// Its arguments.
    pub arguments: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// Meant for scripts: not in the short list.
    pub for_scripts: bool,
}

const fn entry(name: &'static str, arguments: &'static str, summary: &'static str) -> Entry {
    Entry { name, arguments, summary, for_scripts: false }
}

const fn scripted(name: &'static str, arguments: &'static str, summary: &'static str) -> Entry {
    Entry { name, arguments, summary, for_scripts: true }
}

/// All commands.
pub const ENTRIES: [Entry; 23] = [
    entry("list", "", "domains with state, memory and CPU time"),
    entry("guests", "", "what create can start"),
    entry("create", "[-c] [--count N] GUEST", "build and start a guest; -c attaches its console"),
    entry("console", "DOMAIN", "attach to a guest's console; Ctrl-] leaves"),
    entry("log", "DOMAIN", "what a guest printed so far"),
    entry("pause", "DOMAIN", "stop a guest's CPUs"),
    entry("unpause", "DOMAIN", "let them run again"),
    entry("shutdown", "DOMAIN", "ask a guest to power off"),
    entry("destroy", "DOMAIN", "end a guest at once"),
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
    scripted("expect-error", "TEXT COMMAND...", "run a command that must fail with TEXT in its message"),
    scripted(
        "churn",
        "GUEST N [MS]",
        "create and destroy N times, MS apart at most; every frame must come back",
    ),
    scripted("sleep", "SECONDS", "wait"),
    scripted("echo", "TEXT...", "print TEXT"),
];

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
        other => other,
    };
    let Some(entry) = ENTRIES.iter().find(|e| e.name == canonical) else { return Err(unknown(name)) };
    let command = build(entry, &Arguments { entry, words: rest })?;
    Ok(Some(command))
}

fn build(entry: &Entry, arguments: &Arguments<'_>) -> Result<Command, String> {
    let domain = || arguments.one().map(String::from);
    Ok(match entry.name {
        "create" => return create(arguments),
        "console" => Command::Console { domain: domain()? },
        "log" => Command::Log { domain: domain()? },
        "pause" => Command::Pause { domain: domain()? },
        "unpause" => Command::Unpause { domain: domain()? },
        "shutdown" => Command::Shutdown { domain: domain()? },
        "destroy" => Command::Destroy { domain: domain()? },
        "store" => {
            let path = arguments.between(0, 1)?.first().map_or("/", String::as_str);
            Command::Store { path: path.to_string() }
        }
        "help" => Command::Help { topic: arguments.between(0, 1)?.first().cloned() },
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
            let words = arguments.between(2, usize::MAX)?;
            let command = parse_words(&words[1..])?.ok_or_else(|| arguments.usage())?;
            Command::ExpectError { command: command.into(), text: words[0].clone() }
        }
        "churn" => {
            let words = arguments.between(2, 3)?;
            let (count, life) = (arguments.number(&words[1])? as u32, arguments.optional(2, 0)?);
            Command::Churn { guest: words[0].clone(), count, life }
        }
        "sleep" => Command::Sleep { seconds: arguments.number(arguments.one()?)? },
        "echo" => Command::Echo { text: arguments.words.join(" ") },
        plain => {
            arguments.between(0, 0)?;
            match plain {
                "list" => Command::List,
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

fn create(arguments: &Arguments<'_>) -> Result<Command, String> {
    let (mut guest, mut attach, mut count) = (None, false, 1);
    let mut words = arguments.words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-c" => attach = true,
            "--count" => {
                let number = words.next().ok_or_else(|| arguments.usage())?;
                count = arguments.number(number)?.clamp(1, 1000) as u32;
            }
            option if option.starts_with('-') => {
                return Err(format!("unknown option {option}; {}", arguments.usage()));
            }
            _ if guest.is_none() => guest = Some(word.clone()),
            _ => return Err(arguments.usage()),
        }
    }
    let guest = guest.ok_or_else(|| format!("{}; type guests to see what there is", arguments.usage()))?;
    Ok(Command::Create { guest, attach, count })
}

struct Arguments<'a> {
    entry: &'a Entry,
    words: &'a [String],
}

impl Arguments<'_> {
    fn usage(&self) -> String {
        format!("usage: {} {}", self.entry.name, self.entry.arguments).trim_end().to_string()
    }

    fn between(&self, least: usize, most: usize) -> Result<&[String], String> {
        if (least..=most).contains(&self.words.len()) { Ok(self.words) } else { Err(self.usage()) }
    }

    fn one(&self) -> Result<&str, String> {
        Ok(&self.between(1, 1)?[0])
    }

    fn number(&self, word: &str) -> Result<u64, String> {
        word.parse().map_err(|_| format!("{word:?} is no number; {}", self.usage()))
    }

    fn optional(&self, index: usize, default: u64) -> Result<u64, String> {
        self.words.get(index).map_or(Ok(default), |word| self.number(word))
    }
}

fn unknown(name: &str) -> String {
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
    let row = |e: &Entry| format!("  {:<34} {}\n", format!("{} {}", e.name, e.arguments), e.summary);
    match topic {
        Some(name) => ENTRIES.iter().find(|e| e.name == name).map(row).ok_or_else(|| unknown(name)),
        None => {
            let part = |scripts| {
                ENTRIES.iter().filter(move |e| e.for_scripts == scripts).map(row).collect::<String>()
            };
            Ok(format!(
                "{}for scripts:\n{}DOMAIN is a name or a number. Tab completes, arrow up recalls.\n",
                part(false),
                part(true)
            ))
        }
    }
}

/// What could stand at the end of this line: commands first, then guests or domains.
pub fn candidates(line: &str, guests: &[String], domains: &[String]) -> Vec<String> {
    let part = line.rsplit(';').next().unwrap_or("").trim_start();
    let Some((first, _)) = part.split_once(' ') else {
        return ENTRIES.iter().map(|e| e.name.to_string()).collect();
    };
    match ENTRIES.iter().find(|e| e.name == first).map_or("", |e| e.arguments) {
        arguments if arguments.contains("GUEST") => guests.to_vec(),
        arguments if arguments.starts_with("DOMAIN") => domains.to_vec(),
        "[COMMAND]" => ENTRIES.iter().map(|e| e.name.to_string()).collect(),
        _ => vec![],
    }
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
        assert_eq!(parse("ls"), Ok(Some(Command::List)));
        let create =
            |guest: &str, attach, count| Ok(Some(Command::Create { guest: guest.into(), attach, count }));
        assert_eq!(parse("create -c hello"), create("hello", true, 1));
        assert_eq!(parse("create hello --count 200"), create("hello", false, 200));
        let wait = Command::Wait { domain: "h".into(), text: "x y".into(), seconds: 5 };
        assert_eq!(parse("wait h 'x y' 5"), Ok(Some(wait)));
        let inner = alloc::boxed::Box::new(Command::Pause { domain: "q".into() });
        let expect = Command::ExpectError { command: inner, text: "no such".into() };
        assert_eq!(parse("expect-error 'no such' pause q"), Ok(Some(expect)));
    }

    #[test]
    fn refusals_say_what_to_type() {
        let error = |text: &str| parse(text).unwrap_err();
        assert_eq!(error("lst"), "unknown command lst; did you mean list?");
        assert_eq!(error("frobnicate"), "unknown command frobnicate; type help for the list");
        assert_eq!(error("pause"), "usage: pause DOMAIN");
        assert_eq!(error("list 3"), "usage: list");
        assert!(error("create").starts_with("usage: create [-c] [--count N] GUEST; type guests"));
        assert_eq!(error("create -x a"), "unknown option -x; usage: create [-c] [--count N] GUEST");
        assert_eq!(error("sleep x"), "\"x\" is no number; usage: sleep SECONDS");
    }

    #[test]
    fn every_entry_parses_or_shows_its_usage() {
        for entry in ENTRIES {
            match parse(entry.name) {
                Ok(Some(_)) => {}
                other => assert!(other.unwrap_err().contains(entry.name)),
            }
            assert!(help(Some(entry.name)).unwrap().contains(entry.summary));
        }
    }

    #[test]
    fn completion_knows_places() {
        let (guests, domains) = (["hello".to_string()], ["grub".to_string()]);
        assert!(candidates("cr", &guests, &domains).contains(&"create".to_string()));
        assert_eq!(candidates("create ", &guests, &domains), guests);
        assert_eq!(candidates("list; console g", &guests, &domains), domains);
    }
}
