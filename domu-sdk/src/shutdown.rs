//! How a domain ends: [`now`], and what the toolstack asks for in the store's `control/shutdown` ([`requested`], [`obey`]).

use crate::{hypercall::sched, store};
use abi::sched::{SHUTDOWN_CRASH, SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT, SHUTDOWN_SUSPEND};

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
    if let Some(store) = store::get()
        && let Ok(watch) = store.watch(REQUEST).await
    {
        while watch.next().await.is_ok() {
            let word = store.read_text(REQUEST).await.unwrap_or_default();
            if let Some(reason) = Reason::from_request(&word) {
                if let Err(error) = store.write(REQUEST, "").await {
                    log::warn!("{REQUEST} {word:?} could not be acknowledged: {error}");
                }
                return reason;
            }
        }
    }
    core::future::pending().await
}

/// Ends the domain when the toolstack asks for it. To be spawned: `executor::spawn(shutdown::obey())`.
pub async fn obey() {
    let reason = requested().await;
    log::info!("the toolstack asks for {reason:?}");
    crate::console::flush();
    now(reason)
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
