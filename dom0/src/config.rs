//! Guest configuration files, in the syntax that `xl` reads: `key = value` lines.
//!
//! A value is a number (decimal, `0x…`), a string in single or double quotes, or a list `[ … ]` of those that may
//! span lines. `#` starts a comment, `;` may end a line. Keys that are known but not acted upon yet, and unknown keys, give a
//! warning with line and column; syntax errors and values of the wrong kind give an error.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::block::spec::Disk;
use crate::net::spec::Vif;

/// What to do when a domain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnEnd {
    /// Remove the domain.
    Destroy,
    /// Build it again.
    Restart,
    /// Keep it for inspection.
    Preserve,
    /// Keep it under another name, and build it again.
    RenameRestart,
    /// Write its memory to a disk of the machine, then remove it.
    CoredumpDestroy,
    /// Write its memory to a disk of the machine, then build it again.
    CoredumpRestart,
}

impl OnEnd {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Destroy,
        Self::Restart,
        Self::Preserve,
        Self::RenameRestart,
        Self::CoredumpDestroy,
        Self::CoredumpRestart,
    ];

    /// The word used in configuration files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Destroy => "destroy",
            Self::Restart => "restart",
            Self::Preserve => "preserve",
            Self::RenameRestart => "rename-restart",
            Self::CoredumpDestroy => "coredump-destroy",
            Self::CoredumpRestart => "coredump-restart",
        }
    }

    /// The action with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.word() == word)
    }
}

/// A guest as its file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Unique name.
    pub name: String,
    /// Kernel file.
    pub kernel: String,
    /// Initial RAM disk file.
    pub ramdisk: Option<String>,
    /// Kernel command line.
    pub cmdline: String,
    /// Memory in MiB.
    pub memory: u64,
    /// Memory limit in MiB; at least `memory`.
    pub maxmem: u64,
    /// Virtual CPUs that it is to use.
    pub vcpus: u32,
    /// Virtual CPUs that it has; at least `vcpus`.
    pub maxvcpus: u32,
    /// After a crash.
    pub on_crash: OnEnd,
    /// After its watchdog ended it.
    pub on_watchdog: OnEnd,
    /// After a reboot request.
    pub on_reboot: OnEnd,
    /// After an orderly shutdown.
    pub on_poweroff: OnEnd,
    /// Fixed UUID, if given.
    pub uuid: Option<[u8; 16]>,
    /// Disks.
    pub disks: Vec<Disk>,
    /// Network interfaces.
    pub vifs: Vec<Vif>,
}

/// A place in the file and what is to be said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What.
    pub text: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Number(u64),
    Text(String),
    /// Each with its place, as a remark without text.
    List(Vec<(Remark, Value)>),
}

const IGNORED: [&str; 10] = [
    "type",
    "builder",
    "bootloader",
    "cpus",
    "cpu_weight",
    "tsc_mode",
    "vfb",
    "pci",
    "localtime",
    "on_soft_reset",
];
const DEFAULT_MEMORY: u64 = 32;

/// Reads a guest's file. `fallback_name` is used if the file has no `name`.
pub fn parse(text: &str, fallback_name: &str) -> Result<(Guest, Vec<Remark>), Remark> {
    let mut parser = Parser { text, at: 0 };
    let mut draft = Draft { guest: Guest::new(fallback_name), memory_given: false, remarks: Vec::new() };
    draft.guest.maxmem = 0;
    while let Some((place, key)) = parser.key()? {
        let value_place = parser.equals()?;
        let value = parser.value()?;
        parser.end_of_setting()?;
        let remark = |at, text| parser.remark(at, text);
        draft.set(key, value, &|text| remark(place, text), &|text| remark(value_place, text))?;
    }
    let end = parser.remark(text.len(), String::new());
    draft.finish(end)
}

impl Guest {
    /// A guest with everything at its default and no kernel.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kernel: String::new(),
            ramdisk: None,
            cmdline: String::new(),
            memory: DEFAULT_MEMORY,
            maxmem: DEFAULT_MEMORY,
            vcpus: 1,
            maxvcpus: 1,
            on_crash: OnEnd::Destroy,
            on_watchdog: OnEnd::Destroy,
            on_reboot: OnEnd::Restart,
            on_poweroff: OnEnd::Destroy,
            uuid: None,
            disks: Vec::new(),
            vifs: Vec::new(),
        }
    }
}

struct Draft {
    guest: Guest,
    memory_given: bool,
    remarks: Vec<Remark>,
}

type At<'a> = &'a dyn Fn(String) -> Remark;

impl Draft {
    fn set(&mut self, key: &str, value: Value, at_key: At<'_>, at_value: At<'_>) -> Result<(), Remark> {
        let guest = &mut self.guest;
        match key {
            "name" => guest.name = name(value, at_value)?,
            "kernel" => guest.kernel = text(value, at_value)?,
            "ramdisk" => guest.ramdisk = Some(text(value, at_value)?),
            "cmdline" => guest.cmdline = text(value, at_value)?,
            "root" => append(&mut guest.cmdline, &format!("root={}", text(value, at_value)?)),
            "extra" => append(&mut guest.cmdline, &text(value, at_value)?),
            "memory" => {
                guest.memory = number(value, 1..=1 << 24, "memory in MiB", at_value)?;
                self.memory_given = true;
            }
            "maxmem" => guest.maxmem = number(value, 1..=1 << 24, "memory in MiB", at_value)?,
            "vcpus" => guest.vcpus = number(value, 1..=32, "a count of CPUs", at_value)? as u32,
            "maxvcpus" => guest.maxvcpus = number(value, 1..=32, "a count of CPUs", at_value)? as u32,
            "on_crash" => guest.on_crash = on_end(value, at_value)?,
            "on_watchdog" => guest.on_watchdog = on_end(value, at_value)?,
            "on_reboot" => guest.on_reboot = on_end(value, at_value)?,
            "on_poweroff" => guest.on_poweroff = on_end(value, at_value)?,
            "uuid" => guest.uuid = Some(uuid(value, at_value)?),
            "vif" => guest.vifs = vifs(value, at_value)?,
            "disk" => guest.disks = disks(value, at_value)?,
            _ if IGNORED.contains(&key) => self.remarks.push(at_key(format!("{key} has no effect here"))),
            _ => self.remarks.push(at_key(format!("unknown key {key}, ignored"))),
        }
        Ok(())
    }

    fn finish(mut self, end: Remark) -> Result<(Guest, Vec<Remark>), Remark> {
        if self.guest.kernel.is_empty() {
            return Err(Remark {
                text: "no kernel given; add a line like kernel = \"vmlinuz\"".to_string(),
                ..end
            });
        }
        if !self.memory_given && self.guest.maxmem > 0 {
            self.guest.memory = self.guest.maxmem;
        }
        self.guest.maxmem = self.guest.maxmem.max(self.guest.memory);
        self.guest.maxvcpus = self.guest.maxvcpus.max(self.guest.vcpus);
        Ok((self.guest, self.remarks))
    }
}

fn append(line: &mut String, more: &str) {
    if !line.is_empty() && !more.is_empty() {
        line.push(' ');
    }
    line.push_str(more);
}

fn text(value: Value, at: At<'_>) -> Result<String, Remark> {
    match value {
        Value::Text(text) => Ok(text),
        _ => Err(at("expected text in quotes".to_string())),
    }
}

fn name(value: Value, at: At<'_>) -> Result<String, Remark> {
    let name = text(value, at)?;
    check_name(&name).map_err(at)?;
    Ok(name)
}

/// Whether a domain may be called so.
pub fn check_name(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    let digits_alone = name.bytes().all(|b| b.is_ascii_digit());
    if digits_alone || name.len() > 64 || !name.chars().all(legal) {
        return Err(format!(
            "{name:?} is no name; use letters, digits and -_.+ (not digits alone), at most 64"
        ));
    }
    Ok(())
}

fn number(
    value: Value,
    range: core::ops::RangeInclusive<u64>,
    what: &str,
    at: At<'_>,
) -> Result<u64, Remark> {
    let number = match value {
        Value::Number(number) => Some(number),
        Value::Text(text) => text.parse().ok(),
        Value::List(_) => None,
    };
    let (low, high) = (range.start(), range.end());
    let refusal = || at(format!("expected {what}, from {low} to {high}"));
    number.filter(|n| range.contains(n)).ok_or_else(refusal)
}

fn on_end(value: Value, at: At<'_>) -> Result<OnEnd, Remark> {
    let word = text(value, at)?;
    OnEnd::from_word(&word).ok_or_else(|| {
        let all: Vec<&str> = OnEnd::ALL.iter().map(|action| action.word()).collect();
        at(format!("{word:?} is no action; there are {}", all.join(", ")))
    })
}

fn uuid(value: Value, at: At<'_>) -> Result<[u8; 16], Remark> {
    let text = text(value, at)?;
    let digits: Vec<u8> =
        text.chars().filter(|c| *c != '-').filter_map(|c| Some(c.to_digit(16)? as u8)).collect();
    let others = text.chars().any(|c| c != '-' && !c.is_ascii_hexdigit());
    if digits.len() != 32 || others {
        return Err(at(format!("{text:?} is no UUID; it has 32 hexadecimal digits")));
    }
    Ok(core::array::from_fn(|i| digits[2 * i] << 4 | digits[2 * i + 1]))
}

fn disks(value: Value, at: At<'_>) -> Result<Vec<Disk>, Remark> {
    let Value::List(items) = value else {
        return Err(at("expected a list like [ 'ram:64M,xvda,w' ]".to_string()));
    };
    let mut disks: Vec<Disk> = Vec::new();
    for (place, item) in items {
        let remark = |offset: usize, text| Remark { column: place.column + offset, text, ..place.clone() };
        let text = text(item, &|text| remark(0, text))?;
        // The column counts from the quote on.
        let disk = Disk::parse(&text).map_err(|(offset, text)| remark(offset + 1, text))?;
        if let Some(twice) = disks.iter().find(|d| d.vdev.number == disk.vdev.number) {
            return Err(remark(1, format!("{} is there already, as {}", disk.vdev.name, twice.vdev.name)));
        }
        disks.push(disk);
    }
    Ok(disks)
}

fn vifs(value: Value, at: At<'_>) -> Result<Vec<Vif>, Remark> {
    let Value::List(items) = value else {
        return Err(at("expected a list like [ 'mac=00:16:3e:01:02:03,bridge=xenbr0' ]".to_string()));
    };
    let mut vifs: Vec<Vif> = Vec::new();
    for (place, item) in items {
        let remark = |offset: usize, text| Remark { column: place.column + offset, text, ..place.clone() };
        let text = text(item, &|text| remark(0, text))?;
        // The column counts from the quote on.
        let vif = Vif::parse(&text).map_err(|(offset, text)| remark(offset + 1, text))?;
        if vif.mac.is_some() && vifs.iter().any(|other| other.mac == vif.mac) {
            return Err(remark(1, "two interfaces have the same mac".to_string()));
        }
        vifs.push(vif);
    }
    Ok(vifs)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn remark(&self, at: usize, text: String) -> Remark {
        let before = &self.text[..at];
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        let line = before.matches('\n').count() + 1;
        Remark { line, column: before[line_start..].chars().count() + 1, text }
    }

    fn fail<T>(&self, text: &str) -> Result<T, Remark> {
        Err(self.remark(self.at, text.to_string()))
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let len = rest.find(|c| !accept(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    fn skip_blanks(&mut self, over_lines: bool) {
        loop {
            self.take_while(|c| {
                c == ' ' || c == '\t' || c == '\r' || (over_lines && (c == '\n' || c == ';'))
            });
            if self.peek() != Some('#') {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    fn key(&mut self) -> Result<Option<(usize, &'a str)>, Remark> {
        self.skip_blanks(true);
        let start = self.at;
        let key = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        match (key, self.peek()) {
            ("", None) => Ok(None),
            ("", Some(c)) => self.fail(&format!("expected a key, found {c:?}")),
            _ => Ok(Some((start, key))),
        }
    }

    fn equals(&mut self) -> Result<usize, Remark> {
        self.skip_blanks(false);
        if self.peek() != Some('=') {
            return self.fail("expected = after the key");
        }
        self.at += 1;
        self.skip_blanks(false);
        Ok(self.at)
    }

    fn value(&mut self) -> Result<Value, Remark> {
        match self.peek() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote).map(Value::Text),
            Some('[') => self.list(),
            Some(c) if c.is_ascii_digit() => self.number(),
            _ => self.fail("expected a number, text in quotes, or a list in [ ]"),
        }
    }

    fn number(&mut self) -> Result<Value, Remark> {
        let start = self.at;
        let digits = self.take_while(|c| c.is_ascii_alphanumeric());
        let parsed = match digits.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16),
            None => digits.parse(),
        };
        parsed.map(Value::Number).map_err(|_| self.remark(start, format!("{digits} is no number")))
    }

    fn quoted(&mut self, quote: char) -> Result<String, Remark> {
        let start = self.at;
        self.at += 1;
        let mut out = String::new();
        while let Some(c) = self.peek() {
            self.at += c.len_utf8();
            match c {
                _ if c == quote => return Ok(out),
                '\n' => break,
                '\\' => match self.peek() {
                    Some(escaped) => {
                        self.at += escaped.len_utf8();
                        out.push(match escaped {
                            'n' => '\n',
                            't' => '\t',
                            other => other,
                        });
                    }
                    None => break,
                },
                _ => out.push(c),
            }
        }
        Err(self.remark(start, "text without its closing quote".to_string()))
    }

    fn list(&mut self) -> Result<Value, Remark> {
        let start = self.at;
        let mut items = Vec::new();
        self.at += 1;
        loop {
            self.skip_blanks(true);
            match self.peek() {
                Some(']') => {
                    self.at += 1;
                    return Ok(Value::List(items));
                }
                None => return Err(self.remark(start, "list without its closing ]".to_string())),
                Some('[') => return self.fail("a list inside a list"),
                Some(_) => {
                    let place = self.remark(self.at, String::new());
                    items.push((place, self.value()?));
                }
            };
            self.skip_blanks(true);
            match self.peek() {
                Some(',') => self.at += 1,
                Some(']') | None => {}
                Some(_) => return self.fail("expected , or ] in the list"),
            }
        }
    }

    fn end_of_setting(&mut self) -> Result<(), Remark> {
        self.skip_blanks(false);
        match self.peek() {
            None | Some('\n' | ';') => Ok(()),
            Some(_) => self.fail("unexpected text after the value"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_file() {
        let text = "# hello\nname = 'hello'\nkernel=\"hello.elf\"; memory = 0x10\nextra = \"a=b\"\nroot='/dev/xvda'\n\
            vif = [ '',\n 'mac=00:16:3e:00:00:01' ]\nfoo = 1\non_crash = 'preserve'\nuuid='01234567-89ab-cdef-0123-456789abcdef'";
        let (guest, remarks) = parse(text, "file").unwrap();
        assert_eq!((guest.name.as_str(), guest.kernel.as_str(), guest.memory), ("hello", "hello.elf", 16));
        assert_eq!(guest.cmdline, "a=b root=/dev/xvda");
        assert_eq!((guest.on_crash, guest.on_reboot, guest.maxmem), (OnEnd::Preserve, OnEnd::Restart, 16));
        assert_eq!(guest.uuid.unwrap()[15], 0xef);
        let places: Vec<_> = remarks.iter().map(|r| (r.line, r.column)).collect();
        assert_eq!(places, [(8, 1)]);
        assert_eq!((guest.vifs.len(), guest.vifs[0].mac), (2, None));
        assert_eq!(remarks[0].to_string(), "line 8, column 1: unknown key foo, ignored");
    }

    #[test]
    fn errors_name_line_and_column() {
        let error = |text: &str| parse(text, "x").unwrap_err().to_string();
        assert_eq!(error("kernel = \"a"), "line 1, column 10: text without its closing quote");
        assert_eq!(error("a = 1\n  memory 3"), "line 2, column 10: expected = after the key");
        assert_eq!(error("memory = 'much'"), "line 1, column 10: expected memory in MiB, from 1 to 16777216");
        assert_eq!(error("name = 3"), "line 1, column 8: expected text in quotes");
        assert!(error("name = '12'").contains("is no name"));
        assert_eq!(error("name = 'x' 'y'"), "line 1, column 12: unexpected text after the value");
        assert_eq!(error("vif = [ 'x'"), "line 1, column 7: list without its closing ]");
        assert!(error("vif = [ '', 'mac=1' ]").starts_with("line 1, column 18: \"1\" is no address"));
        assert_eq!(error("vif = [ 'x' 'y' ]"), "line 1, column 13: expected , or ] in the list");
        assert!(error("").starts_with("line 1, column 1: no kernel given"));
        assert_eq!(error("memory = 12q"), "line 1, column 10: 12q is no number");
    }

    #[test]
    fn memory_follows_maxmem_when_alone() {
        let (guest, _) = parse("kernel='k'\nmaxmem=64", "x").unwrap();
        assert_eq!((guest.memory, guest.maxmem), (64, 64));
    }

    #[test]
    fn what_follows_an_end() {
        let text =
            "kernel='k'\non_poweroff='rename-restart'\non_watchdog = 'coredump-restart'\nvcpus=2\nmaxvcpus=4";
        let (guest, remarks) = parse(text, "x").unwrap();
        assert_eq!((guest.on_poweroff, guest.on_watchdog), (OnEnd::RenameRestart, OnEnd::CoredumpRestart));
        assert_eq!((guest.vcpus, guest.maxvcpus, remarks.len()), (2, 4, 0));
        let error = parse("on_crash='explode'", "x").unwrap_err().to_string();
        assert!(
            error.starts_with("line 1, column 10: \"explode\" is no action; there are destroy, "),
            "{error}"
        );
        assert_eq!(parse("kernel='k'\nvcpus=3", "x").unwrap().0.maxvcpus, 3);
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics(text in "[a-z_=\\[\\]'\"0-9 \n#;,\\\\\u{e9}]{0,80}") {
            let _ = parse(&text, "x");
        }
    }
}
