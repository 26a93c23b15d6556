//! A running machine and its serial console.
//!
//! # States
//! The child runs until it exits by itself or its [`Console`] is dropped; dropping kills and reaps exactly that child.
//! A reader thread copies the serial line to the log as it comes, and without carriage returns and terminal control
//! sequences to the transcript, in which the steps of a test search. The transcript only grows.
//!
//! # Locks
//! One mutex guards the transcript; the condition variable is signalled after each piece and at end of file.

use crate::qemu::{Machine, PROGRAM};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Why a wait for a text ended without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missed {
    /// The time was over.
    TimeOver,
    /// The machine ended first.
    MachineEnded,
    /// A text came that must not come.
    Forbidden(String),
}

#[derive(Default)]
struct Transcript {
    text: String,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    transcript: Mutex<Transcript>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Transcript> {
        self.transcript.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A machine that was started, with its serial console.
pub struct Console {
    child: Child,
    input: Option<ChildStdin>,
    shared: Arc<Shared>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Console {
    /// Starts `machine`; everything its serial port sends goes to the file `log` too.
    ///
    /// # Errors
    /// If the log cannot be written or QEMU cannot be started.
    pub fn start(machine: &Machine, log: &Path) -> Result<Self> {
        Self::start_with(machine, &[], log)
    }

    /// The same with more arguments for QEMU.
    ///
    /// # Errors
    /// If the log cannot be written or QEMU cannot be started.
    pub fn start_with(machine: &Machine, more: &[String], log: &Path) -> Result<Self> {
        let mut log_file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let mut arguments = machine.arguments()?;
        arguments.extend(more.iter().map(Into::into));
        let shown: Vec<_> = arguments.iter().map(|a| format!("{:?}", a.to_string_lossy())).collect();
        writeln!(log_file, "$ {PROGRAM} {}", shown.join(" "))?;
        let mut command = command_that_dies_with_us();
        command.args(arguments).args(["-chardev", "stdio,id=con,signal=off", "-serial", "chardev:con"]);
        command.args(["-monitor", "none"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log_file.try_clone()?);
        let mut child = command.spawn().with_context(|| format!("starting {PROGRAM}"))?;
        let output = child.stdout.take().context("QEMU's output is not connected")?;
        let shared = Arc::new(Shared::default());
        let for_reader = Arc::clone(&shared);
        let reader = std::thread::spawn(move || read_all(output, &mut log_file, &for_reader));
        Ok(Self { input: child.stdin.take(), child, shared, reader: Some(reader) })
    }

    /// Waits until `wanted` appears at or after byte `from` of the transcript; returns the byte after it.
    ///
    /// # Errors
    /// If the time limit passes, the machine ends or one of the `forbidden` texts appears first.
    pub fn wait_for(
        &self,
        wanted: &str,
        from: usize,
        until: Instant,
        forbidden: &[&str],
    ) -> Result<usize, Missed> {
        let mut transcript = self.shared.lock();
        loop {
            if let Some(at) = transcript.text[from..].find(wanted) {
                return Ok(from + at + wanted.len());
            }
            if let Some(bad) = forbidden.iter().find(|bad| transcript.text.contains(**bad)) {
                return Err(Missed::Forbidden((*bad).to_string()));
            }
            if transcript.ended {
                return Err(Missed::MachineEnded);
            }
            let now = Instant::now();
            if now >= until {
                return Err(Missed::TimeOver);
            }
            let waited = self.shared.changed.wait_timeout(transcript, until - now);
            transcript = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Types `text` on the serial console.
    ///
    /// # Errors
    /// If the machine has ended.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        let input = self.input.as_mut().context("the console's input is closed")?;
        input.write_all(text.as_bytes()).and_then(|()| input.flush()).context("typing on the console")
    }

    /// Waits until the machine ends by itself; `None` if it has not ended when the time is over.
    ///
    /// # Errors
    /// If the operating system cannot tell.
    pub fn wait_for_end(&mut self, until: Instant) -> Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.join_reader();
                return Ok(Some(status));
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Everything the console has said so far.
    pub fn transcript(&self) -> String {
        self.shared.lock().text.clone()
    }

    fn join_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            // A reader that panicked has said so on standard error; the transcript up to there is still good.
            let _ = reader.join();
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // Both fail only if the child is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.join_reader();
    }
}

/// QEMU, started through `setpriv` where there is one, so that the kernel ends it if this process is killed.
fn command_that_dies_with_us() -> Command {
    let wrapper = Path::new("/usr/bin/setpriv");
    if !wrapper.exists() {
        return Command::new(PROGRAM);
    }
    let mut command = Command::new(wrapper);
    command.args(["--pdeathsig", "KILL", "--", PROGRAM]);
    command
}

fn read_all(mut output: impl Read, log: &mut File, shared: &Shared) {
    let mut plain = PlainText::default();
    let mut piece = [0; 4096];
    while let Ok(length) = output.read(&mut piece) {
        if length == 0 {
            break;
        }
        // A full disk must not stop the reading, or the machine would block on its own output.
        let _ = log.write_all(&piece[..length]);
        let text = plain.take(&piece[..length]);
        shared.lock().text.push_str(&text);
        shared.changed.notify_all();
    }
    shared.lock().ended = true;
    shared.changed.notify_all();
}

/// Removes carriage returns and terminal control sequences (`ESC [ … letter`, `ESC letter`) from a stream of bytes.
#[derive(Default)]
struct PlainText {
    state: State,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    Escape,
    Sequence,
}

impl PlainText {
    fn take(&mut self, bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len());
        for &byte in bytes {
            self.state = match (self.state, byte) {
                (State::Text, 0x1b) => State::Escape,
                (State::Text, b'\r') => State::Text,
                (State::Text, _) => {
                    // Bytes outside ASCII are kept one by one: nothing here depends on what they spell.
                    text.push(char::from(byte));
                    State::Text
                }
                (State::Escape, b'[') => State::Sequence,
                (State::Escape, _) => State::Text,
                (State::Sequence, 0x40..=0x7e) => State::Text,
                (State::Sequence, _) => State::Sequence,
            };
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_sequences_are_removed_even_across_pieces() {
        let mut plain = PlainText::default();
        assert_eq!(plain.take(b"a\r\nb\x1b[1"), "a\nb");
        assert_eq!(plain.take(b";31mc\x1b7d"), "cd");
    }
}
