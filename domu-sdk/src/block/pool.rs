//! Buffers: frames that are granted to the back end for as long as the device is open.
//!
//! The grants are made once and used for many requests, so the back end may keep the frames mapped (persistent grants), and this side never
//! has to take a grant back while requests flow. Data is copied into and out of the buffers; the back end never sees other memory.
//!
//! All buffers of a request are taken at once, so requests cannot wait for one another's.

use crate::{
    executor::WaitList,
    grant::{Access, Grant},
    hypercall::grant::{GrantError, GrantResult},
    memory::SharedPages,
    sync::MaskedMutex,
    types::{DomId, GrantRef},
};
use abi::errno::Errno;
use alloc::{sync::Arc, vec::Vec};
use core::{
    future::poll_fn,
    task::{Context, Poll},
};

/// A granted frame.
#[derive(Debug)]
pub(super) struct Buffer {
    pub(super) memory: Arc<SharedPages>,
    grant: Grant,
}

impl Buffer {
    /// The number to tell the back end.
    pub(super) fn reference(&self) -> GrantRef {
        self.grant.reference()
    }
}

#[derive(Debug, Default)]
struct State {
    free: Vec<Buffer>,
    made: usize,
}

/// The buffers of a device.
#[derive(Debug)]
pub(super) struct Pool {
    domain: DomId,
    max: usize,
    state: MaskedMutex<State>,
    waiting: WaitList,
}

impl Pool {
    /// No buffers yet; at most `max` are made, when they are needed.
    pub(super) fn new(domain: DomId, max: usize) -> Self {
        Self { domain, max, state: MaskedMutex::default(), waiting: WaitList::new() }
    }

    /// The domain to which buffers are granted.
    pub(super) fn domain(&self) -> DomId {
        self.domain
    }

    /// Takes `count` buffers, which is at most the pool's size; waits for them if need be.
    pub(super) async fn take(&self, count: usize) -> GrantResult<Vec<Buffer>> {
        poll_fn(|context| self.poll_take(count, context)).await
    }

    fn poll_take(&self, count: usize, context: &Context<'_>) -> Poll<GrantResult<Vec<Buffer>>> {
        // Registered first: buffers that come back between the two are not missed.
        self.waiting.register(context);
        let mut state = self.state.lock();
        let missing = count.saturating_sub(state.free.len());
        if state.made + missing > self.max {
            if count > self.max {
                return Poll::Ready(Err(GrantError::Call(Errno::E2BIG)));
            }
            return Poll::Pending;
        }
        for _ in 0..missing {
            let Some(pages) = SharedPages::new(1) else {
                // Others may give theirs back; if nobody has any, there is no memory.
                return match state.made {
                    made if made > state.free.len() => Poll::Pending,
                    _ => Poll::Ready(Err(GrantError::Call(Errno::ENOMEM))),
                };
            };
            let memory = Arc::new(pages);
            match Grant::new(&memory, 0, self.domain, Access::ReadWrite) {
                Ok(grant) => {
                    state.made += 1;
                    state.free.push(Buffer { memory, grant });
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let rest = state.free.len() - count;
        Poll::Ready(Ok(state.free.split_off(rest)))
    }

    /// Gives buffers back.
    pub(super) fn give(&self, buffers: Vec<Buffer>) {
        if !buffers.is_empty() {
            self.state.lock().free.extend(buffers);
            self.waiting.wake_all();
        }
    }
}
