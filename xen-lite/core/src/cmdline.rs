//! The hypervisor's command line, with upstream's names and spellings.
//!
//! A command line is words separated by spaces. A word is `name`, `name=value`, or `no-name` for an option that is
//! on or off; `-` and `_` in names are the same. The first word is the image's own name and is dropped, except when
//! GRUB 2 loaded the image, which does not pass it. ` -- ` ends the hypervisor's options; what follows is added to
//! Dom0's command line. A later word overrides an earlier one.
//!
//! Nothing here fails: a word that is not understood becomes a [`Warning`], which the boot log prints, and the default
//! stands. Options of upstream that have no meaning here are known by name, so that nobody has to wonder whether
//! they were misspelt.

mod options;
mod value;

#[cfg(test)]
mod tests;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

pub use options::{
    Choice, ConsoleSet, Conswitch, CpuFeatureUse, Dom0Kind, GrantLimits, LogLevel, LogThresholds,
    MemoryAmount, MemoryLimits, Options, Parity, SerialLine, TscReliability, VcpuRange, Watchdog,
};

use value::{Bad, Value};

/// What is wrong with a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// No option has this name.
    Unknown {
        /// The whole word.
        word: String,
    },
    /// The value cannot be used; the default stands.
    BadValue {
        /// Name of the option.
        option: String,
        /// The value as given.
        value: String,
        /// What it should have been.
        expected: &'static str,
    },
    /// An option of upstream's that changes nothing here.
    NoEffect {
        /// The whole word.
        word: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { word } => write!(f, "command line: unknown option \"{word}\" ignored"),
            Self::BadValue { option, value, expected } => {
                write!(f, "command line: {option}: \"{value}\" is not {expected}; ignored")
            }
            Self::NoEffect { word } => write!(f, "command line: \"{word}\" has no effect in xen-lite"),
        }
    }
}

/// A command line, understood.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommandLine {
    /// The options.
    pub options: Options,
    /// What was not understood, in the order of the words.
    pub warnings: Vec<Warning>,
    /// What follows ` -- `: to be added to Dom0's command line. Empty if nothing does.
    pub dom0_extra: String,
}

/// Reads a command line. `loader` is the name that the boot loader gave itself.
///
/// ```
/// let line = xen_lite_core::cmdline::parse("xen console=com1 dom0_mem=256M flux=9 -- quiet", "qemu");
/// assert_eq!(line.options.dom0_mem.size.unwrap().bytes, 256 << 20);
/// assert_eq!(line.warnings[0].to_string(), "command line: unknown option \"flux=9\" ignored");
/// assert_eq!(line.dom0_extra, "quiet");
/// ```
#[must_use]
pub fn parse(text: &str, loader: &str) -> CommandLine {
    let mut text = text;
    if !loader.starts_with("GRUB 2") {
        let trimmed = text.trim_start();
        text = trimmed.split_once(' ').map_or("", |(_, rest)| rest);
    }
    let mut result = CommandLine::default();
    let mut words = text.split_ascii_whitespace();
    for word in words.by_ref() {
        if word == "--" {
            break;
        }
        if let Some(warning) = apply(&mut result.options, word) {
            result.warnings.push(warning);
        }
    }
    for word in words {
        if !result.dom0_extra.is_empty() {
            result.dom0_extra.push(' ');
        }
        result.dom0_extra.push_str(word);
    }
    result
}

/// Applies one word.
fn apply(options: &mut Options, word: &str) -> Option<Warning> {
    let (name, text) = word.split_once('=').map_or((word, None), |(name, text)| (name, Some(text)));
    let negated = name.strip_prefix("no-");
    let found = find(name).map(|setter| (setter, Value { text, on: true }));
    let found = found.or_else(|| Some((find(negated?)?, Value { text, on: false })));
    match found {
        Some((Some(set), value)) => match set(options, value) {
            Ok(()) => None,
            Err(Bad(expected)) => {
                Some(Warning::BadValue { option: name.into(), value: text.unwrap_or("").into(), expected })
            }
        },
        Some((None, _)) => Some(Warning::NoEffect { word: word.into() }),
        None => Some(Warning::Unknown { word: word.into() }),
    }
}

/// The setter of an option; `Some(None)` for one without effect.
fn find(name: &str) -> Option<Option<options::Setter>> {
    if let Some((_, set)) = options::TABLE.iter().find(|(known, _)| value::same_name(known, name)) {
        return Some(Some(*set));
    }
    options::WITHOUT_EFFECT.iter().any(|known| value::same_name(known, name)).then_some(None)
}
