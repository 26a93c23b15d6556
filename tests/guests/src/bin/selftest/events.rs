//! Timers and event channels.

use crate::{Check, OK, ensure, equal, step};
use alloc::sync::Arc;
use core::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use domu_sdk::{
    events::Channel,
    time::{self, Instant},
    types::DomId,
};

/// Time enough for an event to come.
const LIMIT: Duration = Duration::from_secs(20);

async fn arrives(channel: &Channel) -> Result<(), alloc::string::String> {
    time::timeout(LIMIT, channel.wait()).await.ok_or_else(|| "the event did not come".into())
}

/// Sleeping tasks wake in the order of their deadlines, not before them.
pub async fn timer() -> Check {
    for milliseconds in [1, 30] {
        let before = Instant::now();
        time::sleep(Duration::from_millis(milliseconds)).await;
        ensure(before.elapsed() >= Duration::from_millis(milliseconds), "woke too early")?;
    }
    OK
}

pub async fn timeout() -> Check {
    let late = time::timeout(Duration::from_millis(5), core::future::pending::<()>()).await;
    ensure(late.is_none(), "something that never happens happened")?;
    equal("a future in time", time::timeout(LIMIT, async { 3 }).await, Some(3))?;
    OK
}

/// Two ends of one channel, both in this domain.
pub async fn loop_back() -> Check {
    let own = domu_sdk::start::domain_id().ok_or("the domain does not know its number")?;
    let first = step("alloc_unbound", Channel::alloc_unbound(own))?;
    let second = step("bind_interdomain", Channel::bind_interdomain(DomId::SELF, first.port()))?;
    // Binding notifies the side that waited.
    first.take();
    second.take();
    step("send", first.notify())?;
    arrives(&second).await?;
    step("send", second.notify())?;
    arrives(&first).await?;
    equal("an event too many", second.take(), false)?;
    OK
}

pub async fn ipi() -> Check {
    let channel = step("bind_ipi", Channel::bind_ipi())?;
    for _ in 0..100 {
        step("send", channel.notify())?;
        arrives(&channel).await?;
    }
    OK
}

/// A masked event is kept and delivered when the port is unmasked.
pub async fn mask() -> Check {
    let channel = step("bind_ipi", Channel::bind_ipi())?;
    channel.mask();
    step("send", channel.notify())?;
    equal("a masked event", channel.take(), false)?;
    channel.unmask();
    arrives(&channel).await?;
    OK
}

/// Handlers run as soon as the event is sent, and not while events are masked.
pub fn handler() -> Check {
    let channel = step("bind_ipi", Channel::bind_ipi())?;
    let count = Arc::new(AtomicU32::new(0));
    let counted = count.clone();
    channel.on_event(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    step("send", channel.notify())?;
    equal("calls of the handler", count.load(Ordering::Relaxed), 1)?;
    {
        let _masked = domu_sdk::sync::EventsMasked::new();
        step("send", channel.notify())?;
        equal("calls while masked", count.load(Ordering::Relaxed), 1)?;
    }
    equal("calls after unmasking", count.load(Ordering::Relaxed), 2)?;
    OK
}
