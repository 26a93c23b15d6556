//! What the server remembers of one connected domain: watches, open transactions, messages on their way out.
//!
//! **Bounds.** A client cannot make the server hold much: watches and transactions are counted, requests are taken only while
//! few messages wait ([`Client::accepts_requests`]), and a watch event is not queued again while an equal one still
//! waits. If even so [`EVENTS_MAX`] events wait, further ones are reported as the watched path itself: the client
//! learns that something below changed, and there can be only one such event per watch. The same is done where a long path and a long token
//! together are more than a message holds; the watched path itself fits, because it came with the token in a message of this length.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::path;
use super::perms::Subject;
use super::tree::{Change, Overlay};
use super::wire::{Kind, Message, PAYLOAD_MAX};
use crate::DomId;

/// Messages that may wait before further requests are left in the ring.
pub const BACKLOG_MAX: usize = 16;
/// Watch events that may wait before they are reported coarsely.
pub const EVENTS_MAX: usize = 512;

/// A watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Absolute path or special name.
    pub path: String,
    /// The path as the client gave it, if it was relative: events are reported in the same way.
    pub relative: Option<String>,
    /// Given back with each event.
    pub token: String,
}

impl Watch {
    /// Whether the change is one this watch is about.
    pub fn concerns(&self, change: &Change) -> bool {
        if change.below_removed {
            change.path == self.path
        } else {
            path::is_at_or_below(&change.path, &self.path)
        }
    }

    /// The event's path as this watch's client expects it.
    fn spelled(&self, changed: &str) -> String {
        match &self.relative {
            Some(given) => alloc::format!("{given}{}", &changed[self.path.len()..]),
            None => changed.to_string(),
        }
    }

    fn event(&self, changed: &str) -> Message {
        let mut payload = self.spelled(changed).into_bytes();
        payload.push(0);
        payload.extend_from_slice(self.token.as_bytes());
        payload.push(0);
        Message::new(Kind::WatchEvent, 0, 0, payload)
    }
}

/// One connected domain.
#[derive(Debug)]
pub struct Client {
    /// Whose rights it has.
    pub who: Subject,
    /// Its watches, oldest first. They change with the server's index of them, see [`super::Server::add_watch`].
    pub(super) watches: Vec<Watch>,
    /// Its open transactions.
    pub transactions: BTreeMap<u32, Overlay>,
    out: VecDeque<Message>,
    events: usize,
}

impl Client {
    /// A client without watches and transactions.
    pub fn new(dom: DomId) -> Self {
        Self {
            who: Subject::new(dom),
            watches: Vec::new(),
            transactions: BTreeMap::new(),
            out: VecDeque::new(),
            events: 0,
        }
    }

    /// Whether so little waits for this client that it may ask for more.
    pub fn accepts_requests(&self) -> bool {
        self.out.len() - self.events < BACKLOG_MAX
    }

    /// Queues a reply.
    pub fn reply(&mut self, message: Message) {
        self.out.push_back(message);
    }

    /// The next message to send, if any.
    pub fn next_message(&mut self) -> Option<Message> {
        let message = self.out.pop_front()?;
        if message.header.kind == Kind::WatchEvent as u32 {
            self.events -= 1;
        }
        Some(message)
    }

    /// Messages that wait.
    pub fn waiting(&self) -> usize {
        self.out.len()
    }

    /// Queues the events of a change for all watches that are about it.
    pub fn notify(&mut self, change: &Change) {
        let concerned: Vec<usize> =
            (0..self.watches.len()).filter(|&i| self.watches[i].concerns(change)).collect();
        for i in concerned {
            self.fire(i, &change.path);
        }
    }

    /// Queues the event of one watch.
    pub fn fire(&mut self, index: usize, changed: &str) {
        let Some(watch) = self.watches.get(index) else { return };
        let mut event = watch.event(changed);
        if self.events >= EVENTS_MAX || event.payload.len() > PAYLOAD_MAX {
            event = watch.event(&watch.path);
        }
        if !self.out.contains(&event) {
            self.out.push_back(event);
            self.events += 1;
        }
    }

    /// Its watches, oldest first.
    pub fn watches(&self) -> &[Watch] {
        &self.watches
    }

    /// Drops watches, their queued events and transactions.
    pub(super) fn reset(&mut self) {
        self.watches.clear();
        self.transactions.clear();
        self.out.retain(|m| m.header.kind != Kind::WatchEvent as u32);
        self.events = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_is_too_long_names_the_watched_path() {
        let mut client = Client::new(DomId(1));
        let token = "t".repeat(PAYLOAD_MAX - 4);
        client.watches.push(Watch { path: "/a".to_string(), relative: None, token: token.clone() });
        client.fire(0, "/a/b");
        let event = client.next_message().unwrap();
        assert_eq!(event.payload, alloc::format!("/a\0{token}\0").into_bytes());
        assert_eq!(event.payload.len(), PAYLOAD_MAX);
        client.watches[0].token.pop();
        client.watches[0].token.pop();
        client.fire(0, "/a/b");
        assert!(client.next_message().unwrap().payload.starts_with(b"/a/b\0t"));
    }
}
