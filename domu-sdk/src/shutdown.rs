//! How a domain ends: [`now`], and what the toolstack asks for in the store's `control/shutdown` ([`requested`], [`obey`]).

use crate::{hypercall::sched, store, suspend};
use abi::sched::{SHUTDOWN_CRASH, SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT, SHUTDOWN_SUSPEND};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Why the domain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is done.
    PowerOff,
    /// It wants to start again.
    Reboot,
    /// Its state was saved.
    Suspend,
    /// It failed.
    Crash,
}

impl Reason {
    /// The number of the public header `sched.h`.
    pub const fn code(self) -> u32 {
        match self {
            Self::PowerOff => SHUTDOWN_POWEROFF,
            Self::Reboot => SHUTDOWN_REBOOT,
            Self::Suspend => SHUTDOWN_SUSPEND,
            Self::Crash => SHUTDOWN_CRASH,
        }
    }

    /// The reason that a toolstack asks for with this word in `control/shutdown`. `None` for words that ask for something
    /// else or nothing.
    pub fn from_request(word: &str) -> Option<Self> {
        match word {
            "poweroff" | "halt" => Some(Self::PowerOff),
            "reboot" => Some(Self::Reboot),
            "suspend" => Some(Self::Suspend),
            "crash" => Some(Self::Crash),
            _ => None,
        }
    }
}

/// Ends the domain.
pub fn now(reason: Reason) -> ! {
    loop {
        let _ = sched::shutdown(reason.code());
        sched::yield_now();
    }
}

/// Waits until the toolstack asks the domain to end, acknowledges, and says how. Pends for ever where there is no store.
pub async fn requested() -> Reason {
    match Requests::watch().await {
        Some(requests) => requests.next().await,
        None => core::future::pending().await,
    }
}

/// What the toolstack asks for, one after the other. For a guest that does not obey at once, or not to everything.
#[derive(Debug)]
pub struct Requests {
    store: store::Store,
    watch: store::Watch,
    /// How often the domain had been restored when its features were announced.
    announced: AtomicU32,
    suspends: AtomicBool,
}

impl Requests {
    /// Begins to listen. `None` where there is no store.
    pub async fn watch() -> Option<Self> {
        let store = store::get()?;
        let watch = store.watch(REQUEST).await.ok()?;
        let (announced, suspends) = (AtomicU32::new(0), AtomicBool::new(false));
        let requests = Self { store, watch, announced, suspends };
        requests.announce().await;
        Some(requests)
    }

    /// Says that this guest suspends itself when it is asked to, with [`suspend::now`]. Without this, toolstacks do not ask.
    pub async fn offer_suspend(&self) {
        self.suspends.store(true, Ordering::Relaxed);
        self.announce().await;
    }

    /// Says what this guest understands, where toolstacks look for it before they ask.
    async fn announce(&self) {
        self.announced.store(suspend::restored(), Ordering::Relaxed);
        let mut features = Vec::from(["feature-poweroff", "feature-reboot"]);
        if self.suspends.load(Ordering::Relaxed) {
            match suspend::publish_frames() {
                Ok(()) => features.push("feature-suspend"),
                Err(error) => log::warn!("the domain cannot be suspended: {error}"),
            }
        }
        for feature in features {
            let _ = self.store.write(&alloc::format!("control/{feature}"), "1").await;
        }
    }

    /// Waits for a request, acknowledges it, and returns it. Pends for ever once the store is gone.
    pub async fn next(&self) -> Reason {
        while self.watch.next().await.is_ok() {
            if self.announced.load(Ordering::Relaxed) != suspend::restored() {
                self.announce().await;
            }
            let word = self.store.read_text(REQUEST).await.unwrap_or_default();
            if let Some(reason) = Reason::from_request(&word) {
                if let Err(error) = self.store.write(REQUEST, "").await {
                    log::warn!("{REQUEST} {word:?} could not be acknowledged: {error}");
                }
                return reason;
            }
        }
        core::future::pending().await
    }
}

/// Ends the domain when the toolstack asks for it. To be spawned: `executor::spawn(shutdown::obey())`.
///
/// After a suspend it goes on, see [`crate::suspend`].
pub async fn obey() {
    let Some(requests) = Requests::watch().await else { return };
    requests.offer_suspend().await;
    loop {
        let reason = requests.next().await;
        if reason == Reason::Suspend {
            match suspend::now().await {
                Ok(outcome) => log::info!("the domain goes on: {outcome:?}"),
                Err(error) => log::warn!("the domain cannot be suspended: {error}"),
            }
            continue;
        }
        log::info!("the toolstack asks for {reason:?}");
        crate::console::flush();
        now(reason)
    }
}

/// Where the toolstack writes its requests.
const REQUEST: &str = "control/shutdown";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_toolstack() {
        assert_eq!(Reason::from_request("halt"), Some(Reason::PowerOff));
        assert_eq!(Reason::from_request("reboot"), Some(Reason::Reboot));
        assert_eq!(Reason::from_request(""), None);
    }
}
