//! The connection: rings, requests under way, watches.
//!
//! All state is behind one lock. [`Link::pump`] moves what it can between the rings and the state; it is called by every task
//! that waits, each time it is polled. A task registers with the event channel and with the list of waiting tasks before it
//! pumps, so neither an event nor an answer that another task took from the ring is missed.

use super::{
    Error, Result,
    wire::{Assembler, Message, encode},
};
use crate::{
    events::Channel,
    executor::WaitList,
    memory::SharedMem,
    ring::{Broken, ByteRing},
    sync::MaskedMutex,
    types::Port,
};
use abi::{
    errno::Errno,
    io::xs_wire::{XENSTORE_RING_SIZE, XS_ERROR, XS_WATCH, XS_WATCH_EVENT, XenstoreDomainInterface},
};
use alloc::{
    collections::{BTreeMap, VecDeque},
    format,
    string::String,
    sync::Arc,
    vec::Vec,
};
use core::{future::poll_fn, mem::offset_of, task::Poll};

const REQUESTS: ByteRing = ByteRing {
    data: offset_of!(XenstoreDomainInterface, req),
    size: XENSTORE_RING_SIZE as u32,
    consumer: offset_of!(XenstoreDomainInterface, req_cons),
    producer: offset_of!(XenstoreDomainInterface, req_prod),
};
const ANSWERS: ByteRing = ByteRing {
    data: offset_of!(XenstoreDomainInterface, rsp),
    size: XENSTORE_RING_SIZE as u32,
    consumer: offset_of!(XenstoreDomainInterface, rsp_cons),
    producer: offset_of!(XenstoreDomainInterface, rsp_prod),
};

/// Names of changed nodes that were not yet asked for.
pub(super) type WatchQueue = Arc<MaskedMutex<VecDeque<String>>>;

/// The connection to a store.
pub(super) struct Link {
    page: SharedMem,
    channel: Channel,
    state: MaskedMutex<State>,
    waiting: WaitList,
}

#[derive(Default)]
struct State {
    last_request: u32,
    last_watch: u32,
    outgoing: VecDeque<u8>,
    incoming: Assembler,
    /// Requests that somebody waits for, and the answers that came.
    answers: BTreeMap<u32, Option<Message>>,
    /// By token: the node, and where reports go.
    watches: BTreeMap<String, (String, WatchQueue)>,
    /// Transactions that were begun and have not ended.
    transactions: usize,
    /// Nothing new is asked, see [`Link::hold`].
    held: bool,
    broken: bool,
}

/// The connection rests until this is dropped, see [`Link::hold`].
pub(crate) struct Held {
    link: &'static Link,
}

impl Held {
    /// The domain was restored: the other side knows nothing of this one. What is left in the rings is forgotten, and all watches are
    /// registered anew; so all of them report.
    pub(crate) fn restart(&self, port: Port) {
        self.link.channel.adopt_anew(port);
        let mut state = self.link.state.lock();
        state.outgoing.clear();
        state.incoming = Assembler::default();
        state.broken = false;
        let page = &self.link.page;
        page.store_u32(ANSWERS.consumer, page.load_u32(ANSWERS.producer));
        let watches: Vec<(String, String)> =
            state.watches.iter().map(|(token, (path, _))| (path.clone(), token.clone())).collect();
        for (path, token) in watches {
            let parts: [&[u8]; 4] = [path.as_bytes(), b"\0", token.as_bytes(), b"\0"];
            if state.enqueue(XS_WATCH, 0, &parts, false).is_err() {
                log::error!("the watch of {path} cannot be registered again");
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.link.state.lock().held = false;
        self.link.pump();
        self.link.waiting.wake_all();
    }
}

/// A request that somebody waits for; forgotten when dropped.
struct Expected<'a> {
    link: &'a Link,
    number: u32,
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        let held = {
            let mut state = self.link.state.lock();
            state.answers.remove(&self.number);
            state.held
        };
        if held {
            // Who waits for the connection to come to rest looks again.
            self.link.waiting.wake_all();
        }
    }
}

impl Link {
    pub(super) fn new(page: SharedMem, channel: Channel) -> Self {
        Self { page, channel, state: MaskedMutex::default(), waiting: WaitList::new() }
    }

    /// Sends a request and waits for its answer's payload.
    pub(super) async fn request(&self, kind: u32, transaction: u32, parts: &[&[u8]]) -> Result<Vec<u8>> {
        let number = loop {
            {
                let mut state = self.state.lock();
                if transaction != 0 || !state.held {
                    break state.enqueue(kind, transaction, parts, true)?;
                }
            }
            self.wait(|| (!self.state.lock().held).then_some(())).await?;
        };
        let _expected = Expected { link: self, number };
        let answer = self.wait(|| self.state.lock().answers.get_mut(&number)?.take()).await?;
        if answer.header.type_ == XS_ERROR {
            return Err(Error::Refused(errno_of(&answer.payload)));
        }
        if answer.header.type_ == kind { Ok(answer.payload) } else { Err(Error::Malformed) }
    }

    /// Sends a request whose answer nobody waits for.
    pub(super) fn tell(&self, kind: u32, transaction: u32, parts: &[&[u8]]) {
        let sent = {
            let mut state = self.state.lock();
            // What says nothing within a transaction ends a watch: it is forgotten here already.
            !(state.held && transaction == 0) && state.enqueue(kind, transaction, parts, false).is_ok()
        };
        if sent {
            self.pump();
        }
    }

    /// Lets the connection come to rest: returns when every request has its answer and every transaction has ended. What is asked from
    /// now on waits.
    pub(super) async fn hold(&'static self) -> Result<Held> {
        self.state.lock().held = true;
        let held = Held { link: self };
        self.wait(|| {
            let state = self.state.lock();
            let asked = !state.answers.is_empty() || !state.outgoing.is_empty() || state.transactions > 0;
            (!asked && REQUESTS.used(&self.page) == Ok(0)).then_some(())
        })
        .await?;
        Ok(held)
    }

    /// A transaction began, or ended.
    pub(super) fn transaction(&self, began: bool) {
        let mut state = self.state.lock();
        state.transactions =
            if began { state.transactions + 1 } else { state.transactions.saturating_sub(1) };
    }

    /// Pumps until `ready` has something.
    pub(super) async fn wait<T>(&self, ready: impl Fn() -> Option<T>) -> Result<T> {
        poll_fn(|context| {
            self.channel.register(context);
            self.waiting.register(context);
            self.pump();
            match ready() {
                Some(value) => Poll::Ready(Ok(value)),
                None if self.state.lock().broken => Poll::Ready(Err(Error::Broken)),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// A new watch: its token, and where its reports go.
    pub(super) fn new_watch(&self, path: &str) -> (String, WatchQueue) {
        let mut state = self.state.lock();
        state.last_watch += 1;
        let (token, queue) = (format!("w{}", state.last_watch), WatchQueue::default());
        state.watches.insert(token.clone(), (String::from(path), queue.clone()));
        (token, queue)
    }

    pub(super) fn forget_watch(&self, token: &str) {
        self.state.lock().watches.remove(token);
    }

    /// Does what an event would do.
    #[cfg(test)]
    pub(super) fn kick(&self) {
        self.waiting.wake_all();
    }

    /// Moves what can be moved.
    fn pump(&self) {
        let mut moved = false;
        let arrived = {
            let mut state = self.state.lock();
            if state.broken {
                return;
            }
            let result =
                state.send(&self.page, &mut moved).and_then(|()| state.receive(&self.page, &mut moved));
            state.broken = result.is_err();
            result.unwrap_or(true)
        };
        if moved {
            // A lost notification only delays: the next one carries it.
            let _ = self.channel.notify();
        }
        if arrived {
            self.waiting.wake_all();
        }
    }
}

impl State {
    fn enqueue(&mut self, kind: u32, transaction: u32, parts: &[&[u8]], expected: bool) -> Result<u32> {
        let mut number = self.last_request;
        loop {
            number = number.wrapping_add(1);
            if !self.answers.contains_key(&number) {
                break;
            }
        }
        let bytes = encode(kind, number, transaction, parts).ok_or(Error::TooLong)?;
        self.last_request = number;
        self.outgoing.extend(bytes);
        if expected {
            self.answers.insert(number, None);
        }
        Ok(number)
    }

    fn send(&mut self, page: &SharedMem, moved: &mut bool) -> core::result::Result<(), Broken> {
        while !self.outgoing.is_empty() {
            let count = REQUESTS.push(page, self.outgoing.as_slices().0)?;
            if count == 0 {
                break;
            }
            self.outgoing.drain(..count);
            *moved = true;
        }
        Ok(())
    }

    /// Returns whether a message was dispatched.
    fn receive(&mut self, page: &SharedMem, moved: &mut bool) -> core::result::Result<bool, Broken> {
        let mut dispatched = false;
        let mut piece = [0; 256];
        loop {
            let count = ANSWERS.pop(page, &mut piece)?;
            if count == 0 {
                return Ok(dispatched);
            }
            *moved = true;
            self.incoming.push(&piece[..count]);
            loop {
                match self.incoming.pop() {
                    Ok(Some(message)) => self.dispatch(message),
                    Ok(None) => break,
                    Err(_) => return Err(Broken { produced: 0, consumed: 0 }),
                }
                dispatched = true;
            }
        }
    }

    fn dispatch(&mut self, message: Message) {
        if message.header.type_ == XS_WATCH_EVENT {
            let mut parts = message.payload.split(|&byte| byte == 0);
            let (path, token) = (parts.next().unwrap_or(&[]), parts.next().unwrap_or(&[]));
            let queue = core::str::from_utf8(token).ok().and_then(|token| self.watches.get(token));
            if let Some((_, queue)) = queue {
                queue.lock().push_back(String::from_utf8_lossy(path).into_owned());
            }
        } else if let Some(answer) = self.answers.get_mut(&message.header.req_id) {
            *answer = Some(message);
        }
    }
}

/// The error that an answer names, such as `ENOENT`.
fn errno_of(payload: &[u8]) -> Errno {
    let name = payload.split(|&byte| byte == 0).next().unwrap_or(&[]);
    let named = |errno: &&Errno| format!("{errno:?}").as_bytes() == name;
    Errno::ALL.iter().find(named).copied().unwrap_or(Errno::EINVAL)
}
