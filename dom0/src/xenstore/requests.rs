//! What each request does, beyond reading and changing one node: directories, permissions, watches, transactions, and what only
//! domain 0 may ask for.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::client::Watch;
use super::path;
use super::perms::{Access, Perms, Subject};
use super::server::{Action, After, Reply, Server, ok, terminated};
use super::tree::Overlay;
use super::wire::{self, Error, Kind};
use crate::DomId;

impl Server {
    pub(super) fn directory(&mut self, who: Subject, tx: u32, payload: &[u8], after: &mut After) -> Reply {
        let [given] = wire::strings(payload)?;
        let path = path::canonical(who.dom, given)?;
        let node = self.on_view(who, tx, after, |view| view.node(&path, Access::READ))?;
        Ok(node.children.iter().flat_map(|name| terminated(name)).collect())
    }

    /// The part of the child list from a byte offset on, with the node's generation in front so that the client
    /// notices a change between two parts. A part that reaches the end has one more NUL.
    pub(super) fn directory_part(
        &mut self,
        who: Subject,
        tx: u32,
        payload: &[u8],
        after: &mut After,
    ) -> Reply {
        let [given, offset] = wire::strings(payload)?;
        let path = path::canonical(who.dom, given)?;
        let offset: usize = wire::number(offset)?;
        let node = self.on_view(who, tx, after, |view| view.node(&path, Access::READ))?;
        let list: Vec<u8> = node.children.iter().flat_map(|name| terminated(name)).collect();
        if offset > list.len() || (offset > 0 && list[offset - 1] != 0) {
            return Err(Error::EINVAL);
        }
        let mut out = terminated(&format!("{}", node.generation));
        let room = wire::PAYLOAD_MAX - out.len() - 1;
        let rest = &list[offset..];
        if rest.len() <= room {
            out.extend_from_slice(rest);
            out.push(0);
        } else {
            let whole = rest[..room].iter().rposition(|&b| b == 0).map_or(0, |last| last + 1);
            out.extend_from_slice(&rest[..whole]);
        }
        Ok(out)
    }

    pub(super) fn get_perms(&mut self, who: Subject, tx: u32, payload: &[u8], after: &mut After) -> Reply {
        let [given] = wire::strings(payload)?;
        if let Some(name) = special_name(given) {
            return Ok(self.special_perms(name).encode());
        }
        let path = path::canonical(who.dom, given)?;
        self.on_view(who, tx, after, |view| Ok(view.node(&path, Access::READ)?.perms.encode()))
    }

    pub(super) fn set_perms_request(
        &mut self,
        who: Subject,
        tx: u32,
        payload: &[u8],
        after: &mut After,
    ) -> Reply {
        let (given, list) = wire::first_string(payload)?;
        let perms = Perms::decode(list)?;
        if let Some(name) = special_name(given) {
            if !who.is_privileged() {
                return Err(Error::EACCES);
            }
            self.special.insert(name, perms);
            return Ok(ok());
        }
        let path = path::canonical(who.dom, given)?;
        self.on_view(who, tx, after, |view| view.set_perms(&path, perms).map(|()| ok()))
    }

    pub(super) fn watch(&mut self, who: Subject, payload: &[u8], after: &mut After) -> Reply {
        let watch = requested_watch(who, payload)?;
        let (limit, most_bytes) = (self.quota.watches, self.quota.watch_bytes);
        let client = self.own(who)?;
        if client.watches.iter().any(|w| w.path == watch.path && w.token == watch.token) {
            return Err(Error::EEXIST);
        }
        let bytes: usize = client.watches.iter().map(|w| w.path.len() + w.token.len()).sum();
        let full = client.watches.len() >= limit || bytes + payload.len() > most_bytes;
        if full && !who.is_privileged() {
            return Err(Error::E2BIG);
        }
        self.add_watch(who.dom, watch);
        after.fresh_watch = true;
        Ok(ok())
    }

    pub(super) fn unwatch(&mut self, who: Subject, payload: &[u8]) -> Reply {
        let gone = requested_watch(who, payload)?;
        match self.drop_watches(who.dom, |watch| watch.path == gone.path && watch.token == gone.token) {
            0 => Err(Error::ENOENT),
            _ => Ok(ok()),
        }
    }

    pub(super) fn transaction_start(&mut self, who: Subject, tx: u32) -> Reply {
        if tx != 0 {
            return Err(Error::EBUSY);
        }
        let limit = self.quota.transactions;
        let mut id = self.last_transaction;
        let client = self.own(who)?;
        if client.transactions.len() >= limit && !who.is_privileged() {
            return Err(Error::ENOSPC);
        }
        loop {
            id = id.wrapping_add(1).max(1);
            if !client.transactions.contains_key(&id) {
                break;
            }
        }
        client.transactions.insert(id, Overlay::default());
        self.last_transaction = id;
        Ok(terminated(&format!("{id}")))
    }

    pub(super) fn transaction_end(
        &mut self,
        who: Subject,
        tx: u32,
        payload: &[u8],
        after: &mut After,
    ) -> Reply {
        let commit = match wire::strings(payload)? {
            ["T"] => true,
            ["F"] => false,
            _ => return Err(Error::EINVAL),
        };
        let overlay = self.own(who)?.transactions.remove(&tx).ok_or(Error::ENOENT)?;
        if !commit {
            return Ok(ok());
        }
        if !self.tree.holds(&overlay) {
            return Err(Error::EAGAIN);
        }
        let owned = self.tree.owned(who.dom) as isize + self.tree.growth(&overlay, who.dom);
        if owned > self.quota.limits.nodes as isize && !who.is_privileged() {
            return Err(Error::ENOSPC);
        }
        after.changes = self.tree.commit(overlay);
        Ok(ok())
    }

    pub(super) fn privileged(&mut self, kind: Kind, payload: &[u8]) -> Reply {
        match kind {
            Kind::Introduce => {
                let [dom, gfn, port] = wire::strings(payload)?;
                let (dom, gfn, port) = (wire::number(dom)?, wire::number(gfn)?, wire::number(port)?);
                self.actions.push_back(Action::Introduce { dom: DomId(dom), gfn, port });
            }
            Kind::Release => {
                let dom = domain(payload)?;
                if !self.clients.contains_key(&dom) {
                    return Err(Error::ENOENT);
                }
                self.actions.push_back(Action::Release(dom));
            }
            Kind::Resume => {
                self.clients.get(&domain(payload)?).ok_or(Error::ENOENT)?;
            }
            Kind::SetTarget => {
                let [dom, target] = wire::strings(payload)?;
                let client = self.clients.get_mut(&DomId(wire::number(dom)?)).ok_or(Error::ENOENT)?;
                client.who.target = Some(DomId(wire::number(target)?));
            }
            _ => return self.control(payload),
        }
        Ok(ok())
    }

    fn control(&self, payload: &[u8]) -> Reply {
        let (command, _) = wire::first_string(payload)?;
        match command {
            "help" => Ok(terminated("commands: help, check, quota")),
            "check" => Ok(terminated(&self.tree.check().err().unwrap_or_else(|| "OK".to_string()))),
            "quota" => Ok(terminated(&format!("{:?}", self.quota))),
            _ => Err(Error::EINVAL),
        }
    }
}

fn requested_watch(who: Subject, payload: &[u8]) -> Result<Watch, Error> {
    let [given, token] = wire::strings(payload)?;
    let path = path::canonical_watch(who.dom, given)?;
    let relative = (!given.starts_with(['/', '@'])).then(|| given.to_string());
    Ok(Watch { path, relative, token: token.to_string() })
}

fn special_name(given: &str) -> Option<&'static str> {
    [path::INTRODUCE, path::RELEASE].into_iter().find(|name| *name == given)
}

pub(super) fn domain(payload: &[u8]) -> Result<DomId, Error> {
    let [text] = wire::strings(payload)?;
    Ok(DomId(wire::number(text)?))
}
