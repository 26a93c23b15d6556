//! Back ends: serving devices to other domains, with the feature `backend`.
//!
//! The logic is that of Dom0, the crate `backend`; here are the hypercalls below it ([`Peers`]), and a domain that serves disks ([`disks`]). What
//! such a domain needs is what any guest has: the toolstack makes the devices' directories in its part of the store.

pub mod disks;

use crate::{
    events::Channel,
    grant::{Access, GrantMapping},
    hypercall::grant::{self, GrantError},
    types::{DomId, GrantRef, Port},
};
use abi::{errno::Errno, grant_table::GNTST_OKAY};
use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use backend::peer::{Deliver, Fetch, Peer, Result, SharedPage, Window};

impl SharedPage for GrantMapping {
    fn byte(&self, offset: usize) -> u8 {
        self.load_u8(offset)
    }
    fn set_byte(&self, offset: usize, value: u8) {
        self.store_u8(offset, value);
    }
    fn load(&self, offset: usize) -> u32 {
        self.load_u32(offset)
    }
    fn store(&self, offset: usize, value: u32) {
        self.store_u32(offset, value);
    }
}

impl Window for GrantMapping {
    fn write(&self, offset: usize, bytes: &[u8]) {
        (**self).write(offset, bytes);
    }
    fn read(&self, offset: usize, into: &mut [u8]) {
        (**self).read(offset, into);
    }
    fn zero(&self, offset: usize, len: usize) {
        self.fill(offset, len, 0);
    }
}

/// Other domains, reached by hypercalls; the channels to them.
#[derive(Debug, Default)]
pub struct Peers {
    channels: BTreeMap<u32, Arc<Channel>>,
}

impl Peers {
    /// The channel behind a local port.
    pub fn channel(&self, port: u32) -> Option<&Arc<Channel>> {
        self.channels.get(&port)
    }

    /// All channels.
    pub fn channels(&self) -> impl Iterator<Item = &Arc<Channel>> {
        self.channels.values()
    }
}

impl Peer for Peers {
    type Window = GrantMapping;

    fn map_grants(&mut self, dom: backend::DomId, grants: &[u32]) -> Result<GrantMapping> {
        let grants: Vec<GrantRef> = grants.iter().copied().map(GrantRef).collect();
        GrantMapping::new(DomId(dom.0), &grants, Access::ReadWrite).map_err(|error| match error {
            GrantError::Call(errno) => errno,
            GrantError::Status(_) => Errno::EINVAL,
        })
    }

    fn fetch(&mut self, dom: backend::DomId, list: &mut [Fetch<'_>]) {
        let mut copies: Vec<_> = list
            .iter_mut()
            .map(|e| grant::Fetch { grant: GrantRef(e.grant), offset: e.offset, into: e.into, status: 0 })
            .collect();
        let called = grant::fetch(DomId(dom.0), &mut copies).is_ok();
        let done: Vec<bool> = copies.iter().map(|copy| called && copy.status == GNTST_OKAY).collect();
        list.iter_mut().zip(done).for_each(|(entry, done)| entry.done = done);
    }

    fn deliver(&mut self, dom: backend::DomId, list: &mut [Deliver<'_>]) {
        let mut copies: Vec<_> = list
            .iter()
            .map(|e| grant::Deliver { grant: GrantRef(e.grant), offset: e.offset, from: e.from, status: 0 })
            .collect();
        let called = grant::deliver(DomId(dom.0), &mut copies).is_ok();
        for (entry, copy) in list.iter_mut().zip(copies) {
            entry.done = called && copy.status == GNTST_OKAY;
        }
    }

    fn bind(&mut self, dom: backend::DomId, port: u32) -> Result<u32> {
        let channel = Channel::bind_interdomain(DomId(dom.0), Port(port))?;
        let local = channel.port().0;
        self.channels.insert(local, Arc::new(channel));
        Ok(local)
    }

    fn notify(&mut self, port: u32) {
        if let Some(channel) = self.channels.get(&port) {
            // Fails only if the other side closed its end: then nobody waits.
            let _ = channel.notify();
        }
    }

    fn close(&mut self, port: u32) {
        self.channels.remove(&port);
    }
}
