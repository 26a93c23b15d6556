//! A person's, or a script's, session: what is printed and what each command does.
//!
//! Everything waits in one place, `Session::pump`: it serves the domains until a condition holds, a deadline passes or Ctrl-C
//! is typed, and sleeps in between. So guests are served also while a command waits.

mod answers;
mod images;
mod run;
mod script;
#[cfg(test)]
mod tests;
mod top;

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::DomId;
use crate::control::{Control, printable};
use crate::hypervisor::Hypervisor;
use crate::shell::line::{Editor, Event};
use crate::shell::{command, table};

pub use script::Options;

const SECOND: u64 = 1_000_000_000;
/// Rounds of service between two looks at the keyboard.
const ROUNDS: usize = 8;
const CTRL_C: u8 = 0x03;
/// Ctrl-], leaves an attached console.
const DETACH: u8 = 0x1d;
/// Output shown on attaching, in bytes.
const BACKLOG: u64 = 1500;

/// Why waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waited {
    /// The condition holds.
    Done,
    /// Time is up.
    TimedOut,
    /// Ctrl-C.
    Cancelled,
}

/// The session.
pub struct Session<'a, H: Hypervisor> {
    control: Control<'a, H>,
    editor: Editor,
    typed: VecDeque<u8>,
    options: Options,
    started: u64,
    /// The prompt is on the screen.
    prompting: bool,
    /// The last round left work to do.
    busy: bool,
    /// What was said since a command began whose words count.
    heard: Option<String>,
    /// When the stopwatch was looked at last.
    stopwatch: u64,
}

impl<'a, H: Hypervisor> Session<'a, H> {
    /// A session over a toolstack.
    pub fn new(mut control: Control<'a, H>, options: Options) -> Self {
        let started = control.hv.now();
        let editor = Editor::new("xen-lite> ");
        Self {
            control,
            editor,
            typed: VecDeque::new(),
            options,
            started,
            prompting: false,
            busy: false,
            heard: None,
            stopwatch: started,
        }
    }

    /// Greets, starts the guests that are to be started, runs the script if there is one, then the shell, for ever.
    pub fn run(mut self) -> ! {
        self.greet();
        self.autostart();
        if let Some(script) = self.options.script.clone() {
            self.run_script(&script);
        }
        self.say("Type help for all commands, list for the domains, poweroff to end.");
        loop {
            self.shell();
        }
    }

    fn greet(&mut self) {
        let line = match self.control.hv.host_info() {
            Ok(info) => {
                let (major, minor) = info.version;
                let (total, free) = (info.total_pages >> 8, info.free_pages >> 8);
                let version = format!("{major}.{minor}{}", info.extra_version);
                format!(
                    "xen-lite Dom0 on Xen {version}: {} CPU(s), {total} MiB memory, {free} MiB free",
                    info.cpus
                )
            }
            Err(error) => format!("xen-lite Dom0; the hypervisor tells nothing about itself: {error:?}"),
        };
        self.say(&line);
        for warning in core::mem::take(&mut self.options.warnings) {
            self.say(&format!("warning: {warning}"));
        }
        match self.control.files.guests() {
            names if names.is_empty() => {
                self.say("There are no guests: give Dom0 a cpio archive with kernels and .cfg files.")
            }
            names => self.say(&format!("Guests to start with create: {}", names.join(", "))),
        }
    }

    fn autostart(&mut self) {
        let mut names = self.options.autostart.clone();
        if let Some(text) = self.control.files.text("autostart") {
            let lines = text.lines().map(|l| l.split('#').next().unwrap_or("").trim());
            names.extend(lines.filter(|l| !l.is_empty()).map(String::from));
        }
        for name in names {
            if let Err(error) = self.create(&name, None) {
                self.say(&format!("error: {error}"));
            }
        }
    }

    /// Reads and runs one line.
    fn shell(&mut self) {
        self.show(&self.editor.redraw());
        self.prompting = true;
        let line = loop {
            let Some(key) = self.next_key() else { continue };
            let (guests, domains) = (self.control.files.guests(), self.control.names());
            let complete = |line: &str| table::candidates(line, &guests, &domains);
            let mut out = String::new();
            let event = self.editor.key(key, &complete, &mut out);
            self.show(&out);
            match event {
                Event::None => {}
                Event::Line(line) => break line,
                Event::Cancel => break String::new(),
                Event::EndOfInput => {
                    self.show("\r\n");
                    self.prompting = false;
                    self.say("Type poweroff to end.");
                    break String::new();
                }
            }
        };
        self.prompting = false;
        for part in command::split_lines(&line) {
            if let Err(error) = self.execute(&part) {
                self.say(&format!("error: {error}"));
                break;
            }
        }
    }

    /// Serves until a key is there.
    fn next_key(&mut self) -> Option<u8> {
        loop {
            self.round();
            if let Some(key) = self.typed.pop_front() {
                return Some(key);
            }
            self.rest(10 * SECOND);
        }
    }

    /// Some rounds of service, not more, so that a guest that never stops talking cannot keep the keys from being read; shows
    /// notices.
    fn round(&mut self) {
        for _ in 0..ROUNDS {
            self.busy = self.control.serve();
            self.tell_notices();
            if !self.busy {
                break;
            }
        }
        let keys = self.control.hv.keys();
        self.typed.extend(keys);
    }

    /// Sleeps, unless there is work to do.
    fn rest(&mut self, at_most: u64) {
        if !self.busy {
            let latest = self.control.hv.now() + at_most;
            let until = self.control.wake_at().map_or(latest, |at| at.min(latest));
            self.control.hv.sleep_until(until);
        }
    }

    fn tell_notices(&mut self) {
        while let Some(notice) = self.control.next_notice() {
            self.say(&notice);
        }
    }

    /// Serves until `done`, for at most `seconds`.
    fn pump(&mut self, seconds: u64, mut done: impl FnMut(&mut Self) -> bool) -> Waited {
        let end = self.control.hv.now().saturating_add(seconds.saturating_mul(SECOND));
        loop {
            self.round();
            if done(self) {
                return Waited::Done;
            }
            if let Some(at) = self.typed.iter().position(|k| *k == CTRL_C) {
                self.typed.drain(..=at);
                return Waited::Cancelled;
            }
            let now = self.control.hv.now();
            if now >= end {
                return Waited::TimedOut;
            }
            self.rest((end - now).min(SECOND));
        }
    }

    /// Shows a guest's output live and forwards keys, until Ctrl-] or the guest's end.
    fn attach(&mut self, dom: DomId) {
        let Some(domain) = self.control.domain(dom) else { return };
        let name = domain.guest.name.clone();
        let mut shown = domain.console.end().saturating_sub(BACKLOG);
        self.say(&format!("attached to {name}; Ctrl-] leaves"));
        loop {
            self.round();
            let Some(domain) = self.control.domain(dom) else {
                let rest = self.control.console(&dom.to_string()).map_or(Vec::new(), |c| c.since(shown));
                self.control.hv.print(&rest);
                return self.say(&format!("\n{name} ended; back in Dom0's shell"));
            };
            let news = domain.console.since(shown);
            shown = domain.console.end();
            self.control.hv.print(&news);
            let mut keys: Vec<u8> = self.typed.drain(..).collect();
            let leave = keys.iter().position(|k| *k == DETACH);
            if let Some(at) = leave {
                self.typed.extend(keys.drain(at..).skip(1));
            }
            self.control.type_in(dom, &keys);
            if leave.is_some() {
                return self.say(&format!("\nleft {name}; it keeps running, console {name} returns"));
            }
            if keys.is_empty() && news.is_empty() {
                self.rest(10 * SECOND);
            }
        }
    }

    fn show(&mut self, text: &str) {
        self.control.hv.print(text.as_bytes());
    }

    /// Prints a line, around the prompt if it is on the screen.
    fn say(&mut self, text: &str) {
        let clean = printable(text.as_bytes());
        if let Some(heard) = &mut self.heard {
            heard.push_str(&clean);
        }
        if self.prompting {
            self.show(self.editor.hide());
        }
        self.show(&format!("{}\n", clean.trim_end_matches('\n')));
        if self.prompting {
            let prompt = self.editor.redraw();
            self.show(&prompt);
        }
    }
}
