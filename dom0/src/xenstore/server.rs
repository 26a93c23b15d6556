//! The server: one request in, one reply and any number of watch events out.
//!
//! Rules that the order of messages follows: a request's reply is queued before the events that the request causes; events
//! are queued in the order of the changes; a transaction's events follow its commit. A fresh watch fires once at once.
//!
//! Requests outside a transaction run in a transaction of their own that is committed at once, so there is one way to
//! change nodes.
//!
//! A change is told to the clients that watch it or something above it; an index by path finds them, so that what a change costs does not
//! grow with the number of domains.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::client::{Client, Watch};
use super::path;
use super::perms::{Access, Perms, Subject};
use super::requests::domain;
use super::tree::{Change, Limits, Overlay, Tree, View};
use super::wire::{self, Error, Header, Kind, Message};
use crate::DomId;

/// What one domain may use of the store. Domain 0 is not limited.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    /// Limits of single changes.
    pub limits: Limits,
    /// Watches.
    pub watches: usize,
    /// Open transactions.
    pub transactions: usize,
    /// Nodes that one transaction may look at or change.
    pub transaction_nodes: usize,
    /// Bytes of paths and values in all open transactions.
    pub transaction_bytes: usize,
    /// Bytes of paths and tokens of all watches.
    pub watch_bytes: usize,
}

impl Default for Quota {
    fn default() -> Self {
        let limits = Limits { nodes: 1000, value: 2048, perms: 5 };
        Self {
            limits,
            watches: 128,
            transactions: 10,
            transaction_nodes: 256,
            transaction_bytes: 512 << 10,
            watch_bytes: 64 << 10,
        }
    }
}

/// Something a privileged client asked for that is not the store's own business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect a domain: its store page's frame number and its event channel.
    Introduce {
        /// The domain.
        dom: DomId,
        /// Guest frame of the ring page.
        gfn: u64,
        /// The domain's port.
        port: u32,
    },
    /// Disconnect a domain.
    Release(DomId),
}

/// The store.
#[derive(Debug, Default)]
pub struct Server {
    pub(super) tree: Tree,
    pub(super) clients: BTreeMap<DomId, Client>,
    /// Who has watches of a path, and how many.
    watched: BTreeMap<String, BTreeMap<DomId, usize>>,
    /// Clients to which something was queued since the toolstack asked.
    news: BTreeSet<DomId>,
    pub(super) special: BTreeMap<&'static str, Perms>,
    pub(super) quota: Quota,
    pub(super) last_transaction: u32,
    pub(super) actions: VecDeque<Action>,
}

/// A reply's payload, or the error's name.
pub(super) type Reply = Result<Vec<u8>, Error>;

impl Server {
    /// An empty store with the usual quotas.
    pub fn new() -> Self {
        Self::with_quota(Quota::default())
    }

    /// An empty store with these quotas.
    pub fn with_quota(quota: Quota) -> Self {
        Self { quota, ..Self::default() }
    }

    /// Connects a domain and tells watchers of `@introduceDomain`.
    pub fn introduce(&mut self, dom: DomId) {
        self.clients.entry(dom).or_insert_with(|| Client::new(dom));
        self.fire_special(path::INTRODUCE);
    }

    /// Forgets a domain's connection and tells watchers of `@releaseDomain`.
    pub fn release(&mut self, dom: DomId) {
        self.drop_watches(dom, |_| true);
        self.clients.remove(&dom);
        self.fire_special(path::RELEASE);
    }

    /// Clients to which something was queued since the last call.
    pub fn take_news(&mut self) -> BTreeSet<DomId> {
        core::mem::take(&mut self.news)
    }

    /// Gives a client a watch, which does not fire at once.
    pub fn add_watch(&mut self, dom: DomId, watch: Watch) {
        let Some(client) = self.clients.get_mut(&dom) else { return };
        *self.watched.entry(watch.path.clone()).or_default().entry(dom).or_default() += 1;
        client.watches.push(watch);
    }

    /// Takes watches away from a client. Returns how many.
    pub fn drop_watches(&mut self, dom: DomId, mut which: impl FnMut(&Watch) -> bool) -> usize {
        let Some(client) = self.clients.get_mut(&dom) else { return 0 };
        let (gone, kept) = core::mem::take(&mut client.watches).into_iter().partition(|watch| which(watch));
        client.watches = kept;
        let gone: Vec<Watch> = gone;
        for watch in &gone {
            let Some(owners) = self.watched.get_mut(&watch.path) else { continue };
            if let Some(count) = owners.get_mut(&dom) {
                *count -= 1;
                if *count == 0 {
                    owners.remove(&dom);
                }
            }
            if owners.is_empty() {
                self.watched.remove(&watch.path);
            }
        }
        gone.len()
    }

    /// Clients with a watch that this change is about, perhaps.
    fn watchers(&self, change: &Change) -> BTreeSet<DomId> {
        let mut found = BTreeSet::new();
        let mut at = Some(change.path.as_str());
        while let Some(path) = at {
            found.extend(self.watched.get(path).into_iter().flat_map(BTreeMap::keys));
            at = path::parent(path).filter(|_| !change.below_removed);
        }
        found
    }

    /// A connected domain.
    pub fn client(&mut self, dom: DomId) -> Option<&mut Client> {
        self.clients.get_mut(&dom)
    }

    /// What privileged clients asked of the toolstack.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The committed tree.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Writes as domain 0.
    pub fn write(&mut self, path: &str, value: &[u8]) -> Result<(), Error> {
        self.as_dom0(path, |view, path| view.write(path, value))
    }

    /// Removes as domain 0.
    pub fn rm(&mut self, path: &str) -> Result<(), Error> {
        self.as_dom0(path, |view, path| view.rm(path))
    }

    /// Sets permissions as domain 0.
    pub fn set_perms(&mut self, path: &str, perms: Perms) -> Result<(), Error> {
        self.as_dom0(path, |view, path| view.set_perms(path, perms))
    }

    /// The committed value of a node.
    pub fn read(&self, path: &str) -> Option<&[u8]> {
        self.tree.get(path).map(|node| node.value.as_slice())
    }

    fn as_dom0<T>(
        &mut self,
        path: &str,
        f: impl FnOnce(&mut View<'_>, &str) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let path = path::canonical(DomId::ZERO, path)?;
        let (out, changes) = self.at_once(Subject::new(DomId::ZERO), |view| f(view, &path))?;
        self.tell(&changes);
        Ok(out)
    }

    /// Handles one request of a connected domain; reply and events are queued with the clients.
    pub fn request(&mut self, dom: DomId, header: Header, payload: &[u8]) {
        let Some(who) = self.clients.get(&dom).map(|c| c.who) else { return };
        let mut after = After::default();
        let result = match Kind::from_number(header.kind) {
            Some(kind) => self.dispatch(who, kind, header.tx_id, payload, &mut after),
            None => Err(Error::ENOSYS),
        };
        let reply = match result {
            Ok(bytes) if bytes.len() <= wire::PAYLOAD_MAX => Ok(bytes),
            Ok(_) => Err(Error::E2BIG),
            Err(error) => Err(error),
        };
        let message = match reply {
            Ok(bytes) => {
                let header = Header { len: bytes.len() as u32, ..header };
                Message { header, payload: bytes }
            }
            Err(error) => Message::new(Kind::Error, header.req_id, header.tx_id, error.payload()),
        };
        if let Some(client) = self.clients.get_mut(&dom) {
            client.reply(message);
            self.news.insert(dom);
            if after.fresh_watch {
                let last = client.watches.len() - 1;
                let path = client.watches[last].path.clone();
                client.fire(last, &path);
            }
        }
        self.tell(&after.changes);
    }

    fn dispatch(&mut self, who: Subject, kind: Kind, tx: u32, payload: &[u8], after: &mut After) -> Reply {
        match kind {
            Kind::Directory => self.directory(who, tx, payload, after),
            Kind::DirectoryPart => self.directory_part(who, tx, payload, after),
            Kind::Read => {
                let [given] = wire::strings(payload)?;
                let path = path::canonical(who.dom, given)?;
                self.on_view(who, tx, after, |view| Ok(view.node(&path, Access::READ)?.value))
            }
            Kind::GetPerms => self.get_perms(who, tx, payload, after),
            Kind::SetPerms => self.set_perms_request(who, tx, payload, after),
            Kind::Write => {
                let (given, value) = wire::first_string(payload)?;
                let path = path::canonical(who.dom, given)?;
                self.on_view(who, tx, after, |view| view.write(&path, value).map(|()| ok()))
            }
            Kind::Mkdir => {
                let [given] = wire::strings(payload)?;
                let path = path::canonical(who.dom, given)?;
                self.on_view(who, tx, after, |view| view.mkdir(&path).map(|()| ok()))
            }
            Kind::Rm => {
                let [given] = wire::strings(payload)?;
                let path = path::canonical(who.dom, given)?;
                self.on_view(who, tx, after, |view| view.rm(&path).map(|()| ok()))
            }
            Kind::Watch => self.watch(who, payload, after),
            Kind::Unwatch => self.unwatch(who, payload),
            Kind::ResetWatches => {
                self.drop_watches(who.dom, |_| true);
                self.own(who)?.reset();
                Ok(ok())
            }
            Kind::TransactionStart => self.transaction_start(who, tx),
            Kind::TransactionEnd => self.transaction_end(who, tx, payload, after),
            Kind::GetDomainPath => {
                let dom = domain(payload)?;
                Ok(terminated(&path::home(dom)))
            }
            Kind::IsDomainIntroduced => {
                let introduced = self.clients.contains_key(&domain(payload)?);
                Ok(terminated(if introduced { "T" } else { "F" }))
            }
            Kind::Introduce | Kind::Release | Kind::Resume | Kind::SetTarget | Kind::Control => {
                if who.is_privileged() { self.privileged(kind, payload) } else { Err(Error::EACCES) }
            }
            Kind::WatchEvent | Kind::Error => Err(Error::ENOSYS),
        }
    }

    pub(super) fn own(&mut self, who: Subject) -> Result<&mut Client, Error> {
        self.clients.get_mut(&who.dom).ok_or(Error::EINVAL)
    }

    /// Runs `f` on a view: the transaction's, or one that is committed at once.
    pub(super) fn on_view<T>(
        &mut self,
        who: Subject,
        tx: u32,
        after: &mut After,
        f: impl FnOnce(&mut View<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if tx == 0 {
            let (out, changes) = self.at_once(who, f)?;
            after.changes = changes;
            return Ok(out);
        }
        let quota = self.quota;
        let client = self.clients.get_mut(&who.dom).ok_or(Error::EINVAL)?;
        let bytes: usize = client.transactions.values().map(Overlay::bytes).sum();
        let overlay = client.transactions.get_mut(&tx).ok_or(Error::ENOENT)?;
        let full = overlay.cost() >= quota.transaction_nodes || bytes >= quota.transaction_bytes;
        if full && !who.is_privileged() {
            return Err(Error::ENOSPC);
        }
        f(&mut View { tree: &self.tree, overlay, who, limits: quota.limits })
    }

    fn at_once<T>(
        &mut self,
        who: Subject,
        f: impl FnOnce(&mut View<'_>) -> Result<T, Error>,
    ) -> Result<(T, Vec<Change>), Error> {
        let mut overlay = Overlay::default();
        let out = f(&mut View { tree: &self.tree, overlay: &mut overlay, who, limits: self.quota.limits })?;
        Ok((out, self.tree.commit(overlay)))
    }

    fn tell(&mut self, changes: &[Change]) {
        for change in changes {
            for dom in self.watchers(change) {
                let Some(client) = self.clients.get_mut(&dom) else { continue };
                if change.perms.allows(client.who, Access::READ) {
                    client.notify(change);
                    self.news.insert(dom);
                }
            }
        }
    }

    pub(super) fn special_perms(&self, name: &str) -> Perms {
        self.special.get(name).cloned().unwrap_or(Perms::new(DomId::ZERO, Access::NONE))
    }

    fn fire_special(&mut self, name: &'static str) {
        let change = Change { path: name.to_string(), perms: self.special_perms(name), below_removed: false };
        self.tell(&[change]);
    }
}

/// What follows a reply.
#[derive(Default)]
pub(super) struct After {
    /// Nodes that changed.
    pub(super) changes: Vec<Change>,
    /// The client's last watch is new and fires once.
    pub(super) fresh_watch: bool,
}

/// The payload of a reply that tells nothing but success.
pub(super) fn ok() -> Vec<u8> {
    b"OK\0".to_vec()
}

/// Text with its final NUL.
pub(super) fn terminated(text: &str) -> Vec<u8> {
    let mut bytes = vec![];
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}
