//! What each command does that waits, or changes what is shown; the others are in `answers`.

use alloc::format;
use alloc::string::{String, ToString};

use super::{SECOND, Session, Waited};
use crate::DomId;
use crate::control::printable;
use crate::hypervisor::Hypervisor;
use crate::shell::command::{self, Command};

/// Seconds that guests get to power off before they are destroyed.
const GRACE: u64 = 10;
/// Seconds in which the amount of free memory must come to rest.
const SETTLE: u64 = 10;
/// What a command that was cancelled reports.
pub(super) const CANCELLED: &str = "stopped by Ctrl-C";

pub(super) type Outcome = Result<(), String>;

impl<H: Hypervisor> Session<'_, H> {
    /// Runs one command line.
    pub(super) fn execute(&mut self, line: &str) -> Outcome {
        match command::parse(line)? {
            Some(command) => self.perform(command),
            None => Ok(()),
        }
    }

    fn perform(&mut self, command: Command) -> Outcome {
        match command {
            Command::Create { guest, attach, count } => {
                let dom = self.create(&guest, count)?;
                if attach {
                    self.attach(dom);
                }
                Ok(())
            }
            Command::Console { domain } => {
                let dom = self.control.find(&domain)?;
                self.attach(dom);
                Ok(())
            }
            Command::Top { count, seconds } => self.top(count, seconds),
            Command::Guests => self.guests(),
            Command::Poweroff => self.power_off(),
            Command::Wait { domain, text, seconds } => self.wait(&domain, &text, seconds),
            Command::Send { domain, text } => {
                let dom = self.control.find(&domain)?;
                self.control.type_in(dom, format!("{text}\r").as_bytes());
                Ok(())
            }
            Command::ExpectGone { domain, seconds } => self.expect_gone(&domain, seconds),
            Command::ExpectError { command, text } => self.expect_error(*command, &text),
            Command::Expect { command, text } => self.expect(*command, &text),
            Command::Until { command, text } => self.until(&command, &text),
            Command::Stopwatch => {
                let now = self.control.hv.now();
                let last = core::mem::replace(&mut self.stopwatch, now);
                self.tell(&format!("stopwatch: {} ns", now - last))
            }
            Command::Churn { guest, count, life } => self.churn(&guest, count, life),
            Command::Sleep { seconds } => match self.pump(seconds, |_| false) {
                Waited::Cancelled => Err(CANCELLED.to_string()),
                _ => Ok(()),
            },
            plain => {
                let text = self.answer(plain)?;
                self.tell(&text)
            }
        }
    }

    pub(super) fn tell(&mut self, text: &str) -> Outcome {
        self.say(text);
        Ok(())
    }

    fn guests(&mut self) -> Outcome {
        let names = self.control.files.guests();
        for name in &names {
            let line = match self.control.files.guest(name) {
                Ok((g, _)) => format!("{name:<20} {:>5} MiB  {} {}", g.memory, g.kernel, g.cmdline),
                Err(error) => format!("{name:<20} damaged: {error}"),
            };
            self.say(&line);
        }
        self.tell(if names.is_empty() { "There are no guests." } else { "Start one with create NAME." })
    }

    /// Creates one, or as many as wished with numbers in their names; returns the last one's number.
    pub(super) fn create(&mut self, guest: &str, count: Option<u32>) -> Result<DomId, String> {
        let mut last = DomId::ZERO;
        if self.control.takes_long(guest) {
            self.say(&format!("unpacking the kernel of {guest}; this takes some seconds"));
        }
        for _ in 0..count.unwrap_or(1) {
            let created = self.control.create(guest, count.is_some())?;
            for warning in &created.warnings {
                self.say(&format!("warning: {warning}"));
            }
            let (name, dom) = (created.name, created.dom);
            self.say(&format!("{name} started as domain {dom}; console {name} attaches, list shows all"));
            last = dom;
            self.round();
        }
        Ok(last)
    }

    /// Waits for text that the guest has printed since the last text that was waited for.
    fn wait(&mut self, name: &str, text: &str, seconds: u64) -> Outcome {
        let (name, wanted) = (name.to_string(), text.as_bytes().to_vec());
        self.control.console(&name)?;
        let mut ended = false;
        let waited = self.pump(seconds, |session| {
            let control = &mut session.control;
            let Ok(dom) = control.find(&name) else {
                ended = true;
                return true;
            };
            let Some(domain) = control.domain(dom) else { return false };
            match domain.console.find(domain.awaited, &wanted) {
                Some(after) => {
                    domain.awaited = after;
                    true
                }
                None => false,
            }
        });
        if ended && self.control.console(&name)?.find(0, &wanted).is_some() {
            return Ok(());
        }
        let reason = match waited {
            Waited::Done if !ended => return Ok(()),
            Waited::Done => format!("{name} ended without printing {text:?}"),
            Waited::TimedOut => format!("{name} did not print {text:?} within {seconds} s"),
            Waited::Cancelled => CANCELLED.to_string(),
        };
        Err(format!("{reason}{}", self.last_output(&name)))
    }

    /// The last lines a guest printed, for error messages.
    fn last_output(&self, name: &str) -> String {
        let Ok(console) = self.control.console(name) else { return String::new() };
        let text = printable(&console.since(console.end().saturating_sub(300)));
        if text.is_empty() {
            "; it printed nothing".to_string()
        } else {
            format!("; its last output: {text:?}")
        }
    }

    fn expect_gone(&mut self, name: &str, seconds: u64) -> Outcome {
        // A name that never existed is a mistake of the script's.
        self.control.console(name)?;
        match self.pump(seconds, |session| session.control.find(name).is_err()) {
            Waited::Done => Ok(()),
            Waited::TimedOut => {
                Err(format!("{name} still exists after {seconds} s{}", self.last_output(name)))
            }
            Waited::Cancelled => Err(CANCELLED.to_string()),
        }
    }

    fn expect_error(&mut self, command: Command, text: &str) -> Outcome {
        match self.perform(command) {
            Ok(()) => Err(format!("the command succeeded, expected an error with {text:?}")),
            Err(error) if error.contains(text) => self.tell(&format!("as expected: {error}")),
            Err(error) => Err(format!("expected an error with {text:?}, got: {error}")),
        }
    }

    /// Runs a command and says whether its words had `text` among them.
    fn says(&mut self, command: Command, text: &str) -> Result<bool, String> {
        self.heard = Some(String::new());
        let done = self.perform(command);
        let heard = self.heard.take().unwrap_or_default();
        done.map(|()| heard.contains(text))
    }

    fn expect(&mut self, command: Command, text: &str) -> Outcome {
        if self.says(command, text)? { Ok(()) } else { Err(format!("expected {text:?}")) }
    }

    fn until(&mut self, command: &Command, text: &str) -> Outcome {
        for _ in 0..command::PATIENCE {
            if self.says(command.clone(), text)? {
                return Ok(());
            }
            if self.pump(1, |_| false) == Waited::Cancelled {
                return Err(CANCELLED.to_string());
            }
        }
        Err(format!("{text:?} was not said within {} s", command::PATIENCE))
    }

    /// Creates and destroys a guest again and again; all frames must come back. A first time is not counted: the hypervisor's own
    /// memory grows by pieces, and keeps what it took. Each guest lives for a time of its own, at most `life` milliseconds.
    fn churn(&mut self, guest: &str, count: u32, life: u64) -> Outcome {
        self.create_and_destroy(guest, life).map_err(|e| format!("before the first round: {e}"))?;
        let before = self.settled_free()?;
        for round in 1..=count {
            // The same times in each run, spread evenly: multiples of the golden ratio.
            let part = u64::from(round.wrapping_mul(0x9e37_79b9));
            let life = (life * part) >> 32;
            self.create_and_destroy(guest, life).map_err(|e| format!("round {round}: {e}"))?;
            if round % 50 == 0 {
                self.say(&format!("churn: {round} of {count}"));
            }
        }
        let after = self.settled_free()?;
        let text = format!("{count} times, free frames {before} before and {after} after");
        if after == before {
            self.tell(&format!("churn: {text}"))
        } else {
            Err(format!("frames are missing: {text}"))
        }
    }

    fn create_and_destroy(&mut self, guest: &str, life: u64) -> Outcome {
        let created = self.control.create(guest, false)?;
        let end = self.control.hv.now().saturating_add(life.saturating_mul(SECOND / 1000));
        self.round();
        loop {
            let now = self.control.hv.now();
            if now >= end {
                break;
            }
            self.rest(end - now);
            self.round();
        }
        self.control.destroy(created.dom);
        self.round();
        Ok(())
    }

    /// Free frames once the hypervisor is done with releasing what dead domains had: unchanged for a second.
    fn settled_free(&mut self) -> Result<u64, String> {
        let mut free = self.control.free_pages()?;
        for _ in 0..SETTLE {
            if self.pump(1, |_| false) == Waited::Cancelled {
                return Err(CANCELLED.to_string());
            }
            let now = self.control.free_pages()?;
            if now == free {
                return Ok(free);
            }
            free = now;
        }
        Err(format!("free memory does not come to rest within {SETTLE} s: {free} frames"))
    }

    fn power_off(&mut self) -> Outcome {
        let running: alloc::vec::Vec<DomId> =
            self.control.domains().filter(|d| d.ended.is_none()).map(|d| d.dom).collect();
        if !running.is_empty() {
            self.say(&format!(
                "asking {} guest(s) to power off; Ctrl-C does not wait for them",
                running.len()
            ));
        }
        for dom in &running {
            self.control.request(*dom, "poweroff")?;
        }
        self.pump(GRACE, |session| session.control.domains().all(|d| d.ended.is_some()));
        let left: alloc::vec::Vec<DomId> = self.control.domains().map(|d| d.dom).collect();
        for dom in left {
            self.control.destroy(dom);
        }
        self.tell_notices();
        self.say("Dom0 powers the machine off.");
        self.control.hv.power_off()
    }
}
