//! How a domain ends: [`now`], and requests of the toolstack through the store's `control/shutdown` ([`requests`]).

use crate::hypercall::sched;
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
