//! The store (xenstore): a tree of small values that the domains of a machine share.
//!
//! A domain finds its page and its event channel in `start_info`. Requests and answers are messages (public header
//! `io/xs_wire.h`) in two byte rings; many requests may be under way, an answer carries the number of its request. Names are
//! relative to the domain's own directory unless they begin with `/`.
//!
//! [`Store`] is a handle that can be copied and used by any task. Nothing runs in the background: whoever waits for an answer
//! moves the rings on, for all. The store's server is trusted with the values, not with this domain's memory: a message that
//! breaks the protocol ends the connection ([`Error::Broken`]).
//!
//! ```ignore
//! let store = domu_sdk::store::get().ok_or("no store")?;
//! let name = store.read_text("name").await?;
//! let watch = store.watch("control/shutdown").await?;
//! loop {
//!     println!("{} changed", watch.next().await?);
//! }
//! ```

mod link;
mod wire;

use crate::{
    events::Channel,
    memory::SharedMem,
    start,
    types::{DomId, GrantRef, Mfn, Port},
};
use abi::{
    errno::Errno,
    io::xs_wire::{
        XS_DIRECTORY, XS_GET_DOMAIN_PATH, XS_GET_PERMS, XS_INTRODUCE, XS_MKDIR, XS_READ, XS_RELEASE, XS_RM,
        XS_SET_PERMS, XS_TRANSACTION_END, XS_TRANSACTION_START, XS_UNWATCH, XS_WATCH, XS_WRITE,
    },
};
use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::{fmt, ops::Deref};
pub(crate) use link::Held;
use link::Link;
use spin::Once;

/// A request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The store answered with an error.
    Refused(Errno),
    /// The connection broke the protocol and is closed.
    Broken,
    /// The answer is not what was asked for, such as text that is not UTF-8.
    Malformed,
    /// The request is longer than the protocol allows.
    TooLong,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(errno) => write!(f, "the store refused: {errno}"),
            Self::Broken => write!(f, "the connection to the store broke the protocol"),
            Self::Malformed => write!(f, "the store's answer is malformed"),
            Self::TooLong => write!(f, "the request is longer than the store takes"),
        }
    }
}

impl core::error::Error for Error {}

/// Result of a request.
pub type Result<T = ()> = core::result::Result<T, Error>;

/// The store of this domain; `None` if it was started without one.
pub fn get() -> Option<Store> {
    static LINK: Once<Option<&'static Link>> = Once::new();
    let link = *LINK.call_once(|| {
        let info = start::info();
        if info.store_mfn == 0 || info.store_evtchn == 0 {
            return None;
        }
        let page = crate::arch::boot_page(info.store_mfn)?;
        Some(&*Box::leak(Box::new(Link::new(page, Channel::adopt(Port(info.store_evtchn))))))
    });
    link.map(|link| Store { link, transaction: 0 })
}

/// A handle to the store.
#[derive(Clone, Copy)]
pub struct Store {
    link: &'static Link,
    /// 0 outside transactions.
    transaction: u32,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store(transaction {})", self.transaction)
    }
}

impl Store {
    /// A store behind a page and a channel that are not those of `start_info`. Both stay in use for ever.
    pub fn connect(page: SharedMem, channel: Channel) -> Self {
        Self { link: Box::leak(Box::new(Link::new(page, channel))), transaction: 0 }
    }

    async fn ask(&self, kind: u32, parts: &[&[u8]]) -> Result<Vec<u8>> {
        self.link.request(kind, self.transaction, parts).await
    }

    /// The value of a node.
    pub async fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.ask(XS_READ, &[path.as_bytes(), b"\0"]).await
    }

    /// The value of a node, as text.
    pub async fn read_text(&self, path: &str) -> Result<String> {
        text(self.read(path).await?)
    }

    /// The value of a node, as anything that can be parsed.
    pub async fn read_as<T: core::str::FromStr>(&self, path: &str) -> Result<T> {
        self.read_text(path).await?.trim().parse().map_err(|_| Error::Malformed)
    }

    /// Sets the value of a node, and makes it and its parents if need be.
    pub async fn write(&self, path: &str, value: impl AsRef<[u8]>) -> Result {
        self.ask(XS_WRITE, &[path.as_bytes(), b"\0", value.as_ref()]).await.map(|_| ())
    }

    /// Makes a node without a value, unless it is there.
    pub async fn mkdir(&self, path: &str) -> Result {
        self.ask(XS_MKDIR, &[path.as_bytes(), b"\0"]).await.map(|_| ())
    }

    /// Removes a node and all below it.
    pub async fn rm(&self, path: &str) -> Result {
        self.ask(XS_RM, &[path.as_bytes(), b"\0"]).await.map(|_| ())
    }

    /// Names of the nodes below a node.
    pub async fn directory(&self, path: &str) -> Result<Vec<String>> {
        strings(self.ask(XS_DIRECTORY, &[path.as_bytes(), b"\0"]).await?)
    }

    /// Whether a node is there.
    pub async fn exists(&self, path: &str) -> Result<bool> {
        match self.read(path).await {
            Ok(_) => Ok(true),
            Err(Error::Refused(Errno::ENOENT)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Who may do what with a node: the first entry names the owner and what others may do, such as `n0`, `r3`.
    pub async fn permissions(&self, path: &str) -> Result<Vec<String>> {
        strings(self.ask(XS_GET_PERMS, &[path.as_bytes(), b"\0"]).await?)
    }

    /// Sets who may do what with a node.
    pub async fn set_permissions(&self, path: &str, permissions: &[&str]) -> Result {
        let mut parts = Vec::from([path.as_bytes(), b"\0"]);
        for permission in permissions {
            parts.extend([permission.as_bytes(), b"\0"]);
        }
        self.ask(XS_SET_PERMS, &parts).await.map(|_| ())
    }

    /// The directory of a domain, such as `/local/domain/3`.
    pub async fn domain_path(&self, domain: DomId) -> Result<String> {
        let domain = domain.0.to_string();
        text(self.ask(XS_GET_DOMAIN_PATH, &[domain.as_bytes(), b"\0"]).await?)
    }

    /// Tells the store's server of a new domain: its store page and its event channel. For a toolstack.
    pub async fn introduce(&self, domain: DomId, page: Mfn, port: Port) -> Result {
        let payload = format!("{}\0{}\0{}\0", domain.0, page.0, port.0);
        self.ask(XS_INTRODUCE, &[payload.as_bytes()]).await.map(|_| ())
    }

    /// Tells the store's server that a domain is gone. For a toolstack.
    pub async fn release(&self, domain: DomId) -> Result {
        let domain = domain.0.to_string();
        self.ask(XS_RELEASE, &[domain.as_bytes(), b"\0"]).await.map(|_| ())
    }

    /// Reports changes of a node and of all below it. The first report comes at once.
    pub async fn watch(&self, path: &str) -> Result<Watch> {
        let (token, queue) = self.link.new_watch(path);
        let watch = Watch { link: self.link, path: path.to_string(), token, queue };
        let parts: [&[u8]; 4] = [path.as_bytes(), b"\0", watch.token.as_bytes(), b"\0"];
        match self.link.request(XS_WATCH, 0, &parts).await {
            // It is there already if the domain was restored just before.
            Ok(_) | Err(Error::Refused(Errno::EEXIST)) => Ok(watch),
            Err(error) => Err(error),
        }
    }

    /// Starts a transaction: what is done through it is seen by others at its end, all or nothing.
    pub async fn transaction(&self) -> Result<Transaction> {
        let number = text(self.link.request(XS_TRANSACTION_START, 0, &[b"\0"]).await?)?;
        let transaction = number.parse().map_err(|_| Error::Malformed)?;
        self.link.transaction(true);
        Ok(Transaction { store: Store { link: self.link, transaction }, open: true })
    }

    /// Lets the connection come to rest, for as long as the value is kept.
    pub(crate) async fn hold(&self) -> Result<Held> {
        self.link.hold().await
    }

    /// Writes a grant reference and an event channel, as front ends do.
    pub async fn write_ring(&self, path: &str, grant: GrantRef, port: Port) -> Result {
        self.write(&format!("{path}/ring-ref"), grant.0.to_string()).await?;
        self.write(&format!("{path}/event-channel"), port.0.to_string()).await
    }
}

fn text(mut bytes: Vec<u8>) -> Result<String> {
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    String::from_utf8(bytes).map_err(|_| Error::Malformed)
}

fn strings(bytes: Vec<u8>) -> Result<Vec<String>> {
    let all = text(bytes)?;
    Ok(all.split('\0').filter(|part| !part.is_empty()).map(String::from).collect())
}

/// A transaction; use it like a [`Store`]. Dropping it undoes everything.
#[derive(Debug)]
#[must_use = "dropping it undoes everything"]
pub struct Transaction {
    store: Store,
    open: bool,
}

impl Transaction {
    /// Ends the transaction. `false`: somebody else changed what it had read, nothing was done; try again from the start.
    pub async fn commit(mut self) -> Result<bool> {
        let answer = self.store.ask(XS_TRANSACTION_END, &[b"T\0"]).await;
        self.open = false;
        self.store.link.transaction(false);
        match answer {
            Ok(_) => Ok(true),
            Err(Error::Refused(Errno::EAGAIN)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Deref for Transaction {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.open {
            self.store.link.tell(XS_TRANSACTION_END, self.store.transaction, &[b"F\0"]);
            self.store.link.transaction(false);
        }
    }
}

/// Reports of changes. Dropping it ends them.
pub struct Watch {
    link: &'static Link,
    path: String,
    token: String,
    queue: link::WatchQueue,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watch({:?})", self.path)
    }
}

impl Watch {
    /// Waits for a change; the name of the node that changed.
    pub async fn next(&self) -> Result<String> {
        self.link.wait(|| self.queue.lock().pop_front()).await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.link.forget_watch(&self.token);
        self.link.tell(XS_UNWATCH, 0, &[self.path.as_bytes(), b"\0", self.token.as_bytes(), b"\0"]);
    }
}

#[cfg(test)]
mod tests;
