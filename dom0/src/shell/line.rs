//! Line editor for a serial terminal: bytes in, screen updates out.
//!
//! Keys: arrows, Home, End, Delete, Backspace, Tab (completion), Ctrl-A/E (ends), Ctrl-B/F (move), Ctrl-P/N (history),
//! Ctrl-K/U/W (delete to the end, to the start, a word), Ctrl-L (clear the screen), Ctrl-C (drop the line), Ctrl-D (end of
//! input on an empty line). Lines are printable ASCII. The editor never reads or writes a device itself.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

const HISTORY_MAX: usize = 100;
const LINE_MAX: usize = 1000;

/// What a byte led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Still editing.
    None,
    /// Enter: the finished line.
    Line(String),
    /// Ctrl-C.
    Cancel,
    /// Ctrl-D on an empty line.
    EndOfInput,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Escape {
    No,
    Started,
    Bracket(u8),
}

/// The editor's state between bytes.
#[derive(Debug)]
pub struct Editor {
    prompt: String,
    line: Vec<u8>,
    cursor: usize,
    history: VecDeque<String>,
    /// Position in the history, counted from the newest; 0 is the line being typed.
    back: usize,
    draft: Vec<u8>,
    escape: Escape,
    after_return: bool,
}

/// Proposes completions: given the line up to the cursor, the words that could stand there.
pub type Complete<'a> = &'a dyn Fn(&str) -> Vec<String>;

impl Editor {
    /// An editor with this prompt and no history.
    pub fn new(prompt: &str) -> Self {
        Self {
            prompt: prompt.to_string(),
            line: Vec::new(),
            cursor: 0,
            history: VecDeque::new(),
            back: 0,
            draft: Vec::new(),
            escape: Escape::No,
            after_return: false,
        }
    }

    /// The prompt and the line so far, to (re)draw after other output.
    pub fn redraw(&self) -> String {
        let tail = self.line.len() - self.cursor;
        let back = if tail > 0 { format!("\x1b[{tail}D") } else { String::new() };
        format!("\r\x1b[K{}{}{back}", self.prompt, String::from_utf8_lossy(&self.line))
    }

    /// Clears the row that the prompt is on, for other output.
    pub fn hide(&self) -> &'static str {
        "\r\x1b[K"
    }

    /// Takes one byte; `out` receives what the terminal is to show.
    pub fn key(&mut self, byte: u8, complete: Complete<'_>, out: &mut String) -> Event {
        let after_return = core::mem::replace(&mut self.after_return, byte == b'\r');
        match core::mem::replace(&mut self.escape, Escape::No) {
            Escape::Started if byte == b'[' || byte == b'O' => {
                self.escape = Escape::Bracket(0);
                return Event::None;
            }
            Escape::Bracket(digit) => return self.escaped(byte, digit, out),
            _ => {}
        }
        match byte {
            b'\n' if after_return => {}
            b'\r' | b'\n' => return self.enter(out),
            b'\t' => self.complete(complete, out),
            0x1b => self.escape = Escape::Started,
            0x03 => {
                out.push_str("^C\r\n");
                self.set(Vec::new());
                return Event::Cancel;
            }
            0x04 if self.line.is_empty() => return Event::EndOfInput,
            0x04 => self.delete(out),
            0x08 | 0x7f => self.backspace(out),
            0x0c => {
                out.push_str("\x1b[H\x1b[2J");
                out.push_str(&self.redraw());
            }
            b' '..=b'~' => self.insert(byte, out),
            _ => self.control(byte, out),
        }
        Event::None
    }

    fn control(&mut self, byte: u8, out: &mut String) {
        match byte {
            0x01 => self.cursor = 0,
            0x02 => self.cursor = self.cursor.saturating_sub(1),
            0x05 => self.cursor = self.line.len(),
            0x06 => self.cursor = (self.cursor + 1).min(self.line.len()),
            0x0b => self.line.truncate(self.cursor),
            0x0e => self.browse(false),
            0x10 => self.browse(true),
            0x15 => {
                self.line.drain(..self.cursor);
                self.cursor = 0;
            }
            0x17 => self.delete_word(),
            _ => return,
        }
        out.push_str(&self.redraw());
    }

    fn escaped(&mut self, byte: u8, digit: u8, out: &mut String) -> Event {
        match byte {
            b'0'..=b'9' | b';' => self.escape = Escape::Bracket(byte),
            b'A' => self.control(0x10, out),
            b'B' => self.control(0x0e, out),
            b'C' => self.control(0x06, out),
            b'D' => self.control(0x02, out),
            b'H' => self.control(0x01, out),
            b'F' => self.control(0x05, out),
            b'~' => match digit {
                b'1' | b'7' => self.control(0x01, out),
                b'4' | b'8' => self.control(0x05, out),
                b'3' => self.delete(out),
                _ => {}
            },
            _ => {}
        }
        Event::None
    }

    fn insert(&mut self, byte: u8, out: &mut String) {
        if self.line.len() >= LINE_MAX {
            out.push('\x07');
            return;
        }
        self.line.insert(self.cursor, byte);
        self.cursor += 1;
        if self.cursor == self.line.len() { out.push(char::from(byte)) } else { out.push_str(&self.redraw()) }
    }

    fn backspace(&mut self, out: &mut String) {
        if self.cursor > 0 {
            self.cursor -= 1;
            self.delete(out);
        }
    }

    fn delete(&mut self, out: &mut String) {
        if self.cursor < self.line.len() {
            self.line.remove(self.cursor);
            out.push_str(&self.redraw());
        }
    }

    fn delete_word(&mut self) {
        let before = &self.line[..self.cursor];
        let end = before.iter().rposition(|b| *b != b' ').map_or(0, |i| i + 1);
        let start = before[..end].iter().rposition(|b| *b == b' ').map_or(0, |i| i + 1);
        self.line.drain(start..self.cursor);
        self.cursor = start;
    }

    fn set(&mut self, line: Vec<u8>) {
        self.cursor = line.len();
        self.line = line;
    }

    fn browse(&mut self, older: bool) {
        if self.back == 0 && older {
            self.draft = self.line.clone();
        }
        let back = if older { self.back + 1 } else { self.back.saturating_sub(1) };
        if back > self.history.len() {
            return;
        }
        self.back = back;
        let line = if back == 0 { self.draft.clone() } else { self.history[back - 1].clone().into_bytes() };
        self.set(line);
    }

    fn enter(&mut self, out: &mut String) -> Event {
        out.push_str("\r\n");
        let line = String::from_utf8_lossy(&self.line).to_string();
        self.set(Vec::new());
        self.back = 0;
        if !line.trim().is_empty() && self.history.front() != Some(&line) {
            self.history.push_front(line.clone());
            self.history.truncate(HISTORY_MAX);
        }
        Event::Line(line)
    }

    /// One candidate is inserted with a blank after it; several are completed as far as they agree, then listed.
    fn complete(&mut self, complete: Complete<'_>, out: &mut String) {
        let before = String::from_utf8_lossy(&self.line[..self.cursor]).to_string();
        let word = before.rsplit([' ', ';']).next().unwrap_or("");
        let candidates: Vec<String> = complete(&before).into_iter().filter(|c| c.starts_with(word)).collect();
        let Some(first) = candidates.first() else {
            out.push('\x07');
            return;
        };
        let common = candidates.iter().fold(first.as_str(), |common, c| &common[..agreeing(common, c)]);
        let mut addition = common[word.len()..].to_string();
        if candidates.len() == 1 {
            addition.push(' ');
        }
        if addition.is_empty() {
            out.push_str("\r\n");
            out.push_str(&candidates.join("  "));
            out.push_str("\r\n");
        }
        for byte in addition.bytes() {
            self.line.insert(self.cursor, byte);
            self.cursor += 1;
        }
        out.push_str(&self.redraw());
    }
}

fn agreeing(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn none(_: &str) -> Vec<String> {
        vec![]
    }

    fn type_in(editor: &mut Editor, keys: &str) -> Vec<Event> {
        let mut out = String::new();
        let words = |_: &str| ["create", "console", "connect"].map(String::from).to_vec();
        keys.bytes().map(|b| editor.key(b, &words, &mut out)).filter(|e| *e != Event::None).collect()
    }

    fn line(keys: &str) -> String {
        match type_in(&mut Editor::new("> "), keys).pop() {
            Some(Event::Line(line)) => line,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn editing_keys() {
        assert_eq!(line("abc\r"), "abc");
        assert_eq!(line("abc\x7f\x08d\r"), "ad");
        assert_eq!(line("bc\x1b[D\x1b[Da\x1b[F!\r"), "abc!");
        assert_eq!(line("one two three\x17\x17X\r"), "one X");
        assert_eq!(line("abc\x01\x0bz\r"), "z");
        assert_eq!(line("abc\x02\x15\r"), "c");
        assert_eq!(line("abc\x01\x1b[3~\r"), "bc");
        assert_eq!(line("\u{e9}ok\r"), "ok");
    }

    #[test]
    fn completion() {
        assert_eq!(line("cr\tx\r"), "create x");
        assert_eq!(line("co\ts\t\r"), "console ");
        assert_eq!(line("zz\t\r"), "zz");
    }

    #[test]
    fn history_and_ends() {
        let mut editor = Editor::new("> ");
        type_in(&mut editor, "first\rsecond\r");
        assert_eq!(type_in(&mut editor, "dra\x1b[A\x1b[A\x1b[A\r"), [Event::Line("first".into())]);
        assert_eq!(type_in(&mut editor, "dra\x10\x0eft\r"), [Event::Line("draft".into())]);
        assert_eq!(type_in(&mut editor, "x\x03\x04"), [Event::Cancel, Event::EndOfInput]);
        assert_eq!(type_in(&mut editor, "a\r\nb\r\n").len(), 2);
    }

    proptest::proptest! {
        #[test]
        fn no_keys_panic(keys in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let (mut editor, mut out) = (Editor::new("> "), String::new());
            for key in keys {
                editor.key(key, &none, &mut out);
            }
        }
    }
}
