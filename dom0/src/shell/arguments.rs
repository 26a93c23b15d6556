//! The words after a command's name: how many, which options, which numbers.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::str::FromStr;

use super::table::Entry;

/// The arguments of one command.
#[derive(Clone, Copy, Debug)]
pub struct Arguments<'a> {
    /// The command.
    pub entry: &'a Entry,
    /// Its words.
    pub words: &'a [String],
}

/// Words that are no options, and options with their values (empty for those that take none).
pub type Sorted<'a> = (Vec<&'a str>, Vec<(&'a str, &'a str)>);

impl<'a> Arguments<'a> {
    /// What to type.
    pub fn usage(&self) -> String {
        format!("usage: {} {}", self.entry.name, self.entry.arguments).trim_end().into()
    }

    /// The words, if there are that many.
    pub fn between(&self, least: usize, most: usize) -> Result<&'a [String], String> {
        if (least..=most).contains(&self.words.len()) { Ok(self.words) } else { Err(self.usage()) }
    }

    /// The only word.
    pub fn one(&self) -> Result<&'a str, String> {
        Ok(&self.between(1, 1)?[0])
    }

    /// Takes options out, of which `known` says whether they have a value; the other words must be that many.
    pub fn with_options(
        &self,
        known: &[(&str, bool)],
        least: usize,
        most: usize,
    ) -> Result<Sorted<'a>, String> {
        let (mut plain, mut options) = (Vec::new(), Vec::new());
        let mut words = self.words.iter();
        while let Some(word) = words.next() {
            match known.iter().find(|(name, _)| name == word) {
                Some((_, false)) => options.push((word.as_str(), "")),
                Some((_, true)) => {
                    let value =
                        words.next().ok_or_else(|| format!("{word} needs a value; {}", self.usage()))?;
                    options.push((word, value.as_str()));
                }
                None if word.starts_with('-') => {
                    return Err(format!("unknown option {word}; {}", self.usage()));
                }
                None => plain.push(word.as_str()),
            }
        }
        if (least..=most).contains(&plain.len()) { Ok((plain, options)) } else { Err(self.usage()) }
    }

    /// A number.
    pub fn number<T: FromStr>(&self, word: &str) -> Result<T, String> {
        word.parse().map_err(|_| format!("{word:?} is no number that fits; {}", self.usage()))
    }

    /// The number at a place, if there is one.
    pub fn optional<T: FromStr>(&self, index: usize, default: T) -> Result<T, String> {
        self.words.get(index).map_or(Ok(default), |word| self.number(word))
    }

    /// An amount of memory in KiB: MiB, unless it ends with `k`, `m` or `g`.
    pub fn kib(&self, word: &str) -> Result<u64, String> {
        let (digits, shift) = match word.to_ascii_lowercase() {
            w if w.ends_with('k') => (&word[..word.len() - 1], 0),
            w if w.ends_with('m') => (&word[..word.len() - 1], 10),
            w if w.ends_with('g') => (&word[..word.len() - 1], 20),
            _ => (word, 10),
        };
        let number: Option<u64> = digits.parse().ok().filter(|n| (1..=1 << 24).contains(n));
        let number = number.ok_or_else(|| format!("{word:?} is no amount of memory; {}", self.usage()))?;
        Ok(number << shift)
    }
}
