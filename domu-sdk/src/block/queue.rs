//! A queue: a ring, its grants and its event channel.
//!
//! The channel's handler takes the responses off the ring and wakes whoever waits for them, so no task has to run for others' sake.

use super::{
    pool::{Buffer, Pool},
    ring::{Answer, Broken, Ring, Slot},
};
use crate::{
    events::Channel,
    executor::WaitList,
    grant::{Access, Grant},
    hypercall::grant::{GrantError, GrantResult},
    memory::SharedPages,
    sync::MaskedMutex,
    types::{DomId, Port},
};
use abi::errno::Errno;
use alloc::{sync::Arc, vec::Vec};
use core::{future::poll_fn, task::Poll};

/// See the module.
#[derive(Debug)]
pub(super) struct Queue {
    // Closed before the ring's grants end.
    channel: Channel,
    ring: MaskedMutex<Ring>,
    room: WaitList,
    grants: Vec<Grant>,
    pool: Arc<Pool>,
}

/// A request under way; if it is dropped, its answer is taken by nobody.
struct Flight<'a> {
    queue: &'a Queue,
    number: u16,
    landed: bool,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.landed {
            let buffers = self.queue.ring.lock().abandon(self.number);
            self.queue.pool.give(buffers);
        }
    }
}

/// Buffers of a request that is not sent yet; if it never is, they go back to the pool.
struct Held<'a> {
    pool: &'a Pool,
    buffers: Vec<Buffer>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.pool.give(core::mem::take(&mut self.buffers));
    }
}

impl Queue {
    /// Makes a ring of so many pages, grants it and makes a channel for it.
    pub(super) fn new(domain: DomId, pages: usize, pool: &Arc<Pool>) -> GrantResult<Arc<Self>> {
        let memory = Arc::new(SharedPages::new(pages).ok_or(GrantError::Call(Errno::ENOMEM))?);
        let ring = Ring::new(memory.clone());
        let grant = |page| Grant::new(&memory, page, domain, Access::ReadWrite);
        let grants = (0..pages).map(grant).collect::<GrantResult<Vec<Grant>>>()?;
        let channel = Channel::alloc_unbound(domain)?;
        let (ring, room, pool) = (MaskedMutex::new(ring), WaitList::new(), pool.clone());
        let queue = Arc::new(Self { channel, ring, room, grants, pool });
        let weak = Arc::downgrade(&queue);
        queue.channel.on_event(move |_| {
            if let Some(queue) = weak.upgrade() {
                queue.receive();
            }
        });
        Ok(queue)
    }

    /// The event channel to tell the back end.
    pub(super) fn port(&self) -> Port {
        self.channel.port()
    }

    /// The ring's grants to tell the back end.
    pub(super) fn references(&self) -> impl Iterator<Item = u32> {
        self.grants.iter().map(|grant| grant.reference().0)
    }

    /// Requests under way.
    pub(super) fn under_way(&self) -> usize {
        self.ring.lock().under_way()
    }

    /// Takes the responses that are there.
    pub(super) fn receive(&self) {
        let mut unused = Vec::new();
        // A broken ring has woken those who wait; they see it.
        let received = self.ring.lock().receive(&mut unused);
        self.pool.give(unused);
        if received != Ok(false) {
            self.room.wake_all();
        }
    }

    /// Begins anew with another back end; the domain was restored, so the grants stand under their old numbers.
    pub(super) fn restart(&self) {
        self.receive();
        self.ring.lock().restart();
    }

    /// Tells the back end that there may be requests.
    pub(super) fn notify(&self) {
        let _ = self.channel.notify();
    }

    /// Ends the queue: everybody who waits gets an error.
    pub(super) fn end(&self) {
        self.ring.lock().end();
        self.room.wake_all();
    }

    /// Sends a request, when there is room, and waits for its answer. The buffers go with the request; they come back with the answer.
    pub(super) async fn request(
        &self,
        buffers: Vec<Buffer>,
        fill: impl Fn(u64, &[Buffer]) -> Slot,
    ) -> Result<Answer, Broken> {
        let mut held = Held { pool: &self.pool, buffers };
        let number = poll_fn(|context| {
            self.room.register(context);
            let submitted = self.ring.lock().submit(&mut held.buffers, &fill);
            match submitted {
                Ok(Some((number, notify))) => {
                    if notify {
                        // Fails only if the back end closed its side: then the device's state tells.
                        let _ = self.channel.notify();
                    }
                    Poll::Ready(Ok(number))
                }
                Ok(None) => Poll::Pending,
                Err(broken) => Poll::Ready(Err(broken)),
            }
        })
        .await?;
        let mut flight = Flight { queue: self, number, landed: false };
        let answer = poll_fn(|context| self.ring.lock().poll(number, context)).await;
        if answer.is_ok() {
            flight.landed = true;
            // The number is free again.
            self.room.wake_all();
        }
        answer
    }
}
