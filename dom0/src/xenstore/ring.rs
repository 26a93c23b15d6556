//! A domain's ring page: requests come in, replies and events go out.
//!
//! The page is `struct xenstore_domain_interface` of the public header `io/xs_wire.h`: two byte rings of 1024 bytes and
//! free-running indices. **Invariants**: our own indices (`req_cons`, `rsp_prod`) live in this struct and are only written to
//! the page, so a domain that overwrites them changes nothing; the other side's indices are read once per round and must not be
//! more than a ring ahead. If they are, the connection ends with `XENSTORE_ERROR_RINGIDX`; a message whose length
//! exceeds the protocol's limit ends it with `XENSTORE_ERROR_PROTO`.

use alloc::vec::Vec;

use super::client::Client;
use super::server::Server;
use super::wire::{HEADER_LEN, Header, PAYLOAD_MAX};
use crate::DomId;
use crate::page::SharedPage;

/// Bytes in each ring (`XENSTORE_RING_SIZE`).
pub const RING_SIZE: usize = 1024;
const REQ: usize = 0;
const RSP: usize = 1024;
const REQ_CONS: usize = 2048;
const REQ_PROD: usize = 2052;
const RSP_CONS: usize = 2056;
const RSP_PROD: usize = 2060;
const FEATURES: usize = 2064;
const ERROR: usize = 2072;
/// `XENSTORE_SERVER_FEATURE_ERROR`.
const FEATURE_ERROR: u32 = 2;
/// Requests handled for one client before the others get their turn.
const ROUND: usize = 32;

/// Why a connection ended (the page's `error` field).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Broken {
    /// `XENSTORE_ERROR_RINGIDX`: an index is more than a ring ahead.
    RingIndex = 2,
    /// `XENSTORE_ERROR_PROTO`: a message longer than the protocol allows.
    Protocol = 3,
}

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes were taken or put: the domain must be notified.
    pub notify: bool,
    /// There is more to do without a further event.
    pub more: bool,
}

/// The server's end of one ring.
#[derive(Debug)]
pub struct Ring {
    req_cons: u32,
    rsp_prod: u32,
    partial: Vec<u8>,
    sending: Vec<u8>,
    broken: Option<Broken>,
}

impl Ring {
    /// Takes a page over, continuing at the indices in it, as a server does that was started after its clients.
    pub fn attach(page: &impl SharedPage) -> Self {
        page.store(FEATURES, FEATURE_ERROR);
        page.store(ERROR, 0);
        Self {
            req_cons: page.load(REQ_CONS),
            rsp_prod: page.load(RSP_PROD),
            partial: Vec::new(),
            sending: Vec::new(),
            broken: None,
        }
    }

    /// Why the connection ended, if it did.
    pub fn broken(&self) -> Option<Broken> {
        self.broken
    }

    /// Handles what is in the ring and sends what waits, as far as space allows.
    pub fn serve(&mut self, page: &impl SharedPage, dom: DomId, server: &mut Server) -> Progress {
        let mut progress = Progress::default();
        if self.broken.is_some() {
            return progress;
        }
        if let Err(reason) = self.round(page, dom, server, &mut progress) {
            self.broken = Some(reason);
            page.store(ERROR, reason as u32);
            progress = Progress { notify: true, more: false };
        }
        progress
    }

    fn round(
        &mut self,
        page: &impl SharedPage,
        dom: DomId,
        server: &mut Server,
        progress: &mut Progress,
    ) -> Result<(), Broken> {
        for _ in 0..ROUND {
            progress.notify |= self.send(page, server.client(dom))?;
            if !server.client(dom).is_some_and(|client| client.accepts_requests()) {
                return Ok(());
            }
            progress.notify |= self.receive(page)?;
            let Some((header, payload)) = self.take_request()? else { return Ok(()) };
            server.request(dom, header, &payload);
        }
        progress.more = true;
        Ok(())
    }

    /// Copies request bytes out of the ring, at most one message's worth.
    fn receive(&mut self, page: &impl SharedPage) -> Result<bool, Broken> {
        let mut any = false;
        loop {
            let produced = page.load(REQ_PROD);
            let ready = produced.wrapping_sub(self.req_cons) as usize;
            if ready > RING_SIZE {
                return Err(Broken::RingIndex);
            }
            let n = ready.min(self.wanted()?);
            if n == 0 {
                return Ok(any);
            }
            for _ in 0..n {
                self.partial.push(page.byte(REQ + self.req_cons as usize % RING_SIZE));
                self.req_cons = self.req_cons.wrapping_add(1);
            }
            page.store(REQ_CONS, self.req_cons);
            any = true;
        }
    }

    /// Bytes missing from the message that is being received.
    fn wanted(&self) -> Result<usize, Broken> {
        let Some(header) = self.header() else { return Ok(HEADER_LEN - self.partial.len()) };
        if header.len as usize > PAYLOAD_MAX {
            return Err(Broken::Protocol);
        }
        Ok(HEADER_LEN + header.len as usize - self.partial.len())
    }

    fn header(&self) -> Option<Header> {
        self.partial.first_chunk().map(Header::decode)
    }

    fn take_request(&mut self) -> Result<Option<(Header, Vec<u8>)>, Broken> {
        if self.partial.len() < HEADER_LEN || self.wanted()? > 0 {
            return Ok(None);
        }
        let Some(header) = self.header() else { return Ok(None) };
        let payload = self.partial.split_off(HEADER_LEN);
        self.partial.clear();
        Ok(Some((header, payload)))
    }

    fn send(&mut self, page: &impl SharedPage, client: Option<&mut Client>) -> Result<bool, Broken> {
        let Some(client) = client else { return Ok(false) };
        let mut any = false;
        loop {
            if self.sending.is_empty() {
                match client.next_message() {
                    Some(message) => self.sending = message.to_bytes(),
                    None => return Ok(any),
                }
            }
            let used = self.rsp_prod.wrapping_sub(page.load(RSP_CONS)) as usize;
            let room = RING_SIZE.checked_sub(used).ok_or(Broken::RingIndex)?;
            let n = room.min(self.sending.len());
            if n == 0 {
                return Ok(any);
            }
            for byte in self.sending.drain(..n) {
                page.set_byte(RSP + self.rsp_prod as usize % RING_SIZE, byte);
                self.rsp_prod = self.rsp_prod.wrapping_add(1);
            }
            page.store(RSP_PROD, self.rsp_prod);
            any = true;
        }
    }
}
