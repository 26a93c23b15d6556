//! Dom0's command line, and scripts.
//!
//! A script is commands between `;` or on lines. It ends with one of two lines that a test looks for: `SCRIPT ok`, or `SCRIPT failed: N,
//! reason` with the number of the command, after which Dom0 powers the machine off. A final `poweroff` is run after `SCRIPT ok`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::Session;
use crate::files::Files;
use crate::hypervisor::Hypervisor;
use crate::shell::command;

/// What Dom0's command line asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `autostart=a,b`: guests to start.
    pub autostart: Vec<String>,
    /// `script="…"`, or `script=@PATH` for a file of the archive: commands to run.
    pub script: Option<String>,
    /// What could not be understood.
    pub warnings: Vec<String>,
}

impl Options {
    /// Reads the command line.
    pub fn parse(line: &str, files: &Files<'_>) -> Self {
        let mut options = Self::default();
        for word in options_of(line) {
            match word.split_once('=') {
                Some(("autostart", names)) => {
                    options
                        .autostart
                        .extend(names.split([',', ' ']).filter(|n| !n.is_empty()).map(String::from));
                }
                Some(("script", text)) => match text.strip_prefix('@') {
                    None => options.script = Some(text.to_string()),
                    Some(path) => match files.text(path) {
                        Some(text) => options.script = Some(text.to_string()),
                        None => options.warnings.push(format!("script file {path} is not in the archive")),
                    },
                },
                _ => options.warnings.push(format!("unknown option {word}, ignored")),
            }
        }
        options
    }
}

/// Splits at blanks outside quotes. A quote that opens an option's value is removed, quotes inside it stay.
fn options_of(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut inner) = (Vec::new(), String::new(), None::<char>, None::<char>);
    for c in line.chars() {
        match (quote, inner) {
            (Some(q), None) if c == q => quote = None,
            (Some(_), None) => {
                inner = matches!(c, '"' | '\'').then_some(c);
                word.push(c);
            }
            (Some(_), Some(i)) => {
                if c == i {
                    inner = None;
                }
                word.push(c);
            }
            (None, _) if matches!(c, '"' | '\'') => quote = Some(c),
            (None, _) if c.is_whitespace() => words.push(core::mem::take(&mut word)),
            _ => word.push(c),
        }
    }
    words.push(word);
    words.into_iter().filter(|w| !w.is_empty()).collect()
}

impl<H: Hypervisor> Session<'_, H> {
    /// Runs a script to its end or first failure.
    pub(super) fn run_script(&mut self, script: &str) {
        let mut lines = command::split_lines(script);
        let last_is_poweroff = lines.last().is_some_and(|l| l == "poweroff");
        if last_is_poweroff {
            lines.pop();
        }
        for (index, line) in lines.iter().enumerate() {
            self.say(&format!("> {line}"));
            if let Err(reason) = self.execute(line) {
                let reason = reason.replace('\n', " ");
                self.say(&format!("SCRIPT failed: {}, {line}: {reason}", index + 1));
                return self.end_after_script();
            }
        }
        self.say("SCRIPT ok");
        if last_is_poweroff {
            self.end_after_script();
        }
    }

    fn end_after_script(&mut self) {
        if let Err(error) = self.execute("poweroff") {
            self.say(&format!("error: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines() {
        let options = |line| Options::parse(line, &Files::default());
        let given = options("autostart=hello,grub script=\"list; wait hello 'a b'; poweroff\" odd");
        assert_eq!(given.autostart, ["hello", "grub"]);
        assert_eq!(given.script.as_deref(), Some("list; wait hello 'a b'; poweroff"));
        assert_eq!(given.warnings, ["unknown option odd, ignored"]);
        assert_eq!(options("script=@none").warnings, ["script file none is not in the archive"]);
        assert_eq!(options(""), Options::default());
        let quoted = options("script='echo \"x\\'s\"'");
        assert_eq!(quoted.script.as_deref(), Some("echo \"x\\'s\""));
    }
}
